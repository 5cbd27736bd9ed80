/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the litmus tests use of the kernel, for cbmc --mm pso.
 *
 * Locks order no more than the kernel promises: what comes before a lock may happen
 * after it is taken, and what comes after an unlock may happen before.
 */
#define READ_ONCE(x)		(x)
#define WRITE_ONCE(x, v)	((x) = (v))
#define spinlock_t		int

static inline void order_all(void)
{
	__CPROVER_fence("WWfence", "WRfence", "RRfence", "RWfence");
}

/* Loads stay in order under pso as it is */
static inline int smp_load_acquire(const int *p)
{
	return *p;
}

/* What comes before it stays before it */
static inline void smp_store_release(int *p, int v)
{
	__CPROVER_fence("WWfence", "RWfence");
	*p = v;
}

static inline void spin_lock(spinlock_t *lock)
{
	__CPROVER_atomic_begin();
	__CPROVER_assume(!*lock);
	*lock = 1;
	__CPROVER_atomic_end();
	__CPROVER_fence("RRfence", "RWfence");
}

static inline void spin_unlock(spinlock_t *lock)
{
	/* What was done under the lock is seen by who takes it next */
	smp_store_release(lock, 0);
}
