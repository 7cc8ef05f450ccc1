#!/usr/bin/python3
# door.py - what one door for all processes costs: door.py [-k WORD] [--seconds N] [--quick]
#
# Runs in: a process of its own. Figures and their form are run.py's: CPU times of whole runs, bare and shim in turn,
# and the median of the pairs' ratios; wake-ups as the kernel counts them; memory as /proc has it. Exit status: 0 even
# if a figure is over its target (this is a bench, not a test); 1 if one could not be had.
#
# SPDX-License-Identifier: Apache-2.0
import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "e2e")]
sys.dont_write_bytecode = True

import run  # noqa: E402
import shim  # noqa: E402


def waiter():
    return [shim.program("waits_for_input")]


@contextlib.contextmanager
def door(count):
    """The owner of a door, and so many processes that have joined it."""
    with contextlib.ExitStack() as stack:
        port = run.free_port()
        owner = stack.enter_context(shim.Process(waiter(), env=shim.shim_env(port)))
        shim.wait_until("the door", lambda: shim.processes(port))
        before = memory(owner.listener())
        others = [stack.enter_context(shim.Process(waiter(), env=shim.shim_env(port))) for _ in range(count)]
        shim.wait_until("them to join", lambda: len(shim.behind(port)) == count)
        yield port, owner, others, before


def memory(pid):
    """Bytes that are the process's own, by smaps_rollup. The listener and its program are one."""
    with open("/proc/%d/smaps_rollup" % pid) as f:
        rows = dict(line.split(":") for line in f.read().splitlines()[1:])
    return sum(int(rows[k].split()[0]) * 1024 for k in ("Private_Clean", "Private_Dirty"))


def switches(pid):
    """How often all threads of a process were put on a processor again."""
    total = 0
    for tid in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/status" % (pid, tid)) as f:
            total += sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
    return total


def fork_and_wait():
    """The first one has the door; the second one is behind it, as all that other processes make."""
    kinds = ["bare", "owner", "joined"]
    with door(0) as (port, _, _, _):
        def measure(kind):
            more = {"PPROF_ADDR": "127.0.0.1:%d" % port} if kind == "joined" else {}
            env = run.environment("bare" if kind == "bare" else "shim", **more)
            return run.said([run.LOOPS, "fork", 400], env, "cpu_ns") / 400
        rows = run.in_turn(kinds, 11, measure)
    run.figure("fork + wait, bare", statistics.median(r["bare"] for r in rows) / 1e3, unit="us", digits=0)
    run.figure("fork + wait, owner of a door / bare", run.median_ratio(rows, "owner", "bare"), 1.2, digits=3)
    run.figure("fork + wait, joined / bare", run.median_ratio(rows, "joined", "bare"), 1.2, digits=3)


def exec_of_children():
    def measure(kind):
        return run.said([run.LOOPS, "spawn", 150, "/bin/true"], run.environment(kind), "cpu_ns") / 150
    rows = run.in_turn(["bare", "shim"], 15, measure)
    run.figure("start of /bin/true, bare", statistics.median(r["bare"] for r in rows) / 1e3, unit="us", digits=0)
    run.figure("start of /bin/true, child of a door / bare", run.median_ratio(rows, "shim", "bare"), 1.3, digits=3)


def wake_ups():
    with door(1) as (_, owner, (joined,), _):
        pids = {"joined": (joined.pid, joined.listener()), "owner": (owner.pid, owner.listener())}
        time.sleep(2)  # connections that were closed have lingered long enough
        before = {name: sum(map(switches, p)) for name, p in pids.items()}
        time.sleep(run.options.seconds)
        for name, p in pids.items():
            run.figure("wake-ups in %d s, %s, idle" % (run.options.seconds, name),
                       sum(map(switches, p)) - before[name], 0, digits=0)


def memory_of_a_hundred():
    with door(100) as (port, owner, _, before):
        run.figure("100 joined processes, memory of the owner, adds", (memory(owner.listener()) - before) / 1024, 1024,
                   "KiB", 0)
        shim.get(port, "/debug/pprof/")
        run.figure("the same after the page that lists them", (memory(owner.listener()) - before) / 1024, 1024, "KiB",
                   0)


BENCHES = (fork_and_wait, exec_of_children, wake_ups, memory_of_a_hundred)


def main():
    parser = argparse.ArgumentParser(description="what one door for all processes costs")
    parser.add_argument("-k", default="", metavar="WORD")
    parser.add_argument("--seconds", type=int, default=10, help="to wait for wake-ups")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a measurement")
    run.options = parser.parse_args()
    run.build()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="door") as run.scratch:
        for bench in BENCHES:
            if run.options.k in bench.__name__:
                try:
                    bench()
                except Exception as e:
                    failed = 1
                    print("%s could not run: %s" % (bench.__name__, e), flush=True)
    shim.scratch_remove()
    return failed


if __name__ == "__main__":
    sys.exit(main())
