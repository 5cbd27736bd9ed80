// SPDX-License-Identifier: GPL-2.0

//! Forget #[vtable].

include!("driver.rs");

pub struct Gpu;

#[cfg_attr(not(misuse), vtable)]
impl MirrorOps for Gpu {
    //~^ ERROR E0046
    type PageTable = ();
    type Lock = SpinLockBackend;

    fn invalidate(&self, _table: &mut (), _invalidation: &Invalidation<'_>) {}
}
