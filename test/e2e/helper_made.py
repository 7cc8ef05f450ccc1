# helper_made.py - helper programs that behave badly: scripts made here, given as PPROF_SYMBOLIZER; and what came of it.
#
# Runs in: the test runner.
#
# SPDX-License-Identifier: Apache-2.0
import os
import re
import time

import shim
import symbolized

SOURCE = os.path.join(shim.PROGRAMS, "symbols_truth.cc")
ANSWER_S = 20.0
TROUBLE = re.compile(r"no lines and inlined calls|names are not complete|pprofshim-symbolize")


def script(body, name="helper"):
    """An executable shell script; {helper} is the real helper, {folder} the script's own folder. It has no
    environment."""
    folder = shim.scratch(name)
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write("#!/bin/sh\nPATH=/usr/bin:/bin\n" + body.format(helper=symbolized.HELPER, folder=folder))
    os.chmod(path, 0o755)
    return path


def beside(path, name):
    return os.path.join(os.path.dirname(path), name)


def read(path, default=""):
    try:
        with open(path, "rb") as f:
            return f.read().decode("utf-8", "backslashreplace")
    except OSError:
        return default


def children_of(pid):
    return " ".join(read("/proc/%d/task/%s/children" % (pid, t)) for t in os.listdir("/proc/%d/task" % pid)).split()


def timed(get):
    began = time.monotonic()
    value = get()
    return value, time.monotonic() - began


def lines_of(prof, name):
    """Lines of the locations in which the function is: {(name, …): (line, …)}."""
    found = {}
    for l in prof.locations:
        if name in l.names:
            found.setdefault(tuple(l.names), set()).add(tuple(n for _, n in l.lines))
    return found


def trouble(prof):
    return [c for c in prof.comments if TROUBLE.search(c)]
