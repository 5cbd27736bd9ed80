/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What no program sees: what is left behind, and what the kernel's log says.
 */
#ifndef HMM_FUZZ_WATCH_H
#define HMM_FUZZ_WATCH_H

#include <stdbool.h>
#include <stddef.h>

struct level {
	long mirrors;
	long users;		/* of the modules */
	long bytes;		/* of the kernel's memory */
};

/* What cannot be written ends the program. */
void must_write_file(const char *path, const char *text);
void watch_start(void);
void watch_join(void);		/* makes the caller one of the watched */
void watch_level(struct level *level);
bool watch_log(char *text, size_t size, int *worker);
bool watch_leaks(void);

#endif /* HMM_FUZZ_WATCH_H */
