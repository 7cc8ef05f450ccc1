# look.py - what the tests of CPU profiles and thread dumps share: a dump, parsed, and looking on while a program works.
#
# Runs in: the test's process; Looking has threads of its own, which end with it.
# Promises: a request that fails while the program lives is a failure of the test, told with its reason.
#
# SPDX-License-Identifier: Apache-2.0
import contextlib
import http.client
import os
import re
import threading
import time

import shim


# ---- a dump of all threads ---------------------------------------------------------------------

class Thread:
    """A block of goroutine?debug=2. frames: [(function, offset, file)], innermost first; created: the functions."""

    def __init__(self, tid, state, minutes):
        self.tid, self.state, self.minutes = tid, state, minutes
        self.name = self.waits_in = self.object = self.since = self.held_by = self.holder_name = self.not_reached = None
        self.creator = None
        self.notes, self.frames, self.created = [], [], []

    @property
    def names(self):
        return [f for f, _, _ in self.frames]

    @property
    def created_names(self):
        return self.created

    def __repr__(self):
        return "%d [%s] %s: %s%s" % (self.tid, self.state, self.name, " < ".join(self.names[:12]),
                                     " (not reached: %s)" % self.not_reached if self.not_reached else "")


HEADER = re.compile(r"^goroutine (\d+) \[(.*?)(?:, (\d+) minutes)?\]:$")
WAITS = re.compile(r"^# waits in (\S+)(?: for (.+?))?(?: since (\S+?))?(?:, held by thread (\d+)(?: \((.*)\))?.*)?$")
FUNCTION = re.compile(r"^(.+?)(?:\+0x([0-9a-f]+))?\(\.\.\.\)$")
PLACE = re.compile(r"^\t(.+?):\d+(?: \.c:\d+)?(?: \+0x([0-9a-f]+))?(?: \(.+ 0x[0-9a-f]+\))?$")


class Dump:
    """goroutine?debug=2: head (the lines of no thread), threads. Any other line is an assertion."""

    def __init__(self, text):
        self.text = text
        self.head, self.threads, self.folded = [], [], 0
        notes = []
        lines = iter(text.split("\n"))
        for line in lines:
            m = HEADER.match(line)
            if m:
                self._block(Thread(int(m.group(1)), m.group(2), int(m.group(3) or 0)), notes, lines)
                notes = []
            elif line.startswith("# "):
                notes.append(line)
            else:
                self._outside(notes, line)
                notes = []
        self._outside(notes, "")

    def _outside(self, notes, line):
        """Lines that no header follows."""
        for note in notes:
            m = re.match(r"# (\d+) inner frames", note)
            if m:
                self.folded = int(m.group(1))
            else:
                self.head.append(note)
        if line and not re.match("DEADLOCK: |STALLED: ", line):
            raise AssertionError("no thread begins here: %r" % line)
        self.head += [line] if line else []

    def _block(self, t, notes, lines):
        self.threads.append(t)
        for note in notes:
            self._note(t, note)
        for line in lines:
            if not line:
                return
            created = line.startswith("created by ")
            f = FUNCTION.match(line[len("created by "):] + "(...)" if created else line)
            p = PLACE.match(next(lines, ""))
            if not f or not p or t.creator:
                raise AssertionError("no frame: %r" % line)
            if created:
                t.creator = f.group(1)
                t.created = t.created or [f.group(1)]
            else:
                t.frames.append((f.group(1), int(p.group(2) or f.group(2) or "0", 16), p.group(1)))

    @staticmethod
    def _note(t, line):
        if line.startswith("# thread "):
            t.name = line[len("# thread "):]
            return
        if line.startswith("# not reached: "):
            t.not_reached = line[len("# not reached: "):]
            return
        if line.startswith("# created by "):
            t.created = line[len("# created by "):].split(" <- ")
            return
        m = WAITS.match(line)
        if m:
            t.waits_in, t.object, t.since, holder, t.holder_name = m.groups()
            t.held_by = int(holder) if holder else None
            return
        t.notes.append(line)

    def deadlocks(self):
        return [h for h in self.head if h.startswith("DEADLOCK: ")]

    def stalled(self):
        return [h for h in self.head if h.startswith("STALLED: ")]

    def by_tid(self):
        return {t.tid: t for t in self.threads}

    def by_name(self, name):
        found = [t for t in self.threads if t.name == name]
        if len(found) != 1:
            raise AssertionError("%d threads are named %s" % (len(found), name))
        return found[0]


def dump(p, timeout_s=shim.DEADLINE_S):
    a = p.get("/debug/pprof/goroutine?debug=2", timeout_s)
    if a.status != 200:
        raise AssertionError("goroutine?debug=2 answered %d: %s" % (a.status, a.body[:200]))
    return Dump(a.text)


# ---- looking on while a program works ------------------------------------------------------------

class Looking:
    """CPU profiles one after another, dumps as fast as they come, and execution traces with every wait kept meanwhile,
    until the end of the with block or of the program. Profiles that were had are in .profiles (bodies), dumps are
    counted in .dumps, traces in .traces; .errors must stay empty: check() sees to it, and that there was something to
    see."""

    def __init__(self, p, hz=1000, seconds=1, profile=True, dumps=True, traces=True, pause_s=0.0):
        self.p, self.hz, self.seconds, self.pause_s = p, hz, seconds, pause_s
        self.profiles, self.errors = [], []
        self.dumps = self.traces = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._loop, args=(f,), daemon=True)
                         for f, wanted in ((self._profile, profile), (self._dump, dumps), (self._trace, traces),
                                           (self._contention, traces)) if wanted]

    def _profile(self):
        a = self.p.get("/debug/pprof/profile?seconds=%d&hz=%d" % (self.seconds, self.hz))
        if a.status != 200:
            raise AssertionError("profile answered %d: %s" % (a.status, a.body[:200]))
        self.profiles.append(a.body)

    def _dump(self):
        self.p.get("/debug/pprof/goroutine?debug=%d" % (self.dumps % 3)) if self.dumps % 4 == 3 else dump(self.p)
        self.dumps += 1
        if self.pause_s:
            time.sleep(self.pause_s)

    def _trace(self):
        a = self.p.get("/debug/pprof/trace?seconds=0.5" + ("&format=perfetto" if self.traces % 2 else ""))
        if a.status == 503 and b"ask again" in a.body:  # others have the memory for answers
            time.sleep(0.2)
            return
        if a.status != 200 or not a.body:
            raise AssertionError("trace answered %d: %s" % (a.status, a.body[:200]))
        self.traces += 1
        time.sleep(0.1)

    def _contention(self):
        for query in ("block?seconds=1&rate=1", "mutex?seconds=1&fraction=1"):
            a = self.p.get("/debug/pprof/" + query)
            if a.status != 200:
                raise AssertionError("%s answered %d: %s" % (query, a.status, a.body[:200]))

    def _loop(self, once):
        while not self._stop.is_set():
            try:
                once()
            except (OSError, http.client.HTTPException) as e:
                # The program may have ended; it is given a moment to be seen ended.
                with contextlib.suppress(Exception):
                    self.p.popen.wait(30)
                if self.p.running():
                    self.errors.append("%s: %s" % (type(e).__name__, e))
                return
            except Exception as e:
                self.errors.append("%s: %s" % (type(e).__name__, e))
                return

    def __enter__(self):
        for t in self._threads:
            t.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for t in self._threads:
            t.join(shim.DEADLINE_S)

    def has_seen(self, profiles, dumps):
        return len(self.profiles) >= profiles and self.dumps >= dumps

    def check(self, test, profiles=1, dumps=1):
        test.assertEqual([], self.errors)
        test.assertGreaterEqual(len(self.profiles), profiles, "CPU profiles taken meanwhile")
        test.assertGreaterEqual(self.dumps, dumps, "dumps taken meanwhile")


def run_watched(test, argv, deadline_s=shim.DEADLINE_S, profiles=1, dumps=1, traces=True, hz=1000, **more):
    """Run a program to its end under the shim while it is profiled and dumped; (status, stdout, stderr), Looking.
    Where others take the processors, it may end before there was enough to see: a run that was right is made again."""
    for _ in range(5):
        with shim.start(argv, **more) as p:
            with Looking(p, hz=hz, profile=profiles > 0, dumps=dumps > 0, traces=traces) as looking:
                end = p.wait(deadline_s)
        if end[0] or looking.errors or looking.has_seen(profiles, dumps):
            break
    if end[0] == 0:  # else that is what the caller tells of
        looking.check(test, profiles, dumps)
    return end, looking


# ---- marks: the truth of a program at two moments ---------------------------------------------------

def mark(p, number):
    """Ask a program of the kind of cpu_truth for its truth: {key: value}."""
    p.send(b"\n")
    p.wait_line("mark %d" % number)
    return {k: v[0] for k, v in p.truth().items()}


def others_cpu_s(p):
    """CPU time that all other processes of the machine have used so far, time taken by a machine above this one
    included."""
    with open("/proc/stat") as f:
        user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
    with open("/proc/%d/stat" % p.pid) as f:
        mine = sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
    return (user + nice + system + irq + softirq + steal - mine) / os.sysconf("SC_CLK_TCK")


class Measure:
    """CPU profiles and the truth of the same time, pooled: each further one adds to both sides, so that chance shrinks
    and an error stays."""

    def __init__(self, p):
        self.p, self.marks = p, 0
        self.truth, self.profiles = {}, []
        self.outside_ns = 0

    def take(self, seconds, query=""):
        for _ in range(4):
            before = mark(self.p, self.marks + 1)
            prof = self.p.profile("profile", "seconds=%d%s" % (seconds, query))
            after = mark(self.p, self.marks + 2)
            self.marks += 2
            # The marks lie a little outside the profile: the load is steady, and the time is known. On a busy machine
            # it is not steady, and they may lie far outside: such a profile is taken again.
            wall = after["wall"] - before["wall"]
            if wall - prof.duration_nanos <= 0.03 * wall:
                break
        self.outside_ns += max(0, wall - prof.duration_nanos)
        scale = prof.duration_nanos / wall
        for k in after:
            if k in before:
                self.truth[k] = self.truth.get(k, 0.0) + (after[k] - before[k]) * scale
        self.profiles.append(prof)
        return prof

    def add(self, other):
        """What another one measured of the same program."""
        self.profiles += other.profiles
        self.marks = other.marks
        self.outside_ns += other.outside_ns
        for k, v in other.truth.items():
            self.truth[k] = self.truth.get(k, 0.0) + v

    def ratio(self, got, truth):
        """got / truth, where what may have been used between the marks, but outside the profile, speaks for neither."""
        slack = self.outside_ns * len(os.sched_getaffinity(0))
        if got > truth:
            return got / min(got, truth + slack)
        return got / max(got, truth - slack, 1)

    def cpu(self, pick):
        """ns of CPU in the samples for which pick(sample) is true."""
        return sum(s.values[p.index("cpu")] for p in self.profiles for s in p.samples if pick(s))

    def until(self, wrong, seconds, query="", most=4):
        """Take profiles until wrong() is None, at most so many; what is wrong then."""
        for _ in range(most):
            self.take(seconds, query)
            reason = wrong()
            if reason is None:
                return None
        return reason
