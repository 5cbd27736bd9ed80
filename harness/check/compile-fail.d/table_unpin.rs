// SPDX-License-Identifier: GPL-2.0

//! Have a page table that can be moved out of its mirror.

include!("driver.rs");

pub struct Gpu;

#[cfg(misuse)]
pub type Root = Option<Entry>;
#[cfg(not(misuse))]
pub type Root = Table<Entry>;

#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = Root;
    type Lock = SpinLockBackend;

    fn invalidate(&self, _table: Pin<&mut Root>, _invalidation: &Invalidation<'_>) {}
}

pub fn open(mm: &kernel::mm::MmWithUser, root: Root) -> Result<Pin<KBox<Mirror<Gpu>>>> {
    KBox::pin_init(new_mirror!(mm, Gpu, root), GFP_KERNEL) //~ ERROR E0283
}
