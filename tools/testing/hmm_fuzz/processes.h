/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Processes to be bound, and not to be, and what else programs find open.
 */
#ifndef HMM_FUZZ_PROCESSES_H
#define HMM_FUZZ_PROCESSES_H

#include "program.h"

extern int fixed_fd[SLOT_NR];		/* from FIRST_FIXED on, for every worker */
extern char setuid_program[];

void processes_make(void);
void processes_end(void);
/* What the set-uid program does: nothing, as long as there is somebody who wants it. */
int sleep_as_child(void);

#endif /* HMM_FUZZ_PROCESSES_H */
