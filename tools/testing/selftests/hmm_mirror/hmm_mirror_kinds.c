// SPDX-License-Identifier: GPL-2.0
/*
 * What a device gets of each kind of memory that a process can have: when it reads, when
 * it writes, and of what is there already (MAP with PRESENT); and that it has nothing of
 * it any more when the memory goes. The table of it, which also names the kinds that
 * other programs are about, is in Documentation/mm/hmm_mirror.rst.
 *
 * Persistent memory is not looked for, as it is written to: in the environment,
 * HMM_MIRROR_DAX names a directory of a file system that is mounted with DAX, and
 * HMM_MIRROR_DEVDAX a character device.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "file.h"
#include "fixture.h"
#include "proc.h"

#include <lib/test_hmm_uapi.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE		0x08
#endif
#ifndef SYS_map_shadow_stack
#define SYS_map_shadow_stack	453
#endif

#define RW		(PROT_READ | PROT_WRITE)
#define PRIVATE_DEVICE	"/dev/hmm_dmirror0"	/* test_hmm, with memory of its own */
#define COHERENT_DEVICE	"/dev/hmm_dmirror2"	/* the same, which the CPU can reach */
#define GIGANTIC	(1024UL << 20)
#define POOL		"/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
#define GIGANTIC_POOL	"/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"

/* Nothing of it, in whichever way the device asks. */
static void expect_refused(TEST_ARGS, char *map, size_t size)
{
	EXPECT_EQ(-EFAULT, byte_at(self->fd, map));
	EXPECT_EQ(-EFAULT, write_at(self->fd, map, "x", 1));
	EXPECT_EQ(-EFAULT, map_read(self->fd, map, size));
	EXPECT_EQ(-EFAULT, map_write(self->fd, map, size));
	EXPECT_EQ(0, map_present(self->fd, map, size));
	EXPECT_EQ(0, entries_in(self->fd, map, size));
}

/* All of it, of which each page is there and begins and ends with @byte. */
static void expect_usable(TEST_ARGS, char *map, size_t size, int byte)
{
	const long pages = size / self->page;

	EXPECT_EQ(0, map_present(self->fd, map, size));
	EXPECT_EQ(pages, entries_in(self->fd, map, size));
	EXPECT_EQ(byte, byte_at(self->fd, map));
	EXPECT_EQ(byte, byte_at(self->fd, map + size - 1));
	EXPECT_EQ(0, write_at(self->fd, map + size - 1, &(char){ byte + 1 }, 1));
	EXPECT_EQ(byte + 1, map[size - 1]);
	map[size - 1] = byte;
	EXPECT_EQ(byte, byte_at(self->fd, map + size - 1));
	EXPECT_EQ(0, map_write(self->fd, map, size));
	EXPECT_EQ(pages, writable_in(self->fd, map, size));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

/* What can be read, and not be written. */
static void expect_readable(TEST_ARGS, char *map, size_t size)
{
	char *copy = malloc(size);

	EXPECT_EQ(0, map_read(self->fd, map, size));
	EXPECT_EQ(-EPERM, write_at(self->fd, map, "x", 1));
	EXPECT_EQ(-EPERM, map_write(self->fd, map, size));
	EXPECT_EQ(0, map_present(self->fd, map, size));
	EXPECT_EQ((long)(size / self->page), entries_in(self->fd, map, size));
	EXPECT_EQ(0, writable_in(self->fd, map, size));
	EXPECT_EQ(0, read_at(self->fd, map, copy, size));
	EXPECT_EQ(0, memcmp(copy, map, size));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	free(copy);
}

static void expect_gone(TEST_ARGS, char *map, size_t size)
{
	ASSERT_EQ(0, munmap(map, size));
	EXPECT_EQ(0, entries_in(self->fd, map, size));
	EXPECT_EQ(-EFAULT, byte_at(self->fd, map));
	EXPECT_EQ(0, map_present(self->fd, map, size));
	EXPECT_EQ(0, entries_in(self->fd, map, size));
}

/* Does smaps show @flag, such as "mm", for the area at @addr? */
static bool has_flag(const char *addr, const char *flag)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	unsigned long start, end;
	bool here = false, has = false;
	char line[512];

	while (smaps && fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = (uintptr_t)addr >= start && (uintptr_t)addr < end;
		else if (here && !strncmp(line, "VmFlags:", 8))
			has = strstr(line + 8, flag);
	}
	if (smaps)
		fclose(smaps);
	return has;
}

/* The area of that name, such as "[vdso]". */
static char *area(const char *name, size_t *size)
{
	struct maps maps = { };
	char *start = NULL;
	size_t i;

	if (maps_read(getpid(), &maps))
		return NULL;
	for (i = 0; i < maps.nr && !start; i++)
		if (!strcmp(maps.vma[i].name, name)) {
			start = (char *)maps.vma[i].start;
			*size = maps.vma[i].end - maps.vma[i].start;
		}
	maps_free(&maps);
	return start;
}

static long pages_present(char *map, size_t pages)
{
	__u64 *pagemap = malloc(pages * sizeof(*pagemap));
	int fd = pagemap_open(getpid());
	long nr = 0;
	size_t i;

	if (fd < 0 || pagemap_read(fd, (uintptr_t)map, pagemap, pages))
		nr = -1;
	for (i = 0; nr >= 0 && i < pages; i++)
		nr += !!(pagemap[i] & PAGEMAP_PRESENT);
	close(fd);
	free(pagemap);
	return nr;
}

static char *small_pages(TEST_ARGS)
{
	madvise(self->map, self->size, MADV_NOHUGEPAGE);
	memset(self->map, 1, self->size);
	return self->map;
}

/* What the compiler might leave out. */
static char cpu_reads(const char *addr)
{
	return __atomic_load_n(addr, __ATOMIC_RELAXED);
}

static void cpu_writes(char *addr, char byte)
{
	__atomic_store_n(addr, byte, __ATOMIC_RELAXED);
}

/* Memory that is no memory of the process's own */

/* VM_IO and VM_PFNMAP, and a private copy of such a page. */
TEST_F(hmm_mirror, memory_of_the_machine_is_refused)
{
	static const int flags[] = { MAP_SHARED, MAP_PRIVATE };
	int fd = open("/dev/mem", O_RDWR | O_CLOEXEC);
	size_t i;

	if (fd < 0)
		SKIP(return, "no /dev/mem");
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		/* The last of what is below 1 MiB: firmware */
		char *map = mmap(NULL, self->page, RW, flags[i], fd, 0xff000);

		if (map == MAP_FAILED)
			SKIP(return, "/dev/mem cannot be mapped");
		ASSERT_TRUE(has_flag(map, " pf"));
		cpu_reads(map);
		if (flags[i] == MAP_PRIVATE)
			cpu_writes(map, 1);
		expect_refused(_metadata, self, map, self->page);
		expect_gone(_metadata, self, map, self->page);
	}
	close(fd);
}

TEST_F(hmm_mirror, memory_of_dev_zero_is_memory)
{
	static const int flags[] = { MAP_SHARED, MAP_PRIVATE };
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	size_t i;

	ASSERT_LE(0, fd);
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		char *map = mmap(NULL, self->size, RW, flags[i], fd, 0);

		ASSERT_NE(MAP_FAILED, (void *)map);
		madvise(map, self->size, MADV_NOHUGEPAGE);
		EXPECT_EQ(0, map_present(self->fd, map, self->size));
		EXPECT_EQ(0, entries_in(self->fd, map, self->size));
		EXPECT_EQ(0, byte_at(self->fd, map));
		memset(map, 1, self->size);
		expect_usable(_metadata, self, map, self->size, 1);
		expect_gone(_metadata, self, map, self->size);
	}
	close(fd);
}

/* VM_MIXEDMAP: the rings are memory of the kernel, which it shares with the process. */
TEST_F(hmm_mirror, pages_of_the_kernel_in_a_mapping_are_usable)
{
	struct io_uring_params params = { };
	int fd = syscall(__NR_io_uring_setup, 8, &params);
	__u32 mask = 0, slot = 5;
	char *map;

	if (fd < 0)
		SKIP(return, "no io_uring");
	map = mmap(NULL, self->page, RW, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	ASSERT_NE(MAP_FAILED, (void *)map);
	ASSERT_TRUE(has_flag(map, " mm"));
	ASSERT_GE(self->page, params.sq_off.array + sizeof(slot));

	EXPECT_EQ(0, map_present(self->fd, map, self->page));
	EXPECT_EQ(1, entries_in(self->fd, map, self->page));
	ASSERT_EQ(0, read_at(self->fd, map + params.sq_off.ring_mask, &mask, sizeof(mask)));
	EXPECT_EQ(7u, mask);
	ASSERT_EQ(0, write_at(self->fd, map + params.sq_off.array, &slot, sizeof(slot)));
	EXPECT_EQ(slot, *(__u32 *)(map + params.sq_off.array));
	EXPECT_EQ(1, writable_in(self->fd, map, self->page));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	close(fd);
	EXPECT_EQ(1, writable_in(self->fd, map, self->page));
	expect_gone(_metadata, self, map, self->page);
}

/* No library of this process may be called while it has no vDSO. */
TEST_F(hmm_mirror, the_vdso_is_readable)
{
	size_t size;
	char *vdso = area("[vdso]", &size);

	if (!vdso)
		SKIP(return, "no [vdso]");
	expect_readable(_metadata, self, vdso, size);
	/* Where it may be changed there is a private copy of the page then. */
	if (!mprotect(vdso, self->page, RW | PROT_EXEC)) {
		EXPECT_EQ(0, write_at(self->fd, vdso + 15, "x", 1));
		EXPECT_EQ('x', vdso[15]);
		EXPECT_EQ(1, writable_in(self->fd, vdso, size));
		EXPECT_EQ(0, stale(self->fd, getpid()));
	}
	if (mprotect(vdso, size, PROT_NONE))
		SKIP(return, "the vDSO cannot be taken away");
	EXPECT_EQ(0, entries_in(self->fd, vdso, size));
	expect_refused(_metadata, self, vdso, self->page);
	ASSERT_EQ(0, mprotect(vdso, size, PROT_READ | PROT_EXEC));
	expect_readable(_metadata, self, vdso, size);
}

/*
 * The kernel fills [vvar] in for tasks of the process only. What these have touched is
 * readable, where it has struct pages; older kernels map it without.
 */
TEST_F(hmm_mirror, vvar_is_readable_at_most)
{
	size_t size;
	char *vvar = area("[vvar]", &size);

	if (!vvar)
		SKIP(return, "no [vvar]");
	cpu_reads(vvar);
	if (has_flag(vvar, " pf"))
		expect_refused(_metadata, self, vvar, self->page);
	else
		/* Time goes on there */
		EXPECT_LE(0, byte_at(self->fd, vvar));
	EXPECT_NE(0, write_at(self->fd, vvar, "x", 1));
	EXPECT_EQ(0, map_present(self->fd, vvar, size));
	EXPECT_EQ(0, writable_in(self->fd, vvar, size));
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

/* The page of vsyscalls, and pointers with something in their upper bits. */
TEST_F(hmm_mirror, addresses_above_those_of_the_process_are_EINVAL)
{
	const uintptr_t map = (uintptr_t)self->map;
	const uintptr_t above[] = {
		0xffffffffff600000, map | 1UL << 57, map | 1UL << 62, map | 1UL << 63,
	};
	size_t i;

	self->map[0] = 1;
	for (i = 0; i < ARRAY_SIZE(above); i++) {
		char *addr = (char *)above[i];

		EXPECT_EQ(-EINVAL, byte_at(self->fd, addr));
		EXPECT_EQ(-EINVAL, write_at(self->fd, addr, "x", 1));
		EXPECT_EQ(-EINVAL, map_read(self->fd, addr, self->page));
		EXPECT_EQ(-EINVAL, map_write(self->fd, addr, self->page));
		EXPECT_EQ(-EINVAL, map_present(self->fd, addr, self->page));
	}
	EXPECT_EQ(1, self->map[0]);
	EXPECT_EQ(0, entries_in(self->fd, NULL, ABOVE));
}

/* Memory of the process that is not as other memory */

/* What is there may be gone at any time, and comes back as zeros. */
TEST_F(hmm_mirror, droppable_memory_is_usable)
{
	char *map = mmap(NULL, self->size, RW, MAP_DROPPABLE | MAP_ANONYMOUS, -1, 0);
	long left;
	size_t i;

	if (map == MAP_FAILED)
		SKIP(return, "this kernel has no droppable memory");
	madvise(map, self->size, MADV_NOHUGEPAGE);
	memset(map, 1, self->size);
	expect_usable(_metadata, self, map, self->size, 1);
	EXPECT_EQ(0, madvise(map, self->size, MADV_PAGEOUT));
	left = pages_present(map, PAGES);
	EXPECT_GT(PAGES, left);
	EXPECT_GE(left, entries_in(self->fd, map, self->size));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	for (i = 0; i < PAGES; i++) {
		int byte = byte_at(self->fd, map + i * self->page);

		EXPECT_EQ(map[i * self->page], byte);
	}
	expect_gone(_metadata, self, map, self->size);
}

/* On memory that was never touched, and on some that the device has. */
TEST_F(hmm_mirror, guard_pages_are_refused_until_they_are_removed)
{
	char *map = self->map, *guard = map + 4 * self->page;

	madvise(map, self->size, MADV_NOHUGEPAGE);
	if (madvise(guard, 4 * self->page, MADV_GUARD_INSTALL))
		SKIP(return, "this kernel has no guard regions");
	expect_refused(_metadata, self, guard, 4 * self->page);
	EXPECT_EQ(0, byte_at(self->fd, guard - 1));
	EXPECT_EQ(0, write_at(self->fd, guard + 4 * self->page, "x", 1));
	ASSERT_EQ(0, madvise(guard, 4 * self->page, MADV_GUARD_REMOVE));
	memset(map, 1, self->size);
	expect_usable(_metadata, self, map, self->size, 1);

	ASSERT_EQ(0, madvise(guard, 4 * self->page, MADV_GUARD_INSTALL));
	EXPECT_EQ(PAGES - 4, entries_in(self->fd, map, self->size));
	expect_refused(_metadata, self, guard, 4 * self->page);
	expect_gone(_metadata, self, map, self->size);
}

/* Only what the CPU does makes a stack grow. */
TEST_F(hmm_mirror, a_stack_does_not_grow_for_a_device)
{
	char *room = memory(16 * HUGE_SIZE), *map = room + 8 * HUGE_SIZE;
	char *below = map - self->page;

	munmap(room, 16 * HUGE_SIZE);
	ASSERT_EQ(map, mmap(map, self->size, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED |
			    MAP_GROWSDOWN, -1, 0));
	madvise(map, self->size, MADV_NOHUGEPAGE);
	memset(map, 1, self->size);
	expect_usable(_metadata, self, map, self->size, 1);
	expect_refused(_metadata, self, below, self->page);

	cpu_writes(below, 2);
	EXPECT_EQ(2, byte_at(self->fd, below));
	/* And below that it is as before. */
	expect_refused(_metadata, self, below - self->page, self->page);
	expect_gone(_metadata, self, below, self->size + self->page);
}

/* A device has no instructions to fetch. */
TEST_F(hmm_mirror, memory_to_execute_only_is_refused)
{
	char *map = small_pages(_metadata, self);

	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	ASSERT_EQ(0, mprotect(map, self->size, PROT_EXEC));
	EXPECT_EQ(0, entries_in(self->fd, map, self->size));
	expect_refused(_metadata, self, map, self->size);
	ASSERT_EQ(0, mprotect(map, self->size, RW));
	expect_usable(_metadata, self, map, self->size, 1);
}

/* The CPU can read that, but who mirrors a page has it for reading. */
TEST_F(hmm_mirror, memory_to_write_only_is_refused)
{
	char *map = small_pages(_metadata, self);

	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	ASSERT_EQ(0, mprotect(map, self->size, PROT_WRITE));
	EXPECT_EQ(0, entries_in(self->fd, map, self->size));
	expect_refused(_metadata, self, map, self->size);
	map[0] = 2;
	ASSERT_EQ(0, mprotect(map, self->size, RW));
	EXPECT_EQ(2, byte_at(self->fd, map));
}

/* Each thread of the CPU has rights of its own to a key, and the device has none to ask. */
TEST_F(hmm_mirror, protection_keys_do_not_concern_a_device)
{
	char *map = small_pages(_metadata, self);
	int key = pkey_alloc(0, PKEY_DISABLE_ACCESS);

	if (key < 0)
		SKIP(return, "no protection keys");
	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	ASSERT_EQ(0, pkey_mprotect(map, self->size, RW, key));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	EXPECT_EQ(1, byte_at(self->fd, map));
	EXPECT_EQ(0, write_at(self->fd, map + self->page, "x", 1));
	EXPECT_EQ(0, map_present(self->fd, map, self->size));
	EXPECT_EQ(PAGES, entries_in(self->fd, map, self->size));
	/* Nor is what the area as such forbids permitted. */
	ASSERT_EQ(0, pkey_mprotect(map, self->size, PROT_READ, key));
	EXPECT_EQ(-EPERM, write_at(self->fd, map, "x", 1));
	ASSERT_EQ(0, pkey_set(key, 0));
	EXPECT_EQ(1, map[0]);
	EXPECT_EQ('x', map[self->page]);
	expect_gone(_metadata, self, map, self->size);
	pkey_free(key);
}

/* Its pages look writable in the page table. */
TEST_F(hmm_mirror, shadow_stacks_are_refused)
{
	char *map = (char *)syscall(SYS_map_shadow_stack, 0, self->size, 0);

	if (map == MAP_FAILED)
		SKIP(return, "no shadow stacks");
	ASSERT_TRUE(has_flag(map, " ss"));
	cpu_reads(map);
	expect_refused(_metadata, self, map, self->size);
	expect_gone(_metadata, self, map, self->size);
}

/* Memory that is locked when it comes is not there before, and stays when it is. */
TEST_F(hmm_mirror, locked_memory_stays)
{
	char *map = self->map;

	madvise(map, self->size, MADV_NOHUGEPAGE);
	ASSERT_EQ(0, mlock2(map, self->size, MLOCK_ONFAULT));
	EXPECT_EQ(0, map_present(self->fd, map, self->size));
	EXPECT_EQ(0, entries_in(self->fd, map, self->size));
	EXPECT_EQ(0, map_write(self->fd, map, self->size));
	EXPECT_EQ(PAGES, pages_present(map, PAGES));
	madvise(map, self->size, MADV_PAGEOUT);
	EXPECT_EQ(PAGES, pages_present(map, PAGES));
	EXPECT_EQ(PAGES, writable_in(self->fd, map, self->size));
	memset(map, 1, self->size);
	expect_usable(_metadata, self, map, self->size, 1);
	ASSERT_EQ(0, munlock(map, self->size));
	expect_gone(_metadata, self, map, self->size);
}

/* Bad memory */

static void ignore(int sig)
{
	(void)sig;
}

/* All of @map is the device's to write, then @bad goes bad, which is told by a signal. */
static void expect_poisoned(TEST_ARGS, char *map, size_t size, char *bad, size_t bad_size)
{
	const long pages = size / self->page, bad_pages = bad_size / self->page;
	struct sigaction action = { .sa_handler = ignore };

	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));
	ASSERT_EQ(0, map_write(self->fd, map, size));
	ASSERT_EQ(pages, writable_in(self->fd, map, size));
	if (madvise(bad, self->page, MADV_HWPOISON))
		SKIP(return, "this kernel cannot have bad memory");
	EXPECT_EQ(0, entries_in(self->fd, bad, bad_size));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	expect_refused(_metadata, self, bad, bad_size);
	EXPECT_EQ(0, map_present(self->fd, map, size));
	EXPECT_EQ(pages - bad_pages, entries_in(self->fd, map, size));
	EXPECT_EQ(1, byte_at(self->fd, map));
	EXPECT_EQ(0, write_at(self->fd, map + size - 1, "x", 1));
	EXPECT_EQ('x', map[size - 1]);
}

TEST_F(hmm_mirror, bad_pages_are_refused)
{
	char *map = small_pages(_metadata, self), *bad = map + 3 * self->page;

	expect_poisoned(_metadata, self, map, self->size, bad, self->page);
	/* Other memory in its place is good. */
	ASSERT_EQ(bad, mmap(bad, self->page, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			    -1, 0));
	EXPECT_EQ(0, byte_at(self->fd, bad));
	expect_gone(_metadata, self, map, self->size);
}

TEST_F(hmm_mirror, bad_pages_of_huge_pages_are_refused)
{
	char *huge = huge_memory();

	if (!huge)
		SKIP(return, "no huge page to be had");
	memset(huge, 1, HUGE_SIZE);
	expect_poisoned(_metadata, self, huge, HUGE_SIZE, huge + 3 * self->page, self->page);
	expect_gone(_metadata, self, huge, HUGE_SIZE);
}

TEST_F(hmm_mirror, bad_pages_of_files_are_refused)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	char *map;

	ASSERT_EQ(0, ftruncate(fd, self->size));
	map = mmap(NULL, self->size, RW, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)map);
	memset(map, 1, self->size);
	expect_poisoned(_metadata, self, map, self->size, map + 3 * self->page, self->page);
	expect_gone(_metadata, self, map, self->size);
	close(fd);
}

/* The data is moved elsewhere before the page goes bad. */
TEST_F(hmm_mirror, pages_that_may_go_bad_are_replaced)
{
	char *map = small_pages(_metadata, self);
	struct entries before = { }, after = { };

	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	ASSERT_EQ(0, device_dump(self->fd, (uintptr_t)map, (uintptr_t)map + self->page,
				 &before));
	if (madvise(map, self->page, MADV_SOFT_OFFLINE))
		SKIP(return, "this kernel cannot have bad memory");
	EXPECT_EQ(PAGES - 1, entries_in(self->fd, map, self->size));
	expect_usable(_metadata, self, map, self->size, 1);
	ASSERT_EQ(0, device_dump(self->fd, (uintptr_t)map, (uintptr_t)map + self->page,
				 &after));
	ASSERT_EQ(1, before.nr);
	ASSERT_EQ(1, after.nr);
	EXPECT_NE(before.entry[0].pfn, after.entry[0].pfn);
	entries_free(&before);
	entries_free(&after);
	expect_gone(_metadata, self, map, self->size);
}

/* As a virtual machine has it that was moved with its bad pages. */
TEST_F(hmm_mirror, pages_that_userfaultfd_has_poisoned_are_refused)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_POISON };
	struct uffdio_register area = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uffdio_poison poison = { };
	char *map = self->map;

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		SKIP(return, "userfaultfd cannot poison");
	madvise(map, self->size, MADV_NOHUGEPAGE);
	area.range.start = (uintptr_t)map;
	area.range.len = self->size;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &area));
	poison.range.start = (uintptr_t)map;
	poison.range.len = self->page;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_POISON, &poison));
	expect_refused(_metadata, self, map, self->page);
	close(uffd);
	/* It stays so. */
	expect_refused(_metadata, self, map, self->page);
	EXPECT_EQ(0, byte_at(self->fd, map + self->page));
	ASSERT_EQ(0, madvise(map, self->page, MADV_DONTNEED));
	EXPECT_EQ(0, byte_at(self->fd, map));
}

/* Memory of other devices */

static int other_device(int fd, unsigned long request, char *map, size_t pages)
{
	char *copy = memory(pages * sysconf(_SC_PAGESIZE));
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)map, .ptr = (uintptr_t)copy, .npages = pages,
	};
	int ret = call(fd, request, &cmd);

	munmap(copy, pages * sysconf(_SC_PAGESIZE));
	return ret ?: (cmd.cpages == pages ? 0 : -EIO);
}

/* What the other device has taken comes back when this one wants it. */
static void expect_given_back(TEST_ARGS, unsigned long request, char *map, size_t size)
{
	const long pages = size / self->page;
	int fd = open(PRIVATE_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		SKIP(return, "no " PRIVATE_DEVICE ": is test_hmm loaded?");
	ASSERT_EQ(0, map_write(self->fd, map, size));
	ASSERT_EQ(pages, writable_in(self->fd, map, size));
	ASSERT_EQ(0, other_device(fd, request, map, pages));
	EXPECT_EQ(0, entries_in(self->fd, map, size));
	EXPECT_EQ(0, map_present(self->fd, map, size));
	EXPECT_EQ(0, entries_in(self->fd, map, size));
	EXPECT_EQ(0, pages_present(map, pages));

	EXPECT_EQ(1, byte_at(self->fd, map));
	EXPECT_EQ(0, map_read(self->fd, map, size));
	EXPECT_EQ(pages, entries_in(self->fd, map, size));
	ASSERT_EQ(0, other_device(fd, request, map, pages));
	EXPECT_EQ(0, entries_in(self->fd, map, size));
	EXPECT_EQ(0, write_at(self->fd, map + size - 1, "x", 1));
	EXPECT_EQ('x', map[size - 1]);
	map[size - 1] = 1;
	EXPECT_EQ(0, map_write(self->fd, map, size));
	expect_usable(_metadata, self, map, size, 1);

	ASSERT_EQ(0, other_device(fd, request, map, pages));
	expect_gone(_metadata, self, map, size);
	close(fd);
}

TEST_F(hmm_mirror, private_memory_of_another_device_is_given_back)
{
	expect_given_back(_metadata, self, HMM_DMIRROR_MIGRATE_TO_DEV,
			  small_pages(_metadata, self), self->size);
}

TEST_F(hmm_mirror, private_huge_pages_of_another_device_are_given_back)
{
	char *huge = huge_memory();

	if (!huge)
		SKIP(return, "no huge page to be had");
	memset(huge, 1, HUGE_SIZE);
	expect_given_back(_metadata, self, HMM_DMIRROR_MIGRATE_TO_DEV, huge, HUGE_SIZE);
}

TEST_F(hmm_mirror, pages_that_another_device_has_to_itself_are_given_back)
{
	expect_given_back(_metadata, self, HMM_DMIRROR_EXCLUSIVE,
			  small_pages(_metadata, self), self->size);
}

/* Memory of a device that the CPU can reach, as others can. */
TEST_F(hmm_mirror, coherent_memory_of_another_device_is_usable)
{
	char *map = small_pages(_metadata, self);
	int fd = open(COHERENT_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		SKIP(return, "no " COHERENT_DEVICE ": is test_hmm loaded with spm_addr_dev0?");
	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	ASSERT_EQ(0, other_device(fd, HMM_DMIRROR_MIGRATE_TO_DEV, map, PAGES));
	EXPECT_EQ(0, entries_in(self->fd, map, self->size));
	EXPECT_EQ(PAGES, pages_present(map, PAGES));
	expect_usable(_metadata, self, map, self->size, 1);
	ASSERT_EQ(0, other_device(fd, HMM_DMIRROR_MIGRATE_TO_SYS, map, PAGES));
	EXPECT_EQ(0, entries_in(self->fd, map, self->size));
	expect_usable(_metadata, self, map, self->size, 1);
	expect_gone(_metadata, self, map, self->size);
	close(fd);
}

/* hugetlbfs, beside what hugetlb_pages_come_and_go has */

static bool pool_is(const char *pool, const char *pages)
{
	char text[24] = "";
	int fd;

	if (write_file(pool, pages))
		return false;
	fd = open(pool, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		*text = '\0';
	close(fd);
	return atoi(text) == atoi(pages);
}

TEST_F(hmm_mirror, gigantic_hugetlb_pages_are_usable)
{
	char *map = MAP_FAILED;

	if (pool_is(GIGANTIC_POOL, "1"))
		map = mmap(NULL, GIGANTIC, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
			   30 << MAP_HUGE_SHIFT, -1, 0);
	if (map == MAP_FAILED)
		SKIP(return, "no page of 1 GiB to be had");
	map[0] = 1;
	map[HUGE_SIZE - 1] = 1;
	map[GIGANTIC - HUGE_SIZE] = 1;
	map[GIGANTIC - 1] = 1;
	expect_usable(_metadata, self, map, HUGE_SIZE, 1);
	expect_usable(_metadata, self, map + GIGANTIC - HUGE_SIZE, HUGE_SIZE, 1);
	EXPECT_EQ(2 * HUGE_SIZE / self->page,
		  entries_with(self->fd, map, GIGANTIC, HMM_MIRROR_ENTRY_WRITE, 18));
	ASSERT_EQ(0, mprotect(map, GIGANTIC, PROT_READ));
	EXPECT_EQ(0, writable_in(self->fd, map, GIGANTIC));
	EXPECT_EQ(-EPERM, write_at(self->fd, map, "x", 1));
	EXPECT_EQ(1, byte_at(self->fd, map + GIGANTIC - 1));
	ASSERT_EQ(0, munmap(map, GIGANTIC));
	EXPECT_EQ(0, entries_in(self->fd, map, GIGANTIC));
	EXPECT_EQ(-EFAULT, byte_at(self->fd, map));
	pool_is(GIGANTIC_POOL, "0");
}

/* The page that is written after a fork is copied; without another, the child loses it. */
TEST_F(hmm_mirror, without_a_hugetlb_page_to_copy_to_the_child_loses_it)
{
	int fd = device_open(variant->device);
	char *map = MAP_FAILED;
	pid_t pid;

	if (pool_is(POOL, "1"))
		map = mmap(NULL, HUGE_SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB,
			   -1, 0);
	if (map == MAP_FAILED)
		SKIP(return, "no huge page to be had");
	memset(map, 1, HUGE_SIZE);
	ASSERT_EQ(0, map_write(self->fd, map, HUGE_SIZE));
	pid = sleeper();
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, device_bind(fd, pid));
	EXPECT_EQ(0, writable_in(self->fd, map, HUGE_SIZE));
	EXPECT_EQ(0, map_read(fd, map, HUGE_SIZE));
	EXPECT_EQ(HUGE_SIZE / self->page, entries_in(fd, map, HUGE_SIZE));

	EXPECT_EQ(0, write_at(self->fd, map, "x", 1));
	EXPECT_EQ('x', map[0]);
	EXPECT_EQ(0, entries_in(fd, map, HUGE_SIZE));
	EXPECT_EQ(-EFAULT, byte_at(fd, map));
	EXPECT_EQ(-EFAULT, write_at(fd, map, "y", 1));
	EXPECT_EQ(0, map_present(fd, map, HUGE_SIZE));
	EXPECT_EQ(0, entries_in(fd, map, HUGE_SIZE));
	EXPECT_EQ('x', map[0]);
	reap(pid);
	close(fd);
	expect_gone(_metadata, self, map, HUGE_SIZE);
}

/* A child that protects the second page from being written when it is told to. */
static pid_t protector(char *map, const int *tell, const int *told)
{
	pid_t pid = fork();
	char byte;

	if (pid)
		return pid;
	if (read(tell[0], &byte, 1) == 1 && !mprotect(map + HUGE_SIZE, HUGE_SIZE, PROT_READ) &&
	    write(told[1], "", 1) == 1)
		for (;;)
			pause();
	_exit(1);
}

/*
 * Where 1 GiB of a file is mapped by two processes they have one table for it, until one
 * of them changes its mapping.
 */
TEST_F(hmm_mirror, shared_tables_of_hugetlb_pages_are_told_apart)
{
	int file = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	int fd = device_open(variant->device), tell[2], told[2];
	char *room = memory(2 * GIGANTIC), byte;
	char *map = (char *)(((uintptr_t)room + GIGANTIC - 1) & -GIGANTIC);
	pid_t pid;

	if (file < 0 || !pool_is(POOL, "2"))
		SKIP(return, "no huge pages to be had");
	ASSERT_EQ(0, ftruncate(file, GIGANTIC));
	ASSERT_EQ(map, mmap(map, GIGANTIC, RW, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, file,
			    0));
	memset(map, 1, 2 * HUGE_SIZE);
	expect_usable(_metadata, self, map, 2 * HUGE_SIZE, 1);
	/* There is no third page. */
	expect_refused(_metadata, self, map + 2 * HUGE_SIZE, HUGE_SIZE);

	ASSERT_EQ(0, pipe(tell));
	ASSERT_EQ(0, pipe(told));
	pid = protector(map, tell, told);
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, device_bind(fd, pid));
	ASSERT_EQ(0, map_write(fd, map, 2 * HUGE_SIZE));
	ASSERT_EQ(1, write(tell[1], "", 1));
	ASSERT_EQ(1, read(told[0], &byte, 1));
	EXPECT_EQ(0, writable_in(fd, map + HUGE_SIZE, HUGE_SIZE));
	EXPECT_EQ(-EPERM, write_at(fd, map + HUGE_SIZE, "x", 1));
	EXPECT_EQ(0, write_at(fd, map, "c", 1));
	EXPECT_EQ('c', map[0]);
	EXPECT_EQ(0, write_at(self->fd, map + HUGE_SIZE, "p", 1));
	EXPECT_EQ('p', byte_at(fd, map + HUGE_SIZE));
	EXPECT_EQ(0, stale(fd, pid));
	EXPECT_EQ(0, stale(self->fd, getpid()));

	ASSERT_EQ(0, munmap(map, GIGANTIC));
	EXPECT_EQ(0, entries_in(self->fd, map, GIGANTIC));
	EXPECT_EQ('p', byte_at(fd, map + HUGE_SIZE));
	/* What the file loses the other one loses, too. */
	ASSERT_EQ(0, ftruncate(file, HUGE_SIZE));
	EXPECT_EQ('c', byte_at(fd, map));
	EXPECT_EQ(0, entries_in(fd, map + HUGE_SIZE, HUGE_SIZE));
	EXPECT_EQ(-EFAULT, byte_at(fd, map + HUGE_SIZE));
	reap(pid);
	close(fd);
	close(file);
}

TEST_F(hmm_mirror, bad_hugetlb_pages_are_refused)
{
	char *map = MAP_FAILED;

	if (pool_is(POOL, "3"))
		map = mmap(NULL, 3 * HUGE_SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS |
			   MAP_HUGETLB, -1, 0);
	if (map == MAP_FAILED)
		SKIP(return, "no huge pages to be had");
	memset(map, 1, 3 * HUGE_SIZE);
	expect_poisoned(_metadata, self, map, 3 * HUGE_SIZE, map + HUGE_SIZE, HUGE_SIZE);
	expect_gone(_metadata, self, map, 3 * HUGE_SIZE);
}

/* DAX: the pages of a file are those of the device that it lies on. */

static int dax_file(void)
{
	const char *dir = getenv("HMM_MIRROR_DAX");
	struct statx statx_buf;
	char path[256];
	int fd;

	if (!dir)
		return -1;
	snprintf(path, sizeof(path), "%s/hmm_mirror_kinds", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	unlink(path);
	if (fd >= 0 && (statx(fd, "", AT_EMPTY_PATH, 0, &statx_buf) ||
			!(statx_buf.stx_attributes & STATX_ATTR_DAX))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

TEST_F(hmm_mirror, files_on_persistent_memory_are_usable)
{
	char *map, *private, *again;
	int fd = dax_file();

	if (fd < 0)
		SKIP(return, "HMM_MIRROR_DAX names no directory with DAX");
	ASSERT_EQ(0, ftruncate(fd, 2 * self->size));
	map = mmap(NULL, 2 * self->size, RW, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)map);
	/* Holes are zeros, until somebody writes there. */
	EXPECT_EQ(0, map_read(self->fd, map, self->size));
	EXPECT_EQ(0, byte_at(self->fd, map));
	EXPECT_EQ(0, writable_in(self->fd, map, self->size));
	memset(map, 1, self->size);
	expect_usable(_metadata, self, map, self->size, 1);
	again = map + self->size;
	EXPECT_EQ(0, byte_at(self->fd, again));
	ASSERT_EQ(1, pwrite(fd, "w", 1, self->size));
	EXPECT_EQ('w', byte_at(self->fd, again));

	/* It is the file itself. */
	ASSERT_EQ(0, write_at(self->fd, map, "x", 1));
	ASSERT_EQ(1, pread(fd, &map[1], 1, 0));
	EXPECT_EQ('x', map[1]);

	/* From here on the file system has to be asked again before it is written. */
	ASSERT_EQ(0, fsync(fd));
	EXPECT_EQ(0, writable_in(self->fd, map, self->size));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	ASSERT_EQ(0, write_at(self->fd, map, "y", 1));
	EXPECT_EQ('y', map[0]);

	/* A private mapping has pages of its own. */
	private = mmap(NULL, self->size, RW, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)private);
	EXPECT_EQ('y', byte_at(self->fd, private));
	ASSERT_EQ(0, write_at(self->fd, private, "z", 1));
	EXPECT_EQ('z', private[0]);
	EXPECT_EQ('y', map[0]);
	EXPECT_EQ(0, stale(self->fd, getpid()));

	/* What the file loses. */
	ASSERT_EQ(0, map_read(self->fd, map, self->size));
	ASSERT_EQ(0, ftruncate(fd, self->size / 2));
	EXPECT_GE(PAGES / 2, entries_in(self->fd, map, 2 * self->size));
	EXPECT_EQ('y', byte_at(self->fd, map));
	expect_refused(_metadata, self, map + self->size / 2, self->size / 2);
	expect_gone(_metadata, self, private, self->size);
	expect_gone(_metadata, self, map, 2 * self->size);
	close(fd);
}

/* Huge entries, of memory that has no file system. */
TEST_F(hmm_mirror, devices_of_persistent_memory_are_usable)
{
	const char *device = getenv("HMM_MIRROR_DEVDAX");
	int fd = device ? open(device, O_RDWR | O_CLOEXEC) : -1;
	char *map;

	if (fd < 0)
		SKIP(return, "HMM_MIRROR_DEVDAX names no device");
	map = mmap(NULL, 2 * HUGE_SIZE, RW, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)map);
	EXPECT_EQ(0, map_present(self->fd, map, 2 * HUGE_SIZE));
	EXPECT_EQ(0, entries_in(self->fd, map, 2 * HUGE_SIZE));
	memset(map, 1, 2 * HUGE_SIZE);
	expect_usable(_metadata, self, map, 2 * HUGE_SIZE, 1);
	EXPECT_EQ(2 * HUGE_SIZE / self->page,
		  entries_with(self->fd, map, 2 * HUGE_SIZE, HMM_MIRROR_ENTRY_WRITE, 9));
	ASSERT_EQ(0, mprotect(map, HUGE_SIZE, PROT_READ));
	EXPECT_EQ(0, writable_in(self->fd, map, HUGE_SIZE));
	expect_readable(_metadata, self, map, HUGE_SIZE);
	ASSERT_EQ(0, munmap(map, HUGE_SIZE));
	EXPECT_EQ(0, entries_in(self->fd, map, HUGE_SIZE));
	/* What is left can be read by the device first. */
	ASSERT_EQ(0, madvise(map + HUGE_SIZE, HUGE_SIZE, MADV_NORMAL));
	EXPECT_EQ(1, byte_at(self->fd, map + HUGE_SIZE));
	expect_gone(_metadata, self, map + HUGE_SIZE, HUGE_SIZE);
	close(fd);
}

TEST_HARNESS_MAIN
