// SPDX-License-Identifier: GPL-2.0
/*
 * Strays on purpose: has the PCI device edu write to a DMA address of a page that was
 * unmapped, and sees that it does not get there.
 *
 * The driver does not do that, so this writes to the device's registers itself, while the
 * driver has nothing to do.  The DMA address is what the IOMMU's own page table says, in
 * debugfs: so the driver is asked for nothing but to have the page mapped.
 *
 * The IOMMU complains of each, which is what is wanted, and so this is not one of those that
 * are run with all others.  It prints the DMA addresses that are to be in the complaints.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest.h"

#include "context.h"
#include "proc.h"

#define EDU_BUFFER	0x40000
#define EDU_SRC		(0x80 / 8)
#define EDU_DST		(0x88 / 8)
#define EDU_COUNT	(0x90 / 8)
#define EDU_CMD		(0x98 / 8)
#define CMD_RUN		1
#define CMD_TO_MEMORY	2

#define PTE_ADDR	((1ULL << 52) - 1)

static __u64 *regs;
static char pci[PATH_MAX];
static size_t page;

static bool find_device(const char *name)
{
	char path[PATH_MAX + 16];
	int fd;

	snprintf(path, sizeof(path), "/sys/class/misc/%s/device", name);
	if (!realpath(path, pci))
		return false;
	snprintf(path, sizeof(path), "%s/resource0", pci);
	fd = open(path, O_RDWR);
	regs = fd < 0 ? MAP_FAILED :
	       mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return regs != MAP_FAILED;
}

/* Where the IOMMU leads to the frame @pfn; 0: nowhere */
static __u64 iova_of(__u64 pfn)
{
	unsigned long long iova, entry[5], found = 0;
	char path[PATH_MAX], line[256];
	FILE *file;

	snprintf(path, sizeof(path),
		 "/sys/kernel/debug/iommu/intel/%s/domain_translation_struct",
		 strrchr(pci, '/') + 1);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file)) {
		int nr = sscanf(line, "%llx | %llx %llx %llx %llx %llx", &iova, &entry[0],
				&entry[1], &entry[2], &entry[3], &entry[4]);

		if (nr == 6 && (entry[4] & PTE_ADDR) >> 12 == pfn)
			found = iova << 12;
	}
	if (file)
		fclose(file);
	return found;
}

static __u64 pfn_of(const void *addr)
{
	int pagemap = pagemap_open(getpid());
	__u64 entry = 0;

	pagemap_read(pagemap, (uintptr_t)addr, &entry, 1);
	close(pagemap);
	return entry & PAGEMAP_PFN;
}

static void set_reg(unsigned int reg, __u64 value)
{
	__atomic_store_n(&regs[reg], value, __ATOMIC_RELEASE);
}

static void start(__u64 iova, bool to_memory)
{
	set_reg(EDU_SRC, to_memory ? EDU_BUFFER : iova);
	set_reg(EDU_DST, to_memory ? iova : EDU_BUFFER);
	set_reg(EDU_COUNT, page);
	set_reg(EDU_CMD, CMD_RUN | (to_memory ? CMD_TO_MEMORY : 0));
}

static bool runs(void)
{
	return __atomic_load_n(&regs[EDU_CMD], __ATOMIC_ACQUIRE) & CMD_RUN;
}

static void wait_idle(void)
{
	double until = seconds() + 5;

	while (runs() && seconds() < until)
		usleep(1000);
}

static void copy(__u64 iova, bool to_memory)
{
	start(iova, to_memory);
	wait_idle();
}

/* A page of @file that the device can write to, and its DMA address */
static char *mapped(int fd, int file, __u64 *iova)
{
	char *map = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	*iova = 0;
	if (map != MAP_FAILED && !map_write(fd, map, page))
		*iova = iova_of(pfn_of(map));
	return map;
}

static bool all(int file, char byte)
{
	char buf[4096] = { };
	ssize_t len = pread(file, buf, page, 0);

	return len == (ssize_t)page && buf[0] == byte && !memcmp(buf, buf + 1, page - 1);
}

static void set(int file, char byte)
{
	char buf[4096];

	memset(buf, byte, sizeof(buf));
	if (pwrite(file, buf, page, 0) != (ssize_t)page)
		ksft_exit_fail_msg("cannot write a file\n");
}

/* Else that it does not get there says nothing */
static void device_gets_there(int fd, int file)
{
	__u64 iova;
	char *map = mapped(fd, file, &iova);

	set(file, 'd');
	copy(iova, false);
	set(file, 'c');
	copy(iova, true);
	ksft_test_result(iova && all(file, 'd'),
			 "the device writes where the IOMMU leads to the page\n");
	munmap(map, page);
}

static void write_is_refused(int fd, int file)
{
	__u64 iova;
	char *map = mapped(fd, file, &iova);

	set(file, 'c');
	munmap(map, page);
	ksft_print_msg("stray %#llx\n", iova);
	copy(iova, true);
	ksft_test_result(iova && all(file, 'c'), "a write after munmap() is refused\n");
}

/* The device's buffer has something else then, which it writes where that can be seen */
static void read_is_refused(int fd, int file)
{
	__u64 iova, other;
	char *map = mapped(fd, file, &iova);

	set(file, 'b');
	copy(iova, false);
	set(file, 'c');
	munmap(map, page);
	ksft_print_msg("stray %#llx\n", iova);
	copy(iova, false);
	map = mapped(fd, file, &other);
	copy(other, true);
	ksft_test_result(iova && other && !all(file, 'c'),
			 "a read after munmap() is refused\n");
	munmap(map, page);
}

/*
 * As soon after munmap() as can be: what the IOMMU forgets some time later is forgotten
 * within 10 ms.  Begun before munmap(), so that 100 ms later it comes just after that.  A
 * transfer that was over when munmap() returned says nothing, and is begun earlier then.
 */
static void device_is_refused_at_once(int fd, int file)
{
	double lead = 0.095;
	int i, strays = 0, hits = 0;

	for (i = 0; i < 30; i++) {
		double began, left;
		__u64 iova;
		char *map = mapped(fd, file, &iova);
		bool late;

		set(file, 'c');
		/* So that the device's TLB has it */
		copy(iova, false);
		set(file, 'x');
		began = seconds();
		start(iova, true);
		left = lead - (seconds() - began);
		if (left > 0)
			usleep(left * 1e6);
		munmap(map, page);
		late = runs();
		if (late)
			ksft_print_msg("stray %#llx\n", iova);
		wait_idle();
		if (late) {
			strays++;
			hits += !all(file, 'x');
			lead += 0.0005;
		} else {
			lead -= 0.002;
		}
	}
	ksft_print_msg("%d of 30 came after munmap(), %d of these got there; %.1f ms\n",
		       strays, hits, lead * 1e3);
	ksft_test_result(strays > 5 && !hits, "a write just after munmap() is refused\n");
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "hmm_mirror_edu_c";
	int file = memfd_create("file", MFD_CLOEXEC), fd;
	char device[64];

	page = sysconf(_SC_PAGESIZE);
	ksft_print_header();
	snprintf(device, sizeof(device), "/dev/%s", name);
	if (device_unusable(device) || !find_device(name))
		ksft_exit_skip("there is no device %s\n", device);
	if (access("/sys/kernel/debug/iommu/intel", F_OK))
		ksft_exit_skip("there is no page table of an IOMMU in debugfs\n");
	fd = device_open(device);
	if (fd < 0 || bind_self(fd) || ftruncate(file, page))
		ksft_exit_fail_msg("%s cannot be used\n", device);

	ksft_set_plan(4);
	device_gets_there(fd, file);
	write_is_refused(fd, file);
	read_is_refused(fd, file);
	device_is_refused_at_once(fd, file);
	close(fd);
	ksft_finished();
}
