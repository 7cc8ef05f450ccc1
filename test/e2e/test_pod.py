# test_pod.py - /pod/debug/pprof/…: the profiles of all processes behind a port in one, with the sums of the single
# ones; who does not answer is named, and the rest comes.
#
# Runs in: the test runner; the programs, the helper and go are processes of their own.
#
# SPDX-License-Identifier: Apache-2.0
import concurrent.futures
import contextlib
import os
import signal
import threading
import time

import shim
from shim import start
from test_door import joined, other, waiter
from test_merge import by_go, functions

PATH = "/pod/debug/pprof/"


class Pod(shim.TestCase):

    @contextlib.contextmanager
    def three(self, env=None, rate=1):
        """Three programs behind one port, at rest: the owner of the door, and two more."""
        env = {"PPROF_BLOCK_RATE": "1", "PPROF_MUTEX_FRACTION": "1", **(env or {})}
        with start([shim.program("heap_truth"), 50], rate=rate, env=env) as p:
            p.wait_line("ready")
            with other(p.port, [shim.program("heap_truth"), 70], {"PPROF_HEAP_RATE": str(rate), **env}) as q, \
                    other(p.port, [shim.program("heap_bias")], {"PPROF_HEAP_RATE": str(rate), **env}) as r:
                q.wait_line("ready")
                r.wait_line("ready")
                joined(p.port, p, q, r)
                yield p, q, r

    def pod(self, p, kind):
        a = p.get(PATH + kind)
        self.assertEqual(200, a.status, a.body[:300])
        return a.body

    def test_heap_is_that_of_all_processes(self):
        with self.three() as programs:
            p = programs[0]
            for kind in ("heap", "allocs"):
                own = shim.Profile(self.pod(p, kind))
                behind = joined(p.port, *programs)
                singles = [behind[x.pid].get("/debug/pprof/" + kind).body for x in programs]
                for x, body in zip(programs, singles):
                    mine = own.sums(lambda s, x=x: s.labels["pid"] == [str(x.pid)])
                    self.assertEqual(shim.Profile(body).sums(lambda s: True), mine, x.argv)
                names = {(s.labels["process"][0], s.labels["pid"][0]) for s in own.samples}
                self.assertEqual({(os.path.basename(x.argv[0])[:15], str(x.pid)) for x in programs}, names)
                self.assertEqual(kind == "heap" and "inuse_space" or "alloc_space", own.default_sample_type)

    def test_each_kind_is_what_go_makes_of_the_single_ones(self):
        version, go = shim.gos()[-1]
        with self.three() as programs:
            p = programs[0]
            for kind in ("heap", "allocs", "block", "mutex", "threadcreate", "goroutine"):
                with self.subTest(kind):
                    pod = shim.save(self.pod(p, kind))
                    behind = joined(p.port, *programs)
                    singles = [shim.save(behind[x.pid].get("/debug/pprof/" + kind).body, "p%d" % x.pid)
                               for x in programs]
                    self.assertEqual(functions(by_go(go, singles)), functions(by_go(go, [pod])))

    def test_cpu_profiles_run_in_all_at_once(self):
        with self.three() as programs:
            began = time.monotonic()
            own = shim.Profile(self.pod(programs[0], "profile?seconds=2"))
            self.assertLess(time.monotonic() - began, 60)
            self.assertEqual([("samples", "count"), ("cpu", "nanoseconds")], own.sample_types)
            self.assertAlmostEqual(6e9, own.duration_nanos, delta=3e9)

    def test_a_difference_of_all(self):
        with self.three() as programs:
            own = shim.Profile(self.pod(programs[0], "allocs?seconds=1"))
            self.assertEqual(0, own.total("alloc_objects"))

    def test_a_stopped_process_is_named_and_the_rest_comes(self):
        with self.three() as (p, q, r):
            os.kill(q.listener(), signal.SIGSTOP)
            try:
                own = shim.Profile(self.pod(p, "heap"))
            finally:
                os.kill(q.listener(), signal.SIGCONT)
            self.assertEqual({str(p.pid), str(r.pid)}, {s.labels["pid"][0] for s in own.samples})
            self.assertRegex("\n".join(own.comments),
                             r"(?m)^process %d( \(heap_truth\))? did not answer in 10 s$" % q.pid)
            again = shim.Profile(self.pod(p, "heap"))
            self.assertEqual({str(x.pid) for x in (p, q, r)}, {s.labels["pid"][0] for s in again.samples})

    def test_a_process_that_dies_meanwhile_is_named_and_the_rest_comes(self):
        for _ in range(3):
            with self.three() as (p, q, r):
                got = []
                t = threading.Thread(target=lambda: got.append(self.pod(p, "profile?seconds=6")))
                t.start()
                time.sleep(3)
                os.kill(q.pid, signal.SIGKILL)
                q.wait()
                t.join()
                notes = "\n".join(shim.Profile(got[0]).comments)
                if "process %d" % q.pid in notes and "it has ended" not in notes:
                    self.assertRegex(notes, r"(?m)^process %d \(.*\) is left out: it ended before" % q.pid)
                    return  # else it was dead before it was asked: the machine is busy
        self.fail("it was never asked in time")

    def test_go_tool_pprof_shows_the_pod(self):
        with self.three() as programs:
            for version, go in shim.gos():
                with self.subTest(go=version):
                    url = "http://127.0.0.1:%d%sallocs" % (programs[0].port, PATH)
                    top = shim.top(go, url, "-tagroot=process,pid", "-unit=B", "-sample_index=alloc_space")
                    self.assertLessEqual({"heap_truth", "heap_bias", *(str(x.pid) for x in programs)}, set(top.rows))
                    sums = [top.rows[str(x.pid)][1] for x in programs]
                    self.assertEqual(top.rows["heap_truth"][1], sums[0] + sums[1])
                    self.assertEqual(top.rows["heap_bias"][1], sums[2])

    def test_what_cannot_be_merged_is_refused(self):
        with self.three() as programs:
            p = programs[0]
            for path, status in (("heap?debug=1", 400), ("heap?seconds=x", 400), ("nothing", 404), ("trace", 404),
                                 ("cmdline", 404), ("", 404)):
                self.assertEqual(status, p.get(PATH + path).status, path)

    def test_without_the_helper_it_says_so(self):
        with self.three(env={"PPROF_SYMBOLIZER": "off"}) as programs:
            a = programs[0].get(PATH + "heap")
            self.assertEqual(503, a.status)
            self.assertIn(b"pprofshim-symbolize", a.body)

    def test_many_ask_at_once_and_all_are_answered(self):
        with self.three() as programs:
            p = programs[0]
            with concurrent.futures.ThreadPoolExecutor(6) as pool:
                got = list(pool.map(lambda _: p.get(PATH + "heap"), range(6)))
            for a in got:
                self.assertEqual(200, a.status, a.body[:200])
                self.assertEqual({str(x.pid) for x in programs},
                                 {s.labels["pid"][0] for s in shim.Profile(a.body).samples})

    def test_one_process_alone_is_a_pod_of_one(self):
        with start(waiter(), rate=1) as p:
            p.wait_line("ready")
            own = shim.Profile(self.pod(p, "goroutine"))
            self.assertEqual({str(p.pid)}, {s.labels["pid"][0] for s in own.samples})
