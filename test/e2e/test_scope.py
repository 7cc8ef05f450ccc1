# test_scope.py - whose symbol a program gets: operators of plug-ins, versions of functions.
#
# Runs in: the test runner. Each program runs bare and under the shim, and must say the same; and what it must say is
# known.
#
# SPDX-License-Identifier: Apache-2.0
import os
import re
import subprocess
import unittest

import shim

STATIC = ["-static-libstdc++", "-static-libgcc"]
PIC = ["-fPIC", "-shared"]
# What 100 turns of the plug-ins answer: sizes 1 to 100 and two for each turn and one exception; blocks served and
# taken back.
USES_LIBSTDCXX, USES_POOL = 5050 + 200 + 1, 200


def plugin(name, source, flags):
    return shim.linked("lib%s.so" % name, [source], PIC + flags, folder="scope")


def plugins():
    """The kinds of C++ plug-ins by name, two of each kind that could be mixed up."""
    return {
        "shared": plugin("cxx_shared", "libcxx_plug.cc", []),
        "static_1": plugin("cxx_static_1", "libcxx_plug.cc", STATIC),
        "static_2": plugin("cxx_static_2", "libcxx_plug.cc", STATIC),
        "symbolic": plugin("cxx_symbolic", "libcxx_plug.cc", STATIC + ["-Wl,-Bsymbolic"]),
        "pool_1": plugin("cxx_pool_1", "libcxx_pool.cc", []),
        "pool_2": plugin("cxx_pool_2", "libcxx_pool.cc", STATIC),
    }


class Operators(shim.TestCase):

    def expect(self, host, mode, names, says):
        kinds = plugins()
        out = self.assert_same([host, mode] + [kinds[n] for n in names])[1]
        answers = re.findall(r"^lib\w+\.so: (\d+)$", out, re.M)
        self.assertEqual(
            [USES_POOL if n.startswith("pool") else USES_LIBSTDCXX for n in names],
            list(map(int, answers[: len(names)])),
        )
        self.assertTrue(out.startswith("operator new: %s, io_getevents: not there\n" % says), out)

    def c_host(self):
        return shim.linked("cxx_host_c", ["cxx_host.c"], folder="scope")

    def test_a_c_program_opens_plugins_with_operators_of_their_own_and_unloads_them(self):
        self.expect(
            self.c_host(), "local", ["static_1", "pool_1", "static_2", "pool_2", "shared", "symbolic"], "not there"
        )

    def test_a_c_program_keeps_plugins_with_operators_of_their_own(self):
        self.expect(
            self.c_host(), "local keep", ["pool_1", "static_1", "pool_2", "shared", "static_2", "symbolic"], "not there"
        )

    def test_each_pool_serves_its_own_plugin_alone(self):
        out = self.assert_same([self.c_host(), "local keep"] + [plugins()[n] for n in ("pool_1", "pool_2")])[1]
        self.assertEqual(["200", "200", "400", "400"], re.findall(r": (\d+)$", out, re.M))

    def test_plugins_that_bind_deeply(self):
        self.expect(self.c_host(), "deepbind", ["static_1", "pool_1", "static_2", "shared", "pool_2"], "not there")

    def test_plugins_in_name_spaces_of_their_own(self):
        self.expect(self.c_host(), "own keep", ["shared", "static_1", "pool_1"], "not there")

    def test_it_is_said_that_another_name_space_is_not_seen(self):
        for mode, said in (("own keep wait", True), ("local keep wait", False)):
            with shim.start([self.c_host(), mode, plugins()["shared"]]) as p:
                p.wait_line("ready")
                words = "allocations, waits and threads made there are not seen"
                self.assertEqual(said, words in p.get("/debug/pprof/").text, mode)
                for name in "heap", "allocs", "mutex", "block":
                    self.assertEqual(said, any(words in c for c in p.profile(name).comments), (mode, name))
                self.assertEqual(0, p.finish()[0])

    def test_a_cxx_program_gives_its_plugins_the_operators_that_it_has(self):
        # libstdc++'s, which come first for all: bare as well. A pool is served only where it is bound to itself.
        host = shim.linked("cxx_host_cxx", ["cxx_host.c"], ["-Wl,--no-as-needed", "-lstdc++"], folder="scope")
        kinds = plugins()
        for mode in ("local", "local keep", "deepbind keep"):
            out = self.assert_same(
                [host, mode] + [kinds[n] for n in ("static_1", "shared", "pool_1", "symbolic", "static_2")]
            )[1]
            self.assertTrue(out.startswith("operator new: there"), out)

    def test_under_every_way_of_sampling(self):
        kinds = plugins()
        argv = [self.c_host(), "local"] + [kinds[n] for n in ("static_1", "pool_1", "static_2", "pool_2", "shared")]
        self.assert_same(argv, rate=1)
        self.assert_same(argv, env={"DISABLE_PPROF": "1"})


def versions_of(library):
    """{symbol: {version: is it the one of now?}} of what a library defines."""
    r = subprocess.run(
        ["nm", "-D", "--defined-only", "--format=posix", library], capture_output=True, text=True, check=True
    )
    found = {}
    for line in r.stdout.splitlines():
        name, kind = line.split()[:2]
        symbol, at, version = name.partition("@")
        if at and kind in "TWi":
            found.setdefault(symbol, {})[version.lstrip("@")] = version.startswith("@")
    return found


def hooks():
    with open(os.path.join(shim.ROOT, "shim", "hooks.def")) as f:
        return sorted(set(re.findall(r"^HOOK[A-Z_]*\(\s*(\w+)", f.read(), re.M)))


class Functions(shim.TestCase):

    def test_a_program_finds_no_function_that_it_has_not(self):
        for env in (None, {"DISABLE_PPROF": "1"}):
            out = self.assert_same([shim.program("asks")] + hooks(), env=env)[1]
            self.assertIn("_Znwm: not there, next: not there\n", out)
            self.assertIn("malloc: there, next: there\n", out)


class Versions(shim.TestCase):

    def libc(self):
        for path in ("/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6"):
            if os.path.exists(path):
                return path
        raise unittest.SkipTest("no libc.so.6 where it is on x86-64")

    def test_a_hook_that_libc_has_in_several_versions_has_them_all(self):
        ours, libcs = versions_of(shim.LIB), versions_of(self.libc())
        several = {h for h in hooks() if len(libcs.get(h, {})) > 1}
        self.assertGreater(len(several), 20)
        for name in sorted(several):
            with self.subTest(name=name):
                self.assertEqual(set(libcs[name]), set(ours.get(name, {})))

    def test_old_condition_variables_get_the_old_functions(self):
        out = self.assert_same([shim.program("old_cond"), "versioned"])[1]
        self.assertEqual("versioned: 40000 turns, 0 bytes behind the old object\n", out)

    def test_a_reference_without_a_version_means_the_oldest(self):
        library = shim.linked("libunversioned.so", ["libunversioned.c"], PIC + ["-nostdlib"], folder="scope")
        host = shim.linked(
            "unversioned", ["unversioned.c", library], ["-Wl,-rpath," + os.path.dirname(library)], folder="scope"
        )
        self.assertEqual("1000 turns\n", self.assert_same([host])[1])

    def test_dlsym_and_dlvsym_find_a_version_that_works(self):
        out = self.assert_same([shim.program("old_cond"), "by_name"])[1]
        self.assertEqual(
            "pthread_cond_signal of 2.2.5 and 2.3.2 differ\npthread_create of 2.2.5: 0, of 2.34: 0, by dlsym: 0\n", out
        )


if __name__ == "__main__":
    unittest.main()
