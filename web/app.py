"""The ASGI application: all routes of the service on one store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST as METRICS_TYPE
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from bitmap_store import condition_of
from bitmap_store.errors import Invalid, NotFound
from resolvers.context import Context
from web.asking import error_body
from web.bulk import BulkRoutes
from web.graphql import Endpoint, GraphQLRoutes, Shortcut
from web.service import Guarded, Service, log
from web.streams import when_told_to_stop
from web.watching import Watching

UPKEEP_SECONDS = 10
ROOT = Path(__file__).parents[1]
CONSOLE = ROOT / "console"
QUERIES = ROOT / "demo" / "queries.graphql"
LOOPBACK = ["localhost", "127.0.0.1"]
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_app(open_service: Callable[[], Service], *, demo: bool = False, pages: bool = True) -> Starlette:
    """The application. `open_service` is called when serving begins; its store is closed when serving ends.

    demo: anyone on this machine may ask, so only requests addressed to this machine are taken. pages: whether there
    are any for people.
    """
    state = _State()

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        state.service = open_service()
        upkeep = asyncio.create_task(keep_up(state.service))
        try:
            with when_told_to_stop(state.service.streams.end):
                yield
        finally:
            upkeep.cancel()
            await asyncio.gather(upkeep, return_exceptions=True)
            await state.service.store.close()

    shown = _Pages(demo)
    graphql = GraphQLRoutes(lambda: state.service, shown.graphiql if pages else None)
    routes = [
        *(shown.routes() if pages else ()),
        Route("/healthz", healthy, methods=["GET"]),
        Route("/readyz", state.ready, methods=["GET"]),
        Route("/metrics", Guarded(lambda: state.service, state.metrics), methods=["GET"]),
        *graphql.routes(),
        *BulkRoutes(lambda: state.service).routes(),
    ]
    handlers: dict[Any, Any] = {HTTPException: answer_http}
    return _Application(
        graphql.endpoint,
        lambda: state.service,
        demo=demo,
        routes=routes,
        lifespan=lifespan,
        exception_handlers=handlers,
    )


class _Application(Starlette):
    """The application of the framework, with what is around it: everything is watched, and questions go past it."""

    def __init__(self, endpoint: Endpoint, service: Callable[[], Service], *, demo: bool, **named: Any) -> None:
        super().__init__(**named)
        app: ASGIApp = Shortcut(super().__call__, endpoint)
        self._outermost = Watching(TrustedHostMiddleware(app, LOOPBACK) if demo else app, service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        await self._outermost(scope, receive, send)


async def answer_http(_request: Request, error: HTTPException) -> Response:
    """What no route takes, in the one shape of errors."""
    kind = NotFound if error.status_code == 404 else Invalid
    body = error_body(kind(f"{error.detail}: see the paths and methods in the README"))
    return JSONResponse(body, error.status_code, error.headers)


async def keep_up(service: Service) -> None:
    """Sees to folds and the cache now and then, for as long as serving goes on; what fails is logged."""
    while True:
        try:
            await asyncio.to_thread(service.look_around)
            await service.store.keep_up()
        except Exception:
            log.exception("keeping the store in shape failed")
        await asyncio.sleep(UPKEEP_SECONDS)


class _State:
    """The service, from when serving begins."""

    service: Service

    async def ready(self, _request: Request) -> Response:
        """Whether questions can be answered now: 503 while the store cannot be read."""
        try:
            self.service.store.view()
            condition_of(self.service.store.settings.directory)
        except Exception:
            log.exception("not ready")
            return PlainTextResponse("not ready", 503)
        return PlainTextResponse("ready")

    async def metrics(self, _request: Request, context: Context) -> Response:
        """What was counted, by all serving processes, for Prometheus."""
        context.viewer.require("admin")
        condition = await run_in_threadpool(self.service.look_around)
        return Response(self.service.measures.written(condition), media_type=METRICS_TYPE)


class _Pages:
    """The pages for people; everything they load comes from here."""

    def __init__(self, demo: bool) -> None:
        self._demo = demo

    def routes(self) -> list[BaseRoute]:
        """What to serve."""
        return [
            Route("/", self.start, methods=["GET"]),
            Route("/demo/queries.graphql", self.queries, methods=["GET"]),
            Mount("/static", StaticFiles(directory=CONSOLE / "static")),
        ]

    async def start(self, _request: Request) -> Response:
        """The start page."""
        return FileResponse(CONSOLE / "index.html", headers=PAGE_HEADERS)

    async def graphiql(self, _request: Request) -> Response:
        """GraphiQL."""
        return FileResponse(CONSOLE / "graphiql.html", headers=PAGE_HEADERS)

    async def queries(self, _request: Request) -> Response:
        """The ready-made queries, which only fit the demo's data."""
        return FileResponse(QUERIES, media_type="text/plain") if self._demo else Response(status_code=204)


async def healthy(_request: Request) -> Response:
    """Whether the process is alive."""
    return PlainTextResponse("alive")
