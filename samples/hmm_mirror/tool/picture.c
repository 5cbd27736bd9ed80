// SPDX-License-Identifier: GPL-2.0
/*
 * Pictures of page tables: what they hold, and how that fits into cells.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "picture.h"

/* Mappings that are closer together than this are shown as one region. */
#define REGION_GAP	0x100000ULL

#define LINE_CELLS	72	/* in a line of cells, about */

static const struct {
	char letter;
	const char *ansi;
	const char *text;
} shades[SHADE_NR] = {
	[SHADE_NONE]   = { ' ', "0", "not mapped" },
	[SHADE_MAPPED] = { '.', "2", "mapped, no entry" },
	[SHADE_READ]   = { 'r', "36", "read-only" },
	[SHADE_WRITE]  = { 'W', "32", "writable" },
	[SHADE_HUGE]   = { 'H', "1;35", "huge page" },
	[SHADE_NEW]    = { 'f', "30;43", "just faulted in" },
	[SHADE_GONE]   = { 'x', "1;37;41", "just invalidated" },
};

char shade_letter(enum shade shade)
{
	return shades[shade].letter;
}

const char *shade_ansi(enum shade shade)
{
	return shades[shade].ansi;
}

enum shade shade_find(char letter)
{
	enum shade shade;

	for (shade = SHADE_NR - 1; shade > SHADE_NONE; shade--)
		if (shades[shade].letter == letter)
			break;
	return shade;
}

int runs_add(struct runs *runs, __u64 start, __u64 end, enum shade shade)
{
	struct run *last = runs->nr ? &runs->run[runs->nr - 1] : NULL;

	if (last && last->shade == shade && last->end == start) {
		last->end = end;
		return 0;
	}
	if (runs->nr == runs->capacity) {
		size_t capacity = 2 * runs->capacity + 64;
		void *run = realloc(runs->run, capacity * sizeof(*runs->run));

		if (!run)
			return -ENOMEM;
		runs->run = run;
		runs->capacity = capacity;
	}
	runs->run[runs->nr++] = (struct run){ start, end, shade };
	return 0;
}

int runs_maps(struct runs *runs, const struct maps *maps)
{
	int ret = 0;
	size_t i;

	for (i = 0; !ret && i < maps->nr; i++)
		if (maps->vma[i].read)
			ret = runs_add(runs, maps->vma[i].start,
				       maps->vma[i].end, SHADE_MAPPED);
	return ret;
}

static enum shade entry_shade(const struct hmm_mirror_entry *entry)
{
	if (entry->order)
		return SHADE_HUGE;
	return entry->flags & HMM_MIRROR_ENTRY_WRITE ? SHADE_WRITE : SHADE_READ;
}

const struct hmm_mirror_entry *entries_find(const struct entries *entries,
					    __u64 addr)
{
	size_t low = 0, high = entries->nr;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (entries->entry[middle].addr < addr)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == entries->nr || entries->entry[low].addr != addr)
		return NULL;
	return &entries->entry[low];
}

int runs_entries(struct runs *runs, const struct entries *entries,
		 const struct entries *before)
{
	const __u64 page = sysconf(_SC_PAGESIZE);
	int ret = 0;
	size_t i;

	for (i = 0; !ret && i < entries->nr; i++) {
		const struct hmm_mirror_entry *entry = &entries->entry[i];
		bool new = before && !entries_find(before, entry->addr);

		ret = runs_add(runs, entry->addr, entry->addr + page,
			       new ? SHADE_NEW : entry_shade(entry));
	}
	return ret;
}

int runs_gone(struct runs *runs, const struct entries *before,
	      const struct entries *now)
{
	const __u64 page = sysconf(_SC_PAGESIZE);
	int ret = 0;
	size_t i;

	for (i = 0; !ret && i < before->nr; i++) {
		__u64 addr = before->entry[i].addr;

		if (!entries_find(now, addr))
			ret = runs_add(runs, addr, addr + page, SHADE_GONE);
	}
	return ret;
}

void runs_free(struct runs *runs)
{
	free(runs->run);
	*runs = (struct runs){ };
}

void sample_free(struct sample *sample)
{
	maps_free(&sample->maps);
	runs_free(&sample->cpu);
	runs_free(&sample->device);
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

struct cells region_cells(const struct region *region, __u64 start, __u64 end)
{
	double scale = (double)region->cells / (region->end - region->start);
	struct cells cells = { };

	if (start < region->start)
		start = region->start;
	if (end > region->end)
		end = region->end;
	if (start >= end)
		return cells;
	cells.first = region->first + (start - region->start) * scale;
	cells.end = region->first + ceil((end - region->start) * scale);
	if (cells.end > region->first + region->cells)
		cells.end = region->first + region->cells;
	return cells;
}

void runs_paint(const struct runs *runs, const struct layout *layout,
		enum shade *cell)
{
	size_t i, j;

	memset(cell, 0, layout->cells * sizeof(*cell));
	for (i = 0; i < runs->nr; i++) {
		const struct run *run = &runs->run[i];

		for (j = 0; j < layout->nr; j++) {
			struct cells cells = region_cells(&layout->region[j],
							  run->start, run->end);

			for (; cells.first < cells.end; cells.first++)
				if (cell[cells.first] < run->shade)
					cell[cells.first] = run->shade;
		}
	}
}

static void cell_print(FILE *out, enum shade shade, bool color)
{
	if (color)
		fprintf(out, "\033[%sm%c\033[0m", shades[shade].ansi,
			shades[shade].letter);
	else
		fputc(shades[shade].letter, out);
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
		fprintf(out, " %s%s", shades[shade].text,
			shade < SHADE_NR - 1 ? ", " : "\n");
	}
}
