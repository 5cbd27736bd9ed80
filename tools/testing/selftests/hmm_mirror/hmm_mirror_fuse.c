// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of faults that wait for a file system in user space, which the mirrored process
 * serves itself: it may need the mmap lock for an answer, and it may never answer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "fixture.h"

#define LIMIT_S	10	/* what ends at all ends long before */

enum answer { PLAIN, NEEDS_MMAP, REFUSED, NONE };

/* One file of PAGES pages full of 'f', and what is said when it is read */
static struct server {
	int fuse;
	char place[40];
	enum answer answer;
	int asked[2];		/* a pipe: a byte for each read */
	char page[PAGES << 16];
} server;

static void reply(const struct fuse_in_header *to, int error, const void *data, size_t len)
{
	static char buf[sizeof(server.page) + sizeof(struct fuse_out_header)];
	struct fuse_out_header *out = (void *)buf;

	out->unique = to->unique;
	out->error = error;
	out->len = sizeof(*out) + len;
	if (len)
		memcpy(out + 1, data, len);
	if (write(server.fuse, buf, out->len) < 0 && errno != ENOENT)
		perror("/dev/fuse");
}

static void fill_attr(struct fuse_attr *attr, __u64 node)
{
	attr->ino = node;
	attr->nlink = 1;
	attr->mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644;
	attr->size = node == FUSE_ROOT_ID ? 0 : PAGES * sysconf(_SC_PAGESIZE);
}

static void serve_read(const struct fuse_in_header *in, const struct fuse_read_in *read)
{
	size_t size = PAGES * sysconf(_SC_PAGESIZE);
	size_t len = read->offset < size ? size - read->offset : 0;
	char *map;

	if (write(server.asked[1], "", 1) != 1)
		perror("pipe");
	switch (server.answer) {
	case NONE:
		return;
	case REFUSED:
		reply(in, -EIO, NULL, 0);
		return;
	case NEEDS_MMAP:
		map = memory(size);
		munmap(map, size);
		break;
	case PLAIN:
		break;
	}
	reply(in, 0, server.page, len < read->size ? len : read->size);
}

static void serve_one(const struct fuse_in_header *in)
{
	struct fuse_init_out init = {
		.major = 7, .minor = 31, .flags = FUSE_ASYNC_READ,
		.max_write = 1 << 16, .max_readahead = 1 << 16,
		.max_background = 8, .congestion_threshold = 6,
	};
	struct fuse_entry_out entry = { .nodeid = 2, .entry_valid = 60, .attr_valid = 60 };
	struct fuse_attr_out attr = { .attr_valid = 60 };
	struct fuse_open_out open = { };

	switch (in->opcode) {
	case FUSE_INIT:
		reply(in, 0, &init, sizeof(init));
		break;
	case FUSE_LOOKUP:
		fill_attr(&entry.attr, 2);
		reply(in, 0, &entry, sizeof(entry));
		break;
	case FUSE_GETATTR:
		fill_attr(&attr.attr, in->nodeid);
		reply(in, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
		reply(in, 0, &open, sizeof(open));
		break;
	case FUSE_READ:
		serve_read(in, (const void *)(in + 1));
		break;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		reply(in, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	default:
		reply(in, -EOPNOTSUPP, NULL, 0);
	}
}

static void *serve(void *unused)
{
	static char request[1 << 17];

	for (;;) {
		ssize_t len = read(server.fuse, request, sizeof(request));

		if (len >= (ssize_t)sizeof(struct fuse_in_header))
			serve_one((void *)request);
		else if (len >= 0 || (errno != EINTR && errno != ENOENT && errno != EAGAIN))
			return NULL;	/* unmounted */
	}
}

/* Mounts it, and returns its file, mapped, with nothing read yet; or NULL */
static char *serve_file(enum answer answer)
{
	char options[80], file[60];
	pthread_t thread;
	char *map;
	int fd;

	server.answer = answer;
	memset(server.page, 'f', sizeof(server.page));
	strcpy(server.place, "/tmp/hmm_mirror_fuse.XXXXXX");
	server.fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (server.fuse < 0 || pipe(server.asked) || !mkdtemp(server.place))
		return NULL;
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0",
		 server.fuse);
	if (mount("hmm_mirror", server.place, "fuse", MS_NOSUID | MS_NODEV, options))
		return NULL;
	if (pthread_create(&thread, NULL, serve, NULL))
		return NULL;
	pthread_detach(thread);
	snprintf(file, sizeof(file), "%s/file", server.place);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	map = mmap(NULL, PAGES * sysconf(_SC_PAGESIZE), PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return NULL;
	/*
	 * Without readahead the file system itself waits for the answer, and nobody who
	 * reads there can be killed.
	 */
	if (answer != NONE)
		madvise(map, PAGES * sysconf(_SC_PAGESIZE), MADV_RANDOM);
	return map;
}

static void unserve(void)
{
	if (!*server.place)
		return;
	umount2(server.place, MNT_FORCE | MNT_DETACH);
	rmdir(server.place);
	close(server.fuse);
	*server.place = '\0';
}

static void no_fuse(struct __test_metadata *_metadata, FIXTURE_DATA(hmm_mirror) *self,
		    const FIXTURE_VARIANT(hmm_mirror) *variant)
{
	if (access("/dev/fuse", R_OK | W_OK))
		SKIP(return, "there is no /dev/fuse");
}

static void end_fuse(struct __test_metadata *_metadata, FIXTURE_DATA(hmm_mirror) *self,
		     const FIXTURE_VARIANT(hmm_mirror) *variant)
{
	unserve();
}

__attribute__((constructor)) static void hooks(void)
{
	set_up = no_fuse;
	tear_down = end_fuse;
}

/* What the device reads in a thread, as it may not come back */
struct reader {
	int fd;
	const char *addr;
	int byte;
	int done[2];
};

static void *reads(void *arg)
{
	struct reader *reader = arg;

	reader->byte = byte_at(reader->fd, reader->addr);
	if (write(reader->done[1], "", 1) != 1)
		perror("pipe");
	return NULL;
}

static bool comes(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, LIMIT_S * 1000) == 1;
}

static int byte_in_time(int fd, const char *addr)
{
	static struct reader reader;
	pthread_t thread;

	reader.fd = fd;
	reader.addr = addr;
	if (pipe(reader.done) || pthread_create(&thread, NULL, reads, &reader))
		return -errno;
	if (!comes(reader.done[0])) {
		unserve();	/* lets it go on */
		pthread_join(thread, NULL);
		return -ETIMEDOUT;
	}
	pthread_join(thread, NULL);
	return reader.byte;
}

TEST_F(hmm_mirror, file_is_read)
{
	char *map = serve_file(PLAIN);

	ASSERT_NE(NULL, map);
	EXPECT_EQ('f', byte_in_time(self->fd, map + 7 * self->page));
}

TEST_F(hmm_mirror, file_cannot_be_read)
{
	char *map = serve_file(REFUSED);

	ASSERT_NE(NULL, map);
	EXPECT_EQ(-EFAULT, byte_in_time(self->fd, map + 7 * self->page));
}

/* The mmap lock is free while the page is waited for */
TEST_F(hmm_mirror, answer_takes_the_mmap_lock)
{
	char *map = serve_file(NEEDS_MMAP);

	ASSERT_NE(NULL, map);
	EXPECT_EQ('f', byte_in_time(self->fd, map + 7 * self->page));
}

/* Who serves it goes as well, but holds the file system until it has gone */
TEST_F(hmm_mirror, no_answer_and_killed)
{
	struct timespec tick = { .tv_nsec = 10000000 };
	int ready[2], status, i;
	pid_t pid, gone = 0;

	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	if (!pid) {
		int fd = device_open(variant->device);
		char *map;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		map = serve_file(NONE);
		if (!map || bind_self(fd) ||
		    write(ready[1], server.place, sizeof(server.place)) < 0 ||
		    dup2(ready[1], server.asked[1]) < 0)
			_exit(1);
		byte_at(fd, map);
		_exit(2);
	}
	ASSERT_LT(0, pid);
	ASSERT_TRUE(comes(ready[0]));
	ASSERT_EQ((ssize_t)sizeof(server.place),
		  read(ready[0], server.place, sizeof(server.place)));
	/* The request has come */
	EXPECT_TRUE(comes(ready[0]));
	nanosleep(&tick, NULL);
	kill(pid, SIGKILL);
	for (i = 0; i < LIMIT_S * 100 && !gone; i++) {
		nanosleep(&tick, NULL);
		gone = waitpid(pid, &status, WNOHANG);
	}
	EXPECT_EQ(pid, gone) {
		TH_LOG("it cannot be killed while the device reads");
	}
	unserve();
	if (!gone)
		waitpid(pid, &status, 0);
	EXPECT_TRUE(WIFSIGNALED(status));
}

TEST_HARNESS_MAIN
