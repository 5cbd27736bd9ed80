/* SPDX-License-Identifier: GPL-2.0-or-later */
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
#ifndef _MM_HMM_BENCH_H
#define _MM_HMM_BENCH_H

#include <kunit/resource.h>
#include <kunit/test.h>
#include <linux/hmm.h>
#include <linux/mm_types.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>

#define HMM_BENCH_WARMUP	3
#define HMM_BENCH_ROUNDS	21
/* Repetitions in a round of what takes long, or makes things */
#define HMM_BENCH_FEW		8
/* Where invalidations are made that need no memory there */
#define HMM_BENCH_BASE		(4096 * PAGE_SIZE)
/* Of a device that flushes slowly */
#define HMM_BENCH_FLUSH_NS	20000
/* Jiffies for a fault */
#define HMM_BENCH_TIMEOUT	msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT)

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

	/* What these files keep of their own: bench_dma.c, bench_gpusvm.c */
	struct hmm_bench_dma *dma;
	struct hmm_bench_gpusvm *svm;
};

/* Measuring */

typedef void hmm_bench_fn(struct hmm_bench_dev *dev, unsigned long n);

struct hmm_bench_side {
	struct hmm_bench_dev *dev;
	hmm_bench_fn *op;		/* measured: do it @n times */
	hmm_bench_fn *before, *after;	/* not measured */
	struct hmm_bench_side *then;	/* measured next, or NULL */
	u64 ps[HMM_BENCH_ROUNDS];	/* for one of the @n */
};

struct hmm_bench_result {
	s64 min, median, max;
};

void hmm_bench_measure(struct hmm_bench_side *sides, unsigned int nr,
		       unsigned long n, bool atomic);
struct hmm_bench_result hmm_bench_slope(const struct hmm_bench_side *more,
					const struct hmm_bench_side *less,
					unsigned int n);
void hmm_bench_print(struct kunit *test, const char *what, const char *peer,
		     struct hmm_bench_result ours,
		     struct hmm_bench_result theirs, const char *unit);
void hmm_bench_row(struct kunit *test, const char *what, const char *peer,
		   const struct hmm_bench_side *ours,
		   const struct hmm_bench_side *theirs, const char *unit);
void hmm_bench_count(struct kunit *test, const char *what, const char *peer,
		     u64 ours, u64 theirs, const char *unit);

/* Devices */

/* Call @undo at the end of the case */
void hmm_bench_defer(struct kunit *test, kunit_action_t *undo, void *data);
void *hmm_bench_alloc(struct kunit *test, unsigned long n, size_t size);
struct mm_struct *hmm_bench_mm_alloc(void);
struct hmm_bench_dev *hmm_bench_dev(struct kunit *test, unsigned long pages);

/* Ours: a mirror */

extern const struct hmm_mirror_ops hmm_bench_sleeping;
extern const struct hmm_mirror_ops hmm_bench_atomic;
extern const struct hmm_mirror_ops hmm_bench_empty;
int hmm_bench_do_register(struct hmm_mirror *mirror, struct mm_struct *mm,
			  const struct hmm_mirror_ops *ops);
struct hmm_bench_dev *hmm_bench_ours(struct kunit *test,
				     const struct hmm_mirror_ops *ops,
				     unsigned long pages);
struct hmm_bench_dev *hmm_bench_many(struct kunit *test, unsigned long n,
				     const struct hmm_mirror_ops *ops);

/* Theirs: interval notifiers, and bare notifiers */

extern const struct mmu_interval_notifier_ops hmm_bench_interval_sleeping_ops;
extern const struct mmu_interval_notifier_ops hmm_bench_interval_atomic_ops;
extern const struct mmu_notifier_ops hmm_bench_bare_ops;
struct hmm_bench_dev *hmm_bench_whole(struct kunit *test,
				      const struct mmu_interval_notifier_ops *ops);
struct hmm_bench_dev *hmm_bench_intervals(struct kunit *test,
					  unsigned long pages);
struct hmm_bench_dev *hmm_bench_bare(struct kunit *test, unsigned long n);

/* Invalidations: what munmap() and the like call, and nothing else */

void hmm_bench_range(struct mmu_notifier_range *range,
		     struct hmm_bench_dev *dev);
void hmm_bench_invalidate(struct hmm_bench_dev *dev, unsigned long n);
void hmm_bench_inval(struct kunit *test, const char *what, const char *peer,
		     struct hmm_bench_dev *ours, struct hmm_bench_dev *theirs,
		     unsigned long n, bool atomic);

/* Device page faults of pages that are there */

static inline void hmm_bench_set_range(struct hmm_mirror_range *range,
				       unsigned long start, unsigned long end,
				       unsigned long *pfns, unsigned long flags)
{
	range->start = start;
	range->end = end;
	range->pfns = pfns;
	range->flags = flags;
}

unsigned long hmm_bench_end(const struct hmm_bench_dev *dev);
void hmm_bench_map(struct hmm_bench_dev *dev, unsigned long n);
void hmm_bench_map_kept(struct hmm_bench_dev *dev, unsigned long n);
int hmm_bench_interval_insert(struct hmm_bench_dev *dev);
void hmm_bench_interval_map(struct hmm_bench_dev *dev, unsigned long n);
void hmm_bench_interval_map_kept(struct hmm_bench_dev *dev, unsigned long n);
void hmm_bench_memory(struct kunit *test, struct hmm_bench_dev *dev, bool huge);
void hmm_bench_do_map(struct kunit *test, const char *what, unsigned long pages,
		      unsigned long n, bool huge);

/* Faults beside invalidations, which go on @hold_us long in a thread of their own */

void hmm_bench_retries(struct kunit *test, struct hmm_bench_side *side,
		       unsigned long faults);
u64 hmm_bench_worst(struct kunit *test, struct hmm_bench_side *side);

/* The device in Rust, which is in bench_rust.rs */

struct hmm_bench_rust;

/* A mirror of @mm for a device that uses @pages pages from @base; NULL on failure */
struct hmm_bench_rust *hmm_bench_rust_register(struct mm_struct *mm,
					       unsigned long base,
					       unsigned long pages);
void hmm_bench_rust_unregister(struct hmm_bench_rust *device);

/* Fault all of these pages, and commit them @n times; not 0 on failure */
int hmm_bench_rust_commits(struct hmm_bench_rust *device, unsigned long n);

/* The cases */

void hmm_bench_inval_one(struct kunit *test);
void hmm_bench_inval_atomic(struct kunit *test);
void hmm_bench_inval_floor(struct kunit *test);
void hmm_bench_inval_10k(struct kunit *test);
void hmm_bench_mirrors_slope(struct kunit *test);
void hmm_bench_map_rows(struct kunit *test);
void hmm_bench_map_thp(struct kunit *test);
void hmm_bench_map_1_persistent(struct kunit *test);
void hmm_bench_beside_storm(struct kunit *test);
void hmm_bench_exit_beside(struct kunit *test);
void hmm_bench_rust(struct kunit *test);
void hmm_bench_registration(struct kunit *test);
void hmm_bench_two_pass_8(struct kunit *test);
void hmm_bench_curve_mirrors(struct kunit *test);
void hmm_bench_curve_mapped(struct kunit *test);
void hmm_bench_curve_in_flight(struct kunit *test);
void hmm_bench_curve_active(struct kunit *test);
void hmm_bench_curve_pages(struct kunit *test);

#endif /* _MM_HMM_BENCH_H */
