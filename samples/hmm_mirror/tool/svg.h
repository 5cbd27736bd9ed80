/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Draws what was recorded of address spaces, over time, as an SVG.
 */
#ifndef HMM_MIRROR_SVG_H
#define HMM_MIRROR_SVG_H

#include <stdio.h>

#include "picture.h"

/* All that was seen of one address space. */
struct history {
	pid_t pid;
	unsigned int space;
	struct sample *sample;	/* in the order of time; without maps and CPU */
	size_t nr;
	size_t capacity;
	struct maps seen;	/* every mapping there ever was */
	double end;		/* when it died, or was seen last */
};

/*
 * Draws the histories, one below the other, and sorts them to that end; none of
 * them is empty. @heat: not what the device has, but how much of it is taken out.
 * Returns 0 or -ENOMEM.
 */
int svg_draw(FILE *out, const char *title, struct history *history, size_t nr,
	     bool heat);

#endif /* HMM_MIRROR_SVG_H */
