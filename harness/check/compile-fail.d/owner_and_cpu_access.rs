// SPDX-License-Identifier: GPL-2.0

//! Have device private memory, and be followed by the CPU.

include!("driver.rs");

//~? ERROR E0080: the CPU cannot access device private memory

static OWNER: u8 = 0;

pub struct Gpu;

#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = PhantomPinned;
    type Lock = SpinLockBackend;
    const CPU_ACCESS: bool = cfg!(misuse);

    fn invalidate(&self, _table: Pin<&mut PhantomPinned>, _invalidation: &Invalidation<'_>) {}

    fn owner(&self) -> Owner {
        Owner::of(&OWNER)
    }
}

pub fn open(mm: &kernel::mm::MmWithUser) -> Result<Pin<KBox<Mirror<Gpu>>>> {
    KBox::pin_init(new_mirror!(mm, Gpu, PhantomPinned), GFP_KERNEL)
}
