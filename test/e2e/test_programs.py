# test_programs.py - programs as Debian ships them, of the kinds that profilers have broken: the same with us as
# without.
#
# Runs in: the test runner. Each is run bare, with the library at its default settings while nobody asks, and, where
# it lasts, while profiles, dumps and traces are asked for. Output, errors and exit status must be equal. Programs
# that are not installed are skipped (scripts/deps.sh names them).
#
# SPDX-License-Identifier: Apache-2.0
import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest
import urllib.request

import shim

SLOW_S = 120.0  # on a busy machine; each takes a second or two
TAKEN = r"pprofshim: .* is taken.*\n"  # a process in a namespace of its own sees the port, and not whose it is
REQUESTS = ("heap", "goroutine?debug=2", "profile?seconds=1&hz=1000", "trace?seconds=1", "")


def debian(*names):
    """The distribution's own program, whatever comes earlier in the path."""
    for n in names:
        found = shutil.which(n, path="/usr/sbin:/usr/bin:/sbin:/bin")
        if found:
            return found
    raise unittest.SkipTest(names[0] + " is not installed")


def guest(name):
    return os.path.join(shim.PROGRAMS, "guests", name)


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write(text)
    return path


class Programs(shim.TestCase):

    def run_one(self, argv, env, cwd, data, hide, asked):
        with shim.Process(argv, env=env, cwd=cwd, input_data=data) as p:
            with asking(asked):
                status, out, err = p.wait(SLOW_S)
        for pattern in hide:
            out, err = re.sub(pattern, "", out), re.sub(pattern, "", err)
        return status, out, err

    def same(self, argv, data=b"", hide=(), asked=False, folder=False, env=None, status=0, check=None):
        """Bare and with us, and with asked=True a third time under requests. folder: each in an empty one of its own.
        hide: patterns of what differs from run to run anyway."""
        results = []
        for kind in ("bare", "with us") + (("asked",) if asked else ()):
            port = shim.free_port()
            where = shim.scratch("programs") if folder else "/"
            e = shim.bare_env(env) if kind == "bare" else shim.shim_env(port, extra=env)
            result = self.run_one(
                argv(where) if callable(argv) else argv,
                e,
                where,
                data,
                list(hide) + [re.escape(where)] if folder else hide,
                port if kind == "asked" else None,
            )
            results.append((kind, result))
            if check:
                check(where)
        bare = results[0][1]
        self.assertEqual(status, bare[0], "bare: %s" % (bare,))
        for kind, result in results[1:]:
            self.assertEqual(bare, result, kind)

    def script(self, text, **more):
        """A script of sh that works in a folder of its own; the programs that it calls are under the library as
        well."""
        self.same([debian("sh"), "-ec", text], folder=True, **more)

    # -- coroutines, fibers, green threads

    def test_boost_context(self):
        if not os.path.exists("/usr/include/boost/context/fiber.hpp"):
            self.skipTest("libboost-context-dev is not installed")
        self.same([shim.linked("boost_fibers", ["boost_fibers.cc"], ["-lboost_context"])], asked=True)

    def test_greenlet(self):
        self.same([python_with("greenlet"), guest("greenlets.py")], asked=True)

    def test_gevent(self):
        self.same([python_with("gevent"), guest("gevents.py")], asked=True)

    def test_ruby_fibers_and_threads(self):
        self.same([debian("ruby"), guest("fibers.rb")], asked=True)

    def test_php_fibers(self):
        self.same([debian("php"), "-n", guest("fibers.php")], asked=True)

    def test_lua_coroutines(self):
        self.same([debian("lua5.4"), guest("coroutines.lua")], asked=True)

    def test_openssl_in_async_jobs(self):
        self.same(
            [debian("openssl"), "speed", "-seconds", "1", "-bytes", "64", "-async_jobs", "4", "sha256"],
            asked=True,
            hide=[r"[\d.]+k?", r"(?m)^(built on|options|compiler|CPUINFO|version).*", r" +"],
        )

    def test_qemu_img(self):
        debian("qemu-img")
        self.script(
            "qemu-img create -q -f qcow2 a.qcow2 16M; qemu-io -c 'write -P 7 1M 2M' a.qcow2 >/dev/null;"
            "qemu-img convert -W -m 8 -O raw a.qcow2 a.raw; sha256sum a.raw; qemu-img compare a.raw a.qcow2;"
            "qemu-img check a.qcow2; qemu-img snapshot -c s a.qcow2; qemu-img map --output=json a.qcow2"
        )

    # -- launchers

    def test_bwrap(self):
        self.same(
            [
                debian("bwrap"), "--ro-bind", "/", "/", "--dev", "/dev", "--unshare-pid", "--proc", "/proc",
                "--die-with-parent", "sh", "-c", "echo in; id -u; exit 5",
            ],
            status=5,
        )

    def test_unshare(self):
        self.same(
            [debian("unshare"), "-pf", "--mount-proc", "sh", "-c", "echo $$; ls /proc/1/comm; exit 4"],
            status=4,
            hide=[TAKEN],
        )
        self.same([debian("unshare"), "-Ur", "id", "-u"], hide=[TAKEN])

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_other_users(self):
        for argv in (
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "id"],
            ["runuser", "-u", "nobody", "--", "id"],
            ["su", "nobody", "-s", "/bin/sh", "-c", "id; echo $0"],
            ["setpriv", "--no-new-privs", "id", "-u"],
            ["chroot", "--userspec=65534:65534", "/", "id", "-u"],
        ):
            with self.subTest(argv[0]):
                self.same([debian(argv[0])] + argv[1:])

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_sudo(self):
        self.same(
            [debian("sudo"), "-n", "-u", "nobody", "sh", "-c", "id -u; exit 3"],
            status=3,
            hide=[r"sudo: unable to resolve.*\n"],
        )

    def test_inits_of_containers(self):
        self.same([debian("dumb-init"), "sh", "-c", "kill -TERM $$; sleep 9"], status=143)
        self.same([debian("tini"), "-s", "--", "sh", "-c", "(sleep 0.1 &) ; exit 7"], status=7)

    def test_start_stop_daemon(self):
        debian("start-stop-daemon")
        self.script(
            "start-stop-daemon -S -b -m -p $PWD/pid -x /bin/sleep -- 60; sleep 0.3; start-stop-daemon -T -p $PWD/pid; "
            "echo $?;"
            "start-stop-daemon -K -p $PWD/pid -R 5; echo $?"
        )

    def test_many_children_at_once(self):
        self.script("seq 1 60 | xargs -P 6 -n 3 sh -c 'echo $(($1 + $2 + $3))' x | sort -n | cksum")
        debian("parallel")
        self.script(
            "export HOME=$PWD; seq 1 20 | parallel --will-cite -j 4 -k 'echo {} | rev'; "
            "parallel --will-cite -j 2 'exit {}' ::: 0 1 2",
            status=2,
        )

    def test_small_launchers(self):
        for text, status in (
            ("nohup sh -c 'echo hup' </dev/null 2>/dev/null", 0),
            ("timeout 5 sh -c 'exit 9'", 9),
            ("timeout 0.2 sleep 60", 124),
            ("timeout -s KILL 0.2 sleep 60", 137),
            ("env -i /bin/echo bare", 0),
            ("setsid -w sh -c 'echo $(ps -o sess= $$ | wc -l)'", 0),
            ("nice -n 3 nice", 0),
            ("stdbuf -oL seq 3 | cat", 0),
            ("flock f sh -c 'flock -n f echo no || echo yes'", 0),
            ("prlimit --nofile=64 sh -c 'ulimit -n'", 0),
            ("taskset 1 nproc", 0),
            ("ionice -c 3 ionice", 0),
            ("chrt -b 0 chrt -p $$", 0),
            ("script -qec 'echo t; exit 3' /dev/null </dev/null", 3),
            ("sh -c 'trap \"echo got; exit 6\" USR1; kill -USR1 $$; sleep 9'", 6),
            ("ls /nowhere 2>/dev/null", 2),
        ):
            with self.subTest(text):
                self.script(text, status=status, hide=[r"pid \d+", r"(?m)^real.*|^user.*|^sys.*"])

    def test_strace_and_gdb_follow(self):
        # In the tracer; what it traces is bare.
        self.same(
            [debian("strace"), "-f", "-o", "/dev/null", "-E", "LD_PRELOAD", "sh", "-c", "echo a | cat; exit 2"],
            status=2,
        )
        self.same(
            [
                debian("gdb"), "-nx", "--batch", "-iex", "set debuginfod enabled off", "-ex",
                "unset environment LD_PRELOAD", "-ex", "run", "-ex", "info threads", "--args", "/bin/true",
            ],
            hide=[r"process \d+", r"warning: .*\n"],
        )

    def test_a_sanitizers_runtime_may_start_after_us(self):
        out = os.path.join(shim.scratch("asan"), "demo")
        source = os.path.join(shim.PROGRAMS, "heap_truth.c")
        made = subprocess.run(
            ["gcc", "-fsanitize=address", "-pthread", source, "-o", out, "-ldl", "-lm"], capture_output=True
        )
        if made.returncode:
            self.skipTest("gcc has no address sanitizer here")
        env = {"ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0", "PPROF_HEAP_RATE": "1"}
        with shim.start([out], env=env) as p:
            p.wait_line("ready")
            self.assertEqual(200, p.get("/debug/pprof/heap").status)
            status, _, err = p.finish()
        self.assertEqual((0, ""), (status, err))

    def test_gdb_runs_a_program_that_is_asked(self):
        port = shim.free_port()
        argv = [debian("gdb"), "-nx", "--batch", "-iex", "set debuginfod enabled off",
                "-iex", "set environment LD_PRELOAD " + shim.LIB,
                "-iex", "set environment PPROF_ADDR 127.0.0.1:%d" % port,
                "-ex", "run", "--args", shim.program("eintr_abort"), "6", "poll"]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as p:
            answers = []
            while p.poll() is None and len(answers) < 2:
                for query in ("goroutine?debug=2", "profile?seconds=1"):
                    with contextlib.suppress(OSError, http.client.HTTPException):
                        url = "http://127.0.0.1:%d/debug/pprof/%s" % (port, query)
                        answers.append(urllib.request.urlopen(url, timeout=shim.DEADLINE_S).status)
                time.sleep(0.05)
            out = p.communicate(timeout=shim.DEADLINE_S)[0].decode(errors="replace")
        self.assertIn(200, answers)
        self.assertNotIn("received signal", out)
        self.assertIn("end 1", out)
        self.assertIn("exited normally", out)

    test_gdb_runs_a_program_that_is_asked.long_s = 8

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_sshd_lets_in(self):
        folder = shim.scratch("sshd")
        sshd, keygen, client = debian("sshd"), debian("ssh-keygen"), debian("ssh")
        for key in ("host", "user"):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(folder, key)], check=True)
        shutil.copy(os.path.join(folder, "user.pub"), os.path.join(folder, "authorized"))
        os.makedirs("/run/sshd", exist_ok=True)
        for asked in (None, False, True):
            port, ours = shim.free_port(), shim.free_port()
            config = write(
                folder,
                "config",
                "Port %d\nListenAddress 127.0.0.1\nHostKey %s/host\nAuthorizedKeysFile %s/authorized\nStrictModes no\n"
                "UsePAM no\nPermitRootLogin yes\nPidFile none\n" % (port, folder, folder),
            )
            env = shim.bare_env() if asked is None else shim.shim_env(ours)
            with shim.Process([sshd, "-D", "-e", "-f", config], env=env), asking(ours if asked else None):
                shim.wait_until("sshd", lambda: shim.port_answers(port), SLOW_S)
                for _ in range(3):
                    r = subprocess.run(
                        [
                            client,
                            "-q",
                            "-F",
                            "/dev/null",
                            "-o",
                            "StrictHostKeyChecking=no",
                            "-o",
                            "UserKnownHostsFile=/dev/null",
                            "-o",
                            "BatchMode=yes",
                            "-i",
                            os.path.join(folder, "user"),
                            "-p",
                            str(port),
                            "root@127.0.0.1",
                            "echo in; exit 5",
                        ],
                        capture_output=True,
                        text=True,
                        timeout=SLOW_S,
                        env=shim.bare_env(),
                    )
                    self.assertEqual((5, "in\n"), (r.returncode, r.stdout), "asked: %s" % asked)

    # -- converters

    def test_iconv(self):
        self.script(
            "for c in UTF-16 EUC-JP SHIFT_JIS GB18030 BIG5 ISO-2022-JP UTF-7 KOI8-R; "
            "do printf 'abc \\320\\226' | iconv -f UTF-8 -t $c//TRANSLIT | cksum; done;"
            "printf '\\377' | iconv -f UTF-8 -t UTF-16 2>&1 || echo $?"
        )

    def test_file(self):
        self.same([debian("file"), "-L", "/bin/ls", "/etc/passwd", "/usr/share", shim.LIB], hide=[r"BuildID\S*"])

    def test_imagemagick(self):
        self.same(
            [
                debian("convert"), "-size", "300x300", "plasma:fractal", "-seed", "7", "-blur", "0x4", "-resize",
                "50%", "-format", "%w %h\n", "info:",
            ],
            asked=True,
        )
        self.same([debian("convert"), "-size", "64x64", "gradient:red-blue", "-rotate", "45", "ppm:-"])

    def test_compressors(self):
        data = b"".join(b"%d %d\n" % (i, i * i % 9973) for i in range(200000))
        for argv in (
            ["xz", "-T2", "-1", "-c", "--block-size=500000"],
            ["zstd", "-T2", "-q", "-c"],
            ["pigz", "-p", "4", "-n", "-c"],
            ["lz4", "-c"],
            ["bzip2", "-c"],
            ["gzip", "-n", "-c"],
        ):
            with self.subTest(argv[0]), contextlib.suppress(unittest.SkipTest):
                self.same(["sh", "-c", " ".join([debian(argv[0])] + argv[1:]) + " | cksum"], data=data, asked=True)

    def test_jpeg_tools(self):
        debian("cjpeg")
        self.script(
            "(printf 'P6 120 90 255 '; head -c 32400 /dev/zero | tr '\\0' 'k') >a.ppm; cjpeg a.ppm >a.jpg; "
            "jpegtran -rotate 90 a.jpg | cksum; djpeg a.jpg | cksum"
        )

    def test_sox(self):
        self.same(
            [
                debian("sox"), "-R", "-n", "-t", "raw", "-r", "44100", "-b", "16", "-e", "signed", "-", "synth", "2",
                "sine", "300-3300", "reverb", "rate", "22050", "stat",
            ],
            asked=True,
        )

    # -- hosts of plug-ins

    def test_gstreamer(self):
        self.same(
            [
                debian("gst-launch-1.0"), "-q", "fakesrc", "num-buffers=3000", "sizetype=fixed", "sizemax=1000", "!",
                "queue", "!", "fakesink",
            ],
            asked=True,
            env={
                "GST_REGISTRY_FORK": "no",
                "HOME": "/tmp",
                "GST_REGISTRY": os.path.join(shim.scratch("gst"), "registry"),
            },
        )

    def test_vim(self):
        self.script(
            "printf 'b\\na\\nc\\n' >t; vim -u NONE -i NONE -n -es -c 'sort' -c '%s/a/z/' -c 'call system(\"echo \" . "
            "getpid())' -c 'wq' t </dev/null; cat t"
        )

    def test_perl_threads_and_extensions(self):
        self.same([debian("perl"), guest("extensions.pl")], asked=True, env={"PERL_HASH_SEED": "0"})

    def test_python_and_its_processes(self):
        self.same(["/usr/bin/python3", guest("processes.py")], asked=True)
        self.same(
            [
                "/usr/bin/python3",
                "-c",
                "import os, time; time.sleep(0.2); print(os.listdir('/proc/self/task') == [str(os.getpid())])",
            ]
        )

    def test_apache(self):
        self.serves(
            debian("apache2"),
            lambda folder, port: [
                "-DFOREGROUND",
                "-f",
                write(folder, "conf", APACHE % {"port": port, "folder": folder}),
            ],
            http_answer,
        )

    def test_haproxy(self):
        self.serves(
            debian("haproxy"), lambda folder, port: ["-db", "-f", write(folder, "conf", HAPROXY % port)], http_answer
        )

    def test_lighttpd(self):
        self.serves(
            debian("lighttpd"),
            lambda folder, port: ["-D", "-f", write(folder, "conf", LIGHTTPD % (folder, port))],
            http_answer,
            status=False,
        )  # that of its end tells whether a connection was open

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_vsftpd(self):
        home = shim.scratch("ftp")
        write(home, "hello", "hello, ftp\n")
        os.makedirs("/var/run/vsftpd/empty", exist_ok=True)
        self.serves(debian("vsftpd"), lambda folder, port: [write(folder, "conf", VSFTPD % (port, home))], ftp_answer)

    def test_socat(self):
        self.serves(
            debian("socat"),
            lambda folder, port: ["TCP-LISTEN:%d,bind=127.0.0.1,reuseaddr,fork" % port, "EXEC:tr a-z A-Z"],
            lambda port: ask_line(port, b"shout\n"),
        )

    def serves(self, server, arguments, answer, status=True):
        """A server says the same bare, with us, and while it is asked; and ends at SIGTERM as it does bare."""
        said = []
        for kind in ("bare", "with us", "asked"):
            folder, port, ours = shim.scratch("serves"), shim.free_port(), shim.free_port()
            env = shim.bare_env() if kind == "bare" else shim.shim_env(ours)
            with shim.Process([server] + arguments(folder, port), env=env, cwd=folder) as p, asking(
                ours if kind == "asked" else None
            ):
                shim.wait_until(os.path.basename(server), lambda: shim.port_answers(port) or not p.running(), SLOW_S)
                answers = [answer(port) for _ in range(5)]
                os.kill(p.pid, signal.SIGTERM)
                end = p.wait(SLOW_S)[0]
                said.append((answers, end if status else None))
        self.assertTrue(said[0][0][0], "bare: %s" % (said[0],))
        self.assertEqual(said[0], said[1], "with us")
        self.assertEqual(said[0], said[2], "asked")

    # -- builders and keepers

    def test_gcc_lto(self):
        self.script(
            "printf '#include <map>\\nint main() { std::map<int, int> m; for (int i = 0; i < 9; i++) m[i] = i; "
            "return m.size(); }\\n' >a.cc;"
            "printf 'int f(int x) { return x + 1; }\\n' >b.c; g++ -O1 -flto=2 -c a.cc; gcc -O1 -flto -c b.c; "
            "g++ -flto=2 a.o b.o -o a;"
            "./a || echo $?; gcc -E b.c | cksum; gcc -c nothing.c 2>&1 || true"
        )

    def test_make_ninja_cmake(self):
        for name in ("ninja", "cmake", "make"):
            debian(name)
        self.script(
            "printf 'project(p C)\\ncmake_minimum_required(VERSION 3.5)\\nadd_executable(p p.c q.c)\\n' "
            ">CMakeLists.txt;"
            "echo 'int q(void); int main(void) { return q(); }' >p.c; echo 'int q(void) { return 0; }' >q.c;"
            "cmake -G Ninja -S . -B b >/dev/null 2>&1; ninja -C b >/dev/null; b/p; echo $?;"
            "printf 'all: $(shell seq 1 20)\\n%%:; @echo $@ >>out\\n' >Makefile; make -s -j 4; "
            "sort -n out | tr '\\n' ' '"
        )

    def test_git(self):
        self.script(
            "export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE=2001-01-01T00:00:00Z "
            "GIT_COMMITTER_DATE=2001-01-01T00:00:00Z; git init -q r; cd r;"
            "git config user.name n; git config user.email e; for i in 1 2 3; do echo $i >f$i; git add .; "
            "git commit -qm c$i; done;"
            "git gc -q; git log --format=%H; git clone -q --no-hardlinks . ../s; git -C ../s fsck --no-progress; "
            "git grep -c . | wc -l; git diff HEAD~2 --stat"
        )

    def test_archivers(self):
        debian("rsync")
        self.script(
            "mkdir -p a/b; seq 1 5000 >a/b/f; ln -s f a/b/l; touch -d @1 a a/b a/b/*; "
            "tar --sort=name --owner=0 --group=0 --mtime=@1 -cf - a | cksum;"
            "tar -czf t.tgz a; tar -tzf t.tgz | sort; rsync -a a/ c/; diff -r a c && echo same; "
            "(cd a && find . | sort | cpio -o --quiet 2>/dev/null) | cpio -t --quiet;"
            "zip -qr z.zip a; unzip -p z.zip a/b/f | cksum; bsdtar -tf t.tgz | sort"
        )

    def test_node(self):
        self.same([debian("node"), guest("workers.js")], asked=True)

    def test_java(self):
        javac = shim.tool("javac")
        folder = shim.scratch("java")
        subprocess.run([javac, "-d", folder, guest("T.java")], check=True, env=shim.bare_env(), capture_output=True)
        self.same([shim.tool("java"), "-Xmx128m", "-cp", folder, "T"], asked=True)

    def test_shells(self):
        text = (
            "i=0; while [ $i -lt 30 ]; do (exit $i) & i=$((i+1)); done; wait; x=$(for j in a b c; "
            "do echo $j | tr a-z A-Z; done); echo $x;"
            "trap 'echo bye' EXIT; cat <<E | sort\nb\na\nE\nfalse || echo no; exit 3"
        )
        for name in ("bash", "dash", "zsh", "ksh"):
            with self.subTest(name), contextlib.suppress(unittest.SkipTest):
                self.same([debian(name), "-c", text], status=3)

    def test_tmux(self):
        debian("tmux")
        self.script(
            "T='tmux -f /dev/null -S '$PWD/s; $T new-session -d -x 80 -y 24 'echo in tmux; sleep 60'; sleep 0.5; "
            "$T capture-pane -p | head -1;"
            "$T list-sessions -F '#{session_name}'; $T kill-server; sleep 0.2; $T ls 2>/dev/null || echo gone"
        )

    def test_small_languages(self):
        for argv in (
            ["gawk", 'BEGIN { while (("seq 1 2000" | getline x) > 0) s += x; print s; system("exit 4") }'],
            ["mawk", "BEGIN { for (i = 0; i < 1e5; i++) a[i % 100] += i; print a[7] }"],
            ["tclsh"],
            ["bc", "-lq"],
            ["sqlite3", ":memory:", "select sum(1)"],
        ):
            with self.subTest(argv[0]), contextlib.suppress(unittest.SkipTest):
                data = {"tclsh": b"puts [exec echo [expr 6*7]]\n", "bc": b"scale=200; 4*a(1)\n"}.get(argv[0], b"")
                self.same([debian(argv[0])] + argv[1:], data=data)


class asking:  # noqa: N801, used as a function
    """Requests to a port, if one is given, until it is left."""

    def __init__(self, port):
        self.port, self.process = port, None

    def __enter__(self):
        if self.port:
            code = (
                "import sys, time, urllib.request\nwhile True:\n for q in sys.argv[2:]:\n  try:\n"
                "   urllib.request.urlopen('http://127.0.0.1:%s/debug/pprof/%s' % (sys.argv[1], q), "
                "timeout=20).read()\n"
                "  except Exception:\n   time.sleep(0.02)\n"
            )
            self.process = subprocess.Popen(
                ["/usr/bin/python3", "-S", "-c", code, str(self.port)] + list(REQUESTS),
                env=shim.bare_env(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()


def python_with(module):
    if subprocess.run(["/usr/bin/python3", "-c", "import " + module], capture_output=True).returncode:
        raise unittest.SkipTest("python3-%s is not installed" % module)
    return "/usr/bin/python3"


def ask_line(port, line):
    with socket.create_connection(("127.0.0.1", port), 30) as s:
        s.sendall(line)
        s.shutdown(socket.SHUT_WR)
        data = b""
        while True:
            more = s.recv(65536)
            if not more:
                return data
            data += more


def http_answer(port):
    a = shim.get(port, "/")
    return a.status, a.body


def ftp_answer(port):
    import ftplib

    lines = []
    with ftplib.FTP(timeout=60) as ftp:
        ftp.connect("127.0.0.1", port)
        ftp.login()
        ftp.retrlines("RETR hello", lines.append)
        lines += sorted(ftp.nlst())
    return lines


APACHE = """
ServerRoot %(folder)s
ServerName localhost
Listen 127.0.0.1:%(port)d
PidFile %(folder)s/pid
ErrorLog %(folder)s/log
DefaultRuntimeDir %(folder)s
Mutex posixsem
LoadModule mpm_worker_module /usr/lib/apache2/modules/mod_mpm_worker.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
StartServers 2
ThreadsPerChild 5
MaxRequestWorkers 10
DocumentRoot /usr/share
Redirect 410 /
"""
HAPROXY = """
global
  nbthread 3
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend f
  bind 127.0.0.1:%d
  http-request return status 200 content-type text/plain string "by haproxy"
"""
LIGHTTPD = """
server.document-root = "%s"
server.bind = "127.0.0.1"
server.port = %d
"""
VSFTPD = """
listen=YES
listen_address=127.0.0.1
listen_port=%d
background=NO
anonymous_enable=YES
local_enable=NO
anon_root=%s
no_anon_password=YES
pasv_address=127.0.0.1
ftp_username=sys
secure_chroot_dir=/var/run/vsftpd/empty
seccomp_sandbox=NO
"""
