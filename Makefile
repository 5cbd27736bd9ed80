# SPDX-License-Identifier: GPL-2.0
#
# The front door of the harness; the work is done by the scripts in the folders of
# harness/, each of which has --help.

# A tree of one's own to work on, instead of the one that is fetched; or another
# series to fetch.
export LINUX KERNEL STOCK
# Taken as it is typed, dollar signs and all.
export HMM_CMD = $(value CMD)

TIMEOUT ?= 600
ARCH ?= um
# For torture and fuzz; bash has a use of its own for this name
SECONDS ?= 60
unexport SECONDS

help:
	@echo 'HMM mirroring for Linux, with a Rust binding'
	@echo
	@echo "  make try                 a quick look: modules in Debian's own kernel, in 4 minutes"
	@echo '  make demo                mirror real programs in a real kernel, and watch'
	@echo '  make test                run all tests; logs lie in build/test/'
	@echo '  make test-c KERNEL=6.12  test the C half alone, on an older kernel'
	@echo
	@echo "  make run CMD='...'       boot, and run a command as root in the guest"
	@echo '  make shell               boot, and give a shell'
	@echo '  make kunit               run the KUnit suites (ARCH=um, ARCH=x86_64, ...)'
	@echo '  make selftests           run the kselftests in the guest'
	@echo '  make iommu               have a PCI device do DMA, and an IOMMU judge it; with MUTANTS=1'
	@echo '                           see that it would notice'
	@echo '  make hmm-tests           run the selftest of the kernel for hmm_range_fault()'
	@echo '  make intree              compile all drivers of the kernel that use HMM'
	@echo '  make lint                check the sources'
	@echo '  make compile-fail        see that misuse of the Rust binding does not compile'
	@echo '  make docs                build our pages of documentation, and check links'
	@echo '  make llvm                compile all that is ours with clang'
	@echo '  make coverage            see what of mm/hmm.c and mm/hmm_dma.c the tests execute'
	@echo '  make bench               measure it beside mmu_interval_notifier'
	@echo '  make model               check a model of mm/hmm.c, and that it would notice'
	@echo '  make mutants             see that the KUnit suites notice small faults'
	@echo '  make sanitize KIND=KIND  run tests where KASAN or KCSAN watches (kasan, kcsan)'
	@echo '  make matrix              test it on other kernels and machines'
	@echo '  make torture SECONDS=N   do all that may break it, all at once (SEED=N); KIND=plain,'
	@echo '                           KIND=kasan and KIND=kcsan: in another kernel'
	@echo '  make fuzz SECONDS=N      call the devices with all that may be wrong (SEED=N)'
	@echo
	@echo '  make new-driver NAME=X   write a driver to begin with, in Rust (IN=c: in C), beside'
	@echo '                           this checkout (DIR=DIR: there)'
	@echo '  make try-driver DIR=DIR  build it, boot, load it, and run its test'
	@echo
	@echo '  make module KDIR=DIR     build it as modules for a kernel as it is shipped, without KDIR'
	@echo '                           for the one that runs'
	@echo '  make deb                 pack these for DKMS, and the program, as packages of Debian'
	@echo
	@echo '  make integrate LINUX=DIR put HMM mirroring into a kernel tree'
	@echo '  make remove LINUX=DIR    take it out again, byte for byte'
	@echo
	@echo '  make series              write it as patches to mail, to build/series/; with'
	@echo '                           CHECK=1 build and check them one by one'
	@echo
	@echo '  make root                make the build root, a small Debian'
	@echo '  make source              fetch the kernel source'
	@echo '  make kernel              build the kernel that the others boot'
	@echo '  make clean               delete what was built from this checkout'
	@echo '  make distclean           delete the caches of all checkouts as well'
	@echo
	@echo 'What is needed is made on the way. All but integrate and remove take'
	@echo 'LINUX=DIR too, to use an integrated tree of your own, or KERNEL=SERIES, to'
	@echo 'use another kernel of Debian than 7.3; run takes TIMEOUT=SECONDS, 600 unless it is'
	@echo 'given. HOST=1 builds kernels with the tools of this host, where make'
	@echo 'rustavailable passes, and not in a build root. make turns every failure into its own'
	@echo 'status 2; harness/guest/run COMMAND has that of the command.'

test:
	@harness/test
test-c:
	@harness/test --c
root source kernel clean:
	@harness/build/$@
demo try:
	@harness/guest/$@
module:
	@KDIR='$(KDIR)' harness/build/module
deb:
	@harness/ship/deb
iommu:
	@harness/check/iommu $(if $(MUTANTS),--mutants)
compile-fail docs hmm-tests intree lint llvm matrix model mutants selftests:
	@harness/check/$@
bench coverage:
	@harness/measure/$@
sanitize:
	@harness/check/sanitize $(KIND)
torture:
	@harness/check/torture --seconds $(SECONDS) $(if $(KIND),--kind $(KIND)) $(if $(SEED),--seed $(SEED))
fuzz:
	@harness/check/fuzz --seconds $(SECONDS) $(if $(KIND),--kind $(KIND)) $(if $(SEED),--seed $(SEED))
kunit:
	@harness/check/kunit $(ARCH)
run:
	@harness/guest/run --timeout $(TIMEOUT) -- bash -c "$${HMM_CMD:?say what to run: make run CMD=...}"
shell:
	@harness/guest/run --tty
new-driver:
	@harness/ship/new-driver $(if $(IN),--in $(IN)) \
		"$${NAME:?say what it is called: make new-driver NAME=my_gpu}" $${DIR:+"$$DIR"}
try-driver:
	@harness/ship/try-driver "$${DIR:?say where it is: make try-driver DIR=DIR}"
series:
	@harness/ship/series $(if $(CHECK),--check)
integrate:
	@harness/ship/integrate "$${LINUX:?say which kernel tree: make integrate LINUX=DIR}"
remove:
	@harness/ship/integrate --remove "$${LINUX:?say which kernel tree: make remove LINUX=DIR}"
distclean:
	@harness/build/clean --all

.PHONY: help bench clean compile-fail coverage deb demo distclean docs fuzz hmm-tests integrate intree iommu \
	kernel kunit lint llvm matrix model module mutants new-driver remove root run sanitize selftests series shell \
	source test test-c torture try try-driver
