# test_waits.py - no call that blocks is ended early by us, and every one that the program's own signals end is.
#
# Runs in: the test runner. The programs judge themselves, and abort at what is wrong; they run bare, and again while a
# CPU profile at 1000 Hz and thread dumps are taken without pause.
#
# SPDX-License-Identifier: Apache-2.0
import os
import re

import look
import shim


class Waits(shim.TestCase):

    def passes(self, argv, dumps, profiles=3):
        (status, out, err), looking = look.run_watched(self, argv, profiles=profiles, dumps=dumps, input_data=b"")
        self.assertEqual((0, ""), (status, err))
        self.assertIn("end 1", out)
        return out, looking

    def test_no_call_of_the_table_ends_early(self):
        out, _ = self.passes([shim.program("eintr_abort"), 12], dumps=1, profiles=1)
        rows = [line.split() for line in out.splitlines()]
        called = {r[0]: int(r[1]) + int(r[2]) for r in rows if len(r) == 3}
        self.assertGreater(len(called), 60)
        self.assertEqual([], [name for name, n in called.items() if n == 0])

    test_no_call_of_the_table_ends_early.long_s = 20

    def test_the_same_by_dumps_alone(self):
        argv = [shim.program("eintr_abort"), 12]
        (status, out, err), looking = look.run_watched(self, argv, profiles=0, dumps=1, traces=False, input_data=b"")
        self.assertEqual((0, ""), (status, err))

    test_the_same_by_dumps_alone.long_s = 15

    def test_nor_does_one_whose_number_nothing_tells(self):
        if tuple(int(n) for n in re.findall(r"\d+", os.uname().release)[:2]) < (5, 11):
            self.skipTest("CPU timers of this kernel expire inside of calls")
        argv = [shim.program("eintr_abort"), 8, "io_getevents"]
        (status, out, err), looking = look.run_watched(self, argv, profiles=0, dumps=1, traces=False)
        self.assertEqual((0, ""), (status, err))

    test_nor_does_one_whose_number_nothing_tells.long_s = 9

    def test_a_signal_thread_that_waits_for_everything(self):
        out, _ = self.passes([shim.program("sigwait_all"), 8], dumps=1, profiles=1)
        self.assertIn("worked 1", out)

    test_a_signal_thread_that_waits_for_everything.long_s = 12

    def test_own_signals_interrupt_as_they_do_bare(self):
        argv = [shim.program("eintr_own"), 12]
        bare = shim.run_bare(argv)
        self.assertEqual((0, ""), (bare[0], bare[2]))
        out, _ = self.passes(argv, dumps=5, profiles=1)
        self.assertEqual(bare[1], out)

    test_own_signals_interrupt_as_they_do_bare.long_s = 15

    def test_handlers_that_a_bare_call_set_interrupt_too(self):
        argv = [shim.program("eintr_own"), 8, "", "bare"]
        bare = shim.run_bare(argv)
        self.assertEqual((0, ""), (bare[0], bare[2]))
        out, _ = self.passes(argv, dumps=5, profiles=1)
        self.assertEqual(bare[1], out)

    test_handlers_that_a_bare_call_set_interrupt_too.long_s = 12

    def test_pointers_that_are_refused_are_refused_while_somebody_watches(self):
        argv = [shim.program("edge_pointers"), 5]
        bare = shim.run_bare(argv)
        self.assertEqual((0, ""), (bare[0], bare[2]))
        out, _ = self.passes(argv, dumps=1, profiles=1)
        self.assertEqual(bare[1], out)

    test_pointers_that_are_refused_are_refused_while_somebody_watches.long_s = 6

    def test_the_same_unwatched(self):
        for name, args in (("eintr_abort", [3]), ("eintr_own", [3]), ("sigwait_all", [2])):
            with self.subTest(name=name):
                status, out, err = shim.run_shim([shim.program(name)] + args)
                self.assertEqual((0, ""), (status, err))

    test_the_same_unwatched.long_s = 9

    def test_disabled(self):
        for name, args in (("eintr_own", [2]), ("sigwait_all", [1])):
            with self.subTest(name=name):
                status, out, err = shim.run_shim([shim.program(name)] + args, env={"DISABLE_PPROF": "1"})
                self.assertEqual((0, ""), (status, err))
