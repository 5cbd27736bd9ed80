/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Workers, which execute programs.
 */
#ifndef HMM_FUZZ_EXECUTE_H
#define HMM_FUZZ_EXECUTE_H

#include "shared.h"

/* Makes the caller a worker; it ends when the round does, or @only has run. */
void work(struct worker *worker, const struct program *only);

#endif /* HMM_FUZZ_EXECUTE_H */
