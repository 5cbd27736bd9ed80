/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What of the kernel a thread has reached; the thread is that of the caller.
 */
#ifndef HMM_FUZZ_COVER_H
#define HMM_FUZZ_COVER_H

#include <stdbool.h>

struct cover;
struct cover *cover_open(void);
bool cover_enable(struct cover *cover);
void cover_begin(struct cover *cover);
/* Says if what was reached since then is new. */
bool cover_end(struct cover *cover);

#endif /* HMM_FUZZ_COVER_H */
