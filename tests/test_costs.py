"""What a question costs, told before it is evaluated: it is refused above the bound, and shown to who asks."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyroaring import BitMap

from bitmap_store.costs import PLAN, operations_of
from bitmap_store.plan import Alike, AllOf, AnyOf, AtLeastOf, Happened, Listed, Node, Range, Slice, Tagged, Universe
from resolvers.context import Limits
from tests.api import Api, shop

VIP, CITY = Tagged(1), Tagged(2, (4, 5, 6))


@pytest.fixture
def api(empty_store: Path, tmp_path: Path) -> Iterator[Api]:
    found = shop(empty_store, tmp_path / "store")
    yield found
    found.close()


@pytest.mark.parametrize(
    ("node", "containers"),
    [
        (VIP, 1),
        (CITY, 3),
        (Universe(), 1),
        (AllOf((VIP, CITY)), 6),
        (AllOf((VIP,), (CITY,)), 6),
        (AnyOf((VIP, VIP, VIP)), 6),
        (AtLeastOf(2, (VIP, VIP, VIP)), 9),
        (Range(1, 0, None), 4),
        (Happened(1, (2,), None, None), 9),
        (Slice("a", 0, 5), 64),
        (Alike(VIP, (VIP, VIP), 5), 2003),
    ],
)
def test_a_node_costs_for_each_container(node: Node, containers: int) -> None:
    assert operations_of(node, 1) == containers
    assert operations_of(node, 153) == 153 * containers


def test_users_who_are_listed_cost_no_more_than_they_are() -> None:
    assert operations_of(Listed((1, 2)), 100) == 2
    assert operations_of(Listed(tuple(BitMap(range(1000)))), 100) == 100


SIZES = "query ($where: AudienceWhere!) { audience(where: $where) { size } }"
PORTRAIT = '{ audience(where: {text: "vip"}) { portrait { known } } }'


def asked(api: Api, query: str, **variables: Any) -> dict[str, Any]:
    body = {"query": query, "variables": variables, "extensions": {"cost": True}}
    found: dict[str, Any] = api.request(json=body).json()
    return found


def test_who_asks_is_told(api: Api) -> None:
    leaf = {"tag": {"key": "vip"}}
    assert "extensions" not in api.answer(SIZES, where=leaf)
    assert asked(api, SIZES, where=leaf)["extensions"] == {"cost": {"operations": PLAN + 1, "most": 5_000_000}}
    both = {"and": [leaf, {"tag": {"key": "city"}}]}
    assert asked(api, SIZES, where=both)["extensions"]["cost"]["operations"] == PLAN + 4
    for _ in range(3):  # also where the answer is given again as it was
        assert asked(api, SIZES, where=both)["extensions"]["cost"]["operations"] == PLAN + 4
    assert asked(api, PORTRAIT)["extensions"]["cost"]["operations"] > 20 * PLAN


@pytest.mark.parametrize(
    ("query", "verb"),
    [
        (PORTRAIT, "breakdown"),
        ('{ audience(where: {text: "vip"}) { breakdown(by: [{tag: "city"}]) { size } } }', "breakdown"),
        ('{ audience(where: {text: "vip and city and likes and 1 of (vip, city)"}) { size } }', "count"),
        ('{ audience(where: {text: "vip or city"}) { explain { nodes { size sizeWithout } } } }', None),
        ('{ audience(where: {text: "vip"}) { numbers(tag: "spend") { sum } } }', "summarise"),
        ('{ audience(where: {text: "vip"}) { differentiators { size } } }', "breakdown"),
        ('{ compare(audiences: [{text: "vip"}, {text: "city"}]) { sizes } }', "count"),
    ],
)
def test_what_costs_too_much_is_refused_before_it_is_done(api: Api, query: str, verb: str | None) -> None:
    object.__setattr__(api.service, "limits", replace(Limits(), work_max=PLAN + 5))
    api.store.calls.clear()
    error = api.error(query)
    assert error["code"] == "TOO_LARGE"
    assert f"{PLAN + 5} are the most" in error["message"]
    assert "container operations" in error["message"]
    assert verb is None or api.store.calls[verb] == 0


def test_the_parts_of_an_array_count_together(api: Api) -> None:
    object.__setattr__(api.service, "limits", replace(Limits(), work_max=2 * (PLAN + 1)))
    each = [
        {"query": f'{{ audience(where: {{text: "{tag}"}}) {{ size }} }}'} for tag in ("vip", "likes", "vip", "city")
    ]
    first, second, again, third = api.request(json=each).json()
    assert [one["data"]["audience"]["size"] for one in (first, second, again)] == [5, 2, 5]  # a question counts once
    assert third["errors"][0]["extensions"]["code"] == "TOO_LARGE"
