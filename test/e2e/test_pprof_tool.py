# test_pprof_tool.py - `go tool pprof` of every go that is found takes the profiles: -top, -raw, -base, -http.
#
# Runs in: the test runner; go runs as a process of its own, -http on a loopback port.
#
# SPDX-License-Identifier: Apache-2.0
import http.client
import re

import shim
from shim import start


def web_answers(go, *sources):
    """Start `go tool pprof -http` on the profiles and return {path: status} of its pages."""
    port = shim.free_port(1)
    env = shim.go_env()
    with shim.Process([go, "tool", "pprof", "-no_browser", "-http=127.0.0.1:%d" % port, *sources],
                      env=env, cwd=shim.scratch(), start_new_session=True) as p:
        try:
            shim.wait_until("pprof -http", lambda: shim.port_answers(port) or not p.running(), 120)
            if not p.running():
                raise AssertionError("pprof -http ended: " + p.err[-500:])
            found = {}
            for path in ("/ui/top", "/ui/flamegraph"):
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
                c.request("GET", path)
                r = c.getresponse()
                body = r.read()
                found[path] = (r.status, body.decode("utf-8", "replace"))
                c.close()
            return found
        finally:
            # `go tool` may be a parent of pprof: both are in the session that was started here.
            import contextlib
            import os
            import signal
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, signal.SIGKILL)


class Tool(shim.TestCase):

    def test_top_from_the_live_program(self):
        with start([shim.program("heap_truth"), 400], rate=1) as p:
            p.wait_line("ready")
            sites = p.sites()
            for version, go in shim.gos():
                with self.subTest(go=version):
                    top = shim.top(go, p.url("heap"), "-unit=B")
                    self.assertEqual("inuse_space", top.type)
                    self.assertEqual(
                        "",
                        re.sub(r"(?m)^(Fetching profile over HTTP from|Saved profile in) .*\n", "", top.stderr),
                        "no warning",
                    )
                    for site in ("site_many_small", "site_memalign", "site_realloc_grow"):
                        self.assertEqual(shim.site_truth(sites[site])[3], top.rows[site][0], site)
                    top = shim.top(go, p.url("allocs"), "-unit=B")
                    self.assertEqual("alloc_space", top.type)
                    self.assertEqual(shim.site_truth(sites["site_freed"])[1], top.rows["site_freed"][0])
                    self.assertIn("threads", shim.top(go, p.url("threadcreate")).rows)
                    self.assertIn("site_many_small", shim.top(go, p.url("heap?debug=1")).rows)

    def test_operator_new_is_dropped(self):
        with start([shim.program("heap_truth_cxx"), 400], rate=1) as p:
            p.wait_line("ready")
            sites = p.sites()
            path = shim.save(p.get("/debug/pprof/heap").body)
            for version, go in shim.gos():
                with self.subTest(go=version):
                    top = shim.top(go, path, "-unit=B", "-sample_index=alloc_space")
                    for name in top.rows:
                        self.assertNotRegex(name, r"operator new|^std::allocator|__gnu_cxx::new_allocator")
                    for site in ("site_new", "site_new_array", "site_new_aligned", "site_new_nothrow"):
                        self.assertEqual(shim.site_truth(sites[site])[1], top.rows[site][0], site)

    def test_base_across_a_restart(self):
        # Another process, elsewhere in memory (ASLR): the same stacks cancel out.
        paths = []
        for count in (100, 300):
            with start([shim.program("heap_bias"), 1000, count, 500, 200], rate=1) as p:
                p.wait_line("ready")
                paths.append(shim.save(p.get("/debug/pprof/heap").body))
        for version, go in shim.gos():
            with self.subTest(go=version):
                top = shim.top(go, paths[1], "-base", paths[0], "-unit=B", "-sample_index=alloc_space")
                self.assertEqual(200 * 1000, top.rows["site_0"][0])
                self.assertEqual(0, top.rows.get("site_1", (0, 0))[0])

    def test_seconds_flag_and_bare_host(self):
        with start([shim.program("demo"), 30]) as p:
            for version, go in shim.gos():
                with self.subTest(go=version):
                    top = shim.top(go, p.url("heap"), "-seconds=1", "-sample_index=alloc_space")
                    self.assertIn("Duration", top.header)

    def test_raw_has_mappings_and_build_ids(self):
        with start([shim.program("heap_truth"), 200], rate=1) as p:
            p.wait_line("ready")
            heap = p.profile("heap")
            for version, go in shim.gos():
                with self.subTest(go=version):
                    out, _ = shim.pprof(go, "-raw", p.url("heap"))
                    self.assertIn(
                        "alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes[dflt]", out
                    )
                    self.assertIn("Mappings", out)
                    self.assertRegex(out, re.escape(heap.mappings[0].file) + ".* " + heap.mappings[0].build_id)

    def test_web_interface_opens(self):
        with start([shim.program("heap_truth"), 200], rate=1) as p:
            p.wait_line("ready")
            for version, go in shim.gos():
                with self.subTest(go=version):
                    for path, (status, body) in web_answers(go, p.url("heap")).items():
                        self.assertEqual(200, status, path)
                    self.assertIn("site_many_small", body)

    def test_web_interface_with_base_fetches_both(self):
        with start([shim.program("heap_truth"), 200], rate=1) as p:
            p.wait_line("ready")
            for version, go in shim.gos()[:1]:
                found = web_answers(go, "-base", p.url("heap"), p.url("heap"))
                self.assertEqual(200, found["/ui/top"][0])

    def test_an_error_is_shown_with_its_reason(self):
        with start([shim.program("heap_bias")]) as p:
            p.wait_line("ready")
            for version, go in shim.gos():
                with self.subTest(go=version):
                    _, err = shim.pprof(go, "-top", p.url("heap?seconds=x"), check=False)
                    self.assertIn("must be a positive integer", err)
