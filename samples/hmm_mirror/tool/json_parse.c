// SPDX-License-Identifier: GPL-2.0
/*
 * Reads JSON, from the beginning to the end: what comes next, and nothing else.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_parse.h"

#define DEPTH_MAX	32	/* parse_skip() calls itself */

static char peek(struct parse *parse)
{
	if (parse->error)
		return '\0';
	parse->at += strspn(parse->at, " \t\r\n");
	return *parse->at;
}

static void fail(struct parse *parse, const char *expected)
{
	if (!parse->error)
		parse->error = expected;
}

static bool take(struct parse *parse, char c)
{
	if (peek(parse) != c)
		return false;
	parse->at++;
	return true;
}

void parse_enter(struct parse *parse, char bracket)
{
	if (parse->depth == DEPTH_MAX)
		fail(parse, "no more brackets within brackets");
	else if (!take(parse, bracket))
		fail(parse, bracket == '{' ? "'{'" : "'['");
	parse->depth++;
}

/* Is there more before @bracket? */
static bool more(struct parse *parse, char bracket)
{
	bool first;

	if (parse->error)
		return false;
	first = strchr("{[", parse->at[-1]);
	if (take(parse, bracket)) {
		parse->depth--;
		return false;
	}
	if (!first && !take(parse, ','))
		fail(parse, bracket == '}' ? "',' or '}'" : "',' or ']'");
	return !parse->error;
}

bool parse_key(struct parse *parse, char *key, size_t size)
{
	if (!more(parse, '}'))
		return false;
	parse_string(parse, key, size);
	if (!take(parse, ':'))
		fail(parse, "':'");
	return !parse->error;
}

bool parse_element(struct parse *parse)
{
	return more(parse, ']');
}

/* What follows a backslash. Only Latin-1 is kept; json_string() writes no more. */
static char escaped(struct parse *parse)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *found = *parse->at ? strchr(from, *parse->at) : NULL;
	char digits[5] = "";

	if (found) {
		parse->at++;
		return to[found - from];
	}
	if (*parse->at == 'u')
		snprintf(digits, sizeof(digits), "%.4s", parse->at + 1);
	if (strspn(digits, "0123456789abcdefABCDEF") != 4) {
		fail(parse, "an escape as JSON has it");
		return '?';
	}
	parse->at += 5;
	return strtoul(digits, NULL, 16) > 0xff ? '?' : strtoul(digits, NULL, 16);
}

void parse_string(struct parse *parse, char *text, size_t size)
{
	size_t nr = 0;

	if (!take(parse, '"'))
		fail(parse, "'\"'");
	while (!parse->error && *parse->at != '"') {
		char c = *parse->at;

		if (!c) {
			fail(parse, "the end of a string");
			break;
		}
		parse->at++;
		if (c == '\\')
			c = escaped(parse);
		if (nr + 1 < size)
			text[nr++] = c;
	}
	text[nr] = '\0';
	if (!parse->error)
		parse->at++;
}

double parse_number(struct parse *parse)
{
	char c = peek(parse), *end;
	double value;

	/* Not what strtod() knows beyond JSON. */
	if (c != '-' && !isdigit((unsigned char)c)) {
		fail(parse, "a number");
		return 0;
	}
	value = strtod(parse->at, &end);
	parse->at = end;
	return value;
}

static bool skip_word(struct parse *parse, const char *word)
{
	if (strncmp(parse->at, word, strlen(word)))
		return false;
	parse->at += strlen(word);
	return true;
}

void parse_skip(struct parse *parse)
{
	char text[2];

	switch (peek(parse)) {
	case '{':
		parse_enter(parse, '{');
		while (parse_key(parse, text, sizeof(text)))
			parse_skip(parse);
		break;
	case '[':
		parse_enter(parse, '[');
		while (parse_element(parse))
			parse_skip(parse);
		break;
	case '"':
		parse_string(parse, text, sizeof(text));
		break;
	default:
		if (!skip_word(parse, "true") && !skip_word(parse, "false") &&
		    !skip_word(parse, "null"))
			parse_number(parse);
	}
}

void parse_end(struct parse *parse)
{
	if (peek(parse))
		fail(parse, "nothing more");
}
