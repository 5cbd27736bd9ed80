// SPDX-License-Identifier: GPL-2.0
/*
 * Steps of the workload that leave its mappings, and change the pages: huge ones,
 * migration, swap, KSM.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proc.h"
#include "workload.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

/* How many pages share the frame of the page in the middle? */
static size_t device_merged(char *memory, size_t size)
{
	struct entries entries = { };
	size_t i, nr = 0;

	if (device_dump(work.fd, (uintptr_t)memory, (uintptr_t)memory + size,
			&entries))
		entries.nr = 0;
	for (i = 0; i < entries.nr; i++)
		nr += entries.entry[i].pfn == entries.entry[entries.nr / 2].pfn;
	entries_free(&entries);
	return nr;
}

static bool collapse(void)
{
	madvise(work.arena, ARENA_SIZE, MADV_HUGEPAGE);
	if (!madvise(work.arena, ARENA_SIZE, MADV_COLLAPSE))
		return true;
	printf("workload: no huge page to be had: %s\n", strerror(errno));
	return false;
}

void step_collapse(void)
{
	fresh_arena();
	if (!collapse())
		return;
	in_step();
	device_sees(work.arena, ARENA_SIZE);
	expect(device_has(work.arena, ARENA_SIZE, 0, 9) > 0,
	       "the device sees no huge page");
	check(work.arena, ARENA_SIZE);
}

void step_split(void)
{
	fresh_arena();
	if (!collapse())
		return;
	check(work.arena, ARENA_SIZE);
	/* Part of the first huge page away, part of the second read-only. */
	madvise(work.arena + 16 * work.page, 16 * work.page, MADV_DONTNEED);
	mprotect(work.arena + HUGE_SIZE, 16 * work.page, PROT_READ);
	device_refuses(work.arena + HUGE_SIZE, true, -EPERM);
	in_step();
	device_sees(work.arena, ARENA_SIZE);
	expect(!device_has(work.arena + HUGE_SIZE, HUGE_SIZE, 0, 9),
	       "the device still sees a huge page");
	mprotect(work.arena + HUGE_SIZE, 16 * work.page,
		 PROT_READ | PROT_WRITE);
	check(work.arena, ARENA_SIZE);
}

static void sys_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		printf("workload: %s: %s\n", path, strerror(errno));
	close(fd);
}

void step_migrate(void)
{
	const size_t pages = ARENA_SIZE / work.page;
	static __u64 before[ARENA_SIZE / 4096], after[ARENA_SIZE / 4096];
	size_t i, moved = 0, size = 8 * ARENA_SIZE;
	char *holes;

	fresh_arena();
	/* Leave free pages between used ones, so that there is work to do. */
	holes = mmap(NULL, size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (holes == MAP_FAILED)
		err(1, "mmap");
	for (i = 0; i < size / work.page; i += 2)
		madvise(holes + i * work.page, work.page, MADV_DONTNEED);

	frames_read(before);
	sys_write("/proc/sys/vm/compact_memory", "1");
	frames_read(after);
	for (i = 0; i < pages; i++)
		moved += before[i] != after[i];
	printf("workload: compaction moved %zu of %zu pages\n", moved, pages);
	in_step();
	device_sees(work.arena, ARENA_SIZE);
	check(work.arena, ARENA_SIZE);
	munmap(holes, size);
}

void step_swap(void)
{
	const size_t pages = ARENA_SIZE / work.page;
	static __u64 frames[ARENA_SIZE / 4096];
	size_t i, out = 0;

	fresh_arena();
	madvise(work.arena, ARENA_SIZE, MADV_PAGEOUT);
	frames_read(frames);
	for (i = 0; i < pages; i++)
		out += !(frames[i] & PAGEMAP_PRESENT);
	printf("workload: %zu of %zu pages are in swap\n", out, pages);
	in_step();
	/* The device's reads bring them back. */
	device_sees(work.arena, ARENA_SIZE);
	check(work.arena, ARENA_SIZE);
}

/* Memory of its own: the other thread would keep the arena from being merged. */
void step_ksm(void)
{
	static const char run[] = "/sys/kernel/mm/ksm/run";
	size_t i, merged = 0;
	char *memory;

	if (access(run, W_OK)) {
		printf("workload: no KSM here: %s\n", strerror(errno));
		return;
	}
	memory = mmap(NULL, HUGE_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap");
	memset(memory, 1, HUGE_SIZE);
	device_writes(memory, work.page);
	madvise(memory, HUGE_SIZE, MADV_MERGEABLE);
	sys_write("/sys/kernel/mm/ksm/pages_to_scan", "2000");
	sys_write("/sys/kernel/mm/ksm/sleep_millisecs", "10");
	sys_write(run, "1");
	/* The device looks on while pages are merged. */
	for (i = 0; i < 50 && merged < 2; i++) {
		usleep(100000);
		device_sees(memory, HUGE_SIZE);
		in_step();
		merged = device_merged(memory, HUGE_SIZE);
	}
	printf("workload: %zu pages are merged into one\n", merged);
	device_writes(memory, HUGE_SIZE / 2);
	device_sees(memory, HUGE_SIZE);
	in_step();
	sys_write(run, "2");
	check(memory, HUGE_SIZE);
	munmap(memory, HUGE_SIZE);
}
