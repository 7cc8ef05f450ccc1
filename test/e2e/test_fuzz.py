# test_fuzz.py - the fuzz targets of what strangers send: they are built, and no input of half a minute breaks one.
#
# Runs in: the test runner. They run at once and at the lowest priority, in the time that other tests leave; `make fuzz`
# runs all targets for longer, one after the other.
#
# SPDX-License-Identifier: Apache-2.0
import os
import re
import shutil
import subprocess

import shim

TARGETS = ("access", "door", "merge", "tls", "token")
SECONDS = 30


def folder():
    return os.path.join(shim.BUILD, "fuzz")


class Fuzz(shim.TestCase):

    def begin(self, target, corpus, log):
        # The seed is fixed. A unit has no short deadline of its own: on a busy machine each takes long.
        argv = ["/usr/bin/nice", "-n", "19", os.path.join(folder(), target), "-seed=1", "-detect_leaks=0",
                "-max_total_time=%d" % SECONDS, "-timeout=120", "-max_len=65536", "-print_final_stats=1",
                "-artifact_prefix=%s/%s-" % (folder(), target), corpus]
        if subprocess.run(["setarch", "-R", "true"], capture_output=True).returncode == 0:
            argv = ["setarch", "-R"] + argv  # clang 14's sanitizer and newer kernels disagree about addresses
        with open(log, "wb") as f:
            return subprocess.Popen(argv, env=shim.bare_env(), stdin=subprocess.DEVNULL, stdout=f,
                                    stderr=subprocess.STDOUT)

    def test_no_input_of_half_a_minute_breaks_what_strangers_send(self):
        if not all(os.path.exists(os.path.join(folder(), t)) for t in TARGETS):
            self.skipTest("they are not built: make fuzz-build does it, and make test")
        logs, running = shim.scratch("fuzz"), []
        try:
            for target in TARGETS:
                corpus = os.path.join(logs, "corpus-" + target)
                shutil.copytree(os.path.join(folder(), "corpus", target), corpus)
                running.append((target, self.begin(target, corpus, os.path.join(logs, target))))
            for target, child in running:
                status = child.wait(timeout=600)
                with open(os.path.join(logs, target), errors="backslashreplace") as f:
                    said = f.read()
                with self.subTest(target=target):
                    self.assertEqual(0, status, said[-3000:])
                    self.assertGreater(int(re.search(r"number_of_executed_units: (\d+)", said)[1]), 1, said[-3000:])
        finally:
            for _, child in running:
                child.kill()
                child.wait()

    test_no_input_of_half_a_minute_breaks_what_strangers_send.long_s = 32
