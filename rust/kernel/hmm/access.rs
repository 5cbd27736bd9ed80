// SPDX-License-Identifier: GPL-2.0

//! What a device page fault asks for.

use crate::bindings::{
    hmm_pfn_flags_HMM_PFN_REQ_FAULT as HMM_PFN_REQ_FAULT,
    hmm_pfn_flags_HMM_PFN_REQ_WRITE as HMM_PFN_REQ_WRITE,
    hmm_pfn_flags_HMM_PFN_VALID as HMM_PFN_VALID,
    hmm_pfn_flags_HMM_PFN_WRITE as HMM_PFN_WRITE, //
};

mod sealed {
    /// Seals [`Access`](super::Access), and has the flags that belong to it.
    pub trait Sealed {
        /// The flags by which `hmm_range_fault()` is asked.
        const REQUEST: usize;
        /// The flags of entries that permit the access.
        const GRANTED: usize;
    }
}
pub(super) use sealed::Sealed;

/// The access that a device page fault asks for: [`Read`], [`Write`] or [`Present`].
///
/// It is a type, because it decides what the driver may do with the pages. If the access is known
/// only at run time, match on it and call a function that takes `impl Access` in each arm. To ask
/// for different accesses in one fault, use [`FaultRange::fault_each`] and [`PageRequest`].
///
/// [`FaultRange::fault_each`]: super::FaultRange::fault_each
pub trait Access: Sealed + Copy + 'static {
    /// The access that the resulting pages permit.
    type Granted: Access;
}

/// Asks for pages to read, and faults in the missing ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read;

impl Access for Read {
    type Granted = Read;
}

/// Asks for pages to read and write, and faults in the missing ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write;

impl Access for Write {
    type Granted = Write;
}

/// Asks for a snapshot: faults nothing in, and leaves out pages that the CPU page table lacks.
///
/// The pages are granted for [`Read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present;

impl Access for Present {
    type Granted = Read;
}

/// The access that is asked for one page, see [`FaultRange::fault_each`].
///
/// [`FaultRange::fault_each`]: super::FaultRange::fault_each
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageRequest {
    /// As [`struct@Present`].
    Present,
    /// As [`struct@Read`].
    Read,
    /// As [`struct@Write`].
    Write,
}

impl PageRequest {
    pub(super) fn flags(self) -> usize {
        match self {
            PageRequest::Present => Present::REQUEST,
            PageRequest::Read => Read::REQUEST,
            PageRequest::Write => Write::REQUEST,
        }
    }
}

impl Sealed for Present {
    const REQUEST: usize = 0;
    const GRANTED: usize = HMM_PFN_VALID;
}

impl Sealed for Read {
    const REQUEST: usize = HMM_PFN_REQ_FAULT;
    const GRANTED: usize = HMM_PFN_VALID;
}

impl Sealed for Write {
    const REQUEST: usize = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;
    const GRANTED: usize = HMM_PFN_VALID | HMM_PFN_WRITE;
}
