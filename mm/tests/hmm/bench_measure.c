// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Measures the sides of a row, and prints what came out.
 */
#include <kunit/test.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/preempt.h>
#include <linux/sort.h>

#include "bench.h"

static int hmm_bench_compare(const void *a, const void *b)
{
	return cmp_int(*(const u64 *)a, *(const u64 *)b);
}

/* Returns what one of @n takes, in picoseconds */
static u64 hmm_bench_time(const struct hmm_bench_side *side, unsigned long n,
			  bool atomic)
{
	u64 t;

	if (atomic)
		preempt_disable();
	t = ktime_get_ns();
	side->op(side->dev, n);
	t = ktime_get_ns() - t;
	if (atomic)
		preempt_enable();
	return div64_u64(t * 1000, n);
}

/*
 * Alternately up and down the sides, so that none always comes first.  @atomic is
 * for what does not sleep.
 */
void hmm_bench_measure(struct hmm_bench_side *sides, unsigned int nr,
		       unsigned long n, bool atomic)
{
	struct hmm_bench_side *side;
	unsigned int i;
	int round;
	u64 ps;

	for (round = -HMM_BENCH_WARMUP; round < HMM_BENCH_ROUNDS; round++) {
		for (i = 0; i < nr; i++) {
			struct hmm_bench_side *first =
				&sides[round & 1 ? nr - 1 - i : i];

			if (first->before)
				first->before(first->dev, n);
			for (side = first; side; side = side->then) {
				ps = hmm_bench_time(side, n, atomic);
				if (round >= 0)
					side->ps[round] = ps;
			}
			if (first->after)
				first->after(first->dev, n);
		}
	}
	for (i = 0; i < nr; i++)
		for (side = &sides[i]; side; side = side->then)
			sort(side->ps, HMM_BENCH_ROUNDS, sizeof(side->ps[0]),
			     hmm_bench_compare, NULL);
}

static struct hmm_bench_result hmm_bench_result(const struct hmm_bench_side *side)
{
	return (struct hmm_bench_result){
		.min = side->ps[0],
		.median = side->ps[HMM_BENCH_ROUNDS / 2],
		.max = side->ps[HMM_BENCH_ROUNDS - 1],
	};
}

/* What each of @n more costs, where @more has these and @less has not */
struct hmm_bench_result hmm_bench_slope(const struct hmm_bench_side *more,
					const struct hmm_bench_side *less,
					unsigned int n)
{
	struct hmm_bench_result a = hmm_bench_result(more);
	struct hmm_bench_result b = hmm_bench_result(less);

	return (struct hmm_bench_result){
		.min = div_s64(a.min - b.min, n),
		.median = div_s64(a.median - b.median, n),
		.max = div_s64(a.max - b.max, n),
	};
}

static void hmm_bench_format(char *to, size_t size, s64 ps)
{
	s32 rest;
	s64 ns = div_s64_rem(abs(ps), 1000, &rest);

	scnprintf(to, size, "%s%lld.%03d", ps < 0 ? "-" : "", ns, rest);
}

void hmm_bench_print(struct kunit *test, const char *what, const char *peer,
		     struct hmm_bench_result ours,
		     struct hmm_bench_result theirs, const char *unit)
{
	const s64 ps[] = { ours.min, ours.median, ours.max, theirs.min,
			   theirs.median, theirs.max };
	char text[ARRAY_SIZE(ps)][24];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ps); i++)
		hmm_bench_format(text[i], sizeof(text[i]), ps[i]);
	kunit_info(test, "%s peer=%s ours=%s/%s/%s theirs=%s/%s/%s unit=%s\n",
		   what, peer, text[0], text[1], text[2], text[3], text[4],
		   text[5], unit);
}

void hmm_bench_row(struct kunit *test, const char *what, const char *peer,
		   const struct hmm_bench_side *ours,
		   const struct hmm_bench_side *theirs, const char *unit)
{
	hmm_bench_print(test, what, peer, hmm_bench_result(ours),
			hmm_bench_result(theirs), unit);
	KUNIT_EXPECT_EQ(test, ours->dev->errors, 0);
	KUNIT_EXPECT_EQ(test, theirs->dev->errors, 0);
}

/* One figure, where nothing is repeated */
void hmm_bench_count(struct kunit *test, const char *what, const char *peer,
		     u64 ours, u64 theirs, const char *unit)
{
	kunit_info(test,
		   "%s peer=%s ours=%llu/%llu/%llu theirs=%llu/%llu/%llu unit=%s\n",
		   what, peer, ours, ours, ours, theirs, theirs, theirs, unit);
}
