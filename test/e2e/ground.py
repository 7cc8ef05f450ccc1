# ground.py - what the end-to-end tests stand on: folders, building of programs, ports, environments, deadlines.
#
# Runs in: the test's process, one of pytest's workers, any number of threads of it. Nothing here prints. Tests use it
# by the name of shim.
#
# SPDX-License-Identifier: Apache-2.0
import collections
import contextlib
import fcntl
import hashlib
import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD_DIR") or os.path.join(ROOT, "build")
LIB = os.environ.get("PPROFSHIM_LIB") or os.path.join(BUILD, "libpprofshim.so")
PROGRAMS = os.path.join(ROOT, "test", "programs")
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
