"""The one error shape: code, argument, suggestions and place for everything that can be wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bitmap_store.errors import Invalid
from bitmap_store.text import render
from schema.served import where_of_json
from tests.api import Api, shop

VIP = {"tag": {"key": "vip"}}


@pytest.fixture(scope="module")
def api(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    found = shop(empty_store, tmp_path_factory.mktemp("errors") / "store")
    yield found
    found.close()


def nested(levels: int) -> dict[str, Any]:
    where: dict[str, Any] = VIP
    for _ in range(levels):
        where = {"not": where}
    return where


WRONG: list[tuple[Any, dict[str, Any]]] = [
    # names
    ({"tag": {"key": "vipp"}}, {"code": "NOT_FOUND", "argument": "where.tag.key", "suggestions": ["vip"]}),
    ({"and": [VIP, {"tag": {"key": "zzz"}}]}, {"code": "NOT_FOUND", "argument": "where.and.1.tag.key"}),
    (
        {"or": [{"tag": {"key": "city", "in": ["Paris", "Shangai"]}}]},
        {"code": "NOT_FOUND", "argument": "where.or.0.tag.in.1", "suggestions": ["Shanghai"]},
    ),
    ({"not": {"saved": "bset"}}, {"code": "NOT_FOUND", "argument": "where.not.saved", "suggestions": ["best"]}),
    # texts
    ({"text": "vip and"}, {"code": "INVALID", "argument": "where.text", "line": 1, "column": 8}),
    ({"text": "vip\n and citty"}, {"code": "NOT_FOUND", "argument": "where.text", "line": 2, "column": 6}),
    ({"text": 'city = "Rom"'}, {"code": "NOT_FOUND", "line": 1, "column": 8}),
    ({"text": 'vip and city in ("Paris", "Rom")'}, {"code": "NOT_FOUND", "line": 1, "column": 27}),
    ({"and": [VIP, {"text": "@nobody"}]}, {"code": "NOT_FOUND", "argument": "where.and.1.text", "column": 2}),
    ({"text": "vip times 2"}, {"code": "INVALID", "argument": "where.text", "line": 1, "column": 1}),
    # what a kind of tag cannot have
    ({"tag": {"key": "vip", "gte": 1}}, {"code": "INVALID", "argument": "where.tag.gte"}),
    ({"not": {"tag": {"key": "vip", "gt": 1, "lt": 2}}}, {"code": "INVALID", "argument": "where.not.tag.gt"}),
    ({"tag": {"key": "spend", "in": ["a"]}}, {"code": "INVALID", "argument": "where.tag.in"}),
    ({"tag": {"key": "vip", "ahead": "P1D"}}, {"code": "INVALID", "argument": "where.tag.ahead"}),
    ({"tag": {"key": "rich", "within": "P1D"}}, {"code": "INVALID", "argument": "where.tag.within"}),
    ({"tag": {"key": "buy", "skip": "P1D"}}, {"code": "INVALID", "argument": "where.tag.skip"}),
    ({"tag": {"key": "buy", "times": 0}}, {"code": "INVALID", "argument": "where.tag.times"}),
    # what cannot be asked
    ({"and": []}, {"code": "INVALID", "argument": "where.and"}),
    ({"or": []}, {"code": "INVALID", "argument": "where.or"}),
    ({"everyone": False}, {"code": "INVALID", "argument": "where.everyone"}),
    ({"users": {"ids": []}}, {"code": "INVALID", "argument": "where.users.ids"}),
    ({"part": {"seed": "s", "from": 0.5, "to": 0.5}}, {"code": "INVALID", "argument": "where.part.to"}),
    ({"atLeast": {"count": 0, "of": [VIP]}}, {"code": "INVALID", "argument": "where.atLeast.count"}),
    ({"at": {"asOf": "2030-01-01", "where": VIP}}, {"code": "INVALID", "argument": "where.at.asOf"}),
    ({"at": {"asOf": "2020-01-01", "where": VIP}}, {"code": "STALE", "argument": "where.at.asOf"}),
    # scalars and shapes
    ({"tag": {"key": "spend", "gt": "1e"}}, {"code": "INVALID", "argument": "w.tag.gt"}),
    ({"tag": {"key": "spend", "gt": True}}, {"code": "INVALID", "argument": "w.tag.gt"}),
    ({"tag": {"key": "vip", "within": "P1M"}}, {"code": "INVALID", "argument": "w.tag.within"}),
    ({"tag": {"key": "vip", "after": "2026-01-01T00:00:00"}}, {"code": "INVALID", "argument": "w.tag.after"}),
    ({"tag": {"key": "vip", "after": "2026-02-30"}}, {"code": "INVALID", "argument": "w.tag.after"}),
    ({"tag": {"key": "spend", "gtee": 1}}, {"code": "INVALID", "argument": "w.tag"}),
    ({"and": [{"tag": {"key": "vip"}, "saved": "best"}]}, {"code": "INVALID"}),
    ({}, {"code": "INVALID"}),
    (None, {"code": "INVALID", "argument": "w"}),
    # limits
    (nested(20), {"code": "TOO_LARGE", "argument": "where"}),
    (nested(300), {"code": "TOO_LARGE"}),
    ({"or": [VIP] * 201}, {"code": "TOO_LARGE", "argument": "where"}),
    ({"or": [VIP] * 2001}, {"code": "TOO_LARGE"}),
    ({"users": {"ids": ["u"] * 10_001}}, {"code": "TOO_LARGE", "argument": "where.users.ids"}),
    ({"text": " or ".join(["vip"] * 201)}, {"code": "TOO_LARGE", "argument": "where.text"}),
    # later
    ({"snapshot": "s"}, {"code": "UNAVAILABLE", "argument": "where.snapshot"}),
    # look-alikes
    ({"lookalike": {"of": VIP}}, {"code": "INVALID", "argument": "where.lookalike"}),
    ({"lookalike": {"of": VIP, "size": 0}}, {"code": "INVALID", "argument": "where.lookalike.size"}),
    ({"lookalike": {"of": VIP, "size": 3, "threshold": 1}}, {"argument": "where.lookalike.threshold"}),
    ({"lookalike": {"of": {"tag": {"key": "vipp"}}, "size": 3}}, {"argument": "where.lookalike.of.tag.key"}),
    (
        {"not": {"lookalike": {"of": VIP, "size": 3, "excludeTags": ["vip", "citty"]}}},
        {"code": "NOT_FOUND", "argument": "where.not.lookalike.excludeTags.1", "suggestions": ["city"]},
    ),
    ({"text": "vip or like (vip) size 3 except (vip, citty)"}, {"argument": "where.text", "column": 39}),
    ({"related": {"relation": "a.b", "where": VIP}}, {"code": "UNAVAILABLE", "argument": "where.related"}),
    ({"text": "any a.b (vip)"}, {"code": "UNAVAILABLE", "argument": "where.text"}),
]


@pytest.mark.parametrize(("where", "expected"), WRONG, ids=[str(where)[:60] for where, _ in WRONG])
def test_wrong_audiences(api: Api, where: Any, expected: dict[str, Any]) -> None:
    error = api.error("query ($w: AudienceWhere!) { audience(where: $w) { size } }", w=where)
    assert {key: error.get(key) for key in expected} == expected
    assert error["message"]
    assert "None" not in error["message"]


REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("{ audience(where: {everyone: true}) { siize } }", {"code": "INVALID", "suggestions": ["size", "share"]}),
    ('{ tag(key: "vip", kex: 1) { key } }', {"code": "INVALID", "suggestions": ["key"]}),
    ("{", {"code": "INVALID"}),
    ("{ viewer { name } } extra", {"code": "INVALID"}),
    ("query A { viewer { name } } query B { viewer { name } }", {"code": "INVALID", "argument": "operationName"}),
    ("fragment F on Query { viewer { name } }", {"code": "INVALID"}),
    ("subscription { dataVersion }", {"code": "INVALID"}),
    ("{ " + "viewer { name } " * 700 + "}", {"code": "TOO_LARGE"}),
    ("{ a " * 600 + "}" * 600, {"code": "TOO_LARGE"}),
    ("{ viewer { name } } # " + "x" * 70_000, {"code": "TOO_LARGE"}),
    ('{ audience(where: {text: "vip"}, entity: "usr") { size } }', {"code": "NOT_FOUND", "suggestions": ["user"]}),
    ('{ audience(where: {text: "vip"}, asOf: "2030-01-01") { size } }', {"code": "INVALID", "argument": "asOf"}),
    ('{ audience(where: {text: "vip"}, asOf: "2020-01-01") { size } }', {"code": "STALE", "argument": "asOf"}),
    ("{ tags(first: 0) { totalCount } }", {"code": "INVALID", "argument": "first"}),
    ("{ tags(first: 1001) { totalCount } }", {"code": "TOO_LARGE", "argument": "first"}),
    ('{ tags(after: "x") { totalCount } }', {"code": "INVALID", "argument": "after"}),
    ('{ tags(filter: {category: "shopp"}) { totalCount } }', {"code": "NOT_FOUND", "argument": "filter.category"}),
    ('{ node(id: "x") { id } }', {"code": "INVALID", "argument": "id"}),
    ('{ node(id: "W10") { id } }', {"code": "INVALID", "argument": "id"}),
    ('{ node(id: "WyJUYWciLDFd") { id } }', {"code": "INVALID", "argument": "id"}),
    (
        '{ profile(by: {userId: "u1"}) { tags(keys: ["vipp"]) { number } } }',
        {"code": "NOT_FOUND", "argument": "keys.0"},
    ),
]


@pytest.mark.parametrize(("query", "expected"), REQUESTS, ids=[query[:60] for query, _ in REQUESTS])
def test_wrong_requests(api: Api, query: str, expected: dict[str, Any]) -> None:
    error = api.error(query)
    assert {key: error.get(key) for key in expected} == expected


FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("breakdown(by: []) { size }", {"code": "INVALID", "argument": "by"}),
    ('breakdown(by: [{tag: "citty"}]) { size }', {"code": "NOT_FOUND", "argument": "by.0.tag"}),
    ('breakdown(by: [{tag: "city", bins: 3}]) { size }', {"code": "INVALID", "argument": "by.0.bins"}),
    ('breakdown(by: [{tag: "city", level: 1}]) { size }', {"code": "INVALID", "argument": "by.0.level"}),
    ('breakdown(by: [{tag: "school", level: 0}]) { size }', {"code": "INVALID", "argument": "by.0.level"}),
    ('breakdown(by: [{tag: "spend", bins: 0}]) { size }', {"code": "INVALID", "argument": "by.0.bins"}),
    ('breakdown(by: [{tag: "spend", bins: 2, quantiles: 2}]) { size }', {"code": "INVALID"}),
    ('breakdown(by: [{tag: "spend", edges: [2, 1]}]) { size }', {"code": "INVALID", "argument": "by.0.edges.1"}),
    ('breakdown(by: [{tag: "spend", edges: [0.001]}]) { size }', {"code": "INVALID", "argument": "by.0.edges.0"}),
    ('breakdown(by: [{tag: "born", edges: [1]}]) { size }', {"code": "INVALID", "argument": "by.0.edges"}),
    ('breakdown(by: [{tag: "city"}], top: 0) { size }', {"code": "INVALID", "argument": "top"}),
    ('breakdown(by: [{tag: "city"}], baseline: {text: "vipp"}) { size }', {"argument": "baseline.text", "column": 1}),
    ('portrait(tags: ["vip", "citty"]) { known }', {"code": "NOT_FOUND", "argument": "tags.1"}),
    ('portrait(category: "shopp") { known }', {"code": "NOT_FOUND", "argument": "category"}),
    ('numbers(tag: "city") { sum }', {"code": "INVALID", "argument": "tag"}),
    ('numbers(tag: "spend") { quantiles(at: [0.5, 1.5]) }', {"code": "INVALID", "argument": "at.1"}),
    ('numbers(tag: "spend") { histogram(bins: 0) { size } }', {"code": "INVALID", "argument": "bins"}),
    ('members(after: "WyJtZW1iZXJzIl0") { totalCount }', {"code": "INVALID", "argument": "after"}),
    ("lookalike(size: 0) { auc }", {"code": "INVALID", "argument": "size"}),
    ('lookalike(size: 3, excludeTags: ["citty"]) { auc }', {"code": "NOT_FOUND", "argument": "excludeTags.0"}),
    ("lookalike(size: 3) { best(first: 0) { score } }", {"code": "INVALID", "argument": "first"}),
    ("persona(top: 0) { values { share } }", {"code": "INVALID", "argument": "top"}),
    # later
    ("reach { name }", {"code": "UNAVAILABLE"}),
]


@pytest.mark.parametrize(("field", "expected"), FIELDS, ids=[field for field, _ in FIELDS])
def test_wrong_fields(api: Api, field: str, expected: dict[str, Any]) -> None:
    error = api.error(f"{{ audience(where: {{everyone: true}}) {{ {field} }} }}")
    assert {key: error.get(key) for key in expected} == expected
    assert error["path"][:2] == ["audience", field.partition("(")[0].partition(" ")[0]]


LATER = [
    '{ audience(where: {text: "vip"}, purpose: {key: "marketing"}) { size } }',
    '{ audiences(where: [{text: "vip"}], purpose: {key: "marketing"}) { size } }',
    '{ memberships(users: ["u1"], in: [{text: "vip"}], purpose: {key: "marketing"}) }',
    "{ catalogHealth { score } }",
    '{ savedAudience(key: "best") { snapshots { totalCount } } }',
    'mutation { defineRelation(key: "r", from: "user", to: "user") }',
    'mutation { changeTagState(key: "vip", to: RETIRED) { key } }',
    'mutation { snapshotAudience(key: "best") { id } }',
    'mutation { mergeProfiles(from: "u1", into: "u2") { id } }',
    'mutation { undoMerge(id: "x") { changed } }',
    'mutation { eraseProfiles(users: ["u1"]) { changed } }',
]


@pytest.mark.parametrize("query", LATER)
def test_what_comes_later_says_so(api: Api, query: str) -> None:
    error = api.error(query)
    assert error["code"] == "UNAVAILABLE"
    assert error["message"].endswith("with a later version")


def test_leaves_are_counted_over_a_request(api: Api) -> None:
    query = "query ($w: [AudienceWhere!]!) { audiences(where: $w) { size } }"
    different = [{"or": [{"tag": {"key": "spend", "gt": i * 100 + j}} for j in range(100)]} for i in range(20)]
    assert api.ask(query, w=different)
    text = " or ".join(f"spend > {i}.25" for i in range(100))
    found = api.errors(query, w=[*different[:19], {"text": text}, {"text": text + " or vip"}])
    assert [(error["code"], error["path"]) for error in found] == [("TOO_LARGE", ["audiences", 20])]
    users = [{"userId": f"u{i % 12}"} for i in range(1000)]
    each = """query ($by: [ProfileBy!]!, $w: AudienceWhere!) { profiles(by: $by) { isIn(where: $w) } }"""
    assert len(api.ask(each, by=users, w=different[0])) == 1000


def test_numbers_stay_exact(api: Api) -> None:
    long = "0.1234567890123456789"
    where = '{"tag": {"key": "spend", "gt": %s}}'
    body = """{"query": "query ($w: AudienceWhere!) { audience(where: $w) { text } }", "variables": {"w": WHERE}}"""
    json = {"Content-Type": "application/json"}
    for number in (long, f'"{long}"'):
        found = api.request(content=body.replace("WHERE", where.replace("%s", number)), headers=json).json()
        assert found["data"]["audience"]["text"] == f"spend > {long}"
    found = api.ask(f'{{ audience(where: {{tag: {{key: "spend", gt: {long}}}}}) {{ text }} }}')
    assert found["text"] == f"spend > {long}"


@pytest.mark.parametrize("number", ["1e-9999999", "1e9999999", "9" * 50, "NaN", "1_000", "٣", "0x1", ""])
def test_numbers_that_are_none(api: Api, number: str) -> None:
    query = 'mutation ($n: Decimal) { assignTags(input: [{user: "u1", tag: "spend", number: $n}]) { changed } }'
    error = api.error(query, n=number)
    assert (error["code"], error["argument"]) == ("INVALID", "n")


@pytest.mark.parametrize(
    ("value", "argument"),
    [
        (3, "where"),
        ({}, "where"),
        ({"tagg": {"key": "vip"}}, "where"),
        ({"and": [{"tag": {}}]}, "where.and.0.tag"),
        ({"and": [{"tag": {"key": "spend", "gt": "x"}}]}, "where.and.0.tag.gt"),
        ({"or": []}, "where.or"),
        ({"text": "vip and"}, "where.text"),
    ],
)
def test_where_in_json(value: object, argument: str) -> None:
    with pytest.raises(Invalid) as wrong:
        assert where_of_json(value).expression
    assert (wrong.value.argument, "Found" in wrong.value.message) == (argument, False)


def test_where_in_json_is_the_same_question() -> None:
    where = {"and": [{"tag": {"key": "spend", "gte": 1.5}}, {"not": {"part": {"seed": "s", "from": 0, "to": 0.5}}}]}
    assert render(where_of_json(where).expression) == 'spend >= 1.5 and not part("s", 0, 0.5)'


SCOPES: list[tuple[str, set[str]]] = [
    ("{ viewer { name } }", {"count", "members", "write", "define", "admin"}),
    ("{ tags { totalCount } }", {"count"}),
    ("{ entities { count } }", {"count"}),
    ('{ audience(where: {text: "vip"}) { size } }', {"count"}),
    ('{ audience(where: {text: "vip"}) { text } }', {"count", "members"}),
    ('{ audience(where: {text: "vip"}) { breakdown(by: [{tag: "city"}]) { size } } }', {"count"}),
    ('{ audience(where: {text: "vip"}) { portrait { known } } }', {"count"}),
    ('{ audience(where: {text: "vip"}) { explain { nodes { size } } } }', {"count"}),
    ('{ audience(where: {text: "vip"}) { numbers(tag: "spend") { sum } } }', {"count"}),
    ('{ audience(where: {text: "vip"}) { members { edges { node { userId } } } } }', {"members"}),
    ('{ audience(where: {text: "vip"}) { contains(users: ["u1"]) } }', {"members"}),
    ('{ audience(where: {users: {ids: ["u1"]}}) { text } }', {"members"}),
    ('{ audience(where: {text: "not users(\\"u1\\")"}) { text } }', {"members"}),
    ('{ memberships(users: ["u1"], in: [{text: "vip"}]) }', {"members"}),
    ('{ profile(by: {userId: "u1"}) { userId } }', {"members"}),
    ('{ savedAudience(key: "best") { key } }', {"count"}),
    ("{ jobs { totalCount } }", {"write", "admin"}),
    ('mutation { assignTags(input: [{user: "u1", tag: "vip"}]) { changed } }', {"write"}),
    ('mutation { removeTags(input: [{user: "nobody", tag: "vip"}]) { changed } }', {"write"}),
    ('mutation { upsertProfiles(input: [{userId: "u1"}]) { changed } }', {"write"}),
    ('mutation { linkIdentifier(userId: "u1", identifier: {kind: "k", value: "v"}) { userId } }', {"write"}),
    ('mutation { defineCategory(key: "shop") { key } }', {"define"}),
    ('mutation { updateTag(key: "city", input: {name: "City"}) { key } }', {"define"}),
    ('mutation { saveAudience(input: {key: "s", where: {text: "vip"}}) { key } }', {"define"}),
]


@pytest.mark.parametrize(("query", "enough"), SCOPES, ids=[query for query, _ in SCOPES])
def test_scopes(api: Api, tokens: dict[str, str], query: str, enough: set[str]) -> None:
    for scope, token in tokens.items():
        codes = [error["code"] for error in api.errors(query, token)]
        assert codes == ([] if scope in enough else ["FORBIDDEN"]), scope


@pytest.fixture(scope="module")
def tokens(api: Api) -> dict[str, str]:
    """A token for each scope."""
    scopes = ("count", "members", "write", "define", "admin")
    return {scope: api.world.run(api.world.store.create_token(f"only-{scope}", [scope])) for scope in scopes}
