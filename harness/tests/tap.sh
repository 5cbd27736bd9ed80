# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# TAP for the harness's own tests.  Sourced, never run.

. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

no_arguments "$@"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

echo 'TAP version 13'

# result STATUS TEXT: report one case; with what it said, if it failed.
result() {
	cases=$((cases + 1))
	if [ "$1" = 0 ]; then
		echo "ok $cases $2"
	else
		echo "not ok $cases $2"
		failures=$((failures + 1))
		sed 's/^/# /' "$tmp/said"
	fi
}

# says STATUS TEXT COMMAND...: does it end so, and say so?  An empty TEXT takes
# whatever it says.
says() {
	local want=$1 text=$2 status=0
	shift 2
	"$@" >"$tmp/said" 2>&1 </dev/null || status=$?
	[ "$status" = "$want" ] && { [ ! "$text" ] || grep -qF -- "$text" "$tmp/said"; }
}

# check TEXT COMMAND...: one case, which passes if the command succeeds.
check() {
	local text=$1 status=0
	shift
	: >"$tmp/said"
	"$@" || status=$?
	result "$status" "$text"
}

finish() {
	echo "1..$cases"
	exit $((failures > 0))
}
