// SPDX-License-Identifier: GPL-2.0

// What all cases have in common: a module, and a device whose page table has room for one page.

use core::marker::PhantomPinned;
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

#[pin_data]
pub struct Table<E> {
    pub entry: Option<E>,
    #[pin]
    _pinned: PhantomPinned,
}

impl<E> Table<E> {
    pub fn empty() -> Self {
        Self {
            entry: None,
            _pinned: PhantomPinned,
        }
    }
}

pub struct OnePage;

#[vtable]
impl MirrorOps for OnePage {
    const NAME: &'static CStr = c"one_page";
    type PageTable = Table<Entry>;
    type Lock = SpinLockBackend;

    fn invalidate(&self, table: Pin<&mut Table<Entry>>, invalidation: &Invalidation<'_>) {
        let hit = |entry: &mut Entry| invalidation.range().contains(entry.addr);

        let _ = table.project().entry.take_if(hit);
    }
}

/// The same, followed by the CPU.
pub struct Emulated;

#[vtable]
impl MirrorOps for Emulated {
    const NAME: &'static CStr = c"emulated";
    type PageTable = Table<Frame>;
    type Lock = SpinLockBackend;
    const CPU_ACCESS: bool = true;

    fn invalidate(&self, table: Pin<&mut Table<Frame>>, _invalidation: &Invalidation<'_>) {
        *table.project().entry = None;
    }
}
