// SPDX-License-Identifier: GPL-2.0

//! Mirror for a device that is borrowed, and could be leaked.

include!("driver.rs");
include!("device.rs");

pub fn open<'bound>(
    mm: &kernel::mm::MmWithUser,
    dev: &'bound Device<Bound>,
) -> Result<Pin<KBox<Mirror<Nic<'bound>>>>> {
    #[cfg(misuse)]
    let mirror = new_mirror!(mm, Nic { dev }, Table::empty());

    // SAFETY: Nobody leaks it.
    #[cfg(not(misuse))]
    let mirror = unsafe { new_mirror_with_lt!(mm, Nic { dev }, Table::empty()) };

    KBox::pin_init(mirror, GFP_KERNEL)
    //~^ ERROR lifetime may not live long enough
}
