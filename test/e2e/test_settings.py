# test_settings.py - the environment: where it listens, what it refuses, when it speaks, how it is turned off.
#
# Runs in: the test runner.
#
# SPDX-License-Identifier: Apache-2.0
import os
import re
import shutil
import socket

import shim
from shim import run_shim, start


def idle_argv():
    return [shim.program("heap_bias"), 1000, 100]


def get_unix(path, target="/debug/pprof/cmdline"):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(path)
        s.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % target.encode())
        data = b""
        while True:
            part = s.recv(65536)
            if not part:
                return data
            data += part


class Quiet(shim.TestCase):

    def test_nothing_is_printed_when_all_is_well(self):
        for argv in (["/bin/true"], ["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], ["/bin/ls", "/"]):
            with self.subTest(argv=argv):
                self.assert_same(argv)

    def test_children_of_a_shimmed_shell_print_nothing(self):
        # They all find the port taken, and inherit a bad setting: not a word from any of them.
        script = ("for i in 1 2 3; do /bin/true; (exec /bin/sh -c '/bin/true; /bin/true'); done; "
                  "/bin/true | /bin/cat; echo end")
        status, out, err = run_shim(["/bin/sh", "-c", script])
        self.assertEqual((0, "end\n", ""), (status, out, err))
        status, out, err = run_shim(["/bin/sh", "-c", script], env={"PPROF_HEAP_RATE": "banana"})
        self.assertEqual((0, "end\n"), (status, out))
        self.assertEqual(1, len(err.splitlines()), err)

    def test_a_bad_setting_is_named_once_with_what_is_used_instead(self):
        for name, value in (("PPROF_HEAP_RATE", "banana"), ("PPROF_HEAP_RATE", "-1"), ("PPROF_HEAP_RATE", ""),
                            ("PPROF_STACK_DEPTH", "0"), ("PPROF_STACK_DEPTH", "9999999"),
                            ("PPROF_MEMORY_LIMIT", "12Q"), ("PPROF_MEMORY_LIMIT", "1"),
                            ("PPROF_MEMORY_LIMIT", "99999999999999999999999")):
            with self.subTest(name=name, value=value):
                status, out, err = run_shim(["/bin/echo", "out"], env={name: value})
                self.assertEqual((0, "out\n"), (status, out))
                if value == "":
                    self.assertLessEqual(len(err.splitlines()), 1)
                    continue
                self.assertEqual(1, len(err.splitlines()), "exactly one line: %r" % err)
                self.assertTrue(err.startswith("pprofshim: "), err)
                self.assertIn(name, err)
                self.assertIn(value[:20], err)
                self.assertRegex(err, r"\d", "and what is used instead")

    def test_names_that_are_no_settings_are_told_once_in_one_line(self):
        env = {"PPROF_HEAPRATE": "512K", "PPROF_FOO": "1", "PPROF_TMPDIR": "/tmp",
               "PPROF_PORT_80_TCP": "tcp://10.0.0.1:80"}
        status, out, err = run_shim(["/bin/sh", "-c", "/bin/true; (exec /bin/sh -c /bin/true); echo end"], env=env)
        self.assertEqual((0, "end\n"), (status, out))
        self.assertEqual(1, len(err.splitlines()), err)
        self.assertRegex(err, r"^pprofshim: .*\bPPROF_FOO\b")
        self.assertIn("PPROF_HEAPRATE (did you mean PPROF_HEAP_RATE?)", err)
        self.assertNotIn("PPROF_TMPDIR", err)
        self.assertNotIn("TCP", err)

    def test_a_rate_in_bytes_takes_a_unit(self):
        for value, rate in (("1M", 1 << 20), ("64KiB", 64 << 10), ("4kb", 4 << 10)):
            with self.subTest(value=value):
                with start(idle_argv(), env={"PPROF_HEAP_RATE": value}) as p:
                    p.wait_line("ready")
                    first = p.get("/debug/pprof/heap?debug=1").text.split("\n", 1)[0]
                    self.assertTrue(first.endswith("@ heap/%d" % (2 * rate)), first)
                    self.assertEqual("", p.err)

    def test_bad_addresses(self):
        for value in ("6060", "localhost", "127.0.0.1:99999", "127.0.0.1:x", "[::1", "nosuch.example:6060", ":-1",
                      "unix:", "256.1.1.1:80"):
            with self.subTest(value=value):
                status, out, err = run_shim(["/bin/echo", "out"], env={"PPROF_ADDR": value})
                self.assertEqual((0, "out\n"), (status, out))
                self.assertEqual(1, len(err.splitlines()), "exactly one line: %r" % err)
                self.assertTrue(err.startswith("pprofshim: "), err)
                self.assertIn("PPROF_ADDR", err)

    def test_several_bad_settings_are_each_named(self):
        status, out, err = run_shim(["/bin/true"], env={"PPROF_HEAP_RATE": "x", "PPROF_STACK_DEPTH": "y"})
        self.assertEqual(0, status)
        self.assertEqual(2, len(err.splitlines()), err)

    def test_log_info_tells_the_address(self):
        port = shim.free_port()
        with start(idle_argv(), port=port, env={"PPROF_LOG": "info"}) as p:
            p.wait_line("ready")
            shim.wait_until("the line", lambda: p.err)
            self.assertIn("http://127.0.0.1:%d/debug/pprof/" % port, p.err)

    def test_log_into_a_file(self):
        path = os.path.join(shim.scratch("log"), "log")
        with start(idle_argv(), env={"PPROF_LOG": path, "PPROF_HEAP_RATE": "banana"}) as p:
            p.wait_line("ready")
            with open(path) as f:
                text = f.read()
            self.assertIn("PPROF_HEAP_RATE", text)
            self.assertIn(str(p.port), text)
            self.assertEqual("", p.err)
            self.assertEqual(0, p.finish()[0])

    def test_a_log_file_that_cannot_be_written_does_no_harm(self):
        status, out, err = run_shim(["/bin/echo", "out"], env={"PPROF_LOG": "/no/such/folder/log"})
        self.assertEqual((0, "out\n"), (status, out))


class Hostile(shim.TestCase):
    """What another user, or an environment that somebody else chose, could do by a setting."""

    def test_a_log_that_is_a_fifo_stops_nothing(self):
        path = os.path.join(shim.scratch("log"), "fifo")
        os.mkfifo(path)
        status, out, err = run_shim(["/bin/echo", "out"], env={"PPROF_LOG": path, "PPROF_HEAP_RATE": "x"})
        self.assertEqual((0, "out\n", ""), (status, out, err))

    def test_a_log_is_not_written_through_a_link(self):
        folder = shim.scratch("log")
        target, link = os.path.join(folder, "target"), os.path.join(folder, "link")
        os.symlink(target, link)
        status, out, err = run_shim(["/bin/echo", "out"], env={"PPROF_LOG": link, "PPROF_HEAP_RATE": "x"})
        self.assertEqual((0, "out\n", ""), (status, out, err))
        self.assertFalse(os.path.exists(target))

    def test_a_setting_writes_no_line_of_its_own(self):
        status, out, err = run_shim(["/bin/echo", "out"], env={"PPROF_ADDR": "\ntoor::0:0::/:/bin/sh\n\x1b[2J"})
        self.assertEqual((0, "out\n"), (status, out))
        self.assertEqual(1, len(err.splitlines()), err)
        self.assertIn("PPROF_ADDR=\\x0atoor::0:0::/:/bin/sh\\x0a\\x1b[2J is no good", err)

    def test_a_program_that_gained_rights_is_left_alone(self):
        # Linked with the library, as the loader would not preload it there by LD_PRELOAD (but would by
        # /etc/ld.so.preload).
        if os.geteuid() != 0:
            self.skipTest("only root can make a program of another user's")
        folder = shim.scratch("secure")
        os.chmod(folder, 0o777)
        library = shutil.copy(shim.LIB, os.path.join(folder, "libpprofshim.so"))
        path = os.path.join(folder, "secure")
        shim.compile_to(path, [os.path.join(shim.PROGRAMS, "linked", "secure.c")],
                        ["-Wl,--no-as-needed", library, "-Wl,-rpath," + folder])
        log, port = os.path.join(folder, "log"), shim.free_port()
        env = {"PPROF_LOG": log, "PPROF_ADDR": "127.0.0.1:%d" % port, "PPROF_HEAP_RATE": "x"}
        status, out, err = shim.run([path, str(port)], env=shim.bare_env(env))
        self.assertEqual((0, "secure 0\nlistens 1\n", ""), (status, out, err))
        self.assertTrue(os.path.exists(log))
        os.unlink(log)
        os.chown(path, 65534, 65534)
        os.chmod(path, 0o4755)
        status, out, err = shim.run([path, str(port)], env=shim.bare_env(env))
        if out.startswith("secure 0"):
            self.skipTest("this file system knows no set-user-ID programs")
        self.assertEqual((0, "secure 1\nlistens 0\n", ""), (status, out, err))
        self.assertFalse(os.path.exists(log))


class Address(shim.TestCase):

    def test_the_default_is_loopback_alone(self):
        with start(idle_argv()) as p:
            p.wait_line("ready")
            self.assertEqual({"0100007F"}, {row[0] for row in listening(p)})

    def test_6060_without_a_setting(self):
        if shim.port_answers(6060):
            self.skipTest("port 6060 is somebody else's")
        with start(idle_argv(), port=6060, env={"PPROF_ADDR": None}) as p:
            p.wait_line("ready")
            self.assertEqual("\0".join(p.argv), p.get("/debug/pprof/cmdline").text)

    def test_all_interfaces(self):
        port = shim.free_port()
        with start(idle_argv(), port=port, env={"PPROF_ADDR": ":%d" % port}) as p:
            p.wait_line("ready")
            self.assertIn({row[0] for row in listening(p)}, ({"00000000"}, {"0" * 32}))
            self.assertEqual(200, p.get("/debug/pprof/").status)

    def test_localhost_and_ipv6(self):
        port = shim.free_port()
        with start(idle_argv(), port=port, env={"PPROF_ADDR": "localhost:%d" % port}) as p:
            p.wait_line("ready")
        try:
            with socket.socket(socket.AF_INET6) as s:
                s.bind(("::1", 0))
        except OSError:
            return
        port = shim.free_port()
        with start(idle_argv(), port=port, env={"PPROF_ADDR": "[::1]:%d" % port}, wait_port=False) as p:
            p.wait_line("ready")
            shim.wait_until("[::1]", lambda: shim.port_answers(port, "::1"))
            self.assertFalse(shim.port_answers(port))

    def test_port_taken_the_next_is_had(self):
        port = shim.free_port()
        with socket.socket() as s, socket.socket() as t:
            s.bind(("127.0.0.1", port))
            s.listen(1)
            t.bind(("127.0.0.1", port + 1))
            t.listen(1)
            with start(idle_argv(), port=port + 2, env={"PPROF_ADDR": "127.0.0.1:%d" % port}) as p:
                p.wait_line("ready")
                self.assertEqual("\0".join(p.argv), p.get("/debug/pprof/cmdline").text)
                self.assertLessEqual(len(p.err.splitlines()), 1, "one line at most: %r" % p.err)
                if p.err:
                    self.assertTrue(p.err.startswith("pprofshim: "), p.err)
                    self.assertIn(str(port), p.err)

    def test_all_eleven_ports_taken_the_program_runs_on(self):
        port = shim.free_port(11)
        held = []
        try:
            for i in range(11):
                s = socket.socket()
                held.append(s)
                s.bind(("127.0.0.1", port + i))
                s.listen(1)
            status, out, err = run_shim(["/bin/echo", "out"], port=port)
            self.assertEqual((0, "out\n"), (status, out))
            self.assertEqual(1, len(err.splitlines()), err)
            self.assertTrue(err.startswith("pprofshim: "), err)
        finally:
            for s in held:
                s.close()

    def test_a_restart_gets_its_port_back_at_once(self):
        port = shim.free_port()
        for _ in range(3):
            with start(idle_argv(), port=port) as p:
                p.wait_line("ready")
                p.get("/debug/pprof/heap")
                self.assertEqual("", p.err)

    def test_unix_socket(self):
        path = os.path.join(shim.scratch("unix"), "pprof.sock")
        for _ in range(2):  # the second finds the first one's file, which nobody answers on
            with start(idle_argv(), env={"PPROF_ADDR": "unix:" + path}, wait_port=False) as p:
                p.wait_line("ready")
                shim.wait_until("the socket", lambda: os.path.exists(path))
                data = shim.wait_until("an answer", lambda: _try(lambda: get_unix(path)))
                self.assertTrue(data.startswith(b"HTTP/1.1 200 "), data[:100])
                self.assertTrue(data.endswith("\0".join(p.argv).encode()))
                self.assertEqual("", p.err)
                self.assertEqual(0, os.stat(path).st_mode & 0o002, "not writable by everybody")

    def test_abstract_unix_socket(self):
        name = "pprofshim-e2e-%d-%d" % (os.getpid(), id(self))
        with start(idle_argv(), env={"PPROF_ADDR": "unix:@" + name}, wait_port=False) as p:
            p.wait_line("ready")
            data = shim.wait_until("an answer", lambda: _try(lambda: get_unix("\0" + name)))
            self.assertTrue(data.startswith(b"HTTP/1.1 200 "), data[:100])

    def test_off_is_no_thread_and_no_socket(self):
        with start(idle_argv(), env={"PPROF_ADDR": "off"}, wait_port=False) as p:
            p.wait_line("ready")
            self.assertEqual(1, len(p.threads()))
            self.assertEqual(set(), sockets(p))

    def test_the_program_wants_the_port_itself(self):
        port = shim.free_port()
        for address in ("127.0.0.1", "0.0.0.0"):
            with self.subTest(address=address):
                with start([shim.program("wants_port"), port, address], port=port) as p:
                    p.wait_line("ready")
                    self.assertEqual([1], p.truth()["bound"])
                    self.assertEqual([0], p.truth()["errno"])
                    with socket.create_connection(("127.0.0.1", port), 10) as s:
                        self.assertEqual(b"HELLO", s.recv(100))
                    moved = shim.wait_until("the shim's next port", lambda: [
                        q for q in range(port + 1, port + 11) if shim.port_answers(q)])
                    self.assertEqual("\0".join(p.argv), shim.get(moved[0], "/debug/pprof/cmdline").text)
                    status, out, err = p.finish()
                    self.assertEqual(0, status)


class Disabled(shim.TestCase):

    OFF = ["1", "true", "yes", "on", "banana", "2", " "]
    ON = ["", "0", "false", "no", "off"]

    def test_every_spelling_of_yes(self):
        for value in self.OFF:
            with self.subTest(value=value):
                port = shim.free_port()
                with start(idle_argv(), rate=1, port=port, env={"DISABLE_PPROF": value}, wait_port=False) as p:
                    p.wait_line("ready")
                    self.assertEqual(1, len(p.threads()), "no thread")
                    self.assertEqual(set(), sockets(p), "no socket")
                    self.assertFalse(shim.port_answers(port))
                    self.assertEqual((0, ""), p.finish()[::2])

    def test_every_spelling_of_no(self):
        for value in self.ON + ["False", "NO", "Off"]:
            with self.subTest(value=value):
                with start(idle_argv(), env={"DISABLE_PPROF": value}) as p:
                    p.wait_line("ready")
                    self.assertEqual(200, p.get("/debug/pprof/").status)

    def test_disabled_programs_behave_as_bare_ones(self):
        for name in ("edge_calls", "tiny_stack", "cancel", "cxx_rules", "cxx_own_new", "start_state"):
            with self.subTest(name=name):
                self.assert_same([shim.program(name)], env={"DISABLE_PPROF": "1"})

    def test_disabled_says_nothing_of_bad_settings(self):
        status, out, err = run_shim(["/bin/true"], env={"DISABLE_PPROF": "1", "PPROF_HEAP_RATE": "banana"})
        self.assertEqual((0, "", ""), (status, out, err))


def _try(f):
    try:
        return f()
    except OSError:
        return None


def sockets(p):
    """The inodes of the process' sockets, and of its listener's, which has a file table of its own."""
    return {inode for links in descriptors(p).values() for link in links.values()
            for inode in re.findall(r"^socket:\[(\d+)\]", link)}


def descriptors(p):
    """{tid: {fd: what it is}}, the listener's pid among the tids"""
    found = {}
    for tid in list(p.threads()) + [i for i in [p.listener()] if i]:
        folder = "/proc/%d/fd" % tid
        found[tid] = {}
        for fd in os.listdir(folder):
            try:
                found[tid][int(fd)] = os.readlink("%s/%s" % (folder, fd))
            except OSError:
                pass
    return found


def listening(p):
    """(address as the kernel prints it, port) of the process' listening TCP sockets."""
    inodes = sockets(p)
    rows = []
    for table in ("tcp", "tcp6"):
        try:
            with open("/proc/%d/net/%s" % (p.pid, table)) as f:
                for line in list(f)[1:]:
                    w = line.split()
                    if w[3] == "0A" and w[9] in inodes:
                        address, port = w[1].split(":")
                        rows.append((address, int(port, 16)))
        except FileNotFoundError:
            pass
    return rows
