# test_signals.py - what a profile takes of the signals of a program, it does not miss: limits, actions, exec.
#
# Runs in: the test runner.
#
# SPDX-License-Identifier: Apache-2.0
import os
import resource
import threading

import shim
from shim import start


class Profiled:
    """A profile under way in a thread of the test's."""

    def __init__(self, p, seconds):
        self.p, self.profile = p, None
        self.thread = threading.Thread(target=self._take, args=(seconds,))
        self.thread.start()
        shim.wait_until("timers to be there", self._caught, step_s=0.02)

    def _caught(self):
        with open("/proc/%d/status" % self.p.pid) as f:
            status = {line.split(":")[0]: line.split()[1] for line in f if line.startswith("Sig")}
        prof = 1 << 26
        return int(status["SigCgt"], 16) & prof or int(status["SigQ"].split("/")[0]) > 0

    def _take(self, seconds):
        try:
            self.profile = self.p.profile("profile", "seconds=%d&hz=250" % seconds)
        except (OSError, AssertionError):
            pass  # the program is gone

    def result(self):
        self.thread.join()
        return self.profile


class Limit(shim.TestCase):
    """RLIMIT_SIGPENDING is the program's: it comes to its end where it does without us."""

    def reached(self, how):
        seconds = 4 if how == "setuid" else 2
        with start([shim.program("pending_limit"), how]) as p:
            p.wait_line("ready")
            profile = Profiled(p, seconds)
            p.send(b"go\n")
            p.wait_line("end")
            result = profile.result()
            p.send(b"end\n")
            status, out, err = p.finish()
            self.assertEqual((0, ""), (status, err))
            return [line for line in out.splitlines() if not line.startswith("ready")], result

    def check(self, how, bare_lines):
        if os.geteuid():
            self.skipTest("only root can take a user id that is nobody else's")
        argv = [shim.program("pending_limit"), how]
        status, out, err = shim.run_bare(argv, input_data=b"go\nend\n")
        self.assertEqual((0, ""), (status, err))
        bare = [line for line in out.splitlines() if not line.startswith("ready")]
        self.assertEqual(bare_lines + ["end 1"], bare)
        # What is on its way to threads without a processor holds its entry for longer than anybody waits: on a
        # machine that others have, it is tried again.
        for _ in range(4):
            ours, profile = self.reached(how)
            if bare == ours:
                break
        self.assertEqual(bare, ours)
        self.assertGreater(profile.total("samples"), 0)
        return profile

    def test_sigqueue_reaches_it(self):
        profile = self.check("queue", ["reached 60"] * 5)
        self.assertTrue([c for c in profile.comments if "pending signals" in c], profile.comments)

    test_sigqueue_reaches_it.long_s = 5

    def test_sigqueue_by_syscall_reaches_it(self):
        self.check("syscall", ["reached 60"] * 5)

    test_sigqueue_by_syscall_reaches_it.long_s = 5

    def test_timers_reach_it(self):
        self.check("timers", ["reached 60"])

    def test_signals_of_kill_come_one_by_one_up_to_it(self):
        self.check("kill", ["carried 60"])

    def test_all_threads_change_their_user_close_to_it(self):
        profile = self.check("setuid", ["wrong 0"])
        self.assertTrue(
            [c for c in profile.comments if "user or group" in c or "pending signals" in c], profile.comments
        )

    test_all_threads_change_their_user_close_to_it.long_s = 9


class Actions(shim.TestCase):

    def test_a_program_that_resets_all_signals_lives_on(self):
        with start([shim.program("reset_signals")]) as p:
            p.wait_line("ready")
            profile = p.profile("profile", "seconds=2&hz=250")
            self.assertGreater(profile.total("samples"), 0)
            self.assertEqual(200, p.get("/debug/pprof/goroutine?debug=2").status)
            status, out, err = p.finish()
        self.assertEqual((0, ""), (status, err))
        self.assertIn("wrong 0", out)

    def test_it_sees_the_kernels_answers_without_a_profile_too(self):
        status, out, err = shim.run_bare([shim.program("reset_signals")], input_data=b"")
        self.assertEqual((0, ""), (status, err))
        self.assertIn("wrong 0", out)

    def test_handlers_that_a_bare_call_sets_are_counted_and_not_seen_to_be(self):
        argv = [shim.program("bare_handler")]
        self.assertEqual((0, "wrong 0\nruns 1\nkernel_has_own 1\n", ""), shim.run_bare(argv))
        self.assertEqual((0, "wrong 0\nruns 1\nkernel_has_own 0\n", ""), shim.run_shim(argv))


class Exec(shim.TestCase):
    """The interval timer of a profile without other timers outlives exec, and would end the new program."""

    def no_pending(self):
        resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))

    def check(self, how):
        with start([shim.program("exec_by"), how], preexec_fn=self.no_pending) as p:
            p.wait_line("ready")
            profile = Profiled(p, 20)
            p.send(b"\n")
            p.wait_line("failed")
            p.send(b"\n")
            status, out, err = p.wait()
            profile.result()
        self.assertEqual((0, ""), (status, err))
        self.assertIn("alive 1", out)

    def test_by_execve(self):
        self.check("execve")

    def test_by_execveat(self):
        self.check("execveat")

    def test_by_syscall(self):
        self.check("syscall")

    def test_by_syscall_of_execveat(self):
        self.check("syscall_at")
