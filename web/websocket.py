"""The protocol graphql-transport-ws: operations of any kind over one WebSocket, each with a context of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from graphql import OperationType
from starlette.websockets import WebSocket, WebSocketDisconnect

from bitmap_store.errors import TagroarError
from schema.documents import Refused
from schema.limits import check_request
from web.asking import Asking, as_json, error_body, json_of
from web.events import subscribed
from web.exchange import Exchange, begin, current
from web.logs import log_exchange
from web.service import Service, answered_within, log

PROTOCOL = "graphql-transport-ws"
MESSAGE_BYTES_MAX = 256 << 10
OPERATIONS_MAX = 100
INIT_SECONDS_MAX = 10


class _Closed(Exception):
    """The connection has to be closed, with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Connection:
    """One client: it says who it is once, then runs operations side by side."""

    def __init__(self, socket: WebSocket, service: Service) -> None:
        self._socket = socket
        self._service = service
        self._authorization: str | None = None
        self._acknowledged = False
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._begun = 0

    async def serve(self) -> None:
        """Serves until the client goes or breaks the protocol."""
        if not self._same_origin():
            await self._socket.close(1008)
            return
        offered = PROTOCOL in self._socket.scope.get("subprotocols", ())
        await self._socket.accept(PROTOCOL if offered else None)
        try:
            if not offered:
                raise _Closed(4406, "Subprotocol not acceptable")
            await self._greet()
            while True:
                await self._take(*await self._receive())
        except _Closed as closed:
            with suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.close(closed.code, closed.reason)
        except WebSocketDisconnect:
            pass
        except Exception:
            log.exception("a WebSocket failed")
            with suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.close(1011, "Internal error")
        finally:
            running = list(self._operations.values())
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _same_origin(self) -> bool:
        """Whether the page that opened this, if one did, came from here: browsers ask nobody else."""
        origin = self._socket.headers.get("origin")
        return origin is None or urlsplit(origin).netloc == self._socket.headers.get("host")

    # ------------------------------------------------------------ messages

    async def _receive(self) -> tuple[dict[str, Any], int]:
        """The next message, and how many bytes it has."""
        received = await self._socket.receive()
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
        text = received.get("text")
        if text is None:
            raise _Closed(4400, "Message is not text")
        data = text.encode("utf-8", "replace")
        if len(data) > MESSAGE_BYTES_MAX:
            raise _Closed(4413, "Message too large")
        try:
            message = await json_of(data, self._service.bounds.json_depth)
        except TagroarError:
            raise _Closed(4400, "Message is not JSON") from None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise _Closed(4400, "Message has no type")
        return message, len(data)

    async def _greet(self) -> None:
        """Waits until the client has said who it is."""
        try:
            async with asyncio.timeout(INIT_SECONDS_MAX):
                while (message := (await self._receive())[0])["type"] == "ping":
                    await self._send({"type": "pong"})
        except TimeoutError:
            raise _Closed(4408, "Connection initialisation timeout") from None
        if message["type"] != "connection_init":
            raise _Closed(4401, "Unauthorized")
        payload = message.get("payload") or {}
        if not isinstance(payload, dict):
            raise _Closed(4400, "Invalid connection init payload")
        given = next((value for key, value in payload.items() if key.lower() == "authorization"), None)
        self._authorization = given if isinstance(given, str) else self._socket.headers.get("authorization")
        try:
            await self._service.context(self._authorization)
        except TagroarError:
            raise _Closed(4403, "Forbidden") from None
        await self._send({"type": "connection_ack"})

    async def _take(self, message: dict[str, Any], size: int) -> None:
        match message["type"]:
            case "ping":
                await self._send({"type": "pong"})
            case "pong":
                pass
            case "connection_init":
                raise _Closed(4429, "Too many initialisation requests")
            case "subscribe":
                self._begin(message, size)
            case "complete":
                running = self._operations.pop(str(message.get("id")), None)
                if running is not None:
                    running.cancel()
            case _:
                raise _Closed(4400, "Unknown message type")

    def _begin(self, message: dict[str, Any], size: int) -> None:
        key = message.get("id")
        if not isinstance(key, str) or not key:
            raise _Closed(4400, "Message has no id")
        if key in self._operations:
            raise _Closed(4409, "There is an operation with this id")
        if len(self._operations) >= OPERATIONS_MAX:
            raise _Closed(4429, "Too many operations")
        self._operations[key] = asyncio.create_task(self._run(key, message.get("payload"), size))

    async def _send(self, message: dict[str, Any]) -> None:
        with suppress(RuntimeError, WebSocketDisconnect):  # it is gone; the reader will notice
            await self._socket.send_text(as_json(message).decode())

    # ------------------------------------------------------------ operations

    async def _run(self, key: str, payload: object, size: int) -> None:
        """Runs one operation to its end, its answers told as they come."""
        self._begun += 1
        exchange = begin(Exchange(f"{current().id}-{self._begun}", "graphql"))
        try:
            async for answer in self._answers(payload, size):
                exchange.answered(answer.answer if isinstance(answer, Refused) else answer)
                if isinstance(answer, Refused):
                    await self._end(key, {"type": "error", "payload": answer.answer["errors"]})
                    return
                await self._send({"id": key, "type": "next", "payload": answer})
            await self._end(key, {"type": "complete"})
        except asyncio.CancelledError:
            exchange.failed("gone")
            raise
        except TagroarError as error:
            exchange.failed(error.code)
            await self._end(key, {"type": "error", "payload": error_body(error)["errors"]})
        except Exception:
            exchange.failed(TagroarError.code)
            log.exception("an operation over a WebSocket failed")
            await self._end(key, {"type": "error", "payload": error_body(TagroarError("internal error"))["errors"]})
        finally:
            seconds = None if exchange.kind == "subscription" else perf_counter() - exchange.began
            self._service.measures.count(exchange, seconds)
            log_exchange(exchange, None)

    async def _answers(self, payload: object, size: int) -> AsyncIterator[dict[str, Any] | Refused]:
        asking = Asking.of(payload, self._service.known)
        bounds, use = self._service.bounds, self._service.use
        check_request(asking.query, asking.variables, size, characters_max=bounds.document_characters)
        context = await self._service.context(self._authorization)
        client = use.begin(context.viewer.name)
        context.charge, context.tells_cost = use.charge(client), asking.cost
        try:
            prepared = await self._service.documents.prepare(asking.query, asking.operation_name)
            if isinstance(prepared, Refused):
                yield prepared
                return
            current().asked(prepared.kind.value, asking.query, asking.operation_name)
            if prepared.kind is not OperationType.SUBSCRIPTION:
                yield await answered_within(bounds.request_seconds, prepared.run(asking.variables, context))
                return
        finally:
            use.end(client)
        authorized = self._service.while_admitted(self._authorization, subscribed(asking, context))
        async with aclosing(authorized) as told:
            async for answer in told:
                yield answer

    async def _end(self, key: str, message: dict[str, Any]) -> None:
        self._operations.pop(key, None)
        await self._send({"id": key, **message})
