// SPDX-License-Identifier: GPL-2.0
/*
 * Device page faults of HMM mirroring in a storm of invalidations.
 *
 * A storm elsewhere in the address space must not concern a fault at all: no
 * collision, no wait, none, counted by the device and by the registry. A storm on
 * the very pages that are faulted must not get by any of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "file.h"
#include "fixture.h"

#define THREADS		4	/* that make a storm */
#define AREA_PAGES	32	/* of a thread's own; the device faults the fixture's PAGES */
#define FAULTS		20000	/* or as many as are made in time, but some of them: */
#define SOME_FAULTS	1000
#define PATIENCE	60	/* seconds, for what should happen within one */

#define COUNTERS	"/sys/kernel/debug/hmm_mirror/counters"
#define COUNTING	"/sys/kernel/debug/hmm_mirror/counting"
#define COLLIDE		"/sys/kernel/debug/fail_hmm_mirror/"
#define KSM		"/sys/kernel/mm/ksm/"

/* Lets the registry count, or not. */
static int counting(const char *on)
{
	return write_file(COUNTING, on);
}

/* Lets one in so many steps of device page faults collide. */
static int collide(const char *interval)
{
	return write_file(COLLIDE "verbose", "0") ?: write_file(COLLIDE "times", "-1") ?:
	       write_file(COLLIDE "interval", interval) ?:
	       write_file(COLLIDE "probability", "100");
}

/* What the registry has counted for the mirrors of a process. */
struct counters {
	long mirrors;
	long faults;
	long collisions;
	long waits;
};

static int counters_read(struct counters *counters, pid_t pid)
{
	FILE *file = fopen(COUNTERS, "r");
	char line[512], owner[32];
	bool ours = false;

	if (!file)
		return -errno;
	*counters = (struct counters){ };
	snprintf(owner, sizeof(owner), " pid %d ", pid);
	while (fgets(line, sizeof(line), file)) {
		struct counters mirror;
		char *at = strstr(line, " faults ");

		if (!strncmp(line, "mm ", 3))
			ours = strstr(line, owner);
		if (!ours || !at ||
		    sscanf(at, " faults %ld collisions %ld waits %ld",
			   &mirror.faults, &mirror.collisions,
			   &mirror.waits) != 3)
			continue;
		counters->mirrors++;
		counters->faults += mirror.faults;
		counters->collisions += mirror.collisions;
		counters->waits += mirror.waits;
	}
	fclose(file);
	return 0;
}

static void begin_counting(struct __test_metadata *_metadata,
			   FIXTURE_DATA(hmm_mirror) *self,
			   const FIXTURE_VARIANT(hmm_mirror) *variant)
{
	ASSERT_EQ(0, counting("1"));
}

static void end_counting(struct __test_metadata *_metadata,
			 FIXTURE_DATA(hmm_mirror) *self,
			 const FIXTURE_VARIANT(hmm_mirror) *variant)
{
	write_file(COLLIDE "probability", "0");
	counting("0");
}

static hook *set_up = begin_counting, *tear_down = end_counting;

/* The mirrors of a process that the registry shows, or a negative errno value. */
static long mirrors_of(pid_t pid)
{
	struct counters counters;
	int ret = counters_read(&counters, pid);

	return ret ? ret : counters.mirrors;
}

TEST_F(hmm_mirror, counters_are_those_of_the_mirrors_in_use)
{
	int fd[2], i;
	pid_t pid = sleeper();

	ASSERT_LT(0, pid);
	EXPECT_EQ(1, mirrors_of(getpid()));
	/* What the registry keeps for an mm stays, and is used again by the next mirror. */
	for (i = 0; i < 10; i++) {
		fd[0] = device_open(variant->device);
		fd[1] = device_open(variant->device);
		EXPECT_EQ(0, mirrors_of(pid));
		ASSERT_EQ(0, device_bind(fd[0], pid));
		EXPECT_EQ(1, mirrors_of(pid));
		ASSERT_EQ(0, device_bind(fd[1], pid));
		EXPECT_EQ(2, mirrors_of(pid));
		close(fd[1]);
		EXPECT_EQ(1, mirrors_of(pid));
		close(fd[0]);
		EXPECT_EQ(0, mirrors_of(pid));
	}
	/* A mirror outlives the process, and is nobody's then. */
	fd[0] = device_open(variant->device);
	ASSERT_EQ(0, device_bind(fd[0], pid));
	reap(pid);
	EXPECT_EQ(0, mirrors_of(pid));
	EXPECT_EQ(1, mirrors_of(getpid()));
	close(fd[0]);
}

/* Threads that run one function until they are told to stop; a test has no other ones. */

static struct {
	void (*work)(unsigned int thread);
	int fd;
	size_t page;
	char *target;
	char *spare;		/* a page for each thread */
	atomic_bool stop;
	atomic_uint threads;
	atomic_ulong rounds;	/* of all threads */
	atomic_ulong wrong;
	const char *what;	/* was wrong first */
	pthread_t thread[THREADS];
} crew;

static void *crew_thread(void *arg)
{
	crew.work(crew.threads++);
	return NULL;
}

static void crew_start(void (*work)(unsigned int thread), int fd, char *target)
{
	size_t i;

	crew.work = work;
	crew.fd = fd;
	crew.page = sysconf(_SC_PAGESIZE);
	crew.target = target;
	/* Before any thread leaves a hole where this could come to lie */
	crew.spare = memory(THREADS * crew.page);
	for (i = 0; i < THREADS; i++)
		pthread_create(&crew.thread[i], NULL, crew_thread, NULL);
}

/* Nothing may have been wrong. */
static void crew_stop(struct __test_metadata *_metadata)
{
	size_t i;

	crew.stop = true;
	for (i = 0; i < THREADS; i++)
		pthread_join(crew.thread[i], NULL);
	EXPECT_EQ(0, crew.wrong) {
		TH_LOG("wrong %ld times, first: %s", (long)crew.wrong, crew.what);
	}
}

/* Notes that something is not as it must be, and what was the first. */
static void check(bool right, const char *what)
{
	if (!right && !crew.wrong++)
		crew.what = what;
}

/* New memory in place of what is there. */
static char *memory_at(char *addr, size_t size)
{
	return mmap(addr, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/* Moves @size bytes of memory to @to, and leaves empty memory behind. */
static bool move(void *from, void *to, size_t size)
{
	return mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED |
		      MREMAP_DONTUNMAP, to) == to;
}

/* Changes memory that the device has nothing to do with. */
static void change_elsewhere(unsigned int thread)
{
	const size_t size = AREA_PAGES * crew.page;

	while (!crew.stop) {
		char *map = memory(2 * size), *other = map + size;

		memset(map, 1, size);
		mprotect(map, size, PROT_READ);
		mprotect(map, size, PROT_READ | PROT_WRITE);
		memset(map, 2, size);
		check(move(map, other, size), "mremap");
		check(map[0] == 0 && other[0] == 2, "moved memory");
		madvise(other, size, MADV_DONTNEED);
		check(other[0] == 0, "madvise");
		munmap(map, 2 * size);
		crew.rounds++;
	}
}

TEST_F_TIMEOUT(hmm_mirror, elsewhere_does_not_concern_faults, 2 * PATIENCE)
{
	const double end = seconds() + PATIENCE;
	struct hmm_mirror_stats stats;
	struct counters counters;
	__u64 i;

	crew_start(change_elsewhere, self->fd, self->map);
	for (i = 1; i <= FAULTS && seconds() < end; i++) {
		char *map = self->map + i % PAGES * self->page;
		__u64 *word = (__u64 *)map;
		__u64 value = i;

		/* A fault, and most of the times nothing has to be faulted in. */
		ASSERT_EQ(0, map_write(self->fd, self->map, self->size));
		/* Between two faults a page is replaced: that has to be seen. */
		switch (i % 8) {
		case 0:
			madvise(map, self->page, MADV_DONTNEED);
			*word = i;
			ASSERT_EQ(0, read_at(self->fd, map, &value, sizeof(value)));
			ASSERT_EQ(i, value);
			break;
		case 4:
			madvise(map, self->page, MADV_DONTNEED);
			ASSERT_EQ(0, write_at(self->fd, map, &value, sizeof(value)));
			ASSERT_EQ(i, *word);
			break;
		}
	}
	crew_stop(_metadata);

	ASSERT_EQ(0, device_stats(self->fd, &stats));
	TH_LOG("%lld faults, %lld invalidations in %ld rounds of the storm",
	       stats.faults, stats.invalidations, (long)crew.rounds);
	EXPECT_LE(SOME_FAULTS, i);
	EXPECT_LE(i - 1, stats.faults);
	/* There was a storm, and the device was told. */
	EXPECT_LE(100, crew.rounds);
	EXPECT_LE(5 * crew.rounds, stats.invalidations);
	EXPECT_EQ(0, stats.retries);
	ASSERT_EQ(0, counters_read(&counters, getpid()));
	EXPECT_LE(i - 1, counters.faults);
	EXPECT_EQ(0, counters.collisions);
	EXPECT_EQ(0, counters.waits);
}

/* Throws one page of the target away, again and again. */
static void discard(unsigned int thread)
{
	char *map = crew.target + thread * crew.page;

	while (!crew.stop) {
		madvise(map, crew.page, MADV_DONTNEED);
		crew.rounds++;
	}
}

/* All that a process can do to pages that it is to keep */
static void replace_target(unsigned int thread)
{
	const size_t size = PAGES * crew.page;
	char *map = crew.target;

	while (!crew.stop) {
		switch (thread) {
		case 0:
			madvise(map, size, MADV_DONTNEED);
			break;
		case 1:
			mprotect(map, size, PROT_READ);
			mprotect(map, size, PROT_READ | PROT_WRITE);
			break;
		case 2:
			check(memory_at(map, size) == map, "mmap");
			break;
		case 3:
			madvise(map, size, MADV_NOHUGEPAGE);
			madvise(map, size, MADV_HUGEPAGE);
			madvise(map, size, MADV_PAGEOUT);
		}
		crew.rounds++;
	}
}

/* What came of faults of all pages, one after the other */
struct turns {
	long faults;
	long busy;
	long wrong;		/* other errors */
	double longest;		/* in seconds */
};

static struct turns take_turns(int fd, char *map, size_t size, double patience)
{
	double end = seconds() + patience, begun, took;
	struct turns turns = { };
	int ret;

	for (begun = seconds(); begun < end; begun = seconds(), turns.faults++) {
		ret = map_read(fd, map, size);
		took = seconds() - begun;
		turns.longest = took > turns.longest ? took : turns.longest;
		turns.busy += ret == -EBUSY;
		turns.wrong += ret && ret != -EBUSY;
	}
	return turns;
}

/* However the process goes on, no fault fails for it, and none takes long. */
TEST_F_TIMEOUT(hmm_mirror, a_fault_gets_its_turn_in_a_storm_on_its_pages, 2 * PATIENCE)
{
	struct hmm_mirror_stats stats;
	struct turns turns;

	crew_start(replace_target, self->fd, self->map);
	turns = take_turns(self->fd, self->map, self->size, 8);
	crew_stop(_metadata);
	ASSERT_EQ(0, device_stats(self->fd, &stats));
	TH_LOG("%ld faults of %d pages, %lld retries, in %ld rounds: at most %.0f ms",
	       turns.faults, PAGES, stats.retries, (long)crew.rounds, turns.longest * 1e3);
	EXPECT_EQ(0, turns.busy);
	EXPECT_EQ(0, turns.wrong);
	EXPECT_GT(PATIENCE, turns.longest);
	EXPECT_LT(0, stats.retries);
}

/* What is done to pages without a lock that a fault could take */
static void disturb_target(unsigned int thread)
{
	const size_t size = PAGES * crew.page;
	void *pages[PAGES];
	int nodes[PAGES], status[PAGES], i;

	for (i = 0; i < PAGES; i++)
		pages[i] = crew.target + i * crew.page;
	while (!crew.stop) {
		switch (thread) {
		case 0:
			madvise(crew.target, size, MADV_PAGEOUT);
			break;
		case 1:
		case 2:
			for (i = 0; i < PAGES; i++)
				nodes[i] = (crew.rounds + i) % 2;
			syscall(SYS_move_pages, 0, PAGES, pages, nodes, status, 0);
			break;
		case 3:
			write_file("/proc/sys/vm/compact_memory", "1");
		}
		crew.rounds++;
	}
}

/* That is not promised, but measured: a fault may have to be tried again. */
TEST_F_TIMEOUT(hmm_mirror, reclaim_and_migration_let_some_faults_through, 2 * PATIENCE)
{
	struct hmm_mirror_stats stats;
	struct turns turns;

	memset(self->map, 1, self->size);
	madvise(self->map, self->size, MADV_MERGEABLE);
	write_file(KSM "sleep_millisecs", "1");
	write_file(KSM "run", "1");
	crew_start(disturb_target, self->fd, self->map);
	turns = take_turns(self->fd, self->map, self->size, 8);
	crew_stop(_metadata);
	write_file(KSM "run", "2");
	write_file(KSM "run", "0");
	ASSERT_EQ(0, device_stats(self->fd, &stats));
	TH_LOG("%ld faults of %d pages, %lld retries, %ld busy, in %ld rounds: at most %.0f ms",
	       turns.faults, PAGES, stats.retries, turns.busy, (long)crew.rounds,
	       turns.longest * 1e3);
	EXPECT_EQ(0, turns.wrong);
	EXPECT_LT(turns.busy, turns.faults);
}

/* The counters do count: what does concern faults makes them start again. */
TEST_F_TIMEOUT(hmm_mirror, on_the_target_makes_faults_start_again, 2 * PATIENCE)
{
	const double end = seconds() + PATIENCE;
	struct hmm_mirror_stats stats = { };
	struct counters counters = { };

	crew_start(discard, self->fd, self->map);
	while (!(stats.retries && counters.waits) && seconds() < end) {
		int ret = map_present(self->fd, self->map, self->size);

		if (ret != -EBUSY)
			ASSERT_EQ(0, ret);
		ASSERT_EQ(0, device_stats(self->fd, &stats));
		ASSERT_EQ(0, counters_read(&counters, getpid()));
	}
	crew_stop(_metadata);
	EXPECT_LT(0, stats.retries);
	EXPECT_LT(0, counters.collisions);
	EXPECT_LT(0, counters.waits);
}

/* Collisions that are forced: at each step in turn, and at every step. */
TEST_F_TIMEOUT(hmm_mirror, forced_collisions_make_faults_start_again, PATIENCE)
{
	struct hmm_mirror_stats stats;
	struct counters counters;
	int i;

	if (access(COLLIDE, F_OK))
		SKIP(return, "the kernel has no CONFIG_FAIL_HMM_MIRROR");

	/* A fault has four steps, so that is another one each time */
	ASSERT_EQ(0, collide("5"));
	for (i = 0; i < 100; i++)
		ASSERT_EQ(0, map_write(self->fd, self->map, self->size));
	ASSERT_EQ(0, device_stats(self->fd, &stats));
	EXPECT_LT(0, stats.retries);
	ASSERT_EQ(0, counters_read(&counters, getpid()));
	EXPECT_LE(80, counters.collisions);

	/* It ends all the same */
	ASSERT_EQ(0, collide("1"));
	EXPECT_EQ(-EBUSY, map_write(self->fd, self->map, self->size));
}

/* An access of the device to one word, 0 or a negative errno value. */
static int access_word(void *map, __u64 *value, bool write)
{
	int ret;

	do {
		ret = write ? write_at(crew.fd, map, value, sizeof(*value)) :
			      read_at(crew.fd, map, value, sizeof(*value));
	} while (ret == -EBUSY && !crew.stop);
	return ret;
}

static bool reads(void *map, __u64 expected)
{
	__u64 value;
	int ret = access_word(map, &value, false);

	return ret == -EBUSY || (!ret && value == expected);
}

static bool fails(void *map, bool write, int expected)
{
	__u64 value = 0;
	int ret = access_word(map, &value, write);

	return ret == -EBUSY || ret == expected;
}

/*
 * Changes the pages of the target that are this thread's, and has a look through
 * the device each time: it must see what is, not what was.
 */
static void change_target(unsigned int thread)
{
	const int rw = PROT_READ | PROT_WRITE;
	const size_t size = crew.page;
	char *spare = crew.spare + thread * size;
	unsigned int seed = thread;
	__u64 stamp = 0;

	while (!crew.stop) {
		unsigned int i = rand_r(&seed) % (PAGES / THREADS);
		char *map = crew.target + (THREADS * i + thread) * size;
		__u64 *word = (__u64 *)map;
		int ret;

		/* What the CPU writes, the device reads, and the other way. */
		*word = ++stamp;
		check(reads(map, stamp), "read");
		stamp++;
		ret = access_word(map, &stamp, true);
		check(ret == -EBUSY || (!ret && *word == stamp), "write");
		*word = stamp;

		switch (rand_r(&seed) % 6) {
		case 0:
			madvise(map, size, MADV_DONTNEED);
			check(reads(map, 0), "madvise");
			break;
		case 1:
			memory_at(map, size);
			check(reads(map, 0), "mmap");
			break;
		case 2:
			mprotect(map, size, PROT_READ);
			check(fails(map, true, -EPERM), "mprotect, write");
			check(reads(map, stamp), "mprotect, read");
			mprotect(map, size, rw);
			break;
		case 3:
			mprotect(map, size, PROT_NONE);
			check(fails(map, false, -EFAULT), "mprotect, none");
			mprotect(map, size, rw);
			check(reads(map, stamp), "mprotect, back");
			break;
		case 4:
			check(move(map, spare, size), "mremap");
			check(reads(map, 0), "mremap, from");
			check(reads(spare, stamp), "mremap, to");
			check(move(spare, map, size), "mremap, back");
			check(reads(map, stamp), "mremap, back");
			break;
		case 5:
			munmap(map, size);
			check(fails(map, false, -EFAULT), "munmap");
			check(memory_at(map, size) == map, "mmap");
			break;
		}
		crew.rounds++;
	}
}

TEST_F_TIMEOUT(hmm_mirror, on_the_target_is_seen_by_the_device, 2 * PATIENCE)
{
	const double end = seconds() + 4;
	struct hmm_mirror_stats stats;
	__u32 flags = 0;

	crew_start(change_target, self->fd, self->map);
	while (seconds() < end) {
		/* Some pages may be unmapped, or not be writable. */
		int ret = device_map(self->fd, (uintptr_t)self->map, self->size, flags, NULL);

		if (ret != -EBUSY && ret != -EFAULT && ret != -EPERM)
			ASSERT_EQ(0, ret);
		flags = flags ? 0 : HMM_MIRROR_MAP_PRESENT;
	}
	crew_stop(_metadata);
	EXPECT_LE(100, crew.rounds);
	ASSERT_EQ(0, device_stats(self->fd, &stats));
	TH_LOG("%ld changes, %lld faults, %lld retries", (long)crew.rounds,
	       stats.faults, stats.retries);
}

TEST_HARNESS_MAIN
