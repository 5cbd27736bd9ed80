// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A device that is used, and memory that is changed, by several threads at once.
 */
#include <kunit/resource.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/mman.h>
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/sched.h>

#include "kunit.h"

#define HMM_STRESS_PAGES	16
#define HMM_STRESS_TIME		(HZ / 2)
#define HMM_STRESS_TAG		0x57a1e000u

/*
 * A device with a page table, as small as it can be.  An entry is a page that the
 * device may use at any time: so whoever takes the lock and finds one must find a
 * page that is still mapped, and that still has in it what the device wrote.
 */
struct hmm_stress {
	struct hmm_mirror mirror;
	struct mutex lock;		/* the "driver's lock" */
	struct mm_struct *mm;
	unsigned long base;
	unsigned long deadline;
	struct page *table[HMM_STRESS_PAGES];

	unsigned long commits;
	unsigned long collisions;
	unsigned long checked;
	atomic_t rounds;
	atomic_t stale;
	atomic_t failed;

	struct hmm_mirror visitor;	/* comes and goes */
	bool visiting;
	atomic_t late;			/* its callbacks when it had gone */
};

static bool hmm_stress_go_on(struct hmm_stress *s)
{
	return time_before(jiffies, s->deadline);
}

static void hmm_stress_dawdle(void)
{
	switch (get_random_u32_below(4)) {
	case 0:
		usleep_range(20, 200);
		break;
	case 1:
		cond_resched();
		break;
	}
}

static bool hmm_stress_invalidate(struct hmm_mirror *mirror,
				  const struct mmu_notifier_range *update)
{
	struct hmm_stress *s = container_of(mirror, struct hmm_stress, mirror);
	int i;

	if (!mmu_notifier_range_blockable(update))
		return false;
	hmm_stress_dawdle();
	mutex_lock(&s->lock);
	for (i = 0; i < HMM_STRESS_PAGES; i++) {
		unsigned long addr = s->base + i * PAGE_SIZE;

		if (update->start < addr + PAGE_SIZE && addr < update->end)
			s->table[i] = NULL;
	}
	mutex_unlock(&s->lock);
	/* A window for those who would write what they have read before */
	hmm_stress_dawdle();
	return true;
}

static const struct hmm_mirror_ops hmm_stress_ops = {
	.invalidate = hmm_stress_invalidate,
};

static void hmm_stress_visit(struct hmm_mirror *mirror,
			     enum hmm_update_type type,
			     unsigned long start, unsigned long end)
{
	struct hmm_stress *s = container_of(mirror, struct hmm_stress, visitor);

	if (!READ_ONCE(s->visiting))
		atomic_inc(&s->late);
	hmm_stress_dawdle();
	if (!READ_ONCE(s->visiting))
		atomic_inc(&s->late);
}

static const struct hmm_mirror_ops hmm_stress_visitor_ops = {
	.sync_cpu_device_pagetables = hmm_stress_visit,
};

static bool hmm_stress_entry_ok(struct hmm_stress *s, int i)
{
	return hmm_test_mapped(s->table[i]) &&
	       hmm_test_peek(s->table[i]) == HMM_STRESS_TAG + i;
}

static void hmm_stress_commit(struct hmm_stress *s, int i, struct page *page)
{
	u32 value = hmm_test_peek(page);

	if (value && value != HMM_STRESS_TAG + i)
		atomic_inc(&s->stale);
	hmm_test_poke(page, HMM_STRESS_TAG + i);
	s->table[i] = page;
	s->commits++;
}

static int hmm_stress_fault(void *data)
{
	struct hmm_stress *s = data;
	unsigned long pfns[4];
	struct hmm_mirror_range range = {};
	unsigned long addr;
	int i, n, slot, ret;

	hmm_test_range_set_pfns(&range, pfns);
	hmm_test_range_set_flags(&range, HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE, 0);

	while (hmm_stress_go_on(s)) {
		n = 1 + get_random_u32_below(ARRAY_SIZE(pfns));
		slot = get_random_u32_below(HMM_STRESS_PAGES - n + 1);
		addr = s->base + slot * PAGE_SIZE;
		hmm_test_range_set(&range, addr, addr + n * PAGE_SIZE);
		if (hmm_mirror_range_begin(&range, &s->mirror)) {
			atomic_inc(&s->failed);
			break;
		}
		ret = hmm_mirror_range_fault(&range, 0);
		/* A hole is what the unmapping thread makes */
		if (ret && ret != -EFAULT && ret != -EBUSY)
			atomic_inc(&s->failed);
		hmm_stress_dawdle();
		mutex_lock(&s->lock);
		if (!ret && hmm_mirror_range_valid(&range)) {
			for (i = 0; i < n; i++)
				hmm_stress_commit(s, slot + i,
						  hmm_pfn_to_page(pfns[i]));
		} else if (!ret) {
			s->collisions++;
		}
		mutex_unlock(&s->lock);
		hmm_stress_dawdle();
		hmm_mirror_range_end(&range);
	}
	return 0;
}

static int hmm_stress_unmap(void *data)
{
	struct hmm_stress *s = data;
	unsigned long addr;
	int i, n, slot;

	while (hmm_stress_go_on(s)) {
		n = 1 + get_random_u32_below(4);
		slot = get_random_u32_below(HMM_STRESS_PAGES - n + 1);
		addr = s->base + slot * PAGE_SIZE;
		if (hmm_test_do_unmap(s->mm, addr, n))
			atomic_inc(&s->failed);
		/* There is nothing here, so there must be nothing there */
		hmm_stress_dawdle();
		mutex_lock(&s->lock);
		for (i = slot; i < slot + n; i++)
			if (s->table[i])
				atomic_inc(&s->stale);
		mutex_unlock(&s->lock);
		if (!hmm_test_do_map(s->mm, addr, n, PROT_READ | PROT_WRITE))
			atomic_inc(&s->failed);
		hmm_stress_dawdle();
		atomic_inc(&s->rounds);
	}
	return 0;
}

static int hmm_stress_discard(void *data)
{
	struct hmm_stress *s = data;
	int n, slot, ret;

	while (hmm_stress_go_on(s)) {
		n = 1 + get_random_u32_below(4);
		slot = get_random_u32_below(HMM_STRESS_PAGES - n + 1);
		ret = hmm_test_do_discard(s->mm, s->base + slot * PAGE_SIZE, n);
		/* -ENOMEM: there was a hole */
		if (ret && ret != -ENOMEM)
			atomic_inc(&s->failed);
		hmm_stress_dawdle();
		atomic_inc(&s->rounds);
	}
	return 0;
}

static int hmm_stress_check(void *data)
{
	struct hmm_stress *s = data;
	int i;

	while (hmm_stress_go_on(s)) {
		mutex_lock(&s->lock);
		for (i = 0; i < HMM_STRESS_PAGES; i++) {
			if (!s->table[i])
				continue;
			s->checked++;
			if (!hmm_stress_entry_ok(s, i)) {
				atomic_inc(&s->stale);
				s->table[i] = NULL;
			}
		}
		mutex_unlock(&s->lock);
		usleep_range(20, 100);
	}
	return 0;
}

static int hmm_stress_come_and_go(void *data)
{
	struct hmm_stress *s = data;
	int ret;

	while (hmm_stress_go_on(s)) {
		s->visitor.ops = &hmm_stress_visitor_ops;
		WRITE_ONCE(s->visiting, true);
		mmap_write_lock(s->mm);
		ret = hmm_mirror_register(&s->visitor, s->mm);
		mmap_write_unlock(s->mm);
		if (ret) {
			atomic_inc(&s->failed);
			break;
		}
		hmm_stress_dawdle();
		hmm_mirror_unregister(&s->visitor);
		WRITE_ONCE(s->visiting, false);
		hmm_stress_dawdle();
	}
	return 0;
}

static void hmm_stress_unregister(void *data)
{
	struct hmm_stress *s = data;

	hmm_mirror_unregister(&s->mirror);
}

static void hmm_stress(struct kunit *test)
{
	static int (* const fns[])(void *) = {
		hmm_stress_fault, hmm_stress_fault, hmm_stress_fault,
		hmm_stress_unmap, hmm_stress_discard, hmm_stress_check,
		hmm_stress_come_and_go,
	};
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_job *jobs[ARRAY_SIZE(fns)];
	struct hmm_test_dev *dev;
	struct hmm_stress *s;
	int i, ret;

	s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, s);
	mutex_init(&s->lock);
	s->mm = mm;
	s->base = hmm_test_map(test, mm, HMM_STRESS_PAGES, PROT_READ | PROT_WRITE);
	s->mirror.ops = &hmm_stress_ops;
	mmap_write_lock(mm);
	ret = hmm_mirror_register(&s->mirror, mm);
	mmap_write_unlock(mm);
	KUNIT_ASSERT_EQ(test, ret, 0);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_stress_unregister, s));

	s->deadline = jiffies + HMM_STRESS_TIME;
	for (i = 0; i < ARRAY_SIZE(fns); i++)
		jobs[i] = hmm_test_job(test, fns[i], s);
	for (i = 0; i < ARRAY_SIZE(fns); i++)
		hmm_test_finish(test, jobs[i]);

	kunit_info(test, "%lu commits, %lu collisions, %d invalidations, %lu entries checked",
		   s->commits, s->collisions, atomic_read(&s->rounds), s->checked);
	KUNIT_EXPECT_EQ(test, atomic_read(&s->stale), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&s->failed), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&s->late), 0);
	KUNIT_EXPECT_GT(test, s->commits, 0);
	KUNIT_EXPECT_GT(test, s->checked, 0);
	KUNIT_EXPECT_GT(test, atomic_read(&s->rounds), 0);

	dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	hmm_test_expect_idle(test, dev);
}

static struct kunit_case hmm_stress_cases[] = {
	KUNIT_CASE(hmm_stress),
	{}
};

static struct kunit_suite hmm_stress_suite = {
	.name = "hmm_mirror_stress",
	.test_cases = hmm_stress_cases,
};

kunit_test_suite(hmm_stress_suite);
