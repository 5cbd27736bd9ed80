// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the Rust binding costs.
 */
#include <kunit/resource.h>
#include <linux/mm.h>

#include "bench.h"

/*
 * What the Rust binding adds: the same driver in both languages.  Only what a driver
 * does between the registry and its page table is another than with mirrors in C.
 */

#define HMM_BENCH_ENTRY_VALID	1UL
#define HMM_BENCH_ENTRY_WRITE	2UL

static unsigned long *hmm_bench_entry(struct hmm_bench_dev *dev,
				      unsigned long addr)
{
	unsigned long index = (addr - dev->base) >> PAGE_SHIFT;

	return index < dev->pages ? &dev->table[index] : NULL;
}

static void hmm_bench_enter(struct hmm_bench_dev *dev)
{
	unsigned long addr = dev->base;
	unsigned long i;

	for (i = 0; i < dev->pages; i++, addr += PAGE_SIZE) {
		unsigned long pfn = dev->pfns[i];
		unsigned long *entry;

		if (!(pfn & HMM_PFN_VALID))
			continue;
		entry = hmm_bench_entry(dev, addr);
		if (!entry)
			continue;
		*entry = (pfn & ~HMM_PFN_FLAGS) << PAGE_SHIFT | HMM_BENCH_ENTRY_VALID;
		if (pfn & HMM_PFN_WRITE) {
			*entry |= HMM_BENCH_ENTRY_WRITE;
			/* As the binding does, which cannot know when it is written */
			hmm_pfn_mark_dirty(pfn);
		}
	}
}

/* What is faulted once is committed again and again, as nothing invalidates it */
static void hmm_bench_commits(struct hmm_bench_dev *dev, unsigned long n)
{
	if (hmm_mirror_range_begin(&dev->range, &dev->mirror)) {
		dev->errors++;
		return;
	}
	dev->errors += !!hmm_mirror_range_fault(&dev->range, HMM_BENCH_TIMEOUT);
	for (; n; n--) {
		spin_lock(&dev->lock);
		if (hmm_mirror_range_valid(&dev->range))
			hmm_bench_enter(dev);
		else
			dev->errors++;
		spin_unlock(&dev->lock);
	}
	hmm_mirror_range_end(&dev->range);
}

static void hmm_bench_commits_rust(struct hmm_bench_dev *dev, unsigned long n)
{
	dev->errors += !!hmm_bench_rust_commits(dev->rust, n);
}

KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_unregister_rust, hmm_bench_rust_unregister,
			    struct hmm_bench_rust *);

void hmm_bench_rust(struct kunit *test)
{
	struct hmm_bench_side sides[] = {
		{ .op = hmm_bench_commits_rust },
		{ .op = hmm_bench_commits },
	};
	struct hmm_bench_dev *ours, *theirs;

	if (!IS_ENABLED(CONFIG_HMM_MIRROR_BENCH_RUST))
		kunit_skip(test, "no Rust in this kernel");

	ours = hmm_bench_dev(test, 16);
	theirs = hmm_bench_ours(test, &hmm_bench_atomic, 16);
	hmm_bench_memory(test, ours, false);
	hmm_bench_memory(test, theirs, false);
	ours->rust = hmm_bench_rust_register(ours->mm, ours->base, ours->pages);
	KUNIT_ASSERT_NOT_NULL(test, ours->rust);
	hmm_bench_defer(test, hmm_bench_unregister_rust, ours->rust);

	hmm_bench_inval(test, "row=rust_dispatch", "C", ours, theirs, 1000, true);

	sides[0].dev = ours;
	sides[1].dev = theirs;
	hmm_bench_measure(sides, ARRAY_SIZE(sides), 1000, false);
	hmm_bench_row(test, "row=rust_commit", "C", &sides[0], &sides[1], "ns");
}
