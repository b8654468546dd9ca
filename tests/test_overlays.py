"""What was written since the base: in layers, and in leaves that are carried on, it says what it says from scratch."""

from array import array
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from bitmap_store.bitmaps import bitmap_of
from bitmap_store.definitions import TagDefinition
from bitmap_store.plan import Happened, Range, Reading, Span, Tagged
from bitmap_store.rows import NAMES, ROW, Row, Rows, decode, encode, in_order
from bitmap_store.sqlite import layers as layers_module
from bitmap_store.sqlite.base import Leaf, TagBase, members_of_rows
from bitmap_store.sqlite.database import read_connection
from bitmap_store.sqlite.layers import (
    Change,
    Layer,
    bytes_of,
    covered,
    grown,
    members_among,
    members_in,
    merged,
    next_end,
    rows_in,
)
from bitmap_store.sqlite.leaves import KnownLeaf, LeafCache
from bitmap_store.sqlite.log import LogEntry
from bitmap_store.sqlite.memberships import Memberships
from bitmap_store.sqlite.standing import Standing
from bitmap_store.values import NEVER, Assign, Batch, TagKind, micros
from tests.histories import batches, define
from tests.worlds import MONDAY, StillClock, StoreWorld, copied

NOW = micros(MONDAY)
TAG = 1


@cache
def written_world() -> tuple[TemporaryDirectory[str], Path]:
    """A directory of a store in which the tags are defined."""
    root = TemporaryDirectory(prefix="tagroar-")
    world = StoreWorld(Path(root.name) / "store", StillClock())
    define(world)
    world.close()
    return root, world.directory


# ---------------------------------------------------------------- rows and leaves, however many

rows = st.builds(
    lambda user, value, units, since, expires, score, count: (user, value, units, since, expires, 0, score, count, 0),
    st.integers(0, 5),
    st.integers(0, 2),
    st.integers(-2, 2),
    st.integers(0, 3),
    st.sampled_from([0, 1, 2, NEVER]),
    st.sampled_from([float("nan"), 0.5, 1.0]),
    st.integers(1, 3),
)
some_rows = st.lists(rows, max_size=8, unique_by=lambda row: row[:3]).map(sorted)
bounds = st.none() | st.integers(-2, 2)
spans = st.builds(
    Span, st.none() | st.integers(0, 3), st.none() | st.integers(0, 3), st.sampled_from([None, 0.5, 0.75])
)
values = st.none() | st.lists(st.integers(0, 2), max_size=2).map(tuple)
leaves = st.one_of(
    st.builds(Tagged, st.just(TAG), values, spans),
    st.builds(Range, st.just(TAG), bounds, bounds, spans),
    st.builds(Happened, st.just(TAG), values, bounds, bounds, st.integers(1, 4)),
)


def in_columns(tuples: Sequence[Row]) -> Rows:
    """Rows that are kept as columns though they are few."""
    columns = zip(*tuples, strict=True) if tuples else [()] * len(NAMES)
    return Rows(len(tuples), {name: np.array(column, ROW[name]) for name, column in zip(NAMES, columns, strict=True)})


@given(some_rows, leaves, st.integers(0, 2))
def test_few_rows_are_selected_from_as_many_are(tuples: list[Row], leaf: Leaf, moment: int) -> None:
    few, many = Rows.from_tuples(tuples), in_columns(tuples)
    assert many.few() is None
    assert members_among(leaf, moment, few) == members_of_rows(leaf, moment, many)
    assert next_end(few, moment) == next_end(many, moment)
    users = BitMap([0, 2, 4])
    for found in (few.of(users), many.of(users), few.of_few(users), many.of_few(users)):
        assert repr(found.tolist()) == repr([row for row in tuples if row[0] in users])
    assert repr(few.without(users).tolist()) == repr(many.without(users).tolist())
    assert repr(decode(encode(many)).tolist()) == repr(tuples)
    assert repr(many.narrowed().tolist()) == repr(tuples)


# ---------------------------------------------------------------- layers


@st.composite
def changes(draw: st.DrawFn) -> Layer:
    """What one version did: some users are touched, and some of these have rows afterwards."""
    tuples = draw(some_rows)
    touched = BitMap([row[0] for row in tuples]) | BitMap(draw(st.lists(st.integers(0, 5), min_size=1, max_size=2)))
    return Layer(0, touched, draw(st.sampled_from([Rows.from_tuples, in_columns]))(tuples))


@given(st.lists(changes(), min_size=1, max_size=12), leaves, st.integers(0, 2), st.sampled_from([0, 6, 64]))
def test_layers_say_what_was_written_last(written: list[Layer], leaf: Leaf, moment: int, few: int) -> None:
    with patch.object(layers_module, "FEW", few):  # up to which size they are merged row by row
        check_layers(written, leaf, moment)


def check_layers(written: list[Layer], leaf: Leaf, moment: int) -> None:
    """Layers grow by one change after the other, and say at the end what the last change of each user said."""
    said: dict[int, list[Row]] = {}
    layers: tuple[Layer, ...] = ()
    for version, change in enumerate(written, 1):
        layer = Layer(version, change.touched, change.rows)
        said |= {user: [] for user in layer.touched}
        for row in layer.rows.tolist():
            said[row[0]].append(row)
        layers = grown(layers, layer)
        sizes = [each.size for each in layers]
        assert all(older > 2 * newer for older, newer in pairwise(sizes))
        assert layers[-1].until == version
    every = [row for user in sorted(said) for row in said[user]]
    assert covered(layers) == BitMap(said)
    assert repr(merged(layers).rows.tolist()) == repr(every)
    for users in (BitMap([1]), BitMap([0, 3, 5, 9])):
        parts, left = rows_in(reversed(layers), users)
        found = sorted((row for part in parts for row in part.tolist()), key=lambda row: row[:3])
        assert repr(found) == repr([row for row in every if row[0] in users])
        assert left == users - BitMap(said)
    touched, members, _ = members_in(reversed(layers), leaf, moment)
    assert touched == BitMap(said)
    assert members == members_of_rows(leaf, moment, in_order(in_columns(every)))


@given(st.lists(changes(), min_size=1, max_size=8), st.integers(0, 3), st.sampled_from([0, 0, 2, 5]), st.data())
def test_later_rows_are_those_after_the_last_change(
    written: list[Layer], sealed: int, flip: int, data: st.DataObject
) -> None:
    """At each version that layers and base do not go beyond, while more is written."""
    entries: list[LogEntry] = []
    flips = [LogEntry(flip, True, 0)] if flip else []
    standing = Standing(TagBase(0, {}), 0, array("q"), entries, flips, (), sealed)
    users = BitMap([0, 2, 5])
    for version, change in enumerate(written, 1):
        if version == flip:
            entries.append(flips[0])
        else:
            entries.append(LogEntry(version, False, version, Change(change.touched, change.rows, change.rows)))
        at = data.draw(st.integers(0, version))
        found = standing.later_rows(at, users)
        if at < max(sealed, flip):
            assert found is None
            continue
        assert found is not None
        said: dict[int, list[Row]] = {}
        for entry in entries:
            if sealed < entry.version <= at and entry.change is not None:
                said |= {user: entry.change.before.of(BitMap([user])).tolist() for user in entry.change.touched & users}
        parts, left = found
        assert repr([row for part in parts for row in part.tolist()]) == repr(
            [r for u in sorted(said) for r in said[u]]
        )
        assert left == users - BitMap(said)
    entries.append(LogEntry(len(written) + sealed + 1, False, 0))  # of which nothing is in hand
    assert standing.later_rows(len(written) + sealed + 1, users) is None


# ---------------------------------------------------------------- leaves

steps = st.sampled_from(["write", "write", "write", "fold", "wait"])
node_of = {
    TagKind.FLAG: [None],
    TagKind.CHOICE: [None, (1,), (1, 2)],
    TagKind.CHOICES: [None, (2,), (1, 3)],
    TagKind.EVENT: [None, (1,)],
}


def nodes_of(tag: int, kind: TagKind) -> list[Leaf]:
    """Leaves of every form over a tag."""
    span = Span(since_from=NOW + 1)
    if kind in (TagKind.NUMBER, TagKind.DATE):
        return [Range(tag, None, 1000), Range(tag, 0, None, span), Tagged(tag)]
    if kind is TagKind.EVENT:
        return [Happened(tag, each, None, None, times) for each in node_of[kind] for times in (1, 3)]
    plain: list[Leaf] = [Tagged(tag, each) for each in node_of[kind]]
    return [*plain, Tagged(tag, None, span), Tagged(tag, None, Span(score_min=0.5))]


@settings(max_examples=settings().max_examples // 2)
@given(st.data(), st.sampled_from([0, 1, 3]), st.sampled_from([0, 500, 1 << 20]))
def test_leaves_carried_on_are_those_from_scratch(data: st.DataObject, tail_max: int, cache_bytes: int) -> None:
    """At many versions and moments, in any order, a store that was asked before says what a new one says."""
    with TemporaryDirectory(prefix="tagroar-") as root:
        clock = StillClock()
        world = StoreWorld(
            copied(written_world()[1], Path(root) / "0"), clock, cache_bytes_max=cache_bytes, tail_max=tail_max
        )
        try:
            tags = world.view().catalog.tags
            nodes = [node for tag in tags.values() if not tag.is_rule for node in nodes_of(tag.id, tag.kind)]
            nodes.append(Tagged(-1))
            for step in data.draw(st.lists(steps, min_size=1, max_size=8)):
                if step == "write":
                    for operations in data.draw(st.lists(batches(3), min_size=1, max_size=3)):
                        world.apply_together([Batch("user", operations)])  # some are refused
                elif step == "wait":
                    clock.tick(hours=data.draw(st.sampled_from([1, 11, 24])))
                else:
                    world.run(world.store.fold(data.draw(st.integers(0, 2))))
                compare(world, data, nodes)
        finally:
            world.close()


def compare(world: StoreWorld, data: st.DataObject, nodes: list[Leaf]) -> None:
    """Some leaves, and the rows below them."""
    newest = world.store.view().version
    connection = read_connection(world.directory)
    warm, fresh = world.store._memberships, Memberships(connection, 0, tail_max=10**6)
    fresh.tail()
    moment = micros(world.clock.now()) + 10
    try:
        for node in data.draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=6)):
            version = data.draw(st.just(newest) | st.integers(0, newest))
            reading = Reading(1, version, moment + data.draw(st.sampled_from([0, 0, -3_600_000_000, 3_600_000_000])))
            rows = fresh.rows(node.tag, version)
            expected = members_among(node, reading.moment, rows)
            assert warm.leaf(node, reading) == expected
            assert fresh.leaf(node, reading) == expected
            assert repr(warm.rows(node.tag, version).tolist()) == repr(rows.tolist())
            users = BitMap([0, 2, 5])
            assert repr(warm.rows(node.tag, version, users).tolist()) == repr(rows.of(users).tolist())
            assert warm.holders(node.tag, version, users) == users & bitmap_of(rows["user"])
    finally:
        connection.close()


def test_what_a_layer_says_is_not_held_twice(store_world: StoreWorld) -> None:
    """Of many changes of a tag only the last few are in hand one by one, and a fold lets go of the entries too."""
    store_world.define_tag(TagDefinition("vip"))
    for i in range(50):
        store_world.apply(Assign(f"u{i}", "vip"))
        store_world.members("vip")
    memberships = store_world.store._memberships
    standing = memberships._standing(store_world.view().catalog.tag("vip").id)
    assert len(standing.layers) <= 8
    assert len(standing.entries) <= 8
    assert len(standing.old) >= 42
    store_world.run(store_world.store.fold(entries_max=0))
    store_world.members("vip")
    standing = memberships._standing(store_world.view().catalog.tag("vip").id)
    assert standing.is_base(store_world.view().version)
    assert not standing.old


def test_a_fold_keeps_what_was_written_meanwhile(store_world: StoreWorld) -> None:
    """A layer that began before the new base is right over it."""
    store_world.define_tag(TagDefinition("vip"))
    memberships = store_world.store._memberships
    tag = store_world.view().catalog.tag("vip").id
    for i in range(9):
        store_world.apply(Assign(f"u{i}", "vip"))
    overlaid_as_ever = memberships.overlaid

    def overlaid(asked: int, version: int) -> BitMap:
        for i in range(9, 16) if asked == tag else ():
            store_world.store.writer.submit(lambda t, i=i: t.apply(Batch("user", (Assign(f"u{i}", "vip"),)))).result()
        memberships.rows(asked, memberships.tail())
        return overlaid_as_ever(asked, version)

    memberships.overlaid = overlaid  # type: ignore[method-assign]
    store_world.run(store_world.store.fold(entries_max=0))
    assert store_world.members("vip") == {f"u{i}" for i in range(16)}
    standing = memberships._standing(tag)
    assert standing.layers
    assert standing.layers[0].until > standing.base.version


# ---------------------------------------------------------------- the cache


def test_a_budget_of_bytes_is_kept() -> None:
    users = BitMap(range(0, 1 << 20, 3))
    cache = LeafCache(3 * bytes_of(users))
    for tag in range(5):
        cache.keep(Tagged(tag), KnownLeaf(1, users, 0, NEVER))
        cache.find(Tagged(0), 1, 0)
    assert [cache.find(Tagged(tag), 1, 0) is not None for tag in range(5)] == [True, False, False, True, True]
    cache.reserve(bytes_of(users))
    assert [cache.find(Tagged(tag), 1, 0) is not None for tag in range(5)] == [False, False, False, True, True]
    cache.reserve(-bytes_of(users))
    cache.keep(Tagged(7), KnownLeaf(1, users, 0, NEVER))
    assert [cache.find(Tagged(tag), 1, 0) is not None for tag in (3, 4, 7)] == [True, True, True]
    assert cache.newest(Tagged(1), 0) is None


def test_a_leaf_that_is_carried_on_takes_the_place_of_the_earlier_one() -> None:
    cache = LeafCache(1 << 20)
    cache.keep(Tagged(1), KnownLeaf(1, BitMap([1]), 0, NEVER))
    cache.keep(Tagged(1), KnownLeaf(3, BitMap([3]), 0, 100), instead_of=1)
    cache.keep(Tagged(1), KnownLeaf(2, BitMap([2]), 0, NEVER))
    assert [cache.find(Tagged(1), stamp, 5) for stamp in (1, 2, 3)] == [None, BitMap([2]), BitMap([3])]
    newest = cache.newest(Tagged(1), 5)
    assert newest is not None
    assert newest.stamp == 3
    assert cache.newest(Tagged(1), 100) is None
    assert cache.find(Tagged(1), 3, 100) is None


def test_what_the_base_holds_anyway_is_not_held_again(store_world: StoreWorld) -> None:
    store_world.define_tag(TagDefinition("vip"))
    store_world.apply(*(Assign(f"u{i}", "vip") for i in range(9)))
    store_world.run(store_world.store.fold(entries_max=0))
    assert store_world.size("vip") == 9
    cache = store_world.store._memberships._cache
    assert not cache._found
    store_world.apply(Assign("u9", "vip"))
    assert store_world.size("vip") == 10
    assert cache._found
