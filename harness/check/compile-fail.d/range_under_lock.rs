// SPDX-License-Identifier: GPL-2.0

//! Fault a range with the lock of the page table held.

include!("driver.rs");

pub fn fault(mut in_flight: Pin<&mut FaultRange<'_, OnePage>>) -> Result {
    let guard = in_flight.as_mut().lock();
    let empty = guard.entry.is_none();

    #[cfg(not(misuse))]
    drop(guard);
    if empty {
        let faulted = in_flight.as_mut().fault(Read)?; //~ ERROR E0499
        let _ = faulted.commit(|_, pages| pages.count());
    }
    Ok(())
}
