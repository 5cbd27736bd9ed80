// SPDX-License-Identifier: GPL-2.0

//! Refuse what must not block with a flush in two passes.

include!("driver.rs");

//~? ERROR E0080: `try_invalidate` is for a mirror with `invalidate` and a mutex

use core::num::NonZeroU64;
use kernel::sync::lock::mutex::MutexBackend;

pub struct Gpu;

#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = PhantomPinned;
    type Lock = MutexBackend;
    const TWO_PASSES: Option<TwoPasses<Self>> = Some(TwoPasses::new());

    #[cfg(misuse)]
    fn try_invalidate(
        &self,
        _table: Pin<&mut PhantomPinned>,
        _invalidation: &Invalidation<'_>,
    ) -> Result<(), WouldBlock> {
        Err(WouldBlock)
    }
}

impl TwoPassOps for Gpu {
    type Fence = NonZeroU64;

    fn invalidate_start(
        &self,
        _table: Pin<&mut PhantomPinned>,
        _invalidation: &Invalidation<'_>,
    ) -> Option<NonZeroU64> {
        NonZeroU64::new(1)
    }

    fn invalidate_finish(&self, _invalidation: &Invalidation<'_>, _flush: NonZeroU64) {}
}

pub fn open(mm: &kernel::mm::MmWithUser) -> Result<Pin<KBox<Mirror<Gpu>>>> {
    KBox::pin_init(new_mirror!(mm, Gpu, PhantomPinned), GFP_KERNEL)
}
