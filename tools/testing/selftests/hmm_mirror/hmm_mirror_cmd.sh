#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests of the program hmm-mirror, which has to be in PATH; to be run as root.

# shellcheck disable=SC1091,SC2154 # it sets tmp and victim
. "$(dirname "$0")/hmm_mirror_tap.sh"

mirror() { hmm-mirror --device "$DEVICE" "$@"; }

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

# Programs that are hard to mirror without disturbing them: see hmm_mirror_victim.c.
hard=$(dirname "$0")/hmm_mirror_victim

# whole MODE [OPTION]...: the program notices nothing, and all of it is stopped each time.
whole() {
	local mode=$1
	shift
	mirror run --write --verify-every 10 --json "$tmp/whole" "$@" -- "$hard" "$mode" 3 &&
		python3 -c '
import json, sys
run = json.load(open(sys.argv[1]))
print("all was stopped" if run["written_bytes"] and not run["verifications_without_data"]
      else run)' "$tmp/whole"
}
# spaces NUMBER COMMAND...: so many address spaces are mirrored.
spaces() {
	local number=$1
	shift
	"$@" && grep "\"address_spaces\": $number," "$tmp/whole"
}
# attached MODE: the same of one that is there already, of which all cannot be stopped.
attached() {
	local process
	rm -f "$tmp/hard"
	"$hard" "$1" 4 >"$tmp/hard" &
	process=$!
	until [ -s "$tmp/hard" ]; do sleep 0.1; done
	mirror attach --write --verify-every 10 $process && wait $process
}
check 0 'all was stopped' "run of processes that share their memory" whole shared
check 0 'all was stopped' "run of processes that share it, without a signal" whole clone
check 0 'with the same memory that were not stopped: 1' "run of a process that is hidden from tracers" \
	mirror run --write --verify-every 10 -- "$hard" untraced 3
check 0 'all was stopped' "run --follow of one that outlives whose memory it shares" \
	spaces 2 whole heir --follow
check 0 'all was stopped' "run --follow of vfork() without shared memory" \
	spaces 2 whole copy --follow
check 0 'all was stopped' "run of threads without the main thread" whole leaderless
check 0 'other processes with the same memory that were not stopped: 1' \
	"attach to one of two that share their memory" attached shared
check 0 'threads that could not be stopped: 1' "attach where a thread has another tracer" \
	attached traced
check 125 'has no memory' "attach to a kernel thread" mirror attach 2

# signals [COMMAND]...: what a program has blocked and ignored, run by the command.
signals() {
	env --block-signal=USR1 --ignore-signal=USR2 "$@" "$hard" ignored 0
}
same_signals() {
	signals >"$tmp/signals" && signals hmm-mirror --device "$DEVICE" run -- | diff "$tmp/signals" -
}
check 0 'exit status 0' "run leaves the signals as they are" same_signals
# survives_hup FILE REGEX COMMAND...: does not end by a SIGHUP that is ignored, as nohup
# does; once it is at work, which the file shows.
survives_hup() {
	local file=$1 regex=$2 process
	shift 2
	env --ignore-signal=HUP hmm-mirror --device "$DEVICE" "$@" >"$tmp/hup" &
	process=$!
	until grep -qE "$regex" "$file"; do sleep 0.1; done
	kill -HUP $process
	sleep 1
	kill -TERM $process && wait $process
}
check 0 ' 0 stale' "attach goes on where SIGHUP is ignored" \
	survives_hup /proc/$victim/status 'TracerPid:.*[1-9]' attach $victim
check 0 'goes on after' "view goes on where SIGHUP is ignored" \
	survives_hup "$tmp/hup" picture view --json $victim
check 0 ' 0 stale' "run --follow of more processes than there are descriptors" sh -c "
	ulimit -Sn 20
	hmm-mirror --device $DEVICE run --follow -- sh -c '
		for i in \$(seq 30); do sleep 3 & done; wait; [ \$(ulimit -Sn) = 20 ]'"
check 1 'cannot write' "read has nowhere to write to" \
	sh -c "hmm-mirror --device $DEVICE read --raw $victim $((addr - 4090)) 8192 >/dev/full"

# view: as lines, as JSON, as one page, and on a terminal.
view() { mirror view --every 100 "$@"; }
tty() { python3 "$(dirname "$0")/hmm_mirror_tty.py" "$@"; }

# on_terminal STEP...: use view on a terminal, see hmm_mirror_tty.py.
on_terminal() { tty wait:mirrored "$@" -- hmm-mirror --device "$DEVICE" view "$victim"; }

# In the fourth picture, when the device has had its turn three times, both tables
# have the page that the victim has written to.
check_stream() {
	mirror view --json --every 1000 --count 4 $victim >"$tmp/stream" && python3 -c '
import json, sys
pictures = [json.loads(line) for line in open(sys.argv[1])]
addr, last = int(sys.argv[2], 16), pictures[-1]
def of(name):
    return [text for start, end, text in last[name] if int(start, 16) <= addr < int(end, 16)]
print(len(pictures), last["type"], last["pid"], last["space"], of("maps"), of("cpu"),
      of("device"), last["stats"]["pages"] > 0, "median" in last["fault_us"])
' "$tmp/stream" "$addr"
}

# Until there is a picture of NAME with pages in the device, or nobody who makes one.
until_pictured() {
	while kill -0 "$viewer" && ! grep -q "\"$1\".*\"pages\": [1-9]" "$tmp/exec"; do
		sleep 0.1
	done
}

# What execve() makes of a process is another address space.  Each step waits for the
# picture before it, however slow the machine is.
check_exec() {
	local process viewer
	mkfifo "$tmp/go"
	sh -c 'read -r _ <"$0"; exec sleep 1000' "$tmp/go" &
	process=$!
	until [ "$(<"/proc/$process/comm")" = sh ]; do sleep 0.1; done
	view --json $process >"$tmp/exec" 2>"$tmp/total" &
	viewer=$!
	until_pictured sh
	echo >"$tmp/go"
	until_pictured sleep
	kill $process
	wait $viewer && python3 -c '
import json, re, sys
seen, pages = [], {}
for line in open(sys.argv[1]):
    line = json.loads(line)
    what = (line["type"], line["space"], line.get("name"))
    if what not in seen:
        seen.append(what)
        print(*what)
    if stats := line.get("stats"):
        pages[line["space"]] = stats["pages"] + stats["invalidated"]
total = open(sys.argv[2]).read()
mirrored = int(re.search("([0-9]+) pages mirrored", total)[1])
added = "2 address spaces" in total and mirrored >= sum(pages.values())
print("added up" if added else f"{pages} pages are not {total}")
' "$tmp/exec" "$tmp/total" | paste -sd,
}

# One that ends while we look, in each way to look.
check_ends() {
	sleep 1 &
	view "$@" $!
}
check_killed() {
	sleep 1000 &
	tty wait:mirrored kill:$! -- hmm-mirror --device "$DEVICE" view $!
}

# of_another COMMAND...: as a user who may use the device, but has no process here.
of_another() {
	chmod 711 "$tmp"
	# shellcheck disable=SC2046
	[ -c "$tmp/device" ] || mknod -m 666 "$tmp/device" c $(stat -c '0x%t 0x%T' "$DEVICE")
	setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
}

check 0 '  --once ' "view --help" mirror view --help
check 2 'is no process number' "view of no number" mirror view zero
check 1 'there is no process' "view of no process" mirror view 999999999
check 2 "'0' is no time" "view without time" mirror view --every 0 $victim
check 2 'either --once or --json' "view in two ways" mirror view --once --json $victim
check 1 'no permission to mirror' "view of another's process" \
	of_another hmm-mirror --device "$tmp/device" view $victim
check 1 'no permission to open' "view without permission" \
	of_another hmm-mirror --device "$DEVICE" view $victim
check 0 ' pages ' "view as lines" view --count 4 $victim
check 0 '[stack]' "view of one page" view --once $victim
check 0 "4 picture $victim 1 [''] ['W'] ['W'] True True" "view as JSON" check_stream
check 0 'picture 1 sh,end 1 None,picture 2 sleep,end 2 None,added up' \
	"view follows execve" check_exec
check 1 'No space left' "view has nowhere to write to" \
	sh -c "hmm-mirror --device $DEVICE view --json $victim >/dev/full"
check 0 'has ended after' "view as lines until the process ends" check_ends
check 0 '"type": "end"' "view as JSON until the process ends" check_ends --json

check 0 'terminal restored' "view ends by q" on_terminal keys:q
for signal in INT TERM HUP QUIT; do
	check 0 'terminal restored' "view ends by SIG$signal" on_terminal signal:$signal
done
check 0 'has ended after' "view ends with the process" check_killed
check 0 'terminal restored' "view stops by Ctrl-Z, and goes on" \
	on_terminal stop wait:mirrored keys:q
check 0 'terminal restored' "view pauses, and goes on" on_terminal 'keys: ' wait:PAUSED \
	'wait:space go on' 'keys: ' 'wait:space pause' keys:q
check 0 'terminal restored' "view zooms to a page, and out" \
	on_terminal keys:+++++++++++++++++++++ 'wait:a cell is 4 KiB' keys:- \
	'wait:a cell is 8 KiB' keys:0 wait:device keys:q
check 0 'terminal restored' "view goes to an address" on_terminal "keys:++++++++++++++++g$addr\\n" \
	"wait:${addr:2:9}000 4 KiB  rw anonymous  CPU 1W frame" keys:q
check 0 'terminal restored' "view goes to a mapping" on_terminal 'keys:gstack\n' \
	'wait:rw [stack]' 'keys:gnonsense\n' 'wait:no mapping has' 'keys:g1000\n' \
	'wait:nothing that can be read is mapped at 0x1000' keys:q
check 0 'terminal restored' "view knows the keys of terminals" on_terminal 'keys:g\x1b' \
	'keys:\x1b[B\x1b[B\x1bOA\x1b[C\x1b[D\x1b[5~\x1b[6~\x1b[1~\x1b[F\x1b[1;5P?' \
	'wait:move the cursor' keys:q
check 0 'terminal restored' "view follows the size of the terminal" on_terminal \
	size:40x120 'wait:q quit' size:5x30 'wait:30x5 is too small' size:24x80 'wait:q quit' \
	keys:q
check 0 'terminal restored' "view begins in a terminal that is too small" \
	tty size:5x30 'wait:30x5 is too small' \
	'keys:\x1b[A\x1b[B\x1b[C\x1b[D\x1b[5~\x1b[6~\x1b[1~\x1b[F+-0?' size:24x80 'wait:q quit' keys:q \
	-- hmm-mirror --device "$DEVICE" view "$victim"
check 0 'A line is a process' "view as lines on a terminal that cannot do more" \
	env TERM=dumb python3 "$(dirname "$0")/hmm_mirror_tty.py" -- \
	hmm-mirror --device "$DEVICE" view --count 2 $victim

# plot
svg_of() { # svg_of COMMAND...: the command's output must be well-formed XML
	"$@" >"$tmp/plot.svg" && python3 -c '
import sys, xml.dom.minidom
print(xml.dom.minidom.parse(sys.argv[1]).documentElement.tagName)' "$tmp/plot.svg" &&
		grep -o 'process [0-9]*: [^<]*' "$tmp/plot.svg"
}
# The same in other words: another order of members, other spaces.
check_same() {
	mirror plot "$tmp/stream" >"$tmp/one.svg" && python3 -c '
import json, sys
for line in open(sys.argv[1]):
    print("  " + json.dumps(json.loads(line), sort_keys=True, separators=(",", " : ")))
' "$tmp/stream" | mirror plot >"$tmp/two.svg" && cmp "$tmp/one.svg" "$tmp/two.svg"
}

check 0 '  --record FILE' "plot --help" sh -c \
	"hmm-mirror plot --help >/dev/null && hmm-mirror --help"
check 0 "process $victim: python3" "plot of what view recorded" svg_of mirror plot "$tmp/stream"
check 0 ": sleep" "plot of what run recorded" svg_of mirror plot --title '<&>' "$tmp/record"
check 0 'svg' "plot of heat" svg_of mirror plot --heat "$tmp/record"
check 0 '' "plot reads any JSON" check_same
check 1 'there is no picture in it' "plot of nothing" mirror plot /dev/null
check 1 'cannot open /nonsense' "plot of no file" mirror plot /nonsense
check 1 "stream.cut:4:" "plot of a file that is cut off" sh -c \
	"head -c -9 $tmp/stream >$tmp/stream.cut; hmm-mirror plot $tmp/stream.cut"
check 1 "passwd:1:1: expected '{'" "plot of another file" mirror plot /etc/passwd
check 1 'goes back in time' "plot of two records" sh -c \
	"cat $tmp/stream $tmp/stream | hmm-mirror plot"

finish
