# test_symbols_helper.py - the helper program, which the program must not notice, and which may fail in every way.
#
# Runs in: the test runner.
#
# SPDX-License-Identifier: Apache-2.0
import os
import re
import shutil
import signal
import threading
import time

import shim
import symbolized
from helper_made import ANSWER_S, SOURCE, TROUBLE, beside, children_of, lines_of, read, script, timed, trouble
from shim import start


class Guest(shim.TestCase):
    """The helper is nothing that the program could see."""

    def look(self, *args, env=None):
        """Run the guest with a helper that waits; (what /proc says of the helper, the profile, the guest's words)."""
        waits = script("echo $$ >{folder}/pid.new; mv {folder}/pid.new {folder}/pid\n"
                       "while [ ! -e {folder}/go ]; do sleep 0.05; done\nexec {helper} \"$@\"\n")
        seen = shim.Record()
        with start(
            [shim.program("symbols_guest"), *args], rate=1, env=dict({"PPROF_SYMBOLIZER": waits}, **(env or {}))
        ) as p:
            p.wait_line("ready")
            box = []
            asking = threading.Thread(target=lambda: box.append(p.profile("heap")), daemon=True)
            asking.start()
            try:
                pid = int(shim.wait_until("the helper to start", lambda: read(beside(waits, "pid"))))
                proc = "/proc/%d/" % pid
                seen.fds = {int(n): os.readlink(proc + "fd/" + n) for n in os.listdir(proc + "fd")}
                seen.fds = {n: t for n, t in seen.fds.items() if t != waits}
                seen.limits = {
                    m.group(1): m.group(2) for m in re.finditer(r"(?m)^Max (\w[\w ]*?)  +(\S+)", read(proc + "limits"))
                }
                seen.nice = int(read(proc + "stat").rsplit(")", 1)[1].split()[16])
                seen.environ = read(proc + "environ")
                seen.parent = int(re.search(r"(?m)^PPid:\s+(\d+)", read(proc + "status")).group(1))
                seen.group = os.getpgid(pid)
                seen.guests_group = os.getpgid(p.pid)
                time.sleep(0.5)
            finally:
                with open(beside(waits, "go"), "w"):
                    pass
            asking.join(shim.DEADLINE_S)
            self.assertTrue(box, "the profile did not come")
            seen.profile = box[0]
            shim.wait_until("the helper to end", lambda: not os.path.exists(proc))
            listener = p.listener()
            shim.wait_until("nothing of it to be left", lambda: not children_of(listener))
            self.assertEqual([str(listener)], children_of(p.pid))
            p.send(b"\n")
            p.wait_line("status")
            seen.pid, seen.guest = pid, p.pid
            seen.status = p.truth()["status"]
            seen.end = p.finish()
        return seen

    def check(self, *args):
        seen = self.look(*args)
        waits, children, handled, errors = seen.status
        self.assertGreater(waits, 20)
        self.assertEqual(
            (0, 0, 0), (children, handled, errors), "children seen, SIGCHLD handled, other results than ECHILD"
        )
        self.assertEqual((0, ""), seen.end[::2])
        self.assertIn("own 1", seen.end[1])
        self.assertIn("site_guest", seen.profile.names())
        self.assertTrue(
            any(n for f in lines_of(seen.profile, "site_guest").values() for t in f for n in t), "with lines"
        )

    def test_the_program_does_not_see_it(self):
        self.check()

    def test_a_program_that_inherits_orphans_does_not_see_it(self):
        self.check("subreaper")

    def test_a_program_that_ignores_its_children_does_not_see_it(self):
        self.check("ignores")

    def test_it_has_nothing_of_the_programs(self):
        seen = self.look()
        self.assertTrue(seen.fds)
        self.assertEqual(
            {}, {n: t for n, t in seen.fds.items() if not t.startswith("pipe:[")}, "descriptors that are not pipes"
        )
        self.assertLessEqual(len(set(seen.fds.values())), 2, seen.fds)
        self.assertNotIn("LD_PRELOAD", seen.environ)
        self.assertNotEqual(seen.guests_group, seen.group, "its own process group: not interrupted by a terminal")
        self.assertGreater(seen.nice, 0)
        self.assertIn(str(512 << 20), (seen.limits.get("data size"), seen.limits.get("address space")), seen.limits)

    def test_its_memory_is_a_setting(self):
        seen = self.look(env={"PPROF_SYMBOLIZER_MEMORY": str(128 << 20)})
        self.assertIn(str(128 << 20), (seen.limits.get("data size"), seen.limits.get("address space")), seen.limits)


class Group:
    """A control group with so much memory; skips the test where none can be made."""

    def __init__(self, test, limit_bytes):
        mounts = [line.split() for line in open("/proc/self/mounts")]
        first = [m[1] for m in mounts if m[2] == "cgroup" and "memory" in m[3].split(",")]
        second = [m[1] for m in mounts if m[2] == "cgroup2"]
        self.path = os.path.join((first or second or ["/nowhere"])[0], "pprofshim-test-%d-%d" % (os.getpid(), id(self)))
        self.is_first = bool(first)
        try:
            os.mkdir(self.path)
            self.write("memory.limit_in_bytes" if first else "memory.max", limit_bytes)
        except OSError as e:
            if os.path.isdir(self.path):
                os.rmdir(self.path)
            test.skipTest("no memory control group can be made here: %s" % e)

    def write(self, name, value):
        with open(os.path.join(self.path, name), "w") as f:
            f.write(str(value))

    def kills(self):
        with open(os.path.join(self.path, "memory.oom_control" if self.is_first else "memory.events")) as f:
            return sum(int(line.split()[1]) for line in f if line.startswith("oom_kill "))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        shim.wait_until("the group to be empty", lambda: not open(os.path.join(self.path, "cgroup.procs")).read())
        os.rmdir(self.path)


class Container(shim.TestCase):

    def answers(self, limit_bytes):
        with Group(self, limit_bytes) as group:
            with start([shim.program("symbols_truth"), shim.program("libplugin")], rate=1,
                       preexec_fn=lambda: group.write("cgroup.procs", os.getpid())) as p:
                p.wait_line("ready")
                profile = p.profile("heap", timeout_s=60)
                self.assertTrue(p.running())
                page = p.get("/debug/pprof/").text
            self.assertEqual(0, group.kills(), "processes that the kernel killed for want of memory")
            return profile, page

    def test_too_little_memory_is_said_and_nothing_is_started(self):
        profile, page = self.answers(14 << 20)
        self.assertIn("too little memory", " ".join(profile.comments))
        self.assertIn("too little memory", page)

    def test_in_a_small_container_nobody_is_killed(self):
        profile, _ = self.answers(24 << 20)
        self.assertTrue(profile.samples)

    def test_with_enough_memory_there_are_lines(self):
        profile, page = self.answers(512 << 20)
        self.assertEqual([], [c for c in profile.comments if TROUBLE.search(c)])
        self.assertTrue(any(f.filename.endswith("symbols_truth.cc") for f in profile.functions))


class Failing(shim.TestCase):
    """Whatever becomes of the helper: the profile comes, with the names of symbol tables, and says so."""

    def check(self, helper, env=None, told=True, again=False):
        with start([shim.program("symbols_truth")], rate=1, env=dict({"PPROF_SYMBOLIZER": helper}, **(env or {}))) as p:
            p.wait_line("ready")
            for i in range(2 if again else 1):
                prof, took = timed(lambda: p.profile("heap"))
                self.assertLess(took, ANSWER_S)
                self.assertEqual([1, 1001, 1, 1001], prof.flat("plain_c"))
                self.assertTrue([f for f in prof.functions
                                 if re.search(r"truth::Derived<3>::work|_ZN5truth7DerivedILi3EE4workEi", f.name)])
                self.assertEqual(
                    [], [n for l in prof.locations for f, n in l.lines if f.name == "plain_c" and n], "lines"
                )
                own = [m for m in prof.mappings if m.file == shim.program("symbols_truth")]
                self.assertEqual([0], [m.has_line_numbers for m in own])
                if told:
                    self.assertTrue(trouble(prof), "a comment in the profile, not just %s" % prof.comments)
            rows = [r for r in p.get("/debug/pprof/").text.splitlines() if TROUBLE.search(r)]
            if told:
                self.assertEqual(1, len(rows), "a line of the index page")
            rss = int(re.search(r"VmRSS:\s+(\d+)", read("/proc/%d/status" % p.pid)).group(1))
            self.assertLess(rss, 200 << 10, "KiB of memory")
            p.send(b"\n")
            p.wait_line("again")
            self.assertIn("plain_c", p.profile("heap").names())
            status, _, err = p.finish()
            self.assertEqual((0, ""), (status, err))
            return prof

    def test_absent(self):
        self.check("/nonexistent/pprofshim-symbolize")

    def test_not_beside_the_library(self):
        folder = shim.scratch("alone")
        lib = os.path.join(folder, "libpprofshim.so")
        shutil.copy(shim.LIB, lib)
        self.check(None, {"PPROF_SYMBOLIZER": None, "LD_PRELOAD": lib})

    def test_beside_the_library(self):
        folder = shim.scratch("installed")
        lib = os.path.join(folder, "libpprofshim.so")
        shutil.copy(shim.LIB, lib)
        shutil.copy(symbolized.HELPER, os.path.join(folder, "pprofshim-symbolize"))
        with start([shim.program("symbols_truth")], rate=1, preload=lib) as p:
            p.wait_line("ready")
            self.assertEqual(
                {(symbolized.marks(SOURCE)["plain_c"],)}, lines_of(p.profile("heap"), "plain_c")[("plain_c",)]
            )

    def test_not_executable(self):
        path = script("exec {helper} \"$@\"\n")
        os.chmod(path, 0o644)
        self.check(path)

    def test_a_folder(self):
        self.check(shim.scratch("folder"))

    def test_no_program(self):
        path = script("")
        with open(path, "wb") as f:
            f.write(bytes(range(256)))
        self.check(path)

    def test_off(self):
        counts = script("echo started >>{folder}/count\nexec {helper} \"$@\"\n")
        self.check("off", told=False)
        self.assertEqual("", read(beside(counts, "count")))

    def test_it_ends_at_once(self):
        self.check(script("exit 0\n"))

    def test_it_fails(self):
        self.check(script("cat >/dev/null; exit 3\n"))

    def test_it_crashes(self):
        self.check(script("cat >/dev/null; kill -SEGV $$\n"))

    def test_it_is_killed_within_a_line(self):
        self.check(script("cat >/dev/null; printf 'o 0\\na 12'; kill -KILL $$\n"))

    def test_it_says_noise(self):
        self.check(script("cat >/dev/null; head -c 3000000 /dev/urandom | tr -d e\n"))

    def test_it_says_lines_that_mean_nothing(self):
        self.check(
            script(
                "cat >/dev/null\n"
                "printf 'o 99999999999999999999\\no -1\\no\\n\\n\\nf 1 2\\ta\\tb\\tc\\na zz 0\\na\\nf\\nf x\\n'\n"
                "printf 'o 0\\na ffffffffffffffffff 0\\na 1 2\\n'\n"
                "printf 'f 99999999999999999999999 1\\tx\\ty\\tz\\nf 1 2\\t\\t\\t\\n'\n"
                "printf 'd 7 x\\nd -1 y\\nd\\nq what\\no 1\\na 0\\ne e e\\n'\n"
                "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo e\n"
            ),
            told=False,
        )

    def test_it_never_stops_talking(self):
        self.check(script("cat >/dev/null; echo o 0; exec yes 'a 1234 0'\n"))

    test_it_never_stops_talking.long_s = 25

    def test_it_hangs_and_ends_with_the_program(self):
        hangs = script("echo $$ >{folder}/pid; exec sleep 1000\n")
        self.check(hangs, again=True)
        pid = int(read(beside(hangs, "pid")))
        shim.wait_until("the helper to end with the program",
                        lambda: not os.path.exists("/proc/%d" % pid) or ") Z " in read("/proc/%d/stat" % pid))

    test_it_hangs_and_ends_with_the_program.long_s = 40

    def test_it_does_not_read(self):
        self.check(script("exec 0<&-; exec sleep 1000\n"))

    test_it_does_not_read.long_s = 25

    def test_it_is_killed_from_outside(self):
        waits = script("echo $$ >{folder}/pid.new; mv {folder}/pid.new {folder}/pid; exec sleep 1000\n")

        def kill():
            pid = int(shim.wait_until("the helper", lambda: read(beside(waits, "pid"))))
            os.kill(pid, signal.SIGKILL)
        threading.Thread(target=kill, daemon=True).start()
        self.check(waits)

    def test_no_descriptors_are_left(self):
        for most in (8, 12, 20):
            with self.subTest(most=most), start(
                ["/bin/sh", "-c", 'ulimit -n %d; exec "$0"' % most, shim.program("symbols_truth")], rate=1
            ) as p:
                p.wait_line("ready")
                shim.wait_until("it to listen", lambda: shim.port_answers(p.port))
                prof, took = timed(lambda: p.profile("heap"))
                self.assertLess(took, ANSWER_S)
                self.assertEqual([1, 1001, 1, 1001], prof.flat("plain_c"))
                self.assertEqual((0, ""), p.finish()[::2])

    def test_too_little_memory(self):
        with start([shim.program("symbols_truth")], rate=1, env={"PPROF_SYMBOLIZER_MEMORY": str(16 << 20)}) as p:
            p.wait_line("ready")
            prof, took = timed(lambda: p.profile("heap"))
            self.assertLess(took, ANSWER_S)
            self.assertIn("plain_c", prof.names())

    def test_what_is_late_is_there_at_the_next_request(self):
        slow = script("echo started >>{folder}/count; sleep 22; exec {helper} \"$@\"\n")
        with start([shim.program("symbols_truth")], rate=1, env={"PPROF_SYMBOLIZER": slow}) as p:
            p.wait_line("ready")
            prof, took = timed(lambda: p.profile("heap"))
            self.assertLess(took, ANSWER_S)
            self.assertEqual([1, 1001, 1, 1001], prof.flat("plain_c"))
            self.assertTrue(trouble(prof), "a comment in the profile, not just %s" % prof.comments)
            marks = symbolized.marks(SOURCE)
            end = time.monotonic() + 90
            while lines_of(prof, "plain_c").get(("plain_c",)) != {(marks["plain_c"],)}:
                self.assertLess(time.monotonic(), end, "there at a later request: %s" % prof.comments)
                time.sleep(1)
                prof = p.profile("heap")
            self.assertEqual([], trouble(prof))
            self.assertEqual(1, read(beside(slow, "count")).count("started"))

    test_what_is_late_is_there_at_the_next_request.long_s = 45


class Confined(shim.TestCase):

    def check(self, *args):
        """What serves is gone before the filter holds, and with it whatever it might have started."""
        with start([shim.program("symbols_seccomp"), *args], rate=1, wait_port=False) as p:
            shim.wait_until("its word", lambda: "ready" in p.out or "no_seccomp" in p.out or not p.running())
            if "no_seccomp" in p.out:
                self.skipTest("the kernel refuses filters here")
            p.wait_line("ready")
            self.assertFalse(shim.port_answers(p.port))
            self.assertIsNone(p.listener())
            status, out, err = p.finish()
            self.assertEqual((0, ""), (status, err))
            self.assertIn("end 1", out)

    def test_a_filter_that_kills(self):
        # It comes as soon as main begins: perhaps before the listener has done anything.
        for _ in range(20):
            self.check("kill")

    def test_a_filter_that_refuses(self):
        self.check("errno")

    def test_a_filter_of_another_thread_alone(self):
        self.check("kill", "thread")


# ---- hundreds of megabytes of debug information --------------------------------------------------------------
