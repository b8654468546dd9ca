"""GraphQL over HTTP: media types, status codes, tokens, and bodies that are none."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api import Api
from tests.worlds import copied

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
    (b"[" + json.dumps(QUESTION).encode() + b"]", 400),
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
    assert api.request("GET").status_code == 400
    assert api.request("GET", params={"query": query, "variables": "{"}).status_code == 400
    assert api.request("PUT").status_code == 405


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
