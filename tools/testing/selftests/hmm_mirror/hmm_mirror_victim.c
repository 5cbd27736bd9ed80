// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that are hard to mirror without disturbing them, for the tests of
 * hmm-mirror in hmm_mirror_cmd.sh.
 *
 * Usage: hmm_mirror_victim MODE SECONDS
 *
 * In most modes somebody writes to memory all the time, and looks whether it
 * still has what was written last: mirroring must not undo a write. The exit
 * status is 0 if nothing was noticed. The modes say who writes:
 *
 *   shared      a process that shares the memory of its parent, and calls execve()
 *               in the end
 *   clone       the same, of which the parent is told by no signal
 *   untraced    the same, of which a tracer is not told
 *   traced      a thread that another process traces, which calls execve() in the
 *               end
 *   heir        a process that shares the memory of its parent, and outlives it
 *   copy        a process with memory of its own, which the parent waits for as
 *               in vfork()
 *   leaderless  a thread that outlives the main thread. It looks for how long it
 *               is not run, instead.
 *   ignored     nobody: the signals that are blocked and ignored are shown
 */
#include <err.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGES		24
#define STACK_SIZE	(256 << 10)
#define STALL_SECONDS	0.5	/* a busy machine, but no timeout of hmm-mirror */
#define KSFT_SKIP	4

static unsigned long *page[PAGES];
static double seconds;
static unsigned long undone;
static pid_t writer_tid;
static bool go;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void memory_make(void)
{
	const size_t size = sysconf(_SC_PAGESIZE);
	char *memory;
	size_t i;

	memory = mmap(NULL, PAGES * size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		err(2, "mmap");
	for (i = 0; i < PAGES; i++)
		page[i] = (unsigned long *)(memory + i * size);
}

/* Uses nothing of libc that belongs to the thread which shares its TLS. */
static void write_and_look(void)
{
	const double end = now() + seconds;
	unsigned long round, i;

	for (round = 1; round % 1024 || now() < end; round++)
		for (i = 0; i < PAGES; i++) {
			if (__atomic_load_n(page[i], __ATOMIC_RELAXED) != round - 1)
				undone++;
			__atomic_store_n(page[i], round, __ATOMIC_RELAXED);
		}
}

/* Somebody may attach now. */
static void ready(void)
{
	puts("ready");
	fflush(stdout);
}

static int report(void)
{
	printf("%lu writes undone\n", undone);
	return undone ? 1 : 0;
}

static int sharer(void *arg)
{
	char *const argv[] = { "true", NULL };

	write_and_look();
	if (arg && !undone)
		execv("/bin/true", argv);
	_exit(undone ? 1 : 0);
}

static pid_t clone_sharer(int flags, void *arg)
{
	char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	pid_t pid;

	if (stack == MAP_FAILED)
		err(2, "mmap");
	pid = clone(sharer, stack + STACK_SIZE, flags, arg);
	if (pid < 0)
		err(2, "clone");
	return pid;
}

/* Waits for @pid, or for any child, and returns whether all went well. */
static bool ended_well(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, __WALL) < 0)
		err(2, "waitpid");
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

static int shared(int flags)
{
	pid_t pid = clone_sharer(flags, "execve");
	bool well;

	ready();
	well = ended_well(pid);
	return report() || !well ? 1 : 0;
}

static void *writer(void *arg)
{
	char *const argv[] = { "true", NULL };

	__atomic_store_n(&writer_tid, syscall(SYS_gettid), __ATOMIC_RELAXED);
	while (!__atomic_load_n(&go, __ATOMIC_RELAXED))
		usleep(1000);
	write_and_look();
	if (!report()) {
		fflush(stdout);
		execv("/bin/true", argv);
	}
	_exit(1);
}

static int traced(void)
{
	pthread_t thread;
	int pipes[2], status;
	pid_t tid;
	char byte;

	if (pipe(pipes) || pthread_create(&thread, NULL, writer, NULL))
		err(2, "cannot start a thread");
	while (!(tid = __atomic_load_n(&writer_tid, __ATOMIC_RELAXED)))
		usleep(1000);
	if (!fork()) {
		close(pipes[0]);
		if (ptrace(PTRACE_SEIZE, tid, 0, 0))
			err(2, "ptrace");
		if (write(pipes[1], "", 1) != 1)
			err(2, "write");
		close(pipes[1]);
		while (waitpid(-1, &status, __WALL) > 0)
			if (WIFSTOPPED(status))
				ptrace(PTRACE_CONT, tid, 0, 0);
		_exit(0);
	}
	close(pipes[1]);
	if (read(pipes[0], &byte, 1) != 1)
		errx(2, "no tracer");
	ready();
	__atomic_store_n(&go, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	return 2;
}

static int heir(void)
{
	bool well;

	/* The writer becomes a child of this process when its parent has ended. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!fork()) {
		clone_sharer(CLONE_VM | SIGCHLD, NULL);
		usleep(100000);
		syscall(SYS_exit_group, 0);
	}
	well = ended_well(-1);
	return ended_well(-1) && well ? 0 : 1;
}

static int copy(void)
{
	pid_t pid = syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0);

	if (!pid) {
		write_and_look();
		_exit(report());
	}
	return ended_well(pid) ? 0 : 1;
}

static void *lonely(void *arg)
{
	double end, last, longest = 0;

	/* Until the main thread is a zombie. */
	usleep(100000);
	last = now();
	for (end = last + seconds; last < end;) {
		double time;

		usleep(1000);
		time = now();
		if (time - last > longest)
			longest = time - last;
		last = time;
		memset(page[0], 1, sysconf(_SC_PAGESIZE));
	}
	printf("not run for %.3f s\n", longest);
	exit(longest > STALL_SECONDS ? 1 : 0);
}

static void leaderless(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, lonely, NULL))
		err(2, "cannot start a thread");
	pthread_exit(NULL);
}

static int ignored(void)
{
	char line[128];
	FILE *file = fopen("/proc/self/status", "r");

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, "SigBlk", 6) || !strncmp(line, "SigIgn", 6))
			fputs(line, stdout);
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argv[1];

	if (argc != 3) {
		puts("1..0 # SKIP this is for hmm_mirror_cmd.sh");
		return KSFT_SKIP;
	}
	seconds = atof(argv[2]);
	memory_make();
	if (!strcmp(mode, "shared"))
		return shared(CLONE_VM | SIGCHLD);
	if (!strcmp(mode, "clone"))
		return shared(CLONE_VM);
	if (!strcmp(mode, "untraced"))
		return shared(CLONE_VM | CLONE_UNTRACED | SIGCHLD);
	if (!strcmp(mode, "traced"))
		return traced();
	if (!strcmp(mode, "heir"))
		return heir();
	if (!strcmp(mode, "copy"))
		return copy();
	if (!strcmp(mode, "leaderless"))
		leaderless();
	if (!strcmp(mode, "ignored"))
		return ignored();
	puts("1..0 # SKIP this is for hmm_mirror_cmd.sh");
	return KSFT_SKIP;
}
