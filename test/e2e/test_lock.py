# test_lock.py - who may ask: the token, pages of other sites, a socket's mode, the access log, crowds of clients.
#
# Runs in: the test runner.
#
# SPDX-License-Identifier: Apache-2.0
import base64
import os
import re
import socket
import stat
import threading

import shim
from shim import Raw, start

TOKEN = "Tr0ub4dor-and-3"


def idle(env=None, **more):
    return start([shim.program("heap_bias"), 1000, 100], rate=1, env=env, **more)


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(("%s:%s" % (user, password)).encode()).decode()}


def bearer(token):
    return {"Authorization": "Bearer " + token}


class Locked(shim.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = shim.scratch("lock")
        self.path = os.path.join(self.folder, "token")
        self.write(TOKEN + "\n")

    def write(self, text, mode=0o600):
        """Put another file in the place of the token's, as an editor does."""
        with open(self.path + ".new", "w") as f:
            f.write(text)
        os.chmod(self.path + ".new", mode)
        os.rename(self.path + ".new", self.path)

    def locked(self, **env):
        return idle(dict(env, PPROF_TOKEN_FILE=self.path))

    def status(self, p, headers=None, path="/debug/pprof/cmdline", method="GET"):
        return p.get(path, headers=headers, method=method).status


class Token(Locked):

    def test_the_right_token_opens_every_endpoint_and_nothing_else_does(self):
        right = [bearer(TOKEN), basic("x", TOKEN), basic("", TOKEN), {"authorization": "bearer  " + TOKEN + " "}]
        wrong = [{}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "},
                 {"Authorization": TOKEN}, {"Authorization": "Digest " + TOKEN}, {"X-Authorization": "Bearer " + TOKEN},
                 {"Cookie": "token=" + TOKEN}, {"Authorization": "Basic " + TOKEN}, {"Authorization": "Basic ===="}]
        wrong += [bearer(t) for t in ("x", TOKEN[:-1], TOKEN + "x", TOKEN.lower(), TOKEN + " " + TOKEN)]
        wrong += [basic("x", ""), basic(TOKEN, "x"), basic(TOKEN, ""), basic("x", TOKEN + "\n")]
        with self.locked() as p:
            for headers in right:
                self.assertEqual(200, self.status(p, headers), headers)
            threads = []
            answers = {}

            def ask(i, headers):
                answers[i] = p.get("/debug/pprof/heap", headers=headers)
            for i, headers in enumerate(wrong):
                threads.append(threading.Thread(target=ask, args=(i, headers)))
                threads[-1].start()
            self.assertEqual(200, self.status(p, bearer(TOKEN)))  # who has it does not wait for who guesses
            for t in threads:
                t.join()
            for i, headers in enumerate(wrong):
                self.assertEqual(401, answers[i].status, headers)
                self.assertIn("Basic", answers[i].header("www-authenticate"))
                self.assertNotIn(TOKEN, answers[i].text)
            for path in ("/", "/debug/pprof/", "/debug/pprof/profile?seconds=1", "/debug/pprof/nothing", "/x"):
                self.assertEqual(401, self.status(p, {}, path), path)
            self.assertEqual(401, p.get("/debug/pprof/symbol", method="POST", body="0x1").status)

    def test_the_query_is_no_place_for_a_token(self):
        with self.locked() as p:
            self.assertEqual(401, self.status(p, {}, "/debug/pprof/cmdline?token=" + TOKEN))

    def test_two_authorization_headers_are_refused(self):
        with self.locked() as p, Raw(p.port) as c:
            c.send(("GET /debug/pprof/cmdline HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n"
                    "Authorization: Bearer x\r\n\r\n" % TOKEN).encode())
            self.assertEqual(400, c.answer().status)

    def test_a_changed_file_changes_the_token(self):
        with self.locked() as p:
            self.assertEqual(200, self.status(p, bearer(TOKEN)))
            self.write("another")
            self.assertEqual(401, self.status(p, bearer(TOKEN)))
            self.assertEqual(200, self.status(p, bearer("another")))

    def test_a_bad_file_shuts_the_endpoint_and_one_line_says_why(self):
        for text, mode, word in (("", 0o600, "is empty"), (TOKEN, 0o644, "all users"), ("a b", 0o600, "one word")):
            with self.subTest(word):
                self.write(text, mode)
                with self.locked() as p:
                    for _ in range(3):
                        self.assertEqual(503, self.status(p, bearer(TOKEN)))
                    self.assertEqual(503, self.status(p, {}))
                    shim.wait_until("the line", lambda: word in p.err)
                    self.assertEqual(1, p.err.count(word), p.err)
                    self.write(TOKEN)
                    self.assertEqual(200, self.status(p, bearer(TOKEN)))

    def test_a_missing_file_shuts_the_endpoint(self):
        os.unlink(self.path)
        with self.locked() as p:
            self.assertEqual(503, self.status(p, bearer(TOKEN)))
            shim.wait_until("the line", lambda: "can't be opened" in p.err)

    def test_go_tool_pprof_takes_the_token_from_the_url(self):
        with self.locked() as p:
            for version, go in shim.gos():
                for token, good in ((TOKEN, True), ("wrong", False)):
                    url = "http://x:%s@127.0.0.1:%d/debug/pprof/heap" % (token, p.port)
                    out, err = shim.pprof(go, "-top", url, check=False)
                    self.assertEqual(good, "flat%" in out, "%s: %s" % (version, err))


class Sites(shim.TestCase):

    def test_a_page_of_another_site_gets_nothing(self):
        with idle() as p:
            for site, status in (("cross-site", 403), ("Cross-Site", 403), ("same-origin", 200), ("same-site", 200),
                                 ("none", 200)):
                a = p.get("/debug/pprof/cmdline", headers={"Sec-Fetch-Site": site})
                self.assertEqual(status, a.status, site)

    def test_no_answer_is_kept_by_a_cache(self):
        with idle() as p:
            for path in ("/debug/pprof/", "/debug/pprof/heap", "/nothing", "/", "/debug/pprof/heap//"):
                self.assertEqual("no-store", p.get(path).header("cache-control"), path)

    def test_an_open_address_is_warned_of_and_the_page_says_so(self):
        port = shim.free_port()
        words = "open to everybody"
        with start([shim.program("heap_bias"), 1000, 100], port=port, env={"PPROF_ADDR": ":%d" % port}) as p:
            shim.wait_until("the warning", lambda: words in p.err)
            self.assertIn("PPROF_TOKEN_FILE", p.get("/debug/pprof/").text)
            self.assertEqual(1, p.err.count(words), p.err)
        with idle() as p:
            self.assertNotIn(words, p.err)
            self.assertNotIn("Everybody who can reach", p.get("/debug/pprof/").text)


class SocketFile(shim.TestCase):

    def test_a_socket_file_has_the_mode_and_the_owner_that_were_asked_for(self):
        path = os.path.join(shim.scratch("lock"), "s")
        for options, mode in (("?mode=660", 0o660), ("?mode=0600", 0o600), ("?mode=777", 0o777),
                              ("?mode=660&owner=%d:%d" % (os.geteuid(), os.getegid()), 0o660)):
            for _ in range(2):  # the second finds the first one's file
                with start([shim.program("heap_bias"), 1000, 100], wait_port=False,
                           env={"PPROF_ADDR": "unix:" + path + options}) as p:
                    shim.wait_until("the socket", lambda: self.answers(path))
                    s = os.stat(path)
                    self.assertEqual(mode, stat.S_IMODE(s.st_mode), options)
                    self.assertEqual(os.geteuid(), s.st_uid)
                    self.assertEqual("", p.err)

    def answers(self, path):
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(path)
                s.sendall(b"GET /debug/pprof/cmdline HTTP/1.1\r\nHost: x\r\n\r\n")
                return s.recv(100).startswith(b"HTTP/1.1 200")
            except OSError:  # init looks whether the address is free, and the listener opens it anew
                return False

    def test_a_wrong_option_is_told(self):
        for options in ("?mode=9", "?mode=10660", "?mode=", "?owner=root", "?x=1", "?mode=660&", "?owner=1"):
            p = shim.run_shim(["true"], env={"PPROF_ADDR": "unix:/nowhere/s" + options})
            if options == "?mode=660&":
                self.assertNotIn("is no good", p[2])
            else:
                self.assertIn("is no good", p[2], options)


class AccessLog(Locked):

    LINE = re.compile(r"pprofshim: access (\S+Z) (\S+) (\d+) (\S+) (\S+) (\d+) (\d+)(\+?) (\d+)ms (\S+)")

    def test_each_request_is_a_line_that_tells_no_token(self):
        path = os.path.join(self.folder, "log")
        with self.locked(PPROF_LOG="access", PPROF_LOG_FILE=path) as p:
            self.status(p, basic("alice", TOKEN), "/debug/pprof/heap?debug=1")
            self.status(p, bearer("guess"))
            self.status(p, bearer(TOKEN), "/debug/pprof/nothing")
            with Raw(p.port) as c:
                c.send(b"BAD\x01\r\n\r\n")
                c.answer()
            with Raw(p.port) as c:
                c.send(("GET /debug/pprof/profile?seconds=30 HTTP/1.1\r\nHost: localhost\r\n"
                        "Authorization: Bearer %s\r\n\r\n" % TOKEN).encode())
                shim.wait_until("the profile", lambda: self.busy(p))
            rows = shim.wait_until("five lines", lambda: self.rows(path, 5))
            self.assertEqual("", p.err)
            self.assertEqual(["200", "401", "404", "400", "0"], [r[5] for r in rows])
            self.assertEqual(["alice", "-", "-", "-", "-"], [r[9] for r in rows])
            self.assertEqual(["", "", "", "", "+"], [r[7] for r in rows])
            self.assertEqual({str(p.pid)}, {r[2] for r in rows})
            self.assertEqual("/debug/pprof/heap?debug=1", rows[0][4])
            self.assertTrue(all(r[1].startswith("127.0.0.1:") for r in rows))
            self.assertGreater(int(rows[0][6]), 200)
        with open(path) as f:
            text = f.read()
        self.assertNotIn(TOKEN, text)
        self.assertNotIn("guess", text)
        self.assertNotIn(basic("alice", TOKEN)["Authorization"].split()[1], text)

    def busy(self, p):
        return p.is_profiled(headers=bearer(TOKEN))

    def rows(self, path, n):
        """The rows but those of `busy`."""
        with open(path) as f:
            rows = [r for r in self.LINE.findall(f.read()) if "seconds=1" not in r[4]]
        return rows if len(rows) >= n else None


class Crowds(shim.TestCase):

    def test_four_hundred_half_open_connections_keep_nobody_out(self):
        with idle() as p:
            held = []
            try:
                for i in range(400):
                    held.append(socket.create_connection(("127.0.0.1", p.port)))
                    if i % 2:
                        held[-1].send(b"GET /debug/pprof/heap HTTP/1.1\r\n")
                for _ in range(5):
                    self.assertEqual(200, p.get("/debug/pprof/heap").status)
            finally:
                for s in held:
                    s.close()
