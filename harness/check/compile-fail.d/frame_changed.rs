// SPDX-License-Identifier: GPL-2.0

//! Change an entry that the CPU follows.

include!("driver.rs");

pub fn slide(frame: Frame, addr: VirtAddr) -> Option<Frame> {
    #[cfg(misuse)]
    return Some(Frame {
        addr_order: addr.as_usize(), //~ ERROR E0451
        ..frame
    });
    //~^^ ERROR E0451

    #[cfg(not(misuse))]
    (frame.addr() == addr).then_some(frame)
}
