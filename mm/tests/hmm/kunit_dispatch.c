// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which mirrors are told of an invalidation, at which end; who refuses one; and what
 * unregistering, or the end of the process, waits for.
 */
#include <linux/delay.h>
#include <linux/mm.h>

#include "kunit.h"

/* More than the registry has slots for */
#define HMM_TEST_OPEN	20

/* Invalidations that are open, so that the next ones have no slot */
struct hmm_test_opened {
	struct mmu_notifier_range inv[HMM_TEST_OPEN];
};

static struct hmm_test_opened *hmm_test_open(struct kunit *test,
					     struct mm_struct *mm)
{
	struct hmm_test_opened *opened = kunit_kzalloc(test, sizeof(*opened),
						       GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, opened);
	for (i = 0; i < HMM_TEST_OPEN; i++)
		hmm_test_start(&opened->inv[i], mm,
			       HMM_TEST_BASE + 2 * i * PAGE_SIZE, 1);
	return opened;
}

static void hmm_test_close(struct hmm_test_opened *opened)
{
	int i;

	for (i = 0; i < HMM_TEST_OPEN; i++)
		hmm_test_end(&opened->inv[i]);
}

/* The end is told when faults are let in again, and whatever slot there was */
static void hmm_end_is_told(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_end_ops);
	struct hmm_test_dev *late, *sync;
	struct hmm_test_opened *opened;
	struct mmu_notifier_range inv, inv2;
	struct hmm_mirror_range *range;
	struct hmm_test_job *job;

	dev->addr = HMM_TEST_BASE;
	dev->probe = true;
	hmm_test_start(&inv, mm, HMM_TEST_BASE, 1);
	range = hmm_test_begin(test, dev, HMM_TEST_BASE, 1, 0);
	job = hmm_test_fault_job(test, range, 3 * HMM_TEST_PATIENCE);
	msleep(HMM_TEST_DELAY_MS);
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
	KUNIT_EXPECT_EQ(test, dev->probes_valid, 0);
	/* One that comes in between knows of it, and is told of the end only */
	late = hmm_test_mirror(test, mm, &hmm_test_end_ops);
	KUNIT_EXPECT_TRUE(test, hmm_test_busy(late, HMM_TEST_BASE, 1));
	KUNIT_EXPECT_FALSE(test, completion_done(&job->done));
	hmm_test_end(&inv);
	hmm_test_finish(test, job);
	KUNIT_EXPECT_EQ(test, job->ret, 0);
	hmm_mirror_range_end(range);
	KUNIT_EXPECT_EQ(test, dev->calls, 2);
	KUNIT_EXPECT_EQ(test, dev->afters, 1);
	KUNIT_EXPECT_EQ(test, dev->probes_valid, 1);
	KUNIT_EXPECT_EQ(test, dev->last.start, HMM_TEST_BASE);
	KUNIT_EXPECT_EQ(test, late->calls, 1);
	KUNIT_EXPECT_EQ(test, late->afters, 1);
	hmm_test_expect_idle(test, dev);

	/* That of 2017 is told before, as it takes away what a fault maps then */
	dev->probe = false;
	sync = hmm_test_mirror(test, mm, &hmm_test_2017_ops);
	sync->probe = true;
	hmm_test_invalidate(mm, HMM_TEST_BASE, 1);
	KUNIT_EXPECT_EQ(test, sync->syncs, 2);
	KUNIT_EXPECT_EQ(test, sync->probes_valid, 0);
	hmm_test_unregister(test, sync);
	KUNIT_EXPECT_EQ(test, dev->afters, 2);

	opened = hmm_test_open(test, mm);
	KUNIT_EXPECT_EQ(test, dev->afters, 2);
	hmm_test_close(opened);
	KUNIT_EXPECT_EQ(test, dev->afters, 2 + HMM_TEST_OPEN);
	hmm_test_expect_idle(test, dev);

	/* And each has given its slot back: what is between two is not busy */
	hmm_test_start(&inv, mm, HMM_TEST_BASE, 1);
	hmm_test_start(&inv2, mm, HMM_TEST_BASE + 2 * PAGE_SIZE, 1);
	KUNIT_EXPECT_FALSE(test, hmm_test_busy(dev, HMM_TEST_BASE + PAGE_SIZE, 1));
	hmm_test_end(&inv2);
	hmm_test_end(&inv);

	/* Nor is anyone once all of them have gone, who would have been */
	hmm_test_unregister(test, late);
	hmm_test_unregister(test, dev);
	hmm_test_invalidate(mm, HMM_TEST_BASE, 1);
	KUNIT_EXPECT_EQ(test, dev->late + late->late, 0);
}

static int hmm_test_bare_start(struct mmu_notifier *notifier,
			       const struct mmu_notifier_range *range)
{
	return mmu_notifier_range_blockable(range) ? 0 : -EAGAIN;
}

/* A notifier of the core's list, which is asked after the mirrors */
static const struct mmu_notifier_ops hmm_test_bare_ops = {
	.invalidate_range_start = hmm_test_bare_start,
};

/* There is no end of what was refused, by whomever */
static void hmm_end_of_refused(struct kunit *test)
{
	static struct hmm_mirror_ops ops;
	struct mmu_notifier bare = { .ops = &hmm_test_bare_ops };
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *refuses = hmm_test_mirror(test, mm, &hmm_test_end_ops);
	struct hmm_test_dev *told = hmm_test_mirror(test, mm, &hmm_test_atomic_ops);
	struct hmm_test_dev *sync = hmm_test_mirror(test, mm, &hmm_test_2017_ops);
	struct hmm_test_opened *opened;
	struct mmu_notifier_range inv;

	hmm_test_not_on_list(test);
	/* The 2017 callback may sleep, for all that the registry knows */
	KUNIT_EXPECT_EQ(test, -EAGAIN, hmm_test_start_nonblock(&inv, mm,
							       HMM_TEST_BASE, 1));
	KUNIT_EXPECT_EQ(test, told->calls + refuses->calls + sync->calls, 0);
	hmm_test_unregister(test, sync);

	KUNIT_EXPECT_EQ(test, -EAGAIN, hmm_test_start_nonblock(&inv, mm,
							       HMM_TEST_BASE, 1));
	KUNIT_EXPECT_EQ(test, told->calls, 1);
	KUNIT_EXPECT_EQ(test, refuses->refused, 1);
	KUNIT_EXPECT_EQ(test, refuses->afters, 0);
	hmm_test_expect_idle(test, told);

	/* Nor is anything left of it */
	hmm_test_invalidate(mm, HMM_TEST_BASE, 1);
	KUNIT_EXPECT_EQ(test, refuses->afters, 1);

	/* The same where there is no slot for it */
	opened = hmm_test_open(test, mm);
	KUNIT_EXPECT_EQ(test, -EAGAIN, hmm_test_start_nonblock(&inv, mm,
							       HMM_TEST_BASE, 1));
	KUNIT_EXPECT_EQ(test, refuses->refused, 2);
	KUNIT_EXPECT_EQ(test, refuses->afters, 1);
	hmm_test_close(opened);
	KUNIT_EXPECT_EQ(test, refuses->afters, 1 + HMM_TEST_OPEN);
	hmm_test_expect_idle(test, told);
	hmm_test_unregister(test, refuses);
	told->calls = 0;

	/* Nobody is left who refuses, and the 2017 callback may promise not to sleep */
	ops = hmm_test_2017_ops;
	ops.flags = HMM_MIRROR_ATOMIC;
	sync = hmm_test_mirror(test, mm, &ops);
	KUNIT_ASSERT_EQ(test, 0, hmm_test_start_nonblock(&inv, mm, HMM_TEST_BASE, 1));
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ(test, told->calls, 1);
	KUNIT_EXPECT_EQ(test, sync->calls, 2);

	KUNIT_ASSERT_EQ(test, 0, mmu_notifier_register(&bare, mm));
	KUNIT_EXPECT_EQ(test, -EAGAIN, hmm_test_start_nonblock(&inv, mm,
							       HMM_TEST_BASE, 1));
	mmu_notifier_unregister(&bare, mm);
	KUNIT_EXPECT_EQ(test, told->calls, 2);
	KUNIT_EXPECT_EQ(test, sync->calls, 3);
	hmm_test_expect_idle(test, told);
}

static bool hmm_test_never(struct hmm_mirror *mirror,
			   const struct mmu_notifier_range *update)
{
	return false;
}

/* What may block must not be refused: it goes on, and the others are told */
static void hmm_refuses_what_may_block(struct kunit *test)
{
	const struct hmm_mirror_ops ops = { .invalidate = hmm_test_never };
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *told = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &ops);
	struct mmu_notifier_range inv;

	HMM_TEST_WARNS(test, hmm_test_start(&inv, mm, HMM_TEST_BASE, 1));
	KUNIT_EXPECT_EQ(test, told->calls, 1);
	KUNIT_EXPECT_TRUE(test, hmm_test_busy(told, HMM_TEST_BASE, 1));
	hmm_test_end(&inv);
	hmm_test_expect_idle(test, told);

	/* Nor does that keep the process from its end, and the others from hearing of it */
	HMM_TEST_WARNS(test, hmm_test_kill(test, mm));
	KUNIT_EXPECT_EQ(test, told->last.event, MMU_NOTIFY_RELEASE);
	KUNIT_EXPECT_EQ(test, told->released, 1);
	/* Its ops are on this stack */
	hmm_test_unregister(test, dev);
}

/* A mirror is not told of what is outside of its window, and has no ranges there */
static void hmm_window(struct kunit *test)
{
	const unsigned long start = HMM_TEST_BASE + 2 * PAGE_SIZE;
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_dev(test, mm, &hmm_test_end_ops);
	static const struct {
		int first, pages;
		bool inside, overlaps;
	} cases[] = {
		/* The window is pages 2 and 3 */
		{ 0, 2, false, false }, { 4, 2, false, false },
		{ 1, 2, false, true }, { 3, 2, false, true }, { 0, 6, false, true },
		{ 2, 1, true, true }, { 3, 1, true, true }, { 2, 2, true, true },
	};
	struct hmm_mirror_range *range;
	struct hmm_test_opened *opened;
	unsigned int i, told = 0;
	int ret;

	dev->mirror.window_start = start;
	dev->mirror.window_end = start;
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_test_try_register(dev));
	dev->mirror.window_end = start + 1;
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_test_try_register(dev));
	dev->mirror.window_end = start - PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_test_try_register(dev));
	dev->mirror.window_end = start + 2 * PAGE_SIZE;
	hmm_test_register(test, dev);

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned long addr = HMM_TEST_BASE + cases[i].first * PAGE_SIZE;

		hmm_test_invalidate(mm, addr, cases[i].pages);
		told += 2 * cases[i].overlaps;
		KUNIT_EXPECT_EQ_MSG(test, dev->calls, told, "case %u", i);
		range = hmm_test_range(test, addr, cases[i].pages, 0);
		ret = hmm_mirror_range_begin(range, &dev->mirror);
		KUNIT_EXPECT_EQ_MSG(test, !ret, cases[i].inside, "case %u", i);
		if (!ret)
			hmm_mirror_range_end(range);
	}

	/* To the top */
	hmm_test_unregister(test, dev);
	dev->mirror.window_end = 0;
	hmm_test_register(test, dev);
	hmm_test_invalidate(mm, HMM_TEST_BASE, 2);
	KUNIT_EXPECT_EQ(test, dev->calls, told);
	hmm_test_invalidate(mm, HMM_TEST_BASE + 4 * PAGE_SIZE, 1);
	KUNIT_EXPECT_EQ(test, dev->calls, told + 2);
	/* However many there are already, which are outside, or have begun before */
	opened = hmm_test_open(test, mm);
	told = dev->calls;
	hmm_test_invalidate(mm, HMM_TEST_BASE, 2);
	KUNIT_EXPECT_EQ(test, dev->calls, told);
	hmm_test_invalidate(mm, HMM_TEST_BASE + 4 * PAGE_SIZE, 1);
	KUNIT_EXPECT_EQ(test, dev->calls, told + 2);
	hmm_test_close(opened);
	/* It dies with the rest */
	hmm_test_kill(test, mm);
	KUNIT_EXPECT_EQ(test, dev->last.event, MMU_NOTIFY_RELEASE);
}

/* What is ignored is not told, and hits ranges all the same */
static void hmm_ignored_events(struct kunit *test)
{
	static const struct {
		enum mmu_notifier_event event;
		bool own, told_soft, told_own;
	} cases[] = {
		{ MMU_NOTIFY_SOFT_DIRTY, false, false, true },
		{ MMU_NOTIFY_MIGRATE, true, true, false },
		{ MMU_NOTIFY_EXCLUSIVE, true, true, false },
		{ MMU_NOTIFY_MIGRATE, false, true, true },
		/* What the core leaves there means nothing */
		{ MMU_NOTIFY_CLEAR, true, true, true },
		{ MMU_NOTIFY_UNMAP, true, true, true },
	};
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_mirror_ops soft = hmm_test_end_ops, own = hmm_test_end_ops;
	struct hmm_test_dev *soft_dev, *own_dev, *owner;
	struct hmm_mirror_range *range, *other_range, *soft_range;
	bool exclusive;
	struct mmu_notifier_range inv;
	unsigned int i;

	soft.flags = HMM_MIRROR_IGNORE_SOFT_DIRTY;
	own.flags = HMM_MIRROR_IGNORE_OWN;
	soft_dev = hmm_test_mirror(test, mm, &soft);
	own_dev = hmm_test_mirror(test, mm, &own);

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		range = hmm_test_snapshot(test, own_dev, HMM_TEST_BASE, 1);
		other_range = hmm_test_snapshot(test, own_dev, HMM_TEST_BASE, 1);
		soft_range = hmm_test_snapshot(test, soft_dev, HMM_TEST_BASE, 1);
		soft_dev->calls = 0;
		own_dev->calls = 0;
		owner = soft_dev;
		if (cases[i].own)
			owner = own_dev;
		mmu_notifier_range_init_owner(&inv, cases[i].event, 0, mm,
					      HMM_TEST_BASE,
					      HMM_TEST_BASE + PAGE_SIZE,
					      &owner->mirror);
		/* As if it was this one that asks */
		range->task = current;
		mmu_notifier_invalidate_range_start(&inv);
		mmu_notifier_invalidate_range_end(&inv);
		range->task = NULL;
		KUNIT_EXPECT_EQ_MSG(test, soft_dev->calls, 2 * cases[i].told_soft,
				    "case %u", i);
		KUNIT_EXPECT_EQ_MSG(test, own_dev->calls, 2 * cases[i].told_own,
				    "case %u", i);
		/* Who has asked for a page for itself may use it, and nobody else */
		exclusive = cases[i].event == MMU_NOTIFY_EXCLUSIVE;
		KUNIT_EXPECT_EQ_MSG(test, hmm_test_valid(range), exclusive && cases[i].own,
				    "case %u", i);
		KUNIT_EXPECT_FALSE(test, hmm_test_valid(soft_range));
		/* Not even another range of the same mirror, whose entry it was told to remove */
		KUNIT_EXPECT_FALSE(test, hmm_test_valid(other_range));
		hmm_mirror_range_end(range);
		hmm_mirror_range_end(other_range);
		hmm_mirror_range_end(soft_range);
	}
	/* Their ops are on this stack */
	hmm_test_unregister(test, own_dev);
	hmm_test_unregister(test, soft_dev);
}

/*
 * Unregistering does not wait for what is between its start and its end: this would not
 * return.  That may be for ever, see mprotect-at-0.c of the reports.
 */
static void hmm_unregister_between(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_end_ops);
	struct hmm_test_opened *opened = hmm_test_open(test, mm);

	hmm_test_unregister(test, dev);
	hmm_test_close(opened);
	KUNIT_EXPECT_EQ(test, dev->calls, HMM_TEST_OPEN);
	KUNIT_EXPECT_EQ(test, dev->late, 0);

	/* And the next one finds nothing that goes on */
	hmm_test_register(test, dev);
	hmm_test_expect_idle(test, dev);
	hmm_test_invalidate(mm, HMM_TEST_BASE, 1);
	KUNIT_EXPECT_EQ(test, dev->calls, HMM_TEST_OPEN + 2);
}

static int hmm_test_end_thread(void *inv)
{
	hmm_test_end(inv);
	return 0;
}

/* It waits for callbacks: at either end, with a slot and without */
static void hmm_unregister_waits(struct kunit *test)
{
	int at_end, covered;

	for (at_end = 0; at_end < 2; at_end++) {
		for (covered = 0; covered < 2; covered++) {
			struct mm_struct *mm = hmm_test_mm(test);
			struct hmm_test_dev *dev =
				hmm_test_mirror(test, mm, &hmm_test_end_ops);
			struct hmm_test_opened *opened = NULL;
			struct hmm_mirror_range *range =
				hmm_test_range(test, HMM_TEST_BASE, 1, 0);
			struct hmm_test_job *job, *unregister;
			struct mmu_notifier_range inv;
			unsigned int calls;

			if (covered)
				opened = hmm_test_open(test, mm);
			if (at_end)
				hmm_test_start(&inv, mm, HMM_TEST_BASE, 1);
			reinit_completion(&dev->entered);
			dev->hold = true;
			job = at_end ? hmm_test_job(test, hmm_test_end_thread, &inv) :
				       hmm_test_invalidate_job(test, dev);
			hmm_test_await(test, &dev->entered);
			calls = dev->calls;
			unregister = hmm_test_unregister_job(test, dev);
			msleep(HMM_TEST_DELAY_MS);
			/* It is gone for whoever faults, or invalidates, now */
			KUNIT_EXPECT_EQ(test, -EINVAL,
					hmm_mirror_range_begin(range, &dev->mirror));
			hmm_test_invalidate(mm, HMM_TEST_BASE, 1);
			KUNIT_EXPECT_FALSE(test, completion_done(&unregister->done));
			KUNIT_EXPECT_EQ(test, dev->done + 1, calls);

			complete_all(&dev->go_on);
			hmm_test_finish(test, unregister);
			hmm_test_finish(test, job);
			KUNIT_EXPECT_EQ(test, dev->calls, calls);
			KUNIT_EXPECT_EQ(test, dev->done, calls);
			KUNIT_EXPECT_EQ(test, dev->late, 0);
			if (opened)
				hmm_test_close(opened);
		}
	}
}

/* Another mirror's callback that began later holds nobody up */
static void hmm_unregister_waits_for_no_other(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *stays = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_test_dev *goes = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_test_job *first, *later, *unregister;

	goes->hold = true;
	first = hmm_test_invalidate_job(test, goes);
	hmm_test_await(test, &goes->entered);
	unregister = hmm_test_unregister_job(test, goes);
	msleep(HMM_TEST_DELAY_MS);

	stays->hold = true;
	later = hmm_test_invalidate_job(test, stays);
	hmm_test_await(test, &stays->entered);
	complete_all(&goes->go_on);
	hmm_test_finish(test, unregister);
	KUNIT_EXPECT_FALSE(test, completion_done(&later->done));
	KUNIT_EXPECT_EQ(test, goes->late, 0);

	complete_all(&stays->go_on);
	hmm_test_finish(test, later);
	hmm_test_finish(test, first);
}

/* As by a file that is closed while its device goes: the second one is refused */
static void hmm_unregister_twice_at_once(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	int count = atomic_read(&mm->mm_count);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_end_ops);
	struct hmm_test_dev *stays = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_test_job *job, *unregister;

	hmm_test_needs_warnings(test);
	dev->hold = true;
	job = hmm_test_invalidate_job(test, dev);
	hmm_test_await(test, &dev->entered);
	unregister = hmm_test_unregister_job(test, dev);
	msleep(HMM_TEST_DELAY_MS);
	HMM_TEST_WARNS(test, hmm_mirror_unregister(&dev->mirror));
	KUNIT_EXPECT_FALSE(test, completion_done(&unregister->done));

	complete_all(&dev->go_on);
	hmm_test_finish(test, unregister);
	hmm_test_finish(test, job);
	KUNIT_EXPECT_EQ(test, dev->late, 0);
	hmm_test_invalidate(mm, HMM_TEST_BASE, 1);
	KUNIT_EXPECT_EQ(test, stays->calls, 2);
	KUNIT_EXPECT_EQ(test, atomic_read(&mm->mm_count), count + 1);
}

/* A mirror that is released has no other callback, nor gets one */
static void hmm_release_comes_last(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_atomic_ops);
	struct hmm_test_dev *ended = hmm_test_mirror(test, mm, &hmm_test_end_ops);
	struct hmm_test_job *invalidate, *exit;
	struct mmu_notifier_range inv;
	unsigned int calls;

	dev->hold = true;
	invalidate = hmm_test_invalidate_job(test, dev);
	hmm_test_await(test, &dev->entered);
	exit = hmm_test_kill_job(test, mm);
	msleep(HMM_TEST_DELAY_MS);
	KUNIT_EXPECT_EQ(test, dev->last.event, MMU_NOTIFY_RELEASE);
	KUNIT_EXPECT_EQ(test, dev->released, 0);
	complete_all(&dev->go_on);
	hmm_test_finish(test, invalidate);
	hmm_test_finish(test, exit);
	KUNIT_EXPECT_EQ(test, dev->released, 1);

	/* As in reclaim, which finds pages by other ways than the mm */
	calls = dev->calls;
	hmm_test_invalidate(mm, HMM_TEST_BASE, 1);
	KUNIT_EXPECT_EQ(test, dev->calls, calls);
	/* Nor of the end of what had begun before */
	KUNIT_EXPECT_EQ(test, ended->afters, 0);

	/* Nor when the process dies between those who are told of an end */
	mm = hmm_test_mm(test);
	ended = hmm_test_mirror(test, mm, &hmm_test_end_ops);
	dev = hmm_test_mirror(test, mm, &hmm_test_2017_ops);
	hmm_test_start(&inv, mm, HMM_TEST_BASE, 1);
	reinit_completion(&dev->entered);
	dev->hold = true;
	invalidate = hmm_test_job(test, hmm_test_end_thread, &inv);
	hmm_test_await(test, &dev->entered);
	exit = hmm_test_kill_job(test, mm);
	msleep(HMM_TEST_DELAY_MS);
	KUNIT_EXPECT_EQ(test, ended->last.event, MMU_NOTIFY_RELEASE);
	complete_all(&dev->go_on);
	hmm_test_finish(test, invalidate);
	hmm_test_finish(test, exit);
	KUNIT_EXPECT_EQ(test, dev->syncs, 3);
	KUNIT_EXPECT_EQ(test, ended->afters, 0);
}

/*
 * A device that takes its time holds up nobody but its own process: not the exit of one
 * with a notifier of the core's list, as those of KVM are
 */
static void hmm_slow_callback_is_alone(struct kunit *test)
{
	struct hmm_test_dev *slow = hmm_test_setup(test);
	struct hmm_test_dev *other = hmm_test_setup(test);
	struct mmu_notifier bare = { .ops = &hmm_test_bare_ops };
	struct hmm_test_job *job;

	hmm_test_not_on_list(test);
	KUNIT_ASSERT_EQ(test, 0, mmu_notifier_register(&bare, other->mm));
	slow->hold = true;
	job = hmm_test_invalidate_job(test, slow);
	hmm_test_await(test, &slow->entered);

	mmu_notifier_unregister(&bare, other->mm);
	hmm_test_kill(test, other->mm);
	hmm_test_unregister(test, other);
	KUNIT_EXPECT_EQ(test, other->released, 1);
	/* Had that waited, the callback would have lost its patience */
	KUNIT_EXPECT_FALSE(test, completion_done(&job->done));
	complete_all(&slow->go_on);
	hmm_test_finish(test, job);
}

static struct kunit_case hmm_dispatch_cases[] = {
	KUNIT_CASE(hmm_end_is_told),
	KUNIT_CASE(hmm_end_of_refused),
	KUNIT_CASE(hmm_refuses_what_may_block),
	KUNIT_CASE(hmm_window),
	KUNIT_CASE(hmm_ignored_events),
	KUNIT_CASE(hmm_unregister_between),
	KUNIT_CASE(hmm_unregister_waits),
	KUNIT_CASE(hmm_unregister_waits_for_no_other),
	KUNIT_CASE(hmm_unregister_twice_at_once),
	KUNIT_CASE(hmm_release_comes_last),
	KUNIT_CASE(hmm_slow_callback_is_alone),
	{}
};

static struct kunit_suite hmm_dispatch_suite = {
	.name = "hmm_mirror_dispatch",
	.test_cases = hmm_dispatch_cases,
};

kunit_test_suite(hmm_dispatch_suite);
