/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HMM mirroring: DMA addresses that end when the page does.
 *
 * See Documentation/mm/hmm_mirror_dma.rst.
 */
#ifndef _LINUX_HMM_MIRROR_DMA_H
#define _LINUX_HMM_MIRROR_DMA_H

#include <linux/hmm.h>

#ifdef CONFIG_HMM_MIRROR_DMA

#include <linux/hmm-dma.h>
#include <linux/interval_tree.h>

/**
 * DOC: dma
 *
 * A device that is not a fake reaches a page by a DMA address, which may belong to an
 * IOMMU.  A driver that says with &hmm_mirror.dev which device that is has one
 * &struct hmm_mirror_dma for each leaf table of the device, 2 MiB of addresses, say, and
 * maps the pages of a range in the commit, under the lock that its callback takes::
 *
 *	static int my_commit(struct hmm_mirror_range *range, void *data)
 *	{
 *		struct my_leaf *leaf = data;
 *		struct hmm_dma_run run;
 *		int ret;
 *
 *		mutex_lock(&leaf->dev->lock);
 *		ret = hmm_mirror_range_dma_map(range, &leaf->dma);
 *		if (!ret)
 *			hmm_mirror_dma_for_each_run(&run, &leaf->dma, range->start, range->end)
 *				my_map(leaf, run.start, run.end, run.addr, run.write);
 *		mutex_unlock(&leaf->dev->lock);
 *		return ret;
 *	}
 *
 * There is no call for the way back: when the driver's callback has returned, the device
 * has no entry for the pages any more and no translation of them in its TLB, and the
 * registry unmaps them, before the CPU page table changes.  So the device reaches a page
 * for no longer than the process has it.
 */

/**
 * struct hmm_mirror_dma - DMA addresses for an interval of a mirrored address space
 *
 * Its fields are private.  It is in the driver's memory, and may be moved or freed after
 * hmm_mirror_dma_fini() only.
 */
struct hmm_mirror_dma {
	/* private: */
	struct interval_tree_node node;	/* of the mirror's: the interval, in bytes */
	struct hmm_mirror *mirror;
	struct device *dev;
	struct hmm_dma_map map;		/* its pfns are 0 for what is not mapped */
	bool use_iova;			/* by way of @map.state, rather than of @map.dma_list */
	size_t max_link;		/* pages that are linked at a time */
};

/**
 * struct hmm_dma_run - pages that are one piece to the device
 * @start: first address in the process, in bytes
 * @end: end of these, in bytes, exclusive
 * @addr: DMA address of the first
 * @write: may the device write to them?  The same for all
 */
struct hmm_dma_run {
	unsigned long start;
	unsigned long end;
	dma_addr_t addr;
	bool write;
};

/* Context, locks and errors of these are described in mm/hmm_dma.c */
int __must_check hmm_mirror_dma_init(struct hmm_mirror_dma *dma, struct hmm_mirror *mirror,
				     unsigned long start, unsigned long end);
void hmm_mirror_dma_fini(struct hmm_mirror_dma *dma);
int __must_check hmm_mirror_range_dma_map(struct hmm_mirror_range *range,
					  struct hmm_mirror_dma *dma);
void hmm_mirror_dma_unmap(struct hmm_mirror_dma *dma, unsigned long start,
			  unsigned long end);
bool hmm_mirror_dma_next_run(const struct hmm_mirror_dma *dma, struct hmm_dma_run *run,
			     unsigned long end);
phys_addr_t hmm_mirror_dma_phys(const struct hmm_mirror_dma *dma, dma_addr_t addr);

/**
 * hmm_mirror_dma_for_each_run() - go through what is mapped
 * @run: &struct hmm_dma_run that is set to each
 * @dma: DMA addresses
 * @from: first address, in bytes, page aligned
 * @to: end, in bytes, exclusive, page aligned
 *
 * Pages that are not mapped are skipped, as are addresses that @dma is not for.  A run is
 * as long as the DMA addresses go on, whatever the page sizes are: an IOMMU makes
 * one piece of pages that lie anywhere.
 *
 * Context: as for hmm_mirror_dma_next_run().
 */
#define hmm_mirror_dma_for_each_run(run, dma, from, to) \
	for ((run)->end = (from); hmm_mirror_dma_next_run(dma, run, to); )

#if IS_ENABLED(CONFIG_KUNIT)
/* For mm/tests/hmm/kunit_dma.c */
int hmm_dma_alloc(struct hmm_mirror_dma *dma, size_t nr);
void hmm_dma_free(struct hmm_mirror_dma *dma);
int hmm_dma_link(struct hmm_mirror_dma *dma, size_t index, size_t nr, bool write);
int hmm_dma_sync(struct hmm_mirror_dma *dma, size_t index, size_t nr);
void hmm_dma_unlink(struct hmm_mirror_dma *dma, size_t index, size_t nr);
#endif

#endif /* CONFIG_HMM_MIRROR_DMA */

#endif /* _LINUX_HMM_MIRROR_DMA_H */
