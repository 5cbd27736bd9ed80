// SPDX-License-Identifier: GPL-2.0

//! Entries for the page table of an emulated device.
//!
//! A real device follows its page table by itself, and no compiler can check that. For an emulated
//! device this CPU follows it, so a stale entry would be a use after free in the kernel itself. A
//! [`Frame`] therefore carries a stamp of when it was created, and is refused if an invalidation
//! may have hit it since. If a driver forgets to remove an entry, its accesses fail.

use super::{
    page::{
        block,
        HmmPfn,
        PresentPfn, //
    },
    Write, //
};
use crate::{
    bindings, fmt,
    mm::addr::{
        PageRange,
        Pfn,
        VirtAddr, //
    },
    page::{
        PAGE_MASK,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};
use core::ops::Deref;

/// Number of buckets that invalidations are noted in. One with more pages counts for all addresses.
const BUCKETS: usize = 512;

/// An entry of the page table of an emulated device: says where a page of the process is.
///
/// Created by [`Page::frame`], and used by [`TableGuard::read`], which refuses stale frames. Its
/// methods may be called in any context.
///
/// A frame is [`Send`], [`Sync`] and [`Unpin`], and so is a [`FrameMut`]. It may be kept anywhere,
/// not only in the page table: by itself it gives no access to the page, and a stale one is refused
/// wherever it was kept.
///
/// # Examples
///
/// An emulated load. If it fails, the device faults:
///
/// ```
/// use kernel::{
///     hmm::{Frame, MirrorOps, StaleFrame, TableGuard},
///     mm::addr::VirtAddr,
///     prelude::*,
/// };
///
/// fn load<T: MirrorOps>(
///     table: &TableGuard<'_, T>,
///     frame: &Frame,
///     addr: VirtAddr,
/// ) -> Result<u8, StaleFrame> {
///     let offset = addr.offset_from(frame.addr()).ok_or(StaleFrame)?;
///     let mut byte = [0];
///
///     match table.read(frame, offset, &mut byte)? {
///         1 => Ok(byte[0]),
///         // The address is beyond the end of the frame.
///         _ => Err(StaleFrame),
///     }
/// }
/// ```
///
/// [`Page::frame`]: super::Page::frame
/// [`TableGuard::read`]: super::TableGuard::read
///
/// It is small, as there is one for each page of a device: 32 bytes, also in an [`Option`], where
/// pointers have 64 bits.
pub struct Frame {
    /// The address, which is page aligned, plus the order.
    addr_order: usize,
    pfn: PresentPfn,
    stamp: Stamp,
}

impl Frame {
    /// Returns the address of the frame in the process.
    #[inline]
    pub fn addr(&self) -> VirtAddr {
        VirtAddr::new(self.start())
    }

    /// Returns the addresses that the frame maps.
    #[inline]
    pub fn range(&self) -> PageRange {
        block(self.start(), self.order())
    }

    #[inline]
    fn start(&self) -> usize {
        self.addr_order & PAGE_MASK
    }

    /// Returns the page frame number.
    #[inline]
    pub fn pfn(&self) -> Pfn {
        self.pfn.get().pfn()
    }

    /// Returns the order of the frame. See [`Page::order`](super::Page::order).
    #[inline]
    pub fn order(&self) -> u32 {
        (self.addr_order & !PAGE_MASK) as u32
    }

    /// Returns the order that the CPU's mapping had when the frame was created. See
    /// [`Page::map_order`](super::Page::map_order).
    #[inline]
    pub fn map_order(&self) -> u32 {
        self.pfn.get().map_order()
    }

    /// Returns the frame with write access, if the process had that when the frame was created.
    ///
    /// So a device's page table needs not store that.
    #[inline]
    pub fn writable(&self) -> Option<&FrameMut> {
        // SAFETY: `FrameMut` is a transparent wrapper, and its invariant holds.
        let frame = unsafe { &*core::ptr::from_ref(self).cast::<FrameMut>() };

        self.pfn.get().grants::<Write>().then_some(frame)
    }
}

/// A [`Frame`] that the device may also write to, by [`TableGuard::write`].
///
/// Created by [`Page::frame_mut`].
///
/// [`Page::frame_mut`]: super::Page::frame_mut
/// [`TableGuard::write`]: super::TableGuard::write
///
/// # Invariants
///
/// When the frame was created, the process had write access.
#[repr(transparent)]
pub struct FrameMut(Frame);

impl FrameMut {
    /// Makes a frame writable. The process must have write access to the page.
    #[inline]
    pub(super) fn new(frame: Frame) -> Self {
        Self(frame)
    }
}

impl Deref for FrameMut {
    type Target = Frame;

    #[inline]
    fn deref(&self) -> &Frame {
        &self.0
    }
}

/// The page of a frame may have gone: [fault](super::FaultRange::fault) again.
///
/// Drivers usually do so at once. Converted to an [`Error`], it is [`EAGAIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleFrame;

impl fmt::Display for StaleFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the frame may have been invalidated")
    }
}

impl From<StaleFrame> for Error {
    #[inline]
    fn from(_: StaleFrame) -> Self {
        EAGAIN
    }
}

/// What a frame knows of when it was created, and of its mirror.
#[derive(Clone, Copy)]
pub(super) struct Stamp {
    time: u64,
    mirror: u64,
}

impl Stamp {
    /// Creates a frame.
    ///
    /// # Safety
    ///
    /// `pfn` was the valid entry that `hmm_range_fault()` reported for `addr`, and its mapping
    /// included a block of `order`, when [`FrameStamps::now`] returned `self`.
    pub(super) unsafe fn frame(self, addr: usize, pfn: HmmPfn, order: u32) -> Frame {
        Frame {
            addr_order: addr | order as usize,
            // SAFETY: By the safety requirements it is valid.
            pfn: unsafe { PresentPfn::new_unchecked(pfn) },
            stamp: self,
        }
    }
}

/// The time of the last invalidation of each address, counted in invalidations.
///
/// Protected by the lock of the mirror.
///
/// # Invariants
///
/// For every address, the time of the last invalidation that hit it is at most the larger one of
/// `all` and its bucket. `now` is at least any of these. No other instance has the same `mirror`.
pub(super) struct FrameStamps {
    mirror: u64,
    now: u64,
    all: u64,
    /// Empty for a mirror that has neither [frames](super::MirrorOps::CPU_ACCESS) nor
    /// [DMA entries](super::MirrorOps::device).
    buckets: KVec<u64>,
}

/// Returns the offset in its page of `offset`, and how many of `len` bytes from there on are in
/// that page.
fn within_page(offset: usize, len: usize) -> (usize, usize) {
    let offset = offset & !PAGE_MASK;

    (offset, len.min(PAGE_SIZE - offset))
}

impl FrameStamps {
    pub(super) fn new(used: bool) -> Result<Self> {
        static NEXT_MIRROR: Atomic<i64> = Atomic::new(0);

        // INVARIANT: Nothing was invalidated yet, and 64 bits do not wrap around in practice.
        Ok(Self {
            mirror: NEXT_MIRROR.fetch_add(1, Relaxed) as u64,
            now: 0,
            all: 0,
            buckets: KVec::from_elem(0, if used { BUCKETS } else { 0 }, GFP_KERNEL)?,
        })
    }

    fn bucket(addr: usize) -> usize {
        (addr >> PAGE_SHIFT) % BUCKETS
    }

    /// Notes an invalidation of `range`.
    pub(super) fn invalidate(&mut self, range: PageRange) {
        // INVARIANT: All addresses in `range` get the new time.
        self.now += 1;
        let pages = range.pages().as_usize();
        if pages >= BUCKETS {
            self.all = self.now;
            return;
        }
        let first = Self::bucket(range.start().as_usize());
        for i in first..first + pages {
            if let Some(bucket) = self.buckets.get_mut(i % BUCKETS) {
                *bucket = self.now;
            }
        }
    }

    /// Returns the stamp of frames of what is valid now.
    pub(super) fn now(&self) -> Stamp {
        Stamp {
            time: self.now,
            mirror: self.mirror,
        }
    }

    /// Returns whether `stamp` is of the same mirror, and no invalidation may have hit `range`
    /// since.
    pub(super) fn is_valid(&self, stamp: Stamp, range: PageRange) -> bool {
        let first = Self::bucket(range.start().as_usize());
        let pages = range.pages().as_usize().min(BUCKETS);

        stamp.mirror == self.mirror
            && stamp.time >= self.all
            && (first..first + pages).all(|i| {
                self.buckets
                    .get(i % BUCKETS)
                    .is_some_and(|&t| stamp.time >= t)
            })
    }

    /// Returns the page of a frame that `offset` is in, unless an invalidation may have hit it.
    ///
    /// The process maps the page at the address of the frame for as long as `self` is borrowed:
    /// that takes the lock, which invalidations wait for.
    fn page(
        &self,
        frame: &Frame,
        offset: usize,
    ) -> Result<Option<*mut bindings::page>, StaleFrame> {
        let index = offset >> PAGE_SHIFT;
        if index >> frame.order() != 0 {
            return Ok(None);
        }

        let invalidated = self
            .buckets
            .get(Self::bucket(frame.start() + (index << PAGE_SHIFT)))
            .ok_or(StaleFrame)?
            .max(&self.all);
        if frame.stamp.mirror != self.mirror || frame.stamp.time < *invalidated {
            return Err(StaleFrame);
        }
        // SAFETY: The entry was valid at the time of the stamp. By the type invariants no
        // invalidation has hit the address since, and `index` is within the frame.
        Ok(Some(unsafe { frame.pfn.get().page(index) }))
    }

    pub(super) fn read(
        &self,
        frame: &Frame,
        offset: usize,
        to: &mut [u8],
    ) -> Result<usize, StaleFrame> {
        let Some(page) = self.page(frame, offset)? else {
            return Ok(0);
        };
        let (offset, len) = within_page(offset, to.len());

        // SAFETY: The process maps the page while we borrow `self`, and the bytes are within it.
        // The kernel can access the page as well: it is not device private, because a mirror with
        // frames has no owner, and hmm_range_fault() refuses secret memory. The process may
        // write to the page meanwhile, so the copy is made by C code.
        unsafe { bindings::memcpy_from_page(to.as_mut_ptr().cast(), page, offset, len) };
        Ok(len)
    }

    pub(super) fn write(
        &self,
        frame: &FrameMut,
        offset: usize,
        from: &[u8],
    ) -> Result<usize, StaleFrame> {
        let Some(page) = self.page(frame, offset)? else {
            return Ok(0);
        };
        let (offset, len) = within_page(offset, from.len());

        // SAFETY: As in `read`. By the type invariants of `FrameMut`, and as no invalidation has
        // hit the frame, the process has write access.
        unsafe { bindings::memcpy_to_page(page, offset, from.as_ptr().cast(), len) };
        // The CPU's entry is writable, but need not be dirty, as after MADV_FREE.
        // SAFETY: The process maps the page while we borrow `self`.
        unsafe { bindings::set_page_dirty(page) };
        Ok(len)
    }
}
