// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The tracepoints of HMM mirroring.
 */
#include <kunit/resource.h>
#include <linux/tracepoint.h>
#include <trace/events/hmm.h>

#include "kunit.h"

struct hmm_trace {
	struct mm_struct *mm;
	struct hmm_mirror *mirror;
	unsigned int registered, unregistered, released;
	unsigned int starts, ends, vetoes;
	unsigned int faults, waits, returns, collisions;
	unsigned int wrong;		/* arguments that are not ours */
	unsigned long start;		/* of the last invalidation that started */
	int ret;
};

static void hmm_trace_register(void *data, const struct hmm_mirror *mirror,
			       const struct mm_struct *mm)
{
	struct hmm_trace *trace = data;

	trace->registered++;
	trace->wrong += mirror != trace->mirror || mm != trace->mm;
}

static void hmm_trace_unregister(void *data, const struct hmm_mirror *mirror,
				 const struct mm_struct *mm)
{
	struct hmm_trace *trace = data;

	trace->unregistered++;
	trace->wrong += mirror != trace->mirror || mm != trace->mm;
}

static void hmm_trace_release(void *data, const struct hmm_mirror *mirror,
			      const struct mm_struct *mm)
{
	struct hmm_trace *trace = data;

	trace->released++;
	trace->wrong += mirror != trace->mirror || mm != trace->mm;
}

static void hmm_trace_invalidate_start(void *data, const struct mm_struct *mm,
				       const struct hmm_update *update)
{
	struct hmm_trace *trace = data;

	trace->starts++;
	trace->wrong += mm != trace->mm;
	trace->start = update->start;
}

static void hmm_trace_invalidate_end(void *data, const struct mm_struct *mm,
				     unsigned long start, unsigned long end)
{
	struct hmm_trace *trace = data;

	trace->ends++;
	trace->wrong += mm != trace->mm || start != trace->start || end <= start;
}

static void hmm_trace_veto(void *data, const struct mm_struct *mm,
			   unsigned long start, unsigned long end)
{
	struct hmm_trace *trace = data;

	trace->vetoes++;
	trace->wrong += mm != trace->mm || start != trace->start || end <= start;
}

static void hmm_trace_fault_begin(void *data, const struct hmm_mirror_range *range)
{
	struct hmm_trace *trace = data;

	trace->faults++;
	trace->wrong += range->mirror != trace->mirror;
}

static void hmm_trace_wait(void *data, const struct hmm_mirror_range *range)
{
	struct hmm_trace *trace = data;

	trace->waits++;
	trace->wrong += range->mirror != trace->mirror;
}

static void hmm_trace_fault_end(void *data, const struct hmm_mirror_range *range,
				int ret)
{
	struct hmm_trace *trace = data;

	trace->returns++;
	trace->wrong += range->mirror != trace->mirror;
	trace->ret = ret;
}

static void hmm_trace_collision(void *data, const struct hmm_mirror_range *range,
				unsigned long start, unsigned long end)
{
	struct hmm_trace *trace = data;

	trace->collisions++;
	trace->wrong += range->mirror != trace->mirror || start != trace->start;
}

static void hmm_trace_off(void *trace)
{
	unregister_trace_hmm_register(hmm_trace_register, trace);
	unregister_trace_hmm_unregister(hmm_trace_unregister, trace);
	unregister_trace_hmm_release(hmm_trace_release, trace);
	unregister_trace_hmm_invalidate_start(hmm_trace_invalidate_start, trace);
	unregister_trace_hmm_invalidate_end(hmm_trace_invalidate_end, trace);
	unregister_trace_hmm_veto(hmm_trace_veto, trace);
	unregister_trace_hmm_fault_begin(hmm_trace_fault_begin, trace);
	unregister_trace_hmm_wait(hmm_trace_wait, trace);
	unregister_trace_hmm_fault_end(hmm_trace_fault_end, trace);
	unregister_trace_hmm_collision(hmm_trace_collision, trace);
	tracepoint_synchronize_unregister();
}

static struct hmm_trace *hmm_trace_on(struct kunit *test)
{
	struct hmm_trace *trace = kunit_kzalloc(test, sizeof(*trace), GFP_KERNEL);
	int ret = 0;

	if (!IS_ENABLED(CONFIG_TRACEPOINTS))
		kunit_skip(test, "CONFIG_TRACEPOINTS is off");

	KUNIT_ASSERT_NOT_NULL(test, trace);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action(test, hmm_trace_off, trace));
	ret = ret ?: register_trace_hmm_register(hmm_trace_register, trace);
	ret = ret ?: register_trace_hmm_unregister(hmm_trace_unregister, trace);
	ret = ret ?: register_trace_hmm_release(hmm_trace_release, trace);
	ret = ret ?: register_trace_hmm_invalidate_start(hmm_trace_invalidate_start,
							 trace);
	ret = ret ?: register_trace_hmm_invalidate_end(hmm_trace_invalidate_end,
						       trace);
	ret = ret ?: register_trace_hmm_veto(hmm_trace_veto, trace);
	ret = ret ?: register_trace_hmm_fault_begin(hmm_trace_fault_begin,
						    trace);
	ret = ret ?: register_trace_hmm_wait(hmm_trace_wait, trace);
	ret = ret ?: register_trace_hmm_fault_end(hmm_trace_fault_end, trace);
	ret = ret ?: register_trace_hmm_collision(hmm_trace_collision, trace);
	KUNIT_ASSERT_EQ(test, ret, 0);
	return trace;
}

/* Each event once, where it happens, and nowhere else */
void hmm_tracepoints(struct kunit *test)
{
	struct hmm_trace *trace = hmm_trace_on(test);
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_dev(test, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct hmm_mirror_range *range;
	struct mmu_notifier_range inv;

	trace->mm = mm;
	trace->mirror = &dev->mirror;
	hmm_test_register(test, dev, mm);
	KUNIT_EXPECT_EQ(test, trace->registered, 1);

	range = hmm_test_begin(test, dev, addr, 1, HMM_PFN_REQ_FAULT);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
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
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	KUNIT_EXPECT_EQ(test, trace->waits, 1);
	KUNIT_EXPECT_EQ(test, trace->returns, 3);

	KUNIT_EXPECT_EQ(test, trace->vetoes, 0);
	KUNIT_EXPECT_EQ(test, -EAGAIN, hmm_test_start_nonblock(&inv, mm, addr, 1));
	KUNIT_EXPECT_EQ(test, trace->vetoes, 1);
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
