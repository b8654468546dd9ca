"""Wide rows as cells: a row is applied as a whole or not at all, and a row that repeats an earlier one is rejected."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmap_store.errors import Invalid, NotFound
from bitmap_store.files import Cells, Format, Target, WideRows, repeated_rows, settle, shape_of, table
from bitmap_store.values import DatePrecision, Rejection, TagKind
from tests.files_given import BLOCK, NO_DATE, listed, read, reasons, rejected

TARGETS = {
    target.key: target
    for target in (
        Target("vip", TagKind.FLAG),
        Target("city", TagKind.CHOICE, allowed=frozenset({"Paris", "Rome"})),
        Target("likes", TagKind.CHOICES),
        Target("spend", TagKind.NUMBER, scale=2),
        Target("born", TagKind.DATE, precision=DatePrecision.DAY),
        Target("bought", TagKind.EVENT),
        Target("rich", TagKind.FLAG, is_rule=True),
    )
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "given"


def interpreted(path: Path, data: str | pa.Table, format: Format = "csv", size: int = BLOCK) -> list[WideRows]:
    blocks = read(path, data.encode() if isinstance(data, str) else data, format, shape_of(TARGETS), size)
    found = [table(block, TARGETS) for block in blocks]
    for block, result in zip(blocks, found, strict=True):
        assert len(result.lines) + len(result.rejected) == len(block.lines)
        assert {int(user) for user in result.users} == set(range(len(result.names)))
    return found


def said(results: Sequence[WideRows]) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {}
    for result in results:
        for cells in result.cells:
            found.setdefault(cells.tag, []).extend(listed(cells, result.names))
    return found


def settled(results: Sequence[WideRows]) -> tuple[dict[str, list[tuple[Any, ...]]], list[Rejection]]:
    numbers: dict[str, int] = {}
    numbered = []
    for result in results:
        ids = np.array([numbers.setdefault(name, len(numbers)) for name in result.names.to_pylist()], np.uint32)
        numbered.append(result.numbered(ids))
    by_tag: dict[str, list[Cells]] = {}
    for result in numbered:
        for cells in result.cells:
            by_tag.setdefault(cells.tag, []).append(cells)
    rejections = repeated_rows(numbered)
    return {tag: listed(settle(parts, rejections), list(numbers)) for tag, parts in by_tag.items()}, rejections


def test_cells_by_tag(path: Path) -> None:
    data = (
        "user,vip,city,likes,spend,born\n"
        "u1,true,Paris,tea,1.5,2024-05-01\n"
        "u2,0,,milk,,\n"
        "u3,,,,,\n"
        "u4,1,Rome,,-2,1969-12-31\n"
        "u5,FALSE,Rome,,,\n"
        "u6,True,,,,\n"
    )
    results = interpreted(path, data)
    assert said(results) == {
        "vip": [(2, "u1"), (5, "u4"), (7, "u6")],
        "city": [(2, "u1", "Paris"), (5, "u4", "Rome"), (6, "u5", "Rome")],
        "likes": [(2, "u1", "tea"), (3, "u2", "milk")],
        "spend": [(2, "u1", 150), (5, "u4", -200)],
        "born": [(2, "u1", 19844), (5, "u4", -1)],
    }
    assert [result.names.to_pylist() for result in results] == [["u1", "u2", "u3", "u4", "u5", "u6"]]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",true,,,,", "INVALID the user is empty"),
        ("u,yes,,,,", "INVALID column 'vip': 'yes' is neither true nor false"),
        ("u,true,Pari,,,", "NOT_FOUND column 'city': there is no value 'Pari'; did you mean 'Paris'?"),
        ("u,true,Paris,tea,abc,", "INVALID column 'spend': 'abc' is not a number"),
        ("u,true,Paris,tea,0.001,", "INVALID column 'spend': 0.001 has more than the 2 decimals the tag keeps"),
        ("u,true,Paris,tea,1,soon", f"INVALID column 'born': 'soon' {NO_DATE}"),
        ("u,,,\x7f,,", "INVALID column 'likes': a value holds no control characters"),
    ],
)  # fmt: skip
def test_a_row_with_a_wrong_cell_is_rejected_as_a_whole(path: Path, row: str, reason: str) -> None:
    results = interpreted(path, f"user,vip,city,likes,spend,born\n{row}\nv,true,Rome,,2,\n")
    assert reasons(rejection for result in results for rejection in result.rejected) == {2: reason}
    assert said(results) == {"vip": [(3, "v")], "city": [(3, "v", "Rome")], "spend": [(3, "v", 200)]}
    assert [result.names.to_pylist() for result in results] == [["v"]]


def test_lists(path: Path) -> None:
    lines = [
        '{"user":"u1","likes":["tea","milk"],"vip":[true],"spend":12.50}',
        '{"user":"u2","likes":"tea","city":["Rome"]}',
        '{"user":"u3","likes":[],"city":null}',
        '{"user":"u4","likes":["tea",null]}',
        '{"user":"u5","city":["Rome","Paris"],"likes":["milk"]}',
        '{"user":"u6","likes":["tea",""]}',
        '{"user":"u7","likes":["tea","tea"]}',
    ]
    results = interpreted(path, "\n".join(lines), "ndjson")
    assert said(results) == {
        "likes": [(1, "u1", "tea"), (1, "u1", "milk"), (2, "u2", "tea"), (7, "u7", "tea"), (7, "u7", "tea")],
        "vip": [(1, "u1")],
        "spend": [(1, "u1", 1250)],
        "city": [(2, "u2", "Rome")],
    }
    assert reasons(rejection for result in results for rejection in result.rejected) == {
        4: "INVALID column 'likes': a list holds nothing at one of its places",
        5: "INVALID column 'city': a CHOICE takes one value, not a list",
        6: "INVALID column 'likes': a list holds nothing at one of its places",
    }
    assert settled(results)[0]["likes"][-1] == (7, "u7", "tea"), "a value that is said twice is one membership"


def test_typed_columns(path: Path) -> None:
    given_table = pa.table(
        {
            "user": [1, 2, 3],
            "vip": [True, False, None],
            "likes": [["a", "b"], None, ["c"]],
            "spend": pa.array([Decimal("1.50"), None, Decimal("-7.00")]),
            "city": pa.array(["Rome", None, "Paris"]).dictionary_encode(),
        }
    )
    assert said(interpreted(path, given_table, "parquet")) == {
        "vip": [(1, "1")],
        "likes": [(1, "1", "a"), (1, "1", "b"), (3, "3", "c")],
        "spend": [(1, "1", 150), (3, "3", -700)],
        "city": [(1, "1", "Rome"), (3, "3", "Paris")],
    }


def test_a_flag_takes_integers_0_and_1(path: Path) -> None:
    results = interpreted(path, pa.table({"user": ["a", "b", "c"], "vip": [1, 0, 2]}), "parquet")
    assert said(results) == {"vip": [(1, "a")]}
    assert reasons(results[0].rejected) == {3: "INVALID column 'vip': '2' is neither true nor false"}


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        ("vpi", NotFound, "there is no tag 'vpi'; did you mean 'vip'?"),
        ("rich", Invalid, "tag 'rich' follows from its rule and cannot be imported"),
        ("bought", Invalid, "tag 'bought' is an EVENT: use /import/events"),
    ],
)
def test_a_column_that_is_no_tag_fails_the_file(path: Path, column: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        interpreted(path, f"user,{column}\nu1,true\n")
    assert str(caught.value) == message


def test_repeated_rows_are_rejected_and_later_rows_replace(path: Path) -> None:
    data = (
        "user,vip,city,likes,spend\n"
        "u1,true,Paris,tea,1.5\n"
        "u2,true,Paris,tea,1.5\n"
        "u1,,Rome,milk,2\n"
        "u1,1,Paris,tea,1.50\n"  # says again what line 4 had changed, so it repeats nothing
        "u1,true,,tea,1.5\n"  # says less than line 5
        "u3,,,,\n"
        "u3,false,,,\n"  # repeats line 7: neither says anything
    )
    for size in (BLOCK, 30, 1):
        results = interpreted(path, data, size=size)
        found, rejections = settled(results)
        assert reasons(rejections) == {8: "CONFLICT repeats line 7"}
        assert found == {
            "vip": [(3, "u2"), (6, "u1")],
            "city": [(3, "u2", "Paris"), (5, "u1", "Paris")],
            "likes": [(3, "u2", "tea"), (4, "u1", "milk"), (6, "u1", "tea")],
            "spend": [(3, "u2", 150), (6, "u1", 150)],
        }


rows = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from(["", "true", "0"]),
        st.sampled_from(["", "Rome", "Paris", "Oslo"]),
        st.sampled_from(["", "x", "y"]),
        st.sampled_from(["", "1", "1.0"]),
    ),
    max_size=20,
)


@given(given_rows=rows, size=st.sampled_from([1, 30, BLOCK]))
def test_totals_add_up_and_what_holds_is_what_a_dictionary_holds(
    tmp_path_factory: pytest.TempPathFactory, given_rows: list[tuple[str, ...]], size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "wide.csv"
    results = interpreted(
        path, "user,vip,city,likes,spend\n" + "".join(f"{','.join(r)}\n" for r in given_rows), size=size
    )
    found, repeats = settled(results)

    last: dict[str, tuple[tuple[Any, ...], int]] = {}
    holds: dict[tuple[str, ...], int] = {}
    conflicts: dict[int, str] = {}
    for line, (user, vip, city, likes, spend) in enumerate(given_rows, 2):
        if city == "Oslo":
            continue
        row = (user, vip == "true", city, likes, spend != "")
        if user in last and last[user][0] == row:
            conflicts[line] = f"CONFLICT repeats line {last[user][1]}"
            continue
        last[user] = (row, line)
        for tag, cell in (("vip", vip if vip == "true" else ""), ("city", city), ("likes", likes), ("spend", spend)):
            if cell:
                key = (tag, user, cell) if tag == "likes" else (tag, user)
                holds[key] = line
    assert reasons(repeats) == conflicts
    assert {(c[1], tag, c[0]) for tag, cells in found.items() for c in cells} == {
        (key[1], key[0], line) for key, line in holds.items()
    }
    assert sum(map(len, found.values())) == len(holds)
    bad = sum(len(result.rejected) for result in results)
    assert sum(len(result.lines) for result in results) + bad == len(given_rows)


def test_a_list_of_nothing_is_no_header_fault(path: Path) -> None:
    assert rejected(read(path, b"user\nu1\n", "csv", shape_of(TARGETS))) == []
