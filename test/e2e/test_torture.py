# test_torture.py - some seconds of the torture (test/torture/): things land at any instruction of any hook.
#
# Runs in: the test runner. `make torture MINUTES=10` is the same for longer.
#
# SPDX-License-Identifier: Apache-2.0
import os
import re
import sys

import shim

sys.path.insert(0, os.path.join(shim.ROOT, "test", "torture"))

import run as torture  # noqa: E402

SECONDS = 8


class Torture(shim.TestCase):

    def lands(self, mode):
        if os.uname().machine != "x86_64":
            self.skipTest("the stepper is for x86-64")
        status, text = torture.step(mode, SECONDS)
        self.assertEqual(0, status, text[-2500:])
        self.assertGreater(int(re.search(r"(\d+) landings", text).group(1)), 0, text)

    def test_a_signal_lands_in_any_instruction_of_a_hook(self):
        self.lands("signal")

    def test_another_thread_forks_at_any_instruction_of_a_hook(self):
        self.lands("fork")

    def test_a_request_comes_at_any_instruction_of_a_hook(self):
        self.lands("request")

    def test_a_signal_lands_in_a_hook_during_a_profile(self):
        self.lands("profile")

    def test_a_signal_lands_in_a_hook_during_a_trace(self):
        self.lands("trace")

    def test_storms_under_requests_without_pause(self):
        for name in torture.STORMS:
            with self.subTest(name):
                self.assertIsNone(torture.storm(name, 2))

    def test_every_hook_is_stepped_through(self):
        with open(os.path.join(shim.ROOT, "test", "bench", "rows.def")) as f:
            rows = set(re.findall(r"^[A-Z]+\((\w+)", f.read(), re.M))
        with open(os.path.join(shim.ROOT, "shim", "hooks.def")) as f:
            hooks = set(re.findall(r"^HOOK[A-Z_]*\(\s*(\w+)", f.read(), re.M))
        # pause blocks until a signal comes; io_getevents is of libaio; the others end who calls them.
        self.assertEqual({"pause", "io_getevents", "_exit", "_Exit", "abort"}, hooks - rows)
