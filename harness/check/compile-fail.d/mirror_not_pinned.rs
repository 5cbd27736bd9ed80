// SPDX-License-Identifier: GPL-2.0

//! Make a mirror where it can be moved.

include!("driver.rs");

#[cfg(misuse)]
pub type Place = KBox<Mirror<OnePage>>;
#[cfg(not(misuse))]
pub type Place = Pin<KBox<Mirror<OnePage>>>;

pub fn open(mm: &kernel::mm::MmWithUser) -> Result<Place> {
    #[cfg(misuse)]
    return KBox::init(new_mirror!(mm, OnePage, Table::empty()), GFP_KERNEL); //~ ERROR E0308

    #[cfg(not(misuse))]
    KBox::pin_init(new_mirror!(mm, OnePage, Table::empty()), GFP_KERNEL)
}
