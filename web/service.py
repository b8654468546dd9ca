"""What the routes share: the store, who asks, the limits of a body, and how an error is answered."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from bitmap_store import Clock, Condition, Store, View, condition_of
from bitmap_store.errors import Invalid, RateLimited, TagroarError, TooLarge
from resolvers.context import Context, Limits
from resolvers.viewers import DEMO, Issuer, Viewer, authenticate
from schema.batching import batching, resumed
from schema.document_rule import DocumentLimits
from schema.documents import Documents
from web.answers import Answers
from web.asking import error_body, exact_json
from web.bounds import Bounds, Use
from web.known import Known
from web.measures import Measures
from web.streams import Streams
from web.tracing import TracedDocuments, Tracing

STATUS = {
    "INVALID": 400,
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "CONFLICT": 409,
    "STALE": 410,
    "TOO_LARGE": 413,
    "RATE_LIMITED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}
VIEWERS_MAX = 1_000
T = TypeVar("T")
log = logging.getLogger("tagroar")


def error_response(error: TagroarError) -> Response:
    """The answer to a request that failed as a whole."""
    return JSONResponse(error_body(error), STATUS[error.code], told_with(error))


def told_with(error: TagroarError) -> dict[str, str]:
    """The headers that go with an error."""
    if isinstance(error, RateLimited):
        return {"Retry-After": str(error.retry_after)}
    return {"WWW-Authenticate": "Bearer"} if error.code == "UNAUTHENTICATED" else {}


def too_long(seconds: float, *, reads: bool = False) -> TooLarge:
    """What is told of a request that was ended because it took too long. reads: whether it wrote nothing for sure."""
    sentence = f"the request took longer than {seconds:g} seconds and was ended; ask for less at once"
    written = ". A write may have been made: sent again with the same idempotency key it is made once"
    return TooLarge(sentence if reads else sentence + written)


Handler = Callable[[Request, Context], Awaitable[Response]]


@dataclass(frozen=True)
class Service:
    """What is served and how: the store, whether anyone may ask, where uploads wait, the limits, known documents."""

    store: Store
    open_to_anyone: bool
    incoming: Path
    import_bytes_max: int = 64 << 30
    limits: Limits = field(default_factory=Limits)
    document_limits: DocumentLimits = field(default_factory=DocumentLimits)
    bounds: Bounds = field(default_factory=Bounds)
    compiled_documents: bool = True
    answer_cache_bytes_max: int = 16 << 20
    batch_max: int = 10
    known: Known = field(default_factory=Known)
    streams: Streams = field(default_factory=Streams)
    issuer: Issuer | None = None
    clock: Clock = field(default_factory=Clock)
    """Of the world, for what expires; the store has one that may be set."""
    measures: Measures = field(default_factory=Measures)
    tracing: Tracing | None = None

    @cached_property
    def documents(self) -> Documents:
        """The GraphQL documents that were sent."""
        if self.tracing is not None:
            return TracedDocuments(self.tracing, compiled=self.compiled_documents, limits=self.document_limits)
        return Documents(compiled=self.compiled_documents, limits=self.document_limits)

    @cached_property
    def _viewers(self) -> dict[str | None, tuple[int, Viewer]]:
        """Who was let in by a header, and what was seen of the store then."""
        return {}

    @cached_property
    def answers(self) -> Answers:
        """Answers that were given."""
        return Answers(self.answer_cache_bytes_max)

    @cached_property
    def use(self) -> Use:
        """Who asks how much."""
        return Use(self.bounds)

    async def admitted(self, authorization: str | None) -> tuple[View, Viewer]:
        """What a new request sees, and who asks; UNAUTHENTICATED without a valid token where one is needed."""
        view = self.store.view()
        seen, viewer = self._viewers.get(authorization, (-1, DEMO))
        if seen != view.seen or (viewer.until is not None and viewer.until <= self.clock.now()):
            viewer = await authenticate(
                self.store, authorization, self.clock.now(), open_to_anyone=self.open_to_anyone, issuer=self.issuer
            )
            if len(self._viewers) >= VIEWERS_MAX:
                self._viewers.clear()
            self._viewers[authorization] = (view.seen, viewer)
        return view, viewer

    async def context(self, authorization: str | None) -> Context:
        """The context of a new request; see `admitted`."""
        view, viewer = await self.admitted(authorization)
        return Context(self.store, viewer, batching, self.limits, view)

    def look_around(self) -> Condition:
        """Takes down how this process is, and gives the condition of the store; UNAVAILABLE where it cannot be read."""
        self.measures.look_at_process()
        writer = self.store.writer
        self.measures.set("writes_waiting", writer.waiting)
        self.measures.set("leaf_cache_bytes", writer.memberships.cached_bytes)
        self.measures.set("answer_cache_bytes", self.answers.nbytes)
        return condition_of(self.store.settings.directory)

    async def while_admitted(self, authorization: str | None, told: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """What is told as time goes on, for as long as who asked may ask: that is looked at before each."""
        async with aclosing(told):
            async for each in told:
                await self.admitted(authorization)
                yield each


class Guarded:
    """The ASGI application of a route that knows who asks, and answers every failure in the one shape.

    What a client has under way counts until the answer is sent.
    """

    def __init__(self, service: Callable[[], Service], handler: Handler) -> None:
        self._service = service
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        request = Request(scope, receive, send)
        try:
            context = await self._service().context(request.headers.get("authorization"))
            client = self._service().use.begin(context.viewer.name)
            context.charge = self._service().use.charge(client)
        except Exception as error:
            await _failure(error)(scope, receive, send)
            return
        try:
            try:
                response = await self._handler(request, context)
            except Exception as error:
                response = _failure(error)
            await response(scope, receive, send)
        finally:
            self._service().use.end(client)


def _failure(error: Exception) -> Response:
    if isinstance(error, TagroarError):
        return error_response(error)
    if isinstance(error, ClientDisconnect):
        return error_response(Invalid("the request broke off before its end"))
    log.error("a request failed", exc_info=error)
    return error_response(TagroarError("internal error"))


class TooSlow(Exception):
    """It took longer than it may."""


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives; TooSlow when it takes longer, and is cancelled. What waits for nothing needs no clock."""
    try:
        awaited = work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    try:
        async with asyncio.timeout(seconds) as deadline:
            given: T = await resumed(work, awaited)
            return given
    except TimeoutError:
        if not deadline.expired():
            raise
        raise TooSlow from None


async def answered_within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives; TOO_LARGE when it takes longer."""
    try:
        return await within(seconds, work)
    except TooSlow:
        raise too_long(seconds) from None


async def json_object(request: Request, bounds: Bounds) -> dict[str, object]:
    """The body as a JSON object, its numbers exact; INVALID or TOO_LARGE."""
    body = bytearray()
    async for chunk in pieces(request, bounds.read_seconds, each=False):
        body += chunk
        if len(body) > bounds.body_bytes:
            raise TooLarge(f"a body has at most {bounds.body_bytes} bytes")
    found = exact_json(bytes(body), bounds.json_depth)
    if not isinstance(found, dict):
        raise Invalid("the body is a JSON object")
    return found


async def pieces(request: Request, seconds: float, *, each: bool) -> AsyncIterator[bytes]:
    """The body as it comes; INVALID where it, or with `each` its next piece, takes longer than so many seconds."""
    loop = asyncio.get_running_loop()
    stream = aiter(request.stream())
    end = loop.time() + seconds
    while True:
        try:
            async with asyncio.timeout_at(loop.time() + seconds if each else end):
                piece = await anext(stream, None)
        except TimeoutError:
            raise Invalid(f"the body did not come within {seconds:g} seconds") from None
        if piece is None:
            return
        yield piece
