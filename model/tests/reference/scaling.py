"""Writes scaling.json: what SciPy says of the fits that model/src/stats/scaling makes.

python scaling.py > scaling.json      (SciPy 1.17; run once, the result is committed)

The curves are generated. Fits are by scipy.optimize.least_squares with three parameters, T1 among them
(the better of its two methods that know bounds); errors come from numpy's pseudo-inverse of the Jacobian;
intervals and p from scipy.stats.
"""

import json

import numpy
from scipy import optimize, stats

random = numpy.random.default_rng(20261121)
CONFIDENCE = 0.95
INF = numpy.inf


def ln_law(n, theta):
    t, s, k = theta
    return t + numpy.log(1 + s * (n - 1) + k * n * (n - 1)) - numpy.log(n)


def jacobian(n, theta):
    _, s, k = theta
    d = 1 + s * (n - 1) + k * n * (n - 1)
    return numpy.stack([numpy.ones_like(n), (n - 1) / d, n * (n - 1) / d], axis=1)


def generate(counts, rounds, sigma, kappa, noise, bend=0.0):
    """Whole times: bend moves every second count away from the law."""
    out = []
    for i, n in enumerate(counts):
        t = 1e9 * (1 + sigma * (n - 1) + kappa * n * (n - 1)) / n
        t *= numpy.exp(bend * (-1) ** i)
        times = t * numpy.exp(noise * random.standard_normal(rounds[i % len(rounds)]))
        out.append([n, [int(round(x)) for x in times]])
    return out


class Side:
    def __init__(self, times):
        self.logs = [numpy.log(t) for _, t in times]
        self.n = numpy.array([float(n) for n, _ in times])
        self.y = numpy.array([l.mean() for l in self.logs])
        self.w = numpy.array([float(len(l)) for l in self.logs])
        self.s2 = numpy.array([l.var(ddof=1) for l in self.logs])
        self.df = self.w - 1

    def fit(self, low, high, fixed_kappa=False):
        root = numpy.sqrt(self.w)

        def full(x):
            return (x[0], x[1], 0.0) if fixed_kappa else tuple(x)

        def residuals(x):
            with numpy.errstate(invalid="ignore", divide="ignore"):
                law = ln_law(self.n, full(x))
            return numpy.where(numpy.isfinite(law), root * (self.y - law), 1e3)

        best = None
        keep = 2 if fixed_kappa else 3
        for method in ("trf", "dogbox"):
            for s0, k0 in ((0.01, 1e-5), (0.3, 1e-3), (0.9, 0.02)):
                start = [self.y[0], s0, k0][:keep]
                got = optimize.least_squares(
                    residuals, start, method=method, bounds=(low[:keep], high[:keep]),
                    x_scale=[1, 0.1, 0.01][:keep], xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=20000)
                if best is None or got.cost < best.cost:
                    best = got
        return full(best.x), 2 * best.cost

    def influence(self, theta, columns=(0, 1, 2)):
        root = numpy.sqrt(self.w)
        j = jacobian(self.n, theta)[:, columns] * root[:, None]
        return numpy.linalg.pinv(j) * root


def satterthwaite(parts, df):
    parts = numpy.array(parts)
    return parts.sum(), parts.sum() ** 2 / (parts**2 / numpy.array(df)).sum()


def curve(times, interior):
    side = Side(times)
    law, squares = side.fit([-INF, 0, 0], [INF, 1, INF])
    amdahl, amdahl_squares = side.fit([-INF, 0, 0], [INF, 1, INF], fixed_kappa=True)
    free, _ = side.fit([-INF, -INF, -INF], [INF, INF, INF])
    out = {
        "times": times,
        "law": [float(x) for x in law],
        "squares": squares,
        "amdahl": [float(x) for x in amdahl[:2]],
        "amdahl_squares": amdahl_squares,
        "speedups": [],
    }
    one = side.logs[0]
    for logs in side.logs[1:]:
        ci = stats.ttest_ind(one, logs, equal_var=False).confidence_interval(CONFIDENCE)
        out["speedups"].append([float(ci.low), float(ci.high)])
    if interior:
        a = side.influence(free)
        half = []
        for row in a[1:]:
            v, df = satterthwaite(row**2 * side.s2 / side.w, side.df)
            half.append(float(stats.t.ppf(0.5 + CONFIDENCE / 2, df) * numpy.sqrt(v)))
        out["half_widths"] = half
        root = numpy.sqrt(side.w)
        j = jacobian(side.n, law) * root[:, None]
        h = numpy.diag(j @ numpy.linalg.pinv(j))
        v, df = satterthwaite((1 - h) * side.s2, side.df)
        if len(times) > 3:
            out["lack_of_fit"] = float(stats.f.sf(squares / v, len(times) - 3, df))
    return out


def differences():
    counts = [1, 2, 4, 8, 16]
    for b, c, noise in (((0.05, 1e-3), (0.05, 1e-3), 0.01), ((0.05, 1e-3), (0.06, 1.5e-3), 0.01),
                        ((0.0, 0.0), (0.01, 0.0), 0.02), ((0.2, 0.01), (0.1, 0.012), 0.005)):
        baseline = generate(counts, [4], *b, noise)
        candidate = generate(counts, [4], *c, noise)
        sides = [Side(baseline), Side(candidate)]
        fits = [s.fit([-INF] * 3, [INF] * 3)[0] for s in sides]
        n = float(counts[-1])
        values, weights = [], []
        for side, theta in zip(sides, fits):
            d = 1 + theta[1] * (n - 1) + theta[2] * n * (n - 1)
            values.append(numpy.log(d))
            by = numpy.array([0, (n - 1) / d, n * (n - 1) / d])
            weights.append(by @ side.influence(theta))
        mean = values[1] - values[0]
        paired = [(weights[1][i] * sides[1].logs[i] - weights[0][i] * sides[0].logs[i]) for i in range(5)]
        apart = [weights[s] ** 2 * sides[s].s2 / sides[s].w for s in (0, 1)]
        delta = 0.01
        out = {"baseline": baseline, "candidate": candidate, "delta": delta, "mean": float(mean)}
        for name, parts, dfs in (
            ("paired", [p.var(ddof=1) / len(p) for p in paired], [3] * 5),
            ("apart", numpy.concatenate(apart), [3] * 10),
        ):
            v, df = satterthwaite(parts, dfs)
            se = numpy.sqrt(v)
            p = stats.t.sf((abs(mean) - delta) / se, df) + stats.t.sf((abs(mean) + delta) / se, df)
            half = stats.t.ppf(0.5 + CONFIDENCE / 2, df) * se
            out[name] = {"half_width": float(half), "p": float(min(p, 1.0))}
        yield out


powers, many = [1, 2, 4, 8, 16], [1, 2, 4, 8, 12, 16, 20, 24]
CURVES = [
    (generate(powers, [5], 0.05, 1e-3, 0.01), True),
    (generate(powers, [3, 5, 4], 0.2, 0.01, 0.02), True),
    (generate(many, [10], 0.02, 2e-4, 0.002), True),
    (generate(many, [4], 0.6, 2e-3, 0.01, 0.02), True),
    (generate([1, 2, 4], [6], 0.1, 0.01, 0.003), True),
    (generate(powers, [5], 0.2, 0.0, 0.001, -0.02), False),
    (generate(powers, [5], 0.0, 5e-3, 0.001, 0.02), False),
    (generate(powers, [5], -0.004, 0.0, 0.005), False),
    (generate(powers, [5], 1.2, 0.02, 0.005), False),
]

print(json.dumps({
    "curves": [curve(*c) for c in CURVES],
    "differences": list(differences()),
}, indent=None).replace('{"', '\n{"'))
