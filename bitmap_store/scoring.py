"""Sums of weights over who has what, for all users at once: numbers whose binary digits are sets.

A weight is added to 64 users by a few operations on machine words (bit-sliced arithmetic: O'Neil, Quass 1997), each
position by full adders that take three sets and leave two (Dadda 1965), block by block in the cache of the core.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.bitmaps import bitmap_of, ids_between, ids_of
from bitmap_store.containers import KEY_WORDS, Containers, Packed, Words
from bitmap_store.stopping import Stop

BLOCK_KEYS = 8
"""Keys of 2^16 users in a block: 64 KiB of words, so that some tens of them fit into a second-level cache."""
_STEP = 1 << 20
"""Users whose sums are read at a time."""
_ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)


class Scores:
    """The sum of `base` and the weights of the sets that a user is in, for every id up to the last of `everyone`.

    Takes one bit an id for each binary digit of the sums, some 16 for a hundred weights. The sets must not change.
    """

    def __init__(self, weighted: Sequence[tuple[BitMap, int]], everyone: BitMap, stop: Stop, base: int = 0) -> None:
        self._keys = (everyone.max() >> 16) + 1 if everyone else 0
        places = [_signed_digits(weight) for _, weight in weighted]
        # What is taken away is the complement added, and as much less to begin with.
        self._floor = base - sum(1 << place for each in places for place, added in each if not added)
        most = sum(1 << place for each in places for place, _ in each)
        self._digits = [np.zeros(self._keys * KEY_WORDS, np.uint64) for _ in range(most.bit_length())]
        sets = [Containers(users) for users, _ in weighted]
        for start in range(0, self._keys, BLOCK_KEYS):
            stop.check()
            self._sum(sets, places, start, min(start + BLOCK_KEYS, self._keys))

    def _sum(
        self, sets: Sequence[Containers], places: Sequence[Sequence[tuple[int, bool]]], start: int, end: int
    ) -> None:
        adder = _Adder(len(self._digits))
        ones = np.full((end - start) * KEY_WORDS, _ALL_BITS)
        for users, digits in zip(sets, places, strict=True):
            words = _words(users, start, end)
            others = ones if words is None else None
            for place, added in digits:
                if not added and others is None and words is not None:
                    others = np.invert(words)
                term = words if added else others
                if term is not None:
                    adder.add(place, term)
        for place, digit in enumerate(adder.digits()):
            if digit is not None:
                self._digits[place][start * KEY_WORDS : end * KEY_WORDS] = digit

    # ------------------------------------------------------------ who has the most

    def best(self, among: BitMap, count: int, stop: Stop) -> BitMap:
        """The `count` users with the highest sums among some, or all of them; of equal ones those with lower ids.

        From the highest digit on: who has it is before who has not.
        """
        if count >= len(among):
            return among
        chosen, left = Packed(self._keys), self._packed(among)
        rest = left.words
        for digit in reversed(self._digits):
            if not count:
                break
            stop.check()
            having = rest & digit
            size = _size(having)
            if size > count:
                rest = having
            else:
                chosen.words |= having
                rest &= ~digit
                count -= size
        left.words[:] = rest
        return chosen.bitmap() | bitmap_of(ids_between(left.bitmap(), 0, count))

    def at_least(self, among: BitMap, least: int, stop: Stop) -> BitMap:
        """Those among some whose sum is `least` or more. From the lowest digit on, each that differs decides anew."""
        wanted = least - self._floor
        if wanted <= 0:
            return among
        if wanted.bit_length() > len(self._digits):
            return BitMap()
        found = self._packed(among)
        reaches = np.full(self._keys * KEY_WORDS, _ALL_BITS)
        for place, digit in enumerate(self._digits):
            stop.check()
            (np.bitwise_and if wanted >> place & 1 else np.bitwise_or)(reaches, digit, out=reaches)
        found.words &= reaches
        return found.bitmap()

    # ------------------------------------------------------------ sums

    def of(self, users: NDArray[np.uint32]) -> NDArray[np.int64]:
        """The sum of each of these ids."""
        words, bits = users >> 6, (users & 63).astype(np.uint64)
        found = np.full(len(users), self._floor, np.int64)
        for place, digit in enumerate(self._digits):
            found += ((digit[words] >> bits & np.uint64(1)) << np.uint64(place)).astype(np.int64)
        return found

    def counts(self, among: BitMap, stop: Stop) -> dict[int, int]:
        """How many of some users have each sum, ascending."""
        found: dict[int, int] = {}
        ids = ids_of(among)
        for start in range(0, len(ids), _STEP):
            stop.check()
            sums, sizes = np.unique(self.of(ids[start : start + _STEP]), return_counts=True)
            for each, size in zip(sums.tolist(), sizes.tolist(), strict=True):
                found[each] = found.get(each, 0) + size
        return dict(sorted(found.items()))

    def _packed(self, users: BitMap) -> Packed:
        found, containers = Packed(self._keys), Containers(users)
        low, high = containers.part(0, self._keys)
        if low < high:
            containers.write(low, high, 0, self._keys, found.words)
        return found


class _Adder:
    """Sets added up in binary: of each position at most two are kept, a third makes one of them and a carry."""

    __slots__ = ("_kept",)

    def __init__(self, digits: int) -> None:
        self._kept: list[list[Words]] = [[] for _ in range(digits + 1)]

    def add(self, place: int, words: Words) -> None:
        kept = self._kept[place]
        while len(kept) == 2:
            first, second = kept
            either = first ^ second
            both = first & second
            kept[:] = [either ^ words]
            either &= words
            either |= both
            place, words = place + 1, either
            kept = self._kept[place]
        kept.append(words)

    def digits(self) -> list[Words | None]:
        found: list[Words | None] = []
        for place, kept in enumerate(self._kept[:-1]):
            if len(kept) == 2:
                self.add(place + 1, kept[0] & kept[1])
                kept = [kept[0] ^ kept[1]]
            found.append(kept[0] if kept else None)
        return found


def _signed_digits(number: int) -> list[tuple[int, bool]]:
    """A number as powers of two that are added or taken away, as few as there can be (Reitwiesner 1960)."""
    found, place = [], 0
    left = abs(number)
    while left:
        if left & 1:
            added = left & 3 != 3
            found.append((place, added == (number > 0)))
            left += -1 if added else 1
        left >>= 1
        place += 1
    return found


def _words(containers: Containers, start: int, end: int) -> Words | None:
    """The words of keys start..end-1; None: nobody."""
    view = containers.view(start, end)
    if view is not None:
        return view
    low, high = containers.part(start, end)
    if low == high:
        return None
    own = np.empty((end - start) * KEY_WORDS, np.uint64)
    containers.write(low, high, start, end, own)
    return own


def _size(words: Words) -> int:
    return int(np.bitwise_count(words).sum(dtype=np.int64))
