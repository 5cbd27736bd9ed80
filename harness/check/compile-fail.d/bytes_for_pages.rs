// SPDX-License-Identifier: GPL-2.0

//! Give bytes where pages are counted.

include!("driver.rs");

pub fn page(start: VirtAddr) -> Result<PageRange> {
    #[cfg(misuse)]
    let one = kernel::page::PAGE_SIZE;
    #[cfg(not(misuse))]
    let one = PageCount::ONE;

    PageRange::new(start, one) //~ ERROR E0308
}
