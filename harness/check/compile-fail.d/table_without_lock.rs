// SPDX-License-Identifier: GPL-2.0

//! Reach the page table without its lock.

include!("driver.rs");

pub fn look(mirror: &Mirror<OnePage>) -> Option<Pfn> {
    #[cfg(misuse)]
    let entry = mirror.locked.get(); //~ ERROR E0616

    #[cfg(not(misuse))]
    let mut faulter = mirror.faulter();
    #[cfg(not(misuse))]
    let guard = faulter.lock();
    #[cfg(not(misuse))]
    let entry = guard.entry.as_ref();

    entry.map(|entry| entry.pfn)
}
