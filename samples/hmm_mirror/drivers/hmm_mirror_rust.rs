// SPDX-License-Identifier: GPL-2.0

//! A fake device that mirrors a process, in Rust without unsafe code.
//!
//! Each open file is a device context with a page table of its own. The ioctls are described in
//! `hmm_mirror_uapi.h`; the same device in C is `hmm_mirror_c.c`.
//!
//! A driver needs two things to mirror: [`FakeDevice`] removes entries from the page table, and
//! [`Context::fault`] enters them. The rest makes the accesses that hardware would make by itself,
//! and implements the ioctls.

#![forbid(unsafe_code)]

use core::marker::PhantomPinned;
use kernel::{
    fs::File,
    hmm::{
        new_mirror,
        Access,
        FaultBuffer,
        FaultRange,
        Faulter,
        Frame,
        Invalidation,
        Mirror,
        MirrorOps,
        Pages,
        Reserve, //
    },
    ioctl::{
        _IOR,
        _IOW,
        _IOWR, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    mm::{
        addr::{
            PageCount,
            PageRange,
            VirtAddr, //
        },
        MmWithUser, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        lock::spinlock::SpinLockBackend,
        SetOnce, //
    },
};

mod page_table;
mod sample;
mod uapi;

use page_table::{
    PageTable,
    Spare, //
};
use sample::{
    Device,
    Ioctls, //
};

module! {
    type: FakeDeviceModule,
    name: "hmm_mirror_rust",
    authors: ["The HMM mirroring project"],
    description: "Fake device that mirrors a process, in Rust",
    license: "GPL",
}

/// Returns what a dump shows of the page at `addr`, which `frame` maps.
fn entry(frame: &Frame, addr: VirtAddr) -> uapi::Entry {
    let index = within(frame, addr) / PAGE_SIZE;

    uapi::Entry {
        addr: addr.as_usize() as u64,
        pfn: (frame.pfn().as_usize() + index) as u64,
        flags: match frame.writable() {
            None => 0,
            Some(_) => uapi::ENTRY_WRITE,
        },
        order: frame.map_order(),
    }
}

/// The data that the lock of the mirror protects: the page table and its counters.
#[pin_data]
struct DeviceState {
    table: PageTable<Frame>,
    stats: uapi::Stats,
    // It belongs to its mirror, and cannot be moved out of it.
    #[pin]
    _pinned: PhantomPinned,
}

impl DeviceState {
    /// Enters pages, and huge pages where possible. Returns the number of pages.
    fn insert<P: Access>(
        self: Pin<&mut Self>,
        pages: Pages<'_, FakeDevice, P>,
        spare: &mut Spare<Frame>,
    ) -> Result<u64> {
        let table = self.project().table;
        let mut filled = 0;

        for page in pages.blocks(page_table::HUGE_ORDER) {
            table.insert(page.addr(), page.order(), page.frame(), spare)?;
            filled += PageCount::from_order(page.order()).as_usize() as u64;
        }
        Ok(filled)
    }
}

impl Reserve<DeviceState> for Spare<Frame> {
    fn need(state: &DeviceState, range: PageRange) -> usize {
        state.table.missing_tables(range)
    }

    fn allocate(tables: usize) -> Result<Self> {
        Spare::new(tables, GFP_KERNEL_ACCOUNT)
    }
}

/// The fake device. A flush never sleeps, so a spinlock protects the page table.
struct FakeDevice;

#[vtable]
impl MirrorOps for FakeDevice {
    const NAME: &'static CStr = c"hmm_mirror_rust";
    type PageTable = DeviceState;
    type Lock = SpinLockBackend;
    const CPU_ACCESS: bool = true;

    fn invalidate(&self, state: Pin<&mut DeviceState>, invalidation: &Invalidation<'_>) {
        let state = state.project();

        state.stats.invalidations += 1;
        state.stats.invalidated += state.table.remove(invalidation.range()) as u64;
    }

    fn release(&self, state: Pin<&mut DeviceState>) {
        state.project().stats.dead = 1;
    }
}

impl Device for FakeDevice {
    fn fault(
        faulter: &mut Faulter<'_, FakeDevice>,
        range: PageRange,
        buffer: &mut FaultBuffer,
        access: impl Access,
    ) -> Result<u64> {
        pin_init::stack_try_pin_init!(
            let in_flight: FaultRange<'_, FakeDevice> =? faulter.range(range, buffer)
        );
        let filled = in_flight.as_mut().with_reserve(|range, spare| {
            range.map(access, |mut state, pages| {
                let filled = state.as_mut().insert(pages, spare);

                sample::committed(filled, state.project().stats)
            })
        })?;
        let retries = in_flight.as_mut().retries();

        in_flight.as_mut().lock().as_mut().project().stats.retries += u64::from(retries);
        filled
    }
}

/// A device context: an open file, bound to an address space once.
#[pin_data]
struct Context {
    mirror: SetOnce<Pin<KBox<Mirror<FakeDevice>>>>,
}

impl Context {
    fn faulter(&self) -> Result<Faulter<'_, FakeDevice>> {
        self.mirror
            .as_ref()
            .map(|mirror| mirror.faulter())
            .ok_or(ENXIO)
    }
}

impl Ioctls for Context {
    fn bind(&self, arg: &mut uapi::Bind) -> Result {
        if arg.flags != 0 {
            return Err(EINVAL);
        }
        if self.mirror.as_ref().is_some() {
            return Err(EBUSY);
        }

        let mm = MmWithUser::from_pidfd(arg.pidfd)?;
        let state = DeviceState {
            table: PageTable::new(GFP_KERNEL_ACCOUNT)?,
            stats: uapi::Stats::default(),
            _pinned: PhantomPinned,
        };
        let mirror = KBox::pin_init(new_mirror!(&mm, FakeDevice, state), GFP_KERNEL_ACCOUNT)?;

        // Another thread may have been faster.
        if self.mirror.populate(mirror) {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }

    fn map(&self, arg: &mut uapi::Map) -> Result {
        sample::map(self.faulter()?, arg)
    }

    fn read(&self, arg: &mut uapi::Rw) -> Result {
        sample::read(self.faulter()?, arg, |faulter, addr, bytes| {
            let mut state = faulter.lock();
            let done = state
                .table
                .get(addr)
                .map(|frame| state.read(frame, within(frame, addr), bytes));
            let Some(Ok(done)) = done else {
                return Ok(false);
            };

            let stats = state.as_mut().project().stats;
            stats.accesses += 1;
            stats.read_bytes += done as u64;
            Ok(true)
        })
    }

    fn write(&self, arg: &mut uapi::Rw) -> Result {
        sample::write(self.faulter()?, arg, |faulter, addr, bytes| {
            let mut state = faulter.lock();
            let done = state
                .table
                .get(addr)
                .and_then(Frame::writable)
                .map(|frame| state.write(frame, within(frame, addr), bytes));
            let Some(Ok(done)) = done else {
                return Ok(false);
            };

            let stats = state.as_mut().project().stats;
            stats.accesses += 1;
            stats.written_bytes += done as u64;
            Ok(true)
        })
    }

    /// Adds to a word of the process while the device has the page to itself.
    fn add(&self, arg: &mut uapi::Add) -> Result {
        let mut faulter = self.faulter()?;
        let addr = VirtAddr::new(arg.addr.try_into()?);
        let mut buffer = FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?;

        if arg.addr % size_of::<u64>() as u64 != 0 || addr >= faulter.mirror().end_address() {
            return Err(EINVAL);
        }
        pin_init::stack_try_pin_init!(
            let page: FaultRange<'_, FakeDevice> =?
                faulter.range(PageRange::page_of(addr)?, &mut buffer)
        );
        arg.old = page.map_exclusive(|state, page| {
            let stats = state.project().stats;
            let mut old = [0; size_of::<u64>()];

            stats.read_bytes += page.read(addr.page_offset(), &mut old) as u64;
            let old = u64::from_ne_bytes(old);
            let new = old.wrapping_add(arg.value).to_ne_bytes();
            stats.written_bytes += page.write(addr.page_offset(), &new) as u64;
            stats.accesses += 1;
            old
        })?;
        Ok(())
    }

    fn dump(&self, arg: &mut uapi::Dump) -> Result {
        let mut faulter = self.faulter()?;

        sample::dump(arg, |start, show| {
            let state = faulter.lock();

            state
                .table
                .walk(start, |addr, frame| show(entry(frame, addr)));
        })
    }

    fn stats(&self, arg: &mut uapi::Stats) -> Result {
        let mut faulter = self.faulter()?;
        let state = faulter.lock();

        *arg = state.stats;
        arg.pages = state.table.pages() as u64;
        arg.tables = state.table.tables() as u64;
        Ok(())
    }
}

/// Returns the offset of an address in its frame, in bytes.
fn within(frame: &Frame, addr: VirtAddr) -> usize {
    addr.offset_from(frame.addr()).unwrap_or(usize::MAX)
}

#[vtable]
impl MiscDevice for Context {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<Self::Ptr> {
        KBox::pin_init(
            pin_init!(Context {
                mirror: SetOnce::new(),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    fn ioctl(me: Pin<&Self>, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        sample::ioctl(me.get_ref(), cmd, arg)
    }
}

#[pin_data]
struct FakeDeviceModule {
    #[pin]
    _device: MiscDeviceRegistration<Context>,
}

impl kernel::InPlaceModule for FakeDeviceModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"hmm_mirror_rust",
            }),
        })
    }
}
