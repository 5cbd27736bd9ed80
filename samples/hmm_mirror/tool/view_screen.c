// SPDX-License-Identifier: GPL-2.0
/*
 * A screen of text: the terminal's, or one page on standard output.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "view_screen.h"

#define ROWS_MAX	200
#define COLUMNS_MAX	400
#define LINE_MAX	8192	/* bytes: the text, and its styles */
#define ESCAPE_MS	50	/* between the bytes that a key sends, at most */

/* The other screen that a terminal has, without a cursor. */
#define ENTER	"\033[?1049h\033[?25l\033[0m\033[2J"
#define LEAVE	"\033[0m\033[?25h\033[?1049l"

struct line {
	char text[LINE_MAX];
	size_t len;
	int column;
};

static struct {
	bool entered;
	bool color;
	struct termios before;
	int rows;
	int columns;
	int row;		/* that is being written */
	struct line line[ROWS_MAX];
	struct line shown[ROWS_MAX];
	bool shown_valid;
	char keys[64];		/* that were read and not yet taken */
	size_t nr_keys;
} screen;

bool screen_possible(void)
{
	const char *term = getenv("TERM");

	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term &&
	       *term && strcmp(term, "dumb");
}

int screen_enter(void)
{
	static bool registered;
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &screen.before))
		return -errno;
	if (!registered && atexit(screen_leave))
		return -ENOMEM;
	registered = true;

	/* Ctrl-C and Ctrl-Z remain signals. */
	raw = screen.before;
	raw.c_lflag &= ~(ICANON | ECHO);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw))
		return -errno;
	screen.entered = true;
	fputs(ENTER, stdout);
	screen_resize();
	return 0;
}

void screen_leave(void)
{
	if (!screen.entered)
		return;
	screen.entered = false;
	fputs(LEAVE, stdout);
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &screen.before);
}

void screen_color(bool color)
{
	screen.color = color;
}

static int size_from(const char *name, int fallback)
{
	const char *text = getenv(name);
	int size = text ? atoi(text) : 0;

	return size > 0 ? size : fallback;
}

void screen_resize(void)
{
	struct winsize size = { };

	/* A serial line does not know its size, and says 0. */
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	screen.rows = size.ws_row ? size.ws_row : size_from("LINES", 24);
	screen.columns = size.ws_col ? size.ws_col : size_from("COLUMNS", 80);
	if (screen.rows > ROWS_MAX)
		screen.rows = ROWS_MAX;
	if (screen.columns > COLUMNS_MAX)
		screen.columns = COLUMNS_MAX;
	screen.shown_valid = false;
}

int screen_rows(void)
{
	return screen.rows;
}

int screen_columns(void)
{
	return screen.columns;
}

int screen_row(void)
{
	return screen.row;
}

/* The line that is being written; what is written below the last is lost. */
static struct line *line(void)
{
	return &screen.line[screen.row < ROWS_MAX ? screen.row : ROWS_MAX - 1];
}

static void add(struct line *line, const char *bytes, size_t len)
{
	if (line->len + len < sizeof(line->text)) {
		memcpy(line->text + line->len, bytes, len);
		line->len += len;
	}
}

static void add_style(struct line *line, const char *style)
{
	char text[24];

	add(line, text, snprintf(text, sizeof(text), "\033[%sm", style));
}

void screen_put(const char *style, const char *format, ...)
{
	struct line *to = line();
	char text[COLUMNS_MAX + 1];
	va_list args;
	int i, len;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);

	len = strlen(text);
	if (len > screen.columns - to->column)
		len = screen.columns - to->column;
	/* Names come from others: no escape sequence of theirs gets through. */
	for (i = 0; i < len; i++)
		if (text[i] < ' ' || text[i] > '~')
			text[i] = '?';
	/* Without colors, a terminal shows what is inverse; a page nothing. */
	if (!screen.color && !(screen.entered && style && !strcmp(style, "7")))
		style = NULL;
	if (style)
		add_style(to, style);
	add(to, text, len);
	if (style)
		add_style(to, "0");
	to->column += len;
}

void screen_repeat(const char *style, char c, int nr)
{
	char text[COLUMNS_MAX + 1] = "";

	memset(text, c, nr < COLUMNS_MAX ? nr : COLUMNS_MAX);
	screen_put(style, "%s", text);
}

void screen_column(int column)
{
	if (column > line()->column)
		screen_repeat(NULL, ' ', column - line()->column);
}

void screen_line(void)
{
	screen.row++;
	line()->len = 0;
	line()->column = 0;
}

/* Only the lines that differ from those that are there: it may be a slow line. */
static void show_changes(void)
{
	int i;

	for (i = 0; i < screen.rows; i++) {
		struct line *now = &screen.line[i], *shown = &screen.shown[i];

		if (i >= screen.row)
			now->len = 0;
		if (screen.shown_valid && now->len == shown->len &&
		    !memcmp(now->text, shown->text, now->len))
			continue;
		printf("\033[%d;1H\033[0m\033[K", i + 1);
		fwrite(now->text, 1, now->len, stdout);
		shown->len = now->len;
		memcpy(shown->text, now->text, now->len);
	}
	screen.shown_valid = true;
}

static void show_page(void)
{
	int i;

	for (i = 0; i < screen.row; i++) {
		fwrite(screen.line[i].text, 1, screen.line[i].len, stdout);
		putchar('\n');
	}
}

void screen_show(void)
{
	if (screen.entered)
		show_changes();
	else
		show_page();
	fflush(stdout);
	screen.row = 0;
	screen.line[0].len = 0;
	screen.line[0].column = 0;
}

static bool keys_wait(int ms)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
	ssize_t len;

	if (screen.nr_keys == sizeof(screen.keys) || poll(&input, 1, ms) <= 0)
		return false;
	len = read(STDIN_FILENO, screen.keys + screen.nr_keys,
		   sizeof(screen.keys) - screen.nr_keys);
	if (len <= 0)
		return false;
	screen.nr_keys += len;
	return true;
}

static void keys_drop(size_t nr)
{
	screen.nr_keys -= nr;
	memmove(screen.keys, screen.keys + nr, screen.nr_keys);
}

/*
 * What a key sends that is no character: ESC [ or ESC O, parameters, a final
 * byte. A slow line may deliver that in pieces; ESC by itself is a key, too.
 */
static int key_sequence(void)
{
	static const struct {
		const char *text;
		int key;
	} sequences[] = {
		{ "A", KEY_UP }, { "B", KEY_DOWN }, { "C", KEY_RIGHT },
		{ "D", KEY_LEFT }, { "H", KEY_HOME }, { "F", KEY_END },
		{ "1~", KEY_HOME }, { "4~", KEY_END }, { "7~", KEY_HOME },
		{ "8~", KEY_END }, { "5~", KEY_PAGE_UP }, { "6~", KEY_PAGE_DOWN },
	};
	int key = KEY_OTHER;
	size_t i, len = 2;

	while (screen.nr_keys < 2)
		if (!keys_wait(ESCAPE_MS)) {
			keys_drop(1);
			return KEY_ESCAPE;
		}
	if (screen.keys[1] != '[' && screen.keys[1] != 'O') {
		keys_drop(1);
		return KEY_ESCAPE;
	}
	while (len < screen.nr_keys || keys_wait(ESCAPE_MS))
		if (screen.keys[len++] >= '@') /* '~' is one, too */
			break;
	for (i = 0; i < sizeof(sequences) / sizeof(*sequences); i++)
		if (strlen(sequences[i].text) == len - 2 &&
		    !memcmp(sequences[i].text, screen.keys + 2, len - 2))
			key = sequences[i].key;
	keys_drop(len);
	return key;
}

int screen_key(void)
{
	int key;

	if (!screen.nr_keys && !keys_wait(0))
		return KEY_NONE;
	if (*screen.keys == KEY_ESCAPE)
		return key_sequence();
	key = (unsigned char)*screen.keys;
	keys_drop(1);
	return key;
}
