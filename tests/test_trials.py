"""Sizes and power of experiments against exact binomials, a textbook and scipy's chi-squared."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resolvers import trials

RATES = st.floats(0.02, 0.9)


def exact_power(one: float, size: int, other: float, other_size: int, alpha: float) -> float:
    """How likely the pooled z-test finds the difference, summed over all outcomes of two binomials."""
    reach = []
    for rate, count in ((one, size), (other, other_size)):
        low, high = stats.binom.ppf([1e-9, 1 - 1e-9], count, rate).astype(int)
        reach.append(np.arange(low, high + 1))
    a, b = np.meshgrid(*reach, indexing="ij")
    likely = np.outer(stats.binom.pmf(reach[0], size, one), stats.binom.pmf(reach[1], other_size, other))
    pooled = (a + b) / (size + other_size)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (b / other_size - a / size) / np.sqrt(pooled * (1 - pooled) * (1 / size + 1 / other_size))
    return float(likely[np.abs(z) > stats.norm.isf(alpha / 2)].sum())


@pytest.mark.parametrize(
    ("baseline", "other", "power", "ratio"),
    [(0.05, 0.06, 0.8, 1), (0.1, 0.13, 0.9, 1), (0.2, 0.15, 0.8, 1), (0.1, 0.12, 0.8, 3), (0.3, 0.35, 0.95, 0.5)],
)
def test_the_planned_sizes_have_the_power_that_was_asked_for(
    baseline: float, other: float, power: float, ratio: float
) -> None:
    control, treated = trials.sample_sizes(baseline, other, 0.05, power, ratio)
    assert exact_power(baseline, control, other, treated, 0.05) == pytest.approx(power, abs=0.01)
    assert exact_power(baseline, control // 2, other, treated // 2, 0.05) < power - 0.1
    assert exact_power(baseline, control, baseline, treated, 0.05) == pytest.approx(0.05, abs=0.005)  # finds nothing


def test_the_planned_sizes_have_their_power_by_simulation() -> None:
    control, treated = trials.sample_sizes(0.08, 0.1, 0.05, 0.8)
    rng = np.random.default_rng(5)
    tables = np.stack([rng.binomial(control, 0.08, 20_000), rng.binomial(treated, 0.1, 20_000)])
    pooled = tables.sum(axis=0) / (control + treated)
    z = (tables[1] / treated - tables[0] / control) / np.sqrt(pooled * (1 - pooled) * (1 / control + 1 / treated))
    found = float((np.abs(z) > stats.norm.isf(0.025)).mean())
    assert found == pytest.approx(0.8, abs=4 * np.sqrt(0.8 * 0.2 / 20_000) + 0.003)


def test_sizes_are_those_of_the_textbook() -> None:
    """60 and 70 per cent, level 1 %, power 95 %: 827 with the correction that Fleiss, Levin, Paik 2003 put on top."""
    control, treated = trials.sample_sizes(0.6, 0.7, 0.01, 0.95)
    assert control == treated
    corrected = control / 4 * (1 + np.sqrt(1 + 4 / (control * 0.1))) ** 2
    assert corrected == pytest.approx(827, abs=1)


@given(RATES, st.integers(50, 10**6), st.integers(50, 10**6), st.sampled_from([0.01, 0.05]), st.floats(0.5, 0.95))
def test_what_is_detectable_is_found_with_the_power(
    baseline: float, control: int, treated: int, alpha: float, power: float
) -> None:
    for up in (True, False):
        other = trials.detectable(baseline, control, treated, alpha, power, up=up)
        if other is None:
            assert trials.power_of(baseline, control, 1.0 if up else 0.0, treated, alpha) < power
            continue
        assert (other > baseline) is up
        assert trials.power_of(baseline, control, other, treated, alpha) >= power
        nearer = baseline + (other - baseline) * 0.99
        assert trials.power_of(baseline, control, nearer, treated, alpha) < power


@given(RATES, st.floats(0.005, 0.09), st.floats(0.5, 0.95), st.floats(0.2, 5))
def test_sizes_and_power_are_inverse(baseline: float, effect: float, power: float, ratio: float) -> None:
    control, treated = trials.sample_sizes(baseline, baseline + effect, 0.05, power, ratio)
    assert trials.power_of(baseline, control, baseline + effect, treated, 0.05) >= power - 1e-9
    assert trials.power_of(baseline, control, baseline + effect, treated, 0.05) < power + 8 / min(control, treated)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(0.05, 1)), min_size=2, max_size=12))
def test_chi_squared_is_scipys(groups: list[tuple[int, float]]) -> None:
    sizes, shares = [size for size, _ in groups], np.array([share for _, share in groups])
    found = trials.chi_squared(sizes, shares.tolist())
    if not sum(sizes):
        assert found == 0
        return
    expected = stats.chisquare(sizes, sum(sizes) * shares / shares.sum())
    assert found == pytest.approx(expected.statistic, rel=1e-9, abs=1e-9)
    p = trials.chi_squared_p_value(found, len(sizes) - 1)
    assert p == pytest.approx(expected.pvalue, rel=1e-9, abs=1e-300)


@given(st.floats(0, 200), st.integers(1, 60))
def test_the_tail_of_chi_squared_is_scipys(statistic: float, freedom: int) -> None:
    assert trials.chi_squared_p_value(statistic, freedom) == pytest.approx(
        stats.chi2.sf(statistic, freedom), rel=1e-9, abs=1e-300
    )


def test_one_part_is_never_wrong() -> None:
    assert trials.chi_squared_p_value(trials.chi_squared([5], [1.0]), 0) == 1.0
