// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Device page faults with DMA: pages that are there are mapped for a device behind an
 * IOMMU, and unmapped by an invalidation; beside drm_gpusvm, and beside what RDMA does for
 * on-demand paging by hmm_dma_map_pfn().
 *
 * The device is a PCI function that no driver has, QEMU's edu.  It makes no transfer: what
 * is measured is the way to its addresses.
 */
#include <drm/drm_device.h>
#include <drm/drm_gpusvm.h>
#include <drm/drm_pagemap.h>
#include <kunit/resource.h>
#include <linux/dma-mapping.h>
#include <linux/hmm_mirror_dma.h>
#include <linux/pci.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>

#include "bench.h"

#define HMM_BENCH_VENDOR	0x1234
#define HMM_BENCH_DEVICE	0x11e8
/* As of the driver xe */
#define HMM_BENCH_NOTIFIER_SIZE	SZ_512M

/* What a device has beside &struct hmm_bench_dev; a side uses one kind of it */
struct hmm_bench_dma {
	struct hmm_bench_dev *dev;
	struct device *device;
	struct hmm_mirror_dma ours;
	struct hmm_dma_map map;
	struct drm_gpusvm gpusvm;
	struct drm_gpusvm_range *range;
	struct drm_gpusvm_pages pages;
	struct drm_device drm;
};

static void hmm_bench_put_device(void *device)
{
	put_device(device);
}

static struct hmm_bench_dma *hmm_bench_dma(struct kunit *test, struct hmm_bench_dev *dev)
{
	struct pci_dev *pdev = pci_get_device(HMM_BENCH_VENDOR, HMM_BENCH_DEVICE, NULL);
	struct hmm_bench_dma *dma;

	if (!pdev)
		kunit_skip(test, "there is no such PCI device");
	hmm_bench_defer(test, hmm_bench_put_device, &pdev->dev);
	if (!device_iommu_mapped(&pdev->dev))
		kunit_skip(test, "the PCI device is not behind an IOMMU");
	KUNIT_ASSERT_EQ(test, 0, dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64)));

	dma = hmm_bench_alloc(test, 1, sizeof(*dma));
	dma->dev = dev;
	dma->device = &pdev->dev;
	dev->dma = dma;
	return dma;
}

/* All sides enter the same in the device's table */
static void hmm_bench_dma_enter(struct hmm_bench_dev *dev, unsigned long i, dma_addr_t addr)
{
	WRITE_ONCE(dev->table[i], addr | 1);
}

/* Ours */

static int hmm_bench_dma_commit(struct hmm_mirror_range *range, void *data)
{
	struct hmm_bench_dev *dev = data;
	struct hmm_dma_run run;
	unsigned long i, addr;
	int ret;

	mutex_lock(&dev->mutex);
	ret = hmm_mirror_range_dma_map(range, &dev->dma->ours);
	if (!ret) {
		hmm_mirror_dma_for_each_run(&run, &dev->dma->ours, range->start, range->end) {
			i = (run.start - dev->base) >> PAGE_SHIFT;
			for (addr = run.start; addr < run.end; addr += PAGE_SIZE)
				hmm_bench_dma_enter(dev, i++, run.addr + (addr - run.start));
		}
	}
	mutex_unlock(&dev->mutex);
	return ret;
}

static void hmm_bench_dma_map(struct hmm_bench_dev *dev, unsigned long n)
{
	for (; n; n--) {
		if (hmm_mirror_range_begin(&dev->range, &dev->mirror)) {
			dev->errors++;
			return;
		}
		dev->errors += !!hmm_mirror_range_map(&dev->range, HMM_BENCH_TIMEOUT,
						      hmm_bench_dma_commit, dev);
		hmm_mirror_range_end(&dev->range);
	}
}

static void hmm_bench_dma_fini(void *dma)
{
	hmm_mirror_dma_fini(dma);
}

static struct hmm_bench_dev *hmm_bench_dma_ours(struct kunit *test, unsigned long pages)
{
	struct hmm_bench_dev *dev = hmm_bench_dev(test, pages);
	struct hmm_bench_dma *dma = hmm_bench_dma(test, dev);

	hmm_bench_memory(test, dev, false);
	dev->mirror.dev = dma->device;
	KUNIT_ASSERT_EQ(test, 0, hmm_bench_do_register(&dev->mirror, dev->mm,
						       &hmm_bench_sleeping));
	hmm_bench_defer(test, hmm_bench_unregister, &dev->mirror);
	KUNIT_ASSERT_EQ(test, 0, hmm_mirror_dma_init(&dma->ours, &dev->mirror, dev->base,
						     dev->base + PMD_SIZE));
	hmm_bench_defer(test, hmm_bench_dma_fini, &dma->ours);
	return dev;
}

/* As drivers/infiniband/core/umem_odp.c, with a notifier and a map for each region */

static bool hmm_bench_odp_invalidate(struct mmu_interval_notifier *notifier,
				     const struct mmu_notifier_range *range,
				     unsigned long seq)
{
	struct hmm_bench_interval *interval =
		container_of(notifier, struct hmm_bench_interval, notifier);
	struct hmm_bench_dev *dev = interval->dev;
	struct hmm_dma_map *map = &dev->dma->map;
	unsigned long addr, end = min(range->end, hmm_bench_end(dev));

	if (!mmu_notifier_range_blockable(range))
		return false;
	mutex_lock(&dev->mutex);
	mmu_interval_set_seq(notifier, seq);
	for (addr = max(range->start, dev->base); addr < end; addr += PAGE_SIZE) {
		unsigned long i = (addr - dev->base) >> PAGE_SHIFT;

		WRITE_ONCE(dev->table[i], 0);
		if (!hmm_dma_unmap_pfn(dev->dma->device, map, i))
			continue;
		if (map->pfn_list[i] & HMM_PFN_WRITE)
			set_page_dirty(compound_head(hmm_pfn_to_page(map->pfn_list[i])));
		map->pfn_list[i] &= ~HMM_PFN_FLAGS;
	}
	mutex_unlock(&dev->mutex);
	return true;
}

static const struct mmu_interval_notifier_ops hmm_bench_odp_ops = {
	.invalidate = hmm_bench_odp_invalidate,
};

static void hmm_bench_odp_map(struct hmm_bench_dev *dev, unsigned long n)
{
	struct mmu_interval_notifier *notifier = &dev->interval.notifier;
	struct hmm_dma_map *map = &dev->dma->map;
	struct pci_p2pdma_map_state p2pdma = { };
	struct hmm_range range = {
		.notifier = notifier,
		.start = dev->base,
		.end = hmm_bench_end(dev),
		.hmm_pfns = map->pfn_list,
		.default_flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE,
	};
	unsigned long i;
	bool valid;

	if (!mmget_not_zero(dev->mm)) {
		dev->errors++;
		return;
	}
	do {
		if (hmm_range_fault_unlocked_timeout(&range, HMM_BENCH_TIMEOUT)) {
			dev->errors++;
			break;
		}
		mutex_lock(&dev->mutex);
		valid = !mmu_interval_read_retry(notifier, range.notifier_seq);
		for (i = 0; valid && i < dev->pages; i++) {
			dma_addr_t addr = hmm_dma_map_pfn(dev->dma->device, map, i, &p2pdma);

			dev->errors += addr == DMA_MAPPING_ERROR;
			hmm_bench_dma_enter(dev, i, addr);
		}
		mutex_unlock(&dev->mutex);
	} while (!valid);
	mmput(dev->mm);
}

static void hmm_bench_odp_fini(void *data)
{
	struct hmm_bench_dma *dma = data;

	hmm_dma_map_free(dma->device, &dma->map);
}

KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_odp_remove, mmu_interval_notifier_remove,
			    struct mmu_interval_notifier *);

static struct hmm_bench_dev *hmm_bench_dma_odp(struct kunit *test, unsigned long pages)
{
	struct hmm_bench_dev *dev = hmm_bench_dev(test, pages);
	struct hmm_bench_dma *dma = hmm_bench_dma(test, dev);

	hmm_bench_memory(test, dev, false);
	KUNIT_ASSERT_EQ(test, 0, hmm_dma_map_alloc(dma->device, &dma->map, pages, PAGE_SIZE));
	hmm_bench_defer(test, hmm_bench_odp_fini, dma);
	dev->interval.dev = dev;
	KUNIT_ASSERT_EQ(test, 0, mmu_interval_notifier_insert(&dev->interval.notifier, dev->mm,
							      dev->base, pages * PAGE_SIZE,
							      &hmm_bench_odp_ops));
	hmm_bench_defer(test, hmm_bench_odp_remove, &dev->interval.notifier);
	return dev;
}

/* As the driver xe has it for system memory: ranges of 2 MiB, 64 KiB or a page */

static void hmm_bench_gpusvm_invalidate(struct drm_gpusvm *gpusvm,
					struct drm_gpusvm_notifier *notifier,
					const struct mmu_notifier_range *update)
{
	struct hmm_bench_dma *dma = container_of(gpusvm, struct hmm_bench_dma, gpusvm);
	struct drm_gpusvm_ctx ctx = { .in_notifier = true };
	struct hmm_bench_dev *dev = dma->dev;
	struct drm_gpusvm_range *range = NULL;

	drm_gpusvm_for_each_range(range, notifier, update->start, update->end) {
		memset(dev->table, 0, dev->pages * sizeof(*dev->table));
		drm_gpusvm_unmap_pages(gpusvm, &dma->pages, dev->pages, &ctx);
	}
}

static const struct drm_gpusvm_ops hmm_bench_gpusvm_ops = {
	.invalidate = hmm_bench_gpusvm_invalidate,
};

static void hmm_bench_gpusvm_map(struct hmm_bench_dev *dev, unsigned long n)
{
	struct hmm_bench_dma *dma = dev->dma;
	struct drm_gpusvm_ctx ctx = { };
	unsigned long i, j, addr;
	bool valid;

	do {
		if (drm_gpusvm_get_pages(&dma->gpusvm, &dma->pages, dev->mm,
					 &dma->range->notifier->notifier, dev->base,
					 hmm_bench_end(dev), &ctx)) {
			dev->errors++;
			return;
		}
		drm_gpusvm_notifier_lock(&dma->gpusvm);
		valid = drm_gpusvm_pages_valid(&dma->gpusvm, &dma->pages);
		for (i = 0, j = 0; valid && i < dev->pages; j++) {
			const struct drm_pagemap_addr *piece = &dma->pages.dma_addr[j];

			for (addr = 0; addr < PAGE_SIZE << piece->order; addr += PAGE_SIZE)
				hmm_bench_dma_enter(dev, i++, piece->addr + addr);
		}
		drm_gpusvm_notifier_unlock(&dma->gpusvm);
	} while (!valid);
}

static void hmm_bench_gpusvm_fini(void *data)
{
	struct hmm_bench_dma *dma = data;

	drm_gpusvm_free_pages(&dma->gpusvm, &dma->pages, dma->dev->pages);
	if (dma->range)
		drm_gpusvm_range_remove(&dma->gpusvm, dma->range);
	drm_gpusvm_fini(&dma->gpusvm);
}

static struct hmm_bench_dev *hmm_bench_dma_gpusvm(struct kunit *test, unsigned long pages)
{
	static const unsigned long chunks[] = { SZ_2M, SZ_64K, SZ_4K };
	struct hmm_bench_dev *dev = hmm_bench_dev(test, pages);
	struct hmm_bench_dma *dma = hmm_bench_dma(test, dev);
	struct drm_gpusvm_ctx ctx = { };

	hmm_bench_memory(test, dev, false);
	dma->drm.dev = dma->device;
	KUNIT_ASSERT_EQ(test, 0, drm_gpusvm_init(&dma->gpusvm, "bench", dev->mm, 0, TASK_SIZE,
						 HMM_BENCH_NOTIFIER_SIZE,
						 &hmm_bench_gpusvm_ops, chunks,
						 ARRAY_SIZE(chunks)));
	drm_gpusvm_init_pages(&dma->pages, &dma->drm);
	hmm_bench_defer(test, hmm_bench_gpusvm_fini, dma);
	dma->range = drm_gpusvm_range_find_or_insert(&dma->gpusvm, dev->base, dev->base,
						     hmm_bench_end(dev), &ctx);
	if (IS_ERR(dma->range)) {
		int error = PTR_ERR(dma->range);

		dma->range = NULL;
		KUNIT_ASSERT_EQ(test, error, 0);
	}
	KUNIT_ASSERT_EQ(test, drm_gpusvm_range_end(dma->range), hmm_bench_end(dev));
	return dev;
}

static void hmm_bench_dma_rows(struct kunit *test, unsigned long pages)
{
	struct hmm_bench_side map[] = {
		{ hmm_bench_dma_ours(test, pages), hmm_bench_dma_map },
		{ hmm_bench_dma_gpusvm(test, pages), hmm_bench_gpusvm_map },
		{ hmm_bench_dma_odp(test, pages), hmm_bench_odp_map },
	};
	struct hmm_bench_side unmap[ARRAY_SIZE(map)];
	char name[32];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(map); i++) {
		map[i].dev->at = map[i].dev->base;
		map[i].dev->at_end = hmm_bench_end(map[i].dev);
		unmap[i] = (struct hmm_bench_side){
			.dev = map[i].dev,
			.before = map[i].op,
			.op = hmm_bench_invalidate,
		};
		map[i].after = hmm_bench_invalidate;
	}
	hmm_bench_measure(map, ARRAY_SIZE(map), 1, false);
	hmm_bench_measure(unmap, ARRAY_SIZE(unmap), 1, false);
	for (i = 0; i < ARRAY_SIZE(map); i++)
		KUNIT_EXPECT_EQ(test, map[i].dev->table[pages - 1], 0);

	snprintf(name, sizeof(name), "row=dma_map_%lu", pages);
	hmm_bench_row(test, name, "gpusvm", &map[0], &map[1], "ns");
	hmm_bench_row(test, name, "odp", &map[0], &map[2], "ns");
	snprintf(name, sizeof(name), "row=dma_unmap_%lu", pages);
	hmm_bench_row(test, name, "gpusvm", &unmap[0], &unmap[1], "ns");
	hmm_bench_row(test, name, "odp", &unmap[0], &unmap[2], "ns");
}

void hmm_bench_dma_1(struct kunit *test)
{
	hmm_bench_dma_rows(test, 1);
}

void hmm_bench_dma_16(struct kunit *test)
{
	hmm_bench_dma_rows(test, 16);
}

void hmm_bench_dma_512(struct kunit *test)
{
	hmm_bench_dma_rows(test, 512);
}
