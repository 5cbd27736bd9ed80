// SPDX-License-Identifier: GPL-2.0

//! Keep a struct page after the commit.

include!("driver.rs");

pub fn fault(in_flight: Pin<&mut FaultRange<'_, OnePage>>) -> Result {
    let faulted = in_flight.fault(Read)?;

    let _ = faulted.commit(|_, mut pages| {
        let page = pages.next()?;

        #[cfg(misuse)]
        return Some(page.as_page()); //~ ERROR E0515, lifetime may not live long enough

        #[cfg(not(misuse))]
        return Some(page.as_page().nid());
    });
    Ok(())
}
