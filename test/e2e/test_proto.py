# test_proto.py - the profiles are what the public profile.proto and its readers expect.
#
# Runs in: the test runner. The facts are those that pprof, Parca, Alloy and Pyroscope rely on.
#
# SPDX-License-Identifier: Apache-2.0
import os
import re
import shutil
import subprocess
import time

import shim
from shim import DEFAULT_RATE, start

HEAP_TYPES = [
    ("alloc_objects", "count"),
    ("alloc_space", "bytes"),
    ("inuse_objects", "count"),
    ("inuse_space", "bytes"),
]


def build_id_of(path):
    out = subprocess.run(["readelf", "-nW", path], capture_output=True, text=True, timeout=60).stdout
    m = re.search(r"Build ID: ([0-9a-f]+)", out)
    return m.group(1) if m else ""


class Facts(shim.TestCase):

    def profiles(self):
        """(name, Profile, Process) of each, of a program with threads and libraries."""
        with start([shim.program("heap_truth_cxx"), 300], rate=1) as p:
            p.wait_line("ready")
            for name in ("heap", "allocs", "threadcreate"):
                yield name, p.profile(name), p
        with start([shim.program("thread_names")], rate=1) as p:
            p.wait_line("ready")
            yield "threadcreate", p.profile("threadcreate"), p

    def test_sample_types_order_period_and_default(self):
        with start([shim.program("heap_truth"), 300]) as p:
            p.wait_line("ready")
            heap, allocs = p.profile("heap"), p.profile("allocs")
            for q in (heap, allocs):
                self.assertEqual(HEAP_TYPES, q.sample_types)
                self.assertEqual(("space", "bytes"), q.period_type)
                self.assertEqual(DEFAULT_RATE, q.period)
                self.assertEqual(0, q.duration_nanos)
            self.assertEqual("inuse_space", heap.default_sample_type)
            self.assertEqual("alloc_space", allocs.default_sample_type)
            self.assertLess(abs(heap.time_nanos - time.time_ns()), 120e9)
            self.assertEqual(1, len(heap.raw_fields[9]), "time_nanos appears once")
            t = p.profile("threadcreate")
            self.assertEqual([("threadcreate", "count")], t.sample_types)
            self.assertEqual(1, t.period)

    def test_ids_strings_and_references(self):
        for name, q, _ in self.profiles():
            with self.subTest(profile=name):
                self.assertEqual("", q.strings[0])
                for what in (q.mappings, q.locations, q.functions):
                    self.assertEqual(list(range(1, len(what) + 1)), [x.id for x in what])
                self.assertEqual(len(q.locations), len({l.address for l in q.locations}), "addresses are unique")
                self.assertTrue(all(l.address for l in q.locations))
                self.assertEqual(len(q.strings), len(set(q.strings)), "a string stands once in the table")
                for s in q.samples:
                    self.assertEqual(len(q.sample_types), len(s.values))
                    self.assertTrue(s.locations)
                for l in q.locations:
                    self.assertTrue(l.lines, "a location without a line: %#x" % l.address)
                    self.assertTrue(all(n for n in l.names), "a function without a name at %#x" % l.address)
                for f in q.functions:
                    self.assertTrue(f.system_name)
                keys = [(tuple(l.address for l in s.locations), str(sorted(s.labels.items()))) for s in q.samples]
                self.assertEqual(len(keys), len(set(keys)), "duplicate stacks are merged")

    def test_heap_samples_carry_their_size(self):
        with start([shim.program("heap_bias"), 48, 100, 5000, 100], rate=1) as p:
            p.wait_line("ready")
            heap = p.profile("heap")
            for site, size in (("site_0", 48), ("site_1", 5000)):
                rows = [s for s in heap.samples if heap.leaf(s) == site]
                self.assertTrue(rows)
                for s in rows:
                    self.assertEqual(["bytes"], [k for k in s.labels if k == "bytes"])
                    (n,) = s.labels["bytes"]
                    self.assertTrue(size * 0.7 <= n <= size * 1.3, "label bytes=%d for blocks of %d" % (n, size))
            for s in heap.samples:
                self.assertEqual(1, len(s.labels.get("bytes", [])), "every sample has one numeric label bytes")
                self.assertIsInstance(s.labels["bytes"][0], int)
                for values in s.labels.values():
                    self.assertFalse(any(isinstance(v, str) for v in values), "string labels split series")

    def test_mappings(self):
        def joined(maps, file):
            """Our own library writes to the first pages of its code, its table of symbols: they become a map of their
            own."""
            if not file.endswith("libpprofshim.so"):
                return maps
            ours = [x for x in maps if os.path.realpath(x[4]) == os.path.realpath(file)]
            for a, b in zip(ours, ours[1:]):
                if a[1] == b[0] and a[3] + a[1] - a[0] == b[3] and "x" in b[2]:
                    return [(a[0], b[1], b[2], a[3], a[4])]
            return ours

        for name, q, p in self.profiles():
            with self.subTest(profile=name):
                with open("/proc/%d/maps" % p.pid) as f:
                    lines = [re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ (\d+) *(.*)", x) for x in f]
                maps = [(int(m[1], 16), int(m[2], 16), m[3], int(m[4], 16), m[6]) for m in lines if m]
                self.assertEqual(p.argv[0], q.mappings[0].file, "mapping[0] is the main binary")
                for m in q.mappings:
                    self.assertLess(m.start, m.limit)
                    self.assertEqual(1, m.has_functions)
                    if not m.file.startswith("/"):
                        continue
                    inside = [x for x in joined(maps, m.file) if x[0] <= m.start and m.limit <= x[1] and "x" in x[2]]
                    self.assertEqual(1, len(inside), "%s is inside one r-x map" % m.file)
                    start_, _, _, offset, path = inside[0]
                    self.assertEqual(offset + m.start - start_, m.offset, m.file)
                    self.assertEqual(os.path.realpath(path), os.path.realpath(m.file))
                    self.assertEqual(build_id_of(m.file), m.build_id, m.file)
                for l in q.locations:
                    if l.mapping is not None:
                        self.assertTrue(l.mapping.start <= l.address < l.mapping.limit, l)
                    else:
                        self.assertFalse([x for x in maps if x[0] <= l.address < x[1] and "x" in x[2]
                                          and x[4].startswith("/")], "a location in a file has its mapping")
                for m in q.mappings:
                    lines = [n for l in q.locations if l.mapping is m for _, n in l.lines]
                    files = [f.filename for l in q.locations if l.mapping is m for f, _ in l.lines]
                    self.assertEqual(bool(m.has_line_numbers), any(lines), m.file)
                    self.assertEqual(bool(m.has_filenames), any(files), m.file)
                    self.assertEqual(bool(m.has_inline_frames),
                                     any(len(l.lines) > 1 for l in q.locations if l.mapping is m), m.file)

    def test_started_through_the_loader_mapping_0_is_still_the_program(self):
        program = shim.program("heap_bias")
        out = subprocess.run(["readelf", "-lW", program], capture_output=True, text=True).stdout
        loader = re.search(r"interpreter: (\S+)\]", out).group(1)
        with start([loader, program, 100, 100], rate=1) as p:
            p.wait_line("ready")
            heap = p.profile("heap")
            self.assertEqual(program, heap.mappings[0].file)
            self.assertEqual(100, heap.flat("site_0")[0])

    def test_no_frame_of_ours(self):
        for name, q, _ in self.profiles():
            with self.subTest(profile=name):
                for s in q.samples:
                    for l in s.locations:
                        self.assertFalse(l.mapping and "pprofshim" in os.path.basename(l.mapping.file), (name, s.names))
                    self.assertNotIn(s.names[0], ("malloc", "calloc", "realloc", "free", "posix_memalign",
                                                  "aligned_alloc", "memalign", "pthread_create"))

    def test_the_stack_goes_down_to_main(self):
        with start([shim.program("heap_truth"), 300], rate=1) as p:
            p.wait_line("ready")
            heap = p.profile("heap")
            for site in ("site_many_small", "site_calloc", "site_posix_memalign", "site_realloc_grow"):
                rows = [s for s in heap.samples if heap.leaf(s) == site]
                self.assertTrue(rows)
                for s in rows:
                    self.assertIn("main", s.names, site)
            for s in heap.samples:
                if heap.leaf(s) == "site_thread_dies":
                    self.assertIn("hold_and_die", s.names)
            t = p.profile("threadcreate")
            for s in t.samples:
                self.assertEqual("threads", s.names[0])
                self.assertIn("main", s.names)

    def test_stack_depth_is_a_setting(self):
        for env, depth in (({"PPROF_STACK_DEPTH": "7"}, 7), ({}, 128)):
            with start([shim.program("deep_recursion")], rate=1, env=env) as p:
                p.wait_line("ready")
                heap = p.profile("heap")
                deepest = max(heap.samples, key=lambda s: len(s.locations))
                self.assertEqual("[truncated]", deepest.names[-1])  # the mark of a stack that goes on
                self.assertEqual(depth + 1, len(deepest.locations))


class Names(shim.TestCase):

    def test_names_are_right_though_the_binary_was_moved_away(self):
        folder = shim.scratch("moved")
        path = os.path.join(folder, "moved")
        shutil.copy(shim.program("heap_bias"), path)
        with start([path, 1000, 100], rate=1) as p:
            p.wait_line("ready")
            first = shim.save(p.get("/debug/pprof/heap").body)
            p.get("/debug/pprof/heap")
            os.rename(path, path + ".gone")
            heap = p.profile("heap")
            self.assertEqual(100, heap.flat("site_0")[0], "looked up before it was moved")
            for version, go in shim.gos():
                top = shim.top(go, first, "-sample_index=alloc_objects")
                self.assertEqual(100, top.rows["site_0"][0], version)

    def test_a_binary_that_was_replaced_is_not_believed(self):
        # The file at the program's path is another one now: names may be missing, but are never wrong.
        folder = shim.scratch("replaced")
        path = os.path.join(folder, "program")
        shutil.copy(shim.program("heap_bias"), path)
        with start([path, 1000, 100], rate=1) as p:
            p.wait_line("ready")
            os.rename(path, path + ".old")
            shutil.copy(shim.program("heap_truth"), path)
            heap = p.profile("heap")
            for s in heap.samples:
                for l in s.locations:
                    if l.mapping is heap.mappings[0]:
                        for n in l.names:
                            self.assertTrue(n in ("site_0", "main", "_start", "truth_add", "truth_print",
                                                  "ready_and_wait") or re.search(r"\+0x[0-9a-f]+$", n), n)
            self.assertNotIn(" (deleted)", heap.mappings[0].file)

    def strip(self, flag):
        path = os.path.join(shim.scratch("stripped"), "stripped")
        subprocess.run(["strip", flag, "-o", path, shim.program("heap_bias")], check=True, timeout=60)
        return path

    def test_stripped_program_has_names_or_offsets(self):
        path = self.strip("--strip-all")
        with start([path, 1000, 100], rate=1) as p:
            p.wait_line("ready")
            heap = p.profile("heap")
            here = [n for l in heap.locations if l.mapping is heap.mappings[0] for n in l.names]
            self.assertTrue(here)
            for n in here:
                # site_0 is static: not in .dynsym. main is, as the programs export what they have.
                self.assertTrue(n in ("main", "_start") or re.match(r"stripped\+0x[0-9a-f]+$", n), n)
            self.assertIn("main", here)
            found = heap.sums(lambda s: s.labels["bytes"][0] == 1024 and re.match(r"stripped\+0x", heap.leaf(s)))
            self.assertEqual(100, found[0])

    def test_names_of_a_library_that_was_unloaded_are_never_wrong(self):
        with start([shim.program("dlchurn"), shim.program("libplugin"), 50], rate=1) as p:
            p.wait_line("ready")
            heap = p.profile("heap")
            i = heap.index("alloc_objects")
            found = sum(s.values[i] for s in heap.samples if heap.leaf(s) == "plugin_allocate"
                        or re.match(r"libplugin\.so\+0x", heap.leaf(s) or ""))
            self.assertEqual(100, found)

    def test_two_libraries_in_turn_at_the_same_address(self):
        a = shim.program("libplugin")
        b = shim.linked("libplugin_b.so", ["libplugin_b.c"], ["-fPIC", "-shared"])
        with start([shim.linked("two_plugins", ["two_plugins.c"]), a, b], rate=1) as p:
            p.wait_line("ready")
            if not p.truth()["same_place"][0]:
                self.skipTest("they never lay in the same place")
            heap = p.profile("heap")
            for size, wrong in ((5000, "plugin_b_allocat"), (3000, "plugin_allocate")):
                rows = [s for s in heap.samples if size <= s.labels["bytes"][0] < size * 1.1]
                self.assertEqual(20, sum(s.values[0] for s in rows))
                for s in rows:
                    self.assertNotEqual(wrong, heap.leaf(s), "blocks of %d bytes" % size)

    def test_names_that_are_not_utf_8_or_very_long(self):
        with start([shim.linked("bad_names", ["bad_names.c"])], rate=1) as p:
            p.wait_line("ready")
            heap = p.profile("heap")  # decodes strictly
            rows = [s for s in heap.samples if s.values[0] == 10 and 1000 <= s.labels["bytes"][0] <= 1100]
            self.assertEqual(3, len(rows))
            names = sorted(heap.leaf(s) for s in rows)
            self.assertEqual("_ZN4siteIXX", names[0])
            self.assertTrue(names[1].startswith("site_") and "name" in names[1] or names[2].endswith("name"), names)
            self.assertTrue(any(n.startswith("site_long_0123456789") for n in names))
            p.get("/debug/pprof/heap?debug=1").text  # strict as well
            for version, go in shim.gos():
                shim.top(go, p.url("heap"))

    def test_a_library_file_that_was_cut_short_does_no_harm(self):
        # Its symbol tables are gone from the file, its code is not: were the file mapped to be read, a SIGBUS
        # would be the program's.
        folder = shim.scratch("cut")
        path = os.path.join(folder, "libplugin.so")
        shutil.copy(shim.program("libplugin"), path)
        out = subprocess.run(["readelf", "-lW", path], capture_output=True, text=True, check=True).stdout
        loaded = max(int(m[0], 16) + int(m[1], 16)
                     for m in re.findall(r"LOAD\s+(0x\S+) 0x\S+ 0x\S+ (0x\S+)", out))
        with start([shim.program("dlchurn"), path, 3], rate=1) as p:
            p.wait_line("ready")
            os.truncate(path, loaded)
            heap = p.profile("heap")
            i = heap.index("alloc_objects")
            found = sum(s.values[i] for s in heap.samples if heap.leaf(s) == "plugin_allocate"
                        or re.match(r"libplugin\.so\+0x", heap.leaf(s) or ""))
            self.assertEqual(6, found)
            os.truncate(path, 100)
            self.assertEqual(200, p.get("/debug/pprof/heap").status)
            self.assertEqual(200, p.get("/debug/pprof/symbol?0x1000").status)
            self.assertTrue(p.running())

    def test_symbols_by_get_and_post(self):
        with start([shim.program("heap_bias"), 1000, 100], rate=1) as p:
            p.wait_line("ready")
            heap = p.profile("heap")
            site = next(l for l in heap.locations if l.names == ["site_0"])
            main = next(l for l in heap.locations if l.names == ["main"])
            for answer in (p.get("/debug/pprof/symbol?%#x+%#x" % (site.address, main.address)),
                           p.get("/debug/pprof/symbol", method="POST",
                                 body="%#x+%#x" % (site.address, main.address))):
                self.assertEqual(200, answer.status)
                self.assertRegex(answer.header("content-type"), r"^text/plain")
                self.assertEqual("num_symbols: 1\n%#x site_0\n%#x main\n" % (site.address, main.address), answer.text)
            self.assertEqual("num_symbols: 1\n", p.get("/debug/pprof/symbol").text)
            self.assertEqual("num_symbols: 1\n%#x site_0\n" % site.address,
                             p.get("/debug/pprof/symbol?rubbish+%d+0x+zz+0x1" % site.address).text,
                             "decimal is understood, bad words are skipped")
            self.assertEqual("num_symbols: 1\n%#x site_0\n" % site.address,
                             p.get("/debug/pprof/symbol?0%o" % site.address).text, "so is octal")
            many = "+".join("%#x" % (site.address + i % 4) for i in range(4000))
            answer = p.get("/debug/pprof/symbol", method="POST", body=many)
            self.assertEqual(200, answer.status, "a large body of addresses is accepted")
            self.assertGreater(answer.text.count("site_0"), 3)


class Text(shim.TestCase):
    """debug=1: read by people, and parsed back by go tool pprof."""

    def test_heap_text_parses_back_to_the_same_totals(self):
        with start([shim.program("heap_truth"), 400], rate=1) as p:
            p.wait_line("ready")
            heap = p.profile("heap")
            text = p.get("/debug/pprof/heap?debug=1").body
            path = shim.save(text, "heap")
            for version, go in shim.gos():
                for kind in ("inuse_space", "alloc_space", "alloc_objects"):
                    with self.subTest(go=version, kind=kind):
                        out, _ = shim.pprof(go, "-raw", path)
                        self.assertIn("inuse_space/bytes", out)
                        top = shim.top(
                            go, path, "-sample_index=" + kind, "-unit=B" if "space" in kind else "-unit=count"
                        )
                        total = sum(flat for flat, _ in top.rows.values())
                        truth = heap.total(kind)
                        self.assertLess(
                            abs(total - truth), 0.02 * truth + 20000, "%s: %d for %d" % (kind, total, truth)
                        )

    def test_heap_text_parses_back_at_a_sampling_rate(self):
        # The reader unsamples each row by its average: the same totals to within the size classes' width.
        with start([shim.program("heap_truth"), 16 << 10], rate=65536) as p:
            p.wait_line("ready")
            heap = p.profile("heap")
            path = shim.save(p.get("/debug/pprof/heap?debug=1").body, "heap")
            for version, go in shim.gos():
                with self.subTest(go=version):
                    top = shim.top(go, path, "-sample_index=inuse_space", "-unit=B")
                    total = sum(flat for flat, _ in top.rows.values())
                    truth = heap.total("inuse_space")
                    self.assertLess(abs(total - truth), 0.08 * truth, "%d for %d" % (total, truth))

    def test_heap_text_ends_with_the_totals_that_readers_look_for(self):
        with start([shim.program("heap_truth"), 400], rate=1) as p:
            p.wait_line("ready")
            heap = p.profile("heap")
            for name in ("heap", "allocs"):
                text = p.get("/debug/pprof/%s?debug=1" % name).text
                facts = dict(re.findall(r"(?m)^# (\w+) = (\d+)$", text[text.index("\n# runtime.MemStats\n"):]))
                for key, kind in (("Alloc", "inuse_space"), ("HeapAlloc", "inuse_space"),
                                  ("TotalAlloc", "alloc_space"), ("Mallocs", "alloc_objects"),
                                  ("HeapObjects", "inuse_objects")):
                    self.assertLess(abs(int(facts[key]) - heap.total(kind)), 0.02 * heap.total(kind) + 1000, key)
                self.assertEqual(int(facts["Mallocs"]), int(facts["Frees"]) + int(facts["HeapObjects"]))
                with open("/proc/%d/status" % p.pid) as f:
                    most = int(re.search(r"VmHWM:\s+(\d+) kB", f.read())[1]) * 1024
                self.assertLess(abs(int(facts["MaxRSS"]) - most), 4 << 20)

    def test_text_has_names_for_people(self):
        with start([shim.program("heap_bias"), 1000, 100], rate=1) as p:
            p.wait_line("ready")
            a = p.get("/debug/pprof/heap?debug=1")
            self.assertEqual("text/plain; charset=utf-8", a.header("content-type"))
            self.assertIsNone(a.header("content-disposition"))
            self.assertRegex(a.text, r"(?m)^#\t0x[0-9a-f]+\tsite_0\+0x[0-9a-f]+")
            self.assertRegex(a.text, r"(?m)^50: 50000 \[50: 50000\] @( 0x[0-9a-f]+)+$")
            for line in a.text.splitlines()[1:]:
                if line and not line.startswith("#"):
                    self.assertRegex(
                        line, r"^(\d+: \d+ \[\d+: \d+\] @( 0x[0-9a-f]+)+|--- Memory map: ---|[0-9a-f]+-[0-9a-f]+ .*)$"
                    )
