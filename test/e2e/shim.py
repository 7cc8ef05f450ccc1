# shim.py - the end-to-end tests' harness: start programs under the shim, fetch and read their profiles.
#
# Runs in: the test's process, one of pytest's workers, any number of threads of it. Nothing here prints.
# Promises: every server is on loopback and on a port of its own; every process that was started is ended
# by its own pid, whatever the test did; every wait has a deadline.
#
# SPDX-License-Identifier: Apache-2.0
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import unittest

# What tests use by the name of this module.
from estimates import (  # noqa: F401
    DEFAULT_RATE, Deviations, expected_samples, sample_error, site_errors, site_truth, site_values,
)
from go_pprof import Top, go_env, gos, pprof, save, top  # noqa: F401
from ground import (  # noqa: F401
    BUILD, CC_FLAGS, DEADLINE_S, LIB, OURS, PROGRAMS, ROOT, bare_env, compile_to, free_port, linked, locked,
    port_answers, program, scratch, scratch_remove, shim_env, tool, wait_until,
)
from profile_proto import Profile, Record, _fields, _repeated, _signed, demangle, simplified  # noqa: F401


# ---- processes ---------------------------------------------------------------------------------

class Process:
    """A started program: its output is read by threads as it comes. Use as a context manager; on
    leaving, a process that still runs is killed (this pid and no other)."""

    def __init__(self, argv, env=None, cwd=None, stdin=subprocess.PIPE, input_data=None, **more):
        self.argv = [str(a) for a in argv]
        self.popen = subprocess.Popen(self.argv, env=env, cwd=cwd, stdin=stdin, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, **more)
        self.pid = self.popen.pid
        self.port = None
        self._cond = threading.Condition()
        self._out = {"out": b"", "err": b""}
        self._threads = [threading.Thread(target=self._read, args=(n, f), daemon=True)
                         for n, f in (("out", self.popen.stdout), ("err", self.popen.stderr))]
        for t in self._threads:
            t.start()
        if input_data is not None:
            threading.Thread(target=self._feed, args=(input_data,), daemon=True).start()

    def _feed(self, data):
        try:
            self.popen.stdin.write(data)
            self.popen.stdin.close()
        except OSError:
            pass

    def _read(self, name, f):
        while True:
            try:
                data = os.read(f.fileno(), 65536)
            except (OSError, ValueError):
                data = b""
            with self._cond:
                self._out[name] += data
                self._cond.notify_all()
            if not data:
                return

    @property
    def out(self):
        with self._cond:
            return self._out["out"].decode("utf-8", "backslashreplace")

    @property
    def err(self):
        with self._cond:
            return self._out["err"].decode("utf-8", "backslashreplace")

    @property
    def out_bytes(self):
        with self._cond:
            return self._out["out"]

    def running(self):
        return self.popen.poll() is None

    def wait_line(self, word, deadline_s=DEADLINE_S):
        """Wait for a line of stdout that begins with word; returns the rest of that line."""
        pattern = re.compile(r"^%s(?: +(.*))?$" % re.escape(word), re.M)

        def seen():
            m = pattern.search(self.out)
            if m:
                return m
            if not self.running() and not any(t.is_alive() for t in self._threads):
                m = pattern.search(self.out)
                if m:
                    return m
                raise AssertionError("%s ended (status %s) before it said %r; stderr: %s" % (
                    os.path.basename(self.argv[0]), self.popen.returncode, word, self.err[-600:]))
            return None
        m = wait_until("the line %r of %s" % (word, os.path.basename(self.argv[0])), seen, deadline_s)
        return m.group(1) or ""

    def truth(self):
        """The lines `key number...` printed so far: a dict of key → list of the numbers that follow."""
        found = {}
        for line in self.out.splitlines():
            words = line.split()
            if len(words) >= 2:
                with contextlib.suppress(ValueError):
                    found[words[0]] = [int(w) for w in words[1:]]
        return found

    def sites(self):
        """The rows of truth.h: {site: [(size, allocated, live)]}."""
        found = {}
        for line in self.out.splitlines():
            words = line.split()
            if len(words) == 4 and all(w.isdigit() for w in words[1:]):
                found.setdefault(words[0], []).append(tuple(int(w) for w in words[1:]))
        return found

    def send(self, data):
        self.popen.stdin.write(data)
        self.popen.stdin.flush()

    def close_stdin(self):
        with contextlib.suppress(OSError):
            self.popen.stdin.close()

    def wait(self, deadline_s=DEADLINE_S):
        """Wait for the end; (status, stdout, stderr). A process that hangs is an assertion."""
        try:
            self.popen.wait(deadline_s)
        except subprocess.TimeoutExpired:
            stacks = self.where()
            self.popen.kill()
            self.popen.wait()
            raise AssertionError("%s did not end within %d s; %s" % (
                os.path.basename(self.argv[0]), deadline_s, stacks)) from None
        for t in self._threads:
            t.join(10)
        return self.popen.returncode, self.out, self.err

    def finish(self, deadline_s=DEADLINE_S):
        """Close stdin and wait for the end."""
        self.close_stdin()
        return self.wait(deadline_s)

    def where(self):
        """Where a hung process' threads wait, for the failure's reason."""
        rows = []
        with contextlib.suppress(OSError):
            for tid in sorted(os.listdir("/proc/%d/task" % self.pid), key=int)[:8]:
                base = "/proc/%d/task/%s/" % (self.pid, tid)
                with contextlib.suppress(OSError):
                    rows.append("%s %s %s" % (tid, _read_text(base + "wchan") or "running",
                                              _read_text(base + "syscall").split(" ")[0].strip()))
        return "threads (tid, waits in, system call): " + "; ".join(rows)

    def threads(self, pid=None):
        """{tid: name} of its threads, or those of a child."""
        names = {}
        for tid in os.listdir("/proc/%d/task" % (pid or self.pid)):
            with contextlib.suppress(OSError):
                names[int(tid)] = _read_text("/proc/%d/task/%s/comm" % (pid or self.pid, tid)).rstrip("\n")
        return names

    def listener(self, pid=None):
        """The pid of the process that serves for it (or for a child), a child that waits for nobody; None: there is
        none."""
        for tid in self.threads(pid):
            with contextlib.suppress(OSError):
                for child in _read_text("/proc/%d/task/%d/children" % (pid or self.pid, tid)).split():
                    with contextlib.suppress(OSError):
                        if (_read_text("/proc/%s/comm" % child) == "pprofshim\n" and
                                " Z " not in _read_text("/proc/%s/stat" % child)):
                            return int(child)
        return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.running():
            self.close_stdin()
            with contextlib.suppress(ProcessLookupError):
                self.popen.kill()
        self.popen.wait()
        for t in self._threads:
            t.join(2)
        self.popen.stdout.close()
        self.popen.stderr.close()
        self.close_stdin()

    # -- what it serves

    def get(self, path, timeout_s=DEADLINE_S, **more):
        return get(self.port, path, timeout_s, **more)

    def profile(self, name, query="", timeout_s=DEADLINE_S):
        return get_profile(self.port, name, query, timeout_s)

    def is_profiled(self, **more):
        """Is a CPU profile being taken? Then another one shares its rate, and says so."""
        a = self.get("/debug/pprof/profile?seconds=1&hz=50", **more)
        return a.status == 200 and any("another profile was being taken" in c for c in Profile(a.body).comments)

    def url(self, name=""):
        return "http://127.0.0.1:%d/debug/pprof/%s" % (self.port, name)


def _read_text(path):
    with open(path, "rb") as f:
        return f.read().decode("utf-8", "backslashreplace")


def start(argv, rate=None, env=None, preload=None, wait_port=True, port=None, **more):
    """Start a program under the shim, on a port of its own, and wait until the port answers."""
    if not os.path.exists(LIB):
        raise RuntimeError("there is no build/libpprofshim.so: run make first")
    port = port or free_port()
    p = Process(argv, env=shim_env(port, rate, env, preload), **more)
    p.port = port
    if wait_port:
        try:
            wait_until("%s to listen" % os.path.basename(str(argv[0])),
                       lambda: port_answers(port) or not p.running())
            if not p.running() and not port_answers(port):
                raise AssertionError("%s ended (status %s) before it listened; stderr: %s" % (
                    argv[0], p.popen.returncode, p.err[-600:]))
        except BaseException:
            p.__exit__()
            raise
    return p


def run(argv, env=None, input_data=b"", deadline_s=DEADLINE_S, **more):
    """Run to the end; (status, stdout, stderr)."""
    with Process(argv, env=env, input_data=input_data, **more) as p:
        return p.wait(deadline_s)


def run_shim(argv, rate=None, env=None, preload=None, port=None, **more):
    return run(argv, env=shim_env(port or free_port(), rate, env, preload), **more)


def run_bare(argv, env=None, **more):
    return run(argv, env=bare_env(env), **more)


def reap_later(path_of_pid_file):
    """Kill the one process whose pid the program under test wrote down (a daemon it made)."""
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(_read_text(path_of_pid_file)), signal.SIGKILL)


# ---- HTTP --------------------------------------------------------------------------------------

class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8")

    def header(self, name):
        return self.headers.get(name.lower())


def get(port, path, timeout_s=DEADLINE_S, method="GET", body=None, headers=None):
    """An answer. Where no thread of the program had a processor within a second, it says so, and is asked again."""
    for _ in range(5):
        a = get_once(port, path, timeout_s, method, body, headers)
        if a.status != 503 or b"signal 33 now; ask again" not in a.body:
            break
    return a


def get_once(port, path, timeout_s=DEADLINE_S, method="GET", body=None, headers=None):
    if isinstance(port, Behind):
        port, path = port.port, "/pid/" + port.name + path
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        c.request(method, path, body=body, headers=headers or {})
        r = c.getresponse()
        data = r.read()
        return Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, data)
    finally:
        c.close()


def get_profile(port, name, query="", timeout_s=DEADLINE_S):
    a = get(port, "/debug/pprof/" + name + ("?" + query if query else ""), timeout_s)
    if a.status != 200:
        raise AssertionError("%s answered %d: %s" % (name, a.status, a.body[:200]))
    return Profile(a.body)


class Behind:
    """A process that shares the port of another one: get and get_profile take it in place of a port. Its row of the
    table is in `row`."""

    def __init__(self, port, row):
        self.port, self.row, self.name, self.pid = port, row, row["name"], row["pid"]

    def get(self, path, timeout_s=DEADLINE_S, **more):
        return get(self, path, timeout_s, **more)


def processes(port):
    """All processes of a port, as Behind; none if nobody answers there."""
    try:
        a = get_once(port, "/pid/")
        return [Behind(port, row) for row in json.loads(a.body)["processes"]] if a.status == 200 else []
    except (OSError, http.client.HTTPException):
        return []


def behind(port):
    """Those that have joined another one, without that."""
    return [b for b in processes(port) if not b.row["has_port"]]


class Raw:
    """A connection on which a test writes bytes as they are and reads answers one by one."""

    def __init__(self, port, timeout_s=DEADLINE_S):
        self.s = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.buffer = b""

    def send(self, data):
        self.s.sendall(data)

    def fill(self):
        data = self.s.recv(65536)
        self.buffer += data
        return bool(data)

    def answer(self, head=False):
        """The next answer on the connection; None when it was closed instead."""
        while b"\r\n\r\n" not in self.buffer:
            try:
                if not self.fill():
                    return None
            except ConnectionResetError:
                return None
        before_body, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = before_body.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            k, v = line.split(":", 1)
            headers[k.strip().lower()] = v.strip()
        m = re.match(r"HTTP/1\.[01] (\d{3}) ", lines[0] + " ")
        if not m:
            raise AssertionError("not a status line: %r" % lines[0])
        body = b""
        if not head:
            if "content-length" in headers:
                n = int(headers["content-length"])
                while len(self.buffer) < n and self.fill():
                    pass
                body, self.buffer = self.buffer[:n], self.buffer[n:]
                if len(body) < n:
                    raise AssertionError("body cut: %d of %d bytes" % (len(body), n))
            elif headers.get("transfer-encoding", "").lower() == "chunked":
                body = self._chunks()
            else:
                while self.fill():
                    pass
                body, self.buffer = self.buffer, b""
        return Answer(int(m.group(1)), headers, body)

    def _line(self):
        while b"\r\n" not in self.buffer:
            if not self.fill():
                raise AssertionError("chunked body cut")
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def _chunks(self):
        body = b""
        while True:
            n = int(self._line().split(b";")[0], 16)
            while len(self.buffer) < n + 2:
                if not self.fill():
                    raise AssertionError("chunk cut")
            body += self.buffer[:n]
            self.buffer = self.buffer[n + 2:]
            if n == 0:
                return body

    def closed(self, deadline_s=10):
        """Did the other side close within the deadline?"""
        self.s.settimeout(deadline_s)
        try:
            while True:
                if not self.s.recv(65536):
                    return True
        except ConnectionResetError:
            return True
        except socket.timeout:
            return False

    def close(self):
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ---- tests -------------------------------------------------------------------------------------

class TestCase(unittest.TestCase):
    """A test whose failures are short, and which compares a program with and without the shim."""

    maxDiff = 800

    def assert_close(self, value, truth, error, what="", factor=4.0):
        if abs(value - truth) > factor * error + 1.5:
            self.fail("%s: %s for %s, standard error %.4g" % (what, value, truth, error))

    def assert_same(self, argv, input_data=b"", rate=None, env=None, deadline_s=DEADLINE_S, stderr=True, **more):
        """Same output and exit status with the shim as without."""
        a = run_bare(argv, env=env, input_data=input_data, deadline_s=deadline_s, **more)
        b = run_shim(argv, rate=rate, env=env, input_data=input_data, deadline_s=deadline_s, **more)
        self.assertEqual(a[0], b[0], "exit status; stderr: %s" % b[2][-500:])
        self.assertEqual(a[1], b[1], "output")
        if stderr:
            self.assertEqual(a[2], b[2], "stderr")
        return b
