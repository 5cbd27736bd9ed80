// SPDX-License-Identifier: GPL-2.0

//! Make up an access.

include!("driver.rs");

#[derive(Clone, Copy)]
pub struct Execute;

#[cfg(misuse)]
impl Access for Execute {
    //~^ ERROR E0277: Sealed
    type Granted = Write;
}
