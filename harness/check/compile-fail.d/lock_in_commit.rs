// SPDX-License-Identifier: GPL-2.0

//! Take the lock of the page table while committing.

include!("driver.rs");

pub fn fault(session: &mut Session<'_, OnePage>, range: PageRange, pfns: &mut Pfns) -> Result {
    let commit = |_table: &mut Option<Entry>, pages: Pages<'_, OnePage, Read>| {
        #[cfg(misuse)]
        let mut _table = session.lock();

        *_table = pages.last().map(|page| Entry {
            addr: page.addr(),
            pfn: page.pfn(),
        });
    };

    session.map(range, pfns, Read, commit) //~ ERROR E0501
}
