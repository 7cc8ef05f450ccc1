# test_threads.py - threadcreate: exact counts by the stack that called pthread_create, and the threads' names.
#
# Runs in: the test runner.
#
# SPDX-License-Identifier: Apache-2.0
import re
import time
import shim
from shim import start
from test_settings import descriptors


class Threadcreate(shim.TestCase):

    def test_counts_are_exact(self):
        with start([shim.program("thread_churn"), 10000]) as p:
            p.wait_line("ready")
            t = p.profile("threadcreate")
            self.assertEqual([("threadcreate", "count")], t.sample_types)
            self.assertEqual(("threadcreate", "count"), t.period_type)
            self.assertEqual(1, t.period)
            for site, (n,) in p.truth().items():
                if site.startswith("create_"):
                    self.assertEqual([n], t.flat(site), site)
            self.assertEqual(0, p.finish()[0])

    test_counts_are_exact.long_s = 10

    def test_the_main_thread_is_no_thread_that_was_created(self):
        with start([shim.program("heap_truth"), 100]) as p:
            p.wait_line("ready")
            t = p.profile("threadcreate")
            self.assertEqual([9], t.sums(lambda s: True), "eight threads and one")

    def test_living_threads_have_their_names(self):
        with start([shim.program("thread_names")]) as p:
            p.wait_line("ready")
            names = {line.split(" ", 1)[1] for line in p.out.splitlines() if line.startswith("thread ")}
            t = p.profile("threadcreate")
            self.assertEqual([len(names)], t.flat("create_named"))
            labels = {v for s in t.samples for values in s.labels.values() for v in values if isinstance(v, str)}
            self.assertTrue(names <= labels, "missing: %s of %s" % (names - labels, labels))
            text = p.get("/debug/pprof/threadcreate?debug=1").text
            self.assertTrue(text.startswith("threadcreate profile: total %d\n" % len(names)), text[:100])
            self.assertEqual(0, p.finish()[0])

    def test_seconds_counts_only_what_was_created_meanwhile(self):
        with start([shim.program("thread_names")]) as p:
            p.wait_line("ready")
            d = p.profile("threadcreate", "seconds=1")
            self.assertEqual([], d.samples)

    def test_text_form_parses_back(self):
        with start([shim.program("thread_churn"), 400]) as p:
            p.wait_line("ready")
            created = sum(p.truth()[site][0] for site in ("create_joined", "create_detached", "create_nested"))
            path = shim.save(p.get("/debug/pprof/threadcreate?debug=1").body, "threadcreate")
            for version, go in shim.gos():
                with self.subTest(go=version):
                    out, _ = shim.pprof(go, "-raw", path)
                    self.assertIn("threadcreate/count", out)
                    samples = out.split("Locations")[0]
                    self.assertEqual(created, sum(map(int, re.findall(r"(?m)^ +(\d+): ", samples))))


class Listener(shim.TestCase):

    def listener(self, p):
        pid = p.listener()
        self.assertIsNotNone(pid)
        return "/proc/%d/" % pid

    def status(self, p):
        with open(self.listener(p) + "status") as f:
            return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)

    def test_blocks_all_signals(self):
        with start([shim.program("heap_bias")]) as p:
            p.wait_line("ready")
            blocked = int(self.status(p)["SigBlk"], 16)
            for sig in (1, 2, 3, 10, 12, 13, 14, 15, 17, 27, 34, 64):
                self.assertTrue(blocked >> (sig - 1) & 1, "signal %d" % sig)

    def test_idle_never_wakes(self):
        with start([shim.program("heap_bias")]) as p:
            p.wait_line("ready")
            shim.get(p.port, "/debug/pprof/cmdline", headers={"Connection": "close"})

            def switches():
                s = self.status(p)
                return int(s["voluntary_ctxt_switches"]) + int(s["nonvoluntary_ctxt_switches"])
            time.sleep(0.5)
            first = switches()
            time.sleep(2)
            self.assertEqual(first, switches())

    def test_the_program_has_its_own_threads_and_no_other(self):
        with start([shim.program("heap_bias")]) as p:
            p.wait_line("ready")
            self.assertEqual([p.pid], list(p.threads()))
            for path in ("heap", "allocs", "mutex", "block", "threadcreate", "goroutine", "goroutine?debug=2"):
                self.assertEqual(200, p.get("/debug/pprof/" + path).status)
                self.assertEqual([p.pid], list(p.threads()), path)

    def test_a_profile_has_a_thread_in_the_program_while_it_lasts(self):
        with start([shim.program("heap_bias")]) as p:
            p.wait_line("ready")
            for path in ("profile?seconds=1", "trace?seconds=1"):
                self.assertEqual(200, p.get("/debug/pprof/" + path).status)
                shim.wait_until("the visitor's end", lambda: list(p.threads()) == [p.pid])

    def test_a_program_whose_main_left_ends_with_its_last_worker(self):
        self.assert_same([shim.program("exit_by_workers")])

    def test_descriptors_are_out_of_the_programs_way(self):
        # In a file table of its own, or else numbered high; close-on-exec; and none of the program's is held on
        # to, which would keep its pipes and files open after it closed them.
        with start([shim.program("heap_bias")]) as p:
            p.wait_line("ready")
            p.get("/debug/pprof/heap")
            tids = descriptors(p)
            own = {t: fds for t, fds in tids.items() if t != p.pid}
            self.assertTrue(all(fd < 3 for fd in tids[p.pid]) or min(f for f in tids[p.pid] if f > 2) >= 256, tids)
            for tid, fds in own.items():
                for fd, what in fds.items():
                    self.assertFalse(what.startswith("pipe:"), "holds a pipe of the program: %s" % fds)
                    try:
                        with open("/proc/%d/fdinfo/%d" % (tid, fd)) as f:
                            flags = next(int(line.split()[1], 8) for line in f if line.startswith("flags"))
                    except FileNotFoundError:
                        continue  # the connection of the request above, closed since
                    self.assertTrue(flags & 0o2000000, "fd %d (%s) is not close-on-exec" % (fd, what))
