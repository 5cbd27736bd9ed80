// SPDX-License-Identifier: GPL-2.0

//! A driver of QEMU's PCI device edu, which reads and writes the memory of a process by DMA, at
//! virtual addresses of that process; in Rust without unsafe code.
//!
//! The device has a buffer of one page, and copies between that and a DMA address, one piece at a
//! time, in 100 ms each. It has no page table of its own: what it may reach is what is mapped for
//! it, in an IOMMU where there is one ([`MirrorOps::DMA_DIRECT`]). The ioctls are described in
//! `hmm_mirror_uapi.h`; the same driver in C is `hmm_mirror_edu_c.c`.
//!
//! What a driver of a real device needs, beside what `hmm_mirror_rust.rs` has:
//!
//! - Pages are mapped by `map_dma()`, and unmapped by the registry. An [`Entry`] of the page table
//!   gives the DMA address, and only as long as that is good.
//! - The device uses a page for some time. So an invalidation waits for the transfer of a page of
//!   it, in its second pass, and each transfer ends, whatever becomes of the device.
//! - The device may go while files are open: the mirrors are in its [`Binding`], and end with it.
//!   Files stay, and each call of theirs fails.

#![forbid(unsafe_code)]

use core::marker::PhantomPinned;
use kernel::{
    device::{
        self,
        Bound,
        Core, //
    },
    dma::DmaAddress,
    hmm::{
        new_bound_mirror,
        Access,
        Binding,
        BindingHandle,
        BoundDriver,
        BoundMirror,
        BoundScope,
        DmaEntry,
        DmaRuns,
        FaultBuffer,
        FaultError,
        FaultRange,
        Faulter,
        Invalidation,
        MirrorOps,
        Read,
        Reserve,
        StaleEntry,
        TableGuard,
        TwoPassOps,
        TwoPasses,
        WouldBlock,
        Write, //
    },
    ioctl::{
        _IOR,
        _IOW,
        _IOWR, //
    },
    miscdevice::{
        MiscDeviceOptions,
        Node,
        NodeFile, //
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
    pci,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::mutex::MutexBackend,
        new_mutex,
        Arc,
        Completion,
        Mutex,
        MutexGuard,
        SetOnce, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
};

mod edu;
mod page_table;
mod sample;
mod uapi;

use edu::{
    Direction,
    Engine,
    Hardware, //
};
use page_table::{
    PageTable,
    Spare, //
};
use sample::{
    Device,
    Ioctls, //
};

kernel::module_pci_driver! {
    type: EduDriver,
    name: "hmm_mirror_edu_rust",
    authors: ["The HMM mirroring project"],
    description: "Driver in Rust of QEMU's PCI device edu, which mirrors a process",
    license: "GPL",
    params: {
        dma_bits: u32 {
            default: 28,
            description: "Width of the device's DMA addresses, which it does not tell: \
                          the property dma_mask of QEMU's device (28 to 64, default: 28)",
        },
    },
}

const NAME: &CStr = c"hmm_mirror_edu_rust";

/// The device, for as long as the driver is bound to it.
#[pin_data]
struct Edu<'bound> {
    dev: &'bound pci::Device<Bound>,
    #[pin]
    engine: Mutex<Engine>,
}

impl BoundDriver for EduDriver {
    type Device = pci::Device<Bound>;
    type Args = Engine;
    type Data<'bound> = Edu<'bound>;
    type Ops<'bound> = Context<'bound>;

    fn bind<'bound>(
        dev: &'bound pci::Device<Bound>,
        engine: Engine,
    ) -> impl PinInit<Edu<'bound>, Error> + 'bound {
        try_pin_init!(Edu {
            dev,
            engine <- new_mutex!(engine),
        })
    }
}

/// The driver's side of a mirror.
struct Context<'bound> {
    dev: &'bound pci::Device<Bound>,
}

/// A page that the device may use.
enum Entry<'bound> {
    Read(DmaEntry<Context<'bound>, Read>),
    Write(DmaEntry<Context<'bound>, Write>),
}

impl<'bound> Entry<'bound> {
    fn addr(
        &self,
        table: &TableGuard<'_, Context<'bound>>,
        direction: Direction,
    ) -> Result<DmaAddress, StaleEntry> {
        match (self, direction) {
            (Entry::Read(entry), Direction::FromMemory) => entry.addr(table),
            (Entry::Read(_), Direction::ToMemory) => Err(StaleEntry),
            (Entry::Write(entry), _) => entry.addr(table),
        }
    }

    /// What a dump shows. The page table of the device is the IOMMU's: so who compares this with
    /// what the CPU has compares that.
    fn show(&self, table: &TableGuard<'_, Context<'bound>>, addr: VirtAddr) -> Option<uapi::Entry> {
        let (phys, flags) = match self {
            Entry::Read(entry) => (entry.phys(table), 0),
            Entry::Write(entry) => (entry.phys(table), uapi::ENTRY_WRITE),
        };

        Some(uapi::Entry {
            addr: addr.as_usize() as u64,
            pfn: phys.ok()? / PAGE_SIZE as u64,
            flags,
            order: 0,
        })
    }
}

/// A page that is being copied.
#[pin_data]
struct Transfer {
    page: VirtAddr,
    #[pin]
    ended: Completion,
}

/// The data that the lock of a mirror protects.
#[pin_data]
struct State<'bound> {
    table: PageTable<Entry<'bound>>,
    transfer: Option<Arc<Transfer>>,
    stats: uapi::Stats,
    // It belongs to its mirror, and cannot be moved out of it.
    #[pin]
    _pinned: PhantomPinned,
}

impl<'bound> State<'bound> {
    /// The transfer of a page of `range`, if there is one.
    fn transfer_in(&self, range: PageRange) -> Option<&Arc<Transfer>> {
        self.transfer
            .as_ref()
            .filter(|transfer| range.contains(transfer.page))
    }

    fn remove(self: Pin<&mut Self>, range: PageRange) {
        let state = self.project();

        state.stats.invalidations += 1;
        state.stats.invalidated += state.table.remove(range) as u64;
    }

    /// Enters pages one by one. Returns their number.
    fn insert<A: Access>(
        self: Pin<&mut Self>,
        runs: DmaRuns<'_, Context<'bound>, A>,
        spare: &mut Spare<Entry<'bound>>,
    ) -> Result<u64> {
        let table = self.project().table;
        let mut filled = 0;

        for page in runs.flat_map(|run| run.split_at_multiples(PageCount::ONE)) {
            let entry = match page.writable() {
                Some(page) => Entry::Write(page.entry()),
                None => Entry::Read(page.readable().entry()),
            };

            table.insert(page.range().start(), 0, entry, spare)?;
            filled += 1;
        }
        Ok(filled)
    }
}

impl<'bound> Reserve<State<'bound>> for Spare<Entry<'bound>> {
    fn need(state: &State<'bound>, range: PageRange) -> usize {
        state.table.missing_tables(range)
    }

    fn allocate(tables: usize) -> Result<Self> {
        Spare::new(tables, GFP_KERNEL_ACCOUNT)
    }
}

// A transfer is waited for, which sleeps, so a mutex protects the page table.
#[vtable]
impl<'bound> MirrorOps for Context<'bound> {
    const NAME: &'static CStr = NAME;
    type PageTable = State<'bound>;
    type Lock = MutexBackend;
    const TWO_PASSES: Option<TwoPasses<Self>> = Some(TwoPasses::new());
    const DMA_DIRECT: bool = true;

    fn device(&self) -> &device::Device<Bound> {
        self.dev.as_ref()
    }

    /// What must not wait is refused only for the page that is being copied.
    fn try_invalidate(
        &self,
        state: Pin<&mut State<'bound>>,
        invalidation: &Invalidation<'_>,
    ) -> Result<(), WouldBlock> {
        if state.transfer_in(invalidation.range()).is_some() {
            return Err(WouldBlock);
        }
        state.remove(invalidation.range());
        Ok(())
    }

    /// A page that can be written to by now is mapped anew, so not under the device's hands.
    fn quiesce(&self, state: Pin<&mut State<'bound>>, range: PageRange) {
        if let Some(transfer) = state.transfer_in(range) {
            transfer.ended.wait_for_completion();
        }
    }

    fn release(&self, state: Pin<&mut State<'bound>>) {
        state.project().stats.dead = 1;
    }
}

impl<'bound> TwoPassOps for Context<'bound> {
    type Fence = Arc<Transfer>;

    fn invalidate_start(
        &self,
        mut state: Pin<&mut State<'bound>>,
        invalidation: &Invalidation<'_>,
    ) -> Option<Arc<Transfer>> {
        state.as_mut().remove(invalidation.range());
        state.transfer_in(invalidation.range()).cloned()
    }

    /// edu can do nothing but finish. This holds up only those whose invalidation is of that page.
    /// When it has returned, the registry unmaps.
    fn invalidate_finish(&self, _invalidation: &Invalidation<'_>, transfer: Arc<Transfer>) {
        transfer.ended.wait_for_completion();
    }
}

impl<'bound> Device for Context<'bound> {
    fn fault(
        faulter: &mut Faulter<'_, Self>,
        range: PageRange,
        buffer: &mut FaultBuffer,
        access: impl Access,
    ) -> Result<u64> {
        let dev = faulter.mirror().ops().dev;
        pin_init::stack_try_pin_init!(
            let in_flight: FaultRange<'_, Self> =? faulter.range(range, buffer)
        );
        let filled = in_flight.as_mut().with_reserve(|range, spare| {
            range.map_dma(access, |mut state, runs| {
                let filled = state.as_mut().insert(runs, spare);

                sample::committed(filled, state.project().stats)
            })
        });
        if let Err(FaultError::Unsupported) = filled {
            kernel::do_once_lite! {
                dev_err!(
                    dev,
                    "cannot have pages in place: its addresses have {} bits (see dma_bits) \
                     and need more, or pages would be copied (swiotlb), or the IOMMU has no \
                     more addresses\n",
                    module_parameters::dma_bits.value()
                );
            }
        }
        let retries = in_flight.as_mut().retries();

        in_flight.as_mut().lock().as_mut().project().stats.retries += u64::from(retries);
        filled?
    }
}

/// An open file.
struct EduFile {
    edu: BindingHandle<EduDriver>,
    mirror: SetOnce<BoundMirror<EduDriver>>,
}

/// A call of an open file, while the device is bound.
struct Call<'a, 'bound> {
    file: &'a EduFile,
    scope: &'a BoundScope<'a, 'bound, EduDriver>,
}

impl<'bound> Call<'_, 'bound> {
    fn faulter(&self) -> Result<Faulter<'_, Context<'bound>>> {
        let mirror = self.file.mirror.as_ref().ok_or(ENXIO)?;

        Ok(self.scope.mirror(mirror)?.faulter())
    }

    /// Waits for its turn, unless the task is killed meanwhile. The kernel crate has no mutex whose
    /// waiters are told of that.
    fn engine(&self) -> Result<MutexGuard<'_, Engine>> {
        let engine = &self.scope.data().get_ref().engine;

        while !current!().fatal_signal_pending() {
            if let Some(engine) = engine.try_lock() {
                return Ok(engine);
            }
            fsleep(Delta::from_millis(10));
        }
        Err(EINTR)
    }

    /// Is there an entry for the page at `addr`?
    fn is_mapped(
        faulter: &mut Faulter<'_, Context<'bound>>,
        addr: VirtAddr,
        direction: Direction,
    ) -> bool {
        let state = faulter.lock();

        state
            .table
            .get(addr)
            .is_some_and(|entry| entry.addr(&state, direction).is_ok())
    }

    /// Copies between the device's buffer and a page of the process. Returns `false` if the device
    /// may not use that page, or not in this way.
    fn copy(
        &self,
        engine: &mut Engine,
        faulter: &mut Faulter<'_, Context<'bound>>,
        addr: VirtAddr,
        len: usize,
        direction: Direction,
    ) -> Result<bool> {
        let page = addr.page_start();
        let transfer = Arc::pin_init(
            pin_init!(Transfer {
                page,
                ended <- Completion::new(),
            }),
            GFP_KERNEL,
        )?;
        let dma = {
            let mut state = faulter.lock();
            let entry = state.table.get(page);
            let Some(Ok(dma)) = entry.map(|entry| entry.addr(&state, direction)) else {
                return Ok(false);
            };

            // From here on who wants to change that page waits for the device.
            *state.as_mut().project().transfer = Some(transfer.clone());
            dma
        };
        let dma = dma + addr.page_offset() as DmaAddress;
        let copied = engine.copy(self.scope.data().dev, dma, len, direction);

        // First of all, as somebody may wait for it with the lock held.
        transfer.ended.complete_all();
        let mut state = faulter.lock();
        let state = state.as_mut().project();
        *state.transfer = None;
        copied?;
        state.stats.accesses += 1;
        *match direction {
            Direction::FromMemory => &mut state.stats.read_bytes,
            Direction::ToMemory => &mut state.stats.written_bytes,
        } += len as u64;
        Ok(true)
    }
}

impl Ioctls for Call<'_, '_> {
    fn bind(&self, arg: &mut uapi::Bind) -> Result {
        if arg.flags != 0 {
            return Err(EINVAL);
        }
        if self.file.mirror.as_ref().is_some() {
            return Err(EBUSY);
        }

        let mm = MmWithUser::from_pidfd(arg.pidfd)?;
        let dev = self.scope.data().dev;
        let state = State {
            table: PageTable::new(GFP_KERNEL_ACCOUNT)?,
            transfer: None,
            stats: uapi::Stats::default(),
            _pinned: PhantomPinned,
        };
        let mirror = new_bound_mirror!(self.scope, &mm, Context { dev }, state)?;

        // Another thread may have been faster.
        if self.file.mirror.populate(mirror) {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }

    fn map(&self, arg: &mut uapi::Map) -> Result {
        sample::map(self.faulter()?, arg)
    }

    fn read(&self, arg: &mut uapi::Rw) -> Result {
        let edu = self.scope.data();

        sample::read(self.faulter()?, arg, |faulter, addr, bytes| {
            let direction = Direction::FromMemory;

            if !Self::is_mapped(faulter, addr, direction) {
                return Ok(false);
            }
            let engine = &mut *self.engine()?;
            let copied = self.copy(engine, faulter, addr, bytes.len(), direction)?;
            if copied {
                engine.store(edu.dev, bytes)?;
            }
            Ok(copied)
        })
    }

    fn write(&self, arg: &mut uapi::Rw) -> Result {
        let edu = self.scope.data();

        sample::write(self.faulter()?, arg, |faulter, addr, bytes| {
            let direction = Direction::ToMemory;

            // Without an entry there is nothing to copy to the device's buffer for.
            if !Self::is_mapped(faulter, addr, direction) {
                return Ok(false);
            }
            let engine = &mut *self.engine()?;
            engine.load(edu.dev, bytes)?;
            self.copy(engine, faulter, addr, bytes.len(), direction)
        })
    }

    fn add(&self, _arg: &mut uapi::Add) -> Result {
        let _ = self.faulter()?;
        // edu cannot count.
        Err(EOPNOTSUPP)
    }

    fn dump(&self, arg: &mut uapi::Dump) -> Result {
        let mut faulter = self.faulter()?;

        sample::dump(arg, |start, show| {
            let state = faulter.lock();

            state
                .table
                .walk(start, |addr, entry| match entry.show(&state, addr) {
                    Some(entry) => show(entry),
                    None => true,
                });
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

#[vtable]
impl NodeFile for EduFile {
    type Ptr = KBox<Self>;
    type Data = BindingHandle<EduDriver>;

    fn open(edu: &BindingHandle<EduDriver>) -> Result<KBox<Self>> {
        Ok(KBox::new(
            EduFile {
                edu: edu.clone(),
                mirror: SetOnce::new(),
            },
            GFP_KERNEL_ACCOUNT,
        )?)
    }

    fn ioctl(file: &Self, cmd: u32, arg: usize) -> Result<isize> {
        match file
            .edu
            .with(|scope| sample::ioctl(&Call { file, scope }, cmd, arg))?
        {
            // The device is being unbound.
            Err(ECANCELED) => Err(ENODEV),
            result => result,
        }
    }
}

/// There is one node, and so one device; others are left to other drivers.
static TAKEN: Atomic<bool> = Atomic::new(false);

struct Taken;

impl Taken {
    fn new(dev: &pci::Device) -> Result<Self> {
        if TAKEN.cmpxchg(false, true, Relaxed).is_ok() {
            return Ok(Taken);
        }
        // Not an error, and so another driver is asked: the same in C, say.
        dev_info!(dev, "not for hmm_mirror_edu_rust, which has a device\n");
        Err(ENODEV)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        TAKEN.store(false, Relaxed);
    }
}

struct EduDriver;

/// What the driver has for its device, in the order in which it goes.
struct Driver {
    _binding: Binding<EduDriver>,
    hw: Arc<Hardware>,
    _taken: Taken,
}

impl Driver {
    fn new(dev: &pci::Device<Core<'_>>) -> Result<Self> {
        let bits = module_parameters::dma_bits.value();

        if !(edu::MIN_BITS..=64).contains(&bits) {
            dev_err!(dev, "dma_bits={}: 28 to 64\n", bits);
            return Err(EINVAL);
        }
        let taken = Taken::new(dev)?;
        let (hw, engine) = edu::start(dev, NAME, bits)?;
        let binding = Binding::<EduDriver>::new(dev, engine)?;

        Node::<EduFile>::register(
            dev.as_ref(),
            MiscDeviceOptions { name: NAME },
            binding.handle(),
        )?;
        Ok(Driver {
            _binding: binding,
            hw,
            _taken: taken,
        })
    }
}

kernel::pci_device_table!(
    PCI_TABLE,
    <EduDriver as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_id(pci::Vendor::new(0x1234), 0x11e8), ())]
);

impl pci::Driver for EduDriver {
    type IdInfo = ();
    type Data<'bound> = Driver;
    const ID_TABLE: pci::IdTable<()> = &PCI_TABLE;

    fn probe<'bound>(
        dev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound ()>,
    ) -> impl PinInit<Driver, Error> + 'bound {
        Driver::new(dev)
    }

    /// Files may be open, and calls may be in progress, also in the middle of a transfer. The
    /// mirrors, and what is mapped, end with the binding, when this has returned.
    fn unbind<'bound>(dev: &'bound pci::Device<Core<'_>>, driver: Pin<&Driver>) {
        driver.hw.unplug();
        dev.clear_master();
    }
}
