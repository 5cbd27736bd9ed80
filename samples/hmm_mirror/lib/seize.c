// SPDX-License-Identifier: GPL-2.0
/*
 * Stops a thread of another process by ptrace(2), has it make system calls, and lets it go
 * on as if nothing had been.
 *
 * It always begins and ends in a PTRACE_EVENT_STOP: there the kernel has delivered what
 * signals came before, and when the thread goes on, a call that was interrupted is
 * restarted. Our calls are followed from one PTRACE_SYSCALL stop to the next, which no
 * other stop is to be mistaken for. All signals are blocked meanwhile, and wait. SIGSTOP
 * cannot be blocked, and is delivered at once, so that a SIGCONT after it counts; a thread
 * that it stops does run on for us.
 */
#ifdef __x86_64__

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/rseq.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proc.h"
#include "seize.h"

/* How long a thread may take to stop, or over a system call */
#define PATIENCE_MS		2000
/* How long one that is killed may take to end */
#define END_MS			10000

/* What the code segment of 64-bit programs is */
#define CS_64			0x33

/* Newer than some C libraries: PTRACE_{GET,SET}_SYSCALL_USER_DISPATCH_CONFIG */
#define SET_DISPATCH		0x4210
#define GET_DISPATCH		0x4211
/* PR_SYS_DISPATCH_* */
#define DISPATCH_OFF		0
#define DISPATCH_INCLUSIVE	2

/* A stop of a system call, as waitid() tells of it; others are signals or events */
#define STOP_CALL		(SIGTRAP | 0x80)

/* The kernel's -ERESTARTSYS and so on, which only a tracer sees: make that call again */
#define RESTART_FIRST		-516
#define RESTART_LAST		-512

int give_up(struct seized *it, const char *why)
{
	it->why = why;
	return -EOPNOTSUPP;
}

/* How it stops */

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Most stops come at once; those that do not are not polled for often */
static void pause_after(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms < 5 ? 20000 : 1000000 }, NULL);
}

static bool is_trap(int stop)
{
	return stop >> 8 == PTRACE_EVENT_STOP;
}

/*
 * Waits for the next stop, and takes it, but not what is for whoever traces the process
 * already: its end, or what it is in the middle of when we come.
 */
static int wait_stop(const struct seized *it, long patience, int *stop)
{
	const long began = now_ms();

	for (;;) {
		siginfo_t info = { };
		long waited = now_ms() - began;

		if (waitid(P_PID, it->tid, &info,
			   WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL))
			return -ESRCH;
		if (!info.si_pid) {
			if (waited > patience)
				return -EBUSY;
			pause_after(waited);
			continue;
		}
		*stop = info.si_status;
		if (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED)
			return -ESRCH;
		if (*stop >> 8 == PTRACE_EVENT_EXIT)
			return -ESRCH;
		if (it->running && !it->borrowed && *stop >> 8 && !is_trap(*stop))
			return -EBUSY;
		/* By now that may be its end */
		info.si_pid = 0;
		if (waitid(P_PID, it->tid, &info, WSTOPPED | WNOHANG | __WALL) || !info.si_pid)
			return -ESRCH;
		return 0;
	}
}

/*
 * The same for a thread that has our registers. Letting go of one that runs would be the
 * end of its process; only a helper is to be killed.
 */
static int wait_stop_ours(struct seized *it, int *stop)
{
	int ret = wait_stop(it, PATIENCE_MS, stop);

	if (ret != -EBUSY)
		return ret;
	it->late = true;
	if (it->helper)
		return ret;
	ptrace(PTRACE_INTERRUPT, it->tid, 0, 0);
	ret = wait_stop(it, PATIENCE_MS, stop);
	if (ret != -EBUSY)
		return ret;
	warnx("process %d is held up in a call that it makes for us", it->tid);
	warnx("it would not survive if this program ended now, which so waits");
	return wait_stop(it, LONG_MAX, stop);
}

/* The signal that is to be delivered, after that stop, or none */
static long signal_of(int stop)
{
	return stop >> 8 || stop == STOP_CALL ? 0 : stop;
}

/*
 * To a PTRACE_EVENT_STOP, from another stop, or, if @stop is negative, while it runs. A
 * signal that comes before is delivered: its handler is yet to run then.
 */
static int to_trap(struct seized *it, int stop)
{
	int ret;

	do {
		ptrace(PTRACE_INTERRUPT, it->tid, 0, 0);
		if (stop >= 0 && ptrace(PTRACE_CONT, it->tid, 0, signal_of(stop)))
			return -ESRCH;
		ret = it->borrowed ? wait_stop_ours(it, &stop) :
				     wait_stop(it, PATIENCE_MS, &stop);
	} while (!ret && !is_trap(stop));
	return ret;
}

static bool has_memory(pid_t pid)
{
	struct maps maps = { };
	bool has = !maps_read(pid, &maps) && maps.nr;

	maps_free(&maps);
	return has;
}

/* The ptrace event that it stands still for, 0 if for a signal */
static int event_of(const struct seized *it, int *sig)
{
	siginfo_t info;

	if (ptrace(PTRACE_GETSIGINFO, it->tid, 0, &info))
		return -ESRCH;
	*sig = info.si_signo;
	return info.si_code > 0 ? info.si_code >> 8 : 0;
}

/* Stopped by this thread, which has its reasons */
static int stop_again(struct seized *it)
{
	int sig, event = event_of(it, &sig);

	switch (event) {
	case -ESRCH:
	case PTRACE_EVENT_EXIT:
		return -ESRCH;
	case PTRACE_EVENT_STOP:
		return 0;
	case PTRACE_EVENT_VFORK:	/* it goes on when its child lets it */
	case 0:				/* a signal would be lost */
		return -EBUSY;
	default:			/* in the middle of a call, which is to end */
		return to_trap(it, event << 8 | SIGTRAP);
	}
}

/* One that did not stop, and so could not be let go */
static __thread pid_t left;

static int stop(struct seized *it)
{
	struct user_regs_struct regs;

	if (!ptrace(PTRACE_GETREGS, it->tid, 0, &regs)) {
		it->ours = it->tid == left;
		return stop_again(it);
	}
	if (!ptrace(PTRACE_SEIZE, it->tid, 0, 0)) {
		it->ours = true;
		it->options = 0;
		return to_trap(it, -1);
	}
	if (errno != EPERM)
		return -errno;
	/* It may be this thread's, and run */
	if (!ptrace(PTRACE_INTERRUPT, it->tid, 0, 0)) {
		it->running = true;
		return to_trap(it, -1);
	}
	/* Zombies and kernel threads are not to be traced, either */
	return geteuid() || has_memory(it->tid) ? -EPERM : -ESRCH;
}

/* What else it is in the middle of */

/* The number that follows NAME in /proc/PID/status, or -1. */
static long status_of(pid_t pid, const char *name)
{
	char path[32], line[256];
	size_t len = strlen(name);
	long value = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	if (!file)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, len) && line[len] == ':')
			value = strtol(line + len + 1, NULL, 10);
	fclose(file);
	return value;
}

/* A filter may kill the process for a call that is ours. Root may lift it for a moment. */
static int look_at_seccomp(struct seized *it)
{
	if (status_of(it->tid, "Seccomp") <= 0)
		return 0;
	it->suspend = PTRACE_O_SUSPEND_SECCOMP;
	if (ptrace(PTRACE_SETOPTIONS, it->tid, 0, it->options | it->suspend))
		return give_up(it, "it has a seccomp filter, which only root can lift");
	ptrace(PTRACE_SETOPTIONS, it->tid, 0, it->options);
	return 0;
}

static int set_dispatch(const struct seized *it, const struct dispatch *dispatch)
{
	return ptrace(SET_DISPATCH, it->tid, sizeof(*dispatch), dispatch);
}

/*
 * A process may have system calls sent to itself, as SIGSYS, as Wine does. What is there is
 * set once more before it is changed, as that may be forbidden by now. The kernel does not
 * tell whether a range is one without dispatch, or the rest of one with it.
 */
static int look_at_dispatch(struct seized *it)
{
	struct dispatch *dispatch = &it->dispatch;

	if (ptrace(GET_DISPATCH, it->tid, sizeof(*dispatch), dispatch))
		dispatch->mode = DISPATCH_OFF;	/* the kernel has none */
	if (dispatch->mode == DISPATCH_OFF || !set_dispatch(it, dispatch))
		return 0;
	dispatch->mode = DISPATCH_INCLUSIVE;
	dispatch->offset += dispatch->len;
	dispatch->len = -dispatch->len;
	if (!set_dispatch(it, dispatch))
		return 0;
	dispatch->mode = DISPATCH_OFF;
	return give_up(it, "it dispatches system calls to itself, which cannot be lifted");
}

static bool peek(const struct seized *it, __u64 addr, void *buffer, size_t size)
{
	return pread(it->mem, buffer, size, addr) == (ssize_t)size;
}

/*
 * A restartable sequence has to begin anew, as the thread has been off the CPU. The kernel
 * would see to that when the thread goes on, but then it sees where our calls are.
 */
static int abort_sequence(struct seized *it)
{
	struct __ptrace_rseq_configuration conf = { };
	__u64 addr = 0, none = 0;
	struct rseq_cs sequence;
	__u32 signature;

	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, it->tid, sizeof(conf), &conf) < 0 ||
	    !conf.rseq_abi_pointer)
		return 0;
	conf.rseq_abi_pointer += offsetof(struct rseq, rseq_cs);
	if (!peek(it, conf.rseq_abi_pointer, &addr, sizeof(addr)))
		return give_up(it, "what it has registered for rseq(2) is not there");
	if (!addr)
		return 0;
	if (!peek(it, addr, &sequence, sizeof(sequence)))
		return give_up(it, "its restartable sequence is described nowhere");
	if (it->regs.rip - sequence.start_ip >= sequence.post_commit_offset)
		return 0;
	if (!peek(it, sequence.abort_ip - sizeof(signature), &signature, sizeof(signature)) ||
	    signature != conf.signature)
		return give_up(it, "its restartable sequence cannot be aborted");
	if (pwrite(it->mem, &none, sizeof(none), conf.rseq_abi_pointer) != sizeof(none))
		return -ESRCH;
	it->regs.rip = sequence.abort_ip;
	return ptrace(PTRACE_SETREGS, it->tid, 0, &it->regs) ? -ESRCH : 0;
}

static int find_instruction(struct seized *it)
{
	struct maps maps = { };
	int ret = maps_read(it->tid, &maps);
	size_t i;

	for (i = 0; !ret && i < maps.nr && !it->instruction; i++) {
		const struct vma *vma = &maps.vma[i];
		size_t size = vma->end - vma->start;
		char *code, *found;

		if (strcmp(vma->name, "[vdso]"))
			continue;
		code = malloc(size);
		if (code && peek(it, vma->start, code, size)) {
			found = memmem(code, size, "\x0f\x05", 2);
			if (found)
				it->instruction = vma->start + (found - code);
		}
		free(code);
	}
	maps_free(&maps);
	if (!ret && !it->instruction)
		ret = give_up(it, "it has no vDSO with a system call in it");
	return ret;
}

int seize(struct seized *it, pid_t pid, long options)
{
	char path[32];
	int ret;

	*it = (struct seized){ .tid = pid, .options = options, .mem = -1 };
	ret = stop(it);
	if (ret)
		return ret;
	if (ptrace(PTRACE_GETREGS, it->tid, 0, &it->regs) ||
	    ptrace(PTRACE_GETSIGMASK, it->tid, sizeof(it->mask), &it->mask))
		return -ESRCH;
	if (it->regs.cs != CS_64)
		return give_up(it, "it is a 32-bit program");
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	it->mem = open(path, O_RDWR | O_CLOEXEC);
	if (it->mem < 0)
		return -errno;
	ret = find_instruction(it);
	if (!ret)
		ret = look_at_seccomp(it);
	if (!ret)
		ret = look_at_dispatch(it);
	if (!ret)
		ret = abort_sequence(it);
	return ret;
}

/* Its calls */

/*
 * The options of a thread that has our registers, and of the helper, which inherits them. If
 * we end, so does what is in the middle of something that is ours.
 */
#define BORROWED (PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)

/* Something of it can be changed, and then all of it is to be given back */
int borrow(struct seized *it)
{
	static const struct dispatch off = { .mode = DISPATCH_OFF };
	const __u64 all = ~0ULL;

	it->borrowed = true;
	if (ptrace(PTRACE_SETSIGMASK, it->tid, sizeof(all), &all) ||
	    ptrace(PTRACE_SETOPTIONS, it->tid, 0,
		   BORROWED | PTRACE_O_TRACECLONE | it->suspend))
		return -ESRCH;
	if (it->dispatch.mode != DISPATCH_OFF && set_dispatch(it, &off))
		return -ESRCH;
	return 0;
}

void give_back(struct seized *it)
{
	/* It may have ended */
	if (to_trap(it, STOP_CALL))
		return;
	ptrace(PTRACE_SETREGS, it->tid, 0, &it->regs);
	ptrace(PTRACE_SETSIGMASK, it->tid, sizeof(it->mask), &it->mask);
	if (it->dispatch.mode != DISPATCH_OFF)
		set_dispatch(it, &it->dispatch);
	ptrace(PTRACE_SETOPTIONS, it->tid, 0, it->options);
	it->borrowed = false;
}

/* On to where the call begins, or where it ends */
static int next_call_stop(struct seized *it)
{
	unsigned long message;
	int ret, stop = 0;

	for (;;) {
		if (ptrace(PTRACE_SYSCALL, it->tid, 0, signal_of(stop)))
			return -ESRCH;
		ret = wait_stop_ours(it, &stop);
		if (ret || stop == STOP_CALL)
			return ret;
		if (stop >> 8 == PTRACE_EVENT_CLONE) {
			if (!ptrace(PTRACE_GETEVENTMSG, it->tid, 0, &message))
				it->child = message;
		} else if (is_trap(stop)) {
			/* It has not got to the call, such as where it is frozen */
			if (it->late)
				return -EBUSY;
		} else if (stop != SIGSTOP) {
			return give_up(it, "a call that it makes for us brings a signal");
		}
	}
}

/* Makes the call once, and returns what it did */
static long call_once(struct seized *it, int *ret, struct user_regs_struct regs)
{
	if (ptrace(PTRACE_SETREGS, it->tid, 0, &regs))
		*ret = -ESRCH;
	if (!*ret)
		*ret = next_call_stop(it);
	if (!*ret)
		*ret = next_call_stop(it);
	if (!*ret && ptrace(PTRACE_GETREGS, it->tid, 0, &regs))
		*ret = -ESRCH;
	return regs.rax;
}

long remote(struct seized *it, int *ret, long nr, __u64 a, __u64 b, __u64 c, __u64 d, __u64 e)
{
	struct user_regs_struct regs = it->regs;
	long value;

	if (*ret)
		return -EINTR;
	/*
	 * What follows the instruction must not run: it would return into the process. It has
	 * no stack, and where that would be taken from is none, either.
	 */
	regs.rsp = NO_STACK;
	regs.rbp = NO_STACK;
	regs.orig_rax = -1;	/* no call that would be restarted */
	regs.rip = it->instruction;
	regs.rax = nr;
	regs.rdi = a;
	regs.rsi = b;
	regs.rdx = c;
	regs.r10 = d;
	regs.r8 = e;
	regs.r9 = 0;
	do {
		value = call_once(it, ret, regs);
		if (*ret)
			return -EINTR;
		if (value < RESTART_FIRST || value > RESTART_LAST)
			return value;
	} while (!it->late);
	*ret = -EBUSY;
	return -EINTR;
}

/* To where it was, and if somebody has stopped it, its tracer is told once more */
static void run_again(const struct seized *it)
{
	int sig;

	if (event_of(it, &sig) != PTRACE_EVENT_STOP)
		return;
	if (sig != SIGTRAP)
		ptrace(PTRACE_INTERRUPT, it->tid, 0, 0);
	ptrace(PTRACE_CONT, it->tid, 0, 0);
}

void let_go(struct seized *it)
{
	if (it->ours)
		left = ptrace(PTRACE_DETACH, it->tid, 0, 0) ? it->tid : 0;
	else if (it->running)
		run_again(it);
	if (it->mem >= 0)
		close(it->mem);
}

/* The helper */

int seize_child(struct seized *child, const struct seized *it)
{
	int stop, ret;

	*child = (struct seized){
		.tid = it->child, .helper = true, .borrowed = true,
		.instruction = it->instruction, .mem = it->mem,
	};
	ret = wait_stop(child, PATIENCE_MS, &stop);
	if (!ret && (ptrace(PTRACE_GETREGS, child->tid, 0, &child->regs) ||
		     ptrace(PTRACE_SETOPTIONS, child->tid, 0,
			    BORROWED | it->suspend)))
		ret = -ESRCH;
	return ret;
}

bool kill_child(const struct seized *child)
{
	const long began = now_ms();
	int status;
	pid_t pid;

	kill(child->tid, SIGKILL);
	do {
		pid = waitpid(child->tid, &status, WNOHANG | __WALL);
		if (pid < 0 || (pid && !WIFSTOPPED(status)))
			return true;
		pause_after(now_ms() - began);
	} while (now_ms() - began < END_MS);
	return false;
}

/* Is that a helper of this thread's? Nobody else has such a stack. */
static bool is_helper(pid_t pid)
{
	struct user_regs_struct regs;
	int tries;

	if (status_of(pid, "TracerPid") != gettid())
		return false;
	/* It stops before it does anything */
	for (tries = 0; tries < 10; tries++) {
		if (!ptrace(PTRACE_GETREGS, pid, 0, &regs))
			return regs.rsp == NO_STACK && regs.rbp == NO_STACK;
		pause_after(tries);
	}
	return false;
}

void kill_made(const struct seized *it)
{
	struct dirent *entry;
	DIR *proc;

	if (it->child) {
		kill_child(&(struct seized){ .tid = it->child });
		return;
	}
	/* A thread that ends does not tell any more which one it has made */
	proc = opendir("/proc");
	while (proc && (entry = readdir(proc))) {
		pid_t pid = atoi(entry->d_name);

		if (pid > 0 && is_helper(pid))
			kill_child(&(struct seized){ .tid = pid });
	}
	if (proc)
		closedir(proc);
}

#endif
