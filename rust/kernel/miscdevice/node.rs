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
    device::Device,
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
/// Dropping it unregisters the misc device, and waits for files that are being opened. Files that
/// are open stay.
///
/// # Examples
///
/// ```
/// use kernel::{
///     miscdevice::{MiscDeviceOptions, Node, NodeFile},
///     prelude::*,
///     sync::Arc,
/// };
///
/// struct Device {
///     number: isize,
/// }
///
/// /// An open file.
/// struct DeviceFile(Arc<Device>);
///
/// #[vtable]
/// impl NodeFile for DeviceFile {
///     type Ptr = KBox<Self>;
///     type Data = Arc<Device>;
///
///     fn open(device: &Arc<Device>) -> Result<KBox<Self>> {
///         Ok(KBox::new(DeviceFile(device.clone()), GFP_KERNEL)?)
///     }
///
///     fn ioctl(file: &Self, _cmd: u32, _arg: usize) -> Result<isize> {
///         Ok(file.0.number)
///     }
/// }
///
/// let device = Arc::new(Device { number: 1 }, GFP_KERNEL)?;
/// let options = MiscDeviceOptions { name: c"rust_doctest_node" };
/// let node = KBox::pin_init(Node::<DeviceFile>::register(options, None, device), GFP_KERNEL)?;
/// # drop(node);
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
pub struct Node<F: NodeFile> {
    // Unregistered before the data is dropped.
    #[pin]
    registration: MiscDeviceRegistration<Adapter<F>>,
    data: F::Data,
}

impl<F: NodeFile> Node<F> {
    /// Creates an initialiser that registers a misc device. It sleeps.
    ///
    /// `parent` is where the misc device is in sysfs.
    ///
    /// # Errors
    ///
    /// Those of `misc_register()`: [`EEXIST`] if there is one of that name.
    pub fn register<'a>(
        options: MiscDeviceOptions,
        parent: Option<&'a Device>,
        data: F::Data,
    ) -> impl PinInit<Self, Error> + 'a
    where
        F::Data: 'a,
    {
        let raw = bindings::miscdevice {
            parent: parent.map_or(ptr::null_mut(), Device::as_raw),
            ..options.into_raw::<Adapter<F>>()
        };
        let registration = try_pin_init!(MiscDeviceRegistration {
            // INVARIANT: If this succeeds, a misc device is registered, from `into_raw`.
            inner <- Opaque::try_ffi_init(move |slot: *mut bindings::miscdevice| {
                // SAFETY: `slot` is valid for writes.
                unsafe { slot.write(raw) };
                // SAFETY: `slot` is initialised and pinned, so it stays valid until it is dropped,
                // which unregisters it. So does the parent: it is borrowed for the call, and the
                // misc device has a reference to it afterwards.
                to_result(unsafe { bindings::misc_register(slot) })
            }),
            _t: PhantomData,
        }? Error);

        // The data comes first, as files are opened from the registration on.
        try_pin_init!(Self {
            data,
            registration <- registration,
        })
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
