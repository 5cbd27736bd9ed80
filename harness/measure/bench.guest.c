// SPDX-License-Identifier: GPL-2.0
/*
 * The only program of the guest that harness/measure/bench boots, after the kernel has
 * measured itself: how long system calls of a process take that a device mirrors,
 * by the sample driver; and of one that the kernel's own test_hmm mirrors, by an
 * interval notifier on all of it.  The lines that it prints are described in
 * mm/tests/hmm/bench.h.
 */
#define _GNU_SOURCE
#define __SANE_USERSPACE_TYPES__
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "hmm_mirror_uapi.h"

#define ROUNDS	11
#define MEMORY	(4UL << 20)
#define PIECE	(64UL << 10)

/* All but the last are processor time of the process itself */
enum { FORK, MUNMAP, EXIT, EXIT_WAIT, NR };

static const char *const names[NR] = {
	"proc_fork", "proc_munmap", "proc_exit", "proc_exit_wait",
};

static const char *const units[NR] = { "ns", "ns", "ns", "wait-ns" };

/* Returns the file of the device, which mirrors for as long as that is open */
typedef int attach_fn(void);

/* Shared by the process that is measured and its parent */
struct shared {
	__u64 took[NR];
	int fd;
};

static __u64 now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static void check(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		reboot(RB_AUTOBOOT);
	}
}

static int attach_ours(void)
{
	struct hmm_mirror_bind bind = { .pidfd = syscall(SYS_pidfd_open, getpid(), 0) };
	int fd = open("/dev/hmm_mirror_c", O_RDWR);

	check(fd >= 0, "/dev/hmm_mirror_c");
	check(ioctl(fd, HMM_MIRROR_IOC_BIND, &bind) == 0, "HMM_MIRROR_IOC_BIND");
	close(bind.pidfd);
	return fd;
}

/* It mirrors whoever opens it */
static int attach_theirs(void)
{
	int fd = open("/dev/hmm_dmirror0", O_RDWR);

	check(fd >= 0, "/dev/hmm_dmirror0");
	return fd;
}

static char *map(size_t size)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_ANONYMOUS | MAP_PRIVATE | MAP_POPULATE, -1, 0);

	check(memory != MAP_FAILED, "mmap");
	return memory;
}

/* In a process of its own, which is mirrored and has some memory */
static void process(attach_fn *attach, struct shared *shared)
{
	__u64 *took = shared->took, t;
	char *piece;
	pid_t pid;

	map(MEMORY);
	shared->fd = attach();

	t = now(CLOCK_PROCESS_CPUTIME_ID);
	pid = fork();
	if (!pid)
		_exit(0);
	took[FORK] = now(CLOCK_PROCESS_CPUTIME_ID) - t;
	check(pid > 0, "fork");
	waitpid(pid, NULL, 0);

	piece = map(PIECE);
	t = now(CLOCK_PROCESS_CPUTIME_ID);
	munmap(piece, PIECE);
	took[MUNMAP] = now(CLOCK_PROCESS_CPUTIME_ID) - t;

	took[EXIT_WAIT] = now(CLOCK_MONOTONIC);
	took[EXIT] = now(CLOCK_PROCESS_CPUTIME_ID);
	_exit(0);
}

/*
 * The files are the parent's as well, so that the device is not closed by the exit
 * that is measured: test_hmm evicts all of its own memory then.
 */
static void measure(attach_fn *attach, struct shared *shared)
{
	pid_t pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
	__u64 *took = shared->took;
	struct rusage usage;

	if (!pid)
		process(attach, shared);
	check(pid > 0, "clone");
	wait4(pid, NULL, 0, &usage);
	took[EXIT_WAIT] = now(CLOCK_MONOTONIC) - took[EXIT_WAIT];
	/* That of its child, which does nothing, is in it on both sides */
	took[EXIT] = 1000 * (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) - took[EXIT];
	close(shared->fd);
}

static int compare(const void *a, const void *b)
{
	__u64 x = *(const __u64 *)a, y = *(const __u64 *)b;

	return (x > y) - (x < y);
}

static void print(const char *name, __u64 *took)
{
	qsort(took, ROUNDS, sizeof(*took), compare);
	printf(" %s=%llu/%llu/%llu", name, took[0], took[ROUNDS / 2], took[ROUNDS - 1]);
}

int main(void)
{
	__u64 ours[NR][ROUNDS], theirs[NR][ROUNDS];
	struct shared *shared;
	int i, what;

	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_ANONYMOUS | MAP_SHARED, -1, 0);
	check(shared != MAP_FAILED, "mmap");

	for (i = -1; i < ROUNDS; i++) {	/* the first to warm up */
		measure(attach_ours, shared);
		for (what = 0; what < NR && i >= 0; what++)
			ours[what][i] = shared->took[what];
		measure(attach_theirs, shared);
		for (what = 0; what < NR && i >= 0; what++)
			theirs[what][i] = shared->took[what];
	}
	for (what = 0; what < NR; what++) {
		printf("row=%s peer=interval-whole", names[what]);
		print("ours", ours[what]);
		print("theirs", theirs[what]);
		printf(" unit=%s\n", units[what]);
	}
	fflush(stdout);
	reboot(RB_AUTOBOOT);	/* which ends QEMU */
	return 1;
}
