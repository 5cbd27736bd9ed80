// SPDX-License-Identifier: GPL-2.0

//! Keep what is in the page table after the lock.

include!("driver.rs");

pub fn look(faulter: &mut Faulter<'_, OnePage>) -> Option<Pfn> {
    #[cfg(misuse)]
    let entry = faulter.lock().entry.as_ref(); //~ ERROR E0716

    #[cfg(not(misuse))]
    let guard = faulter.lock();
    #[cfg(not(misuse))]
    let entry = guard.entry.as_ref();

    entry.map(|entry| entry.pfn)
}
