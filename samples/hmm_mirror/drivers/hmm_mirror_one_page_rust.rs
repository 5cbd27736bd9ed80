// SPDX-License-Identifier: GPL-2.0

//! A device with room for one page of the process that has opened it.

use core::marker::PhantomPinned;
use kernel::{
    fs::File,
    hmm::{new_mirror, FaultBuffer, Invalidation, Mirror, MirrorOps, Write},
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    mm::addr::{PageRange, Pfn, VirtAddr},
    prelude::*,
    sync::lock::spinlock::SpinLockBackend,
};

module! {
    type: OnePageModule,
    name: "hmm_mirror_one_page_rust",
    authors: ["The HMM mirroring project"],
    description: "Smallest mirror driver in Rust",
    license: "GPL",
}

/// An entry: an address of the process, and the frame that is there.
struct Entry {
    addr: VirtAddr,
    pfn: Pfn,
}

/// The device's page table, which has one entry, and stays in its mirror.
#[pin_data]
struct Table {
    entry: Option<Entry>,
    #[pin]
    _pinned: PhantomPinned,
}

struct OnePage;

#[vtable]
impl MirrorOps for OnePage {
    const NAME: &'static CStr = c"hmm_mirror_one_page_rust";
    type PageTable = Table;
    type Lock = SpinLockBackend;

    fn invalidate(&self, table: Pin<&mut Table>, invalidation: &Invalidation<'_>) {
        let entry = table.project().entry;

        if entry
            .as_ref()
            .is_some_and(|e| invalidation.range().contains(e.addr))
        {
            // Here a real device is told to forget the frame.
            *entry = None;
        }
    }
}

#[pin_data]
struct Context {
    #[pin]
    mirror: Mirror<OnePage>,
}

#[vtable]
impl MiscDevice for Context {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        let task = current!();
        let mm = task.mm().ok_or(ESRCH)?;

        let table = pin_init!(Table {
            entry: None,
            _pinned: PhantomPinned,
        });

        KBox::try_pin_init(
            try_pin_init!(Context { mirror <- new_mirror!(mm, OnePage, table) }),
            GFP_KERNEL,
        )
    }

    fn ioctl(me: Pin<&Self>, _file: &File, _cmd: u32, addr: usize) -> Result<isize> {
        let range = PageRange::page_of(VirtAddr::new(addr))?;
        let mut buffer = FaultBuffer::new(range.pages(), GFP_KERNEL)?;
        let mut faulter = me.mirror.faulter();

        faulter.map(range, &mut buffer, Write, |table, pages| {
            let entry = table.project().entry;

            for page in pages {
                // Here a real device is told to use the frame.
                *entry = Some(Entry {
                    addr: page.addr(),
                    pfn: page.pfn(),
                });
            }
        })?;
        if let Some(entry) = &faulter.lock().entry {
            pr_info!("{:?} is in {:?}\n", entry.addr, entry.pfn);
        }
        Ok(0)
    }
}

#[pin_data]
struct OnePageModule {
    #[pin]
    _device: MiscDeviceRegistration<Context>,
}

impl kernel::InPlaceModule for OnePageModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"hmm_mirror_one_page_rust",
            }),
        })
    }
}
