// SPDX-License-Identifier: GPL-2.0

//! Say by a bool whether to write.

include!("driver.rs");

pub fn fault(session: &mut Session<'_, OnePage>, range: PageRange, pfns: &mut Pfns) -> Result {
    #[cfg(misuse)]
    let access = true;
    #[cfg(not(misuse))]
    let access = Write;

    session.map(range, pfns, access, |_, _| ()) //~ ERROR E0277
}
