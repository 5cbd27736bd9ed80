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

pub fn fault(in_flight: Pin<&mut FaultRange<'_, Gpu>>) -> Result {
    let _ = in_flight.fault(Read)?.commit(|(), pages| pages.count());
    Ok(())
}

//~? ERROR E0080: what has no size has no address of its own
