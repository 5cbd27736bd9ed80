/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Says what went wrong, and what to do about it.
 */
#ifndef HMM_MIRROR_COMPLAIN_H
#define HMM_MIRROR_COMPLAIN_H

#include <stdio.h>
#include <sys/types.h>

/*
 * These two complain when they fail. They return a descriptor, or a negative errno
 * value.
 */
int open_or_complain(const char *device);
int bind_or_complain(const char *device, pid_t pid);

/* These complain that device_bind(), or trace_attach(), has failed. */
void complain_bind(const char *device, pid_t pid, int error);
void complain_trace(pid_t pid, int error);

/* Returns 0, or what has gone wrong when @out was written to, however long ago. */
int output_error(FILE *out);

#endif /* HMM_MIRROR_COMPLAIN_H */
