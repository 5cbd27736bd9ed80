// SPDX-License-Identifier: GPL-2.0

//! KUnit tests, against real address spaces.
//!
//! A failed assertion ends the test's thread without running destructors. A [`Mirror`] in a box is
//! merely leaked by that, but a [`MirrorRange`] on the stack would stay in flight while the stack
//! goes. So whatever is in flight is ended first, and what was seen is asserted then.

use super::*;
use crate::{
    alloc::KVec,
    current,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::{
            mutex::MutexBackend,
            spinlock::SpinLockBackend, //
        },
        Arc, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

/// Gives the test's thread an address space of its own.
fn attach_mm() -> Result {
    // SAFETY: KUnit runs tests in threads of their own, which have none.
    to_result(unsafe { bindings::kunit_attach_mm() })
}

/// Maps anonymous memory that can be read, and written if `writable`.
fn mmap(pages: usize, writable: bool) -> Result<usize> {
    let prot = if writable {
        bindings::PROT_READ | bindings::PROT_WRITE
    } else {
        bindings::PROT_READ
    };

    // SAFETY: KUnit runs this, in a thread that has an address space.
    let addr = unsafe {
        bindings::kunit_vm_mmap(
            bindings::kunit_get_current_test(),
            core::ptr::null_mut(),
            0,
            pages * PAGE_SIZE,
            prot as usize,
            (bindings::MAP_ANONYMOUS | bindings::MAP_PRIVATE) as usize,
            0,
        )
    };
    if addr == 0 {
        Err(ENOMEM)
    } else {
        Ok(addr)
    }
}

fn munmap(range: Range<usize>) -> Result {
    // SAFETY: The thread has an address space, and nothing of the kernel's is in it.
    to_result(unsafe { bindings::vm_munmap(range.start, range.end - range.start) })
}

fn put_user(addr: usize, bytes: &[u8]) -> Result {
    UserSlice::new(UserPtr::from_addr(addr), bytes.len())
        .writer()
        .write_slice(bytes)
}

fn get_user(addr: usize, bytes: &mut [u8]) -> Result {
    UserSlice::new(UserPtr::from_addr(addr), bytes.len())
        .reader()
        .read_slice(bytes)
}

/// How often the callbacks of a device were called.
struct Calls {
    invalidate: Atomic<i32>,
    release: Atomic<i32>,
}

/// The page table of a device with few pages.
struct Table {
    frames: KVec<Frame>,
    calls: Arc<Calls>,
    last: Range<usize>,
    event: Option<Event>,
    blockable: bool,
}

impl Table {
    fn new() -> Result<Self> {
        Ok(Self {
            // Room for all that the tests map: nothing is allocated under the lock.
            frames: KVec::with_capacity(16, GFP_KERNEL)?,
            calls: Arc::new(
                Calls {
                    invalidate: Atomic::new(0),
                    release: Atomic::new(0),
                },
                GFP_KERNEL,
            )?,
            last: 0..0,
            event: None,
            blockable: false,
        })
    }

    fn fill<T: MirrorOps>(&mut self, pages: Pages<'_, T>) -> usize {
        let mut filled = 0;

        for page in pages {
            filled += usize::from(self.frames.push_within_capacity(page.frame()).is_ok());
        }
        filled
    }

    fn invalidate(&mut self, update: &Update<'_>) {
        self.calls.invalidate.fetch_add(1, Relaxed);
        self.last = update.range();
        self.event = Some(update.event());
        self.blockable = update.blockable();
    }
}

/// A device as it should be, that does not sleep.
struct Device;

#[vtable]
impl MirrorOps for Device {
    type PageTable = Table;
    type Lock = SpinLockBackend;
    const CPU_ACCESS: bool = true;

    fn invalidate(table: &mut Table, update: &Update<'_>) {
        table.invalidate(update);
        table
            .frames
            .retain(|frame| !update.range().contains(&frame.addr()));
    }

    fn release(table: &mut Table) {
        table.calls.release.fetch_add(1, Relaxed);
    }
}

/// A device that may sleep, and that forgets to take its entries out.
struct Forgetful;

#[vtable]
impl MirrorOps for Forgetful {
    type PageTable = Table;
    type Lock = MutexBackend;
    const CPU_ACCESS: bool = true;

    fn invalidate(table: &mut Table, update: &Update<'_>) {
        table.invalidate(update);
    }
}

fn mirror<T: MirrorOps<PageTable = Table>>() -> Result<Pin<KBox<Mirror<T>>>> {
    let table = Table::new()?;
    let task = current!();
    let mm = task.mm().ok_or(ESRCH)?;

    KBox::pin_init(new_mirror!(mm, table), GFP_KERNEL)
}

fn map<T: MirrorOps<PageTable = Table>>(
    mirror: &Mirror<T>,
    range: Range<usize>,
    access: Access,
) -> Result<usize> {
    let mut pfns = Pfns::new(16, GFP_KERNEL)?;

    mirror.map(range, &mut pfns, access, |table, pages| table.fill(pages))
}

/// Faults `range` in, calls `between`, and says whether it can be committed still.
fn commit_after(
    mirror: &Mirror<Device>,
    range: Range<usize>,
    between: impl FnOnce() -> Result,
) -> Result<bool> {
    let mut pfns = Pfns::new(16, GFP_KERNEL)?;

    pin_init::stack_try_pin_init!(
        let range: MirrorRange<'_, Device> =? mirror.range(range, &mut pfns)
    );
    let faulted = range.as_mut().fault(Access::Write)?;
    between()?;
    Ok(faulted.commit(|_, _| ()).is_ok())
}

#[kunit_tests(rust_kernel_hmm)]
mod suite {
    use super::*;

    #[test]
    fn device_reads_what_the_process_wrote() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        put_user(addr + 100, b"written by the process")?;

        let mirror = mirror::<Device>()?;
        let mut bytes = [0; 22];
        let filled = map(&mirror, addr..addr + PAGE_SIZE, Access::Read)?;
        let read = {
            let table = mirror.lock();
            table.read(&table.frames[0], 100, &mut bytes)
        };

        assert_eq!(filled, 1);
        assert_eq!(read, Ok(22));
        assert_eq!(&bytes, b"written by the process");
        Ok(())
    }

    #[test]
    fn process_reads_what_the_device_wrote() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let mirror = mirror::<Device>()?;

        map(&mirror, addr..addr + PAGE_SIZE, Access::Write)?;
        let written = {
            let table = mirror.lock();
            table.write(&table.frames[0], 7, b"by the device")
        };
        let mut bytes = [0; 13];
        get_user(addr + 7, &mut bytes)?;

        assert_eq!(written, Ok(13));
        assert_eq!(&bytes, b"by the device");
        Ok(())
    }

    #[test]
    fn accesses_stop_at_the_end_of_the_page() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let mirror = mirror::<Device>()?;

        map(&mirror, addr..addr + PAGE_SIZE, Access::Write)?;
        let table = mirror.lock();
        let done = (
            table.read(&table.frames[0], PAGE_SIZE - 2, &mut [0; 4]),
            table.write(&table.frames[0], PAGE_SIZE - 2, &[0; 4]),
            table.write(&table.frames[0], PAGE_SIZE, &[0; 4]),
            table.write(&table.frames[0], usize::MAX, &[0; 4]),
            table.read(&table.frames[0], usize::MAX, &mut [0; 4]),
        );
        drop(table);

        assert_eq!(done, (Ok(2), Ok(2), Ok(0), Ok(0), Ok(0)));
        Ok(())
    }

    #[test]
    fn munmap_is_reported_and_takes_entries_out() -> Result {
        attach_mm()?;
        let addr = mmap(4, true)?;
        let mirror = mirror::<Device>()?;

        map(&mirror, addr..addr + 4 * PAGE_SIZE, Access::Write)?;
        munmap(addr + PAGE_SIZE..addr + 2 * PAGE_SIZE)?;
        let table = mirror.lock();
        let (left, last, event, blockable) = (
            table.frames.len(),
            table.last.clone(),
            table.event,
            table.blockable,
        );
        drop(table);

        assert_eq!(left, 3);
        assert!(last.start <= addr + PAGE_SIZE && last.end >= addr + 2 * PAGE_SIZE);
        assert_eq!(event, Some(Event::Unmap));
        assert!(blockable);
        Ok(())
    }

    #[test]
    fn nothing_comes_after_drop() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let mirror = mirror::<Device>()?;
        let calls = mirror.lock().calls.clone();

        put_user(addr, &[1])?;
        put_user(addr + PAGE_SIZE, &[1])?;
        munmap(addr..addr + PAGE_SIZE)?;
        let before = calls.invalidate.load(Relaxed);
        drop(mirror);
        munmap(addr + PAGE_SIZE..addr + 2 * PAGE_SIZE)?;

        assert!(before > 0);
        assert_eq!(calls.invalidate.load(Relaxed), before);
        assert_eq!(calls.release.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn two_mirrors_of_one_process() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let (spin, mutex) = (mirror::<Device>()?, mirror::<Forgetful>()?);

        map(&spin, addr..addr + PAGE_SIZE, Access::Write)?;
        map(&mutex, addr..addr + PAGE_SIZE, Access::Write)?;
        munmap(addr..addr + PAGE_SIZE)?;
        let seen = (
            spin.lock().calls.invalidate.load(Relaxed),
            mutex.lock().calls.invalidate.load(Relaxed),
        );

        assert!(seen.0 > 0 && seen.1 > 0);
        Ok(())
    }

    #[test]
    fn update_in_between_makes_stale() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let mirror = mirror::<Device>()?;

        let fresh = commit_after(&mirror, addr..addr + PAGE_SIZE, || Ok(()));
        let stale = commit_after(&mirror, addr..addr + PAGE_SIZE, || {
            munmap(addr..addr + PAGE_SIZE)
        });

        assert_eq!(fresh, Ok(true));
        assert_eq!(stale, Ok(false));
        Ok(())
    }

    #[test]
    fn unrelated_update_in_between_does_not() -> Result {
        attach_mm()?;
        let addr = mmap(3, true)?;
        let mirror = mirror::<Device>()?;

        put_user(addr, &[1])?;
        put_user(addr + 2 * PAGE_SIZE, &[1])?;
        let fresh = commit_after(&mirror, addr + PAGE_SIZE..addr + 2 * PAGE_SIZE, || {
            munmap(addr..addr + PAGE_SIZE)?;
            munmap(addr + 2 * PAGE_SIZE..addr + 3 * PAGE_SIZE)
        });

        assert_eq!(fresh, Ok(true));
        Ok(())
    }

    #[test]
    fn range_can_be_faulted_again() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let mirror = mirror::<Device>()?;
        let mut pfns = Pfns::new(1, GFP_KERNEL)?;
        let commits = {
            pin_init::stack_try_pin_init!(
                let range: MirrorRange<'_, Device> =?
                    mirror.range(addr..addr + PAGE_SIZE, &mut pfns)
            );
            let first = range.as_mut().fault(Access::Read)?.commit(|_, _| ());
            // The process writes, which replaces the zero page.
            put_user(addr, &[1])?;
            let second = range
                .as_mut()
                .fault(Access::Write)?
                .commit(|_, mut pages| pages.next().map(|page| page.writable()));
            (first, second)
        };

        assert_eq!(commits, (Ok(()), Ok(Some(true))));
        Ok(())
    }

    #[test]
    fn permissions_are_those_of_the_process() -> Result {
        attach_mm()?;
        let addr = mmap(2, false)?;
        let mirror = mirror::<Device>()?;

        let write = map(&mirror, addr..addr + PAGE_SIZE, Access::Write);
        let read = map(&mirror, addr..addr + PAGE_SIZE, Access::Read);
        let wrote = {
            let table = mirror.lock();
            table.write(&table.frames[0], 0, &[1])
        };
        munmap(addr..addr + PAGE_SIZE)?;
        let hole = map(&mirror, addr..addr + PAGE_SIZE, Access::Read);

        assert_eq!(write, Err(EPERM));
        assert_eq!(read, Ok(1));
        assert_eq!(wrote, Err(StaleFrame));
        assert_eq!(hole, Err(EFAULT));
        Ok(())
    }

    #[test]
    fn snapshot_faults_nothing_in() -> Result {
        attach_mm()?;
        let addr = mmap(4, true)?;
        let mirror = mirror::<Device>()?;

        put_user(addr + 2 * PAGE_SIZE, &[1])?;
        let filled = map(&mirror, addr..addr + 4 * PAGE_SIZE, Access::Present);
        let again = map(&mirror, addr..addr + 4 * PAGE_SIZE, Access::Present);

        assert_eq!(filled, Ok(1));
        assert_eq!(again, Ok(1));
        Ok(())
    }

    #[test]
    fn bad_ranges_are_refused() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let mirror = mirror::<Device>()?;

        for range in [
            addr..addr,
            addr + PAGE_SIZE..addr,
            addr + 1..addr + PAGE_SIZE,
            addr..addr + PAGE_SIZE + 1,
            addr..addr + 17 * PAGE_SIZE,
            usize::MAX - 2 * PAGE_SIZE + 1..usize::MAX - PAGE_SIZE + 1,
        ] {
            assert_eq!(map(&mirror, range, Access::Read), Err(EINVAL));
        }
        Ok(())
    }

    #[test]
    fn forgotten_entries_are_refused() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let mirror = mirror::<Forgetful>()?;

        map(&mirror, addr..addr + 2 * PAGE_SIZE, Access::Write)?;
        munmap(addr..addr + PAGE_SIZE)?;
        let table = mirror.lock();
        let done = (
            table.read(&table.frames[0], 0, &mut [0]),
            table.write(&table.frames[0], 0, &[0]),
            table.read(&table.frames[1], 0, &mut [0]),
        );
        drop(table);

        assert_eq!(done, (Err(StaleFrame), Err(StaleFrame), Ok(1)));
        Ok(())
    }

    #[test]
    fn forgotten_entries_are_refused_after_large_updates() -> Result {
        attach_mm()?;
        let addr = mmap(1024, true)?;
        let mirror = mirror::<Forgetful>()?;

        map(&mirror, addr..addr + PAGE_SIZE, Access::Write)?;
        // Large enough to count for all addresses.
        munmap(addr..addr + 1024 * PAGE_SIZE)?;
        let done = {
            let table = mirror.lock();
            table.read(&table.frames[0], 0, &mut [0])
        };

        assert_eq!(done, Err(StaleFrame));
        Ok(())
    }

    #[test]
    fn entries_of_another_mirror_are_refused() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let (one, other) = (mirror::<Device>()?, mirror::<Device>()?);

        map(&one, addr..addr + PAGE_SIZE, Access::Write)?;
        map(&other, addr..addr + PAGE_SIZE, Access::Write)?;
        let (one_frame, other_frame) = (one.lock().frames.pop(), other.lock().frames.pop());
        let (one_frame, other_frame) = (one_frame.ok_or(EIO)?, other_frame.ok_or(EIO)?);
        let done = (
            one.lock().read(&one_frame, 0, &mut [0]),
            one.lock().read(&other_frame, 0, &mut [0]),
            other.lock().read(&one_frame, 0, &mut [0]),
        );

        assert_eq!(done, (Ok(1), Err(StaleFrame), Err(StaleFrame)));
        Ok(())
    }

    #[test]
    fn bad_pidfds_are_refused() -> Result {
        assert_eq!(mm_from_pidfd(-1).map(|_| ()), Err(EBADF));
        Ok(())
    }
}
