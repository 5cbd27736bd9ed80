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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "workload.h"

struct work work;

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
