// SPDX-License-Identifier: GPL-2.0

//! What a driver does to a device without having to undo it, or to see that it does so in time.

use super::{
    Device,
    IrqTypes,
    IrqVectorRegistration, //
};
use crate::{
    bindings,
    device::{
        Bound,
        Core, //
    },
    devres,
    dma::DmaMask,
    error::to_result,
    irq::{
        Flags,
        IrqRequest,
        ThreadedHandler,
        ThreadedRegistration, //
    },
    prelude::*,
    str::CStr, //
};
use core::ptr;

/// An interrupt of a device.
#[pin_data]
struct Line<T: ThreadedHandler + 'static> {
    // Freed before its vector is.
    #[pin]
    registration: ThreadedRegistration<'static, T>,
    vectors: IrqVectorRegistration<'static>,
}

impl Device<Core<'_>> {
    /// Allocates an interrupt vector, and registers a handler for it, until the device is unbound.
    ///
    /// When the device is being unbound, this is undone in the reverse order of what devres
    /// manages. The handler may be called as soon as this has been called.
    ///
    /// Sleeps.
    ///
    /// # Errors
    ///
    /// Those of [`Device::alloc_irq_vectors`] and [`ThreadedRegistration::new`], [`ENOMEM`], and
    /// [`EBUSY`]: the device has vectors already, which would be freed with this one.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{
    ///     device::Core,
    ///     irq::{Flags, IrqReturn, ThreadedHandler},
    ///     pci::{Device, IrqType, IrqTypes},
    ///     prelude::*,
    ///     sync::{Arc, Completion},
    /// };
    ///
    /// struct Done(Arc<Completion>);
    ///
    /// impl ThreadedHandler for Done {
    ///     fn handle_threaded(&self) -> IrqReturn {
    ///         self.0.complete_all();
    ///         IrqReturn::Handled
    ///     }
    /// }
    ///
    /// fn start(dev: &Device<Core<'_>>, done: Arc<Completion>) -> Result {
    ///     let types = IrqTypes::default().with(IrqType::Msi);
    ///
    ///     dev.request_managed_irq(types, Flags::ONESHOT, c"gpu", Done(done))
    /// }
    /// ```
    pub fn request_managed_irq<T: ThreadedHandler + Send + 'static>(
        &self,
        types: IrqTypes,
        flags: Flags,
        name: &'static CStr,
        handler: T,
    ) -> Result {
        // SAFETY: `self.as_raw()` is a pointer to a valid `struct pci_dev`, which is being bound,
        // so that nobody else changes these.
        let raw = unsafe { &*self.as_raw() };
        if raw.msi_enabled() != 0 || raw.msix_enabled() != 0 {
            return Err(EBUSY);
        }

        let bound: &Device<Bound> = self;
        // SAFETY: The reference is in `Line`, which devres drops before the device is unbound,
        // and nobody can leak. The driver is that of the device, as it has it as `Core`, so its
        // module is there until then.
        let dev: &'static Device<Bound> = unsafe { &*ptr::from_ref(bound) };
        let vectors = dev.alloc_irq_vectors(1, 1, types)?;
        let irq = IrqRequest::from(vectors.index(0)?).irq();
        // SAFETY: `irq` is a number for `dev`.
        let request = unsafe { IrqRequest::new(dev.as_ref(), irq) };
        let handler = Ok::<T, Error>(handler);

        devres::register(
            bound.as_ref(),
            try_pin_init!(Line {
                // SAFETY: It is never leaked, as devres drops it.
                registration <- unsafe {
                    ThreadedRegistration::new(request, flags, name, handler)
                },
                vectors,
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Keeps the device from memory, and from sending messages: turns bus mastering off.
    ///
    /// For when it is being unbound. May be called in any context.
    #[inline]
    pub fn clear_master(&self) {
        // SAFETY: `self.as_raw()` is a pointer to a valid `struct pci_dev`.
        unsafe { bindings::pci_clear_master(self.as_raw()) };
    }
}

impl Device<Bound> {
    /// Waits until the device has no request on the way, for about 1.5 seconds at most.
    ///
    /// Returns whether it has none, as far as it can tell. Sleeps.
    #[inline]
    pub fn wait_for_pending_transaction(&self) -> bool {
        // SAFETY: `self.as_raw()` is a pointer to a valid `struct pci_dev`.
        unsafe { bindings::pci_wait_for_pending_transaction(self.as_raw()) != 0 }
    }
}

impl Device<Core<'_>> {
    /// Enables memory resources and the device itself, until it is unbound.
    ///
    /// Sleeps.
    ///
    /// # Errors
    ///
    /// Those of `pcim_enable_device()`.
    #[inline]
    pub fn enable_managed(&self) -> Result {
        // SAFETY: `self.as_raw()` is a pointer to a valid `struct pci_dev`, which is being bound.
        to_result(unsafe { bindings::pcim_enable_device(self.as_raw()) })
    }
}

// A mask is a word there, which nobody can see half of, and decides nothing but how wide addresses
// are: with `DMA_OPS_BYPASS` also how they come about.
#[cfg(all(CONFIG_64BIT, not(CONFIG_DMA_OPS_BYPASS)))]
impl Device<Core<'_>> {
    /// Sets how wide the DMA addresses of the device are, for what is allocated and for what is
    /// mapped.
    ///
    /// To be called in `probe()`. What was allocated or mapped before keeps the address that it
    /// has. This is [`dma_set_mask_and_coherent`] without its condition: if memory is allocated at
    /// the same time, its address may have as many bits as the old mask has.
    ///
    /// # Errors
    ///
    /// [`EIO`]: the platform has no addresses that are so short.
    ///
    /// [`dma_set_mask_and_coherent`]: crate::dma::Device::dma_set_mask_and_coherent
    pub fn set_dma_mask(&self, mask: DmaMask) -> Result {
        // SAFETY: `self.as_ref().as_raw()` is a pointer to a valid `struct device`. Who allocates
        // or maps at the same time reads the masks, which are words, and uses the old ones or the
        // new ones; either were set for this device. Nothing else is changed.
        to_result(unsafe {
            bindings::dma_set_mask_and_coherent(self.as_ref().as_raw(), mask.value())
        })
    }
}
