/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of the workload share: the memory that they change, which is
 * called the arena, and how they see that the device follows.
 */
#ifndef HMM_MIRROR_WORKLOAD_H
#define HMM_MIRROR_WORKLOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "device.h"
#include "verify.h"

#define HUGE_SIZE	(2UL << 20)
#define ARENA_SIZE	(2 * HUGE_SIZE)

/* At the beginning of each page of the arena. */
struct stamp {
	__u64 number;		/* of the page in the arena, plus 1 */
	__u64 generation;	/* written by the process */
	__u64 mail;		/* written by the main thread's context */
	__u64 noise;		/* written by the other thread's context */
};

struct work {
	const char *device;
	int fd;			/* the main thread's context */
	int noise_fd;		/* the other thread's context */
	unsigned long pause_ms;
	size_t page;
	char *arena;		/* always at the same address */
	__u64 generation;
	__u64 mail;
	atomic_bool quiet;	/* the other thread should end */

	/* Results, kept over execve(). */
	atomic_ullong checks;
	atomic_ullong failures;
	unsigned long long mapped;
	unsigned long long accesses;
	unsigned long long invalidations;
	struct verify verify;
};

extern struct work work;

/* workload_check.c: what the device must see, and must not. */

/* Counts a check, and prints the text if it has failed. */
void expect(bool condition, const char *format, ...);
/* The stamp of page @i of @memory. */
struct stamp *stamp_at(char *memory, size_t i);
/* Does the device see what the process sees? */
void device_sees(char *memory, size_t size);
/* Does the process see what the device writes? */
void device_writes(char *memory, size_t size);
/* Does an access of the device fail with @error? */
void device_refuses(char *addr, bool write, int error);
/* The device must have nothing there, whether or not it is asked for it. */
void device_forgot(char *memory, size_t size);
/* How many pages are there in the device that pass the test? */
size_t device_has(char *memory, size_t size, __u32 flags, __u32 order);
/* Does each entry of the device agree with /proc/self/pagemap? */
void in_step(void);
/* All of it, for memory that the process may read and write. */
void check(char *memory, size_t size);

/* workload_arena.c: the memory. */

/* Address space apart from other memory, so that a picture shows it well. */
char *reserve(size_t size);
/* New memory in place of the arena's; with @fd from a file. */
void map_arena(int flags, int fd);
/* New anonymous memory without huge pages, which the device has seen. */
void fresh_arena(void);
/* Sets @frames to the page frames of the arena. */
void frames_read(__u64 *frames);

/* workload_map.c: steps that change the mappings. */

void step_mmap(void);
void step_munmap(void);
void step_mprotect(void);
void step_mremap(void);
void step_dontneed(void);
void step_free(void);
void step_truncate(void);
void step_private(void);

/* workload_page.c: steps that leave the mappings, and change the pages. */

void step_collapse(void);
void step_split(void);
void step_migrate(void);
void step_swap(void);
void step_ksm(void);

/* workload_process.c: steps with other processes and threads. */

void step_fork(void);
void step_threads(void);
void step_exit(void);

/* A context of this process. */
int bind_self(void);
/* A context that must be dead: its process has ended, or called execve(). */
void dead_context(int fd, const char *what);

#endif /* HMM_MIRROR_WORKLOAD_H */
