/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Programs and errors as text.
 */
#ifndef HMM_FUZZ_TEXT_H
#define HMM_FUZZ_TEXT_H

#include <stdio.h>

#include "program.h"

void program_print(FILE *file, const struct program *program);
/* Returns 0, or the number of the line that is wrong. */
int program_read(FILE *file, struct program *program);
const char *errno_name(int error);

#endif /* HMM_FUZZ_TEXT_H */
