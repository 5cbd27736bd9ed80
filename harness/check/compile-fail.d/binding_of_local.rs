// SPDX-License-Identifier: GPL-2.0

//! Have the data of a device borrow from something else.

include!("driver.rs");
include!("device.rs");

pub struct Other;

impl BoundDriver for Other {
    type Device = kernel::faux::Device<Bound>;
    #[cfg(misuse)]
    type Args = &'static Device<Bound>;
    #[cfg(not(misuse))]
    type Args = ();
    type Data<'bound> = &'bound Device<Bound>;
    type Ops<'bound> = Nic<'bound>;

    fn bind<'bound>(
        dev: &'bound kernel::faux::Device<Bound>,
        _args: Self::Args,
    ) -> impl PinInit<&'bound Device<Bound>, Error> + 'bound {
        Ok(dev.as_ref())
    }
}

pub fn probe(dev: &kernel::faux::Device<Bound>, other: &Device<Bound>) -> Result<Binding<Other>> {
    let _other = other;

    #[cfg(misuse)]
    let args = _other;
    #[cfg(not(misuse))]
    let args = ();

    Binding::new(dev, args)
    //~^ ERROR E0521
}
