// SPDX-License-Identifier: GPL-2.0

//! Drop a mirror with its lock held.

include!("driver.rs");

pub fn stop(mirror: Pin<KBox<Mirror<OnePage>>>) {
    let mut faulter = mirror.faulter();
    let guard = faulter.lock();

    #[cfg(misuse)]
    drop(mirror); //~ ERROR E0505
    drop(guard);
    #[cfg(not(misuse))]
    drop(mirror);
}
