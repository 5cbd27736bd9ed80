// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A driver in the style of 2017, and its KUnit tests.
 *
 * The driver is the one that the comment in include/linux/hmm.h described in
 * 2017, and of that header it uses nothing that was not there then: struct
 * hmm_mirror, the callback that returns nothing, hmm_mirror_register(),
 * hmm_mirror_unregister(), and hmm_pfn_t with its helpers.  So it shows that
 * such drivers still build, as modules too, and work.  Newer interface does not
 * belong in here.
 *
 * It maps pages as it could then: by get_user_pages_fast(), and if its callback was
 * not called meanwhile.  That is right only if the callback comes after the CPU page
 * table has changed, as in 2017, and not only before it does.
 */
#include <kunit/resource.h>
#include <kunit/test.h>
#include <linux/highmem.h>
#include <linux/hmm.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

/*
 * The driver
 */

#define DEVICE_PAGES	4

/* What the tests want to know; outlives the address space of the device */
struct device_log {
	unsigned int updates;
	unsigned int too_late;		/* pages that had gone before the update */
	unsigned long start;		/* of the last update */
	unsigned long end;
};

/* A device that uses DEVICE_PAGES pages of a process, from @addr on */
struct device_address_space {
	struct hmm_mirror mirror;
	struct device_log *log;
	unsigned long addr;
	struct mutex lock;		/* protects the device's page table: */
	struct page *page[DEVICE_PAGES];
	unsigned long sequence;		/* of updates */
};

static void device_sync(struct hmm_mirror *mirror, enum hmm_update_type type,
			unsigned long start, unsigned long end)
{
	struct device_address_space *das = container_of(mirror,
					struct device_address_space, mirror);
	struct device_log *log = das->log;
	unsigned long addr = das->addr;
	int i;

	if (type != HMM_UPDATE_INVALIDATE)
		return;

	mutex_lock(&das->lock);
	das->sequence++;
	log->updates++;
	log->start = start;
	log->end = end;
	for (i = 0; i < DEVICE_PAGES; i++, addr += PAGE_SIZE) {
		if (!das->page[i] || addr < start || addr >= end)
			continue;
		if (!folio_mapped(page_folio(das->page[i])))
			log->too_late++;
		put_page(das->page[i]);
		das->page[i] = NULL;
	}
	mutex_unlock(&das->lock);
}

static const struct hmm_mirror_ops device_mirror_ops = {
	.sync_cpu_device_pagetables = device_sync,
};

static struct device_address_space *
device_bind_address_space(struct mm_struct *mm, unsigned long addr,
			  struct device_log *log)
{
	struct device_address_space *das = kzalloc(sizeof(*das), GFP_KERNEL);
	int ret;

	if (!das)
		return ERR_PTR(-ENOMEM);
	das->addr = addr;
	das->log = log;
	mutex_init(&das->lock);
	das->mirror.ops = &device_mirror_ops;

	mmap_write_lock(mm);	/* that was down_write(&mm->mmap_sem) */
	ret = hmm_mirror_register(&das->mirror, mm);
	mmap_write_unlock(mm);
	if (ret) {
		kfree(das);
		return ERR_PTR(ret);
	}
	return das;
}

static void device_unbind_address_space(struct device_address_space *das)
{
	hmm_mirror_unregister(&das->mirror);
	device_sync(&das->mirror, HMM_UPDATE_INVALIDATE, 0, ULONG_MAX);
	kfree(das);
}

/* Puts a page of the caller's address space into the device's page table */
static int device_map(struct device_address_space *das, int i)
{
	unsigned long sequence;
	struct page *page;
	bool again;
	int ret;

	do {
		mutex_lock(&das->lock);
		sequence = das->sequence;
		mutex_unlock(&das->lock);

		ret = get_user_pages_fast(das->addr + i * PAGE_SIZE, 1, FOLL_WRITE,
					  &page);
		if (ret != 1)
			return ret < 0 ? ret : -EFAULT;

		mutex_lock(&das->lock);
		again = sequence != das->sequence;
		if (!again)
			swap(das->page[i], page);
		mutex_unlock(&das->lock);
		if (page)
			put_page(page);
	} while (again);
	return 0;
}

/* Adds to the first word of a page, by the device's page table */
static int device_add_u32(struct device_address_space *das, int i, u32 n)
{
	int ret = -EFAULT;

	mutex_lock(&das->lock);
	if (das->page[i]) {
		u32 *word = kmap_local_page(das->page[i]);

		*word += n;
		kunmap_local(word);
		ret = 0;
	}
	mutex_unlock(&das->lock);
	return ret;
}

/*
 * The tests
 */

KUNIT_DEFINE_ACTION_WRAPPER(test_unbind, device_unbind_address_space,
			    struct device_address_space *);

/* DEVICE_PAGES pages of the test's thread, which has an mm of its own then */
static unsigned long test_memory(struct kunit *test)
{
	unsigned long addr = kunit_vm_mmap(test, NULL, 0,
					   DEVICE_PAGES * PAGE_SIZE,
					   PROT_READ | PROT_WRITE,
					   MAP_ANONYMOUS | MAP_PRIVATE, 0);

	KUNIT_ASSERT_NE(test, addr, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(addr));
	KUNIT_ASSERT_NOT_NULL(test, current->mm);
	return addr;
}

/* A device that has all pages */
static struct device_address_space *test_device(struct kunit *test,
						unsigned long addr)
{
	struct device_log *log = kunit_kzalloc(test, sizeof(*log), GFP_KERNEL);
	struct device_address_space *das;
	int i;

	KUNIT_ASSERT_NOT_NULL(test, log);
	das = device_bind_address_space(current->mm, addr, log);
	KUNIT_ASSERT_FALSE(test, IS_ERR(das));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, test_unbind,
							   das));
	for (i = 0; i < DEVICE_PAGES; i++)
		KUNIT_ASSERT_EQ(test, 0, device_map(das, i));
	return das;
}

static void device_2017_mirrors(struct kunit *test)
{
	unsigned long addr = test_memory(test);
	struct device_address_space *das = test_device(test, addr);
	u32 __user *word = (u32 __user *)addr;
	u32 value;

	KUNIT_ASSERT_EQ(test, 0, put_user(40, word));
	KUNIT_EXPECT_EQ(test, 0, device_add_u32(das, 0, 2));
	KUNIT_ASSERT_EQ(test, 0, get_user(value, word));
	KUNIT_EXPECT_EQ(test, value, 42);
	KUNIT_EXPECT_EQ(test, das->log->updates, 0);
}

/* Another device of the same process, whose driver puts a page into the first one's */
struct device_meddler {
	struct hmm_mirror mirror;
	struct device_address_space *das;
	unsigned int mapped;
};

static void device_meddle(struct hmm_mirror *mirror, enum hmm_update_type type,
			  unsigned long start, unsigned long end)
{
	struct device_meddler *meddler = container_of(mirror,
						struct device_meddler, mirror);
	struct device_address_space *das = meddler->das;
	struct page *page;

	/* What device_map() does, in a way that is allowed in here */
	if (meddler->mapped ||
	    get_user_pages_fast_only(das->addr, 1, FOLL_WRITE, &page) != 1)
		return;
	meddler->mapped++;
	mutex_lock(&das->lock);
	swap(das->page[0], page);
	mutex_unlock(&das->lock);
	if (page)
		put_page(page);
}

static const struct hmm_mirror_ops device_meddler_ops = {
	.sync_cpu_device_pagetables = device_meddle,
};

static void device_meddler_unregister(void *mirror)
{
	hmm_mirror_unregister(mirror);
}

/* A page is mapped when the callback has been called, and has not gone yet */
static void device_2017_maps_between(struct kunit *test)
{
	unsigned long addr = test_memory(test);
	struct device_meddler *meddler = kunit_kzalloc(test, sizeof(*meddler),
						       GFP_KERNEL);
	int ret;

	/* Where it is slow, it waits for munmap() and the like, and nothing can go wrong */
	if (!IS_ENABLED(CONFIG_HAVE_GUP_FAST))
		kunit_skip(test, "get_user_pages_fast() is slow here");
	KUNIT_ASSERT_NOT_NULL(test, meddler);
	meddler->mirror.ops = &device_meddler_ops;
	mmap_write_lock(current->mm);
	ret = hmm_mirror_register(&meddler->mirror, current->mm);
	mmap_write_unlock(current->mm);
	KUNIT_ASSERT_EQ(test, ret, 0);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, device_meddler_unregister,
						  &meddler->mirror));
	/* The last one that was registered is told first */
	meddler->das = test_device(test, addr);

	KUNIT_ASSERT_EQ(test, 0, vm_munmap(addr, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, meddler->mapped, 1);
	KUNIT_EXPECT_EQ(test, device_add_u32(meddler->das, 0, 1), -EFAULT);
}

static void device_2017_sees_munmap(struct kunit *test)
{
	unsigned long addr = test_memory(test);
	struct device_address_space *das = test_device(test, addr);

	KUNIT_ASSERT_EQ(test, 0, vm_munmap(addr + PAGE_SIZE, 2 * PAGE_SIZE));
	/* Before and after */
	KUNIT_EXPECT_EQ(test, das->log->updates, 2);
	KUNIT_EXPECT_LE(test, das->log->start, addr + PAGE_SIZE);
	KUNIT_EXPECT_GE(test, das->log->end, addr + 3 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, das->log->too_late, 0);

	KUNIT_EXPECT_EQ(test, device_add_u32(das, 0, 1), 0);
	KUNIT_EXPECT_EQ(test, device_add_u32(das, 1, 1), -EFAULT);
	KUNIT_EXPECT_EQ(test, device_add_u32(das, 2, 1), -EFAULT);
	KUNIT_EXPECT_EQ(test, device_add_u32(das, 3, 1), 0);
	KUNIT_EXPECT_EQ(test, device_map(das, 1), -EFAULT);
}

/* The driver lets go after the process has died, as by the last close(2) */
static void device_2017_sees_exit(struct kunit *test)
{
	unsigned long addr = test_memory(test);
	struct device_address_space *das = test_device(test, addr);
	struct mm_struct *mm = current->mm;
	int i;

	kthread_unuse_mm(mm);
	mmput(mm);
	KUNIT_EXPECT_EQ(test, das->log->updates, 1);
	KUNIT_EXPECT_EQ(test, das->log->start, 0);
	KUNIT_EXPECT_EQ(test, das->log->end, ULONG_MAX);
	KUNIT_EXPECT_EQ(test, das->log->too_late, 0);
	for (i = 0; i < DEVICE_PAGES; i++)
		KUNIT_EXPECT_EQ(test, device_add_u32(das, i, 1), -EFAULT);
}

static void device_2017_pfns(struct kunit *test)
{
	struct page *page = ZERO_PAGE(0);
	hmm_pfn_t pfn = hmm_pfn_t_from_page(page);

	KUNIT_EXPECT_PTR_EQ(test, page, hmm_pfn_t_to_page(pfn));
	KUNIT_EXPECT_EQ(test, page_to_pfn(page), hmm_pfn_t_to_pfn(pfn));
	KUNIT_EXPECT_EQ(test, pfn, hmm_pfn_t_from_pfn(page_to_pfn(page)));
	KUNIT_EXPECT_NULL(test, hmm_pfn_t_to_page(0));
	KUNIT_EXPECT_EQ(test, -1UL, hmm_pfn_t_to_pfn(0));
}

static struct kunit_case device_2017_cases[] = {
	KUNIT_CASE(device_2017_mirrors),
	KUNIT_CASE(device_2017_maps_between),
	KUNIT_CASE(device_2017_sees_munmap),
	KUNIT_CASE(device_2017_sees_exit),
	KUNIT_CASE(device_2017_pfns),
	{}
};

static struct kunit_suite device_2017_suite = {
	.name = "hmm_mirror_2017",
	.test_cases = device_2017_cases,
};

kunit_test_suite(device_2017_suite);

MODULE_DESCRIPTION("KUnit tests of HMM mirroring with a driver of 2017");
MODULE_LICENSE("GPL");
