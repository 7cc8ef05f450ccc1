# test_confined.py - programs that shut themselves in (seccomp), and programs that another takes the place of (exec).
#
# Runs in: the test runner.
#
# SPDX-License-Identifier: Apache-2.0
import unittest

import shim
from shim import run_bare, run_shim, start


class ShutIn(shim.TestCase):
    """What a filter forbids, the library does not do either; nobody asks for anything but where it is said."""

    def check(self, *args, rate=None):
        argv = [shim.program("shut_in"), *args]
        bare = run_bare(argv, input_data=b"\n")
        if bare[0] or "status 0" not in bare[1] + "status 0" * (args[1] in ("self", "maker")):
            self.skipTest("not even the bare program may: %s" % (bare[:2],))
        self.assertEqual(bare[:2], run_shim(argv, rate=rate, input_data=b"\n", deadline_s=120)[:2])

    def test_strict_mode(self):
        for who in ("self", "child"):
            with self.subTest(who=who):
                self.check("strict", who)

    def test_a_filter_by_prctl(self):
        for who in ("self", "child"):
            for action in ("kill", "trap", "errno", "log"):
                with self.subTest(who=who, action=action):
                    self.check("filter", who, action)

    def test_a_filter_by_syscall(self):
        for who in ("self", "child"):
            for action in ("kill", "trap", "notify"):
                with self.subTest(who=who, action=action):
                    self.check("syscall", who, action)

    def test_threads_are_made_behind_a_filter(self):
        for how in ("filter", "number", "syscall", "tsync"):
            with self.subTest(how=how):
                self.check(how, "maker")

    def test_a_filter_by_the_number_of_prctl_and_an_end_by_exit(self):
        for who in ("self", "child"):
            for action in ("kill", "trap"):
                with self.subTest(who=who, action=action):
                    self.check("number", who, action, rate=1)

    def test_a_child_that_libc_was_not_told_of(self):
        for how in ("strict", "filter", "syscall", "number"):
            with self.subTest(how=how):
                self.check(how, "clone", rate=1)

    def test_a_filter_for_all_threads(self):
        for action in ("kill", "trap"):
            with self.subTest(action=action):
                self.check("tsync", "self", action)

    def test_samples_that_are_due_are_lost_and_kill_nobody(self):
        for how in ("filter", "tsync"):
            with self.subTest(how=how):
                self.check(how, "self", rate=1)

    def test_after_requests_too(self):
        for how in ("filter", "tsync", "syscall"):
            with self.subTest(how=how):
                with start([shim.program("shut_in"), how, "self"]) as p:
                    p.wait_line("ready")
                    self.assertEqual(200, p.get("/debug/pprof/heap").status)
                    self.assertEqual(200, p.get("/debug/pprof/profile?seconds=1").status)
                    p.send(b"\n")
                    status, out, err = p.finish()
                    self.assertEqual(0, status, (out, err))
                    self.assertIn("allowed ", out)

    def test_while_a_profile_and_a_trace_are_taken(self):
        for how in ("filter", "tsync", "syscall", "number"):
            for asked in ("profile?seconds=100&hz=1000", "trace?seconds=100"):
                with self.subTest(how=how, asked=asked):
                    with start([shim.program("shut_in"), how, "self"]) as p:
                        p.wait_line("ready")
                        with shim.Raw(p.port) as raw:
                            raw.send(("GET /debug/pprof/%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % asked).encode())
                            shim.wait_until("it to begin", lambda: p.is_profiled() or p.get(
                                "/debug/pprof/trace?seconds=0.01").status == 500)
                            p.send(b"\n")
                            status, out, err = p.finish()
                            self.assertEqual(0, status, (out, err))
                            self.assertIn("allowed ", out)

    def test_whatever_other_threads_are_in_the_middle_of(self):
        for asked in ("profile?seconds=100&hz=1000", "trace?seconds=100"):
            for i in range(8):  # each run meets some of what a thread may be in the middle of
                with self.subTest(asked=asked, run=i):
                    with start([shim.program("shut_in"), "tsync", "crowd"], rate=1) as p:
                        p.wait_line("ready")
                        with shim.Raw(p.port) as raw:
                            raw.send(("GET /debug/pprof/%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % asked).encode())
                            p.send(b"\n")
                            status, out, err = p.finish()
                            self.assertEqual(0, status, (out, err))
                            self.assertIn("allowed ", out)

    def test_no_thread_has_yet_to_return_from_our_handler(self):
        for i in range(8):  # each run meets threads that have not had a processor since a signal was sent
            with self.subTest(run=i):
                with start([shim.program("shut_in"), "tsync", "busy"]) as p:
                    p.wait_line("ready")
                    with shim.Raw(p.port) as raw:
                        raw.send(b"GET /debug/pprof/profile?seconds=100&hz=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                        p.send(b"\n")
                        status, out, err = p.finish()
                        self.assertEqual(0, status, (out, err))
                        self.assertIn("allowed ", out)

    test_no_thread_has_yet_to_return_from_our_handler.long_s = 10

    def test_a_block_of_before_is_freed_without_a_call(self):
        argv = [shim.program("shut_in_frees"), 5000]
        self.assertEqual((0, "freed\n"), run_bare(argv)[:2])
        for i in range(6):
            with self.subTest(run=i):  # a sampled small block has room for more
                self.assertEqual((0, "freed\n"), run_shim(argv + [1000], rate=32768)[:2])

    def test_threads_that_shut_themselves_in_at_once(self):
        argv = [shim.program("shut_in_at_once")]
        for how in ("both", "divided", "again"):
            with self.subTest(how=how):
                self.assertEqual((0, "rounds 40 killed 0\n"), run_bare(argv + [how, 40])[:2])
                self.assertEqual((0, "rounds 40 killed 0\n"), run_shim(argv + [how, 40], rate=1, deadline_s=120)[:2])

    def test_the_counter_is_not_read_where_the_program_denies_it(self):
        argv = [shim.program("no_counter")]
        if run_bare(argv + ["prctl"], input_data=b"\n")[0] == 77:
            self.skipTest("this machine can't deny it")
        for args in (["prctl"], ["number"], ["prctl", "filter"], ["number", "filter"]):
            with self.subTest(args=args):
                bare = run_bare(argv + args, input_data=b"\n")
                self.assertEqual((0, "ready\nhad 300\n"), bare[:2])
                self.assertEqual(bare[:2], run_shim(argv + args, rate=1, input_data=b"\n")[:2])

    def test_nor_while_somebody_asks(self):
        argv = [shim.program("no_counter"), "prctl"]
        if run_bare(argv, input_data=b"\n")[0] == 77:
            self.skipTest("this machine can't deny it")
        with start(argv) as p:
            p.wait_line("ready")
            with shim.Raw(p.port) as raw:
                raw.send(b"GET /debug/pprof/trace?seconds=100 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                shim.wait_until("it to begin", lambda: p.get("/debug/pprof/trace?seconds=0.01").status == 500)
                p.send(b"\n")
                self.assertEqual((0, "ready\nhad 300\n"), p.finish()[:2])

    def test_the_port_is_free_once_the_program_has_shut_itself_in(self):
        with start([shim.program("shut_in"), "filter", "child"]) as p:
            p.wait_line("ready")
            self.assertTrue(shim.port_answers(p.port), "the program itself is not shut in")
            p.send(b"\n")
            p.wait_line("allowed")
            self.assertEqual(0, p.finish()[0])

    def test_a_filter_that_the_kernel_refuses_changes_nothing(self):
        with start([shim.program("shut_in"), "refused", "self"]) as p:
            p.wait_line("ready")
            p.send(b"\n")
            p.wait_line("allowed")
            self.assertTrue(p.running())
            status, out, err = p.finish()
            self.assertEqual((0, ""), (status, err))
            self.assertIn("lived ", out)

    def test_who_only_asks_whether_there_are_filters_is_served_on(self):
        with start([shim.program("shut_in"), "asked", "self"], env={"PPROF_LOG": "info"}) as p:
            p.wait_line("ready")
            self.assertTrue(shim.port_answers(p.port))
            listener = children_of(p.pid)
            p.send(b"\n")
            p.wait_line("allowed")
            self.assertEqual(listener, children_of(p.pid))
            self.assertEqual(200, p.get("/debug/pprof/heap").status)
            status, out, err = p.finish()
            self.assertEqual(0, status, (out, err))
            self.assertNotIn("seccomp", err)

    def test_the_last_line_says_what_has_ended_once(self):
        for how in ("filter", "number", "syscall", "tsync"):
            with self.subTest(how=how):
                with start([shim.program("shut_in"), how, "self"], env={"PPROF_LOG": "info"}) as p:
                    p.wait_line("ready")
                    self.assertTrue(shim.port_answers(p.port))
                    p.send(b"\n")
                    status, out, err = p.finish()
                    self.assertEqual(0, status, (out, err))
                    self.assertEqual(1, err.count("(seccomp): nothing is served from now on"), err)

    def test_nothing_is_said_where_nobody_asked_for_it(self):
        status, _, err = run_shim([shim.program("shut_in"), "filter", "self"], input_data=b"\n")[:3]
        self.assertEqual((0, ""), (status, err))


class OlderKernel(shim.TestCase):
    """Newer system calls are unknown, or forbidden: what needs them is had otherwise."""

    def check(self, number):
        with start([shim.program("old_kernel"), number, shim.program("dump_truth")]) as p:
            p.wait_line("ready")
            self.assertEqual(200, p.get("/debug/pprof/heap").status)
            self.assertEqual(200, p.get("/debug/pprof/profile?seconds=1").status)
            self.assertEqual(200, p.get("/debug/pprof/trace?seconds=0.2").status)
            self.assertIn("in_cond", p.get("/debug/pprof/goroutine?debug=2").body.decode().replace("-", "_"))
            self.assertEqual(0, p.finish()[0])
        self.assertEqual(0, run_shim([shim.program("old_kernel"), number, shim.program("fork_heap")])[0])

    def test_where_they_are_unknown(self):
        self.check(38)

    def test_where_they_are_forbidden(self):
        self.check(1)


def children_of(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return f.read().split()


if __name__ == "__main__":
    unittest.main()
