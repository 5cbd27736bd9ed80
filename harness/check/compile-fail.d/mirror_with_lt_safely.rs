// SPDX-License-Identifier: GPL-2.0

//! Create a mirror that borrows by safe code.

include!("driver.rs");
include!("device.rs");

pub fn open<'bound>(
    mm: &kernel::mm::MmWithUser,
    dev: &'bound Device<Bound>,
) -> Result<Pin<KBox<Mirror<Nic<'bound>>>>> {
    #[cfg(misuse)]
    let mirror = new_mirror_with_lt!(mm, Nic { dev }, Table::empty());
    //~^ ERROR E0133

    // SAFETY: Nobody leaks it.
    #[cfg(not(misuse))]
    let mirror = unsafe { new_mirror_with_lt!(mm, Nic { dev }, Table::empty()) };

    KBox::pin_init(mirror, GFP_KERNEL)
}
