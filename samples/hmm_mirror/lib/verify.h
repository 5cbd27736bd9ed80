/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The oracle: is the device's page table in step with the CPU's?
 *
 * The device's page table comes from the driver under test (DUMP); what it must
 * agree with comes from /proc/PID/maps and /proc/PID/pagemap only, which the
 * kernel writes and the driver has no hand in.
 */
#ifndef HMM_MIRROR_VERIFY_H
#define HMM_MIRROR_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "device.h"

struct verify {
	__u64 entries;		/* that were compared */
	__u64 stale;		/* of those, stale beyond doubt */
};

/*
 * Compares every entry of the context @fd, which is bound to the address space
 * of @pid, and adds to @verify. Each stale entry is reported to @report, unless
 * that is NULL. Returns a negative errno value when it could not compare;
 * -EPERM means that pagemap hides the frames: CAP_SYS_ADMIN is needed.
 *
 * Nobody may fill entries in through @fd meanwhile, see verify.c. The process
 * may run, though a stopped one is a better witness.
 */
int verify_context(int fd, pid_t pid, struct verify *verify, FILE *report);

/*
 * Shows that it can fail: compares made-up entries that are right, and some that
 * are wrong in each way there is. Returns how many it got wrong.
 */
int verify_self_test(FILE *report);

#endif /* HMM_MIRROR_VERIFY_H */
