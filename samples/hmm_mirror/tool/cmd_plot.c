// SPDX-License-Identifier: GPL-2.0
/*
 * Draws what was recorded: reads the stream, and sorts it by address spaces.
 */
#include <err.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd_plot.h"
#include "complain.h"
#include "json_stream.h"
#include "svg.h"

const char plot_help[] =
"Draws an SVG of what was recorded of page tables, over time.\n"
"\n"
"Usage: hmm-mirror plot [--heat] [--title TEXT] [FILE] >PICTURE.svg\n"
"\n"
"Without --heat, a timeline: what the device's page table has. With --heat, how much\n"
"of it invalidations take out, and where. FILE, or the standard input, is what\n"
"'run --record FILE', 'attach --record FILE' or 'view --json' have written:\n"
"\n"
STREAM_FORMAT;

struct record {
	struct history *history;
	size_t nr;
};

static struct history *history_find(struct record *record, const struct sample *sample)
{
	struct history *array;
	size_t i;

	for (i = record->nr; i > 0; i--)
		if (record->history[i - 1].space == sample->space &&
		    record->history[i - 1].pid == sample->pid)
			return &record->history[i - 1];
	array = realloc(record->history, (record->nr + 1) * sizeof(*array));
	if (!array)
		return NULL;
	record->history = array;
	array[record->nr] = (struct history){
		.pid = sample->pid, .space = sample->space,
	};
	return &array[record->nr++];
}

static bool maps_has(const struct maps *maps, const struct vma *vma)
{
	size_t i;

	for (i = 0; i < maps->nr; i++)
		if (maps->vma[i].start == vma->start &&
		    maps->vma[i].end == vma->end &&
		    !strcmp(maps->vma[i].name, vma->name))
			return true;
	return false;
}

/* Takes over @sample, but for what is not drawn. */
static int history_add(struct history *history, struct sample *sample)
{
	struct sample *last = history->nr ? &history->sample[history->nr - 1] : NULL;
	size_t i;
	int ret = 0;

	if (last && sample->time < last->time)
		return -EINVAL;
	if (history->nr == history->capacity) {
		size_t capacity = 2 * history->capacity + 64;
		void *array = realloc(history->sample,
				      capacity * sizeof(*history->sample));

		if (!array)
			return -ENOMEM;
		history->sample = array;
		history->capacity = capacity;
	}
	for (i = 0; !ret && i < sample->maps.nr; i++)
		if (!maps_has(&history->seen, &sample->maps.vma[i]))
			ret = maps_add(&history->seen, &sample->maps.vma[i]);
	/* Below what there are entries for. */
	if (!ret)
		ret = runs_maps(&sample->device, &sample->maps);
	if (ret)
		return ret;
	maps_free(&sample->maps);
	runs_free(&sample->cpu);
	history->sample[history->nr++] = *sample;
	history->end = sample->time;
	*sample = (struct sample){ };
	return 0;
}

static int record_add(struct record *record, enum stream_type type,
		      struct sample *sample)
{
	struct history *history;

	if (type == STREAM_OTHER)
		return 0;
	history = history_find(record, sample);
	if (!history)
		return -ENOMEM;
	if (type == STREAM_PICTURE)
		return history_add(history, sample);
	history->end = fmax(history->end, sample->time);
	return 0;
}

/* Of an address space that was too short-lived for a picture, none is drawn. */
static void record_tidy(struct record *record)
{
	size_t i, nr = 0;

	for (i = 0; i < record->nr; i++)
		if (record->history[i].nr)
			record->history[nr++] = record->history[i];
	record->nr = nr;
}

static void record_free(struct record *record)
{
	size_t i, j;

	for (i = 0; i < record->nr; i++) {
		struct history *history = &record->history[i];

		for (j = 0; j < history->nr; j++)
			sample_free(&history->sample[j]);
		free(history->sample);
		maps_free(&history->seen);
	}
	free(record->history);
}

static int record_read(struct record *record, FILE *in, const char *name)
{
	size_t size = 0, number = 0;
	char *line = NULL;
	int ret = 0;

	while (!ret && getline(&line, &size, in) > 0) {
		struct sample sample = { };
		enum stream_type type;
		const char *error;
		size_t column;

		number++;
		error = stream_read(line, &type, &sample, &column);
		if (error) {
			warnx("%s:%zu:%zu: expected %s; is it what --record or view --json wrote?",
			      name, number, column, error);
			ret = -EINVAL;
		} else {
			ret = record_add(record, type, &sample);
			if (ret)
				warnx("%s:%zu: %s", name, number, ret == -EINVAL ?
				      "goes back in time; is it more than one record?" :
				      strerror(-ret));
		}
		sample_free(&sample);
	}
	if (!ret && ferror(in)) {
		ret = -errno;
		warnx("cannot read %s: %s", name, strerror(errno));
	}
	free(line);
	return ret;
}

int plot(const char *path, const char *title, bool heat)
{
	const char *name = path ?: "standard input";
	FILE *in = path ? fopen(path, "re") : stdin;
	struct record record = { };
	int ret;

	if (!in) {
		ret = -errno;
		warnx("cannot open %s: %s", path, strerror(errno));
		return ret;
	}
	ret = record_read(&record, in, name);
	if (path)
		fclose(in);
	record_tidy(&record);
	if (!ret && !record.nr) {
		warnx("%s: there is no picture in it", name);
		ret = -ENODATA;
	}
	if (!ret) {
		ret = svg_draw(stdout, title ?: record.history[0].sample[0].name,
			       record.history, record.nr, heat);
		if (!ret)
			ret = output_error(stdout);
		if (ret)
			warnx("cannot draw: %s", strerror(-ret));
	}
	record_free(&record);
	return ret;
}
