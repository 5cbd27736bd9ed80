// SPDX-License-Identifier: GPL-2.0

//! Wait in the second pass for something that cannot be carried there.

include!("driver.rs");

use core::num::NonZeroU64;

pub struct Gpu;

#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = PhantomPinned;
    type Lock = SpinLockBackend;
    const TWO_PASSES: Option<TwoPasses<Self>> = Some(TwoPasses::new());
}

#[cfg(misuse)]
type Flush = (u64, u64);
#[cfg(not(misuse))]
type Flush = NonZeroU64;

impl TwoPassOps for Gpu {
    type Fence = Flush;
    //~^ ERROR E0277

    fn invalidate_start(
        &self,
        _table: Pin<&mut PhantomPinned>,
        _invalidation: &Invalidation<'_>,
    ) -> Option<Flush> {
        None
    }

    fn invalidate_finish(&self, _invalidation: &Invalidation<'_>, _flush: Flush) {}
}
