// SPDX-License-Identifier: GPL-2.0

//! Use DMA addresses as they are, of no device.

include!("driver.rs");

//~? ERROR E0080: `DMA_DIRECT` is for a mirror with a `device`

pub struct Gpu;

#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = PhantomPinned;
    type Lock = SpinLockBackend;
    #[cfg(misuse)]
    const DMA_DIRECT: bool = true;

    fn invalidate(&self, _table: Pin<&mut PhantomPinned>, _invalidation: &Invalidation<'_>) {}
}

pub fn open(mm: &kernel::mm::MmWithUser) -> Result<Pin<KBox<Mirror<Gpu>>>> {
    KBox::pin_init(new_mirror!(mm, Gpu, PhantomPinned), GFP_KERNEL)
}
