// SPDX-License-Identifier: GPL-2.0

//! Device page faults, from the fault to the commit.

use super::*;
use crate::{
    page::BorrowedPage,
    sync::Arc, //
};

/// What a device page fault asks for: [`Read`], [`Write`] or [`Present`].
///
/// It says what kind of pages come back, so it is known when a driver is compiled. What is known
/// only when it runs is a match with a call for each, of a function that takes `impl Access`.
/// [`PageRequest`] is for faults that ask for different things at once.
pub trait Access: sealed::Sealed + Copy + 'static {
    /// What the device may do with the pages that it gets.
    type Granted: Access;
}

/// Pages are faulted in, so that they can be read; and the permission to do so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read;

impl Access for Read {
    type Granted = Read;
}

/// Pages are faulted in, so that they can be written; and the permission to read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write;

impl Access for Write {
    type Granted = Write;
}

/// A snapshot: nothing is faulted in, and pages that the CPU has no entry for are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present;

impl Access for Present {
    type Granted = Read;
}

/// Seals [`Access`], and has the flags that belong to it.
mod sealed {
    use super::*;

    pub trait Sealed {
        /// The request, as the C side takes it.
        const REQUEST: usize;
        /// What an entry of the CPU page table that permits it has.
        const FLAGS: usize;
    }

    impl Sealed for Present {
        const REQUEST: usize = 0;
        const FLAGS: usize = Read::FLAGS;
    }

    impl Sealed for Read {
        const REQUEST: usize = bindings::hmm_pfn_flags_HMM_PFN_REQ_FAULT;
        const FLAGS: usize = bindings::hmm_pfn_flags_HMM_PFN_VALID;
    }

    impl Sealed for Write {
        const REQUEST: usize =
            bindings::hmm_pfn_flags_HMM_PFN_REQ_FAULT | bindings::hmm_pfn_flags_HMM_PFN_REQ_WRITE;
        const FLAGS: usize =
            bindings::hmm_pfn_flags_HMM_PFN_VALID | bindings::hmm_pfn_flags_HMM_PFN_WRITE;
    }
}
use sealed::Sealed as _;

/// What is asked for one page, see [`FaultRange::fault_each`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageRequest {
    /// Whatever is there.
    Present,
    /// The page, so that it can be read.
    Read,
    /// The page, so that it can be written.
    Write,
}

impl PageRequest {
    fn request(self) -> usize {
        match self {
            PageRequest::Present => Present::REQUEST,
            PageRequest::Read => Read::REQUEST,
            PageRequest::Write => Write::REQUEST,
        }
    }
}

/// What the CPU page table says about a page that is there: a frame number, and flags.
#[derive(Clone, Copy)]
pub(super) struct HmmPfn(c_ulong);

impl HmmPfn {
    #[inline]
    pub(super) fn pfn(self) -> Pfn {
        Pfn::new(self.0 & !bindings::hmm_pfn_flags_HMM_PFN_FLAGS)
    }

    #[inline]
    pub(super) fn grants<P: Access>(self) -> bool {
        self.0 & P::FLAGS == P::FLAGS
    }

    #[inline]
    pub(super) fn map_order(self) -> u32 {
        // SAFETY: Has no requirements.
        unsafe { bindings::hmm_pfn_to_map_order(self.0) }
    }

    /// The page, or one of those behind it.
    ///
    /// # Safety
    ///
    /// `self` was read from the CPU page table, and its mapping has that many pages more.
    #[inline]
    pub(super) unsafe fn page(self, index: usize) -> *mut bindings::page {
        // SAFETY: What is mapped has a page. The number is in the low bits, and stays there.
        unsafe { bindings::hmm_pfn_to_page(self.0 + index) }
    }
}

/// Room for what is read from the CPU page table: one entry per page.
pub struct FaultBuffer(KVVec<c_ulong>);

impl FaultBuffer {
    /// Makes room for ranges of up to `pages` pages.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]: out of memory.
    pub fn new(pages: PageCount, flags: crate::alloc::Flags) -> Result<Self> {
        Ok(Self(KVVec::from_elem(0, pages.as_usize(), flags)?))
    }

    /// How many pages there is room for.
    #[inline]
    pub fn pages(&self) -> PageCount {
        PageCount::new(self.0.len())
    }
}

/// A range of addresses in flight: invalidations that hit it are noted, others are not.
///
/// Made by [`Faulter::range`]. It may be kept for one fault or for longer, and be faulted in
/// again. It belongs to one thread, and to the function that has the faulter; one that belongs to
/// an object is a [`OwnedFaultRange`].
///
/// # Examples
///
/// What [`Faulter::map`] does for most drivers, once:
///
/// ```
/// use kernel::{
///     hmm::{Faulted, MirrorOps, FaultRange, PageRange, FaultBuffer, Faulter, Stale, Write},
///     prelude::*,
/// };
///
/// fn try_map<T: MirrorOps>(
///     faulter: &mut Faulter<'_, T>,
///     range: PageRange,
///     buffer: &mut FaultBuffer,
///     put_in: impl FnOnce(&mut T::PageTable),
/// ) -> Result<bool> {
///     pin_init::stack_try_pin_init!(
///         let in_flight: FaultRange<'_, T> =? faulter.range(range, buffer)
///     );
///     let faulted: Faulted<'_, '_, T, Write> = in_flight.as_mut().fault(Write)?;
///
///     match faulted.commit(|table, _pages| put_in(table)) {
///         Ok(()) => Ok(true),
///         Err(Stale) => Ok(false),
///     }
/// }
/// ```
///
/// # Invariants
///
/// `raw` is in flight for `mirror`, and its pfn array has room for its pages and is ours alone.
#[pin_data(PinnedDrop)]
pub struct FaultRange<'s, T: MirrorOps> {
    mirror: &'s Mirror<T>,
    // The faulter is borrowed as well, so that its lock is not held while this faults.
    _borrowed: PhantomData<&'s mut FaultBuffer>,
    /// Whether what was read last was committed.
    committed: bool,
    #[pin]
    pub(super) raw: Opaque<bindings::hmm_mirror_range>,
}

impl<'s, T: MirrorOps> FaultRange<'s, T> {
    /// See [`Faulter::range`], which borrows the faulter for `'s`, and [`OwnedFaultRange::new`].
    ///
    /// # Safety
    ///
    /// What `buffer` has on the heap is there, and used by nobody else, for as long as the range.
    pub(super) unsafe fn new(
        mirror: &'s Mirror<T>,
        range: PageRange,
        buffer: &mut FaultBuffer,
    ) -> impl PinInit<Self, Error> + 's {
        let fits = range.pages() <= buffer.pages();
        let raw = bindings::hmm_mirror_range {
            range: bindings::hmm_range {
                start: range.start().as_usize(),
                end: range.end().as_usize(),
                hmm_pfns: buffer.0.as_mut_ptr(),
                dev_private_owner: mirror.owner(),
                ..pin_init::zeroed()
            },
            ..pin_init::zeroed()
        };

        // INVARIANT: `raw` is in flight when it is initialised, there is room, and by the
        // requirement that stays.
        try_pin_init!(Self {
            mirror,
            _borrowed: PhantomData,
            committed: false,
            raw <- Opaque::try_ffi_init(move |slot: *mut bindings::hmm_mirror_range| {
                if !fits {
                    return Err(EINVAL);
                }
                // SAFETY: `slot` is valid for writes.
                unsafe { slot.write(raw) };
                // SAFETY: `slot` is initialised, pinned, and stays so until the range is ended
                // when it is dropped; `mirror` is registered by its type invariants.
                to_result(unsafe {
                    bindings::hmm_mirror_range_begin(slot, mirror.raw.get())
                })
            }),
        })
    }

    /// Reads the CPU page table, and faults in what is missing, as `access` asks for.
    ///
    /// Waits while the range is being updated. What comes back can only be
    /// [committed](Faulted::commit).
    ///
    /// Sleeps. See [`Faulter`] for what must not be held.
    ///
    /// # Errors
    ///
    /// - [`EFAULT`]: a page has no mapping, or may not be read; not for [`Present`]. Or the
    ///   memory was reaped, as the process has been killed.
    /// - [`EPERM`]: a page may not be written; only for [`Write`].
    /// - [`ESRCH`]: the address space is dead.
    /// - [`EBUSY`]: the range was updated again and again for a second.
    /// - [`EINTR`]: a fatal signal is pending.
    /// - [`ENOMEM`]: out of memory.
    pub fn fault<A: Access>(
        self: Pin<&mut Self>,
        _access: A,
    ) -> Result<Faulted<'_, 's, T, A::Granted>> {
        // 0 stands for the default of the C side.
        self.read(A::REQUEST, 0)
    }

    /// Same as [`FaultRange::fault`], with a time limit other than a second.
    ///
    /// What is limited is the waiting for invalidations and the trying again because of them, not the
    /// time that it takes to fault a page in. The limit is rounded up to at least one tick of the
    /// kernel's clock; [`EBUSY`] says that it is over.
    ///
    /// # Errors
    ///
    /// Those of [`FaultRange::fault`].
    pub fn fault_timeout<A: Access>(
        self: Pin<&mut Self>,
        _access: A,
        limit: Delta,
    ) -> Result<Faulted<'_, 's, T, A::Granted>> {
        let msecs = limit.as_millis_ceil().clamp(1, i64::from(Msecs::MAX));

        self.read(A::REQUEST, msecs_to_jiffies(msecs as Msecs).max(1))
    }

    /// Reads the CPU page table, and faults in what is missing, as `request` says for each page.
    ///
    /// `request` is called with the address of each page, again when the range was updated meanwhile.
    /// Each page is at least what was wanted; those around one that has to be faulted in may be
    /// faulted in along with it.
    /// [`Page::writable`] says which pages may be written.
    ///
    /// # Errors
    ///
    /// Those of [`FaultRange::fault`], [`EFAULT`] and [`EPERM`] only for pages that are wanted
    /// for reading or writing; and [`EFAULT`] for memory that only `userfaultfd(2)` can fill in.
    ///
    /// # Examples
    ///
    /// One page to write, and of those around it what is there:
    ///
    /// ```
    /// use kernel::{
    ///     hmm::{MirrorOps, FaultRange, PageRange, FaultBuffer, Faulter, VirtAddr, PageRequest},
    ///     prelude::*,
    /// };
    ///
    /// fn fault_around<T: MirrorOps>(
    ///     faulter: &mut Faulter<'_, T>,
    ///     around: PageRange,
    ///     needed: VirtAddr,
    ///     buffer: &mut FaultBuffer,
    /// ) -> Result<usize> {
    ///     pin_init::stack_try_pin_init!(
    ///         let range: FaultRange<'_, T> =? faulter.range(around, buffer)
    ///     );
    ///     let request = |addr| if addr == needed { PageRequest::Write } else { PageRequest::Present };
    ///
    ///     loop {
    ///         let faulted = range.as_mut().fault_each(request)?;
    ///         if let Ok(there) = faulted.commit(|_table, pages| pages.count()) {
    ///             return Ok(there);
    ///         }
    ///     }
    /// }
    /// ```
    pub fn fault_each(
        mut self: Pin<&mut Self>,
        mut request: impl FnMut(VirtAddr) -> PageRequest,
    ) -> Result<Faulted<'_, 's, T, Read>> {
        let raw = self.raw.get();
        let begun = Instant::<Monotonic>::now();
        // SAFETY: By the type invariants `raw` is valid and in flight, and these do not change.
        let (start, end, buffer) = unsafe {
            let range = &raw const (*raw).range;
            ((*range).start, (*range).end, (*range).hmm_pfns)
        };

        loop {
            for (i, addr) in (start..end).step_by(PAGE_SIZE).enumerate() {
                let request = request(VirtAddr::new(addr)).request();

                // SAFETY: By the type invariants there is an entry for each page, for us alone.
                unsafe { *buffer.add(i) = request };
            }
            // SAFETY: `raw` is valid; by `&mut` nobody else uses it but the registry, which does
            // not touch this field.
            unsafe { (*raw).range.pfn_flags_mask = Write::REQUEST };
            let done = self.as_mut().read_raw(0, 0);
            // SAFETY: As above.
            unsafe { (*raw).range.pfn_flags_mask = 0 };

            match done {
                // What was wanted is overwritten, so the C side does not try again.
                Err(EBUSY) if begun.elapsed() < MAP_TIMEOUT => (),
                done => return done.map(|()| Faulted::new(self)),
            }
        }
    }

    fn read<P: Access>(
        mut self: Pin<&mut Self>,
        request: usize,
        timeout: Jiffies,
    ) -> Result<Faulted<'_, 's, T, P>> {
        self.as_mut().read_raw(request, timeout)?;
        Ok(Faulted::new(self))
    }

    fn read_raw(self: Pin<&mut Self>, request: usize, timeout: Jiffies) -> Result {
        let this = self.project();
        let raw = this.raw.get();

        *this.committed = false;
        // SAFETY: By the type invariants `raw` is valid and in flight; by `&mut` nobody else uses
        // it but the registry, which does not touch this field.
        unsafe { (*raw).range.default_flags = request };
        // SAFETY: As above, and the pfn array is ours.
        to_result(unsafe { bindings::hmm_mirror_range_fault(raw, timeout) })
    }

    /// Locks the device's page table. See [`Faulter::lock`], which is borrowed by the range.
    #[inline]
    pub fn lock(self: Pin<&mut Self>) -> TableGuard<'_, T> {
        self.into_ref().get_ref().mirror.lock()
    }

    /// Locks the device's page table, if what was committed is still true.
    ///
    /// For a range that is kept: as long as no invalidation has hit it since it was faulted in, neither
    /// has one hit the entries that were made of it. What the driver itself has taken out comes
    /// back by [`recommit`](Self::recommit).
    ///
    /// # Errors
    ///
    /// [`Stale`]: nothing was committed yet, or an invalidation came since.
    ///
    /// # Examples
    ///
    /// A page that the device looks at again and again, and that is faulted in when it has gone.
    /// There is no `else`, as what was locked would still be there in it.
    ///
    /// ```
    /// use kernel::{
    ///     hmm::{MirrorOps, FaultRange, Read},
    ///     prelude::*,
    /// };
    ///
    /// fn look<T: MirrorOps>(
    ///     mut page: Pin<&mut FaultRange<'_, T>>,
    ///     ring: impl Fn(&T::PageTable) -> bool,
    /// ) -> Result {
    ///     loop {
    ///         if let Ok(table) = page.as_mut().lock_committed() {
    ///             if ring(&table) {
    ///                 return Ok(());
    ///             }
    ///             continue;
    ///         }
    ///         // If an invalidation came meanwhile, that is found by the next look.
    ///         let _ = page.as_mut().fault(Read)?.commit(|_table, _pages| ());
    ///     }
    /// }
    /// ```
    pub fn lock_committed(self: Pin<&mut Self>) -> core::result::Result<TableGuard<'_, T>, Stale> {
        let this = self.into_ref().get_ref();
        let guard = this.mirror.lock();

        // SAFETY: `raw` is valid by the type invariants, and we hold the lock that the callback
        // takes.
        if this.committed && unsafe { bindings::hmm_mirror_range_valid(this.raw.get()) } {
            Ok(guard)
        } else {
            Err(Stale)
        }
    }

    /// Gives what was committed to the device once more, if it is still true, without a fault.
    ///
    /// See [`Faulted::commit`].
    ///
    /// # Errors
    ///
    /// [`Stale`]: nothing was committed yet, or an invalidation came since.
    pub fn recommit<R>(
        self: Pin<&mut Self>,
        f: impl FnOnce(&mut T::PageTable, Pages<'_, T, Read>) -> R,
    ) -> core::result::Result<R, Stale> {
        if self.committed {
            self.commit(f)
        } else {
            Err(Stale)
        }
    }

    /// See [`Faulted::commit`]. The range was read, and the pages that permit `P` are shown.
    fn commit<P: Access, R>(
        self: Pin<&mut Self>,
        f: impl FnOnce(&mut T::PageTable, Pages<'_, T, P>) -> R,
    ) -> core::result::Result<R, Stale> {
        let this = self.project();
        let mut guard = this.mirror.locked.lock();
        let locked = &mut *guard;
        let raw = this.raw.get();

        // SAFETY: `raw` is valid by the type invariants, was faulted, and we hold the lock that
        // the callback takes.
        if !unsafe { bindings::hmm_mirror_range_valid(raw) } {
            return Err(Stale);
        }
        *this.committed = true;
        // SAFETY: `raw` is valid by the type invariants, and nobody changes what is read here
        // while we hold `self`.
        let range = unsafe { &(*raw).range };
        let pages = Pages {
            // SAFETY: By the type invariants, the array has room for all pages of the range, and
            // it is not written to while we hold `self`.
            buffer: unsafe {
                core::slice::from_raw_parts(range.hmm_pfns, (range.end - range.start) >> PAGE_SHIFT)
            },
            addr: range.start,
            order: 0,
            stamps: &locked.stamps,
            _device: PhantomData,
        };
        Ok(f(&mut locked.table, pages))
    }
}

#[pinned_drop]
impl<T: MirrorOps> PinnedDrop for FaultRange<'_, T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants the range is in flight.
        unsafe { bindings::hmm_mirror_range_end(self.raw.get()) };
    }
}

/// A [`FaultRange`] that belongs to an object, and stays in flight for as long as that does.
///
/// It has a reference to the mirror, so that must not be dropped either where dropping a mirror
/// would [wait for itself](Mirror#deadlocks): in a callback, or with the page table that it belongs
/// to.
///
/// # Examples
///
/// A buffer that the device was told about once and for all. Whoever uses it looks whether it is
/// still where it was, and faults only if not:
///
/// ```
/// use kernel::{
///     hmm::{OwnedFaultRange, Mirror, MirrorOps, PageRange, Pages, FaultBuffer, Write},
///     prelude::*,
///     sync::Arc,
/// };
///
/// #[pin_data]
/// struct Buffer<T: MirrorOps> {
///     #[pin]
///     range: OwnedFaultRange<T>,
/// }
///
/// impl<T: MirrorOps> Buffer<T> {
///     fn new(mirror: Arc<Mirror<T>>, range: PageRange) -> Result<Pin<KBox<Self>>> {
///         let buffer = FaultBuffer::new(range.pages(), GFP_KERNEL)?;
///
///         KBox::try_pin_init(
///             try_pin_init!(Self { range <- OwnedFaultRange::new(mirror, range, buffer) }),
///             GFP_KERNEL,
///         )
///     }
///
///     fn submit(
///         self: Pin<&mut Self>,
///         enter: impl Fn(&mut T::PageTable, Pages<'_, T, Write>),
///         start: impl Fn(&T::PageTable),
///     ) -> Result {
///         let mut range = self.project().range.range();
///
///         loop {
///             if let Ok(table) = range.as_mut().lock_committed() {
///                 start(&table);
///                 return Ok(());
///             }
///             let _ = range.as_mut().fault(Write)?.commit(&enter);
///         }
///     }
/// }
/// ```
#[pin_data]
pub struct OwnedFaultRange<T: MirrorOps> {
    // In the order in which they are dropped: the range has ended before what it uses goes.
    #[pin]
    range: FaultRange<'static, T>,
    _pfns: FaultBuffer,
    _mirror: Arc<Mirror<T>>,
}

// SAFETY: The registry does not care which thread uses a range, as long as it is one at a time,
// which `&mut` says. What it refers to, a mirror, may be used by any.
unsafe impl<T: MirrorOps> Send for OwnedFaultRange<T> {}
// SAFETY: There is nothing to be done with a `&OwnedFaultRange`.
unsafe impl<T: MirrorOps> Sync for OwnedFaultRange<T> {}

impl<T: MirrorOps> OwnedFaultRange<T> {
    /// Puts a range in flight that has room of its own for what is read.
    ///
    /// # Errors
    ///
    /// Those of [`Faulter::range`].
    pub fn new(
        mirror: Arc<Mirror<T>>,
        range: PageRange,
        mut buffer: FaultBuffer,
    ) -> impl PinInit<Self, Error> {
        // SAFETY: The mirror is there for as long as the range is, by the reference that is kept
        // beside it. The lifetime does not get out: what a range lends lasts no longer than it is
        // borrowed.
        let borrowed = unsafe { &*Arc::as_ptr(&mirror) };

        try_pin_init!(Self {
            // SAFETY: `buffer` is kept beside the range, and dropped after it.
            range <- unsafe { FaultRange::new(borrowed, range, &mut buffer) },
            _pfns: buffer,
            _mirror: mirror,
        })
    }

    /// The range, to fault it in and to use what was committed.
    ///
    /// That is what a [`Faulter`] of the mirror is, too, and has the same to say about deadlocks.
    #[inline]
    pub fn range(self: Pin<&mut Self>) -> Pin<&mut FaultRange<'static, T>> {
        self.project().range
    }
}

/// What was read from the CPU page table, and may be out of date already.
///
/// There is nothing to see in here. [`Faulted::commit`] shows it, if it is still true.
#[must_use = "what was read is of use only when it is committed"]
pub struct Faulted<'r, 's, T: MirrorOps, P: Access> {
    range: Pin<&'r mut FaultRange<'s, T>>,
    _permission: PhantomData<P>,
}

/// The CPU page table was updated after it was read: [fault](FaultRange::fault) again.
///
/// That is no failure, and so it does not turn into an [`Error`] by itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Stale;

impl<'r, 's, T: MirrorOps, P: Access> Faulted<'r, 's, T, P> {
    fn new(range: Pin<&'r mut FaultRange<'s, T>>) -> Self {
        Self {
            range,
            _permission: PhantomData,
        }
    }

    /// Gives what was read to the device, if it is still true.
    ///
    /// Locks the device's page table, and calls `f` with it and the pages. The pages stay what
    /// they are, and where they are, until `f` returns; after that for as long as `f`'s entries
    /// are in the page table and the device was not told to [invalidate](MirrorOps::invalidate)
    /// them. That holds for the entries that `f` has made, also where it then fails.
    ///
    /// Under that lock `f` must not do what [`Faulter::lock`] says.
    ///
    /// # Errors
    ///
    /// [`Stale`]: an invalidation came in between. `f` was not called.
    pub fn commit<R>(
        self,
        f: impl FnOnce(&mut T::PageTable, Pages<'_, T, P>) -> R,
    ) -> core::result::Result<R, Stale> {
        self.range.commit(f)
    }
}

/// The pages of a range that are there, in address order. See [`Faulted::commit`].
pub struct Pages<'p, T: MirrorOps, P: Access> {
    buffer: &'p [c_ulong],
    addr: usize,
    order: u32,
    stamps: &'p FrameStamps,
    _device: PhantomData<fn() -> (T, P)>,
}

impl<T: MirrorOps, P: Access> Pages<'_, T, P> {
    /// Joins pages to huge ones, wherever that can be done.
    ///
    /// `order` is the logarithm to base 2 of the pages in a huge page of the device. Pages that
    /// the CPU maps by an entry of at least that size come as one then, if all of it is in the
    /// range; all others come one by one, as they do without this.
    #[inline]
    pub fn blocks(self, order: u32) -> Self {
        Self { order, ..self }
    }

    /// The order of the page that comes next, which the CPU maps by `pfn`.
    #[inline]
    fn next_order(&self, pfn: HmmPfn) -> u32 {
        let joined = self.order != 0
            && pfn.map_order() >= self.order
            && self.buffer.len() >> self.order != 0
            && (self.addr >> PAGE_SHIFT).trailing_zeros() >= self.order;

        if joined {
            self.order
        } else {
            0
        }
    }
}

impl<'p, T: MirrorOps, P: Access> Iterator for Pages<'p, T, P> {
    type Item = Page<'p, T, P>;

    #[inline]
    fn next(&mut self) -> Option<Page<'p, T, P>> {
        while let Some(&pfn) = self.buffer.first() {
            let pfn = HmmPfn(pfn);
            let there = pfn.grants::<P>();
            let page = Page {
                pfn,
                addr: self.addr,
                order: if there { self.next_order(pfn) } else { 0 },
                stamps: self.stamps,
                _device: PhantomData,
            };

            self.buffer = self.buffer.get(1 << page.order..).unwrap_or_default();
            self.addr = self.addr.wrapping_add(PAGE_SIZE << page.order);
            if there {
                return Some(page);
            }
        }
        None
    }
}

/// A page of the process, lent for as long as a commit lasts.
pub struct Page<'p, T: MirrorOps, P: Access> {
    pfn: HmmPfn,
    addr: usize,
    order: u32,
    stamps: &'p FrameStamps,
    _device: PhantomData<fn() -> (T, P)>,
}

impl<'p, T: MirrorOps, P: Access> Page<'p, T, P> {
    /// Its address in the process.
    #[inline]
    pub fn addr(&self) -> VirtAddr {
        VirtAddr::new(self.addr)
    }

    /// The addresses that it is mapped at.
    #[inline]
    pub fn range(&self) -> PageRange {
        PageRange::mapped(self.addr, self.order)
    }

    /// Its page frame number: what a device's entry is made of.
    ///
    /// Of a [joined](Pages::blocks) page, that of the first.
    #[inline]
    pub fn pfn(&self) -> Pfn {
        self.pfn.pfn()
    }

    /// The same page with the permission to write, if the process may write it, too.
    ///
    /// A device that enters it as writable at once spares itself another fault.
    #[inline]
    pub fn writable(&self) -> Option<Page<'p, T, Write>> {
        self.pfn.grants::<Write>().then_some(Page {
            pfn: self.pfn,
            addr: self.addr,
            order: self.order,
            stamps: self.stamps,
            _device: PhantomData,
        })
    }

    /// Its size: the logarithm to base 2 of its pages. 0, but for [joined](Pages::blocks) ones.
    ///
    /// It is aligned to its size, in the process and in memory.
    #[inline]
    pub fn order(&self) -> u32 {
        self.order
    }

    /// The size of the CPU's mapping that it is part of: the logarithm to base 2 of its pages.
    ///
    /// Such a mapping is aligned to its size, in the process and in memory, and may extend beyond
    /// the range that was faulted.
    #[inline]
    pub fn map_order(&self) -> u32 {
        self.pfn.map_order()
    }

    /// The page itself (of a joined one the first), for the kernel's interfaces that take one.
    ///
    /// The process may write to it at any time.
    #[inline]
    pub fn as_page(&self) -> BorrowedPage<'_> {
        // SAFETY: What the CPU page table maps has a page.
        let page = unsafe { NonNull::new_unchecked(self.pfn.page(0)) };

        // SAFETY: The page is there for as long as the commit lasts, which `self` does not outlive.
        unsafe { BorrowedPage::from_raw(page) }
    }

    /// Whether it is in the memory of the device itself, which the CPU cannot access.
    ///
    /// Such pages come only to devices that have an [owner](MirrorOps::owner).
    #[inline]
    pub fn is_device_private(&self) -> bool {
        // SAFETY: What the CPU page table maps has a page, which is there while the commit lasts.
        unsafe { bindings::is_device_private_page(self.pfn.page(0)) }
    }

    /// An entry for an emulated device's page table, to read.
    ///
    /// Only for devices with [`MirrorOps::CPU_ACCESS`].
    #[inline]
    pub fn frame(&self) -> Frame {
        const { assert!(T::CPU_ACCESS, "frames are for devices with CPU_ACCESS") };
        // SAFETY: A commit is going on, so the page is what the CPU page table says about `addr`,
        // and the lock of `stamps` is held. It has an order only where the CPU's mapping has that,
        // too.
        unsafe { self.stamps.frame(self.addr, self.pfn, self.order) }
    }
}

impl<T: MirrorOps> Page<'_, T, Write> {
    /// An entry for an emulated device's page table, to read and to write.
    ///
    /// Only for devices with [`MirrorOps::CPU_ACCESS`].
    #[inline]
    pub fn frame_mut(&self) -> FrameMut {
        // INVARIANT: By the permission, the process may write the page, too.
        FrameMut::new(self.frame())
    }
}
