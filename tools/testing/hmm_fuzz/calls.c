// SPDX-License-Identifier: GPL-2.0
/*
 * The grammar: the ioctls of hmm_mirror_uapi.h, which errors are documented there for
 * each, and the system calls that change what is mirrored, or who mirrors it.
 *
 * EINTR is documented too, but nobody who has got it is there to tell: it takes a
 * signal that is fatal.
 */
#include <linux/mman.h>
#include <sys/mman.h>

#include "device.h"
#include "program.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif

/* The same type and size, another number; another type; another size; none */
#define IOC_UNKNOWN	_IOWR(0xBE, 0x07, struct hmm_mirror_map)
#define IOC_FOREIGN	_IOWR(0xBF, 0x01, struct hmm_mirror_map)
#define IOC_RESIZED	_IOC(_IOC_READ | _IOC_WRITE, 0xBE, 0x01, 0x3fff)
#define IOC_BACKWARDS	_IOR(0xBE, 0x00, struct hmm_mirror_bind)

static const __u64 devices[] = { 0, 1, LAST };
static const __u64 bind_flags[] = { 0, 0, 0, 0, 0, 0, 0, 1, 0x80000000, LAST };
static const __u64 map_flags[] = {
	0, HMM_MIRROR_MAP_WRITE, HMM_MIRROR_MAP_PRESENT, 0, HMM_MIRROR_MAP_WRITE,
	0, HMM_MIRROR_MAP_WRITE, HMM_MIRROR_MAP_PRESENT, 0, HMM_MIRROR_MAP_WRITE,
	HMM_MIRROR_MAP_WRITE | HMM_MIRROR_MAP_PRESENT, 8, 0x80000000,
	HMM_MIRROR_MAP_ASYNC, HMM_MIRROR_MAP_ASYNC | HMM_MIRROR_MAP_WRITE, LAST,
};

static const __u64 reserved[] = {
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xffffffff, LAST,
};

static const __u64 commands[] = {
	IOC_UNKNOWN, IOC_FOREIGN, IOC_RESIZED, IOC_BACKWARDS, 0, 0xffffffff, 0x5401, LAST,
};

static const __u64 times[] = { 256, 64, 16, LAST };

static const __u64 protections[] = {
	PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_WRITE,
	PROT_EXEC, PROT_READ | PROT_EXEC, LAST,
};

/* With a file of the fuzzer, unless it is anonymous */
static const __u64 mmap_flags[] = {
	MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED | MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED,
	MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, MAP_SHARED | MAP_POPULATE, LAST,
};

static const __u64 mremap_flags[] = {
	0, MREMAP_MAYMOVE | MREMAP_FIXED, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, LAST,
};

static const __u64 advised[] = {
	MADV_POPULATE_WRITE, MADV_POPULATE_READ, MADV_DONTNEED, MADV_FREE, MADV_REMOVE,
	MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLLAPSE, MADV_PAGEOUT, MADV_COLD,
	MADV_WILLNEED, MADV_DONTFORK, MADV_DOFORK, MADV_WIPEONFORK, MADV_KEEPONFORK,
	MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_GUARD_INSTALL, MADV_GUARD_REMOVE,
	MADV_POPULATE_WRITE, MADV_DONTNEED, MADV_COLLAPSE, ~0ULL, LAST,
};

/* To exec a program takes long, so it is rare. */
static const __u64 fork_hows[] = {
	FORK_STAY, FORK_STAY, FORK_STAY, FORK_STAY, FORK_EXIT, FORK_EXIT, FORK_EXIT,
	FORK_CALLS, FORK_CALLS, FORK_CALLS, FORK_CALLS, FORK_CALLS, FORK_SETUID, LAST,
};

#define ONE_OF(name, values) { name, ARG_ONE_OF, values }
#define FD		{ "fd", ARG_DEVICE }
#define SLOT(name)	{ name, ARG_SLOT }
#define POINTER		{ "arg", ARG_POINTER }
#define ADDR(name)	{ name, ARG_ADDR }
#define LEN		{ "len", ARG_LEN }
#define PAGE_AT(name)	{ name, ARG_PAGE }
#define PAGES(name)	{ name, ARG_PAGES }

const struct call_type call_types[CALL_NR] = {
	[CALL_OPEN] = {
		"open", 4, NULL, { SLOT("fd"), ONE_OF("rust", devices) },
	},
	[CALL_CLOSE] = { "close", 3, NULL, { SLOT("fd") } },
	[CALL_DUP] = { "dup", 2, NULL, { FD, SLOT("to") } },
	[CALL_BIND] = {
		"bind", 10, " EBADF EACCES EPERM ESRCH EBUSY ENOMEM EINVAL EFAULT ",
		{ SLOT("fd"), { "pidfd", ARG_PIDFD }, ONE_OF("flags", bind_flags),
		  POINTER },
	},
	[CALL_MAP] = {
		"map", 14, " EINVAL EFAULT EPERM ESRCH ENXIO ENOMEM EBUSY EOPNOTSUPP ",
		{ FD, ADDR("addr"), LEN, ONE_OF("flags", map_flags),
		  ONE_OF("reserved", reserved), POINTER },
	},
	[CALL_READ] = {
		"read", 14, " EINVAL EFAULT EPERM ESRCH ENXIO ENOMEM EBUSY ",
		{ FD, ADDR("addr"), { "buf", ARG_BUFFER }, LEN, POINTER },
	},
	[CALL_WRITE] = {
		"write", 14, " EINVAL EFAULT EPERM ESRCH ENXIO ENOMEM EBUSY ",
		{ FD, ADDR("addr"), { "buf", ARG_BUFFER }, LEN, POINTER },
	},
	[CALL_ADD] = {
		"add", 8, " EINVAL EFAULT EPERM ESRCH ENXIO ENOMEM EBUSY EOPNOTSUPP ",
		{ FD, ADDR("addr"), LEN, POINTER },
	},
	[CALL_DUMP] = {
		"dump", 8, " EINVAL EFAULT ENOMEM ENXIO ",
		{ FD, ADDR("start"), ADDR("end"), { "entries", ARG_BUFFER },
		  { "capacity", ARG_COUNT }, POINTER },
	},
	[CALL_STATS] = { "stats", 4, " EFAULT ENXIO ", { FD, POINTER } },
	[CALL_IOCTL] = {
		"ioctl", 2, " ENOTTY ",
		{ FD, ONE_OF("command", commands), { "arg", ARG_ANY } },
	},
	/* The thread's last ioctl, which is changed a little each time; most are bad. */
	[CALL_AGAIN] = {
		"again", 40, NULL, { ONE_OF("times", times), { "seed", ARG_SEED } },
	},
	[CALL_MMAP] = {
		"mmap", 5, NULL,
		{ PAGE_AT("addr"), PAGES("len"), ONE_OF("prot", protections),
		  ONE_OF("flags", mmap_flags) },
	},
	[CALL_MUNMAP] = { "munmap", 5, NULL, { PAGE_AT("addr"), PAGES("len") } },
	[CALL_MPROTECT] = {
		"mprotect", 6, NULL,
		{ PAGE_AT("addr"), PAGES("len"), ONE_OF("prot", protections) },
	},
	[CALL_MADVISE] = {
		"madvise", 10, NULL,
		{ PAGE_AT("addr"), PAGES("len"), ONE_OF("advice", advised) },
	},
	[CALL_MREMAP] = {
		"mremap", 4, NULL,
		{ PAGE_AT("addr"), PAGES("len"), PAGES("new_len"), ONE_OF("flags", mremap_flags),
		  PAGE_AT("new_addr") },
	},
	[CALL_FORK] = {
		"fork", 1, NULL, { { "child", ARG_CHILD }, ONE_OF("how", fork_hows) },
	},
	[CALL_KILL] = { "kill", 2, NULL, { { "child", ARG_CHILD } } },
	[CALL_MRELEASE] = { "mrelease", 1, NULL, { { "pidfd", ARG_PIDFD } } },
};
