// SPDX-License-Identifier: GPL-2.0-or-later

//! The device of `bench_binding.c` in Rust, to measure the cost of the binding.
//!
//! Only the interface to the C side, which is in `bench.h`, is not as in a driver.

use core::marker::PhantomPinned;
use kernel::{
    bindings,
    hmm::{
        new_mirror,
        Access,
        FaultBuffer,
        FaultRange,
        Invalidation,
        Mirror,
        MirrorOps,
        Pages,
        Read, //
    },
    mm::{
        addr::{
            PageCount,
            PageRange,
            VirtAddr, //
        },
        MmWithUser, //
    },
    page::PAGE_SHIFT,
    prelude::*,
    sync::lock::spinlock::SpinLockBackend,
    types::ForeignOwnable, //
};

const __LOG_PREFIX: &[u8] = b"hmm_bench\0";

/// Stands for the module: this code is built in.
struct LocalModule;

impl kernel::ModuleMetadata for LocalModule {
    const NAME: &'static CStr = c"hmm_bench";

    const THIS_MODULE: ThisModule = {
        // SAFETY: This is `THIS_MODULE` of built-in code.
        unsafe { ThisModule::from_ptr(core::ptr::null_mut()) }
    };
}

/// Bits of an entry, beside the physical address.
const ENTRY_VALID: usize = 1;
const ENTRY_WRITE: usize = 2;

/// The page table: an entry for each page that the device uses.
#[pin_data]
struct Table {
    entries: KVVec<usize>,
    #[pin]
    _pinned: PhantomPinned,
}

/// The addresses that the device uses.
struct Device(PageRange);

impl Device {
    /// Returns the index of the entry for `addr`, which is out of bounds outside of the range.
    fn index(&self, addr: VirtAddr) -> usize {
        addr.as_usize().wrapping_sub(self.0.start().as_usize()) >> PAGE_SHIFT
    }

    fn enter<P: Access>(&self, table: Pin<&mut Table>, pages: Pages<'_, Self, P>) {
        let entries = table.project().entries;

        for page in pages {
            let Some(entry) = entries.get_mut(self.index(page.addr())) else {
                continue;
            };

            *entry = page.pfn().phys_addr() as usize | ENTRY_VALID;
            if page.writable().is_some() {
                *entry |= ENTRY_WRITE;
            }
        }
    }
}

#[vtable]
impl MirrorOps for Device {
    const NAME: &'static CStr = c"hmm_bench_rust";
    type PageTable = Table;
    type Lock = SpinLockBackend;

    fn invalidate(&self, table: Pin<&mut Table>, invalidation: &Invalidation<'_>) {
        let entries = table.project().entries;
        let hit = invalidation.range().intersect(&self.0);

        for addr in hit.into_iter().flat_map(PageRange::addrs) {
            if let Some(entry) = entries.get_mut(self.index(addr)) {
                *entry = 0;
            }
        }
    }
}

type Owned = Pin<KBox<Mirror<Device>>>;

fn register(mm: &MmWithUser, base: VirtAddr, pages: PageCount) -> Result<Owned> {
    let device = Device(PageRange::new(base, pages)?);
    let table = Table {
        entries: KVVec::from_elem(0, pages.as_usize(), GFP_KERNEL)?,
        _pinned: PhantomPinned,
    };

    KBox::pin_init(new_mirror!(mm, device, table), GFP_KERNEL)
}

fn commits(mirror: &Mirror<Device>, n: usize) -> Result {
    let device = mirror.ops();
    let mut buffer = FaultBuffer::new(device.0.pages(), GFP_KERNEL)?;
    let mut faulter = mirror.faulter();

    pin_init::stack_try_pin_init!(
        let range: FaultRange<'_, Device> =? faulter.range(device.0, &mut buffer)
    );
    // There are no invalidations meanwhile, so none of these is stale.
    range
        .as_mut()
        .fault(Read)?
        .commit(|table, pages| device.enter(table, pages))
        .map_err(|_| EBUSY)?;
    for _ in 1..n {
        range
            .as_mut()
            .recommit(|table, pages| device.enter(table, pages))
            .map_err(|_| EBUSY)?;
    }
    Ok(())
}

/// # Safety
///
/// `mm` is an address space that has users.
#[no_mangle]
unsafe extern "C" fn hmm_bench_rust_register(
    mm: *mut bindings::mm_struct,
    base: usize,
    pages: usize,
) -> *mut c_void {
    // SAFETY: By the requirement.
    let mm = unsafe { MmWithUser::from_raw(mm) };

    register(mm, VirtAddr::new(base), PageCount::new(pages))
        .map_or(core::ptr::null_mut(), ForeignOwnable::into_foreign)
}

/// # Safety
///
/// `device` is what [`hmm_bench_rust_register`] has returned, and not used any more.
#[no_mangle]
unsafe extern "C" fn hmm_bench_rust_unregister(device: *mut c_void) {
    // SAFETY: By the requirement.
    drop(unsafe { Owned::from_foreign(device) });
}

/// # Safety
///
/// `device` is what [`hmm_bench_rust_register`] has returned, and not unregistered meanwhile.
#[no_mangle]
unsafe extern "C" fn hmm_bench_rust_commits(device: *mut c_void, n: usize) -> c_int {
    // SAFETY: By the requirement.
    let mirror = unsafe { Owned::borrow(device) };

    commits(&mirror, n).map_or_else(Error::to_errno, |()| 0)
}
