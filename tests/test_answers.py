"""Whole answers from memory: the same as without it, whatever is written, whoever asks and whatever time it is."""

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest
from graphql import get_named_type, parse
from starlette.applications import Starlette

from bitmap_store.values import Assign, Remove, micros
from schema.lasting import LASTING, is_lasting
from schema.served import SCHEMA
from tests.api import CITIES, Api, shop
from tests.worlds import MONDAY, StoreWorld
from web.answers import ENTRY_BYTES, Answers
from web.graphql import GraphQLRoutes
from web.service import Service

ENDS = '{user: "u9", tag: "vip", expiresAt: "2026-11-02T13:00:00Z"}'
SIZE = '{ audience(where: {text: "vip"}) { size } }'


@pytest.fixture
def api(empty_store: Path, tmp_path: Path) -> Iterator[Api]:
    found = shop(empty_store, tmp_path / "store")
    yield found
    found.close()


def calls(api: Api, query: str, times: int = 3) -> list[int]:
    """How many calls of the store each of the same requests takes."""
    found = []
    for _ in range(times):
        api.store.calls.clear()
        api.ask(query)
        found.append(sum(api.store.calls.values()))
    return found


def assign(api: Api, what: str) -> None:
    api.ask(f"mutation {{ assignTags(input: [{what}]) {{ changed }} }}")


# ---------------------------------------------------------------- when answers are given again

LASTS = [
    SIZE,
    '{ audience(where: {text: "vip and rich"}) { text share portrait { known rows { size } } } }',
    '{ audiences(where: [{text: "vip"}, {saved: "best"}]) { size dataVersion } }',
    '{ audience(where: {text: "vip"}) { breakdown(by: [{tag: "city"}]) { size audience { id } } } }',
    '{ audience(where: {text: "rich"}) { numbers(tag: "spend") { sum quantiles(at: [0.5]) } } }',
    '{ profile(by: {userId: "u1"}) { tags { tag { key } values memberships { since } } savedAudiences { key } } }',
    '{ memberships(users: ["u1", "u2"], in: [{text: "vip"}, {text: "city"}]) }',
    "{ tags { edges { node { key size } } } }",
    """{ audience(where: {text: "rich"}) { differentiators(tags: ["city", "churn", "spend"]) {
        size zScore numbers { mean medians { outsideMedian } } audience { text } } } }""",
    """{ compare(audiences: [{text: "vip"}, {text: "churn"}]) { sizes jaccard regions { size audience { size } }
        differentiators(tags: ["vip", "spend"]) { tag { key } size baselineSize numbers { outsideMean } } } }""",
]
"""Answers that only a write or an end of a membership changes."""

MOVES = [
    '{ audience(where: {text: "vip"}) { size at } }',
    '{ audience(where: {text: "vip"}) { explain { nodes { size } } } }',
    '{ audience(where: {text: "vip"}) { members { edges { cursor } } } }',
    '{ audience(where: {text: "vip within P30D"}) { size } }',
    '{ audience(where: {text: "seen ahead P30D"}) { size } }',
    '{ audience(where: {text: "buy within P7D"}) { text } }',
    '{ audience(where: {text: "lately"}) { size } }',
    '{ audience(where: {text: "at \\"2026-11-02T12:00:00Z\\" (vip)"}) { size } }',
    '{ audience(where: {text: "vip"}, asOf: "2026-11-02T12:00:00Z") { size } }',
    '{ profile(by: {userId: "u1"}) { tags { tag { key } } isIn(where: {text: "lately"}) } }',
    "{ viewer { name } }",
    "{ jobs { totalCount } }",
]
"""Answers that change with the moment, show it, or show who asks or work that goes on."""


@pytest.mark.parametrize("query", LASTS)
def test_what_lasts_is_kept_when_it_is_asked_again(api: Api, query: str) -> None:
    first, second, third = calls(api, query)
    assert (first > 0, second > 0, third) == (True, True, 0)
    body = api.request(json={"query": query}).content
    assert api.request(json={"query": query + " "}).content == body


@pytest.mark.parametrize("query", MOVES)
def test_what_moves_is_never_kept(api: Api, query: str) -> None:
    api.define("lately", rule={"tag": {"key": "buy", "within": "P10D"}})
    calls(api, query)
    assert len(api.service.answers) == 0


def test_errors_are_not_kept(api: Api) -> None:
    for _ in range(3):
        assert api.error('{ audience(where: {text: "nobody"}) { size } }')["code"] == "NOT_FOUND"
    assert len(api.service.answers) == 0


# ---------------------------------------------------------------- when they end


def test_an_expiry_changes_the_answer_without_a_write(api: Api) -> None:
    assign(api, ENDS)
    assert [api.size("vip") for _ in range(3)] == [6, 6, 6]
    api.clock.set(MONDAY + timedelta(hours=1) - timedelta(microseconds=1))
    assert calls(api, SIZE) == [1, 1, 0]
    assert api.ask(SIZE) == {"size": 6}
    api.clock.tick(microseconds=1)
    assert api.ask(SIZE) == {"size": 5}
    assert calls(api, SIZE)[-1] == 0


def test_the_clock_set_back_asks_anew(api: Api) -> None:
    assign(api, ENDS)
    api.clock.tick(hours=2)
    assert [api.ask(SIZE) for _ in range(3)] == [{"size": 5}] * 3
    api.clock.tick(hours=-1.5)
    assert [api.ask(SIZE) for _ in range(3)] == [{"size": 6}] * 3


def test_a_write_is_seen_at_once(api: Api) -> None:
    assert calls(api, SIZE)[-1] == 0
    assign(api, '{user: "u9", tag: "vip"}')
    assert api.ask(SIZE) == {"size": 6}


def test_a_write_of_another_process_is_seen_at_once(api: Api) -> None:
    assert calls(api, SIZE)[-1] == 0
    other = StoreWorld(api.world.directory, api.clock)
    other.apply(Assign("u8", "vip"), Assign("u9", "vip"))
    assert api.ask(SIZE) == {"size": 7}
    assert calls(api, SIZE)[-1] == 0
    other.save_audience("best", "city")
    assert api.ask('{ audience(where: {saved: "best"}) { size } }') == {"size": 8}
    other.close()


def test_a_definition_that_changes_is_seen_at_once(api: Api) -> None:
    query = '{ audience(where: {text: "rich"}) { size } }'
    assert (calls(api, query)[-1], api.ask(query)) == (0, {"size": 6})
    api.ask('mutation { updateTag(key: "rich", input: {rule: {text: "spend >= 200"}}) { key } }')
    assert api.ask(query) == {"size": 2}


# ---------------------------------------------------------------- who asks


def test_viewers_of_other_rights_share_nothing(api: Api) -> None:
    query = '{ audience(where: {text: "vip"}) { size contains(users: ["u1"]) } }'
    full, counts, also = (
        api.world.run(api.world.store.create_token(name, scopes))
        for name, scopes in (("full", ["count", "members"]), ("counts", ["count"]), ("also", ["members", "count"]))
    )
    for _ in range(3):
        assert api.ask(query, full) == {"size": 5, "contains": [True]}
        assert api.error(query, counts)["code"] == "FORBIDDEN"
    api.store.calls.clear()
    assert api.ask(query, also) == {"size": 5, "contains": [True]}
    assert not api.store.calls
    api.world.run(api.world.store.revoke_token("full"))
    assert api.request(json={"query": query}, headers={"Authorization": f"Bearer {full}"}).status_code == 401


# ---------------------------------------------------------------- the same as without

QUERIES = [
    *(query for query in [*LASTS, *MOVES] if "jobs" not in query and "lately" not in query),
    '{ audience(where: {text: "city or not vip"}) { size share } }',
    '{ audience(where: {text: "vip and buy within P3D"}) { size } }',
    '{ audience(where: {text: "worth in (\\"big\\")"}) { size breakdown(by: [{tag: "worth"}]) { size } } }',
    '{ profiles(by: [{userId: "u1"}, {userId: "n3"}]) { tags { tag { key } } expiredTags { values } } }',
    "{ entities { count } tags { edges { node { coverage values { edges { node { value size } } } } } } }",
]


@pytest.mark.parametrize("seed", range(4))
def test_answers_are_those_without_memory(api: Api, seed: int) -> None:
    chance = random.Random(seed)
    plain = Service(api.world.store, True, api.world.directory / "incoming", answer_cache_bytes_max=0)
    app = Starlette(routes=GraphQLRoutes(lambda: plain).routes())
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://tagroar")
    for _ in range(25):
        match chance.randrange(5):
            case 0:
                api.clock.tick(minutes=chance.choice([1, 30, 60, 60 * 24, 60 * 24 * 8]))
            case 1:
                ends = api.clock.now() + timedelta(minutes=chance.choice([1, 30, 60 * 24]))
                api.world.apply(Assign(f"n{chance.randrange(5)}", chance.choice(["vip", "churn"]), expires_at=ends))
            case 2:
                api.world.apply(Assign(f"u{chance.randrange(10)}", "city", chance.choice(CITIES)))
            case 3:
                api.world.apply(Remove(f"u{chance.randrange(10)}", chance.choice(["vip", "city"])))
        for query in chance.sample(QUERIES, 6):
            for _ in range(2):
                ours = api.request(json={"query": query}).json()
                theirs = api.world.run(client.post("/graphql", json={"query": query})).json()
                assert without_times(ours) == without_times(theirs), query
    assert len(api.service.answers) > 0
    assert len(plain.answers) == 0
    api.world.run(client.aclose())


def without_times(answer: Any) -> Any:
    """An answer less how long something took."""
    if isinstance(answer, dict):
        return {key: without_times(value) for key, value in answer.items() if key != "milliseconds"}
    return [without_times(each) for each in answer] if isinstance(answer, list) else answer


def test_what_lasts_is_decided_of_fields_that_are_there() -> None:
    types: Any = SCHEMA._schema.type_map
    for name, fields in LASTING.items():
        assert fields <= types[name].fields.keys(), name
    for name, fields in LASTING.items():  # what is below is decided too
        for field in fields:
            below = get_named_type(types[name].fields[field].type)
            assert not hasattr(below, "fields") or below.name in LASTING, f"{name}.{field}"
    assert not is_lasting(parse("{ node(id: 1) { ... on Audience { at } } }"))
    assert not is_lasting(parse("{ ...F } fragment F on Query { viewer { __typename } }"))


# ---------------------------------------------------------------- the budget


def test_the_budget_holds_and_the_least_recently_used_goes() -> None:
    view: Any = SimpleNamespace(version=1, micros=micros(MONDAY), catalog=SimpleNamespace(version=1))
    answers = Answers(20 * (ENTRY_BYTES + 110))
    for i in range(100):
        answers.keep((b"%10d" % i, frozenset()), b"x" * 100, view, 1 << 62)
        answers.find((b"%10d" % 0, frozenset()), view)
    assert len(answers) == 20
    assert answers.find((b"%10d" % 0, frozenset()), view)
    assert answers.find((b"%10d" % 80, frozenset()), view) is None
    answers.keep((b"large", frozenset()), b"x" * 10_000, view, 1 << 62)
    assert len(answers) == 20
    answers.keep((b"over", frozenset()), b"x", view, 0)
    assert len(answers) == 20


def test_an_answer_is_kept_in_as_many_bytes_as_it_has() -> None:
    """What orjson gives takes 4 KB of memory, of which its length tells nothing."""
    view: Any = SimpleNamespace(version=1, micros=micros(MONDAY), catalog=SimpleNamespace(version=1))
    answers, given = Answers(1 << 20), orjson.dumps({"data": {"size": 1}})
    answers.keep((b"asked", frozenset()), given, view, 1 << 62)
    found = answers.find((b"asked", frozenset()), view)
    assert found == given
    assert found is not given


def test_nothing_is_kept_without_a_budget() -> None:
    answers = Answers(0)
    assert not any(answers.is_wanted((b"x", frozenset())) for _ in range(3))
