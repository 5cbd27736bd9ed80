// SPDX-License-Identifier: GPL-2.0-or-later
/* What takes the place of functions of the kernel, see compat.h */
#define HMM_MIRROR_COMPAT_C
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cleanup.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/poll.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <uapi/linux/pidfd.h>

#include "compat.h"

static bool hmm_is_for_devices(struct vm_area_struct *vma)
{
	return !hmm_vma_is_secretmem(vma) && !(vma->vm_flags & VM_SHADOW_STACK);
}

/* The frames of such an area are nobody's business, even if the CPU has entries for them */
static void hmm_hide(const struct hmm_range *range, unsigned long start, unsigned long end)
{
	unsigned long i = (max(start, range->start) - range->start) >> PAGE_SHIFT;
	unsigned long last = (min(end, range->end) - range->start) >> PAGE_SHIFT;

	for (; i < last; i++)
		range->hmm_pfns[i] = HMM_PFN_ERROR;
}

/* The mmap lock is held */
int hmm_range_fault_checked(struct hmm_range *range)
{
	VMA_ITERATOR(vmi, range->notifier->mm, range->start);
	int ret = hmm_range_fault(range);
	struct vm_area_struct *vma;

	if (ret)
		return ret;
	for_each_vma_range(vmi, vma, range->end)
		if (unlikely(!hmm_is_for_devices(vma)))
			hmm_hide(range, vma->vm_start, vma->vm_end);
	return 0;
}

static bool hmm_pidfd_is_self(int pidfd)
{
#ifdef PIDFD_SELF_THREAD_GROUP
	return pidfd == PIDFD_SELF_THREAD_GROUP || pidfd == PIDFD_SELF_THREAD;
#else
	return false;
#endif
}

/*
 * Which process a pidfd belongs to is not exported, either.  It is in the inode, and only
 * compared here: were it something else in another kernel, no pidfd would be the caller's.
 */
struct task_struct *hmm_pidfd_get_self(int pidfd)
{
	const struct inode *inode;

	if (hmm_pidfd_is_self(pidfd))
		return get_task_struct(current);

	CLASS(fd, f)(pidfd);
	if (!fd_file(f))
		return ERR_PTR(-EBADF);
	inode = file_inode(fd_file(f));
	if (inode->i_sb->s_magic != PID_FS_MAGIC)
		return ERR_PTR(-EBADF);
	if (inode->i_private == task_tgid(current))
		return get_task_struct(current);
	/* What poll(2) tells anyone of a process: that it has ended */
	if (vfs_poll(fd_file(f), NULL) & EPOLLIN)
		return ERR_PTR(-ESRCH);

	pr_notice_once("%s[%d] has asked for the memory of another process, which a module cannot check the right to: let that process bind the device itself, as 'hmm-mirror run' and 'attach' make it do\n",
		       current->comm, task_tgid_nr(current));
	return ERR_PTR(-EOPNOTSUPP);
}
