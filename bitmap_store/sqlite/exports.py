"""Users with columns of theirs, as Arrow batches: what an export writes, at one reading however long it takes."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.bitmaps import bitmap_of
from bitmap_store.catalog import ValueTable
from bitmap_store.plan import Plan, Reading
from bitmap_store.rows import Rows
from bitmap_store.sqlite.names import Names
from bitmap_store.values import DatePrecision, Identifier, Tag, TagKind

BLOCK = 1 << 17


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """One column: the user id, an identifier of a kind, an attribute, or a tag.

    values: of a rule tag, the plan of each value (of a FLAG: one, under the empty name).
    """

    name: str
    identifier: str | None = None
    attribute: str | None = None
    tag: Tag | None = None
    values: tuple[tuple[str, Plan], ...] = ()

    @property
    def type(self) -> pa.DataType:
        """The Arrow type of the column."""
        if self.tag is None:
            return pa.large_string()
        match self.tag.kind:
            case TagKind.FLAG:
                return pa.bool_()
            case TagKind.CHOICE:
                return pa.string()
            case TagKind.CHOICES:
                return pa.list_(pa.string())
            case TagKind.NUMBER:
                return pa.decimal128(19, self.tag.scale)
            case TagKind.DATE:
                day = self.tag.precision is DatePrecision.DAY
                return pa.date32() if day else pa.timestamp("s", "UTC")
            case TagKind.EVENT:
                return pa.uint64()


def schema_of(columns: Sequence[ExportColumn]) -> pa.Schema:
    """The Arrow schema of an export."""
    return pa.schema([pa.field(column.name, column.type) for column in columns])


class Exporter:
    """Makes the columns of blocks of users.

    rows: the living rows of a tag for some users. facts: identifiers and attributes of users.
    members: the users of a plan. values: the values of a tag.
    """

    def __init__(
        self,
        reading: Reading,
        names: Names,
        rows: Callable[[Tag, BitMap], Rows],
        facts: Callable[[list[int]], dict[int, tuple[list[Identifier], dict[str, object]]]],
        members: Callable[[Plan], BitMap],
        values: Callable[[Tag], ValueTable],
    ) -> None:
        self._reading = reading
        self._names = names
        self._rows = rows
        self._facts = facts
        self._members = members
        self._values = values

    def batches(self, users: NDArray[np.uint32], columns: Sequence[ExportColumn]) -> Iterator[pa.RecordBatch]:
        """The users, block by block, each with its columns."""
        schema = schema_of(columns)
        for start in range(0, len(users), BLOCK):
            block = users[start : start + BLOCK]
            yield pa.record_batch([self._column(block, column) for column in columns], schema=schema)

    def _column(self, users: NDArray[np.uint32], column: ExportColumn) -> pa.Array:
        if column.tag is not None and column.tag.is_rule:
            return self._rule(users, column)
        if column.tag is not None:
            return self._tag(users, column.tag, column.type)
        if column.identifier is not None or column.attribute is not None:
            return self._fact(users, column)
        return self._names.names_of(self._reading.entity, users)

    def _fact(self, users: NDArray[np.uint32], column: ExportColumn) -> pa.Array:
        facts = self._facts(users.tolist())
        found: list[str | None] = []
        for user in users.tolist():
            identifiers, attributes = facts.get(user, ([], {}))
            if column.identifier is not None:
                found.append(next((each.value for each in identifiers if each.kind == column.identifier), None))
            else:
                value = attributes.get(str(column.attribute))
                found.append(
                    value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                )
        return pa.array(found, pa.large_string())

    def _tag(self, users: NDArray[np.uint32], tag: Tag, type_: pa.DataType) -> pa.Array:
        rows = self._rows(tag, bitmap_of(users))
        at = np.searchsorted(users, rows["user"])
        if tag.kind is TagKind.CHOICES:
            offsets = np.zeros(len(users) + 1, np.int32)
            np.cumsum(np.bincount(at, minlength=len(users)), out=offsets[1:])
            return pa.ListArray.from_arrays(pa.array(offsets), self._named(tag, rows))
        there = np.zeros(len(users), bool)
        there[at] = True
        if tag.kind is TagKind.FLAG:
            return pa.array(there, mask=~there)
        if tag.kind is TagKind.CHOICE:
            place = np.zeros(len(users), np.int64)
            place[at] = np.arange(len(rows))
            return self._named(tag, rows).take(pa.array(place, mask=~there))
        if tag.kind is TagKind.EVENT:
            sums = np.zeros(len(users), np.uint64)
            np.add.at(sums, at, rows["count"])
            return pa.array(sums, mask=~there)
        units = np.zeros(len(users), np.int64)
        units[at] = rows["units"]
        if tag.kind is TagKind.NUMBER:
            return decimals(units, there, tag.scale)
        storage = pa.int32() if pa.types.is_date32(type_) else pa.int64()
        return pa.array(units, mask=~there).cast(storage).cast(type_)

    def _named(self, tag: Tag, rows: Rows) -> pa.Array:
        table = self._values(tag)
        names = [""] * (max(table.names.values(), default=0) + 1)
        for name, id_ in table.names.items():
            names[id_] = name
        return pa.array(names, pa.string()).take(pa.array(rows["value"]))

    def _rule(self, users: NDArray[np.uint32], column: ExportColumn) -> pa.Array:
        found: list[list[str]] = [[] for _ in users]
        for name, plan in column.values:
            members = self._members(plan)
            for i, user in enumerate(users.tolist()):
                if user in members:
                    found[i].append(name)
        if pa.types.is_boolean(column.type):
            return pa.array([True if names else None for names in found], column.type)
        if pa.types.is_list(column.type):
            return pa.array(found, column.type)
        return pa.array([names[0] if names else None for names in found], column.type)


def decimals(units: NDArray[np.int64], there: NDArray[np.bool_], scale: int) -> pa.Array:
    """Integers of 10^-scale as decimals, without a detour through text: 128-bit words, sign extended."""
    words = np.empty((len(units), 2), np.int64)
    words[:, 0] = units
    words[:, 1] = units >> 63
    validity = pa.py_buffer(np.packbits(there, bitorder="little").tobytes())
    return pa.Array.from_buffers(pa.decimal128(19, scale), len(units), [validity, pa.py_buffer(words.tobytes())])
