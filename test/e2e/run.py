#!/usr/bin/python3
# run.py - run the end-to-end tests: run.py [-k PATTERN] [-j N] [-l]
#
# Runs in: a process of its own; tests run in its threads (they mostly wait for other processes).
# Prints one line a test: `ok NAME`, `FAIL NAME: reason` or `skip NAME: reason`, in the order they end,
# and closes with `N passed, N failed` (and `, N skipped`). Exit status 1 if anything failed.
#
# SPDX-License-Identifier: Apache-2.0
import argparse
import fnmatch
import importlib
import os
import queue
import sys
import threading
import time
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import shim  # noqa: E402


def tests_of(suite):
    for t in suite:
        if isinstance(t, unittest.TestSuite):
            yield from tests_of(t)
        else:
            yield t


def name_of(test):
    return test.id()


def matches(test, patterns):
    return not patterns or any(fnmatch.fnmatch(name_of(test), "*%s*" % p) for p in patterns)


class Result(unittest.TestResult):
    """Takes one test's outcome as (verdict, reason)."""

    def __init__(self):
        super().__init__()
        self.verdict, self.reason = "ok", ""

    def _failed(self, err):
        kind, value, tb = err
        frames = [f for f in traceback.extract_tb(tb) if os.path.dirname(f.filename) == HERE]
        at = "%s:%d" % (os.path.basename(frames[-1].filename), frames[-1].lineno) if frames else "?"
        if frames and os.path.basename(frames[-1].filename) == "shim.py":
            outer = [f for f in frames if os.path.basename(f.filename) != "shim.py"]
            if outer:
                at = "%s:%d" % (os.path.basename(outer[-1].filename), outer[-1].lineno)
        text = " ".join(str(value).split())
        if kind is not AssertionError:
            text = "%s: %s" % (kind.__name__, text)
        reason = "%s (%s)" % (text[:1200], at)
        self.reason = reason if self.verdict == "ok" else self.reason + " | " + reason
        self.verdict = "FAIL"

    def addFailure(self, test, err):
        self._failed(err)

    def addError(self, test, err):
        self._failed(err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self._failed(err)

    def addSkip(self, test, reason):
        self.verdict, self.reason = "skip", reason

    def addUnexpectedSuccess(self, test):
        self.verdict, self.reason = "FAIL", "succeeded, but is marked as expected to fail"


def main():
    parser = argparse.ArgumentParser(description="run the end-to-end tests")
    parser.add_argument("-k", action="append", metavar="PATTERN", help="only tests whose name contains it")
    parser.add_argument("-j", type=int, default=0, metavar="N", help="tests at once (default: processors, at most 4)")
    parser.add_argument("-l", action="store_true", help="list the tests and end")
    parser.add_argument("-t", action="store_true", help="print each test's seconds too")
    args = parser.parse_args()

    jobs = args.j or min(len(os.sched_getaffinity(0)), 4)
    modules = sorted(f[:-3] for f in os.listdir(HERE) if f.startswith("test_") and f.endswith(".py"))
    loader = unittest.TestLoader()
    tests = []
    for m in modules:
        tests += [t for t in tests_of(loader.loadTestsFromModule(importlib.import_module(m))) if matches(t, args.k)]
    if args.l:
        for t in tests:
            print(name_of(t))
        return 0

    def mark(t, key):
        return getattr(getattr(t, t._testMethodName, None), key, 0)

    # Long ones first, so that the end of the run is not one test alone. What a neighbour's load would make a bias,
    # and not only chance, is marked `alone`, and comes last, one by one.
    tests.sort(key=lambda t: -mark(t, "long_s"))
    todo = queue.SimpleQueue()
    for t in tests:
        if not mark(t, "alone"):
            todo.put(t)
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    lock = threading.Lock()

    def work():
        while True:
            try:
                t = todo.get_nowait()
            except queue.Empty:
                return
            r = Result()
            began = time.monotonic()
            t.run(r)
            took = " [%.1f s]" % (time.monotonic() - began) if args.t else ""
            with lock:
                counts[r.verdict] += 1
                print("%s %s%s%s" % (r.verdict, name_of(t), ": " + r.reason if r.reason else "", took), flush=True)

    threads = [threading.Thread(target=work) for _ in range(max(1, jobs))]
    try:
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for t in tests:
            if mark(t, "alone"):
                todo.put(t)
        work()
    finally:
        shim.scratch_remove()
    skipped = ", %d skipped" % counts["skip"] if counts["skip"] else ""
    print("%d passed, %d failed%s" % (counts["ok"], counts["FAIL"], skipped), flush=True)
    return 1 if counts["FAIL"] or not counts["ok"] else 0


if __name__ == "__main__":
    sys.exit(main())
