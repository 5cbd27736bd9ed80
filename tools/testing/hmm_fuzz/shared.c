// SPDX-License-Identifier: GPL-2.0
/*
 * What all processes of the fuzzer see.
 */
#include <stdarg.h>
#include <stdio.h>

#include "shared.h"

struct shared *shared;
__u64 task_size;

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
