// SPDX-License-Identifier: GPL-2.0
/*
 * Pictures of a device's page table: a line of cells for now, an SVG for what
 * it was over time.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "picture.h"

/* Mappings that are closer together than this are shown as one region. */
#define REGION_GAP	0x100000ULL

static const struct {
	char letter;
	const char *ansi;
	const char *fill;
	const char *text;
} shades[SHADE_NR] = {
	[SHADE_NONE]  = { ' ', "0", "#ffffff", "not mapped" },
	[SHADE_CPU]   = { '.', "2", "#e4e4e4", "mapped by the process only" },
	[SHADE_READ]  = { 'r', "34", "#7eb0de", "mapped read-only" },
	[SHADE_WRITE] = { 'W', "32", "#57a55a", "mapped writable" },
	[SHADE_HUGE]  = { 'H', "35", "#8a63b8", "mapped from a huge page" },
	[SHADE_GONE]  = { 'x', "1;31", "#e03030", "just invalidated" },
};

static int run_add(struct sample *sample, __u64 start, __u64 end,
		   enum shade shade)
{
	struct run *last = sample->nr ? &sample->run[sample->nr - 1] : NULL;

	if (last && last->shade == shade && last->end == start) {
		last->end = end;
		return 0;
	}
	if (sample->nr == sample->capacity) {
		size_t capacity = 2 * sample->capacity + 64;
		void *run = realloc(sample->run, capacity * sizeof(*sample->run));

		if (!run)
			return -ENOMEM;
		sample->run = run;
		sample->capacity = capacity;
	}
	sample->run[sample->nr++] = (struct run){ start, end, shade };
	return 0;
}

static enum shade entry_shade(const struct hmm_mirror_entry *entry)
{
	if (entry->order)
		return SHADE_HUGE;
	return entry->flags & HMM_MIRROR_ENTRY_WRITE ? SHADE_WRITE : SHADE_READ;
}

int sample_maps(struct sample *sample, const struct maps *maps)
{
	int ret = 0;
	size_t i;

	for (i = 0; !ret && i < maps->nr; i++)
		if (maps->vma[i].read)
			ret = run_add(sample, maps->vma[i].start,
				      maps->vma[i].end, SHADE_CPU);
	return ret;
}

int sample_entries(struct sample *sample, const struct entries *entries)
{
	const __u64 page = sysconf(_SC_PAGESIZE);
	int ret = 0;
	size_t i;

	for (i = 0; !ret && i < entries->nr; i++) {
		const struct hmm_mirror_entry *entry = &entries->entry[i];

		ret = run_add(sample, entry->addr, entry->addr + page,
			      entry_shade(entry));
	}
	return ret;
}

int sample_gone(struct sample *sample, const struct entries *before,
		const struct entries *now)
{
	const __u64 page = sysconf(_SC_PAGESIZE);
	size_t i, j = 0;
	int ret = 0;

	for (i = 0; !ret && i < before->nr; i++) {
		__u64 addr = before->entry[i].addr;

		while (j < now->nr && now->entry[j].addr < addr)
			j++;
		if (j == now->nr || now->entry[j].addr != addr)
			ret = run_add(sample, addr, addr + page, SHADE_GONE);
	}
	return ret;
}

void sample_free(struct sample *sample)
{
	free(sample->run);
	*sample = (struct sample){ };
}

static int vma_compare(const void *a, const void *b)
{
	const struct vma *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

int layout_make(struct layout *layout, struct vma *vma, size_t nr, size_t cells,
		size_t least)
{
	__u64 named = 0;	/* size of the mapping that gave the name */
	double total = 0;
	size_t i;

	*layout = (struct layout){ };
	layout->region = calloc(nr + 1, sizeof(*layout->region));
	if (!layout->region)
		return -ENOMEM;

	qsort(vma, nr, sizeof(*vma), vma_compare);
	for (i = 0; i < nr; i++) {
		struct region *region = layout->region + layout->nr;

		if (!vma[i].read)
			continue;
		if (layout->nr && vma[i].start < region[-1].end + REGION_GAP) {
			region--;
			if (vma[i].end > region->end)
				region->end = vma[i].end;
		} else {
			layout->nr++;
			region->start = vma[i].start;
			region->end = vma[i].end;
			named = 0;
		}
		if (vma[i].end - vma[i].start > named) {
			named = vma[i].end - vma[i].start;
			snprintf(region->name, sizeof(region->name), "%s",
				 *vma[i].name ? vma[i].name : "anonymous");
		}
	}

	for (i = 0; i < layout->nr; i++)
		total += sqrt(layout->region[i].end - layout->region[i].start);
	for (i = 0; i < layout->nr; i++) {
		struct region *region = &layout->region[i];

		region->first = layout->cells;
		region->cells = cells * sqrt(region->end - region->start) / total;
		if (region->cells < least)
			region->cells = least;
		layout->cells += region->cells;
	}
	return 0;
}

void layout_free(struct layout *layout)
{
	free(layout->region);
	*layout = (struct layout){ };
}

static void run_paint(const struct run *run, const struct region *region,
		      enum shade *cell)
{
	double scale = (double)region->cells / (region->end - region->start);
	__u64 start = run->start > region->start ? run->start : region->start;
	__u64 end = run->end < region->end ? run->end : region->end;
	size_t i = (start - region->start) * scale;
	size_t last = ceil((end - region->start) * scale);

	for (; i < last && i < region->cells; i++)
		if (cell[region->first + i] < run->shade)
			cell[region->first + i] = run->shade;
}

void sample_paint(const struct sample *sample, const struct layout *layout,
		  enum shade *cell)
{
	size_t i, j;

	memset(cell, 0, layout->cells * sizeof(*cell));
	for (i = 0; i < sample->nr; i++)
		for (j = 0; j < layout->nr; j++)
			if (sample->run[i].start < layout->region[j].end &&
			    sample->run[i].end > layout->region[j].start)
				run_paint(&sample->run[i], &layout->region[j],
					  cell);
}

static void cell_print(FILE *out, enum shade shade, bool color)
{
	if (color)
		fprintf(out, "\033[%sm%c\033[0m", shades[shade].ansi,
			shades[shade].letter);
	else
		fputc(shades[shade].letter, out);
}

void picture_line(FILE *out, const struct layout *layout,
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

void picture_legend(FILE *out, bool color)
{
	enum shade shade;

	fputs("A line is a process: time, name, pages in the device, pages mapped and\n"
	      "invalidated since the last line; then its memory, lowest address first.\n",
	      out);
	for (shade = SHADE_CPU; shade < SHADE_NR; shade++) {
		cell_print(out, shade, color);
		fprintf(out, " %s%s", shades[shade].text,
			shade < SHADE_NR - 1 ? ", " : "\n");
	}
}

static bool maps_has(const struct maps *maps, const struct vma *vma)
{
	size_t i;

	for (i = 0; i < maps->nr; i++)
		if (maps->vma[i].start == vma->start &&
		    maps->vma[i].end == vma->end &&
		    !strcmp(maps->vma[i].name, vma->name))
			return true;
	return false;
}

int history_add(struct history *history, struct sample *sample,
		const struct maps *maps)
{
	size_t i;

	if (history->nr == history->capacity) {
		size_t capacity = 2 * history->capacity + 64;
		void *array = realloc(history->sample,
				      capacity * sizeof(*history->sample));

		if (!array)
			return -ENOMEM;
		history->sample = array;
		history->capacity = capacity;
	}
	history->sample[history->nr++] = *sample;
	*sample = (struct sample){ };

	for (i = 0; i < maps->nr; i++) {
		struct maps *seen = &history->seen;

		if (!maps->vma[i].read || maps_has(seen, &maps->vma[i]))
			continue;
		if (seen->nr == seen->capacity) {
			size_t capacity = 2 * seen->capacity + 64;
			void *array = realloc(seen->vma,
					      capacity * sizeof(*seen->vma));

			if (!array)
				return -ENOMEM;
			seen->vma = array;
			seen->capacity = capacity;
		}
		seen->vma[seen->nr++] = maps->vma[i];
	}
	return 0;
}

void history_free(struct history *history)
{
	size_t i;

	for (i = 0; i < history->nr; i++)
		sample_free(&history->sample[i]);
	free(history->sample);
	maps_free(&history->seen);
	*history = (struct history){ };
}

/* Sizes of the SVG, in its own units. */
#define SVG_LEFT	250
#define SVG_WIDTH	1000
#define SVG_RIGHT	40
#define SVG_TOP		90
#define SVG_LABELS	70	/* room above a panel, for what the process did */
#define SVG_CELL	3
#define SVG_CELLS	110	/* about: see layout_make() */
#define SVG_LEAST	4	/* cells: enough for the name of a region */
#define SVG_AXIS	40
#define SVG_PANELS	12

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
		else if (*text >= ' ')
			fputc(*text, out);
	}
}

/* One panel's samples by the layout's cells, in as few rectangles as is easy. */
static void svg_cells(FILE *out, const struct history *history,
		      const struct layout *layout, enum shade *cell,
		      double scale, double bottom)
{
	const size_t rows = layout->cells;
	size_t column, row;

	for (column = 0; column < history->nr; column++) {
		for (row = 0; row < rows; row++) {
			enum shade shade = cell[column * rows + row];
			size_t right = column, top = row, i;
			double x, end;

			if (shade == SHADE_NONE)
				continue;
			while (top < rows && cell[column * rows + top] == shade)
				top++;
			do {
				for (i = row; i < top; i++)
					cell[right * rows + i] = SHADE_NONE;
				right++;
				for (i = row; right < history->nr && i < top; i++)
					if (cell[right * rows + i] != shade)
						break;
			} while (right < history->nr && i == top);

			x = history->sample[column].time;
			end = right < history->nr ? history->sample[right].time :
						    history->end;
			fprintf(out,
				"<rect x='%.2f' y='%.0f' width='%.2f' height='%zu' fill='%s'/>\n",
				SVG_LEFT + x * scale, bottom - SVG_CELL * top,
				(end - x) * scale, SVG_CELL * (top - row),
				shades[shade].fill);
		}
	}
}

static void svg_regions(FILE *out, const struct layout *layout, double bottom)
{
	size_t i;

	for (i = 0; i < layout->nr; i++) {
		const struct region *region = &layout->region[i];
		double y = bottom - SVG_CELL * region->first;

		fprintf(out,
			"<line x1='%d' y1='%.0f' x2='%d' y2='%.0f' stroke='#666' stroke-width='0.5'/>\n"
			"<text x='%d' y='%.0f' text-anchor='end' font-size='10'>",
			SVG_LEFT - 5, y, SVG_LEFT + SVG_WIDTH, y,
			SVG_LEFT - 8, y - 2);
		text_escaped(out, region->name);
		fprintf(out, " %#llx</text>\n", region->start);
	}
}

/* What the process called itself, wherever that changed. */
static void svg_labels(FILE *out, const struct history *history, double scale,
		       double top, double bottom)
{
	const char *label = "";
	double free_from = 0;
	size_t i;

	for (i = 0; i < history->nr; i++) {
		double x = SVG_LEFT + history->sample[i].time * scale;

		if (!strcmp(label, history->sample[i].label))
			continue;
		label = history->sample[i].label;
		fprintf(out,
			"<line x1='%.2f' y1='%.0f' x2='%.2f' y2='%.0f' stroke='#333' stroke-width='0.5' stroke-dasharray='2 3'/>\n",
			x, top - 4, x, bottom);
		/* A label that would lie upon the one before is left out. */
		if (x < free_from)
			continue;
		free_from = x + 10;
		fprintf(out,
			"<text x='%.2f' y='%.0f' font-size='10' transform='rotate(-45 %.2f %.0f)'>",
			x + 3, top - 6, x + 3, top - 6);
		text_escaped(out, label);
		fputs("</text>\n", out);
	}
}

static void svg_axis(FILE *out, double seconds, double scale, double bottom)
{
	double step = tick_step(seconds), time;

	fprintf(out,
		"<line x1='%d' y1='%.0f' x2='%d' y2='%.0f' stroke='#000'/>\n",
		SVG_LEFT, bottom, SVG_LEFT + SVG_WIDTH, bottom);
	for (time = 0; time <= seconds; time += step)
		fprintf(out,
			"<line x1='%.1f' y1='%.0f' x2='%.1f' y2='%.0f' stroke='#000'/>\n"
			"<text x='%.1f' y='%.0f' text-anchor='middle' font-size='11'>%g s</text>\n",
			SVG_LEFT + time * scale, bottom,
			SVG_LEFT + time * scale, bottom + 5,
			SVG_LEFT + time * scale, bottom + 18, time);
}

static void svg_head(FILE *out, const char *title, double height)
{
	enum shade shade;
	int x = SVG_LEFT;

	fprintf(out,
		"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %.0f' font-family='sans-serif'>\n"
		"<rect width='100%%' height='100%%' fill='#fff'/>\n"
		"<text x='%d' y='30' font-size='15' font-weight='bold'>",
		SVG_LEFT + SVG_WIDTH + SVG_RIGHT, height, SVG_LEFT);
	text_escaped(out, title);
	fputs("</text>\n", out);
	for (shade = SHADE_CPU; shade < SHADE_NR; shade++) {
		fprintf(out,
			"<rect x='%d' y='46' width='14' height='14' fill='%s'/><text x='%d' y='58' font-size='12'>%s</text>\n",
			x, shades[shade].fill, x + 19, shades[shade].text);
		x += 40 + 7 * strlen(shades[shade].text);
	}
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

int picture_svg(const char *path, const char *title, struct history *history,
		size_t nr)
{
	double height = SVG_TOP, top = SVG_TOP, seconds = 0.001, scale;
	struct layout layout[SVG_PANELS] = { };
	size_t i, j, left_out = 0;
	FILE *out = NULL;
	int ret = -ENOMEM;

	if (nr > SVG_PANELS) {
		qsort(history, nr, sizeof(*history), history_longer);
		left_out = nr - SVG_PANELS;
		nr = SVG_PANELS;
	}
	qsort(history, nr, sizeof(*history), history_earlier);
	for (i = 0; i < nr; i++) {
		if (layout_make(&layout[i], history[i].seen.vma,
				history[i].seen.nr, SVG_CELLS, SVG_LEAST))
			goto out;
		height += SVG_LABELS + SVG_CELL * layout[i].cells + SVG_AXIS;
		if (history[i].end > seconds)
			seconds = history[i].end;
	}
	scale = SVG_WIDTH / seconds;

	out = fopen(path, "we");
	if (!out) {
		ret = -errno;
		goto out;
	}
	svg_head(out, title, height + 20);
	for (i = 0; i < nr; i++) {
		const size_t rows = layout[i].cells;
		double bottom = top + SVG_LABELS + SVG_CELL * rows;
		enum shade *cell = calloc(history[i].nr * rows + 1, sizeof(*cell));

		if (!cell)
			goto out;
		for (j = 0; j < history[i].nr; j++)
			sample_paint(&history[i].sample[j], &layout[i],
				     cell + j * rows);
		fprintf(out, "<text x='12' y='%.0f' font-size='13' font-weight='bold'>",
			top + SVG_LABELS - 12);
		text_escaped(out, history[i].title);
		fputs("</text>\n", out);
		svg_cells(out, &history[i], &layout[i], cell, scale, bottom);
		svg_regions(out, &layout[i], bottom);
		svg_labels(out, &history[i], scale, top + SVG_LABELS, bottom);
		svg_axis(out, seconds, scale, bottom);
		free(cell);
		top = bottom + SVG_AXIS;
	}
	if (left_out)
		fprintf(out,
			"<text x='12' y='%.0f' font-size='12'>%zu more, which lived shorter, are not shown.</text>\n",
			top + 12, left_out);
	fputs("</svg>\n", out);
	ret = 0;
out:
	if (out && fclose(out) && !ret)
		ret = -errno;
	for (i = 0; i < nr; i++)
		layout_free(&layout[i]);
	return ret;
}
