/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An address space as rows of cells, all of the same size: row after row while
 * there is something mapped, with the holes left out.
 *
 * A row begins at a round address: a multiple of GRID_ALIGN cells.
 */
#ifndef HMM_MIRROR_VIEW_GRID_H
#define HMM_MIRROR_VIEW_GRID_H

#include "layout.h"

#define GRID_ALIGN	8

struct grid {
	const struct maps *maps;
	__u64 cell;		/* bytes, a power of two */
	size_t cells;		/* in a row, a multiple of GRID_ALIGN */
};

size_t grid_rows(const struct grid *grid);
/* The first address of a row; it has to be there. */
__u64 grid_start(const struct grid *grid, size_t row);
/* The row that an address is in; or the one before it, or the first. */
size_t grid_find(const struct grid *grid, __u64 addr);

/* The smallest cell for which there are no more than @rows rows. */
__u64 grid_fit(const struct maps *maps, size_t cells, size_t rows);

/*
 * Makes a region of each row from @first on, up to @rows of them, named by what
 * is largest in it. Returns 0 or -ENOMEM.
 */
int grid_layout(const struct grid *grid, size_t first, size_t rows,
		struct layout *layout);

#endif /* HMM_MIRROR_VIEW_GRID_H */
