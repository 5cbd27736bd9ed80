// SPDX-License-Identifier: GPL-2.0

//! Have a page table that cannot change threads.

include!("driver.rs");

pub struct Gpu;

#[cfg(misuse)]
pub type Root = *mut u64;
#[cfg(not(misuse))]
pub type Root = KBox<[u64; 512]>;

#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = Table<Root>; //~ ERROR E0277
    type Lock = SpinLockBackend;

    fn invalidate(&self, _root: Pin<&mut Table<Root>>, _invalidation: &Invalidation<'_>) {}
}
