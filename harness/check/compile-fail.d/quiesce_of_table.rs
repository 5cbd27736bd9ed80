// SPDX-License-Identifier: GPL-2.0

//! Have a device with a page table let go of pages that are mapped.

include!("driver.rs");

//~? ERROR E0080: `quiesce` is for a mirror with `DMA_DIRECT`

use kernel::device::{
    Bound,
    Device, //
};

pub struct Gpu<'bound>(&'bound Device<Bound>);

#[vtable]
impl<'bound> MirrorOps for Gpu<'bound> {
    const NAME: &'static CStr = c"gpu";
    type PageTable = PhantomPinned;
    type Lock = SpinLockBackend;
    #[cfg(not(misuse))]
    const DMA_DIRECT: bool = true;

    fn invalidate(&self, _table: Pin<&mut PhantomPinned>, _invalidation: &Invalidation<'_>) {}

    fn device(&self) -> &Device<Bound> {
        self.0
    }

    fn quiesce(&self, _table: Pin<&mut PhantomPinned>, _range: PageRange) {}
}

/// # Safety
///
/// The result must not be leaked.
pub unsafe fn open<'bound>(
    mm: &kernel::mm::MmWithUser,
    dev: &'bound Device<Bound>,
) -> Result<Pin<KBox<Mirror<Gpu<'bound>>>>> {
    // SAFETY: By the safety requirements.
    let mirror = unsafe { new_mirror_with_lt!(mm, Gpu(dev), PhantomPinned) };

    KBox::pin_init(mirror, GFP_KERNEL)
}
