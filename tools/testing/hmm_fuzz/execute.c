// SPDX-License-Identifier: GPL-2.0
/*
 * A worker: executes one program after the other, on itself and on children that it
 * forks, as a user who is nobody special.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cover.h"
#include "device.h"
#include "execute.h"
#include "generate.h"
#include "processes.h"
#include "watch.h"

#ifndef SYS_process_mrelease
#define SYS_process_mrelease	448
#endif

#define NOBODY		65534
#define MAX_CHILDREN	4
#define FILE_PAGES	8
#define CANARY		0x5a
#define CANARIES	64

/* An open file of a device, which several slots may refer to */
struct file {
	atomic_bool bound;
	bool self;
};

static struct {
	const struct program *program;
	struct file files[MAX_CALLS];
	unsigned int nr_files;
	struct {
		atomic_int fd;		/* -1: none */
		struct file *file;	/* of a device */
	} slot[SLOT_NR];
	pid_t children[MAX_CHILDREN];
	atomic_uint nr_children;
	bool child;			/* this is a child itself */
	bool exact;			/* nobody else does anything meanwhile */
	bool stable;			/* slots stay as they are in a race */
	atomic_bool new;		/* something new was reached */
} run;

/* The two threads; the second one waits for a race. */
static struct cover *covers[2];
static sem_t race_begins, race_ends;
static atomic_uint at_the_start;
static int memory_fd;

static int set_slot(unsigned int slot, int fd, struct file *file)
{
	int old;

	if (fd < 0)
		return -errno;
	run.slot[slot].file = file;
	old = atomic_exchange(&run.slot[slot].fd, fd);
	if (old >= 0)
		close(old);
	return 0;
}

static int fd_of(__u64 arg)
{
	return arg < SLOT_NR ? run.slot[arg].fd : (int)arg;
}

static struct file *file_of(__u64 arg)
{
	return arg < SLOT_CHILD && run.slot[arg].fd >= 0 ? run.slot[arg].file : NULL;
}

static int call_open(const __u64 *arg)
{
	struct file *file = &run.files[run.nr_files];

	if (arg[0] >= SLOT_CHILD || run.nr_files == ARRAY_SIZE(run.files))
		return -EBADF;
	run.nr_files++;
	return set_slot(arg[0], open(arg[1] ? DEVICE_RUST : DEVICE_C, O_RDWR | O_CLOEXEC), file);
}

static int call_close(const __u64 *arg)
{
	int fd;

	if (arg[0] >= SLOT_CHILD)
		return -EBADF;
	fd = atomic_exchange(&run.slot[arg[0]].fd, -1);
	return fd < 0 || close(fd) ? -EBADF : 0;
}

static int call_dup(const __u64 *arg)
{
	struct file *file = file_of(arg[0]);

	if (!file || arg[1] >= SLOT_CHILD)
		return -EBADF;
	return set_slot(arg[1], dup(fd_of(arg[0])), file);
}

/* What the kernel reads, or not, at an address that may be anything */
static void put(__u64 pointer, const void *argument, size_t size)
{
	struct iovec from = { (void *)argument, size }, to = { (void *)pointer, size };

	process_vm_writev(getpid(), &from, 1, &to, 1, 0);
}

static bool is_canary(const unsigned char *bytes, size_t nr)
{
	while (nr--)
		if (*bytes++ != CANARY)
			return false;
	return true;
}

static __u64 min(__u64 a, __u64 b)
{
	return a < b ? a : b;
}

/* Data that was read or written is what is there; @done bytes of it. */
static void compare(const struct outcome *outcome)
{
	static char there[BUFFER_SIZE];
	const struct hmm_mirror_rw *rw = &outcome->after.rw;
	__u64 first = 0, nr = rw->done;
	struct iovec to, from;

	if (!outcome->exact || !outcome->seen || !outcome->self || rw->buf != BUFFER ||
	    rw->done > BUFFER_SIZE)
		return;
	/* Onto itself */
	if (rw->addr < BUFFER + BUFFER_SIZE && rw->addr + rw->done > BUFFER)
		return;
	/* A page that is mapped twice may have been written twice: look at the last one. */
	if (nr && outcome->program->call[outcome->call].id == CALL_WRITE) {
		first = nr - 1 - min((rw->addr + nr - 1) % PAGE, nr - 1);
		nr -= first;
	}
	to = (struct iovec){ there, nr };
	from = (struct iovec){ (void *)(rw->addr + first), nr };
	if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) != (ssize_t)nr ||
	    !memcmp(there, (void *)(BUFFER + first), nr))
		return;
	failed(outcome->program, outcome->call, "the device and the process see different data");
}

static int ioctl_call(const struct program *program, unsigned int i, __u64 fd,
		      unsigned long command, __u64 pointer, const union argument *argument,
		      unsigned int thread)
{
	struct file *file = file_of(fd);
	struct outcome outcome = {
		.program = program, .call = i, .exact = run.exact, .device = file,
		.bound = file && file->bound, .self = file && file->self,
		.seen = pointer == ARGUMENT(thread), .before = *argument,
	};
	unsigned char *good = (unsigned char *)ARGUMENT(thread);
	enum call_id id = program->call[i].id;
	size_t size = _IOC_SIZE(command);

	if (outcome.seen) {
		memcpy(good, argument, size);
		memset(good + size, CANARY, CANARIES);
	} else if (_IOC_DIR(command) & _IOC_WRITE) {
		put(pointer, argument, min(size, sizeof(*argument)));
	}
	outcome.error = ioctl(fd_of(fd), command, pointer) ? errno : 0;
	if (outcome.seen) {
		memcpy(&outcome.after, good, size);
		if (!is_canary(good + size, CANARIES))
			failed(program, i, "the kernel has written beyond the argument");
	}
	if (file && id == CALL_BIND && !outcome.error) {
		file->self = program->call[i].arg[1] == SLOT_SELF && !run.child;
		if (atomic_exchange(&file->bound, true) && run.stable)
			failed(program, i, "it was bound a second time");
	}
	judge(&outcome);
	if (id == CALL_READ || id == CALL_WRITE)
		compare(&outcome);
	return -outcome.error;
}

static int call_dump(const struct program *program, unsigned int i, const __u64 *arg,
		     unsigned int thread)
{
	union argument argument = { .dump = {
		.start = arg[1], .end = arg[2], .entries = arg[3], .capacity = arg[4],
		.count = ~0U,
	} };

	/* judge() looks there for what should not have been written */
	if (arg[3] == BUFFER)
		memset((void *)BUFFER, CANARY, 514 * sizeof(struct hmm_mirror_entry));
	return ioctl_call(program, i, arg[0], HMM_MIRROR_IOC_DUMP, arg[5], &argument, thread);
}

static int call_rw(const struct program *program, unsigned int i, const __u64 *arg,
		   unsigned int thread, unsigned long command)
{
	union argument argument = { .rw = {
		.addr = arg[1], .buf = arg[2], .len = arg[3], .done = ~0ULL,
	} };

	/* Other data each time */
	++*(__u64 *)BUFFER;
	return ioctl_call(program, i, arg[0], command, arg[4], &argument, thread);
}

/* What is not in the arena is none of the program's business. */
static bool inside(__u64 addr, __u64 len)
{
	return addr >= ARENA && len <= ARENA_SIZE && addr - ARENA <= ARENA_SIZE - len;
}

/* What changes the caller's memory, and is 0, or else -1 or MAP_FAILED */
static long change_memory(enum call_id id, const __u64 *arg)
{
	void *addr = (void *)arg[0];

	switch (id) {
	case CALL_MMAP:
		return (long)mmap(addr, arg[1], arg[2], arg[3] | MAP_FIXED,
				  arg[3] & MAP_ANONYMOUS ? -1 : memory_fd, 0);
	case CALL_MUNMAP:
		return munmap(addr, arg[1]);
	case CALL_MPROTECT:
		return mprotect(addr, arg[1], arg[2]);
	case CALL_MADVISE:
		return madvise(addr, arg[1], arg[2]);
	default:
		if (!inside(arg[0], arg[2]) || !inside(arg[4], arg[2])) {
			errno = EINVAL;
			return -1;
		}
		return (long)mremap(addr, arg[1], arg[2], arg[3], arg[4]);
	}
}

static void make_calls(unsigned int from, unsigned int to, int thread);

/* The child goes on with the program, if that is what it is for. */
static void child(unsigned int i, unsigned int how, unsigned int thread)
{
	bool racing = i >= run.program->race;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	run.child = true;
	covers[0] = NULL;
	covers[1] = NULL;
	switch (how) {
	case FORK_CALLS:
		run.exact = false;
		make_calls(i + 1, run.program->nr, racing ? (int)thread : -1);
		break;
	case FORK_EXIT:
		_exit(0);
	case FORK_SETUID:
		execl(SETUID_SLEEP, "sleep", "1000", NULL);
		_exit(1);
	}
	for (;;)
		pause();
}

static int call_fork(unsigned int i, const __u64 *arg, unsigned int thread)
{
	unsigned int nr;
	pid_t pid;

	if (run.child || arg[0] < SLOT_CHILD || arg[0] >= FIRST_FIXED)
		return -EINVAL;
	nr = atomic_fetch_add(&run.nr_children, 1);
	if (nr >= MAX_CHILDREN)
		return -EAGAIN;
	if (arg[1] == FORK_CALLS)
		run.exact = false;
	pid = fork();
	if (!pid)
		child(i, arg[1], thread);
	run.children[nr] = pid;
	return pid < 0 ? -errno : set_slot(arg[0], syscall(SYS_pidfd_open, pid, 0), NULL);
}

static int call_kill(const __u64 *arg)
{
	if (arg[0] < SLOT_CHILD || arg[0] >= FIRST_FIXED)
		return -EINVAL;
	return syscall(SYS_pidfd_send_signal, run.slot[arg[0]].fd, SIGKILL, NULL, 0) ? -errno : 0;
}

static int call_again(const struct program *program, unsigned int i);

static int make_call(const struct program *program, unsigned int i, unsigned int thread)
{
	const struct call *call = &program->call[i];
	const __u64 *arg = call->arg;
	union argument argument = { };

	switch ((enum call_id)call->id) {
	case CALL_OPEN:
		return call_open(arg);
	case CALL_CLOSE:
		return call_close(arg);
	case CALL_DUP:
		return call_dup(arg);
	case CALL_BIND:
		argument.bind.pidfd = fd_of(arg[1]);
		argument.bind.flags = arg[2];
		return ioctl_call(program, i, arg[0], HMM_MIRROR_IOC_BIND, arg[3], &argument,
				  thread);
	case CALL_MAP:
		argument.map = (struct hmm_mirror_map){
			.addr = arg[1], .len = arg[2], .flags = arg[3], .reserved = arg[4],
			.pages = ~0ULL,
		};
		return ioctl_call(program, i, arg[0], HMM_MIRROR_IOC_MAP, arg[5], &argument,
				  thread);
	case CALL_READ:
		return call_rw(program, i, arg, thread, HMM_MIRROR_IOC_READ);
	case CALL_WRITE:
		return call_rw(program, i, arg, thread, HMM_MIRROR_IOC_WRITE);
	case CALL_ADD:
		argument.add = (struct hmm_mirror_add){
			.addr = arg[1], .value = arg[2], .old = ~0ULL,
		};
		return ioctl_call(program, i, arg[0], HMM_MIRROR_IOC_ADD, arg[3], &argument,
				  thread);
	case CALL_DUMP:
		return call_dump(program, i, arg, thread);
	case CALL_STATS:
		return ioctl_call(program, i, arg[0], HMM_MIRROR_IOC_STATS, arg[1], &argument,
				  thread);
	case CALL_IOCTL:
		return ioctl_call(program, i, arg[0], arg[1], arg[2], &argument, ~0U);
	case CALL_AGAIN:
		return call_again(program, i);
	case CALL_MMAP ... CALL_MREMAP:
		if (!inside(arg[0], arg[1]))
			return -EINVAL;
		return change_memory(call->id, arg) == -1 ? -errno : 0;
	case CALL_FORK:
		return call_fork(i, arg, thread);
	case CALL_KILL:
		return call_kill(arg);
	case CALL_MRELEASE:
		return syscall(SYS_process_mrelease, fd_of(arg[0]), 0) ? -errno : 0;
	case CALL_NR:
		break;
	}
	return -EINVAL;
}

static void make_and_count(const struct program *program, unsigned int i, unsigned int thread)
{
	int error = -make_call(program, i, thread);

	shared->result[program->call[i].id][error < MAX_ERRNO ? error : 0]++;
}

/* One of those that fails stands in the program in place of this. */
static int call_again(const struct program *program, unsigned int i)
{
	const struct call *again = &program->call[i], *last = again;
	struct program changed = *program;
	__u64 times = again->arg[0], seed = again->arg[1];

	do {
		if (last-- == program->call)
			return -ENOENT;
	} while (last->id < CALL_BIND || last->id > CALL_IOCTL ||
		 (i >= program->race && last->thread != again->thread));
	while (times--) {
		changed.call[i] = *last;
		mutate_call(&changed.call[i], &seed);
		make_and_count(&changed, i, last->thread);
	}
	return 0;
}

/* Those of @thread only, or all if that is negative. */
static void make_calls(unsigned int from, unsigned int to, int thread)
{
	unsigned int me = thread > 0, i;

	for (i = from; i < to; i++) {
		const struct call *call = &run.program->call[i];

		if (thread >= 0 && call->thread != me)
			continue;
		cover_begin(covers[me]);
		/* What was made for the other thread has its argument there. */
		make_and_count(run.program, i, thread < 0 ? call->thread : me);
		if (cover_end(covers[me]))
			run.new = true;
	}
}

/* Both are at the start before one of them goes. */
static void start_together(void)
{
	atomic_fetch_add(&at_the_start, 1);
	while (at_the_start < 2)
		sched_yield();
}

static void *second_thread(void *arg)
{
	struct cover *cover = arg;

	covers[1] = cover_enable(cover) ? cover : NULL;
	sem_post(&race_ends);
	for (;;) {
		while (sem_wait(&race_begins))
			;
		start_together();
		make_calls(run.program->race, run.program->nr, 1);
		sem_post(&race_ends);
	}
	return NULL;
}

static void map(__u64 at, size_t pages, int prot, int flags, int fd)
{
	if (mmap((void *)at, pages * PAGE, prot, flags | MAP_FIXED, fd, 0) == MAP_FAILED)
		err(2, "mmap");
}

/* The arena as programs find it; between its parts there are holes. */
static void make_arena(void)
{
	unsigned int i;

	munmap((void *)ARENA, ARENA_SIZE);
	map(ARENA, WRITABLE_PAGES, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1);
	map(ARENA + WRITABLE_PAGES * PAGE, 8, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	map(ARENA + 48 * PAGE, FILE_PAGES, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd);
	map(ARENA + 56 * PAGE, FILE_PAGES, PROT_READ, MAP_PRIVATE, memory_fd);
	map(ARENA_HUGE, ARENA_HUGE_SIZE / PAGE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1);
	madvise((void *)ARENA_HUGE, ARENA_HUGE_SIZE, MADV_HUGEPAGE);
	/* So that a page which is gone can be told from the next one in its place */
	for (i = 0; i < WRITABLE_PAGES; i++)
		memset((void *)(ARENA + i * PAGE), i + 1, 16);
}

static void execute(const struct program *program)
{
	unsigned int i;

	run.program = program;
	run.nr_files = 0;
	run.nr_children = 0;
	run.exact = true;
	run.new = false;
	memset(run.files, 0, sizeof(run.files));
	run.stable = true;
	for (i = program->race; i < program->nr; i++)
		if (program->call[i].id == CALL_OPEN || program->call[i].id == CALL_CLOSE ||
		    program->call[i].id == CALL_DUP)
			run.stable = false;
	make_arena();

	make_calls(0, program->race, -1);
	if (program->race < program->nr) {
		run.exact = false;
		at_the_start = 0;
		sem_post(&race_begins);
		start_together();
		make_calls(program->race, program->nr, 0);
		while (sem_wait(&race_ends))
			;
		shared->races++;
	}

	for (i = 0; i < MAX_CHILDREN && i < run.nr_children; i++) {
		if (run.children[i] <= 0)
			continue;
		kill(run.children[i], SIGKILL);
		waitpid(run.children[i], NULL, 0);
	}
	for (i = 0; i < FIRST_FIXED; i++) {
		int fd = atomic_exchange(&run.slot[i].fd, -1);

		if (fd >= 0)
			close(fd);
	}
	shared->programs++;
}

static void prepare(struct worker *worker)
{
	struct cover *cover[2] = { cover_open(), cover_open() };
	pthread_t thread;
	char name[16];
	unsigned int i;

	setpgid(0, 0);
	snprintf(name, sizeof(name), WORKER_NAME "%u", worker->number);
	prctl(PR_SET_NAME, name);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	watch_join();
	memory_fd = memfd_create("hmm-fuzz", MFD_CLOEXEC);
	if (memory_fd < 0 || ftruncate(memory_fd, FILE_PAGES * PAGE))
		err(2, "memfd_create");
	if (setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
		err(2, "setresuid");
	/* So that its children may have it mirrored; this forgets the first prctl() */
	prctl(PR_SET_DUMPABLE, 1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);

	for (i = 0; i < SLOT_NR; i++)
		run.slot[i].fd = i < FIRST_FIXED ? -1 : fixed_fd[i];
	run.slot[SLOT_SELF].fd = syscall(SYS_pidfd_open, getpid(), 0);
	map(ARGUMENT(0), 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	map(ARGUMENT(1), 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	map(BUFFER, BUFFER_SIZE / PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	sem_init(&race_begins, 0, 0);
	sem_init(&race_ends, 0, 0);
	if (pthread_create(&thread, NULL, second_thread, cover[1]))
		errx(2, "pthread_create");
	while (sem_wait(&race_ends))
		;
	covers[0] = cover_enable(cover[0]) ? cover[0] : NULL;
	if (!covers[0] && worker->number == 0)
		shared->have_cover = false;
}

void work(struct worker *worker, const struct program *only)
{
	__u64 seed = shared->seed + ((__u64)worker->number << 32) + worker->lives;

	random_next(&seed);
	prepare(worker);
	do {
		struct program *program = &worker->recent[worker->nr_recent % RECENT];

		if (only)
			*program = *only;
		else
			corpus_next(program, &seed);
		worker->since = now();
		worker->nr_recent++;
		execute(program);
		worker->since = 0;
		if (run.new)
			corpus_add(program);
	} while (!only && !shared->end_of_round && !shared->stop);
	_exit(0);
}
