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
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/uaccess.h>

#include "kunit.h"

/* Address spaces */

KUNIT_DEFINE_ACTION_WRAPPER(hmm_test_mmdrop, mmdrop, struct mm_struct *);

void hmm_test_mmput(void *mm)
{
	mmput(mm);
}

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

/* Returns 0 or an address */
unsigned long hmm_test_do_map(struct mm_struct *mm, unsigned long addr,
			      unsigned long pages, unsigned long prot)
{
	kthread_use_mm(mm);
	addr = vm_mmap(NULL, addr, pages * PAGE_SIZE, prot, MAP_ANONYMOUS |
		       MAP_PRIVATE | (addr ? MAP_FIXED : 0), 0);
	kthread_unuse_mm(mm);
	return IS_ERR_VALUE(addr) ? 0 : addr;
}

unsigned long hmm_test_map(struct kunit *test, struct mm_struct *mm,
			   unsigned long pages, unsigned long prot)
{
	unsigned long addr = hmm_test_do_map(mm, 0, pages, prot);

	KUNIT_ASSERT_NE(test, addr, 0);
	return addr;
}

unsigned long hmm_test_map_rw(struct kunit *test, struct mm_struct *mm)
{
	return hmm_test_map(test, mm, HMM_TEST_PAGES, PROT_READ | PROT_WRITE);
}

int hmm_test_unmap(struct mm_struct *mm, unsigned long addr,
		   unsigned long pages)
{
	int ret;

	kthread_use_mm(mm);
	ret = vm_munmap(addr, pages * PAGE_SIZE);
	kthread_unuse_mm(mm);
	return ret;
}

int hmm_test_discard(struct mm_struct *mm, unsigned long addr,
		     unsigned long pages)
{
	int ret;

	kthread_use_mm(mm);
	ret = do_madvise(mm, addr, pages * PAGE_SIZE, MADV_DONTNEED);
	kthread_unuse_mm(mm);
	return ret;
}

int hmm_test_write(struct mm_struct *mm, unsigned long addr, u32 value)
{
	int ret;

	kthread_use_mm(mm);
	ret = put_user(value, (u32 __user *)addr);
	kthread_unuse_mm(mm);
	return ret;
}

int hmm_test_read(struct mm_struct *mm, unsigned long addr, u32 *value)
{
	int ret;

	kthread_use_mm(mm);
	ret = get_user(*value, (u32 __user *)addr);
	kthread_unuse_mm(mm);
	return ret;
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

void hmm_test_put_page(void *page)
{
	put_page(page);
}

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

/* Is an mm_struct down to this many references, or will it be in a moment? */
bool hmm_test_mm_count_falls_to(struct mm_struct *mm, int count)
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

void hmm_test_finish(struct kunit *test, struct hmm_test_job *job)
{
	KUNIT_ASSERT_NE_MSG(test, 0, wait_for_completion_timeout(&job->done,
								 HMM_TEST_PATIENCE),
			    "a helper thread hangs");
}

/* Fake devices */

/* Does an invalidation of [start, end) go on, as far as the registry knows? */
bool hmm_test_busy(struct hmm_test_dev *dev, unsigned long start,
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

void hmm_test_invalidate(struct hmm_mirror *mirror,
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

void hmm_test_sync(struct hmm_mirror *mirror, enum hmm_update_type type,
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

void hmm_test_release(struct hmm_mirror *mirror)
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

const struct hmm_mirror_ops hmm_test_ops = {
	.invalidate = hmm_test_invalidate,
	.release = hmm_test_release,
};

const struct hmm_mirror_ops hmm_test_atomic_ops = {
	.invalidate = hmm_test_invalidate,
	.release = hmm_test_release,
	.flags = HMM_MIRROR_ATOMIC,
};

const struct hmm_mirror_ops hmm_test_2017_ops = {
	.sync_cpu_device_pagetables = hmm_test_sync,
};

struct hmm_test_dev *hmm_test_dev(struct kunit *test,
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

int hmm_test_try_register(struct hmm_test_dev *dev, struct mm_struct *mm)
{
	int ret;

	mmap_write_lock(mm);
	ret = hmm_mirror_register(&dev->mirror, mm);
	mmap_write_unlock(mm);
	return ret;
}

void hmm_test_do_unregister(void *data)
{
	struct hmm_test_dev *dev = data;

	hmm_mirror_unregister(&dev->mirror);
	spin_lock(&dev->lock);
	dev->gone = true;
	spin_unlock(&dev->lock);
}

void hmm_test_register(struct kunit *test, struct hmm_test_dev *dev,
		       struct mm_struct *mm)
{
	dev->gone = false;
	KUNIT_ASSERT_EQ(test, 0, hmm_test_try_register(dev, mm));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_test_do_unregister,
						  dev));
}

void hmm_test_unregister(struct kunit *test, struct hmm_test_dev *dev)
{
	kunit_release_action(test, hmm_test_do_unregister, dev);
}

struct hmm_test_dev *hmm_test_mirror(struct kunit *test, struct mm_struct *mm,
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

struct hmm_mirror_range *hmm_test_range(struct kunit *test, unsigned long addr,
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

struct hmm_mirror_range *hmm_test_begin(struct kunit *test,
					struct hmm_test_dev *dev,
					unsigned long addr, unsigned long pages,
					unsigned long flags)
{
	struct hmm_mirror_range *range = hmm_test_range(test, addr, pages, flags);

	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_begin(range, &dev->mirror));
	return range;
}

bool hmm_test_valid(struct hmm_test_dev *dev, struct hmm_mirror_range *range)
{
	bool valid;

	spin_lock(&dev->lock);
	valid = hmm_mirror_range_valid(range);
	spin_unlock(&dev->lock);
	return valid;
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

/* One invalidation, by munmap() */
void hmm_test_unmap_one(struct kunit *test, struct mm_struct *mm)
{
	unsigned long addr = hmm_test_map(test, mm, 1, PROT_READ | PROT_WRITE);

	KUNIT_ASSERT_EQ(test, 0, hmm_test_write(mm, addr, 1));
	KUNIT_ASSERT_EQ(test, 0, hmm_test_unmap(mm, addr, 1));
}

/* Nothing may be left of invalidations that have ended */
void hmm_test_expect_idle(struct kunit *test, struct hmm_test_dev *dev)
{
	KUNIT_EXPECT_FALSE(test, hmm_test_busy(dev, 0, TASK_SIZE & PAGE_MASK));
}

int hmm_test_fault_job(void *data)
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
