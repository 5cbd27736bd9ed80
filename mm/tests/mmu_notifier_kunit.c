// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of how MMU notifiers refuse an invalidation that must not block.
 *
 * Each case has an address space of its own, with interval notifiers and two
 * notifiers of the list: one that refuses, as it may sleep, and one that expects
 * an end for each of its starts.  Invalidations are made by hand, as the OOM
 * reaper and process_mrelease(2) make them.
 *
 * What may wait for the end of an invalidation is done by a thread, which is given
 * a time limit.  If it hangs because a refused invalidation was never ended, the
 * case fails, and then brings that end itself: so nothing is left hanging.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

/* For what should be over at once, and to see that something waits */
#define MN_PATIENCE	(2 * HZ)
#define MN_WATCH	(HZ / 20 + 1)

/* Nothing is mapped there, and nothing needs to be */
#define MN_START	(16 * PAGE_SIZE)
#define MN_SIZE		(4 * PAGE_SIZE)

struct mn_interval {
	struct mmu_interval_notifier sub;
	struct mm_struct *mm;		/* where it is inserted, or NULL */
	bool refuses;			/* what must not block */
	unsigned int calls;
	unsigned long cur_seq;		/* of the last call */
	unsigned long read_seq;		/* of the last mn_read() */
};

struct mn_test {
	struct mm_struct *mm;
	bool dead;			/* mm was given up */
	struct mmu_notifier veto;
	bool vetoes;
	bool fails;			/* also where it may block, which is wrong */
	struct mmu_notifier pair;
	int starts;			/* those of @pair that had no end yet */
	unsigned int calls;		/* of @pair's start */

	struct mn_interval interval;	/* covers what is invalidated */
	struct mn_interval other;	/* does not */
	struct mmu_notifier_range range; /* of what must not block */
	int refused;			/* how many of these were */

	/* The thread, one at a time */
	void (*fn)(struct mn_interval *interval);
	struct mn_interval *arg;
	struct completion done;
	bool stuck;
};

static bool mn_invalidate(struct mmu_interval_notifier *sub,
			  const struct mmu_notifier_range *range,
			  unsigned long cur_seq)
{
	struct mn_interval *interval = container_of(sub, struct mn_interval, sub);

	interval->calls++;
	interval->cur_seq = cur_seq;
	if (interval->refuses && !mmu_notifier_range_blockable(range))
		return false;
	mmu_interval_set_seq(sub, cur_seq);
	return true;
}

static const struct mmu_interval_notifier_ops mn_interval_ops = {
	.invalidate = mn_invalidate,
};

static int mn_veto_start(struct mmu_notifier *notifier,
			 const struct mmu_notifier_range *range)
{
	struct mn_test *t = container_of(notifier, struct mn_test, veto);

	if (t->fails)
		return -EAGAIN;
	return t->vetoes && !mmu_notifier_range_blockable(range) ? -EAGAIN : 0;
}

/* What may refuse a start must have no end, see mn_hlist_invalidate_range_start() */
static const struct mmu_notifier_ops mn_veto_ops = {
	.invalidate_range_start = mn_veto_start,
};

static int mn_pair_start(struct mmu_notifier *notifier,
			 const struct mmu_notifier_range *range)
{
	struct mn_test *t = container_of(notifier, struct mn_test, pair);

	t->calls++;
	t->starts++;
	return 0;
}

static void mn_pair_end(struct mmu_notifier *notifier,
			const struct mmu_notifier_range *range)
{
	struct mn_test *t = container_of(notifier, struct mn_test, pair);

	t->starts--;
}

static const struct mmu_notifier_ops mn_pair_ops = {
	.invalidate_range_start = mn_pair_start,
	.invalidate_range_end = mn_pair_end,
};

/* Invalidations */

static void mn_start(struct mn_test *t, struct mmu_notifier_range *range)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, t->mm, MN_START,
				MN_START + MN_SIZE);
	mmu_notifier_invalidate_range_start(range);
}

static int mn_start_nonblock(struct mn_test *t)
{
	int ret;

	mmu_notifier_range_init(&t->range, MMU_NOTIFY_CLEAR, 0, t->mm, MN_START,
				MN_START + MN_SIZE);
	ret = mmu_notifier_invalidate_range_start_nonblock(&t->range);
	if (ret)
		t->refused++;
	return ret;
}

/* Things that may wait */

static void mn_read(struct mn_interval *interval)
{
	interval->read_seq = mmu_interval_read_begin(&interval->sub);
}

static void mn_remove(struct mn_interval *interval)
{
	mmu_interval_notifier_remove(&interval->sub);
	interval->mm = NULL;
}

static int mn_thread(void *data)
{
	struct mn_test *t = data;

	t->fn(t->arg);
	complete_all(&t->done);
	return 0;
}

static void mn_run(struct kunit *test, void (*fn)(struct mn_interval *),
		   struct mn_interval *arg)
{
	struct mn_test *t = test->priv;

	KUNIT_ASSERT_FALSE(test, t->stuck);
	t->fn = fn;
	t->arg = arg;
	reinit_completion(&t->done);
	KUNIT_ASSERT_FALSE(test, IS_ERR(kthread_run(mn_thread, t, "mn_kunit")));
}

static void mn_expect_waits(struct kunit *test)
{
	struct mn_test *t = test->priv;

	KUNIT_EXPECT_FALSE_MSG(test, wait_for_completion_timeout(&t->done, MN_WATCH),
			       "it did not wait for the end of an invalidation");
}

/* To be called when no invalidation is active */
static void mn_expect_finishes(struct kunit *test)
{
	struct mn_test *t = test->priv;

	if (wait_for_completion_timeout(&t->done, MN_PATIENCE))
		return;
	KUNIT_FAIL(test, "%ps() hangs: a refused invalidation was not ended", t->fn);
	for (; t->refused; t->refused--) {
		t->starts++;	/* the list had its end, and gets another one */
		mmu_notifier_invalidate_range_end(&t->range);
		if (wait_for_completion_timeout(&t->done, MN_WATCH))
			return;
	}
	KUNIT_FAIL(test, "%ps() hangs for ever, and is left behind", t->fn);
	t->stuck = true;
}

static void mn_insert(struct kunit *test, struct mn_interval *interval,
		      unsigned long start)
{
	struct mn_test *t = test->priv;

	KUNIT_ASSERT_EQ(test, 0, mmu_interval_notifier_insert(&interval->sub, t->mm,
							      start, MN_SIZE,
							      &mn_interval_ops));
	interval->mm = t->mm;
}

/* An invalidation is active: who reads waits for its end, which this brings */
static void mn_expect_read_waits(struct kunit *test, struct mn_interval *interval,
				 struct mmu_notifier_range *range)
{
	mn_run(test, mn_read, interval);
	mn_expect_waits(test);
	mmu_notifier_invalidate_range_end(range);
	mn_expect_finishes(test);
}

/* Nothing is going on, and the next invalidation is seen as any other */
static void mn_expect_idle(struct kunit *test, struct mn_interval *interval)
{
	struct mn_test *t = test->priv;
	struct mmu_notifier_range range;
	unsigned int calls = interval->calls;

	mn_run(test, mn_read, interval);
	mn_expect_finishes(test);
	KUNIT_EXPECT_FALSE(test, mmu_interval_read_retry(&interval->sub,
							 interval->read_seq));
	KUNIT_EXPECT_EQ(test, t->starts, 0);

	mn_start(t, &range);
	KUNIT_EXPECT_EQ(test, interval->calls, calls + 1);
	KUNIT_EXPECT_TRUE(test, mmu_interval_read_retry(&interval->sub,
							interval->read_seq));
	mn_expect_read_waits(test, interval, &range);
	KUNIT_EXPECT_FALSE(test, mmu_interval_read_retry(&interval->sub,
							 interval->read_seq));
	KUNIT_EXPECT_EQ(test, t->starts, 0);
}

/* Without a refusal, to know that the tests tell one from the other */

static void mn_nobody_refuses(struct kunit *test)
{
	struct mn_test *t = test->priv;
	struct mmu_notifier_range range;

	mn_start(t, &range);
	KUNIT_EXPECT_EQ(test, t->interval.calls, 1);
	KUNIT_EXPECT_EQ(test, t->other.calls, 0);
	KUNIT_EXPECT_EQ(test, t->starts, 1);
	mmu_notifier_invalidate_range_end(&range);
	mn_expect_idle(test, &t->interval);

	t->interval.calls = 0;
	t->vetoes = false;
	KUNIT_ASSERT_EQ(test, 0, mn_start_nonblock(t));
	KUNIT_EXPECT_EQ(test, t->interval.calls, 1);
	KUNIT_EXPECT_EQ(test, t->starts, 1);
	mmu_notifier_invalidate_range_end(&t->range);
	mn_expect_idle(test, &t->interval);
}

/* An interval notifier refuses: the list is not even asked */

static void mn_interval_refuses(struct kunit *test)
{
	struct mn_test *t = test->priv;

	t->interval.refuses = true;
	KUNIT_EXPECT_EQ(test, -EAGAIN, mn_start_nonblock(t));
	KUNIT_EXPECT_EQ(test, t->interval.calls, 1);
	KUNIT_EXPECT_EQ(test, t->calls, 0);
	mn_expect_idle(test, &t->interval);
}

static void mn_interval_refuses_nested(struct kunit *test)
{
	struct mn_test *t = test->priv;
	struct mmu_notifier_range outer;

	t->interval.refuses = true;
	mn_start(t, &outer);
	KUNIT_EXPECT_EQ(test, -EAGAIN, mn_start_nonblock(t));
	KUNIT_EXPECT_EQ(test, t->starts, 1);
	mn_expect_read_waits(test, &t->interval, &outer);
	mn_expect_idle(test, &t->interval);
}

/* A notifier of the list refuses, after the interval notifiers have agreed */

static void mn_list_refuses_then_remove(struct kunit *test)
{
	struct mn_test *t = test->priv;
	struct mmu_notifier_range range;

	KUNIT_EXPECT_EQ(test, -EAGAIN, mn_start_nonblock(t));
	mn_run(test, mn_remove, &t->interval);
	mn_expect_finishes(test);

	mn_start(t, &range);
	mmu_notifier_invalidate_range_end(&range);
	KUNIT_EXPECT_EQ(test, t->interval.calls, 1);
}

/* As drivers do that insert a notifier for each device page fault */
static void mn_list_refuses_then_insert(struct kunit *test)
{
	struct mn_test *t = test->priv;

	mn_run(test, mn_remove, &t->interval);
	mn_expect_finishes(test);
	KUNIT_EXPECT_EQ(test, -EAGAIN, mn_start_nonblock(t));
	KUNIT_EXPECT_EQ(test, t->interval.calls, 0);
	mn_insert(test, &t->interval, MN_START);
	mn_expect_idle(test, &t->interval);
}

/* As the reaper does, which goes on with the next VMA, and comes back later */
static void mn_list_refuses_often(struct kunit *test)
{
	struct mn_test *t = test->priv;
	int i;

	for (i = 1; i <= 3; i++) {
		KUNIT_EXPECT_EQ(test, -EAGAIN, mn_start_nonblock(t));
		KUNIT_EXPECT_EQ(test, t->interval.calls, i);
		KUNIT_EXPECT_EQ(test, t->calls, i);
		KUNIT_EXPECT_EQ(test, t->starts, 0);
	}
	t->vetoes = false;
	KUNIT_ASSERT_EQ(test, 0, mn_start_nonblock(t));
	mmu_notifier_invalidate_range_end(&t->range);
	mn_expect_idle(test, &t->interval);
}

/* The refused one is ended, and not the other one that is still active */
static void mn_list_refuses_nested(struct kunit *test)
{
	struct mn_test *t = test->priv;
	struct mmu_notifier_range outer;
	unsigned long seq;

	mn_start(t, &outer);
	seq = t->interval.cur_seq;
	KUNIT_EXPECT_EQ(test, -EAGAIN, mn_start_nonblock(t));
	KUNIT_EXPECT_EQ(test, t->interval.cur_seq, seq);
	KUNIT_EXPECT_EQ(test, t->starts, 1);

	mn_expect_read_waits(test, &t->interval, &outer);
	mn_expect_idle(test, &t->interval);
}

/* The victim exits at last, and only then does the driver let go */
static void mn_list_refuses_then_exit(struct kunit *test)
{
	struct mn_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, -EAGAIN, mn_start_nonblock(t));
	mmput(t->mm);
	t->dead = true;
	KUNIT_EXPECT_EQ(test, t->interval.calls, 2);
	KUNIT_EXPECT_EQ(test, t->other.calls, 1);
	mn_run(test, mn_remove, &t->interval);
	mn_expect_finishes(test);
}

/*
 * What may block goes on whatever a notifier says, and ends: once in the tree, and
 * once for each notifier of the list.
 */
static void mn_list_fails_blockable(struct kunit *test)
{
#ifdef kunit_warning_suppress
	struct mn_test *t = test->priv;
	struct mmu_notifier_range range;

	t->fails = true;
	kunit_warning_suppress(test) {
		mn_start(t, &range);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	t->fails = false;
	KUNIT_EXPECT_EQ(test, t->interval.calls, 1);
	KUNIT_EXPECT_EQ(test, t->starts, 1);
	mmu_notifier_invalidate_range_end(&range);
	mn_expect_idle(test, &t->interval);
#else
	kunit_skip(test, "a WARNING would taint this kernel");
#endif
}

static int mn_test_init(struct kunit *test)
{
	struct mn_test *t = kzalloc(sizeof(*t), GFP_KERNEL);

	if (!t)
		return -ENOMEM;
	t->mm = mm_alloc();
	if (!t->mm) {
		kfree(t);
		return -ENOMEM;
	}
	mmgrab(t->mm);
	test->priv = t;
	init_completion(&t->done);
	t->vetoes = true;
	t->veto.ops = &mn_veto_ops;
	t->pair.ops = &mn_pair_ops;
	KUNIT_ASSERT_EQ(test, 0, mmu_notifier_register(&t->veto, t->mm));
	KUNIT_ASSERT_EQ(test, 0, mmu_notifier_register(&t->pair, t->mm));
	/* There is no interval tree yet, so there is nothing to end in one */
	KUNIT_ASSERT_EQ(test, -EAGAIN, mn_start_nonblock(t));
	t->refused = 0;
	t->calls = 0;
	mn_insert(test, &t->interval, MN_START);
	mn_insert(test, &t->other, MN_START + MN_SIZE);
	return 0;
}

static void mn_test_exit(struct kunit *test)
{
	struct mn_test *t = test->priv;
	struct mn_interval *intervals[] = { &t->interval, &t->other };
	int i;

	if (!t)
		return;
	for (i = 0; i < ARRAY_SIZE(intervals) && !t->stuck; i++) {
		if (!intervals[i]->mm)
			continue;
		mn_run(test, mn_remove, intervals[i]);
		mn_expect_finishes(test);
	}
	if (t->stuck)
		return;	/* the thread still uses all of it */

	if (t->veto.mm)
		mmu_notifier_unregister(&t->veto, t->mm);
	if (t->pair.mm)
		mmu_notifier_unregister(&t->pair, t->mm);
	if (!t->dead)
		mmput(t->mm);
	mmdrop(t->mm);
	kfree(t);
}

static struct kunit_case mn_test_cases[] = {
	KUNIT_CASE(mn_nobody_refuses),
	KUNIT_CASE(mn_interval_refuses),
	KUNIT_CASE(mn_interval_refuses_nested),
	KUNIT_CASE(mn_list_refuses_then_remove),
	KUNIT_CASE(mn_list_refuses_then_insert),
	KUNIT_CASE(mn_list_refuses_often),
	KUNIT_CASE(mn_list_refuses_nested),
	KUNIT_CASE(mn_list_refuses_then_exit),
	KUNIT_CASE(mn_list_fails_blockable),
	{}
};

static struct kunit_suite mn_test_suite = {
	.name = "mmu_notifier",
	.init = mn_test_init,
	.exit = mn_test_exit,
	.test_cases = mn_test_cases,
};

kunit_test_suite(mn_test_suite);

MODULE_DESCRIPTION("KUnit tests of MMU notifiers");
MODULE_LICENSE("GPL");
