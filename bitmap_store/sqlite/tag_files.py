"""The base of one tag as a file that all processes map: each value's set, its columns, the order of its numbers.

A constant stands in the table of values; a column of few distinct values is kept as codes. What a file is of
and when it is made, is in `cache.py`.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.bitmaps import ids_of
from bitmap_store.rows import NAMES, ROW, Column
from bitmap_store.sqlite.base import TagBase, ValueBase
from bitmap_store.sqlite.numbers import BUCKETS, STRIDE, NumberOrder, buckets_of, ordered
from bitmap_store.sqlite.sections import Sections, SectionsWriter, Unusable

CONSTANTS = tuple(name for name in NAMES if name not in ("user", "value"))
ENDING, ENDED = len(NAMES), len(NAMES) + 1
"""Fields of COLUMN beside those of ROW: the expiries that are not never, ascending, and the user of each."""

VALUE = np.dtype(
    [
        ("id", "<i4"),
        ("set_at", "<u8"),
        ("set_size", "<u8"),
        ("members", "<u8"),
        ("rows", "<u8"),
        ("ends_first", "<i8"),
        *((name, ROW[name]) for name in CONSTANTS),  # where a column is not one value, it is in COLUMN
    ]
)
COLUMN = np.dtype(
    [
        ("value", "<u4"),  # the place in the table of values, not the id
        ("field", "u1"),
        ("type", "S3"),  # of the numbers as they are kept, maybe narrower than in ROW
        ("at", "<u8"),
        ("count", "<u8"),
        ("codes_at", "<u8"),
        ("codes_size", "u1"),  # bytes a code; 0: there are none, and the numbers themselves are kept
    ]
)
SET = np.dtype([("at", "<u8"), ("size", "<u8")])


# ---------------------------------------------------------------- writing


def write_tag(path: Path, base: TagBase) -> None:
    """Writes the file of a base."""
    with SectionsWriter(path) as file:
        values = np.zeros(len(base.values), VALUE)
        columns: list[tuple[Any, ...]] = []
        for place, value in enumerate(base.values.values()):
            row = values[place]
            row["id"], row["members"], row["rows"] = value.value, len(value.users), value.length
            row["ends_first"] = value.ends_first
            row["set_at"], row["set_size"] = file.put_set(value.users)
            varying = value.varying()
            constants = value.constants()
            for name in CONSTANTS:
                if name in constants:
                    row[name] = constants[name]
            columns.extend((place, *written) for name in varying for written in _column(file, name, value.column(name)))
            if "expires" in varying:
                moments, users = value.endings()
                columns.append((place, *_raw(file, ENDING, moments)))
                columns.append((place, *_raw(file, ENDED, users)))
        file.name("values", values)
        file.name("columns", np.array(columns, COLUMN))
        _write_numbers(file, base)
        file.finish({"version": base.version, "stamp": base.stamp, "exclusive": base.exclusive or _is_exclusive(base)})


def _column(file: SectionsWriter, name: str, column: Column) -> Iterator[tuple[Any, ...]]:
    field = NAMES.index(name)
    if name not in ("user", "units") and len(column) >= 64:
        bits = np.ascontiguousarray(column).view(f"<u{column.itemsize}")  # NaN equals itself this way
        distinct = np.unique(bits[:: max(1, len(bits) >> 12)])
        if len(distinct) < 1 << 10:
            distinct, codes = np.unique(bits, return_inverse=True)
            for size, most in ((1, 1 << 8), (2, 1 << 16)):
                if len(distinct) <= most:
                    at = file.put(distinct)
                    yield field, ROW[name].str, at, len(distinct), file.put(codes.astype(f"<u{size}")), size
                    return
    yield _raw(file, field, _narrowed(column))


def _raw(file: SectionsWriter, field: int, column: Column) -> tuple[Any, ...]:
    return field, column.dtype.str, file.put(column), len(column), 0, 0


def _narrowed(column: Column) -> Column:
    """Whole numbers in four bytes where they fit."""
    if column.dtype == np.int64 and int(column.min()) >= -(1 << 31) and int(column.max()) < 1 << 31:
        return column.astype(np.int32)
    return column


def _write_numbers(file: SectionsWriter, base: TagBase) -> None:
    """The order by numbers, of a tag that has one number a user and no values."""
    value = base.values.get(0)
    if value is None or len(base.values) > 1 or value.length != len(value.users) or "units" not in value.varying():
        return
    units, users = ordered(_narrowed(value.column("units")), value.ids)
    file.name("units", units)
    file.name("users", users)
    buckets, before, all_before = np.zeros(BUCKETS, SET), np.zeros(BUCKETS // STRIDE, SET), BitMap()
    for number, bucket in enumerate(buckets_of(users)):
        if number and number % STRIDE == 0:
            before[number // STRIDE] = file.put_set(all_before)
        buckets[number] = file.put_set(bucket)
        all_before |= bucket
    file.name("buckets", buckets)
    file.name("before", before)


def _is_exclusive(base: TagBase) -> bool:
    """Whether no user has two of the values, so that sizes may be summed."""
    sets = [value.users for value in base.values.values()]
    return len(sets) < 2 or len(BitMap.union(*sets)) == sum(map(len, sets))


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class _Kept:
    """A column as it lies in the file: numbers, or few numbers and a code a row that says which."""

    numbers: Column
    codes: NDArray[np.unsignedinteger[Any]] | None

    def __getitem__(self, places: Any) -> Column:
        found: Column = self.numbers[places] if self.codes is None else self.numbers[self.codes[places]]
        return found


class MappedValue(ValueBase):
    """The members of one value in a mapped file. Nothing is read before it is asked for."""

    __slots__ = ("_columns", "_file", "_place", "_row", "_set", "_table")

    def __init__(self, file: Sections, row: Any, place: int, table: NDArray[np.void]) -> None:
        super().__init__(int(row["id"]), int(row["ends_first"]))
        self._file = file
        self._row = row
        self._place = place
        self._table = table
        self._set: BitMap | None = None
        self._columns: dict[int, _Kept] | None = None

    @property
    def users(self) -> BitMap:
        """The members; must not be changed."""
        if self._set is None:
            self._set = self._file.set_at(int(self._row["set_at"]), int(self._row["set_size"]))
        return self._set

    @property
    def length(self) -> int:
        """The number of rows."""
        return int(self._row["rows"])

    @property
    def members(self) -> int:
        """The number of members, without a look at the set."""
        return int(self._row["members"])

    def _kept(self) -> dict[int, _Kept]:
        if self._columns is None:
            first, last = np.searchsorted(self._table["value"], [self._place, self._place + 1])
            self._columns = {int(column["field"]): self._read(column) for column in self._table[first:last]}
        return self._columns

    def _read(self, column: Any) -> _Kept:
        numbers = self._file.array(np.dtype(column["type"].decode()), int(column["at"]), int(column["count"]))
        size = int(column["codes_size"])
        if not size:
            return _Kept(numbers, None)
        return _Kept(numbers, self._file.array(np.dtype(f"<u{size}"), int(column["codes_at"]), self.length))

    def varying(self) -> Collection[str]:
        """The columns that are not one value."""
        return [NAMES[field] for field in self._kept() if field < len(NAMES)]

    def column(self, name: str) -> Column:
        """One column, a value a row, in the type of ROW."""
        kept = self._kept().get(NAMES.index(name))
        if kept is not None:
            return kept[:].astype(ROW[name], copy=False)
        if name == "user":
            return ids_of(self.users)
        constant = self.value if name == "value" else self._row[name]
        return np.broadcast_to(np.array([constant], ROW[name]), self.length)

    def part(self, name: str, places: NDArray[np.integer[Any]]) -> Column:
        """One column at some rows."""
        kept = self._kept().get(NAMES.index(name))
        return self.column(name)[places] if kept is None else kept[places].astype(ROW[name], copy=False)

    def endings(self) -> tuple[Column, NDArray[np.uint32]]:
        """The expiries that are not never, ascending, and the user of each."""
        kept = self._kept()
        if ENDING in kept:
            return kept[ENDING].numbers, kept[ENDED].numbers
        return self.column("expires"), self.ids  # the same of all; not never, or nobody would ask


class MappedValues(Mapping[int, ValueBase]):
    """The values of a tag by id, each made when it is first asked for: there may be very many."""

    __slots__ = ("_file", "_made", "_places", "_rows", "_table")

    def __init__(self, file: Sections) -> None:
        self._file = file
        self._rows = file.named("values")
        self._table = file.named("columns")
        self._places = {int(id_): place for place, id_ in enumerate(self._rows["id"].tolist())}
        self._made: dict[int, MappedValue] = {}

    def __getitem__(self, value: int) -> ValueBase:
        found = self._made.get(value)
        if found is None:
            place = self._places[value]
            found = self._made[value] = MappedValue(self._file, self._rows[place], place, self._table)
        return found

    def __contains__(self, value: object) -> bool:
        return value in self._places

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def open_tag(path: Path, stamp: int) -> TagBase:
    """The base in a file. Raises Unusable when there is none, or not of this stamp, or it is damaged."""
    file = Sections(path)
    if file.meta["stamp"] != stamp:
        raise Unusable(f"{path.name} holds something else")
    values = MappedValues(file)
    numbers = None
    if "units" in file:
        buckets, before = file.named("buckets"), file.named("before")
        numbers = NumberOrder(
            file.named("units"),
            file.named("users"),
            values[0].users,
            partial(_set, file, buckets),
            partial(_set, file, before),
        )
    return TagBase(int(file.meta["version"]), values, stamp, numbers, exclusive=bool(file.meta["exclusive"]))


def _set(file: Sections, sets: NDArray[np.void], number: int) -> BitMap:
    return file.set_at(int(sets[number]["at"]), int(sets[number]["size"]))
