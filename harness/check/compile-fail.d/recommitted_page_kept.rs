// SPDX-License-Identifier: GPL-2.0

//! Keep a page that was committed once more.

include!("driver.rs");

pub fn refill(in_flight: Pin<&mut FaultRange<'_, OnePage>>) -> Option<Pfn> {
    #[cfg(misuse)]
    let pfn = in_flight
        .recommit(|_, mut pages| pages.next()) //~ ERROR lifetime may not live long enough
        .map(|page| Some(page?.pfn()));

    #[cfg(not(misuse))]
    let pfn = in_flight.recommit(|_, mut pages| Some(pages.next()?.pfn()));

    pfn.ok().flatten()
}
