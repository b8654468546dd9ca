"""The client: keeps connections busy with requests that are ready to be sent, in a process of its own.

Lean on purpose, so that the server is what is measured: no HTTP library, answers are cut out of the stream by their
length, and looked at only for their status and for errors. Its arguments are a round as JSON, and a file for answers.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop

from benchmarks.figures import ROOT

BAD_MAX = 5
OVERTIME_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Round:
    """So many connections for so many seconds. bodies: a file with one a line, sent in order from line `first` on.

    rate: requests a second that are sent whether or not earlier ones are answered; None: each connection sends the
    next when it has its answer. count: stops after so many.
    """

    port: int
    path: str
    bodies: str
    headers: str = ""
    first: int = 0
    connections: int = 8
    seconds: float = 2.0
    rate: float | None = None
    count: int | None = None


@dataclass
class Answers:
    """What came of a round: seconds of each request (from when it was due, where there is a rate), and in all."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    last: str = ""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds


class _Connection(asyncio.Protocol):
    """One connection; a request at a time."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._buffer = b""
        self._wanted = 0
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Is ready."""
        self.transport = cast(asyncio.WriteTransport, transport)
        self._load.connected(self)

    def send(self, request: bytes, due: float) -> None:
        """Sends a request that was due at a moment."""
        self._due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Cuts out answers."""
        self._buffer = self._buffer + data if self._buffer else data
        if not self._wanted:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            at = self._buffer.lower().find(b"content-length:", 0, end)
            self._wanted = end + 4 + int(self._buffer[at + 15 : self._buffer.find(b"\r\n", at)])
        if len(self._buffer) >= self._wanted:
            answer, self._buffer, self._wanted = self._buffer, b"", 0
            self._load.answered(self, answer, self._due)

    def connection_lost(self, exc: Exception | None) -> None:
        """Must not happen while a round goes on."""
        self._load.lost()


class _Load:
    """A round that goes on."""

    def __init__(self, round_: Round, requests: list[bytes]) -> None:
        self._round, self._requests, self._next = round_, requests, round_.first
        self._idle: deque[_Connection] = deque()
        self._due: deque[float] = deque()
        self._under_way = 0
        self._over = False
        self.done = asyncio.get_running_loop().create_future()
        self.answers = Answers()

    def connected(self, connection: _Connection) -> None:
        """Another connection may send."""
        self._idle.append(connection)

    def lost(self) -> None:
        """A connection broke off."""
        if not self.done.done() and not self._over:
            self.done.set_exception(ConnectionError("the server closed a connection"))

    def _send(self, connection: _Connection, due: float) -> None:
        request = self._requests[self._next % len(self._requests)]
        self._next += 1
        self._under_way += 1
        connection.send(request, due)

    def answered(self, connection: _Connection, answer: bytes, due: float) -> None:
        """Takes an answer, and sends the next request."""
        now = time.perf_counter()
        self._under_way -= 1
        self.answers.latencies.append(now - due)
        good = answer.startswith(b"HTTP/1.1 200") and b'"errors"' not in answer
        if not good and len(self.answers.bad) < BAD_MAX:
            self.answers.bad.append(answer[-400:].decode(errors="replace"))
        count = self._round.count
        if count is not None and self._next - self._round.first >= count:
            self._over = True
        if self._over:
            self.answers.last = answer.partition(b"\r\n\r\n")[2].decode(errors="replace")
            if not self._under_way and not self.done.done():
                self.done.set_result(None)
        elif self._round.rate is None:
            self._send(connection, now)
        elif self._due:
            self._send(connection, self._due.popleft())
        else:
            self._idle.append(connection)

    async def closed_loop(self) -> None:
        """Every connection sends as soon as it has its answer."""
        started = time.perf_counter()
        for connection in list(self._idle):
            self._send(connection, time.perf_counter())
        asyncio.get_running_loop().call_later(self._round.seconds, self.end)
        await self.done
        self.answers.seconds = time.perf_counter() - started

    async def open_loop(self, rate: float) -> None:
        """Requests are due at fixed moments, whatever the server does."""
        started = time.perf_counter()
        for number in range(int(rate * self._round.seconds)):
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if self._idle:
                self._send(self._idle.popleft(), due)
            else:
                self._due.append(due)
        while self._due or self._under_way:
            await asyncio.sleep(0.01)
        self.answers.seconds = time.perf_counter() - started

    def end(self) -> None:
        """What is under way is the last."""
        self._over = True


async def play(round_: Round) -> Answers:
    """Plays one round in this process."""
    head = (
        f"POST {round_.path} HTTP/1.1\r\nHost: 127.0.0.1:{round_.port}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\n{round_.headers}Content-Length: "
    ).encode()
    lines = Path(round_.bodies).read_bytes().splitlines()
    load = _Load(round_, [head + b"%d\r\n\r\n%b" % (len(body), body) for body in lines])
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: _Connection(load), "127.0.0.1", round_.port)
        for _ in range(round_.connections)
    ]
    async with asyncio.timeout(round_.seconds + OVERTIME_SECONDS):
        await (load.closed_loop() if round_.rate is None else load.open_loop(round_.rate))
    load.end()  # connections may break off from here on
    for transport, _ in made:
        transport.close()
    return load.answers


def played(round_: Round) -> Answers:
    """Plays one round in a process of its own; an answer that is no success ends the benchmark."""
    return ended(begun(round_))


@dataclass(frozen=True, slots=True)
class Begun:
    """A round that goes on in a process of its own, and the file that its answers will be in."""

    client: subprocess.Popen[bytes]
    found: Path


def begun(round_: Round) -> Begun:
    """Begins a round."""
    descriptor, name = tempfile.mkstemp(prefix="tagroar-bench-answers-")
    os.close(descriptor)
    told = json.dumps(asdict(round_))
    return Begun(subprocess.Popen([sys.executable, "-m", "benchmarks.load", told, name], cwd=ROOT), Path(name))


def ended(begun: Begun) -> Answers:
    """Waits for a round."""
    failed = begun.client.wait()
    text = begun.found.read_text()
    begun.found.unlink()
    if failed:
        raise RuntimeError("the client failed")
    answers = Answers(**json.loads(text))
    if answers.bad:
        raise RuntimeError(f"{len(answers.bad)} answers were no success, such as {answers.bad[0]}")
    return answers


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(asdict(uvloop.run(play(Round(**json.loads(sys.argv[1])))))))
