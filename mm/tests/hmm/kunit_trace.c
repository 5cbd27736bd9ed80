// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The tracepoints of HMM mirroring.
 */
#include <kunit/resource.h>
#include <linux/delay.h>
#include <linux/mman.h>
#include <linux/sched.h>
#include <linux/tracepoint.h>
#include <trace/events/hmm.h>

#include "kunit.h"

/* More than the limit of hmm.slow_callback_ms */
#define HMM_TEST_SLOW_MS	150

struct hmm_trace {
	struct hmm_test_dev *dev;
	unsigned int registered, unregistered, released;
	unsigned int starts, ends, vetoes, slow;
	unsigned int faults, waits, returns, collisions;
	unsigned int wrong;		/* arguments that are not ours */
	unsigned long start;		/* of the last invalidation that started */
	int ret;
};

/* A probe is given the counter of its event.  There is one device that is watched */
static struct hmm_trace hmm_trace;

static void hmm_trace_mirror(void *count, const struct hmm_mirror *mirror,
			     const struct mm_struct *mm)
{
	++*(unsigned int *)count;
	hmm_trace.wrong += mirror != &hmm_trace.dev->mirror ||
			   mm != hmm_trace.dev->mm;
}

static void hmm_trace_start(void *count, const struct mmu_notifier_range *update)
{
	++*(unsigned int *)count;
	hmm_trace.wrong += update->mm != hmm_trace.dev->mm;
	hmm_trace.start = update->start;
}

/* The end of the last one that started */
static void hmm_trace_end(void *count, const struct mm_struct *mm,
			  unsigned long start, unsigned long end)
{
	++*(unsigned int *)count;
	hmm_trace.wrong += mm != hmm_trace.dev->mm || end <= start ||
			   start != hmm_trace.start;
}

static void hmm_trace_veto(void *count, const struct hmm_mirror *mirror,
			   const struct mmu_notifier_range *update)
{
	++*(unsigned int *)count;
	hmm_trace.wrong += mirror != &hmm_trace.dev->mirror ||
			   update->start != hmm_trace.start;
}

static void hmm_trace_slow(void *count, const struct hmm_mirror *mirror,
			   const struct mmu_notifier_range *update, unsigned int ms)
{
	hmm_trace_veto(count, mirror, update);
	hmm_trace.wrong += ms < HMM_TEST_SLOW_MS / 2;
}

static void hmm_trace_range(void *count, const struct hmm_mirror_range *range)
{
	++*(unsigned int *)count;
	hmm_trace.wrong += range->mirror != &hmm_trace.dev->mirror;
}

static void hmm_trace_fault_end(void *count, const struct hmm_mirror_range *range,
				int ret)
{
	hmm_trace_range(count, range);
	hmm_trace.ret = ret;
}

static void hmm_trace_collision(void *count, const struct hmm_mirror_range *range,
				unsigned long start, unsigned long end)
{
	hmm_trace_range(count, range);
	hmm_trace.wrong += start != hmm_trace.start;
}

static void hmm_trace_off(void *data)
{
	struct hmm_trace *t = data;

	unregister_trace_hmm_register(hmm_trace_mirror, &t->registered);
	unregister_trace_hmm_unregister(hmm_trace_mirror, &t->unregistered);
	unregister_trace_hmm_release(hmm_trace_mirror, &t->released);
	unregister_trace_hmm_invalidate_start(hmm_trace_start, &t->starts);
	unregister_trace_hmm_invalidate_end(hmm_trace_end, &t->ends);
	unregister_trace_hmm_veto(hmm_trace_veto, &t->vetoes);
	unregister_trace_hmm_slow(hmm_trace_slow, &t->slow);
	unregister_trace_hmm_fault_begin(hmm_trace_range, &t->faults);
	unregister_trace_hmm_wait(hmm_trace_range, &t->waits);
	unregister_trace_hmm_fault_end(hmm_trace_fault_end, &t->returns);
	unregister_trace_hmm_collision(hmm_trace_collision, &t->collisions);
	tracepoint_synchronize_unregister();
}

static void hmm_trace_on(struct kunit *test, struct hmm_test_dev *dev)
{
	struct hmm_trace *t = &hmm_trace;
	int ret = 0;

	if (!IS_ENABLED(CONFIG_TRACEPOINTS))
		kunit_skip(test, "CONFIG_TRACEPOINTS is off");

	memset(t, 0, sizeof(*t));
	t->dev = dev;
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action(test, hmm_trace_off, t));
	ret = ret ?: register_trace_hmm_register(hmm_trace_mirror,
						 &t->registered);
	ret = ret ?: register_trace_hmm_unregister(hmm_trace_mirror,
						   &t->unregistered);
	ret = ret ?: register_trace_hmm_release(hmm_trace_mirror, &t->released);
	ret = ret ?: register_trace_hmm_invalidate_start(hmm_trace_start,
							 &t->starts);
	ret = ret ?: register_trace_hmm_invalidate_end(hmm_trace_end, &t->ends);
	ret = ret ?: register_trace_hmm_veto(hmm_trace_veto, &t->vetoes);
	ret = ret ?: register_trace_hmm_slow(hmm_trace_slow, &t->slow);
	ret = ret ?: register_trace_hmm_fault_begin(hmm_trace_range,
						    &t->faults);
	ret = ret ?: register_trace_hmm_wait(hmm_trace_range, &t->waits);
	ret = ret ?: register_trace_hmm_fault_end(hmm_trace_fault_end,
						  &t->returns);
	ret = ret ?: register_trace_hmm_collision(hmm_trace_collision,
						  &t->collisions);
	KUNIT_ASSERT_EQ(test, ret, 0);
}

/* Each event once, where it happens, and nowhere else */
static void hmm_tracepoints(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_dev(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map(test, mm, 2, PROT_READ | PROT_WRITE);
	struct hmm_trace *trace = &hmm_trace;
	struct hmm_mirror_range *range;
	struct mmu_notifier_range inv;

	hmm_test_not_on_list(test);
	hmm_trace_on(test, dev);
	hmm_test_register(test, dev);
	KUNIT_EXPECT_EQ(test, trace->registered, 1);

	range = hmm_test_begin(test, dev, addr, 1, HMM_PFN_REQ_FAULT);
	hmm_test_fault(test, range);
	KUNIT_EXPECT_EQ(test, trace->faults, 1);
	KUNIT_EXPECT_EQ(test, trace->returns, 1);
	KUNIT_EXPECT_EQ(test, trace->ret, 0);
	KUNIT_EXPECT_EQ(test, trace->waits, 0);

	/* Beside the range: nothing collides */
	trace->starts = 0;
	trace->ends = 0;
	hmm_test_start(&inv, mm, addr + PAGE_SIZE, 1);
	KUNIT_EXPECT_EQ(test, trace->starts, 1);
	KUNIT_EXPECT_EQ(test, trace->ends, 0);
	KUNIT_EXPECT_EQ(test, trace->start, addr + PAGE_SIZE);
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ(test, trace->ends, 1);
	KUNIT_EXPECT_EQ(test, trace->collisions, 0);

	/* On it, and for longer than the fault has time */
	hmm_test_start(&inv, mm, addr, 1);
	KUNIT_EXPECT_EQ(test, trace->collisions, 1);
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_mirror_range_fault(range, 1));
	KUNIT_EXPECT_EQ(test, trace->waits, 1);
	KUNIT_EXPECT_EQ(test, trace->returns, 2);
	KUNIT_EXPECT_EQ(test, trace->ret, -EBUSY);
	hmm_test_end(&inv);
	/* It is over: to start again is not to wait */
	hmm_test_fault(test, range);
	KUNIT_EXPECT_EQ(test, trace->waits, 1);
	KUNIT_EXPECT_EQ(test, trace->returns, 3);

	KUNIT_EXPECT_EQ(test, trace->vetoes, 0);
	KUNIT_EXPECT_EQ(test, -EAGAIN, hmm_test_start_nonblock(&inv, mm, addr, 1));
	KUNIT_EXPECT_EQ(test, trace->vetoes, 1);
	KUNIT_EXPECT_EQ(test, dev->calls, 3);
	KUNIT_EXPECT_EQ(test, trace->starts, trace->ends);

	hmm_mirror_range_end(range);
	hmm_test_kill(test, mm);
	KUNIT_EXPECT_EQ(test, trace->released, 1);
	KUNIT_EXPECT_EQ(test, trace->starts, trace->ends + 1);
	KUNIT_EXPECT_EQ(test, trace->unregistered, 0);
	hmm_test_unregister(test, dev);
	KUNIT_EXPECT_EQ(test, trace->unregistered, 1);
	KUNIT_EXPECT_EQ(test, trace->wrong, 0);
}

/* A callback that takes its time, at each place where there is one */

static bool hmm_slow_invalidate(struct hmm_mirror *mirror,
				const struct mmu_notifier_range *update)
{
	msleep(HMM_TEST_SLOW_MS);
	return true;
}

/* How often what takes two ticks has taken longer than it should, on a busy host */
static unsigned int hmm_slow_late;

/* Some time, but not too much */
static bool hmm_slow_start(struct hmm_mirror *mirror,
			   const struct mmu_notifier_range *update, u64 *fence)
{
	unsigned long begun = jiffies;

	schedule_timeout_uninterruptible(2);
	if (jiffies_to_msecs(jiffies - begun) > HMM_TEST_SLOW_MS / 2)
		hmm_slow_late++;
	*fence = 1;
	return true;
}

static void hmm_slow_finish(struct hmm_mirror *mirror,
			    const struct mmu_notifier_range *update, u64 fence)
{
	msleep(HMM_TEST_SLOW_MS);
}

static void hmm_slow_end(struct hmm_mirror *mirror,
			 const struct mmu_notifier_range *update)
{
	msleep(HMM_TEST_SLOW_MS);
}

static void hmm_slow_sync(struct hmm_mirror *mirror, enum hmm_update_type type,
			  unsigned long start, unsigned long end)
{
	msleep(HMM_TEST_SLOW_MS);
}

static void hmm_slow_release(struct hmm_mirror *mirror)
{
	msleep(HMM_TEST_SLOW_MS);
}

static void hmm_slow_callbacks(struct kunit *test)
{
	static const struct {
		struct hmm_mirror_ops ops;
		unsigned int slow;	/* callbacks of an invalidation */
	} cases[] = {
		{ { .invalidate = hmm_slow_invalidate }, 1 },
		{ { .invalidate_start = hmm_slow_start,
		    .invalidate_finish = hmm_slow_finish }, 1 },
		{ { .invalidate = hmm_slow_invalidate,
		    .invalidate_end = hmm_slow_end }, 2 },
		{ { .sync_cpu_device_pagetables = hmm_slow_sync }, 2 },
	};
	struct hmm_mirror_ops release = { .release = hmm_slow_release,
					  .invalidate_start = hmm_slow_start,
					  .invalidate_finish = hmm_slow_finish };
	struct hmm_test_dev *dev;
	unsigned int i;

	hmm_test_not_on_list(test);
	hmm_slow_late = 0;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		dev = hmm_test_mirror(test, hmm_test_mm(test), &cases[i].ops);
		hmm_trace_on(test, dev);
		hmm_test_invalidate(dev->mm, HMM_TEST_BASE, 1);
		KUNIT_EXPECT_GE_MSG(test, hmm_trace.slow, cases[i].slow, "case %u", i);
		KUNIT_EXPECT_LE_MSG(test, hmm_trace.slow, cases[i].slow + hmm_slow_late,
				    "case %u", i);
		KUNIT_EXPECT_EQ(test, hmm_trace.wrong, 0);
		kunit_release_action(test, hmm_trace_off, &hmm_trace);
	}
	dev = hmm_test_mirror(test, hmm_test_mm(test), &release);
	hmm_trace_on(test, dev);
	hmm_test_kill(test, dev->mm);
	KUNIT_EXPECT_GE(test, hmm_trace.slow, 2);
	KUNIT_EXPECT_LE(test, hmm_trace.slow, 2 + hmm_slow_late);
	kunit_release_action(test, hmm_trace_off, &hmm_trace);
	/* Its ops are on this stack */
	hmm_test_unregister(test, dev);
}

static struct kunit_case hmm_trace_cases[] = {
	KUNIT_CASE(hmm_tracepoints),
	KUNIT_CASE(hmm_slow_callbacks),
	{}
};

static struct kunit_suite hmm_trace_suite = {
	.name = "hmm_mirror_trace",
	.test_cases = hmm_trace_cases,
};

kunit_test_suite(hmm_trace_suite);
