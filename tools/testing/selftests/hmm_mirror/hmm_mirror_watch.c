// SPDX-License-Identifier: GPL-2.0
/*
 * Who asks the kernel which pages of a process have been written, by soft-dirty bits or by
 * the asynchronous write-protection of userfaultfd(2), is told of those that the device has
 * written, and not of those that it has read; again and again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGES	16

#include "file.h"
#include "fixture.h"
#include "proc.h"

#define PAGEMAP_SOFT_DIRTY	PAGEMAP_BIT(55)
#define ROUNDS			3
#define BUSY_S			2
#define PATIENCE_S		20	/* until the device has written once */

/* What is watched, and by which means. */
struct watched {
	int fd;			/* the device */
	char *map;		/* PAGES pages */
	size_t page;
	int uffd;		/* -1: soft-dirty bits */
	int pagemap;
	bool writing;		/* the thread goes on */
};

/* Nothing it could be merged with lies beside it: that would be soft-dirty all over. */
static bool watch(TEST_ARGS, struct watched *w, int file)
{
	char *room = mmap(NULL, self->size + 2 * self->page, PROT_NONE, MAP_PRIVATE |
			  MAP_ANONYMOUS, -1, 0);

	*w = (struct watched){
		.fd = self->fd, .map = room + self->page, .page = self->page, .uffd = -1,
	};
	if (file < 0) {
		mprotect(w->map, self->size, PROT_READ | PROT_WRITE);
		madvise(w->map, self->size, MADV_NOHUGEPAGE);
	} else if (ftruncate(file, self->size) ||
		   mmap(w->map, self->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			file, 0) != w->map) {
		return false;
	}
	memset(w->map, 'm', self->size);
	w->pagemap = pagemap_open(getpid());
	return w->pagemap >= 0;
}

static bool by_write_protection(struct watched *w)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	struct uffdio_register area = {
		.range = { .start = (uintptr_t)w->map, .len = PAGES * w->page },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	w->uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return w->uffd >= 0 && !ioctl(w->uffd, UFFDIO_API, &api) &&
	       !ioctl(w->uffd, UFFDIO_REGISTER, &area);
}

/* Which pages were written, as text; from here on with @begin. */
static int scan(struct watched *w, bool begin, char *text)
{
	struct page_region regions[PAGES];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)w->map,
		.end = (uintptr_t)w->map + PAGES * w->page,
		.vec = (uintptr_t)regions,
		.vec_len = PAGES,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
		.flags = begin ? PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC : 0,
	};
	int i, nr = ioctl(w->pagemap, PAGEMAP_SCAN, &arg);
	__u64 at;

	for (i = 0; i < nr; i++)
		for (at = regions[i].start; at < regions[i].end; at += w->page)
			text[(at - arg.start) / w->page] = 'x';
	return nr < 0 ? -errno : 0;
}

static int begin(struct watched *w)
{
	char text[PAGES];

	if (w->uffd < 0)
		return write_file("/proc/self/clear_refs", "4");
	return scan(w, true, text);
}

/* An x for each page that was written since begin(). */
static const char *written(struct watched *w)
{
	static char text[PAGES + 1];
	__u64 words[PAGES];
	int i, ret;

	memset(text, '.', PAGES);
	if (w->uffd >= 0) {
		ret = scan(w, false, text);
	} else {
		ret = pagemap_read(w->pagemap, (uintptr_t)w->map, words, PAGES);
		for (i = 0; !ret && i < PAGES; i++)
			if (words[i] & PAGEMAP_SOFT_DIRTY)
				text[i] = 'x';
	}
	return ret ? "error" : text;
}

static void expect_watched(TEST_ARGS, struct watched *w)
{
	const size_t page = w->page;
	char *map = w->map;
	int i;

	ASSERT_EQ(0, map_write(w->fd, map, self->size));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, begin(w));
		EXPECT_STREQ("................", written(w));
		EXPECT_EQ('m', byte_at(w->fd, map + 2 * page));
		EXPECT_EQ(0, map_read(w->fd, map, self->size));
		EXPECT_STREQ("................", written(w));
		EXPECT_EQ(0, write_at(w->fd, map + 5 * page - 1, "dd", 2));
		map[7 * page] = 'c';
		EXPECT_STREQ("....xx.x........", written(w));
		EXPECT_EQ(0, write_at(w->fd, map + 4 * page, "e", 1));
		EXPECT_STREQ("....xx.x........", written(w));

		/* The same page in the next round. */
		ASSERT_EQ(0, begin(w));
		EXPECT_EQ(0, stale(w->fd, getpid()));
		EXPECT_EQ(0, write_at(w->fd, map + 4 * page, "f", 1));
		EXPECT_STREQ("....x...........", written(w));
	}
}

/* What is swapped out and in meanwhile is known as before. */
static void expect_watched_in_swap(TEST_ARGS, struct watched *w)
{
	__u64 word;

	ASSERT_EQ(0, begin(w));
	EXPECT_EQ(0, write_at(w->fd, w->map + 9 * w->page, "s", 1));
	madvise(w->map, self->size, MADV_PAGEOUT);
	ASSERT_EQ(0, pagemap_read(w->pagemap, (uintptr_t)w->map + 2 * w->page, &word, 1));
	if (word & PAGEMAP_PRESENT)
		TH_LOG("nothing was paged out: is there swap?");
	EXPECT_STREQ(".........x......", written(w));
	EXPECT_EQ('m', byte_at(w->fd, w->map + 2 * w->page));
	EXPECT_EQ(0, write_at(w->fd, w->map + 10 * w->page, "s", 1));
	EXPECT_STREQ(".........xx.....", written(w));
}

static void *write_on(void *arg)
{
	struct watched *w = arg;
	__u64 number = 0;

	while (__atomic_load_n(&w->writing, __ATOMIC_RELAXED)) {
		number++;
		if (write_at(w->fd, w->map + 11 * w->page, &number, sizeof(number)))
			return "a write failed";
	}
	return NULL;
}

/* While the device writes all the time, no page changes between two looks unseen. */
static void expect_no_write_unseen(TEST_ARGS, struct watched *w)
{
	const __u64 *number = (__u64 *)(w->map + 11 * w->page);
	time_t now = time(NULL), end = now + BUSY_S, patience = now + PATIENCE_S;
	int seen = 0, unseen = 0;
	pthread_t thread;
	void *failure;

	w->writing = true;
	ASSERT_EQ(0, pthread_create(&thread, NULL, write_on, w));
	for (; now < end || (!seen && now < patience); now = time(NULL)) {
		__u64 before, after;

		ASSERT_EQ(0, begin(w));
		before = __atomic_load_n(number, __ATOMIC_RELAXED);
		sched_yield();
		after = __atomic_load_n(number, __ATOMIC_RELAXED);
		if (before == after)
			continue;
		if (written(w)[11] == 'x')
			seen++;
		else
			unseen++;
	}
	__atomic_store_n(&w->writing, false, __ATOMIC_RELAXED);
	pthread_join(thread, &failure);
	EXPECT_EQ(NULL, failure);
	EXPECT_EQ(0, unseen);
	EXPECT_LT(0, seen);
}

static bool soft_dirty_bits_are_kept(struct watched *w)
{
	if (begin(w))
		return false;
	w->map[0] = 'c';
	return !strcmp(written(w), "x...............");
}

TEST_F(hmm_mirror, soft_dirty_is_what_the_device_has_written)
{
	struct watched w;

	ASSERT_TRUE(watch(_metadata, self, &w, -1));
	if (!soft_dirty_bits_are_kept(&w))
		SKIP(return, "this kernel has no soft-dirty bits");
	expect_watched(_metadata, self, &w);
	expect_watched_in_swap(_metadata, self, &w);
	expect_no_write_unseen(_metadata, self, &w);
}

/* Without swap: reclaim forgets that a page of a file was soft-dirty. */
TEST_F(hmm_mirror, soft_dirty_is_what_the_device_has_written_of_a_file)
{
	struct watched w;

	ASSERT_TRUE(watch(_metadata, self, &w, memfd_create("file", MFD_CLOEXEC)));
	if (!soft_dirty_bits_are_kept(&w))
		SKIP(return, "this kernel has no soft-dirty bits");
	expect_watched(_metadata, self, &w);
	expect_no_write_unseen(_metadata, self, &w);
}

TEST_F(hmm_mirror, write_protection_tells_what_the_device_has_written)
{
	struct watched w;

	ASSERT_TRUE(watch(_metadata, self, &w, -1));
	if (!by_write_protection(&w))
		SKIP(return, "no asynchronous write-protection");
	expect_watched(_metadata, self, &w);
	expect_watched_in_swap(_metadata, self, &w);
	expect_no_write_unseen(_metadata, self, &w);
}

TEST_F(hmm_mirror, write_protection_tells_what_the_device_has_written_of_a_file)
{
	struct watched w;

	ASSERT_TRUE(watch(_metadata, self, &w, memfd_create("file", MFD_CLOEXEC)));
	if (!by_write_protection(&w))
		SKIP(return, "no asynchronous write-protection of files");
	expect_watched(_metadata, self, &w);
	expect_watched_in_swap(_metadata, self, &w);
	expect_no_write_unseen(_metadata, self, &w);
}

TEST_HARNESS_MAIN
