"""Sets mapped where they lie, and calls of CRoaring: the same answers as ordinary sets, nothing freed twice."""

import gc
import mmap
from array import array
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from bitmap_store import croaring
from bitmap_store.croaring import ALIGNMENT, bitmap_of, frozen_size, ids_of, mapped, ranks_of, write_frozen

pytestmark = pytest.mark.skipif(not croaring.AVAILABLE, reason="this build of pyroaring does not export CRoaring")

edges = st.sampled_from([0, 1 << 16, 1 << 20, (1 << 32) - 70_000])
sets = st.one_of(
    st.sets(st.integers(0, (1 << 32) - 1), max_size=50),
    st.builds(
        lambda edge, start, size, step: set(range(edge + start, edge + start + size, step)),
        edges,
        st.integers(0, 9),
        st.integers(0, 69_000),
        st.integers(1, 20),
    ),
)  # fmt: skip


def in_memory(bitmap: BitMap) -> BitMap:
    """The set, frozen and mapped from a buffer."""
    size = frozen_size(bitmap)
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    write_frozen(bitmap, buffer[start : start + size])
    return mapped(buffer.ctypes.data + start, size, buffer)


@given(a=sets, b=sets)
def test_a_mapped_set_is_the_set(a: set[int], b: set[int]) -> None:
    first, second = BitMap(array("I", sorted(a))), BitMap(array("I", sorted(b)))
    first.run_optimize()
    there, other = in_memory(first), in_memory(second)
    assert there == first
    assert len(there) == len(a)
    assert there & other == first & second
    assert there | second == first | second
    assert there - other == first - second
    assert there.intersection_cardinality(other) == len(a & b)
    assert BitMap.union(there, other, first) == first | second
    ids = np.array(sorted(a), np.uint32)
    np.testing.assert_array_equal(ids_of(there), ids)
    assert bitmap_of(ids) == first
    np.testing.assert_array_equal(ranks_of(there, ids), np.arange(1, len(ids) + 1))
    copy = there.copy()
    copy.add(7)
    assert (7 in there) == (7 in a)


def test_memory_is_kept_while_a_set_of_it_is_used(tmp_path: Path) -> None:
    whole = BitMap(range(0, 1 << 20, 3))
    path = tmp_path / "set"
    path.write_bytes(bytes(frozen_size(whole)))
    with path.open("r+b") as file:
        writable = mmap.mmap(file.fileno(), 0)
        write_frozen(whole, np.frombuffer(writable, np.uint8))
        memory = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    there = mapped(memory.ctypes.data, len(memory), memory)
    result = there | BitMap([1])
    del memory
    path.unlink()
    gc.collect()
    assert there == whole
    del there
    gc.collect()
    assert len(result) == len(whole) + 1


def test_what_is_no_frozen_set_is_refused() -> None:
    buffer = np.zeros(64 + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    with pytest.raises(ValueError, match="no frozen set"):
        mapped(buffer.ctypes.data + start, 64, buffer)
    with pytest.raises(ValueError, match="not as many"):
        write_frozen(BitMap([1]), buffer)
