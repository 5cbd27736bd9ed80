/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mm/hmm.c as a model for spin: one inline for each function that has to do with
 * an invalidation, a device page fault, or the life of a mirror, and in it one
 * step for each line whose order matters.  A comment "step NAME" ties a step to
 * its line, by way of the table in ./steps.  Who calls these functions, and what
 * is claimed, is in fault.pml, gup.pml, wait.pml, life.pml, drain.pml and dma.pml.
 *
 * What is left out, and why nothing is lost:
 *  - The sequence of a range is only ever compared with an earlier value of
 *    itself, so one bit is enough: are they equal?  That makes the number of
 *    invalidations and of faults unlimited.  (It would take a wrap around of an
 *    unsigned long within one fault to tell the difference.)
 *  - So it is with the number of a slot, which is only ever compared with that in a
 *    snapshot: a bit in the snapshot is set for as long as they are equal.  And with
 *    the sequence of the list of callbacks without a slot: what a snapshot waits for
 *    is a set of tasks.
 *  - A page table is a set of pages.  What a fault has read of a page becomes
 *    stale when the CPU's entry of the page changes: no values are needed.
 *  - What is not used any more is cleared.  The code leaves it as it is.
 *  - What is done under hmm->lock is one step.  Only one access in it is to what is
 *    also accessed without the lock (range->valid, hmm->tracking, the number of a
 *    slot, the list of mirrors, or the waitqueue), so no state in between makes a
 *    difference.  And the lock is fair, as the kernel's are.  Marking drops it after
 *    NR_MARKS ranges, which is each one, here.
 *  - Tracking goes off with the last mirror, or stays on: either may be at any time.
 *  - Memory is sequentially consistent here; ./litmus has the rest.
 *
 * Each #ifdef is a mutant, see ./cases.
 */

#ifndef NR_MARKS
#define NR_MARKS	1
#endif
#ifndef FIRST_USED
#define FIRST_USED	0
#endif

#define NIL	255
#define POISON	254

#ifndef WALKS
#define live()		skip
#endif
#ifndef driver_sequence
#define driver_sequence()	skip
#endif

#define MASK(start, end)	((1 << (end)) - (1 << (start)))
#define OVERLAPS(s, e, s2, e2)	((s) < (e2) && (s2) < (e))

typedef span {
	byte start;
	byte end
};

typedef mirror_range {
	bit armed;		/* in the tree of ranges */
	bit valid;		/* its sequence is what it was when it was armed */
	bit read;		/* the last fault has succeeded */
	byte start;
	byte end;
	bit queued;		/* whose fault is on the waitqueue */
	bit asleep;		/* and does not run */
	bit expired;		/* its time is over */
	byte got;		/* pages that it has read, */
	byte stale		/* and of these, those that have changed since */
};

/* struct hmm */
bit dead;
byte used = FIRST_USED;		/* slots of the active set, a bit each */
byte nr_covered;
span set[NR_ACTIVE];
span covering;
#ifdef WALKS
bit tracking = FIRST_TRACKING;
byte head = FIRST_HEAD;		/* mirrors */
byte next[NR_MIRRORS] = NIL;
byte nr_sync;
byte nr_after = FIRST_AFTER;
byte odd;			/* slots whose number is odd, a bit each */
byte dispatches;		/* tasks whose struct hmm_dispatch is on the list */

/* Of each driver, and of the exit: what is in progress still of what was */
typedef snapshot {
	byte slots;
	byte listed
};
snapshot snap[NR_MIRRORS + 1];
#endif
mirror_range range[NR_RANGES];

/* The drivers: what each device can use, be it by an entry or by its TLB */
byte device[NR_MIRRORS];
#ifdef NO_ENTRY_NO_FENCE
byte entries[NR_MIRRORS];	/* the first alone */
#endif
bit alive[NR_MIRRORS] = FIRST_ALIVE;	/* the memory that the mirror is in is not free */
bit released[NR_MIRRORS];

/* Which pages of which mirror the invalidation of a task has taken out so far */
byte told[NR_TASKS * NR_MIRRORS];

bit driver_lock[NR_MIRRORS];	/* held between the two steps of a commit */

/* The invalidation that a task is in; its slot is what is in the update's flags */
#ifdef WALKS
#define TASK_LOCALS				\
	byte i, m, nr, start, end, slot;	\
	bit nonblock, fence, wake, refused, more, sync, after; \
	byte flushes[NR_FLUSHES]
#elif defined(WAITS)
#define TASK_LOCALS				\
	byte i, m, nr, start, end, slot;	\
	byte over_start, over_end;		\
	bit fence, wake, refused, more
#else
#define TASK_LOCALS				\
	byte i, m, nr, start, end, slot;	\
	bit fence, wake, refused, more
#endif

/* The fault that a task is in */
#define FAULT_LOCALS				\
	byte j, page;				\
	bit idle, ok, first;			\
	byte ret

/* What functions return: 0, or */
#define EBUSY	1
#define ESRCH	2
#define EFAULT	3

/* The number of a slot, plus one */
#define COVERED		(NR_ACTIVE + 1)
#define HAS_SLOT(slot)	((slot) <= NR_ACTIVE)
#define SLOT(slot)	(1 << ((slot) - 1))

inline hmm_active_add(s, e, slot)
{
	d_step {
		slot = 1;
		do
		:: HAS_SLOT(slot) && (used & SLOT(slot)) -> slot++
		:: else -> break
		od;
		if
		:: HAS_SLOT(slot) ->			/* step add */
			used = used | SLOT(slot);
			set[slot - 1].start = s;
			set[slot - 1].end = e
		:: else ->				/* step cover */
#ifdef COVER_NOTHING
			skip;
#else
			nr_covered++;
			if
#ifndef COVER_LAST_ONLY
			:: nr_covered > 1 ->		/* step widen */
				covering.start = (s < covering.start -> s : covering.start);
				covering.end = (e > covering.end -> e : covering.end)
#endif
			:: else ->
				covering.start = s;
				covering.end = e
			fi
#endif
		fi
	}
}

inline hmm_active_del(slot)
{
	d_step {
		if
#ifdef UNCOVER_FIRST
		:: nr_covered -> nr_covered--
		:: !nr_covered && HAS_SLOT(slot) ->
#else
		:: HAS_SLOT(slot) ->			/* step del */
#endif
#ifdef DEL_MOVES
			i = NR_ACTIVE;
			do
			:: used & SLOT(i) -> break
			:: else -> i--
			od;
			used = used & ~SLOT(i);
			set[slot - 1].start = set[i - 1].start;
			set[slot - 1].end = set[i - 1].end;
			set[i - 1].start = 0;
			set[i - 1].end = 0;
			i = 0
#else
			used = used & ~SLOT(slot);
			set[slot - 1].start = 0;
			set[slot - 1].end = 0
#endif
		:: else ->
#ifndef COVER_NOTHING
#ifndef UNCOVER_FIRST
			assert(nr_covered);
#endif
#ifdef COVER_FOR_EVER
			nr_covered = (nr_covered > 1 -> nr_covered - 1 : 1)
#else
			nr_covered--			/* step uncover */
#endif
#endif
		fi;
		if
		:: !nr_covered ->
			covering.start = 0;
			covering.end = 0
		:: else
		fi
	}
}

/* Sets idle.  To be used in a d_step */
inline hmm_active_overlaps(r)
{
	idle = 1;
	j = 0;
	do
	:: j == NR_ACTIVE -> break
	:: else ->						/* step look */
		idle = idle && !((used & (1 << j)) &&
				 OVERLAPS(range[r].start, range[r].end,
					  set[j].start, set[j].end));
		j++
	od;
	j = 0;
#ifndef COVERED_UNSEEN
	idle = idle && !(nr_covered &&				/* step look-covered */
			 OVERLAPS(range[r].start, range[r].end,
				  covering.start, covering.end))
#endif
}

#ifdef WALKS
/* Both to be used in an atomic or d_step */
inline hmm_dispatch_begin(slot)
{
	if
	:: HAS_SLOT(slot) ->
		assert(!(odd & SLOT(slot)));
		odd = odd | SLOT(slot)			/* step dispatching */
	:: else ->
		dispatches = dispatches | TASK_BIT	/* step dispatch-list */
	fi
}

inline hmm_take_snapshot(w)
{
	snap[w].slots = odd & used;			/* step snapshot */
	snap[w].listed = dispatches			/* step snapshot-list */
}

/* What begins with the same slot, or on the list, later is not in any snapshot */
inline hmm_dispatch_end(slot)
{
	d_step {
		live();
		if
		:: HAS_SLOT(slot) ->			/* step dispatched */
			odd = odd & ~SLOT(slot);
#ifndef COMPARE_ODD
			for (i : 0 .. NR_MIRRORS) {
				snap[i].slots = snap[i].slots & ~SLOT(slot)
			}
#endif
		:: else ->				/* step dispatched-lock */
			dispatches = dispatches & ~TASK_BIT;
			for (i : 0 .. NR_MIRRORS) {
				snap[i].listed = snap[i].listed & ~TASK_BIT
			}
		fi;
		i = 0
	}
}

#ifdef COMPARE_ODD
#define IN_SLOTS(w)	(snap[w].slots & odd)
#else
#define IN_SLOTS(w)	(snap[w].slots)
#endif
#ifdef COMPARE_NO_SEQ
#define IN_LIST(w)	dispatches
#else
#define IN_LIST(w)	snap[w].listed
#endif

/* Slots are looked at one by one, but none comes back */
inline hmm_wait_for_callbacks(w, own)
{
	!IN_SLOTS(w);					/* step drain */
	atomic {
		!(IN_LIST(w) & ~(own));			/* step drain-lock */
		live();
		snap[w].slots = 0;
		snap[w].listed = 0
	}
}
#endif

/* To be used in a d_step */
inline hmm_range_arm(r)
{
	range[r].valid = 1;					/* step arm-note */
	range[r].armed = 1					/* step join */
}

inline hmm_range_disarm(r)
{
	range[r].armed = 0;					/* step disarm */
	range[r].valid = 0					/* step mark */
}

/*
 * To be used in an atomic.  Sets more if the lock is to be dropped, and this to be done
 * again.
 */
inline hmm_mark_collided(s, e)
{
	d_step {
		i = 0;
		more = 0;
#ifdef MARK_GOES_ON
		assert(!nr || range[nr - 1].armed);
		nr = 0;
#endif
		do
#ifdef MARK_NOTHING
		:: true -> break
#endif
		:: i == NR_RANGES || more -> break
		:: else ->						/* step mark-first */
			if
			:: range[i].armed &&
			   OVERLAPS(s, e, range[i].start, range[i].end) ->
				hmm_range_disarm(i);			/* step mark-each */
#ifdef MARK_FIRST_ONLY
				break;
#endif
				nr++;
				more = (nr == NR_MARKS)			/* step mark-unlock */
			:: else
			fi;
			i++
		od;
		i = 0;
		nr = 0
#ifdef MARK_GOES_ON
		;
		do
		:: i == NR_RANGES || !more -> break
		:: else ->
			nr = (range[i].armed &&
			      OVERLAPS(s, e, range[i].start, range[i].end) -> i + 1 : nr);
			i++
		od;
		i = 0
#endif
	}
}

/* The device's use ends when it has flushed its TLB */
inline invalidate_finish(n, s, e)
{
	d_step {
		assert(alive[n] && !released[n]);
		driver_sequence();
		device[n] = device[n] & ~MASK(s, e);
		told[TASK * NR_MIRRORS + n] = told[TASK * NR_MIRRORS + n] | MASK(s, e)
	}
}

/*
 * All of the driver's callback, or the first pass of two.  Sets fence, or refused if
 * it must not wait for the lock, but would have to.
 */
inline invalidate_start(s, e)
{
	atomic {
		if
		:: !driver_lock[m]			/* step callback-lock */
#ifdef WALKS
		:: driver_lock[m] && nonblock -> refused = 1
#endif
		fi;
		assert(alive[m] && !released[m]);
		if
		:: refused
#ifdef NO_ENTRY_NO_FENCE
		:: !refused && TWO_PASS(m) ->
			fence = (entries[m] & MASK(s, e)) != 0;
			entries[m] = entries[m] & ~MASK(s, e)
#else
		:: !refused && TWO_PASS(m) -> fence = (device[m] & MASK(s, e)) != 0
#endif
		:: else
		fi;
		if
#ifdef NO_ENTRY_NO_FENCE
		:: !refused && !TWO_PASS(m) -> invalidate_finish(m, s, e)
#else
		:: !refused && !fence -> invalidate_finish(m, s, e)
#endif
		:: else
		fi
	}
}

#ifdef WALKS
inline hmm_finish(s, e)
{
	do
	:: nr ->
		nr--;
		invalidate_finish(flushes[nr], s, e);	/* step finish */
#ifdef DMA
#ifndef DMA_FINISH_NOTHING
		hmm_dma_invalidate(flushes[nr], s, e);	/* step dma-finish */
#endif
#endif
		flushes[nr] = 0
	:: else -> break
	od
}

/* With hmm_mirror_invalidate() and hmm_invalidate_from() */
inline hmm_invalidate(s, e, slot)
{
	m = head;					/* step walk */
	do
	:: m == NIL || refused -> break
	:: else ->
		assert(m != POISON && alive[m]);
		if
		:: nonblock && SLEEPS(m) ->		/* step refuse */
#ifdef NO_REFUSAL
			skip
#else
			refused = 1
#endif
		:: else ->
#ifdef DMA_BEFORE
			hmm_dma_invalidate(m, s, e);
#endif
#ifdef DMA_LOCK_FIRST
			atomic { !dma_lock -> dma_lock = 1 };
#endif
			invalidate_start(s, e)		/* step dispatch */
#ifdef DMA
			;
			if
			:: DMA_NO_FENCE && DMA_NOT_REFUSED ->
				hmm_dma_invalidate(m, s, e)	/* step dma-start */
			:: else
			fi
#endif
		fi;
		if
		:: fence ->
			if
			:: nr == NR_FLUSHES ->
#ifdef FLUSH_FORGOTTEN
				nr = 0
#else
				hmm_finish(s, e)	/* step finish-full */
#endif
			:: else
			fi;
			flushes[nr] = m;		/* step pending */
			nr++;
			fence = 0
		:: else
		fi;
		m = next[m]
	od;
	m = 0;
#ifdef DISPATCHED_EARLY
	hmm_dispatch_end(slot);
#endif
	hmm_finish(s, e)				/* step finish-all */
#ifndef DISPATCHED_EARLY
	;
	hmm_dispatch_end(slot)				/* step start-over */
#endif
#ifdef DMA_AFTER_DISPATCH
	;
	if
	:: !refused -> __hmm_dma_invalidate(0, s, e)
	:: else
	fi
#endif
}

/* The 2017 callback again, or else another one */
inline hmm_after(s, e, of_2017)
{
	m = head;
	do
	:: m == NIL -> break
	:: else ->
		assert(m != POISON && alive[m]);
		if
		:: of_2017 == SLEEPS(m) && (of_2017 || AFTER(m)) &&
		   !(nonblock && SLEEPS(m)) ->
			atomic {
				!driver_lock[m];
				assert(alive[m] && !released[m]); /* step after-dispatch */
				assert(!refused);
				if
				:: SLEEPS(m) -> device[m] = device[m] & ~MASK(s, e)
				:: else
				fi
			}
		:: else
		fi;
		m = next[m]
	od;
	m = 0
}

#else
/* One mirror, that is there all the time.  Why it refuses does not matter */
inline hmm_invalidate(s, e, slot)
{
	if
	:: REFUSES -> refused = 1
	:: invalidate_start(s, e)
	fi
}

inline hmm_after(s, e)
{
	atomic {
		!driver_lock[0];
		driver_sequence();
		device[0] = device[0] & ~MASK(s, e)
	}
}
#endif

inline hmm_mark_all(s, e)
{
	more = 1;
	do
	:: more -> atomic { hmm_mark_collided(s, e) }
	:: else -> break
	od
}

/* Sets slot, which stays 0 where nothing is tracked, and refused */
inline hmm_invalidate_start(s, e, slot)
{
#ifdef WALKS
	atomic {
		live();
		if
		:: tracking -> slot = COVERED		/* step start-tracking */
		:: else
		fi
	};
	if
	:: slot -> hmm_invalidate_tracked(s, e, slot)
	:: else
	fi
#else
	hmm_invalidate_tracked(s, e, slot)
#endif
}

inline hmm_invalidate_tracked(s, e, slot)
{
#ifdef DISPATCH_FIRST
	hmm_invalidate(s, e, slot);
#endif
#ifdef MARK_BEFORE_ADD
	hmm_mark_all(s, e);
#endif
	atomic {					/* step start-lock */
#ifdef WALKS
		live();
		if
#ifndef START_UNLOOKED
		:: !tracking -> slot = 0		/* step start-look */
#endif
		:: else ->
			hmm_active_add(s, e, slot);	/* as below */
#ifndef BEGIN_LATE
			hmm_dispatch_begin(slot);	/* step start-begin */
#endif
			hmm_mark_collided(s, e)
		fi
#else
#ifndef ADD_LATE
#ifndef ADD_LAST
		hmm_active_add(s, e, slot);		/* step start-add */
#endif
#endif
#ifndef MARK_LATE
#ifndef MARK_BEFORE_ADD
		hmm_mark_collided(s, e);		/* step start-mark */
#endif
#endif
#ifdef ADD_LAST
		if
		:: !more -> hmm_active_add(s, e, slot)
		:: else
		fi
#endif
#endif
	};
	do
	:: more ->
		atomic {
			live();
			hmm_mark_collided(s, e);
#ifdef ADD_LAST
			if
			:: !more -> hmm_active_add(s, e, slot)
			:: else
			fi
#endif
		}
	:: else -> break
	od;
#ifdef BEGIN_LATE
	atomic {
		if
		:: slot -> hmm_dispatch_begin(slot)
		:: else
		fi
	};
#endif
#ifdef WALKS
	if
	:: slot -> hmm_invalidate(s, e, slot)		/* as below */
	:: else
	fi;
#else
#ifndef DISPATCH_AT_END
#ifndef DISPATCH_FIRST
	hmm_invalidate(s, e, slot);			/* step start-dispatch */
#endif
#endif
#ifdef MARK_LATE
	hmm_mark_all(s, e);
#endif
#ifdef ADD_LATE
	atomic { hmm_active_add(s, e, slot) };
#endif
#endif
	if
#ifdef REFUSED_STAYS
	:: refused && HAS_SLOT(slot) -> slot = 0
	:: refused && !HAS_SLOT(slot) -> hmm_invalidate_end(s, e, slot)
#else
	:: refused -> hmm_invalidate_end(s, e, slot)	/* step start-cancel */
#endif
	:: else
	fi
}

#ifdef WAITS
/* With hmm_wake_waiter(), which wakes those alone that have waited for this */
inline wake_up()
{
	d_step {
		i = 0;
		do
		:: i == NR_RANGES -> break
		:: else ->
			if
			:: range[i].queued &&
			   OVERLAPS(range[i].start, range[i].end,	/* step wake-overlaps */
				    over_start, over_end) ->
				range[i].asleep = 0		/* step wake-one */
			:: else
			fi;
			i++
		od;
		i = 0;
		wake = 0;
		over_start = 0;
		over_end = 0
	}
}

#ifdef LOOK_FIRST
inline look_first(s, e)
{
	d_step {
		over_start = s;
		over_end = e;
		wake = 0;
		for (i : 0 .. NR_RANGES - 1) {
			wake = wake || range[i].queued
		}
		i = 0
	}
}
#endif

/* Together with hmm_active_del(), as that clears here what is covered no longer */
inline del_and_look(s, e, slot)
{
	d_step {
		over_start = s;
		over_end = e;
#ifndef WAKE_SPAN
		if
		:: !HAS_SLOT(slot) ->
			over_start = covering.start;		/* step end-covering */
			over_end = covering.end
		:: else
		fi;
#endif
		hmm_active_del(slot);				/* step end-del */
		wake = 0;
		for (i : 0 .. NR_RANGES - 1) {
			wake = wake || range[i].queued		/* step end-look */
		}
		i = 0;
		if
#ifdef WAKE_NOT_LAST
		:: !HAS_SLOT(slot) -> wake = wake && nr_covered
#else
		:: !HAS_SLOT(slot) -> wake = wake && !nr_covered	/* step end-last */
#endif
		:: else
		fi;
		if
		:: !wake ->
			over_start = 0;
			over_end = 0
		:: else
		fi
	}
}

#else
#define wake_up()			wake = 0
#define del_and_look(s, e, slot)	hmm_active_del(slot)
#endif

inline untell(s, e)
{
	d_step {
		for (i : 0 .. NR_MIRRORS - 1) {
			told[TASK * NR_MIRRORS + i] = told[TASK * NR_MIRRORS + i] & ~MASK(s, e)
		}
		i = 0
	}
}

#ifdef AFTER_REFUSED
#define REFUSED		false
#else
#define REFUSED		refused
#endif
#ifdef AFTER_DEAD
#define DEAD		false
#else
#define DEAD		dead
#endif

#ifdef WALKS
/* What is done under the lock before it is dropped for good, or for invalidate_end() */
inline end_locked(s, e, slot)
{
	untell(s, e);
	after = nr_after && !REFUSED && !DEAD;		/* step end-after */
	if
#ifndef AFTER_UNLISTED
	:: after -> hmm_dispatch_begin(COVERED)		/* step end-begin */
#endif
	:: else
	fi;
	hmm_active_del(slot)
}

/* hmm_invalidate_cancel(), if it was refused */
inline hmm_invalidate_end(s, e, slot)
{
	atomic {					/* step end-lock */
		if
		:: !slot -> untell(s, e)		/* step end-tracked */
		:: slot && nr_sync && !REFUSED && !DEAD -> /* step end-sync */
			live();
			sync = 1;
#ifndef SYNC_UNLISTED
			hmm_dispatch_begin(COVERED)	/* step sync-begin */
#endif
		:: else ->
			live();
			end_locked(s, e, slot)
		fi
	};
	if
	:: sync ->
		hmm_after(s, e, true);			/* step sync-dispatch */
#ifndef SYNC_UNLISTED
		hmm_dispatch_end(COVERED);		/* step sync-over */
#endif
		atomic {
			live();
			sync = 0;
			end_locked(s, e, slot)
		}
	:: else
	fi;
	if
	:: after ->
		hmm_after(s, e, false);			/* step end-dispatch */
#ifndef AFTER_UNLISTED
		hmm_dispatch_end(COVERED);		/* step end-over */
#endif
		after = 0
	:: else
	fi;
	slot = 0					/* step end-untracked */
}

#else
/* The same with the one mirror, which may have the 2017 callback, and with those who wait */
inline hmm_invalidate_end(s, e, slot)
{
#ifdef DISPATCH_AT_END
	hmm_invalidate(s, e, slot);
#endif
#ifdef WAKE_FIRST
	d_step {
		over_start = s;
		over_end = e
	};
	wake_up();
#endif
#ifdef AFTERS
#ifndef SYNC_LATE
	if
	:: !refused -> hmm_after(s, e)
	:: else
	fi;
#endif
#endif
#ifdef LOOK_FIRST
	look_first(s, e);
#endif
	atomic {
		untell(s, e);
#ifdef LOOK_FIRST
		hmm_active_del(slot)
#else
		del_and_look(s, e, slot)
#endif
	}
#ifndef WAKE_NOBODY
#ifndef WAKE_FIRST
	;
	if
	:: wake -> wake_up()				/* step wake */
	:: else
	fi
#endif
#endif
#ifdef AFTERS
#ifdef SYNC_LATE
	;
	if
	:: !refused -> hmm_after(s, e)
	:: else
	fi
#endif
#endif
	;
	slot = 0
}
#endif

#ifdef WALKS
inline hmm_release()
{
#ifdef RELEASE_FIRST
	call_release();
#endif
	atomic {					/* step release-lock */
		live();
		dead = 1;				/* step dead */
		if
		:: !tracking -> assert(head == NIL)	/* step release-look */
		:: else ->
			slot = COVERED;
#ifndef RELEASE_UNLISTED
			hmm_dispatch_begin(COVERED);	/* step release-begin */
#endif
#ifndef RELEASE_UNMARKED
			hmm_mark_collided(0, NPAGES)	/* step release-mark */
#endif
		fi
	};
	if
	:: slot -> hmm_release_tracked()
	:: else
	fi;
	slot = 0
}

inline hmm_release_tracked()
{
	do
	:: more -> atomic { live(); hmm_mark_collided(0, NPAGES) }
	:: else -> break
	od;
#ifndef RELEASE_SILENT
	hmm_release_invalidate(0, NPAGES);		/* step release-dispatch */
#endif
	atomic {					/* step untrack-lock */
#ifndef RELEASE_TRACKED
		tracking = 0;				/* step untrack */
#endif
		hmm_take_snapshot(OF_EXIT)		/* step release-snapshot */
	};
#ifndef RELEASE_UNWAITED
	hmm_wait_for_callbacks(OF_EXIT, TASK_BIT);	/* step release-wait */
#endif
#ifndef RELEASE_FIRST
	call_release();
#endif
	hmm_dispatch_end(COVERED)			/* step release-over */
}

/* As hmm_invalidate(), but these callbacks go on until those of release are over */
inline hmm_release_invalidate(s, e)
{
	m = head;
	do
	:: m == NIL -> break
	:: else ->
		assert(m != POISON && alive[m]);
		invalidate_start(s, e);
#ifdef DMA
		if
		:: !fence -> hmm_dma_invalidate(m, s, e)
		:: else
		fi;
#endif
		if
		:: fence ->
			if
			:: nr == NR_FLUSHES -> hmm_finish(s, e)
			:: else
			fi;
			flushes[nr] = m;
			nr++;
			fence = 0
		:: else
		fi;
		m = next[m]
	od;
	hmm_finish(s, e);
	m = 0
}

inline call_release()
{
	m = head;
	do
	:: m == NIL -> break
	:: else ->
		assert(m != POISON && alive[m] && !released[m] && !device[m]);
		released[m] = 1;			/* step release */
		m = next[m]
	od;
	m = 0
}

/* To be used in a d_step */
inline hmm_add_mirror(n)
{
	live();
	if
	:: tracking ->					/* step list-look */
		next[n] = head;
		head = n;				/* step list-add */
		nr_sync = nr_sync + SLEEPS(n);		/* step list-sync */
		nr_after = nr_after + AFTER(n);		/* step list-after */
		alive[n] = 1;
		registered[n] = 1
	:: else
	fi
}

inline hmm_mirror_unregister(n)
{
#ifdef DROP_FIRST
	hmm_detach();
#endif
#if defined(DMA) && !defined(DMA_DROP_LATE)
	if
	:: leaves -> hmm_dma_drop(n)			/* step dma-drop */
	:: else
	fi;
#endif
#ifdef SNAPSHOT_FIRST
	d_step { live(); hmm_take_snapshot(n) };
#endif
	atomic {					/* step unlist-lock */
		live();
		registered[n] = 0;
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
		next[n] = POISON;
#endif
		nr_sync = nr_sync - SLEEPS(n);		/* step unlist-sync */
		nr_after = nr_after - AFTER(n);		/* step unlist-after */
		assert(head != NIL || (!nr_sync && !nr_after));
		if
		:: head == NIL -> tracking = 0		/* step untrack-last */
		:: true			/* others, or it went on often enough */
		fi;
#ifndef SNAPSHOT_FIRST
		hmm_take_snapshot(n)			/* step unlist-snapshot */
#endif
	};
#ifdef WAIT_FOR_ENDS
	!used && !nr_covered;
#endif
#ifdef NO_DRAIN
	d_step { snap[n].slots = 0; snap[n].listed = 0 };
#else
	hmm_wait_for_callbacks(n, 0);			/* step unlist-wait */
#endif
#ifdef DMA_DROP_LATE
	if
	:: leaves -> hmm_dma_drop(n)
	:: else
	fi;
#endif
	d_step {
		alive[n] = 0;
		next[n] = NIL
	}
#ifndef DROP_FIRST
#ifndef NO_GRAB
	;
	hmm_detach()
#endif
#endif
}
#endif

/* Nothing protects range->hmm and its start but that one task uses a range */
inline hmm_mirror_range_begin(r)
{
	d_step {					/* step begin-lock */
		live();
		if
		:: dead -> ret = ESRCH			/* step begin-dead */
		:: else ->
			range[r].read = 0;		/* step begin-unread */
			hmm_active_overlaps(r);		/* step begin-look */
#ifdef BEGIN_UNLOOKED
			idle = 1;
#endif
			if
			:: !idle -> hmm_range_disarm(r)	/* step begin-collide */
			:: else -> hmm_range_arm(r)	/* step begin-arm */
			fi;
#ifdef JOIN_LATE
			range[r].armed = 0;
#endif
			idle = 0;
			ret = 0
		fi
	}
#ifdef JOIN_LATE
	;
	range[r].armed = (ret == 0 && range[r].valid)
#endif
}

inline hmm_range_try_arm(r)
{
	d_step {					/* step arm-lock */
		live();
		hmm_active_overlaps(r);	/* step arm-look */
#ifdef ARM_ANYWAY
		idle = 1;
#endif
#ifndef ARM_UNLOCKED
		if
#ifdef ARM_APART
		:: idle -> range[r].valid = 1
#else
		:: idle -> hmm_range_arm(r)		/* step arm */
#endif
		:: else
		fi
#endif
	}
#ifdef ARM_UNLOCKED
	;
	d_step {
		if
		:: idle -> hmm_range_arm(r)
		:: else
		fi
	}
#endif
}

#ifdef WAITS
/* A signal that ends the wait is as good as a timeout here */
inline hmm_range_wait(r)
{
	hmm_range_try_arm(r);				/* step wait-first */
	ret = 0;
	do
	:: idle -> break
	:: !idle ->
#ifdef QUEUE_LATE
		hmm_range_try_arm(r);
#endif
		d_step {				/* step queue */
			range[r].queued = 1;
			range[r].asleep = 1
		};
#ifndef QUEUE_LATE
		hmm_range_try_arm(r);			/* step wait */
#endif
		if
		:: idle -> break
		:: !idle && TIME_OVER(r) ->
			ret = EBUSY;			/* step time-over */
			break
		:: !idle && TIME_LEFT(r)
		fi;
		/* Until it is woken, or the time is over */
		if					/* step sleep */
		:: !range[r].asleep
		:: TIME_OVER(r)
		fi
	od;
	atomic {					/* step unqueue */
		range[r].queued = 0;
		range[r].asleep = 0;
		idle = 0
	}
}
#else
/* Without the waitqueue: tries at any time, and gives up at any time */
inline hmm_range_wait(r)
{
	do
	:: hmm_range_try_arm(r);
	   if
	   :: idle ->
		idle = 0;
		ret = 0;
		break
	   :: else
	   fi
	:: ret = EBUSY;
	   break
	od
}
#endif

/* hmm_range_fault(): looks at the sequence first, reads page by page */
inline hmm_range_fault(r)
{
	if
	:: !range[r].valid -> ret = EBUSY		/* step read-early */
	:: range[r].valid ->
		ret = 0;
#ifdef READS_PAGES
		for (page : range[r].start .. range[r].end - 1) {
			d_step {			/* step read */
				assert(!freed);
				range[r].got = range[r].got | MASK(page, page + 1);
				range[r].stale = range[r].stale & ~MASK(page, page + 1)
			}
		}
		page = 0
#endif
#if FAILS
	:: range[r].valid -> ret = EFAULT
#endif
	fi
}

inline hmm_mirror_range_fault(r)
{
#ifdef READS_PAGES
	d_step {
		range[r].read = 0;			/* step fault-unread */
		range[r].got = 0;
		range[r].stale = 0
	};
#endif
	mmget_not_zero();				/* step mmget */
	do
	:: ret -> break
	:: else ->
		if
		:: range[r].valid			/* step fault-valid */
		:: else -> hmm_range_wait(r)		/* step fault-wait */
		fi;
		if
		:: ret -> break
		:: else
		fi;
		hmm_range_fault(r);			/* step fault-read */
		if
		:: ret != EBUSY -> break
		:: ret == EBUSY && RETRY_OVER(r) -> break
		:: ret == EBUSY && RETRY_LEFT(r) -> ret = 0	/* step fault-again */
		fi
	od;
#ifdef READS_PAGES
#ifdef READ_ANYHOW
	range[r].read = 1;
#else
	range[r].read = (ret == 0);			/* step fault-done */
#endif
#endif
	mmput()						/* step mmput */
}

/* hmm_mirror_range_valid() */
#ifdef VALID_UNREAD
#define VALID(r)	range[r].valid
#else
#define VALID(r)	(range[r].read && range[r].valid) /* step valid-read */
#endif

inline hmm_mirror_range_end(r)
{
	d_step {					/* step leave-lock */
		live();
		range[r].armed = 0;			/* step leave */
#ifndef READS_PAGES
		range[r].valid = 0;
#endif
		range[r].read = 0;			/* step leave-unread */
		range[r].start = 0;
		range[r].end = 0;
		range[r].got = 0;
		range[r].stale = 0;
		range[r].expired = 0
	}
}

/* What the driver does with what it has read.  Sets ok */
inline commit(r, d)
{
#ifdef CHECK_UNLOCKED
	ok = VALID(r);
	atomic { !driver_lock[d] -> driver_lock[d] = 1 };
#else
	atomic {
		!driver_lock[d];			/* step commit-lock */
		driver_lock[d] = 1;
		ok = VALID(r)				/* step valid */
	};
#endif
#ifdef DMA
	if
	:: DMA_OK -> hmm_mirror_range_dma_map(r, d)
	:: else
	fi;
#endif
#ifdef WRITE_UNLOCKED
	driver_lock[d] = 0;
#endif
	d_step {
		if
		:: ok ->
			assert(range[r].got == MASK(range[r].start, range[r].end));
			assert(!range[r].stale);
			for (j : 0 .. NR_TASKS - 1) {
				assert(!(told[j * NR_MIRRORS + d] &
					 MASK(range[r].start, range[r].end)))
			}
			j = 0;
			/* What was committed before, and is valid, is still there */
			assert(first || !(MASK(range[r].start, range[r].end) & ~device[d]));
			device[d] = device[d] | MASK(range[r].start, range[r].end);
#ifdef DMA
			/* hmm_mirror_dma_for_each_run() */
			assert(!(MASK(range[r].start, range[r].end) & ~ours));
			entry_writes = entry_writes |
				(ours_writes & MASK(range[r].start, range[r].end));
#endif
#ifdef NO_ENTRY_NO_FENCE
			entries[d] = device[d];
#endif
		:: else
		fi;
		driver_lock[d] = 0
	}
}
