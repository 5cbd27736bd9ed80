// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of reaping a mirrored process, by process_mrelease(2), which unmaps memory
 * without being allowed to sleep, as the OOM reaper does.  A driver that takes a
 * spinlock lets it; one that takes a mutex does so unless somebody else holds that;
 * and the registry refuses for one with the callback of 2017, which may sleep.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "reap_fixture.h"

#ifndef SYS_process_madvise
#define SYS_process_madvise	440
#endif

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

	if (registry_is_module())
		SKIP(return, "mirrors that may sleep need the core of the kernel");
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

/* The driver holds its mutex for as long as it waits for a flush of its device. */
TEST_F(mrelease, a_mutex_that_is_taken_refuses_until_it_is_free)
{
	struct victim *v = &self->victim;
	int status = -1;
	pid_t pid;

	if (registry_is_module())
		SKIP(return, "mirrors that may sleep need the core of the kernel");
	if (access(FLUSH_MS, F_OK))
		SKIP(return, "there is no " FLUSH_MS);
	self->mutex = mutex_mirror(v, MAY_SLEEP);
	ASSERT_LE(0, self->mutex);
	pid = write_common(v, self->mutex, "2000");
	ASSERT_LT(0, pid);
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

	if (registry_is_module())
		SKIP(return, "mirrors that may sleep need the core of the kernel");
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

TEST_HARNESS_MAIN
