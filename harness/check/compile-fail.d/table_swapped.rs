// SPDX-License-Identifier: GPL-2.0

//! Swap the page tables of two mirrors.

include!("driver.rs");

pub fn swap(one: &mut Faulter<'_, OnePage>, other: &mut Faulter<'_, OnePage>) {
    let (mut one, mut other) = (one.lock(), other.lock());

    #[cfg(misuse)]
    core::mem::swap(&mut *one, &mut *other);
    //~^ ERROR E0596
    //~^^ ERROR E0596

    // What is in a page table is the driver's own business.
    #[cfg(not(misuse))]
    core::mem::swap(one.as_mut().project().entry, other.as_mut().project().entry);
}
