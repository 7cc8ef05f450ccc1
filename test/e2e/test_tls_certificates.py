# test_tls_certificates.py - TLS: which clients' certificates get in, and what is said of bad files.
#
# Runs in: the test runner.
#
# SPDX-License-Identifier: Apache-2.0
import base64
import os
import re
import ssl

import shim
from secured import Secure


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
