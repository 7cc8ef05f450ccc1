# test_dump.py - /goroutine: where each thread stands, what it waits for, who holds it, and what is stuck for good.
#
# Runs in: the test runner. The programs know where their threads are; a dump must say the same.
#
# SPDX-License-Identifier: Apache-2.0
import os
import re
import time

import look
import shim
from shim import start

# What the kernel says of calls that are no wait for another thread: one name for each family.
FAMILIES = {"ppoll": "poll", "pselect": "select", "epoll_pwait": "epoll_wait", "nanosleep": "sleep", "usleep": "sleep",
            "syscall": "futex", "sigtimedwait": "sigwait"}

CHAIN = ["level_c", "level_b", "level_a", "stand"]


def has_chain(names, chain):
    """Are these functions in the stack, in this order, next to each other?"""
    return any(names[i:i + len(chain)] == chain for i in range(len(names)))


class Truth(shim.TestCase):

    def standing(self, p):
        """{tid: (name, call)} as the program says."""
        rows = re.findall(r"^thread (\d+) (\S+) (\S+)$", p.out, re.M)
        return {int(tid): (name, call) for tid, name, call in rows}

    def interrupted(self, p, k):
        p.send(b"\n")
        p.wait_line("told %d" % k)
        return p.truth()["interrupted"][0]

    def test_every_thread_with_its_name_wait_and_stack(self):
        with start([shim.program("dump_truth")]) as p:
            p.wait_line("ready")
            d = look.dump(p)
            threads = d.by_tid()
            listeners = {t for t, name in p.threads().items() if name == "pprofshim"}
            self.assertEqual(set(p.threads()) - listeners, set(threads) - listeners, "all threads, and no other")
            holder, mutex = map(int, re.search(r"^holder (\d+) (\d+)$", p.out, re.M).groups())
            for tid, (name, call) in self.standing(p).items():
                with self.subTest(name=name):
                    t = threads[tid]
                    self.assertEqual(name, t.name)
                    if call == "deaf":
                        self.assertTrue(t.not_reached, t)
                        continue
                    if call == "raw":
                        self.assertTrue(t.not_reached or has_chain(t.names, CHAIN), t)
                        continue
                    self.assertIsNone(t.not_reached, t)
                    self.assertTrue(has_chain(t.names, CHAIN), t)
                    self.assertIn("create_stander", t.created_names)
                    self.assertIn("main", t.created_names)
                    if call == "running":
                        self.assertEqual("running", t.state)
                        self.assertIn("burning", t.names)
                        continue
                    calls = (call, FAMILIES.get(call))
                    self.assertIn(t.state, calls)
                    self.assertIn(t.waits_in, calls)
                    self.assertTrue(t.since, t.notes)
                    if name == "in-vla":
                        self.assertIn("in_vla", t.names)
            for name in ("in-mutex", "in-timed-mutex"):
                t = d.by_name(name)
                self.assertEqual((holder, "holder"), (t.held_by, t.holder_name))
                self.assertEqual("0x%x" % mutex, t.object)
            for name in ("in-rdlock", "in-wrlock"):
                self.assertEqual((holder, "holder"), (d.by_name(name).held_by, d.by_name(name).holder_name))
            self.assertEqual([], d.head, "nothing is stuck")
            self.assertEqual(0, self.interrupted(p, 1))

    test_every_thread_with_its_name_wait_and_stack.long_s = 5

    def test_dumps_interrupt_nobody(self):
        with start([shim.program("dump_truth"), 40]) as p:
            p.wait_line("ready")
            for _ in range(60):
                look.dump(p)
            with look.Looking(p, hz=1000):
                time.sleep(3)
            self.assertEqual(0, self.interrupted(p, 1))

    test_dumps_interrupt_nobody.long_s = 8

    def test_a_thousand_threads(self):
        with start([shim.program("dump_truth"), 1000]) as p:
            p.wait_line("ready")
            took = []
            for _ in range(3):
                began = time.monotonic()
                a = p.get("/debug/pprof/goroutine?debug=2")
                took.append(time.monotonic() - began)
                d = look.Dump(a.text)
                more = [t for t in d.threads if t.name.startswith("more-")]
                self.assertEqual(1000, len(more))
                for t in more:
                    self.assertEqual("read" if int(t.name[5:]) % 2 else "pthread_cond_wait", t.state)
                    self.assertTrue(has_chain(t.names, CHAIN[:3] + ["stand_more"]), t)
            # How long it takes is for the bench; that it is no hang, for here.
            self.assertLess(min(took), 20)
            profile = p.profile("goroutine")
            self.assertEqual([("goroutine", "count")], profile.sample_types)
            self.assertGreaterEqual(profile.total("goroutine"), 1000)
            self.assertEqual(0, self.interrupted(p, 1))

    test_a_thousand_threads.long_s = 12

    def test_profile_and_text_count_every_thread(self):
        with start([shim.program("dump_truth"), 30]) as p:
            p.wait_line("ready")
            threads = len(p.threads())
            prof = p.profile("goroutine")
            self.assertEqual([("goroutine", "count")], prof.sample_types)
            self.assertEqual(("goroutine", "count"), prof.period_type)
            self.assertEqual(1, prof.period)
            self.assertIn(threads - prof.total("goroutine"), (0, 1), "all threads, the listener or not")
            self.assertEqual([1], prof.flat("thread_not_reached"), "the deaf one")
            self.assertEqual([15], prof.sums(lambda s: "s_read" in s.names and "stand_more" in s.names))
            self.assertEqual([16], prof.sums(lambda s: "s_cond" in s.names))
            text = p.get("/debug/pprof/goroutine?debug=1").text
            total = int(re.match(r"goroutine profile: total (\d+)\n", text).group(1))
            self.assertEqual(prof.total("goroutine"), total)
            counts = [int(n) for n in re.findall(r"(?m)^(\d+) @(?: 0x[0-9a-f]+)+$", text)]
            self.assertEqual(total, sum(counts))
            self.assertEqual(sorted(counts, reverse=True), counts)
            self.assertGreaterEqual(counts[0], 15, "threads that stand alike are one group")
            path = shim.save(text.encode(), "goroutine")
            for version, go in shim.gos():
                with self.subTest(go=version):
                    out, _ = shim.pprof(go, "-raw", path)
                    self.assertIn("goroutine/count", out)
                    self.assertIn("s_read", shim.top(go, p.url("goroutine")).rows)

    test_profile_and_text_count_every_thread.long_s = 5

    def test_seconds_asks_for_what_changed(self):
        with start([shim.program("dump_truth")]) as p:
            p.wait_line("ready")
            delta = p.profile("goroutine", "seconds=1")
            self.assertLessEqual(sum(abs(s.values[0]) for s in delta.samples), 8, "nobody came or went")


class Descriptors(shim.TestCase):

    def look(self, p):
        """{name: (fd, port, peer)} as the program says, and a dump in which all these threads wait."""
        p.wait_line("ready")
        truth = {name: tuple(map(int, rest)) for name, *rest in
                 re.findall(r"^waits (\S+) (\d+) (\d+) (\d+)$", p.out, re.M)}
        return truth, shim.wait_until("all to wait", lambda: next(
            (d for d in [look.dump(p)] if len([t for t in d.threads if t.name in truth and t.object]) == len(truth)),
            None))

    def test_what_a_thread_waits_for_is_told_with_its_path_or_its_peer(self):
        fifo = os.path.join(shim.scratch("fd"), "a fifo")
        # Where there is a filter of system calls, the kernel is not asked for peers of unix sockets.
        with open("/proc/self/status") as f:
            is_asked = not int(re.search(r"^Seccomp:\s+(\d)", f.read(), re.M).group(1))
        with start([shim.program("fd_truth"), fifo]) as p:
            truth, d = self.look(p)
            peer = re.search(r"^peer (\d+)$", p.out, re.M).group(1)
            for name, what in (("accepts", "tcp 127.0.0.1:%d, listening"),
                               ("serves", "tcp 127.0.0.1:%d, peer 127.0.0.1:%d"),
                               ("asks", "tcp 127.0.0.1:%d, peer 127.0.0.1:%d"),
                               ("reads-fifo", fifo), ("reads-unix", "unix socket"),
                               ("reads-path", "unix socket" + is_asked * (", peer %s.s" % fifo)),
                               ("reads-peer", "unix %s.s" % fifo + is_asked * (", peer socket:[%s]" % peer))):
                fd, *ports = truth[name]
                with self.subTest(name=name):
                    want = "descriptor %d (%s" % (fd, what % tuple(ports[:what.count("%d")]))
                    self.assertEqual(want, d.by_name(name).object[:len(want)])
            self.assertEqual(0, p.finish()[0])

    def test_several_descriptors_are_counted_and_the_first_ones_named(self):
        fifo = os.path.join(shim.scratch("fd"), "a fifo")
        with start([shim.program("fd_truth"), fifo]) as p:
            truth, d = self.look(p)
            fds = re.search(r"^sets (.*)$", p.out, re.M).group(1).split()
            names = ["%s: %s" % (fd, fifo if i == 1 else "eventfd") for i, fd in enumerate(fds)]
            self.assertEqual("7 descriptors (%s; …)" % "; ".join(names[:5]), d.by_name("polls-many").object)
            self.assertEqual("2 descriptors (%s)" % "; ".join(names[:2]), d.by_name("selects").object)
            self.assertIn(d.by_name("epolls-many").object, [  # the kernel's order is not the program's
                "descriptor %d (epoll of 2 descriptors (%s))" % (truth["epolls-many"][0], "; ".join(two))
                for two in (names[:2], names[1::-1])])
            self.assertRegex(d.by_name("polls").object, r"\(epoll of 1 descriptor \(\d+: unix socket.*\)\)$")
            self.assertEqual(0, p.finish()[0])


class Left(shim.TestCase):

    def test_calls_that_never_return_leave_nothing_behind(self):
        argv = [shim.program("cancel_waits"), 3]
        with shim.Process(argv, env=shim.bare_env()) as p:
            p.wait_line("ready")
            bare = p.out
        with start(argv) as p:
            p.wait_line("began")
            with look.Looking(p, hz=1000) as looking:
                p.wait_line("ready", 120)
            ours = p.out
            self.assertEqual(bare, ours)
            self.assertEqual([], looking.errors)
            for _ in range(5):
                d = look.dump(p)
                for name in ("left-by-throw", "left-by-jump"):
                    t = d.by_name(name)
                    self.assertEqual("running", t.state, t)
                    self.assertIsNone(t.waits_in, t)
                    self.assertIn("parked_running", " ".join(map(shim.demangle, t.names)))
                t = d.by_name("left-then-sem")
                self.assertEqual(("sem_wait", "sem_wait"), (t.state, t.waits_in), t)
                self.assertIn("parked_in_sem", " ".join(map(shim.demangle, t.names)))

    test_calls_that_never_return_leave_nothing_behind.long_s = 10


class Stuck(shim.TestCase):

    def ring(self, kind):
        p = start([shim.program("deadlock"), kind])
        try:
            p.wait_line("ready")
        except BaseException:
            p.__exit__()
            raise
        return p, re.findall(r"^thread (\d+) (\S+)$", p.out, re.M)

    def check_named(self, kind):
        p, threads = self.ring(kind)
        with p:
            d = look.dump(p)
            self.assertEqual(1, len(d.deadlocks()), d.head)
            line = d.deadlocks()[0]
            for tid, name in threads:
                self.assertRegex(line, r"thread %s \(%s\)" % (tid, name))
            # The chain is in order, wherever it begins.
            order = [int(t) for t in re.findall(r"thread (\d+)", line)]
            ring = [int(t) for t, _ in threads]
            follows = {a: b for a, b in zip(ring, ring[1:] + ring[:1])}
            for a, b in zip(order, order[1:]):
                if a != b:
                    self.assertEqual(follows[a], b, line)
            for i, (tid, name) in enumerate(threads):
                t = d.by_tid()[int(tid)]
                self.assertEqual(int(threads[(i + 1) % len(threads)][0]), t.held_by, t.notes)
                self.assertTrue(has_chain(t.names, ["wait_for_next_lock", "stand_in_ring"]), t)
            index = p.get("/debug/pprof/").text
            self.assertIn("DEADLOCK:", index)
            for _, name in threads:
                self.assertIn(name, index)
            # It is no less so the second time, and the CPU profile works on.
            self.assertEqual(1, len(look.dump(p).deadlocks()))
            p.profile("profile", "seconds=1")

    def test_three_threads_on_three_mutexes(self):
        self.check_named("mutex")

    def test_three_threads_on_three_rwlocks(self):
        self.check_named("rwlock")

    def test_a_ring_of_mutexes_and_a_rwlock(self):
        self.check_named("mixed")

    def test_a_thread_that_locks_its_own_mutex(self):
        p, ((tid, name),) = self.ring("self")
        with p:
            d = look.dump(p)
            self.assertEqual(1, len(d.deadlocks()), d.head)
            self.assertRegex(d.deadlocks()[0], r"thread %s \(%s\)" % (tid, name))
            self.assertEqual(int(tid), d.by_tid()[int(tid)].held_by)

    def test_what_ends_by_itself_is_no_deadlock(self):
        for kind in ("timed", "slow"):
            with self.subTest(kind=kind):
                p, threads = self.ring(kind)
                with p:
                    for _ in range(3):
                        d = look.dump(p)
                        self.assertEqual([], d.head)
                        t = d.by_tid()[int(threads[0][0])]
                        self.assertEqual(int(threads[1][0]), t.held_by)
                    index = p.get("/debug/pprof/").text
                    self.assertNotIn("DEADLOCK:", index)
                    self.assertNotIn("STALLED:", index)

    def test_philosophers_who_are_only_slow(self):
        with start([shim.program("philosophers"), 150]) as p:
            p.wait_line("ready")
            waiting = 0
            end = time.monotonic() + 5
            while time.monotonic() < end:
                d = look.dump(p)
                self.assertEqual([], d.head)
                waiting += sum(t.state == "pthread_mutex_lock" for t in d.threads)
                self.assertNotIn("DEADLOCK:", p.get("/debug/pprof/").text)
                time.sleep(0.02)
            self.assertGreater(waiting, 20, "they did wait for each other")
            self.assertEqual(0, p.finish()[0])
            self.assertGreater(p.truth()["meals"][0], 5)

    test_philosophers_who_are_only_slow.long_s = 7

    def test_a_wait_of_more_than_a_minute(self):
        p, threads = self.ring("slow")
        with p:
            self.assertEqual([], look.dump(p).head)
            (first, first_name), (second, second_name), _ = threads
            d = shim.wait_until("the minute to be over", lambda: next(
                (d for d in [look.dump(p)] if len(d.stalled()) >= 2), None), 120, 1.0)
            self.assertEqual([], d.deadlocks())
            for tid, name in ((first, first_name), (second, second_name)):
                self.assertTrue(
                    [h for h in d.stalled() if re.match(r"STALLED: thread %s \(%s\)" % (tid, name), h)], d.head
                )
                t = d.by_tid()[int(tid)]
                self.assertEqual(1, t.minutes)
                self.assertRegex(t.since, r"^1m\d+s$")
            index = p.get("/debug/pprof/").text
            self.assertIn("STALLED:", index)
            self.assertIn(first_name, index)

    test_a_wait_of_more_than_a_minute.long_s = 66
