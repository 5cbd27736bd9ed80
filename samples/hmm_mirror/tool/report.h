/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What hmm-mirror tells a person, or another program.
 */
#ifndef HMM_MIRROR_REPORT_H
#define HMM_MIRROR_REPORT_H

#include <stdio.h>
#include <sys/types.h>

#include "device.h"

/*
 * These two complain when they fail, and say what to do about it. They return a
 * descriptor, or a negative errno value.
 */
int open_or_complain(const char *device);
int bind_or_complain(const char *device, pid_t pid);

/* These complain that device_bind(), or trace_attach(), has failed. */
void complain_bind(const char *device, pid_t pid, int error);
void complain_trace(pid_t pid, int error);

/*
 * Fills in what the process has in memory now; a new context is empty. Returns
 * 0 or a negative errno value.
 */
int mirror_present(int fd, pid_t pid);

void json_string(FILE *out, const char *text);

/* Writes the counters as members of an object. */
void json_stats(FILE *out, const struct hmm_mirror_stats *stats,
		const char *separator);

/* Writes a context's table and counters as JSON; 0 or a negative errno value. */
int json_dump(FILE *out, const char *device, int fd, pid_t pid);

#endif /* HMM_MIRROR_REPORT_H */
