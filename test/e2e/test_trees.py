# test_trees.py - services that are trees of processes, behind the one door of a pod: each process is listed and can be
# asked, none prints anything, and when the owner of the door is killed under load the others are still there.
#
# Runs in: the test runner, and once more in a pod of its own (namespaces.py). Programs that are not installed are
# skipped (scripts/deps.sh names them).
#
# SPDX-License-Identifier: Apache-2.0
import concurrent.futures
import contextlib
import glob
import os
import re
import signal
import socket
import struct
import subprocess
import threading

import shim
from namespaces import in_a_pod
from test_programs import debian, write

DOOR = 6060  # what PPROF_ADDR is when nobody sets it
WEB = 8080
WORKERS = 3
RATE = 256  # so that nobody is without samples
NOBODY = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


# ---- the tree -----------------------------------------------------------------------------------

def shimmed(argv, **more):
    return shim.Process(argv, env=shim.shim_env(rate=RATE), **more)


def bare(argv, **more):
    return shim.Process(argv, env=shim.bare_env(), **more)


def read(path):
    with contextlib.suppress(OSError), open(path, "rb") as f:
        return f.read().decode("utf-8", "backslashreplace")
    return ""


def at_work():
    """{pid: program} of all processes of this pod that have the library."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        program = read("/proc/%s/comm" % pid).strip()
        if program != "pprofshim" and os.path.basename(shim.LIB) in read("/proc/%s/maps" % pid):
            found[int(pid)] = program
    return found


def listed(count, without=()):
    """Wait until all that have the library, and no less than count, are behind the door; {pid: Behind}."""
    def same():
        rows, work = {b.pid: b for b in shim.processes(DOOR)}, at_work()
        seen[:] = [{n: b.row["process"] for n, b in rows.items()}, work]
        told = all(b.row["answers"] for b in rows.values())  # else, on a busy machine, it has no numbers and no program
        whole = set(rows) == set(work) and len(work) >= count and not set(without) & set(work)
        return rows if told and whole else None
    seen = []
    try:
        return shim.wait_until("the processes", same, 90)
    except AssertionError as e:
        raise AssertionError("%s: listed %s, at work %s" % (e, *seen)) from None


def ask(process, path):
    """What a process answers. One that had no processor for ten seconds is asked again."""
    for _ in range(3):
        a = process.get(path)
        if a.status != 504:
            break
    if a.status != 200:
        raise AssertionError("%s of %s: %d %s" % (path, process.row, a.status, a.body[:200]))
    return shim.Profile(a.body)


def ask_all(rows, path):
    """{pid: profile}: all are asked at once."""
    with concurrent.futures.ThreadPoolExecutor(len(rows)) as pool:
        return dict(zip(rows, pool.map(lambda b: ask(b, path), rows.values())))


class Load:
    """Calls work() in threads until it is left; what fails is no matter here, as servers are killed meanwhile."""

    def __init__(self, work, threads=2):
        self.work, self.over, self.done = work, False, 0
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]

    def run(self):
        while not self.over:
            with contextlib.suppress(OSError, ValueError, struct.error):
                self.work()
                self.done += 1

    def __enter__(self):
        for t in self.threads:
            t.start()
        shim.wait_until("the service", lambda: self.done > 10)
        return self

    def __exit__(self, *_):
        self.over = True
        for t in self.threads:
            t.join()


def fetch():
    with socket.create_connection(("127.0.0.1", WEB), 10) as s:
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        if b"well" not in s.recv(4096):
            raise ValueError


def fetch_fastcgi(page):
    """The page by FastCGI, version 1: a request begins, has its parameters, and has no input."""
    def record(kind, data):
        return struct.pack(">BBHHBx", 1, kind, 1, len(data), 0) + data
    names = {"SCRIPT_FILENAME": page, "REQUEST_METHOD": "GET"}
    pairs = b"".join(bytes([len(k), len(v)]) + (k + v).encode() for k, v in names.items())
    with socket.create_connection(("127.0.0.1", WEB), 10) as s:
        s.sendall(record(1, struct.pack(">HB5x", 1, 0)) + record(4, pairs) + record(4, b"") + record(5, b""))
        if b"well" not in s.recv(4096):
            raise ValueError


class Postgres:
    """A cluster of nobody's, with pgbench's tables."""

    def __init__(self, programs, name):
        self.programs, self.folder = programs, shim.scratch("postgres")
        self.data = os.path.join(self.folder, "data")
        os.chown(self.folder, 65534, 65534)
        self.run("initdb", "-N", "-A", "trust", "-U", "bench", "-E", "UTF8", "--no-locale", "-D", self.data)
        with open(os.path.join(self.data, "postgresql.conf"), "a") as f:
            f.write(POSTGRES % {"folder": self.folder})

    def run(self, program, *arguments):
        r = subprocess.run(NOBODY + [os.path.join(self.programs, program), *arguments], env=shim.bare_env(),
                           cwd=self.folder, capture_output=True, text=True)
        if r.returncode:
            raise AssertionError("%s: %s" % (program, r.stderr[-600:]))

    def begin(self, run):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.data, "postmaster.pid"))  # of one that was killed
        run(NOBODY + [os.path.join(self.programs, "postgres"), "-D", self.data])

    @contextlib.contextmanager
    def bench(self):
        """Twenty clients at work. What it tells each second is the count of its work."""
        at = ["-h", self.folder, "-U", "bench", "postgres"]
        ready = os.path.join(self.folder, "filled")
        shim.wait_until("postgres", lambda: glob.glob(self.folder + "/.s.PGSQL.*") and subprocess.run(
            [self.programs + "/pg_isready", *at[:4]], env=shim.bare_env(), capture_output=True).returncode == 0)
        if not os.path.exists(ready):
            self.run("pgbench", "-i", "-q", *at)
            write(self.folder, "filled", "")
        with bare([self.programs + "/pgbench", "-n", "-c", "20", "-j", "2", "-R", "100", "-P", "1", "-T", "600",
                   *at]) as p:
            class Work:
                done = property(lambda _: p.err.count("progress:"))
            work = Work()
            shim.wait_until("pgbench", lambda: work.done)
            yield work
            if not p.running():
                raise AssertionError("pgbench ended: " + p.err[-600:])


class Trees(shim.TestCase):

    def tree(self, start, count, load, programs):
        """start(run) starts a service by run(argv); it then has count processes or more. They do their work bare and
        with us, until their first process, and the owner of the door, is killed."""
        said = []
        for run in (bare, shimmed):
            with contextlib.ExitStack() as stack:
                started = []
                p = start(lambda argv: started.append(stack.enter_context(run(argv))) or started[0])
                with load() as work:
                    if run is shimmed:
                        self.all_answer(count, programs)
                        before = work.done
                        shim.wait_until("more work", lambda: work.done > before)
                    else:
                        os.kill(p.pid, signal.SIGKILL)
                    shim.wait_until("the first to die", lambda: not p.running())
                self.end(started)
                said.append([(p.out, re.sub(r"\d+|/\S+", "0", p.err)) for p in started])
        self.assertEqual(said[0], said[1])

    def end(self, started):
        """What its master left behind is ended, too: all that is in this pod, but we."""
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            if pid != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for p in started:
            p.wait()

    def all_answer(self, count, programs):
        rows = listed(count)
        self.assertEqual(programs, {b.row["process"] for b in rows.values()})
        for pid, profile in ask_all(rows, "/debug/pprof/heap").items():
            self.assertTrue(profile.samples, rows[pid].row)
        shim.wait_until("a profile of somebody who works", lambda: any(
            p.samples for p in ask_all(rows, "/debug/pprof/profile?seconds=1").values()))
        owner, = [b.pid for b in rows.values() if b.row["has_port"]]
        os.kill(owner, signal.SIGKILL)
        left = listed(count - 1, without=[owner])
        self.assertLessEqual(set(rows) - {owner}, set(left))
        self.assertEqual(1, len([b for b in left.values() if b.row["has_port"]]))
        ask_all(left, "/debug/pprof/heap")

    @in_a_pod
    def test_nginx_and_its_workers(self):
        folder = shim.scratch("nginx")
        conf = write(folder, "conf", NGINX % {"folder": folder, "port": WEB})
        argv = [debian("nginx"), "-e", "stderr", "-c", conf]
        self.tree(lambda run: run(argv), 1 + WORKERS, lambda: Load(fetch), {"nginx"})

    @in_a_pod
    def test_a_python_server_that_forks_first(self):
        argv = ["/usr/bin/python3", "-c", PREFORK % (WEB, WORKERS)]
        self.tree(lambda run: run(argv), 1 + WORKERS, lambda: Load(fetch), {"python3"})

    @in_a_pod
    def test_apache_that_forks_first(self):
        apache = debian("apache2")
        if not os.path.exists(APACHE_MODULES + "/mod_mpm_prefork.so"):
            self.skipTest("apache2 has no prefork here")

        def begin(run):
            folder = shim.scratch("apache")
            conf = write(folder, "conf", APACHE % {"modules": APACHE_MODULES, "folder": folder, "port": WEB})
            return run([apache, "-DFOREGROUND", "-f", conf])
        self.tree(begin, 1 + WORKERS, lambda: Load(fetch), {"apache2"})

    @in_a_pod
    def test_php_fpm(self):
        folder = shim.scratch("php")
        fpm = debian(*[os.path.basename(p) for p in sorted(glob.glob("/usr/sbin/php-fpm*"))] or ["php-fpm"])
        conf = write(folder, "conf", FPM % {"folder": folder, "port": WEB, "workers": WORKERS})
        page = write(folder, "page.php", "<?php $a = range(1, 3000); shuffle($a); sort($a); echo 'well';")
        self.tree(lambda run: run([fpm, "-n", "-F", "-R", "-y", conf]), 1 + WORKERS,
                  lambda: Load(lambda: fetch_fastcgi(page)), {os.path.basename(os.path.realpath(fpm))[:15]})

    @in_a_pod
    def test_postgres_with_twenty_backends(self):
        postgres = (sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres")) or [None])[-1]
        if not postgres or not os.path.exists(os.path.dirname(postgres) + "/pgbench"):
            self.skipTest("postgresql is not installed")
        pg = Postgres(os.path.dirname(postgres), self.id())

        def begin(run):
            first = run([shim.program("waits_for_input")])  # as the first container of a pod is another's
            if "LD_PRELOAD" in read("/proc/%d/environ" % first.pid):
                listed(1)
            pg.begin(run)
            return first
        self.tree(begin, 1 + 1 + 4 + 20, pg.bench, {"waits_for_input", "postgres"})

    test_postgres_with_twenty_backends.long_s = 20


NGINX = """
daemon off;
worker_processes 3;
pid %(folder)s/pid;
error_log stderr crit;
events { }
http {
    access_log off;
    client_body_temp_path %(folder)s/a;
    proxy_temp_path %(folder)s/b;
    fastcgi_temp_path %(folder)s/c;
    uwsgi_temp_path %(folder)s/d;
    scgi_temp_path %(folder)s/e;
    server { listen 127.0.0.1:%(port)d; return 200 'well'; }
}
"""
PREFORK = """
import json, os, signal, socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", %d))
s.listen(64)
for _ in range(%d):
    if os.fork() == 0:
        while True:
            c, _ = s.accept()
            try:
                rows = json.loads(json.dumps([{str(i): i} for i in range(500)]))
                c.recv(4096)
                c.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nwell %%d" %% len(rows))
            except OSError:
                pass
            c.close()
while True:
    os.wait()
"""
APACHE_MODULES = "/usr/lib/apache2/modules"
APACHE = """
ServerRoot %(folder)s
ServerName localhost
Listen 127.0.0.1:%(port)d
PidFile %(folder)s/pid
ErrorLog /dev/stderr
LogLevel crit
DefaultRuntimeDir %(folder)s
Mutex posixsem
User #65534
Group #65534
LoadModule mpm_prefork_module %(modules)s/mod_mpm_prefork.so
LoadModule authz_core_module %(modules)s/mod_authz_core.so
LoadModule alias_module %(modules)s/mod_alias.so
StartServers 3
MinSpareServers 3
MaxSpareServers 3
MaxRequestWorkers 3
DocumentRoot /usr/share
ErrorDocument 410 well
Redirect 410 /
"""
FPM = """
[global]
error_log = /dev/stderr
log_level = error
[pool]
listen = 127.0.0.1:%(port)d
user = nobody
pm = static
pm.max_children = %(workers)d
"""
POSTGRES = """
listen_addresses = ''
unix_socket_directories = '%(folder)s'
fsync = off
log_min_messages = panic
log_min_error_statement = panic
autovacuum = off
max_connections = 40
shared_buffers = 16MB
dynamic_shared_memory_type = mmap
"""
