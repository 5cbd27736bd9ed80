#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Mirror real programs into the page table of a fake device, and watch.

Usage: demo.py OUTPUT-DIRECTORY

Needs root, a kernel with the sample driver, and hmm-mirror, hmm-mirror-workload
and gcc in PATH. The device reads and writes the programs' memory all the while,
and what it has is verified again and again. Of each program a log, a JSON
summary, the device's page table as JSON, what it was over time as a stream of
JSON, and a timeline and a heat map of that as SVG are left in the output
directory.

The last line of the output says how it went; the exit status is 0 or 1.
"""

import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LIB = os.path.join(HERE, "..", "lib")
SOURCE = os.path.join(HERE, "..", "tool", "cmd_run.c")

# What python_workload.py prints; mirroring must not change it.
WORK_RESULT = "checksum 7ce5da573a926a19"


def show(line=""):
    print(line, flush=True)


class Demo:
    def __init__(self, out):
        self.out = out
        self.failures = []
        self.pages = self.accesses = self.invalidations = self.stale = 0
        self.numbers = {}
        self.dma_said = ""

    def path(self, name):
        return os.path.join(self.out, name)

    def count(self, name):
        """Add what a program has written about itself, and return it."""
        try:
            with open(self.path(name), encoding="utf-8") as file:
                numbers = json.load(file)
        except (OSError, ValueError) as error:
            self.failures.append(f"{name}: {error}")
            return {}
        self.pages += numbers["pages_mirrored"]
        self.accesses += numbers["device_accesses"]
        self.invalidations += numbers["invalidations"]
        self.stale += numbers["stale"]
        return numbers

    def mirror(self, name, title, command, device=()):
        """Run a command under hmm-mirror, and return what it printed."""
        show(f"\n== {title}")
        mirror = ["hmm-mirror", *device, "run", "--follow", "--write", "--view",
                  "--color", os.environ.get("DEMO_COLOR", "auto"),
                  "--json", self.path(f"{name}.json"),
                  "--record", self.path(f"{name}.jsonl"),
                  "--dump", self.path(f"{name}-table.json"),
                  "--", *command]
        lines = []
        with open(self.path(f"{name}.log"), "w", encoding="utf-8") as log:
            with subprocess.Popen(mirror, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True,
                                  errors="replace") as process:
                for line in process.stdout:
                    log.write(line)
                    lines.append(line.rstrip())
                    show(lines[-1])
        if process.returncode:
            self.failures.append(f"{name}: exit status {process.returncode}")
        self.numbers = self.count(f"{name}.json")
        self.plot(name, f"{name}.svg", "--title", " ".join(command))
        self.plot(name, f"{name}-heat.svg", "--heat", "--title", " ".join(command))
        return lines

    def plot(self, name, picture, *options):
        """Draw what was recorded."""
        with open(self.path(picture), "wb") as file:
            done = subprocess.run(["hmm-mirror", "plot", *options,
                                   self.path(f"{name}.jsonl")],
                                  stdout=file, check=False)
        if done.returncode:
            self.failures.append(f"{picture}: exit status {done.returncode}")

    def workload(self):
        self.mirror("workload",
                    "a program that changes its memory in every way there is",
                    ["hmm-mirror-workload", "--pause", "300", "--json",
                     self.path("workload-self.json")])
        # It has mirrored itself as well.
        self.count("workload-self.json")

    def python(self, name="python3", title="python3 at work", device=()):
        lines = self.mirror(name, title,
                            ["python3", os.path.join(HERE, "python_workload.py")], device)
        # It may share a line with a picture, as both come from the same pipe.
        if not any(WORK_RESULT in line for line in lines):
            self.failures.append(f"{name}: the result is wrong")

    def view(self):
        """What somebody sees who looks at a process that runs on by itself."""
        show("\n== one look at the page tables of a process and of the device")
        with subprocess.Popen(["hmm-mirror-workload", "--pause", "300"],
                              stdout=subprocess.DEVNULL) as process:
            time.sleep(1)
            view = subprocess.run(["hmm-mirror", "view", "--once", "--color",
                                   os.environ.get("DEMO_COLOR", "auto"),
                                   str(process.pid)],
                                  env={"COLUMNS": "96", "LINES": "32", **os.environ},
                                  stdout=subprocess.PIPE, text=True, check=False)
            process.terminate()
        show(view.stdout.rstrip())
        if view.returncode:
            self.failures.append(f"view: exit status {view.returncode}")

    def gcc(self):
        def compile_to(name):
            return ["gcc", "-O2", "-std=gnu11", "-D_GNU_SOURCE", "-I", LIB,
                    "-c", SOURCE, "-o", self.path(name)]

        self.mirror("gcc", "gcc at work", compile_to("mirrored.o"))
        subprocess.run(compile_to("plain.o"), check=False)
        with open(self.path("mirrored.o"), "rb") as mirrored, \
             open(self.path("plain.o"), "rb") as plain:
            if mirrored.read() != plain.read():
                self.failures.append("gcc: the object file is another one")
        os.remove(self.path("mirrored.o"))
        os.remove(self.path("plain.o"))

    def dma(self):
        """A device that is no fake, behind an IOMMU that tells of what it should not do."""
        driver = "hmm_mirror_edu_rust"
        loaded = subprocess.run(["modprobe", driver, "dma_bits=32"], check=False,
                                stderr=subprocess.DEVNULL)
        if loaded.returncode or not os.path.exists(f"/dev/{driver}"):
            show("\n== no device that does DMA: this kernel has no driver in Rust for it")
            return
        self.python("dma", "python3 at work, and a PCI device that does DMA, behind an IOMMU",
                    ("--device", f"/dev/{driver}"))
        log = subprocess.run(["dmesg"], stdout=subprocess.PIPE, text=True, check=False)
        faults = log.stdout.count("DMAR: [DMA ")
        read, written = (self.numbers.get(f"{way}_bytes", 0) for way in ("read", "written"))
        judged = os.path.exists("/sys/class/iommu/dmar0")
        if not (read and written and judged) or faults:
            self.failures.append(f"dma: {read} bytes read, {written} written, "
                                 f"{faults} IOMMU faults, {'an' if judged else 'no'} IOMMU")
        self.dma_said = f", {read + written} bytes by DMA, {faults} IOMMU faults"

    def run(self):
        for part in (self.workload, self.python, self.view, self.gcc, self.dma):
            try:
                part()
            except OSError as error:
                self.failures.append(str(error))
        show()
        for failure in self.failures:
            show(f"demo: {failure}")
        failed = self.failures or self.stale or not self.pages
        show(f"demo: {'FAILED' if failed else 'ok'}, "
             f"{self.pages} pages mirrored, {self.accesses} device accesses, "
             f"{self.invalidations} invalidations, {self.stale} stale{self.dma_said}")
        return 1 if failed else 0


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    os.makedirs(sys.argv[1], exist_ok=True)
    return Demo(sys.argv[1]).run()


if __name__ == "__main__":
    sys.exit(main())
