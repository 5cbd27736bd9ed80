// SPDX-License-Identifier: GPL-2.0
/*
 * hmm-mirror: the program in front of the HMM mirroring sample devices.
 *
 * This file is the command line; see cmd_run.c for mirroring a program for its
 * whole life, verify.c for what verification means, cmd_view.c for the live picture.
 */
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd_plot.h"
#include "cmd_run.h"
#include "cmd_view.h"
#include "complain.h"
#include "device.h"
#include "json_write.h"
#include "proc.h"
#include "ptrace.h"
#include "verify.h"

#define EXIT_STALE_OR_FAILED	1
#define EXIT_USAGE		2

#define MS_MAX			3600000

static const char help[] =
"Mirrors the memory of a process into the page table of a fake device.\n"
"\n"
"Usage: hmm-mirror [--device PATH] COMMAND ...\n"
"\n"
"  run [OPTIONS] [--] CMD [ARG...]  start CMD and mirror it for its whole life\n"
"  attach [OPTIONS] PID             mirror a process, until it ends or Ctrl-C\n"
"  view [OPTIONS] PID               watch a process's page table and the device's,\n"
"                                   side by side; see 'hmm-mirror view --help'\n"
"  plot [--heat] [FILE]             draw an SVG of what run, attach or view recorded;\n"
"                                   see 'hmm-mirror plot --help'\n"
"  read [--raw] PID ADDR LEN        show memory as the device reads it\n"
"  write [--hex BYTES] PID ADDR     let the device write BYTES, or stdin\n"
"  dump [--json] PID                show the device's page table\n"
"  verify PID                       stop PID, compare the device's page table with\n"
"                                   /proc/PID/pagemap, let PID go on\n"
"  verify --self-test               show that verify can fail\n"
"\n"
"dump and verify begin with an empty page table, and first mirror what PID has\n"
"in memory. ADDR and LEN are decimal, or hexadecimal with 0x.\n"
"\n"
"OPTIONS of run and attach:\n"
"  --follow           mirror the processes that are forked, too\n"
"  --write            let the device write, too: it writes memory of the process\n"
"                     back to itself while all threads stand still, and all\n"
"                     processes that share it. Not for programs with asynchronous\n"
"                     I/O.\n"
"  --verify-every MS  time between two verifications (1000)\n"
"  --view             print a line for each process that changes its memory, with\n"
"                     a picture of it: seconds, name, pages that the device has,\n"
"                     pages mapped and invalidated since the last line\n"
"  --view-every MS    time between two pictures (500)\n"
"  --record FILE      write each picture as a line of JSON, for hmm-mirror plot; see\n"
"                     'hmm-mirror plot --help' for what is in it\n"
"  --json FILE        write the summary as JSON\n"
"  --dump FILE        write the page table as JSON, as it was at the verification\n"
"                     that found it largest\n"
"  --color WHEN       always, never, or auto (on a terminal)\n"
"\n"
"The device is " DEVICE_RUST ", or " DEVICE_C " where that is\n"
"the only one, unless PATH says otherwise. " DEVICE_EDU_RUST " and\n"
DEVICE_EDU_C " are a PCI device that is slow: run and attach have it\n"
"access 200 pages at most.\n"
"\n"
"Exit status: 0 for success, 1 when verify found a stale entry or the command\n"
"failed, 2 for wrong usage. run exits as CMD does, with 128 + N when signal N has\n"
"ended it; run and attach exit with 120 when an entry was stale, 125 when\n"
"mirroring failed; run exits with 126 when CMD cannot be run, 127 when there is\n"
"no CMD.\n";

enum {
	OPTION_FOLLOW = 256, OPTION_WRITE, OPTION_VERIFY_EVERY, OPTION_VIEW,
	OPTION_VIEW_EVERY, OPTION_RECORD, OPTION_JSON, OPTION_DUMP, OPTION_COLOR,
	OPTION_RAW, OPTION_HEX, OPTION_SELF_TEST, OPTION_EVERY, OPTION_COUNT,
	OPTION_ONCE, OPTION_HEAT, OPTION_TITLE,
};

static const char *device;

#define usage(format, ...) \
	errx(EXIT_USAGE, format " (try 'hmm-mirror --help')", ##__VA_ARGS__)

static __u64 number(const char *text, const char *what)
{
	__u64 value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || end == text || *end || !isdigit((unsigned char)*text))
		usage("'%s' is no %s", text, what);
	return value;
}

/* Not 0, either. */
static long number_up_to(const char *text, const char *what, long max)
{
	__u64 value = number(text, what);

	if (!value || value > (__u64)max)
		usage("'%s' is no %s", text, what);
	return value;
}

static pid_t pid_argument(const char *text)
{
	return number_up_to(text, "process number", INT32_MAX);
}

static void check_arguments(int argc, int min, int max)
{
	if (argc - optind < min)
		usage("too few arguments");
	if (argc - optind > max)
		usage("too many arguments");
}

/* The next option of a command; --help is dealt with here, by @text. */
static int option_or_help(int argc, char **argv, const struct option *options,
			  const char *text)
{
	int c = getopt_long(argc, argv, "+h", options, NULL);

	if (c == 'h') {
		fputs(text, stdout);
		exit(0);
	}
	if (c == '?') {
		fputs("Try 'hmm-mirror --help'.\n", stderr);
		exit(EXIT_USAGE);
	}
	return c;
}

static int option(int argc, char **argv, const struct option *options)
{
	return option_or_help(argc, argv, options, help);
}

/* What --color says, or does not. */
static bool color_argument(const char *when, int fd)
{
	if (!when || !strcmp(when, "auto"))
		return isatty(fd);
	if (strcmp(when, "always") && strcmp(when, "never"))
		usage("--color is always, never or auto");
	return !strcmp(when, "always");
}

static int fail(const char *what, pid_t pid, int error)
{
	warnx("%s process %d: %s", what, pid, strerror(-error));
	return EXIT_STALE_OR_FAILED;
}

/* A device access failed: say what that means. */
static int fail_access(const char *what, pid_t pid, __u64 addr, int error)
{
	const char *why = strerror(-error);

	if (error == -EFAULT)
		why = "there is no readable memory (see /proc/PID/maps)";
	else if (error == -EPERM)
		why = "the process may not write there itself";
	else if (error == -EINVAL)
		why = "this is outside of any address space";
	else if (error == -ESRCH)
		why = "the process has ended";
	else if (error == -EBUSY)
		why = "the process changes this memory all the time; try again";
	else if (error == -EOPNOTSUPP)
		why = "the device cannot have its pages in place; the kernel's log says more";
	else if (error == -EIO)
		why = "the device does not answer";
	else if (error == -ENODEV)
		why = "the device has been removed";
	warnx("cannot %s process %d at %#llx: %s", what, pid, addr,
	      why);
	return EXIT_STALE_OR_FAILED;
}

static int mirror(int argc, char **argv, bool run)
{
	static const struct option options[] = {
		{ "follow", no_argument, NULL, OPTION_FOLLOW },
		{ "write", no_argument, NULL, OPTION_WRITE },
		{ "verify-every", required_argument, NULL, OPTION_VERIFY_EVERY },
		{ "view", no_argument, NULL, OPTION_VIEW },
		{ "view-every", required_argument, NULL, OPTION_VIEW_EVERY },
		{ "record", required_argument, NULL, OPTION_RECORD },
		{ "json", required_argument, NULL, OPTION_JSON },
		{ "dump", required_argument, NULL, OPTION_DUMP },
		{ "color", required_argument, NULL, OPTION_COLOR },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	struct session_options session = {
		.verify_ms = 1000, .view_ms = 500,
	};
	const char *color = NULL;
	int c;

	while ((c = option(argc, argv, options)) >= 0) {
		switch (c) {
		case OPTION_FOLLOW:
			session.follow = true;
			break;
		case OPTION_WRITE:
			session.write = true;
			break;
		case OPTION_VERIFY_EVERY:
			session.verify_ms = number(optarg, "time");
			break;
		case OPTION_VIEW:
			session.view = true;
			break;
		case OPTION_VIEW_EVERY:
			session.view_ms = number(optarg, "time");
			break;
		case OPTION_RECORD:
			session.record = optarg;
			break;
		case OPTION_JSON:
			session.json = optarg;
			break;
		case OPTION_DUMP:
			session.dump = optarg;
			break;
		case OPTION_COLOR:
			color = optarg;
			break;
		}
	}
	session.device = device;
	session.color = color_argument(color, STDERR_FILENO);
	if (run) {
		if (optind == argc)
			usage("run: which command?");
		return session_run(&session, argv + optind);
	}
	check_arguments(argc, 1, 1);
	return session_attach(&session, pid_argument(argv[optind]));
}

static int cmd_run(int argc, char **argv)
{
	return mirror(argc, argv, true);
}

static int cmd_attach(int argc, char **argv)
{
	return mirror(argc, argv, false);
}

static int cmd_view(int argc, char **argv)
{
	static const struct option options[] = {
		{ "every", required_argument, NULL, OPTION_EVERY },
		{ "count", required_argument, NULL, OPTION_COUNT },
		{ "once", no_argument, NULL, OPTION_ONCE },
		{ "json", no_argument, NULL, OPTION_JSON },
		{ "color", required_argument, NULL, OPTION_COLOR },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	struct view_options view = { .device = device, .every_ms = 250 };
	const char *color = NULL;
	int c;

	while ((c = option_or_help(argc, argv, options, view_help)) >= 0) {
		switch (c) {
		case OPTION_EVERY:
			view.every_ms = number_up_to(optarg, "time", MS_MAX);
			break;
		case OPTION_COUNT:
			view.count = number_up_to(optarg, "number", INT32_MAX);
			break;
		case OPTION_ONCE:
			view.once = true;
			break;
		case OPTION_JSON:
			view.json = true;
			break;
		case OPTION_COLOR:
			color = optarg;
			break;
		}
	}
	check_arguments(argc, 1, 1);
	if (view.once && view.json)
		usage("view: either --once or --json; '--json --count 1' is one line");
	view.color = color_argument(color, STDOUT_FILENO);
	return view_process(&view, pid_argument(argv[optind]));
}

static int cmd_plot(int argc, char **argv)
{
	static const struct option options[] = {
		{ "heat", no_argument, NULL, OPTION_HEAT },
		{ "title", required_argument, NULL, OPTION_TITLE },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	const char *title = NULL;
	bool heat = false;
	int c;

	while ((c = option_or_help(argc, argv, options, plot_help)) >= 0) {
		if (c == OPTION_HEAT)
			heat = true;
		else
			title = optarg;
	}
	check_arguments(argc, 0, 1);
	return plot(argv[optind], title, heat) ? EXIT_STALE_OR_FAILED : 0;
}

static void hexdump(__u64 addr, const unsigned char *bytes, size_t len)
{
	size_t i, j;

	for (i = 0; i < len; i += 16) {
		printf("%016llx ", addr + i);
		for (j = i; j < i + 16; j++) {
			if (j < len)
				printf(" %02x", bytes[j]);
			else
				printf("   ");
		}
		printf("  |");
		for (j = i; j < i + 16 && j < len; j++)
			putchar(isprint(bytes[j]) ? bytes[j] : '.');
		printf("|\n");
	}
}

static int cmd_read(int argc, char **argv)
{
	static const struct option options[] = {
		{ "raw", no_argument, NULL, OPTION_RAW },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	static unsigned char buffer[1 << 16];
	__u64 addr, left;
	bool raw = false;
	int fd, ret = 0;
	pid_t pid;

	while (option(argc, argv, options) >= 0)
		raw = true;
	check_arguments(argc, 3, 3);
	pid = pid_argument(argv[optind]);
	addr = number(argv[optind + 1], "address");
	left = number(argv[optind + 2], "length");

	fd = bind_or_complain(device, pid);
	if (fd < 0)
		return EXIT_STALE_OR_FAILED;
	while (left && !ret && !ferror(stdout)) {
		size_t done, len = left < sizeof(buffer) ? left : sizeof(buffer);

		ret = device_read(fd, addr, buffer, len, &done);
		if (raw)
			fwrite(buffer, 1, done, stdout);
		else
			hexdump(addr, buffer, done);
		addr += done;
		left -= done;
	}
	close(fd);
	if (ret)
		return fail_access("read", pid, addr, ret);
	ret = output_error(stdout);
	if (ret) {
		warnx("cannot write: %s", strerror(-ret));
		return EXIT_STALE_OR_FAILED;
	}
	return 0;
}

/* Turns digits into bytes, in place. */
static size_t unhex(char *text)
{
	size_t i, len = strlen(text);

	if (len % 2 || strspn(text, "0123456789abcdefABCDEF") != len)
		usage("--hex takes an even number of hexadecimal digits");
	for (i = 0; i < len; i += 2) {
		char digits[3] = { text[i], text[i + 1] };

		text[i / 2] = strtoul(digits, NULL, 16);
	}
	return len / 2;
}

static int cmd_write(int argc, char **argv)
{
	static const struct option options[] = {
		{ "hex", required_argument, NULL, OPTION_HEX },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	static char buffer[1 << 16];
	char *hex = NULL;
	size_t len, done;
	__u64 addr;
	int fd, ret;
	pid_t pid;

	while (option(argc, argv, options) >= 0)
		hex = optarg;
	check_arguments(argc, 2, 2);
	pid = pid_argument(argv[optind]);
	addr = number(argv[optind + 1], "address");

	fd = bind_or_complain(device, pid);
	if (fd < 0)
		return EXIT_STALE_OR_FAILED;
	if (hex) {
		len = unhex(hex);
		ret = device_write(fd, addr, hex, len, &done);
		addr += done;
	} else {
		ret = 0;
		while (!ret && (len = fread(buffer, 1, sizeof(buffer), stdin))) {
			ret = device_write(fd, addr, buffer, len, &done);
			addr += done;
		}
	}
	close(fd);
	if (ret)
		return fail_access("write to", pid, addr, ret);
	if (!hex && ferror(stdin)) {
		warn("cannot read standard input");
		return EXIT_STALE_OR_FAILED;
	}
	return 0;
}

/* One line per run of entries that differ in nothing but address and frame. */
static int dump_text(int fd, pid_t pid)
{
	const __u64 page = sysconf(_SC_PAGESIZE);
	struct entries entries = { };
	struct maps maps = { };
	size_t i, nr;
	int ret;

	ret = device_dump(fd, 0, ~0ULL, &entries);
	if (!ret)
		ret = maps_read(pid, &maps);
	for (i = 0; !ret && i < entries.nr; i += nr) {
		const struct hmm_mirror_entry *entry = &entries.entry[i];
		const struct vma *vma = maps_find(&maps, entry->addr);

		for (nr = 1; i + nr < entries.nr; nr++)
			if (entry[nr].addr != entry->addr + nr * page ||
			    entry[nr].pfn != entry->pfn + nr ||
			    entry[nr].flags != entry->flags ||
			    entry[nr].order != entry->order)
				break;
		printf("%012llx-%012llx frame %#10llx %s order %u %s\n",
		       entry->addr, entry->addr + nr * page,
		       entry->pfn,
		       entry->flags & HMM_MIRROR_ENTRY_WRITE ? "rw" : "r-",
		       entry->order, vma ? vma->name : "");
	}
	maps_free(&maps);
	entries_free(&entries);
	return ret;
}

/*
 * Fills in what the process has in memory now; a new context is empty. Returns
 * 0 or a negative errno value.
 */
static int mirror_present(int fd, pid_t pid)
{
	struct maps maps = { };
	int ret = maps_read(pid, &maps);
	size_t i;

	for (i = 0; !ret && i < maps.nr; i++) {
		const struct vma *vma = &maps.vma[i];

		if (!vma->read)
			continue;
		ret = device_map(fd, vma->start, vma->end - vma->start,
				 HMM_MIRROR_MAP_PRESENT, NULL);
		/* The process changes this part all the time: leave it out. */
		if (ret == -EBUSY)
			ret = 0;
	}
	maps_free(&maps);
	return ret;
}

static int cmd_dump(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, OPTION_JSON },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	bool json = false;
	int fd, ret;
	pid_t pid;

	while (option(argc, argv, options) >= 0)
		json = true;
	check_arguments(argc, 1, 1);
	pid = pid_argument(argv[optind]);
	fd = bind_or_complain(device, pid);
	if (fd < 0)
		return EXIT_STALE_OR_FAILED;
	ret = mirror_present(fd, pid);
	if (!ret)
		ret = json ? json_dump(stdout, device, fd, pid) :
			     dump_text(fd, pid);
	close(fd);
	if (!ret)
		ret = output_error(stdout);
	return ret ? fail("cannot dump", pid, ret) : 0;
}

static void no_image(pid_t pid, bool exec)
{
	(void)pid;
	(void)exec;
}

static void no_exiting(pid_t pid)
{
	(void)pid;
}

static void no_inherited(pid_t pid, pid_t heir)
{
	(void)pid;
	(void)heir;
}

static void no_gone(pid_t pid, int status)
{
	(void)pid;
	(void)status;
}

static int self_test(void)
{
	int wrong = verify_self_test(stderr);

	if (wrong) {
		warnx("self-test: verify got %d cases wrong", wrong);
		return EXIT_STALE_OR_FAILED;
	}
	printf("self-test: verify tells right entries from wrong ones\n");
	return 0;
}

static int cmd_verify(int argc, char **argv)
{
	static const struct option options[] = {
		{ "self-test", no_argument, NULL, OPTION_SELF_TEST },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	static const struct trace_ops ops = {
		.image = no_image, .exiting = no_exiting,
		.inherited = no_inherited, .gone = no_gone,
	};
	struct verify result = { };
	int fd, ret;
	pid_t pid;

	if (option(argc, argv, options) >= 0)
		return self_test();
	check_arguments(argc, 1, 1);
	pid = pid_argument(argv[optind]);
	fd = bind_or_complain(device, pid);
	if (fd < 0)
		return EXIT_STALE_OR_FAILED;

	/* Fill in while it runs, so that there is something to invalidate. */
	ret = mirror_present(fd, pid);
	if (ret)
		return fail("cannot mirror", pid, ret);
	ret = trace_attach(pid, false, &ops);
	if (ret) {
		complain_trace(pid, ret);
		return EXIT_STALE_OR_FAILED;
	}
	ret = trace_stop(pid);
	if (ret == -ESRCH)
		return fail("cannot verify", pid, ret);
	ret = verify_context(fd, pid, &result, stdout);
	trace_resume();
	close(fd);
	if (ret == -EPERM) {
		warnx("/proc/%d/pagemap shows page frames only to CAP_SYS_ADMIN: run this as root",
		      pid);
		return EXIT_STALE_OR_FAILED;
	}
	if (ret)
		return fail("cannot verify", pid, ret);
	printf("process %d: %llu entries compared with pagemap, %llu stale\n",
	       pid, result.entries, result.stale);
	return result.stale ? EXIT_STALE_OR_FAILED : 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*command)(int argc, char **argv);
	} commands[] = {
		{ "run", cmd_run },
		{ "attach", cmd_attach },
		{ "view", cmd_view },
		{ "plot", cmd_plot },
		{ "read", cmd_read },
		{ "write", cmd_write },
		{ "dump", cmd_dump },
		{ "verify", cmd_verify },
	};
	static const struct option options[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	size_t i;

	/* A line at once, as others may write to the same terminal or pipe */
	setvbuf(stderr, NULL, _IOLBF, BUFSIZ);
	device = device_default();
	while (option(argc, argv, options) >= 0)
		device = optarg;
	if (optind == argc)
		usage("which command?");
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[optind], commands[i].name))
			continue;
		/* Begin anew with the command's own options. */
		argv[optind] = argv[0];
		argc -= optind;
		argv += optind;
		optind = 1;
		return commands[i].command(argc, argv);
	}
	usage("there is no command '%s'", argv[optind]);
}
