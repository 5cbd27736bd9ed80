/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What was done, and what came of it.
 */
#ifndef HMM_FUZZ_REPORT_H
#define HMM_FUZZ_REPORT_H

void report_progress(const char *state, long long milliseconds);
void report_calls(void);
/* The name of a call that has never succeeded, or NULL */
const char *report_useless(void);

#endif /* HMM_FUZZ_REPORT_H */
