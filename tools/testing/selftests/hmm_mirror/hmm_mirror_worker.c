// SPDX-License-Identifier: GPL-2.0
/*
 * Faults that a worker of the kernel makes, as the fault interrupt of a device has one do:
 * nothing can kill it, so whoever closes the device has to get it out of its wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "file.h"
#include "fixture.h"

#define PATIENCE	10	/* seconds, for what should be over at once */

static int map_async(int fd, char *map, size_t size)
{
	return device_map(fd, (uintptr_t)map, size, HMM_MIRROR_MAP_ASYNC, NULL);
}

static void skip_without_worker(struct __test_metadata *_metadata,
				FIXTURE_DATA(hmm_mirror) *self,
				const FIXTURE_VARIANT(hmm_mirror) *variant)
{
	if (map_async(self->fd, self->map, self->page) == -EOPNOTSUPP)
		SKIP(return, "%s has no worker", variant->device);
}

static hook *set_up = skip_without_worker, *tear_down;

/* Memory that userfaultfd(2) is to fill in.  Returns a file descriptor of it, or -errno. */
static int fill_by_userfaultfd(char *map, size_t size)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = {
		.range = { .start = (uintptr_t)map, .len = size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &area))
		return -errno;
	return uffd;
}

/* Waits until somebody faults there. */
static bool is_asked(int uffd)
{
	struct uffd_msg msg;

	return read(uffd, &msg, sizeof(msg)) == sizeof(msg) &&
	       msg.event == UFFD_EVENT_PAGEFAULT;
}

TEST_F(hmm_mirror, a_worker_maps)
{
	double end = seconds() + PATIENCE;

	while (entries_in(self->fd, self->map, self->page) != 1 && seconds() < end)
		usleep(1000);
	EXPECT_EQ(1, entries_in(self->fd, self->map, self->page));
	EXPECT_EQ(-EINVAL, device_map(self->fd, (uintptr_t)self->map, self->page,
				      HMM_MIRROR_MAP_ASYNC | HMM_MIRROR_MAP_WRITE |
				      HMM_MIRROR_MAP_PRESENT, NULL));
}

TEST_F(hmm_mirror, a_worker_does_one_thing_at_a_time)
{
	char *map = memory(self->size);
	int uffd = fill_by_userfaultfd(map, self->size);

	ASSERT_LE(0, uffd);
	while (map_async(self->fd, map, self->page) == -EBUSY)
		usleep(1000);
	ASSERT_TRUE(is_asked(uffd));
	EXPECT_EQ(-EBUSY, map_async(self->fd, self->map, self->page));
	/* Others do not wait for it. */
	EXPECT_EQ(0, map_write(self->fd, self->map, self->size));
	/* Whoever fills in what was asked for gets it on. */
	close(uffd);
}

TEST_F(hmm_mirror, closing_gets_a_worker_out_of_a_page_that_nobody_serves)
{
	char *map = memory(self->size);
	int uffd = fill_by_userfaultfd(map, self->size), fd, i;
	double begun, took, longest = 0;
	bool waits;

	ASSERT_LE(0, uffd);
	/* It may wait already, or be about to. */
	for (i = 0; i < 50; i++) {
		fd = device_open(variant->device);
		ASSERT_EQ(0, bind_self(fd));
		ASSERT_EQ(0, map_async(fd, map, self->size));
		waits = i % 2 ? is_asked(uffd) : !usleep(20 * i);
		ASSERT_TRUE(waits);
		begun = seconds();
		close(fd);
		took = seconds() - begun;
		longest = took > longest ? took : longest;
	}
	EXPECT_GT(PATIENCE, longest);
	TH_LOG("closed within %.0f ms", longest * 1e3);
	close(uffd);
}

/* A worker itself is in no cgroup that has a limit. */
TEST_F(hmm_mirror, page_tables_are_charged_to_the_process)
{
	const size_t regions = 256;
	/* A page for each */
	const long tables = (regions - 4) * self->page;
	char cgroup[64], procs[96], *map = memory(regions * HUGE_SIZE);
	long before, after;
	int status, fd;
	double end;
	pid_t pid;
	size_t i;

	if (make_cgroup(cgroup, sizeof(cgroup)))
		SKIP(return, "no memory controller of cgroup v2");
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", cgroup);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (write_file(procs, "0"))
			_exit(1);
		for (i = 0; i < regions; i++)
			map[i * HUGE_SIZE] = 1;
		fd = device_open(variant->device);
		if (fd < 0 || bind_self(fd))
			_exit(2);
		before = kernel_memory(cgroup);
		for (i = 0; i < regions; i++)
			while (map_async(fd, map + i * HUGE_SIZE, self->page) == -EBUSY)
				usleep(100);
		while (entries_in(fd, map, regions * HUGE_SIZE) != (long)regions)
			usleep(1000);
		/* Statistics are up to 2 seconds behind where they have changed little */
		end = seconds() + PATIENCE;
		do {
			after = kernel_memory(cgroup);
		} while (after - before < tables && seconds() < end && !usleep(10000));
		TH_LOG("%ld bytes for %zu tables", after - before, regions);
		_exit(after - before >= tables ? 0 : 3);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	rmdir(cgroup);
}

/* Files are released in the reverse order, so that the page could never come. */
TEST_F(hmm_mirror, a_process_exits_that_is_to_serve_its_own_page)
{
	double end = seconds() + PATIENCE;
	int status = -1;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		char *map = memory(self->size);
		int uffd = fill_by_userfaultfd(map, self->size);
		int fd = device_open(variant->device);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (uffd < 0 || fd < uffd || bind_self(fd) || map_async(fd, map, self->size))
			_exit(1);
		_exit(is_asked(uffd) ? 0 : 2);
	}
	while (!waitpid(pid, &status, WNOHANG) && seconds() < end)
		usleep(1000);
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
