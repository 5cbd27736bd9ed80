// SPDX-License-Identifier: GPL-2.0

//! Get a DMA address without the lock of the page table.

include!("driver.rs");
include!("device.rs");

pub fn start<'bound>(
    mirror: &Mirror<Nic<'bound>>,
    entry: &DmaEntry<Nic<'bound>, Read>,
) -> Result<u64> {
    let mut faulter = mirror.faulter();

    #[cfg(misuse)]
    return Ok(entry.addr(&mut faulter)?);
    //~^ ERROR E0308

    #[cfg(not(misuse))]
    return Ok(entry.addr(&faulter.lock())?);
}
