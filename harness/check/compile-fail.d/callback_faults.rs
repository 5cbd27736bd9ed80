// SPDX-License-Identifier: GPL-2.0

//! Reach the mirror, a fault or the mm by what a callback is given.

include!("driver.rs");

pub struct Gpu;

#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = Table<Entry>;
    type Lock = SpinLockBackend;

    fn invalidate(&self, table: Pin<&mut Table<Entry>>, _invalidation: &Invalidation<'_>) {
        #[cfg(misuse)]
        {
            let faulter = self.faulter(); //~ ERROR E0599
            let mm = _invalidation.mm(); //~ ERROR E0599
            drop(_invalidation.mirror()); //~ ERROR E0599
            let raw = _invalidation.raw; //~ ERROR E0616
        }
        *table.project().entry = None;
    }
}
