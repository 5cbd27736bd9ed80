// SPDX-License-Identifier: GPL-2.0

//! Give a count of pages where bytes are counted.

include!("driver.rs");

pub fn end(start: VirtAddr, pages: PageCount) -> Option<VirtAddr> {
    #[cfg(misuse)]
    let len = pages;
    #[cfg(not(misuse))]
    let len = pages.bytes()?;

    start.checked_add(len) //~ ERROR E0308
}
