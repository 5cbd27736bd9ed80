// SPDX-License-Identifier: GPL-2.0

//! Make up a permission, or a way to fault.

include!("driver.rs");

#[derive(Clone, Copy)]
pub struct Execute;

#[cfg(misuse)]
impl Permission for Execute {
    //~^ ERROR E0277: private::Permission
    const FLAGS: usize = 0;
}

#[cfg(misuse)]
impl Access for Execute {
    //~^ ERROR E0277: private::Access
    type Permission = Write;
    const REQUEST: usize = 0;
}
