// SPDX-License-Identifier: GPL-2.0

//! Write to a page that was faulted for reading.

include!("driver.rs");

pub fn fault(in_flight: Pin<&mut FaultRange<'_, Emulated>>) -> Result<Option<FrameMut>> {
    #[cfg(misuse)]
    let access = Read;
    #[cfg(not(misuse))]
    let access = Write;

    let committed = in_flight.fault(access)?.commit(|_, mut pages| {
        pages.next().map(|page| page.frame_mut()) //~ ERROR E0599
    });
    Ok(committed.unwrap_or(None))
}
