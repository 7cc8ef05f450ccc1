# test_stacks.py - stacks that are not what they seem: alternate ones, small ones, a program's own, threads without libc.
#
# Runs in: the test runner. Programs paint their stacks, or put pages around them that nobody may touch: what is written outside
# is an error or a crash.
#
# SPDX-License-Identifier: Apache-2.0
import look
import shim
from shim import start

SEVERAL = 3  # of each kind of request, on a program that waits for them


class StackCase(shim.TestCase):

    def asked(self, argv, ask=None, **more):
        """Run a program that ends with its stdin, bare and while it is asked: the same output. What the last dump said."""
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
        self.assertEqual([], [s for s in p.profile("profile", "?seconds=1").samples if "compute" in s.names])

    def test_a_thread_with_a_thread_pointer_of_its_own(self):
        self.asked([shim.program("raw_thread"), "own"], self.refused)

    def test_a_thread_without_a_thread_pointer(self):
        self.asked([shim.program("raw_thread"), "none"], self.refused)

    def test_a_thread_with_the_thread_pointer_of_another(self):
        self.asked([shim.program("raw_thread"), "shared"], self.refused)

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
