// SPDX-License-Identifier: GPL-2.0
/*
 * Mirrors a process that goes on undisturbed, and looks at it.
 *
 * The device has its turn right after a picture, and does nothing until the
 * next. So what is invalidated in between is missing in that, and can be seen.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "complain.h"
#include "view_mirror.h"

#define CHUNK		(2ULL << 20)	/* bytes mirrored in one go */
#define READS		64		/* pages read in a turn */

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

double watch_time(const struct watch *watch)
{
	return now_ns() / 1e9 - watch->start;
}

static void ring_add(struct ring *ring, __u64 ns)
{
	ring->ns[ring->nr++ % TIMES] = ns;
}

static int ns_compare(const void *a, const void *b)
{
	const __u64 *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static struct times ring_times(const struct ring *ring)
{
	size_t nr = ring->nr < TIMES ? ring->nr : TIMES;
	__u64 sorted[TIMES];

	if (!nr)
		return (struct times){ };
	memcpy(sorted, ring->ns, nr * sizeof(*sorted));
	qsort(sorted, nr, sizeof(*sorted), ns_compare);
	return (struct times){
		.nr = nr,
		.median = sorted[nr / 2] / 1e3,
		.p99 = sorted[nr * 99 / 100] / 1e3,
		.max = sorted[nr - 1] / 1e3,
	};
}

struct hmm_mirror_stats watch_total(const struct watch *watch)
{
	struct hmm_mirror_stats total = watch->gone, stats;

	if (!device_stats(watch->fd, &stats))
		stats_add(&total, &stats);
	return total;
}

/* Begins with a new address space. */
static void space_begin(struct watch *watch, int fd)
{
	if (watch->fd >= 0) {
		watch->gone = watch_total(watch);
		close(watch->fd);
	}
	watch->fd = fd;
	watch->sample.space++;
	watch->table.nr = 0;
	watch->filled.nr = 0;
	watch->cursor = 0;
	watch->rated = (struct hmm_mirror_stats){ };
	watch->rated_at = watch_time(watch);
}

int watch_begin(struct watch *watch, const char *device, pid_t pid)
{
	int fd = bind_or_complain(device, pid);

	if (fd < 0)
		return fd;
	*watch = (struct watch){
		.device = device, .pid = pid, .fd = -1, .start = now_ns() / 1e9,
	};
	watch->sample.pid = pid;
	watch->pidfd = syscall(SYS_pidfd_open, pid, 0);
	if (watch->pidfd < 0) {
		int ret = -errno;

		close(fd);
		complain_bind(device, pid, ret);
		return ret;
	}
	space_begin(watch, fd);
	return 0;
}

void watch_end(struct watch *watch)
{
	sample_free(&watch->sample);
	entries_free(&watch->cpu);
	entries_free(&watch->table);
	entries_free(&watch->before);
	entries_free(&watch->filled);
	close(watch->fd);
	close(watch->pidfd);
}

static bool ended(const struct watch *watch)
{
	struct pollfd poll_fd = { .fd = watch->pidfd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) > 0;
}

/* What /proc says, and the device, of a process without an address space. */
static bool none(int error)
{
	return error == -ESRCH || error == -ENOENT || error == -EINVAL;
}

/* The address space is dead: is there a new one? */
static int space_next(struct watch *watch)
{
	int ret, fd = device_open(watch->device);

	if (fd < 0)
		return fd;
	ret = device_bind(fd, watch->pid);
	if (!ret) {
		space_begin(watch, fd);
		return -EAGAIN;
	}
	close(fd);
	if (ret == -ESRCH && !ended(watch))
		return -EAGAIN;
	return ret;
}

/* Over a second, as a picture is too short to be read off. */
static void rate(struct watch *watch)
{
	const struct hmm_mirror_stats *new = &watch->sample.stats;
	const struct hmm_mirror_stats *old = &watch->rated;
	double seconds = watch->sample.time - watch->rated_at;

	if (seconds < 1)
		return;
	watch->rates = (struct rates){
		.in = (stats_mirrored(new) - stats_mirrored(old)) / seconds,
		.out = (new->invalidated - old->invalidated) / seconds,
		.faults = (new->faults - old->faults) / seconds,
		.retries = (new->retries - old->retries) / seconds,
		.invalidations = (new->invalidations - old->invalidations) / seconds,
		.accesses = (new->accesses - old->accesses) / seconds,
	};
	watch->rated = *new;
	watch->rated_at = watch->sample.time;
}

static int paint(struct watch *watch)
{
	struct sample *sample = &watch->sample;
	int ret;

	sample->cpu.nr = 0;
	sample->device.nr = 0;
	ret = runs_maps(&sample->cpu, &sample->maps);
	if (!ret)
		ret = runs_entries(&sample->cpu, &watch->cpu, NULL);
	if (!ret)
		ret = runs_maps(&sample->device, &sample->maps);
	if (!ret)
		ret = runs_entries(&sample->device, &watch->table, &watch->before);
	if (!ret)
		ret = runs_gone(&sample->device, &watch->filled, &watch->table);
	return ret;
}

int watch_look(struct watch *watch)
{
	struct entries before = watch->before;
	struct sample *sample = &watch->sample;
	int ret;

	if (ended(watch))
		return -ESRCH;

	/* What is the last picture becomes the one before; its room is reused. */
	watch->before = watch->table;
	watch->table = before;

	sample->time = watch_time(watch);
	comm_read(watch->pid, sample->name, sizeof(sample->name));
	ret = maps_read(watch->pid, &sample->maps);
	if (!ret)
		ret = cpu_table(watch->pid, &sample->maps, &watch->cpu);
	if (!ret)
		ret = device_dump(watch->fd, 0, ~0ULL, &watch->table);
	if (!ret)
		ret = device_stats(watch->fd, &sample->stats);
	/* The CPU's table may be that of another address space by now, or of none. */
	if (none(ret) || (!ret && sample->stats.dead))
		return space_next(watch);
	if (ret)
		return ret;
	rate(watch);
	sample->fault = ring_times(&watch->faults);
	sample->read = ring_times(&watch->reads);
	return paint(watch);
}

/* One page by itself, to see how long that takes, and the others in one go. */
static void mirror(struct watch *watch, __u64 start, __u64 end)
{
	const __u64 page = sysconf(_SC_PAGESIZE);
	__u64 began = now_ns(), pages;

	if (!device_map(watch->fd, start, page, HMM_MIRROR_MAP_PRESENT, &pages) &&
	    pages)
		ring_add(&watch->faults, now_ns() - began);
	if (start + page < end)
		device_map(watch->fd, start + page, end - start - page,
			   HMM_MIRROR_MAP_PRESENT, NULL);
}

/* Reads some of what it has, and next time some others. */
static void use(struct watch *watch)
{
	const struct entries *entries = &watch->table;
	size_t i, step = entries->nr / READS + 1;
	char buffer[8];

	for (i = watch->turns++ % step; i < entries->nr; i += step) {
		__u64 began = now_ns();

		if (!device_read(watch->fd, entries->entry[i].addr, buffer,
				 sizeof(buffer), NULL))
			ring_add(&watch->reads, now_ns() - began);
	}
}

void watch_work(struct watch *watch, double seconds)
{
	const double until = watch_time(watch) + seconds;
	const __u64 page = sysconf(_SC_PAGESIZE);
	const struct entries *cpu = &watch->cpu;
	size_t i, nr;

	use(watch);
	for (i = 0; i < cpu->nr && watch_time(watch) < until; i += nr) {
		__u64 start = cpu->entry[i].addr;

		/* Where the time was up, the next turn goes on. */
		if (start < watch->cursor) {
			nr = 1;
			continue;
		}

		for (nr = 0; nr < CHUNK / page && i + nr < cpu->nr; nr++)
			if (cpu->entry[i + nr].addr != start + nr * page ||
			    entries_find(&watch->table, start + nr * page))
				break;
		if (nr)
			mirror(watch, start, start + nr * page);
		else
			nr = 1;
	}
	watch->cursor = i < cpu->nr ? cpu->entry[i].addr : 0;
	/* It is only needed to tell what will have gone from it. */
	if (device_dump(watch->fd, 0, ~0ULL, &watch->filled))
		watch->filled.nr = 0;
}
