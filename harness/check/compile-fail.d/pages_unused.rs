// SPDX-License-Identifier: GPL-2.0

//! Commit and iterate over no page.

include!("driver.rs");

pub fn fault(in_flight: Pin<&mut FaultRange<'_, OnePage>>) -> Result {
    let _ = in_flight.fault(Read)?.commit(|table, pages| {
        #[cfg(misuse)]
        {
            *table.project().entry = None;
            pages.blocks(9); //~ ERROR unused_must_use
        }

        #[cfg(not(misuse))]
        {
            *table.project().entry = pages.blocks(9).last().map(|page| Entry {
                addr: page.addr(),
                pfn: page.pfn(),
            });
        }
    });
    Ok(())
}
