# test_idle.py - what the hooks do while nobody asks for anything: nothing. Their cost is counted in instructions.
# And calls that began then, of threads that somebody looks at later.
#
# Runs in: the test runner. The counts are callgrind's, which load does not change; test/bench/limits has the limits.
#
# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import subprocess
import sys
import time

import look
import shim

sys.path.insert(0, os.path.join(shim.ROOT, "test", "bench"))

import idle  # noqa: E402


class Idle(shim.TestCase):

    def test_every_hook_is_within_its_limit(self):
        if os.uname().machine != "x86_64" or not shutil.which("valgrind"):
            self.skipTest("counts are of x86-64, by valgrind")
        rows = idle.measure()
        self.assertGreater(len(rows), 100)
        self.assertEqual([], [idle.line(r) for r in idle.over(rows)])

    def test_what_ends_a_program_goes_on_after_a_test_and_a_jump(self):
        if os.uname().machine != "x86_64":
            self.skipTest("counts are of x86-64")
        check = os.path.join(shim.ROOT, "scripts", "check-hooks")  # no row can be counted: none returns
        out = subprocess.run([sys.executable, check, "--idle"], capture_output=True, text=True, check=True,
                             env=dict(os.environ, BUILD=shim.BUILD)).stdout
        lengths = dict(line.split()[:2] for line in out.splitlines())
        for name in ("_exit", "_Exit", "abort"):
            self.assertLessEqual(int(lengths[name]), 6, name)

    def test_limits_name_hooks(self):
        self.assertEqual(set(), set(idle.limits()) - idle.hooks() - {idle.OTHERS})


class Slots(shim.TestCase):

    def said(self, argv, word, **env):
        status, out, err = shim.run_shim(argv, env=env)
        self.assertEqual(0, status, err)
        return int(dict(line.split() for line in out.splitlines())[word])

    def test_syscall_leaves_its_callers_variables_alone(self):
        if os.uname().machine != "x86_64":
            self.skipTest("the caller is written in x86-64 assembly")
        for off in ({}, {"PPROF_ADDR": "off"}):
            self.assertEqual(0, self.said([shim.program("syscall_slot"), "counter", 2000000], "lost", **off))
            self.assertEqual(5000, self.said([shim.program("syscall_slot"), "flag", 5000], "seen", **off))

    def test_so_it_does_while_somebody_looks(self):
        if os.uname().machine != "x86_64":
            self.skipTest("the caller is written in x86-64 assembly")
        with shim.start([shim.program("syscall_slot"), "counter", 4000000]) as p:
            with look.Looking(p, hz=1000):
                status, out, err = p.wait()
        self.assertEqual((0, "lost 0\n", ""), (status, out, err))


class Misaligned(shim.TestCase):

    def test_callers_whose_stack_is_off_by_8(self):
        if os.uname().machine != "x86_64":
            self.skipTest("the caller is written in x86-64 assembly")
        self.assertEqual(0, shim.run_bare([shim.program("misaligned"), 1])[0])
        status, out, err = shim.run_shim([shim.program("misaligned"), 2], rate=1)
        self.assertEqual((0, ""), (status, err))

    def test_the_same_traced_and_profiled(self):
        if os.uname().machine != "x86_64":
            self.skipTest("the caller is written in x86-64 assembly")
        with shim.start([shim.program("misaligned"), 6], rate=1) as p:
            p.wait_line("ready")
            with look.Looking(p, hz=1000) as looking:
                status, out, err = p.wait()
        self.assertEqual((0, ""), (status, err))
        self.assertEqual([], looking.errors)


class Window(shim.TestCase):

    def late(self):
        """How many of 80 each were late, bare and ours, in turns: a machine may be busy for one half of the time."""
        argv = [shim.program("ready_then_sleep"), 40]
        bare = ours = 0
        with shim.start([shim.program("begun_idle")]) as p:  # a child has a listener to start
            p.wait_line("ready")
            for _ in range(2):
                bare += int(shim.run_bare(argv)[1].split()[1])
                ours += int(shim.run_shim(argv, env={"PPROF_ADDR": "127.0.0.1:%d" % p.port})[1].split()[1])
        return bare, ours

    def test_a_child_that_says_ready_and_sleeps_is_not_made_late(self):
        # A busy machine delays both. (With a record and a listener made in between: one of six, each time.)
        for _ in range(4):
            bare, ours = self.late()
            if ours <= 2 * bare + 6:
                break
        self.assertLessEqual(ours, 2 * bare + 6)


class BegunIdle(shim.TestCase):

    def mark(self):
        debug = shim.LIB.replace(".so", ".debug.so")
        if os.uname().machine != "x86_64" or not os.path.exists(debug):
            self.skipTest("calls go on on x86-64; the mark is found by the debug information")
        names = subprocess.run(["nm", debug], capture_output=True, text=True, check=True).stdout
        return next(line.split()[0] for line in names.splitlines() if line.endswith(" timer_mark"))

    def ask(self, p, word, answer):
        p.send(word.encode() + b"\n")
        return p.wait_line(answer)

    def watch_and_interrupt(self, p, watch):
        p.wait_line("ready")
        watch(p)
        self.assertEqual("0", self.ask(p, "look", "early"), p.err)
        done, of = self.ask(p, "signal", "interrupted").split(" of ")
        self.assertEqual(of, done, p.err)
        self.assertEqual(0, p.finish()[0])

    def test_nobody_is_interrupted_by_profiles_traces_and_dumps(self):
        def watch(p):
            for _ in range(3):
                p.profile("profile", "seconds=1&hz=1000")
                look.dump(p)
                self.assertEqual(200, p.get("/debug/pprof/trace?seconds=0.5").status)
        with shim.start([shim.program("begun_idle")]) as p:
            self.watch_and_interrupt(p, watch)

    test_nobody_is_interrupted_by_profiles_traces_and_dumps.long_s = 8

    def test_the_handler_that_libc_installs_with_the_first_thread_takes_no_signal_of_ours(self):
        def no_visitor(p):
            return "pprofshim" not in p.threads().values()

        def watch(p):
            for _ in range(3):  # each time a thread of the program is asked by a signal to let us in
                shim.wait_until("nobody to be there", lambda: no_visitor(p))
                p.profile("profile", "seconds=1")
        with shim.start([shim.program("begun_idle"), "0", "late"]) as p:
            p.wait_line("alone")
            p.profile("profile", "seconds=1")
            shim.wait_until("nobody to be there", lambda: no_visitor(p))
            p.send(b"begin\n")
            self.watch_and_interrupt(p, watch)

    test_the_handler_that_libc_installs_with_the_first_thread_takes_no_signal_of_ours.long_s = 8

    def test_our_own_signal_ends_no_call_that_began_before(self):
        def watch(p):
            p.profile("profile", "seconds=1")  # from now on the handler is there
            with look.Looking(p, hz=100, traces=False, dumps=False):
                self.ask(p, "hit", "hit")
        with shim.start([shim.program("begun_idle"), self.mark()]) as p:
            self.watch_and_interrupt(p, watch)

    test_our_own_signal_ends_no_call_that_began_before.long_s = 8

    def slept_after_a_look(self):
        """How long a sleep of six seconds lasted in all, and how long after somebody looked in its middle."""
        with shim.start([shim.program("sleeper"), 6000000]) as p:
            p.wait_line("ready")
            began = time.monotonic()
            time.sleep(3)
            looked = time.monotonic()
            p.profile("profile", "seconds=1")
            self.assertEqual((0, "ready\nslept 0\n", ""), p.wait())
            ended = time.monotonic()
        return ended - began, ended - looked

    def test_a_sleeper_wakes_when_it_would_have(self):
        for _ in range(3):  # on a busy machine the kernel may not tell in time since when the thread sleeps
            slept, since_look = self.slept_after_a_look()
            self.assertGreater(slept, 5)
            if since_look < 5.5:
                return
        self.fail("as if it had begun anew: %g s" % since_look)

    test_a_sleeper_wakes_when_it_would_have.long_s = 7
