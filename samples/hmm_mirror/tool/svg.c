// SPDX-License-Identifier: GPL-2.0
/*
 * Draws what was recorded of address spaces, over time, as an SVG.
 *
 * The colors are from the palette of Okabe and Ito, which people with any kind
 * of color vision can tell apart, and no two fills differ by color alone.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"
#include "svg.h"

/* Sizes, in units of the SVG: heights in whole cells, to which patterns are cut. */
#define LEFT		270
#define WIDTH		1000
#define RIGHT		40
#define TOP		87
#define LABELS		75	/* room above a panel, for what the process did */
#define CELL		3
#define CELLS		110	/* about: see layout_make() */
#define LEAST		4	/* cells: enough for the name of a region */
#define AXIS		45
#define PANELS		12

/* How a cell is filled; "url(#p)" is a pattern, see defs. */
struct fill {
	const char *fill;
	const char *text;
};

static const char defs[] =
"<defs>\n"
"<pattern id='h' width='5' height='5' patternUnits='userSpaceOnUse'>\n"
"<rect width='5' height='5' fill='#009e73'/>\n"
"<path d='M1 0V5' stroke='#fff' stroke-width='0.9'/></pattern>\n"
"<pattern id='f' width='6' height='6' patternUnits='userSpaceOnUse'>\n"
"<rect width='6' height='6' fill='#f0e442'/>\n"
"<circle cx='1.5' cy='1.5' r='0.9'/><circle cx='4.5' cy='4.5' r='0.9'/></pattern>\n"
"<pattern id='x' width='6' height='6' patternUnits='userSpaceOnUse'>\n"
"<rect width='6' height='6' fill='#d55e00'/>\n"
"<path d='M-1 1L1 -1M0 6L6 0M5 7L7 5' stroke='#fff' stroke-width='1.1'/></pattern>\n"
"</defs>\n";

static const struct fill shade_fills[SHADE_NR] = {
	[SHADE_NONE]   = { "none", NULL },
	[SHADE_MAPPED] = { "#e6e6e6", "mapped, no entry" },
	[SHADE_READ]   = { "#74bfe9", "read-only" },
	[SHADE_WRITE]  = { "#0072b2", "writable" },
	[SHADE_HUGE]   = { "url(#h)", "huge page" },
	[SHADE_NEW]    = { "url(#f)", "just faulted in" },
	[SHADE_GONE]   = { "url(#x)", "just invalidated" },
};

/* The more, the darker: that is enough without colors, too. */
enum { HEAT_NONE, HEAT_MAPPED, HEAT_FIRST, HEAT_NR = HEAT_FIRST + 5 };

static const struct fill heat_fills[HEAT_NR] = {
	[HEAT_NONE]      = { "none", NULL },
	[HEAT_MAPPED]    = { "#ececec", "none" },
	[HEAT_FIRST]     = { "#fdd49e", "up to 1 %" },
	[HEAT_FIRST + 1] = { "#fc8d59", "1 to 5 %" },
	[HEAT_FIRST + 2] = { "#d7301f", "5 to 20 %" },
	[HEAT_FIRST + 3] = { "#7f0000", "20 to 50 %" },
	[HEAT_FIRST + 4] = { "#250000", "more" },
};

static const double heat_limits[] = { 0.01, 0.05, 0.2, 0.5 };

/* What there is to be seen: not in the heat map, and in it. */
static const char *const notes[] = {
	[false] =
	"What the device's page table has. A panel is an address space: low addresses below, heights by the root of the size; a line is where mapped memory begins.",
	[true] =
	"Share of a cell's pages that invalidations have taken out of the device's page table since the picture before. A panel is an address space: low addresses below, heights by the root of the size.",
};

/* 1, 2 or 5 times a power of ten, so that an axis has about ten ticks. */
static double tick_step(double range)
{
	double step = pow(10, floor(log10(range / 10)));

	if (range / step > 50)
		return step * 5;
	return range / step > 20 ? step * 2 : step;
}

static void text_escaped(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '<')
			fputs("&lt;", out);
		else if (*text == '&')
			fputs("&amp;", out);
		else if (*text >= ' ' && *text <= '~')
			fputc(*text, out);
		else
			fputc('?', out);
	}
}

/* In as few rectangles as is easy. */
static void draw_cells(FILE *out, const struct history *history,
		       const struct fill *fills, unsigned char *cell, size_t rows,
		       double scale, double bottom)
{
	size_t column, row;

	fputs("<g shape-rendering='crispEdges'>\n", out);
	for (column = 0; column < history->nr; column++) {
		for (row = 0; row < rows; row++) {
			unsigned char kind = cell[column * rows + row];
			size_t right = column, top = row, i;
			double x, end;

			if (!kind)
				continue;
			while (top < rows && cell[column * rows + top] == kind)
				top++;
			do {
				for (i = row; i < top; i++)
					cell[right * rows + i] = 0;
				right++;
				for (i = row; right < history->nr && i < top; i++)
					if (cell[right * rows + i] != kind)
						break;
			} while (right < history->nr && i == top);

			x = history->sample[column].time;
			end = right < history->nr ? history->sample[right].time :
						    history->end;
			fprintf(out,
				"<rect x='%.2f' y='%.0f' width='%.2f' height='%zu' fill='%s'/>\n",
				LEFT + x * scale, bottom - CELL * top,
				(end - x) * scale, CELL * (top - row),
				fills[kind].fill);
		}
	}
	fputs("</g>\n", out);
}

static int paint_shades(const struct history *history, const struct layout *layout,
			unsigned char *cell)
{
	enum shade *shade = calloc(layout->cells + 1, sizeof(*shade));
	size_t i, j;

	if (!shade)
		return -ENOMEM;
	for (i = 0; i < history->nr; i++) {
		runs_paint(&history->sample[i].device, layout, shade);
		for (j = 0; j < layout->cells; j++)
			*cell++ = shade[j];
	}
	free(shade);
	return 0;
}

/* Adds to each cell what share of it a run covers. */
static void share_add(double *share, const struct layout *layout,
		      const struct run *run)
{
	size_t i, j;

	for (i = 0; i < layout->nr; i++) {
		const struct region *region = &layout->region[i];
		struct cells cells = region_cells(region, run->start, run->end);
		double size = (double)(region->end - region->start) / region->cells;

		for (j = cells.first; j < cells.end; j++) {
			double start = region->start + (j - region->first) * size;
			double from = fmax(start, run->start);
			double to = fmin(start + size, run->end);

			if (from < to)
				share[j] += (to - from) / size;
		}
	}
}

static int paint_heat(const struct history *history, const struct layout *layout,
		      unsigned char *cell)
{
	double *share = calloc(layout->cells + 1, sizeof(*share));
	size_t i, j, k;

	if (!share)
		return -ENOMEM;
	/* Where something is mapped, as a background. */
	if (paint_shades(history, layout, cell)) {
		free(share);
		return -ENOMEM;
	}
	for (i = 0; i < history->nr; i++, cell += layout->cells) {
		const struct runs *runs = &history->sample[i].device;

		memset(share, 0, layout->cells * sizeof(*share));
		for (j = 0; j < runs->nr; j++)
			if (runs->run[j].shade == SHADE_GONE)
				share_add(share, layout, &runs->run[j]);
		for (j = 0; j < layout->cells; j++) {
			if (cell[j])
				cell[j] = HEAT_MAPPED;
			if (share[j] <= 0)
				continue;
			for (k = 0; k < ARRAY_SIZE(heat_limits); k++)
				if (share[j] <= heat_limits[k])
					break;
			cell[j] = HEAT_FIRST + k;
		}
	}
	free(share);
	return 0;
}

static void draw_size(FILE *out, __u64 bytes)
{
	if (bytes >= 10ULL << 30)
		fprintf(out, "%llu GiB", bytes >> 30);
	else if (bytes >= 10 << 20)
		fprintf(out, "%llu MiB", bytes >> 20);
	else
		fprintf(out, "%llu KiB", bytes >> 10);
}

static void draw_regions(FILE *out, const struct layout *layout, double bottom)
{
	size_t i;

	for (i = 0; i < layout->nr; i++) {
		const struct region *region = &layout->region[i];
		double y = bottom - CELL * region->first;

		fprintf(out,
			"<line x1='%d' y1='%.0f' x2='%d' y2='%.0f' stroke='#666' stroke-width='0.5'/>\n"
			"<text x='%d' y='%.0f' text-anchor='end' font-size='10'>",
			LEFT - 5, y, LEFT + WIDTH, y, LEFT - 8, y - 2);
		text_escaped(out, region->name);
		fprintf(out, " %#llx, ", region->start);
		draw_size(out, region->end - region->start);
		fputs("</text>\n", out);
	}
}

/* What the process called itself, wherever that changed. */
static void draw_names(FILE *out, const struct history *history, double scale,
		       double top, double bottom)
{
	const char *name = "";
	double free_from = 0;
	size_t i;

	for (i = 0; i < history->nr; i++) {
		double x = LEFT + history->sample[i].time * scale;

		if (!strcmp(name, history->sample[i].name))
			continue;
		name = history->sample[i].name;
		fprintf(out,
			"<line x1='%.2f' y1='%.0f' x2='%.2f' y2='%.0f' stroke='#333' stroke-width='0.5' stroke-dasharray='2 3'/>\n",
			x, top - 4, x, bottom);
		/* A name that would lie upon the one before is left out. */
		if (x < free_from)
			continue;
		free_from = x + 12;
		fprintf(out,
			"<text x='%.2f' y='%.0f' font-size='10' transform='rotate(-45 %.2f %.0f)'>",
			x + 3, top - 6, x + 3, top - 6);
		text_escaped(out, name);
		fputs("</text>\n", out);
	}
}

static void draw_axis(FILE *out, double seconds, double scale, double bottom)
{
	double step = tick_step(seconds), time;

	fprintf(out, "<line x1='%d' y1='%.0f' x2='%d' y2='%.0f' stroke='#000'/>\n",
		LEFT, bottom, LEFT + WIDTH, bottom);
	for (time = 0; time <= seconds; time += step)
		fprintf(out,
			"<line x1='%.1f' y1='%.0f' x2='%.1f' y2='%.0f' stroke='#000'/>\n"
			"<text x='%.1f' y='%.0f' text-anchor='middle' font-size='11'>%g s</text>\n",
			LEFT + time * scale, bottom, LEFT + time * scale, bottom + 5,
			LEFT + time * scale, bottom + 18, time);
}

static void draw_head(FILE *out, const char *title, bool heat, double height)
{
	const struct fill *fills = heat ? heat_fills : shade_fills;
	int i, nr = heat ? HEAT_NR : SHADE_NR, x = LEFT;

	fprintf(out,
		"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %.0f' font-family='sans-serif'>\n"
		"%s<rect width='100%%' height='100%%' fill='#fff'/>\n"
		"<text x='12' y='28' font-size='15' font-weight='bold'>",
		LEFT + WIDTH + RIGHT, height, defs);
	text_escaped(out, title);
	fprintf(out, "</text>\n<text x='12' y='48' font-size='12' fill='#333'>%s</text>\n",
		notes[heat]);
	for (i = 1; i < nr; i++) {
		fprintf(out,
			"<rect x='%d' y='63' width='18' height='14' fill='%s' stroke='#888' stroke-width='0.5'/>\n"
			"<text x='%d' y='75' font-size='12'>%s</text>\n",
			x, fills[i].fill, x + 24, fills[i].text);
		x += 48 + 7 * strlen(fills[i].text);
	}
}

static int draw_panel(FILE *out, const struct history *history,
		      const struct layout *layout, bool heat, double seconds, double top)
{
	const size_t rows = layout->cells;
	const double bottom = top + LABELS + CELL * rows, scale = WIDTH / seconds;
	unsigned char *cell = calloc(history->nr * rows + 1, 1);
	int ret = -ENOMEM;

	if (cell)
		ret = heat ? paint_heat(history, layout, cell) :
			     paint_shades(history, layout, cell);
	if (!ret) {
		fprintf(out, "<text x='12' y='%.0f' font-size='13' font-weight='bold'>process %d: ",
			top + LABELS - 12, history->pid);
		text_escaped(out, history->sample[0].name);
		fputs("</text>\n", out);
		draw_cells(out, history, heat ? heat_fills : shade_fills, cell, rows,
			   scale, bottom);
		draw_regions(out, layout, bottom);
		draw_names(out, history, scale, top + LABELS, bottom);
		draw_axis(out, seconds, scale, bottom);
	}
	free(cell);
	return ret;
}

static int history_longer(const void *a, const void *b)
{
	const struct history *x = a, *y = b;

	return (x->nr < y->nr) - (x->nr > y->nr);
}

static int history_earlier(const void *a, const void *b)
{
	const struct history *x = a, *y = b;

	return (x->sample[0].time > y->sample[0].time) -
	       (x->sample[0].time < y->sample[0].time);
}

int svg_draw(FILE *out, const char *title, struct history *history, size_t nr,
	     bool heat)
{
	double height = TOP, top = TOP, seconds = 0.001;
	struct layout layout[PANELS] = { };
	size_t i, left_out = 0;
	int ret = -ENOMEM;

	if (nr > PANELS) {
		qsort(history, nr, sizeof(*history), history_longer);
		left_out = nr - PANELS;
		nr = PANELS;
	}
	qsort(history, nr, sizeof(*history), history_earlier);
	for (i = 0; i < nr; i++) {
		if (layout_make(&layout[i], history[i].seen.vma,
				history[i].seen.nr, CELLS, LEAST))
			goto out;
		height += LABELS + CELL * layout[i].cells + AXIS;
		if (history[i].end > seconds)
			seconds = history[i].end;
	}

	draw_head(out, title, heat, height + 24);
	for (i = 0; i < nr; i++) {
		ret = draw_panel(out, &history[i], &layout[i], heat, seconds, top);
		if (ret)
			goto out;
		top += LABELS + CELL * layout[i].cells + AXIS;
	}
	if (left_out)
		fprintf(out,
			"<text x='12' y='%.0f' font-size='12'>%zu more, which lived shorter, are not shown.</text>\n",
			top + 12, left_out);
	fputs("</svg>\n", out);
	ret = 0;
out:
	for (i = 0; i < nr; i++)
		layout_free(&layout[i]);
	return ret;
}
