# test_listener.py - what serves is a process that the program does not notice.
#
# Runs in: the test runner.
#
# SPDX-License-Identifier: Apache-2.0
import contextlib
import http.client
import os
import shutil
import signal
import threading
import time
import unittest

import shim
from shim import run_bare, run_shim, start

PROFILES = (
    "heap",
    "mutex",
    "block",
    "threadcreate",
    "goroutine",
    "goroutine?debug=2",
    "profile?seconds=1",
    "trace?seconds=1",
)


def is_alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def started(argv=None, **more):
    return start(argv or [shim.program("self_view")], **more)


class SelfView(shim.TestCase):

    def test_threads_and_children_are_those_of_the_bare_program(self):
        self.assert_same([shim.program("self_view")], input_data=b"view\n")

    def test_they_are_so_after_requests_too(self):
        bare = run_bare([shim.program("self_view")], input_data=b"view\n")[1].split("\n")[1:]
        with started() as p:
            p.wait_line("ready")
            for path in PROFILES:
                self.assertEqual(200, p.get("/debug/pprof/" + path).status, path)
            shim.wait_until("the end of what a profile needs", lambda: len(p.threads()) == 1)
            p.send(b"view\n")
            p.wait_line("wait")
            self.assertEqual(bare, p.out.split("\n")[1:])

    def test_python_may_fork(self):
        python = shim.tool("python3.12", "python3.13", "python3")
        code = "import os, sys\nif os.fork() == 0: os._exit(0)\nprint(os.wait()[1])"
        self.assert_same([python, "-W", "error", "-c", code])

    def test_a_message_queue_notifies_as_without_us(self):
        bare = run_bare([shim.program("self_view")], input_data=b"notify\n")
        if "notified 1" not in bare[1]:
            self.skipTest("no message queues here")
        for command in (b"notify\n", b"notify_in_child\n"):
            with self.subTest(command=command):
                status, out, err = run_shim([shim.program("self_view")], input_data=command)[:3]
                self.assertIn("notified 1", out)

    def test_the_programs_file_is_free_once_it_has_ended(self):
        copy = os.path.join(shim.scratch("busy"), "self_view")
        shutil.copy2(shim.program("self_view"), copy)
        for _ in range(20):
            self.assertEqual(0, run_shim([copy], input_data=b"")[0])
            with open(copy, "r+b"):  # "text file busy" while anybody has its memory
                pass


class Ends(shim.TestCase):

    def test_the_bare_exit_of_the_last_thread_ends_the_process(self):
        for paths in ((), ("heap",), PROFILES):
            with self.subTest(paths=paths), started() as p:
                p.wait_line("ready")
                for path in paths:
                    self.assertEqual(200, p.get("/debug/pprof/" + path).status, path)
                p.send(b"bare_exit\n")
                self.assertEqual(7, p.wait()[0])

    def test_a_killed_program_leaves_nothing_behind(self):
        with started() as p:
            p.wait_line("ready")
            listener = p.listener()
            self.assertTrue(listener)
            p.popen.kill()
            p.popen.wait()
            shim.wait_until("the listener's end", lambda: not is_alive(listener))
            shim.wait_until("the port", lambda: not shim.port_answers(p.port))

    def test_a_fault_of_the_listener_is_none_of_the_programs_business(self):
        for sig in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL):
            with self.subTest(sig=sig), started() as p:
                p.wait_line("ready")
                first = p.listener()
                os.kill(first, sig)
                shim.wait_until("another listener", lambda: p.listener() not in (None, first))
                shim.wait_until("the port", lambda: shim.port_answers(p.port))
                self.assertIn("ended by a fault", p.get("/debug/pprof/").text)
                p.send(b"view\n")
                p.wait_line("wait")
                status, out, err = p.finish()
                self.assertEqual(0, status)
                self.assertIn("threads 1\ntasks 1\nwait -1 10\n", out)


class Asking:
    """Three who ask, and ask again, whether there is an answer or not. Names of functions come from a helper."""

    PATHS = ("heap", "goroutine?debug=2", "mutex")

    def __init__(self, port):
        self.port, self.over = port, False
        self.askers = [shim.threading.Thread(target=self.ask, args=(path,)) for path in self.PATHS]

    def ask(self, path):
        while not self.over:
            with contextlib.suppress(OSError, http.client.HTTPException):
                shim.get_once(self.port, "/debug/pprof/" + path)
            time.sleep(0.002)

    def __enter__(self):
        for asker in self.askers:
            asker.start()

    def __exit__(self, *_):
        self.over = True
        for asker in self.askers:
            asker.join()


class Loop(shim.TestCase):

    def test_others_are_served_while_a_thread_of_the_program_is_looked_for(self):
        # Where the machine is busy, either of the two may come late.
        with started([shim.program("lets_nobody_in")]) as p:
            p.wait_line("ready")
            first = 0
            for _ in range(5):
                answers = []

                def ask(to):
                    to.append(shim.get_once(p.port, "/debug/pprof/profile?seconds=1").status)
                asking = threading.Thread(target=ask, args=(answers,), daemon=True)
                asking.start()
                time.sleep(0.5)  # the looking goes on for two seconds
                self.assertEqual(200, p.get("/debug/pprof/cmdline").status)
                first += not answers
                asking.join(shim.DEADLINE_S)
                self.assertEqual([503], answers)
            self.assertGreaterEqual(first, 3, "times that the other client was answered before the profile was refused")

    test_others_are_served_while_a_thread_of_the_program_is_looked_for.long_s = 15


class Room(shim.TestCase):

    @unittest.skipUnless(os.geteuid() == 0, "only root may become a user of one program")
    def test_a_thread_that_there_is_no_room_for_beside_the_listener(self):
        user = str(40000 + os.getpid() % 20000)
        argv = [shim.program("limits"), "few", user]
        bare = run_bare(argv, input_data=b"\n")
        self.assertIn("thrd_create 0\npthread_create 0\npthread_create 11\n", bare[1])
        with start(argv) as p:
            p.wait_line("user")
            shim.wait_until("the listener to be that user's, too", lambda: _user_of(p.listener()) == user)
            p.send(b"\n")
            self.assertEqual(bare, p.finish())


def _user_of(pid):
    with open("/proc/%d/status" % pid) as f:
        return next(line.split()[1] for line in f if line.startswith("Uid:"))


class Endings(shim.TestCase):
    """However a program ends by a call: when that has been told, its listener has ended, too, and has been reaped."""

    TURNS = 12

    def watched(self, how, preload, port=None):
        copy = os.path.join(shim.scratch("ends"), "ends")
        shutil.copy2(shim.program("ends"), copy)
        env = {"ENDS_COPY": copy, "PPROF_ADDR": "127.0.0.1:%d" % (port or shim.free_port())}
        if preload:
            env["ENDS_PRELOAD"] = shim.LIB
        status, out, err = run_bare([shim.program("ends"), "watch", self.TURNS, how], env=env)
        self.assertEqual((0, ""), (status, err))
        return [int(line.split()[1]) for line in out.splitlines() if line != "quick"]

    def check(self, how):
        # One that gets no processor for a third of a second is left behind. (Not waited for, all are.)
        self.assertEqual([0, 0], self.watched(how, False))
        self.assertLessEqual(sum(self.watched(how, True)), self.TURNS // 4)

    def test_by_exit_from_main(self):
        self.check("return")

    def test_by__exit(self):
        self.check("_exit")
        self.check("_Exit")

    def test_by__exit_in_a_handler(self):
        self.check("in_handler")

    def test_by_quick_exit(self):
        self.check("quick")

    def test_by_the_number_of_exit_group(self):
        self.check("exit_group")

    def test_by_abort(self):
        self.check("abort")

    def test_in_a_child_that_is_served_as_well(self):
        self.check("in_child")

    def test_while_a_request_is_answered(self):
        port = shim.free_port()
        with Asking(port):
            for how in ("later", "later_return"):
                with self.subTest(how=how):
                    self.assertLessEqual(sum(self.watched(how, True, port)), self.TURNS // 2)

    def test_handlers_of_quick_exit_run(self):
        self.assert_same([shim.program("ends"), "quick"])

    def test_a_listener_that_is_stopped_is_ended_all_the_same(self):
        for how in ("_exit", "quick", "exit_group", "abort"):
            with self.subTest(how=how), start([shim.program("ends"), how, "wait"]) as p:
                p.wait_line("ready")
                listener = p.listener()
                os.kill(listener, signal.SIGSTOP)
                self.addCleanup(_try, lambda pid=listener: os.kill(pid, signal.SIGCONT))
                p.send(b"end\n")
                self.assertEqual(-signal.SIGABRT if how == "abort" else 0, p.wait()[0])
                self.assertFalse(os.path.exists("/proc/%d" % listener))

    def test_a_child_that_shares_the_memory_ends_alone(self):
        with start([shim.program("ends"), "vfork"]) as p:
            p.wait_line("ready")
            listener = p.listener()
            for _ in range(3):
                p.send(b"go\n")
            shim.wait_until("the children", lambda: p.out.count("children 123") == 3)
            self.assertEqual(listener, p.listener())
            self.assertEqual(200, p.get("/debug/pprof/heap").status)
            self.assertEqual(0, p.finish()[0])

    def test_a_program_that_leaves_abort_by_a_handler_goes_on(self):
        status, out, err = run_shim([shim.program("ends"), "abort_caught"])
        self.assertEqual((0, "caught\n", ""), (status, out, err))


class Exec(shim.TestCase):

    def test_the_new_program_finds_the_port_free_and_nobody_of_the_old_one(self):
        for command in ("exec", "exec_syscall", "execveat"):
            with self.subTest(command=command), started() as p:
                p.wait_line("ready")
                self.assertEqual(200, p.get("/debug/pprof/heap").status)
                old = p.listener()
                p.send(command.encode() + b"\n")
                shim.wait_until("the new program", lambda: p.out.count("ready") == 2)
                self.assertFalse(is_alive(old))
                shim.wait_until("the port", lambda: shim.port_answers(p.port))
                self.assertEqual("self_view", p.get("/debug/pprof/cmdline").text)
                p.send(b"view\n")
                p.wait_line("wait")
                status, out, err = p.finish()
                self.assertEqual((0, ""), (status, err))
                self.assertIn("threads 1\ntasks 1\nwait -1 10\n", out)

    def test_a_profile_does_not_end_the_new_program(self):
        with started() as p:
            p.wait_line("ready")
            asker = shim.threading.Thread(target=lambda: _try(lambda: p.get("/debug/pprof/profile?seconds=3")))
            asker.start()
            shim.wait_until("the profile", lambda: len(p.threads()) > 1)
            p.send(b"exec\n")
            shim.wait_until("the new program", lambda: p.out.count("ready") == 2)
            asker.join()
            self.assertEqual((0, ""), p.finish()[::2])

    def test_a_helper_at_work_does_not_keep_the_port(self):
        with started() as p:
            p.wait_line("ready")
            with Asking(p.port):
                for turn in range(40):
                    time.sleep(turn % 8 * 0.004)
                    p.send(b"exec\n")
                    shim.wait_until("the new program", lambda: p.out.count("ready") == turn + 2)
            self.assertEqual((0, ""), p.finish()[::2])

    def test_a_failed_exec_brings_the_listener_back(self):
        with started() as p:
            p.wait_line("ready")
            p.send(b"exec_fails\n")
            self.assertEqual("2", p.wait_line("failed"))
            shim.wait_until("the port", lambda: shim.port_answers(p.port))
            self.assertEqual(200, p.get("/debug/pprof/heap").status)
            self.assertEqual(0, p.finish()[0])

    def test_a_failed_exec_ends_the_profile_and_the_trace_that_were_taken(self):
        for asked in ("profile", "trace"):
            with self.subTest(asked=asked), started() as p:
                p.wait_line("ready")
                with shim.Raw(p.port) as raw:
                    path = "/debug/pprof/%s?seconds=" % asked

                    def under_way():
                        return p.is_profiled() if asked == "profile" else p.get(path + "0.01").status == 500
                    raw.send(("GET %s100 HTTP/1.1\r\nHost: localhost\r\n\r\n" % path).encode())
                    shim.wait_until("it to begin", under_way)
                    p.send(b"exec_fails\n")
                    p.wait_line("failed")
                    shim.wait_until("the port", lambda: shim.port_answers(p.port))
                    shim.wait_until("it to be over", lambda: not under_way())
                self.assertEqual(0, p.finish()[0])

    def test_what_ended_in_the_middle_of_an_answer_does_not_keep_the_next_from_answering(self):
        path = "/debug/pprof/goroutine"
        with started([shim.program("exec_in_vain")]) as p:
            p.wait_line("started")
            over = threading.Event()

            def ask():
                while not over.is_set():
                    with contextlib.suppress(OSError, http.client.HTTPException):
                        shim.get_once(p.port, path)

            clients = [threading.Thread(target=ask) for _ in range(4)]
            for c in clients:
                c.start()
            try:
                for n in range(1, 9):
                    p.send(b"exec\n")
                    shim.wait_until("exec to fail", lambda n=n: "failed %d\n" % n in p.out)
                    shim.wait_until("another listener", lambda: shim.port_answers(p.port))
                    time.sleep(0.1)
            finally:
                over.set()
            self.assertEqual(200, p.get(path).status)
            for c in clients:
                c.join()
            self.assertEqual(0, p.finish()[0])

    test_what_ended_in_the_middle_of_an_answer_does_not_keep_the_next_from_answering.long_s = 15


class Identity(shim.TestCase):
    """The listener is stopped: it can't follow, and must not be waited for. As soon as it runs it follows, before it
    does anything."""

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become another")
        self.p = self.enterContext(started())
        self.p.wait_line("ready")
        self.listener = self.p.listener()
        os.kill(self.listener, signal.SIGSTOP)
        self.addCleanup(_try, lambda: os.kill(self.listener, signal.SIGCONT))

    def tell(self, command, answer):
        self.p.send(command.encode() + b"\n")
        self.assertEqual(answer, self.p.wait_line(command))

    def let_go_on(self):
        self.assertEqual(self.listener, self.p.listener(), "nobody ended it, for nobody waited")
        os.kill(self.listener, signal.SIGCONT)
        self.assertEqual(200, self.p.get("/debug/pprof/heap").status)
        self.assertEqual(self.listener, self.p.listener())
        self.assertEqual(ids(self.p.pid), ids(self.listener))
        self.assertEqual(0, self.p.finish()[0])

    def test_the_program_does_not_wait_for_a_listener_without_a_processor(self):
        self.tell("pairs", "0")
        self.let_go_on()

    def test_a_listener_that_was_stopped_keeps_nothing(self):
        self.tell("setuid", "0")
        self.let_go_on()

    def test_it_follows_several_steps_at_once(self):
        self.tell("steps", "0")
        self.let_go_on()

    def test_it_follows_a_change_that_is_made_by_its_number(self):
        self.tell("numbers", "0")
        self.let_go_on()

    def test_it_takes_nothing_back_that_the_program_asked_for_since(self):
        self.tell("setuid", "0")
        self.tell("dumpable", "1")
        os.kill(self.listener, signal.SIGCONT)
        self.assertEqual(200, self.p.get("/debug/pprof/heap").status)
        self.tell("is_dumpable", "1")


class SlowGroups(shim.TestCase):
    """initgroups asks name services, which may take long and run anything. No thread waits for that because of us."""

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become another")

    def test_other_threads_go_on_meanwhile(self):
        program = shim.program("slow_groups")
        bare = run_bare([program, "calls", str(shim.free_port())])[:2]
        self.assertIn("waited 0", bare[1])
        port = shim.free_port()
        with start([program, "calls", str(port)], port=port) as p:
            p.wait_line("ready")
            self.assertEqual(bare, p.finish()[:2])

    def test_a_handler_that_execs_meanwhile_does_so_at_once(self):
        self.assert_same([shim.program("slow_groups"), "handler"])

    def test_the_listener_follows_afterwards(self):
        with start([shim.program("self_view")]) as p:
            p.wait_line("ready")
            p.send(b"initgroups\n")
            self.assertEqual("0", p.wait_line("initgroups"))
            self.assertEqual(200, p.get("/debug/pprof/heap").status)
            self.assertEqual(ids(p.pid), ids(p.listener()))


def ids(pid):
    with open("/proc/%d/status" % pid) as f:
        return [line for line in f if line.split(":")[0] in ("Uid", "Gid", "Groups", "CapPrm")]


def _try(f):
    try:
        return f()
    except OSError:
        return None


if __name__ == "__main__":
    unittest.main()
