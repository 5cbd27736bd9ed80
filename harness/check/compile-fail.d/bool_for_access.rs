// SPDX-License-Identifier: GPL-2.0

//! Say by a bool whether to write.

include!("driver.rs");

pub fn fault(
    faulter: &mut Faulter<'_, OnePage>,
    range: PageRange,
    buffer: &mut FaultBuffer,
) -> Result {
    #[cfg(misuse)]
    let access = true;
    #[cfg(not(misuse))]
    let access = Write;

    faulter.map(range, buffer, access, |_, _| ())?; //~ ERROR E0277
    Ok(())
}
