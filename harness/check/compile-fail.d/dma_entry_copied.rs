// SPDX-License-Identifier: GPL-2.0

//! Use a DMA entry after it was given up.

include!("driver.rs");
include!("device.rs");

pub fn evict(table: &mut TableGuard<'_, Nic<'_>>) -> Result {
    let Some(entry) = table.as_mut().project().entry.take() else {
        return Ok(());
    };
    #[cfg(not(misuse))]
    let _addr = entry.addr(table)?;

    table.unmap(entry);
    #[cfg(misuse)]
    let _addr = entry.addr(table)?;
    //~^ ERROR E0382
    Ok(())
}
