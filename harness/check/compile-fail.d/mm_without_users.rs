// SPDX-License-Identifier: GPL-2.0

//! Mirror an address space that may have no users.

include!("driver.rs");

use kernel::mm::Mm;

pub fn open(mm: &Mm) -> Result<Pin<KBox<Mirror<OnePage>>>> {
    #[cfg(not(misuse))]
    let mm = &*mm.mmget_not_zero().ok_or(ESRCH)?;

    KBox::pin_init(new_mirror!(mm, OnePage, Table::empty()), GFP_KERNEL) //~ ERROR E0308
}
