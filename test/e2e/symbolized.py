# symbolized.py - what the tests of names and lines share: ELF files looked into, pprofshim-symbolize and
# llvm-symbolizer asked about the same addresses, programs built in many ways, profiles rewritten.
#
# Runs in: the test's process; the tools are processes of their own. Nothing here prints.
#
# SPDX-License-Identifier: Apache-2.0
import bisect
import collections
import gzip
import hashlib
import json
import os
import random
import re
import shutil
import struct
import subprocess
import tempfile
import threading

import shim

HELPER = os.environ.get("PPROFSHIM_SYMBOLIZE") or os.path.join(shim.BUILD, "pprofshim-symbolize")
SOURCES = os.path.join(shim.PROGRAMS, "symbols")
BUILT = os.path.join(shim.BUILD, "programs", "symbols")
DEBUG = "/usr/lib/debug"


# ---- ELF -----------------------------------------------------------------------------------------

class Elf:
    """Sections and functions of a 64-bit little-endian ELF file, and its build id."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as f:
            head = f.read(64)
            if head[:6] != b"\x7fELF\x02\x01":
                raise AssertionError("%s is no ELF file of this kind" % path)
            at, = struct.unpack_from("<Q", head, 40)
            size, count, names_at = struct.unpack_from("<HHH", head, 58)
            f.seek(at)
            rows = [struct.unpack_from("<IIQQQQIIQQ", f.read(size)) for _ in range(count)]
            self._file = f
            names = self._bytes(rows[names_at]) if count else b""
            self.sections = {}
            self.order = []
            for r in rows:
                s = shim.Record(name=_string(names, r[0]), type=r[1], flags=r[2], address=r[3], offset=r[4], size=r[5],
                                link=r[6], row=r)
                self.sections.setdefault(s.name, s)
                self.order.append(s)
            self.build_id = None
            note = self.sections.get(".note.gnu.build-id")
            if note and note.type != 8:
                data = self._bytes(note.row)
                n, d = struct.unpack_from("<II", data)
                self.build_id = data[12 + n:12 + n + d].hex() if n == 4 else None
            every = self._symbols(rows, ".symtab") or self._symbols(rows, ".dynsym")
            self.symbols = [(a, n, name) for a, n, name, kind in every if kind in (2, 10)]
            self.data = [(a, n) for a, n, _, kind in every if kind == 1 and n]
            # The names of whatever lies at an address, and those of source files.
            self.names = collections.defaultdict(set)
            for a, _, name, kind in every:
                if kind in (0, 1, 2, 10):
                    self.names[_bare(name)].add(a)
            # LLVM takes symbols of debug sections (LTO makes some) for code.
            self.mistaken = set()
            s = self.sections.get(".symtab")
            if s and s.type != 8:
                texts = self._bytes(rows[s.link])
                self.mistaken = {_string(texts, at)
                                 for at, info, _, index, _, _ in struct.iter_unpack("<IBBHQQ", self._bytes(s.row))
                                 if 0 < index < len(rows) and not rows[index][2] & 2 and at}
        del self._file

    def _bytes(self, row):
        self._file.seek(row[4])
        return self._file.read(row[5])

    def _symbols(self, rows, name):
        """[(address, size, name, type)] of what is defined, in sections that are mapped."""
        s = self.sections.get(name)
        if not s or s.type == 8:
            return []
        data, names = self._bytes(s.row), self._bytes(rows[s.link])
        return [
            (value, size, _string(names, at), info & 15)
            for at, info, _, index, value, size in struct.iter_unpack("<IBBHQQ", data)
            if index
            and (value or info & 15 == 4)
            and not (index < len(rows) and info & 15 < 3 and not rows[index][2] & 2)
        ]

    def executable(self):
        """[(address, size)] of what is mapped to be executed; without the stubs of .plt, which belong to no function
        (LLVM takes them for the one before, which has no size)."""
        return [(s.address, s.size) for s in self.order
                if s.flags & 4 and s.flags & 2 and s.type != 8 and s.size and not s.name.startswith(".plt")]


def _string(data, at):
    return data[at:data.index(b"\0", at)].decode("utf-8", "backslashreplace")


def _bare(name):
    """A symbol's name without its version."""
    return name.split("@")[0] if "@" in name else name


def random_addresses(elf, count=2000, seed=1):
    """Addresses spread evenly over the executable sections, tables of data in them left out."""
    r = random.Random(seed)
    spans = elf.executable()
    ends = []
    for _, size in spans:
        ends.append((ends[-1] if ends else 0) + size)
    found = set()
    for _ in range(count):
        n = r.randrange(ends[-1])
        i = bisect.bisect_right(ends, n)
        found.add(spans[i][0] + n - (ends[i] - spans[i][1]))
    data = [(a, a + n) for a, n in elf.data if any(start <= a < start + size for start, size in spans)]
    return sorted(a for a in found if not any(start <= a < end for start, end in data))


def random_in_functions(elf, symbols=None, count=2000, seed=2):
    """Addresses in functions, all functions alike, however long they are."""
    r = random.Random(seed)
    functions = [(a, n) for a, n, _ in (symbols or elf.symbols) if n]
    return sorted({a + r.randrange(n) for a, n in (r.choice(functions) for _ in range(count))}) if functions else []


# ---- the two who answer -----------------------------------------------------------------------------

Frame = collections.namedtuple("Frame", "function file line")


def _known(text):
    return "" if text in ("", "??", "??:0", "?") else _bare(text)


def _path(text):
    return os.path.normpath(text) if text not in ("", "??", "?") else ""


def helper(path, addresses, *args, env=None, deadline_s=120, check=True):
    """What `pprofshim-symbolize -a -f FILE ADDR…` says: {address: [Frame], innermost first}; nothing known: []."""
    if not os.path.exists(HELPER):
        raise RuntimeError("there is no build/pprofshim-symbolize: run make first")
    found = {}
    for some in _chunks(addresses, 4000):
        r = subprocess.run([HELPER, "-a", "-f", *args, path, *("%#x" % a for a in some)], capture_output=True,
                           env=shim.bare_env(env), timeout=deadline_s, stdin=subprocess.DEVNULL)
        if check and r.returncode:
            raise AssertionError("pprofshim-symbolize: status %d: %s" % (r.returncode, r.stderr[-300:]))
        found.update(answers(r.stdout.decode("utf-8", "backslashreplace")))
    return found


def answers(text):
    """The output of addr2line -a -f -i, parsed."""
    found, at = {}, None
    lines = text.split("\n")
    i = 0
    while i < len(lines) and lines[i]:
        if re.fullmatch(r"0x[0-9a-f]+", lines[i]):
            at = found.setdefault(int(lines[i], 16), [])
            i += 1
            continue
        if at is None or i + 1 >= len(lines):
            raise AssertionError("not a frame: %r" % lines[i:i + 2])
        m = re.fullmatch(r"(.*):(\d+|\?)(?: \(discriminator \d+\))?", lines[i + 1])
        if not m:
            raise AssertionError("not file:line: %r" % lines[i + 1])
        line = int(m.group(2)) if m.group(2) != "?" else 0
        at.append(Frame(_known(lines[i]), _path(m.group(1)), line))
        i += 2
    return {a: _trim(f) for a, f in found.items()}


def _trim(frames):
    return [] if all(f == Frame("", "", 0) for f in frames) else frames


def llvm(elf, addresses, debug_dir=None, deadline_s=300):
    """What llvm-symbolizer says, in the same shape. A file that only the symbol table names, without a line, is no
    file."""
    found = {}
    args = [
        shim.tool("llvm-symbolizer"), "--output-style=JSON", "--obj=" + elf.path, "--inlines", "--functions=linkage",
        "--no-demangle",
    ]
    if debug_dir:
        args += ["--debug-file-directory=" + debug_dir, "--fallback-debug-path=" + debug_dir]
    r = subprocess.run(
        args,
        input="".join("%#x\n" % a for a in addresses),
        capture_output=True,
        text=True,
        timeout=deadline_s,
        env=shim.bare_env(),
    )
    if r.returncode:
        raise AssertionError("llvm-symbolizer: status %d: %s" % (r.returncode, r.stderr[-300:]))
    for text in r.stdout.splitlines():
        if not text:
            continue
        row = json.loads(text)
        frames = []
        for s in row["Symbol"]:
            frames.append(Frame(_known(s["FunctionName"]), _path(s["FileName"]), s["Line"]))
        found[int(row["Address"], 16)] = _trim(frames)
    return found


def _chunks(items, n):
    return [items[i:i + n] for i in range(0, len(items), n)]


class Comparison:
    """Two sets of answers, address by address. Names of one address in the symbol table are names of one function.
    also: other answers whose names of the outermost function are right, too."""

    def __init__(self, elf, expected, got, also=None):
        self.also = also or {}
        self.names = elf.names
        self.classes = collections.defaultdict(list)
        expected = {a: f for a, f in expected.items() if not (f and f[-1].function in elf.mistaken)}
        got = {a: f for a, f in got.items() if a in expected}
        self.count = len(expected)
        self.same = self.by_alias = self.known = self.inlined = 0
        for a in sorted(expected):
            want, have = expected[a], got.get(a)
            if have is None:
                self.classes["not answered"].append((a, want, []))
                continue
            self.known += bool(want)
            self.inlined += len(want) > 1
            wrong = self._wrong(want, have, self.also.get(a))
            if wrong is None:
                self.same += 1
            else:
                self.classes[wrong].append((a, want, have))

    def _wrong(self, want, have, also):
        if want == have:
            return None
        if not have:
            return "unknown to us"
        if not want:
            return "known to us only"
        if len(want) != len(have):
            return "inline chain longer" if len(have) > len(want) else "inline chain shorter"
        alias = False
        for i, (w, h) in enumerate(zip(want, have)):
            if w.function != h.function:
                # The outermost function is a symbol of the file, and may have several names.
                if i == len(want) - 1 and (also and also[-1].function == h.function or
                                           self.names.get(w.function, set()) & self.names.get(h.function, set())):
                    alias = True
                    continue
                return "function of an inlined call" if i < len(want) - 1 else "function"
        for w, h in zip(want, have):
            if w.file != h.file:
                return "file" if h.file and w.file else "file missing" if w.file else "file known to us only"
            if w.line != h.line:
                return "line" if h.line and w.line else "line missing" if w.line else "line known to us only"
        self.by_alias += alias
        return None

    @property
    def share(self):
        return self.same / self.count if self.count else 0.0

    def differences(self, each=2):
        """A line for people: the classes of differences, the most frequent first, with examples."""
        rows = []
        for name, found in sorted(self.classes.items(), key=lambda c: -len(c[1])):
            rows.append("%d %s: %s" % (len(found), name, "; ".join(
                "%#x %s, not %s" % (a, _chain(have), _chain(want)) for a, want, have in found[:each])))
        return "%d of %d equal (%.2f %%; %d by an alias, %d known, %d with inlined calls). %s" % (
            self.same, self.count, 100 * self.share, self.by_alias, self.known, self.inlined, " | ".join(rows))


def _chain(frames):
    return " < ".join("%s %s:%d" % (f.function or "??", f.file or "??", f.line) for f in frames) or "nothing"


# ---- building -----------------------------------------------------------------------------------------

def build(name, sources, *commands, output=None):
    """Run commands in a folder of their own, once for each state of the sources and commands. In a command, {o} is the
    output, {NAME} the source file NAME (dots as _). Returns the path of the output,
    build/programs/symbols/NAME/output. A missing tool skips the test."""
    folder = os.path.join(BUILT, name)
    output = output or name
    paths = {
        os.path.basename(s).replace(".", "_"): s if s.startswith("/") else os.path.join(SOURCES, s) for s in sources
    }
    lines = [[w.format(o=output, folder=folder, **paths) for w in c] for c in commands]
    for c in lines:
        shim.tool(c[0])
    digest = hashlib.sha256(repr((lines, [os.path.getsize(shim.tool(c[0])) for c in lines])).encode())
    for s in sorted(os.listdir(SOURCES)):
        with open(os.path.join(SOURCES, s), "rb") as f:
            digest.update(f.read())
    stamp = os.path.join(folder, "stamp")
    with shim.locked(folder):
        done = os.path.join(folder, output)
        if os.path.exists(stamp) and open(stamp).read() == digest.hexdigest() and os.path.exists(done):
            return done
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        for c in lines:
            r = subprocess.run(c, cwd=folder, capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL)
            if r.returncode:
                raise RuntimeError("%s: %s" % (" ".join(c)[:300], (r.stderr or r.stdout)[-1200:]))
        with open(stamp, "w") as f:
            f.write(digest.hexdigest())
    return done


# ---- profiles, rewritten --------------------------------------------------------------------------------

def _put_varint(v):
    out = bytearray()
    while v >= 0x80:
        out.append(v & 0x7F | 0x80)
        v >>= 7
    out.append(v)
    return bytes(out)


def _put(number, value):
    if isinstance(value, int):
        return _put_varint(number << 3) + _put_varint(value)
    return _put_varint(number << 3 | 2) + _put_varint(len(value)) + value


def without_lines(body, keep_names=False):
    """The profile as one that was saved without lines: no functions at all, or only their names."""
    out = bytearray()
    for number, value in shim._fields(gzip.decompress(body)):
        if number == 3:
            value = b"".join(_put(n, v) for n, v in shim._fields(value) if n < 7 or (n == 7 and keep_names))
        elif number == 5:
            if not keep_names:
                continue
            value = b"".join(_put(n, v) for n, v in shim._fields(value) if n <= 3)
        elif number == 4:
            lines = [v for n, v in shim._fields(value) if n == 4]
            value = b"".join(_put(n, v) for n, v in shim._fields(value) if n != 4)
            if keep_names and lines:
                # The outermost function alone, as symbol tables have it.
                value += _put(4, b"".join(_put(n, v) for n, v in shim._fields(lines[-1]) if n == 1))
        out += _put(number, value)
    return gzip.compress(bytes(out))


def complete(path, env=None, args=(), deadline_s=120):
    """`pprofshim-symbolize PROFILE > OUT`: the path of OUT."""
    out = os.path.join(tempfile.mkdtemp(dir=shim.scratch()), "completed.pb.gz")
    with open(out, "wb") as f:
        r = subprocess.run(
            [HELPER, *args, path],
            stdout=f,
            stderr=subprocess.PIPE,
            env=shim.bare_env(env),
            timeout=deadline_s,
            stdin=subprocess.DEVNULL,
        )
    if r.returncode:
        raise AssertionError("pprofshim-symbolize %s: status %d: %s" % (path, r.returncode, r.stderr[-300:]))
    return out


def marks(path):
    """{mark: line} of the comments `mark: NAME` of a source."""
    found = {}
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            for m in re.finditer(r"mark: ([a-z_0-9]+)", line):
                if m.group(1) in found:
                    raise AssertionError("%s: mark %s is there twice" % (path, m.group(1)))
                found[m.group(1)] = number
    return found


class Once:
    """A value that is made once, by the first who asks."""

    def __init__(self, make):
        self.make, self.lock, self.value, self.error = make, threading.Lock(), None, None

    def __call__(self):
        with self.lock:
            if self.error:
                raise AssertionError("as before: %s" % self.error)
            if self.value is None:
                try:
                    self.value = self.make()
                except BaseException as e:
                    self.error = e
                    raise
            return self.value
