// SPDX-License-Identifier: GPL-2.0
/*
 * Pictures of page tables: what they hold, page by page.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "picture.h"

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

const char *shade_text(enum shade shade)
{
	return shades[shade].text;
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
