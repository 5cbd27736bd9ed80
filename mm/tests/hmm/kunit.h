/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KUnit tests of HMM mirroring.
 *
 * Address spaces, page faults, munmap() and madvise() are real: the tests make
 * mm_structs of their own, and their threads use them as kthreads may.  Where a
 * test needs an invalidation that stays open, is nested, or must not block, it
 * makes one by mmu_notifier_invalidate_range_start() itself.
 *
 * A failed assertion ends the thread of the test where it is.  What has to be
 * undone is a deferred action therefore, in the order that a driver would follow:
 * helper threads, ranges, mirrors, address spaces.
 */
#ifndef _MM_HMM_KUNIT_H
#define _MM_HMM_KUNIT_H

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/hmm.h>
#include <linux/mm_types.h>
#include <linux/mmu_notifier.h>
#include <linux/spinlock.h>

/* Upper bound of what should be over at once; a test that hangs ends here */
#define HMM_TEST_PATIENCE	(10 * HZ)
/* How long a callback is held up, or what should be waiting is watched */
#define HMM_TEST_DELAY_MS	50

/* Where there is nothing to map: for invalidations that a test makes itself */
#define HMM_TEST_BASE		(16 * PAGE_SIZE * 16)

#define HMM_TEST_PAGES		8

struct hmm_test_job;

/* A WARN_ON_ONCE() without GENERIC_BUG is used up even while it is suppressed */
#ifdef kunit_warning_suppress
static inline void hmm_test_needs_warnings(struct kunit *test)
{
}

#define HMM_TEST_WARNS(test, statement)					\
do {									\
	struct kunit *__test = (test);					\
									\
	kunit_warning_suppress(__test) {				\
		statement;						\
		if (IS_ENABLED(CONFIG_GENERIC_BUG))			\
			KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(__test, 1); \
	}								\
} while (0)
#else
static inline void hmm_test_needs_warnings(struct kunit *test)
{
	kunit_skip(test, "a WARNING would taint this kernel");
}

#define HMM_TEST_WARNS(test, statement)					\
do {									\
	hmm_test_needs_warnings(test);					\
	statement;							\
} while (0)
#endif

/* Address spaces */

struct mm_struct *hmm_test_mm(struct kunit *test);
void hmm_test_kill(struct kunit *test, struct mm_struct *mm);
struct hmm_test_job *hmm_test_kill_job(struct kunit *test, struct mm_struct *mm);
bool hmm_test_mm_count_falls_to(struct mm_struct *mm, int count);

/* Is the mmap lock held for write? */
bool hmm_test_mmap_write_locked(struct mm_struct *mm);
/* The mmap lock is not held by anybody */
void hmm_test_expect_unlocked(struct kunit *test, struct mm_struct *mm);

/* These assert that it can be done */
unsigned long hmm_test_map(struct kunit *test, struct mm_struct *mm,
			   unsigned long pages, unsigned long prot);
void hmm_test_unmap(struct kunit *test, struct mm_struct *mm,
		    unsigned long addr, unsigned long pages);
void hmm_test_discard(struct kunit *test, struct mm_struct *mm,
		      unsigned long addr, unsigned long pages);
void hmm_test_write(struct kunit *test, struct mm_struct *mm,
		    unsigned long addr, u32 value);
u32 hmm_test_read(struct kunit *test, struct mm_struct *mm, unsigned long addr);

struct page *hmm_test_page(struct kunit *test, struct mm_struct *mm,
			   unsigned long addr);
bool hmm_test_mapped(struct page *page);
u32 hmm_test_peek(struct page *page);
void hmm_test_poke(struct page *page, u32 value);

/* Helper threads */

struct hmm_test_job {
	int (*fn)(void *arg);
	void *arg;
	int ret;
	struct completion done;
	struct task_struct *task;
};

struct hmm_test_job *hmm_test_job(struct kunit *test, int (*fn)(void *),
				  void *arg);
void hmm_test_await(struct kunit *test, struct completion *completion);
void hmm_test_finish(struct kunit *test, struct hmm_test_job *job);

/* Invalidations made by the test, at addresses where nothing needs to be mapped */

void hmm_test_start(struct mmu_notifier_range *inv, struct mm_struct *mm,
		    unsigned long addr, unsigned long pages);
int hmm_test_start_nonblock(struct mmu_notifier_range *inv,
			    struct mm_struct *mm, unsigned long addr,
			    unsigned long pages);
void hmm_test_end(struct mmu_notifier_range *inv);
void hmm_test_invalidate(struct mm_struct *mm, unsigned long addr,
			 unsigned long pages);

/* Fake devices */

/* What a callback was told */
struct hmm_test_update {
	unsigned long start;
	unsigned long end;
	enum mmu_notifier_event event;
	bool blockable;
};

struct hmm_test_dev {
	struct hmm_mirror mirror;
	struct mm_struct *mm;		/* registered on, or to be */
	unsigned long addr;		/* see hmm_test_setup() */
	spinlock_t lock;		/* the "driver's lock" */

	unsigned int calls;		/* callbacks begun, and ended */
	unsigned int done;
	unsigned int syncs;		/* of these, by the 2017 callback */
	unsigned int afters;		/* of these, by invalidate_end() */
	unsigned int refused;		/* of these, as they must not block */
	unsigned int released;
	struct task_struct *releaser;
	struct hmm_test_update last;

	bool gone;			/* unregistered, so there must be no call */
	unsigned int late;

	struct completion entered;	/* a callback was */
	bool hold;			/* hold the next one up, ... */
	struct completion go_on;	/* ... until this */

	struct page *watch;		/* must still be mapped in a callback */
	unsigned int unmapped;

	struct hmm_mirror_range *range;	/* must be stale in a callback */
	unsigned int fresh;

	bool probe;			/* begin a range in the callback */
	unsigned int probes_valid;

	struct hmm_test_dev *peer;	/* must be invalidated before release */
	unsigned int early;

	/* For kunit_two_pass.c */
	bool nothing_to_flush;
	unsigned int finishes;
	unsigned int wrong;		/* finished what was not started so */
	unsigned int started_at;
	unsigned int finished_at;
};

extern const struct hmm_mirror_ops hmm_test_ops;
extern const struct hmm_mirror_ops hmm_test_atomic_ops;
extern const struct hmm_mirror_ops hmm_test_end_ops;
extern const struct hmm_mirror_ops hmm_test_2017_ops;
extern const struct hmm_mirror_ops hmm_test_both_ops;

/* Skips a case of what is not so, or not possible, on the list: see hmm_list.c */
void hmm_test_not_on_list(struct kunit *test);

/* For callbacks of other ops; @update is NULL for the release */
struct hmm_test_dev *hmm_test_enter(struct hmm_mirror *mirror,
				    const struct mmu_notifier_range *update);
void hmm_test_leave(struct hmm_test_dev *dev);

struct hmm_test_dev *hmm_test_dev(struct kunit *test, struct mm_struct *mm,
				  const struct hmm_mirror_ops *ops);
int hmm_test_try_register(struct hmm_test_dev *dev);
void hmm_test_register(struct kunit *test, struct hmm_test_dev *dev);
void hmm_test_unregister(struct kunit *test, struct hmm_test_dev *dev);
struct hmm_test_job *hmm_test_invalidate_job(struct kunit *test,
					     struct hmm_test_dev *dev);
struct hmm_test_job *hmm_test_unregister_job(struct kunit *test,
					     struct hmm_test_dev *dev);
struct hmm_test_dev *hmm_test_mirror(struct kunit *test, struct mm_struct *mm,
				     const struct hmm_mirror_ops *ops);
struct hmm_test_dev *hmm_test_setup(struct kunit *test);
bool hmm_test_busy(struct hmm_test_dev *dev, unsigned long addr,
		   unsigned long pages);
void hmm_test_expect_idle(struct kunit *test, struct hmm_test_dev *dev);

/* Device page faults.  What a range consists of is known here, and nowhere else */

static inline void hmm_test_range_set(struct hmm_mirror_range *range,
				      unsigned long start, unsigned long end)
{
	range->start = start;
	range->end = end;
}

static inline void hmm_test_range_set_flags(struct hmm_mirror_range *range,
					    unsigned long flags,
					    unsigned long mask)
{
	range->flags = flags;
	range->pfn_flags_mask = mask;
}

static inline void hmm_test_range_set_pfns(struct hmm_mirror_range *range,
					   unsigned long *pfns)
{
	range->pfns = pfns;
}

static inline unsigned long *hmm_test_pfns(const struct hmm_mirror_range *range)
{
	return range->pfns;
}

static inline bool hmm_test_in_flight(const struct hmm_mirror_range *range)
{
	return range->hmm;
}

/* Has nothing hit the range since it was begun, or read? */
static inline bool hmm_test_armed(const struct hmm_mirror_range *range)
{
	return __hmm_mirror_range_armed(range);
}

struct hmm_mirror_range *hmm_test_range(struct kunit *test, unsigned long addr,
					unsigned long pages, unsigned long flags);
struct hmm_mirror_range *hmm_test_begin(struct kunit *test,
					struct hmm_test_dev *dev,
					unsigned long addr, unsigned long pages,
					unsigned long flags);
struct hmm_mirror_range *hmm_test_snapshot(struct kunit *test,
					   struct hmm_test_dev *dev,
					   unsigned long addr,
					   unsigned long pages);
bool hmm_test_valid(struct hmm_mirror_range *range);
void hmm_test_fault(struct kunit *test, struct hmm_mirror_range *range);
int hmm_test_fault_once(struct kunit *test, struct hmm_test_dev *dev,
			unsigned long addr, unsigned long pages,
			unsigned long flags);
struct hmm_test_job *hmm_test_fault_job(struct kunit *test,
					struct hmm_mirror_range *range,
					unsigned long timeout);

/* A mapping that needs somebody to fill it in; set up anew by each use of it */

extern struct hmm_test_filler {
	struct page *page;
	bool filled;
	unsigned int flags;	/* of the page fault that had it filled in */
	unsigned int asked;	/* how often somebody was to wait for that */
	unsigned int never;	/* nobody fills it in; milliseconds until a fault waits for it */
	unsigned long collide;	/* until then, in jiffies, with each fault instead */
	bool unlocked;		/* with each without the mmap lock for write, too */
	struct hmm_mirror_range *range;	/* must not be valid while it is faulted in */
	bool valid;
	unsigned int bad;	/* how often it is tried to read what cannot be read */
	bool foreign;		/* no memory of the kernel's */
	bool completes;		/* drops the lock, and needs not be tried again */
	bool nothing;		/* nothing comes, and no error either */
	unsigned int faults;	/* how often it was faulted in */
	struct completion entered;	/* a page fault was */
	bool hold;		/* hold the next one up, ... */
	struct completion go_on;	/* ... until this, with the mmap lock */
} hmm_test_filler;

unsigned long hmm_test_map_filler(struct kunit *test, struct mm_struct *mm);

#endif /* _MM_HMM_KUNIT_H */
