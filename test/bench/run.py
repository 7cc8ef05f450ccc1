#!/usr/bin/python3
# run.py - what the shim costs: run.py [-k PATTERN] [--json FILE] [-j N] [--quick]
#
# Runs in: a process of its own. Instructions are counted by valgrind --tool=callgrind (repeatable); times are
# CPU times (user + system) of whole processes, bare, pass-through and shim in turn, and the median of the
# pairs' ratios. Prints `NAME VALUE target TARGET ok|over` a line, where a figure has a target.
# Exit status: 0 even if a figure is over its target (this is a bench, not a test); 1 if one could not be had.
#
# SPDX-License-Identifier: Apache-2.0
import argparse
import concurrent.futures
import contextlib
import fnmatch
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import idle  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("BUILD_DIR") or os.path.join(ROOT, "build")
SHIM = os.environ.get("PPROFSHIM_LIB") or os.path.join(BUILD, "libpprofshim.so")
OUT = os.path.join(BUILD, "bench")
LOOPS = os.path.join(OUT, "loops")
PASS = os.path.join(OUT, "passthrough.so")
STACKS = os.path.join(OUT, "stacks")
NEVER = str(1 << 40)  # a sampling rate that no loop here reaches

options = None
scratch = None
benches = []
figures = []
failures = []


# ---- running ------------------------------------------------------------------------------------

def build():
    os.makedirs(OUT, exist_ok=True)
    for source, output, flags in (("loops.c", LOOPS, ["-pthread"]),
                                  ("passthrough.c", PASS, ["-fPIC", "-shared", "-fvisibility=hidden"]),
                                  ("stacks.cc", STACKS, [])):
        path = os.path.join(HERE, source)
        compiler = os.environ.get("CXX", "g++") if source.endswith(".cc") else os.environ.get("CC", "gcc")
        if not os.path.exists(output) or os.stat(output).st_mtime < os.stat(path).st_mtime:
            subprocess.run([compiler, "-O2", "-g", "-o", output, path] + flags, check=True)


_port = 17000 + os.getpid() % 8000


def free_port():
    global _port
    while True:
        _port += 12
        if _port > 31000:
            _port = 12000
        with socket.socket() as s:
            with contextlib.suppress(OSError):
                s.bind(("127.0.0.1", _port))
                return _port


def environment(kind, **more):
    """Of a bare run, of one under the pass-through library, or under the shim."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith("PPROF_") and k not in ("LD_PRELOAD", "DISABLE_PPROF")}
    env.update(LC_ALL="C", PERL_HASH_SEED="0", PERL_PERTURB_KEYS="0")
    if kind != "bare":
        env["LD_PRELOAD"] = SHIM if kind == "shim" else PASS
    if kind == "shim":
        env["PPROF_ADDR"] = "127.0.0.1:%d" % free_port()
    env.update(more)
    return env


def tool(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin")
    if not path:
        raise RuntimeError(name + " is not installed")
    return path


def instructions(argv, env, stdin=None):
    """Instructions of a whole run, all threads, by callgrind."""
    r = subprocess.run([tool("valgrind"), "--tool=callgrind", "--callgrind-out-file=/dev/null", "--trace-children=no"]
                       + [str(a) for a in argv], env=env, stdin=stdin or subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=1200)
    m = re.search(r"Collected : (\d+)", r.stderr)
    if not m or r.returncode:
        raise RuntimeError("%s: status %d: %s" % (argv, r.returncode, r.stderr[-400:]))
    return int(m.group(1))


def each(items, function):
    """function(item) for all, as many at once as there are processors: counts do not mind."""
    with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        return list(pool.map(function, items))


def cpu_ns(argv, env):
    """CPU time of a whole run, its children's included."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        pid = os.posix_spawn(argv[0], [str(a) for a in argv], env,
                             file_actions=[(os.POSIX_SPAWN_DUP2, null, fd) for fd in range(3)])
    finally:
        os.close(null)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError("%s: status %d" % (argv, status))
    return (usage.ru_utime + usage.ru_stime) * 1e9


def median_ratio(rows, above, below):
    return statistics.median(r[above] / r[below] for r in rows)


def in_turn(kinds, rounds, measure):
    """[{kind: value}]: each round measures every kind once, the order turning."""
    rows = []
    for i in range(rounds if not options.quick else max(3, rounds // 4)):
        order = kinds[i % len(kinds):] + kinds[:i % len(kinds)]
        rows.append({k: measure(k) for k in order})
    return rows


@contextlib.contextmanager
def running(argv, env, wait_for=None):
    """A process that runs meanwhile; ended by its pid."""
    p = subprocess.Popen([str(a) for a in argv], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL)
    try:
        if wait_for:
            line = p.stdout.readline().decode().strip()
            if line != wait_for:
                raise RuntimeError("%s said %r" % (argv[0], line))
        yield p
    finally:
        if p.poll() is None:
            p.kill()
        p.wait()
        p.stdin.close()
        p.stdout.close()


def wait_port(port, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError("nobody listens on the port")


# ---- figures ------------------------------------------------------------------------------------

def figure(name, value, target=None, unit="", digits=2):
    verdict = "" if target is None else ("ok" if value <= target else "over")
    figures.append({"name": name, "value": round(value, 4), "target": target, "unit": unit, "verdict": verdict})
    print("%-60s %10.*f %-6s%s" % (name, digits, value, unit,
                                   "  target %-8g %s" % (target, verdict) if target is not None else ""), flush=True)


def bench(function):
    benches.append(function)
    return function


# ---- (1) instructions of a call ---------------------------------------------------------------------

def instructions_each(what, n, env):
    """Of one turn of a loop: the difference between n and 2 n turns, so that the start cancels out."""
    return (instructions([LOOPS, what, 2 * n], env()) - instructions([LOOPS, what, n], env())) / n


@bench
def instructions_a_pair():
    n = 400000
    cases = [(what, label, kind, more) for what in ("pair", "calloc")
             for label, kind, more in (("bare", "bare", {}), ("pass-through", "pass", {}), ("shim", "shim", {}),
                                       ("shim, nothing sampled", "shim", {"PPROF_HEAP_RATE": NEVER}),
                                       ("shim, disabled", "shim", {"DISABLE_PPROF": "1"}))]
    found = dict(zip([(c[0], c[1]) for c in cases],
                     each(cases, lambda c: instructions_each(c[0], n, lambda: environment(c[2], **c[3])))))
    for what, name, targets in (("pair", "malloc(64)+free", {"pass-through": 7, "shim": 9}),
                                ("calloc", "calloc(1,64)+free", {"shim": 12})):
        bare = found[what, "bare"]
        figure(name + ", bare", bare, unit="instr")
        for label in ("pass-through", "shim, nothing sampled", "shim", "shim, disabled"):
            figure("%s, %s adds" % (name, label), found[what, label] - bare, targets.get(label), "instr")


@bench
def instructions_of_idle_hooks():
    for name, bare, ours, limit in idle.measure():
        figure(name + ", idle, adds", ours - bare, limit, "instr")


# ---- (2) instructions of whole runs -------------------------------------------------------------------

PERL = r'''my %h; for my $i (1 .. 45000) { $h{"key $i"} = [ $i, "v" x ($i % 50) ]; } my $s = 0;
for my $k (sort keys %h) { $s += $h{$k}[0] * length $h{$k}[1]; } print "$s\n";'''
LUA = '''local t = {} for i = 1, 30000 do t[i] = { i, ("s"):rep(i % 40) .. (i * 7919 % 100003) } end
table.sort(t, function(a, b) return a[2] < b[2] end)
local s = 0 for i, v in ipairs(t) do s = s + i * #v[2] end print(s)'''
SQL = '''create table t(a integer primary key, b text, c blob);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 35000)
insert into t select i, 'row number ' || i, zeroblob(60) from n;
create index x on t(b); select count(*), sum(length(b)) from t where b like '%9%';
select substr(b, -2), count(*) from t group by 1 order by 2 desc limit 3;'''


def workloads():
    rows = ",".join('{"id":%d,"name":"name %d","tags":["a%d","b"]}' % (i, i, i % 97) for i in range(7000))
    path = os.path.join(scratch, "rows.json")
    with open(path, "w") as f:
        f.write("[%s]\n" % rows)
    return {
        "jq": [tool("jq"), "-c", "group_by(.tags[0]) | map({(.[0].tags[0]): (map(.id) | add)}) | add", path],
        "perl": [tool("perl"), "-e", PERL],
        "lua": [tool("lua5.4"), "-e", LUA],
        "sqlite3": [tool("sqlite3"), "-batch", ":memory:", SQL],
    }


@bench
def instructions_of_whole_runs():
    work = workloads()
    cases = [(name, kind) for name in work for kind in ("bare", "pass", "shim")]
    found = dict(zip(cases, each(cases, lambda c: instructions(work[c[0]], environment(c[1])))))
    for name in work:
        figure(name + ", bare", found[name, "bare"] / 1e6, unit="Minstr", digits=1)
        figure(name + ", pass-through / bare", found[name, "pass"] / found[name, "bare"], digits=4)
        figure(name + ", shim / bare", found[name, "shim"] / found[name, "bare"], 1.015, digits=4)


# ---- (3) CPU time ---------------------------------------------------------------------------------------

def cpu_time(name, argv, rounds):
    rows = in_turn(["bare", "pass", "shim"], rounds, lambda kind: cpu_ns([LOOPS] + argv, environment(kind)))
    figure(name + ", bare", statistics.median(r["bare"] for r in rows) / 1e6, unit="ms", digits=1)
    figure(name + ", pass-through / bare", median_ratio(rows, "pass", "bare"), digits=3)
    figure(name + ", shim / pass-through", median_ratio(rows, "shim", "pass"), 1.10, digits=3)


@bench
def cpu_of_malloc_and_free():
    cpu_time("CPU malloc(64)+free", ["pair", 12000000], 15)


@bench
def cpu_of_a_working_set_small():
    cpu_time("CPU 100k blocks of 16 to 1024 B, 1 thread", ["set", 100000, 520, 3000000, 1], 11)
    cpu_time("CPU 100k blocks of 16 to 1024 B, 4 threads", ["set", 25000, 520, 1000000, 4], 11)


@bench
def cpu_of_a_working_set_large():
    # 25k blocks, not 100k: these are 256 MB already.
    cpu_time("CPU 25k blocks, 10 KiB on average, 1 thread", ["set", 25000, 10240, 1000000, 1], 11)
    cpu_time("CPU 25k blocks, 10 KiB on average, 4 threads", ["set", 6250, 10240, 300000, 4], 11)


def redis_cpu_ns(kind):
    port = free_port()
    folder = tempfile.mkdtemp(dir=scratch)
    argv = [tool("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
            "--dir", folder, "--logfile", os.path.join(folder, "log")]
    pid = os.posix_spawn(argv[0], argv, environment(kind))
    try:
        wait_port(port)
        subprocess.run(
            [
                tool("redis-benchmark"), "-h", "127.0.0.1", "-p", str(port), "-n", "150000", "-c", "20", "-P", "8",
                "-r", "50000", "-d", "200", "-t", "set,get,lpush,lpop", "-q",
            ],
            env=environment("bare"),
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=300,
        )
    finally:
        os.kill(pid, signal.SIGTERM)
        _, status, usage = os.wait4(pid, 0)
    return (usage.ru_utime + usage.ru_stime) * 1e9


@bench
def cpu_of_redis():
    rows = in_turn(["bare", "pass", "shim"], 9, redis_cpu_ns)
    figure("CPU redis-server, bare", statistics.median(r["bare"] for r in rows) / 1e6, unit="ms", digits=1)
    figure("CPU redis-server, pass-through / bare", median_ratio(rows, "pass", "bare"), digits=3)
    figure("CPU redis-server, shim / pass-through", median_ratio(rows, "shim", "pass"), 1.10, digits=3)


# ---- (4) one sample ---------------------------------------------------------------------------------------

def said(argv, env, word):
    out = subprocess.run([str(a) for a in argv], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                         timeout=600, check=True).stdout
    return float(re.search(r"^%s (\S+)" % word, out, re.M).group(1))


@bench
def one_sample():
    for size in (64, 10240):
        rows = in_turn(["0", "1"], 9, lambda rate: said([LOOPS, "deep", 32, 200000, size],
                                                        environment("shim", PPROF_HEAP_RATE=rate), "ns_each"))
        figure("a sampled malloc(%d)+free, 32 frames" % size, statistics.median(r["1"] - r["0"] for r in rows),
               1000 if size == 64 else None, "ns", 0)


# ---- (5) memory --------------------------------------------------------------------------------------------

def memory_kb(pid):
    with open("/proc/%d/smaps_rollup" % pid) as f:
        rows = dict(re.findall(r"^(\w+): +(\d+) kB", f.read(), re.M))
    return {k: int(rows[k]) for k in ("Rss", "Pss")}


@bench
def resident_memory():
    found = {"Rss": [], "Pss": []}
    after = []
    for _ in range(5):
        kb = {}
        for kind in ("bare", "shim"):
            env = environment(kind)
            with running([LOOPS, "idle"], env, "ready") as p:
                if kind == "shim":
                    port = int(env["PPROF_ADDR"].rsplit(":", 1)[1])
                    wait_port(port)
                time.sleep(0.2)
                kb[kind] = memory_kb(p.pid)
                if kind == "shim":
                    for _ in range(5):
                        with contextlib.closing(socket.create_connection(("127.0.0.1", port), 30)) as s:
                            s.sendall(b"GET /debug/pprof/heap HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                            while s.recv(65536):
                                pass
                    kb["after"] = memory_kb(p.pid)
        for k in found:
            found[k].append(kb["shim"][k] - kb["bare"][k])
        after.append(kb["after"]["Rss"] - kb["bare"]["Rss"])
    figure("resident memory of an idle program, Rss +", statistics.median(found["Rss"]), 1024, "KiB", 0)
    figure("resident memory of an idle program, Pss +", statistics.median(found["Pss"]), 1024, "KiB", 0)
    figure("the same after 5 heap profiles, Rss +", statistics.median(after), None, "KiB", 0)


# ---- (6) start, fork -----------------------------------------------------------------------------------------

@bench
def start_behind_a_front_process():
    def children_of_a_front(kind):
        return said([LOOPS, "spawn", 150, "/bin/true"], environment(kind), "cpu_ns") / 150

    rows = in_turn(["bare", "pass", "shim"], 15, children_of_a_front)
    figure("start of /bin/true, bare", statistics.median(r["bare"] for r in rows) / 1e3, unit="us", digits=0)
    figure("start of /bin/true, pass-through / bare", median_ratio(rows, "pass", "bare"), digits=3)
    figure("start of /bin/true, child of a front / bare", median_ratio(rows, "shim", "bare"), 1.3, digits=3)

    # A stranger to the front process, and one that takes the port itself: both start a listener.
    env = {"bare": environment("bare"), "shim": environment("shim")}
    with running([LOOPS, "idle"], env["shim"], "ready"):
        wait_port(int(env["shim"]["PPROF_ADDR"].rsplit(":", 1)[1]))
        rows = in_turn(["bare", "shim"], 8, lambda kind: sum(cpu_ns(["/bin/true"], env[kind]) for _ in range(40)))
    figure("start of /bin/true beside a front / bare", median_ratio(rows, "shim", "bare"), digits=3)
    rows = in_turn(["bare", "shim"], 8, lambda kind: sum(cpu_ns(["/bin/true"], environment(kind)) for _ in range(40)))
    figure("start of /bin/true as the front / bare", median_ratio(rows, "shim", "bare"), digits=3)


@bench
def fork_and_wait():
    rows = in_turn(["bare", "pass", "shim"], 11,
                   lambda kind: said([LOOPS, "fork", 400], environment(kind), "cpu_ns") / 400)
    figure("fork + wait, bare", statistics.median(r["bare"] for r in rows) / 1e3, unit="us", digits=0)
    figure("fork + wait, pass-through / bare", median_ratio(rows, "pass", "bare"), digits=3)
    figure("fork + wait in a front process / bare", median_ratio(rows, "shim", "bare"), 1.2, digits=3)


# ---- (7) turned off --------------------------------------------------------------------------------------------

@bench
def disabled():
    with running([LOOPS, "idle"], environment("shim", DISABLE_PPROF="1"), "ready") as p:
        time.sleep(0.2)
        figure("threads with DISABLE_PPROF=1", len(os.listdir("/proc/%d/task" % p.pid)), 1, digits=0)
        names = []
        for fd in os.listdir("/proc/%d/fd" % p.pid):
            with contextlib.suppress(OSError):
                names.append(os.readlink("/proc/%d/fd/%s" % (p.pid, fd)))
        figure("sockets with DISABLE_PPROF=1", sum(n.startswith("socket:") for n in names), 0, digits=0)
    rows = in_turn(["bare", "shim"], 11, lambda kind: cpu_ns([LOOPS, "pair", 8000000],
                                                             environment(kind, DISABLE_PPROF="1")))
    figure("CPU malloc(64)+free, disabled / bare", median_ratio(rows, "shim", "bare"), digits=3)


# ---- (8) calls that may block -----------------------------------------------------------------------------------

@bench
def cost_of_a_wrapped_call():
    for what, name, n in (
        ("poll", "poll of a ready pipe", 2000000),
        ("poll0", "poll with time-out 0", 2000000),
        ("transfer", "read or write of one byte", 1500000),
        ("sem", "sem_post or sem_wait", 20000000),
        ("cond", "pthread_cond_timedwait, over", 3000000),
        ("mutex", "pthread_mutex_lock or unlock", 20000000),
    ):
        rows = in_turn(["bare", "shim"], 9, lambda kind: said([LOOPS, what, n, 1], environment(kind), "ns_each"))
        figure(name + ", bare", statistics.median(r["bare"] for r in rows), unit="ns", digits=1)
        figure(name + ", shim adds", statistics.median(r["shim"] - r["bare"] for r in rows), 10, "ns", 1)


@bench
def instructions_of_a_wrapped_call():
    for what, name, n in (("mutex", "pthread_mutex_lock+unlock", 200000), ("sem", "sem_post+sem_wait", 200000),
                          ("poll", "poll", 50000), ("transfer", "write+read", 50000)):
        found = dict(zip(("bare", "shim"), each(("bare", "shim"), lambda kind: instructions_each(
            what, n, lambda: environment(kind)))))
        figure(name + ", bare", found["bare"], unit="instr")
        figure(name + ", shim adds", found["shim"] - found["bare"], unit="instr")


@bench
def cpu_of_a_poll_loop():
    for what, name in (("poll", "a loop of poll, ready"), ("poll0", "a loop of poll, time-out 0")):
        rows = in_turn(["bare", "shim"], 15, lambda kind: cpu_ns([LOOPS, what, 3000000], environment(kind)))
        figure("CPU %s, shim / bare" % name, median_ratio(rows, "shim", "bare"), 1.02, digits=3)


@bench
def cpu_of_condition_ping_pong():
    rows = in_turn(["bare", "shim"], 15, lambda kind: cpu_ns([LOOPS, "pingpong", 200000], environment(kind)))
    figure("CPU of ping-pong by pthread_cond, bare", statistics.median(r["bare"] for r in rows) / 400000, unit="ns")
    figure("CPU of ping-pong by pthread_cond, shim / bare", median_ratio(rows, "shim", "bare"), 1.02, digits=3)


# ---- (9) the CPU profile ------------------------------------------------------------------------------------------

def fetch(port, path, timeout=120):
    """The whole answer to a GET, as bytes."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout)) as s:
        s.sendall(("GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path).encode())
        parts = []
        while True:
            part = s.recv(1 << 20)
            if not part:
                break
            parts.append(part)
    answer = b"".join(parts)
    if b" 200 " not in answer.split(b"\r\n")[0]:
        raise RuntimeError("%s: %r" % (path, answer[:200]))
    return answer


def port_of(env):
    return int(env["PPROF_ADDR"].rsplit(":", 1)[1])


@contextlib.contextmanager
def profiled(env, wanted):
    """A CPU profile at 100 Hz that is under way as long as the block, or the program, lasts."""
    s = None
    try:
        if wanted:
            wait_port(port_of(env))
            s = socket.create_connection(("127.0.0.1", port_of(env)), 30)
            s.sendall(b"GET /debug/pprof/profile?seconds=250&hz=100 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield
        if s:
            s.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                answer = s.recv(400)
                if answer:
                    raise RuntimeError("the profile ended: %r" % answer[:200])
    finally:
        if s:
            s.close()


def profiled_cpu_ns(argv, wanted, load=None):
    """CPU time of a process under the shim, profiled or not; load() is what it works for, or else it ends itself."""
    env = environment("shim")
    null = os.open(os.devnull, os.O_RDWR)
    try:
        pid = os.posix_spawn(argv[0], [str(a) for a in argv], env,
                             file_actions=[(os.POSIX_SPAWN_DUP2, null, fd) for fd in range(3)])
    finally:
        os.close(null)
    with profiled(env, wanted):
        if load:
            load()
            os.kill(pid, signal.SIGTERM)
        _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError("%s: status %d" % (argv, status))
    return (usage.ru_utime + usage.ru_stime) * 1e9


@bench
def cpu_profile_of_redis():
    def measure(kind):
        port = free_port()
        folder = tempfile.mkdtemp(dir=scratch)
        argv = [tool("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                "--dir", folder, "--logfile", os.path.join(folder, "log")]

        def load():
            wait_port(port)
            subprocess.run(
                [
                    tool("redis-benchmark"), "-h", "127.0.0.1", "-p", str(port), "-n", "300000", "-c", "20", "-P",
                    "8", "-r", "50000", "-d", "200", "-t", "set,get,lpush,lpop", "-q",
                ],
                env=environment("bare"),
                stdout=subprocess.DEVNULL,
                check=True,
                timeout=300,
            )
        return profiled_cpu_ns(argv, kind == "profiled", load)
    rows = in_turn(["idle", "profiled"], 13, measure)
    figure("CPU redis-server, shim", statistics.median(r["idle"] for r in rows) / 1e6, unit="ms", digits=1)
    figure("CPU redis-server, profiled at 100 Hz / not", median_ratio(rows, "profiled", "idle"), 1.01, digits=3)


@bench
def cpu_profile_of_xz():
    path = os.path.join(scratch, "text")
    with open(path, "w") as f:
        for i in range(500000):
            f.write("line %d of %d, %x\n" % (i, i * 7919 % 100003, i * 2654435761 % 4294967296))
    argv = [tool("xz"), "-T2", "-4", "--block-size=2MiB", "-k", "-c", path]
    rows = in_turn(["idle", "profiled"], 11, lambda kind: profiled_cpu_ns(argv, kind == "profiled"))
    figure("CPU xz -T2, shim", statistics.median(r["idle"] for r in rows) / 1e6, unit="ms", digits=1)
    figure("CPU xz -T2, profiled at 100 Hz / not", median_ratio(rows, "profiled", "idle"), 1.01, digits=3)


# ---- (10) the dump of all threads ------------------------------------------------------------------------------------

@bench
def dump_of_a_thousand_threads():
    """How long it takes, and for how long a running thread stands still meanwhile (the program's own clock; what it
    does in as long a time without a dump is taken off)."""
    env = environment("shim")
    with running([LOOPS, "watch", 1000], env, "ready") as p:
        def gap_ns():
            p.stdin.write(b"\n")
            p.stdin.flush()
            return int(p.stdout.readline().split()[1])
        wait_port(port_of(env))
        time.sleep(0.5)
        seconds, alone, dumped = [], [], []
        for _ in range(15 if not options.quick else 5):
            gap_ns()
            began = time.monotonic()
            answer = fetch(port_of(env), "/debug/pprof/goroutine?debug=2")
            seconds.append(time.monotonic() - began)
            dumped.append(gap_ns())
            if answer.count(b"\ngoroutine ") < 1000:
                raise RuntimeError("fewer than 1000 threads in the dump")
            time.sleep(seconds[-1])
            alone.append(gap_ns())
        figure("dump of 1000 threads", statistics.median(seconds), 1, "s", 3)
        figure("a running thread stands still, without a dump", statistics.median(alone) / 1000, unit="us", digits=1)
        figure("a running thread stands still in a dump, longest, adds",
               max(0, statistics.median(dumped) - statistics.median(alone)) / 1000, 100, "us", 1)


# ---- (11) locks ------------------------------------------------------------------------------------------------------

@bench
def instructions_of_free_locks():
    cases = [
        (what, kind) for what in ("mutex", "recursive", "rdlock", "wrlock") for kind in ("bare", "shim", "off", "every")
    ]
    more = {
        "off": {"PPROF_BLOCK_RATE": "0", "PPROF_MUTEX_FRACTION": "0"},
        "every": {"PPROF_BLOCK_RATE": "1", "PPROF_MUTEX_FRACTION": "1"},
    }
    found = dict(zip(cases, each(cases, lambda c: instructions_each(
        c[0], 200000, lambda: environment("bare" if c[1] == "bare" else "shim", **more.get(c[1], {}))))))
    for what, name in (("mutex", "pthread_mutex_lock+unlock"), ("recursive", "the same, recursive"),
                       ("rdlock", "pthread_rwlock_rdlock+unlock"), ("wrlock", "pthread_rwlock_wrlock+unlock")):
        bare = found[what, "bare"]
        figure(name + ", free, bare", bare, unit="instr")
        figure(name + ", free, shim adds", found[what, "shim"] - bare, 7, "instr")
        figure(name + ", free, every event kept, adds", found[what, "every"] - bare, unit="instr")
        figure(name + ", free, both switched off, adds", found[what, "off"] - bare, unit="instr")


@bench
def time_of_contended_locks():
    every = {"PPROF_BLOCK_RATE": "1", "PPROF_MUTEX_FRACTION": "1"}
    for argv, name in ((["contend", 4, 1000000], "4 threads on one mutex"),
                       (["readers", 4, 300000], "3 readers and a writer")):
        rows = in_turn(
            ["bare", "shim", "every"],
            15,
            lambda kind: said(
                [LOOPS] + argv,
                environment("bare" if kind == "bare" else "shim", **(every if kind == "every" else {})),
                "wall_ns",
            ),
        )
        figure(name + ", bare", statistics.median(r["bare"] for r in rows) / 1e6, unit="ms", digits=1)
        figure(name + ", shim / bare", median_ratio(rows, "shim", "bare"), 1.05, digits=3)
        figure(name + ", every event kept / bare", median_ratio(rows, "every", "bare"), digits=3)


@contextlib.contextmanager
def traced(env):
    """Traces one after another, as long as the block lasts."""
    wait_port(port_of(env))
    code = ("import sys, urllib.request\nwhile True:\n"
            "    urllib.request.urlopen('http://127.0.0.1:%s/debug/pprof/trace?seconds=10' % sys.argv[1]).read()")
    p = subprocess.Popen(
        [sys.executable, "-c", code, str(port_of(env))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(0.3)
        yield
        if p.poll() is not None:
            raise RuntimeError("the trace could not be had")
    finally:
        p.kill()
        p.wait()


def memcached_ns(kind):
    """How long a fixed number of gets and sets of a few hot keys takes, by four connections."""
    port = free_port()
    argv = [tool("memcached"), "-p", str(port), "-U", "0", "-l", "127.0.0.1", "-m", "64", "-t", "4"]
    if os.geteuid() == 0:
        argv += ["-u", "root"]
    env = environment("bare" if kind == "bare" else "shim")
    load = [os.path.join(BUILD, "programs", "contention_load"), port, 4, 160000, 64]
    pid = os.posix_spawn(argv[0], argv, env)
    try:
        wait_port(port)
        said(load[:3] + [16000, 64], environment("bare"), "ns")
        with traced(env) if kind == "traced" else contextlib.nullcontext():
            return said(load, environment("bare"), "ns")
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


@bench
def throughput_of_memcached():
    rows = in_turn(["bare", "shim", "traced"], 21, memcached_ns)
    figure("memcached, 640k operations, bare", statistics.median(r["bare"] for r in rows) / 1e6, unit="ms", digits=0)
    # A throughput of 0.99 is a time of 1.01.
    figure("memcached, time, shim / bare", median_ratio(rows, "shim", "bare"), 1.01, digits=3)
    figure("memcached, time, traced / bare", median_ratio(rows, "traced", "bare"), digits=3)


# ---- (12) names ------------------------------------------------------------------------------------------------------

@bench
def time_to_name_stacks():
    """From the request to the last byte: the first profile of a program (its helper reads the debug information), and
    the next one (names are known)."""
    cold, warm, bare = [], [], []
    for _ in range(9 if not options.quick else 3):
        for helper, to in (("", cold), ("off", bare)):
            env = environment("shim", PPROF_HEAP_RATE="1", PPROF_SYMBOLIZER=helper)
            with running([STACKS], env, "ready"):
                wait_port(port_of(env))
                began = time.monotonic()
                fetch(port_of(env), "/debug/pprof/heap")
                to.append(time.monotonic() - began)
                if helper == "":
                    began = time.monotonic()
                    fetch(port_of(env), "/debug/pprof/heap")
                    warm.append(time.monotonic() - began)
    figure("heap of 4900 stacks, request to last byte, cold", statistics.median(cold), unit="s", digits=3)
    figure("heap of 4900 stacks, request to last byte, warm", statistics.median(warm), unit="s", digits=3)
    figure("heap of 4900 stacks, without the helper, cold", statistics.median(bare), unit="s", digits=3)


def main():
    global options, scratch
    parser = argparse.ArgumentParser(description="what the shim costs")
    parser.add_argument("-k", action="append", metavar="PATTERN", help="only benches whose name contains it")
    parser.add_argument("-j", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="callgrinds at once")
    parser.add_argument("-l", action="store_true", help="list the benches and end")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a measurement")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    chosen = [b for b in benches if not options.k or any(fnmatch.fnmatch(b.__name__, "*%s*" % k) for k in options.k)]
    if options.l:
        print("\n".join(b.__name__ for b in chosen))
        return 0
    build()
    if not os.path.exists(SHIM):
        print("bench: there is no build/libpprofshim.so: run make first", file=sys.stderr)
        return 1
    scratch = tempfile.mkdtemp(prefix="pprofshim-bench.")
    try:
        for b in chosen:
            try:
                b()
            except Exception as e:
                failures.append(b.__name__)
                print("%s could not run: %s" % (b.__name__, e), flush=True)
                if os.environ.get("V"):
                    traceback.print_exc()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if options.json:
        with open(options.json, "w") as f:
            json.dump(figures, f, indent=1)
            f.write("\n")
    over = [f["name"] for f in figures if f["verdict"] == "over"]
    print("%d figures, %d within their targets, %d over%s" % (
        len(figures), sum(f["verdict"] == "ok" for f in figures), len(over),
        ", %d benches could not run: %s" % (len(failures), ", ".join(failures)) if failures else ""))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
