// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What it costs to register, and to unregister.
 */
#include <kunit/test.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>

#include "bench.h"

/* Registering: devices in an array, each with a new address space */

static void hmm_bench_before_register(struct hmm_bench_dev *dev, unsigned long n)
{
	for (; n; n--, dev++) {
		dev->mm = hmm_bench_mm_alloc();
		dev->errors += !dev->mm;
	}
}

static void hmm_bench_after_unregister(struct hmm_bench_dev *dev,
				       unsigned long n)
{
	for (; n; n--, dev++)
		mmput(dev->mm);
}

static void hmm_bench_op_register(struct hmm_bench_dev *dev, unsigned long n)
{
	for (; n; n--, dev++)
		dev->errors += !!hmm_bench_do_register(&dev->mirror, dev->mm,
						       &hmm_bench_sleeping);
}

/* One more mirror of an address space that has one */
static void hmm_bench_before_next(struct hmm_bench_dev *dev, unsigned long n)
{
	hmm_bench_before_register(dev, n);
	hmm_bench_op_register(dev, n);
}

static void hmm_bench_op_next(struct hmm_bench_dev *dev, unsigned long n)
{
	for (; n; n--, dev++)
		dev->errors += !!hmm_bench_do_register(dev->mirrors, dev->mm,
						       &hmm_bench_sleeping);
}

static void hmm_bench_after_next(struct hmm_bench_dev *dev, unsigned long n)
{
	for (; n; n--, dev++) {
		hmm_mirror_unregister(dev->mirrors);
		hmm_mirror_unregister(&dev->mirror);
		mmput(dev->mm);
	}
}

static void hmm_bench_op_unregister(struct hmm_bench_dev *dev, unsigned long n)
{
	for (; n; n--, dev++)
		hmm_mirror_unregister(&dev->mirror);
}

static void hmm_bench_op_bare_register(struct hmm_bench_dev *dev, unsigned long n)
{
	for (; n; n--, dev++) {
		dev->bare.ops = &hmm_bench_bare_ops;
		dev->errors += !!mmu_notifier_register(&dev->bare, dev->mm);
	}
}

static void hmm_bench_op_bare_unregister(struct hmm_bench_dev *dev,
					 unsigned long n)
{
	for (; n; n--, dev++)
		mmu_notifier_unregister(&dev->bare, dev->mm);
}

static void hmm_bench_op_insert(struct hmm_bench_dev *dev, unsigned long n)
{
	for (; n; n--, dev++) {
		dev->base = HMM_BENCH_BASE;
		dev->pages = 1;
		dev->errors += !!hmm_bench_interval_insert(dev);
	}
}

static void hmm_bench_op_remove(struct hmm_bench_dev *dev, unsigned long n)
{
	for (; n; n--, dev++)
		mmu_interval_notifier_remove(&dev->interval.notifier);
}

void hmm_bench_registration(struct kunit *test)
{
	/* Not on the stack: both are too much for that of a 32-bit machine. */
	static struct hmm_bench_side off[] = {
		{ .op = hmm_bench_op_unregister },
		{ .op = hmm_bench_op_bare_unregister },
		{ .op = hmm_bench_op_remove },
	};
	static struct hmm_bench_side on[] = {
		{ .op = hmm_bench_op_register },
		{ .op = hmm_bench_op_bare_register },
		{ .op = hmm_bench_op_insert },
		{ .op = hmm_bench_op_next },
	};
	struct hmm_mirror *next;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(on); i++)
		on[i].dev = hmm_bench_alloc(test, HMM_BENCH_FEW, sizeof(*on[i].dev));
	for (i = 0; i < ARRAY_SIZE(off); i++) {
		on[i].before = hmm_bench_before_register;
		on[i].after = hmm_bench_after_unregister;
		on[i].then = &off[i];
		off[i].dev = on[i].dev;
	}
	next = hmm_bench_alloc(test, HMM_BENCH_FEW, sizeof(*next));
	for (i = 0; i < HMM_BENCH_FEW; i++)
		on[3].dev[i].mirrors = &next[i];
	on[3].before = hmm_bench_before_next;
	on[3].after = hmm_bench_after_next;
	hmm_bench_measure(on, ARRAY_SIZE(on), HMM_BENCH_FEW, false);

	hmm_bench_row(test, "row=register", "bare", &on[0], &on[1], "ns");
	hmm_bench_row(test, "row=register", "interval", &on[0], &on[2], "ns");
	hmm_bench_row(test, "row=register_next", "bare", &on[3], &on[1], "ns");
	hmm_bench_row(test, "row=unregister", "bare", &off[0], &off[1], "wait-ns");
	hmm_bench_row(test, "row=unregister", "interval", &off[0], &off[2],
		      "wait-ns");
}
