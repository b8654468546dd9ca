"""NDJSON as blocks: numbers keep their text, broken lines are named, and memory is bounded by cells."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmap_store.files import EVENTS, MEMBERSHIPS, PROFILES, Format, Target, ndjson_reader, read_blocks, shape_of
from bitmap_store.values import TagKind
from tests.files_given import BLOCK, read, rejected, rows

FORMATS: tuple[Format, ...] = ("csv", "ndjson", "parquet")
TABLE = shape_of({"city": Target("city", TagKind.CHOICES), "vip": Target("vip", TagKind.FLAG, is_rule=True)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "given.ndjson"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("12.50", "12.50"),
        ("12.5", "12.5"),
        ("0.1", "0.1"),
        ("1e2", "1e2"),
        ("-7", "-7"),
        ("9007199254740993", "9007199254740993"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
        ('"12.50"', "12.50"),
        ("true", "true"),
    ],
)
def test_numbers_keep_their_text(path: Path, number: str, text: str) -> None:
    line = f'{{"user":"u1","tag":"spend","number":{number}}}\n'.encode()
    assert rows(read(path, line, "ndjson", MEMBERSHIPS)) == [(1, {"user": "u1", "tag": "spend", "number": text})]


def test_lines_are_counted_and_absent_null_and_missing_are_nothing(path: Path) -> None:
    data = b'{"user":"u1","tag":"vip","value":null}\r\n\n{"tag":"vip"}\n{"user":42,"tag":"vip"}'
    blocks = read(path, data, "ndjson", MEMBERSHIPS)
    assert rows(blocks) == [(1, {"user": "u1", "tag": "vip"}), (3, {"tag": "vip"}), (4, {"user": "42", "tag": "vip"})]
    assert rejected(blocks) == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"user":"u1"', "the line is not JSON: "),
        (b'{"user":"u1"}{"user":"u2"}', "the line is not JSON: "),
        (b"[1]", "a line is to hold one JSON object, not a list"),
        (b"null", "a line is to hold one JSON object, not null"),
        (b'"u1"', "a line is to hold one JSON object, not 'u1'"),
        (b" ", "the line is not JSON: "),
        (b'{"user":"u1","tag":"a","colour":1}', "there is no column 'colour'"),
        (b'{"user":"u1","tag":["a"]}', "column 'tag': a list cannot stand here"),
        (b'{"user":"u1","tag":{"a":1}}', "column 'tag': an object cannot stand here"),
        (b'{"user":"u1","":1}', "column 2 has no name"),
        ('{"user":"u1","a\u0301":1}'.encode(), "there is no column 'á'"),
        (b'{"user":"u\xff"}', "the line is not valid UTF-8"),
        (b'{"user":"\\ud800"}', "the line is not JSON: "),
        (b'{"user":"u1","tag":"a","valeu":1}', "there is no column 'valeu'; did you mean 'value'?"),
        (b'{"user":' + b"[" * 5000 + b"]" * 5000 + b"}", "the line is not JSON: "),
        (b'{"user":"' + b"x" * (1 << 20) + b'"}', "the line is longer than 1 MiB"),
    ],
)
def test_a_broken_line_is_named_and_spoils_no_other(path: Path, line: bytes, reason: str) -> None:
    good = b'{"user":"u1","tag":"a","at":"2024-05-01"}\n'
    blocks = read(path, good + line + b"\n" + good, "ndjson", EVENTS)
    [(number, message)] = rejected(blocks)
    assert number == 2
    assert message.startswith(reason)
    assert [number for number, _ in rows(blocks)] == [1, 3]


def test_a_table_takes_lists_of_known_tags(path: Path) -> None:
    data = b'{"user":"a","city":["x",2]}\n{"user":"b","city":"y"}\n{"user":"c","city":null}\n{"user":"d","city":[]}\n'
    assert rows(read(path, data, "ndjson", TABLE)) == [
        (1, {"user": "a", "city": ["x", "2"]}),
        (2, {"user": "b", "city": ["y"]}),
        (3, {"user": "c"}),
        (4, {"user": "d", "city": []}),
    ]


def test_a_table_rejects_rows_that_name_other_tags(path: Path) -> None:
    blocks = read(path, b'{"user":"a","vip":true}\n{"user":"b","citi":"x"}\n{"user":"c","city":{}}\n', "ndjson", TABLE)
    assert [(r.line, r.code, r.message) for block in blocks for r in block.rejected] == [
        (1, "INVALID", "tag 'vip' follows from its rule and cannot be imported"),
        (2, "NOT_FOUND", "there is no tag 'citi'; did you mean 'city'?"),
        (3, "INVALID", "column 'city': an object cannot stand here"),
    ]


def test_attributes_stay_json_exactly(path: Path) -> None:
    big = b"123456789012345678901"
    line = b'{"user":"u1","id:email":"a@b","spend":12.50,"n":null,"deep":{"x":[1.0,null,"\\u00e9"]},"big":%b}' % big
    [block] = read(path, line, "ndjson", PROFILES)
    assert {name: column.to_pylist() for name, column in block.columns.items()} == {
        "user": ["u1"],
        "id:email": ["a@b"],
    }
    assert block.rest is not None
    assert block.rest.to_pylist() == [
        '{"spend":12.50,"n":null,"deep":{"x":[1.0,null,"é"]},"big":123456789012345678901}'
    ]


def test_an_empty_file_has_no_rows(path: Path) -> None:
    assert rows(read(path, b"", "ndjson", MEMBERSHIPS)) == []


def test_blocks_are_bounded_by_cells(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson_reader, "CELLS_MAX", 50)
    data = b"".join(b'{"user":"u","id:%d":"x"}\n' % i for i in range(100)) + b"oops\n"
    blocks = read(path, data, "ndjson", PROFILES)
    assert all(len(block.lines) * len(block.columns) <= 60 for block in blocks)
    assert [line for line, _ in rows(blocks)] == list(range(1, 101))
    assert [line for line, _ in rejected(blocks)] == [101]


texts = st.text(max_size=5)
cells = st.one_of(texts, st.integers(), st.booleans(), st.none(), st.decimals(allow_nan=False, allow_infinity=False))


@given(
    records=st.lists(st.dictionaries(st.sampled_from(["user", "tag", "value", "number"]), cells)),
    block_bytes=st.sampled_from([1, 10, 100, BLOCK]),
)
def test_agrees_with_the_standard_library(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], block_bytes: int
) -> None:
    lines = [_line(record) for record in records]
    path = tmp_path_factory.getbasetemp() / "any.ndjson"
    blocks = read(path, "\n".join(lines).encode(), "ndjson", MEMBERSHIPS, block_bytes)
    expected = []
    for number, line in enumerate(lines, 1):
        record = json.loads(line, parse_float=str, parse_int=str)
        said = {key: cell for key, cell in record.items() if cell is not None}
        expected.append((number, {k: str(v).lower() if isinstance(v, bool) else v for k, v in said.items()}))
    assert [(line, row) for line, row in rows(blocks)] == expected
    assert rejected(blocks) == []


def _line(record: dict[str, Any]) -> str:
    """JSON with decimals written out."""
    cells = (f"{json.dumps(key)}:{_json(cell)}" for key, cell in record.items())
    return "{" + ",".join(cells) + "}"


def _json(cell: Any) -> str:
    return json.dumps(cell) if isinstance(cell, str | bool | int | None) else str(cell)


def test_a_missing_file_is_no_fault_of_the_format(tmp_path: Path) -> None:
    for format in FORMATS:
        with pytest.raises(FileNotFoundError):
            list(read_blocks(tmp_path / "none", format, MEMBERSHIPS))


def test_what_nests_deeper_than_the_exact_decoder_goes_is_rejected_or_read(path: Path) -> None:
    deep = b'{"user":"u1","x":' + b"[" * 1020 + b"]" * 1020 + b"}\n"
    blocks = read(path, deep + b'{"user":"u2"}', "ndjson", PROFILES)
    assert sum(block.rows for block in blocks) == 2
    assert set(rejected(blocks)) <= {(1, "the line is nested too deep")}
