/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which signals hmm-mirror waits for.
 */
#ifndef HMM_MIRROR_SIGNALS_H
#define HMM_MIRROR_SIGNALS_H

#include <signal.h>
#include <stddef.h>

/*
 * Sets @set to those of @signals that are not ignored: nohup(1) ignores SIGHUP, a
 * shell SIGINT for what runs in the background, and they would arrive if blocked.
 */
void signals_heard(sigset_t *set, const int *signals, size_t nr);

#endif /* HMM_MIRROR_SIGNALS_H */
