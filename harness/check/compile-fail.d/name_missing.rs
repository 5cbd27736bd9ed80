// SPDX-License-Identifier: GPL-2.0

//! Have no name.

include!("driver.rs");

pub struct Gpu;

#[vtable]
impl MirrorOps for Gpu {
    //~^ ERROR E0046
    #[cfg(not(misuse))]
    const NAME: &'static CStr = c"gpu";
    type PageTable = PhantomPinned;
    type Lock = SpinLockBackend;

    fn invalidate(&self, _table: Pin<&mut PhantomPinned>, _invalidation: &Invalidation<'_>) {}
}
