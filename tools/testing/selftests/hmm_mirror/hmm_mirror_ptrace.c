// SPDX-License-Identifier: GPL-2.0
/*
 * What becomes of another process that is bound, while that does what is hard to have it
 * interrupted in: where the registry is a module, that process has to make system calls
 * for it, see lib/inject.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/rseq.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNBOUND
#define ONLY_MODULE
#include "fixture.h"

#define BINDS		20
#define SIGNALS		2000

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH	59
#endif

/* Between the test and its victim */
struct shared {
	volatile int ready;
	volatile int stop;
	volatile int bad;		/* what was noticed */
	volatile int count;
	volatile char selector;		/* of system calls to dispatch: 1 */
	volatile unsigned long spins;
};

static struct shared *shared;
static dev_t device_number;

typedef int victim(void);

/* A process that calls @function, and whose exit status that is */
static pid_t start(victim *function)
{
	pid_t pid;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		return -1;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(function());
	}
	while (pid > 0 && !shared->ready && !waitpid(pid, NULL, WNOHANG))
		usleep(1000);
	return pid;
}

static int finish(pid_t pid)
{
	int status = -1;

	shared->stop = 1;
	waitpid(pid, &status, 0);
	return status;
}

static int bind_once(const char *device, pid_t pid)
{
	int fd = device_open(device), ret;

	if (fd < 0)
		return fd;
	ret = device_bind(fd, pid);
	close(fd);
	return ret;
}

/* Binds @function's process again and again; it must not notice. */
#define UNHARMED(function) do {							\
	pid_t pid = start(function);						\
	int i;									\
										\
	ASSERT_LT(0, pid);							\
	for (i = 0; i < BINDS; i++) {						\
		ASSERT_EQ(0, bind_once(variant->device, pid));			\
		usleep(1000);							\
	}									\
	EXPECT_EQ(0, finish(pid));						\
	EXPECT_EQ(0, shared->bad);						\
} while (0)

/* What it has open, and what children, is what it had */

static bool has_device_open(void)
{
	struct stat stat;
	int fd;

	for (fd = 0; fd < 64; fd++)
		if (!fstat(fd, &stat) && S_ISCHR(stat.st_mode) && stat.st_rdev == device_number)
			return true;
	return false;
}

static void close_devices(void)
{
	struct stat stat;
	int fd;

	for (fd = 0; fd < 64; fd++)
		if (!fstat(fd, &stat) && S_ISCHR(stat.st_mode) && stat.st_rdev == device_number)
			close(fd);
}

static void *fork_and_look(void *arg)
{
	while (!shared->stop) {
		pid_t pid = fork();

		if (!pid)
			_exit(has_device_open());
		if (waitpid(pid, arg, 0) == pid && *(int *)arg)
			shared->bad = 1;
		shared->ready = 1;
	}
	return NULL;
}

static int forks(void)
{
	pthread_t thread;
	int status;

	close_devices();
	if (pthread_create(&thread, NULL, fork_and_look, &status))
		return 1;
	while (!shared->stop)
		shared->bad |= has_device_open() ? 2 : 0;
	pthread_join(thread, NULL);
	/* Nor is there a child that it has not had */
	return waitpid(-1, &status, WNOHANG | __WALL) != -1 || errno != ECHILD;
}

TEST_F(hmm_mirror, a_child_forked_meanwhile_has_no_file)
{
	struct stat stat;

	ASSERT_EQ(0, fstat(self->fd, &stat));
	device_number = stat.st_rdev;
	UNHARMED(forks);
}

/* Puts another file of the device in the place of each */
static int replaces(void)
{
	int other = device_open(device_default()), fd;

	if (dup2(other, 100) < 0)
		return 1;
	shared->ready = 1;
	while (!shared->stop) {
		for (fd = 3; fd < 20; fd++)
			dup2(100, fd);
		for (fd = 3; fd < 20; fd++)
			close(fd);
	}
	return 0;
}

static void *replacer(void *arg)
{
	*(int *)arg = replaces();
	return NULL;
}

static int replaces_in_thread(void)
{
	pthread_t thread;
	int status;

	if (pthread_create(&thread, NULL, replacer, &status))
		return 1;
	pthread_join(thread, NULL);
	return status;
}

TEST_F(hmm_mirror, a_descriptor_replaced_meanwhile_does_no_harm)
{
	struct hmm_mirror_stats stats;
	pid_t pid = start(replaces_in_thread);
	int i;

	ASSERT_LT(0, pid);
	for (i = 0; i < BINDS; i++) {
		int fd = device_open(variant->device);

		ASSERT_EQ(0, device_bind(fd, pid));
		EXPECT_EQ(0, device_stats(fd, &stats));
		close(fd);
	}
	EXPECT_EQ(0, finish(pid));
}

/* System calls that it has dispatched to itself */

static void dispatched(int sig, siginfo_t *info, void *context)
{
	shared->selector = 0;
	shared->count++;
}

static int dispatch(unsigned long mode, unsigned long offset, unsigned long len)
{
	struct sigaction action = { .sa_sigaction = dispatched, .sa_flags = SA_SIGINFO };

	sigaction(SIGSYS, &action, NULL);
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, mode, offset, len, &shared->selector)) {
		shared->ready = 2;
		return 0;
	}
	shared->selector = 1;
	shared->ready = 1;
	while (!shared->stop)
		;
	/* It still is: this comes to the handler, which allows the next */
	getpid();
	return shared->count != 1;
}

static int dispatches(void)
{
	return dispatch(1, 0, 0);
}

/* In a range: that of all that can be */
static int dispatches_inclusive(void)
{
	return dispatch(2, 0x1000, 0x7fffffff0000);
}

TEST_F(hmm_mirror, syscall_user_dispatch_goes_on)
{
	UNHARMED(dispatches);
}

TEST_F(hmm_mirror, syscall_user_dispatch_of_a_range_goes_on)
{
	char allow = 0;

	/* As long as the selector is this, it does nothing */
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 2, 0x1000, 0x7fffffff0000, &allow))
		SKIP(return, "the kernel has none of ranges");
	prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0);
	UNHARMED(dispatches_inclusive);
}

/* A filter that kills it for any call but the one that sets it */
static int filters(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = { .len = ARRAY_SIZE(filter), .filter = filter };

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return 1;
	shared->ready = 1;
	while (!shared->stop)
		;
	getpid();
	return 2;
}

TEST_F(hmm_mirror, a_filter_of_system_calls_is_lifted_and_comes_back)
{
	pid_t pid = start(filters);
	int i;

	ASSERT_LT(0, pid);
	for (i = 0; i < BINDS; i++)
		ASSERT_EQ(0, bind_once(variant->device, pid));
	EXPECT_EQ(SIGSYS, finish(pid) & 0x7f);
}

#ifdef __x86_64__

/*
 * A restartable sequence that spins. Whatever has the thread leave its CPU aborts it, so
 * within it there is always one registered. Returns whether that was so, once it is aborted
 * or told to stop.
 */
static bool sequence(struct rseq *rseq)
{
	asm goto(".pushsection __rseq_cs, \"aw\"\n\t"
		 ".balign 32\n"
		 "3:\t.long 0, 0\n\t"
		 ".quad 1f, 2f - 1f, 4f\n\t"
		 ".popsection\n\t"
		 "leaq 3b(%%rip), %%rax\n\t"
		 "movq %%rax, %[cs]\n"
		 "1:\tcmpq $0, %[cs]\n\t"
		 "je %l[lost]\n\t"
		 "cmpl $0, %[stop]\n\t"
		 "je 1b\n"
		 "2:\tjmp %l[done]\n\t"
		 ".byte 0x0f, 0xb9, 0x3d\n\t"
		 ".long 0x53053053\n"
		 "4:\tincl %[count]\n\t"
		 "jmp %l[done]\n\t"
		 :
		 : [cs] "m" (rseq->rseq_cs), [stop] "m" (shared->stop),
		   [count] "m" (shared->count)
		 : "rax", "memory", "cc"
		 : done, lost);
done:
	return true;
lost:
	return false;
}

static int restarts(void)
{
	struct rseq *rseq = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);

	if (!__rseq_size)
		return 1;
	shared->ready = 1;
	while (!shared->stop)
		if (!sequence(rseq))
			return 2;
	return 0;
}

TEST_F(hmm_mirror, a_restartable_sequence_begins_anew)
{
	UNHARMED(restarts);
	/* It may just have been between two of them */
	EXPECT_LE(BINDS / 2, shared->count);
}

#endif

/* Signals */

static void handler(int sig)
{
	shared->count++;
}

/* Has blocked SIGTRAP, for which it has a handler */
static int blocks_trap(void)
{
	struct sigaction action;
	sigset_t set, now;

	signal(SIGTRAP, handler);
	sigemptyset(&set);
	sigaddset(&set, SIGTRAP);
	sigprocmask(SIG_SETMASK, &set, NULL);
	shared->ready = 1;
	while (!shared->stop)
		;
	sigaction(SIGTRAP, NULL, &action);
	sigprocmask(SIG_SETMASK, NULL, &now);
	return action.sa_handler != handler || memcmp(&set, &now, 8) || shared->count;
}

static int ignores_trap(void)
{
	struct sigaction action;

	signal(SIGTRAP, SIG_IGN);
	shared->ready = 1;
	while (!shared->stop)
		;
	sigaction(SIGTRAP, NULL, &action);
	return action.sa_handler != SIG_IGN;
}

TEST_F(hmm_mirror, a_blocked_SIGTRAP_stays_so)
{
	UNHARMED(blocks_trap);
}

TEST_F(hmm_mirror, an_ignored_SIGTRAP_stays_so)
{
	UNHARMED(ignores_trap);
}

/* Gets SIGNALS signals that count up, and others that have nothing to say */
static void counts_up(int sig, siginfo_t *info, void *context)
{
	if (info->si_code != SI_QUEUE || info->si_value.sival_int != shared->count)
		shared->bad = 1;
	shared->count++;
}

static void nothing(int sig)
{
}

static int counts(void)
{
	struct sigaction action = { .sa_sigaction = counts_up, .sa_flags = SA_SIGINFO };

	sigaction(SIGRTMIN, &action, NULL);
	signal(SIGTRAP, nothing);
	shared->ready = 1;
	while (!shared->stop)
		shared->spins++;
	return shared->count != SIGNALS;
}

static int send_signals(pid_t pid)
{
	int i;

	for (i = 0; i < SIGNALS; i++) {
		while (sigqueue(pid, SIGRTMIN, (union sigval){ .sival_int = i })) {
			if (errno != EAGAIN)
				return 1;
			usleep(1000);
		}
		kill(pid, SIGTRAP);
		usleep(200);
	}
	return 0;
}

TEST_F(hmm_mirror, signals_come_once_and_in_order)
{
	pid_t pid = start(counts), sender;
	int status = -1, i;

	ASSERT_LT(0, pid);
	sender = fork();
	if (!sender)
		_exit(send_signals(pid));
	for (i = 0; !waitpid(sender, &status, WNOHANG); i++)
		ASSERT_EQ(0, bind_once(variant->device, pid));
	EXPECT_LT(3, i);
	EXPECT_EQ(0, status);
	for (i = 0; i < 100 && shared->count != SIGNALS; i++)
		usleep(10000);
	EXPECT_EQ(0, finish(pid));
	EXPECT_EQ(0, shared->bad);
}

static bool goes_on(void)
{
	const unsigned long spins = shared->spins;
	int i;

	for (i = 0; i < 100 && shared->spins == spins; i++)
		usleep(10000);
	return shared->spins != spins;
}

static int stop_and_continue(pid_t pid, int i)
{
	usleep(i * 300);
	kill(pid, SIGSTOP);
	usleep(i % 8 * 100);
	kill(pid, SIGCONT);
	return 0;
}

TEST_F(hmm_mirror, a_process_that_was_continued_goes_on)
{
	pid_t pid = start(counts), sender;
	int i;

	ASSERT_LT(0, pid);
	shared->count = SIGNALS;
	for (i = 0; i < 60; i++) {
		sender = fork();
		if (!sender)
			_exit(stop_and_continue(pid, i));
		while (!waitpid(sender, NULL, WNOHANG))
			ASSERT_EQ(0, bind_once(variant->device, pid));
		ASSERT_TRUE(goes_on());
	}
	EXPECT_EQ(0, finish(pid));
}

TEST_F(hmm_mirror, a_process_that_was_stopped_stays_so)
{
	pid_t pid = start(counts);
	int status, i;

	ASSERT_LT(0, pid);
	shared->count = SIGNALS;
	for (i = 0; i < BINDS; i++) {
		kill(pid, SIGSTOP);
		ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
		ASSERT_EQ(0, bind_once(variant->device, pid));
		usleep(10000);
		shared->spins = 0;
		usleep(20000);
		EXPECT_EQ(0, shared->spins);
		kill(pid, SIGCONT);
		ASSERT_TRUE(goes_on());
	}
	EXPECT_EQ(0, finish(pid));
}

/* Calls that are interrupted, and go on */

static int pipes[2];

static int reads(void)
{
	char byte;

	shared->ready = 1;
	return read(pipes[0], &byte, 1) != 1;
}

static int polls(void)
{
	struct pollfd poll_fd = { .fd = pipes[0], .events = POLLIN };

	shared->ready = 1;
	return poll(&poll_fd, 1, 100000) != 1;
}

static int sleeps(void)
{
	shared->ready = 1;
	return nanosleep(&(struct timespec){ .tv_sec = 3 }, NULL);
}

static int waits(void)
{
	shared->ready = 1;
	return syscall(SYS_futex, &shared->stop, FUTEX_WAIT, 0, NULL) && errno != EAGAIN;
}

static void wake(pid_t pid)
{
	shared->stop = 1;
	syscall(SYS_futex, &shared->stop, FUTEX_WAKE, 1);
	if (write(pipes[1], "", 1) != 1)
		kill(pid, SIGKILL);
}

TEST_F(hmm_mirror, interrupted_calls_are_restarted)
{
	static victim *const victims[] = { reads, polls, sleeps, waits };
	size_t v;
	int i, status;

	for (v = 0; v < ARRAY_SIZE(victims); v++) {
		pid_t pid;

		ASSERT_EQ(0, pipe(pipes));
		pid = start(victims[v]);
		ASSERT_LT(0, pid);
		usleep(50000);
		for (i = 0; i < 5; i++)
			ASSERT_EQ(0, bind_once(variant->device, pid));
		wake(pid);
		EXPECT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status) {
			TH_LOG("victim %zu", v);
		}
		close(pipes[0]);
		close(pipes[1]);
	}
}

/* Who is told to end meanwhile, leaves nothing half done */

TEST_F(hmm_mirror, a_signal_to_who_binds_does_the_process_no_harm)
{
	pid_t pid = start(counts), binder;
	unsigned long spins;
	int i;

	ASSERT_LT(0, pid);
	shared->count = SIGNALS;
	for (i = 0; i < 50; i++) {
		binder = fork();
		if (!binder)
			for (;;)
				bind_once(variant->device, pid);
		usleep(20000 + i * 500);
		kill(binder, SIGTERM);
		waitpid(binder, NULL, 0);
		spins = shared->spins;
		usleep(5000);
		ASSERT_EQ(0, waitpid(pid, NULL, WNOHANG));
	}
	EXPECT_NE(spins, shared->spins);
	EXPECT_EQ(0, finish(pid));
}

/* A process that cannot make a call now */

#define GROUP	"/tmp/hmm_mirror.cgroup"

static int write_to(const char *path, const char *text)
{
	int ret, fd = open(path, O_WRONLY);

	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

static int make_group(pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	mkdir(GROUP, 0700);
	if (mount("none", GROUP, "cgroup2", 0, NULL))
		return -errno;
	if (mkdir(GROUP "/frozen", 0700) && errno != EEXIST)
		return -errno;
	return write_to(GROUP "/frozen/cgroup.procs", text);
}

static void remove_group(void)
{
	rmdir(GROUP "/frozen");
	umount2(GROUP, MNT_DETACH);
	rmdir(GROUP);
}

TEST_F(hmm_mirror, a_frozen_process_is_left_as_it_is)
{
	pid_t pid = start(counts);
	unsigned long spins;
	int ret;

	ASSERT_LT(0, pid);
	shared->count = SIGNALS;
	ret = make_group(pid);
	if (ret) {
		kill(pid, SIGKILL);
		finish(pid);
		remove_group();
		SKIP(return, "no cgroup can be made: %s", strerror(-ret));
	}
	EXPECT_EQ(0, write_to(GROUP "/frozen/cgroup.freeze", "1"));
	usleep(200000);
	spins = shared->spins;
	EXPECT_EQ(registry_is_module() ? -EBUSY : 0, bind_once(variant->device, pid));
	usleep(50000);
	EXPECT_EQ(spins, shared->spins);
	EXPECT_EQ(0, write_to(GROUP "/frozen/cgroup.freeze", "0"));
	usleep(200000);
	EXPECT_NE(spins, shared->spins);
	EXPECT_EQ(0, bind_once(variant->device, pid));
	EXPECT_EQ(0, finish(pid));
	remove_group();
}

static int unshares(void)
{
	int status;
	pid_t pid;

	if (unshare(CLONE_NEWPID))
		return 1;
	shared->ready = 1;
	while (!shared->stop)
		;
	pid = fork();
	if (!pid)
		_exit(getpid() != 1);
	return waitpid(pid, &status, 0) != pid || status;
}

TEST_F(hmm_mirror, the_first_child_in_a_namespace_is_its_own)
{
	pid_t pid = start(unshares);

	ASSERT_LT(0, pid);
	EXPECT_EQ(registry_is_module() ? -EOPNOTSUPP : 0, bind_once(variant->device, pid));
	EXPECT_EQ(0, finish(pid));
}

/* Who traces the process already */

#define OPTIONS	PTRACE_O_TRACEFORK

static int forks_when_told(void)
{
	int status = 0;

	shared->ready = 1;
	while (!shared->stop)
		shared->spins++;
	if (!fork())
		_exit(0);
	wait(&status);
	return status;
}

TEST_F(hmm_mirror, a_tracer_finds_it_as_it_was)
{
	pid_t pid = start(forks_when_told);
	siginfo_t info;
	int status;

	ASSERT_LT(0, pid);
	device_bind_traced(OPTIONS);
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, pid, 0, OPTIONS));
	ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, pid, 0, 0));
	ASSERT_EQ(pid, waitpid(pid, &status, __WALL));
	ASSERT_EQ(0, bind_once(variant->device, pid));
	ASSERT_EQ(0, ptrace(PTRACE_GETSIGINFO, pid, 0, &info));
	EXPECT_EQ(PTRACE_EVENT_STOP << 8 | SIGTRAP, info.si_code);

	/* It is stopped, and then also for others */
	kill(pid, SIGSTOP);
	ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, 0, 0));
	ASSERT_EQ(pid, waitpid(pid, &status, __WALL));
	ASSERT_EQ(SIGSTOP, status >> 8);
	/* A signal that is not delivered yet is the tracer's affair */
	if (registry_is_module())
		EXPECT_EQ(-EBUSY, bind_once(variant->device, pid));
	ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, 0, SIGSTOP));
	ASSERT_EQ(pid, waitpid(pid, &status, __WALL));
	ASSERT_EQ(PTRACE_EVENT_STOP << 8 | SIGSTOP, status >> 8);
	ASSERT_EQ(0, bind_once(variant->device, pid));
	ASSERT_EQ(0, ptrace(PTRACE_GETSIGINFO, pid, 0, &info));
	EXPECT_EQ(SIGSTOP, info.si_signo);
	ASSERT_EQ(0, ptrace(PTRACE_LISTEN, pid, 0, 0));
	kill(pid, SIGCONT);
	ASSERT_EQ(pid, waitpid(pid, &status, __WALL));
	EXPECT_EQ(PTRACE_EVENT_STOP, status >> 16);
	shared->stop = 1;
	while (ptrace(PTRACE_CONT, pid, 0, WSTOPSIG(status) == SIGCONT ? SIGCONT : 0) == 0 &&
	       waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status) &&
	       status >> 16 != PTRACE_EVENT_FORK)
		;
	/* The options are those of before */
	EXPECT_EQ(PTRACE_EVENT_FORK, status >> 16);
	kill(pid, SIGKILL);
	device_bind_traced(0);
}

TEST_F(hmm_mirror, a_tracer_that_lets_it_run_is_told_of_all)
{
	pid_t pid = start(counts);
	int status, i;

	ASSERT_LT(0, pid);
	shared->count = SIGNALS;
	device_bind_traced(PTRACE_O_TRACEEXIT);
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEEXIT));
	for (i = 0; i < BINDS; i++) {
		ASSERT_EQ(0, bind_once(variant->device, pid));
		ASSERT_TRUE(goes_on());
	}
	EXPECT_EQ(0, waitpid(pid, &status, __WALL | WNOHANG));

	kill(pid, SIGSTOP);
	ASSERT_EQ(pid, waitpid(pid, &status, __WALL));
	ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, 0, SIGSTOP));
	ASSERT_EQ(pid, waitpid(pid, &status, __WALL));
	ASSERT_EQ(PTRACE_EVENT_STOP << 8 | SIGSTOP, status >> 8);
	ASSERT_EQ(0, ptrace(PTRACE_LISTEN, pid, 0, 0));
	ASSERT_EQ(0, bind_once(variant->device, pid));
	/* Who has it listen would else not hear that it is still stopped */
	if (registry_is_module()) {
		ASSERT_EQ(pid, waitpid(pid, &status, __WALL));
		ASSERT_EQ(PTRACE_EVENT_STOP << 8 | SIGSTOP, status >> 8);
	}

	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, __WALL));
	device_bind_traced(0);
}

/* A process that ends as soon as its main thread has made a helper */

static void *end_with_helper(void *arg)
{
	siginfo_t info;

	shared->ready = 1;
	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL))
		;
	syscall(SYS_exit_group, 0);
	return arg;
}

/* Only the main thread is here, and stays, and no copy of it comes back from here */
static void wait_for_the_end(void)
{
	for (;;)
		pause();
}

static int ends_with_helper(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, end_with_helper, NULL);
	wait_for_the_end();
	shared->bad = 1;
	return 1;
}

TEST_F(hmm_mirror, a_helper_ends_with_the_process)
{
	int i, ret, status, ends = 0;

	for (i = 0; i < 3 * BINDS; i++) {
		pid_t pid = start(ends_with_helper);

		ASSERT_LT(0, pid);
		ret = bind_once(variant->device, pid);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		ends += ret == -ESRCH;
		EXPECT_TRUE(!ret || ret == -ESRCH || ret == -EBUSY);
	}
	/* Helpers that were left would go on when this thread lets go of them */
	usleep(10000);
	TH_LOG("%d of %d had ended", ends, i);
	EXPECT_EQ(0, shared->bad);
	EXPECT_EQ(-1, waitpid(-1, &status, WNOHANG | __WALL));
}

TEST_HARNESS_MAIN
