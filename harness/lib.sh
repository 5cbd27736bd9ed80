# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts of the harness share: where things lie, how they speak, and
# how they stop.  Sourced, never run.

set -euo pipefail

say() { printf '==> %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

unset CDPATH # with it, cd may print where it goes
export HOME=${HOME-~}

# The checkout, and what is made from it and shown to the user.
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck disable=SC2034 # used by the scripts that source this
out=$repo/build

# With HOST=1 kernels are built with the tools of the host, not of the build root.
# Some shells have a HOST of their own.
[ "${HOST-}" = 1 ] || unset HOST

# What is costly to make lies outside the checkout, so that it outlives
# `git clean` and serves every checkout.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/hmm-mirror

# The kernel's build takes no blank and no colon, and QEMU's options no comma.
for path in "$repo" "$cache"; do
	[[ $path != *[[:space:]:,]* ]] ||
		die "kernels cannot be built in '$path': its name must have no blank, colon or comma"
done
unset path

# What belongs to this checkout alone: its private kernel tree and build
# directories.  With HMM_STOCK=1 these are of the kernel as it was fetched; they lie
# to each other as the others do, so that ccache knows most of it.
# shellcheck disable=SC2034
work=$cache/work-$(printf %s "$repo" | sha256sum | cut -c1-12)${HMM_STOCK:+/stock}${HOST:+/host}

# The machine that guests run on, but for its devices, and what its kernel is
# told: two nodes, to move pages between; to leave 512 MiB alone, which hmm-tests uses
# as memory of devices; to take two pieces of what is behind that for persistent memory,
# of which selftests.guest makes a device and a file system, and to leave the end alone,
# where there are tables of ACPI; and not to test the timer, which is lost on a busy host.
# shellcheck disable=SC2034
machine=(-cpu max -smp 2 -m 2640M -nodefaults -no-user-config -display none -no-reboot)
# shellcheck disable=SC2016,SC2034 # the dollar sign is for the kernel
cmdline='console=ttyS0 panic=-1 quiet loglevel=7 no_timer_check numa=fake=2 memmap=512M$0x80000000'\
' memmap=16M!0xa0000000 memmap=16M$0xa1000000 memmap=32M!0xa2000000 memmap=16M$0xa4000000'

# configs TREE: print the fragments in harness/build/configs that its kernel is made of.
configs() {
	local default='x86_64 debug'
	[ ! -f "$1/rust/kernel/hmm.rs" ] || default+=' rust kunit' # else it is too old
	[ ! -f "$1/mm/hmm_dma.c" ] || default+=' iommu'
	echo "${HMM_CONFIGS-$default}"
}

# kernel_kind KIND: have another kernel built, and by which compiler: plain, without what
# finds bugs; debug, which is that of most tests; kasan and kcsan, which watch themselves.
kernel_kind() {
	case $1 in
	plain) export HMM_CONFIGS='x86_64 rust torture' ;;
	debug) ;;
	kasan) export HMM_CONFIGS='x86_64 debug rust kunit sanitize kasan' LLVM=1 ;;
	kcsan) export HMM_CONFIGS='x86_64 debug rust kunit sanitize kcsan' ;;
	*) die "the kinds of kernels are plain, debug, kasan and kcsan, not '$1' (see --help)" ;;
	esac
}

# toolchain: print something that changes when what kernels are built with does.
toolchain() {
	if [ "${HOST-}" ]; then
		{ cc --version; rustc --version; bindgen --version; } 2>&1 || true
	else
		basename "$("$repo/harness/build/root")"
	fi
}

# build_dir NAME TREE: where NAME is built from TREE, apart from other trees and
# configurations.
build_dir() {
	local configs
	configs=$(configs "$2")
	configs=${configs% iommu} # never the only difference
	echo "$work/$1-$(printf %s "$2${configs#x86_64 debug rust kunit}" | sha256sum | cut -c1-8)"
}

# our_files PATHSPEC...: print the files of the checkout, committed or not yet, each with
# a zero byte after it: whoever has a checkout may have put anything there.
our_files() {
	local file
	git -C "$repo" -c safe.directory="$repo" ls-files -zco --exclude-standard -- "$@" |
		while IFS= read -rd '' file; do [ ! -f "$repo/$file" ] || printf '%s\0' "$file"; done
}

# copy_checkout DIR: lest somebody edit it meanwhile.
copy_checkout() {
	mkdir "$1"
	(cd "$repo" && our_files . | xargs -0 cp -p --parents -t "$1")
}

# linked_copy SOURCE TREE: make TREE of a kernel's source, unless it is there.  Hard links
# are enough: whoever changes a file there puts a new one in its place.
linked_copy() {
	[ ! -d "$2" ] || return 0
	rm -rf "$2.part"
	mkdir -p "${2%/*}"
	cp -al "$1" "$2.part"
	mv "$2.part" "$2"
}

# anchored TABLE: print the kernel's files that a table like harness/ship/anchors moves
# or edits.
anchored() { sed -nE 's/^(move|edit) ([^ ]*).*/\2/p' "$1" | sort -u; }

# lint_make TREE ARG...: run make in the build directory that all checks of compiled
# code share.  CLIPPY=1 for all of them, lest the crates be compiled anew by each.
lint_make() {
	local tree=$1 build
	shift
	build=$(build_dir lint "$tree")
	"$repo/harness/build/configure" "$tree" "$build" x86_64 lint &&
		"$repo/harness/build/enter" --bind "$tree" \
			make -s -C "$tree" O="$build" ARCH=x86_64 -j"$(nproc)" CLIPPY=1 "$@"
}

# of_ours COMMAND...: run a compiler; fail if it fails, or warns about one of files[].
of_ours() {
	local said status=0
	said=$("$@" 2>&1) || status=$?
	[ "$status" = 0 ] || tail -n 40 <<<"$said"
	# shellcheck disable=SC2154 # is set by the scripts that source this
	! grep -F -A8 "${files[@]/#/-e}" <<<"$said" && return "$status"
}

# Debian's sparse is older than __typeof_unqual__, which this kernel wants of it,
# and takes the assertion in every MODULE_LICENSE() for an error.
# shellcheck disable=SC2034
sparse='sparse -D__typeof_unqual__=__typeof__'
without_noise_of_sparse() { grep -v ': error: bad constant expression$' || true; }

# tap_case TEXT COMMAND...: one case of TAP, with what COMMAND has to say.
cases=0 failures=0
tap_case() {
	local text=$1 said
	shift
	cases=$((cases + 1))
	if said=$("$@" 2>&1); then
		echo "ok $cases $text"
	else
		echo "not ok $cases $text"
		failures=$((failures + 1))
	fi
	[ ! "$said" ] || while IFS= read -r text; do echo "# $text"; done <<<"$said"
}

# asked_for_help [ARGUMENT]...: answer --help, where that is the only option.
asked_for_help() { [[ ! ${1-} =~ ^(-h|--help)$ ]] || { usage; exit; }; }

# no_arguments [ARGUMENT]...: for a script that takes none, but --help.
no_arguments() {
	asked_for_help "$@"
	[ ! "${1-}" ] || die "unknown argument: $1 (see --help)"
}

# needs_value OPTION [VALUE]...: for an option that takes one.
needs_value() { [ $# -gt 1 ] || die "$1 needs a value (see --help)"; }

# usage: print the comment block at the top of the calling script.
usage() { sed -n '3,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; }

# timed TEXT COMMAND...: say TEXT, run COMMAND, say how long it took.
timed() {
	local text=$1 start=$SECONDS
	shift
	say "$text"
	"$@"
	say "${text%% (*}: done in $((SECONDS - start)) s"
}

# lock FILE: hold FILE until this script ends; wait for others that do.
lock() {
	mkdir -p "$(dirname "$1")"
	exec {lock_fd}>"$1"
	flock -n "$lock_fd" && return
	say "waiting for another run that holds $1"
	flock "$lock_fd"
}

# with_progress LOG COMMAND...: run COMMAND with its output in LOG, and show
# every 15 s how far it has come.
with_progress() {
	local log=$1 status=0 ticker
	shift
	: >"$log"
	# The ticker ends when the last writer of its pipe is gone, however that
	# comes about.
	exec {ticker}> >(tick "$log")
	"$@" >>"$log" 2>&1 || status=$?
	exec {ticker}>&-
	return "$status"
}

tick() {
	local start=$SECONDS t
	while read -rt 15; [ $? -gt 128 ]; do # timed out
		t=$((SECONDS - start))
		printf '    %d:%02d  %s\n' $((t / 60)) $((t % 60)) "$(tail -n 1 "$1")" >&2
	done
}
