// SPDX-License-Identifier: GPL-2.0
/*
 * What was done, and what came of it.
 */
#include <string.h>

#include "report.h"
#include "shared.h"
#include "text.h"

static long long calls_of(enum call_id id)
{
	long long nr = 0;
	unsigned int i;

	for (i = 0; i < MAX_ERRNO; i++)
		nr += shared->result[id][i];
	return nr;
}

void report_progress(const char *state, long long milliseconds)
{
	long long calls = 0;
	enum call_id id;

	for (id = 0; id < CALL_NR; id++)
		calls += calls_of(id);
	printf("fuzz: %s, %lld s, %lld programs, %lld races, %lld calls, %lld a second, ", state,
	       milliseconds / 1000, (long long)shared->programs, (long long)shared->races, calls,
	       calls * 1000 / (milliseconds + 1));
	if (shared->have_cover)
		printf("%u places reached, %u ways, ", shared->pcs, shared->edges);
	printf("%u in the corpus, seed %llu\n", shared->nr_corpus, shared->seed);
	fflush(stdout);
}

/* Documented errors that nothing came to; hard to come to does not mean wrong. */
static void report_unseen(enum call_id id)
{
	const char *next = call_types[id].errnos;
	char name[32];
	int n;

	for (; next && sscanf(next, "%31s%n", name, &n) == 1; next += n) {
		unsigned int i;

		for (i = 1; i < MAX_ERRNO; i++)
			if (shared->result[id][i] && !strcmp(errno_name(i), name))
				break;
		if (i == MAX_ERRNO)
			printf(" (no %s)", name);
	}
}

void report_calls(void)
{
	enum call_id id;
	unsigned int i;

	printf("%-10s %10s %10s\n", "call", "succeeded", "failed");
	for (id = 0; id < CALL_NR; id++) {
		long long succeeded = shared->result[id][0];

		printf("%-10s %10lld %10lld ", call_types[id].name, succeeded,
		       calls_of(id) - succeeded);
		for (i = 1; i < MAX_ERRNO; i++)
			if (shared->result[id][i])
				printf(" %s %lld", errno_name(i),
				       (long long)shared->result[id][i]);
		report_unseen(id);
		putchar('\n');
	}
	fflush(stdout);
}

const char *report_useless(void)
{
	enum call_id id;

	/*
	 * What is no call of a device must not succeed; and process_mrelease() needs a
	 * process that is just dying.
	 */
	for (id = 0; id < CALL_NR; id++)
		if (id != CALL_IOCTL && id != CALL_MRELEASE && !shared->result[id][0])
			return call_types[id].name;
	return NULL;
}
