// SPDX-License-Identifier: GPL-2.0

//! Take the lock of the page table while committing.

include!("driver.rs");

pub fn fault(
    faulter: &mut Faulter<'_, OnePage>,
    range: PageRange,
    buffer: &mut FaultBuffer,
) -> Result {
    let commit = |_table: Pin<&mut Table<Entry>>, pages: Pages<'_, OnePage, Read>| {
        #[cfg(misuse)]
        let mut guard = faulter.lock();
        #[cfg(misuse)]
        let _table = guard.as_mut();

        *_table.project().entry = pages.last().map(|page| Entry {
            addr: page.addr(),
            pfn: page.pfn(),
        });
    };

    faulter.map(range, buffer, Read, commit)?; //~ ERROR E0501
    Ok(())
}
