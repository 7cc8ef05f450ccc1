# go_pprof.py - run go tool pprof, in every version that is found.
#
# Runs in: the test's process, any number of threads of it. Tests use it by the name of shim.
#
# SPDX-License-Identifier: Apache-2.0
import os
import re
import subprocess
import threading
import unittest

from ground import bare_env, scratch

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
