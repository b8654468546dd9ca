"""Connections of the HTTP server that end when a client is too slow or says too much before its request begins.

uvicorn bounds neither the head of a request nor the time it takes, and waits without end for who does not read.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from bitmap_store.errors import Invalid, TagroarError, TooLarge
from web.asking import as_json, error_body

HEAD_BYTES_MAX = 64 << 10
READ_SECONDS = 10.0
WRITE_SECONDS = 30.0


class Together:
    """A transport on which the head of an answer waits for what is written next, at most until the end of the turn.

    To send costs more than most answers take to write; of two pieces it costs twice, here and where they are read.
    """

    __slots__ = ("_head", "_loop", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.is_closing = transport.is_closing  # which is asked several times a request
        self._loop = asyncio.get_running_loop()
        self._head = b""

    def write(self, data: bytes) -> None:
        """Sends what waits and this; where nothing waits, this waits."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        else:
            self._head = bytes(data)
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        """Ends the connection when all that was written is sent."""
        self._send()
        self._transport.close()

    def get_write_buffer_size(self) -> int:
        """Bytes that were not sent."""
        return len(self._head) + self._transport.get_write_buffer_size()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Reader(asyncio.Protocol):
    """What both kinds of connections do: they end where a client takes nothing of what is written for too long."""

    transport: asyncio.Transport
    _stalled: asyncio.TimerHandle | None = None
    write_seconds = WRITE_SECONDS

    def pause_writing(self) -> None:
        """There is more to be read than fits."""
        super().pause_writing()
        self._stalled = asyncio.get_running_loop().call_later(self.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """There is room again."""
        super().resume_writing()
        self._let_go()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._let_go()
        super().connection_lost(exc)

    def _let_go(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class SocketConnection(Reader, WebSocketsSansIOProtocol):
    """A WebSocket."""

    def send_receive_event_to_app(self) -> None:
        """Hands a message on. One that is no UTF-8 ends the connection, and no trace of that is logged."""
        if self.curr_msg_data_type == "text":
            try:
                self.frames = [b"".join(self.frames)]
                self.frames[0].decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.send_close(1007)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()


class HttpConnection(Reader, HttpToolsProtocol):
    """Requests one after the other: the head of each is there within a time, and within a size."""

    read_seconds = READ_SECONDS
    head_bytes_max = HEAD_BYTES_MAX

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._upgraded = False
        self._head_bytes = 0
        self._piece_bytes = 0
        self._waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It begins, and so does the time for the first head."""
        super().connection_made(cast(asyncio.Transport, Together(transport)))
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes what has come."""
        self._piece_bytes = len(data)
        super().data_received(data)
        if self._upgraded:
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.head_bytes_max and not self.transport.is_closing():
                self._refuse(431, self._too_large())
        elif self.cycle is not None and not self.cycle.response_complete:
            self._wait_no_more()
            return
        self._wait()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is there."""
        if self._head_bytes + self._piece_bytes > self.head_bytes_max:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > self.head_bytes_max:
                self._refuse(431, self._too_large())
                raise self._too_large()
        self._in_head = False
        self._head_bytes = 0
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        """It becomes a WebSocket, which has times of its own."""
        self._wait_no_more()
        self._upgraded = True
        super().handle_websocket_upgrade()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing more is asked. What was not read by now is not waited for."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Tells that this is no HTTP; not within an answer that is being written."""
        if self.transport.is_closing():
            return
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()
        else:
            self._refuse(400, Invalid("this is no request of HTTP"))

    # ------------------------------------------------------------ ending

    def _wait(self) -> None:
        if self._waiting is None and not self.transport.is_closing():
            self._waiting = self.loop.call_later(self.read_seconds, self._too_slow)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _too_slow(self) -> None:
        if self._head_bytes:
            self._refuse(408, Invalid(f"the head of the request did not come within {self.read_seconds:g} seconds"))
        self.transport.abort() if self.transport.get_write_buffer_size() else self.transport.close()

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the head of a request has at most {self.head_bytes_max} bytes")

    def _refuse(self, status: int, error: TagroarError) -> None:
        body = as_json(error_body(error))
        self.transport.write(
            b"%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINE[status], len(body), body)
        )
        self.transport.close()


def connections(read_seconds: float, write_seconds: float) -> tuple[type[HttpConnection], type[SocketConnection]]:
    """The kinds of connections, for `http` and `ws` of uvicorn, with these times."""
    http = type("HttpConnection", (HttpConnection,), {"read_seconds": read_seconds, "write_seconds": write_seconds})
    socket = type("SocketConnection", (SocketConnection,), {"write_seconds": write_seconds})
    return http, socket
