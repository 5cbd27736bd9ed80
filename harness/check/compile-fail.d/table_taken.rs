// SPDX-License-Identifier: GPL-2.0

//! Take a page table out of its mirror.

include!("driver.rs");

pub fn take(faulter: &mut Faulter<'_, OnePage>) -> Option<Entry> {
    let mut guard = faulter.lock();

    #[cfg(misuse)]
    let taken = core::mem::replace(guard.as_mut().get_mut(), Table::empty()).entry; //~ ERROR E0277

    // What is in it is the driver's own business.
    #[cfg(not(misuse))]
    let taken = guard.as_mut().project().entry.take();

    taken
}
