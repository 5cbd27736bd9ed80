/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A screen of text: the terminal's, or one page on standard output.
 *
 * Plain escape sequences of ECMA-48, which terminals and their emulators have in
 * common, and termios. That does for a screen that is written line by line, and
 * a sample needs no library then.
 */
#ifndef HMM_MIRROR_VIEW_SCREEN_H
#define HMM_MIRROR_VIEW_SCREEN_H

#include <stdbool.h>

/* Keys that are no characters. */
enum {
	KEY_NONE,
	KEY_BACKSPACE = 8,
	KEY_ESCAPE = 27,
	KEY_UP = 256, KEY_DOWN, KEY_LEFT, KEY_RIGHT,
	KEY_PAGE_UP, KEY_PAGE_DOWN, KEY_HOME, KEY_END,
	KEY_OTHER,
};

/* Can there be a picture that moves? */
bool screen_possible(void);

/*
 * Takes the terminal, and gives it back as it was: on exit() too, but not when
 * a signal kills us. Returns 0 or a negative errno value.
 */
int screen_enter(void);
void screen_leave(void);

/* Whether styles are used. Otherwise they are left out. */
void screen_color(bool color);

/* Asks for the size; what was shown is drawn anew. */
void screen_resize(void);
int screen_rows(void);
int screen_columns(void);

/*
 * A screen is written line by line, from the top, and shown by screen_show().
 * What does not fit is cut off. @style is as in "\033[%sm", or NULL.
 */
void screen_put(const char *style, const char *format, ...);
void screen_repeat(const char *style, char c, int nr);
void screen_column(int column);	/* spaces up to there */
void screen_line(void);		/* the next line */
int screen_row(void);		/* how many lines there are by now */
void screen_show(void);

/* The next key that was pressed, or KEY_NONE. */
int screen_key(void);

#endif /* HMM_MIRROR_VIEW_SCREEN_H */
