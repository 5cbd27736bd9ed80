// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a worker does with a device: it faults pages in, uses them, and looks whether they
 * are stale.
 */
#define pr_fmt(fmt) "hmm_torture: " fmt

#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/mmdebug.h>
#include <linux/oom.h>
#include <linux/sched/mm.h>

#include "torture.h"

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
	unsigned long deadline = jiffies + hmt_patience * HZ;
	u64 begin = ktime_get_ns();
	int ret;

	hmt_begin(worker, "hmm_mirror_range_fault");
	do {
		ret = hmm_mirror_range_fault(&range->range, hmt_patience * HZ);
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
		hmt_wrong(HMT_HANGS, "no page in %u s", hmt_patience);
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
	range->range.start = start;
	range->range.end = start + (nr << PAGE_SHIFT);
	range->range.pfns = range->pfns;
	range->range.flags = flags;
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

void hmt_use_victim(struct hmt_worker *worker, struct hmt_victim *victim)
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
