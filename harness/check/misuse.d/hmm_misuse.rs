// SPDX-License-Identifier: GPL-2.0

//! A driver that does what the types of the binding cannot forbid.
//!
//! The number of the ioctl says what. See ../misuse, which also says what must come of it.

#![forbid(unsafe_code)]

use core::marker::PhantomPinned;
use kernel::{
    fs::File,
    hmm::{new_mirror, FaultBuffer, FaultRange, Invalidation, Mirror, MirrorOps, Read},
    ioctl::_IO,
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    mm::addr::{PageRange, VirtAddr},
    new_mutex,
    prelude::*,
    sync::{lock::mutex::MutexBackend, Arc, Mutex},
};

module! {
    type: Driver,
    name: "hmm_misuse",
    authors: ["The HMM mirroring project"],
    description: "Misuse of the Rust binding of HMM mirroring",
    license: "GPL",
}

const MIRROR: u32 = _IO(0xbe, 0);
const LEAK: u32 = _IO(0xbe, 1);
const DROP_IN_CALLBACK: u32 = _IO(0xbe, 2);
const ALLOCATE_IN_CALLBACK: u32 = _IO(0xbe, 3);
const LOCK_IN_CALLBACK: u32 = _IO(0xbe, 4);
const DROP_UNDER_LOCK: u32 = _IO(0xbe, 5);
const FAULT_UNDER_LOCK: u32 = _IO(0xbe, 6);
const ALLOCATE_UNDER_LOCK: u32 = _IO(0xbe, 7);
const MMAP_LOCK_IN_CALLBACK: u32 = _IO(0xbe, 8);
const FAULT_IN_CALLBACK: u32 = _IO(0xbe, 9);
const CANCEL_UNDER_LOCK: u32 = _IO(0xbe, 10);

#[pin_data]
struct Shared {
    /// A lock of the driver's own.
    #[pin]
    lock: Mutex<()>,
    #[pin]
    mirror: Mutex<Option<Arc<Mirror<Device>>>>,
}

struct Device {
    callback_does: u32,
    shared: Arc<Shared>,
}

#[vtable]
impl MirrorOps for Device {
    const NAME: &'static CStr = c"hmm_misuse";
    type PageTable = PhantomPinned;
    type Lock = MutexBackend;

    fn invalidate(&self, _table: Pin<&mut PhantomPinned>, invalidation: &Invalidation<'_>) {
        match self.callback_does {
            DROP_IN_CALLBACK => drop(self.shared.mirror.lock().take()),
            ALLOCATE_IN_CALLBACK => drop(KBox::new(0, GFP_KERNEL)),
            LOCK_IN_CALLBACK => drop(self.shared.lock.lock()),
            MMAP_LOCK_IN_CALLBACK => {
                let task = current!();

                if let Some(mm) = task.mm() {
                    drop(mm.mmap_read_lock());
                }
            }
            FAULT_IN_CALLBACK => {
                let mirror = self.shared.mirror.lock().clone();

                if let Some(mirror) = mirror {
                    let _ = fault(&mirror, invalidation.range().start());
                }
            }
            _ => (),
        }
    }
}

/// Faults one page in, and does nothing with it.
fn fault(mirror: &Mirror<Device>, addr: VirtAddr) -> Result {
    let page = PageRange::page_of(addr)?;
    let mut buffer = FaultBuffer::new(page.pages(), GFP_NOWAIT)?;
    let mut faulter = mirror.faulter();

    pin_init::stack_try_pin_init!(
        let range: FaultRange<'_, Device> =? faulter.range(page, &mut buffer)
    );
    let _ = range.as_mut().fault(Read)?;
    Ok(())
}

fn mirror(callback_does: u32, shared: &Arc<Shared>) -> Result<Arc<Mirror<Device>>> {
    let task = current!();
    let mm = task.mm().ok_or(ESRCH)?;
    let device = Device {
        callback_does,
        shared: shared.clone(),
    };

    Arc::pin_init(
        new_mirror!(mm, device, PhantomPinned, "misused"),
        GFP_KERNEL,
    )
}

struct Context(Arc<Shared>);

#[vtable]
impl MiscDevice for Context {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        let shared = Arc::pin_init(
            pin_init!(Shared {
                lock <- new_mutex!(()),
                mirror <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )?;

        Ok(KBox::new(Context(shared), GFP_KERNEL)?)
    }

    fn ioctl(me: &Self, _file: &File, cmd: u32, addr: usize) -> Result<isize> {
        let shared = &me.0;

        match cmd {
            LEAK => core::mem::forget(mirror(cmd, shared)?),
            DROP_UNDER_LOCK => {
                let mirror = shared.mirror.lock().take();
                let _lock = shared.lock.lock();

                drop(mirror);
            }
            FAULT_UNDER_LOCK => {
                let mirror = mirror(cmd, shared)?;
                let page = PageRange::page_of(VirtAddr::new(addr))?;
                let mut buffer = FaultBuffer::new(page.pages(), GFP_KERNEL)?;
                let (mut one, mut other) = (mirror.faulter(), mirror.faulter());
                let _table = one.lock();

                pin_init::stack_try_pin_init!(
                    let range: FaultRange<'_, Device> =? other.range(page, &mut buffer)
                );
                let _ = range.as_mut().fault(Read)?;
            }
            ALLOCATE_UNDER_LOCK => {
                let mirror = mirror(cmd, shared)?;
                let mut faulter = mirror.faulter();
                let _table = faulter.lock();

                drop(KBox::new(0, GFP_KERNEL)?);
            }
            CANCEL_UNDER_LOCK => {
                let mirror = mirror(cmd, shared)?;
                let mut faulter = mirror.faulter();
                let _table = faulter.lock();

                mirror.cancel();
            }
            MIRROR
            | DROP_IN_CALLBACK
            | ALLOCATE_IN_CALLBACK
            | LOCK_IN_CALLBACK
            | MMAP_LOCK_IN_CALLBACK
            | FAULT_IN_CALLBACK => {
                let mirror = mirror(cmd, shared)?;

                *shared.mirror.lock() = Some(mirror);
            }
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // The mirror has a reference to where it is.
        drop(self.0.mirror.lock().take());
    }
}

#[pin_data]
struct Driver {
    #[pin]
    _device: MiscDeviceRegistration<Context>,
}

impl kernel::InPlaceModule for Driver {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"hmm_misuse",
            }),
        })
    }
}
