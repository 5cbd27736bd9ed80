// SPDX-License-Identifier: GPL-2.0
/*
 * One device context: the ioctls of hmm_mirror_uapi.h as functions.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "device.h"
#include "inject.h"

/* The most entries that one DUMP call returns, see struct hmm_mirror_dump. */
#define DUMP_BATCH	512

const char *device_default(void)
{
	if (access(DEVICE_RUST, F_OK) && !access(DEVICE_C, F_OK))
		return DEVICE_C;
	return DEVICE_RUST;
}

int device_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

size_t device_pages(const char *path)
{
	const char *name = strrchr(path, '/');

	/* It needs 0.2 s for each */
	return strncmp(name ? name + 1 : path, "hmm_mirror_edu", 14) ? SIZE_MAX : 200;
}

static int device_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) ? -errno : 0;
}

static __thread const char *bind_why;
static long bind_options;

const char *device_bind_why(void)
{
	return bind_why ?: "the driver says no more";
}

void device_bind_traced(long options)
{
	bind_options = options;
}

/* Where the process is, the name may be that of something else. */
static bool is_same_device(int a, int b)
{
	struct stat stat_a, stat_b;

	return !fstat(a, &stat_a) && !fstat(b, &stat_b) && S_ISCHR(stat_a.st_mode) &&
	       S_ISCHR(stat_b.st_mode) && stat_a.st_rdev == stat_b.st_rdev;
}

/*
 * The driver is a module: has @pid, which @pidfd belongs to, bind the device that @fd is,
 * and puts that in its place.
 */
static int device_bind_by(int fd, pid_t pid, int pidfd)
{
	char link[32], path[PATH_MAX];
	int bound, ret = 0;
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len < 0)
		return -errno;
	path[len] = '\0';
	bound = bind_by_process(path, pid, bind_options, &bind_why);
	if (bound < 0)
		return bound;
	/* As long as that process is not reaped, @pid is the number of no other */
	if (syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0)) {
		ret = -errno;
	} else if (!is_same_device(bound, fd)) {
		bind_why = "what it has opened by that name is another file";
		ret = -EOPNOTSUPP;
	} else if (dup3(bound, fd, O_CLOEXEC) < 0) {
		ret = -errno;
	}
	close(bound);
	return ret;
}

int device_bind(int fd, pid_t pid)
{
	struct hmm_mirror_bind bind = { };
	int ret;

	/*
	 * A pidfd cannot come to mean another process; a number can, while the
	 * call is under way.
	 */
	bind.pidfd = syscall(SYS_pidfd_open, pid, 0);
	if (bind.pidfd < 0)
		return -errno;
	ret = device_ioctl(fd, HMM_MIRROR_IOC_BIND, &bind);
	if (ret == -EOPNOTSUPP)
		ret = device_bind_by(fd, pid, bind.pidfd);
	close(bind.pidfd);
	return ret;
}

int device_map(int fd, __u64 addr, __u64 len, __u32 flags,
	       __u64 *pages)
{
	struct hmm_mirror_map map = { .addr = addr, .len = len, .flags = flags };
	int ret = device_ioctl(fd, HMM_MIRROR_IOC_MAP, &map);

	if (pages)
		*pages = map.pages;
	return ret;
}

static int device_rw(int fd, unsigned long request, __u64 addr,
		     const void *buf, size_t len, size_t *done)
{
	struct hmm_mirror_rw rw = {
		.addr = addr, .buf = (uintptr_t)buf, .len = len,
	};
	int ret = device_ioctl(fd, request, &rw);

	if (done)
		*done = rw.done;
	return ret;
}

int device_read(int fd, __u64 addr, void *buf, size_t len, size_t *done)
{
	return device_rw(fd, HMM_MIRROR_IOC_READ, addr, buf, len, done);
}

int device_write(int fd, __u64 addr, const void *buf, size_t len,
		 size_t *done)
{
	return device_rw(fd, HMM_MIRROR_IOC_WRITE, addr, buf, len, done);
}

int device_add(int fd, __u64 addr, __u64 value, __u64 *old)
{
	struct hmm_mirror_add add = { .addr = addr, .value = value };
	int ret = device_ioctl(fd, HMM_MIRROR_IOC_ADD, &add);

	if (old)
		*old = add.old;
	return ret;
}

int entries_reserve(struct entries *entries, size_t nr)
{
	size_t capacity = 2 * entries->capacity + nr;
	void *entry;

	if (entries->capacity >= entries->nr + nr)
		return 0;
	entry = realloc(entries->entry, capacity * sizeof(*entries->entry));
	if (!entry)
		return -ENOMEM;
	entries->entry = entry;
	entries->capacity = capacity;
	return 0;
}

int device_dump(int fd, __u64 start, __u64 end, struct entries *entries)
{
	struct hmm_mirror_dump dump = { .start = start, .end = end };

	entries->nr = 0;
	do {
		int ret;

		ret = entries_reserve(entries, DUMP_BATCH);
		if (ret)
			return ret;
		dump.entries = (uintptr_t)(entries->entry + entries->nr);
		dump.capacity = DUMP_BATCH;
		ret = device_ioctl(fd, HMM_MIRROR_IOC_DUMP, &dump);
		if (ret)
			return ret;
		entries->nr += dump.count;
	} while (dump.start != end);
	return 0;
}

void entries_free(struct entries *entries)
{
	free(entries->entry);
	*entries = (struct entries){ };
}

int device_stats(int fd, struct hmm_mirror_stats *stats)
{
	return device_ioctl(fd, HMM_MIRROR_IOC_STATS, stats);
}

void stats_add(struct hmm_mirror_stats *total, const struct hmm_mirror_stats *stats)
{
	total->pages += stats->pages;
	total->read_bytes += stats->read_bytes;
	total->written_bytes += stats->written_bytes;
	total->faults += stats->faults;
	total->retries += stats->retries;
	total->invalidations += stats->invalidations;
	total->invalidated += stats->invalidated;
	total->accesses += stats->accesses;
}
