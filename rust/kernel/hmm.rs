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
//! driver can neither take the wrong lock nor forget to take it. The result of a fault cannot be
//! accessed before it is committed, and the commit checks, under that lock, that no invalidation
//! came in between. A [`Faulter`] either faults or holds the lock, because a fault with the lock
//! held would deadlock.
//!
//! The implementation is a wrapper around the registry in C, which keeps all state. Drivers in C
//! use the same registry.
//!
//! # Examples
//!
//! A device whose page table has room for one page:
//!
//! ```
//! use kernel::{
//!     hmm::{FaultBuffer, Invalidation, Mirror, MirrorOps, Write},
//!     mm::{addr::{PageRange, Pfn, VirtAddr}, MmWithUser},
//!     new_mirror,
//!     prelude::*,
//!     sync::lock::spinlock::SpinLockBackend,
//! };
//!
//! struct OnePage;
//!
//! struct Entry {
//!     addr: VirtAddr,
//!     pfn: Pfn,
//! }
//!
//! #[vtable]
//! impl MirrorOps for OnePage {
//!     type PageTable = Option<Entry>;
//!     type Lock = SpinLockBackend;
//!
//!     fn invalidate(&self, table: &mut Option<Entry>, invalidation: &Invalidation<'_>) {
//!         if table.as_ref().is_some_and(|e| invalidation.range().contains(e.addr)) {
//!             *table = None;
//!             // A real driver flushes the device's TLB here.
//!         }
//!     }
//! }
//!
//! fn mirror(mm: &MmWithUser) -> Result<Pin<KBox<Mirror<OnePage>>>> {
//!     KBox::pin_init(new_mirror!(mm, OnePage, None), GFP_KERNEL)
//! }
//!
//! fn device_page_fault(mirror: &Mirror<OnePage>, addr: VirtAddr) -> Result {
//!     let range = PageRange::page_of(addr)?;
//!     let mut buffer = FaultBuffer::new(range.pages(), GFP_KERNEL)?;
//!
//!     mirror.faulter().map(range, &mut buffer, Write, |table, pages| {
//!         for page in pages {
//!             *table = Some(Entry { addr: page.addr(), pfn: page.pfn() });
//!         }
//!     })
//! }
//! # Ok::<(), Error>(())
//! ```
//!
//! C header: [`include/linux/hmm.h`](srctree/include/linux/hmm.h)
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

mod callbacks;

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
    Mirror,
    TableGuard, //
};

mod ops;
pub use ops::{
    MirrorLock,
    MirrorOps,
    Owner, //
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

#[cfg(CONFIG_HMM_MIRROR_RUST_KUNIT_TEST)]
mod tests;
