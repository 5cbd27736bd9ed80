// SPDX-License-Identifier: GPL-2.0
/*
 * An address space as rows of cells, all of the same size.
 *
 * There may be more rows than fit into memory, when somebody looks at a terabyte
 * page by page. So they are counted, not made, mapping by mapping.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "view_grid.h"

/* The largest cell there is use for: an address space has 57 bits at most. */
#define CELL_MAX	((__u64)1 << 50)

/* Rows without a hole in between. */
struct band {
	__u64 start;
	size_t first;		/* row */
	size_t rows;
	size_t vma;		/* where to look for the next */
};

static __u64 row_size(const struct grid *grid)
{
	return grid->cell * grid->cells;
}

static __u64 band_end(const struct grid *grid, const struct band *band)
{
	return band->start + band->rows * row_size(grid);
}

/* The next, which begins where @band ends if there is no hole. */
static bool band_next(const struct grid *grid, struct band *band)
{
	__u64 end = band_end(grid, band);

	for (; band->vma < grid->maps->nr; band->vma++) {
		const struct vma *vma = &grid->maps->vma[band->vma];

		if (!vma->read || vma->end <= end)
			continue;
		band->start = vma->start & ~(GRID_ALIGN * grid->cell - 1);
		if (band->start < end)
			band->start = end;
		band->first += band->rows;
		band->rows = (vma->end - band->start + row_size(grid) - 1) /
			     row_size(grid);
		return true;
	}
	return false;
}

size_t grid_rows(const struct grid *grid)
{
	struct band band = { };

	while (band_next(grid, &band))
		;
	return band.first + band.rows;
}

__u64 grid_start(const struct grid *grid, size_t row)
{
	struct band band = { };

	while (band_next(grid, &band))
		if (row < band.first + band.rows)
			break;
	return band.start + (row - band.first) * row_size(grid);
}

size_t grid_find(const struct grid *grid, __u64 addr)
{
	struct band band = { };
	size_t row = 0;

	while (band_next(grid, &band) && band.start <= addr) {
		row = band.first + band.rows - 1;
		if (addr < band_end(grid, &band))
			row = band.first + (addr - band.start) / row_size(grid);
	}
	return row;
}

__u64 grid_fit(const struct maps *maps, size_t cells, size_t rows)
{
	struct grid grid = {
		.maps = maps, .cell = sysconf(_SC_PAGESIZE), .cells = cells,
	};

	while (grid.cell < CELL_MAX && grid_rows(&grid) > rows)
		grid.cell *= 2;
	return grid.cell;
}

static void region_name(struct region *region, const struct maps *maps)
{
	const char *name = "";
	__u64 most = 0;
	size_t i;

	for (i = 0; i < maps->nr; i++) {
		const struct vma *vma = &maps->vma[i];
		__u64 start = vma->start, end = vma->end;

		if (start < region->start)
			start = region->start;
		if (end > region->end)
			end = region->end;
		if (!vma->read || end <= start || end - start <= most)
			continue;
		most = end - start;
		name = *vma->name ? vma->name : "anonymous";
	}
	snprintf(region->name, sizeof(region->name), "%s", name);
}

int grid_layout(const struct grid *grid, size_t first, size_t rows,
		struct layout *layout)
{
	size_t all = grid_rows(grid), row;

	*layout = (struct layout){ };
	layout->region = calloc(rows + 1, sizeof(*layout->region));
	if (!layout->region)
		return -ENOMEM;
	for (row = first; row < first + rows && row < all; row++) {
		struct region *region = &layout->region[layout->nr++];

		region->start = grid_start(grid, row);
		region->end = region->start + row_size(grid);
		region->first = layout->cells;
		region->cells = grid->cells;
		region_name(region, grid->maps);
		layout->cells += region->cells;
	}
	return 0;
}
