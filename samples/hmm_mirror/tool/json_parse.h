/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reads JSON, from the beginning to the end: what comes next, and nothing else.
 *
 * An error sticks: from then on there is nothing more in any object or array,
 * and numbers are 0 and strings empty. So it is enough to look at @error once,
 * at the end.
 */
#ifndef HMM_MIRROR_JSON_PARSE_H
#define HMM_MIRROR_JSON_PARSE_H

#include <stdbool.h>
#include <stddef.h>

struct parse {
	const char *at;
	const char *error;	/* what was expected there, or NULL */
	unsigned int depth;
};

/* Enters an object or an array: @bracket is '{' or '['. */
void parse_enter(struct parse *parse, char bracket);
/* Is there another member, and what is its name? Leaves the object if not. */
bool parse_key(struct parse *parse, char *key, size_t size);
/* Is there another element? Leaves the array if not. */
bool parse_element(struct parse *parse);

/* What is longer than @size is cut. */
void parse_string(struct parse *parse, char *text, size_t size);
double parse_number(struct parse *parse);
/* A value of any kind. */
void parse_skip(struct parse *parse);
/* There must be nothing behind. */
void parse_end(struct parse *parse);

#endif /* HMM_MIRROR_JSON_PARSE_H */
