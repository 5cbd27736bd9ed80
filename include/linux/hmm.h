/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Heterogeneous Memory Management (HMM): mirroring of a process's page table.
 *
 * The page-table reader, hmm_range_fault() and friends, is in hmm_range.h.
 *
 * The names hmm_mirror, hmm_mirror_ops, hmm_update_type,
 * sync_cpu_device_pagetables(), hmm_mirror_register() and
 * hmm_mirror_unregister() are those of the 2017 HMM series by Jérôme Glisse.
 * What a driver of that interface has to know is in
 * Documentation/mm/hmm_mirror_driver.rst.
 *
 * See Documentation/mm/hmm_mirror.rst.
 */
#ifndef _LINUX_HMM_H
#define _LINUX_HMM_H

#include <linux/hmm_range.h>

#ifdef CONFIG_HMM_MIRROR

#include <linux/atomic.h>
#include <linux/cleanup.h>
#include <linux/err.h>
#include <linux/list.h>
#include <linux/minmax.h>
#include <linux/mmu_notifier.h>
#include <linux/rbtree_types.h>
#include <linux/spinlock_types.h>
#include <linux/types.h>

/**
 * DOC: overview
 *
 * A device with a page table of its own uses the memory of a process in place.
 * A *mirror* keeps that page table in step with the CPU's: the driver embeds a
 * struct hmm_mirror, registers it on an mm_struct and is called back before
 * every change of the CPU page table, while the pages are still there::
 *
 *	static bool my_invalidate(struct hmm_mirror *mirror,
 *				  const struct mmu_notifier_range *update)
 *	{
 *		struct my_dev *dev = container_of(mirror, struct my_dev, mirror);
 *
 *		if (mmu_notifier_range_blockable(update))
 *			mutex_lock(&dev->lock);
 *		else if (!mutex_trylock(&dev->lock))
 *			return false;
 *		my_unmap(dev, update->start, update->end); // and flush the device's TLB
 *		mutex_unlock(&dev->lock);
 *		return true;
 *	}
 *
 *	static const struct hmm_mirror_ops my_ops = {
 *		.name = "my_dev",
 *		.invalidate = my_invalidate,
 *	};
 *
 *	dev->mirror.ops = &my_ops;
 *	mmap_write_lock(mm);
 *	ret = hmm_mirror_register(&dev->mirror, mm);
 *	mmap_write_unlock(mm);
 *
 * When the device needs a page it has no entry for, the driver reads the CPU
 * page table through a &struct hmm_mirror_range, and programs the device only
 * when no invalidation came in between::
 *
 *	static int my_commit(struct hmm_mirror_range *range, void *data)
 *	{
 *		struct my_dev *dev = data;
 *		int ret = -EAGAIN; // an invalidation came in between: once more
 *
 *		mutex_lock(&dev->lock);
 *		if (hmm_mirror_range_valid(range)) {
 *			my_map(dev, range->start, range->pfns, range->end);
 *			ret = 0;
 *		}
 *		mutex_unlock(&dev->lock);
 *		return ret;
 *	}
 *
 *	struct hmm_mirror_range range;
 *	unsigned long pfn = 0;
 *
 *	hmm_mirror_range_init(&range, addr, addr + PAGE_SIZE, &pfn, HMM_PFN_REQ_FAULT);
 *	ret = hmm_mirror_range_begin(&range, &dev->mirror);
 *	if (ret)
 *		return ret;
 *	ret = hmm_mirror_range_map(&range, msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT),
 *				   my_commit, dev);
 *	hmm_mirror_range_end(&range);
 *
 * The lock that the callback takes and the lock under which
 * hmm_mirror_range_valid() is called must be the same: that is all the
 * synchronisation a driver does.
 */

struct device;
struct hmm;
struct hmm_mirror;

/**
 * enum hmm_update_type - kind of update, for the 2017 callback
 * @HMM_UPDATE_INVALIDATE: the CPU page table is about to change, or has changed;
 *	forget what it said about the range
 *
 * The 2017 series never used another value, and neither is there one here: a
 * driver that wants to know why takes &hmm_mirror_ops.invalidate.
 */
enum hmm_update_type {
	HMM_UPDATE_INVALIDATE,
};

/**
 * hmm_update_is_own() - has @owner asked for this update?
 * @update: what a callback was called with
 * @owner: what the driver has handed to migrate_vma_setup() or
 *	make_device_exclusive(); not %NULL
 *
 * A driver that finds itself here caused the update, and may ignore it if it takes
 * the entries of those addresses away itself, before it copies the pages and again
 * after migrate_vma_pages().  &mmu_notifier_range.owner must not be
 * read otherwise: for most events the core leaves there what was on the stack.
 *
 * Return: true for %MMU_NOTIFY_MIGRATE and %MMU_NOTIFY_EXCLUSIVE by @owner
 */
static inline bool hmm_update_is_own(const struct mmu_notifier_range *update,
				     const void *owner)
{
	return (update->event == MMU_NOTIFY_MIGRATE ||
		update->event == MMU_NOTIFY_EXCLUSIVE) &&
	       owner && update->owner == owner;
}

/**
 * hmm_update_clip() - the part of an update that is in an interval
 * @update: what a callback was called with
 * @start: first address of the interval, in bytes; and, on return, of the part
 * @end: end of the interval, in bytes, exclusive; and, on return, of the part
 *
 * &mmu_notifier_range.end is %ULONG_MAX, which is no multiple of a page, where all
 * of the address space is meant.
 *
 * Return: true if there is such a part, else false
 */
static inline bool hmm_update_clip(const struct mmu_notifier_range *update,
				   unsigned long *start, unsigned long *end)
{
	*start = max(*start, update->start);
	*end = min(*end, update->end);
	return *start < *end;
}

/**
 * enum hmm_mirror_flags - what a driver says about its callbacks
 * @HMM_MIRROR_ATOMIC: the callbacks never sleep, and never refuse.  Without it, a
 *	mirror with the 2017 callback has the OOM reaper and process_mrelease(2), which are
 *	not allowed to sleep, get -EAGAIN for as long as it is registered; the other
 *	callbacks are told whether they may sleep.  And where the notifier core does not
 *	know of the registry, only such mirrors can be registered.
 * @HMM_MIRROR_IGNORE_SOFT_DIRTY: the callbacks are not called for
 *	%MMU_NOTIFY_SOFT_DIRTY.  What the device writes is then not seen by who
 *	cleared the soft-dirty bits, as long as the device has a writable entry.
 * @HMM_MIRROR_IGNORE_OWN: the callbacks are not called for what
 *	hmm_update_is_own() is true for, with the mirror itself as the owner.  The
 *	driver takes the entries of those addresses away itself, and unmaps them by
 *	hmm_mirror_dma_unmap().
 * @HMM_MIRROR_DMA_DIRECT: the device has no page table of its own, but uses DMA addresses
 *	as they are.  So they have to keep it from writing, and from what was unmapped.
 *
 * What is ignored still hits ranges in flight.
 */
enum hmm_mirror_flags {
	HMM_MIRROR_ATOMIC		= 1U << 0,
	HMM_MIRROR_IGNORE_SOFT_DIRTY	= 1U << 1,
	HMM_MIRROR_IGNORE_OWN		= 1U << 2,
	HMM_MIRROR_DMA_DIRECT		= 1U << 3,
};

/**
 * struct hmm_mirror_ops - callbacks of a mirror
 *
 * All callbacks run in process context inside an invalidation of the notifier
 * core, so whatever they do delays munmap(), reclaim, migration and so on of the
 * mirrored process.  They must not take the mmap lock, must not wait for a page
 * fault or a hmm_mirror_range_fault() of the same process, must not allocate
 * memory in a way that may wait for reclaim (nor take a lock under which anyone
 * does), and must not unregister the mirror.  Those that are given an update may
 * sleep if mmu_notifier_range_blockable() says so; the OOM reaper and
 * process_mrelease(2) make updates that must not.  They may read
 * &mmu_notifier_range.start, end (bytes, exclusive; page aligned, but for
 * %ULONG_MAX), event and mm, and the owner by hmm_update_is_own().
 *
 * A callback takes the lock under which the driver writes its device's entries
 * unconditionally.  One that returns early as it has seen, without the lock, that
 * there are no entries misses the one that a fault is about to write, having found
 * its range valid.
 */
struct hmm_mirror_ops {
	/**
	 * @sync_cpu_device_pagetables: The 2017 callback, called before and after the
	 * CPU page table changes; both before faults are let in again.  When it
	 * returns, the device must not use any page of [@start, @end), in bytes, any
	 * more: its entries are cleared and its TLB is flushed.  May sleep unless
	 * %HMM_MIRROR_ATOMIC is set.  Calls for different ranges run side by side.
	 * Needed, unless there is
	 * @invalidate or @invalidate_start, where this is not called.
	 */
	void (*sync_cpu_device_pagetables)(struct hmm_mirror *mirror,
					   enum hmm_update_type type,
					   unsigned long start,
					   unsigned long end);

	/**
	 * @invalidate: The CPU page table is about to change.  When this returns
	 * true, the device must not use any page of @update any more, as above.
	 * A driver takes a struct hmm_mirror_range to put something there again;
	 * get_user_pages() may still find the old page after this.  What the device may
	 * have written to is marked by hmm_pfn_mark_dirty(), under the driver's lock.
	 *
	 * Returns false if it cannot do that without sleeping, which @update does
	 * not allow; then nothing changes, and the one who wanted to tries again
	 * later, or does without.  That is a bug where @update is blockable.
	 */
	bool (*invalidate)(struct hmm_mirror *mirror,
			   const struct mmu_notifier_range *update);

	/**
	 * @invalidate_start: Instead of @invalidate, not beside it, for drivers
	 * that can wait for the flush of their device later: takes the device's
	 * entries away and starts the flush.  All mirrors are told before the
	 * first @invalidate_finish, so that devices flush side by side.
	 *
	 * Stores in @fence what identifies the flush to the driver, and is handed to
	 * @invalidate_finish (a sequence number of the device, say, that is never 0);
	 * or leaves the 0 there if there is nothing to wait for, and then that is not
	 * called.  Finding no entries is not enough to say so: another task may have
	 * taken them away for an update of its own, whose flush is still going on,
	 * and this one has to wait for that, too.
	 *
	 * Returns false as @invalidate does, having started nothing: also if
	 * @invalidate_finish would have to sleep, which cannot say so.
	 */
	bool (*invalidate_start)(struct hmm_mirror *mirror,
				 const struct mmu_notifier_range *update,
				 u64 *fence);

	/**
	 * @invalidate_finish: Waits until the flush that @invalidate_start has
	 * started is over.  Called once for each, by the same task and with the
	 * same @update, also when another mirror refuses the update.  Not both
	 * without the other.
	 */
	void (*invalidate_finish)(struct hmm_mirror *mirror,
				  const struct mmu_notifier_range *update,
				  u64 fence);

	/**
	 * @invalidate_end: Optional, beside @invalidate or @invalidate_start.  The
	 * CPU page table has changed, and faults of these addresses are let in again:
	 * for drivers that map again what the device is going to use, from a work
	 * item, as a fault in here deadlocks.  Not called for an update that was
	 * refused, by this mirror or by anyone, nor once the address space is going
	 * away.  A mirror that was registered while the CPU page table was changing
	 * is called here only.
	 */
	void (*invalidate_end)(struct hmm_mirror *mirror,
			       const struct mmu_notifier_range *update);

	/**
	 * @release: Optional.  The address space is going away: the last user of
	 * the mm_struct is in exit_mmap(), or in execve(2).  Called exactly once
	 * for a mirror that is registered then, after the whole address space was
	 * invalidated and before the first page is freed.  From here on every
	 * fault fails with -ESRCH, and no other callback is running or comes.
	 * May sleep, unless the driver's own rules forbid it.  The mirror stays
	 * registered.
	 */
	void (*release)(struct hmm_mirror *mirror);

	/** @name: Optional.  What tracepoints and debugfs call such a mirror */
	const char *name;

	/** @flags: see &enum hmm_mirror_flags */
	unsigned int flags;
};

/**
 * struct hmm_mirror - mirror of one address space by one device
 * @list: private to the registry: entry in the list of the mm's mirrors
 * @ops: the driver's callbacks, set by the driver before it registers
 * @window_start: optional, set by the driver before it registers: first address
 *	that the device can reach, in bytes, page aligned
 * @window_end: end of these addresses, in bytes, exclusive, page aligned; 0 where there
 *	is none.  No callback is called for an update that is outside, and no range
 *	may be.  One that is partly outside is passed on whole, see hmm_update_clip().
 * @dev: optional, set by the driver before it registers: the device that pages are mapped
 *	for, see hmm_mirror_dma_init().  Bound to its driver until the mirror is unregistered.
 *	None of @ops, @window_start, @window_end and @dev may change while it is registered.
 * @hmm: private to the registry: what it keeps for the mm_struct, %NULL after
 *	hmm_mirror_unregister()
 * @cancelled: private to the registry: hmm_mirror_cancel() was called
 * @simple: private to the registry: &hmm_mirror_ops.invalidate is told of all updates
 * @ranges: private to the registry: its ranges in flight
 * @dma_lock: private to the registry: nests inside the driver's lock
 * @dma: private to the registry: interval tree of &struct hmm_mirror_dma
 * @updates: private to the registry: updates it was told of, counted for debugfs
 * @vetoes: private to the registry: updates that it has refused
 * @faults: private to the registry: calls of hmm_mirror_range_fault()
 * @collisions: private to the registry: ranges in flight that an update has hit
 * @waits: private to the registry: faults that had to wait for an update
 *
 * Embedded in the driver's own structure, which must stay where it is until
 * hmm_mirror_unregister() has returned.  Zeroed before it is registered for the first
 * time, but for what the driver sets.
 */
struct hmm_mirror {
	struct hlist_node list;		/* first, as that makes the list shorter to walk */
	const struct hmm_mirror_ops *ops;
	unsigned long window_start;
	unsigned long window_end;
	struct hmm *hmm;
	bool cancelled;
	bool simple;
	struct list_head ranges;
	struct device *dev;
	spinlock_t dma_lock;		/* nests inside the driver's lock */
	struct rb_root_cached dma;
	atomic_long_t updates;
	atomic_long_t vetoes;
	atomic_long_t faults;
	atomic_long_t collisions;
	atomic_long_t waits;
};

/**
 * struct hmm_mirror_range - device page fault in flight: a collision domain
 * @start: first address to read, in bytes, page aligned
 * @end: end of what to read, in bytes, exclusive, page aligned
 * @pfns: where to put it, an HMM pfn per page; zeroed, as the flags of DMA mappings
 *	that are found there are kept.  There is a page only where %HMM_PFN_VALID is
 *	set, and the device may write to it only where %HMM_PFN_WRITE is.
 * @flags: what is asked of all pages: 0, %HMM_PFN_REQ_FAULT, or that and
 *	%HMM_PFN_REQ_WRITE
 * @pfn_flags_mask: which of these may be set for a single page, in @pfns, before
 *	each read; 0 for none
 * @request: optional, with a @pfn_flags_mask: sets them, in all of @pfns.  Called before
 *	each read by the thread that faults, with the mmap lock held where
 *	hmm_mirror_range_fault_locked() and hmm_mirror_range_map() read with it.  Without it
 *	the driver sets them before each fault, and each fault is one read only
 * @request_data: for @request
 * @owner: whose device private pages may be read, as &hmm_range.dev_private_owner
 * @retries: how often a fault of it has collided since it was begun, and was made again.
 *	Written by the registry
 *
 * Zeroed before it is used for the first time, but for what the driver sets.  None of
 * these may be changed while the range is in flight, nor may it be moved or copied;
 * and what is in @pfns may be used after hmm_mirror_range_valid() only.  An
 * invalidation that does not touch [@start,
 * @end) neither makes the range stale nor makes it wait.
 */
struct hmm_mirror_range {
	unsigned long start;
	unsigned long end;
	unsigned long *pfns;
	unsigned long flags;
	unsigned long pfn_flags_mask;
	void (*request)(struct hmm_mirror_range *range, void *data);
	void *request_data;
	void *owner;
	unsigned int retries;
	/* private: */
	struct hmm_mirror *mirror;
	struct hmm *hmm;		/* NULL when not in flight */
	struct list_head list;		/* of the mirror's ranges */
	struct task_struct *task;	/* may wait for a page */
	unsigned long seq;		/* the notifier's, when it was armed */
	bool read;			/* the last fault has succeeded */
	/*
	 * Never inserted in the notifier core's interval tree, but, while it is
	 * armed, in that of the mm's ranges.  It tells hmm_range_fault() the mm, and
	 * its sequence counts the invalidations that hit this range, which makes
	 * hmm_range_fault() stop early.
	 */
	struct mmu_interval_notifier notifier;
};

/**
 * typedef hmm_commit_fn - enters a range in the device's page table
 * @range: range that was read
 * @data: what hmm_mirror_range_map() was given
 *
 * Return: see hmm_mirror_range_map()
 */
typedef int (*hmm_commit_fn)(struct hmm_mirror_range *range, void *data);

/* Context, locks and errors of these are described in mm/hmm.c */
int hmm_mirror_register(struct hmm_mirror *mirror, struct mm_struct *mm);
void hmm_mirror_cancel(struct hmm_mirror *mirror);
void hmm_mirror_unregister(struct hmm_mirror *mirror);

int __must_check hmm_mirror_range_begin(struct hmm_mirror_range *range,
					struct hmm_mirror *mirror);
int __must_check hmm_mirror_range_fault(struct hmm_mirror_range *range,
					unsigned long timeout);
int __must_check hmm_mirror_range_fault_locked(struct hmm_mirror_range *range);
int __must_check hmm_mirror_range_map(struct hmm_mirror_range *range,
				      unsigned long timeout, hmm_commit_fn commit,
				      void *data);
void hmm_mirror_range_end(struct hmm_mirror_range *range);

/**
 * hmm_mirror_range_init() - prepare a range for hmm_mirror_range_begin()
 * @range: range that is not in flight
 * @start: first address, in bytes, page aligned
 * @end: end, in bytes, exclusive, page aligned
 * @pfns: array of an HMM pfn for each page, zeroed
 * @flags: see &hmm_mirror_range.flags
 *
 * Zeroes all else.
 */
static inline void hmm_mirror_range_init(struct hmm_mirror_range *range,
					 unsigned long start, unsigned long end,
					 unsigned long *pfns, unsigned long flags)
{
	*range = (struct hmm_mirror_range){
		.start = start,
		.end = end,
		.pfns = pfns,
		.flags = flags,
	};
}

/*
 * CLASS(hmm_mirror_range, in_flight)(&range, &mirror) puts a range in flight until the
 * end of the scope.  @in_flight is @range, or an ERR_PTR() of what hmm_mirror_range_begin()
 * has returned.
 */
DEFINE_CLASS(hmm_mirror_range, struct hmm_mirror_range *,
	     IS_ERR(_T) ? (void)0 : hmm_mirror_range_end(_T),
	     ERR_PTR(hmm_mirror_range_begin(range, mirror)) ?: range,
	     struct hmm_mirror_range *range, struct hmm_mirror *mirror)

#ifdef CONFIG_HMM_MIRROR_EXCLUSIVE
int __must_check hmm_mirror_range_map_exclusive(struct hmm_mirror_range *range,
						unsigned long timeout,
						hmm_commit_fn commit, void *data);
#else
static inline int __must_check
hmm_mirror_range_map_exclusive(struct hmm_mirror_range *range, unsigned long timeout,
			       hmm_commit_fn commit, void *data)
{
	return -EOPNOTSUPP;
}
#endif

/* Has no invalidation hit the range since it was armed?  For the registry */
static inline bool __hmm_mirror_range_armed(const struct hmm_mirror_range *range)
{
	/* Pairs with the WRITE_ONCE() in hmm_range_disarm().  Model: valid */
	return READ_ONCE(range->notifier.invalidate_seq) == range->seq;
}

/**
 * hmm_mirror_range_valid() - may what the fault read be given to the device?
 * @range: range that hmm_mirror_range_begin() has put in flight
 *
 * Context: the caller holds the lock that the mirror's callback takes, and
 * writes the device's entries before it drops it.  Does not sleep.
 *
 * A range may be kept in flight after that, for as long as the driver likes:
 * this then says whether the device's entries for it are still what they were.
 *
 * Return: true if the last hmm_mirror_range_fault() succeeded and no invalidation
 * has hit [start, end) since it read the CPU page table.  Otherwise false, and
 * hmm_mirror_range_fault() must be called (again): before the first fault, in a
 * callback while that thread's fault is being made, after one that failed, whatever
 * its error, and after hmm_mirror_range_end().  One thread at a time uses a range,
 * and asks this.
 */
static inline bool hmm_mirror_range_valid(const struct hmm_mirror_range *range)
{
	return range->read && __hmm_mirror_range_armed(range);
}

/**
 * hmm_pfn_mark_dirty() - the device has written to a page, or may have
 * @pfn: HMM pfn that hmm_mirror_range_fault() has read, and that the device has an
 *	entry for.  Nothing is done unless %HMM_PFN_VALID and %HMM_PFN_WRITE are set, so
 *	this may be called for whatever entry is taken out.
 *
 * %HMM_PFN_WRITE says that the process may write to the page, not that the page is
 * dirty.  The CPU's entry is writable and clean after MADV_FREE, after a read has
 * brought the page back from swap, and for a hole of a tmpfs file that was only read.
 * Reclaim drops a page that is clean, and what the device has written is lost.
 *
 * The caller holds the lock that the mirror's callback takes, and the entry has not
 * been given up: it is taken out under the same lock, in the callback or because the
 * driver wants to, and before the mirror is unregistered.  Until the lock is dropped
 * the CPU page table maps the page, since whoever changes that has to call the callback
 * first.  So the page can be neither truncated nor freed, which the core has by the
 * page table lock where it does the same.  Once the lock has been dropped without the
 * entry, that may happen at any time: a driver with two passes calls this in
 * &hmm_mirror_ops.invalidate_start, not in &hmm_mirror_ops.invalidate_finish.
 *
 * Whether the device's TLB has been flushed already does not matter.  Whoever makes the
 * page clean invalidates it first, and goes on when the flush is over.  For the same
 * reason once is enough for each entry: when it is taken out, or when it is put in.  A
 * device that knows which entries it has written through is asked after the flush.
 *
 * All of a large folio gets dirty.  For anonymous memory, also in swap, device private
 * memory, hugetlb, tmpfs and DAX this is one flag of the folio.  For other files the page
 * fault that made the CPU's entry writable has made the folio dirty, or is about to, and
 * the entry is write-protected before the folio is cleaned.  So a file system finds a
 * folio that is dirty already.  That matters, as for one that is clean some need more
 * than a flag: ext4, btrfs, ceph and ubifs want to have been asked first,
 * iomap_dirty_folio() may allocate memory, and netfs_dirty_folio() may wait.  It is why
 * a page must not be marked when there is no writable entry for it any more, even if
 * it is there.
 *
 * Context: process context, with interrupts enabled.  Does not sleep: may be called
 * under a spinlock, and for an update that must not block.
 */
static inline void hmm_pfn_mark_dirty(unsigned long pfn)
{
	const unsigned long writable = HMM_PFN_VALID | HMM_PFN_WRITE;
	struct folio *folio;

	if ((pfn & writable) != writable)
		return;
	folio = page_folio(hmm_pfn_to_page(pfn));
	/* It is not being cleaned just now, as that begins with an invalidation */
	if (!folio_test_dirty(folio))
		folio_mark_dirty(folio);
}

struct mm_struct *hmm_mirror_get_mm(int pidfd);

/**
 * typedef hmm_pfn_t - what the 2017 interface calls an HMM pfn
 *
 * An element of &hmm_mirror_range.pfns, in the layout of today: the page frame number
 * is in the low bits, and %HMM_PFN_VALID and the other flags are in the high ones.
 * There is no HMM_PFN_SHIFT.
 */
typedef unsigned long hmm_pfn_t;

/**
 * hmm_pfn_t_to_page() - get the page of an HMM pfn
 * @pfn: HMM pfn
 *
 * Return: the page, or %NULL if @pfn is not valid
 */
static inline struct page *hmm_pfn_t_to_page(hmm_pfn_t pfn)
{
	return pfn & HMM_PFN_VALID ? hmm_pfn_to_page(pfn) : NULL;
}

/**
 * hmm_pfn_t_to_pfn() - get the page frame number of an HMM pfn
 * @pfn: HMM pfn
 *
 * Return: the page frame number, or -1 if @pfn is not valid
 */
static inline unsigned long hmm_pfn_t_to_pfn(hmm_pfn_t pfn)
{
	return pfn & HMM_PFN_VALID ? pfn & ~HMM_PFN_FLAGS : -1UL;
}

/**
 * hmm_pfn_t_from_pfn() - make an HMM pfn of a page frame number
 * @pfn: page frame number
 *
 * Return: a valid HMM pfn without other flags
 */
static inline hmm_pfn_t hmm_pfn_t_from_pfn(unsigned long pfn)
{
	return pfn | HMM_PFN_VALID;
}

/**
 * hmm_pfn_t_from_page() - make an HMM pfn of a page
 * @page: page
 *
 * Return: a valid HMM pfn without other flags
 */
static inline hmm_pfn_t hmm_pfn_t_from_page(struct page *page)
{
	return hmm_pfn_t_from_pfn(page_to_pfn(page));
}

#if IS_ENABLED(CONFIG_KUNIT)
void *hmm_mirror_alloc(size_t size);	/* for mm/tests/hmm/kunit_life.c */
#endif

#endif /* CONFIG_HMM_MIRROR */

#endif /* _LINUX_HMM_H */
