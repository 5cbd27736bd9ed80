/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The page-table reader, where HMM mirroring is a module: <linux/hmm.h> is the header of
 * the registry, and the one that the kernel calls so is the next.  With it comes what
 * integration into a kernel tree would put elsewhere.
 */
#ifndef _LINUX_HMM_RANGE_H
#define _LINUX_HMM_RANGE_H

#include_next <linux/hmm.h>

#include <linux/mmu_notifier.h>
#include <linux/version.h>

/* The core copies these flags of an update nowhere, and looks at the first bit only */
#ifndef MMU_NOTIFIER_RANGE_HMM
#define MMU_NOTIFIER_RANGE_HMM (0xff << 8)
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
#define CONFIG_HMM_MIRROR_EXCLUSIVE 1
#endif

/*
 * A kernel without MODVERSIONS, as Debian's is, would load a driver that was built with
 * another <linux/hmm.h> than the registry, and each would take the structures of the other
 * for its own.  So the name of what every driver calls first has the checksum of the
 * headers in it, from hmm_mirror.mk, and such a driver does not find it.
 */
#define hmm_mirror_register	__PASTE(hmm_mirror_register_, HMM_MIRROR_ABI)

#endif /* _LINUX_HMM_RANGE_H */
