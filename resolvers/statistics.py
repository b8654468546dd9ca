"""Statistics over counts: how far apart shares and means are, and what of that may be chance. Pure functions.

Each formula names its source; `tests/test_statistics.py` compares them with scipy. What is compared is in the modules
that ask; nothing here knows of tags or audiences.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, inf, nan, sqrt
from statistics import NormalDist

from bitmap_store.significance import adjusted, log_odds, p_values, z_scores

__all__ = ["adjusted", "log_odds", "p_values", "z_scores"]
"""Those that the store needs as well, to evaluate look-alikes; they belong to this page."""

CONFIDENCE = 0.95
"""Of intervals, unless another is asked for."""
DISCOVERY_RATE = 0.05
"""The expected part of findings that are chance, at most."""
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval; both ends NaN where nothing can be said."""

    low: float
    high: float


def quantile(confidence: float) -> float:
    """How many standard errors a two-sided interval reaches to each side: 1.96 of 0.95."""
    return _NORMAL.inv_cdf((1 + confidence) / 2)


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
