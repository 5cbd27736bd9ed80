// SPDX-License-Identifier: GPL-2.0
/*
 * Says what went wrong, and what to do about it.
 */
#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "complain.h"
#include "device.h"

int open_or_complain(const char *device)
{
	const char *slash = strrchr(device, '/');
	int fd = device_open(device);

	if (fd >= 0)
		return fd;
	switch (-fd) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		warnx("there is no %s: the sample driver is not loaded", device);
		warnx("try 'modprobe %s'; the kernel needs CONFIG_SAMPLE_HMM_MIRROR_RUST",
		      slash ? slash + 1 : device);
		warnx("or _C, or the modules of the package hmm-mirror-dkms");
		break;
	case EACCES:
	case EPERM:
		warnx("no permission to open %s", device);
		warnx("the device shows page frames, and is for root only: run this as root");
		break;
	default:
		warnx("cannot open %s: %s", device, strerror(-fd));
	}
	return fd;
}

int bind_or_complain(const char *device, pid_t pid)
{
	int fd, ret;

	fd = open_or_complain(device);
	if (fd < 0)
		return fd;
	ret = device_bind(fd, pid);
	if (!ret)
		return fd;
	close(fd);
	complain_bind(device, pid, ret);
	return ret;
}

void complain_bind(const char *device, pid_t pid, int error)
{
	switch (-error) {
	case ESRCH:
		warnx("there is no process %d, or it has no memory (zombie, kernel thread)",
		      pid);
		warnx("nor can it be mirrored when its main thread has ended already");
		break;
	case EINVAL:
		warnx("%d is a thread: its process is 'Tgid' in /proc/%d/status",
		      pid, pid);
		break;
	case EPERM:
	case EACCES:
		warnx("no permission to mirror process %d", pid);
		warnx("it takes what a debugger needs to attach: run this as root");
		break;
	case EOPNOTSUPP:
		warnx("cannot mirror process %d: %s", pid, device_bind_why());
		warnx("this kernel's driver lets a process bind its own memory only");
		break;
	case EBUSY:
		warnx("process %d does not stop: is it frozen, or waiting for a vforked child?",
		      pid);
		warnx("try again");
		break;
	case ENOTTY:
		warnx("%s is not an HMM mirroring device", device);
		break;
	default:
		warnx("cannot mirror process %d: %s", pid, strerror(-error));
	}
}

void complain_trace(pid_t pid, int error)
{
	if (error == -ESRCH)
		warnx("there is no process %d any more", pid);
	else if (error == -EPERM)
		warnx("cannot trace process %d: not root, or traced already (see its TracerPid)",
		      pid);
	else
		warnx("cannot trace process %d: %s", pid, strerror(-error));
}

int output_error(FILE *out)
{
	bool failed = ferror(out);

	/* An earlier write has failed, and its errno is gone: the next one has it again. */
	if (failed) {
		clearerr(out);
		putc('\n', out);
	}
	if (fflush(out))
		return -errno;
	return failed ? -EIO : 0;
}
