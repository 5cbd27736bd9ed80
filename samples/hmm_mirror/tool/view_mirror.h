/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mirrors a process that goes on undisturbed, and looks at it: the two page
 * tables, how often they change, and how long the device takes.
 */
#ifndef HMM_MIRROR_VIEW_MIRROR_H
#define HMM_MIRROR_VIEW_MIRROR_H

#include <sys/types.h>

#include "device.h"
#include "picture.h"

#define TIMES	1024		/* that are kept */

/* The last of them, in nanoseconds. */
struct ring {
	__u64 ns[TIMES];
	size_t nr;		/* ever */
};

/* Per second. */
struct rates {
	double in;		/* pages that came into the device's page table */
	double out;		/* that invalidations took out */
	double faults;
	double retries;
	double invalidations;
	double accesses;
};

struct watch {
	const char *device;
	pid_t pid;
	int fd;			/* the device context */
	int pidfd;
	double start;
	struct sample sample;	/* what was seen last */
	struct entries cpu;
	struct entries table;	/* the device's, as of @sample */
	struct entries before;	/* ... as of the picture before that */
	struct entries filled;	/* ... as of the end of the device's last turn */
	struct ring faults;
	struct ring reads;
	struct rates rates;
	struct hmm_mirror_stats rated;	/* when @rates were made */
	double rated_at;
	struct hmm_mirror_stats gone;	/* of the address spaces before this one */
	__u64 turns;		/* that the device has had */
	__u64 cursor;		/* where it goes on to mirror */
};

/* Returns 0, or a negative errno value and has complained. */
int watch_begin(struct watch *watch, const char *device, pid_t pid);
void watch_end(struct watch *watch);

/* Seconds since the beginning. */
double watch_time(const struct watch *watch);

/* The counters of all address spaces that the process has had. */
struct hmm_mirror_stats watch_total(const struct watch *watch);

/*
 * Takes a picture: sets @watch->sample. Returns 0; -EAGAIN when there is none
 * now, as the process calls execve(); -ESRCH when it has ended; or another
 * negative errno value.
 */
int watch_look(struct watch *watch);

/*
 * The device's turn, after a picture: for some time it mirrors what the CPU has
 * and it has not, and reads here and there.
 */
void watch_work(struct watch *watch, double seconds);

#endif /* HMM_MIRROR_VIEW_MIRROR_H */
