// SPDX-License-Identifier: GPL-2.0

//! Device page faults, from the fault to the commit.

use super::{
    access::Sealed,
    page::Pages,
    Access,
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
        Instant,
        Jiffies,
        Monotonic,
        Msecs, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    },
};
use core::marker::PhantomData;

/// How long faults are retried, as in C by default.
pub(super) const FAULT_TIMEOUT: Delta =
    Delta::from_millis(bindings::HMM_RANGE_DEFAULT_TIMEOUT as i64);

/// A buffer for the result of a fault, with an entry for each page.
pub struct FaultBuffer(KVVec<c_ulong>);

impl FaultBuffer {
    /// Allocates a buffer for ranges of up to `pages` pages.
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
///     enter: impl FnOnce(&mut T::PageTable),
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
/// `raw` is in flight for `mirror`. Its pfn array has room for its pages, and nobody else uses the
/// array.
#[pin_data(PinnedDrop)]
pub struct FaultRange<'s, T: MirrorOps> {
    mirror: &'s Mirror<T>,
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
    /// The heap memory of `buffer` stays valid until the range is dropped, and nobody else uses it.
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

        // INVARIANT: The initialiser puts `raw` in flight, and fails if there is no room. By the
        // safety requirements the array stays ours.
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
                to_result(unsafe {
                    bindings::hmm_mirror_range_begin(slot, mirror.raw.get())
                })
            }),
            _nts: NotThreadSafe,
        })
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
    /// - [`EFAULT`]: a page is not mapped, or may not be read; not with [`Present`]. Or the process
    ///   was killed, and its memory was reaped.
    /// - [`EPERM`]: a page may not be written; only with [`Write`].
    /// - [`ESRCH`]: the address space has gone.
    /// - [`EBUSY`]: the range was invalidated again and again for a second.
    /// - [`EINTR`]: a fatal signal is pending.
    /// - [`ENOMEM`]: out of memory.
    ///
    /// [`Present`]: super::Present
    pub fn fault<A: Access>(
        self: Pin<&mut Self>,
        _access: A,
    ) -> Result<Faulted<'_, 's, T, A::Granted>> {
        // 0 stands for the default of the C side.
        self.read(A::REQUEST, 0)
    }

    /// Faults in the pages of the range, with a timeout other than a second.
    ///
    /// The timeout limits the time that is spent on waiting for invalidations and on retries, and
    /// not the time that it takes to fault in a page. It is rounded up to at least one jiffy. When
    /// it expires, the fault fails with [`EBUSY`].
    ///
    /// # Errors
    ///
    /// Those of [`FaultRange::fault`].
    pub fn fault_timeout<A: Access>(
        self: Pin<&mut Self>,
        _access: A,
        timeout: Delta,
    ) -> Result<Faulted<'_, 's, T, A::Granted>> {
        let msecs = timeout.as_millis_ceil().clamp(1, i64::from(Msecs::MAX));

        self.read(A::REQUEST, msecs_to_jiffies(msecs as Msecs).max(1))
    }

    /// Faults in the pages of the range, as `request` asks for each page.
    ///
    /// `request` is called with the address of each page, and again before each retry. Pages next
    /// to one that is faulted in may be faulted in with it. In a hugetlb page, only the request for
    /// its first page in the range counts. [`Page::writable`] tells which pages may be written.
    ///
    /// [`Page::writable`]: super::Page::writable
    ///
    /// # Errors
    ///
    /// Those of [`FaultRange::fault`]. [`EFAULT`] and [`EPERM`] come only for pages that are
    /// requested to be read or written. [`EFAULT`] also comes for memory that only a
    /// `userfaultfd(2)` handler can fill in.
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
    ///     loop {
    ///         let faulted = range.as_mut().fault_each(request)?;
    ///         if let Ok(present) = faulted.commit(|_table, pages| pages.count()) {
    ///             return Ok(present);
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
        // SAFETY: By the type invariants `raw` is in flight, so it is valid and these fields do not
        // change.
        let (start, end, pfns) = unsafe {
            let range = &raw const (*raw).range;
            ((*range).start, (*range).end, (*range).hmm_pfns)
        };

        loop {
            for (i, addr) in (start..end).step_by(PAGE_SIZE).enumerate() {
                let flags = request(VirtAddr::new(addr)).flags();

                // SAFETY: By the type invariants there is an entry for each page, and it is ours.
                unsafe { *pfns.add(i) = flags };
            }
            // SAFETY: `raw` is valid. We have `&mut`, so only the registry uses it, which does not
            // access this field meanwhile.
            unsafe { (*raw).range.pfn_flags_mask = Write::REQUEST };
            let result = self.as_mut().read_raw(0, 0);
            // SAFETY: As above.
            unsafe { (*raw).range.pfn_flags_mask = 0 };

            match result {
                // The result has overwritten the requests, so the C side cannot retry.
                Err(EBUSY) if begun.elapsed() < FAULT_TIMEOUT => (),
                result => return result.map(|()| Faulted::new(self)),
            }
        }
    }

    fn read<A: Access>(
        mut self: Pin<&mut Self>,
        request: usize,
        timeout: Jiffies,
    ) -> Result<Faulted<'_, 's, T, A>> {
        self.as_mut().read_raw(request, timeout)?;
        Ok(Faulted::new(self))
    }

    fn read_raw(self: Pin<&mut Self>, request: usize, timeout: Jiffies) -> Result {
        let this = self.project();
        let raw = this.raw.get();

        *this.committed = false;
        // SAFETY: By the type invariants `raw` is in flight, so it is valid. We have `&mut`, so
        // only the registry uses it, which does not access this field meanwhile.
        unsafe { (*raw).range.default_flags = request };
        // SAFETY: As above, and the pfn array is ours.
        to_result(unsafe { bindings::hmm_mirror_range_fault(raw, timeout) })
    }

    /// Locks the device's page table.
    ///
    /// See [`Faulter::lock`](super::Faulter::lock), which cannot be called while the range borrows
    /// the faulter.
    #[inline]
    pub fn lock(self: Pin<&mut Self>) -> TableGuard<'_, T> {
        self.into_ref().get_ref().mirror.lock()
    }

    /// Locks the device's page table if the result of the last fault was committed and is valid.
    ///
    /// This is for ranges that stay in flight. As long as no invalidation hits the range, the
    /// entries that were committed are valid as well. To restore entries that the driver itself
    /// removed, use [`recommit`](Self::recommit).
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
    ///     loop {
    ///         if let Ok(table) = page.as_mut().lock_committed() {
    ///             if is_ready(&table) {
    ///                 return Ok(());
    ///             }
    ///             continue;
    ///         }
    ///         // If this is stale, the next iteration notices.
    ///         let _ = page.as_mut().fault(Read)?.commit(|_table, _pages| ());
    ///     }
    /// }
    /// ```
    pub fn lock_committed(self: Pin<&mut Self>) -> Result<TableGuard<'_, T>, Stale> {
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

    /// Commits the result of the last fault again if it was committed and is valid.
    ///
    /// See [`Faulted::commit`].
    ///
    /// # Errors
    ///
    /// [`Stale`] if nothing was committed yet, or an invalidation came since.
    pub fn recommit<R>(
        self: Pin<&mut Self>,
        f: impl FnOnce(&mut T::PageTable, Pages<'_, T, Read>) -> R,
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
        f: impl FnOnce(&mut T::PageTable, Pages<'_, T, A>) -> R,
    ) -> Result<R, Stale> {
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
        // SAFETY: `raw` is valid by the type invariants, and nobody changes these fields while we
        // borrow `self`.
        let range = unsafe { &(*raw).range };
        // SAFETY: By the type invariants the array has room for all pages of the range, and nobody
        // writes to it while we borrow `self`.
        let pfns = unsafe {
            core::slice::from_raw_parts(range.hmm_pfns, (range.end - range.start) >> PAGE_SHIFT)
        };

        // SAFETY: A fault has filled in `pfns`. They are valid, and stay so while we hold the lock
        // that the callback takes, because an invalidation would have to wait for it. That is also
        // the lock of `stamps`.
        let pages = unsafe { Pages::new(pfns, range.start, &locked.stamps) };
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
    /// See [`Faulter::lock`](super::Faulter::lock) for what `f` must not do.
    ///
    /// # Errors
    ///
    /// [`Stale`] if an invalidation came in between. `f` was not called.
    pub fn commit<R>(
        self,
        f: impl FnOnce(&mut T::PageTable, Pages<'_, T, A>) -> R,
    ) -> Result<R, Stale> {
        self.range.commit(f)
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
