# shim.py - the end-to-end tests' harness: start programs under the shim, fetch and read their profiles.
#
# Runs in: the test's process, one of pytest's workers, any number of threads of it. Nothing here prints.
# Promises: every server is on loopback and on a port of its own; every process that was started is ended
# by its own pid, whatever the test did; every wait has a deadline.
#
# SPDX-License-Identifier: Apache-2.0
import collections
import contextlib
import fcntl
import gzip
import hashlib
import http.client
import json
import math
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import rules

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD_DIR") or os.path.join(ROOT, "build")
LIB = os.environ.get("PPROFSHIM_LIB") or os.path.join(BUILD, "libpprofshim.so")
PROGRAMS = os.path.join(ROOT, "test", "programs")
DEFAULT_RATE = 524288
CC_FLAGS = ["-O1", "-g", "-pthread", "-rdynamic"]

# A busy machine makes everything late, never wrong: deadlines are long, and only a hang meets them.
DEADLINE_S = 180.0


# ---- scratch -----------------------------------------------------------------------------------

_scratch_lock = threading.Lock()
_scratch = None


def scratch(name=None):
    """The run's own temporary folder, or a new folder in it."""
    global _scratch
    with _scratch_lock:
        if _scratch is None:
            _scratch = tempfile.mkdtemp(prefix="pprofshim-e2e.")
            os.chmod(_scratch, 0o755)
    if name is None:
        return _scratch
    path = tempfile.mkdtemp(prefix=name + ".", dir=_scratch)
    os.chmod(path, 0o755)
    return path


def scratch_remove():
    if _scratch:
        shutil.rmtree(_scratch, ignore_errors=True)


# ---- building ----------------------------------------------------------------------------------

@contextlib.contextmanager
def locked(path):
    """Nobody else of the run makes what is at that path meanwhile, in whatever thread or worker (a process). The
    locks lie in a folder of their own, as a folder that is made may be removed first."""
    folder = os.path.join(BUILD, "locks")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, hashlib.sha256(path.encode()).hexdigest()[:32]), "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def compile_to(output, sources, flags=(), compiler=None, headers=()):
    """Build output from sources unless it is newer than they, and the headers, are. Returns output."""
    compiler = compiler or (os.environ.get("CXX", "g++") if any(s.endswith(".cc") for s in sources)
                            else os.environ.get("CC", "gcc"))
    with locked(output):
        newest = max(os.stat(s).st_mtime for s in list(sources) + list(headers))
        if os.path.exists(output) and os.stat(output).st_mtime >= newest:
            return output
        os.makedirs(os.path.dirname(output), exist_ok=True)
        part = "%s.%d.part" % (output, os.getpid())
        r = subprocess.run(compiler.split() + CC_FLAGS + list(sources) + ["-o", part] + list(flags),
                           capture_output=True, text=True, timeout=300)
        if r.returncode:
            raise RuntimeError("cannot build %s: %s" % (os.path.basename(output), r.stderr[:2000]))
        os.rename(part, output)
    return output


def program(name):
    """The path of a program of test/programs; built as the Makefile builds it, should it be missing."""
    for ext in (".c", ".cc"):
        source = os.path.join(PROGRAMS, name + ext)
        if os.path.exists(source):
            out = os.path.join(BUILD, "programs", name)
            with open(source) as f:
                more = [w for line in f for m in [re.match(r"[ /*]*flags: *(.*?)(\*/|$)", line)] if m
                        for w in m.group(1).split()]
            if name.startswith("lib"):
                return compile_to(out + ".so", [source], ["-fPIC", "-shared", "-ldl", "-lm"] + more)
            return compile_to(out, [source], ["-ldl", "-lm"] + more)
    raise RuntimeError("no such program: " + name)


def linked(name, sources, flags=(), folder="linked"):
    """A program or library of test/programs/linked that needs its own link line."""
    src = [s if s.startswith("/") else os.path.join(PROGRAMS, "linked", s) for s in sources]
    return compile_to(os.path.join(BUILD, "programs", folder, name), src, flags)


def tool(*names):
    """The first of the named programs that is installed; otherwise the test is skipped."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin"
    for n in names:
        found = shutil.which(n, path=path)
        if found:
            return found
    raise unittest.SkipTest(names[0] + " is not installed")


# ---- ports -------------------------------------------------------------------------------------

# The runs that were given last. A worker runs one test at a time, so older ones are done with; and a run is longer than
# most tests need, so a worker would soon have given all of its ports.
_runs_given = collections.deque(maxlen=100)
_runs_lock = threading.Lock()


def _port_range():
    """The ports of this worker: what it gives to a test, no other worker of the run gives before it is bound."""
    low, high = 10000, 32000
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % count
    size = (high - low) // count
    return low + number * size, low + (number + 1) * size


def _port_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(run=12):
    """A port below the ephemeral range such that it and the next run - 1 are free now and were not given to somebody
    a short time ago."""
    low, high = _port_range()
    with _runs_lock:
        for _ in range(2000):
            base = random.randrange(low, high - run)
            span = range(base, base + run)
            taken = any(r.start < span.stop and span.start < r.stop for r in _runs_given)
            if not taken and all(_port_free(p) for p in span):
                _runs_given.append(span)
                return base
    raise RuntimeError("no free run of ports")


def port_answers(port, host="127.0.0.1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as s:
        s.settimeout(2)
        return s.connect_ex((host, port)) == 0


def wait_until(what, condition, deadline_s=DEADLINE_S, step_s=0.01):
    """Wait for a true value of condition() and return it."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %d s in vain for %s" % (deadline_s, what))
        time.sleep(step_s)
        step_s = min(step_s * 1.5, 0.2)


# ---- the environment ---------------------------------------------------------------------------

OURS = ("DISABLE_PPROF", "LD_PRELOAD")


def bare_env(extra=None):
    """The environment without anything of ours."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PPROF_", "PYTEST_")) and k not in OURS}
    env["LC_ALL"] = "C"
    env.update(extra or {})
    return env


def shim_env(port=None, rate=None, extra=None, preload=None):
    env = bare_env()
    env["LD_PRELOAD"] = preload or LIB
    if port:
        env["PPROF_ADDR"] = "127.0.0.1:%d" % port
    if rate is not None:
        env["PPROF_HEAP_RATE"] = str(rate)
    for k, v in (extra or {}).items():
        if v is None:
            env.pop(k, None)
        else:
            env[k] = v
    return env


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
        self.port, self.row, self.name, self.pid = port, row, row["process"], row["pid"]

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
        top, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = top.decode("latin-1").split("\r\n")
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


# ---- profile.proto -----------------------------------------------------------------------------

def _varint(data, at):
    value = shift = 0
    while True:
        b = data[at]
        at += 1
        value |= (b & 0x7F) << shift
        if b < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise AssertionError("varint of more than ten bytes")


def _signed(v):
    return v - (1 << 64) if v >= 1 << 63 else v


def _fields(data):
    """(number, value) of a message: an int, or bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at)
        elif wire == 2:
            n, at = _varint(data, at)
            if at + n > len(data):
                raise AssertionError("field %d runs past the end" % (key >> 3))
            value, at = data[at:at + n], at + n
        elif wire == 1:
            value, at = int.from_bytes(data[at:at + 8], "little"), at + 8
        elif wire == 5:
            value, at = int.from_bytes(data[at:at + 4], "little"), at + 4
        else:
            raise AssertionError("wire type %d" % wire)
        yield key >> 3, value


def _repeated(into, value):
    """A repeated integer, packed or not."""
    if isinstance(value, int):
        into.append(value)
        return
    at = 0
    while at < len(value):
        v, at = _varint(value, at)
        into.append(v)


class Record:
    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __repr__(self):
        return "Record(%s)" % self.__dict__


class Profile:
    """A decoded profile.proto. Strings are looked up; samples refer to Location objects, leaf first."""

    def __init__(self, body):
        if body[:2] != b"\x1f\x8b":
            raise AssertionError("the body is not gzip: %r" % body[:60])
        data = gzip.decompress(body)
        self.raw_size = len(data)
        raw = {n: [] for n in range(1, 16)}
        for n, v in _fields(data):
            raw.setdefault(n, []).append(v)
        self.raw_fields = raw
        self.string_bytes = raw[6]
        self.strings = [s.decode("utf-8", "strict") for s in raw[6]]

        def text(i):
            return self.strings[i]

        def message(data, shape):
            r = {name: (default() if callable(default) else default) for name, default in shape.values()}
            for n, v in _fields(data):
                if n not in shape:
                    raise AssertionError("unknown field %d" % n)
                name, default = shape[n]
                if callable(default):
                    if name in ("line", "label"):
                        r[name].append(v)
                    else:
                        _repeated(r[name], v)
                else:
                    r[name] = v
            return Record(**r)

        def value_type(data):
            r = message(data, {1: ("type", 0), 2: ("unit", 0)})
            return (text(r.type), text(r.unit))

        def one(n, default=0):
            return raw[n][-1] if raw[n] else default

        self.sample_types = [value_type(v) for v in raw[1]]
        self.period_type = value_type(raw[11][0]) if raw[11] else None
        self.period = _signed(one(12))
        self.time_nanos = _signed(one(9))
        self.duration_nanos = _signed(one(10))
        self.drop_frames = text(one(7))
        self.keep_frames = text(one(8))
        comments = []
        for v in raw[13]:
            _repeated(comments, v)
        self.comments = [text(c) for c in comments]
        self.default_sample_type = text(one(14))

        self.mappings = [message(v, {1: ("id", 0), 2: ("start", 0), 3: ("limit", 0), 4: ("offset", 0),
                                     5: ("file", 0), 6: ("build_id", 0), 7: ("has_functions", 0),
                                     8: ("has_filenames", 0), 9: ("has_line_numbers", 0),
                                     10: ("has_inline_frames", 0)}) for v in raw[3]]
        for m in self.mappings:
            m.file, m.build_id = text(m.file), text(m.build_id)
        self.functions = [message(v, {1: ("id", 0), 2: ("name", 0), 3: ("system_name", 0),
                                      4: ("filename", 0), 5: ("start_line", 0)}) for v in raw[5]]
        for f in self.functions:
            f.name, f.system_name, f.filename = text(f.name), text(f.system_name), text(f.filename)
        functions = {f.id: f for f in self.functions}
        mappings = {m.id: m for m in self.mappings}
        self.locations = [message(v, {1: ("id", 0), 2: ("mapping_id", 0), 3: ("address", 0),
                                      4: ("line", list), 5: ("is_folded", 0)}) for v in raw[4]]
        for l in self.locations:
            lines = [message(v, {1: ("function_id", 0), 2: ("line", 0), 3: ("column", 0)}) for v in l.line]
            l.lines = [(functions[x.function_id], _signed(x.line)) for x in lines]
            l.names = [f.name for f, _ in l.lines]
            l.mapping = mappings[l.mapping_id] if l.mapping_id else None
        locations = {l.id: l for l in self.locations}
        self.samples = []
        for v in raw[2]:
            s = message(v, {1: ("location_id", list), 2: ("value", list), 3: ("label", list)})
            s.values = [_signed(x) for x in s.value]
            s.locations = [locations[i] for i in s.location_id]
            s.names = [n for l in s.locations for n in l.names]
            s.labels = {}
            for data in s.label:
                r = message(data, {1: ("key", 0), 2: ("str", 0), 3: ("num", 0), 4: ("unit", 0)})
                s.labels.setdefault(text(r.key), []).append(text(r.str) if r.str else _signed(r.num))
            self.samples.append(s)
        reason = rules.broken(self)
        if reason:
            raise AssertionError("no profile that all readers would take: " + reason)

    def index(self, type_name):
        return [t for t, _ in self.sample_types].index(type_name)

    def total(self, type_name="inuse_space"):
        i = self.index(type_name)
        return sum(s.values[i] for s in self.samples)

    def sums(self, pick):
        """The sum of each value over the samples for which pick(sample) is true."""
        sums = [0] * len(self.sample_types)
        for s in self.samples:
            if pick(s):
                sums = [a + b for a, b in zip(sums, s.values)]
        return sums

    def cum(self, name):
        """Sums over the samples with the function anywhere in the stack."""
        return self.sums(lambda s: name in s.names)

    def flat(self, name):
        """Sums over the samples whose leaf is the function, frames that drop_frames names aside."""
        return self.sums(lambda s: self.leaf(s) == name)

    def leaf(self, sample):
        drop = re.compile("^(?:%s)$" % self.drop_frames) if self.drop_frames else None
        for n in sample.names:
            if not (drop and drop.match(simplified(n))):
                return n
        return None

    def names(self):
        return {f.name for f in self.functions}


_demangled = {}


def demangle(name):
    if not name.startswith("_Z"):
        return name
    if name not in _demangled:
        r = subprocess.run(["c++filt", name], capture_output=True, text=True, timeout=60)
        _demangled[name] = r.stdout.strip() or name
    return _demangled[name]


def simplified(name):
    """A function's name as the reader matches it against drop_frames: demangled, without arguments
    and template arguments."""
    name = demangle(name)
    name = re.sub(r"\((?!anonymous).*$", "", name)
    while True:
        shorter = re.sub(r"(?<!operator)<[^<>]*>", "", name)
        if shorter == name:
            return name.strip()
        name = shorter


# ---- go tool pprof -----------------------------------------------------------------------------

_gos = None
_gos_lock = threading.Lock()


def go_env():
    env = bare_env({"PPROF_TMPDIR": scratch(), "GOTOOLCHAIN": "local", "GOPROXY": "off", "GOFLAGS": "",
                    "PPROF_BINARY_PATH": scratch()})
    if "HOME" not in env:
        env["HOME"] = scratch()
    return env


def gos():
    """[(version, path)] of every go that is found, one of each version, its pprof made ready (newer
    ones compile it at first use)."""
    global _gos
    import glob
    with _gos_lock:
        if _gos is None:
            found = {}
            paths = [os.path.join(d, "go") for d in os.environ.get("PATH", "").split(":") if d]
            paths += sorted(glob.glob("/usr/lib/go-*/bin/go")) + ["/usr/local/go/bin/go"]
            for p in paths:
                if not os.access(p, os.X_OK):
                    continue
                r = subprocess.run([p, "version"], capture_output=True, text=True, env=go_env(), timeout=60)
                m = re.search(r"go(\d+\.\S+)", r.stdout)
                if r.returncode or not m or m.group(1) in found:
                    continue
                r = subprocess.run([p, "tool", "pprof", "-h"], capture_output=True, env=go_env(),
                                   cwd=scratch(), timeout=600)
                if b"usage" in r.stdout.lower() + r.stderr.lower():
                    found[m.group(1)] = p
            _gos = sorted(found.items())
    if not _gos:
        raise unittest.SkipTest("no go with pprof is installed")
    return _gos


def pprof(go, *args, deadline_s=120.0, check=True):
    """Run `go tool pprof args`; (stdout, stderr). A status other than 0 is an assertion."""
    r = subprocess.run([go, "tool", "pprof"] + [str(a) for a in args], capture_output=True, text=True,
                       env=go_env(), cwd=scratch(), timeout=deadline_s, stdin=subprocess.DEVNULL)
    if check and r.returncode:
        raise AssertionError(
            "go tool pprof %s: status %d: %s" % (" ".join(map(str, args)), r.returncode, r.stderr[-800:]))
    return r.stdout, r.stderr


class Top:
    """`-top` parsed: rows[name] = (flat, cum) in the unit asked for."""

    def __init__(self, text):
        self.text = text
        self.rows = {}
        self.type = None
        m = re.search(r"^Type: (\S+)", text, re.M)
        if m:
            self.type = m.group(1)
        self.header = text.split("flat  flat%")[0]
        for line in text.splitlines():
            m = re.match(
                r"\s*(-?[\d.]+)([a-zA-Z]*)\s+-?[\d.]+%\s+-?[\d.]+%\s+(-?[\d.]+)([a-zA-Z]*)\s+-?[\d.]+%\s+(.*\S)", line
            )
            if m:
                self.rows[m.group(5)] = (float(m.group(1)), float(m.group(3)))


def top(go, source, *args, **more):
    out, err = pprof(go, "-top", "-nodecount=100000", "-nodefraction=0", "-edgefraction=0", *args, source, **more)
    t = Top(out)
    t.stderr = err
    return t


def save(profile_bytes, name="profile"):
    path = os.path.join(scratch(name), name + ".pb.gz")
    with open(path, "wb") as f:
        f.write(profile_bytes)
    return path


# ---- statistics --------------------------------------------------------------------------------

def sample_error(size, count, rate=DEFAULT_RATE):
    """(standard error of the estimated objects, of the estimated bytes) of count blocks of size bytes:
    a block is sampled with p = 1 - e^(-size/rate) and then counts 1/p times."""
    if rate <= 1:
        return 0.0, 0.0
    p = -math.expm1(-max(size, 1) / rate)
    var = count * (1 - p) / p
    return math.sqrt(var), size * math.sqrt(var)


class Deviations:
    """Collects (estimate, truth, standard error); the verdict leaves room for chance alone: nothing
    beyond 5.5 standard errors, and beyond 4 no more than has a probability of one in a million."""

    def __init__(self):
        self.rows = []

    def add(self, name, estimate, truth, error, grain=0):
        """grain: what one sample more or less is worth, where so few are missed (or hit) that the estimate
        is no bell curve: two of them are then nothing to wonder at."""
        # Estimates are rounded, some of them once a sample.
        slack = 1.5 + 1e-4 * abs(truth) + 2 * grain
        z = max(0.0, abs(estimate - truth) - slack) / error if error else (
            0.0 if abs(estimate - truth) <= slack else math.inf)
        self.rows.append((z, name, estimate, truth, error))

    def verdict(self):
        """None, or what is wrong."""
        far = sorted((r for r in self.rows if r[0] > 4), reverse=True)
        n, p = len(self.rows), 6.4e-5

        def more_than(k):
            return sum(math.comb(n, i) * p ** i * (1 - p) ** (n - i) for i in range(k + 1, min(n, k + 12) + 1))
        allowed = next(k for k in range(n + 1) if more_than(k) <= 1e-6)
        if not far or (far[0][0] <= 5.5 and len(far) <= allowed):
            return None
        return "; ".join("%s: %d for %d (%.1f standard errors)" % (n, e, t, z) for z, n, e, t, _ in far[:6])


def expected_samples(size, count, rate=DEFAULT_RATE):
    return count * -math.expm1(-max(size, 1) / rate)


def site_values(profile, site):
    """[alloc objects, alloc bytes, inuse objects, inuse bytes] of a site: of the samples that it is the
    leaf of, or, for names with via_, that it is part of."""
    return profile.cum(site) if site.startswith("via_") else profile.flat(site)


def site_truth(rows):
    """The same four, as the program knows them."""
    return [sum(a for _, a, _ in rows), sum(s * a for s, a, _ in rows),
            sum(n for _, _, n in rows), sum(s * n for s, _, n in rows)]


def site_errors(rows, rate):
    """The standard errors of the four estimates; None where so few samples are expected that the
    estimate is no bell curve."""
    errors = []
    for count_at in (1, 2):
        objects = size_bytes = expected = 0.0
        few = False
        for row in rows:
            if row[count_at]:
                e_objects, e_bytes = sample_error(row[0], row[count_at], rate)
                n = expected_samples(row[0], row[count_at], rate)
                if row[count_at] - n < 10:
                    # Nearly all are sampled, and the few that are missed follow Poisson's law, not a bell curve: four
                    # blocks more than expected are as rare as four standard errors.
                    e_objects, e_bytes = max(e_objects, 1.0), max(e_bytes, float(row[0]))
                objects += e_objects ** 2
                size_bytes += e_bytes ** 2
                expected += n
                few |= n < 30 and row[0] < rate
        errors.append(None if few else math.sqrt(objects))
        errors.append(None if few and expected < 30 else math.sqrt(size_bytes))
    return errors


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
