"""Roaring bitmaps: to arrays and bytes and back, and combined, by the fastest way each that the libraries have.

What may take long is a call of CRoaring without the GIL, so that others run meanwhile; short calls keep it,
as giving it up can mean to wait for it. Nothing here changes a set but `intersect_into` and `subtract_from`.
"""

import array
import ctypes
import zlib
from collections.abc import Sequence
from heapq import heapify, heappop, heapreplace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from bitmap_store import croaring
from bitmap_store.errors import Damaged

LONG = 1 << 16
"""Members that take a call without the GIL: some 0.1 ms of work."""
SPARSE = 3 << 10
"""Users in a key of 2^16 up to which a union is an array, most likely."""


def ids_of(bitmap: BitMap) -> NDArray[np.uint32]:
    """The members, ascending."""
    if croaring.AVAILABLE and len(bitmap) > LONG:
        return croaring.ids_of(bitmap)
    return np.frombuffer(bitmap.to_array(), np.uint32) if bitmap else np.zeros(0, np.uint32)


def ids_between(bitmap: BitMap, start: int, stop: int) -> NDArray[np.uint32]:
    """The members from rank `start` (0 the smallest) to before rank `stop`, ascending, without those before."""
    count = max(min(stop, len(bitmap)) - start, 0)
    if count and croaring.AVAILABLE:
        found = np.empty(count, np.uint32)
        croaring.FREE.roaring_bitmap_range_uint32_array(bitmap.raw_pointer, start, count, found.ctypes.data)
        return found
    return ids_of(bitmap[start : start + count]) if count else np.zeros(0, np.uint32)


def bitmap_of(ids: NDArray[np.integer[Any]]) -> BitMap:
    """The set of these ids; eight times faster by way of `array` than from the ndarray itself."""
    if croaring.AVAILABLE and len(ids) > LONG:
        return croaring.bitmap_of(np.ascontiguousarray(ids, np.uint32))
    members = array.array("I")
    members.frombytes(np.ascontiguousarray(ids, np.uint32).tobytes())
    return BitMap(members)


def distinct(ids: NDArray[np.integer[Any]]) -> NDArray[np.uint32]:
    """The ids in ascending order, each once; twenty times faster by way of a set than numpy's own."""
    return ids_of(bitmap_of(ids))


# ---------------------------------------------------------------- algebra


def _is_long(a: BitMap, b: BitMap) -> bool:
    return croaring.AVAILABLE and len(a) > LONG and len(b) > LONG


def intersection(a: BitMap, b: BitMap) -> BitMap:
    """Who is in both. Nothing else in the store intersects sets to a set.

    Of a container of packed words and one of few runs CRoaring makes an array, and takes for granted that the words
    hold more than 4,096: of fewer, as those of `widened` may, it writes behind the end of the array. A difference
    takes nothing for granted.
    """
    if croaring.AVAILABLE and (croaring.has_runs(a) or croaring.has_runs(b)):
        return difference(a, difference(a, b))
    if _is_long(a, b):
        return croaring.adopted(croaring.FREE.roaring_bitmap_and(a.raw_pointer, b.raw_pointer))
    return a & b


def difference(a: BitMap, b: BitMap) -> BitMap:
    """Who is in the first only."""
    if _is_long(a, a):
        return croaring.adopted(croaring.FREE.roaring_bitmap_andnot(a.raw_pointer, b.raw_pointer))
    return a - b


def intersect_into(own: BitMap, other: BitMap) -> None:
    """Leaves in the first, which is changed, who is in both."""
    if croaring.AVAILABLE and (croaring.has_runs(own) or croaring.has_runs(other)):
        subtract_from(own, difference(own, other))
    elif _is_long(own, other):
        croaring.FREE.roaring_bitmap_and_inplace(own.raw_pointer, other.raw_pointer)
    else:
        own &= other


def subtract_from(own: BitMap, other: BitMap) -> None:
    """Takes those of the second out of the first, which is changed."""
    if _is_long(own, own):
        croaring.FREE.roaring_bitmap_andnot_inplace(own.raw_pointer, other.raw_pointer)
    else:
        own -= other


def union(sets: Sequence[BitMap]) -> BitMap:
    """Who is in any; a set of its own, also of one.

    Sparse ones are joined two by two, the smallest first: CRoaring's union of many makes packed words of every
    container and arrays of them again at the end, which takes up to four times as long. Dense ones are joined at once.
    """
    if len(sets) == 1:
        return sets[0].copy()
    sizes = [len(each) for each in sets]
    if len(sets) == 2 or sum(sizes) < SPARSE * (max(each.max() if each else 0 for each in sets) >> 16):
        waiting = [(size, i, each) for i, (size, each) in enumerate(zip(sizes, sets, strict=True))]
        heapify(waiting)
        while len(waiting) > 1:
            (size, i, first), (more, _, second) = heappop(waiting), waiting[0]
            heapreplace(waiting, (size + more, i, _joined(first, second)))
        return waiting[0][2]
    if croaring.AVAILABLE and max(sizes) > LONG:
        pointers = (ctypes.c_void_p * len(sets))(*(each.raw_pointer for each in sets))
        return croaring.adopted(croaring.FREE.roaring_bitmap_or_many(len(sets), pointers))
    return BitMap.union(*sets)


def _joined(a: BitMap, b: BitMap) -> BitMap:
    if croaring.AVAILABLE and len(b) > LONG:
        return croaring.adopted(croaring.FREE.roaring_bitmap_or(a.raw_pointer, b.raw_pointer))
    return a | b


def intersection_size(a: BitMap, b: BitMap) -> int:
    """How many are in both, without making the set."""
    if _is_long(a, b):
        return int(croaring.FREE.roaring_bitmap_and_cardinality(a.raw_pointer, b.raw_pointer))
    return int(a.intersection_cardinality(b))


def difference_size(a: BitMap, b: BitMap) -> int:
    """How many are in the first only, without making the set."""
    return len(a) - intersection_size(a, b)


def union_size(a: BitMap, b: BitMap) -> int:
    """How many are in any of two, without making the set."""
    return len(a) + len(b) - intersection_size(a, b)


# ---------------------------------------------------------------- bytes


def packed(bitmap: BitMap) -> bytes:
    """The portable Roaring format, runs compressed; the one that other systems read."""
    compact = bitmap & bitmap  # which gives each container the type that the format has for it; see `widened`
    compact.run_optimize()
    return bytes(compact.serialize())


def unpacked(data: bytes) -> BitMap:
    """The set that `packed` wrote. Raises Damaged for anything else; flipped bits need the checksum beside it."""
    try:
        return BitMap.deserialize(data)
    except (ValueError, IndexError) as error:
        raise Damaged("a stored set cannot be read; restore a backup") from error


def checksum(*parts: bytes) -> int:
    """CRC-32 over the parts."""
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return value
