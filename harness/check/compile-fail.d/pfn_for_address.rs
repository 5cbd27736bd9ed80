// SPDX-License-Identifier: GPL-2.0

//! Give a page frame number for an address.

include!("driver.rs");

pub fn hits(update: &Update<'_>, entry: &Entry) -> bool {
    #[cfg(misuse)]
    let addr = entry.pfn;
    #[cfg(not(misuse))]
    let addr = entry.addr;

    update.range().contains(addr) //~ ERROR E0308
}
