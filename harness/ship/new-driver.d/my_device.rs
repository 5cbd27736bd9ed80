// SPDX-License-Identifier: GPL-2.0

//! A device that mirrors the process that opens it.
//!
//! Each open file is a device context with a page table of its own. The ioctls are described in
//! `my_device.h`. TODO says where the hardware comes in.

#![forbid(unsafe_code)]

use core::marker::PhantomPinned;
use kernel::{
    fs::File,
    hmm::{
        new_mirror,
        Access,
        FaultBuffer,
        Faulter,
        Invalidation,
        Mirror,
        MirrorOps,
        Read,
        Write, //
    },
    ioctl::{
        _IOC_SIZE,
        _IOW,
        _IOWR, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    mm::addr::{
        PageCount,
        PageRange,
        Pfn,
        VirtAddr, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::lock::spinlock::SpinLockBackend,
    uaccess::UserSlice, //
};

module! {
    type: MyDeviceModule,
    name: "my_device",
    authors: ["You"],
    description: "Device that mirrors the process that opens it",
    license: "GPL",
}

/// The ioctls, as `my_device.h` has them.
mod uapi {
    use super::*;

    pub(crate) const IOC_MAP: u32 = _IOW::<Map>(0xbf, 0x00);
    pub(crate) const IOC_LOOKUP: u32 = _IOWR::<Lookup>(0xbf, 0x01);

    pub(crate) const MAP_WRITE: u32 = 1 << 0;
    pub(crate) const ENTRY_VALID: u32 = 1 << 0;
    pub(crate) const ENTRY_WRITE: u32 = 1 << 1;

    #[derive(Default, FromBytes, IntoBytes)]
    #[repr(C)]
    pub(crate) struct Map {
        pub(crate) addr: u64,
        pub(crate) len: u64,
        pub(crate) flags: u32,
        pub(crate) reserved: u32,
    }

    #[derive(Default, FromBytes, IntoBytes)]
    #[repr(C)]
    pub(crate) struct Lookup {
        pub(crate) addr: u64,
        pub(crate) flags: u32,
        pub(crate) reserved: u32,
    }
}

/// The number of entries in the device's page table.
const SLOTS: usize = 512;

/// An entry of the device's page table.
struct Entry {
    addr: VirtAddr,
    // TODO: what the hardware gets. Behind an IOMMU that is a DMA address, not this.
    _pfn: Pfn,
    writable: bool,
}

/// The device's page table.
///
/// Memory must not be allocated under its lock, so all slots are allocated in advance. The address
/// of a page determines its slot, and a new entry replaces the old one.
///
/// It belongs to its mirror: what is pinned cannot be moved out.
#[pin_data]
struct PageTable {
    slots: KVec<Option<Entry>>,
    #[pin]
    _pinned: PhantomPinned,
}

impl PageTable {
    fn new() -> Result<Self> {
        let mut slots = KVec::with_capacity(SLOTS, GFP_KERNEL_ACCOUNT)?;

        for _ in 0..SLOTS {
            slots.push(None, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(Self {
            slots,
            _pinned: PhantomPinned,
        })
    }

    fn slot(addr: VirtAddr) -> usize {
        addr.as_usize() / PAGE_SIZE % SLOTS
    }

    fn get(&self, addr: VirtAddr) -> Option<&Entry> {
        self.slots[Self::slot(addr)]
            .as_ref()
            .filter(|entry| entry.addr == addr.page_start())
    }

    fn insert(self: Pin<&mut Self>, entry: Entry) {
        let slot = Self::slot(entry.addr);

        self.project().slots[slot] = Some(entry);
    }

    /// Removes the entries of a range. Returns whether there were any.
    fn remove(self: Pin<&mut Self>, range: PageRange) -> bool {
        let slots = self.project().slots;
        let mut removed = false;

        // Consecutive pages have consecutive slots, so this visits each slot at most once.
        for addr in range.addrs().take(SLOTS) {
            let slot = &mut slots[Self::slot(addr)];

            removed |= slot.take_if(|entry| range.contains(entry.addr)).is_some();
        }
        removed
    }
}

/// What all contexts share.
struct MyDevice {
    // TODO: its registers.
}

#[vtable]
impl MirrorOps for MyDevice {
    const NAME: &'static CStr = c"my_device";
    type PageTable = PageTable;
    // TODO: `MutexBackend`, if a flush of the device's TLB sleeps. `try_invalidate()` may then free
    // the memory of a process that the OOM killer has killed, where no flush is needed.
    type Lock = SpinLockBackend;

    fn invalidate(&self, table: Pin<&mut PageTable>, invalidation: &Invalidation<'_>) {
        if table.remove(invalidation.range()) {
            // TODO: flush the device's TLB and wait until that is complete. The pages may be freed
            // when this returns.
        }
    }
}

/// A device context: an open file, with a mirror of the process that opened it.
///
/// The file and the mirror keep this module from being unloaded.
#[pin_data]
struct Context {
    #[pin]
    mirror: Mirror<MyDevice>,
}

impl Context {
    /// Handles a device page fault: enters the pages of a range into the device's page table.
    fn fault(
        faulter: &mut Faulter<'_, MyDevice>,
        range: PageRange,
        buffer: &mut FaultBuffer,
        access: impl Access,
    ) -> Result {
        faulter.map(range, buffer, access, |mut table, pages| {
            for page in pages {
                table.as_mut().insert(Entry {
                    addr: page.addr(),
                    _pfn: page.pfn(),
                    writable: page.writable().is_some(),
                });
            }
            // TODO: tell the device.
        })?;
        // TODO: match on the `FaultError` instead, and tell the device what became of its access.
        Ok(())
    }

    fn map(&self, arg: &uapi::Map) -> Result {
        let mut faulter = self.mirror.faulter();
        let start = VirtAddr::new(arg.addr.try_into()?);
        let end = start.checked_add(arg.len.try_into()?).ok_or(EINVAL)?;
        let range = PageRange::from_bounds(start, end)?;

        if arg.reserved != 0 || range.pages() > PageCount::new(SLOTS) {
            return Err(EINVAL);
        }

        let mut buffer = FaultBuffer::new(range.pages(), GFP_KERNEL)?;
        match arg.flags {
            0 => Self::fault(&mut faulter, range, &mut buffer, Read),
            uapi::MAP_WRITE => Self::fault(&mut faulter, range, &mut buffer, Write),
            _ => Err(EINVAL),
        }
    }

    fn lookup(&self, arg: &mut uapi::Lookup) -> Result {
        let mut faulter = self.mirror.faulter();
        let addr = VirtAddr::new(arg.addr.try_into()?);

        if arg.flags != 0 || arg.reserved != 0 {
            return Err(EINVAL);
        }
        if let Some(entry) = faulter.lock().get(addr) {
            arg.flags = uapi::ENTRY_VALID;
            if entry.writable {
                arg.flags |= uapi::ENTRY_WRITE;
            }
        }
        Ok(())
    }
}

#[vtable]
impl MiscDevice for Context {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        let task = current!();
        let mm = task.mm().ok_or(ESRCH)?;
        let table = PageTable::new()?;

        KBox::try_pin_init(
            try_pin_init!(Context {
                mirror <- new_mirror!(mm, MyDevice {}, table),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    fn ioctl(me: Pin<&Self>, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let user = UserSlice::new(UserPtr::from_addr(arg), _IOC_SIZE(cmd));

        match cmd {
            uapi::IOC_MAP => {
                let mut arg = uapi::Map::default();

                user.reader().read_slice(arg.as_mut_bytes())?;
                me.map(&arg)?;
            }
            uapi::IOC_LOOKUP => {
                let (mut reader, mut writer) = user.reader_writer();
                let mut arg = uapi::Lookup::default();

                reader.read_slice(arg.as_mut_bytes())?;
                me.lookup(&mut arg)?;
                writer.write_slice(arg.as_mut_bytes())?;
            }
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

#[pin_data]
struct MyDeviceModule {
    #[pin]
    _device: MiscDeviceRegistration<Context>,
}

impl kernel::InPlaceModule for MyDeviceModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"my_device",
            }),
        })
    }
}
