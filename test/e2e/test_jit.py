# test_jit.py - code made at run time has the names of /tmp/perf-PID.map, if the map can be believed.
#
# Runs in: the test runner. jit_map knows what its made code does; node and java make theirs as they like, but of
# functions that are known. Maps are removed whatever happens.
#
# SPDX-License-Identifier: Apache-2.0
import contextlib
import math
import os
import re
import subprocess

import look
import shim
from shim import start

SEVENTY, TWENTY, TEN = "burn seventy:/srv/a b.js:12", "burn twenty (code used again)", "call:c_ten"
MADE = {SEVENTY, TWENTY, TEN, "call:stand_here", "jit_allocates", "jit_of_site"}
NOBODY = 65534


def stack_of(text, thread):
    """[(function, place)] of the thread of that name in debug=2, innermost first; [] if it is not there."""
    for block in text.split("\n\n"):
        lines = block.split("\n")
        if "# thread " + thread in lines:
            return [(re.sub(r"(\+0x[0-9a-f]+)?\(\.\.\.\)$", "", f), place.strip()) for f, place in zip(lines, lines[1:])
                    if place.startswith("\t")]
    return []


def follows(names, chain):
    """Are these functions in the stack, next to each other?"""
    return any(names[i:i + len(chain)] == chain for i in range(len(names)))


def jit_locations(prof):
    return [l for l in prof.locations if l.mapping and l.mapping.file == "[jit]"]


class Jit(shim.TestCase):

    @contextlib.contextmanager
    def started(self, argv, **more):
        """A program whose map is removed in the end. umask: a map that its group may write would not be believed."""
        with start(argv, umask=0o022, **more) as p:
            path = "/tmp/perf-%d.map" % p.pid
            try:
                p.wait_line("ready")
                yield p, path
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(path)

    def seen(self, p, what, wanted, query="seconds=1&hz=1000"):
        """Take CPU profiles until wanted(profile) is true, and return that one: a busy machine may leave us little
        CPU."""
        for _ in range(15):
            prof = p.profile("profile", query)
            if wanted(prof):
                return prof
        self.fail("no profile of 15 has %s: %s" % (what, sorted(prof.names())[:30]))


class MadeCode(Jit):

    def test_cpu_profile_names_made_code_as_the_map_does(self):
        with self.started([shim.program("jit_map")]) as (p, _):
            measure = look.Measure(p)
            keys = {"seventy": SEVENTY, "twenty": TWENTY, "ten": TEN}

            def wrong():
                samples = sum(s.values[0] for q in measure.profiles for s in q.samples)
                if samples < 300:
                    return "only %d samples" % samples
                total, truth = measure.cpu(lambda s: True), sum(measure.truth[k] for k in keys)
                for key, name in keys.items():
                    share, true_share = measure.cpu(lambda s: name in s.names) / total, measure.truth[key] / truth
                    if abs(share - true_share) > 0.03 + 4 * math.sqrt(true_share * (1 - true_share) / samples):
                        return "%s: %.3f for %.3f of %d samples" % (name, share, true_share, samples)
                return None
            self.assertIsNone(measure.until(wrong, 2, "&hz=1000", most=40))
            start_at, end = p.truth()["code"]
            self.assertLess(measure.cpu(lambda s: s.names == [SEVENTY]), measure.cpu(lambda s: True) / 100)
            for prof in measure.profiles:
                self.check_locations(prof, start_at, end)
                self.assertNotIn("old code", prof.names(), "its memory has another name now")
                for s in prof.samples:
                    # At its first and its last instruction it has no frame: then the stack may end there.
                    if SEVENTY in s.names and s.names != [SEVENTY]:
                        self.assertTrue(follows(s.names, [SEVENTY, "burn_next", "burning"]), s.names)
                    if "c_ten" in s.names:
                        self.assertTrue(follows(s.names, ["c_ten", TEN, "burn_next"]), s.names)
            self.assertEqual(0, p.finish()[0])

    test_cpu_profile_names_made_code_as_the_map_does.long_s = 8

    def check_locations(self, prof, start_at, end):
        """[jit] is the mapping of the made code, and of nothing else."""
        for l in prof.locations:
            inside = start_at <= l.address < end
            self.assertEqual(inside, bool(l.mapping and l.mapping.file == "[jit]"), (l.names, hex(l.address)))
            self.assertEqual(inside, bool(MADE.intersection(l.names)), (l.names, hex(l.address)))
            if inside:
                self.assertTrue(l.mapping.start <= l.address < l.mapping.limit, l)
                self.assertEqual(1, l.mapping.has_functions)
                self.assertEqual([("", 0)], [(f.filename, line) for f, line in l.lines])

    def test_heap_profile_has_the_frames_of_made_code(self):
        with self.started([shim.program("jit_map")], rate=1) as (p, _):
            prof = p.profile("heap")
            for site, rows in p.sites().items():
                self.assertEqual(shim.site_truth(rows), prof.cum(site), site)
            stacks = [s.names for s in prof.samples]
            self.assertTrue(
                [n for n in stacks if n[:3] == ["jit_allocates", "allocate", "main"]], "made code calls malloc"
            )
            self.assertTrue([n for n in stacks if follows(n, ["via_jit", "jit_of_site", "allocate", "main"])])
            # What is kept is the address: code that was replaced since has the name of what lies there now.
            self.assertNotIn("old code", prof.names())
            start_at, end = p.truth()["code"]
            self.check_locations(prof, start_at, end)
            top = shim.top(shim.gos()[-1][1], shim.save(p.get("/debug/pprof/heap").body), "-sample_index=alloc_space")
            self.assertIn("jit_allocates", top.rows)
            self.assertEqual(0, p.finish()[0])

    def made_code_in_dumps(self):
        """None, or what is missing in one program's dumps."""
        with self.started([shim.program("jit_map")]) as (p, _):
            for _ in range(40):
                text = p.get("/debug/pprof/goroutine?debug=2").text
                stands, burns = stack_of(text, "jit-stands"), stack_of(text, "jit-burns")
                if (follows([f for f, _ in stands], ["stand_here", "call:stand_here", "standing"]) and
                        follows([f for f, _ in burns], [SEVENTY, "burn_next", "burning"])):
                    self.assertRegex(dict(stands)["call:stand_here"], r"^\[jit\]:0 \.c:0 \+0x[0-9a-f]+$")
                    self.assertEqual(0, p.finish()[0])
                    return None
        return "one always, one 70 %% of the time: %s; %s" % (stands, burns)

    def test_dump_names_made_code(self):
        # Code without tables is walked through by what lies on the stack: in some programs it ends there.
        for _ in range(10):
            missing = self.made_code_in_dumps()
            if not missing:
                return
        self.fail(missing)


class Belief(Jit):

    def names(self, p):
        """Functions of the made code. All of it is there as [jit], by whatever name."""
        prof = self.seen(p, "made code", lambda prof: len(jit_locations(prof)) > 1)
        return {n for l in jit_locations(prof) for n in l.names}

    def check_map(self, spoil):
        """The names are not believed once spoil(map, elsewhere) was done, and are again when the file is as it was."""
        with self.started([shim.program("jit_map")]) as (p, path):
            with open(path) as f:
                text = f.read()
            self.assertTrue(self.names(p) <= MADE)
            elsewhere = os.path.join(shim.scratch("map"), "map")
            spoil(path, elsewhere)
            names = self.names(p)
            self.assertFalse(names & MADE, names)
            self.assertTrue(all(n.startswith("[jit]+0x") for n in names), names)
            stands = stack_of(p.get("/debug/pprof/goroutine?debug=2").text, "jit-stands")
            self.assertIn("stand_here", [f for f, _ in stands])
            self.assertNotIn("call:stand_here", [f for f, _ in stands])
            with contextlib.suppress(OSError):
                os.unlink(path)
            with contextlib.suppress(OSError):
                os.unlink(elsewhere)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w") as f:
                f.write(text)
            os.chmod(path, 0o644)
            self.assertTrue(self.names(p) <= MADE)
            self.assertEqual(0, p.finish()[0])

    def test_a_map_of_another_user(self):
        if os.geteuid() != 0:
            self.skipTest("only root can give a file away")
        self.check_map(lambda path, _: os.chown(path, NOBODY, NOBODY))

    def test_a_map_that_others_may_write(self):
        self.check_map(lambda path, _: os.chmod(path, 0o646))

    def test_a_symbolic_link(self):
        def spoil(path, elsewhere):
            with open(path) as f, open(elsewhere, "w") as g:
                g.write(f.read())
            os.unlink(path)
            os.symlink(elsewhere, path)
        self.check_map(spoil)

    def test_a_second_name_of_a_file(self):
        def spoil(path, _):
            os.link(path, path + ".other")
            self.addCleanup(os.unlink, path + ".other")
        self.check_map(spoil)

    def test_a_pipe_holds_nobody_up(self):
        def spoil(path, _):
            os.unlink(path)
            os.mkfifo(path, 0o600)
        self.check_map(spoil)

    def test_no_map(self):
        self.check_map(lambda path, _: os.unlink(path))


class Runtimes(Jit):

    def check_runtime(self, p, thread, spins, allocates):
        """Functions like these burn, and allocate, in the profiles and in the dump."""
        def is_spinning(s):
            return re.search(spins, s.names[0]) and s.locations[0].mapping.file == "[jit]"

        def is_told(prof):
            cpu = prof.sums(is_spinning)[prof.index("cpu")]
            return cpu > 50000000 and cpu > 0.3 * prof.total("cpu")
        self.seen(p, "the work", is_told)
        heap = p.profile("heap")
        mine = [l for s in heap.samples for l in s.locations if any(re.search(allocates, n) for n in l.names)]
        self.assertTrue(mine, [n for n in heap.names() if " " in n][:30])
        self.assertEqual({"[jit]"}, {l.mapping.file for l in mine})
        for _ in range(40):
            stack = stack_of(p.get("/debug/pprof/goroutine?debug=2").text, thread)
            if [f for f, place in stack if re.search(spins, f) and place.startswith("[jit]:0 ")]:
                return
        self.fail("no dump shows the work: %s" % stack[:8])

    def test_node(self):
        script = os.path.join(shim.scratch("node"), "work.js")
        with open(script, "w") as f:
            f.write(NODE_WORK)
        with self.started([shim.tool("node"), "--no-turbo-inlining", "--perf-basic-prof", script], rate=20000,
                          cwd=os.path.dirname(script)) as (p, path):
            shim.wait_until("node's map", lambda: os.path.exists(path))
            self.check_runtime(p, "node", r"^\S+:\S?spinInJs .*work\.js:1", r"allocateInJs .*work\.js:3")
            self.assertEqual((0, "ready\n", ""), p.finish())

    test_node.long_s = 10

    def test_java(self):
        java, javac, jcmd = shim.tool("java"), shim.tool("javac"), shim.tool("jcmd")
        folder = shim.scratch("java")
        with open(os.path.join(folder, "Work.java"), "w") as f:
            f.write(JAVA_WORK)
        r = subprocess.run(
            [javac, "Work.java"], cwd=folder, capture_output=True, text=True, env=shim.bare_env(), timeout=120
        )
        if r.returncode:
            self.skipTest("javac cannot compile: " + r.stderr[:200])
        argv = [java, "-Xmx256m", "-XX:+PreserveFramePointer", "-cp", folder, "Work"]
        with self.started(argv, rate=20000) as (p, path):
            r = subprocess.run([jcmd, str(p.pid), "Compiler.perfmap"], capture_output=True, text=True, timeout=120,
                               env=shim.bare_env())
            if not os.path.exists(path):
                self.skipTest("this java writes no map: " + (r.stdout + r.stderr)[:200])
            self.check_runtime(p, "java-burns", r"\bWork\.spinInJava\b", r"\bWork\.allocateInJava\b")
            self.assertEqual((0, "ready\n"), p.finish()[:2])

    test_java.long_s = 12


# On one line each: laid out otherwise, these are compiled otherwise.
NODE_WORK = r'''function spinInJs(n) { let a = 1; for (let i = 0; i < n; i++) a = (a * 31 + (i % 7)) % 1000003; return a; }
const kept = [];
function allocateInJs(n) { const b = Buffer.allocUnsafeSlow(n); b[0] = 1; if (kept.length < 200) kept.push(b); return b; }
let rounds = 0;
function burnAll() {
  spinInJs(2000000);
  for (let i = 0; i < 20; i++) allocateInJs(50000);
  if (++rounds == 100) console.log('ready');
  setImmediate(burnAll);
}
process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
burnAll();
'''  # noqa: E501

JAVA_WORK = r'''
import java.nio.ByteBuffer;
public class Work {
    static volatile ByteBuffer kept;
    static volatile int sizes;
    static long spinInJava(long n) {
        long a = 1;
        for (long i = 0; i < n; i++) a = (a * 31 + i % 7) % 1000003;
        return a;
    }
    static void allocateInJava(int n) { kept = ByteBuffer.allocateDirect(n + sizes % 2); }
    static void burn(int rounds) {
        for (int i = 0; i < rounds; i++) { spinInJava(2000); allocateInJava(2000); }
    }
    public static void main(String[] args) throws Exception {
        burn(40000);
        Thread t = new Thread(() -> { for (;;) { spinInJava(20000000); burn(10); } }, "java-burns");
        t.setDaemon(true);
        t.start();
        Thread.sleep(500);
        System.out.println("ready");
        System.out.flush();
        while (System.in.read() >= 0) { }
        System.exit(0);
    }
}
'''
