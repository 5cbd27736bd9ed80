// SPDX-License-Identifier: GPL-2.0
/*
 * Steps of the workload that change its mappings.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "workload.h"

void step_mmap(void)
{
	map_arena(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	/* The zero page first: the device may read it, not write to it. */
	device_sees(work.arena, ARENA_SIZE);
	check(work.arena, ARENA_SIZE);
}

void step_munmap(void)
{
	char *hole = work.arena + ARENA_SIZE / 4;
	const size_t size = ARENA_SIZE / 2;

	fresh_arena();
	munmap(hole, size);
	device_forgot(hole, size);
	device_refuses(hole, false, -EFAULT);
	device_refuses(hole + size - work.page, true, -EFAULT);
	in_step();
	check(work.arena, hole - work.arena);
	check(hole + size, work.arena + ARENA_SIZE - hole - size);
}

void step_mprotect(void)
{
	char *half = work.arena + ARENA_SIZE / 2;

	fresh_arena();
	mprotect(half, ARENA_SIZE / 2, PROT_READ);
	expect(!device_has(half, ARENA_SIZE / 2, HMM_MIRROR_ENTRY_WRITE, 0),
	       "the device has writable pages in a read-only mapping");
	device_refuses(half, true, -EPERM);
	device_sees(half, ARENA_SIZE / 2);
	in_step();
	mprotect(half, ARENA_SIZE / 2, PROT_NONE);
	device_refuses(half, false, -EFAULT);
	in_step();
	mprotect(half, ARENA_SIZE / 2, PROT_READ | PROT_WRITE);
	check(work.arena, ARENA_SIZE);
}

void step_mremap(void)
{
	char *away = reserve(ARENA_SIZE), *back;

	fresh_arena();
	if (mremap(work.arena, ARENA_SIZE, ARENA_SIZE,
		   MREMAP_MAYMOVE | MREMAP_FIXED, away) != away)
		err(1, "mremap");
	device_refuses(work.arena, false, -EFAULT);
	device_sees(away, ARENA_SIZE);
	device_writes(away, ARENA_SIZE);
	in_step();
	back = mremap(away, ARENA_SIZE, ARENA_SIZE,
		      MREMAP_MAYMOVE | MREMAP_FIXED, work.arena);
	if (back != work.arena)
		err(1, "mremap");
	device_refuses(away, false, -EFAULT);
	check(work.arena, ARENA_SIZE);
}

void step_dontneed(void)
{
	fresh_arena();
	madvise(work.arena, ARENA_SIZE, MADV_DONTNEED);
	in_step();
	device_sees(work.arena, ARENA_SIZE);
	check(work.arena, ARENA_SIZE);
}

void step_free(void)
{
	fresh_arena();
	madvise(work.arena, ARENA_SIZE, MADV_FREE);
	madvise(work.arena, ARENA_SIZE, MADV_PAGEOUT);
	in_step();
	device_sees(work.arena, ARENA_SIZE);
	check(work.arena, ARENA_SIZE);
}

void step_truncate(void)
{
	int fd = memfd_create("truncate", MFD_CLOEXEC);
	char *tail = work.arena + ARENA_SIZE / 2;

	if (fd < 0 || ftruncate(fd, ARENA_SIZE))
		err(1, "memfd");
	map_arena(MAP_SHARED, fd);
	check(work.arena, ARENA_SIZE);
	if (ftruncate(fd, ARENA_SIZE / 2))
		err(1, "ftruncate");
	device_forgot(tail, ARENA_SIZE / 2);
	device_refuses(tail, false, -EFAULT);
	in_step();
	if (ftruncate(fd, ARENA_SIZE))
		err(1, "ftruncate");
	check(work.arena, ARENA_SIZE);
	close(fd);
}

/* The device writes to its own copy of a file that is mapped privately. */
void step_private(void)
{
	int fd = memfd_create("private", MFD_CLOEXEC);
	struct stamp stamp;
	size_t i, nonzero = 0;

	if (fd < 0 || ftruncate(fd, ARENA_SIZE))
		err(1, "memfd");
	map_arena(MAP_PRIVATE, fd);
	device_sees(work.arena, ARENA_SIZE);
	device_writes(work.arena, ARENA_SIZE);
	in_step();
	for (i = 0; i < ARENA_SIZE / work.page; i++)
		if (pread(fd, &stamp, sizeof(stamp), i * work.page) !=
		    sizeof(stamp) || stamp.mail)
			nonzero++;
	expect(!nonzero, "%zu pages of a file were written through a private mapping",
	       nonzero);
	check(work.arena, ARENA_SIZE);
	close(fd);
}
