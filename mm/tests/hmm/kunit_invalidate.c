// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What mirrors are told of invalidations, and when; which ranges these hit; how many may
 * go on at the same time; and which of them are refused.
 */
#include <linux/mm.h>

#include "kunit.h"

void hmm_update_contents(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct mmu_notifier_range inv;

	KUNIT_ASSERT_EQ(test, 0, hmm_test_write(mm, addr, 1));
	KUNIT_ASSERT_EQ(test, 0, hmm_test_discard(mm, addr, 2));
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
	KUNIT_EXPECT_EQ(test, dev->last.event, MMU_NOTIFY_CLEAR);
	KUNIT_EXPECT_LE(test, dev->last.start, addr);
	KUNIT_EXPECT_GE(test, dev->last.end, addr + 2 * PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, dev->last.blockable);

	KUNIT_ASSERT_EQ(test, 0, hmm_test_unmap(mm, addr + 2 * PAGE_SIZE, 1));
	KUNIT_EXPECT_EQ(test, dev->calls, 2);
	KUNIT_EXPECT_EQ(test, dev->last.event, MMU_NOTIFY_UNMAP);
	KUNIT_EXPECT_LE(test, dev->last.start, addr + 2 * PAGE_SIZE);
	KUNIT_EXPECT_GE(test, dev->last.end, addr + 3 * PAGE_SIZE);

	mmu_notifier_range_init_owner(&inv, MMU_NOTIFY_MIGRATE, 0, mm, addr,
				      addr + PAGE_SIZE, dev);
	mmu_notifier_invalidate_range_start(&inv);
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ(test, dev->last.event, MMU_NOTIFY_MIGRATE);
	KUNIT_EXPECT_EQ(test, dev->last.start, addr);
	KUNIT_EXPECT_EQ(test, dev->last.end, addr + PAGE_SIZE);
	KUNIT_EXPECT_PTR_EQ(test, dev->last.owner, dev);

	mmu_notifier_range_init_owner(&inv, MMU_NOTIFY_EXCLUSIVE, 0, mm, addr,
				      addr + PAGE_SIZE, dev);
	mmu_notifier_invalidate_range_start(&inv);
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ(test, dev->last.event, MMU_NOTIFY_EXCLUSIVE);
	KUNIT_EXPECT_PTR_EQ(test, dev->last.owner, dev);

	/*
	 * The core leaves the owner of all other events unset, so whatever is on
	 * its stack: a driver must not take it for its own.
	 */
	inv.owner = dev;
	hmm_test_start(&inv, mm, addr, 1);
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ(test, dev->last.event, MMU_NOTIFY_CLEAR);
	KUNIT_EXPECT_NULL(test, dev->last.owner);
}

/* The whole point: when the callback is called the page is still there */
void hmm_called_before_page_goes(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct page *unmapped, *discarded;

	KUNIT_ASSERT_EQ(test, 0, hmm_test_write(mm, addr, 1));
	KUNIT_ASSERT_EQ(test, 0, hmm_test_write(mm, addr + PAGE_SIZE, 2));
	unmapped = hmm_test_page(test, mm, addr);
	discarded = hmm_test_page(test, mm, addr + PAGE_SIZE);

	dev->watch = unmapped;
	KUNIT_ASSERT_TRUE(test, hmm_test_mapped(unmapped));
	KUNIT_ASSERT_EQ(test, 0, hmm_test_unmap(mm, addr, 1));
	KUNIT_EXPECT_FALSE(test, hmm_test_mapped(unmapped));
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
	KUNIT_EXPECT_EQ(test, dev->unmapped, 0);

	dev->watch = discarded;
	KUNIT_ASSERT_TRUE(test, hmm_test_mapped(discarded));
	KUNIT_ASSERT_EQ(test, 0, hmm_test_discard(mm, addr + PAGE_SIZE, 1));
	KUNIT_EXPECT_FALSE(test, hmm_test_mapped(discarded));
	KUNIT_EXPECT_EQ(test, dev->calls, 2);
	KUNIT_EXPECT_EQ(test, dev->unmapped, 0);
}

/* Every change of a piece is told as at least that piece, at least once */
void hmm_update_covers_change(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	int i, j;

	for (i = 0; i < HMM_TEST_PAGES; i++) {
		for (j = 0; j < HMM_TEST_PAGES; j++)
			KUNIT_ASSERT_EQ(test, 0, hmm_test_write(mm, addr + j *
								PAGE_SIZE, j));
		dev->calls = 0;
		KUNIT_ASSERT_EQ(test, 0, hmm_test_discard(mm, addr +
							  i * PAGE_SIZE,
							  HMM_TEST_PAGES - i));
		KUNIT_EXPECT_EQ(test, dev->calls, 1);
		KUNIT_EXPECT_LE(test, dev->last.start, addr + i * PAGE_SIZE);
		KUNIT_EXPECT_GE(test, dev->last.end,
				addr + HMM_TEST_PAGES * PAGE_SIZE);
	}
}

void hmm_collision_is_precise(struct kunit *test)
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
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct hmm_mirror_range *range;
	int i;

	range = hmm_test_range(test, addr + 2 * PAGE_SIZE, 2,
			       HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_begin(range,
								&dev->mirror));
		KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
		KUNIT_ASSERT_TRUE(test, hmm_test_valid(dev, range));
		KUNIT_ASSERT_EQ(test, 0,
				hmm_test_discard(mm, addr + cases[i].first *
						 PAGE_SIZE, cases[i].pages));
		KUNIT_EXPECT_EQ_MSG(test, !cases[i].hit,
				    hmm_test_valid(dev, range), "case %d", i);
		hmm_mirror_range_end(range);
	}
}

/* The order that the whole protocol hangs on, see mm/hmm.c */
void hmm_marked_before_callback(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct hmm_mirror_range *range;

	range = hmm_test_begin(test, dev, addr, 2,
			       HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	dev->range = range;
	dev->probe = true;

	KUNIT_ASSERT_EQ(test, 0, hmm_test_discard(mm, addr, 1));
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
	KUNIT_EXPECT_EQ(test, dev->fresh, 0);
	/* And what begins beside the callback is not valid before the end */
	KUNIT_EXPECT_EQ(test, dev->probes_valid, 0);

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	KUNIT_ASSERT_TRUE(test, hmm_test_valid(dev, range));
	KUNIT_ASSERT_EQ(test, 0, hmm_test_unmap(mm, addr, HMM_TEST_PAGES));
	KUNIT_EXPECT_EQ(test, dev->calls, 2);
	KUNIT_EXPECT_EQ(test, dev->fresh, 0);
	KUNIT_EXPECT_EQ(test, dev->probes_valid, 0);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, range));
	hmm_test_expect_idle(test, dev);
}

void hmm_nested_invalidations(struct kunit *test)
{
	const unsigned long addr = HMM_TEST_BASE;
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct mmu_notifier_range outer, inner, same, head;

	hmm_test_start(&outer, mm, addr, 4);
	hmm_test_start(&head, mm, addr, 1);
	hmm_test_end(&head);
	KUNIT_EXPECT_TRUE(test, hmm_test_busy(dev, addr + 3 * PAGE_SIZE,
					      addr + 4 * PAGE_SIZE));
	hmm_test_start(&same, mm, addr, 4);
	hmm_test_start(&inner, mm, addr + PAGE_SIZE, 1);
	KUNIT_EXPECT_TRUE(test, hmm_test_busy(dev, addr, addr + PAGE_SIZE));
	hmm_test_end(&inner);
	KUNIT_EXPECT_TRUE(test, hmm_test_busy(dev, addr + PAGE_SIZE,
					      addr + 2 * PAGE_SIZE));
	hmm_test_end(&same);
	KUNIT_EXPECT_TRUE(test, hmm_test_busy(dev, addr, addr + PAGE_SIZE));
	KUNIT_EXPECT_TRUE(test, hmm_test_busy(dev, addr + 3 * PAGE_SIZE,
					      addr + 4 * PAGE_SIZE));
	hmm_test_end(&outer);
	hmm_test_expect_idle(test, dev);
	KUNIT_EXPECT_EQ(test, dev->calls, 4);
}

/*
 * More invalidations at once than are tracked one by one, in an order that mixes
 * those that are with those that are not: what goes on is always waited for, and
 * in the end nothing is.
 */
void hmm_many_invalidations_at_once(struct kunit *test)
{
	enum { NR = 48 };
	const unsigned long stride = 2 * PAGE_SIZE;
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long end = HMM_TEST_BASE + NR * stride;
	struct mmu_notifier_range *inv;
	unsigned int seed = 1;
	int round, i, j, missed = 0, beyond = 0, left;

	inv = kunit_kcalloc(test, NR, sizeof(*inv), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, inv);

	for (round = 0; round < 4; round++) {
		/* Up and down: what covers those beyond the set grows both ways */
		for (j = 0; j < NR; j++) {
			i = round & 1 ? NR - 1 - j : j;
			hmm_test_start(&inv[i], mm, HMM_TEST_BASE + i * stride, 1);
		}
		/* With CONFIG_DEBUG_VM, this finds what was written behind the set */
		hmm_test_mirror(test, hmm_test_mm(test), &hmm_test_ops);

		for (left = NR; left; left--) {
			for (i = 0; i < NR; i++)
				if (inv[i].mm)
					missed += !hmm_test_busy(dev, inv[i].start,
								 inv[i].end);
			beyond += hmm_test_busy(dev, end, end + PAGE_SIZE);
			beyond += hmm_test_busy(dev, HMM_TEST_BASE - PAGE_SIZE,
						HMM_TEST_BASE);
			/* First in first out, last in first out, and two others */
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
	KUNIT_EXPECT_EQ(test, dev->calls, 4 * NR);
}

/* As above, with the same range all over: they cannot be told apart */
void hmm_many_invalidations_of_one_range(struct kunit *test)
{
	enum { NR = 40 };
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct mmu_notifier_range inv, other;
	int i, missed = 0;

	for (i = 0; i < NR; i++)
		hmm_test_start(&inv, mm, HMM_TEST_BASE, 1);
	hmm_test_start(&other, mm, HMM_TEST_BASE + 8 * PAGE_SIZE, 1);
	for (i = 0; i < NR; i++) {
		missed += !hmm_test_busy(dev, HMM_TEST_BASE,
					 HMM_TEST_BASE + PAGE_SIZE);
		missed += !hmm_test_busy(dev, other.start, other.end);
		hmm_test_end(&inv);
	}
	KUNIT_EXPECT_TRUE(test, hmm_test_busy(dev, other.start, other.end));
	hmm_test_end(&other);
	KUNIT_EXPECT_EQ(test, missed, 0);
	hmm_test_expect_idle(test, dev);
}

/* Ranges may overlap: each is its own collision domain */
void hmm_overlapping_ranges(struct kunit *test)
{
	const unsigned long addr = HMM_TEST_BASE;
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_mirror_range *low = hmm_test_begin(test, dev, addr, 2, 0);
	struct hmm_mirror_range *high = hmm_test_begin(test, dev,
						       addr + PAGE_SIZE, 2, 0);
	struct hmm_mirror_range *same = hmm_test_begin(test, dev, addr, 2, 0);
	struct mmu_notifier_range inv;

	hmm_test_start(&inv, mm, addr, 1);
	hmm_test_end(&inv);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, low));
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, same));
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, high));

	hmm_mirror_range_end(low);
	hmm_test_start(&inv, mm, addr + PAGE_SIZE, 1);
	hmm_test_end(&inv);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, high));
}

/*
 * Invalidations that must not block
 */

void hmm_nonblock_veto(struct kunit *test)
{
	const unsigned long addr = HMM_TEST_BASE;
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *sleeps = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct mmu_notifier_range inv;

	KUNIT_EXPECT_EQ(test, -EAGAIN, hmm_test_start_nonblock(&inv, mm, addr, 1));
	KUNIT_EXPECT_EQ(test, sleeps->calls, 0);
	/* The core ends for us what it has refused */
	hmm_test_expect_idle(test, sleeps);

	/* Again and again, and in between those that may block */
	KUNIT_EXPECT_EQ(test, -EAGAIN, hmm_test_start_nonblock(&inv, mm, addr, 1));
	hmm_test_start(&inv, mm, addr, 1);
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ(test, sleeps->calls, 1);
	hmm_test_expect_idle(test, sleeps);
}

void hmm_nonblock_atomic_mirror(struct kunit *test)
{
	const unsigned long addr = HMM_TEST_BASE;
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm,
						   &hmm_test_atomic_ops);
	struct hmm_mirror_range *range;
	struct mmu_notifier_range inv;

	range = hmm_test_begin(test, dev, addr, 1, 0);
	KUNIT_ASSERT_TRUE(test, hmm_test_valid(dev, range));
	KUNIT_ASSERT_EQ(test, 0, hmm_test_start_nonblock(&inv, mm, addr, 1));
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
	KUNIT_EXPECT_FALSE(test, dev->last.blockable);
	KUNIT_EXPECT_EQ(test, dev->last.start, addr);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, range));
	KUNIT_EXPECT_TRUE(test, hmm_test_busy(dev, addr, addr + PAGE_SIZE));
	hmm_test_end(&inv);
	hmm_test_expect_idle(test, dev);

	hmm_test_start(&inv, mm, addr, 1);
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ(test, dev->calls, 2);
	KUNIT_EXPECT_TRUE(test, dev->last.blockable);
}

/* The veto is there for as long as one mirror needs it, and no longer */
void hmm_nonblock_mixed_mirrors(struct kunit *test)
{
	const unsigned long addr = HMM_TEST_BASE;
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *atomic = hmm_test_mirror(test, mm,
						      &hmm_test_atomic_ops);
	struct hmm_test_dev *sleeps = hmm_test_dev(test, &hmm_test_ops);
	struct hmm_test_dev *sleeps2 = hmm_test_dev(test, &hmm_test_2017_ops);
	struct mmu_notifier_range inv;
	int round;

	for (round = 0; round < 3; round++) {
		atomic->calls = 0;
		KUNIT_ASSERT_EQ(test, 0, hmm_test_start_nonblock(&inv, mm, addr,
								 1));
		hmm_test_end(&inv);
		KUNIT_EXPECT_EQ(test, atomic->calls, 1);

		hmm_test_register(test, sleeps, mm);
		hmm_test_register(test, sleeps2, mm);
		KUNIT_EXPECT_EQ(test, -EAGAIN,
				hmm_test_start_nonblock(&inv, mm, addr, 1));
		hmm_test_unregister(test, sleeps);
		KUNIT_EXPECT_EQ(test, -EAGAIN,
				hmm_test_start_nonblock(&inv, mm, addr, 1));
		hmm_test_unregister(test, sleeps2);
		KUNIT_EXPECT_EQ(test, sleeps->calls + sleeps2->calls, 0);
		hmm_test_expect_idle(test, atomic);
	}
	KUNIT_ASSERT_EQ(test, 0, hmm_test_start_nonblock(&inv, mm, addr, 1));
	hmm_test_end(&inv);
	hmm_test_expect_idle(test, atomic);
}
