// SPDX-License-Identifier: GPL-2.0

//! Lock the page table and drop the guard at once.

include!("driver.rs");

pub fn clear(faulter: &mut Faulter<'_, OnePage>) {
    #[cfg(misuse)]
    faulter.lock(); //~ ERROR unused_must_use

    #[cfg(not(misuse))]
    {
        *faulter.lock().as_mut().project().entry = None;
    }
}

pub fn clear_in_flight(in_flight: Pin<&mut FaultRange<'_, OnePage>>) {
    #[cfg(misuse)]
    in_flight.lock(); //~ ERROR unused_must_use

    #[cfg(not(misuse))]
    {
        *in_flight.lock().as_mut().project().entry = None;
    }
}
