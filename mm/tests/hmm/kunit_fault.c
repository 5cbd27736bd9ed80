// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Device page faults: what they read, what they wait for, and how they end.
 */
#include <kunit/resource.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched/signal.h>

#include "kunit.h"

#define HMM_TEST_READ	HMM_PFN_REQ_FAULT
#define HMM_TEST_WRITE	(HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE)

static void hmm_fault_reads_right_pages(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_mirror_range *range;
	unsigned long addr, pfn;
	int i;

	for (i = 0; i < HMM_TEST_PAGES; i++)
		hmm_test_write(test, dev->mm, dev->addr + i * PAGE_SIZE,
			       0xbead + i);

	range = hmm_test_begin(test, dev, dev->addr, HMM_TEST_PAGES,
			       HMM_TEST_READ);
	hmm_test_fault(test, range);
	for (i = 0; i < HMM_TEST_PAGES; i++) {
		addr = dev->addr + i * PAGE_SIZE;
		pfn = hmm_test_pfns(range)[i];
		KUNIT_ASSERT_TRUE(test, pfn & HMM_PFN_VALID);
		KUNIT_EXPECT_FALSE(test, pfn & HMM_PFN_ERROR);
		KUNIT_EXPECT_TRUE(test, pfn & HMM_PFN_WRITE);
		KUNIT_EXPECT_PTR_EQ(test, hmm_pfn_to_page(pfn),
				    hmm_test_page(test, dev->mm, addr));
		KUNIT_EXPECT_EQ(test, hmm_test_peek(hmm_pfn_to_page(pfn)),
				0xbead + i);
	}

	/* What the device writes is what the process reads */
	hmm_test_poke(hmm_pfn_to_page(pfn), 0xcafe);
	KUNIT_EXPECT_EQ(test, hmm_test_read(test, dev->mm, addr), 0xcafe);
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(range));
	KUNIT_EXPECT_EQ(test, dev->calls, 0);
}

/* Memory of which the process has touched the second page alone */
static void hmm_fault_reads_what_is_asked(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_mirror_range *range;
	unsigned long *pfns;
	struct page *page;
	int i;

	/* A snapshot faults nothing in */
	hmm_test_write(test, dev->mm, dev->addr + PAGE_SIZE, 7);
	range = hmm_test_begin(test, dev, dev->addr, 3, 0);
	pfns = hmm_test_pfns(range);
	for (i = 0; i < 2; i++) {
		hmm_test_fault(test, range);
		KUNIT_EXPECT_FALSE(test, pfns[0] & HMM_PFN_VALID);
		KUNIT_ASSERT_TRUE(test, pfns[1] & HMM_PFN_VALID);
		KUNIT_EXPECT_EQ(test, hmm_test_peek(hmm_pfn_to_page(pfns[1])), 7);
		KUNIT_EXPECT_FALSE(test, pfns[2] & HMM_PFN_VALID);
	}

	/* To read is the zero page ... */
	hmm_test_range_set_flags(range, HMM_TEST_READ, 0);
	hmm_test_fault(test, range);
	KUNIT_ASSERT_TRUE(test, pfns[0] & HMM_PFN_VALID);
	KUNIT_EXPECT_FALSE(test, pfns[0] & HMM_PFN_WRITE);
	page = hmm_pfn_to_page(pfns[0]);
	KUNIT_EXPECT_TRUE(test, is_zero_pfn(page_to_pfn(page)));

	/* ... and to write is a page of its own */
	hmm_test_range_set_flags(range, HMM_TEST_WRITE, 0);
	hmm_test_fault(test, range);
	KUNIT_ASSERT_TRUE(test, pfns[0] & HMM_PFN_VALID);
	KUNIT_ASSERT_TRUE(test, pfns[0] & HMM_PFN_WRITE);
	KUNIT_EXPECT_NE(test, pfns[0], pfns[2]);
	hmm_test_poke(hmm_pfn_to_page(pfns[0]), 42);
	KUNIT_EXPECT_EQ(test, hmm_test_read(test, dev->mm, dev->addr), 42);
}

/* What may be written to gets dirty, and nothing else */
static void hmm_fault_mark_dirty(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_mirror_range *range;
	struct folio *folio;
	unsigned long pfn;

	hmm_test_write(test, dev->mm, dev->addr, 7);
	range = hmm_test_begin(test, dev, dev->addr, 1, HMM_TEST_READ);
	hmm_test_fault(test, range);
	pfn = hmm_test_pfns(range)[0];
	KUNIT_ASSERT_TRUE(test, pfn & HMM_PFN_VALID);
	KUNIT_ASSERT_TRUE(test, pfn & HMM_PFN_WRITE);
	folio = page_folio(hmm_pfn_to_page(pfn));
	KUNIT_ASSERT_FALSE(test, folio_test_dirty(folio));

	hmm_pfn_mark_dirty(0);
	hmm_pfn_mark_dirty(pfn & ~HMM_PFN_VALID);
	hmm_pfn_mark_dirty(pfn & ~HMM_PFN_WRITE);
	KUNIT_EXPECT_FALSE(test, folio_test_dirty(folio));
	/* There is no invalidation that could take the page away */
	KUNIT_ASSERT_TRUE(test, hmm_test_valid(range));
	hmm_pfn_mark_dirty(pfn);
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(folio));
}

static void hmm_fault_errors(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	unsigned long rw = dev->addr;
	unsigned long ro = hmm_test_map(test, dev->mm, 1, PROT_READ);
	unsigned long none = hmm_test_map(test, dev->mm, 1, PROT_NONE);
	const struct {
		unsigned long addr;
		unsigned long pages;
		unsigned long flags;
		int ret;
	} cases[] = {
		{ ro, 1, HMM_TEST_READ, 0 },
		{ ro, 1, HMM_TEST_WRITE, -EPERM },
		{ none, 1, HMM_TEST_READ, -EFAULT },
		/* A hole, and one in the middle of what is mapped */
		{ rw + PAGE_SIZE, 1, HMM_TEST_READ, -EFAULT },
		{ rw, 3, HMM_TEST_WRITE, -EFAULT },
		{ rw, 1, HMM_TEST_WRITE, 0 },
		{ rw + 2 * PAGE_SIZE, 1, HMM_TEST_WRITE, 0 },
		/* A snapshot of a hole is none of a fault's business */
		{ rw, 3, 0, 0 },
	};
	int i;

	hmm_test_unmap(test, dev->mm, rw + PAGE_SIZE, 1);
	for (i = 0; i < ARRAY_SIZE(cases); i++)
		KUNIT_EXPECT_EQ_MSG(test, cases[i].ret,
				    hmm_test_fault_once(test, dev, cases[i].addr,
							cases[i].pages,
							cases[i].flags),
				    "case %d", i);
	hmm_test_expect_idle(test, dev);
}

/* Its pages look writable, but no store of the process can write there */
static void hmm_fault_shadow_stack(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_mirror_range *range;
	struct vm_area_struct *vma;

	if (!VM_SHADOW_STACK)
		kunit_skip(test, "there are no shadow stacks here");

	hmm_test_write(test, dev->mm, dev->addr, 1);
	mmap_write_lock(dev->mm);
	vma = vma_lookup(dev->mm, dev->addr);
	if (vma)
		vm_flags_set(vma, VM_SHADOW_STACK);
	mmap_write_unlock(dev->mm);
	KUNIT_ASSERT_NOT_NULL(test, vma);

	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_test_fault_once(test, dev, dev->addr, 1,
							   HMM_TEST_READ));
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_test_fault_once(test, dev, dev->addr, 1,
							   HMM_TEST_WRITE));
	KUNIT_EXPECT_EQ(test, -EFAULT,
			hmm_test_fault_once(test, dev, dev->addr + PAGE_SIZE, 1,
					    HMM_TEST_WRITE));
	range = hmm_test_snapshot(test, dev, dev->addr, 1);
	KUNIT_EXPECT_FALSE(test, hmm_test_pfns(range)[0] & HMM_PFN_VALID);
	hmm_mirror_range_end(range);

	mmap_write_lock(dev->mm);
	vm_flags_clear(vma, VM_SHADOW_STACK);
	mmap_write_unlock(dev->mm);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_once(test, dev, dev->addr, 1,
						     HMM_TEST_WRITE));
}

#ifdef CONFIG_ARCH_SUPPORTS_PMD_PFNMAP
/* What lies where no memory can be, as some memory of devices does */
static pmd_t hmm_test_special_pmd(void)
{
	const unsigned long pfn = 1UL << (MAX_PHYSMEM_BITS - 1 - PAGE_SHIFT);

	return pmd_mkspecial(pmd_mkhuge(pfn_pmd(pfn, PAGE_READONLY)));
}

/* Puts @entry, or nothing, in the place of a huge page; true if that can be done */
static bool hmm_test_set_pmd(struct mm_struct *mm, unsigned long addr, const pmd_t *entry)
{
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;

	p4d = p4d_alloc(mm, pgd_offset(mm, addr), addr);
	pud = p4d ? pud_alloc(mm, p4d, addr) : NULL;
	pmd = pud ? pmd_alloc(mm, pud, addr) : NULL;
	if (!pmd)
		return false;
	if (entry)
		set_pmd_at(mm, addr, pmd, *entry);
	else
		pmdp_huge_get_and_clear(mm, addr, pmd);
	return true;
}

static vm_fault_t hmm_test_no_fault(const struct vm_special_mapping *mapping,
				    struct vm_area_struct *vma, struct vm_fault *vmf)
{
	return VM_FAULT_SIGBUS;
}

/* An area with VM_MIXEDMAP, in which there is a frame without struct pages */
static void hmm_fault_special_pmd(struct kunit *test)
{
	static const struct vm_special_mapping mapping = {
		.name = "[hmm_kunit]",
		.fault = hmm_test_no_fault,
	};
	struct hmm_test_dev *dev = hmm_test_setup(test);
	unsigned long addr = hmm_test_map(test, dev->mm, 2 * PMD_SIZE / PAGE_SIZE, PROT_READ);
	unsigned long huge = ALIGN(addr, PMD_SIZE);
	const pmd_t entry = hmm_test_special_pmd();
	struct hmm_mirror_range *range;
	struct vm_area_struct *vma;
	bool set = false;

	hmm_test_unmap(test, dev->mm, addr, 2 * PMD_SIZE / PAGE_SIZE);
	mmap_write_lock(dev->mm);
	vma = _install_special_mapping(dev->mm, huge, PMD_SIZE, VM_READ | VM_MAYREAD |
				       VM_MIXEDMAP, &mapping);
	if (!IS_ERR(vma))
		set = hmm_test_set_pmd(dev->mm, huge, &entry);
	mmap_write_unlock(dev->mm);
	KUNIT_ASSERT_TRUE(test, set);

	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_test_fault_once(test, dev, huge + PAGE_SIZE, 1,
							   HMM_TEST_READ));
	KUNIT_EXPECT_EQ(test, -EPERM, hmm_test_fault_once(test, dev, huge + PAGE_SIZE, 1,
							  HMM_TEST_WRITE));
	range = hmm_test_snapshot(test, dev, huge + PAGE_SIZE, 2);
	KUNIT_EXPECT_EQ(test, HMM_PFN_ERROR, hmm_test_pfns(range)[0]);
	KUNIT_EXPECT_EQ(test, HMM_PFN_ERROR, hmm_test_pfns(range)[1]);
	hmm_mirror_range_end(range);

	/* There is no page to be unmapped */
	mmap_write_lock(dev->mm);
	hmm_test_set_pmd(dev->mm, huge, NULL);
	mmap_write_unlock(dev->mm);
	hmm_test_expect_idle(test, dev);
}
#else
static void hmm_fault_special_pmd(struct kunit *test)
{
	kunit_skip(test, "this architecture has no huge special mappings");
}
#endif

static void hmm_fault_drops_lock(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	unsigned long addr = hmm_test_map_filler(test, dev->mm);

	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_once(test, dev, addr, 1,
						     HMM_TEST_READ));
	KUNIT_EXPECT_TRUE(test, hmm_test_filler.filled);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_filler.flags & FAULT_FLAG_WRITE);

	hmm_test_filler.filled = false;
	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_once(test, dev, addr + PAGE_SIZE, 1,
						     HMM_TEST_WRITE));
	KUNIT_EXPECT_TRUE(test, hmm_test_filler.filled);
	KUNIT_EXPECT_NE(test, 0, hmm_test_filler.flags & FAULT_FLAG_WRITE);
	hmm_test_expect_idle(test, dev);
}

/* What a page needs to come is not the time of the fault */
static void hmm_fault_is_given_time(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	unsigned long addr = hmm_test_map_filler(test, dev->mm);
	struct hmm_mirror_range *range;

	range = hmm_test_begin(test, dev, addr, 1, HMM_TEST_READ);
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(range, 1));
	hmm_mirror_range_end(range);

	/* The same where the page fault is over with that */
	hmm_test_filler.completes = true;
	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_once(test, dev, addr + PAGE_SIZE, 1,
						     HMM_TEST_READ));
	KUNIT_EXPECT_FALSE(test, hmm_test_filler.completes);

	/* But it is not given time for nothing */
	hmm_test_unmap(test, dev->mm, addr, 2);
	range = hmm_test_begin(test, dev, hmm_test_map_filler(test, dev->mm), 1,
			       HMM_TEST_READ);
	hmm_test_filler.nothing = true;
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_mirror_range_fault(range, 2));
}

/* What comes never is an error, however often it is tried */
static void hmm_fault_of_bad_page(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	unsigned long addr = hmm_test_map_filler(test, dev->mm);

	hmm_test_filler.bad = 1;
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_test_fault_once(test, dev, addr, 1,
							   HMM_TEST_READ));
	KUNIT_EXPECT_LE(test, hmm_test_filler.bad, 3);

	/* Nor is what has no struct page for devices */
	hmm_test_filler.bad = 0;
	hmm_test_filler.foreign = true;
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_test_fault_once(test, dev, addr, 2,
							   HMM_TEST_READ));
}

/* No invalidation hits the range, so it is all about whether it was read */
static void hmm_valid_only_if_read(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	unsigned long ro = hmm_test_map(test, dev->mm, 1, PROT_READ);
	unsigned long filler = hmm_test_map_filler(test, dev->mm);
	struct hmm_mirror_range *range;
	unsigned int calls = dev->calls;

	range = hmm_test_begin(test, dev, ro, 1, HMM_TEST_READ);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));
	hmm_test_fault(test, range);
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(range));

	hmm_test_range_set_flags(range, HMM_TEST_WRITE, 0);
	KUNIT_EXPECT_EQ(test, -EPERM, hmm_mirror_range_fault(range, HMM_TEST_PATIENCE));
	KUNIT_EXPECT_TRUE(test, hmm_test_armed(range));
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));

	hmm_test_range_set_flags(range, HMM_TEST_READ, 0);
	hmm_test_fault(test, range);
	hmm_mirror_range_end(range);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_begin(range, &dev->mirror));
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));

	/* Nor is it valid while it is read once more */
	range = hmm_test_snapshot(test, dev, filler, 1);
	hmm_test_range_set_flags(range, HMM_TEST_READ, 0);
	hmm_test_filler.range = range;
	hmm_test_fault(test, range);
	KUNIT_EXPECT_TRUE(test, hmm_test_filler.filled);
	KUNIT_EXPECT_FALSE(test, hmm_test_filler.valid);
	KUNIT_EXPECT_EQ(test, dev->calls, calls);
}

/* Nothing to wait for, and yet it never succeeds */
static void hmm_fault_collides_for_ever(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	unsigned long addr = hmm_test_map_filler(test, dev->mm);
	unsigned long timeout = msecs_to_jiffies(HMM_TEST_DELAY_MS);
	struct hmm_mirror_range *range;
	unsigned long start, took;

	range = hmm_test_begin(test, dev, addr, 1, HMM_TEST_READ);
	start = jiffies;
	hmm_test_filler.collide = start + HMM_TEST_PATIENCE;
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_mirror_range_fault(range, timeout));
	took = jiffies - start;
	KUNIT_EXPECT_GE(test, took, timeout);
	KUNIT_EXPECT_LT(test, took, HMM_TEST_PATIENCE);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));
	KUNIT_EXPECT_GT(test, dev->calls, 1);
}

/* As what reaps the memory of a process that was killed sets it first */
static void hmm_test_set_unstable(struct mm_struct *mm)
{
#ifdef NUM_MM_FLAG_BITS
	mm_flags_set(MMF_UNSTABLE, mm);
#else
	set_bit(MMF_UNSTABLE, &mm->flags);
#endif
}

/* What is there now, may have come in place of what was reaped */
static void hmm_fault_reaped(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	unsigned long addr = dev->addr;

	hmm_test_write(test, dev->mm, addr, 1);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_once(test, dev, addr, 1,
						     HMM_TEST_READ));
	hmm_test_set_unstable(dev->mm);
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_test_fault_once(test, dev, addr, 1,
							   HMM_TEST_READ));
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_test_fault_once(test, dev, addr, 1, 0));
	hmm_test_expect_idle(test, dev);
}

static void hmm_fault_per_page_flags(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	const unsigned long addr = dev->addr;
	const unsigned long more = hmm_test_map(test, dev->mm, 70, PROT_READ | PROT_WRITE);
	struct hmm_mirror_range *range;
	unsigned long *pfns;
	int i;

	/* They count as far as the mask lets them */
	range = hmm_test_begin(test, dev, addr, 3, 0);
	pfns = hmm_test_pfns(range);
	for (i = 0; i < 3; i++)
		pfns[i] = HMM_TEST_WRITE;
	hmm_test_fault(test, range);
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_FALSE(test, pfns[i] & HMM_PFN_VALID);

	hmm_test_range_set_flags(range, 0, HMM_TEST_WRITE);
	pfns[0] = 0;
	pfns[1] = 0;
	pfns[2] = HMM_TEST_WRITE;
	hmm_test_fault(test, range);
	KUNIT_EXPECT_FALSE(test, pfns[1] & HMM_PFN_VALID);
	KUNIT_EXPECT_TRUE(test, pfns[2] & HMM_PFN_VALID);
	KUNIT_EXPECT_TRUE(test, pfns[2] & HMM_PFN_WRITE);
	pfns[1] = HMM_TEST_READ;
	pfns[2] = HMM_TEST_READ;
	hmm_test_fault(test, range);
	KUNIT_EXPECT_FALSE(test, pfns[0] & HMM_PFN_VALID);
	KUNIT_EXPECT_TRUE(test, pfns[1] & HMM_PFN_VALID);
	KUNIT_EXPECT_FALSE(test, pfns[1] & HMM_PFN_WRITE);
	KUNIT_EXPECT_TRUE(test, pfns[2] & HMM_PFN_VALID);

	/* A hole matters to who asks for it, and to nobody else */
	hmm_test_unmap(test, dev->mm, addr + PAGE_SIZE, 1);
	pfns[1] = 0;
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(range, HMM_TEST_PATIENCE));
	pfns[1] = HMM_TEST_READ;
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_mirror_range_fault(range, HMM_TEST_PATIENCE));

	/* And however many there are */
	range = hmm_test_begin(test, dev, more, 70, 0);
	hmm_test_range_set_flags(range, 0, HMM_TEST_WRITE);
	pfns = hmm_test_pfns(range);
	memset(pfns, 0, 70 * sizeof(*pfns));
	pfns[69] = HMM_TEST_WRITE;
	hmm_test_fault(test, range);
	KUNIT_EXPECT_FALSE(test, pfns[0] & HMM_PFN_VALID);
	KUNIT_EXPECT_FALSE(test, pfns[68] & HMM_PFN_VALID);
	KUNIT_EXPECT_TRUE(test, pfns[69] & HMM_PFN_WRITE);
}

/* Asks for the second page only */
static void hmm_test_request(struct hmm_mirror_range *range, void *data)
{
	unsigned int *requests = data;

	hmm_test_pfns(range)[0] = 0;
	hmm_test_pfns(range)[1] = HMM_TEST_WRITE;
	++*requests;
}

static int hmm_test_commit_requested(struct hmm_mirror_range *range, void *data)
{
	return hmm_test_valid(range) ? 0 : -EAGAIN;
}

/*
 * A write fault of the zero page replaces it, which is an invalidation of its own
 * range, by the same task.  It has to get past that; where it cannot, as the input
 * flags are overwritten, it says so.
 */
static void hmm_fault_invalidates_itself(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	const unsigned long second = dev->addr + PAGE_SIZE;
	struct hmm_mirror_range *range;
	unsigned int requests = 0;
	unsigned long *pfns;

	hmm_test_read(test, dev->mm, dev->addr);
	range = hmm_test_begin(test, dev, dev->addr, 1, HMM_TEST_WRITE);
	/* Taking two rounds, it also shows that no time limit is too long */
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(range, ULONG_MAX));
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(range));
	KUNIT_EXPECT_TRUE(test, hmm_test_pfns(range)[0] & HMM_PFN_WRITE);
	KUNIT_EXPECT_EQ(test, dev->calls, 1);

	hmm_test_read(test, dev->mm, second);
	range = hmm_test_begin(test, dev, second, 1, 0);
	pfns = hmm_test_pfns(range);
	hmm_test_range_set_flags(range, 0, HMM_TEST_WRITE);
	pfns[0] = HMM_TEST_WRITE;
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_mirror_range_fault(range, HMM_TEST_PATIENCE));
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));
	pfns[0] = HMM_TEST_WRITE;
	hmm_test_fault(test, range);
	KUNIT_EXPECT_TRUE(test, pfns[0] & HMM_PFN_WRITE);

	/* Unless somebody can say again what was asked for */
	range = hmm_test_begin(test, dev, second, 2, 0);
	pfns = hmm_test_pfns(range);
	hmm_test_range_set_flags(range, 0, HMM_TEST_WRITE);
	range->request = hmm_test_request;
	range->request_data = &requests;
	hmm_test_read(test, dev->mm, second + PAGE_SIZE);
	hmm_test_discard(test, dev->mm, second, 1);
	hmm_test_fault(test, range);
	KUNIT_EXPECT_EQ(test, requests, 2);
	KUNIT_EXPECT_FALSE(test, pfns[0] & HMM_PFN_VALID);
	KUNIT_EXPECT_TRUE(test, pfns[1] & HMM_PFN_WRITE);

	hmm_test_discard(test, dev->mm, second, 2);
	hmm_test_read(test, dev->mm, second + PAGE_SIZE);
	requests = 0;
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_map(range, HMM_TEST_PATIENCE,
						      hmm_test_commit_requested, NULL));
	KUNIT_EXPECT_EQ(test, requests, 2);
	KUNIT_EXPECT_FALSE(test, pfns[0] & HMM_PFN_VALID);
	KUNIT_EXPECT_TRUE(test, pfns[1] & HMM_PFN_WRITE);
}

static void hmm_fault_waits_for_invalidation(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	const unsigned long addr = dev->addr;
	struct hmm_mirror_range *range;
	struct mmu_notifier_range inv;
	struct hmm_test_job *job;
	unsigned long slept;
	int i;

	hmm_test_start(&inv, dev->mm, addr, 2);
	range = hmm_test_begin(test, dev, addr + PAGE_SIZE, 2, HMM_TEST_READ);
	KUNIT_EXPECT_FALSE(test, hmm_test_armed(range));
	/* It must be woken, long before it looks by itself */
	job = hmm_test_fault_job(test, range, 3 * HMM_TEST_PATIENCE);
	msleep(HMM_TEST_DELAY_MS);
	KUNIT_EXPECT_FALSE(test, completion_done(&job->done));

	/* Not every end is the right one, nor wakes who waits for another */
	slept = READ_ONCE(job->task->nvcsw);
	for (i = 0; i < 5; i++) {
		hmm_test_invalidate(dev->mm, addr + 4 * PAGE_SIZE, 1);
		msleep(HMM_TEST_DELAY_MS / 5);
	}
	KUNIT_EXPECT_FALSE(test, completion_done(&job->done));
	KUNIT_EXPECT_EQ(test, slept, READ_ONCE(job->task->nvcsw));

	hmm_test_end(&inv);
	hmm_test_finish(test, job);
	KUNIT_EXPECT_EQ(test, job->ret, 0);
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(range));
	KUNIT_EXPECT_TRUE(test, hmm_test_pfns(range)[0] & HMM_PFN_VALID);
}

/* The same where there are too many to be told from each other */
static void hmm_fault_waits_for_covered(struct kunit *test)
{
	enum { NR = 24, LAST = NR - 1 };
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct mmu_notifier_range *inv = kunit_kcalloc(test, NR, sizeof(*inv),
						       GFP_KERNEL);
	struct hmm_mirror_range *range;
	struct hmm_test_job *job;
	int i;

	KUNIT_ASSERT_NOT_NULL(test, inv);
	for (i = 0; i < NR; i++)
		hmm_test_start(&inv[i], dev->mm, dev->addr + i % 8 * PAGE_SIZE, 1);
	/* In none that has a slot of its own, but in what covers the others */
	range = hmm_test_begin(test, dev, dev->addr + 2 * PAGE_SIZE, 1,
			       HMM_TEST_READ);
	job = hmm_test_fault_job(test, range, 3 * HMM_TEST_PATIENCE);
	for (i = 0; i < LAST; i++)
		hmm_test_end(&inv[i]);
	msleep(HMM_TEST_DELAY_MS);
	KUNIT_EXPECT_FALSE(test, completion_done(&job->done));
	/* That of another page: it cannot know */
	hmm_test_end(&inv[LAST]);
	hmm_test_finish(test, job);
	KUNIT_EXPECT_EQ(test, job->ret, 0);
}

/* More ranges are hit than are marked while the lock is held */
static void hmm_many_ranges_hit(struct kunit *test)
{
	enum { NR = 1100 };
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_mirror_range *ranges;
	unsigned long pfn = 0;
	int i, round, valid;

	ranges = kunit_kcalloc(test, NR, sizeof(*ranges), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ranges);
	for (i = 0; i < NR; i++) {
		hmm_test_range_set(&ranges[i], dev->addr + i % 4 * PAGE_SIZE,
				   dev->addr + (i % 4 + 1) * PAGE_SIZE);
		hmm_test_range_set_pfns(&ranges[i], &pfn);
		KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_begin(&ranges[i],
								&dev->mirror));
	}
	/* All, none of the last quarter, and again what is hit already */
	for (round = 0; round < 3; round++) {
		for (i = 0; i < NR && round < 2; i++)
			KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(&ranges[i],
									0));
		hmm_test_invalidate(dev->mm, dev->addr, round ? 3 : 4);
		for (i = 0, valid = 0; i < NR; i++)
			valid += hmm_test_valid(&ranges[i]);
		KUNIT_EXPECT_EQ_MSG(test, valid, round ? NR / 4 : 0, "round %d",
				    round);
	}
	for (i = 0; i < NR; i++)
		hmm_mirror_range_end(&ranges[i]);
	hmm_test_expect_idle(test, dev);
}

/* A range that was valid, and has collided with what still goes on */
static void hmm_fault_times_out(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	unsigned long timeout = msecs_to_jiffies(HMM_TEST_DELAY_MS);
	struct hmm_mirror_range *range;
	struct mmu_notifier_range inv;
	unsigned long start, took;
	struct hmm_test_job *job;
	bool ended;

	range = hmm_test_begin(test, dev, dev->addr, 1, HMM_TEST_READ);
	hmm_test_fault(test, range);
	hmm_test_start(&inv, dev->mm, dev->addr, 1);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));
	start = jiffies;
	/* In a thread, which the end sets free should it wait without a limit */
	job = hmm_test_fault_job(test, range, timeout);
	ended = wait_for_completion_timeout(&job->done, HMM_TEST_PATIENCE);
	took = jiffies - start;
	KUNIT_EXPECT_FALSE(test, hmm_test_armed(range));
	hmm_test_end(&inv);
	hmm_test_finish(test, job);
	KUNIT_EXPECT_TRUE_MSG(test, ended, "waits without a limit");
	KUNIT_EXPECT_EQ(test, job->ret, -EBUSY);
	KUNIT_EXPECT_GE(test, took, timeout);

	/* That it is over does not make valid what was read before */
	KUNIT_EXPECT_FALSE(test, hmm_test_armed(range));
	/* The time limit is one of the fault, not of the range */
	KUNIT_EXPECT_EQ(test, 0, hmm_mirror_range_fault(range, timeout));
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(range));
	hmm_test_expect_idle(test, dev);
}

static int hmm_test_kill_thread(struct hmm_test_job *job)
{
	send_sig(SIGKILL, job->task, 1);
	if (wait_for_completion_timeout(&job->done, HMM_TEST_PATIENCE))
		return job->ret;
	return -ETIMEDOUT;
}

/* What does a fault return that is killed when it has waited for some time? */
static int hmm_test_kill_fault(struct kunit *test, struct hmm_test_dev *dev,
			       unsigned long addr)
{
	struct hmm_mirror_range *range;
	struct hmm_test_job *job;

	range = hmm_test_begin(test, dev, addr, 1, HMM_TEST_READ);
	job = hmm_test_fault_job(test, range, 3 * HMM_TEST_PATIENCE);
	msleep(HMM_TEST_DELAY_MS);
	KUNIT_EXPECT_FALSE(test, completion_done(&job->done));
	return hmm_test_kill_thread(job);
}

static void hmm_fault_killed(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	unsigned long colliding = hmm_test_map_filler(test, dev->mm);
	struct mmu_notifier_range inv;
	int ret;

	hmm_test_start(&inv, dev->mm, dev->addr, 1);
	ret = hmm_test_kill_fault(test, dev, dev->addr);
	hmm_test_end(&inv);
	KUNIT_EXPECT_EQ_MSG(test, ret, -EINTR, "waiting for an invalidation");

	hmm_test_filler.collide = jiffies + 3 * HMM_TEST_PATIENCE;
	ret = hmm_test_kill_fault(test, dev, colliding);
	hmm_test_filler.collide = jiffies;
	KUNIT_EXPECT_EQ_MSG(test, ret, -EINTR, "colliding");

	mmap_write_lock(dev->mm);
	ret = hmm_test_kill_fault(test, dev, dev->addr);
	mmap_write_unlock(dev->mm);
	KUNIT_EXPECT_EQ_MSG(test, ret, -EINTR, "waiting for the mmap lock");
}

/* At each step of what is done for a page that is not there */
static void hmm_fault_killed_for_page(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	unsigned long addr = hmm_test_map_filler(test, dev->mm);
	struct hmm_test_job *job;
	int ret;

	hmm_test_filler.never = 1;
	ret = hmm_test_kill_fault(test, dev, addr);
	KUNIT_EXPECT_EQ_MSG(test, ret, -EINTR, "waiting for it");
	KUNIT_EXPECT_EQ(test, hmm_test_filler.faults, 1);
	hmm_test_expect_unlocked(test, dev->mm);

	/* It drops the mmap lock for that, and does not get it again */
	hmm_test_unmap(test, dev->mm, addr, 2);
	addr = hmm_test_map_filler(test, dev->mm);
	job = hmm_test_fault_job(test, hmm_test_begin(test, dev, addr, 1, HMM_TEST_READ), 0);
	hmm_test_await(test, &hmm_test_filler.entered);
	mmap_write_lock(dev->mm);
	msleep(2 * HMM_TEST_DELAY_MS);
	ret = hmm_test_kill_thread(job);
	mmap_write_unlock(dev->mm);
	KUNIT_EXPECT_EQ_MSG(test, ret, -EINTR, "waiting for the mmap lock again");
	KUNIT_EXPECT_EQ(test, hmm_test_filler.faults, 1);

	/* It waits for nothing, but has another page before it */
	hmm_test_unmap(test, dev->mm, addr, 2);
	addr = hmm_test_map_filler(test, dev->mm);
	hmm_test_filler.filled = true;
	hmm_test_filler.hold = true;
	job = hmm_test_fault_job(test, hmm_test_begin(test, dev, addr, 2, HMM_TEST_READ), 0);
	hmm_test_await(test, &hmm_test_filler.entered);
	send_sig(SIGKILL, job->task, 1);
	complete_all(&hmm_test_filler.go_on);
	hmm_test_finish(test, job);
	KUNIT_EXPECT_EQ_MSG(test, job->ret, -EINTR, "between pages");
	KUNIT_EXPECT_EQ(test, hmm_test_filler.faults, 1);
	hmm_test_expect_unlocked(test, dev->mm);
}

static void hmm_unrelated_does_not_wait(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	const unsigned long addr = dev->addr + 2 * PAGE_SIZE;
	struct mmu_notifier_range below, above;
	struct hmm_mirror_range *range;

	hmm_test_start(&below, dev->mm, dev->addr, 2);
	hmm_test_start(&above, dev->mm, addr + PAGE_SIZE, 5);
	range = hmm_test_begin(test, dev, addr, 1, HMM_TEST_READ);
	KUNIT_EXPECT_TRUE(test, hmm_test_armed(range));
	hmm_test_fault(test, range);

	/* Nor does it when it is armed again, after an invalidation of its own */
	hmm_test_invalidate(dev->mm, addr, 1);
	KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));
	hmm_test_fault(test, range);
	hmm_test_end(&below);
	hmm_test_end(&above);
	KUNIT_EXPECT_TRUE(test, hmm_test_valid(range));
}

/* The same struct for one fault after the other, elsewhere and for others */
static void hmm_range_begun_again(struct kunit *test)
{
	struct hmm_test_dev *dev = hmm_test_setup(test);
	struct hmm_test_dev *other = hmm_test_setup(test);
	const struct {
		struct hmm_test_dev *dev;
		unsigned long addr;
	} faults[] = {
		{ dev, dev->addr },
		{ dev, dev->addr + PAGE_SIZE },
		{ other, other->addr },
	};
	struct hmm_mirror_range *range = hmm_test_range(test, 0, 1, HMM_TEST_READ);
	struct page *page;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(faults); i++) {
		struct mm_struct *mm = faults[i].dev->mm;
		unsigned long addr = faults[i].addr;

		hmm_test_write(test, mm, addr, i);
		hmm_test_range_set(range, addr, addr + PAGE_SIZE);
		KUNIT_ASSERT_EQ(test, 0, hmm_mirror_range_begin(range,
								&faults[i].dev->mirror));
		hmm_test_fault(test, range);
		page = hmm_pfn_to_page(hmm_test_pfns(range)[0]);
		KUNIT_EXPECT_EQ(test, hmm_test_peek(page), i);
		hmm_test_discard(test, mm, addr, 1);
		KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));
		hmm_test_fault(test, range);
		hmm_mirror_range_end(range);
		KUNIT_EXPECT_FALSE(test, hmm_test_valid(range));
		/* Out of flight nothing touches it */
		hmm_test_discard(test, mm, addr, 1);
		KUNIT_EXPECT_TRUE(test, hmm_test_armed(range));
	}
}

static struct kunit_case hmm_fault_cases[] = {
	KUNIT_CASE(hmm_fault_reads_right_pages),
	KUNIT_CASE(hmm_fault_reads_what_is_asked),
	KUNIT_CASE(hmm_fault_mark_dirty),
	KUNIT_CASE(hmm_fault_errors),
	KUNIT_CASE(hmm_fault_shadow_stack),
	KUNIT_CASE(hmm_fault_special_pmd),
	KUNIT_CASE(hmm_valid_only_if_read),
	KUNIT_CASE(hmm_fault_drops_lock),
	KUNIT_CASE(hmm_fault_is_given_time),
	KUNIT_CASE(hmm_fault_of_bad_page),
	KUNIT_CASE(hmm_fault_collides_for_ever),
	KUNIT_CASE(hmm_fault_reaped),
	KUNIT_CASE(hmm_fault_per_page_flags),
	KUNIT_CASE(hmm_fault_invalidates_itself),
	KUNIT_CASE(hmm_fault_waits_for_invalidation),
	KUNIT_CASE(hmm_fault_waits_for_covered),
	KUNIT_CASE(hmm_many_ranges_hit),
	KUNIT_CASE(hmm_fault_times_out),
	KUNIT_CASE(hmm_fault_killed),
	KUNIT_CASE(hmm_fault_killed_for_page),
	KUNIT_CASE(hmm_unrelated_does_not_wait),
	KUNIT_CASE(hmm_range_begun_again),
	{}
};

static struct kunit_suite hmm_fault_suite = {
	.name = "hmm_mirror_fault",
	.test_cases = hmm_fault_cases,
};

kunit_test_suite(hmm_fault_suite);
