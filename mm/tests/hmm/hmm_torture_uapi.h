/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What a process and /dev/hmm_torture agree upon, see torture.h.
 *
 * Each open file is a victim: a process that lets its memory be mirrored by the
 * devices of the torture test.  The memory is an arena of up to HMM_TORTURE_PAGES
 * pages.  Each page begins with a struct hmm_torture_stamp, by which whoever reads
 * it through a device can tell whether that is the page which is there now.
 *
 * The oracle.  A page is stamped by one thread, with a number that only grows.
 * After that (release) the thread publishes the number, in a table that it shares
 * with the readers: mmap() of the file.  Who reads through a device looks at the
 * table first (acquire).  The device must never see an older stamp than that:
 *
 *  - If the page is still the same one, the stamp came before it was published.
 *  - If it is another one now (copy-on-write after fork(2), migration, swap, a huge
 *    page and so on), the mirrors were called before the CPU's page table changed,
 *    which was before the new page was stamped, which was before that was published.
 *    So a device that still had the old page would show an older stamp.
 *
 * What throws data away (munmap(2), MADV_DONTNEED, ...) makes a page 0 again; a page
 * that is 0 is older than every stamp.  So the thread begins a new epoch first: it
 * publishes HMM_TORTURE_EPOCH more, with no stamp.  A device that sees 0 is right if
 * the epoch has changed between a look before and a look after the reading.  A
 * stamp is right only if it is not older; for the numbers go on growing.
 *
 * It works the other way round as well.  Each device writes to a slot of its own in
 * each page, and if no epoch began meanwhile, must find there what it has written:
 * else it has written to a page that was not there any more.  Before the first stamp
 * of an epoch the data is still to be thrown away, so what is written then may go.
 */
#ifndef _HMM_TORTURE_UAPI_H
#define _HMM_TORTURE_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define HMM_TORTURE_PAGES	1024	/* of an arena, at most */
#define HMM_TORTURE_SLOTS	384	/* devices that write */
/* The last two are for devices of others */
#define HMM_TORTURE_OWN_SLOTS	(HMM_TORTURE_SLOTS - 2)

/**
 * struct hmm_torture_stamp - what each page of an arena begins with
 * @page: number of the page in the arena, plus 1; 0 when it is not told
 * @generation: the stamp
 * @slot: written by the devices, each in its own
 */
struct hmm_torture_stamp {
	__u64 page;
	__u64 generation;
	__u64 slot[HMM_TORTURE_SLOTS];
};

/* What is published about a page: the epoch, a flag, the stamp or 0 */
#define HMM_TORTURE_EPOCH	0x200000000ULL
/* Devices should not write, for the page is to be merged with others like it */
#define HMM_TORTURE_ALIKE	0x100000000ULL
#define HMM_TORTURE_GENERATION	(HMM_TORTURE_ALIKE - 1)

/* May a device expect to find what it has written between two looks at the table? */
static inline int hmm_torture_is_kept(__u64 before, __u64 after)
{
	return (before & HMM_TORTURE_GENERATION) &&
	       before / HMM_TORTURE_EPOCH == after / HMM_TORTURE_EPOCH;
}

/**
 * struct hmm_torture_enlist - argument of HMM_TORTURE_IOC_ENLIST
 * @addr: where the caller has its arena, page aligned
 * @pages: of the arena
 *
 * The address space of the caller is mirrored from now on, until it dies or the
 * file is closed, whichever comes first.  Once for each open file (else EBUSY).
 */
struct hmm_torture_enlist {
	__u64 addr;
	__u64 pages;
};

#define HMM_TORTURE_IOC_ENLIST	_IOW(0xBE, 0x10, struct hmm_torture_enlist)

#endif /* _HMM_TORTURE_UAPI_H */
