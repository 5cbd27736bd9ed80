// SPDX-License-Identifier: GPL-2.0

//! Have a mirror that borrows outlive its device.

include!("driver.rs");
include!("device.rs");

pub fn open(
    mm: &kernel::mm::MmWithUser,
    dev: &kernel::faux::Registration,
) -> Result<Pin<KBox<Mirror<Nic<'static>>>>> {
    let faux: &kernel::faux::Device<Bound> = dev.as_ref();

    #[cfg(not(misuse))]
    // SAFETY: The device is never unbound.
    let faux = unsafe { &*core::ptr::from_ref(faux) };
    // SAFETY: Nobody leaks it.
    let mirror = unsafe { new_mirror_with_lt!(mm, Nic { dev: faux.as_ref() }, Table::empty()) };

    KBox::pin_init(mirror, GFP_KERNEL)
    //~^ ERROR lifetime may not live long enough
}
