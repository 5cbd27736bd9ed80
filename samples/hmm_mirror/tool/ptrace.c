// SPDX-License-Identifier: GPL-2.0
/*
 * Follows processes with ptrace(2).
 *
 * Each thread of each traced process is a task here, since any of them may call
 * execve() or fork(). New threads and, with @follow, new processes are attached
 * by the kernel: the new task stops once, its parent stops once with an event
 * that says how it was made, and the two come in either order.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ptrace.h"

/*
 * Without @follow a forked process is let go when it is born. It is traced so
 * far in any case, for its parent's sake: one in vfork() cannot be stopped.
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
	int sig;		/* signal to deliver when it goes on */
	int birth;		/* event by which its parent told, until it stops */
	bool unborn;		/* only one of parent and child has told so far */
	bool stopped;		/* in a ptrace stop, waits for us */
	bool group_stop;	/* somebody has stopped the whole process */
	bool away;		/* cannot be stopped: in vfork(), or dead leader */
};

static struct {
	const struct trace_ops *ops;
	bool follow;
	struct task *task;
	size_t nr;
	size_t capacity;
	pid_t held;		/* the process that trace_stop() has stopped */
} trace;

static struct task *task_find(pid_t tid)
{
	size_t i;

	for (i = 0; i < trace.nr; i++)
		if (trace.task[i].tid == tid)
			return &trace.task[i];
	return NULL;
}

static struct task *task_add(pid_t tid, pid_t tgid)
{
	struct task *task;

	if (trace.nr == trace.capacity) {
		trace.capacity = 2 * trace.capacity + 16;
		trace.task = realloc(trace.task,
				     trace.capacity * sizeof(*trace.task));
		if (!trace.task)
			err(EXIT_TRACE, "cannot trace");
	}
	task = &trace.task[trace.nr++];
	*task = (struct task){ .tid = tid, .tgid = tgid };
	return task;
}

/* Forgets @tid, or all of @tgid but @tid. */
static void task_forget(pid_t tid, pid_t tgid)
{
	size_t i = 0;

	while (i < trace.nr) {
		const struct task *task = &trace.task[i];

		if (tgid ? task->tgid == tgid && task->tid != tid :
			   task->tid == tid)
			trace.task[i] = trace.task[--trace.nr];
		else
			i++;
	}
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

static void task_go_on(struct task *task)
{
	/* A failure means that it has died; waitpid() will tell. */
	task->stopped = false;
	if (task->group_stop)
		ptrace(PTRACE_LISTEN, task->tid, 0, 0);
	else
		ptrace(PTRACE_CONT, task->tid, 0, (long)task->sig);
	task->sig = 0;
}

/* A new task, of which both it and its parent have told by now. */
static void task_born(struct task *task, int event)
{
	pid_t tid = task->tid;

	task->unborn = false;
	task->tgid = tgid_of(tid);
	if (task->tgid == tid && !trace.follow) {
		ptrace(PTRACE_DETACH, tid, 0, 0);
		task_forget(tid, 0);
		return;
	}
	/*
	 * After vfork() or clone() it has the memory of its parent, which is
	 * traced already: for ever, or until it calls execve().
	 */
	if (event == PTRACE_EVENT_FORK)
		trace.ops->image(tid, false);
	if (task->tgid != trace.held)
		task_go_on(task);
}

static void task_stopped(pid_t tid, int sig, int event)
{
	struct task *task = task_find(tid);
	unsigned long message = 0;
	struct task *child;

	if (!task) {
		task = task_add(tid, 0);
		task->unborn = true;
		task->stopped = true;
		return;
	}
	task->stopped = true;
	task->group_stop = false;
	if (task->unborn) {
		task_born(task, task->birth);
		return;
	}

	switch (event) {
	case 0:
		task->sig = sig;
		break;
	case PTRACE_EVENT_STOP:
		task->group_stop = sig != SIGTRAP;
		break;
	case PTRACE_EVENT_EXEC:
		/* All other threads are gone; this one is the leader now. */
		task_forget(tid, task->tgid);
		task_find(tid)->away = false;
		trace.ops->image(tid, true);
		break;
	case PTRACE_EVENT_VFORK:
		task->away = true;
		__attribute__((fallthrough));
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_CLONE:
		ptrace(PTRACE_GETEVENTMSG, tid, 0, &message);
		child = task_find(message);
		if (child) {
			task_born(child, event);
		} else {
			child = task_add(message, 0);
			child->unborn = true;
			child->birth = event;
		}
		break;
	case PTRACE_EVENT_VFORK_DONE:
		task->away = false;
		break;
	case PTRACE_EVENT_EXIT:
		if (tid == task->tgid)
			trace.ops->exiting(tid);
		break;
	}

	/* The array may have moved, and the task with it. */
	task = task_find(tid);
	if (task->tgid != trace.held)
		task_go_on(task);
}

static void task_ended(pid_t tid, int status)
{
	struct task *task = task_find(tid);

	if (!task)
		return;
	if (tid == task->tgid) {
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
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

int trace_stop(pid_t pid)
{
	int waited, running = 0, away = 0;
	size_t i;

	trace.held = pid;
	for (i = 0; i < trace.nr; i++) {
		struct task *task = &trace.task[i];

		if (task->tgid != pid || task->stopped || task->away)
			continue;
		if (ptrace(PTRACE_INTERRUPT, task->tid, 0, 0))
			task->away = true;
	}

	for (waited = 0; waited < STOP_MS; waited++) {
		trace_poll();
		if (!task_find(pid))
			return -ESRCH;
		for (i = running = away = 0; i < trace.nr; i++) {
			const struct task *task = &trace.task[i];

			if (task->tgid != pid || task->stopped)
				continue;
			if (task->away)
				away++;
			else
				running++;
		}
		if (!running)
			break;
		pause_ms(1);
	}
	return running || away ? -EAGAIN : 0;
}

void trace_resume(pid_t pid)
{
	size_t i;

	trace.held = 0;
	for (i = 0; i < trace.nr; i++)
		if (trace.task[i].tgid == pid && trace.task[i].stopped &&
		    !trace.task[i].unborn)
			task_go_on(&trace.task[i]);
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

int trace_spawn(char **argv, bool follow, const struct trace_ops *ops,
		pid_t *pid)
{
	int gate[2];
	char byte;

	trace.ops = ops;
	trace.follow = follow;
	if (pipe(gate))
		return -errno;

	*pid = fork();
	if (*pid < 0)
		return -errno;
	if (!*pid) {
		sigset_t none;

		/* Wait until we are traced, so that execve() is not missed. */
		close(gate[1]);
		if (read(gate[0], &byte, 1))
			_exit(EXIT_TRACE);
		close(gate[0]);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
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
	task_add(*pid, *pid);
	close(gate[1]);
	return 0;
}

int trace_attach(pid_t pid, bool follow, const struct trace_ops *ops)
{
	char path[32];
	bool found;

	trace.ops = ops;
	trace.follow = follow;
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

				/* A thread that ends just now is no error. */
				if (tid != pid)
					continue;
				closedir(dir);
				return -error;
			}
			task_add(tid, pid);
			found = true;
		}
		closedir(dir);
	} while (found);
	return 0;
}
