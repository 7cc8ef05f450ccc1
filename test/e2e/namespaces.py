# namespaces.py - run a test in a pod of its own: a network namespace, where port 6060 is nobody's, with a pid
# namespace, whose end ends all that the test started.
#
# Runs in: the test runner, which starts the test once more in there by unittest. What is said here of files, shared
# memory and the machine's processes stays in there, too.
#
# SPDX-License-Identifier: Apache-2.0
import ctypes
import fcntl
import functools
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import unittest

import shim

INSIDE = "SHIM_TEST_POD"
UNSHARE = ("/usr/bin/unshare", "-n", "-i", "-m", "-p", "-f", "--mount-proc", "--kill-child")
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
LIMIT_S = 600


def loopback_up():
    with socket.socket() as s:
        request = fcntl.ioctl(s, SIOCGIFFLAGS, struct.pack("16sH22x", b"lo", 0))
        flags, = struct.unpack_from("H", request, 16)
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | IFF_UP))


def need():
    """Skips the test where the kernel gives no namespaces."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("needs root")
    r = subprocess.run(UNSHARE + ("/bin/true",), capture_output=True, text=True)
    if r.returncode:
        raise unittest.SkipTest("no namespaces here: " + r.stderr.strip())


def again_inside(test):
    need()
    r = subprocess.run(
        UNSHARE + (sys.executable, "-B", "-m", "unittest", "-v", test.id()), cwd=os.path.dirname(__file__),
        env={**os.environ, INSIDE: "1", "TMPDIR": shim.scratch()}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=LIMIT_S)
    if r.returncode:
        test.fail("inside: " + (r.stdout + r.stderr)[-4000:])
    skipped = re.search(r"skipped '(.*)'", r.stderr)
    if skipped:
        test.skipTest(skipped.group(1))
    test.assertIn("Ran 1 test", r.stderr)


def in_a_pod(method):
    """A test method that runs in a pod of its own."""
    @functools.wraps(method)
    def test(self):
        if os.environ.get(INSIDE):
            loopback_up()
            return method(self)
        return again_inside(self)
    return test


def connect_inside(pid, port):
    """A connection to a port of another process' network namespace, made as the kubelet makes one for port-forward: by
    a thread that enters the namespace. Only that thread does, and it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    made = []

    def enter():
        with open("/proc/%d/ns/net" % pid) as f:
            if libc.setns(f.fileno(), CLONE_NEWNET) == 0:
                made.append(socket.create_connection(("127.0.0.1", port), shim.DEADLINE_S))
    t = threading.Thread(target=enter)
    t.start()
    t.join()
    if not made:
        raise ConnectionError("no way into the namespace of %d" % pid)
    return made[0]
