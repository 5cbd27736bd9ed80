// SPDX-License-Identifier: GPL-2.0

//! Return the pages from the commit.

include!("driver.rs");

pub fn fault(in_flight: Pin<&mut FaultRange<'_, OnePage>>) -> Result {
    let faulted = in_flight.fault(Read)?;

    #[cfg(misuse)]
    let _ = faulted.commit(|_, pages| pages); //~ ERROR lifetime may not live long enough

    #[cfg(not(misuse))]
    let _ = faulted.commit(|_, pages| pages.count());
    Ok(())
}
