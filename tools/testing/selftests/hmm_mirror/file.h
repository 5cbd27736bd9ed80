/* SPDX-License-Identifier: GPL-2.0 */
/* Files of sysfs, debugfs and cgroups. */
#ifndef HMM_MIRROR_TEST_FILE_H
#define HMM_MIRROR_TEST_FILE_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Returns 0, or a negative errno. */
static inline int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

#define CGROUP			"/sys/fs/cgroup"

/* A cgroup for this test, which is to be removed.  Returns 0, or a negative errno. */
static inline int make_cgroup(char *path, size_t size)
{
	int ret = write_file(CGROUP "/cgroup.subtree_control", "+memory");

	snprintf(path, size, CGROUP "/hmm_mirror.%d", getpid());
	return !ret && mkdir(path, 0755) ? -errno : ret;
}

/* What memory.stat says of the kernel's memory in a cgroup, in bytes */
static inline long kernel_memory(const char *cgroup)
{
	char path[96], name[32];
	long value = -1, bytes;
	FILE *file;

	snprintf(path, sizeof(path), "%s/memory.stat", cgroup);
	file = fopen(path, "r");
	while (file && fscanf(file, "%31s %ld", name, &bytes) == 2)
		if (!strcmp(name, "kernel"))
			value = bytes;
	if (file)
		fclose(file);
	return value;
}

#endif
