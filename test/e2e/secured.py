# secured.py - certificates, and programs that serve by TLS, for the tests of it.
#
# Runs in: the test runner. Certificates are made by openssl, once a worker.
#
# SPDX-License-Identifier: Apache-2.0
import os
import socket
import ssl
import subprocess

import shim
from shim import start

FEW = 60.0  # seconds that a client waits


def is_built():
    path = os.path.join(shim.ROOT, "build", "mbedtls", "include", "tls_built.h")
    with open(path) as f:
        return "TLS_IS_BUILT 1" in f.read()


def read_to_end(s, piece=65536):
    """All bytes until the peer ends, read in pieces of at most so many."""
    return b"".join(iter(lambda: s.recv(piece), b""))


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
            answer = read_to_end(s)
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
