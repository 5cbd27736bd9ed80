// SPDX-License-Identifier: GPL-2.0
/*
 * What may come of an ioctl, by hmm_mirror_uapi.h: which errors, and what is in the
 * structures afterwards.  What cannot be known when others are at it is asked only if
 * nobody is, see @exact.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "execute.h"

#define MOST_ENTRIES	512
#define NO_FRAME	0x10000000000ULL	/* more than any machine has */
#define NO_COUNT	0x100000000000000ULL	/* but addresses in the kernel are above that */

static void bad(const struct outcome *outcome, const char *format, ...)
{
	char text[200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	failed(outcome->program, outcome->call, "%s", text);
}

static bool documented(const struct outcome *outcome)
{
	const struct call *call = &outcome->program->call[outcome->call];
	char name[32];

	snprintf(name, sizeof(name), " %s ", errno_name(outcome->error));
	return strstr(call_types[call->id].errnos, name);
}

static bool in_address_space(__u64 addr, __u64 len)
{
	return addr + len >= addr && addr + len <= task_size;
}

/* Where no memory of the caller is, or ever will be */
static bool is_nowhere(__u64 buffer, __u64 len)
{
	return len && (buffer < PAGE || !in_address_space(buffer, len));
}

static void judge_bind(const struct outcome *outcome)
{
	const struct hmm_mirror_bind *bind = &outcome->before.bind;
	__u64 pidfd = outcome->program->call[outcome->call].arg[1];

	if (!outcome->error && bind->flags)
		bad(outcome, "unknown flags were accepted");
	if (!outcome->error && pidfd > SLOT_SELF && pidfd < SLOT_NR)
		bad(outcome, "a process that is not ours was bound");
	if (!outcome->exact || bind->flags)
		return;
	if (outcome->error == EBUSY && !outcome->bound)
		bad(outcome, "EBUSY, but it was not bound");
	if (outcome->error && outcome->error != ENOMEM && !outcome->bound && pidfd == SLOT_SELF)
		bad(outcome, "%s, but there is no reason", errno_name(outcome->error));
}

/*
 * How far a call has come: all of it if it succeeded; and if it failed less, or nothing
 * has been written if it did not even begin.
 */
static void judge_progress(const struct outcome *outcome, bool valid, __u64 all, __u64 before,
			   __u64 after)
{
	bool begun = outcome->error != EINVAL && outcome->error != ENXIO;

	if (!valid && outcome->error != EINVAL && outcome->error != ENOMEM)
		bad(outcome, "%s, but the argument is invalid", errno_name(outcome->error));
	/* What is below the page table of the device may be above its own end */
	if (outcome->error == EINVAL && valid && outcome->before.map.addr < (1ULL << 46))
		bad(outcome, "EINVAL, but the argument is valid");
	if (before == after && outcome->error)
		return;
	if (begun ? after > all : after != 0)
		bad(outcome, "%#llx of %#llx were done", after, all);
}

static void judge_map(const struct outcome *outcome)
{
	const struct hmm_mirror_map *before = &outcome->before.map, *after = &outcome->after.map;
	__u32 flags = before->flags & ~HMM_MIRROR_MAP_ASYNC;
	bool async = flags != before->flags;
	bool known = flags == 0 || flags == HMM_MIRROR_MAP_WRITE ||
		     flags == HMM_MIRROR_MAP_PRESENT;
	bool valid = known && !before->reserved && before->len &&
		     !(before->addr % PAGE) && !(before->len % PAGE) &&
		     in_address_space(before->addr, before->len);

	if (memcmp(before, after, offsetof(struct hmm_mirror_map, pages)))
		bad(outcome, "what goes in was changed");
	judge_progress(outcome, valid, before->len / PAGE, before->pages, after->pages);
	if (outcome->error == EOPNOTSUPP && !async)
		bad(outcome, "EOPNOTSUPP, but nothing is asked for that is not there");
	if (!outcome->error && async && after->pages)
		bad(outcome, "%#llx pages, which nobody has waited for", after->pages);
	if (!outcome->error && !async && flags != HMM_MIRROR_MAP_PRESENT &&
	    after->pages != before->len / PAGE)
		bad(outcome, "success, but only %#llx pages", after->pages);
}

static void judge_rw(const struct outcome *outcome)
{
	const struct hmm_mirror_rw *before = &outcome->before.rw, *after = &outcome->after.rw;

	if (memcmp(before, after, offsetof(struct hmm_mirror_rw, done)))
		bad(outcome, "what goes in was changed");
	judge_progress(outcome, in_address_space(before->addr, before->len), before->len,
		       before->done, after->done);
	if (!outcome->error && after->done != before->len)
		bad(outcome, "success, but only %#llx bytes", after->done);
	if (after->done != before->done && is_nowhere(before->buf, after->done))
		bad(outcome, "%#llx bytes from or to nowhere", after->done);
}

static void judge_add(const struct outcome *outcome)
{
	const struct hmm_mirror_add *before = &outcome->before.add, *after = &outcome->after.add;
	bool valid = !(before->addr % 8) && in_address_space(before->addr, 8);

	if (memcmp(before, after, offsetof(struct hmm_mirror_add, old)))
		bad(outcome, "what goes in was changed");
	if (!valid && outcome->error != EINVAL)
		bad(outcome, "%s, but the argument is invalid", errno_name(outcome->error));
	if (outcome->error == EINVAL && valid && before->addr < (1ULL << 46))
		bad(outcome, "EINVAL, but the argument is valid");
}

static void judge_entries(const struct outcome *outcome)
{
	const struct hmm_mirror_entry *entry = (void *)BUFFER;
	const struct hmm_mirror_dump *before = &outcome->before.dump;
	const struct hmm_mirror_dump *after = &outcome->after.dump;
	const unsigned char *rest;
	__u64 least = before->start & -PAGE;
	unsigned int i;

	for (i = 0; i < after->count; i++, entry++) {
		if (entry->addr < least || entry->addr >= before->end)
			bad(outcome, "entry %u: addr %#llx is out of range or order", i,
			    entry->addr);
		if (entry->addr % PAGE || entry->pfn >= NO_FRAME ||
		    entry->flags & ~HMM_MIRROR_ENTRY_WRITE || entry->order > 18)
			bad(outcome, "entry %u: addr %#llx, pfn %#llx, flags %#x, order %u", i,
			    entry->addr, entry->pfn, entry->flags, entry->order);
		least = entry->addr + PAGE;
	}
	if (after->start != after->end && after->start < least)
		bad(outcome, "would go on at %#llx, where it has been", after->start);
	for (rest = (void *)entry; rest < (unsigned char *)(entry + 1); rest++) {
		if (*rest != 0x5a) {
			bad(outcome, "more than %u entries were written", after->count);
			break;
		}
	}
}

static void judge_dump(const struct outcome *outcome)
{
	const struct hmm_mirror_dump *before = &outcome->before.dump;
	const struct hmm_mirror_dump *after = &outcome->after.dump;
	bool valid = before->start <= before->end && before->capacity;

	if (before->end != after->end || before->entries != after->entries ||
	    before->capacity != after->capacity)
		bad(outcome, "what goes in was changed");
	if (outcome->error == EINVAL && valid)
		bad(outcome, "EINVAL, but the argument is valid");
	if (outcome->error) {
		if (before->start != after->start || before->count != after->count)
			bad(outcome, "it failed, but was written to");
		return;
	}
	if (!valid)
		bad(outcome, "success, but the argument is invalid");
	else if (after->count > before->capacity || after->count > MOST_ENTRIES)
		bad(outcome, "%u entries are too many", after->count);
	else if (after->start < (before->start & -PAGE) || after->start > before->end)
		bad(outcome, "would go on at %#llx, which is out of range", after->start);
	else if (is_nowhere(before->entries, after->count))
		bad(outcome, "%u entries to nowhere", after->count);
	else if (after->start != after->end && !after->count)
		bad(outcome, "not complete, and no entries");
	else if (outcome->exact && before->entries == BUFFER)
		judge_entries(outcome);
}

static void judge_stats(const struct outcome *outcome)
{
	const struct hmm_mirror_stats *stats = &outcome->after.stats;
	const __u64 *field = (const __u64 *)stats;
	size_t i;

	if (outcome->error)
		return;
	for (i = 0; i < sizeof(*stats) / sizeof(*field); i++)
		if (field[i] >= NO_COUNT)
			bad(outcome, "field %zu is %#llx", i, field[i]);
	if (stats->dead > 1 || !stats->tables || stats->pages + stats->invalidated > stats->mapped)
		bad(outcome, "dead %llu, tables %llu, pages %llu, invalidated %llu, mapped %llu",
		    stats->dead, stats->tables, stats->pages, stats->invalidated,
		    stats->mapped);
}

void judge(const struct outcome *outcome)
{
	enum call_id id = outcome->program->call[outcome->call].id;
	bool unbound = outcome->error == ENXIO;

	if (!outcome->device) {
		if (!outcome->error && outcome->exact)
			bad(outcome, "success, on what is no device");
		return;
	}
	/* The other thread may have closed it, and have opened something else. */
	if (!outcome->exact && (outcome->error == EBADF || outcome->error == ENOTTY))
		return;
	if (outcome->error ? !documented(outcome) : id == CALL_IOCTL) {
		bad(outcome, "%s is not documented", errno_name(outcome->error));
		return;
	}
	if (outcome->exact && id != CALL_BIND && id != CALL_IOCTL && outcome->error != EFAULT &&
	    unbound == outcome->bound)
		bad(outcome, "%s, and it is %s", errno_name(outcome->error),
		    outcome->bound ? "bound" : "not bound");
	if (!outcome->seen || unbound)
		return;
	if (id == CALL_BIND)
		judge_bind(outcome);
	else if (id == CALL_MAP)
		judge_map(outcome);
	else if (id == CALL_READ || id == CALL_WRITE)
		judge_rw(outcome);
	else if (id == CALL_ADD)
		judge_add(outcome);
	else if (id == CALL_DUMP)
		judge_dump(outcome);
	else if (id == CALL_STATS)
		judge_stats(outcome);
}
