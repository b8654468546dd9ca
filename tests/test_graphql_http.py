"""GraphQL over HTTP: media types, status codes, tokens, and bodies that are none."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import web.graphql
from resolvers import catalog
from resolvers.context import Context
from tests.api import Api
from tests.worlds import copied
from web.bounds import Bounds

JSON = "application/json"
RESPONSE = "application/graphql-response+json"
QUESTION = {"query": "{ viewer { name } }"}
ANSWER = {"data": {"viewer": {"name": "demo"}}}


@pytest.fixture(scope="module")
def api(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    found = Api(copied(empty_store, tmp_path_factory.mktemp("http") / "store"))
    yield found
    found.close()


@pytest.mark.parametrize(
    ("accept", "query", "status", "media_type"),
    [
        (None, "{ viewer { name } }", 200, JSON),
        ("*/*", "{ viewer { name } }", 200, JSON),
        ("text/event-stream, application/json", "{ viewer { name } }", 200, JSON),
        (RESPONSE, "{ viewer { name } }", 200, RESPONSE),
        (f"{RESPONSE}; q=1, {JSON}; q=0.5", "{ viewer { name } }", 200, RESPONSE),
        (JSON, "{ nothing }", 200, JSON),
        (RESPONSE, "{ nothing }", 400, RESPONSE),
        (RESPONSE, "{", 400, RESPONSE),
        (RESPONSE, "query ($a: Int!) { tags(first: $a) { totalCount } }", 400, RESPONSE),
        (RESPONSE, '{ audience(where: {text: "none"}) { size } }', 200, RESPONSE),
        (RESPONSE, "{ tags(first: 0) { totalCount } }", 200, RESPONSE),
        ("application/*", "{ viewer { name } }", 200, JSON),
        (f"{JSON}, {RESPONSE};q=0.9", "{ viewer { name } }", 200, JSON),
        (f"{RESPONSE},{JSON};q=0.9", "{ nothing }", 400, RESPONSE),
        (f"{RESPONSE.upper()} ; Q=0.8 , {JSON}; charset=utf-8; q=0.7", "{ nothing }", 400, RESPONSE),
        (f"{RESPONSE};q=0, */*", "{ nothing }", 200, JSON),
        (f"*/*;q=0.1, {RESPONSE}", "{ viewer { name } }", 200, RESPONSE),
        (f"{JSON};q=nonsense", "{ viewer { name } }", 200, JSON),
        (" , ", "{ viewer { name } }", 200, JSON),
        ("text/plain", "{ viewer { name } }", 406, JSON),
        ("text/html, image/*", "{ nothing }", 406, JSON),
        (f"{JSON};q=0", "{ viewer { name } }", 406, JSON),
        ("*/*;q=0", "{ viewer { name } }", 406, JSON),
    ],
)
def test_media_types(api: Api, accept: str | None, query: str, status: int, media_type: str) -> None:
    found = api.request(json={"query": query}, headers={"Accept": accept} if accept else {})
    assert (found.status_code, found.headers["content-type"].partition(";")[0]) == (status, media_type)
    assert set(found.json()) <= {"data", "errors"}


BODIES: list[tuple[Any, int]] = [
    (b"", 400),
    (b"null", 400),
    (b"3", 400),
    (b'"text"', 400),
    (b"[]", 400),
    (b"[" + b",".join([json.dumps(QUESTION).encode()] * 11) + b"]", 413),
    (b"{}", 400),
    (b'{"query": 3}', 400),
    (b'{"query": null}', 400),
    (b'{"query": " "}', 400),
    (b'{"query": "{ viewer { name } }", "variables": 3}', 400),
    (b'{"query": "{ viewer { name } }", "variables": [1]}', 400),
    (b'{"query": "{ viewer { name } }", "operationName": 3}', 400),
    (b'{"query": "{ viewer { name } }", "extensions": "x"}', 400),
    (b'{"query": "{ viewer { name } }"', 400),
    (b'{"query": "\xff"}', 400),
    (b'{"query": "\\ud800"}', 400),
    (b'{"query": "{ viewer { name } }", "variables": {"a": NaN}}', 400),
    (b'{"query": "{ viewer { name } }", "variables": {"a": ' + b"9" * 5_000 + b"}}", 400),
    (b'{"query": "{ viewer { name } }", "variables": {"a": ' + b"[" * 100_000 + b"}", 400),
    (b"\x1f\x8b\x08\x00", 400),
    (b'{"query": "' + b" " * (1 << 20) + b'"}', 413),
]


@pytest.mark.parametrize(("body", "status"), BODIES, ids=[str(body[:60]) for body, _ in BODIES])
def test_bodies_that_are_none(api: Api, body: bytes, status: int) -> None:
    found = api.request(content=body, headers={"Content-Type": JSON})
    (error,) = found.json()["errors"]
    assert found.status_code == status
    assert error["extensions"]["code"] == {400: "INVALID", 413: "TOO_LARGE"}[status]
    assert "Traceback" not in found.text
    assert api.request(json=QUESTION).json() == ANSWER


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": JSON, "Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "Application/JSON; charset=utf-8"}, 200),
        ({"Content-Type": 'application/json;charset="UTF-8"; x=y'}, 200),
        ({"Content-Type": "application/json; charset=utf-16"}, 415),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": "application/jsonx"}, 415),
    ],
)
def test_only_json_is_taken(api: Api, headers: dict[str, str], status: int) -> None:
    assert api.request(content=json.dumps(QUESTION).encode(), headers=headers).status_code == status


def test_get_is_for_queries(api: Api) -> None:
    query = "query ($n: Int) { tags(first: $n) { totalCount } }"
    found = api.request("GET", params={"query": query, "variables": '{"n": 3}'})
    assert (found.status_code, found.json()) == (200, {"data": {"tags": {"totalCount": 0}}})
    write = api.request("GET", params={"query": 'mutation { defineCategory(key: "c") { key } }'})
    assert (write.status_code, write.headers["allow"]) == (405, "POST")
    assert api.ask("{ categories { key } }") == []
    assert found.headers["cache-control"] == "private, no-cache"
    head = api.request("HEAD", params={"query": query})
    assert (head.status_code, head.headers["content-type"]) == (200, "application/json; charset=utf-8")
    assert api.request("GET").status_code == 400
    assert api.request("GET", params={"query": query, "variables": "{"}).status_code == 400
    assert api.request("PUT").status_code == 405


def test_what_is_not_acceptable_is_not_executed(api: Api) -> None:
    write = {"query": 'mutation { defineCategory(key: "c") { key } }'}
    found = api.request(json=write, headers={"Accept": "text/plain"})
    assert (found.status_code, found.json()["errors"][0]["extensions"]["code"]) == (406, "INVALID")
    assert api.ask("{ categories { key } }") == []


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("{", {}),
        ("{ nothing }", {}),
        ("query ($a: Int!) { tags(first: $a) { totalCount } }", {}),
        ("query ($a: Int!) { tags(first: $a) { totalCount } }", {"a": "x"}),
        ("query A { viewer { name } } query B { viewer { name } }", {}),
    ],
)
def test_what_is_not_executed_has_no_data(api: Api, query: str, variables: dict[str, Any]) -> None:
    for accept, status in ((JSON, 200), (RESPONSE, 400)):
        found = api.request(json={"query": query, "variables": variables}, headers={"Accept": accept})
        assert (found.status_code, found.json().keys()) == (status, {"errors"})
        assert all(error["extensions"]["code"] for error in found.json()["errors"])


def test_more_is_told_than_data(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What limits put beside an operation is written with its answer, on every way, and with no other."""
    bound = Context.page_size

    def told(context: Context, *given: Any, **how: Any) -> int:
        context.extensions["cost"] = {"estimated": 7}
        return bound(context, *given, **how)

    monkeypatch.setattr(Context, "page_size", told)
    asked, expected = {"query": "{ tags { totalCount } }"}, {"cost": {"estimated": 7}}
    assert api.request(json=asked).json()["extensions"] == expected
    assert [each.get("extensions") for each in api.request(json=[asked, QUESTION, asked]).json()] == [
        expected,
        None,
        expected,
    ]


SIZE = "query ($w: AudienceWhere!) { audience(where: $w) { size } }"


def test_an_array_is_answered_in_order(api: Api) -> None:
    long = {"query": "{ viewer { name } } #" + "x" * 40_000}
    array: list[Any] = [
        {"query": 'mutation { defineTag(input: {key: "vip"}) { key } }'},
        {"query": "{ nothing }"},
        3,
        {"query": SIZE, "variables": {"w": {"tag": {"key": "vip"}}}},
        {"query": "subscription { dataVersion }"},
        [QUESTION],
        long,
        long,
        {"query": SIZE, "variables": {"w": {"tag": {"key": "no"}}}},
        QUESTION,
    ]
    found = api.request(json=array, headers={"Accept": RESPONSE})
    assert (found.status_code, found.headers["content-type"].partition(";")[0]) == (200, RESPONSE)
    told = [each["errors"][0]["extensions"]["code"] if "errors" in each else each["data"] for each in found.json()]
    assert told == [
        {"defineTag": {"key": "vip"}},
        "INVALID",
        "INVALID",
        {"audience": {"size": 0}},
        "INVALID",
        "INVALID",
        {"viewer": {"name": "demo"}},
        "TOO_LARGE",
        "NOT_FOUND",
        {"viewer": {"name": "demo"}},
    ]


def test_limits_hold_for_an_array_as_a_whole(api: Api) -> None:
    object.__setattr__(api.service, "bounds", Bounds(request_seconds=60))
    api.ask('mutation { defineTag(input: {key: "many"}) { key } }')

    def asked(number: int) -> dict[str, Any]:
        wheres = [
            {"or": [{"tag": {"key": "many", "after": f"20{i:02}-01-{j + 1:02}"}} for i in range(20)]}
            for j in range(number)
        ]
        return {"query": "query ($w: [AudienceWhere!]!) { audiences(where: $w) { size } }", "variables": {"w": wheres}}

    found = api.request(json=[asked(31)] * 10).json()
    assert all("errors" not in each for each in found), "what is asked again is not counted again"
    others = [asked(number) for number in (28, 29, 30)]
    for index, each in enumerate(others):
        for where in each["variables"]["w"]:
            for leaf in where["or"]:
                leaf["tag"]["after"] = leaf["tag"]["after"].replace("20", f"1{index}", 1)
    found = api.request(json=[*others, asked(20), QUESTION]).json()
    assert isinstance(found, list), found
    codes = [{error["extensions"]["code"] for error in each.get("errors", ())} for each in found]
    assert codes == [set(), set(), set(), {"TOO_LARGE"}, set()]


def test_arrays_can_be_refused(api: Api) -> None:
    object.__setattr__(api.service, "batch_max", 1)
    found = api.request(json=[QUESTION])
    object.__setattr__(api.service, "batch_max", 10)
    assert (found.status_code, found.json()["errors"][0]["extensions"]["code"]) == (400, "INVALID")


def test_operations_are_chosen_by_name(api: Api) -> None:
    body = {"query": "query A { viewer { name } } query B { viewer { scopes } }"}
    assert api.request(json={**body, "operationName": "A"}).json() == ANSWER
    for name in (None, "C"):
        (error,) = api.request(json={**body, "operationName": name}).json()["errors"]
        assert error["extensions"] == {"code": "INVALID", "argument": "operationName"}


def test_tokens(empty_store: Path, tmp_path: Path) -> None:
    api = Api(copied(empty_store, tmp_path / "store"), open_to_anyone=False)
    token = api.world.run(api.world.store.create_token("tool", ["count"]))
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {token}"}, {"Authorization": "x"}):
        found = api.request(json=QUESTION, headers=headers)
        assert (found.status_code, found.headers["www-authenticate"]) == (401, "Bearer")
        assert found.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert api.ask("{ viewer { name scopes } }", token) == {"name": "tool", "scopes": ["count"]}
    api.world.run(api.world.store.revoke_token("tool"))
    assert api.request(json=QUESTION, headers={"Authorization": f"Bearer {token}"}).status_code == 401
    api.close()


def test_what_was_not_foreseen_is_logged_and_says_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(api.world.store, "plan_everyone", fail)
    found = api.request(json={"query": "{ entities { key count } }"})
    (error,) = found.json()["errors"]
    assert (found.status_code, error["message"], error["extensions"]) == (200, "internal error", {"code": "INTERNAL"})
    assert "secret" not in found.text
    assert "secret" in caplog.text


@pytest.mark.parametrize("kind", ["query", "mutation"])
def test_a_question_is_given_up_when_its_client_goes(api: Api, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A mutation is not: what it says is done as a whole."""
    monkeypatch.setattr(web.graphql, "PATIENCE_SECONDS", 0)
    ends: list[str] = []

    async def run() -> list[Any]:
        begun, gone, told = asyncio.Event(), asyncio.Event(), asyncio.Event()
        sent: list[Any] = []

        async def slow(*_: Any) -> int:
            begun.set()
            try:
                await told.wait()
                ends.append("answered")
            except asyncio.CancelledError:
                ends.append("given up")
                raise
            return 7

        body = b'{"query": "{ entities { count } }"}'
        if kind == "mutation":
            body = b'{"query": "mutation { defineEntity(key: \\"shop\\") { count } }"}'
        messages = [{"type": "http.request", "body": body}]

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        monkeypatch.setattr(catalog, "entity_count", slow)
        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/graphql", "headers": headers, "query_string": b""}
        answering = asyncio.create_task(api.endpoint(scope, receive, send))
        await begun.wait()
        gone.set()
        if kind == "mutation":
            told.set()
        await answering
        return sent

    sent = api.world.run(asyncio.wait_for(run(), 60))
    assert ends == (["given up"] if kind == "query" else ["answered"])
    assert bool(sent) is (kind == "mutation")
