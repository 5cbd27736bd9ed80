// SPDX-License-Identifier: GPL-2.0

//! The hardware: QEMU's PCI device edu, which copies between its buffer and a DMA address.

use kernel::{
    device::{
        Bound,
        Core, //
    },
    dma::{
        Coherent,
        DmaAddress,
        DmaMask, //
    },
    io::{
        poll::read_poll_timeout,
        Io, //
    },
    irq::{
        Flags,
        IrqReturn,
        ThreadedHandler,
        ThreadedIrqReturn, //
    },
    page::PAGE_SIZE,
    pci,
    prelude::*,
    sync::{
        new_condvar,
        new_mutex,
        Arc,
        CondVar,
        CondVarTimeoutResult,
        Mutex, //
    },
    time::{
        delay::fsleep,
        msecs_to_jiffies,
        Delta,
        Instant,
        Monotonic, //
    },
};

/// The registers.
mod regs {
    pub(super) const ID: usize = 0x00;
    pub(super) const ID_MASK: u32 = 0xff;
    pub(super) const ID_VALUE: u32 = 0xed;
    /// Reads as the complement of what was written.
    pub(super) const LIVENESS: usize = 0x04;
    pub(super) const IRQ_STATUS: usize = 0x24;
    pub(super) const IRQ_ACK: usize = 0x64;
    pub(super) const IRQ_DMA: u32 = 0x100;
    pub(super) const DMA_SRC: usize = 0x80;
    pub(super) const DMA_DST: usize = 0x88;
    pub(super) const DMA_COUNT: usize = 0x90;
    pub(super) const DMA_CMD: usize = 0x98;
    pub(super) const CMD_RUN: u64 = 0x1;
    pub(super) const CMD_TO_MEMORY: u64 = 0x2;
    pub(super) const CMD_IRQ: u64 = 0x4;
    pub(super) const END: usize = 0xa0;
}

/// The command register of a PCI device, and its bit for bus mastering.
const PCI_COMMAND: usize = 0x04;
const PCI_COMMAND_MASTER: u16 = 0x4;

/// Where the device sees its own buffer, of a page.
const BUFFER: u64 = 0x40000;
const BUFFER_SIZE: usize = 4096;

/// What a device of QEMU has unless it is told otherwise.
pub(crate) const MIN_BITS: u32 = 28;

/// A transfer takes 100 ms of the guest's time, which may pass slowly for the CPU.
const TRANSFER_TIMEOUT: Delta = Delta::from_secs(2);

// The buffer is no larger, so neither may the pages be.
const _: () = assert!(PAGE_SIZE == BUFFER_SIZE);

/// Which way the device copies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    FromMemory,
    ToMemory,
}

/// What the interrupt handler needs of the device.
#[pin_data]
pub(crate) struct Hardware {
    regs: pci::DevresBar<{ regs::END }>,
    #[pin]
    events: Mutex<Events>,
    #[pin]
    changed: CondVar,
}

#[derive(Default)]
struct Events {
    /// The device says that a transfer is over.
    done: bool,
    /// The driver is being unbound. Never reset.
    unplugged: bool,
}

impl Hardware {
    pub(crate) fn unplug(&self) {
        self.events.lock().unplugged = true;
        self.changed.notify_all();
    }

    /// Waits for the end of a transfer. Returns whether it has come.
    ///
    /// It cannot be interrupted, as the device would go on. For who has a signal pending there is
    /// nothing but to look again and again.
    fn wait(&self) -> bool {
        let start = Instant::<Monotonic>::now();
        let mut events = self.events.lock();

        while !events.done && !events.unplugged && start.elapsed() < TRANSFER_TIMEOUT {
            let jiffies = msecs_to_jiffies(100);
            let woken = self
                .changed
                .wait_interruptible_timeout(&mut events, jiffies);

            if let CondVarTimeoutResult::Signal { .. } = woken {
                drop(events);
                fsleep(Delta::from_millis(1));
                events = self.events.lock();
            }
        }
        events.done
    }
}

struct Interrupt(Arc<Hardware>);

impl ThreadedHandler for Interrupt {
    fn handle(&self) -> ThreadedIrqReturn {
        let Some(bar) = self.0.regs.try_access() else {
            return ThreadedIrqReturn::None;
        };
        let status = bar.read32(regs::IRQ_STATUS);

        // All ones: nobody is there who could answer.
        if status == 0 || status == !0 {
            return ThreadedIrqReturn::None;
        }
        bar.write32(status, regs::IRQ_ACK);
        if status & regs::IRQ_DMA == 0 {
            ThreadedIrqReturn::Handled
        } else {
            ThreadedIrqReturn::WakeThread
        }
    }

    fn handle_threaded(&self) -> IrqReturn {
        self.0.events.lock().done = true;
        self.0.changed.notify_all();
        IrqReturn::Handled
    }
}

/// What copies: one transfer at a time.
pub(crate) struct Engine {
    hw: Arc<Hardware>,
    /// Memory of the driver's, by which the CPU reaches the buffer of the device.
    bounce: Coherent<[u8]>,
    /// It did not answer. Never reset.
    dead: bool,
}

impl Engine {
    /// Does the device reach what it is said to? It leaves out bits that it does not have, and
    /// copies to or from elsewhere. So it only reads by an address of `bits`, and writes by one
    /// that each edu has.
    fn new(dev: &pci::Device<Core<'_>>, hw: Arc<Hardware>, bits: u32) -> Result<Self> {
        // The first address behind an IOMMU has all bits; without, it is where there is memory.
        dev.set_dma_mask(DmaMask::try_new(bits)?)?;
        let mut engine = Engine {
            hw,
            bounce: Coherent::zeroed_slice(dev.as_ref(), BUFFER_SIZE, GFP_KERNEL)?,
            dead: false,
        };
        dev.set_dma_mask(DmaMask::try_new(MIN_BITS)?)?;
        let low: Coherent<[u8]> = Coherent::zeroed_slice(dev.as_ref(), BUFFER_SIZE, GFP_KERNEL)?;
        let wanted = KVec::from_elem(0xa5u8, BUFFER_SIZE, GFP_KERNEL)?;
        let mut found = KVec::from_elem(0u8, BUFFER_SIZE, GFP_KERNEL)?;

        engine.bounce.copy_from_slice(&wanted);
        let addr = engine.bounce.dma_address();
        engine.copy(dev, addr, BUFFER_SIZE, Direction::FromMemory)?;
        engine.copy(dev, low.dma_address(), BUFFER_SIZE, Direction::ToMemory)?;
        low.copy_to_slice(&mut found);
        if *found != *wanted {
            return Err(EIO);
        }
        dev.set_dma_mask(DmaMask::try_new(bits)?)?;
        Ok(engine)
    }

    /// Copies between the device's buffer and a DMA address, and waits until the device has done
    /// so, or cannot any more. So this always ends, and soon, and who waits for that need not look
    /// at the clock.
    ///
    /// The interrupt is a message, which comes behind the data, and needs bus mastering as they do.
    pub(crate) fn copy(
        &mut self,
        dev: &pci::Device<Bound>,
        addr: DmaAddress,
        len: usize,
        direction: Direction,
    ) -> Result {
        let bar = self.hw.regs.access(dev.as_ref())?;

        if self.dead {
            return Err(EIO);
        }
        {
            let mut events = self.hw.events.lock();

            if events.unplugged {
                return Err(ENODEV);
            }
            events.done = false;
        }
        let (from, to, command) = match direction {
            Direction::FromMemory => (addr, BUFFER, 0),
            Direction::ToMemory => (BUFFER, addr, regs::CMD_TO_MEMORY),
        };
        bar.try_write64(from, regs::DMA_SRC)?;
        bar.try_write64(to, regs::DMA_DST)?;
        bar.try_write64(len as u64, regs::DMA_COUNT)?;
        bar.try_write64(command | regs::CMD_RUN | regs::CMD_IRQ, regs::DMA_CMD)?;
        if self.hw.wait() {
            return Ok(());
        }

        // The device may still be about to copy: keep it from memory. It is not trusted again
        // until a driver is bound to it anew, which waits for that transfer.
        let config = dev.config_space();
        let command = config.read16(PCI_COMMAND);
        config.write16(command & !PCI_COMMAND_MASTER, PCI_COMMAND);
        dev.wait_for_pending_transaction();
        self.dead = true;
        if self.hw.events.lock().unplugged {
            return Err(ENODEV);
        }
        dev_err!(
            dev,
            "does not answer: no more transfers until it is bound again\n"
        );
        Err(EIO)
    }

    /// Has the device copy bytes of the driver's to its buffer.
    pub(crate) fn load(&mut self, dev: &pci::Device<Bound>, bytes: &[u8]) -> Result {
        // What is behind them is not copied.
        let mut page = KVec::from_elem(0u8, BUFFER_SIZE, GFP_KERNEL)?;

        page[..bytes.len()].copy_from_slice(bytes);
        self.bounce.copy_from_slice(&page);
        let addr = self.bounce.dma_address();
        self.copy(dev, addr, bytes.len(), Direction::FromMemory)
    }

    /// And the other way.
    pub(crate) fn store(&mut self, dev: &pci::Device<Bound>, bytes: &mut [u8]) -> Result {
        let mut page = KVec::from_elem(0u8, BUFFER_SIZE, GFP_KERNEL)?;
        let addr = self.bounce.dma_address();

        self.copy(dev, addr, bytes.len(), Direction::ToMemory)?;
        self.bounce.copy_to_slice(&mut page);
        bytes.copy_from_slice(&page[..bytes.len()]);
        Ok(())
    }
}

/// Is this an edu that does nothing, whatever was made of it before?
fn wake(bar: &pci::Bar<'_, { regs::END }>) -> Result {
    if bar.read32(regs::ID) & regs::ID_MASK != regs::ID_VALUE {
        return Err(ENODEV);
    }
    bar.write32(0x12345678, regs::LIVENESS);
    if bar.read32(regs::LIVENESS) != !0x12345678 {
        return Err(EIO);
    }
    // A transfer that nobody waits for any more would find itself bus master again.
    read_poll_timeout(
        || bar.try_read64(regs::DMA_CMD),
        |command: &u64| command & regs::CMD_RUN == 0,
        Delta::from_millis(1),
        Delta::from_secs(1),
    )?;
    bar.write32(bar.read32(regs::IRQ_STATUS), regs::IRQ_ACK);
    Ok(())
}

/// Makes it ready. It is not used by anybody then.
pub(crate) fn start(
    dev: &pci::Device<Core<'_>>,
    name: &'static CStr,
    bits: u32,
) -> Result<(Arc<Hardware>, Engine)> {
    dev.enable_managed()
        .inspect_err(|_| dev_err!(dev, "cannot be enabled\n"))?;
    let bar = dev
        .iomap_region_sized::<{ regs::END }>(0, name)
        .inspect_err(|_| dev_err!(dev, "has no registers\n"))?;
    wake(&bar).inspect_err(|_| dev_err!(dev, "is no edu, or does not answer\n"))?;

    let hw = Arc::pin_init(
        try_pin_init!(Hardware {
            regs: bar.into_devres()?,
            events <- new_mutex!(Events::default()),
            changed <- new_condvar!(),
        }? Error),
        GFP_KERNEL,
    )?;
    // MSI: see `Engine::copy`.
    dev.request_managed_irq(
        pci::IrqTypes::default().with(pci::IrqType::Msi),
        Flags::TRIGGER_NONE,
        name,
        Interrupt(hw.clone()),
    )
    .inspect_err(|_| dev_err!(dev, "has no MSI\n"))?;
    dev.set_master();
    let engine = Engine::new(dev, hw.clone(), bits).inspect_err(|_| {
        dev_err!(
            dev,
            "does not copy by DMA addresses of {} bits: see dma_bits\n",
            bits
        )
    })?;
    Ok((hw, engine))
}
