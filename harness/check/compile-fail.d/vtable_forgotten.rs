// SPDX-License-Identifier: GPL-2.0

//! Forget #[vtable].

include!("driver.rs");

pub struct Gpu;

#[cfg_attr(not(misuse), vtable)]
impl MirrorOps for Gpu {
    //~^ ERROR E0046
    const NAME: &'static CStr = c"gpu";
    type PageTable = PhantomPinned;
    type Lock = SpinLockBackend;

    fn invalidate(&self, _table: Pin<&mut PhantomPinned>, _invalidation: &Invalidation<'_>) {}
}
