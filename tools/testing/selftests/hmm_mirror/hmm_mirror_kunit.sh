#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The KUnit suites of HMM mirroring that this kernel has, built in or as modules:
# they are run by way of debugfs, also if they ran when it booted. To be run as
# root.

SKIP=4
kunit=/sys/kernel/debug/kunit

modprobe -q kunit enable=1
modprobe -q hmm_2017_kunit
echo "TAP version 13"
suites=$(cd $kunit 2>/dev/null && ls -d mmu_notifier ./*hmm* 2>/dev/null)
if [ ! "$suites" ]; then
	echo "1..0 # SKIP no KUnit suite of HMM mirroring in this kernel"
	exit $SKIP
fi

number=0 failed=0
for suite in $suites; do
	suite=${suite#./}
	echo run >"$kunit/$suite/run"
	# A case is a line "    ok 1 name", or "not ok"; what is said about it is
	# before it.
	while read -r line; do
		case $line in
		"ok "* | "not ok "*)
			number=$((number + 1))
			result=${line%%ok *}ok
			line=${line#*ok }
			[ "$result" = ok ] || failed=$((failed + 1))
			echo "$result $number $suite: ${line#* }"
			;;
		*) echo "# $line" ;;
		esac
	done < <(grep '^    ' "$kunit/$suite/results")
done
modprobe -q -r hmm_2017_kunit
echo "1..$number"
[ $failed = 0 ]
