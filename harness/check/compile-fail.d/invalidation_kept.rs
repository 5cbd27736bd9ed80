// SPDX-License-Identifier: GPL-2.0

//! Keep an invalidation after the callback.

include!("driver.rs");

pub struct Gpu;

#[cfg(misuse)]
pub type Last = &'static Invalidation<'static>;
#[cfg(not(misuse))]
pub type Last = PageRange;

#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = Table<Last>; //~ ERROR E0277
    type Lock = SpinLockBackend;

    fn invalidate(&self, table: Pin<&mut Table<Last>>, invalidation: &Invalidation<'_>) {
        #[cfg(not(misuse))]
        let invalidation = invalidation.range();

        *table.project().entry = Some(invalidation); //~ ERROR E0521
    }
}
