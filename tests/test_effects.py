"""Measured effects against scipy by other routes, from a planted lift; what cannot be compared is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats.contingency import relative_risk

from bitmap_store.values import Assign
from tests.api import Api
from tests.crowds import crowd, drawn

TABLE = drawn(6_000, 23)
SPAN = "{ low high }"
GROUP = f"""name size converted rate rateInterval {SPAN} difference differenceInterval {SPAN} lift liftInterval {SPAN}
  zScore pValue significant audience {{ text size }}"""
EFFECTS = f"""query ($parts: [MeasuredPart!]!, $control: String!, $outcome: AudienceWhere!) {{
  effects(parts: $parts, control: $control, outcome: $outcome) {{
    control {{ {GROUP} }} parts {{ {GROUP} }} sampleRatio {{ chiSquared pValue mismatch }} }} }}"""
PLAN = """query ($b: Float!, $e: Float!, $p: Float!, $r: Float!) {
  sampleSize(baseline: $b, effect: $e, power: $p, ratio: $r) { control treated total power } }"""
RANGES = {"a": (0.0, 0.4), "b": (0.4, 0.7), "control": (0.7, 1.0)}
RATES = {"a": 0.2, "b": 0.1, "control": 0.1}


@pytest.fixture(scope="module")
def api(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    found = crowd(empty_store, tmp_path_factory.mktemp("effects") / "store", TABLE)
    found.define("converted")
    rng = np.random.default_rng(1)
    for name, (start, end) in RANGES.items():
        users = sorted(found.world.members(f'part("e", {start}, {end})'))
        found.world.apply(*(Assign(user, "converted") for user in users if rng.random() < RATES[name]))
    yield found
    found.close()


def parts(shares: bool = True) -> list[dict[str, Any]]:
    return [
        {"name": name, "where": {"text": f'part("e", {start}, {end})'}, "share": end - start if shares else None}
        for name, (start, end) in RANGES.items()
    ]


def test_effects_are_scipys(api: Api) -> None:
    found = api.ask(EFFECTS, parts=parts(), control="control", outcome={"text": "converted"})
    converted = api.world.members("converted")
    groups = {name: api.world.members(f'part("e", {start}, {end})') for name, (start, end) in RANGES.items()}
    counts = {name: (len(users & converted), len(users)) for name, users in groups.items()}
    rows = {row["name"]: row for row in (*found["parts"], found["control"])}
    assert list(rows) == ["a", "b", "control"]
    chances = []
    for name, row in rows.items():
        assert (row["converted"], row["size"]) == counts[name]
        wilson = stats.binomtest(*counts[name]).proportion_ci(method="wilson")
        assert ends(row["rateInterval"]) == pytest.approx((wilson.low, wilson.high))
        if name == "control":
            assert row["difference"] is row["lift"] is row["pValue"] is row["differenceInterval"] is None
            continue
        risk = relative_risk(*counts[name], *counts["control"])
        assert row["lift"] == pytest.approx(risk.relative_risk - 1)
        interval = risk.confidence_interval(0.95)
        assert ends(row["liftInterval"]) == pytest.approx((interval.low - 1, interval.high - 1))
        frame = pd.DataFrame(
            {"treated": user in groups[name], "converted": user in converted}
            for user in groups[name] | groups["control"]
        )
        table = pd.crosstab(frame.treated, frame.converted)
        test = stats.chi2_contingency(table, correction=False)
        tails = [stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
        assert row["pValue"] == pytest.approx(min(2 * min(tails), 1))
        assert row["zScore"] ** 2 == pytest.approx(test.statistic)
        means = frame.groupby("treated").converted.mean()
        assert row["difference"] == pytest.approx(means[True] - means[False])
        low, high = ends(row["differenceInterval"])
        assert low < row["difference"] < high
        chances.append(row["pValue"])
    assert [rows[name]["significant"] for name in ("a", "b")] == list(stats.false_discovery_control(chances) <= 0.05)
    assert rows["a"]["significant"] and not rows["b"]["significant"]
    assert rows["a"]["differenceInterval"]["low"] < 0.1 < rows["a"]["differenceInterval"]["high"]
    expected = stats.chisquare([size for _, size in counts.values()], np.array([0.4, 0.3, 0.3]) * len(TABLE))
    ratio = found["sampleRatio"]
    assert (ratio["chiSquared"], ratio["pValue"]) == pytest.approx((expected.statistic, expected.pvalue))
    assert not ratio["mismatch"]


def ends(interval: dict[str, float]) -> tuple[float, float]:
    return interval["low"], interval["high"]


def test_wrong_sizes_are_warned_of(api: Api) -> None:
    lost = parts()
    lost[0]["where"] = {"text": f"{lost[0]['where']['text']} and not vip"}  # treated users went missing
    found = api.ask(EFFECTS, parts=lost, control="control", outcome={"text": "converted"})
    assert found["sampleRatio"]["mismatch"] and found["sampleRatio"]["pValue"] < 1e-6
    assert api.ask(EFFECTS, parts=parts(False), control="a", outcome={"text": "vip"})["sampleRatio"] is None


def test_of_nobody_nothing_is_said(api: Api) -> None:
    empty = [{"name": "a", "where": {"text": "not everyone"}}, {"name": "c", "where": {"text": "vip"}}]
    found = api.ask(EFFECTS, parts=empty, control="c", outcome={"text": "converted"})
    [row] = found["parts"]
    assert (row["size"], row["rate"], row["difference"], row["lift"], row["pValue"]) == (0, None, None, None, None)
    assert row["differenceInterval"] == row["rateInterval"] == {"low": None, "high": None}
    assert not row["significant"]
    nothing = api.ask(EFFECTS, parts=parts(), control="control", outcome={"text": "not everyone"})
    assert [row["lift"] for row in nothing["parts"]] == [None, None]
    assert [row["pValue"] for row in nothing["parts"]] == [1, 1]


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"parts": [*parts(False), {"name": "d", "where": {"text": "vip"}}]}, "parts"),  # in common
        ({"parts": [*parts(), {"name": "d", "where": {"text": "vip"}, "share": 0.1}]}, "parts.3.share"),
        ({"parts": parts()[:1], "control": "a"}, "parts"),
        ({"control": "nobody"}, "control"),
        ({"parts": [*parts(), parts()[0]]}, "parts.3.name"),
        ({"parts": [*parts()[:2], parts(False)[2]]}, "parts"),
        ({"parts": [*parts()[:2], {**parts()[2], "share": 1.5}]}, "parts.2.share"),
    ],
)
def test_what_cannot_be_compared(api: Api, change: dict[str, Any], argument: str) -> None:
    asked = {"parts": parts(), "control": "control", "outcome": {"text": "converted"}} | change
    found = api.error(EFFECTS, **asked)
    assert (found["code"], found["argument"]) == ("INVALID", argument)


def test_planned_sizes(api: Api) -> None:
    found = api.ask(PLAN, b=0.1, e=0.02, p=0.8, r=1)
    assert found["control"] == found["treated"] == found["total"] / 2
    assert 0.8 <= found["power"] < 0.801
    down = api.ask(PLAN, b=0.1, e=-0.02, p=0.8, r=1)
    assert down["control"] < found["control"]  # rates near 0 spread less
    query = """query ($n: BigInt!) { minimumDetectableEffect(baseline: 0.1, control: $n, treated: $n) {
        increase decrease relativeIncrease relativeDecrease } }"""
    effect = api.ask(query, n=found["control"])
    assert effect["increase"] == pytest.approx(0.02, abs=1e-4)
    assert effect["relativeIncrease"] == pytest.approx(effect["increase"] / 0.1)
    assert api.ask(query, n=down["control"])["decrease"] == pytest.approx(0.02, abs=1e-4)
    assert api.ask(query, n=2) == dict.fromkeys(("increase", "decrease", "relativeIncrease", "relativeDecrease"))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_few_users_prove_nothing(api: Api, size: int) -> None:
    """All of one group and none of the other, exactly; all of both; nobody beside somebody."""
    yes, no = (sorted(api.world.members(f"vip and {text}"))[: 2 * size] for text in ("converted", "not converted"))
    outcome = {"text": "converted"}
    groups = [{"name": name, "where": {"users": {"ids": ids[:size]}}} for name, ids in (("a", yes), ("c", no))]
    [row] = api.ask(EFFECTS, parts=groups, control="c", outcome=outcome)["parts"]
    sides = [stats.fisher_exact([[size, 0], [0, size]], alternative=side).pvalue for side in ("less", "greater")]
    assert row["pValue"] == pytest.approx(min(2 * min(sides), 1)) and row["pValue"] > 0.05
    assert (row["rate"], row["difference"], row["significant"]) == (1, 1, False)
    groups[1]["where"] = {"users": {"ids": yes[size:]}}
    groups.append({"name": "nobody", "where": {"text": "not everyone"}})
    found = api.ask(EFFECTS, parts=groups, control="c", outcome=outcome)
    assert found["parts"][0]["lift"] == 0 and found["parts"][0]["liftInterval"] == {"low": None, "high": None}
    assert found["parts"][0]["pValue"] == 1
    against_nobody = api.ask(EFFECTS, parts=groups, control="nobody", outcome=outcome)
    assert against_nobody["control"]["rate"] is None
    assert [row["pValue"] for row in against_nobody["parts"]] == [None, None]


def test_parts_of_nobody_are_not_corrected_for(api: Api) -> None:
    """12 of 50 against 3 of 50: p alone is below 0.05, but 21 times as much is not."""
    yes, no = (sorted(api.world.members(text)) for text in ("converted", "not converted"))
    groups = [
        {"name": "a", "where": {"users": {"ids": yes[:12] + no[:38]}}},
        {"name": "c", "where": {"users": {"ids": yes[12:15] + no[38:85]}}},
    ]
    groups += [{"name": f"n{i}", "where": {"text": "not everyone"}} for i in range(20)]
    rows = api.ask(EFFECTS, parts=groups, control="c", outcome={"text": "converted"})["parts"]
    assert 0.05 / 21 < rows[0]["pValue"] < 0.05
    assert [row["significant"] for row in rows] == [True] + [False] * 20


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"b": 0}, "baseline"), ({"b": 1.0}, "baseline"), ({"e": 0}, "effect"), ({"e": 0.95}, "effect"),
        ({"p": 1}, "power"), ({"p": 0.01}, "power"), ({"r": 0}, "ratio"), ({"e": 1e-9, "p": 0.99}, "effect"),
        ({"e": 1e-160}, "effect"), ({"e": -1e-160}, "effect"), ({"b": 1e-300, "e": 1e-300}, "baseline"),
        ({"e": 0.9}, "effect"), ({"e": -0.1}, "effect"), ({"p": 1 - 1e-16}, "power"), ({"b": 1 - 1e-12}, "baseline"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned(api: Api, change: dict[str, Any], argument: str) -> None:
    found = api.error(PLAN, **({"b": 0.1, "e": 0.02, "p": 0.8, "r": 1} | change))
    assert (found["code"], found["argument"]) == ("INVALID", argument)
    if argument == "baseline":
        sizes = "{ minimumDetectableEffect(baseline: %s, control: 0, treated: 5) { increase } }"
        assert api.error(sizes % change["b"])["argument"] == "baseline"
        assert api.error(sizes % 0.5)["argument"] == "control"


@pytest.mark.parametrize("alpha", ["1e-300", "1e-16", "0", "0.51", "-1", "1"])
@pytest.mark.parametrize(
    "asked",
    [
        "sampleSize(baseline: 0.1, effect: 0.01, alpha: %s) { total }",
        "minimumDetectableEffect(baseline: 0.1, control: 9, treated: 9, alpha: %s) { increase }",
    ],
)
def test_a_level_that_floats_cannot_tell_is_refused(api: Api, asked: str, alpha: str) -> None:
    found = api.error(f"{{ {asked % alpha} }}")
    assert (found["code"], found["argument"]) == ("INVALID", "alpha")
    assert "within 1e-12..0.5" in found["message"]


@pytest.mark.parametrize("alpha", ["1e-12", "0.5"])
@pytest.mark.parametrize("power", ["0.251", "0.999999999999"])
@pytest.mark.parametrize("baseline", ["1e-9", "0.5", "0.999999999"])
def test_the_ends_of_what_can_be_planned(api: Api, baseline: str, power: str, alpha: str) -> None:
    up = "-" if baseline.startswith("0.9") else ""
    rest = f"alpha: {alpha}, power: {power}"
    found = api.ask(f"{{ sampleSize(baseline: {baseline}, effect: {up}0.25, {rest}) {{ total power }} }}")
    assert found["total"] >= 2 and found["power"] >= float(power) * (1 - 1e-9)
    sizes = "control: 9007199254740992, treated: 9007199254740992"
    found = api.ask(f"{{ minimumDetectableEffect(baseline: {baseline}, {sizes}, {rest}) {{ increase decrease }} }}")
    assert 0 < found["increase"] < 1e-6 and 0 < found["decrease"] < 1e-6
