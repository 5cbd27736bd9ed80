// SPDX-License-Identifier: GPL-2.0
/*
 * Fuzzer of the HMM mirroring sample devices: see Documentation/mm/hmm_mirror_fuzz.rst.
 *
 * A program is a list of calls (program.h).  It is made up (generate.c) from the grammar
 * in calls.c, or from one that is in the corpus, and executed by a worker,
 * which is a process with two threads (execute.c).  What came of each call is judged
 * (judge.c).  If it has reached code in a way that none did before (cover.c), the program
 * goes into the corpus.
 *
 * This one starts workers, round after round, and watches: that no program hangs, that
 * none finds anything wrong, that the kernel does not complain, and that nothing is left
 * of a round when all its workers have ended.
 */
#include <argp.h>
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "execute.h"
#include "generate.h"
#include "processes.h"
#include "shared.h"
#include "watch.h"

#define ROUND_MS	5000
#define PROGRESS_MS	5000
#define PATIENCE	20	/* seconds that a program may take, and to be killed */
#define MINIMIZE_MS	60000
#define LEAST_SECONDS	20	/* for every call to have succeeded */
#define LEFT_BYTES	(256L << 10)	/* of the kernel's memory, that caches may keep */

static long seconds = 60;
static const char *replay;
static unsigned int times = 1;
static unsigned int nr_killed;

static bool bad(void)
{
	return shared->failure.state;
}

/* What was done, and what came of it */

static long long calls_of(enum call_id id)
{
	long long nr = 0;
	unsigned int i;

	for (i = 0; i < MAX_ERRNO; i++)
		nr += shared->result[id][i];
	return nr;
}

static void report_progress(const char *state, long long milliseconds)
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

static void report_calls(void)
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
				printf(" %s %lld", errno_name(i), (long long)shared->result[id][i]);
		putchar('\n');
	}
	fflush(stdout);
}

/* The name of a call that has never succeeded, or NULL */
static const char *report_useless(void)
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

/* Workers */

static void start(struct worker *worker, const struct program *only)
{
	pid_t pid;

	worker->lives++;
	worker->since = 0;
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		err(2, "fork");
	if (!pid)
		work(worker, only);
	worker->pid = pid;
}

/* Has it ended, and not as it should? */
static void reap(struct worker *worker)
{
	int status;

	if (!worker->pid || waitpid(worker->pid, &status, WNOHANG) != worker->pid)
		return;
	/* Those that it has left behind */
	kill(-worker->pid, SIGKILL);
	worker->pid = 0;
	if (status)
		failed(&worker->recent[(worker->nr_recent - 1) % RECENT], MAX_CALLS,
		       "a worker ended with status %#x", status);
}

/* A program that takes too long has to be killed, and that must not take long. */
static void end_slow(struct worker *worker)
{
	const struct program *program = &worker->recent[(worker->nr_recent - 1) % RECENT];
	long long since = worker->since, end = now() + 1000 * PATIENCE;

	if (!worker->pid || !since || now() - since <= 1000 * PATIENCE)
		return;
	if (nr_killed++ < 3) {
		printf("fuzz: killed, after %d s:\n", PATIENCE);
		program_print(stdout, program);
	}
	kill(-worker->pid, SIGKILL);
	while (waitpid(worker->pid, NULL, WNOHANG) != worker->pid) {
		if (now() > end) {
			must_write_file("/proc/sysrq-trigger", "w");
			failed(program, MAX_CALLS, "it hangs, and cannot be killed");
			break;
		}
		usleep(10000);
	}
	worker->pid = 0;
}

/* What the kernel says, and the programs of who was at it, or of all */
static void watch_kernel(void)
{
	char text[200];
	int worker = -1;
	unsigned int i, j;

	if (bad() || !watch_log(text, sizeof(text), &worker))
		return;
	/* The whole of it */
	usleep(500000);
	watch_log(text, sizeof(text), &worker);
	if (worker >= WORKERS)
		worker = -1;
	for (i = 0; i < WORKERS; i++) {
		struct worker *w = &shared->worker[i];

		if (worker >= 0 && worker != (int)i)
			continue;
		printf("fuzz: the last programs of worker %u, the latest first:\n", i);
		for (j = 1; j <= 2 && j <= w->nr_recent; j++) {
			program_print(stdout, &w->recent[(w->nr_recent - j) % RECENT]);
			puts("//");
		}
	}
	failed(NULL, 0, "the kernel complains: %s", text);
}

/* Says if there is any left. */
static bool watch_workers(void)
{
	bool left = false;
	unsigned int i;

	for (i = 0; i < WORKERS; i++) {
		struct worker *worker = &shared->worker[i];

		end_slow(worker);
		reap(worker);
		if (!worker->pid && !shared->end_of_round && !shared->stop)
			start(worker, NULL);
		left |= worker->pid;
	}
	watch_kernel();
	return left;
}

/* As soon as everything has been freed that waits to be, or after some time */
static bool back_at(const struct level *base, struct level *level, long patience)
{
	long long end = now() + 1000 * patience;

	do {
		watch_level(level);
		if (level->mirrors <= base->mirrors && level->users <= base->users &&
		    level->bytes <= base->bytes + LEFT_BYTES)
			return true;
		usleep(20000);
	} while (now() < end);
	return false;
}

/* Runs a program on its own; true if something is wrong then. */
static bool run_alone(const struct program *program, unsigned int runs)
{
	struct worker *worker = &shared->worker[0];
	struct level base, level;

	watch_level(&base);
	while (runs-- && !bad()) {
		start(worker, program);
		while (worker->pid) {
			end_slow(worker);
			reap(worker);
			usleep(1000);
		}
		watch_kernel();
	}
	if (!bad() && !back_at(&base, &level, 3))
		failed(program, MAX_CALLS, "left behind: %ld mirrors, %ld users, %ld bytes",
		       level.mirrors - base.mirrors, level.users - base.users,
		       level.bytes - base.bytes);
	return bad();
}

/* After a round that has left something behind: which program does that? */
static void find_leak(void)
{
	struct failure found = shared->failure;
	unsigned int i;

	puts("fuzz: looking for the program, in the corpus");
	for (i = 0; i < shared->nr_corpus && !shared->stop; i++) {
		shared->failure.state = 0;
		if (run_alone(&shared->corpus[i], 1))
			return;
	}
	shared->failure = found;
}

/* The first round shows how much memory the kernel keeps in any case. */
static void check_level(struct level *base, unsigned int round)
{
	struct level level;

	if (!round)
		*base = (struct level){ .bytes = LONG_MAX - LEFT_BYTES };
	if (back_at(base, &level, PATIENCE)) {
		if (!round) {
			sleep(1);
			watch_level(base);
		}
		return;
	}
	failed(NULL, 0, "a round has left behind %ld mirrors, %ld users, %ld bytes",
	       level.mirrors, level.users, round ? level.bytes - base->bytes : 0);
	if (level.mirrors || level.users)
		find_leak();
}

/* Until @end, or something is wrong. */
static void fuzz(long long begin, long long end)
{
	long long shown = begin;
	struct level base;
	unsigned int round, i;

	for (round = 0; now() < end && !bad() && !shared->stop; round++) {
		long long end_of_round = now() + ROUND_MS;

		shared->end_of_round = false;
		for (i = 0; i < WORKERS; i++)
			start(&shared->worker[i], NULL);
		while (now() < end && now() < end_of_round && !bad() && !shared->stop) {
			usleep(50000);
			watch_workers();
			if (now() - shown >= PROGRESS_MS) {
				shown = now();
				report_progress("running", now() - begin);
			}
		}
		shared->end_of_round = true;
		/* What hangs is not waited for. */
		while (watch_workers())
			usleep(10000);
		if (!bad())
			check_level(&base, round);
	}
}

/* Without what it does not need to fail, as far as that can be told in time */
static void minimize(void)
{
	struct failure found = shared->failure;
	long long end = now() + MINIMIZE_MS;
	unsigned int i;

	for (i = found.program.nr; i-- && found.program.nr > 1 && now() < end;) {
		struct program less = found.program;

		program_cut(&less, i, 1);
		shared->failure.state = 0;
		if (run_alone(&less, less.race < less.nr ? 20 : 1)) {
			found = shared->failure;
			if (!found.program.nr)
				break;
		}
	}
	shared->failure = found;
}

static void show_failure(void)
{
	const struct failure *failure = &shared->failure;
	const struct program *program = &failure->program;

	printf("fuzz: %s\n", failure->text);
	if (!program->nr)
		return;
	program_print(stdout, program);
	if (failure->call < program->nr)
		printf("// in call %u, %s\n", failure->call + 1,
		       call_types[program->call[failure->call].id].name);
	minimize();
	if (!program->nr)
		return;
	printf("fuzz: what is needed for that: %s\n", failure->text);
	program_print(stdout, program);
}

static void interrupted(int signal)
{
	(void)signal;
	shared->stop = true;
}

static const char about[] =
"Calls the HMM mirroring sample devices with all that may be wrong, as root, on\n"
"a machine that has nothing better to do.  The calls are made by nobody.\n"
"\vExit status: 0 when all was well; 1 for anything that must not be, or a call\n"
"that never succeeded; 2 for wrong usage.";

static const struct argp_option options[] = {
	{ "seconds", 's', "N", 0, "how long (60)", 0 },
	{ "seed", 'r', "N", 0, "what is done at random depends on this (the time)", 0 },
	{ "replay", 'f', "FILE", 0, "run the program in FILE, as it was printed", 0 },
	{ "times", 't', "N", 0, "so many times (1)", 0 },
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
	case 'f':
		replay = arg;
		return 0;
	case 't':
		times = parse_number(arg, 1, 1000000);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static void read_replay(struct program *program)
{
	FILE *file = fopen(replay, "re");
	int line;

	if (!file)
		err(2, "%s", replay);
	line = program_read(file, program);
	if (line)
		errx(2, "%s:%d: this is no call", replay, line);
	fclose(file);
}

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

static void prepare(void)
{
	unsigned int i;

	for (i = 0; i < WORKERS; i++)
		shared->worker[i].number = i;
	/* Workers are nobody; who must not open it has other ways to be kept from it */
	if (chmod(DEVICE_C, 0666) || chmod(DEVICE_RUST, 0666))
		err(2, "the devices; the kernel needs CONFIG_SAMPLE_HMM_MIRROR_C and _RUST");
	/* To tell which program it was */
	must_write_file("/proc/sys/kernel/panic_on_oops", "0");
	corpus_init();
	processes_make();
	watch_start();
	shared->have_cover = !access("/sys/kernel/debug/kcov", F_OK);
	if (!shared->have_cover)
		puts("fuzz: the kernel has no kcov: programs come from the grammar alone");
}

static void put_back(void)
{
	processes_end();
	if (chmod(DEVICE_C, 0600) || chmod(DEVICE_RUST, 0600))
		err(2, "chmod");
}

int main(int argc, char **argv)
{
	const struct argp argp = { .options = options, .parser = parse_option, .doc = about };
	struct program program;
	long long begin;
	bool whole;

	shared = shared_memory(sizeof(*shared));
	task_size = find_task_size();
	shared->seed = time(NULL);
	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	if (geteuid())
		errx(2, "must be run as root");
	if (replay)
		read_replay(&program);
	else
		printf("fuzz: %ld s, seed %llu\n", seconds, shared->seed);
	prepare();
	signal(SIGINT, interrupted);
	signal(SIGTERM, interrupted);

	begin = now();
	if (replay)
		run_alone(&program, times);
	else
		fuzz(begin, begin + 1000 * seconds);
	whole = replay || now() - begin >= 1000 * seconds;
	report_calls();
	report_progress(bad() ? "FAILED" : whole ? "ok" : "interrupted", now() - begin);
	if (!bad() && whole && seconds >= LEAST_SECONDS && !replay && report_useless())
		failed(NULL, 0, "%s has never succeeded: the grammar is bad", report_useless());
	if (bad())
		show_failure();
	else if (watch_leaks())
		failed(NULL, 0, "memory was lost, see above");
	put_back();
	return bad() || !whole;
}
