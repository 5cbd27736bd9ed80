// SPDX-License-Identifier: GPL-2.0

//! Be known by the address of what has no size.

include!("driver.rs");

#[cfg(misuse)]
static OWNER: () = ();
#[cfg(not(misuse))]
static OWNER: u8 = 0;

pub struct Gpu;

#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = PhantomPinned;
    type Lock = SpinLockBackend;

    fn invalidate(&self, _table: Pin<&mut PhantomPinned>, _invalidation: &Invalidation<'_>) {}

    fn owner(&self) -> Owner {
        Owner::of(&OWNER)
    }
}

pub fn fault(faulter: &mut Faulter<'_, Gpu>, range: PageRange, buffer: &mut FaultBuffer) -> Result {
    faulter.map(range, buffer, Read, |_, _| ())?;
    Ok(())
}

//~? ERROR E0080: a zero-sized type has no address of its own
