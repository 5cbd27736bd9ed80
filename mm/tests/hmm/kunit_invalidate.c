// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What mirrors are told of invalidations, and when; which ranges these hit; and how many
 * may go on at the same time.
 */
#include <linux/mm.h>

#include "kunit.h"

static void hmm_update_contents(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	const unsigned long addr = dev->addr;

	hmm_test_write(test, dev->mm, addr, 1);
	hmm_test_discard(test, dev->mm, addr, 2);
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
	KUNIT_EXPECT_EQ(test, dev->last.event, MMU_NOTIFY_CLEAR);
	KUNIT_EXPECT_LE(test, dev->last.start, addr);
	KUNIT_EXPECT_GE(test, dev->last.end, addr + 2 * PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, dev->last.blockable);

	hmm_test_unmap(test, dev->mm, addr + 2 * PAGE_SIZE, 1);
	KUNIT_EXPECT_EQ(test, dev->calls, 2);
	KUNIT_EXPECT_EQ(test, dev->last.event, MMU_NOTIFY_UNMAP);
	KUNIT_EXPECT_LE(test, dev->last.start, addr + 2 * PAGE_SIZE);
	KUNIT_EXPECT_GE(test, dev->last.end, addr + 3 * PAGE_SIZE);
}

/* The whole point: when the callback is called the page is still there */
static void hmm_called_before_page_goes(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	const unsigned long second = dev->addr + PAGE_SIZE;
	struct page *unmapped, *discarded;

	hmm_test_write(test, dev->mm, dev->addr, 1);
	hmm_test_write(test, dev->mm, second, 2);
	unmapped = hmm_test_page(test, dev->mm, dev->addr);
	discarded = hmm_test_page(test, dev->mm, second);
	KUNIT_ASSERT_TRUE(test, hmm_test_mapped(unmapped));
	KUNIT_ASSERT_TRUE(test, hmm_test_mapped(discarded));

	dev->watch = unmapped;
	hmm_test_unmap(test, dev->mm, dev->addr, 1);
	KUNIT_EXPECT_FALSE(test, hmm_test_mapped(unmapped));
	dev->watch = discarded;
	hmm_test_discard(test, dev->mm, second, 1);
	KUNIT_EXPECT_FALSE(test, hmm_test_mapped(discarded));
	KUNIT_EXPECT_EQ(test, dev->calls, 2);
	KUNIT_EXPECT_EQ(test, dev->unmapped, 0);
}

/* The order that the whole protocol hangs on, see mm/hmm.c */
static void hmm_marked_before_callback(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_mirror_range *range;

	range = hmm_test_begin(test, dev, dev->addr, 2,
			       HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE);
	hmm_test_fault(test, range);
	dev->range = range;
	dev->probe = true;

	hmm_test_discard(test, dev->mm, dev->addr, 1);
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
	KUNIT_EXPECT_EQ(test, dev->fresh, 0);
	/* And what begins beside the callback is not valid before the end */
	KUNIT_EXPECT_EQ(test, dev->probes_valid, 0);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));
	hmm_test_expect_idle(test, dev);

	/* Whatever the reason */
	hmm_test_fault(test, range);
	hmm_test_unmap(test, dev->mm, dev->addr, 1);
	KUNIT_EXPECT_EQ(test, dev->calls, 2);
	KUNIT_EXPECT_EQ(test, dev->fresh, 0);
}

/* A range that is kept in flight, and faulted whenever it was hit */
static void hmm_collision_is_precise(struct kunit *test)
{
	static const struct {
		int first, pages;
		bool hit;
	} cases[] = {
		/* The range is pages 2 and 3 */
		{ 0, 2, false }, { 1, 1, false }, { 4, 1, false }, { 4, 4, false },
		{ 2, 1, true }, { 3, 1, true }, { 2, 2, true }, { 0, 3, true },
		{ 3, 5, true }, { 0, 8, true },
	};
	struct hmm_test_dev *dev = hmm_test_setup(test);
	const unsigned long start = dev->addr + 2 * PAGE_SIZE;
	struct hmm_mirror_range *range;
	struct page *page;
	u32 i;

	range = hmm_test_begin(test, dev, start, 2, HMM_PFN_REQ_FAULT);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		hmm_test_write(test, dev->mm, start, i);
		hmm_test_fault(test, range);
		page = hmm_pfn_to_page(hmm_test_pfns(range)[0]);
		KUNIT_EXPECT_EQ(test, hmm_test_peek(page), i);
		hmm_test_discard(test, dev->mm,
				 dev->addr + cases[i].first * PAGE_SIZE,
				 cases[i].pages);
		KUNIT_EXPECT_EQ_MSG(test, !cases[i].hit, hmm_test_valid(range),
				    "case %d", i);
	}
}

/*
 * More invalidations at once than are tracked one by one, in an order that mixes
 * those that are with those that are not: what goes on is always waited for, and
 * in the end nothing is.
 */
static void hmm_many_invalidations_at_once(struct kunit *test)
{
	enum { NR = 48, ROUNDS = 5 };
	const unsigned long stride = 2 * PAGE_SIZE;
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long end = HMM_TEST_BASE + NR * stride;
	struct mmu_notifier_range *inv;
	unsigned int seed = 1;
	int round, i, j, missed = 0, beyond = 0, left;

	inv = kunit_kcalloc(test, NR, sizeof(*inv), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, inv);

	for (round = 0; round < ROUNDS; round++) {
		/* Up and down: what covers those beyond the set grows both ways */
		for (j = 0; j < NR; j++) {
			i = round & 1 ? NR - 1 - j : j;
			/* In the last round all but one are of the same page */
			hmm_test_start(&inv[i], mm, HMM_TEST_BASE + stride *
				       (round < ROUNDS - 1 ? i : !i), 1);
		}
		/* This may find what was written behind the set */
		hmm_test_setup(test);

		for (left = NR; left; left--) {
			for (i = 0; i < NR; i++)
				if (inv[i].mm)
					missed += !hmm_test_busy(dev, inv[i].start, 1);
			beyond += hmm_test_busy(dev, end, 1);
			beyond += hmm_test_busy(dev, HMM_TEST_BASE - PAGE_SIZE, 1);
			/* First in first out, last in first out, and at random */
			switch (round) {
			case 0:
				i = NR - left;
				break;
			case 1:
				i = left - 1;
				break;
			default:
				seed = seed * 1103515245 + 12345;
				j = (seed >> 16) % left;
				for (i = 0; !inv[i].mm || j--; i++)
					;
				break;
			}
			hmm_test_end(&inv[i]);
			inv[i].mm = NULL;
		}
		hmm_test_expect_idle(test, dev);
	}
	KUNIT_EXPECT_EQ(test, missed, 0);
	KUNIT_EXPECT_EQ(test, beyond, 0);
	KUNIT_EXPECT_EQ(test, dev->calls, ROUNDS * NR);
}

/* An invalidation that must not block */
static void hmm_nonblock_atomic_mirror(struct kunit *test)
{
	const unsigned long addr = HMM_TEST_BASE;
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm,
						   &hmm_test_atomic_ops);
	struct hmm_mirror_range *range;
	struct mmu_notifier_range inv;

	range = hmm_test_snapshot(test, dev, addr, 1);
	KUNIT_ASSERT_EQ(test, 0, hmm_test_start_nonblock(&inv, mm, addr, 1));
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
	KUNIT_EXPECT_FALSE(test, dev->last.blockable);
	KUNIT_EXPECT_EQ(test, dev->last.start, addr);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));
	KUNIT_EXPECT_TRUE(test, hmm_test_busy(dev, addr, 1));
	hmm_test_end(&inv);
	hmm_test_expect_idle(test, dev);

	hmm_test_invalidate(mm, addr, 1);
	KUNIT_EXPECT_EQ(test, dev->calls, 2);
	KUNIT_EXPECT_TRUE(test, dev->last.blockable);
}

static struct kunit_case hmm_invalidate_cases[] = {
	KUNIT_CASE(hmm_update_contents),
	KUNIT_CASE(hmm_called_before_page_goes),
	KUNIT_CASE(hmm_collision_is_precise),
	KUNIT_CASE(hmm_marked_before_callback),
	KUNIT_CASE(hmm_many_invalidations_at_once),
	KUNIT_CASE(hmm_nonblock_atomic_mirror),
	{}
};

static struct kunit_suite hmm_invalidate_suite = {
	.name = "hmm_mirror_invalidate",
	.test_cases = hmm_invalidate_cases,
};

kunit_test_suite(hmm_invalidate_suite);
