// SPDX-License-Identifier: GPL-2.0

//! Device page faults, from the fault to the commit.

use super::{
    access::Sealed,
    dma,
    page::{
        Page,
        Pages, //
    },
    Access,
    CommitError,
    DmaRuns,
    FaultError,
    Mirror,
    MirrorOps,
    PageRequest,
    Read,
    TableGuard,
    Write, //
};
use crate::{
    alloc::Flags,
    bindings,
    error::to_result,
    fmt,
    mm::addr::{
        PageCount,
        PageRange,
        VirtAddr, //
    },
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    time::{
        msecs_to_jiffies,
        Delta,
        Jiffies,
        Msecs, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    },
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A buffer for the result of a fault, with an entry for each page.
///
/// # Examples
///
/// ```
/// use kernel::{hmm::FaultBuffer, mm::addr::PageCount, prelude::*};
///
/// let buffer = FaultBuffer::new(PageCount::new(3), GFP_KERNEL)?;
///
/// assert_eq!(buffer.pages(), PageCount::new(3));
/// # Ok::<(), Error>(())
/// ```
pub struct FaultBuffer(KVVec<c_ulong>);

impl FaultBuffer {
    /// Allocates a buffer for ranges of up to `pages` pages.
    ///
    /// Sleeps if `flags` permit that. Not to be called with a lock held that a callback takes.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]: out of memory.
    pub fn new(pages: PageCount, flags: Flags) -> Result<Self> {
        Ok(Self(KVVec::from_elem(0, pages.as_usize(), flags)?))
    }

    /// Returns the number of pages that the buffer has room for.
    #[inline]
    pub fn pages(&self) -> PageCount {
        PageCount::new(self.0.len())
    }
}

/// A range of addresses in flight: the registry notes the invalidations that hit it.
///
/// Created by [`Faulter::range`]. It may be used for one fault or for many. It belongs to one
/// thread, and borrows a [`Faulter`]; use an [`OwnedFaultRange`] to store a range in an object.
///
/// [`Faulter`]: super::Faulter
/// [`Faulter::range`]: super::Faulter::range
/// [`OwnedFaultRange`]: super::OwnedFaultRange
///
/// # Examples
///
/// What [`Faulter::map`](super::Faulter::map) does, without the retries:
///
/// ```
/// use kernel::{
///     hmm::{FaultBuffer, FaultRange, Faulted, Faulter, MirrorOps, Stale, Write},
///     mm::addr::PageRange,
///     prelude::*,
/// };
///
/// fn try_map<T: MirrorOps>(
///     faulter: &mut Faulter<'_, T>,
///     range: PageRange,
///     buffer: &mut FaultBuffer,
///     enter: impl FnOnce(Pin<&mut T::PageTable>),
/// ) -> Result<bool> {
///     pin_init::stack_try_pin_init!(
///         let in_flight: FaultRange<'_, T> =? faulter.range(range, buffer)
///     );
///     let faulted: Faulted<'_, '_, T, Write> = in_flight.as_mut().fault(Write)?;
///
///     match faulted.commit(|table, _pages| enter(table)) {
///         Ok(()) => Ok(true),
///         Err(Stale) => Ok(false),
///     }
/// }
/// ```
///
/// # Invariants
///
/// `raw` is in flight for `mirror`, which is valid until the range is dropped. Its pfn array has
/// room for its pages, and nobody else uses the array.
#[pin_data(PinnedDrop)]
pub struct FaultRange<'s, T: MirrorOps> {
    // No reference, because an `OwnedFaultRange` has a `'s` that `T` need not outlive.
    mirror: NonNull<Mirror<T>>,
    // Stands for the faulter as well, which must not lock while this faults.
    _borrowed: PhantomData<&'s mut FaultBuffer>,
    /// Whether the result of the last fault was committed.
    committed: bool,
    #[pin]
    pub(super) raw: Opaque<bindings::hmm_mirror_range>,
    _nts: NotThreadSafe,
}

impl<'s, T: MirrorOps> FaultRange<'s, T> {
    /// See [`Faulter::range`](super::Faulter::range), which borrows the faulter for `'s`, and
    /// [`OwnedFaultRange::new`](super::OwnedFaultRange::new).
    ///
    /// # Safety
    ///
    /// `mirror` is valid until the range is dropped. So is the heap memory of `buffer`, and nobody
    /// else uses that.
    pub(super) unsafe fn new(
        mirror: NonNull<Mirror<T>>,
        range: PageRange,
        buffer: &mut FaultBuffer,
    ) -> impl PinInit<Self, Error> {
        // SAFETY: By the safety requirements.
        let (owner, raw_mirror) = unsafe { (mirror.as_ref().owner(), mirror.as_ref().raw.get()) };
        let fits = range.pages() <= buffer.pages();
        let raw = bindings::hmm_mirror_range {
            start: range.start().as_usize(),
            end: range.end().as_usize(),
            pfns: buffer.0.as_mut_ptr(),
            owner,
            ..pin_init::zeroed()
        };

        // INVARIANT: The initialiser puts `raw` in flight, and fails if there is no room. By the
        // safety requirements `mirror` stays valid, and the array ours.
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
                // SAFETY: `slot` is initialised and pinned, so it stays valid until it is dropped,
                // which ends the range. `mirror` is registered by its type invariants.
                to_result(unsafe { bindings::hmm_mirror_range_begin(slot, raw_mirror) })
            }),
            _nts: NotThreadSafe,
        })
    }

    #[inline]
    pub(super) fn mirror(&self) -> &Mirror<T> {
        // SAFETY: By the type invariants, for as long as `self` is there.
        unsafe { self.mirror.as_ref() }
    }

    /// Faults in the pages of the range, as `access` asks for.
    ///
    /// Waits while the range is being invalidated. The only use of the result is to
    /// [commit](Faulted::commit) it.
    ///
    /// Sleeps. See [`Faulter`](super::Faulter) for the locks that must not be held.
    ///
    /// # Errors
    ///
    /// - [`FaultError::Unmapped`]: a page is not mapped, or may not be read; not with [`Present`].
    ///   Or the process was killed, and its memory was reaped.
    /// - [`FaultError::ReadOnly`]: a page may not be written; only with [`Write`].
    /// - [`FaultError::Dead`]: the address space has gone.
    /// - [`FaultError::Busy`]: the range was invalidated again and again for a second.
    /// - [`FaultError::Killed`]: a fatal signal is pending.
    /// - [`FaultError::Cancelled`]: [`Mirror::cancel`] was called.
    /// - [`FaultError::NoMemory`]: out of memory.
    ///
    /// # Examples
    ///
    /// See [`FaultRange`].
    ///
    /// [`Present`]: super::Present
    pub fn fault<A: Access>(
        self: Pin<&mut Self>,
        _access: A,
    ) -> Result<Faulted<'_, 's, T, A::Granted>, FaultError> {
        self.read(A::REQUEST, default_timeout())
    }

    /// Faults in the pages of the range and commits them, as [`Faulter::map`] describes.
    ///
    /// The range stays in flight. [`retries`](Self::retries) says how often it collided.
    ///
    /// [`Faulter::map`]: super::Faulter::map
    pub fn map<A: Access, R>(
        self: Pin<&mut Self>,
        _access: A,
        commit: impl FnOnce(Pin<&mut T::PageTable>, Pages<'_, T, A::Granted>) -> R,
    ) -> Result<R, FaultError> {
        let mut commit = Some(commit);
        let attempt = |range: Pin<&mut Self>| {
            Ok(range.commit(|table, pages| commit.take().map(|f| f(table, pages)))?)
        };

        self.map_by(A::REQUEST, attempt, |raw, call, data| {
            // SAFETY: By the type invariants `raw` is in flight, and the pfn array is ours. `call`
            // may be called with `data`.
            unsafe { bindings::hmm_mirror_range_map(raw, default_timeout(), call, data) }
        })
    }

    /// Faults in the pages of the range, maps them for the [device](MirrorOps::device) and commits
    /// them, as [`Faulter::map_dma`] describes.
    ///
    /// The range stays in flight. [`retries`](Self::retries) says how often it collided.
    ///
    /// # Errors
    ///
    /// Those of [`Faulter::map_dma`].
    ///
    /// [`Faulter::map_dma`]: super::Faulter::map_dma
    pub fn map_dma<A: Access, R>(
        self: Pin<&mut Self>,
        _access: A,
        commit: impl FnOnce(Pin<&mut T::PageTable>, DmaRuns<'_, T, A::Granted>) -> R,
    ) -> Result<R, FaultError> {
        let mut commit = Some(commit);
        let attempt = |range: Pin<&mut Self>| {
            Ok(range.commit_dma(|table, runs| commit.take().map(|f| f(table, runs)))?)
        };

        self.map_by(A::REQUEST, attempt, |raw, call, data| {
            // SAFETY: As in `map`.
            unsafe { bindings::hmm_mirror_range_map(raw, default_timeout(), call, data) }
        })
    }

    /// Faults in the page of the range, takes it away from the CPU and from other devices, and
    /// commits it.
    ///
    /// This is for atomic operations of a device that has no other way to keep the CPU out: until
    /// the mirror is told to [invalidate](MirrorOps::invalidate) the page, nobody else accesses it,
    /// except who got the page before, as for direct I/O. Two devices that want the same page take
    /// turns, and each has it for one `commit` at least.
    ///
    /// The range must have one page. `invalidate` is called for what this does as well, and other
    /// ranges of the mirror become stale. While a device has the page, `fork(2)` of the process may
    /// fail.
    ///
    /// Sleeps, as [`FaultRange::fault`] does. `commit` is called with the lock of the page table
    /// and with the page locked: it must neither allocate memory, nor access user memory, nor
    /// fault.
    ///
    /// # Errors
    ///
    /// Those of [`FaultRange::fault`], and:
    ///
    /// - [`FaultError::Unmapped`]: also for a range of several pages.
    /// - [`FaultError::Unsupported`]: the page is not anonymous memory, or is of hugetlbfs; or the
    ///   kernel is built without `CONFIG_DEVICE_PRIVATE`.
    ///
    /// # Examples
    ///
    /// An emulated device adds to a counter of the process, by a read and a write:
    ///
    /// ```
    /// use kernel::{
    ///     hmm::{FaultError, FaultRange, MirrorOps},
    ///     prelude::*,
    /// };
    ///
    /// fn add<T: MirrorOps>(
    ///     page: Pin<&mut FaultRange<'_, T>>,
    ///     offset: usize,
    ///     value: u64,
    /// ) -> Result<u64, FaultError> {
    ///     page.map_exclusive(|_table, page| {
    ///         let mut old = [0; 8];
    ///
    ///         page.read(offset, &mut old);
    ///         let old = u64::from_ne_bytes(old);
    ///         page.write(offset, &old.wrapping_add(value).to_ne_bytes());
    ///         old
    ///     })
    /// }
    /// ```
    pub fn map_exclusive<R>(
        self: Pin<&mut Self>,
        commit: impl FnOnce(Pin<&mut T::PageTable>, Page<'_, T, Write>) -> R,
    ) -> Result<R, FaultError> {
        let mut commit = Some(commit);
        let attempt = |range: Pin<&mut Self>| {
            Ok(range.commit(|table, mut pages: Pages<'_, T, Write>| {
                // It is the page that was asked for.
                pages
                    .next()
                    .zip(commit.take())
                    .map(|(page, f)| f(table, page))
            })?)
        };

        self.map_by(Write::REQUEST, attempt, |raw, call, data| {
            // SAFETY: As in `map`.
            unsafe { bindings::hmm_mirror_range_map_exclusive(raw, default_timeout(), call, data) }
        })
    }

    /// Asks for `request`, and calls a function in C that calls `attempt`.
    fn map_by<R>(
        mut self: Pin<&mut Self>,
        request: usize,
        attempt: impl FnMut(Pin<&mut Self>) -> Result<Option<R>>,
        function: impl FnOnce(
            *mut bindings::hmm_mirror_range,
            bindings::hmm_commit_fn,
            *mut c_void,
        ) -> c_int,
    ) -> Result<R, FaultError> {
        dma::reserve(self.mirror(), self.addresses())?;

        let raw = self.as_mut().request(request);
        let mut map = Map {
            range: self,
            attempt,
            result: None,
        };
        let call = Map::call_of(&map);
        let result = to_result(function(raw, Some(call), (&raw mut map).cast()));

        match (map.result, result) {
            (Some(result), _) => Ok(result),
            (None, Err(error)) => Err(FaultError::from_raw(error)),
            (None, Ok(())) => Err(FaultError::Unmapped),
        }
    }

    /// Returns the addresses of the range.
    pub(super) fn addresses(&self) -> PageRange {
        // SAFETY: By the type invariants `raw` is in flight, so it is valid, and nobody changes
        // these fields.
        let (start, end) = unsafe { ((*self.raw.get()).start, (*self.raw.get()).end) };

        // SAFETY: They were taken from a `PageRange`.
        unsafe { PageRange::from_bounds_unchecked(VirtAddr::new(start), VirtAddr::new(end)) }
    }

    /// Faults in the pages of the range, with a timeout other than a second.
    ///
    /// The timeout limits the time that is spent on waiting for invalidations and on retries, and
    /// not the time that it takes to fault in a page. It is rounded up to at least one jiffy. When
    /// it expires, the fault fails with [`FaultError::Busy`].
    ///
    /// Sleeps, as [`FaultRange::fault`] does.
    ///
    /// # Errors
    ///
    /// Those of [`FaultRange::fault`].
    ///
    /// # Examples
    ///
    /// A prefetch, which is not worth waiting for:
    ///
    /// ```
    /// use kernel::{
    ///     hmm::{FaultError, FaultRange, MirrorOps, Pages, Read},
    ///     prelude::*,
    ///     time::Delta,
    /// };
    ///
    /// fn prefetch<T: MirrorOps>(
    ///     range: Pin<&mut FaultRange<'_, T>>,
    ///     enter: impl FnOnce(Pin<&mut T::PageTable>, Pages<'_, T, Read>),
    /// ) -> Result {
    ///     match range.fault_timeout(Read, Delta::from_millis(1)) {
    ///         // If it is stale, it is not worth another try.
    ///         Ok(faulted) => drop(faulted.commit(enter)),
    ///         Err(FaultError::Busy) => (),
    ///         Err(error) => return Err(error.into()),
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn fault_timeout<A: Access>(
        self: Pin<&mut Self>,
        _access: A,
        timeout: Delta,
    ) -> Result<Faulted<'_, 's, T, A::Granted>, FaultError> {
        let msecs = timeout.as_millis_ceil().clamp(1, i64::from(Msecs::MAX));

        self.read(A::REQUEST, msecs_to_jiffies(msecs as Msecs).max(1))
    }

    /// Faults in the pages of the range, as `request` asks for each page.
    ///
    /// On success each page permits at least what was requested for it. Pages next to one that is
    /// faulted in may be faulted in with it. [`Page::writable`] tells which pages may be written.
    ///
    /// `request` is called with the address of each page, once or several times, and has to return
    /// the same for the same address.
    ///
    /// Sleeps. See [`Faulter`](super::Faulter) for the locks that must not be held. `request` is
    /// called without a lock, and may sleep.
    ///
    /// [`Page::writable`]: super::Page::writable
    ///
    /// # Errors
    ///
    /// Those of [`FaultRange::fault`]. [`FaultError::Unmapped`] and [`FaultError::ReadOnly`] come
    /// only for pages that are requested to be read or written.
    ///
    /// # Examples
    ///
    /// Faults in one page to write, and takes those of its neighbours that are present:
    ///
    /// ```
    /// use kernel::{
    ///     hmm::{FaultBuffer, FaultRange, Faulter, MirrorOps, PageRequest},
    ///     mm::addr::{PageRange, VirtAddr},
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
    ///     let request = |addr| {
    ///         if addr == needed {
    ///             PageRequest::Write
    ///         } else {
    ///             PageRequest::Present
    ///         }
    ///     };
    ///
    ///     for _ in 0..100 {
    ///         let faulted = range.as_mut().fault_each(request)?;
    ///         if let Ok(present) = faulted.commit(|_table, pages| pages.count()) {
    ///             return Ok(present);
    ///         }
    ///     }
    ///     Err(EBUSY)
    /// }
    /// ```
    pub fn fault_each<F>(
        mut self: Pin<&mut Self>,
        mut request: F,
    ) -> Result<Faulted<'_, 's, T, Read>, FaultError>
    where
        F: FnMut(VirtAddr) -> PageRequest,
    {
        let raw = self.raw.get();

        // SAFETY: By the type invariants `raw` is in flight, so it is valid. We have `&mut`, so
        // only the registry uses it, which accesses these fields in faults only.
        unsafe {
            (*raw).pfn_flags_mask = Write::REQUEST;
            (*raw).request = Some(request_each::<F>);
            (*raw).request_data = (&raw mut request).cast();
        }
        let result = self.as_mut().read_raw(0, default_timeout());
        // SAFETY: As above. From here on nothing points to `request`.
        unsafe {
            (*raw).pfn_flags_mask = 0;
            (*raw).request = None;
            (*raw).request_data = core::ptr::null_mut();
        }

        result?;
        Ok(Faulted::new(self))
    }

    fn read<A: Access>(
        mut self: Pin<&mut Self>,
        request: usize,
        timeout: Jiffies,
    ) -> Result<Faulted<'_, 's, T, A>, FaultError> {
        self.as_mut().read_raw(request, timeout)?;
        Ok(Faulted::new(self))
    }

    fn read_raw(self: Pin<&mut Self>, request: usize, timeout: Jiffies) -> Result<(), FaultError> {
        dma::reserve(self.mirror(), self.addresses())?;

        let raw = self.request(request);

        // SAFETY: By the type invariants `raw` is in flight, and the pfn array is ours.
        to_result(unsafe { bindings::hmm_mirror_range_fault(raw, timeout) })
            .map_err(FaultError::from_raw)
    }

    /// Notes what the next fault asks for all pages. Returns the range, to fault.
    fn request(self: Pin<&mut Self>, request: usize) -> *mut bindings::hmm_mirror_range {
        let this = self.project();
        let raw = this.raw.get();

        *this.committed = false;
        // SAFETY: By the type invariants `raw` is in flight, so it is valid. We have `&mut`, so
        // only the registry uses it, which does not access this field meanwhile.
        unsafe { (*raw).flags = request };
        raw
    }

    /// Returns about how often a fault collided since the range was put in flight, and was made
    /// again, for statistics.
    #[inline]
    pub fn retries(self: Pin<&mut Self>) -> u32 {
        // SAFETY: By the type invariants `raw` is in flight, so it is valid. We have `&mut`, so
        // no fault, which changes the field, is in progress.
        unsafe { (*self.raw.get()).retries }
    }

    /// Locks the device's page table.
    ///
    /// See [`Faulter::lock`](super::Faulter::lock), which cannot be called while the range borrows
    /// the faulter. Sleeps if the lock is a mutex.
    #[inline]
    pub fn lock(self: Pin<&mut Self>) -> TableGuard<'_, T> {
        self.into_ref().get_ref().mirror().lock()
    }

    /// Locks the device's page table if the result of the last fault was committed and is valid.
    ///
    /// This is for ranges that stay in flight. As long as no invalidation hits the range, the
    /// entries that were committed are valid as well. To restore entries that the driver itself
    /// removed, use [`recommit`](Self::recommit). Sleeps if the lock is a mutex.
    ///
    /// # Errors
    ///
    /// [`Stale`] if nothing was committed yet, or an invalidation came since.
    ///
    /// # Examples
    ///
    /// Polls a page of the process, and faults it in when it has gone. An `else` branch would not
    /// compile, because the result would still be borrowed there.
    ///
    /// ```
    /// use kernel::{
    ///     hmm::{FaultRange, MirrorOps, Read},
    ///     prelude::*,
    /// };
    ///
    /// fn poll<T: MirrorOps>(
    ///     mut page: Pin<&mut FaultRange<'_, T>>,
    ///     is_ready: impl Fn(&T::PageTable) -> bool,
    /// ) -> Result {
    ///     for _ in 0..100 {
    ///         if let Ok(table) = page.as_mut().lock_committed() {
    ///             if is_ready(&table) {
    ///                 return Ok(());
    ///             }
    ///             continue;
    ///         }
    ///         // If this is stale, the next iteration notices.
    ///         let _ = page.as_mut().fault(Read)?.commit(|_table, _pages| ());
    ///     }
    ///     Err(EBUSY)
    /// }
    /// ```
    pub fn lock_committed(self: Pin<&mut Self>) -> Result<TableGuard<'_, T>, Stale> {
        let this = self.into_ref().get_ref();
        let guard = this.mirror().lock();

        // SAFETY: `raw` is valid by the type invariants, and we hold the lock that the callback
        // takes.
        if this.committed && unsafe { bindings::hmm_mirror_range_valid(this.raw.get()) } {
            Ok(guard)
        } else {
            Err(Stale)
        }
    }

    /// Commits the result of the last fault again if it was committed and is valid.
    ///
    /// See [`Faulted::commit`]. Sleeps if the lock is a mutex.
    ///
    /// # Errors
    ///
    /// [`Stale`] if nothing was committed yet, or an invalidation came since.
    ///
    /// # Examples
    ///
    /// A device has lost its entries in a reset. Most pages are still where they were:
    ///
    /// ```
    /// use kernel::{
    ///     hmm::{FaultError, FaultRange, MirrorOps, Pages, Read},
    ///     prelude::*,
    /// };
    ///
    /// fn restore<T: MirrorOps>(
    ///     mut range: Pin<&mut FaultRange<'_, T>>,
    ///     enter: impl Fn(Pin<&mut T::PageTable>, Pages<'_, T, Read>),
    /// ) -> Result<(), FaultError> {
    ///     for _ in 0..100 {
    ///         if range.as_mut().recommit(&enter).is_ok()
    ///             || range.as_mut().fault(Read)?.commit(&enter).is_ok()
    ///         {
    ///             return Ok(());
    ///         }
    ///     }
    ///     Err(FaultError::Busy)
    /// }
    /// ```
    pub fn recommit<R>(
        self: Pin<&mut Self>,
        f: impl FnOnce(Pin<&mut T::PageTable>, Pages<'_, T, Read>) -> R,
    ) -> Result<R, Stale> {
        if self.committed {
            self.commit(f)
        } else {
            Err(Stale)
        }
    }

    /// Calls `f` with the pages that permit `A`, if the result of the last fault is valid.
    ///
    /// See [`Faulted::commit`]. The last fault must have succeeded.
    fn commit<A: Access, R>(
        self: Pin<&mut Self>,
        f: impl FnOnce(Pin<&mut T::PageTable>, Pages<'_, T, A>) -> R,
    ) -> Result<R, Stale> {
        let this = self.project();
        // SAFETY: By the type invariants, for as long as `self` is there.
        let mut guard = unsafe { this.mirror.as_ref() }.lock();
        let (table, stamps, _) = guard.parts();
        let raw = this.raw.get();

        // SAFETY: `raw` is valid by the type invariants, was faulted, and we hold the lock that
        // the callback takes.
        if !unsafe { bindings::hmm_mirror_range_valid(raw) } {
            return Err(Stale);
        }
        *this.committed = true;
        // SAFETY: `raw` is valid by the type invariants, and nobody changes these fields while we
        // borrow `self`.
        let (start, end, pfns) = unsafe { ((*raw).start, (*raw).end, (*raw).pfns) };
        // SAFETY: By the type invariants the array has room for all pages of the range, and nobody
        // writes to it while we borrow `self`.
        let pfns = unsafe { core::slice::from_raw_parts(pfns, (end - start) >> PAGE_SHIFT) };

        // SAFETY: A fault has filled in `pfns`. They are valid, and stay so while we hold the lock
        // that the callback takes, because an invalidation would have to wait for it. That is also
        // the lock of `stamps`.
        let pages = unsafe { Pages::new(pfns, start, stamps.now()) };
        Ok(f(table, pages))
    }

    /// Maps the pages for the device, and calls `f` with those that permit `A`, if the result of
    /// the last fault is valid.
    ///
    /// See [`Faulted::commit_dma`]. The last fault must have succeeded.
    fn commit_dma<A: Access, R>(
        self: Pin<&mut Self>,
        f: impl FnOnce(Pin<&mut T::PageTable>, DmaRuns<'_, T, A>) -> R,
    ) -> Result<R, CommitError> {
        const { assert!(T::HAS_DEVICE, "DMA is for mirrors with a `device`") };
        let range = self.addresses();
        let this = self.project();
        // SAFETY: By the type invariants, for as long as `self` is there.
        let mirror = unsafe { this.mirror.as_ref() };
        let mut guard = mirror.lock();
        let (mut table, stamps, leaves) = guard.parts();

        // SAFETY: `raw` is valid by the type invariants, and we hold the lock that the callback
        // takes.
        if T::HAS_QUIESCE && unsafe { bindings::hmm_mirror_range_valid(this.raw.get()) } {
            mirror.ops().quiesce(table.as_mut(), range);
        }
        // SAFETY: By the type invariants `raw` is in flight for the mirror, whose lock we hold. Its
        // addresses are `range`.
        unsafe { leaves.map::<T>(this.raw.get(), range)? };
        *this.committed = true;
        Ok(f(table, DmaRuns::new(leaves, range, stamps.now())))
    }
}

/// How long faults are retried, as the C side takes it.
fn default_timeout() -> Jiffies {
    msecs_to_jiffies(bindings::HMM_RANGE_DEFAULT_TIMEOUT)
}

/// What [`FaultRange::map_by`] passes through the C side.
struct Map<'r, 's, T: MirrorOps, F, R> {
    range: Pin<&'r mut FaultRange<'s, T>>,
    attempt: F,
    result: Option<R>,
}

impl<'s, T: MirrorOps, F, R> Map<'_, 's, T, F, R>
where
    F: FnMut(Pin<&mut FaultRange<'s, T>>) -> Result<Option<R>>,
{
    /// Names the callback for this type, which has no name.
    fn call_of(
        &self,
    ) -> unsafe extern "C" fn(*mut bindings::hmm_mirror_range, *mut c_void) -> c_int {
        Self::call
    }

    /// Commits, unless the range is stale.
    ///
    /// # Safety
    ///
    /// `data` points to a value of this type that nobody else uses. The last fault succeeded.
    unsafe extern "C" fn call(_raw: *mut bindings::hmm_mirror_range, data: *mut c_void) -> c_int {
        // SAFETY: By the safety requirements.
        let this = unsafe { &mut *data.cast::<Self>() };

        match (this.attempt)(this.range.as_mut()) {
            // The C side ends after this.
            Ok(result) => {
                this.result = result;
                0
            }
            Err(error) => error.to_errno(),
        }
    }
}

/// Writes what `F` requests for each page into the pfn array of a range.
///
/// # Safety
///
/// `raw` is in flight, and nobody else uses its pfn array. `data` points to an `F` that nobody else
/// uses.
unsafe extern "C" fn request_each<F: FnMut(VirtAddr) -> PageRequest>(
    raw: *mut bindings::hmm_mirror_range,
    data: *mut c_void,
) {
    // SAFETY: By the safety requirements `raw` is valid, and these fields do not change.
    let (start, end, pfns) = unsafe { ((*raw).start, (*raw).end, (*raw).pfns) };
    // SAFETY: The array has an element for each page of the range, and is ours by the safety
    // requirements.
    let pfns = unsafe { core::slice::from_raw_parts_mut(pfns, (end - start) >> PAGE_SHIFT) };
    // SAFETY: By the safety requirements.
    let request = unsafe { &mut *data.cast::<F>() };

    for (i, pfn) in pfns.iter_mut().enumerate() {
        *pfn = request(VirtAddr::new(start + i * PAGE_SIZE)).flags();
    }
}

#[pinned_drop]
impl<T: MirrorOps> PinnedDrop for FaultRange<'_, T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants the range is in flight.
        unsafe { bindings::hmm_mirror_range_end(self.raw.get()) };
    }
}

/// The result of a fault, which may be stale already.
///
/// It has no accessors. [`Faulted::commit`] lends the pages to the driver if they are still valid.
#[must_use = "the result of a fault has to be committed"]
pub struct Faulted<'r, 's, T: MirrorOps, A: Access> {
    range: Pin<&'r mut FaultRange<'s, T>>,
    _granted: PhantomData<A>,
}

impl<'r, 's, T: MirrorOps, A: Access> Faulted<'r, 's, T, A> {
    fn new(range: Pin<&'r mut FaultRange<'s, T>>) -> Self {
        Self {
            range,
            _granted: PhantomData,
        }
    }

    /// Commits the result to the device's page table if it is still valid.
    ///
    /// Calls `f` with the device's page table, locked, and the pages. The pages and their mapping
    /// do not change until `f` returns. After that they do not change until the driver is told to
    /// [invalidate](MirrorOps::invalidate) the entries that `f` made. This includes entries that
    /// `f` made before it failed.
    ///
    /// Sleeps if the lock is a mutex. See [`Faulter::lock`](super::Faulter::lock) for what `f` must
    /// not do.
    ///
    /// # Errors
    ///
    /// [`Stale`] if an invalidation came in between. `f` was not called.
    ///
    /// # Examples
    ///
    /// See [`FaultRange`].
    pub fn commit<R>(
        self,
        f: impl FnOnce(Pin<&mut T::PageTable>, Pages<'_, T, A>) -> R,
    ) -> Result<R, Stale> {
        self.range.commit(f)
    }

    /// Maps the pages for the [device](MirrorOps::device), and commits them to the device's page
    /// table, if the result is still valid.
    ///
    /// As [`commit`](Self::commit), but `f` is called with [runs](DmaRuns) of DMA addresses.
    /// Pages are mapped for reading and writing if the process may write to them, and else for
    /// reading; those that are mapped already stay as they are. All of them are flushed in the
    /// IOMMU at once. The registry unmaps them when they have been invalidated.
    ///
    /// Does not compile for mirrors without a device. Sleeps if the lock is a mutex. See
    /// [`Faulter::lock`](super::Faulter::lock) for what `f` must not do.
    ///
    /// # Errors
    ///
    /// `f` was not called.
    ///
    /// - [`CommitError::Stale`]: an invalidation came in between.
    /// - [`CommitError::NoMemory`]: there was no memory for a page table of the IOMMU, which cannot
    ///   be waited for under the lock.
    /// - [`CommitError::Unreachable`]: the device does not reach one of the pages, such as memory
    ///   of another device.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{
    ///     hmm::{CommitError, DmaRuns, FaultError, FaultRange, MirrorOps, Read},
    ///     prelude::*,
    /// };
    ///
    /// fn prefetch<T: MirrorOps>(
    ///     mut range: Pin<&mut FaultRange<'_, T>>,
    ///     enter: impl Fn(Pin<&mut T::PageTable>, DmaRuns<'_, T, Read>),
    /// ) -> Result<bool, FaultError> {
    ///     match range.as_mut().fault(Read)?.commit_dma(&enter) {
    ///         Ok(()) => Ok(true),
    ///         // Not worth another try.
    ///         Err(CommitError::Stale | CommitError::NoMemory) => Ok(false),
    ///         Err(CommitError::Unreachable) => Err(FaultError::Unreachable),
    ///     }
    /// }
    /// ```
    pub fn commit_dma<R>(
        self,
        f: impl FnOnce(Pin<&mut T::PageTable>, DmaRuns<'_, T, A>) -> R,
    ) -> Result<R, CommitError> {
        self.range.commit_dma(f)
    }
}

/// The CPU page table has changed since the fault: [fault](FaultRange::fault) again.
///
/// Drivers usually retry, as [`Faulter::map`](super::Faulter::map) does. Converted to an
/// [`Error`], it is [`EAGAIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale;

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the CPU page table has changed since the fault")
    }
}

impl From<Stale> for Error {
    #[inline]
    fn from(_: Stale) -> Self {
        EAGAIN
    }
}
