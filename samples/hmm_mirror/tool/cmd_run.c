// SPDX-License-Identifier: GPL-2.0
/*
 * Mirrors a program for its whole life: the commands run and attach.
 *
 * Each address space gets a device context. Tick by tick the device mirrors
 * what the process has in memory and reads it; from time to time the process
 * is stopped, and what the device has is compared with what the kernel says.
 *
 * The mirrored program must not notice. So the device does not write to its
 * memory, unless it is asked to; then it writes back what is there, and only
 * while all threads stand still.
 *
 * A device that is slow gets a sample of the pages only, a few of each 2 MiB, and there are
 * no more of them once it has had as many as device_pages() says.
 */
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cmd_run.h"
#include "complain.h"
#include "device.h"
#include "json_stream.h"
#include "json_write.h"
#include "picture_line.h"
#include "ptrace.h"
#include "signals.h"
#include "verify.h"

#define TICK		0.02		/* seconds */
#define CHUNK		(2ULL << 20)	/* bytes mirrored and read in one go */
#define CHUNK_MAX	(32 * CHUNK)	/* ... where nothing is in memory */
#define DATA_CHECKS	16		/* pages to look into, per verification */
#define SAMPLE_PAGES	4		/* of each CHUNK, for a device that is slow */

/* One address space. */
struct target {
	pid_t pid;
	int fd;
	bool ended;
	bool exiting;			/* verified for the last time */
	struct maps maps;		/* as of the beginning of this pass */
	__u64 cursor;			/* where this pass goes on */
	__u64 chunk;
	unsigned int passes;
	struct entries before;		/* when we looked last */
	struct sample sample;		/* what was seen since the last picture */
	struct hmm_mirror_stats shown;	/* as of the last line */
};

static struct {
	const struct session_options *options;
	double start;
	struct target **target;
	size_t nr;
	FILE *record;
	pid_t pid;			/* of the program itself */
	int status;			/* its wait status */
	bool attached;			/* it was there before us */
	bool running;
	bool failed;			/* a part of it could not be mirrored */
	sigset_t signals;		/* that we wait for */
	sigset_t mask;			/* as it was before */
	__u64 dumped;			/* pages in the largest table so far */
	size_t pages_left;		/* that the device may still access */
	bool sampled;			/* if that is not all of them */
	char *buffer;

	/* Totals. */
	struct hmm_mirror_stats stats;
	struct verify verify;
	__u64 address_spaces;
	__u64 verifications;
	__u64 data_checks;

	/* Who was not stopped: the most that were seen at a time. */
	struct trace_others others;
	__u64 with_others;		/* verifications */
} session;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9 - session.start;
}

static void *must(void *pointer)
{
	if (pointer)
		return pointer;
	warnx("out of memory");
	exit(EXIT_MIRROR);
}

/* The program goes on, and so does mirroring it; but that it failed is told. */
static void record_check(int error)
{
	if (!error)
		return;
	warnx("cannot write %s: %s", session.options->record, strerror(-error));
	session.failed = true;
	if (session.record)
		fclose(session.record);
	session.record = NULL;
}

static bool pictures(void)
{
	return session.options->view || session.record;
}

/* The address space is dead, or we let go of it: take stock. */
static void target_end(struct target *target)
{
	struct hmm_mirror_stats stats;

	if (target->ended)
		return;
	target->ended = true;
	if (!device_stats(target->fd, &stats)) {
		stats_add(&session.stats, &stats);
		if (stats.dead && stats.pages) {
			session.verify.stale += stats.pages;
			warnx("stale: pid %d has gone, and the device still has %llu of its pages",
			      target->pid, stats.pages);
		}
	}
	close(target->fd);

	target->sample.time = now();
	if (session.record)
		record_check(stream_end(session.record, &target->sample));
	maps_free(&target->maps);
	entries_free(&target->before);
	sample_free(&target->sample);
}

static struct target *target_find(pid_t pid)
{
	size_t i;

	for (i = 0; i < session.nr; i++)
		if (session.target[i]->pid == pid && !session.target[i]->ended)
			return session.target[i];
	return NULL;
}

static void target_begin(pid_t pid)
{
	struct target *target;
	int fd, ret;

	fd = open_or_complain(session.options->device);
	ret = fd < 0 ? fd : device_bind(fd, pid);
	if (ret) {
		/* It stands still, so it has been killed before it could run */
		if (fd >= 0 && ret != -ESRCH)
			complain_bind(session.options->device, pid, ret);
		if (fd >= 0)
			close(fd);
		if (ret != -ESRCH)
			session.failed = true;
		return;
	}
	target = must(calloc(1, sizeof(*target)));
	target->pid = pid;
	target->fd = fd;
	target->chunk = CHUNK;
	session.target = must(realloc(session.target, (session.nr + 1) *
				      sizeof(*session.target)));
	session.target[session.nr++] = target;
	target->sample.pid = pid;
	target->sample.space = ++session.address_spaces;
}

static void targets_reap(void)
{
	size_t i = 0;

	while (i < session.nr) {
		if (session.target[i]->ended) {
			free(session.target[i]);
			session.target[i] = session.target[--session.nr];
		} else {
			i++;
		}
	}
}

static bool private_anonymous(const struct vma *vma)
{
	return vma && vma->read && vma->write && !vma->shared &&
	       (!*vma->name || *vma->name == '[');
}

/*
 * Reads what the device has in [start, end). Errors are no news here: the
 * process changes its memory while we look.
 */
static void device_use(struct target *target, const struct vma *vma,
		       __u64 start, __u64 end)
{
	const __u64 page = sysconf(_SC_PAGESIZE);
	/* Every other pass, the device wants to write to what it can only read. */
	bool write = session.options->write && target->passes % 2 &&
		     private_anonymous(vma);
	struct entries entries = { };
	size_t i, nr;

	if (device_dump(target->fd, start, end, &entries))
		entries.nr = 0;
	for (i = 0; i < entries.nr; i += nr) {
		const struct hmm_mirror_entry *entry = &entries.entry[i];

		for (nr = 1; i + nr < entries.nr; nr++)
			if (entry[nr].addr != entry->addr + nr * page ||
			    entry[nr].flags != entry->flags)
				break;
		if (session.sampled) {
			if (nr > session.pages_left)
				nr = session.pages_left;
			if (!nr)
				break;
			session.pages_left -= nr;
		}
		if (write && !(entry->flags & HMM_MIRROR_ENTRY_WRITE))
			device_map(target->fd, entry->addr, nr * page,
				   HMM_MIRROR_MAP_WRITE, NULL);
		device_read(target->fd, entry->addr, session.buffer, nr * page,
			    NULL);
	}
	entries_free(&entries);
}

/* Has a device that is slow mirror and read some pages of [start, end) */
static void target_sample(struct target *target, const struct vma *vma, __u64 start,
			  __u64 end)
{
	const __u64 size = SAMPLE_PAGES * sysconf(_SC_PAGESIZE);
	__u64 pages = 0;

	if (end - start > size)
		end = start + size;
	device_map(target->fd, start, end - start, HMM_MIRROR_MAP_PRESENT, &pages);
	if (pages)
		device_use(target, vma, start, end);
}

/* Goes on with the pass through the address space, until the time is up. */
static void target_work(struct target *target, double until)
{
	size_t i;

	if (session.sampled && !session.pages_left)
		return;
	if (!target->cursor && maps_read(target->pid, &target->maps))
		return;

	for (i = 0; i < target->maps.nr; i++) {
		const struct vma *vma = &target->maps.vma[i];
		__u64 start, end, pages = 0;

		if (!vma->read)
			continue;
		for (start = vma->start; start < vma->end; start = end) {
			if (start < target->cursor)
				start = target->cursor;
			if (start >= vma->end)
				break;
			if (now() > until)
				return;
			/* Take larger steps where nothing is in memory. */
			end = vma->end;
			if (end - start > target->chunk)
				end = start + target->chunk;
			if (session.sampled) {
				target_sample(target, vma, start, end);
				target->cursor = end;
				if (!session.pages_left)
					return;
				continue;
			}
			device_map(target->fd, start, end - start,
				   HMM_MIRROR_MAP_PRESENT, &pages);
			if (!pages && target->chunk < CHUNK_MAX)
				target->chunk *= 2;
			if (pages && end - start > CHUNK)
				end = start + CHUNK;
			if (pages) {
				target->chunk = CHUNK;
				device_use(target, vma, start, end);
			}
			target->cursor = end;
		}
	}
	target->cursor = 0;
	target->chunk = CHUNK;
	target->passes++;
}

/*
 * The process stands still. Does the device see what the process would see? The
 * kernel's /proc/PID/mem knows. With @write, a page that only this process has
 * is written back through the device, and must come out unchanged.
 */
static void data_check(struct target *target, int mem,
		       const struct hmm_mirror_entry *entry, bool write)
{
	const size_t page = sysconf(_SC_PAGESIZE);
	char *device = session.buffer, *cpu = device + page;

	if (device_read(target->fd, entry->addr, device, page, NULL) ||
	    pread(mem, cpu, page, entry->addr) != (ssize_t)page)
		return;
	if (write && !memcmp(device, cpu, page)) {
		if (device_write(target->fd, entry->addr, device, page, NULL) ||
		    pread(mem, cpu, page, entry->addr) != (ssize_t)page)
			return;
	}
	session.data_checks++;
	if (!memcmp(device, cpu, page))
		return;
	session.verify.stale++;
	warnx("stale: pid %d address %#llx: the device reads other data than the process",
	      target->pid, entry->addr);
}

/* Where the stack of the main thread began, which is in memory as long as there is one. */
static bool stack_page(const struct maps *maps, struct hmm_mirror_entry *entry)
{
	size_t i;

	for (i = 0; i < maps->nr; i++) {
		if (strcmp(maps->vma[i].name, "[stack]"))
			continue;
		entry->addr = maps->vma[i].end - sysconf(_SC_PAGESIZE);
		return true;
	}
	return false;
}

static void data_checks(struct target *target, bool write)
{
	struct hmm_mirror_entry stack;
	struct entries entries = { };
	struct maps maps = { };
	int i, mem = memory_open(target->pid, "mem");

	if (mem >= 0 && !device_dump(target->fd, 0, ~0ULL, &entries) &&
	    !maps_read(target->pid, &maps)) {
		for (i = 0; entries.nr && i < DATA_CHECKS && session.pages_left; i++) {
			const struct hmm_mirror_entry *entry =
				&entries.entry[random() % entries.nr];

			/* Others may write to what is not its own alone. */
			if (!private_anonymous(maps_find(&maps, entry->addr)))
				continue;
			data_check(target, mem, entry, write);
			if (session.sampled)
				break;
		}
		/* Of what a slow device has, there may be no such page. */
		if (session.sampled && session.pages_left) {
			if ((i == DATA_CHECKS || !entries.nr) && stack_page(&maps, &stack))
				data_check(target, mem, &stack, write);
			session.pages_left--;
		}
	}
	maps_free(&maps);
	entries_free(&entries);
	if (mem >= 0)
		close(mem);
}

/* fclose() tells only whether its own, last write has failed. */
static int close_output(FILE *file)
{
	int ret = output_error(file);

	return fclose(file) && !ret ? -errno : ret;
}

static void dump_write(const struct target *target)
{
	const char *path = session.options->dump;
	FILE *file = fopen(path, "we");
	int ret = file ? 0 : -errno;

	if (file) {
		int error;

		ret = json_dump(file, session.options->device, target->fd,
				target->pid);
		error = close_output(file);
		ret = ret ?: error;
	}
	if (ret) {
		warnx("cannot write %s: %s", path, strerror(-ret));
		session.failed = true;
	}
}

/* @still: nobody can write to the memory of the process meanwhile. */
static void target_verify(struct target *target, bool still)
{
	struct hmm_mirror_stats stats;
	int ret;

	if (still)
		data_checks(target, session.options->write);
	ret = verify_context(target->fd, target->pid, &session.verify, stderr);
	if (ret) {
		warnx("cannot verify process %d: %s", target->pid,
		      ret == -EPERM ?
		      "/proc/PID/pagemap shows frames only to CAP_SYS_ADMIN; run this as root" :
		      strerror(-ret));
		session.failed = true;
	} else {
		session.verifications++;
	}
	if (session.options->dump && !device_stats(target->fd, &stats) &&
	    stats.pages > session.dumped) {
		session.dumped = stats.pages;
		dump_write(target);
	}
}

/* What has an invalidation taken out since we looked last? */
static void picture_look(struct target *target)
{
	struct entries entries = { };

	if (device_dump(target->fd, 0, ~0ULL, &entries))
		entries.nr = 0;
	if (runs_gone(&target->sample.device, &target->before, &entries))
		exit(EXIT_MIRROR);
	entries_free(&target->before);
	target->before = entries;
}

static void picture_take(struct target *target)
{
	struct sample *sample = &target->sample;
	struct entries cpu = { };

	if (maps_read(target->pid, &sample->maps) || !sample->maps.nr ||
	    device_stats(target->fd, &sample->stats))
		goto out;
	sample->time = now();
	comm_read(target->pid, sample->name, sizeof(sample->name));
	if (runs_maps(&sample->device, &sample->maps) ||
	    runs_entries(&sample->device, &target->before, NULL))
		exit(EXIT_MIRROR);
	if (session.options->view &&
	    picture_print(stderr, sample, &target->shown, session.options->color))
		exit(EXIT_MIRROR);
	if (session.record) {
		/* It may be calling execve(): then there is none. */
		if (!cpu_table(target->pid, &sample->maps, &cpu) &&
		    runs_entries(&sample->cpu, &cpu, NULL))
			exit(EXIT_MIRROR);
		record_check(stream_picture(session.record, sample));
	}
out:
	entries_free(&cpu);
	sample->cpu.nr = 0;
	sample->device.nr = 0;
}

static void on_image(pid_t pid, bool exec)
{
	struct target *target = target_find(pid);

	if (exec && target)
		target_end(target);
	target_begin(pid);
}

/* The record goes on under the process that the address space began with. */
static void on_inherited(pid_t pid, pid_t heir)
{
	struct target *target = target_find(pid);

	if (target) {
		target->pid = heir;
		target->exiting = false;
	}
}

/* However short its life was, it has been mirrored and verified once. */
static void on_exiting(pid_t pid)
{
	struct target *target = target_find(pid);

	if (target) {
		target_work(target, now() + TICK);
		target_verify(target, false);
		target->exiting = true;
	}
}

static void on_gone(pid_t pid, int status)
{
	struct target *target = target_find(pid);

	if (target)
		target_end(target);
	if (pid == session.pid) {
		session.status = status;
		session.running = false;
	}
}

static const struct trace_ops ops = {
	.image = on_image,
	.exiting = on_exiting,
	.inherited = on_inherited,
	.gone = on_gone,
};

/* Does anybody write to the memory of @pid though it is stopped? */
static bool others_seen(pid_t pid)
{
	struct trace_others others, *most = &session.others;

	if (!trace_others(pid, &others))
		return false;
	session.with_others++;
	most->unknown = others.unknown;
	if (others.threads > most->threads) {
		most->threads = others.threads;
		most->thread = others.thread;
	}
	if (others.processes > most->processes) {
		most->processes = others.processes;
		most->process = others.process;
	}
	return true;
}

static void stop_and_verify(pid_t pid)
{
	int stopped = trace_stop(pid);
	/* By now it may have called execve(), or be replaced by an heir. */
	struct target *target = target_find(pid);

	if (stopped != -ESRCH && target && !target->exiting)
		target_verify(target, !others_seen(pid) && !stopped);
	trace_resume();
}

/* Waits for the next tick, or for something to happen. */
static void wait_events(double seconds)
{
	struct timespec timeout = {
		.tv_sec = seconds, .tv_nsec = (seconds - (long)seconds) * 1e9,
	};
	siginfo_t info;
	int sig;

	sig = sigtimedwait(&session.signals, &info, &timeout);
	trace_poll();
	if (sig <= 0 || sig == SIGCHLD)
		return;
	/*
	 * We are asked to end. A program that was there before goes on without
	 * us; one that we have started should end first, and gets the signal,
	 * unless it was typed on a terminal and so went to both of us.
	 */
	if (session.attached)
		session.running = false;
	else if (info.si_code != SI_KERNEL)
		kill(session.pid, sig);
}

/*
 * Each address space takes a descriptor. Called when the program has been
 * started, as that is to have the limit that it would have without us.
 */
static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void session_begin(const struct session_options *options)
{
	static const int signals[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP };

	session.options = options;
	session.start = now();
	session.running = true;
	session.buffer = must(malloc(CHUNK));
	session.pages_left = device_pages(options->device);
	session.sampled = session.pages_left != SIZE_MAX;
	if (session.sampled)
		warnx("%s is slow: it accesses %zu pages at most, some of each 2 MiB",
		      options->device, session.pages_left);

	signals_heard(&session.signals, signals, ARRAY_SIZE(signals));
	sigaddset(&session.signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &session.signals, &session.mask);

	if (options->view)
		picture_legend(stderr, false, options->color);
	if (options->record) {
		session.record = fopen(options->record, "we");
		record_check(session.record ? 0 : -errno);
	}
}

static void session_loop(void)
{
	const double verify_every = session.options->verify_ms / 1e3;
	const double view_every = session.options->view_ms / 1e3;
	double verify_at = 0.1, view_at = 0;
	size_t i;

	raise_limit();
	while (session.running) {
		double began = now(), spent;
		bool view = pictures() && session.nr && began >= view_at;

		for (i = 0; i < session.nr; i++) {
			struct target *target = session.target[i];

			if (pictures())
				picture_look(target);
			target_work(target, now() + TICK);
			if (pictures())
				picture_look(target);
			if (view)
				picture_take(target);
		}
		if (view)
			view_at = now() + view_every;

		if (began >= verify_at) {
			double before = now();

			for (i = 0; i < session.nr; i++)
				if (!session.target[i]->ended)
					stop_and_verify(session.target[i]->pid);
			/* Leave the program at least half of the time. */
			spent = now() - before;
			verify_at = now() + (spent > verify_every ? spent :
					     verify_every);
		}
		targets_reap();
		if (!session.running)
			break;

		spent = now() - began;
		wait_events(spent > TICK ? spent : TICK);
		targets_reap();
	}
	for (i = 0; i < session.nr; i++)
		target_end(session.target[i]);
	targets_reap();
	trace_detach();
}

static int exit_status(void)
{
	if (session.attached)
		return 0;
	return WIFSIGNALED(session.status) ? 128 + WTERMSIG(session.status) :
					     WEXITSTATUS(session.status);
}

static int session_json(char **argv)
{
	FILE *out = fopen(session.options->json, "we");
	int i;

	if (!out)
		return -errno;
	fputs("{\n  \"device\": ", out);
	json_string(out, session.options->device);
	fprintf(out, ",\n  \"pid\": %d,\n  \"command\": [", session.pid);
	for (i = 0; argv && argv[i]; i++) {
		fputs(i ? ", " : "", out);
		json_string(out, argv[i]);
	}
#define FIELD(name, value) \
	fprintf(out, ",\n  \"" name "\": %llu", (value))
	fprintf(out, "],\n  \"exit_status\": %d,\n  \"seconds\": %.3f",
		exit_status(), now());
	FIELD("address_spaces", session.address_spaces);
	FIELD("pages_mirrored", stats_mirrored(&session.stats));
	FIELD("device_accesses", session.stats.accesses);
	FIELD("read_bytes", session.stats.read_bytes);
	FIELD("written_bytes", session.stats.written_bytes);
	FIELD("faults", session.stats.faults);
	FIELD("retries", session.stats.retries);
	FIELD("invalidations", session.stats.invalidations);
	FIELD("invalidated", session.stats.invalidated);
	FIELD("verifications", session.verifications);
	FIELD("verified_entries", session.verify.entries);
	FIELD("data_checks", session.data_checks);
	FIELD("stale", session.verify.stale);
	FIELD("threads_not_stopped", (__u64)session.others.threads);
	FIELD("processes_not_stopped", (__u64)session.others.processes);
	FIELD("verifications_without_data", session.with_others);
#undef FIELD
	fputs("\n}\n", out);
	return close_output(out);
}

/* What was mirrored, but not checked as it should be. */
static void session_summary_others(void)
{
	const struct trace_others *others = &session.others;

	if (!session.with_others)
		return;
	if (others->threads)
		warnx("threads that could not be stopped: %zu (one is %d: traced, or the kernel's)",
		      others->threads, others->thread);
	if (others->processes)
		warnx("other processes with the same memory that were not stopped: %zu (one is %d)",
		      others->processes, others->process);
	if (others->unknown)
		warnx("the kernel lacks CONFIG_KCMP: it is not known who else shares the memory");
	warnx("so %llu verifications compared page tables only, and no data%s",
	      session.with_others,
	      session.options->write ? "; nor did the device write then" : "");
}

static void session_summary(char **argv)
{
	const struct hmm_mirror_stats *stats = &session.stats;

	if (session.attached)
		warnx("process %d, %.1f s, %llu address spaces",
		      session.pid, now(), session.address_spaces);
	else
		warnx("%s: exit status %d, %.1f s, %llu address spaces",
		      argv[0], exit_status(), now(), session.address_spaces);
	warnx("%llu pages mirrored, %llu device accesses, %llu bytes read, %llu bytes written",
	      stats_mirrored(stats), stats->accesses,
	      stats->read_bytes, stats->written_bytes);
	warnx("%llu device page faults, %llu retries, %llu invalidations took out %llu pages",
	      stats->faults, stats->retries,
	      stats->invalidations, stats->invalidated);
	warnx("%llu verifications compared %llu entries and the data of %llu pages: %llu stale",
	      session.verifications, session.verify.entries,
	      session.data_checks, session.verify.stale);
	session_summary_others();
}

static int session_end(char **argv)
{
	int ret;

	if (session.options->json) {
		ret = session_json(argv);
		if (ret) {
			warnx("cannot write %s: %s", session.options->json,
			      strerror(-ret));
			session.failed = true;
		}
	}
	session_summary(argv);

	if (session.record)
		fclose(session.record);	/* after each line it was flushed */
	free(session.target);
	free(session.buffer);

	if (session.verify.stale)
		return EXIT_STALE;
	return session.failed ? EXIT_MIRROR : exit_status();
}

int session_run(const struct session_options *options, char **argv)
{
	int fd, ret;

	/* Better no program than one that is not mirrored. */
	fd = open_or_complain(options->device);
	if (fd < 0)
		return EXIT_MIRROR;
	close(fd);

	session_begin(options);
	ret = trace_spawn(argv, &session.mask, options->follow, &ops, &session.pid);
	if (ret) {
		warnx("cannot start %s: %s", argv[0], strerror(-ret));
		return EXIT_MIRROR;
	}
	session_loop();
	return session_end(argv);
}

int session_attach(const struct session_options *options, pid_t pid)
{
	int fd, ret;

	session_begin(options);
	session.attached = true;
	session.pid = pid;
	ret = trace_attach(pid, options->follow, &ops);
	if (ret) {
		/* This says better than ptrace() what is wrong with the process. */
		fd = bind_or_complain(options->device, pid);
		if (fd >= 0)
			complain_trace(pid, ret);
		return EXIT_MIRROR;
	}
	/* Not while it calls execve(), which would bind to what is no more. */
	trace_stop(pid);
	if (session.running && !target_find(pid))
		target_begin(pid);
	trace_resume();
	if (session.failed)
		return EXIT_MIRROR;
	session_loop();
	return session_end(NULL);
}
