"""The members of a NUMBER or DATE tag in the order of their numbers: any interval of numbers is a few sets.

The order is cut into equal buckets, each a set, and every few buckets a set of all before it. An interval is
the difference of two of those, mended at either end by whole buckets, and by users where it cuts a bucket.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.bitmaps import bitmap_of
from bitmap_store.rows import Column

BUCKETS = 128
STRIDE = 8
"""Buckets between two sets of all before; a smaller one means fewer operations and larger files."""
FEW = 1 << 14
"""So many users are sooner sorted than put together of sets."""


@dataclass(slots=True)
class _Pieces:
    """Positions of the order to be put to a set, and then to be taken from it."""

    more: list[tuple[int, int]] = field(default_factory=list)
    less: list[tuple[int, int]] = field(default_factory=list)

    def end(self, exact: int, near: int) -> None:
        """Mends a set whose end is `near` and should be `exact`."""
        if near < exact:
            self.more.append((near, exact))
        elif exact < near:
            self.less.append((exact, near))

    def start(self, exact: int, near: int) -> None:
        """Mends a set whose start is `near` and should be `exact`."""
        if exact < near:
            self.more.append((exact, near))
        elif near < exact:
            self.less.append((near, exact))


def bucket_edges(count: int) -> list[int]:
    """The positions where buckets begin, and the end."""
    return [bucket * count // BUCKETS for bucket in range(BUCKETS + 1)]


def buckets_of(users: NDArray[np.uint32]) -> Iterator[BitMap]:
    """The set of each bucket, of users in the order of their numbers."""
    edges = bucket_edges(len(users))
    for start, end in pairwise(edges):
        yield bitmap_of(np.sort(users[start:end]))


class NumberOrder:
    """The order as it is kept. units: ascending; users: the user of each; bucket and before give sets by number.

    `before(k)` is the set of the first k * STRIDE buckets, 0 < k < BUCKETS / STRIDE.
    """

    __slots__ = ("_before", "_bucket", "_edges", "_everyone", "_units", "_users")

    def __init__(
        self,
        units: Column,
        users: NDArray[np.uint32],
        everyone: BitMap,
        bucket: Callable[[int], BitMap],
        before: Callable[[int], BitMap],
    ) -> None:
        self._units = units
        self._users = users
        self._everyone = everyone
        self._bucket = bucket
        self._before = before
        self._edges = np.array(bucket_edges(len(users)))

    def within(self, low: int | None, high: int | None) -> BitMap:
        """The users whose number lies in [low, high]; must not be changed."""
        start = 0 if low is None else self._below(low)
        end = len(self._units) if high is None else self._below(high + 1)
        if end - start <= FEW:
            return bitmap_of(np.sort(self._users[start : max(start, end)]))
        first, last = self._nearest(start), self._nearest(end)
        coarse_first, coarse_last = ((bucket + STRIDE // 2) // STRIDE for bucket in (first, last))
        buckets, edges = _Pieces(), _Pieces()
        buckets.start(first, coarse_first * STRIDE)
        buckets.end(last, coarse_last * STRIDE)
        edges.start(start, int(self._edges[first]))
        edges.end(end, int(self._edges[last]))
        found = self._between(coarse_first, coarse_last)
        # Adding comes first: what is taken away at one end may have been added at the other.
        more = [self._bucket(bucket) for piece in buckets.more for bucket in range(*piece)]
        found = BitMap.union(found, *more) if more else found
        less = [self._bucket(bucket) for piece in buckets.less for bucket in range(*piece)]
        found = found - BitMap.union(*less) if less else found
        for piece in edges.more:
            found = found | self._some(*piece)
        for piece in edges.less:
            found = found - self._some(*piece)
        return found

    def _below(self, number: int) -> int:
        """How many users have a smaller number."""
        bounds = np.iinfo(self._units.dtype)
        if number > bounds.max:
            return len(self._units)
        # In the type of the column: for any other all of it would be converted first.
        return int(np.searchsorted(self._units, self._units.dtype.type(max(number, bounds.min)), "left"))

    def _nearest(self, position: int) -> int:
        """The bucket edge that is nearest to a position."""
        after = int(np.searchsorted(self._edges, position))
        if after and position - self._edges[after - 1] < self._edges[after] - position:
            return after - 1
        return after

    def _between(self, first: int, last: int) -> BitMap:
        """The buckets of whole strides from one to another."""
        whole = BUCKETS // STRIDE
        if first >= last:
            return BitMap()
        until = self._everyone if last == whole else self._before(last)
        return until if first == 0 else until - self._before(first)

    def _some(self, start: int, end: int) -> BitMap:
        return bitmap_of(np.sort(self._users[start:end]))


def ordered(units: Column, ids: NDArray[np.uint32]) -> tuple[Column, NDArray[np.uint32]]:
    """Numbers ascending, and the user of each; users of the same number ascend."""
    if units.dtype.itemsize > 4 or len(units) >> 32:
        order: NDArray[Any] = np.argsort(units, kind="stable")
        return units[order], ids[order]
    # Number and place in one number of 64 bits, which sorts ten times as fast as places by numbers.
    least = np.int64(units.min())
    keys = (units.astype(np.int64) - least).view(np.uint64) << np.uint64(32)
    keys |= np.arange(len(units), dtype=np.uint64)
    keys.sort()
    ordered_units = ((keys >> np.uint64(32)).view(np.int64) + least).astype(units.dtype)
    return ordered_units, ids[(keys & np.uint64(0xFFFFFFFF)).view(np.int64)]
