// SPDX-License-Identifier: GPL-2.0

//! Flush in two passes, by a driver that has none.

include!("driver.rs");

pub struct Gpu;

#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = PhantomPinned;
    type Lock = SpinLockBackend;
    #[cfg(misuse)]
    const TWO_PASSES: Option<TwoPasses<Self>> = Some(TwoPasses::new());
    //~^ ERROR E0277

    fn invalidate(&self, _table: Pin<&mut PhantomPinned>, _invalidation: &Invalidation<'_>) {}
}
