// SPDX-License-Identifier: GPL-2.0

//! The page table of the fake device: four levels of 512 slots, as many a real one has.

use core::ops::Range;
use kernel::{
    alloc::Flags,
    page::PAGE_SHIFT,
    prelude::*, //
};

const LEVELS: u32 = 4;
const SLOT_BITS: u32 = 9;
const SLOTS: usize = 1 << SLOT_BITS;

/// The first address that the page table has no room for, in bytes.
pub(crate) const ADDR_END: usize = 1 << slot_shift(LEVELS);

/// What a slot of a table holds; on the last level only pages, above it only tables.
enum Slot<E> {
    Empty,
    Table(Table<E>),
    Page(E),
}

/// A table, without empty tables below it.
struct Table<E> {
    slots: KVec<Slot<E>>,
    used: usize,
}

/// The logarithm to base 2 of the bytes that a slot on `level` maps; the last level is 0.
const fn slot_shift(level: u32) -> u32 {
    PAGE_SHIFT as u32 + level * SLOT_BITS
}

fn slot_index(addr: usize, level: u32) -> usize {
    (addr >> slot_shift(level)) % SLOTS
}

impl<E> Table<E> {
    fn new(flags: Flags) -> Result<Self> {
        let mut slots = KVec::with_capacity(SLOTS, flags)?;

        for _ in 0..SLOTS {
            slots.push(Slot::Empty, flags)?;
        }
        Ok(Self { slots, used: 0 })
    }

    /// Takes out what maps `range`, which lies within this table of `level`.
    fn remove(&mut self, level: u32, range: Range<usize>, removed: &mut Removed) {
        let mut addr = range.start;

        while addr < range.end && self.used > 0 {
            let next = (((addr >> slot_shift(level)) + 1) << slot_shift(level)).min(range.end);
            let slot = &mut self.slots[slot_index(addr, level)];

            let emptied = match slot {
                Slot::Empty => false,
                Slot::Page(_) => {
                    removed.pages += 1;
                    true
                }
                Slot::Table(table) => {
                    table.remove(level - 1, addr..next, removed);
                    removed.tables += usize::from(table.used == 0);
                    table.used == 0
                }
            };
            if emptied {
                *slot = Slot::Empty;
                self.used -= 1;
            }
            addr = next;
        }
    }

    /// Calls `f` for each entry from address `from` on; `base` is where this table of `level`
    /// starts. Stops and returns false when `f` does.
    fn walk(
        &self,
        level: u32,
        base: usize,
        from: usize,
        f: &mut impl FnMut(usize, &E) -> bool,
    ) -> bool {
        let first = from.saturating_sub(base) >> slot_shift(level);

        for (i, slot) in self.slots.iter().enumerate().skip(first) {
            let addr = base + (i << slot_shift(level));

            let go_on = match slot {
                Slot::Empty => true,
                Slot::Page(entry) => f(addr, entry),
                Slot::Table(table) => table.walk(level - 1, addr, from, f),
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
pub(crate) struct Spare<E>(KVec<Table<E>>);

impl<E> Spare<E> {
    pub(crate) fn new(tables: usize, flags: Flags) -> Result<Self> {
        let mut spare = KVec::with_capacity(tables, flags)?;

        for _ in 0..tables {
            spare.push(Table::new(flags)?, flags)?;
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

    /// Number of entries.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// Number of tables, the root included.
    pub(crate) fn tables(&self) -> usize {
        self.tables
    }

    /// How many tables it takes at most to map `range`, besides those that are there.
    ///
    /// `range` is not empty, and not larger than what a table on the last level maps, so it touches
    /// at most two tables on each level.
    pub(crate) fn missing_tables(&self, range: &Range<usize>) -> usize {
        let (first, last) = (range.start, range.end - 1);

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
                Slot::Table(next) => table = next,
                _ => return level as usize,
            }
        }
        0
    }

    /// Puts an entry in, in place of the one that is there.
    ///
    /// Fails with [`EINVAL`] if there is no room for `addr`, and with [`EAGAIN`] if `spare` has
    /// run out of tables.
    pub(crate) fn insert(&mut self, addr: usize, entry: E, spare: &mut Spare<E>) -> Result {
        if addr >= ADDR_END {
            return Err(EINVAL);
        }

        let mut table = &mut self.root;
        for level in (1..LEVELS).rev() {
            let slot = &mut table.slots[slot_index(addr, level)];

            if let Slot::Empty = slot {
                *slot = Slot::Table(spare.0.pop().ok_or(EAGAIN)?);
                table.used += 1;
                self.tables += 1;
            }
            // Above the last level, a slot that is not empty is a table.
            let Slot::Table(next) = slot else {
                return Err(EINVAL);
            };
            table = next;
        }

        let slot = &mut table.slots[slot_index(addr, 0)];
        if let Slot::Empty = slot {
            table.used += 1;
            self.pages += 1;
        }
        *slot = Slot::Page(entry);
        Ok(())
    }

    /// The entry that maps `addr`.
    pub(crate) fn get(&self, addr: usize) -> Option<&E> {
        if addr >= ADDR_END {
            return None;
        }

        let mut table = &self.root;
        for level in (0..LEVELS).rev() {
            match &table.slots[slot_index(addr, level)] {
                Slot::Empty => return None,
                Slot::Table(next) => table = next,
                Slot::Page(entry) => return Some(entry),
            }
        }
        None
    }

    /// Takes out every entry of a page that `range` touches, and frees emptied tables. Returns how
    /// many entries that were.
    pub(crate) fn remove(&mut self, range: Range<usize>) -> usize {
        let mut removed = Removed::default();
        let end = range.end.min(ADDR_END);

        if range.start < end {
            self.root.remove(LEVELS - 1, range.start..end, &mut removed);
        }
        self.pages -= removed.pages;
        self.tables -= removed.tables;
        removed.pages
    }

    /// Calls `f` for each entry from address `from` on, in address order, until it returns false.
    pub(crate) fn walk(&self, from: usize, mut f: impl FnMut(usize, &E) -> bool) {
        self.root.walk(LEVELS - 1, 0, from, &mut f);
    }
}

#[cfg(CONFIG_SAMPLE_HMM_MIRROR_RUST_KUNIT_TEST)]
#[kunit_tests(hmm_mirror_page_table)]
mod tests {
    use super::*;
    use kernel::page::PAGE_SIZE;

    fn map(table: &mut PageTable<usize>, addr: usize) -> Result {
        let missing = table.missing_tables(&(addr..addr + PAGE_SIZE));

        table.insert(addr, addr, &mut Spare::new(missing, GFP_KERNEL)?)
    }

    fn mapped(table: &PageTable<usize>, from: usize) -> usize {
        let mut n = 0;

        table.walk(from, |addr, entry| {
            assert_eq!(addr, *entry);
            n += 1;
            true
        });
        n
    }

    #[test]
    fn map_and_unmap() -> Result {
        let mut table = PageTable::new(GFP_KERNEL)?;

        map(&mut table, 0x1000_0000)?;
        assert_eq!(table.get(0x1000_0000), Some(&0x1000_0000));
        assert_eq!(table.get(0x1000_0fff), Some(&0x1000_0000));
        assert_eq!(table.get(0x1000_0000 + PAGE_SIZE), None);
        assert_eq!(table.get(0x1000_0000 - PAGE_SIZE), None);
        assert_eq!((table.pages(), table.tables()), (1, 4));

        assert_eq!(table.remove(0x1000_0000..0x1000_0000 + PAGE_SIZE), 1);
        assert_eq!(table.get(0x1000_0000), None);
        Ok(())
    }

    #[test]
    fn replaced_entry_counts_once() -> Result {
        let mut table = PageTable::new(GFP_KERNEL)?;
        let mut spare = Spare::new(3, GFP_KERNEL)?;

        table.insert(0, 1, &mut spare)?;
        table.insert(0, 2, &mut spare)?;
        assert_eq!(table.get(0), Some(&2));
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

        assert_eq!(table.remove(0..PAGE_SIZE), 1);
        assert_eq!(table.tables(), 1 + 8 * 3);
        assert_eq!(table.remove(0..2 * PAGE_SIZE), 1);
        assert_eq!(table.tables(), 1 + 7 * 3);
        assert_eq!(table.remove(0..usize::MAX), 14);
        assert_eq!((table.pages(), table.tables()), (0, 1));
        Ok(())
    }

    #[test]
    fn ranges_over_table_borders() -> Result {
        // Borders of the tables on each level: 2 MiB, 1 GiB and 512 GiB with pages of 4 KiB.
        for level in 1..LEVELS {
            let border = 3 << slot_shift(level);
            let range = border - 2 * PAGE_SIZE..border + 2 * PAGE_SIZE;
            let mut table = PageTable::new(GFP_KERNEL)?;
            let mut spare = Spare::new(table.missing_tables(&range), GFP_KERNEL)?;

            for addr in range.clone().step_by(PAGE_SIZE) {
                table.insert(addr, addr, &mut spare)?;
            }
            assert_eq!(mapped(&table, 0), 4);
            assert_eq!(mapped(&table, border), 2);

            assert_eq!(table.remove(border - PAGE_SIZE..border + PAGE_SIZE), 2);
            assert_eq!(table.get(border - PAGE_SIZE), None);
            assert_eq!(table.get(border), None);
            assert_eq!(mapped(&table, 0), 2);
        }
        Ok(())
    }

    #[test]
    fn part_of_a_page_removes_it() -> Result {
        let mut table = PageTable::new(GFP_KERNEL)?;

        map(&mut table, 0)?;
        assert_eq!(table.remove(1..2), 1);
        assert_eq!(table.remove(0..0), 0);
        Ok(())
    }

    #[test]
    fn bounds() -> Result {
        let mut table = PageTable::new(GFP_KERNEL)?;
        let mut spare = Spare::new(3, GFP_KERNEL)?;

        map(&mut table, ADDR_END - PAGE_SIZE)?;
        assert_eq!(table.insert(ADDR_END, 0, &mut spare), Err(EINVAL));
        assert_eq!(table.get(ADDR_END), None);
        assert_eq!(table.remove(ADDR_END..usize::MAX), 0);
        assert_eq!(table.remove(ADDR_END - PAGE_SIZE..usize::MAX), 1);
        Ok(())
    }

    #[test]
    fn spare_tables() -> Result {
        let mut table = PageTable::new(GFP_KERNEL)?;

        assert_eq!(table.missing_tables(&(0..PAGE_SIZE)), 3);
        for tables in 0..3 {
            let mut spare = Spare::new(tables, GFP_KERNEL)?;

            assert_eq!(table.insert(0, 0, &mut spare), Err(EAGAIN));
            assert_eq!(table.get(0), None);
            assert_eq!(mapped(&table, 0), 0);
            assert_eq!(table.remove(0..PAGE_SIZE), 0);
        }
        map(&mut table, 0)?;
        assert_eq!(table.missing_tables(&(0..PAGE_SIZE)), 0);
        assert_eq!(
            table.missing_tables(&(PAGE_SIZE..PAGE_SIZE << SLOT_BITS)),
            0
        );

        let border = PAGE_SIZE << SLOT_BITS;
        assert_eq!(
            table.missing_tables(&(border - PAGE_SIZE..border + PAGE_SIZE)),
            1
        );
        Ok(())
    }

    #[test]
    fn walk_stops() -> Result {
        let mut table = PageTable::new(GFP_KERNEL)?;
        let mut seen = 0;

        for i in 0..4 {
            map(&mut table, i * PAGE_SIZE)?;
        }
        table.walk(PAGE_SIZE, |_, _| {
            seen += 1;
            seen < 2
        });
        assert_eq!(seen, 2);
        Ok(())
    }
}
