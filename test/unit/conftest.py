# conftest.py - the unit tests as pytest has them: each test_*.c is a program of cmocka's, each of its tests an item.
#
# Runs in: pytest, and each of its workers. A program runs once, whole, for whichever of its tests are asked for.
#
# SPDX-License-Identifier: Apache-2.0
import os
import re
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNIT = os.path.join(ROOT, os.environ.get("UNIT_DIR") or "build/unit")
LIMIT_S = 300


def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".c" and file_path.name.startswith("test_"):
        return Program.from_parent(parent, path=file_path)
    return None


class Failed(Exception):
    pass


def runner():
    """ThreadSanitizer of gcc 12 and newer kernels disagree about address randomisation: where it can be switched
    off for one program, it is."""
    if "thread" in os.path.basename(UNIT) and subprocess.run(["setarch", "-R", "true"], capture_output=True,
                                                             check=False).returncode == 0:
        return ["setarch", "-R"]
    return []


class Program(pytest.File):
    ran = None

    def collect(self):
        self.binary = os.path.join(UNIT, self.path.stem)
        if not os.path.exists(self.binary):
            raise self.CollectError("%s is not built: make unit-build does it" % self.binary)
        table = subprocess.run(["nm", self.binary], capture_output=True, text=True, check=True).stdout
        for name in sorted(set(re.findall(r" [tT] (test_\w+)$", table, re.M))):
            yield Test.from_parent(self, name=name)

    def run(self):
        """Returns (status or None if it hangs, its output, {test: (verdict, what it said)})."""
        if self.ran is None:
            env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP")
            log = os.path.join(UNIT, self.path.stem + ".log")
            with open(log, "wb") as f:
                try:
                    status = subprocess.run(runner() + [self.binary], stdin=subprocess.DEVNULL, stdout=f,
                                            stderr=subprocess.STDOUT, env=env, timeout=LIMIT_S, check=False).returncode
                except subprocess.TimeoutExpired:
                    status = None
            with open(log, "rb") as f:
                text = f.read().decode("utf-8", "backslashreplace")
            self.ran = status, text, verdicts(text)
        return self.ran


def verdicts(text):
    """cmocka 1.1.5 says why a test failed behind its line, and `not ok N # SKIP name` of a skipped one."""
    found, said = {}, []
    for line in text.splitlines():
        m = re.match(r"(not )?ok \d+ (# SKIP|-)? *(test_\w+)", line)
        if m:
            said = []
            found[m[3]] = "skip" if m[2] == "# SKIP" else "FAIL" if m[1] else "ok", said
        else:
            said.append(line)
    return found


class Test(pytest.Item):

    def runtest(self):
        status, text, found = self.parent.run()
        end = "%s s were not enough" % LIMIT_S if status is None else (
            "signal %d ended the program" % -status if status < 0 else "its exit status is %d" % status)
        verdict, said = found.get(self.name, (None, []))
        last = "\n".join(text.splitlines()[-60:])
        if verdict == "skip":
            pytest.skip("it says so")
        if verdict == "FAIL":
            raise Failed("\n".join(said[-60:]))
        if verdict is None:
            raise Failed("was not run: %s\n%s" % (end, last))
        if status != 0 and all(v[0] != "FAIL" for v in found.values()):
            raise Failed("passed, but %s\n%s" % (end, last))

    def repr_failure(self, excinfo):
        if isinstance(excinfo.value, Failed):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self):
        return self.path, None, self.name
