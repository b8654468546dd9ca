"""Parquet as blocks: every type that can be meant, and a clear refusal of those that cannot."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bitmap_store.errors import Invalid
from bitmap_store.files import MEMBERSHIPS, PROFILES, Shape, Target, read_blocks, shape_of
from bitmap_store.values import TagKind
from tests.files_given import BLOCK, read, rows

TABLE = shape_of({"x": Target("x", TagKind.CHOICES)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "given.parquet"


def test_rows_count_from_one_and_come_in_batches(path: Path) -> None:
    count = 5000
    table = pa.table({"user": [f"user-{i}" for i in range(count)], "tag": [f"tag-{i % 7}" for i in range(count)]})
    pq.write_table(table, path, row_group_size=2000)
    blocks = list(read_blocks(path, "parquet", MEMBERSHIPS, block_bytes=5000))
    assert len(blocks) > 5
    assert [line for line, _ in rows(blocks)] == list(range(1, count + 1))
    assert [row for _, row in rows(blocks)] == table.to_pylist()
    assert [block.bytes_done for block in blocks] == sorted(block.bytes_done for block in blocks)
    assert blocks[-1].bytes_done == path.stat().st_size


def test_repetitive_strings_stay_codes(path: Path) -> None:
    table = pa.table({"user": [f"user-{i * 7919 % 20_000}" for i in range(20_000)], "tag": ["a", "b"] * 10_000})
    [block] = read(path, table, "parquet", MEMBERSHIPS)
    assert pa.types.is_string(block.columns["user"].type)
    assert pa.types.is_dictionary(block.columns["tag"].type)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None]),
        pa.array(["a", None], pa.large_string()),
        pa.array(["a", None], pa.string_view()),
        pa.array(["a", None]).dictionary_encode(),
        pa.array([1, None], pa.int8()),
        pa.array([2**64 - 1, None], pa.uint64()),
        pa.array([1, 2]).dictionary_encode(),
        pa.array([1.5, None], pa.float32()),
        pa.array([1.5, None]),
        pa.array([True, None]),
        pa.array([Decimal("1.50"), None]),
        pa.array([dt.date(2024, 5, 1), None]),
        pa.array([dt.datetime(2024, 5, 1, 12), None], pa.timestamp("ns")),
        pa.array([dt.datetime(2024, 5, 1, 12), None], pa.timestamp("ms", "Asia/Shanghai")),
        pa.nulls(2),
        pa.array([["a", "b"], None]),
        pa.array([[1, 2], None], pa.large_list(pa.int32())),
    ],
    ids=lambda column: str(column.type),
)
def test_types_of_a_table(path: Path, column: pa.Array) -> None:
    [block] = read(path, pa.table({"user": ["u1", "u2"], "x": column}), "parquet", TABLE)
    assert block.columns["x"].to_pylist() == column.to_pylist()


@pytest.mark.parametrize(
    ("shape", "name", "column"),
    [
        (TABLE, "x", pa.array([b"a"])),
        (TABLE, "x", pa.array([dt.time(12)])),
        (TABLE, "x", pa.array([dt.timedelta(days=1)])),
        (TABLE, "x", pa.array([{"a": 1}])),
        (TABLE, "x", pa.array([[["a"]]])),
        (PROFILES, "x", pa.array([b"a"])),
        (PROFILES, "x", pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))),
        (PROFILES, "id:email", pa.array([1.5])),
        (MEMBERSHIPS, "value", pa.array([1.5])),
        (MEMBERSHIPS, "number", pa.array([[1]])),
        (MEMBERSHIPS, "user", pa.array([1.5])),
    ],
    ids=str,
)
def test_other_types_are_refused_by_column(path: Path, shape: Shape, name: str, column: pa.Array) -> None:
    columns = {"user": pa.array(["u1"]), "tag": pa.array(["t"])} if shape is MEMBERSHIPS else {"user": pa.array(["u1"])}
    table = pa.table(columns | {name: column})
    with pytest.raises(Invalid) as caught:
        read(path, table, "parquet", shape)
    kind = pq.read_schema(path).field(name).type
    assert caught.value.message == f"column {name!r} has the type {kind}, which is not taken here"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["user", "value"], "a file of memberships needs a column 'tag'"),
        (["user", "tag", "vaule"], "there is no column 'vaule'; did you mean 'value'?"),
        (["user", "tag", "tag"], "the column 'tag' is named twice"),
        (["user", "tag", ""], "column 3 has no name"),
    ],
)
def test_a_wrong_header_fails_the_file(path: Path, columns: list[str], message: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(path, pa.Table.from_arrays([pa.array(["x"])] * len(columns), columns), "parquet", MEMBERSHIPS)
    assert caught.value.message == message


@pytest.mark.parametrize("size", [0, 3, 100, -20, -1])
def test_a_damaged_file_is_invalid(path: Path, size: int) -> None:
    pq.write_table(pa.table({"user": ["u1"] * 1000, "tag": ["t"] * 1000}), path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(Invalid, match="not a Parquet file, or a damaged one"):
        list(read_blocks(path, "parquet", MEMBERSHIPS))


def test_a_flipped_bit_in_a_page_with_a_checksum_is_invalid(path: Path) -> None:
    table = pa.table({"user": [f"user-{i}" for i in range(1000)], "tag": ["t"] * 1000})
    pq.write_table(table, path, write_page_checksum=True, compression="none")
    data = bytearray(path.read_bytes())
    data[data.find(b"user-500")] ^= 1
    path.write_bytes(data)
    with pytest.raises(Invalid, match="not a Parquet file, or a damaged one"):
        list(read_blocks(path, "parquet", MEMBERSHIPS))


def test_an_empty_table_has_no_rows(path: Path) -> None:
    assert rows(read(path, pa.table({"user": pa.array([], pa.string()), "tag": pa.array([], pa.string())}), "parquet",
                     MEMBERSHIPS, BLOCK)) == []  # fmt: skip
