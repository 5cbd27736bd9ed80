// SPDX-License-Identifier: GPL-2.0

//! Have a page table that must not be moved.

include!("driver.rs");

pub struct Gpu;

#[cfg(misuse)]
pub type Root = core::marker::PhantomPinned;
#[cfg(not(misuse))]
pub type Root = Pin<KBox<core::marker::PhantomPinned>>;

#[vtable]
impl MirrorOps for Gpu {
    type PageTable = Root; //~ ERROR E0277
    type Lock = SpinLockBackend;

    fn invalidate(&self, _root: &mut Root, _invalidation: &Invalidation<'_>) {}
}
