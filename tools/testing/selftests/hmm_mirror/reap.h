/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A process to be reaped, and what mirrors it.
 *
 * The victim is a traced child. It stops when it is about to exit, where it has
 * been killed already and still has its memory: so there is time to reap it.
 */
#ifndef HMM_MIRROR_TEST_REAP_H
#define HMM_MIRROR_TEST_REAP_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PAGES			512
#define AREAS			30000	/* /proc/sys/vm/max_map_count is 65530 */
#define OTHER_DRIVER		"/dev/hmm_dmirror0"
#define PARAMETERS		"/sys/module/hmm_mirror_c/parameters/"
#define MAY_SLEEP		PARAMETERS "may_sleep"
#define OF_2017			PARAMETERS "of_2017"
#define FLUSH_MS		PARAMETERS "flush_ms"
#define THP_ENABLED		"/sys/kernel/mm/transparent_hugepage/enabled"
#define CGROUP_LIMIT		(16UL << 20)
#define PATIENCE		10	/* seconds, for what should be over at once */

struct victim {
	pid_t pid;		/* 0 when it is not ours any more */
	int pidfd;
	int go;			/* what is written there makes it go on */
	int ready;		/* it says so there, when it is */
	char *map;		/* where it has its memory */
	size_t size;
	size_t page;
	char *common;		/* a page that it has in common with the test */
	bool other_driver;	/* that of test_hmm, where it is loaded, mirrors it as well */
};

/* What the victim can be told */
#define ALLOW_HUGE_PAGE		'h'	/* where it has its memory */
#define MAKE_AREAS		'a'	/* AREAS of them, beside that */
#define TAKE_TOO_MUCH		'm'

/* Milliseconds since some time. */
long now(void);
/* Does @pid, a child, come to an end in time, or to a stop? */
bool changes_in_time(pid_t pid, int *status);

/* A child that has written its memory, and does what it is told.  0, or negative errno. */
int start_victim(struct victim *v);
/* It may be at its end, or not. */
void end_victim(struct victim *v);
/* Tells the victim what to do, and waits until that is done. */
bool told(struct victim *v, char byte);

/* A device context that mirrors all of the victim's memory, or negative errno. */
int mirror(struct victim *v, const char *device);
/* One whose callback takes a mutex: that of MAY_SLEEP, or of OF_2017 */
int mutex_mirror(struct victim *v, const char *parameter);
/* The number of entries for the victim's memory, or a negative errno value. */
long entries(int fd, struct victim *v);

/* The number of pages that the victim has, or a negative errno value. */
long pages(struct victim *v);
/*
 * Writes to the page in common, by a child: so the victim gets one of its own.  The device
 * of @mirror has begun to flush, which takes @ms milliseconds.  Else, negative errno.
 */
pid_t write_common(struct victim *v, int mirror, const char *ms);
/* Has the victim been killed, and stopped at its end with all its memory? */
bool stops_at_its_end(struct victim *v);
bool killed(struct victim *v);
/* Lets the victim go on.  Does it come to its end now? */
bool exits(struct victim *v);
int mrelease(struct victim *v);
/*
 * Can the other driver read the victim's page table?  It waits for invalidations
 * to end, and not even a signal gets it out of that: so a child asks it.
 */
bool other_driver_works(struct victim *v);

#endif
