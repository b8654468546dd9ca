"""Goal seek: every suggestion has the size it tells, and no bound of a clause comes nearer to the goal."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api import Api, shop

FIELDS = """size goalSeek(size: %d, top: %d) { size edits { kind path before after } audience { text size } }"""
PEOPLE = 200


@pytest.fixture(scope="module")
def api(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    found = shop(empty_store, tmp_path_factory.mktemp("goals") / "store")
    chance = random.Random(3)
    for i in range(PEOPLE):
        user = f"p{i}"
        found.assign(
            {"user": user, "tag": "spend", "number": f"{chance.random() * 1000:.2f}"},
            {"user": user, "tag": "city", "value": chance.choice(("Shanghai", "Shanghai", "Beijing", "Paris"))},
            {"user": user, "tag": "likes", "values": chance.sample(("tea", "milk", "rum", "gin"), 2)},
            {"user": user, "tag": "born", "date": f"{chance.randint(1950, 2005)}-0{chance.randint(1, 9)}-15"},
        )
        if chance.random() < 0.5:
            found.assign({"user": user, "tag": "vip"}, {"user": user, "tag": "churn", "score": chance.random()})
    found.ask(
        "mutation ($i: [EventInput!]!) { recordEvents(input: $i) { changed } }",
        i=[
            {"user": f"p{chance.randrange(PEOPLE)}", "tag": "buy", "value": chance.choice(("milk", "tea")),
             "at": f"2026-{chance.randint(5, 10)}-{chance.randint(10, 28)}T00:00:00Z".replace("-5-", "-05-")
             .replace("-6-", "-06-").replace("-7-", "-07-").replace("-8-", "-08-").replace("-9-", "-09-"),
             "count": chance.randint(1, 4)}
            for _ in range(600)
        ],
    )  # fmt: skip
    yield found
    found.close()


def seek(api: Api, text: str, goal: int, top: int = 5) -> tuple[int, list[dict[str, Any]]]:
    found = api.audience(text, FIELDS % (goal, top))
    return found["size"], found["goalSeek"]


QUESTIONS = (
    "spend >= 500", "spend < 100 and vip", 'city in ("Paris")', 'city in ("Paris", "Beijing") and vip and spend > 300',
    "buy times 4 within P90D", "buy within P30D and vip", "not spend >= 200", "vip or spend > 900", "churn score 0.8",
    'born after "1980-01-01" before "1990-01-01"', "2 of (vip, spend > 500, likes in (\"rum\"))", "@best",
    'vip and not (city in ("Shanghai") or spend > 400)', 'at "2026-11-02T12:00:00Z" (spend > 100)', "vip",
    'part("s", 0, 0.5) and likes in ("tea") and likes in ("gin")', "spend and churn and buy and vip",
    "buy within P60D skip P30D", "spend = 25.5",
)  # fmt: skip


@pytest.mark.parametrize("text", QUESTIONS)
def test_suggestions_have_the_size_that_they_tell(api: Api, text: str) -> None:
    useful = 0
    for goal in (0, 1, 17, 50, 120, 199, 5_000):
        was, found = seek(api, text, goal)
        offs = [abs(each["size"] - goal) for each in found]
        assert offs == sorted(offs) and all(off < abs(was - goal) for off in offs)
        for each in found:
            assert each["size"] == each["audience"]["size"] == api.size(each["audience"]["text"])
            assert 1 <= len(each["edits"]) <= 2
        assert len({each["audience"]["text"] for each in found}) == len(found)
        useful += bool(found)
    assert useful >= 2 or text in ("vip", "spend = 25.5")  # one clause without anything to move


def test_a_bound_comes_as_near_as_can_be(api: Api) -> None:
    values = sorted(float(each) for each in numbers(api))
    for goal in (1, 33, 77, 150):
        _, found = seek(api, "spend >= 1000", goal)
        assert found[0]["size"] == goal and found[0]["edits"][0]["kind"] == "BOUND"  # no two have the same
        bound = float(found[0]["audience"]["text"].removeprefix("spend >= "))
        assert sum(value >= bound for value in values) == goal
        after = found[0]["edits"][0]["after"]
        exact = values[-goal]
        assert len(after.rpartition(" ")[2]) <= len(f"{exact:g}") + 1  # rounded where nothing lies between


def numbers(api: Api) -> list[str]:
    query = """{ audience(where: {text: "spend"}) { members(first: 1000) { edges { node { tags(keys: ["spend"])
        { number } } } } } }"""
    return [edge["node"]["tags"][0]["number"] for edge in api.ask(query)["members"]["edges"]]


def test_edits_by_example(api: Api) -> None:
    was, found = seek(api, 'city in ("Paris") and vip', 200, 20)
    kinds = {(edit["kind"], edit["path"], edit["after"]) for each in found for edit in each["edits"]}
    assert {("COUNT", "", 'city in ("Paris") or vip'), ("DROP", "and.0", None)} <= kinds
    assert was < found[-1]["size"]
    assert seek(api, "vip", api.size("vip")) == (api.size("vip"), [])
    _, [first, *_] = seek(api, 'city in ("Paris") and spend > 900', 40)
    assert first["size"] == 40 or len(first["edits"]) == 2


def test_limits(api: Api) -> None:
    for top, code in ((0, "INVALID"), (51, "TOO_LARGE")):
        query = '{ audience(where: {text: "vip"}) { goalSeek(size: 3, top: %d) { size } } }'
        assert api.error(query % top)["code"] == code
