# SPDX-License-Identifier: GPL-2.0
#
# Usage: awk -f hmm-tests.awk SOURCE EXPECTED FOUND
#
# Compare what became of the cases of hmm-tests with what was expected of them,
# whatever their order.  SOURCE is hmm-tests.c: what it does not have any more need
# not be found.  Prints what differs; the status is 1 if something is worse.

FILENAME == ARGV[1] && /^TEST_F/ {
	split($0, words, /[(), ]+/)
	in_source[words[3]] = 1
}
FILENAME == ARGV[2] && /^(ok|not ok|skip) / { expected[$NF] = outcome() }
FILENAME == ARGV[3] && /^(ok|not ok) [0-9]+ / {
	skipped = / # SKIP/
	sub(/ # .*/, "")
	found[$NF] = skipped ? "skip" : outcome()
}

END {
	for (name in expected) {
		split(name, parts, ".")
		if (name in found) {
			if (found[name] != expected[name])
				differs(name, "expected " expected[name] ", found " found[name],
					found[name] != "ok")
		} else if (parts[3] in in_source) {
			differs(name, "expected " expected[name] ", was not run", 1)
		} else {
			differs(name, "this kernel has no such case any more", 0)
		}
	}
	for (name in found)
		if (!(name in expected))
			differs(name, "is new, found " found[name], found[name] == "not ok")
	exit worse
}

function outcome() { return $1 == "not" ? "not ok" : $1 }
function differs(name, how, bad) {
	print name ": " how
	if (bad)
		worse = 1
}
