// SPDX-License-Identifier: GPL-2.0
/*
 * What no program sees: what is left when all of them have ended, and what the kernel
 * has to say.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device.h"
#include "file.h"
#include "shared.h"
#include "watch.h"

#define COUNTERS	"/sys/kernel/debug/hmm_mirror/counters"
#define FUZZ_CGROUP		"/sys/fs/cgroup/hmm_fuzz"
#define KMEMLEAK	"/sys/kernel/debug/kmemleak"

static int log_fd = -1;

void must_write_file(const char *path, const char *text)
{
	int ret = write_file(path, text);

	if (ret)
		errx(2, "%s: %s", path, strerror(-ret));
}

void watch_start(void)
{
	/* From here on, and not what is there already */
	log_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (log_fd < 0 || lseek(log_fd, 0, SEEK_END) < 0)
		err(2, "/dev/kmsg");
	must_write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	if (mkdir(FUZZ_CGROUP, 0700) && errno != EEXIST)
		err(2, FUZZ_CGROUP);
}

void watch_join(void)
{
	must_write_file(FUZZ_CGROUP "/cgroup.procs", "0");
}

/* The number after @key, or of all lines that begin with it if @count; 0 if there is none. */
static long look(const char *path, const char *key, bool count)
{
	FILE *file = fopen(path, "re");
	char line[256];
	long value = 0;

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, key, strlen(key)))
			continue;
		if (count)
			value++;
		else
			value = strtol(line + strlen(key), NULL, 10);
	}
	if (file)
		fclose(file);
	return value;
}

void watch_level(struct level *level)
{
	level->mirrors = look(COUNTERS, "  mirror ", true);
	level->users = look("/sys/module/hmm_mirror_c/refcnt", "", false) +
		       look("/sys/module/hmm_mirror_rust/refcnt", "", false);
	level->bytes = look(FUZZ_CGROUP "/memory.stat", "kernel ", false);
}

/*
 * Has the kernel complained since the last time?  Then @text is the beginning of it, and
 * @worker who was at it, if that is said.
 */
bool watch_log(char *text, size_t size, int *worker)
{
	static const char * const signs[] = {
		"BUG: ", "WARNING: ", "UBSAN: ", "Oops", "possible ", "inconsistent lock state",
		"suspicious RCU", "refcount_t: ", "ODEBUG: ", "general protection fault",
		"list_add corruption", "list_del corruption", "INFO: ", "nable to handle kernel",
		"rust_kernel: panicked",
	};
	static bool found;
	char record[1024];
	ssize_t nr;
	size_t i;

	/* -EPIPE: some were overwritten before they were read */
	while ((nr = read(log_fd, record, sizeof(record) - 1)) > 0 || (nr < 0 && errno == EPIPE)) {
		const char *who;

		if (nr < 0)
			continue;
		record[nr] = 0;
		record[strcspn(record, "\n")] = 0;
		for (i = 0; i < ARRAY_SIZE(signs) && !found; i++) {
			if (!strstr(record, signs[i]))
				continue;
			found = true;
			snprintf(text, size, "%s", strchr(record, ';') + 1);
		}
		who = found && *worker < 0 ? strstr(record, WORKER_NAME) : NULL;
		if (who)
			*worker = atoi(who + strlen(WORKER_NAME));
	}
	return found;
}

/* True if kmemleak knows of something that our code has lost; it is printed. */
bool watch_leaks(void)
{
	char line[256], report[8192] = "";
	bool ours = false, found = false;
	FILE *file;
	int i;

	if (access(KMEMLEAK, F_OK))
		return false;
	/* The first scan sees what is about to be freed, too. */
	for (i = 0; i < 2; i++) {
		must_write_file(KMEMLEAK, "scan");
		sleep(6);
	}
	file = fopen(KMEMLEAK, "re");
	while (file) {
		bool end = !fgets(line, sizeof(line), file);

		if (end || !strncmp(line, "unreferenced", 12)) {
			if (ours)
				fputs(report, stdout);
			found |= ours;
			ours = false;
			*report = 0;
		}
		if (end)
			break;
		ours |= strstr(line, "hmm") && !strstr(line, "comm");
		if (strlen(report) + strlen(line) < sizeof(report))
			strcat(report, line);
	}
	if (file)
		fclose(file);
	return found;
}
