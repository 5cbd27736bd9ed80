// SPDX-License-Identifier: GPL-2.0

//! Write to a page that was committed once more.

include!("driver.rs");

pub fn refill(in_flight: Pin<&mut FaultRange<'_, Emulated>>) -> Option<FrameMut> {
    in_flight
        .recommit(|_, mut pages| {
            let page = pages.next()?;

            #[cfg(misuse)]
            return Some(page.frame_mut()); //~ ERROR E0599

            #[cfg(not(misuse))]
            page.writable().map(|page| page.frame_mut())
        })
        .ok()
        .flatten()
}
