// SPDX-License-Identifier: GPL-2.0
/*
 * How memory fits into cells.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"

/* Mappings that are closer together than this are shown as one region. */
#define REGION_GAP	0x100000ULL

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
