# test_lint.py - make lint refuses what it is there for.
#
# Runs in: the test runner. Each kind of violation is planted in a file of its own in a copy of what make lint needs;
# the checks are given that file alone.
#
# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import subprocess

import shim

PLANTED = (
    ("format", "C_FILES", "planted.c", "int  planted( void );\n"),
    ("columns", "C_FILES", "planted.c", "/* %s */\n" % ("x" * 120)),
    ("shared", "C_FILES", "planted.c", "int planted(int *n)\n{\n\treturn __atomic_load_n(n, __ATOMIC_RELAXED);\n}\n"),
    ("shell", "SHELL_FILES", "planted.sh", "#!/bin/sh\nrm $1\n"),
    ("manuals", "MANUALS", "planted.7", ".Dd $Mdocdate$\n.Dt PLANTED 7\n.Nosuchmacro\n"),
    ("spelling", "C_FILES", "planted.c", "/* It is te" "h wrong word, recie" "ved. */\n"),
    ("c", "CHECKED_C", "planted.c", "int planted(void)\n{\n\tint at[2] = {0};\n\treturn at[2];\n}\n"),
    ("python", "PYTHON_FILES", "planted.py", "import os\n"),
)
# What is tried with fields of the types of shim/base/shared.h: it compiles, or it does not.
ACCESSES = (
    (True, "shared_add_relaxed(&n, 1); return shared_load_acquire(&n);"),
    (True, "shared_store_release(&p, &n); return shared_own(&n);"),
    (False, "return n;"),
    (False, "return n == 1;"),
    (False, "n = 1; return 0;"),
    (False, "n++; return 0;"),
    (False, "return !p;"),
    (False, "return __atomic_load_n(&n, __ATOMIC_RELAXED);"),
    (False, "return shared_load_relaxed(p);"),
)
LISTS = ("C_FILES", "SHELL_FILES", "MANUALS", "CHECKED_C", "PYTHON_FILES")


TOOLS = ("make", "clang-format", "codespell", "cppcheck", "flake8", "mandoc", "shellcheck")


def bare_of_make():
    return {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "LD_PRELOAD")}


class Lint(shim.TestCase):

    def lint(self, folder, check, name, path):
        """make lint-<check> of that one file, and for the lists that are not asked, of a good one."""
        good = {"C_FILES": "good.c", "CHECKED_C": "good.c", "SHELL_FILES": "good.sh", "PYTHON_FILES": "good.py"}
        lists = ["%s=%s" % (each, path if each == name else good.get(each, "")) for each in LISTS]
        r = subprocess.run(["make", "lint-" + check] + lists, cwd=folder, env=bare_of_make(), capture_output=True,
                           text=True)
        return r.returncode, r.stdout + r.stderr

    def test_each_check_refuses_what_is_planted(self):
        for tool in TOOLS:
            shim.tool(tool)
        folder = shim.scratch("lint")
        for name in ("Makefile", "scripts", ".clang-format", ".codespellrc", ".cppcheck", ".flake8"):
            path = os.path.join(shim.ROOT, name)
            (shutil.copytree if os.path.isdir(path) else shutil.copy)(path, os.path.join(folder, name))
        good = {"good.c": "int good(void);\n", "good.sh": "#!/bin/sh\ntrue\n", "good.py": "GOOD = 1\n"}
        for name, text in good.items():
            with open(os.path.join(folder, name), "w") as f:
                f.write(text)
        for check, files, name, text in PLANTED:
            with self.subTest(check):
                with open(os.path.join(folder, name), "w") as f:
                    f.write(text)
                if check != "manuals":
                    self.assertEqual(0, self.lint(folder, check, files, "good" + os.path.splitext(name)[1])[0])
                status, out = self.lint(folder, check, files, name)
                self.assertNotEqual(0, status, out)
                self.assertIn(name, out)

    def test_a_plain_access_to_a_shared_field_does_not_compile(self):
        path = os.path.join(shim.scratch("access"), "access.c")
        for compiles, text in ACCESSES:
            with self.subTest(text):
                with open(path, "w") as f:
                    f.write('#include "shim/base/shared.h"\nstatic shared_int n;\nstatic SHARED(shared_int *) p;\n'
                            'int access(void);\nint access(void)\n{\n\t(void)p, (void)n;\n\t%s\n}\n' % text)
                r = subprocess.run(["cc", "-std=gnu11", "-I.", "-fsyntax-only", path], cwd=shim.ROOT,
                                   capture_output=True, text=True)
                self.assertEqual(compiles, r.returncode == 0, r.stderr)

    def test_the_sources_are_clean(self):
        """As they are built: nothing is made anew under the other tests."""
        for tool in TOOLS:
            shim.tool(tool)
        r = subprocess.run(["make", "-j1", "-o", "all", "lint"], cwd=shim.ROOT, env=bare_of_make(), text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(0, r.returncode, r.stdout[-4000:])
    test_the_sources_are_clean.long_s = 100
