// SPDX-License-Identifier: GPL-2.0
/*
 * The corpus: programs that have reached something new.  Workers share it; one that
 * is killed while it has the lock leaves it whole, as a program counts last.
 */
#include <errno.h>

#include "corpus.h"
#include "generate.h"
#include "shared.h"

void corpus_init(void)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&shared->corpus_lock, &attr);
}

static void lock(void)
{
	if (pthread_mutex_lock(&shared->corpus_lock) == EOWNERDEAD)
		pthread_mutex_consistent(&shared->corpus_lock);
}

void corpus_add(const struct program *program)
{
	lock();
	if (shared->nr_corpus < MAX_CORPUS) {
		shared->corpus[shared->nr_corpus] = *program;
		shared->nr_corpus++;
	}
	pthread_mutex_unlock(&shared->corpus_lock);
}

void corpus_next(struct program *program, __u64 *seed)
{
	struct program other;
	bool found = false;

	if (random_below(seed, 4)) {
		lock();
		found = shared->nr_corpus;
		if (found) {
			*program = shared->corpus[random_below(seed, shared->nr_corpus)];
			other = shared->corpus[random_below(seed, shared->nr_corpus)];
		}
		pthread_mutex_unlock(&shared->corpus_lock);
	}
	if (found)
		mutate(program, &other, seed);
	else
		generate(program, seed);
}
