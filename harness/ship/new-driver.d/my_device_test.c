// SPDX-License-Identifier: GPL-2.0
/* Does /dev/my_device follow what becomes of memory?  TAP on standard output. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "my_device.h"

static int device, cases, failed;

static void check(bool good, const char *text)
{
	printf("%s %d %s\n", good ? "ok" : "not ok", ++cases, text);
	failed += !good;
}

/* Returns 0, or errno. */
static int map(void *addr, size_t len, unsigned int flags)
{
	struct my_device_map arg = {
		.addr = (unsigned long)addr,
		.len = len,
		.flags = flags,
	};

	return ioctl(device, MY_DEVICE_IOC_MAP, &arg) ? errno : 0;
}

static unsigned int lookup(void *addr)
{
	struct my_device_lookup arg = { .addr = (unsigned long)addr };

	if (ioctl(device, MY_DEVICE_IOC_LOOKUP, &arg)) {
		perror("MY_DEVICE_IOC_LOOKUP");
		exit(1);
	}
	return arg.flags;
}

int main(void)
{
	const unsigned int writable = MY_DEVICE_ENTRY_VALID | MY_DEVICE_ENTRY_WRITE;
	size_t page = sysconf(_SC_PAGESIZE), len = 512 * page;
	char *mem, *last;

	device = open("/dev/my_device", O_RDWR);
	if (device < 0) {
		perror("/dev/my_device");
		return 1;
	}
	mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	last = mem + len - page;
	/* What becomes of a part of a huge page becomes of all of it */
	madvise(mem, len, MADV_NOHUGEPAGE);

	check(!lookup(mem), "the device has nothing at first");
	check(!map(mem, len, MY_DEVICE_MAP_WRITE) && lookup(mem) == writable &&
	      lookup(last) == writable, "what is mapped is there, to be written");
	madvise(mem, page, MADV_DONTNEED);
	check(!lookup(mem) && lookup(mem + page) == writable,
	      "MADV_DONTNEED takes its page, and no other");
	mprotect(last, page, PROT_READ);
	check(map(last, page, MY_DEVICE_MAP_WRITE) == EPERM,
	      "what may not be written is not mapped to be written");
	check(!map(last, page, 0) && lookup(last) == MY_DEVICE_ENTRY_VALID,
	      "but to be read");
	munmap(mem, len);
	check(!lookup(mem + page) && !lookup(last), "munmap() takes all");
	check(map(mem, page, 0) == EFAULT, "where nothing is, nothing is mapped");
	check(map(mem + 1, page, 0) == EINVAL && map(mem, 0, 0) == EINVAL &&
	      map(mem, len + page, 0) == EINVAL && map(mem, page, 2) == EINVAL,
	      "what makes no sense is refused");
	printf("1..%d\n", cases);
	return failed != 0;
}
