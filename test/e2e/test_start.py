# test_start.py - no program is kept from starting: by an older glibc, or by musl.
#
# Runs in: the test runner; programs for Debian 11 run in a folder with its libraries (scripts/old-libc.sh), by chroot.
# Each runs bare and under the shim, and must say the same; and what it must say is known.
#
# SPDX-License-Identifier: Apache-2.0
import filecmp
import os
import shutil
import subprocess
import unittest

import shim

LEFT_ALONE = (
    "pprofshim: this libc is not served yet (musl, or a glibc before 2.34): the program runs as without the library\n"
)


def same(test, bare, under, status):
    """Both ran: (status, output, errors), and ended with this status. Returns what they said."""
    test.assertEqual(bare, under)
    test.assertEqual((status, ""), (bare[0], bare[2]))
    return bare[1]


class Glibc231(shim.TestCase):

    def setUp(self):
        for tool in ("apt-get", "dpkg-deb", "chroot"):
            shim.tool(tool)
        self.root = os.path.join(shim.BUILD, "old-libc")
        self.enter = ["chroot", self.root] if os.geteuid() == 0 else ["unshare", "-r", "chroot", self.root]
        with shim.locked(self.root):
            r = subprocess.run(
                [os.path.join(shim.ROOT, "scripts", "old-libc.sh"), self.root],
                capture_output=True,
                text=True,
                timeout=300,
            )
            if r.returncode:
                self.skipTest("no Debian 11 to be had: %s" % r.stderr[-200:])
            if subprocess.run(self.enter + ["/bin/true"], capture_output=True).returncode:
                self.skipTest("only root can chroot here")
            self.library = os.path.join(self.root, "libpprofshim.so")
            if not os.path.exists(self.library) or not filecmp.cmp(shim.LIB, self.library, shallow=False):
                shutil.copy(shim.LIB, self.library + ".new")
                os.rename(self.library + ".new", self.library)

    def compile(self, name, source, *libraries):
        folders = [os.path.join(self.root, f) for f in ("usr/lib/x86_64-linux-gnu/", "lib/x86_64-linux-gnu/")]
        compiler = "gcc --sysroot=%s -B%s -L%s -L%s" % (self.root, folders[0], folders[0], folders[1])
        shim.compile_to(os.path.join(self.root, name), [source], list(libraries) + ["-Wl,--as-needed"], compiler)
        return "/" + name

    def run_in(self, argv, *settings):
        return shim.run(self.enter + ["/usr/bin/env"] + list(settings) + argv, env=shim.bare_env())

    def both(self, argv, status, *settings):
        return same(
            self, self.run_in(argv, *settings), self.run_in(argv, "LD_PRELOAD=/libpprofshim.so", *settings), status
        )

    def weak(self):
        return os.path.join(shim.PROGRAMS, "linked", "weak_threads.c")

    THREADS = ("-Wl,--no-as-needed", "-l:libpthread.so.0", "-l:libdl.so.2", "-l:librt.so.1")

    def test_a_shell_and_what_it_runs(self):
        out = self.both(
            ["/bin/sh", "-c", "echo out; ls /bin/sh; sleep 0.1; (exit 4); echo $?; cat /bin/sh | wc -c; exit 3"], 3
        )
        self.assertTrue(out.startswith("out\n/bin/sh\n4\n"), out)

    def test_a_program_with_threads(self):
        out = self.both([self.compile("threads", self.weak(), *self.THREADS)], 3)
        self.assertNotIn("not there", out)
        self.assertTrue(out.endswith("create 0\njoin 0\nsum 1000\n"), out)

    def test_a_program_without_threads_that_asks_whether_it_has_them(self):
        for bind in ([], ["LD_BIND_NOW=1"]):
            out = self.both([self.compile("no_threads", self.weak())], 3, *bind)
            self.assertIn("pthread_create not there\n", out)
            self.assertTrue(out.endswith("not there\nclock_nanosleep there\nsum 1000\n"), out)

    def test_a_program_without_threads_opens_a_library_that_has_them(self):
        host = self.compile("host", os.path.join(shim.PROGRAMS, "linked", "host.c"), "-l:libdl.so.2")
        self.compile(
            "libthreads.so",
            os.path.join(shim.PROGRAMS, "linked", "libthreads.c"),
            "-fPIC",
            "-shared",
            "-l:libpthread.so.0",
        )
        self.assertEqual("1000 by a thread\n", self.both([host, "/libthreads.so"], 0))

    def test_it_is_said_when_it_is_asked_for(self):
        status, out, err = self.run_in(["/bin/echo", "out"], "LD_PRELOAD=/libpprofshim.so", "PPROF_LOG=info")
        self.assertEqual((0, "out\n", LEFT_ALONE), (status, out, err))


class Functions(shim.TestCase):

    def test_a_program_with_functions_of_libc_of_its_own_is_not_called_before_it_starts(self):
        self.assertEqual((3, "started\n", ""), self.assert_same([shim.program("own_functions")]))
        self.assert_same([shim.program("own_functions")], env={"DISABLE_PPROF": "1"})

    def test_programs_with_sanitizers(self):
        for kind in ("thread", "address"):
            path = os.path.join(shim.BUILD, "programs", "clang_" + kind)
            try:
                shim.compile_to(path, [os.path.join(shim.PROGRAMS, "linked", "weak_threads.c")], ["-fsanitize=" + kind],
                                shim.tool("clang"))
            except RuntimeError as e:
                self.skipTest(str(e)[:200])
            with self.subTest(kind=kind):
                self.assertEqual(3, self.assert_same([path])[0])


class Musl(shim.TestCase):

    def compile(self, name, source, *flags):
        return shim.compile_to(
            os.path.join(shim.BUILD, "programs", "musl", name),
            [os.path.join(shim.PROGRAMS, "linked", source)],
            flags,
            shim.tool("musl-gcc"),
        )

    def both(self, argv, status):
        return same(self, shim.run_bare(argv), shim.run_shim(argv), status)

    def test_a_program_with_threads(self):
        out = self.both([self.compile("threads", "weak_threads.c")], 3)
        self.assertNotIn("not there", out)
        self.assertTrue(out.endswith("create 0\njoin 0\nsum 1000\n"), out)

    def test_a_program_that_opens_a_library(self):
        host = self.compile("host", "host.c")
        library = self.compile("libthreads.so", "libthreads.c", "-fPIC", "-shared")
        self.assertEqual("1000 by a thread\n", self.both([host, library], 0))

    def test_it_is_said_when_it_is_asked_for(self):
        status, out, err = shim.run_shim([self.compile("threads", "weak_threads.c")], env={"PPROF_LOG": "info"})
        self.assertEqual((3, LEFT_ALONE), (status, err))


if __name__ == "__main__":
    unittest.main()
