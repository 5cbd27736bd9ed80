// SPDX-License-Identifier: GPL-2.0

//! Have a device that borrows.

include!("driver.rs");

use kernel::sync::Arc;

pub struct Registers;

#[cfg(misuse)]
pub struct Gpu<'a> {
    pub registers: &'a Registers,
}
#[cfg(not(misuse))]
pub struct Gpu {
    pub registers: Arc<Registers>,
}

#[cfg(misuse)]
#[vtable]
impl<'a> MirrorOps for Gpu<'a> {
    //~^ ERROR E0478, E0495
    const NAME: &'static CStr = c"gpu";
    type PageTable = PhantomPinned;
    type Lock = SpinLockBackend;

    fn invalidate(&self, _table: Pin<&mut PhantomPinned>, _invalidation: &Invalidation<'_>) {}
}

#[cfg(not(misuse))]
#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = PhantomPinned;
    type Lock = SpinLockBackend;

    fn invalidate(&self, _table: Pin<&mut PhantomPinned>, _invalidation: &Invalidation<'_>) {}
}
