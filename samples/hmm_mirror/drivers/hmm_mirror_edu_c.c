// SPDX-License-Identifier: GPL-2.0
/*
 * A driver in C of QEMU's PCI device edu, which reads and writes the memory of a process by
 * DMA, at virtual addresses of that process.
 *
 * The device has a buffer of one page, and copies between that and a DMA address, one piece
 * at a time, in 100 ms each.  It has no page table of its own: what it may reach is what is
 * mapped for it, in an IOMMU where there is one (HMM_MIRROR_DMA_DIRECT).  The ioctls are
 * described in hmm_mirror_uapi.h.
 *
 * What a driver of a real device needs, beside what hmm_mirror_c.c has:
 *  - pages are mapped in context_commit(), and unmapped by the registry when
 *    context_invalidate() has returned;
 *  - the device uses a page for some time, so an invalidation waits for the transfer
 *    of a page of it, and each transfer ends, whatever becomes of the device;
 *  - the device may go while files are open: edu_enter() keeps it while a call uses it, and
 *    edu_remove() ends the mirrors.  Files stay, and each call of theirs fails.
 */
#include <linux/bitmap.h>
#include <linux/cleanup.h>
#include <linux/compat.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/hmm_mirror_dma.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/iopoll.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/string.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "sample.h"

#define EDU_VENDOR		0x1234
#define EDU_DEVICE		0x11e8

/* Registers */
#define EDU_ID			0x00
#define EDU_ID_MASK		0xff
#define EDU_ID_VALUE		0xed
#define EDU_LIVENESS		0x04	/* reads as the complement of what was written */
#define EDU_IRQ_STATUS		0x24
#define EDU_IRQ_ACK		0x64
#define EDU_IRQ_DMA		0x100
#define EDU_DMA_SRC		0x80
#define EDU_DMA_DST		0x88
#define EDU_DMA_COUNT		0x90
#define EDU_DMA_CMD		0x98
#define EDU_CMD_RUN		0x1
#define EDU_CMD_TO_MEMORY	0x2
#define EDU_CMD_IRQ		0x4

/* Where the device sees its own buffer */
#define EDU_BUFFER		0x40000
#define EDU_BUFFER_SIZE		4096
#define EDU_MIN_BITS		28	/* of what QEMU makes unless it is told otherwise */

/* A transfer takes 100 ms of the guest's time, which may pass slowly for the CPU */
#define TRANSFER_TIMEOUT	msecs_to_jiffies(2000)

#define LEAF_SHIFT		21
#define LEAF_SIZE		BIT(LEAF_SHIFT)
#define LEAF_PAGES		(LEAF_SIZE / PAGE_SIZE)

#define FAULT_TRIES		100	/* when updates come in between */
#define FAULT_TIMEOUT		msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT)

/* The buffer is no larger, so neither may the pages be */
static_assert(PAGE_SIZE == EDU_BUFFER_SIZE);

static unsigned int dma_bits = EDU_MIN_BITS;
module_param(dma_bits, uint, 0444);
MODULE_PARM_DESC(dma_bits, "Width of the device's DMA addresses, as the property dma_mask of QEMU's device has it, which the device does not tell (28 to 64, default: 28)");

struct context;

/* The device.  It stays while files are open, but not its hardware: see edu_enter() */
struct edu {
	struct kref kref;
	struct pci_dev *pdev;
	void __iomem *regs;
	struct miscdevice misc;
	bool unplugged;

	struct mutex contexts_lock;	/* protects @contexts, and who ends one of these */
	struct list_head contexts;	/* those with a mirror */

	/* One transfer at a time, and whose contents the buffers have */
	struct mutex engine;
	void *bounce;			/* memory of the driver's, as the CPU sees it */
	dma_addr_t bounce_dma;		/* and as the device does */
	bool dead;			/* it did not answer; never reset */
	bool done;			/* the device says that a transfer is over */
	wait_queue_head_t wait;		/* for @done, @unplugged and @ended */

	/* What the callbacks of all mirrors take, and the commits */
	spinlock_t lock;
	struct context *user;		/* whose page is being copied, or NULL */
	unsigned long user_addr;	/* of that page */
	unsigned int ended;		/* how many pages were copied, or could not be */
};

/* An open file */
struct context {
	struct hmm_mirror mirror;
	struct edu *edu;
	struct list_head list;		/* in @edu->contexts */
	struct mutex bind_lock;		/* one HMM_MIRROR_IOC_BIND at a time */
	bool bound;			/* mirror is registered; never reset */
	unsigned long end_address;	/* of the address space, exclusive */
	struct mutex leaves_lock;	/* who adds a leaf */
	struct xarray leaves;		/* by address; they go with @edu->lock held */
	struct hmm_mirror_stats stats;	/* protected by @edu->lock */
};

/* What the device may use of 2 MiB */
struct leaf {
	struct hmm_mirror_dma dma;
	unsigned long start;
	/*
	 * Of the pages that are mapped, those that were not invalidated: the registry
	 * unmaps them later than that, and so nothing must be begun with them.
	 */
	DECLARE_BITMAP(usable, LEAF_PAGES);
};

/* As in drm_dev_enter(): readers are the calls, which sleep, the writer is edu_remove() */
DEFINE_STATIC_SRCU(edu_unplug_srcu);

/* There is one node, and so one device; edu_probe() leaves others to other drivers */
static unsigned long edu_taken;

static bool edu_enter(struct edu *edu, int *idx)
{
	*idx = srcu_read_lock(&edu_unplug_srcu);
	if (!READ_ONCE(edu->unplugged))
		return true;
	srcu_read_unlock(&edu_unplug_srcu, *idx);
	return false;
}

static void edu_exit(int idx)
{
	srcu_read_unlock(&edu_unplug_srcu, idx);
}

static void edu_free(struct kref *kref)
{
	struct edu *edu = container_of(kref, struct edu, kref);

	mutex_destroy(&edu->engine);
	mutex_destroy(&edu->contexts_lock);
	kfree(edu);
}

static irqreturn_t edu_irq(int irq, void *data)
{
	struct edu *edu = data;
	u32 status = readl(edu->regs + EDU_IRQ_STATUS);

	/* All ones: nobody is there who could answer */
	if (!status || status == ~0U)
		return IRQ_NONE;
	writel(status, edu->regs + EDU_IRQ_ACK);
	if (status & EDU_IRQ_DMA) {
		WRITE_ONCE(edu->done, true);
		wake_up_all(&edu->wait);
	}
	return IRQ_HANDLED;
}

/*
 * The device may still be about to copy: keep it from memory.  It is not trusted again
 * until a driver is bound to it anew, which waits for that transfer.
 */
static void edu_stop(struct edu *edu)
{
	pci_clear_master(edu->pdev);
	pci_wait_for_pending_transaction(edu->pdev);
	edu->dead = true;
}

/*
 * Copies between the device's buffer and a DMA address, and waits until the device has
 * done so, or cannot any more.  So this always ends, and soon, and who waits for that
 * need not look at the clock.  It cannot be interrupted, as the device would go on.
 *
 * The interrupt is a message, which comes behind the data, and needs bus mastering as they do.
 */
static int edu_copy(struct edu *edu, dma_addr_t addr, size_t len, bool to_memory)
{
	lockdep_assert_held(&edu->engine);

	if (READ_ONCE(edu->unplugged))
		return -ENODEV;
	if (edu->dead)
		return -EIO;
	WRITE_ONCE(edu->done, false);
	writeq(to_memory ? EDU_BUFFER : addr, edu->regs + EDU_DMA_SRC);
	writeq(to_memory ? addr : EDU_BUFFER, edu->regs + EDU_DMA_DST);
	writeq(len, edu->regs + EDU_DMA_COUNT);
	writeq(EDU_CMD_RUN | EDU_CMD_IRQ | (to_memory ? EDU_CMD_TO_MEMORY : 0),
	       edu->regs + EDU_DMA_CMD);
	wait_event_timeout(edu->wait, READ_ONCE(edu->done) || READ_ONCE(edu->unplugged),
			   TRANSFER_TIMEOUT);
	if (READ_ONCE(edu->done))
		return 0;

	edu_stop(edu);
	if (READ_ONCE(edu->unplugged))
		return -ENODEV;
	pci_err(edu->pdev, "does not answer: no more transfers until it is bound again\n");
	return -EIO;
}

/* Is the device at work on a page of [start, end)? */
static bool context_is_copied(struct context *ctx, unsigned long start, unsigned long end)
{
	struct edu *edu = ctx->edu;

	lockdep_assert_held(&edu->lock);
	return edu->user == ctx && edu->user_addr >= start && edu->user_addr < end;
}

/* Waits until the device uses no page of [start, end), with the lock dropped meanwhile */
static void context_wait(struct context *ctx, unsigned long start, unsigned long end)
{
	struct edu *edu = ctx->edu;

	while (context_is_copied(ctx, start, end)) {
		unsigned int ended = edu->ended;

		spin_unlock(&edu->lock);
		wait_event(edu->wait, READ_ONCE(edu->ended) != ended);
		spin_lock(&edu->lock);
	}
}

static unsigned int leaf_index(const struct leaf *leaf, unsigned long addr)
{
	return (addr - leaf->start) >> PAGE_SHIFT;
}

/* Takes what is in [start, end) from the device.  Returns how many pages that were */
static unsigned int leaf_clear(struct leaf *leaf, unsigned long start, unsigned long end)
{
	unsigned int first = leaf_index(leaf, max(start, leaf->start));
	unsigned int last = leaf_index(leaf, min(end, leaf->start + LEAF_SIZE));
	unsigned int before = bitmap_weight(leaf->usable, LEAF_PAGES);

	bitmap_clear(leaf->usable, first, last - first);
	return before - bitmap_weight(leaf->usable, LEAF_PAGES);
}

/* Gives the device what is mapped of [start, end).  Returns how many pages that are */
static unsigned int leaf_set(struct leaf *leaf, unsigned long start, unsigned long end)
{
	struct hmm_dma_run run;
	unsigned int pages = 0;

	hmm_mirror_dma_for_each_run(&run, &leaf->dma, start, end) {
		unsigned int nr = (run.end - run.start) >> PAGE_SHIFT;

		bitmap_set(leaf->usable, leaf_index(leaf, run.start), nr);
		pages += nr;
	}
	return pages;
}

/* How does the device reach the page at @addr?  Good for as long as the lock is held */
static bool leaf_lookup(const struct leaf *leaf, unsigned long addr, struct hmm_dma_run *run)
{
	if (!test_bit(leaf_index(leaf, addr), leaf->usable))
		return false;
	run->end = addr;
	return hmm_mirror_dma_next_run(&leaf->dma, run, addr + PAGE_SIZE);
}

static bool context_lookup(struct context *ctx, unsigned long addr, bool write,
			   struct hmm_dma_run *run)
{
	struct leaf *leaf = xa_load(&ctx->leaves, addr >> LEAF_SHIFT);

	lockdep_assert_held(&ctx->edu->lock);
	return leaf && leaf_lookup(leaf, addr, run) && (run->write || !write);
}

/* Pages can be mapped in a commit only if there is a leaf for them by then */
static struct leaf *context_leaf(struct context *ctx, unsigned long addr)
{
	struct device *dev = ctx->mirror.dev;
	struct leaf *leaf;
	int ret;

	guard(mutex)(&ctx->leaves_lock);
	leaf = xa_load(&ctx->leaves, addr >> LEAF_SHIFT);
	if (leaf)
		return leaf;

	leaf = kzalloc_obj(*leaf, GFP_KERNEL_ACCOUNT);
	if (!leaf)
		return ERR_PTR(-ENOMEM);
	leaf->start = round_down(addr, LEAF_SIZE);
	ret = hmm_mirror_dma_init(&leaf->dma, &ctx->mirror, leaf->start,
				  leaf->start + LEAF_SIZE);
	if (ret == -EOPNOTSUPP)
		dev_err_once(dev, "cannot have pages in place: its addresses have %u bits (see dma_bits) and need %d, or they would be copied (swiotlb), or the IOMMU has no more addresses\n",
			     dma_bits, fls64(dma_get_required_mask(dev)));
	if (ret)
		goto free;
	ret = xa_insert(&ctx->leaves, addr >> LEAF_SHIFT, leaf, GFP_KERNEL_ACCOUNT);
	if (ret)
		goto fini;

	spin_lock(&ctx->edu->lock);
	ctx->stats.tables++;
	spin_unlock(&ctx->edu->lock);
	return leaf;

fini:
	hmm_mirror_dma_fini(&leaf->dma);
free:
	kfree(leaf);
	return ERR_PTR(ret);
}

/*
 * A transfer in progress is waited for, as edu can do nothing else, and holds up only those
 * whose update is of that page.  When this has returned, the registry unmaps.
 */
static bool context_invalidate(struct hmm_mirror *mirror,
			       const struct mmu_notifier_range *update)
{
	struct context *ctx = container_of(mirror, struct context, mirror);
	struct edu *edu = ctx->edu;
	struct leaf *leaf;
	unsigned long i;

	guard(spinlock)(&edu->lock);
	if (!mmu_notifier_range_blockable(update) &&
	    context_is_copied(ctx, update->start, update->end))
		return false;

	ctx->stats.invalidations++;
	xa_for_each_range(&ctx->leaves, i, leaf, update->start >> LEAF_SHIFT,
			  (update->end - 1) >> LEAF_SHIFT) {
		unsigned int pages = leaf_clear(leaf, update->start, update->end);

		ctx->stats.pages -= pages;
		ctx->stats.invalidated += pages;
	}
	context_wait(ctx, update->start, update->end);
	return true;
}

static void context_gone(struct hmm_mirror *mirror)
{
	struct context *ctx = container_of(mirror, struct context, mirror);

	guard(spinlock)(&ctx->edu->lock);
	ctx->stats.dead = 1;
}

static const struct hmm_mirror_ops context_ops = {
	.name		= "hmm_mirror_edu_c",
	.invalidate	= context_invalidate,
	.release	= context_gone,
	.flags		= HMM_MIRROR_DMA_DIRECT,
};

/* A device page fault */
struct fault {
	struct context *ctx;
	struct leaf *leaf;
	u64 filled;		/* pages */
};

/* Maps what was read, for the device to use */
static int context_commit(struct hmm_mirror_range *range, void *data)
{
	struct fault *fault = data;
	struct context *ctx = fault->ctx;
	int ret;

	guard(spinlock)(&ctx->edu->lock);
	/* A page that can be written to by now is mapped anew, so not under the device's hands */
	context_wait(ctx, range->start, range->end);
	ret = hmm_mirror_range_dma_map(range, &fault->leaf->dma);
	if (ret == -EAGAIN)
		return ret;

	/* If that has failed, what was there may have gone */
	ctx->stats.pages -= leaf_clear(fault->leaf, range->start, range->end);
	fault->filled = leaf_set(fault->leaf, range->start, range->end);
	ctx->stats.pages += fault->filled;
	if (ret)
		return ret;
	ctx->stats.mapped += fault->filled;
	ctx->stats.faults++;
	ctx->stats.retries += range->retries;
	return 0;
}

/* Adds to @filled how many pages the device can use.  The range is in one leaf */
static int context_fault(struct context *ctx, unsigned long start, unsigned long end,
			 unsigned long *pfns, unsigned long request, u64 *filled)
{
	struct fault fault = { .ctx = ctx, .leaf = context_leaf(ctx, start) };
	struct hmm_mirror_range range;
	int ret;

	if (IS_ERR(fault.leaf))
		return PTR_ERR(fault.leaf);
	hmm_mirror_range_init(&range, start, end, pfns, request);
	ret = hmm_mirror_range_begin(&range, &ctx->mirror);
	if (ret)
		return ret;
	ret = hmm_mirror_range_map(&range, FAULT_TIMEOUT, context_commit, &fault);
	hmm_mirror_range_end(&range);
	if (!ret)
		*filled += fault.filled;
	return ret;
}

static int context_bind(struct context *ctx, const struct hmm_mirror_bind *arg)
{
	struct edu *edu = ctx->edu;
	struct mm_struct *mm;
	int ret;

	if (arg->flags)
		return -EINVAL;

	guard(mutex)(&ctx->bind_lock);
	if (ctx->bound)
		return -EBUSY;

	mm = hmm_mirror_get_mm(arg->pidfd);
	if (IS_ERR(mm))
		return PTR_ERR(mm);

	ret = mmap_write_lock_killable(mm);
	if (!ret) {
		ctx->end_address = mm->task_size;
		ctx->mirror.ops = &context_ops;
		ctx->mirror.dev = &edu->pdev->dev;
		ret = hmm_mirror_register(&ctx->mirror, mm);
		mmap_write_unlock(mm);
	}
	mmput(mm);
	if (ret)
		return ret;

	scoped_guard(mutex, &edu->contexts_lock) {
		list_add(&ctx->list, &edu->contexts);
		/* edu_remove() may have gone through the list already, and waits for faults */
		if (READ_ONCE(edu->unplugged))
			hmm_mirror_cancel(&ctx->mirror);
	}
	/* Pairs with the smp_load_acquire() in context_call() */
	smp_store_release(&ctx->bound, true);
	return 0;
}

static int context_map(struct context *ctx, struct hmm_mirror_map *arg)
{
	unsigned long addr = arg->addr, end = addr + arg->len, next, request = 0;
	unsigned long *pfns;
	int ret = sample_map_check(arg, ctx->end_address);

	if (ret)
		return ret;
	if (arg->flags & HMM_MIRROR_MAP_ASYNC)
		return -EOPNOTSUPP;
	if (!(arg->flags & HMM_MIRROR_MAP_PRESENT))
		request |= HMM_PFN_REQ_FAULT;
	if (arg->flags & HMM_MIRROR_MAP_WRITE)
		request |= HMM_PFN_REQ_WRITE;

	pfns = kvcalloc(LEAF_PAGES, sizeof(*pfns), GFP_KERNEL);
	if (!pfns)
		return -ENOMEM;

	arg->pages = 0;
	for (; addr < end && !ret; addr = next) {
		next = min(round_down(addr, LEAF_SIZE) + LEAF_SIZE, end);
		if (fatal_signal_pending(current))
			ret = -EINTR;
		else
			ret = context_fault(ctx, addr, next, pfns, request, &arg->pages);
	}
	kvfree(pfns);
	return ret;
}

/*
 * Copies between the device's buffer and a page of the process.  -EAGAIN: the device may not
 * use that page, or not in this way.
 */
static int context_copy(struct context *ctx, unsigned long addr, size_t len, bool write)
{
	struct edu *edu = ctx->edu;
	struct hmm_dma_run run;
	int ret;

	scoped_guard(spinlock, &edu->lock) {
		if (!context_lookup(ctx, addr & PAGE_MASK, write, &run))
			return -EAGAIN;
		/* From here on who wants to change that page waits for the device */
		edu->user = ctx;
		edu->user_addr = addr & PAGE_MASK;
	}

	ret = edu_copy(edu, run.addr + offset_in_page(addr), len, write);

	scoped_guard(spinlock, &edu->lock) {
		edu->user = NULL;
		WRITE_ONCE(edu->ended, edu->ended + 1);
		if (!ret) {
			ctx->stats.accesses++;
			ctx->stats.read_bytes += write ? 0 : len;
			ctx->stats.written_bytes += write ? len : 0;
		}
	}
	wake_up_all(&edu->wait);
	return ret;
}

/* The CPU reaches the device's buffer by way of the driver's own, to which edu copies it */
static int context_transfer(struct context *ctx, unsigned long addr, void *bytes, size_t len,
			    bool write)
{
	struct edu *edu = ctx->edu;
	struct hmm_dma_run run;
	int ret;

	/* Without an entry there is nothing to wait 100 ms for */
	scoped_guard(spinlock, &edu->lock)
		if (!context_lookup(ctx, addr & PAGE_MASK, write, &run))
			return -EAGAIN;
	ret = mutex_lock_killable(&edu->engine);
	if (ret)
		return ret;

	if (write) {
		memcpy(edu->bounce, bytes, len);
		ret = edu_copy(edu, edu->bounce_dma, len, false);
		if (!ret)
			ret = context_copy(ctx, addr, len, true);
	} else {
		ret = context_copy(ctx, addr, len, false);
		if (!ret)
			ret = edu_copy(edu, edu->bounce_dma, len, true);
		if (!ret)
			memcpy(bytes, edu->bounce, len);
	}
	mutex_unlock(&edu->engine);
	return ret;
}

/* One access to bytes of one page: faults while the device may not use that page */
static int context_access(void *data, unsigned long addr, void *bytes, size_t len, bool write)
{
	unsigned long request = HMM_PFN_REQ_FAULT | (write ? HMM_PFN_REQ_WRITE : 0);
	unsigned long start = addr & PAGE_MASK;
	struct context *ctx = data;
	unsigned int tries;
	int ret;

	for (tries = 0; tries < FAULT_TRIES; tries++) {
		unsigned long pfn = 0;
		u64 filled = 0;

		ret = context_transfer(ctx, addr, bytes, len, write);
		if (ret != -EAGAIN)
			return ret;
		ret = context_fault(ctx, start, start + PAGE_SIZE, &pfn, request, &filled);
		if (ret)
			return ret;
	}
	return -EBUSY;
}

/*
 * The page table of the device is the IOMMU's.  So who compares what this shows with what the
 * CPU has compares that.
 *
 * Returns the address to go on at, which is @end where all had room.
 */
static unsigned long dump_leaf(const struct leaf *leaf, unsigned long start,
			       unsigned long end, struct sample_dump *dump)
{
	struct hmm_dma_run run;
	unsigned long addr;

	for (addr = start; addr < end; addr += PAGE_SIZE) {
		if (!leaf_lookup(leaf, addr, &run))
			continue;
		if (dump->nr == dump->capacity)
			return addr;
		dump->entry[dump->nr++] = (struct hmm_mirror_entry) {
			.addr = addr,
			.pfn = PHYS_PFN(hmm_mirror_dma_phys(&leaf->dma, run.addr)),
			.flags = run.write ? HMM_MIRROR_ENTRY_WRITE : 0,
		};
	}
	return end;
}

static unsigned long context_dump(void *data, unsigned long start, unsigned long end,
				  struct sample_dump *dump)
{
	struct context *ctx = data;
	struct leaf *leaf;
	unsigned long i;

	start = round_down(start, PAGE_SIZE);
	guard(spinlock)(&ctx->edu->lock);
	xa_for_each_range(&ctx->leaves, i, leaf, start >> LEAF_SHIFT, (end - 1) >> LEAF_SHIFT) {
		unsigned long last = min(leaf->start + LEAF_SIZE, end);
		unsigned long at = dump_leaf(leaf, max(leaf->start, start), last, dump);

		if (at != last)
			return at;
	}
	return end;
}

/* Nobody makes a call for it any more, and its mirror may be told of updates still */
static void context_end(struct context *ctx)
{
	struct leaf *leaf;
	unsigned long i;

	lockdep_assert_held(&ctx->edu->contexts_lock);

	list_del_init(&ctx->list);
	xa_for_each(&ctx->leaves, i, leaf) {
		scoped_guard(spinlock, &ctx->edu->lock)
			xa_erase(&ctx->leaves, i);
		hmm_mirror_dma_fini(&leaf->dma);
		kfree(leaf);
	}
	hmm_mirror_unregister(&ctx->mirror);
}

static int context_open(struct inode *inode, struct file *file)
{
	struct edu *edu = container_of(file->private_data, struct edu, misc);
	struct context *ctx = kzalloc_obj(*ctx, GFP_KERNEL_ACCOUNT);

	if (!ctx)
		return -ENOMEM;
	mutex_init(&ctx->bind_lock);
	mutex_init(&ctx->leaves_lock);
	INIT_LIST_HEAD(&ctx->list);
	xa_init(&ctx->leaves);
	/* It is registered yet, as misc_deregister() waits for this */
	kref_get(&edu->kref);
	ctx->edu = edu;
	file->private_data = ctx;
	return 0;
}

static int context_release(struct inode *inode, struct file *file)
{
	struct context *ctx = file->private_data;
	struct edu *edu = ctx->edu;

	scoped_guard(mutex, &edu->contexts_lock)
		if (!list_empty(&ctx->list))
			context_end(ctx);
	mutex_destroy(&ctx->leaves_lock);
	mutex_destroy(&ctx->bind_lock);
	kfree(ctx);
	kref_put(&edu->kref, edu_free);
	return 0;
}

static int context_do(struct context *ctx, unsigned int cmd, union sample_argument *arg)
{
	/* Pairs with the smp_store_release() in context_bind() */
	if (cmd != HMM_MIRROR_IOC_BIND && !smp_load_acquire(&ctx->bound))
		return -ENXIO;

	switch (cmd) {
	case HMM_MIRROR_IOC_BIND:
		return context_bind(ctx, &arg->bind);
	case HMM_MIRROR_IOC_MAP:
		return context_map(ctx, &arg->map);
	case HMM_MIRROR_IOC_READ:
		return sample_rw(ctx, &arg->rw, false, ctx->end_address, context_access);
	case HMM_MIRROR_IOC_WRITE:
		return sample_rw(ctx, &arg->rw, true, ctx->end_address, context_access);
	case HMM_MIRROR_IOC_ADD:
		return -EOPNOTSUPP;	/* edu cannot count */
	case HMM_MIRROR_IOC_DUMP:
		return sample_dump(ctx, &arg->dump, ctx->end_address, context_dump);
	case HMM_MIRROR_IOC_STATS:
		scoped_guard(spinlock, &ctx->edu->lock)
			arg->stats = ctx->stats;
		return 0;
	}
	return -ENOTTY;
}

static int context_call(void *data, unsigned int cmd, union sample_argument *arg)
{
	struct context *ctx = data;
	int idx, ret;

	if (!edu_enter(ctx->edu, &idx))
		return -ENODEV;
	ret = context_do(ctx, cmd, arg);
	edu_exit(idx);
	/* By edu_remove() */
	return ret == -ECANCELED ? -ENODEV : ret;
}

static long context_ioctl(struct file *file, unsigned int cmd, unsigned long user)
{
	return sample_ioctl(file->private_data, cmd, user, context_call);
}

static const struct file_operations context_fops = {
	.owner		= THIS_MODULE,
	.open		= context_open,
	.release	= context_release,
	.unlocked_ioctl	= context_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};

/* Is this an edu that does nothing, whatever was made of it before? */
static int edu_wake(struct edu *edu)
{
	u64 cmd;
	int ret;

	if ((readl(edu->regs + EDU_ID) & EDU_ID_MASK) != EDU_ID_VALUE)
		return -ENODEV;
	writel(0x12345678, edu->regs + EDU_LIVENESS);
	if (readl(edu->regs + EDU_LIVENESS) != ~0x12345678U)
		return -EIO;
	/* A transfer that nobody waits for any more would find itself bus master again */
	ret = readq_poll_timeout(edu->regs + EDU_DMA_CMD, cmd, !(cmd & EDU_CMD_RUN),
				 USEC_PER_MSEC, USEC_PER_SEC);
	writel(readl(edu->regs + EDU_IRQ_STATUS), edu->regs + EDU_IRQ_ACK);
	return ret;
}

/*
 * Does the device reach what it is said to?  It leaves out bits that it does not have, and
 * copies to or from elsewhere.  So it only reads by an address of @dma_bits, and writes by
 * one that each edu has.
 */
static int edu_check(struct edu *edu, void *low, dma_addr_t low_dma)
{
	int ret;

	memset(low, 0, EDU_BUFFER_SIZE);
	memset(edu->bounce, 0xa5, EDU_BUFFER_SIZE);
	guard(mutex)(&edu->engine);
	ret = edu_copy(edu, edu->bounce_dma, EDU_BUFFER_SIZE, false);
	if (!ret)
		ret = edu_copy(edu, low_dma, EDU_BUFFER_SIZE, true);
	if (!ret && memcmp(low, edu->bounce, EDU_BUFFER_SIZE))
		ret = -EIO;
	return ret;
}

static int edu_set_width(struct edu *edu)
{
	struct device *dev = &edu->pdev->dev;
	dma_addr_t low_dma;
	void *low;
	int ret;

	/* The first address behind an IOMMU has all bits; without, it is where there is memory */
	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(dma_bits));
	if (ret)
		return ret;
	edu->bounce = dmam_alloc_coherent(dev, EDU_BUFFER_SIZE, &edu->bounce_dma, GFP_KERNEL);
	if (!edu->bounce)
		return -ENOMEM;

	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(EDU_MIN_BITS));
	if (ret)
		return ret;
	low = dma_alloc_coherent(dev, EDU_BUFFER_SIZE, &low_dma, GFP_KERNEL);
	if (!low)
		return -ENOMEM;
	ret = edu_check(edu, low, low_dma);
	dma_free_coherent(dev, EDU_BUFFER_SIZE, low, low_dma);
	return ret ?: dma_set_mask_and_coherent(dev, DMA_BIT_MASK(dma_bits));
}

/* When all else of the device has gone */
static void edu_put(void *data)
{
	struct edu *edu = data;

	clear_bit(0, &edu_taken);
	kref_put(&edu->kref, edu_free);
}

static int edu_start(struct edu *edu)
{
	struct pci_dev *pdev = edu->pdev;
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return dev_err_probe(&pdev->dev, ret, "cannot be enabled\n");
	edu->regs = pcim_iomap_region(pdev, 0, KBUILD_MODNAME);
	if (IS_ERR(edu->regs))
		return dev_err_probe(&pdev->dev, PTR_ERR(edu->regs), "has no registers\n");
	ret = edu_wake(edu);
	if (ret)
		return dev_err_probe(&pdev->dev, ret, "is no edu, or does not answer\n");

	/* MSI: see edu_copy() */
	ret = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSI);
	if (ret < 0)
		return dev_err_probe(&pdev->dev, ret, "has no MSI\n");
	ret = devm_request_irq(&pdev->dev, pci_irq_vector(pdev, 0), edu_irq, 0,
			       KBUILD_MODNAME, edu);
	if (ret)
		return ret;
	pci_set_master(pdev);
	ret = edu_set_width(edu);
	if (ret)
		return dev_err_probe(&pdev->dev, ret,
				     "does not copy by DMA addresses of %u bits: see dma_bits\n",
				     dma_bits);
	return 0;
}

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct edu *edu;
	int ret;

	if (dma_bits < EDU_MIN_BITS || dma_bits > 64)
		return dev_err_probe(&pdev->dev, -EINVAL, "dma_bits=%u: 28 to 64\n", dma_bits);
	/* Not an error, and so another driver is asked: the same in Rust, say */
	if (test_and_set_bit(0, &edu_taken)) {
		pci_info(pdev, "not for " KBUILD_MODNAME ", which has a device\n");
		return -ENODEV;
	}
	edu = kzalloc_obj(*edu);
	if (!edu) {
		clear_bit(0, &edu_taken);
		return -ENOMEM;
	}
	kref_init(&edu->kref);
	mutex_init(&edu->contexts_lock);
	INIT_LIST_HEAD(&edu->contexts);
	mutex_init(&edu->engine);
	init_waitqueue_head(&edu->wait);
	spin_lock_init(&edu->lock);
	edu->pdev = pdev;
	edu->misc = (struct miscdevice) {
		.minor	= MISC_DYNAMIC_MINOR,
		.name	= "hmm_mirror_edu_c",
		.fops	= &context_fops,
		.parent	= &pdev->dev,
		.mode	= 0600,
	};
	ret = devm_add_action_or_reset(&pdev->dev, edu_put, edu);
	if (!ret)
		ret = edu_start(edu);
	if (!ret)
		ret = misc_register(&edu->misc);
	if (!ret)
		pci_set_drvdata(pdev, edu);
	return ret;
}

/*
 * Files may be open, and calls may be in progress, also in the middle of a transfer.  The
 * mirrors, and what is mapped, end here; the rest of a context when its file is closed.
 */
static void edu_remove(struct pci_dev *pdev)
{
	struct edu *edu = pci_get_drvdata(pdev);
	struct context *ctx, *next;

	misc_deregister(&edu->misc);
	WRITE_ONCE(edu->unplugged, true);
	wake_up_all(&edu->wait);
	/* A fault may wait for a page that somebody is to bring who waits for this */
	scoped_guard(mutex, &edu->contexts_lock)
		list_for_each_entry(ctx, &edu->contexts, list)
			hmm_mirror_cancel(&ctx->mirror);
	synchronize_srcu(&edu_unplug_srcu);

	scoped_guard(mutex, &edu->contexts_lock)
		list_for_each_entry_safe(ctx, next, &edu->contexts, list)
			context_end(ctx);
	pci_clear_master(pdev);
}

static const struct pci_device_id edu_ids[] = {
	{ PCI_DEVICE(EDU_VENDOR, EDU_DEVICE) },
	{ }
};
MODULE_DEVICE_TABLE(pci, edu_ids);

static struct pci_driver edu_driver = {
	.name		= "hmm_mirror_edu_c",
	.id_table	= edu_ids,
	.probe		= edu_probe,
	.remove		= edu_remove,
};
module_pci_driver(edu_driver);

MODULE_DESCRIPTION("Driver in C of QEMU's PCI device edu, which mirrors a process");
MODULE_LICENSE("GPL");
