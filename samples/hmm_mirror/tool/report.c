// SPDX-License-Identifier: GPL-2.0
/*
 * What hmm-mirror tells a person, or another program.
 */
#include <err.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "proc.h"
#include "report.h"

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
		warnx("there is no %s: the sample driver is not loaded", device);
		warnx("try 'modprobe %s'; the kernel needs CONFIG_SAMPLE_HMM_MIRROR_RUST",
		      slash ? slash + 1 : device);
		break;
	case EACCES:
	case EPERM:
		warnx("no permission to open %s", device);
		warnx("the device shows page frames, and is for root only: run this as root");
		break;
	default:
		warnx("cannot open %s: %s", device, strerror(-fd));
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
	complain_bind(device, pid, ret);
	return ret;
}

void complain_bind(const char *device, pid_t pid, int error)
{
	switch (-error) {
	case ESRCH:
		warnx("there is no process %d, or it has no memory (zombie, kernel thread)",
		      pid);
		break;
	case EINVAL:
		warnx("%d is a thread: its process is 'Tgid' in /proc/%d/status",
		      pid, pid);
		break;
	case EPERM:
	case EACCES:
		warnx("no permission to mirror process %d", pid);
		warnx("it takes what a debugger needs to attach: run this as root");
		break;
	case ENOTTY:
		warnx("%s is not an HMM mirroring device", device);
		break;
	default:
		warnx("cannot mirror process %d: %s", pid, strerror(-error));
	}
}

void complain_trace(pid_t pid, int error)
{
	if (error == -ESRCH)
		warnx("there is no process %d any more", pid);
	else if (error == -EPERM)
		warnx("cannot trace process %d: not root, or traced already (see its TracerPid)",
		      pid);
	else
		warnx("cannot trace process %d: %s", pid, strerror(-error));
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

void json_stats(FILE *out, const struct hmm_mirror_stats *stats,
		const char *separator)
{
	/* In the order of the structure, which has no other fields. */
	static const char *const names[] = {
		"pages", "tables", "mapped", "read_bytes", "written_bytes",
		"faults", "retries", "invalidations", "invalidated",
		"accesses", "dead",
	};
	const __u64 *values = (const __u64 *)stats;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		fprintf(out, "%s\"%s\": %llu", i ? separator : "", names[i],
			values[i]);
}

int json_dump(FILE *out, const char *device, int fd, pid_t pid)
{
	struct hmm_mirror_stats stats;
	struct entries entries = { };
	size_t i;
	int ret;

	ret = device_dump(fd, 0, ~0ULL, &entries);
	if (!ret)
		ret = device_stats(fd, &stats);
	if (ret)
		goto out;

	fputs("{\n  \"device\": ", out);
	json_string(out, device);
	fprintf(out, ",\n  \"pid\": %d,\n  \"page_size\": %ld,\n", pid,
		sysconf(_SC_PAGESIZE));
	fputs("  \"stats\": {\n    ", out);
	json_stats(out, &stats, ",\n    ");
	fputs("\n  },\n  \"entries\": [", out);
	for (i = 0; i < entries.nr; i++) {
		const struct hmm_mirror_entry *entry = &entries.entry[i];

		fprintf(out,
			"%s\n    {\"addr\": \"%#llx\", \"pfn\": %llu, \"write\": %s, \"order\": %u}",
			i ? "," : "", entry->addr,
			entry->pfn,
			entry->flags & HMM_MIRROR_ENTRY_WRITE ? "true" : "false",
			entry->order);
	}
	fputs("\n  ]\n}\n", out);
out:
	entries_free(&entries);
	return ret;
}
