// SPDX-License-Identifier: GPL-2.0

// What all cases have in common: a module, and a device whose page table has room for one page.

use kernel::{
    hmm::*,
    mm::addr::*,
    prelude::*,
    sync::lock::spinlock::SpinLockBackend, //
};

module! {
    type: Driver,
    name: "misuse",
    authors: ["The HMM mirroring project"],
    description: "A driver that is misused",
    license: "GPL",
}

pub struct Driver;

impl kernel::Module for Driver {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

pub struct Entry {
    pub addr: VirtAddr,
    pub pfn: Pfn,
}

pub struct OnePage;

#[vtable]
impl MirrorOps for OnePage {
    type PageTable = Option<Entry>;
    type Lock = SpinLockBackend;

    fn invalidate(&self, table: &mut Option<Entry>, invalidation: &Invalidation<'_>) {
        if table
            .as_ref()
            .is_some_and(|e| invalidation.range().contains(e.addr))
        {
            *table = None;
        }
    }
}

/// The same, followed by the CPU.
pub struct Emulated;

#[vtable]
impl MirrorOps for Emulated {
    type PageTable = Option<Frame>;
    type Lock = SpinLockBackend;
    const CPU_ACCESS: bool = true;

    fn invalidate(&self, table: &mut Option<Frame>, _invalidation: &Invalidation<'_>) {
        *table = None;
    }
}
