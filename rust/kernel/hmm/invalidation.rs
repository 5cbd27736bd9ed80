// SPDX-License-Identifier: GPL-2.0

//! Invalidations, as callbacks get them.

use super::Owner;
use crate::{
    bindings,
    mm::addr::{
        PageRange,
        VirtAddr, //
    },
    page::PAGE_MASK, //
};
use core::{
    marker::PhantomData,
    ptr, //
};

/// The C side of an [`Invalidation`].
pub(super) type RawInvalidation = bindings::mmu_notifier_range;

/// The reason why the CPU page table changes.
///
/// See `enum mmu_notifier_event` in
/// [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `munmap(2)`, or an `mremap(2)` that moves.
    Unmap,
    /// Entries are cleared, for one of many reasons: `madvise(2)`, copy-on-write, reclaim.
    Clear,
    /// The protection of a mapping changes, as by `mprotect(2)`.
    ProtectionVma,
    /// The protection of single pages changes.
    ProtectionPage,
    /// Soft-dirty accounting: the page and its permissions stay the same.
    SoftDirty,
    /// The whole address space is going away, or the mirror is being dropped.
    Release,
    /// Pages migrate to or from device memory.
    Migrate,
    /// Pages become exclusive to a device.
    Exclusive,
}

impl Event {
    fn from_raw(event: bindings::mmu_notifier_event) -> Self {
        match event {
            bindings::mmu_notifier_event_MMU_NOTIFY_UNMAP => Event::Unmap,
            bindings::mmu_notifier_event_MMU_NOTIFY_PROTECTION_VMA => Event::ProtectionVma,
            bindings::mmu_notifier_event_MMU_NOTIFY_PROTECTION_PAGE => Event::ProtectionPage,
            bindings::mmu_notifier_event_MMU_NOTIFY_SOFT_DIRTY => Event::SoftDirty,
            bindings::mmu_notifier_event_MMU_NOTIFY_RELEASE => Event::Release,
            bindings::mmu_notifier_event_MMU_NOTIFY_MIGRATE => Event::Migrate,
            bindings::mmu_notifier_event_MMU_NOTIFY_EXCLUSIVE => Event::Exclusive,
            // `Clear` promises only that the entries go.
            _ => Event::Clear,
        }
    }
}

/// An invalidation of a range of addresses, as passed to [`MirrorOps::invalidate`].
///
/// It is lent for the duration of a callback. Its methods do not sleep and take no lock.
///
/// # Examples
///
/// A device that migrates pages to memory of its own, and has removed the entries before it did:
///
/// ```
/// use kernel::{
///     hmm::{Invalidation, Owner},
///     mm::addr::PageRange,
///     prelude::*, //
/// };
///
/// /// The addresses whose entries have to be removed, if any.
/// fn to_remove(invalidation: &Invalidation<'_>, owner: Owner) -> Option<PageRange> {
///     (!invalidation.is_from(owner)).then(|| invalidation.range())
/// }
/// ```
///
/// [`MirrorOps::invalidate`]: super::MirrorOps::invalidate
pub struct Invalidation<'a> {
    raw: &'a RawInvalidation,
    // Makes `'a` invariant, so that nothing made for one invalidation passes for another's.
    _invariant: PhantomData<fn(&'a ()) -> &'a ()>,
}

impl Invalidation<'_> {
    /// Wraps what the registry passes to a callback.
    ///
    /// # Safety
    ///
    /// `raw` is valid for the lifetime of the result, and its range is not empty.
    pub(super) unsafe fn from_raw(raw: *const RawInvalidation) -> Self {
        Self {
            // SAFETY: By the safety requirements.
            raw: unsafe { &*raw },
            _invariant: PhantomData,
        }
    }

    /// The invalidation of the whole address space, as when the address space goes away.
    ///
    /// It says nothing of which one that is: no method returns it.
    pub(super) fn everything() -> Self {
        const EVERYTHING: RawInvalidation = RawInvalidation {
            mm: ptr::null_mut(),
            start: 0,
            end: usize::MAX,
            flags: bindings::MMU_NOTIFIER_RANGE_BLOCKABLE,
            event: bindings::mmu_notifier_event_MMU_NOTIFY_RELEASE,
            owner: ptr::null_mut(),
        };

        Self {
            raw: const { &EVERYTHING },
            _invariant: PhantomData,
        }
    }

    /// Returns the addresses whose mapping changes, of whole pages.
    ///
    /// It is not empty. If the whole address space is meant, it ends with the last page but one of
    /// all addresses, beyond [`Mirror::end_address`](super::Mirror::end_address).
    #[inline]
    pub fn range(&self) -> PageRange {
        covering(self.raw.start, self.raw.end)
    }

    /// Returns the reason for the change.
    #[inline]
    pub fn event(&self) -> Event {
        Event::from_raw(self.raw.event)
    }

    /// Returns whether `owner` caused the invalidation.
    ///
    /// This is known only for [`Event::Migrate`] and [`Event::Exclusive`], and false for all
    /// others. A driver that caused the invalidation itself may ignore it if its page table is up
    /// to date already. The owner of what [`FaultRange::map_exclusive`] causes is the mirror, which
    /// is none of the driver's.
    ///
    /// [`FaultRange::map_exclusive`]: super::FaultRange::map_exclusive
    #[inline]
    pub fn is_from(&self, owner: Owner) -> bool {
        // As `hmm_update_is_own()`: the core sets the owner for these two events only, and leaves
        // there what was on its stack for others.
        matches!(self.event(), Event::Migrate | Event::Exclusive)
            && self.raw.owner == owner.as_ptr()
    }

    /// Returns whether the task that changes the CPU page table may sleep.
    ///
    /// The OOM reaper and `process_mrelease(2)` may not. No callback may sleep for an invalidation
    /// for which this is false, and under a [`SpinLockBackend`] none that is given the page table
    /// may sleep at all. See [`MirrorLock`].
    ///
    /// [`MirrorLock`]: super::MirrorLock
    /// [`SpinLockBackend`]: crate::sync::lock::spinlock::SpinLockBackend
    #[inline]
    pub fn blockable(&self) -> bool {
        self.raw.flags & bindings::MMU_NOTIFIER_RANGE_BLOCKABLE != 0
    }
}

/// Returns all pages that have an address from `start`, inclusive, to `end`, exclusive.
///
/// The last page of the address space is left out, as nothing is mapped there. `start` must be
/// below `end`, and below the last page.
#[inline]
pub(super) fn covering(start: usize, end: usize) -> PageRange {
    let (start, end) = (
        VirtAddr::new(start).page_start(),
        VirtAddr::new(end.saturating_add(!PAGE_MASK)).page_start(),
    );

    // SAFETY: Both are page aligned. Rounding `start` down and `end` up leaves `start` below
    // `end`, unless rounding up needs the last page, in which no invalidation begins.
    unsafe { PageRange::from_bounds_unchecked(start, end) }
}
