/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What mm/hmm.c is compiled with as a part of a module: it comes before all else there, and
 * has other functions take the place of what is not exported to modules, or is not as it
 * is in a kernel that has HMM mirroring in it.
 */
#ifndef _HMM_MIRROR_COMPAT_H
#define _HMM_MIRROR_COMPAT_H

#include <linux/fs.h>
#include <linux/hmm_range.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/ptrace.h>
#include <linux/sched/mm.h>
#include <linux/secretmem.h>

/* A module has one function to be called when it is loaded, which calls this one */
int hmm_late_init(void);
#undef late_initcall
#define late_initcall(fn)	\
	int __init hmm_late_init(void) { return fn(); }

/* Secret memory is not for devices.  vma_is_secretmem() is not exported */
static inline bool hmm_vma_is_secretmem(struct vm_area_struct *vma)
{
	return vma->vm_file &&
	       file_inode(vma->vm_file)->i_sb->s_magic == SECRETMEM_MAGIC;
}

#define vma_is_secretmem(vma)	hmm_vma_is_secretmem(vma)

/* The core of a kernel that is not ours reads what is not for devices */
int hmm_range_fault_checked(struct hmm_range *range);

#ifndef HMM_MIRROR_COMPAT_C
#define hmm_range_fault(range)	hmm_range_fault_checked(range)
#endif

/*
 * What is needed to see whether one process may look into another is not exported, and is
 * not to be imitated.  So a process gets its own address space, and no other.
 */
struct task_struct *hmm_pidfd_get_self(int pidfd);

#define pidfd_get_task(pidfd, flags)	((void)(flags), hmm_pidfd_get_self(pidfd))

static inline struct mm_struct *hmm_mm_of_self(struct task_struct *task)
{
	return get_task_mm(task) ?: ERR_PTR(-ESRCH);
}

#define mm_access(task, mode)		((void)(mode), hmm_mm_of_self(task))

#endif /* _HMM_MIRROR_COMPAT_H */
