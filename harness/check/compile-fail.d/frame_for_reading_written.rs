// SPDX-License-Identifier: GPL-2.0

//! Write by way of an entry for reading.

include!("driver.rs");

pub fn store(
    guard: &TableGuard<'_, Emulated>,
    #[cfg(misuse)] frame: &Frame,
    #[cfg(not(misuse))] frame: &FrameMut,
) -> Result<usize, StaleFrame> {
    guard.write(frame, 0, &[1]) //~ ERROR E0308
}
