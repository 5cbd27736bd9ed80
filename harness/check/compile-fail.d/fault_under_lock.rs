// SPDX-License-Identifier: GPL-2.0

//! Fault with the lock of the page table held.

include!("driver.rs");

pub fn fault(
    faulter: &mut Faulter<'_, OnePage>,
    range: PageRange,
    buffer: &mut FaultBuffer,
) -> Result {
    let guard = faulter.lock();
    let empty = guard.entry.is_none();

    #[cfg(not(misuse))]
    drop(guard);
    if empty {
        faulter.map(range, buffer, Read, |_, _| ())?; //~ ERROR E0499
    }
    Ok(())
}
