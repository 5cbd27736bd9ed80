/* SPDX-License-Identifier: GPL-2.0 */
/* The fixture of tests that reap: a victim, and which mirrors it has. */
#ifndef HMM_MIRROR_TEST_REAP_FIXTURE_H
#define HMM_MIRROR_TEST_REAP_FIXTURE_H

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "context.h"
#include "file.h"
#include "reap.h"

FIXTURE(mrelease)
{
	struct victim victim;
	char thp_enabled[16];	/* what it was, if the test has changed it */
	int spinlock;		/* device contexts, or -1, by what their callback takes */
	int mutex;
};

FIXTURE_VARIANT(mrelease)
{
	const char *device;	/* of the mirror with a spinlock */
};

FIXTURE_VARIANT_ADD(mrelease, rust)
{
	.device = DEVICE_RUST,
};

FIXTURE_VARIANT_ADD(mrelease, c)
{
	.device = DEVICE_C,
};

FIXTURE_SETUP(mrelease)
{
	struct victim *v = &self->victim;
	int ready[2], go[2];
	const char *why;
	char byte;

	self->spinlock = -1;
	self->mutex = -1;
	why = device_unusable(variant->device);
	if (why)
		SKIP(return, "%s: %s", variant->device, why);
	v->other_driver = !access(OTHER_DRIVER, F_OK);
	v->page = sysconf(_SC_PAGESIZE);
	v->size = PAGES * v->page;
	v->map = memory(2 * v->size);
	ASSERT_NE(MAP_FAILED, v->map);
	/* Where a huge page could be */
	v->map += -(uintptr_t)v->map % v->size;
	madvise(v->map, v->size, MADV_NOHUGEPAGE);
	v->common = memory(v->page);
	ASSERT_NE(MAP_FAILED, v->common);
	*v->common = 1;
	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	v->pid = fork();
	ASSERT_LE(0, v->pid);
	if (!v->pid)
		be_victim(v, ready[1], go[0]);
	close(ready[1]);
	close(go[0]);
	v->go = go[1];
	v->ready = ready[0];
	ASSERT_EQ(1, read(v->ready, &byte, 1));
	v->pidfd = syscall(SYS_pidfd_open, v->pid, 0);
	ASSERT_LE(0, v->pidfd);
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, v->pid, NULL, PTRACE_O_TRACEEXIT));
}

FIXTURE_TEARDOWN(mrelease)
{
	if (*self->thp_enabled)
		write_file(THP_ENABLED, self->thp_enabled);
	if (self->victim.pid) {
		/* It may be at its end, or not. */
		kill(self->victim.pid, SIGKILL);
		ptrace(PTRACE_CONT, self->victim.pid, NULL, NULL);
	}
	write_file(FLUSH_MS, "0");
	if (self->spinlock >= 0)
		close(self->spinlock);
	if (self->mutex >= 0)
		close(self->mutex);
}

#endif
