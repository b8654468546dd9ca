"""Mapped bases and rows per user say what the fragments say; a flipped bit anywhere in a file is noticed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from bitmap_store import croaring
from bitmap_store.bitmaps import bitmap_of, checksum
from bitmap_store.plan import Happened, Range, Span, Tagged
from bitmap_store.rows import Rows, in_order, rows_of
from bitmap_store.sqlite import numbers, user_rows
from bitmap_store.sqlite.base import Fragment, FragmentValue, TagBase, fragments_of
from bitmap_store.sqlite.sections import Unusable
from bitmap_store.sqlite.tag_files import open_tag, write_tag
from bitmap_store.sqlite.user_rows import UserRows, write_rows
from bitmap_store.stopping import Stop
from bitmap_store.values import NEVER
from tests.test_rows import ids, same, some_rows

pytestmark = pytest.mark.skipif(not croaring.AVAILABLE, reason="this build of pyroaring does not export CRoaring")
COUNT = 9
shared = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
places = st.integers(-(2**63) - 1, 2**63)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small limits, so that small worlds go through every part."""
    monkeypatch.setattr(numbers, "FEW", 3)
    monkeypatch.setattr(user_rows, "GATHERED", 4)
    yield


def both(rows: Rows, path: Path) -> tuple[TagBase, TagBase]:
    """The base of some rows from fragments and from a file."""
    kept = TagBase.of_fragments(7, list(fragments_of(rows)), 5)
    write_tag(path, kept)
    return kept, open_tag(path, 5)


@shared
@given(some_rows(), st.lists(ids, max_size=5), st.integers(-(2**63), 2**63 - 1))
def test_a_mapped_base_is_the_base(tmp_path: Path, rows: Rows, wanted: list[int], moment: int) -> None:
    kept, mapped = both(rows, tmp_path / "tag")
    assert mapped.version == 7
    assert set(mapped.values) == set(kept.values)
    assert same(in_order(mapped.rows()), rows)
    users = bitmap_of(np.array([*wanted, *rows["user"][::2]], np.uint32))
    assert same(in_order(mapped.rows(users)), in_order(kept.rows(users)))
    assert mapped.next_end(moment) == kept.next_end(moment)
    values = tuple(range(4))
    for leaf in (
        Tagged(1),
        Tagged(1, (1, 9)),
        Tagged(1, None, Span(since_from=0)),
        Tagged(1, values, Span(since_until=5, score_min=0.25)),
        Range(1, -1, 1),
        Happened(1, None, -1, None),
        Happened(1, values, None, 1, 3),
    ):
        assert mapped.members(leaf, moment) == kept.members(leaf, moment), leaf
    sets = [value.users for value in kept.values.values()]
    assert mapped.exclusive == (sum(map(len, sets)) == len(BitMap.union(*sets)) if sets else True)


@shared
@given(
    st.lists(st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=40),
    st.integers(1, 60),
    st.lists(st.tuples(st.none() | places, st.none() | places) | st.tuples(st.integers(-4, 4), st.integers(-4, 4))),
    st.booleans(),
)
def test_intervals_of_numbers(
    tmp_path: Path,
    units: list[int],
    times: int,
    intervals: list[tuple[int | None, int | None]],
    some_end: bool,
) -> None:
    every = np.array(units * times)
    rows = rows_of(len(every))
    rows["user"] = np.arange(len(every)) * 3
    rows["units"] = every
    if some_end:
        rows["expires"] = np.arange(len(every)) % 5
    kept, mapped = both(rows, tmp_path / "tag")
    assert (mapped.numbers is None) == (len(set(units)) == 1)
    for low, high in [*intervals, (units[0], units[-1]), (units[0], None), (None, units[0])]:
        for moment in (-1, 2, 9):
            leaf = Range(1, low, high)
            assert mapped.members(leaf, moment) == kept.members(leaf, moment), leaf
            late = Range(1, low, high, Span(since_from=1))
            assert mapped.members(late, moment) == kept.members(late, moment), late


def test_columns_of_few_values_are_kept_as_codes(tmp_path: Path) -> None:
    rows = rows_of(100_000)
    rows["user"] = np.arange(100_000)
    rows["since"] = np.arange(100_000) % 200
    rows["score"] = np.where(np.arange(100_000) % 3, 0.5, np.nan)
    rows["last"] = np.arange(100_000) % 3000
    rows["source"] = np.arange(100_000)
    kept, mapped = both(rows, tmp_path / "tag")
    assert (tmp_path / "tag").stat().st_size < 100_000 * (1 + 1 + 2 + 4) + 60_000
    assert same(mapped.rows(), rows)
    some = BitMap(range(0, 200_000, 77))
    assert same(mapped.rows(some), kept.rows(some))


def flips(path: Path, count: int) -> Iterator[int]:
    """The file with one bit flipped, evenly over all of it and in each of the last bits; then as it was."""
    data = path.read_bytes()
    last = len(data) * 8
    for at in sorted({*range(0, last, max(1, last // count)), *range(last - 250, last, 3)}):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        path.write_bytes(flipped)
        yield at
    path.write_bytes(data)


def test_a_flipped_bit_of_a_base_is_noticed(tmp_path: Path) -> None:
    rows = rows_of(300)
    rows["user"] = np.arange(300) * 1000
    rows["units"] = np.arange(300) * 7919 % 300
    rows["since"] = np.arange(300) % 7
    path = tmp_path / "tag"
    both(rows, path)
    for _ in flips(path, 500):
        with pytest.raises(Unusable):
            open_tag(path, 5)
    open_tag(path, 5)
    with pytest.raises(Unusable):
        open_tag(path, 6)
    for size in (0, 10, path.stat().st_size - 1):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(Unusable):
            open_tag(path, 5)


# ---------------------------------------------------------------- rows per user


def tag_bases(found: list[Rows]) -> dict[int, TagBase]:
    return {tag: TagBase.of_fragments(1, list(fragments_of(rows)), tag + 9) for tag, rows in enumerate(found)}


@shared
@given(st.lists(some_rows(), max_size=4), st.lists(ids, max_size=5), st.sampled_from([0, 32]))
def test_rows_say_what_the_sets_say(tmp_path: Path, found: list[Rows], some: list[int], thin: int) -> None:
    bases = tag_bases(found)
    path = tmp_path / "rows"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(user_rows, "THIN", thin)
        write_rows(path, bases)
    rows = UserRows(path)
    sets = [(tag, value.value, value.users) for tag, base in bases.items() for value in base.values.values()]
    of_codes = [
        (tag, int(rows.values[code]))
        for tag, codes in rows.tags.items()
        for code in range(codes.first, codes.first + codes.count)
    ]
    assert of_codes == [(tag, value) for tag, value, _ in sets]
    assert {tag: codes.stamp for tag, codes in rows.tags.items()} == {tag: tag + 9 for tag in bases}
    everyone = BitMap.union(*(users for *_, users in sets)) if sets else BitMap()
    asked = np.array(sorted({*some, *everyone}), np.uint32)
    codes, sizes = rows.codes_of(asked)
    said = iter(codes.tolist())
    for user, size in zip(asked.tolist(), sizes.tolist(), strict=True):
        assert [next(said) for _ in range(size)] == [code for code, (*_, users) in enumerate(sets) if user in users]
    among = BitMap(asked)
    assert rows.count(asked, Stop()).tolist() == [len(users & among) for *_, users in sets]
    assert rows.memberships == sum(codes.members for codes in rows.tags.values())


def one_member(user: int) -> Fragment:
    """A fragment of one user, without columns."""
    users = bytes(BitMap([user]).serialize())
    return Fragment(0, 0, 1, NEVER, checksum(users, b""), users, b"")


def test_more_values_than_sixteen_bits_can_number(tmp_path: Path) -> None:
    values = {value: FragmentValue(value, [one_member(value // 7)]) for value in range(70_000)}
    write_rows(tmp_path / "rows", {1: TagBase(1, values)})
    found = UserRows(tmp_path / "rows")
    codes, sizes = found.codes_of(np.array([3, 9_999, 12_000], np.uint32))
    assert found.values[codes].tolist() == [*range(21, 28), *range(69_993, 70_000)]
    assert sizes.tolist() == [7, 7, 0]


def test_a_flipped_bit_of_rows_is_noticed(tmp_path: Path) -> None:
    rows = rows_of(2_000)
    rows["user"] = np.arange(2_000) * 70
    path = tmp_path / "rows"
    write_rows(path, tag_bases([rows, rows]))
    everyone = rows["user"].astype(np.uint32)

    def read() -> None:
        UserRows(path).codes_of(everyone)

    for _ in flips(path, 200):
        with pytest.raises(Unusable):
            read()
    read()
