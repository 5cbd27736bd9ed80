// SPDX-License-Identifier: GPL-2.0
/*
 * Processes to be bound, and not to be, and what else programs find open.
 */
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "processes.h"

#define NOBODY		65534

int fixed_fd[SLOT_NR];

static pid_t sleepers[2];

static int pidfd_of(pid_t pid)
{
	int fd = syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		err(2, "pidfd_open");
	return fd;
}

static pid_t sleeper(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

/* One that runs a set-uid program of root, on behalf of nobody */
static pid_t setuid_sleeper(void)
{
	int ends[2];
	pid_t pid;
	char c;

	if (system("rm -f " SETUID_SLEEP " && cp \"$(command -v sleep)\" " SETUID_SLEEP
		   " && chmod 4755 " SETUID_SLEEP) || pipe2(ends, O_CLOEXEC))
		errx(2, "cannot make %s", SETUID_SLEEP);
	pid = fork();
	if (!pid) {
		if (!setresgid(NOBODY, NOBODY, NOBODY) && !setresuid(NOBODY, NOBODY, NOBODY))
			execl(SETUID_SLEEP, "sleep", "1000", NULL);
		_exit(1);
	}
	/* Until exec has closed it */
	close(ends[1]);
	if (read(ends[0], &c, 1) || waitpid(pid, NULL, WNOHANG))
		err(2, "%s", SETUID_SLEEP);
	close(ends[0]);
	return pid;
}

void processes_make(void)
{
	pid_t pid = sleeper();

	fixed_fd[SLOT_DEAD] = pidfd_of(pid);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	sleepers[0] = sleeper();
	sleepers[1] = setuid_sleeper();
	fixed_fd[SLOT_ROOT] = pidfd_of(sleepers[0]);
	fixed_fd[SLOT_SETUID] = pidfd_of(sleepers[1]);
	fixed_fd[SLOT_KERNEL] = pidfd_of(2);
	fixed_fd[SLOT_FILE] = open("/dev/null", O_RDWR | O_CLOEXEC);
	fixed_fd[SLOT_CLOSED] = -1;
}

void processes_end(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sleepers); i++) {
		kill(sleepers[i], SIGKILL);
		waitpid(sleepers[i], NULL, 0);
	}
	unlink(SETUID_SLEEP);
}
