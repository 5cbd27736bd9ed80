/* SPDX-License-Identifier: GPL-2.0 */
/* Files of one value, as sysfs, debugfs and cgroups have them. */
#ifndef HMM_MIRROR_TEST_FILE_H
#define HMM_MIRROR_TEST_FILE_H

#include <errno.h>
#include <fcntl.h>
#include <string.h>
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

#endif
