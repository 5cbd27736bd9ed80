/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Liveness: no lost wake-up, no fault that waits for ever, and no invalidation that is
 * kept from its callbacks by ever new ranges.
 *
 * Tasks that invalidate, of which one may be refused, and tasks that fault, for ever,
 * under weak fairness: who can run does so in the end.  The drivers and what they read
 * are left out.
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
#ifndef NR_TASKS
#define NR_TASKS	2
#endif
#define NR_MIRRORS	1
#ifdef ALL_COVERED
#define FIRST_USED	MASK(0, NR_ACTIVE)	/* by who waits for its invalidate_end() */
#endif

#define TASK		_pid
#define TWO_PASS(m)	false
#ifndef REFUSES
#define REFUSES		(_pid == 0)
#endif
#define FIRST_ALIVE	1
#define WAITS

#define mmget_not_zero()	ret = 0
#define mmput()			skip

/* Between the start and the end of an invalidation, in all tasks together */
byte going;
/* The call of hmm_mirror_range_fault() for a range goes on */
bit busy[NR_RANGES];

#ifdef CLOCK
/* The limit is all there is: the invalidations need not cease */
#ifdef WAIT_UNLIMITED
#define TIME_OVER(r)	false
#else
#define TIME_OVER(r)	range[r].expired
#endif
#ifdef RETRY_UNLIMITED
#define RETRY_OVER(r)	false
#else
#define RETRY_OVER(r)	range[r].expired
#endif
#define CEASES		false
ltl bounded { [] (busy[0] -> <> !busy[0]) }
#elif defined(ARMS)
/* An invalidation gets through, however often ranges are armed */
#define TIME_OVER(r)	false
#define RETRY_OVER(r)	false
#define CEASES		true
ltl passes { [] (going -> <> !going) }
#else
/* There is no limit: a fault has to be woken when the invalidations cease */
#define TIME_OVER(r)	false
#define RETRY_OVER(r)	false
#define CEASES		true
ltl woken { <> [] (going == 0) -> [] (busy[0] -> <> !busy[0]) }
#endif

#define TIME_LEFT(r)	!TIME_OVER(r)
#define RETRY_LEFT(r)	!RETRY_OVER(r)

#include "hmm.pml"

inline choose(s, e)
{
	select(s : 0 .. NPAGES - 1);
	select(e : s + 1 .. NPAGES)
}

active [NR_TASKS] proctype invalidates()
{
	TASK_LOCALS;

	do
	:: CEASES -> skip
	:: atomic {
		choose(start, end);
		going++;
	   };
	   hmm_invalidate_start(start, end, slot);
	   if
	   :: !refused -> hmm_invalidate_end(start, end, slot)
	   :: else
	   fi;
	   atomic {
		refused = 0;
		start = 0;
		end = 0;
		going--
	   }
	od
}

active [NR_RANGES] proctype faults()
{
	FAULT_LOCALS;
	byte start, end;
	byte r = _pid - NR_TASKS;

	do
	:: atomic {
		choose(start, end);
		range[r].start = start;
		range[r].end = end;
		start = 0;
		end = 0;
		hmm_mirror_range_begin(r)
	   };
	   busy[r] = 1;
	   hmm_mirror_range_fault(r);
	   busy[r] = 0;
	   ret = 0;
	   hmm_mirror_range_end(r)
	od
}

#ifdef CLOCK
active [NR_RANGES] proctype clock()
{
	byte r = _pid - NR_TASKS - NR_RANGES;

	do
	:: atomic { busy[r] && !range[r].expired -> range[r].expired = 1 }
	od
}
#endif
