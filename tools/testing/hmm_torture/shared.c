// SPDX-License-Identifier: GPL-2.0
/*
 * What all parts of the torture test see.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "device.h"
#include "shared.h"

struct shared *shared;

const struct figure_type figures[FIGURE_NR] = {
	[FIGURE_MUNMAP] = { "munmap", true },
	[FIGURE_MPROTECT] = { "mprotect", true },
	[FIGURE_MREMAP] = { "mremap", true },
	[FIGURE_DONTNEED] = { "MADV_DONTNEED", true },
	[FIGURE_FREE] = { "MADV_FREE", true },
	[FIGURE_FORK] = { "fork", true },
	[FIGURE_COLLAPSE] = { "collapse", true },
	[FIGURE_SPLIT] = { "split", true },
	[FIGURE_MOVE_PAGES] = { "move_pages", true },
	[FIGURE_PAGEOUT] = { "MADV_PAGEOUT", true },
	[FIGURE_MERGE] = { "ksm", true },
	[FIGURE_TRUNCATE] = { "truncate", true },
	[FIGURE_EXIT] = { "exit", true },
	[FIGURE_EXEC] = { "execve", true },
	[FIGURE_KILL] = { "SIGKILL", true },
	[FIGURE_MRELEASE] = { "process_mrelease", true },
	[FIGURE_OOM] = { "OOM kill", true },
	[FIGURE_MRELEASE_VETOED] = { "process_mrelease vetoed" },
	[FIGURE_CPU] = { "CPU hotplug", true },
	[FIGURE_COMPACT] = { "compaction", true },
	[FIGURE_UNMERGE] = { "ksm unmerge", true },
	[FIGURE_RELOAD] = { "module reload", true },
	[FIGURE_RELOAD_BUSY] = { "module in use" },
	[FIGURE_CALLBACK] = { "callback switch", true },
	[FIGURE_TRACE] = { "tracing switch", true },
	[FIGURE_COUNTERS] = { "counters read", true },
	[FIGURE_PROGRAM] = { "real programs", true },
	[FIGURE_READ] = { "device reads", true },
	[FIGURE_WRITE] = { "device writes", true },
	[FIGURE_MAP] = { "device maps", true },
	[FIGURE_SELF] = { "device used by its process", true },
	[FIGURE_BUSY] = { "device busy" },
	[FIGURE_VERIFIED] = { "entries verified", true },
	[FIGURE_DEATH] = { "deaths seen by devices", true },
	[FIGURE_STALE] = { "stale" },
	[FIGURE_LOST] = { "lost writes" },
	[FIGURE_BROKEN] = { "failures" },
};

void failed(enum figure figure, const char *format, ...)
{
	va_list args;

	if (atomic_fetch_add(&shared->figure[figure], 1) >= 10)
		return;
	printf("torture: %s: ", figures[figure].text);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

int open_unless_avoided(const char *device)
{
	const char *avoid = (const char *)shared->avoid;

	return avoid && !strcmp(device, avoid) ? -EBUSY : device_open(device);
}
