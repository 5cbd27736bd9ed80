// SPDX-License-Identifier: GPL-2.0

//! Map for a device that the driver does not name.

include!("driver.rs");

//~? ERROR E0080: DMA is for mirrors with a `device`

pub fn fault(mirror: &Mirror<OnePage>, range: PageRange, buffer: &mut FaultBuffer) -> Result {
    #[cfg(misuse)]
    mirror
        .faulter()
        .map_dma(range, buffer, Read, |_table, _runs| ())?;

    #[cfg(not(misuse))]
    mirror
        .faulter()
        .map(range, buffer, Read, |_table, _pages| ())?;
    Ok(())
}
