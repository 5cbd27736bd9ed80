// SPDX-License-Identifier: GPL-2.0

//! Keep an invalidation after the callback.

include!("driver.rs");

pub struct Gpu;

#[cfg(misuse)]
pub type Last = Option<&'static Invalidation<'static>>;
#[cfg(not(misuse))]
pub type Last = Option<PageRange>;

#[vtable]
impl MirrorOps for Gpu {
    type PageTable = Last; //~ ERROR E0277
    type Lock = SpinLockBackend;

    fn invalidate(&self, last: &mut Last, invalidation: &Invalidation<'_>) {
        #[cfg(not(misuse))]
        let invalidation = invalidation.range();

        *last = Some(invalidation); //~ ERROR lifetime may not live long enough
    }
}
