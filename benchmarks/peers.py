"""The engine beside ClickHouse (groupBitmap, in process), DuckDB (a wide table) and Redis (BITOP), where installed.

All hold the same members of the same values and answer the same questions; what they count has to be the same.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import chdb.session
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import redis
from pyroaring import BitMap

from benchmarks.figures import Figure, Run, median, undisturbed
from benchmarks.questions import Questions, Value
from benchmarks.stores import opened, store_of
from benchmarks.world import World
from bitmap_store.expression import And, Expression, Match, Not, Or

FIVE, TWENTY, WARM = 60, 20, 10


class Peer(Protocol):
    """Somebody else who can count. bound: how many times faster Tagroar is to be; None promises nothing."""

    name: str
    bound: float | None

    def prepared(self, question: Expression) -> Callable[[], int]:
        """A function that counts a question."""


async def measure(run: Run, world: World) -> None:
    """Tagroar's times, then those of each peer for the same questions."""
    path = await store_of(world, run.told)
    questions = Questions(world, seed=7)
    asked = {"five leaves": questions.five(WARM + FIVE), "twenty leaves": questions.twenty(WARM + TWENTY)}
    values = questions.pool
    members = world.members([value.code for value in values], lambda done: run.told("drawing", done))
    found: dict[str, list[int]] = {}
    ours: dict[str, float] = {}
    async with opened(path) as store:
        view = store.view()
        for value in values:
            await store.count([store.bind(view, value.leaf, "user")])
        for name, each in asked.items():
            plans = [store.bind(view, question, "user") for question in each]
            seconds, found[name] = [], []
            with undisturbed():
                for plan in plans:
                    started = time.perf_counter()
                    (count,) = await store.count([plan])
                    seconds.append(time.perf_counter() - started)
                    found[name].append(count)
            ours[name] = median(seconds[WARM:])
    with tempfile.TemporaryDirectory(prefix="tagroar-bench-peers-") as name, ExitStack() as stack:
        for make in (ClickHouse, DuckDB, Redis):
            if make is Redis and shutil.which("redis-server") is None:
                run.say("redis-server is not installed, so there is no Redis to compare with")
                continue
            run.say(f"loading {make.__name__}")
            peer = make(Path(name), world, values, members, stack)
            for kind, each in asked.items():
                theirs = _seconds(peer, each, found[kind])
                sign = "" if peer.bound is None else "≥"
                about = f"{kind}, {peer.name}"
                run.figure(Figure(about, "ms", ours[kind] * 1e3, theirs * 1e3, peer.name, "faster", sign, peer.bound))


def _seconds(peer: Peer, asked: Sequence[Expression], found: Sequence[int]) -> float:
    seconds = []
    for question, expected in zip(asked, found, strict=True):
        count = peer.prepared(question)
        started = time.perf_counter()
        counted = count()
        seconds.append(time.perf_counter() - started)
        if counted != expected:
            raise RuntimeError(f"{peer.name} counts {counted}, Tagroar {expected}: {question}")
    return median(seconds[WARM:])


class ClickHouse:
    """A cell a value. A granule a row, and one pass for all leaves: the fastest of what was tried."""

    name = "ClickHouse groupBitmap"
    bound: float | None = 30.0

    def __init__(
        self, directory: Path, world: World, values: Sequence[Value], members: Mapping[int, BitMap], stack: ExitStack
    ) -> None:
        self._codes = {value.leaf: value.code for value in values}
        session: Any = chdb.session  # which has no types
        self._session: Any = session.Session(str(directory / "clickhouse"))
        stack.callback(self._session.close)
        file = directory / "members.parquet"
        schema = pa.schema([pa.field("code", pa.uint16(), False), pa.field("user", pa.uint32(), False)])
        with pq.ParquetWriter(file, schema, compression="lz4", write_statistics=False) as writer:
            for code, found in members.items():
                users = np.array(found.to_array(), np.uint32)
                codes = np.full(len(users), code, np.uint16)
                writer.write_table(pa.table([codes, users], schema=schema))
        self._session.query(
            "CREATE TABLE cells (code UInt16, users AggregateFunction(groupBitmap, UInt32)) "
            "ENGINE = AggregatingMergeTree ORDER BY code SETTINGS index_granularity = 1"
        )
        self._session.query(
            "INSERT INTO cells SELECT assumeNotNull(code) AS code, groupBitmapState(assumeNotNull(user)) "
            f"FROM file('{file}', Parquet) GROUP BY code"
        )
        self._session.query("OPTIMIZE TABLE cells FINAL")
        file.unlink()

    def prepared(self, question: Expression) -> Callable[[], int]:
        """See `Peer`."""
        names: dict[Match, str] = {}
        told = self._text(question, names)
        root, _, rest = told.partition("(")
        cells = ", ".join(f"anyIf(users, code = {self._codes[leaf]}) AS {name}" for leaf, name in names.items())
        codes = ", ".join(str(self._codes[leaf]) for leaf in names)
        query = f"SELECT {root}Cardinality({rest} FROM (SELECT {cells} FROM cells WHERE code IN ({codes}))"
        return lambda: int(self._session.query(query, "TabSeparated").bytes())

    def _text(self, node: Expression, names: dict[Match, str]) -> str:
        match node:
            case Match():
                return names.setdefault(node, f"b{len(names)}")
            case Or(of):
                return _nested("bitmapOr", [self._text(child, names) for child in of])
            case And(of):
                kept = _nested("bitmapAnd", [self._text(child, names) for child in of if not isinstance(child, Not)])
                removed = [self._text(child.of, names) for child in of if isinstance(child, Not)]
                return _nested("bitmapAndnot", [kept, *removed])
        raise TypeError(f"{type(node).__name__} is not asked here")


def _nested(function: str, operands: list[str]) -> str:
    text = operands[0]
    for operand in operands[1:]:
        text = f"{function}({text}, {operand})"
    return text


class DuckDB:
    """A row a user, a column a tag, a small number for each value; of tags with several values a column a value.

    Only the tags that are asked for: others would cost nothing but space.
    """

    name = "DuckDB, a wide table"
    bound: float | None = 100.0

    def __init__(
        self, directory: Path, world: World, values: Sequence[Value], members: Mapping[int, BitMap], stack: ExitStack
    ) -> None:
        self._values = {value.leaf: value for value in values}
        self._connection = duckdb.connect(str(directory / "wide.duckdb"))
        stack.callback(self._connection.close)
        columns = {name: "UTINYINT" if name in world.by_key else "BOOLEAN" for name in map(self._column, values)}
        declared = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        self._connection.execute(f"CREATE TABLE wide ({declared})")
        for block in range(world.blocks):
            made = self._block(world, block, values, columns)
            self._connection.register("made", made)
            self._connection.execute("INSERT INTO wide SELECT * FROM made")
            self._connection.unregister("made")
        self._connection.execute("CHECKPOINT")

    def _block(self, world: World, block: int, values: Sequence[Value], columns: Mapping[str, str]) -> pa.Table:
        count = world.length(block)
        found = {name: np.zeros(count, np.uint8 if kind == "UTINYINT" else bool) for name, kind in columns.items()}
        for key in {value.shape.key for value in values}:
            shape = world.by_key[key]
            rows = world.of_tag(shape, block)
            for value in values:
                if value.shape.key == key and shape.kind != "CHOICE":
                    found[self._column(value)][rows.places[rows.codes == value.code]] = True
            if shape.kind == "CHOICE":
                found[key][rows.places] = rows.codes - shape.first + 1
        return pa.table(found)

    @staticmethod
    def _column(value: Value) -> str:
        return value.shape.key if value.shape.kind == "CHOICE" else f"{value.shape.key}_{value.code}"

    def prepared(self, question: Expression) -> Callable[[], int]:
        """See `Peer`."""
        query = f"SELECT count(*) FROM wide WHERE {self._text(question)}"

        def count() -> int:
            found = self._connection.execute(query).fetchone()
            assert found is not None
            return int(found[0])

        return count

    def _text(self, node: Expression) -> str:
        match node:
            case Match():
                value = self._values[node]
                name = self._column(value)
                return f"{name} = {value.code - value.shape.first + 1}" if value.shape.kind == "CHOICE" else name
            case Or(of):
                return f"({' OR '.join(map(self._text, of))})"
            case And(of):
                return f"({' AND '.join(map(self._text, of))})"
            case Not(of):
                return f"NOT {self._text(of)}"
        raise TypeError(f"{type(node).__name__} is not asked here")


class Redis:
    """A string of bits a value; a question is one pipeline of BITOP, and BITCOUNT."""

    name = "Redis BITOP"
    bound: float | None = None

    def __init__(
        self, directory: Path, world: World, values: Sequence[Value], members: Mapping[int, BitMap], stack: ExitStack
    ) -> None:
        self._codes = {value.leaf: value.code for value in values}
        socket = directory / "redis.sock"
        command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(directory)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        self._client = redis.Redis(unix_socket_path=str(socket))
        while not socket.exists():
            time.sleep(0.01)
        for code, found in members.items():
            bits = np.zeros(-(-world.users // 8) * 8, bool)
            bits[np.array(found.to_array(), np.uint32)] = True
            self._client.set(str(code), np.packbits(bits).tobytes())

    def prepared(self, question: Expression) -> Callable[[], int]:
        """See `Peer`."""

        def count() -> int:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.bitcount(self._made(question, pipeline, "r"))
            return int(pipeline.execute()[-1])

        return count

    def _made(self, node: Expression, pipeline: redis.client.Pipeline, name: str) -> str:
        """The key of a set of users, made by commands of the pipeline unless it is a leaf."""
        match node:
            case Match():
                return str(self._codes[node])
            case Or(of):
                pipeline.bitop("OR", name, *(self._made(child, pipeline, f"{name}{n}") for n, child in enumerate(of)))
            case And(of):
                pipeline.bitop("AND", name, *(self._made(child, pipeline, f"{name}{n}") for n, child in enumerate(of)))
            case Not(of):
                pipeline.bitop("NOT", name, self._made(of, pipeline, f"{name}n"))
        return name
