#!/usr/bin/python3
# idle.py - what each hook costs while nobody asks for anything: idle.py [--all]
#
# Runs in: a process of its own; run.py and the end-to-end tests use its functions. bench/idle.c is run under
# callgrind, bare and with the library; the difference per turn is held against the row of bench/limits. Counts are
# repeatable, load does not change them. Prints the rows over their limits, with --all every row. Exit status 1: a row
# is over, or none was counted.
#
# SPDX-License-Identifier: Apache-2.0
import glob
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("BUILD_DIR") or os.path.join(ROOT, "build")
SHIM = os.environ.get("PPROFSHIM_LIB") or os.path.join(BUILD, "libpprofshim.so")
CALLS = 1000
OTHERS = "others"


def build(folder):
    program = os.path.join(folder, "idle")
    source = os.path.join(HERE, "idle.c")
    subprocess.run(
        os.environ.get("CC", "gcc").split()
        + ["-O2", "-g", "-pthread", "-I" + ROOT, "-o", program, source, "-Wl,--no-as-needed", "-lstdc++"],
        check=True,
    )
    return program


def limits():
    """{hook: instructions more than bare, or None: reported alone}"""
    with open(os.path.join(HERE, "limits")) as f:
        rows = [line.split("#")[0].split() for line in f]
    return {r[0]: None if r[1] == "-" else float(r[1]) for r in rows if r}


def hooks():
    with open(os.path.join(ROOT, "shim", "hooks.def")) as f:
        return set(re.findall(r"^HOOK[A-Z_]*\(\s*(\w+)", f.read(), re.M))


def count(program, folder, env):
    """{row: instructions a turn}"""
    name = "shim" if "LD_PRELOAD" in env else "bare"
    r = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=%s/%s" % (folder, name), program],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if r.returncode:
        raise RuntimeError("idle, %s: status %d: %s" % (name, r.returncode, r.stderr[-400:]))
    found = {}
    for path in glob.glob("%s/%s.*" % (folder, name)):
        with open(path) as f:
            text = f.read()
        row = re.search(r"^desc: Trigger: Client Request: (\S+)", text, re.M)
        total = re.search(r"^summary: (\d+)", text, re.M)
        if row and total:
            found[row.group(1)] = int(total.group(1)) / CALLS
    return found


def measure(address="off"):
    """[(hook, bare, with the library, limit)] of all rows that libc has; limit None: reported alone."""
    bare = {
        k: v for k, v in os.environ.items() if not k.startswith("PPROF_") and k not in ("LD_PRELOAD", "DISABLE_PPROF")
    }
    ours = dict(bare, LD_PRELOAD=SHIM, PPROF_ADDR=address, PPROF_HEAP_RATE=str(1 << 40))
    allowed = limits()
    with tempfile.TemporaryDirectory(prefix="pprofshim-idle.") as folder:
        program = build(folder)
        counts = [count(program, folder, env) for env in (bare, ours)]
    return [
        (name, counts[0][name], counts[1][name], allowed.get(name, allowed[OTHERS]))
        for name in sorted(counts[0])
        if name in counts[1]
    ]


def over(rows):
    return [r for r in rows if r[3] is not None and r[2] - r[1] > r[3] + 0.05]


def line(row):
    name, bare, ours, limit = row
    return "%-40s %9.2f %9.2f %+9.2f  %s" % (
        name,
        bare,
        ours,
        ours - bare,
        "-" if limit is None else "limit %g%s" % (limit, ", over" if over([row]) else ""),
    )


def main():
    rows = measure()
    print("%-40s %9s %9s %9s" % ("instructions a turn", "bare", "shim", "more"))
    print("\n".join(line(r) for r in (rows if "--all" in sys.argv else over(rows))))
    print("%d hooks counted, %d over their limits" % (len(rows), len(over(rows))))
    return 1 if over(rows) or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
