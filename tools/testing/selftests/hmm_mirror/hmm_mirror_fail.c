// SPDX-License-Identifier: GPL-2.0
/*
 * Every allocation of memory, and every copy from or to the user, fails once in
 * each call of the HMM mirroring sample devices, and in each system call that they
 * are told of. Whatever the call then does, it must say so by ENOMEM or EFAULT (or
 * do without), leave nothing half done, and succeed when it is made again.
 *
 * See Documentation/fault-injection/fault-injection.rst for fail-nth.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES		16
#include "file.h"
#include "fixture.h"

#define FAULTS		"/sys/kernel/debug/"
/* More points than any call has at which it can fail */
#define MANY		2000

/* What the calls are made with; each case is a process */
static struct {
	int fd;			/* a context, bound to this process */
	const char *device;
	int fail_nth;		/* the file, of this thread */
	int pidfd;		/* of a child, for bind */
	pid_t pid;
	size_t page;
	size_t size;
	char *map;
	char *buf;
	long mms, refs;		/* before */
} my;

/* How many mirrored address spaces there are, as debugfs says, or -1 */
static long mirrored_mms(void)
{
	FILE *file = fopen("/sys/kernel/debug/hmm_mirror/counters", "r");
	char line[256];
	long n = 0;

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		n += !strncmp(line, "mm ", 3);
	fclose(file);
	return n;
}

/* References to the driver's module, or -1 where it is built in */
static long references(const char *device)
{
	char path[96];
	FILE *file;
	long n = -1;

	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", strrchr(device, '/') + 1);
	file = fopen(path, "r");
	if (file) {
		if (fscanf(file, "%ld", &n) != 1)
			n = -1;
		fclose(file);
	}
	return n;
}

static void prepare_faults(struct __test_metadata *_metadata, FIXTURE_DATA(hmm_mirror) *self,
			   const FIXTURE_VARIANT(hmm_mirror) *variant)
{
	my.fail_nth = open("/proc/thread-self/fail-nth", O_RDWR);
	if (my.fail_nth < 0)
		SKIP(return, "the kernel has no CONFIG_FAULT_INJECTION");
	/* Whatever may sleep may fail as well, and without a stack trace */
	if (write_file(FAULTS "failslab/verbose", "0") ||
	    write_file(FAULTS "fail_page_alloc/verbose", "0") ||
	    write_file(FAULTS "fail_usercopy/verbose", "0") ||
	    write_file(FAULTS "failslab/ignore-gfp-wait", "N") ||
	    write_file(FAULTS "fail_page_alloc/ignore-gfp-wait", "N") ||
	    write_file(FAULTS "fail_page_alloc/min-order", "0"))
		SKIP(return, "the kernel lacks a capability of fault injection, see config");
	my.fd = self->fd;
	my.device = variant->device;
	my.page = self->page;
	my.size = self->size;
	my.map = self->map;
	my.buf = malloc(my.size);
	memset(my.buf, 1, my.size);
	my.mms = mirrored_mms();
	my.refs = references(my.device);
}

static void nothing_is_left(struct __test_metadata *_metadata, FIXTURE_DATA(hmm_mirror) *self,
			    const FIXTURE_VARIANT(hmm_mirror) *variant)
{
	int tries;

	/* A child that has just ended may have had its device open. */
	for (tries = 0; tries < 50 && mirrored_mms() != my.mms; tries++)
		usleep(100000);
	EXPECT_EQ(my.mms, mirrored_mms());
	EXPECT_EQ(my.refs, references(my.device));
}

static hook *set_up = prepare_faults, *tear_down = nothing_is_left;

/*
 * Make the @nth point fail at which @act can. Returns what @act does, and in @hit
 * whether it has so many.
 */
static int fail_at(int nth, int (*act)(void), int *hit)
{
	char text[16] = { };
	int ret;

	snprintf(text, sizeof(text), "%d", nth);
	if (pwrite(my.fail_nth, text, strlen(text), 0) < 0)
		return -EIO;
	ret = act();
	/* What is left of the count; the file says so before it can fail. */
	memset(text, 0, sizeof(text));
	*hit = pread(my.fail_nth, text, sizeof(text) - 1, 0) > 0 && !atoi(text);
	while (pwrite(my.fail_nth, "0", 1, 0) < 0)
		;
	return ret;
}

/* Returns at how many points @act failed. */
static int fail_each(struct __test_metadata *_metadata,
		     int (*prepare)(void), int (*act)(void),
		     int (*undo)(void))
{
	int nth, hit, ret, failed = 0;

	for (nth = 1; nth < MANY; nth++) {
		ASSERT_EQ(0, prepare());
		ret = fail_at(nth, act, &hit);
		ASSERT_NE(-EIO, ret);
		if (!hit) {
			EXPECT_EQ(0, ret);
			undo();
			break;
		}
		failed += !!ret;
		EXPECT_TRUE(ret == 0 || ret == -ENOMEM || ret == -EFAULT) {
			TH_LOG("errno %d when failing at point %d", -ret, nth);
		}
		EXPECT_EQ(0, stale(my.fd, getpid()));
		if (ret)
			EXPECT_EQ(0, act()) {
				TH_LOG("after failing at point %d", nth);
			}
		undo();
	}
	EXPECT_GT(MANY, nth);
	TH_LOG("%d points, %d failures", nth - 1, failed);
	return failed;
}

static int nothing(void)
{
	return 0;
}

/* Memory without a page in it, and a device without a table */
static int fresh_memory(void)
{
	return madvise(my.map, my.size, MADV_DONTNEED) ? -errno : 0;
}

/* A process that has not been mirrored yet, and a context for it */
static int fresh_process(void)
{
	my.pid = sleeper();
	my.pidfd = syscall(SYS_pidfd_open, my.pid, 0);
	return my.pidfd < 0 ? -errno : 0;
}

static int process_gone(void)
{
	reap(my.pid);
	close(my.pidfd);
	return 0;
}

static int open_and_bind(void)
{
	struct hmm_mirror_bind bind = { .pidfd = my.pidfd };
	int fd = device_open(my.device), ret;

	if (fd < 0)
		return fd;
	ret = call(fd, HMM_MIRROR_IOC_BIND, &bind);
	close(fd);
	return ret;
}

TEST_F_TIMEOUT(hmm_mirror, bind, 120)
{
	EXPECT_LT(0, fail_each(_metadata, fresh_process, open_and_bind, process_gone));
}

static int map_for_reading(void)
{
	return map_read(my.fd, my.map, my.size);
}

static int map_for_writing(void)
{
	return map_write(my.fd, my.map, my.size);
}

TEST_F_TIMEOUT(hmm_mirror, map, 120)
{
	EXPECT_LT(0, fail_each(_metadata, fresh_memory, map_for_reading, nothing));
	EXPECT_LT(0, fail_each(_metadata, fresh_memory, map_for_writing, nothing));
}

static int read_all(void)
{
	return read_at(my.fd, my.map, my.buf, my.size);
}

static int write_all(void)
{
	return write_at(my.fd, my.map, my.buf, my.size);
}

TEST_F_TIMEOUT(hmm_mirror, access, 120)
{
	EXPECT_LT(0, fail_each(_metadata, fresh_memory, read_all, nothing));
	EXPECT_LT(0, fail_each(_metadata, fresh_memory, write_all, nothing));
}

static int dump_all(void)
{
	struct hmm_mirror_dump dump = {
		.end = ~0ULL,
		.entries = (uintptr_t)my.buf,
		.capacity = PAGES,
	};

	return call(my.fd, HMM_MIRROR_IOC_DUMP, &dump);
}

TEST_F_TIMEOUT(hmm_mirror, dump, 60)
{
	EXPECT_LT(0, fail_each(_metadata, map_for_writing, dump_all, nothing));
}

/* Nothing fails in an invalidation; so if the system call does, all is as before. */

static int unmap_a_page(void)
{
	return munmap(my.map + 3 * my.page, my.page) ? -errno : 0;
}

static int map_again(void)
{
	mmap(my.map, my.size, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	return 0;
}

static int protect_a_page(void)
{
	return mprotect(my.map + 3 * my.page, my.page, PROT_READ) ? -errno : 0;
}

static int fork_and_wait(void)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	return 0;
}

TEST_F_TIMEOUT(hmm_mirror, what_the_device_is_told_of, 240)
{
	EXPECT_LT(0, fail_each(_metadata, map_for_writing, unmap_a_page, map_again));
	EXPECT_LT(0, fail_each(_metadata, map_for_writing, protect_a_page, map_again));
	EXPECT_LT(0, fail_each(_metadata, map_for_writing, fork_and_wait, nothing));
}

TEST_HARNESS_MAIN
