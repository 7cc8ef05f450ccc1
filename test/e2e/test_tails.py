# test_tails.py - functions that end in a jump to another are in the profiles all the same.
#
# Runs in: the test runner. The program is built several ways, into build/programs/symbols.
#
# SPDX-License-Identifier: Apache-2.0
import subprocess

import shim
from symbolized import build
from test_trace import Perfetto


def stacks(profile, name):
    """The stacks with a function, from there to its leaf, as names of the outermost functions; each once."""
    found = set()
    for s in profile.samples:
        names = [l.names[-1] for l in s.locations]
        if name in names:
            found.add(tuple(reversed(names[:names.index(name) + 1])))
    return found


class Tails(shim.TestCase):

    def check(self, name, compiler, *flags, env=None, after=(), whole=True):
        """whole: all functions of a chain are known; else at least the one that was called."""
        path = build("tails_" + name, ["tails.cc"], [compiler, "-pthread", *flags, "{tails_cc}", "-o", "{o}"], *after)
        r = subprocess.run([shim.tool("objdump"), "-d", "--no-show-raw-insn", path], capture_output=True, text=True)
        self.assertRegex(r.stdout, "jmp .*<malloc@plt>", "the compiler makes no jump of it: nothing is tested")
        with shim.start([path], rate=1, env=dict(env or {}, PPROF_BLOCK_RATE="1", PPROF_MUTEX_FRACTION="1")) as p:
            p.wait_line("ready")
            self.heap(p.profile("heap"), whole)
            self.dump(p)
            self.locks(p)
            self.pointers(p)
            self.cpu(p)
            self.traces(p)

    def heap(self, profile, whole):
        found = stacks(profile, "main")
        table = ("main", "make_table", "make_buffer") if whole else ("main", "make_table")
        self.assertIn(("main", "make_buffer"), found)
        self.assertIn(table, found)
        self.assertIn(("main", "make_object", "operator new"), found)
        self.assertIn(("main", "make_either"), found)
        self.assertNotIn(("main",), found)
        # Which of two functions it was is not known.
        self.assertNotIn(("main", "make_either", "make_buffer"), found)
        self.assertNotIn(("main", "make_either", "make_large"), found)
        self.doubts(profile, whole)
        self.assertEqual([100, 300000, 100, 300000], profile.sums(
            lambda s: tuple(reversed([l.names[-1] for l in s.locations[:len(table)]])) == table))

    def dump(self, p):
        shim.wait_until(
            "the thread stands still", lambda: "stand_still" in p.get("/debug/pprof/goroutine?debug=2").text
        )
        found = stacks(p.profile("goroutine"), "stander")
        self.assertEqual(1, len(found), found)
        self.assertEqual(("stander", "stand_still"), found.pop()[:2])

    def locks(self, p):
        def is_waited_for():
            return stacks(p.profile("mutex"), "locker") and stacks(p.profile("block"), "locker")
        shim.wait_until("locks are waited for", is_waited_for, step_s=0.3)
        for kind in ("mutex", "block"):
            for stack in stacks(p.profile(kind), "locker"):
                self.assertEqual(("locker", "work_under_lock"), stack[:2], kind)

    def pointers(self, p):
        """No call names these functions: that a thread waited for the lock in one tells which it was."""
        def are_seen():
            prof = p.profile("mutex")
            found = stacks(prof, "pointer") | stacks(prof, "alternator")
            ways = {("pointer", "hold_long"), ("alternator", "hold_long"), ("alternator", "hold_short")}
            return prof if ways <= {f[:2] for f in found} else None
        prof = shim.wait_until("each of them to make others wait", are_seen, step_s=0.3)
        found = stacks(prof, "pointer") | stacks(prof, "alternator")
        self.assertLessEqual({f[1] for f in found}, {"hold_long", "hold_short", "pthread_mutex_unlock"})
        self.assertNotIn(("pointer", "hold_short"), {f[:2] for f in found})
        delay = [prof.sums(lambda s, n=n: [n] == [l.names[-1] for l in s.locations][1:2])[1]
                 for n in ("hold_long", "hold_short")]
        self.assertGreater(delay[0], delay[1], "it is another function than the one that held the lock")

    def cpu(self, p):
        found = stacks(p.profile("profile", "?seconds=1"), "spinner")
        self.assertIn(("spinner", "spin", "spin_inner"), found)
        self.assertNotIn(("spinner", "spin_inner"), found)

    def traces(self, p):
        def perfetto():
            t = Perfetto(p.get("/debug/pprof/trace?seconds=1&format=perfetto").body)
            return {s[s.index("spinner"):] for s in t.callstacks.get("spin_inner", ()) if "spinner" in s}

        self.assertEqual({("spinner", "spin", "spin_inner")}, shim.wait_until("the thread is sampled", perfetto))
        shim.wait_until("Go's format has the string, which is four bytes long",
                        lambda: b"\x04spin" in p.get("/debug/pprof/trace?seconds=1").body)

    def doubts(self, profile, whole):
        """What may be missing is said, with the function that was called."""
        said = [c for c in profile.comments if "may lack functions" in c]
        if whole:
            self.assertEqual(1, len(said), said)
            self.assertRegex(said[0], "^[12] stacks? may lack .*make_either.*: there is more than one way$")
        else:
            self.assertTrue([c for c in said if c.endswith("its file has no debug information of the jump")], said)

    def test_gcc(self):
        self.check("gcc", "g++", "-O2", "-g")

    def test_gcc_dwarf4(self):
        self.check("gcc4", "g++", "-O2", "-g", "-gdwarf-4")

    def test_clang(self):
        """clang tells of no jumps to what is not declared with debug information, malloc among them."""
        self.check("clang", "clang++", "-O2", "-g", whole=False)

    def test_without_debug_information(self):
        self.check("bare", "g++", "-O2", whole=False)

    def test_stripped_with_a_debug_file(self):
        self.check("stripped", "g++", "-O2", "-g",
                   after=(["objcopy", "--only-keep-debug", "{o}", "{o}.debug"],
                          ["objcopy", "--strip-all", "--add-gnu-debuglink={o}.debug", "{o}"]))
