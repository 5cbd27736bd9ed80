/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fixture of most tests: a fresh context of a sample device.  It is bound to the test
 * itself, and judged when that is done, unless the program defines UNBOUND before it
 * includes this.  With ONLY_MODULE the tests are skipped where the registry is built in.
 */
#ifndef HMM_MIRROR_TEST_FIXTURE_H
#define HMM_MIRROR_TEST_FIXTURE_H

#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "context.h"

#ifndef PAGES
#define PAGES	64	/* of memory */
#endif

FIXTURE(hmm_mirror)
{
	int fd;
	size_t page;
	size_t size;	/* of PAGES */
	char *map;	/* as much memory */
};

FIXTURE_VARIANT(hmm_mirror)
{
	const char *device;
};

FIXTURE_VARIANT_ADD(hmm_mirror, rust)
{
	.device = DEVICE_RUST,
};

FIXTURE_VARIANT_ADD(hmm_mirror, c)
{
	.device = DEVICE_C,
};

/* What a function takes that tests for others. */
#define TEST_ARGS	struct __test_metadata *_metadata, FIXTURE_DATA(hmm_mirror) *self

/* What a program adds to the set-up and before the end; it may define them. */
typedef void hook(struct __test_metadata *_metadata, FIXTURE_DATA(hmm_mirror) *self,
		  const FIXTURE_VARIANT(hmm_mirror) *variant);
static hook *set_up, *tear_down;

FIXTURE_SETUP(hmm_mirror)
{
	const char *why = device_unusable(variant->device);

	if (why)
		SKIP(return, "%s: %s", variant->device, why);
#ifdef ONLY_MODULE
	if (access("/sys/module/hmm_mirror", F_OK))
		SKIP(return, "the registry is no module, and binds others itself");
#endif
	self->page = sysconf(_SC_PAGESIZE);
	self->size = PAGES * self->page;
	self->fd = device_open(variant->device);
	ASSERT_LE(0, self->fd);
	self->map = memory(self->size);
	ASSERT_NE(MAP_FAILED, (void *)self->map);
#ifndef UNBOUND
	ASSERT_EQ(0, bind_self(self->fd));
#endif
	if (set_up)
		set_up(_metadata, self, variant);
}

FIXTURE_TEARDOWN(hmm_mirror)
{
#ifndef UNBOUND
	EXPECT_EQ(0, stale(self->fd, getpid()));
#endif
	if (tear_down)
		tear_down(_metadata, self, variant);
	close(self->fd);
}

#endif
