// SPDX-License-Identifier: GPL-2.0

//! Be known by the address of a local variable.

include!("driver.rs");

#[cfg(not(misuse))]
static OWNER: u8 = 0;

pub struct Gpu {
    pub id: u32,
}

#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = PhantomPinned;
    type Lock = SpinLockBackend;

    fn invalidate(&self, _table: Pin<&mut PhantomPinned>, _invalidation: &Invalidation<'_>) {}

    fn owner(&self) -> Owner {
        #[cfg(misuse)]
        let id = self.id;
        #[cfg(misuse)]
        return Owner::of(&id); //~ ERROR E0597

        #[cfg(not(misuse))]
        Owner::of(&OWNER)
    }
}
