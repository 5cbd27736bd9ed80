/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The oracle: is the device's page table in step with the CPU's?
 *
 * The device's page table comes from the driver under test (DUMP); what it must
 * agree with comes from /proc/PID/maps and /proc/PID/pagemap only, which the
 * kernel writes and the driver has no hand in.
 */
#ifndef HMM_MIRROR_VERIFY_H
#define HMM_MIRROR_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "device.h"

/* What the CPU side says about one page: Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_BIT(n)		((__u64)1 << (n))
#define PAGEMAP_PFN		(PAGEMAP_BIT(55) - 1)
#define PAGEMAP_EXCLUSIVE	PAGEMAP_BIT(56)
#define PAGEMAP_FILE		PAGEMAP_BIT(61)
#define PAGEMAP_PRESENT		PAGEMAP_BIT(63)

struct vma {
	__u64 start;
	__u64 end;
	bool read;
	bool write;
	bool shared;
	char name[48];		/* last part of the path, "" when anonymous */
};

struct maps {
	struct vma *vma;
	size_t nr;
	size_t capacity;
};

/* Replaces what is in @maps. A process without an address space has no VMAs. */
int maps_read(pid_t pid, struct maps *maps);
const struct vma *maps_find(const struct maps *maps, __u64 addr);
void maps_free(struct maps *maps);

/* Opens /proc/PID/pagemap; the file stays with the address space of now. */
int pagemap_open(pid_t pid);

/* Pages behind the end of the address space read as 0. */
int pagemap_read(int fd, __u64 addr, __u64 *pages, size_t nr);

/* What can be wrong with an entry of the device's page table. */
enum verdict {
	ENTRY_OK,
	ENTRY_NO_MAPPING,
	ENTRY_NO_READ,
	ENTRY_NOT_PRESENT,
	ENTRY_WRONG_FRAME,
	ENTRY_WRITE_READONLY,
	ENTRY_WRITE_FILE,
	ENTRY_WRITE_SHARED,
};

const char *verdict_text(enum verdict verdict);

/*
 * Compares one entry with what the CPU side says: @vma is the mapping at its
 * address (or NULL) and @pagemap the word of /proc/PID/pagemap.
 */
enum verdict entry_check(const struct hmm_mirror_entry *entry,
			 const struct vma *vma, __u64 pagemap);

struct verify {
	__u64 entries;	/* entries that were compared */
	__u64 stale;		/* of those, stale beyond doubt */
};

/*
 * Compares every entry of the context @fd, which is bound to the address space
 * of @pid, and adds to @verify. Each stale entry is reported to @report, unless
 * that is NULL. Returns a negative errno value when it could not compare;
 * -EPERM means that pagemap hides the frames: CAP_SYS_ADMIN is needed.
 *
 * Nobody may fill entries in through @fd meanwhile, see verify.c. The process
 * may run, though a stopped one is a better witness.
 */
int verify_context(int fd, pid_t pid, struct verify *verify, FILE *report);

/*
 * Shows that entry_check() can fail: feeds it entries that are right and
 * entries that are wrong in each way there is. Returns how many it got wrong.
 */
int verify_self_test(FILE *report);

#endif /* HMM_MIRROR_VERIFY_H */
