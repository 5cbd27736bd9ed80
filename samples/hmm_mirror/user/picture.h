/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pictures of a device's page table: a line of cells for now, an SVG for what
 * it was over time.
 */
#ifndef HMM_MIRROR_PICTURE_H
#define HMM_MIRROR_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "device.h"
#include "verify.h"

/* What the device has in a piece of memory; of two, the later one shows. */
enum shade {
	SHADE_NONE,		/* no mapping in the process */
	SHADE_CPU,		/* mapped by the process, no entry */
	SHADE_READ,		/* read-only entries */
	SHADE_WRITE,		/* writable entries */
	SHADE_HUGE,		/* entries filled in from a huge mapping */
	SHADE_GONE,		/* entries that an invalidation has taken out */
	SHADE_NR
};

/* Memory of one shade. Runs may overlap: then the later shade shows. */
struct run {
	__u64 start;
	__u64 end;
	enum shade shade;
};

/* What one address space looked like at one time. */
struct sample {
	double time;		/* seconds since the beginning */
	char label[16];		/* what the process called itself */
	struct run *run;
	size_t nr;
	size_t capacity;
};

/* These add to @sample; they return 0 or -ENOMEM. */
int sample_maps(struct sample *sample, const struct maps *maps);
int sample_entries(struct sample *sample, const struct entries *entries);
/* What was there @before, and is there no more @now. */
int sample_gone(struct sample *sample, const struct entries *before,
		const struct entries *now);
void sample_free(struct sample *sample);

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

/* Sets @cell[0 .. layout->cells) to what @sample has there. */
void sample_paint(const struct sample *sample, const struct layout *layout,
		  enum shade *cell);

/* Prints the cells as one line of characters. */
void picture_line(FILE *out, const struct layout *layout,
		  const enum shade *cell, bool color);
void picture_legend(FILE *out, bool color);

/* All that was seen of one address space. */
struct history {
	char title[64];
	struct sample *sample;
	size_t nr;
	size_t capacity;
	struct maps seen;	/* every mapping there ever was */
	double end;		/* when it died */
};

/* Takes over @sample. */
int history_add(struct history *history, struct sample *sample,
		const struct maps *maps);
void history_free(struct history *history);

/*
 * Draws the histories, one below the other, and sorts them to that end; none of
 * them is empty. Returns 0 or a negative errno value.
 */
int picture_svg(const char *path, const char *title, struct history *history,
		size_t nr);

#endif /* HMM_MIRROR_PICTURE_H */
