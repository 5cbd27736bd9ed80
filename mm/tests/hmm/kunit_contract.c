// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What HMM mirroring says to arguments that are wrong, and to calls in the wrong order.
 */
#include <linux/mm.h>

#include "kunit.h"

static bool hmm_test_no_start(struct hmm_mirror *mirror,
			      const struct mmu_notifier_range *update,
			      u64 *fence)
{
	return true;
}

static void hmm_test_no_finish(struct hmm_mirror *mirror,
			       const struct mmu_notifier_range *update,
			       u64 fence)
{
}

static void hmm_test_refused(struct kunit *test, struct hmm_test_dev *dev, int error)
{
	int ret = hmm_test_try_register(dev);

	KUNIT_EXPECT_EQ(test, error, ret);
	if (!ret)
		hmm_mirror_unregister(&dev->mirror);
}

static void hmm_register_bad_arguments(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	const struct hmm_mirror_ops bad_ops[] = {
		{},
		{
			/* One pass of two */
			.sync_cpu_device_pagetables =
				hmm_test_2017_ops.sync_cpu_device_pagetables,
			.invalidate_start = hmm_test_no_start,
		},
		{
			.invalidate = hmm_test_ops.invalidate,
			.invalidate_finish = hmm_test_no_finish,
		},
		{
			/* One pass or two? */
			.invalidate = hmm_test_ops.invalidate,
			.invalidate_start = hmm_test_no_start,
			.invalidate_finish = hmm_test_no_finish,
		},
		{
			/* The 2017 callback is called at the end itself */
			.sync_cpu_device_pagetables =
				hmm_test_2017_ops.sync_cpu_device_pagetables,
			.invalidate_end = hmm_test_end_ops.invalidate_end,
		},
		{
			.invalidate_end = hmm_test_end_ops.invalidate_end,
		},
	};
	struct hmm_test_dev *dev = hmm_test_dev(test, mm, NULL);
	int count = atomic_read(&mm->mm_count);
	int i;

	hmm_test_refused(test, dev, -EINVAL);
	for (i = 0; i < ARRAY_SIZE(bad_ops); i++) {
		dev->mirror.ops = &bad_ops[i];
		hmm_test_refused(test, dev, -EINVAL);
	}
	dev->mirror.ops = &hmm_test_ops;
	mmap_write_lock(mm);
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_register(NULL, mm));
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_register(&dev->mirror, NULL));
	mmap_write_unlock(mm);
	KUNIT_EXPECT_EQ(test, count, atomic_read(&mm->mm_count));

	hmm_test_kill(test, mm);
	hmm_test_refused(test, dev, -ESRCH);
}

/* What is registered, on whichever mm, or was not zeroed */
static void hmm_register_twice(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct mm_struct *mm2 = hmm_test_mm(test);
	int count = atomic_read(&mm2->mm_count);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);

	dev->mm = mm2;
	HMM_TEST_WARNS(test, KUNIT_EXPECT_EQ(test, -EEXIST,
					     hmm_test_try_register(dev)));

	/* On the first it is registered still, and the second is not held */
	KUNIT_EXPECT_TRUE(test, hmm_test_mm_count_falls_to(mm2, count));
	hmm_test_invalidate(mm2, HMM_TEST_BASE, 1);
	KUNIT_EXPECT_EQ(test, dev->calls, 0);
	hmm_test_invalidate(mm, HMM_TEST_BASE, 1);
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
	hmm_test_unregister(test, dev);
	HMM_TEST_WARNS(test, hmm_mirror_unregister(&dev->mirror));
	HMM_TEST_WARNS(test, hmm_mirror_cancel(&dev->mirror));
	hmm_test_register(test, dev);
	hmm_test_invalidate(mm2, HMM_TEST_BASE, 1);
	KUNIT_EXPECT_EQ(test, dev->calls, 2);
}

static void hmm_begin_bad_arguments(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	const unsigned long base = HMM_TEST_BASE;
	const unsigned long end = dev->mm->task_size & PAGE_MASK;
	const struct {
		const char *what;
		unsigned long start;
		unsigned long end;
	} cases[] = {
		{ "empty", base, base },
		{ "backwards", base + PAGE_SIZE, base },
		{ "wraps", -PAGE_SIZE, 0 },
		{ "wraps further", -PAGE_SIZE, PAGE_SIZE },
		{ "start not aligned", base + 8, base + PAGE_SIZE },
		{ "end not aligned", base, base + 8 },
		/* On s390 this is the only page that no user has */
		{ "beyond the last page", end, end + PAGE_SIZE },
		{ "from the last page on", end - PAGE_SIZE, end + PAGE_SIZE },
	};
	struct hmm_mirror_range *range = hmm_test_range(test, base, 1, 0);
	unsigned long *pfns = hmm_test_pfns(range);
	int i;

	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_range_begin(NULL,
							      &dev->mirror));
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_range_begin(range, NULL));
	hmm_test_range_set_pfns(range, NULL);
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_range_begin(range,
							      &dev->mirror));
	hmm_test_range_set_pfns(range, pfns);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		hmm_test_range_set(range, cases[i].start, cases[i].end);
		KUNIT_EXPECT_EQ_MSG(test, -EINVAL,
				    hmm_mirror_range_begin(range, &dev->mirror),
				    "%s", cases[i].what);
	}
	/* Asks for nothing, and looks as if it asked to write */
	hmm_test_range_set(range, base, base + PAGE_SIZE);
	hmm_test_range_set_flags(range, HMM_PFN_REQ_WRITE, 0);
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_range_begin(range,
							      &dev->mirror));
	hmm_test_range_set_flags(range, 0, 0);
	/* The last page is all right */
	hmm_test_range_set(range, end - PAGE_SIZE, end);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_begin(range, &dev->mirror));
	hmm_mirror_range_end(range);

	hmm_test_unregister(test, dev);
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_range_begin(range,
							      &dev->mirror));
	KUNIT_EXPECT_FALSE(test, hmm_test_in_flight(range));
}

static void hmm_begin_twice(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_mirror_range *range;
	int ret = 0;

	range = hmm_test_snapshot(test, dev, dev->addr, 1);
	HMM_TEST_WARNS(test, ret = hmm_mirror_range_begin(range, &dev->mirror));
	KUNIT_EXPECT_EQ(test, ret, -EALREADY);
	/* It is in flight as before */
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(range));
	hmm_test_invalidate(dev->mm, dev->addr, 1);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));
}

static void hmm_range_not_in_flight(struct kunit *test)
{
	struct hmm_mirror_range *range = hmm_test_range(test, HMM_TEST_BASE, 1,
							0);

	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_range_fault(NULL, HMM_TEST_PATIENCE));
	HMM_TEST_WARNS(test, KUNIT_EXPECT_EQ(test, -EINVAL,
					     hmm_mirror_range_fault(range, 0)));
	HMM_TEST_WARNS(test, hmm_mirror_range_end(range));
}

/* What is marked is what was begun, so nothing else may be read */
static void hmm_range_changed_in_flight(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	const unsigned long addr = dev->addr;
	struct hmm_mirror_range *range;

	range = hmm_test_snapshot(test, dev, addr, 2);
	hmm_test_range_set(range, addr + PAGE_SIZE, addr + 2 * PAGE_SIZE);
	HMM_TEST_WARNS(test, KUNIT_EXPECT_EQ(test, -EINVAL,
					     hmm_mirror_range_fault(range, 0)));
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));
	hmm_test_range_set(range, addr, addr + PAGE_SIZE);
	HMM_TEST_WARNS(test, KUNIT_EXPECT_EQ(test, -EINVAL,
					     hmm_mirror_range_fault(range, 0)));
	hmm_test_range_set(range, addr, addr + 2 * PAGE_SIZE);
	hmm_test_fault(test, range);
	hmm_mirror_range_end(range);
}

static struct kunit_case hmm_contract_cases[] = {
	KUNIT_CASE(hmm_register_bad_arguments),
	KUNIT_CASE(hmm_register_twice),
	KUNIT_CASE(hmm_begin_bad_arguments),
	KUNIT_CASE(hmm_begin_twice),
	KUNIT_CASE(hmm_range_not_in_flight),
	KUNIT_CASE(hmm_range_changed_in_flight),
	{}
};

static struct kunit_suite hmm_contract_suite = {
	.name = "hmm_mirror_contract",
	.test_cases = hmm_contract_cases,
};

kunit_test_suite(hmm_contract_suite);
