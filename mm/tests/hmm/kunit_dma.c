// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * DMA addresses that end when the page does.
 *
 * An array stands in for an IOMMU, so that each call can be seen, and made to fail.  What
 * a real one says is for the drivers of real devices, in samples/hmm_mirror/drivers/.
 */
#include <kunit/device.h>
#include <kunit/static_stub.h>
#include <linux/dma-mapping.h>
#include <linux/hmm_mirror_dma.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/slab.h>

#include "kunit.h"

#define HMM_DMA_PAGES	8
#define HMM_DMA_IOVA	0x40000000UL

/* What an IOMMU has, and was told */
static struct hmm_test_iommu {
	struct {
		phys_addr_t phys;
		bool write;
		bool mapped;
	} page[HMM_DMA_PAGES];
	unsigned int links;
	unsigned int syncs;
	unsigned int unlinks;
	unsigned int fail_link;		/* the one that fails, counted from 1; 0: none */
	bool fail_sync;
	unsigned int wrong;		/* linked twice, unlinked what was not linked */
	unsigned int early;		/* unlinked before the device was told */
	struct hmm_test_dev *dev;	/* to be told first */
	unsigned int finishes;		/* of its second pass */
	unsigned int untold;		/* unlinked when the mirror was not told any more */
	struct page *watch;		/* must still be mapped then */
	unsigned int unmapped;
} hmm_test_iommu;

static int hmm_test_dma_alloc(struct hmm_mirror_dma *dma, size_t nr)
{
	dma->map.pfn_list = kcalloc(nr, sizeof(*dma->map.pfn_list), GFP_KERNEL);
	dma->map.state.addr = HMM_DMA_IOVA;
	dma->use_iova = true;
	return dma->map.pfn_list ? 0 : -ENOMEM;
}

static void hmm_test_dma_free(struct hmm_mirror_dma *dma)
{
	kfree(dma->map.pfn_list);
}

static int hmm_test_dma_link(struct hmm_mirror_dma *dma, size_t index, size_t nr, bool write)
{
	struct hmm_test_iommu *iommu = &hmm_test_iommu;
	size_t i;

	if (++iommu->links == iommu->fail_link)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		iommu->wrong += iommu->page[index + i].mapped;
		iommu->page[index + i].phys = hmm_pfn_to_phys(dma->map.pfn_list[index]) +
					      i * PAGE_SIZE;
		iommu->page[index + i].write = write;
		iommu->page[index + i].mapped = true;
	}
	return 0;
}

static int hmm_test_dma_sync(struct hmm_mirror_dma *dma, size_t index, size_t nr)
{
	hmm_test_iommu.syncs++;
	return hmm_test_iommu.fail_sync ? -EIO : 0;
}

static void hmm_test_dma_unlink(struct hmm_mirror_dma *dma, size_t index, size_t nr)
{
	struct hmm_test_iommu *iommu = &hmm_test_iommu;

	iommu->unlinks++;
	iommu->untold += hlist_unhashed(&dma->mirror->list);
	if (iommu->dev)
		iommu->early += !iommu->dev->done || iommu->dev->finishes < iommu->finishes;
	if (iommu->watch)
		iommu->unmapped += !hmm_test_mapped(iommu->watch);
	for (; nr; nr--, index++) {
		iommu->wrong += !iommu->page[index].mapped;
		iommu->page[index].mapped = false;
	}
}

static void hmm_test_use_iommu(struct kunit *test)
{
	memset(&hmm_test_iommu, 0, sizeof(hmm_test_iommu));
	kunit_activate_static_stub(test, hmm_dma_alloc, hmm_test_dma_alloc);
	kunit_activate_static_stub(test, hmm_dma_free, hmm_test_dma_free);
	kunit_activate_static_stub(test, hmm_dma_link, hmm_test_dma_link);
	kunit_activate_static_stub(test, hmm_dma_sync, hmm_test_dma_sync);
	kunit_activate_static_stub(test, hmm_dma_unlink, hmm_test_dma_unlink);
}

static struct device *hmm_test_device(struct kunit *test)
{
	static unsigned int nr;
	char *name = kunit_kzalloc(test, 32, GFP_KERNEL);
	struct device *dev;

	KUNIT_ASSERT_NOT_NULL(test, name);
	snprintf(name, 32, "hmm_test_dma%u", nr++);
	dev = kunit_device_register(test, name);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	KUNIT_ASSERT_EQ(test, dma_coerce_mask_and_coherent(dev, DMA_BIT_MASK(64)), 0);
	return dev;
}

/* A mirror of a device, and a page of which HMM_DMA_PAGES are mapped in the process */
static struct hmm_test_dev *hmm_test_dma_mirror(struct kunit *test,
						const struct hmm_mirror_ops *ops)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_dev(test, mm, ops);

	dev->mirror.dev = hmm_test_device(test);
	dev->addr = hmm_test_map(test, mm, HMM_DMA_PAGES, PROT_READ | PROT_WRITE);
	hmm_test_register(test, dev);
	return dev;
}

static void hmm_test_dma_fini(void *dma)
{
	hmm_mirror_dma_fini(dma);
}

static struct hmm_mirror_dma *hmm_test_dma(struct kunit *test, struct hmm_test_dev *dev)
{
	struct hmm_mirror_dma *dma = kunit_kzalloc(test, sizeof(*dma), GFP_KERNEL);
	int ret;

	KUNIT_ASSERT_NOT_NULL(test, dma);
	ret = hmm_mirror_dma_init(dma, &dev->mirror, dev->addr,
				  dev->addr + HMM_DMA_PAGES * PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, ret, 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, hmm_test_dma_fini, dma), 0);
	return dma;
}

/* A range that was read, of @pages from the @first one on */
static struct hmm_mirror_range *hmm_test_dma_range(struct kunit *test, struct hmm_test_dev *dev,
						   unsigned long first, unsigned long pages,
						   unsigned long flags)
{
	struct hmm_mirror_range *range;

	range = hmm_test_begin(test, dev, dev->addr + first * PAGE_SIZE, pages, flags);
	hmm_test_fault(test, range);
	return range;
}

static int hmm_test_dma_map(struct hmm_test_dev *dev, struct hmm_mirror_range *range,
			    struct hmm_mirror_dma *dma)
{
	int ret;

	spin_lock(&dev->lock);
	ret = hmm_mirror_range_dma_map(range, dma);
	spin_unlock(&dev->lock);
	return ret;
}

static unsigned int hmm_test_nr_mapped(void)
{
	unsigned int i, nr = 0;

	for (i = 0; i < HMM_DMA_PAGES; i++)
		nr += hmm_test_iommu.page[i].mapped;
	return nr;
}

static void hmm_test_expect_runs(struct kunit *test, struct hmm_test_dev *dev,
				 struct hmm_mirror_dma *dma, const char *runs)
{
	char found[64] = "";
	struct hmm_dma_run run;
	size_t len = 0;

	hmm_mirror_dma_for_each_run(&run, dma, 0, TASK_SIZE) {
		unsigned long first = (run.start - dev->addr) / PAGE_SIZE;

		len += scnprintf(found + len, sizeof(found) - len, " %lu-%lu%s", first,
				 (run.end - dev->addr) / PAGE_SIZE, run.write ? "w" : "");
		KUNIT_EXPECT_EQ(test, run.addr, HMM_DMA_IOVA + first * PAGE_SIZE);
	}
	KUNIT_EXPECT_STREQ(test, found, runs);
}

/* The pages get one address after the other, and an invalidation takes its own out again */
static void hmm_dma_map_and_invalidate(struct kunit *test)
{
	const unsigned long flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;
	struct hmm_mirror_range *range;
	struct hmm_mirror_dma *dma;
	struct hmm_test_dev *dev;
	unsigned long i;

	hmm_test_use_iommu(test);
	dev = hmm_test_dma_mirror(test, &hmm_test_ops);
	dma = hmm_test_dma(test, dev);
	range = hmm_test_dma_range(test, dev, 0, HMM_DMA_PAGES, flags);
	KUNIT_ASSERT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);
	for (i = 0; i < HMM_DMA_PAGES; i++) {
		KUNIT_EXPECT_TRUE(test, hmm_test_iommu.page[i].mapped);
		KUNIT_EXPECT_TRUE(test, hmm_test_iommu.page[i].write);
		KUNIT_EXPECT_EQ(test, hmm_test_iommu.page[i].phys,
				hmm_pfn_to_phys(hmm_test_pfns(range)[i]));
	}
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.syncs, 1);
	hmm_test_expect_runs(test, dev, dma, " 0-8w");

	/* Once more costs nothing */
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.syncs, 1);

	dev->calls = 0;
	dev->done = 0;
	hmm_test_iommu.dev = dev;
	hmm_test_iommu.watch = hmm_test_page(test, dev->mm, dev->addr + 3 * PAGE_SIZE);
	hmm_test_unmap(test, dev->mm, dev->addr + 3 * PAGE_SIZE, 2);
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.unlinks, 1);
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.early, 0);
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.unmapped, 0);
	KUNIT_EXPECT_EQ(test, hmm_test_nr_mapped(), 6);
	hmm_test_expect_runs(test, dev, dma, " 0-3w 5-8w");

	hmm_test_iommu.dev = NULL;
	hmm_test_iommu.watch = NULL;
	hmm_mirror_dma_unmap(dma, 0, dev->addr + PAGE_SIZE);
	hmm_test_expect_runs(test, dev, dma, " 1-3w 5-8w");
	hmm_mirror_dma_unmap(dma, 0, dev->addr);
	hmm_test_expect_runs(test, dev, dma, " 1-3w 5-8w");
	hmm_mirror_dma_unmap(dma, dev->addr + 7 * PAGE_SIZE, ULONG_MAX);
	hmm_test_expect_runs(test, dev, dma, " 1-3w 5-7w");

	/* All goes with the address space, before its pages */
	hmm_test_iommu.watch = hmm_test_page(test, dev->mm, dev->addr + PAGE_SIZE);
	hmm_mirror_range_end(range);
	hmm_test_kill(test, dev->mm);
	KUNIT_EXPECT_EQ(test, hmm_test_nr_mapped(), 0);
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.unmapped, 0);
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.wrong, 0);
}

static bool hmm_test_dma_start(struct hmm_mirror *mirror,
			       const struct mmu_notifier_range *update, u64 *fence)
{
	struct hmm_test_dev *dev = hmm_test_enter(mirror, update);

	*fence = !dev->nothing_to_flush;
	hmm_test_leave(dev);
	return true;
}

static void hmm_test_dma_finish(struct hmm_mirror *mirror,
				const struct mmu_notifier_range *update, u64 fence)
{
	container_of(mirror, struct hmm_test_dev, mirror)->finishes++;
}

static const struct hmm_mirror_ops hmm_test_dma_two_pass_ops = {
	.invalidate_start = hmm_test_dma_start,
	.invalidate_finish = hmm_test_dma_finish,
};

/* With two passes it is the second one that is waited for, if there is one */
static void hmm_dma_two_pass(struct kunit *test)
{
	struct hmm_mirror_range *range;
	struct hmm_mirror_dma *dma;
	struct hmm_test_dev *dev;

	hmm_test_use_iommu(test);
	dev = hmm_test_dma_mirror(test, &hmm_test_dma_two_pass_ops);
	dma = hmm_test_dma(test, dev);
	range = hmm_test_dma_range(test, dev, 0, HMM_DMA_PAGES, HMM_PFN_REQ_FAULT);
	KUNIT_ASSERT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);

	dev->done = 0;
	dev->finishes = 0;
	hmm_test_iommu.dev = dev;
	hmm_test_iommu.finishes = 1;
	hmm_test_unmap(test, dev->mm, dev->addr, 2);
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.early, 0);
	KUNIT_EXPECT_EQ(test, hmm_test_nr_mapped(), 6);

	dev->nothing_to_flush = true;
	hmm_test_unmap(test, dev->mm, dev->addr + 4 * PAGE_SIZE, 2);
	KUNIT_EXPECT_EQ(test, dev->finishes, 1);
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.early, 0);
	KUNIT_EXPECT_EQ(test, hmm_test_nr_mapped(), 4);
	hmm_test_expect_runs(test, dev, dma, " 2-4 6-8");
	hmm_test_iommu.dev = NULL;
}

/* All or nothing, but for what was there before */
static void hmm_dma_rolls_back(struct kunit *test)
{
	const unsigned long flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;
	struct hmm_mirror_range *range;
	struct hmm_mirror_dma *dma;
	struct hmm_test_dev *dev;
	unsigned int i;

	hmm_test_use_iommu(test);
	dev = hmm_test_dma_mirror(test, &hmm_test_ops);
	dma = hmm_test_dma(test, dev);
	dma->max_link = 1;
	range = hmm_test_dma_range(test, dev, 2, 2, flags);
	KUNIT_ASSERT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);
	range = hmm_test_dma_range(test, dev, 0, HMM_DMA_PAGES, flags);
	for (i = 1; i <= HMM_DMA_PAGES - 2; i++) {
		hmm_test_iommu.links = 0;
		hmm_test_iommu.fail_link = i;
		KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), -ENOMEM);
		KUNIT_EXPECT_EQ(test, hmm_test_iommu.links, i);
		KUNIT_EXPECT_EQ(test, hmm_test_nr_mapped(), 2);
		hmm_test_expect_runs(test, dev, dma, " 2-4w");
	}
	hmm_test_iommu.fail_link = 0;
	hmm_test_iommu.fail_sync = true;
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), -EIO);
	KUNIT_EXPECT_EQ(test, hmm_test_nr_mapped(), 2);
	hmm_test_expect_runs(test, dev, dma, " 2-4w");

	hmm_test_iommu.fail_sync = false;
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);
	hmm_test_expect_runs(test, dev, dma, " 0-8w");
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.wrong, 0);
}

/* A range that is stale, or was not read, is not mapped; nor is what is not in both */
static void hmm_dma_of_range(struct kunit *test)
{
	const unsigned long flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;
	struct hmm_mirror_range *range;
	struct hmm_mirror_dma *dma;
	struct hmm_test_dev *dev;

	hmm_test_use_iommu(test);
	dev = hmm_test_dma_mirror(test, &hmm_test_ops);
	dma = hmm_test_dma(test, dev);
	dev->addr += PAGE_SIZE;
	range = hmm_test_begin(test, dev, dev->addr, 2, flags);
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), -EAGAIN);
	hmm_test_fault(test, range);
	hmm_test_invalidate(dev->mm, dev->addr, 1);
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), -EAGAIN);
	KUNIT_EXPECT_EQ(test, hmm_test_nr_mapped(), 0);

	hmm_test_fault(test, range);
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);
	dev->addr -= PAGE_SIZE;
	hmm_test_expect_runs(test, dev, dma, " 1-3w");

	/* What is not there is left out */
	range = hmm_test_dma_range(test, dev, 0, HMM_DMA_PAGES, 0);
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);
	hmm_test_expect_runs(test, dev, dma, " 1-3w");

	/* Also between two that are */
	hmm_test_write(test, dev->mm, dev->addr + 5 * PAGE_SIZE, 1);
	hmm_test_write(test, dev->mm, dev->addr + 7 * PAGE_SIZE, 1);
	hmm_test_fault(test, range);
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);
	hmm_test_expect_runs(test, dev, dma, " 1-3w 5-6w 7-8w");
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.wrong, 0);
}

/* Half of the interval, and the half before it */
static void hmm_dma_of_part(struct kunit *test)
{
	struct hmm_mirror_dma dma, other;
	struct hmm_mirror_range *range;
	struct hmm_test_dev *dev;
	unsigned long middle, end;

	hmm_test_use_iommu(test);
	dev = hmm_test_dma_mirror(test, &hmm_test_ops);
	middle = dev->addr + 4 * PAGE_SIZE;
	end = middle + 4 * PAGE_SIZE;
	KUNIT_ASSERT_EQ(test, hmm_mirror_dma_init(&dma, &dev->mirror, middle, end), 0);
	range = hmm_test_dma_range(test, dev, 2, 4, HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE);
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, &dma), 0);
	KUNIT_EXPECT_EQ(test, hmm_test_nr_mapped(), 2);
	KUNIT_EXPECT_TRUE(test, hmm_test_iommu.page[0].mapped);
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.page[0].phys,
			hmm_pfn_to_phys(hmm_test_pfns(range)[2]));
	range = hmm_test_dma_range(test, dev, 0, 4, HMM_PFN_REQ_FAULT);
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, &dma), -EINVAL);

	/* One invalidation of two intervals, of which it has parts */
	KUNIT_ASSERT_EQ(test, hmm_mirror_dma_init(&other, &dev->mirror, dev->addr, middle), 0);
	hmm_test_iommu.wrong = 0;
	range = hmm_test_dma_range(test, dev, 3, 3, HMM_PFN_REQ_FAULT);
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, &other), 0);
	KUNIT_EXPECT_EQ(test, hmm_test_nr_mapped(), 3);
	hmm_test_unmap(test, dev->mm, middle - 2 * PAGE_SIZE, 3);
	KUNIT_EXPECT_FALSE(test, hmm_test_iommu.page[0].mapped);
	KUNIT_EXPECT_TRUE(test, hmm_test_iommu.page[1].mapped);
	KUNIT_EXPECT_FALSE(test, hmm_test_iommu.page[3].mapped);
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.wrong, 0);
	hmm_mirror_dma_fini(&other);
	hmm_mirror_dma_fini(&dma);
	KUNIT_EXPECT_EQ(test, hmm_test_nr_mapped(), 0);
}

/* Without a table of the device, the IOMMU has to know what is not to be written */
static void hmm_dma_read_only(struct kunit *test)
{
	struct hmm_mirror_ops ops = hmm_test_ops;
	struct hmm_mirror_range *range;
	struct hmm_mirror_dma *dma;
	struct hmm_test_dev *dev;
	bool direct;

	for (direct = false; ; direct = true) {
		hmm_test_use_iommu(test);
		ops.flags = direct ? HMM_MIRROR_DMA_DIRECT : 0;
		dev = hmm_test_dma_mirror(test, &ops);
		dma = hmm_test_dma(test, dev);
		range = hmm_test_dma_range(test, dev, 0, 2,
					   HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE);
		hmm_test_pfns(range)[0] &= ~HMM_PFN_WRITE;
		KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);
		hmm_test_expect_runs(test, dev, dma, " 0-1 1-2w");
		KUNIT_EXPECT_EQ(test, hmm_test_iommu.page[0].write, !direct);
		KUNIT_EXPECT_TRUE(test, hmm_test_iommu.page[1].write);

		/* The process has written to it: it is the same page still */
		hmm_test_pfns(range)[0] |= HMM_PFN_WRITE;
		KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);
		hmm_test_expect_runs(test, dev, dma, " 0-2w");
		KUNIT_EXPECT_TRUE(test, hmm_test_iommu.page[0].write);
		KUNIT_EXPECT_EQ(test, hmm_test_iommu.unlinks, direct);

		/* And has a reader of it now, of whom nothing is to be taken away */
		hmm_test_pfns(range)[0] &= ~HMM_PFN_WRITE;
		KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);
		hmm_test_expect_runs(test, dev, dma, " 0-2w");
		KUNIT_EXPECT_EQ(test, hmm_test_iommu.wrong, 0);
		hmm_mirror_range_end(range);
		kunit_release_action(test, hmm_test_dma_fini, dma);
		hmm_test_unregister(test, dev);
		if (direct)
			break;
	}
}

/* What the device may have written is not clean, when the mapping goes */
static void hmm_dma_dirty(struct kunit *test)
{
	struct hmm_mirror_range *range;
	struct hmm_mirror_dma *dma;
	struct hmm_test_dev *dev;
	struct folio *folio[2];
	unsigned int i;

	hmm_test_use_iommu(test);
	dev = hmm_test_dma_mirror(test, &hmm_test_ops);
	dma = hmm_test_dma(test, dev);
	range = hmm_test_dma_range(test, dev, 0, 2, HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE);
	hmm_test_pfns(range)[0] &= ~HMM_PFN_WRITE;
	for (i = 0; i < 2; i++) {
		folio[i] = page_folio(hmm_test_page(test, dev->mm, dev->addr + i * PAGE_SIZE));
		folio_clear_dirty(folio[i]);
	}
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);
	hmm_test_invalidate(dev->mm, dev->addr, 2);
	KUNIT_EXPECT_FALSE(test, folio_test_dirty(folio[0]));
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(folio[1]));
}

/* Pages that lie beside each other are linked as one, as far as they may be */
static void hmm_dma_links_runs(struct kunit *test)
{
	static const struct {
		size_t max_link;
		unsigned int links;
	} cases[] = { { 1, 8 }, { 2, 5 }, { 3, 4 }, { SIZE_MAX, 4 } };
	struct hmm_mirror_ops ops = hmm_test_ops;
	struct hmm_mirror_range *range;
	struct hmm_mirror_dma *dma;
	struct hmm_test_dev *dev;
	unsigned int i, j;
	struct page *page;

	hmm_test_use_iommu(test);
	ops.flags = HMM_MIRROR_DMA_DIRECT;
	dev = hmm_test_dma_mirror(test, &ops);
	dma = hmm_test_dma(test, dev);
	range = hmm_test_dma_range(test, dev, 0, HMM_DMA_PAGES, HMM_PFN_REQ_FAULT);

	/* Five beside each other, of which one may be written to, and three elsewhere */
	page = alloc_pages(GFP_KERNEL, 4);
	KUNIT_ASSERT_NOT_NULL(test, page);
	for (i = 0; i < HMM_DMA_PAGES; i++)
		hmm_test_pfns(range)[i] = page_to_pfn(page + i + (i < 5 ? 0 : 8)) | HMM_PFN_VALID |
					  (i == 2 ? HMM_PFN_WRITE : 0);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		dma->max_link = cases[i].max_link;
		hmm_test_iommu.links = 0;
		KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);
		KUNIT_EXPECT_EQ(test, hmm_test_iommu.links, cases[i].links);
		for (j = 0; j < HMM_DMA_PAGES; j++) {
			KUNIT_EXPECT_EQ(test, hmm_test_iommu.page[j].phys,
					hmm_pfn_to_phys(hmm_test_pfns(range)[j]));
			KUNIT_EXPECT_EQ(test, hmm_test_iommu.page[j].write, j == 2);
		}
		hmm_test_iommu.unlinks = 0;
		hmm_mirror_dma_unmap(dma, dev->addr, dev->addr + HMM_DMA_PAGES * PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, hmm_test_iommu.unlinks, 1);
	}
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.wrong, 0);
	__free_pages(page, 4);
}

/* What the mirror is not told of, or refuses, leaves the mappings as they are */
static void hmm_dma_not_told(struct kunit *test)
{
	struct hmm_mirror_ops ops = hmm_test_ops;
	struct mmu_notifier_range inv;
	struct hmm_mirror_range *range;
	struct hmm_mirror_dma *dma;
	struct hmm_test_dev *dev;

	hmm_test_not_on_list(test);
	hmm_test_use_iommu(test);
	ops.flags = HMM_MIRROR_IGNORE_SOFT_DIRTY;
	dev = hmm_test_dma_mirror(test, &ops);
	dma = hmm_test_dma(test, dev);
	range = hmm_test_dma_range(test, dev, 0, 2, HMM_PFN_REQ_FAULT);
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);

	mmu_notifier_range_init(&inv, MMU_NOTIFY_SOFT_DIRTY, 0, dev->mm, 0, -1UL);
	mmu_notifier_invalidate_range_start(&inv);
	mmu_notifier_invalidate_range_end(&inv);
	KUNIT_EXPECT_EQ(test, hmm_test_nr_mapped(), 2);

	KUNIT_EXPECT_EQ(test, hmm_test_start_nonblock(&inv, dev->mm, dev->addr, 2), -EAGAIN);
	KUNIT_EXPECT_EQ(test, dev->refused, 1);
	KUNIT_EXPECT_EQ(test, hmm_test_nr_mapped(), 2);

	mmu_notifier_range_init(&inv, MMU_NOTIFY_CLEAR, 0, dev->mm, 0, -1UL);
	mmu_notifier_invalidate_range_start(&inv);
	mmu_notifier_invalidate_range_end(&inv);
	KUNIT_EXPECT_EQ(test, hmm_test_nr_mapped(), 0);

	/* What must not block, and is not refused, unmaps them as well */
	dev = hmm_test_dma_mirror(test, &hmm_test_atomic_ops);
	dma = hmm_test_dma(test, dev);
	range = hmm_test_dma_range(test, dev, 0, 2, HMM_PFN_REQ_FAULT);
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);
	KUNIT_ASSERT_EQ(test, hmm_test_start_nonblock(&inv, dev->mm, dev->addr, 2), 0);
	KUNIT_EXPECT_EQ(test, hmm_test_nr_mapped(), 0);
	hmm_test_end(&inv);
}

/* What a driver has mixed up, or did not tell of, is not what the device gets */
static void hmm_dma_mixed_up(struct kunit *test)
{
	struct hmm_mirror_range *range, *others;
	struct hmm_test_dev *dev, *other;
	struct hmm_mirror_dma *dma;

	hmm_test_needs_warnings(test);
	hmm_test_use_iommu(test);
	dev = hmm_test_dma_mirror(test, &hmm_test_ops);
	other = hmm_test_dma_mirror(test, &hmm_test_ops);
	dma = hmm_test_dma(test, dev);
	range = hmm_test_dma_range(test, dev, 0, 2, HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE);
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);
	others = hmm_test_dma_range(test, other, 0, 2, HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE);
	HMM_TEST_WARNS(test, KUNIT_EXPECT_EQ(test, hmm_test_dma_map(other, others, dma),
					     -EINVAL));

	/* Another page, although no invalidation of the first one was seen */
	hmm_test_pfns(range)[0] = hmm_test_pfns(others)[0];
	HMM_TEST_WARNS(test, KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), 0));
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.page[0].phys,
			hmm_pfn_to_phys(hmm_test_pfns(others)[0]));
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.unlinks, 1);
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.wrong, 0);
	/* Before its process goes */
	hmm_mirror_dma_unmap(dma, dev->addr, dev->addr + 2 * PAGE_SIZE);
}

/* A driver that forgets them has none that are stale */
static void hmm_dma_unregister(struct kunit *test)
{
	struct hmm_mirror_range *range;
	struct hmm_mirror_dma *dma;
	struct hmm_test_dev *dev;

	hmm_test_needs_warnings(test);
	hmm_test_use_iommu(test);
	dev = hmm_test_dma_mirror(test, &hmm_test_ops);
	dma = hmm_test_dma(test, dev);
	range = hmm_test_dma_range(test, dev, 0, 2, HMM_PFN_REQ_FAULT);
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, dma), 0);
	hmm_mirror_range_end(range);
	HMM_TEST_WARNS(test, hmm_test_unregister(test, dev));
	KUNIT_EXPECT_EQ(test, hmm_test_nr_mapped(), 0);
	KUNIT_EXPECT_EQ(test, hmm_test_iommu.untold, 0);
}

static int hmm_test_dma_refuse(struct hmm_mirror_dma *dma, size_t nr)
{
	return -EOPNOTSUPP;
}

/* What no addresses are given for */
static void hmm_dma_init_errors(struct kunit *test)
{
	struct hmm_mirror_dma dma, other;
	struct hmm_test_dev *dev, *none;
	unsigned long addr;

	hmm_test_needs_warnings(test);
	hmm_test_use_iommu(test);
	dev = hmm_test_dma_mirror(test, &hmm_test_ops);
	addr = dev->addr;
	none = hmm_test_mirror(test, dev->mm, &hmm_test_ops);
	KUNIT_EXPECT_EQ(test, hmm_mirror_dma_init(&dma, &none->mirror, addr, addr + PAGE_SIZE),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, hmm_mirror_dma_init(&dma, &dev->mirror, addr, addr), -EINVAL);
	KUNIT_EXPECT_EQ(test, hmm_mirror_dma_init(&dma, &dev->mirror, addr + PAGE_SIZE, addr),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, hmm_mirror_dma_init(&dma, &dev->mirror, addr, addr + 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, hmm_mirror_dma_init(&dma, &dev->mirror, addr + 1,
						  addr + PAGE_SIZE), -EINVAL);

	KUNIT_ASSERT_EQ(test, hmm_mirror_dma_init(&dma, &dev->mirror, addr,
						  addr + 2 * PAGE_SIZE), 0);
	KUNIT_EXPECT_EQ(test, hmm_mirror_dma_init(&other, &dev->mirror, addr + PAGE_SIZE,
						  addr + 3 * PAGE_SIZE), -EEXIST);
	KUNIT_EXPECT_EQ(test, hmm_mirror_dma_init(&other, &dev->mirror, addr + 2 * PAGE_SIZE,
						  addr + 3 * PAGE_SIZE), 0);
	hmm_mirror_dma_fini(&other);
	hmm_mirror_dma_fini(&dma);

	kunit_activate_static_stub(test, hmm_dma_alloc, hmm_test_dma_refuse);
	KUNIT_EXPECT_EQ(test, hmm_mirror_dma_init(&dma, &dev->mirror, addr, addr + PAGE_SIZE),
			-EOPNOTSUPP);

	/* Neither of what has failed, nor twice, nor before there is a mirror */
	HMM_TEST_WARNS(test, hmm_mirror_dma_fini(&dma));
	none = hmm_test_dev(test, dev->mm, &hmm_test_ops);
	none->mirror.dev = dev->mirror.dev;
	HMM_TEST_WARNS(test, KUNIT_EXPECT_EQ(test, hmm_mirror_dma_init(&dma, &none->mirror, addr,
								       addr + PAGE_SIZE),
					     -EINVAL));
}

/* No addresses out of the window */
static void hmm_dma_window(struct kunit *test)
{
	struct mm_struct *mm = hmm_test_mm(test);
	struct hmm_test_dev *dev = hmm_test_dev(test, mm, &hmm_test_ops);
	struct hmm_mirror_dma dma;

	hmm_test_use_iommu(test);
	dev->mirror.dev = hmm_test_device(test);
	dev->mirror.window_start = HMM_TEST_BASE;
	dev->mirror.window_end = HMM_TEST_BASE + 4 * PAGE_SIZE;
	hmm_test_register(test, dev);
	KUNIT_EXPECT_EQ(test, hmm_mirror_dma_init(&dma, &dev->mirror, HMM_TEST_BASE - PAGE_SIZE,
						  HMM_TEST_BASE + PAGE_SIZE), -EINVAL);
	KUNIT_EXPECT_EQ(test, hmm_mirror_dma_init(&dma, &dev->mirror, HMM_TEST_BASE,
						  HMM_TEST_BASE + 5 * PAGE_SIZE), -EINVAL);
	KUNIT_ASSERT_EQ(test, hmm_mirror_dma_init(&dma, &dev->mirror, HMM_TEST_BASE,
						  HMM_TEST_BASE + 4 * PAGE_SIZE), 0);
	hmm_mirror_dma_fini(&dma);
}

/* The real thing, for a device that no IOMMU is before */
static void hmm_dma_without_iommu(struct kunit *test)
{
	struct hmm_mirror_ops direct = hmm_test_ops;
	struct hmm_mirror_range *range;
	struct hmm_mirror_dma dma;
	struct hmm_test_dev *dev;
	struct hmm_dma_run run;
	unsigned long i = 0;
	int ret;

	dev = hmm_test_dma_mirror(test, &hmm_test_ops);
	KUNIT_ASSERT_EQ(test, hmm_mirror_dma_init(&dma, &dev->mirror, dev->addr,
						  dev->addr + HMM_DMA_PAGES * PAGE_SIZE), 0);
	range = hmm_test_dma_range(test, dev, 0, HMM_DMA_PAGES,
				   HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE);
	KUNIT_EXPECT_EQ(test, hmm_test_dma_map(dev, range, &dma), 0);
	hmm_mirror_dma_for_each_run(&run, &dma, dev->addr, range->end) {
		KUNIT_EXPECT_EQ(test, run.start, dev->addr + i * PAGE_SIZE);
		for (; run.start < run.end; run.start += PAGE_SIZE, run.addr += PAGE_SIZE)
			KUNIT_EXPECT_EQ(test, run.addr,
					hmm_pfn_to_phys(hmm_test_pfns(range)[i++]));
	}
	KUNIT_EXPECT_EQ(test, i, HMM_DMA_PAGES);
	hmm_test_unmap(test, dev->mm, dev->addr, HMM_DMA_PAGES);
	run.end = 0;
	KUNIT_EXPECT_FALSE(test, hmm_mirror_dma_next_run(&dma, &run, range->end));
	hmm_mirror_range_end(range);
	hmm_mirror_dma_fini(&dma);

	/* It would have to copy what is out of its reach */
	*dev->mirror.dev->dma_mask = DMA_BIT_MASK(16);
	KUNIT_EXPECT_EQ(test, hmm_mirror_dma_init(&dma, &dev->mirror, dev->addr,
						  dev->addr + PAGE_SIZE), -EOPNOTSUPP);

	/* Nor is anything to be done for it after the page has gone */
	direct.flags = HMM_MIRROR_DMA_DIRECT;
	dev = hmm_test_dma_mirror(test, &direct);
	ret = hmm_mirror_dma_init(&dma, &dev->mirror, dev->addr, dev->addr + PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, ret, dma_need_unmap(dev->mirror.dev) ? -EOPNOTSUPP : 0);
	if (!ret)
		hmm_mirror_dma_fini(&dma);
	/* Its ops are on this stack */
	hmm_test_unregister(test, dev);
}

static struct kunit_case hmm_dma_cases[] = {
	KUNIT_CASE(hmm_dma_map_and_invalidate),
	KUNIT_CASE(hmm_dma_two_pass),
	KUNIT_CASE(hmm_dma_rolls_back),
	KUNIT_CASE(hmm_dma_of_range),
	KUNIT_CASE(hmm_dma_of_part),
	KUNIT_CASE(hmm_dma_read_only),
	KUNIT_CASE(hmm_dma_dirty),
	KUNIT_CASE(hmm_dma_links_runs),
	KUNIT_CASE(hmm_dma_not_told),
	KUNIT_CASE(hmm_dma_mixed_up),
	KUNIT_CASE(hmm_dma_unregister),
	KUNIT_CASE(hmm_dma_init_errors),
	KUNIT_CASE(hmm_dma_window),
	KUNIT_CASE(hmm_dma_without_iommu),
	{ }
};

static struct kunit_suite hmm_dma_suite = {
	.name = "hmm_mirror_dma",
	.test_cases = hmm_dma_cases,
};

kunit_test_suite(hmm_dma_suite);
