// SPDX-License-Identifier: GPL-2.0

//! The pages that a commit lends to the driver.

use super::{
    access::Sealed,
    frame::Stamp,
    Access,
    Frame,
    FrameMut,
    MirrorOps,
    Write, //
};
use crate::{
    bindings,
    mm::addr::{
        PageRange,
        Pfn,
        VirtAddr, //
    },
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
};
use core::{
    marker::PhantomData,
    num::NonZero, //
};

/// An entry of the CPU page table as `hmm_range_fault()` reports it: a frame number, and flags.
#[derive(Clone, Copy)]
pub(super) struct HmmPfn(pub(super) c_ulong);

impl HmmPfn {
    #[inline]
    pub(super) fn pfn(self) -> Pfn {
        Pfn(self.0 & !bindings::hmm_pfn_flags_HMM_PFN_FLAGS)
    }

    #[inline]
    pub(super) fn grants<A: Access>(self) -> bool {
        self.0 & A::GRANTED == A::GRANTED
    }

    #[inline]
    pub(super) fn map_order(self) -> u32 {
        // SAFETY: Has no requirements.
        unsafe { bindings::hmm_pfn_to_map_order(self.0) }
    }

    /// Returns the page, or the page that is `index` pages behind it.
    ///
    /// # Safety
    ///
    /// `hmm_range_fault()` reported `self`, with `HMM_PFN_VALID`, and no invalidation hit it since.
    /// The mapping has `index` more pages.
    #[inline]
    pub(super) unsafe fn page(self, index: usize) -> *mut bindings::page {
        // SAFETY: By the safety requirements the frame is mapped. `hmm_range_fault()` refuses
        // VM_PFNMAP and VM_IO mappings, and PTEs without a struct page in others. (It does not
        // check PMDs and PUDs for that, which a VM_MIXEDMAP mapping may have; in mainline only
        // mshv_vtl creates such ones.) The frame number is in the low bits, so adding to it does
        // not change the flags.
        unsafe { bindings::hmm_pfn_to_page(self.0 + index) }
    }
}

/// A [`HmmPfn`] with `HMM_PFN_VALID`, and so not 0.
#[derive(Clone, Copy)]
pub(super) struct PresentPfn(NonZero<c_ulong>);

impl PresentPfn {
    /// # Safety
    ///
    /// `pfn` has `HMM_PFN_VALID`.
    #[inline]
    pub(super) unsafe fn new_unchecked(pfn: HmmPfn) -> Self {
        // SAFETY: By the safety requirements there is a bit in it.
        Self(unsafe { NonZero::new_unchecked(pfn.0) })
    }

    #[inline]
    pub(super) fn get(self) -> HmmPfn {
        HmmPfn(self.0.get())
    }
}

/// Returns the addresses of a block of `2^order` pages at `addr`.
///
/// The block is mapped in a process, and `addr` is page aligned.
#[inline]
pub(super) fn block(addr: usize, order: u32) -> PageRange {
    let end = addr.wrapping_add(PAGE_SIZE << order);

    // SAFETY: Both are page aligned. User mappings end below the last page of the address space,
    // so `end` does not overflow.
    unsafe { PageRange::from_bounds_unchecked(VirtAddr::new(addr), VirtAddr::new(end)) }
}

/// An iterator over the pages that a commit lends to the driver, in address order.
///
/// Pages that are not present, or do not permit `A`, are left out. See [`Faulted::commit`].
///
/// It is used with the lock of the device's page table held. No method of it, or of a [`Page`],
/// sleeps or fails.
///
/// A page that is lent for [`Write`], by a fault for that or by [`Page::writable`], is marked dirty
/// at once. The CPU's own entry may be writable and clean (after `MADV_FREE`, or when a read has
/// brought the page back from swap), and the kernel would drop what the device has written. So a
/// driver has nothing to do when it removes entries. It should not ask for [`Write`] if the device
/// only reads, because a page that is marked has to be written to swap.
///
/// # Examples
///
/// A device with huge pages of order 9, and a bit for those that it may write:
///
/// ```
/// use kernel::{hmm::{Access, MirrorOps, Pages}, mm::addr::Pfn, prelude::*};
///
/// struct Entry {
///     pfn: Pfn,
///     order: u32,
///     writable: bool,
/// }
///
/// fn enter<T: MirrorOps, A: Access>(entries: &mut KVec<Entry>, pages: Pages<'_, T, A>) -> Result {
///     for page in pages.blocks(9) {
///         // There has to be room: memory must not be allocated under the lock.
///         entries.push_within_capacity(Entry {
///             pfn: page.pfn(),
///             order: page.order(),
///             writable: page.writable().is_some(),
///         })?;
///     }
///     Ok(())
/// }
/// ```
///
/// [`Faulted::commit`]: super::Faulted::commit
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct Pages<'p, T: MirrorOps, A: Access> {
    pfns: &'p [c_ulong],
    addr: usize,
    order: u32,
    stamp: Stamp,
    _granted: PhantomData<fn() -> (T, A)>,
}

impl<'p, T: MirrorOps, A: Access> Pages<'p, T, A> {
    /// Creates an iterator over the pages from `addr` on.
    ///
    /// # Safety
    ///
    /// `hmm_range_fault()` filled in `pfns`. For `'p` no invalidation hits them, and the lock of
    /// the mirror is held, since before `stamp` was taken from it.
    pub(super) unsafe fn new(pfns: &'p [c_ulong], addr: usize, stamp: Stamp) -> Self {
        Self {
            pfns,
            addr,
            order: 0,
            stamp,
            _granted: PhantomData,
        }
    }

    /// Yields blocks of `2^order` pages where possible, for devices with huge pages.
    ///
    /// A block is yielded as one [`Page`] if it is aligned to its size, if it is in the range as a
    /// whole, and if the CPU maps it by one entry. All other pages are yielded one by one.
    #[inline]
    pub fn blocks(self, order: u32) -> Self {
        Self { order, ..self }
    }

    /// Returns the order of the block at `self.addr`, which the CPU maps by `pfn`.
    #[inline]
    fn next_order(&self, pfn: HmmPfn) -> u32 {
        let is_block = self.order != 0
            && pfn.map_order() >= self.order
            && self.pfns.len() >> self.order != 0
            && (self.addr >> PAGE_SHIFT).trailing_zeros() >= self.order;

        if is_block {
            self.order
        } else {
            0
        }
    }
}

impl<'p, T: MirrorOps, A: Access> Iterator for Pages<'p, T, A> {
    type Item = Page<'p, T, A>;

    #[inline]
    fn next(&mut self) -> Option<Page<'p, T, A>> {
        while let Some(&pfn) = self.pfns.first() {
            let pfn = HmmPfn(pfn);
            let granted = pfn.grants::<A>();
            // INVARIANT: By the safety requirements of `new`, and because it is used only if
            // `granted`, which includes `HMM_PFN_VALID`. `order` is not 0 only if the CPU's mapping
            // is at least as large.
            let page = Page {
                pfn,
                addr: self.addr,
                order: if granted { self.next_order(pfn) } else { 0 },
                stamp: self.stamp,
                _lent: PhantomData,
                _granted: PhantomData,
            };

            self.pfns = self.pfns.get(1 << page.order..).unwrap_or_default();
            self.addr = self.addr.wrapping_add(PAGE_SIZE << page.order);
            if granted {
                if A::GRANTED == Write::GRANTED {
                    page.mark_dirty();
                }
                return Some(page);
            }
        }
        None
    }
}

/// A page of the process, or a [block](Pages::blocks) of pages, lent for the duration of a commit.
///
/// # Invariants
///
/// `pfn` is the valid entry that `hmm_range_fault()` reported for `addr`, its mapping includes a
/// block of `order`, and for `'p` no invalidation hits it and the lock of the mirror is held, since
/// before `stamp` was taken.
pub struct Page<'p, T: MirrorOps, A: Access> {
    pfn: HmmPfn,
    addr: usize,
    order: u32,
    stamp: Stamp,
    _lent: PhantomData<&'p ()>,
    _granted: PhantomData<fn() -> (T, A)>,
}

impl<'p, T: MirrorOps, A: Access> Page<'p, T, A> {
    /// Returns the address of the page in the process.
    #[inline]
    pub fn addr(&self) -> VirtAddr {
        VirtAddr::new(self.addr)
    }

    /// Returns the addresses of the page, or of all pages of a block.
    #[inline]
    pub fn range(&self) -> PageRange {
        block(self.addr, self.order)
    }

    /// Returns the page frame number, or the first one of a block.
    ///
    /// It may be stored in the device's page table only. Once the page has been invalidated, it
    /// means nothing.
    #[inline]
    pub fn pfn(&self) -> Pfn {
        self.pfn.pfn()
    }

    /// Returns the page with write access, if the process itself may write to it.
    ///
    /// A driver that enters such a page as writable at once saves a fault later. The page counts as
    /// written to, see [`Pages`].
    #[inline]
    pub fn writable(&self) -> Option<Page<'p, T, Write>> {
        if !self.pfn.grants::<Write>() {
            return None;
        }
        self.mark_dirty();
        // INVARIANT: As those of `self`.
        Some(Page {
            pfn: self.pfn,
            addr: self.addr,
            order: self.order,
            stamp: self.stamp,
            _lent: PhantomData,
            _granted: PhantomData,
        })
    }

    /// Marks the page, or the block, as one that the device may write to, if the process may.
    ///
    /// That is done before the device can have written anything, and once for each entry. It is
    /// enough: whoever makes the page clean again has to invalidate it first.
    #[inline]
    fn mark_dirty(&self) {
        // SAFETY: By the type invariants the entry is valid, and the page is mapped as long as the
        // lock of the mirror is held, which is for `'p`. A block is in one mapping, and so in one
        // folio.
        unsafe { bindings::hmm_pfn_mark_dirty(self.pfn.0) };
    }

    /// Returns the order of the block: the number of its pages as a power of two.
    ///
    /// This is 0, unless [`Pages::blocks`] was called. A block is aligned to its size, in the
    /// process and in physical memory.
    #[inline]
    pub fn order(&self) -> u32 {
        self.order
    }

    /// Returns the order of the CPU's mapping that the page is a part of.
    ///
    /// The mapping is aligned to its size, in the process and in physical memory. It may extend
    /// beyond the range of the fault.
    #[inline]
    pub fn map_order(&self) -> u32 {
        self.pfn.map_order()
    }

    /// Returns whether the page is in device private memory, which the CPU cannot access.
    ///
    /// This is possible only if the driver has an [owner](MirrorOps::owner).
    #[inline]
    pub fn is_device_private(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { bindings::is_device_private_page(self.pfn.page(0)) }
    }

    /// Reads from the page, for emulated devices.
    ///
    /// `offset` is in bytes from the start of the page or block. Returns the number of bytes that
    /// were read. It stops at the end of the (small) page that `offset` is in, and reads nothing
    /// beyond the end of the block. Concurrent writes by the process may be seen in part.
    ///
    /// Only for drivers with [`MirrorOps::CPU_ACCESS`]. For others, a call does not compile.
    pub fn read(&self, offset: usize, to: &mut [u8]) -> usize {
        let Some((page, offset, len)) = self.within(offset, to.len()) else {
            return 0;
        };

        // SAFETY: By the type invariants the process maps the page for `'p`, and the bytes are
        // within it. The kernel can access it as well: it is not device private, because a mirror
        // with `CPU_ACCESS` has no owner, and hmm_range_fault() refuses secret memory. The process
        // may write to the page meanwhile, so the copy is made by C code.
        unsafe { bindings::memcpy_from_page(to.as_mut_ptr().cast(), page, offset, len) };
        len
    }

    /// Returns the small page that `offset` is in, the offset in that, and the bytes there are.
    fn within(&self, offset: usize, len: usize) -> Option<(*mut bindings::page, usize, usize)> {
        const { assert!(T::CPU_ACCESS, "frames are for devices with CPU_ACCESS") };
        let index = offset >> PAGE_SHIFT;
        let offset = offset & (PAGE_SIZE - 1);

        if index >> self.order != 0 {
            return None;
        }
        // SAFETY: By the type invariants, and the mapping has that many pages.
        let page = unsafe { self.pfn.page(index) };
        Some((page, offset, len.min(PAGE_SIZE - offset)))
    }

    /// Returns an entry for the page table of an emulated device, to read.
    ///
    /// Only for drivers with [`MirrorOps::CPU_ACCESS`]. For others, a call does not compile.
    #[inline]
    pub fn frame(&self) -> Frame {
        const { assert!(T::CPU_ACCESS, "frames are for devices with CPU_ACCESS") };
        // SAFETY: By the type invariants.
        unsafe { self.stamp.frame(self.addr, self.pfn, self.order) }
    }
}

impl<T: MirrorOps> Page<'_, T, Write> {
    /// Writes to the page, for emulated devices, and marks it dirty.
    ///
    /// `offset` is in bytes from the start of the page or block. Returns the number of bytes that
    /// were written. It stops at the end of the (small) page that `offset` is in, and writes
    /// nothing beyond the end of the block.
    ///
    /// Only for drivers with [`MirrorOps::CPU_ACCESS`]. For others, a call does not compile.
    pub fn write(&self, offset: usize, from: &[u8]) -> usize {
        let Some((page, offset, len)) = self.within(offset, from.len()) else {
            return 0;
        };

        // SAFETY: As in `read`, and the process has write access.
        unsafe { bindings::memcpy_to_page(page, offset, from.as_ptr().cast(), len) };
        // SAFETY: The process maps the page for `'p`.
        unsafe { bindings::set_page_dirty(page) };
        len
    }

    /// Returns an entry for the page table of an emulated device, to read and write.
    ///
    /// Only for drivers with [`MirrorOps::CPU_ACCESS`]. For others, a call does not compile.
    #[inline]
    pub fn frame_mut(&self) -> FrameMut {
        // INVARIANT: The CPU's entry is writable, so the process may write to the page. Shadow
        // stacks, which have such entries but cannot be stored to, are refused by
        // hmm_range_fault().
        FrameMut::new(self.frame())
    }
}
