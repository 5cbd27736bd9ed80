// SPDX-License-Identifier: GPL-2.0

//! A fake device that mirrors a process, in Rust without unsafe code.
//!
//! Each open file is a device context with a page table of its own. The ioctls are described in
//! `hmm_mirror_uapi.h`; the same device in C is `hmm_mirror_c.c`.
//!
//! The whole of a mirror driver is in [`FakeDevice`], which takes entries out of the page table,
//! and in [`Context::fault`], which puts them in. The rest is what a fake device needs: the
//! accesses that hardware would make by itself, and the ioctls.

#![forbid(unsafe_code)]

use core::ops::Range;
use kernel::{
    fs::File,
    hmm::{
        self,
        Access,
        Frame,
        Mirror,
        MirrorOps,
        MirrorRange,
        Pfns,
        Stale,
        StaleFrame,
        TableGuard,
        Update, //
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

/// Pages that are faulted in at once.
const FAULT_PAGES: usize = 512;

/// How often a fault is tried again after an update came in between.
const FAULT_TRIES: u64 = 100;

/// What the lock of the mirror protects: the page table, and the counters that go with it.
struct DeviceState {
    table: PageTable<Frame>,
    stats: uapi::Stats,
}

/// The fake device. It never sleeps when it flushes, so its mirrors are under a spinlock.
struct FakeDevice;

#[vtable]
impl MirrorOps for FakeDevice {
    type PageTable = DeviceState;
    type Lock = SpinLockBackend;
    const CPU_ACCESS: bool = true;

    fn invalidate(state: &mut DeviceState, update: &Update<'_>) {
        state.stats.invalidations += 1;
        state.stats.invalidated += state.table.remove(update.range()) as u64;
    }

    fn release(state: &mut DeviceState) {
        state.stats.dead = 1;
    }
}

/// A device context: an open file, bound to an address space once.
#[pin_data]
struct Context {
    mirror: SetOnce<Pin<KBox<Mirror<FakeDevice>>>>,
}

impl Context {
    fn mirror(&self) -> Result<&Mirror<FakeDevice>> {
        self.mirror.as_ref().map(|mirror| &**mirror).ok_or(ENXIO)
    }

    fn bind(&self, arg: &mut uapi::Bind) -> Result {
        if arg.flags != 0 {
            return Err(EINVAL);
        }
        if self.mirror.as_ref().is_some() {
            return Err(EBUSY);
        }

        let mm = hmm::mm_from_pidfd(arg.pidfd)?;
        let state = DeviceState {
            table: PageTable::new(GFP_KERNEL)?,
            stats: uapi::Stats::default(),
        };
        let mirror = KBox::pin_init(hmm::new_mirror!(&mm, state), GFP_KERNEL)?;

        // Another thread may have been faster.
        if self.mirror.populate(mirror) {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }

    /// A device page fault: reads the CPU page table for up to [`FAULT_PAGES`] pages and puts what
    /// is there into the device's. Returns how many pages that were.
    fn fault(
        mirror: &Mirror<FakeDevice>,
        range: Range<usize>,
        pfns: &mut Pfns,
        access: Access,
    ) -> Result<u64> {
        let mut retries = 0;

        pin_init::stack_try_pin_init!(
            let in_flight: MirrorRange<'_, FakeDevice> =? mirror.range(range.clone(), pfns)
        );
        while retries < FAULT_TRIES {
            let missing = mirror.lock().table.missing_tables(&range);
            let mut spare = Spare::new(missing, GFP_KERNEL)?;

            let faulted = in_flight.as_mut().fault(access)?;
            let committed = faulted.commit(|state, pages| {
                let mut filled = 0;

                for page in pages {
                    state.table.insert(page.addr(), page.frame(), &mut spare)?;
                    filled += 1;
                }
                state.stats.mapped += filled;
                state.stats.faults += 1;
                state.stats.retries += retries;
                Ok(filled)
            });
            match committed {
                // The page table was updated, or has lost tables since they were counted.
                Err(Stale) | Ok(Err(EAGAIN)) => retries += 1,
                Ok(result) => return result,
            }
        }
        Err(EBUSY)
    }

    fn map(&self, arg: &mut uapi::Map) -> Result {
        let mirror = self.mirror()?;
        let access = match arg.flags {
            0 => Access::Read,
            uapi::MAP_WRITE => Access::Write,
            uapi::MAP_PRESENT => Access::Present,
            _ => return Err(EINVAL),
        };
        let (mut addr, end) = checked(mirror, arg.addr, arg.len)?;

        if arg.reserved != 0 || arg.len == 0 || addr % PAGE_SIZE != 0 || end % PAGE_SIZE != 0 {
            return Err(EINVAL);
        }

        let mut pfns = Pfns::new(FAULT_PAGES, GFP_KERNEL)?;
        arg.pages = 0;
        while addr < end {
            let next = end.min(addr.saturating_add(FAULT_PAGES * PAGE_SIZE));

            arg.pages += Self::fault(mirror, addr..next, &mut pfns, access)?;
            addr = next;
        }
        Ok(())
    }

    /// One access of the device to one page: follows the page table, and faults while there is no
    /// entry that permits it. `follow` makes the access by way of the entry that was found.
    fn access(
        mirror: &Mirror<FakeDevice>,
        addr: usize,
        pfns: &mut Pfns,
        access: Access,
        mut follow: impl FnMut(
            &mut TableGuard<'_, FakeDevice>,
        ) -> core::result::Result<usize, StaleFrame>,
    ) -> Result<usize> {
        let page = addr - addr % PAGE_SIZE;
        let end = page.checked_add(PAGE_SIZE).ok_or(EINVAL)?;

        for _ in 0..FAULT_TRIES {
            if let Ok(done) = follow(&mut mirror.lock()) {
                return Ok(done);
            }
            Self::fault(mirror, page..end, pfns, access)?;
        }
        Err(EBUSY)
    }

    fn read(&self, arg: &mut uapi::Rw) -> Result {
        let mirror = self.mirror()?;
        let mut out =
            UserSlice::new(UserPtr::from_addr(arg.buf as usize), arg.len as usize).writer();
        let mut bytes = KVec::from_elem(0u8, PAGE_SIZE, GFP_KERNEL)?;
        let mut pfns = Pfns::new(1, GFP_KERNEL)?;

        for_each_page(mirror, arg, |addr, offset, len| {
            let done = Self::access(mirror, addr, &mut pfns, Access::Read, |state| {
                let frame = state.table.get(addr).ok_or(StaleFrame)?;
                let done = state.read(frame, offset, &mut bytes[..len])?;

                state.stats.accesses += 1;
                state.stats.read_bytes += done as u64;
                Ok(done)
            })?;
            out.write_slice(&bytes[..done])?;
            Ok(done)
        })
    }

    fn write(&self, arg: &mut uapi::Rw) -> Result {
        let mirror = self.mirror()?;
        let mut from =
            UserSlice::new(UserPtr::from_addr(arg.buf as usize), arg.len as usize).reader();
        let mut bytes = KVec::from_elem(0u8, PAGE_SIZE, GFP_KERNEL)?;
        let mut pfns = Pfns::new(1, GFP_KERNEL)?;

        for_each_page(mirror, arg, |addr, offset, len| {
            from.read_slice(&mut bytes[..len])?;
            Self::access(mirror, addr, &mut pfns, Access::Write, |state| {
                let frame = state.table.get(addr).ok_or(StaleFrame)?;
                let done = state.write(frame, offset, &bytes[..len])?;

                state.stats.accesses += 1;
                state.stats.written_bytes += done as u64;
                Ok(done)
            })
        })
    }

    fn dump(&self, arg: &mut uapi::Dump) -> Result {
        let mirror = self.mirror()?;

        if arg.start > arg.end || arg.capacity == 0 {
            return Err(EINVAL);
        }

        let capacity = (arg.capacity as usize).min(FAULT_PAGES);
        let mut entries = KVec::<uapi::Entry>::with_capacity(capacity, GFP_KERNEL)?;
        let mut next = arg.end;
        mirror.lock().table.walk(arg.start as usize, |addr, frame| {
            if addr as u64 >= arg.end {
                return false;
            }
            let entry = uapi::Entry {
                addr: addr as u64,
                pfn: frame.pfn() as u64,
                flags: if frame.writable() {
                    uapi::ENTRY_WRITE
                } else {
                    0
                },
                order: frame.order(),
            };
            // Full: go on with this one the next time.
            if entries.push_within_capacity(entry).is_err() {
                next = addr as u64;
                return false;
            }
            true
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
        let state = self.mirror()?.lock();

        *arg = state.stats;
        arg.pages = state.table.pages() as u64;
        arg.tables = state.table.tables() as u64;
        Ok(())
    }
}

/// The bounds of a range, if it lies within the mirrored address space.
fn checked(mirror: &Mirror<FakeDevice>, addr: u64, len: u64) -> Result<(usize, usize)> {
    let end = addr.checked_add(len).ok_or(EINVAL)?;

    if end > mirror.end_address() as u64 {
        return Err(EINVAL);
    }
    Ok((addr as usize, end as usize))
}

/// Splits an access at the pages' borders. `f` gets an address, the offset in its page and how
/// many bytes to copy there, and returns how many it copied.
fn for_each_page(
    mirror: &Mirror<FakeDevice>,
    arg: &mut uapi::Rw,
    mut f: impl FnMut(usize, usize, usize) -> Result<usize>,
) -> Result {
    checked(mirror, arg.addr, arg.len)?;
    arg.done = 0;
    while arg.done < arg.len {
        let addr = (arg.addr + arg.done) as usize;
        let offset = addr % PAGE_SIZE;
        let len = (PAGE_SIZE - offset).min((arg.len - arg.done) as usize);

        arg.done += f(addr, offset, len)? as u64;
    }
    Ok(())
}

/// Gets the argument of an ioctl, calls `f` with it, and gives it back, also when `f` fails.
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
            GFP_KERNEL,
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
