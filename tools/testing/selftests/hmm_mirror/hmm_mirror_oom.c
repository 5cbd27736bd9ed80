// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of the OOM reaper on a mirrored process, and of what the kernel says in its log
 * when the driver does not let memory go.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "reap_fixture.h"

#include "proc.h"

#define LOG_PATIENCE		60	/* seconds */

/* Where what the kernel says from now on can be read. */
static int kernel_log(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

/*
 * The number of the line by which the kernel says @text, or -1: it does not do so in
 * time.  Lines are numbered, so it does not matter whether all can still be read.
 */
static long long said(int log, const char *text)
{
	long end = now() + LOG_PATIENCE * 1000;
	char line[8192];
	long long nr;
	ssize_t len;

	do {
		len = read(log, line, sizeof(line) - 1);
		if (len < 0) {
			usleep(10000);
			continue;
		}
		line[len] = 0;
		if (strstr(line, text) && sscanf(line, "%*u,%lld,", &nr) == 1)
			return nr;
	} while (now() < end);
	return -1;
}

/* Has the kernel say @text itself, which is a line. */
static long long say(int log, const char *text)
{
	return write_file("/dev/kmsg", text) ? -1 : said(log, text);
}

/* Puts the victim into a cgroup with a limit, whose path is in @cgroup then. */
static int limit(struct victim *v, char *cgroup, size_t size)
{
	char path[256], text[32];
	int ret = make_cgroup(cgroup, size);

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

/*
 * The victim goes over its limit.  Does the OOM reaper say @text of it?  And little
 * else, after the OOM killer's report.
 */
static void oom(struct __test_metadata *_metadata,
		struct victim *v, const char *text)
{
	long long reported, reaped;
	char cgroup[64], line[128];
	int log = kernel_log();

	ASSERT_LE(0, log);
	ASSERT_EQ(0, limit(v, cgroup, sizeof(cgroup)));
	ASSERT_EQ(1, write(v->go, &(char){ TAKE_TOO_MUCH }, 1));
	EXPECT_TRUE(stops_at_its_end(v));
	snprintf(line, sizeof(line), "Killed process %d ", v->pid);
	reported = said(log, line);
	EXPECT_LE(0, reported);
	snprintf(line, sizeof(line), text, v->pid);
	reaped = said(log, line);
	EXPECT_LE(0, reaped) {
		TH_LOG("the kernel did not say: %s", line);
	}
	EXPECT_GE(1, reaped - reported - 1);
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

	if (registry_is_module())
		SKIP(return, "mirrors that may sleep need the core of the kernel");
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

/*
 * Refusals: there is one for each area, and no line in the log for each.  Emulation takes
 * its time for so many areas, so this is done once.
 */

#define AREAS_TIMEOUT	240	/* seconds */

FIXTURE(refusal)
{
	struct victim victim;
	int mutex;
	int log;
};

FIXTURE_SETUP(refusal)
{
	const char *why = device_unusable(DEVICE_C);
	struct maps maps = { };

	self->mutex = -1;
	if (why)
		SKIP(return, DEVICE_C ": %s", why);
	if (registry_is_module())
		SKIP(return, "mirrors that may sleep need the core of the kernel");
	self->log = kernel_log();
	ASSERT_LE(0, self->log);
	ASSERT_EQ(0, start_victim(&self->victim));
	ASSERT_TRUE(told(&self->victim, MAKE_AREAS));
	ASSERT_EQ(0, maps_read(self->victim.pid, &maps));
	ASSERT_LE(AREAS, maps.nr);
	maps_free(&maps);
}

FIXTURE_TEARDOWN(refusal)
{
	end_victim(&self->victim);
	write_file(FLUSH_MS, "0");
	if (self->mutex >= 0)
		close(self->mutex);
}

/* How many lines the kernel says while process_mrelease(2) is refused. */
static long long lines_of_mrelease(int log, struct victim *v)
{
	long long begin = say(log, "hmm_mirror_oom: reaping begins\n"), end;
	int ret = mrelease(v);

	end = say(log, "hmm_mirror_oom: reaping has ended\n");
	return ret != -EAGAIN || begin < 0 || end < 0 ? -1 : end - begin - 1;
}

TEST_F_TIMEOUT(refusal, says_nothing_when_a_mirror_of_2017_refuses, AREAS_TIMEOUT)
{
	struct victim *v = &self->victim;
	long long lines;
	int i;

	self->mutex = mutex_mirror(v, OF_2017);
	ASSERT_LE(0, self->mutex);
	ASSERT_TRUE(killed(v));
	for (i = 0; i < 3; i++) {
		lines = lines_of_mrelease(self->log, v);
		EXPECT_LE(0, lines);
		EXPECT_GE(1, lines);
	}
	EXPECT_EQ(PAGES, pages(v));
	EXPECT_TRUE(exits(v));
}

/* It tries again and again */
TEST_F_TIMEOUT(refusal, says_nothing_when_one_of_2017_refuses_the_oom_reaper, AREAS_TIMEOUT)
{
	struct victim *v = &self->victim;

	if (access(CGROUP "/cgroup.controllers", F_OK))
		SKIP(return, "no cgroup2 in " CGROUP);
	self->mutex = mutex_mirror(v, OF_2017);
	ASSERT_LE(0, self->mutex);
	oom(_metadata, v, "oom_reaper: unable to reap pid:%d ");
	EXPECT_EQ(PAGES, pages(v));
	EXPECT_TRUE(exits(v));
	forget_limit();
}

TEST_F_TIMEOUT(refusal, says_nothing_when_a_mutex_is_taken, AREAS_TIMEOUT)
{
	struct victim *v = &self->victim;
	long long lines;
	int status;
	pid_t pid;

	self->mutex = mutex_mirror(v, MAY_SLEEP);
	ASSERT_LE(0, self->mutex);
	pid = write_common(v, self->mutex, "5000");
	ASSERT_LT(0, pid);
	ASSERT_TRUE(killed(v));

	lines = lines_of_mrelease(self->log, v);
	/* It is being flushed still, or this has shown nothing. */
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	EXPECT_LE(0, lines);
	EXPECT_GE(1, lines);
	ASSERT_EQ(0, write_file(FLUSH_MS, "0"));
	ASSERT_TRUE(changes_in_time(pid, &status));
	EXPECT_TRUE(exits(v));
}

TEST_HARNESS_MAIN
