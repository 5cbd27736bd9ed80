// SPDX-License-Identifier: GPL-2.0
/*
 * Processes to be bound, and not to be, and what else programs find open.
 */
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "processes.h"

#define NOBODY		65534

int fixed_fd[SLOT_NR];
char setuid_program[] = "/tmp/hmm-fuzz-setuid";

static pid_t sleepers[2];

static int pidfd_of(pid_t pid)
{
	int fd = syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		err(2, "pidfd_open");
	return fd;
}

static void copy_file(const char *from, const char *to)
{
	static char data[1 << 16];
	int in = open(from, O_RDONLY | O_CLOEXEC), out;
	ssize_t nr;

	unlink(to);
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (in < 0 || out < 0)
		err(2, "%s", in < 0 ? from : to);
	while ((nr = read(in, data, sizeof(data))) > 0)
		if (write(out, data, nr) != nr)
			err(2, "%s", to);
	close(in);
	close(out);
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

	copy_file("/proc/self/exe", setuid_program);
	if (chmod(setuid_program, 04755) || pipe2(ends, O_CLOEXEC))
		err(2, "%s", setuid_program);
	pid = fork();
	if (!pid) {
		if (!setresgid(NOBODY, NOBODY, NOBODY) && !setresuid(NOBODY, NOBODY, NOBODY))
			execl(setuid_program, setuid_program, "--sleep", NULL);
		_exit(1);
	}
	/* Until exec has closed it */
	close(ends[1]);
	if (read(ends[0], &c, 1) || waitpid(pid, NULL, WNOHANG))
		err(2, "%s", setuid_program);
	close(ends[0]);
	return pid;
}

int sleep_as_child(void)
{
	pid_t parent = getppid();

	while (getppid() == parent)
		usleep(100000);
	return 0;
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
	unlink(setuid_program);
}
