/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pictures of page tables: what they hold, page by page.
 */
#ifndef HMM_MIRROR_PICTURE_H
#define HMM_MIRROR_PICTURE_H

#include <stdbool.h>
#include <stddef.h>

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
const char *shade_text(enum shade shade);
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

#endif /* HMM_MIRROR_PICTURE_H */
