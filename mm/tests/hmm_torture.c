// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Torture test of HMM mirroring, in the manner of rcutorture and locktorture.
 *
 * Workers make devices without hardware, register them on the address spaces of
 * processes that have enlisted with /dev/hmm_torture, use their memory, and go away
 * again, at random, while the processes do to their memory whatever they can, and
 * die.  What each device reads is compared with what the process has published, as
 * hmm_torture_uapi.h explains.  Beyond that:
 *
 *  - a range that is valid has, in the device, what was read for it;
 *  - a device has nothing left when it is told that the process exits, and gets
 *    nothing afterwards;
 *  - no callback runs once hmm_mirror_unregister() has returned;
 *  - a mirror that may sleep is not called where that is forbidden;
 *  - each flush that was started is finished, with the same fence;
 *  - no fault takes longer than the parameter patience.
 *
 * The program in tools/testing/hmm_torture drives it, and looks after the figures in
 * hmm_torture/stats in debugfs.
 */
#define pr_fmt(fmt) "hmm_torture: " fmt

#include <linux/atomic.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/kref.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmdebug.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/oom.h>
#include <linux/prandom.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "hmm_torture_uapi.h"

#define HMT_GANG	20	/* devices of a worker; more than flush side by side */
#define HMT_WORKERS	(HMM_TORTURE_OWN_SLOTS / HMT_GANG)
#define HMT_RANGE	64	/* pages that are faulted at once, at most */

static unsigned int workers = 2;
module_param(workers, uint, 0444);
MODULE_PARM_DESC(workers, "Threads that have devices (default: 2)");

static unsigned long seed = 1;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "What they do at random depends on this (default: 1)");

static unsigned int patience = 30;
module_param(patience, uint, 0444);
MODULE_PARM_DESC(patience, "Seconds that a fault may take (default: 30)");

/* Figures: what was done, and from HMT_STALE on what must not be */
enum hmt_stat {
	HMT_REGISTERED,
	HMT_TOO_LATE,
	HMT_UNREGISTERED,
	HMT_RELEASED,
	HMT_CALLBACKS,
	HMT_FLUSHES,
	HMT_FAULTS,
	HMT_REFUSED,
	HMT_PAGES,
	HMT_RETRIES,
	HMT_KEPT,
	HMT_KEPT_VALID,
	HMT_KEPT_HIT,
	HMT_READS,
	HMT_WRITES,
	HMT_COLLISIONS,
	HMT_WAITS,
	HMT_VETOES,
	HMT_WORST_NS,
	HMT_STALE,
	HMT_LOST,
	HMT_BROKEN,
	HMT_HANGS,
	HMT_STATS
};

static const char * const hmt_stat_names[HMT_STATS] = {
	[HMT_REGISTERED]	= "registered",
	[HMT_TOO_LATE]		= "too_late_to_register",
	[HMT_UNREGISTERED]	= "unregistered",
	[HMT_RELEASED]		= "released",
	[HMT_CALLBACKS]		= "callbacks",
	[HMT_FLUSHES]		= "flushes",
	[HMT_FAULTS]		= "faults",
	[HMT_REFUSED]		= "refused_faults",
	[HMT_PAGES]		= "pages",
	[HMT_RETRIES]		= "retries",
	[HMT_KEPT]		= "kept_ranges",
	[HMT_KEPT_VALID]	= "kept_ranges_valid",
	[HMT_KEPT_HIT]		= "kept_ranges_hit",
	[HMT_READS]		= "reads",
	[HMT_WRITES]		= "writes",
	/* The registry's own; it counts while hmm_mirror/counting says so */
	[HMT_COLLISIONS]	= "collisions",
	[HMT_WAITS]		= "waits",
	[HMT_VETOES]		= "vetoes",
	[HMT_WORST_NS]		= "worst_fault_ns",
	[HMT_STALE]		= "stale",
	[HMT_LOST]		= "lost_writes",
	[HMT_BROKEN]		= "broken_promises",
	[HMT_HANGS]		= "hangs",
};

static atomic_long_t hmt_stats[HMT_STATS];

static void hmt_count(enum hmt_stat stat, long nr)
{
	atomic_long_add(nr, &hmt_stats[stat]);
}

/*
 * What must not be: count it, and say so, for the first few times.  True if there is
 * more to say.
 */
static __printf(2, 3) bool hmt_wrong(enum hmt_stat stat, const char *format, ...)
{
	struct va_format text = { .fmt = format };
	va_list args;

	if (atomic_long_inc_return(&hmt_stats[stat]) > 10)
		return false;
	va_start(args, format);
	text.va = &args;
	pr_alert("%s: %pV\n", hmt_stat_names[stat], &text);
	va_end(args);
	return true;
}

/* A process that has enlisted: an open file, and as long as a device is on it */
struct hmt_victim {
	struct kref ref;
	struct list_head list;		/* in hmt_victims, once enlisted */
	struct mm_struct *mm;		/* mmgrab() */
	unsigned long start;		/* of the arena */
	unsigned long pages;
	u64 *published;			/* HMM_TORTURE_PAGES of them */
};

static DEFINE_MUTEX(hmt_lock);		/* protects what follows, and enlisting */
static LIST_HEAD(hmt_victims);
static unsigned int hmt_nr_victims;

/* What a device faults in: it is over at once, or kept in flight for some time */
struct hmt_range {
	struct hmm_mirror_range range;
	unsigned long first;		/* page of the arena */
	unsigned long nr;
	bool in_flight;
	unsigned long pfns[HMT_RANGE];
};

struct hmt_dev {
	struct hmm_mirror mirror;
	struct hmt_victim *victim;
	unsigned int slot;		/* of its own, in each page */
	bool may_sleep;
	bool two_pass;
	bool registered;		/* callbacks may come */
	atomic_t running;		/* callbacks */
	atomic_t in_callback;		/* that pause, to vary what follows */

	spinlock_t spinlock;		/* taken by callbacks and commits, ... */
	struct mutex mutex;		/* ... or this, if they may sleep */
	bool dead;			/* was told that the process exits */
	u64 fence;			/* of the last flush that was started */
	/* hmm_pfn, or 0; the TLB goes on using what a flush has yet to finish */
	unsigned long table[HMM_TORTURE_PAGES];
	unsigned long tlb[HMM_TORTURE_PAGES];

	/* The worker's own */
	struct hmt_range once;
	struct hmt_range kept;
	u64 last;			/* written */
	u64 written[HMM_TORTURE_PAGES];
	u64 written_epoch[HMM_TORTURE_PAGES];
};

struct hmt_worker {
	struct task_struct *task;
	struct rnd_state rnd;
	const char *doing;		/* what may take long, or NULL */
	unsigned long since;		/* jiffies */
	struct hmt_dev *dev[HMT_GANG];
};

static struct hmt_worker *hmt_workers;

static u32 hmt_random(struct hmt_worker *worker, u32 below)
{
	return prandom_u32_state(&worker->rnd) % below;
}

/* Says what the worker does that may hang, for who looks after it */
static void hmt_begin(struct hmt_worker *worker, const char *doing)
{
	WRITE_ONCE(worker->since, jiffies);
	WRITE_ONCE(worker->doing, doing);
}

static void hmt_end(struct hmt_worker *worker)
{
	WRITE_ONCE(worker->doing, NULL);
}

static void hmt_dev_lock(struct hmt_dev *dev)
{
	if (dev->may_sleep)
		mutex_lock(&dev->mutex);
	else
		spin_lock(&dev->spinlock);
}

static void hmt_dev_unlock(struct hmt_dev *dev)
{
	if (dev->may_sleep)
		mutex_unlock(&dev->mutex);
	else
		spin_unlock(&dev->spinlock);
}

/* Makes what follows meet with more: the longer it takes, the more comes meanwhile */
static void hmt_pause(struct hmt_dev *dev, unsigned int nr)
{
	if (nr % 8)
		return;
	if (dev->may_sleep && !(nr % 64))
		usleep_range(100, 1000);
	else
		udelay(nr % 5 * 10);
}

/* The callbacks */

static struct hmt_dev *hmt_enter(struct hmm_mirror *mirror)
{
	struct hmt_dev *dev = container_of(mirror, struct hmt_dev, mirror);

	atomic_inc(&dev->running);
	if (!READ_ONCE(dev->registered))
		hmt_wrong(HMT_BROKEN, "callback without a mirror");
	hmt_count(HMT_CALLBACKS, 1);
	hmt_pause(dev, atomic_inc_return(&dev->in_callback));
	return dev;
}

static void hmt_leave(struct hmt_dev *dev)
{
	atomic_dec(&dev->running);
}

static void hmt_clear(struct hmt_dev *dev, unsigned long *table,
		      unsigned long start, unsigned long end)
{
	const struct hmt_victim *victim = dev->victim;
	unsigned long arena_end = victim->start + (victim->pages << PAGE_SHIFT);
	unsigned long addr;

	for (addr = max(start, victim->start); addr < min(end, arena_end);
	     addr += PAGE_SIZE)
		table[(addr - victim->start) >> PAGE_SHIFT] = 0;
}

static void hmt_sync(struct hmm_mirror *mirror, enum hmm_update_type type,
		     unsigned long start, unsigned long end)
{
	struct hmt_dev *dev = hmt_enter(mirror);

	hmt_dev_lock(dev);
	hmt_clear(dev, dev->table, start, end);
	hmt_dev_unlock(dev);
	hmt_leave(dev);
}

static void hmt_invalidate(struct hmm_mirror *mirror,
			   const struct hmm_update *update)
{
	struct hmt_dev *dev = hmt_enter(mirror);

	if (!update->blockable)
		hmt_wrong(HMT_BROKEN, "told to sleep where that is forbidden");
	hmt_dev_lock(dev);
	hmt_clear(dev, dev->table, update->start, update->end);
	hmt_pause(dev, atomic_read(&dev->in_callback) / 8);
	hmt_dev_unlock(dev);
	hmt_leave(dev);
}

static u64 hmt_start(struct hmm_mirror *mirror, const struct hmm_update *update)
{
	struct hmt_dev *dev = hmt_enter(mirror);
	u64 fence;

	hmt_dev_lock(dev);
	hmt_clear(dev, dev->table, update->start, update->end);
	fence = ++dev->fence;
	hmt_dev_unlock(dev);
	return fence;
}

static void hmt_finish(struct hmm_mirror *mirror, const struct hmm_update *update,
		       u64 fence)
{
	struct hmt_dev *dev = container_of(mirror, struct hmt_dev, mirror);

	hmt_pause(dev, atomic_inc_return(&dev->in_callback));
	hmt_dev_lock(dev);
	if (!fence || fence > dev->fence)
		hmt_wrong(HMT_BROKEN, "fence %llu after %llu", fence, dev->fence);
	hmt_clear(dev, dev->tlb, update->start, update->end);
	hmt_dev_unlock(dev);
	hmt_count(HMT_FLUSHES, 1);
	hmt_leave(dev);
}

static void hmt_release(struct hmm_mirror *mirror)
{
	struct hmt_dev *dev = hmt_enter(mirror);
	unsigned long i, left = 0;

	hmt_dev_lock(dev);
	for (i = 0; i < HMM_TORTURE_PAGES; i++)
		left += dev->table[i] || dev->tlb[i];
	if (left || dev->dead)
		hmt_wrong(HMT_BROKEN, "%s, with %lu pages left",
			  dev->dead ? "exits twice" : "exits", left);
	dev->dead = true;
	hmt_dev_unlock(dev);
	hmt_count(HMT_RELEASED, 1);
	hmt_leave(dev);
}

static const struct hmm_mirror_ops hmt_atomic_ops = {
	.sync_cpu_device_pagetables	= hmt_sync,
	.release			= hmt_release,
	.flags				= HMM_MIRROR_ATOMIC,
};

static const struct hmm_mirror_ops hmt_sleeping_ops = {
	.invalidate	= hmt_invalidate,
	.release	= hmt_release,
};

static const struct hmm_mirror_ops hmt_two_pass_ops = {
	.invalidate_start	= hmt_start,
	.invalidate_finish	= hmt_finish,
	.release		= hmt_release,
	.flags			= HMM_MIRROR_ATOMIC,
};

/* What a worker does with a device */

static int hmt_register(struct hmt_worker *worker, struct hmt_dev *dev,
			struct hmt_victim *victim)
{
	struct mm_struct *mm = victim->mm;
	int ret = -ESRCH;

	dev->victim = victim;
	dev->two_pass = false;
	dev->may_sleep = false;
	switch (hmt_random(worker, 3)) {
	case 0:
		dev->mirror.ops = &hmt_atomic_ops;
		break;
	case 1:
		dev->mirror.ops = &hmt_sleeping_ops;
		dev->may_sleep = true;
		break;
	case 2:
		dev->mirror.ops = &hmt_two_pass_ops;
		dev->two_pass = true;
		break;
	}
	dev->dead = false;
	memset(dev->written_epoch, 0xff, sizeof(dev->written_epoch));
	WRITE_ONCE(dev->registered, true);

	hmt_begin(worker, "hmm_mirror_register");
	if (mmget_not_zero(mm)) {
		mmap_write_lock(mm);
		ret = hmm_mirror_register(&dev->mirror, mm);
		mmap_write_unlock(mm);
		mmput(mm);
	}
	hmt_end(worker);
	if (ret)
		WRITE_ONCE(dev->registered, false);
	hmt_count(ret ? HMT_TOO_LATE : HMT_REGISTERED, 1);
	if (ret && ret != -ESRCH)
		hmt_wrong(HMT_BROKEN, "register: error %d", ret);
	return ret;
}

static void hmt_range_end(struct hmt_range *range)
{
	if (range->in_flight)
		hmm_mirror_range_end(&range->range);
	range->in_flight = false;
}

static void hmt_unregister(struct hmt_worker *worker, struct hmt_dev *dev)
{
	if (!dev->registered)
		return;

	hmt_range_end(&dev->kept);
	hmt_dev_lock(dev);
	memset(dev->table, 0, sizeof(dev->table));
	memset(dev->tlb, 0, sizeof(dev->tlb));
	hmt_dev_unlock(dev);

	hmt_begin(worker, "hmm_mirror_unregister");
	hmm_mirror_unregister(&dev->mirror);
	hmt_end(worker);
	WRITE_ONCE(dev->registered, false);
	if (atomic_read(&dev->running))
		hmt_wrong(HMT_BROKEN, "callback while unregistered");

	hmt_count(HMT_UNREGISTERED, 1);
	hmt_count(HMT_COLLISIONS, atomic_long_read(&dev->mirror.collisions));
	hmt_count(HMT_WAITS, atomic_long_read(&dev->mirror.waits));
	hmt_count(HMT_VETOES, atomic_long_read(&dev->mirror.vetoes));
}

/* The device's lock is held, and the range is valid */
static void hmt_commit(struct hmt_worker *worker, struct hmt_dev *dev,
		       const struct hmt_range *range)
{
	unsigned long i;

	if (dev->dead)
		hmt_wrong(HMT_BROKEN, "a page after the exit");
	/* Who invalidates meanwhile waits for the lock */
	hmt_pause(dev, hmt_random(worker, 128));
	for (i = 0; i < range->nr; i++)
		if (range->pfns[i] & HMM_PFN_VALID)
			dev->table[range->first + i] = range->pfns[i];
}

static void hmt_latency(u64 begin)
{
	long ns = ktime_get_ns() - begin;
	long worst = atomic_long_read(&hmt_stats[HMT_WORST_NS]);

	while (ns > worst && !atomic_long_try_cmpxchg(&hmt_stats[HMT_WORST_NS],
						      &worst, ns))
		;
}

/* A range in flight: read and commit until they do not collide */
static int hmt_read_range(struct hmt_worker *worker, struct hmt_dev *dev,
			  struct hmt_range *range)
{
	unsigned long deadline = jiffies + patience * HZ;
	u64 begin = ktime_get_ns();
	int ret;

	hmt_begin(worker, "hmm_mirror_range_fault");
	do {
		ret = hmm_mirror_range_fault(&range->range, patience * HZ);
		if (ret)
			break;
		hmt_dev_lock(dev);
		if (hmm_mirror_range_valid(&range->range))
			hmt_commit(worker, dev, range);
		else
			ret = -EBUSY;
		hmt_dev_unlock(dev);
		hmt_count(HMT_RETRIES, !!ret);
	} while (ret && time_before(jiffies, deadline));
	hmt_end(worker);
	hmt_latency(begin);

	switch (ret) {
	case 0:
		hmt_count(HMT_FAULTS, 1);
		hmt_count(HMT_PAGES, range->nr);
		break;
	case -EBUSY:
		hmt_wrong(HMT_HANGS, "no page in %u s", patience);
		break;
	case -EFAULT:	/* not mapped, or not just then */
	case -EPERM:
	case -ESRCH:
	case -ENOMEM:	/* the victim's memory cgroup has no more */
		hmt_count(HMT_REFUSED, 1);
		break;
	default:
		hmt_wrong(HMT_BROKEN, "fault: error %d", ret);
	}
	return ret;
}

static int hmt_range_begin(struct hmt_dev *dev, struct hmt_range *range,
			   unsigned long first, unsigned long nr,
			       unsigned long flags)
{
	unsigned long start = dev->victim->start + (first << PAGE_SHIFT);
	bool dead = READ_ONCE(dev->dead);
	int ret;

	range->first = first;
	range->nr = nr;
	range->range.range.start = start;
	range->range.range.end = start + (nr << PAGE_SHIFT);
	range->range.range.hmm_pfns = range->pfns;
	range->range.range.default_flags = flags;
	ret = hmm_mirror_range_begin(&range->range, &dev->mirror);
	if (ret && ret != -ESRCH)
		hmt_wrong(HMT_BROKEN, "begin: error %d", ret);
	if (!ret && dead)
		hmt_wrong(HMT_BROKEN, "a fault after the exit");
	range->in_flight = !ret;
	return ret;
}

static int hmt_map(struct hmt_worker *worker, struct hmt_dev *dev,
		   unsigned long first, unsigned long nr, unsigned long flags)
{
	int ret = hmt_range_begin(dev, &dev->once, first, nr, flags);

	if (!ret)
		ret = hmt_read_range(worker, dev, &dev->once);
	hmt_range_end(&dev->once);
	return ret;
}

/* A few pages, faulted in for reading or writing, or as they are */
static void hmt_map_some(struct hmt_worker *worker, struct hmt_dev *dev)
{
	static const unsigned long flags[] = {
		0, HMM_PFN_REQ_FAULT, HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE,
	};
	unsigned long first = hmt_random(worker, dev->victim->pages);
	unsigned long nr = 1 + hmt_random(worker, HMT_RANGE);

	hmt_map(worker, dev, first, min(nr, dev->victim->pages - first),
		flags[hmt_random(worker, ARRAY_SIZE(flags))]);
}

/* As long as a kept range is valid, what was read for it is in the device */
static void hmt_check_kept(struct hmt_dev *dev)
{
	const struct hmt_range *kept = &dev->kept;
	unsigned long i, wrong = 0;
	bool valid;

	hmt_dev_lock(dev);
	valid = hmm_mirror_range_valid(&kept->range);
	for (i = 0; valid && i < kept->nr; i++)
		wrong += (kept->pfns[i] & HMM_PFN_VALID) &&
			 (kept->pfns[i] ^ dev->table[kept->first + i]) & ~HMM_PFN_FLAGS;
	hmt_dev_unlock(dev);
	hmt_count(valid ? HMT_KEPT_VALID : HMT_KEPT_HIT, 1);
	if (wrong)
		hmt_wrong(HMT_STALE, "a valid range has lost %lu pages", wrong);
}

static void hmt_keep(struct hmt_worker *worker, struct hmt_dev *dev)
{
	struct hmt_range *kept = &dev->kept;
	unsigned long first = hmt_random(worker, dev->victim->pages);
	unsigned long nr = 1 + hmt_random(worker, HMT_RANGE);

	if (kept->in_flight) {
		hmt_check_kept(dev);
		/* Again, or no more */
		if (!hmt_random(worker, 2) || hmt_read_range(worker, dev, kept))
			hmt_range_end(kept);
	} else if (!hmt_range_begin(dev, kept, first,
				    min(nr, dev->victim->pages - first),
				    HMM_PFN_REQ_FAULT)) {
		if (hmt_read_range(worker, dev, kept))
			hmt_range_end(kept);
		else
			hmt_count(HMT_KEPT, 1);
	}
}

/* What the device uses the page by, which may have to be faulted in */
static unsigned long hmt_entry(struct hmt_dev *dev, unsigned long i, bool write)
{
	unsigned long need = HMM_PFN_VALID | (write ? HMM_PFN_WRITE : 0);

	if (!dev->two_pass)
		return (dev->table[i] & need) == need ? dev->table[i] : 0;
	if ((dev->tlb[i] & need) != need && (dev->table[i] & need) == need)
		dev->tlb[i] = dev->table[i];
	return (dev->tlb[i] & need) == need ? dev->tlb[i] : 0;
}

/*
 * What does the process itself see there?  If that is another page, the device was
 * wrong.  If it is the same one, the kernel has lost what the process had in it, and no
 * mirror is to blame.
 */
static void hmt_ask_cpu(struct hmt_dev *dev, unsigned long i, unsigned long entry)
{
	struct mm_struct *mm = dev->victim->mm;
	struct hmm_torture_stamp *stamp;
	struct page *page;

	pr_alert("stale: by a device %s, that %s the entry\n", dev->two_pass ?
		 "with two passes" : dev->may_sleep ? "that may sleep" : "that is atomic",
		 READ_ONCE(dev->table[i]) == entry ? "still has" : "has lost");
	if (!mmget_not_zero(mm)) {
		pr_alert("stale: the process has exited meanwhile\n");
		return;
	}
	mmap_read_lock(mm);
	if (check_stable_address_space(mm))
		pr_alert("stale: the process was killed, and its memory reaped\n");
	if (get_user_pages_remote(mm, dev->victim->start + (i << PAGE_SHIFT), 1, 0,
				  &page, NULL) == 1) {
		stamp = kmap_local_page(page);
		pr_alert("stale: the process has %s page there, with stamp %llu of page %lld\n",
			 page == hmm_pfn_to_page(entry) ? "the same" : "another",
			 READ_ONCE(stamp->generation), READ_ONCE(stamp->page) - 1);
		kunmap_local(stamp);
		dump_page(page, "hmm_torture: stale: what the process has");
		put_page(page);
	} else {
		pr_alert("stale: the process has no page there\n");
	}
	mmap_read_unlock(mm);
	mmput(mm);
}

static void hmt_check(struct hmt_dev *dev, unsigned long i, u64 before, u64 after,
		      unsigned long entry, u64 page, u64 generation, u64 slot)
{
	bool same_epoch = before / HMM_TORTURE_EPOCH == after / HMM_TORTURE_EPOCH;
	u64 published = before & HMM_TORTURE_GENERATION;

	if (((generation < published && (generation || same_epoch)) ||
	     (page && page != i + 1)) &&
	    hmt_wrong(HMT_STALE,
		      "page %lu: stamp %llu of page %lld, after %llu was published",
		      i, generation, page - 1, published))
		hmt_ask_cpu(dev, i, entry);
	if (same_epoch && dev->written_epoch[i] == before / HMM_TORTURE_EPOCH &&
	    dev->written[i] != slot)
		hmt_wrong(HMT_LOST, "page %lu: %llu was written, %llu is there",
			  i, dev->written[i], slot);
}

static void hmt_access(struct hmt_worker *worker, struct hmt_dev *dev, bool write)
{
	struct hmt_victim *victim = dev->victim;
	unsigned long i = hmt_random(worker, victim->pages), entry;
	unsigned long request = HMM_PFN_REQ_FAULT | (write ? HMM_PFN_REQ_WRITE : 0);
	u64 before, after, page = 0, generation = 0, slot = 0;
	unsigned int tries;

	for (tries = 0; tries < 3; tries++) {
		/* Pairs with the victim's release, after it has stamped the page */
		before = smp_load_acquire(&victim->published[i]);
		if (write && before & HMM_TORTURE_ALIKE)
			return;
		hmt_dev_lock(dev);
		entry = hmt_entry(dev, i, write);
		if (entry) {
			struct hmm_torture_stamp *stamp =
				kmap_local_page(hmm_pfn_to_page(entry));

			if (write) {
				WRITE_ONCE(stamp->slot[dev->slot], ++dev->last);
				/* The CPU's entry is not dirty after MADV_FREE */
				set_page_dirty(hmm_pfn_to_page(entry));
			} else {
				generation = READ_ONCE(stamp->generation);
				slot = READ_ONCE(stamp->slot[dev->slot]);
				page = READ_ONCE(stamp->page);
			}
			kunmap_local(stamp);
		}
		hmt_dev_unlock(dev);
		if (entry || hmt_map(worker, dev, i, 1, request))
			break;
	}
	if (!entry)
		return;

	/* The page is read before this; pairs with the full barrier of an epoch */
	smp_mb();
	after = READ_ONCE(victim->published[i]);
	if (write) {
		dev->written[i] = dev->last;
		dev->written_epoch[i] = hmm_torture_is_kept(before, after) ?
			after / HMM_TORTURE_EPOCH : U64_MAX;
		hmt_count(HMT_WRITES, 1);
	} else {
		hmt_check(dev, i, before, after, entry, page, generation, slot);
		hmt_count(HMT_READS, 1);
	}
}

static void hmt_use(struct hmt_worker *worker, struct hmt_dev *dev)
{
	switch (hmt_random(worker, 8)) {
	case 0:
	case 1:
		hmt_map_some(worker, dev);
		break;
	case 2:
		hmt_keep(worker, dev);
		break;
	case 3:
	case 4:
		hmt_access(worker, dev, true);
		break;
	default:
		hmt_access(worker, dev, false);
	}
}

static void hmt_use_victim(struct hmt_worker *worker, struct hmt_victim *victim)
{
	/* Mostly one device; sometimes more than can flush side by side */
	unsigned int nr = hmt_random(worker, 8) ? 1 + hmt_random(worker, 3) :
			  HMT_GANG;
	unsigned int uses = hmt_random(worker, 400), i;
	unsigned int late = hmt_random(worker, 8);

	if (hmt_register(worker, worker->dev[0], victim)) {
		/* Dead already, and its keeper has yet to notice */
		schedule_timeout_idle(1);
		return;
	}
	for (i = 1; i < nr; i++)
		hmt_register(worker, worker->dev[i], victim);
	while (uses-- && !kthread_should_stop()) {
		struct hmt_dev *dev = worker->dev[hmt_random(worker, nr)];

		if (!dev->registered)
			break;
		/* A mirror may outlive the process, for some time */
		if (READ_ONCE(dev->dead) && !late--)
			break;
		hmt_use(worker, dev);
		cond_resched();
	}
	for (i = 0; i < nr; i++)
		hmt_unregister(worker, worker->dev[i]);
}

static void hmt_victim_free(struct kref *ref)
{
	struct hmt_victim *victim = container_of(ref, struct hmt_victim, ref);

	if (victim->mm)
		mmdrop(victim->mm);
	vfree(victim->published);
	kfree(victim);
}

static struct hmt_victim *hmt_pick(struct hmt_worker *worker)
{
	struct hmt_victim *victim, *picked = NULL;
	unsigned int nr;

	mutex_lock(&hmt_lock);
	if (hmt_nr_victims) {
		nr = hmt_random(worker, hmt_nr_victims);
		list_for_each_entry(victim, &hmt_victims, list) {
			picked = victim;
			if (!nr--)
				break;
		}
		kref_get(&picked->ref);
	}
	mutex_unlock(&hmt_lock);
	return picked;
}

static int hmt_work(void *arg)
{
	struct hmt_worker *worker = arg;

	while (!kthread_should_stop()) {
		struct hmt_victim *victim = hmt_pick(worker);

		if (!victim) {
			schedule_timeout_idle(HZ / 50);
			continue;
		}
		hmt_use_victim(worker, victim);
		kref_put(&victim->ref, hmt_victim_free);
	}
	return 0;
}

/* /dev/hmm_torture, and the figures */

static int hmt_open(struct inode *inode, struct file *file)
{
	struct hmt_victim *victim = kzalloc(sizeof(*victim), GFP_KERNEL);

	if (!victim)
		return -ENOMEM;
	victim->published = vmalloc_user(HMM_TORTURE_PAGES * sizeof(u64));
	if (!victim->published) {
		kfree(victim);
		return -ENOMEM;
	}
	kref_init(&victim->ref);
	INIT_LIST_HEAD(&victim->list);
	file->private_data = victim;
	return 0;
}

static int hmt_close(struct inode *inode, struct file *file)
{
	struct hmt_victim *victim = file->private_data;

	mutex_lock(&hmt_lock);
	if (victim->mm) {
		list_del(&victim->list);
		hmt_nr_victims--;
	}
	mutex_unlock(&hmt_lock);
	kref_put(&victim->ref, hmt_victim_free);
	return 0;
}

static int hmt_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct hmt_victim *victim = file->private_data;

	return remap_vmalloc_range(vma, victim->published, vma->vm_pgoff);
}

static long hmt_enlist(struct hmt_victim *victim,
		       const struct hmm_torture_enlist *arg)
{
	long ret = -EBUSY;

	if (!current->mm || !arg->pages || arg->pages > HMM_TORTURE_PAGES ||
	    !PAGE_ALIGNED(arg->addr) ||
	    arg->addr > current->mm->task_size - (arg->pages << PAGE_SHIFT))
		return -EINVAL;

	mutex_lock(&hmt_lock);
	if (!victim->mm) {
		victim->mm = current->mm;
		mmgrab(victim->mm);
		victim->start = arg->addr;
		victim->pages = arg->pages;
		list_add(&victim->list, &hmt_victims);
		hmt_nr_victims++;
		ret = 0;
	}
	mutex_unlock(&hmt_lock);
	return ret;
}

static long hmt_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct hmm_torture_enlist enlist;

	if (cmd != HMM_TORTURE_IOC_ENLIST)
		return -ENOTTY;
	if (copy_from_user(&enlist, (void __user *)arg, sizeof(enlist)))
		return -EFAULT;
	return hmt_enlist(file->private_data, &enlist);
}

static const struct file_operations hmt_fops = {
	.owner		= THIS_MODULE,
	.open		= hmt_open,
	.release	= hmt_close,
	.mmap		= hmt_mmap,
	.unlocked_ioctl	= hmt_ioctl,
};

static struct miscdevice hmt_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "hmm_torture",
	.fops	= &hmt_fops,
	.mode	= 0600,
};

/* And last what takes longest just now */
static int hmt_stats_show(struct seq_file *m, void *v)
{
	unsigned long longest = 0;
	const char *what = "nothing";
	unsigned int i;

	for (i = 0; i < HMT_STATS; i++)
		seq_printf(m, "%s %ld\n", hmt_stat_names[i],
			   atomic_long_read(&hmt_stats[i]));
	for (i = 0; i < workers; i++) {
		const char *doing = READ_ONCE(hmt_workers[i].doing);
		unsigned long took = jiffies - READ_ONCE(hmt_workers[i].since);

		if (doing && (long)took > (long)longest) {
			longest = took;
			what = doing;
		}
	}
	seq_printf(m, "busy_ms %u %s\n", jiffies_to_msecs(longest), what);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(hmt_stats);

static struct dentry *hmt_debugfs;

static void hmt_dev_free(struct hmt_dev *dev)
{
	if (dev)
		mutex_destroy(&dev->mutex);
	kvfree(dev);
}

static struct hmt_dev *hmt_dev_alloc(unsigned int slot)
{
	struct hmt_dev *dev = kvzalloc(sizeof(*dev), GFP_KERNEL);

	if (!dev)
		return NULL;
	dev->slot = slot;
	spin_lock_init(&dev->spinlock);
	mutex_init(&dev->mutex);
	return dev;
}

/* In the opposite order, and as far as it came */
static void hmt_stop(void)
{
	unsigned int i, j;

	for (i = 0; i < workers; i++)
		if (hmt_workers[i].task)
			kthread_stop(hmt_workers[i].task);
	debugfs_remove(hmt_debugfs);
	for (i = 0; i < workers; i++)
		for (j = 0; j < HMT_GANG; j++)
			hmt_dev_free(hmt_workers[i].dev[j]);
	kfree(hmt_workers);
}

static int hmt_start_worker(unsigned int nr)
{
	struct hmt_worker *worker = &hmt_workers[nr];
	struct task_struct *task;
	unsigned int i;

	prandom_seed_state(&worker->rnd, seed + nr);
	for (i = 0; i < HMT_GANG; i++) {
		worker->dev[i] = hmt_dev_alloc(nr * HMT_GANG + i);
		if (!worker->dev[i])
			return -ENOMEM;
	}
	task = kthread_run(hmt_work, worker, "hmm_torture/%u", nr);
	if (IS_ERR(task))
		return PTR_ERR(task);
	worker->task = task;
	return 0;
}

static int __init hmt_init(void)
{
	unsigned int i;
	int ret = 0;

	BUILD_BUG_ON(sizeof(struct hmm_torture_stamp) > PAGE_SIZE);
	if (!workers || workers > HMT_WORKERS || !patience)
		return -EINVAL;
	hmt_workers = kcalloc(workers, sizeof(*hmt_workers), GFP_KERNEL);
	if (!hmt_workers)
		return -ENOMEM;
	for (i = 0; !ret && i < workers; i++)
		ret = hmt_start_worker(i);
	if (!ret)
		ret = misc_register(&hmt_misc);
	if (ret) {
		hmt_stop();
		return ret;
	}
	hmt_debugfs = debugfs_create_dir("hmm_torture", NULL);
	debugfs_create_file("stats", 0400, hmt_debugfs, NULL, &hmt_stats_fops);
	pr_info("%u workers, seed %lu\n", workers, seed);
	return 0;
}
module_init(hmt_init);

static void __exit hmt_exit(void)
{
	misc_deregister(&hmt_misc);
	hmt_stop();
}
module_exit(hmt_exit);

MODULE_DESCRIPTION("Torture test of HMM mirroring");
MODULE_LICENSE("GPL");
