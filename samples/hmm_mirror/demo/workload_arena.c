// SPDX-License-Identifier: GPL-2.0
/*
 * The memory that the workload changes.
 */
#include <err.h>
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proc.h"
#include "workload.h"

#define APART	((void *)0x200000000000)

char *reserve(size_t size)
{
	char *memory = mmap(APART, size + HUGE_SIZE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *aligned = (char *)(((uintptr_t)memory + HUGE_SIZE - 1) &
				 -HUGE_SIZE);

	if (memory == MAP_FAILED)
		err(1, "mmap");
	munmap(memory, aligned - memory);
	munmap(aligned + size, memory + HUGE_SIZE - aligned);
	return aligned;
}

void map_arena(int flags, int fd)
{
	char *memory = mmap(work.arena, ARENA_SIZE, PROT_READ | PROT_WRITE,
			    MAP_FIXED | flags, fd, 0);

	if (memory == MAP_FAILED)
		err(1, "mmap");
}

void fresh_arena(void)
{
	map_arena(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (madvise(work.arena, ARENA_SIZE, MADV_NOHUGEPAGE) && errno != EINVAL)
		err(1, "madvise(MADV_NOHUGEPAGE)");
	check(work.arena, ARENA_SIZE);
}

void frames_read(__u64 *frames)
{
	int fd = pagemap_open(getpid());

	if (fd < 0 || pagemap_read(fd, (uintptr_t)work.arena, frames,
				   ARENA_SIZE / work.page))
		err(1, "/proc/self/pagemap");
	close(fd);
}
