// SPDX-License-Identifier: GPL-2.0

//! KUnit tests, against real address spaces.
//!
//! A failed assertion ends the thread of the test without running destructors. That leaks a
//! [`Mirror`] in a box, but a [`FaultRange`] on the stack would stay in flight after the stack has
//! gone. So the tests end whatever is in flight first, and assert what they saw afterwards.

use super::{
    invalidation::covering,
    page::HmmPfn,
    *, //
};
use crate::{
    bindings, current,
    error::to_result,
    hmm,
    mm::{
        addr::{
            PageCount,
            PageRange,
            VirtAddr, //
        },
        MmWithUser, //
    },
    page::{
        PAGE_MASK,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
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
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use core::{
    marker::PhantomPinned,
    num::NonZeroU64,
    ptr, //
};

/// Gives the thread of the test an address space of its own.
fn attach_mm() -> Result {
    // SAFETY: KUnit runs tests in threads of their own, which have none.
    to_result(unsafe { bindings::kunit_attach_mm() })
}

/// Maps anonymous memory, read-only or writable.
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

/// Returns `n` pages of the mapping at `addr`, from page `first` on.
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

/// An invalidation of the current process's page table, in progress until this is dropped.
struct InvalidationInProgress(bindings::mmu_notifier_range);

impl InvalidationInProgress {
    fn new(range: PageRange, event: bindings::mmu_notifier_event, owner: *mut c_void) -> Self {
        Self::start(range, event, owner, bindings::MMU_NOTIFIER_RANGE_BLOCKABLE).1
    }

    /// Starts one that must not block. Fails with [`EAGAIN`] if a mirror refuses it.
    fn non_blockable(range: PageRange) -> Result<Self> {
        let event = bindings::mmu_notifier_event_MMU_NOTIFY_CLEAR;
        let (refused, invalidation) = Self::start(range, event, ptr::null_mut(), 0);

        if let Err(error) = refused {
            // There is no end of what was refused.
            core::mem::forget(invalidation);
            return Err(error);
        }
        Ok(invalidation)
    }

    fn start(
        range: PageRange,
        event: bindings::mmu_notifier_event,
        owner: *mut c_void,
        flags: u32,
    ) -> (Result, Self) {
        let task = current!();
        let mut invalidation = Self(bindings::mmu_notifier_range {
            mm: task.mm().map_or(ptr::null_mut(), |mm| mm.as_raw()),
            start: range.start().as_usize(),
            end: range.end().as_usize(),
            flags,
            event,
            owner,
        });

        // SAFETY: The mm is that of this thread and so has users, and it has a mirror.
        let refused = to_result(unsafe {
            bindings::__mmu_notifier_invalidate_range_start(&mut invalidation.0)
        });
        (refused, invalidation)
    }
}

impl Drop for InvalidationInProgress {
    fn drop(&mut self) {
        // SAFETY: Was started by `new`.
        unsafe { bindings::__mmu_notifier_invalidate_range_end(&mut self.0) };
    }
}

/// Counts what happened to a device, also after it has gone.
struct Calls {
    invalidate: Atomic<i32>,
    attempt: Atomic<i32>,
    start: Atomic<i32>,
    end: Atomic<i32>,
    release: Atomic<i32>,
    /// Entries that were left when the page table was dropped.
    left: Atomic<i32>,
}

/// The page table of a device with few pages.
#[pin_data(PinnedDrop)]
struct Table {
    entries: KVec<Frame>,
    calls: Arc<Calls>,
    last: Option<PageRange>,
    event: Option<Event>,
    blockable: bool,
    own: bool,
    #[pin]
    _pinned: PhantomPinned,
}

impl Table {
    fn new() -> Result<Self> {
        Ok(Self {
            // Nothing is allocated under the lock, so make room for all that the tests map.
            entries: KVec::with_capacity(16, GFP_KERNEL)?,
            calls: Arc::new(
                Calls {
                    invalidate: Atomic::new(0),
                    attempt: Atomic::new(0),
                    start: Atomic::new(0),
                    end: Atomic::new(0),
                    release: Atomic::new(0),
                    left: Atomic::new(0),
                },
                GFP_KERNEL,
            )?,
            last: None,
            event: None,
            blockable: false,
            own: false,
            _pinned: PhantomPinned,
        })
    }

    fn fill<T: MirrorOps, P: Access>(self: Pin<&mut Self>, pages: Pages<'_, T, P>) -> usize {
        let entries = self.project().entries;
        let mut filled = 0;

        for page in pages {
            filled += usize::from(entries.push_within_capacity(page.frame()).is_ok());
        }
        filled
    }

    fn note(self: Pin<&mut Self>, invalidation: &Invalidation<'_>) {
        let this = self.project();

        *this.last = Some(invalidation.range());
        *this.event = Some(invalidation.event());
        *this.blockable = invalidation.blockable();
    }

    fn invalidate(self: Pin<&mut Self>, invalidation: &Invalidation<'_>) {
        self.calls.invalidate.fetch_add(1, Relaxed);
        self.note(invalidation);
    }

    fn remove(self: Pin<&mut Self>, range: PageRange) {
        self.project()
            .entries
            .retain(|frame| !range.contains(frame.addr()));
    }
}

#[pinned_drop]
impl PinnedDrop for Table {
    fn drop(self: Pin<&mut Self>) {
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
) -> Result<usize, StaleFrame> {
    table.read(&table.entries[0], offset, to)
}

/// Writes to the first entry, if it permits that.
fn write_first<T: MirrorOps<PageTable = Table>>(
    table: &TableGuard<'_, T>,
    offset: usize,
    from: &[u8],
) -> Option<Result<usize, StaleFrame>> {
    let frame = table.entries[0].writable()?;

    Some(table.write(frame, offset, from))
}

/// A correct driver, which does not sleep.
#[derive(Default)]
struct Device;

#[vtable]
impl MirrorOps for Device {
    const NAME: &'static CStr = c"kunit_device";
    type PageTable = Table;
    type Lock = SpinLockBackend;
    const CPU_ACCESS: bool = true;

    fn invalidate(&self, mut table: Pin<&mut Table>, invalidation: &Invalidation<'_>) {
        table.as_mut().invalidate(invalidation);
        table.remove(invalidation.range());
    }

    fn invalidate_end(&self, table: Pin<&mut Table>, _invalidation: &Invalidation<'_>) {
        table.calls.end.fetch_add(1, Relaxed);
    }

    fn release(&self, table: Pin<&mut Table>) {
        table.calls.release.fetch_add(1, Relaxed);
    }
}

/// A driver that may sleep, and that forgets to remove its entries.
#[derive(Default)]
struct Forgetful;

#[vtable]
impl MirrorOps for Forgetful {
    const NAME: &'static CStr = c"kunit_forgetful";
    type PageTable = Table;
    type Lock = MutexBackend;
    const CPU_ACCESS: bool = true;

    fn invalidate(&self, table: Pin<&mut Table>, invalidation: &Invalidation<'_>) {
        table.invalidate(invalidation);
    }

    fn invalidate_end(&self, table: Pin<&mut Table>, _invalidation: &Invalidation<'_>) {
        table.calls.end.fetch_add(1, Relaxed);
    }
}

/// A driver that sleeps only if there are entries to remove.
#[derive(Default)]
struct Hasty;

#[vtable]
impl MirrorOps for Hasty {
    const NAME: &'static CStr = c"kunit_hasty";
    type PageTable = Table;
    type Lock = MutexBackend;
    const CPU_ACCESS: bool = true;

    fn invalidate(&self, mut table: Pin<&mut Table>, invalidation: &Invalidation<'_>) {
        table.as_mut().invalidate(invalidation);
        table.remove(invalidation.range());
    }

    fn try_invalidate(
        &self,
        table: Pin<&mut Table>,
        invalidation: &Invalidation<'_>,
    ) -> Result<(), WouldBlock> {
        let range = invalidation.range();

        table.calls.attempt.fetch_add(1, Relaxed);
        if table
            .entries
            .iter()
            .any(|frame| range.contains(frame.addr()))
        {
            return Err(WouldBlock);
        }
        table.note(invalidation);
        Ok(())
    }

    fn invalidate_end(&self, table: Pin<&mut Table>, _invalidation: &Invalidation<'_>) {
        table.calls.end.fetch_add(1, Relaxed);
    }
}

/// A driver that flushes in two passes, and sleeps only if there are entries to remove.
#[derive(Default)]
struct HastyTwoPasses;

#[vtable]
impl MirrorOps for HastyTwoPasses {
    const NAME: &'static CStr = c"kunit_hasty_two_passes";
    type PageTable = Table;
    type Lock = MutexBackend;
    const TWO_PASSES: Option<hmm::TwoPasses<Self>> = Some(hmm::TwoPasses::new());
    const CPU_ACCESS: bool = true;

    fn try_invalidate(
        &self,
        table: Pin<&mut Table>,
        invalidation: &Invalidation<'_>,
    ) -> Result<(), WouldBlock> {
        Hasty.try_invalidate(table, invalidation)
    }
}

impl TwoPassOps for HastyTwoPasses {
    type Fence = Arc<Calls>;

    fn invalidate_start(
        &self,
        table: Pin<&mut Table>,
        invalidation: &Invalidation<'_>,
    ) -> Option<Arc<Calls>> {
        table.calls.start.fetch_add(1, Relaxed);
        let calls = table.calls.clone();
        table.remove(invalidation.range());
        Some(calls)
    }

    fn invalidate_finish(&self, _invalidation: &Invalidation<'_>, calls: Arc<Calls>) {
        calls.end.fetch_add(1, Relaxed);
    }
}

/// Identifies the device private memory of [`TwoPasses`], and that of somebody else.
static OWNERS: [u8; 2] = [0; 2];

/// A driver that flushes in two passes, and has device private memory.
struct TwoPasses {
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
    const NAME: &'static CStr = c"kunit_two_passes";
    type PageTable = Table;
    type Lock = MutexBackend;
    const TWO_PASSES: Option<hmm::TwoPasses<Self>> = Some(hmm::TwoPasses::new());

    fn owner(&self) -> Owner {
        Owner::of(&OWNERS[0])
    }
}

impl TwoPassOps for TwoPasses {
    type Fence = NonZeroU64;

    fn invalidate_start(
        &self,
        mut table: Pin<&mut Table>,
        invalidation: &Invalidation<'_>,
    ) -> Option<NonZeroU64> {
        let flush = table.calls.start.fetch_add(1, Relaxed) + 1;

        table.as_mut().note(invalidation);
        *table.project().own = invalidation.is_from(self.owner());
        // An invalidation of a single page has no flush to wait for.
        if invalidation.range().pages() == PageCount::ONE {
            return None;
        }
        NonZeroU64::new(flush as u64)
    }

    fn invalidate_finish(&self, _invalidation: &Invalidation<'_>, flush: NonZeroU64) {
        self.flushes.store(flush.get() as i32, Relaxed);
    }
}

/// A driver that flushes in two passes under a spinlock, and owns its fences.
struct AtomicTwoPasses(Atomic<i32>);

impl Default for AtomicTwoPasses {
    fn default() -> Self {
        Self(Atomic::new(0))
    }
}

#[vtable]
impl MirrorOps for AtomicTwoPasses {
    const NAME: &'static CStr = c"kunit_atomic_two_passes";
    type PageTable = Table;
    type Lock = SpinLockBackend;
    const TWO_PASSES: Option<hmm::TwoPasses<Self>> = Some(hmm::TwoPasses::new());
}

impl TwoPassOps for AtomicTwoPasses {
    type Fence = Arc<Calls>;

    fn invalidate_start(
        &self,
        table: Pin<&mut Table>,
        _invalidation: &Invalidation<'_>,
    ) -> Option<Arc<Calls>> {
        table.calls.start.fetch_add(1, Relaxed);
        Some(table.calls.clone())
    }

    fn invalidate_finish(&self, _invalidation: &Invalidation<'_>, flush: Arc<Calls>) {
        self.0.store(flush.start.load(Relaxed), Relaxed);
    }
}

/// Creates a mirror of the thread's address space, for a driver of that type.
///
/// This is a macro, because a generic function would have one lock class for all types.
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
) -> Result<usize, FaultError> {
    let mut buffer =
        FaultBuffer::new(PageCount::new(16), GFP_KERNEL).map_err(|_| FaultError::NoMemory)?;

    mirror
        .faulter()
        .map(range, &mut buffer, access, |table, pages| table.fill(pages))
}

/// Faults `range` in, calls `between`, and returns whether the result is still valid.
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

mod addr;
#[cfg(CONFIG_HMM_MIRROR_DMA)]
mod dma;
mod fault;
mod frame;
mod mirror;
