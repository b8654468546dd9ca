"""Statistics of experiments: how many users one takes, what it can show, whether its parts have the right sizes.

Scores and intervals are in `statistics.py`. Pure functions, which `tests/test_trials.py` compares with scipy and with
exact binomials.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, erfc, exp, pi, sqrt
from statistics import NormalDist

ALPHA, POWER = 0.05, 0.8
"""Of false alarms, and of finding what is there, unless others are asked for."""
_NORMAL = NormalDist()


def sample_sizes(baseline: float, other: float, alpha: float, power: float, ratio: float = 1.0) -> tuple[int, int]:
    """How many users a control with the rate `baseline`, and a part with the rate `other` need, the part `ratio` times
    as many, so that the pooled two-sided z-test of level alpha finds the difference with this power.

    Fleiss, Levin, Paik 2003, chapter 4, without correction for continuity.
    """
    critical, reached = _NORMAL.inv_cdf(1 - alpha / 2), _NORMAL.inv_cdf(power)
    pooled = (baseline + ratio * other) / (1 + ratio)
    no_difference = critical * sqrt((ratio + 1) * pooled * (1 - pooled))
    difference = reached * sqrt(ratio * baseline * (1 - baseline) + other * (1 - other))
    control = (no_difference + difference) ** 2 / (ratio * (other - baseline) ** 2)
    return ceil(control), ceil(ratio * control)


def power_of(baseline: float, control: int, other: float, treated: int, alpha: float) -> float:
    """How likely the pooled two-sided z-test of level alpha finds the difference of two rates in groups of these sizes.

    The inverse of `sample_sizes`; what is found in the wrong direction does not count.
    """
    pooled = (baseline * control + other * treated) / (control + treated)
    no_difference = sqrt(pooled * (1 - pooled) * (1 / control + 1 / treated))
    spread = sqrt(baseline * (1 - baseline) / control + other * (1 - other) / treated)
    apart = abs(other - baseline) - _NORMAL.inv_cdf(1 - alpha / 2) * no_difference
    if not spread:
        return float(apart > 0)
    return _NORMAL.cdf(apart / spread)


def detectable(
    baseline: float, control: int, treated: int, alpha: float, power: float, *, up: bool = True
) -> float | None:
    """The rate nearest to the baseline that groups of these sizes tell from it with this power; None where none is.

    By bisection of `power_of`, which grows with the difference.
    """
    near, far = baseline, 1.0 if up else 0.0
    if power_of(baseline, control, far, treated, alpha) < power:
        return None
    for _ in range(100):
        middle = (near + far) / 2
        enough = power_of(baseline, control, middle, treated, alpha) >= power
        near, far = (near, middle) if enough else (middle, far)
    return far


def chi_squared(sizes: Sequence[int], shares: Sequence[float]) -> float:
    """How far sizes are from the shares that they should have of their sum (Pearson 1900); 0 of nobody."""
    whole, written = sum(sizes), [Fraction(repr(share)) for share in shares]
    if not whole:
        return 0.0
    expected = [whole * share / sum(written) for share in written]
    return float(sum((size - due) ** 2 / due for size, due in zip(sizes, expected, strict=True)))


def chi_squared_p_value(statistic: float, freedom: int) -> float:
    """How likely chance takes a chi-squared of so many degrees of freedom at least so far: the upper tail.

    The finite sums of Abramowitz, Stegun 1964, 26.4.4 (odd) and 26.4.5 (even).
    """
    if freedom < 1:
        return 1.0
    half = statistic / 2
    if freedom % 2:
        found, term = erfc(sqrt(half)), sqrt(statistic) * exp(-half) * sqrt(2 / pi)
        for i in range(1, freedom, 2):
            found += term
            term *= statistic / (i + 2)
        return min(found, 1.0)
    term = found = exp(-half)
    for i in range(1, freedom // 2):
        term *= half / i
        found += term
    return min(found, 1.0)
