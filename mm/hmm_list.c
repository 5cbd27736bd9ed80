// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * HMM mirroring on the list of the MMU notifier core, for kernels whose core does not
 * know of the registry: hmm.c comes to hear of invalidations as any mmu_notifier does.
 *
 * What that costs is why it is not done otherwise: callbacks run in the one SRCU read
 * side of all list notifiers, so a device that takes its time holds up the exit of every
 * process that has one; and a notifier with an end must not refuse its start, so mirrors
 * have to be able to do what they are told at any time (%HMM_MIRROR_ATOMIC).
 *
 * A registry that is a module does it, and a test kernel if it is booted with
 * hmm_mirror_list=1.
 */
#include <linux/atomic.h>
#include <linux/err.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>

#include "hmm.h"

/* Those that are not freed yet, which the core does when it likes after the last put */
static atomic_t hmm_listed_nr = ATOMIC_INIT(0);

#ifdef MODULE
/*
 * For the exit of the module: waits until no function of this file is called any more.
 * mmu_notifier_synchronize() waits for the callbacks of mirrors, but not for each
 * free_notifier(), which the core queues for the CPU that the last put was on.  When the
 * last one of these has counted down it may still be about to return, with bottom halves
 * disabled, which RCU waits for.
 */
void hmm_list_drain(void)
{
	mmu_notifier_synchronize();
	wait_var_event(&hmm_listed_nr, !atomic_read(&hmm_listed_nr));
	synchronize_rcu();
}
#else
bool hmm_use_list __ro_after_init;
core_param(hmm_mirror_list, hmm_use_list, bool, 0444);
#endif

/* One for an mm, by mmu_notifier_get_locked(); each mirror holds a reference */
struct hmm_listed {
	struct mmu_notifier notifier;
	struct hmm *hmm;
};

static struct hmm *hmm_of(struct mmu_notifier *notifier)
{
	return container_of(notifier, struct hmm_listed, notifier)->hmm;
}

static int hmm_list_start(struct mmu_notifier *notifier,
			  const struct mmu_notifier_range *range)
{
	/* It is const for notifiers only: the core's callers have it on their stacks */
	return hmm_invalidate_start((struct mmu_notifier_range *)range,
				    hmm_of(notifier));
}

static void hmm_list_end(struct mmu_notifier *notifier,
			 const struct mmu_notifier_range *range)
{
	hmm_invalidate_end((struct mmu_notifier_range *)range, hmm_of(notifier));
}

static void hmm_list_release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	hmm_release(hmm_of(notifier));
}

static struct mmu_notifier *hmm_list_alloc(struct mm_struct *mm)
{
	struct hmm_listed *listed = kzalloc(sizeof(*listed), GFP_KERNEL_ACCOUNT);

	if (!listed)
		return ERR_PTR(-ENOMEM);
	listed->hmm = hmm_alloc(mm, &listed->notifier);
	if (!listed->hmm) {
		kfree(listed);
		return ERR_PTR(-ENOMEM);
	}
	atomic_inc(&hmm_listed_nr);
	/* For good: where the last mirror goes, the notifier does */
	hmm_track(listed->hmm);
	return &listed->notifier;
}

static void hmm_list_free(struct mmu_notifier *notifier)
{
	hmm_free(hmm_of(notifier));
	kfree(container_of(notifier, struct hmm_listed, notifier));
	if (atomic_dec_and_test(&hmm_listed_nr))
		wake_up_var(&hmm_listed_nr);
}

static const struct mmu_notifier_ops hmm_list_ops = {
	.alloc_notifier		= hmm_list_alloc,
	.free_notifier		= hmm_list_free,
	.invalidate_range_start	= hmm_list_start,
	.invalidate_range_end	= hmm_list_end,
	.release		= hmm_list_release,
};

/*
 * Gets the struct hmm of @mm, with a reference that hmm_list_put() gives back.  A module
 * stays loaded meanwhile: also for a driver that goes without unregistering its mirror, as
 * the core would go on to call what is no more.
 */
struct hmm *hmm_list_get(struct mm_struct *mm)
{
	struct mmu_notifier *notifier = mmu_notifier_get_locked(&hmm_list_ops, mm);

	if (IS_ERR(notifier))
		return ERR_CAST(notifier);
	__module_get(THIS_MODULE);
	return hmm_of(notifier);
}

void hmm_list_put(struct mmu_notifier *notifier)
{
	mmu_notifier_put(notifier);
	module_put(THIS_MODULE);
}
