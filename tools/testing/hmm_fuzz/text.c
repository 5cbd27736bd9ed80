// SPDX-License-Identifier: GPL-2.0
/*
 * Programs as text, to be read, and to be run again by --replay:
 *
 *	0: open(fd=0, rust=0x1);
 *	0: bind(fd=0, pidfd=0x8, flags=0, arg=0x156789ab0000);	// itself argument
 *	race
 *	0: map(fd=0, ...);
 *	1: munmap(addr=0x200000000000, len=0x1000);
 *
 * The number is that of the thread; until there is a race it only says whose argument
 * is meant.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

const char *errno_name(int error)
{
	const char *name = error ? strerrorname_np(error) : "success";

	return name ? name : "no errno";
}

static void print_remark(FILE *file, __u64 value)
{
	if (value >= ARENA && value <= ARENA + ARENA_SIZE)
		fprintf(file, " arena+%#llx", value - ARENA);
	else if (value == ARGUMENT(0) || value == ARGUMENT(1))
		fprintf(file, " argument");
	else if (value == BUFFER)
		fprintf(file, " buffer");
}

static const char *slot_name(__u64 value)
{
	static const char * const names[SLOT_NR] = {
		[SLOT_CHILD ... SLOT_SELF - 1] = "a child", [SLOT_SELF] = "itself",
		[SLOT_DEAD] = "a dead process",
		[SLOT_ROOT] = "a process of root", [SLOT_KERNEL] = "a kernel thread",
		[SLOT_SETUID] = "a set-uid process", [SLOT_FILE] = "a file",
		[SLOT_CLOSED] = "closed",
	};

	return value < SLOT_NR ? names[value] : NULL;
}

static void print_call(FILE *file, const struct call *call)
{
	const struct arg *args = call_types[call->id].arg;
	unsigned int i;

	fprintf(file, "%s(", call_types[call->id].name);
	for (i = 0; i < MAX_ARGS && args[i].name; i++)
		fprintf(file, "%s%s=%#llx", i ? ", " : "", args[i].name, call->arg[i]);
	fputs(");\t//", file);
	for (i = 0; i < MAX_ARGS && args[i].name; i++) {
		if (args[i].type == ARG_PIDFD && slot_name(call->arg[i]))
			fprintf(file, " %s", slot_name(call->arg[i]));
		else if (args[i].type != ARG_LEN && args[i].type != ARG_PAGES)
			print_remark(file, call->arg[i]);
	}
	fputc('\n', file);
}

void program_print(FILE *file, const struct program *program)
{
	unsigned int i;

	for (i = 0; i < program->nr; i++) {
		if (i == program->race)
			fputs("race\n", file);
		/* Also says whose argument it is */
		fprintf(file, "%u: ", program->call[i].thread);
		print_call(file, &program->call[i]);
	}
	fflush(file);
}

static bool read_call(char *text, struct call *call)
{
	unsigned int thread = *text - '0', i;
	char *arg, *name;

	arg = strchr(text, '(');
	if (thread > 1 || strncmp(text + 1, ": ", 2) || !arg)
		return false;
	*arg++ = 0;
	name = text + 3;
	for (i = 0; i < CALL_NR && strcmp(name, call_types[i].name); i++)
		;
	if (i == CALL_NR)
		return false;
	*call = (struct call){ .id = i, .thread = thread };
	for (i = 0; i < MAX_ARGS && call_types[call->id].arg[i].name; i++) {
		arg = strchr(arg, '=');
		if (!arg)
			return false;
		call->arg[i] = strtoull(arg + 1, &arg, 0);
		if (!strchr(",)", *arg))
			return false;
	}
	return true;
}

int program_read(FILE *file, struct program *program)
{
	char line[512];
	int number = 0;

	*program = (struct program){ .race = MAX_CALLS };
	while (fgets(line, sizeof(line), file)) {
		number++;
		line[strcspn(line, "/\n")] = 0;
		if (!line[strspn(line, " \t")])
			continue;
		if (!strncmp(line, "race", 4)) {
			program->race = program->nr;
		} else if (program->nr == MAX_CALLS ||
			   !read_call(line, &program->call[program->nr++])) {
			return number;
		}
	}
	if (program->race > program->nr)
		program->race = program->nr;
	return program->nr ? 0 : number + 1;
}
