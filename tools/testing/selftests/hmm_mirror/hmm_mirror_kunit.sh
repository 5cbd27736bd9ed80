#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The KUnit suites of HMM mirroring that this kernel has: those that are built in
# ran when it booted, and the driver of 2017 may be a module, which is loaded
# here. To be run as root.

SKIP=4
results=/sys/kernel/debug/kunit

modprobe -q kunit enable=1 autorun=1
modprobe -q hmm_2017_kunit
echo "TAP version 13"
suites=$(cd $results 2>/dev/null && echo hmm_mirror*/results)
if [ ! -e "$results/${suites%% *}" ]; then
	echo "1..0 # SKIP no KUnit suite of HMM mirroring in this kernel"
	exit $SKIP
fi

number=0 failed=0
for suite in $suites; do
	# A case is a line "    ok 1 name", or "not ok"; what is said about it is
	# before it.
	while read -r line; do
		case $line in
		"ok "* | "not ok "*)
			number=$((number + 1))
			result=${line%%ok *}ok
			line=${line#*ok }
			[ "$result" = ok ] || failed=$((failed + 1))
			echo "$result $number ${suite%/*}: ${line#* }"
			;;
		*) echo "# $line" ;;
		esac
	done < <(grep '^    ' "$results/$suite")
done
modprobe -q -r hmm_2017_kunit
echo "1..$number"
[ $failed = 0 ]
