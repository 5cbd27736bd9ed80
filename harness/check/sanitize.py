# SPDX-License-Identifier: GPL-2.0
"""sanitize.py KIND DIR KNOWN: the reports in DIR/console.log and DIR/kmemleak, as TAP.

KNOWN lists those that are known to be somebody else's.  A line is

    KIND DATE REGEX # REASON

where REGEX matches any line of the report.  One that matches nothing any more has
to go.
"""

import pathlib
import re
import sys

HARNESS = pathlib.Path(__file__).parents[1]

# Code of this project, in the name of a function or a file
OURS = re.compile(r"\bhmm_(?!range_fault|vma_|pte|pfn|pud|pmd)\w|hmm_mirror|kernel3hmm|mm/hmm\.c")

# Timestamps, and the thread that printed, with KCSAN
PREFIX = re.compile(r"^\[ *\d+\.\d+\](\[ *[TC]\d+\])? ?")

# Functions of a stack that count as those that made an access
TOP = 5

RULE = re.compile(r"^=+$")


def patterns():
    """What harness/guest/splats looks for."""
    text = (HARNESS / "guest/splats").read_text()
    block = re.search(r"patterns=\(\n(.*?)\n\)", text, re.S)[1]
    return re.compile("|".join(re.findall(r"'([^']*)'", block)))


def console(path):
    """The reports in a kernel's log: between rules, or else 40 lines each."""
    begins = patterns()
    lines = [PREFIX.sub("", line) for line in
             path.read_text(errors="replace").splitlines()]
    i = 0
    while i < len(lines):
        if not begins.search(lines[i]):
            i += 1
            continue
        ruled = i and RULE.match(lines[i - 1])
        end = i + 1
        while end < len(lines) and (ruled or end < i + 40) and not RULE.match(lines[end]):
            end += 1
        yield lines[i:end]
        i = end


def kmemleak(path):
    """One report for each leaked object."""
    if path.exists():
        for text in re.split(r"(?m)^(?=unreferenced object)", path.read_text(errors="replace")):
            if text.strip():
                yield text.splitlines()


def known(kind, path):
    """What is known of this kind: a regular expression, and why."""
    entries = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"(kasan|kcsan) (\d{4}-\d\d-\d\d) (.+?) # (.+)", line)
        if not match:
            sys.exit(f"{path}:{number}: expected KIND DATE REGEX # REASON")
        if match[1] == kind:
            entries.append((re.compile(match[3]), line))
    return entries


def is_ours(report):
    """
    Whether our code is in the title or near the top of a stack: at its bottom our fault
    path may have called anything.  Tasks may be called anything, too.
    """
    depth = 0
    for line in report:
        depth = depth + 1 if line.startswith(" ") else 0
        if (line is report[0] or 1 <= depth <= TOP) and OURS.search(line):
            return True
    return False


def main():
    kind, directory, path = sys.argv[1], *map(pathlib.Path, sys.argv[2:])
    reports = [*console(directory / "console.log"), *kmemleak(directory / "kmemleak")]
    entries, occurred, others, failed = known(kind, path), set(), 0, 0

    print(f"# {len(reports)} reports of {kind}")
    for report in reports:
        matching = {i for i, (regex, _) in enumerate(entries)
                    if any(regex.search(line) for line in report)}
        occurred |= matching
        if matching:
            continue
        if kind == "kcsan" and not is_ours(report):
            others += 1
            continue
        failed += 1
        print(f"not ok {failed} - {report[0]}")
        for line in report[:60]:
            print(f"# {line}")
    if others:
        print(f"# {others} of them have nothing to do with our code, and are in console.log")
    for i, (_, line) in enumerate(entries):
        if i not in occurred:
            failed += 1
            print(f"not ok {failed} - does not occur any more, so it has to go: {line}")
    if not failed:
        print(f"ok 1 - no report of {kind} is about our code")
    sys.exit(bool(failed))


main()
