// SPDX-License-Identifier: GPL-2.0
/*
 * A program that does to its memory everything that a mirror must hear of.
 *
 * It mirrors itself: a device context is bound to its own address space. Each
 * step fills memory in through the device, changes the mapping under it, and
 * then looks whether the device sees what the process sees, whether the process
 * sees what the device wrote, and whether the device's page table is in step
 * with /proc/self/pagemap.
 *
 * All the while a thread reads and writes the same memory through a second
 * context. It is only that thread that races with the changes; the first
 * context belongs to the main thread, so what it finds is certain.
 *
 * The process takes the name of the step it is in, so that whoever watches from
 * outside (hmm-mirror --view, top) can tell.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "proc.h"
#include "verify.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define HUGE_SIZE	(2UL << 20)
#define ARENA_SIZE	(2 * HUGE_SIZE)
#define THREADS		3
#define APART		((void *)0x200000000000)

/* At the beginning of each page of the arena. */
struct stamp {
	__u64 number;		/* of the page in the arena, plus 1 */
	__u64 generation;	/* written by the process */
	__u64 mail;		/* written by the main thread's context */
	__u64 noise;	/* written by the other thread's context */
};

static struct {
	const char *device;
	int fd;			/* the main thread's context */
	int noise_fd;		/* the other thread's context */
	unsigned long pause_ms;
	size_t page;
	char *arena;		/* always at the same address */
	__u64 generation;
	__u64 mail;
	atomic_bool quiet;	/* the other thread should end */

	/* Results, kept over execve(). */
	atomic_ullong checks;
	atomic_ullong failures;
	unsigned long long mapped;
	unsigned long long accesses;
	unsigned long long invalidations;
	struct verify verify;
} work;

static void
expect(bool condition, const char *format, ...)
{
	va_list args;

	work.checks++;
	if (condition)
		return;
	work.failures++;
	fputs("workload: FAILED: ", stdout);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* Data that differ have no errno value of their own here. */
#define OTHER_DATA	1

static const char *reason(int ret)
{
	return ret == OTHER_DATA ? "the data differ" : strerror(-ret);
}

static struct stamp *stamp_at(char *memory, size_t i)
{
	return (struct stamp *)(memory + i * work.page);
}

/* The process stamps its memory. */
static void stamp(char *memory, size_t size)
{
	const size_t first = (memory - work.arena) / work.page;
	size_t i;

	work.generation++;
	for (i = 0; i < size / work.page; i++) {
		stamp_at(memory, i)->number = first + i + 1;
		stamp_at(memory, i)->generation = work.generation;
	}
}

/* Does the device see what the process sees? */
static void device_sees(char *memory, size_t size)
{
	static char seen[ARENA_SIZE];
	size_t i, done = 0;
	int ret;

	ret = device_read(work.fd, (uintptr_t)memory, seen, size, &done);
	for (i = 0; i < done / work.page; i++) {
		const struct stamp *real = stamp_at(memory, i);
		const struct stamp *device = stamp_at(seen, i);

		if (device->number != real->number ||
		    device->generation != real->generation ||
		    device->mail != real->mail) {
			ret = OTHER_DATA;
			break;
		}
	}
	expect(!ret, "the device cannot see page %zu: %s", i, reason(ret));
}

/* Does the process see what the device writes? */
static void device_writes(char *memory, size_t size)
{
	int ret = 0;
	size_t i;

	for (i = 0; !ret && i < size / work.page; i++) {
		struct stamp *real = stamp_at(memory, i);
		__u64 mail = ++work.mail;

		ret = device_write(work.fd, (uintptr_t)&real->mail, &mail,
				   sizeof(mail), NULL);
		if (!ret && real->mail != mail)
			ret = OTHER_DATA;
	}
	expect(!ret, "the process cannot see what the device wrote to page %zu: %s",
	       i, reason(ret));
}

static void device_refuses(char *addr, bool write, int error)
{
	__u64 mail = 0;
	int ret;

	if (write)
		ret = device_write(work.fd, (uintptr_t)addr, &mail,
				   sizeof(mail), NULL);
	else
		ret = device_read(work.fd, (uintptr_t)addr, &mail,
				  sizeof(mail), NULL);
	expect(ret == error, "the device may %s %p: %s, not %s",
	       write ? "write to" : "read", addr, strerror(-ret),
	       strerror(-error));
}

/* The device must have nothing there, whether or not it is asked for it. */
static void device_forgot(char *memory, size_t size)
{
	struct entries entries = { };
	int ret;

	ret = device_dump(work.fd, (uintptr_t)memory, (uintptr_t)memory + size,
			  &entries);
	expect(!ret && !entries.nr, "the device still has %zu pages at %p",
	       entries.nr, memory);
	entries_free(&entries);
}

/* How many pages are there in the device that pass the test? */
static size_t device_has(char *memory, size_t size, __u32 flags, __u32 order)
{
	struct entries entries = { };
	size_t i, nr = 0;

	if (device_dump(work.fd, (uintptr_t)memory, (uintptr_t)memory + size,
			&entries))
		entries.nr = 0;
	for (i = 0; i < entries.nr; i++)
		if ((entries.entry[i].flags & flags) == flags &&
		    entries.entry[i].order >= order)
			nr++;
	entries_free(&entries);
	return nr;
}

/* How many pages share the frame of the page in the middle? */
static size_t device_merged(char *memory, size_t size)
{
	struct entries entries = { };
	size_t i, nr = 0;

	if (device_dump(work.fd, (uintptr_t)memory, (uintptr_t)memory + size,
			&entries))
		entries.nr = 0;
	for (i = 0; i < entries.nr; i++)
		nr += entries.entry[i].pfn == entries.entry[entries.nr / 2].pfn;
	entries_free(&entries);
	return nr;
}

static void in_step(void)
{
	__u64 stale = work.verify.stale;
	int ret;

	ret = verify_context(work.fd, getpid(), &work.verify, stdout);
	expect(!ret && work.verify.stale == stale,
	       "the page tables are not in step: %s", strerror(-ret));
}

/* All of it, for memory that the process may read and write. */
static void check(char *memory, size_t size)
{
	in_step();
	stamp(memory, size);
	device_sees(memory, size);
	device_writes(memory, size);
	in_step();
}

/*
 * The other thread. Memory comes and goes, so that it is often refused; what it
 * reads must be empty or the page that belongs there.
 */
static void *noise(void *arg)
{
	const size_t pages = ARENA_SIZE / work.page;
	const __u64 arena = (uintptr_t)arg;
	unsigned int seed = 1;
	__u64 count = 0;

	while (!work.quiet) {
		size_t i = rand_r(&seed) % pages;
		__u64 addr = arena + i * work.page, number;

		if (!device_read(work.noise_fd, addr, &number, sizeof(number),
				 NULL))
			expect(!number || number == i + 1,
			       "the device read page %llu instead of page %zu",
			       number, i + 1);
		count++;
		device_write(work.noise_fd,
			     addr + offsetof(struct stamp, noise), &count,
			     sizeof(count), NULL);
		/* Leave some time to the others, on a small machine. */
		if (!(count % 16))
			usleep(500);
	}
	return NULL;
}

/* Apart from other memory, so that a picture shows it well. */
static char *reserve(size_t size)
{
	char *memory = mmap(APART, size + HUGE_SIZE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *aligned = (char *)(((uintptr_t)memory + HUGE_SIZE - 1) &
				 -HUGE_SIZE);

	if (memory == MAP_FAILED)
		err(1, "mmap");
	munmap(memory, aligned - memory);
	munmap(aligned + size, memory + HUGE_SIZE - aligned);
	return aligned;
}

/* New memory in place of the arena's; with @fd from a file. */
static void map_arena(int flags, int fd)
{
	char *memory = mmap(work.arena, ARENA_SIZE, PROT_READ | PROT_WRITE,
			    MAP_FIXED | flags, fd, 0);

	if (memory == MAP_FAILED)
		err(1, "mmap");
}

static void fresh_arena(void)
{
	map_arena(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (madvise(work.arena, ARENA_SIZE, MADV_NOHUGEPAGE) && errno != EINVAL)
		err(1, "madvise(MADV_NOHUGEPAGE)");
	check(work.arena, ARENA_SIZE);
}

static void step_mmap(void)
{
	map_arena(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	/* The zero page first: the device may read it, not write to it. */
	device_sees(work.arena, ARENA_SIZE);
	check(work.arena, ARENA_SIZE);
}

static void step_munmap(void)
{
	char *hole = work.arena + ARENA_SIZE / 4;
	const size_t size = ARENA_SIZE / 2;

	fresh_arena();
	munmap(hole, size);
	device_forgot(hole, size);
	device_refuses(hole, false, -EFAULT);
	device_refuses(hole + size - work.page, true, -EFAULT);
	in_step();
	check(work.arena, hole - work.arena);
	check(hole + size, work.arena + ARENA_SIZE - hole - size);
}

static void step_mprotect(void)
{
	char *half = work.arena + ARENA_SIZE / 2;

	fresh_arena();
	mprotect(half, ARENA_SIZE / 2, PROT_READ);
	expect(!device_has(half, ARENA_SIZE / 2, HMM_MIRROR_ENTRY_WRITE, 0),
	       "the device has writable pages in a read-only mapping");
	device_refuses(half, true, -EPERM);
	device_sees(half, ARENA_SIZE / 2);
	in_step();
	mprotect(half, ARENA_SIZE / 2, PROT_NONE);
	device_refuses(half, false, -EFAULT);
	in_step();
	mprotect(half, ARENA_SIZE / 2, PROT_READ | PROT_WRITE);
	check(work.arena, ARENA_SIZE);
}

static void step_mremap(void)
{
	char *away = reserve(ARENA_SIZE), *back;

	fresh_arena();
	if (mremap(work.arena, ARENA_SIZE, ARENA_SIZE,
		   MREMAP_MAYMOVE | MREMAP_FIXED, away) != away)
		err(1, "mremap");
	device_refuses(work.arena, false, -EFAULT);
	device_sees(away, ARENA_SIZE);
	device_writes(away, ARENA_SIZE);
	in_step();
	back = mremap(away, ARENA_SIZE, ARENA_SIZE,
		      MREMAP_MAYMOVE | MREMAP_FIXED, work.arena);
	if (back != work.arena)
		err(1, "mremap");
	device_refuses(away, false, -EFAULT);
	check(work.arena, ARENA_SIZE);
}

static void step_dontneed(void)
{
	fresh_arena();
	madvise(work.arena, ARENA_SIZE, MADV_DONTNEED);
	in_step();
	device_sees(work.arena, ARENA_SIZE);
	check(work.arena, ARENA_SIZE);
}

static void step_free(void)
{
	fresh_arena();
	madvise(work.arena, ARENA_SIZE, MADV_FREE);
	madvise(work.arena, ARENA_SIZE, MADV_PAGEOUT);
	in_step();
	device_sees(work.arena, ARENA_SIZE);
	check(work.arena, ARENA_SIZE);
}

static int bind_self(void)
{
	int fd = device_open(work.device), ret;

	if (fd < 0)
		errx(1, "%s: %s", work.device, strerror(-fd));
	ret = device_bind(fd, getpid());
	if (ret)
		errx(1, "cannot mirror myself: %s", strerror(-ret));
	return fd;
}

/* What the process and the main thread's context have written. */
static __u64 arena_sum(void)
{
	__u64 sum = 0;
	size_t i;

	for (i = 0; i < ARENA_SIZE / work.page; i++) {
		const struct stamp *stamp = stamp_at(work.arena, i);

		sum = sum * 31 + stamp->generation;
		sum = sum * 31 + stamp->mail;
	}
	return sum;
}

/* Parent and child write, and so do their devices. Each sees its own only. */
static void fork_child(int gate, __u64 sum)
{
	char byte;

	/* The other thread has stayed in the parent. */
	close(work.fd);
	work.fd = bind_self();
	work.failures = 0;
	device_sees(work.arena, ARENA_SIZE);
	if (read(gate, &byte, 1))
		err(1, "read");
	expect(arena_sum() == sum, "the child sees what its parent wrote");
	device_sees(work.arena, ARENA_SIZE);
	check(work.arena, ARENA_SIZE);
	fflush(stdout);
	_exit(!!work.failures);
}

static void step_fork(void)
{
	int gate[2], status;
	__u64 sum;
	pid_t pid;

	fresh_arena();
	sum = arena_sum();
	if (pipe(gate))
		err(1, "pipe");
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		close(gate[1]);
		fork_child(gate[0], sum);
	}
	close(gate[0]);
	expect(!device_has(work.arena, ARENA_SIZE, HMM_MIRROR_ENTRY_WRITE, 0),
	       "the device may write to pages that the child shares");
	in_step();
	device_writes(work.arena, ARENA_SIZE / 2);
	check(work.arena, ARENA_SIZE);
	sum = arena_sum();
	close(gate[1]);
	if (waitpid(pid, &status, 0) != pid)
		err(1, "waitpid");
	expect(!status, "the child ended with status %#x", status);
	expect(arena_sum() == sum, "the parent sees what its child wrote");
	check(work.arena, ARENA_SIZE);
}

static bool collapse(void)
{
	madvise(work.arena, ARENA_SIZE, MADV_HUGEPAGE);
	if (!madvise(work.arena, ARENA_SIZE, MADV_COLLAPSE))
		return true;
	printf("workload: no huge page to be had: %s\n", strerror(errno));
	return false;
}

static void step_collapse(void)
{
	fresh_arena();
	if (!collapse())
		return;
	in_step();
	device_sees(work.arena, ARENA_SIZE);
	expect(device_has(work.arena, ARENA_SIZE, 0, 9) > 0,
	       "the device sees no huge page");
	check(work.arena, ARENA_SIZE);
}

static void step_split(void)
{
	fresh_arena();
	if (!collapse())
		return;
	check(work.arena, ARENA_SIZE);
	/* Part of the first huge page away, part of the second read-only. */
	madvise(work.arena + 16 * work.page, 16 * work.page, MADV_DONTNEED);
	mprotect(work.arena + HUGE_SIZE, 16 * work.page, PROT_READ);
	device_refuses(work.arena + HUGE_SIZE, true, -EPERM);
	in_step();
	device_sees(work.arena, ARENA_SIZE);
	expect(!device_has(work.arena + HUGE_SIZE, HUGE_SIZE, 0, 9),
	       "the device still sees a huge page");
	mprotect(work.arena + HUGE_SIZE, 16 * work.page,
		 PROT_READ | PROT_WRITE);
	check(work.arena, ARENA_SIZE);
}

/* Sets @frames to the page frames of the arena. */
static void frames_read(__u64 *frames)
{
	int fd = pagemap_open(getpid());

	if (fd < 0 || pagemap_read(fd, (uintptr_t)work.arena, frames,
				   ARENA_SIZE / work.page))
		err(1, "/proc/self/pagemap");
	close(fd);
}

static void sys_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		printf("workload: %s: %s\n", path, strerror(errno));
	close(fd);
}

static void step_migrate(void)
{
	const size_t pages = ARENA_SIZE / work.page;
	static __u64 before[ARENA_SIZE / 4096], after[ARENA_SIZE / 4096];
	size_t i, moved = 0, size = 8 * ARENA_SIZE;
	char *holes;

	fresh_arena();
	/* Leave free pages between used ones, so that there is work to do. */
	holes = mmap(NULL, size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (holes == MAP_FAILED)
		err(1, "mmap");
	for (i = 0; i < size / work.page; i += 2)
		madvise(holes + i * work.page, work.page, MADV_DONTNEED);

	frames_read(before);
	sys_write("/proc/sys/vm/compact_memory", "1");
	frames_read(after);
	for (i = 0; i < pages; i++)
		moved += before[i] != after[i];
	printf("workload: compaction moved %zu of %zu pages\n", moved, pages);
	in_step();
	device_sees(work.arena, ARENA_SIZE);
	check(work.arena, ARENA_SIZE);
	munmap(holes, size);
}

static void step_swap(void)
{
	const size_t pages = ARENA_SIZE / work.page;
	static __u64 frames[ARENA_SIZE / 4096];
	size_t i, out = 0;

	fresh_arena();
	madvise(work.arena, ARENA_SIZE, MADV_PAGEOUT);
	frames_read(frames);
	for (i = 0; i < pages; i++)
		out += !(frames[i] & PAGEMAP_PRESENT);
	printf("workload: %zu of %zu pages are in swap\n", out, pages);
	in_step();
	/* The device's reads bring them back. */
	device_sees(work.arena, ARENA_SIZE);
	check(work.arena, ARENA_SIZE);
}

/* Memory of its own: the other thread would keep the arena from being merged. */
static void step_ksm(void)
{
	static const char run[] = "/sys/kernel/mm/ksm/run";
	size_t i, merged = 0;
	char *memory;

	if (access(run, W_OK)) {
		printf("workload: no KSM here: %s\n", strerror(errno));
		return;
	}
	memory = mmap(NULL, HUGE_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap");
	memset(memory, 1, HUGE_SIZE);
	device_writes(memory, work.page);
	madvise(memory, HUGE_SIZE, MADV_MERGEABLE);
	sys_write("/sys/kernel/mm/ksm/pages_to_scan", "2000");
	sys_write("/sys/kernel/mm/ksm/sleep_millisecs", "10");
	sys_write(run, "1");
	/* The device looks on while pages are merged. */
	for (i = 0; i < 50 && merged < 2; i++) {
		usleep(100000);
		device_sees(memory, HUGE_SIZE);
		in_step();
		merged = device_merged(memory, HUGE_SIZE);
	}
	printf("workload: %zu pages are merged into one\n", merged);
	device_writes(memory, HUGE_SIZE / 2);
	device_sees(memory, HUGE_SIZE);
	in_step();
	sys_write(run, "2");
	check(memory, HUGE_SIZE);
	munmap(memory, HUGE_SIZE);
}

static void step_truncate(void)
{
	int fd = memfd_create("truncate", MFD_CLOEXEC);
	char *tail = work.arena + ARENA_SIZE / 2;

	if (fd < 0 || ftruncate(fd, ARENA_SIZE))
		err(1, "memfd");
	map_arena(MAP_SHARED, fd);
	check(work.arena, ARENA_SIZE);
	if (ftruncate(fd, ARENA_SIZE / 2))
		err(1, "ftruncate");
	device_forgot(tail, ARENA_SIZE / 2);
	device_refuses(tail, false, -EFAULT);
	in_step();
	if (ftruncate(fd, ARENA_SIZE))
		err(1, "ftruncate");
	check(work.arena, ARENA_SIZE);
	close(fd);
}

/* The device writes to its own copy of a file that is mapped privately. */
static void step_private(void)
{
	int fd = memfd_create("private", MFD_CLOEXEC);
	struct stamp stamp;
	size_t i, nonzero = 0;

	if (fd < 0 || ftruncate(fd, ARENA_SIZE))
		err(1, "memfd");
	map_arena(MAP_PRIVATE, fd);
	device_sees(work.arena, ARENA_SIZE);
	device_writes(work.arena, ARENA_SIZE);
	in_step();
	for (i = 0; i < ARENA_SIZE / work.page; i++)
		if (pread(fd, &stamp, sizeof(stamp), i * work.page) !=
		    sizeof(stamp) || stamp.mail)
			nonzero++;
	expect(!nonzero, "%zu pages of a file were written through a private mapping",
	       nonzero);
	check(work.arena, ARENA_SIZE);
	close(fd);
}

/* Each thread has a piece of the arena, and changes it as fast as it can. */
static void *churn(void *arg)
{
	const size_t size = ARENA_SIZE / THREADS & -work.page;
	char *memory = work.arena + (uintptr_t)arg * size;
	unsigned int seed = (uintptr_t)arg;
	time_t end = time(NULL) + 2;

	while (time(NULL) < end) {
		switch (rand_r(&seed) % 4) {
		case 0:
			madvise(memory, size, MADV_DONTNEED);
			break;
		case 1:
			mprotect(memory, size, PROT_READ);
			mprotect(memory, size, PROT_READ | PROT_WRITE);
			break;
		case 2:
			mmap(memory, size, PROT_READ | PROT_WRITE, MAP_FIXED |
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			break;
		case 3:
			memory[rand_r(&seed) % (size / work.page) * work.page +
			       sizeof(struct stamp)] = 1;
			break;
		}
	}
	return NULL;
}

static void step_threads(void)
{
	pthread_t thread[THREADS];
	size_t i;

	fresh_arena();
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, churn, (void *)i))
			err(1, "pthread_create");
	/* The changes race with this thread's look at them, too. */
	for (i = 0; i < 20; i++) {
		device_map(work.fd, (uintptr_t)work.arena, ARENA_SIZE,
			   HMM_MIRROR_MAP_PRESENT, NULL);
		in_step();
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	in_step();
	check(work.arena, ARENA_SIZE);
}

/* A context that must be dead: its process has ended, or called execve(). */
static void dead_context(int fd, const char *what)
{
	struct hmm_mirror_stats stats = { };
	struct entries entries = { };
	__u64 value;
	int ret;

	ret = device_read(fd, (uintptr_t)work.arena, &value, sizeof(value),
			  NULL);
	expect(ret == -ESRCH, "after %s the device reads: %s", what,
	       strerror(-ret));
	ret = device_dump(fd, 0, ~0ULL, &entries);
	expect(!ret && !entries.nr, "after %s the device still has %zu pages",
	       what, entries.nr);
	ret = device_stats(fd, &stats);
	expect(!ret && stats.dead && !stats.pages,
	       "after %s the context is not dead", what);
	entries_free(&entries);
}

static void step_exit(void)
{
	pid_t pid;
	int fd, ret;

	fresh_arena();
	fd = device_open(work.device);
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		pause();
		_exit(1);
	}
	ret = device_bind(fd, pid);
	if (!ret) {
		/* To part so many pages from the parent's may take longer than a fault tries */
		do {
			ret = device_map(fd, (uintptr_t)work.arena, ARENA_SIZE,
					 HMM_MIRROR_MAP_WRITE, NULL);
		} while (ret == -EBUSY);
	}
	expect(!ret, "cannot mirror the child: %s", strerror(-ret));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	dead_context(fd, "exit");
	close(fd);
}

static const struct {
	const char *name;
	void (*step)(void);
} steps[] = {
	{ "mmap", step_mmap },
	{ "munmap", step_munmap },
	{ "mprotect", step_mprotect },
	{ "mremap", step_mremap },
	{ "MADV_DONTNEED", step_dontneed },
	{ "MADV_FREE", step_free },
	{ "fork", step_fork },
	{ "collapse", step_collapse },
	{ "split", step_split },
	{ "migrate", step_migrate },
	{ "swap", step_swap },
	{ "ksm", step_ksm },
	{ "truncate", step_truncate },
	{ "private file", step_private },
	{ "threads", step_threads },
	{ "exit", step_exit },
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void run_step(size_t i)
{
	unsigned long long checks = work.checks, failures = work.failures;
	double start = now();

	prctl(PR_SET_NAME, steps[i].name);
	steps[i].step();
	printf("workload: %-14s %s, %llu checks, %.1f s\n", steps[i].name,
	       work.failures == failures ? "ok" : "FAILED",
	       work.checks - checks, now() - start);
	fflush(stdout);
	usleep(work.pause_ms * 1000);
}

static void work_add(int fd)
{
	struct hmm_mirror_stats stats;

	if (device_stats(fd, &stats))
		return;
	work.mapped += stats_mirrored(&stats);
	work.accesses += stats.accesses;
	work.invalidations += stats.invalidations;
}

static int json_write(const char *path)
{
	FILE *out = fopen(path, "we");

	if (!out)
		return -errno;
	fprintf(out,
		"{\n  \"checks\": %llu,\n  \"failures\": %llu,\n"
		"  \"pages_mirrored\": %llu,\n  \"device_accesses\": %llu,\n"
		"  \"invalidations\": %llu,\n  \"verified_entries\": %llu,\n"
		"  \"stale\": %llu\n}\n",
		work.checks, work.failures, work.mapped, work.accesses,
		work.invalidations, work.verify.entries, work.verify.stale);
	return fclose(out) ? -errno : 0;
}

static int results(const char *json)
{
	bool ok = !work.failures && !work.verify.stale;

	work_add(work.fd);
	if (json && json_write(json)) {
		printf("workload: cannot write %s: %s\n", json, strerror(errno));
		ok = false;
	}
	printf("workload: %s, %llu checks, %llu failed, %llu entries verified, %llu stale\n",
	       ok ? "ok" : "FAILED", work.checks, work.failures,
	       work.verify.entries, work.verify.stale);
	return ok ? 0 : 1;
}

/* The last step: this program once more, with the results so far. */
static void exec_again(char **argv)
{
	char state[256], *again[16] = { argv[0], "--after-exec", state };
	size_t i;

	for (i = 1; argv[i] && i < ARRAY_SIZE(again) - 3; i++)
		again[i + 2] = argv[i];
	prctl(PR_SET_NAME, "exec");
	fcntl(work.fd, F_SETFD, 0);
	snprintf(state, sizeof(state),
		 "%d %llu %llu %llu %llu %llu %llu %llu", work.fd, work.checks,
		 work.failures, work.mapped, work.accesses, work.invalidations,
		 work.verify.entries, work.verify.stale);
	fflush(stdout);
	execv("/proc/self/exe", again);
	err(1, "execv");
}

static void after_exec(const char *state)
{
	unsigned long long checks, failures;

	if (sscanf(state, "%d %llu %llu %llu %llu %llu %llu %llu", &work.fd,
		   &checks, &failures, &work.mapped, &work.accesses,
		   &work.invalidations, &work.verify.entries,
		   &work.verify.stale) != 8)
		errx(2, "--after-exec: for this program's own use");
	work.checks = checks;
	work.failures = failures;
	prctl(PR_SET_NAME, "exec");
	dead_context(work.fd, "exec");
	work_add(work.fd);
	close(work.fd);
	work.fd = bind_self();
	fresh_arena();
	printf("workload: %-14s %s, %llu checks\n", "exec",
	       work.failures == failures ? "ok" : "FAILED",
	       work.checks - checks);
}

static const char help[] =
"Usage: hmm-mirror-workload [--device PATH] [--pause MS] [--json FILE]\n"
"Changes its memory in every way there is, and checks that a mirroring device\n"
"keeps in step. --pause: wait after each step.\n"
"Exit status: 0 when all was well, 1 when not, 2 for wrong usage.\n";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "after-exec", required_argument, NULL, 'x' },
		{ "device", required_argument, NULL, 'd' },
		{ "json", required_argument, NULL, 'j' },
		{ "pause", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	const char *state = NULL, *json = NULL;
	pthread_t thread;
	size_t i;
	int c;

	work.device = device_default();
	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		switch (c) {
		case 'x':
			state = optarg;
			break;
		case 'd':
			work.device = optarg;
			break;
		case 'j':
			json = optarg;
			break;
		case 'p':
			work.pause_ms = strtoul(optarg, NULL, 0);
			break;
		case 'h':
			fputs(help, stdout);
			return 0;
		default:
			return 2;
		}
	}
	work.page = sysconf(_SC_PAGESIZE);
	work.arena = reserve(ARENA_SIZE);
	if (state) {
		after_exec(state);
		return results(json);
	}

	work.fd = bind_self();
	work.noise_fd = bind_self();
	if (pthread_create(&thread, NULL, noise, work.arena))
		err(1, "pthread_create");
	for (i = 0; i < ARRAY_SIZE(steps); i++)
		run_step(i);
	work.quiet = true;
	pthread_join(thread, NULL);
	work_add(work.noise_fd);
	exec_again(argv);
}
