/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How memory fits into cells, those of a line, of a screen or of an SVG.
 */
#ifndef HMM_MIRROR_LAYOUT_H
#define HMM_MIRROR_LAYOUT_H

#include <stddef.h>

#include "picture.h"

/* A piece of the address space that a picture shows, with nothing in between. */
struct region {
	__u64 start;
	__u64 end;
	char name[48];
	size_t first;		/* first cell, counted from the lowest address */
	size_t cells;
};

struct layout {
	struct region *region;
	size_t nr;
	size_t cells;
};

/*
 * Spreads the readable mappings over about @cells cells: each region at least
 * @least, larger ones more, by the root of their sizes, so that a few KiB show
 * beside a few GiB. @vma need not be sorted; it is when this returns.
 */
int layout_make(struct layout *layout, struct vma *vma, size_t nr, size_t cells,
		size_t least);
void layout_free(struct layout *layout);

/* The cells that memory from @start to @end covers in a region. */
struct cells {
	size_t first;
	size_t end;
};

struct cells region_cells(const struct region *region, __u64 start, __u64 end);

/* Sets @cell[0 .. layout->cells) to what @runs have there. */
void runs_paint(const struct runs *runs, const struct layout *layout,
		enum shade *cell);

#endif /* HMM_MIRROR_LAYOUT_H */
