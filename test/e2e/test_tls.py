# test_tls.py - TLS: what is served by it, and what a client may not do to others.
#
# Runs in: the test runner.
#
# SPDX-License-Identifier: Apache-2.0
import json
import re
import socket
import ssl
import subprocess
import threading
import unittest

import shim
from secured import FEW, Secure, read_to_end
from shim import start


class Door(Secure):

    def test_members_are_reached_through_a_door_with_tls(self):
        argv = [shim.program("waits_for_input")]
        with self.secured(argv=argv) as p:
            env = {"PPROF_TLS_CERT": self.made.path("server.pem"), "PPROF_TLS_KEY": self.made.path("server.key")}
            with shim.Process(argv + ["member"], env=shim.shim_env(p.port, rate=1, extra=env)) as q:
                def names():
                    return {r["pid"]: r["name"] for r in json.loads(self.ask(p, path="/pid/")[1])["processes"]}
                page = "/pid/%s/debug/pprof/" % shim.wait_until("the member", lambda: names().get(q.pid))
                for _ in range(3):
                    self.assertEqual((200, "\0".join(q.argv).encode()), self.ask(p, path=page + "cmdline"))
                status, body = self.ask(p, path=page + "heap")
                self.assertEqual(200, status)
                self.assertTrue(shim.Profile(body).samples)
                self.assertEqual(404, self.ask(p, path="/pid/999999/debug/pprof/heap")[0])

    def test_one_that_wants_tls_is_not_served_by_a_door_without(self):
        argv = [shim.program("waits_for_input")]
        with start(argv) as p:
            env = {"PPROF_TLS_CERT": self.made.path("server.pem"), "PPROF_TLS_KEY": self.made.path("server.key"),
                   "PPROF_ADDR": "127.0.0.1:%d" % p.port}
            with shim.Process(argv, env=shim.shim_env(p.port, extra=env)) as q:
                q.port = shim.wait_until("a port of its own", lambda: next(
                    (n for n in range(p.port + 1, p.port + 11) if shim.port_answers(n)), None))
                self.assertEqual((200, "\0".join(q.argv).encode()), self.ask(q))
                self.assertEqual([p.pid], [b.pid for b in shim.processes(p.port)])


class Served(Secure):

    def test_curl_and_openssl_speak_both_versions_with_every_kind_of_key(self):
        for kind in ("p256", "p384", "rsa2048", "rsa4096"):
            self.made.server("of-" + kind, kind=kind)
            with self.subTest(kind), self.secured("of-" + kind) as p:
                ca = self.made.path("ca.pem")
                self.assertEqual("200 1.1", self.curl(p, "--cacert", ca, "--tlsv1.3"))
                self.assertEqual("200 1.1", self.curl(p, "--cacert", ca, "--tls-max", "1.2"))
                for version, name in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
                    text = self.openssl_client(p, version, "-CAfile", ca, "-alpn", "h2,http/1.1")
                    self.assertIn("HTTP/1.1 200 OK", text)
                    self.assertIn(name, text)
                    self.assertIn("Verify return code: 0 (ok)", text)
                    self.assertIn("ALPN protocol: http/1.1", text)
                    self.assertIn("Compression: NONE", text)
                self.assertEqual("", p.err)

    def test_a_client_that_renegotiates_is_refused(self):
        with self.secured() as p:
            with shim.Process([shim.tool("openssl"), "s_client", "-connect", "127.0.0.1:%d" % p.port,
                               "-tls1_2"]) as client:
                client.send(b"R\n")
                shim.wait_until("the refusal", lambda: not client.running())
                shim.wait_until("the attempt", lambda: "RENEGOTIATING" in client.out + client.err)
                shim.wait_until("the reason", lambda: "no renegotiation" in client.err)
            self.assertEqual(200, self.ask(p)[0])

    def test_each_suite_that_is_offered_is_of_aead_and_no_other_is(self):
        good = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305")
        with self.secured() as p:
            two = ssl.TLSVersion.TLSv1_2
            for suite in good:
                self.assertEqual(200, self.ask(p, self.context(highest=two, ciphers=suite))[0], suite)
            for suite in ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"):
                self.assertIn(suite, self.openssl_client(p, "-tls1_3", "-ciphersuites", suite))

    def test_twenty_wrong_forms_of_a_handshake_stay_out(self):
        wrong = [("-tls1",), ("-tls1_1",), ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA@SECLEVEL=0"),
                 ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384@SECLEVEL=0"),
                 ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-CCM"), ("-tls1_2", "-cipher", "AES128-GCM-SHA256"),
                 ("-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"),
                 ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"),
                 ("-tls1_2", "-cipher", "ADH-AES128-GCM-SHA256@SECLEVEL=0"),
                 ("-tls1_2", "-cipher", "ECDHE-ECDSA-NULL-SHA@SECLEVEL=0"), ("-tls1_2", "-cipher", "CAMELLIA128-SHA"),
                 ("-tls1_3", "-groups", "P-521"), ("-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"),
                 ("-tls1_3", "-alpn", "h2"), ("-tls1_2", "-alpn", "h2,spdy/3"),
                 ("-tls1_3", "-sigalgs", "RSA-PSS+SHA256"),
                 ("-tls1_2", "-sigalgs", "RSA+SHA256"), ("-tls1_2", "-groups", "P-521"), ("-ssl3",),
                 ("-tls1_2", "-cipher", "PSK-AES128-GCM-SHA256", "-psk", "1234")]
        self.assertEqual(20, len(wrong))
        with self.secured() as p:
            for args in wrong:
                self.assertNotIn("HTTP/1.1", self.openssl_client(p, *args), args)
            self.assertEqual(200, self.ask(p)[0])

    def test_what_is_not_tls_is_closed_and_http_is_told(self):
        forms = [b"\x00" * 100, b"\xff" * 100, b"\x80\x2e\x01\x00\x02" + b"\x00" * 60, b"SSH-2.0-x\r\n", b"\r\n\r\n",
                 b"\x16", b"\x16\x03", b"\x16\x03\x01\xff\xff" + b"x" * 70000, b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
                 b"\x16\x03\x01\x00\x00", b"\x15\x03\x01\x00\x02\x02\x28", b"\x17\x03\x03\x00\x05hello",
                 b"\x14\x03\x03\x00\x01\x01", b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff", b"\x16\x02\x00\x00\x05hello"]
        with self.secured() as p:
            for form in forms:
                with socket.create_connection(("127.0.0.1", p.port), timeout=FEW) as s:
                    try:
                        s.sendall(form)
                        s.shutdown(socket.SHUT_WR)
                        while s.recv(4096):
                            pass
                    except OSError:
                        pass
            for method in ("GET", "POST", "HEAD"):
                with shim.Raw(p.port) as c:
                    c.send(("%s /debug/pprof/heap HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % method).encode())
                    a = c.answer()
                    self.assertEqual(400, a.status)
                    self.assertIn("HTTPS", a.text)
            self.assertEqual(200, self.ask(p)[0])

    def test_a_large_body_goes_in_and_a_large_answer_comes_out(self):
        with self.secured() as p:
            with open("/proc/%d/maps" % p.pid) as f:
                first = [row for row in f if "heap_bias" in row and " r-xp " in row][0]
            address = "0x%x" % (int(first.split("-")[0], 16) + 0x100)
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                one = self.ask(p, self.context(lowest=version, highest=version), "/debug/pprof/symbol",
                               address.encode())[1].split(b"\n")
                body = "+".join([address] * 100000).encode()
                status, text = self.ask(p, self.context(lowest=version, highest=version), "/debug/pprof/symbol", body)
                self.assertEqual(200, status)
                rows = text.split(b"\n")
                self.assertEqual(one[0], rows[0])
                self.assertIn(len(rows), (2, 100002))
                self.assertEqual(set(one[1:]), set(rows[1:]))

    def test_a_slow_reader_gets_every_byte_of_a_profile(self):
        with self.secured(argv=[shim.program("heap_truth"), 400]) as p:
            p.wait_line("ready")
            whole = self.ask(p, path="/debug/pprof/goroutine?debug=2")[1]
            with self.connect(p, self.context()) as s:
                s.sendall(b"GET /debug/pprof/heap?debug=1 HTTP/1.0\r\nHost: localhost\r\n\r\n")
                answer = read_to_end(s, 37)
            self.assertIn(b"# runtime.MemStats", answer)
            self.assertTrue(whole)

    def test_requests_that_come_in_one_record_are_all_answered(self):
        one = b"GET /debug/pprof/cmdline HTTP/1.1\r\nHost: localhost\r\n"
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.secured() as p, self.connect(p, self.context(lowest=version, highest=version)) as s:
                s.sendall((one + b"\r\n") * 200 + one + b"Connection: close\r\n\r\n")
                answer = b""
                while True:
                    data = s.recv(65536)
                    if not data:
                        break
                    answer += data
                self.assertEqual(201, answer.count(b"HTTP/1.1 200 OK"))

    def test_go_tool_pprof_fetches_a_profile(self):
        # It takes -tls_ca and the like and does not use them when it fetches; it knows authorities by SSL_CERT_FILE.
        with self.secured(argv=[shim.program("heap_truth"), 400]) as p:
            p.wait_line("ready")
            url = "127.0.0.1:%d/debug/pprof/heap" % p.port
            for version, go in shim.gos():
                for scheme, ca, good in (("https", "ca.pem", True), ("https+insecure", "/dev/null", True),
                                         ("https", "/dev/null", False), ("http", "ca.pem", False)):
                    env = dict(shim.go_env(), SSL_CERT_FILE=self.made.path(ca), SSL_CERT_DIR="/nowhere")
                    r = subprocess.run([go, "tool", "pprof", "-top", scheme + "://" + url], capture_output=True,
                                       text=True, env=env, cwd=shim.scratch(), timeout=120, stdin=subprocess.DEVNULL)
                    self.assertEqual(good, "site_many_small" in r.stdout, "%s %s: %s" % (version, scheme, r.stderr))

    def test_the_log_and_the_page_say_https(self):
        with self.secured(PPROF_LOG="info") as p:
            shim.wait_until("the line", lambda: "are at https://127.0.0.1:%d/" % p.port in p.err)

    def test_a_child_of_fork_is_served_by_tls_too(self):
        code = "import os, sys\nos.fork()\nkept = [str(i) for i in range(10000)]\nsys.stdin.read()"
        with self.secured(argv=["/usr/bin/python3", "-c", code]) as p:
            def child():
                rows = json.loads(self.ask(p, path="/pid/")[1])["processes"]
                return next((r["name"] for r in rows if r["pid"] != p.pid), None)
            page = "/pid/%s/debug/pprof/" % shim.wait_until("the child", child)
            self.assertEqual((200, "\0".join(p.argv).encode()), self.ask(p, path=page + "cmdline"))
            self.assertEqual(200, self.ask(p)[0])
            self.assertEqual((0, "", ""), p.finish())


class Host(Secure):

    def test_without_the_settings_no_page_of_tls_is_used(self):
        text = subprocess.run(["readelf", "-SW", shim.LIB], capture_output=True, text=True, check=True).stdout
        places = re.findall(r" (tls_\w+) +\w+ +([0-9a-f]+) [0-9a-f]+ ([0-9a-f]+)", text)
        self.assertEqual(["tls_rodata", "tls_state", "tls_text"], sorted(p[0] for p in places))
        pages = [x for _, at, size in places for x in ("0x" + at, "0x" + size)]
        with start([shim.program("closed_pages"), "libpprofshim", *pages], rate=1) as p:
            p.wait_line("closed")
            self.assertGreater(int(p.out.split()[1]), 30)
            for path in ("", "heap", "allocs", "goroutine?debug=2", "profile?seconds=1", "cmdline", "nothing"):
                self.assertIn(p.get("/debug/pprof/" + path).status, (200, 404))
            self.assertTrue(p.running())

    def test_handshakes_that_stall_keep_nobody_out(self):
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 40
        with self.secured() as p:
            held = []
            try:
                for i in range(200):
                    held.append(socket.create_connection(("127.0.0.1", p.port)))
                    held[-1].send(hello[:(0, 1, 5, len(hello))[i % 4]])
                for _ in range(3):
                    self.assertEqual(200, self.ask(p)[0])
            finally:
                for s in held:
                    s.close()

    def test_a_handshake_that_stalls_ends_at_its_deadline(self):
        with self.secured() as p:
            with socket.create_connection(("127.0.0.1", p.port), timeout=FEW) as s:
                s.send(b"\x16\x03\x01")
                self.assertEqual(b"", s.recv(100))

    def test_sixty_four_clients_at_a_time_are_served(self):
        with self.secured() as p:
            clients = []
            try:
                for _ in range(64):
                    clients.append(self.connect(p, self.context()))
                    self.ask_and_stay(clients[-1])
                for s in clients:
                    self.ask_and_stay(s)
            finally:
                for s in clients:
                    s.close()

    def test_what_the_program_allocates_is_counted_as_without_tls(self):
        with self.secured(argv=[shim.program("heap_truth"), 400]) as p:
            p.wait_line("ready")
            sites = p.sites()
            wrong = []

            def load():
                for _ in range(15):
                    if self.ask(p, path="/debug/pprof/heap")[0] != 200:
                        wrong.append(1)
            threads = [threading.Thread(target=load) for _ in range(4)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            self.assertEqual([], wrong)
            profile = shim.Profile(self.ask(p, path="/debug/pprof/heap")[1])
            for site in ("site_many_small", "site_memalign", "site_realloc_grow"):
                self.assertEqual(shim.site_truth(sites[site])[3], shim.site_values(profile, site)[3], site)
            self.assertEqual("", p.err)


if __name__ == "__main__":
    unittest.main()
