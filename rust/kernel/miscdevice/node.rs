// SPDX-License-Identifier: GPL-2.0

//! Misc devices whose files are given data.

use super::{
    MiscDevice,
    MiscDeviceOptions,
    MiscDeviceRegistration, //
};
use crate::{
    bindings,
    container_of,
    device::{
        Core,
        Device, //
    },
    devres,
    error::to_result,
    fs::File,
    prelude::*,
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr, //
};

/// A file of a [`Node`].
///
/// As [`MiscDevice`], but a file is opened with the data of its node.
///
/// Implementations need the attribute `#[vtable]`.
#[vtable]
pub trait NodeFile: Sized + 'static {
    /// What a file owns.
    type Ptr: ForeignOwnable + Send + Sync;

    /// What the node has for its files, such as a handle of the device.
    type Data: Send + Sync + 'static;

    /// Opens a file. May sleep. The node is not unregistered meanwhile.
    ///
    /// # Errors
    ///
    /// Any, which is that of `open(2)`.
    fn open(data: &Self::Data) -> Result<Self::Ptr>;

    /// Handles an ioctl, of 32-bit processes as well. May sleep.
    ///
    /// # Errors
    ///
    /// Any, which is that of `ioctl(2)`.
    fn ioctl(
        file: <Self::Ptr as ForeignOwnable>::Borrowed<'_>,
        cmd: u32,
        arg: usize,
    ) -> Result<isize>;
}

/// A misc device with data for its files.
///
/// A driver that has a [`MiscDeviceRegistration`] finds its device only by a global variable, as
/// [`MiscDevice::open`] is told of nothing else. Here each file gets the data of the node.
///
/// It belongs to the device that it was registered for, by devres, so nobody can leak it. When that
/// is being unbound, it is unregistered, after files that are being opened. Files that are open
/// stay.
///
/// # Examples
///
/// ```
/// use kernel::{
///     device::{Core, Device},
///     miscdevice::{MiscDeviceOptions, Node, NodeFile},
///     prelude::*,
///     sync::Arc,
/// };
///
/// struct Gpu {
///     number: isize,
/// }
///
/// /// An open file.
/// struct GpuFile(Arc<Gpu>);
///
/// #[vtable]
/// impl NodeFile for GpuFile {
///     type Ptr = KBox<Self>;
///     type Data = Arc<Gpu>;
///
///     fn open(gpu: &Arc<Gpu>) -> Result<KBox<Self>> {
///         Ok(KBox::new(GpuFile(gpu.clone()), GFP_KERNEL)?)
///     }
///
///     fn ioctl(file: &Self, _cmd: u32, _arg: usize) -> Result<isize> {
///         Ok(file.0.number)
///     }
/// }
///
/// fn probe(dev: &Device<Core<'_>>, gpu: Arc<Gpu>) -> Result {
///     Node::<GpuFile>::register(dev, MiscDeviceOptions { name: c"gpu" }, gpu)
/// }
/// ```
#[pin_data]
pub struct Node<F: NodeFile> {
    // Unregistered before the data is dropped.
    #[pin]
    registration: MiscDeviceRegistration<Adapter<F>>,
    data: F::Data,
}

impl<F: NodeFile> Node<F> {
    /// Registers a misc device, until `dev` is unbound, which is where it is in sysfs. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of `misc_register()`: [`EEXIST`] if there is one of that name; and [`ENOMEM`].
    pub fn register(dev: &Device<Core<'_>>, options: MiscDeviceOptions, data: F::Data) -> Result {
        let raw = bindings::miscdevice {
            parent: dev.as_raw(),
            ..options.into_raw::<Adapter<F>>()
        };
        let registration = try_pin_init!(MiscDeviceRegistration {
            // INVARIANT: If this succeeds, a misc device is registered, from `into_raw`.
            inner <- Opaque::try_ffi_init(move |slot: *mut bindings::miscdevice| {
                // SAFETY: `slot` is valid for writes.
                unsafe { slot.write(raw) };
                // SAFETY: `slot` is initialised and pinned, so it stays valid until it is dropped,
                // which unregisters it. So does the parent: the misc device has a reference to it.
                to_result(unsafe { bindings::misc_register(slot) })
            }),
            _t: PhantomData,
        }? Error);

        // The data comes first, as files are opened from the registration on.
        let node = try_pin_init!(Self {
            data,
            registration <- registration,
        }? Error);

        devres::register(dev, node, GFP_KERNEL)
    }
}

/// Makes a [`MiscDevice`] of a [`NodeFile`].
///
/// It has no name outside of this file, so each registration of it is in a [`Node`].
struct Adapter<F: NodeFile>(PhantomData<F>);

#[vtable]
impl<F: NodeFile> MiscDevice for Adapter<F> {
    type OwnerModule = F::OwnerModule;
    type Ptr = F::Ptr;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<F::Ptr> {
        // SAFETY: Each registration of `Self` is in a `Node<F>`, see above, whose data was
        // initialised before it, and is dropped after it.
        let data = unsafe { &(*container_of!(ptr::from_ref(misc), Node<F>, registration)).data };

        F::open(data)
    }

    fn ioctl(
        this: <F::Ptr as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        cmd: u32,
        arg: usize,
    ) -> Result<isize> {
        F::ioctl(this, cmd, arg)
    }
}
