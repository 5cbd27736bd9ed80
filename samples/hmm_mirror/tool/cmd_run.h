/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mirrors a program for its whole life: the commands run and attach.
 */
#ifndef HMM_MIRROR_CMD_RUN_H
#define HMM_MIRROR_CMD_RUN_H

#include <stdbool.h>
#include <sys/types.h>

/* Exit statuses that are not the mirrored program's own, as env(1) has them. */
#define EXIT_STALE	120
#define EXIT_MIRROR	125

struct session_options {
	const char *device;
	const char *json;	/* files to write, or NULL */
	const char *record;
	const char *dump;
	long verify_ms;		/* between two verifications */
	long view_ms;		/* between two pictures */
	bool follow;		/* mirror what the program forks, too */
	bool write;		/* let the device write, too */
	bool view;		/* print pictures */
	bool color;
};

/* Both return the exit status for the whole program. */
int session_run(const struct session_options *options, char **argv);
int session_attach(const struct session_options *options, pid_t pid);

#endif /* HMM_MIRROR_CMD_RUN_H */
