// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mirrors that start a flush in one pass, and finish it in another.
 */
#include <linux/delay.h>

#include "kunit.h"

#define HMM_FLUSH_DEVS		8

/* Of all devices of a case: who did what when */
static struct {
	unsigned int now;
	unsigned int pending;
	unsigned int most_pending;
} hmm_flush_log;

static u64 hmm_flush_fence(struct hmm_test_dev *dev)
{
	return (unsigned long)dev + dev->calls;
}

static bool hmm_flush_start_atomic(struct hmm_mirror *mirror,
				   const struct mmu_notifier_range *update,
				   u64 *fence)
{
	struct hmm_test_dev *dev = hmm_test_enter(mirror, update);

	dev->wrong += !!*fence;
	dev->started_at = ++hmm_flush_log.now;
	hmm_test_leave(dev);
	if (dev->nothing_to_flush)
		return true;

	hmm_flush_log.pending++;
	hmm_flush_log.most_pending = max(hmm_flush_log.most_pending,
					 hmm_flush_log.pending);
	*fence = hmm_flush_fence(dev);
	return true;
}

/* Refuses what must not block */
static bool hmm_flush_start(struct hmm_mirror *mirror,
			    const struct mmu_notifier_range *update, u64 *fence)
{
	struct hmm_test_dev *dev = container_of(mirror, struct hmm_test_dev,
						mirror);

	if (mmu_notifier_range_blockable(update))
		return hmm_flush_start_atomic(mirror, update, fence);
	/* What is left there is nobody's */
	*fence = 1;
	dev->refused++;
	return false;
}

static void hmm_flush_finish(struct hmm_mirror *mirror,
			     const struct mmu_notifier_range *update, u64 fence)
{
	struct hmm_test_dev *dev = container_of(mirror, struct hmm_test_dev,
						mirror);

	dev->finishes++;
	dev->finished_at = ++hmm_flush_log.now;
	dev->late += dev->gone;
	hmm_flush_log.pending--;
	dev->wrong += fence != hmm_flush_fence(dev) ||
		      update->start != dev->last.start ||
		      update->end != dev->last.end ||
		      update->event != dev->last.event;
}

static const struct hmm_mirror_ops hmm_flush_ops = {
	.invalidate_start = hmm_flush_start,
	.invalidate_finish = hmm_flush_finish,
};

static const struct hmm_mirror_ops hmm_flush_atomic_ops = {
	.invalidate_start = hmm_flush_start_atomic,
	.invalidate_finish = hmm_flush_finish,
};

static struct mm_struct *hmm_flush_mm(struct kunit *test)
{
	memset(&hmm_flush_log, 0, sizeof(hmm_flush_log));
	return hmm_test_mm(test);
}

/* All start before any finishes, and who has nothing to finish does not */
static void hmm_two_pass_order(struct kunit *test)
{
	struct mm_struct *mm = hmm_flush_mm(test);
	struct hmm_test_dev *dev[HMM_FLUSH_DEVS], *one_pass;
	int i;

	for (i = 0; i < HMM_FLUSH_DEVS; i++) {
		dev[i] = hmm_test_mirror(test, mm, &hmm_flush_ops);
		/* At the ends of the list, too */
		dev[i]->nothing_to_flush = i % 3 == 0;
	}
	one_pass = hmm_test_mirror(test, mm, &hmm_test_ops);

	hmm_test_invalidate(mm, HMM_TEST_BASE, 2);
	for (i = 0; i < HMM_FLUSH_DEVS; i++) {
		KUNIT_EXPECT_EQ(test, dev[i]->calls, 1);
		KUNIT_EXPECT_LE(test, dev[i]->started_at, HMM_FLUSH_DEVS);
		KUNIT_EXPECT_EQ(test, dev[i]->last.start, HMM_TEST_BASE);
		KUNIT_EXPECT_EQ(test, dev[i]->last.end,
				HMM_TEST_BASE + 2 * PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, dev[i]->finishes,
				!dev[i]->nothing_to_flush);
		KUNIT_EXPECT_EQ(test, dev[i]->wrong, 0);
		if (dev[i]->finishes)
			KUNIT_EXPECT_GT(test, dev[i]->finished_at,
					HMM_FLUSH_DEVS);
	}
	KUNIT_EXPECT_EQ(test, one_pass->calls, 1);
	KUNIT_EXPECT_EQ(test, hmm_flush_log.pending, 0);
}

/* More than the registry remembers at a time: some earlier, but each once */
static void hmm_two_pass_many(struct kunit *test)
{
	struct mm_struct *mm = hmm_flush_mm(test);
	struct hmm_test_dev *dev[40];
	int i, round;

	for (i = 0; i < ARRAY_SIZE(dev); i++)
		dev[i] = hmm_test_mirror(test, mm, &hmm_flush_ops);

	for (round = 1; round <= 2; round++) {
		hmm_test_invalidate(mm, HMM_TEST_BASE, 1);
		for (i = 0; i < ARRAY_SIZE(dev); i++) {
			KUNIT_EXPECT_EQ(test, dev[i]->calls, round);
			KUNIT_EXPECT_EQ(test, dev[i]->finishes, round);
			KUNIT_EXPECT_EQ(test, dev[i]->wrong, 0);
		}
	}
	KUNIT_EXPECT_GE(test, hmm_flush_log.most_pending, HMM_FLUSH_DEVS);
}

/* A mirror that goes between the passes finishes first; one that comes does not */
static void hmm_two_pass_list_changes(struct kunit *test)
{
	struct mm_struct *mm = hmm_flush_mm(test);
	struct hmm_test_dev *stays, *goes, *comes;
	struct hmm_test_job *invalidate, *unregister;

	/* The last one that was registered is told first */
	stays = hmm_test_mirror(test, mm, &hmm_flush_ops);
	goes = hmm_test_mirror(test, mm, &hmm_flush_ops);
	stays->hold = true;

	invalidate = hmm_test_invalidate_job(test, stays);
	hmm_test_await(test, &stays->entered);
	KUNIT_EXPECT_EQ(test, goes->calls, 1);
	comes = hmm_test_mirror(test, mm, &hmm_flush_ops);
	unregister = hmm_test_unregister_job(test, goes);
	msleep(HMM_TEST_DELAY_MS);
	KUNIT_EXPECT_FALSE(test, completion_done(&unregister->done));
	KUNIT_EXPECT_EQ(test, goes->finishes, 0);

	complete_all(&stays->go_on);
	hmm_test_finish(test, invalidate);
	hmm_test_finish(test, unregister);
	KUNIT_EXPECT_EQ(test, goes->finishes, 1);
	KUNIT_EXPECT_EQ(test, stays->finishes, 1);
	KUNIT_EXPECT_EQ(test, comes->calls + comes->finishes, 0);
	KUNIT_EXPECT_EQ(test, goes->wrong + stays->wrong + goes->late, 0);
}

static void hmm_two_pass_exit(struct kunit *test)
{
	struct mm_struct *mm = hmm_flush_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_flush_ops);
	struct hmm_test_dev *dev2 = hmm_test_mirror(test, mm, &hmm_flush_ops);

	hmm_test_kill(test, mm);
	KUNIT_EXPECT_EQ(test, dev->finishes, 1);
	KUNIT_EXPECT_EQ(test, dev2->finishes, 1);
	KUNIT_EXPECT_EQ(test, dev->last.event, MMU_NOTIFY_RELEASE);
	KUNIT_EXPECT_EQ(test, dev->last.end, ULONG_MAX);
	/* Both started before the first finished */
	KUNIT_EXPECT_LE(test, max(dev->started_at, dev2->started_at), 2);
}

/* Who has started before another one refuses has to finish all the same */
static void hmm_two_pass_nonblock(struct kunit *test)
{
	struct mm_struct *mm = hmm_flush_mm(test);
	struct hmm_test_dev *atomic = hmm_test_mirror(test, mm,
						      &hmm_flush_atomic_ops);
	struct hmm_test_dev *sleeps, *told_first;
	struct mmu_notifier_range inv;

	hmm_test_not_on_list(test);
	KUNIT_ASSERT_EQ(test, 0, hmm_test_start_nonblock(&inv, mm, HMM_TEST_BASE,
							 1));
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ(test, atomic->finishes, 1);
	KUNIT_EXPECT_FALSE(test, atomic->last.blockable);

	sleeps = hmm_test_mirror(test, mm, &hmm_flush_ops);
	told_first = hmm_test_mirror(test, mm, &hmm_flush_atomic_ops);
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			hmm_test_start_nonblock(&inv, mm, HMM_TEST_BASE, 1));
	KUNIT_EXPECT_EQ(test, sleeps->refused, 1);
	KUNIT_EXPECT_EQ(test, sleeps->finishes, 0);
	KUNIT_EXPECT_EQ(test, told_first->finishes, 1);
	KUNIT_EXPECT_EQ(test, hmm_flush_log.pending, 0);
	KUNIT_EXPECT_EQ(test, atomic->wrong + sleeps->wrong + told_first->wrong, 0);
	/* Nothing was changed, and nothing goes on */
	hmm_test_expect_idle(test, told_first);

	/* Refused by the first one that is told */
	hmm_test_unregister(test, told_first);
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			hmm_test_start_nonblock(&inv, mm, HMM_TEST_BASE, 1));
	KUNIT_EXPECT_EQ(test, sleeps->refused, 2);
	KUNIT_EXPECT_EQ(test, sleeps->finishes, 0);
	hmm_test_expect_idle(test, sleeps);
}

static struct kunit_case hmm_two_pass_cases[] = {
	KUNIT_CASE(hmm_two_pass_order),
	KUNIT_CASE(hmm_two_pass_many),
	KUNIT_CASE(hmm_two_pass_list_changes),
	KUNIT_CASE(hmm_two_pass_exit),
	KUNIT_CASE(hmm_two_pass_nonblock),
	{}
};

static struct kunit_suite hmm_two_pass_suite = {
	.name = "hmm_mirror_two_pass",
	.test_cases = hmm_two_pass_cases,
};

kunit_test_suite(hmm_two_pass_suite);
