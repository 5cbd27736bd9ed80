/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The corpus: programs that have reached something new.
 */
#ifndef HMM_FUZZ_CORPUS_H
#define HMM_FUZZ_CORPUS_H

#include "program.h"

void corpus_init(void);
void corpus_add(const struct program *program);
/* A program to run, new or made from what is there. */
void corpus_next(struct program *program, __u64 *seed);

#endif /* HMM_FUZZ_CORPUS_H */
