// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the KUnit tests of HMM mirroring share: address spaces, helper threads, a fake
 * device, device page faults, and invalidations made by hand.
 */
#include <kunit/resource.h>
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/uaccess.h>

#include "../../hmm.h"
#include "kunit.h"

/* Address spaces */

KUNIT_DEFINE_ACTION_WRAPPER(hmm_test_mmput, mmput, struct mm_struct *);
KUNIT_DEFINE_ACTION_WRAPPER(hmm_test_mmdrop, mmdrop, struct mm_struct *);

/* Lives until hmm_test_kill() or the end of the test; the mm_struct for longer */
struct mm_struct *hmm_test_mm(struct kunit *test)
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

void hmm_test_kill(struct kunit *test, struct mm_struct *mm)
{
	kunit_release_action(test, hmm_test_mmput, mm);
}

static int hmm_test_do_mmput(void *mm)
{
	mmput(mm);
	return 0;
}

struct hmm_test_job *hmm_test_kill_job(struct kunit *test, struct mm_struct *mm)
{
	/* The job drops the last reference in the test's stead */
	kunit_remove_action(test, hmm_test_mmput, mm);
	return hmm_test_job(test, hmm_test_do_mmput, mm);
}

/* Is an mm_struct down to this many references, or will it be in a moment? */
bool hmm_test_mm_count_falls_to(struct mm_struct *mm, int count)
{
	unsigned long deadline = jiffies + HMM_TEST_PATIENCE;

	while (atomic_read(&mm->mm_count) > count) {
		if (time_after(jiffies, deadline))
			return false;
		usleep_range(500, 2000);
	}
	return true;
}

bool hmm_test_mmap_write_locked(struct mm_struct *mm)
{
	if (!mmap_read_trylock(mm))
		return true;
	mmap_read_unlock(mm);
	return false;
}

/* If not, that must not hold up the end of the test */
void hmm_test_expect_unlocked(struct kunit *test, struct mm_struct *mm)
{
	bool locked = rwsem_is_locked(&mm->mmap_lock);

	KUNIT_EXPECT_FALSE(test, locked);
	if (locked)
		mmap_read_unlock(mm);
}

unsigned long hmm_test_map(struct kunit *test, struct mm_struct *mm,
			   unsigned long pages, unsigned long prot)
{
	unsigned long addr;

	kthread_use_mm(mm);
	addr = vm_mmap(NULL, 0, pages * PAGE_SIZE, prot,
		       MAP_ANONYMOUS | MAP_PRIVATE, 0);
	kthread_unuse_mm(mm);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(addr));
	return addr;
}

void hmm_test_unmap(struct kunit *test, struct mm_struct *mm,
		    unsigned long addr, unsigned long pages)
{
	int ret;

	kthread_use_mm(mm);
	ret = vm_munmap(addr, pages * PAGE_SIZE);
	kthread_unuse_mm(mm);
	KUNIT_ASSERT_EQ(test, ret, 0);
}

void hmm_test_discard(struct kunit *test, struct mm_struct *mm,
		      unsigned long addr, unsigned long pages)
{
	int ret;

	kthread_use_mm(mm);
	ret = do_madvise(mm, addr, pages * PAGE_SIZE, MADV_DONTNEED);
	kthread_unuse_mm(mm);
	KUNIT_ASSERT_EQ(test, ret, 0);
}

void hmm_test_write(struct kunit *test, struct mm_struct *mm,
		    unsigned long addr, u32 value)
{
	int ret;

	kthread_use_mm(mm);
	ret = put_user(value, (u32 __user *)addr);
	kthread_unuse_mm(mm);
	KUNIT_ASSERT_EQ(test, ret, 0);
}

u32 hmm_test_read(struct kunit *test, struct mm_struct *mm, unsigned long addr)
{
	u32 value;
	int ret;

	kthread_use_mm(mm);
	ret = get_user(value, (u32 __user *)addr);
	kthread_unuse_mm(mm);
	KUNIT_ASSERT_EQ(test, ret, 0);
	return value;
}

KUNIT_DEFINE_ACTION_WRAPPER(hmm_test_put_page, put_page, struct page *);

/* Which page is it really?  get_user_pages() knows, and keeps it for the test */
struct page *hmm_test_page(struct kunit *test, struct mm_struct *mm,
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

bool hmm_test_mapped(struct page *page)
{
	return folio_mapped(page_folio(page));
}

u32 hmm_test_peek(struct page *page)
{
	u32 *data = kmap_local_page(page);
	u32 value = READ_ONCE(*data);

	kunmap_local(data);
	return value;
}

void hmm_test_poke(struct page *page, u32 value)
{
	u32 *data = kmap_local_page(page);

	WRITE_ONCE(*data, value);
	kunmap_local(data);
}

/* Helper threads */

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
struct hmm_test_job *hmm_test_job(struct kunit *test, int (*fn)(void *),
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

void hmm_test_await(struct kunit *test, struct completion *completion)
{
	KUNIT_ASSERT_NE_MSG(test, 0, wait_for_completion_timeout(completion,
								 HMM_TEST_PATIENCE),
			    "a helper thread hangs");
}

void hmm_test_finish(struct kunit *test, struct hmm_test_job *job)
{
	hmm_test_await(test, &job->done);
}

/* Invalidations made by the test */

void hmm_test_start(struct mmu_notifier_range *inv, struct mm_struct *mm,
		    unsigned long addr, unsigned long pages)
{
	mmu_notifier_range_init(inv, MMU_NOTIFY_CLEAR, 0, mm, addr,
				addr + pages * PAGE_SIZE);
	mmu_notifier_invalidate_range_start(inv);
}

int hmm_test_start_nonblock(struct mmu_notifier_range *inv,
			    struct mm_struct *mm, unsigned long addr,
			    unsigned long pages)
{
	mmu_notifier_range_init(inv, MMU_NOTIFY_CLEAR, 0, mm, addr,
				addr + pages * PAGE_SIZE);
	return mmu_notifier_invalidate_range_start_nonblock(inv);
}

void hmm_test_end(struct mmu_notifier_range *inv)
{
	mmu_notifier_invalidate_range_end(inv);
}

void hmm_test_invalidate(struct mm_struct *mm, unsigned long addr,
			 unsigned long pages)
{
	struct mmu_notifier_range inv;

	hmm_test_start(&inv, mm, addr, pages);
	hmm_test_end(&inv);
}

static int hmm_test_do_invalidate(void *data)
{
	struct hmm_test_dev *dev = data;

	hmm_test_invalidate(dev->mm, HMM_TEST_BASE, 1);
	return 0;
}

struct hmm_test_job *hmm_test_invalidate_job(struct kunit *test,
					     struct hmm_test_dev *dev)
{
	return hmm_test_job(test, hmm_test_do_invalidate, dev);
}

/* Fake devices */

/* Does an invalidation of these pages go on, as far as the registry knows? */
bool hmm_test_busy(struct hmm_test_dev *dev, unsigned long addr,
		   unsigned long pages)
{
	struct hmm_mirror_range range = {};
	unsigned long pfn;
	bool busy;

	hmm_test_range_set(&range, addr, addr + pages * PAGE_SIZE);
	hmm_test_range_set_pfns(&range, &pfn);
	if (hmm_mirror_range_begin(&range, &dev->mirror))
		return true;
	busy = !hmm_test_armed(&range);
	hmm_mirror_range_end(&range);
	return busy;
}

/* Nothing may be left of invalidations that have ended */
void hmm_test_expect_idle(struct kunit *test, struct hmm_test_dev *dev)
{
	KUNIT_EXPECT_FALSE(test, hmm_test_busy(dev, 0, TASK_SIZE >> PAGE_SHIFT));
}

struct hmm_test_dev *hmm_test_enter(struct hmm_mirror *mirror,
				    const struct mmu_notifier_range *update)
{
	struct hmm_test_dev *dev = container_of(mirror, struct hmm_test_dev,
						mirror);
	bool hold;

	spin_lock(&dev->lock);
	dev->calls++;
	dev->late += dev->gone;
	if (dev->watch)
		dev->unmapped += !hmm_test_mapped(dev->watch);
	if (dev->range)
		dev->fresh += hmm_mirror_range_valid(dev->range);
	if (update) {
		dev->last = (struct hmm_test_update){
			.start = update->start,
			.end = update->end,
			.event = update->event,
			.blockable = mmu_notifier_range_blockable(update),
		};
	}
	hold = dev->hold;
	dev->hold = false;
	spin_unlock(&dev->lock);

	complete_all(&dev->entered);
	if (hold)
		wait_for_completion_timeout(&dev->go_on, HMM_TEST_PATIENCE);
	return dev;
}

void hmm_test_leave(struct hmm_test_dev *dev)
{
	spin_lock(&dev->lock);
	dev->done++;
	dev->late += dev->gone;
	spin_unlock(&dev->lock);
}

static bool hmm_test_op_atomic(struct hmm_mirror *mirror,
			       const struct mmu_notifier_range *update)
{
	struct hmm_test_dev *dev = hmm_test_enter(mirror, update);

	if (dev->probe)
		dev->probes_valid += !hmm_test_busy(dev, dev->addr, 1);
	hmm_test_leave(dev);
	return true;
}

/* Refuses what must not block */
static bool hmm_test_op_invalidate(struct hmm_mirror *mirror,
				   const struct mmu_notifier_range *update)
{
	struct hmm_test_dev *dev = container_of(mirror, struct hmm_test_dev,
						mirror);

	hmm_test_op_atomic(mirror, update);
	if (mmu_notifier_range_blockable(update))
		return true;
	dev->refused++;
	return false;
}

static void hmm_test_op_end(struct hmm_mirror *mirror,
			    const struct mmu_notifier_range *update)
{
	struct hmm_test_dev *dev = hmm_test_enter(mirror, update);

	if (dev->probe)
		dev->probes_valid += !hmm_test_busy(dev, update->start, 1);
	dev->afters++;
	hmm_test_leave(dev);
}

static void hmm_test_op_sync(struct hmm_mirror *mirror,
			     enum hmm_update_type type, unsigned long start,
			     unsigned long end)
{
	const struct mmu_notifier_range update = { .start = start, .end = end };
	struct hmm_test_dev *dev = hmm_test_enter(mirror, &update);

	if (type == HMM_UPDATE_INVALIDATE)
		dev->syncs++;
	if (dev->probe)
		dev->probes_valid += !hmm_test_busy(dev, start, 1);
	hmm_test_leave(dev);
}

static void hmm_test_op_release(struct hmm_mirror *mirror)
{
	struct hmm_test_dev *dev = hmm_test_enter(mirror, NULL);

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

const struct hmm_mirror_ops hmm_test_ops = {
	.name = "test",
	.invalidate = hmm_test_op_invalidate,
	.release = hmm_test_op_release,
};

const struct hmm_mirror_ops hmm_test_atomic_ops = {
	.invalidate = hmm_test_op_atomic,
	.release = hmm_test_op_release,
};

const struct hmm_mirror_ops hmm_test_end_ops = {
	.invalidate = hmm_test_op_invalidate,
	.invalidate_end = hmm_test_op_end,
};

const struct hmm_mirror_ops hmm_test_2017_ops = {
	.sync_cpu_device_pagetables = hmm_test_op_sync,
};

const struct hmm_mirror_ops hmm_test_both_ops = {
	.sync_cpu_device_pagetables = hmm_test_op_sync,
	.invalidate = hmm_test_op_invalidate,
};

void hmm_test_not_on_list(struct kunit *test)
{
	if (hmm_use_list)
		kunit_skip(test, "not on the list of notifiers");
}

/* Not registered yet */
struct hmm_test_dev *hmm_test_dev(struct kunit *test, struct mm_struct *mm,
				  const struct hmm_mirror_ops *ops)
{
	struct hmm_test_dev *dev = kunit_kzalloc(test, sizeof(*dev), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, dev);
	/* The registry must not rely on more than this */
	memset(&dev->mirror, 0x5a, sizeof(dev->mirror));
	dev->mirror.hmm = NULL;
	dev->mirror.window_start = 0;
	dev->mirror.window_end = 0;
	dev->mirror.dev = NULL;
	dev->mirror.ops = ops;
	if (hmm_use_list && ops) {
		/* They must not refuse, nor do they where a case makes none do so */
		struct hmm_mirror_ops *atomic = kunit_kzalloc(test, sizeof(*ops),
							      GFP_KERNEL);

		KUNIT_ASSERT_NOT_NULL(test, atomic);
		*atomic = *ops;
		atomic->flags |= HMM_MIRROR_ATOMIC;
		dev->mirror.ops = atomic;
	}
	dev->mm = mm;
	spin_lock_init(&dev->lock);
	init_completion(&dev->entered);
	init_completion(&dev->go_on);
	return dev;
}

int hmm_test_try_register(struct hmm_test_dev *dev)
{
	int ret;

	mmap_write_lock(dev->mm);
	ret = hmm_mirror_register(&dev->mirror, dev->mm);
	mmap_write_unlock(dev->mm);
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

void hmm_test_register(struct kunit *test, struct hmm_test_dev *dev)
{
	dev->gone = false;
	KUNIT_ASSERT_EQ(test, 0, hmm_test_try_register(dev));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_test_do_unregister,
						  dev));
}

void hmm_test_unregister(struct kunit *test, struct hmm_test_dev *dev)
{
	kunit_release_action(test, hmm_test_do_unregister, dev);
}

static int hmm_test_unregister_thread(void *dev)
{
	hmm_test_do_unregister(dev);
	return 0;
}

struct hmm_test_job *hmm_test_unregister_job(struct kunit *test,
					     struct hmm_test_dev *dev)
{
	kunit_remove_action(test, hmm_test_do_unregister, dev);
	return hmm_test_job(test, hmm_test_unregister_thread, dev);
}

struct hmm_test_dev *hmm_test_mirror(struct kunit *test, struct mm_struct *mm,
				     const struct hmm_mirror_ops *ops)
{
	struct hmm_test_dev *dev = hmm_test_dev(test, mm, ops);

	hmm_test_register(test, dev);
	return dev;
}

/* What most cases need: an address space with HMM_TEST_PAGES pages at ->addr, mirrored */
struct hmm_test_dev *hmm_test_setup(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_mirror(test, mm, &hmm_test_ops);

	dev->addr = hmm_test_map(test, mm, HMM_TEST_PAGES, PROT_READ | PROT_WRITE);
	return dev;
}

/* Device page faults */

static void hmm_test_range_cleanup(void *data)
{
	struct hmm_mirror_range *range = data;

	if (hmm_test_in_flight(range))
		hmm_mirror_range_end(range);
}

struct hmm_mirror_range *hmm_test_range(struct kunit *test, unsigned long addr,
					unsigned long pages, unsigned long flags)
{
	struct hmm_mirror_range *range;
	unsigned long *pfns;

	range = kunit_kzalloc(test, sizeof(*range), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, range);
	pfns = kunit_kcalloc(test, pages, sizeof(*pfns), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, pfns);
	hmm_test_range_set(range, addr, addr + pages * PAGE_SIZE);
	hmm_test_range_set_pfns(range, pfns);
	hmm_test_range_set_flags(range, flags, 0);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_test_range_cleanup,
						  range));
	return range;
}

struct hmm_mirror_range *hmm_test_begin(struct kunit *test,
					struct hmm_test_dev *dev,
					unsigned long addr, unsigned long pages,
					unsigned long flags)
{
	struct hmm_mirror_range *range = hmm_test_range(test, addr, pages, flags);

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_begin(range, &dev->mirror));
	return range;
}

bool hmm_test_valid(struct hmm_mirror_range *range)
{
	struct hmm_test_dev *dev = container_of(range->mirror,
						struct hmm_test_dev, mirror);
	bool valid;

	spin_lock(&dev->lock);
	valid = hmm_mirror_range_valid(range);
	spin_unlock(&dev->lock);
	return valid;
}

/* Reads a range that nothing collides with */
void hmm_test_fault(struct kunit *test, struct hmm_mirror_range *range)
{
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_fault(range, HMM_TEST_PATIENCE));
	KUNIT_ASSERT_TRUE(test, hmm_test_valid(range));
}

/* A range in flight that has been read, as it is */
struct hmm_mirror_range *hmm_test_snapshot(struct kunit *test,
					   struct hmm_test_dev *dev,
					   unsigned long addr,
					   unsigned long pages)
{
	struct hmm_mirror_range *range = hmm_test_begin(test, dev, addr, pages, 0);

	hmm_test_fault(test, range);
	return range;
}

int hmm_test_fault_once(struct kunit *test, struct hmm_test_dev *dev,
			unsigned long addr, unsigned long pages,
			unsigned long flags)
{
	struct hmm_mirror_range *range = hmm_test_begin(test, dev, addr, pages,
							flags);
	int ret = hmm_mirror_range_fault(range, HMM_TEST_PATIENCE);

	hmm_mirror_range_end(range);
	return ret;
}

struct hmm_test_thread_fault {
	struct hmm_mirror_range *range;
	unsigned long timeout;
};

static int hmm_test_fault_thread(void *data)
{
	struct hmm_test_thread_fault *fault = data;
	int ret;

	allow_signal(SIGKILL);
	ret = hmm_mirror_range_fault(fault->range, fault->timeout);
	flush_signals(current);
	return ret;
}

/* Faults in a thread of its own, which may be killed */
struct hmm_test_job *hmm_test_fault_job(struct kunit *test,
					struct hmm_mirror_range *range,
					unsigned long timeout)
{
	struct hmm_test_thread_fault *fault;

	fault = kunit_kzalloc(test, sizeof(*fault), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fault);
	fault->range = range;
	fault->timeout = timeout;
	return hmm_test_job(test, hmm_test_fault_thread, fault);
}

MODULE_DESCRIPTION("KUnit tests of HMM mirroring");
MODULE_LICENSE("GPL");
