// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The rows of the benchmark: invalidations, device page faults, and devices that flush.
 */
#include <kunit/resource.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include "bench.h"

void hmm_bench_inval(struct kunit *test, const char *what, const char *peer,
		     struct hmm_bench_dev *ours, struct hmm_bench_dev *theirs,
		     unsigned long n, bool atomic)
{
	struct hmm_bench_side sides[] = {
		{ .dev = ours, .op = hmm_bench_invalidate },
		{ .dev = theirs, .op = hmm_bench_invalidate },
	};

	hmm_bench_measure(sides, ARRAY_SIZE(sides), n, atomic);
	hmm_bench_row(test, what, peer, &sides[0], &sides[1], "ns");
}

void hmm_bench_inval_one(struct kunit *test)
{
	hmm_bench_inval(test, "row=inval_one", "interval-whole",
			hmm_bench_ours(test, &hmm_bench_sleeping, 1),
			hmm_bench_whole(test, &hmm_bench_interval_sleeping_ops),
			1000, false);
}

void hmm_bench_inval_atomic(struct kunit *test)
{
	hmm_bench_inval(test, "row=inval_atomic", "interval-whole",
			hmm_bench_ours(test, &hmm_bench_atomic, 1),
			hmm_bench_whole(test, &hmm_bench_interval_atomic_ops),
			1000, true);
}

void hmm_bench_inval_floor(struct kunit *test)
{
	hmm_bench_inval(test, "row=inval_floor", "bare",
			hmm_bench_ours(test, &hmm_bench_empty, 1),
			hmm_bench_bare(test, 1), 1000, true);
}

/* Invalidations of @pages pages, from the device's page @first on */
static void hmm_bench_inval_at(struct kunit *test, const char *what,
			       struct hmm_bench_dev *ours,
			       struct hmm_bench_dev *theirs,
			       unsigned long first, unsigned long pages,
			       unsigned long n)
{
	ours->at = ours->base + first * PAGE_SIZE;
	ours->at_end = ours->at + pages * PAGE_SIZE;
	theirs->at = ours->at;
	theirs->at_end = ours->at_end;
	hmm_bench_inval(test, what, "interval-each", ours, theirs, n, false);
}

/* A device that has mapped 10 000 pages, each on its own */
void hmm_bench_inval_10k(struct kunit *test)
{
	struct hmm_bench_dev *ours = hmm_bench_ours(test, &hmm_bench_sleeping, 10000);
	struct hmm_bench_dev *theirs = hmm_bench_intervals(test, 10000);

	hmm_bench_inval_at(test, "row=inval_hit1_10k", ours, theirs, 5000, 1, 1000);
	hmm_bench_inval_at(test, "row=inval_miss_10k", ours, theirs, 10001, 1, 1000);
	hmm_bench_inval_at(test, "row=inval_all_10k", ours, theirs, 0, 10000,
			   HMM_BENCH_FEW);

	/* The same, and the mirror has a window around these pages */
	hmm_mirror_unregister(&ours->mirror);
	ours->mirror.window_start = ours->base;
	ours->mirror.window_end = hmm_bench_end(ours);
	KUNIT_ASSERT_EQ(test, 0, hmm_bench_do_register(&ours->mirror, ours->mm,
						       &hmm_bench_sleeping));
	hmm_bench_inval_at(test, "row=inval_miss_window", ours, theirs, 10001, 1, 1000);
}

void hmm_bench_mirrors_slope(struct kunit *test)
{
	struct hmm_bench_side sides[] = {
		{ hmm_bench_many(test, 1, &hmm_bench_empty), hmm_bench_invalidate },
		{ hmm_bench_many(test, 65, &hmm_bench_empty), hmm_bench_invalidate },
		{ hmm_bench_bare(test, 1), hmm_bench_invalidate },
		{ hmm_bench_bare(test, 65), hmm_bench_invalidate },
	};

	hmm_bench_measure(sides, ARRAY_SIZE(sides), 1000, true);
	hmm_bench_print(test, "row=mirrors_slope", "bare",
			hmm_bench_slope(&sides[1], &sides[0], 64),
			hmm_bench_slope(&sides[3], &sides[2], 64), "ns");
}

void hmm_bench_do_map(struct kunit *test, const char *what, unsigned long pages,
		      unsigned long n, bool huge)
{
	struct hmm_bench_side sides[] = {
		{ hmm_bench_ours(test, &hmm_bench_sleeping, pages),
		  hmm_bench_map },
		{ hmm_bench_dev(test, pages), hmm_bench_interval_map },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sides); i++)
		hmm_bench_memory(test, sides[i].dev, huge);
	hmm_bench_measure(sides, ARRAY_SIZE(sides), n, false);
	for (i = 0; huge && i < ARRAY_SIZE(sides); i++)
		KUNIT_EXPECT_EQ(test, hmm_pfn_to_map_order(sides[i].dev->pfns[0]),
				PMD_SHIFT - PAGE_SHIFT);
	hmm_bench_row(test, what, "interval-transient", &sides[0], &sides[1],
		      "ns");
}

void hmm_bench_map_rows(struct kunit *test)
{
	hmm_bench_do_map(test, "row=map_1", 1, 1000, false);
	hmm_bench_do_map(test, "row=map_512", 512, 50, false);
}

void hmm_bench_map_thp(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge pages in this kernel");
	hmm_bench_do_map(test, "row=map_thp", PMD_SIZE / PAGE_SIZE, 50, true);
}

KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_range_end, hmm_mirror_range_end,
			    struct hmm_mirror_range *);
KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_interval_remove,
			    mmu_interval_notifier_remove,
			    struct mmu_interval_notifier *);

/* A notifier for faults anywhere */
static void hmm_bench_whole_mm(struct kunit *test, struct hmm_bench_dev *dev)
{
	dev->interval.dev = dev;
	KUNIT_ASSERT_EQ(test, 0,
			mmu_interval_notifier_insert(&dev->interval.notifier,
						     dev->mm, 0,
						     ULONG_MAX & PAGE_MASK,
						     &hmm_bench_interval_sleeping_ops));
	hmm_bench_defer(test, hmm_bench_interval_remove, &dev->interval.notifier);
}

/* A range, and a notifier, that are kept from fault to fault */
void hmm_bench_map_1_persistent(struct kunit *test)
{
	struct hmm_bench_side sides[] = {
		{ hmm_bench_ours(test, &hmm_bench_sleeping, 1), hmm_bench_map_kept },
		{ hmm_bench_dev(test, 1), hmm_bench_interval_map_kept },
	};
	struct hmm_bench_dev *ours = sides[0].dev, *theirs = sides[1].dev;

	hmm_bench_memory(test, ours, false);
	KUNIT_ASSERT_EQ(test, 0,
			hmm_mirror_range_begin(&ours->range, &ours->mirror));
	hmm_bench_defer(test, hmm_bench_range_end, &ours->range);

	hmm_bench_memory(test, theirs, false);
	KUNIT_ASSERT_EQ(test, 0, hmm_bench_interval_insert(theirs));
	hmm_bench_defer(test, hmm_bench_interval_remove, &theirs->interval.notifier);

	hmm_bench_measure(sides, ARRAY_SIZE(sides), 1000, false);
	hmm_bench_row(test, "row=map_1_persistent", "interval-kept", &sides[0],
		      &sides[1], "ns");
}

/*
 * Faults beside unrelated invalidations, which take hold_us each and come at such a
 * distance, in a thread that runs whenever it can.
 */

static int hmm_bench_storm(void *data)
{
	struct hmm_bench_dev *dev = data;
	struct mmu_notifier_range range;

	hmm_bench_range(&range, dev);
	while (!kthread_should_stop()) {
		mmu_notifier_invalidate_range_start(&range);
		usleep_range(dev->hold_us, dev->hold_us + 1);
		mmu_notifier_invalidate_range_end(&range);
		usleep_range(dev->hold_us, dev->hold_us + 1);
	}
	return 0;
}

KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_stop, kthread_stop, struct task_struct *);

static struct task_struct *hmm_bench_start_storm(struct kunit *test,
						 struct hmm_bench_dev *dev,
						 unsigned int hold_us)
{
	struct task_struct *task;

	dev->at = hmm_bench_end(dev) + PAGE_SIZE;
	dev->at_end = dev->at + PAGE_SIZE;
	dev->hold_us = hold_us;
	task = kthread_run(hmm_bench_storm, dev, "hmm_bench");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	sched_set_fifo(task);
	hmm_bench_defer(test, hmm_bench_stop, task);
	return task;
}

/* @faults of them, while invalidations take 5 us */
void hmm_bench_retries(struct kunit *test, struct hmm_bench_side *side,
		       unsigned long faults)
{
	struct task_struct *task = hmm_bench_start_storm(test, side->dev, 5);

	side->op(side->dev, faults);
	kunit_release_action(test, hmm_bench_stop, task);
}

/* The worst of the faults of half a second, while invalidations take 2 ms */
u64 hmm_bench_worst(struct kunit *test, struct hmm_bench_side *side)
{
	unsigned long until = jiffies + HZ / 2;
	struct task_struct *task;
	u64 t, worst = 0;

	task = hmm_bench_start_storm(test, side->dev, 2000);
	do {
		t = ktime_get_ns();
		side->op(side->dev, 1);
		worst = max(worst, ktime_get_ns() - t);
		usleep_range(100, 200);
	} while (time_before(jiffies, until));
	kunit_release_action(test, hmm_bench_stop, task);
	return worst;
}

void hmm_bench_beside_storm(struct kunit *test)
{
	struct hmm_bench_side sides[] = {
		{ hmm_bench_ours(test, &hmm_bench_sleeping, 1), hmm_bench_map },
		{ hmm_bench_dev(test, 1), hmm_bench_interval_map_kept },
	};
	struct hmm_bench_dev *ours = sides[0].dev, *theirs = sides[1].dev;
	unsigned int i;

	hmm_bench_memory(test, ours, false);
	hmm_bench_memory(test, theirs, false);
	hmm_bench_whole_mm(test, theirs);
	for (i = 0; i < ARRAY_SIZE(sides); i++)
		hmm_bench_retries(test, &sides[i], 100000);
	hmm_bench_count(test, "row=false_retries", "interval-whole", ours->retries,
			theirs->retries, "per-100k-faults");
	hmm_bench_count(test, "row=fault_wait_tail", "interval-whole",
			hmm_bench_worst(test, &sides[0]),
			hmm_bench_worst(test, &sides[1]), "wait-ns");
	KUNIT_EXPECT_EQ(test, ours->errors, 0);
	KUNIT_EXPECT_EQ(test, theirs->errors, 0);
}

/*
 * The exit of a process that has a bare notifier, as that of a virtual machine, beside
 * another process, whose device takes its time in every invalidation.
 */

static bool hmm_bench_mirror_slow(struct hmm_mirror *mirror,
				  const struct mmu_notifier_range *update)
{
	msleep(100);
	return true;
}

static const struct hmm_mirror_ops hmm_bench_slow = {
	.invalidate = hmm_bench_mirror_slow,
};

static int hmm_bench_bare_slow_start(struct mmu_notifier *notifier,
				     const struct mmu_notifier_range *range)
{
	msleep(100);
	return 0;
}

static const struct mmu_notifier_ops hmm_bench_bare_slow = {
	.invalidate_range_start = hmm_bench_bare_slow_start,
};

static void hmm_bench_bare_unregister(void *data)
{
	struct hmm_bench_dev *dev = data;

	mmu_notifier_unregister(&dev->bare, dev->mm);
}

/* Returns what the exit takes, beside @slow */
static u64 hmm_bench_exit(struct kunit *test, struct hmm_bench_dev *slow)
{
	struct task_struct *task = hmm_bench_start_storm(test, slow, 1);
	struct mmu_notifier exits = { .ops = &hmm_bench_bare_ops };
	struct mm_struct *mm = hmm_bench_mm_alloc();
	u64 t;

	KUNIT_ASSERT_NOT_NULL(test, mm);
	KUNIT_ASSERT_EQ(test, 0, mmu_notifier_register(&exits, mm));
	msleep(50);	/* in the midst of it */
	t = ktime_get_ns();
	mmput(mm);
	t = ktime_get_ns() - t;
	mmu_notifier_put(&exits);
	kunit_release_action(test, hmm_bench_stop, task);
	mmu_notifier_synchronize();
	return t;
}

void hmm_bench_exit_beside(struct kunit *test)
{
	struct hmm_bench_dev *ours = hmm_bench_ours(test, &hmm_bench_slow, 1);
	struct hmm_bench_dev *theirs = hmm_bench_dev(test, 1);

	theirs->bare.ops = &hmm_bench_bare_slow;
	KUNIT_ASSERT_EQ(test, 0, mmu_notifier_register(&theirs->bare, theirs->mm));
	hmm_bench_defer(test, hmm_bench_bare_unregister, theirs);
	hmm_bench_count(test, "row=exit_beside_slow", "bare",
			hmm_bench_exit(test, ours), hmm_bench_exit(test, theirs),
			"wait-ns");
}

/* Devices that need time to flush */

static void hmm_bench_wait_until(u64 time)
{
	while (ktime_get_ns() < time)
		cpu_relax();
}

static bool hmm_bench_mirror_flush(struct hmm_mirror *mirror,
				   const struct mmu_notifier_range *update)
{
	hmm_bench_wait_until(ktime_get_ns() + HMM_BENCH_FLUSH_NS);
	return true;
}

static bool hmm_bench_mirror_flush_start(struct hmm_mirror *mirror,
					 const struct mmu_notifier_range *update,
					 u64 *fence)
{
	*fence = ktime_get_ns() + HMM_BENCH_FLUSH_NS;
	return true;
}

static void hmm_bench_mirror_flush_finish(struct hmm_mirror *mirror,
					  const struct mmu_notifier_range *update,
					  u64 fence)
{
	hmm_bench_wait_until(fence);
}

static const struct hmm_mirror_ops hmm_bench_one_pass = {
	.invalidate = hmm_bench_mirror_flush,
};

static const struct hmm_mirror_ops hmm_bench_two_pass = {
	.invalidate_start = hmm_bench_mirror_flush_start,
	.invalidate_finish = hmm_bench_mirror_flush_finish,
};

void hmm_bench_two_pass_8(struct kunit *test)
{
	struct hmm_bench_side sides[] = {
		{ hmm_bench_many(test, 8, &hmm_bench_two_pass),
		  hmm_bench_invalidate },
		{ hmm_bench_many(test, 8, &hmm_bench_one_pass),
		  hmm_bench_invalidate },
	};

	hmm_bench_measure(sides, ARRAY_SIZE(sides), HMM_BENCH_FEW, true);
	hmm_bench_row(test, "row=two_pass_8", "one-pass", &sides[0], &sides[1],
		      "wait-ns");
}
