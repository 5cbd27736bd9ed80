// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Device page faults with DMA: pages that are there are mapped for a device behind an
 * IOMMU, and unmapped by an invalidation of all of them; beside drm_gpusvm as the driver xe
 * uses it, and beside the on-demand paging of RDMA as mlx5 uses it.
 *
 * The device is a PCI function that no driver has, QEMU's edu, the same for all sides.  It
 * makes no transfer: what is measured is the way to its addresses.  All sides map for reading
 * and writing, write the DMA address of each page to the device's table, which is an array,
 * and clear that, in a loop of their own, before they unmap.
 *
 * The sides differ in what is done once, and what for each fault.  A mirror has its I/O
 * virtual addresses for a table of the device, 2 MiB, and RDMA for a memory region, which
 * here is the pages of the row, and both keep an array of pfns for these.  drm_gpusvm
 * allocates addresses, an array of pfns and one of DMA addresses when it gets pages, and gives
 * all but the last back; xe looks its range up by the address before that, which is not
 * counted.  A mirror has a range in flight for this fault alone; the others have a notifier
 * that stays, so that a fault of them tries again for what touches another page of it.
 *
 * They also differ in what is done at all.  A mirror and RDMA mark pages dirty that the device
 * may have written to, when they are unmapped; drm_gpusvm leaves them as they are.  A mirror
 * and RDMA can unmap a part of what was mapped, and so map each page as one; drm_gpusvm unmaps
 * whole ranges only, so a huge page is one entry in the IOMMU.  RDMA has the IOMMU flushed
 * for each page, and the others once.
 */
#include <drm/drm_device.h>
#include <drm/drm_gpusvm.h>
#include <drm/drm_pagemap.h>
#include <kunit/resource.h>
#include <kunit/test.h>
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/hmm_mirror_dma.h>
#include <linux/iommu.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pci-p2pdma.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <rdma/ib_umem_odp.h>
#include <rdma/ib_verbs.h>

#include "bench.h"

#define HMM_BENCH_VENDOR	0x1234
#define HMM_BENCH_DEVICE	0x11e8
/* The default of xe.svm_notifier_size */
#define HMM_BENCH_NOTIFIER_SIZE	SZ_512M
/* Of an entry of the device's table, beside the DMA address */
#define HMM_BENCH_ENTRY		3UL

/* A device; each side has one, of which it uses a part */
struct hmm_bench_dma {
	struct hmm_bench_dev *dev;
	struct device *device;

	/* Ours */
	struct hmm_mirror_dma dma;

	/* drm_gpusvm; of the device it needs no more than &drm_device.dev */
	struct drm_device drm;
	struct drm_gpusvm gpusvm;
	struct hmm_bench_gpusvm_range *range;

	/* On-demand paging; likewise &ib_device.dma_device */
	struct ib_device ib;
	struct ib_umem_odp *odp;
};

/* As struct xe_svm_range */
struct hmm_bench_gpusvm_range {
	struct drm_gpusvm_range base;
	struct drm_gpusvm_pages pages;
};

static void hmm_bench_dma_enter(struct hmm_bench_dev *dev, unsigned long index, dma_addr_t addr)
{
	WRITE_ONCE(dev->table[index], addr | HMM_BENCH_ENTRY);
}

static void hmm_bench_dma_clear(struct hmm_bench_dev *dev, unsigned long start,
				unsigned long end)
{
	start = max(start, dev->base);
	end = min(end, hmm_bench_end(dev));
	for (; start < end; start += PAGE_SIZE)
		WRITE_ONCE(dev->table[(start - dev->base) >> PAGE_SHIFT], 0);
}

KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_dma_put_device, pci_dev_put, struct pci_dev *);

static struct hmm_bench_dev *hmm_bench_dma_dev(struct kunit *test, unsigned long pages,
					       bool huge)
{
	struct hmm_bench_dev *dev = hmm_bench_dev(test, pages);
	struct hmm_bench_dma *dma = hmm_bench_alloc(test, 1, sizeof(*dma));
	struct pci_dev *pdev = pci_get_device(HMM_BENCH_VENDOR, HMM_BENCH_DEVICE, NULL);

	if (!pdev)
		kunit_skip(test, "there is no such PCI device");
	hmm_bench_defer(test, hmm_bench_dma_put_device, pdev);
	if (!device_iommu_mapped(&pdev->dev))
		kunit_skip(test, "the PCI device is not behind an IOMMU");
	KUNIT_ASSERT_EQ(test, 0, dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64)));

	dma->dev = dev;
	dma->device = &pdev->dev;
	dev->dma = dma;
	hmm_bench_memory(test, dev, huge);
	dev->at = dev->base;
	dev->at_end = hmm_bench_end(dev);
	return dev;
}

/* Ours */

static bool hmm_bench_dma_invalidate(struct hmm_mirror *mirror,
				     const struct mmu_notifier_range *update)
{
	struct hmm_bench_dev *dev = container_of(mirror, struct hmm_bench_dev, mirror);

	if (!mmu_notifier_range_blockable(update))
		return false;
	mutex_lock(&dev->mutex);
	hmm_bench_dma_clear(dev, update->start, update->end);
	mutex_unlock(&dev->mutex);
	return true;
}

static const struct hmm_mirror_ops hmm_bench_dma_ops = {
	.invalidate = hmm_bench_dma_invalidate,
};

static int hmm_bench_dma_commit(struct hmm_mirror_range *range, void *data)
{
	struct hmm_bench_dev *dev = data;
	struct hmm_dma_run run;
	unsigned long addr;
	int ret;

	mutex_lock(&dev->mutex);
	ret = hmm_mirror_range_dma_map(range, &dev->dma->dma);
	if (!ret) {
		hmm_mirror_dma_for_each_run(&run, &dev->dma->dma, range->start, range->end) {
			for (addr = run.start; addr < run.end; addr += PAGE_SIZE)
				hmm_bench_dma_enter(dev, (addr - dev->base) >> PAGE_SHIFT,
						    run.addr + (addr - run.start));
		}
	}
	mutex_unlock(&dev->mutex);
	return ret;
}

static void hmm_bench_dma_map(struct hmm_bench_dev *dev, unsigned long n)
{
	if (hmm_mirror_range_begin(&dev->range, &dev->mirror)) {
		dev->errors++;
		return;
	}
	dev->errors += !!hmm_mirror_range_map(&dev->range, HMM_BENCH_TIMEOUT,
					      hmm_bench_dma_commit, dev);
	hmm_mirror_range_end(&dev->range);
}

KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_dma_unregister, hmm_mirror_unregister,
			    struct hmm_mirror *);
KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_dma_fini, hmm_mirror_dma_fini, struct hmm_mirror_dma *);

static struct hmm_bench_dev *hmm_bench_dma_ours(struct kunit *test, unsigned long pages,
						bool huge)
{
	struct hmm_bench_dev *dev = hmm_bench_dma_dev(test, pages, huge);
	struct hmm_bench_dma *dma = dev->dma;

	dev->mirror.dev = dma->device;
	KUNIT_ASSERT_EQ(test, 0, hmm_bench_do_register(&dev->mirror, dev->mm,
						       &hmm_bench_dma_ops));
	hmm_bench_defer(test, hmm_bench_dma_unregister, &dev->mirror);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_dma_init(&dma->dma, &dev->mirror, dev->base,
						     dev->base + PMD_SIZE));
	hmm_bench_defer(test, hmm_bench_dma_fini, &dma->dma);
	return dev;
}

/*
 * As drivers/gpu/drm/xe/xe_svm.c, on an integrated GPU, where nothing migrates.  Without the
 * GPU's own fences, locks of its page tables, and statistics.
 */

static struct drm_gpusvm_range *hmm_bench_gpusvm_range_alloc(struct drm_gpusvm *gpusvm)
{
	struct hmm_bench_dma *dma = container_of(gpusvm, struct hmm_bench_dma, gpusvm);
	struct hmm_bench_gpusvm_range *range = kzalloc_obj(*range);

	if (!range)
		return NULL;
	drm_gpusvm_init_pages(&range->pages, &dma->drm);
	return &range->base;
}

static void hmm_bench_gpusvm_range_free(struct drm_gpusvm_range *base)
{
	struct hmm_bench_gpusvm_range *range =
		container_of(base, struct hmm_bench_gpusvm_range, base);

	drm_gpusvm_free_pages(base->gpusvm, &range->pages,
			      drm_gpusvm_range_size(base) >> PAGE_SHIFT);
	kfree(range);
}

/* Called with the lock that drm_gpusvm_notifier_lock() takes for reading */
static void hmm_bench_gpusvm_invalidate(struct drm_gpusvm *gpusvm,
					struct drm_gpusvm_notifier *notifier,
					const struct mmu_notifier_range *update)
{
	struct hmm_bench_dma *dma = container_of(gpusvm, struct hmm_bench_dma, gpusvm);
	unsigned long start = max(update->start, drm_gpusvm_notifier_start(notifier));
	unsigned long end = min(update->end, drm_gpusvm_notifier_end(notifier));
	struct drm_gpusvm_range *first = drm_gpusvm_range_find(notifier, start, end);
	struct drm_gpusvm_ctx ctx = { .in_notifier = true };
	struct drm_gpusvm_range *range;

	range = first;
	drm_gpusvm_for_each_range(range, notifier, start, end)
		hmm_bench_dma_clear(dma->dev, drm_gpusvm_range_start(range),
				    drm_gpusvm_range_end(range));
	range = first;
	drm_gpusvm_for_each_range(range, notifier, start, end)
		drm_gpusvm_unmap_pages(gpusvm,
				       &container_of(range, struct hmm_bench_gpusvm_range,
						     base)->pages,
				       drm_gpusvm_range_size(range) >> PAGE_SHIFT, &ctx);
}

static const struct drm_gpusvm_ops hmm_bench_gpusvm_ops = {
	.range_alloc = hmm_bench_gpusvm_range_alloc,
	.range_free = hmm_bench_gpusvm_range_free,
	.invalidate = hmm_bench_gpusvm_invalidate,
};

static void hmm_bench_gpusvm_map(struct hmm_bench_dev *dev, unsigned long n)
{
	struct hmm_bench_dma *dma = dev->dma;
	struct hmm_bench_gpusvm_range *range = dma->range;
	struct drm_gpusvm_ctx ctx = { };
	unsigned long i, j, offset;
	bool valid;

	do {
		if (drm_gpusvm_get_pages(&dma->gpusvm, &range->pages, dev->mm,
					 &range->base.notifier->notifier,
					 drm_gpusvm_range_start(&range->base),
					 drm_gpusvm_range_end(&range->base), &ctx)) {
			dev->errors++;
			return;
		}
		drm_gpusvm_notifier_lock(&dma->gpusvm);
		valid = drm_gpusvm_pages_valid(&dma->gpusvm, &range->pages);
		for (i = 0, j = 0; valid && i < dev->pages; j++) {
			const struct drm_pagemap_addr *piece = &range->pages.dma_addr[j];

			for (offset = 0; offset < PAGE_SIZE << piece->order; offset += PAGE_SIZE)
				hmm_bench_dma_enter(dev, i++, piece->addr + offset);
		}
		drm_gpusvm_notifier_unlock(&dma->gpusvm);
	} while (!valid);
}

static void hmm_bench_gpusvm_fini(void *data)
{
	struct hmm_bench_dma *dma = data;

	if (dma->range)
		drm_gpusvm_range_remove(&dma->gpusvm, &dma->range->base);
	drm_gpusvm_fini(&dma->gpusvm);
}

static struct hmm_bench_dev *hmm_bench_dma_gpusvm(struct kunit *test, unsigned long pages,
						  bool huge)
{
	static const unsigned long chunks[] = { SZ_2M, SZ_64K, SZ_4K };
	struct hmm_bench_dev *dev = hmm_bench_dma_dev(test, pages, huge);
	struct hmm_bench_dma *dma = dev->dma;
	struct drm_gpusvm_ctx ctx = { };
	struct drm_gpusvm_range *range;

	dma->drm.dev = dma->device;
	KUNIT_ASSERT_EQ(test, 0, drm_gpusvm_init(&dma->gpusvm, "bench", dev->mm, 0, TASK_SIZE,
						 HMM_BENCH_NOTIFIER_SIZE, &hmm_bench_gpusvm_ops,
						 chunks, ARRAY_SIZE(chunks)));
	hmm_bench_defer(test, hmm_bench_gpusvm_fini, dma);
	range = drm_gpusvm_range_find_or_insert(&dma->gpusvm, dev->base, dev->base,
						hmm_bench_end(dev), &ctx);
	KUNIT_ASSERT_FALSE(test, IS_ERR(range));
	dma->range = container_of(range, struct hmm_bench_gpusvm_range, base);
	/* All of the row are one range, as they would be in xe */
	KUNIT_ASSERT_EQ(test, drm_gpusvm_range_start(range), dev->base);
	KUNIT_ASSERT_EQ(test, drm_gpusvm_range_end(range), hmm_bench_end(dev));
	return dev;
}

/* As drivers/infiniband/hw/mlx5/odp.c, which writes to the device's table by a work queue */

static bool hmm_bench_odp_invalidate(struct mmu_interval_notifier *notifier,
				     const struct mmu_notifier_range *update,
				     unsigned long seq)
{
	struct ib_umem_odp *odp = container_of(notifier, struct ib_umem_odp, notifier);
	struct hmm_bench_dev *dev = odp->private;
	unsigned long start, end;

	if (!mmu_notifier_range_blockable(update))
		return false;
	mutex_lock(&odp->umem_mutex);
	mmu_interval_set_seq(notifier, seq);
	if (odp->npages) {
		start = max(update->start, ib_umem_start(odp));
		end = min(update->end, ib_umem_end(odp));
		hmm_bench_dma_clear(dev, start, end);
		ib_umem_odp_unmap_dma_pages(odp, start, end);
	}
	mutex_unlock(&odp->umem_mutex);
	return true;
}

static const struct mmu_interval_notifier_ops hmm_bench_odp_ops = {
	.invalidate = hmm_bench_odp_invalidate,
};

static void hmm_bench_odp_map(struct hmm_bench_dev *dev, unsigned long n)
{
	struct ib_umem_odp *odp = dev->dma->odp;
	struct pci_p2pdma_map_state p2pdma = { };
	unsigned long i;
	dma_addr_t addr;
	int ret;

	ret = ib_umem_odp_map_dma_and_lock(odp, dev->base, dev->pages * PAGE_SIZE,
					   HMM_PFN_WRITE, true);
	if (ret < 0) {
		dev->errors++;
		return;
	}
	for (i = 0; i < ret; i++) {
		if (!(odp->map.pfn_list[i] & HMM_PFN_VALID))
			continue;
		addr = hmm_dma_map_pfn(dev->dma->device, &odp->map, i, &p2pdma);
		if (ib_dma_mapping_error(odp->umem.ibdev, addr)) {
			dev->errors++;
			break;
		}
		hmm_bench_dma_enter(dev, i, addr);
		odp->npages++;
	}
	mutex_unlock(&odp->umem_mutex);
}

KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_odp_release, ib_umem_odp_release, struct ib_umem_odp *);

static struct hmm_bench_dev *hmm_bench_dma_odp(struct kunit *test, unsigned long pages,
					       bool huge)
{
	struct hmm_bench_dev *dev = hmm_bench_dma_dev(test, pages, huge);
	struct hmm_bench_dma *dma = dev->dma;

	dma->ib.dma_device = dma->device;
	kthread_use_mm(dev->mm);
	dma->odp = ib_umem_odp_get(&dma->ib, dev->base, pages * PAGE_SIZE,
				   IB_ACCESS_ON_DEMAND | IB_ACCESS_LOCAL_WRITE,
				   &hmm_bench_odp_ops);
	kthread_unuse_mm(dev->mm);
	KUNIT_ASSERT_FALSE(test, IS_ERR(dma->odp));
	hmm_bench_defer(test, hmm_bench_odp_release, dma->odp);
	dma->odp->private = dev;
	return dev;
}

/*
 * How often is the IOMMU told to invalidate its IOTLB?  What the driver of Intel's IOMMU puts
 * in its queue is traced.  Nothing else uses an IOMMU meanwhile.
 */

/* Types of what is in the queue: iotlb_inv and p_iotlb_inv of drivers/iommu/intel/iommu.h */
#define HMM_BENCH_QI_IOTLB	2
#define HMM_BENCH_QI_EIOTLB	6

struct intel_iommu;

static unsigned int hmm_bench_flushes;

static void hmm_bench_qi_submit(void *data, struct intel_iommu *iommu, u64 qw0, u64 qw1,
				u64 qw2, u64 qw3)
{
	unsigned int type = qw0 & 0xf;

	hmm_bench_flushes += type == HMM_BENCH_QI_IOTLB || type == HMM_BENCH_QI_EIOTLB;
}

static void hmm_bench_find_qi_submit(struct tracepoint *tp, void *found)
{
	if (!strcmp(tp->name, "qi_submit"))
		*(struct tracepoint **)found = tp;
}

static void hmm_bench_untrace(void *tp)
{
	tracepoint_probe_unregister(tp, hmm_bench_qi_submit, NULL);
	tracepoint_synchronize_unregister();
}

static void hmm_bench_trace(struct kunit *test)
{
	struct tracepoint *tp = NULL;

	for_each_kernel_tracepoint(hmm_bench_find_qi_submit, &tp);
	if (!tp)
		kunit_skip(test, "the IOMMU is not Intel's, or its tracepoints are off");
	KUNIT_ASSERT_EQ(test, 0, tracepoint_probe_register(tp, hmm_bench_qi_submit, NULL));
	hmm_bench_defer(test, hmm_bench_untrace, tp);
}

static unsigned int hmm_bench_count_flushes(struct hmm_bench_dev *dev, hmm_bench_fn *op)
{
	unsigned int before = hmm_bench_flushes;

	op(dev, 1);
	return hmm_bench_flushes - before;
}

/* Fault them in on all sides in turn, so that no two pages of a side are beside each other */
static void hmm_bench_dma_apart(struct kunit *test, struct hmm_bench_side *sides,
				unsigned int nr)
{
	unsigned long page;
	unsigned int i;

	for (page = 0; page < sides[0].dev->pages; page++) {
		for (i = 0; i < nr; i++) {
			struct hmm_bench_dev *dev = sides[i].dev;
			unsigned long addr = dev->base + page * PAGE_SIZE;
			long got;

			mmap_read_lock(dev->mm);
			got = get_user_pages_remote(dev->mm, addr, 1, FOLL_WRITE, NULL, NULL);
			mmap_read_unlock(dev->mm);
			KUNIT_ASSERT_EQ(test, got, 1);
		}
	}
}

/* In how many pieces does the memory of @dev lie?  Its pages were mapped once */
static unsigned int hmm_bench_dma_pieces(const struct hmm_bench_dev *dev)
{
	unsigned int pieces = 1;
	unsigned long i;

	for (i = 1; i < dev->pages; i++)
		pieces += hmm_pfn_to_phys(dev->pfns[i]) !=
			  hmm_pfn_to_phys(dev->pfns[i - 1]) + PAGE_SIZE;
	return pieces;
}

#define HMM_BENCH_NR_SIDES	3

static const char *const hmm_bench_dma_peers[HMM_BENCH_NR_SIDES] = { NULL, "gpusvm", "odp" };

/* What a row is about */
struct hmm_bench_dma_case {
	const char *name;
	unsigned long pages;
	bool huge, apart;	/* of the pages: one, no two beside each other */
};

/* Sets the sides up, so that they have to be mapped */
static void hmm_bench_dma_sides(struct kunit *test, const struct hmm_bench_dma_case *what,
				struct hmm_bench_side map[HMM_BENCH_NR_SIDES])
{
	unsigned int i;

	map[0] = (struct hmm_bench_side){
		hmm_bench_dma_ours(test, what->pages, what->huge), hmm_bench_dma_map
	};
	map[1] = (struct hmm_bench_side){
		hmm_bench_dma_gpusvm(test, what->pages, what->huge), hmm_bench_gpusvm_map
	};
	map[2] = (struct hmm_bench_side){
		hmm_bench_dma_odp(test, what->pages, what->huge), hmm_bench_odp_map
	};
	if (what->apart)
		hmm_bench_dma_apart(test, map, HMM_BENCH_NR_SIDES);

	/* Do they do what they are measured for? */
	for (i = 0; i < HMM_BENCH_NR_SIDES; i++) {
		struct hmm_bench_dev *dev = map[i].dev;
		struct iommu_domain *domain = iommu_get_domain_for_dev(dev->dma->device);
		dma_addr_t last;
		unsigned long j;

		map[i].op(dev, 1);
		KUNIT_ASSERT_EQ(test, dev->errors, 0);
		for (j = 0; j < dev->pages; j++)
			KUNIT_ASSERT_NE(test, dev->table[j] & HMM_BENCH_ENTRY, 0);
		last = dev->table[dev->pages - 1] & ~HMM_BENCH_ENTRY;
		KUNIT_EXPECT_NE(test, iommu_iova_to_phys(domain, last), 0);
		hmm_bench_invalidate(dev, 1);
		for (j = 0; j < dev->pages; j++)
			KUNIT_ASSERT_EQ(test, dev->table[j], 0);
		KUNIT_EXPECT_EQ(test, iommu_iova_to_phys(domain, last), 0);
	}
	kunit_info(test, "%s: %lu pages in %u pieces\n", what->name, what->pages,
		   hmm_bench_dma_pieces(map[0].dev));
}

/*
 * What is kept for a GiB that is mapped in tables of 2 MiB, which is 512 pages.  Not counted
 * are the page tables of the device and of the IOMMU, and what a driver has of its own.
 */
static void hmm_bench_dma_memory(struct kunit *test, const struct hmm_bench_dma *ours,
				 const struct hmm_bench_dma *theirs)
{
	const struct hmm_bench_gpusvm_range *range = theirs->range;
	const unsigned long tables = SZ_1G / PMD_SIZE;

	hmm_bench_count(test, "row=memory_per_gib", "gpusvm",
			tables * (sizeof(ours->dma) + ksize(ours->dma.map.pfn_list)),
			tables * (sizeof(*range) + ksize(range->pages.dma_addr)) +
			SZ_1G / HMM_BENCH_NOTIFIER_SIZE * sizeof(*range->base.notifier),
			"bytes");
}

static void hmm_bench_dma_rows(struct kunit *test)
{
	const struct hmm_bench_dma_case *what = test->param_value;
	struct hmm_bench_side *map, *unmap;
	unsigned int i;
	char row[40];

	map = hmm_bench_alloc(test, HMM_BENCH_NR_SIDES, sizeof(*map));
	unmap = hmm_bench_alloc(test, HMM_BENCH_NR_SIDES, sizeof(*unmap));
	hmm_bench_dma_sides(test, what, map);
	for (i = 0; i < HMM_BENCH_NR_SIDES; i++) {
		map[i].after = hmm_bench_invalidate;
		unmap[i].dev = map[i].dev;
		unmap[i].before = map[i].op;
		unmap[i].op = hmm_bench_invalidate;
	}
	/*
	 * One in a round, as it cannot be done again before it is undone.  Ours can be made to
	 * fail by a test, of which it asks KUnit for each run; not where no test is running.
	 */
	current->kunit_test = NULL;
	hmm_bench_measure(map, HMM_BENCH_NR_SIDES, 1, false);
	hmm_bench_measure(unmap, HMM_BENCH_NR_SIDES, 1, false);
	current->kunit_test = test;
	for (i = 1; i < HMM_BENCH_NR_SIDES; i++) {
		snprintf(row, sizeof(row), "row=dma_map_%s", what->name);
		hmm_bench_row(test, row, hmm_bench_dma_peers[i], &map[0], &map[i], "ns");
		snprintf(row, sizeof(row), "row=dma_unmap_%s", what->name);
		hmm_bench_row(test, row, hmm_bench_dma_peers[i], &unmap[0], &unmap[i], "ns");
	}
	if (what->pages == PMD_SIZE / PAGE_SIZE && !what->huge && !what->apart)
		hmm_bench_dma_memory(test, map[0].dev->dma, map[1].dev->dma);
}

static void hmm_bench_flush_rows(struct kunit *test)
{
	const struct hmm_bench_dma_case *what = test->param_value;
	struct hmm_bench_side *sides;
	unsigned int map[HMM_BENCH_NR_SIDES], unmap[HMM_BENCH_NR_SIDES], i;
	char row[40];

	sides = hmm_bench_alloc(test, HMM_BENCH_NR_SIDES, sizeof(*sides));
	hmm_bench_dma_sides(test, what, sides);
	hmm_bench_trace(test);
	for (i = 0; i < HMM_BENCH_NR_SIDES; i++) {
		map[i] = hmm_bench_count_flushes(sides[i].dev, sides[i].op);
		unmap[i] = hmm_bench_count_flushes(sides[i].dev, hmm_bench_invalidate);
		KUNIT_EXPECT_EQ(test, sides[i].dev->errors, 0);
	}
	/* It does not matter where the pages are, which is seen below */
	for (i = 1; i < HMM_BENCH_NR_SIDES && !what->apart && !what->huge; i++) {
		snprintf(row, sizeof(row), "row=flushes_map_%s", what->name);
		hmm_bench_count(test, row, hmm_bench_dma_peers[i], map[0], map[i], "flushes");
		snprintf(row, sizeof(row), "row=flushes_unmap_%s", what->name);
		hmm_bench_count(test, row, hmm_bench_dma_peers[i], unmap[0], unmap[i], "flushes");
	}
	/* One for a run, however many pages that is; none to map where none is needed */
	KUNIT_EXPECT_LE(test, map[0], 1);
	KUNIT_EXPECT_EQ(test, unmap[0], 1);
}

static const struct hmm_bench_dma_case hmm_bench_dma_what[] = {
	{ .name = "1", .pages = 1 },
	{ .name = "16", .pages = 16 },
	{ .name = "16_apart", .pages = 16, .apart = true },
	{ .name = "512", .pages = 512 },
	{ .name = "512_apart", .pages = 512, .apart = true },
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
	{ .name = "thp", .pages = PMD_SIZE / PAGE_SIZE, .huge = true },
#endif
};

KUNIT_ARRAY_PARAM_DESC(hmm_bench_dma, hmm_bench_dma_what, name);

static struct kunit_case hmm_bench_dma_cases[] = {
	KUNIT_CASE_PARAM_ATTR(hmm_bench_dma_rows, hmm_bench_dma_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	{}
};

static struct kunit_case hmm_bench_flushes_cases[] = {
	KUNIT_CASE_PARAM(hmm_bench_flush_rows, hmm_bench_dma_gen_params),
	{}
};

/* Suites of their own, as they want a kernel and machines of their own */
static struct kunit_suite hmm_bench_dma_suite = {
	.name = "hmm_bench_dma",
	.test_cases = hmm_bench_dma_cases,
};

static struct kunit_suite hmm_bench_flushes_suite = {
	.name = "hmm_bench_flushes",
	.test_cases = hmm_bench_flushes_cases,
};

kunit_test_suites(&hmm_bench_dma_suite, &hmm_bench_flushes_suite);
