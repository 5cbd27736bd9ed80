// SPDX-License-Identifier: GPL-2.0

//! Move a mirror after it was registered.

include!("driver.rs");

pub struct Context {
    #[cfg(misuse)]
    pub mirror: Mirror<OnePage>,
    #[cfg(not(misuse))]
    pub mirror: Pin<KBox<Mirror<OnePage>>>,
}

pub fn open(mirror: Pin<KBox<Mirror<OnePage>>>) -> Context {
    Context {
        #[cfg(misuse)]
        mirror: KBox::into_inner(Pin::into_inner(mirror)), //~ ERROR E0277
        #[cfg(not(misuse))]
        mirror,
    }
}
