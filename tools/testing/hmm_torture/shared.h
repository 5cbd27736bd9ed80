/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all parts of the torture test see: what is counted, and who is at what.  Each part
 * is a process, or more.
 */
#ifndef HMM_TORTURE_SHARED_H
#define HMM_TORTURE_SHARED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

#include "common.h"
#include "hmm_torture_uapi.h"

#define PAGE		4096UL
#define PAGES		HMM_TORTURE_PAGES

/* What is counted, see figures[] in shared.c */
enum figure {
	/* what victims do to their memory */
	FIGURE_MUNMAP,
	FIGURE_MPROTECT,
	FIGURE_MREMAP,
	FIGURE_DONTNEED,
	FIGURE_FREE,
	FIGURE_FORK,
	FIGURE_COLLAPSE,
	FIGURE_SPLIT,
	FIGURE_MOVE_PAGES,
	FIGURE_PAGEOUT,
	FIGURE_MERGE,
	FIGURE_TRUNCATE,
	/* how they end */
	FIGURE_EXIT,
	FIGURE_EXEC,
	FIGURE_KILL,
	FIGURE_MRELEASE,
	FIGURE_OOM,
	FIGURE_MRELEASE_VETOED,
	/* what is done to the machine */
	FIGURE_CPU,
	FIGURE_COMPACT,
	FIGURE_UNMERGE,
	FIGURE_RELOAD,
	FIGURE_RELOAD_BUSY,
	FIGURE_CALLBACK,
	FIGURE_TRACE,
	FIGURE_COUNTERS,
	FIGURE_PROGRAM,
	/* what the sample devices do */
	FIGURE_READ,
	FIGURE_WRITE,
	FIGURE_MAP,
	FIGURE_SELF,
	FIGURE_BUSY,
	FIGURE_VERIFIED,
	FIGURE_DEATH,
	/* what must not be */
	FIGURE_STALE,
	FIGURE_LOST,
	FIGURE_BROKEN,
	FIGURE_NR
};

struct figure_type {
	const char *text;
	bool needed;		/* if it stays 0, something has not been tested */
};

extern const struct figure_type figures[FIGURE_NR];

#define PARTS	16

/* A part, and what it does that may take for ever */
struct part {
	const char *name;
	pid_t pid;
	unsigned int number;
	atomic_uintptr_t doing;		/* const char * */
	atomic_llong since;		/* milliseconds */
};

/* These run beside each other; each is a process of its own. */
int keeper(struct part *part);
int machine(struct part *part);
int programs(struct part *part);

struct shared {
	atomic_bool stop;
	/* Device whose module is to be unloaded, and nobody should open: const char * */
	atomic_uintptr_t avoid;
	__u64 seed;
	long patience;			/* seconds that anything may take */
	atomic_llong figure[FIGURE_NR];
	struct part part[PARTS];
};

extern struct shared *shared;

static inline void count(enum figure figure, long long nr)
{
	atomic_fetch_add(&shared->figure[figure], nr);
}

/* Something is as it must not be. */
void failed(enum figure figure, const char *format, ...);

static inline void pause_ms(long ms)
{
	usleep(ms * 1000);
}

/* Opens a sample device, unless that is to be left alone now, or is not there. */
int open_unless_avoided(const char *device);

/* Says what comes next, which may take for ever. */
static inline void doing(struct part *part, const char *what)
{
	part->since = now();
	part->doing = (uintptr_t)what;
}

static inline __u64 random_seed(const struct part *part, unsigned int nr)
{
	__u64 state = shared->seed + ((__u64)part->number << 32) + nr;

	return random_next(&state);
}

/* Puts 0 to @nr - 1 in some order. */
static inline void random_order(__u64 *state, unsigned int *order, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		unsigned int j = random_below(state, i + 1);

		order[i] = order[j];
		order[j] = i;
	}
}

#endif /* HMM_TORTURE_SHARED_H */
