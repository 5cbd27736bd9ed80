// SPDX-License-Identifier: GPL-2.0

//! The ioctls of the fake device. See `hmm_mirror_uapi.h`, which describes them.

use super::{
    _IOR,
    _IOW,
    _IOWR, //
};
use kernel::prelude::*;

const IOC_TYPE: u32 = 0xBE;

pub(crate) const IOC_BIND: u32 = _IOW::<Bind>(IOC_TYPE, 0x00);
pub(crate) const IOC_MAP: u32 = _IOWR::<Map>(IOC_TYPE, 0x01);
pub(crate) const IOC_READ: u32 = _IOWR::<Rw>(IOC_TYPE, 0x02);
pub(crate) const IOC_WRITE: u32 = _IOWR::<Rw>(IOC_TYPE, 0x03);
pub(crate) const IOC_DUMP: u32 = _IOWR::<Dump>(IOC_TYPE, 0x04);
pub(crate) const IOC_STATS: u32 = _IOR::<Stats>(IOC_TYPE, 0x05);
pub(crate) const IOC_ADD: u32 = _IOWR::<Add>(IOC_TYPE, 0x06);

pub(crate) const MAP_WRITE: u32 = 1 << 0;
pub(crate) const MAP_PRESENT: u32 = 1 << 1;
pub(crate) const MAP_ASYNC: u32 = 1 << 2;
pub(crate) const ENTRY_WRITE: u32 = 1 << 0;

#[derive(Default, FromBytes, IntoBytes)]
#[repr(C)]
pub(crate) struct Bind {
    pub(crate) pidfd: i32,
    pub(crate) flags: u32,
}

#[derive(Default, FromBytes, IntoBytes)]
#[repr(C)]
pub(crate) struct Map {
    pub(crate) addr: u64,
    pub(crate) len: u64,
    pub(crate) flags: u32,
    pub(crate) reserved: u32,
    pub(crate) pages: u64,
}

#[derive(Default, FromBytes, IntoBytes)]
#[repr(C)]
pub(crate) struct Rw {
    pub(crate) addr: u64,
    pub(crate) buf: u64,
    pub(crate) len: u64,
    pub(crate) done: u64,
}

#[derive(Default, FromBytes, IntoBytes)]
#[repr(C)]
pub(crate) struct Add {
    pub(crate) addr: u64,
    pub(crate) value: u64,
    pub(crate) old: u64,
}

#[derive(Default, FromBytes, IntoBytes)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) addr: u64,
    pub(crate) pfn: u64,
    pub(crate) flags: u32,
    pub(crate) order: u32,
}

#[derive(Default, FromBytes, IntoBytes)]
#[repr(C)]
pub(crate) struct Dump {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) entries: u64,
    pub(crate) capacity: u32,
    pub(crate) count: u32,
}

#[derive(Clone, Copy, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub(crate) struct Stats {
    pub(crate) pages: u64,
    pub(crate) tables: u64,
    pub(crate) mapped: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) faults: u64,
    pub(crate) retries: u64,
    pub(crate) invalidations: u64,
    pub(crate) invalidated: u64,
    pub(crate) accesses: u64,
    pub(crate) dead: u64,
}
