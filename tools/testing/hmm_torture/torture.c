// SPDX-License-Identifier: GPL-2.0
/*
 * Torture test of HMM mirroring.  These run beside each other, until the time is over:
 *
 *  - the module hmm_torture, with devices of its own, see mm/tests/hmm/torture.h;
 *  - keepers, each with a victim and the two sample devices, see keeper.c;
 *  - what is done to the machine, see machine.c;
 *  - real programs, see programs.c.
 *
 * This one watches: that none of them finds anything wrong, hangs, or does nothing.
 */
#include <argp.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "file.h"
#include "shared.h"
#include "verify.h"

#define STATS		"/sys/kernel/debug/hmm_torture/stats"
#define COUNTING	"/sys/kernel/debug/hmm_mirror/counting"
#define KEEPERS		3
#define PROGRESS_MS	5000

static long seconds = 60;

/* The figures of the module, or of the kernel: lines of a name and a number */
struct number {
	const char *name;
	bool bad;		/* must be 0, or else must not */
	bool any;		/* whatever it is */
	long long before;	/* when the test began */
	long long value;	/* since then */
};

static struct number module[] = {
	{ .name = "registered" },
	{ .name = "too_late_to_register", .any = true },
	{ .name = "unregistered" },
	{ .name = "released" },
	{ .name = "callbacks" },
	{ .name = "flushes" },
	{ .name = "faults" },
	{ .name = "refused_faults" },
	{ .name = "pages" },
	{ .name = "retries" },
	{ .name = "kept_ranges" },
	{ .name = "kept_ranges_valid" },
	{ .name = "kept_ranges_hit" },
	{ .name = "reads" },
	{ .name = "writes" },
	{ .name = "collisions" },
	{ .name = "waits" },
	{ .name = "vetoes", .any = true },
	{ .name = "worst_fault_ns" },
	{ .name = "stale", .bad = true },
	{ .name = "lost_writes", .bad = true },
	{ .name = "broken_promises", .bad = true },
	{ .name = "hangs", .bad = true },
};

/* Did the memory really do what it was asked to do? */
static struct number kernel[] = {
	{ .name = "pgmigrate_success" },
	{ .name = "compact_migrate_scanned" },
	{ .name = "pswpin", .any = true },
	{ .name = "pswpout" },
	{ .name = "thp_split_pmd" },
	{ .name = "cow_ksm" },
	{ .name = "oom_kill" },
};

static int numbers_read(const char *path, struct number *numbers, size_t nr,
			long long *busy_ms, char *busy)
{
	FILE *file = fopen(path, "re");
	char line[256], name[64], what[128];
	size_t i, found = 0;

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		long long value;

		if (sscanf(line, "%63s %lld %127[^\n]", name, &value, what) < 2)
			continue;
		if (busy && !strcmp(name, "busy_ms")) {
			*busy_ms = value;
			memcpy(busy, what, sizeof(what));
		}
		for (i = 0; i < nr; i++) {
			if (strcmp(name, numbers[i].name))
				continue;
			numbers[i].value = value - numbers[i].before;
			found++;
		}
	}
	fclose(file);
	return found < nr ? -ENODATA : 0;
}

static long long number(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(module); i++)
		if (!strcmp(module[i].name, name))
			return module[i].value;
	return 0;
}

static bool module_bad(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(module); i++)
		if (module[i].bad && module[i].value)
			return true;
	return false;
}

static bool bad(void)
{
	return module_bad() || shared->figure[FIGURE_STALE] || shared->figure[FIGURE_LOST] ||
	       shared->figure[FIGURE_BROKEN];
}

/* What cannot go on leaves its stack in the kernel's log. */
static void hung(const char *who, long long ms, const char *what)
{
	failed(FIGURE_BROKEN, "hang: %s has been at it for %lld s: %s", who, ms / 1000, what);
	write_file("/proc/sysrq-trigger", "w");
	pause_ms(1000);
}

/* Fetches the figures of the module; false if something has hung. */
static bool watch_module(void)
{
	char busy[128] = "";
	long long busy_ms = 0;
	int ret;

	ret = numbers_read(STATS, module, ARRAY_SIZE(module), &busy_ms, busy);
	if (ret) {
		failed(FIGURE_BROKEN, STATS ": %s", strerror(-ret));
		return false;
	}
	if (busy_ms < 4000 * shared->patience)
		return true;
	hung("a worker of hmm_torture", busy_ms, busy);
	return false;
}

static bool watch_kernel(void)
{
	int ret = numbers_read("/proc/vmstat", kernel, ARRAY_SIZE(kernel), NULL, NULL);

	if (ret)
		failed(FIGURE_BROKEN, "/proc/vmstat: %s", strerror(-ret));
	return !ret;
}

static bool watch_parts(void)
{
	struct part *part;

	for (part = shared->part; part->name; part++) {
		long long since = now() - part->since;

		if (!part->pid || since < 4000 * shared->patience)
			continue;
		hung(part->name, since, (const char *)part->doing);
		return false;
	}
	return true;
}

/* Has a part ended that should not, or badly?  False if none is left. */
static bool reap_parts(void)
{
	struct part *part;
	bool left = false;
	int status;

	for (part = shared->part; part->name; part++) {
		if (!part->pid)
			continue;
		if (!waitpid(part->pid, &status, WNOHANG)) {
			left = true;
			continue;
		}
		part->pid = 0;
		if (status || !shared->stop)
			failed(FIGURE_BROKEN, "%s ended, with status %#x", part->name, status);
	}
	return left;
}

static void start(const char *name, int (*run)(struct part *part))
{
	struct part *part = shared->part;

	while (part->name)
		part++;
	*part = (struct part){
		.name = name, .number = part - shared->part, .since = now(),
		.doing = (uintptr_t)"starting",
	};
	fflush(stdout);
	part->pid = fork();
	if (part->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, name);
	_exit(run(part) ? 1 : 0);
}

static long long sum(enum figure figure, enum figure end)
{
	long long nr = 0;

	while (figure < end)
		nr += shared->figure[figure++];
	return nr;
}

static void progress(const char *state, long long since)
{
	long long operations = sum(0, FIGURE_STALE) + number("registered") +
			       number("unregistered") + number("faults") +
			       number("refused_faults") + number("reads") + number("writes");

	printf("torture: %s, %lld s, %lld victims, %lld operations, %lld collisions, %lld waits, ",
	       state, (now() - since) / 1000, sum(FIGURE_EXIT, FIGURE_OOM + 1), operations,
	       number("collisions"), number("waits"));
	printf("%lld vetoes, worst fault %lld ms, %lld stale, seed %llu\n",
	       number("vetoes") + shared->figure[FIGURE_MRELEASE_VETOED],
	       number("worst_fault_ns") / 1000000,
	       number("stale") + shared->figure[FIGURE_STALE], shared->seed);
	fflush(stdout);
}

static void table(const char *title, const struct number *numbers, size_t nr)
{
	printf("%s\n", title);
	for (; nr; nr--, numbers++)
		printf("  %-28s %10lld\n", numbers->name, numbers->value);
}

/* What nothing came of, so that it was not tested, or NULL. */
static const char *untested(void)
{
	size_t i;

	for (i = 0; i < FIGURE_NR; i++)
		if (figures[i].needed && !shared->figure[i])
			return figures[i].text;
	for (i = 0; i < ARRAY_SIZE(module); i++)
		if (!module[i].bad && !module[i].any && !module[i].value)
			return module[i].name;
	for (i = 0; i < ARRAY_SIZE(kernel); i++)
		if (!kernel[i].any && !kernel[i].value)
			return kernel[i].name;
	return NULL;
}

static void summary(void)
{
	size_t i;

	fflush(stdout);
	if (module_bad() && system("dmesg | grep 'hmm_torture: .*: '"))
		puts("torture: the kernel's log says what the module has found");
	puts("Victims, the machine, and the sample devices");
	for (i = 0; i < FIGURE_NR; i++)
		printf("  %-28s %10lld\n", figures[i].text, (long long)shared->figure[i]);
	table("The module hmm_torture", module, ARRAY_SIZE(module));
	table("The kernel, meanwhile", kernel, ARRAY_SIZE(kernel));
}

static void load_module(void)
{
	char command[128];

	snprintf(command, sizeof(command),
		 "modprobe hmm_torture seed=%llu patience=%ld", shared->seed,
		 shared->patience);
	if (system(command))
		errx(2, "cannot load hmm_torture; the kernel needs CONFIG_HMM_MIRROR_TORTURE=m");
}

/* The last children of victims may have it in use for a moment. */
static void unload_module(void)
{
	long long end = now() + 1000 * shared->patience;

	while (syscall(SYS_delete_module, "hmm_torture", O_NONBLOCK)) {
		if (now() > end) {
			failed(FIGURE_BROKEN, "cannot unload hmm_torture: %s", strerror(errno));
			break;
		}
		pause_ms(100);
	}
}

/* The figures of a mirror come when it is unregistered. */
static bool all_came(void)
{
	long long end = now() + 1000 * shared->patience;

	while (number("registered") != number("unregistered") && now() < end) {
		pause_ms(100);
		if (!watch_module())
			return false;
	}
	if (number("registered") == number("unregistered"))
		return true;
	failed(FIGURE_BROKEN, "%lld mirrors were registered, and %lld unregistered",
	       number("registered"), number("unregistered"));
	return false;
}

static void interrupted(int signal)
{
	(void)signal;
	shared->stop = true;
}

static const char about[] =
"Tortures HMM mirroring, as root, on a machine that has nothing better to do.\n"
"\vExit status: 0 when all was well; 1 for a stale page, a hang, anything else\n"
"that must not be, or something that was to be tested and was not; 2 for wrong\n"
"usage.";

static const struct argp_option options[] = {
	{ "seconds", 's', "N", 0, "how long (60)", 0 },
	{ "seed", 'r', "N", 0, "what is done at random depends on this (the time)", 0 },
	{ "patience", 'p', "N", 0,
	  "seconds that a fault may take; four times that is a hang (30)", 0 },
	{ }
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	(void)state;
	switch (key) {
	case 's':
		seconds = parse_number(arg, 1, 1000000);
		return 0;
	case 'r':
		shared->seed = parse_number(arg, 0, ~0ULL);
		return 0;
	case 'p':
		shared->patience = parse_number(arg, 1, 3600);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

/* True when it has come to its end. */
static bool torture(long long begin, long long end)
{
	long long shown = begin;
	bool alive = true, whole;
	unsigned int i;

	start("machine", machine);
	start("programs", programs);
	for (i = 0; i < KEEPERS; i++)
		start("keeper", keeper);

	/* On a slow machine it takes longer until everything has happened */
	while (alive && !shared->stop && !bad() &&
	       (now() < end || (untested() && now() < end + 3 * (end - begin)))) {
		pause_ms(200);
		alive = watch_module() && watch_parts() && watch_kernel();
		reap_parts();
		if (now() - shown >= PROGRESS_MS) {
			shown = now();
			progress("running", begin);
		}
	}
	whole = now() >= end;
	shared->stop = true;
	while (alive && reap_parts()) {
		pause_ms(100);
		alive = watch_module() && watch_parts();
	}
	/* What hangs would make this hang */
	if (alive && all_came())
		unload_module();
	if (whole && !bad() && untested())
		failed(FIGURE_BROKEN, "nothing came of this, so it was not tested: %s", untested());
	return whole;
}

int main(int argc, char **argv)
{
	const struct argp argp = { .options = options, .parser = parse_option, .doc = about };
	long long begin;
	bool whole;
	size_t i;

	shared = shared_memory(sizeof(*shared));
	shared->seed = time(NULL);
	shared->patience = 30;
	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	if (geteuid())
		errx(2, "must be run as root");
	if (verify_self_test(stdout))
		errx(1, "the comparison with pagemap does not work");

	printf("torture: %ld s, seed %llu\n", seconds, shared->seed);
	load_module();
	if (write_file(COUNTING, "1"))
		errx(2, "cannot write " COUNTING);
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	signal(SIGINT, interrupted);
	signal(SIGTERM, interrupted);

	watch_kernel();
	for (i = 0; i < ARRAY_SIZE(kernel); i++)
		kernel[i].before = kernel[i].value;
	begin = now();
	whole = torture(begin, begin + 1000 * seconds);
	write_file(COUNTING, "0");
	summary();
	progress(bad() ? "FAILED" : whole ? "ok" : "interrupted", begin);
	return bad() || !whole;
}

