// SPDX-License-Identifier: GPL-2.0

//! Take a snapshot for an access that it does not grant.

include!("driver.rs");

#[cfg(misuse)]
pub type Granted = Present;
#[cfg(not(misuse))]
pub type Granted = Read;

fn first(mut pages: Pages<'_, OnePage, Granted>) -> Option<Pfn> {
    pages.next().map(|page| page.pfn())
}

pub fn snapshot(in_flight: Pin<&mut FaultRange<'_, OnePage>>) -> Result<Option<Pfn>> {
    let snapshot = in_flight.fault(Present)?;
    let committed = snapshot.commit(|_, pages| first(pages)); //~ ERROR E0308
    Ok(committed.unwrap_or(None))
}
