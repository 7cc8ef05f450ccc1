#!/usr/bin/python3
# run.py - the torture: run.py [--minutes N] [--seed N] [--bare] [MODE...]
#
# Runs in: a process of its own; the end-to-end tests use its functions, for some seconds each. Half of the time is
# stepper.c's, one of each mode at a time; in the other half the storms of test/programs run under requests without
# pause. Prints a line a part and `N passed, N failed`; exit status 1: something failed. The seed is printed, and
# decides everything but what the machine does meanwhile.
#
# SPDX-License-Identifier: Apache-2.0
import argparse
import contextlib
import os
import random
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
sys.dont_write_bytecode = True

import shim  # noqa: E402

MODES = ("signal", "fork", "request", "profile", "trace")
EVERYTHING = {"PPROF_HEAP_RATE": "1", "PPROF_BLOCK_RATE": "1", "PPROF_MUTEX_FRACTION": "1"}
REQUESTS = (
    "heap",
    "goroutine?debug=2",
    "profile?seconds=1&hz=1000",
    "trace?seconds=1",
    "",
    "allocs?debug=1",
    "mutex",
    "block",
)

# Programs that judge themselves, with the arguments that make them last so many seconds.
STORMS = {
    "signals land in all that launches or locks": lambda seconds: ["handler_storm", seconds],
    "the same in one thread": lambda seconds: ["handler_storm", seconds, "single"],
    "a handler forks": lambda seconds: ["fork_in_handler"],
    "children that fork": lambda seconds: ["fork_storm"],
    "fork beside streams": lambda seconds: ["fork_flush", seconds],
    "children that libc does not know of": lambda seconds: ["bare_children", seconds],
    "converters that libc unloads": lambda seconds: ["iconv_churn"],
    "coroutines": lambda seconds: ["coroutines"],
    "stacks where others were": lambda seconds: ["stack_places"],
    "stacks that are off by 8": lambda seconds: ["misaligned", seconds],
    "children by every way": lambda seconds: ["exec_children"],
}


def binaries():
    """(stepper, subject), built."""
    folder = os.path.join(shim.BUILD, "programs", "torture")
    bench = os.path.join(shim.ROOT, "test", "bench")
    subject = shim.compile_to(
        os.path.join(folder, "subject"),
        [os.path.join(HERE, "subject.c")],
        ["-I" + shim.ROOT, "-Wl,--no-as-needed", "-lstdc++"],
        headers=[os.path.join(bench, h) for h in ("rows.h", "rows.def")],
    )
    return shim.compile_to(os.path.join(folder, "stepper"), [os.path.join(HERE, "stepper.c")]), subject


def step(mode, seconds, seed=None, library=None, rows=()):
    """(status, what it printed) of some seconds of one mode."""
    stepper, subject = binaries()
    argv = [
        stepper,
        subject,
        library or shim.LIB,
        shim.free_port(),
        seed or random.randrange(1, 1 << 31),
        seconds,
        mode,
    ] + list(rows)
    r = subprocess.run(
        [str(a) for a in argv],
        env=shim.bare_env(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds + 600,
    )
    return r.returncode, r.stdout


class Asking:
    """Requests of every kind to a port, one after another, until it is left."""

    def __init__(self, port):
        self.port, self.answers, self.ended = port, 0, False
        self.thread = threading.Thread(target=self.ask, daemon=True)

    def ask(self):
        at = 0
        while not self.ended:
            try:
                shim.get(self.port, "/debug/pprof/" + REQUESTS[at % len(REQUESTS)], timeout_s=30)
                self.answers += 1
            except (OSError, shim.http.client.HTTPException):
                time.sleep(0.05)  # not there yet, or no longer
            at += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended = True


def storm(name, seconds):
    """Run it again and again for so long. Returns what went wrong, or None."""
    until = time.monotonic() + seconds
    program, *arguments = STORMS[name](max(2, int(seconds / 2)))
    argv = [shim.program(program)] + arguments
    while time.monotonic() < until:
        port = shim.free_port()
        with Asking(port), shim.Process(argv, env=shim.shim_env(port, extra=EVERYTHING)) as p:
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    p.popen.wait(seconds)
                p.close_stdin()  # some end at that alone
                p.popen.wait(seconds + 60)
            except subprocess.TimeoutExpired:
                return "did not end; %s; %s" % (p.where(), stacks_of(p.pid))
            status, out, err = p.wait()
        if status or err:
            return "status %s: %s %s" % (status, out[-300:], err[-300:])
    return None


def stacks_of(pid):
    """For the reader of a failure."""
    try:
        return subprocess.run(
            ["gdb", "-p", str(pid), "-batch", "-ex", "thread apply all bt 12"],
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout[-3000:]
    except (OSError, subprocess.TimeoutExpired):
        return "(no gdb)"


def main():
    parser = argparse.ArgumentParser(description="everything lands everywhere")
    parser.add_argument("--minutes", type=float, default=10, metavar="N")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1 << 31), metavar="N")
    parser.add_argument("--bare", action="store_true", help="step through the programs without the library")
    parser.add_argument("modes", nargs="*", metavar="MODE", help="these modes alone: " + ", ".join(MODES))
    args = parser.parse_args()
    passed = failed = 0
    until = time.monotonic() + 60 * args.minutes
    modes = args.modes or MODES
    parts = [("step", m) for m in modes] + ([] if args.modes or args.bare else [("storm", s) for s in STORMS])
    slice_s = min(30, max(5, 60 * args.minutes / len(parts)))
    turn = 0
    try:
        while time.monotonic() < until:
            kind, name = parts[turn % len(parts)]
            if kind == "step":
                status, text = step(name, slice_s, args.seed + turn, "-" if args.bare else None)
                print(text, end="", flush=True)
                bad = status != 0
            else:
                said = storm(name, slice_s)
                bad = said is not None
                print("storm %s: %s" % (name, said or "well"), flush=True)
            failed += bad
            passed += not bad
            turn += 1
    finally:
        shim.scratch_remove()
    print("%d passed, %d failed, seed %d" % (passed, failed, args.seed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
