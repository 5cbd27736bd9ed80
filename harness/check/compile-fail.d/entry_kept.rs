// SPDX-License-Identifier: GPL-2.0

//! Keep what is in the page table after the callback.

include!("driver.rs");

use kernel::sync::SetOnce;

pub struct Gpu {
    #[cfg(misuse)]
    last: SetOnce<&'static Entry>,
    #[cfg(not(misuse))]
    last: SetOnce<Pfn>,
}

#[vtable]
impl MirrorOps for Gpu {
    const NAME: &'static CStr = c"gpu";
    type PageTable = Table<Entry>;
    type Lock = SpinLockBackend;

    fn invalidate(&self, table: Pin<&mut Table<Entry>>, _invalidation: &Invalidation<'_>) {
        let Some(entry) = table.project().entry else {
            //~^ ERROR E0521
            return;
        };

        #[cfg(misuse)]
        self.last.populate(entry);

        #[cfg(not(misuse))]
        self.last.populate(entry.pfn);
    }
}
