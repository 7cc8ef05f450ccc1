# test_trace.py - /trace against programs that know what their threads did: read by `go tool trace`, and by a reader
# of the public schema of perfetto.
#
# Runs in: the test runner; go runs as a process of its own, its web server on a loopback port. A trace is asked for,
# and once a second one is refused (so the first is under way) the program is told to do what it does.
#
# SPDX-License-Identifier: Apache-2.0
import contextlib
import http.client
import os
import re
import signal
import subprocess
import threading
import time

import shim
from shim import start

EVERY = {"PPROF_BLOCK_RATE": "1", "PPROF_MUTEX_FRACTION": "1"}
# Where `go tool trace -pprof=` shows a wait. Sleeps are in none.
SHOWN = {"sync": "sync", "select": "sync", "net": "net", "syscall": "syscall"}


def go_trace(go, *args):
    r = subprocess.run([go, "tool", "trace"] + list(args), capture_output=True, env=shim.go_env(), cwd=shim.scratch(),
                       timeout=180, stdin=subprocess.DEVNULL)
    if r.returncode:
        raise AssertionError(
            "go tool trace %s: status %d: %s" % (" ".join(args), r.returncode, r.stderr[-800:].decode())
        )
    return r.stdout


def go_profile(go, kind, path):
    body = go_trace(go, "-pprof=" + kind, path)
    return shim.Profile(body)


def save(body, name="trace"):
    path = os.path.join(shim.scratch("trace"), name)
    with open(path, "wb") as f:
        f.write(body)
    return path


def web_answers(go, path, pages):
    """{page: status} of the viewer's web server."""
    port = shim.free_port(1)
    env = dict(shim.go_env(), BROWSER="true")
    with shim.Process([go, "tool", "trace", "-http=127.0.0.1:%d" % port, path], env=env, cwd=shim.scratch(),
                      start_new_session=True) as p:
        try:
            shim.wait_until("go tool trace -http", lambda: shim.port_answers(port) or not p.running(), 120)
            if not p.running():
                raise AssertionError("go tool trace ended: " + p.err[-500:])
            found = {}
            for page in pages:
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
                c.request("GET", page)
                r = c.getresponse()
                found[page] = (r.status, r.read())
                c.close()
            return found
        finally:
            # `go tool` may be a parent of the viewer: both are in the session that was started here.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, signal.SIGKILL)


class Asked:
    """A trace that is being taken."""

    def __init__(self, p, query="seconds=2.5"):
        self.p, self.answer = p, None
        self.thread = threading.Thread(target=self._ask, args=(query,), daemon=True)
        self.thread.start()
        self.refusals = []

        def under_way():
            a = p.get("/debug/pprof/trace?seconds=0.001")
            if a.status == 500:
                self.refusals.append(a)
            return self.refusals or self.answer
        # Had the short one come first, the long one would have been refused.
        shim.wait_until("the trace to begin", under_way)

    def _ask(self, query):
        while True:
            a = self.p.get("/debug/pprof/trace?" + query)
            if a.status != 500:
                self.answer = a
                return

    def body(self):
        self.thread.join(shim.DEADLINE_S)
        if not self.answer or self.answer.status != 200:
            raise AssertionError("trace: %r" % [self.answer and (self.answer.status, self.answer.body[:200])])
        return self.answer.body


class TooShort(Exception):
    """The trace was over before the program was."""


def traced(p, seconds=3, more="", mark=1):
    """A trace in which the program did once what it does, which takes a second."""
    asked = Asked(p, "seconds=%d%s" % (seconds, more))
    p.send(b"\n")
    p.wait_line("mark %d" % mark)
    if asked.answer:
        raise TooShort()
    return asked.body()


@contextlib.contextmanager
def traced_program(more=""):
    """(trace_truth, its trace); where the machine is too busy for a short one, a longer one."""
    for seconds in (3, 8, 25):
        with start([shim.program("trace_truth"), shim.program("libplugin")], env=EVERY) as p:
            p.wait_line("ready")
            try:
                body = traced(p, seconds, more)
            except TooShort:
                continue
            yield p, body
            status, _, err = p.finish()
            if (status, err) != (0, ""):
                raise AssertionError("status %d: %s" % (status, err[-300:]))
            return
    raise AssertionError("the program took longer than any trace")


# ---- perfetto --------------------------------------------------------------------------------------------------------

class Perfetto:
    """A file of TracePackets: tracks {uuid: (tid, name)}, slices [(tid, name, begin, end)], instants [(tid, name, at)].
    What does not nest, or goes back in time within its track, is an assertion."""

    def __init__(self, body):
        self.tracks, self.slices, self.instants, self.names = {}, [], [], set()
        self.processes, self.process_names = set(), set()
        # By sequence: of a table's field of InternedData, by iid: the message. callstacks: {slice's name: {functions}}
        self.interned, self.callstacks, self.counter = {}, {}, []
        stacks, last = {}, {}
        for number, packet in shim._fields(body):
            if number != 1:
                raise AssertionError("field %d at the top" % number)
            f = dict(shim._fields(packet))
            if 12 in f:
                self._intern(f[10], f[12])
            if 60 in f:
                self._track(dict(shim._fields(f[60])))
            if 11 in f:
                e, at = dict(shim._fields(f[11])), f[8]
                uuid, kind, name = e.get(11), e.get(9), e.get(23, b"").decode()
                if kind == 4:
                    self.counter.append((at, e.get(30, 0)))
                    continue
                if 56 in e:
                    self.callstacks.setdefault(name, set()).add(self._callstack(f[10], e[56]))
                if uuid not in self.tracks:
                    raise AssertionError("an event of a track that was not described")
                tid = self.tracks[uuid][0]
                if at < last.get(uuid, 0):
                    raise AssertionError("back in time: %s" % name)
                last[uuid] = at
                if kind == 1:
                    stacks.setdefault(uuid, []).append((name, at))
                elif kind == 2:
                    if not stacks.get(uuid):
                        raise AssertionError("an end without a beginning")
                    began = stacks[uuid].pop()
                    self.slices.append((tid, began[0], began[1], at))
                elif kind == 3:
                    self.instants.append((tid, name, at))
                else:
                    raise AssertionError("event type %s" % kind)
                self.names.add(name)
        self.open = sum(map(len, stacks.values()))

    def _intern(self, sequence, data):
        for table, entry in shim._fields(data):
            fields = list(shim._fields(entry))
            self.interned.setdefault(sequence, {}).setdefault(table, {})[dict(fields)[1]] = fields

    def _callstack(self, sequence, iid):
        """The functions of a callstack, outermost first: Callstack, Frame, InternedString."""
        tables, names = self.interned[sequence], []
        for number, frame_iid in tables[7][iid]:
            if number == 2:
                frame = dict(tables[6][frame_iid])
                if frame[3] not in tables[19]:
                    raise AssertionError("a frame without a mapping")
                names.append(dict(tables[5][frame[2]])[2].decode())
        return tuple(names)

    def _track(self, d):
        tid, name = None, d.get(2, b"").decode()
        if 4 in d:
            t = dict(shim._fields(d[4]))
            tid, name = t.get(2), t.get(5, b"").decode() or name
        if 3 in d:
            process = dict(shim._fields(d[3]))
            self.processes.add(process.get(1))
            self.process_names.add(process.get(6, b"").decode())
        self.tracks[d.get(1)] = (tid, name)


# ---- tests
# -------------------------------------------------------------------------------------------------------------

class Truth(shim.TestCase):

    def truth_of(self, p):
        return {tuple(k.split(":")): v for k, v in p.truth().items() if k.count(":") == 2}

    def wrong_of_go(self, go, path, truth):
        wrong = []
        profiles = {kind: go_profile(go, kind, path) for kind in ("sync", "net", "syscall", "sched")}
        for (kind, site, call), (count, ns, *_) in truth.items():
            for shown, prof in profiles.items():
                if shown == "sched":
                    continue
                seen_count, seen_ns = prof.cum(site)
                if SHOWN.get(kind) != shown:
                    if seen_ns:
                        wrong.append("%s is in %s, too" % (site, shown))
                elif seen_count != count or abs(seen_ns - ns) > 0.05 * ns:
                    wrong.append("%s in %s: %d times, %.2f ms, for %d times, %.2f ms" % (
                        site, shown, seen_count, seen_ns / 1e6, count, ns / 1e6))
        return wrong, profiles

    def test_go_tool_trace(self):
        wrong = None
        for left in range(5):
            with traced_program() as (p, body):
                path, truth = save(body), self.truth_of(p)
                self.assertEqual(b"go 1.19 trace\0\0\0", body[:16])
                for version, go in shim.gos():
                    wrong, profiles = self.wrong_of_go(go, path, truth)
                    if wrong:
                        wrong = "%s: %s" % (version, "; ".join(wrong[:5]))
                        break
                    # Who is woken by somebody, and then runs: how long that took them is the machine's affair.
                    self.assertGreater(profiles["sched"].total("contentions"), 0)
            if not wrong:
                break
        self.assertFalse(wrong, wrong)

    test_go_tool_trace.long_s = 14

    def test_web_pages(self):
        with traced_program() as (p, body):
            path = save(body)
            for version, go in shim.gos():
                with self.subTest(go=version):
                    pages = web_answers(
                        go,
                        path,
                        (
                            "/",
                            "/trace",
                            "/jsontrace",
                            "/goroutines",
                            "/io?raw=1",
                            "/block?raw=1",
                            "/syscall?raw=1",
                            "/sched?raw=1",
                        ),
                    )
                    self.assertEqual({}, {k: v[0] for k, v in pages.items() if v[0] != 200})
                    json = pages["/jsontrace"][1]
                    for word in (b"born-0", b"wait_in_mutex", b"dlopen"):
                        self.assertIn(word, json)

    test_web_pages.long_s = 10

    def test_births_ends_and_logs(self):
        with traced_program() as (p, body):
            path = save(body)
            born = p.truth()["born"][0]
            version, go = shim.gos()[0]
            text = go_trace(go, "-d", path) if version.startswith("1.19") else b""
            if not text:
                self.skipTest("only go 1.19 prints the events of such a trace")
            creates = re.findall(rb"(?m)^\d+ (?:Go)?Create .*$", text) or re.findall(rb"GoCreate .*", text)
            self.assertGreaterEqual(len(creates), born)
            self.assertIn(b"dlopen", text)
            self.assertGreaterEqual(len(re.findall(rb"GoEnd", text)), born)

    test_births_ends_and_logs.long_s = 5

    def test_perfetto(self):
        wrong = None
        for left in (2, 1, 0):
            with traced_program("&format=perfetto") as (p, body):
                t, truth, out = Perfetto(body), self.truth_of(p), p.truth()
                self.assertEqual({p.pid}, t.processes)
                self.assertEqual({"trace_truth"}, t.process_names)
                ends = [end for _, _, _, end in t.slices]
                self.assertGreaterEqual(t.counter[-1][0], max(ends), "the heap is shown to the end")
                for (kind, site, call), _ in truth.items():
                    stacks = t.callstacks.get(call, set())
                    self.assertTrue([s for s in stacks if site in s and s[-1] == call], (site, call, stacks))
                wrong = []
                seen = {}
                for tid, name, begin, end in t.slices:
                    seen[name] = seen.get(name, 0) + end - begin
                calls = {}
                for (kind, site, call), (count, ns, *_) in truth.items():
                    calls[call] = calls.get(call, 0) + ns
                for call, ns in calls.items():
                    # The main thread is in read itself, for the next line.
                    own = sum(e - b for tid, n, b, e in t.slices if n == call and tid == p.pid) if call == "read" else 0
                    if abs(seen.get(call, 0) - own - ns) > 0.05 * ns:
                        wrong.append("%s: %.2f ms for %.2f ms" % (call, (seen.get(call, 0) - own) / 1e6, ns / 1e6))
                names = {name for tid, name in t.tracks.values()}
                self.assertEqual(out["born"][0], len([n for n in names if n.startswith("born-")]), names)
                self.assertTrue([i for i in t.instants if "libplugin" in i[1]], t.names)
            if not wrong:
                break
        self.assertEqual([], wrong)

    test_perfetto.long_s = 5

    def test_cpu_samples_are_in_it(self):
        with start([shim.program("cpu_truth"), 100]) as p:
            p.wait_line("ready")
            samples = 0
            for _ in range(5):
                t = Perfetto(Asked(p, "seconds=2&format=perfetto").body())
                samples += len([i for i in t.instants if i[0] in p.threads()])
                if samples > 50:
                    break
            self.assertGreater(samples, 50)
            path = save(Asked(p, "seconds=1").body())
            for version, go in shim.gos():
                with self.subTest(go=version):
                    go_profile(go, "sync", path)

    test_cpu_samples_are_in_it.long_s = 5


class Requests(shim.TestCase):

    def test_two_at_once(self):
        with start([shim.program("contention_steady")]) as p:
            p.wait_line("ready")
            for seconds in (2, 2, 4, 4, 8, 8):
                asked = Asked(p, "seconds=%d" % seconds)
                if asked.refusals:
                    break
                asked.thread.join(shim.DEADLINE_S)  # it was over before the other one came
            a = asked.refusals[0]
            self.assertRegex(a.text, r"^Could not enable tracing: .*already enabled\n$")
            self.assertEqual("1", a.header("X-Go-Pprof"))
            self.assertIsNone(a.header("Content-Disposition"))
            # All else is answered meanwhile.
            for name in ("heap", "block", "mutex", "goroutine?debug=2", "profile?seconds=1", ""):
                self.assertEqual(200, p.get("/debug/pprof/" + name).status, name)
            self.assertIn(b"go 1.19 trace", asked.body()[:16])
            self.assertIn('filename="trace"', asked.answer.header("Content-Disposition"))
            self.assertEqual("application/octet-stream", asked.answer.header("Content-Type"))

    test_two_at_once.long_s = 4

    def test_a_client_that_goes_away_frees_it(self):
        with start([shim.program("contention_steady")]) as p:
            p.wait_line("ready")
            for how in ("close", "reset"):
                with shim.Raw(p.port) as raw:
                    raw.send(b"GET /debug/pprof/trace?seconds=170 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    shim.wait_until(
                        "the trace to begin", lambda: p.get("/debug/pprof/trace?seconds=0.01").status == 500
                    )
                    if how == "reset":
                        raw.s.setsockopt(shim.socket.SOL_SOCKET, shim.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                began = time.monotonic()
                shim.wait_until("a trace to be had", lambda: p.get("/debug/pprof/trace?seconds=0.1").status == 200)
                self.assertLess(time.monotonic() - began, 150, "not before the 170 s were over")

    test_a_client_that_goes_away_frees_it.long_s = 4

    def test_a_full_buffer_ends_it_cleanly(self):
        with start([shim.program("contention_steady")], env=dict(EVERY, PPROF_MEMORY_LIMIT="4M")) as p:
            p.wait_line("ready")
            began = time.monotonic()
            body = Asked(p, "seconds=40").body()
            self.assertLess(time.monotonic() - began, 35, "it ended when the buffer was full")
            path = save(body)
            self.assertRegex(body, rb"(?i)full")
            for version, go in shim.gos():
                with self.subTest(go=version):
                    self.assertGreater(go_profile(go, "sync", path).total("contentions"), 100)
            t = Perfetto(Asked(p, "seconds=40&format=perfetto").body())
            self.assertGreater(len(t.slices), 100)
            # The program and the other profiles are as they were.
            self.assertGreater(p.profile("block", "seconds=1").total("contentions"), 100)

    test_a_full_buffer_ends_it_cleanly.long_s = 10

    def test_a_full_buffer_beside_full_tables_is_answered(self):
        with start([shim.program("ever_new_stacks"), 1000, "busy"], rate=1) as p:
            p.wait_line("ready")
            for query in ("trace?seconds=30", "profile?seconds=1", "trace?seconds=30&format=perfetto"):
                a = p.get("/debug/pprof/" + query, timeout_s=120)
                self.assertEqual(200, a.status, a.body[:200])
                if query.startswith("trace"):
                    self.assertRegex(a.body, rb"(?i)buffer was full")

    def test_one_after_another(self):
        with start([shim.program("trace_truth"), shim.program("libplugin")], env=EVERY) as p:
            p.wait_line("ready")
            for mark in (1, 2):
                try:
                    path = save(traced(p, 3, "", mark))
                except TooShort:
                    path = save(Asked(p, "seconds=0.5").body())
                for version, go in shim.gos():
                    go_trace(go, "-pprof=sync", path)

    test_one_after_another.long_s = 6

    def test_an_idle_program(self):
        with start([shim.program("thread_names")]) as p:
            p.wait_line("ready")
            path = save(Asked(p, "seconds=0.3").body())
            for version, go in shim.gos():
                with self.subTest(go=version):
                    go_trace(go, "-pprof=sync", path)
                    go_trace(go, "-pprof=sched", path)
            t = Perfetto(Asked(p, "seconds=0.3&format=perfetto").body())
            tids = {tid for tid, _ in t.tracks.values() if tid}
            self.assertGreaterEqual(tids, set(p.threads()) - {i for i, n in p.threads().items() if n == "pprofshim"})


class Guest(shim.TestCase):

    def test_the_storms_while_traced(self):
        argv = [shim.program("storm"), shim.program("libplugin"), 8]
        with start(argv, env=EVERY, input_data=b"") as p:
            bodies = []
            while p.running():
                with contextlib.suppress(OSError, http.client.HTTPException):
                    a = p.get("/debug/pprof/trace?seconds=0.4" + ("&format=perfetto" if len(bodies) % 2 else ""))
                    self.assertEqual(200, a.status, a.body[:200])
                    bodies.append(a.body)
            status, out, err = p.wait()
            self.assertEqual((0, ""), (status, err))
            self.assertIn("end 1", out)
        self.assertTrue(bodies)
        for body in bodies[1::2]:
            Perfetto(body)
        for version, go in shim.gos():
            for body in bodies[0:5:2]:
                go_trace(go, "-pprof=sched", save(body))

    test_the_storms_while_traced.long_s = 10
