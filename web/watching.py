"""The outermost middleware: gives each request an id, and counts and logs it when it is over."""

from collections.abc import Callable
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.exchange import Exchange, begin, id_of
from web.logs import log_exchange
from web.service import STATUS, Service

_BY_PATH = {"/graphql": "graphql", "/healthz": "probe", "/readyz": "probe", "/metrics": "probe"}
_BY_START = {"import": "import", "export": "export", "jobs": "job"}
_BY_STATUS = {status: code for code, status in STATUS.items()}


class Watching:
    """Watches the application that it is put around."""

    def __init__(self, app: ASGIApp, service: Callable[[], Service]) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            begin(Exchange(id_of(_sent_id(scope)), "graphql"))
            with self._service().measures.live():
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        kind = _BY_PATH.get(path) or _BY_START.get(path[1:].partition("/")[0], "page")
        exchange = begin(Exchange(id_of(_sent_id(scope)), kind))
        status: int | None = None
        complete = False

        async def answered(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 400:
                    exchange.failed(_BY_STATUS.get(status, "internal" if status >= 500 else "invalid"))
                headers = [*message.get("headers", ()), (b"x-request-id", exchange.id.encode())]
                await send({**message, "headers": headers})
            else:
                complete = not message.get("more_body")
                await send(message)

        tracing = self._service().tracing
        try:
            if tracing is None:
                await self._app(scope, receive, answered)
            else:
                with tracing.request(exchange):
                    await self._app(scope, receive, answered)
        finally:
            if not complete:
                exchange.failed("internal" if status is None else "gone")
            seconds = None if exchange.kind == "subscription" else perf_counter() - exchange.began
            self._service().measures.count(exchange, seconds)
            log_exchange(exchange, status)


def _sent_id(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            found: bytes = value
            return found
    return None
