# SPDX-License-Identifier: GPL-2.0
"""Compile cases of misuse, and judge how they fail; see harness/check/compile-fail.

Arguments: a directory in which a kernel was built, an object in there that was
compiled from Rust, whose command is used for the cases, and the cases.
"""

import concurrent.futures
import glob
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile

# What build_error!() leaves for modpost to find.
LINK_ERROR = "rust_build_error"

# Functions of a case are public, so that they are compiled though nobody calls
# them; but they are no interface.
FLAGS = ["-Amissing_docs", "--error-format=json"]
MISUSE = ["--cfg", "misuse", "-Dunused_must_use"]
RIGHT = ["-Dwarnings"]


class Error:
    """An error: what it is, in which line of the case (or None), what else is said of
    it, and how rustc shows it."""

    def __init__(self, what, line, text, shown=""):
        self.what, self.line, self.text, self.shown = what, line, text, shown

    def __str__(self):
        where = f"in line {self.line}" if self.line else "outside of the case"
        return f"{self.what} {where}"


def command(build, target):
    """The command, and its environment, that kbuild has compiled the target with."""
    path = os.path.join(
        build, os.path.dirname(target), f".{os.path.basename(target)}.o.cmd"
    )
    with open(path) as file:
        line = file.readline().partition(" := ")[2]
    words = shlex.split(line.split(" ; ")[0])
    env = dict(os.environ, RUSTC_BOOTSTRAP="1")  # as the kernel's Makefile has it
    while re.match(r"\w+=", words[0]):
        name, _, env_value = words.pop(0).partition("=")
        env[name] = env_value
    words.pop()  # the source
    out = words.index("--out-dir")
    del words[out : out + 2]
    return [word for word in words if not word.startswith("--emit=")], env


def expected(source):
    """What the markers of a case say, which are those of rustc's own tests."""
    for number, line in enumerate(source.splitlines(), 1):
        marker = re.search(r"//~(\^*|\?) ERROR (.*)", line)
        if marker:
            where, what = marker.groups()
            names, _, text = what.partition(": ")
            for name in names.split(", "):
                yield Error(name, None if where == "?" else number - len(where), text)


def line_in(case, diagnostic):
    """The line of the case that a diagnostic points at, also through macros."""
    for span in diagnostic["spans"]:
        while span and span["is_primary"]:
            if span["file_name"] == case:
                return span["line_start"]
            span = span["expansion"] and dict(span["expansion"]["span"], is_primary=True)
    return None


def to_error(case, diagnostic):
    """The error that a diagnostic is about."""
    message = diagnostic["message"]
    labels = [span["label"] or "" for span in diagnostic["spans"]]
    return Error(
        diagnostic["code"]["code"] if diagnostic["code"] else message,
        line_in(case, diagnostic),
        "\n".join([message] + labels),
        diagnostic["rendered"],
    )


def compile_case(build, base, case, flags):
    """Compiles, and returns the errors, and what rustc says."""
    words, env = base
    with tempfile.TemporaryDirectory() as scratch:
        run = subprocess.run(
            words + FLAGS + flags + ["--out-dir", scratch, "--emit=obj", case],
            cwd=build, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        errors, said = [], ""
        for line in run.stderr.splitlines():
            try:
                diagnostic = json.loads(line)
            except ValueError:
                said += line + "\n"  # rustc itself has failed
                continue
            said += diagnostic["rendered"]
            if diagnostic["level"] == "error" and diagnostic["spans"]:
                errors.append(to_error(case, diagnostic))
        if run.returncode == 0:
            symbols = subprocess.run(
                ["nm", "-u"] + glob.glob(scratch + "/*.o"),
                check=True, text=True, stdout=subprocess.PIPE,
            )
            if LINK_ERROR in symbols.stdout.split():
                said += f"modpost: undefined symbol: {LINK_ERROR}\n"
                errors.append(Error(LINK_ERROR, None, "", said))
        elif not errors:
            errors.append(Error("no diagnostic, but a failure", None, "", said))
    return errors, said


def fits(error, want):
    """Whether an error is one that was wanted."""
    return (
        error.what == want.what
        # The linker does not know of lines: its errors are marked for the reader.
        and (error.line == want.line or error.what == LINK_ERROR)
        and want.text in error.text
    )


def judge(build, base, case):
    """The title of a case, what is wrong with it, and what rustc says of the misuse."""
    with open(case) as file:
        source = file.read()
    title = re.search(r"^//! (.*)", source, re.MULTILINE)
    problems = [] if title else ["it does not say in a //! what cannot be done"]

    wanted = list(expected(source))
    if not wanted:
        problems.append("it expects no error")
    misuse, said = compile_case(build, base, case, MISUSE)
    if not misuse:
        problems.append("the misuse compiles")
    for want in wanted:
        if not any(fits(error, want) for error in misuse):
            problems.append(f"expected: {want}")
    for error in misuse:
        if not any(fits(error, want) for want in wanted):
            problems.append(f"not expected: {error}\n{error.shown}")
    right, _ = compile_case(build, base, case, RIGHT)
    problems += [f"without misuse: {error}\n{error.shown}" for error in right]
    return title.group(1) if title else "", problems, said


def main():
    args = sys.argv[1:]
    show = args[0] == "--show"
    build, target, *cases = args[show:]
    base = command(build, target)

    print(f"TAP version 13\n1..{len(cases)}", flush=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda case: judge(build, base, case), cases)
        for number, (case, (title, problems, said)) in enumerate(zip(cases, results), 1):
            name = os.path.splitext(os.path.basename(case))[0]
            print(f"{'not ok' if problems else 'ok'} {number} {name} - {title}")
            failed += bool(problems)
            for line in "\n".join(problems + [said] * show).splitlines():
                print("# " + line)
            sys.stdout.flush()
    print(f"# {len(cases) - failed} passed, {failed} failed")
    return failed != 0


sys.exit(main())
