#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run a command on a terminal of its own, use it, and see what it leaves.

Usage: hmm_mirror_tty.py [STEP]... -- COMMAND [ARG]...

The STEPs, one after the other; then the command has to end:

  wait:TEXT          wait until it shows TEXT, anew since the last step
  keys:TEXT          press keys; escapes are as in Python
  size:ROWSxCOLUMNS  resize the terminal; as the first step, what it begins with
  signal:NAME        send a signal to the command
  stop               send it SIGTSTP; once it has stopped, and left the terminal
                     as it was, let it go on
  kill:PID           end another process

All that was shown is printed, without escape sequences. The exit status is that
of the command, as a shell has it; 99 if a step failed, or if the terminal was
not left as it was.
"""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

PATIENCE = 20  # seconds, for each step: the guest may be slow
FAILED = 99

# What sets a mode of the terminal, and what undoes it.
MODES = ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h"))


class Failed(Exception):
    pass


class Terminal:
    def __init__(self, command, size="24x80"):
        self.master, self.slave = os.openpty()
        self.resize(size)
        self.before = termios.tcgetattr(self.slave)
        self.output = b""
        self.seen = 0  # of the output, before the last step
        self.process = subprocess.Popen(
            command, stdin=self.slave, stdout=self.slave, stderr=self.slave,
            start_new_session=True, env={"TERM": "linux", **os.environ},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))

    def resize(self, size):
        rows, columns = (int(number) for number in size.split("x"))
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ,
                    struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        while select.select([self.master], [], [], seconds)[0]:
            self.output += os.read(self.master, 65536)
            seconds = 0

    def text(self, start=0):
        text = self.output[start:].decode("utf-8", "replace")
        text = re.sub(r"\x1b\[\d+;\d+H", "\n", text)
        return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", text).replace("\r", "")

    def until(self, what, condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise Failed(f"waited in vain: {what}")
            self.read(0.05)

    def check_restored(self):
        self.read(0.1)
        for on, off in MODES:
            if self.output.rfind(on) > self.output.rfind(off):
                raise Failed(f"{off} is missing at the end")
        if termios.tcgetattr(self.slave) != self.before:
            raise Failed("the terminal's attributes are others than before")

    def stopped(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "T"

    def step(self, step):
        kind, _, rest = step.partition(":")
        start = self.seen
        if kind == "wait":
            self.until(step, lambda: rest in self.text(start))
            return
        self.read(0)
        self.seen = len(self.output)
        if kind == "keys":
            os.write(self.master, rest.encode().decode("unicode_escape").encode())
        elif kind == "size":
            self.resize(rest)
        elif kind == "signal":
            self.process.send_signal(signal.Signals["SIG" + rest])
        elif kind == "stop":
            self.process.send_signal(signal.SIGTSTP)
            self.until(step, self.stopped)
            self.check_restored()
            self.process.send_signal(signal.SIGCONT)
        elif kind == "kill":
            os.kill(int(rest), signal.SIGKILL)
        else:
            raise Failed(f"there is no step {step}")

    def run(self, steps):
        for step in steps:
            self.step(step)
        self.until("the end", lambda: self.process.poll() is not None)
        self.check_restored()
        status = self.process.returncode
        return 128 - status if status < 0 else status


def main():
    if sys.argv[1:] in (["-h"], ["--help"]) or "--" not in sys.argv:
        print(__doc__)
        return 0 if sys.argv[1:] else 2
    split = sys.argv.index("--")
    steps, command = sys.argv[1:split], sys.argv[split + 1:]
    if steps and steps[0].startswith("size:"):
        terminal = Terminal(command, steps.pop(0).partition(":")[2])
    else:
        terminal = Terminal(command)
    try:
        status = terminal.run(steps)
        print(terminal.text())
        print("terminal restored")
    except Failed as failed:
        terminal.process.kill()
        print(terminal.text())
        print(f"FAILED: {failed}")
        status = FAILED
    return status


if __name__ == "__main__":
    sys.exit(main())
