// SPDX-License-Identifier: GPL-2.0
/*
 * Writes JSON.
 */
#include <unistd.h>

#include "json_write.h"

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
