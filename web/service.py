"""What the routes share: the store, who asks, the limits of a body, and how an error is answered."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitmap_store import Clock, Condition, Store, View, condition_of
from bitmap_store.errors import Invalid, TagroarError, TooLarge
from resolvers.context import Context, Limits
from resolvers.viewers import DEMO, Issuer, Viewer, authenticate
from schema.batching import batching
from schema.documents import Documents
from web.answers import Answers
from web.asking import error_body, exact_json
from web.known import Known
from web.measures import Measures
from web.streams import Streams
from web.tracing import TracedDocuments, Tracing

BODY_BYTES_MAX = 1 << 20
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
    headers = {"WWW-Authenticate": "Bearer"} if error.code == "UNAUTHENTICATED" else None
    return JSONResponse(error_body(error), STATUS[error.code], headers)


Handler = Callable[[Request, Context], Awaitable[Response]]


@dataclass(frozen=True)
class Service:
    """What is served and how: the store, whether anyone may ask, where uploads wait, the limits, known documents."""

    store: Store
    open_to_anyone: bool
    incoming: Path
    import_bytes_max: int = 64 << 30
    limits: Limits = field(default_factory=Limits)
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
            return TracedDocuments(self.tracing, compiled=self.compiled_documents)
        return Documents(compiled=self.compiled_documents)

    @cached_property
    def _viewers(self) -> dict[str | None, tuple[int, Viewer]]:
        """Who was let in by a header, and what was seen of the store then."""
        return {}

    @cached_property
    def answers(self) -> Answers:
        """Answers that were given."""
        return Answers(self.answer_cache_bytes_max)

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


def guarded(service: Callable[[], Service], handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """A route that knows who asks, and answers every failure in the one shape."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request, await service().context(request.headers.get("authorization")))
        except TagroarError as error:
            return error_response(error)
        except Exception:
            log.exception("a request failed")
            return error_response(TagroarError("internal error"))

    return answer


async def json_object(request: Request, bytes_max: int = BODY_BYTES_MAX) -> dict[str, object]:
    """The body as a JSON object, its numbers exact; INVALID or TOO_LARGE."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > bytes_max:
            raise TooLarge(f"a body has at most {bytes_max} bytes")
    found = exact_json(bytes(body))
    if not isinstance(found, dict):
        raise Invalid("the body is a JSON object")
    return found
