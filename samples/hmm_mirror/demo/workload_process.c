// SPDX-License-Identifier: GPL-2.0
/*
 * Steps of the workload with other processes and threads: fork, exit, and changes
 * in several threads at once.
 */
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "workload.h"

#define THREADS	3

int bind_self(void)
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

void step_fork(void)
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

void step_threads(void)
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

void dead_context(int fd, const char *what)
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

void step_exit(void)
{
	int fd, ret, said[2];
	pid_t pid;

	fresh_arena();
	fd = device_open(work.device);
	fflush(stdout);
	if (pipe(said))
		err(1, "pipe");
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		/* The file is the parent's as well, which may not be let at its child */
		ret = device_bind(fd, getpid());
		if (write(said[1], &ret, sizeof(ret)) == sizeof(ret))
			pause();
		_exit(1);
	}
	close(said[1]);
	if (read(said[0], &ret, sizeof(ret)) != sizeof(ret))
		ret = -ESRCH;
	close(said[0]);
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
