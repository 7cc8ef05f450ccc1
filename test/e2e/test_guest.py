# test_guest.py - a good guest: programs behave under the shim exactly as without it.
#
# Runs in: the test runner. Each program of test/programs has one behaviour that broke a preloaded profiler
# before; it runs bare and under the shim, at the default rate and with every allocation sampled.
#
# SPDX-License-Identifier: Apache-2.0
import contextlib
import os
import signal
import socket
import subprocess
import time

import shim
from shim import start


class Same(shim.TestCase):
    """Output and exit status equal those without the shim."""

    def check(self, name, *args, deadline_s=60, **more):
        argv = [shim.program(name)] + list(args)
        for rate in (None, 1):
            with self.subTest(rate=rate or "default"):
                self.assert_same(argv, rate=rate, deadline_s=deadline_s, **more)

    def test_calls_at_the_edges(self):
        self.check("edge_calls")

    def test_pointers_that_are_refused_or_not_looked_at(self):
        self.check("edge_pointers")

    def test_edge_calls_under_other_allocators(self):
        from test_heap import preloadable
        for soname in ("libjemalloc.so.2", "libtcmalloc_minimal.so.4"):
            with self.subTest(soname=soname):
                lib = preloadable(soname)
                argv = [shim.program("edge_calls")]
                bare = shim.run(argv, env=shim.bare_env({"LD_PRELOAD": lib}))
                ours = shim.run_shim(argv, rate=1, preload=shim.LIB + ":" + lib)
                self.assertEqual(bare[:2], ours[:2])

    def test_floating_point_environment(self):
        self.check("fp_env")
        self.assert_same([shim.program("fp_env")], rate=4096)

    def test_fork_and_seteuid_in_a_signal_handler(self):
        self.check("fork_in_handler")

    def test_the_same_while_a_profile_is_taken(self):
        """The handler lands where seteuid arms the timers again, and calls seteuid."""
        with start([shim.program("fork_in_handler"), "stdin"]) as p:
            end = time.monotonic() + 20
            while time.monotonic() < end:  # 503: its thread forks, and has taken no signal of ours
                if p.get("/debug/pprof/profile?seconds=1&hz=1000").status == 200:
                    break
            self.assertEqual((0, "children 1\nbad 0\n", ""), p.finish())

    def test_waits_for_children_of_every_kind_do_not_meet_us(self):
        for way in ("waitpid", "wait3", "wait4", "waitid", "wait4_by_number", "waitid_by_number"):
            with self.subTest(way):
                self.assert_same([shim.program("wait_all"), way])

    def test_fork_storm(self):
        self.check("fork_storm", 100)

    test_fork_storm.long_s = 10

    def test_children_by_every_way(self):
        self.check("exec_children")

    def test_main_leaves_and_workers_go_on(self):
        self.check("exit_by_workers")

    def test_signals(self):
        self.check("signals")

    def test_the_smallest_stacks(self):
        self.check("tiny_stack")

    def test_the_smallest_stacks_and_the_deepest_setting(self):
        self.check("tiny_stack", env={"PPROF_STACK_DEPTH": "512"})

    def test_cancellation(self):
        self.check("cancel")

    def test_rules_of_operator_new(self):
        self.check("cxx_rules")

    def test_a_programs_own_operator_new(self):
        self.check("cxx_own_new")

    def test_an_allocator_in_the_executable(self):
        self.check("own_malloc")

    def test_known_sites(self):
        self.check("heap_truth", 200)
        self.check("heap_truth_cxx", 200)

    def test_limits(self):
        for what in ("as", "nofile", "nproc"):
            self.check("limits", what)

    def test_limits_from_the_start(self):
        program = shim.program("exit_by_workers")
        for limit in (
            "ulimit -n 3",
            "ulimit -n 4",
            "ulimit -n 8",
            "ulimit -v 150000",
            "ulimit -s 64",
            "ulimit -d 60000",
            "ulimit -l 0",
        ):
            with self.subTest(limit=limit):
                self.assert_same(["/bin/sh", "-c", "%s && exec %s" % (limit, program)], stderr=False)

    def test_little_address_space_from_the_start(self):
        # Whether a program with less than it needs starts at all is the kernel's affair; ours is not to crash.
        for kb in (8000, 12000, 20000, 40000):
            with self.subTest(kb=kb):
                bare = shim.run_bare(["/bin/sh", "-c", "ulimit -v %d && exec /bin/echo x" % kb])
                ours = shim.run_shim(["/bin/sh", "-c", "ulimit -v %d && exec /bin/echo x" % kb])
                if bare[0] == 0 and kb >= 12000:
                    self.assertEqual(bare[:2], ours[:2], ours[2])
                self.assertNotIn(ours[0], (-11, -6, 139, 134), "a crash")

    def test_rtld_deepbind_and_bind_now(self):
        self.assert_same([shim.program("cxx_rules")], env={"LD_BIND_NOW": "1"})
        self.assert_same([shim.program("exec_children")], env={"LD_BIND_NOW": "1"})

    def test_runpath_of_the_library_that_calls_dlopen(self):
        folder = os.path.join("linked", "runpath")
        shim.linked("librunpath_b.so", ["librunpath_b.c"], ["-fPIC", "-shared"], folder)
        a = shim.linked("librunpath_a.so", ["librunpath_a.c"],
                        ["-fPIC", "-shared", "-Wl,-rpath,$ORIGIN", "-Wl,--enable-new-dtags"], folder)
        status, out, err = self.assert_same([shim.linked("runpath_main", ["runpath_main.c"]), a])
        self.assertEqual((0, "not_mine 1\nsibling 42\n"), (status, out), err)

    def test_libraries_loaded_and_unloaded(self):
        self.check("dlchurn", shim.program("libplugin"), 100)

    def test_cxx_library_in_a_c_program(self):
        lib = shim.linked("libcxxext.so", ["libcxxext.cc"], ["-fPIC", "-shared"])
        self.check("cxx_in_c", lib)

    def test_early_constructor(self):
        lib = shim.linked("libearly.so", ["libearly.c"], ["-fPIC", "-shared"])
        argv = [shim.linked("early_alloc", ["early_alloc.c"], [lib, "-Wl,-rpath,$ORIGIN"])]
        self.assert_same(argv, rate=1)

    def test_coroutines_recursion_and_generated_code(self):
        self.check("coroutines")
        self.check("deep_recursion")
        with start([shim.program("no_unwind")], rate=1) as p:
            p.wait_line("ready")
            self.assertEqual(0, p.finish()[0])


class Start(shim.TestCase):
    """What main finds."""

    def test_state_at_start(self):
        status, out, err = self.assert_same([shim.program("start_state")])
        self.assertIn("errno 0\ndlerror none\n", out)

    def test_state_at_start_with_a_taken_port(self):
        with socket.socket() as s:
            port = shim.free_port()
            s.bind(("127.0.0.1", port))
            s.listen(1)
            argv = [shim.program("start_state")]
            bare, ours = shim.run_bare(argv), shim.run_shim(argv, port=port)
            self.assertEqual(bare[:2], ours[:2])

    def test_stdio_closed_at_start(self):
        folder = shim.scratch("closed")
        program = shim.program("start_state")
        outs = []
        for which, runner in (("bare", shim.run_bare), ("shim", shim.run_shim)):
            path = os.path.join(folder, which)
            status, _, _ = runner(["/bin/sh", "-c", "exec %s %s <&- >&- 2>&-" % (program, path)])
            self.assertEqual(0, status)
            with open(path) as f:
                outs.append("".join(line for line in f if not line.startswith("env _=")))
        self.assertEqual(outs[0], outs[1])
        self.assertIn("lowest_fd 0\n", outs[1])

    def test_the_environment_block_is_untouched(self):
        with start([shim.program("heap_bias")], env={"ZZZ_LAST": "1"}) as p:
            p.wait_line("ready")
            with open("/proc/%d/environ" % p.pid, "rb") as f:
                found = dict(e.split(b"=", 1) for e in f.read().split(b"\0") if b"=" in e)
            self.assertEqual(shim.LIB.encode(), found[b"LD_PRELOAD"])
            self.assertEqual(b"1", found[b"ZZZ_LAST"])


class Descriptors(shim.TestCase):

    def test_a_program_that_closes_everything(self):
        folder = shim.scratch("fds")
        argv = [shim.program("close_fds"), folder]
        bare = shim.run_bare(argv)
        with start(argv, rate=4096) as p:
            p.wait_line("ready")
            # The listener's descriptors are somebody else's files now: it must see that.
            for _ in range(3):
                with contextlib.suppress(Exception):
                    shim.get(p.port, "/debug/pprof/heap", 3)
            time.sleep(0.3)
            status, out, err = p.finish()
        self.assertEqual(bare[:2], (status, out))
        self.assertIn("size_sum 0\nstill_open 200\n", out)

    def test_children_inherit_none(self):
        status, out, err = self.assert_same(["/bin/sh", "-c", "ls /proc/self/fd"])
        self.assertEqual(0, status)


class Fork(shim.TestCase):

    def test_a_daemon(self):
        folder = shim.scratch("daemon")
        pid_file = os.path.join(folder, "pid")
        try:
            status, out, err = shim.run_shim([shim.program("daemonise"), pid_file], rate=1)
            self.assertEqual((0, "started 1\n", ""), (status, out, err))
            with open(pid_file) as f:
                pid = int(f.read())
            os.kill(pid, 0)
            with open(pid_file + ".stop", "w"):
                pass
            shim.wait_until("the daemon's end", lambda: os.path.exists(pid_file + ".done"))
            shim.wait_until("the daemon to be gone", lambda: not running(pid))
        finally:
            if not os.path.exists(pid_file + ".done"):
                shim.reap_later(pid_file)

    def test_a_forked_server_is_not_left_hanging_by_requests(self):
        # Profiles are fetched all the while threads fork: the listener's locks are in the fork list.
        with start([shim.program("fork_storm"), 150], rate=512) as p:
            n = 0
            while p.running():
                try:
                    shim.get(p.port, "/debug/pprof/heap", 60)
                    n += 1
                except (ConnectionError, shim.http.client.HTTPException):
                    if p.running():
                        time.sleep(0.05)
            status, out, err = p.wait()
            self.assertEqual((0, ["children 300", "right_status 300", "end 1"]), (status, out.splitlines()), err)
            self.assertGreater(n, 0)

    test_a_forked_server_is_not_left_hanging_by_requests.long_s = 10


class Credentials(shim.TestCase):

    def test_no_thread_keeps_a_capability(self):
        if os.geteuid() != 0:
            self.skipTest("only root has capabilities to shed")
        status, out, err = shim.run_shim([shim.program("drop_caps")])[:3]
        self.assertEqual((0, "capset 0\nthreads_with_capabilities 0\n"), (status, out))

    def test_nothing_of_ours_stays_in_a_mount_namespace_that_the_program_left(self):
        argv = [shim.program("leaves_mounts"), shim.scratch("mounts")]
        status, out = shim.run(argv, env=shim.bare_env())[:2]
        if status == 77:
            self.skipTest("no mount namespaces here")
        self.assertEqual((0, "name /file\n"), (status, out), "bare")
        self.assertEqual((0, "name /file\n"), shim.run_shim(argv)[:2])

    def test_no_thread_keeps_what_the_program_gave_up(self):
        if os.geteuid() != 0:
            self.skipTest("only root can give up root")
        for how in ("setuid", "setresuid", "setreuid", "seteuid"):
            with self.subTest(how=how):
                with start([shim.program("drop_root"), how]) as p:
                    p.wait_line("ready")
                    self.assertEqual(2, len(p.threads()), "main, and the program's")
                    self.assertEqual([0], p.truth()["result"])
                    self.assertEqual([0], p.truth()["threads_with_root"])
                    self.assertEqual(200, p.get("/debug/pprof/heap").status)
                    # As the kernel sees them: every id of every thread equals the first thread's.
                    rows = set()
                    for tid in [*p.threads(), p.listener()]:
                        with open("/proc/%d/status" % tid) as f:
                            rows.add(tuple(line.split(":", 1)[1].strip() for line in f
                                           if line.split(":")[0] in ("Uid", "Gid", "Groups", "CapPrm")))
                    self.assertEqual(1, len(rows), rows)
                    status, out, err = p.finish()
                    self.assertEqual((0, ""), (status, err))
                    self.assertIn("threads_with_root_later 0", out)

    def test_a_dump_says_what_the_kernel_keeps_to_itself(self):
        if os.geteuid() != 0:
            self.skipTest("only root can give up root")
        with open("/proc/sys/fs/suid_dumpable") as f:
            if f.read().strip() == "1":
                self.skipTest("here such a process stays dumpable")
        with start([shim.program("drop_root"), "setuid"]) as p:
            p.wait_line("ready")
            for _ in range(100):  # until its threads have come to where they wait
                first = p.get("/debug/pprof/goroutine?debug=2").text.split("\n", 1)[0]
                if first.startswith("# threads "):
                    break
                time.sleep(0.1)
            self.assertRegex(first, r"^# threads .* have no stacks: .*not dumpable.*; .* helps")
        with start([shim.program("drop_root"), "seteuid"]) as p:  # it may trace itself still
            p.wait_line("ready")
            self.assertNotIn("not dumpable", p.get("/debug/pprof/goroutine?debug=2").text)


class Tools(shim.TestCase):
    """Under other tools that look into processes."""

    def test_strace(self):
        strace = shim.tool("strace")
        probe = subprocess.run([strace, "-o", "/dev/null", "/bin/true"], capture_output=True, timeout=60)
        if probe.returncode:
            self.skipTest("strace is not allowed here")
        argv = [strace, "-f", "-o", os.path.join(shim.scratch("strace"), "log"), shim.program("exit_by_workers")]
        port = shim.free_port()
        env = shim.shim_env(port)
        argv[1:1] = ["-E", "LD_PRELOAD=" + shim.LIB, "-E", "PPROF_ADDR=127.0.0.1:%d" % port]
        env.pop("LD_PRELOAD")
        self.assertEqual(0, shim.run(argv, env=env, deadline_s=120)[0])

    def test_a_tracer_sees_nothing_of_the_listener(self):
        argv = [shim.program("traced_child")]
        bare = shim.run_bare(argv, deadline_s=60)
        if bare[0] == 77:
            self.skipTest("ptrace is not allowed here")
        self.assertEqual((0, "exec 1, exit 1, other events 0, others 0, status 5\n"), bare[:2])
        self.assertEqual(bare[:2], shim.run_shim(argv, deadline_s=60)[:2])

    def test_gdb_follows_a_program_to_its_end(self):
        commands = ["set startup-with-shell off", "set environment LD_PRELOAD=" + shim.LIB]
        commands += ["set environment PPROF_ADDR=127.0.0.1:%d" % shim.free_port(), "run", "info threads"]
        argv = [shim.tool("gdb"), "-nx", "--batch", "-iex", "set debuginfod enabled off"]
        for c in commands:
            argv += ["-ex", c]
        status, out, err = shim.run_bare(argv + ["--args", shim.program("traced_child"), "again"], deadline_s=120)
        if "ptrace" in err:
            self.skipTest("gdb is not allowed here: " + err[-200:])
        self.assertIn("exited with code 05", out, (status, err[-400:]))
        self.assertIn("No threads.", out)

    def test_what_the_kernel_refuses_to_malloc_is_asked_for_once(self):
        strace = shim.tool("strace")
        if subprocess.run([strace, "-o", "/dev/null", "/bin/true"], capture_output=True, timeout=60).returncode:
            self.skipTest("strace is not allowed here")
        refused = {}
        for lib in ("", shim.LIB):
            log = os.path.join(shim.scratch("strace"), "log")
            argv = [
                strace, "-o", log, "-E", "LD_PRELOAD=" + lib, "-E", "PPROF_ADDR=off", shim.program("refused_malloc"),
            ]
            self.assertEqual((0, ""), shim.run_bare(argv, deadline_s=120)[:2])
            with open(log) as f:
                refused[lib] = sum(call.rstrip().endswith("ENOMEM (Cannot allocate memory)") for call in f)
        self.assertGreaterEqual(refused[""], 100)
        self.assertEqual(refused[""], refused[shim.LIB])

    def test_valgrind_finds_no_errors_of_ours(self):
        valgrind = shim.tool("valgrind")
        argv = [valgrind, "-q", "--error-exitcode=99", "--trace-children=no", shim.program("edge_calls")]
        env = shim.shim_env(shim.free_port())
        bare = shim.run_bare(argv, deadline_s=180)
        status, out, err = shim.run(argv, env=env, deadline_s=180)
        self.assertEqual((bare[0], bare[1]), (status, out), err[-800:])

    test_valgrind_finds_no_errors_of_ours.long_s = 10


def running(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Signals(shim.TestCase):

    SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)

    def by_default(self):
        # A shell starts what runs in the background with SIGINT ignored, and nohup with SIGHUP.
        for sig in self.SIGNALS:
            signal.signal(sig, signal.SIG_DFL)

    def test_a_signal_to_the_process_reaches_the_program(self):
        for sig in self.SIGNALS:
            with self.subTest(sig=sig):
                with start([shim.program("heap_bias")], preexec_fn=self.by_default) as p:
                    p.wait_line("ready")
                    os.kill(p.pid, sig)
                    self.assertEqual(-sig, p.wait()[0])
