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
    type PageTable = Entry;
    type Lock = SpinLockBackend;

    fn invalidate(&self, table: &mut Entry, _invalidation: &Invalidation<'_>) {
        #[cfg(misuse)]
        self.last.populate(table); //~ ERROR E0521

        #[cfg(not(misuse))]
        self.last.populate(table.pfn);
    }
}
