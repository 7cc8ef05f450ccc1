# test_symbolize.py - the program pprofshim-symbolize by hand: functions, files, lines and inlined calls as
# llvm-symbolizer has them, wherever the debug information is; profiles that were saved without lines completed.
#
# Runs in: the test runner. Programs are built once, into build/programs/symbols.
#
# SPDX-License-Identifier: Apache-2.0
import glob
import os
import re
import shutil
import struct
import subprocess

import shim
import symbolized
from symbolized import build

EQUAL = 0.995
COMPRESSED, ZSTD = 0x800, 2  # ELF's flag of a section, and the method in its header


class Compared(shim.TestCase):

    def compare(self, path, oracle=None, debug_dir=None, args=(), env=None, lines=True, inlined=True):
        """2000 addresses anywhere and 2000 in functions of `path`: as llvm-symbolizer finds them in `oracle`, a file
        of the same code; the outermost function's name may also be what it is to LLVM in `path` (of which it does not
        read the symbols of debug files, in debug_dir or where LLVM looks by itself). lines: the answers must have
        some, and (inlined) chains."""
        elf = symbolized.Elf(path)
        known = symbolized.Elf(oracle) if oracle else elf
        reasons = []
        for what, addresses in (("anywhere", symbolized.random_addresses(elf)),
                                ("in functions", symbolized.random_in_functions(known))):
            if not addresses:
                continue
            expected = symbolized.llvm(known, addresses)
            self.assertEqual(len(addresses), len(expected), "llvm-symbolizer's answers")
            also = symbolized.llvm(elf, addresses, debug_dir) if oracle else None
            c = symbolized.Comparison(known, expected, symbolized.helper(path, addresses, *args, env=env), also)
            if what == "in functions":
                # The test itself: it would compare nothing with nothing.
                self.assertGreater(c.known, 0.9 * c.count, "addresses that llvm-symbolizer knows a function of")
                if lines:
                    self.assertGreater(
                        sum(any(f.line for f in e) for e in expected.values()), 0.3 * c.count, "with lines"
                    )
                if lines and inlined:
                    self.assertGreater(c.inlined, 0.01 * c.count, "with inlined calls")
            if os.environ.get("PPROFSHIM_SHOW"):
                print("%s %s %s: %s" % (self.id(), os.path.basename(path), what, c.differences(5)), flush=True)
            if c.share < EQUAL:
                reasons.append("%s, %s: %s" % (os.path.basename(path), what, c.differences()))
        if reasons:
            self.fail(" || ".join(reasons))


# ---- programs of the distribution -------------------------------------------------------------------------

def path_of(*patterns):
    for p in patterns:
        for found in sorted(glob.glob(p)):
            if os.access(found, os.R_OK):
                return os.path.realpath(found)
    raise shim.unittest.SkipTest(patterns[0] + " is not installed")


class Distribution(Compared):
    """Mostly stripped: .dynsym, and whatever -dbgsym packages are installed."""

    def check(self, path):
        """By the debug file, if there is one."""
        build_id = symbolized.Elf(path).build_id or "none"
        debug = "%s/.build-id/%s/%s.debug" % (symbolized.DEBUG, build_id[:2], build_id[2:])
        has_lines = os.path.exists(debug)
        self.compare(path, oracle=debug if has_lines else None, debug_dir=symbolized.DEBUG, lines=has_lines)
        return has_lines

    def test_redis_server(self):
        self.check(path_of("/usr/bin/redis-server"))

    def test_python3(self):
        self.check(path_of("/usr/bin/python3.11", "/usr/bin/python3"))

    def test_sqlite3(self):
        self.check(path_of("/usr/lib/*/libsqlite3.so.0"))

    def test_cc1plus(self):
        r = subprocess.run([shim.tool("g++"), "-print-prog-name=cc1plus"], capture_output=True, text=True, timeout=60)
        self.check(path_of(r.stdout.strip()))

    def test_node(self):
        self.check(path_of("/usr/bin/node"))

    test_node.long_s = 10

    def test_postgres(self):
        self.check(path_of("/usr/lib/postgresql/*/bin/postgres"))

    def test_libc_with_its_debug_file(self):
        if not self.check(path_of("/lib/x86_64-linux-gnu/libc.so.6", "/lib/*-linux-gnu/libc.so.6")):
            self.skipTest("libc6-dbg is not installed, or not that of this libc")

    def test_libstdcxx(self):
        self.check(path_of("/usr/lib/*/libstdc++.so.6"))


# ---- programs built here ------------------------------------------------------------------------------------

C = ["-Wall", "-pthread"]


def c_program(name, *flags, compiler="gcc"):
    return build(name, ["many.c"], [compiler, *C, *flags, "{many_c}", "-o", "{o}"])


def cxx_program(name, *flags, compiler="g++"):
    return build(name, ["many.cc"], [compiler, *C, "-std=c++17", *flags, "{many_cc}", "-o", "{o}"])


class Built(Compared):

    def check_both(self, name, *flags, compilers=("gcc", "g++"), **more):
        for path in (c_program(name + "_c", *flags, compiler=compilers[0]),
                     cxx_program(name + "_cxx", *flags, compiler=compilers[1])):
            with self.subTest(path=os.path.basename(path)):
                self.compare(path, **more)

    def check_clang(self, name, *flags, **more):
        self.check_both(name, *flags, compilers=("clang", "clang++"), **more)

    def test_gcc(self):
        self.check_both("gcc", "-O2", "-g")

    def test_gcc_unoptimised(self):
        self.check_both("gcc_O0", "-O0", "-g", inlined=False)

    def test_gcc_most_optimised(self):
        self.check_both("gcc_O3", "-O3", "-g", "-funroll-loops", "-freorder-blocks-and-partition")

    def test_gcc_small_and_sections(self):
        self.check_both("gcc_Os", "-Os", "-g", "-ffunction-sections", "-Wl,--gc-sections")

    def test_gcc_no_pie(self):
        self.check_both("gcc_no_pie", "-O2", "-g", "-no-pie")

    def test_gcc_dwarf2(self):
        self.check_both("gcc_dwarf2", "-O2", "-gdwarf-2")

    def test_gcc_dwarf3(self):
        self.check_both("gcc_dwarf3", "-O2", "-gdwarf-3")

    def test_gcc_dwarf4(self):
        self.check_both("gcc_dwarf4", "-O2", "-gdwarf-4")

    def test_gcc_dwarf5(self):
        self.check_both("gcc_dwarf5", "-O2", "-gdwarf-5")

    def test_gcc_type_units(self):
        self.check_both("gcc_types", "-O2", "-g", "-fdebug-types-section")

    def test_gcc_lines_only(self):
        self.check_both("gcc_g1", "-O2", "-g1", inlined=False)

    def test_gcc_compressed(self):
        self.check_both("gcc_gz", "-O2", "-g", "-gz")

    def zstd(self):
        """(A program, the same with its sections packed by zstd.)"""
        whole = build("zstd_whole", ["many.c"], ["gcc", "-O2", "-g", "{many_c}", "-o", "{o}"])
        path = build("zstd", [whole], ["objcopy", "--compress-debug-sections=zstd", whole, "{o}"])
        return whole, path

    def test_sections_packed_by_zstd(self):
        whole, path = self.zstd()
        for name in (".debug_info", ".debug_line", ".debug_str"):
            section = symbolized.Elf(path).sections[name]
            with open(path, "rb") as f:
                f.seek(section.offset)
                self.assertEqual((COMPRESSED, ZSTD), (section.flags & COMPRESSED, struct.unpack("<I", f.read(4))[0]))
        self.compare(path, oracle=whole)

    def test_damaged_sections_packed_by_zstd(self):
        """The helper lives, says what is wrong (of contents, zstd need not know), and knows functions by the symbol
        table."""
        info = symbolized.Elf(self.zstd()[1]).sections[".debug_info"]
        with open(self.zstd()[1], "rb") as f:
            good = f.read()
        folder = shim.scratch("zstd")
        middle = info.offset + info.size // 2
        for name, at, new in (("magic", info.offset + 24, b"none"), ("data", middle, b"\xff" * 64),
                              ("size", info.offset + 8, struct.pack("<Q", 1 << 60)),
                              ("smaller", info.offset + 8, struct.pack("<Q", 100)),
                              ("other", info.offset, struct.pack("<I", 77))):
            with self.subTest(name):
                path = os.path.join(folder, name)
                with open(path, "wb") as f:
                    f.write(good[:at] + new + good[at + len(new):])
                r = subprocess.run([symbolized.HELPER, "-f", path, "%#x" % self.function(path, "main")],
                                   capture_output=True, text=True, timeout=60, env=shim.bare_env())
                self.assertEqual((0, "main\n"), (r.returncode, r.stdout[:5]), r.stderr)
                if name != "data":
                    self.assertRegex(r.stderr, "zstd")

    def function(self, path, name):
        return next(a for a, _, n in symbolized.Elf(path).symbols if n == name)

    def test_gcc_compressed_the_old_way(self):
        self.check_both("gcc_gz_gnu", "-O2", "-g", "-gz=zlib-gnu")

    def test_gcc_lto(self):
        self.check_both("gcc_lto", "-O2", "-g", "-flto")

    def test_clang(self):
        self.check_clang("clang", "-O2", "-g")

    def test_clang_dwarf4(self):
        self.check_clang("clang_dwarf4", "-O2", "-gdwarf-4")

    def test_clang_lines_only(self):
        self.check_clang("clang_g1", "-O2", "-gline-tables-only")

    def test_clang_lto(self):
        if not glob.glob("/usr/lib/llvm-*/lib/LLVMgold.so"):
            self.skipTest("there is no LLVMgold.so (package llvm)")
        self.check_clang("clang_lto", "-O2", "-g", "-flto=thin")

    def test_clang_ranges(self):
        self.check_clang("clang_sections", "-O2", "-g", "-ffunction-sections", "-mllvm", "-hot-cold-split=true")

    def test_the_shim_itself(self):
        self.compare(os.path.join(shim.BUILD, "libpprofshim.debug.so"))

    def test_rust(self):
        for name, flags in (("rust", ["-O"]), ("rust_v0", ["-O", "-C", "symbol-mangling-version=v0"]), ("rust_O0", [])):
            with self.subTest(name):
                path = build(name, ["many.rs"], ["rustc", "-g", *flags, "--crate-name", "many", "{many_rs}",
                                                 "-o", "{o}"])
                self.compare(path)

    # -- split

    def split(self, name, compilers, *flags):
        """Linked from an object file whose debug information stays in a .dwo file beside it: [(program, the same not
        split)]."""
        pairs = []
        for source, compiler in zip(("many.c", "many.cc"), compilers):
            full = "%s_%s" % (name, "c" if source == "many.c" else "cxx")
            with self.subTest(full):
                language = ["-std=c++17"] if source == "many.cc" else []
                path = build(
                    full,
                    [source],
                    [
                        compiler,
                        *C,
                        *language,
                        "-O2",
                        *flags,
                        "-gsplit-dwarf",
                        "-c",
                        "{%s}" % source.replace(".", "_"),
                        "-o",
                        "many.o",
                    ],
                    [compiler, "many.o", "-o", "{o}"],
                )
                whole = build(full + "_whole", [source],
                              [compiler, *C, *language, "-O2", *flags, "{%s}" % source.replace(".", "_"), "-o", "{o}"])
                self.assertTrue(glob.glob(os.path.join(os.path.dirname(path), "*.dwo")), "a .dwo file")
                self.assertEqual(symbolized.Elf(whole).executable(), symbolized.Elf(path).executable(), "the same code")
                pairs.append((path, whole))
                self.compare(path, oracle=whole)
        return pairs

    def test_gcc_split(self):
        self.split("gcc_split", ("gcc", "g++"), "-g")

    def test_gcc_split_dwarf4(self):
        self.split("gcc_split4", ("gcc", "g++"), "-gdwarf-4")

    def test_clang_split(self):
        self.split("clang_split", ("clang", "clang++"), "-g")

    def test_split_and_packed_by_zstd(self):
        for path, whole in self.split("gcc_split_zstd", ("gcc",), "-g"):
            dwo, = glob.glob(os.path.join(os.path.dirname(path), "*.dwo"))
            subprocess.run(["objcopy", "--compress-debug-sections=zstd", dwo], check=True)
            section = symbolized.Elf(dwo).sections[".debug_info.dwo"]
            with open(dwo, "rb") as f:
                f.seek(section.offset)
                self.assertEqual((COMPRESSED, ZSTD), (section.flags & COMPRESSED, struct.unpack("<I", f.read(4))[0]))
            self.compare(path, oracle=whole)

    def test_split_without_its_dwo_still_has_functions(self):
        for name, source, compiler in (("lone_c", "many.c", "gcc"), ("lone_cxx", "many.cc", "g++")):
            path = build(
                name,
                [source],
                [compiler, "-O2", "-g", "-gsplit-dwarf", "-c", "{%s}" % source.replace(".", "_"), "-o", "many.o"],
                [compiler, "many.o", "-o", "{o}"],
                ["rm", "many.dwo"],
            )
            addresses = symbolized.random_in_functions(symbolized.Elf(path), count=200)
            answers = symbolized.helper(path, addresses)
            known = sum(bool(a) and bool(a[-1].function) for a in answers.values())
            self.assertGreater(known, 0.95 * len(addresses), "functions by .symtab")

    # -- debug information elsewhere

    def separate(self, name, *more, flags=("-O2", "-g")):
        """(whole, its folder) of a C++ program with its own build folder."""
        return cxx_program("whole_" + name, *flags, "-Wl,--build-id=sha1", *more)

    def test_dwz(self):
        whole = self.separate("dwz")
        path = build("dwz_one", [whole], ["cp", whole, "{o}"], ["dwz", "{o}"])
        self.assertLess(
            symbolized.Elf(path).sections[".debug_info"].size, symbolized.Elf(whole).sections[".debug_info"].size
        )
        self.compare(path, oracle=whole)

    def test_dwz_dwarf4(self):
        whole = self.separate("dwz4", flags=("-O2", "-gdwarf-4"))
        self.compare(build("dwz_one4", [whole], ["cp", whole, "{o}"], ["dwz", "{o}"]), oracle=whole)

    def test_dwz_with_a_common_file(self):
        for version in ("4", "5"):
            with self.subTest(version=version):
                a = self.separate("dwz_a" + version, flags=("-O2", "-gdwarf-" + version))
                b = self.separate("dwz_b" + version, flags=("-O1", "-gdwarf-" + version))
                path = build("dwz_many" + version, [a, b], ["cp", a, "{o}"], ["cp", b, "b"],
                             ["dwz", "-m", "common.debug", "{o}", "b"])
                self.assertIn(".gnu_debugaltlink", symbolized.Elf(path).sections)
                self.compare(path, oracle=a)

    def test_stripped_by_build_id(self):
        whole = self.separate("by_id")
        build_id = symbolized.Elf(whole).build_id
        there = ".build-id/%s/%s.debug" % (build_id[:2], build_id[2:])
        path = build("by_id", [whole], ["mkdir", "-p", "debug/.build-id/" + build_id[:2]],
                     ["objcopy", "--only-keep-debug", whole, "debug/" + there], ["strip", "-o", "{o}", whole])
        debug = os.path.join(os.path.dirname(path), "debug")
        self.assertNotIn(".symtab", symbolized.Elf(path).sections)
        self.compare(path, oracle=whole, debug_dir=debug, args=["--debug-dirs", "/nonexistent:" + debug])
        self.compare(path, oracle=whole, debug_dir=debug, env={"PPROF_DEBUG_DIRS": debug + ":/nonexistent"})

    def test_another_build_id_is_not_taken(self):
        whole, other = self.separate("by_id"), self.separate("other_id", flags=("-O1", "-g"))
        build_id = symbolized.Elf(whole).build_id
        path = build(
            "wrong_id",
            [whole, other],
            ["mkdir", "-p", "debug/.build-id/" + build_id[:2]],
            ["objcopy", "--only-keep-debug", other, "debug/.build-id/%s/%s.debug" % (build_id[:2], build_id[2:])],
            ["objcopy", "--strip-debug", whole, "{o}"],
        )
        debug = os.path.join(os.path.dirname(path), "debug")
        self.compare(path, args=["--debug-dirs", debug], lines=False)

    def test_stripped_by_debuglink(self):
        whole = self.separate("by_link", "-Wl,--build-id=none")
        path = build("by_link", [whole], ["objcopy", "--only-keep-debug", whole, "by_link.debug"],
                     ["objcopy", "--strip-all", "--add-gnu-debuglink=by_link.debug", whole, "{o}"])
        self.assertIsNone(symbolized.Elf(path).build_id)
        self.compare(path, oracle=whole)

    def test_debuglink_in_the_folders_named_for_it(self):
        whole = self.separate("by_link", "-Wl,--build-id=none")
        hidden = build("by_link_hidden", [whole], ["mkdir", ".debug"],
                       ["objcopy", "--only-keep-debug", whole, ".debug/by_link.debug"],
                       ["objcopy", "--strip-all", "--add-gnu-debuglink=.debug/by_link.debug", whole, "{o}"])
        self.compare(hidden, oracle=whole)
        path = build(
            "by_link_dirs",
            [whole],
            ["mkdir", "debug"],
            ["objcopy", "--only-keep-debug", whole, "debug/by_link.debug"],
            ["objcopy", "--strip-all", "--add-gnu-debuglink=debug/by_link.debug", whole, "{o}"],
        )
        folder = os.path.dirname(path)
        deep = os.path.join(folder, "debug" + folder)
        os.makedirs(deep, exist_ok=True)
        shutil.move(os.path.join(folder, "debug", "by_link.debug"), deep) if not os.listdir(deep) else None
        self.compare(path, oracle=whole, debug_dir=os.path.join(folder, "debug"),
                     args=["--debug-dirs", os.path.join(folder, "debug")])

    def test_a_debuglink_of_another_checksum_is_not_taken(self):
        whole = self.separate("by_link", "-Wl,--build-id=none")
        other = self.separate("other_link", "-Wl,--build-id=none", flags=("-O1", "-g"))
        path = build("wrong_link", [whole, other], ["objcopy", "--only-keep-debug", whole, "wrong_link.debug"],
                     ["objcopy", "--strip-debug", "--add-gnu-debuglink=wrong_link.debug", whole, "{o}"],
                     ["objcopy", "--only-keep-debug", other, "wrong_link.debug"])
        bare = build("wrong_link_bare", [whole], ["objcopy", "--strip-debug", whole, "{o}"])
        self.compare(path, oracle=bare, lines=False)

    def test_stripped_and_compressed_debug_file(self):
        whole = self.separate("by_gz")
        path = build(
            "by_gz",
            [whole],
            ["objcopy", "--only-keep-debug", "--compress-debug-sections", whole, "by_gz.debug"],
            ["objcopy", "--strip-all", "--add-gnu-debuglink=by_gz.debug", whole, "{o}"],
        )
        self.compare(path, oracle=whole)

    def test_minidebuginfo(self):
        # As Fedora does: a second ELF file with nothing but .symtab's functions, compressed, in a section of the first.
        shim.tool("xz")
        whole = self.separate("mini", flags=("-O2", "-g"))
        path = build(
            "mini",
            [whole],
            ["objcopy", "--only-keep-debug", whole, "mini.debug"],
            [
                "sh",
                "-c",
                "nm -f posix --defined-only %s | awk '$2 ~ /[TtWwiuV]/ {{ print $1 }}' | sort -u >names" % whole,
            ],
            ["objcopy", "-S", "--remove-section", ".comment", "--keep-symbols=names", "mini.debug", "mini_debuginfo"],
            ["xz", "-f", "mini_debuginfo"],
            ["objcopy", "--strip-all", "--add-section", ".gnu_debugdata=mini_debuginfo.xz", whole, "{o}"],
        )
        bare = build("mini_bare", [whole], ["objcopy", "--strip-debug", whole, "{o}"])
        self.assertNotIn(".symtab", symbolized.Elf(path).sections)
        self.compare(path, oracle=bare, lines=False)


# ---- names of what no other file can call ------------------------------------------------------------------

class Scopes(shim.TestCase):
    """Functions without a linker's name, mostly inlined, have the names of what they are in."""

    def names(self, path, section=".text"):
        """{(system name, name)} of all frames at all addresses."""
        s = symbolized.Elf(path).sections[section]
        asked = "o -\np %s\n" % path + "".join("a %x\n" % a for a in range(s.address, s.address + s.size))
        r = subprocess.run([symbolized.HELPER, "--pipe"], input=asked.encode(), capture_output=True, timeout=120,
                           env=shim.bare_env())
        lines = r.stdout.decode().splitlines()
        self.assertEqual("e", lines[-1])
        return {tuple(line.split("\t")[2:]) for line in lines if line.startswith("f ")}

    def check_cxx(self, name, *flags, compiler="g++", function="second::work", lambda_="{lambda#1}"):
        path = build("scopes_" + name, ["scopes.cc"], [compiler, *flags, "{scopes_cc}", "-o", "{o}"])
        names = {n for _, n in self.names(path)}
        for n in ("first::(anonymous namespace)::Job::run", "first::(anonymous namespace)::Job::Part::run",
                  "first::(anonymous namespace)::Box<int>::open", "first::(anonymous namespace)::step",
                  "second::(anonymous namespace)::Job::run", "second::inner::step", function + "::Local::run",
                  function + "::%s::operator()" % lambda_, "first::work", "second::work", "main", "sink"):
            self.assertIn(n, names)
        for n in ("run", "open", "step", "operator()", "work"):
            self.assertNotIn(n, names)

    def test_gcc(self):
        self.check_cxx("gcc", "-O2", "-g")

    def test_gcc_dwarf4(self):
        self.check_cxx("gcc4", "-O1", "-g", "-gdwarf-4")

    def test_gcc_type_units(self):
        self.check_cxx("types", "-O2", "-g", "-fdebug-types-section")

    def test_gcc_lto(self):
        self.check_cxx("lto", "-O2", "-g", "-flto")

    def test_gcc_split(self):
        self.check_cxx("split", "-O2", "-g", "-gsplit-dwarf")

    def test_clang(self):
        self.check_cxx("clang", "-O2", "-g", "-Wno-unknown-attributes", compiler="clang++",
                       function="second::work(int)", lambda_="$_0")

    def test_out_of_line_functions_are_as_the_symbol_table_has_them(self):
        path = build("scopes_bare", ["scopes.cc"], ["g++", "-O0", "-g", "-DALWAYS=", "{scopes_cc}", "-o", "{o}"])
        names = self.names(path)
        self.assertIn(("_ZN5first4workEi", "first::work"), names)
        self.assertIn(("_ZZN6second4workEiENKUliE_clEi", "second::work(int)::{lambda(int)#1}::operator()"), names)

    def test_debug_information_alone(self):
        """Without a symbol table functions that are not inlined have no linker's name either."""
        path = build("scopes_stripped", ["scopes.cc"],
                     ["g++", "-O1", "-g", "-fno-inline", "-DALWAYS=", "{scopes_cc}", "-o", "whole"],
                     ["objcopy", "--strip-all", "--keep-section=.debug*", "whole", "{o}"])
        names = {n for _, n in self.names(path)}
        self.assertIn("first::(anonymous namespace)::Job::run", names)
        self.assertIn("second::(anonymous namespace)::Job::run", names)

    def test_c_has_no_scopes(self):
        path = build("scopes_nested", ["nested.c"], ["gcc", "-O1", "-g", "{nested_c}", "-o", "{o}"])
        names = {n for _, n in self.names(path)}
        self.assertIn("inner", names)

    def test_fortran(self):
        path = build("scopes_fortran", ["scopes.f90"], ["gfortran", "-O2", "-g", "{scopes_f90}", "-o", "{o}"])
        names = {n for _, n in self.names(path)}
        self.assertIn("grid::relax", names)


# ---- the command -------------------------------------------------------------------------------------------

class Command(shim.TestCase):

    def say(self, *args, status=0, env=None):
        r = subprocess.run([symbolized.HELPER, *map(str, args)], capture_output=True, text=True, timeout=60,
                           env=shim.bare_env(env), stdin=subprocess.DEVNULL)
        self.assertEqual(status, r.returncode, r.stderr)
        return r.stdout if status == 0 else r.stderr

    def inlined(self):
        """A program, an address with inlined calls, and llvm-symbolizer's frames of it."""
        path = cxx_program("gcc_cxx", "-O2", "-g")
        addresses = symbolized.random_in_functions(symbolized.Elf(path), count=500)
        known = symbolized.llvm(symbolized.Elf(path), addresses)
        for a in addresses:
            f = known[a]
            if len(f) >= 3 and all(x.function.startswith("_Z") and x.line for x in f):
                return path, a, f
        self.fail("no such address")

    def test_as_addr2line(self):
        path, a, frames = self.inlined()
        lines = self.say("-f", path, "%#x" % a).splitlines()
        self.assertEqual([f.function for f in frames], lines[0::2])
        places = [re.match(r"(.*):(\d+)", x) for x in lines[1::2]]
        self.assertEqual(
            [(f.file, f.line) for f in frames], [(os.path.normpath(m.group(1)), int(m.group(2))) for m in places]
        )
        bare = self.say(path, "%x" % a).splitlines()
        self.assertEqual(lines[1::2], bare, "lines alone, without -f; and an address without 0x")
        named = self.say("-f", "-C", path, "%#x" % a).splitlines()
        for mangled, plain in zip(lines[0::2], named[0::2]):
            self.assertNotIn("_Z", plain)
            self.assertEqual(shim.simplified(mangled), shim.simplified(plain))

    def test_several_addresses_stay_in_order(self):
        path, a, frames = self.inlined()
        out = self.say("-a", "-f", path, "%#x" % a, "0x0", "%#x" % a, "0x1")
        heads = [int(x, 16) for x in out.splitlines() if re.fullmatch("0x[0-9a-f]+", x)]
        self.assertEqual([a, 0, a, 1], heads)
        self.assertRegex(out, r"(?m)^0x0+\n\?\?\n\?\?:[0?]\n")

    def test_errors_are_told(self):
        self.assertIn("nonexistent", self.say("/nonexistent", "0x1", status=1))
        self.assertTrue(self.say("/etc/passwd", "0x1", status=1))
        folder = shim.scratch("bad")
        for name, data in (
            ("empty", b""),
            ("short", b"\x7fELF\x02\x01\x01"),
            ("noise", b"\x7fELF" + bytes(range(256)) * 40),
        ):
            path = os.path.join(folder, name)
            with open(path, "wb") as f:
                f.write(data)
            self.assertTrue(self.say(path, "0x1", status=1), name)
        r = subprocess.run([symbolized.HELPER], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        self.assertNotEqual(0, r.returncode)
        self.assertTrue(r.stderr)

    def test_it_is_static(self):
        out = subprocess.run(["readelf", "-lW", symbolized.HELPER], capture_output=True, text=True, timeout=60).stdout
        self.assertNotIn("INTERP", out)
        self.assertNotIn("DYNAMIC ", out)


class Completed(shim.TestCase):
    """pprofshim-symbolize PROFILE."""

    source = os.path.join(shim.PROGRAMS, "heap_truth.c")

    @staticmethod
    def take():
        with shim.start([shim.program("heap_truth"), 400], rate=1) as p:
            p.wait_line("ready")
            return p.get("/debug/pprof/heap").body, p.sites()

    taken = symbolized.Once(lambda: Completed.take())

    def setUp(self):
        self.folder = shim.scratch("completed")
        self.body, self.sites = Completed.taken()

    def check(self, path, body):
        before, after = shim.Profile(body), shim.Profile(open(path, "rb").read())
        self.assertEqual(sorted(s.values for s in before.samples), sorted(s.values for s in after.samples))
        self.assertEqual([(m.start, m.limit, m.offset, m.file, m.build_id) for m in before.mappings],
                         [(m.start, m.limit, m.offset, m.file, m.build_id) for m in after.mappings])
        self.assertEqual(sorted(l.address for l in before.locations), sorted(l.address for l in after.locations))
        for key in (
            "sample_types",
            "period_type",
            "period",
            "time_nanos",
            "duration_nanos",
            "drop_frames",
            "default_sample_type",
        ):
            self.assertEqual(getattr(before, key), getattr(after, key), key)
        own = [m for m in after.mappings if m.file.endswith("/heap_truth")]
        self.assertTrue(own and all(m.has_functions and m.has_filenames and m.has_line_numbers for m in own))
        with open(self.source) as f:
            lines = f.read().split("\n")
        for site in ("site_many_small", "site_few_large"):
            number = next(n for n, text in enumerate(lines, 1) if " *%s(" % site in text)
            functions = [f for f in after.functions if f.name == site]
            self.assertEqual([(self.source, site, number)],
                             [(os.path.normpath(f.filename), f.system_name, f.start_line) for f in functions])
            for version, go in shim.gos():
                out, _ = shim.pprof(go, "-list", "^%s$" % site, "-unit=B", "-sample_index=inuse_space", path)
                want = shim.site_truth(self.sites[site])[3]
                at = next(n for n in range(number, len(lines)) if "malloc(" in lines[n - 1])
                self.assertRegex(out, r"ROUTINE =+ %s in .*heap_truth\.c" % site)
                self.assertRegex(out, r"(?m)^ *%dB? +%dB? +%d:.*malloc" % (want, want, at), "go %s" % version)

    def test_without_any_function(self):
        body = symbolized.without_lines(self.body)
        self.assertEqual([], shim.Profile(body).functions)
        self.check(symbolized.complete(shim.save(body)), body)

    def test_with_names_only(self):
        body = symbolized.without_lines(self.body, keep_names=True)
        self.assertTrue(shim.Profile(body).functions)
        self.check(symbolized.complete(shim.save(body)), body)

    def test_what_is_complete_stays(self):
        first = symbolized.complete(shim.save(symbolized.without_lines(self.body)))
        self.check(symbolized.complete(first), open(first, "rb").read())

    def test_binaries_that_are_not_there_keep_what_was_known(self):
        gone = os.path.join(self.folder, "moved")
        shutil.copy(shim.program("heap_truth"), gone)
        with shim.start([gone, 100], rate=1, env={"PPROF_SYMBOLIZER": "off"}) as p:
            p.wait_line("ready")
            body = p.get("/debug/pprof/heap").body
        os.unlink(gone)
        after = shim.Profile(open(symbolized.complete(shim.save(body)), "rb").read())
        self.assertIn("site_many_small", after.names())

    def test_a_binary_of_another_build_id_is_not_used(self):
        path = os.path.join(self.folder, "changed")
        shutil.copy(shim.program("heap_truth"), path)
        with shim.start([path, 100], rate=1) as p:
            p.wait_line("ready")
            body = symbolized.without_lines(p.get("/debug/pprof/heap").body)
        os.unlink(path)
        shutil.copy(shim.program("heap_bias"), path)
        after = shim.Profile(open(symbolized.complete(shim.save(body)), "rb").read())
        for l in after.locations:
            if l.mapping and l.mapping.file == path:
                self.assertEqual([], [f.filename for f, _ in l.lines if f.filename])

    def test_malformed_profiles_are_refused(self):
        import gzip
        for what, data in (("noise", gzip.compress(os.urandom(5000))), ("cut", self.body[:len(self.body) // 2]),
                           ("cut inside", gzip.compress(gzip.decompress(self.body)[:-7] if len(self.body) else b""))):
            r = subprocess.run(
                [symbolized.HELPER, shim.save(data)], capture_output=True, timeout=60, stdin=subprocess.DEVNULL
            )
            self.assertIn(r.returncode, (1, 2), "%s: status %d" % (what, r.returncode))
            self.assertTrue(r.stderr, what)
            self.assertEqual(b"", r.stdout, what)
