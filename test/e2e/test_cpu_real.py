# test_cpu_real.py - programs as the distribution ships them, profiled at 1000 Hz while they work.
#
# Runs in: the test runner. Each does a few seconds of work twice, bare and under the shim, where one CPU profile after
# another is taken and threads are dumped; output and exit status must be equal, and the functions that take the time
# must be those that one would expect there.
#
# SPDX-License-Identifier: Apache-2.0
import contextlib
import hashlib
import http.client
import os
import pwd
import random
import re
import shutil
import subprocess
import threading
import time

import look
import shim
from shim import start
from test_real import HEAVY_CC, NGINX_CONF, talk


def flat_names(bodies):
    """{function: ns} by the leaf, demangled, of all the profiles."""
    found = {}
    for body in bodies:
        prof = shim.Profile(body)
        for s in prof.samples:
            found[s.names[0]] = found.get(s.names[0], 0) + s.values[1]
    return found


ENOUGH_NS = 200000000


def sampled_ns(bodies):
    return sum(flat_names(bodies).values())


def all_names(bodies):
    return {n for body in bodies for n in shim.Profile(body).names()}


class RealCpu(shim.TestCase):

    def check_names(self, bodies, leaf, anywhere=None):
        """One of the five functions that take most is like `leaf`; some function is like `anywhere`."""
        flat = flat_names(bodies)
        self.assertGreater(sampled_ns(bodies), ENOUGH_NS, "too little was sampled")
        most = sorted(flat, key=flat.get, reverse=True)[:5]
        self.assertTrue([n for n in most if re.search(leaf, n)], "nothing like %s among %s" % (leaf, most))
        if anywhere:
            names = all_names(bodies)
            self.assertTrue([n for n in names if re.search(anywhere, n)], "nothing like %s among %s" % (
                anywhere, sorted(names)[:30]))
        largest = max(bodies, key=len)
        top = shim.top(shim.gos()[-1][1], shim.save(largest))
        self.assertTrue(top.rows)

    def check_work(self, argv, leaf, anywhere=None, env=None, deadline_s=180, dumps=1, **more):
        """A program that works for some seconds and ends."""
        bare = shim.run_bare(argv, env=env, deadline_s=deadline_s, **more)
        self.assertEqual(0, bare[0], bare[2][-500:])
        bodies = []
        for _ in range(5):
            ours, looking = look.run_watched(
                self, argv, deadline_s=deadline_s, env=env, dumps=dumps, input_data=b"", **more
            )
            self.assertEqual(bare[0], ours[0])
            self.assertTrue(bare[1] == ours[1], "the output differs")
            self.assertEqual(bare[2], ours[2])
            bodies += looking.profiles
            if sampled_ns(bodies) > ENOUGH_NS:
                break
        self.check_names(bodies, leaf, anywhere)


class Runtimes(RealCpu):

    def test_python3(self):
        path = os.path.join(shim.scratch("python"), "work.py")
        with open(path, "w") as f:
            f.write(PYTHON_WORK)
        self.check_work(
            ["/usr/bin/python3", path], r"_PyEval_EvalFrameDefault", r"^inflate|^deflate|^longest_match|libz"
        )

    test_python3.long_s = 9

    def test_node(self):
        path = os.path.join(shim.scratch("node"), "work.js")
        with open(path, "w") as f:
            f.write(NODE_WORK)
        self.check_work([shim.tool("node"), path], r".", r"^(_ZN)?(v8|2v8|4node|node)|Builtins_|node")

    test_node.long_s = 9

    def test_java(self):
        java, javac = shim.tool("java"), shim.tool("javac")
        folder = shim.scratch("java")
        with open(os.path.join(folder, "Work.java"), "w") as f:
            f.write(JAVA_WORK)
        r = subprocess.run(
            [javac, "Work.java"], cwd=folder, capture_output=True, text=True, env=shim.bare_env(), timeout=120
        )
        if r.returncode:
            self.skipTest("javac cannot compile: " + r.stderr[:200])
        self.check_work([java, "-Xmx256m", "-cp", folder, "Work"], r".", r"libjvm|JavaThread|Java|Compile")

    test_java.long_s = 10

    def test_luajit(self):
        luajit = shim.tool("luajit")
        self.check_work([luajit, "-e", LUAJIT_WORK], r".", r"^lj_|^lua_|luajit")

    test_luajit.long_s = 6

    def test_rust(self):
        rustc = shim.tool("rustc")
        folder = shim.scratch("rust")
        with open(os.path.join(folder, "work.rs"), "w") as f:
            f.write(RUST_WORK)
        r = subprocess.run(
            [rustc, "-O", "-o", "work", "work.rs"], cwd=folder, capture_output=True, text=True, timeout=240
        )
        if r.returncode:
            self.skipTest("rustc cannot compile: " + r.stderr[:200])
        self.check_work([os.path.join(folder, "work")], r"spin_here|sum_of", r"work.*main|lang_start|std")

    test_rust.long_s = 8


class Filters(RealCpu):

    def data(self, size):
        """Text that compresses, neither well nor badly; the same each time."""
        path = os.path.join(shim.scratch("data"), "data")
        r = random.Random(7)
        words = [hashlib.md5(b"%d" % i).hexdigest()[:r.randrange(3, 12)].encode() for i in range(20000)]
        with open(path, "wb") as f:
            while f.tell() < size:
                f.write(b" ".join(r.choices(words, k=50000)) + b"\n")
        return path

    def check_file(self, argv, out_path, *names):
        """A program that writes a file, the same each time."""
        digests = []

        def digest():
            with open(out_path, "rb") as f:
                digests.append(hashlib.sha256(f.read()).hexdigest())
        self.assertEqual((0, "", ""), shim.run_bare(argv))
        digest()
        os.unlink(out_path)
        end, looking = look.run_watched(self, argv, input_data=b"")
        self.assertEqual((0, "", ""), end)
        digest()
        self.assertEqual(digests[0], digests[1])
        self.check_names(looking.profiles, *names)

    def test_xz_with_two_threads(self):
        path = self.data(10 << 20)
        self.check_file(
            [shim.tool("xz"), "-T2", "-4", "--block-size=2MiB", "-k", "-f", path], path + ".xz", r"lzma|xz", r"lzma"
        )

    test_xz_with_two_threads.long_s = 8

    def test_gzip(self):
        path = self.data(45 << 20)
        self.check_file([shim.tool("gzip"), "-6", "-n", "-k", "-f", path], path + ".gz", r"gzip|longest|deflate|crc")

    test_gzip.long_s = 8

    def test_sqlite3(self):
        self.check_work([shim.tool("sqlite3"), "-batch", ":memory:", SQL_WORK], r"sqlite", r"^sqlite3_")

    test_sqlite3.long_s = 8

    def test_gxx_and_its_compiler_proper(self):
        gxx = shim.tool("g++")
        folder = shim.scratch("gxx")
        source, out_path = os.path.join(folder, "heavy.cc"), os.path.join(folder, "heavy.o")
        with open(source, "w") as f:
            f.write(HEAVY_CC)
        argv = [gxx, "-std=c++17", "-O1", "-c", source, "-o", out_path]
        self.assertEqual((0, "", ""), shim.run_bare(argv, deadline_s=240))
        with open(out_path, "rb") as f:
            bare = f.read()
        bodies = []
        port = shim.free_port()
        with shim.Process(argv, env=shim.shim_env(port)) as p:
            while p.running():
                # The driver has the port; the compiler proper, its child, has joined it.
                for q in shim.behind(port):
                    with contextlib.suppress(OSError, http.client.HTTPException):
                        if b"cc1plus" in shim.get(q, "/debug/pprof/cmdline", 20).body.split(b"\0")[0]:
                            a = shim.get(q, "/debug/pprof/profile?seconds=1&hz=1000", 30)
                            if a.status == 200:
                                bodies.append(a.body)
                            shim.get(q, "/debug/pprof/goroutine?debug=2", 30)
                time.sleep(0.05)
            self.assertEqual((0, "", ""), p.wait(240))
        with open(out_path, "rb") as f:
            self.assertTrue(bare == f.read(), "the object files differ")
        self.assertTrue(bodies, "no profile was had of the compiler proper while it ran")
        self.check_names(bodies, r"cc1plus|ggc_|ht_|cpp_|gt_|mem|_int_malloc|htab|alloc|tree|lookup", r"main|cc1plus")

    test_gxx_and_its_compiler_proper.long_s = 12


class Servers(RealCpu):

    def looked_at(self, p, load, seconds=1):
        """Profile and dump while load() runs; what it returned."""
        bodies = []
        for _ in range(5):
            with look.Looking(p, hz=1000, seconds=seconds, pause_s=0.02) as looking:
                result = load()
            looking.check(self, profiles=1, dumps=1)
            bodies += looking.profiles
            if sampled_ns(bodies) > ENOUGH_NS:
                break
        return result, bodies

    def test_redis_server(self):
        server, bench = shim.tool("redis-server"), shim.tool("redis-benchmark")
        answers = []
        script = (b"flushall\r\nset a 1\r\nincrby a 41\r\nrpush l x y z\r\nlrange l 0 -1\r\nhset h f v g w\r\n"
                  b"zadd z 1 one 2 two\r\nzrange z 0 -1 withscores\r\ndebug digest-value a l h z\r\necho END\r\n")
        for shimmed in (False, True):
            port = shim.free_port(1)
            argv = [server, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                    "--dir", shim.scratch("redis")]

            def load():
                r = subprocess.run(
                    [
                        bench, "-h", "127.0.0.1", "-p", str(port), "-n", "250000", "-c", "20", "-r", "20000", "-d",
                        "100", "-P", "16", "-t", "set,get,lpush,lrange_100", "-q",
                    ],
                    capture_output=True,
                    text=True,
                    env=shim.bare_env(),
                    timeout=240,
                )
                self.assertEqual(0, r.returncode, r.stderr)
            with (start(argv) if shimmed else shim.Process(argv, env=shim.bare_env())) as p:
                shim.wait_until("redis", lambda: shim.port_answers(port))
                if shimmed:
                    _, bodies = self.looked_at(p, load)
                    self.check_names(
                        bodies,
                        r".",
                        r"^(processCommand|call|readQueryFromClient|processInputBuffer|aeMain|"
                        r"lrangeCommand|addReply.*|lookupKey.*|_addReply.*|dictFind)$",
                    )
                answers.append(talk(port, script, b"END\r\n"))
                with contextlib.suppress(ConnectionError):
                    talk(port, b"shutdown nosave\r\n", b"never")
                status, out, err = p.wait()
                self.assertEqual((0, ""), (status, err))
        self.assertEqual(answers[0], answers[1])

    test_redis_server.long_s = 10

    def test_nginx(self):
        nginx = shim.tool("nginx")
        answers = []
        for shimmed in (False, True):
            folder, port = shim.scratch("nginx"), shim.free_port(1)
            os.chmod(folder, 0o777)
            conf = os.path.join(folder, "nginx.conf")
            with open(conf, "w") as f:
                f.write(NGINX_CONF.format(folder=folder, port=port).replace("master_process on", "master_process off"))
            with open(os.path.join(folder, "page.txt"), "w") as f:
                f.write("".join("a page, line %d\n" % (i * 7919 % 10007) for i in range(20000)))

            def load():
                got, end = set(), time.monotonic() + (3.5 if shimmed else 0.5)
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                while time.monotonic() < end:
                    for path in ("/page.txt", "/", "/none"):
                        c.request("GET", path, headers={"Accept-Encoding": "gzip"})
                        r = c.getresponse()
                        got.add((path, r.status, hashlib.sha1(r.read()).hexdigest()))
                c.close()
                return got
            argv = [nginx, "-p", folder, "-e", "stderr", "-c", conf]
            with (start(argv) if shimmed else shim.Process(argv, env=shim.bare_env())) as p:
                shim.wait_until("nginx", lambda: shim.port_answers(port))
                if shimmed:
                    got, bodies = self.looked_at(p, load)
                    self.check_names(bodies, r"deflate|longest|libz|crc|compress", r"^ngx_")
                else:
                    got = load()
                answers.append(got)
                p.popen.send_signal(3)
                status, out, err = p.wait()
                self.assertEqual((0, ""), (status, err))
        self.assertEqual(3, len(answers[0]))
        self.assertEqual(answers[0], answers[1])

    test_nginx.long_s = 6

    def test_postgres(self):
        binaries = sorted(d for v in (os.listdir("/usr/lib/postgresql") if os.path.isdir("/usr/lib/postgresql") else [])
                          for d in ["/usr/lib/postgresql/%s/bin" % v] if os.path.exists(d + "/initdb"))
        if not binaries:
            self.skipTest("postgres is not installed")
        answers = []
        bodies = []
        user = {}
        folder = shim.scratch("postgres")
        if os.geteuid() == 0:  # postgres will not run as root
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            # Somebody else must be able to read the library.
            lib = os.path.join(folder, "libpprofshim.so")
            shutil.copy(shim.LIB, lib)
            os.chmod(lib, 0o755)
        else:
            lib = shim.LIB
        data = os.path.join(folder, "data")
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
            argv = [
                binaries[-1] + "/postgres", "-D", data, "-h", "127.0.0.1", "-p", port, "-k", "", "-F", "-c",
                "jit=off",
            ]
            psql = [binaries[-1] + "/psql", "-h", "127.0.0.1", "-p", str(port), "-U", "pg", "-d", "postgres", "-Atc"]

            def query():
                r = subprocess.run(
                    psql + [POSTGRES_WORK], capture_output=True, text=True, env=shim.bare_env(), timeout=240
                )
                self.assertEqual(0, r.returncode, r.stderr)
                answers.append(r.stdout)
            more = dict(user, cwd=folder)
            with start(argv, preload=lib, **more) if shimmed else shim.Process(argv, env=shim.bare_env(), **more) as p:
                shim.wait_until(
                    "postgres", lambda: subprocess.run(psql + ["select 1"], capture_output=True).returncode == 0
                )
                t = threading.Thread(target=query)
                t.start()
                while shimmed and t.is_alive():
                    self.profile_backends(p.port, bodies)
                    time.sleep(0.05)
                t.join()
                p.popen.send_signal(2)  # SIGINT: fast shutdown
                self.assertEqual(0, p.wait()[0])
        self.assertEqual(2, len(answers))
        self.assertEqual(answers[0], answers[1])
        self.assertTrue(bodies, "no profile was had of a backend while it worked")
        self.check_names(
            bodies,
            r"Exec|numeric|heap_|palloc|LogicalTape|hash|int|postgres|float|Tuple|agg|Agg",
            r"^(PostgresMain|exec_simple_query|ExecutorRun|" r"standard_ExecutorRun|BackendMain)$",
        )

    test_postgres.long_s = 18

    def profile_backends(self, port, bodies):
        """The postmaster has the port; its children join it, each from its first long wait on."""
        found = []

        def one(q):
            with contextlib.suppress(OSError, http.client.HTTPException):
                if b"pg postgres" not in shim.get(q, "/debug/pprof/cmdline", 20).body:
                    return
                a = shim.get(q, "/debug/pprof/profile?seconds=1&hz=1000", 30)
                if a.status == 200 and shim.Profile(a.body).total("samples") > 20:
                    found.append(a.body)
                shim.get(q, "/debug/pprof/goroutine?debug=2", 30)
        threads = [threading.Thread(target=one, args=(q,)) for q in shim.behind(port)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        bodies += found


PYTHON_WORK = r'''
import hashlib, json, random, threading, time, zlib
random.seed(7)
def work(n):
    s = 0
    for i in range(n):
        s = (s * 31 + i % 7) % 1000003
        if i % 5000 == 0:
            time.sleep(0.0002)
    return s
results = [0] * 4
def run(i):
    results[i] = work(5000000 + i)
threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(results)
data = b"".join(b"%d " % random.randrange(10 ** 6) for _ in range(400000))
for _ in range(4):  # long enough for a profile of a second that is begun and answered meanwhile
    packed = zlib.compress(data, 9)
print(len(data), len(packed), sum(len(zlib.decompress(packed)) for _ in range(30)))
print(hashlib.sha256(json.dumps(sorted(set(data.split()), reverse=True)[:100000], default=str).encode()).hexdigest())
'''

NODE_WORK = r'''
const zlib = require('zlib'), crypto = require('crypto'), fs = require('fs');
function mix(n) { let a = 1; for (let i = 0; i < n; i++) a = (a * 31 + (i % 7)) % 1000003; return a; }
let pending = 3, sum = 0;
function done(what, value) { sum = (sum + value) % 1000003; if (--pending === 0) console.log('sum', sum, mix(1000)); }
const text = Array.from({length: 200000}, (_, i) => (i * 7919 % 100003).toString(36)).join(' ');
setTimeout(() => done('timer', 5), 300);
zlib.deflate(text.repeat(6), {level: 9}, (e, b) => { if (e) throw e; done('deflate', b.length); });
crypto.pbkdf2('a', 'b', 400000, 64, 'sha512', (e, k) => { if (e) throw e; done('pbkdf2', k[0]); });
console.log(mix(600000000));
const m = new Map();
for (let i = 0; i < 2500000; i++) m.set('k' + (i % 50000), (m.get('k' + (i % 50000)) || 0) + i);
console.log(m.size, m.get('k77'), JSON.stringify([...m].slice(0, 20000)).length);
'''

JAVA_WORK = r'''
import java.util.*;
import java.util.concurrent.*;
public class Work {
    static long spin(long n) { long a = 1; for (long i = 0; i < n; i++) a = (a * 31 + i % 7) % 1000003; return a; }
    public static void main(String[] args) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(3);
        List<Future<Long>> all = new ArrayList<>();
        for (int i = 0; i < 6; i++) { final long n = 100000000L + i; all.add(pool.submit(() -> spin(n))); }
        for (Future<Long> f : all) System.out.println(f.get());
        Map<String, List<Integer>> m = new HashMap<>();
        for (int i = 0; i < 1500000; i++) m.computeIfAbsent("k" + i % 5000, k -> new ArrayList<>()).add(i);
        long s = 0; for (List<Integer> l : m.values()) s += l.size() * 31L + l.get(7);
        System.out.println(m.size() + " " + s);
        try { Object o = null; o.hashCode(); } catch (NullPointerException e) { System.out.println("null"); }
        for (int i = 0; i < 40; i++) { Thread.sleep(5); System.gc(); }
        pool.shutdown(); System.out.println(pool.awaitTermination(10, TimeUnit.SECONDS));
    }
}
'''

LUAJIT_WORK = '''
local s = 0 for i = 1, 250000000 do s = (s + i % 7) % 1000003 end
local t = {} for i = 1, 900000 do t[i] = tostring((i * 7919) % 100003) end table.sort(t)
local n = 0 for i, v in ipairs(t) do n = n + #v * (i % 3) end print(s, n, #table.concat(t))
'''

RUST_WORK = '''
use std::collections::HashMap;
use std::thread;
#[inline(never)]
fn spin_here(n: u64) -> u64 { let mut a = 1u64; for i in 0..n { a = (a.wrapping_mul(31) + i % 7) % 1000003; } a }
#[inline(never)]
fn sum_of(n: u64) -> usize { let mut m: HashMap<String, u64> = HashMap::new();
    for i in 0..n { *m.entry(format!("k{}", i % 5000)).or_insert(0) += i; } m.len() }
fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let hands: Vec<_> = (0..3).map(|i| thread::Builder::new().name(format!("worker-{}", i))
        .spawn(move || spin_here(250_000_000 + i)).unwrap()).collect();
    println!("{}", sum_of(6_000_000));
    for h in hands { println!("{}", h.join().unwrap()); }
    println!("{:?}", thread::spawn(|| { if sum_of(10) == 10 { panic!("left") } }).join().is_err());
}
'''

SQL_WORK = '''
create table t(a integer primary key, b text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 1600000)
insert into t select i, 'row ' || (i * 7919 % 100003) from n;
create index x on t(b);
select count(*), sum(length(b)) from t where b like '%9%';
select substr(b, -2), count(*), avg(a) from t group by 1 order by 2 desc, 1 limit 10;
select count(*) from t as l join t as r on l.b = r.b where l.a < 60000;
'''

POSTGRES_WORK = ("select i % 7, count(*), sum(i::numeric * i), md5(string_agg((i % 13)::text, ',' order by i)) "
                 "from generate_series(1, 1600000) as i group by 1 order by 1")
