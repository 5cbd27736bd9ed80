// SPDX-License-Identifier: GPL-2.0
/*
 * Which signals hmm-mirror waits for.
 */
#include "signals.h"

void signals_heard(sigset_t *set, const int *signals, size_t nr)
{
	struct sigaction action;
	size_t i;

	sigemptyset(set);
	for (i = 0; i < nr; i++)
		if (sigaction(signals[i], NULL, &action) ||
		    action.sa_handler != SIG_IGN)
			sigaddset(set, signals[i]);
}
