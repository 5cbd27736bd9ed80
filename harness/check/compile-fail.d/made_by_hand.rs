// SPDX-License-Identifier: GPL-2.0

//! Make by hand what only the binding makes.

include!("driver.rs");

#[cfg(misuse)]
pub fn make(mirror: &Mirror<OnePage>, number: usize, frame: Frame) {
    let session = Session(mirror); //~ ERROR E0423
    let pfns = Pfns(KVVec::new()); //~ ERROR E0423
    let pfn = Pfn(number); //~ ERROR E0423
    let pfn = Pfn::new(number); //~ ERROR E0624
    let frame = FrameMut(frame); //~ ERROR E0423
}

#[cfg(not(misuse))]
pub fn make(mirror: &Mirror<OnePage>, pages: PageCount) -> Result<(Session<'_, OnePage>, Pfns)> {
    Ok((mirror.session(), Pfns::new(pages, GFP_KERNEL)?))
}
