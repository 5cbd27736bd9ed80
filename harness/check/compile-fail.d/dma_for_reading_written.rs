// SPDX-License-Identifier: GPL-2.0

//! Write by way of a DMA run for reading.

include!("driver.rs");
include!("device.rs");

pub fn enter<'bound>(run: DmaRun<'_, Nic<'bound>, Read>) -> Option<DmaEntry<Nic<'bound>, Write>> {
    #[cfg(misuse)]
    return Some(run.entry());
    //~^ ERROR E0308

    #[cfg(not(misuse))]
    run.writable().map(|run| run.entry())
}
