# estimates.py - how far an estimate of sampled blocks may be from the truth, by chance alone.
#
# Runs in: the test's process. Tests use it by the name of shim.
#
# SPDX-License-Identifier: Apache-2.0
import math

DEFAULT_RATE = 524288


def sample_error(size, count, rate=DEFAULT_RATE):
    """(standard error of the estimated objects, of the estimated bytes) of count blocks of size bytes:
    a block is sampled with p = 1 - e^(-size/rate) and then counts 1/p times."""
    if rate <= 1:
        return 0.0, 0.0
    p = -math.expm1(-max(size, 1) / rate)
    var = count * (1 - p) / p
    return math.sqrt(var), size * math.sqrt(var)


class Deviations:
    """Collects (estimate, truth, standard error); the verdict leaves room for chance alone: nothing
    beyond 5.5 standard errors, and beyond 4 no more than has a probability of one in a million."""

    def __init__(self):
        self.rows = []

    def add(self, name, estimate, truth, error, grain=0):
        """grain: what one sample more or less is worth, where so few are missed (or hit) that the estimate
        is no bell curve: two of them are then nothing to wonder at."""
        # Estimates are rounded, some of them once a sample.
        slack = 1.5 + 1e-4 * abs(truth) + 2 * grain
        z = max(0.0, abs(estimate - truth) - slack) / error if error else (
            0.0 if abs(estimate - truth) <= slack else math.inf)
        self.rows.append((z, name, estimate, truth, error))

    def verdict(self):
        """None, or what is wrong."""
        far = sorted((r for r in self.rows if r[0] > 4), reverse=True)
        n, p = len(self.rows), 6.4e-5

        def more_than(k):
            return sum(math.comb(n, i) * p ** i * (1 - p) ** (n - i) for i in range(k + 1, min(n, k + 12) + 1))
        allowed = next(k for k in range(n + 1) if more_than(k) <= 1e-6)
        if not far or (far[0][0] <= 5.5 and len(far) <= allowed):
            return None
        return "; ".join("%s: %d for %d (%.1f standard errors)" % (n, e, t, z) for z, n, e, t, _ in far[:6])


def expected_samples(size, count, rate=DEFAULT_RATE):
    return count * -math.expm1(-max(size, 1) / rate)


def site_values(profile, site):
    """[alloc objects, alloc bytes, inuse objects, inuse bytes] of a site: of the samples that it is the
    leaf of, or, for names with via_, that it is part of."""
    return profile.cum(site) if site.startswith("via_") else profile.flat(site)


def site_truth(rows):
    """The same four, as the program knows them."""
    return [sum(a for _, a, _ in rows), sum(s * a for s, a, _ in rows),
            sum(n for _, _, n in rows), sum(s * n for s, _, n in rows)]


def site_errors(rows, rate):
    """The standard errors of the four estimates; None where so few samples are expected that the
    estimate is no bell curve."""
    errors = []
    for count_at in (1, 2):
        objects = size_bytes = expected = 0.0
        few = False
        for row in rows:
            if row[count_at]:
                e_objects, e_bytes = sample_error(row[0], row[count_at], rate)
                n = expected_samples(row[0], row[count_at], rate)
                if row[count_at] - n < 10:
                    # Nearly all are sampled, and the few that are missed follow Poisson's law, not a bell curve: four
                    # blocks more than expected are as rare as four standard errors.
                    e_objects, e_bytes = max(e_objects, 1.0), max(e_bytes, float(row[0]))
                objects += e_objects ** 2
                size_bytes += e_bytes ** 2
                expected += n
                few |= n < 30 and row[0] < rate
        errors.append(None if few else math.sqrt(objects))
        errors.append(None if few and expected < 30 else math.sqrt(size_bytes))
    return errors
