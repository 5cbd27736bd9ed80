// SPDX-License-Identifier: GPL-2.0

//! Have device private memory, and be followed by the CPU.

include!("driver.rs");

//~? ERROR E0080: the CPU cannot access device private memory

pub struct Gpu {
    pub id: u32,
}

#[vtable]
impl MirrorOps for Gpu {
    type PageTable = ();
    type Lock = SpinLockBackend;
    const CPU_ACCESS: bool = cfg!(misuse);

    fn invalidate(&self, _table: &mut (), _invalidation: &Invalidation<'_>) {}

    fn owner(&self) -> Owner<'_> {
        Owner::of(self)
    }
}

pub fn open(mm: &kernel::mm::MmWithUser) -> Result<Pin<KBox<Mirror<Gpu>>>> {
    KBox::pin_init(new_mirror!(mm, Gpu { id: 1 }, ()), GFP_KERNEL)
}
