// SPDX-License-Identifier: GPL-2.0

//! Have a second DMA entry of a page.

include!("driver.rs");
include!("device.rs");

pub fn second<'bound>(
    entry: &DmaEntry<Nic<'bound>, Read>,
    run: DmaRun<'_, Nic<'bound>, Read>,
) -> DmaEntry<Nic<'bound>, Read> {
    let _ = entry;

    #[cfg(misuse)]
    return entry.clone();
    //~^ ERROR E0308

    #[cfg(not(misuse))]
    run.entry()
}
