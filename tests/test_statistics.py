"""Statistics against scipy and scikit-learn, which work them out in ways of their own."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats.contingency import relative_risk
from sklearn.naive_bayes import BernoulliNB

from resolvers import statistics as ours

COUNTS = st.integers(1, 10_000).flatmap(lambda whole: st.tuples(st.integers(0, whole), st.just(whole)))


@given(COUNTS, COUNTS)
def test_the_square_of_z_is_chi_squared(one: tuple[int, int], other: tuple[int, int]) -> None:
    (inside, whole), (outside, rest) = one, other
    table = np.array([[inside, whole - inside], [outside, rest - outside]])
    [z] = ours.z_scores([inside], whole, [outside], rest)
    if (table.sum(axis=0) == 0).any():
        assert z == 0
        return
    found = stats.chi2_contingency(table, correction=False)
    assert z**2 == pytest.approx(found.statistic, rel=1e-6, abs=1e-9)
    assert ours.p_values([z])[0] == pytest.approx(found.pvalue, rel=1e-6, abs=1e-12)
    assert np.sign(z) == np.sign(inside / whole - outside / rest) or abs(z) < 1e-9


@given(COUNTS, COUNTS)
def test_few_are_compared_exactly(one: tuple[int, int], other: tuple[int, int]) -> None:
    (inside, whole), (outside, rest) = one, other
    [p] = ours.share_p_values([inside], whole, [outside], rest)
    have = inside + outside
    drawn = stats.hypergeom(whole + rest, have, whole)
    if stats.contingency.expected_freq([[inside, whole - inside], [outside, rest - outside]]).min() < ours.EXACT_BELOW:
        tails = 2 * min(drawn.cdf(inside), drawn.sf(inside - 1))
        assert p == pytest.approx(min(tails, 1), rel=1e-6, abs=1e-300)
    else:
        assert p == ours.p_values(ours.z_scores([inside], whole, [outside], rest))[0]


@pytest.mark.parametrize(
    "counts", [(30, 40, 300, 9_999_960), (0, 100_000, 90, 9_900_000), (900, 10**6, 5000, 9 * 10**6)]
)
def test_few_of_many_are_compared_as_scipy_does(counts: tuple[int, int, int, int]) -> None:
    inside, whole, outside, rest = counts
    side = "greater" if inside / whole > outside / rest else "less"
    table = [[inside, whole - inside], [outside, rest - outside]]
    expected = min(2 * stats.fisher_exact(table, alternative=side).pvalue, 1)
    assert ours.share_p_values([inside], whole, [outside], rest)[0] == pytest.approx(expected, rel=1e-5)


def test_of_an_empty_group_all_is_chance() -> None:
    assert ours.share_p_values([0, 0], 0, [5, 0], 10).tolist() == [1, 1]
    assert ours.share_p_values([5], 10, [0], 0).tolist() == [1]
    assert ours.share_p_values([0], 0, [0], 0).tolist() == [1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_adjusted_is_what_scipy_calls_false_discovery_control(p: list[float]) -> None:
    assert ours.adjusted(p) == pytest.approx(stats.false_discovery_control(p), abs=1e-12)


def test_nothing_is_adjusted_to_nothing() -> None:
    assert ours.adjusted([]).size == 0


@given(COUNTS, st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_of_a_share_is_wilsons(counts: tuple[int, int], confidence: float) -> None:
    inside, whole = counts
    expected = stats.binomtest(inside, whole).proportion_ci(confidence, method="wilson")
    found = ours.share_interval(inside, whole, confidence)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(COUNTS, COUNTS)
def test_the_interval_of_a_difference_is_newcombes(one: tuple[int, int], other: tuple[int, int]) -> None:
    """By the square-and-add of Wilson intervals, which scipy gives."""
    found = ours.difference_interval(*one, *other)
    shares = one[0] / one[1], other[0] / other[1]
    limits = [stats.binomtest(*each).proportion_ci(method="wilson") for each in (one, other)]
    below = math.hypot(shares[0] - limits[0].low, limits[1].high - shares[1])
    above = math.hypot(limits[0].high - shares[0], shares[1] - limits[1].low)
    apart = shares[0] - shares[1]
    assert (apart - found.low, found.high - apart) == pytest.approx((below, above), abs=1e-9)


def test_the_interval_of_a_difference_is_of_the_published_example() -> None:
    """56 of 70 and 48 of 80: Newcombe 1998, table II, example (a), method 10."""
    found = ours.difference_interval(56, 70, 48, 80)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


@given(COUNTS.filter(lambda counts: counts[0] > 0), COUNTS.filter(lambda counts: counts[0] > 0))
def test_the_interval_of_a_ratio_is_scipys(one: tuple[int, int], other: tuple[int, int]) -> None:
    if one[0] == one[1] and other[0] == other[1]:
        return  # without variance scipy's interval has no width
    expected = relative_risk(*one, *other).confidence_interval(0.95)
    found = ours.ratio_interval(*one, *other)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=60),
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=60),
)
def test_means_are_compared_as_by_welch(one: list[float], other: list[float]) -> None:
    groups = [np.array(each) for each in (one, other)]
    moments = [ours.Moments(len(each), each.mean(), each.var(ddof=1)) for each in groups]
    error = ours.standard_error(*moments)
    if error < 1e-6:
        return
    told = [number for each in groups for number in (each.mean(), each.std(ddof=1), each.size)]
    expected = stats.ttest_ind_from_stats(*told, equal_var=False)
    assert (moments[0].mean - moments[1].mean) / error == pytest.approx(expected.statistic, rel=1e-6, abs=1e-9)
    found = ours.means_interval(*moments)
    assert found.high - found.low == pytest.approx(2 * stats.norm.ppf(0.975) * error, rel=1e-9)


def test_an_effect_is_in_standard_deviations() -> None:
    draw = np.random.default_rng(1)
    one, other = draw.normal(10.5, 2, 100_000), draw.normal(10, 2, 50_000)
    moments = [ours.Moments(each.size, each.mean(), each.var(ddof=1)) for each in (one, other)]
    assert ours.effect_size(*moments) == pytest.approx(0.25, abs=0.02)


@given(st.integers(0, 2**32 - 1))
def test_log_odds_are_the_weights_of_naive_bayes(seed: int) -> None:
    draw = np.random.default_rng(seed)
    has, is_seed = draw.random((60, 5)) < 0.3, draw.random(60) < 0.5
    if is_seed.all() or not is_seed.any():
        return
    model = BernoulliNB(alpha=1.0, fit_prior=False).fit(has, is_seed)
    there = model.feature_log_prob_
    absent = np.log1p(-np.exp(there))
    expected = (there[1] - absent[1]) - (there[0] - absent[0])
    found = ours.log_odds(has[is_seed].sum(axis=0), is_seed.sum(), has[~is_seed].sum(axis=0), (~is_seed).sum())
    assert found == pytest.approx(expected, abs=1e-9)


def test_of_nobody_nothing_is_said() -> None:
    assert ours.z_scores([0], 0, [5], 10)[0] == 0
    for interval in (
        ours.share_interval(0, 0),
        ours.difference_interval(0, 0, 1, 2),
        ours.ratio_interval(0, 0, 1, 2),
        ours.ratio_interval(1, 1, 1, 1),  # nothing varies
        ours.ratio_interval(5, 5, 9, 9),
    ):
        assert math.isnan(interval.low) and math.isnan(interval.high)
