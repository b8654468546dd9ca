"""Parts by preference: each user in the first that takes them, told by Python sets; whole together with the others."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitmap_store.language import parse
from bitmap_store.text import render
from tests.api import Api, shop
from tests.crowds import CITIES, GOODS, crowd, drawn

TABLE = drawn(1_500, 11)
PARTITION = """query ($where: AudienceWhere!, $by: PartitionInput!, $rest: String!) { audience(where: $where) {
  size partition(by: $by, rest: $rest) { name size share target control audience { text size } } } }"""
WHERES = ("everyone", "vip", "not city", "spend > 400 and vip", "not everyone")
STEPS = (
    "vip",
    "city",
    'goods in ("tea", "rice")',
    "spend < 300",
    'not goods in ("tea")',
    "everyone",
    'part("a", 0, 0.3)',
)


@pytest.fixture(scope="module")
def api(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    found = crowd(empty_store, tmp_path_factory.mktemp("partitions") / "store", TABLE)
    yield found
    found.close()


def partition(api: Api, text: str, by: dict[str, Any], rest: str = "other") -> dict[str, set[str]]:
    """Who is in each part, by the text that it prints."""
    found = api.ask(PARTITION, where={"text": text}, by=by, rest=rest)
    members = {}
    for row in found["partition"]:
        assert render(parse(row["audience"]["text"])) == row["audience"]["text"]
        members[row["name"]] = api.world.members(row["audience"]["text"])
        assert row["size"] == row["audience"]["size"] == len(members[row["name"]])
        assert row["share"] == (row["size"] / found["size"] if found["size"] else 0)
        assert (row["target"], row["control"]) == (None, False)
    assert all(not one & other for one, other in combinations(members.values(), 2))
    assert set().union(*members.values()) == api.world.members(text)
    return members


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(WHERES), st.lists(st.sampled_from(STEPS), min_size=1, max_size=6, unique=True))
def test_a_waterfall_takes_each_user_once(api: Api, text: str, steps: list[str]) -> None:
    by = {"audiences": [{"where": {"text": step}, "name": None if i % 2 else f"n{i}"} for i, step in enumerate(steps)]}
    found = partition(api, text, by)
    left = api.world.members(text)
    assert list(found) == [render(parse(step)) if i % 2 else f"n{i}" for i, step in enumerate(steps)] + ["other"]
    for name, step in zip(found, steps, strict=False):
        taken = left & api.world.members(step)
        assert found[name] == taken
        left -= taken
    assert found["other"] == left


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(WHERES), st.permutations(GOODS).flatmap(lambda all_: st.integers(1, 5).map(lambda n: all_[:n])))
def test_values_in_an_order_of_preference(api: Api, text: str, values: list[str]) -> None:
    found = partition(api, text, {"tag": {"key": "goods", "values": values}})
    table = TABLE.set_index("user")
    bought = table[list(GOODS)]
    for value, before in zip(values, (values[:i] for i in range(len(values))), strict=True):
        users = bought.index[bought[value] & ~bought[before].any(axis=1)]
        assert found[value] == api.world.members(text) & set(users)


def test_all_values_of_a_tag_and_those_of_whom_none_is_known(api: Api) -> None:
    found = partition(api, "everyone", {"tag": {"key": "city"}}, rest="nowhere")
    assert list(found) == [*CITIES, "nowhere"]
    assert {name: len(users) for name, users in found.items() if name != "nowhere"} == {
        city: int((TABLE.city == city).sum()) for city in CITIES
    }


def test_a_part_is_told_in_few_words(api: Api) -> None:
    rows = api.ask(PARTITION, where={"text": "vip"}, by={"tag": {"key": "goods"}}, rest="other")["partition"]
    assert [row["audience"]["text"] for row in rows[:2]] == [
        'vip and goods in ("milk powder")',
        'vip and goods in ("tea") and not goods in ("milk powder")',
    ]
    assert rows[-1]["audience"]["text"].count("goods") == 1


def test_a_part_can_be_saved_and_split_again(empty_store: Path, tmp_path: Path) -> None:
    api = crowd(empty_store, tmp_path / "store", TABLE.head(200))
    rows = api.ask(PARTITION, where={"text": "everyone"}, by={"tags": ["vip", "city"]}, rest="other")["partition"]
    save = (
        'mutation ($where: AudienceWhere!) { saveAudience(input: {key: "mine", where: $where}) { audience { size } } }'
    )
    assert api.ask(save, where={"text": rows[1]["audience"]["text"]})["audience"]["size"] == rows[1]["size"]
    again = partition(api, "@mine", {"tag": {"key": "city"}})
    assert sum(map(len, again.values())) == rows[1]["size"] and not again["other"]
    api.close()


def test_by_a_category_of_tags_of_every_kind(empty_store: Path, tmp_path: Path) -> None:
    api = shop(empty_store, tmp_path / "store")
    found = partition(api, "everyone", {"category": "shop"})
    assert list(found) == ["rich", "spend", "vip", "other"]  # vip has nobody left
    assert {name: len(users) for name, users in found.items()} == {"rich": 6, "spend": 4, "vip": 0, "other": 2}
    found = partition(api, "everyone", {"tag": {"key": "school", "values": ["student/graduate", "student"]}})
    assert found == {
        "student/graduate": {"u4"},
        "student": {"u3"},
        "other": api.world.members("everyone") - {"u3", "u4"},
    }
    found = partition(api, "everyone", {"tag": {"key": "buy"}})
    assert found["milk"] == {"u1"} and found["tea"] == {"u2"}
    api.close()


@pytest.mark.parametrize(
    ("by", "rest", "code", "argument"),
    [
        ({"tag": {"key": "vip"}}, "other", "INVALID", "by.tag.key"),
        ({"tag": {"key": "goods", "values": ["te"]}}, "other", "NOT_FOUND", "by.tag.values.0"),
        ({"tag": {"key": "goods", "values": []}}, "other", "INVALID", "by.tag.values"),
        ({"tag": {"key": "goods"}}, "tea", "INVALID", "rest"),
        ({"tags": ["vip", "no"]}, "other", "NOT_FOUND", "by.tags.1"),
        ({"category": "no"}, "other", "NOT_FOUND", "by.category"),
        ({"audiences": []}, "other", "INVALID", "by.audiences"),
        ({"audiences": [{"where": {"text": "vip"}}] * 2}, "other", "INVALID", "by.audiences.1.name"),
        ({"audiences": [{"where": {"text": "nobody"}}]}, "other", "NOT_FOUND", "by.audiences.0.where.text"),
        (
            {"audiences": [{"where": {"text": f"spend > {i}"}} for i in range(101)]},
            "other",
            "TOO_LARGE",
            "by.audiences",
        ),
    ],
)
def test_what_is_wrong_is_named(api: Api, by: dict[str, Any], rest: str, code: str, argument: str) -> None:
    found = api.error(PARTITION, where={"text": "vip"}, by=by, rest=rest)
    assert (found["code"], found["argument"]) == (code, argument)
