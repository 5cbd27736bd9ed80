/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A live picture of a process's page table and the device's, side by side: the
 * command view.
 */
#ifndef HMM_MIRROR_CMD_VIEW_H
#define HMM_MIRROR_CMD_VIEW_H

#include <stdbool.h>
#include <sys/types.h>

#include "view_grid.h"
#include "view_mirror.h"

struct view_options {
	const char *device;
	long every_ms;		/* between two pictures */
	long count;		/* of pictures, or 0 for no end */
	bool json;		/* a stream instead of pictures */
	bool once;		/* one full picture */
	bool color;
};

extern const char view_help[];

/* Returns the exit status for the whole program. */
int view_process(const struct view_options *options, pid_t pid);

/* What the screen shows. */
struct view {
	struct watch watch;
	bool live;		/* somebody looks at it, and presses keys */
	bool paused;
	bool help;
	bool asking;		/* for an address */
	char answer[64];
	char message[160];	/* in place of the keys, until the next one */
	__u64 cell;		/* bytes; 0: as many as it takes to show all */
	__u64 cursor;
	size_t top;		/* first row of the grid that is shown */
	size_t height;		/* how many there is room for */
	struct grid grid;	/* as it is shown */
};

/* Draws it for the screen's size. Returns 0 or -ENOMEM. */
int view_draw(struct view *view);

#endif /* HMM_MIRROR_CMD_VIEW_H */
