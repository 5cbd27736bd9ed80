// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mirrors that start a flush in one pass, and finish it in another.
 */
#include <kunit/resource.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>

#include "kunit.h"

#define HMM_FLUSH_DEVS		8
#define HMM_FLUSH_MS		100	/* what a device needs to flush */

/* Of all devices of a test: who did what when */
struct hmm_flush_log {
	unsigned int now;
	unsigned int pending;
	unsigned int most_pending;
};

struct hmm_flush_dev {
	struct hmm_mirror mirror;
	struct hmm_flush_log *log;
	bool idle;			/* nothing to wait for */
	unsigned int flush_ms;

	unsigned int starts;
	unsigned int finishes;
	unsigned int wrong;		/* finished what was not started so */
	unsigned int started_at;
	unsigned int finished_at;
	unsigned long flushed;		/* when, in jiffies */
	struct hmm_update update;

	struct completion entered;	/* invalidate_start() was, and ... */
	struct completion *go_on;	/* ... waits for this */
};

static u64 hmm_flush_start(struct hmm_mirror *mirror,
			   const struct hmm_update *update)
{
	struct hmm_flush_dev *dev = container_of(mirror, struct hmm_flush_dev,
						 mirror);

	dev->starts++;
	dev->started_at = ++dev->log->now;
	dev->update = *update;
	dev->flushed = jiffies + msecs_to_jiffies(dev->flush_ms);
	complete_all(&dev->entered);
	if (dev->go_on)
		wait_for_completion_timeout(dev->go_on, HMM_TEST_PATIENCE);
	if (dev->idle)
		return 0;

	dev->log->pending++;
	dev->log->most_pending = max(dev->log->most_pending, dev->log->pending);
	return (unsigned long)dev + dev->starts;
}

static void hmm_flush_finish(struct hmm_mirror *mirror,
			     const struct hmm_update *update, u64 fence)
{
	struct hmm_flush_dev *dev = container_of(mirror, struct hmm_flush_dev,
						 mirror);

	dev->finishes++;
	dev->finished_at = ++dev->log->now;
	dev->log->pending--;
	dev->wrong += fence != (unsigned long)dev + dev->starts ||
		      update->start != dev->update.start ||
		      update->end != dev->update.end ||
		      update->event != dev->update.event;
	while (time_before(jiffies, dev->flushed))
		schedule_timeout_uninterruptible(dev->flushed - jiffies);
}

static const struct hmm_mirror_ops hmm_flush_ops = {
	.invalidate_start = hmm_flush_start,
	.invalidate_finish = hmm_flush_finish,
};

static const struct hmm_mirror_ops hmm_flush_atomic_ops = {
	.invalidate_start = hmm_flush_start,
	.invalidate_finish = hmm_flush_finish,
	.flags = HMM_MIRROR_ATOMIC,
};

KUNIT_DEFINE_ACTION_WRAPPER(hmm_flush_unregister, hmm_mirror_unregister,
			    struct hmm_mirror *);

static struct hmm_flush_dev *hmm_flush_dev(struct kunit *test,
					   struct mm_struct *mm,
					   struct hmm_flush_log *log,
					   const struct hmm_mirror_ops *ops)
{
	struct hmm_flush_dev *dev = kunit_kzalloc(test, sizeof(*dev), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, dev);
	dev->mirror.ops = ops;
	dev->log = log;
	init_completion(&dev->entered);
	mmap_write_lock(mm);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_register(&dev->mirror, mm));
	mmap_write_unlock(mm);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_flush_unregister,
						  &dev->mirror));
	return dev;
}

/* All start before any finishes, and who has nothing to finish does not */
void hmm_two_pass_order(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_flush_dev *dev[HMM_FLUSH_DEVS];
	struct hmm_flush_log log = {};
	struct hmm_test_dev *one_pass;
	struct mmu_notifier_range inv;
	int i;

	for (i = 0; i < HMM_FLUSH_DEVS; i++) {
		dev[i] = hmm_flush_dev(test, mm, &log, &hmm_flush_ops);
		/* At the ends of the list, too */
		dev[i]->idle = i % 3 == 0;
	}
	one_pass = hmm_test_mirror(test, mm, &hmm_test_ops);

	hmm_test_start(&inv, mm, HMM_TEST_BASE, 2);
	for (i = 0; i < HMM_FLUSH_DEVS; i++) {
		KUNIT_EXPECT_EQ(test, dev[i]->starts, 1);
		KUNIT_EXPECT_LE(test, dev[i]->started_at, HMM_FLUSH_DEVS);
		KUNIT_EXPECT_EQ(test, dev[i]->update.start, HMM_TEST_BASE);
		KUNIT_EXPECT_EQ(test, dev[i]->update.end,
				HMM_TEST_BASE + 2 * PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, dev[i]->finishes, !dev[i]->idle);
		KUNIT_EXPECT_EQ(test, dev[i]->wrong, 0);
		if (!dev[i]->idle)
			KUNIT_EXPECT_GT(test, dev[i]->finished_at,
					HMM_FLUSH_DEVS);
	}
	KUNIT_EXPECT_EQ(test, one_pass->calls, 1);
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ(test, log.pending, 0);
}

/* Devices that need a time to flush need that time once, not each after the other */
void hmm_two_pass_side_by_side(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_flush_log log = {};
	struct mmu_notifier_range inv;
	ktime_t start;
	s64 ms;
	int i;

	for (i = 0; i < HMM_FLUSH_DEVS; i++)
		hmm_flush_dev(test, mm, &log, &hmm_flush_ops)->flush_ms =
			HMM_FLUSH_MS;

	start = ktime_get();
	hmm_test_start(&inv, mm, HMM_TEST_BASE, 1);
	ms = ktime_ms_delta(ktime_get(), start);
	hmm_test_end(&inv);

	kunit_info(test, "%d devices that take %d ms each took %lld ms\n",
		   HMM_FLUSH_DEVS, HMM_FLUSH_MS, ms);
	/* One after the other they would need all of it */
	KUNIT_EXPECT_GE(test, ms, HMM_FLUSH_MS - 10);
	KUNIT_EXPECT_LT(test, ms, HMM_FLUSH_DEVS * HMM_FLUSH_MS / 2);
}

/* More than the registry remembers at a time: some earlier, but each once */
void hmm_two_pass_many(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_flush_dev *dev[40];
	struct hmm_flush_log log = {};
	struct mmu_notifier_range inv;
	int i, round;

	for (i = 0; i < ARRAY_SIZE(dev); i++)
		dev[i] = hmm_flush_dev(test, mm, &log, &hmm_flush_ops);

	for (round = 1; round <= 2; round++) {
		hmm_test_start(&inv, mm, HMM_TEST_BASE, 1);
		for (i = 0; i < ARRAY_SIZE(dev); i++) {
			KUNIT_EXPECT_EQ(test, dev[i]->starts, round);
			KUNIT_EXPECT_EQ(test, dev[i]->finishes, round);
			KUNIT_EXPECT_EQ(test, dev[i]->wrong, 0);
		}
		hmm_test_end(&inv);
	}
	KUNIT_EXPECT_GE(test, log.most_pending, HMM_FLUSH_DEVS);
}

static int hmm_flush_invalidate_job(void *arg)
{
	struct mmu_notifier_range inv;

	hmm_test_start(&inv, arg, HMM_TEST_BASE, 1);
	hmm_test_end(&inv);
	return 0;
}

static int hmm_flush_unregister_job(void *arg)
{
	hmm_mirror_unregister(arg);
	return 0;
}

/* A mirror that goes between the passes finishes first; one that comes does not */
void hmm_two_pass_list_changes(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	DECLARE_COMPLETION_ONSTACK(go_on);
	struct hmm_flush_dev *stays, *goes, *comes;
	struct hmm_test_job *invalidate, *unregister;
	struct hmm_flush_log log = {};

	/* The last one that was registered is told first */
	stays = hmm_flush_dev(test, mm, &log, &hmm_flush_ops);
	goes = hmm_flush_dev(test, mm, &log, &hmm_flush_ops);
	stays->go_on = &go_on;

	invalidate = hmm_test_job(test, hmm_flush_invalidate_job, mm);
	KUNIT_ASSERT_NE(test, 0, wait_for_completion_timeout(&stays->entered,
							     HMM_TEST_PATIENCE));
	KUNIT_EXPECT_EQ(test, goes->starts, 1);
	comes = hmm_flush_dev(test, mm, &log, &hmm_flush_ops);
	kunit_remove_action(test, hmm_flush_unregister, &goes->mirror);
	unregister = hmm_test_job(test, hmm_flush_unregister_job, &goes->mirror);
	msleep(HMM_TEST_DELAY_MS);
	KUNIT_EXPECT_FALSE(test, completion_done(&unregister->done));
	KUNIT_EXPECT_EQ(test, goes->finishes, 0);

	complete_all(&go_on);
	hmm_test_finish(test, invalidate);
	hmm_test_finish(test, unregister);
	KUNIT_EXPECT_EQ(test, goes->finishes, 1);
	KUNIT_EXPECT_EQ(test, stays->finishes, 1);
	KUNIT_EXPECT_EQ(test, comes->starts + comes->finishes, 0);
	KUNIT_EXPECT_EQ(test, goes->wrong + stays->wrong, 0);
}

void hmm_two_pass_exit(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_flush_log log = {};
	struct hmm_flush_dev *dev = hmm_flush_dev(test, mm, &log, &hmm_flush_ops);
	struct hmm_flush_dev *dev2 = hmm_flush_dev(test, mm, &log, &hmm_flush_ops);

	hmm_test_kill(test, mm);
	KUNIT_EXPECT_EQ(test, dev->finishes, 1);
	KUNIT_EXPECT_EQ(test, dev2->finishes, 1);
	KUNIT_EXPECT_EQ(test, dev->update.event, MMU_NOTIFY_RELEASE);
	KUNIT_EXPECT_EQ(test, dev->update.end, ULONG_MAX);
	/* Both started before the first finished */
	KUNIT_EXPECT_LE(test, max(dev->started_at, dev2->started_at), 2);
}

/* Neither pass of a mirror that may sleep, both of one that does not */
void hmm_two_pass_nonblock(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_flush_log log = {};
	struct hmm_flush_dev *atomic = hmm_flush_dev(test, mm, &log,
						     &hmm_flush_atomic_ops);
	struct hmm_flush_dev *sleeps;
	struct mmu_notifier_range inv;

	KUNIT_ASSERT_EQ(test, 0, hmm_test_start_nonblock(&inv, mm, HMM_TEST_BASE,
							 1));
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ(test, atomic->finishes, 1);
	KUNIT_EXPECT_FALSE(test, atomic->update.blockable);

	sleeps = hmm_flush_dev(test, mm, &log, &hmm_flush_ops);
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			hmm_test_start_nonblock(&inv, mm, HMM_TEST_BASE, 1));
	KUNIT_EXPECT_EQ(test, sleeps->starts + sleeps->finishes, 0);
	KUNIT_EXPECT_EQ(test, log.pending, 0);
}
