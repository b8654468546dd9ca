"""The reference of the service: a bare Starlette route that parses the body and answers a constant.

Served like Tagroar, by the same server with the same settings, in a process of its own. Nothing here asks anything.
Beside it, under /naive, is Strawberry as it comes.
"""

import os
import sys
from pathlib import Path

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from benchmarks import naive

ANSWERS_VARIABLE = "TAGROAR_BENCH_ANSWERS"
"""A directory with a file for each route: the answer of Tagroar whose size the constant has."""

SHUTDOWN_SECONDS = 5


def application() -> Starlette:
    """The application; what the server calls."""
    constants = {path.name: path.read_bytes() for path in Path(os.environ[ANSWERS_VARIABLE]).iterdir()}

    async def answer(request: Request) -> Response:
        orjson.loads(await request.body())
        return Response(constants[request.path_params["name"]], media_type="application/json")

    async def ready(_request: Request) -> Response:
        return PlainTextResponse("ready")

    return Starlette(
        routes=[
            Route("/readyz", ready),
            Route("/bare/{name}", answer, methods=["POST"]),
            Mount("/naive", naive.application),
        ]
    )


def serve(port: int) -> None:
    """Serves until it is told to stop; the arguments are those of `server.py`."""
    uvicorn.run(
        "benchmarks.bare:application",
        factory=True,
        host="127.0.0.1",
        port=port,
        http="httptools",
        loop="auto",
        ws="websockets-sansio",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


if __name__ == "__main__":
    serve(int(sys.argv[1]))
