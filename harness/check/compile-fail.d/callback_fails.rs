// SPDX-License-Identifier: GPL-2.0

//! Refuse an update.

include!("driver.rs");

pub struct Gpu;

#[vtable]
impl MirrorOps for Gpu {
    type PageTable = Option<Entry>;
    type Lock = SpinLockBackend;

    #[cfg(misuse)]
    fn invalidate(&self, _table: &mut Option<Entry>, update: &Update<'_>) -> Result {
        //~^ ERROR E0053
        if update.blockable() {
            Ok(())
        } else {
            Err(EAGAIN)
        }
    }

    #[cfg(not(misuse))]
    fn invalidate(&self, table: &mut Option<Entry>, _update: &Update<'_>) {
        *table = None;
    }
}
