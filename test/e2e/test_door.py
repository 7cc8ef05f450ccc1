# test_door.py - one port for all processes: who joins, who is asked, who is kept out, what happens when one dies.
#
# Runs in: the test runner. Processes that other processes make join in their own time: tests wait for them.
#
# SPDX-License-Identifier: Apache-2.0
import contextlib
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest

import shim
from shim import start

NOBODY = 65534
MAGIC, VERSION = 0x70736431, 1
HELLO, WELCOME, REFUSED, ASK, STATUS, PASS, TAKEN = range(1, 8)


def waiter(*what):
    return [shim.program("waits_for_input"), *what]


def other(port, argv=None, env=None, **more):
    """A process that finds the port taken, with nothing to read at its end."""
    return shim.Process(argv or waiter(), env=shim.shim_env(port, extra=env), **more)


def joined(port, *processes):
    """Wait until all these are behind the port; {pid: Behind}."""
    def found():
        rows = {b.pid: b for b in shim.processes(port)}
        return rows if all(p.pid in rows for p in processes) else None
    return shim.wait_until("processes %s" % [p.pid for p in processes], found)


def door_address(port):
    return "\0pprofshim/%d/door" % port


def knock(port):
    """A connection to the door by a process that need not be one of ours."""
    def connected():
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(shim.DEADLINE_S)
        if s.connect_ex(door_address(port)) == 0:
            return s
        s.close()
        return None
    return shim.wait_until("the door", connected)


def head(kind, version=VERSION):
    return struct.pack("=IHH", MAGIC, version, kind)


def hello(pid=4242, listener=4242):
    return head(HELLO) + struct.pack("=iiii", pid, listener, 1, 0)


def kind_of(message):
    return struct.unpack_from("=IHH", message)[2] if message else None


def hear(s):
    """What the door says. A reset comes before it if the door closed without reading ours."""
    try:
        return s.recv(4096)
    except ConnectionResetError:
        return s.recv(4096)


class Joining(shim.TestCase):

    def test_the_second_on_a_port_joins_the_first_and_says_nothing(self):
        with start(waiter()) as p, other(p.port) as q:
            at = joined(p.port, p, q)[q.pid]
            self.assertEqual("\0".join(q.argv), at.get("/debug/pprof/cmdline").text)
            self.assertEqual("\0".join(p.argv), p.get("/debug/pprof/cmdline").text)
            self.assertFalse([n for n in range(p.port + 1, p.port + 11) if shim.port_answers(n)])
            self.assertEqual([(0, "ready 1\n", "")] * 2, [q.finish(), p.finish()])

    def test_two_at_a_time_print_what_they_print_alone(self):
        for argv in (["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], ["/bin/ls", "/"],
                     ["/usr/bin/python3", "-c", "print(1)"]):
            bare = shim.run_bare(argv)
            for _ in range(5):
                port = shim.free_port()
                pair = [shim.Process(argv, env=shim.shim_env(port)) for _ in range(2)]
                with pair[0], pair[1]:
                    self.assertEqual([bare] * 2, [p.finish() for p in pair], argv)

    def test_many_that_begin_at_once_have_one_port_and_are_silent(self):
        port = shim.free_port()
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(other(port)) for _ in range(12)]
            joined(port, *crowd)
            self.assertEqual([port], [n for n in range(port, port + 11) if shim.port_answers(n)])
            self.assertEqual({(0, "ready 1\n", "")}, {p.finish() for p in crowd})

    def test_three_hundred_join(self):
        ends = []
        read, write = os.pipe()
        with start(waiter()) as p:
            try:
                for _ in range(300):
                    ends.append(subprocess.Popen(waiter(), env=shim.shim_env(p.port), stdin=read, close_fds=True,
                                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
                shim.wait_until("300 processes", lambda: len(shim.behind(p.port)) == 300, 240)
                at = {b.pid: b for b in shim.behind(p.port)}
                for e in ends[::50]:
                    self.assertEqual(200, at[e.pid].get("/debug/pprof/heap").status)
            finally:
                os.close(write)
                os.close(read)
                errors = {e.communicate(timeout=120)[1] for e in ends}
            self.assertEqual({b""}, errors)
            shim.wait_until("them to be off the list", lambda: not shim.behind(p.port))
            self.assertEqual((0, "ready 1\n", ""), p.finish())

    test_three_hundred_join.long_s = 40

    def test_a_stranger_keeps_the_port_and_the_door_is_at_the_next(self):
        port = shim.free_port()
        with socket.socket() as s:
            s.bind(("127.0.0.1", port))
            s.listen(1)
            with start(waiter(), port=port + 1, env={"PPROF_ADDR": "127.0.0.1:%d" % port}) as p:
                p.wait_line("ready")
                shim.wait_until("its word", lambda: p.err.endswith("\n"))
                self.assertRegex(p.err, r"^pprofshim: \S+:%d/\S* is taken; .*:%d/\S*\n$" % (port, port + 1))
                with other(port) as q:
                    self.assertEqual("\0".join(q.argv), joined(port + 1, q)[q.pid].get("/debug/pprof/cmdline").text)
                    self.assertEqual((0, "ready 1\n", ""), q.finish())

    def test_children_of_a_program_that_forks_join_it(self):
        code = ("import os, select, sys\n"
                "for i in range(3):\n"
                "    if os.fork() == 0:\n"
                "        fds = sorted(os.listdir('/proc/self/fd'))\n"
                "        os.write(1, ('fds %s\\n' % ' '.join(fds)).encode())\n"
                "        select.select([0], [], [])\n"
                "        os._exit(0)\n"
                "os.write(1, b'ready\\n')\n"
                "select.select([0], [], [])\n")
        with start(["/usr/bin/python3", "-c", code]) as p:
            p.wait_line("ready")
            children = shim.wait_until("three children", lambda: len(shim.behind(p.port)) == 3 and shim.behind(p.port))
            for b in children:
                self.assertEqual(200, b.get("/debug/pprof/goroutine").status)
            self.assertEqual({"fds 0 1 2 3"}, {row for row in p.out.splitlines() if row.startswith("fds")})
            self.assertEqual((0, ""), p.finish()[::2])

    def test_who_confines_itself_leaves_and_who_execs_comes_back(self):
        with start(waiter()) as p, other(p.port, waiter("confine")) as c, other(p.port, waiter("exec")) as e:
            joined(p.port, c, e)
            c.send(b"go\n")
            c.wait_line("done")
            shim.wait_until("the confined one to be gone", lambda: c.pid not in {b.pid for b in shim.processes(p.port)})
            e.send(b"go\n")
            e.wait_line("again")
            shim.wait_until("the new program", lambda: [b for b in shim.processes(p.port) if b.pid == e.pid and
                                                        b.row["command"].endswith(" again")])
            self.assertEqual([0, 0, 0], [x.finish()[0] for x in (c, e, p)])

    def test_an_idle_member_never_wakes(self):
        def switches(pid):
            with open("/proc/%d/status" % pid) as f:
                return [row for row in f if "ctxt_switches" in row]
        with start(waiter()) as p, other(p.port) as q:
            joined(p.port, q)
            pids = [q.pid, q.listener(), p.listener()]
            for turn in range(5):
                time.sleep(0.5)
                before = [switches(n) for n in pids]
                time.sleep(3)
                if before == [switches(n) for n in pids]:
                    return
            self.fail("they wake while nobody asks")


class Pages(shim.TestCase):

    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.p = self.stack.enter_context(start(waiter()))
        self.q = self.stack.enter_context(other(self.p.port))
        self.at = joined(self.p.port, self.p, self.q)[self.q.pid]

    def tearDown(self):
        self.stack.close()

    def test_a_member_answers_as_it_would_at_a_port_of_its_own(self):
        own = joined(self.p.port)[self.p.pid]
        for method, path, body in (("GET", "/debug/pprof/heap", None), ("HEAD", "/debug/pprof/heap", None),
                                   ("GET", "/debug/pprof/nothing", None), ("GET", "/debug/pprof/heap?seconds=x", None),
                                   ("POST", "/debug/pprof/symbol", "0x1+0x2"), ("GET", "/debug/pprof/symbol", None),
                                   ("GET", "/debug/pprof/goroutine?debug=2", None), ("GET", "/debug", None),
                                   ("PUT", "/debug/pprof/heap", None), ("GET", "/debug/pprof/block?seconds=1", None)):
            with self.subTest(method=method, path=path):
                a, b = (x.get(path, method=method, body=body) for x in (own, self.at))
                self.assertEqual(a.status, b.status)
                drop = ("date", "content-length")
                self.assertEqual({k: v for k, v in a.headers.items() if k not in drop},
                                 {k: v for k, v in b.headers.items() if k not in drop})
        asked = {"method": "POST", "body": "0x1+0x2"}
        self.assertEqual(*(x.get("/debug/pprof/symbol", **asked).text for x in (own, self.at)))

    def test_one_connection_asks_several_processes(self):
        with shim.Raw(self.p.port) as c:
            for _ in range(3):
                for name, argv in ((self.p.pid, self.p.argv), (self.q.pid, self.q.argv)):
                    c.send(b"GET /pid/%d/debug/pprof/cmdline HTTP/1.1\r\nHost: localhost\r\n\r\n" % name)
                    a = c.answer()
                    self.assertEqual((200, "\0".join(argv)), (a.status, a.text))
            c.send(b"GET /pid/%d/debug/pprof/cmdline HTTP/1.0\r\n\r\n" % self.q.pid)
            self.assertEqual("close", c.answer().header("connection"))
            self.assertTrue(c.closed())

    def test_paths_lead_to_the_page_or_nowhere(self):
        for path, status, to in (("/pid", 301, "/pid/"), ("/pid/%d" % self.q.pid, 301, "/pid/%d/debug/pprof/"),
                                 ("/pid/%d/debug/pprof" % self.q.pid, 301, "/pid/%d/debug/pprof/"),
                                 ("/pid/%d/../%d/debug/pprof/" % (self.q.pid, self.q.pid), 301, "/pid/%d/debug/pprof/"),
                                 ("/pid/999999999/debug/pprof/", 404, None), ("/pid/x/debug/pprof/heap", 404, None),
                                 ("/pid/%d/etc/passwd" % self.q.pid, 404, None)):
            with self.subTest(path=path):
                a = shim.get(self.p.port, path)
                self.assertEqual(status, a.status)
                if to:
                    self.assertEqual(to % self.q.pid if "%" in to else to, a.header("location"))

    def test_a_host_that_is_not_local_is_refused_for_members_too(self):
        a = shim.get(self.p.port, "/pid/%d/debug/pprof/heap" % self.q.pid, headers={"Host": "evil.example"})
        self.assertEqual(403, a.status)

    def test_the_table_is_the_first_of_the_page_and_tells_of_each(self):
        page = self.p.get("/debug/pprof/").text
        for x in (self.p, self.q):
            link = '<a href="../../pid/%d/debug/pprof/">%d</a>' % (x.pid, x.pid)
            self.assertIn(link + "</td><td>waits_for_input</td>", page)
            own = shim.get(self.p.port, "/pid/%d/debug/pprof/" % x.pid).text
            self.assertIn("Program <b>waits_for_input</b>, process %d<" % x.pid, own)
        self.assertLess(page.index("<table"), page.index("Profile"))
        row = shim.processes(self.p.port)[0].row
        self.assertEqual({"name", "pid", "process", "program", "command", "age_ms", "resident_bytes", "live_heap_bytes",
                          "cpu_ms", "threads", "deadlocks", "losses", "warning", "answers", "has_port",
                          "path"}, set(row))
        self.assertEqual((1, True, "waits_for_input"), (row["threads"], row["answers"], row["process"]))
        self.assertGreater(row["resident_bytes"], 100000)
        self.assertIn("all processes", self.at.get("/debug/pprof/").text)

    def test_go_tool_pprof_reads_a_member(self):
        for _, go in shim.gos()[:1]:
            url = "http://127.0.0.1:%d/pid/%d/debug/pprof/heap" % (self.p.port, self.q.pid)
            self.assertIn("Type: inuse_space", shim.pprof(go, "-top", url)[0])

    def test_a_stopped_process_is_told_and_keeps_nobody(self):
        with other(self.p.port) as r:
            at = joined(self.p.port, r)[r.pid]
            os.kill(self.q.listener(), signal.SIGSTOP)
            try:
                before = time.monotonic()
                row = {b.pid: b.row for b in shim.processes(self.p.port)}[self.q.pid]
                self.assertFalse(row["answers"])
                self.assertIn("<b>does not answer</b>", self.p.get("/debug/pprof/").text)
                with shim.Raw(self.p.port) as slow:
                    slow.send(b"GET /pid/%d/debug/pprof/heap HTTP/1.1\r\nHost: localhost\r\n\r\n" % self.q.pid)
                    self.assertEqual(200, at.get("/debug/pprof/heap").status)
                    self.assertEqual(200, self.p.get("/debug/pprof/heap").status)
                    self.assertEqual(504, slow.answer().status)
                self.assertGreater(time.monotonic() - before, 9)
            finally:
                os.kill(self.q.listener(), signal.SIGCONT)
            shim.wait_until("it to answer again", lambda: {b.pid: b.row for b in shim.processes(self.p.port)}[
                self.q.pid]["answers"])
            self.assertEqual(200, self.at.get("/debug/pprof/heap").status)

    test_a_stopped_process_is_told_and_keeps_nobody.long_s = 12

    def test_a_process_that_dies_in_the_middle_of_an_answer_ends_it(self):
        with shim.Raw(self.p.port) as c:
            c.send(b"GET /pid/%d/debug/pprof/profile?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n" % self.q.pid)
            shim.wait_until("the profile", self.is_profiled)
            self.q.popen.kill()
            self.assertEqual(502, c.answer().status)
        shim.wait_until("it to be off the list", lambda: not shim.behind(self.p.port))

    def is_profiled(self):
        a = self.at.get("/debug/pprof/profile?seconds=1&hz=50")
        return any("another profile was being taken" in c for c in shim.Profile(a.body).comments)


class Shells(shim.TestCase):

    def test_a_shell_that_waits_for_its_one_child_says_where_that_is(self):
        script = "%s; exit 3" % waiter()[0]
        with start(["/bin/bash", "-c", script]) as p:
            p.wait_line("ready")
            child, = shim.wait_until("the child", lambda: shim.behind(p.port))
            page = p.get("/debug/pprof/").text
            link = '<a href="../../pid/%d/debug/pprof/">waits_for_input</a>' % child.pid
            self.assertIn("waits for its one child: <b>" + link, page)
            self.assertEqual((3, ""), p.finish()[::2])

    def test_shells_and_inits_lead_to_the_server_past_each_other(self):
        server = waiter()[0]
        for argv in (["dash", "-c", "%s; exit 3" % server],
                     ["dash", "-c", "exec 9<&0; %s <&9 & wait $!; exit 3" % server],
                     ["tini", "-s", "--", server], ["tini", "-s", "--", "bash", "-c", "%s; exit 3" % server],
                     ["tini", "-s", "--", "dash", "-c", "%s; exit 3" % server],
                     ["dumb-init", "dash", "-c", "bash -c '%s; exit 4'; exit 3" % server]):
            with self.subTest(argv=argv), contextlib.suppress(unittest.SkipTest), start(
                    [shim.tool(argv[0])] + argv[1:]) as p:
                p.wait_line("ready")
                self.wait_for_link(p.port)
                self.assertEqual((3 if "exit 3" in argv[-1] else 0, ""), p.finish()[::2])

    def wait_for_link(self, port):
        """It leads to the server, unless that was the first to have the port."""
        def led():
            server = [b for b in shim.processes(port) if b.row["program"] == "waits_for_input"]
            if not server:
                return False
            page = shim.get(port, "/debug/pprof/").text
            pages[:] = [page[:300]]
            return server[0].row["has_port"] or "waits for its one child: <b>" + (
                '<a href="../../pid/%d/debug/pprof/">waits_for_input</a>' % server[0].pid) in page
        pages = []
        try:
            shim.wait_until("the link", led, 60)
        except AssertionError:
            self.fail("no link: %s" % pages)

    def test_who_neither_waits_long_nor_allocates_joins_as_it_goes_on(self):
        code = ("import os, sys\n"
                "r, w = os.pipe()\n"
                "if os.fork() == 0:\n"
                "    os.dup2(r, 0)\n"
                "    os.close(w)\n"
                "    os.execv('/bin/cat', ['cat'])\n"
                "os.close(r)\n"
                "if os.fork() == 0:\n"
                "    os.dup2(w, 1)\n"
                "    os.execv('/bin/sh', ['sh', '-c', 'while echo x; do /bin/sleep 0.1; done'])\n"
                "os.close(w)\n"
                "sys.stdin.read()\n")
        with start(["/usr/bin/python3", "-c", code], rate=1 << 40) as p:
            shim.wait_until("them to join", lambda: {"cat", "sh"} <= {b.row["program"] for b in shim.behind(p.port)})
            self.assertEqual("", p.err)


class Deaths(shim.TestCase):

    def test_when_the_owner_is_killed_another_has_the_port_and_none_is_lost(self):
        times = int(os.environ.get("DOOR_OWNERS", "20"))
        port = shim.free_port()
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(other(port)) for _ in range(6)]
            for _ in range(times):
                joined(port, *crowd)
                owner, = [b.pid for b in shim.processes(port) if b.row["has_port"]] or [None]
                dead, = [p for p in crowd if p.pid == owner]
                asking = shim.Raw(port)
                asking.send(b"GET /debug/pprof/heap?seconds=30 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                dead.popen.kill()
                crowd.remove(dead)
                shim.wait_until("the others, without it", lambda: {b.pid for b in shim.processes(port)} ==
                                {p.pid for p in crowd})
                asking.close()
                crowd.append(stack.enter_context(other(port)))
            self.assertEqual({(0, "ready 1\n", "")}, {p.finish() for p in crowd})

    test_when_the_owner_is_killed_another_has_the_port_and_none_is_lost.long_s = 20

    def test_who_ends_is_off_the_list(self):
        with start(waiter()) as p, other(p.port) as q, other(p.port) as r:
            joined(p.port, q, r)
            self.assertEqual((0, "ready 1\n", ""), q.finish())
            shim.wait_until("it to be off the list", lambda: [b.pid for b in shim.behind(p.port)] == [r.pid])


class Strangers(shim.TestCase):

    def test_who_breaks_the_protocol_is_put_out_and_harms_nobody(self):
        with start(waiter()) as p, other(p.port) as q:
            joined(p.port, q)
            status = head(STATUS) + bytes(344)
            for lie in (b"x", b"x" * 5000, head(99), head(STATUS), status, head(TAKEN), head(PASS), head(WELCOME),
                        hello(pid=-1), hello() + b"x", hello()[:-1]):
                with self.subTest(lie=lie[:40]), knock(p.port) as s:
                    s.send(lie)
                    self.assertEqual(b"", hear(s))
            with knock(p.port) as s:
                s.send(hello())
                self.assertEqual(WELCOME, kind_of(s.recv(4096)))
                s.send(hello())
                self.assertEqual(b"", s.recv(4096), "hello is said once")
            with knock(p.port) as s:
                s.send(head(HELLO, VERSION + 1) + bytes(16))
                self.assertEqual(REFUSED, kind_of(s.recv(4096)))
            self.assertEqual({p.pid, q.pid}, {b.pid for b in shim.processes(p.port)})
            self.assertEqual(200, shim.behind(p.port)[0].get("/debug/pprof/heap").status)

    def test_who_joins_and_never_reads_costs_nobody_an_answer(self):
        with start(waiter()) as p, other(p.port) as q:
            joined(p.port, q)
            with knock(p.port) as s:
                s.send(hello())
                shim.wait_until("it to be listed", lambda: len(shim.behind(p.port)) == 2)
                for _ in range(30):
                    self.assertEqual(200, p.get("/debug/pprof/").status)
                name, = [b.name for b in shim.behind(p.port) if b.pid != q.pid]
                clients = [shim.Raw(p.port) for _ in range(20)]
                for c in clients:
                    c.send(b"GET /pid/%s/debug/pprof/heap HTTP/1.1\r\nHost: localhost\r\n\r\n" % name.encode())
                self.assertEqual(504, clients[-1].answer().status, "no more than 16 wait for it")
                for c in clients:
                    c.close()
                self.assertEqual(200, {b.pid: b for b in shim.processes(p.port)}[q.pid].get("/debug/pprof/heap").status)
            shim.wait_until("it to be off the list", lambda: len(shim.behind(p.port)) == 1)

    def test_who_says_nothing_is_put_out(self):
        with start(waiter()) as p, knock(p.port) as s:
            self.assertEqual(b"", s.recv(4096))
            self.assertEqual([p.pid], [b.pid for b in shim.processes(p.port)])

    test_who_says_nothing_is_put_out.long_s = 6

    def test_what_a_process_says_of_itself_is_escaped(self):
        with start(waiter()) as p, knock(p.port) as s:
            s.send(hello())
            self.assertEqual(WELCOME, kind_of(s.recv(4096)))
            texts = [t.ljust(n, b"\0") for t, n in ((b"<b>\xff\"", 16), (b"<script>\xc3\xa9\n\\", 160), (b"&", 120))]
            pid, lines = os.fork(), None
            if pid == 0:
                while kind_of(s.recv(4096)) == ASK:
                    s.send(head(STATUS) + struct.pack("=QQQQIIIi", 1, 2, 3, 4, 5, 0, 0, 1) + b"".join(texts))
                os._exit(0)
            try:
                page = p.get("/debug/pprof/").text
                lines = [b.row for b in shim.behind(p.port)]
            finally:
                s.close()
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            self.assertIn("&lt;script&gt;", page)
            self.assertNotIn("<script>", page)
            self.assertEqual([("<b>?\"", "<script>\u00e9\n\\", "&")],
                             [(r["process"], r["command"], r["warning"]) for r in lines])

    def test_more_than_a_thousand_find_no_room_and_are_told(self):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit[1] < 4096:
            self.skipTest("too few descriptors")
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, limit[1]))
        with start(waiter()) as p, contextlib.ExitStack() as stack:
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limit)
            kinds = []
            for _ in range(1003):
                s = stack.enter_context(knock(p.port))
                with contextlib.suppress(BrokenPipeError):  # refused before it said hello
                    s.send(hello())
                kinds.append(kind_of(hear(s)))
            self.assertEqual([WELCOME] * 1000 + [REFUSED] * 3, kinds)
            self.assertEqual(200, p.get("/debug/pprof/heap").status)
            self.assertIn("<b>3 processes found no room</b>", p.get("/debug/pprof/").text)
            shim.wait_until("its word", lambda: p.err.endswith("\n"))
            self.assertEqual(1, len(p.err.splitlines()), p.err)

    test_more_than_a_thousand_find_no_room_and_are_told.long_s = 6

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_another_users_process_joins_root_and_root_joins_nobody(self):
        drop = ["/usr/bin/setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
        with start(waiter()) as p, other(p.port, drop + waiter()) as q:
            self.assertEqual(200, joined(p.port, q)[q.pid].get("/debug/pprof/heap").status)
            self.assertEqual("", q.err)
        with start(drop + waiter()) as p:
            p.wait_line("ready")
            with other(p.port) as q:
                q.wait_line("ready")
                shim.wait_until("a port of its own", lambda: shim.port_answers(p.port + 1))
                self.assertEqual("\0".join(q.argv), shim.get(p.port + 1, "/debug/pprof/cmdline").text)
                self.assertEqual([p.pid], [b.pid for b in shim.processes(p.port)])
                shim.wait_until("its word", lambda: q.err.endswith("\n"))
                self.assertRegex(q.err, r"^pprofshim: .* is taken; profiles are at .*\n$")

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_an_owner_that_gave_up_root_is_one_of_its_new_user(self):
        def seen(s):
            return struct.unpack("=iII", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]

        def owner_seen(port):
            with knock(port) as s:
                return seen(s)
        drop = ["/usr/bin/setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
        with start([shim.program("drop_root"), "setuid"]) as p:
            p.wait_line("ready")
            shim.wait_until("the new user", lambda: owner_seen(p.port) == NOBODY)
            with knock(p.port) as s, other(p.port, drop + waiter()) as q:
                self.assertEqual(REFUSED, kind_of(hear(s)), "root is another user for it")
                self.assertEqual(200, joined(p.port, q)[q.pid].get("/debug/pprof/heap").status)
        with start([shim.program("drop_root"), "seteuid"]) as p, other(p.port) as q:
            p.wait_line("ready")
            self.assertEqual(0, owner_seen(p.port), "it can be root again")
            joined(p.port, q)


class Locks(shim.TestCase):

    def test_one_that_wants_a_token_is_not_served_by_a_door_without(self):
        path = os.path.join(shim.scratch("lock"), "token")
        with open(path, "w") as f:
            os.chmod(path, 0o600)
            f.write("secret")
        with start(waiter()) as p, other(p.port, env={"PPROF_TOKEN_FILE": path}) as q:
            at = shim.wait_until("a port of its own", lambda: next(
                (n for n in range(p.port + 1, p.port + 11) if shim.port_answers(n)), None))
            self.assertEqual(401, shim.get(at, "/debug/pprof/cmdline").status)
            token = {"Authorization": "Bearer secret"}
            self.assertEqual("\0".join(q.argv), shim.get(at, "/debug/pprof/cmdline", headers=token).text)
            self.assertEqual([p.pid], [b.pid for b in shim.processes(p.port)])

    def test_two_that_want_a_token_share_a_door_that_asks_for_it(self):
        path = os.path.join(shim.scratch("lock"), "token")
        with open(path, "w") as f:
            os.chmod(path, 0o600)
            f.write("secret")
        env, token = {"PPROF_TOKEN_FILE": path}, {"Authorization": "Bearer secret"}
        with start(waiter(), env=env) as p, other(p.port, env=env) as q:
            page = "/pid/%d/debug/pprof/cmdline" % q.pid
            answer = shim.wait_until("the member", lambda: [
                a for a in [shim.get(p.port, page, headers=token)] if a.status == 200])[0]
            self.assertEqual("\0".join(q.argv), answer.text)
            self.assertEqual([401, 401], [shim.get(p.port, path).status for path in (page, "/pid/")])


class Namespaces(shim.TestCase):

    def unshared(self, script, *flags):
        argv = ["/usr/bin/unshare", *flags, "/bin/sh", "-c", script]
        if subprocess.run(["/usr/bin/unshare", *flags, "/bin/true"], capture_output=True).returncode != 0:
            self.skipTest("no namespaces here")
        return shim.Process(argv, env=shim.bare_env())

    def test_processes_of_the_same_number_have_names_of_their_own(self):
        # A network namespace with two pid namespaces, as two containers of a pod have them.
        port = 6060
        run = "LD_PRELOAD=%s exec %s" % (shim.LIB, waiter()[0])
        part = "unshare -pf --mount-proc sh -c '%s' < /dev/fd/9 & " % run
        ask = "%s -c '%s'" % (sys.executable, (
            "import json, sys, time, urllib.request as u\n"
            "def get(path): return u.urlopen(\"http://127.0.0.1:%d\" + path, timeout=20).read()\n"
            "end = time.time() + 60\n"
            "rows = []\n"
            "while len(rows) < 2 and time.time() < end:\n"
            "    time.sleep(0.1)\n"
            "    try: rows = json.loads(get(\"/pid/\"))[\"processes\"]\n"
            "    except OSError: pass\n"
            "names = sorted(r[\"name\"] for r in rows)\n"
            "pages = [len(get(\"/pid/%%s/debug/pprof/heap\" %% n)) > 100 for n in names]\n"
            "print(\"asked\", names, pages, flush=True)\n") % port)
        script = "ip link set lo up; exec 9<&0; %s%s%s; exec 9<&-; exec 0<&-; wait" % (part, part, ask)
        with self.unshared(script, "-rn") as p:
            self.assertEqual("['1', '1-2'] [True, True]", p.wait_line("asked", 120))
            self.assertEqual("", p.err)
            p.finish()


class Services(shim.TestCase):

    def test_nginx_and_its_workers(self):
        nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin")
        if not nginx:
            self.skipTest("nginx is not installed")
        folder, web = shim.scratch("nginx"), shim.free_port()
        os.chmod(folder, 0o755)
        conf = shim.save((
            "daemon off; worker_processes 3; pid %s/pid; error_log stderr crit; events {}\n"
            "http { access_log off; client_body_temp_path %s/a; proxy_temp_path %s/b; fastcgi_temp_path %s/c;\n"
            "uwsgi_temp_path %s/d; scgi_temp_path %s/e;\n"
            "server { listen 127.0.0.1:%d; return 200 'well'; } }\n" % ((folder,) * 6 + (web,))).encode(), "nginx.conf")
        with start([nginx, "-c", conf], rate=65536) as p:
            shim.wait_until("nginx", lambda: shim.port_answers(web))
            workers = shim.wait_until("its workers", lambda: len(shim.behind(p.port)) == 3 and shim.behind(p.port))
            for b in workers:
                self.assertEqual("nginx: worker process", b.get("/debug/pprof/cmdline").text)
                self.assertEqual(200, b.get("/debug/pprof/heap").status)
            p.popen.send_signal(signal.SIGQUIT)
            self.assertEqual((0, "", ""), p.wait())
