# test_library.py - the file itself: what it exports, needs, and takes of every thread.
#
# Runs in: the test runner; reads build/libpprofshim.so with readelf and nm.
#
# SPDX-License-Identifier: Apache-2.0
import os
import re
import subprocess

import shim


def tool_output(*argv):
    r = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    if r.returncode:
        raise AssertionError("%s: %s" % (" ".join(argv), r.stderr))
    return r.stdout


class Library(shim.TestCase):

    def test_exports_are_the_hooks_and_nothing_else(self):
        with open(os.path.join(shim.ROOT, "shim", "hooks.def")) as f:
            table = set(re.findall(r"^HOOK[A-Z_]*\(\s*(\w+)", f.read(), re.M))
        lines = tool_output("nm", "-D", "--defined-only", shim.LIB).splitlines()
        exported = {line.split()[-1].split("@")[0] for line in lines if line.split()[1] != "A"}
        self.assertEqual(table, exported)
        self.assertGreater(len(table), 30)

    def test_the_hooks_asked_for_are_there(self):
        lines = tool_output("nm", "-D", "--defined-only", shim.LIB)
        exported = {line.split()[-1].split("@")[0] for line in lines.splitlines()}
        for name in """malloc calloc realloc reallocarray free posix_memalign aligned_alloc memalign valloc pvalloc
                       free_sized free_aligned_sized pthread_create dlopen dlclose _Znwm _Znam _ZnwmRKSt9nothrow_t
                       _ZnamRKSt9nothrow_t _ZnwmSt11align_val_t _ZnamSt11align_val_t _ZdlPv _ZdaPv _ZdlPvm _ZdaPvm
                       """.split():
            self.assertIn(name, exported)

    def test_never_wrapped(self):
        lines = tool_output("nm", "-D", "--defined-only", shim.LIB)
        exported = {line.split()[-1].split("@")[0] for line in lines.splitlines()}
        for name in ("vfork", "posix_spawn", "posix_spawnp", "getenv", "_Unwind_Backtrace", "backtrace", "inflate",
                     "unw_step", "protobuf_c_message_pack"):
            self.assertNotIn(name, exported)

    def test_needs_libc_alone(self):
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", tool_output("readelf", "-dW", shim.LIB))
        self.assertEqual(["libc.so.6"], needed)

    def test_thread_local_storage_is_small(self):
        sizes = re.findall(r"^\s*TLS\s+\S+ \S+ \S+ \S+ (\S+)", tool_output("readelf", "-lW", shim.LIB), re.M)
        self.assertLessEqual(sum(int(s, 16) for s in sizes), 64)

    def test_nothing_newer_than_glibc_2_17_is_needed(self):
        versions = re.findall(r"^.*UND .*@GLIBC_([\d.]+)", tool_output("readelf", "--dyn-syms", "-W", shim.LIB), re.M)
        self.assertGreater(len(versions), 3)
        self.assertEqual([], [v for v in versions if tuple(map(int, v.split("."))) > (2, 17)])
        self.assertNotIn("RELR", tool_output("readelf", "-dVW", shim.LIB), "packed relocations: glibc 2.36")

    def test_no_text_relocations_no_executable_stack(self):
        dynamic = tool_output("readelf", "-dW", shim.LIB)
        self.assertNotIn("TEXTREL", dynamic)
        m = re.search(r"GNU_STACK .* (R\S*)\s+0x", tool_output("readelf", "-lW", shim.LIB))
        self.assertNotIn("E", m.group(1))

    def test_hooks_keep_off_their_callers_stack(self):
        r = subprocess.run(
            [os.path.join(shim.ROOT, "scripts", "check-hooks")], capture_output=True, text=True, timeout=300
        )
        self.assertEqual(0, r.returncode, (r.stdout + r.stderr)[-800:])

    def test_wrong_hooks_are_refused(self):
        r = subprocess.run(
            [os.path.join(shim.ROOT, "scripts", "check-hooks"), "--self-test"],
            capture_output=True,
            text=True,
            timeout=300,
        )
        self.assertEqual(0, r.returncode, (r.stdout + r.stderr)[-800:])

    def test_layers(self):
        script = os.path.join(shim.ROOT, "scripts", "check-layers")
        if not os.path.exists(script):
            self.skipTest("no scripts/check-layers")
        r = subprocess.run([script], capture_output=True, text=True, cwd=shim.ROOT, timeout=300)
        self.assertEqual(0, r.returncode, (r.stdout + r.stderr)[-800:])
