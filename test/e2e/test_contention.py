# test_contention.py - /block and /mutex against programs that know who waited for what, how long, and who kept them
# waiting.
#
# Runs in: the test runner. The programs measure their waits by their own clock, at sites with names of their own;
# both sides are held against that. Where something disturbed the machine between the two clocks, the measurement is
# made again: the bounds stay.
#
# SPDX-License-Identifier: Apache-2.0
import os
import re
import subprocess
import threading
import time

import look
import shim
from shim import start

EVERY = {"PPROF_BLOCK_RATE": "1", "PPROF_MUTEX_FRACTION": "1"}
NEARLY_NEVER = {"PPROF_BLOCK_RATE": "1000000000000", "PPROF_MUTEX_FRACTION": "1000000000"}
SIDES = ("block", "mutex")


def truth_of(p):
    """{(side, site, call): [count, ns, us² of variance, variance of the count]} as the program printed it last."""
    return {tuple(k.split(":")): v for k, v in p.truth().items() if k.count(":") == 2}


def of_site(site, call):
    return lambda s: s.names[0] == call and site in s.names


def wrong_sites(truth, profiles, share=0.05, counts=True):
    """What is not as the program says: the delay of each site within `share`, its count exactly."""
    wrong = []
    for (side, site, call), (count, ns, *_) in truth.items():
        seen_count, seen_ns = profiles[side].sums(of_site(site, call))
        if abs(seen_ns - ns) > share * ns or (counts and seen_count != count):
            wrong.append("%s of %s in %s: %d times, %.3f ms, for %d times, %.3f ms" % (
                side, site, call, seen_count, seen_ns / 1e6, count, ns / 1e6))
    return wrong


class Truth(shim.TestCase):

    def measured(self, argv, env=EVERY, tries=10, more=lambda p, profiles: [], but=lambda site: False):
        """Run a program whose waits are over when it is ready, and hold both profiles against what it says."""
        for left in reversed(range(tries)):
            with start(argv, env=env) as p:
                p.wait_line("ready")
                truth, profiles = truth_of(p), {side: p.profile(side) for side in SIDES}
                self.assertGreater(len(truth), 3)
                wrong = wrong_sites({k: v for k, v in truth.items() if not but(k[1])}, profiles) + more(p, profiles)
                self.assertEqual(0, p.finish()[0])
            if not wrong:
                return truth, profiles
        self.fail("; ".join(wrong[:5]))

    def test_every_kind_of_lock(self):
        def totals(p, profiles):
            """All delay of waits for mutexes and rwlocks was caused by somebody; but for the moments of waking up."""
            ours = [profiles["mutex"].total("delay"), p.truth()["total_mutex_waits"][1]]
            if not 0.95 * ours[1] <= ours[0] <= 1.005 * ours[1]:
                return ["all of mutex: %d ns, waited: %d ns" % tuple(ours)]
            return [w for side in SIDES for w in strangers(truth_of(p), profiles, side)]

        def strangers(truth, profiles, side):
            known = [of_site(site, call) for s, site, call in truth if s == side]
            found = [(s.values, s.names[:4]) for s in profiles[side].samples if not any(k(s) for k in known)]
            # The main thread's printing, and the like: there may be a moment of it.
            return ["strangers: %s" % found[:5]] if sum(v[1] for v, _ in found) >= 5000000 else []
        truth, profiles = self.measured([shim.program("contention_truth")], more=totals)
        for side in SIDES:
            self.assertEqual([("contentions", "count"), ("delay", "nanoseconds")], profiles[side].sample_types)
            self.assertEqual(("contentions", "count"), profiles[side].period_type)
            self.assertEqual(1, profiles[side].period)
            for m in profiles[side].mappings:
                if m.has_functions:
                    self.assertTrue(all(l.lines for l in profiles[side].locations if l.mapping is m))
        self.assertEqual([0, 0], profiles["mutex"].cum("first_reader_leaves"), "it let nobody in")

    test_every_kind_of_lock.long_s = 4

    def test_short_waits_too(self):
        # 1 ms: what is lost or added to each wait would be ten times as visible.
        self.measured([shim.program("contention_truth"), 60, 1000])

    test_short_waits_too.long_s = 4

    def test_cxx(self):
        self.measured([shim.program("contention_cxx")])

    def test_cxx20(self):
        source = os.path.join(shim.PROGRAMS, "contention_cxx.cc")
        try:
            program = shim.compile_to(
                os.path.join(shim.BUILD, "programs", "linked", "contention_cxx20"), [source], ["-std=c++20"]
            )
        except RuntimeError as e:
            self.skipTest("no C++20 here: " + str(e)[:200])
        # These yield the processor some times before they wait: how long that takes is the other threads' affair. They
        # are asleep for 10 ms at least, and not for longer than the call takes.

        def of_the_standard(site):
            return site in (
                "wait_in_atomic",
                "wait_in_wide_atomic",
                "wait_in_semaphore",
                "wait_in_latch",
                "wait_in_barrier",
            )

        def spins(p, profiles):
            wrong = []
            for (side, site, call), (count, ns, *_) in truth_of(p).items():
                seen = profiles[side].sums(of_site(site, call))
                if of_the_standard(site) and not (seen[0] == count and 10000000 * count <= seen[1] <= 1.001 * ns):
                    wrong.append("%s: %s for %s" % (site, seen, (count, ns)))
            return wrong
        truth, _ = self.measured([program], more=spins, but=of_the_standard)
        self.assertIn(("block", "wait_in_atomic", "syscall"), truth)

    test_cxx20.long_s = 5

    def test_rust(self):
        path = os.environ.get("PATH", "")
        os.environ["PATH"] = path + ":" + os.path.expanduser("~/.cargo/bin")
        try:
            rustc = shim.tool("rustc")
        finally:
            os.environ["PATH"] = path
        program = os.path.join(shim.scratch("rust"), "contention_rust")
        r = subprocess.run([rustc, "-O", "-g", "-o", program, os.path.join(shim.PROGRAMS, "contention_rust.rs")],
                           capture_output=True, text=True, timeout=240)
        if r.returncode:
            self.skipTest("rustc cannot compile: " + r.stderr[:200])
        self.measured([program])

    test_rust.long_s = 5

    def test_sampled_estimates_have_no_bias(self):
        # At a rate above most waits, nearly all that is known comes of chance; at the preset one, some of it.
        dev = shim.Deviations()
        for rate, fraction in ((10000000, 10), (None, None), (2000000, 3)):
            preset = self.presets()
            rates = {"PPROF_BLOCK_RATE": str(rate), "PPROF_MUTEX_FRACTION": str(fraction)} if rate else {}
            env = dict(rates, TRUTH_RATE=str(rate or preset[0]), TRUTH_FRACTION=str(fraction or preset[1]))
            with start([shim.program("contention_steady")], env=env) as p:
                p.wait_line("ready")
                time.sleep(2.5)
                p.send(b"quiet\n")
                p.wait_line("mark 1")
                truth, profiles = truth_of(p), {side: p.profile(side) for side in SIDES}
                self.assertEqual(7, len(truth))
                for (side, site, call), (count, ns, var_us2, var_count) in truth.items():
                    name = "%s at %s/%s" % (site, rate, fraction)
                    seen_count, seen_ns = profiles[side].sums(of_site(site, call))
                    # The two clocks are read a moment apart, and a reader's unlock may be the last one by a hair.
                    apart = 0.0025 * ns + (5e5 if "read" in site or "write" in site else 0)
                    dev.add(name, seen_ns, ns, 1000 * var_us2 ** 0.5 + apart)
                    if site == "wait_in_steady_cond":
                        dev.add(name + ", count", seen_count, count, var_count ** 0.5 + 0.001 * count)
        self.assertIsNone(dev.verdict())

    test_sampled_estimates_have_no_bias.long_s = 12

    @staticmethod
    def presets():
        with open(os.path.join(shim.ROOT, "shim", "settings.def")) as f:
            text = f.read()
        return [int(re.search(r'"%s", UINT, (\d+)' % name, text).group(1))
                for name in ("PPROF_BLOCK_RATE", "PPROF_MUTEX_FRACTION")]


class Requests(shim.TestCase):

    def test_a_rate_for_one_request(self):
        with start([shim.program("contention_steady")], env=NEARLY_NEVER) as p:
            p.wait_line("ready")

            def kept(side):
                # Each event that is kept by chance counts as much delay as the rate (block), or as so many (mutex).
                prof = p.profile(side, "seconds=1")
                return prof.total("delay") / 1e12 if side == "block" else prof.total("contentions") / 1e9
            for side, parameter in (("block", "rate"), ("mutex", "fraction")):
                with self.subTest(side=side):
                    self.assertLessEqual(kept(side), 3)
                    self.assertIsNone(self.wrong_delta(p, side, parameter + "=1"))
                    self.assertLessEqual(kept(side), 3, "it is as it was")

    test_a_rate_for_one_request.long_s = 9

    marks = 0

    def wrong_delta(self, p, side, query, tries=8):
        """A delta of two seconds against the truth of the same time: the waits under way at its ends are in one of
        them."""
        for _ in range(tries):
            def mark():
                self.marks += 1
                p.send(b"\n")
                p.wait_line("mark %d" % self.marks)
                return truth_of(p), p.truth()["wall"][0]
            (before, began), prof, (after, ended) = mark(), p.profile(side, "seconds=2&" + query), mark()
            scale = prof.duration_nanos / (ended - began)
            wrong = None
            for (s, site, call), v in after.items():
                if s != side:
                    continue
                ns = (v[1] - before.get((s, site, call), [0, 0])[1]) * scale
                seen = prof.sums(of_site(site, call))[1]
                if abs(seen - ns) > 0.06 * ns + 5e7:
                    wrong = "%s: %.1f ms for %.1f ms" % (site, seen / 1e6, ns / 1e6)
            if wrong is None:
                return None
        return wrong

    def test_two_requests_with_a_rate_and_one_without(self):
        with start([shim.program("contention_steady")], env=NEARLY_NEVER) as p:
            p.wait_line("ready")
            answers = {}

            def ask(name, query):
                answers[name] = p.profile("block", query)
            threads = [threading.Thread(target=ask, args=a) for a in (
                ("fine", "seconds=2&rate=1"), ("coarse", "seconds=2&rate=1000000"), ("none", "seconds=1"))]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            self.assertEqual(3, len(answers))
            for name in ("fine", "coarse"):
                # 24 threads do nothing but wait there.
                seen = answers[name].sums(of_site("wait_in_steady_cond", "pthread_cond_timedwait"))[1]
                self.assertGreater(seen, 24e9, name)
            after = p.profile("block", "seconds=1")
            self.assertLessEqual(after.total("delay") / 1e12, 3, "all have given back what they asked for")

    test_two_requests_with_a_rate_and_one_without.long_s = 4

    def test_a_client_that_goes_away_gives_its_rate_back(self):
        with start([shim.program("contention_steady")], env=NEARLY_NEVER) as p:
            p.wait_line("ready")
            with shim.Raw(p.port) as raw:
                raw.send(b"GET /debug/pprof/block?seconds=50&rate=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                shim.wait_until("its rate to hold", lambda: p.profile("block", "seconds=1").total("contentions") > 1000)
            shim.wait_until("its rate to be given back",
                            lambda: p.profile("block", "seconds=1").total("delay") / 1e12 <= 3 or None, 30)

    test_a_client_that_goes_away_gives_its_rate_back.long_s = 5

    def test_bad_rates(self):
        with start([shim.program("contention_steady")]) as p:
            p.wait_line("ready")
            for path in ("block?seconds=1&rate=0", "block?seconds=1&rate=-1", "block?seconds=1&rate=x", "block?rate=1",
                         "mutex?seconds=1&fraction=0", "mutex?seconds=1&fraction=1.5", "mutex?fraction=1"):
                a = p.get("/debug/pprof/" + path)
                self.assertEqual((400, "1"), (a.status, a.header("X-Go-Pprof")), path)

    def test_switched_off(self):
        env = {"PPROF_BLOCK_RATE": "0", "PPROF_MUTEX_FRACTION": "0"}
        with start([shim.program("contention_truth"), 3], env=env) as p:
            p.wait_line("ready")
            for side, parameter in (("block", "rate"), ("mutex", "fraction")):
                prof = p.profile(side)
                self.assertEqual([], prof.samples)
                self.assertEqual([("contentions", "count"), ("delay", "nanoseconds")], prof.sample_types)
                a = p.get("/debug/pprof/%s?seconds=1&%s=1" % (side, parameter))
                self.assertEqual(400, a.status)
                self.assertIn("PPROF_BLOCK_RATE" if side == "block" else "PPROF_MUTEX_FRACTION", a.text)
            self.assertEqual(0, p.finish()[0])

    def test_one_of_the_two_switched_off(self):
        def counts(off, on, env):
            with start([shim.program("contention_truth"), 3], env=env) as p:
                p.wait_line("ready")
                self.assertEqual([], p.profile(off).samples)
                prof = p.profile(on)
                truth = {k: v for k, v in truth_of(p).items() if k[0] == on}
                return (sum(v[0] for v in truth.values()),
                        sum(prof.sums(of_site(site, call))[0] for _, site, call in truth))
        for off, on in (SIDES, SIDES[::-1]):
            env = dict(EVERY, **{"PPROF_BLOCK_RATE" if off == "block" else "PPROF_MUTEX_FRACTION": "0"})
            with self.subTest(off=off):
                for _ in range(8):
                    true, seen = counts(off, on, env)
                    if true == seen:
                        break
                self.assertEqual(true, seen)


class Tool(shim.TestCase):

    def test_go_tool_pprof_on_both(self):
        with start([shim.program("contention_truth"), 5], env=EVERY) as p:
            p.wait_line("ready")
            for side in SIDES:
                a = p.get("/debug/pprof/" + side)
                self.assertIn('filename="%s"' % side, a.header("Content-Disposition"))
                prof, path = shim.Profile(a.body), shim.save(a.body, side)
                sites = {site: prof.cum(site) for s, site, _ in truth_of(p) if s == side}
                for version, go in shim.gos():
                    for source in (path, p.url(side), p.url(side + "?debug=1")):
                        with self.subTest(go=version, source=source):
                            delay = shim.top(go, source, "-sample_index=delay", "-unit=ns")
                            count = shim.top(go, source, "-sample_index=contentions", "-unit=count")
                            self.assertEqual("delay", delay.type)
                            for site, (contentions, ns) in sites.items():
                                self.assertEqual(ns, delay.rows[site][1], site)
                                self.assertEqual(contentions, count.rows[site][1], site)
                    with self.subTest(go=version, base=side):
                        base = shim.top(go, p.url(side), "-base", path, "-sample_index=delay", "-unit=ns")
                        self.assertEqual([], [n for n, (flat, cum) in base.rows.items() if flat or cum])
            self.assertEqual([], p.profile("block", "seconds=1").samples, "nobody waits any more")
            self.assertEqual(0, p.finish()[0])

    test_go_tool_pprof_on_both.long_s = 12

    def test_text(self):
        with start([shim.program("contention_truth"), 5], env=EVERY) as p:
            p.wait_line("ready")
            for side, first in (("block", "--- contention:"), ("mutex", "--- mutex:")):
                text, prof = p.get("/debug/pprof/%s?debug=1" % side).text, p.profile(side)
                lines = text.splitlines()
                self.assertEqual([first, "cycles/second=1000000000"], lines[:2])
                if side == "mutex":
                    self.assertEqual("sampling period=1", lines[2])
                rows = re.findall(r"(?m)^(\d+) (\d+) @((?: 0x[0-9a-f]+)+)$", text)
                self.assertEqual(prof.total("delay"), sum(int(r[0]) for r in rows))
                self.assertEqual(prof.total("contentions"), sum(int(r[1]) for r in rows))
                self.assertEqual(
                    sorted((int(r[0]) for r in rows), reverse=True), [int(r[0]) for r in rows], "largest first"
                )

    def test_the_index_counts_them(self):
        with start([shim.program("contention_truth"), 3], env=EVERY) as p:
            p.wait_line("ready")
            page = p.get("/debug/pprof/").text
            for side in SIDES:
                m = re.search(r"<td>\s*(\d+)\s*</td>\s*<td>\s*<a href='?\"?%s\?debug=1" % side, page)
                self.assertTrue(m, page[:1500])
                self.assertEqual(len(p.profile(side).samples), int(m.group(1)))


class Left(shim.TestCase):

    def test_waits_that_never_return_leave_nothing_behind(self):
        argv = [shim.program("contention_left")]
        self.assertEqual((0, "gone 5\nready 1\n", ""), shim.run_bare(argv))
        with start(argv, env=EVERY) as p:
            p.wait_line("ready")
            self.assertEqual([5], p.truth()["gone"])
            mutex, block = p.profile("mutex"), p.profile("block")
            self.assertEqual([0, 0], mutex.cum("unlock_of_nobodys"), "a ghost waited")
            self.assertLess(block.total("delay"), 60e9)
            d = look.dump(p)
            main = d.by_tid()[p.pid]
            self.assertEqual("pthread_cond_wait", main.state, main)
            self.assertIn("wait_of_main", main.names)
            for t in d.threads:
                self.assertFalse([n for n in t.names if n.startswith("left_in_")], t)
            self.assertEqual((0, "gone 5\nready 1\n", ""), p.finish())

    def test_a_child_begins_with_nothing(self):
        with start([shim.program("contention_fork")], env=EVERY) as p:
            p.wait_line("ready")
            truth = truth_of(p)
            child, = shim.wait_until("the child", lambda: shim.behind(p.port))
            for side in SIDES:
                parent_prof, child_prof = p.profile(side), shim.get_profile(child, side)
                kind = "wait_in_" if side == "block" else "let_go_"
                call = "pthread_mutex_lock" if side == "block" else "pthread_mutex_unlock"
                self.assertEqual([0, 0], parent_prof.cum(kind + "child"))
                self.assertEqual([0, 0], child_prof.cum(kind + "parent"))
                for prof, whose in ((parent_prof, "parent"), (child_prof, "child")):
                    self.assertEqual(truth[side, kind + whose, call][0], prof.sums(of_site(kind + whose, call))[0])
            self.assertEqual(0, p.finish()[0])


class Guest(shim.TestCase):
    """What a lock call returns is what it returns without us, and who holds a lock has it alone."""

    def looked_at(self, argv, env, **more):
        """Run it while CPU profiles, dumps, traces and profiles of contention are taken; (status, stdout, stderr)."""
        for _ in range(5):
            end, taken = self.looked_at_once(argv, env, **more)
            if end[0] or taken > 4:  # else it had ended before there was enough to see
                break
        self.assertGreater(taken, 4)
        return end

    def looked_at_once(self, argv, env, **more):
        with start(argv, env=env, input_data=b"", **more) as p:
            stop, errors, taken = threading.Event(), [], []

            def ask(path):
                while not stop.is_set():
                    try:
                        a = p.get("/debug/pprof/" + path)
                    except (OSError, shim.http.client.HTTPException):
                        if not stop.wait(2) and p.running():
                            errors.append(path + " was not answered")
                        return
                    taken.append(path)
                    if a.status != 200:
                        errors.append("%s: %d %s" % (path, a.status, a.body[:100]))
            threads = [threading.Thread(target=ask, args=(path,)) for path in ("block", "mutex?debug=1")]
            with look.Looking(p, hz=1000, pause_s=0.02) as looking:
                for t in threads:
                    t.start()
                end = p.wait(180)
                stop.set()
            for t in threads:
                t.join()
            self.assertEqual([], errors + looking.errors)
            return end, len(taken)

    def test_what_every_lock_call_returns(self):
        argv = [shim.program("lock_semantics")]
        bare = shim.run_bare(argv)
        self.assertEqual((0, ""), (bare[0], bare[2]))
        self.assertIn("end 1", bare[1])
        self.assertGreater(len(bare[1].splitlines()), 2000)
        results = [None, None, None]

        def one(i, run):
            results[i] = run()
        threads = [threading.Thread(target=one, args=a) for a in (
            (0, lambda: shim.run_shim(argv)), (1, lambda: shim.run_shim(argv, env=EVERY)),
            (2, lambda: shim.run_shim(argv, env={"PPROF_BLOCK_RATE": "0", "PPROF_MUTEX_FRACTION": "0"})))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for ours in results:
            self.same(bare, ours)

    test_what_every_lock_call_returns.long_s = 14

    def same(self, bare, ours):
        self.assertEqual((bare[0], bare[2]), (ours[0], ours[2]))
        pairs = list(zip(bare[1].splitlines(), ours[1].splitlines()))
        self.assertEqual([], [p for p in pairs if p[0] != p[1]][:4])
        self.assertEqual(bare[1], ours[1])

    def test_the_same_while_all_profiles_are_taken(self):
        argv = [shim.program("lock_semantics")]
        self.same(shim.run_bare(argv), self.looked_at(argv, EVERY))

    test_the_same_while_all_profiles_are_taken.long_s = 15

    def test_a_storm(self):
        argv = [shim.program("contention_storm")]
        bare = shim.run_bare(argv)
        self.assertEqual(0, bare[0], bare[2])
        for env in ({}, EVERY):
            self.same(bare, shim.run_shim(argv, env=env))
        long = [shim.program("contention_storm"), 24, 60000]
        self.same(shim.run_bare(long), self.looked_at(long, EVERY))

    test_a_storm.long_s = 12

    def test_programs_of_before_with_every_event_kept(self):
        for name, args in (("eintr_abort", [2]), ("eintr_own", [2]), ("sigwait_all", [2])):
            with self.subTest(name=name):
                status, out, err = shim.run_shim([shim.program(name)] + args, env=EVERY)
                self.assertEqual((0, ""), (status, err))
        for name in ("signals", "tiny_stack", "edge_calls", "coroutines"):
            with self.subTest(name=name):
                argv = [shim.program(name)]
                self.assertEqual(shim.run_bare(argv)[:2], shim.run_shim(argv, env=EVERY)[:2])

    test_programs_of_before_with_every_event_kept.long_s = 8
