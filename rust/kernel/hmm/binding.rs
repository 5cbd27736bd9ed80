// SPDX-License-Identifier: GPL-2.0

//! Mirrors that end with their device.

use super::{
    Mirror,
    MirrorOps, //
};
use crate::{
    device::{
        AsBusDevice,
        Bound, //
    },
    devres::Devres,
    mm::MmWithUser,
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        new_mutex,
        srcu::{
            self,
            new_srcu, //
        },
        Arc,
        LockClassKey,
        Mutex,
        Srcu, //
    }, //
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData, //
};

/// What a driver has for a device that it is bound to, and for each mirror of that.
///
/// The lifetime `'bound` ends when the device is unbound from the driver. It is a parameter of each
/// method and type, so that what is made here can borrow from the device, and from nothing else
/// that might end earlier. See [`Binding`].
pub trait BoundDriver: Sized + 'static {
    /// The device, as its bus has it, such as `pci::Device<Bound>`.
    type Device: AsBusDevice<Bound>;

    /// What [`bind`](Self::bind) is given.
    type Args;

    /// What the driver has for the device: its registers, say.
    type Data<'bound>: Send + Sync + 'bound;

    /// The driver's side of a mirror.
    type Ops<'bound>: MirrorOps + 'bound;

    /// Creates what the driver has for the device.
    ///
    /// Called by [`Binding::new`], usually in `probe()`. May sleep.
    fn bind<'bound>(
        dev: &'bound Self::Device,
        args: Self::Args,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound;
}

/// What a driver has for a device, with all mirrors of it, which end when the device is unbound.
///
/// A file that is open outlives the device that it was opened for. If it had the mirrors, they
/// would use registers and DMA addresses that are gone. So the device has them: the driver keeps a
/// `Binding` in its data for the device, and a file has a [`BindingHandle`], and a
/// [`BoundMirror`] for each mirror that it has created. These give access for as long as the device
/// is bound, and afterwards fail with [`ENODEV`].
///
/// Access is by SRCU: code that has it may sleep, and unbinding waits for it. A fault that waits
/// for a page is cancelled then. (A [`Devres`] would not do: access to that is by RCU, and a fault
/// sleeps.)
///
/// When it is dropped, or when the device is unbound, whatever comes first, in this order: access
/// ends; [`Mirror::cancel`] is called for all mirrors; code that still has access is waited for;
/// the mirrors are dropped, and with them their DMA addresses; the data is dropped.
///
/// The driver core drops the driver's data for the device before it releases what devres has. So
/// keep a `Binding` there, and not in its own `Data`. One that was leaked, or that a file has, is
/// dropped by devres: after what was added to that later, such as registers, which code that has
/// access may still use. That is a known gap, and the only one in which this can be misused without
/// `unsafe`.
///
/// Code with access that waits for something which is not a fault, such as user memory of a file
/// system that does not answer, holds up unbinding. [`Mirror::cancel`] does not end that.
///
/// # Examples
///
/// ```
/// use core::marker::PhantomPinned;
/// use kernel::{
///     device::{self, Bound},
///     faux,
///     hmm::{
///         new_bound_mirror, Binding, BindingHandle, BoundDriver, BoundMirror, FaultBuffer,
///         Invalidation, MirrorOps, Read,
///     },
///     mm::{addr::PageRange, MmWithUser},
///     prelude::*,
///     sync::{lock::spinlock::SpinLockBackend, Arc},
/// };
///
/// /// Registers of the device.
/// struct Registers<'bound>(&'bound device::Device<Bound>);
///
/// /// The driver's side of a mirror.
/// struct Context<'bound> {
///     registers: Arc<Registers<'bound>>,
/// }
///
/// #[vtable]
/// impl<'bound> MirrorOps for Context<'bound> {
///     const NAME: &'static CStr = c"gpu";
///     type PageTable = PhantomPinned;
///     type Lock = SpinLockBackend;
///
///     fn invalidate(&self, _: Pin<&mut PhantomPinned>, invalidation: &Invalidation<'_>) {
///         // Flushes the TLB.
///         dev_dbg!(self.registers.0, "{:?}\n", invalidation.range());
///     }
/// }
///
/// struct Gpu;
///
/// impl BoundDriver for Gpu {
///     type Device = faux::Device<Bound>;
///     type Args = ();
///     type Data<'bound> = Arc<Registers<'bound>>;
///     type Ops<'bound> = Context<'bound>;
///
///     fn bind<'bound>(
///         dev: &'bound faux::Device<Bound>,
///         (): (),
///     ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
///         Ok(Arc::new(Registers(dev.as_ref()), GFP_KERNEL)?)
///     }
/// }
///
/// /// An open file.
/// struct OpenFile {
///     gpu: BindingHandle<Gpu>,
///     mirror: BoundMirror<Gpu>,
/// }
///
/// impl OpenFile {
///     fn open(gpu: BindingHandle<Gpu>, mm: &MmWithUser) -> Result<Self> {
///         let mirror = gpu.with(|scope| {
///             let registers = scope.data().get_ref().clone();
///
///             new_bound_mirror!(scope, mm, Context { registers }, PhantomPinned)
///         })??;
///
///         Ok(Self { gpu, mirror })
///     }
///
///     fn touch(&self, range: PageRange) -> Result<usize> {
///         self.gpu.with(|scope| {
///             let mut buffer = FaultBuffer::new(range.pages(), GFP_KERNEL)?;
///             let mut faulter = scope.mirror(&self.mirror)?.faulter();
///
///             Ok(faulter.map(range, &mut buffer, Read, |_table, pages| pages.count())?)
///         })?
///     }
/// }
///
/// let device = faux::Registration::new(c"rust_doctest_hmm_binding", None)?;
/// let binding = Binding::<Gpu>::new(device.as_ref(), ())?;
/// let handle = binding.handle();
///
/// assert_eq!(handle.with(|_scope| 1), Ok(1));
/// // Unbinds the device, though there is a handle.
/// drop(device);
/// assert_eq!(handle.with(|_scope| 1), Err(ENODEV));
/// # Ok::<(), Error>(())
/// ```
pub struct Binding<D: BoundDriver> {
    shared: Arc<Shared<D>>,
    // Closes, when the device is unbound or this is dropped.
    _close: Devres<Close<D>>,
}

/// What a binding and its handles share.
///
/// # Invariants
///
/// - As long as `open`, and until `srcu` was synchronised after that, `data` is initialised, and
///   neither changes nor moves.
/// - The mirror of a [`Slot`] in `mirrors` is there, and changes only when the slot is not in
///   `mirrors` any more. Nobody has access to it then.
#[pin_data]
struct Shared<D: BoundDriver> {
    open: Atomic<bool>,
    #[pin]
    srcu: Srcu,
    data: UnsafeCell<Option<Pin<KBox<D::Data<'static>>>>>,
    #[pin]
    mirrors: Mutex<KVec<Arc<Slot<D>>>>,
}

// SAFETY: `data` is `Send` and `Sync`, for any lifetime, and so are mirrors. Who may access them
// when is in the type invariants.
unsafe impl<D: BoundDriver> Send for Shared<D> {}
// SAFETY: As above.
unsafe impl<D: BoundDriver> Sync for Shared<D> {}

type OwnedMirror<T> = Option<Pin<KBox<Mirror<T>>>>;

/// A place for a mirror.
struct Slot<D: BoundDriver>(UnsafeCell<OwnedMirror<D::Ops<'static>>>);

// SAFETY: A mirror is `Send` and `Sync`. See `Shared` for who may access it when.
unsafe impl<D: BoundDriver> Send for Slot<D> {}
// SAFETY: As above.
unsafe impl<D: BoundDriver> Sync for Slot<D> {}

/// Ends access when it is dropped.
struct Close<D: BoundDriver>(Arc<Shared<D>>);

impl<D: BoundDriver> Drop for Close<D> {
    fn drop(&mut self) {
        let shared = &*self.0;

        shared.open.store(false, Relaxed);
        {
            // A mirror that comes after this is not kept, see `BoundScope::new_mirror`.
            let mirrors = shared.mirrors.lock();

            for slot in mirrors.iter() {
                // SAFETY: By the type invariants of `Shared`, as the slot is in `mirrors`, which
                // is locked.
                if let Some(mirror) = unsafe { &*slot.0.get() } {
                    mirror.cancel();
                }
            }
        }
        // Whoever enters from here on sees that this is not open.
        shared.srcu.synchronize();

        let mirrors = core::mem::take(&mut *shared.mirrors.lock());
        for slot in mirrors {
            // SAFETY: The slot is not in `mirrors` any more, and those that had access through
            // `srcu` have been waited for.
            drop(unsafe { (*slot.0.get()).take() });
        }
        // SAFETY: It is not open any more, and `srcu` was synchronised.
        drop(unsafe { (*shared.data.get()).take() });
    }
}

impl<D: BoundDriver> Binding<D> {
    /// Creates what the driver has for `dev`, by [`BoundDriver::bind`].
    ///
    /// To be stored in the driver's data for the device. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of [`BoundDriver::bind`], and [`ENOMEM`].
    pub fn new(dev: &D::Device, args: D::Args) -> Result<Self> {
        let data = KBox::pin_init(D::bind(dev, args), GFP_KERNEL)?;
        // SAFETY: Lifetimes have no part in the layout of a type. It is lent with a lifetime that
        // can be any, see `BoundScope`, and dropped by `Close` before the device is unbound: a
        // `Devres` is dropped by then, even if `self` is leaked. As `bind()` is for any lifetime,
        // what it returns borrows from `dev` only, and a reference to a bus device that is bound
        // stays valid until it is unbound.
        let data = unsafe {
            core::mem::transmute::<Pin<KBox<D::Data<'_>>>, Pin<KBox<D::Data<'static>>>>(data)
        };
        // INVARIANT: It is open, and `data` is initialised. There is no mirror.
        let shared = Arc::pin_init(
            try_pin_init!(Shared {
                open: Atomic::new(true),
                srcu <- new_srcu!(),
                data: UnsafeCell::new(Some(data)),
                mirrors <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )?;

        Ok(Self {
            _close: Devres::new(dev.as_ref(), Ok::<_, Error>(Close(shared.clone())))?,
            shared,
        })
    }

    /// Returns a handle, for a file. May be called in any context.
    #[inline]
    pub fn handle(&self) -> BindingHandle<D> {
        BindingHandle(self.shared.clone())
    }
}

/// A handle of a [`Binding`], which a file may have for as long as it is open.
///
/// Dropping it may sleep.
pub struct BindingHandle<D: BoundDriver>(Arc<Shared<D>>);

impl<D: BoundDriver> Clone for BindingHandle<D> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: BoundDriver> BindingHandle<D> {
    /// Calls `f` with what the driver has for the device, if the device is bound.
    ///
    /// The device stays bound until `f` returns. `f` may sleep, fault, and access user memory, but
    /// must not wait for the device to be unbound. It is for any lifetime, so nothing with that
    /// lifetime gets out.
    ///
    /// When the device is being unbound meanwhile, faults fail with
    /// [`FaultError::Cancelled`](super::FaultError::Cancelled).
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: the device was unbound, or is being unbound.
    ///
    /// # Examples
    ///
    /// See [`Binding`].
    pub fn with<R>(
        &self,
        f: impl for<'bound> FnOnce(&BoundScope<'_, 'bound, D>) -> R,
    ) -> Result<R> {
        BoundScope::enter(&self.0).map(|scope| f(&scope))
    }
}

/// Access to what a driver has for a device, which stays bound meanwhile.
///
/// `'bound` is invariant, and stands for the time that the device is bound. See
/// [`BindingHandle::with`].
///
/// # Invariants
///
/// `shared` was open when `_guard` had been taken from its `srcu`.
pub struct BoundScope<'a, 'bound, D: BoundDriver> {
    shared: &'a Arc<Shared<D>>,
    _guard: srcu::Guard<'a>,
    _shorter: PhantomData<&'a &'bound ()>,
    _invariant: PhantomData<fn(&'bound ()) -> &'bound ()>,
}

impl<'a, 'bound, D: BoundDriver> BoundScope<'a, 'bound, D> {
    fn enter(shared: &'a Arc<Shared<D>>) -> Result<Self> {
        let guard = shared.srcu.read_lock();

        if !shared.open.load(Relaxed) {
            return Err(ENODEV);
        }
        // INVARIANT: See above. Either `Close` waits for the guard, or this has seen its store.
        Ok(Self {
            shared,
            _guard: guard,
            _shorter: PhantomData,
            _invariant: PhantomData,
        })
    }

    /// Returns what [`BoundDriver::bind`] has made. May be called in any context.
    pub fn data(&self) -> Pin<&D::Data<'bound>> {
        // SAFETY: By the type invariants of `Shared` and of `self`, `data` is initialised and does
        // not change. Lifetimes have no part in the layout of a type. Nobody can choose `'bound`:
        // `BindingHandle::with` is for any, and it is invariant.
        let data = unsafe {
            &*self
                .shared
                .data
                .get()
                .cast::<Option<Pin<KBox<D::Data<'bound>>>>>()
        };

        // SAFETY: By the type invariants it is initialised.
        unsafe { data.as_ref().unwrap_unchecked() }.as_ref()
    }

    /// Creates a mirror.
    ///
    /// Drivers use [`new_bound_mirror!`].
    #[doc(hidden)]
    pub fn new_mirror<E>(
        &self,
        mm: &MmWithUser,
        ops: D::Ops<'bound>,
        table: impl PinInit<<D::Ops<'bound> as MirrorOps>::PageTable, E>,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> Result<BoundMirror<D>>
    where
        Error: From<E>,
    {
        // SAFETY: The mirror is owned by `shared`, from below on, and is dropped before `'bound`
        // ends, by `Close` at the latest. Until then this function has it, and does not leak it.
        let mirror = unsafe { Mirror::new_with_lt(mm, ops, table, name, key) };
        let mirror = KBox::try_pin_init::<Error>(mirror, GFP_KERNEL_ACCOUNT)?;
        // SAFETY: Lifetimes have no part in the layout of a type.
        let mirror = unsafe {
            core::mem::transmute::<
                Pin<KBox<Mirror<D::Ops<'bound>>>>,
                Pin<KBox<Mirror<D::Ops<'static>>>>,
            >(mirror)
        };
        let slot = Arc::new(Slot(UnsafeCell::new(Some(mirror))), GFP_KERNEL_ACCOUNT)?;

        let mut mirrors = self.shared.mirrors.lock();
        if !self.shared.open.load(Relaxed) {
            // It is dropped here, after the lock.
            return Err(ENODEV);
        }
        mirrors.push(slot.clone(), GFP_KERNEL_ACCOUNT)?;
        drop(mirrors);
        Ok(BoundMirror {
            handle: BindingHandle(self.shared.clone()),
            slot,
        })
    }

    /// Returns a mirror that was created for the same device. May be called in any context.
    ///
    /// # Errors
    ///
    /// [`EINVAL`]: it belongs to another binding.
    #[inline]
    pub fn mirror<'m>(&'m self, mirror: &'m BoundMirror<D>) -> Result<&'m Mirror<D::Ops<'bound>>> {
        if !Arc::ptr_eq(self.shared, &mirror.handle.0) {
            return Err(EINVAL);
        }
        // SAFETY: The slot is in `mirrors`: it is taken out when `mirror` is dropped, which is
        // borrowed, and by `Close`, which waits for the guard. Lifetimes have no part in the layout
        // of a type, and for `'bound` see `data`.
        let slot = unsafe { &*mirror.slot.0.get().cast::<OwnedMirror<D::Ops<'bound>>>() };

        // SAFETY: By the type invariants of `Shared` the mirror is there.
        Ok(unsafe { slot.as_ref().unwrap_unchecked() })
    }
}

/// A mirror that ends with its device, whoever has this.
///
/// [`BoundScope::mirror`] gives access to it. Dropping it drops the mirror, unless that was done
/// when the device was unbound; see [`Mirror`](Mirror#deadlocks) for where that must not be. If it
/// is leaked, the mirror stays until the device is unbound.
///
/// # Examples
///
/// See [`Binding`].
pub struct BoundMirror<D: BoundDriver> {
    handle: BindingHandle<D>,
    slot: Arc<Slot<D>>,
}

impl<D: BoundDriver> Drop for BoundMirror<D> {
    fn drop(&mut self) {
        // Else `Close` drops the mirror. It waits for this scope, so that the device stays bound.
        let Ok(scope) = BoundScope::enter(&self.handle.0) else {
            return;
        };
        let mut mirrors = scope.shared.mirrors.lock();
        let taken = mirrors
            .iter()
            .position(|slot| Arc::ptr_eq(slot, &self.slot))
            .and_then(|i| mirrors.remove(i).ok());

        drop(mirrors);
        if let Some(slot) = taken {
            // SAFETY: The slot is not in `mirrors` any more, and nobody borrows `self`.
            drop(unsafe { (*slot.0.get()).take() });
        }
    }
}

/// Creates a [`BoundMirror`], with a newly created lock class.
///
/// Takes a [`BoundScope`], and what [`new_mirror!`](super::new_mirror) takes. Sleeps. The result is
/// a [`Result`].
///
/// `kernel::new_bound_mirror!` is the same macro.
///
/// # Errors
///
/// Those of [`new_mirror!`](super::new_mirror), and [`ENODEV`]: the device is being unbound.
///
/// # Examples
///
/// See [`Binding`].
#[macro_export]
macro_rules! new_bound_mirror {
    ($scope:expr, $mm:expr, $ops:expr, $table:expr $(, $name:literal)? $(,)?) => {
        match $ops {
            ops => {
                use $crate::hmm::PageTableMustNotBeUnpin as _;

                $crate::hmm::page_table_of(&ops).check();
                $scope.new_mirror(
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
pub use new_bound_mirror;
