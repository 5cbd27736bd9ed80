// SPDX-License-Identifier: GPL-2.0
/*
 * What hmm-mirror tells a person, or another program.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "verify.h"

void complain(const char *format, ...)
{
	va_list args;

	fputs("hmm-mirror: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

int open_or_complain(const char *device)
{
	const char *slash = strrchr(device, '/');
	int fd = device_open(device);

	if (fd >= 0)
		return fd;
	switch (-fd) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		complain("there is no %s: the sample driver is not loaded. Try 'modprobe %s'; it needs a kernel with CONFIG_SAMPLE_HMM_MIRROR_RUST",
			 device, slash ? slash + 1 : device);
		break;
	case EACCES:
	case EPERM:
		complain("no permission to open %s: the devices show page frames, and are for root only. Run this as root",
			 device);
		break;
	default:
		complain("cannot open %s: %s", device, strerror(-fd));
	}
	return fd;
}

int bind_or_complain(const char *device, pid_t pid)
{
	int fd, ret;

	fd = open_or_complain(device);
	if (fd < 0)
		return fd;
	ret = device_bind(fd, pid);
	if (!ret)
		return fd;
	close(fd);
	switch (-ret) {
	case ESRCH:
		complain("there is no process %d, or it has no memory of its own (a zombie, or a kernel thread)",
			 pid);
		break;
	case EINVAL:
		complain("%d is a thread, not a process: take the number of its process ('Tgid' in /proc/%d/status)",
			 pid, pid);
		break;
	case EPERM:
	case EACCES:
		complain("no permission to mirror process %d: it takes what a debugger needs to attach. Run this as root",
			 pid);
		break;
	case ENOTTY:
		complain("%s is not an HMM mirroring device", device);
		break;
	default:
		complain("cannot mirror process %d: %s", pid, strerror(-ret));
	}
	return ret;
}

void complain_trace(pid_t pid, int error)
{
	if (error == -ESRCH)
		complain("there is no process %d any more", pid);
	else if (error == -EPERM)
		complain("cannot trace process %d: a debugger or another hmm-mirror traces it already ('TracerPid' in /proc/%d/status), or it takes root",
			 pid, pid);
	else
		complain("cannot trace process %d: %s", pid, strerror(-error));
}

int mirror_present(int fd, pid_t pid)
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

void json_string(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		unsigned char byte = *text;

		/* Other bytes need not be UTF-8: show them as Latin-1. */
		if (byte == '"' || byte == '\\')
			fprintf(out, "\\%c", byte);
		else if (byte < ' ' || byte > '~')
			fprintf(out, "\\u%04x", byte);
		else
			fputc(byte, out);
	}
	fputc('"', out);
}

int json_dump(FILE *out, const char *device, int fd, pid_t pid)
{
	/* In the order of the structure, which has no other fields. */
	static const char *const names[] = {
		"pages", "tables", "mapped", "read_bytes", "written_bytes",
		"faults", "retries", "invalidations", "invalidated",
		"accesses", "dead",
	};
	struct hmm_mirror_stats stats;
	const __u64 *values = (const __u64 *)&stats;
	struct entries entries = { };
	size_t i;
	int ret;

	_Static_assert(sizeof(stats) == sizeof(names) / sizeof(names[0]) * 8,
		       "a name for each counter");
	ret = device_dump(fd, 0, ~0ULL, &entries);
	if (!ret)
		ret = device_stats(fd, &stats);
	if (ret)
		goto out;

	fputs("{\n  \"device\": ", out);
	json_string(out, device);
	fprintf(out, ",\n  \"pid\": %d,\n  \"page_size\": %ld,\n", pid,
		sysconf(_SC_PAGESIZE));
	fputs("  \"stats\": {\n", out);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		fprintf(out, "%s    \"%s\": %" PRIu64, i ? ",\n" : "",
			names[i], (uint64_t)values[i]);
	fputs("\n  },\n  \"entries\": [", out);
	for (i = 0; i < entries.nr; i++) {
		const struct hmm_mirror_entry *entry = &entries.entry[i];

		fprintf(out,
			"%s\n    {\"addr\": \"%#" PRIx64 "\", \"pfn\": %" PRIu64 ", \"write\": %s, \"order\": %" PRIu32 "}",
			i ? "," : "", (uint64_t)entry->addr,
			(uint64_t)entry->pfn,
			entry->flags & HMM_MIRROR_ENTRY_WRITE ? "true" : "false",
			entry->order);
	}
	fputs("\n  ]\n}\n", out);
out:
	entries_free(&entries);
	return ret;
}
