// SPDX-License-Identifier: GPL-2.0

//! Keep a mirror after its device may have been unbound.

include!("driver.rs");
include!("device.rs");

pub fn keep(handle: &BindingHandle<NicDriver>, mirror: &BoundMirror<NicDriver>) -> Result {
    #[cfg(misuse)]
    let _mirror = handle.with(|scope| scope.mirror(mirror))??;
    //~^ ERROR lifetime may not live long enough

    #[cfg(not(misuse))]
    let _end = handle.with(|scope| scope.mirror(mirror).map(|mirror| mirror.end_address()))??;
    Ok(())
}
