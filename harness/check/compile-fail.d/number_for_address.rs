// SPDX-License-Identifier: GPL-2.0

//! Give a number for an address.

include!("driver.rs");

pub fn page(arg: usize) -> Result<PageRange> {
    #[cfg(not(misuse))]
    let arg = VirtAddr::new(arg);

    PageRange::page_of(arg) //~ ERROR E0308
}
