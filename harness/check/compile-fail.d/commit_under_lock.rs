// SPDX-License-Identifier: GPL-2.0

//! Take the lock of the page table between fault and commit.

include!("driver.rs");

pub fn fault(mut in_flight: Pin<&mut FaultRange<'_, OnePage>>) -> Result {
    #[cfg(not(misuse))]
    let empty = in_flight.as_mut().lock().entry.is_none();
    let faulted = in_flight.as_mut().fault(Read)?;

    #[cfg(misuse)]
    let empty = in_flight.as_mut().lock().entry.is_none(); //~ ERROR E0499

    if empty {
        let _ = faulted.commit(|_, pages| pages.count());
    }
    Ok(())
}
