// SPDX-License-Identifier: GPL-2.0

//! Take a snapshot for a permission.

include!("driver.rs");

#[cfg(misuse)]
pub type Permitted = Present;
#[cfg(not(misuse))]
pub type Permitted = Read;

pub fn first(mut pages: Pages<'_, OnePage, Permitted>) -> Option<Pfn> {
    //~^ ERROR E0277
    pages.next().map(|page| page.pfn()) //~ ERROR E0599
}
