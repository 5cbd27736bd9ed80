// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Device page faults: what they read, what they wait for, and how they end.
 */
#include <kunit/resource.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/slab.h>

#include "kunit.h"

void hmm_fault_reads_right_pages(struct kunit *test)
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

void hmm_fault_write_faults_in(struct kunit *test)
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

void hmm_snapshot_does_not_fault(struct kunit *test)
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

void hmm_fault_errors(struct kunit *test)
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

void hmm_fault_drops_lock(struct kunit *test)
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
void hmm_fault_collides_for_ever(struct kunit *test)
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
void hmm_fault_reaped(struct kunit *test)
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

void hmm_fault_per_page_flags(struct kunit *test)
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
 * A write fault of the zero page replaces it, which is an invalidation of its own
 * range, by the same task.  It has to get past that; where it cannot, as the input
 * flags are overwritten, it says so.
 */
void hmm_fault_invalidates_itself(struct kunit *test)
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

void hmm_fault_waits_for_invalidation(struct kunit *test)
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
void hmm_fault_waits_when_restarted(struct kunit *test)
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

void hmm_fault_times_out(struct kunit *test)
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

void hmm_fault_killed(struct kunit *test)
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
void hmm_fault_killed_colliding(struct kunit *test)
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

void hmm_fault_killed_at_lock(struct kunit *test)
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

void hmm_unrelated_does_not_wait(struct kunit *test)
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

void hmm_persistent_range(struct kunit *test)
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

/* The same struct for one fault after the other, elsewhere and for others */
void hmm_range_begun_again(struct kunit *test)
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
