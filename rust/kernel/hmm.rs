// SPDX-License-Identifier: GPL-2.0

//! HMM mirroring: keeps a device's page table in step with the page table of a process.
//!
//! A device with a page table of its own, such as a GPU or a NIC, can use the memory of a process
//! in place. The driver implements [`MirrorOps`] and creates a [`Mirror`] of an address space.
//! Until the [`Mirror`] is dropped:
//!
//! - Before the CPU page table changes, [`MirrorOps::invalidate`] is called with the device's page
//!   table, locked, and removes the entries that are about to become stale.
//! - When the device needs a page, the driver creates a [`FaultRange`], [faults] the pages in
//!   through it and [commits] them to the device's page table. [`Faulter::map`] does all of this
//!   for most drivers.
//!
//! The device's page table is stored in the [`Mirror`], behind the lock that both sides take. The
//! driver can neither take the wrong lock nor forget to take it, and it cannot move the page table
//! to another mirror, because it is lent pinned. The result of a fault cannot be
//! accessed before it is committed, and the commit checks, under that lock, that no invalidation
//! came in between. A [`Faulter`] either faults or holds the lock, because a fault with the lock
//! held would deadlock.
//!
//! A real device reaches pages by DMA addresses. A driver that names its device by
//! [`MirrorOps::device`] gets them by [`Faulter::map_dma`], in runs, and has nothing to unmap: they
//! end with the page. Such a mirror ends with the device: see [`Binding`].
//!
//! The implementation is a wrapper around the registry in C, which keeps all state. Drivers in C
//! use the same registry.
//!
//! # Examples
//!
//! A device whose page table has room for one page:
//!
//! ```
//! use core::marker::PhantomPinned;
//! use kernel::{
//!     hmm::{new_mirror, FaultBuffer, Invalidation, Mirror, MirrorOps, Write},
//!     mm::{addr::{PageRange, Pfn, VirtAddr}, MmWithUser},
//!     prelude::*,
//!     sync::lock::spinlock::SpinLockBackend,
//! };
//!
//! struct OnePage;
//!
//! #[pin_data]
//! struct Table {
//!     entry: Option<(VirtAddr, Pfn)>,
//!     // The table belongs to its mirror: no safe code can move it out.
//!     #[pin]
//!     _pinned: PhantomPinned,
//! }
//!
//! #[vtable]
//! impl MirrorOps for OnePage {
//!     const NAME: &'static CStr = c"one_page";
//!     type PageTable = Table;
//!     type Lock = SpinLockBackend;
//!
//!     fn invalidate(&self, table: Pin<&mut Table>, invalidation: &Invalidation<'_>) {
//!         let hit = |entry: &mut (VirtAddr, Pfn)| invalidation.range().contains(entry.0);
//!
//!         if table.project().entry.take_if(hit).is_some() {
//!             // A real driver flushes the device's TLB here.
//!         }
//!     }
//! }
//!
//! fn mirror(mm: &MmWithUser) -> Result<Pin<KBox<Mirror<OnePage>>>> {
//!     let table = Table { entry: None, _pinned: PhantomPinned };
//!
//!     KBox::pin_init(new_mirror!(mm, OnePage, table), GFP_KERNEL)
//! }
//!
//! fn device_page_fault(mirror: &Mirror<OnePage>, addr: VirtAddr) -> Result {
//!     let range = PageRange::page_of(addr)?;
//!     let mut buffer = FaultBuffer::new(range.pages(), GFP_KERNEL)?;
//!
//!     mirror.faulter().map(range, &mut buffer, Write, |table, pages| {
//!         *table.project().entry = pages.map(|page| (page.addr(), page.pfn())).next();
//!     })?;
//!     Ok(())
//! }
//! # Ok::<(), Error>(())
//! ```
//!
//! C headers: [`include/linux/hmm.h`](srctree/include/linux/hmm.h),
//! [`include/linux/hmm_mirror_dma.h`](srctree/include/linux/hmm_mirror_dma.h)
//!
//! [faults]: FaultRange::fault
//! [commits]: Faulted::commit

mod access;
pub use access::{
    Access,
    PageRequest,
    Present,
    Read,
    Write, //
};

mod binding;
pub use binding::{
    new_bound_mirror,
    Binding,
    BindingHandle,
    BoundDriver,
    BoundMirror,
    BoundScope, //
};

mod callbacks;

mod dma;
pub use dma::{
    CommitError,
    DmaEntry,
    DmaRun,
    DmaRuns,
    StaleEntry, //
};

mod error;
pub use error::FaultError;

mod faulter;
pub use faulter::Faulter;

mod frame;
pub use frame::{
    Frame,
    FrameMut,
    StaleFrame, //
};

mod invalidation;
pub use invalidation::{
    Event,
    Invalidation, //
};

mod mirror;
pub use mirror::{
    new_mirror,
    new_mirror_with_lt,
    Mirror,
    TableGuard, //
};
#[doc(hidden)]
pub use mirror::{
    page_table_of,
    PageTableMustNotBeUnpin, //
};

mod ops;
pub use ops::{
    MirrorLock,
    MirrorOps,
    Owner,
    WouldBlock, //
};

mod owned;
pub use owned::OwnedFaultRange;

mod page;
pub use page::{
    Page,
    Pages, //
};

mod range;
pub use range::{
    FaultBuffer,
    FaultRange,
    Faulted,
    Stale, //
};

mod reserve;
pub use reserve::{
    Reserve,
    Short, //
};

mod two_pass;
pub use two_pass::{
    Fence,
    TwoPassOps,
    TwoPasses, //
};

#[cfg(CONFIG_HMM_MIRROR_RUST_KUNIT_TEST)]
mod tests;
