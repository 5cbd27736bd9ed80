#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""See that the code in a Markdown file is that of the drivers which it names.

Usage: lint.excerpts.py FILE.md

A code block in C or Rust has to be a part of the file under samples/ that was linked to last
before it, at some indentation. A line of the block that is only a comment with three dots
stands for what was left out.
"""

import re
import sys
import textwrap

LEFT_OUT = re.compile(r"^\s*(// \.\.\.|/\* \.\.\. \*/)\n", re.M)


def is_part(piece, source):
    """Is this text somewhere in that one, apart from how far it is indented?"""
    lines = textwrap.dedent(piece).strip("\n").splitlines()
    for start in range(len(source) - len(lines) + 1):
        found = "\n".join(source[start:start + len(lines)])
        if textwrap.dedent(found).splitlines() == lines:
            return True
    return False


def main(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    blocks = wrong = 0
    for block in re.finditer(r"^```(?:c|rust)\n(.*?)^```", text, re.S | re.M):
        blocks += 1
        links = re.findall(r"\]\((samples/[^)]*\.(?:c|rs))\)", text[:block.start()])
        line = text.count("\n", 0, block.start()) + 1
        if not links:
            print(f"{path}:{line}: no link says of which driver this is a part")
            wrong += 1
            continue
        with open(links[-1], encoding="utf-8") as file:
            source = file.read().splitlines()
        for piece in LEFT_OUT.split(block.group(1))[::2]:
            if piece.strip() and not is_part(piece, source):
                print(f"{path}:{line}: not in {links[-1]}:\n{piece}")
                wrong += 1
    if not blocks:
        print(f"{path}: there is no code in it")
    return 1 if wrong or not blocks else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
