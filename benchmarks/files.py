"""Files of a world, as somebody would bring them: written block by block, kept in a directory, made once.

Long files have a row a membership, wide ones a row a user. Users are whole numbers, or names such as `u-0000042`.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.random import SFC64, Generator, SeedSequence
from numpy.typing import NDArray

from benchmarks.world import BLOCK, LEVELS, Rows, Shape, World

DIRECTORY_VARIABLE = "TAGROAR_BENCH_DIR"
NAME_DIGITS = 9
DECIMALS = 2
NUMBER_TYPE = pa.decimal128(12, DECIMALS)
BUCKET_ROWS = 5_000_000
WIDE_GROUP = 16
"""Blocks whose rows are mixed in a shuffled wide file; a long one is shuffled as a whole."""

HELD = np.dtype([("user", "<u4"), ("code", "<u2")])
Told = Callable[[str, float], None]
"""Is told what is being made and how much of it is there, within 0..1."""


def silent(_what: str, _done: float) -> None:
    """Tells nobody."""


def directory() -> Path:
    """Where files and stores are kept: TAGROAR_BENCH_DIR, else a folder among the temporary files."""
    found = Path(os.environ.get(DIRECTORY_VARIABLE) or Path(tempfile.gettempdir()) / "tagroar-bench")
    found.mkdir(parents=True, exist_ok=True)
    return found


@dataclass(frozen=True, slots=True)
class File:
    """A file to be made. form: long, wide, users or events. format: parquet or csv (long only)."""

    form: str = "long"
    format: str = "parquet"
    names: bool = False
    shuffled: bool = False

    def __str__(self) -> str:
        return f"{self.form}-{'names' if self.names else 'ids'}-{'shuffled' if self.shuffled else 'ordered'}"


def made(world: World, file: File, told: Told = silent) -> Path:
    """The path of a file, which is written if it is not there yet."""
    path = directory() / f"{world.name}-{file}.{file.format}"
    if path.exists():
        return path
    partial = path.with_name(f"{path.name}.partial")
    tables = _Tables(world, file, lambda done: told(f"writing {path.name}", done))
    if file.format == "csv":
        with partial.open("wb") as sink:
            sink.write(b"user,tag,value,number,date\n")
            sink.writelines(tables.lines())
    else:
        writer: pq.ParquetWriter | None = None
        for table in tables.tables():
            writer = writer or pq.ParquetWriter(partial, table.schema, compression="lz4", write_statistics=False)
            writer.write_table(table, row_group_size=len(table))
        if writer is not None:
            writer.close()
    partial.replace(path)
    return path


def names_of(users: NDArray[np.integer]) -> pa.Array:
    """The names of users, made digit by digit for all of them at once."""
    left = users.astype(np.int64)
    text = np.empty((len(users), NAME_DIGITS + 2), np.uint8)
    text[:, :2] = np.frombuffer(b"u-", np.uint8)
    for place in range(NAME_DIGITS + 1, 1, -1):
        left, digit = np.divmod(left, 10)
        text[:, place] = digit + ord("0")
    offsets = np.arange(len(users) + 1, dtype=np.int32) * text.shape[1]
    return pa.StringArray.from_buffers(len(users), pa.py_buffer(offsets), pa.py_buffer(text))


class _Tables:
    """The contents of a file, a block or a bucket at a time."""

    def __init__(self, world: World, file: File, told: Callable[[float], None]) -> None:
        self._world, self._file, self._told = world, file, told
        self._random = Generator(SFC64(SeedSequence((world.seed, 1 << 22))))
        self._values = _Values(world)

    def tables(self) -> Iterator[pa.Table]:
        """Row groups of Parquet."""
        match self._file.form:
            case "long":
                return (self._long(held) for held in self._held())
            case "wide":
                return self._wide()
            case "users":
                return self._users()
            case _:
                return self._events()

    def lines(self) -> Iterator[memoryview]:
        """Lines of CSV, many at a time."""
        for held in self._held():
            for start in range(0, len(held), BUCKET_ROWS):
                part = held[start : start + BUCKET_ROWS]
                rest = self._values.line_ends.take(pa.array(self._values.cells(part)))
                joined = pc.binary_join_element_wise(self._user(part["user"]), rest, "")
                first, end = np.frombuffer(joined.buffers()[1], np.int32)[[joined.offset, joined.offset + len(joined)]]
                yield memoryview(joined.buffers()[2])[first:end]

    def _user(self, users: NDArray[np.uint32]) -> pa.Array:
        return names_of(users) if self._file.names else pa.array(users)

    # ------------------------------------------------------------ long

    def _held(self) -> Iterator[NDArray[np.void]]:
        """Who has what, block by block in order, or bucket by bucket in none."""
        blocks = (self._of_block(block) for block in range(self._world.blocks))
        if not self._file.shuffled:
            yield from blocks
            return
        buckets = max(1, round(self._world.users * self._world.tag_count * 0.13 / BUCKET_ROWS))
        with tempfile.TemporaryDirectory(dir=directory(), prefix="shuffling-") as name:
            files = [(Path(name) / str(bucket)).open("w+b") for bucket in range(buckets)]
            for held in blocks:
                self._scatter(held, files)
            for done, file in enumerate(files):
                file.seek(0)
                bucket = np.fromfile(file, HELD)
                file.close()
                Path(file.name).unlink()
                yield bucket[self._random.permutation(len(bucket))]
                self._told(0.5 + (done + 1) / len(files) / 2)

    def _scatter(self, held: NDArray[np.void], files: Sequence[BinaryIO]) -> None:
        """Each row into a bucket at random."""
        bucket = self._random.integers(0, len(files), len(held), np.uint16)
        order = np.argsort(bucket, kind="stable")
        ends = np.cumsum(np.bincount(bucket, minlength=len(files)))
        for file, part in zip(files, np.split(held[order], ends[:-1]), strict=True):
            part.tofile(file)

    def _of_block(self, block: int) -> NDArray[np.void]:
        rows = self._world.rows(block)
        held = np.empty(len(rows.places), HELD)
        held["user"] = rows.places
        held["user"] += np.uint32(block * BLOCK)
        held["code"] = rows.codes
        self._told((block + 1) / self._world.blocks / (2 if self._file.shuffled else 1))
        return held

    def _long(self, held: NDArray[np.void]) -> pa.Table:
        code = held["code"]
        measured = np.flatnonzero(self._values.is_measured[code])
        cells = np.full(len(held), -1, np.int64)
        cells[measured] = self._values.cells(held[measured])
        return pa.table(
            {
                "user": self._user(held["user"]),
                "tag": _dictionary(self._values.tag_of[code], self._values.tags),
                "value": _dictionary(self._values.value_of[code], self._values.values),
                "number": _taken(self._values.numbers, cells, measured),
                "date": _taken(self._values.dates, cells, measured),
            }
        )

    # ------------------------------------------------------------ wide

    def _wide(self) -> Iterator[pa.Table]:
        blocks = list(range(self._world.blocks))
        if not self._file.shuffled:
            yield from map(self._wide_block, blocks)
            return
        self._random.shuffle(blocks)
        for start in range(0, len(blocks), WIDE_GROUP):
            mixed = pa.concat_tables([self._wide_block(block) for block in blocks[start : start + WIDE_GROUP]])
            mixed = mixed.take(self._random.permutation(len(mixed)))
            for first in range(0, len(mixed), BLOCK):
                yield mixed.slice(first, BLOCK)

    def _wide_block(self, block: int) -> pa.Table:
        users = self._ids(block)
        columns = {"user": self._user(users)}
        for shape in self._world.stored:
            columns[shape.key] = self._column(shape, self._world.of_tag(shape, block), users)
        self._told((block + 1) / self._world.blocks)
        return pa.table(columns)

    def _column(self, shape: Shape, rows: Rows, users: NDArray[np.uint32]) -> pa.Array:
        if shape.kind == "CHOICES":
            offsets = np.zeros(len(users) + 1, np.int32)
            np.cumsum(np.bincount(rows.places, minlength=len(users)), out=offsets[1:])
            labels = pa.DictionaryArray.from_arrays(
                pa.array((rows.codes - shape.first).astype(np.int16)), pa.array(shape.values)
            )
            return pa.ListArray.from_arrays(pa.array(offsets), labels)
        index = np.full(len(users), -1, np.int16)
        index[rows.places] = rows.codes - shape.first
        absent = index < 0
        if shape.kind == "CHOICE":
            return pa.DictionaryArray.from_arrays(pa.array(index, mask=absent), pa.array(shape.values))
        if shape.kind == "FLAG":
            return pa.array(~absent, mask=absent)
        cells = self._values.first_cell[shape.first] + self._world.levels(shape, users)
        column = self._values.numbers if shape.kind == "NUMBER" else self._values.dates
        return column.take(pa.array(cells, mask=absent))

    # ------------------------------------------------------------ others

    def _ids(self, block: int) -> NDArray[np.uint32]:
        return np.arange(self._world.length(block), dtype=np.uint32) + np.uint32(block * BLOCK)

    def _users(self) -> Iterator[pa.Table]:
        """Who there is, without any tag."""
        for block in range(self._world.blocks):
            yield pa.table({"user": self._user(self._ids(block))})
            self._told((block + 1) / self._world.blocks)

    def _events(self) -> Iterator[pa.Table]:
        for block in range(self._world.blocks):
            for shape in self._world.shapes:
                if shape.kind == "EVENT":
                    rows, days = self._world.events(shape, block)
                    yield pa.table(
                        {
                            "user": self._user(rows.places + np.uint32(block * BLOCK)),
                            "tag": _dictionary(np.zeros(len(days), np.int16), [shape.key]),
                            "value": _dictionary((rows.codes - shape.first).astype(np.int16), list(shape.values)),
                            "at": pa.array(days.astype(np.int32), pa.date32()),
                        }
                    )
            self._told((block + 1) / self._world.blocks)


class _Values:
    """What the cells of a membership are, by the number of its value.

    A cell is a row of `numbers`, `dates` and `line_ends`: one for each value, LEVELS for a NUMBER or DATE.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.tags = [shape.key for shape in world.stored]
        self.values = [f"value-{n}" for n in range(max((len(shape.values) for shape in world.stored), default=0))]
        self.tag_of = np.zeros(world.codes, np.int16)
        self.value_of = np.full(world.codes, -1, np.int16)
        self.first_cell = np.zeros(world.codes, np.int64)
        self.is_measured = np.zeros(world.codes, bool)
        self.is_measured[[shape.first for shape in world.measured]] = True
        cells = 0
        for place, shape in enumerate(world.stored):
            for value, code in enumerate(shape.codes):
                self.tag_of[code] = place
                self.value_of[code] = value if shape.values else -1
                self.first_cell[code] = cells
                cells += LEVELS if shape in world.measured else 1

    @cached_property
    def numbers(self) -> pa.Array:
        """The number of each cell, null where it is none."""
        units = np.zeros((self._cells, 2), np.int64)
        absent = np.ones(self._cells, bool)
        for shape, at in self._measured("NUMBER"):
            units[at, 0] = self._world.units(shape) * 10 ** (DECIMALS - shape.scale)
            absent[at] = False
        units[:, 1] = units[:, 0] >> 63  # 128 bits, the upper half being the sign
        valid = pa.py_buffer(np.packbits(~absent, bitorder="little"))
        return pa.Array.from_buffers(NUMBER_TYPE, self._cells, [valid, pa.py_buffer(units)])

    @cached_property
    def dates(self) -> pa.Array:
        """The day of each cell, null where it is none."""
        days = np.zeros(self._cells, np.int32)
        absent = np.ones(self._cells, bool)
        for shape, at in self._measured("DATE"):
            days[at], absent[at] = self._world.units(shape), False
        return pa.array(days, mask=absent).cast(pa.date32())

    @cached_property
    def line_ends(self) -> pa.Array:
        """What stands behind the user on a line of CSV, for each cell."""
        found: list[str] = []
        for shape in self._world.stored:
            at = slice(len(found), len(found) + LEVELS)
            match shape.kind:
                case "NUMBER":
                    found += [f",{shape.key},,{number},\n" for number in self.numbers[at].to_pylist()]
                case "DATE":
                    found += [f",{shape.key},,,{day}\n" for day in self.dates[at].to_pylist()]
                case "FLAG":
                    found.append(f",{shape.key},,,\n")
                case _:
                    found += [f",{shape.key},{value},,\n" for value in shape.values]
        return pa.array(found)

    def cells(self, held: NDArray[np.void]) -> NDArray[np.int64]:
        """The cell of each membership."""
        found: NDArray[np.int64] = self.first_cell[held["code"]]
        for shape in self._world.measured:
            at = np.flatnonzero(held["code"] == shape.first)
            found[at] += self._world.levels(shape, held["user"][at])
        return found

    @property
    def _cells(self) -> int:
        measured = len(self._world.measured)
        return sum(len(shape.codes) for shape in self._world.stored) + measured * (LEVELS - 1)

    def _measured(self, kind: str) -> Iterator[tuple[Shape, slice]]:
        for shape in self._world.measured:
            if shape.kind == kind:
                first = int(self.first_cell[shape.first])
                yield shape, slice(first, first + LEVELS)


def _taken(column: pa.Array, cells: NDArray[np.int64], some: NDArray[np.int64]) -> pa.Array:
    """The entries of a column at `cells` where `some` have one; null for all the others, which cost next to nothing."""
    width = column.type.bit_width // 8
    data = np.zeros(len(cells), f"V{width}")
    data[some] = np.frombuffer(column.buffers()[1], f"V{width}")[cells[some]]
    valid = np.zeros(len(cells), bool)
    valid[some] = np.asarray(column.is_valid())[cells[some]]
    buffers = [pa.py_buffer(np.packbits(valid, bitorder="little")), pa.py_buffer(data)]
    return pa.Array.from_buffers(column.type, len(cells), buffers)


def _dictionary(index: NDArray[np.int16], words: list[str]) -> pa.DictionaryArray:
    """A column of words by their places; -1 is null."""
    indexes = pa.array(index, mask=index < 0) if (index < 0).any() else pa.array(index)
    return pa.DictionaryArray.from_arrays(indexes, pa.array(words))
