# SPDX-License-Identifier: GPL-2.0
"""Judge the coverage of mm/hmm.c and mm/hmm_dma.c; see harness/measure/coverage.

Arguments: what gcov --json-format says of each, in the directory that the kernel was
built in, and the file of reasons. That has blocks of lines "FUNCTION: SOURCE" with
the reason after them, which is indented. What is executed in some runs only has a
reason that begins with "Sometimes".
"""

import json
import re
import sys

FILES = "mm/hmm.c", "mm/hmm_dma.c"
LIMITS = {"lines": 95, "branches": 90}  # percent, at least


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
            start = re.match(r"[A-Za-z][^;=]*?\b(\w+)\(", line)
            if start and not line.rstrip().endswith(";"):
                function = start[1]
            source[number] = function, line.strip()
    return source


def read_counts(path):
    """Name of the source file, and of each line: its count, and those of its branches."""
    with open(path) as file:
        files = json.load(file)["files"]
    entry = next(f for f in files if f["file"].endswith(FILES))
    lines = {}
    for line in entry["lines"]:
        count, branches = lines.get(line["line_number"], (0, []))
        lines[line["line_number"]] = (
            count + line["count"],
            branches + [branch["count"] for branch in line["branches"]],
        )
    return entry["file"], lines


def print_figures(name, files, limits):
    """Of one file, or of all together. What of all is less than it has to be."""
    counts = [count for _, lines in files for count, _ in lines.values()]
    branches = [n for _, lines in files for _, ways in lines.values() for n in ways]
    wrong = []
    for what, of in ("lines", counts), ("branches", branches):
        needed = limits.get(what, "")
        n = sum(count > 0 for count in of)
        percent = 100 * n / len(of)
        print(f"{name:12} {what:8} {n:8} {len(of):5} {percent:8.1f} {needed:>7}")
        if needed and percent < needed:
            wrong.append(f"less than {needed} % of the {what} are executed")
    return wrong


def print_missed(path, lines, reasons, used):
    """What was not executed of a file. What of it has no reason."""
    source = read_source(path)
    wrong = []
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
            wrong.append(f"{short(path)}: line {number} has no reason")
    return wrong


def short(path):
    return path[path.rindex("mm/") :]


def main(*args):
    *counts_paths, reasons_path = args
    reasons, used = read_reasons(reasons_path), set()
    files = [read_counts(path) for path in counts_paths]

    print(f"{'':12} {'':8} {'executed':>8} {'of':>5} {'percent':>8} {'needed':>7}")
    if len(files) > 1:
        for path, lines in files:
            print_figures(short(path), [(path, lines)], {})
    wrong = print_figures("together", files, LIMITS)
    for path, lines in files:
        print(f"\nNot executed of {short(path)}:")
        wrong += print_missed(path, lines, reasons, used)
    for function, text in sorted(reasons.keys() - used):
        if reasons[function, text].startswith("Sometimes"):
            continue
        wrong.append(f"executed, or not there: {function}: {text}")

    for text in wrong:
        print(f"coverage: {text}; see {reasons_path}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
