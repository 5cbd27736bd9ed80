# SPDX-License-Identifier: GPL-2.0
#
# For the Kbuild of a driver of HMM mirroring, where that is a module: include this, and
# <linux/hmm.h> is the one of the registry, whose symbols are known.
#
#	include /usr/src/hmm-mirror/module/hmm_mirror.mk
#
# HMM_MIRROR_SYMVERS says where its Module.symvers is, unless it was built for this kernel
# here, or by the package hmm-mirror-dkms.

hmm-mirror-dir := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))/..

# What a driver and the registry have to have in common, see hmm_range.h
hmm-mirror-headers := include/linux/hmm.h include/linux/hmm_mirror_dma.h module/include/linux/hmm_range.h
hmm-mirror-abi := $(firstword $(shell cat $(addprefix $(hmm-mirror-dir)/,$(hmm-mirror-headers)) | cksum))

# Before the kernel's own
LINUXINCLUDE := -DHMM_MIRROR_ABI=$(hmm-mirror-abi) -I$(hmm-mirror-dir)/include -I$(hmm-mirror-dir)/module/include $(LINUXINCLUDE)

HMM_MIRROR_SYMVERS ?= $(or $(wildcard $(hmm-mirror-dir)/module/Module.symvers), \
	$(wildcard /var/lib/hmm-mirror-dkms/$(KERNELRELEASE)/Module.symvers))
KBUILD_EXTRA_SYMBOLS += $(HMM_MIRROR_SYMVERS)
