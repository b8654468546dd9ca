"""CSV: every physical line is one record, so that a stray quote can spoil its own line and no other.

Lines that follow RFC 4180 are recognised by numpy and go through pyarrow in one piece; a line with a
quote where the RFC has none goes through Python's csv by itself; what is left is rejected by line.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from bitmap_store.errors import Invalid
from bitmap_store.files.blocks import Block, Faults, Ints, Shape, shown
from bitmap_store.files.lines import BOM, CR, LINE_BYTES_MAX, Lines, runs_of_lines

_COMMA, _QUOTE, _NUL = b',"\0'


def read_csv(path: Path, shape: Shape, block_bytes: int) -> Iterator[Block]:
    """The rows below the header, block by block; an empty cell is null. Raises first when the header does not fit."""
    columns: tuple[str, ...] | None = None
    for lines in runs_of_lines(path, block_bytes):
        if columns is None:
            columns = _header(lines, shape)
            lines = lines.after_first()
        yield _block(lines, columns)
    if columns is None:
        raise Invalid("the file is empty: a CSV file begins with a line that names its columns")


def _header(lines: Lines, shape: Shape) -> tuple[str, ...]:
    line = lines.bytes_of(0)
    if not line or len(line) > LINE_BYTES_MAX:
        raise Invalid("line 1 is to name the columns and is " + ("too long" if line else "empty"))
    try:
        columns = _fields(line.decode())
    except (UnicodeDecodeError, csv.Error) as error:
        raise Invalid(f"line 1 is to name the columns and cannot be read: {error}") from error
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t|"):
        raise Invalid(f"the header names one column, {shown(columns[0])}: columns are separated by commas")
    return tuple(shape.read_header(columns))


def _block(lines: Lines, columns: tuple[str, ...]) -> Block:
    width = len(columns)
    faults = Faults(lines.first + np.arange(len(lines)))
    filled = lines.ends > lines.starts
    for found, what in (
        (np.flatnonzero(lines.ends - lines.starts > LINE_BYTES_MAX), "the line is longer than 1 MiB"),
        (lines.not_unicode(), "the line is not valid UTF-8"),
        (lines.holding(_NUL), "the line holds a NUL character"),
        (lines.holding(CR), "the line holds a carriage return; one record is one line"),
    ):
        faults.add(found, Invalid(what))

    layout = _layout(lines)
    for row in np.flatnonzero(filled & layout.plain & (layout.fields != width) & ~faults.bad).tolist():
        faults.add(np.array([row]), _miscounted(width, int(layout.fields[row])))
    odd, records = _read_singly(lines, np.flatnonzero(filled & ~layout.plain & ~faults.bad), width, faults)
    plain = filled & layout.plain & ~faults.bad

    rows = np.flatnonzero(plain)
    arrays = _read_together(lines, plain, width, quoted=layout.quoted)
    if len(odd):
        order = pa.array(np.argsort(np.concatenate((rows, odd)), kind="stable"))
        rows = np.sort(np.concatenate((rows, odd)))
        singles = [pa.array([record[i] or None for record in records], pa.string()) for i in range(width)]
        arrays = [pa.concat_arrays(pair).take(order) for pair in zip(arrays, singles, strict=True)]
    return Block(lines.first + rows, dict(zip(columns, arrays, strict=True)), faults.rejections(), lines.bytes_done)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the lines are divided: whether each follows RFC 4180, and into how many fields it then falls."""

    plain: NDArray[np.bool_]
    fields: Ints
    quoted: bool


def _layout(lines: Lines) -> _Layout:
    """Counts quotes and commas: within a line every second quote closes, and commas after an odd one are text."""
    buffer = lines.buffer
    commas = np.flatnonzero(buffer == _COMMA)
    plain = np.ones(len(lines), np.bool_)
    if quoted := lines.data.find(_QUOTE) >= 0:
        quotes = np.flatnonzero(buffer == _QUOTE)
        line = np.searchsorted(lines.starts, quotes, "right") - 1
        before = np.searchsorted(quotes, lines.starts)
        opens = (np.arange(len(quotes)) - before[line]) % 2 == 0
        previous = buffer[quotes - 1]
        following = buffer[np.minimum(quotes + 1, len(buffer) - 1)]
        in_place = np.where(
            opens,
            (quotes == lines.starts[line]) | (previous == _COMMA) | (previous == _QUOTE),
            (quotes + 1 == lines.ends[line]) | (following == _COMMA) | (following == _QUOTE),
        )
        plain[line[~in_place]] = False
        plain[np.diff(np.append(before, len(quotes))) % 2 == 1] = False
        comma_line = np.searchsorted(lines.starts, commas, "right") - 1
        commas = commas[(np.searchsorted(quotes, commas) - before[comma_line]) % 2 == 0]
    fields = np.diff(np.append(np.searchsorted(commas, lines.starts), len(commas))) + 1
    return _Layout(plain, fields, quoted)


def _read_together(lines: Lines, chosen: NDArray[np.bool_], width: int, *, quoted: bool) -> list[pa.StringArray]:
    if not chosen.any():
        return [pa.array([], pa.string())] * width
    data: pa.Buffer = pa.py_buffer(lines.data)
    if not chosen.all():
        lengths = np.diff(np.append(lines.starts, len(lines.data)))
        data = pa.py_buffer(lines.buffer[np.repeat(chosen, lengths)])
    if data[: len(BOM)].to_pybytes() == BOM:
        data = pa.py_buffer(BOM + data.to_pybytes())  # pyarrow drops one; here it is text, the file's own is gone
    names = [str(i) for i in range(width)]
    table = pyarrow.csv.read_csv(
        pa.BufferReader(data),
        pyarrow.csv.ReadOptions(use_threads=False, block_size=data.size + 1, column_names=names),
        pyarrow.csv.ParseOptions(quote_char='"' if quoted else False, ignore_empty_lines=False),
        pyarrow.csv.ConvertOptions(
            check_utf8=False,
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
        ),
    )
    return [_whole(column) for column in table.columns]


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _read_singly(lines: Lines, chosen: Ints, width: int, faults: Faults) -> tuple[Ints, list[list[str]]]:
    """The lines among the chosen that Python's csv can make `width` fields of; the others become faults."""
    rows, records = [], []
    for row in chosen.tolist():
        try:
            record = _fields(lines.bytes_of(row).decode())
        except csv.Error as error:
            faults.add(np.array([row]), Invalid(_WHAT_CSV_MEANS.get(str(error), f"the line is not CSV: {error}")))
            continue
        if len(record) == width:
            rows.append(row)
            records.append(record)
        else:
            faults.add(np.array([row]), _miscounted(width, len(record)))
    return np.array(rows, np.int64), records


def _fields(line: str) -> list[str]:
    return next(csv.reader([line], strict=True))


_WHAT_CSV_MEANS = {
    "unexpected end of data": "a quote is not closed on its line",
    "',' expected after '\"'": "a closing quote is followed by something other than a comma",
}


def _miscounted(width: int, found: int) -> Invalid:
    few = "few" if found < width else "many"
    return Invalid(f"too {few} columns: the header names {width}, the line has {found}")
