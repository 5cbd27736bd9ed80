// SPDX-License-Identifier: GPL-2.0
/*
 * The workload's checks: what the device must see of a change, and must not.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "workload.h"

/* Data that differ have no errno value of their own here. */
#define OTHER_DATA	1

void expect(bool condition, const char *format, ...)
{
	va_list args;

	work.checks++;
	if (condition)
		return;
	work.failures++;
	fputs("workload: FAILED: ", stdout);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

static const char *reason(int ret)
{
	return ret == OTHER_DATA ? "the data differ" : strerror(-ret);
}

struct stamp *stamp_at(char *memory, size_t i)
{
	return (struct stamp *)(memory + i * work.page);
}

/* The process stamps its memory. */
static void stamp(char *memory, size_t size)
{
	const size_t first = (memory - work.arena) / work.page;
	size_t i;

	work.generation++;
	for (i = 0; i < size / work.page; i++) {
		stamp_at(memory, i)->number = first + i + 1;
		stamp_at(memory, i)->generation = work.generation;
	}
}

void device_sees(char *memory, size_t size)
{
	static char seen[ARENA_SIZE];
	size_t i, done = 0;
	int ret;

	ret = device_read(work.fd, (uintptr_t)memory, seen, size, &done);
	for (i = 0; i < done / work.page; i++) {
		const struct stamp *real = stamp_at(memory, i);
		const struct stamp *device = stamp_at(seen, i);

		if (device->number != real->number ||
		    device->generation != real->generation ||
		    device->mail != real->mail) {
			ret = OTHER_DATA;
			break;
		}
	}
	expect(!ret, "the device cannot see page %zu: %s", i, reason(ret));
}

void device_writes(char *memory, size_t size)
{
	int ret = 0;
	size_t i;

	for (i = 0; !ret && i < size / work.page; i++) {
		struct stamp *real = stamp_at(memory, i);
		__u64 mail = ++work.mail;

		ret = device_write(work.fd, (uintptr_t)&real->mail, &mail,
				   sizeof(mail), NULL);
		if (!ret && real->mail != mail)
			ret = OTHER_DATA;
	}
	expect(!ret, "the process cannot see what the device wrote to page %zu: %s",
	       i, reason(ret));
}

void device_refuses(char *addr, bool write, int error)
{
	__u64 mail = 0;
	int ret;

	if (write)
		ret = device_write(work.fd, (uintptr_t)addr, &mail,
				   sizeof(mail), NULL);
	else
		ret = device_read(work.fd, (uintptr_t)addr, &mail,
				  sizeof(mail), NULL);
	expect(ret == error, "the device may %s %p: %s, not %s",
	       write ? "write to" : "read", addr, strerror(-ret),
	       strerror(-error));
}

void device_forgot(char *memory, size_t size)
{
	struct entries entries = { };
	int ret;

	ret = device_dump(work.fd, (uintptr_t)memory, (uintptr_t)memory + size,
			  &entries);
	expect(!ret && !entries.nr, "the device still has %zu pages at %p",
	       entries.nr, memory);
	entries_free(&entries);
}

size_t device_has(char *memory, size_t size, __u32 flags, __u32 order)
{
	struct entries entries = { };
	size_t i, nr = 0;

	if (device_dump(work.fd, (uintptr_t)memory, (uintptr_t)memory + size,
			&entries))
		entries.nr = 0;
	for (i = 0; i < entries.nr; i++)
		if ((entries.entry[i].flags & flags) == flags &&
		    entries.entry[i].order >= order)
			nr++;
	entries_free(&entries);
	return nr;
}

void in_step(void)
{
	__u64 stale = work.verify.stale;
	int ret;

	ret = verify_context(work.fd, getpid(), &work.verify, stdout);
	expect(!ret && work.verify.stale == stale,
	       "the page tables are not in step: %s", strerror(-ret));
}

void check(char *memory, size_t size)
{
	in_step();
	stamp(memory, size);
	device_sees(memory, size);
	device_writes(memory, size);
	in_step();
}
