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


# Places of ours that stand for others' stacks: those that found no room in our tables, those of threads out of reach,
# and the rest of one that is not whole.
STAND_FOR_STACKS = {"other_stacks", "thread_not_reached", "[truncated]"}


def _ours(p):
    for l in p.locations:
        if l.mapping and l.mapping.file.endswith("/libpprofshim.so") and not STAND_FOR_STACKS.issuperset(l.names):
            yield "a frame of the profiler's own is in it: " + ", ".join(l.names)


def broken(p):
    """The first rule that a decoded profile breaks; None: none."""
    if p.strings[:1] != [""]:
        return "the first string is not empty"
    for rule in (_tables, _references, _samples, _ours):
        for reason in rule(p):
            return reason
    return None
