// SPDX-License-Identifier: GPL-2.0

// What cases of a real device have in common, after driver.rs.

use kernel::device::{
    Bound,
    Device, //
};

pub struct Nic<'bound> {
    pub dev: &'bound Device<Bound>,
}

#[vtable]
impl<'bound> MirrorOps for Nic<'bound> {
    const NAME: &'static CStr = c"nic";
    type PageTable = Table<DmaEntry<Self, Read>>;
    type Lock = SpinLockBackend;

    fn invalidate(&self, table: Pin<&mut Self::PageTable>, _invalidation: &Invalidation<'_>) {
        *table.project().entry = None;
    }

    fn device(&self) -> &Device<Bound> {
        self.dev
    }
}

/// What the driver has for the device.
pub struct NicDriver;

impl BoundDriver for NicDriver {
    type Device = kernel::faux::Device<Bound>;
    type Args = ();
    type Data<'bound> = &'bound Device<Bound>;
    type Ops<'bound> = Nic<'bound>;

    fn bind<'bound>(
        dev: &'bound kernel::faux::Device<Bound>,
        (): (),
    ) -> impl PinInit<&'bound Device<Bound>, Error> + 'bound {
        Ok(dev.as_ref())
    }
}
