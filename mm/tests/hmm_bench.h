/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device of hmm_bench.c in Rust, which is in hmm_bench_rust.rs. */
#ifndef _HMM_BENCH_H
#define _HMM_BENCH_H

#include <linux/mm_types.h>

struct hmm_bench_rust;

/* A mirror of @mm for a device that uses @pages pages from @base; NULL on failure */
struct hmm_bench_rust *hmm_bench_rust_register(struct mm_struct *mm,
					       unsigned long base,
					       unsigned long pages);
void hmm_bench_rust_unregister(struct hmm_bench_rust *device);

/* Fault all of these pages, and commit them @n times; not 0 on failure */
int hmm_bench_rust_commits(struct hmm_bench_rust *device, unsigned long n);

#endif /* _HMM_BENCH_H */
