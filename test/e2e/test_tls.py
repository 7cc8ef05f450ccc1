# test_tls.py - TLS: who gets in and who does not, what is said of bad files, and what a client may not do to others.
#
# Runs in: the test runner. Certificates are made by openssl, once a worker.
#
# SPDX-License-Identifier: Apache-2.0
import base64
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import unittest

import shim
from shim import start

FEW = 60.0  # seconds that a client waits


def is_built():
    path = os.path.join(shim.ROOT, "build", "mbedtls", "include", "tls_built.h")
    with open(path) as f:
        return "TLS_IS_BUILT 1" in f.read()


class Certificates:
    """A folder of certificates, made when a name is first asked for."""
    CURVES = {"p256": "prime256v1", "p384": "secp384r1", "p521": "secp521r1"}

    def __init__(self):
        self.folder = shim.scratch("tls")
        self.number = 0

    def path(self, name):
        return os.path.join(self.folder, name)

    def openssl(self, *args):
        subprocess.run([shim.tool("openssl"), *args], cwd=self.folder, check=True, capture_output=True, timeout=120)

    def key(self, name, kind="p256"):
        path = self.path(name + ".key")
        if not os.path.exists(path):
            if kind in self.CURVES:
                self.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:" + self.CURVES[kind],
                             "-out", path)
            elif kind == "ed25519":
                self.openssl("genpkey", "-algorithm", "ED25519", "-out", path)
            else:
                self.openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:" + kind[3:], "-out", path)
            os.chmod(path, 0o600)
        return path

    def sign(self, name, by=None, kind="p256", subject=None, extensions="", begin=None, end=None, sha="-sha256",
             serial=None):
        """The certificate of a key, signed by another one or by its own; with the times YYYYMMDD if they are given."""
        path = self.path(name + ".pem")
        if os.path.exists(path):
            return path
        self.number += 1
        config = self.path(name + ".cnf")
        with open(config, "w") as f:
            f.write("[ca]\ndefault_ca=x\n[x]\nnew_certs_dir=%s\ndatabase=%s.db\nserial=%s.serial\npolicy=p\n"
                    "email_in_dn=no\nunique_subject=no\ncopy_extensions=none\n[p]\ncommonName=optional\n"
                    "organizationName=optional\n[req]\ndistinguished_name=d\n[d]\n[e]\n%s\n"
                    % (self.folder, self.path(name), self.path(name), extensions))
        open(self.path(name + ".db"), "w").close()
        with open(self.path(name + ".serial"), "w") as f:
            f.write("%04X" % (serial or 4096 + self.number))
        self.openssl("req", "-new", "-config", config, "-key", self.key(name, kind), "-subj", subject or "/CN=" + name,
                     "-out", self.path(name + ".csr"))
        signer = ["-selfsign", "-keyfile", self.key(name, kind)] if not by else [
            "-cert", self.path(by + ".pem"), "-keyfile", self.path(by + ".key")]
        self.openssl("ca", "-batch", "-notext", "-config", config, "-in", self.path(name + ".csr"), *signer,
                     "-md", sha[1:], "-extensions", "e", "-startdate", (begin or "20200101") + "000000Z",
                     "-enddate", (end or "20990101") + "000000Z", "-out", path)
        return path

    AUTHORITY = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign"
    SERVER = "subjectAltName=DNS:localhost,IP:127.0.0.1"

    def authority(self, name, **more):
        return self.sign(name, extensions=self.AUTHORITY, **more)

    def server(self, name, kind="p256", **more):
        self.authority("ca")
        return self.sign(name, by="ca", kind=kind, extensions=self.SERVER, **more)

    def client(self, name, by="clients", extensions="extendedKeyUsage=clientAuth", **more):
        self.authority("clients")
        return self.sign(name, by=by, extensions=extensions, **more)


_made = []


def certificates():
    if not _made:
        _made.append(Certificates())
    return _made[0]


class Secure(shim.TestCase):

    def setUp(self):
        super().setUp()
        if not is_built():
            self.skipTest("the library was built without TLS")
        shim.tool("openssl")
        self.made = certificates()
        self.made.server("server")

    def secured(self, name="server", clients=False, argv=None, rate=1, **env):
        env = dict({"PPROF_TLS_CERT": self.made.path(name + ".pem"), "PPROF_TLS_KEY": self.made.path(name + ".key")},
                   **env)
        if clients:
            env["PPROF_TLS_CLIENT_CA"] = self.made.authority("clients")
        return start(argv or [shim.program("heap_bias"), 1000, 100], rate=rate, env=env)

    def context(self, certificate=None, chain=None, lowest=None, highest=None, ciphers=None, alpn=None):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        c.load_verify_locations(self.made.path("ca.pem"))
        if certificate:
            c.load_cert_chain(chain or self.made.path(certificate + ".pem"), self.made.path(certificate + ".key"))
        if lowest:
            c.minimum_version = lowest
        if highest:
            c.maximum_version = highest
        if ciphers:
            c.set_ciphers(ciphers)
        if alpn:
            c.set_alpn_protocols(alpn)
        return c

    def connect(self, p, context):
        s = socket.create_connection(("127.0.0.1", p.port), timeout=FEW)
        try:
            return context.wrap_socket(s, server_hostname="127.0.0.1")
        except BaseException:
            s.close()
            raise

    def ask(self, p, context=None, path="/debug/pprof/cmdline", body=None, headers=""):
        """(status, body) of a request over TLS."""
        text = "%s %s HTTP/1.0\r\nHost: 127.0.0.1\r\n%s" % ("GET" if body is None else "POST", path, headers)
        if body is not None:
            text += "Content-Length: %d\r\n" % len(body)
        with self.connect(p, context or self.context()) as s:
            s.sendall(text.encode() + b"\r\n" + (body or b""))
            answer = b""
            while True:
                data = s.recv(65536)
                if not data:
                    break
                answer += data
        head, _, rest = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, rest

    def ask_and_stay(self, s):
        s.sendall(b"GET /debug/pprof/cmdline HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"1000\x00100"):  # the program's arguments
            data = s.recv(4096)
            self.assertTrue(data, answer)
            answer += data
        self.assertIn(b"200 OK", answer)

    def refused(self, p, context, what):
        """In TLS 1.3 a client hears of it when it reads."""
        try:
            status, _ = self.ask(p, context)
        except OSError:
            return
        self.fail("%s got in: %d" % (what, status))

    def openssl_client(self, p, *args):
        r = subprocess.run([shim.tool("openssl"), "s_client", "-connect", "127.0.0.1:%d" % p.port, "-ign_eof", *args],
                           input=b"GET /debug/pprof/cmdline HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", capture_output=True,
                           timeout=120)
        return (r.stdout + r.stderr).decode("utf-8", "replace")

    def curl(self, p, *args, scheme="https"):
        r = subprocess.run([shim.tool("curl"), "-sS", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", *args,
                            "%s://127.0.0.1:%d/debug/pprof/heap" % (scheme, p.port)], capture_output=True, text=True,
                           timeout=120)
        return r.stdout


class Door(Secure):

    def test_members_are_reached_through_a_door_with_tls(self):
        argv = [shim.program("waits_for_input")]
        with self.secured(argv=argv) as p:
            env = {"PPROF_TLS_CERT": self.made.path("server.pem"), "PPROF_TLS_KEY": self.made.path("server.key")}
            with shim.Process(argv + ["member"], env=shim.shim_env(p.port, rate=1, extra=env)) as q:
                def names():
                    return {r["pid"]: r["process"] for r in json.loads(self.ask(p, path="/pid/")[1])["processes"]}
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
                answer = b""
                while True:
                    data = s.recv(37)
                    if not data:
                        break
                    answer += data
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
                return next((r["process"] for r in rows if r["pid"] != p.pid), None)
            page = "/pid/%s/debug/pprof/" % shim.wait_until("the child", child)
            self.assertEqual((200, "\0".join(p.argv).encode()), self.ask(p, path=page + "cmdline"))
            self.assertEqual(200, self.ask(p)[0])
            self.assertEqual((0, "", ""), p.finish())


class Clients(Secure):

    def test_a_certificate_of_the_authority_gets_in_and_its_subject_is_logged(self):
        self.made.client("dora", subject="/CN=dora/O=Ops")
        self.made.client("bob", kind="rsa2048")
        log = os.path.join(shim.scratch("tls"), "log")
        with self.secured(clients=True, PPROF_LOG="access", PPROF_LOG_FILE=log) as p:
            for name in ("dora", "bob"):
                for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                    context = self.context(name, lowest=version, highest=version)
                    self.assertEqual(200, self.ask(p, context)[0], name)

            def rows():
                with open(log) as f:
                    found = re.findall(r"access .* (\S+)\n", f.read())
                return found if len(found) == 4 else None
            self.assertEqual(["CN=dora,O=Ops"] * 2 + ["CN=bob"] * 2, shim.wait_until("four lines", rows))

    def test_curl_and_openssl_show_a_certificate(self):
        mine = self.made.client("alice"), self.made.path("alice.key")
        with self.secured(clients=True) as p:
            ca = self.made.path("ca.pem")
            for version in ("1.2", "1.3"):
                versions = ["--tlsv" + version, "--tls-max", version]
                self.assertEqual("200 1.1", self.curl(p, "--cacert", ca, *versions, "--cert", mine[0], "--key",
                                                      mine[1]))
                self.assertNotIn("200", self.curl(p, "--cacert", ca, *versions))
                args = ["-tls" + version.replace(".", "_"), "-CAfile", ca]
                text = self.openssl_client(p, *args, "-cert", mine[0], "-key", mine[1])
                self.assertIn("HTTP/1.1 200 OK", text)
                self.assertNotIn("HTTP/1.1", self.openssl_client(p, *args))

    def test_a_chain_through_an_intermediate_authority_gets_in(self):
        self.made.authority("clients")
        self.made.authority("between", by="clients")
        self.made.client("carol", by="between")
        chain = self.made.path("carol.chain")
        with open(chain, "wb") as f:
            for name in ("carol", "between"):
                with open(self.made.path(name + ".pem"), "rb") as part:
                    f.write(part.read())
        with self.secured(clients=True) as p:
            self.assertEqual(200, self.ask(p, self.context("carol", chain=chain))[0])

    def wrong_certificates(self):
        """Names, or (name, chain)."""
        made = self.made
        made.client("alice")
        made.authority("others")
        made.sign("self-signed", extensions="extendedKeyUsage=clientAuth")
        made.client("of-others", by="others")
        made.client("expired", end="20210101")
        made.client("future", begin="20900101")
        made.client("for-servers", extensions="extendedKeyUsage=serverAuth")
        made.client("for-mail", extensions="extendedKeyUsage=emailProtection")
        made.client("of-alice", by="alice")
        made.client("p521", kind="p521")
        made.client("ed25519", kind="ed25519")
        made.sign("clients-too", subject="/CN=clients", extensions=made.AUTHORITY)  # the same name, another key
        made.client("of-clients-too", by="clients-too")
        made.client("sha1", sha="-sha1")
        made.client("critical", extensions="1.2.3.4=critical,ASN1:NULL")
        made.client("no-signing", extensions="keyUsage=critical,keyEncipherment")
        made.client("rsa1024", kind="rsa1024")
        made.authority("old", by="clients", end="20210101")
        made.client("of-old", by="old")
        made.sign("no-authority", by="clients", extensions="basicConstraints=CA:FALSE")
        made.client("of-no-authority", by="no-authority")
        by = "clients"
        for i in range(7):
            made.authority("deep-%d" % i, by=by)
            by = "deep-%d" % i
        made.client("deep", by=by)
        chains = {"of-old": ["old"], "of-no-authority": ["no-authority"], "of-alice": ["alice"],
                  "of-clients-too": ["clients-too"], "of-others": ["others"],
                  "deep": ["deep-%d" % i for i in range(6, -1, -1)]}
        names = ["self-signed", "expired", "future", "for-servers", "for-mail", "p521", "ed25519", "sha1", "critical",
                 "no-signing", "rsa1024"]
        for name, more in chains.items():
            path = made.path(name + ".chain")
            with open(path, "wb") as f:
                for part in [name] + more:
                    with open(made.path(part + ".pem"), "rb") as g:
                        f.write(g.read())
        return [(n, None) for n in names] + [(n, made.path(n + ".chain")) for n in chains] + \
               [("of-others", None), ("of-alice", None), (None, None)]

    def test_twenty_wrong_certificates_stay_out(self):
        wrong = self.wrong_certificates()
        self.assertEqual(20, len(wrong))
        with self.secured(clients=True) as p:
            for name, chain in wrong:
                for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                    try:
                        context = self.context(name, chain, lowest=version, highest=version,
                                               ciphers="ALL:@SECLEVEL=0" if version == ssl.TLSVersion.TLSv1_2 else None)
                    except ssl.SSLError as e:  # this openssl has no such certificate
                        self.assertIn("too", str(e).replace("_", " ").lower())
                        continue
                    self.refused(p, context, name)
            self.assertEqual(200, self.ask(p, self.context("alice"))[0])

    def test_a_certificate_does_not_replace_the_token(self):
        self.made.client("alice")
        token = os.path.join(shim.scratch("tls"), "token")
        with open(token, "w") as f:
            f.write("S3cret")
        os.chmod(token, 0o600)
        with self.secured(clients=True, PPROF_TOKEN_FILE=token) as p:
            context = self.context("alice")
            self.assertEqual(401, self.ask(p, context)[0])
            self.assertEqual(200, self.ask(p, context, headers="Authorization: Bearer S3cret\r\n")[0])
            basic = base64.b64encode(b"x:S3cret").decode()
            self.assertEqual(200, self.ask(p, context, headers="Authorization: Basic %s\r\n" % basic)[0])
            self.refused(p, self.context(), "nobody")


class Files(Secure):

    def setUp(self):
        super().setUp()
        self.folder = shim.scratch("tls")

    def own(self, name="server"):
        """The paths of a certificate and its key that the test may spoil."""
        paths = []
        for end in ("pem", "key"):
            paths.append(os.path.join(self.folder, "own." + end))
            self.put(paths[-1], self.read(name + "." + end))
        return paths

    def read(self, name):
        with open(self.made.path(name)) as f:
            return f.read()

    def put(self, path, text, mode=0o600):
        with open(path + ".new", "w") as f:
            f.write(text)
        os.chmod(path + ".new", mode)
        os.rename(path + ".new", path)

    def shut(self, p):
        with self.assertRaises(OSError):
            self.ask(p)
        with shim.Raw(p.port) as c:  # nor is anything said in plain text
            try:
                c.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertIsNone(c.answer())
            except OSError:
                pass

    def test_a_bad_file_is_named_with_what_is_wrong_and_the_door_stays_shut(self):
        made = self.made
        made.server("expired-server", end="20210101")
        made.server("future-server", begin="20900101")
        made.server("ed-server", kind="ed25519")
        made.server("big-server", kind="p521")
        made.server("another")
        made.openssl("pkey", "-in", made.path("server.key"), "-aes128", "-passout", "pass:x", "-out", "locked.key")
        pem, key = self.read("server.pem"), self.read("server.key")
        cases = [
            ("PPROF_TLS_CERT", None, 0o600, "does not exist"), ("PPROF_TLS_KEY", None, 0o600, "does not exist"),
            ("PPROF_TLS_CERT", "", 0o600, "holds no certificate in PEM form"),
            ("PPROF_TLS_KEY", "", 0o600, "holds no private key in PEM form"),
            ("PPROF_TLS_CERT", key, 0o600, "holds no certificate in PEM form"),
            ("PPROF_TLS_KEY", pem, 0o600, "holds no private key in PEM form"),
            ("PPROF_TLS_CERT", pem.replace("\nMII", "\nAAA", 1), 0o600, "holds a certificate that can't be read"),
            ("PPROF_TLS_KEY", key[:100] + "\n" + key[-30:], 0o600, "holds a private key that can't be read"),
            ("PPROF_TLS_KEY", self.read("another.key"), 0o600, "does not match"),
            ("PPROF_TLS_KEY", self.read("locked.key"), 0o600, "encrypted"),
            ("PPROF_TLS_KEY", key, 0o644, "can be read or written by all users"),
            ("PPROF_TLS_CERT", pem, 0o666, "can be written by all users"),
            ("PPROF_TLS_CERT", self.read("expired-server.pem"), 0o600, "has expired"),
            ("PPROF_TLS_CERT", self.read("future-server.pem"), 0o600, "is not valid yet"),
            ("PPROF_TLS_CERT", self.read("ed-server.pem"), 0o600, "its key must be RSA"),
            ("PPROF_TLS_CERT", self.read("big-server.pem"), 0o600, "its key must be RSA"),
            ("PPROF_TLS_CERT", "x" * (1 << 20) + pem, 0o600, "holds more than a mebibyte"),
        ]
        for variable, text, mode, words in cases:
            with self.subTest(words, variable=variable):
                cert_path, key_path = self.own()
                bad = cert_path if variable == "PPROF_TLS_CERT" else key_path
                if words in ("has expired", "is not valid yet"):
                    self.put(key_path, self.read(words.replace("has ", "").replace("is not valid yet", "future") +
                                                 "-server.key"))
                os.unlink(bad)
                if text is not None:
                    self.put(bad, text, mode)
                with self.secured(PPROF_TLS_CERT=cert_path, PPROF_TLS_KEY=key_path) as p:
                    shim.wait_until("the line", lambda: words in p.err)
                    for _ in range(2):
                        self.shut(p)
                    self.assertEqual(1, p.err.count("\n"), p.err)
                    self.assertIn("%s=%s " % (variable, bad), p.err)
                    self.assertIn("the endpoint stays shut", p.err)
                    self.own()
                    self.assertEqual(200, self.ask(p)[0])

    def test_settings_that_are_not_whole_keep_the_door_shut(self):
        cert_path, key_path = self.own()
        ca = self.made.authority("clients")
        for env, words in (({"PPROF_TLS_CERT": cert_path, "PPROF_TLS_KEY": ""}, "PPROF_TLS_KEY is not set"),
                           ({"PPROF_TLS_CERT": "", "PPROF_TLS_KEY": key_path}, "PPROF_TLS_CERT is not set"),
                           ({"PPROF_TLS_CERT": "", "PPROF_TLS_KEY": "", "PPROF_TLS_CLIENT_CA": ca},
                            "PPROF_TLS_CERT is not set"),
                           ({"PPROF_TLS_CLIENT_CA": self.folder}, "is no regular file"),
                           ({"PPROF_TLS_CLIENT_CA": key_path}, "holds no certificate in PEM form")):
            with self.subTest(words), self.secured(**env) as p:
                shim.wait_until("the line", lambda: words in p.err)
                self.shut(p)

    def test_a_kubernetes_secret_that_is_swapped_is_read_again(self):
        self.made.server("second", kind="rsa2048")
        for name in ("server", "second"):
            os.mkdir(os.path.join(self.folder, ".." + name))
            for end, file in (("pem", "tls.crt"), ("key", "tls.key")):
                self.put(os.path.join(self.folder, ".." + name, file), self.read(name + "." + end), 0o640)
        data = os.path.join(self.folder, "..data")
        os.symlink("..server", data)
        for file in ("tls.crt", "tls.key"):
            os.symlink("..data/" + file, os.path.join(self.folder, file))
        with self.secured(PPROF_TLS_CERT=os.path.join(self.folder, "tls.crt"),
                          PPROF_TLS_KEY=os.path.join(self.folder, "tls.key")) as p:
            for turn in range(6):
                with self.connect(p, self.context()) as old:
                    self.ask_and_stay(old)
                    subject = dict(f[0] for f in old.getpeercert()["subject"])["commonName"]
                    self.assertEqual(("server", "second")[turn % 2], subject)
                    os.symlink("..second" if turn % 2 == 0 else "..server", data + ".new")
                    os.rename(data + ".new", data)
                    self.assertEqual(200, self.ask(p)[0])
                    self.ask_and_stay(old)  # it goes on
            self.assertEqual("", p.err)


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
