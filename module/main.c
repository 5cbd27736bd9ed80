// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The registry of mm/hmm.c as a module, hmm_mirror, for kernels that know nothing of it.
 *
 * It hears of invalidations by the list of the MMU notifier core, see mm/hmm_list.c, which
 * is why mirrors that may sleep are refused.
 */
#include <linux/debugfs.h>
#include <linux/module.h>

#include "../mm/hmm.h"
#include "compat.h"

static int __init hmm_module_init(void)
{
	return IS_ENABLED(CONFIG_DEBUG_FS) ? hmm_late_init() : 0;
}

/* Mirrors keep it loaded, and so do the modules of their drivers, which use its symbols */
static void __exit hmm_module_exit(void)
{
	debugfs_lookup_and_remove("hmm_mirror", NULL);
	hmm_list_drain();
}

module_init(hmm_module_init);
module_exit(hmm_module_exit);

MODULE_DESCRIPTION("HMM mirroring of process page tables for devices");
MODULE_LICENSE("GPL");
