# test_scheduling.py - programs in scheduling classes of their own: what serves them gets a processor all the same.
#
# Runs in: the test runner. The kernel may refuse a class (rights, groups of real-time threads): that one is left out.
#
# SPDX-License-Identifier: Apache-2.0
import os
import subprocess

import shim
from shim import start


class Scheduling(shim.TestCase):

    def served(self, how, **more):
        """A program that takes that class is served by an ordinary process that may run wherever this one may."""
        with self.subTest(how=how), start([shim.program("realtime"), *how.split()], **more) as p:
            shim.wait_until("a line", lambda: "\n" in p.out)
            if p.out == "refused\n":
                return False
            pid = int(p.wait_line("ready"))
            at = p.port
            if pid != p.pid:
                at = shim.wait_until("the child", lambda: shim.behind(p.port))[0]
            shim.wait_until("the port", lambda: shim.port_answers(p.port))
            listener = shim.wait_until("its listener", lambda: p.listener(pid))
            self.assertEqual(os.SCHED_OTHER, os.sched_getscheduler(listener))
            self.assertLessEqual(os.sched_getaffinity(0), os.sched_getaffinity(listener))
            # It has no thread but the one that is scheduled so.
            shim.wait_until("samples of its work", lambda: self.is_profiled(at))
        return True

    def is_profiled(self, at):
        prof = shim.get_profile(at, "profile", "seconds=1&hz=250")
        return any({"burn", "main"} <= set(s.names) for s in prof.samples)

    def test_a_program_or_a_child_of_any_class_is_served_and_profiled(self):
        classes = [c for c in ("other", "fifo", "deadline") if self.served(c + " self")]
        for c in classes:
            self.served(c + " child")
        if "fifo" not in classes:
            self.skipTest("the kernel has no real-time class for us: only some were tried")

    test_a_program_or_a_child_of_any_class_is_served_and_profiled.long_s = 20

    def test_a_program_that_starts_as_a_pinned_real_time_one_leaves_its_processor_to_itself(self):
        def pin():
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
        try:
            shim.run_bare(["true"], preexec_fn=pin)
        except subprocess.SubprocessError:
            self.skipTest("the kernel has no real-time class for us")
        self.served("other self", preexec_fn=pin)
