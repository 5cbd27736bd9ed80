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

#include "hmm.h"

/* The page is locked when this returns it */
static struct page *hmm_make_exclusive(struct hmm_mirror_range *range)
{
	struct mm_struct *mm = range->notifier.mm;
	struct folio *folio;
	struct page *page;

	if (!mmget_not_zero(mm))
		return ERR_PTR(-ESRCH);
	page = ERR_PTR(-EINTR);
	if (!mmap_read_lock_killable(mm)) {
		page = make_device_exclusive(mm, range->start, range->mirror, &folio);
		mmap_read_unlock(mm);
	}
	mmput_async(mm);
	return page;
}

static int hmm_range_try_exclusive(struct hmm_mirror_range *range, hmm_commit_fn commit,
				   void *data)
{
	struct page *page;
	int ret;

	/* This range is not stale by what it asks for itself: see hmm_mark_collided() */
	ret = hmm_range_set_task(range, current);
	if (ret)
		return ret;
	page = hmm_make_exclusive(range);
	hmm_range_set_task(range, NULL);

	if (IS_ERR(page)) {
		ret = PTR_ERR(page);
		/* It has looked at what has changed since the fault */
		if (!__hmm_mirror_range_armed(range) && (ret == -EFAULT || ret == -EBUSY))
			return -EAGAIN;
		/* Memory of other devices */
		return ret == -EREMOTEIO ? -EOPNOTSUPP : ret;
	}
	range->pfns[0] = page_to_pfn(page) | HMM_PFN_VALID | HMM_PFN_WRITE;
	/* The lock of the driver decides; this saves asking it in vain */
	ret = __hmm_mirror_range_armed(range) ? commit(range, data) : -EAGAIN;
	folio_unlock(page_folio(page));
	folio_put(page_folio(page));
	return ret;
}

/**
 * hmm_mirror_range_map_exclusive() - keep the CPU, and other devices, out of a page
 * @range: range in flight, of one page, with the flags %HMM_PFN_REQ_FAULT and
 *	%HMM_PFN_REQ_WRITE, and no pfn_flags_mask
 * @timeout: time limit in jiffies, as for hmm_mirror_range_fault()
 * @commit: as for hmm_mirror_range_map()
 * @data: for @commit
 *
 * Faults the page in for writing, takes the CPU's entry away, and calls @commit.  From then
 * on the device may work on the page by operations that are not atomic for the CPU: before
 * anybody else gets at it, the mirror's callback is called.  Not so for who has got the page
 * before, by get_user_pages(), as for direct I/O: make_device_exclusive() does not know of
 * that.
 *
 * The folio is locked while @commit is called: the CPU, or another device that wants it
 * exclusively, waits for that.  So whoever has it, has it for one commit at least, and two
 * devices that want the same page take turns.
 *
 * The callback is called for this as well, with the event %MMU_NOTIFY_EXCLUSIVE and the
 * mirror as the owner, see hmm_update_is_own() and %HMM_MIRROR_IGNORE_OWN; other ranges of
 * the same mirror become stale as by any invalidation.  nouveau does by itself what this
 * does for all.
 *
 * While that goes on, fork() of the process may fail, as it does not wait for the folio.
 *
 * Context: as for hmm_mirror_range_fault().  @commit is called with the folio locked: it must
 * neither allocate memory, nor access user memory, nor take the mmap lock, nor fault.
 *
 * Return: 0, what @commit has returned, or one of the errors of hmm_mirror_range_fault(),
 * of which
 *
 * * -EINVAL: also if @range is not as above
 *
 * or
 *
 * * -EOPNOTSUPP: the page is not anonymous memory, or is of hugetlbfs; or the kernel is
 *   built without %CONFIG_DEVICE_PRIVATE, or is older than 7.2
 */
int hmm_mirror_range_map_exclusive(struct hmm_mirror_range *range, unsigned long timeout,
				   hmm_commit_fn commit, void *data)
{
	const unsigned long flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;
	unsigned long begun = jiffies;
	int ret;

	if (!range || !commit || range->flags != flags || range->pfn_flags_mask ||
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
		if (!ret)
			ret = hmm_range_try_exclusive(range, commit, data);
		if (ret != -EAGAIN)
			return ret;
		range->retries++;
		cond_resched();
	} while (!timeout || time_before(jiffies, begun + min(timeout, MAX_JIFFY_OFFSET)));
	return -EBUSY;
}
EXPORT_SYMBOL_GPL(hmm_mirror_range_map_exclusive);
