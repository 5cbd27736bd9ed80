/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Writes JSON.
 */
#ifndef HMM_MIRROR_JSON_WRITE_H
#define HMM_MIRROR_JSON_WRITE_H

#include <stdio.h>
#include <sys/types.h>

#include "device.h"

void json_string(FILE *out, const char *text);

/* Writes the counters as members of an object. */
void json_stats(FILE *out, const struct hmm_mirror_stats *stats,
		const char *separator);

/* Writes a context's table and counters as JSON; 0 or a negative errno value. */
int json_dump(FILE *out, const char *device, int fd, pid_t pid);

#endif /* HMM_MIRROR_JSON_WRITE_H */
