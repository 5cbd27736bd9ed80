/* SPDX-License-Identifier: GPL-2.0 */
/* Fixtures whose tests are run with both sample devices. */
#ifndef HMM_MIRROR_TEST_DEVICES_H
#define HMM_MIRROR_TEST_DEVICES_H

#include "kselftest_harness.h"

#include "context.h"

#define DEVICE_VARIANTS(fixture)		\
	FIXTURE_VARIANT(fixture)		\
	{					\
		const char *device;		\
	};					\
	FIXTURE_VARIANT_ADD(fixture, rust)	\
	{					\
		.device = DEVICE_RUST,		\
	};					\
	FIXTURE_VARIANT_ADD(fixture, c)		\
	{					\
		.device = DEVICE_C,		\
	}

#endif
