"""GraphQL over HTTP: what a request says, and how its answer is written. No request makes it answer 500.

What is asked is in `asking.py`, the WebSocket in `websocket.py`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from graphql import GraphQLError, OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from bitmap_store import Store
from bitmap_store.errors import Invalid, TagroarError, TooLarge
from resolvers.context import Context
from resolvers.viewers import DEMO, Viewer
from schema.batching import batching
from schema.served import SCHEMA
from web.asking import Asking, answer_of, as_json, errors_of, exact_json
from web.service import BODY_BYTES_MAX, STATUS, Service, log
from web.websocket import Connection

JSON_TYPE = "application/json"
RESPONSE_TYPE = "application/graphql-response+json"

Page = Callable[[Request], Awaitable[Response]]


def context_of(store: Store, viewer: Viewer = DEMO) -> Context:
    """A context outside of HTTP, for the command line."""
    return Context(store, viewer, batching)


class GraphQLRoutes:
    """The routes at /graphql. `page` is what a browser is shown that asks for one."""

    def __init__(self, service: Callable[[], Service], page: Page | None = None) -> None:
        self._service = service
        self._page = page

    def routes(self) -> list[BaseRoute]:
        """What to serve."""
        return [Route("/graphql", self.answer, methods=["GET", "POST"]), WebSocketRoute("/graphql", self.live)]

    async def live(self, socket: WebSocket) -> None:
        """Serves one WebSocket until it closes."""
        await Connection(socket, self._service()).serve()

    async def answer(self, request: Request) -> Response:
        """Answers one request.

        A request that is no request is 4xx. One that GraphQL refuses is 400 for clients that take the media
        type of GraphQL, 200 for all others; one that GraphQL answers is 200.
        """
        if self._page is not None and _wants_page(request):
            return await self._page(request)
        media_type = RESPONSE_TYPE if RESPONSE_TYPE in request.headers.get("accept", "") else JSON_TYPE
        refused = 400 if media_type == RESPONSE_TYPE else 200
        try:
            context = await self._service().context(request.headers.get("authorization"))
            asking = Asking.of(await _sent(request))
        except ClientDisconnect:
            return Response(status_code=400)
        except _NotJson as error:
            return _failed(error, 415, media_type)
        except TagroarError as error:
            return _failed(error, STATUS[error.code], media_type)
        try:
            operation = asking.check()
            if operation is OperationType.SUBSCRIPTION:
                raise Invalid("subscriptions are answered over a WebSocket")
            if operation is OperationType.MUTATION and request.method == "GET":
                return _failed(Invalid("mutations are sent by POST"), 405, media_type, {"Allow": "POST"})
            found = await _executed(asking, context)
        except (GraphQLError, TagroarError) as error:
            return _failed(error, refused, media_type)
        except Exception:
            log.exception("%s /graphql failed", request.method)
            return _failed(TagroarError("internal error"), 500, media_type)
        executed = found["data"] is not None or any("path" in error for error in found["errors"])
        return Response(as_json(found), 200 if executed else refused, media_type=media_type)


class _NotJson(Invalid):
    """The body is of another media type."""


async def _executed(asking: Asking, context: Context) -> dict[str, Any]:
    result = await SCHEMA.execute(
        asking.query, asking.variables, context_value=context, operation_name=asking.operation_name
    )
    return answer_of(result)


async def _sent(request: Request) -> object:
    """The request as a JSON value, from the body or, of a GET, from the query string."""
    if request.method == "GET":
        sent: dict[str, object] = dict(request.query_params)
        for name in ("variables", "extensions"):
            text = request.query_params.get(name)
            sent[name] = exact_json(text.encode(errors="replace")) if text else None
        return sent
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON_TYPE:
        raise _NotJson(f"the body is sent as {JSON_TYPE}")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise _NotJson("the body is sent as it is, not compressed")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise TooLarge(f"a body has at most {BODY_BYTES_MAX} bytes")
    return exact_json(bytes(body))


def _wants_page(request: Request) -> bool:
    wanted = request.headers.get("accept", "")
    return request.method == "GET" and "text/html" in wanted and "query" not in request.query_params


def _failed(
    error: GraphQLError | TagroarError, status: int, media_type: str, headers: dict[str, str] | None = None
) -> Response:
    """The answer to a request that was not executed."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else headers
    return Response(as_json({"errors": errors_of(error)}), status, headers, media_type)
