// SPDX-License-Identifier: GPL-2.0

//! Forget to commit.

include!("driver.rs");

pub fn fault(in_flight: Pin<&mut FaultRange<'_, OnePage>>) -> Result {
    #[cfg(misuse)]
    in_flight.fault(Read)?; //~ ERROR unused_must_use

    #[cfg(not(misuse))]
    let _ = in_flight.fault(Read)?.commit(|_, pages| pages.count());
    Ok(())
}
