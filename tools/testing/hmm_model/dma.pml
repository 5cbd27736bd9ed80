/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Safety: a device uses a DMA address for no longer than the process has the page.
 *
 * One mirror, with DMA addresses for all pages, or with LEAVES for each page on its
 * own.  Tasks invalidate side by side, of any pages, also without being allowed to
 * sleep; the driver faults, maps in its commit, gives pages up, gives all DMA addresses
 * back and gets new ones, and in the end unregisters; with EXITS the process exits.
 * The mirror has one pass, or two with TWO.  The device reads and writes by its
 * entries until the driver has flushed.  With DIRECT it has none, and what is called
 * its entry is a transfer in progress, which may also end by itself.
 *
 * Claimed are the assertions: what the device uses is mapped in the IOMMU, for writing
 * where it writes; when a page changes, it is not mapped there, and all that was
 * written to it is marked dirty; a page is unmapped once; no DMA addresses are used
 * after they are freed; and that there is no deadlock.
 *
 * What the IOMMU has of a page is one bit, be it in its page table or in its TLB:
 * dma_iova_unlink() returns when both have gone.
 */

#define DMA

#ifndef NPAGES
#define NPAGES		1
#endif
#ifndef NR_PLAIN
#define NR_PLAIN	2		/* tasks that invalidate */
#endif
#define NR_TASKS	(NR_PLAIN + 1)
#define NR_ACTIVE	1
#define NR_MIRRORS	1
#define NR_RANGES	1
#define NR_FLUSHES	1
#define WALKS
#define READS_PAGES

#define FIRST_ALIVE	1
#define FIRST_TRACKING	1
#define FIRST_HEAD	0
#define FIRST_AFTER	0
#define SLEEPS(m)	false
#define AFTER(m)	false
#ifdef TWO
#define TWO_PASS(m)	true
#else
#define TWO_PASS(m)	false
#endif
#define TASK		_pid
#define TASK_BIT	(1 << _pid)
#define OF_EXIT		NR_MIRRORS
#define RETRY_OVER(r)	true
#define RETRY_LEFT(r)	true
#define hmm_detach()	skip
#define live()		skip

/* The process */
bit freed;			/* exit_mmap() has freed the pages */
byte mm_users = 1;
byte going;			/* invalidations */
bit registered[NR_MIRRORS] = 1;

#define mmget_not_zero()			\
	atomic {				\
		if				\
		:: mm_users -> mm_users++	\
		:: else -> ret = ESRCH		\
		fi				\
	}
#define mmput()					\
	if					\
	:: ret != ESRCH -> mm_users--		\
	:: else					\
	fi

/* Of pages, a bit each: */
byte iommu;			/* the IOMMU has them, */
byte iommu_writes;		/* and lets the device write */
byte entry_writes;		/* the device's own entry does */
byte written;			/* it has written, and that is not marked dirty */

/* struct hmm_mirror_dma, by the pages that it is for */
byte leaves;			/* in the mirror's tree */
byte initialised;		/* not freed */
byte ours;			/* map.pfn_list has them */
byte ours_writes;		/* with HMM_PFN_WRITE */

bit dma_lock;

#define driver_sequence()	entry_writes = entry_writes & ~MASK(s, e)

#ifdef LEAVES
#define IS_LEAF(page)	true
#define LEAF_END(page)	((page) + 1)
#else
#define IS_LEAF(page)	((page) == 0)
#define LEAF_END(page)	NPAGES
#endif

/* What each task needs for this */
#define DMA_LOCALS	byte pages, from, to, marks

#ifdef DMA_FIRST_PASS
#define DMA_NO_FENCE	true
#elif defined(DMA_START_NOTHING)
#define DMA_NO_FENCE	false
#else
#define DMA_NO_FENCE	!fence
#endif
#ifdef DMA_REFUSED
#define DMA_NOT_REFUSED	true
#else
#define DMA_NOT_REFUSED	!refused
#endif
#ifdef DMA_UNCHECKED
#define DMA_OK		true
#else
#define DMA_OK		ok
#endif
#ifdef DMA_CHECK_UNLOCKED
#define CHECK_UNLOCKED
#endif
#ifdef DMA_ENTRY_LATE
#define WRITE_UNLOCKED
#endif

#include "hmm.pml"

inline choose(s, e)
{
	select(s : 0 .. NPAGES - 1);
	select(e : s + 1 .. NPAGES)
}

inline lock_dma()
{
	atomic {
		!dma_lock;
		assert(alive[0]);
		dma_lock = 1
	}
}

inline unlock_dma()
{
	dma_lock = 0
}

/* Returns when the IOMMU has flushed */
inline hmm_dma_unlink()
{
	d_step {
		assert(!(pages & ~iommu));
		iommu = iommu & ~pages;
		iommu_writes = iommu_writes & ~pages
	}
}

/* Together, as only who has the lock looks at what is forgotten */
inline mark_and_forget()
{
	d_step {
#ifndef DMA_CLEAN
		written = written & ~(pages & ours_writes);	/* step dma-dirty */
#endif
		ours = ours & ~pages;				/* step dma-forget */
		ours_writes = ours_writes & ~pages
	}
}

#ifdef DMA_DIRTY_UNLOCKED
inline mark_late()
{
	d_step {
		marks = pages & ours_writes;
		ours = ours & ~pages;
		ours_writes = ours_writes & ~pages
	};
	unlock_dma();
	d_step {
		written = written & ~marks;
		marks = 0
	};
	lock_dma()
}
#endif

/* The lock is held.  (Where a mutant drops it, it is taken again, to be dropped.) */
inline hmm_dma_unmap(s, e)
{
	d_step {
		assert(!(MASK(s, e) & ~initialised));
		pages = ours & MASK(s, e)
	};
	if
	:: !pages
	:: else ->
#ifdef DMA_FLUSH_UNLOCKED
		mark_and_forget();
		unlock_dma();
#endif
		hmm_dma_unlink();			/* step dma-unlink */
#ifdef DMA_FLUSH_UNLOCKED
		lock_dma();
#elif defined(DMA_DIRTY_UNLOCKED)
		mark_late();
#else
#ifdef DMA_FORGET_UNLOCKED
		unlock_dma();
		lock_dma();
#endif
		mark_and_forget();
#endif
		pages = 0
	fi
}

/* The callback has returned */
inline __hmm_dma_invalidate(n, s, e)
{
#ifdef DMA_NO_WAIT
	if
	:: dma_lock
	:: !dma_lock ->
#endif
#if !defined(DMA_UNLOCKED) && !defined(DMA_LOCK_FIRST)
	lock_dma();					/* step dma-lock */
#endif
	from = s;
	do
	:: from >= e -> break
	:: from < e && !(leaves & MASK(from, from + 1)) -> from++
	:: from < e && (leaves & MASK(from, from + 1)) ->
		to = (LEAF_END(from) < e -> LEAF_END(from) : e);
		hmm_dma_unmap(from, to);
		from = to;
		to = 0;
#ifdef LEAVES
		if
		:: !nonblock ->				/* step dma-resched */
			unlock_dma();
			lock_dma()
		:: true
		fi
#endif
	od;
	from = 0
#ifndef DMA_UNLOCKED
	;
	unlock_dma()
#endif
#ifdef DMA_NO_WAIT
	fi
#endif
}

inline hmm_dma_invalidate(n, s, e)
{
#ifndef DMA_AFTER_DISPATCH
	__hmm_dma_invalidate(n, s, e)
#else
	skip
#endif
}

/* Of the page, and those that are in the same leaf */
inline hmm_mirror_dma_init(page)
{
	d_step {					/* step dma-add */
		assert(!(leaves & MASK(page, LEAF_END(page))));
		initialised = initialised | MASK(page, LEAF_END(page));
		leaves = leaves | MASK(page, LEAF_END(page))
	}
}

inline hmm_dma_free(page)
{
	d_step {
		assert(!((iommu | ours) & MASK(page, LEAF_END(page))));
		initialised = initialised & ~MASK(page, LEAF_END(page))
	}
}

inline hmm_mirror_dma_fini(page)
{
#ifndef FINI_UNLOCKED
	lock_dma();					/* step dma-fini-lock */
#endif
	hmm_dma_unmap(page, LEAF_END(page));
#ifndef FINI_LISTED
	leaves = leaves & ~MASK(page, LEAF_END(page));	/* step dma-remove */
#endif
#ifndef FINI_UNLOCKED
	unlock_dma();
#endif
	hmm_dma_free(page)				/* step dma-free */
#ifdef FINI_LISTED
	;
	leaves = leaves & ~MASK(page, LEAF_END(page))
#endif
}

/* What the driver has forgotten, which it must not */
inline hmm_dma_drop(n)
{
	lock_dma();
	hmm_dma_unmap(0, NPAGES);
	leaves = 0;
	unlock_dma()
}

/*
 * In a commit, under the driver's lock, when the range is valid.  Sets ok to 0 if it
 * fails.  What is to be mapped anew for a device without a table, since it may be
 * written to now, the driver sees to it that nobody uses.
 */
inline hmm_mirror_range_dma_map(r, d)
{
	select(writes : 0 .. 1);
	writes = (writes -> MASK(range[r].start, range[r].end) : 0);
	lock_dma();					/* step dma-map-lock */
	d_step {
		pages = MASK(range[r].start, range[r].end);
		assert(!(pages & ~leaves) && !(pages & ~initialised));
#ifdef DIRECT
		pages = pages & ours & ~ours_writes & writes;
#ifndef ANEW_IN_USE
		device[d] = device[d] & ~pages;
#endif
#else
		ours_writes = ours_writes | (ours & writes);
		pages = 0
#endif
	};
#ifdef DIRECT
	if
	:: pages ->
		hmm_dma_unlink();			/* step dma-anew */
		mark_and_forget()
	:: else
	fi;
#endif
	d_step {
		pages = MASK(range[r].start, range[r].end) & ~ours;
		assert(!(pages & iommu));
		iommu = iommu | pages;			/* step dma-link */
#ifdef DIRECT
		iommu_writes = iommu_writes | (pages & writes)
#else
		iommu_writes = iommu_writes | pages
#endif
	};
	if
	:: d_step {					/* step dma-sync */
		ours = ours | pages;
		ours_writes = ours_writes | (pages & writes)
	   }
	:: ok = 0;
#ifndef ROLL_BACK_NOTHING
	   hmm_dma_unlink()				/* step dma-roll-back */
#endif
	fi;
	pages = 0;
	writes = 0;
	unlock_dma()
}

/* Each page, while it changes or is freed, which may be at any time until the end */
inline change(s, e)
{
	d_step {
		assert(!(MASK(s, e) & device[0]));
		assert(!(MASK(s, e) & iommu));
		assert(!(MASK(s, e) & ours));
		assert(!(MASK(s, e) & written));
		range[0].stale = range[0].stale | (range[0].got & MASK(s, e))
	}
}

active [NR_PLAIN] proctype invalidates()
{
	TASK_LOCALS;
	DMA_LOCALS;

end_idle:
	do
	:: atomic {
		!freed;
#ifdef OVERLAP
		start = _pid;
		end = NPAGES;
#else
		choose(start, end);
		select(nonblock : 0 .. 1);
#endif
		going++
	   };
	   hmm_invalidate_start(start, end, slot);
	   if
	   :: !refused ->
		do
		:: change(start, end)
		:: break
		od;
		hmm_invalidate_end(start, end, slot)
	   :: else
	   fi;
	   atomic {
		refused = 0;
		nonblock = 0;
		start = 0;
		end = 0;
		going--
	   }
	od
}

#ifdef EXITS
active proctype exits()
{
	TASK_LOCALS;
	DMA_LOCALS;

	mm_users--;
	mm_users == 0;
	hmm_release();
	change(0, NPAGES);
	atomic { !going -> freed = 1 }
}
#endif

/* The driver's faults, and its end.  It stops the device before it gives up anything */
active proctype drives()
{
	FAULT_LOCALS;
	DMA_LOCALS;
	byte i, writes;

	do
	:: leaves == 0 ->
		for (i : 0 .. NPAGES - 1) {
			if
			:: IS_LEAF(i) -> hmm_mirror_dma_init(i)
			:: else
			fi
		};
		i = 0
	:: leaves ->
		atomic {
			choose(i, page);
			range[0].start = i;
			range[0].end = page;
			i = 0;
			page = 0;
			hmm_mirror_range_begin(0)
		};
		if
		:: ret == ESRCH -> ret = 0
		:: else ->
			hmm_mirror_range_fault(0);
			if
			:: !ret ->
				first = 1;
				commit(0, 0);
				first = 0;
				ok = 0
			:: else -> ret = 0
			fi;
			hmm_mirror_range_end(0)
		fi
#ifndef GIVES_UP
	:: leaves ->
		atomic { !driver_lock[0] -> device[0] = 0; entry_writes = 0 };
		for (i : 0 .. NPAGES - 1) {
			if
			:: IS_LEAF(i) -> hmm_mirror_dma_fini(i)
			:: else
			fi
		};
		i = 0
#endif
#ifdef FINI_FORGOTTEN
	:: leaves ->
		atomic { !driver_lock[0] -> device[0] = 0; entry_writes = 0 };
		break
#endif
	:: leaves == 0 -> break
	od;
	hmm_mirror_unregister(0)
}

#ifdef GIVES_UP
/* Entries that the driver gives up by itself, beside its faults */
active proctype gives_up()
{
	DMA_LOCALS;
	byte start, end;

end_idle:
	do
	:: atomic {
		leaves && !driver_lock[0] -> driver_lock[0] = 1;
		choose(start, end);
		device[0] = device[0] & ~MASK(start, end);
		entry_writes = entry_writes & ~MASK(start, end)
	   };
#ifdef GIVE_UP_UNLOCKED
	   driver_lock[0] = 0;
#endif
	   lock_dma();					/* step dma-give-up */
	   hmm_dma_unmap(start, end);
	   unlock_dma();
#ifndef GIVE_UP_UNLOCKED
	   driver_lock[0] = 0;
#endif
	   start = 0;
	   end = 0
	od
}
#endif

active proctype device_runs()
{
	byte page;

end_idle:
	do
	:: d_step {
		device[0] & MASK(page, page + 1) ->
		assert(iommu & MASK(page, page + 1));
		if
		:: entry_writes & MASK(page, page + 1) ->
			assert(iommu_writes & MASK(page, page + 1));
			written = written | MASK(page, page + 1)
		:: else
		fi
	   }
#ifdef DIRECT
	:: d_step {
		device[0] & MASK(page, page + 1) ->
		device[0] = device[0] & ~MASK(page, page + 1);
		entry_writes = entry_writes & device[0]
	   }
#endif
#if NPAGES > 1
	:: page = (page + 1) % NPAGES
#endif
	od
}
