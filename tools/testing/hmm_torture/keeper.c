// SPDX-License-Identifier: GPL-2.0
/*
 * The keeper: has one victim after the other.  It mirrors it by the sample devices,
 * uses its memory by them, stops it now and then to compare their page tables with
 * pagemap, and in the end sees that it dies, in one way or another.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"
#include "file.h"
#include "shared.h"
#include "verify.h"
#include "victim.h"

#ifndef SYS_process_mrelease
#define SYS_process_mrelease	448
#endif

#define ARENA		((char *)0x200000000000)
#define CGROUP		"/sys/fs/cgroup"
#define LIFE_MS		1500		/* at most, and 300 at least */
#define NO_EPOCH	(~0ULL)

/* A context of a sample device */
struct probe {
	int fd;				/* -1: none */
	unsigned int slot;
	__u64 last;			/* written */
	__u64 written[PAGES];
	__u64 epoch[PAGES];		/* when that was, or NO_EPOCH */
};

static struct part *part;
static struct life *life;
static pid_t pid;			/* of the victim */
static __u64 seed;
static struct probe probes[2];

static void probe_open(struct probe *probe, const char *path)
{
	int ret;

	memset(probe->epoch, 0xff, sizeof(probe->epoch));
	probe->fd = open_unless_avoided(path);
	if (probe->fd < 0)
		return;
	doing(part, "bind");
	ret = device_bind(probe->fd, pid);
	if (ret)
		failed(FIGURE_BROKEN, "%s: bind: %s", path, strerror(-ret));
}

static __u64 page_addr(unsigned int i)
{
	return (uintptr_t)life->arena + i * PAGE;
}

/* What a device may be answered, when pages come and go. */
static void expect_refusal(int ret, const char *what)
{
	switch (ret) {
	case -EBUSY:
		count(FIGURE_BUSY, 1);
		break;
	case -EFAULT:
	case -EPERM:
	case -ENOMEM:
		break;
	default:
		failed(FIGURE_BROKEN, "%s: %s", what, strerror(-ret));
	}
}

static void probe_write(struct probe *probe, unsigned int i)
{
	const size_t at = offsetof(struct hmm_torture_stamp, slot[probe->slot]);
	__u64 value = probe->last + 1, before, after;
	int ret;

	before = life->published[i];
	if (before & HMM_TORTURE_ALIKE)
		return;
	probe->epoch[i] = NO_EPOCH;
	doing(part, "device write");
	ret = device_write(probe->fd, page_addr(i) + at, &value, sizeof(value), NULL);
	after = life->published[i];
	if (ret) {
		expect_refusal(ret, "device write");
		return;
	}
	probe->last = value;
	probe->written[i] = value;
	if (hmm_torture_is_kept(before, after))
		probe->epoch[i] = after / HMM_TORTURE_EPOCH;
	count(FIGURE_WRITE, 1);
}

static void probe_read(struct probe *probe, unsigned int i)
{
	struct hmm_torture_stamp stamp;
	__u64 before, after, published;
	bool same_epoch;
	int ret;

	before = life->published[i];
	doing(part, "device read");
	ret = device_read(probe->fd, page_addr(i), &stamp, sizeof(stamp), NULL);
	after = life->published[i];
	if (ret) {
		expect_refusal(ret, "device read");
		return;
	}
	count(FIGURE_READ, 1);
	same_epoch = before / HMM_TORTURE_EPOCH == after / HMM_TORTURE_EPOCH;
	published = before & HMM_TORTURE_GENERATION;
	if ((stamp.generation < published && (stamp.generation || same_epoch)) ||
	    (stamp.page && stamp.page != i + 1))
		failed(FIGURE_STALE,
		       "page %u: stamp %llu of page %lld, after %llu was published", i,
		       stamp.generation, stamp.page - 1, published);
	if (same_epoch && probe->epoch[i] == before / HMM_TORTURE_EPOCH &&
	    probe->written[i] != stamp.slot[probe->slot])
		failed(FIGURE_LOST, "page %u: %llu was written, %llu is there", i,
		       probe->written[i], stamp.slot[probe->slot]);
}

static void probe_map(struct probe *probe, unsigned int i)
{
	static const __u32 flags[] = { 0, HMM_MIRROR_MAP_WRITE, HMM_MIRROR_MAP_PRESENT };
	unsigned int nr = 1 + random_below(&seed, 128);
	int ret;

	if (nr > PAGES - i)
		nr = PAGES - i;
	doing(part, "device map");
	ret = device_map(probe->fd, page_addr(i), nr * PAGE,
			 flags[random_below(&seed, ARRAY_SIZE(flags))], NULL);
	if (ret)
		expect_refusal(ret, "device map");
	count(FIGURE_MAP, 1);
}

static void probe_use(struct probe *probe)
{
	unsigned int i = random_below(&seed, PAGES);

	if (probe->fd < 0)
		return;
	switch (random_below(&seed, 4)) {
	case 0:
		probe_map(probe, i);
		break;
	case 1:
		probe_write(probe, i);
		break;
	default:
		probe_read(probe, i);
	}
}

/* The victim stands still meanwhile, but for what others do to it. */
static void verify_all(void)
{
	struct verify verify = { };
	unsigned int i;
	int status;

	doing(part, "stopping the victim");
	kill(pid, SIGSTOP);
	if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status)) {
		failed(FIGURE_BROKEN, "a victim died by itself, with status %#x", status);
		pid = 0;
		return;
	}
	doing(part, "verify");
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		int ret;

		if (probes[i].fd < 0)
			continue;
		ret = verify_context(probes[i].fd, pid, &verify, stdout);
		if (ret)
			failed(FIGURE_BROKEN, "verify: %s", strerror(-ret));
	}
	count(FIGURE_VERIFIED, verify.entries);
	if (verify.stale)
		failed(FIGURE_STALE, "%llu entries disagree with pagemap", verify.stale);
	kill(pid, SIGCONT);
}

static void wait_for(atomic_bool *flag)
{
	siginfo_t info = { };

	/* Who has died does not come, and is noticed later */
	while (!*flag && !info.si_pid) {
		pause_ms(1);
		waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT);
	}
}

/* As an out-of-memory handler in user space does: the victim dies without its memory. */
static void mrelease(void)
{
	int fd = syscall(SYS_pidfd_open, pid, 0), tries;

	kill(pid, SIGKILL);
	for (tries = 0; tries < 3; tries++) {
		if (!syscall(SYS_process_mrelease, fd, 0) || errno == ESRCH)
			break;
		if (errno == EAGAIN)
			count(FIGURE_MRELEASE_VETOED, 1);
		else if (errno != EINTR)
			failed(FIGURE_BROKEN, "process_mrelease: %s", strerror(errno));
	}
	close(fd);
}

static const char * const ends[END_NR] = {
	[END_EXIT] = "a victim's exit",
	[END_EXEC] = "a victim's execve",
	[END_KILL] = "a victim's death by SIGKILL",
	[END_MRELEASE] = "a victim's death and process_mrelease",
	[END_OOM] = "a victim's death out of memory",
};

/* The devices go on to fault meanwhile. */
static void end_victim(void)
{
	int expected = life->end == END_EXIT || life->end == END_EXEC ? 0 : SIGKILL;
	int status;

	doing(part, ends[life->end]);
	life->over = true;
	if (life->end == END_KILL)
		kill(pid, SIGKILL);
	else if (life->end == END_MRELEASE)
		mrelease();
	if (waitpid(pid, &status, 0) != pid || status != expected)
		failed(FIGURE_BROKEN, "%s: status %#x", ends[life->end], status);
	count(FIGURE_EXIT + life->end, 1);
}

/* There must be nothing left in a device of a process that is dead. */
static void probe_end(struct probe *probe)
{
	struct hmm_mirror_stats stats = { };
	struct entries entries = { };
	long long end = now() + 1000 * shared->patience;
	int ret;

	if (probe->fd < 0)
		return;
	doing(part, "death, as seen by a device");
	/* Some worker of hmm_torture may be the last to let go */
	while (!(ret = device_stats(probe->fd, &stats)) && !stats.dead && now() < end)
		pause_ms(1);
	if (ret || !stats.dead)
		failed(FIGURE_BROKEN, "%s, which a device does not notice", ends[life->end]);
	ret = device_dump(probe->fd, 0, ~0ULL, &entries);
	if (ret || entries.nr)
		failed(FIGURE_STALE, "%zu pages in a device, after %s", entries.nr,
		       ends[life->end]);
	entries_free(&entries);
	doing(part, "unregister");
	close(probe->fd);
	probe->fd = -1;
	count(FIGURE_DEATH, 1);
}

static void cgroup_make(void)
{
	char path[96];

	snprintf(life->cgroup, sizeof(life->cgroup), CGROUP "/torture-%u", part->number);
	rmdir(life->cgroup);
	mkdir(life->cgroup, 0755);
	snprintf(path, sizeof(path), "%s/memory.max", life->cgroup);
	write_file(path, "8M");
	snprintf(path, sizeof(path), "%s/memory.swap.max", life->cgroup);
	write_file(path, "0");
}

static void one_life(unsigned int nr)
{
	long long end;

	seed = random_seed(part, nr);
	*life = (struct life){
		.arena = ARENA,
		.seed = random_next(&seed),
		.device = random_below(&seed, 2) ? DEVICE_RUST : DEVICE_C,
		/* Each in turn, so that a short test has all */
		.end = (nr + part->number) % END_NR,
	};
	if (life->end == END_OOM)
		cgroup_make();
	if (life_open(life)) {
		failed(FIGURE_BROKEN, TORTURE_DEVICE ": %s", strerror(errno));
		return;
	}
	fflush(stdout);
	pid = fork();
	if (!pid)
		victim(life);
	doing(part, "a victim's birth");
	wait_for(&life->enlisted);
	probe_open(&probes[0], DEVICE_RUST);
	probe_open(&probes[1], DEVICE_C);

	end = now() + 300 + random_below(&seed, LIFE_MS - 300);
	while (pid && now() < end && !shared->stop) {
		unsigned int i;

		for (i = 0; i < 50 && now() < end; i++)
			probe_use(&probes[random_below(&seed, ARRAY_SIZE(probes))]);
		if (!random_below(&seed, 4))
			verify_all();
	}
	if (pid)
		end_victim();
	probe_end(&probes[0]);
	probe_end(&probes[1]);
	munmap((void *)life->published, PAGES * sizeof(__u64));
	close(life->fd);
	if (life->end == END_OOM)
		rmdir(life->cgroup);
}

int keeper(struct part *its_part)
{
	unsigned int nr = 0;

	part = its_part;
	probes[0].slot = HMM_TORTURE_OWN_SLOTS;
	probes[1].slot = HMM_TORTURE_OWN_SLOTS + 1;
	life = shared_memory(sizeof(*life));
	while (!shared->stop)
		one_life(nr++);
	return 0;
}
