# test_chroot.py - programs that go into a folder without /proc: what is told of them stays whole, or says why not.
#
# Runs in: the test runner, as root (only root may call chroot).
#
# SPDX-License-Identifier: Apache-2.0
import contextlib
import ftplib
import http.client
import os
import re
import shutil

import look
import shim
from shim import start

NOBODY = 65534
MISSING = "there is no /proc here"
HAPROXY = """
global
  chroot %s
  user nobody
  group nogroup
  nbthread 2
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend f
  bind 127.0.0.1:%d
  http-request return status 200 content-type text/plain string "by haproxy"
"""
# Sessions in namespaces of their own would not reach the door.
VSFTPD = """
listen=YES
listen_address=127.0.0.1
listen_port=%d
background=NO
isolate=NO
isolate_network=NO
seccomp_sandbox=NO
anonymous_enable=YES
anon_root=/usr/share/doc
ftp_username=daemon
nopriv_user=nobody
secure_chroot_dir=%s
"""


class Chroot(shim.TestCase):

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("only root can chroot")

    def begin(self, how, *more):
        folder = shim.scratch("jail")
        os.chmod(folder, 0o755)
        return start([shim.program("jailed"), how, folder, *more])

    def serving(self, p, how):
        """Where the process that went there is served: a child joins its parent."""
        p.wait_line("ready")
        if how in ("child", "late"):
            return shim.wait_until("its child", lambda: shim.behind(p.port))[0]
        return p

    def whole_dump(self, at):
        """A dump in which the thread that waits for a lock has come there."""
        def waiting():
            d = look.dump(at)
            return d if [t for t in d.threads if t.state == "pthread_mutex_lock"] else None
        return shim.wait_until("the lock to be waited for", waiting)

    def test_whoever_goes_there_is_told_whole(self):
        for how, more in (("self", ()), ("number", ()), ("child", ()), ("child", (str(NOBODY),)),
                          ("self", (str(NOBODY),))):
            with self.subTest(how=how, more=more), self.begin(how, *more) as p:
                at = self.serving(p, how)
                # The CPU profile comes first: a trace or dump before it could help it.
                prof = shim.Profile(at.get("/debug/pprof/profile?seconds=1&hz=1000").body)
                self.assertGreater(len([s for s in prof.samples if "main" in s.names and "burn" in s.names]), 0)
                self.assertTrue([s for s in prof.samples if "main" not in s.names and "burn" in s.names])
                self.assertFalse([c for c in prof.comments if MISSING in c])
                d = self.whole_dump(at)
                self.assertNotIn(MISSING, d.text)
                self.assertEqual(4, len(d.threads))
                self.assertEqual({"jailed"}, {t.name for t in d.threads})
                self.assertEqual({"main"}, {t.creator for t in d.threads} - {None})
                for t in d.threads:
                    names = set(t.names)
                    self.assertTrue(names & {"burn_on", "wait_for_lock", "doze"} or more and t.not_reached, t)
                lock, = [t for t in d.threads if t.state == "pthread_mutex_lock"]
                self.assertEqual(int(re.search(r"pid (\d+)", p.out).group(1)), lock.held_by)
                self.assertIn("jailed", at.get("/debug/pprof/cmdline").text)
                self.assertNotIn(MISSING, at.get("/debug/pprof/").text)

    test_whoever_goes_there_is_told_whole.long_s = 15

    def test_what_is_born_there_says_what_it_does_not_know(self):
        with self.begin("late") as p:
            at = self.serving(p, "late")
            d = self.whole_dump(at)
            self.assertEqual(4, len(d.threads), "those that libc made")
            self.assertRegex(d.head[0], r"^# threads .* have no stacks: %s.*mount" % MISSING)
            lock, = [t for t in d.threads if t.state == "pthread_mutex_lock"]
            self.assertIsNone(lock.not_reached, "its wait is in its record")
            self.assertIn("pthread_mutex_lock", " ".join(lock.names))
            self.assertIn(lock.held_by, [t.tid for t in d.threads])
            self.assertNotIn("which has ended", d.text)
            self.assertEqual(("jailed", 4), (at.row["program"], at.row["threads"]))
            heap = shim.Profile(at.get("/debug/pprof/heap").body)
            self.assertEqual(shim.program("jailed"), heap.mappings[0].file)
            for t in d.threads:
                self.assertTrue(t is lock or MISSING in t.not_reached, t)
            a = at.get("/debug/pprof/cmdline")
            self.assertEqual(500, a.status)
            self.assertIn(MISSING, a.text)
            a = at.get("/debug/pprof/profile?seconds=1")
            self.assertTrue(a.status == 200 or MISSING.encode() in a.body, a.body[:200])
            self.assertIn(MISSING, at.get("/debug/pprof/").text)

    def test_where_no_thread_has_room_the_answers_say_so(self):
        with self.begin("self", str(NOBODY), "0") as p:
            p.wait_line("ready")
            # One thread burns, and has to be asked; main does, too, but others may have the processors.
            shim.wait_until("a thread that cannot be asked", lambda: [
                t for t in look.dump(p).threads if "no room for one more thread" in (t.not_reached or "")])
            a = p.get("/debug/pprof/profile?seconds=1")
            self.assertEqual(503, a.status)
            self.assertIn("no room for one more thread", a.text)

    def worker(self, port):
        for at in shim.processes(port):
            with contextlib.suppress(OSError, http.client.HTTPException):  # the master starts itself anew
                d = look.dump(at)
                if len(d.threads) == 2:
                    return at, d
        return None

    def test_haproxy_in_its_chroot(self):
        haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/sbin")
        if not haproxy:
            self.skipTest("haproxy is not installed")
        for mode in ("-db", "-W"):
            folder, port = shim.scratch("haproxy"), shim.free_port()
            os.chmod(folder, 0o755)
            conf = shim.save((HAPROXY % (folder, port)).encode(), "haproxy.cfg")
            with self.subTest(mode=mode), start([haproxy, mode, "-f", conf]) as p:
                shim.wait_until("haproxy", lambda: shim.port_answers(port))
                # With -W there are two processes, on two ports: the one with two threads is the worker.
                at, d = shim.wait_until("the worker", lambda: self.worker(p.port))
                for _ in range(3):
                    self.assertEqual("by haproxy", shim.get(port, "/").text)
                self.assertNotIn(MISSING, d.text)
                self.assertEqual({"haproxy"}, {t.name for t in d.threads})
                prof = shim.Profile(at.get("/debug/pprof/heap").body)
                self.assertFalse([c for c in prof.comments if MISSING in c])
                a = at.get("/debug/pprof/profile?seconds=1")
                self.assertEqual(503, a.status, "it lets nobody make threads any more")
                self.assertIn("no room for one more thread", a.text)

    test_haproxy_in_its_chroot.long_s = 8

    @staticmethod
    def is_jailed(pid):
        with contextlib.suppress(OSError):  # it has ended
            return os.readlink("/proc/%d/root" % pid) != "/"
        return False

    def jailed_sessions(self, port):
        """Those processes that went into a folder, once there are two: that of the user, and that which serves it."""
        found = [b for b in shim.behind(port) if b.row["answers"] and self.is_jailed(b.pid)]
        return found if len(found) == 2 else None

    @staticmethod
    def log_in(port):
        client = ftplib.FTP()
        try:
            client.connect("127.0.0.1", port, timeout=shim.DEADLINE_S)
        except ConnectionRefusedError:
            return None
        client.login()
        return client

    def test_the_sessions_of_vsftpd_in_their_chroots(self):
        vsftpd = shutil.which("vsftpd", path="/usr/sbin:/usr/bin:/sbin")
        if not vsftpd:
            self.skipTest("vsftpd is not installed")
        folder, port = shim.scratch("vsftpd"), shim.free_port()
        os.chmod(folder, 0o555)
        conf = shim.save((VSFTPD % (port, folder)).encode(), "vsftpd.conf")
        with start([vsftpd, conf], rate=1) as p:
            with shim.wait_until("vsftpd", lambda: self.log_in(port)) as client:
                self.assertIn("base-files", client.nlst())
                for at in shim.wait_until("its sessions", lambda: self.jailed_sessions(p.port)):
                    self.assertEqual(("vsftpd", 1), (at.row["program"], at.row["threads"]))
                    d = look.dump(at)
                    self.assertNotIn(MISSING, d.text)
                    self.assertEqual(["vsftpd"], [t.name for t in d.threads])
                    prof = shim.Profile(at.get("/debug/pprof/heap").body)
                    self.assertEqual(vsftpd, prof.mappings[0].file)
                    self.assertFalse([c for c in prof.comments if MISSING in c])
                    self.assertTrue([s for s in prof.samples if "getpwnam" in s.names], "names of libc's functions")
                self.assertIn("base-files/copyright", client.nlst("base-files"))
