"""A dictionary of texts in numpy arrays: from a text to its place and back, a column at a time.

An open-addressing hash table beside the texts themselves; what is found is compared byte by byte, so that two
texts with one hash are never taken for each other. Where a dictionary is kept on disk is in `sqlite/`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bitmap_store.hashing import BLOCK, PADDING, Hash, Hashed, Mask, Places, Texts, Words, equal, joined

ROUNDS = 2
"""Places that a block looks at before its last few rows wait for those of the other blocks."""
Number = TypeVar("Number", bound=np.generic)
_LOW = np.uint64(2**32 - 1)
_HALF = np.uint64(32)
_ONE = np.uint64(1)
_SPARE = 64
_FEW = 8


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Texts, each at its place, and a table to find them by; the empty text has places but is never found.

    slots: linear probing; 0 where there is nothing, else hash << 32 | place + 1. A text with hash h is looked for from
    slot h * size >> 32 on: in order of the hash, so that a table is made by one sort and grows without hashing again.
    The last slot is always 0. A slot that names a place beyond the texts is one that somebody is adding: no match.
    """

    hash: Hash
    texts: Texts
    slots: Words
    size: int

    def __len__(self) -> int:
        """How many places."""
        return len(self.texts)

    def find(self, asked: Hashed, only: Places | None = None) -> Places:
        """The place of each text, or of those in some rows only; -1 for one that is not here. About 0.1 microseconds
        a text."""
        found = np.full(len(asked), -1)
        if not len(self):
            return found
        asked = asked.under(self.hash)
        texts, hashes = asked.texts, asked.hashes
        late: list[tuple[Places, Words, Words]] = []
        for start in range(0, len(asked) if only is None else len(only), BLOCK):
            stop = min(start + BLOCK, len(asked))
            rows = np.arange(start, stop) if only is None else only[start : start + BLOCK]
            tags = hashes[start:stop] if only is None else hashes[rows]
            slots = tags * np.uint64(self.size) >> _HALF
            for _ in range(ROUNDS):
                rows, tags, slots = self._look(texts, rows, tags, slots, found)
            late.append((rows, tags, slots))
        if not late:
            return found
        rows, tags, slots = (np.concatenate(column) for column in zip(*late, strict=True))
        while len(rows):
            rows, tags, slots = self._look(texts, rows, tags, slots, found)
        return found

    def _look(
        self, texts: Texts, rows: Places, tags: Words, slots: Words, found: Places
    ) -> tuple[Places, Words, Words]:
        """Looks at one slot of each row; those that have to look at the next."""
        there = self.slots[slots]
        places = (there & _LOW).astype(np.int64) - 1
        same: Mask = (there >> _HALF == tags) & (places >= 0) & (places < len(self))
        candidates = np.flatnonzero(same)
        right = equal(texts, rows[candidates], self.texts, places[candidates])
        if not right.all():
            same[candidates[~right]] = False
            candidates = candidates[right]
        found[rows[candidates]] = places[candidates]
        on = np.flatnonzero((there != 0) & ~same)
        return rows[on], tags[on], slots[on] + _ONE

    def find_one(self, text: bytes, tag: int) -> int:
        """The place of one text with this hash, -1 if it is not here; about a microsecond."""
        slots, slot = self.slots, tag * self.size >> 32
        while there := slots.item(slot):
            if there >> 32 == tag:
                place = (there & 0xFFFFFFFF) - 1
                if place < len(self.texts) and self.texts.text(place) == text:
                    return place
            slot += 1
        return -1

    def take(self, places: NDArray[np.integer[Any]]) -> pa.Array:
        """The text at each place, which has to be one."""
        return self.texts.array().take(pa.array(places))


def dictionary_of(column: Hashed) -> Dictionary:
    """Texts in their order, with a table that is half full. Of equal ones each finds the first."""
    size = 2 * len(column) + _SPARE
    return Dictionary(column.hash, column.texts, table_of(_entries(column, 0), size), size)


def empty_dictionary(hash_: Hash) -> Dictionary:
    """No texts."""
    return dictionary_of(Hashed.of(Texts(np.zeros(PADDING, np.uint8), np.zeros(1, np.int64)), hash_))


def merged(dictionaries: Sequence[Dictionary]) -> Dictionary:
    """One dictionary of all, of one hash: the places of each follow those of the ones before."""
    first = dictionaries[0]
    texts = joined([each.texts for each in dictionaries])
    entries: list[Words] = []
    before = 0
    for each in dictionaries:
        there = each.slots[each.slots != 0]
        entries.append(there[(there & _LOW) <= len(each)] + np.uint64(before))
        before += len(each)
    size = 2 * len(texts) + _SPARE
    return Dictionary(first.hash, texts, table_of(np.concatenate(entries), size), size)


def table_of(entries: Words, size: int) -> Words:
    """The slots that hold these entries: what linear probing would give, by a sort and a running maximum."""
    entries = np.sort(entries)
    table = np.zeros(size + _SPARE, np.uint64)
    free = 0  # the first slot after those that are taken
    for start in range(0, len(entries), BLOCK):
        some = entries[start : start + BLOCK]
        order = np.arange(len(some))
        slots = ((some >> _HALF) * np.uint64(size) >> _HALF).astype(np.int64)
        slots[0] = max(int(slots[0]), free)
        slots = np.maximum.accumulate(slots - order) + order
        free = int(slots[-1]) + 1
        if free >= len(table):  # many meet at the very end
            table = np.concatenate([table, np.zeros(free + _SPARE - len(table), np.uint64)])
        table[slots] = some
    return table


def _entries(column: Hashed, first: int) -> Words:
    """What the slots say of texts that take the places from `first` on; nothing of the empty ones."""
    entries = column.hashes << _HALF | np.arange(first + 1, first + 1 + len(column), dtype=np.uint64)
    empty = column.texts.lengths == 0
    return entries[~empty] if empty.any() else entries


class GrowingDictionary:
    """A dictionary that texts are added to: by one thread at a time, while any others look into `now`."""

    def __init__(self, hash_: Hash) -> None:
        self.now = empty_dictionary(hash_)
        self._data, self._offsets = self.now.texts.data, self.now.texts.offsets

    def add(self, column: Hashed) -> None:
        """Gives distinct texts that are not here the next places. About 0.1 microseconds a text."""
        now, first = self.now, len(self.now)
        texts, entries = column.texts, _entries(column.under(now.hash), first)
        slots, size = now.slots, now.size
        total = first + len(texts)
        if 2 * total > size or 4 * len(texts) > first or not _inserted(slots, size, entries):
            # In a new array, because others look into the old one.
            kept = slots[slots != 0]
            size = 4 * total + _SPARE
            slots = table_of(np.concatenate([kept[(kept & _LOW) <= first], entries]), size)
        self._append(texts, first)
        used = int(self._offsets[total])
        self.now = Dictionary(now.hash, Texts(self._data[: used + PADDING], self._offsets[: total + 1]), slots, size)

    def _append(self, texts: Texts, first: int) -> None:
        start, end = int(texts.offsets[0]), int(texts.offsets[-1])
        used = int(self._offsets[first])
        self._data = _with_room(self._data, used, used + end - start + PADDING)
        self._offsets = _with_room(self._offsets, first + 1, first + 1 + len(texts))
        self._data[used : used + end - start] = texts.data[start:end]
        self._offsets[first + 1 : first + 1 + len(texts)] = texts.offsets[1:] + (used - start)


def _with_room(array: NDArray[Number], used: int, needed: int) -> NDArray[Number]:
    """The array, or a copy of the used part of it in one that is twice as long as needed."""
    if needed <= len(array):
        return array
    longer = np.zeros(2 * needed, array.dtype)
    longer[:used] = array[:used]
    return longer


def _inserted(slots: Words, size: int, entries: Words) -> bool:
    """Puts each entry into the first free slot from its own on; False when the end is reached, with some put in."""
    if len(entries) <= _FEW:  # faster one by one
        for entry in entries.tolist():
            place = (entry >> 32) * size >> 32
            while slots.item(place):
                place += 1
            if place >= len(slots) - 1:
                return False
            slots[place] = entry
        return True
    places = ((entries >> _HALF) * np.uint64(size) >> _HALF).astype(np.int64)
    while len(entries):
        free = np.flatnonzero(slots[places] == 0)
        slots[places[free]] = entries[free]  # of several that want one slot the last gets it
        left = slots[places] != entries
        entries, places = entries[left], places[left] + 1
        if len(places) and int(places.max()) >= len(slots) - 1:
            return False
    return True
