"""Audiences through GraphQL, against sets and sums worked out by hand. Profiles and tags: `test_graphql_catalog.py`."""

from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any

import pytest

from tests.api import SPEND, Api, shop

USERS = [f"u{i}" for i in range(12)]
NUMBERS = [float(number) for number in SPEND.values()]


@pytest.fixture(scope="module")
def api(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    found = shop(empty_store, tmp_path_factory.mktemp("reads") / "store")
    yield found
    found.close()


def users(*numbers: int) -> list[str]:
    return [f"u{i}" for i in numbers]


# ---------------------------------------------------------------- audiences

WHERES: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"tag": {"key": "vip"}}, "vip", users(0, 1, 2, 3, 4)),
    ({"tag": {"key": "city", "in": ["Beijing", "Paris"]}}, 'city in ("Beijing", "Paris")', users(1, 3, 5, 7)),
    ({"tag": {"key": "spend", "eq": "25.50"}}, "spend = 25.5", users(1)),
    ({"tag": {"key": "spend", "gte": 25.5, "lt": 75.5}}, "spend >= 25.5 and spend < 75.5", users(1, 2)),
    ({"tag": {"key": "spend", "gt": 25.5, "lte": "75.500"}}, "spend > 25.5 and spend <= 75.5", users(2, 3)),
    ({"tag": {"key": "born", "in": ["1990-02-03"]}}, 'born in ("1990-02-03")', users(1)),
    ({"tag": {"key": "born", "after": "1990-02-03", "before": "1990-02-04"}}, "", users(1)),
    ({"tag": {"key": "seen", "within": "PT2H"}}, "seen within PT2H", users(1)),
    ({"tag": {"key": "buy", "within": "P7D"}}, "buy within P7D", users(1)),
    ({"tag": {"key": "buy", "in": ["milk"], "times": 3}}, 'buy["milk"] times 3', users(1)),
    ({"tag": {"key": "buy", "within": "P90D", "skip": "P30D"}}, "buy within P90D skip P30D", users(2)),
    ({"tag": {"key": "churn", "minScore": 0.8}}, "churn score 0.8", users(6)),
    ({"tag": {"key": "school", "in": ["student"]}}, 'school in ("student")', users(3, 4)),
    ({"tag": {"key": "rich"}}, "rich", users(4, 5, 6, 7, 8, 9)),
    ({"tag": {"key": "worth", "in": ["some"]}}, 'worth in ("some")', users(0, 1, 2, 3, 4, 5, 6, 7)),
    ({"and": [{"tag": {"key": "vip"}}, {"not": {"tag": {"key": "city"}}}]}, "vip and not city", []),
    ({"or": [{"tag": {"key": "born"}}, {"saved": "best"}]}, "born or @best", users(1, 4)),
    ({"atLeast": {"count": 2, "of": [{"text": "vip"}, {"text": "rich"}, {"text": "born"}]}}, "", users(1, 4)),
    ({"users": {"ids": ["u3", "nobody", "u1"]}}, 'users("u3", "nobody", "u1")', users(1, 3)),
    ({"users": {"ids": ["li@x"], "idKind": "email"}}, 'users email ("li@x")', users(10)),
    ({"everyone": True}, "everyone", USERS),
    ({"part": {"seed": "s", "from": 0, "to": 1}}, 'part("s", 0, 1)', USERS),
    ({"text": 'vip and city != "Beijing"'}, "", users(0, 2, 4)),
]


@pytest.mark.parametrize(("where", "text", "expected"), WHERES, ids=[str(where) for where, _, _ in WHERES])
def test_audience(api: Api, where: dict[str, Any], text: str, expected: list[str]) -> None:
    fields = "id text size share members(first: 100) { edges { node { userId } } totalCount } contains(users: %s)"
    found = api.audience(where, fields % str([*USERS, "nobody"]).replace("'", '"'))
    assert sorted(edge["node"]["userId"] for edge in found["members"]["edges"]) == sorted(expected)
    assert found["size"] == found["members"]["totalCount"] == len(expected)
    assert found["share"] == len(expected) / len(USERS)
    assert found["contains"] == [user in expected for user in [*USERS, "nobody"]]
    assert not text or found["text"] == text
    assert api.audience(found["text"], "text size") == {"text": found["text"], "size": len(expected)}
    again = api.ask("query ($id: ID!) { node(id: $id) { id ... on Audience { size } } }", id=found["id"])
    assert again == {"id": found["id"], "size": len(expected)}


def test_audiences_answer_for_each_alone(api: Api) -> None:
    where = [{"text": "vip"}, {"text": "vipp"}, {"text": "rich"}]
    found = api.answer("query ($where: [AudienceWhere!]!) { audiences(where: $where) { size } }", where=where)
    assert found["data"]["audiences"] == [{"size": 5}, None, {"size": 6}]
    assert [error["path"] for error in found["errors"]] == [["audiences", 1]]


def test_members_come_page_by_page_of_one_version(empty_store: Path, tmp_path: Path) -> None:
    api = shop(empty_store, tmp_path / "store")
    query = """query ($after: String) { audience(where: {text: "city or rich"}) { members(first: 3, after: $after) {
        edges { cursor node { userId } } totalCount
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }"""
    seen: list[str] = []
    after, pages = None, 0
    while True:
        page = api.ask(query, after=after)["members"]
        seen += [edge["node"]["userId"] for edge in page["edges"]]
        info = page["pageInfo"]
        assert page["totalCount"] == 10
        assert info["hasPreviousPage"] == (pages > 0)
        assert (info["startCursor"], info["endCursor"]) == (page["edges"][0]["cursor"], page["edges"][-1]["cursor"])
        pages += 1
        if not info["hasNextPage"]:
            break
        after = info["endCursor"]
        api.assign({"user": f"new{pages}", "tag": "city", "value": "Paris"})
        api.ask('mutation { removeTags(input: [{user: "u9", tag: "spend"}]) { changed } }')
    assert (sorted(seen), pages) == (sorted(users(*range(10))), 4)
    assert api.size("city or rich") == 9 + 3
    first = api.ask(query)["members"]["pageInfo"]["endCursor"]
    other = 'query ($after: String) { audience(where: {text: "vip"}) { members(after: $after) { totalCount } } }'
    assert api.error(other, after=first)["code"] == "INVALID"
    assert api.error(other, after="nonsense")["code"] == "INVALID"
    api.clock.tick(days=31)
    assert api.error(query, after=first)["code"] == "STALE"
    api.close()


def test_as_of(empty_store: Path, tmp_path: Path) -> None:
    api = shop(empty_store, tmp_path / "store")
    before = api.clock.now().isoformat()
    api.clock.tick(days=20)
    api.assign({"user": "u9", "tag": "vip"})
    api.clock.tick(days=1)
    assert (api.size("vip"), api.size("vip", asOf=before), api.size("vip and not churn")) == (6, 5, 6)
    assert api.size(f'vip and not at "{before}" (vip)') == 1
    assert (api.size("churn"), api.size("churn", asOf=before)) == (1, 2)  # one has ended since
    query = """query ($asOf: DateTime) { profile(by: {userId: "u9"}, asOf: $asOf) {
        id isIn(where: {text: "vip"}) tags(keys: ["vip"]) { tag { key } } } }"""
    then, now = api.ask(query, asOf=before), api.ask(query)
    assert (then["isIn"], then["tags"]) == (False, [])
    assert (now["isIn"], now["tags"]) == (True, [{"tag": {"key": "vip"}}])
    node = 'query ($id: ID!) { node(id: $id) { ... on Profile { isIn(where: {text: "vip"}) } } }'
    assert [api.ask(node, id=found["id"])["isIn"] for found in (then, now)] == [False, True]
    api.close()


def test_memberships(api: Api) -> None:
    query = """query ($users: [String!]!, $in: [AudienceWhere!]!, $kind: String) {
        memberships(users: $users, in: $in, idKind: $kind) }"""
    each = [{"text": "vip"}, {"tag": {"key": "rich"}}, {"everyone": True}]
    assert api.ask(query, users=["u4", "nobody", "u9", "u4"], **{"in": each}) == [
        [True, True, True],
        [False, False, False],
        [False, True, True],
        [True, True, True],
    ]
    assert api.ask(query, users=["li@x"], kind="email", **{"in": each}) == [[False, False, True]]
    assert api.error(query, users=["u1"], **{"in": [*each, {"text": "vipp"}]})["argument"] == "in.3.text"


# ---------------------------------------------------------------- sizes at nodes, numbers, breakdowns


def test_explain(api: Api) -> None:
    nodes = api.audience("vip and not (city or rich)", "explain { milliseconds nodes { path text size sizeWithout } }")
    assert [tuple(node.values()) for node in nodes["explain"]["nodes"]] == [
        ("", "vip and not (city or rich)", 0, None),
        ("and.0", "vip", 5, 2),
        ("and.1", "not (city or rich)", 2, 5),
        ("and.1.not", "city or rich", 10, 5),
        ("and.1.not.or.0", "city", 8, 4),
        ("and.1.not.or.1", "rich", 6, 0),
    ]


def test_explain_looks_into_the_past_below_at(api: Api) -> None:
    nodes = api.audience('at "2026-11-02T11:00:00Z" (vip or everyone)', "explain { nodes { path size sizeWithout } }")
    assert [tuple(node.values()) for node in nodes["explain"]["nodes"]] == [
        ("", 0, None),
        ("at.where", 0, None),
        ("at.where.or.0", 0, 0),
        ("at.where.or.1", 0, 0),
    ]


def test_numbers(api: Api) -> None:
    fields = """numbers(tag: "spend") { count sum mean min max median quantiles(at: [0, 0.5, 0.91, 1])
        histogram(bins: 3) { from to size } }"""
    found = api.audience({"everyone": True}, fields)["numbers"]
    assert found == {
        "count": 10,
        "sum": sum(NUMBERS),
        "mean": mean(NUMBERS),
        "min": 0.5,
        "max": 225.5,
        "median": median(NUMBERS),
        "quantiles": [0.5, 100.5, 225.5, 225.5],
        "histogram": [
            {"from": 0.5, "to": 75.5, "size": 3},
            {"from": 75.5, "to": 150.5, "size": 3},
            {"from": 150.5, "to": 225.5, "size": 4},
        ],
    }
    nobody = api.audience("spend > 1000", fields)["numbers"]
    assert nobody == {
        **dict.fromkeys(found, None),
        "count": 0,
        "sum": 0,
        "quantiles": [None] * 4,
        "histogram": [],
    }
    days = api.audience({"everyone": True}, 'numbers(tag: "born") { count min }')["numbers"]
    assert days == {"count": 1, "min": 7338}


def rows(found: list[dict[str, Any]]) -> list[tuple[str, list[str | None], int]]:
    return [(row["kind"], row["values"], row["size"]) for row in found]


BREAKDOWNS: list[tuple[str, str, list[tuple[str, list[str | None], int]]]] = [
    (
        "everyone",
        '[{tag: "city"}]',
        [
            ("VALUE", ["Shanghai"], 4),
            ("VALUE", ["Beijing"], 4),
            ("VALUE", ["Paris"], 0),
            ("UNKNOWN", [None], 4),
        ],
    ),
    ("rich", '[{tag: "city"}], top: 1', [("VALUE", ["Shanghai"], 2), ("OTHER", [None], 2), ("UNKNOWN", [None], 2)]),
    ("everyone", '[{tag: "vip"}]', [("VALUE", [None], 5), ("UNKNOWN", [None], 7)]),
    (
        "vip",
        '[{tag: "city"}, {tag: "rich"}]',
        [
            ("VALUE", ["Shanghai", None], 1),
            ("VALUE", ["Beijing", None], 0),
            ("VALUE", ["Paris", None], 0),
            ("UNKNOWN", [None, None], 4),
        ],
    ),
    (
        "everyone",
        '[{tag: "likes"}]',
        [("VALUE", ["tea"], 2), ("VALUE", ["milk"], 1), ("UNKNOWN", [None], 10)],
    ),
    ("everyone", '[{tag: "school"}]', [("VALUE", ["student"], 2), ("VALUE", ["teacher"], 1), ("UNKNOWN", [None], 9)]),
    (
        "everyone",
        '[{tag: "school", level: 2}]',
        [
            ("VALUE", ["student/undergraduate"], 1),
            ("VALUE", ["student/graduate"], 1),
            ("OTHER", [None], 1),
            ("UNKNOWN", [None], 9),
        ],
    ),
    (
        "everyone",
        '[{tag: "spend", edges: [50, "100.5"]}]',
        [
            ("VALUE", ["< 50.00"], 2),
            ("VALUE", ["50.00..100.49"], 2),
            ("VALUE", [">= 100.50"], 6),
            ("UNKNOWN", [None], 2),
        ],
    ),
    (
        "everyone",
        '[{tag: "spend", bins: 2}]',
        [("VALUE", ["0.50..112.99"], 5), ("VALUE", ["113.00..225.50"], 5), ("UNKNOWN", [None], 2)],
    ),
    (
        "everyone",
        '[{tag: "spend", quantiles: 2}]',
        [("VALUE", ["0.50..100.49"], 4), ("VALUE", ["100.50..225.50"], 6), ("UNKNOWN", [None], 2)],
    ),
    ("everyone", '[{tag: "worth"}]', [("VALUE", ["some"], 8), ("VALUE", ["big"], 2), ("UNKNOWN", [None], 2)]),
    ("everyone", '[{tag: "buy"}]', [("VALUE", ["milk"], 1), ("VALUE", ["tea"], 1), ("UNKNOWN", [None], 10)]),
    ("everyone", '[{tag: "born", bins: 3}]', [("VALUE", ["1990-02-03"], 1), ("UNKNOWN", [None], 11)]),
]


@pytest.mark.parametrize(("text", "by", "expected"), BREAKDOWNS, ids=[f"{text} by {by}" for text, by, _ in BREAKDOWNS])
def test_breakdown(api: Api, text: str, by: str, expected: list[tuple[str, list[str | None], int]]) -> None:
    found = api.audience(text, f"size breakdown(by: {by}) {{ kind values size share audience {{ id text size }} }}")
    assert rows(found["breakdown"]) == expected
    for row in found["breakdown"]:
        assert row["audience"]["size"] == row["size"] == api.size(row["audience"]["text"])
        assert row["share"] == row["size"] / found["size"]
    if "likes" not in by:
        assert sum(row["size"] for row in found["breakdown"]) == found["size"]


def test_breakdown_compares_with_a_baseline(api: Api) -> None:
    fields = 'breakdown(by: [{tag: "city"}]) { values share baselineShare tgi }'
    rich = {row["values"][0]: row for row in api.audience("rich", fields)["breakdown"]}
    assert rich["Shanghai"] == {"values": ["Shanghai"], "share": 2 / 6, "baselineShare": 4 / 12, "tgi": 100.0}
    assert rich[None]["tgi"] == (2 / 6) / (4 / 12) * 100
    assert rich["Paris"]["tgi"] is None
    against_vips = fields.replace("}])", '}], baseline: {text: "vip"})')
    rich = {row["values"][0]: row for row in api.audience("rich", against_vips)["breakdown"]}
    assert (rich["Shanghai"]["baselineShare"], rich[None]["baselineShare"]) == (3 / 5, 0)


def test_portrait(api: Api) -> None:
    fields = """portrait(%s) { tag { key } known exclusive numbers { count sum }
        rows { kind values size share tgi audience { size } } }"""
    everything = api.audience("vip", fields % "top: 2")["portrait"]
    assert [each["tag"]["key"] for each in everything] == sorted(
        ["born", "buy", "churn", "city", "likes", "rich", "school", "seen", "spend", "vip", "worth"]
    )
    by_key = {each["tag"]["key"]: each for each in everything}
    assert {key for key, each in by_key.items() if not each["exclusive"]} == {"likes", "buy"}
    assert (by_key["spend"]["known"], by_key["spend"]["numbers"]) == (5, {"count": 5, "sum": 252.5})
    assert by_key["city"]["numbers"] is None
    for each in everything:
        assert len([row for row in each["rows"] if row["kind"] == "VALUE"]) <= 2
        if each["exclusive"]:
            assert sum(row["size"] for row in each["rows"]) == 5
        assert all(row["audience"]["size"] == row["size"] for row in each["rows"])
    some = api.audience("vip", fields % 'tags: ["rich", "city"], category: "shop"')["portrait"]
    assert [each["tag"]["key"] for each in some] == ["rich"]
