/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Safety: what a 2017 driver with get_user_pages() has is stale for no longer than the
 * invalidation goes on.
 *
 * Such a driver has no struct hmm_mirror_range.  It notes a sequence number of its own,
 * which its callback counts up, reads, and writes its entries if the number is still
 * the same.  It may read at any time, also between the callback before the change and
 * the change.  Its pages are pinned, so none is somebody else's meanwhile.  Claimed are
 * the assertions: an entry that was read before the change is not there after the end.
 */

#ifndef NR_TASKS
#define NR_TASKS	2		/* that invalidate */
#endif
#ifndef NR_ACTIVE
#define NR_ACTIVE	1
#endif
#define NPAGES		1
#define NR_MIRRORS	1
#define NR_RANGES	1		/* not used */
#define FIRST_ALIVE	1
#define freed		false
#define REFUSES		true
#define RETRY_OVER(r)	true
#define RETRY_LEFT(r)	true
#define mmget_not_zero()	ret = 0
#define mmput()			skip
#define TASK		_pid
#define TWO_PASS(m)	false
#ifndef SYNC_BEFORE_ONLY
#define AFTERS
#endif

/* The driver's sequence is what it has noted */
bit noted;
/* Who has changed, and not ended yet, what it has read, and what it has written */
byte stale_read, stale_entry;
bit got;
#define OVER	128			/* somebody who has ended */

#define driver_sequence()	noted = 0; stale_entry = 0

#include "hmm.pml"

active [NR_TASKS] proctype invalidates()
{
	TASK_LOCALS;

	do
	:: hmm_invalidate_start(0, NPAGES, slot);
	   if
	   :: !refused ->
		d_step {
			if
			:: got -> stale_read = stale_read | (1 << _pid)
			:: else
			fi;
			if
			:: device[0] -> stale_entry = stale_entry | (1 << _pid)
			:: else
			fi
		};
		hmm_invalidate_end(0, NPAGES, slot)
	   :: else -> refused = 0
	   fi;
	   d_step {
		assert(!(stale_entry & (1 << _pid)));
		if
		:: stale_read & (1 << _pid) ->
			stale_read = (stale_read & ~(1 << _pid)) | OVER
		:: else
		fi
	   }
	od
}

active proctype faults()
{
	bit ok;

	do
	:: noted = 1;
	   d_step {
		got = 1;
		stale_read = 0
	   };
	   atomic {
		!driver_lock[0];
		driver_lock[0] = 1;
		ok = noted
	   };
	   d_step {
		if
		:: ok ->
			assert(!(stale_read & OVER));
			device[0] = MASK(0, NPAGES);
			stale_entry = stale_read
		:: else
		fi;
		ok = 0;
		got = 0;
		stale_read = 0;
		driver_lock[0] = 0
	   }
	od
}
