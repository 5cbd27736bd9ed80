// SPDX-License-Identifier: GPL-2.0

//! Memory that a commit needs, and that is allocated before.

use super::{
    FaultError,
    FaultRange,
    MirrorOps, //
};
use crate::{
    fmt,
    mm::addr::PageRange,
    prelude::*, //
};

/// Memory for the device's page table, which is allocated before a fault and handed to the commit.
///
/// Nothing may be allocated under the lock of the page table. See [`FaultRange::with_reserve`].
///
/// # Examples
///
/// A page table with room for some pages, which grows:
///
/// ```
/// use core::{marker::PhantomPinned, mem};
/// use kernel::{
///     hmm::{FaultError, FaultRange, MirrorOps, Read, Reserve, Short},
///     mm::addr::{PageRange, Pfn, VirtAddr},
///     prelude::*,
/// };
///
/// type Entries = KVec<(VirtAddr, Pfn)>;
///
/// #[pin_data]
/// struct Table {
///     entries: Entries,
///     #[pin]
///     _pinned: PhantomPinned,
/// }
///
/// /// Where all entries have room, with the new ones.
/// struct Room(Entries);
///
/// impl Reserve<Table> for Room {
///     fn need(table: &Table, range: PageRange) -> usize {
///         table.entries.len() + range.pages().as_usize()
///     }
///
///     fn allocate(need: usize) -> Result<Self> {
///         Ok(Self(Entries::with_capacity(need, GFP_KERNEL_ACCOUNT)?))
///     }
/// }
///
/// impl Table {
///     /// Moves all to a place where there is room.
///     fn grow(entries: &mut Entries, room: &mut Room, pages: usize) -> Result<(), Short> {
///         if room.0.capacity() < entries.len() + pages {
///             return Err(Short);
///         }
///         room.0.clear();
///         for entry in entries.iter() {
///             room.0.push_within_capacity(*entry).map_err(|_| Short)?;
///         }
///         // The old ones are freed with the reserve, after the lock.
///         mem::swap(entries, &mut room.0);
///         Ok(())
///     }
/// }
///
/// fn fault<T: MirrorOps<PageTable = Table>>(
///     range: Pin<&mut FaultRange<'_, T>>,
///     pages: usize,
/// ) -> Result<(), FaultError> {
///     range.with_reserve(|range, room: &mut Room| {
///         range.map(Read, |table, lent| {
///             let entries = table.project().entries;
///
///             Table::grow(entries, room, pages)?;
///             for page in lent {
///                 entries.push_within_capacity((page.addr(), page.pfn())).map_err(|_| Short)?;
///             }
///             Ok(())
///         })
///     })
/// }
/// ```
pub trait Reserve<Table>: Sized {
    /// Returns what it takes to enter `range` at most, besides what `table` has.
    ///
    /// Called with the lock of the page table held. Must not sleep.
    fn need(table: &Table, range: PageRange) -> usize;

    /// Allocates that. Called without a lock, and may sleep.
    ///
    /// # Errors
    ///
    /// Any stands for [`FaultError::NoMemory`].
    fn allocate(need: usize) -> Result<Self>;
}

/// There was not enough in a [`Reserve`].
///
/// Converted to an [`Error`], it is [`EAGAIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short;

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not enough was reserved")
    }
}

impl From<Short> for Error {
    #[inline]
    fn from(_: Short) -> Self {
        EAGAIN
    }
}

impl<T: MirrorOps> FaultRange<'_, T> {
    /// Calls `attempt` with what has been reserved for it.
    ///
    /// `attempt` maps the range in one of the ways that there are, and uses the reserve in the
    /// commit. If that was [`Short`], as the page table has lost something since the reserve was
    /// counted, a new one is made, and `attempt` is called again. What is left of a reserve is
    /// dropped without the lock.
    ///
    /// Sleeps, as [`FaultRange::fault`] does.
    ///
    /// # Errors
    ///
    /// Those of `attempt`, and:
    ///
    /// - [`FaultError::NoMemory`]: [`Reserve::allocate`] failed.
    /// - [`FaultError::Busy`]: the reserve was [`Short`] a hundred times.
    ///
    /// # Examples
    ///
    /// See [`Reserve`].
    pub fn with_reserve<S: Reserve<T::PageTable>, R>(
        mut self: Pin<&mut Self>,
        mut attempt: impl FnMut(Pin<&mut Self>, &mut S) -> Result<Result<R, Short>, FaultError>,
    ) -> Result<R, FaultError> {
        let range = self.addresses();

        for _ in 0..100 {
            let need = S::need(&self.as_mut().lock(), range);
            let mut reserve = S::allocate(need).map_err(|_| FaultError::NoMemory)?;

            if let Ok(result) = attempt(self.as_mut(), &mut reserve)? {
                return Ok(result);
            }
        }
        Err(FaultError::Busy)
    }
}
