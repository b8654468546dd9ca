"""Answers as server-sent events, in the form that clients of the protocol graphql-sse read: one operation a request.

What an operation tells as it goes on is here too, for this way and for the WebSocket.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress

from starlette.types import Receive, Send
from strawberry.types.execution import ExecutionResult, PreExecutionError

from bitmap_store.errors import TagroarError
from resolvers.context import Context
from schema.documents import Answer, Refused, extended
from schema.errors import shown
from schema.served import SCHEMA
from web.asking import Asking, as_json, error_body
from web.exchange import current
from web.media import Media
from web.service import log
from web.streams import Streams

KEEP_ALIVE_SECONDS = 12
"""Proxies cut what is silent for longer; a comment is no event."""
LAST_SECONDS = 1
"""So long a reader has to take the end of a stream when the process is to stop."""
HEADERS = [
    (b"content-type", Media.EVENTS.value),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
COMMENT = b":\n\n"
COMPLETE = b"event: complete\ndata:\n\n"


async def subscribed(asking: Asking, context: Context) -> AsyncGenerator[Answer | Refused, None]:
    """What a subscription tells, as it does; Refused where it does not begin."""
    stream = await SCHEMA.stream(
        asking.query, asking.variables, context_value=context, operation_name=asking.operation_name
    )
    async with aclosing(stream):
        async for result in stream:
            assert isinstance(result, ExecutionResult)  # the rest is of @defer, which is off
            errors = shown(result.errors) if result.errors else []
            if isinstance(result, PreExecutionError):
                yield Refused({"errors": errors})
            else:
                yield extended({"data": result.data} | ({"errors": errors} if errors else {}), context)


async def once(answer: Answer | bytes) -> AsyncGenerator[Answer | bytes, None]:
    """One answer, as a stream of it."""
    yield answer


class Events:
    """One response that lasts: answers are events until there are no more, nobody reads them, or all are ended."""

    def __init__(self, answers: AsyncGenerator[Answer | Refused | bytes, None], streams: Streams) -> None:
        self._answers = answers
        self._streams = streams

    async def respond(self, receive: Receive, send: Send) -> None:
        """Sends all, and sees to it that the operation ends when the client goes."""
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        writing = asyncio.create_task(self._write(send))
        ending = asyncio.create_task(self._streams.until_end())
        tasks = (writing, ending, asyncio.create_task(_gone(receive)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = ending.done()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if ended and writing.cancelled():
            with suppress(TimeoutError):  # who does not read either is cut off
                async with asyncio.timeout(LAST_SECONDS):
                    await send({"type": "http.response.body", "body": b""})

    async def _write(self, send: Send) -> None:
        quiet = asyncio.Lock()

        async def put(body: bytes, more: bool = True) -> None:
            async with quiet:
                await send({"type": "http.response.body", "body": body, "more_body": more})

        await put(COMMENT)  # proxies hand on what has begun
        keeping = asyncio.create_task(_keep_alive(put))
        try:
            async with aclosing(self._answers) as answers:
                async for answer in answers:
                    told = answer.answer if isinstance(answer, Refused) else answer
                    current().answered(told)
                    await put(_event(told))
        except TagroarError as error:
            current().failed(error.code)
            await put(_event(error_body(error)))
        except Exception:
            current().failed(TagroarError.code)
            log.exception("an operation over server-sent events failed")
            await put(_event(error_body(TagroarError("internal error"))))
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
        await put(COMPLETE, more=False)


def _event(answer: Answer | bytes) -> bytes:
    """Strict JSON has no line end in it, so it is one line of data."""
    body = answer if isinstance(answer, bytes) else as_json(answer)
    return b"event: next\ndata: %b\n\n" % body


async def _keep_alive(put: Callable[[bytes], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(KEEP_ALIVE_SECONDS)
        await put(COMMENT)


async def _gone(receive: Receive) -> None:
    """Returns when the client has gone; what it sends until then is of no request."""
    while (await receive())["type"] != "http.disconnect":
        pass
