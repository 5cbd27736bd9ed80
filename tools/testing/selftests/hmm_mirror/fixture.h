/* SPDX-License-Identifier: GPL-2.0 */
/* The fixture of most tests: a fresh context of a sample device, not bound yet. */
#ifndef HMM_MIRROR_TEST_FIXTURE_H
#define HMM_MIRROR_TEST_FIXTURE_H

#include <unistd.h>

#include "kselftest_harness.h"

#include "context.h"

#define PAGES	64

FIXTURE(hmm_mirror)
{
	int fd;
	size_t page;
	size_t size;	/* of PAGES */
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

FIXTURE_SETUP(hmm_mirror)
{
	const char *why = device_unusable(variant->device);

	if (why)
		SKIP(return, "%s: %s", variant->device, why);
	self->page = sysconf(_SC_PAGESIZE);
	self->size = PAGES * self->page;
	self->fd = device_open(variant->device);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(hmm_mirror)
{
	close(self->fd);
}

#endif
