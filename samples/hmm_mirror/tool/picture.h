/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pictures of page tables: what they hold, and how that fits into cells.
 */
#ifndef HMM_MIRROR_PICTURE_H
#define HMM_MIRROR_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "device.h"
#include "proc.h"

/* What a page table has for a piece of memory; of two, the later one shows. */
enum shade {
	SHADE_NONE,		/* no mapping in the process */
	SHADE_MAPPED,		/* mapped by the process, no entry */
	SHADE_READ,		/* read-only entries */
	SHADE_WRITE,		/* writable entries */
	SHADE_HUGE,		/* entries of a huge page */
	SHADE_NEW,		/* entries that were not there in the last picture */
	SHADE_GONE,		/* entries that an invalidation has taken out */
	SHADE_NR
};

char shade_letter(enum shade shade);
const char *shade_ansi(enum shade shade);	/* for "\033[%sm" */
enum shade shade_find(char letter);		/* SHADE_NONE if there is none */

/* Memory of one shade. Runs may overlap: then the later shade shows. */
struct run {
	__u64 start;
	__u64 end;
	enum shade shade;
};

struct runs {
	struct run *run;
	size_t nr;
	size_t capacity;
};

/* These add to @runs; they return 0 or -ENOMEM. */
int runs_add(struct runs *runs, __u64 start, __u64 end, enum shade shade);
int runs_maps(struct runs *runs, const struct maps *maps);
/* With @before, what was not there is new. */
int runs_entries(struct runs *runs, const struct entries *entries,
		 const struct entries *before);
/* What was there @before, and is there no more @now. */
int runs_gone(struct runs *runs, const struct entries *before,
	      const struct entries *now);
void runs_free(struct runs *runs);

/* The @entry at @addr, or NULL. */
const struct hmm_mirror_entry *entries_find(const struct entries *entries,
					    __u64 addr);

/* How long something took, in microseconds. */
struct times {
	size_t nr;		/* how often it was measured; 0: the rest is void */
	double median;
	double p99;		/* 99 of 100 took no longer */
	double max;
};

/* What one address space looked like at one time. */
struct sample {
	double time;		/* seconds since the beginning */
	pid_t pid;
	unsigned int space;	/* counts the address spaces, from 1 */
	char name[16];		/* what the process called itself */
	struct hmm_mirror_stats stats;
	struct times fault;	/* of the device, for one page */
	struct times read;	/* of 8 bytes, by the device */
	struct maps maps;
	struct runs cpu;	/* the CPU's page table */
	struct runs device;	/* the device's */
};

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

/* The cells that memory from @start to @end covers in a region. */
struct cells {
	size_t first;
	size_t end;
};

struct cells region_cells(const struct region *region, __u64 start, __u64 end);

/* Sets @cell[0 .. layout->cells) to what @runs have there. */
void runs_paint(const struct runs *runs, const struct layout *layout,
		enum shade *cell);

/*
 * Prints a line about the device's side, unless nothing has changed since @shown,
 * which it sets. Returns 0 or a negative errno value.
 */
int picture_print(FILE *out, struct sample *sample, struct hmm_mirror_stats *shown,
		  bool color);
/* Says what a line means; @new: whether it tells what was just faulted in. */
void picture_legend(FILE *out, bool new, bool color);

#endif /* HMM_MIRROR_PICTURE_H */
