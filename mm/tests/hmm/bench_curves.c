// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The curves of the benchmark.
 */
#include <kunit/resource.h>
#include <linux/log2.h>
#include <linux/mm.h>

#include "bench.h"

/*
 * Curves: how the cost of an invalidation grows.  What is made for a point is
 * undone with the case.
 */

static void hmm_bench_point(struct kunit *test, const char *curve,
			    const char *peer, unsigned long at,
			    struct hmm_bench_side *sides, unsigned long n,
			    bool atomic)
{
	char what[40];

	hmm_bench_measure(sides, 2, n, atomic);
	snprintf(what, sizeof(what), "curve=%s n=%lu", curve, at);
	hmm_bench_row(test, what, peer, &sides[0], &sides[1], "ns");
}

void hmm_bench_curve_mirrors(struct kunit *test)
{
	static const unsigned int n[] = { 1, 3, 10, 30, 100, 300, 1000 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(n); i++) {
		struct hmm_bench_side sides[] = {
			{ hmm_bench_many(test, n[i], &hmm_bench_empty),
			  hmm_bench_invalidate },
			{ hmm_bench_bare(test, n[i]), hmm_bench_invalidate },
		};

		hmm_bench_point(test, "mirrors", "bare", n[i], sides, 100, true);
	}
}

/* Pages that are mapped, of which one is hit */
void hmm_bench_curve_mapped(struct kunit *test)
{
	static const unsigned int n[] = { 1, 10, 100, 1000, 10000, 100000, 1000000 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(n); i++) {
		struct hmm_bench_side sides[] = {
			{ hmm_bench_ours(test, &hmm_bench_sleeping, n[i]),
			  hmm_bench_invalidate },
			{ hmm_bench_intervals(test, n[i]), hmm_bench_invalidate },
		};
		unsigned int side;

		for (side = 0; side < ARRAY_SIZE(sides); side++) {
			sides[side].dev->at += n[i] / 2 * PAGE_SIZE;
			sides[side].dev->at_end += n[i] / 2 * PAGE_SIZE;
		}
		hmm_bench_point(test, "mapped", "interval-each", n[i], sides, 1000,
				false);
	}
}

static void hmm_bench_end_all(void *data)
{
	struct hmm_bench_dev *dev = data;

	while (dev->nr)
		hmm_mirror_range_end(&dev->ranges[--dev->nr]);
}

/* Faults in flight, of which one is hit */
void hmm_bench_curve_in_flight(struct kunit *test)
{
	static const unsigned int n[] = { 1, 2, 4, 8, 16, 32, 64, 128, 256 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(n); i++) {
		struct hmm_bench_side sides[] = {
			{ hmm_bench_ours(test, &hmm_bench_sleeping, n[i]),
			  hmm_bench_invalidate },
			{ hmm_bench_intervals(test, n[i]), hmm_bench_invalidate },
		};
		struct hmm_bench_dev *dev = sides[0].dev;

		dev->ranges = hmm_bench_alloc(test, n[i], sizeof(*dev->ranges));
		hmm_bench_defer(test, hmm_bench_end_all, dev);
		for (; dev->nr < n[i]; dev->nr++) {
			unsigned long start = dev->base + dev->nr * PAGE_SIZE;

			hmm_bench_set_range(&dev->ranges[dev->nr], start,
					    start + PAGE_SIZE, dev->pfns, 0);
			KUNIT_ASSERT_EQ(test, 0,
					hmm_mirror_range_begin(&dev->ranges[dev->nr],
							       &dev->mirror));
		}
		hmm_bench_point(test, "in_flight", "interval-each", n[i], sides,
				1000, false);
	}
}

/* Invalidations that go on at the same time, this one counted */
void hmm_bench_curve_active(struct kunit *test)
{
	struct hmm_bench_side sides[] = {
		{ hmm_bench_ours(test, &hmm_bench_sleeping, 1),
		  hmm_bench_invalidate },
		{ hmm_bench_whole(test, &hmm_bench_interval_sleeping_ops),
		  hmm_bench_invalidate },
	};
	struct mmu_notifier_range *open[ARRAY_SIZE(sides)];
	unsigned int i, side;

	for (side = 0; side < ARRAY_SIZE(sides); side++)
		open[side] = hmm_bench_alloc(test, 32, sizeof(*open[side]));

	for (i = 0; i < 32; i++) {
		if (is_power_of_2(i + 1) || i == 16 || i == 23)
			hmm_bench_point(test, "active", "interval-whole", i + 1,
					sides, 1000, false);
		for (side = 0; side < ARRAY_SIZE(sides); side++) {
			struct hmm_bench_dev *dev = sides[side].dev;

			mmu_notifier_range_init(&open[side][i], MMU_NOTIFY_CLEAR, 0,
						dev->mm, dev->at + (i + 1) * PAGE_SIZE,
						dev->at + (i + 2) * PAGE_SIZE);
			mmu_notifier_invalidate_range_start(&open[side][i]);
		}
	}
	while (i--)
		for (side = 0; side < ARRAY_SIZE(sides); side++)
			mmu_notifier_invalidate_range_end(&open[side][i]);
}

void hmm_bench_curve_pages(struct kunit *test)
{
	static const unsigned int n[] = { 1, 4, 16, 64, 256, 1024 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(n); i++) {
		char what[40];

		snprintf(what, sizeof(what), "curve=pages n=%u", n[i]);
		hmm_bench_do_map(test, what, n[i], 20, false);
	}
}
