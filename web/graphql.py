"""GraphQL over HTTP: what a request says, and how its answer is written. No request makes it answer 500.

Spoken to the server directly, as a request and a response of the framework cost more than most questions.
What is asked is in `asking.py`, the WebSocket in `websocket.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, cast

from graphql import OperationType
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from bitmap_store import Store, View
from bitmap_store.errors import Forbidden, Invalid, NotFound, TagroarError, TooLarge
from resolvers.context import Context
from resolvers.lasting import Watched
from resolvers.viewers import DEMO, Viewer
from schema.batching import batching, resumed
from schema.documents import Answer, Prepared, Refused
from schema.limits import check_request
from web.answers import Key
from web.asking import LARGE, Asking, as_json, error_body, exact_json, json_of
from web.bounds import Bounds, Client
from web.events import Events, once, subscribed
from web.exchange import current
from web.media import EVENTS, JSON, RESPONSE, Media, answered_as, is_json
from web.service import STATUS, Service, TooSlow, log, told_with, too_long, within
from web.websocket import Connection

PATH = "/graphql"
METHODS = ("GET", "POST")
JSON_TYPE = JSON.encode()
NOT_STORED = [(b"cache-control", b"private, no-cache"), (b"vary", b"accept, authorization")]
"""Of what a GET is answered: it is of this moment, and for who asked."""

PATIENCE_SECONDS = 0.1
"""A question that takes longer is given up when its client goes. To look for that costs more than most questions."""

Page = Callable[[Request], Awaitable[Response]]
Headers = dict[bytes, bytes]


def context_of(store: Store, viewer: Viewer = DEMO) -> Context:
    """A context outside of HTTP, for the command line."""
    return Context(store, viewer, batching)


class GraphQLRoutes:
    """The routes at /graphql. `page` is what a browser is shown that asks for one."""

    def __init__(self, service: Callable[[], Service], page: Page | None = None) -> None:
        self._service = service
        self.endpoint = Endpoint(service, page)

    def routes(self) -> list[BaseRoute]:
        """What to serve."""
        return [Route(PATH, self.endpoint, methods=METHODS), WebSocketRoute(PATH, self.live)]

    async def live(self, socket: WebSocket) -> None:
        """Serves one WebSocket until it closes."""
        await Connection(socket, self._service()).serve()


class Endpoint:
    """The ASGI application that answers GraphQL over HTTP."""

    def __init__(self, service: Callable[[], Service], page: Page | None = None) -> None:
        self._service = service
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request.

        A request that is no request is 4xx. One that GraphQL refuses is 400 for clients that take the media
        type of GraphQL, 200 for all others; one that GraphQL answers is 200.
        """
        headers: Headers = dict(reversed(scope["headers"]))  # of a header that is repeated the first counts
        if self._page is not None and scope["method"] == "GET" and _wants_page(scope, headers):
            response = await self._page(Request(scope, receive))
            await response(scope, receive, send)
            return
        media, live = answered_as(headers.get(b"accept", b""))
        more = [] if scope["method"] == "POST" else NOT_STORED
        try:
            if media is None:
                raise _Failed(Invalid(f"answers are written as {RESPONSE}, {JSON} or {EVENTS}"), 406, [])
            status, answer = await self._admitted(scope, headers, receive, media, live)
            if isinstance(answer, Events):
                with self._service().measures.live():
                    await answer.respond(receive, send)
                return
            if type(answer) is dict:
                current().answered(answer)
            if status is None:
                status = 400 if media is Media.RESPONSE else 200
            if media is Media.EVENTS:
                await Events(once(answer), self._service().streams).respond(receive, send)
                return
        except _Gone:
            current().failed("gone")
            return
        except _Failed as failed:
            status, more, answer = failed.status, [*more, *failed.headers], error_body(failed.error)
        except TagroarError as error:
            status, answer = STATUS[error.code], error_body(error)
            more = [*more, *((name.lower().encode(), value.encode()) for name, value in told_with(error).items())]
        except Exception:
            log.exception("a request failed")
            status, answer = 500, error_body(TagroarError("internal error"))
        body = answer if isinstance(answer, bytes) else as_json(answer)
        written = Media.RESPONSE if media is Media.RESPONSE else Media.JSON
        length = (b"content-length", b"%d" % len(body))
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", written.value), length, *more],
            }
        )
        await send({"type": "http.response.body", "body": body})

    async def _admitted(
        self, scope: Scope, headers: Headers, receive: Receive, media: Media, live: bool
    ) -> tuple[int | None, Answer | bytes | Events]:
        """The status and the answer; no status where GraphQL refuses the request. live: events can be read."""
        service = self._service()
        sent_by = headers.get(b"authorization")
        authorization = None if sent_by is None else sent_by.decode("latin-1")
        view, viewer = await service.admitted(authorization)
        client = service.use.begin(viewer.name)
        try:
            asked = _Asked(service, view, viewer, client, media, live, authorization)
            body = None
            if scope["method"] == "POST":
                body = await _body(headers, receive, service.bounds)
                known = service.answers.find((body, viewer.scopes), view)
                if known is not None:
                    current().kind = "query"
                    service.measures.add("answers_given_again_total", 1)
                    return 200, known
            return await within(service.bounds.request_seconds, self._answer(asked, scope, receive, body))
        except TooSlow:
            return None, error_body(too_long(service.bounds.request_seconds, reads=current().kind == "query"))
        finally:
            service.use.end(client)

    async def _answer(
        self, asked: "_Asked", scope: Scope, receive: Receive, body: bytes | None
    ) -> tuple[int | None, Answer | bytes | Events]:
        """The same, once the request is read. body: None of a GET."""
        service, view, viewer, media = asked.service, asked.view, asked.viewer, asked.media
        if body is not None:
            sent, size = await json_of(body, service.bounds.json_depth), len(body)
        else:
            sent, size = _in_query_string(scope, service.bounds.json_depth)
        if isinstance(sent, list):
            if media is Media.EVENTS:
                raise Invalid("requests in an array are answered as JSON")
            current().kind = "array"
            return 200, as_json(await answer_all(sent, service, asked.context()))
        prepared = await _prepared(sent, size, service)
        if isinstance(prepared, Refused):
            return None, prepared.answer
        operation, asking = prepared
        if operation.kind is OperationType.SUBSCRIPTION and asked.live:
            service.streams.check_room()
            told = service.while_admitted(asked.authorization, subscribed(asking, asked.context(cost=asking.cost)))
            return 200, Events(told, service.streams)
        if operation.kind is OperationType.SUBSCRIPTION:
            return None, error_body(Invalid(f"subscriptions are answered as {EVENTS} or over a WebSocket"))
        if operation.kind is OperationType.MUTATION and body is None:
            raise _Failed(Invalid("mutations are sent by POST"), 405, [(b"allow", b"POST")])
        store, watched = service.store, None
        key: Key | None = None if body is None else (body, viewer.scopes)
        if key is not None and operation.lasting and service.answers.is_wanted(key):
            store, watched = Watched.over(service.store)
        answering = operation.run(asking.variables, asked.context(store, cost=asking.cost))
        answer = await (answering if operation.kind is OperationType.MUTATION else _unless_gone(answering, receive))
        if key is not None and watched is not None and "errors" not in answer:
            written = as_json(answer)
            service.answers.keep(key, written, view, watched.right_until(view))
            return 200, written
        return 200 if "data" in answer else None, answer


class Shortcut:
    """Takes questions past the framework, whose layers and router cost as much as answering from memory."""

    def __init__(self, app: ASGIApp, endpoint: Endpoint) -> None:
        self._app = app
        self._endpoint = endpoint

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serves one connection."""
        direct = scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST"
        return (self._endpoint if direct else self._app)(scope, receive, send)


@dataclass(slots=True)
class _Asked:
    """A request of somebody who may ask."""

    service: Service
    view: View
    viewer: Viewer
    client: Client
    media: Media
    live: bool
    authorization: str | None

    def context(self, store: Store | None = None, *, cost: bool = False) -> Context:
        """What is executed in. store: another one than the service's."""
        service = self.service
        context = Context(store or service.store, self.viewer, batching, service.limits, self.view)
        context.charge, context.tells_cost = service.use.charge(self.client), cost
        return context


class _Failed(Exception):
    """A failure with a status of its own."""

    def __init__(self, error: TagroarError, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        super().__init__(error)
        self.error = error
        self.status = status
        self.headers = headers


async def answer_all(sent: list[object], service: Service, context: Context) -> list[Answer]:
    """The answers to the requests of an array, in order and one after the other; what is wrong with one harms no other.

    They share one context, so its limits hold for all of them together, and each sees what those before it wrote.
    INVALID or TOO_LARGE for an array that is not taken at all.
    """
    if service.batch_max < 2:
        raise Invalid("requests are not taken in arrays here; send them one by one")
    if not sent:
        raise Invalid("the array holds no request")
    if len(sent) > service.batch_max:
        raise TooLarge(f"an array has at most {service.batch_max} requests")
    answers: list[Answer] = []
    characters = 0
    for each in sent:
        try:
            prepared = await _prepared(each, service.bounds.body_bytes, service, characters)
        except TagroarError as error:
            prepared = Refused(error_body(error))
        if isinstance(prepared, Refused):
            answers.append(prepared.answer)
            continue
        operation, asking = prepared
        characters += len(asking.query)
        if operation.kind is OperationType.SUBSCRIPTION:
            answers.append(error_body(Invalid("subscriptions are not answered in an array")))
        else:
            answers.append(await operation.run(asking.variables, context))
    for answer in answers:
        current().answered(answer)
    return answers


async def _prepared(
    sent: object, size: int, service: Service, characters: int = 0
) -> tuple[Prepared, Asking] | Refused:
    """The operation of a request and what is asked with it; Refused by GraphQL, INVALID where it is no request.

    characters: those of the documents before it, which count towards the limit.
    """
    try:
        asking = Asking.of(sent, service.known)
        said = asking.query, asking.variables, size, characters, service.bounds.document_characters
        await asyncio.to_thread(check_request, *said) if size >= LARGE else check_request(*said)
    except (Forbidden, NotFound, TooLarge) as error:
        return Refused(error_body(error))
    prepared = await service.documents.prepare(asking.query, asking.operation_name)
    if isinstance(prepared, Refused):
        return prepared
    current().asked(prepared.kind.value, asking.query, asking.operation_name)
    return prepared, asking


class _Gone(Exception):
    """The client has gone; nobody waits for the answer."""


async def _unless_gone(answering: Coroutine[Any, Any, Answer], receive: Receive) -> Answer:
    """What answers a question, which is cancelled when the client goes. Raises _Gone."""
    try:
        awaited = answering.send(None)
    except StopIteration as done:  # what waits for nothing needs no watch
        return cast(Answer, done.value)
    answerer = asyncio.current_task()
    assert answerer is not None
    watching: asyncio.Task[None] | None = None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        answerer.cancel()

    def begin() -> None:
        nonlocal watching
        watching = asyncio.create_task(watch())

    timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, begin)
    try:
        answer: Answer = await resumed(answering, awaited)
        return answer
    except asyncio.CancelledError:
        if not gone:
            raise
        answerer.uncancel()
        raise _Gone from None
    finally:
        timer.cancel()
        if watching is not None:
            watching.cancel()


def _in_query_string(scope: Scope, depth_max: int) -> tuple[object, int]:
    """The request of a GET as a JSON value, and its size in bytes."""
    given = QueryParams(scope["query_string"])
    sent: dict[str, object] = dict(given)
    for name in ("variables", "extensions"):
        text = given.get(name)
        sent[name] = exact_json(text.encode(errors="replace"), depth_max) if text else None
    return sent, len(scope["query_string"])


async def _body(headers: Headers, receive: Receive, bounds: Bounds) -> bytes:
    kind = headers.get(b"content-type", b"")
    if kind != JSON_TYPE and not is_json(kind):
        raise _Failed(Invalid(f"the body is sent as {JSON} in UTF-8"), 415, [])
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise _Failed(Invalid("the body is sent as it is, not compressed"), 415, [])
    try:
        body = await within(bounds.read_seconds, _read(receive, bounds.body_bytes))
    except TooSlow:
        sentence = f"the body did not come within {bounds.read_seconds:g} seconds"
        raise _Failed(Invalid(sentence), 408, [(b"connection", b"close")]) from None
    if len(body) > bounds.body_bytes:
        raise TooLarge(f"a body has at most {bounds.body_bytes} bytes")
    return body


async def _read(receive: Receive, most: int) -> bytes:
    """The body as it came, no further than until it is longer than so many bytes."""
    message = await receive()
    body = message.get("body", b"")
    if message.get("more_body"):
        body = bytearray(body)
        while message.get("more_body") and len(body) <= most:
            message = await receive()
            body += message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise Invalid("the body broke off before its end")
    return bytes(body)


def _wants_page(scope: Scope, headers: Headers) -> bool:
    asks = {"query", "documentId", "extensions"} & QueryParams(scope["query_string"]).keys()
    return not asks and b"text/html" in headers.get(b"accept", b"")
