"""Portraits, differentiators and comparisons of the demo data, against pandas, scipy and scikit-learn on its files."""

import math
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import jaccard_score

from demo.completejourney import CLOCK, write_files
from demo.load import load
from tests.api import Api
from tests.worlds import copied

CHOICE = ("age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count")
FLAGS = ("surveyed", "redeemer", "coupon_user")
LISTED = ("departments", "campaign", "campaign_type")
EVENTS = ("purchase", "redeemed")
NUMBERS = ("spend", "visits", "lines", "largest_basket", "coupon_savings")
Has = dict[tuple[str, str | None], "pd.Series[bool]"]
STORED = (*CHOICE, *FLAGS, *LISTED, *EVENTS)


@pytest.fixture(scope="module")
def demo(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    api = Api(copied(empty_store, tmp_path_factory.mktemp("demo") / "store"))
    api.world.run(load(api.world.store, lambda title, done, rows: None))
    api.clock.set(CLOCK)
    yield api
    api.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    written = write_files(tmp_path_factory.mktemp("files") / "demo", lambda title, done, rows: None)
    return {file.kind: pd.read_parquet(file.path) for file in written}


@pytest.fixture(scope="module")
def table(files: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a household."""
    found = files["table"].set_index("user")
    return found.assign(**{flag: found[flag].notna() for flag in FLAGS})


@pytest.fixture(scope="module")
def has(files: dict[str, pd.DataFrame], table: pd.DataFrame) -> Has:
    """For each value of each stored tag which households have it."""
    long = pd.concat([files["memberships"], files["events"]])[["user", "tag", "value"]]
    wide = table[list(CHOICE)].melt(ignore_index=False, var_name="tag").dropna().reset_index()
    long = pd.concat([long[long["tag"].isin([*LISTED, *EVENTS])], wide])
    counted = pd.crosstab(long["user"], [long["tag"], long["value"]]).reindex(table.index, fill_value=0) > 0
    return {(tag, value): counted[tag, value] for tag, value in counted} | {(flag, None): table[flag] for flag in FLAGS}


def told(api: Api, where: str, arguments: str, fields: str) -> list[dict[str, Any]]:
    return list(
        api.audience(where, f"differentiators({arguments}) {{ tag {{ key }} value {fields} }}")["differentiators"]
    )


def listed(keys: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{key}"' for key in keys) + "]"


def audiences(table: pd.DataFrame) -> dict[str, "pd.Series[bool]"]:
    """The same audiences as texts and as masks."""
    return {
        "redeemer": table["redeemer"],
        "kids_count in (\"1\", \"2\", \"3+\")": table["kids_count"].isin(["1", "2", "3+"]),
        "age in (\"19-24\", \"25-34\")": table["age"].isin(["19-24", "25-34"]),
        "spend >= 5000": table["spend"] >= 5000,
        "everyone": pd.Series(True, table.index),
    }  # fmt: skip


# ---------------------------------------------------------------- differentiators


@pytest.mark.parametrize("baseline", ["everyone", 'kids_count in ("1", "2", "3+")', "spend >= 5000"])
def test_values(demo: Api, table: pd.DataFrame, has: Has, baseline: str) -> None:
    fields = """size share baselineShare tgi zScore pValue adjustedPValue significant outsideShare
        difference { value low high }"""
    quoted = baseline.replace('"', '\\"')
    arguments = f'top: 1000, minSize: 30, tags: {listed(STORED)}, baseline: {{text: "{quoted}"}}'
    found = {(each["tag"]["key"], each["value"]): each for each in told(demo, "redeemer", arguments, fields)}
    masks = audiences(table)
    inside, other = masks["redeemer"], masks[baseline]
    outside = other & ~inside
    there = [column for column in has if has[column][inside | other].any()]
    assert set(found) == set(there) and len(there) > 150
    tables = {
        column: pd.crosstab(inside[inside | outside], has[column][inside | outside])
        .reindex(index=[True, False], columns=[True, False], fill_value=0)
        .to_numpy()
        for column in there
    }
    expected_p = {}
    for column, counts in tables.items():
        each = found[column]
        assert each["size"] == has[column][inside].sum()
        assert each["share"] == pytest.approx(has[column][inside].mean(), abs=1e-15)
        assert each["baselineShare"] == pytest.approx(has[column][other].mean(), abs=1e-15)
        assert each["outsideShare"] == pytest.approx(has[column][outside].mean(), abs=1e-15)
        if has[column][other].any():
            index = has[column][inside].mean() / has[column][other].mean() * 100
            assert each["tgi"] == pytest.approx(index, rel=1e-12)
        if (counts.sum(axis=0) == 0).any():
            assert each["zScore"] == 0
        else:
            chi = stats.chi2_contingency(counts, correction=False)
            assert each["zScore"] ** 2 == pytest.approx(chi.statistic, rel=1e-9, abs=1e-12)
        tails = [stats.fisher_exact(counts, alternative=side).pvalue for side in ("less", "greater")]
        expected_p[column] = min(2 * min(tails), 1.0)
        assert each["pValue"] == pytest.approx(expected_p[column], rel=1e-6, abs=1e-290)
        limits = [stats.binomtest(row[0], row.sum()).proportion_ci(method="wilson") for row in counts]
        shares = counts[:, 0] / counts.sum(axis=1)
        below, above = (
            math.hypot(shares[0] - limits[0].low, limits[1].high - shares[1]),
            math.hypot(limits[0].high - shares[0], shares[1] - limits[1].low),
        )
        interval = (shares[0] - shares[1] - below, shares[0] - shares[1] + above)
        assert (each["difference"]["low"], each["difference"]["high"]) == pytest.approx(interval, abs=1e-9)
    adjusted = dict(zip(expected_p, stats.false_discovery_control(list(expected_p.values())), strict=True))
    for column, each in found.items():
        assert each["adjustedPValue"] == pytest.approx(adjusted[column], rel=1e-6, abs=1e-290)
        enough = max(each["size"], inside.sum() * has[column][outside].mean()) >= 30
        assert each["significant"] == (enough and adjusted[column] <= 0.05)
    assert 10 < sum(each["significant"] for each in found.values()) < len(found)


def test_numbers(demo: Api, table: pd.DataFrame) -> None:
    fields = """zScore pValue size baselineShare numbers { mean outsideMean effectSize difference { value low high }
        medians { median outsideMedian difference } }"""
    found = {each["tag"]["key"]: each for each in told(demo, "redeemer", f"tags: {listed(NUMBERS)}", fields)}
    assert set(found) == set(NUMBERS)
    for key, each in found.items():
        column = table[key].astype(float)
        one, other = column[table["redeemer"]].dropna(), column[~table["redeemer"]].dropna()
        welch = stats.ttest_ind(one, other, equal_var=False)
        numbers = each["numbers"]
        assert (each["size"], each["baselineShare"]) == (len(one), column.notna().mean())
        assert each["zScore"] == pytest.approx(welch.statistic, rel=1e-9)
        assert each["pValue"] == pytest.approx(2 * stats.norm.sf(abs(welch.statistic)), rel=1e-9)
        assert (numbers["mean"], numbers["outsideMean"]) == pytest.approx((one.mean(), other.mean()), rel=1e-12)
        half = stats.norm.ppf(0.975) * math.hypot(stats.sem(one), stats.sem(other))
        apart = one.mean() - other.mean()
        assert list(numbers["difference"].values()) == pytest.approx([apart, apart - half, apart + half], rel=1e-9)
        # Cohen's d of the t-test that takes the variances for equal.
        pooled = stats.ttest_ind(one, other).statistic * math.sqrt(1 / len(one) + 1 / len(other))
        assert numbers["effectSize"] == pytest.approx(pooled, rel=1e-9)
        medians = one.median(), other.median(), one.median() - other.median()
        assert list(numbers["medians"].values()) == pytest.approx(medians, rel=1e-12)


# ---------------------------------------------------------------- comparisons


def test_comparison(demo: Api, table: pd.DataFrame) -> None:
    query = """query ($a: [AudienceWhere!]!) { compare(audiences: $a) { sizes unionSize jaccard containment
        regions { inAudiences size } } }"""
    masks = audiences(table)
    found = demo.ask(query, a=[{"text": text} for text in masks])
    columns = pd.DataFrame(dict(enumerate(masks.values())))
    assert found["sizes"] == columns.sum().tolist() and found["unionSize"] == columns.any(axis=1).sum()
    regions = {tuple(region["inAudiences"]): region["size"] for region in found["regions"]}
    counted = columns.value_counts()
    expected = {tuple(np.flatnonzero(key).tolist()): size for key, size in counted.items()}
    assert {places: size for places, size in regions.items() if size} == expected
    for i in columns:
        for j in columns:
            assert found["jaccard"][i][j] == pytest.approx(jaccard_score(columns[i], columns[j]), rel=1e-12)
            assert found["containment"][i][j] == pytest.approx(columns.loc[columns[i], j].mean(), rel=1e-12)


# ---------------------------------------------------------------- portraits


@pytest.mark.parametrize(
    "by", [("age",), ("kids_count", "home_ownership"), ("age", "marital_status", "household_size")]
)
@pytest.mark.parametrize("text", ["redeemer", "everyone"])
def test_cross_tabs(demo: Api, table: pd.DataFrame, text: str, by: tuple[str, ...]) -> None:
    """All cells, and the unknown in a row of its own, sum to the audience; index and shares are those of pandas."""
    asked = ", ".join(f'{{tag: "{key}"}}' for key in by)
    fields = (
        f"size breakdown(by: [{asked}], top: 1000) {{ kind values size share baselineShare tgi audience {{ size }} }}"
    )
    found = demo.audience(text, fields)
    chosen = table[audiences(table)[text]]
    counts, usual = (rows.dropna(subset=list(by)).groupby(list(by)).size() for rows in (chosen, table))
    cells = {tuple(row["values"]): row for row in found["breakdown"] if row["kind"] == "VALUE"}
    [unknown] = [row for row in found["breakdown"] if row["kind"] == "UNKNOWN"]
    key = (lambda each: (each,)) if len(by) == 1 else tuple
    assert {cell: row["size"] for cell, row in cells.items() if row["size"]} == {key(k): n for k, n in counts.items()}
    assert unknown["size"] == chosen[list(by)].isna().any(axis=1).sum()
    assert sum(row["size"] for row in found["breakdown"]) == found["size"] == len(chosen)
    for each, size in usual.items():
        row = cells[key(each)]
        assert row["baselineShare"] == pytest.approx(size / len(table), abs=1e-15)
        assert row["share"] == pytest.approx(counts.get(each, 0) / len(chosen), abs=1e-15)
        assert row["tgi"] == pytest.approx(row["share"] / (size / len(table)) * 100, rel=1e-12)
        assert row["audience"]["size"] == row["size"]


def bounds(label: str) -> tuple[Decimal, Decimal]:
    low, _, high = label.partition("..")
    return Decimal(low), Decimal(high or low)


@pytest.mark.parametrize("how", ["bins: 8", "quantiles: 5"])
def test_numbers_in_ranges(demo: Api, table: pd.DataFrame, how: str) -> None:
    found = demo.audience("redeemer", f'breakdown(by: [{{tag: "spend", {how}}}], top: 50) {{ kind values size }}')
    rows = [row for row in found["breakdown"] if row["kind"] == "VALUE"]
    spend = table.loc[table["redeemer"], "spend"]
    for row in rows:
        low, high = bounds(row["values"][0])
        assert row["size"] == spend.between(low, high).sum()
    starts = [float(bounds(row["values"][0])[0]) for row in rows]
    assert sum(row["size"] for row in rows) == len(spend) and starts[0] == float(spend.min())
    numbers = spend.astype(float).to_numpy()
    if how.startswith("bins"):
        edges = np.histogram_bin_edges(numbers, 8)[:-1]
        assert starts == pytest.approx(edges, abs=0.011)
    else:
        assert starts[1:] == pytest.approx(np.quantile(numbers, [0.2, 0.4, 0.6, 0.8], method="inverted_cdf"), abs=1e-9)


def test_numbers_in_given_ranges(demo: Api, table: pd.DataFrame) -> None:
    fields = 'breakdown(by: [{tag: "spend", edges: [1000, 2500, 5000]}], top: 50) { kind size tgi audience { size } }'
    rows = [row for row in demo.audience("redeemer", fields)["breakdown"] if row["kind"] == "VALUE"]
    cuts = [-np.inf, 1000, 2500, 5000, np.inf]
    cut = pd.cut(table["spend"].astype(float), cuts, right=False)
    expected = pd.crosstab(cut, table["redeemer"])
    assert [row["size"] for row in rows] == expected[True].tolist() == [row["audience"]["size"] for row in rows]
    index = expected[True] / expected[True].sum() / (expected.sum(axis=1) / len(table)) * 100
    assert [row["tgi"] for row in rows] == pytest.approx(index.tolist(), rel=1e-12)


@pytest.mark.parametrize("key", NUMBERS)
def test_statistics_of_numbers(demo: Api, table: pd.DataFrame, key: str) -> None:
    fields = f"""numbers(tag: "{key}") {{ count sum mean min max median quantiles(at: [0, 0.1, 0.25, 0.5, 0.9, 1])
        histogram(bins: 7) {{ from to size }} }}"""
    found = demo.audience("redeemer", fields)["numbers"]
    exact = table.loc[table["redeemer"], key].dropna().map(Decimal)
    column = exact.astype(float)
    assert (found["count"], Decimal(str(found["sum"]))) == (len(column), exact.sum())
    described = [column.mean(), column.min(), column.max(), column.median()]
    assert [found[name] for name in ("mean", "min", "max", "median")] == pytest.approx(described, rel=1e-12)
    quantiles = np.quantile(column, [0, 0.1, 0.25, 0.5, 0.9, 1], method="inverted_cdf")
    assert found["quantiles"] == pytest.approx(quantiles.tolist(), rel=1e-12)
    sizes, edges = np.histogram(column, 7)
    assert [each["size"] for each in found["histogram"]] == sizes.tolist()
    assert [each["from"] for each in found["histogram"]] == pytest.approx(edges[:-1], rel=1e-9, abs=1e-9)


def test_portraits_of_all_tags_sum_to_the_audience(demo: Api, has: Has, table: pd.DataFrame) -> None:
    fields = "size portrait(top: 1000) { tag { key } known exclusive rows { kind values size } }"
    found = demo.audience("redeemer", fields)
    seen = 0
    for each in found["portrait"]:
        key, unknown = each["tag"]["key"], [row["size"] for row in each["rows"] if row["kind"] == "UNKNOWN"]
        assert unknown == [found["size"] - each["known"]]
        if each["exclusive"]:
            assert sum(row["size"] for row in each["rows"]) == found["size"]
        if key in STORED:
            sizes = {row["values"][0]: row["size"] for row in each["rows"] if row["kind"] == "VALUE" and row["size"]}
            mine = {value: int(of[table["redeemer"]].sum()) for (tag, value), of in has.items() if tag == key}
            assert sizes == {value: size for value, size in mine.items() if size}
            seen += 1
    assert seen == len(STORED)
