# SPDX-License-Identifier: GPL-2.0
"""Gather how steps went: print a table, and write it down for other tools.

results.py PREFIX <STEPS

A line of STEPS is "NAME KIND STATUS SECONDS LOG".  The LOG of a step of KIND many says
how each of its cases went, as TAP or in the way of kunit.py; one of KIND one is a
case itself.  PREFIX.xml is JUnit, with a test suite for each step, and PREFIX.ktap is
KTAP, with a test.  The status is 1 if anything has failed.
"""
import re
import sys
from dataclasses import dataclass

from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite
from tap.parser import Parser

KUNIT_SUITE = re.compile(r"\[[\d:]+\] =+ (\S+) \(\d+ subtests?\) =+$")
KUNIT_CASE = re.compile(r"\[[\d:]+\] \[([A-Z ]+)\] (.+)$")
NOT_IN_XML = re.compile("[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
TAIL = 40  # lines of a log that are shown where no case says what went wrong


@dataclass
class Case:
    """One that has passed unless it was skipped or has failed, for a reason."""

    name: str
    group: str = ""  # the program or suite that it is of
    skipped: str | None = None
    failed: str | None = None


def lines_of(path):
    """The lines of a log, none if it is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return NOT_IN_XML.sub("?", file.read()).split("\n")
    except FileNotFoundError:
        return []


def cases_of(log):
    """The cases that a log tells of."""
    parser, group, said = Parser(), "", []
    case = None
    for text in lines_of(log):
        line = parser.parse_line(text)
        suite, kunit = KUNIT_SUITE.match(text), KUNIT_CASE.match(text)
        if line.category == "test":
            case = Case(line.description.removeprefix("- "), group)
            if line.skip:
                case.skipped = line.directive.reason or ""
            elif not line.ok and not line.todo:
                case.failed = ""
            yield case
        elif line.category == "diagnostic" and case and case.failed is not None:
            case.failed += text.removeprefix("# ") + "\n"  # TAP says it afterwards
        elif line.category == "version":
            group = said[-1].removeprefix("# ") if said and said[-1].startswith("#") else ""
        elif suite:
            group = suite[1]
        elif kunit:
            # kunit.py says it before.
            case = Case(kunit[2], group)
            if kunit[1] == "SKIPPED":
                case.skipped = ""
            elif kunit[1] != "PASSED":
                case.failed = "\n".join(said[-TAIL:])
            yield case
            said = []
            continue
        said.append(text)


def of_step(name, kind, status, log):
    """The cases of a step, with what it does not tell itself."""
    cases = list(cases_of(log)) if kind == "many" else []
    if status == 0 and kind == "one":
        cases = [Case(name)]
    # What fails without a case that does, or has no cases, is one itself.
    elif not cases or (status != 0 and all(case.failed is None for case in cases)):
        cases.append(Case(name, failed="\n".join(
            [f"status {status}; how its logs end:"] + lines_of(log)[-TAIL:] +
            lines_of(log + ".err")[-TAIL:])))
    return cases


def junit_of(name, seconds, cases):
    """A step as a test suite."""
    suite = TestSuite(name)
    for case in cases:
        junit = TestCase(case.name, f"{name}.{case.group}".removesuffix("."))
        if case.skipped is not None:
            junit.result = [Skipped(case.skipped)]
        elif case.failed is not None:
            junit.result = [Failure(case.failed.split("\n", 1)[0])]
            junit.result[0].text = case.failed
        suite.add_testcase(junit)
    suite.time = seconds
    return suite


def ktap_of(number, name, cases):
    """A step as a test with subtests."""
    yield "    KTAP version 1"
    yield f"    1..{len(cases)}"
    for i, case in enumerate(cases, 1):
        text = f"{i} " + f"{case.group} {case.name}".strip().replace("#", "")
        if case.failed is not None:
            yield from (f"    # {line}" for line in case.failed.rstrip("\n").split("\n"))
            yield f"    not ok {text}"
        else:
            yield f"    ok {text}" + ("" if case.skipped is None else f" # SKIP {case.skipped}")
    passed = all(case.failed is None for case in cases)
    yield f"{'ok' if passed else 'not ok'} {number} {name}"


def main():
    """Gather, write and print it."""
    prefix = sys.argv[1]
    steps = [line.split() for line in sys.stdin]
    junit, ktap, table = JUnitXml(), ["KTAP version 1", f"1..{len(steps)}"], []
    total = [0, 0, 0, 0]

    for number, (name, kind, status, seconds, log) in enumerate(steps, 1):
        cases = of_step(name, kind, int(status), log)
        junit.add_testsuite(junit_of(name, int(seconds), cases))
        ktap += ktap_of(number, name, cases)
        failed = sum(case.failed is not None for case in cases)
        skipped = sum(case.skipped is not None for case in cases)
        row = [int(seconds), len(cases) - failed - skipped, failed, skipped]
        total = [sum(two) for two in zip(total, row)]
        table.append([name] + row)
    junit.update_statistics()
    junit.write(prefix + ".xml", pretty=True)
    with open(prefix + ".ktap", "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in ktap)

    print(f"{'step':18} {'min:s':>7} {'passed':>7} {'failed':>7} {'skipped':>7}")
    for name, seconds, *counts in table + [["all"] + total]:
        print(f"{name:18} {seconds // 60:4}:{seconds % 60:02}", *(f"{n:7}" for n in counts))
    print("\n{1} passed, {2} failed, {3} skipped".format(*total))
    sys.exit(total[2] > 0)


main()
