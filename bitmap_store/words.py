"""Set algebra on packed words, 64 users at a time: what is faster than containers where most sets are dense.

Works block by block, so that what is in between stays in the cache of the core. From nodes to terms and
when this pays is in `evaluate.py`.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyroaring import BitMap

from bitmap_store.containers import KEY_WORDS, Containers, Packed, Words
from bitmap_store.stopping import Stop

BLOCK_KEYS = 32
"""Keys of 2^16 users in a block: 256 KiB of words, so that a handful fits into a second-level cache."""
_ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A set."""

    containers: Containers | Packed


@dataclass(frozen=True, slots=True)
class All:
    """In all of `of`, which is not empty, and in none of `without`."""

    of: tuple["Term", ...]
    without: tuple["Term", ...] = ()


@dataclass(frozen=True, slots=True)
class Any:
    """In any of `of`."""

    of: tuple["Term", ...]


@dataclass(frozen=True, slots=True)
class AtLeast:
    """In at least `count` of `of`; 1 ≤ count ≤ len(of)."""

    count: int
    of: tuple["Term", ...]


@dataclass(slots=True)
class Counted:
    """A term that is counted on the way, whatever becomes of it; `size` is right once the whole was gone through."""

    of: "Term"
    size: int = 0


Term = Leaf | All | Any | AtLeast | Counted


def size_of(term: Term, stop: Stop) -> int:
    """How many are in."""
    total = 0
    counting = _counting(term)
    block = _Block(stop, counting)
    for start, end in _blocks(term, counting.get(id(term), 0)):
        block.move(start, end)
        words = block.words(term)
        if words is not None:
            total += block.count(words)
    return total


def packed_term(term: Term, stop: Stop) -> Packed:
    """Who is in, as packed words."""
    counting = _counting(term)
    keys = max(keys_of(term), counting.get(id(term), 0))
    result = Packed(-(-keys // BLOCK_KEYS) * BLOCK_KEYS)  # whole blocks, as those are what is looked at
    block = _Block(stop, counting)
    for start, end in _blocks(term, keys):
        block.move(start, end)
        words = block.words(term)
        if words is not None:
            result.words[start * KEY_WORDS : end * KEY_WORDS] = words
    return result


def bitmap_of_term(term: Term, stop: Stop) -> BitMap:
    """Who is in."""
    return packed_term(term, stop).bitmap()


def keys_of(term: Term) -> int:
    """The first key behind all that can be in."""
    match term:
        case Leaf(containers):
            return containers.stop
        case All(of):
            return min(keys_of(each) for each in of)
        case Any(of) | AtLeast(_, of):
            return max((keys_of(each) for each in of), default=0)
        case Counted(of=inner):
            return keys_of(inner)


def _counting(term: Term) -> dict[int, int]:
    """The terms that are counted or have such a part, by identity, each with the first key behind what is counted."""
    found: dict[int, int] = {}

    def look(each: Term) -> int:
        match each:
            case Leaf():
                return 0
            case Counted(of=inner):
                keys = max(look(inner), keys_of(inner))
            case All(of, without):
                keys = max(map(look, of + without))
            case Any(of) | AtLeast(_, of):
                keys = max(map(look, of), default=0)
        if keys:
            found[id(each)] = keys
        return keys

    look(term)
    return found


def _blocks(term: Term, keys: int = 0) -> Sequence[tuple[int, int]]:
    keys = max(keys, keys_of(term))
    return [(start, min(start + BLOCK_KEYS, keys)) for start in range(0, keys, BLOCK_KEYS)]


class _Room(threading.local):
    """Blocks of words to work in, for each thread its own, kept for the next time."""

    def __init__(self) -> None:
        self.blocks: list[Words] = []
        self.addresses: list[int] = []
        self.counts = np.empty(BLOCK_KEYS * KEY_WORDS, np.uint8)

    def block(self, at: int) -> Words:
        while len(self.blocks) <= at:
            self.blocks.append(np.empty(BLOCK_KEYS * KEY_WORDS, np.uint64))
            self.addresses.append(self.blocks[-1].ctypes.data)
        return self.blocks[at]


_ROOM = _Room()


class _Block:
    """One block of keys at a time. What a method gives lies in `room` at `at`, or in a set; it may use room behind."""

    __slots__ = ("_counting", "_end", "_own_words", "_room", "_start", "_stop")

    def __init__(self, stop: Stop, counting: dict[int, int]) -> None:
        self._room = _ROOM
        self._stop = stop
        self._counting = counting
        self._start = self._end = 0
        self._own_words: list[Words] = []

    def move(self, start: int, end: int) -> None:
        """From now on it is keys start..end-1."""
        if end - start != self._end - self._start:
            self._own_words = []
        self._start, self._end = start, end

    def count(self, words: Words) -> int:
        """How many bits are set."""
        counts = self._room.counts[: len(words)]
        np.bitwise_count(words, out=counts)
        return int(counts.sum(dtype=np.uint32))

    def words(self, term: Term, at: int = 0) -> Words | None:
        """The words of the block; None: nobody."""
        match term:
            case Leaf(containers):
                view = containers.view(self._start, self._end)
                return self._written(containers, at) if view is None else view
            case All():
                self._stop.check()
                return self._all(term, at)
            case Any(of):
                self._stop.check()
                return self._any(of, at)
            case AtLeast(count, of):
                return self._at_least(count, of, at)
            case Counted(of=inner):
                found = self.words(inner, at)
                if found is not None:
                    term.size += self.count(found)
                return found

    def _own(self, at: int) -> Words:
        own = self._own_words
        while len(own) <= at:
            own.append(self._room.block(len(own))[: (self._end - self._start) * KEY_WORDS])
        return own[at]

    def _written(self, containers: Containers | Packed, at: int) -> Words | None:
        if isinstance(containers, Packed):
            return None
        low, high = containers.part(self._start, self._end)
        if low == high:
            return None
        own = self._own(at)
        containers.write(low, high, self._start, self._end, own)
        return own

    def _all(self, term: All, at: int) -> Words | None:
        own = self._own(at)
        found = self.words(term.of[0], at)
        counted = id(term) in self._counting
        for each in term.of[1:]:
            if found is None and not counted:
                return None
            other = self.words(each, at + 1)
            found = None if found is None or other is None else np.bitwise_and(found, other, out=own)
        if term.without and counted and found is None:
            self._any(term.without, at)
        if found is not None and term.without:
            removed = self._any(term.without, at + 1)
            if removed is not None:
                kept = np.invert(removed, out=self._own(at + 1))
                found = np.bitwise_and(found, kept, out=own)
        return found

    def _any(self, of: Sequence[Term], at: int) -> Words | None:
        own, start, end = self._own(at), self._start, self._end
        found: Words | None = None
        added: list[tuple[Containers, int, int]] = []
        for each in of:
            if isinstance(each, Leaf):
                containers = each.containers
                other = containers.view(start, end)
                if other is None and isinstance(containers, Containers):
                    low, high = containers.part(start, end)
                    if containers.can_be_added(low, high):
                        if low < high:
                            added.append((containers, low, high))
                        continue
                    other = self._written(containers, at if found is None else at + 1)
            else:
                other = self.words(each, at if found is None else at + 1)
            if other is not None:
                found = other if found is None else np.bitwise_or(found, other, out=own)
        if added:
            if found is None:
                own.fill(0)
            elif found is not own:
                np.copyto(own, found)
            for containers, low, high in added:
                containers.add(low, high, start, end, self._room.addresses[at])
            return own
        return found

    def _at_least(self, count: int, of: Sequence[Term], at: int) -> Words | None:
        """By counters whose digits are words: each set is added with carry, then all are compared with `count`."""
        digits: list[Words] = []
        most = len(of).bit_length()
        carries = [self._own(at + most + place) for place in (1, 2)]
        added = 0
        for each in of:
            self._stop.check()
            carry = self.words(each, at + most + 3)
            if carry is None:
                continue
            added += 1
            for place, digit in enumerate(digits):
                both = np.bitwise_and(digit, carry, out=carries[place % 2])
                np.bitwise_xor(digit, carry, out=digit)
                carry = both
            if added.bit_length() > len(digits):
                digits.append(self._own(at + 1 + len(digits)))
                np.copyto(digits[-1], carry)
        if added < count:
            return None
        reaches = self._own(at)
        reaches.fill(_ALL_BITS)
        for place, digit in enumerate(digits):
            # From the lowest digit on: one that differs from that of `count` decides, whatever those below say.
            operation = np.bitwise_and if count >> place & 1 else np.bitwise_or
            operation(reaches, digit, out=reaches)
        return reaches
