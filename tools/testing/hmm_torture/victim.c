// SPDX-License-Identifier: GPL-2.0
/*
 * The victim: a process whose threads do to their memory everything that a mirror
 * has to hear of, each to a half of the arena, one thing after the other in an order
 * that depends on the seed.  See hmm_torture_uapi.h for how pages are stamped, and
 * for what epochs are for.
 *
 * A thread more uses a device on the process itself.  So when the process is killed
 * it is in the middle of a device page fault, more often than not.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "file.h"
#include "shared.h"
#include "victim.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define HALF		(PAGES / 2)
#define SPLIT_FILE	"/sys/kernel/debug/split_huge_pages"

static struct life *life;

struct worker {
	unsigned int first;		/* page of the arena; HALF are the worker's */
	__u64 seed;
	bool child;			/* forked by a victim, and does not fork itself */
	__u64 generation[HALF];		/* of the last stamp */
	bool empty[HALF];		/* there may be none, the page may be 0 */
};

static char *page_at(const struct worker *worker, unsigned int i)
{
	return life->arena + (worker->first + i) * PAGE;
}

static struct hmm_torture_stamp *stamp_at(const struct worker *worker, unsigned int i)
{
	return (struct hmm_torture_stamp *)page_at(worker, i);
}

/* What is in these pages is to be lost. */
static void begin_epoch(struct worker *worker, unsigned int i, unsigned int nr)
{
	for (; nr; nr--, i++) {
		atomic_ullong *published = &life->published[worker->first + i];

		/* A full barrier */
		*published = (*published / HMM_TORTURE_EPOCH + 1) * HMM_TORTURE_EPOCH;
		worker->empty[i] = true;
	}
}

/* Is the page what was made of it last?  The CPU is always right about that. */
static void look(struct worker *worker, unsigned int i)
{
	__u64 generation = stamp_at(worker, i)->generation;

	if (generation != worker->generation[i] && (generation || !worker->empty[i]))
		failed(FIGURE_BROKEN, "page %u has stamp %llu, not %llu",
		       worker->first + i, generation, worker->generation[i]);
}

static void stamp_as(struct worker *worker, unsigned int i, __u64 generation,
		     bool alike)
{
	struct hmm_torture_stamp *stamp = stamp_at(worker, i);
	atomic_ullong *published = &life->published[worker->first + i];

	look(worker, i);
	__atomic_store_n(&stamp->page, alike ? 0 : worker->first + i + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&stamp->generation, generation, __ATOMIC_RELAXED);
	worker->generation[i] = generation;
	worker->empty[i] = false;
	atomic_store_explicit(published, *published / HMM_TORTURE_EPOCH *
			      HMM_TORTURE_EPOCH + generation +
			      (alike ? HMM_TORTURE_ALIKE : 0),
			      memory_order_release);
}

static void stamp(struct worker *worker, unsigned int i, unsigned int nr)
{
	for (; nr; nr--, i++)
		stamp_as(worker, i, worker->generation[i] + 1, false);
}

static void must(bool done, const char *what)
{
	if (!done && !life->over)
		failed(FIGURE_BROKEN, "%s: %s", what, strerror(errno));
}

/* Often there is nobody who comes in between, unless one waits. */
static void maybe_wait(struct worker *worker)
{
	if (!random_below(&worker->seed, 4))
		usleep(random_below(&worker->seed, 2000));
}

static bool map_new(struct worker *worker, unsigned int i, unsigned int nr)
{
	char *at = page_at(worker, i);

	return mmap(at, nr * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at;
}

static void do_munmap(struct worker *worker, unsigned int i, unsigned int nr)
{
	begin_epoch(worker, i, nr);
	/* Or both in one */
	if (random_below(&worker->seed, 2)) {
		must(!munmap(page_at(worker, i), nr * PAGE), "munmap");
		maybe_wait(worker);
	}
	must(map_new(worker, i, nr), "mmap");
	stamp(worker, i, nr);
}

static void do_mprotect(struct worker *worker, unsigned int i, unsigned int nr)
{
	int prot = random_below(&worker->seed, 2) ? PROT_READ : PROT_NONE;

	must(!mprotect(page_at(worker, i), nr * PAGE, prot), "mprotect");
	maybe_wait(worker);
	must(!mprotect(page_at(worker, i), nr * PAGE, PROT_READ | PROT_WRITE),
	     "mprotect");
	stamp(worker, i, nr);
}

static bool move(void *from, void *to, size_t size, int flags)
{
	return mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED | flags, to) == to;
}

/* Away and back, and sometimes with something else in its place meanwhile. */
static void do_mremap(struct worker *worker, unsigned int i, unsigned int nr)
{
	char *here = page_at(worker, i), *away = here + 2 * PAGES * PAGE;
	bool replaced = random_below(&worker->seed, 2);

	if (replaced)
		begin_epoch(worker, i, nr);
	must(move(here, away, nr * PAGE, replaced ? MREMAP_DONTUNMAP : 0), "mremap");
	maybe_wait(worker);
	if (replaced)
		begin_epoch(worker, i, nr);
	must(move(away, here, nr * PAGE, 0), "mremap");
	stamp(worker, i, nr);
}

static void do_dontneed(struct worker *worker, unsigned int i, unsigned int nr)
{
	begin_epoch(worker, i, nr);
	must(!madvise(page_at(worker, i), nr * PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	maybe_wait(worker);
	stamp(worker, i, nr);
}

static void do_free(struct worker *worker, unsigned int i, unsigned int nr)
{
	begin_epoch(worker, i, nr);
	must(!madvise(page_at(worker, i), nr * PAGE, MADV_FREE), "MADV_FREE");
	if (random_below(&worker->seed, 2))
		madvise(page_at(worker, i), nr * PAGE, MADV_PAGEOUT);
	maybe_wait(worker);
	stamp(worker, i, nr);
}

static void do_collapse(struct worker *worker, unsigned int i, unsigned int nr)
{
	char *half = page_at(worker, 0);

	madvise(half, HALF * PAGE, MADV_HUGEPAGE);
	/* There may be no huge page just now, or somebody may hold on to a page */
	if (!madvise(half, HALF * PAGE, MADV_COLLAPSE))
		count(FIGURE_COLLAPSE, 1);
	stamp(worker, i, nr);
}

static void do_split(struct worker *worker, unsigned int i, unsigned int nr)
{
	__u64 start = (uintptr_t)page_at(worker, 0);
	char text[64];

	do_collapse(worker, i, nr);
	if (random_below(&worker->seed, 2)) {
		/* Of the page table only */
		do_mprotect(worker, i, nr);
		count(FIGURE_SPLIT, 1);
		return;
	}
	snprintf(text, sizeof(text), "%d,%#llx,%#llx", getpid(), start, start + HALF * PAGE);
	if (!write_file(SPLIT_FILE, text))
		count(FIGURE_SPLIT, 1);
	stamp(worker, i, nr);
}

static void do_move_pages(struct worker *worker, unsigned int i, unsigned int nr)
{
	int node = random_below(&worker->seed, 2);
	int nodes[HALF], status[HALF];
	void *pages[HALF];
	unsigned int j;

	for (j = 0; j < nr; j++) {
		pages[j] = page_at(worker, i + j);
		nodes[j] = node;
	}
	must(syscall(SYS_move_pages, 0, (unsigned long)nr, pages, nodes, status, 2) >= 0,
	     "move_pages");
	if (random_below(&worker->seed, 2))
		stamp(worker, i, nr);
}

static void do_pageout(struct worker *worker, unsigned int i, unsigned int nr)
{
	must(!madvise(page_at(worker, i), nr * PAGE, MADV_PAGEOUT), "MADV_PAGEOUT");
	maybe_wait(worker);
	/* Else a device may be who brings them back, which has to see them */
	if (random_below(&worker->seed, 2))
		stamp(worker, i, nr);
}

/* Pages with the same stamp, and no device that writes to them, to be merged */
static void do_merge(struct worker *worker, unsigned int i, unsigned int nr)
{
	__u64 generation = 0;
	unsigned int j;

	begin_epoch(worker, i, nr);
	must(!madvise(page_at(worker, i), nr * PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	for (j = i; j < i + nr; j++)
		if (worker->generation[j] > generation)
			generation = worker->generation[j];
	for (j = i; j < i + nr; j++)
		stamp_as(worker, j, generation + 1, true);
	if (madvise(page_at(worker, i), nr * PAGE, MADV_MERGEABLE))
		return;
	usleep(100000 + random_below(&worker->seed, 200000));
	/* Written one by one, they part again */
	stamp(worker, i, nr);
	madvise(page_at(worker, i), nr * PAGE, MADV_UNMERGEABLE);
}

/* A file, which is cut off and grows again under the mapping */
static void do_truncate(struct worker *worker, unsigned int i, unsigned int nr)
{
	int fd = memfd_create("torture", MFD_CLOEXEC);
	char *at = page_at(worker, i);

	begin_epoch(worker, i, nr);
	must(fd >= 0 && !ftruncate(fd, nr * PAGE) &&
	     mmap(at, nr * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		  0) == at, "memfd");
	stamp(worker, i, nr);
	maybe_wait(worker);
	begin_epoch(worker, i, nr);
	must(!ftruncate(fd, 0), "ftruncate");
	maybe_wait(worker);
	must(!ftruncate(fd, nr * PAGE), "ftruncate");
	stamp(worker, i, nr);
	close(fd);
	begin_epoch(worker, i, nr);
	must(map_new(worker, i, nr), "mmap");
	stamp(worker, i, nr);
}

static void do_fork(struct worker *worker, unsigned int i, unsigned int nr);

static const struct {
	enum figure figure;
	bool counts;			/* by itself */
	void (*act)(struct worker *worker, unsigned int i, unsigned int nr);
} acts[] = {
	{ FIGURE_MUNMAP, false, do_munmap },
	{ FIGURE_MPROTECT, false, do_mprotect },
	{ FIGURE_MREMAP, false, do_mremap },
	{ FIGURE_DONTNEED, false, do_dontneed },
	{ FIGURE_FREE, false, do_free },
	{ FIGURE_COLLAPSE, true, do_collapse },
	{ FIGURE_SPLIT, true, do_split },
	{ FIGURE_MOVE_PAGES, false, do_move_pages },
	{ FIGURE_PAGEOUT, false, do_pageout },
	{ FIGURE_MERGE, false, do_merge },
	{ FIGURE_TRUNCATE, false, do_truncate },
	{ FIGURE_FORK, false, do_fork },	/* the last: children do without */
};

/* Everything once, in some order, each to some pages. */
static void act_all(struct worker *worker)
{
	unsigned int nr = ARRAY_SIZE(acts) - worker->child, order[ARRAY_SIZE(acts)], n;

	random_order(&worker->seed, order, nr);
	for (n = 0; n < nr && !life->over; n++) {
		unsigned int i = random_below(&worker->seed, HALF);
		unsigned int pages = 1 + random_below(&worker->seed,
				random_below(&worker->seed, 4) ? 32 : HALF);

		if (pages > HALF - i)
			pages = HALF - i;
		acts[order[n]].act(worker, i, pages);
		if (!acts[order[n]].counts)
			count(acts[order[n]].figure, 1);
	}
}

static int enlist(void)
{
	const struct hmm_torture_enlist enlist = {
		.addr = (uintptr_t)life->arena, .pages = PAGES,
	};

	return ioctl(life->fd, HMM_TORTURE_IOC_ENLIST, &enlist) ? -errno : 0;
}

/*
 * A victim as well, of a half, as the other half was another thread's, who may have
 * been in the middle of something.  Who writes to a page first, parent or child, gets
 * a copy; the devices of both have to notice.
 */
static void child(struct worker *worker)
{
	static struct life own;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	own = *life;
	life = &own;
	if (life_open(life) || enlist())
		_exit(0);
	worker->child = true;
	stamp(worker, 0, HALF);
	if (random_below(&worker->seed, 2))
		act_all(worker);
	if (random_below(&worker->seed, 2))
		raise(SIGKILL);
	_exit(0);
}

static void do_fork(struct worker *worker, unsigned int i, unsigned int nr)
{
	pid_t pid = fork();
	int status;

	must(pid >= 0, "fork");
	if (pid < 0)
		return;
	if (!pid)
		child(worker);
	while (!waitpid(pid, &status, WNOHANG) && !life->over) {
		stamp(worker, i, nr);
		maybe_wait(worker);
	}
	if (life->over)
		kill(pid, SIGKILL);
}

static void *work(void *arg)
{
	while (!life->over)
		act_all(arg);
	return NULL;
}

/* Until the process ends, however it does. */
static void *use_self(void *arg)
{
	int fd = open_unless_avoided(life->device);
	__u64 seed = life->seed;

	(void)arg;
	if (fd < 0 || device_bind(fd, getpid()))
		return NULL;
	for (;;) {
		__u64 i = random_below(&seed, PAGES), value;
		__u64 addr = (uintptr_t)life->arena + i * PAGE;
		unsigned int nr = 1 + random_below(&seed, 32);

		if (nr > PAGES - i)
			nr = PAGES - i;
		if (random_below(&seed, 2))
			device_read(fd, addr, &value, sizeof(value), NULL);
		else
			device_map(fd, addr, nr * PAGE, 0, NULL);
		count(FIGURE_SELF, 1);
		/* Leave some time to the others, on a small machine */
		usleep(random_below(&seed, 2000));
	}
}

/* Needs more memory than there is. */
static void be_killed(void)
{
	const size_t size = 64UL << 20;
	char path[96], *memory;
	size_t i;

	snprintf(path, sizeof(path), "%s/cgroup.procs", life->cgroup);
	must(!write_file(path, "0"), path);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (i = 0; memory != MAP_FAILED && i < size; i += PAGE)
		memory[i] = 1;
	failed(FIGURE_BROKEN, "there is no end to the memory of %s", life->cgroup);
}

int life_open(struct life *its_life)
{
	void *map;

	its_life->fd = open(TORTURE_DEVICE, O_RDWR | O_CLOEXEC);
	if (its_life->fd < 0)
		return -errno;
	map = mmap(NULL, PAGES * sizeof(__u64), PROT_READ | PROT_WRITE, MAP_SHARED,
		   its_life->fd, 0);
	if (map == MAP_FAILED) {
		close(its_life->fd);
		return -errno;
	}
	its_life->published = map;
	return 0;
}

void victim(struct life *its_life)
{
	static struct worker workers[2];
	pthread_t thread;
	unsigned int i;

	life = its_life;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "victim");
	if (mmap(life->arena, PAGES * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != life->arena ||
	    enlist())
		_exit(1);
	for (i = 0; i < ARRAY_SIZE(workers); i++) {
		workers[i].first = i * HALF;
		workers[i].seed = life->seed + i;
		memset(workers[i].empty, true, sizeof(workers[i].empty));
		if (pthread_create(&thread, NULL, work, &workers[i]))
			_exit(1);
	}
	if (pthread_create(&thread, NULL, use_self, NULL))
		_exit(1);
	life->enlisted = true;

	while (!life->over)
		usleep(1000);
	switch (life->end) {
	case END_EXEC:
		execl("/bin/true", "true", NULL);
		_exit(1);
	case END_OOM:
		be_killed();
		_exit(1);
	case END_EXIT:
		_exit(0);
	default:
		for (;;)
			pause();
	}
}
