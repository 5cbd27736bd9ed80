// SPDX-License-Identifier: GPL-2.0
/*
 * Pictures as a stream of JSON, a line for each.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "complain.h"
#include "json_parse.h"
#include "json_stream.h"
#include "json_write.h"

static void put_head(FILE *out, const char *type, const struct sample *sample)
{
	fprintf(out, "{\"type\": \"%s\", \"time\": %.3f, \"pid\": %d, \"space\": %u",
		type, sample->time, sample->pid, sample->space);
}

static void put_times(FILE *out, const char *name, const struct times *times)
{
	if (times->nr)
		fprintf(out,
			", \"%s\": {\"nr\": %zu, \"median\": %.3f, \"p99\": %.3f, \"max\": %.3f}",
			name, times->nr, times->median, times->p99, times->max);
}

static void put_maps(FILE *out, const struct maps *maps)
{
	const char *comma = "";
	size_t i;

	fputs(", \"maps\": [", out);
	for (i = 0; i < maps->nr; i++) {
		const struct vma *vma = &maps->vma[i];

		if (!vma->read)
			continue;
		fprintf(out, "%s[\"%#llx\", \"%#llx\", ", comma, vma->start, vma->end);
		json_string(out, vma->name);
		fputc(']', out);
		comma = ", ";
	}
	fputc(']', out);
}

static void put_runs(FILE *out, const char *name, const struct runs *runs)
{
	const char *comma = "";
	size_t i;

	fprintf(out, ", \"%s\": [", name);
	for (i = 0; i < runs->nr; i++) {
		const struct run *run = &runs->run[i];

		if (run->shade == SHADE_MAPPED)
			continue;
		fprintf(out, "%s[\"%#llx\", \"%#llx\", \"%c\"]", comma, run->start,
			run->end, shade_letter(run->shade));
		comma = ", ";
	}
	fputc(']', out);
}

static int put_tail(FILE *out)
{
	fputs("}\n", out);
	return output_error(out);
}

int stream_picture(FILE *out, const struct sample *sample)
{
	put_head(out, "picture", sample);
	fputs(", \"name\": ", out);
	json_string(out, sample->name);
	fprintf(out, ", \"page_size\": %ld, \"stats\": {", sysconf(_SC_PAGESIZE));
	json_stats(out, &sample->stats, ", ");
	fputc('}', out);
	put_times(out, "fault_us", &sample->fault);
	put_times(out, "read_us", &sample->read);
	put_maps(out, &sample->maps);
	put_runs(out, "cpu", &sample->cpu);
	put_runs(out, "device", &sample->device);
	return put_tail(out);
}

int stream_end(FILE *out, const struct sample *sample)
{
	put_head(out, "end", sample);
	return put_tail(out);
}

static __u64 get_address(struct parse *parse)
{
	char text[24], *end;
	__u64 value;

	parse_string(parse, text, sizeof(text));
	value = strtoull(text, &end, 16);
	if (!parse->error && (!*text || *end))
		parse->error = "an address such as \"0x7f00a000\"";
	return value;
}

static void next(struct parse *parse)
{
	if (!parse_element(parse) && !parse->error)
		parse->error = "[START, END, TEXT]";
}

/* The next element of an array of these: a piece of memory, and a text. */
static bool get_piece(struct parse *parse, __u64 *start, __u64 *end, char *text,
		      size_t size)
{
	if (!parse_element(parse))
		return false;
	parse_enter(parse, '[');
	next(parse);
	*start = get_address(parse);
	next(parse);
	*end = get_address(parse);
	next(parse);
	parse_string(parse, text, size);
	if (!parse->error && *start >= *end)
		parse->error = "END above START";
	if (parse_element(parse))
		parse->error = "the end of [START, END, TEXT]";
	return !parse->error;
}

static void get_maps(struct parse *parse, struct sample *sample)
{
	struct vma vma = { .read = true };

	parse_enter(parse, '[');
	while (get_piece(parse, &vma.start, &vma.end, vma.name, sizeof(vma.name)))
		if (maps_add(&sample->maps, &vma))
			parse->error = "more memory";
}

static void get_runs(struct parse *parse, struct runs *runs)
{
	__u64 start, end;
	char letter[2];

	parse_enter(parse, '[');
	while (get_piece(parse, &start, &end, letter, sizeof(letter)))
		if (runs_add(runs, start, end, shade_find(*letter)))
			parse->error = "more memory";
}

/* From 0 to @max: so that it fits, and an axis of time has an end. */
static double get_number(struct parse *parse, double max)
{
	double value = parse_number(parse);

	if (!parse->error && !(value >= 0 && value <= max))
		parse->error = "a number within reason";
	return parse->error ? 0 : value;
}

static enum stream_type get_type(struct parse *parse)
{
	char text[16];

	parse_string(parse, text, sizeof(text));
	if (!strcmp(text, "picture"))
		return STREAM_PICTURE;
	return strcmp(text, "end") ? STREAM_OTHER : STREAM_END;
}

const char *stream_read(const char *line, enum stream_type *type,
			struct sample *sample, size_t *column)
{
	struct parse parse = { .at = line };
	char key[16];

	*type = STREAM_OTHER;
	parse_enter(&parse, '{');
	while (parse_key(&parse, key, sizeof(key))) {
		if (!strcmp(key, "type"))
			*type = get_type(&parse);
		else if (!strcmp(key, "time"))
			sample->time = get_number(&parse, 1e9);
		else if (!strcmp(key, "pid"))
			sample->pid = get_number(&parse, INT32_MAX);
		else if (!strcmp(key, "space"))
			sample->space = get_number(&parse, INT32_MAX);
		else if (!strcmp(key, "name"))
			parse_string(&parse, sample->name, sizeof(sample->name));
		else if (!strcmp(key, "maps"))
			get_maps(&parse, sample);
		else if (!strcmp(key, "cpu"))
			get_runs(&parse, &sample->cpu);
		else if (!strcmp(key, "device"))
			get_runs(&parse, &sample->device);
		else
			parse_skip(&parse);
	}
	parse_end(&parse);
	*column = parse.at - line + 1;
	return parse.error;
}
