// SPDX-License-Identifier: GPL-2.0

//! Keep an update after the callback.

include!("driver.rs");

pub struct Gpu;

#[cfg(misuse)]
pub type Last = Option<&'static Update<'static>>;
#[cfg(not(misuse))]
pub type Last = Option<PageRange>;

#[vtable]
impl MirrorOps for Gpu {
    type PageTable = Last; //~ ERROR E0277
    type Lock = SpinLockBackend;

    fn invalidate(&self, last: &mut Last, update: &Update<'_>) {
        #[cfg(not(misuse))]
        let update = update.range();

        *last = Some(update); //~ ERROR lifetime may not live long enough
    }
}
