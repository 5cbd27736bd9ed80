// SPDX-License-Identifier: GPL-2.0
/*
 * The oracle: is the device's page table in step with the CPU's?
 *
 * A driver takes an entry out *before* the CPU page table changes. So while an
 * entry stands in the device's page table, the CPU's must agree with it, even
 * in a process that runs, and even though khugepaged, compaction and reclaim
 * move pages of a stopped process, too. What can go wrong in comparing is only
 * that the entry is taken out between reading it and reading pagemap. So
 * pagemap is read between two looks at the entry, and only an entry that was
 * the same in both counts. As nobody fills entries in meanwhile, it was there
 * all the time.
 *
 * One thing is not that exact: mprotect(2) changes the mapping's permissions a
 * moment before it changes the page table. Therefore an entry is called stale
 * only when pagemap disagreed CONFIRMATIONS times over, a while apart.
 *
 * The other way round is no error: the CPU may map what the device does not.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "proc.h"
#include "verify.h"

#define CONFIRMATIONS		3
#define CONFIRMATION_PAUSE_US	2000
#define PAGEMAP_BATCH		512

/* What can be wrong with an entry of the device's page table. */
enum verdict {
	ENTRY_OK,
	ENTRY_NO_MAPPING,
	ENTRY_NO_READ,
	ENTRY_NOT_PRESENT,
	ENTRY_WRONG_FRAME,
	ENTRY_WRITE_READONLY,
	ENTRY_WRITE_FILE,
	ENTRY_WRITE_SHARED,
};

static const char *verdict_text(enum verdict verdict)
{
	switch (verdict) {
	case ENTRY_OK:
		return "in step";
	case ENTRY_NO_MAPPING:
		return "the process has no mapping there";
	case ENTRY_NO_READ:
		return "the process may not read there";
	case ENTRY_NOT_PRESENT:
		return "the CPU has no page there";
	case ENTRY_WRONG_FRAME:
		return "the CPU has another page there";
	case ENTRY_WRITE_READONLY:
		return "writable, in a read-only mapping";
	case ENTRY_WRITE_FILE:
		return "writable, but the page belongs to a file that is mapped privately";
	case ENTRY_WRITE_SHARED:
		return "writable, but the page awaits copy-on-write";
	}
	return "?";
}

/*
 * Compares one entry with what the CPU side says: @vma is the mapping at its
 * address (or NULL) and @pagemap the word of /proc/PID/pagemap.
 */
static enum verdict entry_check(const struct hmm_mirror_entry *entry,
				const struct vma *vma, __u64 pagemap)
{
	if (!vma)
		return ENTRY_NO_MAPPING;
	/* After mprotect(PROT_NONE) pagemap goes on to show the page. */
	if (!vma->read)
		return ENTRY_NO_READ;
	if (!(pagemap & PAGEMAP_PRESENT))
		return ENTRY_NOT_PRESENT;
	if ((pagemap & PAGEMAP_PFN) != entry->pfn)
		return ENTRY_WRONG_FRAME;
	if (!(entry->flags & HMM_MIRROR_ENTRY_WRITE))
		return ENTRY_OK;

	if (!vma->write)
		return ENTRY_WRITE_READONLY;
	/*
	 * In a private mapping the CPU writes only to anonymous pages that no
	 * other process and no second mapping shares. That rules out the page
	 * cache, the zero page, KSM and what fork() left shared.
	 */
	if (!vma->shared && (pagemap & PAGEMAP_FILE))
		return ENTRY_WRITE_FILE;
	if (!vma->shared && !(pagemap & PAGEMAP_EXCLUSIVE))
		return ENTRY_WRITE_SHARED;
	return ENTRY_OK;
}

/* Sets @now to the context's entry at @addr, or returns -ENOENT. */
static int entry_now(int fd, __u64 addr, struct hmm_mirror_entry *now)
{
	struct entries entries = { };
	int ret;

	ret = device_dump(fd, addr, addr + sysconf(_SC_PAGESIZE), &entries);
	if (!ret && !entries.nr)
		ret = -ENOENT;
	if (!ret)
		*now = entries.entry[0];
	entries_free(&entries);
	return ret;
}

/*
 * An entry and pagemap disagreed. Is the entry stale beyond doubt? Sets
 * @verdict, and @pagemap to what was seen last.
 */
static int entry_confirm(int fd, pid_t pid, int pagemap_fd,
			 const struct hmm_mirror_entry *entry,
			 enum verdict *verdict, __u64 *pagemap)
{
	struct maps maps = { };
	int round, ret = 0;

	for (round = 0; round < CONFIRMATIONS && !ret; round++) {
		struct hmm_mirror_entry now;

		if (round)
			usleep(CONFIRMATION_PAUSE_US << round);
		ret = maps_read(pid, &maps);
		if (!ret)
			ret = pagemap_read(pagemap_fd, entry->addr, pagemap, 1);
		if (ret)
			break;
		*verdict = entry_check(entry, maps_find(&maps, entry->addr),
				       *pagemap);
		if (*verdict == ENTRY_OK)
			break;
		ret = entry_now(fd, entry->addr, &now);
		if (!ret && memcmp(&now, entry, sizeof(now)))
			ret = -ENOENT;
	}
	maps_free(&maps);

	/* It was on its way out. */
	if (ret == -ENOENT) {
		*verdict = ENTRY_OK;
		ret = 0;
	}
	return ret;
}

static int verify_run(int fd, pid_t pid, int pagemap_fd, const struct maps *maps,
		      const struct hmm_mirror_entry *entry, size_t nr,
		      struct verify *verify, FILE *report)
{
	__u64 pagemap[PAGEMAP_BATCH];
	size_t i;
	int ret;

	ret = pagemap_read(pagemap_fd, entry->addr, pagemap, nr);
	if (ret)
		return ret;

	for (i = 0; i < nr; i++, entry++) {
		enum verdict verdict;

		if ((pagemap[i] & PAGEMAP_PRESENT) && !(pagemap[i] & PAGEMAP_PFN))
			return -EPERM;

		verify->entries++;
		verdict = entry_check(entry, maps_find(maps, entry->addr),
				      pagemap[i]);
		if (verdict == ENTRY_OK)
			continue;
		ret = entry_confirm(fd, pid, pagemap_fd, entry, &verdict,
				    &pagemap[i]);
		if (ret)
			return ret;
		if (verdict == ENTRY_OK)
			continue;
		verify->stale++;
		if (report)
			fprintf(report,
				"stale: pid %d address %#llx: device frame %#llx%s, pagemap %#llx: %s\n",
				pid, entry->addr, entry->pfn,
				entry->flags & HMM_MIRROR_ENTRY_WRITE ?
				" writable" : "",
				pagemap[i], verdict_text(verdict));
	}
	return 0;
}

int verify_context(int fd, pid_t pid, struct verify *verify, FILE *report)
{
	const __u64 page = sysconf(_SC_PAGESIZE);
	struct entries entries = { };
	struct maps maps = { };
	int pagemap_fd, ret;
	size_t i, nr;

	pagemap_fd = pagemap_open(pid);
	if (pagemap_fd < 0)
		return pagemap_fd;

	ret = device_dump(fd, 0, ~0ULL, &entries);
	if (!ret)
		ret = maps_read(pid, &maps);
	for (i = 0; !ret && i < entries.nr; i += nr) {
		const struct hmm_mirror_entry *entry = &entries.entry[i];

		for (nr = 1; nr < PAGEMAP_BATCH && i + nr < entries.nr; nr++)
			if (entry[nr].addr != entry->addr + nr * page)
				break;
		ret = verify_run(fd, pid, pagemap_fd, &maps, entry, nr, verify,
				 report);
	}

	maps_free(&maps);
	entries_free(&entries);
	close(pagemap_fd);
	return ret;
}

int verify_self_test(FILE *report)
{
	static const struct vma private = { .read = true, .write = true };
	static const struct vma shared = { .read = true, .write = true,
					   .shared = true };
	static const struct vma readonly = { .read = true };
	static const struct vma none = { };
	const __u64 present = PAGEMAP_PRESENT | 42;
	const struct {
		const char *what;
		__u64 pfn;
		__u32 flags;
		const struct vma *vma;
		__u64 pagemap;
		enum verdict verdict;
	} cases[] = {
		{ "read-only entry, right page", 42, 0, &readonly,
		  present, ENTRY_OK },
		{ "writable entry, page of its own", 42, HMM_MIRROR_ENTRY_WRITE,
		  &private, present | PAGEMAP_EXCLUSIVE, ENTRY_OK },
		{ "writable entry, shared file page", 42, HMM_MIRROR_ENTRY_WRITE,
		  &shared, present | PAGEMAP_FILE, ENTRY_OK },
		{ "read-only entry of a page that awaits copy-on-write", 42, 0,
		  &private, present, ENTRY_OK },
		{ "no mapping", 42, 0, NULL, present, ENTRY_NO_MAPPING },
		{ "mapping without permissions", 42, 0, &none,
		  present, ENTRY_NO_READ },
		{ "page was freed", 42, 0, &private, 0, ENTRY_NOT_PRESENT },
		{ "page is in swap", 42, 0, &private,
		  (1ULL << 62) | 42, ENTRY_NOT_PRESENT },
		{ "page has moved", 43, 0, &private, present, ENTRY_WRONG_FRAME },
		{ "frame differs in its highest bit", 42 | 1ULL << 54, 0,
		  &private, present, ENTRY_WRONG_FRAME },
		{ "writable entry, read-only mapping", 42, HMM_MIRROR_ENTRY_WRITE,
		  &readonly, present | PAGEMAP_EXCLUSIVE, ENTRY_WRITE_READONLY },
		{ "writable entry, private file page", 42, HMM_MIRROR_ENTRY_WRITE,
		  &private, present | PAGEMAP_FILE | PAGEMAP_EXCLUSIVE,
		  ENTRY_WRITE_FILE },
		{ "writable entry, page shared by fork", 42,
		  HMM_MIRROR_ENTRY_WRITE, &private, present,
		  ENTRY_WRITE_SHARED },
	};
	int wrong = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct hmm_mirror_entry entry = {
			.pfn = cases[i].pfn, .flags = cases[i].flags,
		};
		enum verdict verdict = entry_check(&entry, cases[i].vma,
						   cases[i].pagemap);

		if (verdict == cases[i].verdict)
			continue;
		wrong++;
		if (report)
			fprintf(report, "self-test: %s: got '%s', not '%s'\n",
				cases[i].what, verdict_text(verdict),
				verdict_text(cases[i].verdict));
	}
	return wrong;
}
