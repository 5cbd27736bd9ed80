// SPDX-License-Identifier: GPL-2.0

//! Start to flush, and not finish.

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

impl TwoPassOps for Gpu {
    //~^ ERROR E0046
    type Fence = NonZeroU64;

    fn invalidate_start(
        &self,
        _table: Pin<&mut PhantomPinned>,
        _invalidation: &Invalidation<'_>,
    ) -> Option<NonZeroU64> {
        NonZeroU64::new(1)
    }

    #[cfg(not(misuse))]
    fn invalidate_finish(&self, _invalidation: &Invalidation<'_>, _flush: NonZeroU64) {}
}

pub fn open(mm: &kernel::mm::MmWithUser) -> Result<Pin<KBox<Mirror<Gpu>>>> {
    KBox::pin_init(new_mirror!(mm, Gpu, PhantomPinned), GFP_KERNEL)
}
