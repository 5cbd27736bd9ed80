// SPDX-License-Identifier: GPL-2.0-or-later
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
#include <kunit/resource.h>
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/spinlock.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>
#include <trace/events/hmm.h>

/* Upper bound of what should be over at once; a test that hangs ends here */
#define HMM_TEST_PATIENCE	(10 * HZ)
/* How long a callback is held up, or what should be waiting is watched */
#define HMM_TEST_DELAY_MS	50

/* Where there is nothing to map: for invalidations that a test makes itself */
#define HMM_TEST_BASE		(16 * PAGE_SIZE * 16)

#define HMM_TEST_PAGES		8

/* A WARN_ON_ONCE() without GENERIC_BUG is used up even while it is suppressed */
#ifdef kunit_warning_suppress
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
#define HMM_TEST_WARNS(test, statement)					\
do {									\
	kunit_skip(test, "a WARNING would taint this kernel");		\
	statement;							\
} while (0)
#endif

/* Address spaces */

KUNIT_DEFINE_ACTION_WRAPPER(hmm_test_mmput, mmput, struct mm_struct *);
KUNIT_DEFINE_ACTION_WRAPPER(hmm_test_mmdrop, mmdrop, struct mm_struct *);

/* Lives until hmm_test_kill() or the end of the test; the mm_struct for longer */
static struct mm_struct *hmm_test_mm(struct kunit *test)
{
	struct mm_struct *mm = mm_alloc();

	KUNIT_ASSERT_NOT_NULL(test, mm);
	mm->task_size = TASK_SIZE;
	arch_pick_mmap_layout(mm, &current->signal->rlim[RLIMIT_STACK]);

	mmgrab(mm);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, hmm_test_mmdrop,
							   mm));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, hmm_test_mmput,
							   mm));
	return mm;
}

static void hmm_test_kill(struct kunit *test, struct mm_struct *mm)
{
	kunit_release_action(test, hmm_test_mmput, mm);
}

/* Returns 0 or an address */
static unsigned long hmm_test_do_map(struct mm_struct *mm, unsigned long addr,
				     unsigned long pages, unsigned long prot)
{
	kthread_use_mm(mm);
	addr = vm_mmap(NULL, addr, pages * PAGE_SIZE, prot, MAP_ANONYMOUS |
		       MAP_PRIVATE | (addr ? MAP_FIXED : 0), 0);
	kthread_unuse_mm(mm);
	return IS_ERR_VALUE(addr) ? 0 : addr;
}

static unsigned long hmm_test_map(struct kunit *test, struct mm_struct *mm,
				  unsigned long pages, unsigned long prot)
{
	unsigned long addr = hmm_test_do_map(mm, 0, pages, prot);

	KUNIT_ASSERT_NE(test, addr, 0);
	return addr;
}

static unsigned long hmm_test_map_rw(struct kunit *test, struct mm_struct *mm)
{
	return hmm_test_map(test, mm, HMM_TEST_PAGES, PROT_READ | PROT_WRITE);
}

static int hmm_test_unmap(struct mm_struct *mm, unsigned long addr,
			  unsigned long pages)
{
	int ret;

	kthread_use_mm(mm);
	ret = vm_munmap(addr, pages * PAGE_SIZE);
	kthread_unuse_mm(mm);
	return ret;
}

static int hmm_test_discard(struct mm_struct *mm, unsigned long addr,
			    unsigned long pages)
{
	int ret;

	kthread_use_mm(mm);
	ret = do_madvise(mm, addr, pages * PAGE_SIZE, MADV_DONTNEED);
	kthread_unuse_mm(mm);
	return ret;
}

static int hmm_test_write(struct mm_struct *mm, unsigned long addr, u32 value)
{
	int ret;

	kthread_use_mm(mm);
	ret = put_user(value, (u32 __user *)addr);
	kthread_unuse_mm(mm);
	return ret;
}

static int hmm_test_read(struct mm_struct *mm, unsigned long addr, u32 *value)
{
	int ret;

	kthread_use_mm(mm);
	ret = get_user(*value, (u32 __user *)addr);
	kthread_unuse_mm(mm);
	return ret;
}

static u32 hmm_test_peek(struct page *page)
{
	u32 *data = kmap_local_page(page);
	u32 value = READ_ONCE(*data);

	kunmap_local(data);
	return value;
}

static void hmm_test_poke(struct page *page, u32 value)
{
	u32 *data = kmap_local_page(page);

	WRITE_ONCE(*data, value);
	kunmap_local(data);
}

KUNIT_DEFINE_ACTION_WRAPPER(hmm_test_put_page, put_page, struct page *);

/* Which page is it really?  get_user_pages() knows, and keeps it for the test */
static struct page *hmm_test_page(struct kunit *test, struct mm_struct *mm,
				  unsigned long addr)
{
	struct page *page;
	long ret;

	mmap_read_lock(mm);
	ret = get_user_pages_remote(mm, addr, 1, 0, &page, NULL);
	mmap_read_unlock(mm);
	KUNIT_ASSERT_EQ(test, ret, 1);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_test_put_page, page));
	return page;
}

static bool hmm_test_mapped(struct page *page)
{
	return folio_mapped(page_folio(page));
}

/* Is an mm_struct down to this many references, or will it be in a moment? */
static bool hmm_test_mm_count_falls_to(struct mm_struct *mm, int count)
{
	unsigned long deadline = jiffies + HMM_TEST_PATIENCE;

	while (atomic_read(&mm->mm_count) > count) {
		if (time_after(jiffies, deadline))
			return false;
		mmu_notifier_synchronize();
		usleep_range(500, 2000);
	}
	return true;
}

/* Helper threads */

struct hmm_test_job {
	int (*fn)(void *arg);
	void *arg;
	int ret;
	struct completion done;
	struct task_struct *task;
};

static int hmm_test_job_thread(void *data)
{
	struct hmm_test_job *job = data;

	job->ret = job->fn(job->arg);
	complete_all(&job->done);
	while (!kthread_should_stop())
		schedule_timeout_idle(1);
	return 0;
}

KUNIT_DEFINE_ACTION_WRAPPER(hmm_test_job_stop, kthread_stop,
			    struct task_struct *);

/* What a job runs must come to an end by itself, however the test fares */
static struct hmm_test_job *hmm_test_job(struct kunit *test, int (*fn)(void *),
					 void *arg)
{
	struct hmm_test_job *job = kunit_kzalloc(test, sizeof(*job), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, job);
	job->fn = fn;
	job->arg = arg;
	init_completion(&job->done);
	job->task = kthread_run(hmm_test_job_thread, job, "hmm_kunit");
	KUNIT_ASSERT_FALSE(test, IS_ERR(job->task));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, hmm_test_job_stop,
							   job->task));
	return job;
}

static void hmm_test_finish(struct kunit *test, struct hmm_test_job *job)
{
	KUNIT_ASSERT_NE_MSG(test, 0, wait_for_completion_timeout(&job->done,
								 HMM_TEST_PATIENCE),
			    "a helper thread hangs");
}

/* Fake devices */

struct hmm_test_dev {
	struct hmm_mirror mirror;
	spinlock_t lock;		/* the "driver's lock" */

	unsigned int calls;		/* callbacks begun, and ended */
	unsigned int done;
	unsigned int syncs;		/* of these, by the 2017 callback */
	unsigned int released;
	struct task_struct *releaser;
	struct hmm_update last;

	bool gone;			/* unregistered, so there must be no call */
	unsigned int late;

	unsigned int delay_ms;		/* hold callbacks up for that long */
	struct completion entered;

	struct page *watch;		/* must still be mapped in a callback */
	unsigned int unmapped;

	struct hmm_mirror_range *range;	/* must be stale in a callback */
	unsigned int fresh;

	bool probe;			/* begin a range in the callback */
	unsigned int probes_valid;

	struct hmm_test_dev *peer;	/* must be invalidated before release */
	unsigned int early;
};

/* Does an invalidation of [start, end) go on, as far as the registry knows? */
static bool hmm_test_busy(struct hmm_test_dev *dev, unsigned long start,
			  unsigned long end)
{
	unsigned long pfn;
	struct hmm_mirror_range range = {
		.range = {
			.start = start,
			.end = end,
			.hmm_pfns = &pfn,
		},
	};
	bool busy;

	if (hmm_mirror_range_begin(&range, &dev->mirror))
		return true;
	busy = !hmm_mirror_range_valid(&range);
	hmm_mirror_range_end(&range);
	return busy;
}

static void hmm_test_enter(struct hmm_test_dev *dev)
{
	spin_lock(&dev->lock);
	dev->calls++;
	dev->late += dev->gone;
	if (dev->watch)
		dev->unmapped += !hmm_test_mapped(dev->watch);
	spin_unlock(&dev->lock);

	complete_all(&dev->entered);
	if (dev->delay_ms)
		msleep(dev->delay_ms);
}

static void hmm_test_leave(struct hmm_test_dev *dev)
{
	spin_lock(&dev->lock);
	dev->done++;
	dev->late += dev->gone;
	spin_unlock(&dev->lock);
}

static void hmm_test_invalidate(struct hmm_mirror *mirror,
				const struct hmm_update *update)
{
	struct hmm_test_dev *dev = container_of(mirror, struct hmm_test_dev,
						mirror);

	hmm_test_enter(dev);
	spin_lock(&dev->lock);
	dev->last = *update;
	if (dev->range)
		dev->fresh += hmm_mirror_range_valid(dev->range);
	spin_unlock(&dev->lock);
	if (dev->probe)
		dev->probes_valid += !hmm_test_busy(dev, update->start,
						    update->end);
	hmm_test_leave(dev);
}

static void hmm_test_sync(struct hmm_mirror *mirror, enum hmm_update_type type,
			  unsigned long start, unsigned long end)
{
	struct hmm_test_dev *dev = container_of(mirror, struct hmm_test_dev,
						mirror);

	hmm_test_enter(dev);
	spin_lock(&dev->lock);
	if (type == HMM_UPDATE_INVALIDATE)
		dev->syncs++;
	dev->last = (struct hmm_update){ .start = start, .end = end };
	spin_unlock(&dev->lock);
	hmm_test_leave(dev);
}

static void hmm_test_release(struct hmm_mirror *mirror)
{
	struct hmm_test_dev *dev = container_of(mirror, struct hmm_test_dev,
						mirror);

	hmm_test_enter(dev);
	spin_lock(&dev->lock);
	dev->released++;
	dev->releaser = current;
	if (dev->last.event != MMU_NOTIFY_RELEASE)
		dev->early++;
	if (dev->peer && dev->peer->last.event != MMU_NOTIFY_RELEASE)
		dev->early++;
	spin_unlock(&dev->lock);
	hmm_test_leave(dev);
}

static const struct hmm_mirror_ops hmm_test_ops = {
	.invalidate = hmm_test_invalidate,
	.release = hmm_test_release,
};

static const struct hmm_mirror_ops hmm_test_atomic_ops = {
	.invalidate = hmm_test_invalidate,
	.release = hmm_test_release,
	.flags = HMM_MIRROR_ATOMIC,
};

static const struct hmm_mirror_ops hmm_test_2017_ops = {
	.sync_cpu_device_pagetables = hmm_test_sync,
};

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

static struct hmm_test_dev *hmm_test_dev(struct kunit *test,
					 const struct hmm_mirror_ops *ops)
{
	struct hmm_test_dev *dev = kunit_kzalloc(test, sizeof(*dev), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, dev);
	/* The registry must not rely on more than ops */
	memset(&dev->mirror, 0x5a, sizeof(dev->mirror));
	dev->mirror.ops = ops;
	spin_lock_init(&dev->lock);
	init_completion(&dev->entered);
	return dev;
}

static int hmm_test_try_register(struct hmm_test_dev *dev, struct mm_struct *mm)
{
	int ret;

	mmap_write_lock(mm);
	ret = hmm_mirror_register(&dev->mirror, mm);
	mmap_write_unlock(mm);
	return ret;
}

static void hmm_test_do_unregister(void *data)
{
	struct hmm_test_dev *dev = data;

	hmm_mirror_unregister(&dev->mirror);
	spin_lock(&dev->lock);
	dev->gone = true;
	spin_unlock(&dev->lock);
}

static void hmm_test_register(struct kunit *test, struct hmm_test_dev *dev,
			      struct mm_struct *mm)
{
	dev->gone = false;
	KUNIT_ASSERT_EQ(test, 0, hmm_test_try_register(dev, mm));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_test_do_unregister,
						  dev));
}

static void hmm_test_unregister(struct kunit *test, struct hmm_test_dev *dev)
{
	kunit_release_action(test, hmm_test_do_unregister, dev);
}

static struct hmm_test_dev *hmm_test_mirror(struct kunit *test,
					    struct mm_struct *mm,
					    const struct hmm_mirror_ops *ops)
{
	struct hmm_test_dev *dev = hmm_test_dev(test, ops);

	hmm_test_register(test, dev, mm);
	return dev;
}

/* Device page faults */

static void hmm_test_range_cleanup(void *data)
{
	struct hmm_mirror_range *range = data;

	if (range->hmm)
		hmm_mirror_range_end(range);
}

static struct hmm_mirror_range *hmm_test_range(struct kunit *test,
					       unsigned long addr,
					       unsigned long pages,
					       unsigned long flags)
{
	struct hmm_mirror_range *range;

	range = kunit_kzalloc(test, sizeof(*range), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, range);
	range->range.hmm_pfns = kunit_kcalloc(test, pages, sizeof(unsigned long),
					      GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, range->range.hmm_pfns);
	range->range.start = addr;
	range->range.end = addr + pages * PAGE_SIZE;
	range->range.default_flags = flags;
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_test_range_cleanup,
						  range));
	return range;
}

static struct hmm_mirror_range *hmm_test_begin(struct kunit *test,
					       struct hmm_test_dev *dev,
					       unsigned long addr,
					       unsigned long pages,
					       unsigned long flags)
{
	struct hmm_mirror_range *range = hmm_test_range(test, addr, pages, flags);

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_begin(range, &dev->mirror));
	return range;
}

static bool hmm_test_valid(struct hmm_test_dev *dev,
			   struct hmm_mirror_range *range)
{
	bool valid;

	spin_lock(&dev->lock);
	valid = hmm_mirror_range_valid(range);
	spin_unlock(&dev->lock);
	return valid;
}

/* Invalidations made by the test */

static void hmm_test_start(struct mmu_notifier_range *inv, struct mm_struct *mm,
			   unsigned long addr, unsigned long pages)
{
	mmu_notifier_range_init(inv, MMU_NOTIFY_CLEAR, 0, mm, addr,
				addr + pages * PAGE_SIZE);
	mmu_notifier_invalidate_range_start(inv);
}

static int hmm_test_start_nonblock(struct mmu_notifier_range *inv,
				   struct mm_struct *mm, unsigned long addr,
				   unsigned long pages)
{
	mmu_notifier_range_init(inv, MMU_NOTIFY_CLEAR, 0, mm, addr,
				addr + pages * PAGE_SIZE);
	return mmu_notifier_invalidate_range_start_nonblock(inv);
}

static void hmm_test_end(struct mmu_notifier_range *inv)
{
	mmu_notifier_invalidate_range_end(inv);
}

/* One invalidation, by munmap() */
static void hmm_test_unmap_one(struct kunit *test, struct mm_struct *mm)
{
	unsigned long addr = hmm_test_map(test, mm, 1, PROT_READ | PROT_WRITE);

	KUNIT_ASSERT_EQ(test, 0, hmm_test_write(mm, addr, 1));
	KUNIT_ASSERT_EQ(test, 0, hmm_test_unmap(mm, addr, 1));
}

/* Nothing may be left of invalidations that have ended */
static void hmm_test_expect_idle(struct kunit *test, struct hmm_test_dev *dev)
{
	KUNIT_EXPECT_FALSE(test, hmm_test_busy(dev, 0, TASK_SIZE & PAGE_MASK));
}

/*
 * Registering and unregistering
 */

static void hmm_register_bad_arguments(struct kunit *test)
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

static void hmm_register_dead_mm(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_dev(test, &hmm_test_ops);

	hmm_test_kill(test, mm);
	KUNIT_EXPECT_EQ(test, -ESRCH, hmm_test_try_register(dev, mm));
}

static void hmm_register_twice(struct kunit *test)
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

static void hmm_register_on_two_mms(struct kunit *test)
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

/* mm_take_all_locks() gives up on a signal, for the first mirror of either kind */
static void hmm_register_interrupted(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_dev(test, &hmm_test_ops);
	struct hmm_test_dev *atomic;
	int count, ret;

	hmm_test_map_rw(test, mm);
	count = atomic_read(&mm->mm_count);
	allow_signal(SIGUSR1);
	send_sig(SIGUSR1, current, 1);
	ret = hmm_test_try_register(dev, mm);
	flush_signals(current);
	KUNIT_EXPECT_EQ(test, -EINTR, ret);
	KUNIT_EXPECT_TRUE(test, hmm_test_mm_count_falls_to(mm, count));

	/* Now with the mirror's half done, and the other half missing */
	atomic = hmm_test_mirror(test, mm, &hmm_test_atomic_ops);
	count = atomic_read(&mm->mm_count);
	send_sig(SIGUSR1, current, 1);
	ret = hmm_test_try_register(dev, mm);
	flush_signals(current);
	disallow_signal(SIGUSR1);
	KUNIT_EXPECT_EQ(test, -EINTR, ret);
	KUNIT_EXPECT_TRUE(test, hmm_test_mm_count_falls_to(mm, count));
	KUNIT_EXPECT_EQ(test, dev->calls, 0);

	hmm_test_unregister(test, atomic);
	KUNIT_EXPECT_TRUE(test, hmm_test_mm_count_falls_to(mm, count - 1));

	/* And it can be tried again */
	hmm_test_register(test, dev, mm);
}

static int hmm_test_allocs_left;

static void *hmm_test_alloc(size_t size)
{
	return hmm_test_allocs_left-- > 0 ? kzalloc(size, GFP_KERNEL) : NULL;
}

static void hmm_register_out_of_memory(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	int count = atomic_read(&mm->mm_count);
	struct hmm_test_dev *dev = hmm_test_dev(test, &hmm_test_ops);
	int allowed;

	/* A mirror that may sleep takes two allocations; the second may fail too */
	kunit_activate_static_stub(test, hmm_mirror_alloc, hmm_test_alloc);
	for (allowed = 0; allowed < 2; allowed++) {
		hmm_test_allocs_left = allowed;
		KUNIT_EXPECT_EQ(test, -ENOMEM, hmm_test_try_register(dev, mm));
		KUNIT_EXPECT_TRUE(test, hmm_test_mm_count_falls_to(mm, count));
	}
	hmm_test_allocs_left = 2;
	hmm_test_register(test, dev, mm);
	kunit_deactivate_static_stub(test, hmm_mirror_alloc);

	hmm_test_unmap_one(test, mm);
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
}

static void hmm_unregister_twice(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);

	hmm_test_unregister(test, dev);
	HMM_TEST_WARNS(test, hmm_mirror_unregister(&dev->mirror));
}

/* One registry for an mm, which is gone when the last mirror is */
static void hmm_one_hmm_per_mm(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct mm_struct *other_mm = hmm_test_mm(test);
	int count = atomic_read(&mm->mm_count);
	struct hmm_test_dev *a = hmm_test_mirror(test, mm, &hmm_test_ops);
	int with_mirror = atomic_read(&mm->mm_count);
	struct hmm_test_dev *b = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_test_dev *other = hmm_test_mirror(test, other_mm,
						     &hmm_test_ops);

	KUNIT_EXPECT_PTR_EQ(test, a->mirror.hmm, b->mirror.hmm);
	KUNIT_EXPECT_PTR_NE(test, a->mirror.hmm, other->mirror.hmm);
	KUNIT_EXPECT_GT(test, with_mirror, count);
	KUNIT_EXPECT_EQ(test, with_mirror, atomic_read(&mm->mm_count));

	hmm_test_unregister(test, a);
	KUNIT_EXPECT_NULL(test, a->mirror.hmm);
	KUNIT_EXPECT_FALSE(test, hmm_test_busy(b, HMM_TEST_BASE,
					       HMM_TEST_BASE + PAGE_SIZE));
	hmm_test_unregister(test, b);
	KUNIT_EXPECT_TRUE(test, hmm_test_mm_count_falls_to(mm, count));

	/* And made anew */
	hmm_test_register(test, a, mm);
	KUNIT_EXPECT_EQ(test, with_mirror, atomic_read(&mm->mm_count));
}

static void hmm_several_mirrors(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct mm_struct *other_mm = hmm_test_mm(test);
	struct hmm_test_dev *a = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_test_dev *b = hmm_test_mirror(test, mm, &hmm_test_atomic_ops);
	struct hmm_test_dev *c = hmm_test_mirror(test, mm, &hmm_test_2017_ops);
	struct hmm_test_dev *other = hmm_test_mirror(test, other_mm,
						     &hmm_test_ops);

	hmm_test_unmap_one(test, mm);
	KUNIT_EXPECT_EQ(test, a->calls, 1);
	KUNIT_EXPECT_EQ(test, b->calls, 1);
	KUNIT_EXPECT_EQ(test, c->calls, 1);
	KUNIT_EXPECT_EQ(test, other->calls, 0);

	hmm_test_unregister(test, b);
	hmm_test_unmap_one(test, mm);
	KUNIT_EXPECT_EQ(test, a->calls, 2);
	KUNIT_EXPECT_EQ(test, b->calls, 1);
	KUNIT_EXPECT_EQ(test, c->calls, 2);

	hmm_test_unregister(test, c);
	hmm_test_unregister(test, a);
	hmm_test_unmap_one(test, mm);
	KUNIT_EXPECT_EQ(test, a->calls, 2);
	KUNIT_EXPECT_EQ(test, b->calls, 1);
	KUNIT_EXPECT_EQ(test, c->calls, 2);
	KUNIT_EXPECT_EQ(test, a->late + b->late + c->late, 0);

	hmm_test_register(test, b, mm);
	hmm_test_unmap_one(test, mm);
	KUNIT_EXPECT_EQ(test, b->calls, 2);
	KUNIT_EXPECT_EQ(test, other->calls, 0);
}

static int hmm_test_discard_job(void *data)
{
	struct hmm_mirror_range *range = data;

	return hmm_test_discard(range->notifier.mm, range->range.start,
				(range->range.end - range->range.start) >>
				PAGE_SHIFT);
}

static void hmm_unregister_waits_for_callback(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_mirror_range *area;
	struct hmm_test_job *job;
	unsigned long addr;

	addr = hmm_test_map_rw(test, mm);
	KUNIT_ASSERT_EQ(test, 0, hmm_test_write(mm, addr, 1));
	area = hmm_test_range(test, addr, HMM_TEST_PAGES, 0);
	area->notifier.mm = mm;

	dev->delay_ms = HMM_TEST_DELAY_MS;
	job = hmm_test_job(test, hmm_test_discard_job, area);
	KUNIT_ASSERT_NE(test, 0, wait_for_completion_timeout(&dev->entered,
							     HMM_TEST_PATIENCE));
	KUNIT_EXPECT_EQ(test, dev->done, 0);
	hmm_test_unregister(test, dev);
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
	KUNIT_EXPECT_EQ(test, dev->done, 1);

	hmm_test_finish(test, job);
	KUNIT_EXPECT_EQ(test, job->ret, 0);
	KUNIT_EXPECT_EQ(test, dev->late, 0);
}

static int hmm_test_unregister_job(void *dev)
{
	hmm_test_do_unregister(dev);
	return 0;
}

/* While a callback is waited for, an invalidation finds the mirror gone */
static void hmm_invalidate_while_unregistering(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_test_job *discard, *unregister;
	struct hmm_mirror_range *area;
	struct mmu_notifier_range inv;
	unsigned long addr;

	addr = hmm_test_map_rw(test, mm);
	KUNIT_ASSERT_EQ(test, 0, hmm_test_write(mm, addr, 1));
	area = hmm_test_range(test, addr, 1, 0);
	area->notifier.mm = mm;

	dev->delay_ms = 4 * HMM_TEST_DELAY_MS;
	discard = hmm_test_job(test, hmm_test_discard_job, area);
	KUNIT_ASSERT_NE(test, 0, wait_for_completion_timeout(&dev->entered,
							     HMM_TEST_PATIENCE));
	kunit_remove_action(test, hmm_test_do_unregister, dev);
	unregister = hmm_test_job(test, hmm_test_unregister_job, dev);
	msleep(HMM_TEST_DELAY_MS);
	hmm_test_start(&inv, mm, addr, 1);
	hmm_test_end(&inv);

	hmm_test_finish(test, discard);
	hmm_test_finish(test, unregister);
	KUNIT_EXPECT_EQ(test, dev->calls, dev->done);
	KUNIT_EXPECT_EQ(test, dev->late, 0);
}

/* A range in flight when its mirror goes: warned of, and out of harm's way */
static void hmm_unregister_with_range(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_test_dev *other = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_mirror_range *range, *others;
	struct mmu_notifier_range inv;

	range = hmm_test_begin(test, dev, HMM_TEST_BASE, 1, 0);
	others = hmm_test_begin(test, other, HMM_TEST_BASE, 1, 0);
	HMM_TEST_WARNS(test, hmm_test_unregister(test, dev));
	KUNIT_EXPECT_FALSE(test, hmm_mirror_range_valid(range));
	KUNIT_EXPECT_NULL(test, range->hmm);

	/* The other mirror's is as it was */
	KUNIT_EXPECT_TRUE(test, hmm_mirror_range_valid(others));
	hmm_test_start(&inv, mm, HMM_TEST_BASE, 1);
	hmm_test_end(&inv);
	KUNIT_EXPECT_FALSE(test, hmm_mirror_range_valid(others));
}

/*
 * What callbacks are told, and when
 */

static void hmm_invalidate_preferred(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_both_ops);

	hmm_test_unmap_one(test, mm);
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
	KUNIT_EXPECT_EQ(test, dev->syncs, 0);
}

static void hmm_update_contents(struct kunit *test)
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
static void hmm_called_before_page_goes(struct kunit *test)
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
static void hmm_update_covers_change(struct kunit *test)
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

/*
 * The end of the process
 */

static void hmm_exit_invalidates_then_releases(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *a = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_test_dev *b = hmm_test_mirror(test, mm, &hmm_test_atomic_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct page *page;

	a->peer = b;
	b->peer = a;
	KUNIT_ASSERT_EQ(test, 0, hmm_test_write(mm, addr, 1));
	page = hmm_test_page(test, mm, addr);
	a->watch = page;
	b->watch = page;
	KUNIT_ASSERT_TRUE(test, hmm_test_mapped(page));

	hmm_test_kill(test, mm);

	KUNIT_EXPECT_FALSE(test, hmm_test_mapped(page));
	KUNIT_EXPECT_EQ(test, a->released, 1);
	KUNIT_EXPECT_EQ(test, b->released, 1);
	/* One call to invalidate, one to release */
	KUNIT_EXPECT_EQ(test, a->calls, 2);
	KUNIT_EXPECT_EQ(test, b->calls, 2);
	KUNIT_EXPECT_EQ(test, a->last.event, MMU_NOTIFY_RELEASE);
	KUNIT_EXPECT_EQ(test, a->last.start, 0);
	KUNIT_EXPECT_EQ(test, a->last.end, ULONG_MAX);
	KUNIT_EXPECT_TRUE(test, a->last.blockable);
	KUNIT_EXPECT_NULL(test, a->last.owner);
	KUNIT_EXPECT_EQ(test, b->last.event, MMU_NOTIFY_RELEASE);
	/* Every invalidation came before any release, and both before the pages */
	KUNIT_EXPECT_EQ(test, a->early + b->early, 0);
	KUNIT_EXPECT_EQ(test, a->unmapped + b->unmapped, 0);
}

static void hmm_unregister_after_exit(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *a = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_test_dev *b = hmm_test_mirror(test, mm, &hmm_test_atomic_ops);

	hmm_test_kill(test, mm);
	mmu_notifier_synchronize();
	KUNIT_EXPECT_EQ(test, a->released, 1);
	KUNIT_EXPECT_EQ(test, b->released, 1);

	hmm_test_unregister(test, a);
	hmm_test_unregister(test, b);
	KUNIT_EXPECT_EQ(test, a->released, 1);
	KUNIT_EXPECT_EQ(test, b->released, 1);
	KUNIT_EXPECT_EQ(test, a->late + b->late, 0);

	/* One is the test's: the mirrors have kept nothing */
	KUNIT_EXPECT_TRUE(test, hmm_test_mm_count_falls_to(mm, 1));
}

static int hmm_test_mmput_job(void *mm)
{
	mmput(mm);
	return 0;
}

static void hmm_unregister_during_exit(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_test_job *job;

	/* The job drops the last reference in the test's stead */
	dev->delay_ms = HMM_TEST_DELAY_MS;
	kunit_remove_action(test, hmm_test_mmput, mm);
	job = hmm_test_job(test, hmm_test_mmput_job, mm);
	KUNIT_ASSERT_NE(test, 0, wait_for_completion_timeout(&dev->entered,
							     HMM_TEST_PATIENCE));
	hmm_test_unregister(test, dev);
	/* Gone while its invalidation ran, it may or may not see the release */
	KUNIT_EXPECT_GE(test, dev->calls, 1);
	KUNIT_EXPECT_EQ(test, dev->done, dev->calls);
	hmm_test_finish(test, job);
	KUNIT_EXPECT_LE(test, dev->released, 1);
	KUNIT_EXPECT_EQ(test, dev->late, 0);
}

static void hmm_fault_after_exit(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct hmm_mirror_range *before, *after;

	before = hmm_test_begin(test, dev, addr, 1, HMM_PFN_REQ_FAULT);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(before, 0));
	KUNIT_ASSERT_TRUE(test, hmm_test_valid(dev, before));
	dev->range = before;

	hmm_test_kill(test, mm);

	KUNIT_EXPECT_EQ(test, dev->fresh, 0);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, before));
	KUNIT_EXPECT_EQ(test, -ESRCH, hmm_mirror_range_fault(before, 0));
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, before));
	hmm_mirror_range_end(before);

	after = hmm_test_range(test, addr, 1, HMM_PFN_REQ_FAULT);
	KUNIT_EXPECT_EQ(test, -ESRCH, hmm_mirror_range_begin(after,
							     &dev->mirror));
	/* So it is not in flight */
	KUNIT_EXPECT_NULL(test, after->hmm);
}

struct hmm_test_fault {
	struct hmm_mirror_range *range;
	unsigned long timeout;
	bool killable;
};

static int hmm_test_fault_job(void *data)
{
	struct hmm_test_fault *fault = data;
	int ret;

	if (fault->killable)
		allow_signal(SIGKILL);
	ret = hmm_mirror_range_fault(fault->range, fault->timeout);
	if (fault->killable)
		flush_signals(current);
	return ret;
}

/* A fault keeps the address space, and lets go of it without tearing it down */
static void hmm_fault_outlives_process(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct hmm_test_fault fault = { .timeout = HMM_TEST_PATIENCE };
	unsigned long deadline = jiffies + HMM_TEST_PATIENCE;
	struct mmu_notifier_range inv;
	struct hmm_test_job *job;

	hmm_test_start(&inv, mm, addr, 1);
	fault.range = hmm_test_begin(test, dev, addr, 1, HMM_PFN_REQ_FAULT);
	job = hmm_test_job(test, hmm_test_fault_job, &fault);
	msleep(HMM_TEST_DELAY_MS);
	hmm_test_kill(test, mm);
	KUNIT_EXPECT_EQ(test, dev->released, 0);
	hmm_test_end(&inv);
	hmm_test_finish(test, job);
	KUNIT_EXPECT_EQ(test, job->ret, 0);

	while (!READ_ONCE(dev->released) && time_before(jiffies, deadline))
		usleep_range(500, 2000);
	KUNIT_EXPECT_EQ(test, dev->released, 1);
	/* Who faults may hold locks that exit_mmap() must not meet */
	KUNIT_EXPECT_PTR_NE(test, dev->releaser, job->task);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, fault.range));
}

/*
 * Ranges and faults
 */

static void hmm_begin_bad_arguments(struct kunit *test)
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

static void hmm_begin_twice(struct kunit *test)
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

static void hmm_end_without_begin(struct kunit *test)
{
	struct hmm_mirror_range *range = hmm_test_range(test, HMM_TEST_BASE, 1,
							0);

	HMM_TEST_WARNS(test, hmm_mirror_range_end(range));
}

static void hmm_fault_without_begin(struct kunit *test)
{
	struct hmm_mirror_range *range = hmm_test_range(test, HMM_TEST_BASE, 1,
							0);

	HMM_TEST_WARNS(test, KUNIT_EXPECT_EQ(test, -EINVAL,
					     hmm_mirror_range_fault(range, 0)));
}

static void hmm_fault_reads_right_pages(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct hmm_mirror_range *range;
	unsigned long pfn;
	u32 value;
	int i;

	for (i = 0; i < HMM_TEST_PAGES; i++)
		KUNIT_ASSERT_EQ(test, 0, hmm_test_write(mm, addr + i * PAGE_SIZE,
							0xbead + i));

	range = hmm_test_begin(test, dev, addr, HMM_TEST_PAGES,
			       HMM_PFN_REQ_FAULT);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, range));
	for (i = 0; i < HMM_TEST_PAGES; i++) {
		pfn = range->range.hmm_pfns[i];
		KUNIT_ASSERT_TRUE(test, pfn & HMM_PFN_VALID);
		KUNIT_EXPECT_FALSE(test, pfn & HMM_PFN_ERROR);
		KUNIT_EXPECT_TRUE(test, pfn & HMM_PFN_WRITE);
		KUNIT_EXPECT_PTR_EQ(test, hmm_pfn_to_page(pfn),
				    hmm_test_page(test, mm, addr + i * PAGE_SIZE));
		KUNIT_EXPECT_EQ(test, hmm_test_peek(hmm_pfn_to_page(pfn)),
				0xbead + i);
	}

	/* What the device writes is what the process reads */
	hmm_test_poke(hmm_pfn_to_page(range->range.hmm_pfns[3]), 0xcafe);
	KUNIT_ASSERT_EQ(test, 0, hmm_test_read(mm, addr + 3 * PAGE_SIZE, &value));
	KUNIT_EXPECT_EQ(test, value, 0xcafe);
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, range));
	KUNIT_EXPECT_EQ(test, dev->calls, 0);
}

static void hmm_fault_write_faults_in(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct hmm_mirror_range *range;
	unsigned long *pfns;
	u32 value;

	/* Nobody has touched this memory: reading is the zero page ... */
	range = hmm_test_begin(test, dev, addr, 2, HMM_PFN_REQ_FAULT);
	pfns = range->range.hmm_pfns;
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	KUNIT_EXPECT_TRUE(test, pfns[0] & HMM_PFN_VALID);
	KUNIT_EXPECT_FALSE(test, pfns[0] & HMM_PFN_WRITE);
	KUNIT_EXPECT_TRUE(test, is_zero_pfn(page_to_pfn(hmm_pfn_to_page(pfns[0]))));
	hmm_mirror_range_end(range);

	/* ... and writing is a page of its own */
	range->range.default_flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_begin(range, &dev->mirror));
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, range));
	KUNIT_ASSERT_TRUE(test, pfns[0] & HMM_PFN_VALID);
	KUNIT_ASSERT_TRUE(test, pfns[0] & HMM_PFN_WRITE);
	KUNIT_EXPECT_PTR_NE(test, hmm_pfn_to_page(pfns[0]),
			    hmm_pfn_to_page(pfns[1]));
	hmm_test_poke(hmm_pfn_to_page(pfns[0]), 42);
	KUNIT_ASSERT_EQ(test, 0, hmm_test_read(mm, addr, &value));
	KUNIT_EXPECT_EQ(test, value, 42);
}

static void hmm_snapshot_does_not_fault(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct hmm_mirror_range *range;
	unsigned long *pfns;
	int i;

	KUNIT_ASSERT_EQ(test, 0, hmm_test_write(mm, addr + PAGE_SIZE, 7));
	range = hmm_test_begin(test, dev, addr, HMM_TEST_PAGES, 0);
	pfns = range->range.hmm_pfns;
	for (i = 0; i < 2; i++) {
		KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
		KUNIT_EXPECT_FALSE(test, pfns[0] & HMM_PFN_VALID);
		KUNIT_ASSERT_TRUE(test, pfns[1] & HMM_PFN_VALID);
		KUNIT_EXPECT_EQ(test, hmm_test_peek(hmm_pfn_to_page(pfns[1])), 7);
		KUNIT_EXPECT_FALSE(test, pfns[2] & HMM_PFN_VALID);
	}
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, range));
}

static int hmm_test_fault_once(struct kunit *test, struct hmm_test_dev *dev,
			       unsigned long addr, unsigned long pages,
			       unsigned long flags)
{
	struct hmm_mirror_range *range = hmm_test_begin(test, dev, addr, pages,
							flags);
	int ret = hmm_mirror_range_fault(range, 0);

	hmm_mirror_range_end(range);
	return ret;
}

static void hmm_fault_errors(struct kunit *test)
{
	const unsigned long read = HMM_PFN_REQ_FAULT;
	const unsigned long write = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long rw = hmm_test_map_rw(test, mm);
	unsigned long ro = hmm_test_map(test, mm, 1, PROT_READ);
	unsigned long none = hmm_test_map(test, mm, 1, PROT_NONE);

	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_once(test, dev, ro, 1, read));
	KUNIT_EXPECT_EQ(test, -EPERM, hmm_test_fault_once(test, dev, ro, 1,
							  write));
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_test_fault_once(test, dev, none, 1,
							   read));

	/* A hole, and one in the middle of what is mapped */
	KUNIT_ASSERT_EQ(test, 0, hmm_test_unmap(mm, rw + PAGE_SIZE, 1));
	KUNIT_EXPECT_EQ(test, -EFAULT,
			hmm_test_fault_once(test, dev, rw + PAGE_SIZE, 1, read));
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_test_fault_once(test, dev, rw, 3,
							   write));
	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_once(test, dev, rw, 1, write));
	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_once(test, dev,
						     rw + 2 * PAGE_SIZE, 1,
						     write));
	/* A snapshot of a hole is none of a fault's business */
	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_once(test, dev, rw, 3, 0));
	hmm_test_expect_idle(test, dev);
}

/* A mapping that needs somebody to fill it in, as with userfaultfd(2) */
static struct {
	struct page *page;
	bool filled;
	unsigned int flags;	/* of the page fault that had it filled in */
	unsigned long collide;	/* until then, in jiffies, with each fault instead */
} hmm_test_filler;

static vm_fault_t hmm_test_fill(const struct vm_special_mapping *mapping,
				struct vm_area_struct *vma, struct vm_fault *vmf)
{
	struct mmu_notifier_range inv;

	if (time_before(jiffies, hmm_test_filler.collide)) {
		hmm_test_start(&inv, vma->vm_mm, vmf->address, 1);
		hmm_test_end(&inv);
		return VM_FAULT_NOPAGE;
	}
	if (hmm_test_filler.filled) {
		get_page(hmm_test_filler.page);
		vmf->page = hmm_test_filler.page;
		return 0;
	}
	/* That takes its time, and cannot be done under the mmap lock */
	if (!(vmf->flags & FAULT_FLAG_ALLOW_RETRY))
		return VM_FAULT_SIGBUS;
	hmm_test_filler.filled = true;
	hmm_test_filler.flags = vmf->flags;
	mmap_read_unlock(vma->vm_mm);
	return VM_FAULT_RETRY;
}

/* Returns the address of two such pages */
static unsigned long hmm_test_map_filler(struct kunit *test, struct mm_struct *mm)
{
	static const struct vm_special_mapping mapping = {
		.name = "[hmm_kunit]",
		.fault = hmm_test_fill,
	};
	unsigned long addr = hmm_test_map(test, mm, 2, PROT_READ);
	struct vm_area_struct *vma;

	memset(&hmm_test_filler, 0, sizeof(hmm_test_filler));
	hmm_test_filler.collide = jiffies;
	hmm_test_filler.page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	KUNIT_ASSERT_NOT_NULL(test, hmm_test_filler.page);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, hmm_test_put_page,
							   hmm_test_filler.page));
	KUNIT_ASSERT_EQ(test, 0, hmm_test_unmap(mm, addr, 2));
	mmap_write_lock(mm);
	vma = _install_special_mapping(mm, addr, 2 * PAGE_SIZE, VM_READ | VM_WRITE |
				       VM_MAYREAD | VM_MAYWRITE, &mapping);
	mmap_write_unlock(mm);
	KUNIT_ASSERT_FALSE(test, IS_ERR(vma));
	return addr;
}

static void hmm_fault_drops_lock(struct kunit *test)
{
	const unsigned long read = HMM_PFN_REQ_FAULT;
	const unsigned long write = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_filler(test, mm);

	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_once(test, dev, addr, 1, read));
	KUNIT_EXPECT_TRUE(test, hmm_test_filler.filled);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_filler.flags & FAULT_FLAG_WRITE);

	hmm_test_filler.filled = false;
	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_once(test, dev, addr + PAGE_SIZE, 1,
						     write));
	KUNIT_EXPECT_TRUE(test, hmm_test_filler.filled);
	KUNIT_EXPECT_NE(test, 0, hmm_test_filler.flags & FAULT_FLAG_WRITE);
	hmm_test_expect_idle(test, dev);
}

/* Nothing to wait for, and yet it never succeeds */
static void hmm_fault_collides_for_ever(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_filler(test, mm);
	unsigned long timeout = msecs_to_jiffies(HMM_TEST_DELAY_MS);
	struct hmm_mirror_range *range;
	unsigned long start, took;

	range = hmm_test_begin(test, dev, addr, 1, HMM_PFN_REQ_FAULT);
	start = jiffies;
	hmm_test_filler.collide = start + HMM_TEST_PATIENCE;
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_mirror_range_fault(range, timeout));
	took = jiffies - start;
	KUNIT_EXPECT_GE(test, took, timeout);
	KUNIT_EXPECT_LT(test, took, HMM_TEST_PATIENCE);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, range));
	KUNIT_EXPECT_GT(test, dev->calls, 1);
}

/* As what reaps the memory of a process that was killed sets it first */
static void hmm_test_set_unstable(struct mm_struct *mm)
{
#ifdef NUM_MM_FLAG_BITS
	mm_flags_set(MMF_UNSTABLE, mm);
#else
	set_bit(MMF_UNSTABLE, &mm->flags);
#endif
}

/* What is there now, may have come in place of what was reaped */
static void hmm_fault_reaped(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);

	KUNIT_ASSERT_EQ(test, 0, hmm_test_write(mm, addr, 1));
	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_once(test, dev, addr, 1,
						     HMM_PFN_REQ_FAULT));
	hmm_test_set_unstable(mm);
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_test_fault_once(test, dev, addr, 1,
							   HMM_PFN_REQ_FAULT));
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_test_fault_once(test, dev, addr, 1, 0));
	hmm_test_expect_idle(test, dev);
}

static void hmm_fault_per_page_flags(struct kunit *test)
{
	const unsigned long write = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct hmm_mirror_range *range;
	unsigned long *pfns;
	int i;

	/* Where there is no page table yet, the reader faults in more than asked */
	KUNIT_ASSERT_EQ(test, 0, hmm_test_write(mm, addr + 4 * PAGE_SIZE, 1));

	range = hmm_test_begin(test, dev, addr, 4, 0);
	pfns = range->range.hmm_pfns;
	for (i = 0; i < 4; i++)
		pfns[i] = write;
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	for (i = 0; i < 4; i++)
		KUNIT_EXPECT_FALSE(test, pfns[i] & HMM_PFN_VALID);

	range->range.pfn_flags_mask = write;
	pfns[0] = 0;
	pfns[1] = 0;
	pfns[2] = 0;
	pfns[3] = write;
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	KUNIT_EXPECT_FALSE(test, pfns[0] & HMM_PFN_VALID);
	KUNIT_EXPECT_FALSE(test, pfns[2] & HMM_PFN_VALID);
	KUNIT_EXPECT_TRUE(test, pfns[3] & HMM_PFN_VALID);
	KUNIT_EXPECT_TRUE(test, pfns[3] & HMM_PFN_WRITE);

	pfns[2] = HMM_PFN_REQ_FAULT;
	pfns[3] = HMM_PFN_REQ_FAULT;
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	KUNIT_EXPECT_FALSE(test, pfns[0] & HMM_PFN_VALID);
	KUNIT_EXPECT_TRUE(test, pfns[2] & HMM_PFN_VALID);
	KUNIT_EXPECT_FALSE(test, pfns[2] & HMM_PFN_WRITE);
	KUNIT_EXPECT_TRUE(test, pfns[3] & HMM_PFN_VALID);
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, range));

	/* A hole matters to who asks for it, and to nobody else */
	KUNIT_ASSERT_EQ(test, 0, hmm_test_unmap(mm, addr + 2 * PAGE_SIZE, 1));
	pfns[2] = 0;
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	pfns[2] = HMM_PFN_REQ_FAULT;
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_mirror_range_fault(range, 0));
}

/*
 * Collisions
 */

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

/*
 * A write fault of the zero page replaces it, which is an invalidation of its own
 * range, by the same task.  It has to get past that; where it cannot, as the input
 * flags are overwritten, it says so.
 */
static void hmm_fault_invalidates_itself(struct kunit *test)
{
	const unsigned long flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct hmm_mirror_range *range;
	unsigned long *pfns;
	u32 value;

	KUNIT_ASSERT_EQ(test, 0, hmm_test_read(mm, addr, &value));
	range = hmm_test_begin(test, dev, addr, 1, flags);
	pfns = range->range.hmm_pfns;
	/* Taking two rounds, it also shows that no time limit is too long */
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(range, ULONG_MAX));
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, range));
	KUNIT_EXPECT_TRUE(test, pfns[0] & HMM_PFN_WRITE);
	KUNIT_EXPECT_EQ(test, dev->calls, 1);
	hmm_mirror_range_end(range);

	addr += PAGE_SIZE;
	KUNIT_ASSERT_EQ(test, 0, hmm_test_read(mm, addr, &value));
	range = hmm_test_begin(test, dev, addr, 1, 0);
	pfns = range->range.hmm_pfns;
	range->range.pfn_flags_mask = flags;
	pfns[0] = flags;
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_mirror_range_fault(range, 0));
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, range));
	pfns[0] = flags;
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, range));
	KUNIT_EXPECT_TRUE(test, pfns[0] & HMM_PFN_WRITE);
}

/* The order that the whole protocol hangs on, see mm/hmm.c */
static void hmm_marked_before_callback(struct kunit *test)
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

static void hmm_fault_waits_for_invalidation(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	/* It must be woken, long before it looks by itself */
	struct hmm_test_fault fault = { .timeout = 3 * HMM_TEST_PATIENCE };
	struct mmu_notifier_range inv, unrelated;
	struct hmm_test_job *job;

	hmm_test_start(&inv, mm, addr, 2);
	fault.range = hmm_test_begin(test, dev, addr + PAGE_SIZE, 2,
				     HMM_PFN_REQ_FAULT);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, fault.range));
	job = hmm_test_job(test, hmm_test_fault_job, &fault);
	msleep(HMM_TEST_DELAY_MS);
	KUNIT_EXPECT_FALSE(test, completion_done(&job->done));

	/* Not every end is the right one */
	hmm_test_start(&unrelated, mm, addr + 4 * PAGE_SIZE, 1);
	hmm_test_end(&unrelated);
	msleep(HMM_TEST_DELAY_MS / 5);
	KUNIT_EXPECT_FALSE(test, completion_done(&job->done));

	hmm_test_end(&inv);
	hmm_test_finish(test, job);
	KUNIT_EXPECT_EQ(test, job->ret, 0);
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, fault.range));
	KUNIT_EXPECT_TRUE(test, fault.range->range.hmm_pfns[0] & HMM_PFN_VALID);
}

/*
 * Fault while @inv, which hits the range, goes on: in a thread of its own, so that
 * the end of @inv can set it free should it wait for longer than it may.
 */
static int hmm_test_fault_blocked(struct kunit *test,
				  struct hmm_mirror_range *range,
				  unsigned long timeout,
				  struct mmu_notifier_range *inv)
{
	struct hmm_test_fault *fault = kunit_kzalloc(test, sizeof(*fault),
						     GFP_KERNEL);
	struct hmm_test_job *job;
	bool ended;

	KUNIT_ASSERT_NOT_NULL(test, fault);
	fault->range = range;
	fault->timeout = timeout;
	job = hmm_test_job(test, hmm_test_fault_job, fault);
	ended = wait_for_completion_timeout(&job->done, HMM_TEST_PATIENCE);
	KUNIT_EXPECT_FALSE(test, hmm_mirror_range_valid(range));
	hmm_test_end(inv);
	hmm_test_finish(test, job);
	KUNIT_EXPECT_TRUE_MSG(test, ended, "waits without a bound");
	return job->ret;
}

/* A range that was valid, collided with what still goes on, and is tried again */
static void hmm_fault_waits_when_restarted(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct hmm_mirror_range *range;
	struct mmu_notifier_range inv;

	range = hmm_test_begin(test, dev, addr, 1, HMM_PFN_REQ_FAULT);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	hmm_test_start(&inv, mm, addr, 1);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, range));
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_test_fault_blocked(test, range, 1,
							     &inv));
	/* That it is over does not make valid what was read before */
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, range));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, range));
}

static void hmm_fault_times_out(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	unsigned long timeout = msecs_to_jiffies(HMM_TEST_DELAY_MS);
	struct hmm_mirror_range *range;
	struct mmu_notifier_range inv;
	unsigned long start, took;

	hmm_test_start(&inv, mm, addr, 1);
	range = hmm_test_begin(test, dev, addr, 1, HMM_PFN_REQ_FAULT);
	start = jiffies;
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_test_fault_blocked(test, range, timeout,
							     &inv));
	took = jiffies - start;
	KUNIT_EXPECT_GE(test, took, timeout);
	KUNIT_EXPECT_LT(test, took, HMM_TEST_PATIENCE);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, range));

	/* The time limit is one of the fault, not of the range */
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(range, timeout));
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, range));
	hmm_test_expect_idle(test, dev);
}

static void hmm_fault_killed(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct hmm_test_fault fault = {
		.timeout = HMM_TEST_PATIENCE,
		.killable = true,
	};
	struct mmu_notifier_range inv;
	struct hmm_test_job *job;

	hmm_test_start(&inv, mm, addr, 1);
	fault.range = hmm_test_begin(test, dev, addr, 1, HMM_PFN_REQ_FAULT);
	job = hmm_test_job(test, hmm_test_fault_job, &fault);
	msleep(HMM_TEST_DELAY_MS);
	KUNIT_EXPECT_FALSE(test, completion_done(&job->done));
	send_sig(SIGKILL, job->task, 1);
	hmm_test_finish(test, job);
	KUNIT_EXPECT_EQ(test, job->ret, -EINTR);
	hmm_test_end(&inv);
}

/* Killed while somebody else has the mmap lock for long */
static void hmm_fault_killed_colliding(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_filler(test, mm);
	struct hmm_test_fault fault = {
		.range = hmm_test_begin(test, dev, addr, 1, HMM_PFN_REQ_FAULT),
		.timeout = 3 * HMM_TEST_PATIENCE,
		.killable = true,
	};
	struct hmm_test_job *job;

	hmm_test_filler.collide = jiffies + fault.timeout;
	job = hmm_test_job(test, hmm_test_fault_job, &fault);
	msleep(HMM_TEST_DELAY_MS);
	KUNIT_EXPECT_FALSE(test, completion_done(&job->done));
	send_sig(SIGKILL, job->task, 1);
	hmm_test_finish(test, job);
	KUNIT_EXPECT_EQ(test, job->ret, -EINTR);
}

static void hmm_fault_killed_at_lock(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct hmm_test_fault fault = {
		.range = hmm_test_begin(test, dev, addr, 1, HMM_PFN_REQ_FAULT),
		.timeout = HMM_TEST_PATIENCE,
		.killable = true,
	};
	struct hmm_test_job *job;
	bool early, ended;

	mmap_write_lock(mm);
	job = hmm_test_job(test, hmm_test_fault_job, &fault);
	msleep(HMM_TEST_DELAY_MS);
	early = completion_done(&job->done);
	send_sig(SIGKILL, job->task, 1);
	ended = wait_for_completion_timeout(&job->done, HMM_TEST_PATIENCE);
	mmap_write_unlock(mm);

	hmm_test_finish(test, job);
	KUNIT_EXPECT_FALSE(test, early);
	KUNIT_EXPECT_TRUE(test, ended);
	KUNIT_EXPECT_EQ(test, job->ret, -EINTR);
}

static void hmm_unrelated_does_not_wait(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct hmm_mirror_range *range;
	struct mmu_notifier_range below, above, own;

	hmm_test_start(&below, mm, addr, 2);
	hmm_test_start(&above, mm, addr + 3 * PAGE_SIZE, 5);
	range = hmm_test_begin(test, dev, addr + 2 * PAGE_SIZE, 1,
			       HMM_PFN_REQ_FAULT);
	/* A jiffy would be over soon if it did */
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, range));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, range));

	/* Nor does it when it is armed again, after an invalidation of its own */
	hmm_test_start(&own, mm, addr + 2 * PAGE_SIZE, 1);
	hmm_test_end(&own);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, range));
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	hmm_test_end(&below);
	hmm_test_end(&above);
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, range));
}

static void hmm_nested_invalidations(struct kunit *test)
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
static void hmm_many_invalidations_at_once(struct kunit *test)
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
static void hmm_many_invalidations_of_one_range(struct kunit *test)
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

static void hmm_persistent_range(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct hmm_mirror_range *range;
	u32 i;

	range = hmm_test_begin(test, dev, addr, 1, HMM_PFN_REQ_FAULT);
	for (i = 0; i < 5; i++) {
		KUNIT_ASSERT_EQ(test, 0, hmm_test_write(mm, addr, i));
		KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
		KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, range));
		KUNIT_EXPECT_EQ(test, i, hmm_test_peek(hmm_pfn_to_page(range->range.hmm_pfns[0])));
		KUNIT_ASSERT_EQ(test, 0, hmm_test_discard(mm, addr + PAGE_SIZE,
							  HMM_TEST_PAGES - 1));
		KUNIT_EXPECT_TRUE(test, hmm_test_valid(dev, range));
		KUNIT_ASSERT_EQ(test, 0, hmm_test_discard(mm, addr, 1));
		KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, range));
	}
}

/* Ranges may overlap: each is its own collision domain */
static void hmm_overlapping_ranges(struct kunit *test)
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

/* The same struct for one fault after the other, elsewhere and for others */
static void hmm_range_begun_again(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct mm_struct *other_mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct hmm_test_dev *other = hmm_test_mirror(test, other_mm,
						     &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	unsigned long other_addr = hmm_test_map_rw(test, other_mm);
	struct hmm_mirror_range *range;

	KUNIT_ASSERT_EQ(test, 0, hmm_test_write(mm, addr, 11));
	KUNIT_ASSERT_EQ(test, 0, hmm_test_write(mm, addr + PAGE_SIZE, 22));
	KUNIT_ASSERT_EQ(test, 0, hmm_test_write(other_mm, other_addr, 33));

	range = hmm_test_begin(test, dev, addr, 1, HMM_PFN_REQ_FAULT);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	KUNIT_EXPECT_EQ(test, 11, hmm_test_peek(hmm_pfn_to_page(range->range.hmm_pfns[0])));
	hmm_mirror_range_end(range);

	/* Out of flight nothing touches it */
	KUNIT_ASSERT_EQ(test, 0, hmm_test_discard(mm, addr, 1));
	KUNIT_EXPECT_TRUE(test, hmm_mirror_range_valid(range));

	range->range.start += PAGE_SIZE;
	range->range.end += PAGE_SIZE;
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_begin(range, &dev->mirror));
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	KUNIT_EXPECT_EQ(test, 22, hmm_test_peek(hmm_pfn_to_page(range->range.hmm_pfns[0])));
	KUNIT_ASSERT_EQ(test, 0, hmm_test_discard(mm, addr + PAGE_SIZE, 1));
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(dev, range));
	hmm_mirror_range_end(range);

	range->range.start = other_addr;
	range->range.end = other_addr + PAGE_SIZE;
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_begin(range, &other->mirror));
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	KUNIT_EXPECT_EQ(test, 33, hmm_test_peek(hmm_pfn_to_page(range->range.hmm_pfns[0])));
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(other, range));
}

/* A mirror that comes in the middle of an invalidation has to know of it */
static void hmm_late_mirror_waits(struct kunit *test)
{
	const unsigned long addr = HMM_TEST_BASE;
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *first = hmm_test_mirror(test, mm, &hmm_test_ops);
	struct mmu_notifier_range inv;
	struct hmm_test_dev *late;

	hmm_test_start(&inv, mm, addr, 1);
	late = hmm_test_mirror(test, mm, &hmm_test_ops);
	KUNIT_EXPECT_EQ(test, first->calls, 1);
	KUNIT_EXPECT_EQ(test, late->calls, 0);
	KUNIT_EXPECT_TRUE(test, hmm_test_busy(late, addr, addr + PAGE_SIZE));

	/* The one that was there leaves: the registry stays */
	hmm_test_unregister(test, first);
	KUNIT_EXPECT_TRUE(test, hmm_test_busy(late, addr, addr + PAGE_SIZE));
	hmm_test_end(&inv);
	KUNIT_EXPECT_FALSE(test, hmm_test_busy(late, addr, addr + PAGE_SIZE));
}

/*
 * Invalidations that must not block
 */

static void hmm_nonblock_veto(struct kunit *test)
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

static void hmm_nonblock_atomic_mirror(struct kunit *test)
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
static void hmm_nonblock_mixed_mirrors(struct kunit *test)
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

/*
 * Two passes
 */

#define HMM_FLUSH_DEVS		8
#define HMM_FLUSH_MS		100	/* what a device needs to flush */

/* Of all devices of a test: who did what when */
struct hmm_flush_log {
	unsigned int now;
	unsigned int pending;
	unsigned int most_pending;
};

struct hmm_flush_dev {
	struct hmm_mirror mirror;
	struct hmm_flush_log *log;
	bool idle;			/* nothing to wait for */
	unsigned int flush_ms;

	unsigned int starts;
	unsigned int finishes;
	unsigned int wrong;		/* finished what was not started so */
	unsigned int started_at;
	unsigned int finished_at;
	unsigned long flushed;		/* when, in jiffies */
	struct hmm_update update;

	struct completion entered;	/* invalidate_start() was, and ... */
	struct completion *go_on;	/* ... waits for this */
};

static u64 hmm_flush_start(struct hmm_mirror *mirror,
			   const struct hmm_update *update)
{
	struct hmm_flush_dev *dev = container_of(mirror, struct hmm_flush_dev,
						 mirror);

	dev->starts++;
	dev->started_at = ++dev->log->now;
	dev->update = *update;
	dev->flushed = jiffies + msecs_to_jiffies(dev->flush_ms);
	complete_all(&dev->entered);
	if (dev->go_on)
		wait_for_completion_timeout(dev->go_on, HMM_TEST_PATIENCE);
	if (dev->idle)
		return 0;

	dev->log->pending++;
	dev->log->most_pending = max(dev->log->most_pending, dev->log->pending);
	return (unsigned long)dev + dev->starts;
}

static void hmm_flush_finish(struct hmm_mirror *mirror,
			     const struct hmm_update *update, u64 fence)
{
	struct hmm_flush_dev *dev = container_of(mirror, struct hmm_flush_dev,
						 mirror);

	dev->finishes++;
	dev->finished_at = ++dev->log->now;
	dev->log->pending--;
	dev->wrong += fence != (unsigned long)dev + dev->starts ||
		      update->start != dev->update.start ||
		      update->end != dev->update.end ||
		      update->event != dev->update.event;
	while (time_before(jiffies, dev->flushed))
		schedule_timeout_uninterruptible(dev->flushed - jiffies);
}

static const struct hmm_mirror_ops hmm_flush_ops = {
	.invalidate_start = hmm_flush_start,
	.invalidate_finish = hmm_flush_finish,
};

static const struct hmm_mirror_ops hmm_flush_atomic_ops = {
	.invalidate_start = hmm_flush_start,
	.invalidate_finish = hmm_flush_finish,
	.flags = HMM_MIRROR_ATOMIC,
};

KUNIT_DEFINE_ACTION_WRAPPER(hmm_flush_unregister, hmm_mirror_unregister,
			    struct hmm_mirror *);

static struct hmm_flush_dev *hmm_flush_dev(struct kunit *test,
					   struct mm_struct *mm,
					   struct hmm_flush_log *log,
					   const struct hmm_mirror_ops *ops)
{
	struct hmm_flush_dev *dev = kunit_kzalloc(test, sizeof(*dev), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, dev);
	dev->mirror.ops = ops;
	dev->log = log;
	init_completion(&dev->entered);
	mmap_write_lock(mm);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_register(&dev->mirror, mm));
	mmap_write_unlock(mm);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_flush_unregister,
						  &dev->mirror));
	return dev;
}

/* All start before any finishes, and who has nothing to finish does not */
static void hmm_two_pass_order(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_flush_dev *dev[HMM_FLUSH_DEVS];
	struct hmm_flush_log log = {};
	struct hmm_test_dev *one_pass;
	struct mmu_notifier_range inv;
	int i;

	for (i = 0; i < HMM_FLUSH_DEVS; i++) {
		dev[i] = hmm_flush_dev(test, mm, &log, &hmm_flush_ops);
		/* At the ends of the list, too */
		dev[i]->idle = i % 3 == 0;
	}
	one_pass = hmm_test_mirror(test, mm, &hmm_test_ops);

	hmm_test_start(&inv, mm, HMM_TEST_BASE, 2);
	for (i = 0; i < HMM_FLUSH_DEVS; i++) {
		KUNIT_EXPECT_EQ(test, dev[i]->starts, 1);
		KUNIT_EXPECT_LE(test, dev[i]->started_at, HMM_FLUSH_DEVS);
		KUNIT_EXPECT_EQ(test, dev[i]->update.start, HMM_TEST_BASE);
		KUNIT_EXPECT_EQ(test, dev[i]->update.end,
				HMM_TEST_BASE + 2 * PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, dev[i]->finishes, !dev[i]->idle);
		KUNIT_EXPECT_EQ(test, dev[i]->wrong, 0);
		if (!dev[i]->idle)
			KUNIT_EXPECT_GT(test, dev[i]->finished_at,
					HMM_FLUSH_DEVS);
	}
	KUNIT_EXPECT_EQ(test, one_pass->calls, 1);
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ(test, log.pending, 0);
}

/* Devices that need a time to flush need that time once, not each after the other */
static void hmm_two_pass_side_by_side(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_flush_log log = {};
	struct mmu_notifier_range inv;
	ktime_t start;
	s64 ms;
	int i;

	for (i = 0; i < HMM_FLUSH_DEVS; i++)
		hmm_flush_dev(test, mm, &log, &hmm_flush_ops)->flush_ms =
			HMM_FLUSH_MS;

	start = ktime_get();
	hmm_test_start(&inv, mm, HMM_TEST_BASE, 1);
	ms = ktime_ms_delta(ktime_get(), start);
	hmm_test_end(&inv);

	kunit_info(test, "%d devices that take %d ms each took %lld ms\n",
		   HMM_FLUSH_DEVS, HMM_FLUSH_MS, ms);
	/* One after the other they would need all of it */
	KUNIT_EXPECT_GE(test, ms, HMM_FLUSH_MS - 10);
	KUNIT_EXPECT_LT(test, ms, HMM_FLUSH_DEVS * HMM_FLUSH_MS / 2);
}

/* More than the registry remembers at a time: some earlier, but each once */
static void hmm_two_pass_many(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_flush_dev *dev[40];
	struct hmm_flush_log log = {};
	struct mmu_notifier_range inv;
	int i, round;

	for (i = 0; i < ARRAY_SIZE(dev); i++)
		dev[i] = hmm_flush_dev(test, mm, &log, &hmm_flush_ops);

	for (round = 1; round <= 2; round++) {
		hmm_test_start(&inv, mm, HMM_TEST_BASE, 1);
		for (i = 0; i < ARRAY_SIZE(dev); i++) {
			KUNIT_EXPECT_EQ(test, dev[i]->starts, round);
			KUNIT_EXPECT_EQ(test, dev[i]->finishes, round);
			KUNIT_EXPECT_EQ(test, dev[i]->wrong, 0);
		}
		hmm_test_end(&inv);
	}
	KUNIT_EXPECT_GE(test, log.most_pending, HMM_FLUSH_DEVS);
}

static int hmm_flush_invalidate_job(void *arg)
{
	struct mmu_notifier_range inv;

	hmm_test_start(&inv, arg, HMM_TEST_BASE, 1);
	hmm_test_end(&inv);
	return 0;
}

static int hmm_flush_unregister_job(void *arg)
{
	hmm_mirror_unregister(arg);
	return 0;
}

/* A mirror that goes between the passes finishes first; one that comes does not */
static void hmm_two_pass_list_changes(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	DECLARE_COMPLETION_ONSTACK(go_on);
	struct hmm_flush_dev *stays, *goes, *comes;
	struct hmm_test_job *invalidate, *unregister;
	struct hmm_flush_log log = {};

	/* The last one that was registered is told first */
	stays = hmm_flush_dev(test, mm, &log, &hmm_flush_ops);
	goes = hmm_flush_dev(test, mm, &log, &hmm_flush_ops);
	stays->go_on = &go_on;

	invalidate = hmm_test_job(test, hmm_flush_invalidate_job, mm);
	KUNIT_ASSERT_NE(test, 0, wait_for_completion_timeout(&stays->entered,
							     HMM_TEST_PATIENCE));
	KUNIT_EXPECT_EQ(test, goes->starts, 1);
	comes = hmm_flush_dev(test, mm, &log, &hmm_flush_ops);
	kunit_remove_action(test, hmm_flush_unregister, &goes->mirror);
	unregister = hmm_test_job(test, hmm_flush_unregister_job, &goes->mirror);
	msleep(HMM_TEST_DELAY_MS);
	KUNIT_EXPECT_FALSE(test, completion_done(&unregister->done));
	KUNIT_EXPECT_EQ(test, goes->finishes, 0);

	complete_all(&go_on);
	hmm_test_finish(test, invalidate);
	hmm_test_finish(test, unregister);
	KUNIT_EXPECT_EQ(test, goes->finishes, 1);
	KUNIT_EXPECT_EQ(test, stays->finishes, 1);
	KUNIT_EXPECT_EQ(test, comes->starts + comes->finishes, 0);
	KUNIT_EXPECT_EQ(test, goes->wrong + stays->wrong, 0);
}

static void hmm_two_pass_exit(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_flush_log log = {};
	struct hmm_flush_dev *dev = hmm_flush_dev(test, mm, &log, &hmm_flush_ops);
	struct hmm_flush_dev *dev2 = hmm_flush_dev(test, mm, &log, &hmm_flush_ops);

	hmm_test_kill(test, mm);
	KUNIT_EXPECT_EQ(test, dev->finishes, 1);
	KUNIT_EXPECT_EQ(test, dev2->finishes, 1);
	KUNIT_EXPECT_EQ(test, dev->update.event, MMU_NOTIFY_RELEASE);
	KUNIT_EXPECT_EQ(test, dev->update.end, ULONG_MAX);
	/* Both started before the first finished */
	KUNIT_EXPECT_LE(test, max(dev->started_at, dev2->started_at), 2);
}

/* Neither pass of a mirror that may sleep, both of one that does not */
static void hmm_two_pass_nonblock(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_flush_log log = {};
	struct hmm_flush_dev *atomic = hmm_flush_dev(test, mm, &log,
						     &hmm_flush_atomic_ops);
	struct hmm_flush_dev *sleeps;
	struct mmu_notifier_range inv;

	KUNIT_ASSERT_EQ(test, 0, hmm_test_start_nonblock(&inv, mm, HMM_TEST_BASE,
							 1));
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ(test, atomic->finishes, 1);
	KUNIT_EXPECT_FALSE(test, atomic->update.blockable);

	sleeps = hmm_flush_dev(test, mm, &log, &hmm_flush_ops);
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			hmm_test_start_nonblock(&inv, mm, HMM_TEST_BASE, 1));
	KUNIT_EXPECT_EQ(test, sleeps->starts + sleeps->finishes, 0);
	KUNIT_EXPECT_EQ(test, log.pending, 0);
}

/*
 * Tracepoints
 */

struct hmm_trace {
	struct mm_struct *mm;
	struct hmm_mirror *mirror;
	unsigned int registered, unregistered, released;
	unsigned int starts, ends, vetoes;
	unsigned int faults, waits, returns, collisions;
	unsigned int wrong;		/* arguments that are not ours */
	unsigned long start;		/* of the last invalidation that started */
	int ret;
};

static void hmm_trace_register(void *data, const struct hmm_mirror *mirror,
			       const struct mm_struct *mm)
{
	struct hmm_trace *trace = data;

	trace->registered++;
	trace->wrong += mirror != trace->mirror || mm != trace->mm;
}

static void hmm_trace_unregister(void *data, const struct hmm_mirror *mirror,
				 const struct mm_struct *mm)
{
	struct hmm_trace *trace = data;

	trace->unregistered++;
	trace->wrong += mirror != trace->mirror || mm != trace->mm;
}

static void hmm_trace_release(void *data, const struct hmm_mirror *mirror,
			      const struct mm_struct *mm)
{
	struct hmm_trace *trace = data;

	trace->released++;
	trace->wrong += mirror != trace->mirror || mm != trace->mm;
}

static void hmm_trace_invalidate_start(void *data, const struct mm_struct *mm,
				       const struct hmm_update *update)
{
	struct hmm_trace *trace = data;

	trace->starts++;
	trace->wrong += mm != trace->mm;
	trace->start = update->start;
}

static void hmm_trace_invalidate_end(void *data, const struct mm_struct *mm,
				     unsigned long start, unsigned long end)
{
	struct hmm_trace *trace = data;

	trace->ends++;
	trace->wrong += mm != trace->mm || start != trace->start || end <= start;
}

static void hmm_trace_veto(void *data, const struct mm_struct *mm,
			   unsigned long start, unsigned long end)
{
	struct hmm_trace *trace = data;

	trace->vetoes++;
	trace->wrong += mm != trace->mm || start != trace->start || end <= start;
}

static void hmm_trace_fault_begin(void *data, const struct hmm_mirror_range *range)
{
	struct hmm_trace *trace = data;

	trace->faults++;
	trace->wrong += range->mirror != trace->mirror;
}

static void hmm_trace_wait(void *data, const struct hmm_mirror_range *range)
{
	struct hmm_trace *trace = data;

	trace->waits++;
	trace->wrong += range->mirror != trace->mirror;
}

static void hmm_trace_fault_end(void *data, const struct hmm_mirror_range *range,
				int ret)
{
	struct hmm_trace *trace = data;

	trace->returns++;
	trace->wrong += range->mirror != trace->mirror;
	trace->ret = ret;
}

static void hmm_trace_collision(void *data, const struct hmm_mirror_range *range,
				unsigned long start, unsigned long end)
{
	struct hmm_trace *trace = data;

	trace->collisions++;
	trace->wrong += range->mirror != trace->mirror || start != trace->start;
}

static void hmm_trace_off(void *trace)
{
	unregister_trace_hmm_register(hmm_trace_register, trace);
	unregister_trace_hmm_unregister(hmm_trace_unregister, trace);
	unregister_trace_hmm_release(hmm_trace_release, trace);
	unregister_trace_hmm_invalidate_start(hmm_trace_invalidate_start, trace);
	unregister_trace_hmm_invalidate_end(hmm_trace_invalidate_end, trace);
	unregister_trace_hmm_veto(hmm_trace_veto, trace);
	unregister_trace_hmm_fault_begin(hmm_trace_fault_begin, trace);
	unregister_trace_hmm_wait(hmm_trace_wait, trace);
	unregister_trace_hmm_fault_end(hmm_trace_fault_end, trace);
	unregister_trace_hmm_collision(hmm_trace_collision, trace);
	tracepoint_synchronize_unregister();
}

static struct hmm_trace *hmm_trace_on(struct kunit *test)
{
	struct hmm_trace *trace = kunit_kzalloc(test, sizeof(*trace), GFP_KERNEL);
	int ret = 0;

	if (!IS_ENABLED(CONFIG_TRACEPOINTS))
		kunit_skip(test, "CONFIG_TRACEPOINTS is off");

	KUNIT_ASSERT_NOT_NULL(test, trace);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action(test, hmm_trace_off, trace));
	ret = ret ?: register_trace_hmm_register(hmm_trace_register, trace);
	ret = ret ?: register_trace_hmm_unregister(hmm_trace_unregister, trace);
	ret = ret ?: register_trace_hmm_release(hmm_trace_release, trace);
	ret = ret ?: register_trace_hmm_invalidate_start(hmm_trace_invalidate_start,
							 trace);
	ret = ret ?: register_trace_hmm_invalidate_end(hmm_trace_invalidate_end,
						       trace);
	ret = ret ?: register_trace_hmm_veto(hmm_trace_veto, trace);
	ret = ret ?: register_trace_hmm_fault_begin(hmm_trace_fault_begin,
						    trace);
	ret = ret ?: register_trace_hmm_wait(hmm_trace_wait, trace);
	ret = ret ?: register_trace_hmm_fault_end(hmm_trace_fault_end, trace);
	ret = ret ?: register_trace_hmm_collision(hmm_trace_collision, trace);
	KUNIT_ASSERT_EQ(test, ret, 0);
	return trace;
}

/* Each event once, where it happens, and nowhere else */
static void hmm_tracepoints(struct kunit *test)
{
	struct hmm_trace *trace = hmm_trace_on(test);
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_dev(test, &hmm_test_ops);
	unsigned long addr = hmm_test_map_rw(test, mm);
	struct hmm_mirror_range *range;
	struct mmu_notifier_range inv;

	trace->mm = mm;
	trace->mirror = &dev->mirror;
	hmm_test_register(test, dev, mm);
	KUNIT_EXPECT_EQ(test, trace->registered, 1);

	range = hmm_test_begin(test, dev, addr, 1, HMM_PFN_REQ_FAULT);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	KUNIT_EXPECT_EQ(test, trace->faults, 1);
	KUNIT_EXPECT_EQ(test, trace->returns, 1);
	KUNIT_EXPECT_EQ(test, trace->ret, 0);
	KUNIT_EXPECT_EQ(test, trace->waits, 0);

	/* Beside the range: nothing collides */
	trace->starts = 0;
	trace->ends = 0;
	hmm_test_start(&inv, mm, addr + PAGE_SIZE, 1);
	KUNIT_EXPECT_EQ(test, trace->starts, 1);
	KUNIT_EXPECT_EQ(test, trace->ends, 0);
	KUNIT_EXPECT_EQ(test, trace->start, addr + PAGE_SIZE);
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ(test, trace->ends, 1);
	KUNIT_EXPECT_EQ(test, trace->collisions, 0);

	/* On it, and for longer than the fault has time */
	hmm_test_start(&inv, mm, addr, 1);
	KUNIT_EXPECT_EQ(test, trace->collisions, 1);
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_mirror_range_fault(range, 1));
	KUNIT_EXPECT_EQ(test, trace->waits, 1);
	KUNIT_EXPECT_EQ(test, trace->returns, 2);
	KUNIT_EXPECT_EQ(test, trace->ret, -EBUSY);
	hmm_test_end(&inv);
	/* It is over: to start again is not to wait */
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(range, 0));
	KUNIT_EXPECT_EQ(test, trace->waits, 1);
	KUNIT_EXPECT_EQ(test, trace->returns, 3);

	KUNIT_EXPECT_EQ(test, trace->vetoes, 0);
	KUNIT_EXPECT_EQ(test, -EAGAIN, hmm_test_start_nonblock(&inv, mm, addr, 1));
	KUNIT_EXPECT_EQ(test, trace->vetoes, 1);
	KUNIT_EXPECT_EQ(test, trace->starts, trace->ends);

	hmm_mirror_range_end(range);
	hmm_test_kill(test, mm);
	KUNIT_EXPECT_EQ(test, trace->released, 1);
	KUNIT_EXPECT_EQ(test, trace->starts, trace->ends + 1);
	KUNIT_EXPECT_EQ(test, trace->unregistered, 0);
	hmm_test_unregister(test, dev);
	KUNIT_EXPECT_EQ(test, trace->unregistered, 1);
	KUNIT_EXPECT_EQ(test, trace->wrong, 0);
}

/*
 * Everything at once
 */

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

	/* Comes and goes meanwhile */
	struct hmm_mirror visitor;
	bool visiting;
	atomic_t late;
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

static void hmm_stress_invalidate(struct hmm_mirror *mirror,
				  const struct hmm_update *update)
{
	struct hmm_stress *s = container_of(mirror, struct hmm_stress, mirror);
	int i;

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
	struct hmm_mirror_range range = {
		.range = {
			.hmm_pfns = pfns,
			.default_flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE,
		},
	};
	int i, n, slot, ret;

	while (hmm_stress_go_on(s)) {
		n = 1 + get_random_u32_below(ARRAY_SIZE(pfns));
		slot = get_random_u32_below(HMM_STRESS_PAGES - n + 1);
		range.range.start = s->base + slot * PAGE_SIZE;
		range.range.end = range.range.start + n * PAGE_SIZE;
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
		if (hmm_test_unmap(s->mm, addr, n))
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
		ret = hmm_test_discard(s->mm, s->base + slot * PAGE_SIZE, n);
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
		memset(&s->visitor, 0x5a, sizeof(s->visitor));
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
	KUNIT_EXPECT_EQ(test, atomic_read(&s->late), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&s->failed), 0);
	KUNIT_EXPECT_GT(test, s->commits, 0);
	KUNIT_EXPECT_GT(test, s->checked, 0);
	KUNIT_EXPECT_GT(test, atomic_read(&s->rounds), 0);

	dev = hmm_test_mirror(test, mm, &hmm_test_ops);
	hmm_test_expect_idle(test, dev);
}

static struct kunit_case hmm_test_cases[] = {
	KUNIT_CASE(hmm_register_bad_arguments),
	KUNIT_CASE(hmm_register_dead_mm),
	KUNIT_CASE(hmm_register_twice),
	KUNIT_CASE(hmm_register_on_two_mms),
	KUNIT_CASE(hmm_register_interrupted),
	KUNIT_CASE(hmm_register_out_of_memory),
	KUNIT_CASE(hmm_unregister_twice),
	KUNIT_CASE(hmm_one_hmm_per_mm),
	KUNIT_CASE(hmm_several_mirrors),
	KUNIT_CASE(hmm_unregister_waits_for_callback),
	KUNIT_CASE(hmm_invalidate_while_unregistering),
	KUNIT_CASE(hmm_unregister_with_range),
	KUNIT_CASE(hmm_invalidate_preferred),
	KUNIT_CASE(hmm_update_contents),
	KUNIT_CASE(hmm_called_before_page_goes),
	KUNIT_CASE(hmm_update_covers_change),
	KUNIT_CASE(hmm_exit_invalidates_then_releases),
	KUNIT_CASE(hmm_unregister_after_exit),
	KUNIT_CASE(hmm_unregister_during_exit),
	KUNIT_CASE(hmm_fault_after_exit),
	KUNIT_CASE(hmm_fault_outlives_process),
	KUNIT_CASE(hmm_begin_bad_arguments),
	KUNIT_CASE(hmm_begin_twice),
	KUNIT_CASE(hmm_end_without_begin),
	KUNIT_CASE(hmm_fault_without_begin),
	KUNIT_CASE(hmm_fault_reads_right_pages),
	KUNIT_CASE(hmm_fault_write_faults_in),
	KUNIT_CASE(hmm_snapshot_does_not_fault),
	KUNIT_CASE(hmm_fault_errors),
	KUNIT_CASE(hmm_fault_drops_lock),
	KUNIT_CASE(hmm_fault_collides_for_ever),
	KUNIT_CASE(hmm_fault_reaped),
	KUNIT_CASE(hmm_fault_per_page_flags),
	KUNIT_CASE(hmm_collision_is_precise),
	KUNIT_CASE(hmm_fault_invalidates_itself),
	KUNIT_CASE(hmm_marked_before_callback),
	KUNIT_CASE(hmm_fault_waits_for_invalidation),
	KUNIT_CASE(hmm_fault_waits_when_restarted),
	KUNIT_CASE(hmm_fault_times_out),
	KUNIT_CASE(hmm_fault_killed),
	KUNIT_CASE(hmm_fault_killed_colliding),
	KUNIT_CASE(hmm_fault_killed_at_lock),
	KUNIT_CASE(hmm_unrelated_does_not_wait),
	KUNIT_CASE(hmm_nested_invalidations),
	KUNIT_CASE(hmm_many_invalidations_at_once),
	KUNIT_CASE(hmm_many_invalidations_of_one_range),
	KUNIT_CASE(hmm_persistent_range),
	KUNIT_CASE(hmm_overlapping_ranges),
	KUNIT_CASE(hmm_range_begun_again),
	KUNIT_CASE(hmm_late_mirror_waits),
	KUNIT_CASE(hmm_nonblock_veto),
	KUNIT_CASE(hmm_nonblock_atomic_mirror),
	KUNIT_CASE(hmm_nonblock_mixed_mirrors),
	KUNIT_CASE(hmm_two_pass_order),
	KUNIT_CASE(hmm_two_pass_side_by_side),
	KUNIT_CASE(hmm_two_pass_many),
	KUNIT_CASE(hmm_two_pass_list_changes),
	KUNIT_CASE(hmm_two_pass_exit),
	KUNIT_CASE(hmm_two_pass_nonblock),
	KUNIT_CASE(hmm_tracepoints),
	KUNIT_CASE(hmm_stress),
	{}
};

static struct kunit_suite hmm_test_suite = {
	.name = "hmm_mirror",
	.test_cases = hmm_test_cases,
};

kunit_test_suite(hmm_test_suite);

MODULE_DESCRIPTION("KUnit tests of HMM mirroring");
MODULE_LICENSE("GPL");
