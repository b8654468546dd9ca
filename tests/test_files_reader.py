"""What holds for all formats and routes: files without rows, columns that say nothing, agreement of formats."""

from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from bitmap_store.files import (
    EVENTS,
    MEMBERSHIPS,
    PROFILES,
    Block,
    Format,
    Shape,
    Target,
    events,
    memberships,
    profiles,
    repeated_rows,
    shape_of,
    table,
    write,
)
from bitmap_store.values import Rejection, TagKind
from tests.files_given import listed, read

TARGETS = {
    target.key: target
    for target in (
        Target("vip", TagKind.FLAG),
        Target("city", TagKind.CHOICE),
        Target("spend", TagKind.NUMBER, scale=2),
        Target("born", TagKind.DATE),
        Target("bought", TagKind.EVENT),
    )
}
TABLE = shape_of(TARGETS)
COLUMNS = {
    "memberships": ["user", "tag", "value", "number", "date", "score", "expires_at"],
    "events": ["user", "tag", "value", "at", "count"],
    "profiles": ["user", "id:email", "name"],
    "table": ["user", "vip", "city", "spend", "born"],
}
SHAPES = {shape.route: shape for shape in (MEMBERSHIPS, EVENTS, PROFILES, TABLE)}


def outcome(block: Block, route: str) -> tuple[dict[str, list[Any]], list[Rejection]]:
    match route:
        case "profiles":
            found = profiles(block)
            return {
                "attributes": list(zip(found.users.to_pylist(), found.attributes.to_pylist(), strict=True))
            }, found.rejected
        case "memberships":
            result = memberships(block, TARGETS.get, lambda key: [])
        case "events":
            result = events(block, TARGETS.get, lambda key: [], ZoneInfo("Asia/Shanghai"))
        case _:
            result = table(block, TARGETS)
    return {cells.tag: listed(cells, result.names) for cells in result.cells}, result.rejected


@pytest.mark.parametrize("route", COLUMNS)
@pytest.mark.parametrize("type_", [pa.string(), pa.null()], ids=str)
def test_a_file_without_rows(tmp_path: Path, route: str, type_: pa.DataType) -> None:
    columns = {name: pa.array([], type_) for name in COLUMNS[route]}
    for format in ("csv", "parquet"):
        data = f"{','.join(columns)}\n".encode() if format == "csv" else pa.table(columns)
        for block in read(tmp_path / "given", data, format, SHAPES[route]):
            found, rejected = outcome(block, route)
            assert [rows for rows in found.values() if rows] == []
            assert rejected == []


@pytest.mark.parametrize("route", COLUMNS)
def test_a_row_that_says_nothing_is_rejected_for_its_user(tmp_path: Path, route: str) -> None:
    data = pa.table({name: pa.nulls(1) for name in COLUMNS[route]})
    [block] = read(tmp_path / "given", data, "parquet", SHAPES[route])
    assert outcome(block, route)[1] == [Rejection(1, "INVALID", "the user is empty")]


ROWS: dict[str, list[dict[str, str | None]]] = {
    "memberships": [
        {"user": "ü1", "tag": "city", "value": 'a, "b"', "score": "0.25"},
        {"user": "ü1", "tag": "spend", "number": "12.50"},
        {"user": "u2", "tag": "born", "date": "2024-05-01", "expires_at": "2030-01-01T00:00:00Z"},
        {"user": "u2", "tag": "vip", "value": "x"},
        {"user": "u2", "tag": "vip"},
    ],
    "events": [
        {"user": "u1", "tag": "bought", "at": "2024-05-01T17:00:00Z", "count": "3"},
        {"user": "u1", "tag": "bought", "value": "x", "at": "2024-05-01", "count": "4294967296"},
    ],
    "profiles": [{"user": "u1", "id:email": "a@b", "name": "Ann"}, {"user": "u2", "name": None}],
    "table": [
        {"user": "u1", "vip": "true", "city": "x", "spend": "1.50", "born": "2024-05-01T12:00:00Z"},
        {"user": "u2", "vip": "maybe", "city": "x"},
    ],
}


@pytest.mark.parametrize("route", COLUMNS)
def test_the_formats_agree(tmp_path: Path, route: str) -> None:
    """The same rows, written by the exporters, mean the same in all three formats, but for the number of the line."""
    schema = pa.schema([(name, pa.string()) for name in COLUMNS[route]])
    batch = pa.RecordBatch.from_pylist(ROWS[route], schema)
    found = {}
    formats: list[Format] = ["csv", "ndjson", "parquet"]
    for format in formats:
        path = tmp_path / format
        [block] = read(path, b"".join(write(format, schema, [batch])), format, SHAPES[route])
        cells, rejected = outcome(block, route)
        first = 2 if format == "csv" else 1
        if route != "profiles":
            cells = {tag: [(row[0] - first, *row[1:]) for row in rows] for tag, rows in cells.items()}
        found[format] = cells, [(each.line - first, each.code, each.message) for each in rejected]
    if route == "profiles":  # NDJSON can say null, which removes
        found["ndjson"][0]["attributes"] = [
            (user, text.replace('"name":null', "")) for user, text in found["ndjson"][0]["attributes"]
        ]
    assert found["csv"] == found["ndjson"] == found["parquet"]
    assert found["csv"][0]


def test_no_rows_repeat_none() -> None:
    assert repeated_rows([]) == []


def test_days_of_utc_need_no_zone(tmp_path: Path) -> None:
    [block] = read(tmp_path / "given", b"user,tag,at\nu,bought,2024-05-01T23:00:00Z\n", "csv", EVENTS)
    for zone in (UTC, ZoneInfo("UTC")):
        [cells] = events(block, TARGETS.get, lambda key: [], zone).cells
        assert cells.units is not None
        assert cells.units.tolist() == [19844]


def test_shapes_know_their_columns() -> None:
    shape: Shape
    for route, shape in SHAPES.items():
        assert list(shape.read_header(COLUMNS[route])) == COLUMNS[route]
