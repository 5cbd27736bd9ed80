// SPDX-License-Identifier: GPL-2.0

//! Protect the page table by a lock of another kind.

include!("driver.rs");

#[cfg(misuse)]
use kernel::sync::SpinLock;

pub struct Gpu;

#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = PhantomPinned;
    #[cfg(misuse)]
    type Lock = SpinLock<()>; //~ ERROR E0277
    #[cfg(not(misuse))]
    type Lock = SpinLockBackend;

    fn invalidate(&self, _table: Pin<&mut PhantomPinned>, _invalidation: &Invalidation<'_>) {}
}
