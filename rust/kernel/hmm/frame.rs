// SPDX-License-Identifier: GPL-2.0

//! Entries of an emulated device's page table, which the CPU follows.
//!
//! A real device follows its page table by itself, and nothing that a driver does wrong there can
//! be caught by a compiler. An emulated device follows it with this CPU's loads and stores, so a
//! stale entry would be a use after free in the kernel itself. A [`Frame`] is therefore not
//! believed: it carries a stamp of when it was made, and is refused if an invalidation may have hit it
//! since. A driver that forgets to take an entry out sees its accesses fail; it cannot reach the
//! page.

use super::*;
use crate::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// Number of buckets in which invalidations are noted. An invalidation of more pages counts for all addresses.
const BUCKETS: usize = 512;

/// An entry of an emulated device's page table: where a page of the process is.
///
/// Made by [`Page::frame`], and used by [`TableGuard::read`], which finds out when it is stale.
pub struct Frame {
    addr: usize,
    pfn: HmmPfn,
    order: u32,
    stamp: u64,
    mirror: u64,
}

impl Frame {
    /// Its address in the process.
    #[inline]
    pub fn addr(&self) -> VirtAddr {
        VirtAddr::new(self.addr)
    }

    /// The addresses that it maps.
    #[inline]
    pub fn range(&self) -> PageRange {
        PageRange::mapped(self.addr, self.order)
    }

    /// Its page frame number.
    #[inline]
    pub fn pfn(&self) -> Pfn {
        self.pfn.pfn()
    }

    /// Its size: the logarithm to base 2 of its pages. See [`Page::order`].
    #[inline]
    pub fn order(&self) -> u32 {
        self.order
    }

    /// The size of the CPU's mapping when the entry was made. See [`Page::map_order`].
    #[inline]
    pub fn map_order(&self) -> u32 {
        self.pfn.map_order()
    }
}

/// A [`Frame`] that the device may write to as well, by [`TableGuard::write`].
///
/// Made by [`Page::frame_mut`].
///
/// # Invariants
///
/// When the frame was made, the process had the permission to write.
pub struct FrameMut(Frame);

impl FrameMut {
    /// For a page that the process may write.
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

/// The page may not be there any more: see [`TableGuard::read`].
#[derive(Debug, PartialEq, Eq)]
pub struct StaleFrame;

/// When which addresses were last updated.
///
/// Protected by the lock of the mirror. Time is counted in invalidations.
///
/// # Invariants
///
/// For every address, the time of the last invalidation that hit it is at most the larger of `all` and
/// its bucket. `now` is at least any of these. No other instance has the same `mirror`.
pub(super) struct FrameStamps {
    mirror: u64,
    now: u64,
    all: u64,
    /// Empty for devices without [`MirrorOps::CPU_ACCESS`].
    buckets: KVec<u64>,
}

/// Where in a page `offset` is, and what of `len` bytes from there on is in the page.
fn within_page(offset: usize, len: usize) -> (usize, usize) {
    let offset = offset & !PAGE_MASK;

    (offset, len.min(PAGE_SIZE - offset))
}

impl FrameStamps {
    pub(super) fn new(cpu_access: bool) -> Result<Self> {
        static NEXT_MIRROR: Atomic<i64> = Atomic::new(0);

        // INVARIANT: Nothing was updated yet, and 64 bits do not wrap around in any lifetime.
        Ok(Self {
            mirror: NEXT_MIRROR.fetch_add(1, Relaxed) as u64,
            now: 0,
            all: 0,
            buckets: KVec::from_elem(0, if cpu_access { BUCKETS } else { 0 }, GFP_KERNEL)?,
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

    /// Makes a frame of what the CPU page table says now.
    ///
    /// # Safety
    ///
    /// `pfn` is what a fault has read for `addr`, and is mapped together with at least all that
    /// `order` says; no invalidation has hit that since; and the lock that protects `self` is held.
    pub(super) unsafe fn frame(&self, addr: usize, pfn: HmmPfn, order: u32) -> Frame {
        Frame {
            addr,
            pfn,
            order,
            stamp: self.now,
            mirror: self.mirror,
        }
    }

    /// Gets the page of a frame that `offset` is in, if no invalidation can have hit it.
    ///
    /// The page is there, and at the frame's address, for as long as `self` is borrowed: as that
    /// needs the lock, no invalidation gets through the mirror.
    fn page(
        &self,
        frame: &Frame,
        offset: usize,
    ) -> core::result::Result<Option<*mut bindings::page>, StaleFrame> {
        let index = offset >> PAGE_SHIFT;
        if index >> frame.order != 0 {
            return Ok(None);
        }

        let updated = self
            .buckets
            .get(Self::bucket(frame.addr + (index << PAGE_SHIFT)))
            .ok_or(StaleFrame)?
            .max(&self.all);
        if frame.mirror != self.mirror || frame.stamp < *updated {
            return Err(StaleFrame);
        }
        // SAFETY: By the type invariants no invalidation has hit the address since the frame was made,
        // so its pfn is that of a page of the process, and `index` is within the frame.
        Ok(Some(unsafe { frame.pfn.page(index) }))
    }

    pub(super) fn read(
        &self,
        frame: &Frame,
        offset: usize,
        to: &mut [u8],
    ) -> core::result::Result<usize, StaleFrame> {
        let Some(page) = self.page(frame, offset)? else {
            return Ok(0);
        };
        let (offset, len) = within_page(offset, to.len());

        // SAFETY: The page stays what it is while we hold `self`, and the bytes lie within it.
        // That the process may write them meanwhile is C's business, which copies bytes as they
        // are.
        unsafe { bindings::memcpy_from_page(to.as_mut_ptr().cast(), page, offset, len) };
        Ok(len)
    }

    pub(super) fn write(
        &self,
        frame: &FrameMut,
        offset: usize,
        from: &[u8],
    ) -> core::result::Result<usize, StaleFrame> {
        let Some(page) = self.page(frame, offset)? else {
            return Ok(0);
        };
        let (offset, len) = within_page(offset, from.len());

        // SAFETY: As in `read`, and the process itself may write the page.
        unsafe { bindings::memcpy_to_page(page, offset, from.as_ptr().cast(), len) };
        // The CPU's entry is writable but need not be dirty, as after MADV_FREE.
        // SAFETY: The page is mapped, and an invalidation would have to wait for us to unmap it.
        unsafe { bindings::set_page_dirty(page) };
        Ok(len)
    }
}
