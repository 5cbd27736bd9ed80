/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a driver of 2017 knows of HMM mirroring.  harness/check/lint builds the one in
 * mm/tests/hmm with this in place of <linux/hmm.h>: its guard keeps that one out.
 */
#ifndef _LINUX_HMM_H
#define _LINUX_HMM_H

struct mm_struct;
struct page;
struct hmm_mirror;

enum hmm_update_type {
	HMM_UPDATE_INVALIDATE,
};

struct hmm_mirror_ops {
	void (*sync_cpu_device_pagetables)(struct hmm_mirror *mirror,
					   enum hmm_update_type type,
					   unsigned long start,
					   unsigned long end);
};

struct hmm_mirror {
	const struct hmm_mirror_ops *ops;
};

typedef unsigned long hmm_pfn_t;

struct page *hmm_pfn_t_to_page(hmm_pfn_t pfn);
unsigned long hmm_pfn_t_to_pfn(hmm_pfn_t pfn);
hmm_pfn_t hmm_pfn_t_from_page(struct page *page);
hmm_pfn_t hmm_pfn_t_from_pfn(unsigned long pfn);

int hmm_mirror_register(struct hmm_mirror *mirror, struct mm_struct *mm);
void hmm_mirror_unregister(struct hmm_mirror *mirror);

#endif /* _LINUX_HMM_H */
