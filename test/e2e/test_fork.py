# test_fork.py - forks in the middle of everything: no lock of ours hangs a program, children find nothing half done.
#
# Runs in: the test runner.
#
# SPDX-License-Identifier: Apache-2.0
import threading

import shim
from shim import start

# The answer of each is thrown away.
PATHS = ("", "heap?debug=1", "goroutine?debug=2")
BUSY_PATHS = PATHS + ("trace?seconds=1", "profile?seconds=1&hz=1000", "mutex?debug=1", "block?debug=1")


def ask_while(p, paths):
    """Requests one after the other, to it and to a child of its own, until the process has ended."""
    def ask():
        while p.running():
            for port in [p.port] + shim.behind(p.port)[:1]:
                for path in paths:
                    try:
                        shim.get(port, "/debug/pprof/" + path, timeout_s=10)
                    except (OSError, shim.http.client.HTTPException):
                        pass
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return thread


class Locks(shim.TestCase):

    def test_a_fork_waits_for_nobody_who_waits_for_its_streams(self):
        for addr in (None, {"PPROF_ADDR": "off"}):
            with self.subTest(env=addr):
                status, out, err = shim.run_shim([shim.program("fork_flush"), 3], rate=65536, env=addr)
                self.assertEqual((0, "done 1"), (status, out.strip()), err)

    test_a_fork_waits_for_nobody_who_waits_for_its_streams.long_s = 10

    def storm(self, *args, **env):
        status, out, err = shim.run_shim([shim.program("handler_storm"), 8, *args], rate=4096, env=env)
        self.assertEqual((0, "clean"), (status, out.split("\n")[0]), out + err)

    def test_handlers_call_what_they_may_in_all_that_makes_children(self):
        self.storm()

    def test_handlers_fork_where_a_fork_was_interrupted(self):
        self.storm("single")

    def test_handlers_fork_where_nothing_is_served(self):
        self.storm("single", PPROF_ADDR="off")

    def test_handlers_of_a_program_that_is_asked_all_the_time(self):
        with start([shim.program("handler_storm"), 8], rate=4096) as p:
            ask_while(p, BUSY_PATHS)
            status, out, err = p.wait(60)
            self.assertEqual((0, "clean"), (status, out.split("\n")[0]), out + err)

    test_handlers_call_what_they_may_in_all_that_makes_children.long_s = 15
    test_handlers_fork_where_a_fork_was_interrupted.long_s = 15
    test_handlers_fork_where_nothing_is_served.long_s = 15
    test_handlers_of_a_program_that_is_asked_all_the_time.long_s = 15


class Children(shim.TestCase):

    def test_a_child_that_libc_was_not_told_of_waits_for_no_lock_of_the_parents(self):
        with start([shim.program("bare_children"), 6], rate=1) as p:
            p.wait_line("ready")
            for _ in range(3):
                ask_while(p, PATHS)
            status, out, err = p.wait(90)
            self.assertEqual((0, [0]), (status, p.truth()["hung"]), out + err)
            self.assertGreater(p.truth()["children"][0], 10)

    test_a_child_that_libc_was_not_told_of_waits_for_no_lock_of_the_parents.long_s = 12

    def test_the_child_of_a_fork_during_dlclose_has_whole_stacks(self):
        with start([shim.program("fork_in_dlclose"), shim.program("libslow_end")], rate=65536) as p:
            p.wait_line("ready")
            child, = shim.wait_until("the child serves", lambda: shim.behind(p.port))
            heap = shim.get_profile(child, "heap")
            stacks = [s.names for s in heap.samples if "leaf" in s.names]
            self.assertTrue(stacks)
            for names in stacks:
                self.assertEqual({"leaf", "middle", "outer", "main"}, {"leaf", "middle", "outer", "main"} & set(names))
            p.close_stdin()
            self.assertEqual(0, p.wait(30)[0])
