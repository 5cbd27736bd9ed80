// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What HMM mirroring says to arguments that are wrong, and to calls in the wrong order.
 */
#include <linux/mm.h>

#include "kunit.h"

static const struct hmm_mirror_ops hmm_test_both_ops = {
	.sync_cpu_device_pagetables = hmm_test_sync,
	.invalidate = hmm_test_invalidate,
};

static const struct hmm_mirror_ops hmm_test_no_ops;

static u64 hmm_test_no_start(struct hmm_mirror *mirror,
			     const struct hmm_update *update)
{
	return 0;
}

static void hmm_test_no_finish(struct hmm_mirror *mirror,
			       const struct hmm_update *update, u64 fence)
{
}

static const struct hmm_mirror_ops hmm_test_start_only_ops = {
	.sync_cpu_device_pagetables = hmm_test_sync,
	.invalidate_start = hmm_test_no_start,
};

static const struct hmm_mirror_ops hmm_test_finish_only_ops = {
	.invalidate = hmm_test_invalidate,
	.invalidate_finish = hmm_test_no_finish,
};

static const struct hmm_mirror_ops hmm_test_three_ops = {
	.invalidate = hmm_test_invalidate,
	.invalidate_start = hmm_test_no_start,
	.invalidate_finish = hmm_test_no_finish,
};

void hmm_register_bad_arguments(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_dev(test, NULL);
	int count = atomic_read(&mm->mm_count);

	mmap_write_lock(mm);
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_register(NULL, mm));
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_register(&dev->mirror, mm));
	dev->mirror.ops = &hmm_test_no_ops;
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_register(&dev->mirror, mm));
	dev->mirror.ops = &hmm_test_start_only_ops;
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_register(&dev->mirror, mm));
	dev->mirror.ops = &hmm_test_finish_only_ops;
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_register(&dev->mirror, mm));
	dev->mirror.ops = &hmm_test_three_ops;
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_register(&dev->mirror, mm));
	dev->mirror.ops = &hmm_test_ops;
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_register(&dev->mirror, NULL));
	mmap_write_unlock(mm);

	KUNIT_EXPECT_EQ(test, count, atomic_read(&mm->mm_count));
}

void hmm_register_dead_mm(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_dev(test, &hmm_test_ops);

	hmm_test_kill(test, mm);
	KUNIT_EXPECT_EQ(test, -ESRCH, hmm_test_try_register(dev, mm));
}

void hmm_register_twice(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	int count = atomic_read(&mm->mm_count);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct mmu_notifier_range inv;

	HMM_TEST_WARNS(test, KUNIT_EXPECT_EQ(test, -EEXIST,
					     hmm_test_try_register(dev, mm)));

	/* It is registered still, and once */
	hmm_test_start(&inv, mm, HMM_TEST_BASE, 1);
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
	hmm_test_unregister(test, dev);
	KUNIT_EXPECT_TRUE(test, hmm_test_mm_count_falls_to(mm, count));
}

void hmm_register_on_two_mms(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct mm_struct *mm2 = hmm_test_mm(test);
	int count = atomic_read(&mm2->mm_count);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);

	if (!IS_ENABLED(CONFIG_DEBUG_VM))
		kunit_skip(test, "it takes CONFIG_DEBUG_VM to notice that");

	HMM_TEST_WARNS(test, KUNIT_EXPECT_EQ(test, -EEXIST,
					     hmm_test_try_register(dev, mm2)));

	/* On the first it is registered still, and the second is not held */
	KUNIT_EXPECT_TRUE(test, hmm_test_mm_count_falls_to(mm2, count));
	hmm_test_unmap_one(test, mm2);
	KUNIT_EXPECT_EQ(test, dev->calls, 0);
	hmm_test_unmap_one(test, mm);
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
	hmm_test_unregister(test, dev);
	hmm_test_register(test, dev, mm2);
	hmm_test_unmap_one(test, mm2);
	KUNIT_EXPECT_EQ(test, dev->calls, 2);
}

void hmm_unregister_twice(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);

	hmm_test_unregister(test, dev);
	HMM_TEST_WARNS(test, hmm_mirror_unregister(&dev->mirror));
}

void hmm_invalidate_preferred(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_both_ops);

	hmm_test_unmap_one(test, mm);
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
	KUNIT_EXPECT_EQ(test, dev->syncs, 0);
}

void hmm_begin_bad_arguments(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	static const struct {
		const char *what;
		unsigned long start;
		unsigned long end;
	} cases[] = {
		{ "empty", HMM_TEST_BASE, HMM_TEST_BASE },
		{ "backwards", HMM_TEST_BASE + PAGE_SIZE, HMM_TEST_BASE },
		{ "wraps", -PAGE_SIZE, 0 },
		{ "wraps further", -PAGE_SIZE, PAGE_SIZE },
		{ "start not aligned", HMM_TEST_BASE + 8,
		  HMM_TEST_BASE + PAGE_SIZE },
		{ "end not aligned", HMM_TEST_BASE, HMM_TEST_BASE + 8 },
	};
	const unsigned long end = mm->task_size & PAGE_MASK;
	struct hmm_mirror_range *range;
	unsigned long *pfns;
	int i;

	range = hmm_test_range(test, HMM_TEST_BASE, 1, 0);
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_range_begin(NULL,
							      &dev->mirror));
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_range_begin(range, NULL));

	pfns = range->range.hmm_pfns;
	range->range.hmm_pfns = NULL;
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_range_begin(range,
							      &dev->mirror));
	range->range.hmm_pfns = pfns;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		range->range.start = cases[i].start;
		range->range.end = cases[i].end;
		KUNIT_EXPECT_EQ_MSG(test, -EINVAL,
				    hmm_mirror_range_begin(range, &dev->mirror),
				    "%s", cases[i].what);
	}
	/* The page beyond the last one.  On s390 it is the only one that no user has. */
	range->range.start = end;
	range->range.end = end + PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_range_begin(range,
							      &dev->mirror));
	range->range.start = end - PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_range_begin(range,
							      &dev->mirror));
	/* The last page is all right */
	range->range.end = end;
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_begin(range, &dev->mirror));
	hmm_mirror_range_end(range);

	hmm_test_unregister(test, dev);
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_range_begin(range,
							      &dev->mirror));
	KUNIT_EXPECT_NULL(test, range->hmm);
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_range_fault(NULL, 0));
}

void hmm_begin_twice(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_mirror_range *range;
	struct mmu_notifier_range inv;

	range = hmm_test_begin(test, dev, HMM_TEST_BASE, 1, 0);
	HMM_TEST_WARNS(test, KUNIT_EXPECT_EQ(test, -EBUSY,
					     hmm_mirror_range_begin(range,
								    &dev->mirror)));
	/* It is in flight as before */
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, range));
	hmm_test_start(&inv, mm, HMM_TEST_BASE, 1);
	hmm_test_end(&inv);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, range));
}

void hmm_end_without_begin(struct kunit *test)
{
	struct hmm_mirror_range *range = hmm_test_range(test, HMM_TEST_BASE, 1,
							0);

	HMM_TEST_WARNS(test, hmm_mirror_range_end(range));
}

void hmm_fault_without_begin(struct kunit *test)
{
	struct hmm_mirror_range *range = hmm_test_range(test, HMM_TEST_BASE, 1,
							0);

	HMM_TEST_WARNS(test, KUNIT_EXPECT_EQ(test, -EINVAL,
					     hmm_mirror_range_fault(range, 0)));
}
