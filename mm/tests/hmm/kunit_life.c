// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mirrors that come and go, alone and beside others, and the end of the process.
 */
#include <kunit/static_stub.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/mman.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/slab.h>

#include "kunit.h"

/* mm_take_all_locks() gives up on a signal, for the first mirror */
static void hmm_test_interrupt(struct kunit *test, struct hmm_test_dev *dev)
{
	int count = atomic_read(&dev->mm->mm_count);
	int ret;

	allow_signal(SIGUSR1);
	send_sig(SIGUSR1, current, 1);
	ret = hmm_test_try_register(dev);
	flush_signals(current);
	disallow_signal(SIGUSR1);
	KUNIT_EXPECT_EQ(test, -EINTR, ret);
	KUNIT_EXPECT_TRUE(test, hmm_test_mm_count_falls_to(dev->mm, count));
}

static void hmm_register_interrupted(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_dev(test, mm, &hmm_test_ops);
	struct hmm_test_dev *other;
	int count, ret, i;

	hmm_test_map(test, mm, 1, PROT_READ);
	/* Whoever has used the mm may refer to it lazily from then on */
	count = atomic_read(&mm->mm_count);
	hmm_test_interrupt(test, dev);

	/* Nor for the first one again, once all have gone */
	other = hmm_test_mirror(test, mm, &hmm_test_ops);
	hmm_test_unregister(test, other);
	KUNIT_EXPECT_TRUE(test, hmm_test_mm_count_falls_to(mm, count));
	hmm_test_interrupt(test, dev);
	KUNIT_EXPECT_EQ(test, dev->calls, 0);

	/* And it can be tried again */
	hmm_test_register(test, dev);
	hmm_test_not_on_list(test);

	/* Who does that all the time does not hold up others for ever */
	for (i = 0; i < 8; i++) {
		hmm_test_unregister(test, dev);
		hmm_test_register(test, dev);
	}
	hmm_test_unregister(test, dev);
	allow_signal(SIGUSR1);
	send_sig(SIGUSR1, current, 1);
	ret = hmm_test_try_register(dev);
	flush_signals(current);
	disallow_signal(SIGUSR1);
	KUNIT_EXPECT_EQ(test, ret, 0);
	if (!ret)
		hmm_mirror_unregister(&dev->mirror);
}

static int hmm_test_allocs_left;

static void *hmm_test_alloc(size_t size)
{
	return hmm_test_allocs_left-- > 0 ? kmalloc(size, GFP_KERNEL) : NULL;
}

static void hmm_register_out_of_memory(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	int count = atomic_read(&mm->mm_count);
	struct hmm_test_dev *dev = hmm_test_dev(test, mm, &hmm_test_ops);
	struct hmm_test_dev *next = hmm_test_dev(test, mm, &hmm_test_ops);

	kunit_activate_static_stub(test, hmm_mirror_alloc, hmm_test_alloc);
	hmm_test_allocs_left = 0;
	KUNIT_EXPECT_EQ(test, -ENOMEM, hmm_test_try_register(dev));
	KUNIT_EXPECT_TRUE(test, hmm_test_mm_count_falls_to(mm, count));
	/* One for the mm, and none for its next mirrors */
	hmm_test_allocs_left = 1;
	hmm_test_register(test, dev);
	hmm_test_register(test, next);
	kunit_deactivate_static_stub(test, hmm_mirror_alloc);

	hmm_test_invalidate(mm, HMM_TEST_BASE, 1);
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
}

/* One registry for an mm, and a reference to the mm_struct for each mirror */
static void hmm_one_hmm_per_mm(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	int count = atomic_read(&mm->mm_count);
	struct hmm_test_dev *a = hmm_test_mirror(test, mm, &hmm_test_ops);
	int with_mirror = atomic_read(&mm->mm_count);
	struct hmm_test_dev *b = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_test_dev *other = hmm_test_setup(test);

	hmm_test_not_on_list(test);
	KUNIT_EXPECT_PTR_EQ(test, a->mirror.hmm, b->mirror.hmm);
	KUNIT_EXPECT_PTR_NE(test, a->mirror.hmm, other->mirror.hmm);
	KUNIT_EXPECT_EQ(test, with_mirror, count + 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&mm->mm_count), count + 2);

	hmm_test_unregister(test, a);
	KUNIT_EXPECT_NULL(test, a->mirror.hmm);
	hmm_test_expect_idle(test, b);
	hmm_test_unregister(test, b);
	KUNIT_EXPECT_TRUE(test, hmm_test_mm_count_falls_to(mm, count));

	/* And again */
	hmm_test_register(test, a);
	KUNIT_EXPECT_EQ(test, with_mirror, atomic_read(&mm->mm_count));
	hmm_test_invalidate(mm, HMM_TEST_BASE, 1);
	KUNIT_EXPECT_EQ(test, a->calls, 1);
}

static void hmm_several_mirrors(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *a = hmm_test_mirror(test, mm, &hmm_test_both_ops);
	struct hmm_test_dev *b = hmm_test_mirror(test, mm, &hmm_test_atomic_ops);
	struct hmm_test_dev *c = hmm_test_mirror(test, mm, &hmm_test_2017_ops);
	struct hmm_test_dev *other = hmm_test_setup(test);

	hmm_test_invalidate(mm, HMM_TEST_BASE, 1);
	KUNIT_EXPECT_EQ(test, a->calls, 1);
	KUNIT_EXPECT_EQ(test, b->calls, 1);
	/* Before and after */
	KUNIT_EXPECT_EQ(test, c->calls, 2);

	hmm_test_unregister(test, b);
	hmm_test_invalidate(mm, HMM_TEST_BASE, 1);
	hmm_test_unregister(test, c);
	hmm_test_unregister(test, a);
	hmm_test_invalidate(mm, HMM_TEST_BASE, 1);
	KUNIT_EXPECT_EQ(test, a->calls, 2);
	KUNIT_EXPECT_EQ(test, b->calls, 1);
	KUNIT_EXPECT_EQ(test, c->calls, 4);
	KUNIT_EXPECT_EQ(test, a->late + b->late + c->late, 0);
	/* The 2017 callback is the one for who has no other */
	KUNIT_EXPECT_EQ(test, a->syncs, 0);
	KUNIT_EXPECT_EQ(test, c->syncs, 4);

	hmm_test_register(test, b);
	hmm_test_invalidate(mm, HMM_TEST_BASE, 1);
	KUNIT_EXPECT_EQ(test, b->calls, 2);
	KUNIT_EXPECT_EQ(test, other->calls, 0);
}

static void hmm_unregister_during_exit(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_test_job *exit, *unregister;

	dev->hold = true;
	exit = hmm_test_kill_job(test, dev->mm);
	hmm_test_await(test, &dev->entered);
	unregister = hmm_test_unregister_job(test, dev);
	msleep(HMM_TEST_DELAY_MS);
	KUNIT_EXPECT_FALSE(test, completion_done(&unregister->done));
	KUNIT_EXPECT_EQ(test, dev->done, 0);
	complete_all(&dev->go_on);
	hmm_test_finish(test, unregister);
	hmm_test_finish(test, exit);
	/* Gone while its invalidation ran, it may or may not see the release */
	KUNIT_EXPECT_GE(test, dev->calls, 1);
	KUNIT_EXPECT_EQ(test, dev->calls, dev->done);
	KUNIT_EXPECT_LE(test, dev->released, 1);
	KUNIT_EXPECT_EQ(test, dev->late, 0);
}

/* A range in flight when its mirror goes: warned of, and out of harm's way */
static void hmm_unregister_with_range(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_test_dev *other = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_mirror_range *range, *others;

	range = hmm_test_snapshot(test, dev, HMM_TEST_BASE, 1);
	others = hmm_test_snapshot(test, other, HMM_TEST_BASE, 1);
	HMM_TEST_WARNS(test, hmm_test_unregister(test, dev));
	KUNIT_EXPECT_FALSE(test, hmm_mirror_range_valid(range));
	KUNIT_EXPECT_FALSE(test, hmm_test_in_flight(range));

	/* The other mirror's is as it was */
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(others));
	hmm_test_invalidate(mm, HMM_TEST_BASE, 1);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(others));

	/* And nothing of that is left the next time */
	hmm_test_register(test, dev);
	hmm_test_unregister(test, dev);
}

/*
 * The same while a thread faults: that must not succeed any more, and what it locks
 * must still be there, which keeps the mm_struct for good
 */
static void hmm_unregister_with_fault(struct kunit *test)
{
	unsigned long timeout = msecs_to_jiffies(4 * HMM_TEST_DELAY_MS);
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct mmu_notifier_range inv, nonblock;
	struct hmm_mirror_range *range;
	struct hmm_test_job *job;
	int count;

	hmm_test_start(&inv, mm, HMM_TEST_BASE, 1);
	range = hmm_test_begin(test, dev, HMM_TEST_BASE, 1, 0);
	job = hmm_test_fault_job(test, range, timeout);
	msleep(HMM_TEST_DELAY_MS);
	KUNIT_EXPECT_FALSE(test, completion_done(&job->done));
	count = atomic_read(&mm->mm_count);
	HMM_TEST_WARNS(test, hmm_test_unregister(test, dev));
	hmm_test_end(&inv);
	hmm_test_finish(test, job);
	KUNIT_EXPECT_EQ(test, job->ret, -EINVAL);
	KUNIT_EXPECT_FALSE(test, hmm_mirror_range_valid(range));

	/* But nobody is left who could refuse an invalidation */
	KUNIT_EXPECT_EQ(test, count, atomic_read(&mm->mm_count));
	KUNIT_EXPECT_EQ(test, 0, hmm_test_start_nonblock(&nonblock, mm,
							 HMM_TEST_BASE, 1));
	hmm_test_end(&nonblock);
}

static void hmm_exit_invalidates_then_releases(struct kunit *test)
{
	struct hmm_test_dev *a = hmm_test_setup(test);
	struct mm_struct *mm = a->mm;
	struct hmm_test_dev *b = hmm_test_mirror(test, mm, &hmm_test_atomic_ops);
	struct page *page;
	int count;

	a->peer = b;
	b->peer = a;
	hmm_test_write(test, mm, a->addr, 1);
	page = hmm_test_page(test, mm, a->addr);
	a->watch = page;
	b->watch = page;
	KUNIT_ASSERT_TRUE(test, hmm_test_mapped(page));

	hmm_test_kill(test, mm);

	KUNIT_EXPECT_FALSE(test, hmm_test_mapped(page));
	KUNIT_EXPECT_EQ(test, a->released, 1);
	KUNIT_EXPECT_EQ(test, b->released, 1);
	/* One call to invalidate, one to release */
	KUNIT_EXPECT_EQ(test, a->calls, 2);
	KUNIT_EXPECT_EQ(test, b->calls, 2);
	KUNIT_EXPECT_EQ(test, a->last.event, MMU_NOTIFY_RELEASE);
	KUNIT_EXPECT_EQ(test, a->last.start, 0);
	KUNIT_EXPECT_EQ(test, a->last.end, ULONG_MAX);
	KUNIT_EXPECT_TRUE(test, a->last.blockable);
	KUNIT_EXPECT_EQ(test, b->last.event, MMU_NOTIFY_RELEASE);
	/* Every invalidation came before any release, and both before the pages */
	KUNIT_EXPECT_EQ(test, a->early + b->early, 0);
	KUNIT_EXPECT_EQ(test, a->unmapped + b->unmapped, 0);

	/* Mirrors may outlive the process, and hold its mm_struct */
	count = atomic_read(&mm->mm_count);
	hmm_test_unregister(test, a);
	hmm_test_unregister(test, b);
	KUNIT_EXPECT_EQ(test, a->calls + b->calls, 4);
	hmm_test_not_on_list(test);
	KUNIT_EXPECT_TRUE(test, hmm_test_mm_count_falls_to(mm, count - 2));
}

static void hmm_fault_after_exit(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_mirror_range *before, *after;

	before = hmm_test_begin(test, dev, dev->addr, 1, HMM_PFN_REQ_FAULT);
	hmm_test_fault(test, before);
	dev->range = before;

	hmm_test_kill(test, dev->mm);

	KUNIT_EXPECT_EQ(test, dev->fresh, 0);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(before));
	KUNIT_EXPECT_EQ(test, -ESRCH, hmm_mirror_range_fault(before, HMM_TEST_PATIENCE));
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(before));
	hmm_mirror_range_end(before);

	after = hmm_test_range(test, dev->addr, 1, HMM_PFN_REQ_FAULT);
	KUNIT_EXPECT_EQ(test, -ESRCH, hmm_mirror_range_begin(after,
							     &dev->mirror));
	KUNIT_EXPECT_FALSE(test, hmm_test_in_flight(after));
}

/* A fault keeps the address space, and lets go of it without tearing it down */
static void hmm_fault_outlives_process(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	unsigned long deadline = jiffies + HMM_TEST_PATIENCE;
	struct hmm_mirror_range *range;
	struct mmu_notifier_range inv;
	struct hmm_test_job *job;

	hmm_test_start(&inv, dev->mm, dev->addr, 1);
	range = hmm_test_begin(test, dev, dev->addr, 1, HMM_PFN_REQ_FAULT);
	job = hmm_test_fault_job(test, range, HMM_TEST_PATIENCE);
	msleep(HMM_TEST_DELAY_MS);
	hmm_test_kill(test, dev->mm);
	KUNIT_EXPECT_EQ(test, dev->released, 0);
	hmm_test_end(&inv);
	hmm_test_finish(test, job);
	KUNIT_EXPECT_EQ(test, job->ret, 0);

	while (!READ_ONCE(dev->released) && time_before(jiffies, deadline))
		usleep_range(500, 2000);
	KUNIT_EXPECT_EQ(test, dev->released, 1);
	/* Who faults may hold locks that exit_mmap() must not meet */
	KUNIT_EXPECT_PTR_NE(test, dev->releaser, job->task);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));
}

static struct kunit_case hmm_life_cases[] = {
	KUNIT_CASE(hmm_register_interrupted),
	KUNIT_CASE(hmm_register_out_of_memory),
	KUNIT_CASE(hmm_one_hmm_per_mm),
	KUNIT_CASE(hmm_several_mirrors),
	KUNIT_CASE(hmm_unregister_during_exit),
	KUNIT_CASE(hmm_unregister_with_range),
	KUNIT_CASE(hmm_unregister_with_fault),
	KUNIT_CASE(hmm_exit_invalidates_then_releases),
	KUNIT_CASE(hmm_fault_after_exit),
	KUNIT_CASE(hmm_fault_outlives_process),
	{}
};

static struct kunit_suite hmm_life_suite = {
	.name = "hmm_mirror_life",
	.test_cases = hmm_life_cases,
};

kunit_test_suite(hmm_life_suite);
