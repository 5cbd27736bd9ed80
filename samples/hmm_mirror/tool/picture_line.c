// SPDX-License-Identifier: GPL-2.0
/*
 * Pictures as lines of text, one for each.
 */
#include <errno.h>
#include <stdlib.h>

#include "layout.h"
#include "picture_line.h"

#define LINE_CELLS	72	/* about */

static void cell_print(FILE *out, enum shade shade, bool color)
{
	if (color)
		fprintf(out, "\033[%sm%c\033[0m", shade_ansi(shade),
			shade_letter(shade));
	else
		fputc(shade_letter(shade), out);
}

static void picture_line(FILE *out, const struct layout *layout,
			 const enum shade *cell, bool color)
{
	size_t i, j;

	for (i = 0; i < layout->nr; i++) {
		fputc('|', out);
		for (j = 0; j < layout->region[i].cells; j++)
			cell_print(out, cell[layout->region[i].first + j], color);
	}
	fputc('|', out);
}

int picture_print(FILE *out, struct sample *sample, struct hmm_mirror_stats *shown,
		  bool color)
{
	const struct hmm_mirror_stats *stats = &sample->stats;
	long long in = stats_mirrored(stats) - stats_mirrored(shown);
	long long gone = stats->invalidated - shown->invalidated;
	struct layout layout;
	enum shade *cell;

	*shown = *stats;
	/* Of one that does nothing for now, nothing is news. */
	if (!in && !gone)
		return 0;
	if (layout_make(&layout, sample->maps.vma, sample->maps.nr, LINE_CELLS, 1))
		return -ENOMEM;
	cell = calloc(layout.cells + 1, sizeof(*cell));
	if (!cell) {
		layout_free(&layout);
		return -ENOMEM;
	}
	runs_paint(&sample->device, &layout, cell);
	fprintf(out, "%6.1fs %-15s %6llu pages %+6lld %+6lld ", sample->time,
		sample->name, stats->pages, in, -gone);
	picture_line(out, &layout, cell, color);
	fputc('\n', out);
	free(cell);
	layout_free(&layout);
	return fflush(out) ? -errno : 0;
}

void picture_legend(FILE *out, bool new, bool color)
{
	enum shade shade;

	fputs("A line is a process: time, name, pages in the device, pages mapped and\n"
	      "invalidated since the last line; then its memory, lowest address first.\n",
	      out);
	for (shade = SHADE_MAPPED; shade < SHADE_NR; shade++) {
		if (shade == SHADE_NEW && !new)
			continue;
		cell_print(out, shade, color);
		fprintf(out, " %s%s", shade_text(shade),
			shade < SHADE_NR - 1 ? ", " : "\n");
	}
}
