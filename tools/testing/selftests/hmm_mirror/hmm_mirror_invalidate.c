// SPDX-License-Identifier: GPL-2.0
/*
 * The device has all of the memory writable, then the CPU page table changes: what the
 * sample devices have has to follow. Whether it does is judged by /proc/PID/pagemap;
 * see verify.c of the samples.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fixture.h"
#include "proc.h"
#include "verify.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#endif

TEST_F(hmm_mirror, oracle_finds_entries_of_another_process_stale)
{
	struct verify verify = { };
	pid_t pid = sleeper();

	ASSERT_LT(0, pid);
	/* They get pages of their own. */
	memset(self->map, 2, self->size);
	ASSERT_EQ(0, map_write(self->fd, self->map, self->size));
	ASSERT_EQ(0, verify_context(self->fd, pid, &verify, NULL));
	EXPECT_EQ(PAGES, verify.stale);
	reap(pid);
}

/* The memory, in small pages, is mirrored and may be written by the device. */
static void set_up_mirrored(struct __test_metadata *_metadata,
			    FIXTURE_DATA(hmm_mirror) *self,
			    const FIXTURE_VARIANT(hmm_mirror) *variant)
{
	madvise(self->map, self->size, MADV_NOHUGEPAGE);
	memset(self->map, 1, self->size);
	ASSERT_EQ(0, map_write(self->fd, self->map, self->size));
	ASSERT_EQ(PAGES, writable_in(self->fd, self->map, self->size));
	ASSERT_EQ(0, stale(self->fd, getpid()));
}

/* Whatever the change was: what is in memory now can be mirrored. */
static void mirror_again(struct __test_metadata *_metadata,
			 FIXTURE_DATA(hmm_mirror) *self,
			 const FIXTURE_VARIANT(hmm_mirror) *variant)
{
	EXPECT_EQ(0, map_present(self->fd, self->map, self->size));
}

static hook *set_up = set_up_mirrored, *tear_down = mirror_again;

TEST_F(hmm_mirror, munmap_takes_out_what_was_unmapped)
{
	char *hole = self->map + 8 * self->page;

	munmap(hole, 8 * self->page);
	EXPECT_EQ(0, entries_in(self->fd, hole, 8 * self->page));
	EXPECT_EQ(PAGES - 8, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(-EFAULT, byte_at(self->fd, hole));
}

TEST_F(hmm_mirror, mprotect_takes_the_permission_to_write)
{
	char byte = 2;

	mprotect(self->map, self->size, PROT_READ);
	EXPECT_EQ(0, writable_in(self->fd, self->map, self->size));
	EXPECT_EQ(-EPERM, write_at(self->fd, self->map, &byte, 1));
	EXPECT_EQ(-EPERM, map_write(self->fd, self->map, self->size));
	EXPECT_EQ(1, self->map[0]);
	/* But it may be read. */
	EXPECT_EQ(1, byte_at(self->fd, self->map));
	EXPECT_EQ(0, map_read(self->fd, self->map, self->size));
	EXPECT_EQ(PAGES, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(0, writable_in(self->fd, self->map, self->size));
}

TEST_F(hmm_mirror, mprotect_takes_the_permission_to_read)
{
	char byte = 2;

	mprotect(self->map, self->size, PROT_NONE);
	EXPECT_EQ(0, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(-EFAULT, byte_at(self->fd, self->map));
	EXPECT_EQ(-EFAULT, write_at(self->fd, self->map, &byte, 1));
	EXPECT_EQ(-EFAULT, map_read(self->fd, self->map, self->size));
	EXPECT_EQ(-EFAULT, map_write(self->fd, self->map, self->size));
	EXPECT_EQ(0, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	mprotect(self->map, self->size, PROT_READ);
	EXPECT_EQ(1, byte_at(self->fd, self->map));
}

TEST_F(hmm_mirror, mremap_moves_the_pages)
{
	char *to = memory(self->size);

	ASSERT_EQ(to, mremap(self->map, self->size, self->size,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(0, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(-EFAULT, byte_at(self->fd, self->map));
	EXPECT_EQ(1, byte_at(self->fd, to));
}

TEST_F(hmm_mirror, madvise_dontneed_takes_the_pages_away)
{
	madvise(self->map, self->size, MADV_DONTNEED);
	EXPECT_EQ(0, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(0, byte_at(self->fd, self->map));
}

TEST_F(hmm_mirror, madvise_free_pages_may_go_at_any_time)
{
	madvise(self->map, self->size, MADV_FREE);
	EXPECT_EQ(0, stale(self->fd, getpid()));
	madvise(self->map, self->size, MADV_PAGEOUT);
}

TEST_F(hmm_mirror, madvise_guard_takes_the_pages_away)
{
	if (madvise(self->map, self->size / 2, MADV_GUARD_INSTALL))
		SKIP(return, "this kernel has no guard regions");
	EXPECT_EQ(PAGES / 2, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(-EFAULT, byte_at(self->fd, self->map));
}

TEST_F(hmm_mirror, pageout_takes_the_pages_away)
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
}

/* move_pages(2) for PAGES pages of this process, without libnuma. */
static long move_pages(void **addr, const int *nodes, int *status)
{
	return syscall(SYS_move_pages, 0, PAGES, addr, nodes, status, nodes ? MPOL_MF_MOVE : 0);
}

TEST_F(hmm_mirror, migration_moves_the_pages)
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
}

TEST_F(hmm_mirror, unrelated_changes_keep_the_entries)
{
	char *other = memory(self->size);

	memset(other, 1, self->size);
	mprotect(other, self->size, PROT_READ);
	munmap(other, self->size);
	EXPECT_EQ(PAGES, writable_in(self->fd, self->map, self->size));
}

TEST_F(hmm_mirror, what_a_file_loses_is_taken_away)
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

	ASSERT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       0, 8 * self->page));
	EXPECT_EQ(PAGES / 2 - 8, entries_in(self->fd, map, self->size));
	EXPECT_EQ(0, byte_at(self->fd, map));
	close(fd);
}

/* Huge pages */

TEST_F(hmm_mirror, collapse_into_a_huge_page_replaces_the_pages)
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
}

TEST_F(hmm_mirror, huge_page_is_read_and_written_all_over)
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
TEST_F(hmm_mirror, huge_page_takes_no_table)
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

TEST_F(hmm_mirror, change_of_a_part_splits_a_huge_page)
{
	char *huge = huge_memory(), byte = 2;

	if (!huge)
		SKIP(return, "no huge page to be had");
	ASSERT_EQ(0, map_write(self->fd, huge, HUGE_SIZE));
	mprotect(huge + 16 * self->page, 16 * self->page, PROT_READ);
	EXPECT_EQ(-EPERM, write_at(self->fd, huge + 16 * self->page, &byte, 1));
	EXPECT_EQ(0, write_at(self->fd, huge + 32 * self->page, &byte, 1));
	EXPECT_EQ(2, huge[32 * self->page]);
	ASSERT_EQ(0, stale(self->fd, getpid()));

	huge = huge_memory();
	if (!huge)
		SKIP(return, "one huge page is all there is");
	ASSERT_EQ(0, map_write(self->fd, huge, HUGE_SIZE));
	munmap(huge + 16 * self->page, 16 * self->page);
	EXPECT_EQ(0, entries_in(self->fd, huge + 16 * self->page, 16 * self->page));
	EXPECT_EQ(1, byte_at(self->fd, huge));
	EXPECT_EQ(1, byte_at(self->fd, huge + HUGE_SIZE - 1));
}

TEST_F(hmm_mirror, the_kernel_splits_a_huge_page)
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
	close(fd);
}

TEST_F(hmm_mirror, hugetlb_pages_come_and_go)
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

TEST_HARNESS_MAIN
