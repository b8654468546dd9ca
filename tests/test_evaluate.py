"""Plans over sets of every shape: the evaluation does what Python's sets do, with CRoaring's calls and without,
with packed words forced, forbidden, and as estimates decide."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pyroaring import BitMap

from bitmap_store import croaring
from bitmap_store.bitmaps import bitmap_of
from bitmap_store.evaluate import Evaluation
from bitmap_store.plan import (
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
from bitmap_store.slices import stable_hash

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
        return self.leaf(node, reading) if isinstance(node, Tagged | Range | Happened) else self.universe(reading)


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
            return BitMap(np.flatnonzero((hashed >= start) & (hashed < end))) & LEAVES.universes[reading]
        case AllOf(of, without):
            found = meant(of[0], reading).copy()
            for child in of:
                found &= meant(child, reading)
            for child in without:
                found -= meant(child, reading)
            return found
        case AnyOf(of):
            return BitMap.union(BitMap(), *(meant(child, reading) for child in of))
        case AtLeastOf(count, of):
            times = np.zeros(KEYS << 16, np.int64)
            for child in of:
                times[np.array(meant(child, reading), np.int64)] += 1
            return BitMap(np.flatnonzero(times >= count))
        case AsOf(then, child):
            return meant(child, then) & LEAVES.universes[reading]
    raise AssertionError(node)


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
        )

    return st.recursive(leaf, grown, max_leaves=14)


@pytest.fixture(params=[True, False], ids=["croaring", "pyroaring"])
def _calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not croaring.AVAILABLE and request.param:
        pytest.skip("this build of pyroaring does not export CRoaring")
    monkeypatch.setattr(croaring, "AVAILABLE", request.param)


@pytest.mark.usefixtures("_calls")
@pytest.mark.parametrize("packed", [None, True, False])
class TestEveryWay:
    """The same answers every way there is."""

    @given(node=nodes())
    @settings(max_examples=60)
    def test_users_and_size(self, packed: bool | None, node: Node) -> None:
        plan, expected = Plan(NOW, node), meant(node, NOW)
        assert Evaluation(LEAVES, packed=packed).users(plan) == expected
        assert Evaluation(LEAVES, packed=packed).size(plan) == len(expected)
