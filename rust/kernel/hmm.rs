// SPDX-License-Identifier: GPL-2.0

//! HMM mirroring: a device's page table kept in step with a process's.
//!
//! A device with a page table of its own, such as a GPU or a NIC, uses the memory of a process in
//! place. The driver implements [`MirrorOps`] for its device and makes a [`Mirror`] of an address
//! space. From then on, until the [`Mirror`] is dropped:
//!
//! - before the CPU page table changes, [`MirrorOps::invalidate`] gets the device's page table,
//!   locked, and takes out what is about to change;
//! - when the device needs a page, the driver puts a [`FaultRange`] in flight, [reads] the CPU
//!   page table through it, and [commits] what was read to the device's page table. That takes a
//!   [`Faulter`], which either faults or holds the lock of the device's page table.
//!
//! The device's page table lives in the [`Mirror`], behind the one lock that both sides take, so
//! the wrong lock cannot be taken and none can be forgotten. What was read has no accessors before
//! it is committed, and committing it checks, under that lock, that no invalidation came in
//! between.
//!
//! The registry behind this is the one that C drivers use too; there is no second one here.
//!
//! # Examples
//!
//! A device whose page table has room for one page:
//!
//! ```
//! use kernel::{
//!     hmm::{Mirror, MirrorOps, PageRange, Pfn, FaultBuffer, Invalidation, VirtAddr, Write},
//!     mm::MmWithUser,
//!     new_mirror,
//!     prelude::*,
//!     sync::lock::spinlock::SpinLockBackend,
//! };
//!
//! struct OnePage;
//!
//! struct Entry {
//!     addr: VirtAddr,
//!     pfn: Pfn,
//! }
//!
//! #[vtable]
//! impl MirrorOps for OnePage {
//!     type PageTable = Option<Entry>;
//!     type Lock = SpinLockBackend;
//!
//!     fn invalidate(&self, table: &mut Option<Entry>, invalidation: &Invalidation<'_>) {
//!         if table.as_ref().is_some_and(|e| invalidation.range().contains(e.addr)) {
//!             *table = None;
//!             // A real device's TLB is flushed here.
//!         }
//!     }
//! }
//!
//! fn mirror(mm: &MmWithUser) -> Result<Pin<KBox<Mirror<OnePage>>>> {
//!     KBox::pin_init(new_mirror!(mm, OnePage, None), GFP_KERNEL)
//! }
//!
//! fn device_page_fault(mirror: &Mirror<OnePage>, addr: VirtAddr) -> Result {
//!     let range = PageRange::page_of(addr)?;
//!     let mut buffer = FaultBuffer::new(range.pages(), GFP_KERNEL)?;
//!
//!     mirror.faulter().map(range, &mut buffer, Write, |table, pages| {
//!         for page in pages {
//!             *table = Some(Entry { addr: page.addr(), pfn: page.pfn() });
//!         }
//!     })
//! }
//! # Ok::<(), Error>(())
//! ```
//!
//! C header: [`include/linux/hmm.h`](srctree/include/linux/hmm.h)
//!
//! [reads]: FaultRange::fault
//! [commits]: Faulted::commit

use crate::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    mm::MmWithUser,
    module::{
        this_module,
        ThisModule, //
    },
    page::{
        PAGE_MASK,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    str::CStr,
    sync::{
        aref::ARef,
        lock::{
            mutex::MutexBackend,
            spinlock::SpinLockBackend,
            Backend,
            Guard,
            Lock, //
        },
        LockClassKey, //
    },
    time::{
        msecs_to_jiffies,
        Delta,
        Instant,
        Jiffies,
        Monotonic,
        Msecs, //
    },
    types::Opaque,
};
use core::{
    marker::PhantomData,
    num::NonZeroU64,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::{
        self,
        NonNull, //
    },
};

mod addr;
pub use addr::{
    PageCount,
    PageRange,
    Pfn,
    VirtAddr, //
};

mod frame;
use frame::FrameStamps;
pub use frame::{
    Frame,
    FrameMut,
    StaleFrame, //
};

mod range;
use range::HmmPfn;
pub use range::{
    Access,
    FaultBuffer,
    FaultRange,
    Faulted,
    OwnedFaultRange,
    Page,
    PageRequest,
    Pages,
    Present,
    Read,
    Stale,
    Write, //
};

#[cfg(CONFIG_HMM_MIRROR_RUST_KUNIT_TEST)]
mod tests;

/// How long [`Faulter::map`] tries, as a fault in C does by default.
const MAP_TIMEOUT: Delta = Delta::from_millis(bindings::HMM_RANGE_DEFAULT_TIMEOUT as i64);

/// The lock that protects a device's page table.
///
/// It says whether the callbacks of a mirror may sleep, so there is no flag to get wrong: under a
/// [`SpinLockBackend`] they do not, and the OOM reaper and `process_mrelease(2)` can free the
/// process's memory. Under a [`MutexBackend`] they may, and both of them get `EAGAIN` for as long
/// as the mirror exists.
///
/// Memory must not be allocated with [`GFP_KERNEL`] under either: reclaim may need the lock.
pub trait MirrorLock: Backend + sealed::Sealed {
    /// Whether callbacks under this lock are forbidden to sleep.
    const ATOMIC: bool;
}

impl MirrorLock for SpinLockBackend {
    const ATOMIC: bool = true;
}

impl MirrorLock for MutexBackend {
    const ATOMIC: bool = false;
}

/// Seals [`MirrorLock`].
mod sealed {
    use super::*;

    pub trait Sealed {}
    impl Sealed for SpinLockBackend {}
    impl Sealed for MutexBackend {}
}

/// A device that mirrors address spaces.
///
/// `Self` is what a [`Mirror`] needs of the device outside of the lock of its page table: a
/// reference to its registers, say. It is shared by all that use the mirror.
///
/// The callbacks run in process context inside whatever changes the CPU page table, so they should
/// be quick. They are given no way to fail, to reach their [`Mirror`], or to keep what they get.
/// They must not allocate memory with [`GFP_KERNEL`], take the mmap lock, or wait for anything
/// that does: lockdep knows, and tells.
///
/// The implementation has to be marked `#[vtable]` as well, which also fills in `OwnerModule`; and
/// the device must not be more visible than the type that `module!` names.
///
/// A driver has either [`invalidate`](Self::invalidate), or both
/// [`invalidate_start`](Self::invalidate_start) and
/// [`invalidate_finish`](Self::invalidate_finish); anything else does not compile.
#[vtable]
pub trait MirrorOps: Sized + Send + Sync + 'static {
    /// The page table of the device.
    type PageTable: Send + Unpin + 'static;

    /// The lock that protects it.
    type Lock: MirrorLock;

    /// Whether the "device" is this CPU, and follows its page table by [`Frame`]s.
    ///
    /// That is for emulated devices. It costs 4 KiB for each mirror, and a little for each invalidation.
    const CPU_ACCESS: bool = false;

    /// The CPU page table is about to change, or the mirror is being dropped.
    ///
    /// When this returns, the device must not use what `table` said about
    /// [`invalidation.range()`](Invalidation::range) any more: the entries are taken out and the device's TLB
    /// is flushed.
    fn invalidate(&self, _table: &mut Self::PageTable, _invalidation: &Invalidation<'_>) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// The same in two passes, for devices that take their time to flush: takes the entries out,
    /// and starts the flush.
    ///
    /// All devices that mirror the address space are told before the first is waited for, so they
    /// flush side by side.
    ///
    /// Returns what identifies the flush to the device, or [`None`] if there is nothing to wait
    /// for. That there are no entries to take out is not enough for that: an invalidation of the same
    /// addresses in another thread may have taken them out just now, and its flush still be going
    /// on. The pages may go when this invalidation is over, so it has to wait for that one, too.
    ///
    /// # Examples
    ///
    /// A device that flushes all of its TLB, one flush after the other, and counts them:
    ///
    /// ```
    /// use core::num::NonZeroU64;
    /// use kernel::{
    ///     hmm::{MirrorOps, Pfn, Invalidation, VirtAddr},
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
    ///     /// Waits until the flush with that number, and so all before it, is over.
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
    ///         let had = table.entries.len();
    ///
    ///         table.entries.retain(|entry| !invalidation.range().contains(entry.0));
    ///         if table.entries.len() < had {
    ///             table.last_flush = self.start_flush();
    ///         }
    ///         // Whoever took the entries out: the last flush is the one to wait for.
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

    /// Waits until the flush that [`invalidate_start`](Self::invalidate_start) has started is over.
    ///
    /// Called without the lock of the page table, and with the same `invalidation`; also when the mirror
    /// is dropped. It may sleep if [`Self::Lock`] says that callbacks may.
    fn invalidate_finish(&self, _invalidation: &Invalidation<'_>, _flush: NonZeroU64) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// The address space is going away.
    ///
    /// Called at most once, after everything was invalidated and before the first page is freed.
    /// From here on every fault fails with [`ESRCH`].
    fn release(&self, _table: &mut Self::PageTable) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }

    /// Who owns the private memory of the device, for devices that have some.
    ///
    /// Pages in there are found by a fault as they are then, instead of being moved to where the
    /// CPU can access them, and invalidations that come of moving pages there or back
    /// [can be told](Invalidation::is_from) from others. Not for devices with
    /// [`CPU_ACCESS`](Self::CPU_ACCESS).
    fn owner(&self) -> Owner<'_> {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }
}

/// The identity of who owns device private memory, or causes an invalidation.
///
/// In C that is any pointer: `dev_pagemap.owner`, `migrate_vma.pgmap_owner`, `hmm_update.owner`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a>(*mut c_void, PhantomData<&'a ()>);

impl<'a> Owner<'a> {
    /// The owner that `object` stands for, by its address.
    #[inline]
    pub fn of<T>(object: &'a T) -> Self {
        const {
            assert!(
                size_of::<T>() > 0,
                "what has no size has no address of its own"
            )
        };
        Self(ptr::from_ref(object).cast_mut().cast(), PhantomData)
    }

    /// The pointer that C code knows it by. Not to be followed.
    #[inline]
    pub fn as_ptr(self) -> *mut c_void {
        self.0
    }
}

/// Why the CPU page table changes.
///
/// See `enum mmu_notifier_event` in
/// [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `munmap(2)`, or `mremap(2)` that moves.
    Unmap,
    /// Entries are cleared, for one of many reasons: `madvise(2)`, copy-on-write, reclaim.
    Clear,
    /// The protection of a mapping changes, as `mprotect(2)` does.
    ProtectionVma,
    /// The protection of single pages changes.
    ProtectionPage,
    /// Soft-dirty accounting: same page, same permissions.
    SoftDirty,
    /// The whole address space goes away, or its mirror does.
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
            // `Clear` promises nothing but that the entries go.
            _ => Event::Clear,
        }
    }
}

/// One invalidation of the CPU page table, as [`MirrorOps::invalidate`] gets it.
pub struct Invalidation<'u> {
    raw: &'u bindings::hmm_update,
    // Makes `'u` invariant, so that nothing made for one invalidation passes for another's.
    _invariant: PhantomData<fn(&'u ()) -> &'u ()>,
}

impl Invalidation<'_> {
    /// The addresses that change.
    #[inline]
    pub fn range(&self) -> PageRange {
        PageRange::touched(self.raw.start, self.raw.end)
    }

    /// Why they change.
    #[inline]
    pub fn event(&self) -> Event {
        Event::from_raw(self.raw.event)
    }

    /// Whether it comes of what `owner` does: a driver that finds itself here may ignore it, if
    /// it knows about the pages already.
    ///
    /// Only for [`Event::Migrate`] and [`Event::Exclusive`] is that known.
    #[inline]
    pub fn is_from(&self, owner: Owner<'_>) -> bool {
        self.raw.owner == owner.0
    }

    /// Whether the task that changes the CPU page table may sleep.
    ///
    /// What the callback may do depends on its lock, not on this.
    #[inline]
    pub fn blockable(&self) -> bool {
        self.raw.blockable
    }
}

/// What the lock of a [`Mirror`] protects.
struct Locked<T: MirrorOps> {
    table: T::PageTable,
    stamps: FrameStamps,
}

/// A reference to a module, which keeps its code there.
struct ModuleRef(&'static ThisModule);

impl ModuleRef {
    fn new(module: &'static ThisModule) -> Result<Self> {
        let module_ptr = module.as_ptr();

        // A module whose initialisation fails is freed whatever its reference count, so a reference
        // holds nothing before that is over. `strong_try_module_get()` refuses for the same reason.
        //
        // SAFETY: The module's own code runs, so it is there, or null if it is built in.
        if !module_ptr.is_null() && unsafe { bindings::module_is_coming(module_ptr) } {
            return Err(EBUSY);
        }
        // SAFETY: As above.
        if unsafe { bindings::try_module_get(module_ptr) } {
            Ok(Self(module))
        } else {
            Err(ENODEV)
        }
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: The reference was taken in `new`.
        unsafe { bindings::module_put(self.0.as_ptr()) };
    }
}

/// A mirror of one address space by one device.
///
/// It may be dropped at any time, also when the process is long gone. That invalidates all that
/// the device has, unregisters the mirror, waits for callbacks that run, and then drops the page
/// table. A mirror that is leaked instead goes on to mirror.
///
/// It does not keep the address space alive: once that is gone, every fault fails with [`ESRCH`].
/// Any thread may fault, those of the kernel as well.
///
/// A mirror keeps the driver's module from being unloaded. So it must not be owned by the module
/// itself, for then it would have no end, but by who uses it: an open file, usually. Letting the
/// module go is the last that dropping a mirror does, so whoever drops it (a work item, say) needs
/// something else that holds the module until its own code has ended.
///
/// # Examples
///
/// A driver's object for an open file, with a mirror of the process that opens it:
///
/// ```
/// use kernel::{
///     current,
///     hmm::{new_mirror, Mirror, MirrorOps},
///     prelude::*,
/// };
///
/// #[pin_data]
/// struct Context<T: MirrorOps> {
///     #[pin]
///     mirror: Mirror<T>,
/// }
///
/// fn open<T: MirrorOps>(device: T, table: T::PageTable) -> Result<Pin<KBox<Context<T>>>> {
///     let task = current!();
///     let mm = task.mm().ok_or(ESRCH)?;
///
///     KBox::try_pin_init(
///         try_pin_init!(Context { mirror <- new_mirror!(mm, device, table) }),
///         GFP_KERNEL,
///     )
/// }
/// ```
///
/// # Deadlocks
///
/// Dropping a mirror waits for its callbacks. So it must not be done where a callback would wait
/// for it: in a callback of its own (which is not given the mirror, but [`MirrorOps::PageTable`]
/// could be made to have it), in a work item that a callback waits for, or under a lock that a
/// callback takes. Lockdep tells.
///
/// # Invariants
///
/// `raw` is registered with the registry, with the callbacks of `Callbacks<T>`, from the end of
/// initialisation until `self` is dropped. The module of `T` stays for as long.
#[pin_data(PinnedDrop)]
pub struct Mirror<T: MirrorOps> {
    #[pin]
    raw: Opaque<bindings::hmm_mirror>,
    #[pin]
    locked: Lock<Locked<T>, T::Lock>,
    ops: T,
    end_address: VirtAddr,
    // Dropped last: until then, the code of `T` is needed.
    _module: ModuleRef,
}

// SAFETY: `raw` may be used and unregistered from any thread, `locked` is a lock of data that is
// `Send`, and so is `device`.
unsafe impl<T: MirrorOps> Send for Mirror<T> {}
// SAFETY: All methods that take `&self` may be called in parallel: the registry and the lock
// synchronise them, and `device` is `Sync`.
unsafe impl<T: MirrorOps> Sync for Mirror<T> {}

/// Creates a [`Mirror`] initialiser with a newly created lock class.
///
/// Takes the address space, the device, its empty page table, and optionally a name for the lock
/// class. See [`Mirror::new`].
///
/// In a function that is generic over the device, all devices get the same class, whatever their
/// locks: use it where the device is known.
#[macro_export]
macro_rules! new_mirror {
    ($mm:expr, $device:expr, $table:expr $(, $name:literal)? $(,)?) => {
        $crate::hmm::Mirror::new(
            $mm,
            $device,
            $table,
            $crate::optional_name!($($name)?),
            $crate::static_lock_class!(),
        )
    };
}
pub use new_mirror;

impl<T: MirrorOps> Mirror<T> {
    /// Starts to mirror `mm`.
    ///
    /// `table` is the device's page table, without entries. Usually called through
    /// [`new_mirror!`]. Sleeps, and takes the mmap lock of `mm`.
    ///
    /// # Errors
    ///
    /// - [`ENOMEM`]: out of memory.
    /// - [`EINTR`]: a signal came.
    /// - [`EBUSY`]: the driver's module is still being initialised, which may fail, and would free
    ///   the callbacks then.
    /// - [`ENODEV`]: the driver's module is being unloaded.
    pub fn new<'a>(
        mm: &'a MmWithUser,
        ops: T,
        table: T::PageTable,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self, Error> + 'a {
        try_pin_init!(&this in Self {
            raw <- Opaque::ffi_init(|slot: *mut bindings::hmm_mirror| {
                let raw = bindings::hmm_mirror {
                    ops: const { &Callbacks::<T>::OPS },
                    ..pin_init::zeroed()
                };
                // SAFETY: `slot` is valid for writes.
                unsafe { slot.write(raw) };
            }),
            locked <- Lock::new(
                Locked {
                    table,
                    stamps: FrameStamps::new(T::CPU_ACCESS)?,
                },
                name,
                key,
            ),
            ops,
            // SAFETY: `mm` is valid, and this does not change.
            end_address: VirtAddr::new(unsafe { (*mm.as_raw()).__bindgen_anon_1.task_size }),
            _module: ModuleRef::new(this_module::<T::OwnerModule>())?,
            // Registered last: callbacks may come before this is over.
            _: {
                // SAFETY: `mm` has users, so its mmap lock is there.
                to_result(unsafe { bindings::mmap_write_lock_killable(mm.as_raw()) })?;
                // SAFETY: `this` is valid, pinned, and all of its fields are initialised. It stays
                // so until its destructor has unregistered the mirror. `mm` has users for `'a`,
                // and we hold its mmap lock for write.
                let ret = unsafe {
                    bindings::hmm_mirror_register(
                        Opaque::cast_into(&raw const (*this.as_ptr()).raw),
                        mm.as_raw(),
                    )
                };
                // SAFETY: We took this lock above.
                unsafe { bindings::mmap_write_unlock(mm.as_raw()) };
                // INVARIANT: On success the mirror is registered.
                to_result(ret)?;
            },
        })
    }

    /// The device.
    #[inline]
    pub fn ops(&self) -> &T {
        &self.ops
    }

    /// The first address that the address space has no room for.
    #[inline]
    pub fn end_address(&self) -> VirtAddr {
        self.end_address
    }

    /// Begins to use the mirror, to fault or to take the lock of the device's page table.
    #[inline]
    pub fn faulter(&self) -> Faulter<'_, T> {
        Faulter(self)
    }

    #[inline]
    fn lock(&self) -> TableGuard<'_, T> {
        TableGuard(self.locked.lock())
    }

    /// What the registry knows the owner of the device's private memory by.
    fn owner(&self) -> *mut c_void {
        if T::HAS_OWNER {
            self.ops.owner().as_ptr()
        } else {
            ptr::null_mut()
        }
    }
}

/// One thread's use of a [`Mirror`], which either faults or holds the lock of the device's page
/// table.
///
/// There is nothing in a faulter but the reference, and any number of threads may have theirs.
///
/// # Deadlocks
///
/// A fault waits for invalidations of the CPU page table, and invalidations wait for that lock. So whoever
/// faults with the lock held would wait for himself, and that both borrow the faulter forbids it.
/// A thread should therefore have one faulter of a mirror at a time; with two, it is up to lockdep
/// to tell.
///
/// A fault also takes the mmap lock of the process, and allocates memory. So it must not be made
/// with that lock held, nor with any other lock that a callback of a mirror takes. What must not
/// be done with the lock of the page table held says [`lock`](Self::lock).
pub struct Faulter<'m, T: MirrorOps>(&'m Mirror<T>);

impl<'m, T: MirrorOps> Faulter<'m, T> {
    /// The mirror.
    #[inline]
    pub fn mirror(&self) -> &'m Mirror<T> {
        self.0
    }

    /// Locks the device's page table.
    ///
    /// While the guard is held, no invalidation of the CPU page table gets through this mirror, so
    /// nothing may be waited for that such an invalidation could hold up: a fault of the process, memory
    /// allocated with [`GFP_KERNEL`], or its mmap lock.
    #[inline]
    pub fn lock(&mut self) -> TableGuard<'_, T> {
        self.0.lock()
    }

    /// Prepares a range to be faulted in.
    ///
    /// `buffer` has room for the pages of `range`. The initialiser puts the range in flight: invalidations
    /// that hit it are noted until it is dropped. It does not sleep.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`]: the range is above the address space, or larger than `buffer`.
    /// - [`ESRCH`]: the address space is dead.
    pub fn range<'s>(
        &'s mut self,
        range: PageRange,
        buffer: &'s mut FaultBuffer,
    ) -> impl PinInit<FaultRange<'s, T>, Error> + 's {
        // SAFETY: `buffer` is borrowed for as long as the range can be used.
        unsafe { FaultRange::new(self.0, range, buffer) }
    }

    /// Faults a range in and commits it, again and again while it collides with invalidations, for up to
    /// a second.
    ///
    /// `commit` gets the device's page table, locked, and the pages. It is called once, or not at
    /// all where this fails.
    ///
    /// Sleeps. See [`Faulter`] for what must not be held, and [`lock`](Self::lock) for what
    /// `commit` must not do.
    ///
    /// # Errors
    ///
    /// Those of [`Faulter::range`] and [`FaultRange::fault`].
    ///
    /// # Examples
    ///
    /// A page table that needs memory gets it before, as there is none to be had under the lock.
    /// What `commit` returns may be a [`Result`] itself:
    ///
    /// ```
    /// use kernel::{
    ///     hmm::{MirrorOps, PageRange, Pfn, FaultBuffer, Read, Faulter, VirtAddr},
    ///     prelude::*,
    /// };
    ///
    /// type Entries = KVec<(VirtAddr, Pfn)>;
    ///
    /// fn map<T: MirrorOps<PageTable = Option<Entries>>>(
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
    ///         Ok(table.replace(entries))
    ///     })??;
    ///     // Memory is not freed under the lock either.
    ///     drop(old);
    ///     Ok(())
    /// }
    /// ```
    pub fn map<A: Access, R>(
        &mut self,
        range: PageRange,
        buffer: &mut FaultBuffer,
        access: A,
        commit: impl FnOnce(&mut T::PageTable, Pages<'_, T, A::Granted>) -> R,
    ) -> Result<R> {
        let begun = Instant::<Monotonic>::now();
        let mut commit = Some(commit);

        pin_init::stack_try_pin_init!(let range: FaultRange<'_, T> =? self.range(range, buffer));
        loop {
            let done = range.as_mut().fault(access)?.commit(|table, pages| {
                // `commit` is called once: the loop ends with it.
                commit.take().map(|commit| commit(table, pages))
            });
            match done {
                Ok(Some(done)) => return Ok(done),
                _ if begun.elapsed() > MAP_TIMEOUT => return Err(EBUSY),
                _ => (),
            }
        }
    }
}

#[pinned_drop]
impl<T: MirrorOps> PinnedDrop for Mirror<T> {
    fn drop(self: Pin<&mut Self>) {
        // What the device has is not kept in step any more after this, so it must be gone before.
        // Nothing new comes, as `self` is borrowed by whoever could commit.
        Callbacks::<T>::invalidate_all(&self);
        // SAFETY: By the type invariants the mirror is registered. No range is in flight, as each
        // borrows the mirror until it is ended; one that was leaked is taken out by this call. No
        // callback runs when this returns, so the fields may be dropped then.
        unsafe { bindings::hmm_mirror_unregister(self.raw.get()) };
    }
}

/// The C callbacks of a mirror of a `T`.
struct Callbacks<T: MirrorOps>(PhantomData<T>);

impl<T: MirrorOps> Callbacks<T> {
    const OPS: bindings::hmm_mirror_ops = {
        assert!(
            T::HAS_INVALIDATE != T::HAS_INVALIDATE_START
                && T::HAS_INVALIDATE_START == T::HAS_INVALIDATE_FINISH,
            "a mirror has `invalidate`, or `invalidate_start` and `invalidate_finish`"
        );
        assert!(
            !(T::CPU_ACCESS && T::HAS_OWNER),
            "the CPU cannot access device private memory"
        );

        bindings::hmm_mirror_ops {
            sync_cpu_device_pagetables: None,
            invalidate: if T::HAS_INVALIDATE {
                Some(Self::invalidate)
            } else {
                None
            },
            invalidate_start: if T::HAS_INVALIDATE_START {
                Some(Self::invalidate_start)
            } else {
                None
            },
            invalidate_finish: if T::HAS_INVALIDATE_FINISH {
                Some(Self::invalidate_finish)
            } else {
                None
            },
            release: if T::HAS_RELEASE {
                Some(Self::release)
            } else {
                None
            },
            flags: if T::Lock::ATOMIC {
                bindings::hmm_mirror_flags_HMM_MIRROR_ATOMIC
            } else {
                0
            },
        }
    };

    /// Takes all that there is from the device, as before the end of the address space.
    fn invalidate_all(mirror: &Mirror<T>) {
        let invalidation = Invalidation {
            raw: &bindings::hmm_update {
                start: 0,
                end: usize::MAX,
                event: bindings::mmu_notifier_event_MMU_NOTIFY_RELEASE,
                owner: ptr::null_mut(),
                blockable: true,
            },
            _invariant: PhantomData,
        };

        if T::HAS_INVALIDATE {
            Self::one_pass(mirror, &invalidation);
        } else if let Some(flush) = Self::first_pass(mirror, &invalidation) {
            mirror.ops.invalidate_finish(&invalidation, flush);
        }
    }

    #[inline]
    fn one_pass(mirror: &Mirror<T>, invalidation: &Invalidation<'_>) {
        let mut locked = mirror.locked.lock();

        if T::CPU_ACCESS {
            locked.stamps.invalidate(invalidation.range());
        }
        mirror.ops.invalidate(&mut locked.table, invalidation);
    }

    #[inline]
    fn first_pass(mirror: &Mirror<T>, invalidation: &Invalidation<'_>) -> Option<NonZeroU64> {
        let mut locked = mirror.locked.lock();

        if T::CPU_ACCESS {
            locked.stamps.invalidate(invalidation.range());
        }
        mirror.ops.invalidate_start(&mut locked.table, invalidation)
    }

    /// # Safety
    ///
    /// `mirror` is the `raw` of a `Mirror<T>` that is registered for as long as this runs.
    unsafe fn mirror<'a>(mirror: *mut bindings::hmm_mirror) -> &'a Mirror<T> {
        // SAFETY: By the requirement, this is inside of a `Mirror<T>`, which is initialised, and
        // not dropped before the callback is over.
        unsafe { &*crate::container_of!(Opaque::cast_from(mirror), Mirror<T>, raw) }
    }

    /// # Safety
    ///
    /// `invalidation` is valid for `'u`.
    unsafe fn invalidation<'u>(invalidation: *const bindings::hmm_update) -> Invalidation<'u> {
        Invalidation {
            // SAFETY: By the requirement.
            raw: unsafe { &*invalidation },
            _invariant: PhantomData,
        }
    }

    /// # Safety
    ///
    /// Only to be called by the registry, for a mirror that was registered with [`Self::OPS`].
    unsafe extern "C" fn invalidate(
        mirror: *mut bindings::hmm_mirror,
        invalidation: *const bindings::hmm_update,
    ) {
        // SAFETY: The registry calls this for mirrors that are registered with `Self::OPS`.
        let mirror = unsafe { Self::mirror(mirror) };
        // SAFETY: `invalidation` is valid for the duration of the call.
        let invalidation = unsafe { Self::invalidation(invalidation) };

        Self::one_pass(mirror, &invalidation);
    }

    /// # Safety
    ///
    /// As for [`Self::invalidate`].
    unsafe extern "C" fn invalidate_start(
        mirror: *mut bindings::hmm_mirror,
        invalidation: *const bindings::hmm_update,
    ) -> u64 {
        // SAFETY: The registry calls this for mirrors that are registered with `Self::OPS`.
        let mirror = unsafe { Self::mirror(mirror) };
        // SAFETY: `invalidation` is valid for the duration of the call.
        let invalidation = unsafe { Self::invalidation(invalidation) };

        Self::first_pass(mirror, &invalidation).map_or(0, NonZeroU64::get)
    }

    /// # Safety
    ///
    /// As for [`Self::invalidate`].
    unsafe extern "C" fn invalidate_finish(
        mirror: *mut bindings::hmm_mirror,
        invalidation: *const bindings::hmm_update,
        flush: u64,
    ) {
        // SAFETY: The registry calls this for mirrors that are registered with `Self::OPS`.
        let mirror = unsafe { Self::mirror(mirror) };
        // SAFETY: `invalidation` is valid for the duration of the call.
        let invalidation = unsafe { Self::invalidation(invalidation) };

        if let Some(flush) = NonZeroU64::new(flush) {
            mirror.ops.invalidate_finish(&invalidation, flush);
        }
    }

    /// # Safety
    ///
    /// As for [`Self::invalidate`].
    unsafe extern "C" fn release(mirror: *mut bindings::hmm_mirror) {
        // SAFETY: The registry calls this for mirrors that are registered with `Self::OPS`.
        let mirror = unsafe { Self::mirror(mirror) };

        mirror.ops.release(&mut mirror.locked.lock().table);
    }
}

/// The device's page table, locked. See [`Faulter::lock`].
pub struct TableGuard<'a, T: MirrorOps>(Guard<'a, Locked<T>, T::Lock>);

impl<T: MirrorOps> TableGuard<'_, T> {
    /// Reads from a page of the process, as the device, by way of an entry of its page table.
    ///
    /// `offset` is in bytes from the frame's address. Stops at the end of the (small) page that is
    /// in, and returns how many bytes were read: 0 behind the end of the frame. What the process
    /// writes meanwhile may be read in part.
    ///
    /// # Errors
    ///
    /// [`StaleFrame`]: the page may have gone since the frame was made, or the frame is another
    /// mirror's. Make a new one by a fault.
    pub fn read(
        &self,
        frame: &Frame,
        offset: usize,
        to: &mut [u8],
    ) -> core::result::Result<usize, StaleFrame> {
        const { assert!(T::CPU_ACCESS, "frames are for devices with CPU_ACCESS") };
        self.0.stamps.read(frame, offset, to)
    }

    /// Writes to a page of the process, as the device, by way of an entry of its page table.
    ///
    /// `offset` is in bytes from the frame's address. Stops at the end of the (small) page that is
    /// in, and returns how many bytes were written: 0 behind the end of the frame.
    ///
    /// # Errors
    ///
    /// [`StaleFrame`]: the page may have gone, or become read-only, since the frame was made. Make
    /// a new one by a fault.
    pub fn write(
        &self,
        frame: &FrameMut,
        offset: usize,
        from: &[u8],
    ) -> core::result::Result<usize, StaleFrame> {
        const { assert!(T::CPU_ACCESS, "frames are for devices with CPU_ACCESS") };
        self.0.stamps.write(frame, offset, from)
    }
}

impl<T: MirrorOps> Deref for TableGuard<'_, T> {
    type Target = T::PageTable;

    #[inline]
    fn deref(&self) -> &T::PageTable {
        &self.0.table
    }
}

impl<T: MirrorOps> DerefMut for TableGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T::PageTable {
        &mut self.0.table
    }
}

/// Gets the address space of the process behind a pidfd.
///
/// `pidfd` is a file descriptor of the calling process, see `pidfd_open(2)`. The caller needs the
/// permission that `PTRACE_ATTACH` needs. Dropping the result may tear the address space down, if
/// the process has exited meanwhile, and so may sleep.
///
/// # Errors
///
/// - [`EBADF`]: not a pidfd.
/// - [`ESRCH`]: the process is gone, or has no address space.
/// - [`EACCES`]: not permitted.
/// - [`EINTR`]: a fatal signal is pending.
pub fn mm_from_pidfd(pidfd: i32) -> Result<ARef<MmWithUser>> {
    // SAFETY: Has no requirements but process context, as all safe functions that may sleep.
    let mm = from_err_ptr(unsafe { bindings::hmm_mirror_get_mm(pidfd) })?;

    // SAFETY: On success this is a valid pointer, with a reference to the users of the address
    // space that is given to us. `MmWithUser` is a transparent wrapper.
    Ok(unsafe { ARef::from_raw(NonNull::new_unchecked(mm.cast())) })
}
