"""CSV as blocks: what is a row, what is rejected and how it reads, and agreement with a reader line by line."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmap_store.errors import Invalid
from bitmap_store.files import MEMBERSHIPS, PROFILES, Shape
from tests.files_given import BLOCK, read, rejected, rows

HEADER = b"user,tag,value\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "given.csv"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"u1,city,Paris\n", [(2, ["u1", "city", "Paris"])]),
        (b"u1,city,Paris", [(2, ["u1", "city", "Paris"])]),  # no line break behind the last line
        (b"u1,city,Paris\r\nu2,city,Rome\r\n", [(2, ["u1", "city", "Paris"]), (3, ["u2", "city", "Rome"])]),
        (b"u1,city,Paris\r", [(2, ["u1", "city", "Paris"])]),
        (b"\n\r\nu1,city,Paris\n\n", [(4, ["u1", "city", "Paris"])]),  # blank lines count as lines, not as rows
        (b"u1,city,\n", [(2, ["u1", "city", None])]),
        (b'u1,city,""\n', [(2, ["u1", "city", None])]),
        (b'u1,city,"Paris, France"\n', [(2, ["u1", "city", "Paris, France"])]),
        (b'"u1","city","say ""hi"""\n', [(2, ["u1", "city", 'say "hi"'])]),
        (b'u1,city,5" disk\n', [(2, ["u1", "city", '5" disk'])]),  # a quote within a value is a quote
        (b'u1,size,5" disk\nu2,city,"a,b"\nu3,city,c\n',
         [(2, ["u1", "size", '5" disk']), (3, ["u2", "city", "a,b"]), (4, ["u3", "city", "c"])]),
        ("u1,城市,上海\n".encode(), [(2, ["u1", "城市", "上海"])]),
        (b"\xef\xbb\xbfu1,city,x\n", [(2, ["\ufeffu1", "city", "x"])]),  # a mark that is not at the start is text
        (b"u1, city ,\tx\n", [(2, ["u1", " city ", "\tx"])]),  # spaces are kept
    ],
)  # fmt: skip
def test_rows(path: Path, lines: bytes, expected: list[tuple[int, list[str | None]]]) -> None:
    blocks = read(path, HEADER + lines, "csv", MEMBERSHIPS)
    names = ("user", "tag", "value")
    assert rejected(blocks) == []
    assert [(line, [row.get(name) for name in names]) for line, row in rows(blocks)] == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"u1,city", "too few columns: the header names 3, the line has 2"),
        (b"u1,city,Paris,France", "too many columns: the header names 3, the line has 4"),
        (b'u1,"city', "a quote is not closed on its line"),
        (b'u1,city,"Par"is', "a closing quote is followed by something other than a comma"),
        (b'u1,5" disk', "too few columns: the header names 3, the line has 2"),
        (b"u1,city,Par\xeds", "the line is not valid UTF-8"),
        (b"u1,city,\xed\xa0\x80", "the line is not valid UTF-8"),  # half of a surrogate pair
        (b"u1,city,Par\0is", "the line holds a NUL character"),
        (b"u1,city,Par\ris", "the line holds a carriage return; one record is one line"),
        (b'u1,city,"Par\ris"', "the line holds a carriage return; one record is one line"),
        (b"u1,city," + b"x" * (1 << 20), "the line is longer than 1 MiB"),
        (b" ", "too few columns: the header names 3, the line has 1"),
    ],
)
def test_a_broken_line_is_named_and_spoils_no_other(path: Path, line: bytes, reason: str) -> None:
    data = HEADER + b"u0,city,Rome\n" + line + b'\nu2,city,Oslo\nu3,city,"Bonn"\n'
    for block_bytes in (BLOCK, 1000, 7):
        blocks = read(path, data, "csv", MEMBERSHIPS, block_bytes if len(data) < 10_000 else BLOCK)
        assert rejected(blocks) == [(3, reason)]
        assert [line for line, _ in rows(blocks)] == [2, 4, 5]


def test_a_long_line_is_one_row_whatever_the_blocks(path: Path) -> None:
    lines = b"u0,city,Rome\nu1,city," + b"x" * (3 << 20) + b"\nu2,city,Oslo\n"
    fits = b"u3,city," + b"y" * ((1 << 20) - 8) + b"\r\n"
    for block_bytes in (BLOCK, 1 << 20, 300_000):
        blocks = read(path, HEADER + lines + fits, "csv", MEMBERSHIPS, block_bytes)
        assert rejected(blocks) == [(3, "the line is longer than 1 MiB")]
        assert [line for line, _ in rows(blocks)] == [2, 4, 5]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty: a CSV file begins with a line that names its columns"),
        (b"\xef\xbb\xbf", "the file is empty: a CSV file begins with a line that names its columns"),
        (b"\nuser,tag\n", "line 1 is to name the columns and is empty"),
        (b"user,tag,\n", "column 3 has no name"),
        (b"user,tag,tag\n", "the column 'tag' is named twice"),
        (b"user,value\n", "a file of memberships needs a column 'tag'"),
        (b"user,tag,vaule\n", "there is no column 'vaule'; did you mean 'value'?"),
        (b"user;tag;value\n", "the header names one column, 'user;tag;value': columns are separated by commas"),
        (b'user,"tag\n', "line 1 is to name the columns and cannot be read: unexpected end of data"),
    ],
)
def test_a_wrong_header_fails_the_file(path: Path, data: bytes, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(path, data, "csv", MEMBERSHIPS)
    assert caught.value.message == message


@pytest.mark.parametrize("header", [b"user,tag,value", b"\xef\xbb\xbfuser,tag,value\r\n", b'"user","tag","value"\n'])
def test_only_a_header_is_no_row(path: Path, header: bytes) -> None:
    blocks = read(path, header, "csv", MEMBERSHIPS)
    assert (rows(blocks), rejected(blocks)) == ([], [])
    assert [list(block.columns) for block in blocks] == [["user", "tag", "value"]]


# ---------------------------------------------------------------- against a reader that goes line by line


def by_line(data: bytes, width: int) -> tuple[list[tuple[int, list[str | None]]], list[int]]:
    """The good rows below the header, and the lines that are rejected, the slow way."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    good, bad = [], []
    for number, raw in enumerate(lines[1:], 2):
        line = raw.removesuffix(b"\r")
        if not line:
            continue
        try:
            if b"\0" in line or b"\r" in line:
                raise ValueError
            record = next(csv.reader([line.decode()], strict=True))
            if len(record) != width:
                raise ValueError
        except (ValueError, csv.Error):
            bad.append(number)
        else:
            good.append((number, [cell or None for cell in record]))
    return good, bad


pieces = st.sampled_from(
    b'a|bc|7| |,|,|,|"|"|""|\n|\n|\r\n|\r|\0|\xff|\xc3\xa9|\xc3|\xef\xbb\xbf|\xe8\xaf\xad'.split(b"|")
    + b'"x,y"|u,t,v\n|"u","t","v"\r\n|u,t\n|u\n'.split(b"|")
)


@given(
    body=st.lists(pieces, max_size=60).map(b"".join),
    shape=st.sampled_from([(MEMBERSHIPS, b"user,tag,value\n"), (PROFILES, b"user\r\n"), (PROFILES, b"user,a\n")]),
    mark=st.booleans(),
    block_bytes=st.sampled_from([1, 2, 3, 5, 8, 13, 40, BLOCK]),
)
def test_agrees_with_reading_line_by_line(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, shape: tuple[Shape, bytes], mark: bool, block_bytes: int
) -> None:
    header = shape[1]
    data = (b"\xef\xbb\xbf" if mark else b"") + header + body
    names = header.decode().strip().split(",")
    blocks = read(tmp_path_factory.getbasetemp() / "any.csv", data, "csv", shape[0], block_bytes)
    good, bad = by_line(data, len(names))
    assert [(line, [row.get(name) for name in names]) for line, row in rows(blocks)] == good
    assert [line for line, _ in rejected(blocks)] == bad
    assert sum(block.rows for block in blocks) == len(good) + len(bad)
