// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * HMM mirroring: a page for one device alone, for atomic operations of a device that has
 * no other way to keep the CPU out.
 *
 * The CPU has no entry for such a page, and gets it back by a page fault, which tells the
 * mirror as any invalidation does.
 */
#include <linux/export.h>
#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>

static struct page *hmm_make_exclusive(struct hmm_mirror_range *range,
				       struct folio **folio)
{
	struct mm_struct *mm = range->notifier.mm;
	struct page *page;

	if (!mmget_not_zero(mm))
		return ERR_PTR(-ESRCH);
	page = ERR_PTR(-EINTR);
	if (!mmap_read_lock_killable(mm)) {
		page = make_device_exclusive(mm, range->start, range->mirror, folio);
		mmap_read_unlock(mm);
	}
	mmput_async(mm);
	return page;
}

/**
 * hmm_mirror_range_make_exclusive() - keep the CPU, and other devices, out of a page
 * @range: range in flight, of one page, with the flags %HMM_PFN_REQ_FAULT and
 *	%HMM_PFN_REQ_WRITE, and no pfn_flags_mask
 * @timeout: time limit in jiffies, as for hmm_mirror_range_fault()
 *
 * Faults the page in for writing, takes the CPU's entry away, and reads the page into
 * &hmm_mirror_range.pfns.  From there on it goes as after hmm_mirror_range_fault(): once
 * hmm_mirror_range_valid() has said so, under the lock that the mirror's callback takes, the
 * device may be given the page, and may work on it by operations that are not atomic for
 * the CPU.  Before anybody else gets at it, the mirror's callback is called.
 *
 * Until hmm_mirror_range_end(), or another fault of @range, the folio is locked: the CPU,
 * or another device that wants it exclusively, waits for that.  So whoever has it, has it
 * for one commit at least, and two devices that want the same page take turns.  Do not
 * fault in the same page by another range meanwhile, nor anything that waits for such a
 * fault.
 *
 * The callback is called for this as well, with the event %MMU_NOTIFY_EXCLUSIVE and the
 * mirror as the owner, see hmm_update_is_own() and %HMM_MIRROR_IGNORE_OWN; ranges of the
 * same mirror stay valid then, of which this is one.  As make_device_exclusive(), whose
 * first user nouveau does by itself what this does for all.
 *
 * Context: as for hmm_mirror_range_fault().
 *
 * Return: 0, or one of the errors of hmm_mirror_range_fault(), of which
 *
 * * -EINVAL: also if @range is not as above
 *
 * or
 *
 * * -EOPNOTSUPP: the page is not anonymous memory, or is of hugetlbfs; or the kernel is
 *   built without %CONFIG_DEVICE_PRIVATE, or is older than 7.2
 */
int hmm_mirror_range_make_exclusive(struct hmm_mirror_range *range,
				    unsigned long timeout)
{
	const unsigned long flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;
	unsigned long begun = jiffies;
	struct folio *folio;
	struct page *page;
	int ret;

	if (!range || range->flags != flags || range->pfn_flags_mask ||
	    range->end - range->start != PAGE_SIZE)
		return -EINVAL;
	/* There is no make_device_exclusive() */
	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		return -EOPNOTSUPP;

	do {
		/*
		 * A page that is exclusive already, of whatever device, becomes the
		 * CPU's again.  That is an invalidation which nobody owns, and better
		 * comes here, where it is waited for.
		 */
		ret = hmm_mirror_range_fault(range, timeout);
		if (ret)
			return ret;
		page = hmm_make_exclusive(range, &folio);
		if (!IS_ERR(page)) {
			/* The lock of the driver decides; this saves asking it in vain */
			if (__hmm_mirror_range_armed(range)) {
				range->folio = folio;
				range->pfns[0] = page_to_pfn(page) | HMM_PFN_VALID |
						 HMM_PFN_WRITE;
				return 0;
			}
			folio_unlock(folio);
			folio_put(folio);
		} else if (__hmm_mirror_range_armed(range) ||
			   (PTR_ERR(page) != -EFAULT && PTR_ERR(page) != -EBUSY)) {
			/* What it has found, while nothing has changed */
			range->read = false;
			return PTR_ERR(page);
		}
		cond_resched();
	} while (!timeout || time_before(jiffies, begun + min(timeout, MAX_JIFFY_OFFSET)));
	return -EBUSY;
}
EXPORT_SYMBOL_GPL(hmm_mirror_range_make_exclusive);
