/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Draws what was recorded: the command plot.
 */
#ifndef HMM_MIRROR_CMD_PLOT_H
#define HMM_MIRROR_CMD_PLOT_H

#include <stdbool.h>

extern const char plot_help[];

/*
 * Reads the stream in the file @path, or the standard input if that is NULL, and
 * writes an SVG to the standard output. Returns 0, or a negative errno value and
 * has complained.
 */
int plot(const char *path, const char *title, bool heat);

#endif /* HMM_MIRROR_CMD_PLOT_H */
