// SPDX-License-Identifier: GPL-2.0

//! Refuse what must not block under a spinlock.

include!("driver.rs");

//~? ERROR E0080: `try_invalidate` is for a mirror with a mutex

#[cfg(not(misuse))]
use kernel::sync::lock::mutex::MutexBackend;

pub struct Gpu;

#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = PhantomPinned;
    #[cfg(misuse)]
    type Lock = SpinLockBackend;
    #[cfg(not(misuse))]
    type Lock = MutexBackend;

    fn invalidate(&self, _table: Pin<&mut PhantomPinned>, _invalidation: &Invalidation<'_>) {}

    fn try_invalidate(
        &self,
        _table: Pin<&mut PhantomPinned>,
        _invalidation: &Invalidation<'_>,
    ) -> Result<(), WouldBlock> {
        Err(WouldBlock)
    }
}

pub fn open(mm: &kernel::mm::MmWithUser) -> Result<Pin<KBox<Mirror<Gpu>>>> {
    KBox::pin_init(new_mirror!(mm, Gpu, PhantomPinned), GFP_KERNEL)
}
