// SPDX-License-Identifier: GPL-2.0

//! What a driver implements.

use super::{
    Invalidation,
    TwoPasses, //
};
use crate::{
    device::{
        Bound,
        Device, //
    },
    fmt,
    mm::addr::PageRange,
    prelude::*,
    str::CStr,
    sync::lock::{
        mutex::MutexBackend,
        spinlock::SpinLockBackend,
        Backend, //
    },
};
use core::ptr;

mod sealed {
    /// Seals [`MirrorLock`](super::MirrorLock).
    pub trait Sealed {}
}
use sealed::Sealed;

/// The lock that protects a device's page table.
///
/// The lock decides whether the callbacks of a mirror may sleep. It also decides what becomes of
/// the invalidations by the OOM reaper and `process_mrelease(2)`, which must not block:
///
/// - Under a [`SpinLockBackend`] callbacks that are given the page table must not sleep, and the
///   mirror is invalidated like at any other time.
/// - Under a [`MutexBackend`] callbacks may sleep, and an invalidation that must not block is
///   refused: the memory stays, and who wanted to free it gets `EAGAIN`. A driver that does not
///   always have to sleep implements [`MirrorOps::try_invalidate`], which is called if the lock is
///   free.
///
/// On a kernel without SMP, a spinlock disables preemption and excludes nobody by itself. Sleeping
/// with it held is a bug on any kernel; on that one it lets a callback run in the meantime.
///
/// Do not allocate memory with [`GFP_KERNEL`] under either lock: reclaim may have to take it.
///
/// There is no lock that interrupt handlers may take. A commit and an invalidation mark pages dirty
/// and map them for DMA, with the lock held, and neither may be done with interrupts off. A driver
/// whose interrupt handler looks at the page table keeps what the handler needs (of the transfers
/// in progress, say) behind a lock of its own, such as [`SpinLockIrq`], which it takes inside the
/// lock of the page table.
///
/// [`SpinLockIrq`]: crate::sync::SpinLockIrq
pub trait MirrorLock: Backend + Sealed {
    /// Whether callbacks under this lock must never sleep.
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
/// table, so they should be fast. They cannot keep their arguments. They must neither allocate
/// memory with [`GFP_KERNEL`], nor take the mmap lock, nor fault, nor wait for anything that does;
/// lockdep reports violations, but for who waits by a completion or a condition variable.
/// [`Self::Lock`] decides whether they may sleep, see [`MirrorLock`].
///
/// `Self` and its page table may borrow from the device that the driver is bound to. The lifetime
/// is a parameter of the type then, as in `impl<'bound> MirrorOps for Gpu<'bound>`. Such a mirror
/// must not outlive the device, see [`Mirror`](super::Mirror#borrowing-from-the-device).
///
/// Implementations need the attribute `#[vtable]`, which also provides `OwnerModule`: the type that
/// is passed to `module!`. `Self` must not be more visible than that type, or the compiler reports
/// a private type in a public interface (E0446).
///
/// A driver implements [`invalidate`](Self::invalidate), or it invalidates in two passes, see
/// [`TwoPassOps`](super::TwoPassOps). Beside either it may have, under a mutex,
/// [`try_invalidate`](Self::try_invalidate). Other combinations do not compile.
///
/// # Examples
///
/// The smallest driver is in the [module documentation](super). A page table with several fields
/// uses `project()`, which `#[pin_data]` generates, to change them:
///
/// ```
/// use core::marker::PhantomPinned;
/// use kernel::{
///     hmm::{Invalidation, MirrorOps},
///     mm::addr::{Pfn, VirtAddr},
///     prelude::*,
///     sync::lock::spinlock::SpinLockBackend,
/// };
///
/// #[pin_data]
/// struct Table {
///     entries: KVec<(VirtAddr, Pfn)>,
///     invalidations: u64,
///     // The table belongs to its mirror: no safe code can move it out.
///     #[pin]
///     _pinned: PhantomPinned,
/// }
///
/// struct Gpu;
///
/// #[vtable]
/// impl MirrorOps for Gpu {
///     const NAME: &'static CStr = c"gpu";
///     type PageTable = Table;
///     type Lock = SpinLockBackend;
///
///     fn invalidate(&self, table: Pin<&mut Table>, invalidation: &Invalidation<'_>) {
///         let table = table.project();
///
///         table.entries.retain(|entry| !invalidation.range().contains(entry.0));
///         *table.invalidations += 1;
///     }
/// }
/// ```
///
/// [`Mirror`]: super::Mirror
/// [`Mirror::ops`]: super::Mirror::ops
#[vtable]
pub trait MirrorOps: Sized + Send + Sync {
    /// The name of the driver, by which tracepoints and debugfs call its mirrors.
    const NAME: &'static CStr;

    /// The page table of the device.
    ///
    /// It is initialised in its place in the [`Mirror`](super::Mirror), and is lent pinned, so that
    /// it stays there: a page table in the wrong mirror would get the wrong invalidations. Types
    /// that are [`Unpin`] could be moved all the same, and [`new_mirror!`](super::new_mirror) does
    /// not take them. A [`PhantomPinned`](core::marker::PhantomPinned) with the attribute `#[pin]`
    /// makes a `#[pin_data]` type one that is not.
    type PageTable: Send;

    /// The lock that protects the page table.
    type Lock: MirrorLock;

    /// Whether the device is emulated: this CPU follows its page table, by [`Frame`]s.
    ///
    /// This costs 4 KiB for each mirror, and some time for each invalidation.
    ///
    /// [`Frame`]: super::Frame
    const CPU_ACCESS: bool = false;

    /// How the device is invalidated in two passes, if it is. See
    /// [`TwoPassOps`](super::TwoPassOps).
    const TWO_PASSES: Option<TwoPasses<Self>> = None;

    /// Whether the device has no page table of its own, and uses DMA addresses as they are.
    ///
    /// So the IOMMU has to keep it from writing to what is read-only, and from what was unmapped.
    /// If there is no way to flush the IOMMU in time, faults fail with
    /// [`FaultError::Unsupported`](super::FaultError::Unsupported). This is for drivers with a
    /// [`device`](Self::device).
    const DMA_DIRECT: bool = false;

    /// How many pages a leaf table of the device maps, as a power of two: 2 MiB where a page has
    /// 4 KiB.
    ///
    /// DMA addresses are reserved by so much, naturally aligned. At most 18. This is for drivers
    /// with a [`device`](Self::device).
    const DMA_ORDER: u32 = 9;

    /// Removes the entries that are about to become stale.
    ///
    /// Called before the CPU page table changes, and when the mirror is dropped. When this returns,
    /// the device must no longer use the entries for the addresses in
    /// [`invalidation.range()`](Invalidation::range): they are removed from `table`, and the
    /// device's TLB is flushed.
    ///
    /// Called with the lock of the page table held. Must not sleep under a spinlock. May sleep
    /// under a mutex, where it is called only for what is [blockable](Invalidation::blockable). It
    /// cannot fail.
    fn invalidate(&self, _table: Pin<&mut Self::PageTable>, _invalidation: &Invalidation<'_>) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Removes the entries that are about to become stale, if that is possible without sleeping.
    ///
    /// This is optional, and is for drivers with a mutex. It is called instead of
    /// [`invalidate`](Self::invalidate), or of both passes of
    /// [`TwoPassOps`](super::TwoPassOps), for what is not [blockable](Invalidation::blockable),
    /// with the lock of the page table held. If the lock is not free, the invalidation is refused
    /// without a call. Must not sleep.
    ///
    /// If this succeeds, the device must no longer use the entries, as after
    /// [`invalidate`](Self::invalidate).
    ///
    /// # Errors
    ///
    /// [`WouldBlock`] refuses the invalidation. The CPU page table does not change then, and
    /// whoever wanted to change it tries again later, or does without. The driver may have removed
    /// entries all the same. [Frames](super::Frame) in the range become stale in either case.
    ///
    /// # Examples
    ///
    /// A device that has to wait for an interrupt only if it uses an entry:
    ///
    /// ```
    /// use core::marker::PhantomPinned;
    /// use kernel::{
    ///     hmm::{Invalidation, MirrorOps, WouldBlock},
    ///     mm::addr::{Pfn, VirtAddr},
    ///     prelude::*,
    ///     sync::lock::mutex::MutexBackend,
    /// };
    ///
    /// #[pin_data]
    /// struct Table {
    ///     entries: KVec<(VirtAddr, Pfn)>,
    ///     #[pin]
    ///     _pinned: PhantomPinned,
    /// }
    ///
    /// struct Gpu;
    ///
    /// impl Gpu {
    ///     /// Flushes the TLB, and sleeps until that is complete.
    ///     fn flush(&self) {}
    /// }
    ///
    /// #[vtable]
    /// impl MirrorOps for Gpu {
    ///     const NAME: &'static CStr = c"gpu";
    ///     type PageTable = Table;
    ///     type Lock = MutexBackend;
    ///
    ///     fn invalidate(&self, table: Pin<&mut Table>, invalidation: &Invalidation<'_>) {
    ///         let table = table.project();
    ///
    ///         table.entries.retain(|entry| !invalidation.range().contains(entry.0));
    ///         self.flush();
    ///     }
    ///
    ///     fn try_invalidate(
    ///         &self,
    ///         table: Pin<&mut Table>,
    ///         invalidation: &Invalidation<'_>,
    ///     ) -> Result<(), WouldBlock> {
    ///         let range = invalidation.range();
    ///
    ///         // Nobody waits for a flush any more, as that is done with the lock held.
    ///         if table.entries.iter().any(|entry| range.contains(entry.0)) {
    ///             Err(WouldBlock)
    ///         } else {
    ///             Ok(())
    ///         }
    ///     }
    /// }
    /// ```
    fn try_invalidate(
        &self,
        _table: Pin<&mut Self::PageTable>,
        _invalidation: &Invalidation<'_>,
    ) -> Result<(), WouldBlock> {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Notifies the driver that the CPU page table has changed.
    ///
    /// This is optional. It is for drivers that fault again at once what the device is going to
    /// use: from here on, faults of these addresses no longer wait for this invalidation. Do not
    /// fault in the callback itself.
    ///
    /// Called with the lock of the page table held. Must not sleep under a spinlock, and may sleep
    /// under a mutex. It cannot fail. Do not count on having been told of the beginning: that was
    /// before the mirror was created, if that happened while the CPU page table was changing.
    ///
    /// Not called:
    ///
    /// - for invalidations that were refused, by this mirror or by anyone else;
    /// - when the address space is going away, or the mirror is being dropped;
    /// - under a mutex, for invalidations that are not [blockable](Invalidation::blockable), even
    ///   if [`try_invalidate`](Self::try_invalidate) has accepted them.
    ///
    /// # Examples
    ///
    /// A device that prefetches what it has lost. The work item does the faults:
    ///
    /// ```
    /// use core::marker::PhantomPinned;
    /// use kernel::{
    ///     hmm::{Invalidation, MirrorOps},
    ///     mm::addr::{PageRange, VirtAddr},
    ///     prelude::*,
    ///     sync::lock::spinlock::SpinLockBackend,
    /// };
    ///
    /// #[pin_data]
    /// struct Table {
    ///     hot: Option<PageRange>,
    ///     #[pin]
    ///     _pinned: PhantomPinned,
    /// }
    ///
    /// struct Gpu;
    ///
    /// impl Gpu {
    ///     /// Queues a work item.
    ///     fn prefetch(&self, _range: PageRange) {}
    /// }
    ///
    /// #[vtable]
    /// impl MirrorOps for Gpu {
    ///     const NAME: &'static CStr = c"gpu";
    ///     type PageTable = Table;
    ///     type Lock = SpinLockBackend;
    ///
    ///     fn invalidate(&self, _table: Pin<&mut Table>, _invalidation: &Invalidation<'_>) {
    ///         // Removes the entries, and flushes the TLB.
    ///     }
    ///
    ///     fn invalidate_end(&self, table: Pin<&mut Table>, invalidation: &Invalidation<'_>) {
    ///         if let Some(lost) = table.hot.and_then(|hot| hot.intersect(&invalidation.range())) {
    ///             self.prefetch(lost);
    ///         }
    ///     }
    /// }
    /// ```
    fn invalidate_end(&self, _table: Pin<&mut Self::PageTable>, _invalidation: &Invalidation<'_>) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Notifies the driver that the address space is going away.
    ///
    /// Called at most once, after everything was invalidated and before the first page is freed.
    /// From then on all faults fail with [`FaultError::Dead`](super::FaultError::Dead), and no
    /// other callback is running or comes, not even when the mirror is dropped.
    ///
    /// Called with the lock of the page table held. Must not sleep under a spinlock, and may sleep
    /// under a mutex. It cannot fail.
    fn release(&self, _table: Pin<&mut Self::PageTable>) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Returns the device that pages are mapped for, by
    /// [`commit_dma`](super::Faulted::commit_dma).
    ///
    /// This is optional. Without it a mirror ends at page frames, which is enough for emulated
    /// devices. With it each fault also reserves DMA addresses for the leaf tables that it touches,
    /// and the registry unmaps pages when they have been invalidated: after
    /// [`invalidate`](Self::invalidate) or [`TwoPassOps::invalidate_finish`] has
    /// returned, and before the CPU page table changes. What was reserved is kept until the mirror
    /// is dropped: 4 or 8 KiB of memory for each leaf table, and, behind an IOMMU, addresses. This
    /// costs 4 KiB more for each mirror.
    ///
    /// Called once, without a lock, before the mirror is registered. Must not sleep. The result is
    /// taken to be borrowed from `self` for as long as the mirror exists.
    ///
    /// # Examples
    ///
    /// A device with a page table of its own:
    ///
    /// ```
    /// use core::marker::PhantomPinned;
    /// use kernel::{
    ///     device::{Bound, Device},
    ///     dma::DmaAddress,
    ///     hmm::{FaultBuffer, FaultError, Faulter, Invalidation, MirrorOps, Write},
    ///     mm::addr::PageRange,
    ///     prelude::*,
    ///     sync::lock::spinlock::SpinLockBackend,
    /// };
    ///
    /// struct Nic<'bound> {
    ///     dev: &'bound Device<Bound>,
    /// }
    ///
    /// #[pin_data]
    /// struct Table {
    ///     entry: Option<(PageRange, DmaAddress)>,
    ///     #[pin]
    ///     _pinned: PhantomPinned,
    /// }
    ///
    /// #[vtable]
    /// impl<'bound> MirrorOps for Nic<'bound> {
    ///     const NAME: &'static CStr = c"nic";
    ///     type PageTable = Table;
    ///     type Lock = SpinLockBackend;
    ///
    ///     fn invalidate(&self, table: Pin<&mut Table>, invalidation: &Invalidation<'_>) {
    ///         let entry = table.project().entry;
    ///
    ///         if entry.as_ref().is_some_and(|(range, _)| range.overlaps(&invalidation.range())) {
    ///             // Flushes the TLB of the device as well.
    ///             *entry = None;
    ///         }
    ///     }
    ///
    ///     fn device(&self) -> &Device<Bound> {
    ///         self.dev
    ///     }
    /// }
    ///
    /// fn fault(faulter: &mut Faulter<'_, Nic<'_>>, range: PageRange) -> Result<(), FaultError> {
    ///     let mut buffer = FaultBuffer::new(range.pages(), GFP_KERNEL)
    ///         .map_err(|_| FaultError::NoMemory)?;
    ///
    ///     faulter.map_dma(range, &mut buffer, Write, |table, runs| {
    ///         *table.project().entry = runs.map(|run| (run.range(), run.addr())).next();
    ///     })
    /// }
    /// ```
    ///
    /// [`TwoPassOps::invalidate_finish`]: super::TwoPassOps::invalidate_finish
    fn device(&self) -> &Device<Bound> {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Waits until the device uses no page of `range`, before pages are mapped.
    ///
    /// This is optional, and is for drivers with [`DMA_DIRECT`](Self::DMA_DIRECT). A page that was
    /// mapped for reading, and that the process may write to by now, is mapped anew by
    /// [`commit_dma`](super::Faulted::commit_dma): there is a moment in which it is not mapped, and
    /// a transfer that is in progress would fail. With a page table of its own a device is kept
    /// from writing by that, and nothing is mapped anew.
    ///
    /// Called with the lock of the page table held, in the commit, if its result is valid. Must not
    /// sleep under a spinlock, and may sleep under a mutex: whatever completes a transfer must not
    /// need that. Entries for the pages stay valid.
    fn quiesce(&self, _table: Pin<&mut Self::PageTable>, _range: PageRange) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Returns the owner of the device private memory, for devices that have such memory.
    ///
    /// A fault leaves pages in memory of this owner where they are, instead of migrating them to
    /// memory that the CPU can access. [`Invalidation::is_from`] recognises invalidations that this
    /// owner caused by migrating pages. Cannot be combined with
    /// [`CPU_ACCESS`](Self::CPU_ACCESS).
    ///
    /// Called when a range is created, without a lock. Must not sleep. The result must always be
    /// the same.
    fn owner(&self) -> Owner {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }
}

/// The identity of an owner of device private memory.
///
/// C code uses an arbitrary pointer for it: `dev_pagemap.owner`, `migrate_vma.pgmap_owner`,
/// `mmu_notifier_range.owner`. The owner of a mirror has to be the `dev_pagemap.owner` of the
/// device's memory, which exists before the first mirror does.
///
/// # Examples
///
/// ```
/// use kernel::hmm::Owner;
///
/// /// What identifies the device's memory.
/// static OWNER: u8 = 0;
///
/// assert_eq!(Owner::of(&OWNER), Owner::of(&OWNER));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(*mut c_void);

impl Owner {
    /// Identifies an owner by the address of `object`.
    ///
    /// Use a `static`, or something else that nobody frees: the address must identify nothing else
    /// for as long as a page of the device's memory is mapped somewhere. Something in the value
    /// that implements [`MirrorOps`] would be another owner for each mirror.
    #[inline]
    pub fn of<T>(object: &'static T) -> Self {
        const {
            assert!(
                size_of::<T>() > 0,
                "a zero-sized type has no address of its own"
            )
        };
        Self(ptr::from_ref(object).cast_mut().cast())
    }

    /// Returns the pointer that C code uses. It must not be dereferenced.
    #[inline]
    pub fn as_ptr(self) -> *mut c_void {
        self.0
    }
}

/// A callback cannot invalidate without sleeping, see [`MirrorOps::try_invalidate`].
///
/// Converted to an [`Error`], it is [`EAGAIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WouldBlock;

impl fmt::Display for WouldBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the invalidation would have to sleep")
    }
}

impl From<WouldBlock> for Error {
    #[inline]
    fn from(_: WouldBlock) -> Self {
        EAGAIN
    }
}
