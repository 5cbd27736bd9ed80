/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pictures as lines of text, one for each.
 */
#ifndef HMM_MIRROR_PICTURE_LINE_H
#define HMM_MIRROR_PICTURE_LINE_H

#include <stdbool.h>
#include <stdio.h>

#include "picture.h"

/*
 * Prints a line about the device's side, unless nothing has changed since @shown,
 * which it sets. Returns 0 or a negative errno value.
 */
int picture_print(FILE *out, struct sample *sample, struct hmm_mirror_stats *shown,
		  bool color);
/* Says what a line means; @new: whether it tells what was just faulted in. */
void picture_legend(FILE *out, bool new, bool color);

#endif /* HMM_MIRROR_PICTURE_LINE_H */
