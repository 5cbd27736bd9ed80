// SPDX-License-Identifier: GPL-2.0-or-later
/* The benchmark of HMM mirroring: the suite. */
#include <kunit/test.h>

#include "bench.h"

static struct kunit_case hmm_bench_cases[] = {
	KUNIT_CASE_SLOW(hmm_bench_inval_one),
	KUNIT_CASE_SLOW(hmm_bench_inval_atomic),
	KUNIT_CASE_SLOW(hmm_bench_inval_floor),
	KUNIT_CASE_SLOW(hmm_bench_inval_10k),
	KUNIT_CASE_SLOW(hmm_bench_mirrors_slope),
	KUNIT_CASE_SLOW(hmm_bench_map_rows),
	KUNIT_CASE_SLOW(hmm_bench_map_thp),
	KUNIT_CASE_SLOW(hmm_bench_map_1_persistent),
	KUNIT_CASE_SLOW(hmm_bench_beside_storm),
	KUNIT_CASE_SLOW(hmm_bench_exit_beside),
	KUNIT_CASE_SLOW(hmm_bench_rust),
	KUNIT_CASE_SLOW(hmm_bench_registration),
	KUNIT_CASE_SLOW(hmm_bench_two_pass_8),
	KUNIT_CASE_SLOW(hmm_bench_curve_mirrors),
	KUNIT_CASE_SLOW(hmm_bench_curve_mapped),
	KUNIT_CASE_SLOW(hmm_bench_curve_in_flight),
	KUNIT_CASE_SLOW(hmm_bench_curve_active),
	KUNIT_CASE_SLOW(hmm_bench_curve_pages),
	{}
};

static struct kunit_suite hmm_bench_suite = {
	.name = "hmm_bench",
	.test_cases = hmm_bench_cases,
};

kunit_test_suite(hmm_bench_suite);
