// SPDX-License-Identifier: GPL-2.0

//! Have no invalidate().

include!("driver.rs");

//~? ERROR E0080: a mirror has `invalidate`, or `TWO_PASSES`

pub struct Gpu;

#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = PhantomPinned;
    type Lock = SpinLockBackend;

    #[cfg(not(misuse))]
    fn invalidate(&self, _table: Pin<&mut PhantomPinned>, _invalidation: &Invalidation<'_>) {}
}

pub fn open(mm: &kernel::mm::MmWithUser) -> Result<Pin<KBox<Mirror<Gpu>>>> {
    KBox::pin_init(new_mirror!(mm, Gpu, PhantomPinned), GFP_KERNEL)
}
