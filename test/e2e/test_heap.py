# test_heap.py - heap and allocs say what the programs with a known answer know.
#
# Runs in: the test runner. Exact at PPROF_HEAP_RATE=1; at a sampling rate within 4 standard errors.
#
# SPDX-License-Identifier: Apache-2.0
import threading
import time

import shim
from shim import DEFAULT_RATE, Deviations, start
from test_settings import descriptors


# What the programs print when the allocator did not do what it must.
BROKEN = ("misaligned", "content_lost", "not_zero", "failed", "wrong", "dlclose_failed")


class Exact(shim.TestCase):
    """PPROF_HEAP_RATE=1: every allocation is a sample, so every number is right."""

    def check(self, argv, at_least=1, env=None, preload=None, skip=()):
        with start(argv, rate=1, env=env, preload=preload) as p:
            p.wait_line("ready")
            heap, allocs = p.profile("heap"), p.profile("allocs")
            sites = p.sites()
            self.assertGreaterEqual(len(sites), at_least, p.out)
            for site, rows in sorted(sites.items()):
                if site in skip:
                    continue
                with self.subTest(site=site):
                    truth = shim.site_truth(rows)
                    self.assertEqual(truth, shim.site_values(heap, site), site + " in heap: [alloc objects, "
                                     "alloc bytes, inuse objects, inuse bytes] differ (truth first)")
                    self.assertEqual(truth, shim.site_values(allocs, site), site + " in allocs")
            for word in BROKEN:
                self.assertNotIn(word, p.truth())
            status, out, err = p.finish()
            self.assertEqual(0, status, err)
            self.assertEqual("", err)
            return heap, sites

    def test_every_allocation_function_of_c_is_counted_once(self):
        self.check([shim.program("heap_truth"), 300], 20)

    def test_every_form_of_new_and_delete_is_counted_once(self):
        self.check([shim.program("heap_truth_cxx"), 300], 12)

    def test_an_allocator_that_builds_calloc_on_malloc_is_not_counted_twice(self):
        lib = shim.linked("libcallocator.so", ["libcallocator.c"], ["-fPIC", "-shared"])
        self.check([shim.program("heap_truth"), 200], 20, preload=shim.LIB + ":" + lib)

    def test_under_jemalloc(self):
        self.check([shim.program("heap_truth"), 200, "no-pvalloc"], 19,
                   preload=shim.LIB + ":" + preloadable("libjemalloc.so.2"))

    def test_under_tcmalloc(self):
        self.check([shim.program("heap_truth"), 200], 20,
                   preload=shim.LIB + ":" + preloadable("libtcmalloc_minimal.so.4"))

    def test_cxx_under_jemalloc(self):
        self.check([shim.program("heap_truth_cxx"), 200], 12,
                   preload=shim.LIB + ":" + preloadable("libjemalloc.so.2"))

    def test_cxx_under_tcmalloc(self):
        self.check([shim.program("heap_truth_cxx"), 200], 12,
                   preload=shim.LIB + ":" + preloadable("libtcmalloc_minimal.so.4"))

    def test_a_failed_realloc_loses_nothing(self):
        self.check([shim.program("realloc_fails")])

    def test_allocations_of_a_constructor_are_counted(self):
        lib = shim.linked("libearly.so", ["libearly.c"], ["-fPIC", "-shared"])
        self.check([shim.linked("early_alloc", ["early_alloc.c"],
                                [lib, "-Wl,-rpath,$ORIGIN"])])

    def test_threads_that_pass_blocks_to_each_other(self):
        self.check([shim.program("stress"), 6, 60000], 5)

    def test_the_same_while_profiles_are_taken(self):
        with start([shim.program("stress"), 6, 300000], rate=1) as p:
            n = 0
            while "ready" not in p.out and p.running():
                heap = p.profile("heap")
                for s in heap.samples:
                    self.assertTrue(0 <= s.values[2] <= s.values[0] and 0 <= s.values[3] <= s.values[1], s.values)
                n += 1
            p.wait_line("ready")
            self.assertGreater(n, 0)
            heap = p.profile("heap")
            for site, rows in p.sites().items():
                self.assertEqual(shim.site_truth(rows), shim.site_values(heap, site), site)
            self.assertEqual((0, ""), p.finish()[::2])

    def test_under_other_settings_of_libcs_malloc(self):
        for tunables in ("glibc.malloc.tcache_count=0", "glibc.malloc.perturb=165", "glibc.malloc.arena_max=1",
                         "glibc.malloc.mmap_threshold=4096:glibc.malloc.trim_threshold=4096"):
            self.check([shim.program("heap_truth"), 100], 20, env={"GLIBC_TUNABLES": tunables})

    def test_sized_frees(self):
        library = shim.linked("libsized.so", ["libsized.c"], ["-fPIC", "-shared"])
        source = shim.os.path.join(shim.PROGRAMS, "free_sized.c")
        folder = shim.os.path.dirname(library)
        self.check(
            [shim.linked("free_sized", [source], ["-Wl,--no-as-needed", library, "-Wl,-rpath," + folder, "-ldl"])], 2
        )

    def test_a_program_at_a_fixed_address(self):
        # In a program that is not PIE, an address of free taken in a library is the program's PLT entry.
        source = shim.os.path.join(shim.PROGRAMS, "heap_truth.c")
        self.check([shim.linked("heap_truth_no_pie", [source], ["-no-pie", "-fno-pie"])], 20)

    def test_a_program_without_frame_pointers_and_optimised(self):
        source = shim.os.path.join(shim.PROGRAMS, "heap_truth.c")
        self.check([shim.linked("heap_truth_o3", [source], ["-O3", "-fomit-frame-pointer", "-fno-ipa-icf"])], 20)

    def test_coroutines_on_their_own_stacks(self):
        self.check([shim.program("coroutines")])

    def test_at_the_end_of_100000_frames(self):
        self.check([shim.program("deep_recursion")])

    def test_code_loaded_and_unloaded_over_and_over(self):
        self.check([shim.program("dlchurn"), shim.program("libplugin"), 200])

    def test_a_plugin_reloaded_from_new_files_makes_no_new_stacks_of_others(self):
        with start([shim.program("plugin_reload"), shim.program("libplugin"), 300], rate=1) as p:
            p.wait_line("ready")
            allocs = p.profile("allocs")
            self.assertEqual(shim.site_truth(p.sites()["own_stack"]), allocs.flat("own_stack"))
            self.assertEqual(64, sum(allocs.leaf(s) == "own_stack" for s in allocs.samples), "one row a stack")
            status, out, err = p.finish()
            self.assertEqual(0, status, err)

    def test_new_in_a_library_loaded_local_into_a_c_program(self):
        lib = shim.linked("libcxxext.so", ["libcxxext.cc"], ["-fPIC", "-shared"])
        with_shim = self.check([shim.program("cxx_in_c"), lib])
        self.assertTrue(with_shim)

    def test_code_without_unwind_information(self):
        argv = [shim.program("no_unwind")]
        heap, sites = self.check(argv, skip=("generated",))
        size, allocated, live = sites["generated"][0]
        if allocated:
            got = heap.sums(lambda s: s.labels.get("bytes") and s.locations
                            and s.locations[0].mapping and s.locations[0].mapping.file == "[jit]")
            self.assertEqual([allocated, size * allocated, live, size * live], got,
                             "what generated code allocated is there, in a mapping that says so")

    def test_blocks_of_before_the_fork_and_the_childs_own(self):
        with start([shim.program("fork_heap")], rate=1) as p:
            p.wait_line("ready")
            heap = p.profile("heap")
            self.assertEqual([400, 1200000, 400, 1200000], heap.flat("site_inherited"), "in the parent")
            self.assertEqual([0, 0, 0, 0], heap.flat("site_child"), "in the parent")
            child = None
            for joined in shim.behind(p.port):
                child = shim.get_profile(joined, "heap")
            if child is not None:  # else: quiet, which is allowed too
                inherited, own = child.flat("site_inherited"), child.flat("site_child")
                self.assertEqual([200, 600000], inherited[2:], "in use in the child")
                self.assertEqual([400, 1200000, 400, 1200000], own, "in the child")
            self.assertEqual(0, p.finish()[0])

    def test_rate_0_samples_nothing(self):
        with start([shim.program("heap_truth"), 200], rate=0) as p:
            p.wait_line("ready")
            self.assertEqual([], p.profile("heap").samples)
            self.assertEqual(0, p.finish()[0])

    def test_an_allocator_in_the_executable_is_left_alone(self):
        argv = [shim.program("own_malloc")]
        with start(argv, rate=1) as p:
            p.wait_line("ready")
            p.profile("heap")
            self.assertEqual(0, p.finish()[0])
        self.assert_same(argv)


def preloadable(soname):
    """The path of an installed library, by its soname."""
    import glob
    for pattern in ("/usr/lib/*/" + soname, "/usr/lib64/" + soname, "/usr/lib/" + soname):
        for path in sorted(glob.glob(pattern)):
            return path
    raise shim.unittest.SkipTest(soname + " is not installed")


class Sampled(shim.TestCase):
    """At a sampling rate the estimates scatter around the truth as the theory says."""

    def collect(self, argv, rate, far, totals, env_rate, **more):
        with start(argv, rate=env_rate, **more) as p:
            p.wait_line("ready")
            heap = p.profile("heap")
            self.assertEqual(rate, heap.period)
            sites = p.sites()
            for word in BROKEN:
                self.assertNotIn(word, p.truth())
            all_rows, all_values = [], [0] * 4
            for site, rows in sites.items():
                values = shim.site_values(heap, site)
                all_rows += rows
                all_values = [a + b for a, b in zip(all_values, values)]
                truth, errors = shim.site_truth(rows), shim.site_errors(rows, rate)
                for i, what in enumerate(("alloc_objects", "alloc_space", "inuse_objects", "inuse_space")):
                    if errors[i] is not None:
                        far.add("%s %s" % (site, what), values[i], truth[i], errors[i])
            truth, errors = shim.site_truth(all_rows), shim.site_errors(all_rows, rate)
            for i in (1, 3):
                totals.add("total", all_values[i], truth[i], errors[i])
            self.assertEqual(0, p.finish()[0])

    def check(self, name, kb, rate, runs=1, env_rate=None, args=(), **more):
        far, totals = Deviations(), Deviations()
        for _ in range(runs):
            self.collect([shim.program(name), kb, *args], rate, far, totals, env_rate, **more)
        self.assertGreater(len(far.rows), 20)
        self.assertIsNone(far.verdict())
        self.assertIsNone(totals.verdict())

    def test_c_sites_at_the_default_rate(self):
        self.check("heap_truth", 48 << 10, DEFAULT_RATE)

    def test_cxx_sites_at_the_default_rate(self):
        self.check("heap_truth_cxx", 48 << 10, DEFAULT_RATE)

    def test_under_other_allocators_at_a_sampling_rate(self):
        for soname in ("libjemalloc.so.2", "libtcmalloc_minimal.so.4"):
            with self.subTest(soname=soname):
                preload = shim.LIB + ":" + preloadable(soname)
                self.check("heap_truth", 8 << 10, 65536, 1, 65536, ["no-pvalloc"], preload=preload)
                self.check("heap_truth_cxx", 8 << 10, 65536, 1, 65536, preload=preload)

    def test_under_other_settings_of_libcs_malloc(self):
        for tunables in ("glibc.malloc.tcache_count=0", "glibc.malloc.perturb=165", "glibc.malloc.arena_max=1",
                         "glibc.malloc.mmap_threshold=4096"):
            with self.subTest(tunables=tunables):
                self.check("heap_truth", 8 << 10, 65536, 1, 65536, env={"GLIBC_TUNABLES": tunables})

    def test_threads_that_pass_blocks_to_each_other(self):
        far = Deviations()
        for _ in range(4):
            with start([shim.program("stress"), 6, 100000], rate=65536) as p:
                p.wait_line("ready")
                heap = p.profile("heap")
                for site, rows in p.sites().items():
                    values, truth, errors = (shim.site_values(heap, site), shim.site_truth(rows),
                                             shim.site_errors(rows, 65536))
                    for i in (0, 1):
                        if errors[i] is not None:
                            far.add(site, values[i], truth[i], errors[i])
        self.assertIsNone(far.verdict())

    def test_c_sites_at_a_rate_of_16_kib(self):
        self.check("heap_truth", 4 << 10, 16384, 3, 16384)

    def test_cxx_sites_at_a_rate_of_16_kib(self):
        self.check("heap_truth_cxx", 4 << 10, 16384, 3, 16384)

    def test_a_small_rate_aligns_less_and_is_still_right(self):
        self.check("heap_truth", 1 << 10, 512, 2, 512)

    def test_text_form_has_the_raw_samples(self):
        with start([shim.program("heap_truth"), 8 << 10], rate=65536) as p:
            p.wait_line("ready")
            text = p.get("/debug/pprof/heap?debug=1").text
            head = text.splitlines()[0]
            self.assertRegex(head, r"^heap profile: \d+: \d+ \[\d+: \d+\] @ heap/131072$")


class Bias(shim.TestCase):
    """30 processes, each with a seed of its own: the mean is right to 1 %, for sizes from 16 B to 4 MiB."""

    RUNS = 30

    def check(self, rate, sizes):
        argv = [shim.program("heap_bias")] + [n for row in sizes for n in row]
        rows = []
        lock = threading.Lock()

        def one():
            with start(argv, rate=rate) as p:
                p.wait_line("ready")
                heap = p.profile("heap")
                with lock:
                    rows.append([heap.flat("site_%d" % i) for i in range(len(sizes))])

        for _ in range(self.RUNS):
            one()
        far = Deviations()
        for i, (size, count) in enumerate(sizes):
            for what, kind, n in (("alloc", 0, count), ("inuse", 2, count // 2)):
                e_objects, e_bytes = shim.sample_error(size, n, rate)
                missed = n - shim.expected_samples(size, n, rate)
                values = [r[i][kind:kind + 2] for r in rows]
                for v in values:
                    far.add("%s of %d B" % (what, size), v[1], size * n, e_bytes, 1.001 * size if missed < 10 else 0)
                    self.assertLessEqual(abs(v[1] - size * v[0]), size * 3 + 1e-3 * v[1], "objects and bytes agree")
                mean = sum(v[1] for v in values) / len(values)
                error = e_bytes / len(values) ** 0.5
                self.assertLess(error / (size * n), 0.003, "the test is sharp enough")
                self.assertLess(abs(mean / (size * n) - 1), 0.01, "%s of %d B: mean of %d runs is %.4f of the truth "
                                "(its standard error %.4f)"
                                % (what, size, len(values), mean / (size * n), error / (size * n)))
        self.assertIsNone(far.verdict())
        self.assertGreater(len({tuple(map(tuple, r)) for r in rows}), self.RUNS // 2, "each run has its own seed")

    def test_small_blocks(self):
        self.check(4096, [(16, 2730000), (256, 166000), (4096, 6400)])

    test_small_blocks.long_s = 60

    def test_middling_blocks(self):
        self.check(65536, [(16384, 37600), (65536, 6400)])

    test_middling_blocks.long_s = 20

    def test_large_blocks_at_the_default_rate(self):
        self.check(DEFAULT_RATE, [(524288, 6400), (1 << 20, 1800), (4 << 20, 100)])

    test_large_blocks_at_the_default_rate.long_s = 20


class Delta(shim.TestCase):

    def test_seconds_gives_the_difference_alone(self):
        with start([shim.program("demo"), 20], rate=1) as p:
            shim.wait_until("the order book", lambda: p.profile("heap").flat("order_book_grow")[3] == 24 << 20)
            before = p.profile("heap")
            a = p.get("/debug/pprof/heap?seconds=1")
            self.assertEqual(200, a.status)
            self.assertIn('filename="heap-delta"', a.header("content-disposition"))
            d = shim.Profile(a.body)
            self.assertEqual(before.sample_types, d.sample_types)
            self.assertTrue(0.9e9 <= d.duration_nanos <= 10e9, d.duration_nanos)
            leak = d.flat("session_cache_leak")
            self.assertGreater(leak[3], 100 << 10)
            self.assertLess(leak[3], 12 << 20)
            self.assertEqual([0, 0, 0, 0], d.flat("order_book_grow"), "did not change meanwhile")
            for s in d.samples:
                self.assertTrue(any(s.values), "rows of zeros are left out")

    def test_the_program_may_end_in_mid_delta(self):
        with start([shim.program("heap_bias"), 100, 100]) as p:
            p.wait_line("ready")
            with shim.Raw(p.port) as c:
                c.send(b"GET /debug/pprof/heap?seconds=30 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                time.sleep(0.2)
                self.assertEqual((0, ""), p.finish(10)[::2])
                self.assertTrue(c.closed())

    def test_a_delta_of_an_idle_program_is_empty_but_whole(self):
        with start([shim.program("heap_truth"), 200], rate=1) as p:
            p.wait_line("ready")
            d = p.profile("allocs", "seconds=1")
            self.assertEqual([], d.samples)
            self.assertEqual("alloc_space", d.default_sample_type)

    def test_counters_never_fall(self):
        with start([shim.program("demo"), 20], rate=4096) as p:
            last = {}
            for _ in range(8):
                heap = p.profile("allocs")
                now = {}
                for s in heap.samples:
                    key = (
                        tuple(l.address for l in s.locations),
                        tuple(sorted((k, tuple(v)) for k, v in s.labels.items())),
                    )
                    self.assertNotIn(key, now, "one row a stack and label")
                    self.assertTrue(0 <= s.values[2] <= s.values[0] and 0 <= s.values[3] <= s.values[1], s.values)
                    now[key] = s.values
                for key, values in last.items():
                    self.assertIn(key, now, "a row does not vanish")
                    self.assertGreaterEqual(now[key][0], values[0])
                    self.assertGreaterEqual(now[key][1], values[1])
                last = now


class Memory(shim.TestCase):

    def test_at_the_cap_samples_are_lost_and_said_so(self):
        with start([shim.program("heap_bias"), 64, 400000], rate=1, env={"PPROF_MEMORY_LIMIT": "1M"}) as p:
            p.wait_line("ready")
            page = p.get("/debug/pprof/")
            self.assertEqual(200, page.status)
            self.assertRegex(page.text, r"(?i)(lost|dropped|cap|limit|not recorded)")
            heap = p.profile("heap")
            live = heap.flat("site_0")[2]
            self.assertGreater(live, 0)
            self.assertLess(live, 200000)
            status, out, err = p.finish()
            self.assertEqual(0, status)

    def test_what_has_no_room_is_counted_as_one_with_right_totals(self):
        with start([shim.program("ever_new_stacks"), 60000], rate=1, env={"PPROF_MEMORY_LIMIT": "8M"}) as p:
            p.wait_line("ready")
            truth = shim.site_truth(p.sites()["leaf"])
            for name in ("heap", "allocs"):
                profile = p.profile(name)
                known, others = profile.flat("leaf"), profile.flat("other_stacks")
                self.assertGreater(known[0], 1000, name)
                self.assertGreater(others[0], 1000, name)
                more = [a + b - t for a, b, t in zip(known, others, truth)]  # libc's buffer of stdout
                self.assertTrue(more[0] == more[2] <= 2 and more[1] == more[3] <= 8192, (name, truth, known, others))
                self.assertIn("other_stacks", " ".join(profile.comments))
            self.assertIn("other_stacks", p.get("/debug/pprof/").text)

    def test_a_program_with_ever_new_stacks_has_all_profiles(self):
        with start([shim.program("ever_new_stacks"), 100000, "busy"], rate=1) as p:
            p.wait_line("ready")
            self.assertIn("other_stacks", p.get("/debug/pprof/").text)
            for name in (
                "heap",
                "allocs",
                "block",
                "threadcreate",
                "goroutine",
                "profile?seconds=1",
                "trace?seconds=0.2",
            ):
                # what the answer before it took may not be given back yet
                shim.wait_until(name, lambda: p.get("/debug/pprof/" + name, timeout_s=60).status == 200)
            self.assertGreater(p.profile("profile", "seconds=1&hz=250").cum("leaf")[0], 0)

    def test_profiles_taken_cost_no_memory_and_no_descriptors(self):
        with start([shim.program("heap_truth_cxx"), 2000], rate=4096) as p:
            p.wait_line("ready")

            def now():
                with open("/proc/%d/status" % p.pid) as f:
                    rss = int(next(line.split()[1] for line in f if line.startswith("VmRSS")))
                return rss, sum(len(fds) for fds in descriptors(p).values())

            for i in range(20):
                p.profile("heap")
            first = now()
            for i in range(150):
                p.get("/debug/pprof/heap")
                p.get("/debug/pprof/allocs?debug=1")
            time.sleep(0.2)
            last = now()
            self.assertLess(last[0] - first[0], 1024, "KiB resident: before %d, after %d" % (first[0], last[0]))
            self.assertLessEqual(last[1], first[1])

    def test_a_program_without_losses_is_told_nothing_of_losses(self):
        with start([shim.program("heap_truth"), 200], rate=1) as p:
            p.wait_line("ready")
            self.assertNotRegex(p.get("/debug/pprof/").text, r"(?i)(\blost\b|dropped)")
