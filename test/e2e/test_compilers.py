# test_compilers.py - the library as other compilers than the default one build it.
#
# Runs in: the test runner. Each compiler has a folder of its own below build/; libunwind is the one that is there.
#
# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import unittest.mock

import shim
import test_lint
import test_stacks


def build(compiler, *targets):
    """The build folder of that compiler, with these targets made. A warning is an error."""
    path = shim.tool(compiler)
    folder = os.path.join("build", "by-" + compiler)
    with shim.locked(os.path.join(shim.ROOT, folder)):
        r = subprocess.run(["make", "-j2", "CC=" + path, "B=" + folder, "CI=true"] + list(targets), cwd=shim.ROOT,
                           env=test_lint.bare_of_make(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if r.returncode:
        raise AssertionError("make CC=%s: %s" % (compiler, r.stdout[-4000:]))
    return os.path.join(shim.ROOT, folder)


class Clang(test_stacks.Painted):
    """Among these tests: its hooks with all samples kept, on painted stacks."""

    def setUp(self):
        library = os.path.join(build("clang", "all"), "libpprofshim.so")
        patch = unittest.mock.patch.object(shim, "LIB", library)
        patch.start()
        self.addCleanup(patch.stop)

    def functions(self, p, *request):
        return {name for sample in p.profile(*request).samples for name in sample.names}

    def test_hooks_and_layers_keep_the_rules(self):
        folder = build("clang", "all")
        for check in ("check-hooks", "check-layers"):
            r = subprocess.run([os.path.join(shim.ROOT, "scripts", check)], cwd=shim.ROOT, text=True,
                               env=dict(os.environ, BUILD=folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(0, r.returncode, r.stdout[-800:])

    def test_programs_run_and_are_profiled(self):
        with shim.start([shim.program("demo"), "60"], rate=4096) as p:
            self.assertIn("request_parse", self.functions(p, "profile", "seconds=1"))
            self.assertIn("session_cache_leak", self.functions(p, "heap"))

    def test_unit_tests_are_built_without_a_warning(self):
        """Not optimized, as that takes half the time; their stacks are larger so."""
        build("clang", "unit-build", "CFLAGS=-O0", "LOW_STACK=")

    test_hooks_and_layers_keep_the_rules.long_s = 60
    test_unit_tests_are_built_without_a_warning.long_s = 100
