/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Making programs up, and making others of them.
 */
#ifndef HMM_FUZZ_GENERATE_H
#define HMM_FUZZ_GENERATE_H

#include "program.h"

void generate(struct program *program, __u64 *seed);
void mutate(struct program *program, const struct program *other, __u64 *seed);
/* Changes an argument. */
void mutate_call(struct call *call, __u64 *seed);
/* Takes out @nr calls from @first on. */
void program_cut(struct program *program, unsigned int first, unsigned int nr);

#endif /* HMM_FUZZ_GENERATE_H */
