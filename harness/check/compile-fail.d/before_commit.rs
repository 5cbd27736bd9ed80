// SPDX-License-Identifier: GPL-2.0

//! Use pages before they are committed.

include!("driver.rs");

pub fn fault(in_flight: Pin<&mut FaultRange<'_, OnePage>>) -> Result {
    let faulted = in_flight.fault(Read)?;

    #[cfg(misuse)]
    for page in faulted {
        //~^ ERROR E0277
        pr_info!("{:?}\n", page.pfn());
    }

    #[cfg(not(misuse))]
    let _ = faulted.commit(|_, pages| {
        for page in pages {
            pr_info!("{:?}\n", page.pfn());
        }
    });
    Ok(())
}
