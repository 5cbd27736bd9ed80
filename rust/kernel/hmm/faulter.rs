// SPDX-License-Identifier: GPL-2.0

//! A thread's access to a mirror.

use super::{
    Access,
    DmaRuns,
    FaultBuffer,
    FaultError,
    FaultRange,
    Mirror,
    MirrorOps,
    Pages,
    TableGuard, //
};
use crate::{
    mm::addr::PageRange,
    prelude::*, //
};
use core::ptr::NonNull;

/// A thread's access to a [`Mirror`]: either faults or holds the lock of the device's page table.
///
/// Created by [`Mirror::faulter`]. It consists of a reference only, and any number of threads may
/// have one.
///
/// # Deadlocks
///
/// A fault waits for invalidations, and invalidations take the lock of the device's page table, so
/// a fault with that lock held can deadlock. This does not compile with one faulter, because both
/// borrow it mutably. A thread should have one faulter of a mirror at a time; with two, only
/// lockdep detects the deadlock.
///
/// A fault also takes the mmap lock of the process and allocates memory. Do not fault with the mmap
/// lock held, or with any lock that a callback of a mirror takes. See [`lock`](Self::lock) for what
/// not to do with the lock of the page table held.
#[must_use = "a faulter does nothing unless it is used"]
pub struct Faulter<'m, T: MirrorOps>(&'m Mirror<T>);

impl<'m, T: MirrorOps> Faulter<'m, T> {
    #[inline]
    pub(super) fn new(mirror: &'m Mirror<T>) -> Self {
        Self(mirror)
    }

    /// Returns the mirror. May be called in any context.
    #[inline]
    pub fn mirror(&self) -> &'m Mirror<T> {
        self.0
    }

    /// Locks the device's page table.
    ///
    /// Invalidations wait until the guard is dropped. Do not wait for anything that an invalidation
    /// can hold up while the guard exists: a fault of the process, its mmap lock, or memory
    /// allocated with [`GFP_KERNEL`]. Memory may be freed; but under a spinlock do not drop what
    /// `vmalloc()` may have allocated, such as a [`VVec`] or a [`KVVec`]: `vfree()` may sleep.
    ///
    /// Sleeps if the lock is a mutex. Under a spinlock, do not sleep while the guard exists. Not
    /// for interrupt handlers, which may interrupt whoever holds the lock.
    ///
    /// # Examples
    ///
    /// See [`TableGuard`].
    #[inline]
    pub fn lock(&mut self) -> TableGuard<'_, T> {
        self.0.lock()
    }

    /// Creates an initialiser for a range to fault in.
    ///
    /// `buffer` needs room for the pages of `range`. The initialiser puts the range in flight: the
    /// registry notes invalidations that hit it until it is dropped. The initialiser does not
    /// sleep.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`]: `range` is above the address space, or larger than `buffer`.
    /// - [`ESRCH`]: the address space has gone.
    /// - [`ECANCELED`]: the mirror was [cancelled](Mirror::cancel).
    ///
    /// # Examples
    ///
    /// See [`FaultRange`].
    pub fn range<'s>(
        &'s mut self,
        range: PageRange,
        buffer: &'s mut FaultBuffer,
    ) -> impl PinInit<FaultRange<'s, T>, Error> + 's {
        // SAFETY: The mirror and `buffer` are borrowed for as long as the range can be used.
        unsafe { FaultRange::new(NonNull::from(self.0), range, buffer) }
    }

    /// Faults a range in and commits it, and retries as long as invalidations interfere.
    ///
    /// `commit` is called with the device's page table, locked, and the pages. It is called once if
    /// this succeeds, and not at all if it fails.
    ///
    /// A range that collides again and again is read and committed with the mmap lock of the
    /// process held for writing, so that no page fault, and no system call that changes mappings,
    /// can invalidate it. `hmm_mirror_range_map()` in C, which this calls, says what remains.
    ///
    /// Sleeps. See [`Faulter`] for the locks that must not be held, and [`lock`](Self::lock) for
    /// what `commit` must not do. Nor must it access user memory.
    ///
    /// # Errors
    ///
    /// Those of [`FaultRange::fault`]. [`FaultError::Busy`] comes when the range has collided for a
    /// second, in which the time that pages take to come does not count.
    /// [`FaultError::Unmapped`] also comes for what cannot be faulted at all: a range that is above
    /// the address space, or larger than `buffer`.
    ///
    /// # Examples
    ///
    /// A page table that needs memory allocates it in advance, because `commit` runs under the
    /// lock. The result of `commit` may itself be a [`Result`]:
    ///
    /// ```
    /// use core::marker::PhantomPinned;
    /// use kernel::{
    ///     hmm::{FaultBuffer, Faulter, MirrorOps, Read},
    ///     mm::addr::{PageRange, Pfn, VirtAddr},
    ///     prelude::*,
    /// };
    ///
    /// type Entries = KVec<(VirtAddr, Pfn)>;
    ///
    /// #[pin_data]
    /// struct Table {
    ///     entries: Entries,
    ///     #[pin]
    ///     _pinned: PhantomPinned,
    /// }
    ///
    /// fn map<T: MirrorOps<PageTable = Table>>(
    ///     faulter: &mut Faulter<'_, T>,
    ///     range: PageRange,
    /// ) -> Result {
    ///     let mut buffer = FaultBuffer::new(range.pages(), GFP_KERNEL)?;
    ///     let mut entries = Entries::with_capacity(range.pages().as_usize(), GFP_KERNEL)?;
    ///
    ///     let old = faulter.map(range, &mut buffer, Read, |table, pages| -> Result<_> {
    ///         for page in pages {
    ///             entries.push_within_capacity((page.addr(), page.pfn()))?;
    ///         }
    ///         Ok(core::mem::replace(table.project().entries, entries))
    ///     })??;
    ///     // Freed here, so that the lock is not held for that.
    ///     drop(old);
    ///     Ok(())
    /// }
    /// ```
    pub fn map<A: Access, R>(
        &mut self,
        range: PageRange,
        buffer: &mut FaultBuffer,
        access: A,
        commit: impl FnOnce(Pin<&mut T::PageTable>, Pages<'_, T, A::Granted>) -> R,
    ) -> Result<R, FaultError> {
        pin_init::stack_try_pin_init!(let range: FaultRange<'_, T> = self.range(range, buffer));

        range.map_err(FaultError::from_raw)?.map(access, commit)
    }

    /// Faults a range in, maps it for the [device](MirrorOps::device) and commits it, and retries
    /// as long as invalidations interfere.
    ///
    /// As [`map`](Self::map), but `commit` is called with [runs](DmaRuns) of DMA addresses. Does
    /// not compile for mirrors without a device.
    ///
    /// # Errors
    ///
    /// Those of [`map`](Self::map) and of [`Faulted::commit_dma`], and:
    ///
    /// - [`FaultError::Unsupported`]: the device cannot have pages where they are: they would be
    ///   copied to where it reaches them (swiotlb), or it is not coherent, or its IOMMU has no page
    ///   that is small enough; or it has [no page table](MirrorOps::DMA_DIRECT), and the IOMMU
    ///   would be flushed some time after a page is unmapped.
    ///
    /// # Examples
    ///
    /// See [`MirrorOps::device`].
    ///
    /// [`Faulted::commit_dma`]: super::Faulted::commit_dma
    pub fn map_dma<A: Access, R>(
        &mut self,
        range: PageRange,
        buffer: &mut FaultBuffer,
        access: A,
        commit: impl FnOnce(Pin<&mut T::PageTable>, DmaRuns<'_, T, A::Granted>) -> R,
    ) -> Result<R, FaultError> {
        pin_init::stack_try_pin_init!(let range: FaultRange<'_, T> = self.range(range, buffer));

        range.map_err(FaultError::from_raw)?.map_dma(access, commit)
    }
}
