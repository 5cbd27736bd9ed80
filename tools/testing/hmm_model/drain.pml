/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Liveness: hmm_mirror_unregister() returns, whatever begins meanwhile.
 *
 * Mirror 0 comes and goes for ever, under weak fairness, and mirror 1 stays, so that
 * invalidations are tracked; it is told at the end as well.  Tasks invalidate, and may
 * stay between start and end for ever, but not in a callback.
 */

#ifndef NR_TASKS
#define NR_TASKS	2
#endif
#ifndef NR_ACTIVE
#define NR_ACTIVE	1
#endif
#define NPAGES		1
#define NR_MIRRORS	2
#define NR_RANGES	1		/* not used */
#define NR_FLUSHES	1
#define WALKS

#define FIRST_ALIVE	1
#define FIRST_TRACKING	1
#define FIRST_HEAD	1
#define FIRST_AFTER	1
#define AFTER(m)	((m) == 1)
#define SLEEPS(m)	false
#define TWO_PASS(m)	false
#define TASK		_pid
#define TASK_BIT	(1 << _pid)
#define OF_EXIT		NR_MIRRORS

#define RETRY_OVER(r)	true
#define RETRY_LEFT(r)	true
#define mmget_not_zero()	ret = 0
#define mmput()			skip
#define hmm_detach()	skip
#define live()			skip

bit registered[NR_MIRRORS];
bit drains;
ltl returns { [] (drains -> <> !drains) }

#include "hmm.pml"

active [NR_TASKS] proctype invalidates()
{
	TASK_LOCALS;

	do
	:: hmm_invalidate_start(0, NPAGES, slot);
	   if
	   :: true
	   :: false		/* stays for ever */
	   fi;
	   hmm_invalidate_end(0, NPAGES, slot)
	od
}

active proctype drives()
{
	byte i;

	do
	:: d_step { hmm_add_mirror(0) };
	   drains = 1;
	   hmm_mirror_unregister(0);
	   drains = 0
	od
}
