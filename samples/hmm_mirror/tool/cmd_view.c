// SPDX-License-Identifier: GPL-2.0
/*
 * A live picture of a process's page table and the device's, side by side.
 */
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cmd_view.h"
#include "complain.h"
#include "json_stream.h"
#include "picture_line.h"
#include "signals.h"
#include "view_screen.h"

#define EXIT_FAILED	1
/* Pictures, and time between them, until the device has what the CPU has. */
#define ONCE		3
#define ONCE_SECONDS	5

const char view_help[] =
"Mirrors a process, and shows its page table and the device's side by side.\n"
"\n"
"Usage: hmm-mirror [--device PATH] view [OPTIONS] PID\n"
"\n"
"  --every MS      time between two pictures (250)\n"
"  --count N       end after N pictures\n"
"  --once          one full picture on standard output\n"
"  --json          a stream of JSON on standard output, for other programs, and for\n"
"                  hmm-mirror plot\n"
"  --color WHEN    always, never, or auto (on a terminal)\n"
"\n"
"On a terminal the picture moves, and ? explains it; otherwise there is a line for\n"
"each picture in which something has changed. It ends with the process, or by\n"
"Ctrl-C, or q. The process is not stopped, and not written to.\n"
"\n"
"After each picture, the device mirrors what the CPU has and it has not. So x is\n"
"what was invalidated since the picture before, and f what was mirrored after it.\n"
"\n"
STREAM_FORMAT;

/* What came while we waited. */
enum event {
	EVENT_NONE,		/* the time is up */
	EVENT_KEY,
	EVENT_RESIZE,
	EVENT_STOP,		/* Ctrl-Z */
	EVENT_END,		/* of the process */
	EVENT_QUIT,
};

static int signals_open(bool live)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	sigset_t set;

	signals_heard(&set, signals, ARRAY_SIZE(signals));
	if (live) {
		sigaddset(&set, SIGWINCH);
		sigaddset(&set, SIGTSTP);
	}
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static enum event signal_event(int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		return EVENT_QUIT;
	switch (info.ssi_signo) {
	case SIGWINCH:
		return EVENT_RESIZE;
	case SIGTSTP:
		return EVENT_STOP;
	}
	return EVENT_QUIT;
}

static enum event wait_event(const struct view *view, int signals, double seconds)
{
	struct pollfd fds[] = {
		{ .fd = signals, .events = POLLIN },
		{ .fd = view->watch.pidfd, .events = POLLIN },
		{ .fd = view->live ? STDIN_FILENO : -1, .events = POLLIN },
	};
	/* Paused, there is nothing to wait for but the user. */
	int timeout = view->paused ? -1 : seconds > 0 ? seconds * 1e3 + 1 : 0;

	if (poll(fds, ARRAY_SIZE(fds), timeout) <= 0)
		return EVENT_NONE;
	if (fds[0].revents)
		return signal_event(signals);
	if (fds[1].revents)
		return EVENT_END;
	/* A terminal that is gone would be ready for ever. */
	if (fds[2].revents & (POLLHUP | POLLERR | POLLNVAL))
		return EVENT_QUIT;
	return EVENT_KEY;
}

/* Moves the cursor to what was asked for: an address, or a name. */
static void go(struct view *view)
{
	const struct maps *maps = &view->watch.sample.maps;
	const struct vma *vma = NULL;
	__u64 addr;
	char *end;
	size_t i;

	addr = strtoull(view->answer, &end, 16);
	if (isxdigit((unsigned char)*view->answer) && !*end) {
		view->cursor = addr;
		vma = maps_find(maps, addr);
		if (!vma || !vma->read)
			snprintf(view->message, sizeof(view->message),
				 "nothing that can be read is mapped at %#llx: this is near",
				 addr);
		return;
	}
	for (i = 0; i < maps->nr && !vma; i++)
		if (maps->vma[i].read && strstr(maps->vma[i].name, view->answer))
			vma = &maps->vma[i];
	if (vma)
		view->cursor = vma->start;
	else
		snprintf(view->message, sizeof(view->message),
			 "no mapping has '%s' in its name, nor is that a hexadecimal address",
			 view->answer);
}

static void answer_key(struct view *view, int key)
{
	size_t len = strlen(view->answer);

	if (key == '\n' || key == '\r') {
		view->asking = false;
		if (len)
			go(view);
	} else if (key == KEY_ESCAPE) {
		view->asking = false;
	} else if (key == KEY_BACKSPACE || key == 127) {
		if (len)
			view->answer[len - 1] = '\0';
	} else if (key < 127 && isprint(key) && len + 1 < sizeof(view->answer)) {
		view->answer[len] = key;
		view->answer[len + 1] = '\0';
	}
}

/* By rows, and within what there is. */
static void move(struct view *view, long rows)
{
	const struct grid *grid = &view->grid;
	long row = grid_find(grid, view->cursor);
	__u64 column = view->cursor - grid_start(grid, row);
	long last = (long)grid_rows(grid) - 1;

	row += rows;
	if (row > last)
		row = last;
	if (row < 0)
		row = 0;
	view->cursor = grid_start(grid, row) + column;
}

/* By a cell; from the end of a row to the beginning of the next. */
static void step(struct view *view, int cells)
{
	const struct grid *grid = &view->grid;
	size_t row = grid_find(grid, view->cursor);
	__u64 start = grid_start(grid, row), size = grid->cell * grid->cells;

	if (cells < 0 && view->cursor == start) {
		if (row)
			view->cursor = grid_start(grid, row - 1) + size - grid->cell;
	} else if (cells > 0 && view->cursor == start + size - grid->cell) {
		if (row + 1 < grid_rows(grid))
			view->cursor = grid_start(grid, row + 1);
	} else {
		view->cursor += cells * grid->cell;
	}
}

static void zoom(struct view *view, bool in)
{
	struct grid *grid = &view->grid;
	const __u64 all = grid_fit(grid->maps, grid->cells, view->height);

	if (in && grid->cell > (__u64)sysconf(_SC_PAGESIZE))
		grid->cell /= 2;
	if (!in)
		grid->cell *= 2;
	/* There is nothing to be seen beyond all of it. */
	view->cell = grid->cell < all ? grid->cell : 0;
	if (!view->cell)
		grid->cell = all;
}

/* Keys that depend on what is shown. */
static bool key_moves(int key)
{
	switch (key) {
	case '+':
	case '=':
	case '-':
	case KEY_UP:
	case KEY_DOWN:
	case KEY_PAGE_UP:
	case KEY_PAGE_DOWN:
	case KEY_LEFT:
	case KEY_RIGHT:
		return true;
	}
	return false;
}

/* Returns 0, or -EINTR to quit. */
static int view_key(struct view *view, int key)
{
	if (view->asking) {
		answer_key(view, key);
		return 0;
	}
	view->message[0] = '\0';
	view->help = key == '?' || key == 'h' ? !view->help : false;
	/* In a terminal that is too small there is nothing to move in. */
	if (!view->grid.maps && key_moves(key))
		return 0;
	switch (key) {
	case 'q':
		return -EINTR;
	case ' ':
		view->paused = !view->paused;
		break;
	case '+':
	case '=':
		zoom(view, true);
		break;
	case '-':
		zoom(view, false);
		break;
	case '0':
		view->cell = 0;
		break;
	case 'g':
		view->asking = true;
		view->answer[0] = '\0';
		break;
	case KEY_UP:
		move(view, -1);
		break;
	case KEY_DOWN:
		move(view, 1);
		break;
	case KEY_PAGE_UP:
		move(view, -(long)view->height);
		break;
	case KEY_PAGE_DOWN:
		move(view, view->height);
		break;
	case KEY_LEFT:
		step(view, -1);
		break;
	case KEY_RIGHT:
		step(view, 1);
		break;
	case KEY_HOME:
		view->cursor = 0;
		break;
	case KEY_END:
		view->cursor = ~0ULL;
		break;
	case 'L' - '@':		/* as elsewhere: draw it anew */
		screen_resize();
		break;
	}
	return 0;
}

static int view_keys(struct view *view)
{
	int key = screen_key(), ret = 0;

	/* The terminal was ready, and has nothing: it is gone. */
	if (key == KEY_NONE)
		return -EINTR;
	for (; !ret && key != KEY_NONE; key = screen_key())
		ret = view_key(view, key);
	return ret;
}

/* The shell has its terminal back until it lets us go on. */
static int view_stop(void)
{
	screen_leave();
	raise(SIGSTOP);
	return screen_enter();
}

/* What there is to be said of a new picture when there is no screen. */
static int view_print(const struct view_options *options, struct view *view,
		      struct hmm_mirror_stats *shown)
{
	struct sample *sample = &view->watch.sample;

	if (options->json)
		return stream_picture(stdout, sample);
	return picture_print(stdout, sample, shown, options->color) ?: output_error(stdout);
}

/* A new picture, unless there is none just now. */
static int view_look(const struct view_options *options, struct view *view,
		     struct hmm_mirror_stats *shown)
{
	struct watch *watch = &view->watch;
	struct sample before = watch->sample;
	int ret = watch_look(watch);

	if (!ret && !view->live && !options->once)
		ret = view_print(options, view, shown);
	if (ret == -EAGAIN)
		ret = 0;
	/* What execve() has ended; the counters begin anew. */
	if (!ret && before.space != watch->sample.space) {
		*shown = (struct hmm_mirror_stats){ };
		before.time = watch->sample.time;
		if (options->json)
			ret = stream_end(stdout, &before);
	}
	return ret;
}

static int view_event(struct view *view, enum event event)
{
	switch (event) {
	case EVENT_NONE:
		break;
	case EVENT_KEY:
		return view_keys(view);
	case EVENT_RESIZE:
		screen_resize();
		break;
	case EVENT_STOP:
		return view_stop();
	case EVENT_END:
		return -ESRCH;
	case EVENT_QUIT:
		return -EINTR;
	}
	return 0;
}

/* Returns -ESRCH when the process has ended, -EINTR when we are asked to end. */
static int view_loop(const struct view_options *options, struct view *view, int signals)
{
	const double every = options->every_ms / 1e3;
	const long count = options->once ? ONCE : options->count;
	struct hmm_mirror_stats shown = { };
	struct watch *watch = &view->watch;
	double next = 0;
	long nr = 0;
	int ret = 0;

	while (!ret) {
		if (!view->paused && watch_time(watch) >= next) {
			next = watch_time(watch) + every;
			ret = view_look(options, view, &shown);
			if (ret || ++nr == count)
				break;
			/* Half of the time, so as to leave the process some. */
			watch_work(watch, options->once ? ONCE_SECONDS : every / 2);
		}
		if (view->live)
			ret = view_draw(view);
		if (!ret)
			ret = view_event(view, wait_event(view, signals,
							  next - watch_time(watch)));
	}
	return ret;
}

static int view_end(const struct view_options *options, const struct view *view, int error)
{
	const struct sample *sample = &view->watch.sample;
	struct hmm_mirror_stats stats;

	if (error == -ESRCH && options->json)
		error = stream_end(stdout, sample) ?: error;
	if (error && error != -ESRCH && error != -EINTR) {
		warnx("cannot view process %d: %s", sample->pid, strerror(-error));
		return EXIT_FAILED;
	}
	if (options->once) {
		if (error)
			warnx("process %d has ended too early", sample->pid);
		return error ? EXIT_FAILED : 0;
	}
	stats = watch_total(&view->watch);
	warnx("process %d (%s) %s after %.1f s, %u address spaces", sample->pid, sample->name,
	      error == -ESRCH ? "has ended" : "goes on", watch_time(&view->watch),
	      sample->space);
	warnx("%llu pages mirrored, %llu device page faults, %llu retries",
	      stats_mirrored(&stats), stats.faults, stats.retries);
	warnx("%llu invalidations took out %llu pages", stats.invalidations,
	      stats.invalidated);
	return 0;
}

int view_process(const struct view_options *options, pid_t pid)
{
	static struct view view;
	int ret, signals;

	if (watch_begin(&view.watch, options->device, pid))
		return EXIT_FAILED;
	view.live = !options->json && !options->once && screen_possible();
	signals = signals_open(view.live);
	ret = signals < 0 ? -errno : 0;

	screen_color(options->color);
	if (!ret && view.live)
		ret = screen_enter();
	else if (!options->json && !options->once)
		picture_legend(stdout, true, options->color);
	if (!ret)
		ret = view_loop(options, &view, signals);
	screen_leave();
	if (!ret && options->once) {
		screen_resize();
		ret = view_draw(&view) ?: output_error(stdout);
	}
	ret = view_end(options, &view, ret);
	watch_end(&view.watch);
	return ret;
}
