/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Safety: no device has what the CPU's page table no longer has.
 *
 * One mirror.  Tasks that invalidate, one of them an invalidation inside another,
 * and tasks that fault, for ever, each time a range that may be any.  Those that
 * are not nested may be refused.  Claimed are the assertions, here and in commit(), and
 * that there is no deadlock.  With OF_2017 the mirror has the 2017 callback, which comes
 * at both ends.
 */

#ifndef NPAGES
#define NPAGES		2
#endif
#ifndef NR_ACTIVE
#define NR_ACTIVE	1
#endif
#ifndef NR_RANGES
#define NR_RANGES	2
#endif
#define NR_MIRRORS	1
#define FIRST_ALIVE	1
#ifndef NR_PLAIN
#define NR_PLAIN	1		/* tasks with one invalidation at a time */
#endif
#ifndef NR_NESTED
#define NR_NESTED	1		/* tasks with one inside another */
#endif
#define NR_TASKS	(NR_PLAIN + 2 * NR_NESTED)

#define TASK		task
#define TWO_PASS(m)	false
#define freed		false
#ifndef FAILS
#define FAILS		1		/* reading may fail otherwise than by a collision */
#endif
#ifdef DISPATCH_AT_END
#define REFUSES		false
#endif
#ifndef REFUSES
#define REFUSES		(_pid < NR_PLAIN)
#endif
#define READS_PAGES
/* Time may be over whenever it is looked at */
#define RETRY_OVER(r)	true
#define RETRY_LEFT(r)	true

#define mmget_not_zero()	ret = 0
#define mmput()			skip
#ifdef OF_2017
#define AFTERS
#endif

#include "hmm.pml"

inline choose(s, e)
{
	atomic {
		select(s : 0 .. NPAGES - 1);
		select(e : s + 1 .. NPAGES)
	}
}

/* Between the start and the end of an invalidation, any number of times */
inline change(s, e)
{
	do
	:: d_step {
		assert(!(device[0] & MASK(s, e)));
		for (i : 0 .. NR_RANGES - 1) {
			range[i].stale = range[i].stale | (range[i].got & MASK(s, e))
		}
		i = 0
	   }
	:: break
	od
}

active [NR_PLAIN] proctype invalidates()
{
	TASK_LOCALS;
	byte task = _pid;

	do
	:: atomic { choose(start, end) };
	   hmm_invalidate_start(start, end, slot);
	   if
	   :: !refused ->
		change(start, end);
		hmm_invalidate_end(start, end, slot)
	   :: else -> refused = 0
	   fi;
	   start = 0;
	   end = 0
	od
}

active [NR_NESTED] proctype nests()
{
	TASK_LOCALS;
	byte start2, end2, slot2;
	byte task = 2 * _pid - NR_PLAIN;

	do
	:: atomic { choose(start, end) };
	   hmm_invalidate_start(start, end, slot);
	   change(start, end);

	   choose(start2, end2);
	   task++;
	   hmm_invalidate_start(start2, end2, slot2);
	   change(start2, end2);
	   hmm_invalidate_end(start2, end2, slot2);
	   task--;
	   start2 = 0;
	   end2 = 0;

	   change(start, end);
	   hmm_invalidate_end(start, end, slot);
	   start = 0;
	   end = 0
	od
}

active [NR_RANGES] proctype faults()
{
	FAULT_LOCALS;
	byte start, end;
	byte r = _pid - NR_PLAIN - NR_NESTED;

	do
	:: atomic {
		choose(start, end);
		range[r].start = start;
		range[r].end = end;
		start = 0;
		end = 0
	   };
	   hmm_mirror_range_begin(r);
	   assert(!VALID(r));
	   do
	   :: hmm_mirror_range_fault(r);
	      if
	      :: ret -> assert(!VALID(r)); break
	      :: else
	      fi;
	      first = 1;
	      do
	      :: commit(r, 0);
		 atomic {
			if
			:: !ok -> break
			:: ok -> first = 0	/* kept, and looked at again */
			:: ok -> first = 0; break
			fi
		 }
	      od;
	      first = 0;
	      atomic {
		if
		:: ok -> ok = 0; break
		:: !ok
		fi
	      }
	   od;
	   ret = 0;
	   hmm_mirror_range_end(r);
	   assert(!VALID(r))
	od
}
