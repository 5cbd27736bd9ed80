// SPDX-License-Identifier: GPL-2.0

//! Addresses, page frame numbers and numbers of pages, each a type of its own.
//!
//! Functions of memory management count in bytes here and in pages there, and an address of the
//! process looks like any other number. None of these types turns into another one by itself, or
//! into a number.

use crate::{
    io::PhysAddr,
    page::{
        PAGE_MASK,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
};
use core::num::NonZeroUsize;

const PAGE_SIZE_NON_ZERO: NonZeroUsize = NonZeroUsize::new(PAGE_SIZE).unwrap();

/// An address in a mirrored process, in bytes.
///
/// # Examples
///
/// ```
/// use kernel::{hmm::VirtAddr, page::PAGE_SIZE};
///
/// let addr = VirtAddr::new(3 * PAGE_SIZE + 5);
///
/// assert_eq!(addr.page_start(), VirtAddr::new(3 * PAGE_SIZE));
/// assert_eq!(addr.page_offset(), 5);
/// assert_eq!(addr.checked_add(usize::MAX), None);
/// assert_eq!(addr.offset_from(addr.page_start()), Some(5));
/// assert_eq!(addr.page_start().offset_from(addr), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct VirtAddr(usize);

impl VirtAddr {
    /// Makes an address of its number.
    #[inline]
    pub const fn new(addr: usize) -> Self {
        Self(addr)
    }

    /// The address as a number.
    #[inline]
    pub const fn as_usize(self) -> usize {
        self.0
    }

    /// The first address of its page.
    #[inline]
    pub const fn page_start(self) -> Self {
        Self(self.0 & PAGE_MASK)
    }

    /// How far it is from the start of its page, in bytes.
    #[inline]
    pub const fn page_offset(self) -> usize {
        self.0 & !PAGE_MASK
    }

    /// The address `bytes` later, or [`None`] where there is none.
    #[inline]
    pub fn checked_add(self, bytes: usize) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }

    /// How many bytes it is behind `start`, or [`None`] where it is before that.
    #[inline]
    pub fn offset_from(self, start: Self) -> Option<usize> {
        self.0.checked_sub(start.0)
    }
}

/// A number of pages.
///
/// # Examples
///
/// ```
/// use kernel::{hmm::PageCount, page::PAGE_SIZE};
///
/// assert_eq!(PageCount::new(3).bytes(), Some(3 * PAGE_SIZE));
/// assert_eq!(PageCount::new(usize::MAX).bytes(), None);
/// assert_eq!(PageCount::from_order(9), PageCount::new(512));
/// assert_eq!(PageCount::from_order(99).bytes(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct PageCount(usize);

impl PageCount {
    /// One page.
    pub const ONE: Self = Self(1);

    /// Makes a count of a number.
    #[inline]
    pub const fn new(pages: usize) -> Self {
        Self(pages)
    }

    /// The pages of a block whose size is given by the logarithm to base 2; all that there can be
    /// if it has more.
    #[inline]
    pub const fn from_order(order: u32) -> Self {
        match 1usize.checked_shl(order) {
            Some(pages) => Self(pages),
            None => Self(usize::MAX),
        }
    }

    /// The count as a number.
    #[inline]
    pub const fn as_usize(self) -> usize {
        self.0
    }

    /// How many bytes the pages have, or [`None`] for more than there can be.
    #[inline]
    pub fn bytes(self) -> Option<usize> {
        self.0.checked_mul(PAGE_SIZE)
    }
}

/// A page frame number: where a page is in memory.
///
/// It belongs into the device's page table. A copy that is kept elsewhere is as good as none once
/// the page has been invalidated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Pfn(usize);

impl Pfn {
    #[inline]
    pub(super) const fn new(pfn: usize) -> Self {
        Self(pfn)
    }

    /// The page frame number as a number.
    #[inline]
    pub const fn as_usize(self) -> usize {
        self.0
    }

    /// The physical address of the page's first byte.
    #[inline]
    pub const fn phys_addr(self) -> PhysAddr {
        (self.0 as PhysAddr) << PAGE_SHIFT
    }
}

/// Whole pages of a process's address space, at least one.
///
/// # Examples
///
/// ```
/// use kernel::{hmm::{PageCount, PageRange, VirtAddr}, page::PAGE_SIZE};
///
/// let range = PageRange::new(VirtAddr::new(7 * PAGE_SIZE), PageCount::new(10))?;
///
/// assert_eq!(range.end(), VirtAddr::new(17 * PAGE_SIZE));
/// assert!(range.contains(VirtAddr::new(17 * PAGE_SIZE - 1)));
/// assert!(!range.contains(range.end()));
///
/// // In parts that do not cross a multiple of 8 pages.
/// let mut parts = range.split_at_multiples(PageCount::new(8));
/// assert_eq!(parts.next().map(|part| part.pages()), Some(PageCount::new(1)));
/// assert_eq!(parts.next().map(|part| part.pages()), Some(PageCount::new(8)));
/// assert_eq!(parts.next().map(|part| part.pages()), Some(PageCount::new(1)));
/// assert_eq!(parts.next(), None);
///
/// // What of it an invalidation hits.
/// let invalidation = PageRange::new(VirtAddr::new(16 * PAGE_SIZE), PageCount::new(5))?;
/// assert_eq!(range.intersect(&invalidation).map(|common| common.pages()), Some(PageCount::ONE));
/// assert_eq!(range.intersect(&PageRange::page_of(range.end())?), None);
/// assert_eq!(invalidation.addrs().nth(4), Some(VirtAddr::new(20 * PAGE_SIZE)));
/// assert_eq!(invalidation.addrs().nth(5), None);
///
/// // Parts of pages, and no pages, are no ranges of pages.
/// assert!(PageRange::new(VirtAddr::new(5), PageCount::ONE).is_err());
/// assert!(PageRange::new(VirtAddr::new(0), PageCount::new(0)).is_err());
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `start` and `end` are page aligned, and `start` is below `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    start: usize,
    end: usize,
}

impl PageRange {
    /// The `pages` pages from `start` on.
    ///
    /// # Errors
    ///
    /// [`EINVAL`]: `start` is not page aligned, there are no pages, or there is no room for them
    /// in an address space, the last page of which cannot be in a range.
    #[inline]
    pub fn new(start: VirtAddr, pages: PageCount) -> Result<Self> {
        let len = pages.bytes().ok_or(EINVAL)?;

        Self::from_bounds(start, start.checked_add(len).ok_or(EINVAL)?)
    }

    /// The pages from `start`, inclusive, to `end`, exclusive.
    ///
    /// # Errors
    ///
    /// [`EINVAL`]: `start` or `end` is not page aligned, or `end` is not above `start`.
    #[inline]
    pub fn from_bounds(start: VirtAddr, end: VirtAddr) -> Result<Self> {
        if start.page_offset() != 0 || end.page_offset() != 0 || start >= end {
            return Err(EINVAL);
        }
        // INVARIANT: Just checked.
        Ok(Self {
            start: start.0,
            end: end.0,
        })
    }

    /// The page that `addr` is in.
    ///
    /// # Errors
    ///
    /// [`EINVAL`]: that is the last page there is.
    #[inline]
    pub fn page_of(addr: VirtAddr) -> Result<Self> {
        Self::new(addr.page_start(), PageCount::ONE)
    }

    /// The `2^order` pages from `start` on, which the process has.
    #[inline]
    pub(super) fn mapped(start: usize, order: u32) -> Self {
        // INVARIANT: An entry of the CPU page table is page aligned, and nothing is mapped as high
        // as the last page there is.
        Self {
            start,
            end: start.saturating_add(PAGE_SIZE << order),
        }
    }

    /// All pages that an invalidation touches, but for the last page there is.
    #[inline]
    pub(super) fn touched(start: usize, end: usize) -> Self {
        // INVARIANT: Both are page aligned. An invalidation is not empty, and nothing is mapped in the
        // last page there is, which rounding up would need.
        Self {
            start: start & PAGE_MASK,
            end: end.saturating_add(!PAGE_MASK) & PAGE_MASK,
        }
    }

    /// The first address.
    #[inline]
    pub const fn start(&self) -> VirtAddr {
        VirtAddr(self.start)
    }

    /// The first address behind the range.
    #[inline]
    pub const fn end(&self) -> VirtAddr {
        VirtAddr(self.end)
    }

    /// How many pages there are.
    #[inline]
    pub const fn pages(&self) -> PageCount {
        PageCount((self.end - self.start) >> PAGE_SHIFT)
    }

    /// Whether `addr` is in the range.
    #[inline]
    pub const fn contains(&self, addr: VirtAddr) -> bool {
        self.start <= addr.0 && addr.0 < self.end
    }

    /// Whether the two ranges have a page in common.
    #[inline]
    pub const fn overlaps(&self, other: &PageRange) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// What the two ranges have in common.
    #[inline]
    pub fn intersect(&self, other: &PageRange) -> Option<PageRange> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);

        // INVARIANT: Both are page aligned, as they were.
        (start < end).then_some(PageRange { start, end })
    }

    /// The addresses of its pages, one by one.
    #[inline]
    pub fn addrs(self) -> impl Iterator<Item = VirtAddr> {
        let mut next = self.start;

        core::iter::from_fn(move || {
            let addr = next;

            if addr >= self.end {
                return None;
            }
            next += PAGE_SIZE;
            Some(VirtAddr(addr))
        })
    }

    /// The range in parts that do not cross an address which is a multiple of `pages` pages.
    ///
    /// A part that is as large as that is aligned to its size, as huge mappings are. 0 is taken
    /// for 1.
    pub fn split_at_multiples(self, pages: PageCount) -> impl Iterator<Item = PageRange> {
        // What is never 0 makes no code for that, which would end up in the driver.
        let size = NonZeroUsize::new(pages.bytes().unwrap_or(usize::MAX & PAGE_MASK))
            .unwrap_or(PAGE_SIZE_NON_ZERO);
        let mut start = self.start;

        core::iter::from_fn(move || {
            if start >= self.end {
                return None;
            }
            // INVARIANT: `start` and `size` are page aligned; `start` is below `self.end`, and
            // below the next multiple of `size`.
            let part = PageRange {
                start,
                end: (start - start % size)
                    .saturating_add(size.get())
                    .min(self.end),
            };
            start = part.end;
            Some(part)
        })
    }
}
