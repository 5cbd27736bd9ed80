// SPDX-License-Identifier: GPL-2.0

//! What the drivers in Rust have in common: the ioctls, but for what each device does.

use super::uapi;
use kernel::{
    hmm::{
        Access,
        FaultBuffer,
        Faulter,
        Mirror,
        MirrorOps,
        Present,
        Read,
        Short,
        Write, //
    },
    ioctl::_IOC_SIZE,
    mm::addr::{
        PageCount,
        PageRange,
        VirtAddr, //
    },
    page::PAGE_SIZE,
    prelude::*,
    uaccess::{
        UserSlice,
        UserSliceReader,
        UserSliceWriter, //
    },
};

/// The number of pages that are faulted in at once.
const FAULT_PAGES: PageCount = PageCount::from_order(super::page_table::HUGE_ORDER);

/// How often a fault is retried after an invalidation.
const FAULT_TRIES: u64 = 100;

/// The ioctls of an open file.
pub(crate) trait Ioctls {
    fn bind(&self, arg: &mut uapi::Bind) -> Result;
    fn map(&self, arg: &mut uapi::Map) -> Result;
    fn read(&self, arg: &mut uapi::Rw) -> Result;
    fn write(&self, arg: &mut uapi::Rw) -> Result;
    fn add(&self, arg: &mut uapi::Add) -> Result;
    fn dump(&self, arg: &mut uapi::Dump) -> Result;
    fn stats(&self, arg: &mut uapi::Stats) -> Result;
}

/// Copies the argument of an ioctl in and out, even if the ioctl fails.
pub(crate) fn ioctl(file: &impl Ioctls, cmd: u32, arg: usize) -> Result<isize> {
    let user = UserSlice::new(UserPtr::from_addr(arg), _IOC_SIZE(cmd));

    match cmd {
        uapi::IOC_BIND => {
            let mut bind = uapi::Bind::default();

            user.reader().read_slice(bind.as_mut_bytes())?;
            file.bind(&mut bind).map(|()| 0)
        }
        uapi::IOC_MAP => with_arg(user.reader_writer(), |arg| file.map(arg)),
        uapi::IOC_READ => with_arg(user.reader_writer(), |arg| file.read(arg)),
        uapi::IOC_WRITE => with_arg(user.reader_writer(), |arg| file.write(arg)),
        uapi::IOC_ADD => with_arg(user.reader_writer(), |arg| file.add(arg)),
        uapi::IOC_DUMP => with_arg(user.reader_writer(), |arg| file.dump(arg)),
        uapi::IOC_STATS => {
            let mut stats = uapi::Stats::default();

            file.stats(&mut stats)?;
            user.writer().write_slice(stats.as_mut_bytes())?;
            Ok(0)
        }
        _ => Err(ENOTTY),
    }
}

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

/// A device that faults.
pub(crate) trait Device: MirrorOps {
    /// Handles a device page fault: enters the pages of a range into the device's page table.
    /// Returns their number.
    fn fault(
        faulter: &mut Faulter<'_, Self>,
        range: PageRange,
        buffer: &mut FaultBuffer,
        access: impl Access,
    ) -> Result<u64>;
}

/// Counts what a commit has entered, which is what it returns to `with_reserve()`.
pub(crate) fn committed(
    filled: Result<u64>,
    stats: &mut uapi::Stats,
) -> Result<Result<u64>, Short> {
    // The page table has lost tables since they were counted.
    if filled == Err(EAGAIN) {
        return Err(Short);
    }
    if let Ok(filled) = filled {
        stats.mapped += filled;
        stats.faults += 1;
    }
    Ok(filled)
}

/// Returns the bounds of a range if it is in the mirrored address space.
fn checked<D: Device>(mirror: &Mirror<D>, addr: u64, len: u64) -> Result<(VirtAddr, VirtAddr)> {
    let start = VirtAddr::new(addr.try_into()?);
    let end = start.checked_add(len.try_into()?).ok_or(EINVAL)?;

    if end > mirror.end_address() {
        return Err(EINVAL);
    }
    Ok((start, end))
}

pub(crate) fn map<D: Device>(mut faulter: Faulter<'_, D>, arg: &mut uapi::Map) -> Result {
    let (start, end) = checked(faulter.mirror(), arg.addr, arg.len)?;
    let range = PageRange::from_bounds(start, end)?;
    let mut buffer = FaultBuffer::new(FAULT_PAGES, GFP_KERNEL)?;

    if arg.reserved != 0 {
        return Err(EINVAL);
    }
    arg.pages = 0;
    for part in range.split_at_multiples(FAULT_PAGES) {
        arg.pages += match arg.flags {
            0 => D::fault(&mut faulter, part, &mut buffer, Read),
            uapi::MAP_WRITE => D::fault(&mut faulter, part, &mut buffer, Write),
            uapi::MAP_PRESENT => D::fault(&mut faulter, part, &mut buffer, Present),
            // The kernel crate has no way to wait for a work item.
            flags if flags & uapi::MAP_ASYNC != 0 => Err(EOPNOTSUPP),
            _ => Err(EINVAL),
        }?;
    }
    Ok(())
}

/// Splits an access at page boundaries, and faults as long as no entry of the device permits it.
///
/// `copy` gets an address and the bytes to copy there or from there, which are of one page, and
/// returns `false` if no entry permits that.
struct Accesses<'m, D: Device, A: Access> {
    faulter: Faulter<'m, D>,
    buffer: FaultBuffer,
    bytes: KVec<u8>,
    access: A,
}

impl<'m, D: Device, A: Access> Accesses<'m, D, A> {
    fn new(faulter: Faulter<'m, D>, access: A) -> Result<Self> {
        Ok(Self {
            faulter,
            buffer: FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?,
            bytes: KVec::from_elem(0u8, PAGE_SIZE, GFP_KERNEL)?,
            access,
        })
    }

    /// Calls `f` with each address, and the number of bytes that follow it in its page.
    fn for_each_page(
        &mut self,
        arg: &mut uapi::Rw,
        mut f: impl FnMut(&mut Self, VirtAddr, usize) -> Result,
    ) -> Result {
        let (start, _) = checked(self.faulter.mirror(), arg.addr, arg.len)?;

        arg.done = 0;
        while arg.done < arg.len {
            if current!().fatal_signal_pending() {
                return Err(EINTR);
            }
            let addr = start.checked_add(arg.done as usize).ok_or(EINVAL)?;
            let len = (PAGE_SIZE - addr.page_offset()).min((arg.len - arg.done) as usize);

            f(self, addr, len)?;
            arg.done += len as u64;
        }
        Ok(())
    }

    /// Makes one access of the device to one page.
    fn one(
        &mut self,
        addr: VirtAddr,
        len: usize,
        copy: &mut impl FnMut(&mut Faulter<'m, D>, VirtAddr, &mut [u8]) -> Result<bool>,
    ) -> Result {
        let page = PageRange::page_of(addr)?;

        for _ in 0..FAULT_TRIES {
            if copy(&mut self.faulter, addr, &mut self.bytes[..len])? {
                return Ok(());
            }
            D::fault(&mut self.faulter, page, &mut self.buffer, self.access)?;
        }
        Err(EBUSY)
    }
}

/// Reads by the device. `copy` is described in [`Accesses`].
pub(crate) fn read<'m, D: Device>(
    faulter: Faulter<'m, D>,
    arg: &mut uapi::Rw,
    mut copy: impl FnMut(&mut Faulter<'m, D>, VirtAddr, &mut [u8]) -> Result<bool>,
) -> Result {
    let mut out = UserSlice::new(UserPtr::from_addr(arg.buf as usize), arg.len as usize).writer();

    Accesses::new(faulter, Read)?.for_each_page(arg, |this, addr, len| {
        this.one(addr, len, &mut copy)?;
        out.write_slice(&this.bytes[..len])
    })
}

/// Writes by the device. `copy` is described in [`Accesses`].
pub(crate) fn write<'m, D: Device>(
    faulter: Faulter<'m, D>,
    arg: &mut uapi::Rw,
    mut copy: impl FnMut(&mut Faulter<'m, D>, VirtAddr, &mut [u8]) -> Result<bool>,
) -> Result {
    let mut from = UserSlice::new(UserPtr::from_addr(arg.buf as usize), arg.len as usize).reader();

    Accesses::new(faulter, Write)?.for_each_page(arg, |this, addr, len| {
        from.read_slice(&mut this.bytes[..len])?;
        this.one(addr, len, &mut copy)
    })
}

/// Copies entries of a page table out. `walk` gets the address to begin at, and calls what it is
/// given with each entry from there on, until that returns false.
pub(crate) fn dump(
    arg: &mut uapi::Dump,
    walk: impl FnOnce(VirtAddr, &mut dyn FnMut(uapi::Entry) -> bool),
) -> Result {
    if arg.start > arg.end || arg.capacity == 0 {
        return Err(EINVAL);
    }

    let capacity = (arg.capacity as usize).min(FAULT_PAGES.as_usize());
    let mut entries = KVec::<uapi::Entry>::with_capacity(capacity, GFP_KERNEL)?;
    let mut next = arg.end;
    walk(VirtAddr::new(arg.start as usize), &mut |entry| {
        let addr = entry.addr;

        // If it is full, go on with this one the next time.
        addr < arg.end
            && entries
                .push_within_capacity(entry)
                .inspect_err(|_| next = addr)
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
