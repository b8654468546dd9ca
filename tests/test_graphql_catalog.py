"""Profiles, tags, lists and global ids through GraphQL."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api import Api, shop


@pytest.fixture(scope="module")
def api(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    found = shop(empty_store, tmp_path_factory.mktemp("catalog") / "store")
    yield found
    found.close()


# ---------------------------------------------------------------- profiles


def test_profile(api: Api) -> None:
    query = """query ($by: ProfileBy!) { profile(by: $by) { id entity userId
        tags { tag { key } values number date memberships { value source score count lastAt expiresAt } }
        savedAudiences { key } isIn(where: {text: "vip"}) } }"""
    found = api.ask(query, by={"userId": "u1"})
    bare = {"value": None, "source": None, "score": None, "count": None, "lastAt": None, "expiresAt": None}
    tags = {each.pop("tag")["key"]: each for each in found.pop("tags")}
    assert list(tags) == ["born", "buy", "city", "likes", "seen", "spend", "vip", "worth"]
    assert tags["born"] == {"values": [], "number": None, "date": "1990-02-03", "memberships": [bare]}
    assert tags["seen"]["date"] == "2026-11-02T11:00:00Z"
    assert tags["spend"]["number"] == 25.5
    assert tags["likes"]["values"] == ["tea"]
    assert tags["vip"]["memberships"] == [{**bare, "source": "form"}]
    assert tags["worth"]["memberships"] == [{**bare, "value": "some", "source": "rule"}]
    assert tags["buy"]["memberships"] == [{**bare, "value": "milk", "count": 3, "lastAt": "2026-11-01T10:00:00Z"}]
    assert (found["userId"], found["savedAudiences"], found["isIn"]) == ("u1", [], True)
    assert api.ask(query, by={"userId": "u4"})["savedAudiences"] == [{"key": "best"}]
    churn = {each["tag"]["key"]: each for each in api.ask(query, by={"userId": "u6"})["tags"]}["churn"]
    assert churn["memberships"] == [{**bare, "score": 0.9, "expiresAt": "2026-11-20T00:00:00Z"}]
    assert api.ask(query, by={"userId": "nobody"}) is None


def test_profiles_keep_their_order(api: Api) -> None:
    query = """query ($by: [ProfileBy!]!) { profiles(by: $by) { userId identifiers { kind value }
        attributes { key value } some: attributes(keys: ["n", "none"]) { key value }
        tags(keys: ["vip"]) { tag { key } } } }"""
    email = {"identifier": {"kind": "email", "value": "li@x"}}
    found = api.ask(query, by=[{"userId": "u0"}, {"userId": "nobody"}, email, {"userId": "u10"}])
    assert [each and each["userId"] for each in found] == ["u0", None, "u10", "u10"]
    assert found[0]["tags"] == [{"tag": {"key": "vip"}}]
    assert found[2]["identifiers"] == [{"kind": "email", "value": "li@x"}]
    assert found[2]["attributes"] == [{"key": "first", "value": "Li"}, {"key": "n", "value": [1, 2.5, None]}]
    assert found[2]["some"] == [{"key": "n", "value": [1, 2.5, None]}]


# ---------------------------------------------------------------- catalog


def test_tag(api: Api) -> None:
    query = """query ($key: String!) { tag(key: $key) { id key entity name kind origin state sensitivity definition rule
        rules { value text } validFor open hierarchical scale precision owner version coverage size
        category { key depth parent { key } children { key } }
        values { totalCount edges { node { value name parent size } } }
        usedBy { ... on Tag { key } ... on SavedAudience { key } } } }"""
    vip = api.ask(query, key="vip")
    assert (vip["kind"], vip["origin"], vip["state"], vip["sensitivity"]) == ("FLAG", "DECLARED", "ACTIVE", "INTERNAL")
    assert (vip["size"], vip["coverage"], vip["scale"], vip["precision"]) == (5, 5 / 12, None, None)
    assert vip["category"] == {"key": "shop", "depth": 1, "parent": None, "children": [{"key": "money"}]}
    assert vip["usedBy"] == [{"key": "best"}]
    spend = api.ask(query, key="spend")
    assert (spend["scale"], spend["category"]["parent"], spend["usedBy"]) == (
        2,
        {"key": "shop"},
        [{"key": "rich"}, {"key": "worth"}],
    )
    rich = api.ask(query, key="rich")
    assert (rich["origin"], rich["rule"], rich["rules"], rich["size"]) == ("RULE", "spend >= 100", [], 6)
    assert api.ask(query, key="worth")["rules"][0] == {"value": "big", "text": "spend >= 200"}
    assert api.ask(query, key="born")["precision"] == "DAY"
    school = {edge["node"]["value"]: edge["node"] for edge in api.ask(query, key="school")["values"]["edges"]}
    deep = "student/undergraduate/year-3"
    assert school[deep] == {"value": deep, "name": "year-3", "parent": "student/undergraduate", "size": 1}
    assert (school["student"]["parent"], school["student"]["size"]) == (None, 2)
    assert api.ask(query, key="nothing") is None


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ('{search: "high value"}', ["vip"]),
        ('{search: "高价值"}', ["vip"]),
        ('{search: "ann VIP"}', ["vip"]),
        ('{category: "shop"}', ["rich", "spend", "vip"]),
        ('{category: "money", origin: RULE}', ["rich"]),
        ("{kind: DATE}", ["born", "seen"]),
        ("{state: RETIRED}", []),
        ('{entity: "user", kind: CHOICE}', ["city", "school", "worth"]),
    ],
)
def test_tags_filter(api: Api, filter: str, expected: list[str]) -> None:
    found = api.ask(f"{{ tags(filter: {filter}) {{ totalCount edges {{ node {{ key }} }} }} }}")
    assert [edge["node"]["key"] for edge in found["edges"]] == expected
    assert found["totalCount"] == len(expected)


@pytest.mark.parametrize("listed", ["tags", "savedAudiences", 'tag(key: "city") { values'])
def test_lists_come_page_by_page(api: Api, listed: str) -> None:
    head, _, last = listed.rpartition(" ")
    node = "{ value }" if last == "values" else "{ key }"
    query = f"""query ($first: Int, $after: String) {{ {head} {last}(first: $first, after: $after) {{
        totalCount edges {{ cursor node {node} }} pageInfo {{ hasNextPage endCursor }} }} {"}" if head else ""} }}"""

    def page(**how: Any) -> Any:
        found = api.ask(query, **how)
        return found["values"] if last == "values" else found

    everything = page()
    names = [edge["node"] for edge in everything["edges"]]
    assert everything["totalCount"] == len(names) > 0
    seen, after = [], None
    for _ in names:
        one = page(first=1, after=after)
        seen += [edge["node"] for edge in one["edges"]]
        after = one["pageInfo"]["endCursor"]
    assert seen == names
    assert not one["pageInfo"]["hasNextPage"]


def test_nodes(api: Api) -> None:
    ids = [
        api.ask('{ tag(key: "vip") { id } }')["id"],
        api.ask("{ categories { id } }")[1]["id"],
        api.ask('{ profile(by: {userId: "u1"}) { id } }')["id"],
        api.ask('{ savedAudience(key: "best") { id } }')["id"],
        api.audience("vip", "id")["id"],
    ]
    query = "query ($id: ID!) { node(id: $id) { __typename id } }"
    found = [api.ask(query, id=id) for id in ids]
    assert [each["__typename"] for each in found] == ["Tag", "Category", "Profile", "SavedAudience", "Audience"]
    assert [each["id"] for each in found] == ids


def test_saved_audience(api: Api) -> None:
    found = api.ask(
        '{ savedAudience(key: "best") { key name entity text owner version audience { text size } usedBy { id } } }'
    )
    assert found == {
        "key": "best",
        "name": "best",
        "entity": "user",
        "text": "vip and rich",
        "owner": "demo",
        "version": 1,
        "audience": {"text": "vip and rich", "size": 1},
        "usedBy": [],
    }


def test_entities_and_viewer(api: Api) -> None:
    assert api.ask("{ entities { key count } viewer { name scopes } }") == {
        "entities": [{"key": "user", "count": 12}],
        "viewer": {"name": "demo", "scopes": ["count", "members", "write", "define", "admin"]},
    }
