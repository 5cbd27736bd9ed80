// SPDX-License-Identifier: GPL-2.0

//! Keep the device after it may have been unbound.

include!("driver.rs");
include!("device.rs");

pub fn keep(handle: &BindingHandle<NicDriver>) -> Result {
    let mut kept = None;

    handle.with(|scope| {
        #[cfg(misuse)]
        let _ = kept.insert(*scope.data());
        //~^ ERROR E0521

        #[cfg(not(misuse))]
        let _ = kept.insert(core::ptr::from_ref(*scope.data()));
    })
}
