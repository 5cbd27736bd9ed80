// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of the HMM mirroring sample devices, and with them of HMM mirroring.
 *
 * Each test has a fresh device context, and in most it is bound to the test's
 * own process. Whether the device's page table is in step with the CPU's is
 * judged by /proc/PID/pagemap; see verify.c of the samples.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "device.h"
#include "file.h"
#include "proc.h"
#include "verify.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#endif

#define HUGE_SIZE		(2UL << 20)
#define PAGES			64
#define ABOVE			((__u64)1 << 60)	/* in no address space */
#define NOBODY			65534

FIXTURE(hmm_mirror)
{
	int fd;
	size_t page;
	size_t size;
};

FIXTURE_VARIANT(hmm_mirror)
{
	const char *device;
};

FIXTURE_VARIANT_ADD(hmm_mirror, rust)
{
	.device = DEVICE_RUST,
};

FIXTURE_VARIANT_ADD(hmm_mirror, c)
{
	.device = DEVICE_C,
};

FIXTURE_SETUP(hmm_mirror)
{
	self->page = sysconf(_SC_PAGESIZE);
	self->size = PAGES * self->page;
	self->fd = device_open(variant->device);
	if (self->fd == -ENOENT)
		SKIP(return, "there is no %s", variant->device);
	if (self->fd == -EACCES || geteuid())
		SKIP(return, "must be run as root");
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(hmm_mirror)
{
	close(self->fd);
}

/* An ioctl as it is: 0 or a negative errno value. */
static int call(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) ? -errno : 0;
}

static int bind_self(int fd)
{
	return device_bind(fd, getpid());
}

/* Anonymous memory, private to this process. */
static char *memory(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Memory with a huge page, or NULL. */
static char *huge_memory(void)
{
	char *map = memory(3 * HUGE_SIZE);
	char *huge = (char *)(((uintptr_t)map + HUGE_SIZE - 1) & -HUGE_SIZE);

	memset(huge, 1, HUGE_SIZE);
	madvise(huge, HUGE_SIZE, MADV_HUGEPAGE);
	return madvise(huge, HUGE_SIZE, MADV_COLLAPSE) ? NULL : huge;
}

/* The number of stale entries, or a negative errno value. */
static long stale(int fd, pid_t pid)
{
	struct verify verify = { };
	int ret = verify_context(fd, pid, &verify, stderr);

	return ret ? ret : (long)verify.stale;
}

/* The number of entries in a range; of those with certain flags and order. */
static long entries_with(int fd, char *map, size_t size, __u32 flags,
			 __u32 order)
{
	struct entries entries = { };
	int ret = device_dump(fd, (uintptr_t)map, (uintptr_t)map + size,
			      &entries);
	long count = 0;
	size_t i;

	for (i = 0; !ret && i < entries.nr; i++)
		if ((entries.entry[i].flags & flags) == flags &&
		    entries.entry[i].order >= order)
			count++;
	entries_free(&entries);
	return ret ? ret : count;
}

static long entries_in(int fd, char *map, size_t size)
{
	return entries_with(fd, map, size, 0, 0);
}

static int map_write(int fd, char *map, size_t size)
{
	return device_map(fd, (uintptr_t)map, size, HMM_MIRROR_MAP_WRITE, NULL);
}

static int read_at(int fd, const void *addr, void *buf, size_t len)
{
	return device_read(fd, (uintptr_t)addr, buf, len, NULL);
}

static int write_at(int fd, void *addr, const void *buf, size_t len)
{
	return device_write(fd, (uintptr_t)addr, buf, len, NULL);
}

/* What the device reads of one byte, or a negative errno value. */
static int byte_at(int fd, const char *addr)
{
	unsigned char byte;
	int ret = read_at(fd, addr, &byte, 1);

	return ret ? ret : byte;
}

/* A child that sleeps until it is killed. */
static pid_t sleeper(void)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static void reap(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int become_nobody(void)
{
	return setresgid(NOBODY, NOBODY, NOBODY) ||
	       setresuid(NOBODY, NOBODY, NOBODY) ||
	       prctl(PR_SET_DUMPABLE, 1);	/* to its own children, that is */
}

/* The oracle itself */

TEST(oracle_tells_wrong_entries_from_right_ones)
{
	ASSERT_EQ(0, verify_self_test(stderr));
}

TEST_F(hmm_mirror, oracle_finds_entries_of_another_process_stale)
{
	char *map = memory(self->size);
	struct verify verify = { };
	pid_t pid = sleeper();

	ASSERT_LT(0, pid);
	memset(map, 1, self->size);
	ASSERT_EQ(0, bind_self(self->fd));
	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	ASSERT_EQ(0, verify_context(self->fd, pid, &verify, NULL));
	EXPECT_EQ(PAGES, verify.stale);
	reap(pid);
}

/* BIND */

TEST_F(hmm_mirror, bind_twice_is_EBUSY)
{
	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(-EBUSY, bind_self(self->fd));
}

TEST_F(hmm_mirror, bind_to_no_pidfd_is_EBADF)
{
	struct hmm_mirror_bind bind = { .pidfd = -1 };

	EXPECT_EQ(-EBADF, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	bind.pidfd = self->fd;
	EXPECT_EQ(-EBADF, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	/* A failure leaves the context as it was. */
	EXPECT_EQ(0, bind_self(self->fd));
}

TEST_F(hmm_mirror, bind_with_flags_is_EINVAL)
{
	struct hmm_mirror_bind bind = { .flags = 1 };

	bind.pidfd = syscall(SYS_pidfd_open, getpid(), 0);
	ASSERT_LE(0, bind.pidfd);
	EXPECT_EQ(-EINVAL, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	bind.flags = 0;
	EXPECT_EQ(0, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	close(bind.pidfd);
}

TEST_F(hmm_mirror, bind_to_a_dead_process_is_ESRCH)
{
	struct hmm_mirror_bind bind = { };
	pid_t pid = sleeper();
	siginfo_t info;

	bind.pidfd = syscall(SYS_pidfd_open, pid, 0);
	ASSERT_LE(0, bind.pidfd);
	kill(pid, SIGKILL);
	/* First a zombie, then gone. */
	ASSERT_EQ(0, waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	EXPECT_EQ(-ESRCH, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_EQ(-ESRCH, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	close(bind.pidfd);
}

TEST_F(hmm_mirror, bind_to_a_kernel_thread_is_ESRCH)
{
	/* Nothing but the kernel is the parent of kthreadd. */
	EXPECT_EQ(-ESRCH, device_bind(self->fd, 2));
}

TEST_F(hmm_mirror, bind_needs_the_permission_of_ptrace)
{
	pid_t pid = fork();
	int status;

	ASSERT_LE(0, pid);
	if (!pid) {
		int ret;

		if (become_nobody())
			_exit(1);
		ret = device_bind(self->fd, getppid());
		if (ret != -EPERM && ret != -EACCES)
			_exit(2);
		/* But to itself it may. */
		_exit(bind_self(self->fd) ? 3 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(hmm_mirror, calls_before_bind_are_ENXIO)
{
	struct hmm_mirror_stats stats;
	struct entries entries = { };
	char *map = memory(self->size), byte = 0;

	EXPECT_EQ(-ENXIO, map_write(self->fd, map, self->size));
	EXPECT_EQ(-ENXIO, read_at(self->fd, map, &byte, 1));
	EXPECT_EQ(-ENXIO, write_at(self->fd, map, &byte, 1));
	EXPECT_EQ(-ENXIO, device_dump(self->fd, 0, ~0ULL, &entries));
	EXPECT_EQ(-ENXIO, device_stats(self->fd, &stats));
	entries_free(&entries);
}

/* Arguments */

TEST_F(hmm_mirror, unknown_ioctls_are_ENOTTY)
{
	char arg[256] = { };

	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(-ENOTTY, call(self->fd, _IO(0xBE, 0x7f), arg));
	EXPECT_EQ(-ENOTTY, call(self->fd, _IO('T', 0), arg));
	/* The right number with the wrong size. */
	EXPECT_EQ(-ENOTTY, call(self->fd, _IOWR(0xBE, 1, char[8]), arg));
}

TEST_F(hmm_mirror, unreadable_arguments_are_EFAULT)
{
	static const unsigned long requests[] = {
		HMM_MIRROR_IOC_MAP, HMM_MIRROR_IOC_READ, HMM_MIRROR_IOC_WRITE,
		HMM_MIRROR_IOC_DUMP, HMM_MIRROR_IOC_STATS,
	};
	size_t i;

	EXPECT_EQ(-EFAULT, call(self->fd, HMM_MIRROR_IOC_BIND, NULL));
	ASSERT_EQ(0, bind_self(self->fd));
	for (i = 0; i < ARRAY_SIZE(requests); i++)
		EXPECT_EQ(-EFAULT, call(self->fd, requests[i], NULL)) {
			TH_LOG("request %#lx", requests[i]);
		}
}

TEST_F(hmm_mirror, map_of_a_bad_range_is_EINVAL)
{
	char *map = memory(self->size);
	const __u64 addr = (uintptr_t)map, page = self->page;
	const struct hmm_mirror_map bad[] = {
		{ .addr = addr + 1, .len = page },
		{ .addr = addr, .len = page + 1 },
		{ .addr = addr, .len = 0 },
		{ .addr = addr, .len = -page },
		{ .addr = -page, .len = page },
		{ .addr = -page, .len = 2 * page },
		{ .addr = ABOVE, .len = page },
		{ .addr = addr, .len = ABOVE },
		{ .addr = addr, .len = page, .flags = 4 },
		{ .addr = addr, .len = page, .flags = HMM_MIRROR_MAP_WRITE |
						     HMM_MIRROR_MAP_PRESENT },
		{ .addr = addr, .len = page, .reserved = 1 },
	};
	size_t i;

	ASSERT_EQ(0, bind_self(self->fd));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct hmm_mirror_map arg = bad[i];

		EXPECT_EQ(-EINVAL, call(self->fd, HMM_MIRROR_IOC_MAP, &arg)) {
			TH_LOG("case %zu", i);
		}
	}
	EXPECT_EQ(0, entries_in(self->fd, NULL, ABOVE));
}

TEST_F(hmm_mirror, access_to_a_bad_range_is_EINVAL)
{
	char byte = 0;
	const struct hmm_mirror_rw bad[] = {
		{ .addr = ~0ULL, .len = 2 },
		{ .addr = 4096, .len = ~0ULL },
		{ .addr = ABOVE, .len = 1 },
	};
	size_t i;

	ASSERT_EQ(0, bind_self(self->fd));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct hmm_mirror_rw arg = bad[i];

		arg.buf = (uintptr_t)&byte;
		EXPECT_EQ(-EINVAL, call(self->fd, HMM_MIRROR_IOC_READ, &arg));
		EXPECT_EQ(-EINVAL, call(self->fd, HMM_MIRROR_IOC_WRITE, &arg));
	}
}

TEST_F(hmm_mirror, access_of_no_bytes_succeeds)
{
	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(0, read_at(self->fd, NULL, NULL, 0));
	EXPECT_EQ(0, write_at(self->fd, NULL, NULL, 0));
	EXPECT_EQ(0, entries_in(self->fd, NULL, ABOVE));
}

/* Fills each page that is missing with its number, counted from 1, and ends. */
struct filler {
	int uffd;
	char *map;
	size_t page;
	size_t pages;
};

static void *fill_missing(void *arg)
{
	struct filler *filler = arg;
	char *content = memory(filler->page);
	struct uffd_msg msg;
	size_t i;

	for (i = 0; i < filler->pages; i++) {
		struct uffdio_copy copy = {
			.src = (uintptr_t)content,
			.len = filler->page,
		};

		if (read(filler->uffd, &msg, sizeof(msg)) != sizeof(msg) ||
		    msg.event != UFFD_EVENT_PAGEFAULT)
			break;
		copy.dst = msg.arg.pagefault.address & -filler->page;
		memset(content, 1 + (copy.dst - (uintptr_t)filler->map) /
		       filler->page, filler->page);
		if (ioctl(filler->uffd, UFFDIO_COPY, &copy))
			break;
	}
	return NULL;
}

TEST_F(hmm_mirror, faults_may_be_handled_by_userfaultfd)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct filler filler = { .page = self->page, .pages = 4 };
	pthread_t thread;
	char *map;
	size_t i;

	filler.uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	ASSERT_LE(0, filler.uffd);
	ASSERT_EQ(0, ioctl(filler.uffd, UFFDIO_API, &api));
	map = memory(self->size);
	filler.map = map;
	area.range.start = (uintptr_t)map;
	area.range.len = self->size;
	ASSERT_EQ(0, ioctl(filler.uffd, UFFDIO_REGISTER, &area));
	ASSERT_EQ(0, bind_self(self->fd));
	ASSERT_EQ(0, pthread_create(&thread, NULL, fill_missing, &filler));

	/* For reading, for writing, and several at once. */
	EXPECT_EQ(2, byte_at(self->fd, map + self->page));
	EXPECT_EQ(0, write_at(self->fd, map, "x", 1));
	EXPECT_EQ('x', map[0]);
	EXPECT_EQ(1, map[1]);
	EXPECT_EQ(0, map_write(self->fd, map, 4 * self->page));
	for (i = 2; i < 4; i++)
		EXPECT_EQ(1 + (int)i, map[i * self->page]);
	EXPECT_EQ(4, entries_in(self->fd, map, self->size));
	EXPECT_EQ(0, stale(self->fd, getpid()));

	/* What it is not registered for is still no memory. */
	EXPECT_EQ(-EFAULT, byte_at(self->fd, NULL));
	pthread_join(thread, NULL);
	close(filler.uffd);
}

TEST_F(hmm_mirror, access_with_a_bad_buffer_is_EFAULT)
{
	char *map = memory(self->size), *none = memory(self->page);

	munmap(none, self->page);
	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(-EFAULT, read_at(self->fd, map, none, 1));
	EXPECT_EQ(-EFAULT, write_at(self->fd, map, none, 1));
	EXPECT_EQ(-EFAULT, read_at(self->fd, map, (void *)ABOVE, 1));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(hmm_mirror, dump_of_a_bad_range_is_EINVAL)
{
	struct hmm_mirror_entry entry[4];
	struct hmm_mirror_dump dump = {
		.start = 8192, .end = 4096, .entries = (uintptr_t)entry,
		.capacity = 4,
	};

	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(-EINVAL, call(self->fd, HMM_MIRROR_IOC_DUMP, &dump));
	dump.start = 0;
	dump.capacity = 0;
	EXPECT_EQ(-EINVAL, call(self->fd, HMM_MIRROR_IOC_DUMP, &dump));
}

TEST_F(hmm_mirror, dump_to_a_bad_array_is_EFAULT)
{
	char *map = memory(self->size);
	struct hmm_mirror_dump dump = {
		.end = ~0ULL, .entries = ABOVE, .capacity = 4,
	};

	ASSERT_EQ(0, bind_self(self->fd));
	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	EXPECT_EQ(-EFAULT, call(self->fd, HMM_MIRROR_IOC_DUMP, &dump));
}

/* MAP */

TEST_F(hmm_mirror, map_stops_at_a_hole_with_EFAULT)
{
	char *map = memory(self->size);
	__u64 pages;

	munmap(map + 5 * self->page, self->page);
	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(-EFAULT, device_map(self->fd, (uintptr_t)map, self->size, 0,
				      &pages));
	EXPECT_GE(5, pages);
	EXPECT_EQ(pages, entries_in(self->fd, map, self->size));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(hmm_mirror, map_of_unreadable_memory_is_EFAULT)
{
	char *map = memory(self->size);

	memset(map, 1, self->size);
	mprotect(map, self->size, PROT_NONE);
	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(-EFAULT, device_map(self->fd, (uintptr_t)map, self->size, 0,
				      NULL));
	EXPECT_EQ(-EFAULT, map_write(self->fd, map, self->size));
	EXPECT_EQ(0, entries_in(self->fd, map, self->size));
}

TEST_F(hmm_mirror, map_for_writing_of_a_read_only_mapping_is_EPERM)
{
	char *map = memory(self->size);

	memset(map, 1, self->size);
	mprotect(map, self->size, PROT_READ);
	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(-EPERM, map_write(self->fd, map, self->size));
	EXPECT_EQ(0, entries_with(self->fd, map, self->size,
				  HMM_MIRROR_ENTRY_WRITE, 0));
	EXPECT_EQ(0, device_map(self->fd, (uintptr_t)map, self->size, 0, NULL));
	EXPECT_EQ(PAGES, entries_in(self->fd, map, self->size));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(hmm_mirror, map_present_takes_what_is_there_and_no_more)
{
	char *map = memory(self->size);
	__u64 pages;
	size_t i;

	for (i = 0; i < PAGES; i += 3)
		map[i * self->page] = 1;
	munmap(map + 4 * self->page, self->page);
	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(0, device_map(self->fd, (uintptr_t)map, self->size,
				HMM_MIRROR_MAP_PRESENT, &pages));
	EXPECT_EQ((PAGES + 2) / 3, pages);
	EXPECT_EQ((PAGES + 2) / 3, entries_in(self->fd, map, self->size));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(hmm_mirror, map_present_goes_through_sparse_gigabytes)
{
	const size_t size = 4UL << 30;
	char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			 MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	__u64 pages;

	if (map == MAP_FAILED)
		SKIP(return, "no address space to be had");
	madvise(map, size, MADV_NOHUGEPAGE);
	map[0] = 1;
	map[size / 3] = 1;
	map[size - 1] = 1;
	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(0, device_map(self->fd, (uintptr_t)map, size,
				HMM_MIRROR_MAP_PRESENT, &pages));
	EXPECT_EQ(3, pages);
	EXPECT_EQ(3, entries_in(self->fd, map, size));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

/* DUMP and STATS */

TEST_F(hmm_mirror, dump_goes_on_where_it_stopped)
{
	static const __u32 capacities[] = { 1, 7, 1000 };
	char *map = memory(self->size);
	struct entries entries = { };
	size_t i;

	ASSERT_EQ(0, bind_self(self->fd));
	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	/* Something far away, too. */
	ASSERT_EQ(0, byte_at(self->fd, (char *)&entries));
	ASSERT_EQ(0, device_dump(self->fd, 0, ~0ULL, &entries));
	ASSERT_EQ(PAGES + 1, entries.nr);

	for (i = 0; i < ARRAY_SIZE(capacities); i++) {
		struct hmm_mirror_entry entry[1000];
		struct hmm_mirror_dump dump = {
			.end = ~0ULL, .entries = (uintptr_t)entry,
			.capacity = capacities[i],
		};
		size_t nr = 0;

		do {
			ASSERT_EQ(0, call(self->fd, HMM_MIRROR_IOC_DUMP, &dump));
			ASSERT_GE(capacities[i], dump.count);
			ASSERT_LE(nr + dump.count, entries.nr);
			EXPECT_EQ(0, memcmp(entry, entries.entry + nr,
					    dump.count * sizeof(*entry)));
			nr += dump.count;
		} while (dump.start != dump.end);
		EXPECT_EQ(entries.nr, nr);
	}
	entries_free(&entries);
}

TEST_F(hmm_mirror, dump_shows_its_range_only)
{
	char *map = memory(self->size);
	struct entries entries = { };

	ASSERT_EQ(0, bind_self(self->fd));
	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	ASSERT_EQ(0, device_dump(self->fd, (uintptr_t)map + 3 * self->page,
				 (uintptr_t)map + 5 * self->page, &entries));
	ASSERT_EQ(2, entries.nr);
	EXPECT_EQ((uintptr_t)map + 3 * self->page, entries.entry[0].addr);
	EXPECT_EQ((uintptr_t)map + 4 * self->page, entries.entry[1].addr);
	entries_free(&entries);
}

TEST_F(hmm_mirror, stats_count_what_was_done)
{
	char *map = memory(self->size), buffer[100] = { };
	struct hmm_mirror_stats stats;
	__u64 tables;

	ASSERT_EQ(0, bind_self(self->fd));
	ASSERT_EQ(0, device_stats(self->fd, &stats));
	EXPECT_EQ(0, stats.pages);
	EXPECT_EQ(0, stats.mapped);
	EXPECT_EQ(0, stats.accesses);
	EXPECT_EQ(0, stats.dead);
	tables = stats.tables;
	EXPECT_LE(1, tables);

	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	ASSERT_EQ(0, read_at(self->fd, map + self->page - 50, buffer, 100));
	ASSERT_EQ(0, write_at(self->fd, map, buffer, 10));
	ASSERT_EQ(0, device_stats(self->fd, &stats));
	EXPECT_EQ(PAGES, stats.pages);
	EXPECT_EQ(PAGES, stats.mapped);
	EXPECT_EQ(100, stats.read_bytes);
	EXPECT_EQ(10, stats.written_bytes);
	EXPECT_EQ(3, stats.accesses);
	EXPECT_LE(1, stats.faults);
	EXPECT_LT(tables, stats.tables);

	munmap(map, self->size);
	ASSERT_EQ(0, device_stats(self->fd, &stats));
	EXPECT_EQ(0, stats.pages);
	EXPECT_EQ(PAGES, stats.invalidated);
	EXPECT_LE(1, stats.invalidations);
}

/* READ and WRITE */

TEST_F(hmm_mirror, data_is_right_across_page_borders)
{
	char *map = memory(self->size), *copy = malloc(self->size);
	unsigned int seed = 1;
	size_t i;

	for (i = 0; i < self->size; i++)
		map[i] = rand_r(&seed);
	ASSERT_EQ(0, bind_self(self->fd));
	ASSERT_EQ(0, read_at(self->fd, map, copy, self->size));
	EXPECT_EQ(0, memcmp(map, copy, self->size));

	for (i = 0; i < 200; i++) {
		size_t at = rand_r(&seed) % self->size;
		size_t len = rand_r(&seed) % (self->size - at);

		if (i % 2) {
			ASSERT_EQ(0, read_at(self->fd, map + at, copy + at, len));
		} else {
			memset(copy + at, i, len);
			ASSERT_EQ(0, write_at(self->fd, map + at, copy + at,
					      len));
		}
		ASSERT_EQ(0, memcmp(map, copy, self->size));
	}
	EXPECT_EQ(0, stale(self->fd, getpid()));
	free(copy);
}

TEST_F(hmm_mirror, data_is_right_across_table_borders)
{
	/* With 4 KiB pages: borders of one, two and three levels of tables. */
	static const unsigned long borders[] = {
		0x10000200000, 0x10040000000, 0x18000000000,
	};
	size_t i, j;

	ASSERT_EQ(0, bind_self(self->fd));
	for (i = 0; i < ARRAY_SIZE(borders); i++) {
		char *want = (char *)borders[i] - self->size / 2;
		char *map = mmap(want, self->size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS |
				 MAP_FIXED_NOREPLACE, -1, 0);
		char *data = malloc(self->size), *copy = malloc(self->size);

		ASSERT_EQ(want, map);
		for (j = 0; j < self->size; j++)
			data[j] = j * 7 + i + j / self->page;
		ASSERT_EQ(0, write_at(self->fd, map, data, self->size));
		EXPECT_EQ(0, memcmp(map, data, self->size));
		ASSERT_EQ(0, read_at(self->fd, map, copy, self->size));
		EXPECT_EQ(0, memcmp(copy, data, self->size));
		EXPECT_EQ(PAGES, entries_in(self->fd, map, self->size));
		free(data);
		free(copy);
	}
	EXPECT_EQ(0, stale(self->fd, getpid()));

	/* One invalidation across a border takes out both sides. */
	for (i = 0; i < ARRAY_SIZE(borders); i++) {
		char *map = (char *)borders[i] - self->size / 2;

		munmap(map, self->size);
		EXPECT_EQ(0, entries_in(self->fd, map, self->size));
	}
}

TEST_F(hmm_mirror, data_is_right_in_the_last_page)
{
	char *want = (char *)0x7ffffffff000 - self->page;
	char *map = mmap(want, self->page, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			 MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (map != want)
		SKIP(return, "the address space ends elsewhere");
	map[self->page - 1] = 42;
	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(42, byte_at(self->fd, map + self->page - 1));
	EXPECT_EQ(-EINVAL, byte_at(self->fd, map + self->page));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(hmm_mirror, access_stops_at_a_hole_with_EFAULT)
{
	char *map = memory(self->size), *copy = malloc(self->size);
	size_t done;

	memset(map, 7, self->size);
	munmap(map + 5 * self->page, self->page);
	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(-EFAULT, device_read(self->fd, (uintptr_t)map + 100, copy,
				       self->size - 100, &done));
	EXPECT_EQ(5 * self->page - 100, done);
	EXPECT_EQ(7, copy[done - 1]);
	EXPECT_EQ(-EFAULT, device_write(self->fd, (uintptr_t)map + 100, copy,
					self->size - 100, &done));
	EXPECT_EQ(5 * self->page - 100, done);
	EXPECT_EQ(0, stale(self->fd, getpid()));
	free(copy);
}

TEST_F(hmm_mirror, write_to_a_read_only_mapping_is_EPERM)
{
	char *map = memory(self->size), byte = 2;

	memset(map, 1, self->size);
	ASSERT_EQ(0, bind_self(self->fd));
	/* The device has a writable entry when the permission goes. */
	ASSERT_EQ(0, write_at(self->fd, map, &byte, 1));
	mprotect(map, self->size, PROT_READ);
	byte = 3;
	EXPECT_EQ(-EPERM, write_at(self->fd, map, &byte, 1));
	EXPECT_EQ(-EPERM, write_at(self->fd, map + self->page, &byte, 1));
	EXPECT_EQ(2, map[0]);
	EXPECT_EQ(1, map[self->page]);
	EXPECT_EQ(2, byte_at(self->fd, map));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(hmm_mirror, access_to_unreadable_memory_is_EFAULT)
{
	char *map = memory(self->size), byte = 2;

	memset(map, 1, self->size);
	ASSERT_EQ(0, bind_self(self->fd));
	ASSERT_EQ(0, write_at(self->fd, map, &byte, 1));
	mprotect(map, self->size, PROT_NONE);
	EXPECT_EQ(-EFAULT, byte_at(self->fd, map));
	EXPECT_EQ(-EFAULT, write_at(self->fd, map, &byte, 1));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	mprotect(map, self->size, PROT_READ);
	EXPECT_EQ(2, byte_at(self->fd, map));
}

/* The kernel's data for the vDSO: readable, but there is no struct page for it. */
TEST_F(hmm_mirror, access_to_memory_without_pages_is_EFAULT)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[256], *vvar = NULL;

	ASSERT_NE(NULL, maps);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "[vvar]"))
			vvar = (char *)strtoul(line, NULL, 16);
	fclose(maps);
	if (!vvar)
		SKIP(return, "no [vvar]");
	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(-EFAULT, byte_at(self->fd, vvar));
	EXPECT_EQ(0, entries_in(self->fd, vvar, self->page));
}

TEST_F(hmm_mirror, the_zero_page_is_never_written)
{
	char *map = memory(self->size), *other = memory(self->size), byte = 1;

	madvise(map, self->size, MADV_NOHUGEPAGE);
	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(0, byte_at(self->fd, map));
	EXPECT_EQ(0, entries_with(self->fd, map, self->page,
				  HMM_MIRROR_ENTRY_WRITE, 0));
	ASSERT_EQ(0, write_at(self->fd, map, &byte, 1));
	EXPECT_EQ(1, map[0]);
	EXPECT_EQ(0, other[0]);
	EXPECT_EQ(0, byte_at(self->fd, map + self->page));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(hmm_mirror, write_to_a_private_file_mapping_leaves_the_file)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	char byte = 1, *map;

	ASSERT_EQ(0, ftruncate(fd, self->size));
	map = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(0, byte_at(self->fd, map));
	ASSERT_EQ(0, write_at(self->fd, map, &byte, 1));
	EXPECT_EQ(1, map[0]);
	ASSERT_EQ(1, pread(fd, &byte, 1, 0));
	EXPECT_EQ(0, byte);
	EXPECT_EQ(0, stale(self->fd, getpid()));
	close(fd);
}

TEST_F(hmm_mirror, write_to_a_shared_file_mapping_reaches_the_file)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	char byte = 1, *map;

	ASSERT_EQ(0, ftruncate(fd, self->size));
	map = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_EQ(0, bind_self(self->fd));
	ASSERT_EQ(0, write_at(self->fd, map, &byte, 1));
	byte = 0;
	ASSERT_EQ(1, pread(fd, &byte, 1, 0));
	EXPECT_EQ(1, byte);
	EXPECT_EQ(0, stale(self->fd, getpid()));
	close(fd);
}

TEST_F(hmm_mirror, write_after_fork_is_seen_by_one_side_only)
{
	char *map = memory(self->size), byte = 2;
	int fd = device_open(variant->device);
	pid_t pid;

	memset(map, 1, self->size);
	ASSERT_EQ(0, bind_self(self->fd));
	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	pid = sleeper();
	ASSERT_LT(0, pid);
	EXPECT_EQ(0, entries_with(self->fd, map, self->size,
				  HMM_MIRROR_ENTRY_WRITE, 0));
	ASSERT_EQ(0, device_bind(fd, pid));

	/* The device of the parent writes, then that of the child. */
	ASSERT_EQ(0, write_at(self->fd, map, &byte, 1));
	EXPECT_EQ(2, map[0]);
	EXPECT_EQ(1, byte_at(fd, map));
	byte = 3;
	ASSERT_EQ(0, write_at(fd, map + self->page, &byte, 1));
	EXPECT_EQ(3, byte_at(fd, map + self->page));
	EXPECT_EQ(1, map[self->page]);
	EXPECT_EQ(1, byte_at(self->fd, map + self->page));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	EXPECT_EQ(0, stale(fd, pid));
	reap(pid);
	close(fd);
}

/* move_pages(2) for PAGES pages of this process, without libnuma. */
static long move_pages(void **addr, const int *nodes, int *status)
{
	return syscall(SYS_move_pages, 0, PAGES, addr, nodes, status,
		       nodes ? MPOL_MF_MOVE : 0);
}

/*
 * Invalidation: the device has all of the memory writable, then the CPU page
 * table changes.
 */

FIXTURE(invalidation)
{
	int fd;
	size_t page;
	size_t size;
	char *map;
};

FIXTURE_VARIANT(invalidation)
{
	const char *device;
};

FIXTURE_VARIANT_ADD(invalidation, rust)
{
	.device = DEVICE_RUST,
};

FIXTURE_VARIANT_ADD(invalidation, c)
{
	.device = DEVICE_C,
};

FIXTURE_SETUP(invalidation)
{
	self->page = sysconf(_SC_PAGESIZE);
	self->size = PAGES * self->page;
	self->fd = device_open(variant->device);
	if (self->fd == -ENOENT)
		SKIP(return, "there is no %s", variant->device);
	if (self->fd == -EACCES || geteuid())
		SKIP(return, "must be run as root");
	ASSERT_LE(0, self->fd);

	self->map = memory(self->size);
	madvise(self->map, self->size, MADV_NOHUGEPAGE);
	memset(self->map, 1, self->size);
	ASSERT_EQ(0, bind_self(self->fd));
	ASSERT_EQ(0, map_write(self->fd, self->map, self->size));
	ASSERT_EQ(PAGES, entries_with(self->fd, self->map, self->size,
				      HMM_MIRROR_ENTRY_WRITE, 0));
	ASSERT_EQ(0, stale(self->fd, getpid()));
}

FIXTURE_TEARDOWN(invalidation)
{
	/* Whatever the change was: what is in memory now can be mirrored. */
	EXPECT_EQ(0, device_map(self->fd, (uintptr_t)self->map, self->size,
				HMM_MIRROR_MAP_PRESENT, NULL));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	close(self->fd);
}

TEST_F(invalidation, munmap_takes_out_what_was_unmapped)
{
	char *hole = self->map + 8 * self->page;

	munmap(hole, 8 * self->page);
	EXPECT_EQ(0, entries_in(self->fd, hole, 8 * self->page));
	EXPECT_EQ(PAGES - 8, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(-EFAULT, byte_at(self->fd, hole));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(invalidation, mmap_over_a_mapping_takes_out_its_pages)
{
	ASSERT_EQ(self->map, mmap(self->map, 8 * self->page, PROT_READ,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				  0));
	EXPECT_EQ(0, entries_in(self->fd, self->map, 8 * self->page));
	EXPECT_EQ(0, byte_at(self->fd, self->map));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(invalidation, mprotect_takes_the_permission_to_write)
{
	mprotect(self->map, self->size, PROT_READ);
	EXPECT_EQ(0, entries_with(self->fd, self->map, self->size,
				  HMM_MIRROR_ENTRY_WRITE, 0));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(invalidation, mprotect_takes_the_permission_to_read)
{
	mprotect(self->map, self->size, PROT_NONE);
	EXPECT_EQ(0, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(invalidation, mremap_moves_the_pages)
{
	char *to = memory(self->size);

	ASSERT_EQ(to, mremap(self->map, self->size, self->size,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(0, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(-EFAULT, byte_at(self->fd, self->map));
	EXPECT_EQ(1, byte_at(self->fd, to));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(invalidation, madvise_dontneed_takes_the_pages_away)
{
	madvise(self->map, self->size, MADV_DONTNEED);
	EXPECT_EQ(0, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(0, byte_at(self->fd, self->map));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(invalidation, madvise_free_pages_may_go_at_any_time)
{
	madvise(self->map, self->size, MADV_FREE);
	EXPECT_EQ(0, stale(self->fd, getpid()));
	madvise(self->map, self->size, MADV_PAGEOUT);
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(invalidation, madvise_guard_takes_the_pages_away)
{
	if (madvise(self->map, self->size / 2, MADV_GUARD_INSTALL))
		SKIP(return, "this kernel has no guard regions");
	EXPECT_EQ(PAGES / 2, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(-EFAULT, byte_at(self->fd, self->map));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(invalidation, fork_takes_the_permission_to_write)
{
	pid_t pid = sleeper();

	ASSERT_LT(0, pid);
	EXPECT_EQ(0, entries_with(self->fd, self->map, self->size,
				  HMM_MIRROR_ENTRY_WRITE, 0));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	/* The process writes, and so gets pages of its own. */
	ASSERT_EQ(1, byte_at(self->fd, self->map));
	memset(self->map, 2, self->size);
	EXPECT_EQ(2, byte_at(self->fd, self->map));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	reap(pid);
}

TEST_F(invalidation, pageout_takes_the_pages_away)
{
	__u64 pagemap[PAGES];
	int fd = pagemap_open(getpid());
	size_t i, out = 0;

	ASSERT_LE(0, fd);
	madvise(self->map, self->size, MADV_PAGEOUT);
	ASSERT_EQ(0, pagemap_read(fd, (uintptr_t)self->map, pagemap, PAGES));
	close(fd);
	for (i = 0; i < PAGES; i++)
		out += !(pagemap[i] & PAGEMAP_PRESENT);
	if (!out)
		SKIP(return, "nothing was paged out: is there swap?");
	EXPECT_GE(PAGES - out, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	/* A device page fault brings the data back. */
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(1, byte_at(self->fd, self->map + i * self->page));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(invalidation, migration_moves_the_pages)
{
	void *addr[PAGES];
	int node[PAGES], status[PAGES];
	size_t i;

	for (i = 0; i < PAGES; i++)
		addr[i] = self->map + i * self->page;
	/* Where are they? */
	if (move_pages(addr, NULL, status))
		SKIP(return, "pages cannot be moved from node to node");
	for (i = 0; i < PAGES; i++)
		node[i] = !status[i];
	if (move_pages(addr, node, status) < 0 && errno == ENODEV)
		SKIP(return, "this machine has one node");
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(node[i], status[i]);
	EXPECT_EQ(0, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(1, byte_at(self->fd, addr[i]));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(invalidation, unrelated_changes_keep_the_entries)
{
	char *other = memory(self->size);

	memset(other, 1, self->size);
	mprotect(other, self->size, PROT_READ);
	munmap(other, self->size);
	EXPECT_EQ(PAGES, entries_with(self->fd, self->map, self->size,
				      HMM_MIRROR_ENTRY_WRITE, 0));
}

TEST_F(invalidation, truncate_takes_the_pages_away)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	char *map;

	ASSERT_EQ(0, ftruncate(fd, self->size));
	map = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memset(map, 1, self->size);
	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	ASSERT_EQ(0, ftruncate(fd, self->size / 2));
	EXPECT_EQ(PAGES / 2, entries_in(self->fd, map, self->size));
	EXPECT_EQ(-EFAULT, byte_at(self->fd, map + self->size / 2));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	close(fd);
}

TEST_F(invalidation, punching_a_hole_takes_the_pages_away)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	char *map;

	ASSERT_EQ(0, ftruncate(fd, self->size));
	map = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memset(map, 1, self->size);
	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	ASSERT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       0, 8 * self->page));
	EXPECT_EQ(PAGES - 8, entries_in(self->fd, map, self->size));
	EXPECT_EQ(0, byte_at(self->fd, map));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	close(fd);
}

TEST_F(invalidation, collapse_into_a_huge_page_replaces_the_pages)
{
	char *map = memory(2 * HUGE_SIZE);
	char *huge = (char *)(((uintptr_t)map + HUGE_SIZE - 1) & -HUGE_SIZE);

	madvise(huge, HUGE_SIZE, MADV_NOHUGEPAGE);
	memset(huge, 1, HUGE_SIZE);
	ASSERT_EQ(0, map_write(self->fd, huge, HUGE_SIZE));
	madvise(huge, HUGE_SIZE, MADV_HUGEPAGE);
	if (madvise(huge, HUGE_SIZE, MADV_COLLAPSE))
		SKIP(return, "no huge page to be had");
	EXPECT_EQ(0, stale(self->fd, getpid()));
	ASSERT_EQ(0, map_write(self->fd, huge, HUGE_SIZE));
	EXPECT_EQ(HUGE_SIZE / self->page,
		  entries_with(self->fd, huge, HUGE_SIZE,
			       HMM_MIRROR_ENTRY_WRITE, 9));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(invalidation, huge_page_is_read_and_written_all_over)
{
	char *huge = huge_memory();
	size_t at;

	if (!huge)
		SKIP(return, "no huge page to be had");
	for (at = 0; at < HUGE_SIZE; at += self->page)
		*(size_t *)(huge + at) = at;
	ASSERT_EQ(0, map_write(self->fd, huge, HUGE_SIZE));
	EXPECT_EQ(HUGE_SIZE / self->page,
		  entries_with(self->fd, huge, HUGE_SIZE,
			       HMM_MIRROR_ENTRY_WRITE, 9));
	for (at = 0; at < HUGE_SIZE; at += self->page) {
		size_t value = 0;

		ASSERT_EQ(0, read_at(self->fd, huge + at, &value, sizeof(value)));
		ASSERT_EQ(at, value);
		value = ~at;
		ASSERT_EQ(0, write_at(self->fd, huge + at, &value, sizeof(value)));
		ASSERT_EQ(~at, *(size_t *)(huge + at));
	}
}

/* The device in Rust has huge entries: no table of pages for these. */
TEST_F(invalidation, huge_page_takes_no_table)
{
	const bool has_huge_entries = !strcmp(variant->device, DEVICE_RUST);
	struct hmm_mirror_stats huge_stats, stats;
	char *huge = huge_memory();

	if (!huge)
		SKIP(return, "no huge page to be had");
	ASSERT_EQ(0, map_write(self->fd, huge, HUGE_SIZE));
	ASSERT_EQ(0, device_stats(self->fd, &huge_stats));

	madvise(huge, HUGE_SIZE, MADV_NOHUGEPAGE);
	madvise(huge, HUGE_SIZE, MADV_DONTNEED);
	memset(huge, 1, HUGE_SIZE);
	ASSERT_EQ(0, map_write(self->fd, huge, HUGE_SIZE));
	ASSERT_EQ(0, device_stats(self->fd, &stats));
	EXPECT_EQ(huge_stats.pages, stats.pages);
	EXPECT_EQ(huge_stats.tables + has_huge_entries, stats.tables);
}

TEST_F(invalidation, munmap_of_a_part_splits_a_huge_page)
{
	char *huge = huge_memory();

	if (!huge)
		SKIP(return, "no huge page to be had");
	ASSERT_EQ(0, map_write(self->fd, huge, HUGE_SIZE));
	munmap(huge + 16 * self->page, 16 * self->page);
	EXPECT_EQ(0, entries_in(self->fd, huge + 16 * self->page,
				16 * self->page));
	EXPECT_EQ(1, byte_at(self->fd, huge));
	EXPECT_EQ(1, byte_at(self->fd, huge + HUGE_SIZE - 1));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(invalidation, mprotect_of_a_part_splits_a_huge_page)
{
	char *huge = huge_memory(), byte = 2;

	if (!huge)
		SKIP(return, "no huge page to be had");
	ASSERT_EQ(0, map_write(self->fd, huge, HUGE_SIZE));
	mprotect(huge + 16 * self->page, 16 * self->page, PROT_READ);
	EXPECT_EQ(-EPERM, write_at(self->fd, huge + 16 * self->page, &byte, 1));
	EXPECT_EQ(0, write_at(self->fd, huge + 32 * self->page, &byte, 1));
	EXPECT_EQ(2, huge[32 * self->page]);
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(invalidation, the_kernel_splits_a_huge_page)
{
	int fd = open("/sys/kernel/debug/split_huge_pages", O_WRONLY);
	char *huge = huge_memory();
	char text[64];
	int len;

	if (fd < 0)
		SKIP(return, "no split_huge_pages in debugfs");
	if (!huge)
		SKIP(return, "no huge page to be had");
	ASSERT_EQ(0, map_write(self->fd, huge, HUGE_SIZE));
	len = snprintf(text, sizeof(text), "%d,%#lx,%#lx", getpid(),
		       (unsigned long)huge, (unsigned long)huge + HUGE_SIZE);
	ASSERT_EQ(len, write(fd, text, len));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	ASSERT_EQ(0, map_write(self->fd, huge, HUGE_SIZE));
	EXPECT_EQ(0, entries_with(self->fd, huge, HUGE_SIZE, 0, 9));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	close(fd);
}

TEST_F(invalidation, hugetlb_pages_come_and_go)
{
	char *huge, byte = 2;
	FILE *nr = fopen("/proc/sys/vm/nr_hugepages", "w");

	if (!nr)
		SKIP(return, "no hugetlbfs");
	fprintf(nr, "2\n");
	fclose(nr);
	huge = mmap(NULL, 2 * HUGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		    MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (huge == MAP_FAILED)
		SKIP(return, "no huge pages to be had");
	memset(huge, 1, 2 * HUGE_SIZE);
	ASSERT_EQ(0, map_write(self->fd, huge, 2 * HUGE_SIZE));
	EXPECT_EQ(2 * HUGE_SIZE / self->page,
		  entries_with(self->fd, huge, 2 * HUGE_SIZE,
			       HMM_MIRROR_ENTRY_WRITE, 9));
	EXPECT_EQ(0, write_at(self->fd, huge + HUGE_SIZE - 1, &byte, 1));
	EXPECT_EQ(2, huge[HUGE_SIZE - 1]);
	EXPECT_EQ(0, stale(self->fd, getpid()));

	ASSERT_EQ(0, mprotect(huge, HUGE_SIZE, PROT_READ));
	EXPECT_EQ(-EPERM, write_at(self->fd, huge, &byte, 1));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	ASSERT_EQ(0, madvise(huge + HUGE_SIZE, HUGE_SIZE, MADV_DONTNEED));
	EXPECT_EQ(0, entries_in(self->fd, huge + HUGE_SIZE, HUGE_SIZE));
	EXPECT_EQ(0, byte_at(self->fd, huge + HUGE_SIZE));
	munmap(huge, 2 * HUGE_SIZE);
	EXPECT_EQ(0, entries_in(self->fd, huge, 2 * HUGE_SIZE));
	EXPECT_EQ(-EFAULT, byte_at(self->fd, huge));
}

/* Life and death */

TEST_F(hmm_mirror, exit_takes_everything_out)
{
	char *map = memory(self->size), byte;
	struct hmm_mirror_stats stats;
	pid_t pid;

	memset(map, 1, self->size);
	pid = sleeper();
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, device_bind(self->fd, pid));
	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	reap(pid);
	EXPECT_EQ(0, entries_in(self->fd, NULL, ABOVE));
	EXPECT_EQ(-ESRCH, map_write(self->fd, map, self->size));
	EXPECT_EQ(-ESRCH, device_map(self->fd, (uintptr_t)map, self->size,
				     HMM_MIRROR_MAP_PRESENT, NULL));
	EXPECT_EQ(-ESRCH, read_at(self->fd, map, &byte, 1));
	EXPECT_EQ(-ESRCH, write_at(self->fd, map, &byte, 1));
	ASSERT_EQ(0, device_stats(self->fd, &stats));
	EXPECT_EQ(1, stats.dead);
	EXPECT_EQ(0, stats.pages);
	EXPECT_EQ(PAGES, stats.invalidated);
	/* Once bound, bound for ever. */
	EXPECT_EQ(-EBUSY, bind_self(self->fd));
}

TEST_F(hmm_mirror, exec_takes_everything_out)
{
	char *map = memory(self->size), byte;
	struct hmm_mirror_stats stats;
	int gate[2], done[2];
	pid_t pid;

	memset(map, 1, self->size);
	ASSERT_EQ(0, pipe(gate));
	ASSERT_EQ(0, pipe2(done, O_CLOEXEC));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (read(gate[0], &byte, 1) == 1)
			execlp("sleep", "sleep", "100", NULL);
		_exit(1);
	}
	close(done[1]);
	ASSERT_EQ(0, device_bind(self->fd, pid));
	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	ASSERT_EQ(1, write(gate[1], "", 1));
	/* It is closed by execve(), after the memory has gone. */
	ASSERT_EQ(0, read(done[0], &byte, 1));
	EXPECT_EQ(-ESRCH, read_at(self->fd, map, &byte, 1));
	EXPECT_EQ(0, entries_in(self->fd, NULL, ABOVE));
	ASSERT_EQ(0, device_stats(self->fd, &stats));
	EXPECT_EQ(1, stats.dead);
	reap(pid);
}

TEST_F(hmm_mirror, an_inherited_context_still_shows_the_parent)
{
	char *map = memory(self->size), byte = 2;
	int status;
	pid_t pid;

	memset(map, 1, self->size);
	ASSERT_EQ(0, bind_self(self->fd));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		memset(map, 3, self->size);
		if (byte_at(self->fd, map) != 1)
			_exit(1);
		if (write_at(self->fd, map, &byte, 1))
			_exit(2);
		_exit(map[0] == 3 ? 0 : 3);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(2, map[0]);
	EXPECT_EQ(1, map[self->page]);
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(hmm_mirror, two_contexts_of_one_process_both_follow)
{
	int fd = device_open(variant->device);
	char *map = memory(self->size);

	ASSERT_EQ(0, bind_self(self->fd));
	ASSERT_EQ(0, bind_self(fd));
	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	ASSERT_EQ(0, map_write(fd, map, self->size));
	munmap(map, self->size / 2);
	EXPECT_EQ(PAGES / 2, entries_in(self->fd, map, self->size));
	EXPECT_EQ(PAGES / 2, entries_in(fd, map, self->size));
	/* One goes, the other stays. */
	close(fd);
	munmap(map, self->size);
	EXPECT_EQ(0, entries_in(self->fd, map, self->size));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(hmm_mirror, many_contexts_of_one_process_all_follow)
{
	char *map = memory(self->size);
	int fd[50];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(fd); i++) {
		fd[i] = device_open(variant->device);
		ASSERT_LE(0, fd[i]);
		ASSERT_EQ(0, bind_self(fd[i]));
		ASSERT_EQ(0, map_write(fd[i], map, self->size));
	}
	for (i = 0; i < ARRAY_SIZE(fd); i += 2)
		close(fd[i]);
	mprotect(map, self->size, PROT_READ);
	for (i = 1; i < ARRAY_SIZE(fd); i += 2) {
		EXPECT_EQ(0, entries_with(fd[i], map, self->size,
					  HMM_MIRROR_ENTRY_WRITE, 0));
		EXPECT_EQ(0, stale(fd[i], getpid()));
		close(fd[i]);
	}
}

TEST_F(hmm_mirror, closing_a_context_leaves_the_process_alone)
{
	char *map = memory(self->size);
	size_t i;

	for (i = 0; i < 20; i++) {
		int fd = device_open(variant->device);

		memset(map, i, self->size);
		ASSERT_EQ(0, bind_self(fd));
		ASSERT_EQ(0, map_write(fd, map, self->size));
		close(fd);
		EXPECT_EQ((char)i, map[0]);
		madvise(map, self->size, MADV_DONTNEED);
		EXPECT_EQ(0, map[0]);
	}
}

TEST_F(hmm_mirror, a_module_in_use_cannot_be_unloaded)
{
	const char *name = strrchr(variant->device, '/') + 1;
	char path[64];

	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", name);
	if (access(path, F_OK))
		SKIP(return, "%s is not a module", name);
	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(-1, syscall(SYS_delete_module, name, O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
}

/* Those who want what is not theirs, or more than there is */

/*
 * Run by nobody: a child that executes a program which is root's, and set-uid, once
 * @gate says so, or at once where that is NULL.  @done is closed when it has.
 */
static pid_t run_set_uid(const char *program, int *gate, int *done)
{
	pid_t pid = fork();
	char byte;

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!gate || read(gate[0], &byte, 1) == 1)
			execl(program, "sleep", "100", NULL);
		_exit(1);
	}
	close(done[1]);
	return pid;
}

/* A set-uid copy of sleep(1); to be unlinked */
static int make_set_uid(char *path)
{
	char command[128];
	int fd = mkstemp(path);

	if (fd < 0)
		return -1;
	close(fd);
	snprintf(command, sizeof(command),
		 "cp \"$(command -v sleep)\" %s && chmod 4755 %s", path, path);
	return system(command);
}

TEST_F(hmm_mirror, bind_to_a_set_uid_program_is_refused)
{
	char path[] = "/tmp/hmm_mirror.XXXXXX", byte;
	int done[2], status;
	pid_t pid;

	ASSERT_EQ(0, make_set_uid(path));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int ret;

		if (become_nobody() || pipe2(done, O_CLOEXEC))
			_exit(1);
		pid = run_set_uid(path, NULL, done);
		if (read(done[0], &byte, 1))
			_exit(2);
		ret = device_bind(self->fd, pid);
		_exit(ret == -EPERM || ret == -EACCES ? 0 : 3);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	unlink(path);
	EXPECT_EQ(0, status);
}

TEST_F(hmm_mirror, access_ends_when_a_set_uid_program_is_executed)
{
	char path[] = "/tmp/hmm_mirror.XXXXXX", *map = memory(self->size), byte;
	int gate[2], done[2], status;
	pid_t pid;

	memset(map, 1, self->size);
	ASSERT_EQ(0, make_set_uid(path));
	ASSERT_EQ(0, pipe(gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (become_nobody() || pipe2(done, O_CLOEXEC))
			_exit(1);
		pid = run_set_uid(path, gate, done);
		if (device_bind(self->fd, pid) ||
		    map_write(self->fd, map, self->size) ||
		    byte_at(self->fd, map) != 1)
			_exit(2);
		if (write(gate[1], "", 1) != 1 || read(done[0], &byte, 1))
			_exit(3);
		if (byte_at(self->fd, map) != -ESRCH ||
		    map_write(self->fd, map, self->size) != -ESRCH ||
		    entries_in(self->fd, NULL, ABOVE))
			_exit(4);
		_exit(device_bind(self->fd, getpid()) == -EBUSY ? 0 : 5);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	unlink(path);
	EXPECT_EQ(0, status);
}

/* As with /proc/PID/mem, who was permitted may share */
TEST_F(hmm_mirror, a_context_may_be_passed_on)
{
	char *map = memory(self->size), control[CMSG_SPACE(sizeof(int))], byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	int sockets[2], status, fd;
	struct cmsghdr *cmsg;
	pid_t pid;

	memset(map, 7, self->size);
	ASSERT_EQ(0, bind_self(self->fd));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(self->fd);
		munmap(map, self->size);
		if (become_nobody() || recvmsg(sockets[1], &msg, 0) != 1)
			_exit(1);
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
		if (byte_at(fd, map) != 7)
			_exit(2);
		/* But it is no more than what was given. */
		_exit(device_bind(fd, getpid()) == -EBUSY ? 0 : 3);
	}
	cmsg = CMSG_FIRSTHDR(&msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &self->fd, sizeof(int));
	ASSERT_EQ(1, sendmsg(sockets[0], &msg, 0));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

struct bind_race {
	pthread_barrier_t barrier;
	int fd;
};

static void *bind_when_told(void *arg)
{
	struct bind_race *race = arg;

	pthread_barrier_wait(&race->barrier);
	return (void *)(intptr_t)bind_self(race->fd);
}

TEST_F(hmm_mirror, of_many_who_bind_at_once_one_succeeds)
{
	struct bind_race race;
	pthread_t thread[8];
	int round, i;

	pthread_barrier_init(&race.barrier, NULL, ARRAY_SIZE(thread));
	for (round = 0; round < 20; round++) {
		int bound = 0, busy = 0;

		race.fd = device_open(variant->device);
		for (i = 0; i < ARRAY_SIZE(thread); i++)
			ASSERT_EQ(0, pthread_create(&thread[i], NULL,
						    bind_when_told, &race));
		for (i = 0; i < ARRAY_SIZE(thread); i++) {
			void *ret;

			pthread_join(thread[i], &ret);
			bound += !ret;
			busy += (intptr_t)ret == -EBUSY;
		}
		EXPECT_EQ(1, bound);
		EXPECT_EQ(ARRAY_SIZE(thread) - 1, busy);
		close(race.fd);
	}
	pthread_barrier_destroy(&race.barrier);
}

TEST_F(hmm_mirror, gigantic_counts_do_no_harm)
{
	struct hmm_mirror_entry entry[513] = { };
	struct hmm_mirror_dump dump = {
		.end = ~0ULL,
		.entries = (uintptr_t)entry,
		.capacity = ~0U,
	};
	char *map = memory(3 * HUGE_SIZE), byte;

	memset(map, 1, 3 * HUGE_SIZE);
	ASSERT_EQ(0, bind_self(self->fd));
	ASSERT_EQ(0, map_write(self->fd, map, 3 * HUGE_SIZE));
	ASSERT_EQ(0, call(self->fd, HMM_MIRROR_IOC_DUMP, &dump));
	EXPECT_EQ(512, dump.count);
	EXPECT_EQ(0, entry[512].addr);
	EXPECT_EQ(-EINVAL, device_read(self->fd, (uintptr_t)map, &byte, ~0UL,
				       NULL));
	EXPECT_EQ(-EINVAL, device_map(self->fd, 0, -self->page, 0, NULL));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

/* It takes long to find that there is nothing in most of an address space. */
TEST_F(hmm_mirror, a_gigantic_snapshot_can_be_killed)
{
	struct timespec begun, ended;
	pid_t pid;

	ASSERT_EQ(0, bind_self(self->fd));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		device_map(self->fd, 0, 1UL << 46, HMM_MIRROR_MAP_PRESENT, NULL);
		_exit(1);
	}
	usleep(200000);
	clock_gettime(CLOCK_MONOTONIC, &begun);
	reap(pid);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	EXPECT_GE(5, ended.tv_sec - begun.tv_sec);
}

/* What memory.stat says of the kernel's memory in a cgroup, in bytes */
static long kernel_memory(const char *cgroup)
{
	char path[96], name[32];
	long value = -1, bytes;
	FILE *file;

	snprintf(path, sizeof(path), "%s/memory.stat", cgroup);
	file = fopen(path, "r");
	while (file && fscanf(file, "%31s %ld", name, &bytes) == 2)
		if (!strcmp(name, "kernel"))
			value = bytes;
	if (file)
		fclose(file);
	return value;
}

/* Whoever makes the device need memory pays for it: it grows with what is mapped */
TEST_F(hmm_mirror, page_tables_are_charged_to_who_maps)
{
	const size_t regions = 64;
	char cgroup[64], procs[96], *map = memory(regions * HUGE_SIZE);
	long before, after;
	int status;
	pid_t pid;
	size_t i;

	snprintf(cgroup, sizeof(cgroup), "/sys/fs/cgroup/hmm_mirror.%d", getpid());
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", cgroup);
	if (write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory") ||
	    mkdir(cgroup, 0755))
		SKIP(return, "no memory controller of cgroup v2");
	for (i = 0; i < regions; i++)
		map[i * HUGE_SIZE] = 1;
	ASSERT_EQ(0, bind_self(self->fd));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (write_file(procs, "0"))
			_exit(1);
		before = kernel_memory(cgroup);
		for (i = 0; i < regions; i++)
			if (device_map(self->fd, (uintptr_t)map + i * HUGE_SIZE,
				       self->page, 0, NULL))
				_exit(2);
		after = kernel_memory(cgroup);
		_exit(after - before >= (long)(regions * self->page) ? 0 : 3);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	rmdir(cgroup);
}

/* Races */

static void *kill_soon(void *arg)
{
	usleep(rand() % 2000);
	kill((intptr_t)arg, SIGKILL);
	return NULL;
}

TEST_F(hmm_mirror, a_process_may_die_while_the_device_faults)
{
	char *map = memory(self->size);
	struct hmm_mirror_stats stats;
	size_t i, j;

	memset(map, 1, self->size);
	for (i = 0; i < 20; i++) {
		int fd = device_open(variant->device), ret;
		pid_t pid = sleeper();
		pthread_t thread;

		ASSERT_LT(0, pid);
		ASSERT_EQ(0, device_bind(fd, pid));
		ASSERT_EQ(0, pthread_create(&thread, NULL, kill_soon,
					    (void *)(intptr_t)pid));
		do {
			ret = device_map(fd, (uintptr_t)map, self->size,
					 HMM_MIRROR_MAP_WRITE, NULL);
		} while (!ret || ret == -EBUSY);
		EXPECT_EQ(-ESRCH, ret);
		pthread_join(thread, NULL);
		waitpid(pid, NULL, 0);
		/*
		 * When the fault was the last user of the address space, the
		 * kernel tears it down a little later.
		 */
		for (j = 0; j < 1000; j++) {
			ASSERT_EQ(0, device_stats(fd, &stats));
			if (stats.dead)
				break;
			usleep(5000);
		}
		EXPECT_EQ(1, stats.dead);
		EXPECT_EQ(0, entries_in(fd, NULL, ABOVE));
		close(fd);
	}
}

static void ignore(int sig)
{
	(void)sig;
}

TEST_F_TIMEOUT(hmm_mirror, signals_do_not_interrupt_accesses, 60)
{
	const struct itimerval often = { { 0, 2000 }, { 0, 2000 } };
	const struct itimerval never = { };
	struct sigaction action = { .sa_handler = ignore, .sa_flags = SA_RESTART };
	char *map = memory(self->size), *copy = malloc(self->size);
	size_t i;

	ASSERT_EQ(0, bind_self(self->fd));
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &often, NULL));
	for (i = 0; i < 200; i++) {
		ASSERT_EQ(0, read_at(self->fd, map, copy, self->size));
		ASSERT_EQ(0, map_write(self->fd, map, self->size));
		madvise(map, self->size, MADV_DONTNEED);
	}
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &never, NULL));
	free(copy);
}

/* What the threads of the races below have in common. */
struct race {
	int fd;
	char *map;
	size_t page;
	atomic_ullong published[PAGES];	/* generations that were written */
	atomic_ulong wrong;
	atomic_ulong rounds;
	atomic_bool stop;
};

static __u64 *slot(struct race *race, size_t i)
{
	return (__u64 *)(race->map + i * race->page);
}

/* Throws pages away and writes a new generation to what comes in their place. */
static void *renew(void *arg)
{
	struct race *race = arg;
	__u64 generation = 1;

	while (!race->stop) {
		size_t i;

		madvise(race->map, PAGES * race->page, MADV_DONTNEED);
		for (i = 0; i < PAGES; i++) {
			__atomic_store_n(slot(race, i), generation,
					 __ATOMIC_RELEASE);
			race->published[i] = generation;
		}
		generation++;
	}
	return NULL;
}

/* What the device reads is never older than what was written before. */
static void *read_renewed(void *arg)
{
	struct race *race = arg;
	unsigned int seed = 1;

	while (!race->stop) {
		size_t i = rand_r(&seed) % PAGES;
		__u64 before = race->published[i], value;
		int ret = read_at(race->fd, slot(race, i), &value,
				  sizeof(value));

		/* 0 is a page that was thrown away and not yet written. */
		if (ret && ret != -EBUSY)
			race->wrong++;
		else if (!ret && value && value < before)
			race->wrong++;
		race->rounds++;
	}
	return NULL;
}

/* Runs @a beside two of @b, and returns how often something was wrong. */
static long race_run(struct race *race, void *(*a)(void *), void *(*b)(void *),
		     unsigned int seconds)
{
	pthread_t thread[3];

	pthread_create(&thread[0], NULL, a, race);
	pthread_create(&thread[1], NULL, b, race);
	pthread_create(&thread[2], NULL, b, race);
	sleep(seconds);
	race->stop = true;
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	pthread_join(thread[2], NULL);
	/* Had it no rounds, the race would show nothing. */
	return race->rounds ? (long)race->wrong : -1;
}

TEST_F_TIMEOUT(hmm_mirror, reads_never_go_back_while_pages_are_renewed, 60)
{
	struct race race = {
		.fd = self->fd, .map = memory(self->size), .page = self->page,
	};

	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(0, race_run(&race, renew, read_renewed, 3));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

/* Changes that leave the content as it is. */
static void *move(void *arg)
{
	struct race *race = arg;
	const size_t size = PAGES * race->page;
	unsigned int seed = 1;

	while (!race->stop) {
		pid_t pid;

		switch (rand_r(&seed) % 3) {
		case 0:
			madvise(race->map, size, MADV_PAGEOUT);
			break;
		case 1:
			mprotect(race->map, size, PROT_READ);
			mprotect(race->map, size, PROT_READ | PROT_WRITE);
			break;
		case 2:
			pid = fork();
			if (!pid)
				_exit(0);
			waitpid(pid, NULL, 0);
			break;
		}
	}
	return NULL;
}

/* Each thread has every other page, so that nobody else writes there. */
static void *write_moved(void *arg)
{
	static atomic_uint threads;
	struct race *race = arg;
	unsigned int first = threads++ % 2;
	__u64 value = 0;
	size_t i = first;

	while (!race->stop) {
		__u64 back;
		int ret;

		value++;
		ret = write_at(race->fd, slot(race, i), &value, sizeof(value));
		if (!ret) {
			if (__atomic_load_n(slot(race, i), __ATOMIC_ACQUIRE) !=
			    value)
				race->wrong++;
			ret = read_at(race->fd, slot(race, i), &back,
				      sizeof(back));
			if (!ret && back != value)
				race->wrong++;
		}
		/* Now and then the mapping is read-only. */
		if (ret && ret != -EPERM && ret != -EBUSY)
			race->wrong++;
		race->rounds++;
		i = (i + 2) % PAGES;
	}
	return NULL;
}

TEST_F_TIMEOUT(hmm_mirror, writes_are_not_lost_while_pages_move, 60)
{
	struct race race = {
		.fd = self->fd, .map = memory(self->size), .page = self->page,
	};

	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(0, race_run(&race, move, write_moved, 3));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

/* Random calls, half of their fields sensible. */

/*
 * Memory with nothing beside it: what goes too far, in this process or in its
 * child, must not reach what the test itself is made of.
 */
static char *lonely_memory(size_t size)
{
	char *map = mmap(NULL, 3 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);

	mprotect(map + size, size, PROT_READ | PROT_WRITE);
	return map + size;
}

static __u64 random_value(unsigned int *seed, const __u64 *sensible, size_t nr)
{
	__u64 value = rand_r(seed) | (__u64)rand_r(seed) << 32;

	switch (rand_r(seed) % 4) {
	case 0:
		return value;
	case 1:
		return value % (1 << 20);
	default:
		return sensible[value % nr];
	}
}

TEST_F_TIMEOUT(hmm_mirror, random_calls_do_no_harm, 60)
{
	static const unsigned long requests[] = {
		HMM_MIRROR_IOC_MAP, HMM_MIRROR_IOC_READ, HMM_MIRROR_IOC_WRITE,
		HMM_MIRROR_IOC_DUMP, HMM_MIRROR_IOC_STATS, HMM_MIRROR_IOC_BIND,
	};
	char *map = lonely_memory(self->size);
	char *scratch = lonely_memory(self->size);
	const __u64 addr = (uintptr_t)map;
	const __u64 sensible[] = {
		0, 1, 2, self->page, self->size, addr, addr + self->page,
		addr + self->size, addr - self->page, ~0ULL, -self->page,
		0x7ffffffff000, 0xffff800000000000,
	};
	const __u64 buffers[] = { (uintptr_t)scratch, 0, ABOVE };
	time_t end = time(NULL) + 2;
	unsigned int seed = 1;
	pid_t pid;

	memset(map, 1, self->size);
	pid = sleeper();
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, device_bind(self->fd, pid));
	while (time(NULL) < end) {
		union {
			struct hmm_mirror_map map;
			struct hmm_mirror_rw rw;
			struct hmm_mirror_dump dump;
			struct hmm_mirror_bind bind;
			struct hmm_mirror_stats stats;
			__u64 words[11];
		} arg = { };
		unsigned long request = requests[rand_r(&seed) %
						 ARRAY_SIZE(requests)];
		size_t i;

		for (i = 0; i < 4; i++)
			arg.words[i] = random_value(&seed, sensible,
						    ARRAY_SIZE(sensible));
		/* To go through terabytes takes longer than we have. */
		if (request == HMM_MIRROR_IOC_MAP && arg.map.len < ABOVE)
			arg.map.len %= 4 * HUGE_SIZE;
		/* The kernel writes to these: they must be nothing of ours. */
		if (request == HMM_MIRROR_IOC_READ ||
		    request == HMM_MIRROR_IOC_WRITE) {
			arg.rw.buf = buffers[rand_r(&seed) % 3];
			arg.rw.len %= self->size;
		} else if (request == HMM_MIRROR_IOC_DUMP) {
			arg.dump.entries = buffers[rand_r(&seed) % 3];
			arg.dump.capacity %= self->size /
					     sizeof(struct hmm_mirror_entry);
		}
		call(self->fd, request, &arg);
	}
	EXPECT_EQ(0, stale(self->fd, pid));
	EXPECT_LE(0, byte_at(self->fd, map));
	EXPECT_EQ(1, map[0]);
	reap(pid);
	EXPECT_EQ(0, entries_in(self->fd, NULL, ABOVE));
}

TEST_HARNESS_MAIN
