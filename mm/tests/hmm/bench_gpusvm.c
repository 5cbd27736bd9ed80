// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Invalidations, and faults beside them, with a mirror and with drm_gpusvm as the driver xe
 * uses it: notifiers of 512 MiB, which are there where the device has a range, and ranges in
 * these, of 4 KiB or 2 MiB here.
 *
 * The device's table has an entry for each range, or for as much memory where there is a
 * mirror, and both sides clear it under the lock that they have: a mutex with a mirror, and a
 * rw_semaphore that drm_gpusvm takes.  Nothing is mapped for DMA, so that drm_gpusvm has
 * nothing to unmap for the ranges that it finds; for that see bench_dma.c.
 */
#include <drm/drm_device.h>
#include <drm/drm_gpusvm.h>
#include <drm/drm_pagemap.h>
#include <kunit/resource.h>
#include <kunit/test.h>
#include <linux/device/faux.h>
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <trace/events/kmem.h>

#include "bench.h"

/* The default of xe.svm_notifier_size */
#define HMM_BENCH_NOTIFIER_SIZE	SZ_512M

struct hmm_bench_gpusvm {
	struct hmm_bench_dev *dev;
	unsigned int shift;		/* of what an entry is for */
	struct drm_device drm;		/* of which &drm_device.dev is needed */
	struct drm_gpusvm gpusvm;
	struct hmm_bench_svm_range *range;	/* the first */
	struct task_struct *task;	/* who faults, see hmm_bench_svm_kmalloc() */
	unsigned long arrays;
};

/* As struct xe_svm_range */
struct hmm_bench_svm_range {
	struct drm_gpusvm_range base;
	struct drm_gpusvm_pages pages;
};

static struct hmm_bench_svm_range *to_svm_range(struct drm_gpusvm_range *range)
{
	return container_of(range, struct hmm_bench_svm_range, base);
}

/* @nr entries, each for 1 << @shift bytes */
static struct hmm_bench_dev *hmm_bench_svm_dev(struct kunit *test, unsigned long nr,
					       unsigned int shift)
{
	struct hmm_bench_dev *dev = hmm_bench_dev(test, nr);

	dev->svm = hmm_bench_alloc(test, 1, sizeof(*dev->svm));
	dev->svm->dev = dev;
	dev->svm->shift = shift;
	dev->base = ALIGN(dev->base, SZ_2M);
	dev->at = dev->base;
	dev->at_end = dev->at + PAGE_SIZE;
	return dev;
}

static void hmm_bench_svm_clear(struct hmm_bench_dev *dev, unsigned long start,
				unsigned long end)
{
	unsigned int shift = dev->svm->shift;
	unsigned long i;

	start = max(start, dev->base);
	end = min(end, dev->base + (dev->pages << shift));
	if (start >= end)
		return;
	for (i = (start - dev->base) >> shift; i <= (end - 1 - dev->base) >> shift; i++)
		WRITE_ONCE(dev->table[i], 0);
}

/* Ours */

static bool hmm_bench_svm_mirror(struct hmm_mirror *mirror,
				 const struct mmu_notifier_range *update)
{
	struct hmm_bench_dev *dev = container_of(mirror, struct hmm_bench_dev, mirror);

	if (!mmu_notifier_range_blockable(update))
		return false;
	mutex_lock(&dev->mutex);
	hmm_bench_svm_clear(dev, update->start, update->end);
	mutex_unlock(&dev->mutex);
	return true;
}

static const struct hmm_mirror_ops hmm_bench_svm_mirror_ops = {
	.invalidate = hmm_bench_svm_mirror,
};

KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_svm_unregister, hmm_mirror_unregister,
			    struct hmm_mirror *);

static struct hmm_bench_dev *hmm_bench_svm_ours(struct kunit *test, unsigned long nr,
						unsigned int shift)
{
	struct hmm_bench_dev *dev = hmm_bench_svm_dev(test, nr, shift);

	KUNIT_ASSERT_EQ(test, 0, hmm_bench_do_register(&dev->mirror, dev->mm,
						       &hmm_bench_svm_mirror_ops));
	hmm_bench_defer(test, hmm_bench_svm_unregister, &dev->mirror);
	return dev;
}

/* Theirs, as drivers/gpu/drm/xe/xe_svm.c has it, where the process unmaps nothing */

static struct drm_gpusvm_range *hmm_bench_svm_range_alloc(struct drm_gpusvm *gpusvm)
{
	struct hmm_bench_gpusvm *svm = container_of(gpusvm, struct hmm_bench_gpusvm, gpusvm);
	struct hmm_bench_svm_range *range = kzalloc_obj(*range);

	if (!range)
		return NULL;
	drm_gpusvm_init_pages(&range->pages, &svm->drm);
	return &range->base;
}

static void hmm_bench_svm_range_free(struct drm_gpusvm_range *range)
{
	drm_gpusvm_free_pages(range->gpusvm, &to_svm_range(range)->pages,
			      drm_gpusvm_range_size(range) >> PAGE_SHIFT);
	kfree(to_svm_range(range));
}

static void hmm_bench_svm_invalidate(struct drm_gpusvm *gpusvm,
				     struct drm_gpusvm_notifier *notifier,
				     const struct mmu_notifier_range *update)
{
	struct hmm_bench_gpusvm *svm = container_of(gpusvm, struct hmm_bench_gpusvm, gpusvm);
	unsigned long start = max(update->start, drm_gpusvm_notifier_start(notifier));
	unsigned long end = min(update->end, drm_gpusvm_notifier_end(notifier));
	struct drm_gpusvm_range *first = drm_gpusvm_range_find(notifier, start, end);
	struct drm_gpusvm_ctx ctx = { .in_notifier = true };
	struct drm_gpusvm_range *range;

	range = first;
	drm_gpusvm_for_each_range(range, notifier, start, end)
		hmm_bench_svm_clear(svm->dev, drm_gpusvm_range_start(range),
				    drm_gpusvm_range_end(range));
	range = first;
	drm_gpusvm_for_each_range(range, notifier, start, end)
		drm_gpusvm_unmap_pages(gpusvm, &to_svm_range(range)->pages,
				       drm_gpusvm_range_size(range) >> PAGE_SHIFT, &ctx);
}

static const struct drm_gpusvm_ops hmm_bench_svm_ops = {
	.range_alloc = hmm_bench_svm_range_alloc,
	.range_free = hmm_bench_svm_range_free,
	.invalidate = hmm_bench_svm_invalidate,
};

KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_svm_fini, drm_gpusvm_fini, struct drm_gpusvm *);
KUNIT_DEFINE_ACTION_WRAPPER(hmm_bench_svm_destroy, faux_device_destroy, struct faux_device *);

static struct hmm_bench_dev *hmm_bench_svm_theirs(struct kunit *test, unsigned long nr,
						  unsigned int shift)
{
	static const unsigned long chunks[] = { SZ_2M, SZ_64K, SZ_4K };
	struct hmm_bench_dev *dev = hmm_bench_svm_dev(test, nr, shift);
	struct hmm_bench_gpusvm *svm = dev->svm;
	struct faux_device *faux = faux_device_create("hmm_bench", NULL, NULL);
	struct drm_gpusvm_ctx ctx = { };
	unsigned long addr, i;

	KUNIT_ASSERT_NOT_NULL(test, faux);
	hmm_bench_defer(test, hmm_bench_svm_destroy, faux);
	faux->dev.dma_mask = &faux->dev.coherent_dma_mask;
	KUNIT_ASSERT_EQ(test, 0, dma_set_mask(&faux->dev, DMA_BIT_MASK(64)));
	svm->drm.dev = &faux->dev;
	KUNIT_ASSERT_EQ(test, 0, drm_gpusvm_init(&svm->gpusvm, "bench", dev->mm, 0, TASK_SIZE,
						 HMM_BENCH_NOTIFIER_SIZE, &hmm_bench_svm_ops,
						 chunks, ARRAY_SIZE(chunks)));
	hmm_bench_defer(test, hmm_bench_svm_fini, &svm->gpusvm);

	/* Ranges are for memory that is there */
	kthread_use_mm(dev->mm);
	addr = vm_mmap(NULL, dev->base, nr << shift, PROT_READ | PROT_WRITE,
		       MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, 0);
	kthread_unuse_mm(dev->mm);
	KUNIT_ASSERT_EQ(test, addr, dev->base);
	for (i = 0; i < nr; i++, addr += 1UL << shift) {
		struct drm_gpusvm_range *range;

		range = drm_gpusvm_range_find_or_insert(&svm->gpusvm, addr, addr,
							addr + (1UL << shift), &ctx);
		KUNIT_ASSERT_FALSE(test, IS_ERR(range));
		KUNIT_ASSERT_EQ(test, drm_gpusvm_range_size(range), 1UL << shift);
		if (!i)
			svm->range = to_svm_range(range);
	}
	return dev;
}

/* Invalidations of @size bytes, @offset bytes from the first range on; @n in a round */
static void hmm_bench_svm_row(struct kunit *test, const char *what,
			      struct hmm_bench_dev *ours, struct hmm_bench_dev *theirs,
			      unsigned long offset, unsigned long size, unsigned long n)
{
	struct hmm_bench_dev *const devs[] = { ours, theirs };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(devs); i++) {
		devs[i]->at = devs[i]->base + offset;
		devs[i]->at_end = devs[i]->at + size;
	}
	hmm_bench_inval(test, what, "gpusvm", ours, theirs, n, false);
}

static void hmm_bench_svm_one(struct kunit *test)
{
	struct hmm_bench_dev *ours = hmm_bench_svm_ours(test, 1, PAGE_SHIFT);
	struct hmm_bench_dev *theirs = hmm_bench_svm_theirs(test, 1, PAGE_SHIFT);

	hmm_bench_svm_row(test, "row=inval_one", ours, theirs, 0, PAGE_SIZE, 1000);
	/* Within the notifier of that range, and where there is none */
	hmm_bench_svm_row(test, "row=inval_near", ours, theirs, HMM_BENCH_NOTIFIER_SIZE / 2,
			  PAGE_SIZE, 1000);
	hmm_bench_svm_row(test, "row=inval_far", ours, theirs, HMM_BENCH_NOTIFIER_SIZE * 2,
			  PAGE_SIZE, 1000);
}

static void hmm_bench_svm_10k(struct kunit *test, const char *hit1, const char *all,
			      unsigned int shift)
{
	unsigned long nr = 10000;
	struct hmm_bench_dev *ours = hmm_bench_svm_ours(test, nr, shift);
	struct hmm_bench_dev *theirs = hmm_bench_svm_theirs(test, nr, shift);

	hmm_bench_svm_row(test, hit1, ours, theirs, (nr / 2) << shift, PAGE_SIZE, 1000);
	hmm_bench_svm_row(test, all, ours, theirs, 0, nr << shift, HMM_BENCH_FEW);
}

static void hmm_bench_svm_10k_4k(struct kunit *test)
{
	hmm_bench_svm_10k(test, "row=inval_hit1_4k", "row=inval_all_4k", ilog2(SZ_4K));
}

static void hmm_bench_svm_10k_2m(struct kunit *test)
{
	hmm_bench_svm_10k(test, "row=inval_hit1_2m", "row=inval_all_2m", ilog2(SZ_2M));
}

/* Faults beside unrelated invalidations, within the same notifier */

static void hmm_bench_svm_map(struct hmm_bench_dev *dev, unsigned long n)
{
	struct hmm_bench_gpusvm *svm = dev->svm;
	struct drm_gpusvm_range *range = &svm->range->base;
	struct drm_gpusvm_pages *pages = &svm->range->pages;
	struct drm_gpusvm_ctx ctx = { };
	bool valid;

	for (; n; n--) {
		do {
			if (drm_gpusvm_get_pages(&svm->gpusvm, pages, dev->mm,
						 &range->notifier->notifier,
						 drm_gpusvm_range_start(range),
						 drm_gpusvm_range_end(range), &ctx)) {
				dev->errors++;
				return;
			}
			drm_gpusvm_notifier_lock(&svm->gpusvm);
			valid = drm_gpusvm_pages_valid(&svm->gpusvm, pages);
			if (valid)
				WRITE_ONCE(dev->table[0], pages->dma_addr[0].addr);
			drm_gpusvm_notifier_unlock(&svm->gpusvm);
			dev->retries += !valid;
		} while (!valid);
		/* Else there would be nothing to do the next time */
		drm_gpusvm_unmap_pages(&svm->gpusvm, pages, 1, &ctx);
	}
}

/*
 * drm_gpusvm_get_pages() tries again by itself.  It allocates an array of pfns each time.
 * What hmm_range_fault_unlocked_timeout() repeats in it is not seen, so there are more.
 */
static void hmm_bench_svm_kmalloc(void *data, unsigned long call_site, const void *ptr,
				  size_t bytes_req, size_t bytes_alloc, gfp_t flags,
				  int node)
{
	struct hmm_bench_gpusvm *svm = data;

	svm->arrays += current == svm->task && bytes_req == sizeof(unsigned long);
}

static void hmm_bench_svm_untrace(void *svm)
{
	unregister_trace_kmalloc(hmm_bench_svm_kmalloc, svm);
	tracepoint_synchronize_unregister();
}

static void hmm_bench_svm_beside(struct kunit *test)
{
	const unsigned long faults = 100000;
	struct hmm_bench_side sides[] = {
		{ hmm_bench_ours(test, &hmm_bench_sleeping, 1), hmm_bench_map },
		{ hmm_bench_svm_theirs(test, 1, PAGE_SHIFT), hmm_bench_svm_map },
	};
	struct hmm_bench_dev *ours = sides[0].dev, *theirs = sides[1].dev;
	struct hmm_bench_gpusvm *svm = theirs->svm;

	hmm_bench_memory(test, ours, false);
	hmm_bench_retries(test, &sides[0], faults);
	svm->task = current;
	KUNIT_ASSERT_EQ(test, 0, register_trace_kmalloc(hmm_bench_svm_kmalloc, svm));
	hmm_bench_defer(test, hmm_bench_svm_untrace, svm);
	hmm_bench_retries(test, &sides[1], faults);
	kunit_release_action(test, hmm_bench_svm_untrace, svm);
	KUNIT_ASSERT_GE(test, svm->arrays, faults);
	hmm_bench_count(test, "row=false_retries", "gpusvm", ours->retries,
			svm->arrays - faults, "per-100k-faults");
	hmm_bench_count(test, "row=fault_wait_tail", "gpusvm",
			hmm_bench_worst(test, &sides[0]),
			hmm_bench_worst(test, &sides[1]), "wait-ns");
	KUNIT_EXPECT_EQ(test, ours->errors, 0);
	KUNIT_EXPECT_EQ(test, theirs->errors, 0);
}

static struct kunit_case hmm_bench_svm_cases[] = {
	KUNIT_CASE_SLOW(hmm_bench_svm_one),
	KUNIT_CASE_SLOW(hmm_bench_svm_10k_4k),
	KUNIT_CASE_SLOW(hmm_bench_svm_10k_2m),
	KUNIT_CASE_SLOW(hmm_bench_svm_beside),
	{}
};

static struct kunit_suite hmm_bench_svm_suite = {
	.name = "hmm_bench_gpusvm",
	.test_cases = hmm_bench_svm_cases,
};

kunit_test_suite(hmm_bench_svm_suite);
