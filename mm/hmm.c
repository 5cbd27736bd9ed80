// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * HMM mirroring: keeps the page table of a device in step with a process's.
 *
 * One struct hmm for every mirrored mm_struct hears of the invalidations of the mm
 * from the notifier core, and passes that on to the mirrors that drivers have
 * registered.  It also knows which device page faults are in flight, so that it
 * can tell each whether it collided with an invalidation.  The CPU page table is
 * read by hmm_range_fault(), in hmm_range.c.
 *
 * See Documentation/mm/hmm_mirror.rst for the interface and the locking rules.
 */
#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/fault-inject.h>
#include <linux/hmm.h>
#include <linux/hugetlb.h>
#include <linux/init.h>
#include <linux/interval_tree.h>
#include <linux/jiffies.h>
#include <linux/jump_label.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/moduleparam.h>
#include <linux/oom.h>
#include <linux/pid.h>
#include <linux/ptrace.h>
#include <linux/rculist.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/secretmem.h>
#include <linux/seq_file.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "hmm.h"

#define CREATE_TRACE_POINTS
#include <trace/events/hmm.h>

/*
 * Invalidations that are tracked exactly.  More than a few at a time need that
 * many threads in munmap() and the like of one process, so the set is small; what
 * does not fit is covered by one range around all of it.
 */
#define HMM_NR_ACTIVE	16

/* Flushes of one invalidation that run side by side, see hmm_invalidate_from() */
#define HMM_NR_FLUSHES	16

/* Ranges that are marked while the lock is held, see hmm_mark_collided() */
#define HMM_NR_MARKS	512

/*
 * The number of an invalidation's slot in the active set, plus one, is in these bits of
 * its &mmu_notifier_range.flags from start to end.  0: it is not tracked.
 */
#define HMM_SLOT_MASK	 MMU_NOTIFIER_RANGE_HMM
#define HMM_SLOT_SHIFT	 8
#define HMM_SLOT_COVERED (HMM_NR_ACTIVE + 1)

/*
 * How often the first mirror of an mm takes all locks of the mm, so that its changes
 * cost nothing while there is none: who opens and closes a device all the time would
 * hold up others with that.
 */
#define HMM_NR_TRACKED	8

/* How often hmm_wait_for_callbacks() looks before it sleeps */
#define HMM_SPINS	100

/* For how long it does so before it says that something is wrong */
#define HMM_STUCK	(10 * HZ)

/* Collisions until hmm_mirror_range_map() locks changes by system calls out */
#define HMM_NR_COLLISIONS 16

/* Milliseconds for which the mmap lock is held for write, for invalidations to end */
#define HMM_BRIEF_MS	20

/* A callback that takes longer is named in the log; 0: none is */
static unsigned int hmm_slow_callback_ms = 100;
module_param_named(slow_callback_ms, hmm_slow_callback_ms, uint, 0644);
MODULE_PARM_DESC(slow_callback_ms, "Milliseconds from which on a mirror's callback is named in the log, 0 for never (default: 100)");

#ifdef CONFIG_LOCKDEP
/*
 * Held around callbacks, and by what waits for them.  Say once at boot that callbacks
 * come inside of invalidations, rather than when the first one does.  Then lockdep
 * tells who takes the mmap lock in a callback, or has memory allocated under a lock
 * that a callback takes, which may wait for reclaim, and so for an invalidation.
 */
static struct lockdep_map hmm_callback_map =
	STATIC_LOCKDEP_MAP_INIT("hmm_callback", &hmm_callback_map);

#ifndef MODULE	/* to which the map of the notifiers is not exported */
static int __init hmm_lockdep_init(void)
{
	lock_map_acquire(&__mmu_notifier_invalidate_range_start_map);
	lock_map_acquire(&hmm_callback_map);
	lock_map_release(&hmm_callback_map);
	lock_map_release(&__mmu_notifier_invalidate_range_start_map);
	return 0;
}
core_initcall(hmm_lockdep_init);
#endif
#endif

struct hmm_span {
	unsigned long start;	/* inclusive */
	unsigned long end;	/* exclusive */
};

/*
 * struct hmm - what is kept for a mirrored mm_struct
 *
 * The notifier core knows it from the first mirror of the mm on, and frees it with
 * the mm_struct.  Each mirror holds a reference to that (not to the address space).
 * So a mirror can be unregistered long after the process has died.
 *
 * @mirrors is read by callbacks in progress, without a lock; it is changed under
 * @lock, and hmm_wait_for_callbacks() waits for who may still see what is no longer
 * there.  All else is protected by @lock, which nests inside whatever the
 * invalidating task holds and outside of nothing but the waitqueue's own lock.
 *
 * While @tracking, the slots of @active that are in @used, and @covering, which
 * counts for nr_covered invalidations, together contain every invalidation between
 * its start and its end.  It goes on and off with the first and the last mirror.
 *
 * An invalidation makes its callbacks with the number of its slot in @dispatch odd, or,
 * when it has no slot, with a struct hmm_dispatch in @dispatches.
 */
struct hmm {
	spinlock_t		lock;		/* see above; never held for long */
	bool			tracking;
	bool			dead;		/* exit_mmap() has begun */
	unsigned int		nr_tracked;	/* how often @tracking went on */
	unsigned int		nr_sync;	/* mirrors with the 2017 callback */
	unsigned int		nr_after;	/* mirrors with invalidate_end() */
	unsigned int		nr_covered;
	unsigned long		nr_in_flight;
	unsigned long		used;
	struct rb_root_cached	armed;		/* interval tree of ranges */
	struct hlist_head	mirrors;
	wait_queue_head_t	wq;
	struct hmm_span		covering;
	unsigned int		dispatch[HMM_NR_ACTIVE];
	struct list_head	dispatches;
	unsigned long		seq;		/* of the last one of these */

	struct mm_struct	*mm;
	struct mmu_notifier	*notifier;	/* NULL, but see hmm_list.c */
	struct list_head	list;		/* in hmm_all */
	unsigned int		refs;		/* under hmm_all_lock */
	atomic_long_t		updates;	/* counted, see hmm_count() */
	atomic_long_t		covered;

	/* The last, see hmm_alloc() */
	struct hmm_span		active[HMM_NR_ACTIVE];
};

/* Callbacks in progress, on the stack of who makes them */
struct hmm_dispatch {
	struct list_head list;
	unsigned long seq;
};

/* Every struct hmm, for debugfs.  The last mmdrop() may be in an interrupt */
static DEFINE_SPINLOCK(hmm_all_lock);
static LIST_HEAD(hmm_all);

/* From here on it is shown in debugfs */
static void hmm_all_add(struct hmm *hmm)
{
	unsigned long flags;

	spin_lock_irqsave(&hmm_all_lock, flags);
	if (list_empty(&hmm->list))
		list_add_tail(&hmm->list, &hmm_all);
	spin_unlock_irqrestore(&hmm_all_lock, flags);
}

/* A reference is that of who frees it, or shows it.  In the list until the last one goes */
static void hmm_put(struct hmm *hmm)
{
	unsigned long flags;
	bool last;

	spin_lock_irqsave(&hmm_all_lock, flags);
	last = !--hmm->refs;
	if (last)
		list_del(&hmm->list);
	spin_unlock_irqrestore(&hmm_all_lock, flags);
	if (last)
		kfree(hmm);
}

/* Counting costs an atomic operation here and there, so it is off until asked for */
static DEFINE_STATIC_KEY_FALSE(hmm_counting);

static void hmm_count(atomic_long_t *counter)
{
	if (static_branch_unlikely(&hmm_counting))
		atomic_long_inc(counter);
}

static bool hmm_overlaps(unsigned long start, unsigned long end,
			 unsigned long start2, unsigned long end2)
{
	return start < end2 && start2 < end;
}

static bool hmm_active_is_full(const struct hmm *hmm)
{
	return hmm->used == GENMASK(HMM_NR_ACTIVE - 1, 0);
}

/* Returns its slot, see HMM_SLOT_SHIFT.  There is one */
static unsigned int hmm_active_add(struct hmm *hmm, unsigned long start,
				   unsigned long end)
{
	unsigned int i = ffz(hmm->used);

	lockdep_assert_held(&hmm->lock);

	hmm->used |= BIT(i);
	hmm->active[i] = (struct hmm_span){ start, end };
	return i + 1;
}

static unsigned int hmm_active_cover(struct hmm *hmm, unsigned long start,
				     unsigned long end)
{
	lockdep_assert_held(&hmm->lock);

	hmm_count(&hmm->covered);
	if (!hmm->nr_covered++) {
		hmm->covering = (struct hmm_span){ start, end };
	} else {
		hmm->covering.start = min(hmm->covering.start, start);
		hmm->covering.end = max(hmm->covering.end, end);
	}
	return HMM_SLOT_COVERED;
}

static void hmm_active_del(struct hmm *hmm, unsigned int slot)
{
	lockdep_assert_held(&hmm->lock);

	if (likely(slot <= HMM_NR_ACTIVE))
		hmm->used &= ~BIT(slot - 1);
	else
		hmm->nr_covered--;
}

static bool hmm_active_overlaps(struct hmm *hmm, unsigned long start,
				unsigned long end)
{
	unsigned long used;

	lockdep_assert_held(&hmm->lock);

	for (used = hmm->used; used; used &= used - 1) {
		const struct hmm_span *span = &hmm->active[__ffs(used)];

		if (hmm_overlaps(start, end, span->start, span->end))
			return true;
	}

	return hmm->nr_covered && hmm_overlaps(start, end, hmm->covering.start,
					       hmm->covering.end);
}

/*
 * From hmm_dispatch_begin(), under the lock, to hmm_dispatch_end(), without it, the
 * mirrors that were on the list stay.  Without @dispatch, @slot counts it.
 */
static __always_inline void
hmm_dispatch_begin(struct hmm *hmm, unsigned int slot,
		   struct hmm_dispatch *dispatch)
{
	lockdep_assert_held(&hmm->lock);

	if (!dispatch) {
		unsigned int *nr = &hmm->dispatch[slot - 1];

		/* hmm_is_dispatching() looks without the lock.  Model: dispatching */
		WRITE_ONCE(*nr, *nr + 1);
	} else {
		dispatch->seq = ++hmm->seq;
		list_add_tail(&dispatch->list, &hmm->dispatches);
	}
}

static __always_inline void
hmm_dispatch_end(struct hmm *hmm, unsigned int slot,
		 struct hmm_dispatch *dispatch)
{
	if (!dispatch) {
		unsigned int *nr = &hmm->dispatch[slot - 1];

		/*
		 * Only the owner of the slot writes it.  Pairs with the load in
		 * hmm_is_dispatching().  Model: dispatched
		 */
		smp_store_release(nr, *nr + 1);
	} else {
		/* Model: dispatched-lock */
		spin_lock(&hmm->lock);
		list_del(&dispatch->list);
		spin_unlock(&hmm->lock);
	}
}

/* The callbacks that are in progress at some time */
struct hmm_snapshot {
	unsigned long slots;
	unsigned int dispatch[HMM_NR_ACTIVE];
	bool listed;
	unsigned long seq;
};

static void hmm_take_snapshot(struct hmm *hmm, struct hmm_snapshot *snapshot)
{
	unsigned long used;

	lockdep_assert_held(&hmm->lock);

	snapshot->slots = 0;
	for (used = hmm->used; used; used &= used - 1) {
		unsigned int i = __ffs(used);
		/*
		 * Whoever has the slot may be writing it.  Pairs with the store in
		 * hmm_dispatch_end(): what is over is not waited for.  Model: snapshot
		 */
		unsigned int nr = smp_load_acquire(&hmm->dispatch[i]);

		if (nr & 1) {
			snapshot->slots |= BIT(i);
			snapshot->dispatch[i] = nr;
		}
	}
	snapshot->listed = !list_empty(&hmm->dispatches);
	snapshot->seq = hmm->seq;
}

/* Is any of the callbacks in progress still, but for the caller's own? */
static bool hmm_is_dispatching(struct hmm *hmm, struct hmm_snapshot *snapshot,
			       const struct hmm_dispatch *own)
{
	struct hmm_dispatch *dispatch;

	for (; snapshot->slots; snapshot->slots &= snapshot->slots - 1) {
		unsigned int i = __ffs(snapshot->slots);

		/*
		 * A slot that is used again has another number.  Pairs with the
		 * store in hmm_dispatch_end().  Model: drain
		 */
		if (smp_load_acquire(&hmm->dispatch[i]) == snapshot->dispatch[i])
			return true;
	}
	if (likely(!snapshot->listed))
		return false;

	snapshot->listed = false;
	/* Model: drain-lock */
	spin_lock(&hmm->lock);
	list_for_each_entry(dispatch, &hmm->dispatches, list)
		if (dispatch != own &&
		    (long)(dispatch->seq - snapshot->seq) <= 0)
			snapshot->listed = true;
	spin_unlock(&hmm->lock);
	return snapshot->listed;
}

/*
 * Waits for these callbacks, and for no others, so it does not matter how many begin
 * meanwhile.  Those who make them do not look whether somebody waits, which would cost
 * them a barrier: so where spinning does not do, this polls.
 */
static void hmm_wait_for_callbacks(struct hmm *hmm,
				   struct hmm_snapshot *snapshot,
				   const struct hmm_dispatch *own)
{
	unsigned long warn = jiffies + HMM_STUCK;
	unsigned int spins = HMM_SPINS;

	while (hmm_is_dispatching(hmm, snapshot, own)) {
		if (spins) {
			spins--;
			cpu_relax();
			continue;
		}
		schedule_timeout_uninterruptible(1);
		if (unlikely(time_after(jiffies, warn))) {
			warn = jiffies + HMM_STUCK;
			pr_warn("hmm: %s[%d] waits for callbacks of a mirror: has one of them been waiting for it?\n",
				current->comm, task_pid_nr(current));
		}
	}
}

/* The range is what the CPU page table says from here on, unless it is marked */
static void hmm_range_arm(struct hmm *hmm, struct hmm_mirror_range *range)
{
	lockdep_assert_held(&hmm->lock);

	/* Two threads at a time use it */
	if (WARN_ON_ONCE(!RB_EMPTY_NODE(&range->notifier.interval_tree.rb)))
		return;
	range->seq = range->notifier.invalidate_seq;
	interval_tree_insert(&range->notifier.interval_tree, &hmm->armed);
}

/*
 * A range that has been hit needs not be found again, before it is armed again.  So it
 * is taken out of the tree, and costs nothing, however long a driver keeps it.
 */
static void hmm_range_disarm(struct hmm *hmm, struct hmm_mirror_range *range)
{
	struct interval_tree_node *node = &range->notifier.interval_tree;

	lockdep_assert_held(&hmm->lock);

	if (!RB_EMPTY_NODE(&node->rb)) {
		interval_tree_remove(node, &hmm->armed);
		RB_CLEAR_NODE(&node->rb);
	}
	/*
	 * Pairs with the READ_ONCE() in __hmm_mirror_range_armed() and in
	 * hmm_range_fault(), neither of which takes the registry's lock.  However
	 * often this happens, the two differ by one, so nothing can wrap around to
	 * where they are equal again.  Model: mark.
	 */
	WRITE_ONCE(range->notifier.invalidate_seq, range->seq + 1);
}

/*
 * Make each range in flight that overlaps @update invalid.  There may be many,
 * as drivers may keep them, so the lock is let go of now and then: what is armed
 * meanwhile has seen that the invalidation is in the active set.
 */
static void hmm_mark_collided(struct hmm *hmm,
			      const struct mmu_notifier_range *update)
{
	unsigned long start = update->start, last = update->end - 1;
	struct interval_tree_node *node;
	unsigned int nr = 0;

	lockdep_assert_held(&hmm->lock);

	node = interval_tree_iter_first(&hmm->armed, start, last);
	while (node) {
		struct hmm_mirror_range *range =
			container_of(node, struct hmm_mirror_range,
				     notifier.interval_tree);

		/* The page stays, for who has asked for it: see hmm_exclusive.c */
		if (unlikely(update->event == MMU_NOTIFY_EXCLUSIVE) &&
		    hmm_update_is_own(update, range->mirror) && range->task == current) {
			node = interval_tree_iter_next(node, start, last);
			continue;
		}
		hmm_range_disarm(hmm, range);
		hmm_count(&range->mirror->collisions);
		trace_hmm_collision(range, update->start, update->end);
		if (unlikely(++nr % HMM_NR_MARKS == 0)) {
			/* Model: mark-unlock */
			spin_unlock(&hmm->lock);
			if (mmu_notifier_range_blockable(update))
				cond_resched();
			spin_lock(&hmm->lock);
		}
		node = interval_tree_iter_first(&hmm->armed, start, last);
	}
}

/* The callback of @mirror has begun at @begun, and is over.  Returns what time it is */
static noinline unsigned long hmm_check_time(const struct hmm_mirror *mirror,
					     const struct mmu_notifier_range *update,
					     unsigned long begun)
{
	unsigned int ms = jiffies_to_msecs(jiffies - begun);
	unsigned int limit = READ_ONCE(hmm_slow_callback_ms);

	if (limit && ms >= limit) {
		trace_hmm_slow(mirror, update, ms);
		pr_warn_ratelimited("hmm: callback of %s (%ps) took %u ms\n",
				    mirror->ops->name ?: "a mirror", mirror->ops, ms);
	}
	return jiffies;
}

/* It costs a comparison, where the clock has not ticked meanwhile */
static __always_inline void hmm_took(const struct hmm_mirror *mirror,
				     const struct mmu_notifier_range *update,
				     unsigned long *begun)
{
	unsigned long now = jiffies;

	if (unlikely(now != *begun))
		*begun = hmm_check_time(mirror, update, *begun);
}

/* Is this mirror not to be told? */
static bool hmm_mirror_ignores(const struct hmm_mirror *mirror,
			       const struct mmu_notifier_range *update)
{
	unsigned int flags = mirror->ops->flags;

	/* No end is no window */
	if (update->start > mirror->window_end - 1 ||
	    update->end <= mirror->window_start)
		return true;
	return ((flags & HMM_MIRROR_IGNORE_SOFT_DIRTY) &&
		update->event == MMU_NOTIFY_SOFT_DIRTY) ||
	       ((flags & HMM_MIRROR_IGNORE_OWN) &&
		hmm_update_is_own(update, mirror));
}

/* The 2017 callback, which cannot refuse, and is not told whether it may sleep */
static bool hmm_mirror_sync(struct hmm_mirror *mirror,
			    const struct mmu_notifier_range *update)
{
	const struct hmm_mirror_ops *ops = mirror->ops;

	if (unlikely(!mmu_notifier_range_blockable(update)) &&
	    !(ops->flags & HMM_MIRROR_ATOMIC))
		return false;
	ops->sync_cpu_device_pagetables(mirror, HMM_UPDATE_INVALIDATE,
					update->start, update->end);
	return true;
}

/* The callback of @mirror has returned false: whether that is a refusal */
static noinline bool hmm_mirror_refuses(struct hmm_mirror *mirror,
					const struct mmu_notifier_range *update)
{
	/* Nobody would look at it: the others have to be told all the same */
	if (WARN_ONCE(mmu_notifier_range_blockable(update),
		      "%ps refused what may block\n", mirror->ops))
		return false;
	hmm_count(&mirror->vetoes);
	trace_hmm_veto(mirror, update);
	return true;
}

/* The device has let go of all that is in @update: what was mapped for it goes as well */
static void hmm_dma_invalidate(struct hmm_mirror *mirror,
			       const struct mmu_notifier_range *update)
{
	/* Model: dma-start, dma-finish */
	if (mirror->dev)
		__hmm_dma_invalidate(mirror, update);
}

/*
 * Tell one mirror.  False: it refuses.  What is in @fence is not 0 where the mirror's
 * flush has only been started, and is to be handed to its invalidate_finish().
 */
static bool hmm_mirror_invalidate(struct hmm_mirror *mirror,
				  const struct mmu_notifier_range *update,
				  u64 *fence)
{
	const struct hmm_mirror_ops *ops = mirror->ops;
	unsigned long begun = jiffies;
	bool done;

	*fence = 0;
	if (hmm_mirror_ignores(mirror, update))
		return true;

	hmm_count(&mirror->updates);
	if (ops->invalidate)
		done = ops->invalidate(mirror, update);
	else if (ops->invalidate_start)
		done = ops->invalidate_start(mirror, update, fence);
	else
		done = hmm_mirror_sync(mirror, update);
	hmm_took(mirror, update, &begun);
	if (unlikely(!done)) {
		*fence = 0;
		if (hmm_mirror_refuses(mirror, update))
			return false;
	}
	if (!*fence)
		hmm_dma_invalidate(mirror, update);
	return true;
}

/*
 * A callback must not sleep where the update must not block, but for a spinlock, which
 * on PREEMPT_RT does: whoever holds it does not wait for memory, nor for others.
 */
static bool hmm_is_non_block(const struct mmu_notifier_range *update)
{
	return !IS_ENABLED(CONFIG_PREEMPT_RT) && !mmu_notifier_range_blockable(update);
}

static void hmm_callbacks_begin(const struct mmu_notifier_range *update)
{
	if (hmm_is_non_block(update))
		non_block_start();
	lock_map_acquire(&hmm_callback_map);
}

static void hmm_callbacks_end(const struct mmu_notifier_range *update)
{
	lock_map_release(&hmm_callback_map);
	if (hmm_is_non_block(update))
		non_block_end();
}

#ifdef CONFIG_LOCKDEP
#define hmm_in_callbacks()	lock_is_held(&hmm_callback_map)
#else
#define hmm_in_callbacks()	true
#endif
/* Who walks is inside of hmm_dispatch_begin() and _end().  Model: walk */
#define hmm_for_each_mirror(mirror, hmm) \
	hlist_for_each_entry_rcu(mirror, &(hmm)->mirrors, list, \
				 hmm_in_callbacks())

struct hmm_flush {
	struct hmm_mirror *mirror;
	u64 fence;
};

static void hmm_finish(const struct hmm_flush *flush, unsigned int nr,
		       const struct mmu_notifier_range *update)
{
	unsigned long begun = jiffies;

	for (; nr; nr--, flush++) {
		flush->mirror->ops->invalidate_finish(flush->mirror, update,
						      flush->fence);
		hmm_took(flush->mirror, update, &begun);
		hmm_dma_invalidate(flush->mirror, update);
	}
}

/*
 * Tell @mirror and those after it.  False: one refuses, and the rest was not told.
 *
 * All flushes are started before any is waited for, so that the devices flush side by
 * side.  Who has started is remembered here, as the list may change meanwhile; the
 * mirrors stay, since hmm_mirror_unregister() waits for callbacks in progress.  Nothing
 * can be allocated in an invalidation, so there is room for only so many at a time.
 * Model: walk.
 *
 * A function of its own, so that who has one pass does not pay for the array.
 */
static noinline bool hmm_invalidate_from(struct hmm_mirror *mirror,
					 const struct mmu_notifier_range *update)
{
	struct hmm_flush flushes[HMM_NR_FLUSHES];
	unsigned int nr = 0;
	bool done = true;
	u64 fence;

	hlist_for_each_entry_from_rcu(mirror, list) {
		done = hmm_mirror_invalidate(mirror, update, &fence);
		if (!done)
			break;
		if (!fence)
			continue;
		if (nr == ARRAY_SIZE(flushes)) {
			hmm_finish(flushes, nr, update);
			nr = 0;
		}
		flushes[nr++] = (struct hmm_flush){ mirror, fence };
	}
	hmm_finish(flushes, nr, update);
	return done;
}

/* Tell all mirrors.  False: one refuses, and those after it were not told */
static __always_inline bool
hmm_invalidate(struct hmm *hmm, const struct mmu_notifier_range *update)
{
	unsigned long begun = jiffies;
	struct hmm_mirror *mirror;
	bool done = true;

	hmm_callbacks_begin(update);
	hmm_for_each_mirror(mirror, hmm) {
		if (unlikely(!mirror->simple)) {
			if (!mirror->ops->invalidate || mirror->dev) {
				done = hmm_invalidate_from(mirror, update);
				break;
			}
			if (hmm_mirror_ignores(mirror, update))
				continue;
		}
		hmm_count(&mirror->updates);
		done = mirror->ops->invalidate(mirror, update);
		hmm_took(mirror, update, &begun);
		if (unlikely(!done)) {
			done = !hmm_mirror_refuses(mirror, update);
			if (!done)
				break;
		}
	}
	hmm_callbacks_end(update);
	return done;
}

/* Is it called by the 2017 callback, which comes at both ends? */
static bool hmm_mirror_is_2017(const struct hmm_mirror *mirror)
{
	const struct hmm_mirror_ops *ops = mirror->ops;

	return !ops->invalidate && !ops->invalidate_start;
}

/* Tell those that want to know of the end: the ones of 2017, or all others */
static void hmm_after(struct hmm *hmm, const struct mmu_notifier_range *update,
		      bool of_2017)
{
	unsigned long begun = jiffies;
	struct hmm_mirror *mirror;

	hmm_callbacks_begin(update);
	hmm_for_each_mirror(mirror, hmm) {
		if (of_2017 != hmm_mirror_is_2017(mirror) ||
		    hmm_mirror_ignores(mirror, update))
			continue;
		if (of_2017)
			hmm_mirror_sync(mirror, update);
		else if (mirror->ops->invalidate_end)
			mirror->ops->invalidate_end(mirror, update);
		hmm_took(mirror, update, &begun);
	}
	hmm_callbacks_end(update);
}

/* The slot that hmm_invalidate_start() has noted, and 0 from then on */
static unsigned int hmm_take_slot(struct mmu_notifier_range *update)
{
	unsigned int slot = (update->flags & HMM_SLOT_MASK) >> HMM_SLOT_SHIFT;

	update->flags &= ~HMM_SLOT_MASK;
	return slot;
}

/* From where @update is in the active set on, in @slot */
static __always_inline int
hmm_start(struct hmm *hmm, struct mmu_notifier_range *update, unsigned int slot,
	  struct hmm_dispatch *dispatch)
	__releases(&hmm->lock)
{
	/*
	 * It is in the active set before a range is marked, so what is armed when
	 * hmm_mark_collided() lets go of the lock has seen it; and it dispatches, so a
	 * release that comes then waits for it.  Model: start-lock
	 */
	hmm_dispatch_begin(hmm, slot, dispatch);
	if (unlikely(!RB_EMPTY_ROOT(&hmm->armed.rb_root)))
		hmm_mark_collided(hmm, update);
	spin_unlock(&hmm->lock);
	update->flags |= slot << HMM_SLOT_SHIFT;

	if (likely(hmm_invalidate(hmm, update))) {
		hmm_dispatch_end(hmm, slot, dispatch);
		return 0;
	}
	hmm_dispatch_end(hmm, slot, dispatch);
	/* The core calls no end for what was refused */
	hmm_invalidate_cancel(update, hmm);
	return -EAGAIN;
}

/* More at a time than there are slots */
static noinline int hmm_start_covered(struct hmm *hmm,
				      struct mmu_notifier_range *update)
	__releases(&hmm->lock)
{
	struct hmm_dispatch dispatch;
	unsigned int slot = hmm_active_cover(hmm, update->start, update->end);

	return hmm_start(hmm, update, slot, &dispatch);
}

/*
 * How an invalidation and a device page fault of the same addresses get past each
 * other.  "driver_lock" is the lock that the mirror's callback takes:
 *
 *   hmm_invalidate_start():            driver's fault path:
 *     spin_lock(lock)                    hmm_mirror_range_begin(), _fault():
 *       add to the active set              spin_lock(lock)
 *       mark the ranges in flight            wait while in the active set
 *     spin_unlock(lock)                      join the armed, note the sequence
 *     mirror's callback:                   spin_unlock(lock)
 *       lock(driver_lock)                  hmm_range_fault()
 *         clear device entries           lock(driver_lock)
 *       unlock(driver_lock)                hmm_mirror_range_valid()?
 *                                            write device entries
 *   the CPU page table changes           unlock(driver_lock)
 *
 *   hmm_invalidate_end():                hmm_mirror_range_end():
 *     spin_lock(lock)                      spin_lock(lock)
 *       take out of the active set           leave the armed
 *     spin_unlock(lock)                    spin_unlock(lock)
 *     wake those who wait
 *
 * The left side's first critical section (it may be several, of which the first one adds
 * to the active set) and the right side's come one after the other:
 *  - left first: the right side finds the invalidation in the active set and does
 *    not read the CPU page table before it is over;
 *  - right first: the left side marks the range before it calls the mirror.  Now
 *    the two critical sections of driver_lock come one after the other.  If the
 *    callback is first, the other one sees the mark, by way of driver_lock, and
 *    does not write.  If it is last, it clears what the other one has written.
 *
 * So nothing that was read before the CPU page table changed is in the device
 * after it has.  Marking before calling is what this hangs on.
 *
 * tools/testing/hmm_model checks that, and that it fails without any one of these
 * steps.  "Model:" in this file says what a lock, or another means of order, is
 * called there.
 */
int hmm_invalidate_start(struct mmu_notifier_range *update, struct hmm *hmm)
{
	unsigned int slot;

	update->flags &= ~HMM_SLOT_MASK;
	/* Goes on only when all locks of the mm are held.  Model: start-tracking */
	if (!READ_ONCE(hmm->tracking))
		return 0;

	hmm_count(&hmm->updates);
	trace_hmm_invalidate_start(update);

	/* Model: start-lock */
	spin_lock(&hmm->lock);
	if (unlikely(!hmm->tracking)) {
		/* It went off since, and whoever saw to that waits for nobody new */
		spin_unlock(&hmm->lock);
		return 0;
	}
	if (unlikely(hmm_active_is_full(hmm)))
		return hmm_start_covered(hmm, update);
	slot = hmm_active_add(hmm, update->start, update->end);
	return hmm_start(hmm, update, slot, NULL);
}

/* Wake who waits for @update, which has just left the active set.  Model: end-lock, wake */
static noinline void hmm_wake(struct hmm *hmm, struct mmu_notifier_range *update,
			      unsigned int slot)
	__releases(&hmm->lock)
{
	struct hmm_span over = { update->start, update->end };
	bool wake = true;

	if (slot == HMM_SLOT_COVERED) {
		/* Until the last one of these, all that is covered has to wait */
		over = hmm->covering;
		wake = !hmm->nr_covered;
	}
	spin_unlock(&hmm->lock);
	if (wake)
		__wake_up(&hmm->wq, TASK_NORMAL, 0, &over);
}

/* Takes it out of the active set */
static __always_inline void
hmm_end(struct hmm *hmm, struct mmu_notifier_range *update, unsigned int slot)
	__releases(&hmm->lock)
{
	hmm_active_del(hmm, slot);
	/*
	 * Who waits is on the queue before it looks at the active set under
	 * @lock.  So whoever has seen this invalidation there is seen here.
	 * Model: end-look, end-lock
	 */
	if (unlikely(waitqueue_active(&hmm->wq)))
		hmm_wake(hmm, update, slot);
	else
		spin_unlock(&hmm->lock);
	trace_hmm_invalidate_end(update->mm, update->start, update->end);
}

/*
 * The same with callbacks: those of 2017 come before faults are let in, others after.
 * Model: end-lock
 */
static noinline void
hmm_end_with_callbacks(struct hmm *hmm, struct mmu_notifier_range *update,
		       unsigned int slot)
	__releases(&hmm->lock)
{
	struct hmm_dispatch dispatch;
	bool after;

	if (hmm->nr_sync) {
		/* Faults are still kept out, or this would take away what they map */
		hmm_dispatch_begin(hmm, 0, &dispatch);
		spin_unlock(&hmm->lock);
		hmm_after(hmm, update, true);
		hmm_dispatch_end(hmm, 0, &dispatch);
		spin_lock(&hmm->lock);
	}
	after = hmm->nr_after && !hmm->dead;
	/* Not with the slot, which is somebody else's from hmm_end() on */
	if (after)
		hmm_dispatch_begin(hmm, 0, &dispatch);
	hmm_end(hmm, update, slot);
	if (!after)
		return;
	hmm_after(hmm, update, false);
	hmm_dispatch_end(hmm, 0, &dispatch);
}

void hmm_invalidate_end(struct mmu_notifier_range *update, struct hmm *hmm)
{
	unsigned int slot = hmm_take_slot(update);

	if (!slot)
		return;
	/* Model: end-lock */
	spin_lock(&hmm->lock);
	if (unlikely(hmm->nr_after | hmm->nr_sync) && !hmm->dead)
		hmm_end_with_callbacks(hmm, update, slot);
	else
		hmm_end(hmm, update, slot);
}

/* Instead of an end: somebody who was told of @update refused it */
void hmm_invalidate_cancel(struct mmu_notifier_range *update, struct hmm *hmm)
{
	unsigned int slot = hmm_take_slot(update);

	if (!slot)
		return;
	/* Model: end-lock */
	spin_lock(&hmm->lock);
	hmm_end(hmm, update, slot);
}

/*
 * The address space is going away.  The notifier core calls this once, before
 * exit_mmap() frees the first page.  No fault is made from here on, so nothing needs
 * to be tracked.  There is nobody to wake: who waits is a user of the mm.
 */
void hmm_release(struct hmm *hmm)
{
	const struct mmu_notifier_range update = {
		.mm = hmm->mm,
		.start = 0,
		.end = ULONG_MAX,
		.flags = MMU_NOTIFIER_RANGE_BLOCKABLE,
		.event = MMU_NOTIFY_RELEASE,
	};
	struct hmm_dispatch dispatch;
	struct hmm_snapshot others;
	struct hmm_mirror *mirror;
	unsigned long begun;

	/* Model: release-lock */
	spin_lock(&hmm->lock);
	hmm->dead = true;
	if (!hmm->tracking) {
		spin_unlock(&hmm->lock);
		return;
	}
	hmm_count(&hmm->updates);
	trace_hmm_invalidate_start(&update);
	hmm_dispatch_begin(hmm, 0, &dispatch);
	hmm_mark_collided(hmm, &update);
	spin_unlock(&hmm->lock);

	hmm_invalidate(hmm, &update);

	/*
	 * Other tasks, as in reclaim, may have begun to tell the mirrors of changes of
	 * the pages that are still there.  There is nothing left that they would have
	 * to take away.  Model: untrack-lock, untrack
	 */
	spin_lock(&hmm->lock);
	WRITE_ONCE(hmm->tracking, false);
	hmm_take_snapshot(hmm, &others);
	spin_unlock(&hmm->lock);
	hmm_wait_for_callbacks(hmm, &others, &dispatch);

	begun = jiffies;
	lock_map_acquire(&hmm_callback_map);
	hmm_for_each_mirror(mirror, hmm) {
		trace_hmm_release(mirror, hmm->mm);
		if (mirror->ops->release)
			mirror->ops->release(mirror);
		hmm_took(mirror, &update, &begun);
	}
	lock_map_release(&hmm_callback_map);
	hmm_dispatch_end(hmm, 0, &dispatch);
}

/* Called inside mm_take_all_locks(), so that no invalidation is half way */
void hmm_track(struct hmm *hmm)
{
	/* Model: track-lock, track */
	spin_lock(&hmm->lock);
	hmm->nr_tracked++;
	WRITE_ONCE(hmm->tracking, true);
	spin_unlock(&hmm->lock);
	hmm_all_add(hmm);
}

/* The tests make this fail; for them alone it is not static */
VISIBLE_IF_KUNIT void *hmm_mirror_alloc(size_t size)
{
	KUNIT_STATIC_STUB_REDIRECT(hmm_mirror_alloc, size);
	return kmalloc(size, GFP_KERNEL_ACCOUNT);
}

struct hmm *hmm_alloc(struct mm_struct *mm, struct mmu_notifier *notifier)
{
	struct hmm *hmm = hmm_mirror_alloc(sizeof(*hmm));

	if (!hmm)
		return NULL;

	/* Of the active set, which is half of it, only what is in use is read */
	memset(hmm, 0, offsetof(struct hmm, active));
	hmm->mm = mm;
	hmm->notifier = notifier;
	spin_lock_init(&hmm->lock);
	INIT_HLIST_HEAD(&hmm->mirrors);
	hmm->armed = RB_ROOT_CACHED;
	init_waitqueue_head(&hmm->wq);
	INIT_LIST_HEAD(&hmm->dispatches);
	INIT_LIST_HEAD(&hmm->list);
	hmm->refs = 1;
	return hmm;
}

/* Called in the last mmdrop() of the mm, or before that, by hmm_list.c */
void hmm_free(struct hmm *hmm)
{
	if (hmm)
		hmm_put(hmm);
}

/*
 * False: invalidations are not tracked, as the last mirror has gone.  Otherwise an
 * invalidation finds the mirror from here on.
 */
static bool hmm_add_mirror(struct hmm *hmm, struct hmm_mirror *mirror)
{
	bool tracking;

	/* Model: list-lock, list-add */
	spin_lock(&hmm->lock);
	tracking = hmm->tracking;
	if (tracking) {
		mirror->hmm = hmm;
		hlist_add_head_rcu(&mirror->list, &hmm->mirrors);
		hmm->nr_sync += hmm_mirror_is_2017(mirror);
		hmm->nr_after += !!mirror->ops->invalidate_end;
	}
	spin_unlock(&hmm->lock);
	return tracking;
}

/*
 * Attaching to the notifier core: each mirror holds a reference to the mm_struct, and
 * with that to its struct hmm, which it gives back by hmm_detach().
 */
static int hmm_attach(struct hmm_mirror *mirror, struct mm_struct *mm)
{
	struct hmm *hmm = mmu_notifier_hmm(mm);
	struct hmm *new = NULL;
	int ret;

	if (!hmm || !hmm_add_mirror(hmm, mirror)) {
		if (!hmm) {
			new = hmm_alloc(mm, NULL);
			if (!new)
				return -ENOMEM;
			hmm = new;
		}
		/* Model: attach */
		ret = mmu_notifier_attach_hmm(mm, hmm);
		if (ret) {
			hmm_free(new);
			return ret;
		}
		/* It goes off only with the last mirror, and there is none */
		WARN_ON(!hmm_add_mirror(hmm, mirror));
	}
	/* Model: grab */
	mmgrab(mm);
	return 0;
}

/* The same where the core does not know of the registry */
static int hmm_attach_by_list(struct hmm_mirror *mirror, struct mm_struct *mm)
{
	struct hmm *hmm;

	if (!(mirror->ops->flags & HMM_MIRROR_ATOMIC))
		return -EOPNOTSUPP;
	hmm = hmm_list_get(mm);
	if (IS_ERR(hmm))
		return PTR_ERR(hmm);
	WARN_ON(!hmm_add_mirror(hmm, mirror));
	return 0;
}

/* @hmm may be freed after this */
static void hmm_detach(struct hmm *hmm)
{
	/* Model: drop */
	if (hmm_use_list)
		hmm_list_put(hmm->notifier);
	else
		mmdrop(hmm->mm);
}

static bool hmm_window_is_valid(const struct hmm_mirror *mirror)
{
	return PAGE_ALIGNED(mirror->window_start | mirror->window_end) &&
	       (!mirror->window_end ||
		mirror->window_start < mirror->window_end);
}

static bool hmm_ops_are_whole(const struct hmm_mirror_ops *ops)
{
	if (!ops->invalidate_start != !ops->invalidate_finish)
		return false;
	if (ops->invalidate_start && ops->invalidate)
		return false;
	if (ops->invalidate_end && !ops->invalidate_start && !ops->invalidate)
		return false;
	return ops->invalidate_start || ops->invalidate ||
	       ops->sync_cpu_device_pagetables;
}

/**
 * hmm_mirror_register() - start to mirror an address space
 * @mirror: mirror to register, zeroed before its first use, and with
 *	&hmm_mirror.ops set
 * @mm: the address space; the caller keeps its mm_users above 0, as current->mm
 *	or get_task_mm() do
 *
 * From here on the mirror's callback is called for every change of the CPU page
 * table, even before this function returns.  Any number of mirrors may be
 * registered on one mm; the first one costs an allocation, and all locks of the mm
 * are taken for it, which is not done for the next ones.  When this fails, @mirror
 * is as it was before, and is not to be unregistered.
 *
 * Context: process context; the caller holds the mmap lock of @mm for write, and no
 * lock that a callback of any mirror takes.  May sleep.
 *
 * Return: 0, or
 *
 * * -EINVAL: @mirror, @mm or the ops are %NULL, there is no callback, or only one
 *   of the two passes of it, or these and a callback of one pass, or
 *   invalidate_end() with the 2017 callback only; or the window is not page aligned,
 *   or ends before it starts
 * * -ESRCH: the address space is dead, nobody uses it any more
 * * -EEXIST: @mirror is registered already, or was not zeroed (a bug of the
 *   driver, warned of)
 * * -EOPNOTSUPP: this kernel's notifier core does not know of the registry, and the
 *   mirror is not %HMM_MIRROR_ATOMIC
 * * -ENOMEM: out of memory
 * * -EINTR: a signal came while all locks of the mm were being taken
 */
int hmm_mirror_register(struct hmm_mirror *mirror, struct mm_struct *mm)
{
	int ret;

	if (!mm || !mirror || !mirror->ops || !hmm_ops_are_whole(mirror->ops) ||
	    !hmm_window_is_valid(mirror))
		return -EINVAL;

	if (WARN_ON_ONCE(mirror->hmm))
		return -EEXIST;

	/* Let lockdep know that all locks of the mm may be taken, as if by a callback */
	lock_map_acquire(&hmm_callback_map);
	lock_map_release(&hmm_callback_map);

	/* One at a time, and the core needs it as well.  Model: mmap-locked */
	mmap_assert_write_locked(mm);
	if (!atomic_read(&mm->mm_users))
		return -ESRCH;

	INIT_LIST_HEAD(&mirror->ranges);
	mirror->cancelled = false;
	spin_lock_init(&mirror->dma_lock);
	mirror->dma = RB_ROOT_CACHED;
	mirror->simple = mirror->ops->invalidate && !mirror->window_start &&
			 !mirror->window_end && !mirror->dev &&
			 !(mirror->ops->flags & (HMM_MIRROR_IGNORE_SOFT_DIRTY |
						 HMM_MIRROR_IGNORE_OWN));
	atomic_long_set(&mirror->updates, 0);
	atomic_long_set(&mirror->vetoes, 0);
	atomic_long_set(&mirror->faults, 0);
	atomic_long_set(&mirror->collisions, 0);
	atomic_long_set(&mirror->waits, 0);

	ret = hmm_use_list ? hmm_attach_by_list(mirror, mm) : hmm_attach(mirror, mm);
	if (!ret)
		trace_hmm_register(mirror, mm);
	return ret;
}
EXPORT_SYMBOL_GPL(hmm_mirror_register);

/*
 * A range that is still in flight when its mirror goes is a bug of the driver.
 * Forget it, so that no invalidation, nor its end, gets at a mirror which has gone.
 */
static void hmm_drop_ranges(struct hmm *hmm, struct hmm_mirror *mirror)
{
	struct hmm_mirror_range *range, *next;

	lockdep_assert_held(&hmm->lock);

	list_for_each_entry_safe(range, next, &mirror->ranges, list) {
		hmm_range_disarm(hmm, range);
		list_del(&range->list);
		hmm->nr_in_flight--;
		WRITE_ONCE(range->hmm, NULL);
	}
}

/* Wake faults of @mirror that wait for a page.  False: there are none */
static bool hmm_wake_faults(struct hmm *hmm, struct hmm_mirror *mirror)
{
	struct hmm_mirror_range *range;
	bool any = false;

	spin_lock(&hmm->lock);
	list_for_each_entry(range, &mirror->ranges, list) {
		if (range->task) {
			wake_up_process(range->task);
			any = true;
		}
	}
	spin_unlock(&hmm->lock);
	return any;
}

/**
 * hmm_mirror_cancel() - have all faults of a mirror return
 * @mirror: a registered mirror
 *
 * From here on hmm_mirror_range_begin() and hmm_mirror_range_fault() fail with
 * -ECANCELED.  A fault in progress that waits for an invalidation, or for a page that
 * userfaultfd(2) is to bring, stops to wait.  One that goes on may still succeed, and may
 * be committed.  This cannot be undone, but by registering the mirror anew; its callbacks
 * are called as before.
 *
 * A driver whose faults are made by a worker calls this before it waits for the worker,
 * in its release() or when its device is unplugged, and unregisters the mirror after
 * that.  Otherwise a process that dies could make it wait for ever: for a page that is to
 * come from a file of the same process, which is closed later.
 *
 * Returns when no fault of the mirror waits for a page any more.  For some pages nothing
 * ends that before they are there, except a fatal signal, which kernel threads do not get:
 * pages of network file systems, pages of FUSE that are not read ahead, and those that
 * somebody else has locked.  So a worker must not be made to wait for a file system that
 * the same driver, or the process that closes its file, serves.
 *
 * Context: process context, with no lock held that a callback of a mirror takes or that is
 * held around a fault, and without the mmap lock; not in a callback, nor in a commit.  May
 * sleep.
 */
void hmm_mirror_cancel(struct hmm_mirror *mirror)
{
	static const struct hmm_span all = { 0, ULONG_MAX };
	struct hmm *hmm = mirror->hmm;

	if (WARN_ON_ONCE(!hmm))
		return;
	might_sleep();
	/* Let lockdep know that this waits for faults, and so for invalidations */
	lock_map_acquire(&hmm_callback_map);
	lock_map_release(&hmm_callback_map);

	/* Seen by who looks at the active set, or is about to wait for a page */
	spin_lock(&hmm->lock);
	WRITE_ONCE(mirror->cancelled, true);
	spin_unlock(&hmm->lock);
	__wake_up(&hmm->wq, TASK_NORMAL, 0, (void *)&all);

	/*
	 * handle_userfault() sleeps once, and looks at nothing of ours before it does: who
	 * was on its way there when it was woken has to be woken again.
	 */
	while (hmm_wake_faults(hmm, mirror))
		schedule_timeout_uninterruptible(1);
}
EXPORT_SYMBOL_GPL(hmm_mirror_cancel);

/**
 * hmm_mirror_unregister() - stop to mirror an address space
 * @mirror: a registered mirror, with no &struct hmm_mirror_range in flight, nor being
 *	put there
 *
 * When this returns, no callback of the mirror is running or will run, and the
 * memory that @mirror is in may be freed.  The device's entries are the driver's
 * business: nothing keeps them in step any more, so they must be gone, and no new
 * ones must come, before this is called.
 *
 * May be called at any time, also long after the process has died, and in
 * parallel with its death.  If a range is in flight, which is a bug of the driver,
 * this warns, and leaks the &struct mm_struct and what the registry keeps for it.
 *
 * Context: process context.  Waits for running callbacks, so the caller must not
 * hold a lock that a callback takes, nor be one.  It may hold the mmap lock.
 */
void hmm_mirror_unregister(struct hmm_mirror *mirror)
{
	struct hmm *hmm = mirror->hmm;
	struct hmm_snapshot callbacks;
	bool in_flight;

	if (WARN_ON_ONCE(!hmm))
		return;

	might_sleep();
	/* Let lockdep know that this waits for invalidations */
	lock_map_acquire(&hmm_callback_map);
	lock_map_release(&hmm_callback_map);

	/* As long as updates are told, as nothing else keeps the pages.  Model: dma-drop */
	if (WARN_ONCE(!RB_EMPTY_ROOT(&mirror->dma.rb_root),
		      "%ps unregisters a mirror with DMA addresses\n",
		      __builtin_return_address(0)))
		hmm_dma_drop(mirror);

	/* Model: unlist-lock, unlist, untrack-last */
	spin_lock(&hmm->lock);
	if (unlikely(hlist_unhashed(&mirror->list))) {
		spin_unlock(&hmm->lock);
		WARN_ONCE(true, "%ps unregisters a mirror that is being unregistered\n",
			  __builtin_return_address(0));
		return;
	}
	hlist_del_init_rcu(&mirror->list);
	hmm->nr_sync -= hmm_mirror_is_2017(mirror);
	hmm->nr_after -= !!mirror->ops->invalidate_end;
	/* The last one.  That is not done for ever, as the next one costs all locks */
	if (hlist_empty(&hmm->mirrors) && !hmm->notifier &&
	    hmm->nr_tracked < HMM_NR_TRACKED)
		WRITE_ONCE(hmm->tracking, false);
	in_flight = !list_empty(&mirror->ranges);
	if (in_flight)
		hmm_drop_ranges(hmm, mirror);
	/* Whoever begins later does not find it */
	hmm_take_snapshot(hmm, &callbacks);
	spin_unlock(&hmm->lock);
	WARN_ONCE(in_flight, "%ps unregisters a mirror with ranges in flight\n",
		  __builtin_return_address(0));

	hmm_wait_for_callbacks(hmm, &callbacks, NULL);

	trace_hmm_unregister(mirror, hmm->mm);
	WRITE_ONCE(mirror->hmm, NULL);
	/*
	 * Last, as the reference keeps what is used above.  Whoever has a range in
	 * flight may be about to take the lock, to end it: then the mm is leaked.
	 */
	if (!in_flight)
		hmm_detach(hmm);
}
EXPORT_SYMBOL_GPL(hmm_mirror_unregister);

/* -EBUSY: an invalidation goes on; -EINVAL: the mirror was unregistered meanwhile; or -ECANCELED */
static int hmm_range_try_arm(struct hmm *hmm, struct hmm_mirror_range *range)
{
	int ret = 0;

	/* Nothing can start between the look and the note.  Model: arm-lock */
	spin_lock(&hmm->lock);
	if (unlikely(!range->hmm))
		ret = -EINVAL;	/* see hmm_drop_ranges() */
	else if (unlikely(range->mirror->cancelled))
		ret = -ECANCELED;
	else if (hmm_active_overlaps(hmm, range->start, range->end))
		ret = -EBUSY;
	else
		hmm_range_arm(hmm, range);
	spin_unlock(&hmm->lock);

	return ret;
}

/* Who waits until an invalidation that overlaps @range is over */
struct hmm_waiter {
	struct wait_queue_entry entry;
	const struct hmm_mirror_range *range;
};

/* Model: wake-one */
static int hmm_wake_waiter(struct wait_queue_entry *entry, unsigned int mode,
			   int flags, void *key)
{
	const struct hmm_mirror_range *range =
		container_of(entry, struct hmm_waiter, entry)->range;
	const struct hmm_span *over = key;

	if (!hmm_overlaps(range->start, range->end, over->start, over->end))
		return 0;
	return default_wake_function(entry, mode, flags, key);
}

/* How long a fault goes on, and how often it collides meanwhile */
struct hmm_limit {
	unsigned long timeout;	/* in jiffies, 0 for none */
	unsigned long deadline;
	unsigned int collisions;
};

static void hmm_limit_init(struct hmm_limit *limit, unsigned long timeout,
			   unsigned int collisions)
{
	/* What is longer would lie in the past */
	limit->timeout = min(timeout, MAX_JIFFY_OFFSET);
	limit->deadline = jiffies + limit->timeout;
	limit->collisions = collisions;
}

static bool hmm_limit_is_over(const struct hmm_limit *limit)
{
	return limit->timeout && time_after_eq(jiffies, limit->deadline);
}

/* Arm a range that has collided, once nothing that overlaps it goes on */
static int hmm_range_wait(struct hmm *hmm, struct hmm_mirror_range *range,
			  const struct hmm_limit *limit)
{
	struct hmm_waiter waiter = { .range = range };
	long left = MAX_SCHEDULE_TIMEOUT;
	int ret, interrupted;

	if (limit->timeout)
		left = max_t(long, limit->deadline - jiffies, 0);

	ret = hmm_range_try_arm(hmm, range);
	if (ret != -EBUSY)
		return ret;

	hmm_count(&range->mirror->waits);
	trace_hmm_wait(range);
	init_waitqueue_func_entry(&waiter.entry, hmm_wake_waiter);
	waiter.entry.private = current;
	INIT_LIST_HEAD(&waiter.entry.entry);
	for (;;) {
		/*
		 * Looks again once it is on the queue.
		 * Model: queue, wait, sleep, unqueue
		 */
		interrupted = prepare_to_wait_event(&hmm->wq, &waiter.entry,
						    TASK_KILLABLE);
		ret = hmm_range_try_arm(hmm, range);
		if (ret != -EBUSY)
			break;
		if (interrupted)
			ret = -EINTR;
		if (interrupted || !left)
			break;
		left = schedule_timeout(left);
	}
	finish_wait(&hmm->wq, &waiter.entry);
	return ret;
}

#ifdef CONFIG_FAIL_HMM_MIRROR

static DECLARE_FAULT_ATTR(hmm_fail_mirror);

/*
 * Called between the steps of a fault: invalidate its range, as any task might just
 * then, with the mmap lock held, as the notifier core requires.  The mirrors are
 * told, too, so nobody can tell it from a collision that comes by itself.
 */
static void hmm_inject_collision(const struct hmm_mirror_range *range,
				 bool mmap_locked)
{
	struct mm_struct *mm = range->notifier.mm;
	struct mmu_notifier_range update;

	if (!should_fail(&hmm_fail_mirror, 1))
		return;
	if (!mmap_locked && mmap_read_lock_killable(mm))
		return;
	mmu_notifier_range_init(&update, MMU_NOTIFY_CLEAR, 0, mm,
				range->start, range->end);
	mmu_notifier_invalidate_range_start(&update);
	mmu_notifier_invalidate_range_end(&update);
	if (!mmap_locked)
		mmap_read_unlock(mm);
}

static int __init hmm_fail_mirror_init(void)
{
	return PTR_ERR_OR_ZERO(fault_create_debugfs_attr("fail_hmm_mirror", NULL,
							 &hmm_fail_mirror));
}
late_initcall(hmm_fail_mirror_init);

#else

static inline void hmm_inject_collision(const struct hmm_mirror_range *range,
					bool mmap_locked)
{
}

#endif /* CONFIG_FAIL_HMM_MIRROR */

/*
 * Part of a range, and what is asked of its pages: of all of them, and of those in @fault
 * and @write.  Reading the part overwrites the input flags of the pages, so these are kept
 * here; where there are any, a part has a bit for each page.
 */
struct hmm_part {
	unsigned long start;	/* inclusive */
	unsigned long end;	/* exclusive */
	unsigned long *pfns;
	unsigned long all;
	unsigned long fault;
	unsigned long write;
};

static unsigned long hmm_part_pages(const struct hmm_part *part)
{
	return (part->end - part->start) >> PAGE_SHIFT;
}

static void hmm_part_init(struct hmm_part *part, const struct hmm_mirror_range *range,
			  unsigned long start)
{
	unsigned long i, mask = range->pfn_flags_mask;

	part->start = start;
	part->end = range->end;
	part->pfns = range->pfns + ((start - range->start) >> PAGE_SHIFT);
	part->all = range->flags & (HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE);
	part->fault = 0;
	part->write = 0;
	if (likely(!mask)) {
		/* For writing, but not to be faulted in: that is for nothing */
		if (!(part->all & HMM_PFN_REQ_FAULT))
			part->all = 0;
		return;
	}
	part->end = min(part->end, start + BITS_PER_LONG * PAGE_SIZE);
	for (i = 0; i < hmm_part_pages(part); i++) {
		if (part->pfns[i] & mask & HMM_PFN_REQ_FAULT)
			part->fault |= BIT(i);
		if (part->pfns[i] & mask & HMM_PFN_REQ_WRITE)
			part->write |= BIT(i);
	}
}

static unsigned long hmm_part_asks(const struct hmm_part *part, unsigned long i)
{
	unsigned long asked = part->all;

	if (unlikely(part->fault | part->write)) {
		if (part->fault & BIT(i))
			asked |= HMM_PFN_REQ_FAULT;
		if (part->write & BIT(i))
			asked |= HMM_PFN_REQ_WRITE;
	}
	return asked & HMM_PFN_REQ_FAULT ? asked : 0;
}

/* The first page from @i on that is not what was asked for.  These have the same bits */
static __always_inline unsigned long
hmm_part_lacks(const struct hmm_part *part, unsigned long i)
{
	unsigned long n = hmm_part_pages(part);

	BUILD_BUG_ON(HMM_PFN_REQ_FAULT != HMM_PFN_VALID);
	BUILD_BUG_ON(HMM_PFN_REQ_WRITE != HMM_PFN_WRITE);

	if (likely(!(part->fault | part->write))) {
		const unsigned long *pfns = part->pfns, all = part->all;

		while (i < n && !(all & ~pfns[i]))
			i++;
		return i;
	}
	while (i < n && !(hmm_part_asks(part, i) & ~part->pfns[i]))
		i++;
	return i;
}

/* The only place where there is a struct hmm_range.  Model: fault-read */
static int hmm_part_read(const struct hmm_part *part, struct hmm_mirror_range *range)
{
	struct hmm_range hmm_range = {
		.notifier = &range->notifier,
		.notifier_seq = range->seq,
		.start = part->start,
		.end = part->end,
		.hmm_pfns = part->pfns,
		.dev_private_owner = range->owner,
	};

	return hmm_range_fault(&hmm_range);
}

/* hmm_range_fault() has an error for all pages of these */
static bool hmm_may_fault(struct vm_area_struct *vma)
{
	return !(vma->vm_flags & (VM_IO | VM_PFNMAP | VM_SHADOW_STACK)) &&
	       vma->vm_flags & VM_READ && !vma_is_secretmem(vma);
}

/*
 * May a page fault wait for somebody in user space, although it is told not to wait?  File
 * systems do not look at that when they read a page, or are asked before one is written to;
 * and whether a page is in the page cache already can change at any time.
 */
static bool hmm_fault_may_wait(struct vm_area_struct *vma)
{
	return !vma_is_anonymous(vma) && vma->vm_file && !is_vm_hugetlb_page(vma) &&
	       !vma_is_dax(vma) && !shmem_mapping(vma->vm_file->f_mapping);
}

/*
 * Make one page fault, with the mmap lock held, which is dropped while a page is waited
 * for; that sets @waited.  If @waited is NULL it is not dropped, and that is -EAGAIN.
 * Returns 0, or an error; the lock is held unless that is -EINTR or -ECANCELED.
 */
static int hmm_fault_page(struct hmm_mirror_range *range, unsigned long addr, bool write,
			  bool *waited)
{
	unsigned int flags = FAULT_FLAG_REMOTE | FAULT_FLAG_ALLOW_RETRY |
			     (waited ? FAULT_FLAG_KILLABLE : FAULT_FLAG_RETRY_NOWAIT) |
			     (write ? FAULT_FLAG_WRITE : 0);
	struct mm_struct *mm = range->notifier.mm;
	struct vm_area_struct *vma;
	vm_fault_t fault;

	for (;;) {
		vma = vma_lookup(mm, addr);
		if (!vma || !hmm_may_fault(vma))
			return -EFAULT;
		if (write && !(vma->vm_flags & VM_WRITE))
			return -EPERM;
		if (!waited && hmm_fault_may_wait(vma))
			return -EAGAIN;

		fault = handle_mm_fault(vma, addr, flags, NULL);
		if (!(fault & (VM_FAULT_RETRY | VM_FAULT_COMPLETED)))
			break;
		if (!waited)
			return -EAGAIN;
		*waited = true;
		if (READ_ONCE(range->mirror->cancelled))
			return -ECANCELED;
		if (fatal_signal_pending(current) || mmap_read_lock_killable(mm))
			return -EINTR;
		if (fault & VM_FAULT_COMPLETED)
			return 0;
		/* The second time it tells of errors, and does not go on for ever */
		flags |= FAULT_FLAG_TRIED;
	}
	if (unlikely(fault & VM_FAULT_ERROR))
		return vm_fault_to_errno(fault, 0) ?: -EINVAL;
	return 0;
}

/* See hmm_part_fault() */
static int hmm_part_fault_each(const struct hmm_part *part, struct hmm_mirror_range *range,
			       unsigned long *failed, bool *waited)
{
	unsigned long i, n = hmm_part_pages(part), addr, lacks;
	int ret = 0, err;

	for (i = hmm_part_lacks(part, 0); i < n; i = hmm_part_lacks(part, i + 1)) {
		addr = part->start + (i << PAGE_SHIFT);
		lacks = hmm_part_asks(part, i) & ~part->pfns[i];
		/* Memory of the device itself is what it is, as for hmm_range_fault() */
		if (lacks == HMM_PFN_WRITE &&
		    is_device_private_page(hmm_pfn_to_page(part->pfns[i])))
			continue;
		/* A page fault has not helped */
		if (*failed == addr && part->pfns[i] & HMM_PFN_ERROR)
			return -EFAULT;
		if (fatal_signal_pending(current) || READ_ONCE(range->mirror->cancelled)) {
			if (waited)
				mmap_read_unlock(range->notifier.mm);
			return fatal_signal_pending(current) ? -EINTR : -ECANCELED;
		}
		err = hmm_fault_page(range, addr,
				     hmm_part_asks(part, i) & HMM_PFN_REQ_WRITE, waited);
		if (err)
			return err;
		ret = -EBUSY;
		if (part->pfns[i] & HMM_PFN_ERROR) {
			*failed = addr;
			break;
		}
		if (!__hmm_mirror_range_armed(range))
			break;
		cond_resched();
	}
	return ret;
}

/* Tell hmm_mirror_cancel() who may wait for a page, or, with NULL, that nobody does */
int hmm_range_set_task(struct hmm_mirror_range *range, struct task_struct *task)
{
	struct hmm *hmm = READ_ONCE(range->hmm);
	int ret = 0;

	if (unlikely(!hmm))
		return -EINVAL;	/* see hmm_drop_ranges() */
	spin_lock(&hmm->lock);
	if (task && range->mirror->cancelled)
		ret = -ECANCELED;
	else
		range->task = task;
	spin_unlock(&hmm->lock);
	return ret;
}

/*
 * Make the page faults for what @part lacks.  Not by hmm_range_fault(), as that keeps the
 * mmap lock, and cannot be killed, while a page comes from a disk or from a file system in
 * user space, whose daemon may want the lock; and as userfaultfd(2) does not handle such
 * a fault.  Returns 0 if nothing was to be done, and -EBUSY if it is to be read again; the
 * mmap lock is held unless that is -EINTR or -ECANCELED.
 */
static noinline int
hmm_part_fault(const struct hmm_part *part, struct hmm_mirror_range *range,
	       unsigned long *failed, bool *waited)
{
	int ret;

	if (!waited)
		return hmm_part_fault_each(part, range, failed, NULL);

	ret = hmm_range_set_task(range, current);
	if (ret) {
		mmap_read_unlock(range->notifier.mm);
		return -ECANCELED;
	}
	ret = hmm_part_fault_each(part, range, failed, waited);
	hmm_range_set_task(range, NULL);
	return ret;
}

/* Read @part, with the mmap lock held: see hmm_part_fault() */
static int hmm_part_try(const struct hmm_part *part, struct hmm_mirror_range *range,
			unsigned long *failed, bool *waited)
{
	int ret;

	hmm_inject_collision(range, true);
	ret = hmm_part_read(part, range);
	/*
	 * What was reaped is gone, but MADV_COLLAPSE still puts a huge page in its
	 * place, which is not to be taken for what was there.
	 */
	if (check_stable_address_space(range->notifier.mm))
		ret = -EFAULT;
	else if (!ret && hmm_part_lacks(part, 0) < hmm_part_pages(part))
		ret = hmm_part_fault(part, range, failed, waited);
	return ret;
}

/* Read a range that is armed.  -EBUSY: it collided, or is past its deadline */
static int hmm_range_read(struct hmm_mirror_range *range, struct hmm_limit *limit)
{
	struct mm_struct *mm = range->notifier.mm;
	unsigned long start, failed;
	struct hmm_part part;
	bool waited;
	int ret;

	for (start = range->start; start < range->end; start = part.end) {
		hmm_part_init(&part, range, start);
		failed = range->end;
		do {
			if (mmap_read_lock_killable(mm))
				return -EINTR;
			waited = false;
			ret = hmm_part_try(&part, range, &failed, &waited);
			if (ret == -EINTR || ret == -ECANCELED)
				return ret;
			mmap_read_unlock(mm);
			/* Somebody else took that time, and it got us on */
			if (waited)
				limit->deadline = jiffies + limit->timeout;
			if (fatal_signal_pending(current))
				return -EINTR;
			/* Collisions must not hold up a CPU that nothing preempts */
			cond_resched();
		} while (ret == -EBUSY && __hmm_mirror_range_armed(range) &&
			 !hmm_limit_is_over(limit));
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * The same with the mmap lock held by the caller, who keeps it.  -EAGAIN: it would have to
 * be dropped, to wait for a page, or to let somebody else on.
 */
static int hmm_range_read_locked(struct hmm_mirror_range *range)
{
	unsigned long start, failed;
	struct hmm_part part;
	unsigned int tries;
	int ret;

	for (start = range->start; start < range->end; start = part.end) {
		hmm_part_init(&part, range, start);
		failed = range->end;
		for (tries = 0; tries < HMM_NR_COLLISIONS; tries++) {
			ret = hmm_part_try(&part, range, &failed, NULL);
			if (ret != -EBUSY)
				break;
			if (!__hmm_mirror_range_armed(range))
				return ret;
		}
		if (ret)
			return ret == -EBUSY ? -EAGAIN : ret;
	}
	return 0;
}

/**
 * hmm_mirror_range_begin() - put a device page fault in flight
 * @range: range to put in flight; zeroed before its first use, and with the
 *	driver's fields set
 * @mirror: the registered mirror that the fault is for
 *
 * From here to hmm_mirror_range_end() the registry knows of the range, and marks
 * it when an invalidation hits it.  @range must stay where it is meanwhile, and
 * one thread at a time may use it.
 *
 * Context: any but interrupt context; does not sleep.
 *
 * Return: 0, or
 *
 * * -EINVAL: an argument is %NULL, @mirror is not registered, the range is empty,
 *   wraps, is not page aligned or exceeds the address space or the mirror's window,
 *   or has no pfn array, or %HMM_PFN_REQ_WRITE without %HMM_PFN_REQ_FAULT
 * * -EALREADY: @range is in flight already (a bug of the driver, warned of)
 * * -ECANCELED: hmm_mirror_cancel() was called
 * * -ESRCH: the address space is dead
 */
int hmm_mirror_range_begin(struct hmm_mirror_range *range,
			   struct hmm_mirror *mirror)
{
	struct hmm *hmm;
	int ret;

	if (!range || !mirror || !range->pfns)
		return -EINVAL;
	hmm = READ_ONCE(mirror->hmm);
	if (!hmm)
		return -EINVAL;
	if (WARN_ON_ONCE(range->hmm))
		return -EALREADY;

	if (range->start >= range->end ||
	    !PAGE_ALIGNED(range->start | range->end) ||
	    range->end > hmm->mm->task_size ||
	    range->start < mirror->window_start ||
	    range->end - 1 > mirror->window_end - 1)
		return -EINVAL;
	/* Nothing would be faulted in for writing, nor at all */
	if ((range->flags & (HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE)) ==
	    HMM_PFN_REQ_WRITE)
		return -EINVAL;

	range->mirror = mirror;
	range->read = false;
	range->retries = 0;
	range->task = NULL;
	range->notifier.mm = hmm->mm;

	/* Nothing can start between the join and the look.  Model: begin-lock */
	spin_lock(&hmm->lock);
	if (hlist_unhashed(&mirror->list)) {
		ret = -EINVAL;	/* it is being unregistered */
	} else if (mirror->cancelled) {
		ret = -ECANCELED;
	} else if (hmm->dead) {
		ret = -ESRCH;
	} else {
		range->notifier.interval_tree.start = range->start;
		range->notifier.interval_tree.last = range->end - 1;
		RB_CLEAR_NODE(&range->notifier.interval_tree.rb);
		list_add(&range->list, &mirror->ranges);
		hmm->nr_in_flight++;
		range->hmm = hmm;
		/*
		 * Where nothing is going on it can be armed at once, which saves
		 * taking the lock again.
		 */
		if (hmm_active_overlaps(hmm, range->start, range->end))
			hmm_range_disarm(hmm, range);
		else
			hmm_range_arm(hmm, range);
		ret = 0;
	}
	spin_unlock(&hmm->lock);

	return ret;
}
EXPORT_SYMBOL_GPL(hmm_mirror_range_begin);

/* Begins a fault: the checks and notes that all kinds of it have in common */
static int hmm_range_fault_begin(struct hmm_mirror_range *range)
{
	/* Whatever is in the pfn array is not what the CPU page table says now */
	range->read = false;

	/* What is marked is what was begun */
	if (WARN_ON_ONCE(range->start != range->notifier.interval_tree.start ||
			 range->end - 1 != range->notifier.interval_tree.last))
		return -EINVAL;
	if (READ_ONCE(range->mirror->cancelled))
		return -ECANCELED;

	/* Let lockdep know, in each call, that this may wait for invalidations */
	lock_map_acquire(&hmm_callback_map);
	lock_map_release(&hmm_callback_map);

	hmm_count(&range->mirror->faults);
	trace_hmm_fault_begin(range);
	return 0;
}

/* May it be read again?  Reading overwrites what is asked of single pages */
static bool hmm_range_can_retry(const struct hmm_mirror_range *range)
{
	return !range->pfn_flags_mask || range->request;
}

static void hmm_range_request(struct hmm_mirror_range *range)
{
	if (range->pfn_flags_mask && range->request)
		range->request(range, range->request_data);
}

/* Reads @range, with mm_users held.  -EBUSY: it collides more often, or longer, than that */
static int hmm_range_try(struct hmm *hmm, struct hmm_mirror_range *range,
			 struct hmm_limit *limit)
{
	unsigned int collisions = 0;
	int ret;

	for (;;) {
		hmm_inject_collision(range, false);
		if (!__hmm_mirror_range_armed(range)) {
			ret = hmm_range_wait(hmm, range, limit);
			if (ret)
				break;
		}
		hmm_inject_collision(range, false);
		hmm_range_request(range);
		ret = hmm_range_read(range, limit);
		if (ret != -EBUSY || !hmm_range_can_retry(range) ||
		    hmm_limit_is_over(limit) || ++collisions == limit->collisions)
			break;
		range->retries++;
	}
	range->read = !ret;
	hmm_inject_collision(range, false);
	return ret;
}

static int hmm_range_fault_limited(struct hmm_mirror_range *range, struct hmm_limit *limit)
{
	struct mm_struct *mm;
	struct hmm *hmm;
	int ret;

	if (!range)
		return -EINVAL;
	hmm = READ_ONCE(range->hmm);
	if (WARN_ON_ONCE(!hmm))
		return -EINVAL;
	ret = hmm_range_fault_begin(range);
	if (ret)
		return ret;

	/* Keeps exit_mmap() away, after which no end comes.  Model: mmget, mmput */
	mm = range->notifier.mm;
	ret = -ESRCH;
	if (mmget_not_zero(mm)) {
		ret = hmm_range_try(hmm, range, limit);
		/* Not mmput(): who knows which locks exit_mmap() would meet here */
		mmput_async(mm);
	}
	trace_hmm_fault_end(range, ret);
	return ret;
}

/**
 * hmm_mirror_range_fault() - read the CPU page table for a range in flight
 * @range: range in flight
 * @timeout: time limit in jiffies for collisions, such as
 *	msecs_to_jiffies(%HMM_RANGE_DEFAULT_TIMEOUT); 0 for none, as
 *	hmm_range_fault_unlocked_timeout() has it; no longer than %MAX_JIFFY_OFFSET
 *
 * Waits until no invalidation of the range is going on, and reads the CPU page
 * table into &hmm_mirror_range.pfns by hmm_range_fault(), and faults in what
 * &hmm_mirror_range.flags and, as &hmm_mirror_range.pfn_flags_mask lets them, the
 * input flags of each page ask for.  Without %HMM_PFN_REQ_FAULT nothing is faulted in:
 * that is a snapshot.  When the range collides with an invalidation meanwhile,
 * all that is done again, until the time is over; except with a pfn_flags_mask and
 * without &hmm_mirror_range.request,
 * as the reading has overwritten the input flags, and only the driver knows them.
 * The mmap lock is dropped while a page is waited for, such as one that comes from a
 * disk, or that userfaultfd(2) fills in, and that time does not count.
 *
 * A range that is invalidated all the time may collide until the time is over, however
 * long that is: hmm_mirror_range_map() gets on then.
 *
 * The pages are not pinned.  They may be used only under the lock that the
 * mirror's callback takes, once hmm_mirror_range_valid() has said so there.
 *
 * Context: process context, with no lock held that a callback of a mirror takes,
 * and without the mmap lock.  Sleeps.  The last reference to the address space
 * may be dropped here; it is torn down by a work item then.
 *
 * Return: 0, or
 *
 * * -EBUSY: collided until the time was over; or once, with a pfn_flags_mask and without
 *   &hmm_mirror_range.request.  Worth another try
 * * -EINTR: a fatal signal is pending
 * * -ECANCELED: hmm_mirror_cancel() was called
 * * -ESRCH: the address space is dead
 * * -EFAULT: a page was asked for that has no mapping, may not be read, or cannot be
 *   read, as from a bad disk; or the memory was reaped, by process_mrelease(2) or the
 *   OOM killer
 * * -EPERM: a page was asked for writing that may not be written
 * * -ENOMEM: out of memory
 * * -EINVAL: @range is not in flight, or its addresses were changed while it was
 *   (bugs of the driver, warned of)
 */
int hmm_mirror_range_fault(struct hmm_mirror_range *range, unsigned long timeout)
{
	struct hmm_limit limit;

	hmm_limit_init(&limit, timeout, UINT_MAX);
	return hmm_range_fault_limited(range, &limit);
}
EXPORT_SYMBOL_GPL(hmm_mirror_range_fault);

/**
 * hmm_mirror_range_fault_locked() - the same under the caller's mmap lock
 * @range: range in flight
 *
 * Reads the CPU page table, and faults in what is asked for, with the mmap lock held by
 * the caller, which is not dropped.  Waits for no invalidation, and for no page that may
 * need somebody else to take the mmap lock.
 *
 * For drivers that look at areas or at other ranges under the same lock.  What this cannot
 * do is done by hmm_mirror_range_fault() after the lock was dropped.
 *
 * Context: process context.  The caller holds the mmap lock, for read or write, and a
 * reference to mm_users, as get_task_mm() takes it, and no lock that a callback of a
 * mirror takes.  Sleeps.
 *
 * Return: 0, or one of the errors of hmm_mirror_range_fault(), of which
 *
 * * -EBUSY: an invalidation of the range is going on, or came meanwhile
 *
 * does not say that any time is over, or
 *
 * * -EAGAIN: the mmap lock would have to be dropped
 */
int hmm_mirror_range_fault_locked(struct hmm_mirror_range *range)
{
	struct hmm *hmm;
	int ret;

	if (!range)
		return -EINVAL;
	hmm = READ_ONCE(range->hmm);
	if (WARN_ON_ONCE(!hmm))
		return -EINVAL;
	mmap_assert_locked(range->notifier.mm);
	ret = hmm_range_fault_begin(range);
	if (ret)
		return ret;

	if (!__hmm_mirror_range_armed(range))
		ret = hmm_range_try_arm(hmm, range);
	if (!ret) {
		hmm_range_request(range);
		ret = hmm_range_read_locked(range);
	}
	range->read = !ret;
	trace_hmm_fault_end(range, ret);
	return ret;
}
EXPORT_SYMBOL_GPL(hmm_mirror_range_fault_locked);

/*
 * Takes the locks that page faults of the process, and system calls that change its
 * mappings, need to invalidate anything in the range: what is left are those that come by
 * the reverse map.
 */
static int hmm_range_lock_out(struct hmm *hmm, struct hmm_mirror_range *range)
{
	struct mm_struct *mm = range->notifier.mm;
	struct vm_area_struct *vma;
	struct vma_iterator vmi;
	bool all;

	if (mmap_write_lock_killable(mm))
		return -EINTR;
	/* What is covered only is waited for until all of that is over, wherever it is */
	all = READ_ONCE(hmm->nr_covered);
	vma_iter_init(&vmi, mm, all ? 0 : range->start);
	for_each_vma_range(vmi, vma, all ? ULONG_MAX : range->end)
		vma_start_write(vma);
	return 0;
}

/*
 * One turn of hmm_mirror_range_map() for a range that has collided too often.  -EAGAIN: it
 * has not been committed.
 */
static int hmm_range_map_locked(struct hmm *hmm, struct hmm_mirror_range *range,
				hmm_commit_fn commit, void *data)
{
	struct mm_struct *mm = range->notifier.mm;
	struct hmm_limit brief;
	unsigned int tries;
	int ret;

	/* As in a fault, which it is.  Model: mmget, mmput */
	if (!mmget_not_zero(mm))
		return -ESRCH;
	ret = hmm_range_lock_out(hmm, range);
	if (ret)
		goto put;
	/* Those that may still come do not wait for the mmap lock, but others do */
	hmm_limit_init(&brief, msecs_to_jiffies(HMM_BRIEF_MS), 0);
	for (tries = 0; tries < HMM_NR_COLLISIONS; tries++) {
		ret = 0;
		if (!__hmm_mirror_range_armed(range))
			ret = hmm_range_wait(hmm, range, &brief);
		if (!ret)
			ret = hmm_mirror_range_fault_locked(range);
		if (!ret) {
			ret = commit(range, data);
			if (ret != -EAGAIN)
				break;
		} else if (ret != -EBUSY) {
			break;	/* -EAGAIN: a page has to be waited for, without the lock */
		}
		range->retries++;
		ret = -EAGAIN;
		if (hmm_limit_is_over(&brief))
			break;
	}
	mmap_write_unlock(mm);
put:
	mmput_async(mm);
	return ret;
}

/**
 * hmm_mirror_range_map() - fault a range in, and enter it in the device's page table
 * @range: range in flight, without a pfn_flags_mask, or with &hmm_mirror_range.request
 * @timeout: time limit in jiffies, as for hmm_mirror_range_fault()
 * @commit: called when the range was read.  Takes the lock that the mirror's callback takes,
 *	asks hmm_mirror_range_valid(), and either writes the device's entries under it and
 *	returns 0, or returns -EAGAIN, and is called again when the range was read again.
 *	Any other result ends this, and is what it returns.
 * @data: for @commit
 *
 * That is the loop around hmm_mirror_range_fault() that drivers need, and its bound.  It
 * also sees to it that a range which the process invalidates all the time gets its turn:
 * having collided 16 times, it reads and commits with the mmap lock, and the locks of the
 * areas, held for write.  No page fault of the process invalidates anything then, and no
 * system call that changes its mappings.  Invalidations by way of the reverse map remain:
 * reclaim, migration, compaction, KSM, and truncation of a file, also by the process itself;
 * as do pages of files, but for tmpfs, hugetlbfs and DAX, which are not faulted in under that
 * lock, as the file system may wait for somebody who needs it.  Against these only the time
 * limit helps.
 *
 * Context: as for hmm_mirror_range_fault().  @commit may be called with the mmap lock held
 * for write: it may allocate memory, but neither access user memory nor take that lock.
 *
 * Return: 0, what @commit has returned, or one of the errors of hmm_mirror_range_fault(),
 * of which
 *
 * * -EINVAL: also with a pfn_flags_mask and without &hmm_mirror_range.request
 */
int hmm_mirror_range_map(struct hmm_mirror_range *range, unsigned long timeout,
			 hmm_commit_fn commit, void *data)
{
	struct hmm_limit limit;
	unsigned int tries;
	struct hmm *hmm;
	int ret;

	if (!range || !commit || !hmm_range_can_retry(range))
		return -EINVAL;
	hmm = READ_ONCE(range->hmm);
	if (WARN_ON_ONCE(!hmm))
		return -EINVAL;

	hmm_limit_init(&limit, timeout, HMM_NR_COLLISIONS);
	for (tries = 0; ; tries++) {
		/* What was faulted in is there, most likely, when the lock is */
		ret = hmm_range_fault_limited(range, &limit);
		if (!ret) {
			ret = commit(range, data);
			if (ret != -EAGAIN)
				return ret;
		} else if (ret == -EBUSY) {
			tries = HMM_NR_COLLISIONS;
		} else {
			return ret;
		}
		if (tries >= HMM_NR_COLLISIONS) {
			ret = hmm_range_map_locked(hmm, range, commit, data);
			if (ret != -EAGAIN)
				return ret;
		}
		if (hmm_limit_is_over(&limit))
			return -EBUSY;
		range->retries++;
	}
}
EXPORT_SYMBOL_GPL(hmm_mirror_range_map);

/**
 * hmm_mirror_range_end() - take a device page fault out of flight
 * @range: range in flight
 *
 * When this returns the registry has forgotten the range; it may be freed, or
 * begun again.
 *
 * Context: any but interrupt context; does not sleep.
 */
void hmm_mirror_range_end(struct hmm_mirror_range *range)
{
	struct hmm *hmm = READ_ONCE(range->hmm);
	bool in_flight;

	if (WARN_ON_ONCE(!hmm))
		return;

	range->read = false;
	/* Model: leave-lock */
	spin_lock(&hmm->lock);
	/* Unless the mirror was unregistered just now, see hmm_drop_ranges() */
	in_flight = range->hmm;
	if (in_flight) {
		if (!RB_EMPTY_NODE(&range->notifier.interval_tree.rb))
			interval_tree_remove(&range->notifier.interval_tree,
					     &hmm->armed);
		list_del(&range->list);
		hmm->nr_in_flight--;
		range->hmm = NULL;
	}
	spin_unlock(&hmm->lock);
	WARN_ON_ONCE(!in_flight);
}
EXPORT_SYMBOL_GPL(hmm_mirror_range_end);

/**
 * hmm_mirror_get_mm() - get the address space of the process behind a pidfd
 * @pidfd: file descriptor of the calling process, see pidfd_open(2)
 *
 * For drivers that mirror another process at its, or its parent's, request.  The
 * caller needs the permission that PTRACE_ATTACH needs.  It is a pidfd and never
 * a number, as a number may belong to another process by the time it is used.
 *
 * Context: process context.  May sleep.
 *
 * Return: the address space, to be given back with mmput(), or an ERR_PTR():
 *
 * * -EBADF: @pidfd is not a pidfd
 * * -ESRCH: the process is gone, or has no address space
 * * -EACCES: not permitted
 * * -EINTR: a fatal signal is pending
 * * -EOPNOTSUPP: the registry is a module, which may give a process its own address space
 *   only, and the pidfd is that of another
 */
struct mm_struct *hmm_mirror_get_mm(int pidfd)
{
	struct task_struct *task;
	struct mm_struct *mm;
	unsigned int flags;

	task = pidfd_get_task(pidfd, &flags);
	if (IS_ERR(task))
		return ERR_CAST(task);

	mm = mm_access(task, PTRACE_MODE_ATTACH_REALCREDS);
	put_task_struct(task);
	return mm;
}
EXPORT_SYMBOL_GPL(hmm_mirror_get_mm);

#ifdef CONFIG_DEBUG_FS

/*
 * Each is held while it is shown, and so is its mm_struct, so that hmm_all_lock is not: the
 * last mmdrop(), which takes it, may come in an interrupt while this CPU holds hmm->lock.
 */
static struct hmm *hmm_get_next(struct list_head *at, loff_t skip)
{
	struct hmm *hmm;

	spin_lock_irq(&hmm_all_lock);
	while (!list_is_last(at, &hmm_all)) {
		at = at->next;
		hmm = list_entry(at, struct hmm, list);
		if (skip) {
			skip--;
		} else if (atomic_inc_not_zero(&hmm->mm->mm_count)) {
			/* It does not wait for the lock, to leave */
			hmm->refs++;
			spin_unlock_irq(&hmm_all_lock);
			return hmm;
		}
	}
	spin_unlock_irq(&hmm_all_lock);
	return NULL;
}

static void hmm_put_shown(struct hmm *hmm)
{
	struct mm_struct *mm = hmm->mm;

	/* In this order: whatever is in the list has an mm_struct */
	hmm_put(hmm);
	mmdrop(mm);
}

static void *hmm_counters_start(struct seq_file *m, loff_t *pos)
{
	return hmm_get_next(&hmm_all, *pos);
}

static void *hmm_counters_next(struct seq_file *m, void *v, loff_t *pos)
{
	struct hmm *hmm = v, *next = hmm_get_next(&hmm->list, 0);

	++*pos;
	hmm_put_shown(hmm);
	return next;
}

static void hmm_counters_stop(struct seq_file *m, void *v)
{
	struct hmm *hmm = v;

	if (hmm)
		hmm_put_shown(hmm);
}

/* Whose address space it is, as far as the kernel keeps that */
static void hmm_show_owner(struct seq_file *m, struct mm_struct *mm)
{
#ifdef CONFIG_MEMCG
	struct task_struct *owner;

	rcu_read_lock();
	owner = rcu_dereference(mm->owner);
	if (owner)
		seq_printf(m, " pid %d", task_tgid_nr(owner));
	rcu_read_unlock();
#endif
}

static int hmm_counters_show(struct seq_file *m, void *v)
{
	struct hmm *hmm = v;
	struct hmm_mirror *mirror;

	spin_lock(&hmm->lock);
	/* Not in use yet, or no longer */
	if (hlist_empty(&hmm->mirrors))
		goto unlock;

	seq_printf(m, "mm %p", hmm->mm);
	hmm_show_owner(m, hmm->mm);
	seq_printf(m, " in_flight %lu active %u updates %ld covered %ld\n",
		   hmm->nr_in_flight, (unsigned int)hweight_long(hmm->used) + hmm->nr_covered,
		   atomic_long_read(&hmm->updates),
		   atomic_long_read(&hmm->covered));
	hlist_for_each_entry(mirror, &hmm->mirrors, list)
		seq_printf(m, "  mirror %p %s updates %ld vetoes %ld faults %ld collisions %ld waits %ld\n",
			   mirror, mirror->ops->name ?: "-",
			   atomic_long_read(&mirror->updates),
			   atomic_long_read(&mirror->vetoes),
			   atomic_long_read(&mirror->faults),
			   atomic_long_read(&mirror->collisions),
			   atomic_long_read(&mirror->waits));
unlock:
	spin_unlock(&hmm->lock);
	return 0;
}

static const struct seq_operations hmm_counters_sops = {
	.start	= hmm_counters_start,
	.next	= hmm_counters_next,
	.stop	= hmm_counters_stop,
	.show	= hmm_counters_show,
};
DEFINE_SEQ_ATTRIBUTE(hmm_counters);

static int hmm_counting_get(void *data, u64 *on)
{
	*on = static_key_enabled(&hmm_counting);
	return 0;
}

static int hmm_counting_set(void *data, u64 on)
{
	if (on > 1)
		return -EINVAL;
	if (on)
		static_branch_enable(&hmm_counting);
	else
		static_branch_disable(&hmm_counting);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(hmm_counting_fops, hmm_counting_get, hmm_counting_set,
			 "%llu\n");

static int __init hmm_debugfs_init(void)
{
	struct dentry *dir = debugfs_create_dir("hmm_mirror", NULL);

	debugfs_create_file("counters", 0400, dir, NULL, &hmm_counters_fops);
	debugfs_create_file_unsafe("counting", 0600, dir, NULL,
				   &hmm_counting_fops);
	return 0;
}
late_initcall(hmm_debugfs_init);

#endif /* CONFIG_DEBUG_FS */
