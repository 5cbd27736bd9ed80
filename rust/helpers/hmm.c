// SPDX-License-Identifier: GPL-2.0

#include <linux/hmm.h>

#ifdef CONFIG_HMM_MIRROR
__rust_helper bool
rust_helper_hmm_mirror_range_valid(const struct hmm_mirror_range *range)
{
	return hmm_mirror_range_valid(range);
}

__rust_helper struct page *rust_helper_hmm_pfn_to_page(unsigned long hmm_pfn)
{
	return hmm_pfn_to_page(hmm_pfn);
}

__rust_helper void rust_helper_hmm_pfn_mark_dirty(unsigned long pfn)
{
	hmm_pfn_mark_dirty(pfn);
}

__rust_helper unsigned int
rust_helper_hmm_pfn_to_map_order(unsigned long hmm_pfn)
{
	return hmm_pfn_to_map_order(hmm_pfn);
}
#endif /* CONFIG_HMM_MIRROR */
