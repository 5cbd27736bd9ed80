// SPDX-License-Identifier: GPL-2.0

//! Refuse an invalidation that may block.

include!("driver.rs");

pub struct Gpu;

#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = Table<Entry>;
    type Lock = SpinLockBackend;

    #[cfg(misuse)]
    fn invalidate(
        &self,
        _table: Pin<&mut Table<Entry>>,
        invalidation: &Invalidation<'_>,
    ) -> Result {
        //~^ ERROR E0053
        if invalidation.blockable() {
            Ok(())
        } else {
            Err(EAGAIN)
        }
    }

    #[cfg(not(misuse))]
    fn invalidate(&self, table: Pin<&mut Table<Entry>>, _invalidation: &Invalidation<'_>) {
        *table.project().entry = None;
    }
}
