// SPDX-License-Identifier: GPL-2.0
/* A device with room for one page of the process that has opened it. */
#include <linux/fs.h>
#include <linux/hmm.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

struct one_page {
	struct hmm_mirror mirror;
	spinlock_t lock;	/* protects what follows */
	unsigned long addr;
	struct page *page;
};

static bool one_page_invalidate(struct hmm_mirror *mirror,
				const struct mmu_notifier_range *update)
{
	struct one_page *dev = container_of(mirror, struct one_page, mirror);

	spin_lock(&dev->lock);
	if (dev->addr >= update->start && dev->addr < update->end)
		dev->page = NULL;	/* a real device is told to forget it */
	spin_unlock(&dev->lock);
	return true;
}

static const struct hmm_mirror_ops one_page_ops = {
	.name = "hmm_mirror_one_page_c",
	.invalidate = one_page_invalidate,
};

static int one_page_open(struct inode *inode, struct file *file)
{
	struct one_page *dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	int ret;

	if (!dev)
		return -ENOMEM;
	spin_lock_init(&dev->lock);
	dev->mirror.ops = &one_page_ops;

	mmap_write_lock(current->mm);
	ret = hmm_mirror_register(&dev->mirror, current->mm);
	mmap_write_unlock(current->mm);
	if (ret)
		kfree(dev);
	else
		file->private_data = dev;
	return ret;
}

static int one_page_release(struct inode *inode, struct file *file)
{
	struct one_page *dev = file->private_data;

	hmm_mirror_unregister(&dev->mirror);
	kfree(dev);
	return 0;
}

static int one_page_commit(struct hmm_mirror_range *range, void *data)
{
	struct one_page *dev = data;
	int ret = -EAGAIN;		/* stale: read it again */

	spin_lock(&dev->lock);
	if (hmm_mirror_range_valid(range)) {
		/* a real device is told to use it */
		dev->addr = range->start;
		dev->page = hmm_pfn_to_page(range->pfns[0]);
		ret = 0;
	}
	spin_unlock(&dev->lock);
	return ret;
}

static long one_page_ioctl(struct file *file, unsigned int cmd, unsigned long addr)
{
	unsigned long start = addr & PAGE_MASK, pfn = 0;
	struct one_page *dev = file->private_data;
	struct hmm_mirror_range range;
	int ret;

	hmm_mirror_range_init(&range, start, start + PAGE_SIZE, &pfn,
			      HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE);
	ret = hmm_mirror_range_begin(&range, &dev->mirror);
	if (ret)
		return ret;
	ret = hmm_mirror_range_map(&range, msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT),
				   one_page_commit, dev);
	hmm_mirror_range_end(&range);
	return ret;
}

static const struct file_operations one_page_fops = {
	.owner = THIS_MODULE,
	.open = one_page_open,
	.release = one_page_release,
	.unlocked_ioctl = one_page_ioctl,
};

static struct miscdevice one_page_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hmm_mirror_one_page_c",
	.fops = &one_page_fops,
};
module_misc_device(one_page_misc);

MODULE_DESCRIPTION("Smallest mirror driver in C");
MODULE_LICENSE("GPL");
