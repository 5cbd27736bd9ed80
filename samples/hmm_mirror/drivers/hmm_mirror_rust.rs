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
        Present,
        Read,
        Reserve,
        Short,
        StaleFrame,
        TableGuard,
        Write, //
    },
    ioctl::{
        _IOC_SIZE,
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
    uaccess::{
        UserSlice,
        UserSliceReader,
        UserSliceWriter, //
    },
};

mod page_table;
mod uapi;

use page_table::{
    PageTable,
    Spare, //
};

module! {
    type: FakeDeviceModule,
    name: "hmm_mirror_rust",
    authors: ["The HMM mirroring project"],
    description: "Fake device that mirrors a process, in Rust",
    license: "GPL",
}

/// The number of pages that are faulted in at once.
const FAULT_PAGES: PageCount = PageCount::from_order(page_table::HUGE_ORDER);

/// How often a fault is retried after an invalidation.
const FAULT_TRIES: u64 = 100;

/// Returns what a dump shows of the page at `addr`, which `frame` maps.
fn show(frame: &Frame, addr: VirtAddr) -> uapi::Entry {
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

    /// Handles a device page fault: enters the pages of a range into the device's page table.
    /// Returns their number.
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
                let filled = match state.as_mut().insert(pages, spare) {
                    // The page table has lost tables since they were counted.
                    Err(EAGAIN) => return Err(Short),
                    Err(error) => return Ok(Err(error)),
                    Ok(filled) => filled,
                };
                let stats = state.project().stats;

                stats.mapped += filled;
                stats.faults += 1;
                Ok(Ok(filled))
            })
        })?;
        let retries = in_flight.as_mut().retries();

        in_flight.as_mut().lock().as_mut().project().stats.retries += u64::from(retries);
        filled
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

    fn map(&self, arg: &mut uapi::Map) -> Result {
        let mut faulter = self.faulter()?;
        let (start, end) = checked(faulter.mirror(), arg.addr, arg.len)?;
        let range = PageRange::from_bounds(start, end)?;
        let mut buffer = FaultBuffer::new(FAULT_PAGES, GFP_KERNEL)?;

        if arg.reserved != 0 {
            return Err(EINVAL);
        }
        arg.pages = 0;
        for part in range.split_at_multiples(FAULT_PAGES) {
            arg.pages += match arg.flags {
                0 => Self::fault(&mut faulter, part, &mut buffer, Read),
                uapi::MAP_WRITE => Self::fault(&mut faulter, part, &mut buffer, Write),
                uapi::MAP_PRESENT => Self::fault(&mut faulter, part, &mut buffer, Present),
                // The kernel crate has no way to wait for a work item.
                flags if flags & uapi::MAP_ASYNC != 0 => Err(EOPNOTSUPP),
                _ => Err(EINVAL),
            }?;
        }
        Ok(())
    }

    /// Makes one access of the device to one page: follows the page table, and faults as long as no
    /// entry permits the access. `follow` makes the access through the entry.
    fn access(
        faulter: &mut Faulter<'_, FakeDevice>,
        addr: VirtAddr,
        buffer: &mut FaultBuffer,
        access: impl Access,
        mut follow: impl FnMut(&mut TableGuard<'_, FakeDevice>) -> Result<usize, StaleFrame>,
    ) -> Result<usize> {
        let page = PageRange::page_of(addr)?;

        for _ in 0..FAULT_TRIES {
            if let Ok(done) = follow(&mut faulter.lock()) {
                return Ok(done);
            }
            Self::fault(faulter, page, buffer, access)?;
        }
        Err(EBUSY)
    }

    fn read(&self, arg: &mut uapi::Rw) -> Result {
        let mut faulter = self.faulter()?;
        let mut out =
            UserSlice::new(UserPtr::from_addr(arg.buf as usize), arg.len as usize).writer();
        let mut bytes = KVec::from_elem(0u8, PAGE_SIZE, GFP_KERNEL)?;
        let mut buffer = FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?;

        for_each_page(faulter.mirror(), arg, |addr, len| {
            let done = Self::access(&mut faulter, addr, &mut buffer, Read, |state| {
                let frame = state.table.get(addr).ok_or(StaleFrame)?;
                let done = state.read(frame, within(frame, addr), &mut bytes[..len])?;

                let stats = state.as_mut().project().stats;
                stats.accesses += 1;
                stats.read_bytes += done as u64;
                Ok(done)
            })?;
            out.write_slice(&bytes[..done])?;
            Ok(done)
        })
    }

    fn write(&self, arg: &mut uapi::Rw) -> Result {
        let mut faulter = self.faulter()?;
        let mut from =
            UserSlice::new(UserPtr::from_addr(arg.buf as usize), arg.len as usize).reader();
        let mut bytes = KVec::from_elem(0u8, PAGE_SIZE, GFP_KERNEL)?;
        let mut buffer = FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?;

        for_each_page(faulter.mirror(), arg, |addr, len| {
            from.read_slice(&mut bytes[..len])?;
            Self::access(&mut faulter, addr, &mut buffer, Write, |state| {
                let frame = state.table.get(addr).and_then(Frame::writable);
                let frame = frame.ok_or(StaleFrame)?;
                let done = state.write(frame, within(frame, addr), &bytes[..len])?;

                let stats = state.as_mut().project().stats;
                stats.accesses += 1;
                stats.written_bytes += done as u64;
                Ok(done)
            })
        })
    }

    fn dump(&self, arg: &mut uapi::Dump) -> Result {
        let mut faulter = self.faulter()?;

        if arg.start > arg.end || arg.capacity == 0 {
            return Err(EINVAL);
        }

        let capacity = (arg.capacity as usize).min(FAULT_PAGES.as_usize());
        let mut entries = KVec::<uapi::Entry>::with_capacity(capacity, GFP_KERNEL)?;
        let mut next = arg.end;
        let start = VirtAddr::new(arg.start as usize);
        faulter.lock().table.walk(start, |addr, frame| {
            let shown = show(frame, addr);

            if shown.addr >= arg.end {
                return false;
            }
            // Full: go on with this one the next time.
            entries
                .push_within_capacity(shown)
                .inspect_err(|_| next = addr.as_usize() as u64)
                .is_ok()
        });

        let ptr = UserPtr::from_addr(arg.entries as usize);
        let mut out = UserSlice::new(ptr, entries.len() * size_of::<uapi::Entry>()).writer();
        for entry in &mut entries {
            out.write_slice(entry.as_mut_bytes())?;
        }
        arg.start = next;
        arg.count = entries.len() as u32;
        Ok(())
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

/// Returns the bounds of a range if it is in the mirrored address space.
fn checked(mirror: &Mirror<FakeDevice>, addr: u64, len: u64) -> Result<(VirtAddr, VirtAddr)> {
    let start = VirtAddr::new(addr.try_into()?);
    let end = start.checked_add(len.try_into()?).ok_or(EINVAL)?;

    if end > mirror.end_address() {
        return Err(EINVAL);
    }
    Ok((start, end))
}

/// Returns the offset of an address in its frame, in bytes.
fn within(frame: &Frame, addr: VirtAddr) -> usize {
    addr.offset_from(frame.addr()).unwrap_or(usize::MAX)
}

/// Splits an access at page boundaries. `f` gets an address and the number of bytes to copy there,
/// and returns the number of bytes that it copied.
fn for_each_page(
    mirror: &Mirror<FakeDevice>,
    arg: &mut uapi::Rw,
    mut f: impl FnMut(VirtAddr, usize) -> Result<usize>,
) -> Result {
    let (start, _) = checked(mirror, arg.addr, arg.len)?;

    arg.done = 0;
    while arg.done < arg.len {
        let addr = start.checked_add(arg.done as usize).ok_or(EINVAL)?;
        let len = (PAGE_SIZE - addr.page_offset()).min((arg.len - arg.done) as usize);

        arg.done += f(addr, len)? as u64;
    }
    Ok(())
}

/// Copies the argument of an ioctl in, calls `f` with it, and copies it out, even if `f` fails.
fn with_arg<T: Default + FromBytes + IntoBytes>(
    (mut reader, mut writer): (UserSliceReader, UserSliceWriter),
    f: impl FnOnce(&mut T) -> Result,
) -> Result<isize> {
    let mut arg = T::default();

    reader.read_slice(arg.as_mut_bytes())?;
    let result = f(&mut arg);
    writer.write_slice(arg.as_mut_bytes())?;
    result.map(|()| 0)
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
        let user = UserSlice::new(UserPtr::from_addr(arg), _IOC_SIZE(cmd));

        match cmd {
            uapi::IOC_BIND => {
                let mut bind = uapi::Bind::default();

                user.reader().read_slice(bind.as_mut_bytes())?;
                me.bind(&mut bind).map(|()| 0)
            }
            uapi::IOC_MAP => with_arg(user.reader_writer(), |arg| me.map(arg)),
            uapi::IOC_READ => with_arg(user.reader_writer(), |arg| me.read(arg)),
            uapi::IOC_WRITE => with_arg(user.reader_writer(), |arg| me.write(arg)),
            uapi::IOC_ADD => with_arg(user.reader_writer(), |arg| me.add(arg)),
            uapi::IOC_DUMP => with_arg(user.reader_writer(), |arg| me.dump(arg)),
            uapi::IOC_STATS => {
                let mut stats = uapi::Stats::default();

                me.stats(&mut stats)?;
                user.writer().write_slice(stats.as_mut_bytes())?;
                Ok(0)
            }
            _ => Err(ENOTTY),
        }
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
