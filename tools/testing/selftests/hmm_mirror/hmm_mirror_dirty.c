// SPDX-License-Identifier: GPL-2.0
/*
 * Tests that what a device has written is not lost: nobody but its driver knows of it,
 * and the kernel may drop a page that is clean.
 *
 * In each of them the CPU's entry is writable and clean, so that the device gets a
 * writable entry without a fault that would make the page dirty.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "fixture.h"
#include "proc.h"

#define CPU	'c'
#define DEVICE	'd'

/* The number of pages in memory, or a negative errno value. */
static long present(const char *map)
{
	__u64 pagemap[PAGES];
	int fd = pagemap_open(getpid()), ret;
	long i, nr = 0;

	if (fd < 0)
		return fd;
	ret = pagemap_read(fd, (uintptr_t)map, pagemap, PAGES);
	close(fd);
	for (i = 0; i < PAGES; i++)
		nr += !!(pagemap[i] & PAGEMAP_PRESENT);
	return ret ? ret : nr;
}

static void fill(FIXTURE_DATA(hmm_mirror) *self, char *map)
{
	size_t i;

	for (i = 0; i < PAGES; i++)
		map[i * self->page] = CPU;
}

/* How many pages begin with @byte. */
static long count(FIXTURE_DATA(hmm_mirror) *self, const char *map, char byte)
{
	long nr = 0;
	size_t i;

	for (i = 0; i < PAGES; i++)
		nr += map[i * self->page] == byte;
	return nr;
}

static int device_writes(FIXTURE_DATA(hmm_mirror) *self, char *map)
{
	int ret = 0;
	size_t i;

	for (i = 0; !ret && i < PAGES; i++)
		ret = write_at(self->fd, map + i * self->page, &(char){ DEVICE }, 1);
	return ret;
}

/*
 * The device gets entries for what is there, which are writable, and writes through
 * them.  Then the pages are paged out, and read back.
 */
static void write_and_page_out(struct __test_metadata *_metadata,
			       FIXTURE_DATA(hmm_mirror) *self, char *map)
{
	struct hmm_mirror_stats before, after;

	ASSERT_EQ(0, map_present(self->fd, map, self->size));
	ASSERT_EQ(PAGES, writable_in(self->fd, map, self->size));
	ASSERT_EQ(0, device_stats(self->fd, &before));
	ASSERT_EQ(0, device_writes(self, map));
	ASSERT_EQ(0, device_stats(self->fd, &after));
	/* A few may have been taken away meanwhile, by whoever moves pages */
	EXPECT_GE(PAGES / 8, after.faults - before.faults);

	/* The first time a page that MADV_FREE was called for is kept, if it is dirty */
	ASSERT_EQ(0, madvise(map, self->size, MADV_PAGEOUT));
	/* A few may be on their way to the list that reclaim takes them from */
	EXPECT_GE(PAGES / 2, entries_in(self->fd, map, self->size));
	ASSERT_EQ(0, madvise(map, self->size, MADV_PAGEOUT));
	EXPECT_GE(PAGES / 2, present(map));
	EXPECT_EQ(PAGES, count(self, map, DEVICE));
}

static bool has_swap(void)
{
	char line[128];
	FILE *file = fopen("/proc/swaps", "re");
	int lines = 0;

	while (file && fgets(line, sizeof(line), file))
		lines++;
	if (file)
		fclose(file);
	return lines > 1;
}

TEST_F(hmm_mirror, what_is_written_after_madvise_free_stays)
{
	if (!has_swap())
		SKIP(return, "there is no swap");
	fill(self, self->map);
	ASSERT_EQ(0, madvise(self->map, self->size, MADV_FREE));
	write_and_page_out(_metadata, self, self->map);
}

/* Without that the above would show nothing */
TEST_F(hmm_mirror, what_nobody_writes_after_madvise_free_goes)
{
	if (!has_swap())
		SKIP(return, "there is no swap");
	fill(self, self->map);
	ASSERT_EQ(0, madvise(self->map, self->size, MADV_FREE));
	ASSERT_EQ(0, madvise(self->map, self->size, MADV_PAGEOUT));
	EXPECT_LE(PAGES / 2, count(self, self->map, 0));
}

/* The page that was read back is still in swap as well, as it was before */
TEST_F(hmm_mirror, what_is_written_after_swap_in_stays)
{
	if (!has_swap())
		SKIP(return, "there is no swap");
	fill(self, self->map);
	ASSERT_EQ(0, madvise(self->map, self->size, MADV_PAGEOUT));
	EXPECT_GE(PAGES / 2, present(self->map));
	ASSERT_EQ(PAGES, count(self, self->map, CPU));
	write_and_page_out(_metadata, self, self->map);
}

/* A hole that was only read is writable, and is a hole again once it is dropped */
TEST_F(hmm_mirror, what_is_written_to_a_hole_of_tmpfs_stays)
{
	int fd = memfd_create("hole", MFD_CLOEXEC);
	char *map;

	if (!has_swap())
		SKIP(return, "there is no swap");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, self->size));
	map = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)map);
	ASSERT_EQ(PAGES, count(self, map, 0));
	write_and_page_out(_metadata, self, map);
	munmap(map, self->size);
	close(fd);
}

/* A file system with a disk, in a file */

#define DISK_SIZE	(8 << 20)
#define BLOCK		1024	/* some to a page */

struct disk {
	char image[32];
	char place[32];
	char file[48];
	char loop[32];	/* empty when there is none */
	int image_fd;
};

/* Returns why there is none, or NULL. */
static const char *disk_attach(struct disk *disk)
{
	int control, fd, nr, ret;

	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		return "there are no loop devices";
	nr = ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	snprintf(disk->loop, sizeof(disk->loop), "/dev/loop%d", nr);
	fd = open(disk->loop, O_RDWR | O_CLOEXEC);
	ret = ioctl(fd, LOOP_SET_FD, disk->image_fd);
	/* Who has it open for writing may keep it from being mounted */
	close(fd);
	if (!ret)
		return NULL;
	*disk->loop = 0;
	return "there is no free loop device";
}

static const char *disk_mount(struct disk *disk)
{
	const char *why;
	char cmd[256];

	memset(disk, 0, sizeof(*disk));
	strcpy(disk->image, "/tmp/hmm_mirror.XXXXXX");
	disk->image_fd = mkstemp(disk->image);
	if (disk->image_fd < 0 || ftruncate(disk->image_fd, DISK_SIZE))
		return "no file for a disk";
	snprintf(cmd, sizeof(cmd), "PATH=$PATH:/sbin:/usr/sbin; "
		 "{ mke2fs -F -b %d %s || busybox mke2fs -F -b %d %s; } >/dev/null 2>&1",
		 BLOCK, disk->image, BLOCK, disk->image);
	if (system(cmd))
		return "there is no mke2fs";
	why = disk_attach(disk);
	if (why)
		return why;
	strcpy(disk->place, "/tmp/hmm_mirror.XXXXXX");
	if (!mkdtemp(disk->place))
		return "no place to mount it";
	snprintf(disk->file, sizeof(disk->file), "%s/file", disk->place);
	return mount(disk->loop, disk->place, "ext4", 0, NULL) ? "there is no ext4" : NULL;
}

static void disk_umount(struct disk *disk)
{
	int fd;

	umount(disk->place);
	rmdir(disk->place);
	if (*disk->loop) {
		fd = open(disk->loop, O_RDONLY | O_CLOEXEC);
		ioctl(fd, LOOP_CLR_FD);
		close(fd);
	}
	close(disk->image_fd);
	unlink(disk->image);
}

/* How many blocks begin with @text, wherever they are. */
static long count_on_disk(struct disk *disk, const char *text)
{
	char block[BLOCK];
	long nr = 0;
	off_t at;

	for (at = 0; at < DISK_SIZE; at += BLOCK) {
		if (pread(disk->image_fd, block, BLOCK, at) != BLOCK)
			return -errno;
		nr += !strncmp(block, text, strlen(text));
	}
	return nr;
}

static int write_text(FIXTURE_DATA(hmm_mirror) *self, char *addr, const char *text)
{
	return write_at(self->fd, addr, text, strlen(text));
}

/*
 * The CPU page table says what is clean: the device gets no writable entry for that, and
 * loses the one it had when the page is written back.  So there is a fault before each
 * first write, by which the file system learns of it.
 */
TEST_F(hmm_mirror, what_is_written_to_a_file_gets_to_the_disk)
{
	struct hmm_mirror_stats before, after;
	struct disk disk;
	const char *why = disk_mount(&disk);
	char *map;
	int fd, i;

	if (why) {
		disk_umount(&disk);
		SKIP(return, "%s", why);
	}
	fd = open(disk.file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(self->size, write(fd, self->map, self->size));
	ASSERT_EQ(0, fsync(fd));
	map = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)map);

	/* Clean: to read only */
	ASSERT_EQ(0, map_read(self->fd, map, self->size));
	EXPECT_EQ(PAGES, entries_in(self->fd, map, self->size));
	EXPECT_EQ(0, writable_in(self->fd, map, self->size));

	ASSERT_EQ(0, device_stats(self->fd, &before));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, write_text(self, map + i * self->page, "once by the device"));
	ASSERT_EQ(0, device_stats(self->fd, &after));
	EXPECT_EQ(PAGES, after.faults - before.faults);
	EXPECT_EQ(PAGES, writable_in(self->fd, map, self->size));
	EXPECT_EQ(0, count_on_disk(&disk, "once by the device"));

	/* Written back, and clean again */
	ASSERT_EQ(0, fsync(fd));
	EXPECT_EQ(0, writable_in(self->fd, map, self->size));
	EXPECT_EQ(PAGES, count_on_disk(&disk, "once by the device"));
	EXPECT_EQ(0, stale(self->fd, getpid()));

	/* And again: one fault, two writes */
	ASSERT_EQ(0, device_stats(self->fd, &before));
	ASSERT_EQ(0, write_text(self, map, "twice"));
	ASSERT_EQ(0, write_text(self, map, "three times"));
	ASSERT_EQ(0, device_stats(self->fd, &after));
	EXPECT_EQ(1, after.faults - before.faults);
	ASSERT_EQ(0, msync(map, self->size, MS_SYNC));
	EXPECT_EQ(0, writable_in(self->fd, map, self->size));
	EXPECT_EQ(1, count_on_disk(&disk, "three times"));
	EXPECT_EQ(PAGES - 1, count_on_disk(&disk, "once by the device"));

	/* Nor is it lost when it is unmapped before it is written back */
	ASSERT_EQ(0, write_text(self, map, "at last"));
	munmap(map, self->size);
	ASSERT_EQ(0, fsync(fd));
	EXPECT_EQ(1, count_on_disk(&disk, "at last"));

	close(fd);
	disk_umount(&disk);
}

TEST_HARNESS_MAIN
