// SPDX-License-Identifier: GPL-2.0

//! Commit twice what was read once.

include!("driver.rs");

pub fn fault(mut in_flight: Pin<&mut FaultRange<'_, OnePage>>) -> Result {
    let mut faulted = in_flight.as_mut().fault(Read)?;

    while faulted.commit(|_, pages| pages.count()).is_err() {
        //~^ ERROR E0382
        #[cfg(not(misuse))]
        {
            faulted = in_flight.as_mut().fault(Read)?;
        }
    }
    Ok(())
}
