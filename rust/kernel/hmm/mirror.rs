// SPDX-License-Identifier: GPL-2.0

//! Mirrors, and the lock of the device's page table.

use super::{
    callbacks::Callbacks,
    dma::{
        self,
        DmaLeaves, //
    },
    frame::FrameStamps,
    Faulter,
    Frame,
    FrameMut,
    Invalidation,
    MirrorOps,
    StaleFrame, //
};
use crate::{
    bindings,
    error::to_result,
    mm::{
        addr::VirtAddr,
        MmWithUser, //
    },
    module::{
        this_module,
        ModuleRef, //
    },
    prelude::*,
    str::CStr,
    sync::{
        lock::{
            Guard,
            Lock, //
        },
        new_mutex,
        LockClassKey,
        Mutex, //
    },
    types::Opaque,
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ops::Deref,
    ptr, //
};
use pin_init::Wrapper;

/// The data that the lock of a [`Mirror`] protects.
#[pin_data]
struct Locked<T: MirrorOps> {
    #[pin]
    table: T::PageTable,
    stamps: FrameStamps,
    dma: DmaLeaves,
    /// Whether [`MirrorOps::release`] was called.
    released: bool,
}

/// A mirror of one address space, for one device.
///
/// It can be dropped at any time, even if the process exited long ago. Dropping it invalidates
/// everything (unless [`MirrorOps::release`] was called, before which that was done), unregisters
/// the mirror, waits for running callbacks, and then drops the page table. If it is leaked, it
/// stays registered.
///
/// A mirror does not keep the address space alive. When the address space has gone, all faults fail
/// with [`ESRCH`]. Any thread may fault, including kernel threads.
///
/// A mirror holds a reference to the driver's module. If the module itself owned the mirror, it
/// could never be unloaded, so let an object with a shorter life own it, usually an open file. The
/// reference is dropped last. Code of the module that drops a mirror (in a work item, for example)
/// needs another reference that outlives it, see [`ModuleRef`].
///
/// # Examples
///
/// A driver's data for an open file, with a mirror of the process that opens it:
///
/// ```
/// use kernel::{
///     current,
///     hmm::{new_mirror, Mirror, MirrorOps},
///     prelude::*,
/// };
///
/// #[pin_data]
/// struct Context<T: MirrorOps + 'static> {
///     #[pin]
///     mirror: Mirror<T>,
/// }
///
/// fn open<T: MirrorOps + 'static>(
///     ops: T,
///     table: impl PinInit<T::PageTable, Error>,
/// ) -> Result<Pin<KBox<Context<T>>>> {
///     let task = current!();
///     let mm = task.mm().ok_or(ESRCH)?;
///
///     KBox::try_pin_init(
///         try_pin_init!(Context { mirror <- new_mirror!(mm, ops, table) }),
///         GFP_KERNEL,
///     )
/// }
/// ```
///
/// # Borrowing from the device
///
/// The driver's type and its page table may borrow from the device that the driver is bound to. The
/// borrow checker sees to it that such a mirror does not outlive the device, but for one way: a
/// mirror that is leaked stays registered, and its callbacks would use what is gone. So
/// [`new_mirror!`] takes `'static` drivers only. For others there is
///
/// - a [`Binding`](super::Binding), which is safe: the device owns the mirrors, and open files have
///   handles. They end with the device, whoever holds a handle.
/// - [`new_mirror_with_lt!`], which is `unsafe`: the caller promises not to leak the mirror.
///
/// # Deadlocks
///
/// Dropping a mirror waits for the callbacks that are running for its address space. Do not drop it
/// where one of these would wait for the drop to finish: in a callback of any mirror of that
/// address space, in a work item that a callback waits for, or under a lock that a callback takes.
/// Lockdep reports the first and the last. It knows nothing of who waits for a completion, or a
/// condition variable.
///
/// # Invariants
///
/// From the end of its initialisation until it is dropped, `raw` is registered with the registry,
/// with the callbacks of `Callbacks<T>`, and `module` holds the module of `T`. From then on, only
/// the holder of `lock` accesses `locked`.
#[pin_data(PinnedDrop)]
pub struct Mirror<T: MirrorOps> {
    #[pin]
    pub(super) raw: Opaque<bindings::hmm_mirror>,
    #[pin]
    lock: Lock<(), T::Lock>,
    // Beside its lock, because a lock cannot be initialised with data whose initialisation may
    // fail.
    #[pin]
    locked: UnsafeCell<Locked<T>>,
    /// Held while DMA addresses are reserved, and never in a callback.
    #[pin]
    pub(super) reserving: Mutex<()>,
    ops: T,
    end_address: VirtAddr,
    // Dropped last: the code of `T` is needed until then.
    _module: ModuleRef,
}

// SAFETY: `raw` may be used and unregistered from any thread, and so may a lock. `locked` and `ops`
// are `Send`.
unsafe impl<T: MirrorOps> Send for Mirror<T> {}
// SAFETY: All methods that take `&self` may be called in parallel: the registry and the lock
// synchronise them, `ops` is `Sync`, and by the type invariants one thread at a time accesses
// `locked`, which is `Send`.
unsafe impl<T: MirrorOps> Sync for Mirror<T> {}

/// Creates a [`Mirror`] initialiser with a newly created lock class.
///
/// Takes the address space (`&MmWithUser`), the value that implements [`MirrorOps`], an initialiser
/// for the empty page table, and optionally a name for the lock class. The initialiser may be what
/// [`pin_init!`] or [`try_pin_init!`] return, a value, or a [`Result`] with a value: any
/// `impl PinInit<T::PageTable, E>` with an `E` that can be converted to an [`Error`].
///
/// The page table must not be [`Unpin`]: "type annotations needed" and
/// `PageTableMustNotBeUnpin` in an error of the compiler say that it is. See
/// [`MirrorOps::PageTable`].
///
/// A function that is generic over the driver has one lock class for all drivers, even if they use
/// different locks, and the type of its page table is not checked. Use the macro where the driver
/// is known.
///
/// `kernel::new_mirror!` is the same macro.
///
/// The initialiser sleeps, and takes the mmap lock of the address space. It must not be run with a
/// lock held that a callback of a mirror takes.
///
/// # Errors
///
/// Those of the initialiser of the page table, and:
///
/// - [`ENOMEM`]: out of memory.
/// - [`EINTR`]: a signal is pending.
/// - [`ESRCH`]: the address space is going away.
/// - [`EBUSY`]: the driver's module is still being initialised, see [`ModuleRef::new`].
/// - [`EOPNOTSUPP`]: the kernel was booted with `hmm_mirror_list=1`, a parameter for tests.
/// - [`ENODEV`]: the driver's module is being unloaded.
///
/// # Examples
///
/// See [`Mirror`].
#[macro_export]
macro_rules! new_mirror {
    ($mm:expr, $ops:expr, $table:expr $(, $name:literal)? $(,)?) => {
        match $ops {
            ops => {
                use $crate::hmm::PageTableMustNotBeUnpin as _;

                $crate::hmm::page_table_of(&ops).check();
                $crate::hmm::Mirror::new(
                    $mm,
                    ops,
                    $table,
                    $crate::optional_name!($($name)?),
                    $crate::static_lock_class!(),
                )
            }
        }
    };
}
pub use new_mirror;

/// Creates a [`Mirror`] initialiser, as [`new_mirror!`] does, for a driver that borrows from its
/// device.
///
/// A driver without `unsafe` uses a [`Binding`](super::Binding) instead.
///
/// `kernel::new_mirror_with_lt!` is the same macro.
///
/// # Safety
///
/// It expands to an `unsafe` function, with the contract of [`irq::Registration::new`]: the mirror
/// must not be passed to [`core::mem::forget`], nor may its destructor be kept from running in any
/// other way, until what it borrows is gone. While it exists, callbacks use that.
///
/// # Errors
///
/// Those of [`new_mirror!`].
///
/// # Examples
///
/// The virtual memory of a GPU, whose page table is in memory that the GPU walks:
///
/// ```
/// use core::marker::PhantomPinned;
/// use kernel::{
///     device::{Bound, Device},
///     hmm::{new_mirror_with_lt, Invalidation, Mirror, MirrorOps},
///     iommu::pgtable::{IoPageTable, ARM64LPAES1},
///     mm::MmWithUser,
///     prelude::*,
///     sync::lock::mutex::MutexBackend,
/// };
///
/// struct Vm<'drm> {
///     dev: &'drm Device<Bound>,
/// }
///
/// #[pin_data]
/// struct VmTable<'drm> {
///     io: IoPageTable<'drm, ARM64LPAES1>,
///     #[pin]
///     _pinned: PhantomPinned,
/// }
///
/// #[vtable]
/// impl<'drm> MirrorOps for Vm<'drm> {
///     const NAME: &'static CStr = c"vm";
///     type PageTable = VmTable<'drm>;
///     type Lock = MutexBackend;
///
///     fn invalidate(&self, table: Pin<&mut VmTable<'drm>>, invalidation: &Invalidation<'_>) {
///         // Unmaps the range, and flushes the TLB.
///         dev_dbg!(self.dev, "{:?} in {:p}\n", invalidation.range(), table.io.raw_ops());
///     }
/// }
///
/// struct Context<'drm> {
///     mirror: Pin<KBox<Mirror<Vm<'drm>>>>,
/// }
///
/// impl<'drm> Context<'drm> {
///     /// # Safety
///     ///
///     /// The result must not be leaked.
///     unsafe fn new(
///         dev: &'drm Device<Bound>,
///         mm: &MmWithUser,
///         io: IoPageTable<'drm, ARM64LPAES1>,
///     ) -> Result<Self> {
///         let table = VmTable { io, _pinned: PhantomPinned };
///
///         Ok(Self {
///             // SAFETY: By the safety requirements nobody leaks the mirror.
///             mirror: KBox::pin_init(
///                 unsafe { new_mirror_with_lt!(mm, Vm { dev }, table) },
///                 GFP_KERNEL,
///             )?,
///         })
///     }
/// }
/// ```
///
/// [`irq::Registration::new`]: crate::irq::Registration::new
#[macro_export]
macro_rules! new_mirror_with_lt {
    ($mm:expr, $ops:expr, $table:expr $(, $name:literal)? $(,)?) => {
        match $ops {
            ops => {
                use $crate::hmm::PageTableMustNotBeUnpin as _;

                $crate::hmm::page_table_of(&ops).check();
                $crate::hmm::Mirror::new_with_lt(
                    $mm,
                    ops,
                    $table,
                    $crate::optional_name!($($name)?),
                    $crate::static_lock_class!(),
                )
            }
        }
    };
}
pub use new_mirror_with_lt;

/// Does not compile for page tables that are [`Unpin`], for [`new_mirror!`].
///
/// A type that is not has one implementation of this, and the compiler finds out what `A` is. One
/// that is has two, and the compiler gives up. That is how `assert_not_impl_any!` of the
/// `static_assertions` crate works, as there is no bound that says it.
///
/// Not checked where the type is generic, because nothing is known of it there.
#[doc(hidden)]
pub trait PageTableMustNotBeUnpin<A>: Sized {
    /// Does nothing.
    #[inline]
    fn check(self) {}
}

/// Stands for one that is [`Unpin`].
#[doc(hidden)]
pub struct IsUnpin;

impl<P> PageTableMustNotBeUnpin<()> for PhantomData<P> {}
impl<P: Unpin> PageTableMustNotBeUnpin<IsUnpin> for PhantomData<P> {}

/// Names the type of a driver's page table, for [`new_mirror!`].
#[doc(hidden)]
#[inline]
pub fn page_table_of<T: MirrorOps>(_ops: &T) -> PhantomData<T::PageTable> {
    PhantomData
}

impl<T: MirrorOps> Mirror<T> {
    /// Creates an initialiser for a mirror of `mm`.
    ///
    /// Drivers use [`new_mirror!`], which also refuses page tables that could be moved out of the
    /// mirror.
    #[doc(hidden)]
    pub fn new<'a, E>(
        mm: &'a MmWithUser,
        ops: T,
        table: impl PinInit<T::PageTable, E> + 'a,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self, Error> + 'a
    where
        T: 'static,
        E: 'a,
        Error: From<E>,
    {
        // SAFETY: A `'static` mirror borrows nothing that could end before it.
        unsafe { Self::new_with_lt(mm, ops, table, name, key) }
    }

    /// Creates an initialiser for a mirror of `mm` that may borrow.
    ///
    /// Drivers use [`new_mirror_with_lt!`].
    ///
    /// # Safety
    ///
    /// The destructor of the mirror has run before what `T` borrows is gone, so the mirror must not
    /// be leaked, unless `T` is `'static`.
    #[doc(hidden)]
    pub unsafe fn new_with_lt<'a, E>(
        mm: &'a MmWithUser,
        ops: T,
        table: impl PinInit<T::PageTable, E> + 'a,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self, Error> + 'a
    where
        T: 'a,
        E: 'a,
        Error: From<E>,
    {
        try_pin_init!(&this in Self {
            raw <- Opaque::ffi_init(|slot: *mut bindings::hmm_mirror| {
                let raw = bindings::hmm_mirror {
                    ops: const { &Callbacks::<T>::OPS },
                    ..pin_init::zeroed()
                };
                // SAFETY: `slot` is valid for writes.
                unsafe { slot.write(raw) };
            }),
            lock <- Lock::new((), name, key),
            locked <- UnsafeCell::pin_init(try_pin_init!(Locked {
                table <- table,
                stamps: FrameStamps::new(T::CPU_ACCESS || T::HAS_DEVICE)?,
                dma: DmaLeaves::new(),
                released: false,
            })),
            reserving <- new_mutex!(()),
            ops,
            // SAFETY: `mm` is valid. `task_size` is set by execve(2) and constant afterwards.
            // Other tasks see an mm only after that: `current` has execed it, and mm_access()
            // takes `exec_update_lock`.
            end_address: VirtAddr::new(unsafe { (*mm.as_raw()).__bindgen_anon_1.task_size }),
            _module: ModuleRef::new(this_module::<T::OwnerModule>())?,
            // Registered last, because callbacks may run before this block returns.
            _: {
                // The device stays bound until the mirror is unregistered: `ops` is in its place,
                // and is only shared until then, so what `device()` has borrowed of it could be
                // borrowed for as long. And `T` outlives the mirror.
                //
                // SAFETY: `raw` and `ops` are initialised, and nobody else uses them yet.
                unsafe {
                    dma::set_device::<T>(
                        Opaque::cast_into(&raw const (*this.as_ptr()).raw),
                        &(*this.as_ptr()).ops,
                    )
                };

                let _lock = mm.mmap_write_lock_killable()?;

                // SAFETY: All fields of `this` are initialised, and `raw.ops` is `'static`. `this`
                // is pinned, so its memory stays valid until `drop()` unregisters the mirror, or
                // for ever if it is leaked. What `T` borrows is there for as long, by the safety
                // requirements. `mm` has users for `'a`, and `_lock` is its mmap lock
                // for writing.
                to_result(unsafe {
                    bindings::hmm_mirror_register(
                        Opaque::cast_into(&raw const (*this.as_ptr()).raw),
                        mm.as_raw(),
                    )
                })?;
                // INVARIANT: The mirror is registered.
            },
        })
    }

    /// Returns the value that implements [`MirrorOps`]. May be called in any context.
    #[inline]
    pub fn ops(&self) -> &T {
        &self.ops
    }

    /// Returns the first address after the address space. May be called in any context.
    #[inline]
    pub fn end_address(&self) -> VirtAddr {
        self.end_address
    }

    /// Makes all faults of the mirror fail with [`FaultError::Cancelled`], now and from now on.
    ///
    /// A fault in progress that waits for an invalidation, or for a page that `userfaultfd(2)` is
    /// to bring, stops waiting. Others may still succeed and be committed. Invalidations go on.
    ///
    /// Call it before you wait for a work item that faults, for example when a file is closed.
    /// Otherwise a dying process could make you wait for ever for a page that another of its files
    /// was to bring. The wait for some pages cannot be cancelled: those of network file systems,
    /// those of FUSE that are not read ahead, and those that somebody else has locked. This returns
    /// when no fault waits for a page.
    ///
    /// Sleeps. Do not call it with the mmap lock held, with the lock of the page table or any other
    /// that a callback takes, with a lock held that is also held around a fault, in a callback, or
    /// in a commit. Lockdep reports most of these.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{
    ///     hmm::{Mirror, MirrorOps},
    ///     sync::Completion,
    /// };
    ///
    /// /// `done` is completed by the work item that faults.
    /// fn stop<T: MirrorOps>(mirror: &Mirror<T>, done: &Completion) {
    ///     mirror.cancel();
    ///     done.wait_for_completion();
    /// }
    /// ```
    ///
    /// [`FaultError::Cancelled`]: super::FaultError::Cancelled
    pub fn cancel(&self) {
        // SAFETY: By the type invariants the mirror is registered.
        unsafe { bindings::hmm_mirror_cancel(self.raw.get()) };
    }

    /// Returns a [`Faulter`], to fault or to lock the device's page table. May be called in any
    /// context.
    #[inline]
    pub fn faulter(&self) -> Faulter<'_, T> {
        Faulter::new(self)
    }

    #[inline]
    pub(super) fn lock(&self) -> TableGuard<'_, T> {
        TableGuard::new(self, self.lock.lock())
    }

    /// Locks unless that would have to wait. Does not sleep, whatever the lock is.
    #[inline]
    pub(super) fn try_lock(&self) -> Option<TableGuard<'_, T>> {
        Some(TableGuard::new(self, self.lock.try_lock()?))
    }

    /// Returns the owner of the device private memory, as the registry takes it.
    pub(super) fn owner(&self) -> *mut c_void {
        if T::HAS_OWNER {
            self.ops.owner().as_ptr()
        } else {
            ptr::null_mut()
        }
    }
}

#[pinned_drop]
impl<T: MirrorOps> PinnedDrop for Mirror<T> {
    fn drop(self: Pin<&mut Self>) {
        // The device's entries are no longer kept in step after this, so remove them first. No new
        // entry can follow: only a borrow of the mirror could commit one.
        Callbacks::<T>::invalidate_all(&self);
        // The device uses no page any more, so its addresses are given back, without the lock, as
        // that sleeps. What is left of the page table does not have them.
        if T::HAS_DEVICE {
            let leaves = self.lock().dma_mut().take();

            drop(leaves);
        }
        // SAFETY: By the type invariants the mirror is registered. No range is in flight, because
        // each of them borrows the mirror, except for leaked ones, which this call removes.
        //
        // Until it returns, callbacks may use `&Mirror<T>` while we have `&mut Mirror<T>`. As
        // `Mirror` is `!Unpin`, that is not assumed to be unique. No callback runs when this
        // returns, so the fields may be dropped.
        unsafe { bindings::hmm_mirror_unregister(self.raw.get()) };
    }
}

/// The device's page table, locked. See [`Faulter::lock`].
///
/// It dereferences to the page table, and [`as_mut`](Self::as_mut) lends it to change it.
///
/// If a guard is leaked, invalidations wait for ever, and with them the process.
///
/// # Examples
///
/// ```
/// use core::marker::PhantomPinned;
/// use kernel::{hmm::{MirrorOps, TableGuard}, prelude::*};
///
/// #[pin_data]
/// struct Table {
///     accesses: u64,
///     #[pin]
///     _pinned: PhantomPinned,
/// }
///
/// fn count<T: MirrorOps<PageTable = Table>>(table: &mut TableGuard<'_, T>) -> u64 {
///     *table.as_mut().project().accesses += 1;
///     table.accesses
/// }
/// ```
///
/// # Invariants
///
/// `_guard` holds the lock of `mirror`.
#[must_use = "the lock unlocks immediately when the guard is unused"]
pub struct TableGuard<'a, T: MirrorOps> {
    mirror: &'a Mirror<T>,
    _guard: Guard<'a, (), T::Lock>,
    // As a guard of the data has it, so that it is `Sync` only if the page table is.
    _locked: PhantomData<&'a mut Locked<T>>,
}

impl<'a, T: MirrorOps> TableGuard<'a, T> {
    /// `guard` holds the lock of `mirror`.
    #[inline]
    fn new(mirror: &'a Mirror<T>, guard: Guard<'a, (), T::Lock>) -> Self {
        // INVARIANT: See above.
        Self {
            mirror,
            _guard: guard,
            _locked: PhantomData,
        }
    }

    #[inline]
    fn locked(&self) -> &Locked<T> {
        // SAFETY: By the type invariants we hold the lock, and it is initialised. Those who change
        // it borrow `self` mutably, or another guard, which cannot exist meanwhile.
        unsafe { &*self.mirror.locked.get() }
    }

    /// Lends the page table to be changed, the stamps of its frames, and its DMA addresses.
    #[inline]
    pub(super) fn parts(&mut self) -> (Pin<&mut T::PageTable>, &mut FrameStamps, &mut DmaLeaves) {
        // SAFETY: By the type invariants we hold the lock, and it is initialised. Others that use
        // it borrow `self`, or another guard, which cannot exist meanwhile. `locked` is
        // structurally pinned in the mirror, which is pinned while it is registered.
        let locked = unsafe { Pin::new_unchecked(&mut *self.mirror.locked.get()) }.project();

        (locked.table, locked.stamps, locked.dma)
    }

    #[inline]
    pub(super) fn stamps(&self) -> &FrameStamps {
        &self.locked().stamps
    }

    #[inline]
    pub(super) fn dma(&self) -> &DmaLeaves {
        &self.locked().dma
    }

    #[inline]
    pub(super) fn dma_mut(&mut self) -> &mut DmaLeaves {
        self.parts().2
    }

    /// Lends the page table to be changed, in its place.
    ///
    /// Does not sleep. `project()`, which `#[pin_data]` generates, gives access to its fields.
    #[inline]
    pub fn as_mut(&mut self) -> Pin<&mut T::PageTable> {
        self.parts().0
    }

    /// Returns whether [`MirrorOps::release`] was called.
    #[inline]
    pub(super) fn is_released(&self) -> bool {
        self.locked().released
    }

    /// Notes that [`MirrorOps::release`] is called.
    #[inline]
    pub(super) fn set_released(&mut self) {
        // SAFETY: As in `parts()`; nothing is moved out of `locked`.
        let locked = unsafe { Pin::new_unchecked(&mut *self.mirror.locked.get()) }.project();

        *locked.released = true;
    }

    /// Makes the frames and the DMA entries of `invalidation` stale.
    #[inline]
    pub(super) fn invalidate_frames(&mut self, invalidation: &Invalidation<'_>) {
        if T::CPU_ACCESS || T::HAS_DEVICE {
            self.parts().1.invalidate(invalidation.range());
        }
    }

    /// Reads from a page of the process, through an entry of the page table.
    ///
    /// `offset` is in bytes from the address of the frame. Returns the number of bytes that were
    /// read. It stops at the end of the (small) page that `offset` is in, and reads nothing beyond
    /// the end of the frame. Concurrent writes by the process may be seen in part. Does not sleep.
    ///
    /// # Errors
    ///
    /// [`StaleFrame`] if the page may have gone since the frame was created, or if the frame
    /// belongs to another mirror. Fault again to get a new frame. This is looked at only for what
    /// is within the frame.
    pub fn read(&self, frame: &Frame, offset: usize, to: &mut [u8]) -> Result<usize, StaleFrame> {
        const { assert!(T::CPU_ACCESS, "frames are for devices with CPU_ACCESS") };
        self.locked().stamps.read(frame, offset, to)
    }

    /// Writes to a page of the process, through an entry of the page table.
    ///
    /// `offset` is in bytes from the address of the frame. Returns the number of bytes that were
    /// written. It stops at the end of the (small) page that `offset` is in, and writes nothing
    /// beyond the end of the frame. Does not sleep.
    ///
    /// # Errors
    ///
    /// [`StaleFrame`] if the page may have gone, or become read-only, since the frame was created,
    /// or if the frame belongs to another mirror. Fault again to get a new frame. This is looked at
    /// only for what is within the frame.
    pub fn write(&self, frame: &FrameMut, offset: usize, from: &[u8]) -> Result<usize, StaleFrame> {
        const { assert!(T::CPU_ACCESS, "frames are for devices with CPU_ACCESS") };
        self.locked().stamps.write(frame, offset, from)
    }
}

impl<T: MirrorOps> Deref for TableGuard<'_, T> {
    type Target = T::PageTable;

    #[inline]
    fn deref(&self) -> &T::PageTable {
        &self.locked().table
    }
}
