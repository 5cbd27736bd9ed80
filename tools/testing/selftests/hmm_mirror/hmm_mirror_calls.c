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
#include <sys/wait.h>
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
		HMM_MIRROR_IOC_BIND, HMM_MIRROR_IOC_MAP, HMM_MIRROR_IOC_READ,
		HMM_MIRROR_IOC_WRITE, HMM_MIRROR_IOC_DUMP, HMM_MIRROR_IOC_STATS,
		HMM_MIRROR_IOC_ADD,
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
		{ .addr = addr, .len = page, .flags = 8 },
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
	double begun;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		device_map(self->fd, 0, 1UL << 46, HMM_MIRROR_MAP_PRESENT, NULL);
		_exit(1);
	}
	usleep(200000);
	begun = seconds();
	reap(pid);
	EXPECT_GE(5, seconds() - begun);
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

	if (make_cgroup(cgroup, sizeof(cgroup)))
		SKIP(return, "no memory controller of cgroup v2");
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", cgroup);
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

TEST_F(hmm_mirror, dump_of_a_bad_range_or_to_a_bad_array_is_refused)
{
	struct hmm_mirror_dump dump = {
		.start = 8192, .end = 4096, .entries = ABOVE, .capacity = 4,
	};

	EXPECT_EQ(-EINVAL, call(self->fd, HMM_MIRROR_IOC_DUMP, &dump));
	dump.start = 0;
	dump.capacity = 0;
	EXPECT_EQ(-EINVAL, call(self->fd, HMM_MIRROR_IOC_DUMP, &dump));
	/* Nor is there such an array. */
	ASSERT_EQ(0, map_write(self->fd, self->map, self->size));
	dump.end = ~0ULL;
	dump.capacity = 4;
	EXPECT_EQ(-EFAULT, call(self->fd, HMM_MIRROR_IOC_DUMP, &dump));
}

/* At most so many entries as there is room for, and 512. */
TEST_F(hmm_mirror, dump_goes_on_where_it_stopped)
{
	static const __u32 capacities[] = { 1, 7, 512, ~0U };
	const size_t pages = 600;
	char *map = memory(pages * self->page);
	struct entries entries = { };
	size_t i;

	memset(map, 1, pages * self->page);
	ASSERT_EQ(0, map_write(self->fd, map, pages * self->page));
	/* Something far away, too. */
	ASSERT_EQ(0, byte_at(self->fd, (char *)&entries));
	ASSERT_EQ(0, device_dump(self->fd, 0, ~0ULL, &entries));
	ASSERT_EQ(pages + 1, entries.nr);

	for (i = 0; i < ARRAY_SIZE(capacities); i++) {
		struct hmm_mirror_entry entry[513] = { };
		struct hmm_mirror_dump dump = {
			.end = ~0ULL, .entries = (uintptr_t)entry,
			.capacity = capacities[i],
		};
		size_t nr = 0;

		do {
			ASSERT_EQ(0, call(self->fd, HMM_MIRROR_IOC_DUMP, &dump));
			ASSERT_GE(512, dump.count);
			ASSERT_GE(capacities[i], dump.count);
			ASSERT_LE(nr + dump.count, entries.nr);
			EXPECT_EQ(0, memcmp(entry, entries.entry + nr,
					    dump.count * sizeof(*entry)));
			nr += dump.count;
		} while (dump.start != dump.end);
		EXPECT_EQ(entries.nr, nr);
		EXPECT_EQ(0, entry[512].addr);
	}

	/* And of its range only */
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

TEST_HARNESS_MAIN
