// SPDX-License-Identifier: GPL-2.0
/*
 * mprotect(2) of an area at address 0 starts an invalidation that is never ended.
 *
 *	modprobe test_hmm
 *	gcc -O2 mprotect-at-0.c -o mprotect-at-0 && ./mprotect-at-0	# as root
 *
 * With the fault the device, which has an interval notifier, waits for that end for
 * ever, in uninterruptible sleep: its page fault does not come back within 5 s, and
 * the process cannot be killed.  Without it the program ends with 0.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* As in lib/test_hmm_uapi.h */
struct hmm_dmirror_cmd {
	uint64_t addr;
	uint64_t ptr;
	uint64_t npages;
	uint64_t cpages;
	uint64_t faults;
};
#define HMM_DMIRROR_READ _IOWR('H', 0x00, struct hmm_dmirror_cmd)

static int child(void)
{
	size_t page = sysconf(_SC_PAGESIZE);
	int device = open("/dev/hmm_dmirror0", O_RDWR);
	struct hmm_dmirror_cmd cmd = { .npages = 1 };
	char *zero, *map, *copy;

	/* Takes CAP_SYS_RAWIO, or vm.mmap_min_addr=0 */
	zero = mmap(NULL, page, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	map = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	copy = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (device < 0 || zero == MAP_FAILED || map == MAP_FAILED || copy == MAP_FAILED) {
		perror("/dev/hmm_dmirror0, mmap");
		return 4;
	}
	*(volatile char *)zero = 'z';
	map[0] = 'm';
	if (mprotect(zero, page, PROT_READ)) {
		perror("mprotect");
		return 4;
	}
	cmd.addr = (uintptr_t)map;
	cmd.ptr = (uintptr_t)copy;
	if (ioctl(device, HMM_DMIRROR_READ, &cmd) || copy[0] != 'm') {
		perror("HMM_DMIRROR_READ");
		return 1;
	}
	return 0;
}

int main(void)
{
	int status, tenths;
	pid_t pid = fork();

	if (!pid)
		_exit(child());
	for (tenths = 0; tenths < 50; tenths++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		usleep(100000);
	}
	kill(pid, SIGKILL);
	printf("the device hangs, see /proc/%d/stack\n", pid);
	return 1;
}
