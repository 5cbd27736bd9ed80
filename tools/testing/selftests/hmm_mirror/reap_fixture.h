/* SPDX-License-Identifier: GPL-2.0 */
/* The fixture of tests that reap: a victim, and which mirrors it has. */
#ifndef HMM_MIRROR_TEST_REAP_FIXTURE_H
#define HMM_MIRROR_TEST_REAP_FIXTURE_H

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
	const char *why = device_unusable(variant->device);

	self->spinlock = -1;
	self->mutex = -1;
	if (why)
		SKIP(return, "%s: %s", variant->device, why);
	ASSERT_EQ(0, start_victim(&self->victim));
}

FIXTURE_TEARDOWN(mrelease)
{
	if (*self->thp_enabled)
		write_file(THP_ENABLED, self->thp_enabled);
	end_victim(&self->victim);
	write_file(FLUSH_MS, "0");
	if (self->spinlock >= 0)
		close(self->spinlock);
	if (self->mutex >= 0)
		close(self->mutex);
}

#endif
