"""Rows of events as cells: local days, counts, and rows that add up."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmap_store.errors import nearest
from bitmap_store.files import EVENTS, Format, Interpreted, Target, events, reject_repeats
from bitmap_store.files.local_days import day_starts, local_days
from bitmap_store.values import TagKind, micros
from tests.files_given import NO_DATE, listed, read, reasons

SHANGHAI = ZoneInfo("Asia/Shanghai")
TARGETS = {
    "bought": Target("bought", TagKind.EVENT, allowed=frozenset({"milk", "tea"})),
    "visit": Target("visit", TagKind.EVENT),
    "vip": Target("vip", TagKind.FLAG),
}


def near(name: str) -> Sequence[str]:
    return nearest(name, TARGETS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "given"


def interpreted(path: Path, data: str | pa.Table, format: Format = "csv", zone: dt.tzinfo = SHANGHAI) -> Interpreted:
    [block] = read(path, data.encode() if isinstance(data, str) else data, format, EVENTS)
    result = events(block, TARGETS.get, near, zone)
    assert sum(map(len, result.cells)) + len(result.rejected) == len(block.lines)
    return result


def day(text: str) -> int:
    return (dt.date.fromisoformat(text) - dt.date(1970, 1, 1)).days


def moment(text: str) -> int:
    return micros(dt.datetime.fromisoformat(text))


def test_days_are_those_of_the_time_zone(path: Path) -> None:
    data = (
        "user,tag,value,at,count\n"
        "u1,bought,milk,2024-05-01T15:59:59Z,\n"
        "u1,bought,milk,2024-05-01T16:00:00Z,3\n"
        "u2,bought,,2024-05-01,4294967295\n"
        "u1,bought,tea,2024-05-01T23:00:00-05:00,007\n"
    )
    result = interpreted(path, data)
    assert result.rejected == []
    [cells] = result.cells
    assert listed(cells, result.names) == [
        (2, "u1", "milk", day("2024-05-01"), 1, moment("2024-05-01T15:59:59Z")),
        (3, "u1", "milk", day("2024-05-02"), 3, moment("2024-05-01T16:00:00Z")),
        (4, "u2", None, day("2024-05-01"), 4294967295, moment("2024-04-30T16:00:00Z")),
        (5, "u1", "tea", day("2024-05-02"), 7, moment("2024-05-02T04:00:00Z")),
    ]
    assert cells.counts is not None
    assert cells.counts.dtype == np.uint32


def test_typed_moments_and_counts(path: Path) -> None:
    at = pa.array([dt.datetime(2024, 5, 1, 16), dt.datetime(2024, 5, 1, 15)], pa.timestamp("ms"))
    given_table = pa.table(
        {"user": ["a", "b"], "tag": ["visit"] * 2, "at": at, "count": pa.array([2, None], pa.int16())}
    )
    result = interpreted(path, given_table, "parquet")
    assert [cell[3:5] for cell in listed(result.cells[0], result.names)] == [
        (day("2024-05-02"), 2),
        (day("2024-05-01"), 1),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",visit,,2024-05-01,", "INVALID the user is empty"),
        ("u,,,2024-05-01,", "INVALID the tag is empty"),
        ("u,vist,,2024-05-01,", "NOT_FOUND there is no tag 'vist'; did you mean 'visit'?"),
        ("u,vip,,2024-05-01,", "INVALID tag 'vip' is a FLAG, not an EVENT: use /import/memberships"),
        ("u,bought,mlik,2024-05-01,", "NOT_FOUND tag 'bought': there is no value 'mlik'; did you mean 'milk'?"),
        ("u,visit,,,", "INVALID column 'at': an event needs its moment"),
        ("u,visit,,now,", f"INVALID column 'at': 'now' {NO_DATE}"),
        ("u,visit,,9999-12-31T23:00:00Z,", "INVALID column 'at': an event lies within 0001-01-02 and 9999-12-30"),
        ("u,visit,,0001-01-01,", "INVALID column 'at': a day of a time zone lies within 0001-01-02 and 9999-12-30"),
        ("u,visit,,2024-05-01,0", "INVALID column 'count': the count '0' is not a whole number from 1"),
        ("u,visit,,2024-05-01,-1", "INVALID column 'count': the count '-1' is not a whole number from 1"),
        ("u,visit,,2024-05-01,1.5", "INVALID column 'count': the count '1.5' is not a whole number from 1"),
        ("u,visit,,2024-05-01,4294967296", "INVALID column 'count': the count '4294967296' is over 4294967295"),
        (f"u,visit,,2024-05-01,{'9' * 70}", f"INVALID column 'count': the count '{'9' * 60}…' is over 4294967295"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named_and_spoils_no_other(path: Path, row: str, reason: str) -> None:
    result = interpreted(path, f"user,tag,value,at,count\nu0,visit,,2024-05-01,1\n{row}\nu0,visit,,2024-05-01,1\n")
    assert reasons(result.rejected) == {3: reason}
    assert [cell[0] for cells in result.cells for cell in listed(cells, result.names)] == [2, 4]


def test_events_add_up_until_the_count_of_a_day_is_full(path: Path) -> None:
    data = (
        "user,tag,value,at,count\n"
        "u1,bought,milk,2024-05-01,4294967290\n"
        "u1,bought,milk,2024-05-01,4\n"
        "u1,bought,milk,2024-05-01,6\n"
        "u1,bought,milk,2024-05-01,1\n"
        "u1,bought,milk,2024-05-01,0\n"
        "u1,bought,milk,2024-05-01,0\n"
        "u1,bought,tea,2024-05-01,4294967295\n"
        "u1,bought,milk,2024-05-02,4294967295\n"
        "u2,bought,milk,2024-05-01,4294967295\n"
    ).replace(",0\n", ",\n")
    result = interpreted(path, data)
    cells, rejections = reject_repeats(result.numbered(np.arange(len(result.names))).cells)
    full = "INVALID the events of one user on one day would count over 4294967295"
    assert reasons(rejections) == {4: full, 6: full, 7: full}
    assert cells.lines.tolist() == [2, 3, 5, 8, 9, 10]


ZONES = ["UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Pacific/Apia", "Asia/Kathmandu", "Africa/Cairo"]


@given(
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    moments=st.lists(st.datetimes(dt.datetime(1850, 1, 1), dt.datetime(2100, 1, 1)), min_size=1),
)
def test_local_days_agree_with_the_standard_library(zone: ZoneInfo, moments: list[dt.datetime]) -> None:
    aware = [each.replace(tzinfo=dt.UTC) for each in moments]
    expected = [(each.astimezone(zone).date() - dt.date(1970, 1, 1)).days for each in aware]
    days = local_days(np.array([micros(each) for each in aware]), zone)
    assert days.tolist() == expected
    starts = [micros(dt.datetime.combine(each.astimezone(zone).date(), dt.time(), zone)) for each in aware]
    assert day_starts(days, zone).tolist() == starts


def test_local_days_around_every_change_of_the_clock() -> None:
    zone = ZoneInfo("Europe/Berlin")
    hours = [dt.datetime(2024, month, 31, hour, 30, tzinfo=dt.UTC) for month in (3, 10) for hour in range(24)]
    hours += [dt.datetime(2024, month, 30, hour, 30, tzinfo=dt.UTC) for month in (3, 10) for hour in range(24)]
    hours += [dt.datetime(2024, 10, day, hour, 30, tzinfo=dt.UTC) for day in (26, 27, 28) for hour in range(24)]
    expected = [(each.astimezone(zone).date() - dt.date(1970, 1, 1)).days for each in hours]
    assert local_days(np.array([micros(each) for each in hours]), zone).tolist() == expected
