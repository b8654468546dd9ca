"""What the routes share: the store, who asks, the limits of a body, and how an error is answered."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bitmap_store import Store, View
from bitmap_store.errors import Invalid, TagroarError, TooLarge
from resolvers.context import Context, Limits
from resolvers.viewers import DEMO, Viewer, authenticate
from schema.batching import batching
from schema.documents import Documents
from web.answers import Answers
from web.asking import error_body, exact_json
from web.known import Known
from web.streams import Streams

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

    @cached_property
    def documents(self) -> Documents:
        """The GraphQL documents that were sent."""
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
        if seen != view.seen:
            viewer = await authenticate(self.store, authorization, open_to_anyone=self.open_to_anyone)
            if len(self._viewers) >= VIEWERS_MAX:
                self._viewers.clear()
            self._viewers[authorization] = (view.seen, viewer)
        return view, viewer

    async def context(self, authorization: str | None) -> Context:
        """The context of a new request; see `admitted`."""
        view, viewer = await self.admitted(authorization)
        return Context(self.store, viewer, batching, self.limits, view)


def guarded(service: Callable[[], Service], handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """A route that knows who asks, and answers every failure in the one shape."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request, await service().context(request.headers.get("authorization")))
        except TagroarError as error:
            return error_response(error)
        except Exception:
            log.exception("%s %s failed", request.method, request.url.path)
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
