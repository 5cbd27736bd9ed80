// SPDX-License-Identifier: GPL-2.0
/*
 * Contexts of the sample devices, as tests use them, and memory and processes for
 * these to mirror.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "context.h"
#include "verify.h"

const char *device_unusable(const char *device)
{
	if (geteuid())
		return "must be run as root";
	return access(device, F_OK) ? "there is no such device" : NULL;
}

bool registry_is_module(void)
{
	return !access("/sys/module/hmm_mirror", F_OK);
}

int call(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) ? -errno : 0;
}

int bind_self(int fd)
{
	return device_bind(fd, getpid());
}

char *memory(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

char *huge_memory(void)
{
	char *map = memory(3 * HUGE_SIZE);
	char *huge = (char *)(((uintptr_t)map + HUGE_SIZE - 1) & -HUGE_SIZE);

	memset(huge, 1, HUGE_SIZE);
	madvise(huge, HUGE_SIZE, MADV_HUGEPAGE);
	return madvise(huge, HUGE_SIZE, MADV_COLLAPSE) ? NULL : huge;
}

long stale(int fd, pid_t pid)
{
	struct verify verify = { };
	int ret = verify_context(fd, pid, &verify, stderr);

	return ret ? ret : (long)verify.stale;
}

long entries_with(int fd, char *map, size_t size, __u32 flags, __u32 order)
{
	struct entries entries = { };
	int ret = device_dump(fd, (uintptr_t)map, (uintptr_t)map + size, &entries);
	long count = 0;
	size_t i;

	for (i = 0; !ret && i < entries.nr; i++)
		if ((entries.entry[i].flags & flags) == flags &&
		    entries.entry[i].order >= order)
			count++;
	entries_free(&entries);
	return ret ? ret : count;
}

long entries_in(int fd, char *map, size_t size)
{
	return entries_with(fd, map, size, 0, 0);
}

long writable_in(int fd, char *map, size_t size)
{
	return entries_with(fd, map, size, HMM_MIRROR_ENTRY_WRITE, 0);
}

int map_read(int fd, char *map, size_t size)
{
	return device_map(fd, (uintptr_t)map, size, 0, NULL);
}

int map_present(int fd, char *map, size_t size)
{
	return device_map(fd, (uintptr_t)map, size, HMM_MIRROR_MAP_PRESENT, NULL);
}

int map_write(int fd, char *map, size_t size)
{
	return device_map(fd, (uintptr_t)map, size, HMM_MIRROR_MAP_WRITE, NULL);
}

int read_at(int fd, const void *addr, void *buf, size_t len)
{
	return device_read(fd, (uintptr_t)addr, buf, len, NULL);
}

int write_at(int fd, void *addr, const void *buf, size_t len)
{
	return device_write(fd, (uintptr_t)addr, buf, len, NULL);
}

int byte_at(int fd, const char *addr)
{
	unsigned char byte;
	int ret = read_at(fd, addr, &byte, 1);

	return ret ? ret : byte;
}

double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

pid_t sleeper(void)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

void reap(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
