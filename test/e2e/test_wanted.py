# test_wanted.py - PPROF_ONLY and PPROF_FOLLOW: which programs are served.
#
# Runs in: the test runner.
#
# SPDX-License-Identifier: Apache-2.0
import os
import sys

import shim

# Does the port of the environment's PPROF_ADDR answer?
ASK = """
import os, socket, sys
with socket.socket() as s:
    print("served" if s.connect_ex(("127.0.0.1", int(os.environ["PPROF_ADDR"].rsplit(":")[-1]))) == 0 else "bare")
"""


class Wanted(shim.TestCase):

    def asked(self, argv, **env):
        status, out, err = shim.run_shim([str(a) for a in argv], env=env)
        self.assertEqual((0, ""), (status, err))
        return out.split()

    def test_only_the_named_programs_are_served(self):
        exe = os.path.basename(os.path.realpath(sys.executable))
        link = os.path.join(shim.scratch("wanted"), "some-service")
        os.symlink(os.path.realpath(sys.executable), link)
        for only, what in ((exe, "served"), ("nginx, %s ,x" % exe, "served"), ("", "served"), ("nginx", "bare"),
                           (exe[:-1], "bare"), (exe + "x", "bare"), (",", "bare"), ("some-service", "bare")):
            self.assertEqual([what], self.asked([os.path.realpath(sys.executable), "-c", ASK], PPROF_ONLY=only), only)
        self.assertEqual(["served"], self.asked([link, "-c", ASK], PPROF_ONLY="some-service"))

    def test_a_script_is_known_by_its_own_name(self):
        script = os.path.join(shim.scratch("wanted"), "my-service")
        with open(script, "w") as f:
            f.write("#!%s\n%s" % (os.path.realpath(sys.executable), ASK))
        os.chmod(script, 0o755)
        self.assertEqual(["served"], self.asked([script], PPROF_ONLY="my-service"))
        self.assertEqual(["bare"], self.asked([script], PPROF_ONLY="other-service"))

    def test_a_program_that_is_not_named_runs_as_bare(self):
        count = "set -- $(cat /proc/$$/task/$$/children); echo $#; :"  # the cat's own shell is one
        self.assertEqual(["1"], self.asked(["sh", "-c", count], PPROF_ONLY="x"))
        self.assertEqual(["2"], self.asked(["sh", "-c", count], PPROF_ONLY="sh"))

    def test_behind_an_entry_point_that_is_not_named_the_named_one_is_the_first(self):
        exe = os.path.realpath(sys.executable)
        for follow in ("1", "0"):
            self.assertEqual(["served"], self.asked(["sh", "-c", '"$0" -c "$1"; :', exe, ASK], PPROF_FOLLOW=follow,
                                                    PPROF_ONLY=os.path.basename(exe)))

    def test_without_follow_what_a_served_program_starts_is_not_served(self):
        exe = os.path.realpath(sys.executable)
        end = "; import os; os.execv(%r, [%r, '-c', %r])" % (exe, exe, ASK)
        child = "import subprocess; subprocess.run([%r, '-c', %r], env=dict(os.environ, PPROF_ADDR=%%r))" % (exe, ASK)
        port = "127.0.0.1:%d" % shim.free_port()
        code = "import os; " + child % port
        self.assertEqual(["bare"], self.asked([exe, "-c", code], PPROF_FOLLOW="0"))
        self.assertEqual(["served"], self.asked([exe, "-c", code], PPROF_FOLLOW=""))
        self.assertEqual(["served"], self.asked([exe, "-c", "pass" + end], PPROF_FOLLOW="0"))  # the same process
