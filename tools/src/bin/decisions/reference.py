"""Writes reference.json: what SciPy and NumPy say of the peers' tests. Run once; the result is committed.

python reference.py > reference.json     (scipy 1.x, numpy 2.x)
"""

import json

import numpy
from scipy import stats

random = numpy.random.default_rng(20261121)
two_samples = []
for n in (2, 3, 4, 5, 8, 10, 20):
    for shift in (0.0, 0.02):
        for digits in (6, 2):  # two digits give ties
            a = numpy.round(1 + shift + 0.01 * random.standard_t(3, n), digits)
            b = numpy.round(1 + 0.01 * random.standard_t(3, n), digits)
            if n == 2 and digits == 2:
                a, b = numpy.array([1.0, 1.01]), numpy.array([1.0, 1.02 + shift])
            tied = len(set(a) | set(b)) < 2 * n
            if a.var() + b.var() == 0:
                continue
            u = stats.mannwhitneyu(a, b, method="asymptotic" if tied else "exact")
            two_samples.append(
                {
                    "a": a.tolist(),
                    "b": b.tolist(),
                    "welch": stats.ttest_ind(a, b, equal_var=False).pvalue,
                    "mann_whitney": u.pvalue,
                }
            )
quantiles = [
    {"values": values, "at": at, "is": float(numpy.quantile(values, at))}
    for values in ([3.0], [1.0, 2.0], [5.0, 1.0, 2.0, 9.0], random.normal(size=30).tolist())
    for at in (0.25, 0.5, 0.75)
]
print(json.dumps({"two_samples": two_samples, "quantiles": quantiles}, indent=1))
