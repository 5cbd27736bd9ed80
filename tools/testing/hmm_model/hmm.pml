/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mm/hmm.c as a model for spin: one inline for each function that has to do with
 * an invalidation, a device page fault, or the life of a mirror, and in it one
 * step for each line whose order matters.  A comment "step NAME" ties a step to
 * its line, by way of the table in ./steps.  Who calls these functions, and what
 * is claimed, is in fault.pml, wait.pml and life.pml.
 *
 * What is left out, and why nothing is lost:
 *  - The sequence of a range is only ever compared with an earlier value of
 *    itself, so one bit is enough: are they equal?  That makes the number of
 *    invalidations and of faults unlimited.  (It would take a wrap around of an
 *    unsigned long within one fault to tell the difference.)
 *  - A page table is a set of pages.  What a fault has read of a page becomes
 *    stale when the CPU's entry of the page changes: no values are needed.
 *  - What is not used any more is cleared.  The code leaves it as it is.
 *  - What is done under hmm->lock is one step.  Only one access in it is to what is
 *    also accessed without the lock (range->valid, the list of mirrors, or the
 *    waitqueue), so no state in between makes a difference.  And the lock is fair, as
 *    the kernel's are.
 *  - Memory is sequentially consistent here; ./litmus has the rest.
 *
 * Each #ifdef is a mutant, see ./cases.
 */

#define NIL	255
#define POISON	254

#define MASK(start, end)	((1 << (end)) - (1 << (start)))
#define OVERLAPS(s, e, s2, e2)	((s) < (e2) && (s2) < (e))

typedef span {
	byte start;
	byte end
};

typedef mirror_range {
	bit in_flight;		/* on the list of ranges */
	bit valid;		/* its sequence is what it was when it was armed */
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
byte nr_active;
byte nr_covered;
span set[NR_ACTIVE];
span covering;
#ifdef WALKS
byte head = NIL;		/* mirrors */
byte next[NR_MIRRORS] = NIL;
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

/* The invalidation that a task is in */
#ifdef WALKS
#define TASK_LOCALS				\
	byte i, m, nr, start, end;		\
	bit nonblock, fence, found, wake;	\
	byte flushes[NR_FLUSHES]
#else
#define TASK_LOCALS				\
	byte i, m, start, end;			\
	bit fence, found, wake
#endif

/* The fault that a task is in */
#define FAULT_LOCALS				\
	byte j, page;				\
	bit idle, ok, first;			\
	byte ret

/* What functions return: 0, or */
#define EBUSY	1
#define ESRCH	2

inline hmm_active_add(s, e)
{
	d_step {
		if
		:: nr_active < NR_ACTIVE ->		/* step add */
			set[nr_active].start = s;
			set[nr_active].end = e;
			nr_active++
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

inline hmm_active_del(s, e)
{
	d_step {
		found = 0;
#ifdef UNCOVER_FIRST
		if
		:: nr_covered ->
			nr_covered--;
			found = 1
		:: else
		fi;
#endif
		i = 0;
		do
		:: i >= nr_active || found -> break
		:: else ->
			if
			:: set[i].start == s && set[i].end == e ->
				nr_active--;			/* step del */
#ifndef DEL_LAST
				set[i].start = set[nr_active].start;
				set[i].end = set[nr_active].end;
#endif
				set[nr_active].start = 0;
				set[nr_active].end = 0;
				found = 1
			:: else -> i++
			fi
		od;
		i = 0;
		if
		:: !found ->
#ifndef COVER_NOTHING
			assert(nr_covered);		/* the WARN_ON_ONCE() */
#ifndef COVER_FOR_EVER
			nr_covered--			/* step uncover */
#endif
#endif
		:: else
		fi;
		if
		:: !nr_covered ->
			covering.start = 0;
			covering.end = 0
		:: else
		fi;
		found = 0
	}
}

/* Sets idle.  To be used in a d_step */
inline hmm_active_overlaps(r)
{
	idle = 1;
	j = 0;
	do
	:: j >= nr_active -> break
	:: else ->						/* step look */
		idle = idle && !OVERLAPS(range[r].start, range[r].end,
					 set[j].start, set[j].end);
		j++
	od;
	j = 0;
#ifndef COVERED_UNSEEN
	idle = idle && !(nr_covered &&				/* step look-covered */
			 OVERLAPS(range[r].start, range[r].end,
				  covering.start, covering.end))
#endif
}

inline hmm_mark_collided(s, e)
{
	d_step {
		i = 0;
		do
#ifdef MARK_NOTHING
		:: true -> break
#endif
		:: i == NR_RANGES -> break
		:: else ->
			if
			:: range[i].in_flight &&
			   OVERLAPS(s, e, range[i].start, range[i].end) ->
				range[i].valid = 0;		/* step mark */
#ifdef MARK_FIRST_ONLY
				break
#endif
			:: else
			fi;
			i++
		od;
		i = 0
	}
}

/* The device's use ends when it has flushed its TLB */
inline invalidate_finish(n, s, e)
{
	d_step {
		assert(alive[n]);
		device[n] = device[n] & ~MASK(s, e);
		told[TASK * NR_MIRRORS + n] = told[TASK * NR_MIRRORS + n] | MASK(s, e)
	}
}

/* All of the driver's callback, or the first pass of two.  Sets fence */
inline invalidate_start(s, e)
{
	atomic {
		!driver_lock[m];			/* step callback-lock */
		assert(alive[m]);
		if
#ifdef NO_ENTRY_NO_FENCE
		:: TWO_PASS(m) ->
			fence = (entries[m] & MASK(s, e)) != 0;
			entries[m] = entries[m] & ~MASK(s, e)
#else
		:: TWO_PASS(m) -> fence = (device[m] & MASK(s, e)) != 0
#endif
		:: else
		fi;
#ifdef NO_ENTRY_NO_FENCE
		if
		:: !TWO_PASS(m) -> invalidate_finish(m, s, e)
		:: else
		fi
#else
		if
		:: !fence -> invalidate_finish(m, s, e)
		:: else
		fi
#endif
	}
}

#ifdef WALKS
inline hmm_finish(s, e)
{
	do
	:: nr ->
		nr--;
		invalidate_finish(flushes[nr], s, e);	/* step finish */
		flushes[nr] = 0
	:: else -> break
	od
}

/* hmm_mirror_invalidate(), hmm_invalidate() and hmm_invalidate_two_pass() */
inline hmm_invalidate(s, e)
{
	m = head;					/* step walk */
	do
	:: m == NIL -> break
	:: else ->
		assert(m != POISON && alive[m]);
		fence = 0;
		if
		:: nonblock && !ATOMIC(m)		/* step leave-out */
		:: else ->
			invalidate_start(s, e)		/* step dispatch */
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
	hmm_finish(s, e);				/* step finish-all */
	m = 0
}

#else
/* One mirror, that is there all the time */
#define hmm_invalidate(s, e)	invalidate_start(s, e)
#endif

inline hmm_invalidate_range_start(s, e)
{
#ifdef DISPATCH_FIRST
	hmm_invalidate(s, e);
#endif
#ifdef MARK_BEFORE_ADD
	atomic { hmm_mark_collided(s, e) };
#endif
	atomic {					/* step start-lock */
#ifndef ADD_LATE
		hmm_active_add(s, e);			/* step start-add */
#endif
#ifndef MARK_LATE
#ifndef MARK_BEFORE_ADD
		hmm_mark_collided(s, e);		/* step start-mark */
#endif
#endif
		skip
	}
#ifndef DISPATCH_AT_END
#ifndef DISPATCH_FIRST
	;
	hmm_invalidate(s, e)				/* step start-dispatch */
#endif
#endif
#ifdef MARK_LATE
	;
	atomic { hmm_mark_collided(s, e) }
#endif
#ifdef ADD_LATE
	;
	atomic { hmm_active_add(s, e) }
#endif
}

#ifdef WAITS
inline wake_up_all()
{
	d_step {
		i = 0;
		do
		:: i == NR_RANGES -> break
		:: else ->
			if
			:: range[i].queued ->
				range[i].queued = 0;
				range[i].asleep = 0
			:: else
			fi;
			i++
		od;
		i = 0;
		wake = 0
	}
}

inline waitqueue_active()
{
	d_step {
		wake = 0;
		for (i : 0 .. NR_RANGES - 1) {
			wake = wake || range[i].queued
		}
		i = 0
	}
}

#else
#define wake_up_all()		wake = 0
#define waitqueue_active()	skip
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

inline hmm_invalidate_range_end(s, e)
{
#ifdef DISPATCH_AT_END
	hmm_invalidate(s, e);
#endif
#ifdef WAKE_FIRST
	wake_up_all();
#endif
#ifdef LOOK_FIRST
	waitqueue_active();
#endif
	atomic {					/* step end-lock */
		untell(s, e);
		hmm_active_del(s, e);			/* step end-del */
#ifndef LOOK_FIRST
		waitqueue_active()			/* step end-look */
#endif
	}
#ifndef WAKE_NOBODY
#ifndef WAKE_FIRST
	;
	if
	:: wake -> wake_up_all()			/* step wake */
	:: else
	fi
#endif
#endif
}

#ifdef WALKS
inline hmm_release()
{
#ifdef RELEASE_FIRST
	call_release();
#endif
	atomic {					/* step release-lock */
		dead = 1;				/* step dead */
#ifndef RELEASE_UNMARKED
		hmm_mark_collided(0, NPAGES)		/* step release-mark */
#endif
	};
#ifndef RELEASE_SILENT
	hmm_invalidate(0, NPAGES);			/* step release-dispatch */
#endif
#ifndef RELEASE_FIRST
	call_release()
#endif
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
#endif

/* Nothing protects range->hmm and its start but that one task uses a range */
inline hmm_mirror_range_begin(r)
{
	d_step {					/* step begin-lock */
		if
		:: dead -> ret = ESRCH			/* step begin-dead */
		:: else ->
#ifndef JOIN_LATE
			range[r].in_flight = 1;		/* step join */
#endif
			range[r].valid = 1;		/* step begin-note */
			hmm_active_overlaps(r);
#ifndef BEGIN_UNLOOKED
			if
			:: !idle -> range[r].valid = 0	/* step begin-collide */
			:: else
			fi;
#endif
			idle = 0;
			ret = 0
		fi
	}
#ifdef JOIN_LATE
	;
	range[r].in_flight = (ret == 0)
#endif
}

inline hmm_range_try_arm(r)
{
	d_step {					/* step arm-lock */
		hmm_active_overlaps(r);	/* step arm-look */
#ifdef ARM_ANYWAY
		idle = 1;
#endif
#ifndef ARM_UNLOCKED
		if
		:: idle -> range[r].valid = 1		/* step arm-note */
		:: else
		fi
#endif
	}
#ifdef ARM_UNLOCKED
	;
	range[r].valid = range[r].valid || idle
#endif
}

#ifdef WAITS
/*
 * With what wait_event_killable_timeout() does.  A signal that ends the wait is as
 * good as a timeout here.
 */
inline hmm_range_arm(r)
{
	hmm_range_try_arm(r);
	ret = 0;
	do
	:: idle -> break
	:: !idle && TIME_OVER(r) ->
		ret = EBUSY;				/* step time-over */
		break
	:: !idle && TIME_LEFT(r) ->
		d_step {				/* step queue */
			range[r].queued = 1;
			range[r].asleep = 1
		};
#ifndef QUEUE_LATE
		hmm_range_try_arm(r);			/* step wait */
#endif
		if
		:: !idle ->
			/* schedule(), until it is woken or the time is over */
			if
			:: !range[r].asleep
			:: TIME_OVER(r)
			fi;
			hmm_range_try_arm(r)
		:: else
		fi;
		d_step {				/* finish_wait() */
			range[r].queued = 0;
			range[r].asleep = 0
		}
	od;
	idle = 0
}
#else
/* Without the waitqueue: tries at any time, and gives up at any time */
inline hmm_range_arm(r)
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
	fi
}

inline hmm_mirror_range_fault(r)
{
	mmget_not_zero();				/* step mmget */
	do
	:: ret -> break
	:: else ->
		if
		:: range[r].valid			/* step fault-valid */
		:: else -> hmm_range_arm(r)		/* step fault-arm */
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
	mmput()						/* step mmput */
}

inline hmm_mirror_range_end(r)
{
	d_step {					/* step leave-lock */
		range[r].in_flight = 0;			/* step leave */
		range[r].valid = 0;
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
	ok = range[r].valid;
	atomic { !driver_lock[d] -> driver_lock[d] = 1 };
#else
	atomic {
		!driver_lock[d];			/* step commit-lock */
		driver_lock[d] = 1;
		ok = range[r].valid			/* step valid */
	};
#endif
#ifdef WRITE_UNLOCKED
	driver_lock[d] = 0;
#endif
	d_step {
		if
		:: ok ->
			assert(!range[r].stale);
			for (j : 0 .. NR_TASKS - 1) {
				assert(!(told[j * NR_MIRRORS + d] &
					 MASK(range[r].start, range[r].end)))
			}
			j = 0;
			/* What was committed before, and is valid, is still there */
			assert(first || !(MASK(range[r].start, range[r].end) & ~device[d]));
			device[d] = device[d] | MASK(range[r].start, range[r].end);
#ifdef NO_ENTRY_NO_FENCE
			entries[d] = device[d];
#endif
		:: else
		fi;
		driver_lock[d] = 0
	}
}
