# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What tests of the program hmm-mirror share: the device, and TAP.  Sourced, never run.

if [ ! "$DEVICE" ]; then
	DEVICE=/dev/hmm_mirror_rust
	[ -c $DEVICE ] || DEVICE=/dev/hmm_mirror_c
fi
SKIP=4

tmp=$(mktemp -d) || exit 1
victim=
trap 'rm -rf "$tmp"; [ ! "$victim" ] || kill "$victim" 2>/dev/null' EXIT

echo "TAP version 13"
number=0 failed=0

# needs TEST...: each must be true, or there is nothing to test.
needs() {
	local need
	for need; do
		# shellcheck disable=SC2086
		[ $need ] && continue
		echo "1..0 # SKIP no sample device, no hmm-mirror in PATH, or not: $need"
		exit $SKIP
	done
}
needs "-c $DEVICE" "-x $(command -v hmm-mirror || echo hmm-mirror)"

# check STATUS TEXT NAME COMMAND...: the command must end with this status, and
# its output must contain this text.
check() {
	local status=$1 text=$2 name=$3 result=ok
	shift 3
	"$@" >"$tmp/output" 2>&1 </dev/null
	local got=$?
	if [ "$got" != "$status" ] || [[ $(<"$tmp/output") != *"$text"* ]]; then
		result='not ok'
		failed=$((failed + 1))
		echo "# status $got instead of $status, or no '$text' in:"
		sed 's/^/# /' "$tmp/output"
	fi
	number=$((number + 1))
	echo "$result $number $name"
}

finish() {
	echo "1..$number"
	[ $failed = 0 ]
}
