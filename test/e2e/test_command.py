# test_command.py - the command pprofshim: the rows of its tables are those of `go tool pprof -top`, number by number,
# of profiles of real programs and of made-up ones; what it says where it can't.
#
# Runs in: the test runner; the programs, the command and go are processes of their own.
#
# SPDX-License-Identifier: Apache-2.0
import collections
import gzip
import json
import os
import random
import re
import socket
import subprocess
import threading

import shim
import symbolized
import test_merge

COMMAND = os.path.join(shim.BUILD, "pprofshim")

ROW = re.compile(r" *(\S+) +(\S+%) +(\S+%) +(\S+) +(\S+%)  (.*)")


def command(*args, status=0, data=None, env=None, cwd=None):
    """What `pprofshim ARGS` writes: to stdout, or, where another status is wanted, to stderr."""
    r = subprocess.run([COMMAND, *map(str, args)], capture_output=True, timeout=shim.DEADLINE_S, cwd=cwd,
                       env=shim.bare_env(env), **({"input": data} if data else {"stdin": subprocess.DEVNULL}))
    if r.returncode != status:
        raise AssertionError("status %d for %d: %s" % (r.returncode, status, r.stderr[-500:]))
    return (r.stdout if status == 0 else r.stderr).decode()


def rows(text):
    """[(flat, flat%, sum%, cum, cum%, name)] of a table of pprof's or of ours, which has a place behind two spaces."""
    found = [m.groups() for m in map(ROW.fullmatch, text.splitlines()) if m]
    return [r[:-1] + (r[-1].split("  ")[0],) for r in found]


class Shop(test_merge.Made):
    """A made-up profile as a program would have it: values of any size, functions that call themselves, inlined ones,
    frames of an allocator, and locations of which nothing is known."""

    NAMES = ("main", "serve", "space::Box<int>::open", "space::(anonymous namespace)::work(int)", "malloc", "calloc",
             "parse", "", "operator()")

    def body(self, samples_count):
        r = self.r
        for i, (file, build_id) in enumerate((("/srv/app", "aa11"), ("/lib/libc.so.6", ""), ("", ""))):
            self.put(3, (1, i + 1), (2, 0x100000 * (i + 1)), (3, 0x100000 * (i + 1) + 0x9000), (5, self.text(file)),
                     (6, self.text(build_id)), (7, 1))
        for i, name in enumerate(self.NAMES):
            file = ("/src/a.c", "/src/./sub//../b.c", "", "lib/../../c.c")[i % 4]
            self.put(5, (1, i + 1), (2, self.text(name)), (3, self.text("s" + name)), (4, self.text(file)), (5, 9 * i))
        for i in range(40):
            lines = [] if i % 13 == 7 else [
                (4, symbolized._put(1, r.randrange(len(self.NAMES)) + 1) + symbolized._put(2, r.randrange(4)))
                for _ in range(r.choice((1, 1, 2, 3)))]
            at = [(2, 1 + i % 3)] if i % 7 else []
            self.put(4, (1, i + 1), *at, (3, 0x100000 * (1 + i % 3) + 16 * i), *lines)
        for _ in range(samples_count):
            stack = b"".join(symbolized._put_varint(r.randrange(1, 41)) for _ in range(r.randrange(1, 9)))
            value = int(10 ** r.uniform(0, 11)) * r.choice((1, 1, 1, 1, -1, 0))
            values = b"".join(symbolized._put_varint(v & (1 << 64) - 1) for v in (r.randrange(3), value))
            thread = symbolized._put(1, self.text("thread")) + symbolized._put(2, self.text(r.choice("ab")))
            self.put(2, (1, stack), (2, values), *([(3, thread)] if r.randrange(3) else []))


def shop(seed, count=200):
    m = Shop(random.Random(seed))
    m.head()
    m.body(count)
    return m.bytes()


def body_of(answer):
    return answer.body if answer.status == 200 else None


def take_profiles():
    """[(name, path, path of a later one of the same kind)]: ten kinds."""
    found = []

    def keep(name, now, later):
        found.append((name, shim.save(now, name), shim.save(later, name)))
    env = {"PPROF_BLOCK_RATE": "1", "PPROF_MUTEX_FRACTION": "1"}
    with shim.start([shim.program("demo"), 1000], rate=4096, env=env) as p:
        kinds = ("heap", "allocs", "profile?seconds=1", "block", "mutex", "threadcreate", "goroutine")
        for kind in kinds:
            now, later = (shim.wait_until(kind, lambda kind=kind: body_of(p.get("/debug/pprof/" + kind)))
                          for _ in range(2))
            keep(kind.split("?")[0], now, later)
    with shim.start([shim.program("heap_truth_cxx"), 200], rate=1) as p:
        p.wait_line("ready")
        body = p.get("/debug/pprof/heap").body
        keep("cxx", body, body)
    keep("shop", shop(1), shop(2))
    keep("sums", shop(3, 30), shop(4, 30))
    return found


class Table(shim.TestCase):

    taken = symbolized.Once(take_profiles)

    def compare(self, go, own_args, go_args, path):
        want, _ = shim.pprof(go, "-top", "-symbolize=none", *go_args, path)
        have = command("top", *own_args, path)
        self.assertEqual(rows(want), rows(have), want)
        return rows(have)

    def test_every_row_of_ten_profiles_is_that_of_go_tool_pprof(self):
        taken = Table.taken()
        self.assertEqual(10, len(taken))
        for name, path, _ in taken:
            for version, go in shim.gos():
                with self.subTest(profile=name, go=version):
                    self.compare(go, (), (), path)

    def test_every_row_with_focus_ignore_lines_and_order_is_that_of_go_tool_pprof(self):
        pattern = "work|parse|serve|(?:Worker|session)_?\\w+"
        ways = ((("--focus", pattern), ("-focus=" + pattern,)),
                (("--ignore", pattern, "--all"), ("-ignore=" + pattern, "-nodefraction=0")),
                (("--focus", "(?i)MAIN|lib", "--ignore", "b\\.c|\\d"), ("-focus=(?i)MAIN|lib", "-ignore=b\\.c|\\d")),
                (("--lines", "--all"), ("-lines", "-nodefraction=0")),
                (("--cum", "-n", 4), ("-cum", "-nodecount=4")),
                (("--type", 0, "-n", 9), ("-sample_index=0", "-nodecount=9")))
        _, go = shim.gos()[-1]
        lengths = collections.Counter()
        for name, path, _ in Table.taken():
            for own, gos in ways:
                with self.subTest(profile=name, way=own):
                    lengths[own] += len(self.compare(go, own, gos, path))
        self.assertTrue(all(lengths.values()), lengths)

    def test_every_row_of_a_difference_is_that_of_go_tool_pprof(self):
        _, go = shim.gos()[-1]
        for name, path, later in Table.taken():
            with self.subTest(profile=name):
                self.compare(go, ("--diff", path, "--all"), ("-diff_base=" + path, "-nodefraction=0"), later)

    def test_the_word_chooses_the_sample_type(self):
        path = next(path for name, path, _ in Table.taken() if name == "heap")
        for word, kind in (("heap", "inuse_space"), ("allocs", "alloc_space"), ("top", "inuse_space")):
            self.assertEqual(kind, json.loads(command(word, "--json", path))["type"])
        self.assertEqual("alloc_objects", json.loads(command("heap", "--json", "-t", "alloc_objects", path))["type"])
        said = command("cpu", path, status=1)
        self.assertIn("no samples of type cpu", said)
        self.assertIn("inuse_space", said)

    def test_rows_have_the_place_of_their_function(self):
        path = next(path for name, path, _ in Table.taken() if name == "cxx")
        found = re.search(r"  site_new_array  \S*/heap_truth_cxx\.cc:(\d+)$", command("heap", "--all", path), re.M)
        with open(os.path.join(shim.PROGRAMS, "heap_truth_cxx.cc")) as f:
            self.assertIn("site_new_array(", f.read().splitlines()[int(found.group(1)) - 1])


class Forms(shim.TestCase):

    def setUp(self):
        self.path = shim.save(shop(5))
        self.profile = shim.Profile(open(self.path, "rb").read())

    def test_json_has_the_numbers_in_full(self):
        table = json.loads(command("top", "--json", "--all", self.path))
        self.assertEqual(("cpu", "nanoseconds"), (table["type"], table["unit"]))
        self.assertEqual(sum(abs(v) for v in self.merged(None).values()), table["total"])
        self.assertEqual(table["all"], len(table["rows"]))

    def merged(self, pick):
        """The values by stack and labels: equal samples are one."""
        found = collections.Counter()
        for s in self.profile.samples:
            key = tuple(l.id for l in s.locations), str(s.labels)
            if not pick or pick(s):
                found[key] += s.values[1]
        return found

    def test_labels_have_rows(self):
        table = json.loads(command("top", "--json", "--by", "thread", "--all", self.path))
        have = {r["name"]: r["flat"] for r in table["rows"]}
        want = {v: self.profile.sums(lambda s, v=v: s.labels.get("thread", ["(none)"]) == [v])[1]
                for v in ("a", "b", "(none)")}
        self.assertEqual(want, have)

    def test_folded_stacks_and_the_tree_have_all_that_is_there(self):
        whole = sum(s.values[1] for s in self.profile.samples)
        folded = command("top", "--folded", self.path).splitlines()
        self.assertEqual(whole, sum(int(line.rsplit(" ", 1)[1]) for line in folded))
        self.assertLessEqual(len(folded), len(self.merged(None)))
        tree = command("top", "--tree", "--all", self.path).splitlines()
        roots = {line.rsplit(" ", 1)[0].split(";")[0] for line in folded}
        self.assertEqual(roots, {m.group(1) for m in (re.fullmatch(r".{30}(\S.*)", x) for x in tree) if m})

    def test_what_is_shown_can_be_saved_for_go(self):
        out = os.path.join(shim.scratch("saved"), "out.pb.gz")
        shown = rows(command("top", "--focus", "parse", "--all", "--pprof", out, self.path))
        self.assertTrue(shown)
        again = json.loads(command("top", "--json", "--all", out))
        self.assertEqual(sorted(r[-1].replace(" (inline)", "").replace(" (partial-inline)", "") for r in shown),
                         sorted(r["name"] for r in again["rows"]))
        _, go = shim.gos()[-1]
        self.assertEqual(rows(command("top", out)), rows(shim.pprof(go, "-top", "-symbolize=none", out)[0]))

    def test_names_are_text_and_nothing_else(self):
        class Hostile(Shop):
            NAMES = ("a\x1b[31mred", "line\nbreak", "turn\u202earound", "quote\"s\\", "x" * 5000, "\u009bcsi", "<b>",
                     "~", "\x7f")
        m = Hostile(random.Random(1))
        m.head()
        m.body(100)
        path = shim.save(m.bytes())
        for form in ((), ("--tree",), ("--folded",)):
            text = command("top", "--all", *form, path)
            self.assertIn("a?[31mred", text)
            self.assertIn("turn?around", text)
            self.assertNotRegex(text, "[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")
        names = {r["name"] for r in json.loads(command("top", "--json", "--all", path))["rows"]}
        self.assertIn("line\nbreak", names)
        self.assertIn("quote\"s\\", names)


def socket_answers(path):
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(path) == 0


class Asked(shim.TestCase):
    """Profiles that an endpoint is asked for."""

    def say(self, words, *args, **more):
        said = command(*args, **{"status": 1, **more})
        self.assertRegex(said, r"\Approfshim: .*" + words)
        self.assertEqual(1, said.count("\n"), said)

    def test_every_way_to_name_an_endpoint_and_every_word(self):
        folder = shim.scratch("door")
        with shim.start([shim.program("demo"), 1000], rate=4096) as p:
            shim.wait_until("the order book", lambda: "order_book_grow" in p.profile("heap").names())
            at = "127.0.0.1:%d" % p.port
            for target in (at, "localhost:%d" % p.port, "http://%s" % at, "http://%s/debug/pprof/" % at,
                           "http://%s/debug/pprof/heap" % at, "http://%s/pid/%d" % (at, p.pid)):
                with self.subTest(target=target):
                    self.assertIn("order_book_grow", command("heap", "--cum", target))
            self.assertEqual("cpu", json.loads(command("top", "-s", 1, "--json", at))["type"])
            for word in ("allocs", "block", "mutex", "threadcreate"):
                self.assertIn("rows", json.loads(command(word, "--json", at)))
            older = shim.save(p.get("/debug/pprof/heap").body)
            self.assertIn("rows", json.loads(command("heap", "--json", "--diff", older, at)))
            self.say("404: ", "heap", "http://%s/debug/pprof/nothing" % at)
        path = os.path.join(folder, "s")
        with shim.start([shim.program("demo"), 1000], rate=4096, env={"PPROF_ADDR": "unix:" + path},
                        wait_port=False):
            shim.wait_until("the socket", lambda: socket_answers(path))
            self.assertIn("rows", json.loads(command("heap", "--json", "unix:" + path)))

    def test_tokens(self):
        path = os.path.join(shim.scratch("token"), "token")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write("Tr0ub4dor-and-3\n")
        with shim.start([shim.program("demo"), 1000], env={"PPROF_TOKEN_FILE": path}) as p:
            at = "127.0.0.1:%d" % p.port
            self.say("PPROF_TOKEN.*--token-file", "heap", at)
            for args, env in (((), {"PPROF_TOKEN": "Tr0ub4dor-and-3"}), (("--token-file", path), None)):
                self.assertIn("rows", json.loads(command("heap", "--json", *args, at, env=env)))
            for user in ("x", "", "someone"):
                command("heap", "http://%s:Tr0ub4dor-and-3@%s/" % (user, at))

    def serve_once(self, answer):
        return self.serve([answer])

    def serve(self, answers):
        """The address of somebody who answers a request with each of these, and hangs up."""
        server = socket.create_server(("127.0.0.1", 0))

        def work():
            with server:
                for answer in answers:
                    with server.accept()[0] as s:
                        while b"\r\n\r\n" not in s.recv(65536):
                            pass
                        s.sendall(answer)
        t = threading.Thread(target=work, daemon=True)
        t.start()
        self.addCleanup(t.join, 10)
        return "127.0.0.1:%d" % server.getsockname()[1]

    def test_answers_that_are_no_profiles_are_told(self):
        body = shop(9)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
        self.assertTrue(rows(command("top", self.serve_once(head % len(body) + body))))
        self.assertTrue(rows(command("top", self.serve_once(b"HTTP/1.0 200 OK\r\n\r\n" + body))))
        for words, answer in (("the answer is cut off", head % len(body) + body[:-9]),
                              ("it is cut off", b"HTTP/1.0 200 OK\r\n\r\n" + body[:-9]),
                              ("it is ", head % 5 + b"hello"), ("ended before it began", b""),
                              ("speaks no HTTP.*curl", b"\x15\x03\x03\x00\x02\x02\x46"),
                              ("answers 500: no\\?way", b"HTTP/1.1 500 X\r\n\r\nno\x1bway\nmore"),
                              ("ended before it began", b"HTTP/1.1 200 OK\r\nX: y\r\n")):
            with self.subTest(words):
                self.say(words, "top", self.serve_once(answer))
        with socket.create_server(("127.0.0.1", 0)) as s:
            port = s.getsockname()[1]
        self.say("nobody answers there.*PPROF_ADDR", "heap", "127.0.0.1:%d" % port)

    def test_an_endpoint_that_had_no_processor_is_asked_again(self):
        body = shop(10)
        busy = b"HTTP/1.0 503 X\r\n\r\nCould not enable CPU profiling: no thread takes it now; ask again\n"
        answers = [busy, busy, b"HTTP/1.0 200 OK\r\n\r\n" + body]
        self.assertTrue(rows(command("top", self.serve(answers))))
        self.say("answers 503: .*ask again", "top", self.serve([busy] * 5))

    def test_targets_that_cannot_be_asked_are_told(self):
        for words, target in (("save the profile with curl", "https://127.0.0.1:1/"),
                              ("an IP address or localhost", "http://some.where:80/"),
                              ("a port is a number", "http://127.0.0.1:99999/"), ("no spaces", "http://[::1]:1/a b"),
                              ("too long", "http://127.0.0.1:1/" + "x" * 5000), ("107 bytes", "unix:" + "/x" * 80)):
            with self.subTest(target[:60]):
                self.say(words, "heap", target, status=2)


class Run(shim.TestCase):
    """pprofshim run."""

    def put(self, name, data, mode=0o755):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as f:
            f.write(data)
        os.chmod(path, mode)
        return path

    def setUp(self):
        self.folder = shim.scratch("run")

    def refuse(self, words, status, *args, **more):
        said = command("run", *args, status=status, **more)
        self.assertRegex(said, r"\Approfshim: .*" + words)
        self.assertEqual(1, said.count("\n"), said)

    def test_the_program_is_the_process_and_is_served(self):
        port = shim.free_port()
        argv = [COMMAND, "run", "--addr", "127.0.0.1:%d" % port, "--heap-rate", "4K", "--",
                shim.program("demo"), "1000"]
        with shim.Process(argv, env=shim.bare_env()) as p:
            p.port = port
            shim.wait_until("the port", lambda: shim.port_answers(port))
            self.assertEqual("demo\n", open("/proc/%d/comm" % p.pid).read())
            self.assertEqual("pprofshim: profiles will be at http://127.0.0.1:%d/debug/pprof/\n" % port,
                             shim.wait_until("its line", lambda: "\n" in p.err and p.err))
            self.assertIn("rows", json.loads(command("heap", "--json", "127.0.0.1:%d" % port)))
            with open("/proc/%d/environ" % p.pid) as f:
                self.assertIn("PPROF_HEAP_RATE=4K", f.read().split("\0"))

    def test_what_was_preloaded_before_stays_and_the_status_is_the_programs(self):
        show = 'echo "$LD_PRELOAD $PPROF_ADDR $1"; exit 7'
        for before in ("", "/nonexistent.so"):
            r = subprocess.run([COMMAND, "run", "--quiet", "--addr", "off", "sh", "-c", show, "sh", "--addr"],
                               capture_output=True, text=True, timeout=60, env=shim.bare_env({"LD_PRELOAD": before}))
            libraries = shim.LIB + (":" + before if before else "")
            self.assertEqual((7, "%s off --addr\n" % libraries), (r.returncode, r.stdout))
            self.assertNotIn("pprofshim: profiles", r.stderr)

    def test_every_setting_is_an_option(self):
        with open(os.path.join(shim.ROOT, "shim", "settings.def")) as f:
            variables = re.findall(r'^SETTING\(\w+, "(\w+)"', f.read(), re.M)
        self.assertGreater(len(variables), 10)
        listed = re.findall(r"^  --([a-z-]+) +VALUE   (\w+)$", command("run", "--help"), re.M)
        self.assertEqual([(v.replace("PPROF_", "").lower().replace("_", "-"), v) for v in variables], listed)

    def test_programs_that_preload_nothing_are_refused(self):
        static = self.put("static.c", b"int main(void) { return 0; }\n")
        go = self.put("go.c", b'__asm__(".section .note.go.buildid,\\"a\\",@note\\n.long 4,4,4\\n.asciz \\"Go\\"\\n"\n'
                              b'".byte 0\\n.long 1\\n.text");\nint main(void) { return 0; }\n')
        for source in (static, go):
            shim.compile_to(source[:-2], [source], ["-static"])
        self.refuse("linked statically", 125, static[:-2])
        self.refuse("Go program without cgo", 125, go[:-2])
        with open(shim.program("demo"), "rb") as f:
            demo = f.read()
        self.refuse("another machine", 125, self.put("machine", demo[:18] + b"\x28\x00" + demo[20:]))
        loader = b"/lib64/ld-linux-x86-64.so.2\0"
        if loader in demo:
            musl = b"/lib/ld-musl-x86_64.so.1\0".ljust(len(loader), b"\0")
            self.refuse("for musl", 125, self.put("musl", demo.replace(loader, musl)))
        self.refuse("linked statically", 125, self.put("script", b"#! %s -x\n" % static[:-2].encode()))
        if os.geteuid() == 0:
            gains = self.put("gains", demo)
            os.chown(gains, 65534, 65534)
            os.chmod(gains, 0o4755)
            self.refuse("gains rights", 125, gains)

    def test_libraries_that_cannot_be_preloaded_are_told(self):
        with open(COMMAND, "rb") as f:
            own = f.read()
        for folder, words in (("empty", "libpprofshim.so is not there"), ("a b", "a space or a colon"),
                              ("a:b", "a space or a colon")):
            os.mkdir(os.path.join(self.folder, folder))
            copy = self.put(os.path.join(folder, "pprofshim"), own)
            if folder != "empty":
                os.symlink("../" + folder + "/it.so", os.path.join(self.folder, folder, "libpprofshim.so"))
                self.put(os.path.join(folder, "it.so"), b"\x7fELF")
            elif os.path.exists("/usr/local/lib/libpprofshim.so"):
                continue
            r = subprocess.run([copy, "run", "true"], capture_output=True, text=True, timeout=60, env=shim.bare_env())
            self.assertEqual(125, r.returncode, r.stderr)
            self.assertRegex(r.stderr, r"\Approfshim: .*%s.*\n\Z" % words)

    def test_what_cannot_be_started_is_as_with_env(self):
        self.refuse("No such file", 127, "nonexistent-program")
        self.refuse("No such file", 127, "/nonexistent/program")
        self.refuse("Permission denied", 126, self.folder)
        self.refuse("a program is wanted", 125)
        self.refuse("is no option", 125, "--nonsense", "true")
        self.refuse("needs a value", 125, "--addr")


class Said(shim.TestCase):

    def check(self, words, *args, status=1, **more):
        said = command(*args, status=status, **more)
        self.assertRegex(said, r"\Approfshim: .*" + words)
        self.assertEqual(1, said.count("\n"), said)

    def test_files_that_are_no_profiles_are_named(self):
        good = shop(6)
        for what, data in (("noise", os.urandom(3000)), ("empty", b""), ("cut", good[:len(good) // 2]),
                           ("text", b"heap profile: 1: 2 [3: 4] @ heap/5\n"), ("packed noise", gzip.compress(b"x"))):
            with self.subTest(what):
                path = shim.save(data, "bad")
                self.check("bad.pb.gz: it is ", "top", path)
                self.check("bad.pb.gz: it is ", "heap", "--diff", path, shim.save(good))
        self.check("/nonexistent: ", "top", "/nonexistent")
        other = next(path for name, path, _ in Table.taken() if name == "heap")
        self.check(other + ": its samples are of other types", "top", "--diff", other, shim.save(good))

    def test_what_was_typed_wrong_is_told(self):
        for words, args in (("a command is wanted", ()), ("nonsense is no command", ("nonsense",)),
                            ("--nonsense is no option", ("top", "--nonsense", "x")),
                            ("--focus needs a value", ("top", "--focus")), ("one target is wanted", ("top",)),
                            ("a number up to 1000000 is wanted", ("top", "-n", "many", "x")),
                            ("--focus \\(: ", ("top", "--focus", "(", "x")),
                            ("an escape other than", ("top", "--focus", "\\pL", "x"))):
            with self.subTest(args=args):
                self.check(words, *args, status=2)

    def test_patterns_that_would_take_long_are_refused(self):
        self.check("its repetitions are too many", "top", "--focus", "((a{99}){99}){99}", "x", status=2)
        m = Shop(random.Random(7))
        m.text("malloc|calloc")
        m.texts["((a{99}){99}){99}"] = m.texts.pop("malloc|calloc")  # drop_frames, of somebody hostile
        m.text = lambda s, text=m.text: text("((a{99}){99}){99}" if s == "malloc|calloc" else s)
        m.head()
        m.body(50)
        self.assertTrue(rows(command("top", shim.save(m.bytes()))))

    def test_it_is_static_and_works_where_nothing_is(self):
        out = subprocess.run(["readelf", "-lW", COMMAND], capture_output=True, text=True, timeout=60).stdout
        self.assertNotIn("INTERP", out)
        if os.geteuid() == 0:
            folder = shim.scratch("nothing")
            with open(COMMAND, "rb") as f, open(os.path.join(folder, "pprofshim"), "wb") as to:
                to.write(f.read())
            os.chmod(os.path.join(folder, "pprofshim"), 0o755)
            r = subprocess.run(["/pprofshim", "top", "-"], input=shop(8), capture_output=True, timeout=60,
                               preexec_fn=lambda: (os.chroot(folder), os.chdir("/")), env={})
            self.assertEqual((0, b""), (r.returncode, r.stderr))
            self.assertTrue(rows(r.stdout.decode()))

    def test_help_and_version(self):
        self.assertIn("pprofshim", command("--version"))
        for word in re.findall(r"^  (\w+) ", command("--help"), re.M):
            self.assertIn("--help", command(word, "--help"))
