/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Follows processes with ptrace(2): is there when one gets a new address space,
 * and can stop one with all its threads.
 *
 * ptrace rather than SIGSTOP, because the kernel lets everybody go on when the
 * tracer ends, however it ends; because neither the process nor its parent can
 * tell that it was stopped; and because a process that somebody else has
 * stopped stays so.
 */
#ifndef HMM_MIRROR_PTRACE_H
#define HMM_MIRROR_PTRACE_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

struct trace_ops {
	/*
	 * @pid has a new address space, by execve() or fork(), and has not run
	 * an instruction in it. @exec says which.
	 */
	void (*image)(pid_t pid, bool exec);
	/* The last thread of @pid is about to end; its memory is still there. */
	void (*exiting)(pid_t pid);
	/*
	 * @pid has ended, or calls execve(), and its address space goes on in
	 * the process @heir. Called before @gone or @image.
	 */
	void (*inherited)(pid_t pid, pid_t heir);
	/* @pid has ended; @status as from waitpid(). */
	void (*gone)(pid_t pid, int status);
};

/*
 * Call one of these two, once. @follow: trace the processes that are forked,
 * too; the callbacks tell of them. Processes that share an address space which
 * is traced are traced in any case. @mask is the signal mask that the program
 * starts with. Both return 0 or a negative errno value.
 */
int trace_spawn(char **argv, const sigset_t *mask, bool follow,
		const struct trace_ops *ops, pid_t *pid);
int trace_attach(pid_t pid, bool follow, const struct trace_ops *ops);

/* Deals with all that has happened; call it after SIGCHLD. */
void trace_poll(void);

/*
 * Stops all traced threads that share the address space of @pid, those of other
 * processes included, until trace_resume(). Returns 0 when they all stand still;
 * -EAGAIN when some thread cannot be stopped for now, such as one that waits for
 * the child it has vforked, and so may write to the memory of @pid; -ESRCH when
 * @pid has ended. Calls back as trace_poll() does.
 */
int trace_stop(pid_t pid);
void trace_resume(void);

/* Who can write to an address space, and is not traced. */
struct trace_others {
	size_t threads;		/* of traced processes */
	pid_t thread;		/* one of them */
	size_t processes;	/* that share the address space */
	pid_t process;		/* one of them */
	bool unknown;		/* the kernel does not say, without CONFIG_KCMP */
};

/*
 * Looks for those who can write to the memory of @pid although trace_stop() has
 * stopped it. Returns whether there is any.
 */
bool trace_others(pid_t pid, struct trace_others *others);

/* Lets everybody go. Needs no call before exit(). */
void trace_detach(void);

#endif /* HMM_MIRROR_PTRACE_H */
