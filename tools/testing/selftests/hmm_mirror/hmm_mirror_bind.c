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

TEST_F(hmm_mirror, bind_to_no_pidfd_is_EBADF)
{
	struct hmm_mirror_bind bind = { .pidfd = -1 };

	EXPECT_EQ(-EBADF, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	bind.pidfd = self->fd;
	EXPECT_EQ(-EBADF, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	/* A failure leaves the context as it was. */
	EXPECT_EQ(0, bind_self(self->fd));
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
	if (registry_is_module())
		EXPECT_EQ(-EOPNOTSUPP, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	kill(pid, SIGKILL);
	/* First a zombie, then gone. */
	ASSERT_EQ(0, waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	EXPECT_EQ(-ESRCH, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	EXPECT_EQ(-ESRCH, device_bind(self->fd, pid));
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_EQ(-ESRCH, call(self->fd, HMM_MIRROR_IOC_BIND, &bind));
	EXPECT_EQ(-ESRCH, device_bind(self->fd, pid));
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

/* As with /proc/PID/mem, who was permitted may hand it on */
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
		if (become_nobody() || byte_at(self->fd, map) != 1)
			_exit(1);
		if (write_at(self->fd, map, &byte, 1) || map[0] != 3)
			_exit(2);
		/* But it is no more than what was given. */
		_exit(bind_self(self->fd) == -EBUSY ? 0 : 3);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(2, map[0]);
	EXPECT_EQ(1, map[self->page]);
	EXPECT_EQ(0, stale(self->fd, getpid()));
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

/* Those who want what is not theirs */

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

/* Access to what was there before ends with any execve(2). */
TEST_F(hmm_mirror, access_ends_when_a_set_uid_program_is_executed)
{
	char path[] = "/tmp/hmm_mirror.XXXXXX", *map = self->map, byte;
	int other = device_open(variant->device), gate[2], done[2], status, ret;
	struct hmm_mirror_stats stats;
	pid_t pid;

	if (registry_is_module())
		SKIP(return, "nobody may not open the device, and here has to");
	memset(map, 1, self->size);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, make_set_uid(path));
	ASSERT_EQ(0, pipe(gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (become_nobody() || pipe2(done, O_CLOEXEC))
			_exit(1);
		pid = fork();
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (read(gate[0], &byte, 1) == 1)
				execl(path, "sleep", "100", NULL);
			_exit(1);
		}
		close(done[1]);
		if (device_bind(self->fd, pid) ||
		    map_write(self->fd, map, self->size) ||
		    byte_at(self->fd, map) != 1)
			_exit(2);
		/* It is closed by execve(), after the memory has gone. */
		if (write(gate[1], "", 1) != 1 || read(done[0], &byte, 1))
			_exit(3);
		if (byte_at(self->fd, map) != -ESRCH ||
		    map_write(self->fd, map, self->size) != -ESRCH)
			_exit(4);
		/* Nor does nobody get access to what is there now. */
		ret = device_bind(other, pid);
		_exit(ret == -EPERM || ret == -EACCES ? 0 : 5);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	unlink(path);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, entries_in(self->fd, NULL, ABOVE));
	ASSERT_EQ(0, device_stats(self->fd, &stats));
	EXPECT_EQ(1, stats.dead);
	close(other);
}

TEST_HARNESS_MAIN
