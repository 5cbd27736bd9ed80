/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Workers, which execute programs, and what they know of a call when it is judged.
 */
#ifndef HMM_FUZZ_EXECUTE_H
#define HMM_FUZZ_EXECUTE_H

#include "device.h"
#include "shared.h"

union argument {
	struct hmm_mirror_bind bind;
	struct hmm_mirror_map map;
	struct hmm_mirror_rw rw;
	struct hmm_mirror_add add;
	struct hmm_mirror_dump dump;
	struct hmm_mirror_stats stats;
};

/* What is known of a call that was made */
struct outcome {
	const struct program *program;
	unsigned int call;
	bool exact;		/* nobody else was at it */
	bool device;		/* the file descriptor is a device, ... */
	bool bound;		/* ... which is bound */
	bool self;		/* ... to the caller's own memory */
	bool seen;		/* @after is what the kernel has left */
	int error;		/* 0 or an errno value */
	union argument before;
	union argument after;
};

/* Says by failed() what must not be. */
void judge(const struct outcome *outcome);

/* Makes the caller a worker; it ends when the round does, or @only has run. */
void work(struct worker *worker, const struct program *only);

#endif /* HMM_FUZZ_EXECUTE_H */
