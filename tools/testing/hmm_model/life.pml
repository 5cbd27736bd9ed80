/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Safety: the life of mirrors, of the registry's struct hmm, and of the process.
 *
 * Drivers register a mirror, fault, unregister, and free the memory it is in, for
 * as long as the process lives; the process dies at any time; a task invalidates,
 * also without being allowed to sleep.  Mirror 0 may sleep, the others may not, and
 * flush in two passes.  Claimed are the assertions: nothing is used after it is
 * freed, release comes once, a device has no page that is free or somebody else's.
 */

#ifndef NR_MIRRORS
#define NR_MIRRORS	2
#endif
#ifndef NR_FLUSHES
#define NR_FLUSHES	1
#endif
#ifndef NR_FAULTS
#define NR_FAULTS	1		/* how many of the drivers fault */
#endif
#define NPAGES		1
#define NR_ACTIVE	1
#define NR_RANGES	NR_MIRRORS
#define NR_TASKS	2

#define ATOMIC(m)	((m) >= SLEEPERS)
#ifndef SLEEPERS
#define SLEEPERS	1
#endif
#define TWO_PASS(m)	ATOMIC(m)
#define FIRST_ALIVE	0
#define READS_PAGES
#define WALKS
#define RETRY_OVER(r)	true
#define RETRY_LEFT(r)	true

/* The notifier core: two notifiers for one mm, and SRCU */
#define HMM		0
#define VETO		1
bit listed[2];
bit dying[2];			/* call_srcu() is to free it */
byte users[2];
byte readers;			/* tasks in the read side of SRCU */

/* Grace periods that somebody waits for: the readers that it has to outlast */
#define OF_DRIVER(n)	(n)
#define OF_EXIT		NR_MIRRORS
#define OF_FREE(n)	(NR_MIRRORS + 1 + (n))
#define NR_GRACES	(NR_MIRRORS + 3)
byte grace[NR_GRACES];

#define FREE(n)		(dying[n] && !grace[OF_FREE(n)])

/* The process */
byte mm_users = 1;
bit freed;			/* exit_mmap() has freed the pages */
bit mmap_write;
byte mmap_read;
byte going;			/* invalidations under other locks of the mm */
bit registered[NR_MIRRORS];

#define TASK		task
#define mmput()					\
	if					\
	:: ret != ESRCH -> mm_users--		\
	:: else					\
	fi
#ifdef NO_MMGET
#undef mmput
#define mmput()			skip
#define mmget_not_zero()	ret = 0
#else
#define mmget_not_zero()			\
	atomic {				\
		if				\
		:: mm_users -> mm_users++	\
		:: else -> ret = ESRCH		\
		fi				\
	}
#endif

#include "hmm.pml"

#define READER(pid)	(1 << (pid))

inline srcu_read_lock()
{
	readers = readers | READER(_pid)
}

inline srcu_read_unlock()
{
	d_step {
		readers = readers & ~READER(_pid);
		for (i : 0 .. NR_GRACES - 1) {
			grace[i] = grace[i] & ~READER(_pid)
		}
		i = 0
	}
}

inline synchronize_srcu(n)
{
	grace[n] = readers;
	!grace[n]
}

inline mmu_notifier_put(n)
{
	d_step {
		users[n]--;
		if
		:: !users[n] ->
			listed[n] = 0;
			dying[n] = 1;
			grace[OF_FREE(n)] = readers
		:: else
		fi
	}
}

/*
 * Makes the notifier if it is not there.  That takes all locks of the mm, of which
 * every invalidation holds one: this one or the mmap lock.  That the one before is
 * free is not needed, but there is room here for one only.
 */
inline mmu_notifier_get_locked(n)
{
	atomic {
		listed[n] || (!going && (!dying[n] || FREE(n)));
		if
		:: !listed[n] ->
			listed[n] = 1;
			dying[n] = 0;
			users[n] = 0;
			if
			:: n == HMM ->
				nr_active = 0;
				nr_covered = 0;
				set[0].start = 0;
				set[0].end = 0;
				covering.start = 0;
				covering.end = 0
			:: else
			fi
		:: else
		fi;
		users[n]++
	}
}

inline hmm_mirror_register(n)
{
#ifndef REGISTER_UNLOCKED
	atomic { !mmap_write && !mmap_read -> mmap_write = 1 };	/* step mmap-locked */
#endif
	mmu_notifier_get_locked(HMM);			/* step get-hmm */
	if
	:: !ATOMIC(n) -> mmu_notifier_get_locked(VETO)	/* step get-veto */
	:: else
	fi;
	d_step {					/* step list-lock */
		next[n] = head;
		head = n;				/* step list-add */
		alive[n] = 1
	};
	registered[n] = 1;
#ifndef REGISTER_UNLOCKED
	mmap_write = 0
#endif
}

inline hmm_mirror_unregister(n)
{
	registered[n] = 0;
#ifdef PUT_FIRST
	mmu_notifier_put(HMM);
#endif
	d_step {					/* step unlist-lock */
		assert(!FREE(HMM));
		if
		:: head == n -> head = next[n]		/* step unlist */
		:: else ->
			i = head;
			do
			:: next[i] == n -> break
			:: else -> i = next[i]
			od;
			next[i] = next[n];
			i = 0
		fi;
#ifdef POISON_NEXT
		next[n] = POISON
#endif
	};
#ifndef NO_GRACE
	synchronize_srcu(OF_DRIVER(n));			/* step grace */
#endif
	if
	:: !ATOMIC(n) -> mmu_notifier_put(VETO)		/* step put-veto */
	:: else
	fi
#ifndef PUT_FIRST
	;
	mmu_notifier_put(HMM)				/* step put-hmm */
#endif
}

/* Each page, while it changes or is freed */
inline change()
{
	d_step {
		for (i : 0 .. NR_MIRRORS - 1) {
			assert(!device[i]);
			range[i].stale = range[i].stale | range[i].got
		}
		i = 0
	}
}

/* The list of the core may have its notifiers in any order */
inline start_hmm()
{
	if
	:: listed[HMM] ->
		assert(!FREE(HMM));
		hmm_invalidate_range_start(0, NPAGES);
		assert(!FREE(HMM))
	:: else
	fi
}

inline start_veto()
{
	if
	:: listed[VETO] ->
		assert(!FREE(VETO));
#ifdef NO_VETO
		skip
#else
		vetoed = nonblock			/* step veto */
#endif
	:: else
	fi
}

inline end_hmm()
{
	if
	:: listed[HMM] ->
		assert(!FREE(HMM));
		hmm_invalidate_range_end(0, NPAGES);
		assert(!FREE(HMM))
	:: else -> untell(0, NPAGES)
	fi
}

active proctype invalidates()
{
	TASK_LOCALS;
	bit vetoed, veto_first;
	byte task;

end_idle:
	do
	:: atomic {
		!freed;
		if
		:: nonblock = 0; going++
		:: !mmap_write -> nonblock = 1; mmap_read++
		fi;
		if
		:: veto_first = 0
		:: veto_first = 1
		fi
	   };

	   srcu_read_lock();
	   if
	   :: veto_first -> start_veto()
	   :: else
	   fi;
	   start_hmm();
	   if
	   :: !veto_first -> start_veto()
	   :: else
	   fi;
	   if
	   :: vetoed -> end_hmm()
	   :: else
	   fi;
	   srcu_read_unlock();

	   if
	   :: !vetoed ->
		change();
		srcu_read_lock();
		end_hmm();
		srcu_read_unlock()
	   :: else
	   fi;

	   d_step {
		vetoed = 0;
		veto_first = 0;
		mmap_read = mmap_read - nonblock;
		going = going - !nonblock;
		nonblock = 0
	   }
	od
}

active proctype exits()
{
	TASK_LOCALS;
	byte task = 1;

	mm_users--;
	mm_users == 0;
	srcu_read_lock();
	if
	:: listed[HMM] ->
		hmm_release();
		d_step {
			for (i : 0 .. NR_MIRRORS - 1) {
				assert(!registered[i] || released[i])
			}
			i = 0;
			listed[HMM] = 0;
			listed[VETO] = 0
		}
	:: else
	fi;
	srcu_read_unlock();
	synchronize_srcu(OF_EXIT);
	change();
	freed = 1
}

active [NR_MIRRORS] proctype drives()
{
	FAULT_LOCALS;
	byte i;
	byte me = _pid - 2;

	do
	:: atomic {
		if
		:: mm_users -> mm_users++
		:: else -> break
		fi
	   };
	   hmm_mirror_register(me);
	   mm_users--;

	   do
	   :: me < NR_FAULTS ->
		atomic {
			range[me].start = 0;
			range[me].end = NPAGES;
			hmm_mirror_range_begin(me)
		};
		if
		:: ret == ESRCH -> ret = 0
		:: else ->
			hmm_mirror_range_fault(me);
			if
			:: !ret ->
				first = 1;
				commit(me, me);
				first = 0;
				ok = 0
			:: else -> ret = 0
			fi;
			hmm_mirror_range_end(me)
		fi
	   :: break
	   od;

	   atomic { !driver_lock[me] -> device[me] = 0 };
	   hmm_mirror_unregister(me);
	   d_step {
		alive[me] = 0;
		released[me] = 0;
		next[me] = NIL
	   }
	od
}
