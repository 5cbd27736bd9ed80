// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * KUnit tests of HMM mirroring: the suite.
 */
#include <linux/module.h>

#include "kunit.h"

static struct kunit_case hmm_test_cases[] = {
	KUNIT_CASE(hmm_register_bad_arguments),
	KUNIT_CASE(hmm_register_twice),
	KUNIT_CASE(hmm_register_not_zeroed),
	KUNIT_CASE(hmm_begin_bad_arguments),
	KUNIT_CASE(hmm_begin_twice),
	KUNIT_CASE(hmm_range_not_in_flight),
	KUNIT_CASE(hmm_register_interrupted),
	KUNIT_CASE(hmm_register_out_of_memory),
	KUNIT_CASE(hmm_one_hmm_per_mm),
	KUNIT_CASE(hmm_several_mirrors),
	KUNIT_CASE(hmm_late_mirror_waits),
	KUNIT_CASE(hmm_unregister_waits_for_callback),
	KUNIT_CASE(hmm_unregister_during_exit),
	KUNIT_CASE(hmm_unregister_with_range),
	KUNIT_CASE(hmm_unregister_with_fault),
	KUNIT_CASE(hmm_exit_invalidates_then_releases),
	KUNIT_CASE(hmm_fault_after_exit),
	KUNIT_CASE(hmm_fault_outlives_process),
	KUNIT_CASE(hmm_update_contents),
	KUNIT_CASE(hmm_called_before_page_goes),
	KUNIT_CASE(hmm_collision_is_precise),
	KUNIT_CASE(hmm_marked_before_callback),
	KUNIT_CASE(hmm_overlapping_ranges),
	KUNIT_CASE(hmm_nested_invalidations),
	KUNIT_CASE(hmm_many_invalidations_at_once),
	KUNIT_CASE(hmm_nonblock_atomic_mirror),
	KUNIT_CASE(hmm_nonblock_mixed_mirrors),
	KUNIT_CASE(hmm_two_pass_order),
	KUNIT_CASE(hmm_two_pass_many),
	KUNIT_CASE(hmm_two_pass_list_changes),
	KUNIT_CASE(hmm_two_pass_exit),
	KUNIT_CASE(hmm_two_pass_nonblock),
	KUNIT_CASE(hmm_fault_reads_right_pages),
	KUNIT_CASE(hmm_fault_reads_what_is_asked),
	KUNIT_CASE(hmm_fault_errors),
	KUNIT_CASE(hmm_valid_only_if_read),
	KUNIT_CASE(hmm_fault_drops_lock),
	KUNIT_CASE(hmm_fault_collides_for_ever),
	KUNIT_CASE(hmm_fault_reaped),
	KUNIT_CASE(hmm_fault_per_page_flags),
	KUNIT_CASE(hmm_fault_invalidates_itself),
	KUNIT_CASE(hmm_fault_waits_for_invalidation),
	KUNIT_CASE(hmm_fault_times_out),
	KUNIT_CASE(hmm_fault_killed),
	KUNIT_CASE(hmm_unrelated_does_not_wait),
	KUNIT_CASE(hmm_range_begun_again),
	KUNIT_CASE(hmm_tracepoints),
	KUNIT_CASE(hmm_stress),
	{}
};

static struct kunit_suite hmm_test_suite = {
	.name = "hmm_mirror",
	.test_cases = hmm_test_cases,
};

kunit_test_suite(hmm_test_suite);

MODULE_DESCRIPTION("KUnit tests of HMM mirroring");
MODULE_LICENSE("GPL");
