# test_idle.py - what the hooks cost while nobody asks for anything: counted in instructions.
#
# Runs in: the test runner. The counts are callgrind's, which load does not change; test/bench/limits has the limits.
#
# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import sys

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

    def test_limits_name_hooks(self):
        self.assertEqual(set(), set(idle.limits()) - idle.hooks() - {idle.OTHERS})
