// SPDX-License-Identifier: GPL-2.0

//! Address spaces of other processes.

use super::MmWithUser;
use crate::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    sync::aref::ARef, //
};
use core::ptr::NonNull;

impl MmWithUser {
    /// Gets the address space of the process that a pidfd refers to.
    ///
    /// `pidfd` is a file descriptor of the current process, see `pidfd_open(2)`. The current
    /// process needs the permission that `PTRACE_ATTACH` needs.
    ///
    /// Sleeps. Dropping the result may sleep as well: it tears down the address space if the
    /// process has exited in the meantime.
    ///
    /// # Errors
    ///
    /// - [`EBADF`]: `pidfd` is not a pidfd.
    /// - [`ESRCH`]: the process has exited, or has no address space.
    /// - [`EACCES`]: permission denied.
    /// - [`EINTR`]: a fatal signal is pending.
    pub fn from_pidfd(pidfd: i32) -> Result<ARef<Self>> {
        // SAFETY: Any value is okay for `pidfd`.
        let mm = from_err_ptr(unsafe { bindings::hmm_mirror_get_mm(pidfd) })?;

        // SAFETY: On success this is a valid pointer, and we own an `mmget` refcount.
        // `MmWithUser` is a transparent wrapper.
        Ok(unsafe { ARef::from_raw(NonNull::new_unchecked(mm.cast())) })
    }
}
