"""The outermost middleware: gives each request an id, and counts and logs it when it is over."""

from collections.abc import Callable
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.exchange import Exchange, Ids, begin
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
        self._ids = Ids()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            begin(Exchange(self._ids.id_of(scope["headers"]), "graphql"))
            with self._service().measures.live():
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        kind = _BY_PATH.get(path) or _BY_START.get(path[1:].partition("/")[0], "page")
        exchange = begin(Exchange(self._ids.id_of(scope["headers"]), kind))
        status: int | None = None
        complete = False

        async def answered(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 400:
                    exchange.failed(_BY_STATUS.get(status, "internal" if status >= 500 else "invalid"))
                # A list of its own: some are written once and sent with every answer.
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", exchange.id.encode())]
            else:
                complete = not message.get("more_body")
            await send(message)

        service = self._service()
        try:
            if service.tracing is None:
                await self._app(scope, receive, answered)
            else:
                with service.tracing.request(exchange):
                    await self._app(scope, receive, answered)
        finally:
            if not complete:
                exchange.failed("internal" if status is None else "gone")
            seconds = None if exchange.kind == "subscription" else perf_counter() - exchange.began
            service.measures.count(exchange, seconds)
            log_exchange(exchange, status)
