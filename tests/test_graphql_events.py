"""Server-sent events: what is answered as such, in which form, and that an operation ends when nobody reads it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.api import Api
from tests.worlds import copied
from web import events, streams
from web.known import Known

ASSIGN = 'mutation { assignTags(input: [{user: "u1", tag: "vip"}]) { dataVersion } }'
LIVE = {"query": "subscription { dataVersion }"}
URQL = (
    "application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed"
)
SECONDS_MAX = 10


class Reader:
    """One request to the endpoint, in memory; its response is read event by event."""

    def __init__(self, api: Api, body: Any, accept: str = "text/event-stream", method: str = "POST") -> None:
        self._run = api.world.run
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._buffer = ""
        headers = [(b"content-type", b"application/json"), (b"accept", accept.encode())]
        scope = {"type": "http", "method": method, "path": "/graphql", "query_string": b"", "headers": headers}
        self._sent.put_nowait({"type": "http.request", "body": json.dumps(body).encode(), "more_body": False})
        self.server = self._run(self._serve(api, scope))
        start = self._next()
        self.status: int = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}

    async def _serve(self, api: Api, scope: dict[str, Any]) -> asyncio.Task[None]:
        return asyncio.create_task(api.endpoint(scope, self._sent.get, self._told.put))

    def _next(self) -> dict[str, Any]:
        return self._run(asyncio.wait_for(self._told.get(), SECONDS_MAX))

    def event(self) -> tuple[str, Any]:
        """The next event, comments left out: its name, and what it says as JSON."""
        while True:
            while "\n\n" not in self._buffer:
                self._buffer += self._next()["body"].decode()
            event, _, self._buffer = self._buffer.partition("\n\n")
            assert "\r" not in event
            if not event.startswith(":"):
                name, data = event.split("\n")
                assert name.startswith("event: ") and data.startswith("data:")
                said = data.removeprefix("data:").strip()
                return name.removeprefix("event: "), json.loads(said) if said else None

    def leave(self) -> None:
        """The client goes; the request has to end."""
        self._sent.put_nowait({"type": "http.disconnect"})
        self._run(asyncio.wait_for(self.server, SECONDS_MAX))


@pytest.mark.parametrize("accept", ["text/event-stream", URQL, "text/event-stream, application/json;q=0.5"])
def test_a_subscription_tells_as_it_happens(api: Api, accept: str) -> None:
    reader = Reader(api, LIVE, accept)
    assert (reader.status, reader.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert "no-cache" in reader.headers["cache-control"]
    assert reader.event() == ("next", {"data": {"dataVersion": 0}})
    api.ask(ASSIGN)
    assert reader.event() == ("next", {"data": {"dataVersion": 1}})
    reader.leave()


def test_a_browser_asks_by_get(api: Api) -> None:
    found = api.request("GET", params={"query": "{ viewer { name } }"}, headers={"Accept": "text/event-stream"})
    assert found.text == ':\n\nevent: next\ndata: {"data":{"viewer":{"name":"demo"}}}\n\nevent: complete\ndata:\n\n'


def test_who_can_read_json_is_answered_so(api: Api) -> None:
    for accept, media in (
        (URQL, "application/graphql-response+json"),
        ("text/event-stream, application/json", "application/json"),
    ):
        for query in ("{ viewer { name } }", ASSIGN, "{ nothing }", "{"):
            found = api.request(json={"query": query}, headers={"Accept": accept})
            assert found.headers["content-type"] == f"{media}; charset=utf-8"
            assert found.json()


def test_without_events_there_is_no_subscription(api: Api) -> None:
    for accept in ("application/json", "*/*", "text/event-stream;q=0, application/json"):
        (error,) = api.request(json=LIVE, headers={"Accept": accept}).json()["errors"]
        assert (error["extensions"]["code"], "text/event-stream" in error["message"]) == ("INVALID", True)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"query": ASSIGN}, {"data": {"assignTags": {"dataVersion": 1}}}),
        ({"query": "{"}, "INVALID"),
        ({"query": "{ nothing }"}, "INVALID"),
        ({"query": "query ($a: Int!) { tags(first: $a) { totalCount } }"}, "INVALID"),
        ({"query": "subscription { nothing }"}, "INVALID"),
        ({"query": 'subscription { jobProgress(id: "none") { id } }'}, "NOT_FOUND"),
        ({"query": 'subscription { audienceChanges(key: "best") { cursor } }'}, "UNAVAILABLE"),
        ({"documentId": "zz"}, "NOT_FOUND"),
    ],
    ids=str,
)
def test_one_answer_is_one_event(api: Api, sent: Any, said: Any) -> None:
    reader = Reader(api, sent)
    name, found = reader.event()
    assert (reader.status, name) == (200, "next")
    assert (found["errors"][0]["extensions"]["code"] if isinstance(said, str) else found) == said
    assert reader.event() == ("complete", None)
    api.world.run(asyncio.wait_for(reader.server, SECONDS_MAX))


def test_what_is_no_request_is_no_stream(api: Api) -> None:
    for sent, status in ((b"{", 400), (b"[]", 400), (b'[{"query": "{ viewer { name } }"}]', 400)):
        headers = {"Accept": "text/event-stream", "Content-Type": "application/json"}
        found = api.request(content=sent, headers=headers)
        assert (found.status_code, found.headers["content-type"]) == (status, "application/json; charset=utf-8")
        assert found.json()["errors"][0]["extensions"]["code"] == "INVALID"


def test_silence_is_filled_with_comments(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", 0.001)
    reader = Reader(api, LIVE)
    told = [reader._next()["body"] for _ in range(6)]
    assert told[0] == b":\n\n"
    assert told.count(b":\n\n") >= 5
    reader.leave()


def test_an_operation_ends_when_its_reader_goes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    async def endless() -> Any:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    monkeypatch.setattr(api.world.store, "changes", endless)
    reader = Reader(api, LIVE)
    assert reader.event() == ("next", {"data": {"dataVersion": 1}})
    reader.leave()
    assert ended == ["ended"]


def test_streams_end_when_the_process_does(api: Api) -> None:
    first, second = Reader(api, LIVE), Reader(api, LIVE)
    assert first.event() == second.event() == ("next", {"data": {"dataVersion": 0}})

    async def end() -> None:
        api.service.streams.end()

    api.world.run(end())
    for reader in (first, second):
        assert reader._next() == {"type": "http.response.body", "body": b""}
        api.world.run(asyncio.wait_for(reader.server, SECONDS_MAX))


def test_streams_are_bounded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STREAMS_MAX", 1)
    first = Reader(api, LIVE)
    assert first.event()[0] == "next"
    refused = api.request(json=LIVE, headers={"Accept": "text/event-stream"})
    assert (refused.status_code, refused.json()["errors"][0]["extensions"]["code"]) == (503, "UNAVAILABLE")
    first.leave()
    Reader(api, LIVE).leave()


def test_tokens_are_asked_for(empty_store: Path, tmp_path: Path) -> None:
    api = Api(copied(empty_store, tmp_path / "closed"), open_to_anyone=False)
    found = api.request(json=LIVE, headers={"Accept": "text/event-stream"})
    assert (found.status_code, found.json()["errors"][0]["extensions"]["code"]) == (401, "UNAUTHENTICATED")
    api.close()


def test_trusted_documents_are_told_too(api: Api) -> None:
    object.__setattr__(api.service, "known", Known({"live": LIVE["query"]}, only=True))
    reader = Reader(api, {"documentId": "live"})
    assert reader.event() == ("next", {"data": {"dataVersion": 0}})
    reader.leave()
    assert Reader(api, {"query": "subscription { version: dataVersion }"}).event()[1]["errors"][0]["extensions"] == {
        "code": "FORBIDDEN"
    }
