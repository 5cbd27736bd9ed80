// SPDX-License-Identifier: GPL-2.0

//! Tests of DMA, and of mirrors that end with their device.
//!
//! Counters stand in for an IOMMU, as in `mm/tests/hmm/kunit_dma.c`, which looks at more of it.

use super::*;
use crate::{
    device::{
        self,
        Bound, //
    },
    dma::DmaAddress,
    faux, //
};

/// What an IOMMU was told.
struct Iommu {
    allocs: Atomic<i32>,
    frees: Atomic<i32>,
    links: Atomic<i32>,
    /// The link that fails, counted from 1; 0 for none.
    fail_link: Atomic<i32>,
    syncs: Atomic<i32>,
    /// Pages that are linked now.
    linked: Atomic<i32>,
    direct: Atomic<i32>,
}

static IOMMU: Iommu = Iommu {
    allocs: Atomic::new(0),
    frees: Atomic::new(0),
    links: Atomic::new(0),
    fail_link: Atomic::new(0),
    syncs: Atomic::new(0),
    linked: Atomic::new(0),
    direct: Atomic::new(0),
};

const IOVA: DmaAddress = 0x4000_0000;

/// # Safety
///
/// As that of what it replaces, which the registry calls.
unsafe extern "C" fn alloc(dma: *mut bindings::hmm_mirror_dma, nr: usize) -> c_int {
    let Ok(pfns) = KVec::from_elem(0usize, nr, GFP_KERNEL) else {
        return ENOMEM.to_errno();
    };
    let (pfns, _, _) = pfns.into_raw_parts();
    // SAFETY: The registry passes what it initialises.
    unsafe {
        (*dma).map.pfn_list = pfns;
        (*dma).map.state.addr = IOVA;
        (*dma).use_iova = true;
        IOMMU
            .direct
            .store(i32::from((*(*(*dma).mirror).ops).flags != 0), Relaxed);
    }
    IOMMU.allocs.fetch_add(1, Relaxed);
    0
}

/// # Safety
///
/// As that of what it replaces, which the registry calls.
unsafe extern "C" fn free(dma: *mut bindings::hmm_mirror_dma) {
    // SAFETY: `alloc` has set it, with this length.
    drop(unsafe { KVec::from_raw_parts((*dma).map.pfn_list, 0, LEAF_PAGES) });
    IOMMU.frees.fetch_add(1, Relaxed);
}

/// # Safety
///
/// As that of what it replaces, which the registry calls.
unsafe extern "C" fn link(
    _dma: *mut bindings::hmm_mirror_dma,
    _index: usize,
    nr: usize,
    _write: bool,
) -> c_int {
    if IOMMU.links.fetch_add(1, Relaxed) + 1 == IOMMU.fail_link.load(Relaxed) {
        return ENOMEM.to_errno();
    }
    IOMMU.linked.fetch_add(nr as i32, Relaxed);
    0
}

/// # Safety
///
/// As that of what it replaces, which the registry calls.
unsafe extern "C" fn sync(_dma: *mut bindings::hmm_mirror_dma, _index: usize, _nr: usize) -> c_int {
    IOMMU.syncs.fetch_add(1, Relaxed);
    0
}

/// # Safety
///
/// As that of what it replaces, which the registry calls.
unsafe extern "C" fn unlink(_dma: *mut bindings::hmm_mirror_dma, _index: usize, nr: usize) {
    IOMMU.linked.fetch_sub(nr as i32, Relaxed);
}

extern "C" {
    fn __kunit_activate_static_stub(
        test: *mut bindings::kunit,
        real: *mut c_void,
        replacement: *mut c_void,
    );
}

/// Has the functions of the C side that use an IOMMU call those above, for this test.
fn use_iommu() {
    for (real, replacement) in [
        (bindings::hmm_dma_alloc as *mut c_void, alloc as *mut c_void),
        (bindings::hmm_dma_free as *mut c_void, free as *mut c_void),
        (bindings::hmm_dma_link as *mut c_void, link as *mut c_void),
        (bindings::hmm_dma_sync as *mut c_void, sync as *mut c_void),
        (
            bindings::hmm_dma_unlink as *mut c_void,
            unlink as *mut c_void,
        ),
    ] {
        // SAFETY: KUnit runs this, and each replacement has the type of what it replaces.
        unsafe {
            __kunit_activate_static_stub(bindings::kunit_get_current_test(), real, replacement)
        };
    }
    for counter in [
        &IOMMU.allocs,
        &IOMMU.frees,
        &IOMMU.links,
        &IOMMU.fail_link,
        &IOMMU.syncs,
        &IOMMU.linked,
        &IOMMU.direct,
    ] {
        counter.store(0, Relaxed);
    }
}

const LEAF_PAGES: usize = 8;

/// The page table of a device that does DMA.
#[pin_data]
struct DmaTable<'bound> {
    entries: KVec<DmaEntry<Dma<'bound>, Read>>,
    #[pin]
    _pinned: PhantomPinned,
}

/// A driver of a device that does DMA. It leaves its entries where they are: they become stale.
struct Dma<'bound> {
    dev: &'bound device::Device<Bound>,
    calls: Arc<DmaCalls>,
}

struct DmaCalls {
    invalidate: Atomic<i32>,
    /// Pages that were to be let go before they are mapped.
    quiesced: Atomic<i32>,
    /// How much of what is borrowed from the device has gone.
    dropped: Atomic<i32>,
}

impl Drop for Dma<'_> {
    fn drop(&mut self) {
        self.calls.dropped.fetch_add(1, Relaxed);
    }
}

#[vtable]
impl<'bound> MirrorOps for Dma<'bound> {
    const NAME: &'static CStr = c"kunit_dma";
    type PageTable = DmaTable<'bound>;
    type Lock = SpinLockBackend;
    const DMA_ORDER: u32 = LEAF_PAGES.ilog2();
    const DMA_DIRECT: bool = true;

    fn invalidate(&self, _table: Pin<&mut DmaTable<'bound>>, _invalidation: &Invalidation<'_>) {
        self.calls.invalidate.fetch_add(1, Relaxed);
    }

    fn device(&self) -> &device::Device<Bound> {
        self.dev
    }

    fn quiesce(&self, _table: Pin<&mut DmaTable<'bound>>, range: PageRange) {
        let pages = range.pages().as_usize() as i32;

        // Before anything is mapped by this commit.
        self.calls
            .quiesced
            .fetch_add(pages * (1 + 100 * IOMMU.linked.load(Relaxed)), Relaxed);
    }
}

/// What the driver has for the device.
struct DmaDriver;

struct DmaData<'bound> {
    dev: &'bound device::Device<Bound>,
    calls: Arc<DmaCalls>,
}

impl Drop for DmaData<'_> {
    fn drop(&mut self) {
        // After the mirrors.
        self.calls.dropped.fetch_add(100, Relaxed);
    }
}

impl BoundDriver for DmaDriver {
    type Device = faux::Device<Bound>;
    type Args = Option<Arc<DmaCalls>>;
    type Data<'bound> = DmaData<'bound>;
    type Ops<'bound> = Dma<'bound>;

    fn bind<'bound>(
        dev: &'bound faux::Device<Bound>,
        calls: Option<Arc<DmaCalls>>,
    ) -> impl PinInit<DmaData<'bound>, Error> + 'bound {
        calls
            .map(|calls| DmaData {
                dev: dev.as_ref(),
                calls,
            })
            .ok_or(ENXIO)
    }
}

/// Creates a device that reaches `bits` bits of memory.
fn device(bits: u32) -> Result<faux::Registration> {
    let registration = faux::Registration::new(c"kunit_hmm_dma", None)?;
    let dev: &faux::Device<Bound> = registration.as_ref();
    let dev: &device::Device<Bound> = dev.as_ref();
    let raw = dev.as_raw();

    // SAFETY: The device is ours, and nobody does DMA.
    unsafe {
        (*raw).dma_mask = &raw mut (*raw).coherent_dma_mask;
        (*raw).coherent_dma_mask = u64::MAX >> (64 - bits);
    }
    if bits == 64 {
        // This also notes that nothing is to be copied.
        //
        // SAFETY: As above.
        to_result(unsafe { bindings::dma_set_mask_and_coherent(raw, u64::MAX) })?;
    }
    Ok(registration)
}

fn calls() -> Result<Arc<DmaCalls>> {
    Ok(Arc::new(
        DmaCalls {
            invalidate: Atomic::new(0),
            quiesced: Atomic::new(0),
            dropped: Atomic::new(0),
        },
        GFP_KERNEL,
    )?)
}

/// Creates a mirror of the thread's address space.
fn bound_mirror(handle: &BindingHandle<DmaDriver>) -> Result<BoundMirror<DmaDriver>> {
    let task = current!();
    let mm = task.mm().ok_or(ESRCH)?;

    handle.with(|scope| {
        let data = scope.data();
        let ops = Dma {
            dev: data.dev,
            calls: data.calls.clone(),
        };
        let table = DmaTable {
            entries: KVec::with_capacity(16, GFP_KERNEL)?,
            _pinned: PhantomPinned,
        };

        new_bound_mirror!(scope, mm, ops, table)
    })?
}

/// Faults a range in and maps it. Returns the runs.
fn map_dma(
    mirror: &Mirror<Dma<'_>>,
    range: PageRange,
    access: impl Access,
) -> Result<KVec<(PageRange, DmaAddress, bool)>, FaultError> {
    let no_memory = |_| FaultError::NoMemory;
    let mut buffer = FaultBuffer::new(PageCount::new(32), GFP_KERNEL).map_err(no_memory)?;
    let mut runs = KVec::with_capacity(16, GFP_KERNEL).map_err(|_| FaultError::NoMemory)?;

    mirror
        .faulter()
        .map_dma(range, &mut buffer, access, |table, lent| {
            let _ = table;

            for run in lent {
                let writable = run.writable().is_some();
                let _ = runs.push_within_capacity((run.range(), run.addr(), writable));
            }
        })?;
    Ok(runs)
}

/// Faults a range in, maps it, and keeps an entry for each run.
fn map_entries<'b>(mirror: &Mirror<Dma<'b>>, range: PageRange) -> Result<usize> {
    let mut buffer = FaultBuffer::new(PageCount::new(32), GFP_KERNEL)?;

    Ok(mirror
        .faulter()
        .map_dma(range, &mut buffer, Read, |table, runs| {
            let entries = table.project().entries;

            for run in runs {
                let _ = entries.push_within_capacity(run.entry());
            }
            entries.len()
        })?)
}

/// Runs `f` with a mirror for a device behind the IOMMU.
fn with_mirror<R>(f: impl for<'b> FnOnce(&Mirror<Dma<'b>>) -> Result<R>) -> Result<R> {
    use_iommu();
    let device = device(64)?;
    let binding = Binding::<DmaDriver>::new(device.as_ref(), Some(calls()?))?;
    let mirror = bound_mirror(&binding.handle())?;

    binding.handle().with(|scope| f(scope.mirror(&mirror)?))?
}

#[kunit_tests(rust_kernel_hmm_dma)]
mod suite {
    use super::*;

    #[test]
    fn pages_come_as_one_run() -> Result {
        attach_mm()?;
        let range = pages(mmap(LEAF_PAGES * 2, true)?, 0, LEAF_PAGES * 2)?;
        let runs = with_mirror(|mirror| {
            map_dma(mirror, range, Write)?;
            // Once more, all of it is mapped.
            Ok(map_dma(mirror, range, Read)?)
        })?;
        let leaves = range.split_at_multiples(PageCount::new(LEAF_PAGES)).count();

        assert_eq!(runs.len(), leaves);
        assert_eq!(IOMMU.links.load(Relaxed), LEAF_PAGES as i32 * 2);
        assert_eq!(IOMMU.syncs.load(Relaxed), leaves as i32);
        let mut expected = range.split_at_multiples(PageCount::new(LEAF_PAGES));
        for (part, addr, writable) in runs {
            let offset = part.start().as_usize() % (LEAF_PAGES * PAGE_SIZE);

            assert_eq!(Some(part), expected.next());
            assert_eq!(addr, IOVA + offset as DmaAddress);
            assert!(writable);
        }
        Ok(())
    }

    #[test]
    fn device_lets_go_before_pages_are_mapped() -> Result {
        attach_mm()?;
        let range = pages(mmap(1, true)?, 0, 1)?;
        let quiesced = with_mirror(|mirror| {
            map_dma(mirror, range, Write)?;
            let first = mirror.ops().calls.quiesced.load(Relaxed);
            map_dma(mirror, range, Write)?;
            Ok((first, mirror.ops().calls.quiesced.load(Relaxed)))
        })?;

        assert_eq!(quiesced, (1, 1 + 101));
        Ok(())
    }

    #[test]
    fn all_is_given_back() -> Result {
        attach_mm()?;
        let range = pages(mmap(LEAF_PAGES, true)?, 0, LEAF_PAGES)?;
        let linked = with_mirror(|mirror| {
            map_dma(mirror, range, Write)?;
            Ok(IOMMU.linked.load(Relaxed))
        })?;

        assert_eq!(linked, LEAF_PAGES as i32);
        assert_eq!(IOMMU.linked.load(Relaxed), 0);
        assert!(IOMMU.allocs.load(Relaxed) > 0);
        assert_eq!(IOMMU.frees.load(Relaxed), IOMMU.allocs.load(Relaxed));
        assert_eq!(IOMMU.direct.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn read_only_is_not_lent_for_writing() -> Result {
        attach_mm()?;
        let addr = mmap(1, false)?;
        let range = pages(addr, 0, 1)?;
        let (read, write) = with_mirror(|mirror| {
            Ok((
                map_dma(mirror, range, Read)?,
                map_dma(mirror, range, Write).err(),
            ))
        })?;

        assert_eq!(read.len(), 1);
        assert!(!read[0].2);
        assert_eq!(write, Some(FaultError::ReadOnly));
        Ok(())
    }

    #[test]
    fn entry_goes_with_its_page() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let (before, after, again, linked) = with_mirror(|mirror| {
            map_entries(mirror, pages(addr, 0, 1)?)?;
            map_entries(mirror, pages(addr, 1, 1)?)?;
            let check = || {
                let mut faulter = mirror.faulter();
                let table = faulter.lock();

                (
                    table.entries[0].addr(&table).ok(),
                    table.entries[1].addr(&table).ok(),
                )
            };
            let before = check();
            // Takes the second page out of the CPU page table, and leaves the mapping.
            drop(InvalidationInProgress::new(
                pages(addr, 1, 1)?,
                bindings::mmu_notifier_event_MMU_NOTIFY_CLEAR,
                ptr::null_mut(),
            ));
            let after = check();
            let linked = IOMMU.linked.load(Relaxed);
            // The page is mapped again, at the same address, but not for that entry.
            map_entries(mirror, pages(addr, 1, 1)?)?;
            Ok((before, after, check(), linked))
        })?;

        assert!(before.0.is_some() && before.1.is_some());
        assert_eq!(after, (before.0, None));
        assert_eq!(linked, 1);
        assert_eq!(again, (before.0, None));
        Ok(())
    }

    #[test]
    fn a_run_is_split_into_pages() -> Result {
        attach_mm()?;
        let addr = mmap(3, true)?;
        let range = pages(addr, 0, 3)?;
        let (parts, phys) = with_mirror(|mirror| {
            let mut buffer = FaultBuffer::new(PageCount::new(3), GFP_KERNEL)?;
            let mut parts = KVec::with_capacity(3, GFP_KERNEL)?;

            mirror
                .faulter()
                .map_dma(range, &mut buffer, Write, |table, runs| {
                    let entries = table.project().entries;

                    for page in runs.flat_map(|run| run.split_at_multiples(PageCount::ONE)) {
                        let writable = page.readable().writable().is_some();
                        let part = (page.range(), page.addr(), writable);

                        let _ = parts.push_within_capacity(part);
                        let _ = entries.push_within_capacity(page.readable().entry());
                    }
                })?;
            let mut faulter = mirror.faulter();
            let table = faulter.lock();
            let last = &table.entries[2];
            // There is no IOMMU that translates.
            Ok((parts, (last.addr(&table), last.phys(&table))))
        })?;

        assert_eq!(parts.len(), 3);
        for (i, part) in parts.iter().enumerate() {
            let dma = parts[0].1 + (i * PAGE_SIZE) as DmaAddress;

            assert_eq!(*part, (pages(addr, i, 1)?, dma, true));
        }
        assert_eq!(phys, (Ok(parts[2].1), Ok(parts[2].1)));
        Ok(())
    }

    #[test]
    fn entry_belongs_to_its_mirror() -> Result {
        attach_mm()?;
        let range = pages(mmap(1, true)?, 0, 1)?;
        use_iommu();
        let device = device(64)?;
        let binding = Binding::<DmaDriver>::new(device.as_ref(), Some(calls()?))?;
        let handle = binding.handle();
        let (one, two) = (bound_mirror(&handle)?, bound_mirror(&handle)?);
        let refused = handle.with(|scope| -> Result<_> {
            let (one, two) = (scope.mirror(&one)?, scope.mirror(&two)?);

            map_entries(one, range)?;
            map_entries(two, range)?;
            let mut faulter = one.faulter();
            let entry = faulter.lock().as_mut().project().entries.pop().ok_or(EIO)?;
            let mut faulter = two.faulter();
            let mut table = faulter.lock();
            let refused = entry.addr(&table);
            // Does nothing.
            table.unmap(entry);
            Ok((refused, table.entries[0].addr(&table).is_ok()))
        })?;
        drop((one, two));
        drop(binding);

        assert_eq!(refused?, (Err(StaleEntry), true));
        Ok(())
    }

    #[test]
    fn unmapped_by_the_driver() -> Result {
        attach_mm()?;
        let range = pages(mmap(1, true)?, 0, 1)?;
        let (other, linked) = with_mirror(|mirror| {
            map_entries(mirror, range)?;
            map_entries(mirror, range)?;
            let mut faulter = mirror.faulter();
            let mut table = faulter.lock();
            let entry = table.as_mut().project().entries.pop().ok_or(EIO)?;

            table.unmap(entry);
            Ok((table.entries[0].addr(&table), IOMMU.linked.load(Relaxed)))
        })?;

        assert_eq!(other, Err(StaleEntry));
        assert_eq!(linked, 0);
        Ok(())
    }

    #[test]
    fn failure_halfway_is_an_error() -> Result {
        attach_mm()?;
        // So that it is within a leaf.
        let addr = mmap(LEAF_PAGES * 2, true)?.next_multiple_of(LEAF_PAGES * PAGE_SIZE);
        let range = pages(addr, 0, LEAF_PAGES)?;
        let (commit, map, linked, again) = with_mirror(|mirror| {
            let mut buffer = FaultBuffer::new(range.pages(), GFP_KERNEL)?;
            let mut faulter = mirror.faulter();

            IOMMU.fail_link.store(3, Relaxed);
            let commit = {
                pin_init::stack_try_pin_init!(
                    let range: FaultRange<'_, Dma<'_>> =? faulter.range(range, &mut buffer)
                );
                range.as_mut().fault(Write)?.commit_dma(|_, _| ())
            };
            let linked = IOMMU.linked.load(Relaxed);
            IOMMU.fail_link.store(6, Relaxed);
            let map = map_dma(mirror, range, Write).err();
            Ok((commit, map, linked, map_dma(mirror, range, Write)?.len()))
        })?;

        assert_eq!(commit, Err(CommitError::NoMemory));
        assert_eq!(map, Some(FaultError::NoMemory));
        assert_eq!(linked, 0);
        assert_eq!(again, 1);
        Ok(())
    }

    #[test]
    fn stale_is_not_mapped() -> Result {
        attach_mm()?;
        let range = pages(mmap(1, true)?, 0, 1)?;
        let (stale, linked) = with_mirror(|mirror| {
            let mut buffer = FaultBuffer::new(range.pages(), GFP_KERNEL)?;
            let mut faulter = mirror.faulter();

            pin_init::stack_try_pin_init!(
                let in_flight: FaultRange<'_, Dma<'_>> =? faulter.range(range, &mut buffer)
            );
            let faulted = in_flight.as_mut().fault(Write)?;
            munmap(range)?;
            let stale = faulted.commit_dma(|_, _| ());
            let quiesced = mirror.ops().calls.quiesced.load(Relaxed);
            Ok((stale, (IOMMU.linked.load(Relaxed), quiesced)))
        })?;

        assert_eq!(stale, Err(CommitError::Stale));
        assert_eq!(linked, (0, 0));
        Ok(())
    }

    #[test]
    fn device_with_bounce_buffers_is_refused() -> Result {
        attach_mm()?;
        let range = pages(mmap(1, true)?, 0, 1)?;
        let device = device(20)?;
        let binding = Binding::<DmaDriver>::new(device.as_ref(), Some(calls()?))?;
        let mirror = bound_mirror(&binding.handle())?;
        let refused = binding
            .handle()
            .with(|scope| Ok::<_, Error>(map_dma(scope.mirror(&mirror)?, range, Read).err()))?;
        drop((mirror, binding));

        assert_eq!(refused?, Some(FaultError::Unsupported));
        Ok(())
    }

    #[test]
    fn addresses_are_those_of_the_pages_without_an_iommu() -> Result {
        attach_mm()?;
        let range = pages(mmap(2, true)?, 0, 2)?;
        let device = device(64)?;
        let binding = Binding::<DmaDriver>::new(device.as_ref(), Some(calls()?))?;
        let mirror = bound_mirror(&binding.handle())?;
        let seen = binding.handle().with(|scope| -> Result<_> {
            let mirror = scope.mirror(&mirror)?;
            let runs = map_dma(mirror, range, Write)?;
            let mut buffer = FaultBuffer::new(range.pages(), GFP_KERNEL)?;
            let pfns = mirror
                .faulter()
                .map(range, &mut buffer, Write, |_, mut pages| {
                    [(); 2].map(|()| pages.next().map(|page| page.pfn()))
                })?;
            let first = map_dma(mirror, pages(range.start().as_usize(), 1, 1)?, Read)?;
            Ok((runs, pfns, first))
        })?;
        drop((mirror, binding));

        let (runs, pfns, second) = seen?;
        assert_eq!(pfns[0].map(|pfn| pfn.phys_addr()), Some(runs[0].1));
        assert_eq!(pfns[1].map(|pfn| pfn.phys_addr()), Some(second[0].1));
        Ok(())
    }

    #[test]
    fn all_ends_with_the_device() -> Result {
        attach_mm()?;
        let range = pages(mmap(2, true)?, 0, 1)?;
        use_iommu();
        let calls = calls()?;
        let device = device(64)?;
        let binding = Binding::<DmaDriver>::new(device.as_ref(), Some(calls.clone()))?;
        let handle = binding.handle();
        let (mirror, leaked) = (bound_mirror(&handle)?, bound_mirror(&handle)?);
        let mapped = handle.with(|scope| -> Result<_> {
            Ok(map_dma(scope.mirror(&mirror)?, range, Write)?.len())
        })?;

        // What is leaked ends as well.
        core::mem::forget(leaked);
        core::mem::forget(binding);
        let before = (calls.dropped.load(Relaxed), IOMMU.linked.load(Relaxed));
        drop(device);
        let after = (
            calls.dropped.load(Relaxed),
            IOMMU.linked.load(Relaxed),
            IOMMU.allocs.load(Relaxed) - IOMMU.frees.load(Relaxed),
        );
        let told = calls.invalidate.load(Relaxed);
        munmap(range)?;
        let told_later = calls.invalidate.load(Relaxed);
        let refused = (handle.with(|_| ()), bound_mirror(&handle).map(|_| ()));
        drop(mirror);

        assert_eq!(mapped, Ok(1));
        assert_eq!(before, (0, 1));
        // Two mirrors, and the data.
        assert_eq!(after, (102, 0, 0));
        assert_eq!(told_later, told);
        assert_eq!(refused, (Err(ENODEV), Err(ENODEV)));
        assert_eq!(calls.dropped.load(Relaxed), 102);
        Ok(())
    }

    #[test]
    fn closed_file_drops_its_mirror() -> Result {
        attach_mm()?;
        let calls = calls()?;
        let device = device(64)?;
        let binding = Binding::<DmaDriver>::new(device.as_ref(), Some(calls.clone()))?;
        let handle = binding.handle();

        drop((bound_mirror(&handle)?, bound_mirror(&handle)?));
        let closed = calls.dropped.load(Relaxed);
        // Ends before the device does.
        drop(binding);
        let dropped = calls.dropped.load(Relaxed);
        let refused = handle.with(|_| ());
        drop(device);

        assert_eq!((closed, dropped), (2, 102));
        assert_eq!(refused, Err(ENODEV));
        assert_eq!(calls.dropped.load(Relaxed), 102);
        Ok(())
    }

    #[test]
    fn mirror_belongs_to_its_binding() -> Result {
        attach_mm()?;
        let device = device(64)?;
        let one = Binding::<DmaDriver>::new(device.as_ref(), Some(calls()?))?;
        let two = Binding::<DmaDriver>::new(device.as_ref(), Some(calls()?))?;
        let mirror = bound_mirror(&one.handle())?;
        let wrong = two.handle().with(|scope| scope.mirror(&mirror).err());
        let right = one.handle().with(|scope| scope.mirror(&mirror).err());
        drop(mirror);

        assert_eq!(wrong, Ok(Some(EINVAL)));
        assert_eq!(right, Ok(None));
        Ok(())
    }

    #[test]
    fn error_of_bind_is_passed_on() -> Result {
        let device = device(64)?;

        assert_eq!(
            Binding::<DmaDriver>::new(device.as_ref(), None).err(),
            Some(ENXIO)
        );
        Ok(())
    }
}
