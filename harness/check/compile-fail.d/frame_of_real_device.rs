// SPDX-License-Identifier: GPL-2.0

//! Let the CPU follow the page table of a real device.

include!("driver.rs");

//~? ERROR E0080: frames are for devices with CPU_ACCESS

#[cfg(misuse)]
pub type Device = OnePage;
#[cfg(not(misuse))]
pub type Device = Emulated;

pub fn fault(in_flight: Pin<&mut FaultRange<'_, Device>>) -> Result<Option<Frame>> {
    let committed = in_flight
        .fault(Read)?
        .commit(|_, mut pages| pages.next().map(|page| page.frame()));
    Ok(committed.unwrap_or(None))
}
