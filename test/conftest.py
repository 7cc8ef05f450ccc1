# conftest.py - how all tests are run: in which order, how many at once, which alone, and the line at the end.
#
# Runs in: pytest, and each of its workers (pytest-xdist).
#
# A test method may have marks, as attributes: `long_s`, the seconds that it takes where that is more than a few, and
# `alone`, where a neighbour's load would make a bias and not only chance.
#
# SPDX-License-Identifier: Apache-2.0
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
import traceback

import pytest
from _pytest.unittest import TestCaseFunction
from xdist.scheduler import LoadScopeScheduling

sys.dont_write_bytecode = True

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD_DIR") or os.path.join(ROOT, "build")
RUN = "SHIM_TEST_RUN"  # in the environment of all that tests start


def is_worker(config):
    return hasattr(config, "workerinput")


# ---- order -------------------------------------------------------------------------------------


def mark(item, key):
    return getattr(getattr(item, "obj", None), key, 0)


def pytest_xdist_auto_num_workers(config):
    return min(len(os.sched_getaffinity(0)), 4)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Unit tests first; then long ones, so that the end of the run is not one test alone; those that run alone last."""
    items.sort(key=lambda i: (bool(mark(i, "alone")), not i.nodeid.startswith("test/unit/"), -mark(i, "long_s")))


class OneByOne(LoadScopeScheduling):
    """Whoever is idle takes the next test; those of one unit test program go together, as it runs once."""

    def _split_scope(self, nodeid):
        return nodeid.split("::")[0] if ".c::" in nodeid else nodeid


def pytest_xdist_make_scheduler(config, log):
    return OneByOne(config, log)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """A test shares the machine with others; one that is marked `alone` waits for their end, and they for its."""
    os.makedirs(BUILD, exist_ok=True)
    with open(os.path.join(BUILD, "tests.lock"), "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX if mark(item, "alone") else fcntl.LOCK_SH)
        yield


# ---- subtests ----------------------------------------------------------------------------------


subtests_failed = set()


def add_subtest(self, testcase, subtest, err):
    """As unittest has it, and pytest alone has not: a test goes on behind a subtest that failed, and has failed."""
    if err is not None:
        print("".join(traceback.format_exception(*err)) + "in " + subtest.id(), file=sys.stderr)
        if self not in subtests_failed:
            subtests_failed.add(self)
            self._excinfo = []  # of subtests that were skipped: a failure is what is reported
            self._addexcinfo(err)
        self.failfast = issubclass(err[0], pytest.fail.Exception)  # the time limit's


TestCaseFunction.addSubTest = add_subtest
TestCaseFunction.failfast = False


# ---- what tests leave behind -------------------------------------------------------------------


def pytest_configure(config):
    if not is_worker(config):
        os.environ[RUN] = str(os.getpid())
        config.files_before = untracked()


def started_by_us():
    """{pid: command line} of all processes that a test started and nobody ended."""
    found = {}
    wanted = ("%s=%s" % (RUN, os.environ.get(RUN))).encode()
    for pid in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if pid.isdigit() and int(pid) != os.getpid():
                with open("/proc/%s/environ" % pid, "rb") as f:
                    environ = f.read().split(b"\0")
                if wanted in environ:
                    with open("/proc/%s/cmdline" % pid, "rb") as f:
                        found[int(pid)] = f.read().replace(b"\0", b" ").decode("utf-8", "backslashreplace")[:200]
    return found


def untracked():
    """Files in the tree that git neither has nor ignores; none where there is no git."""
    with contextlib.suppress(OSError):
        r = subprocess.run(["git", "-C", ROOT, "ls-files", "--others", "--exclude-standard"], capture_output=True,
                           text=True)
        return set(r.stdout.splitlines())
    return set()


def left_behind(config):
    """One line for each process and file. The processes are ended."""
    end = time.monotonic() + 20
    while started_by_us() and time.monotonic() < end:
        time.sleep(0.1)
    lines = []
    for pid, command in started_by_us().items():
        lines.append("process %d: %s" % (pid, command))
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return lines + ["file %s" % path for path in sorted(untracked() - config.files_before)]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Runs when the workers have ended."""
    if "shim" in sys.modules:
        sys.modules["shim"].scratch_remove()
    if not is_worker(session.config):
        session.config.left = left_behind(session.config)
        if session.config.left:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


# ---- the end -----------------------------------------------------------------------------------


def pytest_terminal_summary(terminalreporter, config):
    for line in getattr(config, "left", []):
        terminalreporter.write_line("FAILED left behind: " + line)


def pytest_unconfigure(config):
    """The closing line, which counts a test once."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if is_worker(config) or not reporter or config.option.collectonly:
        return

    def names(*keys):
        return {getattr(r, "nodeid", str(r)) for k in keys for r in reporter.stats.get(k, [])}
    failed = names("failed", "error")
    count = len(failed) + (1 if getattr(config, "left", None) else 0)
    skipped = names("skipped") - failed
    print("%d passed, %d failed%s" % (len(names("passed") - failed), count,
                                      ", %d skipped" % len(skipped) if skipped else ""), flush=True)
