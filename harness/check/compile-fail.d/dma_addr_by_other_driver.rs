// SPDX-License-Identifier: GPL-2.0

//! Get a DMA address by the lock of another driver.

include!("driver.rs");
include!("device.rs");

pub fn start<'bound>(
    table: &TableGuard<'_, Nic<'bound>>,
    other: &TableGuard<'_, OnePage>,
    entry: &DmaEntry<Nic<'bound>, Read>,
) -> Result<u64, StaleEntry> {
    let _ = (table, other);

    #[cfg(misuse)]
    return entry.addr(other);
    //~^ ERROR E0308

    #[cfg(not(misuse))]
    entry.addr(table)
}
