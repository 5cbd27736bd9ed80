/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of the fuzzer share.
 *
 * A program is a list of calls.  It is made up from the table in calls.c, or from one
 * that is in the corpus (generate.c), executed by a worker, which is a process with two
 * threads (execute.c), and what came of each call is judged (judge.c).  If it has
 * reached code in a way that none did before (cover.c), it goes into the corpus.
 * fuzz.c starts the workers and watches them.
 */
#ifndef HMM_FUZZ_H
#define HMM_FUZZ_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "common.h"
#include "device.h"

#define PAGE		4096UL
#define MAX_ARGS	6
#define MAX_CALLS	64
#define MAX_CHILDREN	4
#define MAX_WORKERS	16
#define MAX_CORPUS	4096
#define MAX_ERRNO	134
#define RECENT		8	/* programs that a worker remembers */
#define WORKER_NAME	"fuzz-"	/* and a number, for the kernel's log */

/* Memory that programs do things to and mirror; nothing of the fuzzer is there. */
#define ARENA		0x200000000000UL
#define ARENA_SIZE	(ARENA_HUGE + ARENA_HUGE_SIZE - ARENA)
#define WRITABLE_PAGES	32	/* the first ones, with data in them */
/* The part with huge pages; there are more of it than a device does at once */
#define ARENA_HUGE	(ARENA + (2UL << 20))
#define ARENA_HUGE_SIZE	((2UL << 20) + 64 * PAGE)
/*
 * Where the arguments of ioctls are, and buffers, if they are as they should be.  No flip
 * of a bit leads from the others to the first.
 */
#define ARGUMENT(thread) (0x156789ab0000UL + (thread) * 2 * PAGE)
#define BUFFER		0x110000000000UL
#define BUFFER_SIZE	(64 * PAGE)

/* What file descriptors of programs are: numbers of these slots, or as they are. */
enum slot {
	SLOT_DEVICE,		/* 4 that programs fill */
	SLOT_CHILD = 4,		/* pidfds of children, which programs fill as well */
	SLOT_SELF = 8,		/* pidfds: the worker */
	SLOT_DEAD,		/* ... a process that is no more */
	SLOT_ROOT,		/* ... one of somebody else */
	SLOT_KERNEL,		/* ... one without an address space */
	SLOT_SETUID,		/* ... one that runs a set-uid program */
	SLOT_FILE,		/* a file */
	SLOT_CLOSED,		/* nothing */
	SLOT_NR
};

#define FIRST_FIXED	SLOT_SELF

enum call_id {
	CALL_OPEN,
	CALL_CLOSE,
	CALL_DUP,
	CALL_BIND,
	CALL_MAP,
	CALL_READ,
	CALL_WRITE,
	CALL_DUMP,
	CALL_STATS,
	CALL_IOCTL,
	CALL_AGAIN,
	CALL_MMAP,
	CALL_MUNMAP,
	CALL_MPROTECT,
	CALL_MADVISE,
	CALL_MREMAP,
	CALL_FORK,
	CALL_KILL,
	CALL_MRELEASE,
	CALL_NR
};

/* What a fork is for */
enum { FORK_STAY, FORK_EXIT, FORK_CALLS, FORK_SETUID };

struct call {
	__u16 id;		/* enum call_id */
	__u16 thread;		/* 0 or 1, who calls, once there is a race */
	__u64 arg[MAX_ARGS];
};

struct program {
	unsigned int nr;
	unsigned int race;	/* from here on both threads run at a time */
	struct call call[MAX_CALLS];
};

/* The grammar */
enum arg_type {
	ARG_NONE,
	ARG_DEVICE,		/* slot of a device */
	ARG_SLOT,		/* ... that is filled, bound or emptied */
	ARG_CHILD,		/* slot of a child */
	ARG_PIDFD,
	ARG_ADDR,		/* in the mirrored process, or not at all */
	ARG_LEN,
	ARG_BUFFER,		/* of the caller */
	ARG_POINTER,		/* to the argument of an ioctl */
	ARG_COUNT,
	ARG_ANY,
	ARG_SEED,
	ARG_PAGE,		/* in the arena */
	ARG_PAGES,		/* length of a part of the arena */
	ARG_ONE_OF,		/* @values */
};

/* Ends a list of values, and is none itself. */
#define LAST		0xfedcba9876543210
/* The first ones are those with which a call can succeed. */
#define VALID_VALUES	3

struct arg {
	const char *name;
	enum arg_type type;
	const __u64 *values;	/* LAST comes after them */
};

struct call_type {
	const char *name;
	unsigned int weight;	/* how often */
	const char *errnos;	/* that may come of it, " EINVAL EFAULT "; NULL: any */
	struct arg arg[MAX_ARGS];
};

extern const struct call_type call_types[CALL_NR];

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
	long patience;			/* seconds that a program may take */
	atomic_llong programs;
	atomic_llong races;
	atomic_llong result[CALL_NR][MAX_ERRNO];
	struct failure failure;
	struct worker worker[MAX_WORKERS];
	atomic_uint pcs;
	atomic_uint edges;
	atomic_ullong pc[COVER_SIZE];
	atomic_ullong edge[COVER_SIZE];
	pthread_mutex_t corpus_lock;
	unsigned int nr_corpus;
	struct program corpus[MAX_CORPUS];
};

extern struct shared *shared;
extern int fixed_fd[SLOT_NR];		/* from FIRST_FIXED on, for every worker */
extern char setuid_program[];
extern __u64 task_size;

static inline bool one_in(__u64 *state, unsigned int n)
{
	return !random_below(state, n);
}

/* Something is as it must not be, in call @call of @program; the first one counts. */
void failed(const struct program *program, unsigned int call, const char *format, ...);

/* generate.c */
void generate(struct program *program, __u64 *seed);
void mutate(struct program *program, const struct program *other, __u64 *seed);
/* Changes an argument. */
void mutate_call(struct call *call, __u64 *seed);
/* Takes out @nr calls from @first on. */
void program_cut(struct program *program, unsigned int first, unsigned int nr);

/* corpus.c */
void corpus_init(void);
void corpus_add(const struct program *program);
/* A program to run, new or made from what is there. */
void corpus_next(struct program *program, __u64 *seed);

/* cover.c: for one thread, which is that of the caller */
struct cover;
struct cover *cover_open(void);
bool cover_enable(struct cover *cover);
void cover_begin(struct cover *cover);
/* Says if what was reached since then is new. */
bool cover_end(struct cover *cover);

/* execute.c: makes the caller a worker; it ends when the round does, or @only has run. */
void work(struct worker *worker, const struct program *only);

/* judge.c */
union argument {
	struct hmm_mirror_bind bind;
	struct hmm_mirror_map map;
	struct hmm_mirror_rw rw;
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

void judge(const struct outcome *outcome);

/* text.c */
void program_print(FILE *file, const struct program *program);
/* Returns 0, or the number of the line that is wrong. */
int program_read(FILE *file, struct program *program);
const char *errno_name(int error);

/* watch.c: what is left behind, and what the kernel's log says */
struct level {
	long mirrors;
	long users;		/* of the modules */
	long bytes;		/* of the kernel's memory */
};

/* What cannot be written ends the program. */
void must_write_file(const char *path, const char *text);
void watch_start(void);
void watch_join(void);		/* makes the caller one of the watched */
void watch_level(struct level *level);
bool watch_log(char *text, size_t size, int *worker);
bool watch_leaks(void);

/* report.c */
void report_progress(const char *state, long long milliseconds);
void report_calls(void);
/* The name of a call that has never succeeded, or NULL */
const char *report_useless(void);

#endif /* HMM_FUZZ_H */
