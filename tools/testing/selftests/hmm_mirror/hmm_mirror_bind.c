// SPDX-License-Identifier: GPL-2.0
/*
 * Whose memory a context of a sample device has, who may have it, and for how long:
 * BIND, and how contexts and processes end.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNBOUND
#include "fixture.h"

#define NOBODY	65534

static int become_nobody(void)
{
	return setresgid(NOBODY, NOBODY, NOBODY) ||
	       setresuid(NOBODY, NOBODY, NOBODY) ||
	       prctl(PR_SET_DUMPABLE, 1);	/* to its own children, that is */
}

TEST_F(hmm_mirror, bind_twice_is_EBUSY)
{
	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(-EBUSY, bind_self(self->fd));
}

TEST_F(hmm_mirror, bind_to_no_pidfd_is_EBADF)
{
	struct hmm_mirror_bind bind = { .pidfd = -1 };

	EXPECT_EQ(-EBADF, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	bind.pidfd = self->fd;
	EXPECT_EQ(-EBADF, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	/* A failure leaves the context as it was. */
	EXPECT_EQ(0, bind_self(self->fd));
}

TEST_F(hmm_mirror, bind_with_an_unreadable_argument_is_EFAULT)
{
	EXPECT_EQ(-EFAULT, call(self->fd, HMM_MIRROR_IOC_BIND, NULL));
}

TEST_F(hmm_mirror, bind_with_flags_is_EINVAL)
{
	struct hmm_mirror_bind bind = { .flags = 1 };

	bind.pidfd = syscall(SYS_pidfd_open, getpid(), 0);
	ASSERT_LE(0, bind.pidfd);
	EXPECT_EQ(-EINVAL, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	bind.flags = 0;
	EXPECT_EQ(0, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	close(bind.pidfd);
}

TEST_F(hmm_mirror, bind_to_a_dead_process_is_ESRCH)
{
	struct hmm_mirror_bind bind = { };
	pid_t pid = sleeper();
	siginfo_t info;

	bind.pidfd = syscall(SYS_pidfd_open, pid, 0);
	ASSERT_LE(0, bind.pidfd);
	kill(pid, SIGKILL);
	/* First a zombie, then gone. */
	ASSERT_EQ(0, waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	EXPECT_EQ(-ESRCH, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_EQ(-ESRCH, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	close(bind.pidfd);
}

TEST_F(hmm_mirror, bind_to_a_kernel_thread_is_ESRCH)
{
	/* Nothing but the kernel is the parent of kthreadd. */
	EXPECT_EQ(-ESRCH, device_bind(self->fd, 2));
}

TEST_F(hmm_mirror, bind_needs_the_permission_of_ptrace)
{
	pid_t pid = fork();
	int status;

	ASSERT_LE(0, pid);
	if (!pid) {
		int ret;

		if (become_nobody())
			_exit(1);
		ret = device_bind(self->fd, getppid());
		if (ret != -EPERM && ret != -EACCES)
			_exit(2);
		/* But to itself it may. */
		_exit(bind_self(self->fd) ? 3 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(hmm_mirror, calls_before_bind_are_ENXIO)
{
	struct hmm_mirror_stats stats;
	struct entries entries = { };
	char *map = self->map, byte = 0;

	EXPECT_EQ(-ENXIO, map_write(self->fd, map, self->size));
	EXPECT_EQ(-ENXIO, read_at(self->fd, map, &byte, 1));
	EXPECT_EQ(-ENXIO, write_at(self->fd, map, &byte, 1));
	EXPECT_EQ(-ENXIO, device_dump(self->fd, 0, ~0ULL, &entries));
	EXPECT_EQ(-ENXIO, device_stats(self->fd, &stats));
	entries_free(&entries);
}

struct bind_race {
	pthread_barrier_t barrier;
	int fd;
};

static void *bind_when_told(void *arg)
{
	struct bind_race *race = arg;

	pthread_barrier_wait(&race->barrier);
	return (void *)(intptr_t)bind_self(race->fd);
}

TEST_F(hmm_mirror, of_many_who_bind_at_once_one_succeeds)
{
	struct bind_race race;
	pthread_t thread[8];
	int round, i;

	pthread_barrier_init(&race.barrier, NULL, ARRAY_SIZE(thread));
	for (round = 0; round < 20; round++) {
		int bound = 0, busy = 0;

		race.fd = device_open(variant->device);
		for (i = 0; i < ARRAY_SIZE(thread); i++)
			ASSERT_EQ(0, pthread_create(&thread[i], NULL, bind_when_told, &race));
		for (i = 0; i < ARRAY_SIZE(thread); i++) {
			void *ret;

			pthread_join(thread[i], &ret);
			bound += !ret;
			busy += (intptr_t)ret == -EBUSY;
		}
		EXPECT_EQ(1, bound);
		EXPECT_EQ(ARRAY_SIZE(thread) - 1, busy);
		close(race.fd);
	}
	pthread_barrier_destroy(&race.barrier);
}

/* Contexts of one process, and of its child */

TEST_F(hmm_mirror, an_inherited_context_still_shows_the_parent)
{
	char *map = self->map, byte = 2;
	int status;
	pid_t pid;

	memset(map, 1, self->size);
	ASSERT_EQ(0, bind_self(self->fd));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		memset(map, 3, self->size);
		if (byte_at(self->fd, map) != 1)
			_exit(1);
		if (write_at(self->fd, map, &byte, 1))
			_exit(2);
		_exit(map[0] == 3 ? 0 : 3);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(2, map[0]);
	EXPECT_EQ(1, map[self->page]);
	EXPECT_EQ(0, stale(self->fd, getpid()));
}

TEST_F(hmm_mirror, many_contexts_of_one_process_all_follow)
{
	char *map = self->map, *rest = map + self->size / 2;
	int fd[50];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(fd); i++) {
		fd[i] = device_open(variant->device);
		ASSERT_LE(0, fd[i]);
		ASSERT_EQ(0, bind_self(fd[i]));
		ASSERT_EQ(0, map_write(fd[i], map, self->size));
	}
	munmap(map, self->size / 2);
	for (i = 0; i < ARRAY_SIZE(fd); i++)
		EXPECT_EQ(PAGES / 2, entries_in(fd[i], map, self->size));
	/* Some go, the others stay. */
	for (i = 0; i < ARRAY_SIZE(fd); i += 2)
		close(fd[i]);
	mprotect(rest, self->size / 2, PROT_READ);
	for (i = 1; i < ARRAY_SIZE(fd); i += 2) {
		EXPECT_EQ(0, writable_in(fd[i], map, self->size));
		EXPECT_EQ(0, stale(fd[i], getpid()));
		close(fd[i]);
	}
}

TEST_F(hmm_mirror, closing_a_context_leaves_the_process_alone)
{
	char *map = self->map;
	size_t i;

	for (i = 0; i < 20; i++) {
		int fd = device_open(variant->device);

		memset(map, i, self->size);
		ASSERT_EQ(0, bind_self(fd));
		ASSERT_EQ(0, map_write(fd, map, self->size));
		close(fd);
		EXPECT_EQ((char)i, map[0]);
		madvise(map, self->size, MADV_DONTNEED);
		EXPECT_EQ(0, map[0]);
	}
}

TEST_F(hmm_mirror, a_module_in_use_cannot_be_unloaded)
{
	const char *name = strrchr(variant->device, '/') + 1;
	char path[64];

	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", name);
	if (access(path, F_OK))
		SKIP(return, "%s is not a module", name);
	ASSERT_EQ(0, bind_self(self->fd));
	EXPECT_EQ(-1, syscall(SYS_delete_module, name, O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
}

/* How a process ends, or its address space */

TEST_F(hmm_mirror, exit_takes_everything_out)
{
	char *map = self->map, byte;
	struct hmm_mirror_stats stats;
	pid_t pid;

	memset(map, 1, self->size);
	pid = sleeper();
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, device_bind(self->fd, pid));
	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	reap(pid);
	EXPECT_EQ(0, entries_in(self->fd, NULL, ABOVE));
	EXPECT_EQ(-ESRCH, map_write(self->fd, map, self->size));
	EXPECT_EQ(-ESRCH, map_present(self->fd, map, self->size));
	EXPECT_EQ(-ESRCH, read_at(self->fd, map, &byte, 1));
	EXPECT_EQ(-ESRCH, write_at(self->fd, map, &byte, 1));
	ASSERT_EQ(0, device_stats(self->fd, &stats));
	EXPECT_EQ(1, stats.dead);
	EXPECT_EQ(0, stats.pages);
	EXPECT_EQ(PAGES, stats.invalidated);
	/* Once bound, bound for ever. */
	EXPECT_EQ(-EBUSY, bind_self(self->fd));
}

TEST_F(hmm_mirror, exec_takes_everything_out)
{
	char *map = self->map, byte;
	struct hmm_mirror_stats stats;
	int gate[2], done[2];
	pid_t pid;

	memset(map, 1, self->size);
	ASSERT_EQ(0, pipe(gate));
	ASSERT_EQ(0, pipe2(done, O_CLOEXEC));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (read(gate[0], &byte, 1) == 1)
			execlp("sleep", "sleep", "100", NULL);
		_exit(1);
	}
	close(done[1]);
	ASSERT_EQ(0, device_bind(self->fd, pid));
	ASSERT_EQ(0, map_write(self->fd, map, self->size));
	ASSERT_EQ(1, write(gate[1], "", 1));
	/* It is closed by execve(), after the memory has gone. */
	ASSERT_EQ(0, read(done[0], &byte, 1));
	EXPECT_EQ(-ESRCH, read_at(self->fd, map, &byte, 1));
	EXPECT_EQ(0, entries_in(self->fd, NULL, ABOVE));
	ASSERT_EQ(0, device_stats(self->fd, &stats));
	EXPECT_EQ(1, stats.dead);
	reap(pid);
}

static void *kill_soon(void *arg)
{
	usleep(rand() % 2000);
	kill((intptr_t)arg, SIGKILL);
	return NULL;
}

TEST_F(hmm_mirror, a_process_may_die_while_the_device_faults)
{
	char *map = self->map;
	struct hmm_mirror_stats stats;
	size_t i, j;

	memset(map, 1, self->size);
	for (i = 0; i < 20; i++) {
		int fd = device_open(variant->device), ret;
		pid_t pid = sleeper();
		pthread_t thread;

		ASSERT_LT(0, pid);
		ASSERT_EQ(0, device_bind(fd, pid));
		ASSERT_EQ(0, pthread_create(&thread, NULL, kill_soon, (void *)(intptr_t)pid));
		do {
			ret = device_map(fd, (uintptr_t)map, self->size,
					 HMM_MIRROR_MAP_WRITE, NULL);
		} while (!ret || ret == -EBUSY);
		EXPECT_EQ(-ESRCH, ret);
		pthread_join(thread, NULL);
		waitpid(pid, NULL, 0);
		/*
		 * When the fault was the last user of the address space, the
		 * kernel tears it down a little later.
		 */
		for (j = 0; j < 1000; j++) {
			ASSERT_EQ(0, device_stats(fd, &stats));
			if (stats.dead)
				break;
			usleep(5000);
		}
		EXPECT_EQ(1, stats.dead);
		EXPECT_EQ(0, entries_in(fd, NULL, ABOVE));
		close(fd);
	}
}

/* Those who want what is not theirs */

/*
 * Run by nobody: a child that executes a program which is root's, and set-uid, once
 * @gate says so, or at once where that is NULL.  @done is closed when it has.
 */
static pid_t run_set_uid(const char *program, int *gate, int *done)
{
	pid_t pid = fork();
	char byte;

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!gate || read(gate[0], &byte, 1) == 1)
			execl(program, "sleep", "100", NULL);
		_exit(1);
	}
	close(done[1]);
	return pid;
}

/* A set-uid copy of sleep(1); to be unlinked */
static int make_set_uid(char *path)
{
	char command[128];
	int fd = mkstemp(path);

	if (fd < 0)
		return -1;
	close(fd);
	snprintf(command, sizeof(command),
		 "cp \"$(command -v sleep)\" %s && chmod 4755 %s", path, path);
	return system(command);
}

TEST_F(hmm_mirror, bind_to_a_set_uid_program_is_refused)
{
	char path[] = "/tmp/hmm_mirror.XXXXXX", byte;
	int done[2], status;
	pid_t pid;

	ASSERT_EQ(0, make_set_uid(path));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int ret;

		if (become_nobody() || pipe2(done, O_CLOEXEC))
			_exit(1);
		pid = run_set_uid(path, NULL, done);
		if (read(done[0], &byte, 1))
			_exit(2);
		ret = device_bind(self->fd, pid);
		_exit(ret == -EPERM || ret == -EACCES ? 0 : 3);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	unlink(path);
	EXPECT_EQ(0, status);
}

TEST_F(hmm_mirror, access_ends_when_a_set_uid_program_is_executed)
{
	char path[] = "/tmp/hmm_mirror.XXXXXX", *map = self->map, byte;
	int gate[2], done[2], status;
	pid_t pid;

	memset(map, 1, self->size);
	ASSERT_EQ(0, make_set_uid(path));
	ASSERT_EQ(0, pipe(gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (become_nobody() || pipe2(done, O_CLOEXEC))
			_exit(1);
		pid = run_set_uid(path, gate, done);
		if (device_bind(self->fd, pid) ||
		    map_write(self->fd, map, self->size) ||
		    byte_at(self->fd, map) != 1)
			_exit(2);
		if (write(gate[1], "", 1) != 1 || read(done[0], &byte, 1))
			_exit(3);
		if (byte_at(self->fd, map) != -ESRCH ||
		    map_write(self->fd, map, self->size) != -ESRCH ||
		    entries_in(self->fd, NULL, ABOVE))
			_exit(4);
		_exit(device_bind(self->fd, getpid()) == -EBUSY ? 0 : 5);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	unlink(path);
	EXPECT_EQ(0, status);
}

/* As with /proc/PID/mem, who was permitted may share */
TEST_F(hmm_mirror, a_context_may_be_passed_on)
{
	char *map = self->map, control[CMSG_SPACE(sizeof(int))], byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	int sockets[2], status, fd;
	struct cmsghdr *cmsg;
	pid_t pid;

	memset(map, 7, self->size);
	ASSERT_EQ(0, bind_self(self->fd));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(self->fd);
		munmap(map, self->size);
		if (become_nobody() || recvmsg(sockets[1], &msg, 0) != 1)
			_exit(1);
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
		if (byte_at(fd, map) != 7)
			_exit(2);
		/* But it is no more than what was given. */
		_exit(device_bind(fd, getpid()) == -EBUSY ? 0 : 3);
	}
	cmsg = CMSG_FIRSTHDR(&msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &self->fd, sizeof(int));
	ASSERT_EQ(1, sendmsg(sockets[0], &msg, 0));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
