# rules.py - what must hold in every profile, beyond profile.proto: the rules of Parca's server, and that it is the
# program's.
#
# Runs in: the test's process. Every profile that any test decodes is held against them (shim.Profile).
# The rules are those of Parca's ValidatePprofProfile, in words of our own: ids number the entries of a table in their
# order, references stay within their tables, every sample has a value of each type. Besides, no frame is ours.
#
# SPDX-License-Identifier: Apache-2.0


def _tables(p):
    for what, table in (("mapping", p.mappings), ("location", p.locations), ("function", p.functions)):
        for place, entry in enumerate(table, 1):
            if entry.id != place:
                yield "%s %d of the file has the id %d" % (what, place, entry.id)


def _references(p):
    for l in p.locations:
        if l.mapping_id > len(p.mappings):
            yield "location %d lies in mapping %d of %d" % (l.id, l.mapping_id, len(p.mappings))
        for f, _ in l.lines:
            if not 1 <= f.id <= len(p.functions):
                yield "location %d has the function %d" % (l.id, f.id)


def _samples(p):
    if p.samples and not p.sample_types:
        yield "there are samples, but no types"
    for i, s in enumerate(p.samples):
        if len(s.value) != len(p.sample_types):
            yield "sample %d has %d values for %d types" % (i, len(s.value), len(p.sample_types))
        for n in s.location_id:
            if not 1 <= n <= len(p.locations):
                yield "sample %d has the location %d of %d" % (i, n, len(p.locations))
        if "" in s.labels:
            yield "sample %d has a label without a key" % i


def _ours(p):
    for l in p.locations:
        # What has no room in our tables is counted at a function of this name: it stands for others' stacks. The other
        # is the mark at the root of a stack that is not whole.
        if l.mapping and l.mapping.file.endswith("/libpprofshim.so") and l.names not in (["other_stacks"], ["[truncated]"]):
            yield "a frame of the profiler's own is in it: " + ", ".join(l.names)


def broken(p):
    """The first rule that a decoded profile breaks; None: none."""
    if p.strings[:1] != [""]:
        return "the first string is not empty"
    for rule in (_tables, _references, _samples, _ours):
        for reason in rule(p):
            return reason
    return None
