# SPDX-License-Identifier: GPL-2.0
"""bench.py show|gate|renew DIR ENGINE...: what is in DIR/ENGINE.log, as a table and
as files in DIR; or against, or instead of, the figures that are kept.

The lines that are looked for are described in mm/tests/hmm/bench.h.
"""

import hashlib
import json
import pathlib
import re
import sys

# Ratios that the rows are to stay below, in ns on UML and in instructions; None where
# there is no target.
TARGETS = {
    ("inval_one", "interval-whole"): (0.70, 0.70),
    ("inval_atomic", "interval-whole"): (0.70, 0.68),
    ("inval_floor", "bare"): (1.25, 1.35),
    ("inval_hit1_10k", "interval-each"): (0.45, 0.50),
    ("inval_miss_10k", "interval-each"): (None, 1.50),
    ("inval_miss_window", "interval-each"): (None, 1.10),
    ("inval_all_10k", "interval-each"): (0.10, 0.10),
    ("mirrors_slope", "bare"): (1.0, 1.0),
    ("map_1", "interval-transient"): (0.90, 0.90),
    ("map_512", "interval-transient"): (1.0, 1.0),
    ("map_thp", "interval-transient"): (1.0, 1.0),
    ("map_1_persistent", "interval-kept"): (1.0, 1.0),
    ("false_retries", "interval-whole"): (0, 0),
    ("fault_wait_tail", "interval-whole"): (0.05, 0.05),
    ("exit_beside_slow", "bare"): (0.50, 0.50),
    ("register", "bare"): (1.5, 1.5),
    ("register_next", "bare"): (0.3, 0.3),
    ("unregister", "interval"): (2.0, 2.0),
    ("rust_dispatch", "C"): (None, 1.03),
    ("rust_commit", "C"): (None, 1.05),
    ("two_pass_8", "one-pass"): (0.15, 0.15),
    ("proc_fork", "interval-whole"): (1.01, 1.01),
    ("proc_munmap", "interval-whole"): (1.01, 1.01),
    ("proc_exit", "interval-whole"): (1.01, 1.01),
    ("proc_exit_wait", "interval-whole"): (1.02, 1.02),
}

for pages in "1", "16", "16_apart", "512", "512_apart", "thp":
    for peer in "gpusvm", "odp":
        TARGETS[f"dma_map_{pages}", peer] = (None, 1.0)
        TARGETS[f"dma_unmap_{pages}", peer] = (None, 1.0)
for name in ("inval_one", "inval_near", "inval_hit1_4k", "inval_all_4k", "inval_hit1_2m",
             "inval_all_2m", "false_retries", "fault_wait_tail", "memory_per_gib"):
    TARGETS[name, "gpusvm"] = (None, 1.0)

FIGURES = pathlib.Path(__file__).with_name("bench.expected")

LINE = re.compile(r"(row|curve)=(\S+)(?: n=(\d+))? peer=(\S+) "
                  r"ours=(\S+) theirs=(\S+) unit=(\S+)")


def unit_of(unit, engine):
    """The kernel gives times; where they are of its work alone, QEMU counts that."""
    if unit == "ns" and engine != "um":
        return "instructions"
    return unit.removeprefix("wait-")


def read(directory, engine):
    """The rows and curves of an engine's log."""
    config = (directory / f"{engine}.config").read_text()
    about = {
        "kernel": re.search(r"^# Linux/\S+ (\S+)", config, re.M)[1],
        "compiler": re.search(r'^CONFIG_CC_VERSION_TEXT="(.*)"', config, re.M)[1],
        "config": hashlib.sha256(config.encode()).hexdigest()[:16],
    }
    rows, curves = [], []
    for match in LINE.finditer((directory / f"{engine}.log").read_text(errors="replace")):
        kind, name, n, peer, *sides, unit = match.groups()
        ours, theirs = [[float(x) for x in side.split("/")] for side in sides]
        if kind == "curve":
            curves.append((engine, name, int(n), peer, ours[0], theirs[0]))
            continue
        # What disturbs only ever adds
        rows.append({
            "name": name,
            "engine": "uml-ns" if engine == "um" else engine,
            "ours": ours[0],
            "peer": theirs[0],
            "peer_name": peer,
            "ratio": round(ours[0] / theirs[0], 3) if theirs[0] else None,
            "unit": unit_of(unit, engine),
            "ours_median": ours[1],
            "peer_median": theirs[1],
            "spread": round((ours[2] - ours[0]) / ours[0], 3) if ours[0] else 0,
        } | about)
    if not rows:
        sys.exit(f"bench: there is no row in {directory}/{engine}.log")
    return rows, curves


def verdict(row):
    """Does it meet its target?"""
    targets = TARGETS.get((row["name"], row["peer_name"]), (None, None))
    target = targets[row["engine"] != "uml-ns"]
    if target is None:
        return "-"
    met = row["ours"] <= target * row["peer"]
    return f"{target:.2f} {'met' if met else 'missed'}"


def show(rows):
    """The table."""
    about = {(r["engine"], r["kernel"], r["compiler"], r["config"]) for r in rows}
    for engine, kernel, compiler, config in sorted(about, reverse=True):
        print(f"{engine}: Linux {kernel}, {compiler}, config {config}")
    form = "{:19} {:7} {:18} {:>12} {:>12} {:>7} {:>11} {:>7}  {}"
    print(form.format("name", "engine", "peer", "ours", "theirs", "ratio", "target",
                      "spread", "unit"))
    for r in rows:
        ratio = "-" if r["ratio"] is None else f"{r['ratio']:.3f}"
        print(form.format(r["name"], r["engine"], r["peer_name"], f"{r['ours']:.1f}",
                          f"{r['peer']:.1f}", ratio, verdict(r), f"{r['spread']:.0%}",
                          r["unit"]))


COUNTED = "inval_", "map_", "mirrors_", "rust_", "dma_", "flushes_"
# They depend on which pages the page allocator gives
BY_CHANCE = "dma_map_16", "dma_map_512"


def counted(rows):
    """What is the same in each run, and in each kernel in which it is the same code: no
    memory is allocated there, for which it matters what has been done before; but for page
    tables of an IOMMU."""
    return {f"{r['engine']} {r['name']} {r['peer_name']}": r["ours"] for r in rows
            if r["engine"] != "uml-ns" and r["name"].startswith(COUNTED)
            and r["name"] not in BY_CHANCE}


WITH = "# with "


def built_with(rows):
    """What the instructions depend on besides our code, as FIGURES says it."""
    row = next(r for r in rows if r["engine"] != "uml-ns")
    return f"{WITH}Linux {row['kernel']}, {row['compiler']}"


def gate(rows, engines):
    """TAP: one case for each figure that is kept of these engines."""
    if not FIGURES.exists():
        sys.exit("bench: no figures are kept yet: harness/measure/bench --renew")
    lines = FIGURES.read_text().splitlines()
    kept = dict(line.rsplit(" ", 1) for line in lines if line.split(" ", 1)[0] in engines)
    now = counted(rows)
    names = sorted(kept.keys() | now.keys())
    failed = False
    print("TAP version 13")
    print(f"1..{len(names)}")
    for i, name in enumerate(names, 1):
        was = float(kept.get(name, "nan"))
        is_ = now.get(name, float("nan"))
        good = abs(is_ - was) <= 0.02 * was
        failed |= not good
        print(f"{'ok' if good else 'not ok'} {i} {name}: {is_} instructions, {was} kept")
    if failed:
        kept_with = next((line for line in lines if line.startswith(WITH)), "")
        print(f"# Kept{kept_with.removeprefix('#')}")
        print(f"# Now{built_with(rows).removeprefix('#')}")
        print("# If it is meant, or comes of another kernel or compiler: harness/measure/bench --renew")
    return failed


def renew(rows):
    """Keep these."""
    text = ("# SPDX-License-Identifier: GPL-2.0\n# Instructions, by harness/measure/bench --renew\n"
            f"{built_with(rows)}\n")
    for name, figure in sorted(counted(rows).items()):
        text += f"{name} {figure}\n"
    FIGURES.write_text(text)


def main():
    mode, directory, *engines = sys.argv[1:]
    directory = pathlib.Path(directory)
    rows, curves = [], []
    for engine in engines:
        more = read(directory, engine)
        rows += more[0]
        curves += more[1]
    if mode == "gate":
        sys.exit(gate(rows, engines))
    if mode == "renew":
        renew(rows)
    (directory / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    with open(directory / "growth.csv", "w", encoding="ascii") as csv:
        print("engine,curve,n,peer,ours,theirs", file=csv)
        for point in curves:
            print(*point, sep=",", file=csv)
    show(rows)


main()
