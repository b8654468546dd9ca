"""Rows of profiles: identifiers, and attributes as one JSON object a row."""

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bitmap_store.errors import Invalid
from bitmap_store.files import PROFILES, Format, ProfileRows, profiles
from tests.files_given import read, reasons


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "given"


def interpreted(path: Path, data: str | pa.Table, format: Format) -> ProfileRows:
    [block] = read(path, data.encode() if isinstance(data, str) else data, format, PROFILES)
    result = profiles(block)
    assert len(result.users) + len(result.rejected) == len(block.lines)
    return result


def test_csv_says_strings_and_an_empty_cell_says_nothing(path: Path) -> None:
    data = 'user,id:email,name,"we ""say"""\nu1,a@b,Ann,"x\ty"\nu2,,,\nu3,c@d,"a ""b""\\",\n'
    result = interpreted(path, data, "csv")
    assert result.users.to_pylist() == ["u1", "u2", "u3"]
    assert result.lines.tolist() == [2, 3, 4]
    assert {kind: names.to_pylist() for kind, names in result.identifiers.items()} == {"email": ["a@b", None, "c@d"]}
    assert [json.loads(text) for text in result.attributes.to_pylist()] == [
        {"name": "Ann", 'we "say"': "x\ty"},
        {},
        {"name": 'a "b"\\'},
    ]


def test_ndjson_keeps_types_and_null_removes(path: Path) -> None:
    data = '{"user":"u1","id:email":"a@b","age":7,"spend":12.50,"gone":null,"list":[1,"x"]}\n{"user":"u2"}\n'
    result = interpreted(path, data, "ndjson")
    assert result.attributes.to_pylist() == ['{"age":7,"spend":12.50,"gone":null,"list":[1,"x"]}', "{}"]
    assert result.identifiers["email"].to_pylist() == ["a@b", None]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array(['é"\n', None]), '"é\\"\\n"'),
        (pa.array(["", None]), '""'),
        (pa.array(["a", None]).dictionary_encode(), '"a"'),
        (pa.array([7, None]), "7"),
        (pa.array([0.1, None]), "0.1"),
        (pa.array([0.1, None], pa.float32()), "0.1"),
        (pa.array([True, None]), "true"),
        (pa.array([Decimal("12.50"), None]), "12.50"),
        (pa.array([dt.date(2024, 5, 1), None]), '"2024-05-01"'),
        (pa.array([dt.datetime(2024, 5, 1, 12), None], pa.timestamp("us", "Asia/Shanghai")), '"2024-05-01T12:00:00Z"'),
        (pa.array([dt.datetime(2024, 5, 1, 12, 0, 0, 500_000), None], pa.timestamp("ms")), '"2024-05-01T12:00:00.5Z"'),
        (pa.array([["a", None], None]), '["a",null]'),
        (pa.array([[], None], pa.list_(pa.int8())), "[]"),
        (pa.array([{"x": 1, "y": ["z"]}, None]), '{"x":1,"y":["z"]}'),
    ],
    ids=lambda given: str(given.type) if isinstance(given, pa.Array) else "",
)
def test_parquet_keeps_types(path: Path, column: pa.Array, text: str) -> None:
    result = interpreted(path, pa.table({"user": ["u1", "u2"], "x": column}), "parquet")
    assert result.attributes.to_pylist() == [f'{{"x":{text}}}', "{}"]


@pytest.mark.parametrize(
    ("data", "format", "reason"),
    [
        ('{"user":"u0"}\n{"user":"","x":1}', "ndjson", "INVALID the user is empty"),
        ('{"user":"u0"}\n{"x":1}', "ndjson", "INVALID the user is empty"),
        ('{"user":"u0"}\n{"user":"a\\u0000"}', "ndjson", "INVALID the name of a user holds no control characters"),
        ('{"user":"u0"}\n{"user":"u","id:email":"\\n"}', "ndjson",
         "INVALID column 'id:email': an identifier holds no control characters"),
        (pa.table({"user": ["u0", "u1"], "x": [1.0, float("nan")]}), "parquet",
         "INVALID column 'x': a number is not finite"),
        (pa.table({"user": ["u0", "u1"], "x": ["", "y" * (1 << 20)]}), "parquet",
         "INVALID the attributes take more than 1 MiB"),
    ],
    ids=range(6),
)  # fmt: skip
def test_a_wrong_row_is_named_and_spoils_no_other(path: Path, data: Any, format: Format, reason: str) -> None:
    result = interpreted(path, data, format)
    assert reasons(result.rejected) == {2: reason}
    assert result.users.to_pylist() == ["u0"]
    assert all(len(names) == 1 for names in result.identifiers.values())


def test_a_kind_needs_a_name(path: Path) -> None:
    with pytest.raises(Invalid, match="column 2 has no name"):
        read(path, b"user,id:\n", "csv", PROFILES)
