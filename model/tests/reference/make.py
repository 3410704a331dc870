"""Writes values.json: what SciPy says of the statistics that model/src/stats computes.

python make.py > values.json      (SciPy 1.17; run once, the result is committed)

Where SciPy has a function it is called; where it has not, the formula is written out from the paper
with SciPy's distributions and special functions, in another way than the Rust code does it (roots by
brentq, enumeration by itertools, quantiles by numpy).
"""

import itertools
import json

import numpy
from scipy import optimize, special, stats

random = numpy.random.default_rng(20261121)


def numbers(array):
    return [float(x) for x in array]


def intervals():
    """Student's t on log ratios: ttest_1samp."""
    for n in (2, 3, 4, 7, 20):
        for scale in (1e-4, 0.01, 0.3):
            for confidence in (0.9, 0.95, 0.999):
                d = random.normal(0.5 * scale, scale, n)
                test = stats.ttest_1samp(d, 0)
                low, high = test.confidence_interval(confidence)
                yield {
                    "d": numbers(d),
                    "confidence": confidence,
                    "low": float(low),
                    "high": float(high),
                    "p": float(test.pvalue),
                }


def quantiles():
    """Of Student's t, also with as many degrees of freedom as only a peer prior has."""
    for confidence in (0.5, 0.9, 0.95, 0.9999):
        for df in (1.0, 2.0, 3.3, 17.0, 500.0, 9.9e3, 1e4, 1.1e4, 1e5, 1e6, 1e7, 4.3e9, 1e15):
            yield {
                "confidence": confidence,
                "df": df,
                "is": float(stats.t.ppf(0.5 + confidence / 2, df)),
            }


def treat():
    """McCarthy & Smyth 2009, eq. 1, with scipy.stats.t."""
    for rounds in (2, 3, 10, 40):
        for df in (1.0, 2.5, 13.7, 400.0, 1e6):
            for mean in (-0.2, -0.011, 0.0, 0.004, 0.03):
                for delta in (0.0, 0.00995, 0.05):
                    variance = 10 ** random.uniform(-7, -2)
                    se = numpy.sqrt(variance / rounds)
                    p = stats.t.sf((abs(mean) - delta) / se, df) + stats.t.sf((abs(mean) + delta) / se, df)
                    yield {
                        "rounds": rounds,
                        "mean": mean,
                        "variance": variance,
                        "df": df,
                        "delta": delta,
                        "p": float(min(p, 1.0)),
                    }


def adjusted():
    """scipy.stats.false_discovery_control."""
    cases = [random.uniform(size=n) ** 3 for n in (1, 2, 5, 30)]
    cases.append(numpy.round(random.uniform(size=25), 1))  # ties, zeros and ones
    for p in cases:
        yield {
            "p": numbers(p),
            "bh": numbers(stats.false_discovery_control(p, method="bh")),
            "by": numbers(stats.false_discovery_control(p, method="by")),
        }


def trigamma():
    for x in (1e-3, 0.1, 0.5, 1.0, 1.5, 3.7, 11.99, 12.0, 50.0, 1e4, 5e5):
        yield {"x": x, "is": float(special.polygamma(1, x))}


def clip_ratio(df):
    """What clipping at the 5 % and 90 % quantiles leaves of the variance of ln of a χ²."""
    values = numpy.log(stats.chi2.ppf((numpy.arange(400) + 0.5) / 400, df))
    values = numpy.clip(values, numpy.quantile(values, 0.05), numpy.quantile(values, 0.90))
    return float(values.var() / special.polygamma(1, df / 2))


def clip_ratios():
    for df in (1, 2, 3, 7, 19, 63):
        yield {"df": df, "is": clip_ratio(df)}


def peer_prior():
    """Smyth 2004, section 6.2, with τ² by Paule & Mandel 1982 over standardised residuals of ln s²,
    which are clipped at the 5 % and 90 % quantiles and whose variance is made up for."""

    def scatter(e, sampling, between):
        weight = 1 / (sampling + between)
        mean = numpy.average(e, weights=weight)
        residual = (e - mean) * numpy.sqrt(weight)
        residual = numpy.clip(residual, numpy.quantile(residual, 0.05), numpy.quantile(residual, 0.90))
        clipped = mean + residual / numpy.sqrt(weight)
        mean = numpy.average(clipped, weights=weight)
        return mean, (weight * (clipped - mean) ** 2).sum() / (len(e) - 1)

    for series, prior_df, dfs in (
        (40, 3.0, (2.0,)),
        (40, 12.0, (2.0, 9.0, 12.0)),
        (120, 1.2, (4.0,)),
        (100, 60.0, (2.0, 11.5)),
    ):
        df = random.choice(dfs, series)
        true = 1e-4 * prior_df / random.chisquare(prior_df, series)
        variance = true * random.chisquare(df) / df
        variance = numpy.maximum(variance, 1e-5 * numpy.median(variance))
        e = numpy.log(variance) - special.digamma(df / 2) + numpy.log(df / 2)
        sampling = special.polygamma(1, df / 2)
        ratio = clip_ratio(round(df.mean()))
        excess = lambda between: scatter(e, sampling, between)[1] - ratio
        wanted = 0.0
        half = 5e5  # as good as infinite, where the series differ by no more than chance
        if excess(0.0) > 0:
            wanted = optimize.brentq(excess, 0.0, 1e3, xtol=1e-15, rtol=1e-14)
            half = optimize.brentq(lambda x: special.polygamma(1, x) - wanted, 1e-3, 1e6, xtol=1e-13, rtol=1e-14)
        yield {
            "variances": [[float(v), float(f)] for v, f in zip(variance, df)],
            "value": float(numpy.exp(scatter(e, sampling, wanted)[0] + special.digamma(half) - numpy.log(half))),
            "df": 2 * half,
        }


def sign_flips():
    """Every assignment of signs; against zero also scipy.stats.permutation_test, which must agree."""
    for n in (1, 2, 3, 6, 11, 15):
        for delta in (0.0, 0.01):
            d = random.normal(0.015, 0.01, n)
            if n == 6:
                d = numpy.round(d, 2)  # ties
            sign = -1.0 if d.sum() < 0 else 1.0
            p = 0.0
            for shift in (delta, -delta):
                values = sign * d - shift
                signs = numpy.array(list(itertools.product((1, -1), repeat=n)))
                p += ((signs * values).sum(axis=1) >= values.sum() - 1e-12).mean()
            p = min(p, 1.0)
            if delta == 0.0 and n > 1:
                scipy = stats.permutation_test(
                    (d,), numpy.sum, permutation_type="samples", n_resamples=numpy.inf
                )
                assert abs(scipy.pvalue - p) < 1e-12, (d, scipy.pvalue, p)
            yield {"d": numbers(d), "delta": delta, "p": float(p)}


def detectable():
    """The effect at which P(T > t₁₋α⸝₂ − (effect − δ)/se) is the power, by root finding."""
    for rounds, df in ((3, 2.0), (3, 14.3), (10, 9.0), (20, 300.0)):
        for power in (0.5, 0.8, 0.95):
            for delta in (0.0, 0.00995):
                variance, alpha = 10 ** random.uniform(-6, -3), 0.05
                se = numpy.sqrt(variance / rounds)
                critical = stats.t.isf(alpha / 2, df)

                def short(effect):
                    return stats.t.sf(critical - (effect - delta) / se, df) - power

                yield {
                    "rounds": rounds,
                    "variance": variance,
                    "df": df,
                    "delta": delta,
                    "alpha": alpha,
                    "power": power,
                    "is": float(optimize.brentq(short, delta - 60 * se, delta + 60 * se, xtol=1e-14)),
                }


def rounds_needed():
    """The first n above `rounds` whose half-width is below the distance of the mean from δ (δ/2)."""
    delta, confidence = 0.00995, 0.95
    for rounds, borrowed in ((3, 0.0), (3, 12.3), (8, 0.0), (8, 40.0)):
        for mean in (0.0, 0.0098, -0.012, 0.05):
            for sd in (0.001, 0.01, 0.03):
                target = max(abs(abs(mean) - delta), delta / 2)
                n = rounds + 1
                while stats.t.isf((1 - confidence) / 2, borrowed + n - 1) * sd / numpy.sqrt(n) >= target:
                    n += 1
                yield {
                    "rounds": rounds,
                    "mean": mean,
                    "variance": sd**2,
                    "df": borrowed + rounds - 1,
                    "delta": delta,
                    "confidence": confidence,
                    "is": n,
                }


def geometric_means():
    """The mean of d̄ with Satterthwaite's degrees of freedom; equal series also by gmean."""
    for k in (1, 2, 9, 50):
        mean = random.normal(0, 0.02, k)
        variance = 10 ** random.uniform(-6, -3, k)
        rounds = random.integers(2, 20, k)
        df = rounds - 1 + random.uniform(0, 10, k)
        of_mean = variance / rounds / k**2
        satterthwaite = of_mean.sum() ** 2 / (of_mean**2 / df).sum()
        assert abs(numpy.log(stats.gmean(numpy.exp(mean))) - mean.mean()) < 1e-12
        low, high = stats.t.interval(0.95, satterthwaite, mean.mean(), numpy.sqrt(of_mean.sum()))
        yield {
            "series": [
                {"mean": float(m), "variance": float(v), "df": float(f), "rounds": int(n)}
                for m, v, f, n in zip(mean, variance, df, rounds)
            ],
            "low": float(low),
            "high": float(high),
        }


def shares():
    """Clopper & Pearson: binomtest(…).proportion_ci(method="exact")."""
    for hits, of in ((0, 1), (0, 50), (1, 20), (7, 200), (20, 20), (499, 1000)):
        for confidence in (0.9, 0.95):
            interval = stats.binomtest(hits, of).proportion_ci(confidence, method="exact")
            yield {
                "hits": hits,
                "of": of,
                "confidence": confidence,
                "low": float(interval.low),
                "high": float(interval.high),
            }


sections = (
    intervals, quantiles, treat, adjusted, trigamma, peer_prior, sign_flips, detectable, rounds_needed, geometric_means, shares, clip_ratios
)
lines = [
    f'"{section.__name__}": [\n' + ",\n".join(json.dumps(case) for case in section()) + "\n]" for section in sections
]
print("{\n" + ",\n".join(lines) + "\n}")
