/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Victims: processes that do to their memory what may break a mirror.
 */
#ifndef HMM_TORTURE_VICTIM_H
#define HMM_TORTURE_VICTIM_H

#include <stdatomic.h>
#include <stdbool.h>

#include "common.h"

#define TORTURE_DEVICE	"/dev/hmm_torture"

/* How a victim ends, in the order of FIGURE_EXIT to FIGURE_OOM */
enum end {
	END_EXIT,
	END_EXEC,
	END_KILL,
	END_MRELEASE,
	END_OOM,
	END_NR
};

/* What a victim and its keeper share, apart from the table of /dev/hmm_torture */
struct life {
	char *arena;
	int fd;				/* of /dev/hmm_torture */
	atomic_ullong *published;
	__u64 seed;
	const char *device;		/* that the victim uses on itself */
	enum end end;
	char cgroup[64];		/* to be killed in */
	atomic_bool enlisted;
	atomic_bool over;		/* the victim has to end now */
};

/* Opens /dev/hmm_torture for @life. */
int life_open(struct life *life);

/* The victim, a process of its own. */
void victim(struct life *life);

#endif /* HMM_TORTURE_VICTIM_H */
