// SPDX-License-Identifier: GPL-2.0

//! Give a page frame number for an address.

include!("driver.rs");

pub fn hits(invalidation: &Invalidation<'_>, entry: &Entry) -> bool {
    #[cfg(misuse)]
    let addr = entry.pfn;
    #[cfg(not(misuse))]
    let addr = entry.addr;

    invalidation.range().contains(addr) //~ ERROR E0308
}
