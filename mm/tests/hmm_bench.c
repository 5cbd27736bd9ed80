// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What HMM mirroring costs, measured beside what mmu_interval_notifier and the
 * bare mmu_notifier cost for the same job, in the same kernel and the same run.
 *
 * Each case prints its figures in lines of the form
 *
 *	row=NAME peer=NAME ours=MIN/MEDIAN/MAX theirs=MIN/MEDIAN/MAX unit=UNIT
 *	curve=NAME n=NUMBER peer=NAME ours=... theirs=... unit=UNIT
 *
 * The unit is ns for what keeps the CPU busy all the time (with an emulator that
 * counts, instructions), wait-ns for what sleeps or watches the clock as well.
 *
 * A side is what is measured.  All sides of a row take turns, round by round, and
 * each has an address space of its own, with one kind of subscription to it.  The
 * device is the same on all sides: an array, under a lock.
 */
#include <kunit/resource.h>
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/hmm.h>
#include <linux/huge_mm.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/spinlock.h>

#include "hmm_bench.h"

#define HMM_BENCH_WARMUP	3
#define HMM_BENCH_ROUNDS	21
/* Repetitions in a round of what takes long, or makes things */
#define HMM_BENCH_FEW		8
/* Where invalidations are made that need no memory there */
#define HMM_BENCH_BASE		(4096 * PAGE_SIZE)
/* Of a device that flushes slowly */
#define HMM_BENCH_FLUSH_NS	20000

struct hmm_bench_dev;

/* An interval notifier for a part of the device's addresses */
struct hmm_bench_interval {
	struct mmu_interval_notifier notifier;
	struct hmm_bench_dev *dev;
};

struct hmm_bench_dev {
	struct mm_struct *mm;
	spinlock_t lock;		/* the "driver's lock": one of these two */
	struct mutex mutex;

	unsigned long base;		/* addresses that the device uses */
	unsigned long pages;
	unsigned long *table;		/* the device's page table */
	unsigned long *pfns;		/* what a fault reads */
	unsigned long at;		/* the invalidation that is measured */
	unsigned long at_end;
	unsigned int errors;

	/* The subscriptions; a device uses one kind of them */
	struct hmm_mirror mirror;
	struct hmm_mirror_range range;
	struct hmm_bench_interval interval;
	struct mmu_notifier bare;
	struct hmm_bench_rust *rust;
	struct hmm_mirror *mirrors;
	struct hmm_bench_interval *intervals;
	struct mmu_notifier *bares;
	struct hmm_mirror_range *ranges;
	unsigned long nr;		/* of these arrays */

	/* Invalidations that go on beside the faults, see hmm_bench_storm() */
	unsigned int hold_us;
	unsigned long retries;
};

/* Measuring */

typedef void hmm_bench_fn(struct hmm_bench_dev *dev, unsigned long n);

struct hmm_bench_side {
	struct hmm_bench_dev *dev;
	hmm_bench_fn *op;		/* measured: do it @n times */
	hmm_bench_fn *before, *after;	/* not measured */
	u64 ps[HMM_BENCH_ROUNDS];	/* for one of the @n */
};

struct hmm_bench_result {
	s64 min, median, max;
};

static int hmm_bench_compare(const void *a, const void *b)
{
	return cmp_int(*(const u64 *)a, *(const u64 *)b);
}

/*
 * Alternately up and down the sides, so that none always comes first.  @atomic is
 * for what does not sleep.
 */
static void hmm_bench_measure(struct hmm_bench_side *sides, unsigned int nr,
			      unsigned long n, bool atomic)
{
	unsigned int i;
	int round;
	u64 t;

	for (round = -HMM_BENCH_WARMUP; round < HMM_BENCH_ROUNDS; round++) {
		for (i = 0; i < nr; i++) {
			struct hmm_bench_side *side =
				&sides[round & 1 ? nr - 1 - i : i];

			if (side->before)
				side->before(side->dev, n);
			if (atomic)
				preempt_disable();
			t = ktime_get_ns();
			side->op(side->dev, n);
			t = ktime_get_ns() - t;
			if (atomic)
				preempt_enable();
			if (side->after)
				side->after(side->dev, n);
			if (round >= 0)
				side->ps[round] = div64_u64(t * 1000, n);
		}
	}
	for (i = 0; i < nr; i++)
		sort(sides[i].ps, HMM_BENCH_ROUNDS, sizeof(sides[i].ps[0]),
		     hmm_bench_compare, NULL);
}

static struct hmm_bench_result hmm_bench_result(const struct hmm_bench_side *side)
{
	return (struct hmm_bench_result){
		.min = side->ps[0],
		.median = side->ps[HMM_BENCH_ROUNDS / 2],
		.max = side->ps[HMM_BENCH_ROUNDS - 1],
	};
}

/* What each of @n more costs, where @more has these and @less has not */
static struct hmm_bench_result hmm_bench_slope(const struct hmm_bench_side *more,
					       const struct hmm_bench_side *less,
					       unsigned int n)
{
	struct hmm_bench_result a = hmm_bench_result(more);
	struct hmm_bench_result b = hmm_bench_result(less);

	return (struct hmm_bench_result){
		.min = div_s64(a.min - b.min, n),
		.median = div_s64(a.median - b.median, n),
		.max = div_s64(a.max - b.max, n),
	};
}

static void hmm_bench_format(char *to, size_t size, s64 ps)
{
	s32 rest;
	s64 ns = div_s64_rem(abs(ps), 1000, &rest);

	scnprintf(to, size, "%s%lld.%03d", ps < 0 ? "-" : "", ns, rest);
}

static void hmm_bench_print(struct kunit *test, const char *what,
			    const char *peer, struct hmm_bench_result ours,
			    struct hmm_bench_result theirs, const char *unit)
{
	const s64 ps[] = { ours.min, ours.median, ours.max, theirs.min,
			   theirs.median, theirs.max };
	char text[ARRAY_SIZE(ps)][24];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ps); i++)
		hmm_bench_format(text[i], sizeof(text[i]), ps[i]);
	kunit_info(test, "%s peer=%s ours=%s/%s/%s theirs=%s/%s/%s unit=%s\n",
		   what, peer, text[0], text[1], text[2], text[3], text[4],
		   text[5], unit);
}

static void hmm_bench_row(struct kunit *test, const char *what, const char *peer,
			  const struct hmm_bench_side *ours,
			  const struct hmm_bench_side *theirs, const char *unit)
{
	hmm_bench_print(test, what, peer, hmm_bench_result(ours),
			hmm_bench_result(theirs), unit);
	KUNIT_EXPECT_EQ(test, ours->dev->errors, 0);
	KUNIT_EXPECT_EQ(test, theirs->dev->errors, 0);
}

/* One figure, where nothing is repeated */
static void hmm_bench_count(struct kunit *test, const char *what,
			    const char *peer, u64 ours, u64 theirs,
			    const char *unit)
{
	kunit_info(test,
		   "%s peer=%s ours=%llu/%llu/%llu theirs=%llu/%llu/%llu unit=%s\n",
		   what, peer, ours, ours, ours, theirs, theirs, theirs, unit);
}

/* Devices */

KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_mmput, mmput, struct mm_struct *);
KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_kvfree, kvfree, const void *);

static void *hmm_bench_alloc(struct kunit *test, unsigned long n, size_t size)
{
	void *memory = kvcalloc(n, size, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, memory);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_bench_kvfree, memory));
	return memory;
}

static struct mm_struct *hmm_bench_mm_alloc(void)
{
	struct mm_struct *mm = mm_alloc();

	if (mm) {
		mm->task_size = TASK_SIZE;
		arch_pick_mmap_layout(mm, &current->signal->rlim[RLIMIT_STACK]);
	}
	return mm;
}

static struct hmm_bench_dev *hmm_bench_dev(struct kunit *test, unsigned long pages)
{
	struct hmm_bench_dev *dev = hmm_bench_alloc(test, 1, sizeof(*dev));

	dev->mm = hmm_bench_mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, dev->mm);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_bench_mmput, dev->mm));
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

static void hmm_bench_mirror_sleeping(struct hmm_mirror *mirror,
				      const struct hmm_update *update)
{
	struct hmm_bench_dev *dev =
		container_of(mirror, struct hmm_bench_dev, mirror);

	mutex_lock(&dev->mutex);
	hmm_bench_clear(dev, update->start, update->end);
	mutex_unlock(&dev->mutex);
}

static const struct hmm_mirror_ops hmm_bench_sleeping = {
	.invalidate = hmm_bench_mirror_sleeping,
};

static void hmm_bench_mirror_atomic(struct hmm_mirror *mirror,
				    const struct hmm_update *update)
{
	struct hmm_bench_dev *dev =
		container_of(mirror, struct hmm_bench_dev, mirror);

	spin_lock(&dev->lock);
	hmm_bench_clear(dev, update->start, update->end);
	spin_unlock(&dev->lock);
}

static const struct hmm_mirror_ops hmm_bench_atomic = {
	.invalidate = hmm_bench_mirror_atomic,
	.flags = HMM_MIRROR_ATOMIC,
};

static void hmm_bench_mirror_empty(struct hmm_mirror *mirror,
				   const struct hmm_update *update)
{
}

static const struct hmm_mirror_ops hmm_bench_empty = {
	.invalidate = hmm_bench_mirror_empty,
};

static const struct hmm_mirror_ops hmm_bench_empty_atomic = {
	.invalidate = hmm_bench_mirror_empty,
	.flags = HMM_MIRROR_ATOMIC,
};

KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_unregister, hmm_mirror_unregister,
			    struct hmm_mirror *);

static int hmm_bench_do_register(struct hmm_mirror *mirror, struct mm_struct *mm,
				 const struct hmm_mirror_ops *ops)
{
	int ret;

	mirror->ops = ops;
	mmap_write_lock(mm);
	ret = hmm_mirror_register(mirror, mm);
	mmap_write_unlock(mm);
	return ret;
}

static void hmm_bench_register(struct kunit *test, struct hmm_mirror *mirror,
			       struct mm_struct *mm,
			       const struct hmm_mirror_ops *ops)
{
	KUNIT_ASSERT_EQ(test, 0, hmm_bench_do_register(mirror, mm, ops));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test,
							   hmm_bench_unregister,
							   mirror));
}

static struct hmm_bench_dev *hmm_bench_ours(struct kunit *test,
					    const struct hmm_mirror_ops *ops,
					    unsigned long pages)
{
	struct hmm_bench_dev *dev = hmm_bench_dev(test, pages);

	hmm_bench_register(test, &dev->mirror, dev->mm, ops);
	return dev;
}

static void hmm_bench_unregister_all(void *data)
{
	struct hmm_bench_dev *dev = data;

	while (dev->nr)
		hmm_mirror_unregister(&dev->mirrors[--dev->nr]);
}

/* @n mirrors of one address space */
static struct hmm_bench_dev *hmm_bench_many(struct kunit *test, unsigned long n,
					    const struct hmm_mirror_ops *ops)
{
	struct hmm_bench_dev *dev = hmm_bench_dev(test, 1);

	dev->mirrors = hmm_bench_alloc(test, n, sizeof(*dev->mirrors));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_bench_unregister_all,
						  dev));
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

static const struct mmu_interval_notifier_ops hmm_bench_interval_sleeping_ops = {
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

static const struct mmu_interval_notifier_ops hmm_bench_interval_atomic_ops = {
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
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test,
							   hmm_bench_remove_all,
							   dev));
	for (; dev->nr < n; dev->nr++, start += length) {
		struct hmm_bench_interval *interval = &dev->intervals[dev->nr];

		interval->dev = dev;
		KUNIT_ASSERT_EQ(test, 0,
				mmu_interval_notifier_insert(&interval->notifier,
							     dev->mm, start,
							     length, ops));
	}
}

/* One notifier for the whole mm */
static struct hmm_bench_dev *
hmm_bench_whole(struct kunit *test, const struct mmu_interval_notifier_ops *ops,
		unsigned long pages)
{
	struct hmm_bench_dev *dev = hmm_bench_dev(test, pages);

	hmm_bench_insert(test, dev, 1, 0, ULONG_MAX & PAGE_MASK, ops);
	return dev;
}

/* One notifier for each page */
static struct hmm_bench_dev *hmm_bench_intervals(struct kunit *test,
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

static const struct mmu_notifier_ops hmm_bench_bare_ops = {
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

static struct hmm_bench_dev *hmm_bench_bare(struct kunit *test, unsigned long n)
{
	struct hmm_bench_dev *dev = hmm_bench_dev(test, 1);

	dev->bares = hmm_bench_alloc(test, n, sizeof(*dev->bares));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test,
							   hmm_bench_bare_all,
							   dev));
	for (; dev->nr < n; dev->nr++) {
		dev->bares[dev->nr].ops = &hmm_bench_bare_ops;
		KUNIT_ASSERT_EQ(test, 0,
				mmu_notifier_register(&dev->bares[dev->nr],
						      dev->mm));
	}
	return dev;
}

/* Invalidations: what munmap() and the like call, and nothing else */

static void hmm_bench_range(struct mmu_notifier_range *range,
			    struct hmm_bench_dev *dev)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, dev->mm, dev->at,
				dev->at_end);
}

static void hmm_bench_invalidate(struct hmm_bench_dev *dev, unsigned long n)
{
	struct mmu_notifier_range range;

	hmm_bench_range(&range, dev);
	for (; n; n--) {
		mmu_notifier_invalidate_range_start(&range);
		mmu_notifier_invalidate_range_end(&range);
	}
}

static void hmm_bench_inval(struct kunit *test, const char *what,
			    const char *peer, struct hmm_bench_dev *ours,
			    struct hmm_bench_dev *theirs, unsigned long n,
			    bool atomic)
{
	struct hmm_bench_side sides[] = {
		{ .dev = ours, .op = hmm_bench_invalidate },
		{ .dev = theirs, .op = hmm_bench_invalidate },
	};

	hmm_bench_measure(sides, ARRAY_SIZE(sides), n, atomic);
	hmm_bench_row(test, what, peer, &sides[0], &sides[1], "ns");
}

static void hmm_bench_inval_one(struct kunit *test)
{
	hmm_bench_inval(test, "row=inval_one", "interval-whole",
			hmm_bench_ours(test, &hmm_bench_sleeping, 1),
			hmm_bench_whole(test, &hmm_bench_interval_sleeping_ops, 1),
			1000, false);
}

static void hmm_bench_inval_one_atomic(struct kunit *test)
{
	hmm_bench_inval(test, "row=inval_one_atomic", "interval-whole",
			hmm_bench_ours(test, &hmm_bench_atomic, 1),
			hmm_bench_whole(test, &hmm_bench_interval_atomic_ops, 1),
			1000, true);
}

static void hmm_bench_inval_floor(struct kunit *test)
{
	hmm_bench_inval(test, "row=inval_floor", "bare",
			hmm_bench_ours(test, &hmm_bench_empty, 1),
			hmm_bench_bare(test, 1), 1000, true);
}

static void hmm_bench_inval_floor_atomic(struct kunit *test)
{
	hmm_bench_inval(test, "row=inval_floor_atomic", "bare",
			hmm_bench_ours(test, &hmm_bench_empty_atomic, 1),
			hmm_bench_bare(test, 1), 1000, true);
}

/* A device that has mapped 10 000 pages, each on its own */
static void hmm_bench_inval_10k(struct kunit *test)
{
	struct hmm_bench_dev *ours = hmm_bench_ours(test, &hmm_bench_sleeping, 10000);
	struct hmm_bench_dev *theirs = hmm_bench_intervals(test, 10000);

	ours->at = ours->base + 5000 * PAGE_SIZE;
	ours->at_end = ours->at + PAGE_SIZE;
	theirs->at = ours->at;
	theirs->at_end = ours->at_end;
	hmm_bench_inval(test, "row=inval_hit1_10k", "interval-each", ours, theirs,
			1000, false);

	ours->at = ours->base + 10001 * PAGE_SIZE;
	ours->at_end = ours->at + PAGE_SIZE;
	theirs->at = ours->at;
	theirs->at_end = ours->at_end;
	hmm_bench_inval(test, "row=inval_miss_10k", "interval-each", ours, theirs,
			1000, false);

	ours->at = ours->base;
	ours->at_end = ours->at + 10000 * PAGE_SIZE;
	theirs->at = ours->at;
	theirs->at_end = ours->at_end;
	hmm_bench_inval(test, "row=inval_all_10k", "interval-each", ours, theirs,
			HMM_BENCH_FEW, false);
}

static void hmm_bench_mirrors_slope(struct kunit *test)
{
	struct hmm_bench_side sides[] = {
		{ hmm_bench_many(test, 1, &hmm_bench_empty), hmm_bench_invalidate },
		{ hmm_bench_many(test, 65, &hmm_bench_empty), hmm_bench_invalidate },
		{ hmm_bench_bare(test, 1), hmm_bench_invalidate },
		{ hmm_bench_bare(test, 65), hmm_bench_invalidate },
	};

	hmm_bench_measure(sides, ARRAY_SIZE(sides), 1000, true);
	hmm_bench_print(test, "row=mirrors_slope", "bare",
			hmm_bench_slope(&sides[1], &sides[0], 64),
			hmm_bench_slope(&sides[3], &sides[2], 64), "ns");
}

/* Device page faults of pages that are there */

static unsigned long hmm_bench_end(const struct hmm_bench_dev *dev)
{
	return dev->base + dev->pages * PAGE_SIZE;
}

/* From a range in flight to entries in the device's table */
static void hmm_bench_fault(struct hmm_bench_dev *dev)
{
	bool valid;

	do {
		if (hmm_mirror_range_fault(&dev->range, 0)) {
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

static void hmm_bench_map(struct hmm_bench_dev *dev, unsigned long n)
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

static void hmm_bench_map_kept(struct hmm_bench_dev *dev, unsigned long n)
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

static int hmm_bench_interval_insert(struct hmm_bench_dev *dev)
{
	dev->interval.dev = dev;
	return mmu_interval_notifier_insert(&dev->interval.notifier, dev->mm,
					    dev->base, dev->pages * PAGE_SIZE,
					    &hmm_bench_interval_sleeping_ops);
}

static void hmm_bench_interval_map(struct hmm_bench_dev *dev, unsigned long n)
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

static void hmm_bench_interval_map_kept(struct hmm_bench_dev *dev,
					unsigned long n)
{
	for (; n; n--)
		hmm_bench_interval_fault(dev);
}

/* Give @dev memory where the device's addresses are; @huge: in one piece */
static void hmm_bench_memory(struct kunit *test, struct hmm_bench_dev *dev,
			     bool huge)
{
	unsigned long addr, size = dev->pages * PAGE_SIZE;
	int ret = 0;

	dev->base = ALIGN(dev->base, PMD_SIZE);
	dev->range.range = (struct hmm_range){
		.start = dev->base,
		.end = hmm_bench_end(dev),
		.hmm_pfns = dev->pfns,
		.default_flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE,
	};

	kthread_use_mm(dev->mm);
	addr = vm_mmap(NULL, dev->base, size, PROT_READ | PROT_WRITE,
		       MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED, 0);
	if (huge)
		ret = do_madvise(dev->mm, dev->base, size, MADV_HUGEPAGE);
	kthread_unuse_mm(dev->mm);
	KUNIT_ASSERT_EQ(test, addr, dev->base);
	KUNIT_ASSERT_EQ(test, ret, 0);
}

static void hmm_bench_do_map(struct kunit *test, const char *what,
			     unsigned long pages, unsigned long n, bool huge)
{
	struct hmm_bench_side sides[] = {
		{ hmm_bench_ours(test, &hmm_bench_sleeping, pages),
		  hmm_bench_map },
		{ hmm_bench_dev(test, pages), hmm_bench_interval_map },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sides); i++)
		hmm_bench_memory(test, sides[i].dev, huge);
	hmm_bench_measure(sides, ARRAY_SIZE(sides), n, false);
	for (i = 0; huge && i < ARRAY_SIZE(sides); i++)
		KUNIT_EXPECT_EQ(test, hmm_pfn_to_map_order(sides[i].dev->pfns[0]),
				PMD_SHIFT - PAGE_SHIFT);
	hmm_bench_row(test, what, "interval-transient", &sides[0], &sides[1],
		      "ns");
}

static void hmm_bench_map_rows(struct kunit *test)
{
	hmm_bench_do_map(test, "row=map_1", 1, 1000, false);
	hmm_bench_do_map(test, "row=map_16", 16, 500, false);
	hmm_bench_do_map(test, "row=map_512", 512, 50, false);
}

static void hmm_bench_map_thp(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no huge pages in this kernel");
	hmm_bench_do_map(test, "row=map_thp", PMD_SIZE / PAGE_SIZE, 50, true);
}

KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_range_end, hmm_mirror_range_end,
			    struct hmm_mirror_range *);
KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_interval_remove,
			    mmu_interval_notifier_remove,
			    struct mmu_interval_notifier *);

/* A range, and a notifier, that are kept from fault to fault */
static void hmm_bench_keep(struct kunit *test, struct hmm_bench_dev *ours,
			   struct hmm_bench_dev *theirs)
{
	hmm_bench_memory(test, ours, false);
	KUNIT_ASSERT_EQ(test, 0,
			hmm_mirror_range_begin(&ours->range, &ours->mirror));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_bench_range_end,
						  &ours->range));

	hmm_bench_memory(test, theirs, false);
	KUNIT_ASSERT_EQ(test, 0, hmm_bench_interval_insert(theirs));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_bench_interval_remove,
						  &theirs->interval.notifier));
}

/* A notifier for faults anywhere */
static void hmm_bench_whole_mm(struct kunit *test, struct hmm_bench_dev *dev)
{
	dev->interval.dev = dev;
	KUNIT_ASSERT_EQ(test, 0,
			mmu_interval_notifier_insert(&dev->interval.notifier,
						     dev->mm, 0,
						     ULONG_MAX & PAGE_MASK,
						     &hmm_bench_interval_sleeping_ops));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_bench_interval_remove,
						  &dev->interval.notifier));
}

static void hmm_bench_map_1_persistent(struct kunit *test)
{
	struct hmm_bench_side sides[] = {
		{ hmm_bench_ours(test, &hmm_bench_sleeping, 1), hmm_bench_map_kept },
		{ hmm_bench_dev(test, 1), hmm_bench_interval_map_kept },
	};

	hmm_bench_keep(test, sides[0].dev, sides[1].dev);
	hmm_bench_measure(sides, ARRAY_SIZE(sides), 1000, false);
	hmm_bench_row(test, "row=map_1_persistent", "interval-kept", &sides[0],
		      &sides[1], "ns");
}

/*
 * Faults beside unrelated invalidations, which take hold_us each and come at such a
 * distance, in a thread that runs whenever it can.
 */

static int hmm_bench_storm(void *data)
{
	struct hmm_bench_dev *dev = data;
	struct mmu_notifier_range range;

	hmm_bench_range(&range, dev);
	while (!kthread_should_stop()) {
		mmu_notifier_invalidate_range_start(&range);
		usleep_range(dev->hold_us, dev->hold_us + 1);
		mmu_notifier_invalidate_range_end(&range);
		usleep_range(dev->hold_us, dev->hold_us + 1);
	}
	return 0;
}

KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_stop, kthread_stop, struct task_struct *);

static struct task_struct *hmm_bench_start_storm(struct kunit *test,
						 struct hmm_bench_dev *dev,
						 unsigned int hold_us)
{
	struct task_struct *task;

	dev->at = hmm_bench_end(dev) + PAGE_SIZE;
	dev->at_end = dev->at + PAGE_SIZE;
	dev->hold_us = hold_us;
	task = kthread_run(hmm_bench_storm, dev, "hmm_bench");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	sched_set_fifo(task);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_bench_stop, task));
	return task;
}

/* @faults of them, which sleep only when they wait for an invalidation */
static unsigned long hmm_bench_storm_waits(struct kunit *test,
					   struct hmm_bench_side *side,
					   unsigned long faults)
{
	struct task_struct *task = hmm_bench_start_storm(test, side->dev, 5);
	unsigned long slept = current->nvcsw;

	side->op(side->dev, faults);
	slept = current->nvcsw - slept;
	kunit_release_action(test, hmm_bench_stop, task);
	return slept;
}

static void hmm_bench_false_retries(struct kunit *test)
{
	struct hmm_bench_side sides[] = {
		{ hmm_bench_ours(test, &hmm_bench_sleeping, 1), hmm_bench_map },
		{ hmm_bench_dev(test, 1), hmm_bench_interval_map_kept },
	};
	unsigned long waits[ARRAY_SIZE(sides)];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sides); i++)
		hmm_bench_memory(test, sides[i].dev, false);
	hmm_bench_whole_mm(test, sides[1].dev);
	for (i = 0; i < ARRAY_SIZE(sides); i++)
		waits[i] = hmm_bench_storm_waits(test, &sides[i], 100000);

	hmm_bench_count(test, "row=false_retries", "interval-whole",
			sides[0].dev->retries, sides[1].dev->retries,
			"per-100k-faults");
	hmm_bench_count(test, "row=false_waits", "interval-whole", waits[0],
			waits[1], "per-100k-faults");
	KUNIT_EXPECT_EQ(test, sides[0].dev->errors, 0);
	KUNIT_EXPECT_EQ(test, sides[1].dev->errors, 0);
}

/* The worst of the faults of half a second, while invalidations take 2 ms */
static u64 hmm_bench_worst(struct kunit *test, struct hmm_bench_side *side)
{
	unsigned long until = jiffies + HZ / 2;
	struct task_struct *task;
	u64 t, worst = 0;

	task = hmm_bench_start_storm(test, side->dev, 2000);
	do {
		t = ktime_get_ns();
		side->op(side->dev, 1);
		worst = max(worst, ktime_get_ns() - t);
		usleep_range(100, 200);
	} while (time_before(jiffies, until));
	kunit_release_action(test, hmm_bench_stop, task);
	return worst;
}

static void hmm_bench_fault_wait_tail(struct kunit *test)
{
	struct hmm_bench_side sides[] = {
		{ hmm_bench_ours(test, &hmm_bench_sleeping, 1), hmm_bench_map },
		{ hmm_bench_dev(test, 1), hmm_bench_interval_map_kept },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sides); i++) {
		hmm_bench_memory(test, sides[i].dev, false);
		if (i)
			hmm_bench_whole_mm(test, sides[i].dev);
		sides[i].op(sides[i].dev, HMM_BENCH_FEW);	/* warm up */
	}
	hmm_bench_count(test, "row=fault_wait_tail", "interval-whole",
			hmm_bench_worst(test, &sides[0]),
			hmm_bench_worst(test, &sides[1]), "wait-ns");
}

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
	unsigned long addr = dev->range.range.start;
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
		if (pfn & HMM_PFN_WRITE)
			*entry |= HMM_BENCH_ENTRY_WRITE;
	}
}

/* What is faulted once is committed again and again, as nothing invalidates it */
static void hmm_bench_commits(struct hmm_bench_dev *dev, unsigned long n)
{
	if (hmm_mirror_range_begin(&dev->range, &dev->mirror)) {
		dev->errors++;
		return;
	}
	dev->errors += !!hmm_mirror_range_fault(&dev->range, 0);
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

static void hmm_bench_rust(struct kunit *test)
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
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_bench_unregister_rust,
						  ours->rust));

	hmm_bench_inval(test, "row=rust_dispatch", "C", ours, theirs, 1000, true);

	sides[0].dev = ours;
	sides[1].dev = theirs;
	hmm_bench_measure(sides, ARRAY_SIZE(sides), 1000, false);
	hmm_bench_row(test, "row=rust_commit", "C", &sides[0], &sides[1], "ns");
}

/* What stays when 10 000 pages have been faulted, one by one, and are mapped */
static void hmm_bench_memory_10k(struct kunit *test)
{
	hmm_bench_count(test, "row=memory_10k", "interval-each", 0,
			10000 * sizeof(struct mmu_interval_notifier), "bytes");
}

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
	/* Let what was put be freed outside of what is measured */
	mmu_notifier_synchronize();
	for (; n; n--, dev++)
		mmput(dev->mm);
}

static void hmm_bench_op_register(struct hmm_bench_dev *dev, unsigned long n)
{
	for (; n; n--, dev++)
		dev->errors += !!hmm_bench_do_register(&dev->mirror, dev->mm,
						       &hmm_bench_sleeping);
}

static void hmm_bench_op_register_atomic(struct hmm_bench_dev *dev,
					 unsigned long n)
{
	for (; n; n--, dev++)
		dev->errors += !!hmm_bench_do_register(&dev->mirror, dev->mm,
						       &hmm_bench_atomic);
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

#define HMM_BENCH_UNDO(fn)						\
static void fn##_undo(struct hmm_bench_dev *dev, unsigned long n)	\
{									\
	fn(dev, n);							\
	hmm_bench_after_unregister(dev, n);				\
}

#define HMM_BENCH_REDO(fn)						\
static void fn##_redo(struct hmm_bench_dev *dev, unsigned long n)	\
{									\
	hmm_bench_before_register(dev, n);				\
	fn(dev, n);							\
}

HMM_BENCH_UNDO(hmm_bench_op_unregister)
HMM_BENCH_UNDO(hmm_bench_op_bare_unregister)
HMM_BENCH_UNDO(hmm_bench_op_remove)
HMM_BENCH_REDO(hmm_bench_op_register)
HMM_BENCH_REDO(hmm_bench_op_bare_register)
HMM_BENCH_REDO(hmm_bench_op_insert)

static void hmm_bench_registration(struct kunit *test)
{
	const size_t size = sizeof(struct hmm_bench_dev);
	/* Not on the stack: both are too much for that of a 32-bit machine. */
	static struct hmm_bench_side on[] = {
		{ .op = hmm_bench_op_register,
		  .after = hmm_bench_op_unregister_undo },
		{ .op = hmm_bench_op_register_atomic,
		  .after = hmm_bench_op_unregister_undo },
		{ .op = hmm_bench_op_bare_register,
		  .after = hmm_bench_op_bare_unregister_undo },
		{ .op = hmm_bench_op_insert,
		  .after = hmm_bench_op_remove_undo },
	};
	static struct hmm_bench_side off[] = {
		{ .before = hmm_bench_op_register_redo,
		  .op = hmm_bench_op_unregister },
		{ .before = hmm_bench_op_bare_register_redo,
		  .op = hmm_bench_op_bare_unregister },
		{ .before = hmm_bench_op_insert_redo,
		  .op = hmm_bench_op_remove },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(on); i++) {
		on[i].dev = hmm_bench_alloc(test, HMM_BENCH_FEW, size);
		on[i].before = hmm_bench_before_register;
	}
	for (i = 0; i < ARRAY_SIZE(off); i++) {
		off[i].dev = hmm_bench_alloc(test, HMM_BENCH_FEW, size);
		off[i].after = hmm_bench_after_unregister;
	}
	hmm_bench_measure(on, ARRAY_SIZE(on), HMM_BENCH_FEW, false);
	hmm_bench_measure(off, ARRAY_SIZE(off), HMM_BENCH_FEW, false);

	hmm_bench_row(test, "row=register", "bare", &on[0], &on[2], "ns");
	hmm_bench_row(test, "row=register", "interval", &on[0], &on[3], "ns");
	hmm_bench_row(test, "row=register_atomic", "bare", &on[1], &on[2], "ns");
	hmm_bench_row(test, "row=unregister", "bare", &off[0], &off[1], "wait-ns");
	hmm_bench_row(test, "row=unregister", "interval", &off[0], &off[2],
		      "wait-ns");
}

/* Devices that need time to flush */

static void hmm_bench_wait_until(u64 time)
{
	while (ktime_get_ns() < time)
		cpu_relax();
}

static void hmm_bench_mirror_flush(struct hmm_mirror *mirror,
				   const struct hmm_update *update)
{
	hmm_bench_wait_until(ktime_get_ns() + HMM_BENCH_FLUSH_NS);
}

static u64 hmm_bench_mirror_flush_start(struct hmm_mirror *mirror,
					const struct hmm_update *update)
{
	return ktime_get_ns() + HMM_BENCH_FLUSH_NS;
}

static void hmm_bench_mirror_flush_finish(struct hmm_mirror *mirror,
					  const struct hmm_update *update,
					  u64 fence)
{
	hmm_bench_wait_until(fence);
}

static const struct hmm_mirror_ops hmm_bench_one_pass = {
	.invalidate = hmm_bench_mirror_flush,
	.flags = HMM_MIRROR_ATOMIC,
};

static const struct hmm_mirror_ops hmm_bench_two_pass = {
	.invalidate_start = hmm_bench_mirror_flush_start,
	.invalidate_finish = hmm_bench_mirror_flush_finish,
	.flags = HMM_MIRROR_ATOMIC,
};

static void hmm_bench_two_pass_8(struct kunit *test)
{
	struct hmm_bench_side sides[] = {
		{ hmm_bench_many(test, 8, &hmm_bench_two_pass),
		  hmm_bench_invalidate },
		{ hmm_bench_many(test, 8, &hmm_bench_one_pass),
		  hmm_bench_invalidate },
	};

	hmm_bench_measure(sides, ARRAY_SIZE(sides), HMM_BENCH_FEW, true);
	hmm_bench_row(test, "row=two_pass_8", "one-pass", &sides[0], &sides[1],
		      "wait-ns");
}

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

static void hmm_bench_curve_mirrors(struct kunit *test)
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
static void hmm_bench_curve_mapped(struct kunit *test)
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
static void hmm_bench_curve_in_flight(struct kunit *test)
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
		KUNIT_ASSERT_EQ(test, 0,
				kunit_add_action_or_reset(test, hmm_bench_end_all,
							  dev));
		for (; dev->nr < n[i]; dev->nr++) {
			unsigned long start = dev->base + dev->nr * PAGE_SIZE;

			dev->ranges[dev->nr].range = (struct hmm_range){
				.start = start,
				.end = start + PAGE_SIZE,
				.hmm_pfns = dev->pfns,
			};
			KUNIT_ASSERT_EQ(test, 0,
					hmm_mirror_range_begin(&dev->ranges[dev->nr],
							       &dev->mirror));
		}
		hmm_bench_point(test, "in_flight", "interval-each", n[i], sides,
				1000, false);
	}
}

/* Invalidations that go on at the same time, this one counted */
static void hmm_bench_curve_active(struct kunit *test)
{
	struct hmm_bench_side sides[] = {
		{ hmm_bench_ours(test, &hmm_bench_sleeping, 1),
		  hmm_bench_invalidate },
		{ hmm_bench_whole(test, &hmm_bench_interval_sleeping_ops, 1),
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

static void hmm_bench_curve_pages(struct kunit *test)
{
	static const unsigned int n[] = { 1, 4, 16, 64, 256, 1024 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(n); i++) {
		char what[40];

		snprintf(what, sizeof(what), "curve=pages n=%u", n[i]);
		hmm_bench_do_map(test, what, n[i], 20, false);
	}
}

static struct kunit_case hmm_bench_cases[] = {
	KUNIT_CASE_SLOW(hmm_bench_inval_one),
	KUNIT_CASE_SLOW(hmm_bench_inval_one_atomic),
	KUNIT_CASE_SLOW(hmm_bench_inval_floor),
	KUNIT_CASE_SLOW(hmm_bench_inval_floor_atomic),
	KUNIT_CASE_SLOW(hmm_bench_inval_10k),
	KUNIT_CASE_SLOW(hmm_bench_mirrors_slope),
	KUNIT_CASE_SLOW(hmm_bench_map_rows),
	KUNIT_CASE_SLOW(hmm_bench_map_thp),
	KUNIT_CASE_SLOW(hmm_bench_map_1_persistent),
	KUNIT_CASE_SLOW(hmm_bench_false_retries),
	KUNIT_CASE_SLOW(hmm_bench_fault_wait_tail),
	KUNIT_CASE_SLOW(hmm_bench_rust),
	KUNIT_CASE_SLOW(hmm_bench_memory_10k),
	KUNIT_CASE_SLOW(hmm_bench_registration),
	KUNIT_CASE_SLOW(hmm_bench_two_pass_8),
	KUNIT_CASE_SLOW(hmm_bench_curve_mirrors),
	KUNIT_CASE_SLOW(hmm_bench_curve_mapped),
	KUNIT_CASE_SLOW(hmm_bench_curve_in_flight),
	KUNIT_CASE_SLOW(hmm_bench_curve_active),
	KUNIT_CASE_SLOW(hmm_bench_curve_pages),
	{}
};

static struct kunit_suite hmm_bench_suite = {
	.name = "hmm_bench",
	.test_cases = hmm_bench_cases,
};

kunit_test_suite(hmm_bench_suite);
