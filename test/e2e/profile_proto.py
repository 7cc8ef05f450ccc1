# profile_proto.py - read a profile: profile.proto, gzipped.
#
# Runs in: the test's process. Tests use it by the name of shim.
#
# SPDX-License-Identifier: Apache-2.0
import gzip
import re
import subprocess

import rules


def _varint(data, at):
    value = shift = 0
    while True:
        b = data[at]
        at += 1
        value |= (b & 0x7F) << shift
        if b < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise AssertionError("varint of more than ten bytes")


def _signed(v):
    return v - (1 << 64) if v >= 1 << 63 else v


def _fields(data):
    """(number, value) of a message: an int, or bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at)
        elif wire == 2:
            n, at = _varint(data, at)
            if at + n > len(data):
                raise AssertionError("field %d runs past the end" % (key >> 3))
            value, at = data[at:at + n], at + n
        elif wire == 1:
            value, at = int.from_bytes(data[at:at + 8], "little"), at + 8
        elif wire == 5:
            value, at = int.from_bytes(data[at:at + 4], "little"), at + 4
        else:
            raise AssertionError("wire type %d" % wire)
        yield key >> 3, value


def _repeated(into, value):
    """A repeated integer, packed or not."""
    if isinstance(value, int):
        into.append(value)
        return
    at = 0
    while at < len(value):
        v, at = _varint(value, at)
        into.append(v)


class Record:
    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __repr__(self):
        return "Record(%s)" % self.__dict__


class Profile:
    """A decoded profile.proto. Strings are looked up; samples refer to Location objects, leaf first."""

    def __init__(self, body):
        if body[:2] != b"\x1f\x8b":
            raise AssertionError("the body is not gzip: %r" % body[:60])
        data = gzip.decompress(body)
        self.raw_size = len(data)
        raw = {n: [] for n in range(1, 16)}
        for n, v in _fields(data):
            raw.setdefault(n, []).append(v)
        self.raw_fields = raw
        self.string_bytes = raw[6]
        self.strings = [s.decode("utf-8", "strict") for s in raw[6]]

        def text(i):
            return self.strings[i]

        def message(data, shape):
            r = {name: (default() if callable(default) else default) for name, default in shape.values()}
            for n, v in _fields(data):
                if n not in shape:
                    raise AssertionError("unknown field %d" % n)
                name, default = shape[n]
                if callable(default):
                    if name in ("line", "label"):
                        r[name].append(v)
                    else:
                        _repeated(r[name], v)
                else:
                    r[name] = v
            return Record(**r)

        def value_type(data):
            r = message(data, {1: ("type", 0), 2: ("unit", 0)})
            return (text(r.type), text(r.unit))

        def one(n, default=0):
            return raw[n][-1] if raw[n] else default

        self.sample_types = [value_type(v) for v in raw[1]]
        self.period_type = value_type(raw[11][0]) if raw[11] else None
        self.period = _signed(one(12))
        self.time_nanos = _signed(one(9))
        self.duration_nanos = _signed(one(10))
        self.drop_frames = text(one(7))
        self.keep_frames = text(one(8))
        comments = []
        for v in raw[13]:
            _repeated(comments, v)
        self.comments = [text(c) for c in comments]
        self.default_sample_type = text(one(14))

        self.mappings = [message(v, {1: ("id", 0), 2: ("start", 0), 3: ("limit", 0), 4: ("offset", 0),
                                     5: ("file", 0), 6: ("build_id", 0), 7: ("has_functions", 0),
                                     8: ("has_filenames", 0), 9: ("has_line_numbers", 0),
                                     10: ("has_inline_frames", 0)}) for v in raw[3]]
        for m in self.mappings:
            m.file, m.build_id = text(m.file), text(m.build_id)
        self.functions = [message(v, {1: ("id", 0), 2: ("name", 0), 3: ("system_name", 0),
                                      4: ("filename", 0), 5: ("start_line", 0)}) for v in raw[5]]
        for f in self.functions:
            f.name, f.system_name, f.filename = text(f.name), text(f.system_name), text(f.filename)
        functions = {f.id: f for f in self.functions}
        mappings = {m.id: m for m in self.mappings}
        self.locations = [message(v, {1: ("id", 0), 2: ("mapping_id", 0), 3: ("address", 0),
                                      4: ("line", list), 5: ("is_folded", 0)}) for v in raw[4]]
        for l in self.locations:
            lines = [message(v, {1: ("function_id", 0), 2: ("line", 0), 3: ("column", 0)}) for v in l.line]
            l.lines = [(functions[x.function_id], _signed(x.line)) for x in lines]
            l.names = [f.name for f, _ in l.lines]
            l.mapping = mappings[l.mapping_id] if l.mapping_id else None
        locations = {l.id: l for l in self.locations}
        self.samples = []
        for v in raw[2]:
            s = message(v, {1: ("location_id", list), 2: ("value", list), 3: ("label", list)})
            s.values = [_signed(x) for x in s.value]
            s.locations = [locations[i] for i in s.location_id]
            s.names = [n for l in s.locations for n in l.names]
            s.labels = {}
            for data in s.label:
                r = message(data, {1: ("key", 0), 2: ("str", 0), 3: ("num", 0), 4: ("unit", 0)})
                s.labels.setdefault(text(r.key), []).append(text(r.str) if r.str else _signed(r.num))
            self.samples.append(s)
        reason = rules.broken(self)
        if reason:
            raise AssertionError("no profile that all readers would take: " + reason)

    def index(self, type_name):
        return [t for t, _ in self.sample_types].index(type_name)

    def total(self, type_name="inuse_space"):
        i = self.index(type_name)
        return sum(s.values[i] for s in self.samples)

    def sums(self, pick):
        """The sum of each value over the samples for which pick(sample) is true."""
        sums = [0] * len(self.sample_types)
        for s in self.samples:
            if pick(s):
                sums = [a + b for a, b in zip(sums, s.values)]
        return sums

    def cum(self, name):
        """Sums over the samples with the function anywhere in the stack."""
        return self.sums(lambda s: name in s.names)

    def flat(self, name):
        """Sums over the samples whose leaf is the function, frames that drop_frames names aside."""
        return self.sums(lambda s: self.leaf(s) == name)

    def leaf(self, sample):
        drop = re.compile("^(?:%s)$" % self.drop_frames) if self.drop_frames else None
        for n in sample.names:
            if not (drop and drop.match(simplified(n))):
                return n
        return None

    def names(self):
        return {f.name for f in self.functions}


_demangled = {}


def demangle(name):
    if not name.startswith("_Z"):
        return name
    if name not in _demangled:
        r = subprocess.run(["c++filt", name], capture_output=True, text=True, timeout=60)
        _demangled[name] = r.stdout.strip() or name
    return _demangled[name]


def simplified(name):
    """A function's name as the reader matches it against drop_frames: demangled, without arguments
    and template arguments."""
    name = demangle(name)
    name = re.sub(r"\((?!anonymous).*$", "", name)
    while True:
        shorter = re.sub(r"(?<!operator)<[^<>]*>", "", name)
        if shorter == name:
            return name.strip()
        name = shorter
