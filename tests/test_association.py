"""Association against pandas, which counts every pair and triple; what was planted comes first, with its lift."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bitmap_store.language import parse
from bitmap_store.text import render
from tests.api import Api, shop
from tests.crowds import CITIES, GOODS, crowd, drawn

TABLE = drawn(4_000, 5)
ASSOCIATION = """query ($where: AudienceWhere!, $tags: [String!]!, $support: Float, $confidence: Float, $top: Int,
    $size: Int) { audience(where: $where) { association(tags: $tags, minSupport: $support, minConfidence: $confidence,
    top: $top, size: $size) { given { tag { key } value } then { tag { key } value } size givenSize thenSize support
    confidence lift audience { text size } givenAudience { text size } thenAudience { text size }
    missing { text size } } } }"""


@pytest.fixture(scope="module")
def api(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    found = crowd(empty_store, tmp_path_factory.mktemp("association") / "store", TABLE)
    yield found
    found.close()


def rules(
    api: Api, text: str, tags: list[str], size: int = 2, support: float = 0.01, **how: Any
) -> list[dict[str, Any]]:
    asked = {"confidence": 0, "top": 1000} | how
    found = api.ask(ASSOCIATION, where={"text": text}, tags=tags, size=size, support=support, **asked)
    return list(found["association"])


def columns(table: pd.DataFrame) -> pd.DataFrame:
    """A column for each value of vip, city and goods."""
    found = {("vip", ""): table.vip} | {("city", each): table.city == each for each in CITIES}
    return pd.DataFrame(found | {("goods", each): table[each] for each in GOODS})


def name(item: dict[str, Any]) -> tuple[str, str]:
    return item["tag"]["key"], item["value"] or ""


@pytest.mark.parametrize("text", ["everyone", "vip", "spend > 300 and not vip"])
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("support", [0, 0.02, 0.1])
def test_rules_are_those_of_pandas(api: Api, text: str, size: int, support: float) -> None:
    inside = columns(TABLE[TABLE.user.isin(api.world.members(text))])
    expected = {}
    for items in combinations(inside.columns, size):
        count = int(inside[list(items)].all(axis=1).sum())
        if count and count >= support * len(inside):
            for then in items:
                given = [item for item in items if item != then]
                confidence = inside[inside[given].all(axis=1)][then].mean()
                expected[frozenset(given), then] = count, confidence, confidence / inside[then].mean()
    found = rules(api, text, ["vip", "city", "goods"], size, support)
    told = {(frozenset(map(name, rule["given"])), name(rule["then"])): rule for rule in found}
    assert len(told) == len(found) and told.keys() == expected.keys()
    for key, (count, confidence, lift) in expected.items():
        rule = told[key]
        assert rule["size"] == count and rule["support"] == count / len(inside)
        assert (rule["confidence"], rule["lift"]) == pytest.approx((confidence, lift))
    order = [(-rule["lift"], -rule["support"], -rule["confidence"]) for rule in found]
    assert order == sorted(order)


def test_what_was_planted_comes_first(api: Api) -> None:
    first, second, *_ = found = rules(api, "everyone", ["goods", "city"])
    assert {name(first["given"][0]), name(first["then"])} == {("goods", "milk powder"), ("goods", "vitamins")}
    both = int((TABLE["milk powder"] & TABLE.vitamins).sum())
    lift = both * len(TABLE) / (int(TABLE["milk powder"].sum()) * int(TABLE.vitamins.sum()))
    assert first["lift"] == second["lift"] == lift > 5
    assert max(rule["lift"] for rule in found[2:]) < 1.5
    assert first["confidence"] >= second["confidence"]


def test_every_side_is_an_audience(api: Api) -> None:
    for rule in [*rules(api, "vip", ["goods", "city"], top=6), *rules(api, "vip", ["goods"], 3, top=6)]:
        for side, size in (("audience", "size"), ("givenAudience", "givenSize"), ("thenAudience", "thenSize")):
            assert rule[side]["size"] == rule[size] == len(api.world.members(rule[side]["text"]))
            assert render(parse(rule[side]["text"])) == rule[side]["text"]
        given, all_ = (api.world.members(rule[side]["text"]) for side in ("givenAudience", "audience"))
        assert api.world.members(rule["missing"]["text"]) == given - all_
        assert rule["missing"]["size"] == rule["givenSize"] - rule["size"]


def test_thresholds_and_top(api: Api) -> None:
    every = rules(api, "everyone", ["goods", "city", "vip"])
    sure = rules(api, "everyone", ["goods", "city", "vip"], confidence=0.5)
    assert sure == [rule for rule in every if rule["confidence"] >= 0.5] and 0 < len(sure) < len(every)
    assert rules(api, "everyone", ["goods", "city", "vip"], top=3) == every[:3]
    assert rules(api, "everyone", ["vip", "city", "goods", "vip"]) == every
    assert rules(api, "not everyone", ["goods"]) == rules(api, "everyone", ["goods"], support=1) == []


def test_numbers_events_and_hierarchies(empty_store: Path, tmp_path: Path) -> None:
    api = shop(empty_store, tmp_path / "store")
    found = rules(api, "everyone", ["spend", "buy", "school", "born"], support=0)
    assert found and all(rule["size"] > 0 for rule in found)
    assert ("buy", "milk") in {name(rule["then"]) for rule in found}
    api.close()


@pytest.mark.parametrize(
    ("change", "code", "argument"),
    [
        ({"tags": []}, "INVALID", "tags"),
        ({"tags": ["no"]}, "NOT_FOUND", "tags.0"),
        ({"tags": ["vip", "vip", "no"]}, "NOT_FOUND", "tags.2"),
        ({"support": 1.5}, "INVALID", "minSupport"),
        ({"confidence": -1}, "INVALID", "minConfidence"),
        ({"size": 4}, "INVALID", "size"),
        ({"top": 0}, "INVALID", "top"),
    ],
)
def test_what_is_wrong_is_named(api: Api, change: dict[str, Any], code: str, argument: str) -> None:
    asked = {"tags": ["goods"], "support": 0.1, "confidence": 0, "size": 2, "top": 5} | change
    found = api.error(ASSOCIATION, where={"text": "vip"}, **asked)
    assert (found["code"], found["argument"]) == (code, argument)


def test_work_is_refused_before_it_begins(api: Api) -> None:
    asked = {
        "where": {"text": "everyone"},
        "tags": ["goods", "city"],
        "support": 0,
        "confidence": 0,
        "size": 2,
        "top": 5,
    }
    before = api.service.limits
    for limits in (replace(before, cells_max=8), replace(before, cells_max=9), replace(before, rows_max=5)):
        object.__setattr__(api.service, "limits", limits)
        calls = api.store.calls["breakdown"]
        found = api.error(ASSOCIATION, **asked)
        assert found["code"] == "TOO_LARGE"
        assert ("sets of values are" in found["message"]) == (limits.cells_max == 9)
        assert api.store.calls["breakdown"] == calls + (limits.cells_max > 8)  # values, not pairs
    object.__setattr__(api.service, "limits", replace(before, work_max=100))
    assert api.error(ASSOCIATION, **asked)["code"] == "TOO_LARGE"
    object.__setattr__(api.service, "limits", before)
    assert api.ask(ASSOCIATION, **asked)["association"]
