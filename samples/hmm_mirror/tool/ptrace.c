// SPDX-License-Identifier: GPL-2.0
/*
 * Follows processes with ptrace(2).
 *
 * Each thread of each traced process is a task here, since any of them may call
 * execve() or fork(). New threads and, with @follow, new processes are attached
 * by the kernel: the new task stops once, its parent stops once with an event
 * that says how it was made, and the two come in either order. The parent's does
 * not come if it is killed.
 *
 * What is stopped is an address space, not a process: clone() with CLONE_VM makes
 * a process that shares its parent's, for a moment (vfork(), posix_spawn()) or
 * for ever. So each task belongs to a space here, and kcmp() says to which.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "ptrace.h"

/*
 * Without @follow, a new process is let go as soon as it has an address space of
 * its own: after fork() at once, after vfork() when it calls execve().
 */
#define TRACE_OPTIONS	(PTRACE_O_TRACEEXEC | PTRACE_O_TRACECLONE | \
			 PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | \
			 PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXIT)

/* The exit status when we cannot go on, as env(1) has it. */
#define EXIT_TRACE	125

/* How long trace_stop() waits for threads that are busy in the kernel. */
#define STOP_MS		1000

struct task {
	pid_t tid;
	pid_t tgid;
	unsigned int space;	/* address space: equal where it is shared */
	int sig;		/* signal to deliver when it goes on */
	int birth;		/* event by which its parent told, until it stops */
	bool unborn;		/* has not stopped yet; or its parent has not told */
	bool stopped;		/* in a ptrace stop, waits for us */
	bool away;		/* in the kernel, and does not stop: in vfork(), or stuck */
	bool exiting;		/* has begun to end */
	bool dead;		/* has ended, but is to be reaped with its process */
};

static struct {
	const struct trace_ops *ops;
	pid_t pid;		/* the process that was asked for */
	bool follow;
	struct task *task;	/* sorted by tid */
	size_t nr;
	size_t capacity;
	unsigned int spaces;	/* so many there have been */
	bool no_kcmp;		/* the kernel lacks CONFIG_KCMP */
	pid_t held_pid;		/* what trace_stop() was called for, or 0 */
	unsigned int held;	/* its space */
} trace;

/* The first task that does not come before @tid. */
static size_t task_index(pid_t tid)
{
	size_t low = 0, high = trace.nr;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (trace.task[middle].tid < tid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct task *task_find(pid_t tid)
{
	size_t i = task_index(tid);

	return i < trace.nr && trace.task[i].tid == tid ? &trace.task[i] : NULL;
}

static struct task *task_add(pid_t tid, pid_t tgid, unsigned int space)
{
	size_t i = task_index(tid);

	if (trace.nr == trace.capacity) {
		trace.capacity = 2 * trace.capacity + 16;
		trace.task = realloc(trace.task,
				     trace.capacity * sizeof(*trace.task));
		if (!trace.task)
			err(EXIT_TRACE, "cannot trace");
	}
	memmove(&trace.task[i + 1], &trace.task[i],
		(trace.nr - i) * sizeof(*trace.task));
	trace.nr++;
	trace.task[i] = (struct task){ .tid = tid, .tgid = tgid, .space = space };
	return &trace.task[i];
}

/* Forgets @tid, or all of @tgid but @tid. */
static void task_forget(pid_t tid, pid_t tgid)
{
	size_t i, nr = 0;

	for (i = 0; i < trace.nr; i++) {
		const struct task *task = &trace.task[i];

		if (tgid ? task->tgid != tgid || task->tid == tid :
			   task->tid != tid)
			trace.task[nr++] = *task;
	}
	trace.nr = nr;
}

/* Whether two tasks share an address space: 1, 0, or a negative errno value. */
static int memory_shared(pid_t one, pid_t two)
{
	long ret = syscall(SYS_kcmp, one, two, KCMP_VM, 0, 0);

	return ret < 0 ? -errno : !ret;
}

/*
 * Without kcmp(), take it that those who call fork() share nothing, and that
 * others share the memory of their parent.
 */
static bool may_share(int event)
{
	return trace.no_kcmp && event != PTRACE_EVENT_FORK;
}

/*
 * The address space of the new process @pid, which has not run yet: that of a
 * process that is traced already, or a new one.
 */
static unsigned int space_of(pid_t pid)
{
	unsigned int compared = 0;
	size_t i;

	for (i = 0; i < trace.nr && !trace.no_kcmp; i++) {
		const struct task *task = &trace.task[i];

		/* One that ends may have no memory any more. */
		if (task->tid == pid || task->unborn || task->exiting ||
		    task->space == compared)
			continue;
		compared = task->space;
		if (memory_shared(task->tid, pid) == 1)
			return task->space;
	}
	return ++trace.spaces;
}

/* Another process that is to live on with the address space of @task. */
static pid_t space_heir(const struct task *task)
{
	size_t i;

	for (i = 0; i < trace.nr; i++) {
		const struct task *other = &trace.task[i];

		if (other->space == task->space && other->tgid != task->tgid &&
		    !other->unborn && !other->exiting)
			return other->tgid;
	}
	return 0;
}

static pid_t tgid_of(pid_t tid)
{
	char path[32], line[64];
	pid_t tgid = tid;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	file = fopen(path, "re");
	if (!file)
		return tgid;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "Tgid: %d", &tgid) == 1)
			break;
	fclose(file);
	return tgid;
}

/* The letter in /proc/PID/stat, or 0. */
static char thread_state(pid_t tgid, pid_t tid)
{
	char path[48], line[128], *end;
	char state = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", tgid, tid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	/* The name of the program, in brackets, may be any text. */
	if (fgets(line, sizeof(line), file)) {
		end = strrchr(line, ')');
		if (end)
			sscanf(end + 1, " %c", &state);
	}
	fclose(file);
	return state;
}

/*
 * Has somebody stopped the whole process? That may have changed since the task stopped,
 * as device_bind() makes it go on for a moment.
 */
static bool group_stopped(pid_t tid)
{
	siginfo_t info;

	return !ptrace(PTRACE_GETSIGINFO, tid, 0, &info) && info.si_code > 0 &&
	       info.si_code >> 8 == PTRACE_EVENT_STOP && info.si_signo != SIGTRAP;
}

static void task_go_on(struct task *task)
{
	/* A failure means that it has died; waitpid() will tell. */
	task->stopped = false;
	if (group_stopped(task->tid))
		ptrace(PTRACE_LISTEN, task->tid, 0, 0);
	else
		ptrace(PTRACE_CONT, task->tid, 0, (long)task->sig);
	task->sig = 0;
}

/* Is @tid traced by us, and has not ended? */
static bool task_ours(pid_t tid)
{
	siginfo_t info;

	return !waitid(P_PID, tid, &info,
		       WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL);
}

static void task_let_go(pid_t tid)
{
	ptrace(PTRACE_DETACH, tid, 0, 0);
	task_forget(tid, 0);
}

/* A new task has stopped, before it runs. Its parent has told of it, or will. */
static void task_born(struct task *task, int event)
{
	const unsigned int spaces = trace.spaces;
	const struct task *leader;
	pid_t tid = task->tid;

	task->unborn = false;
	task->tgid = tgid_of(tid);
	leader = task_find(task->tgid);
	task->space = leader && leader != task ? leader->space :
					       space_of(tid);
	if (task->tgid == tid && !trace.follow &&
	    (task->space > spaces || trace.no_kcmp)) {
		task_let_go(tid);
		return;
	}
	if (task->space > spaces && !may_share(event))
		trace.ops->image(tid, false);
	if (task->space != trace.held)
		task_go_on(task);
}

/* @tid has called execve(). Returns whether it is still traced. */
static bool task_execed(pid_t tid)
{
	struct task *task = task_find(tid);
	bool held = trace.held && trace.held_pid == tid;
	pid_t heir = space_heir(task);

	/* All other threads are gone; this one is the leader now. */
	task_forget(tid, tid);
	task = task_find(tid);
	*task = (struct task){
		.tid = tid, .tgid = tid, .space = ++trace.spaces, .stopped = true,
	};
	/* trace_stop() waits for what is the address space of @tid now. */
	if (held) {
		trace_resume();
		trace.held_pid = tid;
		trace.held = task->space;
	}
	if (!trace.follow && tid != trace.pid) {
		task_let_go(tid);
		return false;
	}
	if (trace.follow && heir)
		trace.ops->inherited(tid, heir);
	trace.ops->image(tid, true);
	return true;
}

static bool all_exiting(pid_t tgid)
{
	size_t i;

	for (i = 0; i < trace.nr; i++)
		if (trace.task[i].tgid == tgid && !trace.task[i].exiting)
			return false;
	return true;
}

static void task_stopped(pid_t tid, int sig, int event)
{
	struct task *task = task_find(tid);
	unsigned long message = 0;
	struct task *child;

	if (!task) {
		task = task_add(tid, 0, 0);
		task->unborn = true;
	}
	task->stopped = true;
	task->away = false;
	if (task->unborn) {
		/* Without kcmp(), what its parent tells is all there is. */
		if (task->birth || !trace.no_kcmp)
			task_born(task, task->birth);
		return;
	}

	switch (event) {
	case 0:
		/* It is delivered; what is held stops once more, before a handler runs. */
		task->sig = sig;
		if (task->space == trace.held) {
			ptrace(PTRACE_INTERRUPT, tid, 0, 0);
			task_go_on(task);
			return;
		}
		break;
	case PTRACE_EVENT_EXEC:
		if (!task_execed(tid))
			return;
		break;
	case PTRACE_EVENT_VFORK:
		task->away = true;
		__attribute__((fallthrough));
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_CLONE:
		ptrace(PTRACE_GETEVENTMSG, tid, 0, &message);
		child = task_find(message);
		if (child && child->unborn) {
			task_born(child, event);
		} else if (!child && task_ours(message)) {
			child = task_add(message, 0, 0);
			child->unborn = true;
			child->birth = event;
		}
		break;
	case PTRACE_EVENT_EXIT:
		/* The main thread may end long before the others. */
		task->exiting = true;
		if (all_exiting(task->tgid))
			trace.ops->exiting(task->tgid);
		break;
	}

	/* The array may have moved, and the task with it. */
	task = task_find(tid);
	if (task->space != trace.held)
		task_go_on(task);
}

static void task_ended(pid_t tid, int status)
{
	struct task *task = task_find(tid);
	pid_t heir;

	if (!task)
		return;
	if (tid == task->tgid) {
		heir = trace.follow ? space_heir(task) : 0;
		if (heir)
			trace.ops->inherited(tid, heir);
		task_forget(0, tid);
		trace.ops->gone(tid, status);
	} else {
		task_forget(tid, 0);
	}
}

void trace_poll(void)
{
	int status;
	pid_t tid;

	while ((tid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
		if (WIFSTOPPED(status))
			task_stopped(tid, WSTOPSIG(status), status >> 16);
		else
			task_ended(tid, status);
	}
	/*
	 * A thread that another tracer has may call execve(), and so take the
	 * place of the main thread; nobody tells us.
	 */
	if (task_find(trace.pid) && !task_ours(trace.pid))
		task_ended(trace.pid, 0);
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

/*
 * A thread that has begun to end still writes to its memory: the kernel clears
 * the word that pthread_join() waits for. The main thread stays behind as a
 * zombie until all others have ended, and wait() does not tell.
 */
static void task_look_dead(struct task *task)
{
	if (task->exiting && task->tid == task->tgid && !task->dead)
		task->dead = thread_state(task->tgid, task->tid) == 'Z';
}

/* Counts those in the space that is held which run, and those that are away. */
static void count_running(size_t *running, size_t *away)
{
	size_t i;

	*running = *away = 0;
	for (i = 0; i < trace.nr; i++) {
		struct task *task = &trace.task[i];

		if (task->stopped)
			continue;
		/* The unborn may belong here, and have its tid written to memory. */
		if (task->space != trace.held && !task->unborn)
			continue;
		task_look_dead(task);
		if (task->dead)
			continue;
		if (task->away)
			(*away)++;
		else
			(*running)++;
	}
}

int trace_stop(pid_t pid)
{
	const struct task *leader = task_find(pid);
	size_t running = 0, away = 0, i;
	int waited;

	if (!leader)
		return -ESRCH;
	trace.held_pid = pid;
	trace.held = leader->space;
	for (i = 0; i < trace.nr; i++) {
		const struct task *task = &trace.task[i];

		if (task->space == trace.held && !task->stopped && !task->away &&
		    !task->exiting)
			ptrace(PTRACE_INTERRUPT, task->tid, 0, 0);
	}

	for (waited = 0; waited < STOP_MS; waited++) {
		trace_poll();
		if (!task_find(pid))
			return -ESRCH;
		count_running(&running, &away);
		if (!running)
			break;
		pause_ms(1);
	}
	/* Those stop when they leave the kernel: do not wait for them once more. */
	for (i = 0; running && i < trace.nr; i++)
		if (!trace.task[i].stopped &&
		    (trace.task[i].space == trace.held || trace.task[i].unborn))
			trace.task[i].away = true;
	return running || away ? -EAGAIN : 0;
}

void trace_resume(void)
{
	const unsigned int held = trace.held;
	size_t i;

	trace.held = 0;
	trace.held_pid = 0;
	for (i = 0; i < trace.nr; i++)
		if (trace.task[i].space == held && trace.task[i].stopped &&
		    !trace.task[i].unborn)
			task_go_on(&trace.task[i]);
}

/* Threads of @tgid that run and are not ours. */
static void other_threads(pid_t tgid, struct trace_others *others)
{
	struct dirent *dirent;
	char path[32], state;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", tgid);
	dir = opendir(path);
	if (!dir)
		return;
	while ((dirent = readdir(dir))) {
		pid_t tid = atoi(dirent->d_name);

		if (tid <= 0 || task_find(tid))
			continue;
		state = thread_state(tgid, tid);
		if (!state || state == 'Z' || state == 'X')
			continue;
		others->threads++;
		others->thread = tid;
	}
	closedir(dir);
}

/* Processes that share the memory of @tid, and are not ours. */
static void other_processes(pid_t tid, struct trace_others *others)
{
	DIR *dir = opendir("/proc");
	struct dirent *dirent;

	if (!dir)
		return;
	while ((dirent = readdir(dir))) {
		pid_t pid = atoi(dirent->d_name);

		if (pid <= 0 || task_find(pid) || memory_shared(tid, pid) != 1)
			continue;
		others->processes++;
		others->process = pid;
	}
	closedir(dir);
}

bool trace_others(pid_t pid, struct trace_others *others)
{
	const struct task *leader = task_find(pid);
	pid_t alive = 0;
	size_t i;

	*others = (struct trace_others){ .unknown = trace.no_kcmp };
	for (i = 0; leader && i < trace.nr; i++) {
		const struct task *task = &trace.task[i];

		if (task->space != leader->space)
			continue;
		if (task->tid == task->tgid)
			other_threads(task->tgid, others);
		if (!task->exiting)
			alive = task->tid;
	}
	/* One that ends may have no memory any more: compare with one that lives. */
	if (alive && !trace.no_kcmp)
		other_processes(alive, others);
	return others->unknown || others->threads || others->processes;
}

void trace_detach(void)
{
	size_t i;

	for (i = 0; i < trace.nr; i++) {
		struct task *task = &trace.task[i];

		/* Only a stopped task can be let go; exit() does the others. */
		if (task->stopped)
			ptrace(PTRACE_DETACH, task->tid, 0, (long)task->sig);
	}
	trace.nr = 0;
}

static void trace_begin(bool follow, const struct trace_ops *ops)
{
	trace.ops = ops;
	trace.follow = follow;
	trace.no_kcmp = memory_shared(getpid(), getpid()) != 1;
	device_bind_traced(TRACE_OPTIONS);
}

int trace_spawn(char **argv, const sigset_t *mask, bool follow,
		const struct trace_ops *ops, pid_t *pid)
{
	int gate[2];
	char byte;

	trace_begin(follow, ops);
	if (pipe(gate))
		return -errno;

	*pid = fork();
	if (*pid < 0)
		return -errno;
	if (!*pid) {
		/* Wait until we are traced, so that execve() is not missed. */
		close(gate[1]);
		if (read(gate[0], &byte, 1))
			_exit(EXIT_TRACE);
		close(gate[0]);
		sigprocmask(SIG_SETMASK, mask, NULL);
		execvp(argv[0], argv);
		warn("cannot run '%s'", argv[0]);
		_exit(errno == ENOENT ? 127 : 126);
	}

	close(gate[0]);
	if (ptrace(PTRACE_SEIZE, *pid, 0, TRACE_OPTIONS)) {
		int ret = -errno;

		kill(*pid, SIGKILL);
		return ret;
	}
	trace.pid = *pid;
	task_add(*pid, *pid, ++trace.spaces);
	close(gate[1]);
	return 0;
}

int trace_attach(pid_t pid, bool follow, const struct trace_ops *ops)
{
	char path[32];
	bool found;

	trace_begin(follow, ops);
	trace.pid = pid;
	trace.spaces++;
	snprintf(path, sizeof(path), "/proc/%d/task", pid);

	/* Threads may be made while we look; then look again. */
	do {
		DIR *dir = opendir(path);
		struct dirent *dirent;

		if (!dir)
			return errno == ENOENT ? -ESRCH : -errno;
		found = false;
		while ((dirent = readdir(dir))) {
			pid_t tid = atoi(dirent->d_name);

			if (tid <= 0 || task_find(tid))
				continue;
			if (ptrace(PTRACE_SEIZE, tid, 0, TRACE_OPTIONS)) {
				int error = errno;

				/*
				 * It ends just now, or another tracer has it:
				 * trace_others() tells of that.
				 */
				if (tid != pid)
					continue;
				closedir(dir);
				return -error;
			}
			task_add(tid, pid, trace.spaces);
			found = true;
		}
		closedir(dir);
	} while (found);
	return 0;
}
