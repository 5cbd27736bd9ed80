/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel says of a process and its memory, in /proc/PID.
 */
#ifndef HMM_MIRROR_PROC_H
#define HMM_MIRROR_PROC_H

#include <stdbool.h>
#include <stddef.h>
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

/*
 * Opens /proc/PID/NAME, which is about the memory of a process; it stays with the
 * address space of now. Where the main thread has ended before the others, it is
 * one of these that knows. Returns a descriptor, or a negative errno value.
 */
int memory_open(pid_t pid, const char *name);

/* What the process calls itself; what cannot be printed is shown as '?'. */
void comm_read(pid_t pid, char *comm, size_t size);

/* Returns 0 or -ENOMEM. */
int maps_add(struct maps *maps, const struct vma *vma);
/* Replaces what is in @maps. A process without an address space has no VMAs. */
int maps_read(pid_t pid, struct maps *maps);
const struct vma *maps_find(const struct maps *maps, __u64 addr);
void maps_free(struct maps *maps);

/* Opens /proc/PID/pagemap. */
int pagemap_open(pid_t pid);

/* Pages behind the end of the address space read as 0. */
int pagemap_read(int fd, __u64 addr, __u64 *pages, size_t nr);

/*
 * Replaces what is in @entries by the CPU's page table, as the device would have
 * it: the pages in memory of the mappings that may be read. Returns 0 or a
 * negative errno value.
 */
int cpu_table(pid_t pid, const struct maps *maps, struct entries *entries);

#endif /* HMM_MIRROR_PROC_H */
