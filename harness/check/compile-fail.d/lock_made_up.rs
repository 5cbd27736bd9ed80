// SPDX-License-Identifier: GPL-2.0

//! Make up a lock for the page table.

include!("driver.rs");

pub struct NoLock;

#[cfg(misuse)]
impl MirrorLock for NoLock {
    //~^ ERROR E0277: Sealed
    //~^^ ERROR E0277: lock::Backend
    const ATOMIC: bool = true;
}
