// SPDX-License-Identifier: GPL-2.0
/*
 * Has another process open and bind a device, by system calls that it makes for us.
 *
 * The instruction for these is one that the kernel has mapped into each process, in the
 * vDSO, and their arguments in memory are in a page that is mapped for that: so no byte of
 * the process's own is written, and its stack is not used.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "inject.h"
#include "proc.h"

#ifdef __x86_64__

/* How long a process may take to stop, or to make a system call */
#define PATIENCE_MS	2000

/* What the code segment of 64-bit programs is */
#define CS_64		0x33

struct injection {
	pid_t pid;
	int pidfd;
	long options;
	bool seized;			/* by us, and only for this */
	bool running;			/* before that, though this thread traces it */
	bool group_stop;		/* somebody has stopped the process */
	bool suspended;			/* its seccomp filter */
	bool filled;			/* what follows */
	int signal;			/* it was stopped by it, which is to be delivered */
	int missed;			/* came meanwhile, to be sent again */
	siginfo_t info;
	struct user_regs_struct regs;
	__u64 mask;			/* of signals */
	__u64 instruction;		/* a syscall, in its vDSO */
	__u64 page;			/* in it, for arguments */
	int mem;			/* /proc/PID/mem */
	const char *why;
};

static int give_up(struct injection *it, const char *why)
{
	it->why = why;
	return -EOPNOTSUPP;
}

/*
 * Waits for the next stop, and takes it. Not for the last one: whoever traces the process
 * is to be told of that, too.
 */
static int wait_stop(struct injection *it, int *event, int *sig)
{
	int status, waited;

	for (waited = 0; waited < PATIENCE_MS; waited++) {
		siginfo_t info = { };

		if (waitid(P_PID, it->pid, &info,
			   WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL))
			return -ESRCH;
		if (!info.si_pid) {
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
			continue;
		}
		if (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED)
			return -ESRCH;
		*event = info.si_status >> 8;
		*sig = info.si_status & 0x7f;
		if (*event == PTRACE_EVENT_EXIT)
			return -ESRCH;
		return waitpid(it->pid, &status, __WALL) < 0 ? -errno : 0;
	}
	return -EBUSY;
}

/* One step, which is a system call where there is one. */
static int step(struct injection *it)
{
	int ret, event, sig;

	for (;;) {
		if (ptrace(PTRACE_SINGLESTEP, it->pid, 0, 0))
			return -ESRCH;
		ret = wait_stop(it, &event, &sig);
		if (ret)
			return ret;
		if (!event && sig == SIGTRAP)
			return 0;
		if (event == PTRACE_EVENT_STOP)
			it->group_stop |= sig != SIGTRAP;
		else if (!event)
			it->missed = sig;
	}
}

/* Returns what the system call did, or sets *@ret, where it could not be made. */
static long remote(struct injection *it, int *ret, long nr, __u64 a, __u64 b, __u64 c,
		   __u64 d, __u64 e)
{
	struct user_regs_struct regs = it->regs;

	if (*ret)
		return -EINTR;
	/* No call that would be restarted */
	regs.orig_rax = -1;
	regs.rip = it->instruction;
	regs.rax = nr;
	regs.rdi = a;
	regs.rsi = b;
	regs.rdx = c;
	regs.r10 = d;
	regs.r8 = e;
	regs.r9 = 0;
	if (ptrace(PTRACE_SETREGS, it->pid, 0, &regs))
		*ret = -ESRCH;
	else
		*ret = step(it);
	if (!*ret && ptrace(PTRACE_GETREGS, it->pid, 0, &regs))
		*ret = -ESRCH;
	return *ret ? -EINTR : (long)regs.rax;
}

static int find_instruction(struct injection *it)
{
	struct maps maps = { };
	int ret = maps_read(it->pid, &maps);
	size_t i;

	for (i = 0; !ret && i < maps.nr && !it->instruction; i++) {
		const struct vma *vma = &maps.vma[i];
		size_t size = vma->end - vma->start;
		char *code, *found;

		if (strcmp(vma->name, "[vdso]"))
			continue;
		code = malloc(size);
		if (code && pread(it->mem, code, size, vma->start) == (ssize_t)size) {
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
static int suspend_seccomp(struct injection *it)
{
	if (status_of(it->pid, "Seccomp") <= 0)
		return 0;
	if (ptrace(PTRACE_SETOPTIONS, it->pid, 0, it->options | PTRACE_O_SUSPEND_SECCOMP))
		return give_up(it, "it has a seccomp filter, which only root can lift");
	it->suspended = true;
	return 0;
}

static bool has_memory(pid_t pid)
{
	struct maps maps = { };
	bool has = !maps_read(pid, &maps) && maps.nr;

	maps_free(&maps);
	return has;
}

/* Stops it, unless this thread has done so. */
static int stop(struct injection *it)
{
	int event, sig;

	if (!ptrace(PTRACE_GETREGS, it->pid, 0, &it->regs))
		return 0;
	if (!ptrace(PTRACE_INTERRUPT, it->pid, 0, 0)) {
		it->running = true;
		return wait_stop(it, &event, &sig);
	}
	if (ptrace(PTRACE_SEIZE, it->pid, 0, it->options)) {
		int error = errno;

		/* Zombies and kernel threads are not to be traced, either */
		return error == EPERM && !geteuid() && !has_memory(it->pid) ? -ESRCH : -error;
	}
	it->seized = true;
	if (ptrace(PTRACE_INTERRUPT, it->pid, 0, 0))
		return -errno;
	return wait_stop(it, &event, &sig);
}

/* From here on, until release(), it makes our calls and nothing else. */
static int seize(struct injection *it)
{
	__u64 blocked = ~(1ULL << (SIGTRAP - 1));
	char path[32];
	int ret, event;

	ret = stop(it);
	if (ret)
		return ret;
	if (ptrace(PTRACE_GETSIGINFO, it->pid, 0, &it->info))
		return -ESRCH;
	event = it->info.si_code >> 8;
	switch (it->info.si_code > 0 ? event : 0) {
	case 0:
		it->signal = it->info.si_signo;
		break;
	case PTRACE_EVENT_STOP:
		it->group_stop = it->info.si_signo != SIGTRAP;
		break;
	case PTRACE_EVENT_VFORK:
		return -EBUSY;	/* it goes on when its child lets it */
	default:
		/* It is in the middle of a call, which sets registers when it ends */
		ret = step(it);
		if (ret)
			return ret;
	}

	if (ptrace(PTRACE_GETREGS, it->pid, 0, &it->regs) ||
	    ptrace(PTRACE_GETSIGMASK, it->pid, sizeof(it->mask), &it->mask))
		return -ESRCH;
	if (it->regs.cs != CS_64)
		return give_up(it, "it is a 32-bit program");
	snprintf(path, sizeof(path), "/proc/%d/mem", it->pid);
	it->mem = open(path, O_RDWR | O_CLOEXEC);
	if (it->mem < 0)
		return -errno;
	ret = find_instruction(it);
	if (!ret)
		ret = suspend_seccomp(it);
	if (ret)
		return ret;
	it->filled = true;
	/* A forced SIGTRAP would lose its handler if it was blocked */
	if (ptrace(PTRACE_SETSIGMASK, it->pid, sizeof(blocked), &blocked))
		return -ESRCH;
	return 0;
}

static void release(struct injection *it)
{
	int event, sig;

	if (it->filled) {
		ptrace(PTRACE_SETREGS, it->pid, 0, &it->regs);
		ptrace(PTRACE_SETSIGMASK, it->pid, sizeof(it->mask), &it->mask);
	}
	if (it->suspended)
		ptrace(PTRACE_SETOPTIONS, it->pid, 0, it->options);
	if (it->missed)
		syscall(SYS_tgkill, it->pid, it->pid, it->missed);
	if (it->signal)
		ptrace(PTRACE_SETSIGINFO, it->pid, 0, &it->info);
	if (it->seized) {
		ptrace(PTRACE_DETACH, it->pid, 0, (long)it->signal);
	} else if (it->running && !it->group_stop) {
		ptrace(PTRACE_CONT, it->pid, 0, (long)it->signal);
	} else if (it->group_stop) {
		/* Back to where whoever traces it believes it to be */
		ptrace(PTRACE_INTERRUPT, it->pid, 0, 0);
		ptrace(PTRACE_CONT, it->pid, 0, 0);
		wait_stop(it, &event, &sig);
	}
	if (it->mem >= 0)
		close(it->mem);
}

static int fetch(int pidfd, int remote_fd)
{
	int ret = syscall(SYS_pidfd_getfd, pidfd, remote_fd, 0);

	return ret < 0 ? -errno : ret;
}

/* What is bound is fetched, and then closed over there. */
static int open_and_bind(struct injection *it, const char *device)
{
	struct {
		struct hmm_mirror_bind bind;
		char path[256];
	} arg = { };
	const __u64 path = it->page + offsetof(typeof(arg), path);
	long self, pidfd, fd, err = 0;
	int gone, ret = 0;

	if (strlen(device) >= sizeof(arg.path))
		return -ENAMETOOLONG;
	memcpy(arg.path, device, strlen(device));
	self = remote(it, &ret, SYS_getpid, 0, 0, 0, 0, 0);
	pidfd = remote(it, &ret, SYS_pidfd_open, self, 0, 0, 0, 0);
	arg.bind.pidfd = pidfd;
	if (!ret && pwrite(it->mem, &arg, sizeof(arg), it->page) != sizeof(arg))
		ret = -errno;
	fd = remote(it, &ret, SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0, 0);
	if (!ret && pidfd < 0)
		ret = give_up(it, "it cannot open a pidfd: are there too many open files?");
	else if (!ret && (fd == -EACCES || fd == -EPERM))
		ret = give_up(it, "it may not open the device itself, see the mode of that");
	else if (!ret && fd == -ENOENT)
		ret = give_up(it, "there is no such device where it is: is it in a container?");
	else if (!ret && fd < 0)
		ret = give_up(it, "it cannot open the device: are there too many open files?");
	if (!ret)
		err = remote(it, &ret, SYS_ioctl, fd, HMM_MIRROR_IOC_BIND, it->page, 0, 0);
	if (err == -EOPNOTSUPP)
		ret = give_up(it, "a callback that may sleep is not for a module");
	else if (!ret)
		ret = err ? err : fetch(it->pidfd, fd);

	/* Also after what has failed, unless it is no more */
	gone = ret == -ESRCH ? ret : 0;
	if (fd >= 0)
		remote(it, &gone, SYS_close, fd, 0, 0, 0, 0);
	if (pidfd >= 0)
		remote(it, &gone, SYS_close, pidfd, 0, 0, 0, 0);
	return ret;
}

int bind_by_process(const char *device, pid_t pid, int pidfd, long options, const char **why)
{
	struct injection it = {
		.pid = pid, .pidfd = pidfd, .options = options, .mem = -1,
	};
	const size_t size = sysconf(_SC_PAGESIZE);
	int gone, ret;

	ret = seize(&it);
	if (!ret) {
		long page = remote(&it, &ret, SYS_mmap, 0, size, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1);

		if (!ret && page < 0 && page > -4096)
			ret = give_up(&it, "it cannot map a page more: is its memory limited?");
		if (!ret) {
			it.page = page;
			ret = open_and_bind(&it, device);
			gone = ret == -ESRCH ? ret : 0;
			remote(&it, &gone, SYS_munmap, it.page, size, 0, 0, 0);
		}
	}
	release(&it);
	*why = it.why;
	return ret;
}

#else

int bind_by_process(const char *device, pid_t pid, int pidfd, long options, const char **why)
{
	(void)device;
	(void)pid;
	(void)pidfd;
	(void)options;
	*why = "that is done on x86-64 only";
	return -EOPNOTSUPP;
}

#endif
