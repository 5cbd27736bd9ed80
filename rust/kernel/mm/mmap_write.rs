// SPDX-License-Identifier: GPL-2.0

//! The mmap lock, for writing.

use super::MmWithUser;
use crate::{bindings, error::to_result, prelude::*, types::NotThreadSafe};

impl MmWithUser {
    /// Locks the mmap lock for writing.
    ///
    /// Sleeps.
    ///
    /// # Errors
    ///
    /// [`EINTR`] if a fatal signal is pending.
    #[inline]
    pub fn mmap_write_lock_killable(&self) -> Result<MmapWriteGuard<'_>> {
        // SAFETY: The pointer is valid since self is a reference.
        to_result(unsafe { bindings::mmap_write_lock_killable(self.as_raw()) })?;

        // INVARIANT: We just acquired the write lock.
        Ok(MmapWriteGuard {
            mm: self,
            _nts: NotThreadSafe,
        })
    }
}

/// A guard for the mmap write lock.
///
/// # Invariants
///
/// This `MmapWriteGuard` guard owns the mmap write lock.
#[must_use = "the lock unlocks immediately when the guard is unused"]
pub struct MmapWriteGuard<'a> {
    mm: &'a MmWithUser,
    // `mmap_write_lock` and `mmap_write_unlock` must be called on the same thread.
    _nts: NotThreadSafe,
}

impl Drop for MmapWriteGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: We hold the write lock by the type invariants.
        unsafe { bindings::mmap_write_unlock(self.mm.as_raw()) };
    }
}
