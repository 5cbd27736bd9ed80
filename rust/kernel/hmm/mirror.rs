// SPDX-License-Identifier: GPL-2.0

//! Mirrors, and the lock of the device's page table.

use super::{
    callbacks::Callbacks,
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
        LockClassKey, //
    },
    types::Opaque,
};
use core::{
    ops::{
        Deref,
        DerefMut, //
    },
    ptr, //
};

/// The data that the lock of a [`Mirror`] protects.
pub(super) struct Locked<T: MirrorOps> {
    pub(super) table: T::PageTable,
    pub(super) stamps: FrameStamps,
}

/// A mirror of one address space, for one device.
///
/// It can be dropped at any time, even if the process exited long ago. Dropping it invalidates
/// everything, unregisters the mirror, waits for running callbacks, and then drops the page table.
/// If it is leaked, it stays registered.
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
/// struct Context<T: MirrorOps> {
///     #[pin]
///     mirror: Mirror<T>,
/// }
///
/// fn open<T: MirrorOps>(ops: T, table: T::PageTable) -> Result<Pin<KBox<Context<T>>>> {
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
/// # Deadlocks
///
/// Dropping a mirror waits for its callbacks. Do not drop it where a callback would wait for the
/// drop to finish: in one of its own callbacks (which can reach it only if the driver stored a
/// reference to it in `T` or in [`MirrorOps::PageTable`]), in a work item that a callback waits
/// for, or under a lock that a callback takes. Lockdep reports these.
///
/// # Invariants
///
/// From the end of its initialisation until it is dropped, `raw` is registered with the registry,
/// with the callbacks of `Callbacks<T>`, and `module` holds the module of `T`.
#[pin_data(PinnedDrop)]
pub struct Mirror<T: MirrorOps> {
    #[pin]
    pub(super) raw: Opaque<bindings::hmm_mirror>,
    #[pin]
    pub(super) locked: Lock<Locked<T>, T::Lock>,
    ops: T,
    end_address: VirtAddr,
    // Dropped last: the code of `T` is needed until then.
    _module: ModuleRef,
}

// SAFETY: `raw` may be used and unregistered from any thread, `locked` is a lock of data that is
// `Send`, and `ops` is `Send`.
unsafe impl<T: MirrorOps> Send for Mirror<T> {}
// SAFETY: All methods that take `&self` may be called in parallel: the registry and the lock
// synchronise them, and `ops` is `Sync`.
unsafe impl<T: MirrorOps> Sync for Mirror<T> {}

/// Creates a [`Mirror`] initialiser with a newly created lock class.
///
/// Takes the address space, the value that implements [`MirrorOps`], the empty page table, and
/// optionally a name for the lock class. See [`Mirror::new`].
///
/// A function that is generic over the driver has one lock class for all drivers, even if they use
/// different locks. Use the macro where the driver is known.
#[macro_export]
macro_rules! new_mirror {
    ($mm:expr, $ops:expr, $table:expr $(, $name:literal)? $(,)?) => {
        $crate::hmm::Mirror::new(
            $mm,
            $ops,
            $table,
            $crate::optional_name!($($name)?),
            $crate::static_lock_class!(),
        )
    };
}
pub use new_mirror;

impl<T: MirrorOps> Mirror<T> {
    /// Creates an initialiser for a mirror of `mm`.
    ///
    /// `table` is the device's page table, without entries. Usually called through
    /// [`new_mirror!`]. The initialiser sleeps, and takes the mmap lock of `mm`.
    ///
    /// # Errors
    ///
    /// - [`ENOMEM`]: out of memory.
    /// - [`EINTR`]: a fatal signal is pending.
    /// - [`EBUSY`]: the driver's module is still being initialised, see [`ModuleRef::new`].
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
            // SAFETY: `mm` is valid. `task_size` is set by execve(2) and constant afterwards.
            // Other tasks see an mm only after that: `current` has execed it, and mm_access()
            // takes `exec_update_lock`.
            end_address: VirtAddr::new(unsafe { (*mm.as_raw()).__bindgen_anon_1.task_size }),
            _module: ModuleRef::new(this_module::<T::OwnerModule>())?,
            // Registered last, because callbacks may run before this block returns.
            _: {
                let _lock = mm.mmap_write_lock_killable()?;

                // SAFETY: All fields of `this` are initialised, and `raw.ops` is `'static`. `this`
                // is pinned, so its memory stays valid until `drop()` unregisters the mirror, or
                // for ever if it is leaked. `mm` has users for `'a`, and `_lock` is its mmap lock
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

    /// Returns the value that implements [`MirrorOps`].
    #[inline]
    pub fn ops(&self) -> &T {
        &self.ops
    }

    /// Returns the first address after the address space.
    #[inline]
    pub fn end_address(&self) -> VirtAddr {
        self.end_address
    }

    /// Returns a [`Faulter`], to fault or to lock the device's page table.
    #[inline]
    pub fn faulter(&self) -> Faulter<'_, T> {
        Faulter::new(self)
    }

    #[inline]
    pub(super) fn lock(&self) -> TableGuard<'_, T> {
        TableGuard(self.locked.lock())
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
/// Do not swap the page tables of two mirrors: each would get the invalidations of the other. If a
/// guard is leaked, invalidations wait for ever, and with them the process.
#[must_use = "the lock unlocks immediately when the guard is unused"]
pub struct TableGuard<'a, T: MirrorOps>(Guard<'a, Locked<T>, T::Lock>);

impl<T: MirrorOps> TableGuard<'_, T> {
    /// Makes the frames of `invalidation` stale.
    #[inline]
    pub(super) fn invalidate_frames(this: &mut Self, invalidation: &Invalidation<'_>) {
        if T::CPU_ACCESS {
            this.0.stamps.invalidate(invalidation.range());
        }
    }

    /// Reads from a page of the process, through an entry of the page table.
    ///
    /// `offset` is in bytes from the address of the frame. Returns the number of bytes that were
    /// read. It stops at the end of the (small) page that `offset` is in, and reads nothing beyond
    /// the end of the frame. Concurrent writes by the process may be seen in part.
    ///
    /// # Errors
    ///
    /// [`StaleFrame`] if the page may have gone since the frame was created, or if the frame
    /// belongs to another mirror. Fault again to get a new frame.
    pub fn read(&self, frame: &Frame, offset: usize, to: &mut [u8]) -> Result<usize, StaleFrame> {
        const { assert!(T::CPU_ACCESS, "frames are for devices with CPU_ACCESS") };
        self.0.stamps.read(frame, offset, to)
    }

    /// Writes to a page of the process, through an entry of the page table.
    ///
    /// `offset` is in bytes from the address of the frame. Returns the number of bytes that were
    /// written. It stops at the end of the (small) page that `offset` is in, and writes nothing
    /// beyond the end of the frame.
    ///
    /// # Errors
    ///
    /// [`StaleFrame`] if the page may have gone, or become read-only, since the frame was created,
    /// or if the frame belongs to another mirror. Fault again to get a new frame.
    pub fn write(&self, frame: &FrameMut, offset: usize, from: &[u8]) -> Result<usize, StaleFrame> {
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
