// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * hmm_range_fault_locked() for kernels before 7.3, whose hmm_range_fault() makes page
 * faults with the mmap lock held.  Here that only reads: what is missing is faulted in
 * before it reads once more.
 */
#include <linux/bitops.h>
#include <linux/build_bug.h>
#include <linux/hmm.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include "internal.h"

/*
 * What is read at once, and what is asked of its pages: of all of them, and of those in
 * @fault and @write.  The reading overwrites the input flags of each page, so these are
 * kept here; there is room for a bit for each page.
 */
struct hmm_part {
	unsigned long start;	/* inclusive */
	unsigned long end;	/* exclusive */
	unsigned long *pfns;
	unsigned long all;
	unsigned long fault;
	unsigned long write;
};

static void hmm_part_init(struct hmm_part *part, const struct hmm_range *range,
			  unsigned long start)
{
	unsigned long i, mask = range->pfn_flags_mask;

	*part = (struct hmm_part){
		.start = start,
		.end = range->end,
		.pfns = range->hmm_pfns + ((start - range->start) >> PAGE_SHIFT),
		.all = range->default_flags & (HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE),
	};
	if (!mask)
		return;

	part->end = min(part->end, start + BITS_PER_LONG * PAGE_SIZE);
	for (i = 0; i < (part->end - start) >> PAGE_SHIFT; i++) {
		if (part->pfns[i] & mask & HMM_PFN_REQ_FAULT)
			part->fault |= BIT(i);
		if (part->pfns[i] & mask & HMM_PFN_REQ_WRITE)
			part->write |= BIT(i);
	}
}

static unsigned long hmm_part_asks(const struct hmm_part *part, unsigned long i)
{
	unsigned long asked = part->all;

	if (part->fault | part->write) {
		if (part->fault & BIT(i))
			asked |= HMM_PFN_REQ_FAULT;
		if (part->write & BIT(i))
			asked |= HMM_PFN_REQ_WRITE;
	}
	/* For writing, but not to be faulted in: that is for nothing */
	return asked & HMM_PFN_REQ_FAULT ? asked : 0;
}

/* The bits of a request are those of what the page is to be: which of them it lacks */
static unsigned long hmm_part_lacks(const struct hmm_part *part, unsigned long i)
{
	BUILD_BUG_ON(HMM_PFN_REQ_FAULT != HMM_PFN_VALID);
	BUILD_BUG_ON(HMM_PFN_REQ_WRITE != HMM_PFN_WRITE);
	return hmm_part_asks(part, i) & ~part->pfns[i];
}

static int hmm_part_read(const struct hmm_part *part, const struct hmm_range *range)
{
	struct hmm_range snapshot = {
		.notifier = range->notifier,
		.notifier_seq = range->notifier_seq,
		.start = part->start,
		.end = part->end,
		.hmm_pfns = part->pfns,
		.dev_private_owner = range->dev_private_owner,
	};

	return hmm_range_fault(&snapshot);
}

/* -EBUSY: read again */
static int hmm_part_fault(const struct hmm_part *part, struct mm_struct *mm,
			  bool *locked)
{
	struct vm_area_struct *vma = NULL;
	unsigned long i, addr;
	int ret = 0;

	for (i = 0, addr = part->start; addr < part->end; i++, addr += PAGE_SIZE) {
		unsigned int flags = FAULT_FLAG_REMOTE | FAULT_FLAG_ALLOW_RETRY |
				     FAULT_FLAG_KILLABLE;
		vm_fault_t fault;

		if (!hmm_part_lacks(part, i))
			continue;
		/* Whatever is there, or is not, is not for devices */
		if (part->pfns[i] & HMM_PFN_ERROR)
			return -EFAULT;
		if (!vma || addr >= vma->vm_end)
			vma = vma_lookup(mm, addr);
		if (!vma)
			return -EFAULT;
		if (hmm_part_asks(part, i) & HMM_PFN_REQ_WRITE) {
			if (!(vma->vm_flags & VM_WRITE))
				return -EPERM;
			flags |= FAULT_FLAG_WRITE;
		}
		fault = handle_mm_fault(vma, addr, flags, NULL);
		if (fault & (VM_FAULT_COMPLETED | VM_FAULT_RETRY)) {
			*locked = false;
			return fatal_signal_pending(current) ? -EINTR : -EBUSY;
		}
		if (fault & VM_FAULT_ERROR)
			return vm_fault_to_errno(fault, 0) ?: -EINVAL;
		ret = -EBUSY;
		cond_resched();
	}
	return ret;
}

int hmm_range_fault_locked(struct hmm_range *range, bool *locked)
{
	struct mmu_interval_notifier *notifier = range->notifier;
	struct hmm_part part;
	unsigned long addr;
	int ret = 0;

	for (addr = range->start; addr < range->end && !ret; addr = part.end) {
		hmm_part_init(&part, range, addr);
		do {
			ret = hmm_part_read(&part, range);
			if (!ret)
				ret = hmm_part_fault(&part, notifier->mm, locked);
		} while (ret == -EBUSY && *locked &&
			 !mmu_interval_check_retry(notifier, range->notifier_seq));
	}
	return ret;
}
