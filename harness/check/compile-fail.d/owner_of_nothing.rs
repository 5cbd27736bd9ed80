// SPDX-License-Identifier: GPL-2.0

//! Be known by the address of what has no size.

include!("driver.rs");

pub struct Gpu {
    #[cfg(not(misuse))]
    pub id: u32,
}

#[vtable]
impl MirrorOps for Gpu {
    type PageTable = ();
    type Lock = SpinLockBackend;

    fn invalidate(&self, _table: &mut (), _invalidation: &Invalidation<'_>) {}

    fn owner(&self) -> Owner<'_> {
        Owner::of(self)
    }
}

pub fn fault(faulter: &mut Faulter<'_, Gpu>, range: PageRange, buffer: &mut FaultBuffer) -> Result {
    faulter.map(range, buffer, Read, |(), _| ())
}

//~? ERROR E0080: a zero-sized type has no address of its own
