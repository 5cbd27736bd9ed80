// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel says of a process and its memory, in /proc/PID.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "proc.h"

#define BATCH	512

void comm_read(pid_t pid, char *comm, size_t size)
{
	char path[32];
	ssize_t len = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		len = read(fd, comm, size - 1);
		close(fd);
	}
	comm[len > 0 ? len : 0] = '\0';
	comm[strcspn(comm, "\n")] = '\0';
	/* It may be any bytes, such as those that clear a terminal. */
	for (; *comm; comm++)
		if (*comm < ' ' || *comm > '~')
			*comm = '?';
}

static bool has_memory(pid_t tid)
{
	unsigned long pages = 0;
	char path[32];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/statm", tid);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (fscanf(file, "%lu", &pages) != 1)
		pages = 0;
	fclose(file);
	return pages;
}

/* A thread of @pid that has memory: the main thread, unless it has ended. */
static pid_t memory_thread(pid_t pid)
{
	struct dirent *dirent;
	pid_t found = pid;
	char path[32];
	DIR *dir;

	if (has_memory(pid))
		return pid;
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return pid;
	while (found == pid && (dirent = readdir(dir))) {
		pid_t tid = atoi(dirent->d_name);

		if (tid > 0 && has_memory(tid))
			found = tid;
	}
	closedir(dir);
	return found;
}

int memory_open(pid_t pid, const char *name)
{
	char path[48];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", memory_thread(pid), name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int maps_add(struct maps *maps, const struct vma *vma)
{
	if (maps->nr == maps->capacity) {
		size_t capacity = 2 * maps->capacity + 64;
		void *array = realloc(maps->vma, capacity * sizeof(*maps->vma));

		if (!array)
			return -ENOMEM;
		maps->vma = array;
		maps->capacity = capacity;
	}
	maps->vma[maps->nr++] = *vma;
	return 0;
}

int maps_read(pid_t pid, struct maps *maps)
{
	int ret = 0, fd = memory_open(pid, "maps");
	char *line = NULL;
	size_t size = 0;
	FILE *file;

	maps->nr = 0;
	if (fd < 0)
		return fd;
	file = fdopen(fd, "r");
	if (!file) {
		ret = -errno;
		close(fd);
		return ret;
	}

	while (getline(&line, &size, file) > 0) {
		struct vma vma = { };
		int name = 0;
		char *slash;
		char perms[5];

		if (sscanf(line, "%llx-%llx %4s %*s %*s %*s %n",
			   &vma.start, &vma.end, perms, &name) != 3)
			continue;
		/* x86 shows the vsyscall page, which is in no address space. */
		if (vma.start >> 63)
			continue;
		vma.read = perms[0] == 'r';
		vma.write = perms[1] == 'w';
		vma.shared = perms[3] == 's';
		line[strcspn(line, "\n")] = '\0';
		slash = strrchr(line + name, '/');
		snprintf(vma.name, sizeof(vma.name), "%s",
			 slash ? slash + 1 : line + name);

		ret = maps_add(maps, &vma);
		if (ret)
			break;
	}
	free(line);
	fclose(file);
	return ret;
}

void maps_free(struct maps *maps)
{
	free(maps->vma);
	*maps = (struct maps){ };
}

const struct vma *maps_find(const struct maps *maps, __u64 addr)
{
	size_t low = 0, high = maps->nr;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct vma *vma = &maps->vma[middle];

		if (addr < vma->start)
			high = middle;
		else if (addr >= vma->end)
			low = middle + 1;
		else
			return vma;
	}
	return NULL;
}

int pagemap_open(pid_t pid)
{
	return memory_open(pid, "pagemap");
}

int pagemap_read(int fd, __u64 addr, __u64 *pages, size_t nr)
{
	__u64 index = addr / sysconf(_SC_PAGESIZE);
	ssize_t bytes;

	bytes = pread(fd, pages, nr * sizeof(*pages), index * sizeof(*pages));
	if (bytes < 0)
		return -errno;
	memset((char *)pages + bytes, 0, nr * sizeof(*pages) - bytes);
	return 0;
}

static bool word_writable(const struct vma *vma, __u64 word)
{
	if (!vma->write)
		return false;
	return vma->shared || (!(word & PAGEMAP_FILE) && (word & PAGEMAP_EXCLUSIVE));
}

/* Adds the pages of @region, which were in memory a moment ago. */
static int entries_add(int fd, const struct vma *vma,
		       const struct page_region *region, struct entries *entries)
{
	const __u64 page = sysconf(_SC_PAGESIZE);
	/* A table has as many entries of 8 bytes as fill a page. */
	const __u32 order = region->categories & PAGE_IS_HUGE ?
			    __builtin_ctzll(page / 8) : 0;
	__u64 words[BATCH], addr;
	size_t i, nr;
	int ret;

	for (addr = region->start; addr < region->end; addr += nr * page) {
		nr = (region->end - addr) / page;
		if (nr > BATCH)
			nr = BATCH;
		ret = pagemap_read(fd, addr, words, nr);
		if (!ret)
			ret = entries_reserve(entries, nr);
		if (ret)
			return ret;
		for (i = 0; i < nr; i++) {
			if (!(words[i] & PAGEMAP_PRESENT))
				continue;
			entries->entry[entries->nr++] = (struct hmm_mirror_entry){
				.addr = addr + i * page,
				.pfn = words[i] & PAGEMAP_PFN,
				.flags = word_writable(vma, words[i]) ?
					 HMM_MIRROR_ENTRY_WRITE : 0,
				.order = order,
			};
		}
	}
	return 0;
}

/* Steps over what is not in memory, which may be most of a large mapping. */
static int vma_table(int fd, const struct vma *vma, struct entries *entries)
{
	struct page_region regions[BATCH];
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.start = vma->start,
		.end = vma->end,
		.vec = (uintptr_t)regions,
		.vec_len = BATCH,
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_HUGE,
	};

	while (scan.start < scan.end) {
		int i, ret = 0, nr = ioctl(fd, PAGEMAP_SCAN, &scan);

		if (nr < 0)
			return -errno;
		for (i = 0; !ret && i < nr; i++)
			ret = entries_add(fd, vma, &regions[i], entries);
		if (ret)
			return ret;
		scan.start = scan.walk_end;
	}
	return 0;
}

int cpu_table(pid_t pid, const struct maps *maps, struct entries *entries)
{
	int ret = 0, fd = pagemap_open(pid);
	size_t i;

	entries->nr = 0;
	if (fd < 0)
		return fd;
	for (i = 0; !ret && i < maps->nr; i++)
		if (maps->vma[i].read)
			ret = vma_table(fd, &maps->vma[i], entries);
	close(fd);
	return ret;
}
