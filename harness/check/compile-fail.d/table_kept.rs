// SPDX-License-Identifier: GPL-2.0

//! Keep what is in the page table after the lock.

include!("driver.rs");

pub fn look(session: &mut Session<'_, OnePage>) -> Option<Pfn> {
    #[cfg(misuse)]
    let entry = session.lock().as_ref(); //~ ERROR E0716

    #[cfg(not(misuse))]
    let guard = session.lock();
    #[cfg(not(misuse))]
    let entry = guard.as_ref();

    entry.map(|entry| entry.pfn)
}
