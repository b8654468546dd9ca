"""Plans over sets of every shape: the evaluation does what Python's sets do, with CRoaring's calls and without,
with packed words forced, forbidden, and as estimates decide."""

from collections.abc import Callable
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pyroaring import BitMap

from bitmap_store import croaring, words
from bitmap_store.bitmaps import bitmap_of, ids_of, packed, unpacked
from bitmap_store.containers import Containers, settled, widened
from bitmap_store.evaluate import SHORT, Evaluation, quick_size
from bitmap_store.likeness import likeness
from bitmap_store.plan import (
    Alike,
    AllOf,
    AnyOf,
    AsOf,
    AtLeastOf,
    Happened,
    Listed,
    Node,
    Nothing,
    Plan,
    Range,
    Reading,
    Slice,
    Tagged,
    Universe,
)
from bitmap_store.slices import SliceCache, stable_hash
from bitmap_store.stopping import Stop, Stopped

NOW, THEN = Reading(1, 2, 0), Reading(1, 1, 0)
KEYS = 34  # more than a block of words


def shapes(version: int) -> list[BitMap]:
    """Sets of every shape: sparse, dense, clustered, across the edges of containers and blocks, empty, everyone."""
    random = np.random.default_rng(version)
    users = KEYS << 16
    scattered = [bitmap_of(np.flatnonzero(random.random(users) < share)) for share in (0.0001, 0.01, 0.03, 0.1, 0.5)]
    clustered = BitMap(range(70_000, 900_000)) | BitMap(range((33 << 16) - 2, (33 << 16) + 3))
    clustered.run_optimize()
    mixed = scattered[0] | BitMap(range(1 << 20, (1 << 20) + 200_000, 2))
    few = BitMap([0, 65_535, 65_536, (32 << 16) - 1, 32 << 16, users - 1])
    short = BitMap(scattered[4][: 1 << 17])
    return [*scattered, clustered, mixed, few, short, BitMap(), scattered[2] | clustered]


class Given:
    """Leaves over the shapes; their universes have gaps."""

    def __init__(self) -> None:
        self.sets, self.universes = {}, {}
        for reading in (NOW, THEN):
            sets = shapes(reading.version)
            everyone = BitMap.union(*sets) - BitMap(range(500_000, 620_000)) - BitMap(range(0, KEYS << 16, 97))
            self.sets[reading] = [each & everyone for each in sets]
            self.universes[reading] = everyone
        self.asked: list[Node] = []

    def universe(self, reading: Reading) -> BitMap:
        return self.universes[reading]

    def leaf(self, node: Tagged | Range | Happened, reading: Reading) -> BitMap:
        self.asked.append(node)
        return self.sets[reading][node.tag]

    def known(self, node: Node, reading: Reading) -> BitMap | None:
        if isinstance(node, Alike):
            return None
        return self.leaf(node, reading) if isinstance(node, Tagged | Range | Happened) else self.universe(reading)

    def scored(self, node: Alike, reading: Reading, make: Callable[[], BitMap], stop: Stop) -> BitMap:
        return make()


LEAVES = Given()
HASHES = {seed: stable_hash(np.arange(KEYS << 16, dtype=np.uint32), seed) for seed in ("a", "b")}


def meant(node: Node, reading: Reading) -> BitMap:
    """What a node means, one definition at a time and each time from the start."""
    match node:
        case Universe():
            return LEAVES.universes[reading]
        case Nothing():
            return BitMap()
        case Tagged() | Range() | Happened():
            return LEAVES.sets[reading][node.tag]
        case Listed(users):
            return BitMap(users) & LEAVES.universes[reading]
        case Slice(seed, start, end):
            hashed = HASHES[seed]
            return bitmap_of(np.flatnonzero((hashed >= start) & (hashed < end))) & LEAVES.universes[reading]
        case AllOf(of, without):
            found = meant(of[0], reading).copy()
            for child in of[1:]:
                found &= meant(child, reading)
            for child in without:
                found -= meant(child, reading)
            return found
        case AnyOf(of):
            return BitMap.union(BitMap(), *(meant(child, reading) for child in of))
        case AtLeastOf(count, of):
            times = np.zeros(KEYS << 16, np.uint8)
            for child in of:
                times[ids_of(meant(child, reading))] += 1
            return bitmap_of(np.flatnonzero(times >= count))
        case AsOf(then, child):
            return meant(child, then) & LEAVES.universes[reading]
        case Alike(of, features, size, threshold):
            return meant_alike(
                meant(of, reading), [meant(each, reading) for each in features], size, threshold, reading
            )
    raise AssertionError(node)


def meant_alike(seeds: BitMap, sets: list[BitMap], size: int | None, threshold: int | None, reading: Reading) -> BitMap:
    """By the sums of all users in one array; what the weights are is told in `test_likeness.py`."""
    everyone = LEAVES.universes[reading]
    inside = [len(seeds & each) for each in sets]
    outside = [len(each) - both for each, both in zip(sets, inside, strict=True)]
    found = likeness(inside, len(seeds), outside, len(everyone) - len(seeds))
    sums = np.full(KEYS << 16, found.base)
    for each in found.weighed:
        sums[ids_of(sets[each.place])] += each.weight
    others = ids_of(everyone - seeds)
    if not found.weighed:
        return BitMap()
    if threshold is not None:
        return bitmap_of(others[sums[others] >= threshold])
    return bitmap_of(others[np.lexsort((others, -sums[others]))][:size])


def nodes() -> SearchStrategy[Node]:
    """Plan nodes of every kind."""
    tags = st.integers(0, 10)
    bound = st.integers(0, 4).map(lambda n: n << 30)
    leaf: SearchStrategy[Node] = st.one_of(
        st.builds(Tagged, tags),
        st.builds(Tagged, tags),
        st.builds(Range, tags, st.none(), st.none()),
        st.builds(Universe),
        st.builds(Nothing),
        st.builds(
            Listed, st.sets(st.sampled_from([0, 3, 65_536, 500_001, 2_000_000, 2**32 - 1]), max_size=3).map(tuple)
        ),
        st.builds(lambda seed, a, b: Slice(seed, min(a, b), max(a, b)), st.sampled_from("ab"), bound, bound),
    )

    def several(inner: SearchStrategy[Node], least: int = 1) -> SearchStrategy[tuple[Node, ...]]:
        return st.lists(inner, min_size=least, max_size=5).map(tuple)

    def grown(inner: SearchStrategy[Node]) -> SearchStrategy[Node]:
        return st.one_of(
            st.builds(AllOf, several(inner), several(inner, 0)),
            st.builds(AllOf, several(inner), several(inner, 0)),
            st.builds(AnyOf, several(inner)),
            st.builds(AtLeastOf, st.integers(1, 6), several(inner)),
            st.builds(AsOf, st.just(THEN), inner),
            st.builds(Alike, inner, features, st.sampled_from([1, 70_000, 1 << 30])),
            st.builds(Alike, inner, features, st.none(), st.integers(-50, 50)),
        )

    features = st.lists(st.builds(Tagged, st.integers(0, 9)), max_size=4).map(tuple)

    return st.recursive(leaf, grown, max_leaves=14)


@pytest.fixture(params=[True, False], ids=["croaring", "pyroaring"])
def calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """CRoaring's own calls, and what there is without them."""
    if request.param and not croaring.AVAILABLE:
        pytest.skip("this build of pyroaring does not export CRoaring")
    monkeypatch.setattr(croaring, "AVAILABLE", request.param)


WAYS = pytest.mark.parametrize("packed", [None, True, False], ids=["estimated", "words", "roaring"])
"""By estimated costs, with packed words wherever there can be, without any."""


@given(node=nodes())
def test_what_is_quickly_counted_is_the_same(node: Node) -> None:
    size = quick_size(Plan(NOW, node), LEAVES)
    assert size is None or size == len(meant(node, NOW))


def test_plans_of_few_leaves_are_quickly_counted() -> None:
    a, b, c, d, e = map(Tagged, range(5))
    for node in (AllOf((a, AnyOf((b, c))), (AnyOf((d, e)),)), AnyOf((AllOf((a, b), (c,)), AllOf((d, e)))), AllOf((a,))):
        assert quick_size(Plan(NOW, node), LEAVES) == len(meant(node, NOW))


@pytest.mark.usefixtures("calls")
@WAYS
@given(node=nodes())
@settings(max_examples=25)
def test_users_and_sizes(packed: bool | None, node: Node) -> None:
    plan, expected = Plan(NOW, node), meant(node, NOW)
    assert Evaluation(LEAVES, packed=packed).users(plan) == expected
    assert Evaluation(LEAVES, packed=packed).size(plan) == len(expected)


@pytest.mark.usefixtures("calls")
@WAYS
@given(node=nodes(), tag=st.integers(0, 10))
@settings(max_examples=12)
def test_within_other_users(packed: bool | None, node: Node, tag: int) -> None:
    plan, within = Plan(NOW, node), LEAVES.sets[NOW][tag] | BitMap([1, (KEYS << 16) + 5])
    expected = meant(node, NOW) & within
    assert Evaluation(LEAVES, packed=packed).users(plan, within) == expected
    assert Evaluation(LEAVES, packed=packed).size(plan, within) == len(expected)


@WAYS
@given(listed=st.lists(nodes(), min_size=1, max_size=3), tags=st.lists(st.integers(0, 10), min_size=3, max_size=3))
@settings(max_examples=12)
def test_sizes_of_plans_that_share(packed: bool | None, listed: list[Node], tags: list[int]) -> None:
    """Plans with parts, and with operands, that others have too, at two readings."""
    common = tuple(map(Tagged, tags))
    listed += [AllOf((node, *common)) for node in listed] + [AllOf(common, (node,)) for node in listed]
    plans = [Plan(reading, node) for node in listed for reading in (NOW, THEN)]
    evaluation = Evaluation(LEAVES, packed=packed)
    assert evaluation.sizes(plans) == [len(meant(plan.node, plan.reading)) for plan in plans]


@WAYS
@given(node=nodes())
@settings(max_examples=25)
def test_sizes_of_all_parts_of_a_plan(packed: bool | None, node: Node) -> None:
    """What `explain` asks: the parts are counted on the way to the whole."""
    plans, pending = [], [Plan(NOW, AllOf((node, Tagged(4)), (AnyOf((Tagged(3), node)),))), Plan(NOW, node)]
    while pending:
        plans.append(plan := pending.pop())
        of = getattr(plan.node, "of", ())
        below = [*(of if isinstance(of, tuple) else (of,)), *getattr(plan.node, "without", ())]
        pending += [Plan(plan.reading, child) for child in below]
        if isinstance(plan.node, AsOf):
            pending.append(Plan(plan.node.reading, plan.node.node))
    sizes = Evaluation(LEAVES, packed=packed).sizes(plans)
    assert sizes == [len(meant(plan.node, plan.reading)) for plan in plans]


@given(
    node=nodes(), first=st.sampled_from([0, 7, 65_536, 33 << 16, KEYS << 16]), limit=st.sampled_from([1, 9, 1 << 18])
)
@settings(max_examples=25)
def test_the_first_users_from_an_id_on(node: Node, first: int, limit: int) -> None:
    found = Evaluation(LEAVES).first_users(Plan(NOW, node), first, limit)
    expected = ids_of(meant(node, NOW))
    np.testing.assert_array_equal(found, expected[expected >= first][:limit])


@given(node=nodes())
def test_the_leaves_are_left_as_they_are(node: Node) -> None:
    before = {reading: [each.copy() for each in sets] for reading, sets in LEAVES.sets.items()}
    Evaluation(LEAVES).sizes([Plan(NOW, node), Plan(THEN, node)])
    assert before == LEAVES.sets


@WAYS
def test_deep_plans_take_no_longer_than_their_nodes(packed: bool | None) -> None:
    """To look at both ways of each node would double with each level."""
    node: Node = Tagged(4)
    for level in range(60):
        node = AnyOf((AllOf((node, Tagged(3 + level % 2)), (Tagged(5),)), Tagged(1)))
    plan, expected = Plan(NOW, node), meant(node, NOW)
    assert Evaluation(LEAVES, packed=packed).users(plan) == expected
    assert Evaluation(LEAVES, packed=packed).sizes([plan, Plan(THEN, node)]) == [len(expected), len(meant(node, THEN))]


def test_equal_parts_are_looked_up_once() -> None:
    part = AnyOf((Tagged(3), Tagged(4)))
    LEAVES.asked.clear()
    again = AnyOf((Tagged(3), Tagged(4)))
    Evaluation(LEAVES).sizes(
        [Plan(NOW, part), Plan(NOW, AllOf((again, Tagged(5)))), Plan(NOW, AllOf((again, Tagged(6))))]
    )
    assert sorted(node.tag for node in LEAVES.asked) == [3, 4, 5, 6]


def test_no_plans_have_no_sizes() -> None:
    assert Evaluation(LEAVES).sizes([]) == []


def test_nothing_is_asked_behind_an_empty_operand() -> None:
    LEAVES.asked.clear()
    assert Evaluation(LEAVES).size(Plan(NOW, AllOf((Tagged(9), Tagged(4)), (Tagged(5),)))) == 0
    assert [node.tag for node in LEAVES.asked] == [9]


def test_what_is_not_at_hand_costs_without_end() -> None:
    class Cold(Given):
        def known(self, node: Node, reading: Reading) -> BitMap | None:
            return None if node == Tagged(4) else super().known(node, reading)

    cold = Cold()
    assert Evaluation(cold).cost([Plan(NOW, AnyOf((Tagged(3), Tagged(4))))]) == inf
    assert Evaluation(cold).cost([Plan(NOW, Tagged(3))]) < SHORT
    assert Evaluation(cold).cost([Plan(NOW, AllOf((Tagged(0), Tagged(3))))], 10) < SHORT
    assert Tagged(4) not in cold.asked


@pytest.mark.parametrize("packed", [True, False], ids=["words", "roaring"])
def test_work_ends_at_the_next_step_once_that_is_asked_for(packed: bool) -> None:
    stop = Stop()

    class Asking(Given):
        def leaf(self, node: Tagged | Range | Happened, reading: Reading) -> BitMap:
            stop.ask()
            return super().leaf(node, reading)

    plan = Plan(NOW, AnyOf((AllOf((Tagged(3), Tagged(4))), AllOf((Tagged(4), Tagged(5))))))
    with pytest.raises(Stopped):
        Evaluation(Asking(), stop, packed=packed).size(plan)


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize("form", [widened, settled])
@pytest.mark.parametrize("number", range(11))
def test_sets_that_are_kept_are_the_same_sets(number: int, form: Callable[[BitMap], BitMap]) -> None:
    original = LEAVES.sets[NOW][number]
    wide = form(original)
    assert wide == original
    assert len(wide) == len(original)
    assert list(ids_of(wide)) == list(ids_of(original))
    assert wide & LEAVES.sets[NOW][4] == original & LEAVES.sets[NOW][4]
    assert LEAVES.sets[NOW][4] - wide == LEAVES.sets[NOW][4] - original
    assert unpacked(packed(wide)) == original
    assert packed(wide) == packed(original)
    assert widened(wide) is wide or form is settled


@pytest.mark.skipif(not croaring.AVAILABLE, reason="reads the structs of CRoaring")
def test_what_was_found_out_of_a_kept_set_is_not_said_of_what_is_made_of_it() -> None:
    one, other = settled(LEAVES.sets[NOW][1]), settled(LEAVES.sets[NOW][4])
    for each in (one, other, one & other, one | other, one - other):
        for _ in range(2):
            assert words.size_of(words.Leaf(Containers(each)), Stop()) == len(each)
    found = one | other
    assert words.size_of(words.Leaf(Containers(found)), Stop()) == len(found)
    found &= BitMap(range(1 << 16, 1 << 18))
    assert words.size_of(words.Leaf(Containers(found)), Stop()) == len(found)


def test_what_is_dense_is_widened() -> None:
    gaps = BitMap(range(0, 1 << 20, 40)) | BitMap(range(1 << 21, 1 << 22, 40))
    containers = Containers(widened(gaps))
    assert containers.view(3, 16) is not None or not croaring.AVAILABLE
    assert containers.view(15, 17) is None or not croaring.AVAILABLE
    assert widened(gaps) == gaps
    assert widened(BitMap([7])) == BitMap([7])


def test_slices_are_kept_within_a_budget_and_grow() -> None:
    slices, node = SliceCache(bytes_max=3 * 8192 + 64), Slice("a", 0, 1 << 31)
    two = slices.ids(node, 2, Stop())
    assert slices.ids(node, 1, Stop()) is two
    assert slices.ids(node, 3, Stop()) == bitmap_of(np.flatnonzero(HASHES["a"][: 3 << 16] < 1 << 31))
    slices.ids(Slice("b", 0, 1), 1, Stop())
    assert slices.ids(node, 1, Stop()) is not two
