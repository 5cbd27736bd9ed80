// SPDX-License-Identifier: GPL-2.0

//! DMA addresses that end when the page does.

use super::{
    access::Sealed,
    frame::{
        FrameStamps,
        Stamp, //
    },
    Access,
    FaultError,
    Mirror,
    MirrorOps,
    Read,
    TableGuard,
    Write, //
};
use crate::{
    dma::DmaAddress,
    fmt,
    io::PhysAddr,
    mm::addr::{
        PageCount,
        PageRange,
        VirtAddr, //
    },
    prelude::*, //
};
use core::marker::PhantomData;

#[cfg(CONFIG_HMM_MIRROR_DMA)]
mod leaves {
    use super::{
        CommitError,
        FaultError,
        Mirror,
        MirrorOps,
        Run, //
    };
    use crate::{
        bindings,
        dma::DmaAddress,
        error::to_result,
        io::PhysAddr,
        mm::addr::PageRange,
        page::PAGE_SIZE,
        prelude::*,
        rbtree::{
            RBTree,
            RBTreeNode, //
        },
        types::Opaque, //
    };
    use core::ptr;

    /// DMA addresses of an interval of the mirrored address space.
    ///
    /// Dropping it sleeps.
    ///
    /// # Invariants
    ///
    /// `raw` has been initialised by `hmm_mirror_dma_init()`, for a mirror that stays registered
    /// until this is dropped.
    #[pin_data(PinnedDrop)]
    struct Leaf {
        #[pin]
        raw: Opaque<bindings::hmm_mirror_dma>,
    }

    // SAFETY: `raw` belongs to no thread.
    unsafe impl Send for Leaf {}
    // SAFETY: All methods that take `&self` require the lock of the mirror.
    unsafe impl Sync for Leaf {}

    impl Leaf {
        /// # Safety
        ///
        /// The mirror stays registered until the result is dropped.
        unsafe fn new<T: MirrorOps>(
            mirror: &Mirror<T>,
            start: usize,
            end: usize,
        ) -> impl PinInit<Self, Error> + '_ {
            // INVARIANT: It is initialised, and the mirror stays registered by the safety
            // requirements.
            try_pin_init!(Self {
                raw <- Opaque::try_ffi_init(move |slot: *mut bindings::hmm_mirror_dma| {
                    // SAFETY: `slot` is valid for writes, and pinned, so it stays valid until it
                    // is dropped. `mirror` is registered by its type invariants.
                    to_result(unsafe {
                        bindings::hmm_mirror_dma_init(slot, mirror.raw.get(), start, end)
                    })
                }),
            })
        }
    }

    #[pinned_drop]
    impl PinnedDrop for Leaf {
        fn drop(self: Pin<&mut Self>) {
            // SAFETY: By the type invariants `raw` is initialised, and its mirror registered.
            unsafe { bindings::hmm_mirror_dma_fini(self.raw.get()) };
        }
    }

    /// The DMA addresses of a mirror, by leaves, each for `2^T::DMA_ORDER` pages.
    ///
    /// Protected by the lock of the mirror.
    pub(in super::super) struct DmaLeaves(RBTree<usize, Pin<KBox<Leaf>>>);

    impl DmaLeaves {
        pub(in super::super) fn new() -> Self {
            Self(RBTree::new())
        }

        const fn leaf_bytes<T: MirrorOps>() -> usize {
            PAGE_SIZE << T::DMA_ORDER
        }

        /// Returns where the leaves begin that `range` touches.
        fn starts<T: MirrorOps>(range: PageRange) -> impl Iterator<Item = usize> {
            let size = Self::leaf_bytes::<T>();
            let first = range.start().as_usize() & !(size - 1);

            (first..range.end().as_usize()).step_by(size)
        }

        /// Adds leaves for what has none of `range`, which lies in the mirrored address space.
        /// Sleeps, and takes the lock of the mirror.
        pub(in super::super) fn reserve<T: MirrorOps>(
            mirror: &Mirror<T>,
            range: PageRange,
        ) -> Result<(), FaultError> {
            let missing = |start: &usize| mirror.lock().dma().0.get(start).is_none();

            if !Self::starts::<T>(range).any(|start| missing(&start)) {
                return Ok(());
            }

            // One thread at a time, so that the second one finds what the first one has made.
            let _reserving = mirror.reserving.lock();
            for start in Self::starts::<T>(range).filter(missing) {
                let end = start
                    .checked_add(Self::leaf_bytes::<T>())
                    .ok_or(FaultError::Unmapped)?;
                // SAFETY: It goes into the leaves of the mirror, which are dropped before that is
                // unregistered. If that fails, it is dropped here.
                let leaf = unsafe { Leaf::new(mirror, start, end) };
                let node = KBox::pin_init(leaf, GFP_KERNEL_ACCOUNT)
                    .and_then(|leaf| RBTreeNode::new(start, leaf, GFP_KERNEL_ACCOUNT))
                    .map_err(FaultError::from_raw)?;

                // Nothing is replaced, as it was missing, and nobody else inserts.
                mirror.lock().dma_mut().0.insert(node);
            }
            Ok(())
        }

        /// Maps the pages of a range for the device.
        ///
        /// # Safety
        ///
        /// `raw` is in flight, for the mirror of `self`, whose lock is held. Its result is valid.
        pub(in super::super) unsafe fn map<T: MirrorOps>(
            &mut self,
            raw: *mut bindings::hmm_mirror_range,
            range: PageRange,
        ) -> Result<(), CommitError> {
            for start in Self::starts::<T>(range) {
                // They have been reserved before the fault.
                let leaf = self.0.get(&start).ok_or(CommitError::Stale)?;

                // SAFETY: By the safety requirements. The leaf is of the same mirror, and has an
                // address in common with the range.
                to_result(unsafe { bindings::hmm_mirror_range_dma_map(raw, leaf.raw.get()) })
                    .map_err(|error| match error {
                        EAGAIN => CommitError::Stale,
                        ENOMEM => CommitError::NoMemory,
                        _ => CommitError::Unreachable,
                    })?;
            }
            Ok(())
        }

        /// Returns the first run at or after `from` and below `end`. It may begin earlier than the
        /// piece that the device sees, but not at a place that is not mapped.
        pub(in super::super) fn next_run<T: MirrorOps>(
            &self,
            mut from: usize,
            end: usize,
        ) -> Option<Run> {
            while from < end {
                let leaf = from & !(Self::leaf_bytes::<T>() - 1);
                let stop = (leaf + Self::leaf_bytes::<T>()).min(end);
                let mut run = bindings::hmm_dma_run {
                    end: from,
                    ..pin_init::zeroed()
                };

                if let Some(leaf) = self.0.get(&leaf) {
                    // SAFETY: By the type invariants `raw` is initialised. The lock of the mirror
                    // is held, because that protects `self`.
                    if unsafe { bindings::hmm_mirror_dma_next_run(leaf.raw.get(), &mut run, stop) }
                    {
                        return Some(Run {
                            start: run.start,
                            end: run.end,
                            addr: run.addr,
                            write: run.write,
                        });
                    }
                }
                from = stop;
            }
            None
        }

        /// Returns where the device gets to by an address of a run that begins at `start`.
        pub(in super::super) fn phys<T: MirrorOps>(
            &self,
            start: usize,
            addr: DmaAddress,
        ) -> Option<PhysAddr> {
            let leaf = self.0.get(&(start & !(Self::leaf_bytes::<T>() - 1)))?;

            // SAFETY: By the type invariants `raw` is initialised. The lock of the mirror is held,
            // because that protects `self`.
            Some(unsafe { bindings::hmm_mirror_dma_phys(leaf.raw.get(), addr) })
        }

        /// Unmaps what is mapped of `range`. The device has no entries for it any more.
        pub(in super::super) fn unmap<T: MirrorOps>(&mut self, range: PageRange) {
            for start in Self::starts::<T>(range) {
                if let Some(leaf) = self.0.get(&start) {
                    // SAFETY: By the type invariants `raw` is initialised. The lock of the mirror
                    // is held, because that protects `self`.
                    unsafe {
                        bindings::hmm_mirror_dma_unmap(
                            leaf.raw.get(),
                            range.start().as_usize(),
                            range.end().as_usize(),
                        )
                    };
                }
            }
        }

        /// Takes all leaves, to be dropped without the lock.
        pub(in super::super) fn take(&mut self) -> Self {
            core::mem::replace(self, Self::new())
        }
    }

    /// Sets the device that pages are mapped for, in a mirror that is not registered yet.
    ///
    /// # Safety
    ///
    /// `raw` is valid for writes.
    pub(in super::super) unsafe fn set_device<T: MirrorOps>(
        raw: *mut bindings::hmm_mirror,
        ops: &T,
    ) {
        let dev = if T::HAS_DEVICE {
            ops.device().as_raw()
        } else {
            ptr::null_mut()
        };

        // SAFETY: By the safety requirements.
        unsafe { (*raw).dev = dev };
    }
}

#[cfg(not(CONFIG_HMM_MIRROR_DMA))]
mod leaves {
    use super::{
        CommitError,
        FaultError,
        Mirror,
        MirrorOps,
        Run, //
    };
    use crate::{
        bindings,
        dma::DmaAddress,
        io::PhysAddr,
        mm::addr::PageRange, //
    };

    /// Stands for DMA addresses where there are none.
    pub(in super::super) struct DmaLeaves;

    impl DmaLeaves {
        pub(in super::super) fn new() -> Self {
            Self
        }

        pub(in super::super) fn reserve<T: MirrorOps>(
            _mirror: &Mirror<T>,
            _range: PageRange,
        ) -> Result<(), FaultError> {
            Err(FaultError::Unsupported)
        }

        /// # Safety
        ///
        /// None.
        pub(in super::super) unsafe fn map<T: MirrorOps>(
            &mut self,
            _raw: *mut bindings::hmm_mirror_range,
            _range: PageRange,
        ) -> Result<(), CommitError> {
            Err(CommitError::Unreachable)
        }

        pub(in super::super) fn next_run<T: MirrorOps>(
            &self,
            _from: usize,
            _end: usize,
        ) -> Option<Run> {
            None
        }

        pub(in super::super) fn phys<T: MirrorOps>(
            &self,
            _start: usize,
            _addr: DmaAddress,
        ) -> Option<PhysAddr> {
            None
        }

        pub(in super::super) fn unmap<T: MirrorOps>(&mut self, _range: PageRange) {}

        pub(in super::super) fn take(&mut self) -> Self {
            Self
        }
    }

    /// # Safety
    ///
    /// None.
    pub(in super::super) unsafe fn set_device<T: MirrorOps>(
        _raw: *mut bindings::hmm_mirror,
        _ops: &T,
    ) {
    }
}

pub(super) use leaves::{
    set_device,
    DmaLeaves, //
};

/// `struct hmm_dma_run`.
pub(super) struct Run {
    start: usize,
    end: usize,
    addr: DmaAddress,
    write: bool,
}

impl Run {
    #[inline]
    fn range(&self) -> PageRange {
        let (start, end) = (VirtAddr::new(self.start), VirtAddr::new(self.end));

        // SAFETY: The C side returns page aligned addresses, with `start` below `end`.
        unsafe { PageRange::from_bounds_unchecked(start, end) }
    }
}

/// Reserves what the pages of `range` are mapped with, if the mirror has a device.
#[inline]
pub(super) fn reserve<T: MirrorOps>(
    mirror: &Mirror<T>,
    range: PageRange,
) -> Result<(), FaultError> {
    if T::HAS_DEVICE {
        DmaLeaves::reserve(mirror, range)
    } else {
        Ok(())
    }
}

/// An iterator over the pages that a commit has mapped for the device, in address order, by runs.
///
/// A run is as long as the DMA addresses go on, whatever the sizes of the pages: an IOMMU makes one
/// piece of pages that lie anywhere. It ends at multiples of [`MirrorOps::DMA_ORDER`], and where
/// the permission to write changes. Pages that are not present, or do not permit `A`, are left out,
/// and so is memory of the device itself. See [`Faulted::commit_dma`].
///
/// It is used with the lock of the device's page table held. No method of it, or of a [`DmaRun`],
/// sleeps or fails.
///
/// # Examples
///
/// ```
/// use kernel::{
///     dma::DmaAddress,
///     hmm::{Access, DmaRuns, MirrorOps},
///     mm::addr::PageRange,
///     prelude::*,
/// };
///
/// /// What the device's page table has.
/// struct Entry {
///     range: PageRange,
///     addr: DmaAddress,
///     writable: bool,
/// }
///
/// fn enter<T: MirrorOps, A: Access>(
///     entries: &mut KVec<Entry>,
///     runs: DmaRuns<'_, T, A>,
/// ) -> Result {
///     for run in runs {
///         // There has to be room: memory must not be allocated under the lock.
///         entries.push_within_capacity(Entry {
///             range: run.range(),
///             addr: run.addr(),
///             writable: run.writable().is_some(),
///         })?;
///     }
///     Ok(())
/// }
/// ```
///
/// [`Faulted::commit_dma`]: super::Faulted::commit_dma
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct DmaRuns<'p, T: MirrorOps, A: Access> {
    leaves: &'p DmaLeaves,
    next: usize,
    end: usize,
    stamp: Stamp,
    _granted: PhantomData<fn() -> (T, A)>,
}

impl<'p, T: MirrorOps, A: Access> DmaRuns<'p, T, A> {
    /// Creates an iterator over what is mapped of `range`.
    ///
    /// For `'p` the lock of the mirror is held, since before `stamp` was taken from it.
    pub(super) fn new(leaves: &'p DmaLeaves, range: PageRange, stamp: Stamp) -> Self {
        Self {
            leaves,
            next: range.start().as_usize(),
            end: range.end().as_usize(),
            stamp,
            _granted: PhantomData,
        }
    }
}

impl<'p, T: MirrorOps, A: Access> Iterator for DmaRuns<'p, T, A> {
    type Item = DmaRun<'p, T, A>;

    fn next(&mut self) -> Option<DmaRun<'p, T, A>> {
        while let Some(run) = self.leaves.next_run::<T>(self.next, self.end) {
            self.next = run.end;
            if A::GRANTED != Write::GRANTED || run.write {
                return Some(DmaRun {
                    run,
                    stamp: self.stamp,
                    _lent: PhantomData,
                    _granted: PhantomData,
                });
            }
        }
        None
    }
}

/// Pages that are one piece to the device, lent for the duration of a commit.
pub struct DmaRun<'p, T: MirrorOps, A: Access> {
    run: Run,
    stamp: Stamp,
    _lent: PhantomData<&'p ()>,
    _granted: PhantomData<fn() -> (T, A)>,
}

impl<'p, T: MirrorOps, A: Access> DmaRun<'p, T, A> {
    /// Returns the addresses of the pages in the process.
    #[inline]
    pub fn range(&self) -> PageRange {
        self.run.range()
    }

    /// Returns the address of the first page for the device, in bytes.
    ///
    /// It may be stored in the device's page table only. Once the pages have been invalidated, it
    /// belongs to nobody, or to other pages. For an address that is needed later, keep an
    /// [`entry`](Self::entry).
    #[inline]
    pub fn addr(&self) -> DmaAddress {
        self.run.addr
    }

    /// Returns the run with write access, if the process itself may write to the pages.
    ///
    /// Pages that the device may write to are marked dirty when they are unmapped.
    #[inline]
    pub fn writable(&self) -> Option<DmaRun<'p, T, Write>> {
        self.run.write.then_some(DmaRun {
            run: Run { ..self.run },
            stamp: self.stamp,
            _lent: PhantomData,
            _granted: PhantomData,
        })
    }

    /// Returns the run with read access, which each has.
    #[inline]
    pub fn readable(&self) -> DmaRun<'p, T, Read> {
        DmaRun {
            run: Run { ..self.run },
            stamp: self.stamp,
            _lent: PhantomData,
            _granted: PhantomData,
        }
    }

    /// Splits the run as [`PageRange::split_at_multiples`] does, for a device with pages of that
    /// size.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{
    ///     hmm::{Access, DmaEntry, DmaRuns, MirrorOps},
    ///     mm::addr::PageCount,
    ///     prelude::*,
    /// };
    ///
    /// /// Makes an entry for each page.
    /// fn enter<T: MirrorOps, A: Access>(
    ///     entries: &mut KVec<DmaEntry<T, A>>,
    ///     runs: DmaRuns<'_, T, A>,
    /// ) -> Result {
    ///     for page in runs.flat_map(|run| run.split_at_multiples(PageCount::ONE)) {
    ///         entries.push_within_capacity(page.entry())?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn split_at_multiples(self, pages: PageCount) -> impl Iterator<Item = DmaRun<'p, T, A>> {
        let parts = self.range().split_at_multiples(pages);

        parts.map(move |part| {
            let (start, end) = (part.start().as_usize(), part.end().as_usize());

            DmaRun {
                run: Run {
                    start,
                    end,
                    addr: self.run.addr + (start - self.run.start) as DmaAddress,
                    write: self.run.write,
                },
                stamp: self.stamp,
                _lent: PhantomData,
                _granted: PhantomData,
            }
        })
    }

    /// Returns an entry for the device's page table, which gives the address when it is needed.
    #[inline]
    pub fn entry(&self) -> DmaEntry<T, A> {
        DmaEntry {
            range: self.run.range(),
            stamp: self.stamp,
            _granted: PhantomData,
        }
    }
}

/// An entry for the page table of a device: owns the mapping of a [run](DmaRun::entry) of pages.
///
/// It does not have the address. [`addr`](Self::addr) looks that up, under the lock of the page
/// table, and refuses if an invalidation may have hit the pages: these are unmapped then, by the
/// registry, when the driver's callback has returned. A driver has nothing to unmap, and nothing to
/// forget.
///
/// Dropping an entry leaves its pages mapped until they are invalidated, or until the mirror is
/// dropped: another commit finds them mapped, which costs less. [`TableGuard::unmap`] unmaps them
/// at once.
///
/// It may be kept anywhere, not only in the page table, and belongs to one mirror.
///
/// # Examples
///
/// A device that copies one page at a time, from an address that it is told:
///
/// ```
/// use kernel::{
///     dma::DmaAddress,
///     hmm::{DmaEntry, MirrorOps, Read, StaleEntry, TableGuard},
///     prelude::*,
/// };
///
/// fn start<T: MirrorOps>(
///     table: &TableGuard<'_, T>,
///     entry: &DmaEntry<T, Read>,
///     start: impl FnOnce(DmaAddress),
/// ) -> Result<(), StaleEntry> {
///     // The transfer may go on after the lock has been dropped; then `invalidate` waits for it.
///     start(entry.addr(table)?);
///     Ok(())
/// }
/// ```
#[must_use = "the pages stay mapped until they are invalidated"]
pub struct DmaEntry<T: MirrorOps, A: Access> {
    range: PageRange,
    stamp: Stamp,
    _granted: PhantomData<fn() -> (T, A)>,
}

impl<T: MirrorOps, A: Access> DmaEntry<T, A> {
    /// Returns the addresses of the pages in the process. May be called in any context.
    #[inline]
    pub fn range(&self) -> PageRange {
        self.range
    }

    /// Returns the address of the first page for the device, in bytes.
    ///
    /// The pages follow each other there. Before the lock is dropped, the device has to know it in
    /// such a way that the driver's callback keeps it from being used any further. Takes a time in
    /// proportion to the number of pages. Does not sleep.
    ///
    /// # Errors
    ///
    /// [`StaleEntry`] if an invalidation may have hit one of the pages since the entry was created,
    /// if they were unmapped, or if the entry belongs to another mirror.
    pub fn addr(&self, table: &TableGuard<'_, T>) -> Result<DmaAddress, StaleEntry> {
        self.run(table).map(|run| run.addr)
    }

    /// Returns the physical address that the device gets to by the first page, in bytes.
    ///
    /// This looks into the page table of the IOMMU, for drivers that show what their device has.
    /// Without an IOMMU that translates, it is [`addr`](Self::addr). It is wrong for memory of
    /// another device that is reached by a bus address.
    ///
    /// Takes a time in proportion to the number of pages. Does not sleep.
    ///
    /// # Errors
    ///
    /// Those of [`addr`](Self::addr).
    pub fn phys(&self, table: &TableGuard<'_, T>) -> Result<PhysAddr, StaleEntry> {
        let run = self.run(table)?;

        table.dma().phys::<T>(run.start, run.addr).ok_or(StaleEntry)
    }

    fn run(&self, table: &TableGuard<'_, T>) -> Result<Run, StaleEntry> {
        if !self.is_of(table.stamps()) {
            return Err(StaleEntry);
        }
        let (start, end) = (self.range.start().as_usize(), self.range.end().as_usize());

        match table.dma().next_run::<T>(start, end) {
            Some(run) if (run.start, run.end) == (start, end) => Ok(run),
            _ => Err(StaleEntry),
        }
    }

    /// Whether this is of the mirror with these stamps, and no invalidation has hit it.
    fn is_of(&self, stamps: &FrameStamps) -> bool {
        stamps.is_valid(self.stamp, self.range)
    }
}

impl<T: MirrorOps> TableGuard<'_, T> {
    /// Unmaps the pages of an entry that the device does not use any more.
    ///
    /// The device has no entries for them, and no translations in a TLB. Other entries for the same
    /// pages become stale. This is for pages that the driver gives up by itself: those that an
    /// invalidation hits are unmapped without it, and a stale entry is just dropped. Does not
    /// sleep.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::hmm::{DmaEntry, MirrorOps, TableGuard, Write};
    ///
    /// fn evict<T: MirrorOps>(
    ///     table: &mut TableGuard<'_, T>,
    ///     remove: impl FnOnce(&mut TableGuard<'_, T>) -> Option<DmaEntry<T, Write>>,
    /// ) {
    ///     // Removes it from the device's page table, and flushes the TLB.
    ///     if let Some(entry) = remove(table) {
    ///         table.unmap(entry);
    ///     }
    /// }
    /// ```
    pub fn unmap<A: Access>(&mut self, entry: DmaEntry<T, A>) {
        if entry.is_of(self.stamps()) {
            self.dma_mut().unmap::<T>(entry.range);
        }
    }
}

/// The pages of an entry may have gone: [fault](super::FaultRange::fault) again.
///
/// Drivers usually do so at once. Converted to an [`Error`], it is [`EAGAIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleEntry;

impl fmt::Display for StaleEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pages of the entry may have been invalidated")
    }
}

impl From<StaleEntry> for Error {
    #[inline]
    fn from(_: StaleEntry) -> Self {
        EAGAIN
    }
}

/// Why a [commit that maps for the device](super::Faulted::commit_dma) failed.
///
/// Nothing of what it has mapped is used by the device, as the driver was not told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// The CPU page table has changed since the fault: fault again. [`EAGAIN`] as an [`Error`].
    Stale,
    /// There was no memory for a page table of the IOMMU. It cannot be waited for under the lock;
    /// another try may succeed. [`ENOMEM`] as an [`Error`].
    NoMemory,
    /// The device does not reach one of the pages, such as memory of another device. [`EIO`] as an
    /// [`Error`].
    Unreachable,
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CommitError::Stale => "the CPU page table has changed since the fault",
            CommitError::NoMemory => "out of memory for a page table of the IOMMU",
            CommitError::Unreachable => "the device does not reach a page",
        })
    }
}

impl From<super::Stale> for CommitError {
    #[inline]
    fn from(_: super::Stale) -> Self {
        CommitError::Stale
    }
}

impl From<CommitError> for Error {
    #[inline]
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Stale => EAGAIN,
            CommitError::NoMemory => ENOMEM,
            CommitError::Unreachable => EIO,
        }
    }
}
