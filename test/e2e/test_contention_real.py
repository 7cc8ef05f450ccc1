# test_contention_real.py - servers as the distribution ships them, under load: which locks their threads wait for,
# and who holds these.
#
# Runs in: the test runner. The servers must answer as they do without the shim.
#
# SPDX-License-Identifier: Apache-2.0
import contextlib
import http.client
import os
import pwd
import re
import shutil
import subprocess
import threading
import time

import shim
from shim import start
from test_contention import EVERY
from test_real import talk
from test_trace import go_trace, save


class Servers(shim.TestCase):

    def load(self, port, threads=8, operations=60000):
        r = subprocess.run([shim.program("contention_load"), str(port), str(threads), str(operations)],
                           capture_output=True, text=True, env=shim.bare_env(), timeout=240)
        self.assertEqual(0, r.returncode, r.stderr)
        return r.stdout

    def test_memcached(self):
        memcached = shim.tool("memcached")
        answers = []
        for env in (None, {}, EVERY):
            port = shim.free_port(1)
            argv = [memcached, "-p", port, "-U", "0", "-l", "127.0.0.1", "-m", "32", "-t", "4"]
            if os.geteuid() == 0:
                argv += ["-u", "root"]
            with (shim.Process(argv, env=shim.bare_env()) if env is None else start(argv, env=env)) as p:
                shim.wait_until("memcached", lambda: shim.port_answers(port))
                if env:
                    self.contended(p, port)
                self.load(port, 4, 6400)
                data = b"".join(
                    b"set key%d 0 0 %d noreply\r\n%s\r\n" % (i, i % 300, b"x" * (i % 300)) for i in range(5000)
                )
                data += b"get key7 key123 key4999\r\nincr none 1\r\nmn\r\n"
                answers.append(talk(port, data, b"MN\r\n"))
                p.popen.terminate()
                status, out, err = p.wait()
                self.assertEqual(0, status, err)
        self.assertEqual(answers[0], answers[1])
        self.assertEqual(answers[0], answers[2])

    test_memcached.long_s = 8

    def contended(self, p, port):
        """Its worker threads wait for each other's item locks, and who lets them go is charged with it."""
        for _ in range(5):
            bodies = []
            t = threading.Thread(target=lambda: bodies.append(p.get("/debug/pprof/trace?seconds=0.3").body))
            t.start()
            self.load(port)
            t.join()
            block, mutex = p.profile("block"), p.profile("mutex")
            waited = block.flat("pthread_mutex_lock")
            caused = mutex.flat("pthread_mutex_unlock")
            if waited[0] > 100 and caused[0] > 100:
                break
        self.assertGreater(waited[0], 100, "waits for mutexes")
        self.assertGreater(caused[0], 100, "unlocks that ended one")
        # Wake-ups are nobody's fault, and with waits this short they are most of it.
        self.assertLess(caused[1], 1.05 * waited[1])
        for prof in (block, mutex):
            # Stripped: its own frames are memcached+0x...; each lock call was made by it, or by a library that it uses.
            for s in prof.samples:
                self.assertTrue([n for n in s.names if re.match(r"memcached\+0x|main$|lib|event_", n)], s.names)
        for side in ("block", "mutex"):
            top = shim.top(shim.gos()[-1][1], p.url(side))
            self.assertIn("pthread_mutex_lock" if side == "block" else "pthread_mutex_unlock", top.rows)
        for version, go in shim.gos():
            go_trace(go, "-pprof=sync", save(bodies[0]))

    def test_postgres(self):
        base = "/usr/lib/postgresql"
        binaries = sorted(
            d
            for v in (os.listdir(base) if os.path.isdir(base) else [])
            for d in ["%s/%s/bin" % (base, v)]
            if os.path.exists(d + "/initdb") and os.path.exists(d + "/pgbench")
        )
        if not binaries:
            self.skipTest("postgres is not installed")
        folder, user, lib = shim.scratch("postgres"), {}, shim.LIB
        if os.geteuid() == 0:  # postgres will not run as root, and somebody else must be able to read the library
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            lib = os.path.join(folder, "libpprofshim.so")
            shutil.copy(shim.LIB, lib)
            os.chmod(lib, 0o755)
        data, answers, found = os.path.join(folder, "data"), [], []
        r = subprocess.run(
            [binaries[-1] + "/initdb", "-D", data, "-A", "trust", "-U", "pg", "--no-sync", "-E", "UTF8", "--locale=C"],
            capture_output=True,
            text=True,
            env=shim.bare_env(),
            cwd=folder,
            timeout=240,
            **user
        )
        self.assertEqual(0, r.returncode, r.stderr[-500:])
        for shimmed in (False, True):
            port = shim.free_port(1)
            argv = [binaries[-1] + "/postgres", "-D", data, "-h", "127.0.0.1", "-p", port, "-k", "", "-c", "jit=off"]
            client = ["-h", "127.0.0.1", "-p", str(port), "-U", "pg"]

            def tool(name, *args):
                r = subprocess.run([binaries[-1] + "/" + name] + client + list(args), capture_output=True, text=True,
                                   env=shim.bare_env(), timeout=240)
                self.assertEqual(0, r.returncode, r.stderr[-500:])
                return r.stdout
            more = dict(user, cwd=folder)
            with (
                start(argv, preload=lib, env=EVERY, **more)
                if shimmed
                else shim.Process(argv, env=shim.bare_env(), **more)
            ) as p:
                shim.wait_until(
                    "postgres",
                    lambda: subprocess.run(
                        [binaries[-1] + "/psql"] + client + ["-d", "postgres", "-c", "select 1"], capture_output=True
                    ).returncode
                    == 0,
                )
                tool("pgbench", "-i", "-s", "1", "-q", "postgres")

                def work():
                    # Six clients that all change the same few rows, and wait for each other's commits.
                    tool("pgbench", "-n", "-c", "6", "-j", "2", "-t", "300" if shimmed else "20", "postgres")
                t = threading.Thread(target=work)
                t.start()
                while shimmed and t.is_alive():
                    for q in shim.behind(p.port):
                        with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
                            if b"pg postgres" in shim.get(q, "/debug/pprof/cmdline", 20).body:
                                found.append(shim.get_profile(q, "block", timeout_s=20))
                    time.sleep(0.05)
                t.join()
                answers.append(tool("psql", "-d", "postgres", "-Atc",
                                    "select count(*), (select sum(abalance) from pgbench_accounts) = "
                                    "(select sum(tbalance) from pgbench_tellers) from pgbench_branches"))
                p.popen.send_signal(2)  # SIGINT: fast shutdown
                self.assertEqual(0, p.wait()[0])
        self.assertEqual(answers[0], answers[1])
        self.assertTrue(found, "no profile was had of a backend while it worked")
        waits = [s for prof in found for s in prof.samples if s.names[0] == "sem_wait"]
        self.assertTrue(waits, sorted({s.names[0] for prof in found for s in prof.samples}))
        names = {n for s in waits for n in s.names}
        self.assertTrue([n for n in names if re.match(r"LWLock|PGSemaphore", n)], sorted(names)[:20])

    test_postgres.long_s = 14
