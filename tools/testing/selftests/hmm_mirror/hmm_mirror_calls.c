// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls of the sample devices, but for BIND, READ and WRITE: what they do, what
 * they refuse, and by which error.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "fixture.h"

/* Arguments */

TEST_F(hmm_mirror, unknown_ioctls_are_ENOTTY)
{
	char arg[256] = { };

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

	for (i = 0; i < ARRAY_SIZE(requests); i++)
		EXPECT_EQ(-EFAULT, call(self->fd, requests[i], NULL)) {
			TH_LOG("request %#lx", requests[i]);
		}
}

/* MAP */

TEST_F(hmm_mirror, map_of_a_bad_range_is_EINVAL)
{
	char *map = self->map;
	const __u64 addr = (uintptr_t)map, page = self->page;
	const struct hmm_mirror_map bad[] = {
		{ .addr = addr + 1, .len = page },
		{ .addr = addr, .len = page + 1 },
		{ .addr = addr, .len = 0 },
		{ .addr = addr, .len = -page },
		{ .addr = 0, .len = -page },
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

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct hmm_mirror_map arg = bad[i];

		EXPECT_EQ(-EINVAL, call(self->fd, HMM_MIRROR_IOC_MAP, &arg)) {
			TH_LOG("case %zu", i);
		}
	}
	EXPECT_EQ(0, entries_in(self->fd, NULL, ABOVE));
}

TEST_F(hmm_mirror, map_stops_at_a_hole_with_EFAULT)
{
	char *map = self->map;
	__u64 pages;

	munmap(map + 5 * self->page, self->page);
	EXPECT_EQ(-EFAULT, device_map(self->fd, (uintptr_t)map, self->size, 0, &pages));
	EXPECT_GE(5, pages);
	EXPECT_EQ(pages, entries_in(self->fd, map, self->size));
}

TEST_F(hmm_mirror, map_present_takes_what_is_there_and_no_more)
{
	char *map = self->map;
	__u64 pages;
	size_t i;

	for (i = 0; i < PAGES; i += 3)
		map[i * self->page] = 1;
	munmap(map + 4 * self->page, self->page);
	EXPECT_EQ(0, device_map(self->fd, (uintptr_t)map, self->size,
				HMM_MIRROR_MAP_PRESENT, &pages));
	EXPECT_EQ((PAGES + 2) / 3, pages);
	EXPECT_EQ((PAGES + 2) / 3, entries_in(self->fd, map, self->size));
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
	EXPECT_EQ(0, device_map(self->fd, (uintptr_t)map, size,
				HMM_MIRROR_MAP_PRESENT, &pages));
	EXPECT_EQ(3, pages);
	EXPECT_EQ(3, entries_in(self->fd, map, size));
}

/* It takes long to find that there is nothing in most of an address space. */
TEST_F(hmm_mirror, a_gigantic_snapshot_can_be_killed)
{
	struct timespec begun, ended;
	pid_t pid;

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
	const size_t regions = 256;	/* few more pages are not seen at once in statistics */
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
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (write_file(procs, "0"))
			_exit(1);
		before = kernel_memory(cgroup);
		for (i = 0; i < regions; i++)
			if (map_read(self->fd, map + i * HUGE_SIZE, self->page))
				_exit(2);
		after = kernel_memory(cgroup);
		TH_LOG("%ld bytes for %zu tables", after - before, regions);
		/* A page for each */
		_exit(after - before >= (long)((regions - 4) * self->page) ? 0 : 3);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	rmdir(cgroup);
}

/* DUMP and STATS */

TEST_F(hmm_mirror, dump_of_a_bad_range_is_EINVAL)
{
	struct hmm_mirror_entry entry[4];
	struct hmm_mirror_dump dump = {
		.start = 8192, .end = 4096, .entries = (uintptr_t)entry,
		.capacity = 4,
	};

	EXPECT_EQ(-EINVAL, call(self->fd, HMM_MIRROR_IOC_DUMP, &dump));
	dump.start = 0;
	dump.capacity = 0;
	EXPECT_EQ(-EINVAL, call(self->fd, HMM_MIRROR_IOC_DUMP, &dump));
}

TEST_F(hmm_mirror, dump_to_a_bad_array_is_EFAULT)
{
	char *map = self->map;
	struct hmm_mirror_dump dump = {
		.end = ~0ULL, .entries = ABOVE, .capacity = 4,
	};

	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	EXPECT_EQ(-EFAULT, call(self->fd, HMM_MIRROR_IOC_DUMP, &dump));
}

TEST_F(hmm_mirror, dump_goes_on_where_it_stopped)
{
	static const __u32 capacities[] = { 1, 7, 1000 };
	char *map = self->map;
	struct entries entries = { };
	size_t i;

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

TEST_F(hmm_mirror, dump_returns_512_entries_at_most)
{
	struct hmm_mirror_entry entry[513] = { };
	struct hmm_mirror_dump dump = {
		.end = ~0ULL,
		.entries = (uintptr_t)entry,
		.capacity = ~0U,
	};
	char *map = memory(3 * HUGE_SIZE);

	memset(map, 1, 3 * HUGE_SIZE);
	ASSERT_EQ(0, map_write(self->fd, map, 3 * HUGE_SIZE));
	ASSERT_EQ(0, call(self->fd, HMM_MIRROR_IOC_DUMP, &dump));
	EXPECT_EQ(512, dump.count);
	EXPECT_EQ(0, entry[512].addr);
}

TEST_F(hmm_mirror, dump_shows_its_range_only)
{
	char *map = self->map;
	struct entries entries = { };

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
	char *map = self->map, buffer[100] = { };
	struct hmm_mirror_stats stats;
	__u64 tables;

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
	int fd = device_open(variant->device);
	unsigned int seed = 1;
	pid_t pid;

	memset(map, 1, self->size);
	pid = sleeper();
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, device_bind(fd, pid));
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
		call(fd, request, &arg);
	}
	EXPECT_EQ(0, stale(fd, pid));
	EXPECT_LE(0, byte_at(fd, map));
	EXPECT_EQ(1, map[0]);
	reap(pid);
	EXPECT_EQ(0, entries_in(fd, NULL, ABOVE));
	close(fd);
}

TEST_HARNESS_MAIN
