// SPDX-License-Identifier: GPL-2.0
/*
 * Additions by devices to memory that CPUs add to at the same time: the devices' own are
 * a read and a write, and come out right as they have the page to themselves meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fixture.h"

#define DEVICES		2	/* of one process, and with one owner each */
#define CPUS		2
#define ADDITIONS	2000	/* of each */
#define PATIENCE	60	/* seconds */

static int add_at(int fd, void *addr, __u64 value, __u64 *old)
{
	return device_add(fd, (uintptr_t)addr, value, old);
}

static void set_up_exclusive(struct __test_metadata *_metadata,
			     FIXTURE_DATA(hmm_mirror) *self,
			     const FIXTURE_VARIANT(hmm_mirror) *variant)
{
	__u64 old;

	memset(self->map, 0, self->page);
	if (add_at(self->fd, self->map, 0, &old) == -EOPNOTSUPP)
		SKIP(return, "the kernel has no exclusive access for mirrors");
}

static hook *set_up = set_up_exclusive, *tear_down;

TEST_F(hmm_mirror, an_addition_is_seen_by_both_sides)
{
	__u64 *word = (__u64 *)self->map, old;

	word[0] = 40;
	word[1] = 7;
	ASSERT_EQ(0, add_at(self->fd, word, 2, &old));
	EXPECT_EQ(40, old);
	/* Now the CPU has no entry, and gets the page back by a page fault. */
	EXPECT_EQ(42, word[0]);
	EXPECT_EQ(7, word[1]);
	ASSERT_EQ(0, add_at(self->fd, word, -2, &old));
	EXPECT_EQ(42, old);
	/* And the device itself, without the CPU in between. */
	ASSERT_EQ(0, add_at(self->fd, word, 1, &old));
	EXPECT_EQ(40, old);
	ASSERT_EQ(0, read_at(self->fd, word, &old, sizeof(old)));
	EXPECT_EQ(41, old);
	EXPECT_EQ(0, stale(self->fd, getpid()));
	EXPECT_EQ(41, word[0]);
}

TEST_F(hmm_mirror, an_entry_of_another_kind_is_taken_back)
{
	__u64 old;

	ASSERT_EQ(0, map_write(self->fd, self->map, self->size));
	EXPECT_EQ(1, entries_in(self->fd, self->map, self->page));
	ASSERT_EQ(0, add_at(self->fd, self->map, 1, &old));
	/* It was told of that, as of what comes from elsewhere. */
	EXPECT_EQ(0, entries_in(self->fd, self->map, self->page));
	EXPECT_EQ(PAGES - 1, entries_in(self->fd, self->map, self->size));
}

TEST_F(hmm_mirror, what_cannot_be_exclusive_is_refused)
{
	char *read_only = mmap(NULL, self->page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *shared = mmap(NULL, self->page, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *huge;
	__u64 old;

	EXPECT_EQ(-EINVAL, add_at(self->fd, self->map + 4, 1, &old));
	EXPECT_EQ(-EINVAL, device_add(self->fd, ABOVE, 1, &old));
	EXPECT_EQ(-EFAULT, add_at(self->fd, NULL, 1, &old));
	EXPECT_EQ(-EPERM, add_at(self->fd, read_only, 1, &old));
	EXPECT_EQ(-EOPNOTSUPP, add_at(self->fd, shared, 1, &old));
	/* A huge page is split for it. */
	huge = huge_memory();
	if (huge) {
		ASSERT_EQ(0, map_write(self->fd, huge, HUGE_SIZE));
		memset(huge, 0, self->page);
		EXPECT_EQ(0, add_at(self->fd, huge, 3, &old));
		EXPECT_EQ(3, huge[0]);
	}
}

static struct {
	__u64 *word;
	int fd[DEVICES];
	atomic_int threads;
	atomic_long failed;
	atomic_int error;
} team;

static void *add_by_device(void *unused)
{
	int fd = team.fd[team.threads++], i, ret;

	for (i = 0; i < ADDITIONS; i++) {
		/* A busy host may not let it have its turn within its second */
		do {
			ret = add_at(fd, team.word, 1, NULL);
		} while (ret == -EBUSY);
		if (ret) {
			team.failed++;
			team.error = ret;
		}
	}
	return NULL;
}

static void *add_by_cpu(void *unused)
{
	int i;

	for (i = 0; i < ADDITIONS; i++)
		__atomic_fetch_add(team.word, 1, __ATOMIC_RELAXED);
	return NULL;
}

TEST_F_TIMEOUT(hmm_mirror, the_sum_of_all_is_right, 2 * PATIENCE)
{
	pthread_t thread[DEVICES + CPUS];
	double begun = seconds();
	size_t i;

	team.word = (__u64 *)self->map;
	team.fd[0] = self->fd;
	for (i = 1; i < DEVICES; i++) {
		team.fd[i] = device_open(variant->device);
		ASSERT_LE(0, team.fd[i]);
		ASSERT_EQ(0, bind_self(team.fd[i]));
	}
	for (i = 0; i < DEVICES + CPUS; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL,
					    i < DEVICES ? add_by_device : add_by_cpu, NULL));
	for (i = 0; i < DEVICES + CPUS; i++)
		pthread_join(thread[i], NULL);
	/* Whoever has the page has it for one addition at least: nobody goes without. */
	EXPECT_EQ(0, team.failed) {
		TH_LOG("the last one failed with %d", team.error);
	}
	EXPECT_EQ((DEVICES + CPUS) * ADDITIONS - team.failed, *team.word);
	EXPECT_GT(PATIENCE, seconds() - begun);
	TH_LOG("%d additions by %d devices beside %d CPUs: %.0f us each", DEVICES * ADDITIONS,
	       DEVICES, CPUS, (seconds() - begun) * 1e6 / (DEVICES * ADDITIONS));
	for (i = 1; i < DEVICES; i++) {
		EXPECT_EQ(0, stale(team.fd[i], getpid()));
		close(team.fd[i]);
	}
}

TEST_HARNESS_MAIN
