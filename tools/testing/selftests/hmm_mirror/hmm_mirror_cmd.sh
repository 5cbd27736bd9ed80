#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests of the program hmm-mirror, which has to be in PATH; to be run as root.

if [ ! "$DEVICE" ]; then
	DEVICE=/dev/hmm_mirror_rust
	[ -c $DEVICE ] || DEVICE=/dev/hmm_mirror_c
fi
SKIP=4

tmp=$(mktemp -d) || exit 1
victim=
trap 'rm -rf "$tmp"; [ ! "$victim" ] || kill "$victim" 2>/dev/null' EXIT

echo "TAP version 13"
for need in "-c $DEVICE" "-x $(command -v hmm-mirror)"; do
	# shellcheck disable=SC2086
	[ $need ] && continue
	echo "1..0 # SKIP no $DEVICE, or no hmm-mirror in PATH"
	exit $SKIP
done

mirror() { hmm-mirror --device "$DEVICE" "$@"; }

number=0 failed=0

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

json_of() { # json_of COMMAND...: the command's output must be JSON
	"$@" >"$tmp/json" && python3 -m json.tool "$tmp/json"
}

# A process with a known text at a known address, which says when it is there.
python3 -c '
import ctypes, mmap, sys, time
memory = mmap.mmap(-1, 8192, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory[4090:4096 + 7] = b"hello, device"
print(hex(ctypes.addressof(ctypes.c_char.from_buffer(memory)) + 4090), flush=True)
while memory[4090:4095] != b"HELLO":
    time.sleep(0.01)
print("seen", flush=True)
time.sleep(1000)
' >"$tmp/victim" &
victim=$!
until addr=$(head -n 1 "$tmp/victim") && [ "$addr" ]; do sleep 0.1; done

seen() {
	for _ in {1..100}; do
		grep seen "$tmp/victim" && return
		sleep 0.1
	done
	return 1
}

check 0 'Usage: hmm-mirror' "help" mirror --help
check 2 "there is no command 'nonsense'" "unknown command" mirror nonsense
check 2 'too few arguments' "too few arguments" mirror read $victim
check 2 "is no address" "bad number" mirror read $victim zero 1
check 1 'there is no /dev/nonsense' "missing device" \
	hmm-mirror --device /dev/nonsense dump $victim
check 1 'is not an HMM mirroring device' "another device" \
	hmm-mirror --device /dev/null dump $victim
check 0 'tells right entries from wrong' "verify can fail" mirror verify --self-test

check 0 'hello, device' "read across a page border" mirror read --raw $victim "$addr" 13
check 0 '|hello, device|' "read as a hex dump" mirror read $victim "$addr" 13
check 1 'there is no readable memory' "read where nothing is" mirror read $victim 0 1
check 0 '' "write" mirror write --hex 48454c4c4f $victim "$addr"
check 0 'seen' "the process sees what was written" seen
check 0 ' rw order 0' "dump" mirror dump $victim
check 0 '"entries"' "dump as JSON" json_of mirror dump --json $victim
check 0 ' 0 stale' "verify" mirror verify $victim
check 0 'S (sleeping)' "verify lets the process go on" \
	grep State /proc/$victim/status
kill -STOP $victim
check 0 ' 0 stale' "verify a stopped process" mirror verify $victim
check 0 'T (stopped)' "verify leaves it stopped" grep State /proc/$victim/status
kill -CONT $victim

check 0 ' 0 stale' "attach until told to end" \
	timeout -s INT --preserve-status 3 hmm-mirror --device "$DEVICE" attach $victim
check 0 'S (sleeping)' "the process goes on after attach" \
	grep State /proc/$victim/status

check 0 ' 0 stale' "run" mirror run -- true
check 7 'exit status 7' "run exits as the command does" mirror run -- sh -c 'exit 7'
check 143 'exit status 143' "run tells of a signal" \
	mirror run -- sh -c 'kill -TERM $$'
check 127 'No such file' "run of no command" mirror run -- /nonsense
check 126 'Permission denied' "run of what is no program" mirror run -- /etc/passwd
check 0 '3 address spaces' "run follows execve" \
	mirror run -- sh -c 'exec sh -c "exec true"'
check 0 'exit status 0' "run with --follow" \
	mirror run --follow --write --verify-every 10 -- \
	sh -c 'for i in 1 2 3; do sh -c "ls -l / >/dev/null"; done'
check 0 '"stale": 0' "run writes JSON" json_of sh -c \
	"hmm-mirror --device $DEVICE run --json $tmp/run.json --dump $tmp/dump.json \
	--record $tmp/record -- sleep 1 && cat $tmp/run.json"
check 0 '"entries"' "run dumps the page table" python3 -m json.tool "$tmp/dump.json"
check 0 ' pages ' "run shows a picture" mirror run --view -- sleep 1

# plot
svg_of() { # svg_of COMMAND...: the command's output must be well-formed XML
	"$@" >"$tmp/plot.svg" && python3 -c '
import sys, xml.dom.minidom
print(xml.dom.minidom.parse(sys.argv[1]).documentElement.tagName)' "$tmp/plot.svg" &&
		grep -o 'process [0-9]*: [^<]*' "$tmp/plot.svg"
}

check 0 ": sleep" "plot of what run recorded" svg_of mirror plot --title '<&>' "$tmp/record"
check 0 'svg' "plot of heat" svg_of mirror plot --heat "$tmp/record"
check 1 'there is no picture in it' "plot of nothing" mirror plot /dev/null
check 1 'cannot open /nonsense' "plot of no file" mirror plot /nonsense
check 1 "passwd:1:1: expected '{'" "plot of another file" mirror plot /etc/passwd

echo "1..$number"
[ $failed = 0 ]
