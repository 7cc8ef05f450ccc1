# test_unwinding.py - stacks are whole, whatever code they lead through; where one is not, it says so.
#
# Runs in: the test runner. The programs know how their threads' stacks must look.
#
# SPDX-License-Identifier: Apache-2.0
import os
import platform
import subprocess

import look
import shim
from shim import start

CUT = "[truncated]"
HAND_WRITTEN = ["by_rax", "by_rdx", "by_rsi", "by_r8", "by_r11", "by_word", "by_red_zone", "by_index", "without_return",
                "through_word", "through_rbx", "through_r11"]
LARGE = ["frame_of_20000", "frame_of_100000", "frame_of_700000", "frame_of_2000000"]


def variant(name, *flags):
    """bare_code, built in another way."""
    source = os.path.join(shim.PROGRAMS, "bare_code.c")
    return shim.compile_to(os.path.join(shim.BUILD, "programs", "bare_code_" + name), [source], list(flags))


class Unwinding(shim.TestCase):

    def samples(self, p, most=60, wanted=()):
        """Samples of CPU profiles, until there are 300, and 3 of each function that is wanted."""
        all_samples = []
        for _ in range(most):
            prof = p.profile("profile", "seconds=1&hz=1000")
            self.check_addresses(prof, p.pid)
            all_samples += [s for s in prof.samples for _ in range(s.values[0])]
            few = [f for f in wanted if sum(f in s.names for s in all_samples) < 3]
            if len(all_samples) >= 300 and not few:
                return all_samples
        self.fail("%d samples; too few of %s" % (len(all_samples), few))

    def check_addresses(self, prof, pid):
        """Every address lies in executable memory."""
        with open("/proc/%d/maps" % pid) as f:
            lines = [line.split() for line in f]
        code = [tuple(int(x, 16) for x in words[0].split("-")) for words in lines if "x" in words[1]]
        for l in prof.locations:
            self.assertTrue(any(a <= l.address < b for a, b in code), (l.names, hex(l.address)))

    def broken(self, samples, root="work"):
        """Stacks that do not reach the thread's function, as text, each once."""
        return sorted({" < ".join(s.names) for s in samples if root not in s.names})

    def test_code_written_by_hand_leads_to_its_caller(self):
        if platform.machine() != "x86_64":
            self.skipTest("the functions are of another machine")
        with start([shim.program("odd_frames")]) as p:
            p.wait_line("ready")
            samples = self.samples(p, wanted=HAND_WRITTEN)
            self.assertEqual([], self.broken(samples))
            for s in samples:
                for f in HAND_WRITTEN:
                    if f in s.names:
                        self.assertEqual("turn", s.names[s.names.index(f) + 1], s.names)
            self.assertEqual(0, p.finish()[0])

    def test_frames_of_any_size_are_passed(self):
        with start([shim.program("large_frames")], rate=0) as p:
            p.wait_line("ready")
            self.assertEqual([], self.broken(self.samples(p, wanted=LARGE)))
            self.assertEqual(0, p.finish()[0])

    def test_tables_without_a_table_to_search_them(self):
        with start([variant("unsearched", "-Wl,--no-eh-frame-hdr")], rate=1) as p:
            p.wait_line("ready")
            self.assertEqual([], self.broken(self.samples(p)))
            names = [s.names for s in p.profile("heap").samples if "middle" in s.names]
            self.assertTrue(names and all("work" in n for n in names), names)
            self.assertEqual(0, p.finish()[0])

    def test_without_tables_frame_pointers_lead_on(self):
        flags = "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-omit-frame-pointer"
        with start([variant("framed", *flags)], rate=1) as p:
            p.wait_line("ready")
            self.assertEqual([], self.broken(self.samples(p), "middle"))
            self.assertEqual(0, p.finish()[0])

    def test_without_anything_a_stack_is_short_and_says_why(self):
        flags = "-O2", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fomit-frame-pointer", "-DDATA_IN_FP"
        with start([variant("bare", *flags)], rate=1) as p:
            p.wait_line("ready")
            samples = self.samples(p)
            for s in samples:
                self.assertIn(s.names[-1], (CUT, "_start", "clone3", "clone", "__clone", "__clone3"), s.names)
            self.assertTrue([s for s in samples if s.names[-1] == CUT])
            prof = p.profile("profile", "seconds=1&hz=1000")
            self.assertIn("samples end at " + CUT + ": code without unwind tables", "\n".join(prof.comments))
            allocs = p.profile("allocs")
            self.check_addresses(allocs, p.pid)
            self.assertLess(len(allocs.samples), 100, "data is taken for callers")
            self.assertEqual(0, p.finish()[0])

    def test_code_in_many_segments_has_its_names_and_callers(self):
        with start([shim.program("many_segments")]) as p:
            p.wait_line("ready")
            far = ["far_%d" % i for i in range(8)]
            samples = self.samples(p, wanted=far)
            self.assertEqual([], self.broken(samples))
            self.assertEqual([], sorted({s.names[0] for s in samples} - set(far) - {"work"}))
            self.assertEqual(0, p.finish()[0])

    def test_threads_that_the_kernel_made_are_not_the_programs(self):
        if "no io_uring" in subprocess.run([shim.program("uring_threads")], stdin=subprocess.DEVNULL,
                                           capture_output=True, text=True, timeout=60).stdout:
            self.skipTest("the kernel has no io_uring for us")
        with start([shim.program("uring_threads")]) as p:
            p.wait_line("ready")
            self.assertLess(1, len(os.listdir("/proc/%d/task" % p.pid)))
            self.assertEqual(["uring_threads"], [t.name for t in look.dump(p).threads])
            self.assertIn('<td>1</td><td><a href="goroutine?debug=1">', p.get("/debug/pprof/").text)
            self.assertEqual([1], [q.row["threads"] for q in shim.processes(p.port)])
            self.assertEqual(0, p.finish()[0])

    def test_text_that_was_moved_to_memory_without_a_file_is_still_the_objects(self):
        moves = ("none private", "text private", "text memfd", "text shared", "text name", "inner private",
                 "all private", "library private", "library memfd")
        for move in moves:
            argv = [shim.program("huge_text")] + move.split()
            if shim.run_bare(argv)[1] == "refused\n":
                continue  # the kernel gives memory no names
            with self.subTest(move=move), start(argv) as p:
                p.wait_line("ready")
                samples = self.samples(p, wanted=("burn", "burn_in_libm"))
                self.assertEqual([], self.broken(samples))
                program = {l.mapping.file for s in samples for l in s.locations if set(l.names) & {"burn", "work"}}
                self.assertEqual({p.argv[0]}, program)
                libm = {s.locations[0].mapping.file for s in samples if "burn_in_libm" in s.names[1:]}
                self.assertEqual(["libm.so.6"], [os.path.basename(f) for f in libm - program])
                self.assertEqual(p.argv[0], p.profile("heap").mappings[0].file)
                self.assertEqual(0, p.finish()[0])

    test_text_that_was_moved_to_memory_without_a_file_is_still_the_objects.long_s = 30
