"""Small writes over HTTP: single assignments from 64 clients, each durable when it is answered.

Then once more with every write followed by a read from another process on the same store, which has to see it.
Beside them: plain sqlite3 that commits one row at a time, as durable, on the same disk.
"""

import asyncio
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, Run
from benchmarks.load import Round, played
from benchmarks.questions import Questions, Value
from benchmarks.servers import Server
from benchmarks.stores import copied, new_token, store_of
from benchmarks.world import World

ASSIGN = "mutation($i: [TagAssignment!]!) { assignTags(input: $i) { dataVersion } }"
READ = "query($u: String!, $k: [String!]!) { profile(by: {userId: $u}) { tags(keys: $k) { values tag { key } } } }"
CLIENTS, ROUNDS, SECONDS, CHECKED = 64, 3, 3.0, 2_000
PREPARED = 40_000
SQLITE_SECONDS = 3.0


async def measure(run: Run, world: World) -> None:
    """Writes, writes that are read elsewhere, and the reference."""
    path = await store_of(world, run.told)
    async with copied(path) as copy:
        token = await new_token(copy)
        with Server.tagroar(copy, token) as server, tempfile.TemporaryDirectory(prefix="tagroar-bench-writes-") as name:
            bodies = Path(name) / "assignments.jsonl"
            assignments = _assignments(world)
            server.ask(ASSIGN, i=[next(assignments)])
            rates: list[float] = []
            by_hand: list[float] = []
            for _ in range(ROUNDS):
                lines = (
                    json.dumps({"query": ASSIGN, "variables": {"i": [next(assignments)]}}) for _ in range(PREPARED)
                )
                bodies.write_text("\n".join(lines))
                answers = played(
                    Round(server.port, "/graphql", str(bodies), server.headers, 0, CLIENTS, SECONDS)
                )  # fmt: skip
                rates.append(answers.rate)
                by_hand.append(_commits(copy / "by-hand.sqlite"))
            run.figure(
                Figure(
                    f"single assignments from {CLIENTS} clients", "/s", sorted(rates)[ROUNDS // 2],
                    sorted(by_hand)[ROUNDS // 2], "sqlite3, a commit each", "ours", "≥", 2_000,
                )
            )  # fmt: skip
            with Server.tagroar(copy, token) as other:
                seconds, seen = await _seen_elsewhere(server, other, assignments)
            if seen != CHECKED:
                raise RuntimeError(f"{CHECKED - seen} of {CHECKED} writes were not in the next read of another process")
            note = f"{seen:,} of {CHECKED:,} seen"
            run.figure(
                Figure("each read from another process at once", "/s", CHECKED / seconds, note=note)
            )  # fmt: skip


def _assignments(world: World) -> Iterator[dict[str, object]]:
    """Assignments that change something: values that few have, to users drawn at random."""
    choose = random.Random(11)
    values: list[Value] = [value for value in Questions(world).pool if value.share < 0.1]
    while True:
        value = choose.choice(values)
        said: dict[str, object] = {"value": value.leaf.values[0]} if value.leaf.values else {}
        yield {"user": str(choose.randrange(world.users)), "tag": value.leaf.key} | said


def _commits(path: Path) -> float:
    """Rows a second that plain sqlite3 makes durable, one by one."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS written (user INTEGER, tag TEXT, value TEXT)")
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < SQLITE_SECONDS:
        connection.execute("INSERT INTO written VALUES (?, 'tag', 'value')", (count,))
        count += 1
    seconds = time.perf_counter() - started
    connection.close()
    return count / seconds


async def _seen_elsewhere(server: Server, other: Server, assignments: Iterator[dict[str, object]]) -> tuple[float, int]:
    """Seconds of CHECKED writes to one process, and how many of them the next read of another one showed."""
    seen, left = 0, iter(range(CHECKED))

    async def client() -> None:
        nonlocal seen
        writing, reading = await Connection.to(server), await Connection.to(other)
        for _ in left:
            assigned = next(assignments)
            await writing.ask(ASSIGN, i=[assigned])
            found = await reading.ask(READ, u=assigned["user"], k=[assigned["tag"]])
            tags = found["profile"]["tags"]
            seen += bool(tags) and assigned.get("value", None) in [*tags[0]["values"], *([None] if tags else [])]
        writing.close()
        reading.close()

    await asyncio.to_thread(other.ask, READ, u="0", k=[])
    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return time.perf_counter() - started, seen


class Connection:
    """One connection to a server."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self._reader, self._writer = server, reader, writer

    @classmethod
    async def to(cls, server: Server) -> "Connection":
        """A connection that is open."""
        return cls(server, *await asyncio.open_connection("127.0.0.1", server.port))

    async def ask(self, query: str, **variables: object) -> dict[str, dict[str, list[dict[str, list[str]]]]]:
        """The data of a GraphQL answer."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        head = f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:{self._server.port}\r\n{self._server.headers}"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        answered = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answered.partition(b"content-length:")[2].partition(b"\r\n")[0])
        found = json.loads(await self._reader.readexactly(length))
        if "errors" in found:
            raise RuntimeError(f"{found['errors']}")
        data: dict[str, dict[str, list[dict[str, list[str]]]]] = found["data"]
        return data

    def close(self) -> None:
        """Ends the connection."""
        self._writer.close()
