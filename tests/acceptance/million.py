"""A million users with 300 tags: whether they fit and serve on this machine; the figures of it.

Generated with numpy: 60 FLAG, 180 CHOICE and 60 CHOICES tags, about 3,000 values with shares that fall off, about 74
memberships a user. Imported wide as Parquet, and a part of it again in the long form into another store.
"""

import os
import platform
import random
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.random import Generator
from numpy.typing import NDArray

from tests.acceptance.harness import Json, Report, Server, new_token, options, workplace
from tests.acceptance.questions import And, Node, Not, Or, Tag, text

DEFINE = "mutation($i: DefineTagInput!) { defineTag(input: $i) { key } }"
ROW_GROUP = 50_000
FLAGS, CHOICES_OF_ONE, CHOICES_OF_MANY = 60, 180, 60


@dataclass(frozen=True)
class Shape:
    """A tag to draw: how many values, and how many memberships a user has of it on average."""

    key: str
    kind: str
    values: int
    mean: float

    def weights(self) -> NDArray[np.float64]:
        """The shares of the values, falling off."""
        weights = 1 / np.arange(1, self.values + 1)
        found: NDArray[np.float64] = weights / weights.sum()
        return found


def shapes() -> list[Shape]:
    """The tags; the same for any number of users."""
    draw = np.random.default_rng(0)
    flags = [Shape(f"flag-{n}", "FLAG", 0, float(draw.uniform(0.01, 0.3))) for n in range(FLAGS)]
    single = [
        Shape(f"one-{n}", "CHOICE", int(draw.integers(3, 21)), float(draw.uniform(0.05, 0.45)))
        for n in range(CHOICES_OF_ONE)
    ]
    many = [
        Shape(f"many-{n}", "CHOICES", int(draw.integers(5, 26)), float(draw.uniform(0.1, 0.6)))
        for n in range(CHOICES_OF_MANY)
    ]
    return flags + single + many


class Drawn:
    """The memberships of a block of users, column by column."""

    def __init__(self, first: int, count: int, seed: int) -> None:
        self._draw: Generator = np.random.default_rng([seed, first])
        self.users = np.arange(first, first + count)
        self.held: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        for shape in shapes():
            self.held[shape.key] = self._of(shape, count)

    def _of(self, shape: Shape, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places of users, ascending, and the value of each."""
        if shape.kind != "CHOICES":
            places = np.flatnonzero(self._draw.random(count) < shape.mean)
            values = self._draw.choice(shape.values, len(places), p=shape.weights()) if shape.values else places * 0
            return places, values
        places = self._draw.integers(0, count, int(shape.mean * count))
        values = self._draw.choice(shape.values, len(places), p=shape.weights())
        pairs = np.unique(places * 2**16 + values)
        return pairs >> 16, pairs & 0xFFFF

    def wide(self) -> pa.Table:
        """A row a user, a column a tag."""
        columns: dict[str, pa.Array] = {"user": names_of(self.users)}
        for shape in shapes():
            places, values = self.held[shape.key]
            if shape.kind == "CHOICES":
                offsets = np.searchsorted(places, np.arange(len(self.users) + 1))
                columns[shape.key] = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), _labels(shape, values))
                continue
            index = np.full(len(self.users), -1)
            index[places] = np.arange(len(places))
            said = _labels(shape, values) if shape.values else pa.array(np.ones(len(places), bool))
            columns[shape.key] = said.take(pa.array(index, mask=index < 0))
        return pa.table(columns)

    def long(self) -> pa.Table:
        """A row a membership, by user."""
        tags = [shape.key for shape in shapes()]
        places = np.concatenate([self.held[key][0] for key in tags])
        tag = np.repeat(np.arange(len(tags)), [len(self.held[key][0]) for key in tags])
        labels = pa.concat_arrays(
            [
                _labels(shape, self.held[shape.key][1]).cast(pa.string())
                if shape.values
                else pa.nulls(len(self.held[shape.key][0]), pa.string())
                for shape in shapes()
            ]
        )
        order = pa.array(np.argsort(places, kind="stable"))
        named = pa.DictionaryArray.from_arrays(pa.array(tag.astype(np.int32)), pa.array(tags))
        columns = {"user": names_of(self.users[places]), "tag": named, "value": labels}
        return pa.table({name: column.take(order) for name, column in columns.items()})


def names_of(users: NDArray[np.int64]) -> pa.Array:
    """The names of users."""
    return pa.array([f"u-{user:07}" for user in users.tolist()])


def _labels(shape: Shape, values: NDArray[np.int64]) -> pa.Array:
    names = [f"value-{n}" for n in range(shape.values)]
    return pa.DictionaryArray.from_arrays(pa.array(values.astype(np.int32)), pa.array(names))


def write(path: Path, users: int, seed: int, long: bool, counts: dict[str, NDArray[np.int64]]) -> int:
    """Writes the file block by block; how many memberships, and in `counts` how many of each value."""
    writer, memberships = None, 0
    for first in range(0, users, ROW_GROUP):
        drawn = Drawn(first, min(ROW_GROUP, users - first), seed)
        table = drawn.long() if long else drawn.wide()
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        for shape in shapes():
            values = drawn.held[shape.key][1]
            memberships += len(values)
            counts[shape.key] = counts.get(shape.key, 0) + np.bincount(values, minlength=max(shape.values, 1))
    assert writer is not None
    writer.close()
    return memberships


def memory(leader: int) -> tuple[int, int]:
    """RSS and PSS, in bytes, of all processes in the group of a server."""
    rss = pss = 0
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if os.getpgid(int(process.name)) == leader:
                    fields = dict(
                        line.split(":", 1)
                        for line in (process / "smaps_rollup").read_text().splitlines()
                        if ":" in line[:20]
                    )
                    rss += int(fields["Rss"].split()[0]) * 1024
                    pss += int(fields["Pss"].split()[0]) * 1024
            except (ProcessLookupError, FileNotFoundError):
                continue
    return rss, pss


def size_of(directory: Path) -> int:
    """Bytes of all files in a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def five_leaves(choose: random.Random) -> Node:
    """A question of five leaves, as somebody would put it together."""
    leaves: list[Node] = []
    for shape in choose.sample(shapes(), 5):
        first = choose.randrange(max(shape.values, 1))
        values = tuple(f"value-{n}" for n in {first, *range(min(2, shape.values))})
        leaves.append(Tag(shape.key, values=values if shape.values else None))
    a, b, c, d, e = leaves
    return choose.choice(
        (And((Or((a, b, c)), d, Not(e))), Or((And((a, b)), And((c, Not(d))), e)), And((Or((a, b)), Or((c, d)), Not(e))))
    )


def ask_five_leaves(server: Server, report: Report, questions: int, repeats: int) -> None:
    """The median of a size over HTTP and in the engine: for questions that are new, and for those asked before."""
    choose = random.Random(7)
    asked = [{"text": text(five_leaves(choose), choose)} for _ in range(questions)]
    server.audience(asked[0])
    times: dict[str, list[float]] = {"new": [], "asked before": []}
    engine: list[float] = []
    for turn in range(repeats):
        for where in asked:
            started = time.perf_counter()
            size = server.audience(where)["size"]
            times["asked before" if turn else "new"].append((time.perf_counter() - started) * 1000)
            if turn == 1:
                explained = server.audience(where, "explain { milliseconds nodes { size } }")["explain"]
                engine.append(explained["milliseconds"])
                report.equal("explain and size agree", explained["nodes"][0]["size"], size, str(where))
    for name, found in times.items():
        report.figure(f"five-leaf size over HTTP, {name}, median ms", f"{statistics.median(found):.2f}")
        report.figure(f"five-leaf size over HTTP, {name}, 95 % ms", f"{np.percentile(found, 95):.2f}")
    report.figure("explain of five leaves (all nodes), median ms", f"{statistics.median(engine):.2f}")


def define(server: Server) -> None:
    """All tags."""
    for shape in shapes():
        declared: Json = {"values": [f"value-{n}" for n in range(shape.values)]} if shape.values else {}
        server.ask(DEFINE, i={"key": shape.key, "kind": shape.kind} | declared)


def import_all(
    directory: Path, users: int, seed: int, long: bool, workers: int, questions: int, report: Report
) -> None:
    """Generates, imports, and asks."""
    form, kind = ("long", "memberships") if long else ("wide", "table")
    path, store = directory / f"{form}.parquet", directory / form
    counts: dict[str, NDArray[np.int64]] = {}
    memberships = write(path, users, seed, long, counts)
    report.figure(f"{form}: memberships", f"{memberships:,} of {users:,} users ({memberships / users:.1f} each)")
    report.figure(f"{form}: file to import, MB", f"{path.stat().st_size / 1e6:,.0f}")
    token = new_token(store)
    with Server(store, token=token, workers=workers) as server:
        define(server)
        started = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            importing, peak = pool.submit(server.imported, kind, path), 0
            while not importing.done():
                peak = max(peak, memory(server.process.pid)[0])
                time.sleep(0.5)
        job, seconds = importing.result(), time.monotonic() - started
        report.equal("rows of the file applied", job["rowsApplied"], memberships if long else users, form)
        report.figure(f"{form}: import, s", f"{seconds:.1f}")
        report.figure(f"{form}: most memory while importing, MB", f"RSS {peak / 1e6:,.0f}")
        report.figure(f"{form}: memberships a second", f"{memberships / seconds:,.0f}")
    path.unlink()
    report.figure(
        f"{form}: store on disk, MB", f"{size_of(store) / 1e6:,.0f} ({size_of(store) / memberships:.1f} B each)"
    )
    with Server(store, token=token, workers=workers) as server:
        started = time.monotonic()
        compare(server, report, counts, users)
        report.figure(f"{form}: every value counted once, s", f"{time.monotonic() - started:.1f}")
        rss, pss = memory(server.process.pid)
        report.figure(
            f"{form}: memory after that, MB", f"RSS {rss / 1e6:,.0f}, PSS {pss / 1e6:,.0f}, {workers} workers"
        )
        if not long:
            ask_five_leaves(server, report, questions, 5)


def compare(server: Server, report: Report, counts: dict[str, NDArray[np.int64]], users: int) -> None:
    """The size of every value of every tag, against what was drawn."""
    values = "query($k: String!) { tag(key: $k) { size values(first: 100) { edges { node { value size } } } } }"
    report.equal("everyone", server.size("everyone"), users)
    for shape in shapes():
        tag = server.ask(values, k=shape.key)["tag"]
        if shape.values:
            found = [edge["node"]["size"] for edge in tag["values"]["edges"]]
            report.check("sizes of values", found == counts[shape.key].tolist(), f"{shape.key}: {found}", shape.values)
        else:
            report.equal("sizes of flags", tag["size"], int(counts[shape.key].sum()), shape.key)


def main() -> int:
    """The wide form of all, the long form of a part."""
    given = options(__doc__, users=1_000_000, long_users=100_000, workers=1, questions=100, seed=6)
    report = Report(f"{given.users:,} users, {len(shapes())} tags, {sum(max(s.values, 1) for s in shapes()):,} values")
    report.figure("machine", f"{os.cpu_count()} cores, Python {platform.python_version()}")
    with workplace(given.keep) as directory:
        for users, long in ((given.users, False), (given.long_users, True)):
            if users:
                import_all(directory, users, given.seed, long, given.workers, given.questions, report)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
