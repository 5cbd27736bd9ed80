// SPDX-License-Identifier: GPL-2.0

//! A module that registers a mirror in its initialisation, and then fails.
//!
//! What lies in a static is not dropped then, so a mirror there would call into freed memory. See
//! ../misuse.

#![forbid(unsafe_code)]

use core::marker::PhantomPinned;
use kernel::{
    hmm::{new_mirror, Invalidation, Mirror, MirrorOps},
    prelude::*,
    sync::{lock::spinlock::SpinLockBackend, SetOnce},
};

module! {
    type: Driver,
    name: "hmm_misuse_init",
    authors: ["The HMM mirroring project"],
    description: "Misuse of the Rust binding of HMM mirroring while a module is initialised",
    license: "GPL",
}

struct Device;

#[vtable]
impl MirrorOps for Device {
    const NAME: &'static CStr = c"hmm_misuse_init";
    type PageTable = PhantomPinned;
    type Lock = SpinLockBackend;

    fn invalidate(&self, _table: Pin<&mut PhantomPinned>, _invalidation: &Invalidation<'_>) {}
}

static MIRROR: SetOnce<Pin<KBox<Mirror<Device>>>> = SetOnce::new();

struct Driver;

impl kernel::Module for Driver {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let task = current!();
        let mm = task.mm().ok_or(ESRCH)?;

        MIRROR.populate(KBox::pin_init(
            new_mirror!(mm, Device, PhantomPinned),
            GFP_KERNEL,
        )?);
        Err(ENODEV)
    }
}
