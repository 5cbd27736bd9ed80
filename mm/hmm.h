/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between the MMU notifier core, mmu_notifier.c, and HMM mirroring, hmm.c.
 */
#ifndef _MM_HMM_H
#define _MM_HMM_H

#include <linux/types.h>

struct hmm;
struct hmm_mirror;
struct hmm_mirror_range;
struct mm_struct;
struct mmu_notifier;
struct mmu_notifier_range;
struct task_struct;

#ifdef CONFIG_HMM_MIRROR

/*
 * In hmm.c.  hmm_track() is called inside mm_take_all_locks(), hmm_free() in the last
 * mmdrop(), hmm_release() in exit_mmap(), and the others under the locks that the core
 * asks for in an invalidation.
 */
void hmm_track(struct hmm *hmm);
void hmm_free(struct hmm *hmm);
int hmm_invalidate_start(struct mmu_notifier_range *range, struct hmm *hmm);
void hmm_invalidate_cancel(struct mmu_notifier_range *range, struct hmm *hmm);
void hmm_invalidate_end(struct mmu_notifier_range *range, struct hmm *hmm);
void hmm_release(struct hmm *hmm);

struct hmm *hmm_alloc(struct mm_struct *mm, struct mmu_notifier *notifier);
int hmm_range_set_task(struct hmm_mirror_range *range, struct task_struct *task);

/* In hmm_list.c */
#ifdef MODULE
#define hmm_use_list true	/* the core that a module is loaded into does not know of it */
#elif defined(CONFIG_HMM_MIRROR_LIST)
extern bool hmm_use_list;
#else
#define hmm_use_list false
#endif
struct hmm *hmm_list_get(struct mm_struct *mm);
void hmm_list_put(struct mmu_notifier *notifier);
void hmm_list_drain(void);

/* In hmm_dma.c */
#ifdef CONFIG_HMM_MIRROR_DMA
void __hmm_dma_invalidate(struct hmm_mirror *mirror,
			  const struct mmu_notifier_range *update);
void hmm_dma_drop(struct hmm_mirror *mirror);
#else
static inline void __hmm_dma_invalidate(struct hmm_mirror *mirror,
					const struct mmu_notifier_range *update) { }
static inline void hmm_dma_drop(struct hmm_mirror *mirror) { }
#endif

/* In mmu_notifier.c */
struct hmm *mmu_notifier_hmm(struct mm_struct *mm);
int mmu_notifier_attach_hmm(struct mm_struct *mm, struct hmm *hmm);

#else

static inline void hmm_track(struct hmm *hmm) { }

static inline void hmm_free(struct hmm *hmm) { }

static inline int hmm_invalidate_start(struct mmu_notifier_range *range,
				       struct hmm *hmm)
{
	return 0;
}

static inline void hmm_invalidate_cancel(struct mmu_notifier_range *range,
					 struct hmm *hmm) { }

static inline void hmm_invalidate_end(struct mmu_notifier_range *range,
				      struct hmm *hmm) { }

static inline void hmm_release(struct hmm *hmm) { }

#endif

#endif /* _MM_HMM_H */
