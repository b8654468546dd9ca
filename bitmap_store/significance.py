"""How much two groups differ in what they have, and what of that may be chance: formulas over counts.

The other statistics are in `resolvers/statistics.py`; these are here because a look-alike is evaluated by them.
"""

from math import erfc, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def z_scores(inside: ArrayLike, whole: ArrayLike, outside: ArrayLike, rest: ArrayLike) -> Floats:
    """How far shares of two groups without common members are apart, in standard errors of no difference.

    inside of `whole` and outside of `rest` have what is asked about; arrays of counts, or numbers. 0 where both shares
    are 0 or both 1, and where a group is empty. The pooled two-proportion z (Fleiss, Levin, Paik 2003, 3.1); its
    square is Pearson's chi-squared without correction.
    """
    inside, whole = np.asarray(inside, float), np.asarray(whole, float)
    outside, rest = np.asarray(outside, float), np.asarray(rest, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (inside + outside) / (whole + rest)
        error = np.sqrt(pooled * (1 - pooled) * (1 / whole + 1 / rest))
        z = (inside / whole - outside / rest) / error
    return np.where(np.isfinite(z), z, 0.0)


def p_values(z: ArrayLike) -> Floats:
    """How likely a score at least as far from 0 is by chance, for scores that are normal: two-sided."""
    return np.array([erfc(abs(each) / sqrt(2)) for each in np.ravel(np.asarray(z, float))])


def adjusted(p: ArrayLike) -> Floats:
    """p-values of many questions asked together, so that taking those up to a rate keeps the expected part of false
    findings among them at that rate (Benjamini, Hochberg 1995)."""
    p = np.asarray(p, float)
    if not p.size:
        return p
    order = np.argsort(p)[::-1]
    ranks = np.arange(p.size, 0, -1)
    found = np.empty_like(p)
    found[order] = np.minimum(np.minimum.accumulate(p[order] * p.size / ranks), 1.0)
    return found


def log_odds(inside: ArrayLike, whole: int, outside: ArrayLike, rest: int, smoothing: float = 1.0) -> Floats:
    """How much more a group has each thing than another: the logarithm of the ratio of smoothed shares.

    The weight of a feature that is there, less that of one that is not, of a Bernoulli naive Bayes classifier with
    additive smoothing (Manning, Raghavan, Schütze 2008, 13.3).
    """
    inside, outside = np.asarray(inside, float), np.asarray(outside, float)
    one = (inside + smoothing) / (whole + 2 * smoothing)
    other = (outside + smoothing) / (rest + 2 * smoothing)
    found: Floats = np.log(one / (1 - one)) - np.log(other / (1 - other))
    return found
