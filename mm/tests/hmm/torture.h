/* SPDX-License-Identifier: GPL-2.0-or-later */
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
#ifndef _MM_HMM_TORTURE_H
#define _MM_HMM_TORTURE_H

#include <linux/atomic.h>
#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/prandom.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#include "hmm_torture_uapi.h"

#define HMT_GANG	20	/* devices of a worker; more than flush side by side */
#define HMT_WORKERS	(HMM_TORTURE_OWN_SLOTS / HMT_GANG)
#define HMT_RANGE	64	/* pages that are faulted at once, at most */

extern unsigned int hmt_patience;	/* seconds that a fault may take */

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

extern atomic_long_t hmt_stats[HMT_STATS];
void hmt_count(enum hmt_stat stat, long nr);
__printf(2, 3)
bool hmt_wrong(enum hmt_stat stat, const char *format, ...);

/* A process that has enlisted: an open file, and as long as a device is on it */
struct hmt_victim {
	struct kref ref;
	struct list_head list;		/* in hmt_victims, once enlisted */
	struct mm_struct *mm;		/* mmgrab() */
	unsigned long start;		/* of the arena */
	unsigned long pages;
	u64 *published;			/* HMM_TORTURE_PAGES of them */
};

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

static inline u32 hmt_random(struct hmt_worker *worker, u32 below)
{
	return prandom_u32_state(&worker->rnd) % below;
}

/* Says what the worker does that may hang, for who looks after it */
static inline void hmt_begin(struct hmt_worker *worker, const char *doing)
{
	WRITE_ONCE(worker->since, jiffies);
	WRITE_ONCE(worker->doing, doing);
}

static inline void hmt_end(struct hmt_worker *worker)
{
	WRITE_ONCE(worker->doing, NULL);
}

void hmt_dev_lock(struct hmt_dev *dev);
void hmt_dev_unlock(struct hmt_dev *dev);
void hmt_pause(struct hmt_dev *dev, unsigned int nr);
int hmt_register(struct hmt_worker *worker, struct hmt_dev *dev,
		 struct hmt_victim *victim);
void hmt_unregister(struct hmt_worker *worker, struct hmt_dev *dev);
void hmt_range_end(struct hmt_range *range);
void hmt_use_victim(struct hmt_worker *worker, struct hmt_victim *victim);

#endif /* _MM_HMM_TORTURE_H */
