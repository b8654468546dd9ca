"""The set algebra over Roaring bitmaps: from a plan node and its leaves to users, or only to how many.

Knows nothing of storage: `Leaves` gives the bitmap of a leaf at a reading. Results may be shared, so
nothing here changes a bitmap that it did not make.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.plan import (
    AllOf,
    AnyOf,
    AsOf,
    AtLeastOf,
    Happened,
    Listed,
    Node,
    Nothing,
    Range,
    Reading,
    Slice,
    Tagged,
    Universe,
)

EMPTY = BitMap()


class Leaves(Protocol):
    """Where an evaluation finds its leaves; what it gives must not be changed."""

    def universe(self, reading: Reading) -> BitMap:
        """Everyone who exists."""

    def leaf(self, node: Tagged | Range | Happened, reading: Reading) -> BitMap:
        """The users of a leaf over one tag."""


def evaluate(node: Node, reading: Reading, leaves: Leaves) -> BitMap:
    """The users of a node. The result must not be changed: it may be a leaf itself."""
    match node:
        case Universe():
            return leaves.universe(reading)
        case Nothing():
            return EMPTY
        case Tagged() | Range() | Happened():
            return leaves.leaf(node, reading)
        case Listed(users):
            return BitMap(users) & leaves.universe(reading)
        case Slice(seed, start, end):
            return _slice(leaves.universe(reading), seed, start, end)
        case AllOf():
            return _all_of(node, reading, leaves)
        case AnyOf(of):
            found = [evaluate(child, reading, leaves) for child in of]
            return found[0] if len(found) == 1 else BitMap.union(*found)
        case AtLeastOf(count, of):
            return _at_least(count, [evaluate(child, reading, leaves) for child in of])
        case AsOf(then, child):
            # Who is asked about has to exist now; who the question is about existed then.
            return evaluate(child, then, leaves) & leaves.universe(reading)
    raise TypeError(f"no evaluation for {type(node).__name__}")


def cardinality(node: Node, reading: Reading, leaves: Leaves) -> int:
    """How many users a node has; at the root of an intersection or a union without making the result."""
    match node:
        case AllOf(of, without) if len(of) + len(without) == 2:
            first = evaluate(of[0], reading, leaves)
            if without:
                return int(first.difference_cardinality(evaluate(without[0], reading, leaves)))
            return int(first.intersection_cardinality(evaluate(of[1], reading, leaves)))
        case AnyOf(of) if len(of) == 2:
            first, second = (evaluate(child, reading, leaves) for child in of)
            return int(first.union_cardinality(second))
        case _:
            return len(evaluate(node, reading, leaves))


def _all_of(node: AllOf, reading: Reading, leaves: Leaves) -> BitMap:
    """Smallest operands first, so that every step works on as little as possible; stops when nothing is left."""
    positive = sorted((evaluate(child, reading, leaves) for child in node.of), key=len)
    result, shared = positive[0], True  # what was not made here must not be changed
    for other in positive[1:]:
        if not result:
            return EMPTY
        if shared:
            result, shared = result & other, False
        else:
            result &= other
    for child in node.without:
        if not result:
            return EMPTY
        removed = evaluate(child, reading, leaves)
        if shared:
            result, shared = result - removed, False
        else:
            result -= removed
    return result


def _at_least(count: int, sets: Sequence[BitMap]) -> BitMap:
    """Users in at least `count` sets, by the recurrence over prefixes: reached[k] after each set is
    reached[k] ∪ (reached[k-1] ∩ set). O(len(sets) · count) operations, no enumeration of users."""
    if count > len(sets):
        return EMPTY
    reached = [BitMap() for _ in range(count)]
    for members in sets:
        for k in range(count - 1, 0, -1):
            reached[k] |= reached[k - 1] & members
        reached[0] |= members
    return reached[-1]


def _slice(universe: BitMap, seed: str, start: int, end: int) -> BitMap:
    users = np.array(universe.to_array(), dtype=np.uint32)
    hashed = stable_hash(users, seed)
    return BitMap(users[(hashed >= start) & (hashed < end)])


def stable_hash(users: NDArray[np.uint32], seed: str) -> NDArray[np.uint64]:
    """A uniform 32-bit hash of each dense id under a seed, widened to 64 bits.

    The seed gives 64 bits by BLAKE2b; they and the id go through the finalizer of SplitMix64 (Steele,
    Lea, Flood 2014), whose upper half is taken. The same on every machine and version, by contract.
    """
    key = np.uint64(int.from_bytes(blake2b(seed.encode(), digest_size=8).digest(), "little"))
    with np.errstate(over="ignore"):
        x = users.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (x ^ (x >> np.uint64(31))) >> np.uint64(32)
