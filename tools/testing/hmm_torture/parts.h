/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parts that run beside each other; each is a function of a process of its own.
 */
#ifndef HMM_TORTURE_PARTS_H
#define HMM_TORTURE_PARTS_H

#include "shared.h"

int keeper(struct part *part);
int machine(struct part *part);
int programs(struct part *part);

#endif /* HMM_TORTURE_PARTS_H */
