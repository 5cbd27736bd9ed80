// SPDX-License-Identifier: GPL-2.0

//! Addresses, page frame numbers and page counts as types of their own.
//!
//! Memory management counts in bytes in some places and in pages in others, and a user address is
//! a plain number in C. These types cannot be confused: none of them converts to another one, or
//! to a number, implicitly.

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

/// A virtual address in the address space of a process, in bytes.
///
/// # Examples
///
/// ```
/// use kernel::{mm::addr::VirtAddr, page::PAGE_SIZE};
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
    /// Creates an address from its numeric value.
    #[inline]
    pub const fn new(addr: usize) -> Self {
        Self(addr)
    }

    /// Returns the numeric value of the address.
    #[inline]
    pub const fn as_usize(self) -> usize {
        self.0
    }

    /// Returns the first address of the page that contains this address.
    #[inline]
    pub const fn page_start(self) -> Self {
        Self(self.0 & PAGE_MASK)
    }

    /// Returns the offset in bytes of this address in its page.
    #[inline]
    pub const fn page_offset(self) -> usize {
        self.0 & !PAGE_MASK
    }

    /// Adds `bytes`, or returns [`None`] on overflow.
    #[inline]
    pub fn checked_add(self, bytes: usize) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }

    /// Returns the distance in bytes from `start`, or [`None`] if this address is below `start`.
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
/// use kernel::{mm::addr::PageCount, page::PAGE_SIZE};
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

    /// Creates a count of `pages` pages.
    #[inline]
    pub const fn new(pages: usize) -> Self {
        Self(pages)
    }

    /// Returns `2^order` pages, or [`usize::MAX`] pages if that does not fit.
    #[inline]
    pub const fn from_order(order: u32) -> Self {
        match 1usize.checked_shl(order) {
            Some(pages) => Self(pages),
            None => Self(usize::MAX),
        }
    }

    /// Returns the count as a number.
    #[inline]
    pub const fn as_usize(self) -> usize {
        self.0
    }

    /// Returns the size of the pages in bytes, or [`None`] on overflow.
    #[inline]
    pub fn bytes(self) -> Option<usize> {
        self.0.checked_mul(PAGE_SIZE)
    }
}

/// A page frame number.
///
/// It holds no reference to the page. Whoever stores it has to know for how long the page stays in
/// this frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Pfn(pub(crate) usize);

impl Pfn {
    /// Returns the page frame number as a number.
    #[inline]
    pub const fn as_usize(self) -> usize {
        self.0
    }

    /// Returns the physical address of the first byte of the page.
    #[inline]
    pub const fn phys_addr(self) -> PhysAddr {
        (self.0 as PhysAddr) << PAGE_SHIFT
    }
}

/// A nonempty range of whole pages in the address space of a process.
///
/// The last page of the address space cannot be part of a range, because the end of the range
/// would overflow.
///
/// # Examples
///
/// ```
/// use kernel::{mm::addr::{PageCount, PageRange, VirtAddr}, page::PAGE_SIZE};
///
/// let range = PageRange::new(VirtAddr::new(7 * PAGE_SIZE), PageCount::new(10))?;
///
/// assert_eq!(range.end(), VirtAddr::new(17 * PAGE_SIZE));
/// assert!(range.contains(VirtAddr::new(17 * PAGE_SIZE - 1)));
/// assert!(!range.contains(range.end()));
///
/// // Split where an address is a multiple of 8 pages.
/// let mut parts = range.split_at_multiples(PageCount::new(8));
/// assert_eq!(parts.next().map(|part| part.pages()), Some(PageCount::new(1)));
/// assert_eq!(parts.next().map(|part| part.pages()), Some(PageCount::new(8)));
/// assert_eq!(parts.next().map(|part| part.pages()), Some(PageCount::new(1)));
/// assert_eq!(parts.next(), None);
///
/// // The part of the range that an invalidation hits.
/// let invalidated = PageRange::new(VirtAddr::new(16 * PAGE_SIZE), PageCount::new(5))?;
/// assert_eq!(range.intersect(&invalidated).map(|common| common.pages()), Some(PageCount::ONE));
/// assert_eq!(range.intersect(&PageRange::page_of(range.end())?), None);
/// assert_eq!(invalidated.addrs().nth(4), Some(VirtAddr::new(20 * PAGE_SIZE)));
/// assert_eq!(invalidated.addrs().nth(5), None);
///
/// // A range is neither unaligned nor empty.
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
    /// Creates a range of `pages` pages that begins at `start`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if `start` is not page aligned, if `pages` is 0, or if the end of the range
    /// overflows.
    #[inline]
    pub fn new(start: VirtAddr, pages: PageCount) -> Result<Self> {
        let len = pages.bytes().ok_or(EINVAL)?;

        Self::from_bounds(start, start.checked_add(len).ok_or(EINVAL)?)
    }

    /// Creates a range from `start`, inclusive, to `end`, exclusive.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if `start` or `end` is not page aligned, or if `end` is not above `start`.
    #[inline]
    pub fn from_bounds(start: VirtAddr, end: VirtAddr) -> Result<Self> {
        if start.page_offset() != 0 || end.page_offset() != 0 || start >= end {
            return Err(EINVAL);
        }
        // SAFETY: Just checked.
        Ok(unsafe { Self::from_bounds_unchecked(start, end) })
    }

    /// Creates a range from `start`, inclusive, to `end`, exclusive, without checks.
    ///
    /// # Safety
    ///
    /// `start` and `end` are page aligned, and `start` is below `end`.
    #[inline]
    pub const unsafe fn from_bounds_unchecked(start: VirtAddr, end: VirtAddr) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            start: start.0,
            end: end.0,
        }
    }

    /// Returns the page that contains `addr`.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if `addr` is in the last page of the address space.
    #[inline]
    pub fn page_of(addr: VirtAddr) -> Result<Self> {
        Self::new(addr.page_start(), PageCount::ONE)
    }

    /// Returns the first address of the range.
    #[inline]
    pub const fn start(&self) -> VirtAddr {
        VirtAddr(self.start)
    }

    /// Returns the first address after the range.
    #[inline]
    pub const fn end(&self) -> VirtAddr {
        VirtAddr(self.end)
    }

    /// Returns the number of pages.
    #[inline]
    pub const fn pages(&self) -> PageCount {
        PageCount((self.end - self.start) >> PAGE_SHIFT)
    }

    /// Returns whether `addr` is in the range.
    #[inline]
    pub const fn contains(&self, addr: VirtAddr) -> bool {
        self.start <= addr.0 && addr.0 < self.end
    }

    /// Returns whether the two ranges have a page in common.
    #[inline]
    pub const fn overlaps(&self, other: &PageRange) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Returns the pages that are in both ranges.
    #[inline]
    pub fn intersect(&self, other: &PageRange) -> Option<PageRange> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);

        // INVARIANT: The bounds are page aligned, because those of both ranges are.
        (start < end).then_some(PageRange { start, end })
    }

    /// Iterates over the addresses of the pages.
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

    /// Splits the range at each address that is a multiple of `pages` pages.
    ///
    /// A part of that size is aligned to its size, as a huge mapping has to be. A `pages` of 0
    /// means 1.
    pub fn split_at_multiples(self, pages: PageCount) -> impl Iterator<Item = PageRange> {
        // A divisor that cannot be 0 saves the driver a panic.
        let size = NonZeroUsize::new(pages.bytes().unwrap_or(usize::MAX & PAGE_MASK))
            .unwrap_or(PAGE_SIZE_NON_ZERO);
        let mut start = self.start;

        core::iter::from_fn(move || {
            if start >= self.end {
                return None;
            }
            // INVARIANT: `start` and `size` are page aligned; `start` is below `self.end` and
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
