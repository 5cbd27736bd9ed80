// SPDX-License-Identifier: GPL-2.0
/*
 * A device that mirrors the process that opens it.
 *
 * Each open file is a device context with a page table of its own.  The ioctls
 * are described in my_device.h.  TODO says where the hardware comes in.
 */
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/hmm.h>
#include <linux/jiffies.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>

#include "my_device.h"

#define SLOTS	512	/* pages that the device has room for */

/* An entry of the device's page table; empty if @pfn is 0 */
struct entry {
	unsigned long addr;
	unsigned long pfn;	/* as hmm_mirror_range_fault() has read it */
};

/*
 * A device context: an open file, with the mirror of the process that has opened
 * it.  @table is changed under a lock under which memory must not be allocated, so
 * all of it is there from the start: the slot of a page follows from its address,
 * and is taken from whatever had it.
 */
struct context {
	struct hmm_mirror mirror;
	/*
	 * TODO: a mutex, if the device has to be waited for in a way that sleeps.  The
	 * callback then returns false if mmu_notifier_range_blockable() says that it must
	 * not sleep, and mutex_trylock() fails.
	 */
	spinlock_t lock;	/* callback and commit; protects the rest */
	struct entry table[SLOTS];
};

static struct entry *context_slot(struct context *ctx, unsigned long addr)
{
	return &ctx->table[(addr >> PAGE_SHIFT) % SLOTS];
}

static bool context_invalidate(struct hmm_mirror *mirror,
			       const struct mmu_notifier_range *update)
{
	struct context *ctx = container_of(mirror, struct context, mirror);
	unsigned long addr = update->start;
	bool removed = false;
	unsigned int i;

	spin_lock(&ctx->lock);
	/* Pages in a row have slots in a row, so this comes by each once at most */
	for (i = 0; i < SLOTS && addr < update->end; i++, addr += PAGE_SIZE) {
		struct entry *entry = context_slot(ctx, addr);

		if (entry->pfn && entry->addr >= update->start &&
		    entry->addr < update->end) {
			/* The device may have written to it */
			hmm_pfn_mark_dirty(entry->pfn);
			entry->pfn = 0;
			removed = true;
		}
	}
	if (removed) {
		/*
		 * TODO: flush the device's TLB, and wait until that is done: when
		 * this returns, the pages may go.
		 */
	}
	spin_unlock(&ctx->lock);
	return true;
}

static const struct hmm_mirror_ops context_ops = {
	.name		= "my_device",
	.invalidate	= context_invalidate,
	/* TODO: leave this out if the callback has to sleep to flush the TLB */
	.flags		= HMM_MIRROR_ATOMIC,
};

/* Puts what was read into the device's page table, unless it is stale */
static int context_commit(struct hmm_mirror_range *range, void *data)
{
	unsigned long addr, *pfn = range->pfns;
	struct context *ctx = data;
	int ret = -EAGAIN;

	spin_lock(&ctx->lock);
	if (hmm_mirror_range_valid(range)) {
		for (addr = range->start; addr < range->end; addr += PAGE_SIZE) {
			hmm_pfn_mark_dirty(context_slot(ctx, addr)->pfn);
			*context_slot(ctx, addr) = (struct entry) {
				.addr = addr,
				.pfn = *pfn++,
			};
			/*
			 * TODO: if the slot held another address, take that from the
			 * device first, and flush its TLB; then tell it of this one
			 */
		}
		ret = 0;
	}
	spin_unlock(&ctx->lock);
	return ret;
}

/* A device page fault of [start, end) */
static int context_fault(struct context *ctx, unsigned long start, unsigned long end,
			 unsigned long *pfns, unsigned long request)
{
	struct hmm_mirror_range range;
	int ret;

	hmm_mirror_range_init(&range, start, end, pfns, request);
	ret = hmm_mirror_range_begin(&range, &ctx->mirror);
	if (ret)
		return ret;
	ret = hmm_mirror_range_map(&range, msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT),
				   context_commit, ctx);
	hmm_mirror_range_end(&range);
	return ret;
}

static int context_map(struct context *ctx, const struct my_device_map *arg)
{
	unsigned long *pfns, end, request = HMM_PFN_REQ_FAULT;
	int ret;

	if (arg->flags & ~MY_DEVICE_MAP_WRITE || arg->reserved || !arg->len ||
	    check_add_overflow(arg->addr, arg->len, &end) ||
	    !PAGE_ALIGNED(arg->addr | arg->len) || arg->len > SLOTS * PAGE_SIZE)
		return -EINVAL;
	if (arg->flags & MY_DEVICE_MAP_WRITE)
		request |= HMM_PFN_REQ_WRITE;

	pfns = kvcalloc(arg->len >> PAGE_SHIFT, sizeof(*pfns), GFP_KERNEL);
	if (!pfns)
		return -ENOMEM;
	ret = context_fault(ctx, arg->addr, end, pfns, request);
	kvfree(pfns);
	return ret;
}

static int context_lookup(struct context *ctx, struct my_device_lookup *arg)
{
	struct entry *entry;

	if (arg->flags || arg->reserved || arg->addr > ULONG_MAX)
		return -EINVAL;

	spin_lock(&ctx->lock);
	entry = context_slot(ctx, arg->addr);
	if (entry->pfn && entry->addr == (arg->addr & PAGE_MASK)) {
		arg->flags = MY_DEVICE_ENTRY_VALID;
		if (entry->pfn & HMM_PFN_WRITE)
			arg->flags |= MY_DEVICE_ENTRY_WRITE;
	}
	spin_unlock(&ctx->lock);
	return 0;
}

static int context_open(struct inode *inode, struct file *file)
{
	struct context *ctx = kvzalloc(sizeof(*ctx), GFP_KERNEL_ACCOUNT);
	int ret;

	if (!ctx)
		return -ENOMEM;
	spin_lock_init(&ctx->lock);
	ctx->mirror.ops = &context_ops;

	ret = mmap_write_lock_killable(current->mm);
	if (!ret) {
		/* The callback may come before this returns */
		ret = hmm_mirror_register(&ctx->mirror, current->mm);
		mmap_write_unlock(current->mm);
	}
	if (ret)
		kvfree(ctx);
	else
		file->private_data = ctx;
	return ret;
}

static int context_release(struct inode *inode, struct file *file)
{
	struct context *ctx = file->private_data;

	/* TODO: the device must have stopped to use the page table */
	hmm_mirror_unregister(&ctx->mirror);
	kvfree(ctx);
	return 0;
}

static long context_ioctl(struct file *file, unsigned int cmd, unsigned long user)
{
	struct context *ctx = file->private_data;
	void __user *ptr = (void __user *)user;
	struct my_device_lookup lookup;
	struct my_device_map map;
	int ret;

	switch (cmd) {
	case MY_DEVICE_IOC_MAP:
		if (copy_from_user(&map, ptr, sizeof(map)))
			return -EFAULT;
		return context_map(ctx, &map);
	case MY_DEVICE_IOC_LOOKUP:
		if (copy_from_user(&lookup, ptr, sizeof(lookup)))
			return -EFAULT;
		ret = context_lookup(ctx, &lookup);
		if (!ret && copy_to_user(ptr, &lookup, sizeof(lookup)))
			ret = -EFAULT;
		return ret;
	}
	return -ENOTTY;
}

static const struct file_operations context_fops = {
	.owner		= THIS_MODULE,
	.open		= context_open,
	.release	= context_release,
	.unlocked_ioctl	= context_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};

static struct miscdevice context_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "my_device",
	.fops	= &context_fops,
};
module_misc_device(context_misc);

MODULE_DESCRIPTION("Device that mirrors the process that opens it");
MODULE_LICENSE("GPL");
