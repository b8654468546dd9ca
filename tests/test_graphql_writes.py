"""Writes through GraphQL: what they answer, what the next read sees, and what they refuse."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api import ASSIGN, DEFINE, Api, shop


@pytest.fixture
def api(empty_store: Path, tmp_path: Path) -> Iterator[Api]:
    found = shop(empty_store, tmp_path / "store")
    yield found
    found.close()


def test_a_write_is_in_the_next_root_of_the_same_request(api: Api) -> None:
    found = api.ask(
        """mutation {
            assignTags(input: [{user: "u9", tag: "vip"}, {user: "new", tag: "vip"}]) { changed created }
            saveAudience(input: {key: "vips", where: {tag: {key: "vip"}}}) { audience { size } }
            removeTags(input: [{user: "u9", tag: "vip"}]) { changed created }
            updateTag(key: "vip", input: {name: "VIP"}) { name version size }
        }"""
    )
    assert found["assignTags"] == {"changed": 2, "created": 1}
    assert found["saveAudience"]["audience"]["size"] == 7
    assert found["removeTags"] == {"changed": 1, "created": 0}
    assert found["updateTag"] == {"name": "VIP", "version": 2, "size": 6}


@pytest.mark.parametrize(
    ("assignment", "where", "change"),
    [
        ({"tag": "vip"}, "vip", 1),
        ({"tag": "city", "value": "Paris"}, 'city = "Paris"', 1),
        ({"tag": "likes", "values": ["tea", "milk"]}, 'likes = "milk"', 1),
        ({"tag": "likes", "value": "milk"}, "likes", 1),
        ({"tag": "spend", "number": 0.1}, "spend = 0.1", 1),
        ({"tag": "spend", "number": "-12345678901234.56"}, "spend < -1000", 1),
        ({"tag": "born", "date": "2000-02-29"}, 'born = "2000-02-29"', 1),
        ({"tag": "churn", "score": 0.25}, "churn and not churn score 0.3", 1),
        ({"tag": "vip", "expiresAt": "2026-11-03"}, "vip", 1),
    ],
)
def test_assigning(api: Api, assignment: dict[str, Any], where: str, change: int) -> None:
    before = api.size(where)
    result = api.assign({"user": "u11", **assignment})
    assert (result["changed"] > 0, result["created"]) == (True, 0)
    assert api.size(where) - before == change
    assert api.ask(ASSIGN, input=[{"user": "u11", **assignment}])["changed"] == 0 or "score" in assignment
    api.clock.tick(days=2)
    assert api.size(where) - before == (0 if "expiresAt" in assignment else change)


def test_a_choice_is_replaced_and_choices_add_up(api: Api) -> None:
    api.assign({"user": "u0", "tag": "city", "value": "Paris"}, {"user": "u0", "tag": "likes", "value": "cake"})
    tags = api.ask('{ profile(by: {userId: "u0"}) { tags(keys: ["likes", "city"]) { tag { key } values } } }')["tags"]
    assert [(each["tag"]["key"], sorted(each["values"])) for each in tags] == [
        ("likes", ["cake", "milk", "tea"]),
        ("city", ["Paris"]),
    ]
    api.ask('mutation { removeTags(input: [{user: "u0", tag: "likes", value: "tea"}]) { changed } }')
    api.assign({"user": "u1", "tag": "likes", "values": ["water"]})
    assert (api.size('likes = "tea"'), api.size('likes = "water"'), api.size("likes")) == (0, 1, 2)


def test_batches_apply_all_or_nothing(api: Api) -> None:
    error = api.error(ASSIGN, input=[{"user": "u11", "tag": "vip"}, {"user": "u11", "tag": "spend", "number": 0.001}])
    assert (error["code"], error["argument"]) == ("INVALID", "input.1.number")
    assert api.size("vip") == 5


def test_idempotency_keys(api: Api) -> None:
    query = ASSIGN.replace("assignTags(input: $input)", 'assignTags(input: $input, idempotencyKey: "k")')
    one = api.ask(query, input=[{"user": "u11", "tag": "vip"}])
    api.ask('mutation { removeTags(input: [{user: "u11", tag: "vip"}]) { changed } }')
    assert api.ask(query, input=[{"user": "u11", "tag": "vip"}]) == one
    assert api.size("vip") == 5
    assert api.error(query, input=[{"user": "u10", "tag": "vip"}])["code"] == "CONFLICT"


def test_other_entities_have_users_of_their_own(api: Api) -> None:
    api.ask('mutation { defineEntity(key: "account", name: "Account") { key name count } }')
    api.define("paying", entity="account")
    api.ask('mutation { assignTags(entity: "account", input: [{user: "u0", tag: "paying"}]) { created } }')
    found = api.ask(
        """{ entities { key count } audience(where: {text: "paying"}, entity: "account") { entity size share }
            profile(by: {userId: "u0"}, entity: "account") { entity tags { tag { key } } } }"""
    )
    assert {each["key"]: each["count"] for each in found["entities"]} == {"user": 12, "account": 1}
    assert found["audience"] == {"entity": "account", "size": 1, "share": 1}
    assert found["profile"] == {"entity": "account", "tags": [{"tag": {"key": "paying"}}]}
    wrong = '{ audience(where: {text: "paying"}) { size } }'
    assert api.error(wrong)["code"] == "NOT_FOUND"


def test_identifiers(api: Api) -> None:
    link = """mutation ($user: String!, $kind: String!, $value: String!) {
        linkIdentifier(userId: $user, identifier: {kind: $kind, value: $value}) {
            userId identifiers { kind value } } }"""
    found = api.ask(link, user="u1", kind="device", value="d-1")
    assert found == {"userId": "u1", "identifiers": [{"kind": "device", "value": "d-1"}]}
    assert api.ask(link, user="u1", kind="device", value="d-1") == found
    taken = api.error(link, user="u2", kind="device", value="d-1")
    assert (taken["code"], taken["argument"]) == ("CONFLICT", "identifier")
    assert api.ask('{ profile(by: {identifier: {kind: "device", value: "d-1"}}) { userId } }') == {"userId": "u1"}
    api.ask('mutation { assignTags(idKind: "device", input: [{user: "d-1", tag: "churn"}]) { changed } }')
    assert api.ask('{ profile(by: {userId: "u1"}) { isIn(where: {text: "churn"}) } }') == {"isIn": True}


def test_attributes_merge_and_null_removes(api: Api) -> None:
    query = "mutation ($input: [ProfileInput!]!) { upsertProfiles(input: $input) { created } }"
    api.ask(query, input=[{"userId": "u10", "attributes": {"first": None, "last": "Wang"}}])
    attributes = api.ask('{ profile(by: {userId: "u10"}) { attributes { key value } } }')["attributes"]
    assert {each["key"]: each["value"] for each in attributes} == {"n": [1, 2.5, None], "last": "Wang"}
    assert api.error(query, input=[{"userId": "u10", "attributes": [1]}])["argument"] == "input.0.attributes"


def test_definitions(api: Api) -> None:
    update = """mutation ($input: UpdateTagInput!, $v: Int) {
        updateTag(key: "city", input: $input, ifVersion: $v) { version } }"""
    assert api.ask(update, input={"addValues": ["Rome"], "owner": "Bo"}, v=1) == {"version": 2}
    assert api.error(update, input={"name": "x"}, v=1)["code"] == "CONFLICT"
    city = api.ask('{ tag(key: "city") { owner name values { edges { node { value } } } } }')
    assert (city["owner"], city["name"]) == ("Bo", "city")
    assert [edge["node"]["value"] for edge in city["values"]["edges"]] == ["Shanghai", "Beijing", "Paris", "Rome"]
    change = 'mutation { updateTag(key: "rich", input: {rule: {text: "spend >= 200"}}) { rule size } }'
    assert api.ask(change) == {"rule": "spend >= 200", "size": 2}
    api.define("vip", definition="High value, 高价值", owner="Ann", category="shop")  # the same again
    assert api.error(DEFINE, input={"key": "vip", "kind": "CHOICE"})["code"] == "CONFLICT"
    used = api.error('mutation { deleteTag(key: "spend") { changed } }')
    assert used["code"] == "CONFLICT"
    assert "rich" in used["message"]
    api.ask('mutation { deleteAudience(key: "best") { changed } }')
    assert api.ask('mutation { deleteTag(key: "vip") { changed } }') == {"changed": 5}
    assert api.ask('{ tag(key: "vip") { key } }') is None


def test_categories_have_three_levels(api: Api) -> None:
    query = "mutation ($key: String!, $parent: String) { defineCategory(key: $key, parent: $parent) { depth } }"
    assert api.ask(query, key="cards", parent="money") == {"depth": 3}
    assert api.error(query, key="gold", parent="cards")["code"] == "INVALID"
    assert api.error(query, key="gold", parent="moneyy")["suggestions"] == ["money"]


def test_saved_audiences(api: Api) -> None:
    query = """mutation ($input: SaveAudienceInput!, $v: Int) {
        saveAudience(input: $input, ifVersion: $v) { version text name owner audience { size } } }"""
    where = {"and": [{"tag": {"key": "spend", "gte": 50}}, {"saved": "best"}]}
    found = api.ask(query, input={"key": "top", "where": where}, v=0)
    assert found == {
        "version": 1,
        "text": "spend >= 50 and @best",
        "name": "top",
        "owner": "demo",
        "audience": {"size": 1},
    }
    assert api.error(query, input={"key": "top", "where": where}, v=0)["code"] == "CONFLICT"
    assert api.ask(query, input={"key": "top", "where": {"text": "vip"}}, v=1)["version"] == 2
    api.ask(query, input={"key": "top", "where": where})
    circle = api.error(query, input={"key": "best", "where": {"text": "vip or @top"}})
    assert (circle["code"], "itself" in circle["message"]) == ("INVALID", True)
    assert api.ask('{ savedAudience(key: "best") { usedBy { ... on SavedAudience { key } } } }') == {
        "usedBy": [{"key": "top"}]
    }
    assert api.error('mutation { deleteAudience(key: "best") { changed } }')["code"] == "CONFLICT"


def test_events_count_by_day(api: Api) -> None:
    query = "mutation ($input: [EventInput!]!) { recordEvents(input: $input) { changed created } }"
    at = "2026-11-02T10:00:00Z"
    api.ask(query, input=[{"user": "u9", "tag": "buy", "value": "tea", "at": at, "count": 4}])
    assert api.size('buy["tea"] times 4 within P1D') == 1
    for wrong in ({"count": 0}, {"tag": "vip"}):
        error = api.error(query, input=[{"user": "u9", "tag": "buy", "value": "tea", "at": at, **wrong}])
        assert error["code"] == "INVALID"
        assert error["argument"].startswith("input.0")


def test_jobs(api: Api, tmp_path: Path) -> None:
    assert api.ask("{ jobs { totalCount edges { node { id } } } }") == {"totalCount": 0, "edges": []}
    assert api.ask('{ job(id: "none") { id } }') is None
    assert api.error('mutation { cancelJob(id: "none") { id } }')["code"] == "NOT_FOUND"
