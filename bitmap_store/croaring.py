"""CRoaring itself, beside its Python face: sets read where they lie in a mapped file, and calls without the GIL.

pyroaring exports the C functions of its library and gives `raw_pointer` for such use, but promises neither:
`AVAILABLE` says whether all that is used here was tried at import and works. Where it does not, the store
serves from memory of its own. What is computed with sets is in `evaluate.py`.
"""

import ctypes
import struct
from array import array
from ctypes import c_bool, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

import numpy as np
import pyroaring
from numpy.typing import NDArray
from pyroaring import BitMap

STRUCT_BYTES = 40
"""Of a roaring_bitmap_t where pointers have 64 bits; everything that it points to lies elsewhere."""
_SHAPE = struct.Struct("<i20xQ")
"""Of that struct the number of containers, and where their types are."""
_RUN = 3  # the type of containers that are runs
ALIGNMENT = 32
"""Where a frozen set has to begin: its packed words are read as vectors."""

_SIGNATURES = {
    "roaring_bitmap_frozen_size_in_bytes": (c_size_t, c_void_p),
    "roaring_bitmap_frozen_serialize": (None, c_void_p, c_void_p),
    "roaring_bitmap_frozen_view": (c_void_p, c_void_p, c_size_t),
    "roaring_bitmap_free": (None, c_void_p),
    "roaring_bitmap_of_ptr": (c_void_p, c_size_t, c_void_p),
    "roaring_bitmap_get_cardinality": (c_uint64, c_void_p),
    "roaring_bitmap_to_uint32_array": (None, c_void_p, c_void_p),
    "roaring_bitmap_rank_many": (None, c_void_p, c_void_p, c_void_p, c_void_p),
    "roaring_bitmap_range_uint32_array": (c_bool, c_void_p, c_size_t, c_size_t, c_void_p),
    "roaring_bitmap_and": (c_void_p, c_void_p, c_void_p),
    "roaring_bitmap_and_cardinality": (c_uint64, c_void_p, c_void_p),
    "roaring_bitmap_and_inplace": (None, c_void_p, c_void_p),
    "roaring_bitmap_andnot": (c_void_p, c_void_p, c_void_p),
    "roaring_bitmap_andnot_inplace": (None, c_void_p, c_void_p),
    "roaring_bitmap_or": (c_void_p, c_void_p, c_void_p),
    "roaring_bitmap_or_many": (c_void_p, c_size_t, c_void_p),
    "roaring_bitmap_to_bitset": (c_bool, c_void_p, c_void_p),
    "roaring_bitmap_contains": (c_bool, c_void_p, c_uint32),
}


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    for name, (result, *arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _libraries() -> tuple[ctypes.CDLL, ctypes.CDLL] | None:
    try:
        return _declared(ctypes.CDLL(pyroaring.__file__)), _declared(ctypes.PyDLL(pyroaring.__file__))
    except (OSError, AttributeError):
        return None


_FOUND = _libraries()
if _FOUND is not None:
    FREE, HELD = _FOUND
    """The library called without the GIL, which costs a microsecond and lets others run; and with it."""


class _View:
    """A frozen view: CRoaring's own description of the containers, freed when the last set that uses it is gone."""

    __slots__ = ("_free", "_memory", "_pointer", "has_runs", "layout")

    def __init__(self, pointer: int, memory: object) -> None:
        self._pointer = pointer
        self._memory = memory  # what owns the bytes that the view points into
        self.layout: Any = None  # what `containers.py` found out about the containers
        self.has_runs: bool | None = None  # once that was asked
        self._free = HELD.roaring_bitmap_free  # at hand even when the interpreter is on its way out

    def __del__(self) -> None:
        self._free(self._pointer)


class Mapped(BitMap):
    """A set whose containers lie in memory that it does not own, and which must never be changed in place.

    What operations make of it are ordinary sets, though Python calls them by this name as well.
    """

    __slots__ = ("kept",)
    kept: _View


def mapped(address: int, size: int, memory: object) -> BitMap:
    """The set that `frozen` wrote, where its bytes lie; `memory` is kept while the set is used.

    The bytes are trusted: whoever maps a file has to verify a checksum first. Costs a microsecond a container.
    """
    view = HELD.roaring_bitmap_frozen_view(address, size)
    if not view:
        raise ValueError("the bytes are no frozen set")
    result = Mapped()
    # Frozen by its flags, so that freeing it frees this struct alone and nothing that it points to.
    ctypes.memmove(result.raw_pointer, view, STRUCT_BYTES)
    result.kept = _View(view, memory)
    return result


def has_runs(bitmap: BitMap) -> bool:
    """Whether any container is kept as runs. Costs half a microsecond, and 1 ns a container."""
    kept = getattr(bitmap, "kept", None)
    if kept is not None and kept.has_runs is not None:
        return bool(kept.has_runs)
    count, types = _SHAPE.unpack(ctypes.string_at(bitmap.raw_pointer, _SHAPE.size))
    found = _RUN in ctypes.string_at(types, count)
    if kept is not None:
        kept.has_runs = found
    return found


def frozen_size(bitmap: BitMap) -> int:
    """The length of `frozen`."""
    return int(HELD.roaring_bitmap_frozen_size_in_bytes(bitmap.raw_pointer))


def write_frozen(bitmap: BitMap, into: NDArray[np.uint8]) -> None:
    """Writes a set in the form that `mapped` takes into `frozen_size` bytes."""
    if len(into) != frozen_size(bitmap):
        raise ValueError("the bytes are not as many as the set takes")
    FREE.roaring_bitmap_frozen_serialize(bitmap.raw_pointer, into.ctypes.data)


def in_one_piece(bitmap: BitMap) -> BitMap:
    """The same set with its containers one behind the other, in memory that it has for itself."""
    size = frozen_size(bitmap)
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    write_frozen(bitmap, room[start : start + size])
    return mapped(room.ctypes.data + start, size, room)


def adopted(pointer: int) -> BitMap:
    """The set behind a pointer that CRoaring gave, as an ordinary one that owns it."""
    result = BitMap()
    empty = ctypes.string_at(result.raw_pointer, STRUCT_BYTES)
    ctypes.memmove(result.raw_pointer, pointer, STRUCT_BYTES)
    ctypes.memmove(pointer, empty, STRUCT_BYTES)
    HELD.roaring_bitmap_free(pointer)
    return result


def ids_of(bitmap: BitMap) -> NDArray[np.uint32]:
    """The members, ascending; without the GIL."""
    found = np.empty(len(bitmap), np.uint32)
    FREE.roaring_bitmap_to_uint32_array(bitmap.raw_pointer, found.ctypes.data)
    return found


def bitmap_of(ids: NDArray[np.uint32]) -> BitMap:
    """The set of these ids, contiguous in memory; without the GIL, fastest where they ascend."""
    return adopted(FREE.roaring_bitmap_of_ptr(len(ids), ids.ctypes.data))


def ids_among(bitmap: BitMap, some: BitMap, address: int) -> None:
    """Writes the members that are among some, which are whole keys of 2^16 (see `bitmaps.intersection`), to an address,
    ascending; without the GIL.

    Where `some` is a range, this takes a tenth of what CRoaring's own function for ranges takes.
    """
    both = FREE.roaring_bitmap_and(bitmap.raw_pointer, some.raw_pointer)
    FREE.roaring_bitmap_to_uint32_array(both, address)
    HELD.roaring_bitmap_free(both)


def ranks_of(bitmap: BitMap, ids: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """For each of ascending ids, how many members are at or below it; without the GIL."""
    found = np.empty(len(ids), np.uint64)
    if len(ids):
        start = ids.ctypes.data
        FREE.roaring_bitmap_rank_many(bitmap.raw_pointer, start, start + ids.nbytes, found.ctypes.data)
    return found


def _works() -> bool:
    """Tries each of these on sets with every kind of container, against pyroaring's own answers."""
    if _FOUND is None or ctypes.sizeof(c_void_p) != 8:
        return False
    arrays, words, runs = (
        np.arange(3, 1 << 17, 97, dtype=np.uint32),
        np.arange(1 << 16, 1 << 17, 2, dtype=np.uint32),
        np.arange(1 << 15, 1 << 17, dtype=np.uint32),
    )
    other = BitMap(range(5, 1 << 17, 3))
    for ids in (arrays, words, runs, np.concatenate([arrays[:99], words[99:] + np.uint32(1 << 20)]), arrays[:0]):
        ordinary = BitMap(array("I", ids.tobytes()))
        ordinary.run_optimize()
        there = in_one_piece(ordinary)
        same = (
            there == ordinary == bitmap_of(ids)
            and (there & other) == (ordinary & other)
            and (there | other) == (other | there) == (ordinary | other)
            and (there - other) == (ordinary - other)
            and (other - there) == (other - ordinary)
            and BitMap.union(there, other) == BitMap.union(ordinary, other)
            and there.intersection_cardinality(other) == len(ordinary & other)
            and adopted(FREE.roaring_bitmap_and(there.raw_pointer, other.raw_pointer)) == (ordinary & other)
            and FREE.roaring_bitmap_and_cardinality(there.raw_pointer, other.raw_pointer) == len(ordinary & other)
            and np.array_equal(ids_of(there), ids)
            and np.array_equal(ranks_of(there, ids), np.arange(1, len(ids) + 1))
            and has_runs(there) == has_runs(ordinary) == bool(ordinary.get_statistics()["n_run_containers"])
            and there.copy() == ordinary
            and bytes(there.serialize()) == bytes(ordinary.serialize())
        )
        if not same:
            return False
    return True


AVAILABLE = _works()
