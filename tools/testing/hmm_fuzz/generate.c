// SPDX-License-Identifier: GPL-2.0
/*
 * Making programs up, and making others of those in the corpus, which has reached
 * something new.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "device.h"
#include "generate.h"
#include "shared.h"

#define HUGE		0x200000UL
#define LONG_TO_LOOK	0x40000000UL

static bool one_in(__u64 *state, unsigned int n)
{
	return !random_below(state, n);
}

static __u64 make_addr(__u64 *seed)
{
	__u64 around[] = {
		0, PAGE, BUFFER, ARENA, ARENA + ARENA_SIZE, task_size, 1ULL << 47,
		1ULL << 48, 1ULL << 63, 0xffff800000000000, 0xffffffff81000000, ~0ULL,
	};
	__u64 addr;

	if (random_below(seed, 8)) {
		/* Its beginning, where small parts meet, rather than all of it */
		addr = ARENA + random_below(seed, one_in(seed, 4) ? ARENA_SIZE / PAGE : 64) * PAGE;
	} else {
		addr = around[random_below(seed, ARRAY_SIZE(around))];
	}
	switch (random_below(seed, 12)) {
	case 0:
		return addr + random_below(seed, PAGE);
	case 1:
		return addr - 1;
	case 2:
		return addr - PAGE;
	case 3:
		return one_in(seed, 8) ? random_next(seed) : addr;
	}
	return addr;
}

static __u64 make_len(__u64 *seed)
{
	static const __u64 odd[] = {
		0, 1, 8, PAGE - 1, PAGE + 1, HUGE, HUGE + PAGE, 513 * PAGE, ARENA_SIZE,
		1ULL << 30, 1ULL << 31, 1ULL << 32, (1ULL << 32) + PAGE, 1ULL << 47,
		1ULL << 63, -PAGE, ~0ULL, -(__u64)ARENA,
	};

	switch (random_below(seed, 8)) {
	case 0:
		return odd[random_below(seed, ARRAY_SIZE(odd))];
	case 1:
		return random_below(seed, 8 * PAGE);
	case 2:
		return random_below(seed, 64) * PAGE;
	}
	return (1 + random_below(seed, 8)) * PAGE;
}

/* A pointer of the caller, which is @good or bad in one way or another */
static __u64 make_pointer(__u64 *seed, __u64 good)
{
	static const __u64 bad[] = { 0, 1ULL << 47, 0xffff888000000000, ~0ULL, ~0ULL - 7 };

	switch (random_below(seed, 16)) {
	case 0:
		return bad[random_below(seed, ARRAY_SIZE(bad))];
	case 1:
	case 2:
		/* What is there may be unmapped or read-only, also from its middle on */
		return ARENA + random_below(seed, 64) * PAGE - 8 * random_below(seed, 5);
	}
	return good;
}

static __u64 make_count(__u64 *seed)
{
	static const __u64 odd[] = { 0, 511, 512, 513, 0x7fffffff, 0xffffffff, 0x0aaaaaab };

	return random_below(seed, 4) ? 1 + random_below(seed, 64) :
				       odd[random_below(seed, ARRAY_SIZE(odd))];
}

static __u64 make_device(__u64 *seed)
{
	switch (random_below(seed, 48)) {
	case 0:
		return random_below(seed, SLOT_NR);
	case 1:
		return -1;
	case 2 ... 6:
		return SLOT_DEVICE + random_below(seed, 4);
	}
	return SLOT_DEVICE;
}

static __u64 make_pidfd(__u64 *seed)
{
	/* PIDFD_SELF_THREAD, PIDFD_SELF_THREAD_GROUP, AT_FDCWD */
	static const int odd[] = { -1, -10000, -10001, -100, 0x7fffffff };

	switch (random_below(seed, 8)) {
	case 0:
		return random_below(seed, SLOT_NR);
	case 1:
		if (one_in(seed, 2))
			return SLOT_DEAD + random_below(seed, 4);
		return odd[random_below(seed, ARRAY_SIZE(odd))];
	case 2:
	case 3:
		return SLOT_CHILD + random_below(seed, 2);
	}
	return SLOT_SELF;
}

static __u64 one_of(const __u64 *values, unsigned int most, __u64 *seed)
{
	unsigned int nr = 0;

	while (nr < most && values[nr] != LAST)
		nr++;
	return values[random_below(seed, nr)];
}

static __u64 make_arg(const struct arg *arg, unsigned int thread, __u64 *seed)
{
	switch (arg->type) {
	case ARG_NONE:
		return 0;
	case ARG_DEVICE:
		return make_device(seed);
	case ARG_SLOT:
		/* A program that loses its bound device has not much to do any more. */
		return one_in(seed, 8) ? make_device(seed) :
					 SLOT_DEVICE + 1 + random_below(seed, 3);
	case ARG_CHILD:
		return SLOT_CHILD + random_below(seed, one_in(seed, 4) ? 4 : 2);
	case ARG_PIDFD:
		return make_pidfd(seed);
	case ARG_ADDR:
		return make_addr(seed);
	case ARG_LEN:
		return make_len(seed);
	case ARG_BUFFER:
		return make_pointer(seed, BUFFER);
	case ARG_POINTER:
		return make_pointer(seed, ARGUMENT(thread));
	case ARG_COUNT:
		return make_count(seed);
	case ARG_ANY:
		return one_in(seed, 2) ? ARGUMENT(thread) : make_addr(seed);
	case ARG_SEED:
		return random_next(seed);
	case ARG_PAGE:
		return ARENA + random_below(seed, one_in(seed, 8) ? ARENA_SIZE / PAGE : 64) * PAGE;
	case ARG_PAGES:
		return one_in(seed, 8) ? HUGE : (1 + random_below(seed, 16)) * PAGE;
	case ARG_ONE_OF:
		return one_of(arg->values, ~0U, seed);
	}
	return 0;
}

/* One with which the call can succeed */
static __u64 make_valid_arg(const struct arg *arg, unsigned int thread, __u64 *seed)
{
	switch (arg->type) {
	case ARG_DEVICE:
		return SLOT_DEVICE;
	case ARG_ADDR:
	case ARG_PAGE:
		return ARENA + random_below(seed, WRITABLE_PAGES) * PAGE;
	case ARG_LEN:
	case ARG_PAGES:
		return (1 + random_below(seed, 8)) * PAGE;
	case ARG_BUFFER:
		return BUFFER;
	case ARG_POINTER:
		return ARGUMENT(thread);
	case ARG_COUNT:
		return 1 + random_below(seed, 64);
	case ARG_ONE_OF:
		return one_of(arg->values, VALID_VALUES, seed);
	default:
		return make_arg(arg, thread, seed);
	}
}

/* What takes for ever if it is long: to look for what is there, see hmm_mirror_uapi.h */
static void bound(struct call *call, __u64 *seed)
{
	if (call->id == CALL_MAP && call->arg[3] == HMM_MIRROR_MAP_PRESENT &&
	    call->arg[2] > LONG_TO_LOOK && call->arg[1] + call->arg[2] <= task_size &&
	    !one_in(seed, 4096))
		call->arg[2] = LONG_TO_LOOK;
}

/* What would hardly come about by chance: much at once, and a look at all of it */
static void ask_for_much(struct call *call, __u64 *seed)
{
	if (call->id == CALL_MAP && one_in(seed, 8)) {
		call->arg[1] = ARENA_HUGE;
		call->arg[2] = ARENA_HUGE_SIZE;
	} else if (call->id == CALL_DUMP) {
		call->arg[1] = 0;
		call->arg[2] = ~0ULL;
		if (one_in(seed, 2))
			call->arg[4] = BUFFER_SIZE / sizeof(struct hmm_mirror_entry);
	}
}

/* The first argument that is of one of two types, or NULL */
static __u64 *arg_of(struct call *call, enum arg_type type, enum arg_type or)
{
	unsigned int i;

	for (i = 0; i < MAX_ARGS; i++)
		if (call_types[call->id].arg[i].type == type ||
		    call_types[call->id].arg[i].type == or)
			return &call->arg[i];
	return NULL;
}

/* Something comes of two calls where they begin, or end, at the same address. */
static void meet(struct call *call, struct call *other, __u64 *seed)
{
	const __u64 *from = arg_of(other, ARG_ADDR, ARG_PAGE);
	const __u64 *from_len = arg_of(other, ARG_LEN, ARG_PAGES);
	const __u64 *len = arg_of(call, ARG_LEN, ARG_PAGES);
	__u64 *to = arg_of(call, ARG_ADDR, ARG_PAGE);

	if (!from || !to || one_in(seed, 2))
		return;
	*to = *from & -PAGE;
	if (from_len && len && one_in(seed, 2))
		*to += (*from_len - *len) & -PAGE;
}

static enum call_id make_id(__u64 *seed)
{
	unsigned int sum = 0, at, id;

	for (id = 0; id < CALL_NR; id++)
		sum += call_types[id].weight;
	at = random_below(seed, sum);
	for (id = 0; at >= call_types[id].weight; id++)
		at -= call_types[id].weight;
	return id;
}

/* @other is a call to meet with, or NULL. */
static void make_call(struct call *call, struct call *other, enum call_id id, __u64 *seed)
{
	bool valid = one_in(seed, 2);
	unsigned int i;

	call->id = id;
	call->thread = random_below(seed, 2);
	for (i = 0; i < MAX_ARGS; i++)
		call->arg[i] = (valid ? make_valid_arg : make_arg)(&call_types[id].arg[i],
								   call->thread, seed);
	if (other)
		meet(call, other, seed);
	if (valid && one_in(seed, 2))
		ask_for_much(call, seed);
	bound(call, seed);
}

void program_cut(struct program *program, unsigned int first, unsigned int nr)
{
	memmove(program->call + first, program->call + first + nr,
		(program->nr - first - nr) * sizeof(*program->call));
	program->nr -= nr;
	if (program->race > first)
		program->race = program->race > first + nr ? program->race - nr : first;
}

static struct call *program_insert(struct program *program, unsigned int at)
{
	memmove(program->call + at + 1, program->call + at,
		(program->nr - at) * sizeof(*program->call));
	program->nr++;
	if (program->race > at)
		program->race++;
	return program->call + at;
}

static void set_race(struct program *program, __u64 *seed)
{
	program->race = random_below(seed, 3) ? program->nr :
						random_below(seed, program->nr + 1);
}

static void add(struct program *program, struct call call)
{
	program->call[program->nr++] = call;
}

/*
 * Most begin with what the others need: a device that is bound.  In some of these both
 * threads would like to bind it.
 */
static void begin(struct program *program, __u64 *seed)
{
	__u64 pidfd = SLOT_SELF;

	add(program, (struct call){
		.id = CALL_OPEN, .arg = { SLOT_DEVICE, random_below(seed, 2) } });
	if (one_in(seed, 8)) {
		add(program, (struct call){ .id = CALL_FORK, .arg = { SLOT_CHILD, FORK_STAY } });
		pidfd = SLOT_CHILD;
	}
	/* It is bound only once, so this is where it matters to whom. */
	if (one_in(seed, 16))
		pidfd = make_pidfd(seed);
	program->race = program->nr;
	add(program, (struct call){
		.id = CALL_BIND, .arg = { SLOT_DEVICE, pidfd, 0, ARGUMENT(0) } });
	if (one_in(seed, 16))
		add(program, (struct call){
			.id = CALL_BIND, .thread = 1,
			.arg = { SLOT_DEVICE, pidfd, 0, ARGUMENT(1) } });
	else
		program->race = MAX_CALLS;
}

static void generate(struct program *program, __u64 *seed)
{
	unsigned int nr = 4 + random_below(seed, MAX_CALLS - 8);

	program->nr = 0;
	program->race = MAX_CALLS;
	if (random_below(seed, 16))
		begin(program, seed);
	while (program->nr < nr) {
		struct call *other = program->nr ?
			&program->call[random_below(seed, program->nr)] : NULL;

		make_call(&program->call[program->nr++], other, make_id(seed), seed);
	}
	if (program->race == MAX_CALLS)
		set_race(program, seed);
}

static __u64 near(__u64 value, __u64 *seed)
{
	const __u64 values[] = {
		value + 1, value - 1, value + PAGE, value - PAGE, value * 2,
		value ^ (1ULL << random_below(seed, 64)),
	};

	return values[random_below(seed, ARRAY_SIZE(values))];
}

void mutate_call(struct call *call, __u64 *seed)
{
	const struct call_type *type = &call_types[call->id];
	unsigned int i = random_below(seed, MAX_ARGS);
	const struct arg *arg;
	bool number;

	while (type->arg[i].type == ARG_NONE)
		i = random_below(seed, MAX_ARGS);
	arg = &type->arg[i];
	number = arg->type == ARG_ADDR || arg->type == ARG_LEN || arg->type == ARG_BUFFER ||
		 arg->type == ARG_COUNT;
	call->arg[i] = number && one_in(seed, 2) ? near(call->arg[i], seed) :
						   make_arg(arg, call->thread, seed);
	bound(call, seed);
}

static void splice(struct program *program, const struct program *other, __u64 *seed)
{
	unsigned int from = random_below(seed, other->nr);
	bool race = program->race < program->nr;

	while (from < other->nr && program->nr < MAX_CALLS)
		program->call[program->nr++] = other->call[from++];
	if (!race)
		program->race = program->nr;
}

/* The other thread has a place of its own for the argument. */
static void swap_thread(struct call *call)
{
	unsigned int i;

	for (i = 0; i < MAX_ARGS; i++)
		if (call->arg[i] == ARGUMENT(call->thread))
			call->arg[i] = ARGUMENT(!call->thread);
	call->thread = !call->thread;
}

static void mutate(struct program *program, const struct program *other, __u64 *seed)
{
	do {
		unsigned int at = random_below(seed, program->nr);

		switch (random_below(seed, 8)) {
		case 0 ... 2:
			mutate_call(&program->call[at], seed);
			break;
		case 3 ... 4:
			if (program->nr < MAX_CALLS)
				make_call(program_insert(program, at), NULL, make_id(seed), seed);
			break;
		case 5:
			if (program->nr > 1)
				program_cut(program, at, 1);
			break;
		case 6:
			splice(program, other, seed);
			break;
		case 7:
			if (one_in(seed, 2))
				swap_thread(&program->call[at]);
			set_race(program, seed);
			break;
		}
	} while (random_below(seed, 3));
}

/*
 * Workers share the corpus; one that is killed while it has the lock leaves it whole, as
 * a program counts last.
 */
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
