// SPDX-License-Identifier: GPL-2.0
/*
 * What the sample devices read and write is what the process has, and what it does not
 * have, or must not have, they are refused.
 */
#include <errno.h>
#include <fcntl.h>
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
#include <sys/time.h>
#include <unistd.h>

#include "fixture.h"

TEST_F(hmm_mirror, data_is_right_across_page_borders)
{
	char *map = self->map, *copy = malloc(self->size);
	unsigned int seed = 1;
	size_t i;

	for (i = 0; i < self->size; i++)
		map[i] = rand_r(&seed);
	ASSERT_EQ(0, read_at(self->fd, map, copy, self->size));
	EXPECT_EQ(0, memcmp(map, copy, self->size));

	for (i = 0; i < 200; i++) {
		size_t at = rand_r(&seed) % self->size;
		size_t len = rand_r(&seed) % (self->size - at);

		if (i % 2) {
			ASSERT_EQ(0, read_at(self->fd, map + at, copy + at, len));
		} else {
			memset(copy + at, i, len);
			ASSERT_EQ(0, write_at(self->fd, map + at, copy + at, len));
		}
		ASSERT_EQ(0, memcmp(map, copy, self->size));
	}
	free(copy);
}

TEST_F(hmm_mirror, data_is_right_across_table_borders)
{
	/* With 4 KiB pages: borders of one, two and three levels of tables. */
	static const unsigned long borders[] = {
		0x10000200000, 0x10040000000, 0x18000000000,
	};
	size_t i, j;

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
	void *wide;

	/* With five levels it is there only for those who ask for it */
	wide = mmap(map + 2 * self->page, self->page, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (map != want || wide != MAP_FAILED)
		SKIP(return, "the address space ends elsewhere");
	map[self->page - 1] = 42;
	EXPECT_EQ(42, byte_at(self->fd, map + self->page - 1));
	EXPECT_EQ(-EINVAL, byte_at(self->fd, map + self->page));
}

TEST_F(hmm_mirror, the_zero_page_is_never_written)
{
	char *map = self->map, *other = memory(self->size), byte = 1;

	madvise(map, self->size, MADV_NOHUGEPAGE);
	EXPECT_EQ(0, byte_at(self->fd, map));
	EXPECT_EQ(0, writable_in(self->fd, map, self->page));
	ASSERT_EQ(0, write_at(self->fd, map, &byte, 1));
	EXPECT_EQ(1, map[0]);
	EXPECT_EQ(0, other[0]);
	EXPECT_EQ(0, byte_at(self->fd, map + self->page));
}

TEST_F(hmm_mirror, write_reaches_the_file_of_a_shared_mapping_only)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	char *private, *shared;

	ASSERT_EQ(0, ftruncate(fd, self->size));
	private = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	shared = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	EXPECT_EQ(0, byte_at(self->fd, private));
	ASSERT_EQ(0, write_at(self->fd, private, &(char){ 1 }, 1));
	EXPECT_EQ(1, private[0]);
	EXPECT_EQ(0, shared[0]);
	ASSERT_EQ(0, write_at(self->fd, shared, &(char){ 2 }, 1));
	EXPECT_EQ(2, shared[0]);
	EXPECT_EQ(1, private[0]);
	close(fd);
}

TEST_F(hmm_mirror, write_after_fork_is_seen_by_one_side_only)
{
	char *map = self->map, byte = 2;
	int fd = device_open(variant->device);
	pid_t pid;

	memset(map, 1, self->size);
	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	pid = sleeper();
	ASSERT_LT(0, pid);
	EXPECT_EQ(0, writable_in(self->fd, map, self->size));
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

	/* The parent itself writes, and so gets pages of its own. */
	ASSERT_EQ(1, byte_at(self->fd, map + 2 * self->page));
	memset(map, 4, self->size);
	EXPECT_EQ(4, byte_at(self->fd, map + 2 * self->page));
	EXPECT_EQ(1, byte_at(fd, map + 2 * self->page));
	EXPECT_EQ(0, stale(self->fd, getpid()));
	reap(pid);
	close(fd);
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

/* What is refused */

TEST_F(hmm_mirror, access_to_a_bad_range_is_EINVAL)
{
	char byte = 0;
	const struct hmm_mirror_rw bad[] = {
		{ .addr = ~0ULL, .len = 2 },
		{ .addr = 4096, .len = ~0ULL },
		{ .addr = ABOVE, .len = 1 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct hmm_mirror_rw arg = bad[i];

		arg.buf = (uintptr_t)&byte;
		EXPECT_EQ(-EINVAL, call(self->fd, HMM_MIRROR_IOC_READ, &arg));
		EXPECT_EQ(-EINVAL, call(self->fd, HMM_MIRROR_IOC_WRITE, &arg));
	}
}

TEST_F(hmm_mirror, access_of_no_bytes_succeeds)
{
	EXPECT_EQ(0, read_at(self->fd, NULL, NULL, 0));
	EXPECT_EQ(0, write_at(self->fd, NULL, NULL, 0));
	EXPECT_EQ(0, entries_in(self->fd, NULL, ABOVE));
}

TEST_F(hmm_mirror, access_with_a_bad_buffer_is_EFAULT)
{
	char *map = self->map, *none = memory(self->page);

	munmap(none, self->page);
	EXPECT_EQ(-EFAULT, read_at(self->fd, map, none, 1));
	EXPECT_EQ(-EFAULT, write_at(self->fd, map, none, 1));
	EXPECT_EQ(-EFAULT, read_at(self->fd, map, (void *)ABOVE, 1));
}

TEST_F(hmm_mirror, access_stops_at_a_hole_with_EFAULT)
{
	char *map = self->map, *copy = malloc(self->size);
	size_t done;

	memset(map, 7, self->size);
	munmap(map + 5 * self->page, self->page);
	EXPECT_EQ(-EFAULT, device_read(self->fd, (uintptr_t)map + 100, copy,
				       self->size - 100, &done));
	EXPECT_EQ(5 * self->page - 100, done);
	EXPECT_EQ(7, copy[done - 1]);
	EXPECT_EQ(-EFAULT, device_write(self->fd, (uintptr_t)map + 100, copy,
					self->size - 100, &done));
	EXPECT_EQ(5 * self->page - 100, done);
	free(copy);
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
	EXPECT_EQ(-EFAULT, byte_at(self->fd, vvar));
	EXPECT_EQ(0, entries_in(self->fd, vvar, self->page));
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
	char *map = self->map, *copy = malloc(self->size);
	size_t i;

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

/*
 * Memory of memfd_secret(2) is for its own process alone: a device gets none of it, in
 * whichever way it asks, and what is beside it is as usable as before.
 */
TEST_F(hmm_mirror, secret_memory_is_refused)
{
	int secret = syscall(__NR_memfd_secret, O_CLOEXEC);
	char *map = memory(4 * self->page), *mapped = map + self->page, bytes[2];
	__u64 filled;

	if (secret < 0)
		SKIP(return, "this kernel has no secret memory");
	ASSERT_EQ(0, ftruncate(secret, 2 * self->page));
	ASSERT_EQ(mapped, mmap(mapped, 2 * self->page, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED, secret, 0));
	map[0] = 'b';
	mapped[0] = 's';	/* and the second page is not there yet */

	EXPECT_EQ(-EFAULT, byte_at(self->fd, mapped));
	EXPECT_EQ(-EFAULT, byte_at(self->fd, mapped + self->page));
	EXPECT_EQ(-EFAULT, write_at(self->fd, mapped, "x", 1));
	EXPECT_EQ(-EFAULT, map_write(self->fd, mapped, 2 * self->page));
	EXPECT_EQ(-EFAULT, map_read(self->fd, mapped, self->page));
	EXPECT_EQ(-EFAULT, map_read(self->fd, map, 4 * self->page));
	ASSERT_EQ(0, device_map(self->fd, (uintptr_t)map, 4 * self->page,
				HMM_MIRROR_MAP_PRESENT, &filled));
	EXPECT_EQ(1, filled);
	EXPECT_EQ(0, entries_in(self->fd, mapped, 2 * self->page));
	EXPECT_EQ('s', mapped[0]);

	/* Up to there it is read. */
	map[self->page - 1] = 'l';
	EXPECT_EQ(-EFAULT, read_at(self->fd, mapped - 1, bytes, 2));
	EXPECT_EQ('l', bytes[0]);

	/* Other memory in its place is for all. */
	ASSERT_EQ(mapped, mmap(mapped, self->page, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			       MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_EQ(0, byte_at(self->fd, mapped));
	close(secret);
}

/*
 * An mprotect() of what is mapped at address 0 ends its invalidation.  If it did not,
 * the device could not read that area again, and each such call would take one of the
 * invalidations that the registry tracks exactly.
 */
TEST_F(hmm_mirror, protecting_address_0_ends)
{
	char *zero = mmap(NULL, self->page, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			  MAP_ANONYMOUS | MAP_FIXED, -1, 0), byte;
	int i;

	if (registry_is_module())
		SKIP(return, "the mprotect() of this kernel does not end it");
	if (zero == MAP_FAILED)
		SKIP(return, "nothing can be mapped at address 0");
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, mprotect(zero, self->page, PROT_READ | PROT_WRITE));
		ASSERT_EQ(0, write_at(self->fd, zero, &(char){ i }, 1));
		ASSERT_EQ(0, mprotect(zero, self->page, PROT_READ));
		ASSERT_EQ(-EPERM, write_at(self->fd, zero, "x", 1));
		ASSERT_EQ(0, read_at(self->fd, zero, &byte, 1));
		ASSERT_EQ(i, byte);
	}
	EXPECT_EQ(0, stale(self->fd, getpid()));
	munmap(zero, self->page);
}

TEST_HARNESS_MAIN
