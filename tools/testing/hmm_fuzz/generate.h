/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Programs to run, and the corpus: programs that have reached something new.
 */
#ifndef HMM_FUZZ_GENERATE_H
#define HMM_FUZZ_GENERATE_H

#include "program.h"

void corpus_init(void);
void corpus_add(const struct program *program);
/* A program to run, new or made from what is in the corpus. */
void corpus_next(struct program *program, __u64 *seed);
/* Changes an argument. */
void mutate_call(struct call *call, __u64 *seed);
/* Takes out @nr calls from @first on. */
void program_cut(struct program *program, unsigned int first, unsigned int nr);

#endif /* HMM_FUZZ_GENERATE_H */
