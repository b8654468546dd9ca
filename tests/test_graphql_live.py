"""The WebSocket: who may open one, the protocol graphql-transport-ws, and what is told over it."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Router

from bitmap_store import ImportRequest
from tests.api import Api
from tests.worlds import copied
from web.graphql import GraphQLRoutes
from web.known import Known

PROTOCOL = "graphql-transport-ws"
ASSIGN = 'mutation { assignTags(input: [{user: "u1", tag: "vip"}]) { dataVersion } }'
SECONDS_MAX = 10


class Closed(Exception):
    """The server closed the connection."""


class Socket:
    """A WebSocket to the routes, in memory; its server runs whenever the client sends or waits."""

    def __init__(self, api: Api, *, offered: tuple[str, ...] = (PROTOCOL,), origin: str | None = None) -> None:
        headers = [(b"host", b"tagroar")] + ([(b"origin", origin.encode())] if origin else [])
        scope = {"type": "websocket", "path": "/graphql", "query_string": b"", "headers": headers}
        self._api = api
        self._run = api.world.run
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._sent.put_nowait({"type": "websocket.connect"})
        self._server = self._run(self._serve({**scope, "subprotocols": list(offered)}))
        if (first := self._next())["type"] == "websocket.close":
            raise Closed(first["code"])

    async def _serve(self, scope: dict[str, Any]) -> asyncio.Task[None]:
        router = Router(GraphQLRoutes(lambda: self._api.service).routes())
        return asyncio.create_task(router(scope, self._sent.get, self._told.put))

    def _next(self) -> dict[str, Any]:
        return self._run(asyncio.wait_for(self._told.get(), SECONDS_MAX))

    def send(self, message: dict[str, Any] | str) -> None:
        """Sends a message."""
        text = message if isinstance(message, str) else json.dumps(message)
        self._sent.put_nowait({"type": "websocket.receive", "text": text})

    def receive(self) -> Any:
        """Waits for a message; raises Closed with the code when there is none to come."""
        told = self._next()
        if told["type"] == "websocket.close":
            raise Closed(told["code"])
        return json.loads(told["text"])

    def greet(self, **payload: str) -> "Socket":
        """Says who it is."""
        self.send({"type": "connection_init", "payload": payload})
        assert self.receive() == {"type": "connection_ack"}
        return self

    def close(self) -> None:
        """Goes away; the server has to end without an error."""
        self._sent.put_nowait({"type": "websocket.disconnect", "code": 1000})
        self._run(asyncio.wait_for(self._server, SECONDS_MAX))


@pytest.fixture
def socket(api: Api) -> Iterator[Socket]:
    """A connection that said who it is."""
    found = Socket(api).greet()
    yield found
    found.close()


def subscribe(socket: Socket, query: Any, id: str = "1") -> None:
    socket.send({"type": "subscribe", "id": id, "payload": {"query": query}})


def test_queries_and_mutations_see_each_other(socket: Socket) -> None:
    for query, data in (
        ('{ audience(where: {text: "vip"}) { size } }', {"audience": {"size": 0}}),
        (ASSIGN, {"assignTags": {"dataVersion": 1}}),
        ('{ audience(where: {text: "vip"}) { size } }', {"audience": {"size": 1}}),
    ):
        subscribe(socket, query)
        assert socket.receive() == {"id": "1", "type": "next", "payload": {"data": data}}
        assert socket.receive() == {"id": "1", "type": "complete"}


def test_data_versions_are_told(api: Api, socket: Socket) -> None:
    subscribe(socket, "subscription { dataVersion }")
    for version in (0, 1):
        assert socket.receive() == {"id": "1", "type": "next", "payload": {"data": {"dataVersion": version}}}
        if version == 0:
            api.ask(ASSIGN)
    socket.send({"type": "complete", "id": "1"})
    subscribe(socket, "{ viewer { name } }", "2")
    assert socket.receive()["payload"] == {"data": {"viewer": {"name": "demo"}}}


def test_jobs_are_told_until_they_end(api: Api, socket: Socket, tmp_path: Path) -> None:
    file = tmp_path / "members.csv"
    file.write_text("user,tag\nu1,vip\nu2,vip\nu3,none\n", "utf-8")
    job = api.world.run(api.world.store.start_import(ImportRequest("memberships", file, "csv")))
    query = "{ id state rowsRead rowsApplied rowsRejected progress rejections { line code } }"
    subscribe(socket, f'subscription {{ jobProgress(id: "{job.id}") {query} }}')
    last: Any = None
    while (told := socket.receive())["type"] == "next":
        last = told["payload"]["data"]["jobProgress"]
    assert told == {"id": "1", "type": "complete"}
    assert last == {
        "id": job.id,
        "state": "DONE",
        "rowsRead": 3,
        "rowsApplied": 2,
        "rowsRejected": 1,
        "progress": 1.0,
        "rejections": [{"line": 4, "code": "NOT_FOUND"}],
    }
    assert api.ask(f'{{ node(id: "{job.id}") {{ ... on Job {query} }} }}') == last
    assert api.ask(f'{{ job(id: "{job.id}") {query} }}') == last
    jobs = api.ask("{ jobs(first: 1) { totalCount edges { cursor node { id } } pageInfo { hasNextPage } } }")
    assert (jobs["totalCount"], jobs["edges"][0]["node"]["id"]) == (1, job.id)
    assert jobs["pageInfo"] == {"hasNextPage": False}
    assert api.size("vip") == 2


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "INVALID"),
        ("{ nothing }", "INVALID"),
        (3, "INVALID"),
        ('subscription { audienceSize(where: {text: "vip"}) { size } }', "UNAVAILABLE"),
        ('subscription { audienceChanges(key: "best") { cursor } }', "UNAVAILABLE"),
        ('subscription { jobProgress(id: "none") { id } }', "NOT_FOUND"),
        ("{ a " * 600 + "}" * 600, "TOO_LARGE"),
    ],
)
def test_a_wrong_operation_harms_no_other(socket: Socket, query: Any, code: str) -> None:
    subscribe(socket, query)
    told = socket.receive()
    assert (told["id"], told["type"]) == ("1", "error")
    assert [error["extensions"]["code"] for error in told["payload"]] == [code]
    subscribe(socket, "{ viewer { name } }")
    assert socket.receive()["payload"] == {"data": {"viewer": {"name": "demo"}}}


INIT = '{"type": "connection_init"}'
LIVE_QUERY = "subscription { dataVersion }"
LIVE = '{"type": "subscribe", "id": "1", "payload": {"query": "subscription { dataVersion }"}}'


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (["nonsense"], 4400),
        (["[]"], 4400),
        (['{"type": 3}'], 4400),
        ([LIVE], 4401),
        (['{"type": "connection_init", "payload": 3}'], 4400),
        ([INIT, INIT], 4429),
        ([INIT, '{"type": "nothing"}'], 4400),
        ([INIT, '{"type": "subscribe"}'], 4400),
        ([INIT, LIVE, LIVE], 4409),
        (['{"type": "ping"}' + " " * (256 << 10)], 4413),
    ],
    ids=lambda value: str(value)[:60],
)
def test_breaking_the_protocol_closes(api: Api, messages: list[str], code: int) -> None:
    socket = Socket(api)
    for message in messages:
        socket.send(message)
    with pytest.raises(Closed, match=str(code)):
        while True:
            socket.receive()
    socket.close()


def test_bytes_are_no_message(api: Api) -> None:
    socket = Socket(api).greet()
    socket._sent.put_nowait({"type": "websocket.receive", "bytes": INIT.encode()})
    with pytest.raises(Closed, match="4400"):
        socket.receive()
    socket.close()


def test_documents_are_named(api: Api) -> None:
    api.service = replace(api.service, known=Known({"a1": "{ viewer { name } }", "live": LIVE_QUERY}, only=True))
    socket = Socket(api).greet()
    for payload, said in (
        ({"query": "", "documentId": "a1"}, {"data": {"viewer": {"name": "demo"}}}),
        ({"documentId": "live"}, {"data": {"dataVersion": 0}}),
    ):
        socket.send({"type": "subscribe", "id": str(payload), "payload": payload})
        told = socket.receive()
        assert (told["type"], told["payload"]) == ("next", said)
        while told["type"] != "complete" and "live" not in payload.values():
            told = socket.receive()
    for payload, code in (({"query": "{ tags { totalCount } }"}, "FORBIDDEN"), ({"documentId": "zz"}, "NOT_FOUND")):
        socket.send({"type": "subscribe", "id": str(payload), "payload": payload})
        assert [error["extensions"]["code"] for error in socket.receive()["payload"]] == [code]
    socket.close()


@pytest.mark.parametrize("offered", [(), ("graphql-ws",)])
def test_only_one_protocol_is_spoken(api: Api, offered: tuple[str, ...]) -> None:
    socket = Socket(api, offered=offered)
    with pytest.raises(Closed, match="4406"):
        socket.receive()
    socket.close()


def test_pages_from_elsewhere_are_refused(api: Api) -> None:
    with pytest.raises(Closed, match="1008"):
        Socket(api, origin="http://elsewhere.example")
    Socket(api, origin="http://tagroar").greet().close()


def test_pings_are_answered(socket: Socket) -> None:
    socket.send({"type": "ping"})
    assert socket.receive() == {"type": "pong"}


def test_tokens(empty_store: Path, tmp_path: Path) -> None:
    api = Api(copied(empty_store, tmp_path / "store"), open_to_anyone=False)
    token = api.world.run(api.world.store.create_token("tool", ["count"]))
    socket = Socket(api).greet(Authorization=f"Bearer {token}")
    subscribe(socket, "{ viewer { name } }")
    assert socket.receive()["payload"] == {"data": {"viewer": {"name": "tool"}}}
    assert socket.receive()["type"] == "complete"
    api.world.run(api.world.store.revoke_token("tool"))
    subscribe(socket, "{ viewer { name } }")
    assert [error["extensions"]["code"] for error in socket.receive()["payload"]] == ["UNAUTHENTICATED"]
    socket.close()
    stranger = Socket(api)
    stranger.send(INIT)
    with pytest.raises(Closed, match="4403"):
        stranger.receive()
    stranger.close()
    api.close()
