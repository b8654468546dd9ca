"""Rows per user: for each dense id the values it has, as codes one after the other, in a file that all processes map.

What bitmaps answer value by value is answered here user by user: profiles, and small audiences by many values.
A row is what the bases said whose stamps it names; a tag whose base has moved on is not asked here.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store.bitmaps import ids_of
from bitmap_store.croaring import ids_among, ranks_of
from bitmap_store.slices import stable_hash
from bitmap_store.sqlite.base import TagBase
from bitmap_store.sqlite.sections import Sections, SectionsWriter, Unusable
from bitmap_store.stopping import Stop

BLOCK_BITS = 16
"""Users are worked on in blocks: so many bits of an id and a code fit one number of 32 bits, which sorts fastest."""
THIN = 32
"""Values with fewer members than this a block are sorted all at once, not block by block."""
THREADS = 2
GATHERED = 1 << 13
"""Users whose rows are counted at a time, so that what is gathered stays in the processor's cache."""

_WORD = (1 << 32) - 1
TAG = np.dtype([("tag", "<i8"), ("stamp", "<u8"), ("first", "<u4"), ("codes", "<u4"), ("members", "<u8")])


# ---------------------------------------------------------------- writing


def write_rows(path: Path, bases: Mapping[int, TagBase]) -> None:
    """Writes the rows that the bases of tags say. O(memberships), most of it a sort of each block of users."""
    tags = np.zeros(len(bases), TAG)
    sets: list[BitMap] = []
    values: list[int] = []
    for place, (tag, base) in enumerate(bases.items()):
        found = [value.users for value in base.values.values()]
        tags[place] = tag, base.stamp, len(sets), len(found), sum(map(len, found))
        values.extend(base.values)
        sets.extend(found)
    blocks = _Blocks(sets)
    counts: list[NDArray[np.integer[Any]]] = []
    sums: list[NDArray[np.uint32]] = []
    with SectionsWriter(path) as file:
        file.stream("codes", blocks.code_type, _codes(blocks, counts, sums))
        file.name("sums", np.concatenate([*sums, np.zeros(0, np.uint32)]))
        offsets = np.zeros(sum(map(len, counts)) + 1, np.int64)
        np.cumsum(np.concatenate([*counts, np.zeros(0, np.int64)]), out=offsets[1:])
        file.name("offsets", offsets)
        file.name("blocks", blocks.present)
        file.name("values", np.array(values, np.int32))
        file.name("tags", tags)
        file.finish({})


def _codes(
    blocks: "_Blocks", counts: list[NDArray[np.integer[Any]]], sums: list[NDArray[np.uint32]]
) -> Iterator[NDArray[Any]]:
    """The codes of each block in turn; how many each user has, and what they sum up to, is added to the lists."""

    def worked_out(block: int) -> tuple[NDArray[Any], NDArray[np.integer[Any]], NDArray[np.uint32]]:
        codes, sizes = blocks.rows(block)
        return codes, sizes, _sums(marks[codes], sizes)

    def noted(codes: NDArray[Any], sizes: NDArray[np.integer[Any]], found: NDArray[np.uint32]) -> NDArray[Any]:
        counts.append(sizes)
        sums.append(found)
        return codes

    marks = _marks(len(blocks.sets))
    with ThreadPoolExecutor(THREADS) as pool:
        ahead: deque[Future[tuple[NDArray[Any], NDArray[np.integer[Any]], NDArray[np.uint32]]]] = deque()
        for block in blocks.present.tolist():
            ahead.append(pool.submit(worked_out, block))
            if len(ahead) > THREADS:
                yield noted(*ahead.popleft().result())
        for following in ahead:
            yield noted(*following.result())


def _marks(codes: int) -> NDArray[np.uint32]:
    """A number for each code that has nothing to do with it, of which the checksum of a user's codes is the sum."""
    return stable_hash(np.arange(codes, dtype=np.uint32), "rows").astype(np.uint32)


def _sums(marks: NDArray[np.uint32], sizes: NDArray[np.integer[Any]]) -> NDArray[np.uint32]:
    """The sums, modulo 2^32, of as many marks as each user has."""
    found = np.zeros(len(sizes), np.uint32)
    some = np.flatnonzero(sizes)
    if len(some):
        starts = np.cumsum(sizes) - sizes
        found[some] = np.add.reduceat(marks, starts[some], dtype=np.uint32)
    return found


class _Blocks:
    """The members of all values, ready to be turned into the rows of one block of users after the other."""

    def __init__(self, sets: Sequence[BitMap]) -> None:
        count = (max((members.max() for members in sets if members), default=-1) >> BLOCK_BITS) + 1
        wide = len(sets) > 1 << 16
        self.code_type: np.dtype[Any] = np.dtype("<u4" if wide else "<u2")
        self._key_type: np.dtype[Any] = np.dtype("<u8" if wide else "<u4")
        self._code_bits = 32 if wide else 16
        self.sets = sets
        self._dense = [code for code, members in enumerate(sets) if len(members) >= THIN * count]
        ends = (np.arange(count, dtype=np.int64) + 1 << BLOCK_BITS) - 1
        self._ranks = np.zeros((len(self._dense), count + 1), np.int64)
        for place, code in enumerate(self._dense):
            self._ranks[place, 1:] = ranks_of(sets[code], ends.astype(np.uint32))
        dense = set(self._dense)
        thin = [
            ids_of(members).astype(np.uint64) << np.uint64(32) | np.uint64(code)
            for code, members in enumerate(sets)
            if code not in dense
        ]
        self._thin = np.sort(np.concatenate(thin)) if thin else np.zeros(0, np.uint64)
        starts = np.arange(count, dtype=np.uint64) << np.uint64(32 + BLOCK_BITS)
        self._thin_cuts = np.append(np.searchsorted(self._thin, starts), len(self._thin))
        self.present = np.flatnonzero(np.diff(self._ranks).any(axis=0) | (np.diff(self._thin_cuts) > 0))
        """The blocks that have any members."""

    def rows(self, block: int) -> tuple[NDArray[Any], NDArray[np.integer[Any]]]:
        """The codes of the block's users, user by user, and how many each has."""
        sizes = self._ranks[:, block + 1] - self._ranks[:, block]
        starts = np.cumsum(sizes) - sizes
        thin = self._thin[self._thin_cuts[block] : self._thin_cuts[block + 1]]
        dense = int(sizes.sum())
        ids = np.empty(dense + len(thin), np.uint32)
        inside = BitMap(range(block << BLOCK_BITS, (block + 1) << BLOCK_BITS))
        address = ids.ctypes.data
        for place in np.flatnonzero(sizes).tolist():
            ids_among(self.sets[self._dense[place]], inside, address + 4 * int(starts[place]))
        ids[dense:] = thin >> np.uint64(32)
        bits = self._key_type.type(self._code_bits)
        keys = ids.astype(self._key_type, copy=False)
        if self._code_bits > BLOCK_BITS:
            keys &= self._key_type.type((1 << BLOCK_BITS) - 1)
        keys <<= bits  # of 32 bits the number of the block falls out
        keys[:dense] |= np.repeat(np.array(self._dense, self._key_type), sizes)
        keys[dense:] |= (thin & np.uint64((1 << 32) - 1)).astype(self._key_type)
        keys.sort()
        first = np.searchsorted(keys, np.arange(1 << BLOCK_BITS, dtype=self._key_type) << bits)
        return keys.astype(self.code_type), np.diff(first, append=len(keys))  # the upper bits fall away


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Codes:
    """The codes of one tag, from `first` on, in the order of its values; of the base with this stamp."""

    stamp: int
    first: int
    count: int
    members: int


class UserRows:
    """The rows in a file."""

    def __init__(self, path: Path) -> None:
        """Raises Unusable. The codes are verified user by user, whenever they are read."""
        file = Sections(path)
        self.path = path
        self._damage = f"{path.name} does not match its checksums"
        self._codes = file.named("codes")
        if "sums" not in file:
            raise Unusable(f"{path.name} is of an earlier form")
        self._sums = file.named("sums")
        self._offsets = file.named("offsets")
        self.values: NDArray[np.int32] = file.named("values")
        self._marks = _marks(len(self.values))
        self.tags = {
            int(row["tag"]): Codes(*(int(row[name]) for name in ("stamp", "first", "codes", "members")))
            for row in file.named("tags")
        }
        self._blocks = np.full(1 << 32 - BLOCK_BITS, -1, np.int64)  # the place of each block among those there are
        blocks = file.named("blocks")
        self._blocks[blocks] = np.arange(len(blocks))
        self.memberships = len(self._codes)
        self.memberships_each = self.memberships / max(int(np.count_nonzero(np.diff(self._offsets))), 1)
        """Of users who have any, on average."""

    def users(self) -> BitMap:
        """Whoever has a code, and others of the same blocks."""
        blocks = np.flatnonzero(self._blocks >= 0).tolist()
        return BitMap.union(BitMap(), *(BitMap(range(each << BLOCK_BITS, (each + 1) << BLOCK_BITS)) for each in blocks))

    def codes_of(self, users: NDArray[np.uint32]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The codes of ascending users one after the other, and how many each has. Raises Unusable."""
        if len(users) == 1:  # a profile: what follows takes ten times as long as to look at one user
            codes = self._codes_of_one(int(users[0]))
            return codes, np.array([len(codes)])
        blocks = self._blocks[users >> BLOCK_BITS]
        inside = blocks >= 0
        everyone = bool(inside.all())
        if not everyone:
            blocks, users = blocks[inside], users[inside]
        rows = (blocks << BLOCK_BITS) + (users & ((1 << BLOCK_BITS) - 1))
        starts = self._offsets[rows]
        sizes = self._offsets[rows + 1] - starts
        places = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
        places += np.arange(len(places))
        codes = self._codes[places]
        if len(codes) and (
            int(codes.max()) >= len(self._marks) or (_sums(self._marks[codes], sizes) != self._sums[rows]).any()
        ):
            raise Unusable(self._damage)
        if everyone:
            return codes, sizes
        counts = np.zeros(len(inside), np.int64)
        counts[inside] = sizes
        return codes, counts

    def _codes_of_one(self, user: int) -> NDArray[Any]:
        block: int = self._blocks.item(user >> BLOCK_BITS)
        if block < 0:
            return self._codes[:0]
        row = (block << BLOCK_BITS) + (user & ((1 << BLOCK_BITS) - 1))
        codes = self._codes[self._offsets.item(row) : self._offsets.item(row + 1)]
        try:
            right = int(np.add.reduce(self._marks[codes])) & _WORD == self._sums.item(row)
        except IndexError:
            right = False
        if not right:
            raise Unusable(self._damage)
        return codes

    def count(self, users: NDArray[np.uint32], stop: Stop) -> NDArray[np.integer[Any]]:
        """How many of ascending users have each code. O(their memberships), on several threads. Raises Unusable."""

        def counted(start: int) -> NDArray[np.integer[Any]]:
            stop.check()
            codes, _ = self.codes_of(users[start : start + GATHERED])
            return np.bincount(codes, minlength=len(self.values))

        if len(users) <= GATHERED:
            return counted(0)
        with ThreadPoolExecutor(THREADS) as pool:
            parts = pool.map(counted, range(0, len(users), GATHERED))
            return sum(parts, np.zeros(len(self.values), np.int64))
