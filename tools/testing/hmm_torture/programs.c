// SPDX-License-Identifier: GPL-2.0
/*
 * Real programs, mirrored for their whole lives by hmm-mirror, which compares the
 * device's page table with pagemap again and again.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "shared.h"

#define LOG	"/tmp/hmm-torture-program"
#define STALE	120			/* exit status of hmm-mirror */

/* In these, $run runs a program that is mirrored */
#define PYTHON	"test \"$($run python3 -c 'print(len(str([*range(10**5)])))')\" = 688890"
#define GCC	"echo 'int main(void) { return 42; }' >$log.c && " \
		"$run gcc -O2 -include stdlib.h $log.c -o $log.bin && " \
		"{ $run $log.bin; test $? = 42; }"
/* 3 or 4: there is no memory for it, or no such thing */
#define STRESS	"$run stress-ng --quiet --$name 1 --timeout 2 --vm-bytes 16M --mmap-bytes 16M" \
		" --mremap-bytes 4M; s=$?; test $s = 3 -o $s = 4 || exit $s"

static const char * const names[] = {
	"python3", "gcc",
	/* stress-ng's class vm; without those that take all memory there is */
	"madvise", "memfd", "mmap", "mmapaddr", "mmapfork", "mprotect", "mremap", "msync",
	"pageswap", "shm", "stack", "vm", "vm-segv", "vm-splice",
};

static const char *command_of(const char *name)
{
	if (!strcmp(name, "python3"))
		return PYTHON;
	return strcmp(name, "gcc") ? STRESS : GCC;
}

static void run_program(struct part *part, const char *device, const char *name)
{
	int status = 0, log;
	char text[64];
	pid_t pid;

	doing(part, name);
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		/* There is much else to do, and this is to come to its end */
		setpriority(PRIO_PROCESS, 0, -15);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		snprintf(text, sizeof(text), "hmm-mirror --device %s run --", device);
		setenv("run", text, 1);
		setenv("name", name, 1);
		setenv("log", LOG, 1);
		log = open(LOG ".log", O_WRONLY | O_CREAT | O_TRUNC, 0600);
		dup2(log, STDOUT_FILENO);
		dup2(log, STDERR_FILENO);
		execl("/bin/sh", "sh", "-c", command_of(name), NULL);
		_exit(127);
	}
	while (!waitpid(pid, &status, WNOHANG)) {
		if (shared->stop) {
			kill(-pid, SIGKILL);
			waitpid(pid, &status, 0);
			return;
		}
		pause_ms(20);
	}
	if (status) {
		failed(WIFEXITED(status) && WEXITSTATUS(status) == STALE ? FIGURE_STALE :
		       FIGURE_BROKEN, "%s: status %#x, and this:", name, status);
		if (system("tail -n 20 " LOG ".log"))
			perror(LOG ".log");
	}
	count(FIGURE_PROGRAM, 1);
}

int programs(struct part *part)
{
	unsigned int order[ARRAY_SIZE(names)], i;
	__u64 seed = random_seed(part, 0);

	while (!shared->stop) {
		random_order(&seed, order, ARRAY_SIZE(names));
		for (i = 0; i < ARRAY_SIZE(names) && !shared->stop; i++) {
			const char *device = random_below(&seed, 2) ? DEVICE_RUST : DEVICE_C;
			int fd = open_unless_avoided(device);

			if (fd < 0) {
				device = strcmp(device, DEVICE_C) ? DEVICE_C : DEVICE_RUST;
				fd = open_unless_avoided(device);
			}
			if (fd < 0)
				continue;
			/* As long as it is open, the device stays */
			run_program(part, device, names[order[i]]);
			close(fd);
		}
	}
	return 0;
}
