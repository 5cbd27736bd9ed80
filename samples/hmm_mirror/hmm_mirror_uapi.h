/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The ioctls of the HMM mirroring sample devices, /dev/hmm_mirror_rust, /dev/hmm_mirror_c,
 * /dev/hmm_mirror_edu_rust and /dev/hmm_mirror_edu_c.
 *
 * A sample device is a device with a page table of its own.  Each open file is
 * one device context: one four-level page table, empty at first, bound to the
 * address space of at most one process.  The device reads and writes the memory
 * of that process through its page table only; an access that finds no entry,
 * or finds a read-only one when it wants to write, is a device page fault: the
 * driver reads the CPU page table and fills the entry in, just as a GPU driver
 * does for a GPU.
 *
 * A context is bound to an address space, not to a process: when the process
 * calls execve(2) or exits, the address space dies, every entry of the device's
 * page table is gone before the first page is freed, and every later access
 * fails with ESRCH.
 *
 * Conventions for every call:
 *  - addresses and lengths are in bytes, ranges are [addr, addr + len);
 *  - every structure has the same layout for 32-bit and 64-bit callers;
 *  - fields that the kernel writes are named as such ("out"); they are written
 *    on success and, where a call can make part of its way, on failure too;
 *  - unknown flags and non-zero reserved fields are EINVAL, an unknown ioctl
 *    number is ENOTTY, an unreadable argument is EFAULT;
 *  - every call but BIND fails with ENXIO before BIND has succeeded;
 *  - the device's page table, which has one table of the last level for each 2 MiB
 *    in which pages are mapped (for pages of 4 KiB; 4 KiB of memory in C, and 16 KiB in
 *    Rust, where each entry knows when it was made, and for which mirror), is charged
 *    to the memory cgroup of who makes it grow;
 *  - MAP, READ, WRITE and ADD may also fail with EINTR (a fatal signal is pending),
 *    ENOMEM, or EBUSY (the range was invalidated again and again: try again).
 *
 * /dev/hmm_mirror_edu_rust and _edu_c are QEMU's PCI device edu, which is no fake, and has no
 * page table of its own: what is said of that here is, for it, what is mapped for its DMA,
 * behind an IOMMU or without.  It copies ten pieces of at most a page a second, and two for
 * each page of READ and WRITE.  Further it differs in this:
 *  - MAP with ASYNC, and ADD, fail with EOPNOTSUPP; so do MAP, READ and WRITE where the device
 *    cannot have the pages in place (see hmm_mirror_dma_init() and the kernel's log);
 *  - READ and WRITE fail with EIO when the device does not answer, and from then on until
 *    a driver is bound to it anew;
 *  - when the device is removed, or the driver unbound, every call fails with ENODEV, also
 *    one in progress, and for good: the file has to be opened anew.
 *
 * The pages' frame numbers that DUMP shows are what /proc/PID/pagemap shows to
 * a task with CAP_SYS_ADMIN.  The device nodes are therefore made with mode
 * 0600, and should not be opened up to others.
 */
#ifndef _HMM_MIRROR_UAPI_H
#define _HMM_MIRROR_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * struct hmm_mirror_bind - argument of HMM_MIRROR_IOC_BIND (8 bytes)
 * @pidfd: in: pidfd of the process to mirror, see pidfd_open(2)
 * @flags: in: must be 0
 *
 * Binds the context to the address space that the process has now.  The caller
 * needs the permission that PTRACE_ATTACH needs (PTRACE_MODE_ATTACH_REALCREDS).
 *
 * Errors: EBADF (@pidfd is no pidfd), EACCES or EPERM (not permitted), ESRCH
 * (the process is gone, or has no address space, as kernel threads have none),
 * EBUSY (this context is bound already), EINTR, ENOMEM.
 */
struct hmm_mirror_bind {
	__s32 pidfd;
	__u32 flags;
};

/* Flags of HMM_MIRROR_IOC_MAP */
#define HMM_MIRROR_MAP_WRITE	0x1 /* fault for writing */
#define HMM_MIRROR_MAP_PRESENT	0x2 /* do not fault: mirror what is there */
#define HMM_MIRROR_MAP_ASYNC	0x4 /* have it done, and do not wait for it */

/**
 * struct hmm_mirror_map - argument of HMM_MIRROR_IOC_MAP (32 bytes)
 * @addr: in: first byte, page aligned
 * @len: in: length in bytes, page aligned, not 0
 * @flags: in: HMM_MIRROR_MAP_*; WRITE and PRESENT exclude each other
 * @reserved: in: must be 0
 * @pages: out: entries of the device's page table that were filled in, in pages
 *
 * Fills the device's page table for a range ahead of any access.
 *
 * Without flags each page is faulted in for reading, with WRITE for writing;
 * the call fails with EFAULT at the first page that has no mapping or does not
 * permit reading, and with EPERM at the first that does not permit writing.
 * With PRESENT nothing is faulted in and nothing fails for want of a mapping:
 * pages that the CPU has no entry for are left out.  That still takes some time
 * for each 512 pages; /proc/PID/maps says which addresses are worth it.
 *
 * With ASYNC a worker of the kernel does it, as the fault interrupt of a device would
 * have one do it, and the call returns at once with 0 in @pages.  What comes of it is
 * seen by DUMP and STATS only.  Closing the file ends it, and waits for that, which takes as
 * long as a page that the worker waits for, unless userfaultfd(2) is to bring it: so do not
 * ask for pages of a FUSE file that the same process serves.  One range at a time: EBUSY.
 * Not by the device in Rust, as the kernel crate has no way to wait for a worker:
 * EOPNOTSUPP.
 *
 * Errors: EINVAL (unaligned, empty, wraps, or above the process's address
 * space), EFAULT, EPERM, ESRCH (the address space is dead).  On failure @pages
 * counts what was filled in before.
 */
struct hmm_mirror_map {
	__u64 addr;
	__u64 len;
	__u32 flags;
	__u32 reserved;
	__u64 pages;
};

/**
 * struct hmm_mirror_rw - argument of HMM_MIRROR_IOC_READ and _WRITE (32 bytes)
 * @addr: in: address in the mirrored process, need not be aligned
 * @buf: in: address of the caller's buffer
 * @len: in: bytes to copy
 * @done: out: bytes copied
 *
 * READ copies from the mirrored process to the caller's buffer, WRITE the other
 * way, as the device would by DMA: through the device's page table, with device
 * page faults on demand.  Memory that the process may not write is not written,
 * whoever asks.
 *
 * Errors: EFAULT (no mapping, not readable, or a bad @buf), EPERM (the mapping
 * is not writable), EINVAL (the range wraps or is above the process's address
 * space), ESRCH (the address space is dead).  On failure @done bytes were copied
 * before; @len 0 succeeds and does nothing.
 */
struct hmm_mirror_rw {
	__u64 addr;
	__u64 buf;
	__u64 len;
	__u64 done;
};

/**
 * struct hmm_mirror_add - argument of HMM_MIRROR_IOC_ADD (24 bytes)
 * @addr: in: address in the mirrored process, a multiple of 8
 * @value: in: what to add
 * @old: out: what was there before
 *
 * The device adds to a word of 8 bytes while it has the page to itself, by a read and a
 * write that are not atomic for a CPU: the page is made exclusive to the device
 * meanwhile.  So whoever else adds to it, by the CPU's atomic instructions or by other
 * devices in this way, sees each addition once; but not who has got hold of the page before,
 * as for direct I/O.
 *
 * Errors: EFAULT (no mapping, or not readable), EPERM (the mapping is not writable), EINVAL
 * (unaligned, or above the process's address space), ESRCH (the address space is dead),
 * EOPNOTSUPP (not private memory without a file, or huge pages of hugetlbfs; or the kernel
 * lacks CONFIG_DEVICE_PRIVATE, or is older than 7.2).
 */
struct hmm_mirror_add {
	__u64 addr;
	__u64 value;
	__u64 old;
};

/* Flags of struct hmm_mirror_entry */
#define HMM_MIRROR_ENTRY_WRITE	0x1 /* the device may write the page */

/**
 * struct hmm_mirror_entry - one entry of the device's page table (24 bytes)
 * @addr: address in the mirrored process, in bytes, page aligned
 * @pfn: page frame number, in units of the page size
 * @flags: HMM_MIRROR_ENTRY_*
 * @order: log2 of the CPU mapping's size in pages when the entry was filled in:
 *	0 for a page, 9 for a 2 MiB huge page with 4 KiB pages
 *
 * There is one for each page, also where the device maps a huge page by one slot of
 * its page table, as the device in Rust does.  That of an edu has the frame that the IOMMU
 * leads it to, as the IOMMU says, and always the order 0.
 */
struct hmm_mirror_entry {
	__u64 addr;
	__u64 pfn;
	__u32 flags;
	__u32 order;
};

/**
 * struct hmm_mirror_dump - argument of HMM_MIRROR_IOC_DUMP (32 bytes)
 * @start: in/out: first byte of interest; on return where to go on
 * @end: in: end of the range of interest, exclusive; ~0 means everything
 * @entries: in: address of an array of struct hmm_mirror_entry
 * @capacity: in: entries that the array has room for, not 0
 * @count: out: entries that were written
 *
 * Shows the device's page table in address order, without changing it.  When
 * @start equals @end on return, the dump is complete; otherwise call again with
 * the structure as it is.  Each call shows a consistent state of up to 512
 * entries, not more.
 *
 * Errors: EINVAL (@start above @end, @capacity 0), EFAULT, ENOMEM.
 */
struct hmm_mirror_dump {
	__u64 start;
	__u64 end;
	__u64 entries;
	__u32 capacity;
	__u32 count;
};

/**
 * struct hmm_mirror_stats - argument of HMM_MIRROR_IOC_STATS (88 bytes)
 * @pages: entries in the device's page table now
 * @tables: tables that the device's page table is made of now, the root included; for an
 *	edu those by which its driver finds DMA addresses, and in C the intervals of 2 MiB
 *	in which it has some
 * @mapped: entries filled in since BIND
 * @read_bytes: bytes read by the device
 * @written_bytes: bytes written by the device
 * @faults: device page faults: CPU page table reads that were committed
 * @retries: of those, collisions with an invalidation that made one start again
 * @invalidations: invalidations that the registry reported
 * @invalidated: entries that invalidations took out
 * @accesses: pages that READ and WRITE touched
 * @dead: 1 when the address space is dead (exit or exec), else 0.  A call may fail
 *	with ESRCH shortly before, while the last user is letting go
 *
 * All fields are "out".  The counters start at 0 with BIND.  Entries are counted in
 * pages, of which a huge page has 512.  An invalidation of a part of a huge page takes
 * out all of it in the device in Rust, and that part in the device in C, which maps
 * each page by itself.
 */
struct hmm_mirror_stats {
	__u64 pages;
	__u64 tables;
	__u64 mapped;
	__u64 read_bytes;
	__u64 written_bytes;
	__u64 faults;
	__u64 retries;
	__u64 invalidations;
	__u64 invalidated;
	__u64 accesses;
	__u64 dead;
};

#define HMM_MIRROR_IOC_BIND	_IOW(0xBE, 0x00, struct hmm_mirror_bind)
#define HMM_MIRROR_IOC_MAP	_IOWR(0xBE, 0x01, struct hmm_mirror_map)
#define HMM_MIRROR_IOC_READ	_IOWR(0xBE, 0x02, struct hmm_mirror_rw)
#define HMM_MIRROR_IOC_WRITE	_IOWR(0xBE, 0x03, struct hmm_mirror_rw)
#define HMM_MIRROR_IOC_DUMP	_IOWR(0xBE, 0x04, struct hmm_mirror_dump)
#define HMM_MIRROR_IOC_STATS	_IOR(0xBE, 0x05, struct hmm_mirror_stats)
#define HMM_MIRROR_IOC_ADD	_IOWR(0xBE, 0x06, struct hmm_mirror_add)

#endif /* _HMM_MIRROR_UAPI_H */
