// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The devices of the torture test: their callbacks, and how they are registered.
 */
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/string.h>

#include "torture.h"

void hmt_dev_lock(struct hmt_dev *dev)
{
	if (dev->may_sleep)
		mutex_lock(&dev->mutex);
	else
		spin_lock(&dev->spinlock);
}

static bool hmt_dev_trylock(struct hmt_dev *dev)
{
	if (dev->may_sleep)
		return mutex_trylock(&dev->mutex);
	spin_lock(&dev->spinlock);
	return true;
}

void hmt_dev_unlock(struct hmt_dev *dev)
{
	if (dev->may_sleep)
		mutex_unlock(&dev->mutex);
	else
		spin_unlock(&dev->spinlock);
}

/* Makes what follows meet with more: the longer it takes, the more comes meanwhile */
void hmt_pause(struct hmt_dev *dev, unsigned int nr)
{
	if (nr % 8)
		return;
	if (dev->may_sleep && !(nr % 64))
		usleep_range(100, 1000);
	else
		udelay(nr % 5 * 10);
}

/* The callbacks */

/* @update is NULL for the release */
static struct hmt_dev *hmt_enter(struct hmm_mirror *mirror,
				 const struct mmu_notifier_range *update)
{
	struct hmt_dev *dev = container_of(mirror, struct hmt_dev, mirror);

	atomic_inc(&dev->running);
	if (!READ_ONCE(dev->registered))
		hmt_wrong(HMT_BROKEN, "callback without a mirror");
	hmt_count(HMT_CALLBACKS, 1);
	if (!update || mmu_notifier_range_blockable(update))
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

static bool hmt_invalidate(struct hmm_mirror *mirror,
			   const struct mmu_notifier_range *update)
{
	struct hmt_dev *dev = hmt_enter(mirror, update);

	if (mmu_notifier_range_blockable(update)) {
		hmt_dev_lock(dev);
	} else if (!hmt_dev_trylock(dev)) {
		hmt_leave(dev);
		return false;
	}
	hmt_clear(dev, dev->table, update->start, update->end);
	if (mmu_notifier_range_blockable(update))
		hmt_pause(dev, atomic_read(&dev->in_callback) / 8);
	hmt_dev_unlock(dev);
	hmt_leave(dev);
	return true;
}

/* Comes after @update, and beside those that overlap it */
static void hmt_after(struct hmm_mirror *mirror,
		      const struct mmu_notifier_range *update)
{
	struct hmt_dev *dev = hmt_enter(mirror, update);

	if (update->event == MMU_NOTIFY_RELEASE)
		hmt_wrong(HMT_BROKEN, "told of the end of the release");
	hmt_leave(dev);
}

static bool hmt_start(struct hmm_mirror *mirror,
		      const struct mmu_notifier_range *update, u64 *fence)
{
	struct hmt_dev *dev = hmt_enter(mirror, update);

	hmt_dev_lock(dev);
	hmt_clear(dev, dev->table, update->start, update->end);
	*fence = ++dev->fence;
	hmt_dev_unlock(dev);
	return true;
}

static void hmt_finish(struct hmm_mirror *mirror,
		       const struct mmu_notifier_range *update, u64 fence)
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
	struct hmt_dev *dev = hmt_enter(mirror, NULL);
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
	.name		= "torture-atomic",
	.invalidate	= hmt_invalidate,
	.release	= hmt_release,
	.flags		= HMM_MIRROR_ATOMIC,
};

static const struct hmm_mirror_ops hmt_sleeping_ops = {
	.name		= "torture-sleeping",
	.invalidate	= hmt_invalidate,
	.invalidate_end	= hmt_after,
	.release	= hmt_release,
};

static const struct hmm_mirror_ops hmt_two_pass_ops = {
	.name			= "torture-two-pass",
	.invalidate_start	= hmt_start,
	.invalidate_finish	= hmt_finish,
	.release		= hmt_release,
	.flags			= HMM_MIRROR_ATOMIC,
};

/* What a worker does with a device */

int hmt_register(struct hmt_worker *worker, struct hmt_dev *dev,
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
	/* The registry is a module, and attaches by the list of notifiers */
	if (ret == -EOPNOTSUPP && dev->may_sleep)
		return ret;
	if (ret && ret != -ESRCH)
		hmt_wrong(HMT_BROKEN, "register: error %d", ret);
	return ret;
}

void hmt_range_end(struct hmt_range *range)
{
	if (range->in_flight)
		hmm_mirror_range_end(&range->range);
	range->in_flight = false;
}

void hmt_unregister(struct hmt_worker *worker, struct hmt_dev *dev)
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
