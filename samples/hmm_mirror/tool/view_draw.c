// SPDX-License-Identifier: GPL-2.0
/*
 * What the command view puts on the screen.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd_view.h"
#include "view_screen.h"

#define ADDRESS		13	/* columns, with the space behind */
#define NAME_LEAST	11
#define FRAMES		5	/* bars around the cells, and a space */
#define ROWS_LEAST	12
#define COLUMNS_LEAST	60
#define LINES_ABOVE	5	/* the grid */
#define LINES_BELOW	3

#define TITLE		"7"
#define HEADING		"1"
#define FAINT		"2"
#define CURSOR		"7"

static void draw_bytes(__u64 bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	size_t i = 0;

	while (bytes >= 1024 && i + 1 < ARRAY_SIZE(units)) {
		bytes /= 1024;
		i++;
	}
	screen_put(NULL, "%llu %s", bytes, units[i]);
}

static void draw_title(const struct view *view)
{
	const struct sample *sample = &view->watch.sample;
	const char *state = view->paused ? "PAUSED" : "";
	char text[128];

	snprintf(text, sizeof(text), " hmm-mirror view  process %d: %s  %s", sample->pid,
		 sample->name, view->watch.device);
	screen_put(TITLE, "%-*.*s", screen_columns() - 18, screen_columns() - 18, text);
	screen_put(TITLE, "%7s %7.1f s ", state, sample->time);
	screen_line();
}

/* How many of the CPU's pages the device has. */
static size_t mirrored(const struct watch *watch)
{
	size_t i, nr = 0;

	for (i = 0; i < watch->cpu.nr; i++)
		if (entries_find(&watch->table, watch->cpu.entry[i].addr))
			nr++;
	return nr;
}

static void draw_numbers(const struct view *view)
{
	const struct watch *watch = &view->watch;
	const struct sample *sample = &watch->sample;
	const struct rates *rates = &watch->rates;
	size_t both = mirrored(watch);

	screen_put(HEADING, " mirrored  ");
	screen_put(NULL, "%zu of %zu pages", both, watch->cpu.nr);
	if (watch->cpu.nr)
		screen_put(NULL, ", %zu %%", 100 * both / watch->cpu.nr);
	screen_put(NULL, "; the device has %zu entries in %llu tables", watch->table.nr,
		   sample->stats.tables);
	screen_line();

	screen_put(HEADING, " a second  ");
	screen_put(NULL, "%.0f pages in, %.0f out; %.0f faults, %.0f retries, %.0f invalidations",
		   rates->in, rates->out, rates->faults, rates->retries,
		   rates->invalidations);
	screen_line();

	screen_put(HEADING, " latency   ");
	if (sample->fault.nr)
		screen_put(NULL, "fault %.1f us, 99 %%: %.1f, max %.1f", sample->fault.median,
			   sample->fault.p99, sample->fault.max);
	if (sample->read.nr)
		screen_put(NULL, "; read %.1f us, 99 %%: %.1f", sample->read.median,
			   sample->read.p99);
	screen_line();
}

/* One side of a row; @cursor is the cell to mark, or -1. */
static void draw_cells(const enum shade *cell, size_t cells, ssize_t cursor)
{
	size_t i, nr;

	screen_put(FAINT, "|");
	for (i = 0; i < cells; i += nr) {
		bool marked = (ssize_t)i == cursor;

		/* In one go what is alike. */
		for (nr = 1; !marked && i + nr < cells; nr++)
			if (cell[i + nr] != cell[i] || (ssize_t)(i + nr) == cursor)
				break;
		screen_repeat(marked ? CURSOR : shade_ansi(cell[i]),
			      shade_letter(cell[i]), nr);
	}
	screen_put(FAINT, "|");
}

static int draw_grid(struct view *view, int left)
{
	const struct sample *sample = &view->watch.sample;
	const size_t cells = view->grid.cells;
	enum shade *cpu = NULL, *device = NULL;
	struct layout layout;
	const char *name = "";
	int ret = -ENOMEM;
	size_t i;

	if (grid_layout(&view->grid, view->top, view->height, &layout))
		return -ENOMEM;
	cpu = calloc(layout.cells + 1, sizeof(*cpu));
	device = calloc(layout.cells + 1, sizeof(*device));
	if (!cpu || !device)
		goto out;
	runs_paint(&sample->cpu, &layout, cpu);
	runs_paint(&sample->device, &layout, device);

	for (i = 0; i < layout.nr; i++) {
		const struct region *row = &layout.region[i];
		bool marked = view->live && view->cursor >= row->start &&
			      view->cursor < row->end;
		ssize_t cursor = -1;
		/* Where addresses go on after a hole, a tick says so. */
		bool hole = i && row->start != row[-1].end;

		if (marked)
			cursor = (view->cursor - row->start) / view->grid.cell;
		screen_put(hole ? HEADING : FAINT, "%012llx", row->start);
		screen_put(NULL, hole ? "'" : " ");
		if (!i || strcmp(name, row->name))
			screen_put(NULL, "%.*s", left - ADDRESS - 1, row->name);
		name = row->name;
		screen_column(left);
		draw_cells(cpu + row->first, cells, cursor);
		screen_put(NULL, " ");
		draw_cells(device + row->first, cells, cursor);
		screen_line();
	}
	ret = 0;
out:
	free(cpu);
	free(device);
	layout_free(&layout);
	return ret;
}

/* How many pages of each shade there are in the cell. */
static void draw_counts(const char *side, const struct runs *runs, __u64 start,
			__u64 end)
{
	const __u64 page = sysconf(_SC_PAGESIZE);
	__u64 pages[SHADE_NR] = { };
	bool any = false;
	size_t i;

	for (i = 0; i < runs->nr; i++) {
		const struct run *run = &runs->run[i];
		__u64 from = run->start > start ? run->start : start;
		__u64 to = run->end < end ? run->end : end;

		if (from < to)
			pages[run->shade] += (to - from) / page;
	}
	screen_put(HEADING, "%s", side);
	for (i = SHADE_READ; i < SHADE_NR; i++) {
		if (!pages[i])
			continue;
		screen_put(NULL, " %llu", pages[i]);
		screen_put(shade_ansi(i), "%c", shade_letter(i));
		any = true;
	}
	if (!any)
		screen_put(NULL, " none");
}

static void draw_frame(const struct entries *entries, __u64 addr)
{
	const struct hmm_mirror_entry *entry = entries_find(entries, addr);

	if (entry)
		screen_put(NULL, " frame %#llx", entry->pfn);
}

/* The cell under the cursor. */
static void draw_cursor(const struct view *view)
{
	const __u64 start = view->cursor, end = start + view->grid.cell;
	const struct watch *watch = &view->watch;
	const struct vma *vma = NULL;
	size_t i;

	for (i = 0; !vma && i < watch->sample.maps.nr; i++)
		if (watch->sample.maps.vma[i].end > start &&
		    watch->sample.maps.vma[i].start < end)
			vma = &watch->sample.maps.vma[i];

	screen_put(HEADING, " %012llx ", start);
	draw_bytes(view->grid.cell);
	if (vma)
		screen_put(NULL, "  %s%s %.20s", vma->read ? "r" : "-",
			   vma->write ? "w" : "-", *vma->name ? vma->name : "anonymous");
	screen_put(NULL, "  ");
	draw_counts("CPU", &watch->sample.cpu, start, end);
	if (view->grid.cell == (__u64)sysconf(_SC_PAGESIZE))
		draw_frame(&watch->cpu, start);
	screen_put(NULL, "  ");
	draw_counts("device", &watch->sample.device, start, end);
	if (view->grid.cell == (__u64)sysconf(_SC_PAGESIZE))
		draw_frame(&watch->table, start);
	screen_line();
}

static void draw_legend(void)
{
	static const char *const texts[SHADE_NR] = {
		[SHADE_MAPPED] = "no entry",
		[SHADE_READ] = "read",
		[SHADE_WRITE] = "write",
		[SHADE_HUGE] = "huge",
		[SHADE_NEW] = "just faulted in",
		[SHADE_GONE] = "just invalidated",
	};
	enum shade shade;

	screen_put(NULL, " ");
	for (shade = SHADE_MAPPED; shade < SHADE_NR; shade++) {
		screen_put(shade_ansi(shade), "%c", shade_letter(shade));
		screen_put(NULL, " %s  ", texts[shade]);
	}
	screen_line();
}

static void draw_keys(const struct view *view)
{
	if (view->asking) {
		screen_put(HEADING, " address, or part of a mapping's name: ");
		screen_put(NULL, "%s", view->answer);
		screen_put(CURSOR, " ");
	} else if (*view->message) {
		screen_put(HEADING, " %s", view->message);
	} else {
		screen_put(FAINT,
			   " q quit  space %s  arrows move  + - zoom  0 all  g go to  ? help",
			   view->paused ? "go on" : "pause");
	}
	screen_line();
}

static void draw_help(void)
{
	static const char *const lines[] = {
		"A row is a piece of the address space, on the left as the CPU's page table",
		"has it, on the right as the device's. A cell shows the last that holds of",
		"the legend for any of its pages; the line below the rows counts them, for",
		"the cell under the cursor. A bold address comes after a hole.",
		"",
		"space      stop the picture, and the device; go on",
		"arrows     move the cursor; Page Up, Page Down, Home, End",
		"+ -        zoom in to the cursor, down to single pages; zoom out",
		"0          zoom out to all of the memory",
		"g          go to an address, or to a mapping by a part of its name",
		"q          quit; so does Ctrl-C. The process goes on.",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		screen_put(NULL, " %s", lines[i]);
		screen_line();
	}
}

static void scroll(struct view *view)
{
	size_t rows = grid_rows(&view->grid);
	size_t row = grid_find(&view->grid, view->cursor);
	__u64 start = grid_start(&view->grid, row);
	__u64 end = start + view->grid.cell * view->grid.cells;

	/* The cursor is where something is mapped, and on a cell. */
	if (view->cursor < start)
		view->cursor = start;
	if (view->cursor >= end)
		view->cursor = end - 1;
	view->cursor &= ~(view->grid.cell - 1);

	if (row < view->top)
		view->top = row;
	if (row >= view->top + view->height)
		view->top = row - view->height + 1;
	if (view->top + view->height > rows)
		view->top = rows > view->height ? rows - view->height : 0;
}

int view_draw(struct view *view)
{
	const struct maps *maps = &view->watch.sample.maps;
	const int columns = screen_columns(), rows = screen_rows();
	int left, ret = 0;
	size_t cells;

	if (rows < ROWS_LEAST || columns < COLUMNS_LEAST) {
		screen_put(NULL, "%dx%d is too small: %dx%d", columns, rows,
			   COLUMNS_LEAST, ROWS_LEAST);
		screen_line();
		screen_show();
		return 0;
	}
	cells = (columns - ADDRESS - NAME_LEAST - FRAMES) / 2 / GRID_ALIGN * GRID_ALIGN;
	left = columns - 2 * cells - FRAMES;
	view->height = rows - LINES_ABOVE - LINES_BELOW;
	view->grid = (struct grid){ .maps = maps, .cell = view->cell, .cells = cells };
	if (!view->cell)
		view->grid.cell = grid_fit(maps, cells, view->height);
	scroll(view);

	draw_title(view);
	draw_numbers(view);
	screen_put(NULL, " a cell is ");
	draw_bytes(view->grid.cell);
	screen_column(left + 1);
	screen_put(HEADING, "CPU");
	screen_column(left + cells + 4);
	screen_put(HEADING, "device");
	screen_line();
	if (view->help)
		draw_help();
	else
		ret = draw_grid(view, left);
	while (view->live && screen_row() < rows - LINES_BELOW)
		screen_line();
	if (view->live)
		draw_cursor(view);
	draw_legend();
	if (view->live)
		draw_keys(view);
	screen_show();
	return ret;
}
