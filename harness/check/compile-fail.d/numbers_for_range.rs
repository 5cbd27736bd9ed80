// SPDX-License-Identifier: GPL-2.0

//! Give two numbers for a range of pages.

include!("driver.rs");

pub fn fault(
    session: &mut Session<'_, OnePage>,
    start: VirtAddr,
    end: VirtAddr,
    pfns: &mut Pfns,
) -> Result {
    #[cfg(misuse)]
    let range = start.as_usize()..end.as_usize();
    #[cfg(not(misuse))]
    let range = PageRange::from_bounds(start, end)?;

    session.map(range, pfns, Read, |_, _| ()) //~ ERROR E0308
}
