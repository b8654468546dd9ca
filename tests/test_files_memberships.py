"""Rows of memberships as cells: every way a row can be wrong, exact numbers and dates, repeats over a whole file."""

import datetime as dt
import random
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmap_store import files
from bitmap_store.errors import nearest
from bitmap_store.files import MEMBERSHIPS, Block, Cells, Format, Interpreted, Target, memberships, reject_repeats
from bitmap_store.files.piles import Piled, Piles, Subjects, piled, piles_of
from bitmap_store.values import DatePrecision, Rejection, TagKind, micros
from tests.files_given import BLOCK, NO_DATE, listed, read, reasons

TARGETS = {
    target.key: target
    for target in (
        Target("vip", TagKind.FLAG),
        Target("city", TagKind.CHOICE, allowed=frozenset({"Paris", "Rome", "Café"})),
        Target("likes", TagKind.CHOICES),
        Target("level", TagKind.CHOICES, hierarchical=True),
        Target("spend", TagKind.NUMBER, scale=2),
        Target("visits", TagKind.NUMBER),
        Target("born", TagKind.DATE, precision=DatePrecision.DAY),
        Target("seen", TagKind.DATE, precision=DatePrecision.SECOND),
        Target("bought", TagKind.EVENT),
        Target("rich", TagKind.FLAG, is_rule=True),
        Target("é", TagKind.FLAG),
    )
}
HEADER = "user,tag,value,number,date,score,expires_at\n"


def near(name: str) -> Sequence[str]:
    return nearest(name, TARGETS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "given"


def interpreted(
    path: Path, data: str | bytes | pa.Table, format: Format = "csv", size: int = BLOCK
) -> list[Interpreted]:
    found = []
    subjects = Subjects(TARGETS.get)
    for block in read(path, data.encode() if isinstance(data, str) else data, format, MEMBERSHIPS, size):
        result = memberships(block, TARGETS.get, near)
        held_against(block, result, piled(block, subjects))
        assert sum(map(len, result.cells)) + len(result.rejected) == len(block.lines)
        used = {int(user) for cells in result.cells for user in cells.users}
        assert used == set(range(len(result.names))), "names are those of good rows, each once"
        assert len(set(result.names.to_pylist())) == len(result.names)
        found.append(result)
    return found


def held_against(block: Block, meant: Interpreted, in_piles: Piled | None) -> None:
    """Piles say the same as cells; there are none where anything is wrong, and where rows say more than piles can."""
    says_more = any(cells.expires is not None or cells.score is not None for cells in meant.cells)
    assert (in_piles is None) == bool(meant.rejected or says_more or not len(block.lines))
    if in_piles is not None:
        one, other = (
            sorted((part.tag, part.kind, listed(part, said.names.cast(pa.string()))) for part in said.cells)
            for said in (meant, in_piles.as_cells())
        )
        assert one == other
        assert [part.lines.tolist() for part in in_piles.as_cells().cells] == [
            sorted(part.lines.tolist()) for part in in_piles.as_cells().cells
        ]


def settled(results: Sequence[Interpreted]) -> tuple[dict[str, Cells], list[str], list[Rejection]]:
    """The cells of a file by tag, with the names that their numbers stand for, and the rows rejected for repeating."""
    numbers: dict[str, int] = {}
    by_tag: dict[str, list[Cells]] = {}
    for result in results:
        ids = np.array([numbers.setdefault(name, len(numbers)) for name in result.names.to_pylist()], np.uint32)
        for cells in result.numbered(ids).cells:
            by_tag.setdefault(cells.tag, []).append(cells)
    found, rejections = {}, []
    for tag, parts in by_tag.items():
        found[tag], repeats = reject_repeats(parts)
        rejections += repeats
    return found, list(numbers), rejections


def cells_of(path: Path, data: str | pa.Table, tag: str, format: Format = "csv") -> list[tuple[object, ...]]:
    [result] = interpreted(path, data, format)
    assert result.rejected == []
    [cells] = [cells for cells in result.cells if cells.tag == tag]
    return listed(cells, result.names)


# ---------------------------------------------------------------- rows that are wrong


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",vip,,,,,", "INVALID the user is empty"),
        ("u,,,,,,", "INVALID the tag is empty"),
        ("u\t1,vip,,,,,", "INVALID the name of a user holds no control characters"),
        (f"{'é' * 257},vip,,,,,", "INVALID the name of a user has at most 512 bytes"),
        ("u,vpi,,,,,", "NOT_FOUND there is no tag 'vpi'; did you mean 'vip'?"),
        ("u,zzzzzz,,,,,", "NOT_FOUND there is no tag 'zzzzzz'"),
        ("u,rich,,,,,", "INVALID tag 'rich' follows from its rule and cannot be imported"),
        ("u,bought,milk,,,,", "INVALID tag 'bought' is an EVENT: use /import/events"),
        ("u,vip,yes,,,,", "INVALID tag 'vip': a FLAG takes no value"),
        ("u,vip,,1,,,", "INVALID tag 'vip': a FLAG takes no number"),
        ("u,city,,,,,", "INVALID tag 'city': a CHOICE needs a value"),
        ("u,city,,7,,,", "INVALID tag 'city': a CHOICE takes a value, not a number"),
        ("u,city,Paris,7,,,", "INVALID tag 'city': a CHOICE takes a value, not a number"),
        ("u,city,,,2024-05-01,,", "INVALID tag 'city': a CHOICE takes a value, not a date"),
        ("u,city,Pari,,,,", "NOT_FOUND tag 'city': there is no value 'Pari'; did you mean 'Paris'?"),
        ("u,likes,\x01,,,,", "INVALID a value holds no control characters"),
        (f"u,likes,{'x' * 513},,,,", "INVALID a value has at most 512 bytes"),
        ("u,level,a//b,,,,", "INVALID tag 'level': 'a//b' has an empty level; levels stand between single slashes"),
        ("u,spend,7,,,,", "INVALID tag 'spend': a NUMBER takes a number, not a value"),
        ("u,spend,,,,,", "INVALID tag 'spend': a NUMBER needs a number"),
        ("u,spend,,abc,,,", "INVALID tag 'spend': 'abc' is not a number"),
        ("u,spend,,NaN,,,", "INVALID tag 'spend': 'NaN' is not a number"),
        ("u,spend,,1_000,,,", "INVALID tag 'spend': '1_000' is not a number"),
        ("u,spend,, 1,,,", "INVALID tag 'spend': ' 1' is not a number"),
        ('u,spend,,"1,5",,,', "INVALID tag 'spend': '1,5' is not a number"),
        ("u,spend,,１,,,", "INVALID tag 'spend': '１' is not a number"),
        ("u,spend,,0.125,,,", "INVALID tag 'spend': 0.125 has more than the 2 decimals the tag keeps"),
        ("u,visits,,1.5,,,", "INVALID tag 'visits': 1.5 has more than the 0 decimals the tag keeps"),
        ("u,spend,,1e-999,,,", "INVALID tag 'spend': 1E-999 has more than the 2 decimals the tag keeps"),
        ("u,spend,,10000000000000000.00,,,",
         "INVALID tag 'spend': 10000000000000000.00 has more than 18 digits at scale 2"),
        ("u,spend,,1e999,,,", "INVALID tag 'spend': a number keeps at most 18 digits"),
        ("u,spend,,1.0000000000000000000000000000001,,,",
         "INVALID tag 'spend': 1.0000000000000000000000000000001 has more than the 2 decimals the tag keeps"),
        (f"u,spend,,{'9' * 100},,,", f"INVALID tag 'spend': '{'9' * 60}…' has more than 18 digits"),
        ("u,born,,,yesterday,,", f"INVALID tag 'born': 'yesterday' {NO_DATE}"),
        ("u,born,,,2024-02-30,,", f"INVALID tag 'born': '2024-02-30' {NO_DATE}"),
        ("u,seen,,,2024-05-01T12:00:00,,", f"INVALID tag 'seen': '2024-05-01T12:00:00' {NO_DATE}"),
        ("u,seen,,,0001-01-01T00:00:00+01:00,,", "INVALID tag 'seen': a moment lies within the years 1 to 9999"),
        ("u,vip,,,,high,", "INVALID the score 'high' is not a finite number"),
        ("u,vip,,,,1e999,", "INVALID the score '1e999' is not a finite number"),
        ("u,vip,,,,,soon", f"INVALID column 'expires_at': 'soon' {NO_DATE}"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named_and_spoils_no_other(path: Path, row: str, reason: str) -> None:
    good = "u0,vip,,,,,\nu1,spend,,1.50,,0.5,2030-01-01\n"
    [result] = interpreted(path, f"{HEADER}{good}{row}\n{good.replace('u', 'v')}")
    assert reasons(result.rejected) == {4: reason}
    assert {cells.tag: listed(cells, result.names) for cells in result.cells} == {
        "vip": [(2, "u0"), (5, "v0")],
        "spend": [(line, user, 150, 1893456000000000, 0.5) for line, user in ((3, "u1"), (6, "v1"))],
    }


def test_only_the_first_wrong_names_get_hints(path: Path) -> None:
    [result] = interpreted(path, HEADER + "".join(f"u,vip{i},,,,,\n" for i in range(100)))
    hints = ["did you mean" in rejection.message for rejection in result.rejected]
    assert (hints.count(True), len(hints)) == (20, 100)


# ---------------------------------------------------------------- exactness


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("0", 0),
        ("-0", 0),
        ("12", 1200),
        ("12.5", 1250),
        ("12.50", 1250),
        ("12.5000", 1250),
        ("-3.07", -307),
        ("+7", 700),
        ("007", 700),
        (".5", 50),
        ("5.", 500),
        ("1e2", 10000),
        ("25E-1", 250),
        ("9999999999999999.99", 999_999_999_999_999_999),
        ("-9999999999999999.99", -999_999_999_999_999_999),
        ("9007199254740993.01", 900_719_925_474_099_301),
        ("0.1", 10),
        ("0.29", 29),
    ],
)
def test_numbers_are_exact(path: Path, text: str, units: int) -> None:
    assert cells_of(path, f"user,tag,number\nu,spend,{text}\n", "spend") == [(2, "u", units)]
    table = pa.table({"user": ["u"], "tag": ["spend"], "number": [text]})
    assert cells_of(path, table, "spend", "parquet") == [(1, "u", units)]


@pytest.mark.parametrize(
    ("column", "units"),
    [
        (pa.array([3, -3], pa.int8()), [300, -300]),
        (pa.array([3, 2**40], pa.uint64()), [300, 2**40 * 100]),
        (pa.array([0.29, -1.1]), [29, -110]),
        (pa.array([9007199254740991.0, 0.07]), [900719925474099100, 7]),
        (pa.array([0.29, 1.1], pa.float32()), [29, 110]),
        (pa.array([Decimal("12.50"), Decimal("-0.01")]), [1250, -1]),
        (pa.array([Decimal("12"), Decimal("-9999999999999999")], pa.decimal128(38, 0)),
         [1200, -999_999_999_999_999_900]),
        (pa.array([Decimal("12.5000"), Decimal("-9999999999999999.9900")], pa.decimal128(38, 4)),
         [1250, -999_999_999_999_999_999]),
        (pa.array([Decimal("12.5000"), Decimal("9999999999999999.9900")], pa.decimal256(40, 4)),
         [1250, 999_999_999_999_999_999]),
        (pa.array([1.5, 2.5]).cast(pa.float16()), [150, 250]),
        (pa.array([3, 3]).dictionary_encode(), [300, 300]),
    ],
    ids=lambda given: str(given.type) if isinstance(given, pa.Array) else "",
)  # fmt: skip
def test_typed_numbers_are_exact(path: Path, column: pa.Array, units: list[int]) -> None:
    table = pa.table({"user": ["a", "b"], "tag": ["spend"] * 2, "number": column})
    assert [cell[2] for cell in cells_of(path, table, "spend", "parquet")] == units


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.0, 0.125]),
        pa.array([1.0, float("nan")]),
        pa.array([1.0, 1e300]),
        pa.array([1, 10**16]),
        pa.array([1, 2**64 - 1], pa.uint64()),
        pa.array([Decimal("1.000"), Decimal("0.001")]),
        pa.array([Decimal("1"), Decimal("10000000000000000")], pa.decimal128(38, 0)),
        pa.array([Decimal("1"), Decimal(2**64 + 1)], pa.decimal128(38, 0)),
        pa.array([Decimal("1"), Decimal("-92233720368547758.08")], pa.decimal128(38, 2)),
    ],
    ids=str,
)
def test_typed_numbers_that_do_not_fit_are_rejected(path: Path, column: pa.Array) -> None:
    table = pa.table({"user": ["a", "b"], "tag": ["spend"] * 2, "number": column})
    [result] = interpreted(path, table, "parquet")
    assert list(reasons(result.rejected)) == [2]
    assert [listed(cells, result.names) for cells in result.cells] == [[(1, "a", 100)]]


DAY = dt.date(2024, 5, 1).toordinal() - dt.date(1970, 1, 1).toordinal()
NOON = DAY * 86_400 + 43_200


@pytest.mark.parametrize(
    ("text", "day", "second"),
    [
        ("2024-05-01", DAY, DAY * 86_400),
        ("2024-05-01T12:00:00Z", DAY, NOON),
        ("2024-05-01t12:00:00z", DAY, NOON),
        ("2024-05-01 12:00:00.999999Z", DAY, NOON),
        ("2024-05-01T12:00:00.999999999+00:00", DAY, NOON),
        ("2024-05-01T01:00:00+02:00", DAY - 1, DAY * 86_400 - 3_600),
        ("2024-04-30T23:30:00-13:45", DAY, DAY * 86_400 + 13 * 3600 + 900),
        ("1969-12-31T23:59:59.5Z", -1, -1),
        ("0001-01-01", -719_162, -719_162 * 86_400),
        ("9999-12-31", 2_932_896, 2_932_896 * 86_400),
    ],
)
def test_dates_are_exact_and_rounded_down(path: Path, text: str, day: int, second: int) -> None:
    assert cells_of(path, f"user,tag,date\nu,born,{text}\n", "born") == [(2, "u", day)]
    assert cells_of(path, f"user,tag,date\nu,seen,{text}\n", "seen") == [(2, "u", second)]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([dt.date(2024, 5, 1), dt.date(1969, 12, 31)]),
        pa.array([dt.date(2024, 5, 1), dt.date(1969, 12, 31)], pa.date64()),
        *(
            pa.array([dt.datetime(2024, 5, 1), dt.datetime(1969, 12, 31)], pa.timestamp(unit, zone))
            for unit in ("s", "ms", "us", "ns")
            for zone in (None, "UTC", "America/New_York")
        ),
    ],
    ids=lambda column: str(column.type),
)
def test_typed_dates(path: Path, column: pa.Array) -> None:
    table = pa.table({"user": ["a", "b"], "tag": ["born"] * 2, "date": column})
    assert [cell[2] for cell in cells_of(path, table, "born", "parquet")] == [DAY, -1]


def test_keys_and_values_are_compared_in_nfc_and_users_are_not(path: Path) -> None:
    data = "user,tag,value\ne\u0301,e\u0301,\ne\u0301,city,Cafe\u0301\né,city,Café\n"
    [result] = interpreted(path, data)
    assert result.rejected == []
    assert {cells.tag: listed(cells, result.names) for cells in result.cells} == {
        "é": [(2, "e\u0301")],
        "city": [(3, "e\u0301", "Café"), (4, "é", "Café")],
    }
    [city] = [cells for cells in result.cells if cells.tag == "city"]
    assert city.values is not None
    assert city.values.names.to_pylist() == ["Café"]


def test_score_and_expiry_are_none_where_no_row_has_one(path: Path) -> None:
    data = f"{HEADER}u,vip,,,,,\nu,likes,a,,,0.25,\nu,likes,b,,,,2030-01-01T00:00:00Z\n"
    [result] = interpreted(path, data)
    by_tag = {cells.tag: cells for cells in result.cells}
    assert (by_tag["vip"].score, by_tag["vip"].expires) == (None, None)
    ends = micros(dt.datetime(2030, 1, 1, tzinfo=dt.UTC))
    assert listed(by_tag["likes"], result.names) == [(3, "u", "a", 2**63 - 1, 0.25), (4, "u", "b", ends, None)]


# ---------------------------------------------------------------- repeats


def test_repeats_are_rejected_across_blocks_and_later_rows_replace(path: Path) -> None:
    lines = [
        "u1,city,Paris,,,,",  # 2
        "u1,vip,,,,,",
        "u2,city,Paris,,,,",
        "u1,likes,tea,,,,",
        "u1,city,Rome,,,,",  # 6, replaces line 2
        "u1,vip,,,,,",  # repeats 3
        "u1,likes,milk,,,,",
        "u1,likes,tea,,,,",  # repeats 5
        "u1,city,Paris,,,,",  # 10, replaces Rome again, so it repeats nothing
        "u1,likes,tea,,,0.5,",  # says something else: replaces 5
        "u1,likes,tea,,,0.50,",  # repeats 11
        "u1,spend,,1.5,,,",
        "u1,spend,,1.50,,,2030-01-01",  # replaces 13
        "u1,spend,,1.5,,,2030-01-01T00:00:00Z",  # repeats 14
        "u2,vip,,,,,",
        "u1,vip,,,,,",  # repeats 3
    ]
    for size in (BLOCK, 40, 1):
        results = interpreted(path, HEADER + "\n".join(lines), size=size)
        cells, names, rejections = settled(results)
        assert reasons(rejections) == {
            line: f"CONFLICT repeats line {first}" for line, first in ((7, 3), (9, 5), (12, 11), (15, 14), (17, 3))
        }
        ends = micros(dt.datetime(2030, 1, 1, tzinfo=dt.UTC))
        assert {tag: listed(part, names) for tag, part in cells.items()} == {
            "city": [(4, "u2", "Paris"), (10, "u1", "Paris")],
            "vip": [(3, "u1"), (16, "u2")],
            "likes": [(8, "u1", "milk", None), (11, "u1", "tea", 0.5)],
            "spend": [(14, "u1", 150, ends)],
        }


rows = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["vip", "é"]), st.just(""), st.just("")),
        st.tuples(
            st.sampled_from("abc"), st.sampled_from(["likes", "city"]), st.sampled_from(["Rome", "Paris"]), st.just("")
        ),
        st.tuples(st.sampled_from("abc"), st.just("spend"), st.just(""), st.sampled_from(["1", "1.0", "2", "x"])),
        st.tuples(st.sampled_from(["a", ""]), st.sampled_from(["nope", ""]), st.just(""), st.just("")),
    ),
    max_size=30,
)


@given(given_rows=rows, size=st.sampled_from([1, 20, BLOCK]))
def test_totals_add_up_and_what_holds_is_what_a_dictionary_holds(
    tmp_path_factory: pytest.TempPathFactory, given_rows: list[tuple[str, str, str, str]], size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "memberships.csv"
    data = "user,tag,value,number\n" + "".join(f"{','.join(row)}\n" for row in given_rows)
    results = interpreted(path, data, size=size)
    cells, names, repeats = settled(results)

    last: dict[tuple[str, ...], tuple[object, int]] = {}
    holds: dict[tuple[str, ...], tuple[int, object]] = {}
    wrong: dict[int, str] = {}
    for line, (user, tag, value, number) in enumerate(given_rows, 2):
        if not user or tag not in TARGETS or number == "x":
            continue
        units = int(Decimal(number) * 100) if number else None
        subject = (user, tag, value) if tag == "likes" else (user, tag)
        if subject in last and last[subject][0] == (value, units):
            wrong[line] = f"CONFLICT repeats line {last[subject][1]}"
            continue
        last[subject] = ((value, units), line)
        holds[subject] = (line, value or units)

    assert reasons(repeats) == wrong
    expected = {(line, *key[:2], said) for key, (line, said) in holds.items()}
    found = {
        (c[0], c[1], tag, c[2] if len(c) > 2 else None) for tag, part in cells.items() for c in listed(part, names)
    }
    assert {(line, user, tag, said) for line, user, tag, said in expected} == {(a, b, t, s) for a, b, t, s in found}
    rejected = sum(len(result.rejected) for result in results)
    applied = sum(map(len, (cell for result in results for cell in result.cells))) - len(repeats)
    assert applied + rejected + len(repeats) == len(given_rows)


def test_a_large_file_with_one_row_in_a_hundred_broken(path: Path) -> None:
    chance = random.Random(7)
    lines, broken = [], []
    for line in range(2, 30_002):
        if chance.random() < 0.01:
            broken.append(line)
            lines.append(
                chance.choice([b"u1,city", b"u\xff,city,Paris", b'u1,"city,Paris', b"u1,nope,x", b"u1,city,Lyon"])
            )
        else:
            lines.append(b"user-%d,likes,thing-%d" % (line, chance.randrange(50)))
    data = b"user,tag,value\n" + b"\n".join(lines)
    path.write_bytes(data)
    found = []
    good = 0
    for block in read(path, data, "csv", MEMBERSHIPS, 100_000):
        result = memberships(block, TARGETS.get, near)
        found += [rejection.line for rejection in (*block.rejected, *result.rejected)]
        good += sum(map(len, result.cells))
    assert sorted(found) == broken
    assert good + len(broken) == 30_000


def test_piles_of_several_blocks_are_the_users_of_each_value(path: Path) -> None:
    said = [("b", "city", "Rome"), ("a", "city", "Rome"), ("a", "likes", "x"), ("c", "vip", ""), ("a", "likes", "y")]
    rows = [f"{user},{tag},{value}" for user, tag, value in said] * 1000 + ["d,city,Paris"]
    blocks = read(path, "\n".join(["user,tag,value", *rows]).encode(), "csv", MEMBERSHIPS, 4096)
    subjects = Subjects(TARGETS.get)
    piles: list[Piles] = []
    for block in blocks:
        found = piled(block, subjects)
        assert found is not None
        piles.append(found.numbered(np.array([ord(name) for name in found.names.to_pylist()], np.uint32)).piles)
    assert len(piles) > 2
    assert {value: bytes(users.astype(np.uint8)) for value, users in piles_of(piles, "city").items()} == {
        "Rome": b"a" * 1000 + b"b" * 1000,
        "Paris": b"d",
    }
    assert {value: bytes(users.astype(np.uint8)) for value, users in piles_of(piles, "vip").items()} == {
        None: b"c" * 1000
    }
    assert piles[-1].tags() == {"city", "likes", "vip"}


@pytest.mark.parametrize("name", ["TABLE", "TABLE_OF_BLOCK"])
def test_very_many_values_are_not_put_in_piles(path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"u,likes,v{number}" for number in range(99)]
    (block,) = read(path, "\n".join(["user,tag,value", *rows]).encode(), "csv", MEMBERSHIPS)
    assert piled(block, Subjects(TARGETS.get)) is not None
    monkeypatch.setattr(files.piles, name, 99)
    assert piled(block, Subjects(TARGETS.get)) is None


def test_more_subjects_than_two_bytes_can_tell_are_not_put_in_piles(path: Path) -> None:
    rows = [f"u,likes,v{number}" for number in range(1 << 16)]
    (block,) = read(path, "\n".join(["user,tag,value", *rows]).encode(), "csv", MEMBERSHIPS)
    subjects = Subjects(TARGETS.get)
    assert piled(block, subjects) is None
    assert len(subjects) == (1 << 16) - 2
    (block,) = read(path, b"user,tag,value\nu,likes,v7", "csv", MEMBERSHIPS)
    assert piled(block, subjects) is not None
