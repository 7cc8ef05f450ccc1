# test_real.py - programs as the distribution ships them: profiled, and none the wiser.
#
# Runs in: the test runner. Each program is started as it is, does bounded work that ends in a wait, and is
# looked at with go tool pprof (-top, -raw, -base, -http); its answers, output and exit status must be those
# that it has without the shim.
#
# SPDX-License-Identifier: Apache-2.0
import contextlib
import http.client
import os
import re
import socket
import subprocess
import threading
import time

import shim
from shim import start
from test_pprof_tool import web_answers


class Real(shim.TestCase):

    def check_profiles(self, port, names, top_names=None, web=True):
        """heap and allocs of a living program are accepted by every go, and name the program's functions."""
        folder = shim.scratch("real")
        paths = {}
        for name in ("heap", "allocs", "threadcreate"):
            a = shim.get(port, "/debug/pprof/" + name)
            self.assertEqual(200, a.status, a.body[:200])
            shim.Profile(a.body)
            paths[name] = os.path.join(folder, name)
            with open(paths[name], "wb") as f:
                f.write(a.body)
        url = "http://127.0.0.1:%d/debug/pprof/" % port
        for version, go in shim.gos():
            top = shim.top(go, url + "allocs", "-sample_index=alloc_space")
            self.assertTrue(top.rows, "an empty profile")
            named = [n for n in top.rows if re.search(names, n)]
            self.assertTrue(named, "no function like %s among %s" % (names, list(top.rows)[:25]))
            out, _ = shim.pprof(go, "-raw", paths["heap"])
            self.assertIn("Mappings", out)
            base = shim.top(go, url + "allocs", "-base", paths["allocs"], "-sample_index=alloc_space")
            self.assertEqual("alloc_space", base.type)
            shim.top(go, url + "heap?debug=1")
            shim.top(go, paths["threadcreate"])
            if web:
                for path, (status, _) in web_answers(go, paths["heap"]).items():
                    self.assertEqual(200, status, path)

    def check_filter(self, argv, names, data=b"", rate=16384, end=None, env=None):
        """A program that prints `ready` when its work is done and then waits for the end of stdin."""
        outs = []
        with shim.Process(argv, env=shim.bare_env(env)) as p:
            if data:
                p.send(data)
            p.wait_line("ready")
            outs.append(p.finish())
        with start(argv, rate=rate, env=env) as p:
            if data:
                p.send(data)
            p.wait_line("ready")
            self.check_profiles(p.port, names)
            outs.append(p.finish())
        self.assertEqual(outs[0], outs[1])
        self.assertEqual(0, outs[0][0])


class Filters(Real):

    def test_python3(self):
        path = os.path.join(shim.scratch("python"), "work.py")
        with open(path, "w") as f:
            f.write(PYTHON_WORK)
        self.check_filter(["/usr/bin/python3", path], r"^_?Py")

    def test_sqlite3(self):
        sql = (b"create table t(a integer primary key, b text, c blob);\n"
               b"with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)\n"
               b"  insert into t select i, 'row number ' || i, randomblob(100) from n;\n"
               b"create index x on t(b);\n"
               b"select count(*), sum(length(b)), sum(length(c)) from t where b like '%9%';\n"
               b"select group_concat(substr(b, -3)) from (select b from t order by b desc limit 50);\n"
               b"select 'ready';\n")
        self.check_filter([shim.tool("sqlite3"), "-batch", ":memory:"], r"^sqlite3_", sql)

    def test_perl(self):
        work = r'''my %h; for my $i (1 .. 60000) { $h{"key $i"} = [ $i, "v" x ($i % 50) ]; }
                   my $s = 0; for my $k (sort keys %h) { $s += $h{$k}[0] * length $h{$k}[1]; }
                   my $t = join ",", map { sprintf "%05d", $_ } 1 .. 20000; $t =~ s/0+/z/g;
                   $| = 1; print "$s ", length $t, "\nready\n"; <STDIN>;'''
        self.check_filter([shim.tool("perl"), "-e", work], r"^Perl_", env={"PERL_HASH_SEED": "0"})

    def test_lua(self):
        work = '''local t = {} for i = 1, 60000 do t[i] = { i, ("s"):rep(i % 40) .. i } end
                  table.sort(t, function(a, b) return a[2] < b[2] end)
                  local s = 0 for i, v in ipairs(t) do s = s + i * #v[2] end
                  io.stdout:write(s, "\\nready\\n") io.stdout:flush() io.read()'''
        self.check_filter([shim.tool("lua5.4"), "-e", work], r"^lua_?[A-Z_]")

    def test_jq(self):
        rows = ",".join('{"id":%d,"name":"name %d","tags":["a%d","b"]}' % (i, i, i % 97) for i in range(8000))
        data = ("[%s]\n" % rows).encode()
        self.check_filter([shim.tool("jq"), "-r", "--unbuffered",
                           '(group_by(.tags[0]) | map({(.[0].tags[0]): (map(.id) | add)}) | add | tojson), "ready"'],
                          r"^(jv_|jq_|jvp_)", data)

    def test_threaded_cxx_program(self):
        self.check_filter([shim.program("cxx_threads")], r"shop::word_index::add_words|^main$")

    def test_java_and_node_like_runtimes(self):
        for name, argv in (("node", ["-e", "console.log('x'.repeat(5))"]), ("ruby", ["-e", "puts 'x' * 5"]),
                           ("gawk", ["BEGIN { print 5 }"]), ("mawk", ["BEGIN { print 5 }"]),
                           ("bash", ["-c", "echo $((2 + 3)) | cat; (exit 3)"]), ("git", ["--version"]),
                           ("tclsh", ["/dev/null"]), ("gdb", ["--version"]), ("curl", ["--version"]),
                           ("openssl", ["version"]), ("xz", ["--version"]), ("make", ["--version"])):
            try:
                path = shim.tool(name)
            except shim.unittest.SkipTest:
                continue
            with self.subTest(name=name):
                self.assert_same([path] + argv)


PYTHON_WORK = '''
import json, re, subprocess, sys, threading, ctypes, sqlite3
words = {}
def work(n):
    for i in range(n):
        words.setdefault("word %d" % (i % 5000), []).append(str(i) * 3)
threads = [threading.Thread(target=work, args=(20000,)) for _ in range(3)]
for t in threads: t.start()
for t in threads: t.join()
text = json.dumps(words)
print(len(words), len(text), len(re.findall("1+", text)), len(json.loads(text)))
blobs = [bytearray(100000) for _ in range(100)]
print(sum(map(len, blobs)))
print(subprocess.run(["/bin/echo", "child"], capture_output=True, text=True).stdout.strip())
db = sqlite3.connect(":memory:")
db.execute("create table t(a)")
db.executemany("insert into t values (?)", [(i,) for i in range(5000)])
print(db.execute("select sum(a) from t").fetchone()[0])
print("ready", flush=True)
sys.stdin.read()
'''


def talk(port, data, until, deadline_s=60):
    """Send bytes to a loopback server and read until the answer ends with `until`."""
    with socket.create_connection(("127.0.0.1", port), deadline_s) as s:
        s.sendall(data)
        got = b""
        while not got.endswith(until):
            part = s.recv(65536)
            if not part:
                break
            got += part
        return got


class Servers(Real):

    def test_redis_server_under_redis_benchmark(self):
        server, bench = shim.tool("redis-server"), shim.tool("redis-benchmark")
        answers = []
        for shimmed in (False, True):
            port = shim.free_port(1)
            argv = [server, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                    "--dir", shim.scratch("redis")]
            with (start(argv) if shimmed else shim.Process(argv, env=shim.bare_env())) as p:
                shim.wait_until("redis", lambda: shim.port_answers(port))
                r = subprocess.run([bench, "-h", "127.0.0.1", "-p", str(port), "-n", "20000", "-c", "20", "-r", "20000",
                                    "-d", "1000", "-P", "8", "-t", "set,get,lpush,hset", "-q"],
                                   capture_output=True, text=True, env=shim.bare_env(), timeout=240)
                self.assertEqual(0, r.returncode, r.stderr)
                if shimmed:
                    self.check_profiles(
                        p.port, r"^(z(try)?(re)?(m|c)?alloc|_?sds|create|dict|ztry|raxNew|quicklist|lp)"
                    )
                script = (b"flushall\r\nset a 1\r\nincrby a 41\r\nrpush l x y z\r\nlrange l 0 -1\r\nhset h f v g w\r\n"
                          b"hgetall h\r\nzadd z 1 one 2 two\r\nzrange z 0 -1 withscores\r\nsetrange big 100000 x\r\n"
                          b"strlen big\r\ndebug digest-value a l h z\r\necho END\r\n")
                answers.append(talk(port, script, b"END\r\n"))
                with contextlib.suppress(ConnectionError):
                    talk(port, b"shutdown nosave\r\n", b"never")
                status, out, err = p.wait()
                self.assertEqual((0, ""), (status, err))
        self.assertEqual(answers[0], answers[1])

    test_redis_server_under_redis_benchmark.long_s = 30

    def test_nginx_with_a_worker(self):
        nginx = shim.tool("nginx")
        answers = []
        for shimmed in (False, True):
            folder, port = shim.scratch("nginx"), shim.free_port(1)
            os.chmod(folder, 0o777)
            conf = os.path.join(folder, "nginx.conf")
            with open(conf, "w") as f:
                f.write(NGINX_CONF.format(folder=folder, port=port))
            with open(os.path.join(folder, "page.txt"), "w") as f:
                f.write("a page\n" * 10000)
            os.chmod(os.path.join(folder, "page.txt"), 0o644)
            argv = [nginx, "-p", folder, "-e", "stderr", "-c", conf]
            with (start(argv, rate=4096) if shimmed else shim.Process(argv, env=shim.bare_env())) as p:
                shim.wait_until("nginx", lambda: shim.port_answers(port))
                got = set()

                def load():
                    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                    for i in range(300):
                        c.request("GET", ("/page.txt", "/", "/none")[i % 3])
                        r = c.getresponse()
                        got.add((i % 3, r.status, hash(r.read())))
                    c.close()
                threads = [threading.Thread(target=load) for _ in range(4)]
                for t in threads:
                    t.start()
                for t in threads:
                    t.join()
                answers.append(got)
                self.assertEqual(3, len(got))
                if shimmed:
                    self.check_profiles(p.port, r"^ngx_")
                p.popen.send_signal(3)  # SIGQUIT: the master lets its worker finish
                status, out, err = p.wait()
                self.assertEqual((0, ""), (status, err))
        self.assertEqual(answers[0], answers[1])

    test_nginx_with_a_worker.long_s = 20

    def test_memcached(self):
        memcached = shim.tool("memcached")
        answers = []
        for shimmed in (False, True):
            port = shim.free_port(1)
            argv = [memcached, "-p", port, "-U", "0", "-l", "127.0.0.1", "-m", "32", "-t", "4"]
            if os.geteuid() == 0:
                argv += ["-u", "root"]
            with (start(argv, rate=65536) if shimmed else shim.Process(argv, env=shim.bare_env())) as p:
                shim.wait_until("memcached", lambda: shim.port_answers(port))
                data = b"".join(
                    b"set key%d 0 0 %d noreply\r\n%s\r\n" % (i, i % 500, b"x" * (i % 500)) for i in range(20000)
                )
                data += b"get key7 key123 key19999\r\nincr none 1\r\nmn\r\n"
                answers.append(talk(port, data, b"MN\r\n"))
                if shimmed:
                    # Stripped, and exports nothing: its own frames are memcached+0x..., those of libraries have names.
                    self.check_profiles(p.port, r"^memcached\+0x|^event_|^main$|^[a-z_]+$")
                p.popen.terminate()
                status, out, err = p.wait()
                self.assertEqual(0, status, err)
        self.assertEqual(answers[0], answers[1])

    def test_gxx_compiling_a_heavy_file(self):
        gxx = shim.tool("g++")
        folder = shim.scratch("gxx")
        source = os.path.join(folder, "heavy.cc")
        with open(source, "w") as f:
            f.write(HEAVY_CC)
        objects = []
        profiles = {}
        for shimmed in (False, True):
            out_path = os.path.join(folder, "heavy.o")
            argv = [gxx, "-std=c++17", "-O1", "-Wall", "-c", source, "-o", out_path]
            port = shim.free_port()
            env = shim.shim_env(port) if shimmed else shim.bare_env()
            with shim.Process(argv, env=env) as p:
                while shimmed and p.running():
                    # The driver has the port; the compiler proper, its child, has joined it.
                    for q in shim.processes(port):
                        with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
                            line = shim.get(q, "/debug/pprof/cmdline", 20).text
                            a = shim.get(q, "/debug/pprof/allocs", 20)
                            if a.status == 200 and "cc1plus" in line.split("\0")[0]:
                                profiles["cc1plus"] = a.body  # 502: it has ended meanwhile
                    time.sleep(0.1)
                status, out, err = p.wait(240)
            self.assertEqual((0, "", ""), (status, out, err))
            with open(out_path, "rb") as f:
                objects.append(f.read())
        self.assertTrue(objects[0] == objects[1], "the object files differ")
        self.assertIn("cc1plus", profiles, "no profile was had of the compiler proper while it ran")
        path = shim.save(profiles["cc1plus"])
        for version, go in shim.gos():
            top = shim.top(go, path)
            self.assertTrue([n for n in top.rows if re.search(r"ggc_|xmalloc|xrealloc|cpp_|gt_|c_parse|cp_|main", n)],
                            list(top.rows)[:20])
            shim.pprof(go, "-raw", path)
            for _, (status, _) in web_answers(go, path).items():
                self.assertEqual(200, status)

    test_gxx_compiling_a_heavy_file.long_s = 30

    def test_errors_of_gxx_are_the_same(self):
        gxx = shim.tool("g++")
        path = os.path.join(shim.scratch("gxx"), "wrong.cc")
        with open(path, "w") as f:
            f.write("#include <vector>\nint main() { return std::vector<int>() + 1; }\n")
        status, out, err = self.assert_same([gxx, "-fsyntax-only", path])
        self.assertEqual(1, status)


NGINX_CONF = """
daemon off;
master_process on;
worker_processes 1;
pid {folder}/pid;
error_log stderr crit;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    gzip on;
    gzip_types text/plain;
    server {{
        listen 127.0.0.1:{port};
        root {folder};
        location = / {{ return 200 "hello\\n"; }}
    }}
}}
"""

HEAVY_CC = """
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

template <int N> struct chain {
    std::map<std::string, std::tuple<int, std::vector<chain<N - 1>>>> children;
    std::function<int(std::variant<int, std::string, double>)> f = [](auto) { return N; };
    int sum() const
    {
        int s = N;
        for (const auto &[name, rest] : children)
            for (const auto &c : std::get<1>(rest))
                s += c.sum() + int(name.size()) + f(s);
        return s;
    }
};
template <> struct chain<0> {
    int sum() const { return 1; }
};

int main()
{
    std::regex r("(a|b)*c");
    std::unordered_map<std::string, std::shared_ptr<chain<24>>> m;
    m["x"] = std::make_shared<chain<24>>();
    std::vector<std::string> v{"b", "a"};
    std::sort(v.begin(), v.end());
    std::cout << m["x"]->sum() + std::regex_match("abc", r) << v[0] << "\\n";
}
"""
