// SPDX-License-Identifier: GPL-2.0
/* A process to be reaped, and what mirrors it: see reap.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <lib/test_hmm_uapi.h>

#include "context.h"
#include "file.h"
#include "proc.h"
#include "reap.h"

#ifndef SYS_process_mrelease
#define SYS_process_mrelease	448
#endif

#define OTHER_FD		100	/* of OTHER_DRIVER in the victim */

long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool changes_in_time(pid_t pid, int *status)
{
	long end = now() + PATIENCE * 1000;

	do {
		if (waitpid(pid, status, WNOHANG | __WALL) == pid)
			return true;
		usleep(1000);
	} while (now() < end);
	return false;
}

static void write_pages(char *map, size_t size, size_t page)
{
	size_t i;

	for (i = 0; i < size; i += page)
		map[i] = 1;
}

/* Protections that alternate, so that no two of them are merged */
static void make_areas(size_t page)
{
	char *map = memory(AREAS * page);
	size_t i;

	for (i = 0; i < AREAS; i += 2)
		mprotect(map + i * page, page, PROT_READ);
}

/* The victim's own: writes its memory, and then does what it is told. */
static void be_victim(const struct victim *v, int ready, int go)
{
	const size_t more = 4 * CGROUP_LIMIT;
	char byte = 0, *map;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (v->other_driver && dup2(open(OTHER_DRIVER, O_RDWR), OTHER_FD) < 0)
		_exit(1);
	write_pages(v->map, v->size, v->page);
	do {
		if (byte == ALLOW_HUGE_PAGE)
			madvise(v->map, v->size, MADV_HUGEPAGE);
		if (byte == MAKE_AREAS)
			make_areas(v->page);
		if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 1)
			_exit(2);
	} while (byte != TAKE_TOO_MUCH);
	map = memory(more);
	write_pages(map, more, v->page);
	_exit(3);
}

int start_victim(struct victim *v)
{
	int ready[2], go[2];
	char byte;

	v->other_driver = !access(OTHER_DRIVER, F_OK);
	v->page = sysconf(_SC_PAGESIZE);
	v->size = PAGES * v->page;
	v->map = memory(2 * v->size);
	v->common = memory(v->page);
	if (v->map == MAP_FAILED || v->common == MAP_FAILED)
		return -ENOMEM;
	/* Where a huge page could be */
	v->map += -(uintptr_t)v->map % v->size;
	madvise(v->map, v->size, MADV_NOHUGEPAGE);
	*v->common = 1;
	if (pipe(ready) || pipe(go))
		return -errno;
	v->pid = fork();
	if (v->pid < 0)
		return -errno;
	if (!v->pid)
		be_victim(v, ready[1], go[0]);
	close(ready[1]);
	close(go[0]);
	v->go = go[1];
	v->ready = ready[0];
	if (read(v->ready, &byte, 1) != 1)
		return -EIO;
	v->pidfd = syscall(SYS_pidfd_open, v->pid, 0);
	if (v->pidfd < 0 || ptrace(PTRACE_SEIZE, v->pid, NULL, PTRACE_O_TRACEEXIT))
		return -errno;
	device_bind_traced(PTRACE_O_TRACEEXIT);
	return 0;
}

void end_victim(struct victim *v)
{
	if (v->pid > 0) {
		kill(v->pid, SIGKILL);
		ptrace(PTRACE_CONT, v->pid, NULL, NULL);
	}
}

int mirror(struct victim *v, const char *device)
{
	int fd = device_open(device), ret;

	if (fd < 0)
		return fd;
	ret = device_bind(fd, v->pid);
	if (!ret)
		ret = map_write(fd, v->map, v->size);
	if (ret)
		close(fd);
	return ret ? ret : fd;
}

int mutex_mirror(struct victim *v, const char *parameter)
{
	int fd = write_file(parameter, "Y");

	if (!fd)
		fd = mirror(v, DEVICE_C);
	write_file(parameter, "N");
	return fd;
}

bool told(struct victim *v, char byte)
{
	return write(v->go, &byte, 1) == 1 && read(v->ready, &byte, 1) == 1;
}

long entries(int fd, struct victim *v)
{
	return entries_in(fd, v->map, v->size);
}

long pages(struct victim *v)
{
	__u64 pagemap[PAGES];
	int fd = pagemap_open(v->pid), ret;
	long i, nr = 0;

	if (fd < 0)
		return fd;
	ret = pagemap_read(fd, (uintptr_t)v->map, pagemap, PAGES);
	for (i = 0; i < PAGES; i++)
		nr += !!(pagemap[i] & PAGEMAP_PRESENT);
	close(fd);
	return ret ? ret : nr;
}

bool stops_at_its_end(struct victim *v)
{
	int status;

	return changes_in_time(v->pid, &status) && WIFSTOPPED(status) &&
	       status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8);
}

bool killed(struct victim *v)
{
	return !kill(v->pid, SIGKILL) && stops_at_its_end(v);
}

bool exits(struct victim *v)
{
	pid_t pid = v->pid;
	int status;

	ptrace(PTRACE_CONT, pid, NULL, NULL);
	v->pid = 0;
	return changes_in_time(pid, &status) && WIFSIGNALED(status) &&
	       WTERMSIG(status) == SIGKILL;
}

int mrelease(struct victim *v)
{
	return syscall(SYS_process_mrelease, v->pidfd, 0) ? -errno : 0;
}

bool other_driver_works(struct victim *v)
{
	unsigned char protection[PAGES];
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)v->map,
		.ptr = (uintptr_t)protection,
		.npages = PAGES,
	};
	pid_t pid;
	int status;

	if (!v->other_driver)
		return true;
	pid = fork();
	if (!pid) {
		int fd = syscall(SYS_pidfd_getfd, v->pidfd, OTHER_FD, 0);

		_exit(fd < 0 || ioctl(fd, HMM_DMIRROR_SNAPSHOT, &cmd));
	}
	return pid > 0 && changes_in_time(pid, &status) && !status;
}

static __u64 invalidations(int fd)
{
	struct hmm_mirror_stats stats = { };

	device_stats(fd, &stats);
	return stats.invalidations;
}

pid_t write_common(struct victim *v, int mirror, const char *ms)
{
	__u64 before = invalidations(mirror);
	long end = now() + PATIENCE * 1000;
	int ret = write_file(FLUSH_MS, ms);
	pid_t pid;

	if (ret)
		return ret;
	pid = fork();
	if (!pid) {
		char path[32];
		int fd;

		snprintf(path, sizeof(path), "/proc/%d/mem", v->pid);
		fd = open(path, O_RDWR);
		_exit(pwrite(fd, "x", 1, (uintptr_t)v->common) != 1);
	}
	while (pid > 0 && invalidations(mirror) == before && now() < end)
		usleep(1000);
	return pid;
}
