// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Faults that are cancelled, that must not wait, and that collide again and again.
 */
#include <linux/anon_inodes.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmap_lock.h>
#include <linux/sched/signal.h>

#include "kunit.h"

#define HMM_TEST_READ		HMM_PFN_REQ_FAULT
#define HMM_TEST_WRITE		(HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE)

/* What does a fault return whose mirror is cancelled when it has waited for some time? */
static int hmm_test_cancel_fault(struct kunit *test, struct hmm_test_dev *dev,
				 unsigned long addr)
{
	struct hmm_mirror_range *range;
	struct hmm_test_job *job;

	range = hmm_test_begin(test, dev, addr, 1, HMM_TEST_READ);
	/* In a kernel thread, which no signal reaches, and without a time limit */
	job = hmm_test_fault_job(test, range, 0);
	msleep(HMM_TEST_DELAY_MS);
	KUNIT_EXPECT_FALSE(test, completion_done(&job->done));
	hmm_mirror_cancel(&dev->mirror);
	if (wait_for_completion_timeout(&job->done, HMM_TEST_PATIENCE))
		return job->ret;
	return -ETIMEDOUT;
}

static void hmm_cancel_while_invalidated(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct mmu_notifier_range inv;
	int ret;

	hmm_test_start(&inv, dev->mm, dev->addr, 1);
	ret = hmm_test_cancel_fault(test, dev, dev->addr);
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ(test, ret, -ECANCELED);
}

static void hmm_cancel_while_waiting_for_page(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	unsigned long addr = hmm_test_map_filler(test, dev->mm);

	/* It is woken while it waits */
	hmm_test_filler.never = 1;
	KUNIT_EXPECT_EQ(test, -ECANCELED, hmm_test_cancel_fault(test, dev, addr));
	KUNIT_EXPECT_EQ(test, hmm_test_filler.asked, 1);

	/* It is about to wait, and would miss a wake-up that comes once */
	dev = hmm_test_setup(test);
	addr = hmm_test_map_filler(test, dev->mm);
	hmm_test_filler.never = 3 * HMM_TEST_DELAY_MS;
	KUNIT_EXPECT_EQ(test, -ECANCELED, hmm_test_cancel_fault(test, dev, addr));
	KUNIT_EXPECT_EQ(test, hmm_test_filler.asked, 1);
}

static int hmm_test_do_cancel(void *data)
{
	struct hmm_test_dev *dev = data;

	hmm_mirror_cancel(&dev->mirror);
	return 0;
}

/* It is cancelled when this returns, and the job may wait for its faults */
static struct hmm_test_job *hmm_test_cancel_job(struct kunit *test, struct hmm_test_dev *dev)
{
	struct hmm_test_job *job = hmm_test_job(test, hmm_test_do_cancel, dev);
	unsigned long deadline = jiffies + HMM_TEST_PATIENCE;

	while (!READ_ONCE(dev->mirror.cancelled) && time_before(jiffies, deadline))
		usleep_range(500, 2000);
	return job;
}

static int hmm_test_fault_locked(struct hmm_mirror_range *range)
{
	struct mm_struct *mm = range->notifier.mm;
	int ret;

	mmap_read_lock(mm);
	ret = hmm_mirror_range_fault_locked(range);
	mmap_read_unlock(mm);
	return ret;
}

static int hmm_test_fault_locked_thread(void *range)
{
	return hmm_test_fault_locked(range);
}

/* What waits for nothing is cancelled all the same, before the next page is faulted in */
static void hmm_cancel_between_pages(struct kunit *test)
{
	struct hmm_test_job *job, *cancel;
	struct hmm_mirror_range *range;
	struct hmm_test_dev *dev;
	unsigned long addr;
	int locked;

	for (locked = 0; locked < 2; locked++) {
		dev = hmm_test_setup(test);
		addr = hmm_test_map_filler(test, dev->mm);
		hmm_test_filler.filled = true;
		hmm_test_filler.hold = true;
		range = hmm_test_begin(test, dev, addr, 2, HMM_TEST_READ);
		job = locked ? hmm_test_job(test, hmm_test_fault_locked_thread, range) :
			       hmm_test_fault_job(test, range, 0);
		hmm_test_await(test, &hmm_test_filler.entered);
		cancel = hmm_test_cancel_job(test, dev);
		complete_all(&hmm_test_filler.go_on);
		hmm_test_finish(test, job);
		hmm_test_finish(test, cancel);
		KUNIT_EXPECT_EQ(test, job->ret, -ECANCELED);
		KUNIT_EXPECT_EQ(test, hmm_test_filler.faults, 1);
		hmm_test_expect_unlocked(test, dev->mm);
	}

	/* Nor is any page, if that comes first */
	dev = hmm_test_setup(test);
	addr = hmm_test_map_filler(test, dev->mm);
	range = hmm_test_begin(test, dev, addr, 2, HMM_TEST_READ);
	mmap_write_lock(dev->mm);
	job = hmm_test_fault_job(test, range, 0);
	msleep(HMM_TEST_DELAY_MS);
	cancel = hmm_test_cancel_job(test, dev);
	mmap_write_unlock(dev->mm);
	hmm_test_finish(test, job);
	hmm_test_finish(test, cancel);
	KUNIT_EXPECT_EQ(test, job->ret, -ECANCELED);
	KUNIT_EXPECT_EQ(test, hmm_test_filler.faults, 0);
	hmm_test_expect_unlocked(test, dev->mm);
}

static void hmm_cancelled_mirror(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_test_dev *other = hmm_test_mirror(test, dev->mm, &hmm_test_ops);
	struct hmm_mirror_range *kept, *armed, *range, *others;

	kept = hmm_test_snapshot(test, dev, dev->addr, 1);
	armed = hmm_test_snapshot(test, dev, dev->addr, 1);
	others = hmm_test_snapshot(test, other, dev->addr, 1);
	hmm_mirror_cancel(&dev->mirror);

	/* Not even one that has nothing to wait for */
	KUNIT_EXPECT_EQ(test, -ECANCELED,
			hmm_mirror_range_fault(armed, HMM_TEST_PATIENCE));
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(armed));
	hmm_mirror_range_end(armed);

	/* What is valid stays so, and is told of invalidations */
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(kept));
	hmm_test_invalidate(dev->mm, dev->addr, 1);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(kept));
	KUNIT_EXPECT_EQ(test, dev->calls, 1);

	KUNIT_EXPECT_EQ(test, -ECANCELED,
			hmm_mirror_range_fault(kept, HMM_TEST_PATIENCE));
	mmap_read_lock(dev->mm);
	KUNIT_EXPECT_EQ(test, -ECANCELED, hmm_mirror_range_fault_locked(kept));
	mmap_read_unlock(dev->mm);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(kept));
	range = hmm_test_range(test, dev->addr, 1, 0);
	KUNIT_EXPECT_EQ(test, -ECANCELED, hmm_mirror_range_begin(range, &dev->mirror));
	KUNIT_EXPECT_FALSE(test, hmm_test_in_flight(range));
	hmm_mirror_range_end(kept);

	/* Others are not cancelled */
	hmm_test_fault(test, others);

	/* Nor is the same one, when it is registered again */
	hmm_test_unregister(test, dev);
	hmm_test_register(test, dev);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_once(test, dev, dev->addr, 1,
						     HMM_TEST_READ));
}

static void hmm_fault_locked(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	unsigned long addr = hmm_test_map_filler(test, dev->mm);
	struct hmm_mirror_range *range, *filled;
	struct mmu_notifier_range inv;

	/* It faults in what is not there, also where that is an invalidation of its own */
	hmm_test_read(test, dev->mm, dev->addr);
	range = hmm_test_begin(test, dev, dev->addr, 2, HMM_TEST_WRITE);
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_test_fault_locked(range));
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));
	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_locked(range));
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(range));
	KUNIT_EXPECT_TRUE(test, hmm_test_pfns(range)[0] & HMM_PFN_WRITE);

	/* It does not wait for an invalidation, which may wait for the lock */
	hmm_test_start(&inv, dev->mm, dev->addr, 1);
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_test_fault_locked(range));
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_locked(range));

	/* Nor for a page, and has the lock when it says so */
	filled = hmm_test_begin(test, dev, addr, 1, HMM_TEST_READ);
	KUNIT_EXPECT_EQ(test, -EAGAIN, hmm_test_fault_locked(filled));
	KUNIT_EXPECT_EQ(test, hmm_test_filler.asked, 1);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(filled));
	hmm_test_filler.filled = true;
	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_locked(filled));
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(filled));

	/* And it does not go on for ever */
	hmm_mirror_range_end(filled);
	hmm_test_unmap(test, dev->mm, addr, 2);
	addr = hmm_test_map_filler(test, dev->mm);
	filled = hmm_test_begin(test, dev, addr, 1, HMM_TEST_READ);
	hmm_test_filler.nothing = true;
	KUNIT_EXPECT_EQ(test, -EAGAIN, hmm_test_fault_locked(filled));

	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_range_fault_locked(NULL));
	hmm_mirror_range_end(range);
	HMM_TEST_WARNS(test, KUNIT_EXPECT_EQ(test, -EINVAL,
					     hmm_mirror_range_fault_locked(range)));
}

/* A page of a file, that has to be read by a file system */

static unsigned int hmm_test_file_reads;

static vm_fault_t hmm_test_file_fault(struct vm_fault *vmf)
{
	hmm_test_file_reads++;
	return VM_FAULT_SIGBUS;
}

static int hmm_test_file_mmap(struct file *file, struct vm_area_struct *vma)
{
	static const struct vm_operations_struct vm_ops = {
		.fault = hmm_test_file_fault,
	};

	vma->vm_ops = &vm_ops;
	return 0;
}

static unsigned long hmm_test_map_file(struct kunit *test, struct mm_struct *mm)
{
	static const struct file_operations fops = { .mmap = hmm_test_file_mmap };
	struct file *file = anon_inode_getfile("[hmm_kunit]", &fops, NULL, O_RDONLY);
	unsigned long addr;

	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	kthread_use_mm(mm);
	addr = vm_mmap(file, 0, PAGE_SIZE, PROT_READ, MAP_PRIVATE, 0);
	kthread_unuse_mm(mm);
	fput(file);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(addr));
	hmm_test_file_reads = 0;
	return addr;
}

/* A file system may wait for who needs the lock, whatever it is told; memory does not */
static void hmm_fault_locked_of_file(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_mirror_range *range;
	unsigned long shared;

	range = hmm_test_begin(test, dev, hmm_test_map_file(test, dev->mm), 1, HMM_TEST_READ);
	KUNIT_EXPECT_EQ(test, -EAGAIN, hmm_test_fault_locked(range));
	KUNIT_EXPECT_EQ(test, hmm_test_file_reads, 0);
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_mirror_range_fault(range, HMM_TEST_PATIENCE));
	KUNIT_EXPECT_EQ(test, hmm_test_file_reads, 1);

	if (!IS_ENABLED(CONFIG_SHMEM))
		return;
	kthread_use_mm(dev->mm);
	shared = vm_mmap(NULL, 0, PAGE_SIZE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, 0);
	kthread_unuse_mm(dev->mm);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(shared));
	range = hmm_test_begin(test, dev, shared, 1, HMM_TEST_READ);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_locked(range));
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(range));
}

struct hmm_test_commit {
	struct hmm_test_dev *dev;
	struct hmm_mirror_range *range;
	unsigned int calls;
	unsigned int locked;	/* with the mmap lock held for write */
	unsigned int again;	/* is to be called again, that many times, for nothing */
	unsigned int stale;	/* is made so, that many times, or ... */
	bool unlocked;		/* ... always when that lock is not held */
	struct kunit *test;	/* that of the process, which dies ... */
	unsigned int dies;	/* ... in this call */
	unsigned long other;	/* another area, and whether that is locked as well */
	bool other_locked;
	int ret;		/* once it is valid */
};

#ifdef CONFIG_PER_VMA_LOCK
static bool hmm_test_area_is_locked(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma = lock_vma_under_rcu(mm, addr);

	if (vma)
		vma_end_read(vma);
	return !vma;
}
#else
static bool hmm_test_area_is_locked(struct mm_struct *mm, unsigned long addr)
{
	return false;
}
#endif

static int hmm_test_do_commit(struct hmm_mirror_range *range, void *data)
{
	struct hmm_test_commit *commit = data;
	bool locked = hmm_test_mmap_write_locked(commit->dev->mm);

	commit->calls++;
	commit->locked += locked;
	if (locked && commit->other)
		commit->other_locked = hmm_test_area_is_locked(commit->dev->mm, commit->other);
	if (commit->calls == commit->dies)
		hmm_test_kill(commit->test, commit->dev->mm);
	if (commit->calls <= commit->again)
		return -EAGAIN;
	if (commit->unlocked ? !locked : commit->calls <= commit->stale)
		hmm_test_invalidate(commit->dev->mm, range->start, 1);
	return hmm_test_valid(range) ? commit->ret : -EAGAIN;
}

static int hmm_test_map_range(struct hmm_mirror_range *range,
			      struct hmm_test_commit *commit)
{
	commit->calls = 0;
	commit->locked = 0;
	return hmm_mirror_range_map(range, HMM_TEST_PATIENCE, hmm_test_do_commit, commit);
}

static void hmm_map_commits(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_test_commit commit = { .dev = dev };
	struct hmm_mirror_range *range;

	range = hmm_test_begin(test, dev, dev->addr, 1, HMM_TEST_READ);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_map_range(range, &commit));
	KUNIT_EXPECT_EQ(test, commit.calls, 1);

	/* As often as it takes */
	commit.stale = 5;
	KUNIT_EXPECT_EQ(test, 0, hmm_test_map_range(range, &commit));
	KUNIT_EXPECT_EQ(test, commit.calls, 6);
	KUNIT_EXPECT_EQ(test, commit.locked, 0);

	/* Also if that is for nothing; at last it has the lock, and the range is valid still */
	commit.stale = 0;
	commit.again = 17;
	KUNIT_EXPECT_EQ(test, 0, hmm_test_map_range(range, &commit));
	KUNIT_EXPECT_EQ(test, commit.calls, 18);
	KUNIT_EXPECT_EQ(test, commit.locked, 1);

	/* What the driver says otherwise is what comes of it */
	commit.again = 0;
	commit.ret = -ENOSPC;
	KUNIT_EXPECT_EQ(test, -ENOSPC, hmm_test_map_range(range, &commit));
	KUNIT_EXPECT_EQ(test, commit.calls, 1);
	commit.ret = -EBUSY;
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_test_map_range(range, &commit));
	KUNIT_EXPECT_EQ(test, commit.calls, 1);
	commit.ret = 3;
	KUNIT_EXPECT_EQ(test, 3, hmm_test_map_range(range, &commit));

	/* As is what the fault says */
	hmm_mirror_range_end(range);
	hmm_test_unmap(test, dev->mm, dev->addr, 1);
	range = hmm_test_begin(test, dev, dev->addr, 1, HMM_TEST_READ);
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_test_map_range(range, &commit));
	KUNIT_EXPECT_EQ(test, commit.calls, 0);

	KUNIT_EXPECT_EQ(test, -EINVAL,
			hmm_mirror_range_map(NULL, 0, hmm_test_do_commit, &commit));
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_mirror_range_map(range, 0, NULL, &commit));
	hmm_test_range_set_flags(range, 0, HMM_TEST_WRITE);
	KUNIT_EXPECT_EQ(test, -EINVAL, hmm_test_map_range(range, &commit));
	hmm_mirror_range_end(range);
	hmm_test_range_set_flags(range, 0, 0);
	HMM_TEST_WARNS(test, KUNIT_EXPECT_EQ(test, -EINVAL,
					     hmm_test_map_range(range, &commit)));
}

/* Whoever invalidates the range all the time is locked out for once */
static void hmm_map_gets_its_turn(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	unsigned long addr = hmm_test_map_filler(test, dev->mm);
	struct hmm_test_commit commit = { .dev = dev, .unlocked = true };
	struct hmm_mirror_range *range;

	/* Between the fault and the commit */
	range = hmm_test_begin(test, dev, dev->addr, 1, HMM_TEST_WRITE);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_map_range(range, &commit));
	KUNIT_EXPECT_EQ(test, commit.locked, 1);
	KUNIT_EXPECT_LT(test, commit.calls, 30);
	KUNIT_EXPECT_FALSE(test, rwsem_is_locked(&dev->mm->mmap_lock));
	/* Even then the driver has the last word */
	commit.ret = -EBUSY;
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_test_map_range(range, &commit));
	KUNIT_EXPECT_EQ(test, commit.locked, 1);
	commit.ret = 0;
	hmm_mirror_range_end(range);

	/* In the fault: it collides within one call of hmm_mirror_range_fault() */
	commit.unlocked = false;
	hmm_test_filler.unlocked = true;
	hmm_test_filler.filled = true;
	range = hmm_test_begin(test, dev, addr, 1, HMM_TEST_READ);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_map_range(range, &commit));
	KUNIT_EXPECT_EQ(test, commit.locked, 1);
	KUNIT_EXPECT_EQ(test, commit.calls, 1);
	hmm_mirror_range_end(range);

	/* What has to be waited for is not waited for with the lock */
	hmm_test_unmap(test, dev->mm, addr, 2);
	addr = hmm_test_map_filler(test, dev->mm);
	commit.unlocked = true;
	range = hmm_test_begin(test, dev, addr, 1, HMM_TEST_READ);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_map_range(range, &commit));
	KUNIT_EXPECT_EQ(test, commit.locked, 1);
	KUNIT_EXPECT_TRUE(test, hmm_test_filler.filled);
	KUNIT_EXPECT_FALSE(test, hmm_test_filler.flags & FAULT_FLAG_RETRY_NOWAIT);
}

/* The lock is not held for long, while an invalidation goes on that does not need it */
static void hmm_map_holds_lock_briefly(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_test_commit commit = { .dev = dev };
	struct hmm_mirror_range *range;
	struct mmu_notifier_range inv;
	unsigned long start = jiffies;

	range = hmm_test_begin(test, dev, dev->addr, 1, HMM_TEST_READ);
	hmm_test_start(&inv, dev->mm, dev->addr, 1);
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_mirror_range_map(range, 2, hmm_test_do_commit,
							   &commit));
	hmm_test_end(&inv);
	KUNIT_EXPECT_LT(test, jiffies - start, HMM_TEST_PATIENCE / 10);
	KUNIT_EXPECT_EQ(test, commit.calls, 0);
	KUNIT_EXPECT_FALSE(test, rwsem_is_locked(&dev->mm->mmap_lock));
	KUNIT_EXPECT_EQ(test, 0, hmm_test_map_range(range, &commit));
}

/* There are others, who do not take that lock: then the time is the limit */
static void hmm_map_times_out(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_test_commit commit = { .dev = dev, .stale = UINT_MAX };
	unsigned long timeout = msecs_to_jiffies(HMM_TEST_DELAY_MS);
	struct hmm_mirror_range *range;
	unsigned long start, took;

	range = hmm_test_begin(test, dev, dev->addr, 1, HMM_TEST_READ);
	start = jiffies;
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_mirror_range_map(range, timeout,
							   hmm_test_do_commit, &commit));
	took = jiffies - start;
	KUNIT_EXPECT_GE(test, took, timeout);
	KUNIT_EXPECT_LT(test, took, HMM_TEST_PATIENCE);
	KUNIT_EXPECT_GT(test, commit.locked, 0);
	KUNIT_EXPECT_FALSE(test, rwsem_is_locked(&dev->mm->mmap_lock));
}

/*
 * What is locked out: page faults of the range's areas; of all, where it is not known what
 * is waited for
 */
static void hmm_map_locks_areas(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_test_commit commit = { .dev = dev, .again = 17 };
	struct mmu_notifier_range inv[24];
	struct hmm_mirror_range *range;
	int i;

	if (!IS_ENABLED(CONFIG_PER_VMA_LOCK))
		kunit_skip(test, "areas have no locks of their own here");
	commit.other = hmm_test_map(test, dev->mm, 1, PROT_READ);
	range = hmm_test_begin(test, dev, dev->addr, 1, HMM_TEST_READ);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_map_range(range, &commit));
	KUNIT_EXPECT_EQ(test, commit.locked, 1);
	KUNIT_EXPECT_FALSE(test, commit.other_locked);

	for (i = 0; i < ARRAY_SIZE(inv); i++)
		hmm_test_start(&inv[i], dev->mm, HMM_TEST_BASE, 1);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_map_range(range, &commit));
	for (i = 0; i < ARRAY_SIZE(inv); i++)
		hmm_test_end(&inv[i]);
	KUNIT_EXPECT_EQ(test, commit.locked, 1);
	KUNIT_EXPECT_TRUE(test, commit.other_locked);

	commit.other = dev->addr;
	commit.other_locked = false;
	KUNIT_EXPECT_EQ(test, 0, hmm_test_map_range(range, &commit));
	KUNIT_EXPECT_TRUE(test, commit.other_locked);
}

static int hmm_test_map_thread(void *data)
{
	struct hmm_test_commit *commit = data;
	int ret;

	allow_signal(SIGKILL);
	ret = hmm_mirror_range_map(commit->range, 0, hmm_test_do_commit, commit);
	flush_signals(current);
	return ret;
}

/* While it waits for its turn */
static void hmm_map_killed(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_test_commit commit = { .dev = dev, .unlocked = true };
	unsigned long deadline = jiffies + HMM_TEST_PATIENCE;
	int users = atomic_read(&dev->mm->mm_users);
	struct hmm_test_job *job;
	bool waits, ended;

	commit.range = hmm_test_begin(test, dev, dev->addr, 1, HMM_TEST_READ);
	mmap_read_lock(dev->mm);
	job = hmm_test_job(test, hmm_test_map_thread, &commit);
	do {
		usleep_range(500, 2000);
		waits = mmap_lock_is_contended(dev->mm);
	} while (!waits && time_before(jiffies, deadline));
	send_sig(SIGKILL, job->task, 1);
	ended = wait_for_completion_timeout(&job->done, HMM_TEST_PATIENCE);
	mmap_read_unlock(dev->mm);
	hmm_test_finish(test, job);
	KUNIT_EXPECT_TRUE(test, waits);
	KUNIT_EXPECT_TRUE(test, ended);
	KUNIT_EXPECT_EQ(test, job->ret, -EINTR);
	KUNIT_EXPECT_EQ(test, commit.locked, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&dev->mm->mm_users), users);
	KUNIT_EXPECT_FALSE(test, rwsem_is_locked(&dev->mm->mmap_lock));
}

/* The process dies before the next fault, or before the range has its turn */
static void hmm_map_of_dead(struct kunit *test)
{
	static const unsigned int calls[] = { 1, 17 };
	int i;

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		struct hmm_test_dev *dev = hmm_test_setup(test);
		struct hmm_test_commit commit = {
			.dev = dev,
			.again = UINT_MAX,
			.test = test,
			.dies = calls[i],
		};
		struct hmm_mirror_range *range;

		range = hmm_test_begin(test, dev, dev->addr, 1, HMM_TEST_READ);
		KUNIT_EXPECT_EQ(test, -ESRCH, hmm_test_map_range(range, &commit));
		KUNIT_EXPECT_EQ(test, commit.calls, calls[i]);
		KUNIT_EXPECT_EQ(test, commit.locked, 0);
		KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));
	}
}

/* The end of the scope is the end of the flight */
static void hmm_range_in_scope(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_mirror_range range;
	unsigned long pfn = 0;

	hmm_mirror_range_init(&range, dev->addr, dev->addr + PAGE_SIZE, &pfn,
			      HMM_TEST_READ);
	{
		CLASS(hmm_mirror_range, in_flight)(&range, &dev->mirror);

		KUNIT_ASSERT_PTR_EQ(test, in_flight, &range);
		KUNIT_EXPECT_TRUE(test, hmm_test_in_flight(&range));
		KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(in_flight, 0));
	}
	KUNIT_EXPECT_FALSE(test, hmm_test_in_flight(&range));

	hmm_mirror_range_init(&range, dev->addr, dev->addr, &pfn, HMM_TEST_READ);
	{
		CLASS(hmm_mirror_range, in_flight)(&range, &dev->mirror);

		KUNIT_EXPECT_EQ(test, PTR_ERR(in_flight), -EINVAL);
	}
}

static struct kunit_case hmm_progress_cases[] = {
	KUNIT_CASE(hmm_cancel_while_invalidated),
	KUNIT_CASE(hmm_cancel_while_waiting_for_page),
	KUNIT_CASE(hmm_cancel_between_pages),
	KUNIT_CASE(hmm_cancelled_mirror),
	KUNIT_CASE(hmm_fault_locked),
	KUNIT_CASE(hmm_fault_locked_of_file),
	KUNIT_CASE(hmm_map_commits),
	KUNIT_CASE(hmm_map_gets_its_turn),
	KUNIT_CASE(hmm_map_holds_lock_briefly),
	KUNIT_CASE(hmm_map_times_out),
	KUNIT_CASE(hmm_map_locks_areas),
	KUNIT_CASE(hmm_map_killed),
	KUNIT_CASE(hmm_map_of_dead),
	KUNIT_CASE(hmm_range_in_scope),
	{}
};

static struct kunit_suite hmm_progress_suite = {
	.name = "hmm_mirror_progress",
	.test_cases = hmm_progress_cases,
};

kunit_test_suite(hmm_progress_suite);
