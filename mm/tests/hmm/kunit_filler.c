// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A mapping that needs somebody to fill it in, as with userfaultfd(2).
 */
#include <linux/delay.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched.h>

#include "kunit.h"

struct hmm_test_filler hmm_test_filler;

KUNIT_DEFINE_ACTION_WRAPPER(hmm_test_free_filler, put_page, struct page *);

/* Of no memory of the kernel's; persistent memory lies behind the rest */
static unsigned long hmm_test_foreign_pfn(void)
{
	unsigned long pfn = max_pfn + 1;

	while (pfn_valid(pfn))
		pfn++;
	return pfn;
}

static vm_fault_t hmm_test_fill(const struct vm_special_mapping *mapping,
				struct vm_area_struct *vma, struct vm_fault *vmf)
{
	hmm_test_filler.faults++;
	complete_all(&hmm_test_filler.entered);
	if (hmm_test_filler.hold) {
		hmm_test_filler.hold = false;
		wait_for_completion_timeout(&hmm_test_filler.go_on, HMM_TEST_PATIENCE);
	}
	if (hmm_test_filler.range)
		hmm_test_filler.valid |= hmm_mirror_range_valid(hmm_test_filler.range);
	if (hmm_test_filler.nothing)
		return VM_FAULT_NOPAGE;
	if (hmm_test_filler.completes) {
		hmm_test_filler.completes = false;
		hmm_test_filler.filled = true;
		mmap_read_unlock(vma->vm_mm);
		return VM_FAULT_NOPAGE | VM_FAULT_COMPLETED;
	}
	if (hmm_test_filler.foreign)
		return vmf_insert_pfn(vma, vmf->address, hmm_test_foreign_pfn());
	if (hmm_test_filler.bad) {
		if (hmm_test_filler.bad++ == 10 || vmf->flags & FAULT_FLAG_TRIED)
			return VM_FAULT_SIGBUS;
		mmap_read_unlock(vma->vm_mm);
		return VM_FAULT_RETRY;
	}
	if (time_before(jiffies, hmm_test_filler.collide)) {
		hmm_test_invalidate(vma->vm_mm, vmf->address, 1);
		return VM_FAULT_NOPAGE;
	}
	if (hmm_test_filler.unlocked && !hmm_test_mmap_write_locked(vma->vm_mm)) {
		hmm_test_invalidate(vma->vm_mm, vmf->address, 1);
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
	hmm_test_filler.asked++;
	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;
	if (hmm_test_filler.never) {
		/* Sleeps once, as handle_userfault(), and may have been woken before */
		mmap_read_unlock(vma->vm_mm);
		msleep(hmm_test_filler.never);
		set_current_state(TASK_KILLABLE);
		schedule();
		return VM_FAULT_RETRY;
	}
	hmm_test_filler.filled = true;
	hmm_test_filler.flags = vmf->flags;
	mmap_read_unlock(vma->vm_mm);
	msleep(HMM_TEST_DELAY_MS);
	return VM_FAULT_RETRY;
}

/* Returns the address of two such pages */
unsigned long hmm_test_map_filler(struct kunit *test, struct mm_struct *mm)
{
	static const struct vm_special_mapping mapping = {
		.name = "[hmm_kunit]",
		.fault = hmm_test_fill,
	};
	unsigned long addr = hmm_test_map(test, mm, 2, PROT_READ);
	struct vm_area_struct *vma;

	memset(&hmm_test_filler, 0, sizeof(hmm_test_filler));
	init_completion(&hmm_test_filler.entered);
	init_completion(&hmm_test_filler.go_on);
	hmm_test_filler.collide = jiffies;
	hmm_test_filler.page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	KUNIT_ASSERT_NOT_NULL(test, hmm_test_filler.page);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, hmm_test_free_filler,
						  hmm_test_filler.page));
	hmm_test_unmap(test, mm, addr, 2);
	mmap_write_lock(mm);
	vma = _install_special_mapping(mm, addr, 2 * PAGE_SIZE, VM_READ | VM_WRITE |
				       VM_MAYREAD | VM_MAYWRITE | VM_MIXEDMAP, &mapping);
	mmap_write_unlock(mm);
	KUNIT_ASSERT_FALSE(test, IS_ERR(vma));
	return addr;
}
