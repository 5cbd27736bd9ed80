// SPDX-License-Identifier: GPL-2.0
/*
 * hmm_range_fault_unlocked_timeout() of a page that cannot be read does not end.
 *
 *	modprobe test_hmm; modprobe fuse
 *	gcc -O2 -pthread unreadable-page.c -o unreadable-page && ./unreadable-page	# as root
 *
 * A file system in user space answers each read of its only file with -EIO, and the
 * device reads that file in memory.  With the fault it asks again and again, until the
 * device's time limit and the 5 s of this program are long over, and the program ends
 * with 1.  Without it the device gets an error, and the program ends with 0.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
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
#define HMM_DMIRROR_READ_UNLOCKED _IOWR('H', 0x09, struct hmm_dmirror_cmd)

static char place[] = "/tmp/unreadable-page.XXXXXX";
static int fuse;
static volatile unsigned int *reads;	/* shared with the parent */

static void reply(const struct fuse_in_header *to, int error, const void *data, size_t len)
{
	char buf[512];
	struct fuse_out_header *out = (void *)buf;

	out->unique = to->unique;
	out->error = error;
	out->len = sizeof(*out) + len;
	memcpy(out + 1, data, len);
	if (write(fuse, buf, out->len) < 0)
		perror("/dev/fuse");
}

static void *serve(void *unused)
{
	static char request[1 << 17];
	struct fuse_init_out init = { .major = 7, .minor = 31, .max_write = 4096 };
	struct fuse_entry_out entry = { .nodeid = 2, .attr_valid = 60, .entry_valid = 60 };
	struct fuse_attr_out attr = { .attr_valid = 60 };
	struct fuse_open_out opened = { .fh = 1 };
	const struct fuse_in_header *in = (void *)request;

	while (read(fuse, request, sizeof(request)) > 0) {
		struct fuse_attr file = { .ino = in->nodeid, .nlink = 1, .size = 65536,
					  .mode = in->nodeid == 1 ? S_IFDIR | 0755 :
								    S_IFREG | 0644 };

		switch (in->opcode) {
		case FUSE_INIT:
			reply(in, 0, &init, sizeof(init));
			break;
		case FUSE_LOOKUP:
			file.ino = 2;
			file.mode = S_IFREG | 0644;
			entry.attr = file;
			reply(in, 0, &entry, sizeof(entry));
			break;
		case FUSE_GETATTR:
			attr.attr = file;
			reply(in, 0, &attr, sizeof(attr));
			break;
		case FUSE_OPEN:
			reply(in, 0, &opened, sizeof(opened));
			break;
		case FUSE_READ:
			++*reads;
			reply(in, -EIO, "", 0);
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_INTERRUPT:
			break;
		default:
			reply(in, -ENOSYS, "", 0);
		}
	}
	return NULL;
}

static int child(void)
{
	size_t page = sysconf(_SC_PAGESIZE);
	struct hmm_dmirror_cmd cmd = { .npages = 1 };
	char options[80], file[60], *map, *copy;
	int device, fd;
	pthread_t thread;

	fuse = open("/dev/fuse", O_RDWR);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse);
	if (fuse < 0 || mount("x", place, "fuse", 0, options) ||
	    pthread_create(&thread, NULL, serve, NULL)) {
		perror("/dev/fuse, mount");
		return 4;
	}
	snprintf(file, sizeof(file), "%s/file", place);
	fd = open(file, O_RDONLY);
	device = open("/dev/hmm_dmirror0", O_RDWR);
	map = mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, 0);
	copy = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fd < 0 || device < 0 || map == MAP_FAILED || copy == MAP_FAILED) {
		perror("file, /dev/hmm_dmirror0, mmap");
		return 4;
	}
	cmd.addr = (uintptr_t)map;
	cmd.ptr = (uintptr_t)copy;
	if (!ioctl(device, HMM_DMIRROR_READ_UNLOCKED, &cmd)) {
		fprintf(stderr, "the device has read what cannot be read\n");
		return 4;
	}
	perror("HMM_DMIRROR_READ_UNLOCKED");
	return errno == EFAULT ? 0 : 4;
}

int main(void)
{
	int status, tenths, ret = 1;
	pid_t pid;

	reads = mmap(NULL, sizeof(*reads), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (reads == MAP_FAILED || !mkdtemp(place)) {
		perror(place);
		return 4;
	}
	pid = fork();
	if (!pid)
		_exit(child());
	for (tenths = 0; tenths < 50 && ret == 1; tenths++) {
		usleep(100000);
		if (waitpid(pid, &status, WNOHANG) == pid)
			ret = WIFEXITED(status) ? WEXITSTATUS(status) : 4;
	}
	printf("%u reads of the file\n", *reads);
	if (ret == 1)
		printf("the device goes on and on\n");
	/* Who waits for an answer cannot be killed before that */
	kill(pid, SIGKILL);
	umount2(place, MNT_FORCE | MNT_DETACH);
	rmdir(place);
	if (ret == 1)
		waitpid(pid, &status, 0);
	return ret;
}
