// SPDX-License-Identifier: GPL-2.0

//! The page table of the fake device: four levels of 512 slots, as many a real one has, with huge
//! pages on the last but one.

use kernel::{
    alloc::Flags,
    mm::addr::{
        PageRange,
        VirtAddr, //
    },
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};

const LEVELS: u32 = 4;
const SLOT_BITS: u32 = 9;
const SLOTS: usize = 1 << SLOT_BITS;

/// The size of a huge page: the logarithm to base 2 of its pages.
pub(crate) const HUGE_ORDER: u32 = SLOT_BITS;

/// The first address that the page table has no room for, in bytes.
const ADDR_END: usize = 1 << slot_shift(LEVELS);

/// What a slot of a table holds: on the last level pages, on the one above tables or huge pages,
/// and above that only tables.
///
/// A table is boxed, so that a slot is as large as an entry that, as a [`Frame`], has a niche.
///
/// [`Frame`]: kernel::hmm::Frame
enum Slot<E> {
    Table(Option<KBox<Table<E>>>),
    Page(E),
}

/// A table, without empty tables below it.
struct Table<E> {
    slots: KVec<Slot<E>>,
    used: usize,
}

/// The bytes of a table that holds frames: 16 KiB. The C device, whose entries say nothing of when
/// they were made, needs 4 KiB.
#[cfg(CONFIG_64BIT)]
const _: () = assert!(size_of::<Slot<kernel::hmm::Frame>>() * SLOTS == 16384);

/// The logarithm to base 2 of the bytes that a slot on `level` maps; the last level is 0.
const fn slot_shift(level: u32) -> u32 {
    PAGE_SHIFT as u32 + level * SLOT_BITS
}

/// The pages that a slot on `level` maps.
const fn slot_pages(level: u32) -> usize {
    1 << (level * SLOT_BITS)
}

fn slot_index(addr: usize, level: u32) -> usize {
    (addr >> slot_shift(level)) % SLOTS
}

impl<E> Table<E> {
    fn new(flags: Flags) -> Result<Self> {
        let mut slots = KVec::with_capacity(SLOTS, flags)?;

        for _ in 0..SLOTS {
            slots.push(Slot::Table(None), flags)?;
        }
        Ok(Self { slots, used: 0 })
    }

    /// Takes out what maps addresses from `start` to `end`, which lie within this table of `level`.
    fn remove(&mut self, level: u32, start: usize, end: usize, removed: &mut Removed) {
        let mut addr = start;

        while addr < end && self.used > 0 {
            let next = (((addr >> slot_shift(level)) + 1) << slot_shift(level)).min(end);
            let slot = &mut self.slots[slot_index(addr, level)];

            let emptied = match slot {
                Slot::Table(None) => false,
                Slot::Page(_) => {
                    removed.pages += slot_pages(level);
                    true
                }
                Slot::Table(Some(table)) => {
                    table.remove(level - 1, addr, next, removed);
                    removed.tables += usize::from(table.used == 0);
                    table.used == 0
                }
            };
            if emptied {
                *slot = Slot::Table(None);
                self.used -= 1;
            }
            addr = next;
        }
    }

    /// Calls `f` for each page from address `from` on; `base` is where this table of `level`
    /// starts. Stops and returns false when `f` does.
    fn walk(
        &self,
        level: u32,
        base: usize,
        from: usize,
        f: &mut impl FnMut(VirtAddr, &E) -> bool,
    ) -> bool {
        let first = from.saturating_sub(base) >> slot_shift(level);

        for (i, slot) in self.slots.iter().enumerate().skip(first) {
            let addr = base + (i << slot_shift(level));

            let go_on = match slot {
                Slot::Table(None) => true,
                Slot::Page(entry) => (0..slot_pages(level))
                    .map(|page| addr + page * PAGE_SIZE)
                    .filter(|&addr| addr >= from)
                    .all(|addr| f(VirtAddr::new(addr), entry)),
                Slot::Table(Some(table)) => table.walk(level - 1, addr, from, f),
            };
            if !go_on {
                return false;
            }
        }
        true
    }
}

#[derive(Default)]
struct Removed {
    pages: usize,
    tables: usize,
}

/// Tables to extend a page table with.
///
/// The page table is changed under a lock under which memory must not be allocated, so tables are
/// allocated before.
pub(crate) struct Spare<E>(KVec<KBox<Table<E>>>);

impl<E> Spare<E> {
    pub(crate) fn new(tables: usize, flags: Flags) -> Result<Self> {
        let mut spare = KVec::with_capacity(tables, flags)?;

        for _ in 0..tables {
            spare.push(KBox::new(Table::new(flags)?, flags)?, flags)?;
        }
        Ok(Self(spare))
    }
}

/// A page table of entries `E`.
pub(crate) struct PageTable<E> {
    root: Table<E>,
    pages: usize,
    tables: usize,
}

impl<E> PageTable<E> {
    /// Makes an empty page table.
    pub(crate) fn new(flags: Flags) -> Result<Self> {
        Ok(Self {
            root: Table::new(flags)?,
            pages: 0,
            tables: 1,
        })
    }

    /// Number of pages that are mapped.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// Number of tables, the root included.
    pub(crate) fn tables(&self) -> usize {
        self.tables
    }

    /// How many tables it takes at most to map `range`, besides those that are there.
    ///
    /// `range` is not larger than what a table on the last level maps, so it touches at most two
    /// tables on each level.
    pub(crate) fn missing_tables(&self, range: PageRange) -> usize {
        let (first, last) = (range.start().as_usize(), range.end().as_usize() - 1);

        if first >> slot_shift(1) == last >> slot_shift(1) {
            self.missing_tables_at(first)
        } else {
            self.missing_tables_at(first) + self.missing_tables_at(last)
        }
    }

    fn missing_tables_at(&self, addr: usize) -> usize {
        let mut table = &self.root;

        for level in (1..LEVELS).rev() {
            match &table.slots[slot_index(addr, level)] {
                Slot::Table(Some(next)) => table = next,
                _ => return level as usize,
            }
        }
        0
    }

    /// Puts a page in, or a huge one, in place of what is there. `order` is 0 or [`HUGE_ORDER`],
    /// and `addr` is aligned to that.
    ///
    /// Fails with [`EINVAL`] if there is no room for `addr`, and with [`EAGAIN`] if `spare` has
    /// run out of tables.
    pub(crate) fn insert(
        &mut self,
        addr: VirtAddr,
        order: u32,
        entry: E,
        spare: &mut Spare<E>,
    ) -> Result {
        let addr = addr.as_usize();
        let last = order / SLOT_BITS;
        if addr >= ADDR_END || last > 1 || addr & ((1 << slot_shift(last)) - 1) != 0 {
            return Err(EINVAL);
        }

        let mut table = &mut self.root;
        for level in (last + 1..LEVELS).rev() {
            let slot = &mut table.slots[slot_index(addr, level)];

            // A huge page gives way as a whole; the device will ask for the rest of it again.
            if !matches!(slot, Slot::Table(Some(_))) {
                let next = Slot::Table(Some(spare.0.pop().ok_or(EAGAIN)?));

                match core::mem::replace(slot, next) {
                    Slot::Page(_) => self.pages -= slot_pages(level),
                    _ => table.used += 1,
                }
                self.tables += 1;
            }
            let Slot::Table(Some(next)) = slot else {
                return Err(EINVAL);
            };
            table = next;
        }

        let slot = &mut table.slots[slot_index(addr, last)];
        match slot {
            Slot::Table(None) => table.used += 1,
            Slot::Page(_) => self.pages -= slot_pages(last),
            Slot::Table(Some(small)) => {
                self.pages -= small.used;
                self.tables -= 1;
            }
        }
        *slot = Slot::Page(entry);
        self.pages += slot_pages(last);
        Ok(())
    }

    /// The entry that maps `addr`.
    pub(crate) fn get(&self, addr: VirtAddr) -> Option<&E> {
        let addr = addr.as_usize();
        if addr >= ADDR_END {
            return None;
        }

        let mut table = &self.root;
        for level in (0..LEVELS).rev() {
            match &table.slots[slot_index(addr, level)] {
                Slot::Table(None) => return None,
                Slot::Table(Some(next)) => table = next,
                Slot::Page(entry) => return Some(entry),
            }
        }
        None
    }

    /// Takes out all pages that `range` touches, huge ones as a whole, and frees emptied tables.
    /// Returns how many pages those were.
    pub(crate) fn remove(&mut self, range: PageRange) -> usize {
        let mut removed = Removed::default();
        let (start, end) = (range.start().as_usize(), range.end().as_usize());

        if start < ADDR_END {
            self.root
                .remove(LEVELS - 1, start, end.min(ADDR_END), &mut removed);
        }
        self.pages -= removed.pages;
        self.tables -= removed.tables;
        removed.pages
    }

    /// Calls `f` for each page from address `from` on, in address order, with the entry that it is
    /// part of, until `f` returns false.
    pub(crate) fn walk(&self, from: VirtAddr, mut f: impl FnMut(VirtAddr, &E) -> bool) {
        self.root.walk(LEVELS - 1, 0, from.as_usize(), &mut f);
    }
}

#[cfg(CONFIG_SAMPLE_HMM_MIRROR_RUST_KUNIT_TEST)]
#[kunit_tests(hmm_mirror_page_table)]
mod tests {
    use super::*;
    use kernel::mm::addr::PageCount;

    const HUGE: usize = PAGE_SIZE << HUGE_ORDER;

    fn at(addr: usize) -> VirtAddr {
        VirtAddr::new(addr)
    }

    fn pages(start: usize, pages: usize) -> Result<PageRange> {
        PageRange::new(at(start), PageCount::new(pages))
    }

    fn everything() -> Result<PageRange> {
        PageRange::from_bounds(at(0), at(usize::MAX).page_start())
    }

    /// Maps a page or a huge page by an entry that says where.
    fn map_order(table: &mut PageTable<usize>, addr: usize, order: u32) -> Result {
        let missing = table.missing_tables(pages(addr, 1)?);

        table.insert(at(addr), order, addr, &mut Spare::new(missing, GFP_KERNEL)?)
    }

    fn map(table: &mut PageTable<usize>, addr: usize) -> Result {
        map_order(table, addr, 0)
    }

    fn mapped(table: &PageTable<usize>, from: usize) -> usize {
        let mut n = 0;

        table.walk(at(from), |addr, entry| {
            assert!(addr >= at(from) && addr >= at(*entry) && addr < at(*entry + HUGE));
            n += 1;
            true
        });
        n
    }

    #[test]
    fn map_and_unmap() -> Result {
        let mut table = PageTable::new(GFP_KERNEL)?;

        map(&mut table, 0x1000_0000)?;
        assert_eq!(table.get(at(0x1000_0000)), Some(&0x1000_0000));
        assert_eq!(table.get(at(0x1000_0fff)), Some(&0x1000_0000));
        assert_eq!(table.get(at(0x1000_0000 + PAGE_SIZE)), None);
        assert_eq!(table.get(at(0x1000_0000 - PAGE_SIZE)), None);
        assert_eq!((table.pages(), table.tables()), (1, 4));

        assert_eq!(table.remove(pages(0x1000_0000, 1)?), 1);
        assert_eq!(table.get(at(0x1000_0000)), None);
        Ok(())
    }

    #[test]
    fn replaced_entry_counts_once() -> Result {
        let mut table = PageTable::new(GFP_KERNEL)?;
        let mut spare = Spare::new(3, GFP_KERNEL)?;

        table.insert(at(0), 0, 1, &mut spare)?;
        table.insert(at(0), 0, 2, &mut spare)?;
        assert_eq!(table.get(at(0)), Some(&2));
        assert_eq!(table.pages(), 1);
        Ok(())
    }

    #[test]
    fn emptied_tables_are_freed() -> Result {
        let mut table = PageTable::new(GFP_KERNEL)?;

        // Nothing in common but the root, and then but the table on the last level.
        for i in 0..8 {
            map(&mut table, i << slot_shift(LEVELS - 1))?;
            map(&mut table, (i << slot_shift(LEVELS - 1)) + PAGE_SIZE)?;
        }
        assert_eq!((table.pages(), table.tables()), (16, 1 + 8 * 3));

        assert_eq!(table.remove(pages(0, 1)?), 1);
        assert_eq!(table.tables(), 1 + 8 * 3);
        assert_eq!(table.remove(pages(0, 2)?), 1);
        assert_eq!(table.tables(), 1 + 7 * 3);
        assert_eq!(table.remove(everything()?), 14);
        assert_eq!((table.pages(), table.tables()), (0, 1));
        Ok(())
    }

    #[test]
    fn ranges_over_table_borders() -> Result {
        // Borders of the tables on each level: 2 MiB, 1 GiB and 512 GiB with pages of 4 KiB.
        for level in 1..LEVELS {
            let border = 3 << slot_shift(level);
            let first = border - 2 * PAGE_SIZE;
            let mut table = PageTable::new(GFP_KERNEL)?;
            let mut spare = Spare::new(table.missing_tables(pages(first, 4)?), GFP_KERNEL)?;

            for addr in (0..4).map(|page| first + page * PAGE_SIZE) {
                table.insert(at(addr), 0, addr, &mut spare)?;
            }
            assert_eq!(mapped(&table, 0), 4);
            assert_eq!(mapped(&table, border), 2);

            assert_eq!(table.remove(pages(border - PAGE_SIZE, 2)?), 2);
            assert_eq!(table.get(at(border - PAGE_SIZE)), None);
            assert_eq!(table.get(at(border)), None);
            assert_eq!(mapped(&table, 0), 2);
        }
        Ok(())
    }

    #[test]
    fn huge_pages() -> Result {
        let mut table = PageTable::new(GFP_KERNEL)?;

        map_order(&mut table, HUGE, HUGE_ORDER)?;
        assert_eq!((table.pages(), table.tables()), (SLOTS, 3));
        for addr in [HUGE, HUGE + PAGE_SIZE, 2 * HUGE - 1] {
            assert_eq!(table.get(at(addr)), Some(&HUGE));
        }
        assert_eq!(table.get(at(HUGE - 1)), None);
        assert_eq!(table.get(at(2 * HUGE)), None);
        assert_eq!(mapped(&table, 0), SLOTS);
        assert_eq!(mapped(&table, 2 * HUGE - 3 * PAGE_SIZE), 3);

        // A part of it takes all of it along.
        assert_eq!(table.remove(pages(HUGE + 7 * PAGE_SIZE, 1)?), SLOTS);
        assert_eq!((table.pages(), table.tables()), (0, 1));
        assert_eq!(table.get(at(HUGE)), None);
        Ok(())
    }

    #[test]
    fn huge_and_small_pages_replace_each_other() -> Result {
        let mut table = PageTable::new(GFP_KERNEL)?;

        map(&mut table, HUGE + PAGE_SIZE)?;
        map(&mut table, HUGE + 2 * PAGE_SIZE)?;
        assert_eq!((table.pages(), table.tables()), (2, 4));
        map_order(&mut table, HUGE, HUGE_ORDER)?;
        assert_eq!((table.pages(), table.tables()), (SLOTS, 3));
        map_order(&mut table, HUGE, HUGE_ORDER)?;
        assert_eq!((table.pages(), table.tables()), (SLOTS, 3));

        map(&mut table, HUGE + PAGE_SIZE)?;
        assert_eq!((table.pages(), table.tables()), (1, 4));
        assert_eq!(table.get(at(HUGE)), None);
        assert_eq!(table.remove(everything()?), 1);
        assert_eq!(table.tables(), 1);
        Ok(())
    }

    #[test]
    fn bad_huge_pages_are_refused() -> Result {
        let mut table = PageTable::new(GFP_KERNEL)?;

        assert_eq!(map_order(&mut table, PAGE_SIZE, HUGE_ORDER), Err(EINVAL));
        assert_eq!(map_order(&mut table, 0, 2 * HUGE_ORDER), Err(EINVAL));
        assert_eq!(table.pages(), 0);
        Ok(())
    }

    #[test]
    fn bounds() -> Result {
        let mut table = PageTable::new(GFP_KERNEL)?;
        let mut spare = Spare::new(3, GFP_KERNEL)?;

        map(&mut table, ADDR_END - PAGE_SIZE)?;
        assert_eq!(table.insert(at(ADDR_END), 0, 0, &mut spare), Err(EINVAL));
        assert_eq!(table.get(at(ADDR_END)), None);
        assert_eq!(table.remove(pages(ADDR_END, 9)?), 0);
        assert_eq!(table.remove(pages(ADDR_END - PAGE_SIZE, 9)?), 1);
        Ok(())
    }

    #[test]
    fn spare_tables() -> Result {
        let mut table = PageTable::new(GFP_KERNEL)?;

        assert_eq!(table.missing_tables(pages(0, 1)?), 3);
        for tables in 0..3 {
            let mut spare = Spare::new(tables, GFP_KERNEL)?;

            assert_eq!(table.insert(at(0), 0, 0, &mut spare), Err(EAGAIN));
            assert_eq!(table.get(at(0)), None);
            assert_eq!(mapped(&table, 0), 0);
            assert_eq!(table.remove(pages(0, 1)?), 0);
        }
        map(&mut table, 0)?;
        assert_eq!(table.missing_tables(pages(0, 1)?), 0);
        assert_eq!(table.missing_tables(pages(PAGE_SIZE, SLOTS - 1)?), 0);

        let border = PAGE_SIZE << SLOT_BITS;
        assert_eq!(table.missing_tables(pages(border - PAGE_SIZE, 2)?), 1);
        Ok(())
    }

    #[test]
    fn walk_stops() -> Result {
        let mut table = PageTable::new(GFP_KERNEL)?;
        let mut seen = 0;

        for i in 0..4 {
            map(&mut table, i * PAGE_SIZE)?;
        }
        table.walk(at(PAGE_SIZE), |_, _| {
            seen += 1;
            seen < 2
        });
        assert_eq!(seen, 2);
        Ok(())
    }
}
