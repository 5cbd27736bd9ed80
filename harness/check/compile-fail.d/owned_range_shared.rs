// SPDX-License-Identifier: GPL-2.0

//! Fault an owned range in two threads at once.

include!("driver.rs");

#[cfg(misuse)]
pub fn fault(kept: Pin<&OwnedFaultRange<OnePage>>) -> Result {
    let _ = kept.range().fault(Read)?.commit(|_, _| ()); //~ ERROR E0599
    Ok(())
}

#[cfg(not(misuse))]
pub fn fault(kept: Pin<&mut OwnedFaultRange<OnePage>>) -> Result {
    let _ = kept.range().fault(Read)?.commit(|_, _| ());
    Ok(())
}
