// SPDX-License-Identifier: GPL-2.0

//! KUnit tests, against real address spaces.
//!
//! A failed assertion ends the test's thread without running destructors. A [`Mirror`] in a box is
//! merely leaked by that, but a [`FaultRange`] on the stack would stay in flight while the stack
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

/// `n` pages from page `first` of the mapping at `addr` on.
fn pages(addr: usize, first: usize, n: usize) -> Result<PageRange> {
    PageRange::new(VirtAddr::new(addr + first * PAGE_SIZE), PageCount::new(n))
}

fn munmap(range: PageRange) -> Result {
    let len = range.pages().bytes().ok_or(EINVAL)?;

    // SAFETY: The thread has an address space, and nothing of the kernel's is in it.
    to_result(unsafe { bindings::vm_munmap(range.start().as_usize(), len) })
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

/// An invalidation of the current process's page table that goes on until this is dropped.
struct InvalidationInProgress(bindings::mmu_notifier_range);

impl InvalidationInProgress {
    fn new(range: PageRange, event: bindings::mmu_notifier_event, owner: *mut c_void) -> Self {
        let task = current!();
        let mut invalidation = Self(bindings::mmu_notifier_range {
            mm: task.mm().map_or(ptr::null_mut(), |mm| mm.as_raw()),
            start: range.start().as_usize(),
            end: range.end().as_usize(),
            flags: bindings::MMU_NOTIFIER_RANGE_BLOCKABLE,
            event,
            owner,
        });

        // SAFETY: The mm is that of this thread and so has users, and it has a mirror.
        unsafe { bindings::__mmu_notifier_invalidate_range_start(&mut invalidation.0) };
        invalidation
    }
}

impl Drop for InvalidationInProgress {
    fn drop(&mut self) {
        // SAFETY: Was started by `new`.
        unsafe { bindings::__mmu_notifier_invalidate_range_end(&mut self.0) };
    }
}

/// What happened to a device, also after it is gone.
struct Calls {
    invalidate: Atomic<i32>,
    start: Atomic<i32>,
    release: Atomic<i32>,
    /// Entries that were there when the page table was dropped.
    left: Atomic<i32>,
}

/// An entry as a driver would have one.
enum Entry {
    ReadOnly(Frame),
    Writable(FrameMut),
}

impl Entry {
    fn frame(&self) -> &Frame {
        match self {
            Entry::ReadOnly(frame) => frame,
            Entry::Writable(frame) => frame,
        }
    }
}

/// The page table of a device with few pages.
struct Table {
    entries: KVec<Entry>,
    calls: Arc<Calls>,
    last: Option<PageRange>,
    event: Option<Event>,
    blockable: bool,
    own: bool,
}

impl Table {
    fn new() -> Result<Self> {
        Ok(Self {
            // Room for all that the tests map: nothing is allocated under the lock.
            entries: KVec::with_capacity(16, GFP_KERNEL)?,
            calls: Arc::new(
                Calls {
                    invalidate: Atomic::new(0),
                    start: Atomic::new(0),
                    release: Atomic::new(0),
                    left: Atomic::new(0),
                },
                GFP_KERNEL,
            )?,
            last: None,
            event: None,
            blockable: false,
            own: false,
        })
    }

    fn fill<T: MirrorOps, P: Access>(&mut self, pages: Pages<'_, T, P>) -> usize {
        let mut filled = 0;

        for page in pages {
            let entry = match page.writable() {
                Some(page) => Entry::Writable(page.frame_mut()),
                None => Entry::ReadOnly(page.frame()),
            };
            filled += usize::from(self.entries.push_within_capacity(entry).is_ok());
        }
        filled
    }

    fn note(&mut self, invalidation: &Invalidation<'_>) {
        self.last = Some(invalidation.range());
        self.event = Some(invalidation.event());
        self.blockable = invalidation.blockable();
    }

    fn invalidate(&mut self, invalidation: &Invalidation<'_>) {
        self.calls.invalidate.fetch_add(1, Relaxed);
        self.note(invalidation);
    }

    fn remove(&mut self, range: PageRange) {
        self.entries
            .retain(|entry| !range.contains(entry.frame().addr()));
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.calls
            .left
            .store(self.entries.len().try_into().unwrap_or(i32::MAX), Relaxed);
    }
}

/// Reads from the first entry.
fn read_first<T: MirrorOps<PageTable = Table>>(
    table: &TableGuard<'_, T>,
    offset: usize,
    to: &mut [u8],
) -> core::result::Result<usize, StaleFrame> {
    table.read(table.entries[0].frame(), offset, to)
}

/// Writes to the first entry, if it permits that.
fn write_first<T: MirrorOps<PageTable = Table>>(
    table: &TableGuard<'_, T>,
    offset: usize,
    from: &[u8],
) -> Option<core::result::Result<usize, StaleFrame>> {
    match &table.entries[0] {
        Entry::ReadOnly(_) => None,
        Entry::Writable(frame) => Some(table.write(frame, offset, from)),
    }
}

/// A device as it should be, that does not sleep.
#[derive(Default)]
struct Device;

#[vtable]
impl MirrorOps for Device {
    type PageTable = Table;
    type Lock = SpinLockBackend;
    const CPU_ACCESS: bool = true;

    fn invalidate(&self, table: &mut Table, invalidation: &Invalidation<'_>) {
        table.invalidate(invalidation);
        table.remove(invalidation.range());
    }

    fn release(&self, table: &mut Table) {
        table.calls.release.fetch_add(1, Relaxed);
    }
}

/// A device that may sleep, and that forgets to take its entries out.
#[derive(Default)]
struct Forgetful;

#[vtable]
impl MirrorOps for Forgetful {
    type PageTable = Table;
    type Lock = MutexBackend;
    const CPU_ACCESS: bool = true;

    fn invalidate(&self, table: &mut Table, invalidation: &Invalidation<'_>) {
        table.invalidate(invalidation);
    }
}

/// A device that flushes in two passes, and has memory of its own.
struct TwoPasses {
    // The owner is an address, so there must be something at it.
    flushes: Atomic<i32>,
}

impl Default for TwoPasses {
    fn default() -> Self {
        Self {
            flushes: Atomic::new(0),
        }
    }
}

#[vtable]
impl MirrorOps for TwoPasses {
    type PageTable = Table;
    type Lock = MutexBackend;

    fn invalidate_start(
        &self,
        table: &mut Table,
        invalidation: &Invalidation<'_>,
    ) -> Option<NonZeroU64> {
        let flush = table.calls.start.fetch_add(1, Relaxed) + 1;

        table.note(invalidation);
        table.own = invalidation.is_from(self.owner());
        // Of those of a single page, there is none to wait for.
        if invalidation.range().pages() == PageCount::ONE {
            return None;
        }
        NonZeroU64::new(flush as u64)
    }

    fn invalidate_finish(&self, _invalidation: &Invalidation<'_>, flush: NonZeroU64) {
        self.flushes.store(flush.get() as i32, Relaxed);
    }

    fn owner(&self) -> Owner<'_> {
        Owner::of(self)
    }
}

/// A mirror of the thread's address space by a device of that type.
///
/// No generic function: all types would have one lock class, whatever lock they have.
macro_rules! mirror {
    ($device:ty) => {{
        let table = Table::new()?;
        let task = current!();
        let mm = task.mm().ok_or(ESRCH)?;

        KBox::pin_init(new_mirror!(mm, <$device>::default(), table), GFP_KERNEL)
    }};
}

fn map<T: MirrorOps<PageTable = Table>>(
    mirror: &Mirror<T>,
    range: PageRange,
    access: impl Access,
) -> Result<usize> {
    let mut buffer = FaultBuffer::new(PageCount::new(16), GFP_KERNEL)?;

    mirror
        .faulter()
        .map(range, &mut buffer, access, |table, pages| table.fill(pages))
}

/// Faults `range` in, calls `between`, and says whether it can be committed still.
fn commit_after(
    mirror: &Mirror<Device>,
    range: PageRange,
    between: impl FnOnce() -> Result,
) -> Result<bool> {
    let mut buffer = FaultBuffer::new(PageCount::new(16), GFP_KERNEL)?;
    let mut faulter = mirror.faulter();

    pin_init::stack_try_pin_init!(
        let range: FaultRange<'_, Device> =? faulter.range(range, &mut buffer)
    );
    let faulted = range.as_mut().fault(Write)?;
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

        let mirror = mirror!(Device)?;
        let mut bytes = [0; 22];
        let filled = map(&mirror, pages(addr, 0, 1)?, Read)?;
        let read = {
            let mut faulter = mirror.faulter();
            let table = faulter.lock();
            read_first(&table, 100, &mut bytes)
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
        let mirror = mirror!(Device)?;

        map(&mirror, pages(addr, 0, 1)?, Write)?;
        let written = {
            let mut faulter = mirror.faulter();
            let table = faulter.lock();
            write_first(&table, 7, b"by the device")
        };
        let mut bytes = [0; 13];
        get_user(addr + 7, &mut bytes)?;

        assert_eq!(written, Some(Ok(13)));
        assert_eq!(&bytes, b"by the device");
        Ok(())
    }

    #[test]
    fn accesses_stop_at_the_end_of_the_page() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let mirror = mirror!(Device)?;

        map(&mirror, pages(addr, 0, 1)?, Write)?;
        let mut faulter = mirror.faulter();
        let table = faulter.lock();
        let done = (
            read_first(&table, PAGE_SIZE - 2, &mut [0; 4]),
            write_first(&table, PAGE_SIZE - 2, &[0; 4]),
            write_first(&table, PAGE_SIZE, &[0; 4]),
            write_first(&table, usize::MAX, &[0; 4]),
            read_first(&table, usize::MAX, &mut [0; 4]),
        );
        drop(table);

        assert_eq!(done, (Ok(2), Some(Ok(2)), Some(Ok(0)), Some(Ok(0)), Ok(0)));
        Ok(())
    }

    #[test]
    fn munmap_is_reported_and_takes_entries_out() -> Result {
        attach_mm()?;
        let addr = mmap(4, true)?;
        let mirror = mirror!(Device)?;

        map(&mirror, pages(addr, 0, 4)?, Write)?;
        let second = pages(addr, 1, 1)?;
        munmap(second)?;
        let mut faulter = mirror.faulter();
        let table = faulter.lock();
        let (left, last, event, blockable) = (
            table.entries.len(),
            table.last,
            table.event,
            table.blockable,
        );
        drop(table);

        assert_eq!(left, 3);
        assert!(last.is_some_and(|last| last.overlaps(&second)));
        assert_eq!(event, Some(Event::Unmap));
        assert!(blockable);
        Ok(())
    }

    #[test]
    fn nothing_comes_after_drop() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let mirror = mirror!(Device)?;
        let calls = mirror.faulter().lock().calls.clone();

        put_user(addr, &[1])?;
        put_user(addr + PAGE_SIZE, &[1])?;
        munmap(pages(addr, 0, 1)?)?;
        let before = calls.invalidate.load(Relaxed);
        drop(mirror);
        let dropped = calls.invalidate.load(Relaxed);
        munmap(pages(addr, 1, 1)?)?;

        assert!(before > 0);
        // Dropping takes out all that there is.
        assert_eq!(dropped, before + 1);
        assert_eq!(calls.invalidate.load(Relaxed), dropped);
        assert_eq!(calls.release.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn two_mirrors_of_one_process() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let (spin, mutex) = (mirror!(Device)?, mirror!(Forgetful)?);

        map(&spin, pages(addr, 0, 1)?, Write)?;
        map(&mutex, pages(addr, 0, 1)?, Write)?;
        munmap(pages(addr, 0, 1)?)?;
        let told = |table: &Table| table.calls.invalidate.load(Relaxed) > 0;
        let spin_told = told(&spin.faulter().lock());
        let mutex_told = told(&mutex.faulter().lock());

        assert!(spin_told && mutex_told);
        Ok(())
    }

    #[test]
    fn update_in_between_makes_stale() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let mirror = mirror!(Device)?;

        let fresh = commit_after(&mirror, pages(addr, 0, 1)?, || Ok(()));
        let stale = commit_after(&mirror, pages(addr, 0, 1)?, || munmap(pages(addr, 0, 1)?));

        assert_eq!(fresh, Ok(true));
        assert_eq!(stale, Ok(false));
        Ok(())
    }

    #[test]
    fn unrelated_update_in_between_does_not() -> Result {
        attach_mm()?;
        let addr = mmap(3, true)?;
        let mirror = mirror!(Device)?;

        put_user(addr, &[1])?;
        put_user(addr + 2 * PAGE_SIZE, &[1])?;
        let fresh = commit_after(&mirror, pages(addr, 1, 1)?, || {
            munmap(pages(addr, 0, 1)?)?;
            munmap(pages(addr, 2, 1)?)
        });

        assert_eq!(fresh, Ok(true));
        Ok(())
    }

    #[test]
    fn range_can_be_faulted_again() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let mirror = mirror!(Device)?;
        let mut buffer = FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?;
        let mut faulter = mirror.faulter();
        let commits = {
            pin_init::stack_try_pin_init!(
                let range: FaultRange<'_, Device> =?
                    faulter.range(pages(addr, 0, 1)?, &mut buffer)
            );
            let first = range.as_mut().fault(Read)?.commit(|_, _| ());
            // The process writes, which replaces the zero page.
            put_user(addr, &[1])?;
            let second = range
                .as_mut()
                .fault(Write)?
                .commit(|_, mut pages| pages.next().is_some());
            (first, second)
        };

        assert_eq!(commits, (Ok(()), Ok(true)));
        Ok(())
    }

    #[test]
    fn permissions_are_those_of_the_process() -> Result {
        attach_mm()?;
        let addr = mmap(2, false)?;
        let mirror = mirror!(Device)?;

        let write = map(&mirror, pages(addr, 0, 1)?, Write);
        let read = map(&mirror, pages(addr, 0, 1)?, Read);
        let wrote = {
            let mut faulter = mirror.faulter();
            let table = faulter.lock();
            write_first(&table, 0, &[1])
        };
        munmap(pages(addr, 0, 1)?)?;
        let hole = map(&mirror, pages(addr, 0, 1)?, Read);

        assert_eq!(write, Err(EPERM));
        assert_eq!(read, Ok(1));
        assert!(wrote.is_none());
        assert_eq!(hole, Err(EFAULT));
        Ok(())
    }

    #[test]
    fn snapshot_faults_nothing_in() -> Result {
        attach_mm()?;
        let addr = mmap(4, true)?;
        let mirror = mirror!(Device)?;

        put_user(addr + 2 * PAGE_SIZE, &[1])?;
        let filled = map(&mirror, pages(addr, 0, 4)?, Present);
        let again = map(&mirror, pages(addr, 0, 4)?, Present);

        assert_eq!(filled, Ok(1));
        assert_eq!(again, Ok(1));
        Ok(())
    }

    #[test]
    fn bad_ranges_are_refused() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let mirror = mirror!(Device)?;

        let top =
            PageRange::from_bounds(mirror.end_address(), VirtAddr::new(usize::MAX).page_start());
        for range in [pages(addr, 0, 17)?, top?] {
            assert_eq!(map(&mirror, range, Read), Err(EINVAL));
        }
        Ok(())
    }

    #[test]
    fn ranges_are_of_whole_pages() -> Result {
        let (at, last) = (VirtAddr::new, usize::MAX & PAGE_MASK);

        for range in [
            PageRange::new(at(PAGE_SIZE), PageCount::new(0)),
            PageRange::new(at(PAGE_SIZE + 1), PageCount::ONE),
            PageRange::new(at(0), PageCount::new(usize::MAX)),
            PageRange::new(at(last), PageCount::ONE),
            PageRange::page_of(at(usize::MAX)),
            PageRange::from_bounds(at(0), at(PAGE_SIZE + 1)),
            PageRange::from_bounds(at(PAGE_SIZE), at(0)),
        ] {
            assert_eq!(range, Err(EINVAL));
        }
        assert_eq!(
            PageRange::touched(0, usize::MAX),
            PageRange::from_bounds(at(0), at(last))?
        );
        assert_eq!(
            PageRange::touched(PAGE_SIZE + 1, 2 * PAGE_SIZE + 1),
            PageRange::new(at(PAGE_SIZE), PageCount::new(2))?
        );
        Ok(())
    }

    #[test]
    fn ranges_have_pages_in_common() -> Result {
        let at = PAGE_SIZE;
        let range = pages(at, 2, 3)?;
        let common = |first, n| -> Result<_> { Ok(range.intersect(&pages(at, first, n)?)) };

        assert_eq!(common(0, 2)?, None);
        assert_eq!(common(0, 3)?, Some(pages(at, 2, 1)?));
        assert_eq!(common(3, 1)?, Some(pages(at, 3, 1)?));
        assert_eq!(common(0, 9)?, Some(range));
        assert_eq!(common(4, 9)?, Some(pages(at, 4, 1)?));
        assert_eq!(common(5, 9)?, None);
        assert!(range
            .addrs()
            .eq((3..6).map(|i| VirtAddr::new(i * PAGE_SIZE))));
        Ok(())
    }

    #[test]
    fn forgotten_entries_are_refused() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let mirror = mirror!(Forgetful)?;

        map(&mirror, pages(addr, 0, 2)?, Write)?;
        munmap(pages(addr, 0, 1)?)?;
        let mut faulter = mirror.faulter();
        let table = faulter.lock();
        let done = (
            read_first(&table, 0, &mut [0]),
            write_first(&table, 0, &[0]),
            table.read(table.entries[1].frame(), 0, &mut [0]),
        );
        drop(table);

        assert_eq!(done, (Err(StaleFrame), Some(Err(StaleFrame)), Ok(1)));
        Ok(())
    }

    #[test]
    fn forgotten_entries_are_refused_after_large_updates() -> Result {
        attach_mm()?;
        let addr = mmap(1024, true)?;
        let mirror = mirror!(Forgetful)?;

        map(&mirror, pages(addr, 0, 1)?, Write)?;
        // Large enough to count for all addresses.
        munmap(pages(addr, 0, 1024)?)?;
        let done = {
            let mut faulter = mirror.faulter();
            let table = faulter.lock();
            read_first(&table, 0, &mut [0])
        };

        assert_eq!(done, Err(StaleFrame));
        Ok(())
    }

    #[test]
    fn entries_of_another_mirror_are_refused() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let (one, other) = (mirror!(Device)?, mirror!(Device)?);

        map(&one, pages(addr, 0, 1)?, Write)?;
        map(&other, pages(addr, 0, 1)?, Write)?;
        let (mut one, mut other) = (one.faulter(), other.faulter());
        let (one, other) = (one.lock(), other.lock());
        let (one_frame, other_frame) = (one.entries[0].frame(), other.entries[0].frame());
        let done = (
            one.read(one_frame, 0, &mut [0]),
            one.read(other_frame, 0, &mut [0]),
            other.read(one_frame, 0, &mut [0]),
        );
        drop((one, other));

        assert_eq!(done, (Ok(1), Err(StaleFrame), Err(StaleFrame)));
        Ok(())
    }

    #[test]
    fn drop_leaves_nothing_to_the_device() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let (mirror, forgetful) = (mirror!(Device)?, mirror!(Forgetful)?);
        let calls = mirror.faulter().lock().calls.clone();
        let forgotten = forgetful.faulter().lock().calls.clone();

        map(&mirror, pages(addr, 0, 1)?, Write)?;
        map(&forgetful, pages(addr, 0, 1)?, Write)?;
        drop((mirror, forgetful));

        assert_eq!(calls.left.load(Relaxed), 0);
        assert_eq!(forgotten.left.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn two_passes() -> Result {
        attach_mm()?;
        let addr = mmap(3, true)?;
        let mirror = mirror!(TwoPasses)?;
        let calls = mirror.faulter().lock().calls.clone();

        for page in 0..3 {
            put_user(addr + page * PAGE_SIZE, &[1])?;
        }
        let before = calls.start.load(Relaxed);
        munmap(pages(addr, 0, 2)?)?;
        let (two, waited) = (
            calls.start.load(Relaxed),
            mirror.ops().flushes.load(Relaxed),
        );
        munmap(pages(addr, 2, 1)?)?;
        let (one, not) = (
            calls.start.load(Relaxed),
            mirror.ops().flushes.load(Relaxed),
        );
        drop(mirror);

        assert!(two > before);
        assert_eq!(waited, two);
        assert!(one > two);
        assert_eq!(not, two);
        assert_eq!(calls.start.load(Relaxed), one + 1);
        Ok(())
    }

    #[test]
    fn owner_knows_its_own_updates() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let mirror = mirror!(TwoPasses)?;
        let (owner, other) = (mirror.owner(), Owner::of(&addr).as_ptr());
        let invalidation = |owner| -> Result<(bool, Option<Event>)> {
            let event = bindings::mmu_notifier_event_MMU_NOTIFY_MIGRATE;
            drop(InvalidationInProgress::new(
                pages(addr, 0, 1)?,
                event,
                owner,
            ));
            let mut faulter = mirror.faulter();
            let table = faulter.lock();
            Ok((table.own, table.event))
        };
        let (by_owner, by_other, by_nobody) = (
            invalidation(owner),
            invalidation(other),
            invalidation(ptr::null_mut()),
        );

        assert!(!owner.is_null());
        assert_eq!(by_owner, Ok((true, Some(Event::Migrate))));
        assert_eq!(by_other, Ok((false, Some(Event::Migrate))));
        assert_eq!(by_nobody, Ok((false, Some(Event::Migrate))));
        Ok(())
    }

    #[test]
    fn owner_is_told_to_the_reader() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let (owned, plain) = (mirror!(TwoPasses)?, mirror!(Device)?);
        let (mut one, mut other) = (
            FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?,
            FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?,
        );
        let (mut owned_session, mut plain_session) = (owned.faulter(), plain.faulter());
        let owners = {
            pin_init::stack_try_pin_init!(
                let owned: FaultRange<'_, TwoPasses> =?
                    owned_session.range(pages(addr, 0, 1)?, &mut one)
            );
            pin_init::stack_try_pin_init!(
                let plain: FaultRange<'_, Device> =?
                    plain_session.range(pages(addr, 0, 1)?, &mut other)
            );
            let (owned, plain) = (owned.raw.get(), plain.raw.get());
            // SAFETY: Both are in flight.
            unsafe {
                (
                    (*owned).range.dev_private_owner,
                    (*plain).range.dev_private_owner,
                )
            }
        };

        assert_eq!(owners, (owned.owner(), ptr::null_mut()));
        Ok(())
    }

    #[test]
    fn each_page_as_it_is_wanted() -> Result {
        attach_mm()?;
        let addr = mmap(3, true)?;
        let mirror = mirror!(Device)?;
        let mut buffer = FaultBuffer::new(PageCount::new(3), GFP_KERNEL)?;
        let mut faulter = mirror.faulter();
        let wants = [PageRequest::Write, PageRequest::Present, PageRequest::Read];

        munmap(pages(addr, 1, 1)?)?;
        let seen = {
            pin_init::stack_try_pin_init!(
                let range: FaultRange<'_, Device> =? faulter.range(pages(addr, 0, 3)?, &mut buffer)
            );
            let index = |at: VirtAddr| (at.as_usize() - addr) >> PAGE_SHIFT;
            let commit = |faulted: Faulted<'_, '_, Device, Read>| {
                faulted.commit(|_, pages| {
                    let mut seen = [None; 3];

                    for page in pages {
                        seen[index(page.addr())] = Some(page.writable().is_some());
                    }
                    seen
                })
            };
            let nothing = commit(range.as_mut().fault_each(|_| PageRequest::Present)?);
            let some = commit(range.as_mut().fault_each(|at| wants[index(at)])?);

            (nothing, some, range.as_mut().fault(Read).map(|_| ()))
        };

        assert_eq!(seen.0, Ok([None; 3]));
        assert!(matches!(seen.1, Ok([Some(true), None, Some(_)])));
        assert_eq!(seen.2, Err(EFAULT));
        Ok(())
    }

    #[test]
    fn what_cannot_be_had_fails_each() -> Result {
        attach_mm()?;
        let addr = mmap(1, false)?;
        let mirror = mirror!(Device)?;
        let mut buffer = FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?;
        let mut faulter = mirror.faulter();
        let done = {
            pin_init::stack_try_pin_init!(
                let range: FaultRange<'_, Device> =? faulter.range(pages(addr, 0, 1)?, &mut buffer)
            );
            let write = range
                .as_mut()
                .fault_each(|_| PageRequest::Write)
                .map(|_| ());
            // What one fault asked for does not stay for the next.
            (write, range.as_mut().fault(Read).map(|_| ()))
        };

        assert_eq!(done, (Err(EPERM), Ok(())));
        Ok(())
    }

    #[test]
    fn kept_range_knows_when_it_is_stale() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let mirror = mirror!(Device)?;
        let mut buffer = FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?;
        let mut faulter = mirror.faulter();
        let seen = {
            pin_init::stack_try_pin_init!(
                let range: FaultRange<'_, Device> =? faulter.range(pages(addr, 0, 1)?, &mut buffer)
            );
            let never = range.as_mut().lock_committed().is_ok()
                || range.as_mut().recommit(|_, _| ()).is_ok();
            let faulted = range.as_mut().fault(Write)?;
            let committed = faulted.commit(|_, _| ()).is_ok();
            munmap(pages(addr, 1, 1)?)?;
            let kept = range.as_mut().lock_committed().is_ok()
                && range.as_mut().recommit(|_, pages| pages.count()) == Ok(1);
            munmap(pages(addr, 0, 1)?)?;
            let stale = range.as_mut().lock_committed().is_ok()
                || range.as_mut().recommit(|_, _| ()).is_ok();
            let gone = range.as_mut().fault(Read).map(|_| ());
            let failed = range.as_mut().lock_committed().is_ok();

            (never, committed, kept, stale, gone, failed)
        };

        assert_eq!(seen, (false, true, true, false, Err(EFAULT), false));
        Ok(())
    }

    #[test]
    fn kept_range_belongs_to_an_object() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let table = Table::new()?;
        let calls = table.calls.clone();
        let task = current!();
        let mm = task.mm().ok_or(ESRCH)?;
        let mirror = Arc::pin_init(new_mirror!(mm, Device, table), GFP_KERNEL)?;
        let keep = |range, room| {
            let buffer = FaultBuffer::new(PageCount::new(room), GFP_KERNEL)?;
            KBox::pin_init(
                OwnedFaultRange::new(mirror.clone(), range, buffer),
                GFP_KERNEL,
            )
        };

        let no_room = keep(pages(addr, 0, 2)?, 1).map(|_| ());
        let mut first = keep(pages(addr, 0, 1)?, 1)?;
        let mut second = keep(pages(addr, 1, 1)?, 1)?;
        let mut seen = KVec::with_capacity(4, GFP_KERNEL)?;

        drop(mirror);
        for kept in [&mut first, &mut second] {
            let faulted = kept.as_mut().range().fault(Write)?;
            let filled = faulted.commit(|table, pages| table.fill(pages));
            seen.push_within_capacity(filled == Ok(1))?;
        }
        munmap(pages(addr, 0, 1)?)?;
        for kept in [&mut first, &mut second] {
            let still = kept.as_mut().range().lock_committed().is_ok();
            seen.push_within_capacity(still)?;
        }
        let entries = second.as_mut().range().lock().entries.len();
        let invalidated = calls.invalidate.load(Relaxed);

        // The mirror goes with the last range, and takes all out before.
        drop(first);
        let before = calls.invalidate.load(Relaxed);
        drop(second);
        let after = calls.invalidate.load(Relaxed);
        munmap(pages(addr, 1, 1)?)?;

        assert_eq!(no_room, Err(EINVAL));
        assert_eq!(seen[..], [true, true, false, true]);
        assert_eq!((entries, invalidated), (1, 1));
        assert_eq!((before, after, calls.invalidate.load(Relaxed)), (1, 2, 2));
        assert_eq!(calls.left.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn faults_have_a_time_limit() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let mirror = mirror!(Device)?;
        let mut buffer = FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?;
        let mut faulter = mirror.faulter();
        let (ended, took) = {
            pin_init::stack_try_pin_init!(
                let range: FaultRange<'_, Device> =? faulter.range(pages(addr, 0, 1)?, &mut buffer)
            );
            let begun = Instant::<Monotonic>::now();
            let event = bindings::mmu_notifier_event_MMU_NOTIFY_CLEAR;
            let invalidation =
                InvalidationInProgress::new(pages(addr, 0, 1)?, event, ptr::null_mut());
            let ended = range
                .as_mut()
                .fault_timeout(Read, Delta::from_millis(30))
                .map(|_| ());

            drop(invalidation);
            (ended, begun.elapsed().as_millis())
        };

        assert_eq!(ended, Err(EBUSY));
        assert!((20..900).contains(&took));
        Ok(())
    }

    #[test]
    fn pages_are_lent_as_such() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let mirror = mirror!(Device)?;
        let mut buffer = FaultBuffer::new(PageCount::new(2), GFP_KERNEL)?;

        put_user(addr, b"first")?;
        put_user(addr + PAGE_SIZE, b"second")?;
        let seen = mirror
            .faulter()
            .map(pages(addr, 0, 2)?, &mut buffer, Write, |_, pages| {
                let mut seen = [([0; 6], true); 2];

                for (page, (bytes, private)) in pages.zip(&mut seen) {
                    // SAFETY: There is room for 6 bytes, and nobody writes to the page.
                    let read = unsafe { page.as_page().read_raw(bytes.as_mut_ptr(), 0, 6) };

                    *private = read.is_err() || page.is_device_private();
                }
                seen
            })?;

        assert_eq!(seen, [(*b"first\0", false), (*b"second", false)]);
        Ok(())
    }

    #[test]
    fn construction_fails_in_the_middle() -> Result {
        /// A driver's object, which fails after it has a mirror.
        #[pin_data]
        struct Context {
            #[pin]
            mirror: Mirror<Device>,
            rest: (),
        }

        attach_mm()?;
        let addr = mmap(1, true)?;
        let table = Table::new()?;
        let calls = table.calls.clone();
        let task = current!();
        let mm = task.mm().ok_or(ESRCH)?;
        let failed = KBox::pin_init(
            try_pin_init!(Context {
                mirror <- new_mirror!(mm, Device, table),
                rest: Err(ENOSPC)?,
            }? Error),
            GFP_KERNEL,
        );
        let dropped = calls.invalidate.load(Relaxed);
        munmap(pages(addr, 0, 1)?)?;

        assert!(matches!(failed, Err(ENOSPC)));
        assert_eq!(dropped, 1);
        assert_eq!(calls.invalidate.load(Relaxed), dropped);
        Ok(())
    }

    #[test]
    fn bad_pidfds_are_refused() -> Result {
        assert_eq!(mm_from_pidfd(-1).map(|_| ()), Err(EBADF));
        Ok(())
    }
}
