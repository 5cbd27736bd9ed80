// SPDX-License-Identifier: GPL-2.0

//! Have a device that threads cannot share.

include!("driver.rs");

use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};

pub struct Gpu {
    #[cfg(misuse)]
    pub flushes: core::cell::Cell<u32>,
    #[cfg(not(misuse))]
    pub flushes: AtomicU32,
}

#[vtable]
impl MirrorOps for Gpu {
    //~^ ERROR E0277
    const NAME: &'static CStr = c"gpu";
    type PageTable = PhantomPinned;
    type Lock = SpinLockBackend;

    fn invalidate(&self, _table: Pin<&mut PhantomPinned>, _invalidation: &Invalidation<'_>) {
        #[cfg(misuse)]
        self.flushes.set(self.flushes.get() + 1);
        #[cfg(not(misuse))]
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }
}
