// SPDX-License-Identifier: GPL-2.0

//! Give two numbers for a range of pages.

include!("driver.rs");

pub fn fault(
    faulter: &mut Faulter<'_, OnePage>,
    start: VirtAddr,
    end: VirtAddr,
    buffer: &mut FaultBuffer,
) -> Result {
    #[cfg(misuse)]
    let range = start.as_usize()..end.as_usize();
    #[cfg(not(misuse))]
    let range = PageRange::from_bounds(start, end)?;

    faulter.map(range, buffer, Read, |_, _| ())?; //~ ERROR E0308
    Ok(())
}
