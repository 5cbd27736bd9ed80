# SPDX-License-Identifier: GPL-2.0
"""Judge the coverage of mm/hmm.c; see harness/measure/coverage.

Arguments: what gcov --json-format says, in the directory that the kernel was
built in, and the file of reasons. That has blocks of lines "FUNCTION: SOURCE" with
the reason after them, which is indented. What is executed in some runs only has a
reason that begins with "Sometimes".
"""

import json
import re
import sys

LINES, BRANCHES = 95, 90  # percent, at least


def read_reasons(path):
    """The reason of each (function, source)."""
    reasons, block, text = {}, [], []
    with open(path) as file:
        for line in file:
            if line.startswith("#") or not line.strip():
                continue
            if line[0].isspace():
                text.append(line.strip())
            else:
                if text:
                    block, text = [], []
                function, _, source = line.strip().partition(": ")
                block.append((function, source))
            for what in block:
                reasons[what] = " ".join(text)
    return reasons


def read_source(path):
    """Each line by its number, with the function that it is in.

    gcov does not know that of functions that have been inlined everywhere.
    """
    source, function = {}, ""
    with open(path) as file:
        for number, line in enumerate(file, 1):
            start = re.match(r"[a-z][^;=]*?\b(\w+)\(", line)
            if start and not line.rstrip().endswith(";"):
                function = start[1]
            source[number] = function, line.strip()
    return source


def read_counts(path):
    """Name of the source file, and of each line: its count, and those of its branches."""
    with open(path) as file:
        files = json.load(file)["files"]
    entry = next(f for f in files if f["file"].endswith("mm/hmm.c"))
    lines = {}
    for line in entry["lines"]:
        count, branches = lines.get(line["line_number"], (0, []))
        lines[line["line_number"]] = (
            count + line["count"],
            branches + [branch["count"] for branch in line["branches"]],
        )
    return entry["file"], lines


def main(counts_path, reasons_path):
    path, lines = read_counts(counts_path)
    source = read_source(path)
    reasons = read_reasons(reasons_path)
    wrong = []

    branches = [count for _, counts in lines.values() for count in counts]
    executed = sum(count > 0 for count, _ in lines.values())
    taken = sum(count > 0 for count in branches)
    print(f"{'mm/hmm.c':10} {'executed':>8} {'of':>5} {'percent':>8} {'needed':>7}")
    for name, n, total, needed in (
        ("lines", executed, len(lines), LINES),
        ("branches", taken, len(branches), BRANCHES),
    ):
        percent = 100 * n / total
        print(f"{name:10} {n:8} {total:5} {percent:8.1f} {needed:7}")
        if percent < needed:
            wrong.append(f"less than {needed} % of the {name} are executed")

    print("\nNot executed:")
    used = set()
    for number, (count, counts) in sorted(lines.items()):
        missed = sum(n == 0 for n in counts)
        if count and not missed:
            continue
        function, text = source[number]
        how = f"{missed} of {len(counts)} branches" if count else "never"
        print(f"  {number:4} {function}: {text} ({how})")
        if reasons.get((function, text)):
            print(f"         {reasons[function, text]}")
            used.add((function, text))
        else:
            wrong.append(f"line {number} has no reason in {reasons_path}")
    for function, text in sorted(reasons.keys() - used):
        if reasons[function, text].startswith("Sometimes"):
            continue
        wrong.append(f"executed, or not there: {function}: {text}, in {reasons_path}")

    for text in wrong:
        print(f"coverage: {text}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
