// SPDX-License-Identifier: GPL-2.0

//! Why a fault failed.

use crate::{
    fmt,
    prelude::*, //
};

/// Why a [fault](super::FaultRange::fault) failed.
///
/// It can be converted to an [`Error`].
///
/// # Examples
///
/// What a driver does with the context that faulted:
///
/// ```
/// use kernel::hmm::FaultError;
///
/// enum Verdict {
///     /// Have the device make the access again.
///     Retry,
///     /// Tell the process that the access failed.
///     Fail,
///     /// Stop the context: nobody is left to tell.
///     Stop,
/// }
///
/// fn judge(error: FaultError) -> Verdict {
///     match error {
///         FaultError::Busy | FaultError::NoMemory => Verdict::Retry,
///         FaultError::Unmapped
///         | FaultError::ReadOnly
///         | FaultError::Unsupported
///         | FaultError::Unreachable => Verdict::Fail,
///         FaultError::Dead | FaultError::Killed | FaultError::Cancelled => Verdict::Stop,
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// A page is not mapped, or may not be read; or the process was killed, and its memory was
    /// reaped. [`EFAULT`] as an [`Error`].
    Unmapped,
    /// A page may not be written. [`EPERM`] as an [`Error`].
    ReadOnly,
    /// The address space has gone. [`ESRCH`] as an [`Error`].
    Dead,
    /// The range was invalidated again and again until the time was over. Another try may succeed.
    /// [`EBUSY`] as an [`Error`].
    Busy,
    /// A fatal signal is pending for the thread that faults. [`EINTR`] as an [`Error`].
    Killed,
    /// The mirror was [cancelled](super::Mirror::cancel). [`ECANCELED`] as an [`Error`].
    Cancelled,
    /// The page cannot be made [exclusive](super::FaultRange::map_exclusive), or the device cannot
    /// have pages [where they are](super::MirrorOps::device). [`EOPNOTSUPP`] as an [`Error`].
    Unsupported,
    /// The device does not reach a page, such as memory of another device, when it is
    /// [mapped](super::FaultRange::map_dma). [`EIO`] as an [`Error`].
    Unreachable,
    /// Out of memory. [`ENOMEM`] as an [`Error`].
    NoMemory,
}

impl FaultError {
    /// Converts an error of the registry.
    ///
    /// What a fault is not documented to fail with can only be a range that cannot be faulted,
    /// however often one tries ([`EINVAL`]): [`FaultError::Unmapped`]. `EAGAIN` and the like, by
    /// which a handler of a page fault asks to try again, are [`FaultError::Busy`].
    pub(super) fn from_raw(error: Error) -> Self {
        match error {
            EPERM | EACCES => FaultError::ReadOnly,
            ESRCH => FaultError::Dead,
            EBUSY | EAGAIN => FaultError::Busy,
            EINTR | ERESTARTSYS => FaultError::Killed,
            ECANCELED => FaultError::Cancelled,
            EOPNOTSUPP => FaultError::Unsupported,
            EIO => FaultError::Unreachable,
            ENOMEM => FaultError::NoMemory,
            _ => FaultError::Unmapped,
        }
    }
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultError::Unmapped => "a page is not mapped",
            FaultError::ReadOnly => "a page may not be written",
            FaultError::Dead => "the address space has gone",
            FaultError::Busy => "the range was invalidated again and again",
            FaultError::Killed => "a fatal signal is pending",
            FaultError::Cancelled => "the mirror was cancelled",
            FaultError::Unsupported => "the device or the page does not support this",
            FaultError::Unreachable => "the device does not reach a page",
            FaultError::NoMemory => "out of memory",
        })
    }
}

impl From<FaultError> for Error {
    #[inline]
    fn from(error: FaultError) -> Self {
        match error {
            FaultError::Unmapped => EFAULT,
            FaultError::ReadOnly => EPERM,
            FaultError::Dead => ESRCH,
            FaultError::Busy => EBUSY,
            FaultError::Killed => EINTR,
            FaultError::Cancelled => ECANCELED,
            FaultError::Unsupported => EOPNOTSUPP,
            FaultError::Unreachable => EIO,
            FaultError::NoMemory => ENOMEM,
        }
    }
}
