// SPDX-License-Identifier: GPL-2.0

//! Swap two mirrors.

include!("driver.rs");

pub fn swap(
    one: &mut Pin<KBox<Mirror<OnePage>>>,
    other: &mut Pin<KBox<Mirror<OnePage>>>, //
) {
    #[cfg(misuse)]
    core::mem::swap(&mut **one, &mut **other); //~ ERROR E0596

    #[cfg(not(misuse))]
    core::mem::swap(one, other);
}
