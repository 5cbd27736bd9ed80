// SPDX-License-Identifier: GPL-2.0
/*
 * What of the kernel a thread has reached, by kcov: see Documentation/dev-tools/kcov.rst.
 * What is kept is the addresses, to be counted, and the pairs of one and the next, by
 * which a program is told to be new.  Only our code is instrumented.
 */
#include <fcntl.h>
#include <linux/kcov.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cover.h"
#include "shared.h"

#define KCOV	"/sys/kernel/debug/kcov"
/* A call that takes more steps than this goes round in circles */
#define STEPS	4096

struct cover {
	int fd;
	unsigned long *step;	/* the first is how many there are */
};

/* NULL if the kernel has none of it. */
struct cover *cover_open(void)
{
	struct cover *cover = calloc(1, sizeof(*cover));

	if (!cover)
		return NULL;
	cover->fd = open(KCOV, O_RDWR | O_CLOEXEC);
	if (cover->fd < 0 || ioctl(cover->fd, KCOV_INIT_TRACE, STEPS))
		goto none;
	cover->step = mmap(NULL, STEPS * sizeof(*cover->step), PROT_READ | PROT_WRITE,
			   MAP_SHARED, cover->fd, 0);
	if (cover->step != MAP_FAILED)
		return cover;
none:
	if (cover->fd >= 0)
		close(cover->fd);
	free(cover);
	return NULL;
}

bool cover_enable(struct cover *cover)
{
	return cover && !ioctl(cover->fd, KCOV_ENABLE, KCOV_TRACE_PC);
}

void cover_begin(struct cover *cover)
{
	if (cover)
		__atomic_store_n(&cover->step[0], 0, __ATOMIC_RELAXED);
}

/* A set of numbers other than 0, which only grows; true if @value was not in it. */
static bool add(atomic_ullong *set, atomic_uint *nr, __u64 value)
{
	unsigned int i = (value * 0x9e3779b97f4a7c15) >> 48;

	for (;; i = (i + 1) % COVER_SIZE) {
		unsigned long long there = set[i];

		if (there == value)
			return false;
		if (there)
			continue;
		if (*nr > COVER_SIZE / 2)
			return false;	/* full enough */
		if (atomic_compare_exchange_strong(&set[i], &there, value)) {
			atomic_fetch_add(nr, 1);
			return true;
		}
		if (there == value)
			return false;
	}
}

bool cover_end(struct cover *cover)
{
	unsigned long i, nr, last = 0;
	bool new = false;

	if (!cover)
		return false;
	nr = __atomic_load_n(&cover->step[0], __ATOMIC_RELAXED);
	for (i = 1; i <= nr; i++) {
		unsigned long pc = cover->step[i];

		add(shared->pc, &shared->pcs, pc);
		new |= add(shared->edge, &shared->edges, pc ^ (last << 20));
		last = pc;
	}
	return new;
}
