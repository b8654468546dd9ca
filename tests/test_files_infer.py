"""What a file would define: kinds, scales and precisions, as a person is shown them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bitmap_store.errors import Invalid
from bitmap_store.files import EVENTS, MEMBERSHIPS, PROFILES, Format, Shape, infer, shape_of
from tests.files_given import BLOCK


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "given"


def inferred(path: Path, data: str, shape: Shape, format: Format = "csv", size: int = BLOCK) -> list[str]:
    path.write_text(data)
    return [str(tag) for tag in infer(path, format, shape, block_bytes=size)]


TABLE = shape_of({})


def test_memberships_by_the_column_that_is_used(path: Path) -> None:
    data = (
        "user,tag,value,number,date\n"
        "u1,vip,,,\n"
        "u1,city,Paris,,\n"
        "u1,city,Paris,,\n"  # the same again makes no second value
        "u2,city,Rome,,\n"
        "u1,likes,tea,,\n"
        "u1,likes,milk,,\n"
        "u1,spend,,12.50,\n"
        "u2,spend,,7,\n"
        "u1,born,,,2024-05-01\n"
        "u1,seen,,,2024-05-01\n"
        "u2,seen,,,2024-05-01T12:00:00Z\n"
        "u2,broken\n"
        "u3,code,007,,\n"
    )
    assert inferred(path, data, MEMBERSHIPS) == [
        "vip: FLAG, 1 rows",
        "city: CHOICE, 3 rows, such as Paris, Rome",
        "likes: CHOICES, 2 rows, such as tea, milk",
        "spend: NUMBER with 2 decimals, 2 rows, such as 12.50, 7",
        "born: DATE by day, 1 rows, such as 2024-05-01",
        "seen: DATE by second, 2 rows, such as 2024-05-01, 2024-05-01T12:00:00Z",
        "code: CHOICE, 1 rows, such as 007",
    ]


def test_two_values_in_different_blocks_make_choices(path: Path) -> None:
    rows = "u1,city,Paris\n" + "".join(f"v{i},city,Rome\n" for i in range(20))
    assert inferred(path, f"user,tag,value\n{rows}", MEMBERSHIPS, size=16)[0].startswith("city: CHOICE, ")
    assert inferred(path, f"user,tag,value\n{rows}u1,city,Oslo\n", MEMBERSHIPS, size=16)[0].startswith(
        "city: CHOICES, "
    )


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["true", "FALSE", ""], "FLAG, 2 rows, such as true, FALSE"),
        (["1", "0", "1"], "NUMBER with 0 decimals, 3 rows, such as 1, 0"),
        (["1.5", "-2", "3.25"], "NUMBER with 2 decimals, 3 rows, such as 1.5, -2, 3.25"),
        (["0.1234567891", "1", "2"], "NUMBER with 9 decimals, 3 rows, such as 0.1234567891, 1, 2"),
        (["007", "1", "2"], "CHOICE, 3 rows, such as 007, 1, 2"),
        (["+4912", "1", "2"], "CHOICE, 3 rows, such as +4912, 1, 2"),
        (["1234567890123456789", "1", "2"], "CHOICE, 3 rows, such as 1234567890123456789, 1, 2"),
        (["2024-05-01", "", "2024-05-02"], "DATE by day, 2 rows, such as 2024-05-01, 2024-05-02"),
        (["2024-05-01", "2024-05-01T12:00:00Z", ""],
         "DATE by second, 2 rows, such as 2024-05-01, 2024-05-01T12:00:00Z"),
        (["2024-05-01", "5", ""], "CHOICE, 2 rows, such as 2024-05-01, 5"),
        (["x", "1", "true"], "CHOICE, 3 rows, such as x, 1, true"),
        (["", "", ""], "CHOICE, 0 rows"),
    ],
)  # fmt: skip
def test_a_table_by_what_its_cells_look_like(path: Path, cells: list[str], expected: str) -> None:
    data = "user,x\n" + "".join(f"u{i},{cell}\n" for i, cell in enumerate(cells))
    assert inferred(path, data, TABLE) == [f"x: {expected}"]


def test_a_table_in_which_users_repeat(path: Path) -> None:
    data = "user,x,y,n\nu1,a,a,1\nu1,b,a,2\nu1,,,3\n"
    assert [line.split(",")[0] for line in inferred(path, data, TABLE)] == [
        "x: CHOICES",
        "y: CHOICE",
        "n: NUMBER with 0 decimals",
    ]


def test_values_that_looked_like_numbers_at_first_are_not_forgotten(
    path: Path,
) -> None:
    rows = "".join(f"u{i},{i}\n" for i in range(20))
    assert inferred(path, f"user,x\n{rows}u99,text\n", TABLE, size=16) == ["x: CHOICE, 21 rows, such as 0, 1, 2"]
    assert inferred(path, f"user,x\n{rows}u1,text\n", TABLE, size=16) == ["x: CHOICES, 21 rows, such as 0, 1, 2"]


def test_lists_make_choices(path: Path) -> None:
    data = '{"user":"a","x":["p","q"],"y":["p"],"n":1.50}\n{"user":"b","x":"p"}\n'
    assert inferred(path, data, TABLE, "ndjson") == [
        "x: CHOICES, 2 rows, such as p, q",
        "y: CHOICE, 1 rows, such as p",
        "n: NUMBER with 2 decimals, 1 rows, such as 1.50",
    ]


def test_types_of_parquet_decide(path: Path) -> None:
    table = pa.table(
        {
            "user": ["a", "b"],
            "flag": [True, None],
            "whole": [1, 0],
            "small": [1e-7, 2.5],
            "day": pa.array([1, 2], pa.date32()),
            "moment": pa.array([1, 2], pa.timestamp("us")),
            "text": ["1", "x"],
        }
    )
    pq.write_table(table, path)
    assert [str(tag).split(", ")[0] for tag in infer(path, "parquet", TABLE)] == [
        "flag: FLAG",
        "whole: NUMBER with 0 decimals",
        "small: NUMBER with 7 decimals",
        "day: DATE by day",
        "moment: DATE by second",
        "text: CHOICE",
    ]


def test_events_are_events(path: Path) -> None:
    data = "user,tag,value,at\nu1,bought,milk,2024-05-01\nu1,bought,tea,2024-05-01\nu1,visit,,2024-05-01\n"
    assert inferred(path, data, EVENTS) == ["bought: EVENT, 2 rows, such as milk, tea", "visit: EVENT, 1 rows"]


def test_profiles_define_no_tags(path: Path) -> None:
    with pytest.raises(Invalid, match="a file of profiles defines no tags"):
        inferred(path, "user\nu1\n", PROFILES)


@pytest.mark.parametrize("shape", [MEMBERSHIPS, EVENTS, TABLE], ids=lambda shape: shape.route)
def test_a_file_without_rows_defines_nothing(path: Path, shape: Shape) -> None:
    assert inferred(path, "", shape, "ndjson") == []
