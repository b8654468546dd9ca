"""Exports: exact bytes, and what is written reads back as what it was."""

import csv
import datetime as dt
import io
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmap_store.files import PROFILES, Format, write, writers
from tests.files_given import read, rejected, rows

SCHEMA = pa.schema(
    {
        "user": pa.string(),
        "city": pa.dictionary(pa.int32(), pa.string()),
        "spend": pa.decimal128(18, 2),
        "born": pa.date32(),
        "seen": pa.timestamp("us", "UTC"),
        "vip": pa.bool_(),
        "visits": pa.int64(),
        "likes": pa.list_(pa.string()),
    }
)
ROWS: list[dict[str, Any]] = [
    {
        "user": "u1",
        "city": "Paris, France",
        "spend": Decimal("12.50"),
        "born": dt.date(2024, 5, 1),
        "seen": dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC),
        "vip": True,
        "visits": 2**53 + 1,
        "likes": ["tea", 'a "b"'],
    },
    dict.fromkeys(SCHEMA.names) | {"user": "上海"},
]


def batches() -> Iterator[pa.RecordBatch]:
    for row in ROWS:
        yield pa.RecordBatch.from_pylist([row], SCHEMA)


def written(format: Format) -> bytes:
    return b"".join(write(format, SCHEMA, batches()))


def test_csv() -> None:
    assert written("csv").decode() == (
        "user,city,spend,born,seen,vip,visits,likes\n"
        'u1,"Paris, France",12.50,2024-05-01,2024-05-01T12:00:00Z,true,9007199254740993,"[""tea"",""a \\""b\\""""]"\n'
        "上海,,,,,,,\n"
    )


def test_ndjson() -> None:
    assert written("ndjson").decode() == (
        '{"user":"u1","city":"Paris, France","spend":12.50,"born":"2024-05-01","seen":"2024-05-01T12:00:00Z",'
        '"vip":true,"visits":9007199254740993,"likes":["tea","a \\"b\\""]}\n'
        '{"user":"上海","city":null,"spend":null,"born":null,"seen":null,"vip":null,"visits":null,"likes":null}\n'
    )


def test_parquet_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pq.read_table(io.BytesIO(written("parquet")))
    assert table.to_pylist() == ROWS
    monkeypatch.setattr(writers, "_GROUP_ROWS", 1)
    pieces = list(write("parquet", SCHEMA, batches()))
    assert len(pieces) == 3, "a group each, and the footer"
    assert pq.ParquetFile(io.BytesIO(b"".join(pieces))).num_row_groups == 2


@pytest.mark.parametrize("format", ["csv", "ndjson", "parquet"])
def test_nothing_to_write_is_still_a_file(format: Format) -> None:
    data = b"".join(write(format, SCHEMA, []))
    if format == "parquet":
        assert pq.read_table(io.BytesIO(data)).schema.names == SCHEMA.names
    else:
        assert data == (b"user,city,spend,born,seen,vip,visits,likes\n" if format == "csv" else b"")


def test_pieces_come_while_rows_are_read() -> None:
    read_so_far = []

    def one_by_one() -> Iterator[pa.RecordBatch]:
        for batch in batches():
            read_so_far.append(batch)
            yield batch

    pieces = write("csv", SCHEMA, one_by_one())
    assert (next(pieces)[:5], len(read_so_far)) == (b"user,", 0)
    assert (next(pieces)[:3], len(read_so_far)) == (b"u1,", 1)


def test_an_odd_header_is_quoted() -> None:
    schema = pa.schema({'a "b", c': pa.int64()})
    assert b"".join(write("csv", schema, [])) == b'"a ""b"", c"\n'


text = st.one_of(st.text(max_size=6), st.text(alphabet='",\n\r\t\\{} aé', max_size=6), st.none())


@given(st.lists(st.tuples(text, text), max_size=20), st.sampled_from([1, 2]))
def test_ndjson_and_csv_read_back(cells: list[tuple[str | None, str | None]], width: int) -> None:
    names = ["user", "x"][:width]
    schema = pa.schema([(name, pa.string()) for name in names])
    batch = pa.RecordBatch.from_pylist([dict(zip(names, row, strict=False)) for row in cells], schema)
    lines = b"".join(write("ndjson", schema, [batch])).splitlines() if cells else []
    assert [orjson.loads(line) for line in lines] == batch.to_pylist()
    data = b"".join(write("csv", schema, [batch])).decode()
    expected = [[cell or "" for cell in row[:width]] for row in cells]
    assert list(_records(data))[1:] == expected


def _records(data: str) -> Iterator[list[str]]:
    yield from csv.reader(io.StringIO(data, newline=""))


def test_a_single_column_has_no_blank_lines(tmp_path: Path) -> None:
    schema = pa.schema({"user": pa.string()})
    batch = pa.RecordBatch.from_pylist([{"user": "a"}, {"user": None}, {"user": "b,c"}], schema)
    blocks = read(tmp_path / "given", b"".join(write("csv", schema, [batch])), "csv", PROFILES)
    assert rejected(blocks) == []
    assert rows(blocks) == [(2, {"user": "a"}), (3, {}), (4, {"user": "b,c"})]
