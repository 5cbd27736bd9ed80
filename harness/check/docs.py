# SPDX-License-Identifier: GPL-2.0
"""Check the links of the pages that harness/check/docs has built.

docs.py TREE HTML

Links to a page of ours, and to a place in one, have to lead there, and pictures have
to be there.  A file that a page names has to be in TREE.  What leads elsewhere is
listed.  Markup that Sphinx took for text is a mistake as well.
"""
import html.parser
import os
import re
import sys
import urllib.parse

FILE = re.compile(r"(?<![\w/.-])((?:Documentation|include|mm|rust|samples|tools|lib|kernel)/[\w./-]*\w)")
MARKUP = re.compile(r"\.\. [\w-]+::|={4,}|-{5,}|:\w+:`|``")


class Page(html.parser.HTMLParser):
    """What a page has: ids, links, and text."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.text, self.prose = set(), [], "", ""
        self.literal = 0
        with open(path, encoding="utf-8") as file:
            self.feed(file.read())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.literal += tag == "pre"
        if "id" in attrs:
            self.ids.add(attrs["id"])
        for key in ("href", "src", "data"):
            if attrs.get(key):
                self.links.append(attrs[key])

    def handle_endtag(self, tag):
        self.literal -= tag == "pre"

    def handle_data(self, data):
        self.text += data
        if not self.literal:
            self.prose += data


def main(tree, root):
    pages = {}
    for folder, _, names in os.walk(root):
        for name in names:
            if name.endswith(".html"):
                path = os.path.join(folder, name)
                pages[path] = Page(path)

    problems, elsewhere, checked = set(), set(), 0
    for path, page in pages.items():
        shown = os.path.relpath(path, root)
        for link in page.links:
            url = urllib.parse.urlsplit(link)
            if url.scheme or url.netloc:
                elsewhere.add(link)
                continue
            target = os.path.normpath(os.path.join(os.path.dirname(path),
                                                   urllib.parse.unquote(url.path))) if url.path else path
            checked += 1
            if not os.path.exists(target):
                problems.add(f"{shown}: there is no {link}")
            elif url.fragment and target in pages and \
                    urllib.parse.unquote(url.fragment) not in pages[target].ids:
                problems.add(f"{shown}: there is no such place: {link}")
        if shown.startswith("_") or shown in ("genindex.html", "search.html"):
            continue
        for name in FILE.findall(page.text):
            name = name.rstrip(".")
            checked += 1
            if not os.path.exists(os.path.join(tree, name)):
                problems.add(f"{shown}: the kernel has no {name}")
        for markup in MARKUP.findall(page.prose):
            problems.add(f"{shown}: this is markup, and not taken for it: {markup}")

    print(f"{checked} links and names in {len(pages)} pages lead somewhere"
          if not problems else "\n".join(sorted(problems)))
    for link in sorted(elsewhere):
        print(f"not followed: {link}")
    return bool(problems)


sys.exit(main(*sys.argv[1:]))
