// SPDX-License-Identifier: GPL-2.0

//! Make by hand what only the binding makes.

include!("driver.rs");

#[cfg(misuse)]
pub fn make(mirror: &Mirror<OnePage>, number: usize, frame: Frame) {
    let faulter = Faulter(mirror); //~ ERROR E0423
    let buffer = FaultBuffer(KVVec::new()); //~ ERROR E0423
    let pfn = Pfn(number); //~ ERROR E0423
    let pfn = Pfn::new(number); //~ ERROR E0599
    let frame = FrameMut(frame); //~ ERROR E0423
}

#[cfg(not(misuse))]
pub fn make(
    mirror: &Mirror<OnePage>,
    pages: PageCount,
) -> Result<(Faulter<'_, OnePage>, FaultBuffer)> {
    Ok((mirror.faulter(), FaultBuffer::new(pages, GFP_KERNEL)?))
}
