/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Safety: the life of mirrors, of the registry's struct hmm, and of the process.
 *
 * Drivers register a mirror, fault, unregister, and free the memory it is in, for
 * as long as the process lives; the process dies at any time; tasks invalidate, also
 * without being allowed to sleep, and may be refused.  Mirror 0 has the 2017 callback,
 * may sleep, and is called at the end as well; the others flush in two passes, and may
 * be told of the end.  What mm/hmm_list.c does instead is left out.  Claimed
 * are the assertions: nothing is used after it is freed, release comes once, and no
 * callback with or after it, none comes after unregister, nor after an invalidation
 * that was refused, and a device has no page that is free or somebody else's.
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
#ifndef NR_PLAIN
#define NR_PLAIN	1		/* tasks that invalidate */
#endif
#define NR_TASKS	(NR_PLAIN + 1)

#define SLEEPS(m)	((m) < SLEEPERS)
#define AFTER(m)	(!SLEEPS(m) && (m) < NR_AFTER)
#ifndef SLEEPERS
#define SLEEPERS	1		/* mirrors with the 2017 callback */
#endif
#ifndef NR_AFTER
#define NR_AFTER	0		/* mirrors, but for these, that are told of the end */
#endif
#define TWO_PASS(m)	(!SLEEPS(m))
#define FIRST_ALIVE	0
#define FIRST_TRACKING	0
#define FIRST_HEAD	NIL
#define FIRST_AFTER	0
#define READS_PAGES
#define WALKS
#define RETRY_OVER(r)	true
#define RETRY_LEFT(r)	true
#define OF_EXIT		NR_MIRRORS

/* struct hmm in the notifier core, and the references that keep it */
bit attached;
byte mm_count = 1;		/* this one is that of the users */
bit hmm_freed;

#define live()		assert(!hmm_freed)

/* The process */
byte mm_users = 1;
bit freed;			/* exit_mmap() has freed the pages */
bit mmap_write;
byte mmap_read;
byte going;			/* invalidations under other locks of the mm */
bit registered[NR_MIRRORS];

#define TASK		task
#define TASK_BIT	(1 << _pid)
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

inline mmdrop()
{
	d_step {
		assert(mm_count);
		mm_count--;
		hmm_freed = (mm_count == 0)
	}
}

inline hmm_detach()
{
	mmdrop()					/* step drop */
}

#include "hmm.pml"

/*
 * Under all locks of the mm, of which every invalidation holds one: the mmap lock, which
 * the caller has, or another.
 */
inline hmm_track()
{
	atomic {					/* step track-lock */
#ifndef TRACK_UNLOCKED
		!going;
#endif
		live();
		attached = 1;				/* step attach */
		tracking = 1				/* step track */
	}
}

inline hmm_attach(n)
{
	d_step { hmm_add_mirror(n) };			/* step list-lock */
	if
	:: registered[n]
	:: else ->
		hmm_track();
		d_step {
			hmm_add_mirror(n);		/* step attach-add */
			assert(registered[n])
		}
	fi
#ifndef NO_GRAB
	;
	mm_count++					/* step grab */
#endif
}

inline hmm_mirror_register(n)
{
#ifndef REGISTER_UNLOCKED
	atomic { !mmap_write && !mmap_read -> mmap_write = 1 };	/* step mmap-locked */
#endif
	hmm_attach(n);
#ifndef REGISTER_UNLOCKED
	mmap_write = 0
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

active [NR_PLAIN] proctype invalidates()
{
	TASK_LOCALS;
	byte task = _pid;

end_idle:
	do
	:: atomic {
		!freed;
		if
		:: going++
		:: !mmap_write -> nonblock = 1; mmap_read++
		fi
	   };

	   if
	   :: attached -> hmm_invalidate_start(0, NPAGES, slot)
	   :: else
	   fi;
	   /* Interval notifiers, and those on the list, come after it, and may refuse, too */
	   if
	   :: nonblock && !refused ->
		refused = 1;
		hmm_invalidate_end(0, NPAGES, slot)	/* step cancel */
	   :: true
	   fi;
	   if
	   :: !refused ->
		change();
		hmm_invalidate_end(0, NPAGES, slot)
	   :: else
	   fi;

	   d_step {
		refused = 0;
		mmap_read = mmap_read - nonblock;
		going = going - !nonblock;
		nonblock = 0
	   }
	od
}

active proctype exits()
{
	TASK_LOCALS;
	byte task = NR_PLAIN;

	mm_users--;
	mm_users == 0;
	if
	:: attached ->
		hmm_release();
		d_step {
			for (i : 0 .. NR_MIRRORS - 1) {
				assert(!registered[i] || released[i])
			}
			i = 0
		}
	:: else
	fi;
	change();
	/* The mappings can be found no longer: that takes the locks of invalidations */
	atomic { !going && !mmap_read -> freed = 1 };
	mmdrop()
}

active [NR_MIRRORS] proctype drives()
{
	FAULT_LOCALS;
	byte i;
	byte me = _pid - NR_PLAIN - 1;

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
	   released[me] = 0
	od
}
