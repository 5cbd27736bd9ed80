// SPDX-License-Identifier: GPL-2.0

//! Keep a range in flight after its device may have been unbound.

include!("driver.rs");
include!("device.rs");

pub fn keep(handle: &BindingHandle<NicDriver>, mirror: &BoundMirror<NicDriver>) -> Result {
    let mut kept = None;

    handle.with(|scope| {
        #[cfg(misuse)]
        let _ = kept.insert(scope.mirror(mirror)?.faulter());
        //~^ ERROR E0521

        #[cfg(not(misuse))]
        let _ = kept.insert(scope.mirror(mirror)?.faulter().mirror().end_address());
        Ok(())
    })?
}
