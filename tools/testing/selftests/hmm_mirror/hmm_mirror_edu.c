// SPDX-License-Identifier: GPL-2.0
/*
 * The PCI device edu reads and writes the memory of a process by DMA, whatever becomes of
 * that memory, of the process, or of the device meanwhile.
 *
 * Half of the judgement is not here, but in the kernel's log: an IOMMU says there what the
 * device should not have reached, and iommu.debug_pagealloc which page was freed while an
 * IOMMU still led to it.  So this is meant for such a machine, see harness/check/iommu, and for
 * a kernel whose log is looked at.
 *
 * A transfer takes 100 ms, and READ and WRITE make two for each page: READ that of the page
 * first, WRITE last.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "context.h"
#include "file.h"
#include "proc.h"
#include "reap.h"

#define EDU_PAGES	8
#define PCI_COMMAND	4
#define PCI_MEMORY	0x2
#define PCI_MASTER	0x4
#define MIDDLE		50000	/* microseconds: half of a transfer */

FIXTURE(edu)
{
	int fd;
	size_t page;
	size_t size;		/* of EDU_PAGES */
	char *map;		/* as much memory */
	char pci[PATH_MAX];	/* the device, in sysfs */
};

FIXTURE_VARIANT(edu)
{
	const char *device;
	const char *driver;
};

FIXTURE_VARIANT_ADD(edu, c)
{
	.device = DEVICE_EDU_C,
	.driver = "hmm_mirror_edu_c",
};

FIXTURE_VARIANT_ADD(edu, rust)
{
	.device = DEVICE_EDU_RUST,
	.driver = "hmm_mirror_edu_rust",
};

#define TEST_ARGS	struct __test_metadata *_metadata, FIXTURE_DATA(edu) *self

FIXTURE_SETUP(edu)
{
	const char *why = device_unusable(variant->device);
	char link[PATH_MAX];

	if (why)
		SKIP(return, "%s: %s", variant->device, why);
	snprintf(link, sizeof(link), "/sys/class/misc/%s/device", variant->driver);
	ASSERT_NE(NULL, realpath(link, self->pci));
	self->page = sysconf(_SC_PAGESIZE);
	self->size = EDU_PAGES * self->page;
	self->map = memory(self->size);
	ASSERT_NE(MAP_FAILED, (void *)self->map);
	self->fd = device_open(variant->device);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, bind_self(self->fd));
}

/*
 * Pages that were unmapped may be on a list for a while, of those that are new, and are
 * freed when that has its turn: here.  Only then does iommu.debug_pagealloc look at them.
 */
static void free_unmapped(void)
{
	void *page = memory(1);
	int node = 0, status;

	*(char *)page = 1;
	syscall(SYS_move_pages, 0, 1, &page, &node, &status, 2 /* MPOL_MF_MOVE */);
}

FIXTURE_TEARDOWN(edu)
{
	long ret;

	if (self->fd < 0)
		return;
	/* The frames that the IOMMU leads to, and those of the process */
	ret = stale(self->fd, getpid());
	EXPECT_TRUE(!ret || ret == -ENODEV);
	/* While the device has its mirror still, and so what that has left mapped */
	munmap(self->map, self->size);
	free_unmapped();
	close(self->fd);
}

/* An access by another thread, which is in progress when begin() has returned */
struct access {
	int fd;
	char *addr;
	char *buf;
	size_t len;
	bool write;
	bool map;		/* at first, when what begins a thread changes nothing any more */
	int ret;
	size_t done;
	pthread_t thread;
};

static void *access_run(void *data)
{
	struct access *a = data;

	if (a->map)
		map_write(a->fd, a->addr, a->len);
	a->ret = a->write ?
		device_write(a->fd, (uintptr_t)a->addr, a->buf, a->len, &a->done) :
		device_read(a->fd, (uintptr_t)a->addr, a->buf, a->len, &a->done);
	return NULL;
}

/* To the middle of the transfer of its first page */
static void begin(struct access *a)
{
	pthread_create(&a->thread, NULL, access_run, a);
	usleep(a->write ? 3 * MIDDLE : MIDDLE);
}

static int end(struct access *a)
{
	pthread_join(a->thread, NULL);
	return a->ret;
}

static void fill(char *at, size_t len, unsigned int seed)
{
	while (len--)
		*at++ = rand_r(&seed) >> 8;
}

static bool is_filled(const char *at, size_t len, unsigned int seed)
{
	while (len--)
		if (*at++ != (char)(rand_r(&seed) >> 8))
			return false;
	return true;
}

/* Every byte, both ways, of as much as is good in time */
static void data_is_right(TEST_ARGS, char *map, size_t len)
{
	char *copy = malloc(len);

	fill(map, len, 1);
	ASSERT_EQ(0, read_at(self->fd, map, copy, len));
	EXPECT_TRUE(is_filled(copy, len, 1));
	fill(copy, len, 2);
	ASSERT_EQ(0, write_at(self->fd, map, copy, len));
	EXPECT_TRUE(is_filled(map, len, 2));
	free(copy);
}

TEST_F(edu, data_is_right)
{
	struct hmm_mirror_stats before, after;

	ASSERT_EQ(0, device_stats(self->fd, &before));
	data_is_right(_metadata, self, self->map, 3 * self->page);
	ASSERT_EQ(0, device_stats(self->fd, &after));
	EXPECT_EQ(6, after.accesses - before.accesses);
	EXPECT_EQ(3 * self->page, after.read_bytes - before.read_bytes);
	EXPECT_EQ(3 * self->page, after.written_bytes - before.written_bytes);
	EXPECT_EQ(3, entries_in(self->fd, self->map, self->size));
}

TEST_F(edu, data_is_right_in_parts_of_pages)
{
	char *map = self->map, copy[3000];

	fill(map, self->size, 1);
	ASSERT_EQ(0, read_at(self->fd, map + self->page - 1000, copy, sizeof(copy)));
	EXPECT_EQ(0, memcmp(copy, map + self->page - 1000, sizeof(copy)));
	ASSERT_EQ(0, write_at(self->fd, map + 1, "x", 1));
	EXPECT_EQ('x', map[1]);
	map[1] = 0;
	fill(copy, 2, 1);
	map[0] = copy[0];
	map[1] = copy[1];
	EXPECT_TRUE(is_filled(map, self->size, 1));
}

TEST_F(edu, data_is_right_across_leaves)
{
	char *map = memory(2 * HUGE_SIZE);
	char *middle = (char *)(((uintptr_t)map + HUGE_SIZE) & -HUGE_SIZE);

	data_is_right(_metadata, self, middle - self->page / 2, self->page);
	munmap(map, 2 * HUGE_SIZE);
	EXPECT_EQ(0, entries_in(self->fd, map, 2 * HUGE_SIZE));
}

TEST_F(edu, map_fills_in_what_read_finds)
{
	struct hmm_mirror_stats before, after;
	char copy[2];

	EXPECT_EQ(0, map_present(self->fd, self->map, self->size));
	EXPECT_EQ(0, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(0, map_write(self->fd, self->map, self->size));
	EXPECT_EQ(EDU_PAGES, writable_in(self->fd, self->map, self->size));
	ASSERT_EQ(0, device_stats(self->fd, &before));
	ASSERT_EQ(0, read_at(self->fd, self->map, copy, sizeof(copy)));
	ASSERT_EQ(0, device_stats(self->fd, &after));
	EXPECT_EQ(before.faults, after.faults);
	EXPECT_EQ(EDU_PAGES, after.pages);
	EXPECT_LE(1, after.tables);
}

/* What is mapped for reading must be mapped anew to be written to */
TEST_F(edu, the_zero_page_is_never_written)
{
	char *other = memory(self->page);

	madvise(self->map, self->size, MADV_NOHUGEPAGE);
	EXPECT_EQ(0, byte_at(self->fd, self->map));
	EXPECT_EQ(0, writable_in(self->fd, self->map, self->page));
	ASSERT_EQ(0, write_at(self->fd, self->map, "x", 1));
	EXPECT_EQ('x', self->map[0]);
	EXPECT_EQ(0, other[0]);
}

/* The page is in use for reading by one thread when another wants to write to it */
TEST_F(edu, a_page_in_use_is_mapped_anew_later)
{
	struct access a = { .fd = self->fd, .addr = self->map, .len = 4 };
	char buf[4] = "old";

	a.buf = buf;
	strcpy(self->map, "cpu");
	mprotect(self->map, self->page, PROT_READ);
	ASSERT_EQ(0, map_read(self->fd, self->map, self->page));
	ASSERT_EQ(0, writable_in(self->fd, self->map, self->page));
	mprotect(self->map, self->page, PROT_READ | PROT_WRITE);
	ASSERT_EQ(0, map_read(self->fd, self->map, self->page));
	begin(&a);
	ASSERT_EQ(0, write_at(self->fd, self->map, "new", 4));
	ASSERT_EQ(0, end(&a));
	EXPECT_STREQ("cpu", buf);
	EXPECT_STREQ("new", self->map);
}

TEST_F(edu, bad_arguments_are_refused)
{
	struct hmm_mirror_map map = { .addr = (uintptr_t)self->map, .len = self->page };
	int fd = device_open(variant->device);
	char byte;

	EXPECT_EQ(-ENXIO, byte_at(fd, self->map));
	close(fd);
	EXPECT_EQ(-EBUSY, bind_self(self->fd));
	EXPECT_EQ(-EFAULT, byte_at(self->fd, NULL));
	EXPECT_EQ(-EINVAL, device_read(self->fd, ABOVE, &byte, 1, NULL));
	EXPECT_EQ(-EINVAL, device_read(self->fd, (uintptr_t)self->map, &byte, -1UL, NULL));
	EXPECT_EQ(-EFAULT, read_at(self->fd, self->map, NULL, 1));
	EXPECT_EQ(-EFAULT, write_at(self->fd, self->map, NULL, 1));
	EXPECT_EQ(-EINVAL, map_read(self->fd, self->map + 1, self->page));
	EXPECT_EQ(-EINVAL, device_map(self->fd, ABOVE, self->page, 0, NULL));
	EXPECT_EQ(-EOPNOTSUPP, device_add(self->fd, (uintptr_t)self->map, 1, NULL));
	map.flags = HMM_MIRROR_MAP_ASYNC;
	EXPECT_EQ(-EOPNOTSUPP, call(self->fd, HMM_MIRROR_IOC_MAP, &map));
	map.flags = 1 << 7;
	EXPECT_EQ(-EINVAL, call(self->fd, HMM_MIRROR_IOC_MAP, &map));
	EXPECT_EQ(-ENOTTY, call(self->fd, _IO(0xBE, 0x77), NULL));
	mprotect(self->map, self->page, PROT_READ);
	EXPECT_EQ(-EPERM, write_at(self->fd, self->map, "x", 1));
	mprotect(self->map, self->page, PROT_NONE);
	EXPECT_EQ(-EFAULT, byte_at(self->fd, self->map));
}

TEST_F(edu, munmap_takes_pages_away)
{
	data_is_right(_metadata, self, self->map, self->page);
	munmap(self->map, self->size);
	EXPECT_EQ(0, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(-EFAULT, byte_at(self->fd, self->map));
}

TEST_F(edu, mremap_moves_pages)
{
	char *new = memory(self->size);

	data_is_right(_metadata, self, self->map, self->page);
	new = mremap(self->map, self->size, self->size, MREMAP_MAYMOVE | MREMAP_FIXED, new);
	ASSERT_NE(MAP_FAILED, (void *)new);
	EXPECT_EQ(0, entries_in(self->fd, self->map, self->size));
	EXPECT_EQ(-EFAULT, byte_at(self->fd, self->map));
	EXPECT_EQ((unsigned char)new[1], byte_at(self->fd, new + 1));
	EXPECT_TRUE(is_filled(new, self->page, 2));
	data_is_right(_metadata, self, new, self->page);
}

TEST_F(edu, mprotect_takes_writing_away)
{
	data_is_right(_metadata, self, self->map, self->page);
	mprotect(self->map, self->size, PROT_READ);
	EXPECT_EQ(-EPERM, write_at(self->fd, self->map, "x", 1));
	EXPECT_EQ((unsigned char)self->map[0], byte_at(self->fd, self->map));
	EXPECT_EQ(0, writable_in(self->fd, self->map, self->size));
	EXPECT_TRUE(is_filled(self->map, self->page, 2));
}

TEST_F(edu, fork_is_seen_by_one_side_only)
{
	int fd = device_open(variant->device);
	pid_t pid;

	memset(self->map, 1, self->size);
	ASSERT_EQ(0, map_write(self->fd, self->map, self->size));
	pid = sleeper();
	EXPECT_EQ(0, writable_in(self->fd, self->map, self->size));
	ASSERT_EQ(0, device_bind(fd, pid));
	ASSERT_EQ(0, write_at(self->fd, self->map, "\2", 1));
	EXPECT_EQ(2, self->map[0]);
	EXPECT_EQ(1, byte_at(fd, self->map));
	ASSERT_EQ(0, write_at(fd, self->map + self->page, "\3", 1));
	EXPECT_EQ(1, self->map[self->page]);
	EXPECT_EQ(3, byte_at(fd, self->map + self->page));
	EXPECT_EQ(0, stale(fd, pid));
	reap(pid);
	EXPECT_EQ(-ESRCH, byte_at(fd, self->map));
	close(fd);
}

TEST_F(edu, swap_keeps_what_was_written)
{
	int pagemap = pagemap_open(getpid());
	__u64 entry = 0;
	char *copy = malloc(self->page);

	memset(self->map, 1, self->size);
	fill(copy, self->page, 3);
	ASSERT_EQ(0, write_at(self->fd, self->map, copy, self->page));
	madvise(self->map, self->size, MADV_PAGEOUT);
	ASSERT_LE(0, pagemap_read(pagemap, (uintptr_t)self->map, &entry, 1));
	close(pagemap);
	if (!(entry & PAGEMAP_BIT(62)))
		SKIP(return, "nothing is swapped out here");
	EXPECT_EQ(0, entries_in(self->fd, self->map, self->page));
	memset(copy, 0, self->page);
	ASSERT_EQ(0, read_at(self->fd, self->map, copy, self->page));
	EXPECT_TRUE(is_filled(copy, self->page, 3));
	EXPECT_TRUE(is_filled(self->map, self->page, 3));
	free(copy);
}

TEST_F(edu, a_huge_page_is_split)
{
	char *huge = huge_memory();

	if (!huge)
		SKIP(return, "no huge page is to be had");
	data_is_right(_metadata, self, huge + HUGE_SIZE - self->page, self->page);
	ASSERT_EQ(0, map_write(self->fd, huge, HUGE_SIZE));
	EXPECT_EQ(HUGE_SIZE / self->page, (size_t)writable_in(self->fd, huge, HUGE_SIZE));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	munmap(huge + HUGE_SIZE / 2, self->page);
	EXPECT_EQ(-EFAULT, byte_at(self->fd, huge + HUGE_SIZE / 2));
	data_is_right(_metadata, self, huge, self->page);
}

TEST_F(edu, migration_takes_data_along)
{
	void *page = self->map;
	int node, status = -1;

	data_is_right(_metadata, self, self->map, self->page);
	syscall(SYS_move_pages, 0, 1, &page, NULL, &status, 0);
	node = !status;
	if (syscall(SYS_move_pages, 0, 1, &page, &node, &status, 2 /* MPOL_MF_MOVE */) ||
	    status != node)
		SKIP(return, "there is no other node to move pages to");
	EXPECT_EQ(0, entries_in(self->fd, self->map, self->page));
	EXPECT_TRUE(is_filled(self->map, self->page, 2));
	data_is_right(_metadata, self, self->map, self->page);
}

/* Who unmaps a page that the device writes to waits for that, and nothing comes later */
TEST_F(edu, nothing_is_written_once_munmap_has_returned)
{
	struct access a = { .fd = self->fd, .len = self->page, .write = true };
	int file = memfd_create("file", MFD_CLOEXEC), i;
	char *copy = malloc(self->page), *later = malloc(self->page);

	a.buf = malloc(self->page);
	memset(a.buf, 'd', self->page);
	ASSERT_EQ(0, ftruncate(file, self->size));
	for (i = 0; i < 4; i++) {
		a.addr = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		memset(a.addr, i, self->size);
		ASSERT_EQ(0, map_write(self->fd, a.addr, self->size));
		begin(&a);
		munmap(a.addr, self->size);
		ASSERT_EQ((ssize_t)self->page, pread(file, copy, self->page, 0));
		usleep(4 * MIDDLE);
		ASSERT_EQ((ssize_t)self->page, pread(file, later, self->page, 0));
		EXPECT_EQ(0, memcmp(copy, later, self->page));
		if (!end(&a))
			EXPECT_EQ(0, memcmp(copy, a.buf, self->page));
	}
	close(file);
	free(copy);
	free(later);
	free(a.buf);
}

TEST_F(edu, nothing_is_read_once_it_was_discarded)
{
	struct access a = { .fd = self->fd, .addr = self->map, .len = self->page };
	int i;

	a.buf = malloc(self->page);
	for (i = 0; i < 4; i++) {
		memset(self->map, 'c', self->size);
		ASSERT_EQ(0, map_read(self->fd, self->map, self->size));
		begin(&a);
		madvise(self->map, self->size, MADV_DONTNEED);
		ASSERT_EQ(0, end(&a));
		/* What it was, or what it is */
		EXPECT_TRUE(a.buf[0] == 'c' || !a.buf[0]);
		EXPECT_EQ(0, memcmp(a.buf, a.buf + 1, self->page - 1));
	}
	free(a.buf);
}

/* Pages come and go meanwhile, in all ways */
TEST_F(edu, storm)
{
	struct access a = { .fd = self->fd, .addr = self->map, .len = self->size };
	bool done = false;
	int i;

	a.buf = malloc(self->size);
	for (i = 0; i < 2 && !done; i++) {
		double until = seconds() + 3;

		a.write = i;
		memset(a.buf, 'd', self->size);
		memset(self->map, 'c', self->size);
		begin(&a);
		while (seconds() < until) {
			char *copy = memory(self->size);

			self->map[self->page * (rand() % EDU_PAGES)] = 'c';
			madvise(self->map, self->size, MADV_PAGEOUT);
			mprotect(self->map, self->size, PROT_READ);
			mprotect(self->map, self->size, PROT_READ | PROT_WRITE);
			mremap(self->map, self->size, self->size,
			       MREMAP_MAYMOVE | MREMAP_FIXED, copy);
			mremap(copy, self->size, self->size,
			       MREMAP_MAYMOVE | MREMAP_FIXED, self->map);
		}
		/* It may have found a hole, or given up */
		done = end(&a) == -EINVAL;
	}
	EXPECT_FALSE(done);
	free(a.buf);
}

/* Reaps a process that the device reads of.  @first: what came of the first try */
static void reap_in_the_middle(TEST_ARGS, const char *device, int *first)
{
	struct victim victim = { }, *v = &victim;
	struct access a = { .len = 4 * self->page };

	ASSERT_EQ(0, start_victim(v));
	a.fd = mirror(v, device);
	ASSERT_LE(0, a.fd);
	a.addr = v->map;
	a.buf = malloc(a.len);
	ASSERT_TRUE(killed(v));
	begin(&a);
	*first = mrelease(v);
	end(&a);
	EXPECT_EQ(0, mrelease(v));
	EXPECT_EQ(0, entries(a.fd, v));
	EXPECT_TRUE(exits(v));
	end_victim(v);
	close(a.fd);
	free(a.buf);
}

/* It does not sleep, so it cannot wait for the device.  On a busy host it may miss the middle */
TEST_F(edu, reaping_is_put_off)
{
	int i, ret = 0;

	for (i = 0; i < 5 && !ret; i++)
		reap_in_the_middle(_metadata, self, variant->device, &ret);
	EXPECT_EQ(-EAGAIN, ret);
}

/* A child that accesses its own memory, and ends in the middle of it */
static void dies(TEST_ARGS, const char *device, bool write, int sig)
{
	double began;
	pid_t pid = fork();
	int status;

	if (!pid) {
		/* So much that there is no fault which could notice, and takes 13 s */
		struct access a = { .fd = device_open(device), .len = 64 * self->page,
				    .write = write, .map = true };

		a.buf = malloc(a.len);
		a.addr = memory(a.len);
		/* Nor in the buffer */
		memset(a.buf, 2, a.len);
		memset(a.addr, 1, a.len);
		if (bind_self(a.fd))
			_exit(1);
		begin(&a);
		if (sig)
			kill(getpid(), sig);
		_exit(0);
	}
	began = seconds();
	waitpid(pid, &status, 0);
	EXPECT_GT(5, seconds() - began);
	EXPECT_TRUE(sig ? WIFSIGNALED(status) : WIFEXITED(status) && !WEXITSTATUS(status));
}

TEST_F(edu, processes_end_in_the_middle)
{
	dies(_metadata, self, variant->device, false, 0);
	dies(_metadata, self, variant->device, true, 0);
	dies(_metadata, self, variant->device, false, SIGKILL);
	dies(_metadata, self, variant->device, true, SIGKILL);
	data_is_right(_metadata, self, self->map, self->page);
}

/* bind or unbind */
static int driver(const char *driver, const char *what, const char *pci)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/%s", driver, what);
	return write_file(path, strrchr(pci, '/') + 1);
}

/* The file stays, and is of no use any more */
static void device_is_gone(TEST_ARGS, const char *device)
{
	struct hmm_mirror_stats stats;
	struct entries entries = { };
	int fd;

	EXPECT_EQ(-ENODEV, byte_at(self->fd, self->map));
	EXPECT_EQ(-ENODEV, write_at(self->fd, self->map, "x", 1));
	EXPECT_EQ(-ENODEV, map_read(self->fd, self->map, self->size));
	EXPECT_EQ(-ENODEV, device_stats(self->fd, &stats));
	EXPECT_EQ(-ENODEV, device_dump(self->fd, 0, ~0ULL, &entries));
	EXPECT_EQ(-ENODEV, bind_self(self->fd));
	fd = device_open(device);
	EXPECT_GT(0, fd);
}

/* It is there again, for who opens it anew */
static void device_is_back(TEST_ARGS, const char *device)
{
	int fd = device_open(device), old = self->fd;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, bind_self(fd));
	self->fd = fd;
	data_is_right(_metadata, self, self->map, self->page);
	self->fd = old;
	EXPECT_EQ(0, stale(fd, getpid()));
	EXPECT_EQ(-ENODEV, byte_at(self->fd, self->map));
	close(fd);
}

TEST_F(edu, unbind_in_the_middle)
{
	struct access a = { .fd = self->fd, .addr = self->map, .len = self->size };
	double began;
	int i;

	a.buf = malloc(self->size);
	for (i = 0; i < 2; i++) {
		a.write = i;
		memset(self->map, 'c', self->size);
		memset(a.buf, 'd', self->size);
		begin(&a);
		began = seconds();
		ASSERT_EQ(0, driver(variant->driver, "unbind", self->pci));
		EXPECT_GT(5, seconds() - began);
		EXPECT_EQ(-ENODEV, end(&a));
		EXPECT_GT(self->size, a.done);
		device_is_gone(_metadata, self, variant->device);
		ASSERT_EQ(0, driver(variant->driver, "bind", self->pci));
		/* Nothing was lost, or came late */
		EXPECT_TRUE(!a.done || self->map[0] == a.buf[0]);
		EXPECT_EQ('c', self->map[self->size - 1]);
		device_is_back(_metadata, self, variant->device);
		close(self->fd);
		self->fd = device_open(variant->device);
		a.fd = self->fd;
		ASSERT_EQ(0, bind_self(self->fd));
	}
	free(a.buf);
}

TEST_F(edu, removal_in_the_middle)
{
	struct access a = { .fd = self->fd, .addr = self->map, .len = self->size };
	char path[PATH_MAX + 16];

	a.buf = malloc(self->size);
	memset(self->map, 'c', self->size);
	begin(&a);
	snprintf(path, sizeof(path), "%s/remove", self->pci);
	ASSERT_EQ(0, write_file(path, "1"));
	EXPECT_EQ(-ENODEV, end(&a));
	device_is_gone(_metadata, self, variant->device);
	ASSERT_EQ(0, write_file("/sys/bus/pci/rescan", "1"));
	device_is_back(_metadata, self, variant->device);
	free(a.buf);
}

/* The device goes while a fault waits for a page that nobody brings */
TEST_F(edu, unbind_while_a_page_is_missing)
{
	struct access a = { .fd = self->fd, .addr = self->map, .len = 1 };
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)self->map, .len = self->size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	char byte;

	a.buf = &byte;
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &reg))
		SKIP(return, "there is no userfaultfd(2)");
	begin(&a);
	ASSERT_EQ(0, driver(variant->driver, "unbind", self->pci));
	EXPECT_EQ(-ENODEV, end(&a));
	close(uffd);
	ASSERT_EQ(0, driver(variant->driver, "bind", self->pci));
	device_is_back(_metadata, self, variant->device);
}

TEST_F(edu, the_module_stays_while_files_are_open)
{
	EXPECT_EQ(-1, syscall(SYS_delete_module, variant->driver, O_NONBLOCK));
	EXPECT_EQ(0, byte_at(self->fd, self->map));
}

static int command_clear(const char *pci, __u16 bits)
{
	char path[PATH_MAX + 16];
	__u16 command;
	int fd, ret = -EIO;

	snprintf(path, sizeof(path), "%s/config", pci);
	fd = open(path, O_RDWR);
	if (fd < 0)
		return -errno;
	if (pread(fd, &command, 2, PCI_COMMAND) == 2) {
		command &= ~bits;
		ret = pwrite(fd, &command, 2, PCI_COMMAND) == 2 ? 0 : -EIO;
	}
	close(fd);
	return ret;
}

/* @bits off, as by setpci: the device does not answer, and nobody hangs */
static void no_answer(TEST_ARGS, const FIXTURE_VARIANT(edu) *variant, __u16 bits)
{
	struct access a = { .fd = self->fd, .addr = self->map, .len = self->size,
			    .write = true };
	struct hmm_mirror_stats stats;
	double began;

	a.buf = malloc(self->size);
	memset(a.buf, 'd', self->size);
	memset(self->map, 'c', self->size);
	ASSERT_EQ(0, map_write(self->fd, self->map, self->size));
	begin(&a);
	ASSERT_EQ(0, command_clear(self->pci, bits));
	began = seconds();
	/* Waits for the device, and goes on without */
	munmap(self->map, self->size);
	EXPECT_GT(10, seconds() - began);
	EXPECT_EQ(-EIO, end(&a));

	self->map = memory(self->size);
	EXPECT_EQ(-EIO, byte_at(self->fd, self->map));
	EXPECT_EQ(0, device_stats(self->fd, &stats));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	ASSERT_EQ(0, driver(variant->driver, "unbind", self->pci));
	ASSERT_EQ(0, driver(variant->driver, "bind", self->pci));
	device_is_back(_metadata, self, variant->device);
	free(a.buf);
}

TEST_F(edu, bus_mastering_is_off)
{
	no_answer(_metadata, self, variant, PCI_MASTER);
}

TEST_F(edu, memory_decode_is_off)
{
	no_answer(_metadata, self, variant, PCI_MEMORY);
}

TEST_HARNESS_MAIN
