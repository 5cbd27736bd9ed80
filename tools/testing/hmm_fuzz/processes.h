/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Processes to be bound, and not to be, and what else programs find open.
 */
#ifndef HMM_FUZZ_PROCESSES_H
#define HMM_FUZZ_PROCESSES_H

#include "program.h"

#define SETUID_SLEEP	"/tmp/hmm-fuzz-setuid"	/* of root: sleep(1) */

extern int fixed_fd[SLOT_NR];		/* from FIRST_FIXED on, for every worker */

void processes_make(void);
void processes_end(void);

#endif /* HMM_FUZZ_PROCESSES_H */
