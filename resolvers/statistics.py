"""Statistics over counts: how far apart shares and means are, and what of that may be chance. Pure functions.

Each formula names its source; `tests/test_statistics.py` compares them with scipy. What is compared is in the modules
that ask; nothing here knows of tags or audiences.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, inf, lgamma, nan, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from bitmap_store.significance import Floats, adjusted, log_odds, p_values, z_scores

__all__ = ["adjusted", "log_odds", "p_values", "z_scores"]
"""Those that the store needs as well, to evaluate look-alikes; they belong to this page."""

CONFIDENCE = 0.95
"""Of intervals, unless another is asked for."""
DISCOVERY_RATE = 0.05
"""The expected part of findings that are chance, at most."""
EXACT_BELOW = 1_000
"""Of shares of groups of which fewer are to be expected somewhere, chance is worked out exactly: far from 0 a normal
score is too sure of them, and many values are asked about at once."""
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval; both ends NaN where nothing can be said."""

    low: float
    high: float


def quantile(confidence: float) -> float:
    """How many standard errors a two-sided interval reaches to each side: 1.96 of 0.95."""
    return _NORMAL.inv_cdf((1 + confidence) / 2)


def share_p_values(inside: ArrayLike, whole: int, outside: ArrayLike, rest: int) -> Floats:
    """How likely shares of two groups without common members are at least as far apart by chance, two-sided.

    inside of `whole` and outside of `rest` have what is asked about; arrays of counts. Twice the smaller tail of the
    hypergeometric distribution where fewer than `EXACT_BELOW` are to be expected in a cell of the table (Fisher 1935;
    doubled as in Agresti 2013, 3.5.3), else that of a normal score. 1 where a group is empty.
    """
    inside, outside = np.asarray(inside, float), np.asarray(outside, float)
    found = p_values(z_scores(inside, whole, outside, rest))
    have, everyone = inside + outside, whole + rest
    if not everyone:
        return found
    expected = np.minimum(have, everyone - have) * (min(whole, rest) / everyone)
    few = np.flatnonzero(expected < EXACT_BELOW)
    found[few] = _doubled_tails(inside[few], have[few], whole, everyone)
    return found


def _doubled_tails(inside: Floats, have: Floats, drawn: int, everyone: int) -> Floats:
    """Of each count among those drawn of everyone of whom some have something, twice the smaller tail, at most 1."""
    absent = everyone - have
    logs = (
        _log_choose(have, inside)
        + _log_choose(absent, drawn - inside)
        - (lgamma(everyone + 1) - lgamma(drawn + 1) - lgamma(everyone - drawn + 1))
    )
    here = np.exp(logs)
    above = inside >= have * (drawn / everyone)
    step = np.where(above, 1.0, -1.0)
    # Away from the middle each probability is its neighbor's times a ratio that only shrinks.
    tail, term, at = here.copy(), here.copy(), inside.copy()
    left = np.arange(inside.size)
    while left.size:
        k, up, total, lacking = at[left], above[left], have[left], absent[left]
        ratio = np.where(
            up,
            (total - k) * (drawn - k) / ((k + 1) * (lacking - drawn + k + 1)),
            k * (lacking - drawn + k) / ((total - k + 1) * (drawn - k + 1)),
        )
        term[left] *= ratio
        tail[left] += term[left]
        at[left] += step[left]
        left = left[term[left] > tail[left] * 1e-17]
    smaller = np.minimum(tail, 1 - tail + here)
    doubled: Floats = np.clip(2 * smaller, 0.0, 1.0)
    return doubled


def _log_choose(of: Floats, some: Floats) -> Floats:
    pairs = zip(of.tolist(), some.tolist(), strict=True)
    return np.array([lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) for n, k in pairs])


def share_interval(inside: int, whole: int, confidence: float = CONFIDENCE) -> Interval:
    """Where a share lies (Wilson 1927)."""
    if not whole:
        return Interval(nan, nan)
    z = quantile(confidence)
    share, square = inside / whole, z * z
    middle = (share + square / (2 * whole)) / (1 + square / whole)
    half = z * sqrt(share * (1 - share) / whole + square / (4 * whole * whole)) / (1 + square / whole)
    return Interval(max(middle - half, 0.0), min(middle + half, 1.0))


def difference_interval(inside: int, whole: int, outside: int, rest: int, confidence: float = CONFIDENCE) -> Interval:
    """Where the difference of the shares of two groups without common members lies (Newcombe 1998, method 10)."""
    if not whole or not rest:
        return Interval(nan, nan)
    one, other = share_interval(inside, whole, confidence), share_interval(outside, rest, confidence)
    share, other_share = inside / whole, outside / rest
    apart = share - other_share
    return Interval(
        apart - sqrt((share - one.low) ** 2 + (other.high - other_share) ** 2),
        apart + sqrt((one.high - share) ** 2 + (other_share - other.low) ** 2),
    )


def ratio_interval(inside: int, whole: int, outside: int, rest: int, confidence: float = CONFIDENCE) -> Interval:
    """Where the ratio of the shares of two groups without common members lies (Katz, Baptista, Azen, Pike 1978)."""
    if not whole or not rest or not (inside or outside):
        return Interval(nan, nan)
    if inside == whole and outside == rest:  # without variance the formula would be sure of one user even
        return Interval(nan, nan)
    if not inside or not outside:
        return Interval(0.0, nan) if not inside else Interval(nan, inf)
    ratio = (inside / whole) / (outside / rest)
    error = sqrt(1 / inside - 1 / whole + 1 / outside - 1 / rest)
    factor = exp(quantile(confidence) * error)
    return Interval(ratio / factor, ratio * factor)


@dataclass(frozen=True, slots=True)
class Moments:
    """Of the numbers of a group: how many, their mean, and their variance (of the sample: by n - 1; NaN below 2)."""

    count: int
    mean: float
    variance: float


def standard_error(one: Moments, other: Moments) -> float:
    """Of the difference of two means, without taking the variances for equal (Welch 1947)."""
    return sqrt(one.variance / one.count + other.variance / other.count)


def means_interval(one: Moments, other: Moments, confidence: float = CONFIDENCE) -> Interval:
    """Where the difference of two means lies, for groups so large that a mean is normal."""
    if one.count < 2 or other.count < 2:
        return Interval(nan, nan)
    half = quantile(confidence) * standard_error(one, other)
    return Interval(one.mean - other.mean - half, one.mean - other.mean + half)


def effect_size(one: Moments, other: Moments) -> float:
    """The difference of two means in standard deviations within the groups (Cohen 1988, d); NaN without any spread."""
    if one.count < 2 or other.count < 2:
        return nan
    spread = (one.variance * (one.count - 1) + other.variance * (other.count - 1)) / (one.count + other.count - 2)
    return (one.mean - other.mean) / sqrt(spread) if spread else nan


def area_under_curve(ones: Mapping[int, int], others: Mapping[int, int]) -> float | None:
    """How often one of a group scores above one of another, ties as half: the area under the ROC curve; None of nobody.

    From how many have which score. The statistic U of Mann and Whitney (1947) over the number of pairs.
    """
    pairs = sum(ones.values()) * sum(others.values())
    above, twice = 0, 0
    for score in sorted({*ones, *others}):
        twice += ones.get(score, 0) * (2 * above + others.get(score, 0))
        above += others.get(score, 0)
    return twice / (2 * pairs) if pairs else None
