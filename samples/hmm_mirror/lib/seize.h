/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Stops a thread of another process by ptrace(2), has it make system calls, and lets it go
 * on as if nothing had been.
 *
 * Between borrow() and give_back() it has our registers and signal mask, and would not
 * survive if this program was killed. Before and after that, it would.
 */
#ifndef HMM_MIRROR_SEIZE_H
#define HMM_MIRROR_SEIZE_H

#include <linux/types.h>
#include <stdbool.h>
#include <sys/types.h>
#include <sys/user.h>

/* Of which system calls a process gets SIGSYS: struct ptrace_sud_config of the kernel */
struct dispatch {
	__u64 mode;
	__u64 selector;
	__u64 offset;
	__u64 len;
};

/* Where the calls of others have their stack: whatever uses it ends */
#define NO_STACK	8

struct seized {
	pid_t tid;
	long options;			/* of ptrace, while it makes no calls of ours */
	bool ours;			/* seized by us, and only for this */
	bool running;			/* before, though this thread traces it */
	bool helper;			/* cloned for us: it may be killed */
	bool borrowed;
	bool late;			/* has been waited for longer than is good */
	pid_t child;			/* that it has cloned, as it is numbered here */
	long suspend;			/* the option for its seccomp filter, or 0 */
	struct dispatch dispatch;
	struct user_regs_struct regs;
	__u64 mask;			/* of signals */
	__u64 instruction;		/* a syscall, in its vDSO */
	int mem;			/* /proc/PID/mem */
	const char *why;		/* on -EOPNOTSUPP */
};

/* Returns -EOPNOTSUPP, of which @why is the reason. */
int give_up(struct seized *it, const char *why);

/*
 * Stops the main thread of @pid, unless this thread has done so. If this traces it already,
 * that is with the ptrace options @options. It has to be told of other stops first, and
 * to deliver its signals, or -EBUSY is returned.
 * Returns 0 or a negative errno value; let_go() is to be called in any case.
 */
int seize(struct seized *it, pid_t pid, long options);

int borrow(struct seized *it);

/*
 * Has it make a system call, unless *@ret is set already. Returns what that did, or sets
 * *@ret. A helper that does not come back in 2 seconds runs on; others are waited for.
 */
long remote(struct seized *it, int *ret, long nr, __u64 a, __u64 b, __u64 c, __u64 d, __u64 e);

void give_back(struct seized *it);

/*
 * It goes on. If this thread had stopped it before, it stands in a PTRACE_EVENT_STOP
 * instead, which may be that of another signal than before.
 */
void let_go(struct seized *it);

/* The helper that @it has cloned, which is killed if this thread ends. */
int seize_child(struct seized *child, const struct seized *it);

/* Kills the helper that @it may have made, when that failed. */
void kill_made(const struct seized *it);

/* Returns whether it has ended. */
bool kill_child(const struct seized *child);

#endif /* HMM_MIRROR_SEIZE_H */
