/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Programs, which are lists of calls, the grammar that they are made by, and their text.
 */
#ifndef HMM_FUZZ_PROGRAM_H
#define HMM_FUZZ_PROGRAM_H

#include <linux/types.h>
#include <stdio.h>

#define PAGE		4096UL
#define MAX_ARGS	6
#define MAX_CALLS	64

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
	CALL_ADD,
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

void program_print(FILE *file, const struct program *program);
/* Returns 0, or the number of the line that is wrong. */
int program_read(FILE *file, struct program *program);
const char *errno_name(int error);

#endif /* HMM_FUZZ_PROGRAM_H */
