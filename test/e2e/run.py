#!/usr/bin/python3
# run.py - run end-to-end tests by pytest: run.py [-k PATTERN] [-j N] [-l] [-t]
#
# Runs in: a process of its own, which becomes pytest's. It is there for its patterns, which are of the shell and are
# compared with names like test_cpu.Truth.test_shape; `python3 -m pytest test/e2e` does all the rest.
#
# SPDX-License-Identifier: Apache-2.0
import argparse
import fnmatch
import importlib
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True


def tests_of(suite):
    for t in suite:
        if isinstance(t, unittest.TestSuite):
            yield from tests_of(t)
        else:
            yield t


def names():
    loader = unittest.TestLoader()
    for f in sorted(os.listdir(HERE)):
        if f.startswith("test_") and f.endswith(".py"):
            for t in tests_of(loader.loadTestsFromModule(importlib.import_module(f[:-3]))):
                yield t.id()


def main():
    parser = argparse.ArgumentParser(description="run the end-to-end tests")
    parser.add_argument("-k", action="append", metavar="PATTERN", help="only tests whose name contains it")
    parser.add_argument("-j", metavar="N", default="auto", help="tests at once (default: processors, at most 4)")
    parser.add_argument("-l", action="store_true", help="list the tests and end")
    parser.add_argument("-t", action="store_true", help="tell each test's seconds")
    args = parser.parse_args()

    wanted = [n for n in names() if not args.k or any(fnmatch.fnmatch(n, "*%s*" % k) for k in args.k)]
    if args.l:
        print("\n".join(wanted))
        return 0
    if not wanted:
        print("0 passed, 0 failed")
        return 1
    ids = ["test/e2e/%s.py::%s::%s" % tuple(n.split(".")) for n in wanted] if args.k else ["test/e2e"]
    os.chdir(ROOT)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.execv("/usr/bin/python3", ["/usr/bin/python3", "-m", "pytest", "-v", "-n", args.j] +
             ["--durations=0", "--durations-min=0"] * args.t + ids)


if __name__ == "__main__":
    sys.exit(main())
