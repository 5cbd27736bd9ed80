// SPDX-License-Identifier: GPL-2.0

//! What a driver implements.

use super::Invalidation;
use crate::{
    prelude::*,
    sync::lock::{
        mutex::MutexBackend,
        spinlock::SpinLockBackend,
        Backend, //
    },
};
use core::{
    marker::PhantomData,
    num::NonZeroU64,
    ptr, //
};

mod sealed {
    /// Seals [`MirrorLock`](super::MirrorLock).
    pub trait Sealed {}
}
use sealed::Sealed;

/// The lock that protects a device's page table.
///
/// The lock decides whether the callbacks of a mirror may sleep. Under a [`SpinLockBackend`] they
/// must not, and the OOM reaper and `process_mrelease(2)` can free the memory of the process.
/// Under a [`MutexBackend`] they may, and both get `EAGAIN` as long as the mirror exists.
///
/// On a kernel without SMP, a spinlock disables preemption and excludes nobody by itself. Sleeping
/// with it held is a bug on any kernel; on that one it lets a callback run in the meantime.
///
/// Do not allocate memory with [`GFP_KERNEL`] under either lock: reclaim may have to take it.
pub trait MirrorLock: Backend + Sealed {
    /// Whether callbacks under this lock must not sleep.
    const ATOMIC: bool;
}

impl Sealed for SpinLockBackend {}
impl MirrorLock for SpinLockBackend {
    const ATOMIC: bool = true;
}

impl Sealed for MutexBackend {}
impl MirrorLock for MutexBackend {
    const ATOMIC: bool = false;
}

/// The driver's side of a [`Mirror`].
///
/// `Self` is what the callbacks need besides the device's page table, such as a reference to the
/// device's registers. It is shared by everyone who uses the mirror, see [`Mirror::ops`].
///
/// The callbacks run in process context, in the middle of the operation that changes the CPU page
/// table, so they should be fast. They cannot fail, and they cannot keep their arguments. They must
/// neither allocate memory with [`GFP_KERNEL`], nor take the mmap lock, nor wait for anything that
/// does; lockdep reports violations.
///
/// Implementations need the attribute `#[vtable]`, which also provides `OwnerModule`. `Self` must
/// not be more visible than the type that is passed to `module!`.
///
/// A driver implements either [`invalidate`](Self::invalidate), or both
/// [`invalidate_start`](Self::invalidate_start) and
/// [`invalidate_finish`](Self::invalidate_finish). Other combinations do not compile.
///
/// [`Mirror`]: super::Mirror
/// [`Mirror::ops`]: super::Mirror::ops
#[vtable]
pub trait MirrorOps: Sized + Send + Sync + 'static {
    /// The page table of the device.
    type PageTable: Send + Unpin + 'static;

    /// The lock that protects the page table.
    type Lock: MirrorLock;

    /// Whether the device is emulated: this CPU follows its page table, by [`Frame`]s.
    ///
    /// This costs 4 KiB for each mirror, and some time for each invalidation.
    ///
    /// [`Frame`]: super::Frame
    const CPU_ACCESS: bool = false;

    /// Removes the entries that are about to become stale.
    ///
    /// Called before the CPU page table changes, and when the mirror is dropped. When this returns,
    /// the device must no longer use the entries for the addresses in
    /// [`invalidation.range()`](Invalidation::range): they are removed from `table`, and the
    /// device's TLB is flushed.
    fn invalidate(&self, _table: &mut Self::PageTable, _invalidation: &Invalidation<'_>) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Removes the entries that are about to become stale, and starts to flush the device's TLB.
    ///
    /// This is for devices with a slow flush. The flushes of all devices that mirror the address
    /// space are started before the first one is waited for, so they run in parallel.
    ///
    /// Returns a value that identifies the flush, or [`None`] if there is no flush to wait for.
    /// Having found no entries is not a reason to return [`None`]: another thread may just have
    /// removed them for an invalidation of its own, and that flush may still be running. The pages
    /// may be freed after this invalidation, so it has to wait for that flush as well.
    ///
    /// # Examples
    ///
    /// A device that flushes its whole TLB, one flush after the other, and counts the flushes:
    ///
    /// ```
    /// use core::num::NonZeroU64;
    /// use kernel::{
    ///     hmm::{Invalidation, MirrorOps},
    ///     mm::addr::{Pfn, VirtAddr},
    ///     prelude::*,
    ///     sync::lock::mutex::MutexBackend,
    /// };
    ///
    /// struct Gpu;
    ///
    /// impl Gpu {
    ///     /// Starts a flush, and returns its number.
    ///     fn start_flush(&self) -> u64 {
    /// #       1
    ///     }
    ///
    ///     /// Waits until the flush with this number, and all before it, are complete.
    ///     fn wait_for_flush(&self, _number: u64) {}
    /// }
    ///
    /// #[derive(Default)]
    /// struct Table {
    ///     entries: KVec<(VirtAddr, Pfn)>,
    ///     last_flush: u64,
    /// }
    ///
    /// #[vtable]
    /// impl MirrorOps for Gpu {
    ///     type PageTable = Table;
    ///     type Lock = MutexBackend;
    ///
    ///     fn invalidate_start(
    ///         &self,
    ///         table: &mut Table,
    ///         invalidation: &Invalidation<'_>,
    ///     ) -> Option<NonZeroU64> {
    ///         let before = table.entries.len();
    ///
    ///         table.entries.retain(|entry| !invalidation.range().contains(entry.0));
    ///         if table.entries.len() < before {
    ///             table.last_flush = self.start_flush();
    ///         }
    ///         // Wait for the last flush, even if another thread started it.
    ///         NonZeroU64::new(table.last_flush)
    ///     }
    ///
    ///     fn invalidate_finish(&self, _invalidation: &Invalidation<'_>, flush: NonZeroU64) {
    ///         self.wait_for_flush(flush.get());
    ///     }
    /// }
    /// ```
    fn invalidate_start(
        &self,
        _table: &mut Self::PageTable,
        _invalidation: &Invalidation<'_>,
    ) -> Option<NonZeroU64> {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Waits for the flush that [`invalidate_start`](Self::invalidate_start) started.
    ///
    /// Called with the same `invalidation`, but without the lock of the page table. May sleep if
    /// callbacks under [`Self::Lock`] may.
    fn invalidate_finish(&self, _invalidation: &Invalidation<'_>, _flush: NonZeroU64) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Notifies the driver that the address space is going away.
    ///
    /// Called at most once, after everything was invalidated and before the first page is freed.
    /// From then on all faults fail with [`ESRCH`].
    fn release(&self, _table: &mut Self::PageTable) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Returns the owner of the device private memory, for devices that have such memory.
    ///
    /// A fault leaves pages in memory of this owner where they are, instead of migrating them to
    /// memory that the CPU can access. [`Invalidation::is_from`] recognises invalidations that this
    /// owner caused by migrating pages. Cannot be combined with
    /// [`CPU_ACCESS`](Self::CPU_ACCESS).
    fn owner(&self) -> Owner<'_> {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }
}

/// The identity of an owner of device private memory.
///
/// C code uses an arbitrary pointer for it: `dev_pagemap.owner`, `migrate_vma.pgmap_owner`,
/// `mmu_notifier_range.owner`. The owner of a mirror has to be the `dev_pagemap.owner` of the
/// device's memory, which usually exists before the first mirror does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a>(*mut c_void, PhantomData<&'a ()>);

impl<'a> Owner<'a> {
    /// Identifies an owner by the address of `object`.
    #[inline]
    pub fn of<T>(object: &'a T) -> Self {
        const {
            assert!(
                size_of::<T>() > 0,
                "a zero-sized type has no address of its own"
            )
        };
        Self(ptr::from_ref(object).cast_mut().cast(), PhantomData)
    }

    /// Returns the pointer that C code uses. It must not be dereferenced.
    #[inline]
    pub fn as_ptr(self) -> *mut c_void {
        self.0
    }
}
