// SPDX-License-Identifier: GPL-2.0

//! Keep a run of DMA addresses after the commit.

include!("driver.rs");
include!("device.rs");

pub fn keep(range: Pin<&mut FaultRange<'_, Nic<'_>>>) -> Result {
    let mut kept = None;

    range.map_dma(Read, |_table, mut runs| {
        #[cfg(misuse)]
        let _ = kept.insert(runs.next());
        //~^ ERROR E0521

        #[cfg(not(misuse))]
        let _ = kept.insert(runs.next().map(|run| run.entry()));
    })?;
    Ok(())
}
