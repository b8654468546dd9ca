"""Sets as packed words, a part at a time: from Roaring containers to 64 users a word and back.

Reads the structs of CRoaring where `croaring` says that this was tried; else by way of the ids.
A part is a range of keys; a key stands for 2^16 users, which are 1,024 words.
"""

import ctypes
import struct
import threading
from bisect import bisect_left
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store import croaring
from bitmap_store.bitmaps import bitmap_of, ids_of

WIDE = 1 << 10
"""Members of a key of 2^16 from which on packed words take less time than an array."""
KEY_WORDS = 1 << 10
KEY_BYTES = KEY_WORDS * 8
Words = NDArray[np.uint64]

_BITSET = 1  # the type of containers that are packed words already
_COOKIE = 13766  # of frozen sets, by which CRoaring knows them
_FROZEN = 2  # the flag of sets whose containers of one type lie one behind the other
_HEADER = struct.Struct("<iiQQQB")
_BITSET_CONTAINER = struct.Struct("<i4xQ")


class _Call(threading.local):
    """The arguments of `roaring_bitmap_to_bitset`, for each thread its own: a `roaring_bitmap_t` that describes some of
    the containers of a set, and behind it a `bitset_t`, words that grow, which these never have to."""

    LAYOUT = struct.Struct("<iiQQQQQQQ")

    def __init__(self) -> None:
        self.arguments = ctypes.create_string_buffer(self.LAYOUT.size)
        self.part = ctypes.addressof(self.arguments)
        self.bitset = self.part + croaring.STRUCT_BYTES


_CALL = _Call()


class _Layout(NamedTuple):
    """Where the containers of a set are, and of which types; without the set."""

    size: int
    """How many are in."""
    containers: int
    """How many there are."""
    addresses: tuple[int, int, int]
    """Of the containers' pointers, of their keys, of their types."""
    keys: memoryview
    types: bytes
    packed: Words | None
    """Of a frozen set all packed containers."""
    stop: int

    @classmethod
    def of(cls, bitmap: BitMap) -> "_Layout":
        """Looked up once for a set that is kept as it is."""
        kept = getattr(bitmap, "kept", None)
        found: _Layout | None = kept and kept.layout
        if found is None:
            found = cls._read(bitmap)
            if kept is not None:
                kept.layout = found
        return found

    @classmethod
    def _read(cls, bitmap: BitMap) -> "_Layout":
        header = ctypes.string_at(bitmap.raw_pointer, _HEADER.size)
        count, _, containers, keys, types, flags = _HEADER.unpack(header)
        each = memoryview(ctypes.string_at(keys, 2 * count)).cast("H")
        kinds = ctypes.string_at(types, count)
        packed = _packed(containers, kinds) if flags & _FROZEN and _BITSET in kinds else None
        return cls(len(bitmap), count, (containers, keys, types), each, kinds, packed, each[-1] + 1 if count else 0)


def measured(bitmap: BitMap) -> tuple[int, int]:
    """How many are in, and the first key behind the last: of a set that is kept, without a look at its containers."""
    if getattr(bitmap, "kept", None) is None:
        size = len(bitmap)
        return size, (bitmap.max() >> 16) + 1 if size else 0
    layout = _Layout.of(bitmap)
    return layout.size, layout.stop


def _packed(containers: int, types: bytes) -> Words:
    """The packed containers of a frozen set, which are one array, in the order of their keys."""
    (place,) = struct.unpack("<Q", ctypes.string_at(containers + 8 * types.find(_BITSET), 8))
    _, address = _BITSET_CONTAINER.unpack(ctypes.string_at(place, _BITSET_CONTAINER.size))
    words = (ctypes.c_uint64 * (types.count(_BITSET) * KEY_WORDS)).from_address(address)
    return np.frombuffer(memoryview(words), np.uint64)


class Containers:
    """The containers of a set, found once, to be read part by part. The set must not change meanwhile."""

    __slots__ = (
        "_addresses",
        "_bitmap",
        "_gapless",
        "_has_words",
        "_packed",
        "_types",
        "is_wide",
        "keys",
        "size",
        "stop",
    )

    def __init__(self, bitmap: BitMap) -> None:
        self._bitmap = bitmap
        self._packed: Words | None
        if not croaring.AVAILABLE:
            self.size, self.stop = measured(bitmap)
            self._packed = _words_of_ids(ids_of(bitmap), self.stop)
            self.is_wide = self._gapless = self._has_words = True
            return
        self.size, count, self._addresses, self.keys, self._types, self._packed, self.stop = _Layout.of(bitmap)
        """keys: those that have a container, ascending; stop: the first key behind the last member."""
        self._has_words = _BITSET in self._types
        self._gapless = count == self.stop
        self.is_wide = self._packed is not None and self._types.count(_BITSET) == count
        """Whether all containers are packed words in one piece."""

    def view(self, start: int, stop: int) -> Words | None:
        """The words of keys start..stop-1 where they lie, or None; not to be changed."""
        packed = self._packed
        if packed is None:
            return None
        if self.is_wide and self._gapless:
            return packed[start * KEY_WORDS : stop * KEY_WORDS] if stop <= self.stop else None
        low, high = self.part(start, stop)
        count, types = stop - start, self._types
        if high - low != count or types.count(_BITSET, low, high) != count:
            return None
        place = types.count(_BITSET, 0, low) * KEY_WORDS
        return packed[place : place + count * KEY_WORDS]

    def part(self, start: int, stop: int) -> tuple[int, int]:
        """The first container of keys start..stop-1, and the one behind the last."""
        if self._gapless:
            return min(start, self.stop), min(stop, self.stop)
        return bisect_left(self.keys, start), bisect_left(self.keys, stop)

    def can_be_added(self, low: int, high: int) -> bool:
        """Whether `add` may be used for these containers: none of them are words, which would replace what is there."""
        return not self._has_words or (croaring.AVAILABLE and self._types.find(_BITSET, low, high) < 0)

    def write(self, low: int, high: int, start: int, stop: int, into: Words) -> None:
        """Makes `into`, keys start..stop-1, the words of these containers."""
        if not croaring.AVAILABLE:
            assert self._packed is not None
            kept = self._packed[start * KEY_WORDS : stop * KEY_WORDS]
            into[: len(kept)] = kept
            into[len(kept) :] = 0
            return
        if self._has_words and high - low == stop - start and self._types.count(_BITSET, low, high) == high - low:
            into[-KEY_WORDS:] = 0  # of the last one CRoaring copies what lies up to its largest member
        else:
            into.fill(0)
        self.add(low, high, start, stop, into.ctypes.data)

    def add(self, low: int, high: int, start: int, stop: int, into: int) -> None:
        """Sets the bits of these containers in the words of keys start..stop-1 at an address; see `can_be_added`."""
        call, count, words = _CALL, high - low, stop * KEY_WORDS
        containers, keys, types = self._addresses
        # CRoaring counts words from user 0 on; those before this part are never touched.
        into -= start * KEY_BYTES
        call.LAYOUT.pack_into(
            call.arguments, 0, count, count, containers + 8 * low, keys + 2 * low, types + low, 0, into, words, words
        )
        croaring.FREE.roaring_bitmap_to_bitset(call.part, call.bitset)


def _words_of_ids(ids: NDArray[np.uint32], stop: int) -> Words:
    bits = np.zeros(stop << 16, np.uint8)
    bits[ids] = 1
    return np.packbits(bits, bitorder="little").view(np.uint64)


class Packed:
    """Words of keys 0..stop-1, all zero at first, from which a set can be made."""

    __slots__ = ("_frozen", "stop", "words")

    def __init__(self, stop: int) -> None:
        self.stop = stop
        self._frozen = _frozen_words(stop)
        self.words: Words = self._frozen[: stop * KEY_BYTES].view(np.uint64)

    def view(self, start: int, stop: int) -> Words | None:
        """The words of keys start..stop-1, or None behind the last; like `Containers.view`."""
        return self.words[start * KEY_WORDS : stop * KEY_WORDS] if stop <= self.stop else None

    def bitmap(self) -> BitMap:
        """The set of the words, each of its containers of the kind that takes least."""
        if not croaring.AVAILABLE:
            return bitmap_of(np.flatnonzero(np.unpackbits(self.words.view(np.uint8), bitorder="little")))
        if not self.stop:
            return BitMap()
        # A difference is the operation that finds out cardinalities and types anew and leaves empty containers
        # out, fastest; so nobody is taken away. np.zeros shares one page of zeros.
        packed, nobody = (
            croaring.mapped(frozen.ctypes.data, len(frozen), frozen)
            for frozen in (self._frozen, _frozen_words(self.stop))
        )
        return croaring.adopted(croaring.FREE.roaring_bitmap_andnot(packed.raw_pointer, nobody.raw_pointer))


def _frozen_words(stop: int) -> NDArray[np.uint8]:
    """A frozen set of keys 0..stop-1, all of them packed containers with all bits zero."""
    frozen = _frozen(stop)
    frozen[stop * KEY_BYTES :][: 2 * stop] = np.arange(stop, dtype="<u2").view(np.uint8)
    return frozen


def _frozen(count: int) -> NDArray[np.uint8]:
    """Room for a frozen set of packed containers: words, keys, cardinalities less one, and what follows, filled in."""
    behind = 5 * count + 4
    room = np.zeros(count * KEY_BYTES + behind + croaring.ALIGNMENT, np.uint8)
    start = -room.ctypes.data % croaring.ALIGNMENT
    frozen = room[start : start + count * KEY_BYTES + behind]
    frozen[-4 - count : -4] = _BITSET
    frozen[-4:] = np.array([_COOKIE | count << 15], "<u4").view(np.uint8)
    return frozen


def settled(bitmap: BitMap) -> BitMap:
    """The same set in the form that is read fastest, for one that is kept: `widened`, or else its containers as they
    are, in one piece of memory. Costs a copy."""
    if not croaring.AVAILABLE or not bitmap:
        return bitmap
    return croaring.in_one_piece(bitmap) if _is_sparse(bitmap) else widened(bitmap)


def _is_sparse(bitmap: BitMap) -> bool:
    """Whether so few are in that `widened` gives the set as it is."""
    return not bitmap or len(bitmap) <= WIDE * ((bitmap.max() >> 16) + 1)


def widened(bitmap: BitMap) -> BitMap:
    """The same set in the form that is combined fastest, for one that is kept and read often.

    Where on average more than `WIDE` of 2^16 are in, every container becomes packed words, all in one piece: an
    array of 2,000 takes as long as 6,000 words to meet another set. Takes up to 8 KiB a container. Other sets are
    given back as they are. Such a set must not be serialized but by `packed`, as Roaring knows no small container
    that is packed.
    """
    if not croaring.AVAILABLE or _is_sparse(bitmap):
        return bitmap
    containers = Containers(bitmap)
    if containers.is_wide:
        return bitmap
    keys = np.array(containers.keys, np.uint16)
    frozen = _frozen(len(keys))
    words = frozen[: len(keys) * KEY_BYTES].view(np.uint64)
    breaks = [0, *(np.flatnonzero(np.diff(keys) != 1) + 1).tolist(), len(keys)]
    for low, high in pairwise(breaks):
        containers.write(low, high, int(keys[low]), int(keys[high - 1]) + 1, words[low * KEY_WORDS : high * KEY_WORDS])
    sizes = np.add.reduce(np.bitwise_count(words).reshape(-1, KEY_WORDS), axis=1, dtype=np.int64)
    tail = frozen[len(keys) * KEY_BYTES :]
    tail[: 2 * len(keys)] = keys.astype("<u2").view(np.uint8)
    tail[2 * len(keys) : 4 * len(keys)] = (sizes - 1).astype("<u2").view(np.uint8)
    return croaring.mapped(frozen.ctypes.data, len(frozen), frozen)
