// SPDX-License-Identifier: GPL-2.0

//! Be known by the address of a local variable.

include!("driver.rs");

pub struct Gpu {
    pub id: u32,
}

#[vtable]
impl MirrorOps for Gpu {
    type PageTable = ();
    type Lock = SpinLockBackend;

    fn invalidate(&self, _table: &mut (), _invalidation: &Invalidation<'_>) {}

    fn owner(&self) -> Owner<'_> {
        #[cfg(misuse)]
        let id = self.id;
        #[cfg(misuse)]
        return Owner::of(&id); //~ ERROR E0515

        #[cfg(not(misuse))]
        Owner::of(&self.id)
    }
}
