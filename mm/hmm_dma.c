// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * HMM mirroring: DMA addresses that end when the page does.
 *
 * A struct hmm_mirror_dma has DMA addresses for an interval of the process's, in a struct
 * hmm_dma_map: behind an IOMMU that is one range of I/O virtual addresses, at which pages
 * come and go.  The driver maps pages in a commit; the registry unmaps them in an
 * invalidation, when the driver's callback has returned.  tools/testing/hmm_model checks the
 * order of these steps; "Model:" says what a lock, or another means of order, is called
 * there.
 *
 * hmm_dma_map_pfn() has the IOMMU synchronised for each page, which costs most of all.
 * Here that is done once for a whole range.
 */
#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/bitops.h>
#include <linux/dma-mapping.h>
#include <linux/export.h>
#include <linux/fault-inject.h>
#include <linux/hmm_mirror_dma.h>
#include <linux/iommu.h>
#include <linux/memremap.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/pci-p2pdma.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/swiotlb.h>

#include "hmm.h"

/* As in hmm_dma_map_pfn(): a copy would not be the page */
#define HMM_DMA_ATTRS	DMA_ATTR_REQUIRE_COHERENT

/* What is kept of an HMM pfn, beside the flags of hmm_dma_map_pfn() */
#define HMM_DMA_PFN	(~HMM_PFN_FLAGS | HMM_PFN_VALID | HMM_PFN_WRITE)
#define HMM_DMA_P2P	(HMM_PFN_P2PDMA | HMM_PFN_P2PDMA_BUS)

/* The tests make these fail, and see what they are called with */
VISIBLE_IF_KUNIT int hmm_dma_alloc(struct hmm_mirror_dma *dma, size_t nr)
{
	int ret;

	KUNIT_STATIC_STUB_REDIRECT(hmm_dma_alloc, dma, nr);
	ret = hmm_dma_map_alloc(dma->dev, &dma->map, nr, PAGE_SIZE);
	dma->use_iova = !ret && dma_use_iova(&dma->map.state);
	return ret;
}

VISIBLE_IF_KUNIT void hmm_dma_free(struct hmm_mirror_dma *dma)
{
	KUNIT_STATIC_STUB_REDIRECT(hmm_dma_free, dma);
	hmm_dma_map_free(dma->dev, &dma->map);
}

VISIBLE_IF_KUNIT int hmm_dma_link(struct hmm_mirror_dma *dma, size_t index, size_t nr,
				  bool write)
{
	KUNIT_STATIC_STUB_REDIRECT(hmm_dma_link, dma, index, nr, write);
	return dma_iova_link(dma->dev, &dma->map.state,
			     hmm_pfn_to_phys(dma->map.pfn_list[index]),
			     index << PAGE_SHIFT, nr << PAGE_SHIFT,
			     write ? DMA_BIDIRECTIONAL : DMA_TO_DEVICE, HMM_DMA_ATTRS);
}

VISIBLE_IF_KUNIT int hmm_dma_sync(struct hmm_mirror_dma *dma, size_t index, size_t nr)
{
	KUNIT_STATIC_STUB_REDIRECT(hmm_dma_sync, dma, index, nr);
	return dma_iova_sync(dma->dev, &dma->map.state, index << PAGE_SHIFT,
			     nr << PAGE_SHIFT);
}

/* When this returns, the IOMMU has forgotten them, whatever its flush queue is for */
VISIBLE_IF_KUNIT void hmm_dma_unlink(struct hmm_mirror_dma *dma, size_t index, size_t nr)
{
	KUNIT_STATIC_STUB_REDIRECT(hmm_dma_unlink, dma, index, nr);
	dma_iova_unlink(dma->dev, &dma->map.state, index << PAGE_SHIFT, nr << PAGE_SHIFT,
			DMA_BIDIRECTIONAL, HMM_DMA_ATTRS);
}

#ifdef CONFIG_FAIL_HMM_MIRROR

static DECLARE_FAULT_ATTR(hmm_fail_dma);

static bool hmm_dma_inject_failure(void)
{
	return should_fail(&hmm_fail_dma, 1);
}

static int __init hmm_fail_dma_init(void)
{
	return PTR_ERR_OR_ZERO(fault_create_debugfs_attr("fail_hmm_mirror_dma", NULL,
							 &hmm_fail_dma));
}
late_initcall(hmm_fail_dma_init);

#else

static inline bool hmm_dma_inject_failure(void)
{
	return false;
}

#endif /* CONFIG_FAIL_HMM_MIRROR */

static size_t hmm_dma_index(const struct hmm_mirror_dma *dma, unsigned long addr)
{
	return (addr - dma->node.start) >> PAGE_SHIFT;
}

static bool hmm_dma_is_direct(const struct hmm_mirror_dma *dma)
{
	return dma->mirror->ops->flags & HMM_MIRROR_DMA_DIRECT;
}

/* Memory of other devices has to be asked for, page by page; the device's own is no matter */
static bool hmm_dma_can_link(const struct hmm_mirror_dma *dma, unsigned long pfn)
{
	const struct page *page = hmm_pfn_to_page(pfn);

	return dma->use_iova && !is_pci_p2pdma_page(page) && !is_device_private_page(page);
}

/* May the IOMMU let the device write? */
static bool hmm_dma_writes(const struct hmm_mirror_dma *dma, unsigned long pfn)
{
	/*
	 * A table of the device's own says the same, and can be changed while the
	 * device uses the page.  A mapping in an IOMMU cannot.
	 */
	return (pfn & HMM_PFN_WRITE) || !hmm_dma_is_direct(dma);
}

/*
 * Unmaps what is mapped of [first, end).  The device has no entry for it any more.  The lock
 * is held until the IOMMU has flushed, and all is marked dirty: another update of the same
 * page finds nothing, and must not go on before.  Model: dma-unlink, dma-dirty, dma-forget
 */
static void hmm_dma_unmap(struct hmm_mirror_dma *dma, size_t first, size_t end)
{
	unsigned long *pfns = dma->map.pfn_list;
	size_t i, next;

	lockdep_assert_held(&dma->mirror->dma_lock);

	for (i = first; i < end; i = next) {
		next = i + 1;
		if (!pfns[i])
			continue;
		if (!dma->use_iova || (pfns[i] & HMM_DMA_P2P)) {
			hmm_dma_unmap_pfn(dma->dev, &dma->map, i);
			hmm_pfn_mark_dirty(pfns[i]);
			WRITE_ONCE(pfns[i], 0);
			continue;
		}
		while (next < end && pfns[next] && !(pfns[next] & HMM_DMA_P2P))
			next++;
		/* The CPU still maps them: who changes that waits for the lock */
		hmm_dma_unlink(dma, i, next - i);
		for (; i < next; i++) {
			hmm_pfn_mark_dirty(pfns[i]);
			WRITE_ONCE(pfns[i], 0);
		}
	}
}

/* Takes those back that a call has mapped which fails later on: they are not marked yet */
static void hmm_dma_roll_back(struct hmm_mirror_dma *dma, size_t first, size_t end)
{
	unsigned long *pfns = dma->map.pfn_list;
	size_t i;

	for (i = first; i < end; i++) {
		if (!pfns[i] || (pfns[i] & HMM_PFN_DMA_MAPPED))
			continue;
		/* Nothing was written to it */
		pfns[i] = (pfns[i] | HMM_PFN_DMA_MAPPED) & ~HMM_PFN_WRITE;
		hmm_dma_unmap(dma, i, i + 1);
	}
}

static int hmm_dma_map_one(struct hmm_mirror_dma *dma, size_t index, unsigned long pfn)
{
	struct pci_p2pdma_map_state p2pdma = { };
	unsigned long *ours = &dma->map.pfn_list[index];
	dma_addr_t addr;

	/* That maps for writing, too, and so the IOMMU would not refuse it */
	if (dma->use_iova && hmm_dma_is_direct(dma) && !(pfn & HMM_PFN_WRITE))
		return -EIO;
	*ours = pfn;
	addr = hmm_dma_map_pfn(dma->dev, &dma->map, index, &p2pdma);
	if (addr == DMA_MAPPING_ERROR) {
		*ours = 0;
		return -EIO;
	}
	if (!dma->use_iova)
		dma->map.dma_list[index] = addr;
	*ours &= ~HMM_PFN_DMA_MAPPED;
	return 1;
}

/*
 * Maps one page, or several that are one piece of memory.  Returns how many, or an error.
 * They are marked as mapped by hmm_dma_map() when all are.
 */
static ssize_t hmm_dma_map_some(struct hmm_mirror_dma *dma, size_t first, size_t end,
				const unsigned long *pfns)
{
	unsigned long *ours = dma->map.pfn_list;
	const unsigned long pfn = *pfns & HMM_DMA_PFN;
	bool write = hmm_dma_writes(dma, pfn);
	size_t i;
	int ret;

	if (hmm_dma_inject_failure())
		return -ENOMEM;
	if (!hmm_dma_can_link(dma, pfn))
		return hmm_dma_map_one(dma, first, pfn);

	end = first + min(end - first, dma->max_link);
	ours[first] = pfn;
	for (i = first + 1; i < end; i++) {
		unsigned long next = *++pfns & HMM_DMA_PFN;

		if (ours[i] || (next & ~HMM_PFN_WRITE) != (pfn & ~HMM_PFN_WRITE) + (i - first) ||
		    hmm_dma_writes(dma, next) != write ||
		    !hmm_dma_can_link(dma, next))
			break;
		ours[i] = next;
	}
	ret = hmm_dma_link(dma, first, i - first, write);
	if (!ret)
		return i - first;
	memset(ours + first, 0, (i - first) * sizeof(*ours));
	return ret;
}

/* What is mapped already stays.  Returns true if there is nothing to be done for it */
static bool hmm_dma_is_mapped(struct hmm_mirror_dma *dma, size_t index, unsigned long pfn)
{
	unsigned long *ours = &dma->map.pfn_list[index];

	if (!*ours)
		return false;
	/* It was invalidated, and nobody has told the registry */
	if (WARN_ON_ONCE((*ours ^ pfn) & ~HMM_PFN_FLAGS)) {
		hmm_dma_unmap(dma, index, index + 1);
		return false;
	}
	if ((*ours | ~pfn) & HMM_PFN_WRITE)
		return true;
	/* It may be written to now, without an invalidation: the process has done so */
	if (hmm_dma_is_direct(dma) && !(*ours & HMM_PFN_P2PDMA_BUS)) {
		hmm_dma_unmap(dma, index, index + 1);
		return false;
	}
	WRITE_ONCE(*ours, *ours | HMM_PFN_WRITE);
	return true;
}

static bool hmm_dma_is_page(unsigned long pfn)
{
	/* The device's own memory is no matter of DMA */
	return (pfn & HMM_PFN_VALID) && !is_device_private_page(hmm_pfn_to_page(pfn));
}

/* All of [first, end), or nothing */
static int hmm_dma_map(struct hmm_mirror_dma *dma, size_t first, size_t end,
		       const unsigned long *pfns)
{
	size_t i, linked_first = end, linked_end = first;
	unsigned long *ours = dma->map.pfn_list;
	ssize_t nr;
	int ret = 0;

	for (i = first; i < end; i += nr) {
		const unsigned long *pfn = pfns + (i - first);

		nr = 1;
		if (!hmm_dma_is_page(*pfn) || hmm_dma_is_mapped(dma, i, *pfn))
			continue;
		nr = hmm_dma_map_some(dma, i, end, pfn);
		if (nr < 0) {
			ret = nr;
			goto roll_back;
		}
		linked_first = min(linked_first, i);
		linked_end = i + nr;
	}
	if (linked_first >= linked_end)
		return 0;
	if (dma->use_iova)
		ret = hmm_dma_sync(dma, linked_first, linked_end - linked_first);
	if (ret)
		goto roll_back;
	/* Model: dma-sync */
	for (i = linked_first; i < linked_end; i++)
		if (ours[i])
			WRITE_ONCE(ours[i], ours[i] | HMM_PFN_DMA_MAPPED);
	return 0;

roll_back:
	hmm_dma_roll_back(dma, first, end);
	return ret;
}

#ifdef CONFIG_IOMMU_DMA
/*
 * virtio-iommu has no page table: what is mapped at a time is one mapping for it, which it
 * can only unmap as a whole.  It says so nowhere but by what it is.
 */
static bool hmm_dma_is_virtio(struct device *dev)
{
	struct device *iommu = dev->iommu->iommu_dev->dev;

	return iommu && iommu->parent && iommu->parent->bus &&
	       !strcmp(iommu->parent->bus->name, "virtio");
}
#endif

/*
 * The largest piece that is linked at a time, in pages: a page of the IOMMU that is larger
 * than one of the CPU could not be unmapped in part.
 */
static size_t hmm_dma_max_link(struct device *dev)
{
#ifdef CONFIG_IOMMU_DMA
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);
	unsigned long larger;

	if (domain && !hmm_dma_is_virtio(dev)) {
		larger = domain->pgsize_bitmap & ~(2 * PAGE_SIZE - 1);
		return larger ? BIT(__ffs(larger)) / PAGE_SIZE - 1 : SIZE_MAX;
	}
#endif
	return 1;
}

/* What cannot be done for this device */
static int hmm_dma_check(struct hmm_mirror_dma *dma, size_t nr)
{
	/* Pages of the IOMMU that are larger hold more than what the device may reach */
	if (dma_get_merge_boundary(dma->dev) >= PAGE_SIZE)
		return -EOPNOTSUPP;
	if (dma->use_iova)
		return 0;
	/* hmm_dma_map_alloc() sees that once the device has been given a copy, and not before */
	if (is_swiotlb_force_bounce(dma->dev))
		return -EOPNOTSUPP;
	/* What is unmapped one by one may be flushed later */
	if (hmm_dma_is_direct(dma) && dma_need_unmap(dma->dev))
		return -EOPNOTSUPP;
	/* So that there is one place to look for them */
	if (!dma->map.dma_list)
		dma->map.dma_list = kvcalloc(nr, sizeof(*dma->map.dma_list), GFP_KERNEL);
	return dma->map.dma_list ? 0 : -ENOMEM;
}

/**
 * hmm_mirror_dma_init() - get DMA addresses for an interval of a mirrored address space
 * @dma: to be initialised; need not be zeroed
 * @mirror: registered mirror, with &hmm_mirror.dev set
 * @start: first address of the process, in bytes, page aligned
 * @end: end of these, in bytes, exclusive, page aligned
 *
 * Nothing is mapped yet.  Behind an IOMMU the device's addresses for all of the interval
 * are reserved, aligned as the interval's size is where that is a power of two.  An
 * interval is meant to be what a leaf table of the device is for, such as 2 MiB; unmapping
 * all of it is done with interrupts on, but without a chance to reschedule.
 *
 * Context: process context, with no lock held that a callback of the mirror takes.  Sleeps.
 *
 * Return: 0, or
 *
 * * -EINVAL: the mirror has no device, or the interval is empty, not page aligned, or not
 *   in the mirror's window; or the mirror is not registered (a bug of the driver, warned of)
 * * -EEXIST: the mirror has DMA addresses for a part of the interval already
 * * -EOPNOTSUPP: the device cannot have its pages in place: they would be copied to where
 *   it reaches them, or it is not coherent, or its IOMMU has no page that is small enough;
 *   or the mirror is %HMM_MIRROR_DMA_DIRECT, and the device could use the page for some
 *   time after it was unmapped, as there are no I/O virtual addresses to be had
 * * -ENOMEM: out of memory
 */
int hmm_mirror_dma_init(struct hmm_mirror_dma *dma, struct hmm_mirror *mirror,
			unsigned long start, unsigned long end)
{
	int ret;

	*dma = (struct hmm_mirror_dma){
		.node = { .start = start, .last = end - 1 },
		.mirror = mirror,
		.dev = mirror->dev,
	};
	RB_CLEAR_NODE(&dma->node.rb);
	if (WARN_ON_ONCE(!mirror->hmm) || !dma->dev || start >= end || !PAGE_ALIGNED(start | end) ||
	    start < mirror->window_start || end - 1 > mirror->window_end - 1) {
		ret = -EINVAL;
		goto error;
	}

	ret = hmm_dma_alloc(dma, (end - start) >> PAGE_SHIFT);
	if (ret)
		goto error;
	ret = hmm_dma_check(dma, (end - start) >> PAGE_SHIFT);
	if (ret)
		goto free;
	dma->max_link = hmm_dma_max_link(dma->dev);

	/* Model: dma-add */
	spin_lock(&mirror->dma_lock);
	if (interval_tree_iter_first(&mirror->dma, start, end - 1))
		ret = -EEXIST;
	else
		interval_tree_insert(&dma->node, &mirror->dma);
	spin_unlock(&mirror->dma_lock);
	if (!ret)
		return 0;
free:
	hmm_dma_free(dma);
error:
	dma->mirror = NULL;
	return ret;
}
EXPORT_SYMBOL_GPL(hmm_mirror_dma_init);

/**
 * hmm_mirror_dma_fini() - unmap all, and give the DMA addresses back
 * @dma: DMA addresses by hmm_mirror_dma_init()
 *
 * The device has no entries for the pages any more, and no translations of them.  Once for
 * each hmm_mirror_dma_init() that has succeeded.
 *
 * Context: process context, before hmm_mirror_unregister().  May sleep.
 */
void hmm_mirror_dma_fini(struct hmm_mirror_dma *dma)
{
	struct hmm_mirror *mirror = dma->mirror;

	might_sleep();
	if (WARN_ON_ONCE(!mirror))
		return;
	/* Else the mirror has gone, see hmm_dma_drop().  Model: dma-fini-lock, dma-remove */
	if (!RB_EMPTY_NODE(&dma->node.rb)) {
		spin_lock(&mirror->dma_lock);
		hmm_dma_unmap(dma, 0, hmm_dma_index(dma, dma->node.last) + 1);
		interval_tree_remove(&dma->node, &mirror->dma);
		spin_unlock(&mirror->dma_lock);
	}
	hmm_dma_free(dma);
	dma->mirror = NULL;
}
EXPORT_SYMBOL_GPL(hmm_mirror_dma_fini);

/**
 * hmm_mirror_range_dma_map() - map the pages of a range for the device
 * @range: range in flight, that was read
 * @dma: DMA addresses of the same mirror, for at least a part of the range
 *
 * Maps each page that is in both, and is %HMM_PFN_VALID, for the device to read, and to
 * write where it is %HMM_PFN_WRITE, and remembers it: so &hmm_mirror_range.pfns is not
 * needed any more.  What is mapped already stays as it is.  Memory of other PCI devices is mapped
 * where the device reaches it, see Documentation/driver-api/pci/p2pdma.rst; that of the
 * device itself, which is device private, is left out.
 *
 * Where a table of the device's own keeps it from writing, all is mapped for reading and
 * writing.  With %HMM_MIRROR_DMA_DIRECT only what is writable is, so a page that has become
 * writable since it was mapped is mapped anew, and must not be in use by the device.
 *
 * The pages are unmapped by the registry, when the mirror's callback has returned true for
 * an invalidation of them (or, with two passes, invalidate_finish() has returned); by
 * hmm_mirror_dma_unmap(), and by hmm_mirror_dma_fini().  What was writable is marked dirty
 * then, as by hmm_pfn_mark_dirty(): the driver need not.
 *
 * This is all or nothing.  With an error nothing is mapped that was not before, except that
 * with %HMM_MIRROR_DMA_DIRECT what was to be mapped anew may not be mapped at all.
 *
 * Context: the caller holds the lock that the mirror's callback takes, and
 * writes the device's entries before it drops it.  Does not sleep.
 *
 * Return: 0, or
 *
 * * -EAGAIN: the range is not valid, see hmm_mirror_range_valid(); so this may be what a
 *   commit returns
 * * -EINVAL: the range and @dma are not of one mirror, or have no address in common
 * * -ENOMEM: no memory for a page table of the IOMMU, which cannot be waited for here.
 *   Worth another try later
 * * -EIO: the DMA API has no address for a page, as for memory of another device that this
 *   one does not reach
 */
int hmm_mirror_range_dma_map(struct hmm_mirror_range *range, struct hmm_mirror_dma *dma)
{
	unsigned long start = max(range->start, dma->node.start);
	unsigned long end = min(range->end, dma->node.last + 1);
	int ret;

	if (!hmm_mirror_range_valid(range))
		return -EAGAIN;
	if (WARN_ON_ONCE(range->mirror != dma->mirror) || start >= end)
		return -EINVAL;

	/* Inside the driver's lock.  Model: dma-map-lock */
	spin_lock(&dma->mirror->dma_lock);
	ret = hmm_dma_map(dma, hmm_dma_index(dma, start), hmm_dma_index(dma, end),
			  range->pfns + ((start - range->start) >> PAGE_SHIFT));
	spin_unlock(&dma->mirror->dma_lock);
	return ret;
}
EXPORT_SYMBOL_GPL(hmm_mirror_range_dma_map);

/**
 * hmm_mirror_dma_unmap() - unmap pages that the device does not use any more
 * @dma: DMA addresses
 * @start: first address of the process, in bytes, page aligned
 * @end: end of these, in bytes, exclusive, page aligned
 *
 * For entries that the driver gives up by itself.  For those that an invalidation takes
 * away it need not be called.  What @dma is not for is left out.
 *
 * Context: the caller holds the lock that the mirror's callback takes; the device has no
 * entries for the pages any more, and no translations of them.  Does not sleep.
 */
void hmm_mirror_dma_unmap(struct hmm_mirror_dma *dma, unsigned long start,
			  unsigned long end)
{
	start = max(start, dma->node.start);
	end = min(end, dma->node.last + 1);
	if (start >= end)
		return;

	/* Model: dma-give-up */
	spin_lock(&dma->mirror->dma_lock);
	hmm_dma_unmap(dma, hmm_dma_index(dma, start), hmm_dma_index(dma, end));
	spin_unlock(&dma->mirror->dma_lock);
}
EXPORT_SYMBOL_GPL(hmm_mirror_dma_unmap);

static dma_addr_t hmm_dma_addr(const struct hmm_mirror_dma *dma, size_t index,
			       unsigned long pfn)
{
	struct pci_p2pdma_map_state p2pdma = { };

	if (!dma->use_iova)
		return dma->map.dma_list[index];
	if (likely(!(pfn & HMM_PFN_P2PDMA_BUS)))
		return dma->map.state.addr + (index << PAGE_SHIFT);
	pci_p2pdma_state(&p2pdma, dma->dev, hmm_pfn_to_page(pfn));
	return pci_p2pdma_bus_addr_map(p2pdma.mem, hmm_pfn_to_phys(pfn));
}

/**
 * hmm_mirror_dma_next_run() - find the next pages that are one piece to the device
 * @dma: DMA addresses
 * @run: run to go on from; its @end is where to begin, in bytes, page aligned.  Set to what
 *	is found
 * @end: end of where to look, in bytes, exclusive, page aligned
 *
 * See hmm_mirror_dma_for_each_run().
 *
 * Context: the caller holds the lock that the mirror's callback takes, and looks at pages
 * that it has just mapped, or that the device has entries for.  Does not sleep.
 *
 * Return: true, or false when there are no more
 */
bool hmm_mirror_dma_next_run(const struct hmm_mirror_dma *dma, struct hmm_dma_run *run,
			     unsigned long end)
{
	unsigned long addr = max(run->end, dma->node.start);
	unsigned long pfn = 0, flags;
	dma_addr_t next;
	size_t i;

	end = min(end, dma->node.last + 1);
	for (; addr < end; addr += PAGE_SIZE) {
		i = hmm_dma_index(dma, addr);
		pfn = READ_ONCE(dma->map.pfn_list[i]);
		if (pfn & HMM_PFN_DMA_MAPPED)
			break;
	}
	if (addr >= end)
		return false;

	*run = (struct hmm_dma_run){
		.start = addr,
		.addr = hmm_dma_addr(dma, i, pfn),
		.write = pfn & HMM_PFN_WRITE,
	};
	flags = pfn & (HMM_PFN_DMA_MAPPED | HMM_PFN_WRITE);
	next = run->addr;
	for (addr += PAGE_SIZE; addr < end; addr += PAGE_SIZE) {
		pfn = READ_ONCE(dma->map.pfn_list[++i]);
		next += PAGE_SIZE;
		if ((pfn & (HMM_PFN_DMA_MAPPED | HMM_PFN_WRITE)) != flags ||
		    hmm_dma_addr(dma, i, pfn) != next)
			break;
	}
	run->end = addr;
	return true;
}
EXPORT_SYMBOL_GPL(hmm_mirror_dma_next_run);

/**
 * hmm_mirror_dma_phys() - find out where the device gets to by a DMA address
 * @dma: DMA addresses
 * @addr: DMA address, in bytes, of a run of @dma
 *
 * Looks into the page table of the IOMMU, for who compares that with the CPU's, or shows it.
 * Without an IOMMU that translates, the address is what it is.  It is wrong for memory of
 * another device that is reached by a bus address.
 *
 * Context: as for hmm_mirror_dma_next_run().
 *
 * Return: physical address in bytes, 0 if the IOMMU has nothing there
 */
phys_addr_t hmm_mirror_dma_phys(const struct hmm_mirror_dma *dma, dma_addr_t addr)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(dma->dev);

	return domain ? iommu_iova_to_phys(domain, addr) : addr;
}
EXPORT_SYMBOL_GPL(hmm_mirror_dma_phys);

/* The callback of @mirror has returned: the device uses none of these pages any more */
void __hmm_dma_invalidate(struct hmm_mirror *mirror, const struct mmu_notifier_range *update)
{
	unsigned long start = update->start, last = update->end - 1, from;
	struct interval_tree_node *node;

	/* Also if there is nothing to do: another may be about to.  Model: dma-lock, dma-resched */
	spin_lock(&mirror->dma_lock);
	for (from = start; from <= last; ) {
		struct hmm_mirror_dma *dma;

		node = interval_tree_iter_first(&mirror->dma, from, last);
		if (!node)
			break;
		dma = container_of(node, struct hmm_mirror_dma, node);
		hmm_dma_unmap(dma, hmm_dma_index(dma, max(start, node->start)),
			      hmm_dma_index(dma, min(last, node->last)) + 1);
		from = node->last + 1;
		if (mmu_notifier_range_blockable(update))
			cond_resched_lock(&mirror->dma_lock);
	}
	spin_unlock(&mirror->dma_lock);
}

/* The mirror goes, and DMA addresses of it are still there, which is a bug of the driver */
void hmm_dma_drop(struct hmm_mirror *mirror)
{
	struct interval_tree_node *node;

	/* Model: dma-drop */
	spin_lock(&mirror->dma_lock);
	while ((node = interval_tree_iter_first(&mirror->dma, 0, ULONG_MAX))) {
		struct hmm_mirror_dma *dma = container_of(node, struct hmm_mirror_dma, node);

		hmm_dma_unmap(dma, 0, hmm_dma_index(dma, node->last) + 1);
		interval_tree_remove(node, &mirror->dma);
		RB_CLEAR_NODE(&node->rb);
	}
	spin_unlock(&mirror->dma_lock);
}
