#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests of what HMM mirroring shows of itself, in tracefs and debugfs, with the
# program hmm-mirror at work, which has to be in PATH; to be run as root.

# shellcheck disable=SC1091,SC2154 # it sets tmp and victim
. "$(dirname "$0")/hmm_mirror_tap.sh"

tracing=/sys/kernel/tracing
debug=/sys/kernel/debug/hmm_mirror
needs "-w $tracing/events/hmm/enable" "-w $debug/counting"

attached=
stop() {
	# The process first, to see its end while it is mirrored
	[ ! "$victim" ] || kill "$victim" 2>/dev/null
	wait $victim 2>/dev/null
	[ ! "$attached" ] || kill "$attached" 2>/dev/null
	wait $attached 2>/dev/null
	victim='' attached=''
}
cleanup() {
	rm -rf "$tmp"
	stop
	echo 0 >$tracing/events/hmm/enable
	echo 0 >$debug/counting
} 2>/dev/null
trap cleanup EXIT

# attach: mirror a process that is given no peace.
attach() {
	python3 -c '
import mmap
while True:
    memory = mmap.mmap(-1, 1 << 16)
    memory[:] = bytes(1 << 16)
    memory.close()
' &
	victim=$!
	hmm-mirror --device "$DEVICE" attach $victim >/dev/null &
	attached=$!
}

# counters REGEX: wait until the counters have a line like that.
counters() {
	for _ in {1..100}; do
		grep -E "$1" $debug/counters && return
		sleep 0.1
	done
	cat $debug/counters
	return 1
}

empty() { [ ! -s "$1" ]; }
refused() { ! sh -c "echo $1 >$2"; }
is() { [ "$(cat "$1")" = "$2" ]; }

check 0 '' "nothing is mirrored at first" empty $debug/counters
check 0 '' "counting is off at first" is $debug/counting 0
check 0 '' "counting is on or off" refused 2 $debug/counting

attach
check 0 '' "the mirror is shown, with a name" counters '^  mirror [0-9a-f]+ [^ -][^ ]* updates '
check 0 '' "nothing is counted while it is off" \
	counters '^  mirror .* updates 0 vetoes 0 faults 0 collisions 0 waits 0$'
echo 1 >$debug/counting
check 0 '' "invalidations are counted" counters '^mm .* updates [1-9]'
check 0 '' "updates and faults of a mirror are counted" \
	counters '^  mirror .* updates [1-9].* faults [1-9]'
if [ -f /sys/fs/cgroup/cgroup.procs ]; then
	check 0 '' "it is said whose address space it is" counters "^mm [0-9a-f]+ pid $victim "
fi
stop
echo 0 >$debug/counting
check 0 '' "when the mirror is gone it is not shown" empty $debug/counters

echo >$tracing/trace
echo 1 >$tracing/events/hmm/enable
attach
sleep 3
stop
echo 0 >$tracing/events/hmm/enable
number_='[0-9a-fx]+'
for event in "register: mm=$number_ mirror=$number_ name=[^ -]" \
	"invalidate_start: mm=$number_ \\[$number_, $number_\\) event=(unmap|clear) .*blockable=1" \
	"invalidate_end: mm=$number_ \\[$number_, $number_\\)" \
	"fault_begin: mm=$number_ mirror=$number_ \\[$number_, $number_\\)" \
	"fault_end: mm=$number_ mirror=$number_ \\[$number_, $number_\\) ret=0" \
	"invalidate_start: mm=$number_ \\[0x0, 0xffffffffffffffff\\) event=release" \
	"release: mm=$number_ mirror=$number_" "unregister: mm=$number_ mirror=$number_"; do
	check 0 '' "the trace has ${event%%:*}" grep -m 1 -E " hmm_$event" $tracing/trace
done
check 0 '' "trace-cmd shows a run" sh -c "cd /tmp && trace-cmd record -e hmm \
	hmm-mirror --device $DEVICE run -- true && trace-cmd report | grep hmm_fault_end"

finish
