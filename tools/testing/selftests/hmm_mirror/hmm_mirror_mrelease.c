// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of reaping a mirrored process: by process_mrelease(2), and by the OOM
 * reaper. Both unmap memory without being allowed to sleep. A driver that takes
 * a spinlock lets them; one that takes a mutex does so unless somebody else holds
 * that; and the registry refuses for one with the callback of 2017, which may sleep.
 *
 * The victim is a traced child. It stops when it is about to exit, where it has
 * been killed already and still has its memory: so there is time to reap it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include <lib/test_hmm_uapi.h>

#include "context.h"
#include "file.h"
#include "proc.h"

#ifndef SYS_process_madvise
#define SYS_process_madvise	440
#endif
#ifndef SYS_process_mrelease
#define SYS_process_mrelease	448
#endif

#define PAGES			512
#define OTHER_DRIVER		"/dev/hmm_dmirror0"
#define OTHER_FD		100	/* of OTHER_DRIVER in the victim */
#define PARAMETERS		"/sys/module/hmm_mirror_c/parameters/"
#define MAY_SLEEP		PARAMETERS "may_sleep"
#define OF_2017			PARAMETERS "of_2017"
#define FLUSH_MS		PARAMETERS "flush_ms"
#define THP_ENABLED		"/sys/kernel/mm/transparent_hugepage/enabled"
#define CGROUP			"/sys/fs/cgroup"
#define CGROUP_LIMIT		(16UL << 20)
#define PATIENCE		10	/* seconds, for what should be over at once */

/* Milliseconds since some time. */
static long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Does @pid, a child, come to an end in time, or to a stop? */
static bool changes_in_time(pid_t pid, int *status)
{
	long end = now() + PATIENCE * 1000;

	do {
		if (waitpid(pid, status, WNOHANG | __WALL) == pid)
			return true;
		usleep(1000);
	} while (now() < end);
	return false;
}

struct victim {
	pid_t pid;		/* 0 when it is not ours any more */
	int pidfd;
	int go;			/* what is written there makes it go on */
	int ready;		/* it says so there, when it is */
	char *map;		/* where it has its memory */
	size_t size;
	size_t page;
	char *common;		/* a page that it has in common with the test */
	bool other_driver;	/* that of test_hmm, where it is loaded, mirrors it as well */
};

FIXTURE(mrelease)
{
	struct victim victim;
	char thp_enabled[16];	/* what it was, if the test has changed it */
	int spinlock;		/* device contexts, or -1, by what their callback takes */
	int mutex;
};

FIXTURE_VARIANT(mrelease)
{
	const char *device;	/* of the mirror with a spinlock */
};

FIXTURE_VARIANT_ADD(mrelease, rust)
{
	.device = DEVICE_RUST,
};

FIXTURE_VARIANT_ADD(mrelease, c)
{
	.device = DEVICE_C,
};

static void write_pages(char *map, size_t size, size_t page)
{
	size_t i;

	for (i = 0; i < size; i += page)
		map[i] = 1;
}

/* What the victim can be told */
#define ALLOW_HUGE_PAGE		'h'	/* where it has its memory */
#define TAKE_TOO_MUCH		'm'

/* The victim's own: writes its memory, and then does what it is told. */
static void be_victim(const struct victim *v, int ready, int go)
{
	const size_t more = 4 * CGROUP_LIMIT;
	char byte = 0, *map;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (v->other_driver && dup2(open(OTHER_DRIVER, O_RDWR), OTHER_FD) < 0)
		_exit(1);
	write_pages(v->map, v->size, v->page);
	do {
		if (byte == ALLOW_HUGE_PAGE)
			madvise(v->map, v->size, MADV_HUGEPAGE);
		if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 1)
			_exit(2);
	} while (byte != TAKE_TOO_MUCH);
	map = memory(more);
	write_pages(map, more, v->page);
	_exit(3);
}

FIXTURE_SETUP(mrelease)
{
	struct victim *v = &self->victim;
	int ready[2], go[2];
	const char *why;
	char byte;

	self->spinlock = -1;
	self->mutex = -1;
	why = device_unusable(variant->device);
	if (why)
		SKIP(return, "%s: %s", variant->device, why);
	v->other_driver = !access(OTHER_DRIVER, F_OK);
	v->page = sysconf(_SC_PAGESIZE);
	v->size = PAGES * v->page;
	v->map = memory(2 * v->size);
	ASSERT_NE(MAP_FAILED, v->map);
	/* Where a huge page could be */
	v->map += -(uintptr_t)v->map % v->size;
	madvise(v->map, v->size, MADV_NOHUGEPAGE);
	v->common = memory(v->page);
	ASSERT_NE(MAP_FAILED, v->common);
	*v->common = 1;
	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	v->pid = fork();
	ASSERT_LE(0, v->pid);
	if (!v->pid)
		be_victim(v, ready[1], go[0]);
	close(ready[1]);
	close(go[0]);
	v->go = go[1];
	v->ready = ready[0];
	ASSERT_EQ(1, read(v->ready, &byte, 1));
	v->pidfd = syscall(SYS_pidfd_open, v->pid, 0);
	ASSERT_LE(0, v->pidfd);
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, v->pid, NULL, PTRACE_O_TRACEEXIT));
}

FIXTURE_TEARDOWN(mrelease)
{
	if (*self->thp_enabled)
		write_file(THP_ENABLED, self->thp_enabled);
	if (self->victim.pid) {
		/* It may be at its end, or not. */
		kill(self->victim.pid, SIGKILL);
		ptrace(PTRACE_CONT, self->victim.pid, NULL, NULL);
	}
	write_file(FLUSH_MS, "0");
	if (self->spinlock >= 0)
		close(self->spinlock);
	if (self->mutex >= 0)
		close(self->mutex);
}

/* A device context that mirrors all of the victim's memory, or negative errno. */
static int mirror(struct victim *v, const char *device)
{
	int fd = device_open(device), ret;

	if (fd < 0)
		return fd;
	ret = device_bind(fd, v->pid);
	if (!ret)
		ret = map_write(fd, v->map, v->size);
	if (ret)
		close(fd);
	return ret ? ret : fd;
}

/* One whose callback takes a mutex: that of MAY_SLEEP, or of OF_2017 */
static int mutex_mirror(struct victim *v, const char *parameter)
{
	int fd = write_file(parameter, "Y");

	if (!fd)
		fd = mirror(v, DEVICE_C);
	write_file(parameter, "N");
	return fd;
}

/* Tells the victim what to do, and waits until that is done. */
static bool told(struct victim *v, char byte)
{
	return write(v->go, &byte, 1) == 1 && read(v->ready, &byte, 1) == 1;
}

/* The number of entries for the victim's memory, or a negative errno value. */
static long entries(int fd, struct victim *v)
{
	return entries_in(fd, v->map, v->size);
}

/* The number of pages that the victim has, or a negative errno value. */
static long pages(struct victim *v)
{
	__u64 pagemap[PAGES];
	int fd = pagemap_open(v->pid), ret;
	long i, nr = 0;

	if (fd < 0)
		return fd;
	ret = pagemap_read(fd, (uintptr_t)v->map, pagemap, PAGES);
	for (i = 0; i < PAGES; i++)
		nr += !!(pagemap[i] & PAGEMAP_PRESENT);
	close(fd);
	return ret ? ret : nr;
}

/* Has the victim been killed, and stopped at its end with all its memory? */
static bool stops_at_its_end(struct victim *v)
{
	int status;

	return changes_in_time(v->pid, &status) && WIFSTOPPED(status) &&
	       status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8);
}

static bool killed(struct victim *v)
{
	return !kill(v->pid, SIGKILL) && stops_at_its_end(v);
}

/* Lets the victim go on.  Does it come to its end now? */
static bool exits(struct victim *v)
{
	pid_t pid = v->pid;
	int status;

	ptrace(PTRACE_CONT, pid, NULL, NULL);
	v->pid = 0;
	return changes_in_time(pid, &status) && WIFSIGNALED(status) &&
	       WTERMSIG(status) == SIGKILL;
}

static int mrelease(struct victim *v)
{
	return syscall(SYS_process_mrelease, v->pidfd, 0) ? -errno : 0;
}

/*
 * Can the other driver read the victim's page table?  It waits for invalidations
 * to end, and not even a signal gets it out of that: so a child asks it.
 */
static bool other_driver_works(struct victim *v)
{
	unsigned char protection[PAGES];
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)v->map,
		.ptr = (uintptr_t)protection,
		.npages = PAGES,
	};
	pid_t pid;
	int status;

	if (!v->other_driver)
		return true;
	pid = fork();
	if (!pid) {
		int fd = syscall(SYS_pidfd_getfd, v->pidfd, OTHER_FD, 0);

		_exit(fd < 0 || ioctl(fd, HMM_DMIRROR_SNAPSHOT, &cmd));
	}
	return pid > 0 && changes_in_time(pid, &status) && !status;
}

/* Reaping at will */

TEST_F(mrelease, a_mirror_with_a_spinlock_lets_memory_go)
{
	struct victim *v = &self->victim;

	self->spinlock = mirror(v, variant->device);
	ASSERT_LE(0, self->spinlock);
	EXPECT_EQ(-EINVAL, mrelease(v)); /* nobody has killed it */
	ASSERT_TRUE(killed(v));
	ASSERT_EQ(PAGES, pages(v));
	ASSERT_EQ(PAGES, entries(self->spinlock, v));

	EXPECT_EQ(0, mrelease(v));
	EXPECT_EQ(0, pages(v));
	EXPECT_EQ(0, entries(self->spinlock, v));
	EXPECT_EQ(0, stale(self->spinlock, v->pid));
	/* The device does not get it back. */
	EXPECT_EQ(-EFAULT, byte_at(self->spinlock, v->map));
	EXPECT_TRUE(other_driver_works(v));
	EXPECT_EQ(0, mrelease(v));
	EXPECT_TRUE(exits(v));
}

/* Nobody else is at it, so its driver gets the mutex without sleeping. */
TEST_F(mrelease, a_mirror_with_a_mutex_lets_memory_go)
{
	struct victim *v = &self->victim;

	if (access(MAY_SLEEP, F_OK))
		SKIP(return, "there is no " MAY_SLEEP);
	self->spinlock = mirror(v, variant->device);
	self->mutex = mutex_mirror(v, MAY_SLEEP);
	ASSERT_LE(0, self->spinlock);
	ASSERT_LE(0, self->mutex);
	ASSERT_TRUE(killed(v));
	ASSERT_EQ(PAGES, entries(self->mutex, v));

	EXPECT_EQ(0, mrelease(v));
	EXPECT_EQ(0, pages(v));
	EXPECT_EQ(0, entries(self->mutex, v));
	EXPECT_EQ(0, entries(self->spinlock, v));
	EXPECT_EQ(-EFAULT, byte_at(self->mutex, v->map));
	EXPECT_TRUE(other_driver_works(v));
	EXPECT_TRUE(exits(v));
}

/* Writes to the page in common, by a child: so the victim gets one of its own. */
static pid_t write_common(struct victim *v)
{
	pid_t pid = fork();

	if (!pid) {
		char path[32];
		int fd;

		snprintf(path, sizeof(path), "/proc/%d/mem", v->pid);
		fd = open(path, O_RDWR);
		_exit(pwrite(fd, "x", 1, (uintptr_t)v->common) != 1);
	}
	return pid;
}

static __u64 invalidations(int fd)
{
	struct hmm_mirror_stats stats = { };

	device_stats(fd, &stats);
	return stats.invalidations;
}

/* The driver holds its mutex for as long as it waits for a flush of its device. */
TEST_F(mrelease, a_mutex_that_is_taken_refuses_until_it_is_free)
{
	struct victim *v = &self->victim;
	long end = now() + PATIENCE * 1000;
	int status = -1;
	__u64 before;
	pid_t pid;

	if (access(FLUSH_MS, F_OK))
		SKIP(return, "there is no " FLUSH_MS);
	self->mutex = mutex_mirror(v, MAY_SLEEP);
	ASSERT_LE(0, self->mutex);
	ASSERT_EQ(0, write_file(FLUSH_MS, "2000"));
	before = invalidations(self->mutex);
	pid = write_common(v);
	ASSERT_LT(0, pid);
	while (invalidations(self->mutex) == before && now() < end)
		usleep(1000);
	ASSERT_TRUE(killed(v));

	EXPECT_EQ(-EAGAIN, mrelease(v));
	/* It is being flushed still, or this has shown nothing. */
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	ASSERT_EQ(0, write_file(FLUSH_MS, "0"));
	EXPECT_EQ(PAGES, pages(v));
	EXPECT_EQ(PAGES, entries(self->mutex, v));
	EXPECT_EQ(0, stale(self->mutex, v->pid));

	ASSERT_TRUE(changes_in_time(pid, &status));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, mrelease(v));
	EXPECT_EQ(0, pages(v));
	EXPECT_EQ(0, entries(self->mutex, v));
	EXPECT_TRUE(other_driver_works(v));
	EXPECT_TRUE(exits(v));
}

TEST_F(mrelease, one_mirror_of_2017_is_enough_to_refuse)
{
	struct victim *v = &self->victim;

	if (access(OF_2017, F_OK))
		SKIP(return, "there is no " OF_2017);
	self->spinlock = mirror(v, variant->device);
	self->mutex = mutex_mirror(v, OF_2017);
	ASSERT_LE(0, self->spinlock);
	ASSERT_LE(0, self->mutex);
	ASSERT_TRUE(killed(v));

	EXPECT_EQ(-EAGAIN, mrelease(v));
	EXPECT_EQ(PAGES, pages(v));
	EXPECT_EQ(PAGES, entries(self->mutex, v));
	EXPECT_EQ(0, stale(self->mutex, v->pid));
	/* The other one was told first, or not at all: what it has left is there. */
	EXPECT_EQ(0, stale(self->spinlock, v->pid));
	/* The memory is still there, but not for a device any more. */
	EXPECT_EQ(-EFAULT, map_present(self->spinlock, v->map, v->size));
	EXPECT_TRUE(other_driver_works(v));
	EXPECT_EQ(-EAGAIN, mrelease(v));

	/* It works as soon as the mirror is unregistered. */
	close(self->mutex);
	self->mutex = -1;
	EXPECT_EQ(0, mrelease(v));
	EXPECT_EQ(0, pages(v));
	EXPECT_EQ(0, entries(self->spinlock, v));
	EXPECT_TRUE(exits(v));
}

/* Keeps khugepaged away.  Sets @was to what was chosen: "always [madvise] never". */
static int disable_thp(char *was, size_t size)
{
	FILE *file = fopen(THP_ENABLED, "re");
	char line[64], *word = NULL;

	if (!file)
		return -errno;
	if (fgets(line, sizeof(line), file))
		word = strchr(line, '[');
	fclose(file);
	if (!word)
		return -EINVAL;
	snprintf(was, size, "%.*s", (int)strcspn(word + 1, "]"), word + 1);
	return write_file(THP_ENABLED, "never");
}

/*
 * Whoever may do so can still have a huge page put in place of what was reaped, even
 * the victim itself, which a signal does not get out of madvise(2).  It is empty.
 */
TEST_F(mrelease, nothing_is_read_in_place_of_what_was_reaped)
{
	struct victim *v = &self->victim;
	struct iovec iov = { .iov_base = v->map, .iov_len = v->size };

	if (access(THP_ENABLED, F_OK))
		SKIP(return, "no huge pages in this kernel");
	/* MADV_COLLAPSE does not care, and finds no page table where khugepaged was. */
	ASSERT_EQ(0, disable_thp(self->thp_enabled, sizeof(self->thp_enabled)));
	self->spinlock = mirror(v, variant->device);
	ASSERT_LE(0, self->spinlock);
	ASSERT_TRUE(told(v, ALLOW_HUGE_PAGE));
	ASSERT_TRUE(killed(v));
	ASSERT_EQ(0, mrelease(v));
	/* 6.12 wants a page that is there, and can be written. */
	if (syscall(SYS_process_madvise, v->pidfd, &iov, 1, MADV_COLLAPSE, 0) < 0)
		SKIP(return, "no huge page: %s", strerror(errno));
	ASSERT_EQ(PAGES, pages(v));

	EXPECT_EQ(-EFAULT, byte_at(self->spinlock, v->map));
	EXPECT_EQ(0, entries(self->spinlock, v));
	EXPECT_TRUE(exits(v));
}

/* The OOM reaper */

/* Where what the kernel says from now on can be read. */
static int kernel_log(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

/* Is @text said in time? */
static bool is_said(int log, const char *text)
{
	long end = now() + PATIENCE * 1000;
	char line[8192];
	ssize_t len;

	do {
		len = read(log, line, sizeof(line) - 1);
		if (len < 0) {
			usleep(10000);
			continue;
		}
		line[len] = 0;
		if (strstr(line, text))
			return true;
	} while (now() < end);
	return false;
}

/* Puts the victim into a cgroup with a limit. */
static int limit(struct victim *v, const char *cgroup)
{
	char path[256], text[32];
	int ret;

	ret = write_file(CGROUP "/cgroup.subtree_control", "+memory");
	if (!ret && mkdir(cgroup, 0755))
		ret = -errno;
	if (ret)
		return ret;
	snprintf(path, sizeof(path), "%s/memory.swap.max", cgroup);
	write_file(path, "0"); /* there is no such file without swap */
	snprintf(path, sizeof(path), "%s/memory.max", cgroup);
	snprintf(text, sizeof(text), "%lu", CGROUP_LIMIT);
	ret = write_file(path, text);
	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	snprintf(text, sizeof(text), "%d", v->pid);
	return ret ? ret : write_file(path, text);
}

/* The victim goes over its limit. Does the OOM reaper say @text of it? */
static void oom(struct __test_metadata *_metadata,
		struct victim *v, const char *text)
{
	char cgroup[64], said[128];
	int log = kernel_log();

	ASSERT_LE(0, log);
	snprintf(cgroup, sizeof(cgroup), CGROUP "/hmm_mirror.%d", getpid());
	ASSERT_EQ(0, limit(v, cgroup));
	ASSERT_EQ(1, write(v->go, &(char){ TAKE_TOO_MUCH }, 1));
	EXPECT_TRUE(stops_at_its_end(v));
	snprintf(said, sizeof(said), text, v->pid);
	EXPECT_TRUE(is_said(log, said)) {
		TH_LOG("the kernel did not say: %s", said);
	}
	close(log);
}

static void forget_limit(void)
{
	char cgroup[64];

	snprintf(cgroup, sizeof(cgroup), CGROUP "/hmm_mirror.%d", getpid());
	rmdir(cgroup);
}

TEST_F(mrelease, the_oom_reaper_takes_the_memory_of_a_mirror_with_a_spinlock)
{
	struct victim *v = &self->victim;

	if (access(CGROUP "/cgroup.controllers", F_OK))
		SKIP(return, "no cgroup2 in " CGROUP);
	self->spinlock = mirror(v, variant->device);
	ASSERT_LE(0, self->spinlock);
	oom(_metadata, v, "oom_reaper: reaped process %d ");
	EXPECT_EQ(0, pages(v));
	EXPECT_EQ(0, entries(self->spinlock, v));
	EXPECT_EQ(0, stale(self->spinlock, v->pid));
	EXPECT_TRUE(exits(v));
	forget_limit();
}

TEST_F(mrelease, the_oom_reaper_leaves_that_of_one_of_2017)
{
	struct victim *v = &self->victim;

	if (access(CGROUP "/cgroup.controllers", F_OK))
		SKIP(return, "no cgroup2 in " CGROUP);
	if (access(OF_2017, F_OK))
		SKIP(return, "there is no " OF_2017);
	self->mutex = mutex_mirror(v, OF_2017);
	ASSERT_LE(0, self->mutex);
	oom(_metadata, v, "oom_reaper: unable to reap pid:%d ");
	EXPECT_EQ(PAGES, pages(v));
	EXPECT_EQ(PAGES, entries(self->mutex, v));
	EXPECT_EQ(0, stale(self->mutex, v->pid));
	EXPECT_TRUE(other_driver_works(v));
	/* Nor does it hold up the exit, of which nothing is left. */
	EXPECT_TRUE(exits(v));
	EXPECT_EQ(0, entries(self->mutex, v));
	forget_limit();
}

TEST_HARNESS_MAIN
