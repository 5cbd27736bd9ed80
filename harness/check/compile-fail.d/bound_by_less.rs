// SPDX-License-Identifier: GPL-2.0

//! Have a mirror of a device borrow from something else.

include!("driver.rs");
include!("device.rs");

pub fn open(
    handle: &BindingHandle<NicDriver>,
    mm: &kernel::mm::MmWithUser,
    other: &Device<Bound>,
) -> Result<BoundMirror<NicDriver>> {
    let _other = other;

    handle.with(|scope| {
        #[cfg(misuse)]
        let dev = _other;
        #[cfg(not(misuse))]
        let dev = *scope.data();

        new_bound_mirror!(scope, mm, Nic { dev }, Table::empty())
        //~^ ERROR E0521
    })?
}
