/* SPDX-License-Identifier: GPL-2.0 */
/* What the torture test shares with the fuzzer in ../hmm_fuzz. */
#ifndef HMM_TORTURE_COMMON_H
#define HMM_TORTURE_COMMON_H

#include <err.h>
#include <errno.h>
#include <linux/types.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

/* In milliseconds. */
static inline long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* Random numbers, the same for the same seed: splitmix64 */
static inline __u64 random_next(__u64 *state)
{
	__u64 z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static inline unsigned int random_below(__u64 *state, unsigned int below)
{
	return random_next(state) % below;
}

/* Memory that a process has in common with those it forks, all 0 */
static inline void *shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		err(2, "mmap");
	return memory;
}

/* The number that an option has; what is none ends the program, as wrong usage does. */
static inline __u64 parse_number(const char *text, __u64 least, __u64 most)
{
	char *end;
	__u64 value;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || end == text || *end || *text == '-' || value < least || value > most)
		errx(2, "'%s' is no number from %llu to %llu (see --help)", text, least,
		     most);
	return value;
}

#endif
