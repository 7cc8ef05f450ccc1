# test_run.py - what make run does once all is built.
#
# Runs in: the test runner.
#
# SPDX-License-Identifier: Apache-2.0
import os
import re
import subprocess

import shim

RUN = os.path.join(shim.ROOT, "scripts", "run.sh")


class Run(shim.TestCase):

    def run_script(self, *command, **env):
        shim.program("demo")  # built
        return subprocess.run([RUN, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120,
                              env=dict(os.environ, **env))

    def test_the_demo_is_shown_and_ends(self):
        r = self.run_script()
        self.assertEqual(0, r.returncode, r.stderr)
        for kind in ("heap", "allocs", r"profile\?seconds=3", "threadcreate"):
            self.assertRegex(r.stdout, r"(?m)^# .*\n\$ go tool pprof -top \S+/debug/pprof/%s\n" % kind)
        self.assertRegex(r.stdout, r"(?m)^ +\d\S+B .* order_book_grow$")
        self.assertRegex(r.stdout, r"(?m)^# session_cache_leak is the leak")
        self.assertRegex(r.stdout, r"(?m)^ .*m?s .* request_parse$", "in the CPU profile")
        self.assertRegex(r.stdout, r"(?m)^goroutine \d+ \[", "the dump")

    def test_a_command_keeps_its_output_and_status_and_the_address_is_told(self):
        port = shim.free_port()
        r = self.run_script("/bin/sh -c 'echo out; exit 7'", PPROF_ADDR="127.0.0.1:%d" % port)
        self.assertEqual(7, r.returncode)
        self.assertEqual("out\n", r.stdout)
        r = self.run_script("sleep 0.5", PPROF_ADDR="127.0.0.1:%d" % port)
        self.assertEqual(0, r.returncode)
        self.assertTrue(re.search(r"http://127\.0\.0\.1:%d/debug/pprof/" % port, r.stderr), r.stderr)
