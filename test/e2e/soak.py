#!/usr/bin/python3
# soak.py - the storm for long: soak.py [--minutes N]
#
# Runs in: a process of its own. storm.c loads and unloads a library, forks, and makes and ends threads without pause,
# while this takes CPU profiles at 1000 Hz, dumps, traces and heap profiles without pause, and has every wait kept;
# eintr_abort.c and sigwait_all.c run beside it under the same looks, over and over. Prints a line a minute. Fails
# (exit status 1) when a program does not end as it should, an answer is not right, something is said to be lost, or
# the resident memory grows: its median in the last quarter may lie 5 % or 4 MiB above that of the second quarter,
# whichever is more.
#
# SPDX-License-Identifier: Apache-2.0
import argparse
import os
import re
import statistics
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import look  # noqa: E402
import shim  # noqa: E402

failures = []
failures_lock = threading.Lock()


def fail(what):
    with failures_lock:
        failures.append(what)
        print("FAIL " + what, flush=True)


def rss_kb(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"^VmRSS:\s+(\d+) kB", f.read(), re.M).group(1))


def losses(p):
    """What the index page says was lost. (That lines are late, on a machine as busy as this one, is no loss.)"""
    page = p.get("/debug/pprof/").text
    m = re.search(r"<h2>Lost or not possible</h2>\s*<ul>(.*?)</ul>", page, re.S)
    lines = re.findall(r"<li>(.*?)</li>", m.group(1), re.S) if m else []
    return [line for line in lines if "symbolizer is still at work" not in line]


def beside(name, seconds, until, counts):
    """A program that judges itself, run again and again under the looks."""
    while time.monotonic() < until and not failures:
        try:
            with shim.start([shim.program(name), seconds], input_data=b"") as p:
                with look.Looking(p, hz=1000, pause_s=0.05) as looking:
                    status, out, err = p.wait(seconds + 120)
            if status or err or "end 1" not in out or looking.errors:
                fail("%s: status %s: %s %s" % (name, status, err[-300:], looking.errors))
            counts[name] = counts.get(name, 0) + 1
        except Exception as e:
            fail("%s: %s: %s" % (name, type(e).__name__, e))


def storm(minutes, counts):
    until = time.monotonic() + 60 * minutes
    rows = []
    with shim.start([shim.program("storm"), shim.program("libplugin")], rate=65536) as p:
        p.wait_line("ready")
        with look.Looking(p, hz=1000, seconds=2) as looking:
            told, next_line = 0, time.monotonic() + 60
            while time.monotonic() < until and p.running() and not looking.errors and not failures:
                time.sleep(1)
                try:
                    shim.Profile(p.get("/debug/pprof/heap").body)
                    rows.append(rss_kb(p.pid))
                    for line in losses(p):
                        fail("the index page: " + line)
                except OSError as e:  # the program's end is told below
                    fail("a heap profile: %s" % e)
                for body in looking.profiles[:]:
                    for c in shim.Profile(body).comments:
                        if "lost" in c.lower():
                            fail("a profile: " + c)
                counts["profiles"] = counts.get("profiles", 0) + len(looking.profiles)
                counts["traces"] = looking.traces
                del looking.profiles[:]
                if time.monotonic() >= next_line:
                    next_line += 60
                    told += 1
                    print("%d min: rss %d KiB, %d dumps, %s" % (told, rows[-1], looking.dumps, counts), flush=True)
        for e in looking.errors:
            fail("a request: " + e)
        try:
            status, out, err = p.finish(120)
            if status or err or "end 1" not in out:
                fail("storm: status %s: %s" % (status, err[-500:]))
        except AssertionError as e:
            fail("storm: %s" % e)
        truth = p.truth()
        print("storm: %s" % ", ".join("%s %d" % (k, truth[k][0]) for k in ("loads", "forks", "threads") if k in truth))
    return rows


def check_memory(rows):
    if len(rows) < 20:
        print("too short a run to judge memory by")
        return
    n = len(rows)
    early, late = statistics.median(rows[n // 4:n // 2]), statistics.median(rows[3 * n // 4:])
    print("rss: %d KiB in the second quarter, %d KiB in the last, %d KiB at most" % (early, late, max(rows)))
    if late > early + max(4096, early * 0.05):
        fail("resident memory grew from %d to %d KiB" % (early, late))


def main():
    parser = argparse.ArgumentParser(description="the storm for long")
    parser.add_argument("--minutes", type=float, default=30, metavar="N")
    args = parser.parse_args()
    counts = {}
    until = time.monotonic() + 60 * args.minutes
    try:
        threads = [threading.Thread(target=beside, args=(name, seconds, until - seconds, counts))
                   for name, seconds in (("eintr_abort", 20), ("sigwait_all", 15))]
        for t in threads:
            t.start()
        rows = storm(args.minutes, counts)
        for t in threads:
            t.join()
        check_memory(rows)
    finally:
        shim.scratch_remove()
    print("%s: %s" % ("failed" if failures else "passed", counts))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
