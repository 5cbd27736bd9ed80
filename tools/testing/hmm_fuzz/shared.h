/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all processes of the fuzzer see: who is at what, what came of it, and what was
 * wrong first.
 */
#ifndef HMM_FUZZ_SHARED_H
#define HMM_FUZZ_SHARED_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "common.h"
#include "program.h"

#define WORKERS		4	/* processes that make calls, with two threads each */
#define MAX_CORPUS	4096
#define MAX_ERRNO	134
#define RECENT		8	/* programs that a worker remembers */
#define WORKER_NAME	"fuzz-"	/* and a number, for the kernel's log */

/* What a worker is at */
struct worker {
	unsigned int number;
	unsigned int lives;
	pid_t pid;
	atomic_llong since;		/* milliseconds; 0: at nothing */
	atomic_uint nr_recent;
	struct program recent[RECENT];	/* of which the last one may be running */
};

struct failure {
	atomic_int state;		/* 0: none, 1: being written, 2: there */
	unsigned int call;
	struct program program;
	char text[256];
};

/* Features of what was reached, see cover.c */
#define COVER_SIZE	0x10000U

struct shared {
	atomic_bool stop;
	atomic_bool end_of_round;
	bool have_cover;
	__u64 seed;
	atomic_llong programs;
	atomic_llong races;
	atomic_llong result[CALL_NR][MAX_ERRNO];
	struct failure failure;
	struct worker worker[WORKERS];
	atomic_uint pcs;
	atomic_uint edges;
	atomic_ullong pc[COVER_SIZE];
	atomic_ullong edge[COVER_SIZE];
	pthread_mutex_t corpus_lock;
	unsigned int nr_corpus;
	struct program corpus[MAX_CORPUS];
};

extern struct shared *shared;
extern __u64 task_size;		/* where the address space of a process ends */

/* Something is as it must not be, in call @call of @program; the first one counts. */
void failed(const struct program *program, unsigned int call, const char *format, ...);

#endif /* HMM_FUZZ_SHARED_H */
