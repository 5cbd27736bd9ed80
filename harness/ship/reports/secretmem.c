// SPDX-License-Identifier: GPL-2.0
/*
 * hmm_range_fault() hands out pages of memfd_secret(2), and migrate_vma_setup() takes
 * them to devices.
 *
 *	modprobe test_hmm
 *	gcc -O2 secretmem.c -o secretmem && ./secretmem		# or: ./secretmem migrate
 *
 * With the fault the kernel dies of a page fault in test_hmm.  Without it the device
 * is refused, and the program ends with 0.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
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
#define HMM_DMIRROR_MIGRATE_TO_DEV _IOWR('H', 0x02, struct hmm_dmirror_cmd)

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

int main(int argc, char **argv)
{
	unsigned long request = argc > 1 ? HMM_DMIRROR_MIGRATE_TO_DEV : HMM_DMIRROR_READ;
	size_t page = sysconf(_SC_PAGESIZE);
	int device = open("/dev/hmm_dmirror0", O_RDWR);
	int secret = syscall(SYS_memfd_secret, 0);
	struct hmm_dmirror_cmd cmd = { .npages = 1 };
	char *map, *copy;

	if (device < 0 || secret < 0 || ftruncate(secret, page)) {
		perror("/dev/hmm_dmirror0, memfd_secret");
		return 4;
	}
	map = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, secret, 0);
	copy = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED || copy == MAP_FAILED) {
		perror("mmap");
		return 4;
	}
	map[0] = 's';
	cmd.addr = (uintptr_t)map;
	cmd.ptr = (uintptr_t)copy;
	if (!ioctl(device, request, &cmd)) {
		printf("the device has got %llu pages, '%c'\n",
		       (unsigned long long)cmd.cpages, copy[0]);
		return 1;
	}
	if (errno != (argc > 1 ? EINVAL : EFAULT)) {
		perror("the device");
		return 1;
	}
	puts("refused");
	return 0;
}
