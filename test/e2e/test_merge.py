# test_merge.py - pprofshim-symbolize merge: what it writes is what `go tool pprof -proto` writes of the same profiles,
# of real programs and of made-up ones; what cannot be read is named, and the rest comes.
#
# Runs in: the test runner; the programs, the helper and go are processes of their own.
#
# SPDX-License-Identifier: Apache-2.0
import collections
import gzip
import os
import random
import re
import socket
import subprocess
import threading

import shim
import symbolized

KINDS = ("heap", "profile?seconds=1", "goroutine", "block", "mutex", "threadcreate")

PYTHON = """
import sys, threading
lock, data = threading.Lock(), []
def work():
    for i in range(200000):
        with lock:
            data.append(bytes(1000 + i % 7))
            del data[:-500]
    while True:
        sum(range(1000))
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""


def merge(paths, *options, status=0, deadline_s=120, **more):
    """The bytes that `pprofshim-symbolize merge OPTIONS PATHS` writes, and what it says."""
    r = subprocess.run([symbolized.HELPER, "merge", *options, *paths], capture_output=True, timeout=deadline_s,
                       env=shim.bare_env(), **{"stdin": subprocess.DEVNULL, **more})
    if r.returncode != status:
        raise AssertionError("status %d: %s" % (r.returncode, r.stderr[-500:]))
    return r.stdout, r.stderr.decode()


def by_go(go, paths):
    """The profile that go makes of these: merged, and without the frames that drop_frames names."""
    out = os.path.join(shim.scratch("merged"), "go.pb.gz")
    shim.pprof(go, "-proto", "-symbolize=none", "-output=" + out, *paths)
    with open(out, "rb") as f:
        return shim.Profile(f.read())


def samples(profile):
    """{(stack, labels): values}, whatever the order and the numbers are."""
    found = collections.Counter()
    for s in profile.samples:
        stack = tuple((l.mapping and (l.mapping.file, l.mapping.build_id), l.address, l.is_folded,
                       tuple((f.name, f.system_name, f.filename, f.start_line, n) for f, n in l.lines))
                      for l in s.locations)
        labels = tuple(sorted((k, tuple(v)) for k, v in s.labels.items()))
        for i, v in enumerate(s.values):
            found[stack, labels, i] += v
    return found


def functions(profile):
    """{(function, value): (flat, cum)}."""
    flat, cum = collections.Counter(), collections.Counter()
    for s in profile.samples:
        for i, v in enumerate(s.values):
            if s.names:
                flat[s.names[0], i] += v
            for n in set(s.names):
                cum[n, i] += v
    return {k: (flat[k], cum[k]) for k in cum}


class Compared(shim.TestCase):

    def compare(self, paths):
        merged, said = merge(paths)
        self.assertEqual("", said)
        own = shim.Profile(merged)
        saved = shim.save(merged)
        for version, go in shim.gos():
            with self.subTest(go=version):
                want, have = by_go(go, paths), by_go(go, [saved])
                self.assertEqual(functions(want), functions(have))
                self.assertEqual(samples(want), samples(have))
                self.assertEqual([(m.file, m.build_id, m.start, m.offset) for m in want.mappings],
                                 [(m.file, m.build_id, m.start, m.offset) for m in have.mappings])
                for key in ("sample_types", "period_type", "period", "time_nanos", "duration_nanos", "drop_frames",
                            "keep_frames", "default_sample_type", "comments"):
                    self.assertEqual(getattr(want, key), getattr(have, key), key)
        return own


# ---- real programs ---------------------------------------------------------------------------------------------

class Real(Compared):

    @staticmethod
    def take():
        folder = shim.scratch("real")
        found = collections.defaultdict(list)

        def fetch(port, name):
            for kind in KINDS:
                answer = shim.get(port, "/debug/pprof/" + kind)
                if answer.status != 200:
                    raise AssertionError("%s of %s: %r" % (kind, name, answer.body))
                path = os.path.join(folder, name + "." + kind.split("?")[0])
                with open(path, "wb") as f:
                    f.write(answer.body)
                found[kind.split("?")[0]].append(path)

        env = {"PPROF_BLOCK_RATE": "1", "PPROF_MUTEX_FRACTION": "1"}
        port = shim.free_port()
        with shim.start([shim.tool("redis-server"), "--port", port, "--save", ""], rate=4096, env=env) as p:
            shim.wait_until("redis", lambda: shim.port_answers(port))
            with socket.create_connection(("127.0.0.1", port)) as s:
                s.sendall(b"".join(b"SET key%d %s\r\n" % (i, b"x" * (i % 900 + 1)) for i in range(5000)))
                s.sendall(b"QUIT\r\n")
                while s.recv(65536):
                    pass
            fetch(p.port, "redis")
        with shim.start(["/usr/bin/python3", "-c", PYTHON], rate=65536, env=env) as p:
            p.wait_line("ready")
            fetch(p.port, "python")
        port = shim.free_port()
        with shim.start([shim.tool("memcached"), "-u", "root", "-p", port, "-l", "127.0.0.1", "-t", 4],
                        rate=4096, env=env) as p:
            shim.wait_until("memcached", lambda: shim.port_answers(port))
            fetch(p.port, "memcached")
        return found

    taken = symbolized.Once(lambda: Real.take())

    def check(self, kind, empty=False):
        own = self.compare(Real.taken()[kind])
        if not empty:
            self.assertTrue(own.samples, "the test itself: nothing is compared with nothing")
        return own

    def test_heap(self):
        own = self.check("heap")
        self.assertEqual("inuse_space", own.default_sample_type)

    def test_cpu(self):
        self.check("profile")

    def test_goroutine(self):
        self.check("goroutine")

    def test_block(self):
        self.check("block")

    def test_mutex(self):
        self.check("mutex", empty=True)

    def test_threadcreate(self):
        self.check("threadcreate")

    def test_labels_show_the_pod(self):
        paths = Real.taken()["heap"]
        names = [("redis-server", "11"), ("python3", "12"), ("memcached", "12")]
        args = [x for (name, pid), path in zip(names, paths)
                for x in ("--label", "process=" + name, "--label", "pid=" + pid, path)]
        merged, said = merge([], *args)
        self.assertEqual("", said)
        own = shim.Profile(merged)
        for (name, pid), path in zip(names, paths):
            its = own.sums(lambda s, name=name, pid=pid: (s.labels["process"], s.labels["pid"]) == ([name], [pid]))
            single = shim.Profile(open(path, "rb").read())
            self.assertEqual(single.sums(lambda s: True), its, name)
        version, go = shim.gos()[-1]
        top = shim.top(go, shim.save(merged), "-tagroot=process,pid", "-unit=B", "-sample_index=alloc_space")
        for i, (name, _) in enumerate(names):
            single = shim.Profile(open(paths[i], "rb").read())
            self.assertAlmostEqual(single.total("alloc_space"), top.rows[name][1], delta=1, msg=name)


# ---- made-up profiles ------------------------------------------------------------------------------------------

class Made:
    """A profile that is made up, with a string table in an order of its own."""

    def __init__(self, r):
        self.r, self.texts, self.out = r, {"": 0}, bytearray()

    def text(self, s):
        return self.texts.setdefault(s, len(self.texts))

    def put(self, number, *fields):
        self.out += symbolized._put(number, b"".join(symbolized._put(n, v & (1 << 64) - 1) if isinstance(v, int)
                                                     else symbolized._put(n, v) for n, v in fields))

    def bytes(self):
        strings = b"".join(symbolized._put(6, s.encode()) for s in self.texts)
        return gzip.compress(bytes(self.out) + strings)

    def head(self):
        r = self.r
        for kind, unit in (("samples", "count"), ("cpu", "nanoseconds")):
            self.put(1, (1, self.text(kind)), (2, self.text(unit)))
        self.put(11, (1, self.text("cpu")), (2, self.text("nanoseconds")))
        for number, value in ((7, self.text("malloc|calloc")), (9, r.randrange(1, 1 << 60)),
                              (10, r.randrange(1 << 40)), (12, r.randrange(1, 1 << 30)),
                              (13, self.text("comment %d" % r.randrange(3))),
                              (13, self.text("a comment of all")), (14, self.text("cpu"))):
            self.out += symbolized._put(number, value)

    def body(self, samples_count):
        """The same program each time, elsewhere in memory, and with ids of its own."""
        r = self.r
        ids = [r.sample(range(1, 10 ** 6), n) for n in (5, 9, 20)]
        starts = [0x1000 * r.randrange(1, 1 << 30) * 1000 for _ in range(5)]
        # two with a build id, one with a file, one with nothing, one with a size that is not whole
        shapes = [("/app", "aa11", 0x10000, 0), ("/lib/libc.so.6", "cc33", 0x20000, 0x1000), ("[vdso]", "", 0x1000, 0),
                  ("", "", 0x3000, 0), ("/lib/libc.so.6", "cc33", 0x4000 - r.randrange(0xfff), 0x30000)]
        for i, (file, build_id, size, offset) in enumerate(shapes):
            self.put(3, (1, ids[0][i]), (2, starts[i]), (3, starts[i] + size), (4, offset), (5, self.text(file)),
                     (6, self.text(build_id)), (7, 1))
        for i in range(9):
            name = "f%d" % (i // 2)  # of two functions of one name, one is in another file, or begins elsewhere
            self.put(5, (1, ids[1][i]), (2, self.text(name)), (3, self.text("_Z" + name)),
                     (4, self.text("/src/%s.c" % (i % 2 and "a" or "b"))), (5, 10 + (i == 8)))
        for i in range(20):
            lines = [(4, symbolized._put(1, ids[1][(i + k) % 9]) + symbolized._put(2, 3 + i % 3))
                     for k in range(1 + i % 4 // 2)]
            m = i % 6
            at = [(2, ids[0][m])] if m < 5 else []
            address = (starts[m] if m < 5 else 0) + 0x10 * (i // 2)
            self.put(4, (1, ids[2][i]), *at, (3, address), *lines, (5, i % 10 == 9))
        for _ in range(samples_count):
            self.sample(ids[2])

    def sample(self, locations):
        r = self.r
        stack = b"".join(symbolized._put_varint(r.choice(locations)) for _ in range(r.randrange(1, 4)))
        values = b"".join(symbolized._put_varint(v & (1 << 64) - 1)
                          for v in r.choice(((1, 10), (2, -5), (-1, -10), (0, 0), (1 << 62, 1 << 63))))
        labels = []
        for _ in range(r.randrange(4)):
            key = (1, self.text("key%d" % r.randrange(3)))
            value = r.choice([[(2, self.text("a"))], [(2, self.text("b"))], [(3, 7)], [(3, 7), (4, self.text("bytes"))],
                              [(3, 0), (4, self.text("bytes"))], [(3, 0)], [(3, (1 << 64) - 1)]])
            labels.append((3, b"".join(symbolized._put(n, v) for n, v in [key] + value)))
        self.put(2, (1, stack), (2, values), *labels)


def made(seed, count=300):
    m = Made(random.Random(seed))
    m.head()
    m.body(count)
    return m.bytes()


class MadeUp(Compared):

    def test_profiles_of_one_program_at_other_addresses(self):
        for seed in range(0, 12, 3):
            with self.subTest(seed=seed):
                paths = [shim.save(made(seed + i), "made") for i in range(3)]
                own = self.compare(paths)
                self.assertEqual(5, len(own.mappings), "equal mappings are one")

    def test_one_profile_and_itself(self):
        path = shim.save(made(50))
        twice = self.compare([path, path])
        once = shim.Profile(merge([path])[0])
        # values of 64 bits that are too large wrap around, as Go's do
        self.assertEqual({k: (2 * v + (1 << 63)) % (1 << 64) - (1 << 63) for k, v in samples(once).items()},
                         samples(twice))
        again = shim.Profile(merge([shim.save(merge([path])[0])])[0])
        self.assertEqual(samples(once), samples(again))

    def test_profiles_without_samples(self):
        empty, full = shim.save(made(60, 0)), shim.save(made(61))
        self.compare([empty, full])
        self.compare([empty, empty])

    def test_what_cancels_out_leaves_nothing(self):
        body = made(70)
        negative = bytearray()
        for n, v in shim._fields(gzip.decompress(body)):
            if n == 2:
                v = b"".join(symbolized._put(k, x if k != 2 else b"".join(
                    symbolized._put_varint(-shim._signed(y) & (1 << 64) - 1) for y in unpacked(x)))
                    for k, x in shim._fields(v))
            negative += symbolized._put(n, v)
        paths = [shim.save(body), shim.save(gzip.compress(bytes(negative)))]
        own = self.compare(paths)
        self.assertTrue(shim.Profile(merge(paths[:1])[0]).samples)
        self.assertEqual([], own.samples)
        self.assertEqual([], own.functions)


def unpacked(data):
    found = []
    shim._repeated(found, data)
    return found


# ---- what cannot be merged ---------------------------------------------------------------------------------------

class LeftOut(shim.TestCase):

    def setUp(self):
        self.good = shim.save(made(1))
        self.alone = samples(shim.Profile(merge([self.good])[0]))

    def check(self, args, words, **more):
        merged, said = merge(args, **more)
        own = shim.Profile(merged)
        notes = [c for c in own.comments if re.search(words, c)]
        self.assertEqual(1, len(notes), own.comments)
        self.assertIn(notes[0], said)
        return own

    def test_a_file_that_is_no_profile_is_named_and_the_rest_comes(self):
        good = open(self.good, "rb").read()
        for what, data in (("noise", os.urandom(3000)), ("empty", b""), ("cut", good[:len(good) // 2]),
                           ("text", b"heap profile: 1: 2 [3: 4] @ heap/5\n"), ("gzip of noise", gzip.compress(b"x"))):
            with self.subTest(what):
                bad = shim.save(data, "bad")
                own = self.check([bad, self.good], "bad.pb.gz is left out: ")
                self.assertEqual(self.alone, samples(own))
        self.check(["/nonexistent/x", self.good], "/nonexistent/x is left out: No such file or directory")
        self.check([self.good, "/tmp"], "/tmp is left out: Is a directory")

    def test_other_sample_types_are_named(self):
        m = Made(random.Random(3))
        m.put(1, (1, m.text("alloc_space")), (2, m.text("bytes")))
        other = shim.save(m.bytes())
        own = self.check(["-l", "process=nginx", "-l", "pid=1", self.good,
                          "-l", "process=nginx\x1b", "--label=pid=42", other],
                         r"^process 42 \(nginx\?\) is left out: its samples are of other types")
        self.assertEqual({("nginx",)}, {tuple(s.labels["process"]) for s in own.samples})

    def test_unsound_profiles_are_named(self):
        body = gzip.decompress(made(4))
        put = symbolized._put
        for what, wrong in (("location", put(2, put(1, 999999999) + put(2, b"\1\1"))),
                            ("more or fewer values", put(2, put(2, b"\1"))),
                            ("id", put(5, b"")),
                            ("refers to a string", put(13, 1 << 40)),
                            ("function", put(4, put(1, 7777777) + put(4, b"\x08\x63"))),
                            ("label", put(2, put(2, b"\1\1") + put(3, b"\x08\xff\xff\xff\x0f")))):
            with self.subTest(what):
                bad = shim.save(gzip.compress(body + wrong), "unsound")
                own = self.check([self.good, bad], "unsound.pb.gz is left out: .*" + what)
                self.assertEqual(self.alone, samples(own))

    def test_who_sends_no_more_is_named_and_the_rest_comes(self):
        ours, theirs = socket.socketpair()
        read_end, write_end = os.pipe()
        try:
            theirs.sendall(open(self.good, "rb").read()[:100])
            merged, said = merge(["-t", "1", "-l", "pid=42", "-l", "process=nginx", "/dev/fd/%d" % ours.fileno(),
                                  self.good, "--label", "pid=43", "/dev/fd/%d" % read_end],
                                 pass_fds=(ours.fileno(), read_end))
            own = shim.Profile(merged)
            self.assertEqual(self.alone, samples(own))
            self.assertEqual(["process 42 (nginx) did not answer in 1 s", "process 43 did not answer in 1 s"],
                             own.comments[-2:])
            self.assertEqual(own.comments[-2:], said.splitlines())
        finally:
            ours.close(), theirs.close(), os.close(read_end), os.close(write_end)

    def test_sockets_pipes_and_standard_input_are_read_at_once(self):
        body = open(self.good, "rb").read()
        pairs = [socket.socketpair() for _ in range(20)]

        def send():
            # the last one first: who waited for the first would never see its end
            for _, theirs in reversed(pairs):
                for i in range(0, len(body), 1000):
                    theirs.sendall(body[i:i + 1000])
                theirs.close()

        t = threading.Thread(target=send)
        t.start()
        fds = [ours.fileno() for ours, _ in pairs]
        merged, said = merge(["/dev/fd/%d" % fd for fd in fds] + ["-"], pass_fds=fds, stdin=open(self.good, "rb"))
        t.join()
        for ours, _ in pairs:
            ours.close()
        self.assertEqual("", said)
        self.assertEqual({k: (21 * v + (1 << 63)) % (1 << 64) - (1 << 63) for k, v in self.alone.items()},
                         {k: v for k, v in samples(shim.Profile(merged)).items()})

    def test_who_sends_more_than_its_share_is_left_out(self):
        small = ["-m", "32M"]
        bomb = shim.save(gzip.compress(gzip.decompress(made(5)) + symbolized._put(6, b"x" * 20_000_000)), "bomb")
        self.check([*small, bomb, self.good], "bomb.pb.gz is left out: it is larger than its share")
        read_end, write_end = os.pipe()

        def send():
            try:
                while True:
                    os.write(write_end, b"\x32\x01x" * 10000)
            except BrokenPipeError:
                pass

        t = threading.Thread(target=send)
        t.start()
        try:
            merged, said = merge([*small, "/dev/fd/%d" % read_end, self.good], pass_fds=(read_end,), close_fds=True)
        finally:
            os.close(read_end)
            t.join()
            os.close(write_end)
        self.assertIn("is left out: it is larger than its share", said)
        self.assertEqual(self.alone, samples(shim.Profile(merged)))

    def test_little_memory_loses_samples_and_counts_them(self):
        paths = [shim.save(made(100 + i, 20000)) for i in range(6)]
        merged, said = merge(["-m", "24M", *paths])
        own = shim.Profile(merged)
        lost = sum(int(m.group(1)) for m in re.finditer(r"there was no memory for (\d+) of its samples", said))
        self.assertTrue(lost or "no memory left" in said, said)
        self.assertTrue(own.samples)

    def test_nothing_to_merge_is_an_error(self):
        for args, words in (([], "profiles are wanted"), (["/nonexistent"], "No such file"),
                            (["-l", "x", self.good], "KEY=VALUE"), ([self.good, "-l", "a=b"], "no profile follows"),
                            (["-t", "-1", self.good], "a number"), (["-m", "1X", self.good], "a number"),
                            (["--nonsense", self.good], "no option"), (["-l"], "needs a value")):
            with self.subTest(args=args):
                out, said = merge(args, status=1)
                self.assertEqual(b"", out)
                self.assertIn(words, said)
        full = os.open("/dev/full", os.O_WRONLY)
        r = subprocess.run([symbolized.HELPER, "merge", self.good], stdout=full, stderr=subprocess.PIPE, timeout=60,
                           env=shim.bare_env(), stdin=subprocess.DEVNULL)
        os.close(full)
        self.assertEqual(1, r.returncode)
        self.assertIn(b"No space left", r.stderr)
