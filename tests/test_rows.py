"""Rows on disk: what is read is what was written, or an error."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitmap_store.bitmaps import bitmap_of, ids_of, packed, unpacked
from bitmap_store.errors import Damaged
from bitmap_store.rows import NAMES, Rows, decode, decode_columns, encode, in_order, is_member, joined, rows_of
from bitmap_store.sqlite.base import SHARD_BITS, Fragment, TagBase, fragments_of

EDGES = [0, 1, 2**16 - 1, 2**16, 2**16 + 1, 2**20 - 1, 2**20, 2**20 + 1, 2**32 - 1]
ids = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**32 - 1))
wide = st.integers(-(2**63), 2**63 - 1)


@st.composite
def some_rows(draw: st.DrawFn, repeats: bool = True) -> Rows:
    """Rows in canonical order; with repeats a user may have several of one value, as events do."""
    keys = draw(st.lists(st.tuples(ids, st.integers(0, 3), st.integers(-2, 2) if repeats else st.just(0)), unique=True))
    rows = rows_of(len(keys))
    for name, column in zip(("user", "value", "units"), zip(*keys, strict=True), strict=False):
        rows[name] = column
    for name in ("since", "expires", "last"):
        rows[name] = draw(st.one_of(wide, st.lists(wide, min_size=len(keys), max_size=len(keys)))) if keys else 0
    rows["score"] = draw(st.sampled_from([np.nan, 0.5, -0.0]))
    rows["count"] = draw(st.integers(0, 2**32 - 1))
    return in_order(rows)


def same(a: Rows, b: Rows) -> bool:
    """Equality to the bit, so that NaN is NaN."""
    return len(a) == len(b) and all(a[name].tobytes() == b[name].tobytes() for name in NAMES)


@given(some_rows())
def test_rows_come_back_as_they_were(rows: Rows) -> None:
    assert same(decode(encode(rows)), rows)


@given(some_rows(), st.sampled_from([name for name in NAMES if name not in ("user", "value", "units")]))
def test_many_distinct_values_of_a_column_come_back(rows: Rows, name: str) -> None:
    many = joined([rows] * 300)
    many[name] = np.arange(len(many))
    assert same(decode(encode(many)), many)


@pytest.mark.parametrize("width", [1, 8, 16, 24, 33, 63, 64])
@pytest.mark.parametrize("count", [64, 65, 5000, 150_000])
def test_columns_of_any_spread_come_back(width: int, count: int) -> None:
    chance = np.random.default_rng(width * count)
    rows = rows_of(count)
    rows["user"] = np.flatnonzero(chance.random(2 * count) < 0.7)[:count].astype(np.uint32)
    low = -(2 ** (width - 1))
    for name in ("units", "since", "last"):
        rows[name] = chance.integers(low, low + 2**width - 1, count, endpoint=True)
    rows["score"] = np.where(chance.random(count) < 0.3, np.nan, chance.normal(size=count))
    rows["count"] = chance.integers(0, 2 ** min(width, 32), count)
    rows["source"] = np.where(chance.random(count) < 0.01, 7, 3)
    assert same(decode(encode(rows)), rows)
    assert same(decode(encode(rows.take(slice(None, None, -1)))), rows.take(slice(None, None, -1)))


def test_older_columns_are_still_read() -> None:
    users = np.arange(3, 300, 3, dtype=np.uint32)
    column = struct.pack("<BBI", 0, 3, len(data := zlib.compress(users.tobytes(), 1))) + data
    block = struct.pack("<4sIII", b"TRw1", len(users), 1, len(column)) + column
    rows = decode(block + struct.pack("<I", zlib.crc32(block)))
    assert rows["user"].tolist() == users.tolist()


@given(some_rows(), st.data())
def test_a_flipped_bit_is_an_error(rows: Rows, data: st.DataObject) -> None:
    encoded = bytearray(encode(rows))
    at = data.draw(st.integers(0, len(encoded) * 8 - 1))
    encoded[at // 8] ^= 1 << (at % 8)
    try:
        found = decode(bytes(encoded))
    except Damaged:
        return
    assert same(found, rows)


@pytest.mark.parametrize("data", [b"", b"TRw1", encode(rows_of(3))[:-1], encode(rows_of(3)) + b"x"])
def test_what_is_no_block_of_rows_is_an_error(data: bytes) -> None:
    with pytest.raises(Damaged):
        decode_columns(data)


@pytest.mark.parametrize("data", [b"", b"nonsense", packed(bitmap_of(np.arange(9, dtype=np.uint32)))[:-3]])
def test_what_is_no_bitmap_is_an_error(data: bytes) -> None:
    with pytest.raises(Damaged):
        unpacked(data)


@given(some_rows())
def test_fragments_hold_the_rows_of_their_shard_and_value(rows: Rows) -> None:
    fragments = list(fragments_of(rows))
    assert len({(f.value, f.shard) for f in fragments}) == len(fragments)
    for fragment in fragments:
        assert {int(user) >> SHARD_BITS for user in unpacked(fragment.users)} == {fragment.shard}
    assert same(in_order(TagBase.of_fragments(1, fragments).rows()), rows)


@given(some_rows(), st.lists(ids, max_size=5))
def test_the_rows_of_some_users(rows: Rows, wanted: list[int]) -> None:
    users = bitmap_of(np.array([*wanted, *rows["user"][::2]], np.uint32))
    found = in_order(TagBase.of_fragments(1, fragments_of(rows)).rows(users))
    assert same(found, rows.take(np.isin(rows["user"], ids_of(users))))


@given(some_rows(repeats=False), st.data())
def test_a_flipped_bit_of_a_fragment_is_an_error(rows: Rows, data: st.DataObject) -> None:
    fragments = list(fragments_of(rows))
    if not fragments:
        return
    fragment = data.draw(st.sampled_from(fragments))
    part = data.draw(st.sampled_from(["users", "columns"]))
    flipped = bytearray(getattr(fragment, part))
    at = data.draw(st.integers(0, len(flipped) * 8 - 1))
    flipped[at // 8] ^= 1 << (at % 8)
    fields = {name: getattr(fragment, name) for name in Fragment.__slots__} | {part: bytes(flipped)}
    with pytest.raises(Damaged):
        TagBase.of_fragments(1, [Fragment(**fields)])


@pytest.mark.parametrize("first", [0, 1, 2**20 - 3, 2**32 - 9000])
def test_membership_of_many(first: int) -> None:
    values = np.arange(first, first + 9000, dtype=np.uint32)
    for ordered in (values[::3], values[5:6], values[:0], values[-4000:-2], values):
        for asked in (values, values[::-1], values[1000:], np.array([0, 2**32 - 1] * 3000, np.uint32)):
            assert is_member(asked, ordered).tolist() == np.isin(asked, ordered).tolist()


@given(st.lists(ids), st.lists(ids))
def test_membership_in_ordered_ids(values: list[int], members: list[int]) -> None:
    ordered = np.unique(np.array(members, np.uint32))
    found = is_member(np.array(values, np.uint32), ordered)
    assert found.tolist() == [value in set(members) for value in values]
