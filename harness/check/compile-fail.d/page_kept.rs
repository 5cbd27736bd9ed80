// SPDX-License-Identifier: GPL-2.0

//! Keep a page after the commit.

include!("driver.rs");

pub fn fault(in_flight: Pin<&mut FaultRange<'_, OnePage>>) -> Result {
    #[cfg(misuse)]
    let mut kept = None;
    let faulted = in_flight.fault(Read)?;

    let _ = faulted.commit(|table, mut pages| {
        #[cfg(misuse)]
        {
            kept = pages.next(); //~ ERROR E0521
        }
        #[cfg(not(misuse))]
        {
            let page = pages.next();
            *table.project().entry = page.map(|page| Entry {
                addr: page.addr(),
                pfn: page.pfn(),
            });
        }
    });
    Ok(())
}
