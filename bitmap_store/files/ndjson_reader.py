"""NDJSON: one JSON object a line, with numbers kept as the text that stood there.

orjson reads every line; one in which it met a fraction, or something nested, is read again by the
decoder of the standard library, which hands over the text of a number instead of a float.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from bitmap_store.errors import Invalid, TagroarError
from bitmap_store.files.blocks import Block, Faults, Form, Ints, Shape, shown
from bitmap_store.files.lines import LINE_BYTES_MAX, runs_of_lines

CELLS_MAX = 400_000
"""Rows times columns of one block: lines that each name other columns must not multiply to more than memory."""

Record = dict[str, Any]


class _Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


_EXACT = json.JSONDecoder(parse_float=_Number, parse_int=_Number)
_INEXACT = frozenset((float, dict, list))
_TEXT = frozenset((str, _Number, type(None)))


def read_ndjson(path: Path, shape: Shape, block_bytes: int) -> Iterator[Block]:
    """The objects of the file, block by block; columns are the keys that the objects of a block name."""
    for lines in runs_of_lines(path, block_bytes):
        numbers = lines.first + np.arange(len(lines))
        faults = Faults(numbers)
        faults.add(np.flatnonzero(lines.ends - lines.starts > LINE_BYTES_MAX), Invalid("the line is longer than 1 MiB"))
        faults.add(lines.not_unicode(), Invalid("the line is not valid UTF-8"))
        rows = np.flatnonzero((lines.ends > lines.starts) & ~faults.bad)
        pending = ((row, lines.bytes_of(row)) for row in rows.tolist())
        while not (draft := _Draft(shape, faults)).read(pending):
            yield draft.block(numbers, lines.bytes_done)
            faults = Faults(numbers)
        yield draft.block(numbers, lines.bytes_done)


class _Draft:
    """A block in the making: the objects read so far, and what is wrong with the others."""

    def __init__(self, shape: Shape, faults: Faults) -> None:
        self._faults = faults
        self._shape = shape
        self._columns = {column: shape.form(column) for column in shape.required}
        self._known = dict(self._columns)
        self._rows: list[int] = []
        self._records: list[Record] = []

    def read(self, pending: Iterator[tuple[int, bytes]]) -> bool:
        """Takes lines until there are no more, or until the block is full: then False."""
        for row, line in pending:
            try:
                record = _record_of(line)
                if not record.keys() <= self._known.keys():
                    record = self._admitted(record)
            except TagroarError as error:
                self._fault(row, error)
                continue
            self._rows.append(row)
            self._records.append(record)
            if len(self._rows) * len(self._columns) >= CELLS_MAX:
                return False
        return True

    def _admitted(self, record: Record) -> Record:
        """The object with its keys in NFC; raises when the shape has no such column."""
        forms = self._shape.read_names(record)
        self._known.update(forms)
        self._columns.update((column, form) for column, form in forms.items() if form is not Form.JSON)
        return dict(zip(forms, record.values(), strict=True))

    def block(self, numbers: Ints, bytes_done: int) -> Block:
        """What was read, as columns; `numbers` are those of the lines."""
        rows = np.array(self._rows, np.int64)
        columns = {column: self._column(column, form) for column, form in self._columns.items()}
        rest = None if self._shape.rest is not Form.JSON else pa.array(map(self._rest, self._records), pa.string())
        good = ~self._faults.bad[rows]
        if not good.all():
            columns = {column: array.filter(pa.array(good)) for column, array in columns.items()}
            rest = None if rest is None else rest.filter(pa.array(good))
        return Block(numbers[rows[good]], columns, self._faults.rejections(), bytes_done, rest)

    def _column(self, column: str, form: Form) -> pa.Array:
        """Strings, or lists of strings where any object gave a list."""
        cells = [record.get(column) for record in self._records]
        kinds = set(map(type, cells))
        listed = form is Form.LIST and list in kinds
        if not kinds <= _TEXT:
            for place, cell in enumerate(cells):
                try:
                    cells[place] = _texts(cell) if listed else _text(cell)
                except Invalid as error:
                    cells[place] = None
                    self._fault(self._rows[place], Invalid(f"column {column!r}: {error.message}"))
        return pa.array(cells, pa.list_(pa.string()) if listed else pa.string())

    def _rest(self, record: Record) -> str:
        rest = {key: cell for key, cell in record.items() if key not in self._columns}
        return orjson.dumps(rest, default=_as_written, option=orjson.OPT_PASSTHROUGH_SUBCLASS).decode()

    def _fault(self, row: int, error: TagroarError) -> None:
        self._faults.merge(np.array([row]), {0: error})


def _record_of(line: bytes) -> Record:
    try:
        record: Record = orjson.loads(line)
        if type(record) is not dict:
            raise Invalid(f"a line is to hold one JSON object, not {_kind_of(record)}")
        if not _INEXACT.isdisjoint(map(type, record.values())):
            record = _EXACT.decode(line.decode())
    except orjson.JSONDecodeError as error:
        raise Invalid(f"the line is not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise Invalid("the line is nested too deep") from error
    return record


def _text(cell: object) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int):
        return str(cell)
    raise Invalid(f"{_kind_of(cell)} cannot stand here")


def _texts(cell: object) -> list[str | None] | None:
    if cell is None:
        return None
    return [_text(one) for one in cell] if isinstance(cell, list) else [_text(cell)]


def _as_written(number: str) -> orjson.Fragment:
    return orjson.Fragment(str(number))


def _kind_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return shown(str(value))
