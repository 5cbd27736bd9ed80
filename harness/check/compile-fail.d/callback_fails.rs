// SPDX-License-Identifier: GPL-2.0

//! Refuse an invalidation.

include!("driver.rs");

pub struct Gpu;

#[vtable]
impl MirrorOps for Gpu {
    type PageTable = Option<Entry>;
    type Lock = SpinLockBackend;

    #[cfg(misuse)]
    fn invalidate(&self, _table: &mut Option<Entry>, invalidation: &Invalidation<'_>) -> Result {
        //~^ ERROR E0053
        if invalidation.blockable() {
            Ok(())
        } else {
            Err(EAGAIN)
        }
    }

    #[cfg(not(misuse))]
    fn invalidate(&self, table: &mut Option<Entry>, _invalidation: &Invalidation<'_>) {
        *table = None;
    }
}
