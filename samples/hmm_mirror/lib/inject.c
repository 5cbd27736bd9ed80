// SPDX-License-Identifier: GPL-2.0
/*
 * Has another process open and bind a device, by system calls that it makes for us.
 *
 * The instruction for these is one that the kernel has mapped into each process, in the
 * vDSO, and their arguments in memory are in a page that is mapped for that: so no byte of
 * the process's own is written but to begin a restartable sequence anew, and its stack is not
 * used. All that takes time, or that
 * another thread could interfere with, a helper does.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "inject.h"
#include "seize.h"

#ifdef __x86_64__

static int fetch(pid_t pid, int remote_fd)
{
	int ret, pidfd = syscall(SYS_pidfd_open, pid, 0);

	if (pidfd < 0)
		return -errno;
	ret = syscall(SYS_pidfd_getfd, pidfd, remote_fd, 0);
	if (ret < 0)
		ret = -errno;
	close(pidfd);
	return ret;
}

/* The helper does this, with @page for arguments; what it has open is closed with it. */
static int open_and_bind(struct seized *it, const char *device, pid_t self, __u64 page)
{
	struct {
		struct hmm_mirror_bind bind;
		char path[256];
	} arg = { };
	const __u64 path = page + offsetof(typeof(arg), path);
	long pidfd, fd, err;
	int ret = 0;

	if (strlen(device) >= sizeof(arg.path))
		return -ENAMETOOLONG;
	memcpy(arg.path, device, strlen(device));
	pidfd = remote(it, &ret, SYS_pidfd_open, self, 0, 0, 0, 0);
	if (ret)
		return ret;
	if (pidfd < 0)
		return give_up(it, "it cannot open a pidfd: are there too many open files?");
	arg.bind.pidfd = pidfd;
	if (pwrite(it->mem, &arg, sizeof(arg), page) != sizeof(arg))
		return -ESRCH;
	fd = remote(it, &ret, SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0, 0);
	if (ret)
		return ret;
	if (fd == -EACCES || fd == -EPERM)
		return give_up(it, "it may not open the device itself, see the mode of that");
	if (fd == -ENOENT)
		return give_up(it, "there is no such device where it is: is it in a container?");
	if (fd < 0)
		return give_up(it, "it cannot open the device: are there too many open files?");
	err = remote(it, &ret, SYS_ioctl, fd, HMM_MIRROR_IOC_BIND, page, 0, 0);
	if (ret)
		return ret;
	if (err == -EOPNOTSUPP)
		return give_up(it, "a callback that may sleep is not for a module");
	return err ? err : fetch(it->tid, fd);
}

/* And this. The page is one of its parent's, too. */
static int map_and_bind(struct seized *it, const char *device, pid_t self)
{
	const size_t size = sysconf(_SC_PAGESIZE);
	int bound, ret = 0;
	long page;

	page = remote(it, &ret, SYS_mmap, 0, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (ret)
		return ret;
	if (page < 0 && page > -4096)
		return give_up(it, "it cannot map a page more: is its memory limited?");
	bound = open_and_bind(it, device, self, page);
	/* One that has not come back from a call can make no other */
	if (bound == -EBUSY && it->late)
		return bound;
	remote(it, &ret, SYS_munmap, page, size, 0, 0, 0);
	return bound;
}

/*
 * Are its children in another PID namespace than it is? The helper might be the first of
 * them, and after the end of that one there can be no other.
 */
static bool children_are_apart(pid_t pid)
{
	char path[48], own[64] = "", next[64] = "";

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	if (readlink(path, own, sizeof(own) - 1) < 0)
		return false;	/* the kernel has no namespaces */
	snprintf(path, sizeof(path), "/proc/%d/ns/pid_for_children", pid);
	return readlink(path, next, sizeof(next) - 1) < 0 || strcmp(own, next);
}

/* What @it has to do itself before. Returns the number that it has for the helper. */
static int make_helper(struct seized *it)
{
	long pid;
	int ret;

	if (children_are_apart(it->tid))
		return give_up(it, "its children are in another PID namespace than it is");
	ret = borrow(it);
	/* Without a signal for when it ends */
	pid = remote(it, &ret, SYS_clone, CLONE_VM, NO_STACK, 0, 0, 0);
	give_back(it);
	if (ret)
		return ret;
	if (pid < 0)
		return give_up(it, "it cannot have a process more: are they limited?");
	return it->child ? pid : -EBUSY;
}

/* And after: it is the helper's parent, and nobody else can make a zombie go. */
static int reap_helper(struct seized *it, pid_t child)
{
	int ret = borrow(it);

	remote(it, &ret, SYS_wait4, child, 0, WNOHANG | __WALL, 0, 0);
	give_back(it);
	return ret;
}

static int bind_by_helper(struct seized *it, const char *device)
{
	struct seized helper;
	int reaped, ret, child = make_helper(it);

	if (child < 0) {
		/* The main thread may have ended when it had made one */
		kill_made(it);
		return child;
	}
	ret = seize_child(&helper, it);
	if (!ret)
		ret = map_and_bind(&helper, device, child);
	it->why = helper.why;
	/* Somebody may have killed the helper alone */
	if (ret == -ESRCH)
		ret = -EBUSY;
	reaped = kill_child(&helper) ? reap_helper(it, child) : 0;
	if (reaped != -ESRCH)
		return ret;
	if (ret >= 0)
		close(ret);
	return reaped;
}

int bind_by_process(const char *device, pid_t pid, long options, const char **why)
{
	sigset_t all, mask;
	struct seized it;
	int ret;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &mask);
	ret = seize(&it, pid, options);
	if (!ret)
		ret = bind_by_helper(&it, device);
	let_go(&it);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	*why = it.why;
	return ret;
}

#else

int bind_by_process(const char *device, pid_t pid, long options, const char **why)
{
	(void)device;
	(void)pid;
	(void)options;
	*why = "that is done on x86-64 only";
	return -EOPNOTSUPP;
}

#endif
