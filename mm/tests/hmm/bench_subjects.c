// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is measured: devices, ours with a mirror, theirs with interval notifiers or bare
 * ones, and what these do.
 */
#include <kunit/resource.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "bench.h"

/* Devices */

void hmm_bench_defer(struct kunit *test, kunit_action_t *undo, void *data)
{
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, undo, data));
}

KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_mmput, mmput, struct mm_struct *);
KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_kvfree, kvfree, const void *);

void *hmm_bench_alloc(struct kunit *test, unsigned long n, size_t size)
{
	void *memory = kvcalloc(n, size, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, memory);
	hmm_bench_defer(test, hmm_bench_kvfree, memory);
	return memory;
}

struct mm_struct *hmm_bench_mm_alloc(void)
{
	struct mm_struct *mm = mm_alloc();

	if (mm) {
		mm->task_size = TASK_SIZE;
		arch_pick_mmap_layout(mm, &current->signal->rlim[RLIMIT_STACK]);
	}
	return mm;
}

struct hmm_bench_dev *hmm_bench_dev(struct kunit *test, unsigned long pages)
{
	struct hmm_bench_dev *dev = hmm_bench_alloc(test, 1, sizeof(*dev));

	dev->mm = hmm_bench_mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, dev->mm);
	hmm_bench_defer(test, hmm_bench_mmput, dev->mm);
	spin_lock_init(&dev->lock);
	mutex_init(&dev->mutex);
	dev->base = HMM_BENCH_BASE;
	dev->pages = pages;
	dev->at = dev->base;
	dev->at_end = dev->base + PAGE_SIZE;
	dev->table = hmm_bench_alloc(test, pages, sizeof(*dev->table));
	dev->pfns = hmm_bench_alloc(test, pages, sizeof(*dev->pfns));
	return dev;
}

static void hmm_bench_clear(struct hmm_bench_dev *dev, unsigned long start,
			    unsigned long end)
{
	start = max(start, dev->base);
	end = min(end, dev->base + dev->pages * PAGE_SIZE);
	for (; start < end; start += PAGE_SIZE)
		WRITE_ONCE(dev->table[(start - dev->base) >> PAGE_SHIFT], 0);
}

static void hmm_bench_commit(struct hmm_bench_dev *dev)
{
	unsigned long i;

	for (i = 0; i < dev->pages; i++)
		WRITE_ONCE(dev->table[i], dev->pfns[i]);
}

/* Ours: a mirror */

static bool hmm_bench_mirror_sleeping(struct hmm_mirror *mirror,
				      const struct mmu_notifier_range *update)
{
	struct hmm_bench_dev *dev =
		container_of(mirror, struct hmm_bench_dev, mirror);

	if (!mmu_notifier_range_blockable(update))
		return false;
	mutex_lock(&dev->mutex);
	hmm_bench_clear(dev, update->start, update->end);
	mutex_unlock(&dev->mutex);
	return true;
}

const struct hmm_mirror_ops hmm_bench_sleeping = {
	.invalidate = hmm_bench_mirror_sleeping,
};

static bool hmm_bench_mirror_atomic(struct hmm_mirror *mirror,
				    const struct mmu_notifier_range *update)
{
	struct hmm_bench_dev *dev =
		container_of(mirror, struct hmm_bench_dev, mirror);

	spin_lock(&dev->lock);
	hmm_bench_clear(dev, update->start, update->end);
	spin_unlock(&dev->lock);
	return true;
}

const struct hmm_mirror_ops hmm_bench_atomic = {
	.invalidate = hmm_bench_mirror_atomic,
};

static bool hmm_bench_mirror_empty(struct hmm_mirror *mirror,
				   const struct mmu_notifier_range *update)
{
	return true;
}

const struct hmm_mirror_ops hmm_bench_empty = {
	.invalidate = hmm_bench_mirror_empty,
};

KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_unregister, hmm_mirror_unregister,
			    struct hmm_mirror *);

int hmm_bench_do_register(struct hmm_mirror *mirror, struct mm_struct *mm,
			  const struct hmm_mirror_ops *ops)
{
	int ret;

	mirror->ops = ops;
	mmap_write_lock(mm);
	ret = hmm_mirror_register(mirror, mm);
	mmap_write_unlock(mm);
	return ret;
}

struct hmm_bench_dev *hmm_bench_ours(struct kunit *test,
				     const struct hmm_mirror_ops *ops,
				     unsigned long pages)
{
	struct hmm_bench_dev *dev = hmm_bench_dev(test, pages);

	KUNIT_ASSERT_EQ(test, 0, hmm_bench_do_register(&dev->mirror, dev->mm, ops));
	hmm_bench_defer(test, hmm_bench_unregister, &dev->mirror);
	return dev;
}

static void hmm_bench_unregister_all(void *data)
{
	struct hmm_bench_dev *dev = data;

	while (dev->nr)
		hmm_mirror_unregister(&dev->mirrors[--dev->nr]);
}

/* @n mirrors of one address space */
struct hmm_bench_dev *hmm_bench_many(struct kunit *test, unsigned long n,
				     const struct hmm_mirror_ops *ops)
{
	struct hmm_bench_dev *dev = hmm_bench_dev(test, 1);

	dev->mirrors = hmm_bench_alloc(test, n, sizeof(*dev->mirrors));
	hmm_bench_defer(test, hmm_bench_unregister_all, dev);
	for (; dev->nr < n; dev->nr++)
		KUNIT_ASSERT_EQ(test, 0,
				hmm_bench_do_register(&dev->mirrors[dev->nr],
						      dev->mm, ops));
	return dev;
}

/*
 * Theirs: interval notifiers, as lib/test_hmm.c and drm_gpusvm have them: the lock
 * of the device is taken, the notifier is marked, what it covers is cleared.
 */

static void hmm_bench_interval_hit(struct hmm_bench_interval *interval,
				   const struct mmu_notifier_range *range,
				   unsigned long seq)
{
	struct mmu_interval_notifier *notifier = &interval->notifier;

	mmu_interval_set_seq(notifier, seq);
	hmm_bench_clear(interval->dev,
			max(range->start, notifier->interval_tree.start),
			min(range->end, notifier->interval_tree.last + 1));
}

static bool hmm_bench_interval_sleeping(struct mmu_interval_notifier *notifier,
					const struct mmu_notifier_range *range,
					unsigned long seq)
{
	struct hmm_bench_interval *interval =
		container_of(notifier, struct hmm_bench_interval, notifier);

	if (!mmu_notifier_range_blockable(range))
		return false;
	mutex_lock(&interval->dev->mutex);
	hmm_bench_interval_hit(interval, range, seq);
	mutex_unlock(&interval->dev->mutex);
	return true;
}

const struct mmu_interval_notifier_ops hmm_bench_interval_sleeping_ops = {
	.invalidate = hmm_bench_interval_sleeping,
};

static bool hmm_bench_interval_atomic(struct mmu_interval_notifier *notifier,
				      const struct mmu_notifier_range *range,
				      unsigned long seq)
{
	struct hmm_bench_interval *interval =
		container_of(notifier, struct hmm_bench_interval, notifier);

	spin_lock(&interval->dev->lock);
	hmm_bench_interval_hit(interval, range, seq);
	spin_unlock(&interval->dev->lock);
	return true;
}

const struct mmu_interval_notifier_ops hmm_bench_interval_atomic_ops = {
	.invalidate = hmm_bench_interval_atomic,
};

static void hmm_bench_remove_all(void *data)
{
	struct hmm_bench_dev *dev = data;

	while (dev->nr)
		mmu_interval_notifier_remove(&dev->intervals[--dev->nr].notifier);
}

/* @n notifiers, each for @length bytes of the device's addresses */
static void hmm_bench_insert(struct kunit *test, struct hmm_bench_dev *dev,
			     unsigned long n, unsigned long start,
			     unsigned long length,
			     const struct mmu_interval_notifier_ops *ops)
{
	dev->intervals = hmm_bench_alloc(test, n, sizeof(*dev->intervals));
	hmm_bench_defer(test, hmm_bench_remove_all, dev);
	for (; dev->nr < n; dev->nr++, start += length) {
		struct hmm_bench_interval *interval = &dev->intervals[dev->nr];

		interval->dev = dev;
		KUNIT_ASSERT_EQ(test, 0,
				mmu_interval_notifier_insert(&interval->notifier,
							     dev->mm, start, length,
							     ops));
	}
}

/* One notifier for the whole mm */
struct hmm_bench_dev *hmm_bench_whole(struct kunit *test,
				      const struct mmu_interval_notifier_ops *ops)
{
	struct hmm_bench_dev *dev = hmm_bench_dev(test, 1);

	hmm_bench_insert(test, dev, 1, 0, ULONG_MAX & PAGE_MASK, ops);
	return dev;
}

/* One notifier for each page */
struct hmm_bench_dev *hmm_bench_intervals(struct kunit *test,
					  unsigned long pages)
{
	struct hmm_bench_dev *dev = hmm_bench_dev(test, pages);

	hmm_bench_insert(test, dev, pages, dev->base, PAGE_SIZE,
			 &hmm_bench_interval_sleeping_ops);
	return dev;
}

/* Theirs: bare notifiers, with a start and an end that do nothing */

static int hmm_bench_bare_start(struct mmu_notifier *notifier,
				const struct mmu_notifier_range *range)
{
	return 0;
}

static void hmm_bench_bare_end(struct mmu_notifier *notifier,
			       const struct mmu_notifier_range *range)
{
}

/* They are in an array, which goes as a whole */
static void hmm_bench_bare_free(struct mmu_notifier *notifier)
{
}

const struct mmu_notifier_ops hmm_bench_bare_ops = {
	.invalidate_range_start = hmm_bench_bare_start,
	.invalidate_range_end = hmm_bench_bare_end,
	.free_notifier = hmm_bench_bare_free,
};

/* One grace period for all of them */
static void hmm_bench_bare_all(void *data)
{
	struct hmm_bench_dev *dev = data;

	while (dev->nr)
		mmu_notifier_put(&dev->bares[--dev->nr]);
	mmu_notifier_synchronize();
}

struct hmm_bench_dev *hmm_bench_bare(struct kunit *test, unsigned long n)
{
	struct hmm_bench_dev *dev = hmm_bench_dev(test, 1);

	dev->bares = hmm_bench_alloc(test, n, sizeof(*dev->bares));
	hmm_bench_defer(test, hmm_bench_bare_all, dev);
	for (; dev->nr < n; dev->nr++) {
		dev->bares[dev->nr].ops = &hmm_bench_bare_ops;
		KUNIT_ASSERT_EQ(test, 0,
				mmu_notifier_register(&dev->bares[dev->nr],
						      dev->mm));
	}
	return dev;
}

/* Invalidations: what munmap() and the like call, and nothing else */

void hmm_bench_range(struct mmu_notifier_range *range,
		     struct hmm_bench_dev *dev)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, dev->mm, dev->at,
				dev->at_end);
}

void hmm_bench_invalidate(struct hmm_bench_dev *dev, unsigned long n)
{
	struct mmu_notifier_range range;

	hmm_bench_range(&range, dev);
	for (; n; n--) {
		mmu_notifier_invalidate_range_start(&range);
		mmu_notifier_invalidate_range_end(&range);
	}
}

/* Device page faults of pages that are there */

unsigned long hmm_bench_end(const struct hmm_bench_dev *dev)
{
	return dev->base + dev->pages * PAGE_SIZE;
}

/* From a range in flight to entries in the device's table */
static void hmm_bench_fault(struct hmm_bench_dev *dev)
{
	bool valid;

	do {
		if (hmm_mirror_range_fault(&dev->range, HMM_BENCH_TIMEOUT)) {
			dev->errors++;
			return;
		}
		cond_resched();
		mutex_lock(&dev->mutex);
		valid = hmm_mirror_range_valid(&dev->range);
		if (valid)
			hmm_bench_commit(dev);
		else
			dev->retries++;
		mutex_unlock(&dev->mutex);
	} while (!valid);
}

void hmm_bench_map(struct hmm_bench_dev *dev, unsigned long n)
{
	for (; n; n--) {
		if (hmm_mirror_range_begin(&dev->range, &dev->mirror)) {
			dev->errors++;
			return;
		}
		hmm_bench_fault(dev);
		hmm_mirror_range_end(&dev->range);
	}
}

void hmm_bench_map_kept(struct hmm_bench_dev *dev, unsigned long n)
{
	for (; n; n--)
		hmm_bench_fault(dev);
}

/* The same with an interval notifier, see dmirror_fault() of lib/test_hmm.c */
static void hmm_bench_interval_fault(struct hmm_bench_dev *dev)
{
	struct mmu_interval_notifier *notifier = &dev->interval.notifier;
	unsigned long timeout = jiffies + msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT);
	struct hmm_range range = {
		.notifier = notifier,
		.start = dev->base,
		.end = hmm_bench_end(dev),
		.hmm_pfns = dev->pfns,
		.default_flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE,
	};
	struct mm_struct *mm = notifier->mm;
	bool valid = false;
	int ret;

	if (!mmget_not_zero(mm)) {
		dev->errors++;
		return;
	}
	do {
		if (time_after(jiffies, timeout)) {
			dev->errors++;
			break;
		}
		range.notifier_seq = mmu_interval_read_begin(notifier);
		mmap_read_lock(mm);
		ret = hmm_range_fault(&range);
		mmap_read_unlock(mm);
		if (ret == -EBUSY) {
			dev->retries++;
			continue;
		}
		if (ret) {
			dev->errors++;
			break;
		}
		cond_resched();
		mutex_lock(&dev->mutex);
		valid = !mmu_interval_read_retry(notifier, range.notifier_seq);
		if (valid)
			hmm_bench_commit(dev);
		else
			dev->retries++;
		mutex_unlock(&dev->mutex);
	} while (!valid);
	mmput(mm);
}

int hmm_bench_interval_insert(struct hmm_bench_dev *dev)
{
	dev->interval.dev = dev;
	return mmu_interval_notifier_insert(&dev->interval.notifier, dev->mm,
					    dev->base, dev->pages * PAGE_SIZE,
					    &hmm_bench_interval_sleeping_ops);
}

void hmm_bench_interval_map(struct hmm_bench_dev *dev, unsigned long n)
{
	for (; n; n--) {
		if (hmm_bench_interval_insert(dev)) {
			dev->errors++;
			return;
		}
		hmm_bench_interval_fault(dev);
		mmu_interval_notifier_remove(&dev->interval.notifier);
	}
}

void hmm_bench_interval_map_kept(struct hmm_bench_dev *dev, unsigned long n)
{
	for (; n; n--)
		hmm_bench_interval_fault(dev);
}

/* Give @dev memory where the device's addresses are; @huge: in one piece */
void hmm_bench_memory(struct kunit *test, struct hmm_bench_dev *dev, bool huge)
{
	unsigned long addr, size = dev->pages * PAGE_SIZE;
	int ret = 0;

	dev->base = ALIGN(dev->base, PMD_SIZE);
	hmm_bench_set_range(&dev->range, dev->base, hmm_bench_end(dev), dev->pfns,
			    HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE);

	kthread_use_mm(dev->mm);
	addr = vm_mmap(NULL, dev->base, size, PROT_READ | PROT_WRITE,
		       MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED, 0);
	if (huge)
		ret = do_madvise(dev->mm, dev->base, size, MADV_HUGEPAGE);
	kthread_unuse_mm(dev->mm);
	KUNIT_ASSERT_EQ(test, addr, dev->base);
	KUNIT_ASSERT_EQ(test, ret, 0);
}
