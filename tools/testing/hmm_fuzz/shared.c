// SPDX-License-Identifier: GPL-2.0
/*
 * What all processes of the fuzzer see.
 */
#include <err.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#include "shared.h"

struct shared *shared;
__u64 task_size;

/* With five levels of page tables it is larger. */
static __u64 find_task_size(void)
{
	void *high = (void *)(1UL << 50);
	void *map = mmap(high, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		err(2, "mmap");
	munmap(map, PAGE);
	return (map == high ? 1ULL << 56 : 1ULL << 47) - PAGE;
}

void shared_init(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		err(2, "mmap");
	task_size = find_task_size();
}

void failed(const struct program *program, unsigned int call, const char *format, ...)
{
	struct failure *failure = &shared->failure;
	va_list args;
	int none = 0;

	if (!atomic_compare_exchange_strong(&failure->state, &none, 1))
		return;
	failure->program = program ? *program : (struct program){ };
	failure->call = call;
	va_start(args, format);
	vsnprintf(failure->text, sizeof(failure->text), format, args);
	va_end(args);
	failure->state = 2;
}
