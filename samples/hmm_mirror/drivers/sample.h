/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the sample drivers in C have in common: the ioctls of hmm_mirror_uapi.h, but for what
 * their devices do.
 */
#ifndef _HMM_MIRROR_SAMPLE_H
#define _HMM_MIRROR_SAMPLE_H

#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "../hmm_mirror_uapi.h"

#define SAMPLE_DUMP_ENTRIES	512	/* shown at once */

union sample_argument {
	struct hmm_mirror_bind bind;
	struct hmm_mirror_map map;
	struct hmm_mirror_rw rw;
	struct hmm_mirror_add add;
	struct hmm_mirror_dump dump;
	struct hmm_mirror_stats stats;
};

/* Does what an ioctl is for, with its argument in the kernel's memory */
typedef int sample_call_fn(void *ctx, unsigned int cmd, union sample_argument *arg);

/* One access of the device to bytes of one page of the process */
typedef int sample_access_fn(void *ctx, unsigned long addr, void *bytes, size_t len,
			     bool write);

static inline long sample_ioctl(void *ctx, unsigned int cmd, unsigned long user,
				sample_call_fn *call)
{
	size_t size = _IOC_SIZE(cmd);
	union sample_argument arg = { };
	int ret;

	switch (cmd) {
	case HMM_MIRROR_IOC_BIND:
	case HMM_MIRROR_IOC_MAP:
	case HMM_MIRROR_IOC_READ:
	case HMM_MIRROR_IOC_WRITE:
	case HMM_MIRROR_IOC_ADD:
	case HMM_MIRROR_IOC_DUMP:
	case HMM_MIRROR_IOC_STATS:
		break;
	default:
		return -ENOTTY;
	}

	if (_IOC_DIR(cmd) & _IOC_WRITE &&
	    copy_from_user(&arg, (void __user *)user, size))
		return -EFAULT;
	ret = call(ctx, cmd, &arg);
	/* What a call has done before it failed is given back as well. */
	if (_IOC_DIR(cmd) & _IOC_READ && ret != -ENXIO &&
	    copy_to_user((void __user *)user, &arg, size))
		return -EFAULT;
	return ret;
}

/* Is this an argument of MAP for an address space that ends at @end_address? */
static inline int sample_map_check(const struct hmm_mirror_map *arg,
				   unsigned long end_address)
{
	unsigned long end;

	if (arg->reserved || !arg->len ||
	    check_add_overflow(arg->addr, arg->len, &end) ||
	    end > end_address || !PAGE_ALIGNED(arg->addr | end))
		return -EINVAL;
	if (arg->flags & ~(HMM_MIRROR_MAP_WRITE | HMM_MIRROR_MAP_PRESENT |
			   HMM_MIRROR_MAP_ASYNC) ||
	    (arg->flags & HMM_MIRROR_MAP_WRITE && arg->flags & HMM_MIRROR_MAP_PRESENT))
		return -EINVAL;
	return 0;
}

/* READ and WRITE, page by page */
static inline int sample_rw(void *ctx, struct hmm_mirror_rw *arg, bool write,
			    unsigned long end_address, sample_access_fn *access)
{
	unsigned long end;
	void *bytes;
	int ret = 0;

	if (check_add_overflow(arg->addr, arg->len, &end) ||
	    end > end_address)
		return -EINVAL;

	bytes = kmalloc(PAGE_SIZE, GFP_KERNEL);
	if (!bytes)
		return -ENOMEM;

	arg->done = 0;
	while (arg->done < arg->len && !ret) {
		unsigned long addr = arg->addr + arg->done;
		void __user *user = u64_to_user_ptr(arg->buf + arg->done);
		size_t len = min_t(u64, PAGE_SIZE - offset_in_page(addr),
				   arg->len - arg->done);

		if (fatal_signal_pending(current))
			ret = -EINTR;
		else if (write && copy_from_user(bytes, user, len))
			ret = -EFAULT;
		else
			ret = access(ctx, addr, bytes, len, write);
		if (!ret && !write && copy_to_user(user, bytes, len))
			ret = -EFAULT;
		if (!ret)
			arg->done += len;
	}
	kfree(bytes);
	return ret;
}

struct sample_dump {
	struct hmm_mirror_entry *entry;
	unsigned int nr;
	unsigned int capacity;
};

/*
 * Adds the entries of [start, end).  Returns the address to go on at, which is @end where all
 * had room.
 */
typedef unsigned long sample_dump_fn(void *ctx, unsigned long start, unsigned long end,
				     struct sample_dump *dump);

/* DUMP for a device that has entries below @end_address only */
static inline int sample_dump(void *ctx, struct hmm_mirror_dump *arg,
			      unsigned long end_address, sample_dump_fn *fill)
{
	unsigned long end = min(arg->end, end_address);
	struct sample_dump dump = { };
	unsigned long at = end;
	int ret = 0;

	if (arg->start > arg->end || !arg->capacity)
		return -EINVAL;

	dump.capacity = min(arg->capacity, SAMPLE_DUMP_ENTRIES);
	dump.entry = kvcalloc(dump.capacity, sizeof(*dump.entry), GFP_KERNEL);
	if (!dump.entry)
		return -ENOMEM;

	if (arg->start < end)
		at = fill(ctx, arg->start, end, &dump);
	if (copy_to_user(u64_to_user_ptr(arg->entries), dump.entry,
			 dump.nr * sizeof(*dump.entry))) {
		ret = -EFAULT;
	} else {
		arg->start = at == end ? arg->end : at;
		arg->count = dump.nr;
	}
	kvfree(dump.entry);
	return ret;
}

#endif /* _HMM_MIRROR_SAMPLE_H */
