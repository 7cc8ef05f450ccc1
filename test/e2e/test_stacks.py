# test_stacks.py - stacks that are not what they seem: alternate ones, small ones, a program's own, threads without
# libc.
#
# Runs in: the test runner. Programs paint their stacks, or put pages around them that nobody may touch: what is
# written outside is an error or a crash.
#
# SPDX-License-Identifier: Apache-2.0
import os
import re

import look
import shim
from shim import start

SEVERAL = 3  # of each kind of request, on a program that waits for them


class StackCase(shim.TestCase):

    def asked(self, argv, ask=None, **more):
        """Run a program that ends with its stdin, bare and while it is asked: the same output. Returns the last
        dump."""
        bare = shim.run_bare(argv)
        with start(argv, **more) as p:
            p.wait_line("ready")
            for _ in range(SEVERAL):
                (ask or self.ask)(p)
            status, out, err = p.finish()
            self.assertEqual(bare[:2], (status, out), err)

    def ask(self, p):
        self.assertEqual(200, p.get("/debug/pprof/profile?seconds=1&hz=1000").status)
        self.assertEqual(200, p.get("/debug/pprof/trace?seconds=0.3").status)
        look.dump(p)


class Strangers(StackCase):
    """Threads that libc does not know."""

    def refused(self, p):
        super().ask(p)
        raw = [t for t in look.dump(p).threads if t.state == "running"]
        self.assertEqual(1, len(raw))
        self.assertRegex(raw[0].not_reached, "libc does not know it")
        self.assertEqual([], [s for s in p.profile("profile", "seconds=1").samples if "compute" in s.names])

    def test_a_thread_with_a_thread_pointer_of_its_own(self):
        self.asked([shim.program("raw_thread"), "own"], self.refused)

    def test_a_thread_without_a_thread_pointer(self):
        self.asked([shim.program("raw_thread"), "none"], self.refused)

    def test_a_thread_with_the_thread_pointer_of_another(self):
        self.asked([shim.program("raw_thread"), "shared"], self.refused)

    def test_a_handler_of_the_program_in_such_a_thread(self):
        for kind in ("own", "none", "shared"):
            with self.subTest(kind=kind):
                self.assert_same([shim.program("raw_thread"), kind, "alarm"])

    test_a_thread_with_a_thread_pointer_of_its_own.long_s = 5
    test_a_thread_without_a_thread_pointer.long_s = 5
    test_a_thread_with_the_thread_pointer_of_another.long_s = 5


class AlternateStacks(StackCase):
    """The program's own alternate stack is its own."""

    def test_nothing_is_written_to_a_small_alternate_stack(self):
        for size in (2048, 3400, 4096, 8192, 16384):
            with self.subTest(size=size):
                self.asked([shim.program("small_altstack"), size])

    test_nothing_is_written_to_a_small_alternate_stack.long_s = 20


class Emulated(StackCase):
    """qemu-user enters handlers with a stack that is off by eight bytes."""

    def test_signals_under_qemu(self):
        qemu = shim.tool("qemu-x86_64")
        port = shim.free_port()
        argv = [qemu, "-E", "LD_PRELOAD=" + shim.LIB, "-E", "PPROF_ADDR=127.0.0.1:%d" % port,
                shim.program("small_altstack"), "16384"]
        with shim.Process(argv, env=shim.bare_env()) as p:
            p.port = port
            p.wait_line("ready")
            shim.wait_until("the port", lambda: shim.port_answers(port) or not p.running())
            self.ask(p)
            d = look.dump(p)
            self.assertIn("main", d.threads[0].names)
            status, out, err = p.finish()
            self.assertEqual((0, {"used": [0], "below": [0], "end": [1]}), (status, p.truth()), err)

    test_signals_under_qemu.long_s = 10


class OwnStacks(shim.TestCase):
    """Stacks that the program made: their ends are not known."""

    def test_coroutines_where_other_stacks_were(self):
        self.assert_same([shim.program("stack_places")], rate=1)


class Painted(shim.TestCase):
    """No hook takes more than 1 KiB of a program's stack beyond what the real function does, whatever it records; nor
    does our handler below the kernel's frame."""

    MOST = 1024
    # What the program cannot call: it waits for ever, or is not there, or looks up the system's groups, or is its end.
    NOT_CALLED = {"cnd_wait", "initgroups", "io_getevents", "free_sized", "free_aligned_sized", "cfree", "syscall",
                  "_exit", "_Exit", "abort"}

    def used(self, text):
        """{function: (most, least)} of all rounds"""
        found = {}
        for n, most, least in re.findall(r"^stack (\S+) (\d+) (\d+)$", text, re.M):
            before = found.get(n, (0, int(least)))
            found[n] = (max(before[0], int(most)), min(before[1], int(least)))
        return found

    def hooks(self):
        with open(os.path.join(shim.ROOT, "shim", "hooks.def")) as f:
            return set(re.findall(r"^HOOK[A-Z_]*\( *(\w+)", f.read(), re.M))

    def bare(self):
        status, out, err = shim.run_bare([shim.program("painted_stack")])
        self.assertEqual(0, status, err)
        return self.used(out)

    def too_much(self, bare, ours, which):
        return {n: (bare[n], ours[n]) for n in bare if ours[n][which] - bare[n][which] > self.MOST}

    def assert_small(self, bare, ours, which):
        self.assertEqual({}, self.too_much(bare, ours, which), "function: bytes (most, least) bare, under the library")

    def test_each_hook_with_all_samples_kept(self):
        bare = self.bare()
        self.assertEqual(set(), self.hooks() - set(bare) - self.NOT_CALLED)
        status, out, err = shim.run_shim(
            [shim.program("painted_stack")], rate=1, env={"PPROF_BLOCK_RATE": "1", "PPROF_STACK_DEPTH": "512"}
        )
        self.assertEqual(0, status, err)
        self.assert_small(bare, self.used(out), 0)

    test_each_hook_with_all_samples_kept.long_s = 5

    def used_in_a_trace(self, bare):
        """Of one program, in so many rounds that one call of each function had no signal: its frame is the kernel's."""
        with start([shim.program("painted_stack"), "wait"], rate=1, env={"PPROF_BLOCK_RATE": "1"}) as p:
            p.wait_line("ready")
            with look.Looking(p, hz=1000) as looking:
                shim.wait_until("a trace and a profile", lambda: looking.traces and looking.profiles)
                for number in range(1, 5):
                    p.send(b"\n")
                    p.wait_line("round %d" % number)
                    if not self.too_much(bare, self.used(p.out), 1):
                        break
            used, frame = p.truth()["handler"]
            self.assertGreater(used, frame // 2, "signals came")
            self.assertLessEqual(used, frame + self.MOST + 256, "the frame, what computes, and the handler")
            return self.used(p.out)

    def test_each_hook_in_a_trace_and_the_handler(self):
        bare = self.bare()
        for _ in range(6):
            ours = self.used_in_a_trace(bare)
            if not self.too_much(bare, ours, 1):
                break
        self.assert_small(bare, ours, 1)

    test_each_hook_in_a_trace_and_the_handler.long_s = 10


def _sleeps(pid, tid):
    with open("/proc/%d/task/%d/stat" % (pid, tid)) as f:
        return f.read().rsplit(")", 1)[1].split()[0] == "S"


class FramePointers(shim.TestCase):
    """The kernel tells of a blocked thread where it stands, but not its frame pointer: it is found on the stack."""

    def test_threads_that_blocked_before_anybody_asked(self):
        with start([shim.program("idle_frames")]) as p:
            p.wait_line("ready")
            # A busy machine may not have let them all come so far.
            shim.wait_until("all threads to block", lambda: all(_sleeps(p.pid, t) for t in p.threads()))
            threads = look.dump(p).threads
            named = [t for t in threads if t.name.startswith("how-")]
            self.assertEqual(4, len(named))
            for t in named:
                way = "by_pointer" if int(t.name[4:]) & 4 else "direct"
                ours = [n for n in t.names if n in ("inner", "direct", "by_pointer", "outer")]
                self.assertEqual(["inner", way, "outer"], ours, t)
            self.assertIn("main", threads[0].names)
