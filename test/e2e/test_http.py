# test_http.py - the server over raw sockets: every answer of the protocol, bad input, many clients.
#
# Runs in: the test runner. After each bad request the next one must be served.
#
# SPDX-License-Identifier: Apache-2.0
import re
import select
import socket
import subprocess
import threading
import time

import shim
from shim import Raw, start
from test_settings import sockets

HOST = b"Host: 127.0.0.1\r\n"
GOOD = b"GET /debug/pprof/cmdline HTTP/1.1\r\n" + HOST + b"\r\n"


def idle():
    """A program that waits, under the shim."""
    return start([shim.program("heap_bias"), 1000, 100], rate=1)


class Conversation(shim.TestCase):

    def ask(self, p, data, head=False):
        with Raw(p.port) as c:
            c.send(data)
            return c.answer(head)

    def assert_serves(self, p):
        a = p.get("/debug/pprof/cmdline")
        self.assertEqual(200, a.status)
        self.assertEqual("\0".join(p.argv), a.text)

    def assert_error(self, a, status, text=None):
        self.assertIsNotNone(a, "closed without an answer")
        self.assertEqual(status, a.status, a.body[:200])
        self.assertEqual("text/plain; charset=utf-8", a.header("content-type"))
        self.assertEqual("1", a.header("x-go-pprof"))
        self.assertEqual("nosniff", a.header("x-content-type-options"))
        self.assertIsNone(a.header("content-disposition"))
        self.assertTrue(a.text.endswith("\n"))
        if text is not None:
            self.assertEqual(text + "\n", a.text)


class Answers(Conversation):

    def test_index(self):
        with idle() as p:
            a = p.get("/debug/pprof/")
            self.assertEqual(200, a.status)
            self.assertEqual("text/html; charset=utf-8", a.header("content-type"))
            self.assertEqual("nosniff", a.header("x-content-type-options"))
            for name in (
                "allocs",
                "heap",
                "threadcreate",
                "cmdline",
                "symbol",
                "goroutine",
                "profile",
                "mutex",
                "block",
                "trace",
            ):
                self.assertRegex(a.text, r'href=["\']?%s\?debug=1' % name)
            self.assertIn("goroutine?debug=2", a.text)

    def test_redirect_to_the_index(self):
        with idle() as p:
            for path, location in (("/debug/pprof", "/debug/pprof/"), ("/", "/debug/pprof/"),
                                   ("/?a=b%20c", "/debug/pprof/?a=b%20c"), ("/debug/%70prof", "/debug/pprof/")):
                with self.subTest(path=path):
                    self.assert_moved(p.get(path), location)

    def assert_moved(self, answer, location):
        self.assertEqual(301, answer.status)
        self.assertEqual(location, answer.header("location"))
        self.assertEqual("no-store", answer.header("cache-control"))

    def test_a_path_that_is_not_clean_moves_to_the_clean_one_as_in_go(self):
        with idle() as p:
            for path, location in (("//debug/pprof/heap", "/debug/pprof/heap"),
                                   ("/debug//pprof/heap?debug=1", "/debug/pprof/heap?debug=1"),
                                   ("/debug/pprof/./heap", "/debug/pprof/heap"),
                                   ("/debug/pprof/x/../heap", "/debug/pprof/heap"),
                                   ("/debug/pprof/../heap", "/debug/heap"),
                                   ("/debug/pprof/.", "/debug/pprof/"),
                                   ("/debug/x/../pprof", "/debug/pprof/"),
                                   ("/../../etc/passwd", "/etc/passwd")):
                with self.subTest(path=path):
                    self.assert_moved(p.get(path), location)
                    self.assertNotEqual(301, p.get(location).status)

    def test_sequences_in_paths_and_queries_are_decoded(self):
        with idle() as p:
            for path in ("/debug/pprof/%68eap?debug=1", "/debug/%70prof/heap?%64ebug=%31",
                         "/%64ebug/pprof/heap?debug=1"):
                with self.subTest(path=path):
                    a = p.get(path)
                    self.assertEqual(200, a.status)
                    self.assertTrue(a.text.startswith("heap profile: "), a.text[:80])
            self.assert_error(p.get("/debug/pprof/%2e%2e"), 404, "Unknown profile")
            for path in ("/debug/pprof/%", "/debug/pprof/%zz", "/debug/pprof/%4"):
                with self.subTest(path=path):
                    self.assert_error(p.get(path), 400)

    def test_a_query_of_16_kib(self):
        with idle() as p:
            a = p.get("/debug/pprof/heap?debug=1&" + "x" * (16 * 1024 - len("debug=1&")))
            self.assertEqual(200, a.status)
            self.assertTrue(a.text.startswith("heap profile: "), a.text[:80])
            address = "0x%x+" % 0x1000
            query = address * (16 * 1024 // len(address)) + "0x1000"
            self.assertEqual(200, p.get("/debug/pprof/symbol?" + query[-16 * 1024:]).status)

    def test_profiles_and_their_headers(self):
        with idle() as p:
            for name in ("heap", "allocs", "threadcreate"):
                for query in ("", "?debug=0", "?debug=x", "?gc=1", "?foo=bar", "?debug="):
                    with self.subTest(name=name, query=query):
                        a = p.get("/debug/pprof/" + name + query)
                        self.assertEqual(200, a.status)
                        self.assertEqual("application/octet-stream", a.header("content-type"))
                        self.assertEqual('attachment; filename="%s"' % name, a.header("content-disposition"))
                        self.assertEqual("nosniff", a.header("x-content-type-options"))
                        self.assertIsNone(a.header("content-encoding"))
                        shim.Profile(a.body)
                for debug in ("1", "2", "-1"):
                    with self.subTest(name=name, debug=debug):
                        a = p.get("/debug/pprof/%s?debug=%s" % (name, debug))
                        self.assertEqual(200, a.status)
                        self.assertEqual("text/plain; charset=utf-8", a.header("content-type"))
                        self.assertIsNone(a.header("content-disposition"))

    def test_cmdline(self):
        with idle() as p:
            a = p.get("/debug/pprof/cmdline")
            self.assertEqual("\0".join(p.argv), a.text)
            self.assertEqual("text/plain; charset=utf-8", a.header("content-type"))

    def test_cmdline_of_a_program_with_empty_arguments(self):
        with start([shim.program("thread_names"), "a", "", ""]) as p:
            self.assertEqual("\0".join(p.argv), p.get("/debug/pprof/cmdline").text)

    def test_cmdline_of_a_program_that_overwrote_it_is_its_title(self):
        with start([shim.program("own_title"), "server: idle", "x" * 5000]) as p:
            p.wait_line("ready")
            self.assertEqual("server: idle", p.get("/debug/pprof/cmdline").text)

    def test_unknown_names(self):
        with idle() as p:
            for path in ("nosuch", "heap/", "heap/x", "Heap", "..heap"):
                with self.subTest(path=path):
                    self.assert_error(p.get("/debug/pprof/" + path), 404, "Unknown profile")
            self.assertEqual(404, p.get("/favicon.ico").status)
            self.assertEqual(404, p.get("/debug/pprofx").status)

    def test_bad_seconds(self):
        bad = 'invalid value for "seconds" - must be a positive integer'
        with idle() as p:
            for name in ("heap", "allocs", "threadcreate"):
                for value in ("0", "-1", "x", "1.5", "1x", "99999999999999999999"):
                    with self.subTest(name=name, value=value):
                        self.assert_error(p.get("/debug/pprof/%s?seconds=%s" % (name, value)), 400, bad)
                self.assert_error(p.get("/debug/pprof/%s?seconds=1&debug=1" % name), 400,
                                  "seconds and debug params are incompatible")
                self.assert_error(p.get("/debug/pprof/%s?seconds=0&debug=1" % name), 400, bad)
            self.assert_error(p.get("/debug/pprof/heap?seconds=1000000000"), 400,
                              "profile duration exceeds server's WriteTimeout")
            self.assert_serves(p)

    def test_parameters_in_a_posted_form(self):
        with idle() as p:
            a = p.get("/debug/pprof/heap", method="POST", body="debug=1",
                      headers={"Content-Type": "application/x-www-form-urlencoded"})
            self.assertEqual("text/plain; charset=utf-8", a.header("content-type"))
            a = p.get("/debug/pprof/heap", method="POST", body="debug=1", headers={"Content-Type": "text/plain"})
            self.assertEqual("application/octet-stream", a.header("content-type"))

    def test_head_has_the_headers_and_no_body(self):
        with idle() as p:
            for path in ("", "heap", "cmdline", "nosuch"):
                with self.subTest(path=path):
                    with Raw(p.port) as c:
                        target = b"/debug/pprof/" + path.encode()
                        c.send(b"HEAD " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
                        a = c.answer(head=True)
                        self.assertEqual(404 if path == "nosuch" else 200, a.status)
                        c.send(GOOD)
                        b = c.answer()
                        self.assertEqual((200, "\0".join(p.argv)), (b.status, b.text))

    def test_other_methods(self):
        with idle() as p:
            for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"):
                with self.subTest(method=method):
                    a = self.ask(
                        p, b"%s /debug/pprof/heap HTTP/1.1\r\n" % method.encode() + HOST + b"Content-Length: 0\r\n\r\n"
                    )
                    self.assertEqual(405, a.status)
                    self.assertEqual({"GET", "HEAD", "POST"}, {m.strip() for m in a.header("allow").split(",")})
            self.assert_serves(p)

    def test_host_header_is_checked_on_loopback(self):
        with idle() as p:
            for host in ("localhost", "localhost:%d" % p.port, "127.0.0.1", "127.0.0.1:%d" % p.port, "[::1]:6060",
                         "LOCALHOST", "app.localhost:80"):
                with self.subTest(host=host):
                    self.assertEqual(200, p.get("/debug/pprof/cmdline", headers={"Host": host}).status)
            for host in ("evil.example", "evil.example:6060", "127.0.0.1.evil.example", "localhost.evil.example"):
                with self.subTest(host=host):
                    self.assertEqual(403, p.get("/debug/pprof/cmdline", headers={"Host": host}).status)


class BadInput(Conversation):

    # (what, bytes, status)
    ROWS = [
        ("not HTTP", b"rubbish\r\n\r\n", 400),
        ("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100, 400),
        ("no version", b"GET /debug/pprof/heap\r\n\r\n", 400),
        ("a bad version", b"GET /debug/pprof/heap HTTP/x.y\r\n" + HOST + b"\r\n", 400),
        ("a target that is no path", b"GET debug HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        ("no Host", b"GET /debug/pprof/heap HTTP/1.1\r\n\r\n", 400),
        ("two Hosts", b"GET /debug/pprof/heap HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        ("a header without a colon", b"GET /debug/pprof/heap HTTP/1.1\r\n" + HOST + b"rubbish\r\n\r\n", 400),
        ("a space before the colon", b"GET /debug/pprof/heap HTTP/1.1\r\n" + HOST + b"A : b\r\n\r\n", 400),
        ("a folded header", b"GET /debug/pprof/heap HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n", 400),
        ("a NUL in a header", b"GET /debug/pprof/heap HTTP/1.1\r\n" + HOST + b"A: \0b\r\n\r\n", 400),
        ("a bad length", b"POST /debug/pprof/symbol HTTP/1.1\r\n" + HOST + b"Content-Length: x\r\n\r\n", 400),
        ("a negative length", b"POST /debug/pprof/symbol HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
        (
            "lengths that differ",
            b"POST /debug/pprof/symbol HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            400,
        ),
        (
            "a length beyond all numbers",
            b"POST /debug/pprof/symbol HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999999\r\n\r\n",
            413,
        ),
        (
            "a body too large",
            b"POST /debug/pprof/symbol HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000000\r\n\r\n",
            413,
        ),
        ("a line too long", b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        ("headers too large", b"GET /debug/pprof/heap HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 70000 + b"\r\n\r\n", 431),
        ("too many headers", b"GET /debug/pprof/heap HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 20000 + b"\r\n", 431),
        (
            "a coding that is not known",
            b"POST /debug/pprof/symbol HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n",
            501,
        ),
        ("a version of another age", b"GET /debug/pprof/heap HTTP/3.7\r\n" + HOST + b"\r\n", 505),
        ("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ]

    def test_each_malformed_request_has_its_status_and_the_next_is_served(self):
        with idle() as p:
            for what, data, status in self.ROWS:
                with self.subTest(what=what):
                    with Raw(p.port) as c:
                        try:
                            c.send(data)
                        except OSError:
                            pass  # closed while a large one was still being sent
                        self.assert_error(c.answer(), status)
                        self.assertTrue(c.closed(), "the connection is closed")
                    self.assert_serves(p)

    def test_a_body_that_is_announced_and_cut_off(self):
        with idle() as p:
            with Raw(p.port) as c:
                c.send(b"POST /debug/pprof/symbol HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\n0x1")
            self.assert_serves(p)

    def test_a_client_that_goes_away_in_mid_delta(self):
        with idle() as p:
            for _ in range(5):
                with Raw(p.port) as c:
                    c.send(b"GET /debug/pprof/heap?seconds=30 HTTP/1.1\r\n" + HOST + b"\r\n")
            self.assert_serves(p)

    def test_a_slow_request_is_told_so(self):
        with idle() as p:
            with Raw(p.port, 90) as c:
                c.send(b"GET /debug/pprof/heap HT")
                self.assert_serves(p)
                began = time.monotonic()
                a = c.answer()
                self.assert_error(a, 408)
                self.assertTrue(c.closed(20))
                self.assertLess(time.monotonic() - began, 80)
            self.assert_serves(p)

    test_a_slow_request_is_told_so.long_s = 40

    def test_bytes_one_at_a_time(self):
        with idle() as p:
            with Raw(p.port) as c:
                for b in GOOD:
                    c.send(bytes([b]))
                self.assertEqual(200, c.answer().status)

    def test_random_bytes_do_no_harm(self):
        import random
        random.seed(6060)
        with idle() as p:
            for i in range(200):
                data = bytearray(random.choice([GOOD, b"POST /debug/pprof/symbol HTTP/1.1\r\n" + HOST
                                                + b"Content-Length: 5\r\n\r\n0x123", random.randbytes(200)]))
                for _ in range(random.randrange(4)):
                    data[random.randrange(len(data))] = random.randrange(256)
                with Raw(p.port, 10) as c:
                    try:
                        c.send(bytes(data[:random.randrange(1, len(data) + 1)]))
                    except OSError:
                        pass
            self.assert_serves(p)
            self.assertTrue(p.running())


class Connections(Conversation):

    def test_keep_alive_and_pipelining(self):
        with idle() as p:
            with Raw(p.port) as c:
                for _ in range(50):
                    c.send(GOOD)
                    self.assertEqual(200, c.answer().status)
                c.send(GOOD * 20)
                for _ in range(20):
                    self.assertEqual("\0".join(p.argv), c.answer().text)
                c.send(b"GET /debug/pprof/cmdline HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
                self.assertEqual(200, c.answer().status)
                self.assertTrue(c.closed())

    def test_http_1_0_closes_unless_asked(self):
        with idle() as p:
            with Raw(p.port) as c:
                c.send(b"GET /debug/pprof/cmdline HTTP/1.0\r\n\r\n")
                self.assertEqual(200, c.answer().status)
                self.assertTrue(c.closed())
            with Raw(p.port) as c:
                for _ in range(2):
                    c.send(b"GET /debug/pprof/cmdline HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                    self.assertEqual(200, c.answer().status)

    def test_expect_continue(self):
        with idle() as p:
            with Raw(p.port) as c:
                c.send(
                    b"POST /debug/pprof/symbol HTTP/1.1\r\n"
                    + HOST
                    + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
                )
                self.assertEqual(100, c.answer(head=True).status)
                c.send(b"0x1")
                self.assertEqual(200, c.answer().status)

    def test_more_clients_than_there_is_room_for(self):
        with idle() as p:
            held = []
            try:
                for _ in range(64):
                    c = Raw(p.port, 20)
                    held.append(c)
                    c.send(b"GET /debug/pprof/heap?seconds=60 HTTP/1.1\r\n" + HOST + b"\r\n")
                    if len(held) < 64:
                        self.assert_serves(p)  # by then that request is at work, and so it keeps its place
                time.sleep(0.5)
                refused = 0
                for _ in range(20):
                    with Raw(p.port, 20) as c:
                        try:
                            c.send(GOOD)
                        except OSError:
                            pass
                        a = c.answer()
                        self.assertTrue(a is None or a.status == 503, a and a.status)
                        refused += 1
                        self.assertTrue(c.closed())
                self.assertEqual(20, refused)
                self.assertLess(len(sockets(p)), 80)
                for c in held[:40]:
                    c.close()

                def served():
                    a = self.ask(p, GOOD)
                    return a is not None and a.status == 200
                shim.wait_until("room again", served)
                for c in held[40:]:
                    self.assertFalse(c.closed(0.01))
            finally:
                for c in held:
                    c.close()
            self.assert_serves(p)

    def test_idle_clients_keep_nobody_out(self):
        with idle() as p:
            held = []
            try:
                for _ in range(100):
                    c = Raw(p.port, 20)
                    held.append(c)
                    c.send(GOOD)
                    a = c.answer()
                    self.assertTrue(a is None or a.status in (200, 503))
                self.assertLess(len(sockets(p)), 80)
            finally:
                for c in held:
                    c.close()
            shim.wait_until("an answer", lambda: self.ask(p, GOOD))
            self.assert_serves(p)

    def test_others_are_served_while_a_delta_waits(self):
        with idle() as p:
            with Raw(p.port) as slow:
                slow.send(b"GET /debug/pprof/heap?seconds=3 HTTP/1.1\r\n" + HOST + b"\r\n")
                began = time.monotonic()
                for _ in range(10):
                    self.assert_serves(p)
                    self.assertEqual(200, p.get("/debug/pprof/heap").status)
                quick = time.monotonic() - began
                self.assertEqual(200, slow.answer().status)
                self.assertGreater(time.monotonic() - began, 2.5)
                self.assertLess(quick, 2.5, "nobody waited for the delta")

    def test_many_at_once(self):
        with start([shim.program("demo"), 60]) as p:
            wrong = []

            def ask_often(n):
                try:
                    for i in range(15):
                        name = ("heap", "allocs", "threadcreate", "heap?debug=1")[(i + n) % 4]
                        a = p.get("/debug/pprof/" + name)
                        if a.status != 200 or not a.body:
                            wrong.append((name, a.status))
                        elif "debug" not in name:
                            shim.Profile(a.body)
                except Exception as e:
                    wrong.append(repr(e))
            threads = [threading.Thread(target=ask_often, args=(i,)) for i in range(12)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            self.assertEqual([], wrong[:3])
            self.assertTrue(p.running())

    def test_a_client_that_never_reads_holds_nobody_up(self):
        with start([shim.program("heap_truth_cxx"), 2000], rate=1) as p:
            p.wait_line("ready")
            stuck = [Raw(p.port) for _ in range(10)]
            try:
                for c in stuck:
                    c.send(b"GET /debug/pprof/heap?debug=1 HTTP/1.1\r\n" + HOST + b"\r\n" * 1)
                for _ in range(5):
                    self.assert_serves(p)
            finally:
                for c in stuck:
                    c.close()

    def test_others_are_served_while_a_long_answer_is_made(self):
        with start([shim.program("lock_chain"), 2000]) as p:
            p.wait_line("ready")
            self.assertIn("wait_for_next", p.get("/debug/pprof/goroutine?debug=2", timeout_s=120).text)
            before = []
            for _ in range(20):  # a busy machine may make us late with the second question
                with Raw(p.port, timeout_s=120) as long:
                    long.send(b"GET /debug/pprof/goroutine?debug=2 HTTP/1.1\r\n" + HOST + b"\r\n")
                    page = p.get("/debug/pprof/", timeout_s=120)
                    heap = p.get("/debug/pprof/threadcreate?debug=1", timeout_s=120)
                    readable, _, _ = select.select([long.s], [], [], 0)
                    self.assertEqual((200, 200), (page.status, heap.status))
                    before.append(not readable)
                    a = long.answer()
                    self.assertEqual(200, a.status)
                    self.assertGreaterEqual(a.text.count("wait_for_next"), 1990)
                if before[-1]:
                    break
            self.assertTrue(before[-1], "nobody was served before the long answer was there")

    def test_a_client_that_leaves_a_long_answer_behind_does_no_harm(self):
        with start([shim.program("lock_chain"), 1000]) as p:
            p.wait_line("ready")
            for i in range(10):
                with Raw(p.port) as c:
                    c.send(b"GET /debug/pprof/goroutine?debug=2 HTTP/1.1\r\n" + HOST + b"\r\n")
                    time.sleep(0.03 * i)
            self.assertGreaterEqual(
                p.get("/debug/pprof/goroutine?debug=2", timeout_s=120).text.count("wait_for_next"), 990
            )

    def test_a_text_that_is_larger_than_the_memory_for_it(self):
        limit = 8 << 20
        row = re.compile(rb"^(\d+): (\d+) \[(\d+): (\d+)\] @(?! heap)", re.M)
        with start([shim.program("ever_new_stacks"), 40000], rate=1, env={"PPROF_MEMORY_LIMIT": str(limit)}) as p:
            p.wait_line("ready")
            with Raw(p.port, timeout_s=120) as slow:  # does not read it
                slow.send(b"GET /debug/pprof/heap?debug=1 HTTP/1.1\r\n" + HOST + b"\r\n")
                for _ in range(2):
                    a = p.get("/debug/pprof/heap?debug=1", timeout_s=120)
                    self.assertEqual(200, a.status, a.body[:200])
                    self.assertGreater(len(a.body), limit)
                    self.assertIn(b"\n--- Memory map: ---\n", a.body)
                    title = re.match(rb"heap profile: (\d+): (\d+) \[(\d+): (\d+)\]", a.body)
                    total = [int(n) for n in title.groups()]
                    total[3] -= 1  # so that readers see four columns
                    rows = [[int(n) for n in m.groups()] for m in row.finditer(a.body)]
                    self.assertEqual(total, [sum(column) for column in zip(*rows)])
                    self.assertGreaterEqual(total[2], 40000)
                    self.assert_serves(p)
            head = shim.get(p.port, "/debug/pprof/heap?debug=1", method="HEAD", timeout_s=120)
            self.assertEqual((200, b""), (head.status, head.body))
            self.assertGreater(int(head.header("Content-Length")), limit)

    def test_what_slow_clients_hold_is_not_taken_from_samples(self):
        with start([shim.program("ever_new_stacks"), 12000], rate=1) as p:
            p.wait_line("ready")
            truth = shim.site_truth(p.sites()["leaf"])
            stuck = []
            try:
                for i in range(50):
                    c = Raw(p.port)
                    stuck.append(c)
                    c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                    c.send(b"GET /debug/pprof/allocs%s HTTP/1.1\r\n" % (b"", b"?debug=1")[i % 2] + HOST + b"\r\n")
                self.assertEqual(200, p.get("/debug/pprof/", timeout_s=120).status)
                late = p.get("/debug/pprof/heap", timeout_s=120)
                self.assertIn(late.status, (200, 503), late.body[:200])
                if late.status == 503:
                    self.assertIn("memory", late.text)
            finally:
                for c in stuck:
                    c.close()
            shim.wait_until("the answers to be given back", lambda: p.get("/debug/pprof/heap").status == 200)
            self.assertEqual(truth, p.profile("heap").flat("leaf"), "every sample has its stack")
            page = p.get("/debug/pprof/").text
            self.assertNotIn("heap samples", page)
            self.assertNotIn("other_stacks", page)

    def test_curl(self):
        curl = shim.tool("curl")
        with idle() as p:
            r = subprocess.run(
                [
                    curl, "-sS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code} %{content_type}\n",
                    p.url("heap"), "--next", "--noproxy", "*", "-sS", "-o", "/dev/null", "-w",
                    "%{http_code} %{content_type}\n", "-d", "0x1", p.url("symbol"),
                ],
                capture_output=True,
                text=True,
                timeout=60,
            )
            self.assertEqual("200 application/octet-stream\n200 text/plain; charset=utf-8\n", r.stdout, r.stderr)
