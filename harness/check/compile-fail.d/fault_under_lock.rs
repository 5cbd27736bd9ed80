// SPDX-License-Identifier: GPL-2.0

//! Fault with the lock of the page table held.

include!("driver.rs");

pub fn fault(session: &mut Session<'_, OnePage>, range: PageRange, pfns: &mut Pfns) -> Result {
    let guard = session.lock();
    let empty = guard.is_none();

    #[cfg(not(misuse))]
    drop(guard);
    if empty {
        session.map(range, pfns, Read, |_, _| ())?; //~ ERROR E0499
    }
    Ok(())
}
