"""Answers as files: CSV, NDJSON and Parquet, written batch by batch while they are read.

CSV is quoted by RFC 4180 and protects against nothing else: what a spreadsheet takes for a formula stays one.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bitmap_store.files.reader import Format
from bitmap_store.files.texts import csv_text, json_objects, json_text

_GROUP_ROWS = 1 << 20


def write(format: Format, columns: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """The bytes of a file, a piece a batch; for Parquet, whose row groups are of 1,048,576 rows, a piece a group.

    CSV has a header and LF; null is empty, a list its JSON. NDJSON has one object a line; null is null. Decimals are
    exact in all three, moments RFC 3339 in UTC where the format has no type for them.
    """
    return _WRITERS[format](columns, batches)


def _csv(columns: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    header = csv_text(pa.array(columns.names, pa.string())).to_pylist()
    yield f"{','.join(header)}\n".encode()
    for batch in batches:
        fields = [csv_text(column) for column in batch.columns]
        if len(fields) == 1:
            fields = [pc.if_else(pc.equal(fields[0], ""), '""', fields[0])]  # a blank line would be no row
        yield _joined_lines(fields)


def _ndjson(columns: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    for batch in batches:
        cells = {name: json_text(column) for name, column in zip(columns.names, batch.columns, strict=True)}
        yield _joined_lines([json_objects(cells, batch.num_rows)])


def _joined_lines(fields: list[pa.StringArray]) -> bytes:
    """The rows, with commas between fields and a line feed behind; Arrow has them in one piece already."""
    last = pc.binary_join_element_wise(fields[-1], "", "\n")
    lines = pc.binary_join_element_wise(*fields[:-1], last, ",")
    return b"" if not len(lines) else lines.buffers()[2].to_pybytes()


def _parquet(columns: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    sink = _Sink()
    group: list[pa.RecordBatch] = []
    with pq.ParquetWriter(sink, columns) as writer:
        for batch in batches:
            group.append(batch)
            if sum(part.num_rows for part in group) >= _GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(group, columns))
                group = []
                yield sink.drained()
        if group:
            writer.write_table(pa.Table.from_batches(group, columns))
    yield sink.drained()


class _Sink(io.RawIOBase):
    """Takes what is written until it is drained; knows its place, and cannot go back."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._place = 0

    def writable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The bytes written so far, drained ones included."""
        return self._place

    def write(self, piece: Any) -> int:
        """Takes a piece."""
        self._pieces.append(bytes(piece))
        self._place += len(self._pieces[-1])
        return len(self._pieces[-1])

    def drained(self) -> bytes:
        """What was written since this was asked last."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


_WRITERS: dict[Format, Callable[[pa.Schema, Iterable[pa.RecordBatch]], Iterator[bytes]]] = {
    "csv": _csv,
    "ndjson": _ndjson,
    "parquet": _parquet,
}
