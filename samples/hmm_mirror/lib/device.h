/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One device context: the ioctls of hmm_mirror_uapi.h as functions.
 *
 * Every function returns 0 or a negative errno value, and leaves it to the
 * caller to try again on -EBUSY or to say what went wrong.
 */
#ifndef HMM_MIRROR_DEVICE_H
#define HMM_MIRROR_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../hmm_mirror_uapi.h"

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#endif

#define DEVICE_RUST	"/dev/hmm_mirror_rust"
#define DEVICE_C	"/dev/hmm_mirror_c"
#define DEVICE_EDU_C	"/dev/hmm_mirror_edu_c"
#define DEVICE_EDU_RUST	"/dev/hmm_mirror_edu_rust"

/* The device's page table, or a part of it, in address order. */
struct entries {
	struct hmm_mirror_entry *entry;
	size_t nr;
	size_t capacity;
};

/* The one in Rust, or the one in C where that is the only one. */
const char *device_default(void);
int device_open(const char *path);

/*
 * How many pages it is worth while to have the device access, of a program that runs: a real
 * one may be slow, and all do the same.  By its name, as that says which driver it has.
 */
size_t device_pages(const char *path);

/*
 * Where the driver is a module, which lets a process bind its own memory only, @pid is
 * made to do so by ptrace(2), see inject.h. On -EOPNOTSUPP device_bind_why() says why that
 * could not be. Whoever traces @pid already says with which options.
 */
int device_bind(int fd, pid_t pid);
const char *device_bind_why(void);
void device_bind_traced(long options);

/* @pages may be NULL; it is set on failure too, to what was filled in before. */
int device_map(int fd, __u64 addr, __u64 len, __u32 flags,
	       __u64 *pages);

/* @done may be NULL; it is set on failure too, to the bytes copied before. */
int device_read(int fd, __u64 addr, void *buf, size_t len, size_t *done);
int device_write(int fd, __u64 addr, const void *buf, size_t len,
		 size_t *done);

/* Adds to 8 bytes, exclusively; @old may be NULL. */
int device_add(int fd, __u64 addr, __u64 value, __u64 *old);

/* Makes room for @nr more; returns 0 or -ENOMEM. */
int entries_reserve(struct entries *entries, size_t nr);

/* Replaces what is in @entries. */
int device_dump(int fd, __u64 start, __u64 end, struct entries *entries);
void entries_free(struct entries *entries);

int device_stats(int fd, struct hmm_mirror_stats *stats);

/*
 * How many pages came into the device's page table. Not @mapped, which counts a
 * page that was there already and is filled in once more.
 */
static inline __u64 stats_mirrored(const struct hmm_mirror_stats *stats)
{
	return stats->pages + stats->invalidated;
}

/* Adds up what can be, over address spaces. */
void stats_add(struct hmm_mirror_stats *total, const struct hmm_mirror_stats *stats);

#endif /* HMM_MIRROR_DEVICE_H */
