// SPDX-License-Identifier: GPL-2.0
/*
 * What is done to the machine, beside what victims do to their memory: CPUs come and
 * go, and so do modules; memory is compacted and merged; tracing is switched.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "device.h"
#include "file.h"
#include "shared.h"

#define KSM		"/sys/kernel/mm/ksm/"
#define MAY_SLEEP	"/sys/module/hmm_mirror_c/parameters/may_sleep"
#define OF_2017		"/sys/module/hmm_mirror_c/parameters/of_2017"
#define COUNTERS	"/sys/kernel/debug/hmm_mirror/counters"
#define TRACE		"/sys/kernel/tracing/"
#define COLLIDE		"/sys/kernel/debug/fail_hmm_mirror/"

static struct part *part;
static __u64 seed;

static void must(int ret, const char *path)
{
	if (ret)
		failed(FIGURE_BROKEN, "%s: %s", path, strerror(-ret));
}

static void must_write(const char *path, const char *text)
{
	must(write_file(path, text), path);
}

static void hotplug(void)
{
	static const char path[] = "/sys/devices/system/cpu/cpu1/online";

	must_write(path, "0");
	pause_ms(random_below(&seed, 200));
	must_write(path, "1");
	count(FIGURE_CPU, 1);
}

static void compact(void)
{
	must_write("/proc/sys/vm/compact_memory", "1");
	count(FIGURE_COMPACT, 1);
}

static void merge(void)
{
	int ret;

	must_write(KSM "pages_to_scan", "500");
	must_write(KSM "sleep_millisecs", "20");
	must_write(KSM "run", "1");
	pause_ms(200 + random_below(&seed, 1000));
	/* All that is merged parts; not if a victim's memory cgroup has no more */
	ret = write_file(KSM "run", "2");
	if (ret != -ENOMEM)
		must(ret, KSM "run");
	count(FIGURE_UNMERGE, !ret);
	must_write(KSM "run", "1");
}

/*
 * Nobody opens the device any more, but who has it open keeps its module, and that has
 * to be so.  When it does not work this time, it may the next.
 */
static void reload(void)
{
	static const char *device = DEVICE_RUST;
	bool rust = !strcmp(device, DEVICE_RUST);
	const char *module = rust ? "hmm_mirror_rust" : "hmm_mirror_c";
	const char *load = rust ? "modprobe hmm_mirror_rust" : "modprobe hmm_mirror_c";
	unsigned int tries;

	shared->avoid = (uintptr_t)device;
	for (tries = 0; tries < 20; tries++) {
		if (!syscall(SYS_delete_module, module, O_NONBLOCK)) {
			pause_ms(random_below(&seed, 50));
			must(system(load) ? -ENOEXEC : 0, load);
			count(FIGURE_RELOAD, 1);
			break;
		}
		if (errno == ENOENT)	/* built in */
			break;
		count(FIGURE_RELOAD_BUSY, 1);
		pause_ms(20);
	}
	if (tries == 20)
		return;
	shared->avoid = 0;
	device = rust ? DEVICE_C : DEVICE_RUST;
}

/*
 * For who is bound from now on.  With the one of 2017 process_mrelease(2) is refused, with
 * one that may sleep it is where another one is running, and else never.
 */
static void callback(void)
{
	bool of_2017 = !random_below(&seed, 4), may_sleep = random_below(&seed, 2);

	/* The module may be about to be loaded again */
	if (access(MAY_SLEEP, F_OK))
		return;
	/* Where the registry is a module as well, neither is taken */
	if (!access("/sys/module/hmm_mirror", F_OK)) {
		of_2017 = false;
		may_sleep = false;
	}
	if (!write_file(OF_2017, of_2017 ? "Y" : "N") &&
	    !write_file(MAY_SLEEP, may_sleep ? "Y" : "N"))
		count(FIGURE_CALLBACK, 1);
}

static void trace(void)
{
	must_write(TRACE "events/hmm/enable", random_below(&seed, 2) ? "1" : "0");
	count(FIGURE_TRACE, 1);
}

static void counters(void)
{
	char text[4096];
	int fd = open(COUNTERS, O_RDONLY | O_CLOEXEC);

	must(fd < 0 ? -errno : 0, COUNTERS);
	while (read(fd, text, sizeof(text)) > 0)
		;
	close(fd);
	count(FIGURE_COUNTERS, 1);
}

/* Every so many steps of a device page fault one collides, see FAIL_HMM_MIRROR */
static void collide(void)
{
	char interval[16];

	if (access(COLLIDE, F_OK))
		return;
	/* Not often enough to keep a fault from ever succeeding */
	snprintf(interval, sizeof(interval), "%u", 7 + random_below(&seed, 60));
	must_write(COLLIDE "verbose", "0");
	must_write(COLLIDE "interval", interval);
	must_write(COLLIDE "times", "-1");
	must_write(COLLIDE "probability", "100");
}

static const struct {
	const char *what;
	void (*act)(void);
} acts[] = {
	{ "CPU hotplug", hotplug },
	{ "compaction", compact },
	{ "ksm", merge },
	{ "module reload", reload },
	{ "callback", callback },
	{ "tracing", trace },
	{ "counters", counters },
	{ "fault injection", collide },
};

int machine(struct part *its_part)
{
	unsigned int order[ARRAY_SIZE(acts)], i;

	part = its_part;
	seed = random_seed(part, 0);
	must_write(KSM "run", "1");
	collide();
	while (!shared->stop) {
		random_order(&seed, order, ARRAY_SIZE(acts));
		for (i = 0; i < ARRAY_SIZE(acts) && !shared->stop; i++) {
			doing(part, acts[order[i]].what);
			acts[order[i]].act();
			pause_ms(random_below(&seed, 100));
		}
	}
	doing(part, "putting things back");
	write_file(COLLIDE "probability", "0");
	write_file(TRACE "events/hmm/enable", "0");
	write_file(KSM "run", "2");
	write_file(OF_2017, "N");
	write_file(MAY_SLEEP, "N");
	return 0;
}
