// SPDX-License-Identifier: GPL-2.0
/*
 * A fake device that mirrors a process, in C.
 *
 * Each open file is a device context with a page table of its own.  The ioctls
 * are described in hmm_mirror_uapi.h; the same device in Rust is
 * hmm_mirror_rust.rs.
 *
 * A driver needs two things to mirror: context_invalidate() takes entries out of
 * the page table, and context_commit() puts them in, both under one lock.  The rest
 * makes the accesses that hardware would make by itself, and the ioctls.
 */
#include <linux/cleanup.h>
#include <linux/compat.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/hmm.h>
#include <linux/memcontrol.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "sample.h"

#define LEVELS		4
#define SLOT_BITS	9
#define SLOTS		BIT(SLOT_BITS)
#define SLOT_SHIFT(level) (PAGE_SHIFT + (level) * SLOT_BITS)
#define ADDR_END	BIT(SLOT_SHIFT(LEVELS))

#define FAULT_PAGES	512	/* faulted in at once */
#define FAULT_TRIES	100	/* when updates come in between */
#define FAULT_TIMEOUT	msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT)
#define CLEAR_TABLES	64	/* gone through with the lock held */

static bool may_sleep;
module_param(may_sleep, bool, 0644);
MODULE_PARM_DESC(may_sleep, "The mirrors that are bound from now on have a callback that takes a mutex: the OOM reaper and process_mrelease(2) have to leave the process alone while somebody else holds it (default: no)");

static unsigned int flush_ms;
module_param(flush_ms, uint, 0644);
MODULE_PARM_DESC(flush_ms, "Milliseconds for which such a callback holds the mutex, if it may sleep (default: 0)");

static bool of_2017;
module_param(of_2017, bool, 0644);
MODULE_PARM_DESC(of_2017, "The mirrors that are bound from now on have the callback of 2017, which may sleep at any time: the OOM reaper and process_mrelease(2) have to leave the process alone (default: no)");

/*
 * A table.  On the last level a slot is an entry: the hmm_pfn that the fault has
 * read, which has HMM_PFN_VALID set, or 0.  Above it is a table, or NULL, and how
 * many slots of that are used.  So a table of the last level, of which there may be
 * very many, is no larger than the CPU's.
 */
struct table {
	union {
		unsigned long entry[SLOTS];
		struct table *table[SLOTS];
	};
	u16 used[];	/* of the tables in the slots; not on the last level */
};

static_assert(sizeof(struct table) == SLOTS * sizeof(unsigned long));

/* An open file */
struct context {
	struct hmm_mirror mirror;
	struct mutex bind_lock;		/* one HMM_MIRROR_IOC_BIND at a time */
	bool bound;			/* mirror is registered; never reset */
	struct mutex flush_lock;	/* one flush at a time, of those that may sleep */
	struct work_struct work;	/* faults @ahead in */
	struct hmm_mirror_map ahead;	/* its owner is who has set @working */
	unsigned long working;
	struct mm_struct *mm;		/* while the mirror is registered, which keeps it */
	unsigned long end_address;	/* of the address space, exclusive */
	spinlock_t lock;		/* callback and commit; protects the rest */
	struct table *root;
	u16 root_used;
	struct hmm_mirror_stats stats;
};

/*
 * Tables are allocated before @lock is taken, which reclaim may need: what two
 * addresses lack on each level, at most.
 */
struct spare {
	struct {
		unsigned int nr;
		struct table *table[2];
	} level[LEVELS - 1];
};

static struct table *table_alloc(int level)
{
	struct table *table;

	return kzalloc(struct_size(table, used, level ? SLOTS : 0),
		       GFP_KERNEL_ACCOUNT);
}

static unsigned long *entry_slot(struct table *table, unsigned long addr)
{
	return &table->entry[(addr >> PAGE_SHIFT) % SLOTS];
}

static unsigned int table_index(unsigned long addr, int level)
{
	return (addr >> SLOT_SHIFT(level)) % SLOTS;
}

static struct table *table_get(struct table *table, unsigned long addr, int level)
{
	return table->table[table_index(addr, level)];
}

static unsigned long entry_get(struct context *ctx, unsigned long addr)
{
	struct table *table = ctx->root;
	int level;

	lockdep_assert_held(&ctx->lock);

	if (addr >= ADDR_END)
		return 0;
	for (level = LEVELS - 1; level && table; level--)
		table = table_get(table, addr, level);
	return table ? *entry_slot(table, addr) : 0;
}

/* -EAGAIN: @spare has run out of tables.  @addr is in the window of the mirror. */
static int entry_set(struct context *ctx, unsigned long addr,
		     unsigned long entry, struct spare *spare)
{
	struct table *table = ctx->root;
	u16 *used = &ctx->root_used;
	int level;

	lockdep_assert_held(&ctx->lock);

	for (level = LEVELS - 1; level; level--) {
		unsigned int i = table_index(addr, level);

		if (!table->table[i]) {
			typeof(*spare->level) *below = &spare->level[level - 1];

			if (!below->nr)
				return -EAGAIN;
			table->table[i] = below->table[--below->nr];
			++*used;
			ctx->stats.tables++;
		}
		used = &table->used[i];
		table = table->table[i];
	}
	if (!*entry_slot(table, addr)) {
		++*used;
		ctx->stats.pages++;
	}
	*entry_slot(table, addr) = entry;
	return 0;
}

/*
 * Takes out what maps [start, end) in @table, of which *@used slots are used, marks
 * what the device may have written to, and frees tables below it that become empty.
 * Stops once it has been in *@tables of the last level.  Returns the address to go on
 * at.
 */
static unsigned long entries_clear(struct context *ctx, struct table *table,
				   u16 *used, int level, unsigned long start,
				   unsigned long end, unsigned int *tables)
{
	unsigned long addr, next;

	for (addr = start; addr < end && *used; addr = next) {
		unsigned int i = table_index(addr, level);

		next = min(((addr >> SLOT_SHIFT(level)) + 1) << SLOT_SHIFT(level),
			   end);
		if (!level) {
			if (table->entry[i]) {
				/* The device has no bit that says whether it was */
				hmm_pfn_mark_dirty(table->entry[i]);
				table->entry[i] = 0;
				--*used;
				ctx->stats.pages--;
				ctx->stats.invalidated++;
			}
		} else if (table->table[i]) {
			unsigned long at;

			if (!*tables)
				return addr;
			*tables -= level == 1;
			at = entries_clear(ctx, table->table[i], &table->used[i],
					   level - 1, addr, next, tables);
			if (!table->used[i]) {
				kfree(table->table[i]);
				table->table[i] = NULL;
				--*used;
				ctx->stats.tables--;
			} else if (at != next) {
				return at;
			}
		}
	}
	return end;
}

/*
 * Takes out what maps [start, end).  Others get the lock every now and then: what
 * is still there meanwhile may be used until this returns, and nothing new is put
 * in, as each fault in flight has collided.
 */
static void context_clear(struct context *ctx, unsigned long start,
			  unsigned long end, bool sleeps)
{
	end = min(end, ADDR_END);
	while (start < end) {
		unsigned int tables = CLEAR_TABLES;

		spin_lock(&ctx->lock);
		start = entries_clear(ctx, ctx->root, &ctx->root_used, LEVELS - 1,
				      start, end, &tables);
		spin_unlock(&ctx->lock);
		if (sleeps)
			cond_resched();
	}
}

/* How many tables are missing to map @addr: those of the levels below this one */
static int missing_at(struct context *ctx, unsigned long addr)
{
	struct table *table = ctx->root;
	int level;

	for (level = LEVELS - 1; level; level--) {
		table = table_get(table, addr, level);
		if (!table)
			return level;
	}
	return 0;
}

static void spare_free(struct spare *spare)
{
	int level;

	for (level = 0; level < LEVELS - 1; level++)
		while (spare->level[level].nr)
			kfree(spare->level[level].table[--spare->level[level].nr]);
}

/* Allocate what the page table lacks to map up to FAULT_PAGES pages. */
static int spare_alloc(struct context *ctx, unsigned long start,
		       unsigned long end, struct spare *spare)
{
	int first, last = 0, level;

	spin_lock(&ctx->lock);
	first = missing_at(ctx, start);
	if (start >> SLOT_SHIFT(1) != (end - 1) >> SLOT_SHIFT(1))
		last = missing_at(ctx, end - 1);
	spin_unlock(&ctx->lock);

	for (level = 0; level < max(first, last); level++) {
		typeof(*spare->level) *here = &spare->level[level];
		unsigned int missing = (level < first) + (level < last);

		while (here->nr < missing) {
			here->table[here->nr] = table_alloc(level);
			if (!here->table[here->nr])
				return -ENOMEM;
			here->nr++;
		}
	}
	return 0;
}

/* What an update is about must not be used any more when this returns. */
static void context_flush(struct context *ctx, unsigned long start,
			  unsigned long end, bool sleeps)
{
	spin_lock(&ctx->lock);
	ctx->stats.invalidations++;
	spin_unlock(&ctx->lock);
	context_clear(ctx, start, end, sleeps);
}

/* This takes no more than a spinlock, and so never has to refuse. */
static bool context_invalidate(struct hmm_mirror *mirror,
			       const struct mmu_notifier_range *update)
{
	struct context *ctx = container_of(mirror, struct context, mirror);

	context_flush(ctx, update->start, update->end,
		      mmu_notifier_range_blockable(update));
	return true;
}

/* As for a device whose flush is waited for, and which can do one at a time */
static bool context_invalidate_sleeping(struct hmm_mirror *mirror,
					const struct mmu_notifier_range *update)
{
	struct context *ctx = container_of(mirror, struct context, mirror);
	bool sleeps = mmu_notifier_range_blockable(update);

	if (sleeps)
		mutex_lock(&ctx->flush_lock);
	else if (!mutex_trylock(&ctx->flush_lock))
		return false;
	context_flush(ctx, update->start, update->end, sleeps);
	if (sleeps && flush_ms)
		msleep(flush_ms);
	mutex_unlock(&ctx->flush_lock);
	return true;
}

/*
 * The callback of 2017, which comes before and after a change, cannot refuse, and is
 * not told whether it may sleep.
 */
static void context_sync(struct hmm_mirror *mirror, enum hmm_update_type type,
			 unsigned long start, unsigned long end)
{
	struct context *ctx = container_of(mirror, struct context, mirror);

	mutex_lock(&ctx->flush_lock);
	context_flush(ctx, start, end, true);
	mutex_unlock(&ctx->flush_lock);
}

static void context_gone(struct hmm_mirror *mirror)
{
	struct context *ctx = container_of(mirror, struct context, mirror);

	spin_lock(&ctx->lock);
	ctx->stats.dead = 1;
	spin_unlock(&ctx->lock);
}

static const struct hmm_mirror_ops context_ops = {
	.name		= "hmm_mirror_c",
	.invalidate	= context_invalidate,
	.release	= context_gone,
	.flags		= HMM_MIRROR_ATOMIC,
};

static const struct hmm_mirror_ops context_sleeping_ops = {
	.name		= "hmm_mirror_c_sleeping",
	.invalidate	= context_invalidate_sleeping,
	.release	= context_gone,
};

static const struct hmm_mirror_ops context_2017_ops = {
	.name				= "hmm_mirror_c_2017",
	.sync_cpu_device_pagetables	= context_sync,
	.release			= context_gone,
};

static const struct hmm_mirror_ops *context_choose_ops(void)
{
	if (of_2017)
		return &context_2017_ops;
	return may_sleep ? &context_sleeping_ops : &context_ops;
}

/* A device page fault */
struct fault {
	struct context *ctx;
	struct spare spare;
	u64 filled;		/* pages */
};

/* Puts what was read into the device's page table */
static int context_commit(struct hmm_mirror_range *range, void *data)
{
	struct fault *fault = data;
	struct context *ctx = fault->ctx;
	unsigned long addr, *pfn;
	u64 filled = 0;
	int ret;

	ret = spare_alloc(ctx, range->start, range->end, &fault->spare);
	if (ret)
		return ret;

	spin_lock(&ctx->lock);
	if (!hmm_mirror_range_valid(range))
		ret = -EAGAIN;
	for (addr = range->start, pfn = range->pfns; !ret && addr < range->end;
	     addr += PAGE_SIZE, pfn++) {
		if (!(*pfn & HMM_PFN_VALID))
			continue;
		ret = entry_set(ctx, addr, *pfn, &fault->spare);
		filled += !ret;
	}
	if (!ret) {
		ctx->stats.mapped += filled;
		ctx->stats.faults++;
		ctx->stats.retries += range->retries;
		fault->filled = filled;
	}
	spin_unlock(&ctx->lock);
	return ret;
}

/* Adds to @filled how many pages were put into the device's page table. */
static int context_fault(struct context *ctx, unsigned long start,
			 unsigned long end, unsigned long *pfns,
			 unsigned long request, u64 *filled)
{
	struct fault fault = { .ctx = ctx };
	struct hmm_mirror_range range;
	int ret;

	hmm_mirror_range_init(&range, start, end, pfns, request);
	ret = hmm_mirror_range_begin(&range, &ctx->mirror);
	if (ret)
		return ret;
	ret = hmm_mirror_range_map(&range, FAULT_TIMEOUT, context_commit, &fault);
	hmm_mirror_range_end(&range);
	spare_free(&fault.spare);
	*filled += fault.filled;
	return ret;
}

static int context_bind(struct context *ctx, const struct hmm_mirror_bind *arg)
{
	struct mm_struct *mm;
	struct table *root;
	int ret;

	if (arg->flags)
		return -EINVAL;

	guard(mutex)(&ctx->bind_lock);
	if (ctx->bound)
		return -EBUSY;

	mm = hmm_mirror_get_mm(arg->pidfd);
	if (IS_ERR(mm))
		return PTR_ERR(mm);

	root = table_alloc(LEVELS - 1);
	ret = root ? mmap_write_lock_killable(mm) : -ENOMEM;
	if (!ret) {
		/* The callback may come before it is registered for good */
		ctx->root = root;
		ctx->stats.tables = 1;
		ctx->mm = mm;
		ctx->end_address = mm->task_size;
		ctx->mirror.ops = context_choose_ops();
		ctx->mirror.window_end = ADDR_END;
		ret = hmm_mirror_register(&ctx->mirror, mm);
		mmap_write_unlock(mm);
	}
	mmput(mm);
	if (ret) {
		kfree(root);
		return ret;
	}
	/* Pairs with the smp_load_acquire() in context_call() */
	smp_store_release(&ctx->bound, true);
	return 0;
}

/* Faults a range in, which was checked */
static int context_map_checked(struct context *ctx, struct hmm_mirror_map *arg)
{
	unsigned long *pfns, addr = arg->addr, end = addr + arg->len, request = 0;
	int ret = 0;

	if (!(arg->flags & HMM_MIRROR_MAP_PRESENT))
		request |= HMM_PFN_REQ_FAULT;
	if (arg->flags & HMM_MIRROR_MAP_WRITE)
		request |= HMM_PFN_REQ_WRITE;

	pfns = kvcalloc(FAULT_PAGES, sizeof(*pfns), GFP_KERNEL);
	if (!pfns)
		return -ENOMEM;

	arg->pages = 0;
	while (addr < end && !ret) {
		unsigned long next = end - addr > FAULT_PAGES * PAGE_SIZE ?
				     addr + FAULT_PAGES * PAGE_SIZE : end;

		if (fatal_signal_pending(current))
			ret = -EINTR;
		else
			ret = context_fault(ctx, addr, next, pfns, request,
					    &arg->pages);
		addr = next;
	}
	kvfree(pfns);
	return ret;
}

static struct workqueue_struct *context_workers;

/* What the fault interrupt of a device would have done */
static void context_work(struct work_struct *work)
{
	struct context *ctx = container_of(work, struct context, work);
	struct mem_cgroup *memcg, *outer;

	/* The process pays for the tables, as the worker is in no cgroup but the root */
	memcg = get_mem_cgroup_from_mm(ctx->mm);
	outer = set_active_memcg(memcg);
	/* Nobody waits for what comes of it */
	context_map_checked(ctx, &ctx->ahead);
	set_active_memcg(outer);
	mem_cgroup_put(memcg);
	clear_bit_unlock(0, &ctx->working);
}

static int context_map(struct context *ctx, struct hmm_mirror_map *arg)
{
	int ret = sample_map_check(arg, ctx->end_address);

	if (ret)
		return ret;
	if (!(arg->flags & HMM_MIRROR_MAP_ASYNC))
		return context_map_checked(ctx, arg);

	arg->pages = 0;
	if (test_and_set_bit_lock(0, &ctx->working))
		return -EBUSY;
	ctx->ahead = *arg;
	queue_work(context_workers, &ctx->work);
	return 0;
}

/*
 * One access of the device to bytes of one page: follows the page table, and
 * faults while there is no entry that permits it.
 */
static int context_access(void *data, unsigned long addr, void *bytes, size_t len,
			  bool write)
{
	struct context *ctx = data;
	unsigned long need = HMM_PFN_VALID | (write ? HMM_PFN_WRITE : 0);
	unsigned int tries;

	for (tries = 0; tries < FAULT_TRIES; tries++) {
		unsigned long entry, pfn = 0;
		u64 filled = 0;
		int ret;

		spin_lock(&ctx->lock);
		entry = entry_get(ctx, addr);
		if ((entry & need) == need) {
			struct page *page = hmm_pfn_to_page(entry);

			/*
			 * The page is there: to go, it needs the mirror's callback,
			 * which needs the lock.
			 */
			if (write) {
				memcpy_to_page(page, offset_in_page(addr), bytes,
					       len);
				ctx->stats.written_bytes += len;
			} else {
				memcpy_from_page(bytes, page,
						 offset_in_page(addr), len);
				ctx->stats.read_bytes += len;
			}
			ctx->stats.accesses++;
			spin_unlock(&ctx->lock);
			return 0;
		}
		spin_unlock(&ctx->lock);

		ret = context_fault(ctx, addr & PAGE_MASK,
				    (addr & PAGE_MASK) + PAGE_SIZE, &pfn,
				    HMM_PFN_REQ_FAULT |
				    (write ? HMM_PFN_REQ_WRITE : 0), &filled);
		if (ret)
			return ret;
	}
	return -EBUSY;
}

struct add {
	struct context *ctx;
	struct hmm_mirror_add *arg;
};

/* Adds to a word of a page that nobody else can get at: the CPU's are not atomic for it */
static int context_commit_add(struct hmm_mirror_range *range, void *data)
{
	struct add *add = data;
	struct context *ctx = add->ctx;
	struct page *page = hmm_pfn_to_page(range->pfns[0]);
	size_t offset = offset_in_page(add->arg->addr);
	u64 value;
	int ret = -EAGAIN;

	spin_lock(&ctx->lock);
	if (hmm_mirror_range_valid(range)) {
		memcpy_from_page((char *)&add->arg->old, page, offset, sizeof(value));
		value = add->arg->old + add->arg->value;
		memcpy_to_page(page, offset, (char *)&value, sizeof(value));
		set_page_dirty(page);
		ctx->stats.accesses++;
		ctx->stats.read_bytes += sizeof(value);
		ctx->stats.written_bytes += sizeof(value);
		ret = 0;
	}
	spin_unlock(&ctx->lock);
	return ret;
}

static int context_add(struct context *ctx, struct hmm_mirror_add *arg)
{
	unsigned long start = arg->addr & PAGE_MASK, pfn = 0;
	struct add add = { .ctx = ctx, .arg = arg };
	struct hmm_mirror_range range;
	int ret;

	if (arg->addr % sizeof(u64) || arg->addr >= ctx->end_address)
		return -EINVAL;
	hmm_mirror_range_init(&range, start, start + PAGE_SIZE, &pfn,
			      HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE);
	ret = hmm_mirror_range_begin(&range, &ctx->mirror);
	if (ret)
		return ret;
	ret = hmm_mirror_range_map_exclusive(&range, FAULT_TIMEOUT, context_commit_add, &add);
	hmm_mirror_range_end(&range);
	return ret;
}

/* Returns the address to go on at, which is @end where all had room. */
static unsigned long dump_table(struct table *table, int level,
				unsigned long start, unsigned long end,
				struct sample_dump *dump)
{
	unsigned long addr, next;

	for (addr = start; addr < end; addr = next) {
		next = min(((addr >> SLOT_SHIFT(level)) + 1) << SLOT_SHIFT(level),
			   end);
		if (!level) {
			unsigned long entry = *entry_slot(table, addr);

			if (!entry)
				continue;
			if (dump->nr == dump->capacity)
				return addr & PAGE_MASK;
			dump->entry[dump->nr++] = (struct hmm_mirror_entry) {
				.addr = addr & PAGE_MASK,
				.pfn = entry & ~HMM_PFN_FLAGS,
				.flags = entry & HMM_PFN_WRITE ?
					 HMM_MIRROR_ENTRY_WRITE : 0,
				.order = hmm_pfn_to_map_order(entry),
			};
		} else if (table_get(table, addr, level)) {
			unsigned long at;

			at = dump_table(table_get(table, addr, level),
					level - 1, addr, next, dump);
			if (at != next)
				return at;
		}
	}
	return end;
}

static unsigned long context_dump(void *data, unsigned long start, unsigned long end,
				  struct sample_dump *dump)
{
	struct context *ctx = data;
	unsigned long at;

	spin_lock(&ctx->lock);
	at = dump_table(ctx->root, LEVELS - 1, start, end, dump);
	spin_unlock(&ctx->lock);
	return at;
}

static int context_open(struct inode *inode, struct file *file)
{
	struct context *ctx = kzalloc(sizeof(*ctx), GFP_KERNEL_ACCOUNT);

	if (!ctx)
		return -ENOMEM;
	mutex_init(&ctx->bind_lock);
	mutex_init(&ctx->flush_lock);
	INIT_WORK(&ctx->work, context_work);
	spin_lock_init(&ctx->lock);
	file->private_data = ctx;
	return 0;
}

static int context_release(struct inode *inode, struct file *file)
{
	struct context *ctx = file->private_data;

	if (ctx->bound) {
		/* The worker may be waiting for somebody who waits for this */
		hmm_mirror_cancel(&ctx->mirror);
		cancel_work_sync(&ctx->work);
		context_clear(ctx, 0, ADDR_END, true);
		hmm_mirror_unregister(&ctx->mirror);
		kfree(ctx->root);
	}
	mutex_destroy(&ctx->flush_lock);
	mutex_destroy(&ctx->bind_lock);
	kfree(ctx);
	return 0;
}

static int context_call(void *data, unsigned int cmd, union sample_argument *arg)
{
	struct context *ctx = data;

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
		return context_add(ctx, &arg->add);
	case HMM_MIRROR_IOC_DUMP:
		return sample_dump(ctx, &arg->dump, ADDR_END, context_dump);
	case HMM_MIRROR_IOC_STATS:
		spin_lock(&ctx->lock);
		arg->stats = ctx->stats;
		spin_unlock(&ctx->lock);
		return 0;
	}
	return -ENOTTY;
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

static struct miscdevice context_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "hmm_mirror_c",
	.fops	= &context_fops,
};

static int __init context_init(void)
{
	int ret;

	/* Its own, as what is mapped may be a long time coming */
	context_workers = alloc_workqueue("hmm_mirror_c", WQ_UNBOUND, 0);
	if (!context_workers)
		return -ENOMEM;
	ret = misc_register(&context_misc);
	if (ret)
		destroy_workqueue(context_workers);
	return ret;
}
module_init(context_init);

static void __exit context_exit(void)
{
	misc_deregister(&context_misc);
	destroy_workqueue(context_workers);
}
module_exit(context_exit);

MODULE_DESCRIPTION("Fake device that mirrors a process, in C");
MODULE_LICENSE("GPL");
